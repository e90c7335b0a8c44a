"""What a process may do to the engine, by the ids of the faults."""

import asyncio
from decimal import Decimal

import pytest
from trading.conftest import Wanting

from nkfast.trading.audit import BookAudit
from nkfast.trading.life import LifeState
from nkfast.trading.orders import OrderState
from nkfast.trading.reconcile import Reconciler
from nkfast.trading.rules_watch import RulesWatch
from nkfast.venue.port import PublicTrade

BUY = ("buy", "99.00", "1")
CALLS = ("decide", "on_fill", "on_fee", "on_end", "on_trade", "state")


class Failing(Wanting):
    """Raises in one of its calls, from a moment on."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_in = ""

    def _pass(self, call: str) -> None:
        if call == self.fails_in:
            raise ZeroDivisionError(call)

    def decide(self, view):
        self._pass("decide")
        return super().decide(view)

    def on_fill(self, fill) -> None:
        self._pass("on_fill")
        super().on_fill(fill)

    def on_fee(self, fill, before) -> None:
        self._pass("on_fee")

    def on_end(self, order) -> None:
        self._pass("on_end")

    def on_trade(self, trade) -> None:
        self._pass("on_trade")

    def state(self):
        self._pass("state")
        return super().state()


@pytest.mark.parametrize("call", CALLS)
def test_P02_a_strategy_that_raises_in_any_call_is_halted_and_its_orders_cancelled(
    on_virtual_desk, call: str
) -> None:
    async def scenario(desk) -> None:
        desk.strategy = Failing()
        desk.strategy.want(low=BUY, lower=("buy", "98.00", "1"))
        async with desk.trading() as engine:
            await desk.until(lambda: len(engine.orders) == 2)
            await desk.until(lambda: all(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.fill(desk.venue.at_price("buy", "98"), "0.1", fee=False)
            await desk.until(lambda: desk.strategy.told)
            desk.strategy.fails_in = call
            desk.venue.tell_trade(PublicTrade("BTC/USDT", "9", Decimal(99), Decimal(1), "buy", 1))
            desk.venue.fill(desk.venue.at_price("buy", "99"), "1")  # and so it ends
            desk.venue.tell_book()
            await desk.until(lambda: engine.halted, 40)  # the fee is read by a comparison
            assert engine.life is LifeState.HALTED
            assert engine.life_reason.startswith("STRATEGY_ERROR: ")
            await desk.until(lambda: not desk.venue.open_own())
            sent = len(desk.venue.wire)
            await asyncio.sleep(60)
            assert len(desk.venue.wire) == sent
        desk.strategy.fails_in = ""
        desk.clear_halt("STRATEGY_ERROR")
        desk.strategy = again = Failing()
        async with desk.trading() as engine:
            await asyncio.sleep(1)
            told = [*again.restored["trades"], *(fill.trade_id for fill in again.told)]
            assert sorted(told) == ["t1", "t2"]
            assert engine.ledger.profit.unknown_fees == 0

    on_virtual_desk(scenario)


@pytest.mark.parametrize("fails", [True, False], ids=["raises", "ends"])
@pytest.mark.parametrize("kind", [Reconciler, BookAudit, RulesWatch])
def test_P03_a_task_that_raises_or_ends_halts_trading(
    on_virtual_desk, monkeypatch: pytest.MonkeyPatch, kind: type, fails: bool
) -> None:
    async def run(_self: object) -> None:
        await asyncio.sleep(5)
        if fails:
            raise ZeroDivisionError

    monkeypatch.setattr(kind, "run", run)

    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            await desk.until(lambda: engine.halted)
            assert engine.life_reason.startswith("ENGINE_ERROR: ")
            await desk.until(lambda: not desk.venue.open_own())

    on_virtual_desk(scenario)
