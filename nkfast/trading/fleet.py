"""Several engines in one process, kept up: each lives, falls and is started again alone.

They may share a venue (`nkfast.venue.shared.SharedVenue`) and, when they trade with one account,
its open orders (`nkfast.trading.account.AccountOrders`), so that they never trade with each other.

What a new start can heal is given one, later each time, until there were too many:

    start --> trading --> ended: asked to, drained
      ^          |
      |          v
    waits <-- failed --> stays down: halted, refused, or more failures than the budget has

A venue that cannot be reached and a store that could not be written heal: nothing was halted, and
the next start reads back and compares as every start does. A halt does not, whatever caused it: a
person has to clear it by its name (`nkfast.trading.life.clear_halt`).
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from nkfast.errors import ConfigError, RateLimitError
from nkfast.trading.control import Control
from nkfast.trading.engine import Engine
from nkfast.trading.life import ErrorBudget, OnExit, StopReport, can_heal

if TYPE_CHECKING:
    from nkfast.venue.clock import Clock

__all__ = ["Ended", "Fault", "Fleet", "Launch", "Restarts"]

#: Makes an engine that is not started yet, with a journal of its own, and closes that afterwards.
Launch = Callable[[], AbstractContextManager[Engine]]

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often an instance that failed is started again.

    Attributes
    ----------
    most : int
        So many starts in `window_s`; one failure more, and it stays down. 0: none.
    window_s : float
        Seconds. An instance that lived longer begins to wait from the start again.
    first_wait_s, longest_wait_s : float
        It waits this long before the first new start, and twice as long before each one after, up
        to the longest. A venue that says for how long to stay away is obeyed.
    """

    most: int = 10
    window_s: float = 3600.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ConfigError(f"most is {self.most}; it must not be negative", "most")
        for name in ("window_s", "first_wait_s", "longest_wait_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive", name)


class Fault(NamedTuple):
    """An end of an instance that nobody asked for.

    Attributes
    ----------
    time_ms : int
        Unix milliseconds.
    error : Exception
        What ended it.
    wait_s : float or None
        After so many seconds it is started again; None: it stays down.
    """

    time_ms: int
    error: Exception
    wait_s: float | None

    def __str__(self) -> str:
        then = "stays down" if self.wait_s is None else f"starts again in {self.wait_s:g} s"
        return f"{type(self.error).__name__}: {self.error}; {then}"


class Ended(NamedTuple):
    """How one instance ended.

    Attributes
    ----------
    error : Exception or None
        What ended it for good; None: it was asked to, or had nothing left to do.
    report : StopReport
        What its last stop left.
    faults : tuple of Fault
        Everything that ended one of its lives, the newest last; of the newest 100.
    why : str
        Why it is down, in a line.
    """

    error: Exception | None
    report: StopReport
    faults: tuple[Fault, ...]
    why: str


_FAULTS_KEPT = 100


class Fleet:
    """Runs instances side by side, and keeps them up. What ends one ends no other.

    Parameters
    ----------
    launches : mapping of str to Launch
        By the name of the instance. A launch is called for each start, so that every life begins
        with a fresh engine and what the journal holds.
    clock : Clock
        What time it is.
    restarts : Restarts, optional
        The error budget of each.
    control : mapping of str to Path, optional
        By name: the folder in which an instance takes commands (`nkfast.trading.control`).
    tell : callable, optional
        Is told the name and the fault of every end that nobody asked for, when it has happened.
    """

    def __init__(
        self,
        launches: Mapping[str, Launch],
        *,
        clock: "Clock",
        restarts: Restarts | None = None,
        control: Mapping[str, Path] | None = None,
        tell: Callable[[str, Fault], None] | None = None,
    ) -> None:
        restarts = restarts if restarts is not None else Restarts()
        folders = control if control is not None else {}
        self._berths = {
            name: _Berth(name, launch, clock, restarts, folders.get(name), tell)
            for name, launch in launches.items()
        }
        self._ended: dict[str, Ended] = {}

    @property
    def engines(self) -> Mapping[str, Engine]:
        """The engines that are up or coming up now, by name."""
        return {
            name: berth.engine for name, berth in self._berths.items() if berth.engine is not None
        }

    @property
    def faults(self) -> Mapping[str, tuple[Fault, ...]]:
        """What ended lives of each, by name, the newest last."""
        return {name: tuple(berth.faults) for name, berth in self._berths.items()}

    @property
    def ended(self) -> Mapping[str, Ended]:
        """How those ended that are down for good, by name, in the order in which they did."""
        return MappingProxyType(self._ended)

    async def run(
        self, stop: asyncio.Event, on_exit: OnExit | Mapping[str, OnExit] = "cancel"
    ) -> Mapping[str, Ended]:
        """Keep every instance up until it has ended, and stop those that are up by ``stop``.

        One that cannot start, halts or has drained is stopped at once, by ``on_exit`` (of all, or
        by name) or what a command to it said, while the others trade on.

        Returns
        -------
        mapping of str to Ended
            How each ended; all have.
        """
        async with asyncio.TaskGroup() as group:
            for name in self._berths:
                way_out = on_exit if isinstance(on_exit, str) else on_exit[name]
                group.create_task(self._keep(name, stop, way_out), name=f"nkfast-{name}")
        return self.ended

    async def _keep(self, name: str, stop: asyncio.Event, on_exit: OnExit) -> None:
        berth = self._berths[name]
        passing_on = asyncio.ensure_future(_pass_on(stop, berth.stop))
        try:
            self._ended[name] = await berth.keep_up(on_exit)
        finally:
            passing_on.cancel()


async def _pass_on(stop: asyncio.Event, to: asyncio.Event) -> None:
    await stop.wait()
    to.set()


class _Berth:
    """One instance, from its first start to its last end."""

    def __init__(
        self,
        name: str,
        launch: Launch,
        clock: "Clock",
        restarts: Restarts,
        folder: Path | None,
        tell: Callable[[str, Fault], None] | None,
    ) -> None:
        self.stop = asyncio.Event()
        self.engine: Engine | None = None
        self.faults: list[Fault] = []
        self._name = name
        self._launch = launch
        self._clock = clock
        self._restarts = restarts
        self._budget = ErrorBudget(restarts.most, int(restarts.window_s * _NS))
        self._wait_s = restarts.first_wait_s
        self._control = None if folder is None else Control(folder, self.stop)
        self._tell = tell
        self._report = StopReport()

    async def keep_up(self, on_exit: OnExit) -> Ended:
        control, error = self._control, None
        try:
            if control is not None:
                control.watch()
            while True:
                error, wait_s = await self._live(on_exit)
                if wait_s is None or await self._is_asked_to_stop(wait_s):
                    break
        except OSError as failure:  # no folder for commands: an instance that cannot be steered
            error = failure
        finally:
            if control is not None:
                control.finish(self._report, error)
        return Ended(error, self._report, tuple(self.faults), self._why(error))

    async def _live(self, on_exit: OnExit) -> tuple[Exception | None, float | None]:
        """Live once; return what ended it, and after how long it is to be started again."""
        began_ns = self._clock.monotonic_ns()
        self._report = StopReport()
        error: Exception | None = None
        wait_s: float | None = None
        try:
            with self._launch() as engine:
                self.engine = engine
                try:
                    await self._start(engine)
                    if self._control is not None and engine.has_started:
                        self._control.steered = engine
                    await engine.run(self.stop)
                except Exception as failure:
                    error, wait_s = failure, self._note(failure, began_ns)
                finally:
                    self._report = await engine.stop(
                        self._on_exit(engine, on_exit, wait_s), comes_back=wait_s is not None
                    )
                if error is None and isinstance(engine.error, Exception):
                    error = engine.error  # in the stop
        except Exception as failure:  # it could not even be made, or its store not be closed
            if error is None:
                error, wait_s = failure, self._note(failure, began_ns)
        finally:
            self.engine = None
            if wait_s is not None and self._control is not None:
                self._control.steered = None
        return error, wait_s

    async def _start(self, engine: Engine) -> None:
        """Start an engine; give that up when a stop is asked for."""
        starting = asyncio.ensure_future(engine.start())
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (starting, stopping):
                task.cancel()
            ended = await asyncio.gather(starting, stopping, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]

    def _on_exit(self, engine: Engine, on_exit: OnExit, wait_s: float | None) -> OnExit:
        if wait_s is not None and not engine.has_started:
            return "keep"  # what rests is tended again in a moment
        commanded = None if self._control is None else self._control.on_exit
        return commanded or on_exit

    def _note(self, error: Exception, began_ns: int) -> float | None:
        """Note a failure; return after how long to start again, None for never."""
        now_ns = self._clock.monotonic_ns()
        restarts = self._restarts
        if now_ns - began_ns > restarts.window_s * _NS:
            self._wait_s = restarts.first_wait_s
        wait_s = None
        if can_heal(error) and not self.stop.is_set() and self._budget.spend(now_ns):
            wait_s = self._wait_s
            if isinstance(error, RateLimitError):
                wait_s = max(wait_s, error.retry_after_seconds)
            self._wait_s = min(2 * self._wait_s, restarts.longest_wait_s)
        fault = Fault(self._clock.time_ns() // 1_000_000, error, wait_s)
        self.faults = [*self.faults[1 - _FAULTS_KEPT :], fault]
        if self._tell is not None:
            with suppress(Exception):  # no report is in the way of a new start, or of the others
                self._tell(self._name, fault)
        return wait_s

    async def _is_asked_to_stop(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self.stop.wait()
        except TimeoutError:
            return False
        return True

    def _why(self, error: Exception | None) -> str:
        if error is None:
            return "it was stopped" if self.stop.is_set() else "it has drained"
        why = f"{type(error).__name__}: {error}"
        if can_heal(error) and not self.stop.is_set():
            budget = f"{self._restarts.most} starts in {self._restarts.window_s:g} s"
            return f"more failures than {budget} can heal, the last one {why}"
        return why
