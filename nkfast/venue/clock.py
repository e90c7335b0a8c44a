"""The only file that reads a clock. Everything else is handed a `Clock`.

`VirtualLoop` is an asyncio event loop whose time is pretended: when nothing is ready it jumps to
the next timer instead of sleeping. An hour of waiting costs nothing, and the same program with the
same input takes the same steps, always.
"""

import asyncio
import heapq
import math
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

_Result = TypeVar("_Result")
_NS_PER_S = 1_000_000_000
#: Timers this near to now are due. A timer lies at most half a nanosecond beside the integer time
#: that stands for it, and one nanosecond ahead of now must still be ahead.
_RESOLUTION_S = 0.6e-9
#: Cancelled timers are let lie until they are due, or are half of more than so many.
_TIMERS_MANY = 100


class Clock(Protocol):
    """A source of time: the machine's, or a pretended one."""

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds; it may step."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back, from an unnamed start."""

    def boot_ns(self) -> int:
        """Return nanoseconds that never go back and count while the machine sleeps.

        Comparable between the processes of one boot of the machine, if that has a name.
        """

    @property
    def boot_id(self) -> str:
        """The name of this boot of the machine; empty where that cannot be known."""


if sys.platform == "linux":
    _boot_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
elif sys.platform == "darwin":
    # mach_continuous_time; Python's own monotonic clock is mach_absolute_time, which sleeps.
    _boot_ns = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
else:
    _boot_ns = time.monotonic_ns


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
    except OSError:
        return ""


class RealClock:
    """The machine's own clocks.

    The functions themselves stand for the methods: they are called several times before an order
    leaves. Where the platform has no clock that counts while the machine sleeps, `boot_ns` is its
    monotonic one, which may stand still.
    """

    time_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.perf_counter_ns)
    boot_ns = staticmethod(_boot_ns)

    @property
    def boot_id(self) -> str:
        """The first digits of the name that Linux gives to each boot; empty elsewhere."""
        return _boot_id()


def _descriptor(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


class _VirtualSelector(selectors.BaseSelector):
    """Advances a virtual time where a real selector would sleep."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        # The loop's own pipe, made by asyncio itself, is the first and only one.
        if self._keys:
            raise RuntimeError(
                "a virtual loop has no sockets, pipes or files: real I/O takes real time; "
                "use a real loop, or an in-process venue"
            )
        self._keys[_descriptor(fileobj)] = key = selectors.SelectorKey(
            fileobj, _descriptor(fileobj), events, data
        )
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(_descriptor(fileobj))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise AssertionError("a virtual loop waits for no file")

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that jumps to the next timer instead of waiting for it.

    Its time starts at 0. With nothing ready and nothing scheduled it raises `RuntimeError`
    ("deadlock"); a real socket, pipe or subprocess is refused with `RuntimeError`. Jobs for an
    executor run at once, on the loop's thread, so that no thread can bring chance in.

    Notes
    -----
    Time is kept in integer nanoseconds. asyncio's own timers are binary floats of seconds, exact
    to the nanosecond for the first 30 virtual days and to a few nanoseconds for years after.
    """

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    @property
    def now_ns(self) -> int:
        """Return the nanoseconds since the loop was made."""
        return self._virtual.now_ns

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self._virtual.now_ns / _NS_PER_S

    def skip_to(self, when_ns: int) -> bool:
        """Jump to a time at once where nothing would happen until then; return whether it did.

        The same as sleeping until then, without a turn of the loop.
        """
        if self._ready or (  # type: ignore[attr-defined]
            self._scheduled  # type: ignore[attr-defined]
            and self._scheduled[0].when() * _NS_PER_S <= when_ns + 1  # type: ignore[attr-defined]
        ):
            return False
        self._virtual.now_ns = max(self._virtual.now_ns, when_ns)
        return True

    # As asyncio's own, but that it jumps where that sleeps, and asks no selector and no clock.
    def _run_once(self) -> None:
        ready: deque[Any] = self._ready  # type: ignore[attr-defined]
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        cancelled: int = self._timer_cancelled_count
        if cancelled:
            self._drop_cancelled(timers, cancelled)
        now_s = self._virtual.now_ns / _NS_PER_S
        if timers:
            if not ready and not self._stopping:  # type: ignore[attr-defined]
                wait_s = timers[0]._when - now_s
                if wait_s > 0:
                    self._virtual.now_ns += round(wait_s * _NS_PER_S)
                    now_s = self._virtual.now_ns / _NS_PER_S
            # Beyond 30 days a float of seconds is coarser than a nanosecond; a constant would then
            # leave timers never due.
            end_s = now_s + max(_RESOLUTION_S, 2 * math.ulp(now_s))
            while timers and timers[0]._when < end_s:
                timer = heapq.heappop(timers)
                timer._scheduled = False
                ready.append(timer)
        elif not ready and not self._stopping:  # type: ignore[attr-defined]
            raise RuntimeError(
                f"deadlock at virtual time {self.now_ns} ns: nothing is ready and no timer is "
                "set, so nothing can ever happen again"
            )
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _drop_cancelled(self, timers: list[Any], cancelled: int) -> None:
        if len(timers) > _TIMERS_MANY and cancelled > len(timers) / 2:
            for timer in timers:
                timer._scheduled = not timer._cancelled
            timers[:] = [timer for timer in timers if timer._scheduled]
            heapq.heapify(timers)
            cancelled = 0
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
            cancelled -= 1
        self._timer_cancelled_count = cancelled

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., _Result], *args: Any
    ) -> asyncio.Future[_Result]:
        """Run a job at once, on this thread; return its finished future."""
        future: asyncio.Future[_Result] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future


class VirtualClock:
    """The time of a `VirtualLoop`, as if the loop had been started at a given moment.

    Parameters
    ----------
    loop : VirtualLoop
        The loop whose time is told.
    start_unix_ns : int
        Unix time in nanoseconds at the loop's time 0; not negative.
    """

    def __init__(self, loop: VirtualLoop, start_unix_ns: int) -> None:
        if start_unix_ns < 0:
            raise ValueError(f"start_unix_ns must not be negative, was {start_unix_ns}")
        self._loop = loop
        self._start_unix_ns = start_unix_ns
        self._slept_ns = 0

    def time_ns(self) -> int:
        """Return the pretended Unix time in nanoseconds, exact."""
        return self._start_unix_ns + self._slept_ns + self._loop.now_ns

    def monotonic_ns(self) -> int:
        """Return the nanoseconds since the loop was made, exact."""
        return self._loop.now_ns

    def boot_ns(self) -> int:
        """Return the nanoseconds since the loop was made, sleep included, exact."""
        return self._slept_ns + self._loop.now_ns

    @property
    def boot_id(self) -> str:
        """The same for all clocks that start at the same time: a machine that never restarts."""
        return f"virtual-{self._start_unix_ns}"

    def skip_to(self, unix_ns: int) -> bool:
        """Jump to a Unix time at once where nothing would happen until then; see `VirtualLoop`."""
        return self._loop.skip_to(unix_ns - self._start_unix_ns - self._slept_ns)

    def sleep_machine(self, seconds: float) -> None:
        """Pretend that the machine slept: time has passed, and neither loop nor timers saw it."""
        self._slept_ns += round(seconds * _NS_PER_S)


def run_virtual(
    main: Callable[[VirtualClock], Coroutine[Any, Any, _Result]], start_unix_ns: int
) -> _Result:
    """Run ``main(clock)`` to its end on a new `VirtualLoop` and return its result.

    Parameters
    ----------
    main : callable
        Called with the clock; the coroutine that it returns is run.
    start_unix_ns : int
        Unix time in nanoseconds at which the run pretends to start.

    Raises
    ------
    RuntimeError
        The program waits for something that can never come, or opens a socket.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(main(VirtualClock(loop, start_unix_ns)))
