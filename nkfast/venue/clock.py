"""The only file that reads a clock. Everything else is handed a `Clock`."""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time: the machine's, or a pretended one."""

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds; it may step."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never go back, from an unnamed start."""


class RealClock:
    """The machine's own clocks."""

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return nanoseconds since an unnamed start."""
        return time.perf_counter_ns()
