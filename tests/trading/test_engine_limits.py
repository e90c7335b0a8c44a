"""Limits in the engine: what halts trading, what only refuses, and what other orders are seen."""

from dataclasses import replace
from decimal import Decimal

import pytest
from trading.conftest import LIMITS, SYMBOL

from nkfast.errors import ConfigError, HaltedError
from nkfast.trading.account import AccountOrders
from nkfast.trading.life import LifeState
from nkfast.trading.orders import OrderStore
from nkfast.trading.risk import RiskLimits
from nkfast.venue.port import PublicTrade

BUY = ("buy", "99.00", "1")
SELL = ("sell", "101.00", "1")


async def test_live_trading_without_limits_is_refused(desk) -> None:
    with pytest.raises(ConfigError) as caught:
        async with desk.trading(limits=RiskLimits()):
            pass
    assert caught.value.place == "risk"
    async with desk.trading(mode="paper", limits=RiskLimits()):
        pass


async def test_too_large_a_loss_halts_and_cancels_and_a_restart_forgets_neither(desk) -> None:
    limits = replace(LIMITS, max_daily_loss=Decimal(4))
    desk.strategy.want(low=BUY, far=("buy", "90.00", "1"))
    async with desk.trading(limits=limits) as engine:
        await desk.until(lambda: len(desk.venue.open_own()) == 2)
        desk.venue.fill(desk.venue.at_price("buy", "99.00"))
        desk.strategy.want(far=("buy", "90.00", "1"))
        desk.venue.set_book("95.00", "95.60")  # 95.30 less 99 and its fee of 0.198
        assert engine.life is LifeState.RUNNING
        desk.venue.set_book("94.80", "95.10")  # one cent is left
        await desk.until(lambda: engine.life is LifeState.HALTED)
        assert engine.life_reason.startswith("MAX_DAILY_LOSS: ")
        assert "4.248 against the limit 4" in engine.life_reason
        await desk.until(lambda: desk.venue.open_own() == [])
    desk.show = ("94.80", "95.10")
    with pytest.raises(HaltedError):
        async with desk.trading(limits=limits):
            pass
    desk.clear_halt("MAX_DAILY_LOSS")
    sent = len(desk.venue.wire)
    with pytest.raises(Exception, match="MAX_DAILY_LOSS"):  # the day has not ended
        async with desk.trading(limits=limits):
            pass
    desk.clear_halt("MAX_DAILY_LOSS")
    assert len(desk.venue.wire) == sent
    async with desk.trading(limits=replace(limits, max_daily_loss=Decimal(5))):
        await desk.until(desk.venue.open_own)


async def test_an_order_of_somebody_else_with_the_account_is_not_traded_with(desk) -> None:
    foreign = desk.venue.place_foreign("by-hand", "sell", "98.50", "1")
    desk.strategy.want(low=BUY)
    async with desk.trading() as engine:
        await desk.until(lambda: engine.reasons["SELF_CROSS"])
        assert desk.venue.wire == []
        desk.venue.end(foreign)
        await desk.until(lambda: desk.venue.wire)


async def test_M09_an_order_of_a_neighbour_in_this_process_is_not_traded_with(desk) -> None:
    account, neighbour = AccountOrders(), OrderStore()
    account.join(SYMBOL, neighbour)
    desk.strategy.want(low=BUY)
    async with desk.trading(account=account, on_exit="keep") as engine:
        await desk.until(lambda: desk.venue.wire)
        (mine,) = engine.orders.open_orders
        assert account.crossed_by(SYMBOL, "sell", Decimal(99)).owner == "own"
        assert mine.price == 99
    assert account.crossed_by(SYMBOL, "sell", Decimal(99)) is None


async def test_the_last_trade_bounds_prices(desk) -> None:
    async with desk.trading() as engine:
        await desk.until(lambda: engine.may_decide)
        desk.venue.tell_trade(PublicTrade(SYMBOL, "1", Decimal(125), Decimal(1), "buy", 1))
        desk.strategy.want(low=BUY, high=SELL)
        desk.venue.tell_book()
        await desk.until(lambda: desk.venue.open_own())
        assert engine.reasons["PRICE_COLLAR"] >= 1
        assert [true.order.side for true in desk.venue.open_own()] == ["sell"]
