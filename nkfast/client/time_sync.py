"""The venue's clock, told from ours: measured beside the requests, never on their path.

A measurement asks the venue for its time and takes the middle of the round trip for the moment of
the answer. Of the last few the one with the shortest round trip counts, because the error is at
most half of it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from nkfast.errors import ConfigError

__all__ = ["TimeSync"]

#: The best of so many measurements counts.
SAMPLES = 5
#: The first of them are made this fast, so that the time is known soon.
FIRST_PAUSE_SECONDS = 0.2
#: A correction is spread: the time told runs faster or slower by this ratio until it is made up.
SLEW_RATIO = 0.05
#: Further behind than this we were asleep, and making it up would take hours: the time told jumps.
JUMP_NS = 10_000_000_000
_NS_PER_MS = 1_000_000


class _Sample(NamedTuple):
    round_trip_ns: int
    offset_ns: int  # the venue's time minus our monotonic time


class TimeSync:
    """Tells the venue's time. Give one to a client, which measures in the background.

    Parameters
    ----------
    interval_seconds : float
        A measurement, of which the best of five counts, is made so often.
    time_ns, monotonic_ns : callable
        Our clocks, in nanoseconds; the clients use `time.perf_counter_ns` for the second.

    Notes
    -----
    The time told is based on the monotonic clock, so a step of the machine's clock does not
    reach it. It never goes back, and it does not step but for making up more than 10 s at once.
    """

    def __init__(
        self,
        interval_seconds: float = 12.0,
        *,
        time_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        if not interval_seconds > 0:
            raise ConfigError(f"interval_seconds must be positive, was {interval_seconds}")
        self._interval_seconds = interval_seconds
        self._wall_ns = time_ns
        self._monotonic_ns = monotonic_ns
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._count = 0
        # Time told = told + elapsed since + as much of the correction as may be made up by then.
        now_ns = monotonic_ns()
        self._line = (now_ns, time_ns(), 0)
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many measurements were made."""
        return self._count

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next measurement."""
        return FIRST_PAUSE_SECONDS if self._count < SAMPLES else self._interval_seconds

    @property
    def skew_ms(self) -> float | None:
        """How far the machine's clock is ahead of the venue's; None before a measurement."""
        if not self._samples:
            return None
        now_ns = self._monotonic_ns()
        return (self._wall_ns() - now_ns - min(self._samples).offset_ns) / _NS_PER_MS

    @property
    def uncertainty_ms(self) -> float | None:
        """How wrong `skew_ms` can be: half the round trip, and the venue's half millisecond."""
        if not self._samples:
            return None
        return min(self._samples).round_trip_ns / 2 / _NS_PER_MS + 0.5

    def time_ns(self) -> int:
        """Return the venue's Unix time in nanoseconds; ours before the first measurement."""
        return self._told(self._monotonic_ns())

    def add(self, sent_ns: int, received_ns: int, venue_ms: int) -> None:
        """Take a measurement: monotonic times around a request, and the time it was told."""
        # A count of milliseconds stands for the middle of the one that it names.
        venue_ns = venue_ms * _NS_PER_MS + _NS_PER_MS // 2
        with self._lock:
            self._samples.append(
                _Sample(received_ns - sent_ns, venue_ns - (sent_ns + received_ns) // 2)
            )
            is_first = self._count == 0
            self._count += 1
            now_ns = self._monotonic_ns()
            right_ns, told_ns = now_ns + min(self._samples).offset_ns, self._told(now_ns)
            if is_first or right_ns - told_ns > JUMP_NS:
                told_ns = right_ns
            self._line = (now_ns, told_ns, right_ns - told_ns)

    def _told(self, now_ns: int) -> int:
        start_ns, told_ns, correction_ns = self._line
        elapsed_ns = now_ns - start_ns
        slewed_ns = int(elapsed_ns * SLEW_RATIO)
        return told_ns + elapsed_ns + max(-slewed_ns, min(slewed_ns, correction_ns))
