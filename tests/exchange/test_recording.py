"""A recorded market lived through again, with somebody's orders in it."""

import base64
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from exchange.conftest import NOW_MS, market_row
from hypothesis import given, settings
from hypothesis import strategies as st

from nkfast.app.serve import load_recording
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.errors import ConfigError, MarketPausedError
from nkfast.exchange.departures import PRINT_LAG_NS, newest_first
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.invariants import BookWitness, violations
from nkfast.exchange.orders import Order, OrderStatus, Side
from nkfast.exchange.recording import Recording
from nkfast.exchange.rules import OrderForm
from nkfast.exchange.server import ExchangeServer, ExchangeSettings, serve
from nkfast.venue.paper_market import PaperFill, PaperMarket
from nkfast.venue.tape import TapeWriter

ROW = market_row(priceDecimals=0, quantityDecimals=0, minimumQuantity="0", minQuote="0")
MARKET = Market("ETH/USDT", 0, 0)
START_NS = 1_600_000_000 * 10**9
MS = 1_000_000
Levels = Iterable[tuple[int, int]]


class Told(NamedTuple):
    """A message of a recording, and how long after the one before it came."""

    method: str
    params: dict[str, Any]
    after_ms: int = 1


def _levels(rows: Levels) -> list[dict[str, str]]:
    return [{"price": str(price), "quantity": str(lots)} for price, lots in rows]


def snapshot(bids: Levels, asks: Levels) -> Told:
    return Told("snapshotOrderbook", {"bids": _levels(bids), "asks": _levels(asks)})


def update(bids: Levels = (), asks: Levels = ()) -> Told:
    return Told("updateOrderbook", {"bids": _levels(bids), "asks": _levels(asks)})


def trade(side: str, price: int, lots: int, method: str = "updateTrades") -> Told:
    row = {"id": "t", "price": str(price), "quantity": str(lots), "side": side}
    row |= {"timestamp": "2020-09-13T12:26:40Z", "timestampms": 1_600_000_000_000}
    return Told(method, {"data": [row]})


def frames(messages: Iterable[Told]) -> list[tuple[int, bytes]]:
    """Number the messages and put them on a line of time, a millisecond apart."""
    books, trades = itertools.count(1), itertools.count(1)
    now_ns = START_NS
    told = []
    for message in messages:
        now_ns += message.after_ms * MS
        is_book = "Orderbook" in message.method
        sequence = message.params.get("sequence", next(books) if is_book else str(next(trades)))
        params = {"symbol": "ETH/USDT", **message.params, "sequence": sequence}
        told.append((now_ns, json.dumps({"method": message.method, "params": params}).encode()))
    return told


class Replayed:
    """An exchange that follows a recording, message by message, and our account there."""

    def __init__(self, *messages: Told) -> None:
        self.exchange = Exchange([ROW], now_ms=NOW_MS)
        self.witness = BookWitness(self.exchange)
        told = frames(messages)
        self._due_ms = [(at_ns - told[0][0]) // MS for at_ns, _ in told]
        self.recording = Recording(self.exchange, told, now_ms=NOW_MS)
        self.us = self.exchange.open_account("us", {"ETH": "100000", "USDT": "10000000"})
        self.listing = self.exchange.listing("ETH/USDT")
        self.now_ms = NOW_MS
        self.next()

    def next(self, count: int = 1) -> None:
        """Let so many messages more happen."""
        for _ in range(count):
            self.now_ms = NOW_MS + self._due_ms.pop(0)
            self.recording.step(self.now_ms)
            assert violations(self.exchange) == []
            assert self.witness.differences() == []

    def order(self, side: Side, lots: int, price: int | None) -> Order:
        fields = {"symbol": "ETH/USDT", "side": side, "quantity": str(lots)}
        fields |= {"type": "market"} if price is None else {"price": str(price)}
        order = self.exchange.submit(self.us, OrderForm.from_wire(fields), self.now_ms)
        assert violations(self.exchange) == []
        return order

    def depth(self) -> tuple[list[list[int]], list[list[int]]]:
        return self.listing.depth()


@pytest.mark.parametrize(
    ("queue", "lots", "leaving"),
    [
        ([], 0, []),
        ([3], 3, [3]),
        ([3, 4], 2, [0, 2]),
        ([3, 4], 5, [1, 4]),
        ([3, 0, 4], 6, [2, 0, 4]),
    ],
)
def test_the_newest_of_a_queue_leave_first(queue: list[int], lots: int, leaving: list[int]) -> None:
    assert newest_first(queue, lots) == leaving


def test_the_book_is_the_recorded_one() -> None:
    market = Replayed(
        snapshot([(99, 5), (98, 7)], [(101, 3), (102, 4)]),
        update([(99, 2), (97, 1)], [(101, 0), (103, 9)]),
        update([(98, 0)], [(100, 8)]),
    )
    assert market.depth() == ([[99, 5], [98, 7]], [[101, 3], [102, 4]])
    market.next()
    assert market.depth() == ([[99, 2], [98, 7], [97, 1]], [[102, 4], [103, 9]])
    market.next()
    assert market.depth() == ([[99, 2], [97, 1]], [[100, 8], [102, 4], [103, 9]])
    assert market.recording.is_over
    market.recording.step(market.now_ms + 10**9)  # and nothing more happens
    assert market.depth() == ([[99, 2], [97, 1]], [[100, 8], [102, 4], [103, 9]])
    assert market.order("buy", 8, 100).status is OrderStatus.FILLED


def test_trades_are_told_and_what_was_before_is_remembered() -> None:
    market = Replayed(
        trade("buy", 90, 6, "snapshotTrades"),
        snapshot([(99, 5)], [(101, 3)]),
        trade("buy", 101, 2),
        trade("buy", 90, 6, "snapshotTrades"),
    )
    market.next(3)
    told = [(row.side, row.ticks, row.lots) for row in market.listing.trades]
    assert told == [("buy", 90, 6), ("buy", 101, 2)]
    assert market.listing.trades[0].time_ms == 1_600_000_000_000
    assert market.depth() == ([[99, 5]], [[101, 1]])


def test_an_order_waits_behind_what_rests_at_its_price() -> None:
    market = Replayed(
        snapshot([(99, 5)], [(101, 3)]),
        trade("sell", 99, 5),
        update([(99, 0)]),
        trade("sell", 99, 2),
        trade("sell", 99, 2),
    )
    order = market.order("buy", 3, 99)
    market.next(2)
    assert order.executed_lots == 0
    assert market.depth()[0] == [[99, 3]]  # our own
    market.next()
    assert order.executed_lots == 2
    market.next()
    assert order.status is OrderStatus.FILLED
    # Nobody of the recording had the last of them: it is told all the same.
    assert [row.lots for row in market.listing.trades] == [5, 2, 1, 1]


def test_what_comes_later_queues_behind_and_leaves_first() -> None:
    market = Replayed(
        snapshot([(99, 5)], [(101, 3)]),
        update([(99, 9)]),
        update([(99, 5)]),
        trade("sell", 99, 7),
        trade("sell", 99, 5),
    )
    order = market.order("buy", 3, 99)
    market.next()
    assert market.depth()[0] == [[99, 12]]
    assert market.listing.engine.lots_ahead(order.number) == 5
    market.next()
    assert market.listing.engine.lots_ahead(order.number) == 5
    market.next()
    # The four that left did so behind us: this trade was not theirs before it was ours.
    assert order.executed_lots == 2
    market.next()
    assert order.executed_lots == 3
    # But they had left, and are not there to be traded with.
    assert [row.lots for row in market.listing.trades] == [5, 2, 1, 4]


def test_a_trade_told_after_its_book_change_shortens_the_queue_once() -> None:
    market = Replayed(
        snapshot([(99, 10)], [(101, 3)]), update([(99, 6)]), trade("sell", 99, 4), update([(98, 1)])
    )
    order = market.order("buy", 3, 99)
    market.next(3)
    assert market.listing.engine.lots_ahead(order.number) == 6


def test_a_trade_told_before_its_book_change_shortens_the_queue_once() -> None:
    market = Replayed(
        snapshot([(99, 10)], [(101, 3)]),
        trade("sell", 99, 4),
        update([(98, 1)]),
        update([(99, 6)]),
    )
    order = market.order("buy", 3, 99)
    market.next(3)
    assert market.listing.engine.lots_ahead(order.number) == 6
    assert market.depth()[0] == [[99, 9], [98, 1]]


def test_a_trade_long_after_a_change_is_another_one() -> None:
    late = trade("sell", 99, 4)._replace(after_ms=PRINT_LAG_NS // MS + 1)
    market = Replayed(snapshot([(99, 10)], [(101, 3)]), update([(99, 6)]), late)
    order = market.order("buy", 3, 99)
    market.next(2)
    assert market.listing.engine.lots_ahead(order.number) == 2


def test_a_trade_through_a_better_price_fills_it_at_its_own() -> None:
    market = Replayed(snapshot([(95, 5)], [(101, 3)]), trade("sell", 95, 4))
    order = market.order("buy", 3, 98)
    market.next()
    assert order.status is OrderStatus.FILLED
    assert [(row.ticks, row.lots) for row in market.listing.trades] == [(98, 3), (95, 1)]
    assert market.depth()[0] == [[95, 4]]


def test_a_trade_at_the_lowest_price_of_all_is_followed() -> None:
    market = Replayed(snapshot([(1, 5)], [(3, 2)]), trade("sell", 1, 6))
    order = market.order("buy", 3, 1)
    market.next()
    assert order.executed_lots == 1


def test_a_recorded_order_that_crosses_ours_fills_it() -> None:
    market = Replayed(
        snapshot([(95, 5)], [(101, 3)]), update(asks=[(97, 4)]), update(asks=[(97, 4), (96, 1)])
    )
    order = market.order("buy", 3, 98)
    market.next()
    assert order.status is OrderStatus.FILLED
    assert market.depth() == ([[95, 5]], [[97, 1], [101, 3]])
    market.next()
    assert market.depth() == ([[95, 5]], [[96, 1], [97, 1], [101, 3]])


def test_what_was_taken_is_not_eaten_again() -> None:
    market = Replayed(snapshot([(99, 1)], [(101, 10), (102, 10)]), update([(98, 1)]))
    assert market.order("buy", 4, None).executed_lots == 4
    assert market.order("buy", 8, 101).executed_lots == 6
    market.next()  # a change elsewhere brings nothing back
    assert market.depth()[1] == [[102, 10]]


@pytest.mark.parametrize(
    ("recorded", "free"), [([8], 4), ([14], 10), ([3], 0), ([3, 10], 7), ([0, 10], 10)]
)
def test_taken_stays_taken_until_the_recording_shows_less(recorded: list[int], free: int) -> None:
    market = Replayed(
        snapshot([(99, 1)], [(101, 10)]), *(update(asks=[(101, lots)]) for lots in recorded)
    )
    assert market.order("buy", 4, 101).executed_lots == 4
    market.next(len(recorded))
    assert market.depth()[1] == ([[101, free]] if free else [])


def test_a_market_is_paused_until_its_book_is_known() -> None:
    gap = Told("updateOrderbook", {"sequence": 999, "bids": [], "asks": []})
    market = Replayed(
        trade("buy", 101, 1),
        snapshot([(99, 5)], [(101, 3)]),
        gap,
        *(gap._replace(params=gap.params | {"sequence": 1000 + more}) for more in range(60)),
        Told("snapshotOrderbook", snapshot([(99, 4)], [(102, 3)]).params | {"sequence": 2000}),
    )
    with pytest.raises(MarketPausedError):
        market.order("buy", 1, 101)
    market.next()
    order = market.order("buy", 1, 98)
    market.next(61)
    assert market.recording.counters["gap"] == 1
    with pytest.raises(MarketPausedError):
        market.order("buy", 1, 101)
    market.exchange.cancel(market.us, order.id, market.now_ms)  # which is possible at any time
    market.next()
    assert market.depth() == ([[99, 4]], [[102, 3]])
    assert market.order("buy", 1, 102).status is OrderStatus.FILLED


def test_prices_that_are_gone_are_forgotten() -> None:
    pause = PRINT_LAG_NS // MS + 1
    market = Replayed(
        snapshot([], [(10_000, 1)]),
        *(update([(price, 1), (price - 1, 0)])._replace(after_ms=pause) for price in range(2, 99)),
    )
    market.next(97)
    (book,) = market.recording._books
    assert len(book._levels) <= 4


Action = tuple[str, Side, int, int]
#: Longer than a trade and its book change lie apart.
PAUSE_MS = PRINT_LAG_NS // MS + 1


def _recording_of(actions: Iterable[Action]) -> list[list[Told] | Action]:
    """Make messages of what happens in the market, and leave what we do as it is."""
    levels: dict[str, dict[int, int]] = {"buy": {99: 5, 98: 3}, "sell": {101: 5, 102: 3}}
    steps: list[list[Told] | Action] = [
        [snapshot(levels["buy"].items(), levels["sell"].items())._replace(after_ms=PAUSE_MS)]
    ]

    def change(side: Side, price: int, lots: int) -> Told:
        levels[side][price] = lots
        levels[side] = {at: rest for at, rest in levels[side].items() if rest}
        return update(**{"bids" if side == "buy" else "asks": [(price, lots)]})

    for action in actions:
        kind, side, price, lots = action
        told: list[Told] = []
        if kind in ("order", "cancel"):
            steps.append(action)
        elif kind == "level":
            best_bid, best_ask = max(levels["buy"], default=0), min(levels["sell"], default=999)
            # The recording itself is never crossed.
            if not lots or (price < best_ask if side == "buy" else price > best_bid):
                told = [change(side, price, lots)]
        elif levels[side] and lots:
            price = max(levels[side]) if side == "buy" else min(levels[side])
            lots = min(lots, levels[side][price])
            told = [change(side, price, levels[side][price] - lots)]
            told.insert(
                kind == "trade_last", trade("sell" if side == "buy" else "buy", price, lots)
            )
        if told:
            steps.append([told[0]._replace(after_ms=PAUSE_MS), *told[1:]])
    return steps


actions = st.lists(
    st.tuples(
        st.sampled_from(["level", "level", "trade_first", "trade_last", "order", "cancel"]),
        st.sampled_from(["buy", "sell"]),
        st.integers(96, 104),
        st.integers(0, 12),
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=150)
@given(actions)
def test_both_ways_to_live_through_a_recording_agree(actions: list[Action]) -> None:
    """Our orders fill here as they do in a `PaperMarket`, which is built in another way."""
    steps = _recording_of(actions)
    told = [message for step in steps if isinstance(step, list) for message in step]
    market = Replayed(*told)
    book = OrderBook(MARKET)
    paper = PaperMarket(book)
    orders: list[tuple[Order, int]] = []
    fills: Counter[tuple[int, int]] = Counter()  # lots by paper number and price
    now_ns = 0
    for step in steps:
        made: list[PaperFill] = []
        if not isinstance(step, list):
            kind, side, price, lots = step
            resting = [(order, number) for order, number in orders if order.is_open]
            if kind == "order" and lots:
                number = paper.next_number()
                orders.append((market.order(side, lots, price), number))
                made = paper.submit(number, side, lots, price)
            elif kind == "cancel" and resting:
                order, number = resting[lots % len(resting)]
                market.exchange.cancel(market.us, order.id, market.now_ms)
                paper.cancel(number)
        for message in step if isinstance(step, list) else ():
            now_ns += message.after_ms * MS
            if message is not told[0]:
                market.next()
            rows = {
                name: [(int(row["price"]), int(row["quantity"])) for row in message.params[name]]
                for name in ("bids", "asks")
                if name in message.params
            }
            if message.method == "snapshotOrderbook":
                book.apply_snapshot(**rows, sequence=1)
            elif rows:
                book.apply_update(**rows, sequence=book.sequence + 1)
                made += paper.on_book(now_ns)
            else:
                (row,) = message.params["data"]
                made += paper.on_print(row["side"], int(row["price"]), int(row["quantity"]), now_ns)
        for fill in made:
            fills[fill.order_number, fill.ticks] += fill.lots
        numbers = {order: number for order, number in orders}
        filled: Counter[tuple[int, int]] = Counter()
        for share in market.us.trades:
            filled[numbers[share.order], share.trade.ticks] += share.trade.lots
        assert filled == fills, step
        for order, number in orders:
            assert paper.remaining(number) == order.remaining_lots


async def _depth_over_http(
    server: ExchangeServer, symbol: str
) -> dict[str, dict[Decimal, Decimal]]:
    url = f"{server.rest_url}/market/orderbook"
    async with aiohttp.ClientSession() as session:
        async with session.get(url, params={"symbol": symbol, "limit": "100000"}) as response:
            book = await response.json()
    return {
        side: {Decimal(row["price"]): Decimal(row["quantity"]) for row in book[side]}
        for side in ("bids", "asks")
    }


async def test_a_served_recording_moves_and_is_traded_with(
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    hour_ms = 3_600_000
    told = frames(
        [
            snapshot([(99, 5)], [(101, 3)]),
            update([(98, 2)])._replace(after_ms=2 * hour_ms),
            trade("sell", 99, 9),
        ]
    )
    now_ms = [NOW_MS]
    options = {"key": "K", "secret": "S", "markets": [ROW], "recording": told, "speed": 2.0}
    options |= {"clock_ms": lambda: now_ms[0], "is_paranoid": True}
    async with serve(ExchangeSettings(**options)) as server:

        async def is_live() -> bool:
            return bool((await _depth_over_http(server, "ETH/USDT"))["bids"])

        await eventually(is_live)
        order = {"symbol": "ETH/USDT", "side": "buy", "quantity": "3", "price": "99"}
        login = {"Authorization": f"Basic {base64.b64encode(b'K:S').decode()}"}
        async with aiohttp.ClientSession(headers=login) as session:
            async with session.post(f"{server.rest_url}/createorder", json=order) as response:
                placed = await response.json()
            assert placed["status"] == "New", placed
            assert not server.crowd.is_over
            now_ms[0] += hour_ms + 1

            async def is_filled() -> bool:
                async with session.get(f"{server.rest_url}/getorder/{placed['id']}") as response:
                    return bool((await response.json())["status"] == "Filled")

            await eventually(is_filled)
        assert server.crowd.is_over
        depth = await _depth_over_http(server, "ETH/USDT")
        # The five ahead of us are gone as well.
        assert depth == {"bids": {Decimal(98): 2}, "asks": {Decimal(101): 3}}
        assert not server.broken.done()


@pytest.mark.parametrize("name", ["bequant-2021-07-03", "coinbase-2021-04-17"])
async def test_a_served_capture_ends_with_the_book_that_it_ended_with(
    name: str,
    shared_data: Path,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    path = shared_data / "captures" / f"{name}.tsv.gz"
    rows, reader = load_recording(path)
    decoder = FrameDecoder([Market.from_wire(row) for row in rows])
    for unix_ns, frame in reader:
        decoder.feed(frame, unix_ns)
    async with serve(ExchangeSettings(markets=rows, recording=reader, speed=1e4)) as server:

        async def is_over() -> bool:
            return server.crowd.is_over

        await eventually(is_over)
        for row in rows:
            symbol = row["symbol"]
            market = server.exchange.listing(symbol).market
            expected = decoder.book(symbol).depth(100_000)
            depth = await _depth_over_http(server, symbol)
            for side, levels in zip(("bids", "asks"), expected, strict=True):
                assert depth[side] == {
                    market.ticks_to_price(ticks): market.lots_to_quantity(lots)
                    for ticks, lots in levels.tolist()
                }


def test_a_file_without_frames_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a recording\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"notes\.txt holds no recorded frame") as caught:
        load_recording(path)
    assert str(caught.value).count("notes.txt") == 1


def test_a_recording_of_trades_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trades.tsv"
    with TapeWriter(path) as tape:
        for unix_ns, frame in frames([trade("buy", 101, 1)]):
            tape.write(unix_ns, frame)
    with pytest.raises(ConfigError, match="no book of any market"):
        load_recording(path)
