"""The calls that everything waits for, on fixed state, as endless iterators: one call an item.

Run by ``instructions.py`` under callgrind, which counts what lies between two marks:

    valgrind --tool=callgrind --instr-atstart=no python -P benchmarks/hot_calls.py MARKS_LIBRARY

No bytecode runs between the calls, so the counts are those of the compiled code and of the
interpreter's calling convention.
"""

import ctypes
import gc
import json
import sys
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from itertools import count, cycle, islice, repeat

from nkfast.core import fixed
from nkfast.core.book import OrderBook
from nkfast.core.cycles import CycleScanner
from nkfast.core.frame import FrameDecoder
from nkfast.core.grid import grid_levels
from nkfast.core.market import Market
from nkfast.core.matching import MatchingEngine
from nkfast.core.signing import Signer, backend

WARM_UP = 64
FEW = 128
MANY = 384
LEVELS = 100
TOP_TICKS = 3_350_000
MARKET = Market("BTC/USDT", 2, 5)


def levels() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return (
        [(TOP_TICKS - i, 1_000 + i) for i in range(LEVELS)],
        [(TOP_TICKS + 1 + i, 1_000 + i) for i in range(LEVELS)],
    )


def book() -> OrderBook:
    made = OrderBook(MARKET)
    made.apply_snapshot(*levels(), 0)
    return made


def frame(method: str, sequence: int, sides: tuple[list[tuple[int, int]], ...]) -> bytes:
    bids, asks = (
        [
            {"price": fixed.format(ticks, 2), "quantity": fixed.format(lots, 5)}
            for ticks, lots in side
        ]
        for side in sides
    )
    params = {"symbol": "BTC/USDT", "sequence": sequence, "asks": asks, "bids": bids}
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message, separators=(",", ":")).encode()


def frame_updates() -> Iterator[object]:
    decoder = FrameDecoder([MARKET])
    decoder.feed(frame("snapshotOrderbook", 1_000, levels()))
    frames = [
        frame(
            "updateOrderbook",
            1_001 + n,
            ([(TOP_TICKS - n % 8, 1_000 + n)], [(TOP_TICKS + 1 + n % 8, 2_000 + n)]),
        )
        for n in range(WARM_UP + FEW + MANY)
    ]
    return map(decoder.feed, frames)


def frame_snapshots() -> Iterator[object]:
    frames = [frame("snapshotOrderbook", 1_000 + n, levels()) for n in range(WARM_UP + FEW + MANY)]
    return map(FrameDecoder([MARKET]).feed, frames)


def book_updates() -> Iterator[object]:
    bids = cycle([[(TOP_TICKS - n, 1_000 + n)] for n in range(8)])
    asks = cycle([[(TOP_TICKS + 1 + n, 2_000 + n)] for n in range(8)])
    return map(book().apply_update, bids, asks, count(1))


def grids() -> Iterator[object]:
    call = partial(
        grid_levels,
        step=Decimal("0.0001"),
        n_buy=500,
        n_sell=500,
        base_quantity=Decimal("0.001"),
        min_notional=Decimal("1.05"),
    )
    return map(call, repeat(MARKET), repeat(Decimal("33500.005")))


def matches() -> Iterator[object]:
    """Every other order fills the one before it, in a book of 100 orders."""
    engine = MatchingEngine(MARKET)
    for n in range(LEVELS):
        engine.submit(n, "sell", 10, TOP_TICKS + 1 + n)
    return map(engine.submit, count(LEVELS), cycle(["sell", "buy"]), repeat(10), repeat(TOP_TICKS))


def cycle_updates() -> Iterator[object]:
    """A market of one of 40 coins, each traded in two currencies; two cycles, none pays."""
    symbols = ["BTC/USDT"]
    symbols += [f"C{n}/{quote}" for n in range(40) for quote in ("USDT", "BTC")]
    markets = [Market(symbol, 8, 8) for symbol in symbols]
    books = []
    for market in markets:
        made = OrderBook(market)
        made.apply_snapshot([(99_000_000, 10**10)], [(101_000_000, 10**10)], 0)
        books.append(made)
    scanner = CycleScanner(markets, ["USDT"], books=books)
    return map(scanner.update, repeat(5))


def hot_calls() -> dict[str, Iterator[object]]:
    """Each call's name and an iterator that makes it once an item."""
    signer = Signer("0123456789abcdef" * 2, "fedcba9876543210" * 4)
    url, body, nonce = "https://api.nonkyc.io/api/v2/createorder", b"x" * 120, 17_000_000_000_000
    return {
        "Signer.sign, 256 bytes": map(signer.sign, repeat(bytes(range(256)))),
        "Signer.headers, body of 120 bytes": map(
            signer.headers, repeat(url), repeat(body), repeat(nonce)
        ),
        "fixed.parse, 10 characters": map(fixed.parse, repeat("0.00012345"), repeat(8)),
        "fixed.format, 10 characters": map(fixed.format, repeat(12345), repeat(8)),
        "OrderBook.apply_update, 2 levels": book_updates(),
        "OrderBook.depth, 20 levels": map(book().depth, repeat(20)),
        "FrameDecoder.feed, update": frame_updates(),
        "FrameDecoder.feed, snapshot of 200 levels": frame_snapshots(),
        "MatchingEngine.submit, rest or fill": matches(),
        "grid_levels, 1000 levels": grids(),
        "CycleScanner.update, 3-cycles": cycle_updates(),
    }


def main(marks_library: str) -> int:
    if backend() != "portable":
        raise SystemExit(f"signing is counted on the portable path, this is {backend()}")
    marks = ctypes.CDLL(marks_library)
    calls = hot_calls()
    gc.disable()  # a collection in the middle would count
    consume = deque(maxlen=0).extend
    for calls_made in calls.values():
        consume(islice(calls_made, WARM_UP))
    marks.nk_marks_start()
    for name, calls_made in calls.items():
        for size in (FEW, MANY):
            part = islice(calls_made, size)
            label = f"{size} {name}".encode()
            marks.nk_mark(b"between")
            consume(part)
            marks.nk_mark(label)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
