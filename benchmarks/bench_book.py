"""What an order-book update costs, then the best bid and ask; and a look at 20 levels.

Updates have one level a side, as most do in recordings: near the best price (exponentially
distributed, 5 levels on average), three in ten a removal. `spread` updates fall anywhere in the
book instead. Each peer is fed what it likes best: Decimal to those that take prices as numbers,
and to the compiled book also int (`order_book_int`), which is faster and has nkfast's meaning.

Run:  pytest benchmarks/bench_book.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_book.py
"""

import itertools
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from interleaved import Comparison, report

pytest.importorskip("order_book")
pytest.importorskip("sortedcontainers")

from peers.book import CompiledBook, DictBook, SortedBook

try:
    from peers.nautilus import NautilusBook
except ModuleNotFoundError:  # nautilus_trader does not install everywhere
    NautilusBook = None

from nkfast.core.book import OrderBook
from nkfast.core.market import Market

DECIMALS = (2, 6)
MARKET = Market("BTC/USDT", *DECIMALS)
TOP_TICKS = 3_350_000
SEED = 20_260_101
UPDATES = 2_000
NEAR_LEVELS = 5
REMOVALS = 0.3
LEVEL_COUNTS = [100, 1_000, 10_000]
DEEP = 10_000  # order-book sorts anew after a new price: not asked at this depth


def ladder(level_count: int) -> tuple[list[Any], list[Any]]:
    return (
        [(TOP_TICKS - i, 1_000 + i) for i in range(level_count)],
        [(TOP_TICKS + 1 + i, 1_000 + i) for i in range(level_count)],
    )


def updates(level_count: int, *, spread: bool = False) -> list[tuple[list[Any], list[Any]]]:
    rng = random.Random(SEED)

    def place() -> int:
        if spread:
            return rng.randrange(level_count)
        return min(int(rng.expovariate(1 / NEAR_LEVELS)), level_count - 1)

    def lots() -> int:
        return 0 if rng.random() < REMOVALS else rng.randrange(1, 1_000_000)

    return [
        ([(TOP_TICKS - place(), lots())], [(TOP_TICKS + 1 + place(), lots())])
        for _ in range(UPDATES)
    ]


def as_money(levels: list[Any]) -> list[Any]:
    return [(MARKET.ticks_to_price(t), MARKET.lots_to_quantity(q)) for t, q in levels]


def our_book(level_count: int) -> OrderBook:
    book = OrderBook(MARKET)
    book.apply_snapshot(*ladder(level_count), 0)
    return book


def our_update(level_count: int, *, spread: bool = False) -> Any:
    book = our_book(level_count)
    feed = itertools.cycle(updates(level_count, spread=spread)).__next__
    sequence = itertools.count(1).__next__

    def call() -> None:
        bids, asks = feed()
        book.apply_update(bids, asks, sequence())
        book.best_bid, book.best_ask  # noqa: B018  reading them is what is timed

    return call


def peer_book(peer: Any, level_count: int, money: bool) -> Any:
    book = peer()
    bids, asks = ladder(level_count)
    book.update(as_money(bids), as_money(asks)) if money else book.update(bids, asks)
    return book


def peer_update(peer: Any, level_count: int, *, money: bool = True, spread: bool = False) -> Any:
    book = peer_book(peer, level_count, money)
    changes = updates(level_count, spread=spread)
    if money:
        changes = [(as_money(bids), as_money(asks)) for bids, asks in changes]
    feed = itertools.cycle(changes).__next__

    def call() -> None:
        book.update(*feed())
        book.best()

    return call


def nautilus_book(level_count: int) -> Any:
    book = NautilusBook()
    book.update(book.deltas(*ladder(level_count), *DECIMALS))
    return book


def nautilus_update(level_count: int) -> Any:
    book = nautilus_book(level_count)
    changes = [book.deltas(*sides, *DECIMALS) for sides in updates(level_count)]
    feed = itertools.cycle(changes).__next__

    def call() -> None:
        book.update(feed())
        book.best()

    return call


def update_candidates(level_count: int) -> dict[str, Any]:
    candidates = {
        "nkfast": our_update(level_count),
        "nkfast, spread": our_update(level_count, spread=True),
        "sortedcontainers": peer_update(SortedBook, level_count),
        "dict": peer_update(DictBook, level_count),
    }
    if level_count < DEEP:
        candidates["order_book"] = peer_update(CompiledBook, level_count)
        candidates["order_book_int"] = peer_update(CompiledBook, level_count, money=False)
    if NautilusBook is not None:
        candidates["nautilus_trader"] = nautilus_update(level_count)
    return candidates


def depth_candidates(level_count: int) -> dict[str, Any]:
    books = {
        "nkfast": our_book(level_count),
        "sortedcontainers": peer_book(SortedBook, level_count, True),
        "order_book": peer_book(CompiledBook, level_count, True),
        "order_book_int": peer_book(CompiledBook, level_count, False),
    }
    if NautilusBook is not None:
        books["nautilus_trader"] = nautilus_book(level_count)
    return {name: (lambda book=book: book.depth(20)) for name, book in books.items()}


def test_candidates_keep_the_same_book() -> None:
    ours, theirs = our_book(100), [peer_book(p, 100, True) for p in (DictBook, SortedBook)]
    theirs.append(peer_book(CompiledBook, 100, True))
    for sequence, (bids, asks) in enumerate(updates(100), 1):
        ours.apply_update(bids, asks, sequence)
        for book in theirs:
            book.update(as_money(bids), as_money(asks))
    expected = tuple(as_money([level])[0] for level in (ours.best_bid, ours.best_ask))
    if NautilusBook is not None:
        nautilus = nautilus_book(100)
        for sides in updates(100):
            nautilus.update(nautilus.deltas(*sides, *DECIMALS))
        found = nautilus.best()
        assert tuple((p.as_decimal(), q.as_decimal()) for p, q in found) == expected
    assert all(tuple(book.best()) == expected for book in theirs)
    assert isinstance(expected[0][0], Decimal)


@pytest.mark.parametrize("level_count", LEVEL_COUNTS)
def test_update(benchmark: Any, level_count: int) -> None:
    benchmark(our_update(level_count))


@pytest.mark.parametrize("level_count", LEVEL_COUNTS)
def test_spread_update(benchmark: Any, level_count: int) -> None:
    benchmark(our_update(level_count, spread=True))


@pytest.mark.parametrize("level_count", LEVEL_COUNTS)
def test_depth(benchmark: Any, level_count: int) -> None:
    benchmark(our_book(level_count).depth, 20)


def test_peer_update(benchmark: Any) -> None:
    benchmark(peer_update(SortedBook, 100))


def comparisons() -> Iterator[Comparison]:
    for level_count in LEVEL_COUNTS:
        goals = {
            "sortedcontainers": 9.0,
            "order_book": 2.3,
            "order_book_int": 2.3,
            "nautilus_trader": 2.3,
        }
        candidates = update_candidates(level_count)
        yield Comparison(
            f"apply_update of 2 levels, then best bid and ask, {level_count} levels a side",
            candidates,
            {name: goal for name, goal in goals.items() if name in candidates},
            unit="update",
            note="Each peer is given what it takes fastest, made before: Decimals, ints, "
            "nautilus_trader its own deltas.",
        )
    yield Comparison(
        "apply_update as the book gets deeper",
        {f"nkfast, {count} levels a side": our_update(count) for count in reversed(LEVEL_COUNTS)},
        {"nkfast, 100 levels a side": 0.5},
        unit="update",
        note="The goal is at most twice the time of a book of 100 levels.",
    )
    for level_count in LEVEL_COUNTS[:2]:
        goals = {"sortedcontainers": 10, "order_book": 5, "order_book_int": 5, "nautilus_trader": 5}
        candidates = depth_candidates(level_count)
        yield Comparison(
            f"depth(20), {level_count} levels a side",
            candidates,
            {name: goal for name, goal in goals.items() if name in candidates},
        )


if __name__ == "__main__":
    report(comparisons())
