"""A pretended process on a virtual loop: it can be killed between any two steps, or held still.

Whatever a process starts belongs to it: tasks, timers, callbacks of futures. Killing it means that
none of that runs again, not even a ``finally``: what the program would have tidied up stays as it
is, as after ``kill -9``. Holding it still (`Process.freeze`) lets time pass for everybody else, as
SIGSTOP or a closed lid do.
"""

import asyncio
import contextlib
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nkfast.venue.clock import VirtualLoop

__all__ = ["Killed", "Process", "ProcessLoop"]

_Result = TypeVar("_Result")

_PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)


class Killed(BaseException):
    """Ends the step in which a process is killed; nothing catches it but the loop."""


class _Step(asyncio.TimerHandle):
    """A callback, perhaps a process's; made and run as asyncio's own are, in fewer calls."""

    __slots__ = ("process",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        if context is None:
            context = contextvars.copy_context()
        self.process = context.get(_PROCESS)
        self._when = when
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = self._scheduled = False
        self._repr = self._source_traceback = None

    def __lt__(self, other: Any) -> bool:
        return bool(self._when < other._when)

    def _run(self) -> None:
        process = self.process
        if process is not None and not process.may_run(self):
            return
        try:
            self._context.run(self._callback, *self._args)  # type: ignore[arg-type]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            what = {"message": f"Exception in callback {self._callback!r}", "exception": error}
            self._loop.call_exception_handler(what)
        if process is not None:
            process.end_step()


class ProcessLoop(VirtualLoop):
    """A `VirtualLoop` on which processes run that can be killed one by one.

    Attributes
    ----------
    failures : list of str
        What reached the loop's exception handler: errors that nobody took.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []
        self.set_exception_handler(self._note_failure)

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Arrange for a callback to be called; it belongs to the process of its context."""
        self._check_closed()  # type: ignore[attr-defined]
        step = _Step(0.0, callback, args, self, context)
        self._ready.append(step)  # type: ignore[attr-defined]
        return step

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Arrange for a callback to be called at a time; it belongs to its context's process."""
        self._check_closed()  # type: ignore[attr-defined]
        step = _Step(when, callback, args, self, context)
        step._scheduled = True
        heapq.heappush(self._scheduled, step)  # type: ignore[attr-defined]
        return step

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Arrange for a callback to be called after a while; see `call_at`."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    @property
    def settled_s(self) -> float:
        """When the last timer is due that belongs to no process: nothing is on its way then."""
        timers: list[_Step] = self._scheduled  # type: ignore[attr-defined]
        outside = (it.when() for it in timers if it.process is None and not it.cancelled())
        return max(outside, default=self.time())

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Start a task; it belongs to the process that starts it."""
        task = super().create_task(coro, **options)
        context = options.get("context")
        process = _PROCESS.get() if context is None else context.get(_PROCESS)
        if process is not None:
            process.tasks.append(task)
        return task

    def resume(self, steps: list[asyncio.Handle]) -> None:
        """Let steps run that were put off, before everything else."""
        self._ready.extendleft(reversed(steps))  # type: ignore[attr-defined]

    def postpone(self, process: "Process", steps: list[asyncio.Handle], seconds: float) -> None:
        """Let every timer of a process ring later, and those among its steps that were put off."""
        timers: list[_Step] = self._scheduled  # type: ignore[attr-defined]
        late = [step for step in steps if isinstance(step, _Step) and step.when()]
        for step in (*(it for it in timers if it.process is process), *late):
            step._when += seconds
        for step in late:
            step._scheduled = True
        timers += late
        heapq.heapify(timers)
        self.resume([step for step in steps if step not in late])

    def _note_failure(self, loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        error = what.get("exception")
        if not isinstance(error, Killed):
            self.failures.append(f"{what['message']}: {error!r}")


class Process:
    """One pretended process.

    Parameters
    ----------
    loop : ProcessLoop
    on_step : callable
        Called after every step.

    Attributes
    ----------
    steps : int
        Callbacks run so far.
    dies_at_step : int or None
        Before which step it is killed.
    is_frozen : bool
        Whether it is held still.
    died : asyncio.Event
        Set when it was killed.
    tasks : list of asyncio.Task
        Everything that it started.
    """

    def __init__(self, loop: ProcessLoop, on_step: Callable[[], None]) -> None:
        self.steps = 0
        self.dies_at_step: int | None = None
        self.died = asyncio.Event()
        self.tasks: list[asyncio.Task[Any]] = []
        self._loop = loop
        self._on_step = on_step
        self.is_frozen = False
        self._put_off: list[asyncio.Handle] = []
        self._context = contextvars.copy_context()
        self._context.run(_PROCESS.set, self)

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self.died.is_set()

    def start(self, main: Coroutine[Any, Any, _Result]) -> "asyncio.Task[_Result]":
        """Run a coroutine as part of the process."""
        return self._loop.create_task(main, context=self._context)

    def kill(self) -> None:
        """Let no step of it run from here on."""
        self.died.set()

    def freeze(self) -> None:
        """Hold it still until `thaw`; its timers and news wait."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Let it go on, with everything that waited."""
        self.is_frozen = False
        put_off, self._put_off = self._put_off, []
        self._loop.resume(put_off)

    def wake(self, seconds: float) -> None:
        """Let it go on after its machine slept for so long: its timers saw nothing of that."""
        self.is_frozen = False
        put_off, self._put_off = self._put_off, []
        self._loop.postpone(self, put_off, seconds)

    def call(self, function: Callable[[], object]) -> None:
        """Call something as a step of the process."""
        self._loop.call_soon(function, context=self._context)

    def may_run(self, step: asyncio.Handle) -> bool:
        """Whether a step is to run now; it is put off while the process is held still."""
        if self.died.is_set():
            return False
        if self.is_frozen:
            self._put_off.append(step)
            return False
        self.steps += 1
        if self.steps == self.dies_at_step:
            self.kill()
            return False
        return True

    def end_step(self) -> None:
        """Take note of the end of a step."""
        if not self.died.is_set():
            self._on_step()

    def bury(self) -> None:
        """Give back what a killed process still has: its coroutines, closed and told to nobody."""
        for task in self.tasks:
            if task.done():
                if not task.cancelled():
                    task.exception()  # taken, so that nobody is told
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            for _ in range(8):  # a `finally` that awaits wants to be closed again
                with contextlib.suppress(BaseException):
                    coroutine.close()
                    break
        self.tasks.clear()
