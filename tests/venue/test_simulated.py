"""The exchange of this process as a venue: what is told, what is lost, how it comes back."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from nkfast.errors import InsufficientFundsError, OutcomeUnknownError, RateLimitError, VenueError
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.rules import OrderForm
from nkfast.exchange.weather import Rule, Weather
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.port import NewOrder, VenueStatus
from nkfast.venue.simulated import SimulatedVenue

SYMBOL = "BTC/USDT"
START_NS = 1_790_000_000 * 10**9


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.holdings: dict[str, Any] = {}
        self.trades: list[Any] = []
        self.connections: list[bool] = []
        self.books = 0

    def on_book(self, symbol: str, received_ns: int) -> None:
        self.books += 1

    def on_order(self, update: Any) -> None:
        self.orders.append(update)

    def on_holdings(self, holdings: Any) -> None:
        self.holdings.update({holding.asset: holding for holding in holdings})

    def on_trade(self, trade: Any) -> None:
        self.trades.append(trade)

    def on_connection(self, is_up: bool, reason: str) -> None:
        self.connections.append(is_up)


class Stage:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.exchange = Exchange(DEFAULT_MARKETS[:1], now_ms=clock.time_ns() // 1_000_000)
        self.account = self.exchange.open_account("us", {"BTC": "1", "USDT": "100000"})
        self.other = self.exchange.open_account("other", {"BTC": "9", "USDT": "900000"})
        self.weather = Weather()
        self.heard = Heard()
        self.venue = SimulatedVenue(self.exchange, self.account, clock=clock, weather=self.weather)

    def trade(self, side: str, quantity: str, price: str) -> None:
        form = {"symbol": SYMBOL, "side": side, "quantity": quantity, "price": price}
        now_ms = self.clock.time_ns() // 1_000_000
        self.exchange.submit(self.other, OrderForm.from_wire(form), now_ms)

    def blow(self, *rules: Rule) -> None:
        self.weather.change(rules, 0)


def order(client_id: str, side: Any = "buy", quantity: str = "0.1", price: str = "50000"):
    return NewOrder(client_id, SYMBOL, side, Decimal(quantity), Decimal(price))


@pytest.fixture
def on_stage() -> Callable[[Callable[[Stage], Any]], None]:
    def run(scenario: Callable[[Stage], Any]) -> None:
        async def main(clock: VirtualClock) -> None:
            stage = Stage(clock)
            await stage.venue.start([SYMBOL], stage.heard)
            await scenario(stage)
            await stage.venue.close()
            assert len(asyncio.all_tasks()) == 1
            assert stage.exchange.listeners == []

        run_virtual(main, START_NS)

    return run


def test_order_rests_is_filled_and_told(on_stage: Any) -> None:
    async def scenario(stage: Stage) -> None:
        accepted = await stage.venue.submit(order("a"))
        assert (accepted.status, accepted.executed) == (VenueStatus.OPEN, 0)
        assert stage.venue.book(SYMBOL).best_bid == (5_000_000, 100_000)
        assert (await stage.venue.find_order(SYMBOL, "a")).order_id == accepted.order_id
        assert [one.client_id for one in await stage.venue.open_orders(SYMBOL)] == ["a"]
        stage.trade("sell", "0.04", "50000")
        await asyncio.sleep(0)  # news takes one turn of the loop to the client
        told = stage.heard.orders[-1]
        assert (told.executed, told.status) == (Decimal("0.04"), VenueStatus.PARTLY_FILLED)
        (fill,) = await stage.venue.executions(SYMBOL, 0)
        assert (fill.trade_id, fill.fee) == (told.execution.trade_id, told.execution.fee)
        assert fill.fee == Decimal("4")
        assert [trade.side for trade in stage.heard.trades] == ["sell"]
        cancelled = await stage.venue.cancel(SYMBOL, "a", "")
        assert (cancelled.status, cancelled.executed) == (VenueStatus.CANCELLED, Decimal("0.04"))
        holdings = {one.asset: one for one in await stage.venue.holdings()}
        assert holdings["BTC"].available == Decimal("1.04")
        assert holdings["USDT"] == stage.heard.holdings["USDT"]

    on_stage(scenario)


def test_history_book_and_a_new_connection_on_demand(on_stage: Any) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.venue.submit(order("a"))
        await stage.venue.submit(order("b"))
        await stage.venue.cancel(SYMBOL, "a", "")
        statuses = {row.client_id: row.status for row in await stage.venue.order_history(SYMBOL, 0)}
        assert statuses == {"a": VenueStatus.CANCELLED, "b": VenueStatus.OPEN}
        later_ms = stage.clock.time_ns() // 1_000_000 + 1
        assert await stage.venue.order_history(SYMBOL, later_ms) == []
        book = await stage.venue.read_book(SYMBOL, 5)
        assert (list(book.bids), list(book.asks)) == ([(Decimal(50000), Decimal("0.1"))], [])
        stage.venue.resync("the machine slept")
        await asyncio.sleep(5)
        assert stage.heard.connections == [True, False, True]
        assert stage.venue.book(SYMBOL).state == "live"

    on_stage(scenario)


def test_refusal_is_the_exchange_s(on_stage: Any) -> None:
    async def scenario(stage: Stage) -> None:
        with pytest.raises(InsufficientFundsError):
            await stage.venue.submit(order("a", quantity="100"))
        assert await stage.venue.find_order(SYMBOL, "a") is None

    on_stage(scenario)


@pytest.mark.parametrize(
    ("fault", "error", "is_accepted"),
    [
        ("reset_before", OutcomeUnknownError, False),
        ("reset_after", OutcomeUnknownError, True),
        ("error_after", OutcomeUnknownError, True),
        ("truncated", OutcomeUnknownError, True),
        ("html_before", OutcomeUnknownError, False),
        ("rate_limit", RateLimitError, False),
        ("late", OutcomeUnknownError, True),
    ],
)
def test_lost_answer_leaves_the_outcome_open(
    on_stage: Any, fault: Any, error: Any, is_accepted: bool
) -> None:
    async def scenario(stage: Stage) -> None:
        stage.blow(Rule(fault, on="create", seconds=1.0))
        with pytest.raises(error):
            await stage.venue.submit(order("a"))
        await asyncio.sleep(5)
        assert (await stage.venue.find_order(SYMBOL, "a") is not None) is is_accepted

    on_stage(scenario)


def test_read_that_fails_is_an_error_and_not_an_empty_list(on_stage: Any) -> None:
    async def scenario(stage: Stage) -> None:
        stage.blow(Rule("html_before", on="read"))
        for read in (stage.venue.open_orders(SYMBOL), stage.venue.find_order(SYMBOL, "a")):
            with pytest.raises(VenueError):
                await read

    on_stage(scenario)


def test_answer_takes_the_time_of_both_directions(on_stage: Any) -> None:
    async def scenario(stage: Stage) -> None:
        stage.blow(Rule("delay_in", seconds=2.0), Rule("delay_out", seconds=3.0))
        began_ns = stage.clock.monotonic_ns()
        await stage.venue.submit(order("a"))
        assert stage.clock.monotonic_ns() - began_ns == 5 * 10**9

    on_stage(scenario)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("drop", on="updateOrderbook", times=1),
        Rule("reset", on="updateOrderbook", times=1),
        Rule("stall", on="book", times=1, seconds=1.0),
        Rule("maintenance", seconds=3.0),
    ],
)
def test_book_is_right_again_after_it_was_lost(on_stage: Any, rule: Rule) -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(1)
        stage.blow(rule, Rule("drop", on="snapshotOrderbook", times=1))
        for number in range(3):
            stage.trade("buy", "0.01", str(40_000 + number))
            await asyncio.sleep(0.5)
        await asyncio.sleep(60)
        assert stage.heard.connections[0] and stage.heard.connections[-1]
        assert False in stage.heard.connections
        assert stage.venue.book(SYMBOL).state == "live"
        assert stage.venue.book(SYMBOL).best_bid == (4_000_200, 10_000)

    on_stage(scenario)


def test_frames_that_make_no_sense_are_counted(on_stage: Any) -> None:
    async def scenario(stage: Stage) -> None:
        stage.blow(Rule("blank", on="report"), Rule("cut", on="balance"))
        await stage.venue.submit(order("a"))
        assert stage.heard.orders == []
        assert stage.venue.counters["messages_rejected"] == 1
        assert stage.venue.counters["rejected_json"] == 1

    on_stage(scenario)
