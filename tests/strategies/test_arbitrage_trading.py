"""Arbitrage at the simulated exchange: actual fills, the way back, and an end to trying."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trading.test_legs import LEGS, ROWS, Floor, at_order, resolved

from nkfast.core.market import Market
from nkfast.strategies.arbitrage import Arbitrage, ArbitrageSettings
from nkfast.trading.engine import Engine
from nkfast.trading.exact import plain
from nkfast.trading.journal import Journal
from nkfast.trading.life import clear_halt
from nkfast.trading.plan import Leg
from nkfast.venue import simulated
from nkfast.venue.port import NewOrder

D = Decimal


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    """1000 USDT are 0.0155 BTC, 0.3 ETH, 1027 USDT."""
    return Floor(tmp_path / "journal.db")


def arbitrage(**words: Any) -> Arbitrage:
    usual = {
        "trade_amount": 1000,
        "min_profitability": "0.001",
        "max_book_age_ms": 10**6,
        "max_unwind_cost_pct": "0.05",
        "unwind_slippage_pct": "0.05",
        "leg_timeout_ms": 1_000,
    }
    markets = {row["symbol"]: Market.from_wire(row) for row in ROWS}
    return Arbitrage.build(ArbitrageSettings.read({**usual, **words}), markets)


def test_a_cycle_is_found_taken_and_ends_where_it_began(floor: Floor) -> None:
    strategy = arbitrage()
    floor.hooks.append(at_order(3, lambda: floor.withdraw("ETH/BTC", "sell")))  # once is enough

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert outcome.result == "done"
        assert [leg.leg for leg in outcome.legs[:3]] == list(LEGS)
        assert outcome.profit == outcome.predicted_profit == floor.moved()["USDT"] > 20
        assert strategy.state()["profits"] == {"USDT": plain(floor.moved()["USDT"])}

    floor.run(test, strategy)
    floor.check()


def test_d19_each_leg_is_sized_by_what_the_one_before_really_brought(floor: Floor) -> None:
    """Less rests than the book showed: what comes of it is what is traded, and what is booked."""
    strategy = arbitrage()
    floor.hooks += [
        at_order(1, lambda: floor.quote("BTC/USDT", "sell", "64000", "0.015")),
        at_order(3, lambda: floor.withdraw("ETH/BTC", "sell")),
    ]

    async def test(engine: Engine) -> None:
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert outcome.result == "done"
        first, second, third = list(engine.orders)[:3]
        assert first.quantity > first.filled == D("0.015")
        assert first.filled * D("0.999") < second.quantity * D("0.051") * D("1.002") <= first.filled
        assert third.quantity == second.filled
        assert outcome.profit != outcome.predicted_profit
        assert outcome.profit == floor.moved()["USDT"]
        assert strategy.state()["profits"] == {"USDT": plain(floor.moved()["USDT"])}

    floor.run(test, strategy)
    floor.check()


def test_fees_that_are_told_after_a_cycle_are_taken_off_its_profit(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = arbitrage()
    reported = simulated.reported_execution

    def with_half_the_fee(*told: Any) -> Any:
        execution = reported(*told)
        return None if execution is None else replace(execution, fee=execution.fee / 2)

    monkeypatch.setattr(simulated, "reported_execution", with_half_the_fee)
    floor.hooks.append(at_order(3, lambda: floor.withdraw("ETH/BTC", "sell")))

    async def test(engine: Engine) -> None:
        await resolved(engine)
        assert strategy.earned > floor.moved()["USDT"]
        await asyncio.sleep(60)  # the history tells the fees
        assert engine.recent_plans[0].profit == floor.moved()["USDT"]
        assert strategy.state()["profits"] == {"USDT": plain(floor.moved()["USDT"])}

    floor.run(test, strategy)
    floor.check()


def test_d11_a_leg_that_fails_leaves_nothing_behind_and_is_not_tried_for_ever(
    floor: Floor,
) -> None:
    strategy = arbitrage(max_consecutive_failures=2)

    def vanish(order: NewOrder) -> None:
        if Leg(order.symbol, order.side) == LEGS[2]:  # type: ignore[arg-type]
            floor.withdraw("ETH/USDT", "buy")

    floor.hooks.append(vanish)

    async def test(engine: Engine) -> None:
        for count in (1, 2):
            await resolved(engine, count)
            floor.quote("ETH/USDT", "buy", "3400", "50")
        await asyncio.sleep(5)
        assert [plan.result for plan in engine.recent_plans] == ["unwound", "unwound"]
        assert "2 plans in a row were broken off" in str(engine.halted)
        # All but the dust of a lot went back, at what going back may cost.
        assert abs(floor.moved()["BTC"]) < D("0.00001")
        assert abs(floor.moved()["ETH"]) < D("0.0001")
        assert -2 * 50 < floor.moved()["USDT"] < 0
        assert strategy.state()["profits"] == {"USDT": plain(floor.moved()["USDT"])}

    floor.run(test, strategy, plan_failures_max=1)  # the strategy's own number counts
    floor.check()
    with Journal.open(floor.path, instance="nk01") as journal:
        clear_halt(journal, "PLAN_FAILURES", floor.now_ns // 10**6)
    floor.hooks.append(vanish)
    floor.quote("ETH/USDT", "buy", "3400", "50")

    async def once_more(engine: Engine) -> None:
        await resolved(engine)
        assert engine.recent_plans[0].result == "unwound"
        assert engine.halted is None  # it begins anew

    floor.run(once_more, arbitrage(max_consecutive_failures=2))


@pytest.mark.parametrize("unwind", ["reverse", "complete", "hold"])
def test_what_is_lost_on_the_way_back_is_bounded(floor: Floor, unwind: str) -> None:
    """The book behind a broken leg has moved away, too: the way back has a limit of its own."""
    strategy = arbitrage(unwind=unwind, max_consecutive_failures=1)

    def move_away() -> None:
        floor.withdraw("ETH/USDT", "buy")
        floor.quote("ETH/BTC", "buy", "0.0495", "50")
        floor.quote("BTC/USDT", "buy", "63500", "50")

    floor.hooks.append(at_order(3, move_away))

    async def test(engine: Engine) -> None:
        if unwind == "complete":
            await asyncio.sleep(5)
            floor.quote("ETH/USDT", "buy", "3200", "50")
        await resolved(engine)
        (outcome,) = engine.recent_plans
        assert outcome.result == ("held" if unwind == "hold" else "unwound")
        if unwind == "hold":
            assert outcome.moved["ETH"] > D("0.29")
            return
        assert abs(floor.moved()["ETH"]) < D("0.0001")
        assert -80 < outcome.profit < 0
        backs = [leg for leg in outcome.legs if leg.is_way_back]
        assert all(abs(leg.shortfall or 0) < 0.05 for leg in backs)

    floor.run(test, strategy)
    floor.check()
