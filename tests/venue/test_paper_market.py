"""What our orders would have met: queue, recorded levels, recorded trades, nothing twice."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.exchange.departures import PRINT_LAG_NS
from nkfast.venue.paper_market import PaperFill, PaperMarket

MARKET = Market("AAA/USDT", 2, 3)
Levels = list[tuple[int, int]]


class Recorded:
    """A recorded market that a test moves by hand."""

    def __init__(self, bids: Levels, asks: Levels) -> None:
        self.book = OrderBook(MARKET)
        self.paper = PaperMarket(self.book)
        self.book.apply_snapshot(bids, asks, 1)

    def update(self, bids: Levels = (), asks: Levels = (), at_ns: int = 0) -> list[PaperFill]:
        self.book.apply_update(bids, asks, self.book.sequence + 1)
        return self.paper.on_book(at_ns)

    def order(self, side: str, lots: int, ticks: int | None) -> tuple[int, list[PaperFill]]:
        number = self.paper.next_number()
        return number, self.paper.submit(number, side, lots, ticks)


def short(fills: list[PaperFill]) -> list[tuple[int, int, bool]]:
    return [(fill.ticks, fill.lots, fill.is_maker) for fill in fills]


def test_an_arriving_order_takes_the_best_levels_at_their_prices() -> None:
    market = Recorded([(100, 5)], [(101, 3), (102, 4), (105, 9)])
    number, fills = market.order("buy", 10, 103)
    assert short(fills) == [(101, 3, False), (102, 4, False)]
    assert market.paper.remaining(number) == 3
    _, fills = market.order("sell", 7, 99)
    assert short(fills) == [(103, 3, True), (103, 3, False), (100, 4, False)]


def test_what_was_taken_is_not_eaten_again() -> None:
    market = Recorded([], [(101, 10), (102, 10)])
    assert short(market.order("buy", 4, 101)[1]) == [(101, 4, False)]
    assert short(market.order("buy", 8, 102)[1]) == [(101, 6, False), (102, 2, False)]
    market.update(bids=[(90, 1)])  # a change elsewhere brings nothing back
    assert short(market.order("buy", 1, 101)[1]) == []


@pytest.mark.parametrize(
    ("recorded", "free"),
    [([8], 4), ([14], 10), ([3], 0), ([3, 10], 7), ([0, 10], 10)],
)
def test_taken_stays_taken_until_the_recording_shows_less(recorded: list[int], free: int) -> None:
    market = Recorded([], [(101, 10)])
    market.order("buy", 4, 101)
    for lots in recorded:
        market.update(asks=[(101, lots)])
    _, fills = market.order("buy", 100, 101)
    assert sum(fill.lots for fill in fills) == free


def test_an_order_can_walk_through_many_levels() -> None:
    market = Recorded([], [(100 + n, 1) for n in range(100)])
    _, fills = market.order("buy", 90, 1000)
    assert [fill.ticks for fill in fills] == list(range(100, 190))
    _, fills = market.order("buy", 90, 1000)
    assert [fill.ticks for fill in fills] == list(range(190, 200))


def test_trades_at_the_lowest_price_of_all_are_followed() -> None:
    market = Recorded([], [])
    market.order("sell", 3, 1)
    assert short(market.paper.on_print("buy", 1, 2, 0)) == [(1, 2, True)]
    market = Recorded([(1, 1)], [])
    market.order("buy", 3, 1)
    assert short(market.paper.on_print("sell", 1, 2, 0)) == [(1, 1, True)]


def test_a_market_order_fills_what_there_is_and_is_gone() -> None:
    market = Recorded([(100, 5), (99, 2)], [(101, 3)])
    assert market.paper.cost("sell", 6) == (6, 599)
    assert market.paper.cost("sell", 60) == (7, 698)
    number, fills = market.order("sell", 60, None)
    assert short(fills) == [(100, 5, False), (99, 2, False)]
    assert market.paper.remaining(number) == 0
    assert market.paper.cost("sell", 1) == (0, 0)


def test_a_resting_order_waits_for_the_queue_ahead_of_it() -> None:
    market = Recorded([(100, 10)], [(101, 3)])
    number, fills = market.order("buy", 5, 100)
    assert fills == []
    assert market.paper.on_print("sell", 100, 10, 0) == []
    assert short(market.paper.on_print("sell", 100, 3, 0)) == [(100, 3, True)]
    assert market.paper.remaining(number) == 2
    assert short(market.paper.on_print("sell", 100, 50, 0)) == [(100, 2, True)]
    assert market.paper.on_print("sell", 100, 50, 0) == []


def test_one_trade_can_pass_the_queue_and_fill_us() -> None:
    market = Recorded([(100, 10)], [])
    market.order("buy", 5, 100)
    assert short(market.paper.on_print("sell", 100, 12, 0)) == [(100, 2, True)]


def test_an_order_at_a_new_price_has_no_queue() -> None:
    market = Recorded([(99, 10)], [(103, 3)])
    market.order("buy", 5, 100)
    assert short(market.paper.on_print("sell", 100, 2, 0)) == [(100, 2, True)]


def test_what_comes_later_queues_behind_us_and_leaves_first() -> None:
    market = Recorded([(100, 10)], [])
    market.order("buy", 5, 100)
    market.update(bids=[(100, 40)])
    market.update(bids=[(100, 12)])
    # 10 are still ahead: the 28 that left were the newest, as far as anybody knows.
    assert market.paper.on_print("sell", 100, 10, 0) == []
    assert short(market.paper.on_print("sell", 100, 1, 0)) == [(100, 1, True)]


def test_a_queue_that_leaves_without_a_trade_is_gone() -> None:
    market = Recorded([(100, 10)], [])
    market.order("buy", 5, 100)
    market.update(bids=[(100, 2)], at_ns=0)
    later = PRINT_LAG_NS + 1
    assert short(market.paper.on_print("sell", 100, 3, later)) == [(100, 1, True)]


def test_a_trade_told_after_its_book_change_shortens_the_queue_once() -> None:
    market = Recorded([(100, 10)], [])
    market.order("buy", 5, 100)
    market.update(bids=[(100, 0)], at_ns=1000)
    assert market.paper.on_print("sell", 100, 10, 1100) == []
    assert short(market.paper.on_print("sell", 100, 4, 1200)) == [(100, 4, True)]


def test_a_trade_told_before_its_book_change_shortens_the_queue_once() -> None:
    market = Recorded([(100, 10)], [])
    market.order("buy", 5, 100)
    assert market.paper.on_print("sell", 100, 7, 1000) == []
    market.update(bids=[(100, 3)], at_ns=1100)
    assert market.paper.on_print("sell", 100, 3, 1200) == []
    assert short(market.paper.on_print("sell", 100, 3, 1300)) == [(100, 3, True)]


def test_a_trade_through_our_price_fills_us_at_our_price() -> None:
    market = Recorded([], [(110, 1)])
    market.order("buy", 5, 100)
    market.order("buy", 5, 101)
    assert short(market.paper.on_print("sell", 98, 7, 0)) == [(101, 5, True), (100, 2, True)]
    market = Recorded([(90, 1)], [])
    market.order("sell", 5, 100)
    assert short(market.paper.on_print("buy", 102, 3, 0)) == [(100, 3, True)]


def test_a_trade_on_the_other_side_does_nothing() -> None:
    market = Recorded([], [])
    market.order("buy", 5, 100)
    assert market.paper.on_print("buy", 99, 7, 0) == []
    assert market.paper.on_print("sell", 101, 7, 0) == []


def test_a_recorded_order_that_crosses_ours_fills_it_once() -> None:
    market = Recorded([(99, 10)], [(105, 9)])
    number, _ = market.order("buy", 5, 100)
    assert short(market.update(asks=[(98, 3)])) == [(100, 3, True)]
    assert market.update(asks=[(105, 8)]) == []
    assert short(market.update(asks=[(98, 4)])) == [(100, 1, True)]
    assert market.paper.remaining(number) == 1


def test_a_recorded_bid_that_crosses_our_sells_fills_the_cheapest_first() -> None:
    market = Recorded([(90, 1)], [(120, 1)])
    market.order("sell", 2, 103)
    market.order("sell", 2, 101)
    assert short(market.update(bids=[(104, 3)])) == [(101, 2, True), (103, 1, True)]


def test_two_of_our_orders_at_a_price_fill_in_their_order() -> None:
    market = Recorded([(100, 4)], [])
    first, _ = market.order("buy", 2, 100)
    market.update(bids=[(100, 7)])
    second, _ = market.order("buy", 2, 100)
    fills = market.paper.on_print("sell", 100, 4 + 2 + 3 + 1, 0)
    assert [(fill.order_number, fill.lots) for fill in fills] == [(first, 2), (second, 1)]


def test_what_leaves_a_price_is_taken_from_behind_our_older_order() -> None:
    market = Recorded([(100, 4)], [])
    first, _ = market.order("buy", 2, 100)
    market.update(bids=[(100, 7)])
    second, _ = market.order("buy", 2, 100)
    market.update(bids=[(100, 4)])
    later = PRINT_LAG_NS + 1
    assert market.paper.on_print("sell", 100, 4, later) == []
    fills = market.paper.on_print("sell", 100, 3, later)
    assert [(fill.order_number, fill.lots) for fill in fills] == [(first, 2), (second, 1)]


def test_a_cancelled_order_loses_its_place() -> None:
    market = Recorded([(100, 4)], [])
    first, _ = market.order("buy", 2, 100)
    assert market.paper.cancel(first) == 2
    market.update(bids=[(100, 9)])
    market.order("buy", 2, 100)
    assert market.paper.on_print("sell", 100, 9, 0) == []
    with pytest.raises(KeyError):
        market.paper.cancel(first)


def test_a_trade_with_ourselves_fills_both_under_one_number() -> None:
    market = Recorded([(90, 1)], [(110, 1)])
    maker, _ = market.order("sell", 2, 100)
    taker, fills = market.order("buy", 3, 100)
    assert [(f.order_number, f.lots, f.is_maker) for f in fills] == [
        (maker, 2, True),
        (taker, 2, False),
    ]
    assert fills[0].match_number == fills[1].match_number


def test_nothing_fills_on_a_stale_book() -> None:
    market = Recorded([(100, 1)], [(101, 3)])
    number, _ = market.order("buy", 5, 100)
    market.book.mark_stale()
    assert market.paper.on_print("sell", 90, 50, 0) == []
    assert market.paper.on_book(0) == []
    market.book.apply_snapshot([(95, 1)], [(97, 2)], 9)
    assert short(market.paper.on_book(0)) == [(100, 2, True)]
    assert market.paper.remaining(number) == 3


sides = st.sampled_from(["buy", "sell"])
prices = st.integers(95, 105)
amounts = st.integers(1, 12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("order"), sides, prices, amounts),
        st.tuples(st.just("market"), sides, prices, amounts),
        st.tuples(st.just("cancel"), sides, prices, amounts),
        st.tuples(st.just("print"), sides, prices, amounts),
        st.tuples(st.just("level"), sides, prices, st.integers(0, 12)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_whatever_happens_orders_and_liquidity_add_up(
    steps: list[tuple[str, str, int, int]],
) -> None:
    market = Recorded([(98, 5), (97, 5)], [(102, 5), (103, 5)])
    asked: dict[int, tuple[str, int, int | None]] = {}
    filled: Counter[int] = Counter()
    cancelled: set[int] = set()
    for time_ns, (kind, side, ticks, lots) in enumerate(steps):
        fills: list[PaperFill] = []
        if kind in ("order", "market"):
            limit = ticks if kind == "order" else None
            number = market.paper.next_number()
            asked[number] = (side, lots, limit)
            recorded = market.book.depth(50)[1 if side == "buy" else 0]
            fills = market.paper.submit(number, side, lots, limit)
            own_makers = sum(fill.lots for fill in fills if fill.is_maker)
            taken = sum(fill.lots for fill in fills if not fill.is_maker)
            assert taken - own_makers <= sum(int(level[1]) for level in recorded)
            if limit is None:
                cancelled.add(number)
        elif kind == "cancel":
            resting = [number for number in asked if market.paper.remaining(number)]
            if resting:
                cancelled.add(resting[lots % len(resting)])
                market.paper.cancel(resting[lots % len(resting)])
        elif kind == "print":
            fills = market.paper.on_print(side, ticks, lots, time_ns)
            assert sum(fill.lots for fill in fills) <= lots
        elif side == "buy":
            fills = market.update(bids=[(ticks, lots)], at_ns=time_ns)
        else:
            fills = market.update(asks=[(ticks, lots)], at_ns=time_ns)
        for fill in fills:
            filled[fill.order_number] += fill.lots
            own_side, _, limit = asked[fill.order_number]
            if limit is not None:
                assert fill.ticks <= limit if own_side == "buy" else fill.ticks >= limit
    for number, (_, lots, _) in asked.items():
        if number not in cancelled:
            assert filled[number] + market.paper.remaining(number) == lots
        assert filled[number] <= lots
    for number in asked:
        if market.paper.remaining(number):
            market.paper.cancel(number)
    # Nothing of nobody is left behind once none of ours rests.
    assert market.paper._engine.order_count == 0


@dataclass
class QueueEntry:
    lots: int
    order: int | None  # None: nobody of ours
    left: int = 0  # lots that went without a trade


class QueueTwin:
    """The queues of our buys, oldest first: slow and obvious."""

    def __init__(self) -> None:
        self.recorded: Counter[int] = Counter()
        self.queues: dict[int, list[QueueEntry]] = {}

    def nobody(self, ticks: int) -> int:
        return sum(entry.lots for entry in self.queues.get(ticks, []) if entry.order is None)

    def order(self, number: int, lots: int, ticks: int) -> None:
        ahead = self.recorded[ticks] - self.nobody(ticks)
        queue = self.queues.setdefault(ticks, [])
        queue += [QueueEntry(max(ahead, 0), None), QueueEntry(lots, number)]

    def cancel(self, number: int) -> None:
        for queue in self.queues.values():
            queue[:] = [entry for entry in queue if entry.order != number]
        self.clean()

    def level(self, ticks: int, lots: int) -> None:
        self.recorded[ticks] = lots
        while self.nobody(ticks) > lots:  # the newest leave first, one lot at a time
            entry = [e for e in self.queues[ticks] if e.order is None and e.lots][-1]
            entry.lots -= 1
            entry.left += 1

    def print(self, ticks: int, lots: int) -> dict[int, int]:
        fills: Counter[int] = Counter()
        for price in sorted((p for p in self.queues if p >= ticks), reverse=True):
            queue = self.queues[price]
            ends = [place for place, entry in enumerate(queue) if entry.order is not None]
            for end in ends if price == ticks else [len(queue)]:
                for entry in queue[:end] if price == ticks else ():
                    told = min(entry.left, lots)
                    entry.left -= told
                    lots -= told
                for entry in queue[: end + 1]:
                    met = min(lots, entry.lots)
                    lots -= met
                    entry.lots -= met
                    if entry.order is not None and met:
                        fills[entry.order] += met
        self.clean()
        return dict(fills)

    def clean(self) -> None:
        for ticks, queue in list(self.queues.items()):
            queue[:] = [entry for entry in queue if entry.lots or entry.left]
            if not any(entry.order is not None and entry.lots for entry in queue):
                del self.queues[ticks]


queue_steps = st.lists(
    st.tuples(
        st.sampled_from(["level", "order", "level", "print", "level", "order", "cancel"]),
        st.integers(98, 99),
        st.integers(1, 20),
    ),
    min_size=20,
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(queue_steps)
def test_queues_agree_with_the_slow_twin(steps: list[tuple[str, int, int]]) -> None:
    market, twin = Recorded([], [(200, 5)]), QueueTwin()
    resting: list[int] = []
    for kind, ticks, lots in steps:
        if kind == "order":
            number, fills = market.order("buy", lots, ticks)
            assert fills == []
            twin.order(number, lots, ticks)
            resting.append(number)
        elif kind == "cancel" and resting:
            number = resting[lots % len(resting)]
            market.paper.cancel(number)
            twin.cancel(number)
        elif kind == "level":
            assert market.update(bids=[(ticks, lots)]) == []
            twin.level(ticks, lots)
        elif kind == "print":
            fills = market.paper.on_print("sell", ticks, lots, 0)
            assert {fill.order_number: fill.lots for fill in fills} == twin.print(ticks, lots)
        resting = [number for number in resting if market.paper.remaining(number)]
        for ticks_ in (98, 99):
            assert market.paper._queued(("buy", ticks_)) == twin.nobody(ticks_)
