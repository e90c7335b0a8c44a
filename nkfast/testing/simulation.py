"""One simulated run: an engine, an exchange, a market, a storm, and a judge.

The engine is the real one, with its journal in a real file. Its process is pretended: it is killed
between any two steps, and started again on the same journal. The exchange goes on meanwhile, and so
does everything that was on its way to it.
"""

import asyncio
import math
import os
import random
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, cast

from nkfast.core.market import Market
from nkfast.errors import HaltedError, JournalError, VenueError
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS, Listing
from nkfast.exchange.rules import OrderForm
from nkfast.exchange.weather import Rule, Weather
from nkfast.testing.checker import Checker, Violation
from nkfast.testing.fragile import (
    FragileJournal,
    FragileStrategy,
    MachineClock,
    Schedule,
    ScriptedError,
    Wire,
)
from nkfast.testing.process import Process, ProcessLoop
from nkfast.testing.quoter import Quoter
from nkfast.testing.script import COUNTED, Incident, Script
from nkfast.testing.tide import Tide
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal
from nkfast.trading.life import LifeState, clear_halt
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Strategy
from nkfast.venue.clock import VirtualClock
from nkfast.venue.port import Venue
from nkfast.venue.simulated import SimulatedVenue

__all__ = ["LIMITS", "SETTINGS", "Outcome", "Stage", "simulate"]

_START_NS: Final = 1_790_000_000 * 10**9
_INSTANCE: Final = "nk01"
#: Slower than life where that is only waiting: the horizon is above everything that comes late.
SETTINGS: Final = EngineSettings(
    reconcile_interval_s=10.0,
    finality_horizon_s=30.0,
    round_gap_s=7.0,  # more than twice the lag of the lists
    overlap_s=60.0,
    rules_interval_s=15.0,
)
LIMITS: Final = RiskLimits(
    max_order_notional=Decimal(5_000),
    max_open_orders=6,
    max_position=Decimal("1.1"),
    max_daily_loss=Decimal(100_000),
    max_orders_per_minute=60,
)
_FUNDS: Final[Mapping[str, str]] = {"BTC": "1", "USDT": "20000"}
_BEAT_S: Final = 0.5
#: How long the market waits at most for the engine to trade when the storm is over.
_TRADES_S: Final = 25.0
#: Nor is any process ended by what came of the storm after this.
_RESTARTS_END_S: Final = 120.0
#: How long a process that is told to end may take.
_END_S: Final = 30.0
#: What its last requests still do arrives within this: no request is late any more.
_AFTERMATH_S: Final = 5.0
#: A process that has not started after this gives up.
_START_S: Final = 60.0
#: Causes of a halt, each with the fault that makes it right: new rules of a market are noticed at
#: the next look, or by refusals before it, and an owner may trade with the engine's own orders.
_RIGHT_HALTS: Final = {
    "MARKET_CHANGED": "tick_size",
    "ERROR_BUDGET": "tick_size",
    "SELF_TRADES": "owner_trades",
}
#: How long a process that ended stays down.
_DOWN_S: Final = (0.1, 8.0)


@dataclass(frozen=True, slots=True)
class Stage:
    """What is simulated, apart from what goes wrong.

    Attributes
    ----------
    strategy : callable
        Makes the strategy for the markets, given one by one, the home first; called at every start
        of the process.
    market : mapping
        In the shape of a row of ``market/getlist``; its ``lastPrice`` is where the market begins.
    more_markets : sequence of mapping
        Further markets, of which each moves by itself.
    funds : mapping of str to str
        What the account owns at first.
    limits : RiskLimits
    settings : EngineSettings
    venue : callable
        Wraps the venue of each life: a place for what is known to be wrong.
    market_steps_per_s : float
        How often somebody else trades or quotes.
    spread : float
        Typical distance of a level from the middle, as a fraction of the price; the market walks
        about as far at each of its moves.
    size_lots : int
        Typical size of what others trade on the first market; on the others as much is as valuable.
    rests_when_quiet : bool
        Whether the strategy wants nothing any more once the market stands still: for one that would
        go on taking what stands there, so that it is never quiet.
    """

    strategy: Callable[..., Strategy] = Quoter
    market: Mapping[str, Any] = field(default_factory=lambda: DEFAULT_MARKETS[0])
    more_markets: Sequence[Mapping[str, Any]] = ()
    funds: Mapping[str, str] = field(default_factory=lambda: _FUNDS)
    limits: RiskLimits = LIMITS
    settings: EngineSettings = SETTINGS
    venue: Callable[[Venue], Venue] = lambda venue: venue
    market_steps_per_s: float = 2.0
    spread: float = 0.00016
    size_lots: int = 20_000
    rests_when_quiet: bool = False

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """Every market, the home first."""
        return (self.market, *self.more_markets)

    def make_strategy(self) -> Strategy:
        """Return a new strategy, as a start of the process makes it."""
        return self.strategy(*(Market.from_wire(row) for row in self.rows))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run.

    Attributes
    ----------
    script : Script
        What went wrong, as data.
    violation : Violation or None
        The invariant that was broken first.
    digest : str
        Of everything that happened: equal for equal runs.
    virtual_s : float
        How long it was pretended to take.
    kills, intents, fills : int
        Ends of the process without warning, orders intended, fills at the exchange.
    faults : Counter
        What struck, by kind.
    cells : Counter
        What struck while an order was in a state: (state, fault).
    reasons : Counter
        What the engine considered and did not do, over all lives.
    trace : list of tuple
        What happened: (virtual nanoseconds, what, ...).
    """

    script: Script
    violation: Violation | None
    digest: str
    virtual_s: float
    kills: int
    intents: int
    fills: int
    faults: "Counter[str]"
    cells: "Counter[tuple[str, str]]"
    reasons: "Counter[str]"
    trace: list[tuple[object, ...]]

    @property
    def ok(self) -> bool:
        """Whether every invariant held."""
        return self.violation is None

    @property
    def command(self) -> str:
        """What replays the run on the usual stage; on another: ``simulate(script, stage)``."""
        return f"python -m nkfast.testing --script {shlex.quote(self.script.as_json())}"


def simulate(script: "int | Script", stage: Stage | None = None) -> Outcome:
    """Run one simulation to its end, or to the first violation.

    Parameters
    ----------
    script : int or Script
        A seed, from which the script is drawn, or the script itself. The same one gives the same
        run, to the last digit.
    stage : Stage or None
        What is simulated; None: a quoting strategy on a BTC market.

    Returns
    -------
    Outcome
        ``ok`` when every invariant held.

    Notes
    -----
    A strategy that cannot be made raises what it raises: that is no fault of a run.
    """
    if isinstance(script, int):
        script = Script.draw(script)
    if stage is None:
        stage = Stage()
    stage.make_strategy()
    loop = ProcessLoop()
    with tempfile.TemporaryDirectory(prefix="nkfast-", dir=_fast_folder()) as folder:
        world = _World(loop, script, stage, Path(folder))
        try:
            loop.run_until_complete(world.run())
        finally:
            world.clear()
            loop.close()
    return world.outcome()


def _fast_folder() -> str | None:
    """Return a folder in memory where there is one: the files live for milliseconds."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and os.access(shared, os.W_OK) else None


class _World:
    """Everything of one run. What is not the engine's process runs in no process at all."""

    def __init__(self, loop: ProcessLoop, script: Script, stage: Stage, folder: Path) -> None:
        self.loop = loop
        self.script = script
        self.stage = stage
        self.path = folder / "journal.db"
        self.clock = VirtualClock(loop, _START_NS)
        self.machine = MachineClock(self.clock)
        self.wall_clock = MachineClock(self.clock, script.skew_ms)
        self.weather = Weather((), script.seed)
        self.symbols = [str(row["symbol"]) for row in stage.rows]
        self.exchange = Exchange(
            stage.rows, seed=script.seed, now_ms=self.now_ms(), uniqueness=script.uniqueness
        )
        self.weather.attach(self.exchange)
        self.account = self.exchange.open_account("owner", stage.funds)
        listings = [self.exchange.listing(symbol) for symbol in self.symbols]
        self._listing = listings[0]
        self._tides = [
            self._tide(listing, row) for listing, row in zip(listings, stage.rows, strict=True)
        ]
        self.checker = Checker(
            loop,
            self.exchange,
            self.account,
            listings,
            stage.limits,
            _INSTANCE,
            forgets_ended=script.lookup == "active",
        )
        self.schedule = Schedule(script.incidents, self._note_fault)
        self.weather.on_strike = self._on_strike
        self.stop = asyncio.Event()
        self.reasons: Counter[str] = Counter()
        self._random = random.Random(f"world/{script.seed}")
        self._faults: Counter[str] = Counter()
        self._timed = sorted(
            (one for one in script.incidents if one.kind not in COUNTED), key=lambda one: one.at
        )
        self._kill_steps = sorted(
            int(one.at) for one in script.incidents if one.kind == "kill_at_step"
        )
        self._steps = self._kills = 0
        self._lives: list[_Life] = []
        self._is_stopping = False
        self._thaw: asyncio.TimerHandle | None = None
        self._slept_since_ns: int | None = None
        self._resumes_s = 0.0

    def _tide(self, listing: Listing, row: Mapping[str, Any]) -> Tide:
        market, seed = listing.market, self.script.seed
        start_ticks = market.price_to_ticks(str(row["lastPrice"]))
        is_home = listing is self._listing
        return Tide(
            self.exchange,
            listing,
            random.Random(f"tide/{seed}" if is_home else f"tide/{seed}/{market.symbol}"),
            start_ticks=start_ticks,
            spread_ticks=max(1, round(start_ticks * self.stage.spread)),
            size_lots=self.stage.size_lots if is_home else self._size_lots(market),
            now_ms=self.now_ms(),
        )

    def _size_lots(self, market: Market) -> int:
        """Return how many lots are worth what others trade on the home market."""
        home = self._listing.market
        worth = {home.quote: 1.0}  # in the home's quote asset
        for row in self.stage.rows:
            base, _, quote = str(row["symbol"]).partition("/")
            worth.setdefault(base, float(row["lastPrice"]) * worth.get(quote, 1.0))
        value = self.stage.size_lots * float(home.lot_size) * worth[home.base]
        return max(1, round(value / (worth[market.base] * float(market.lot_size))))

    def now_ms(self) -> int:
        """Return the exchange's time, Unix milliseconds."""
        return self.clock.time_ns() // 1_000_000 + self.weather.skew_ms

    # Faults ------------------------------------------------------------------------------------

    def _on_strike(self, rule: Rule) -> None:
        if rule.times is not None:  # what lasts, strikes all the time
            self._note_fault(rule.fault)

    def _note_fault(self, fault: str) -> None:
        self._faults[fault] += 1
        self.checker.note_fault(fault)

    def _strike_timed(self) -> None:
        while self._timed and self._timed[0].at <= self.loop.time():
            incident = self._timed.pop(0)
            if self._strike(incident):
                self._note_fault(incident.kind)

    def _strike(self, incident: Incident) -> bool:
        """Let an incident happen; return whether it could."""
        kind, seconds = incident.kind, incident.seconds
        if kind in ("kill", "freeze", "sleep", "owner_pauses"):
            return self._strike_process(self._lives[-1], incident)
        if kind == "clock_jump":
            self.wall_clock.ahead_ns = self.script.skew_ms * 1_000_000 + int(seconds * 1e9)
        elif kind == "owner_cancels":
            orders = list(self.checker.own_orders())
            if not orders:
                return False
            self.exchange.withdraw(self._random.choice(orders), self.now_ms())
        else:
            return self._owner_orders(crosses=kind == "owner_trades")
        return True

    def _strike_process(self, life: "_Life", incident: Incident) -> bool:
        process, seconds = life.process, incident.seconds
        is_asleep = process.is_frozen and self._slept_since_ns is not None
        if process.is_dead or is_asleep or (process.is_frozen and incident.kind != "kill"):
            return False
        if incident.kind == "kill":
            process.kill()
        elif incident.kind == "owner_pauses":
            if not life.is_trading:
                return False
            process.call(life.pause)
            self._resumes_s = self.loop.time() + seconds
        else:
            process.freeze()
            self._slept_since_ns = self.loop.now_ns if incident.kind == "sleep" else None
            self._thaw = self.loop.call_later(seconds, self._go_on, process)
        return True

    def _go_on(self, process: Process) -> None:
        """Let a process go on that is held still, or whose machine slept until now."""
        if self._thaw is not None:
            self._thaw.cancel()
        if not process.is_frozen:
            return
        if self._slept_since_ns is None:
            process.thaw()
            return
        slept_ns = self.loop.now_ns - self._slept_since_ns
        self.machine.slept_ns += slept_ns
        self.wall_clock.slept_ns += slept_ns
        process.wake(slept_ns / 1e9)

    def _owner_orders(self, *, crosses: bool) -> bool:
        market, best = self._listing.market, self._listing.engine.best_bid
        if best is None:
            return False
        is_buy = self._random.random() < 0.5
        percent = (1 if is_buy else -1) if crosses else (-3 if is_buy else 3)
        price = market.ticks_to_price(best[0] * (100 + percent) // 100)
        form = {
            "symbol": self.symbols[0],
            "side": "buy" if is_buy else "sell",
            "quantity": str(market.lots_to_quantity(self.stage.size_lots // 2)),
            "price": str(price),
            "strictValidate": False,
        }
        self.checker.owner_trades |= crosses
        try:
            self.exchange.submit(self.account, OrderForm.from_wire(form), self.now_ms())
        except VenueError:  # paused, or too poor: the owner sees it and shrugs
            return False
        return True

    # The run -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let the storm pass, wait until it is quiet, end."""
        self.weather.change(
            (*self._latency(), *self.script.rules, *self.script.lasting), self.script.seed
        )
        tasks = [
            self.loop.create_task(work)
            for work in (self._tell_story(), self._supervise(), self.checker.failed.wait())
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _latency(self) -> tuple[Rule, ...]:
        mean_s = self.script.latency_s
        if not mean_s:
            return ()
        return tuple(
            Rule(fault, seconds=mean_s / 2, jitter_s=mean_s / 2)
            for fault in ("delay_in", "delay_out", "delay")
        )

    async def _tell_story(self) -> None:
        await self._pass(self.script.storm_s)
        self.schedule.is_over = True
        self._kill_steps.clear()
        process = self._lives[-1].process
        process.dies_at_step = None
        self._go_on(process)
        self._resumes_s = 0.0
        self.weather.change((*self._latency(), *self.script.lasting), self.script.seed)
        self.checker.note("calm")
        await self._trade_in_calm()
        self._is_stopping = True
        await self._end()

    async def _pass(self, seconds: float, *, is_market_open: bool = True) -> None:
        """Let time pass, with a market that moves, and with what happens at a second."""
        end_ns = self.loop.now_ns + math.ceil(seconds * 1e9)
        while (left_ns := end_ns - self.loop.now_ns) > 0:
            await asyncio.sleep(min(_BEAT_S, left_ns / 1e9))
            self.weather.step()
            if not self.schedule.is_over:
                self._strike_timed()
            if self.loop.time() >= self._resumes_s and self._lives[-1].is_trading:
                self._lives[-1].end_pause()
            if is_market_open:
                self._move_market()
            else:
                for tide in self._tides:
                    tide.breathe(self.now_ms())
            self.checker.check_exchange()

    def _move_market(self) -> None:
        for tide in self._tides:
            for _ in range(int(self.stage.market_steps_per_s * _BEAT_S + self._random.random())):
                tide.step(self.now_ms())

    async def _trade_in_calm(self) -> None:
        """Let everything arrive that is late, and the engine trade; then wait until it is quiet."""
        began_s, calm_s = self.loop.time(), self.script.calm_s
        await self._pass(max(calm_s, math.ceil(self.loop.settled_s - began_s)))
        while self.loop.time() < began_s + _TRADES_S and not self._lives[-1].has_traded(calm_s):
            await self._pass(1.0)
        await self._wait_until_quiet(began_s)

    async def _wait_until_quiet(self, calm_s: float) -> None:
        """Wait until both sides agree: the horizon and a minute from the last fault or start."""
        patience_s = self.stage.settings.finality_horizon_s + 60
        while True:
            await self._pass(1.0, is_market_open=False)
            life = self._lives[-1]
            difference: tuple[str, str] | None = ("I10", "the engine does not run")
            if life.is_trading:
                life.strategy.rests = self.stage.rests_when_quiet
                difference = next(self.checker.differences(life.engine, life.journal), None)
            if difference is None:
                self.checker.check_told(life.strategy.told)
                self.checker.note("quiet")
                return
            # A market whose rules changed back is noticed late, and ends the process once more.
            began_s = min(max(calm_s, life.started_s), calm_s + _RESTARTS_END_S)
            if self.loop.time() >= began_s + patience_s:
                self.checker.fail(*difference)
                return

    async def _end(self) -> None:
        life, ending = self._lives[-1], self.script.ending
        if ending == "halt":
            life.strategy.fails = True
        else:
            self.stop.set()
        ends_s = self.loop.time() + _END_S
        while not life.has_ended and self.loop.time() < ends_s:
            await self._pass(1.0, is_market_open=ending == "halt")
        await self._pass(_AFTERMATH_S, is_market_open=False)
        if not life.has_ended:
            self.checker.fail("I20", "the engine does not end")
        resting = [order.client_id for order in self.checker.own_orders()]
        if resting and ending != "keep":
            invariant = "I9" if ending == "halt" else "I4"
            self.checker.fail(invariant, f"{resting[0]} rests after the end")
        self.checker.check_journal(self.path)
        self.checker.check_exchange(wholly=True)

    async def _supervise(self) -> None:
        """Start the process, and again whenever it has ended, until the end."""
        while not self._is_stopping:
            life = _Life(self)
            self._lives.append(life)
            process = life.process
            process.dies_at_step = self._next_kill_step()
            self.checker.begin_life()
            main = process.start(life.main())
            died = self.loop.create_task(process.died.wait())
            try:
                await asyncio.wait((main, died), return_when=asyncio.FIRST_COMPLETED)
            finally:
                died.cancel()
            self._steps += process.steps
            if process.is_dead:
                self._kills += 1
                if process.steps == process.dies_at_step:
                    self._note_fault("kill_at_step")
            elif main.exception() is not None:
                self.checker.fail("I20", f"the process ended: {main.exception()!r}")
            life.end()
            await asyncio.sleep(self._random.uniform(*_DOWN_S))
        await self.loop.create_future()  # `run` ends this

    def _next_kill_step(self) -> int | None:
        while self._kill_steps and self._kill_steps[0] <= self._steps:
            self._kill_steps.pop(0)
        return self._kill_steps[0] - self._steps if self._kill_steps else None

    def clear(self) -> None:
        """Close what dead processes left open."""
        for life in self._lives:
            life.process.kill()
            life.close()
            life.process.bury()

    def outcome(self) -> Outcome:
        """Return what came of it."""
        checker = self.checker
        return Outcome(
            self.script,
            checker.violation,
            blake2b(repr(checker.trace).encode(), digest_size=16).hexdigest(),
            self.loop.time(),
            self._kills,
            checker.intent_count,
            checker.fill_count,
            self._faults,
            checker.cells,
            self.reasons,
            checker.trace,
        )


class _Life:
    """One life of the engine's process."""

    engine: Engine
    strategy: FragileStrategy
    journal: Journal

    def __init__(self, world: _World) -> None:
        self.process = Process(world.loop, world.checker.after_step)
        self.is_trading = self.has_ended = False
        self.started_s = self._trades_since_s = world.loop.time()
        self._world = world
        self._opened: Journal | None = None
        self._wire: Wire | None = None
        self._venue = SimulatedVenue(
            world.exchange,
            world.account,
            clock=world.machine,
            weather=world.weather,
            tick_s=_BEAT_S,
        )

    def has_traded(self, seconds: float) -> bool:
        """Whether the engine runs, and has for so long."""
        return self.is_trading and self._world.loop.time() - self._trades_since_s >= seconds

    def pause(self) -> None:
        """Do what the owner does who wants nothing new for a while."""
        if self.is_trading and self.engine.life is LifeState.RUNNING:
            self.engine.pause("the owner's")

    def end_pause(self) -> None:
        """Do what the owner does who finds the engine paused, also by a process before this one."""
        if self.engine.life is LifeState.PAUSED:
            self.process.call(self._resume)

    def _resume(self) -> None:
        if self.engine.life is LifeState.PAUSED:
            self.engine.resume()

    async def main(self) -> None:
        """What the process does, from its start to its end."""
        world = self._world
        stage, script = world.stage, world.script
        watched = self.process, world.schedule, world.checker
        self._opened = Journal.open(world.path, instance=_INSTANCE, durability="process", mark=0)
        self._clear_halt(self._opened)
        fragile = FragileJournal(self._opened, *watched)
        self.journal = cast("Journal", fragile)
        wire = self._wire = Wire(
            self._venue,
            world.account,
            world.now_ms,
            *watched,
            lookup=script.lookup,
            read_lag_s=script.read_lag_s,
        )
        self.strategy = FragileStrategy(stage.make_strategy(), world.schedule, world.checker)
        self.engine = engine = Engine(
            venue=stage.venue(wire),
            clock=world.wall_clock,
            journal=self.journal,
            strategy=self.strategy,
            symbol=world.symbols[0],
            more_symbols=world.symbols[1:],
            limits=stage.limits,
            mode="live",
            settings=stage.settings,
        )
        try:
            async with asyncio.timeout(_START_S):
                await engine.start()
            self.is_trading = True
            self._trades_since_s = world.loop.time()
            world.checker.watch(engine)
            await engine.run(world.stop)
        except ScriptedError:
            pass
        except JournalError:
            if not fragile.is_broken:
                raise
        except HaltedError as halt:
            if _RIGHT_HALTS.get(halt.cause) not in script.faults_named:
                raise
        except (VenueError, TimeoutError):  # the next start may find the exchange
            if self.is_trading:
                raise
        finally:
            self.is_trading = False
            world.reasons.update(engine.reasons)
        await engine.stop("keep" if script.ending == "keep" else "cancel")

    def _clear_halt(self, journal: Journal) -> None:
        """Do what the owner does before a start after a halt: read its cause, and clear it."""
        life = journal.life()
        if life is not None and life.state == LifeState.HALTED:
            cause, _, _ = life.cause.partition(": ")
            clear_halt(journal, cause, self._world.clock.time_ns() // 1_000_000)
            self._world.checker.note("cleared", cause)

    def end(self) -> None:
        """Take the process out of the world; what was on its way goes on."""
        self.has_ended = True
        self.is_trading = False
        self._venue.abandon()
        if self.process.is_dead and self._wire is not None:
            self._wire.abandon()
        self.close()
        self._world.checker.end_life(self.process)

    def close(self) -> None:
        """Give back the journal's file, as the end of a process does."""
        if self._opened is not None:
            self._opened.close()
