"""Weather: every fault at random, for hours of pretended time, and then the books must agree."""

import asyncio
import random
from decimal import Decimal

import pytest

from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.orders import OrderState, parse_client_id
from nkfast.venue.port import VenueStatus

FATES = ["accept"] * 6 + ["lose", "drop", "silent", "late", "reject", "unreachable"]
SEEDS = range(6)


class Weather:
    """Chooses, from a seed, what goes wrong next."""

    def __init__(self, desk, seed: int) -> None:
        self.desk = desk
        self.random = random.Random(seed)
        self.mid = Decimal("100.05")

    def do_something(self) -> None:
        random, venue = self.random, self.desk.venue
        what = random.choice(
            ["move", "fill", "fill", "fill", "fate", "fate", "cancel", "reads", "down", "up"]
        )
        if what == "move":
            self.mid = max(self.mid + Decimal(random.randint(-150, 150)) / 100, Decimal(60))
            self.fill_crossed()
            if venue.is_up:
                self.show()
        elif what == "fill":
            self.fill_one()
        elif what == "fate":
            queue = random.choice([venue.submits, venue.cancels])
            fate = random.choice(FATES)
            if not (queue is venue.cancels and fate == "reject"):
                queue.append(fate)
            venue.late_s = random.choice([0.1, 3.0, 50.0, 200.0])
        elif what == "cancel" and venue.open_own():
            venue.end(random.choice(venue.open_own()), told=self.is_told())
        elif what == "reads":
            venue.reads.extend(["fail"] * random.randint(1, 5))
        elif what == "down" and venue.is_up:
            venue.disconnect()
        elif what == "up" and not venue.is_up:
            self.reconnect()

    def is_told(self) -> bool:
        return self.desk.venue.is_up and self.random.random() < 0.7

    def show(self) -> None:
        self.desk.venue.set_book(str(self.mid - Decimal("0.05")), str(self.mid + Decimal("0.05")))

    def reconnect(self) -> None:
        low, high = self.mid - Decimal("0.05"), self.mid + Decimal("0.05")
        self.desk.venue.reconnect(str(low), str(high))

    def fill_one(self) -> None:
        orders = self.desk.venue.open_own()
        if not orders:
            return
        true = self.random.choice(orders)
        left = true.order.quantity - true.executed
        lots = int(left * 10_000)
        quantity = Decimal(self.random.randint(1, lots)) / 10_000
        self.desk.venue.fill(
            true, str(quantity), told=self.is_told(), fee=self.random.random() < 0.8
        )

    def fill_crossed(self) -> None:
        for true in self.desk.venue.open_own():
            price, side = true.order.price, true.order.side
            if price >= self.mid if side == "buy" else price <= self.mid:
                self.desk.venue.fill(true, told=self.is_told())

    def clear_up(self) -> None:
        venue = self.desk.venue
        venue.submits.clear()
        venue.cancels.clear()
        venue.reads.clear()
        if not venue.is_up:
            self.reconnect()


def check(desk, engine) -> None:
    """Both sides agree about every order, every fill and every balance."""
    venue = desk.venue
    assert engine.halted is None
    for order in engine.orders:
        true = venue.truth.get(order.client_id)
        if true is None:
            assert order.state in (OrderState.REJECTED, OrderState.ABANDONED)
            continue
        if order.state is OrderState.ABANDONED:  # it came and went without a trace
            assert not true.is_open
            assert not true.executed
            continue
        assert order.executed == order.filled == true.executed, order.client_id
        assert order.state is (OrderState.LIVE if true.is_open else OrderState.DONE)
        if not true.is_open and true.status is not VenueStatus.FILLED:
            assert order.facts.final in (VenueStatus.CANCELLED, VenueStatus.EXPIRED)
        told = {key[0]: (fill.quantity, fill.fee) for key, fill in order.fills.items()}
        assert told == {e.trade_id: (e.quantity, e.fee) for e in true.executions}
    ours = {true.order.client_id for true in venue.open_own()}
    assert ours == {order.client_id for order in engine.orders.open_orders}
    slots = [order.slot for order in engine.orders.open_orders]
    assert len(set(slots)) == len(slots)
    assert len(set(venue.wire)) == len(venue.wire)
    profit = engine.ledger.profit
    assert profit.unknown_fees == 0
    assert profit.position == venue.balances["BTC"] - 100
    assert profit.cash == venue.balances["USDT"] - 100_000
    mid = Decimal("100.05")
    assert profit.realized + profit.unrealized(mid) == profit.equity_change(mid)
    assert engine.ledger.total("BTC") == venue.balances["BTC"]
    assert engine.ledger.total("USDT") == venue.balances["USDT"]
    assert all(parse_client_id(client_id) is not None for client_id in venue.wire)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_the_storm_the_books_agree(on_virtual_desk, seed) -> None:
    async def scenario(desk) -> None:
        weather = Weather(desk, seed)
        desk.venue.forgets_untouched = seed % 2 == 1
        given = {"step_pct": "0.01", "base_order_size": "0.5", "recenter_pct": "0.05"}
        settings = GridSettings.read(given)
        for run in range(3):
            desk.strategy = Grid(settings, desk.market)
            weather.clear_up() if run else None
            mid = weather.mid
            desk.show = (str(mid - Decimal("0.05")), str(mid + Decimal("0.05")))
            async with desk.trading(on_exit="keep", unknown_max_s=100_000) as engine:
                for _ in range(120):
                    weather.do_something()
                    await asyncio.sleep(weather.random.choice([0, 0.01, 0.3, 2, 15]))
                    assert engine.halted is None
                if run < 2 and weather.random.random() < 0.5:
                    continue  # the next start finds whatever this one leaves
                weather.clear_up()
                await asyncio.sleep(400)
                check(desk, engine)

    on_virtual_desk(scenario)
