"""The execution of plans at the simulated exchange: taken, broken off, crashed in, in a storm."""

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trading.conftest import LIMITS

from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.money import text
from nkfast.exchange.orders import Order as ExchangeOrder
from nkfast.exchange.rules import OrderForm
from nkfast.exchange.traders import Crowd
from nkfast.exchange.weather import Weather, preset
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal, verify
from nkfast.trading.legs import newest_plans
from nkfast.trading.life import LifeState, clear_halt
from nkfast.trading.plan import Leg, Plan
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Fill, MarketView, Strategy
from nkfast.venue import simulated
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.port import NewOrder
from nkfast.venue.simulated import SimulatedVenue

D = Decimal
START_NS = 1_790_000_000 * 10**9
SYMBOLS = ("BTC/USDT", "ETH/USDT", "ETH/BTC")
ROWS = [row for row in DEFAULT_MARKETS if row["symbol"] in SYMBOLS]
ASSETS = ("USDT", "BTC", "ETH")
LEGS = (Leg("BTC/USDT", "buy"), Leg("ETH/BTC", "buy"), Leg("ETH/USDT", "sell"))
#: 1000 USDT are 0.0155 BTC, 0.3 ETH, 1027 USDT; back at any moment for a few per cent.
PRICES = {
    "BTC/USDT": ("63900", "64000"),
    "ETH/BTC": ("0.0500", "0.0510"),
    "ETH/USDT": ("3400", "3410"),
}
PLAN = Plan(
    LEGS,
    D(1000),
    min_return=D("1.001"),
    max_unwind_cost=D("0.05"),
    unwind_slippage=D("0.05"),
    max_book_age_ms=None,
)


SEEDS = range(int(os.environ.get("NKFAST_PLAN_SEEDS", "4")))


class Offering(Strategy):
    """Offers the plans that a test gives it, each once."""

    name = "offering"

    def __init__(self, *plans: Plan) -> None:
        self.plans = list(plans)
        self.told: list[Fill] = []
        self.outcomes: list[PlanOutcome] = []
        self.idle = Desired()

    def decide(self, view: MarketView) -> Desired | Plan:
        return self.plans.pop(0) if self.plans else self.idle

    def on_fill(self, fill: Fill) -> None:
        self.told.append(fill)

    def on_plan(self, outcome: PlanOutcome) -> None:
        self.outcomes.append(outcome)

    def state(self) -> dict[str, Any]:
        return {"fills": len(self.told), "plans": [plan.number for plan in self.outcomes]}

    def restore(self, state: Any) -> None:
        pass


class DiedError(KeyboardInterrupt):
    """The process ends here: not even the loop catches this."""


class Floor:
    """An exchange with three markets, us, and somebody whose orders we take."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ns = START_NS
        self.exchange = Exchange(ROWS, now_ms=START_NS // 1_000_000)
        self.us = self.exchange.open_account("us", {"BTC": "1", "ETH": "10", "USDT": "100000"})
        self.other = self.exchange.open_account(
            "other", {"BTC": "90", "ETH": "900", "USDT": "5000000"}
        )
        self.before = self.balances()
        self.quotes: dict[tuple[str, str], ExchangeOrder] = {}
        self.weather: Weather | None = None
        self.hooks: list[Callable[[NewOrder], None]] = []
        for symbol, (bid, ask) in PRICES.items():
            self.quote(symbol, "buy", bid, "50")
            self.quote(symbol, "sell", ask, "50")

    def now_ms(self) -> int:
        return self.clock.time_ns() // 1_000_000 if hasattr(self, "clock") else START_NS // 10**6

    def quote(self, symbol: str, side: str, price: str, quantity: str) -> None:
        """Let the other one replace an order."""
        self.withdraw(symbol, side)
        form = {"symbol": symbol, "side": side, "quantity": quantity, "price": price}
        self.quotes[symbol, side] = self.exchange.submit(
            self.other, OrderForm.from_wire(form), self.now_ms()
        )

    def withdraw(self, symbol: str, side: str) -> None:
        before = self.quotes.pop((symbol, side), None)
        if before is not None and before.is_open:
            self.exchange.withdraw(before, self.now_ms())

    def balances(self) -> dict[str, Decimal]:
        return {asset: D(text(self.us.holding(asset).total)) for asset in ASSETS}

    def moved(self) -> dict[str, Decimal]:
        return {asset: total - self.before[asset] for asset, total in self.balances().items()}

    def run(
        self,
        test: Callable[[Engine], Any],
        strategy: Strategy | None = None,
        *,
        mode: str = "live",
        limits: RiskLimits = LIMITS,
        starts: bool = True,
        **settings: Any,
    ) -> None:
        """Run an engine until ``test(engine)`` is over, or the process dies."""

        async def main(clock: VirtualClock) -> None:
            self.clock = clock
            self.venue = venue = SimulatedVenue(
                self.exchange, self.us, clock=clock, weather=self.weather
            )
            submit, cancel = venue.submit, venue.cancel

            def watched_submit(order: NewOrder) -> Any:
                for hook in self.hooks:
                    hook(order)
                return submit(order)

            def watched_cancel(*names: str) -> Any:
                # What a loop does while it is closed no dead process does.
                return asyncio.Future() if self.is_dead else cancel(*names)

            venue.submit, venue.cancel = watched_submit, watched_cancel
            self.is_dead = False
            with Journal.open(self.path, instance="nk01") as journal:
                self.journal = journal
                engine = self.engine = Engine(
                    venue=venue,
                    clock=clock,
                    journal=journal,
                    strategy=strategy if strategy is not None else Offering(),
                    symbol=SYMBOLS[0],
                    more_symbols=SYMBOLS[1:],
                    limits=limits,
                    mode=mode,
                    settings=EngineSettings(**settings),
                )
                if starts:
                    await engine.start()
                await test(engine)
                self.stopped = await engine.stop() if starts else None

        with contextlib.suppress(DiedError):
            run_virtual(main, self.now_ns)
        self.now_ns = self.clock.time_ns() + 10**9
        self.hooks.clear()

    def die(self) -> None:
        """End the process: from here on nothing is written and nothing is sent."""
        self.is_dead = True
        self.journal.close()
        raise DiedError

    def check(self) -> None:
        """Every order of ours is over, and the journal says what the exchange says."""
        assert [order for order in self.us.orders() if order.is_open] == []
        report = verify(self.path)
        assert report.ok, report.differences
        ids = [order.client_id for order in self.us.orders()]
        assert len(set(ids)) == len(ids)


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    return Floor(tmp_path / "journal.db")


async def resolved(engine: Engine, count: int = 1, within_s: float = 600) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while len(engine.recent_plans) < count:
        assert loop.time() < deadline, dict(engine.reasons)
        await asyncio.sleep(0.01)


def at_order(number: int, do: Callable[[], None]) -> Callable[[NewOrder], None]:
    """Return a hook that acts just before the n-th order goes out."""
    count = 0

    def hook(order: NewOrder) -> None:
        nonlocal count
        count += 1
        if count == number:
            do()

    return hook


def test_a_plan_is_taken_leg_by_leg(floor: Floor) -> None:
    strategy = Offering(PLAN)

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert (outcome.number, outcome.result, outcome.order_count) == (1, "done", 3)
        moved = floor.moved()
        assert outcome.moved == moved
        assert outcome.profit == moved["USDT"] > 20
        # What was left over is less than a lot of what the next leg trades.
        assert 0 <= moved["BTC"] < D("0.000002")
        assert 0 <= moved["ETH"] < D("0.00001")
        assert [fill.slot for fill in strategy.told] == ["plan-1:1", "plan-1:2", "plan-1:3"]
        # Each leg is what the one before brought, less its fee, in whole lots.
        first, second, third = engine.orders
        assert second.quantity * second.price * D("1.002") <= first.quantity
        assert third.quantity == second.quantity
        for asset in ASSETS:
            assert engine.ledger.total(asset) == floor.balances()[asset]

    floor.run(test, strategy)
    floor.check()


def test_each_leg_is_reported_predicted_and_realized(floor: Floor) -> None:
    def make_it_dearer() -> None:
        floor.quote("ETH/BTC", "sell", "0.0515", "50")

    floor.hooks.append(at_order(1, make_it_dearer))
    strategy = Offering(replace(PLAN, slippage=D("0.02")))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert strategy.outcomes == [outcome]
        # What the dearer leg could not take up goes back.
        assert [leg.leg for leg in outcome.legs] == [*LEGS, LEGS[0].back]
        first, second, third, back = outcome.legs
        # The books when it began: a buy pays the fee on top, a sell gets less by it.
        assert first.predicted_received * D(64000) * D("1.002") == first.predicted_paid
        assert second.predicted_received * D("0.051") * D("1.002") == second.predicted_paid
        assert third.predicted_paid * D(3400) * D("0.998") == third.predicted_received
        assert outcome.predicted_profit == third.predicted_received - first.predicted_paid
        # What happened: the second leg alone was dearer, by about one in a hundred.
        assert first.paid == first.predicted_paid
        assert first.shortfall == third.shortfall == 0
        assert second.shortfall == pytest.approx(1 - 0.051 / 0.0515)
        moved = floor.moved()
        profit = third.received - first.paid + back.received
        assert profit == outcome.profit == moved["USDT"]
        assert first.received - second.paid - back.paid == moved["BTC"]
        assert second.received - third.paid == moved["ETH"]
        assert engine.reasons["PLAN_LEG"] == 4

    floor.run(test, strategy)
    floor.check()
    assert newest_plans(floor.path, 9) == strategy.outcomes


def test_a_way_back_is_reported_also_after_a_crash_in_it(floor: Floor) -> None:
    floor.hooks.append(at_order(3, lambda: floor.withdraw("ETH/USDT", "buy")))
    floor.hooks.append(at_order(5, floor.die))
    floor.run(resolved, Offering(PLAN))
    strategy = Offering()
    floor.run(resolved, strategy)
    floor.check()
    (outcome,) = strategy.outcomes
    assert outcome.result == "unwound"
    ways = [(leg.leg, leg.is_way_back, bool(leg.paid)) for leg in outcome.legs]
    assert ways[:4] == [
        (LEGS[0], False, True),
        (LEGS[1], False, True),
        (LEGS[2], False, False),
        (LEGS[1].back, True, True),
    ]
    assert {way[:2] for way in ways[4:]} == {(LEGS[0].back, True)}
    for leg in outcome.legs:
        assert 0 <= leg.received <= leg.predicted_received
        assert leg.predicted_paid > 0
    assert newest_plans(floor.path, 9) == [outcome]


def test_a_strategy_that_cannot_take_an_end_is_told_of_it_again(floor: Floor) -> None:
    class Refusing(Offering):
        def on_plan(self, outcome: PlanOutcome) -> None:
            raise ZeroDivisionError("not this one")

    async def refused(engine: Engine) -> None:
        with pytest.raises(ZeroDivisionError):
            await engine.run(asyncio.Event())
        assert engine.life_reason.startswith("STRATEGY_ERROR: ")

    floor.run(refused, Refusing(PLAN))
    assert newest_plans(floor.path, 9) == []
    with Journal.open(floor.path, instance="nk01") as journal:
        clear_halt(journal, "STRATEGY_ERROR", floor.now_ns // 10**6)
    strategy = Offering()
    floor.run(resolved, strategy)
    floor.check()
    assert [outcome.number for outcome in strategy.outcomes] == [1]
    assert newest_plans(floor.path, 9) == strategy.outcomes
    with Journal.open(floor.path, instance="nk01") as journal:
        stored = journal.recover(floor.now_ns // 10**6).strategy_state
        assert stored["state"] == strategy.state()
        assert stored["state"]["plans"] == [1]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"min_return": D("1.05")}, "PLAN_RETURN"),
        ({"max_unwind_cost": D("0.004")}, "PLAN_WAY_BACK"),
        ({"amount": D("0.5")}, "BELOW_MINIMUM"),
        ({"max_book_age_ms": 100}, "BOOK_TOO_OLD"),
        ({"legs": (Leg("LTC/USDT", "buy"), Leg("LTC/USDT", "sell"))}, "NOT_WATCHED"),
        ({"amount": D(120_000)}, "INSUFFICIENT_BALANCE"),
    ],
)
def test_what_is_not_begun(floor: Floor, changes: dict[str, Any], code: str) -> None:
    async def test(engine: Engine) -> None:
        await asyncio.sleep(2)
        floor.quote("BTC/USDT", "buy", "63901", "50")  # the other books are two seconds old
        await asyncio.sleep(1)
        assert engine.reasons[code] == 1
        assert len(engine.orders) == 0
        assert not engine.recent_plans

    kind = Late if code == "BOOK_TOO_OLD" else Offering
    floor.run(test, kind(replace(PLAN, **changes)))
    floor.check()


class Late(Offering):
    """Waits until the books are a second old."""

    def decide(self, view: MarketView) -> Desired | Plan:
        age_ms = view.now_ms - START_NS // 1_000_000
        return super().decide(view) if age_ms > 1_500 else self.idle


def test_a_limit_on_any_leg_refuses_the_whole(floor: Floor) -> None:
    async def test(engine: Engine) -> None:
        await asyncio.sleep(3)
        assert engine.reasons["MAX_POSITION"] == 1
        assert len(engine.orders) == 0

    limits = replace(LIMITS, max_position={"ETH": D("10.2")})
    floor.run(test, Offering(PLAN), limits=limits)


def test_monitor_mode_only_says(floor: Floor) -> None:
    async def test(engine: Engine) -> None:
        await asyncio.sleep(1)
        assert engine.reasons["MONITOR"] == 1
        assert len(engine.orders) == 0

    floor.run(test, Offering(PLAN), mode="monitor")


def test_a_first_leg_that_misses_costs_nothing(floor: Floor) -> None:
    floor.hooks.append(at_order(1, lambda: floor.withdraw("BTC/USDT", "sell")))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert (outcome.result, outcome.order_count, outcome.profit) == ("missed", 1, 0)
        assert floor.moved() == dict.fromkeys(ASSETS, 0)

    floor.run(test, Offering(PLAN), plan_failures_max=1)
    floor.check()


@pytest.mark.parametrize("number", [2, 3])
def test_a_later_leg_that_misses_is_unwound(floor: Floor, number: int) -> None:
    symbol, side = [("ETH/BTC", "sell"), ("ETH/USDT", "buy")][number - 2]
    floor.hooks.append(at_order(number, lambda: floor.withdraw(symbol, side)))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        # One order back for each leg that was taken.
        assert (outcome.result, outcome.order_count) == ("unwound", 2 * number - 1)
        moved = floor.moved()
        assert outcome.moved == moved
        assert -50 < outcome.profit < 0
        assert 0 <= moved["BTC"] < D("0.00001")
        assert 0 <= moved["ETH"] < D("0.0001")
        assert engine.reasons["PLAN_LEG_SHORT"] == 1

    floor.run(test, Offering(PLAN))
    floor.check()


def test_a_leg_that_is_half_filled_is_unwound_from_both_assets(floor: Floor) -> None:
    floor.hooks.append(at_order(2, lambda: floor.quote("ETH/BTC", "sell", "0.051", "0.15")))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert (outcome.result, outcome.order_count) == ("unwound", 4)
        assert outcome.moved == floor.moved()
        assert -50 < outcome.profit < 0
        second = list(engine.orders)[1]
        assert second.filled == D("0.15")
        assert engine.orders.open_count == 0

    floor.run(test, Offering(PLAN))
    floor.check()


def test_a_leg_filled_enough_is_gone_on_from(floor: Floor) -> None:
    floor.hooks.append(at_order(2, lambda: floor.quote("ETH/BTC", "sell", "0.051", "0.2")))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        # The third leg is what was filled; what of the first one was left over goes back.
        assert (outcome.result, outcome.order_count) == ("done", 4)
        assert list(engine.orders)[2].quantity == D("0.2")
        assert outcome.moved == floor.moved()

    floor.run(test, Offering(replace(PLAN, min_fill_ratio=D("0.5"))))
    floor.check()


def test_the_policy_may_be_to_complete(floor: Floor) -> None:
    def wait_for_it() -> None:
        floor.withdraw("ETH/BTC", "sell")
        asyncio.get_running_loop().call_later(
            10, lambda: floor.quote("ETH/BTC", "sell", "0.052", "50")
        )

    floor.hooks.append(at_order(2, wait_for_it))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert outcome.result == "unwound"
        symbols = [order.symbol for order in engine.orders]
        assert symbols == ["BTC/USDT", "ETH/BTC", "ETH/BTC", "ETH/USDT"]
        assert engine.reasons["PLAN_DEPTH"] > 3  # it was tried until somebody offered
        assert outcome.moved == floor.moved()

    floor.run(test, Offering(replace(PLAN, unwind="complete", unwind_slippage=D(0))))
    floor.check()


def test_the_policy_may_be_to_hold(floor: Floor) -> None:
    floor.hooks.append(at_order(2, lambda: floor.withdraw("ETH/BTC", "sell")))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert (outcome.result, outcome.order_count) == ("held", 2)
        assert floor.moved()["BTC"] > D("0.015")

    floor.run(test, Offering(replace(PLAN, unwind="hold")))
    floor.check()


def test_one_plan_at_a_time_and_the_strategy_is_not_asked_meanwhile(floor: Floor) -> None:
    strategy = Offering(PLAN, PLAN)
    left: list[int] = []
    floor.hooks.append(lambda order: left.append(len(strategy.plans)))

    async def test(engine: Engine) -> None:
        await resolved(engine, 2)
        assert [outcome.result for outcome in engine.recent_plans] == ["done", "done"]
        assert left == [1, 1, 1, 0, 0, 0]
        assert sum(outcome.profit for outcome in engine.recent_plans) == floor.moved()["USDT"]

    floor.run(test, strategy)
    floor.check()


def test_a_fee_that_is_not_known_yet_is_not_spent(floor: Floor, monkeypatch) -> None:
    reported = simulated.reported_execution

    def without_fee(*told: Any) -> Any:
        execution = reported(*told)
        return None if execution is None else replace(execution, fee=None)

    monkeypatch.setattr(simulated, "reported_execution", without_fee)
    backward = tuple(leg.back for leg in reversed(LEGS))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert outcome.result == "done"
        assert outcome.profit is None  # unknown, not zero
        _, second, third = engine.orders
        assert third.quantity <= second.filled * second.price * D("0.998")
        await asyncio.sleep(60)  # the history tells the fees
        assert engine.ledger.profit.unknown_fees == 0
        (corrected,) = engine.recent_plans
        assert corrected.moved == floor.moved()
        assert corrected.profit == floor.moved()["USDT"]
        assert all(leg.is_fee_known for leg in corrected.legs)
        assert newest_plans(floor.path, 9) == [corrected]

    strategy = Offering(replace(PLAN, legs=backward, min_return=D(0), max_unwind_cost=D("0.5")))
    floor.run(test, strategy)
    assert len(strategy.outcomes) == 1
    floor.check()


def test_a_fee_told_after_a_plans_end_is_in_its_record_also_after_a_crash(
    floor: Floor, monkeypatch
) -> None:
    reported = simulated.reported_execution

    def without_fee(*told: Any) -> Any:
        execution = reported(*told)
        return None if execution is None else replace(execution, fee=None)

    monkeypatch.setattr(simulated, "reported_execution", without_fee)
    # The last leg finds nothing: there is a way back, too.
    floor.hooks.append(at_order(3, lambda: floor.withdraw("ETH/USDT", "buy")))

    async def crash(engine: Engine) -> None:
        await resolved(engine)
        floor.die()

    floor.run(crash, Offering(PLAN))
    (outcome,) = newest_plans(floor.path, 9)
    assert outcome.profit is None

    async def learn(engine: Engine) -> None:
        await asyncio.sleep(1)
        assert not engine.recent_plans

    floor.run(learn)
    (corrected,) = newest_plans(floor.path, 9)
    assert corrected.result == "unwound"
    assert corrected.moved == floor.moved()
    assert corrected.profit == floor.moved()["USDT"]
    for asset in ASSETS:
        legs = [leg for leg in corrected.legs if asset in (leg.leg.pays, leg.leg.gets)]
        moved = sum(
            leg.received if leg.leg.gets == asset else leg.paid.copy_negate() for leg in legs
        )
        assert moved == floor.moved()[asset]
    floor.check()


def test_too_many_broken_plans_in_a_row_halt_and_a_restart_still_counts(floor: Floor) -> None:
    def break_second_leg(order: NewOrder) -> None:
        if order.symbol == "ETH/BTC":
            floor.withdraw("ETH/BTC", "sell")
        elif order.side == "sell":
            floor.quote("ETH/BTC", "sell", "0.051", "50")

    async def first(engine: Engine) -> None:
        await resolved(engine)
        assert engine.life is LifeState.RUNNING

    async def second(engine: Engine) -> None:
        await resolved(engine)
        assert engine.life is LifeState.HALTED
        assert engine.life_reason.startswith("PLAN_FAILURES: 2 plans")

    for test in (first, second):
        floor.hooks.append(break_second_leg)
        floor.run(test, Offering(PLAN, PLAN), plan_failures_max=2) if test is second else floor.run(
            test, Offering(PLAN), plan_failures_max=2
        )
    floor.check()


def test_no_way_back_halts_and_the_next_start_finds_the_plan(floor: Floor) -> None:
    def close_the_door() -> None:
        floor.withdraw("ETH/BTC", "sell")
        floor.withdraw("BTC/USDT", "buy")

    floor.hooks.append(at_order(2, close_the_door))

    async def stuck(engine: Engine) -> None:
        await asyncio.sleep(200)
        assert engine.life is LifeState.RUNNING  # it goes on trying
        await asyncio.sleep(200)
        assert engine.life is LifeState.HALTED
        assert engine.life_reason.startswith("PLAN_UNRESOLVED: ")

    floor.run(stuck, Offering(PLAN))
    assert floor.moved()["BTC"] > D("0.015")
    with Journal.open(floor.path, instance="nk01") as journal:
        clear_halt(journal, "PLAN_UNRESOLVED", floor.now_ns // 10**6)
    floor.quote("BTC/USDT", "buy", "63000", "50")

    async def again(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert (outcome.number, outcome.result) == (1, "unwound")
        assert outcome.moved == floor.moved()
        assert abs(floor.moved()["BTC"]) < D("0.00001")

    floor.run(again)
    floor.check()


def test_a_stop_that_keeps_orders_keeps_no_leg(floor: Floor) -> None:
    floor.hooks.append(at_order(2, lambda: floor.withdraw("ETH/BTC", "sell")))

    async def test(engine: Engine) -> None:
        while engine.orders.open_count == 0 or len(engine.orders) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # the second leg rests, and nobody sells
        report = await engine.stop("keep")
        assert (report.kept, report.left) == ((), ())
        assert report.plan is not None

    floor.run(test, Offering(replace(PLAN, leg_timeout_ms=60_000)))
    floor.run(resolved)
    floor.check()


def test_a_pause_finishes_what_was_begun(floor: Floor) -> None:
    strategy = Offering(PLAN, PLAN)

    floor.hooks.append(at_order(2, lambda: floor.engine.pause("enough")))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        assert engine.recent_plans[0].result == "done"
        await asyncio.sleep(5)
        assert len(strategy.plans) == 1
        engine.resume()
        await resolved(engine, 2)

    floor.run(test, strategy)
    floor.check()


def test_draining_begins_no_plan(floor: Floor) -> None:
    strategy = Offering()

    async def test(engine: Engine) -> None:
        strategy.plans.append(PLAN)
        engine.drain("enough")
        await engine.run(asyncio.Event())
        assert len(engine.orders) == 0
        assert engine.reasons["DRAINING"] == 1

    floor.run(test, strategy)


def test_the_kill_switch_keeps_the_plan_for_the_next_start(floor: Floor) -> None:
    floor.hooks.append(at_order(2, lambda: floor.engine.halt("KILL_SWITCH", "a test")))

    async def test(engine: Engine) -> None:
        await asyncio.sleep(10)
        assert len(engine.orders) == 2
        assert engine.orders.open_count == 0
        assert not engine.recent_plans

    floor.run(test, Offering(PLAN))
    # The stop says what it leaves, and is not complete with it.
    left = floor.stopped.plan
    assert left.number == 1
    assert D(left.owns["ETH"]) == floor.moved()["ETH"] > D("0.3")
    assert floor.stopped.remains == (left,)
    assert not floor.stopped.is_complete

    async def looks_only(engine: Engine) -> None:
        await engine.plan()
        report = await engine.stop()
        assert (report.plan.number, report.plan.owns, report.is_complete) == (1, {}, False)
        assert "the next start goes on with it" in str(report.plan)

    floor.run(looks_only, starts=False)
    with Journal.open(floor.path, instance="nk01") as journal:
        clear_halt(journal, "KILL_SWITCH", floor.now_ns // 10**6)
    floor.run(resolved)
    assert floor.stopped.is_complete
    floor.check()
    assert abs(floor.moved()["BTC"]) < D("0.00001")
    assert abs(floor.moved()["ETH"]) < D("0.0001")


@pytest.mark.parametrize("unwind", ["reverse", "complete"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_crash_in_any_leg_is_resolved_by_the_next_start(
    floor: Floor, number: int, when: str, unwind: str
) -> None:
    """Die when the n-th order is durable and not sent, or sent and not answered.

    The third leg finds nobody, so that the fourth order is one on the way back.
    """

    def die_soon() -> None:
        asyncio.get_running_loop().call_soon(floor.die)

    if number == 4:
        floor.hooks.append(at_order(3, lambda: floor.withdraw("ETH/USDT", "buy")))
        floor.hooks.append(at_order(4, lambda: floor.quote("ETH/USDT", "buy", "3390", "50")))
    floor.hooks.append(at_order(number, floor.die if when == "before" else die_soon))

    async def test(engine: Engine) -> None:
        if unwind == "complete" and number == 4:
            await asyncio.sleep(5)
            floor.quote("ETH/USDT", "buy", "3390", "50")
        await asyncio.sleep(60)
        raise AssertionError("it should have died")

    floor.run(test, Offering(replace(PLAN, unwind=unwind)))
    died_after = len(list(floor.us.orders()))
    assert died_after == number - (when == "before") or when == "after"
    if ("ETH/USDT", "buy") not in floor.quotes:
        floor.quote("ETH/USDT", "buy", "3390", "50")

    async def recover(engine: Engine) -> None:
        assert engine.reasons["PLAN_RECOVERED"] == 1
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert outcome.number == 1
        assert outcome.moved == floor.moved()
        assert outcome.result == ("missed" if number == 1 and when == "before" else "unwound")
        assert abs(floor.moved()["BTC"]) < D("0.00001")
        assert abs(floor.moved()["ETH"]) < D("0.0001")
        assert -60 < floor.moved()["USDT"] < 60

    floor.run(recover)
    floor.check()

    async def nothing(engine: Engine) -> None:
        await asyncio.sleep(5)
        assert engine.reasons["PLAN_RECOVERED"] == 0
        assert not engine.recent_plans

    floor.run(nothing)


def test_a_plan_is_durable_with_its_first_intent_and_not_before(floor: Floor) -> None:
    async def test(engine: Engine) -> None:
        floor.journal.intend = lambda *_: floor.die()
        strategy.plans.append(PLAN)
        await asyncio.sleep(60)

    strategy = Offering()
    floor.run(test, strategy)
    assert list(floor.us.orders()) == []

    async def nothing(engine: Engine) -> None:
        await asyncio.sleep(5)
        assert engine.reasons["PLAN_RECOVERED"] == 0

    floor.run(nothing)
    floor.check()


def test_no_leg_is_taken_before_our_books_are_compared_again(floor: Floor) -> None:
    known: list[bool] = []

    def note(order: NewOrder) -> None:
        known.append(floor.engine.may_decide)

    floor.hooks += [note, at_order(2, lambda: floor.venue.lose(floor.venue._link))]

    async def test(engine: Engine) -> None:
        await resolved(engine)
        assert engine.reasons["DISCONNECTED"] == 1
        assert known == [True] * len(known)
        assert len(known) >= 3
        assert engine.recent_plans[0].moved == floor.moved()

    floor.run(test, Offering(PLAN))
    floor.check()


class Eager(Offering):
    """Offers a plan whenever it is asked, in either direction."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)

    def decide(self, view: MarketView) -> Desired | Plan:
        backward = tuple(leg.back for leg in reversed(LEGS))
        return Plan(
            self.chance.choice([LEGS, backward]),
            D(self.chance.randint(20, 2000)),
            min_return=D(0),
            max_unwind_cost=D("0.2"),
            slippage=D("0.001"),
            unwind_slippage=D("0.1"),
            leg_timeout_ms=self.chance.choice([50, 500, 3000]),
            min_fill_ratio=D(self.chance.choice(["0.5", "0.9", "1"])),
            unwind=self.chance.choice(["reverse", "complete"]),
            max_book_age_ms=None,
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_storm_every_unit_is_accounted_for(tmp_path: Path, seed: int) -> None:
    floor = Floor(tmp_path / "journal.db")
    for key in list(floor.quotes):
        floor.withdraw(*key)
    crowd = Crowd(floor.exchange, seed=seed, speed=20, now_ms=floor.now_ms())
    floor.weather = Weather((), 0)
    outcomes: list[Any] = []

    def storm(chance: random.Random, dies: bool) -> Callable[[Engine], Any]:
        async def test(engine: Engine) -> None:
            floor.weather.change(preset("storm"), chance.randrange(10**6))
            loop = asyncio.get_running_loop()
            end_s = loop.time() + 60
            while loop.time() < end_s:
                await asyncio.sleep(chance.uniform(0.02, 0.5))
                crowd.step(floor.now_ms())
            if dies:
                outcomes.extend(engine.recent_plans)
                floor.die()

        return test

    async def clear(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + 600
        while engine._plans.is_busy or engine.orders.open_count:
            assert loop.time() < end_s, dict(engine.reasons)
            await asyncio.sleep(0.2)
            crowd.step(floor.now_ms())
        await asyncio.sleep(40)  # a comparison later
        outcomes.extend(engine.recent_plans)
        for asset in ASSETS:
            assert engine.ledger.total(asset) == floor.balances()[asset]

    chance = random.Random(seed)
    for _ in range(2):
        floor.run(storm(chance, dies=True), Eager(seed), plan_failures_max=10**6)
        floor.weather.change((), 0)
        floor.run(clear, plan_failures_max=10**6)
    floor.check()
    moved = dict.fromkeys(ASSETS, D(0))
    for outcome in outcomes:
        for asset, amount in outcome.moved.items():
            moved[asset] += amount
    assert moved == floor.moved()
    assert len({outcome.number for outcome in outcomes}) == len(outcomes) >= 2
