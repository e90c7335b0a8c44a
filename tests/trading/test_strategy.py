"""What a strategy may ask for beside resting orders, and what it is told: the interface kept."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trading.conftest import LIMITS, START_NS, SYMBOL, Wanting

from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.rules import OrderForm
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal, verify
from nkfast.trading.strategy import Desired, EndedOrder, MarketView, Quote
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.port import PublicTrade
from nkfast.venue.simulated import SimulatedVenue

D = Decimal
START_MS = START_NS // 1_000_000


class Listening(Wanting):
    """Takes note of everything that it can be told."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[EndedOrder] = []
        self.trades: list[PublicTrade] = []
        self.wish: Callable[[MarketView], Desired] | None = None
        self.raises_on: str | None = None
        self.asked_ms: list[int] = []

    def decide(self, view: MarketView) -> Desired:
        self.asked_ms.append(view.now_ms - START_MS)
        desired = super().decide(view)
        return desired if self.wish is None else self.wish(view)

    def on_end(self, order: EndedOrder) -> None:
        if self.raises_on == "end":
            raise ZeroDivisionError("end")
        self.ends.append(order)

    def on_trade(self, trade: PublicTrade) -> None:
        if self.raises_on == "trade":
            raise ZeroDivisionError("trade")
        self.trades.append(trade)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "ends": [order.client_id for order in self.ends]}


@pytest.fixture
def on_desk(on_virtual_desk):
    """Run ``test(desk)`` with a strategy that listens."""

    def run(test: Callable[[Any], Any]) -> None:
        async def listening(desk) -> None:
            desk.strategy = Listening()
            await test(desk)

        on_virtual_desk(listening)

    return run


# Time ------------------------------------------------------------------------------------------


def test_it_is_asked_again_at_the_time_that_it_names_on_a_quiet_market(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        times = [START_MS + 5_000, START_MS + 12_345]
        idle = Desired()
        held: dict[int, Desired] = {at: Desired(again_at_ms=at) for at in times}

        def wish(view: MarketView) -> Desired:
            return next((held[at] for at in times if view.now_ms < at), idle)

        strategy.wish = wish
        async with desk.trading(reconcile_interval_s=1000, rules_interval_s=1000):
            await asyncio.sleep(4)
            before = len(strategy.asked_ms)
            await asyncio.sleep(600)
            assert strategy.asked_ms[before:] == [5_000, 12_345]

    on_desk(test)


def test_another_time_replaces_the_one_before_and_none_takes_it_back(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        strategy.desired = Desired(again_at_ms=START_MS + 60_000)
        async with desk.trading(reconcile_interval_s=1000, rules_interval_s=1000):
            await asyncio.sleep(10)
            strategy.desired = Desired(again_at_ms=START_MS + 20_000)
            desk.venue.tell_book()
            await asyncio.sleep(5)
            strategy.desired = Desired(again_at_ms=START_MS + 30_000)
            desk.venue.tell_book()
            before = len(strategy.asked_ms)
            await asyncio.sleep(20)
            assert strategy.asked_ms[before:] == [30_000]
            strategy.desired = Desired(again_at_ms=START_MS + 70_000)
            desk.venue.tell_book()
            strategy.desired = Desired()
            desk.venue.tell_book()
            before = len(strategy.asked_ms)
            await asyncio.sleep(100)
            assert strategy.asked_ms[before:] == []

    on_desk(test)


def test_a_time_that_is_past_spins_no_loop(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        strategy.wish = lambda view: Desired(again_at_ms=view.now_ms - 1)
        async with desk.trading(reconcile_interval_s=1000, rules_interval_s=1000):
            await asyncio.sleep(1.005)  # between two of its questions
            before = len(strategy.asked_ms)
            await asyncio.sleep(1)
            assert len(strategy.asked_ms) - before == 100

    on_desk(test)


def test_a_time_far_away_is_waited_for(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        held = Desired(again_at_ms=START_MS + 3 * 86_400_000)
        strategy.wish = lambda view: held if view.now_ms < held.again_at_ms else Desired()
        quiet = dict.fromkeys(("reconcile_interval_s", "rules_interval_s"), 10**7)
        async with desk.trading(**quiet, audit_interval_s=10**7):
            await asyncio.sleep(10)
            before = len(strategy.asked_ms)
            await asyncio.sleep(4 * 86_400)
            assert strategy.asked_ms[before:] == [3 * 86_400_000]

    on_desk(test)


def test_a_clock_that_is_set_moves_the_time_too(on_desk) -> None:
    async def test(desk) -> None:
        strategy, ahead_ns = desk.strategy, 0
        clock = desk.clock
        true_ns = clock.time_ns
        clock.time_ns = lambda: true_ns() + ahead_ns
        held = Desired(again_at_ms=START_MS + 3_600_000)
        strategy.wish = lambda view: held if view.now_ms < START_MS + 3_600_000 else Desired()
        async with desk.trading(reconcile_interval_s=1000, rules_interval_s=1000) as engine:
            await asyncio.sleep(10)
            before = len(strategy.asked_ms)
            ahead_ns = 3_595 * 10**9  # the named time is one of the next seconds now
            await asyncio.sleep(10)
            assert engine.reasons["CLOCK_SET"] == 1
            (asked_ms,) = strategy.asked_ms[before:]
            assert 3_600_000 <= asked_ms < 3_607_000

    on_desk(test)


def test_a_pause_outweighs_the_time_and_a_resume_asks_at_once(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        strategy.desired = Desired(again_at_ms=START_MS + 20_000)
        async with desk.trading(reconcile_interval_s=1000, rules_interval_s=1000) as engine:
            await asyncio.sleep(10)
            engine.pause("a test")
            before = len(strategy.asked_ms)
            await asyncio.sleep(30)
            assert strategy.asked_ms[before:] == []
            engine.resume()
            await asyncio.sleep(1)
            assert len(strategy.asked_ms) == before + 1

    on_desk(test)


def test_an_order_is_cancelled_at_its_age_and_placed_again_while_named(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        strategy.desired = Desired({"low": Quote("buy", D(99), D(1), good_for_ms=20_000)})
        async with desk.trading(reconcile_interval_s=1000, rules_interval_s=1000) as engine:
            await asyncio.sleep(19)
            assert len(desk.venue.wire) == 1
            assert 0 <= strategy.views[-1].orders["low"].placed_ms - START_MS < 100
            assert strategy.views[-1].orders["low"].symbol == SYMBOL
            await asyncio.sleep(2)
            assert desk.venue.cancelled_on_wire == desk.venue.wire[:1]
            assert len(desk.venue.wire) == 2
            assert [(order.end, order.executed) for order in strategy.ends] == [("cancelled", 0)]
            await asyncio.sleep(20)
            assert len(desk.venue.wire) == 3
            assert engine.orders.open_count == 1

    on_desk(test)


def test_the_age_of_an_order_counts_over_a_restart(on_desk) -> None:
    async def test(desk) -> None:
        desired = Desired({"low": Quote("buy", D(99), D(1), good_for_ms=60_000)})
        desk.strategy.desired = desired
        async with desk.trading(on_exit="keep"):
            await asyncio.sleep(40)
        desk.strategy = Listening()
        desk.strategy.desired = desired
        async with desk.trading():
            await asyncio.sleep(10)
            assert desk.venue.cancelled_on_wire == []
            await asyncio.sleep(15)
            assert len(desk.venue.cancelled_on_wire) == 1

    on_desk(test)


# Ends ------------------------------------------------------------------------------------------


def test_every_end_is_told_once_after_the_fills(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        strategy.want(
            low=("buy", "99.00", "1"), lower=("buy", "98.00", "1"), high=("sell", "101.00", "1")
        )
        async with desk.trading() as engine:
            await asyncio.sleep(1)
            strategy.want()
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.4")
            assert strategy.ends == []
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.6")
            desk.venue.fill(desk.venue.at_price("sell", "101"), "0.25")
            desk.venue.end(desk.venue.at_price("sell", "101"))  # by hand
            await asyncio.sleep(1)
            ends = {order.slot: (order.end, order.executed) for order in strategy.ends}
            assert ends == {
                "low": ("filled", 1),
                "high": ("cancelled", D("0.25")),
                "lower": ("cancelled", 0),
            }
            assert len(strategy.ends) == 3
            desk.venue.submits.append("reject")
            strategy.want(odd=("buy", "97.00", "1"))
            desk.venue.tell_book()
            strategy.want()
            await asyncio.sleep(1)
            rejected = strategy.ends[-1]
            assert (rejected.slot, rejected.end) == ("odd", "rejected")
            assert rejected.reason
            assert engine.orders.open_count == 0

    on_desk(test)


def test_an_order_whose_answer_was_lost_ends_when_its_absence_is_proven(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        desk.venue.submits.append("drop")
        strategy.want(low=("buy", "99.00", "1"))
        async with desk.trading():
            await asyncio.sleep(1)
            strategy.want()
            assert strategy.views[-1].orders["low"].is_uncertain
            await asyncio.sleep(200)
            assert [(order.slot, order.end) for order in strategy.ends] == [("low", "abandoned")]

    on_desk(test)


def test_an_end_that_it_could_not_take_halts_it_alone(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        strategy.raises_on = "end"
        strategy.want(low=("buy", "99.00", "1"), lower=("buy", "98.00", "1"))
        async with desk.trading() as engine:
            await asyncio.sleep(1)
            desk.venue.fill(desk.venue.at_price("buy", "99"))
            await asyncio.sleep(1)
            assert engine.life_reason.startswith("STRATEGY_ERROR: ")
            assert desk.venue.open_own() == []
        desk.clear_halt("STRATEGY_ERROR")
        desk.strategy = Listening()
        async with desk.trading():  # the fill and its end are one fact: both are told now
            await asyncio.sleep(1)
            assert [fill.trade_id for fill in desk.strategy.told] == ["t1"]
            assert [order.end for order in desk.strategy.ends] == ["filled"]

    on_desk(test)


@pytest.mark.parametrize("fault", ["state", "no json", "decision"])
def test_whatever_a_strategy_does_wrong_is_called_its_own_error(on_desk, fault: str) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        strategy.want(low=("buy", "99.00", "1"))
        if fault == "state":
            strategy.state = lambda: {}["missing"]
        elif fault == "no json":
            strategy.state = lambda: {"fills": {1, 2}}
        else:
            strategy.wish = lambda view: None
        async with desk.trading() as engine:
            await asyncio.sleep(1)
            assert engine.life_reason.startswith("STRATEGY_ERROR: ")
            assert desk.venue.wire == []

    on_desk(test)


# Trades and makers -----------------------------------------------------------------------------


def test_trades_of_anybody_are_told_and_an_error_there_halts(on_desk) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy
        async with desk.trading() as engine:
            trade = PublicTrade(SYMBOL, "p1", D("100.05"), D(2), "buy", START_MS)
            desk.venue.tell_trade(trade)
            desk.venue.tell_trade(replace(trade, symbol="ETH/USDT"))
            assert strategy.trades == [trade]
            strategy.raises_on = "trade"
            desk.venue.tell_trade(trade)
            assert engine.life_reason.startswith("STRATEGY_ERROR: ")

    on_desk(test)


def test_a_fill_says_whether_it_was_made_or_taken(on_desk) -> None:
    async def test(desk) -> None:
        desk.strategy.want(low=("buy", "99.00", "1"))
        async with desk.trading():
            await asyncio.sleep(1)
            desk.venue.fill(desk.venue.at_price("buy", "99"))
            assert [fill.is_maker for fill in desk.strategy.told] == [True]

    on_desk(test)


@pytest.mark.parametrize(
    ("side", "crossing", "touching", "resting"),
    [("buy", "100.10", "100.20", "100.09"), ("sell", "100.00", "99.90", "100.01")],
)
def test_what_must_not_take_waits_while_it_would(
    on_desk, side: str, crossing: str, touching: str, resting: str
) -> None:
    async def test(desk) -> None:
        strategy = desk.strategy

        def want(price: str) -> None:
            strategy.desired = Desired({"only": Quote(side, D(price), D(1), post_only=True)})

        want(crossing)
        async with desk.trading() as engine:
            await asyncio.sleep(0.5)
            want(touching)
            desk.venue.tell_book()
            assert desk.venue.wire == []
            assert engine.reasons["WOULD_TAKE"] == 2
            want(resting)
            desk.venue.tell_book()  # another price is tried at once
            assert len(desk.venue.wire) == 1
            await asyncio.sleep(1)
            # What rests already is left alone when the touch comes to it.
            desk.venue.set_book("99.00", "99.01") if side == "buy" else desk.venue.set_book(
                "101.00", "101.10"
            )
            await asyncio.sleep(5)
            assert desk.venue.cancelled_on_wire == []

    on_desk(test)


def test_what_must_not_take_is_tried_again_when_the_touch_has_moved(on_desk) -> None:
    async def test(desk) -> None:
        desk.strategy.desired = Desired({"only": Quote("buy", D("100.10"), D(1), post_only=True)})
        async with desk.trading():
            await asyncio.sleep(0.5)
            desk.venue.set_book("100.10", "100.20")
            assert desk.venue.wire == []
            await asyncio.sleep(1)
            assert len(desk.venue.wire) == 1

    on_desk(test)


# Takers, at the simulated exchange -------------------------------------------------------------

ROWS = [row for row in DEFAULT_MARKETS if row["symbol"] == SYMBOL]


def at_the_exchange(
    path: Path, strategy: Listening, test: Callable[[Any, Engine], Any], **funds: str
) -> None:
    """Run ``test(exchange, engine)`` where somebody offers 1 at 64010 and bids 1 at 63990."""

    async def main(clock: VirtualClock) -> None:
        exchange = Exchange(ROWS, now_ms=START_MS)
        us = exchange.open_account("us", {"BTC": "5", "USDT": "500000", **funds})
        other = exchange.open_account("other", {"BTC": "9", "USDT": "900000"})
        for side, price in (("buy", "63990"), ("sell", "64010")):
            form = {"symbol": SYMBOL, "side": side, "quantity": "1", "price": price}
            exchange.submit(other, OrderForm.from_wire(form), START_MS)
        with Journal.open(path, instance="nk01") as journal:
            engine = Engine(
                venue=SimulatedVenue(exchange, us, clock=clock),
                clock=clock,
                journal=journal,
                strategy=strategy,
                symbol=SYMBOL,
                limits=LIMITS,
                mode="live",
                settings=EngineSettings(),
            )
            await engine.start()
            await test(us, engine)
            await engine.stop()
        assert [order for order in us.orders() if order.is_open] == []

    run_virtual(main, START_NS)
    report = verify(path)
    assert report.ok, report.differences


class Once(Listening):
    """Wants one quote until it has ended."""

    def __init__(self, quote: Quote) -> None:
        super().__init__()
        self.quote, self.idle = Desired({"now": quote}), Desired()
        self.wish = lambda view: self.idle if self.ends else self.quote


@pytest.mark.parametrize(
    ("quote", "end", "executed", "price"),
    [
        # A market order takes all there is; the venue cancels the rest.
        (Quote("buy", None, D("0.4")), "filled", "0.4", "64010"),
        (Quote("sell", None, D("0.4")), "filled", "0.4", "63990"),
        (Quote("buy", None, D("1.4")), "cancelled", "1", "64010"),
        # At most to a price, and only now.
        (Quote("buy", D(64100), D("0.4"), good_for_ms=500), "filled", "0.4", "64010"),
        (Quote("buy", D(64100), D("1.4"), good_for_ms=500), "cancelled", "1", "64010"),
        (Quote("buy", D(64009), D("0.4"), good_for_ms=500), "cancelled", "0", None),
    ],
)
def test_what_is_taken_now_ends_and_is_not_sent_again(
    tmp_path: Path, quote: Quote, end: str, executed: str, price: str | None
) -> None:
    strategy = Once(quote)

    async def test(us: Any, engine: Engine) -> None:
        await asyncio.sleep(10)
        (ended,) = strategy.ends
        assert (ended.slot, ended.end, ended.executed) == ("now", end, D(executed))
        assert ended.price == quote.price
        assert sum((fill.quantity for fill in strategy.told), D(0)) == D(executed)
        assert {fill.price for fill in strategy.told} == ({D(price)} if price else set())
        # Reports do not say who took; the public trade with the same id does.
        takers = {trade.trade_id: trade.side for trade in strategy.trades}
        assert all(takers[fill.trade_id] == quote.side for fill in strategy.told)
        assert engine.summary().orders == 1
        for asset in ("BTC", "USDT"):
            assert engine.ledger.reserved(asset) == 0

    at_the_exchange(tmp_path / "journal.db", strategy, test)


@pytest.mark.parametrize(("side", "funds"), [("buy", "70000"), ("sell", "1")])
def test_what_a_market_order_needs_is_reserved_while_it_is_on_its_way(
    tmp_path: Path, side: str, funds: str
) -> None:
    strategy = Listening()
    both = {name: Quote(side, None, D("0.6")) for name in ("one", "two")}
    strategy.desired = Desired(both)
    strategy.wish = lambda view: Desired() if strategy.ends else strategy.desired

    async def test(us: Any, engine: Engine) -> None:
        await asyncio.sleep(10)
        # Each alone could be paid; both together not.
        assert engine.reasons["INSUFFICIENT_BALANCE"] >= 1
        assert engine.summary().orders == 1
        assert engine.summary().rejects == 0

    at_the_exchange(tmp_path / "journal.db", strategy, test, BTC="1", USDT=funds)
