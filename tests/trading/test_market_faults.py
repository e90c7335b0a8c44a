"""What a market may do to the engine, by the ids of the faults."""

import asyncio
from dataclasses import replace
from decimal import Decimal

from trading.conftest import LIMITS, SYMBOL, Wanting

from nkfast.trading.orders import OrderState
from nkfast.trading.risk import RiskLimits
from nkfast.venue.port import PublicTrade

BUY = ("buy", "99.00", "1")


def test_M03_no_order_leaves_outside_the_collar_in_a_crash_and_back(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        mids: list[Decimal] = []
        submit = desk.venue.submit

        def watched(order):
            book = desk.venue.book(SYMBOL)
            mids.append(book.mid)
            assert abs(order.price - book.mid) <= book.mid * Decimal("0.2")
            return submit(order)

        desk.venue.submit = watched
        async with desk.trading() as engine:
            for step, mid in enumerate((100, 60, 20, 20, 60, 100)):
                desk.venue.set_book(f"{mid}.00", f"{mid}.10")
                for number, price in enumerate((20, 60, 99)):
                    # Far above the middle a buy would take, far below it would do no harm.
                    desk.strategy.want(**{f"s{step}{number}": ("buy", f"{price}.00", "1")})
                    desk.venue.tell_book()
                    await asyncio.sleep(0.05)
            assert engine.reasons["PRICE_COLLAR"] >= 8
            assert engine.halted is None
        assert len(mids) == 6

    on_virtual_desk(scenario)


def test_M04_one_trade_far_away_lets_no_order_follow_it(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            await desk.until(lambda: engine.may_decide)
            desk.venue.tell_trade(PublicTrade(SYMBOL, "1", Decimal(1000), Decimal(1), "buy", 1))
            desk.strategy.want(high=("sell", "1000.00", "1"), low=BUY)
            desk.venue.tell_book()
            await asyncio.sleep(1)
            assert desk.venue.wire == []  # both bound: the middle, and the last trade
            desk.venue.tell_trade(PublicTrade(SYMBOL, "2", Decimal(100), Decimal(1), "buy", 2))
            desk.venue.tell_book()
            await desk.until(lambda: len(desk.venue.wire) == 1)
            assert desk.venue.at_price("buy", "99").is_open

    on_virtual_desk(scenario)


def test_M06_orders_of_a_market_that_is_gone_are_looked_up_by_their_ids(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.rules = None
            await desk.until(lambda: engine.reasons["RULES_CHANGED"], 61)
            assert desk.venue.open_own()  # a market that is gone cancels nothing of ours
            desk.venue.end(desk.venue.at_price("buy", "99"), told=False)  # with its market
            await desk.until(lambda: engine.orders.open_count == 0, 60)
            await asyncio.sleep(120)
            assert engine.reasons["MARKET_PAUSED"] >= 1
            assert engine.reasons["RULES_CHANGED"] == 1
            assert len(desk.venue.wire) == 1

    on_virtual_desk(scenario)


def test_M07_more_is_reserved_once_a_fill_cost_more_than_the_market_says(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.venue.balances["USDT"] = Decimal(200)
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            at_first = 200 - engine.ledger.available("USDT")
            assert at_first == Decimal("99") * Decimal("1.002")
            order = next(iter(engine.orders))
            true = desk.venue.at_price("buy", "99")
            execution = desk.venue.fill(true, "0.5", told=False)
            dear = replace(execution, fee=execution.price * execution.quantity / 100)
            desk.venue.listener.on_order(true.told(dear))
            await desk.until(lambda: order.filled)
            desk.strategy.want(low=("buy", "99.00", "0.5"))
            await asyncio.sleep(5)  # the balances are read
            before = engine.ledger.available("USDT")
            desk.strategy.want(low=("buy", "99.00", "0.5"), next=("buy", "98.00", "0.1"))
            desk.venue.tell_book()
            await desk.until(lambda: len(desk.venue.wire) == 2)
            assert before - engine.ledger.available("USDT") == Decimal("9.8") * Decimal("1.01")

    on_virtual_desk(scenario)


class Runaway(Wanting):
    """Buys again after each fill, whatever it costs."""

    def on_fill(self, fill) -> None:
        super().on_fill(fill)
        self.want(**{f"again_{len(self.told)}": ("buy", "100.10", "1")})


def test_M10_a_runaway_is_held_by_the_rate_and_halted_by_the_loss(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy = Runaway()
        desk.strategy.want(first=("buy", "100.10", "1"))
        accept = desk.venue._accept

        def filling(order):
            true = accept(order)
            asyncio.get_running_loop().call_later(0.01, desk.venue.fill, true, "1")
            return true

        desk.venue._accept = filling
        limits = RiskLimits(
            max_order_notional=LIMITS.max_order_notional,
            max_position=LIMITS.max_position,
            max_daily_loss=Decimal(10),
            max_orders_per_minute=20,
        )
        async with desk.trading(limits=limits) as engine:
            await asyncio.sleep(55)
            assert len(desk.venue.wire) == 20
            assert engine.reasons["ORDER_RATE"] >= 1
            for _ in range(20):
                if engine.halted:
                    break
                await asyncio.sleep(60)
                desk.venue.tell_book()
            assert engine.life_reason.startswith("MAX_DAILY_LOSS: ")
            # Half the spread and the fee of each: a quarter of a unit.
            assert len(desk.venue.wire) < 60

    on_virtual_desk(scenario)
