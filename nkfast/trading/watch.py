"""Notices that time has passed without us: the machine slept, the process was stopped or held up.

What the engine believes is then as old as the gap is long, and nothing that it was told shows it.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nkfast.venue.clock import Clock

__all__ = ["TimeWatch"]

_TICK_S = 1.0
_NS = 1_000_000_000
#: The Unix clock may be adjusted by this much a tick without a word.
_STEP_MAX_NS = 2 * _NS


class TimeWatch:
    """Looks at the clocks every second, and whenever somebody is about to act.

    Parameters
    ----------
    clock, loop
        What time it is, and who calls back.
    stall_max_s : float
        A longer time between two looks is a gap. More than a second: that is how often it looks.
    on_gap : callable
        Is told how long nothing ran, in seconds.
    on_step : callable
        Is told by how many seconds the Unix clock was set.
    """

    def __init__(
        self,
        clock: "Clock",
        loop: asyncio.AbstractEventLoop,
        *,
        stall_max_s: float,
        on_gap: Callable[[float], None],
        on_step: Callable[[float], None],
    ) -> None:
        self._clock = clock
        self._loop = loop
        self._gap_max_ns = int((stall_max_s + _TICK_S) * _NS)
        self._on_gap = on_gap
        self._on_step = on_step
        self._seen_ns = 0
        self._unix_offset_ns = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._seen_ns = self._clock.boot_ns()
        self._unix_offset_ns = self._clock.time_ns() - self._seen_ns
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> bool:
        """Return whether time has passed without us since the last tick, and tell of it once."""
        now_ns = self._clock.boot_ns()
        gap_ns = now_ns - self._seen_ns
        if gap_ns <= self._gap_max_ns:
            return False
        self._seen_ns = now_ns
        self._on_gap(gap_ns / _NS)
        return True

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_TICK_S, self._tick)
        self.look()
        self._seen_ns = self._clock.boot_ns()
        offset_ns = self._clock.time_ns() - self._seen_ns
        step_ns = offset_ns - self._unix_offset_ns
        self._unix_offset_ns = offset_ns
        if abs(step_ns) > _STEP_MAX_NS:
            self._on_step(step_ns / _NS)
