"""The engine with a grid on a simulated exchange, in a storm: what both believe must agree.

Numbers of invariants are those of the reliability targets: I1 no id accepted twice, I4 the states
agree when it is quiet, I5 every fill is recorded once, I6 money is conserved, I7 one live order to
a slot, I12 what was given up was never accepted, I16 foreign orders are left alone.
"""

import asyncio
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nkfast.core.market import Market
from nkfast.exchange.exchange import Exchange, Uniqueness
from nkfast.exchange.invariants import violations
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.money import text
from nkfast.exchange.orders import Order
from nkfast.exchange.rules import OrderForm
from nkfast.exchange.traders import Crowd
from nkfast.exchange.weather import Rule, Weather, preset
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal, verify
from nkfast.trading.orders import OrderState
from nkfast.trading.risk import RiskLimits
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.simulated import SimulatedVenue

SYMBOL = "BTC/USDT"
#: Wide: this is not about limits.
LIMITS = RiskLimits(
    max_order_notional=Decimal(10**9), max_position=Decimal(10**9), max_daily_loss=Decimal(10**9)
)
START_NS = 1_790_000_000 * 10**9
#: `nkfast.testing` runs thousands; these see the weather that `exchange serve` has, and a grid.
SEEDS = range(8)
STORM_S = 60
#: Longer than the finality horizon, the longest reconnection and a comparison after both.
QUIET_S = 240
GRID = {"step_pct": "0.007", "base_order_size": "0.01", "recenter_pct": "0.02"}


class Simulation:
    """One engine at one exchange, with a crowd, foreign orders and a weather."""

    def __init__(
        self,
        path: Path,
        clock: VirtualClock,
        seed: int,
        rules: tuple[Rule, ...],
        uniqueness: Uniqueness,
    ) -> None:
        rows = [row for row in DEFAULT_MARKETS if row["symbol"] == SYMBOL]
        now_ms = clock.time_ns() // 1_000_000
        self.path, self.clock, self.seed, self.rules = path, clock, seed, rules
        self.exchange = Exchange(rows, seed=seed, now_ms=now_ms, uniqueness=uniqueness)
        self.crowd = Crowd(self.exchange, seed=seed, speed=20, now_ms=now_ms)
        self.account = self.exchange.open_account("owner", {"BTC": "2", "USDT": "200000"})
        self.weather = Weather((), seed)
        self.foreign = [self.place_foreign("sell", "90000"), self.place_foreign("buy", "30000")]

    def place_foreign(self, side: str, price: str) -> Order:
        form = {"symbol": SYMBOL, "side": side, "quantity": "0.01", "price": price}
        now_ms = self.clock.time_ns() // 1_000_000
        return self.exchange.submit(self.account, OrderForm.from_wire(form), now_ms)

    async def run(self) -> None:
        venue = SimulatedVenue(self.exchange, self.account, clock=self.clock, weather=self.weather)
        market = Market.from_wire(next(r for r in DEFAULT_MARKETS if r["symbol"] == SYMBOL))
        chance = random.Random(self.seed)
        with Journal.open(self.path, instance="nk01", durability="process") as journal:
            engine = self.engine = Engine(
                venue=venue,
                clock=self.clock,
                journal=journal,
                strategy=Grid(GridSettings.read(GRID), market),
                symbol=SYMBOL,
                limits=LIMITS,
                mode="live",
                settings=EngineSettings(reconcile_interval_s=15, round_gap_s=2),
            )
            await engine.start()
            self.weather.change(self.rules, self.seed)
            loop = asyncio.get_running_loop()
            end_s = loop.time() + STORM_S
            while loop.time() < end_s:
                await asyncio.sleep(chance.uniform(0.05, 0.5))
                self.crowd.step(self.clock.time_ns() // 1_000_000)
                self.check_always()
            self.weather.change((), 0)
            await asyncio.sleep(QUIET_S)
            self.check_when_quiet()
            await engine.stop("cancel")
            self.check_always()
            left = [order for order in self.own_orders() if order.is_open]
            assert left == [], "cancelled at the exit, and still open"
        report = verify(self.path)
        assert report.ok, report.differences

    def own_orders(self) -> list[Order]:
        return [order for order in self.account.orders() if order not in self.foreign]

    def check_always(self) -> None:
        assert violations(self.exchange) == []  # I6
        accepted = Counter(order.client_id for order in self.own_orders())
        assert max(accepted.values(), default=0) <= 1, accepted  # I1
        intents = {order.client_id: order for order in self.engine.orders}
        slots = Counter(intents[o.client_id].slot for o in self.own_orders() if o.is_open)
        assert max(slots.values(), default=0) <= 1, slots  # I7
        assert all(order.is_open for order in self.foreign)  # I16
        assert self.engine.halted is None

    def check_when_quiet(self) -> None:
        accepted = {order.client_id: order for order in self.own_orders()}
        for intent in self.engine.orders:
            order = accepted.pop(intent.client_id, None)
            if intent.state in (OrderState.REJECTED, OrderState.ABANDONED):
                assert order is None, f"{intent.client_id} was given up and accepted"  # I12
                continue
            assert order is not None, f"{intent.client_id} is {intent.state}, never accepted"
            is_live = intent.state is OrderState.LIVE
            assert is_live is order.is_open, f"{intent.client_id}: {intent.state}"  # I4
            executed = Decimal(order.listing.quantity_text(order.executed_lots))
            assert intent.executed == intent.filled == executed, intent.client_id
            told = {key[0]: (fill.quantity, fill.fee) for key, fill in intent.fills.items()}
            assert told == self.fills_of(order), intent.client_id  # I5
        assert accepted == {}, "orders that no intent made"  # I1, I4

    def fills_of(self, order: Order) -> dict[str, Any]:
        return {
            fill.trade.id: (
                Decimal(order.listing.quantity_text(fill.trade.lots)),
                Decimal(text(fill.fee)),
            )
            for fill in self.account.trades
            if fill.order is order
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_both_sides_agree_after_the_storm(tmp_path: Path, seed: int) -> None:
    made: list[Simulation] = []

    async def main(clock: VirtualClock) -> None:
        made.append(Simulation(tmp_path / "journal.db", clock, seed, preset("storm"), "always"))
        await made[0].run()

    run_virtual(main, START_NS)
    assert made[0].weather.strikes.total() > 100
    assert len(made[0].own_orders()) >= 6
