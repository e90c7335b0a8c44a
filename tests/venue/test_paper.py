"""The paper venue: an exact exchange around a market that is only watched."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from decimal import Decimal as D
from typing import Any

import pytest

from nkfast import errors
from nkfast.core.market import Market
from nkfast.venue import paper
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.paper import Deliver, PaperVenue
from nkfast.venue.port import Execution, Holding, NewOrder, OrderUpdate, PublicTrade, VenueStatus

START_NS = 1_618_677_817_000_000_000
MARKET = Market("AAA/USDT", 2, 3, maker_fee="0.001", taker_fee="0.002")
FUNDS = {"AAA": D(100), "USDT": D(1000)}


def book_frame(
    kind: str,
    sequence: int,
    bids: Iterable[tuple[str, str]] = (),
    asks: Iterable[tuple[str, str]] = (),
    symbol: str = "AAA/USDT",
) -> bytes:
    params = {
        "symbol": symbol,
        "sequence": sequence,
        "bids": [{"price": price, "quantity": quantity} for price, quantity in bids],
        "asks": [{"price": price, "quantity": quantity} for price, quantity in asks],
    }
    return json.dumps({"jsonrpc": "2.0", "method": f"{kind}Orderbook", "params": params}).encode()


def trades_frame(*trades: tuple[str, str, str], method: str = "updateTrades") -> bytes:
    data = [
        {
            "id": str(number),
            "side": side,
            "price": price,
            "quantity": quantity,
            "timestamp": "2021-04-17T16:43:37.089Z",
        }
        for number, (side, price, quantity) in enumerate(trades)
    ]
    params = {"symbol": "AAA/USDT", "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


SNAPSHOT = book_frame(
    "snapshot", 1, [("9.99", "5"), ("9.98", "7")], [("10.01", "4"), ("10.02", "6")]
)


class Script:
    """A feed that delivers what a test puts into it, at once."""

    def __init__(self, *frames: bytes) -> None:
        self._frames = frames
        self._end = asyncio.Event()
        self.error: Exception | None = None

    async def run(self, symbols: Sequence[str], deliver: Deliver) -> None:
        for frame in self._frames:
            deliver(frame, 0)
        await self._end.wait()
        if self.error is not None:
            raise self.error

    def end(self, error: Exception | None = None) -> None:
        self.error = error
        self._end.set()


class Recorder:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.books: list[tuple[str, int]] = []
        self.orders: list[OrderUpdate] = []
        self.holdings: dict[str, Holding] = {}
        self.trades: list[PublicTrade] = []
        self.connections: list[bool] = []

    def on_book(self, symbol: str, received_ns: int) -> None:
        self.books.append((symbol, received_ns))

    def on_order(self, update: OrderUpdate) -> None:
        self.orders.append(update)

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        self.holdings.update((holding.asset, holding) for holding in holdings)

    def on_trade(self, trade: PublicTrade) -> None:
        self.trades.append(trade)

    def on_connection(self, is_up: bool, reason: str) -> None:
        self.connections.append(is_up)

    @property
    def executions(self) -> list[Execution]:
        return [update.execution for update in self.orders if update.execution is not None]


class Desk:
    """A started paper venue, its feed and its listener."""

    def __init__(
        self, clock: VirtualClock, *, market: Market = MARKET, latency_ns: int = 0
    ) -> None:
        self.clock = clock
        self.feed = Script(SNAPSHOT)
        self.heard = Recorder()
        self.venue = PaperVenue(
            feed=self.feed, markets=[market], funds=FUNDS, clock=clock, latency_ns=latency_ns
        )
        self._ids = 0

    async def start(self) -> None:
        await self.venue.start(["AAA/USDT"], self.heard)

    def deliver(self, frame: bytes) -> None:
        self.venue.deliver(frame, self.clock.monotonic_ns())

    async def order(
        self, side: Any, quantity: str, price: str | None, client_id: str = "", kind: Any = "limit"
    ) -> OrderUpdate:
        self._ids += 1
        request = NewOrder(
            client_id=client_id or f"c{self._ids}",
            symbol="AAA/USDT",
            side=side,
            quantity=D(quantity),
            price=None if price is None else D(price),
            type=kind,
        )
        return await self.venue.submit(request)

    async def balances(self) -> dict[str, tuple[D, D]]:
        return {h.asset: (h.available, h.held) for h in await self.venue.holdings()}


def at_desk(scene: Callable[[Desk], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run one scene at a started desk, under virtual time."""

    async def main(clock: VirtualClock) -> None:
        desk = Desk(clock, **options)
        await desk.start()
        try:
            await scene(desk)
        finally:
            await desk.venue.close()

    run_virtual(main, START_NS)


def test_a_resting_buy_holds_its_cost_and_the_higher_fee() -> None:
    async def scene(desk: Desk) -> None:
        accepted = await desk.order("buy", "10", "9.50")
        assert accepted.status is VenueStatus.OPEN
        assert accepted.executed == 0
        assert await desk.balances() == {"AAA": (D(100), D(0)), "USDT": (D("904.81"), D("95.19"))}
        assert [o.client_id for o in await desk.venue.open_orders("AAA/USDT")] == ["c1"]
        final = await desk.venue.cancel("AAA/USDT", "c1", accepted.order_id)
        assert final.status is VenueStatus.CANCELLED
        assert await desk.balances() == {"AAA": (D(100), D(0)), "USDT": (D(1000), D(0))}
        assert await desk.venue.open_orders("AAA/USDT") == []
        assert [u.status for u in desk.heard.orders] == [VenueStatus.OPEN, VenueStatus.CANCELLED]

    at_desk(scene)


def test_a_taker_pays_the_levels_and_the_taker_fee_and_gets_the_better_price_back() -> None:
    async def scene(desk: Desk) -> None:
        accepted = await desk.order("buy", "5", "10.02")
        assert accepted.executed == 0  # the reply tells the acceptance; fills are reported
        first, second = desk.heard.executions
        assert (first.price, first.quantity, first.fee) == (D("10.01"), D(4), D("0.08008"))
        assert (second.price, second.quantity, second.fee) == (D("10.02"), D(1), D("0.02004"))
        assert not first.is_maker
        assert first.fee_asset == "USDT"
        assert first.trade_id != second.trade_id
        last = desk.heard.orders[-1]
        assert (last.status, last.executed) == (VenueStatus.FILLED, D(5))
        paid = D("40.04") + D("10.02") + D("0.08008") + D("0.02004")
        assert await desk.balances() == {"AAA": (D(105), D(0)), "USDT": (D(1000) - paid, D(0))}
        assert desk.heard.holdings["AAA"].available == D(105)

    at_desk(scene)


def test_a_resting_sell_fills_in_parts_and_pays_the_maker_fee() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("sell", "3", "10.00")
        assert (await desk.balances())["AAA"] == (D(97), D(3))
        desk.deliver(trades_frame(("buy", "10.00", "1.25")))
        assert (await desk.balances())["AAA"] == (D(97), D("1.75"))
        assert (await desk.balances())["USDT"] == (D("1012.5") - D("0.0125"), D(0))
        assert desk.heard.orders[-1].status is VenueStatus.PARTLY_FILLED
        desk.deliver(trades_frame(("buy", "10.01", "100")))
        assert desk.heard.orders[-1].status is VenueStatus.FILLED
        assert [e.is_maker for e in desk.heard.executions] == [True, True]
        assert sum(e.quantity for e in desk.heard.executions) == D(3)
        found = await desk.venue.find_order("AAA/USDT", "c1")
        assert found is not None
        assert (found.status, found.executed) == (VenueStatus.FILLED, D(3))
        assert await desk.venue.executions("AAA/USDT", 0) == desk.heard.executions
        assert await desk.venue.executions("AAA/USDT", desk.heard.executions[0].time_ms + 1) == []
        assert [trade.side for trade in desk.heard.trades] == ["buy", "buy"]

    at_desk(scene)


def test_the_recorded_book_crossing_our_order_fills_it() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("buy", "3", "10.00")
        desk.deliver(book_frame("update", 2, asks=[("9.995", "9")]))
        assert desk.heard.executions == []  # 9.995 is not on this market's grid: frame refused
        desk.deliver(book_frame("update", 2, asks=[("10.00", "1")]))
        [fill] = desk.heard.executions
        assert (fill.price, fill.quantity, fill.is_maker) == (D("10.00"), D(1), True)

    at_desk(scene)


def test_a_market_order_fills_what_there_is_and_ends() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("buy", "50", None, kind="market")
        assert desk.heard.orders[-1].status is VenueStatus.CANCELLED
        assert desk.heard.orders[-1].executed == D(10)
        spent = (D("40.04") + D("60.12")) * D("1.002")
        assert await desk.balances() == {"AAA": (D(110), D(0)), "USDT": (D(1000) - spent, D(0))}
        await desk.order("sell", "12", None, kind="market")
        assert desk.heard.orders[-1].status is VenueStatus.FILLED
        assert (await desk.balances())["AAA"] == (D(98), D(0))

    at_desk(scene)


def test_a_trade_with_ourselves_changes_nothing_but_fees() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("sell", "2", "10.00")
        await desk.order("buy", "2", "10.00")
        maker, taker = desk.heard.executions
        assert (maker.order_id, maker.trade_id) != (taker.order_id, taker.trade_id)
        assert maker.trade_id == taker.trade_id
        fees = D(20) * D("0.003")
        assert await desk.balances() == {"AAA": (D(100), D(0)), "USDT": (D(1000) - fees, D(0))}

    at_desk(scene)


@pytest.mark.parametrize(
    ("order", "refusal"),
    [
        (("buy", "200", "9.00"), errors.InsufficientFundsError),
        (("sell", "100.001", "11.00"), errors.InsufficientFundsError),
        (("buy", "0.4", "9.00"), errors.BelowMinimumError),
        (("buy", "0.5", "1.99"), errors.BelowMinimumError),
        (("buy", "1.0001", "9.00"), errors.InvalidOrderError),
        (("buy", "1", "9.001"), errors.InvalidOrderError),
        (("buy", "0", "9.00"), errors.InvalidOrderError),
        (("buy", "-1", "9.00"), errors.InvalidOrderError),
        (("buy", "1", "0"), errors.InvalidOrderError),
        (("buy", "1", None), errors.InvalidOrderError),
        (("buy", "1", "1.00"), errors.InvalidOrderError),
        (("sell", "1", "99.01"), errors.InvalidOrderError),
        (("buy", "1", None, "x", "market"), errors.InvalidOrderError),
    ],
)
def test_what_the_venue_would_refuse_is_refused(
    order: tuple[Any, ...], refusal: type[Exception]
) -> None:
    market = Market(
        "AAA/USDT",
        2,
        3,
        min_quantity="0.5",
        min_notional=1,
        min_price="1.50",
        max_price=99,
        allow_market_orders=False,
    )
    if refusal is errors.BelowMinimumError and order[2] == "1.99":
        market = Market("AAA/USDT", 2, 3, min_quantity="0.5", min_notional=1)

    async def scene(desk: Desk) -> None:
        with pytest.raises(refusal) as refused:
            await desk.order(*order)
        assert type(refused.value) is refusal
        assert desk.heard.orders == []
        assert await desk.balances() == {"AAA": (D(100), D(0)), "USDT": (D(1000), D(0))}
        assert await desk.venue.find_order("AAA/USDT", "c1") is None

    at_desk(scene, market=market)


def test_the_last_cent_can_be_spent_and_not_one_more() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("buy", "99.8", "10.00")  # 998 * 1.002 = 999.996
        assert (await desk.balances())["USDT"][0] == D("0.004")
        with pytest.raises(errors.InsufficientFundsError, match=r"0\.01002 USDT needed, 0\.004"):
            await desk.order("buy", "0.01", "1.00")

    at_desk(scene)


def test_an_id_is_taken_once() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("buy", "1", "9.00", "same")
        await desk.venue.cancel("AAA/USDT", "same", "")
        with pytest.raises(errors.DuplicateClientIdError) as refused:
            await desk.order("buy", "1", "9.00", "same")
        assert refused.value.code == 20008

    at_desk(scene)


def test_cancelling_what_is_not_open_is_not_found() -> None:
    async def scene(desk: Desk) -> None:
        accepted = await desk.order("buy", "1", "9.00")
        await desk.venue.cancel("AAA/USDT", "", accepted.order_id)  # the venue's id works alone
        for client_id, order_id in (("c1", accepted.order_id), ("nobody", ""), ("", "nothing")):
            with pytest.raises(errors.OrderNotFoundError) as refused:
                await desk.venue.cancel("AAA/USDT", client_id, order_id)
            assert refused.value.code == 20002

    at_desk(scene)


@pytest.mark.parametrize("rule", ["is_paused", "pause_buys"])
def test_a_paused_market_takes_nothing(rule: str) -> None:
    async def scene(desk: Desk) -> None:
        with pytest.raises(errors.MarketPausedError):
            await desk.order("buy", "1", "9.00")

    at_desk(scene, market=Market("AAA/USDT", 2, 3, **{rule: True}))


def test_requests_and_answers_take_the_latency_and_keep_their_order() -> None:
    async def scene(desk: Desk) -> None:
        order = NewOrder("c1", "AAA/USDT", "buy", D(1), D("10.00"))
        placed = desk.venue.submit(order)
        cancelled = desk.venue.cancel("AAA/USDT", "c1", "")
        assert await desk.venue.find_order("AAA/USDT", "c1") is None
        desk.deliver(trades_frame(("sell", "9.50", "100")))  # too early to fill us
        await cancelled
        assert placed.result().status is VenueStatus.OPEN
        assert desk.clock.monotonic_ns() == 250_000_000
        assert desk.heard.executions == []

    at_desk(scene, latency_ns=250_000_000)


def test_closing_tells_requests_on_their_way() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk(clock, latency_ns=10**9)
        await desk.start()
        future = desk.venue.submit(NewOrder("c1", "AAA/USDT", "buy", D(1), D("9.00")))
        await desk.venue.close()
        with pytest.raises(errors.UnreachableError) as refused:
            await future
        assert refused.value.sent == "no"
        await asyncio.sleep(2)
        assert desk.heard.orders == []

    run_virtual(main, START_NS)


def test_giving_up_the_wait_does_not_take_the_order_back() -> None:
    async def scene(desk: Desk) -> None:
        future = desk.venue.submit(NewOrder("c1", "AAA/USDT", "buy", D(1), D("9.00")))
        refused = desk.venue.submit(NewOrder("c1", "AAA/USDT", "buy", D(1), D("9.00")))
        future.cancel()
        refused.cancel()
        await asyncio.sleep(1)
        found = await desk.venue.find_order("AAA/USDT", "c1")
        assert found is not None
        assert found.status is VenueStatus.OPEN
        assert [update.client_id for update in desk.heard.orders] == ["c1"]

    at_desk(scene, latency_ns=10**6)


def test_finished_orders_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "_REMEMBERED", 2)

    async def scene(desk: Desk) -> None:
        for name in ("a", "b", "c"):
            await desk.order("buy", "1", "9.00", name)
            await desk.venue.cancel("AAA/USDT", name, "")
        assert await desk.venue.find_order("AAA/USDT", "a") is None
        assert await desk.venue.find_order("AAA/USDT", "c") is not None

    at_desk(scene)


def test_a_market_that_nobody_watches_takes_no_order() -> None:
    async def main(clock: VirtualClock) -> None:
        other = Market("BBB/USDT", 2, 3)
        venue = PaperVenue(feed=Script(SNAPSHOT), markets=[MARKET, other], funds=FUNDS, clock=clock)
        await venue.start(["AAA/USDT"], Recorder())
        for symbol, refusal in (
            ("BBB/USDT", errors.MarketPausedError),
            ("ZZZ/USDT", errors.SymbolNotFoundError),
        ):
            with pytest.raises(refusal):
                await venue.submit(NewOrder("c1", symbol, "buy", D(1), D("9.00")))
        await venue.close()

    run_virtual(main, START_NS)


def test_a_gap_stops_the_market_until_the_next_snapshot() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("buy", "1", "10.00")
        for sequence in range(1000, 1100):  # more than any reordering explains
            desk.deliver(book_frame("update", sequence, asks=[("9.90", "1")]))
        assert desk.venue.book("AAA/USDT").state == "stale"
        desk.deliver(trades_frame(("sell", "9.00", "100")))
        assert desk.heard.executions == []
        with pytest.raises(errors.MarketPausedError, match="stale"):
            await desk.order("buy", "1", "9.00")
        desk.deliver(book_frame("snapshot", 2000, [("9.80", "1")], [("9.90", "0.4")]))
        [fill] = desk.heard.executions
        assert (fill.price, fill.quantity) == (D("10.00"), D("0.4"))
        await desk.order("buy", "1", "9.00")
        await desk.venue.cancel("AAA/USDT", "c1", "")

    at_desk(scene)


def test_changes_of_a_burst_are_told_once() -> None:
    async def scene(desk: Desk) -> None:
        await asyncio.sleep(1)
        desk.heard.books.clear()
        for sequence in range(2, 12):
            desk.deliver(book_frame("update", sequence, bids=[("9.99", str(sequence))]))
        assert desk.heard.books == []
        await asyncio.sleep(0)
        assert desk.heard.books == [("AAA/USDT", 10**9)]

    at_desk(scene)


def test_what_cannot_be_read_changes_nothing_and_is_counted() -> None:
    async def scene(desk: Desk) -> None:
        await desk.order("sell", "1", "10.00")
        version = desk.venue.book("AAA/USDT").version
        bad = [
            b"",
            b"\x00\xff",
            b"[]",
            b'{"method":"updateOrderbook","params":{"symbol":"AAA/USDT","sequence":2,"bids":[{',
            book_frame("update", 2, bids=[("-1", "5")]),
            book_frame("update", 2, bids=[("1e3", "5")]),
            trades_frame(("buy", "10.005", "5")),
            trades_frame(("buy", "10.00", "5"), ("sideways", "10.00", "5")),
            trades_frame(("buy", "NaN", "5")),
            trades_frame(("buy", "10.00", "50"), method="snapshotTrades"),
            b'{"method":"updateTrades","params":{"symbol":"AAA/USDT","data":7}}',
            trades_frame(("buy", "10.00", "5")).replace(b"2021-04-17T", b"yesterday"),
        ]
        for frame in bad:
            desk.deliver(frame)
        assert desk.venue.book("AAA/USDT").version == version
        assert desk.heard.executions == []
        assert desk.heard.trades == []
        counters = desk.venue.counters
        assert counters["trades_rejected"] == 1
        assert counters["rejected"] + counters["other"] + counters["trades"] == len(bad)

    at_desk(scene)


def test_start_refuses_unknown_symbols_and_a_feed_without_snapshot() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk(clock)
        with pytest.raises(errors.SymbolNotFoundError):
            await desk.venue.start(["ZZZ/USDT"], desk.heard)
        silent = Script()
        silent.end()
        venue = PaperVenue(feed=silent, markets=[MARKET], funds=FUNDS, clock=clock)
        with pytest.raises(errors.UnreachableError, match="before a snapshot of AAA/USDT"):
            await venue.start(["AAA/USDT"], desk.heard)
        await venue.close()
        failing = Script()
        failing.end(OSError("disk gone"))
        venue = PaperVenue(feed=failing, markets=[MARKET], funds=FUNDS, clock=clock)
        with pytest.raises(errors.UnreachableError, match="disk gone"):
            await venue.start(["AAA/USDT"], desk.heard)
        with pytest.raises(OSError, match="disk gone"):
            await venue.ended
        await venue.close()

    run_virtual(main, START_NS)


def test_a_venue_that_never_started_can_be_closed() -> None:
    async def main(clock: VirtualClock) -> None:
        venue = PaperVenue(feed=Script(), markets=[MARKET], funds=FUNDS, clock=clock)
        assert venue.markets == {}
        assert set(venue.counters.values()) == {0}
        await venue.close()

    run_virtual(main, START_NS)


def test_the_end_and_the_failure_of_a_feed_are_told() -> None:
    async def main(clock: VirtualClock) -> None:
        ended, failed = Desk(clock), Desk(clock)
        await ended.start()
        await failed.start()
        ended.feed.end()
        failed.feed.end(OSError("disk gone"))
        await ended.venue.ended
        assert ended.heard.connections == [True]
        with pytest.raises(OSError, match="disk gone"):
            await failed.venue.ended
        assert failed.heard.connections == [True, False]
        assert failed.venue.book("AAA/USDT").state == "stale"
        await ended.venue.close()
        await failed.venue.close()

    run_virtual(main, START_NS)


def test_two_runs_give_the_same_ids_and_fills() -> None:
    def run() -> list[OrderUpdate]:
        heard: list[OrderUpdate] = []

        async def scene(desk: Desk) -> None:
            await desk.order("buy", "5", "10.02")
            await desk.order("sell", "3", "10.00")
            desk.deliver(trades_frame(("buy", "10.00", "1.25"), ("buy", "10.05", "0.5")))
            heard.extend(desk.heard.orders)

        at_desk(scene)
        return heard

    assert run() == run()


@pytest.mark.parametrize("funds", [D(-1), D("NaN")])
def test_impossible_funds_are_refused(funds: D) -> None:
    with pytest.raises(ValueError, match="funds of AAA"):
        PaperVenue(feed=Script(), markets=[MARKET], funds={"AAA": funds}, clock=None)  # type: ignore[arg-type]
