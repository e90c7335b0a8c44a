"""One journal through many lives in a storm: crashes, sleeps, pauses, hands on the web site.

A life is a loop of its own; a crash is a loop that is left as it stands, with whatever its journal
had not committed. The exchange lives on. After the last life both sides must agree.
"""

import asyncio
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from faults.test_simulation import GRID, LIMITS, QUIET_S, START_NS, SYMBOL, Simulation

from nkfast.core.market import Market
from nkfast.errors import VenueError
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.money import text
from nkfast.exchange.weather import preset
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal, verify
from nkfast.trading.life import LifeState
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.simulated import SimulatedVenue

#: Sleeps of the machine and a person's pauses are what `nkfast.testing` does not have.
SEEDS = range(5)
LIVES = 6
STORM = preset("storm")
#: What would halt in a storm that lasts is switched off: halting has tests of its own.
SETTINGS = EngineSettings(
    reconcile_interval_s=15, round_gap_s=2, unknown_max_s=10**6, error_budget=10**6
)


class Lives:
    """The exchange's side of it, and the engine of the life that is being lived."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.chance = random.Random(seed)
        self.seed = seed
        self.now_ns = START_NS
        self.ends: Counter[str] = Counter()
        self.simulation: Simulation | None = None

    def live_through(self) -> None:
        for number in range(LIVES):
            self.live(number, is_last=number == LIVES - 1)

    def live(self, number: int, *, is_last: bool) -> None:
        async def main(clock: VirtualClock) -> None:
            if self.simulation is None:
                self.simulation = Simulation(self.path, clock, self.seed, STORM, "always")
            self.simulation.clock = clock
            self.simulation.exchange.listeners.clear()  # those of the dead
            failures: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
            journal = Journal.open(self.path, instance="nk01", durability="process")
            try:
                await self.trade(self.simulation, journal, number, is_last=is_last)
            finally:
                self.now_ns = clock.time_ns() + self.chance.randrange(1, 60) * 10**9
                journal.close()
            assert failures == []

        run_virtual(main, self.now_ns)

    async def trade(
        self, simulation: Simulation, journal: Journal, number: int, *, is_last: bool
    ) -> None:
        market = Market.from_wire(next(r for r in DEFAULT_MARKETS if r["symbol"] == SYMBOL))
        engine = simulation.engine = Engine(
            venue=SimulatedVenue(
                simulation.exchange,
                simulation.account,
                clock=simulation.clock,
                weather=simulation.weather,
            ),
            clock=simulation.clock,
            journal=journal,
            strategy=Grid(GridSettings.read(GRID), market),
            symbol=SYMBOL,
            limits=LIMITS,
            mode="live",
            settings=SETTINGS,
        )
        simulation.weather.change(() if is_last else STORM, self.seed + number)
        try:
            await engine.start()
        except VenueError:
            self.ends["could not start"] += 1
            await engine.stop("keep")
            return
        await self.storm(simulation, engine)
        if is_last:
            await self.settle(simulation, engine)
            return
        end = self.chance.choice(["crash", "crash", "cancel", "keep"])
        self.ends[end] += 1
        if end != "crash":
            await engine.stop(end)

    async def storm(self, simulation: Simulation, engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self.chance.uniform(5, 60)
        while loop.time() < end_s:
            await asyncio.sleep(self.chance.uniform(0.05, 0.5))
            now_ms = simulation.clock.time_ns() // 1_000_000
            simulation.crowd.step(now_ms)
            fate, own = self.chance.random(), simulation.own_orders()
            if fate < 0.01:
                simulation.clock.sleep_machine(self.chance.uniform(1, 60))
            elif fate < 0.02 and engine.life is LifeState.RUNNING:
                engine.pause("a person's")
            elif fate < 0.03 and engine.life is LifeState.PAUSED:
                engine.resume()
            elif fate < 0.04 and own and own[0].is_open:
                simulation.exchange.withdraw(own[0], now_ms)  # by hand, on the web site
            simulation.check_always()

    async def settle(self, simulation: Simulation, engine: Engine) -> None:
        if engine.life is LifeState.PAUSED:
            engine.resume()
        await asyncio.sleep(QUIET_S)
        simulation.check_when_quiet()
        for asset in ("BTC", "USDT"):
            total = Decimal(text(simulation.account.holding(asset).total))
            assert engine.ledger.total(asset) == total
        report = await engine.stop("cancel")
        assert report.is_complete
        assert [order for order in simulation.own_orders() if order.is_open] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_both_sides_agree_after_many_lives(tmp_path: Path, seed: int) -> None:
    lives = Lives(tmp_path / "journal.db", seed)
    lives.live_through()
    assert lives.ends.total() == LIVES - 1
    report = verify(tmp_path / "journal.db")
    assert report.ok, report.differences
    assert report.orders > 5
