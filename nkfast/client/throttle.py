"""At most so many requests a second, by class, so that cancels never wait behind others."""

import threading
from collections.abc import Mapping
from typing import NamedTuple

from nkfast.errors import ConfigError
from nkfast.wire.endpoints import RateClass

__all__ = ["DEFAULT_RATES", "Rate", "Throttle"]


class Rate(NamedTuple):
    """A sustained rate in requests a second, and how many may go at once after a pause."""

    per_second: float
    burst: int


#: The venue publishes no limits. Some 400 requests at once have been seen to be refused; these
#: stay well below, and above what one account of a bot needs.
DEFAULT_RATES: dict[RateClass, Rate] = {
    "public": Rate(10.0, 20),
    "private": Rate(10.0, 20),
    "orders": Rate(20.0, 40),
    "cancels": Rate(20.0, 60),
}


class Throttle:
    """One token bucket for each class of request; requests go in the order they reserve.

    It neither waits nor reads a clock: it says when a request may go, and whoever sends it waits
    until then. Safe across threads.

    Parameters
    ----------
    rates : mapping or None
        Rate by class; a class that is not named is not limited. None takes `DEFAULT_RATES`.

    Notes
    -----
    Times are monotonic seconds from any start, the same for all clients that share a throttle.
    """

    def __init__(self, rates: Mapping[RateClass, Rate] | None = None) -> None:
        self._rates = dict(DEFAULT_RATES if rates is None else rates)
        for name, rate in self._rates.items():
            if not rate.per_second > 0 or rate.burst < 1:
                raise ConfigError(f"rate of {name} must be positive, was {rate}")
        # The bucket as one number: the time at which it would be full again.
        self._full_at: dict[RateClass, float] = {}
        self._paused_until: dict[RateClass, float] = {}
        self._lock = threading.Lock()

    def reserve(self, rate_class: RateClass, now: float) -> float:
        """Take a place for one request and return the time from which it may go.

        Whoever comes next is behind. `paused_until` may move the time further.
        """
        rate = self._rates.get(rate_class)
        if rate is None:
            return now
        interval = 1.0 / rate.per_second
        with self._lock:
            full_at = max(self._full_at.get(rate_class, now), now) + interval
            self._full_at[rate_class] = full_at
        return full_at - rate.burst * interval

    def paused_until(self, rate_class: RateClass) -> float:
        """Return the time before which no request of this class may go."""
        return self._paused_until.get(rate_class, float("-inf"))

    def pause(self, rate_class: RateClass, until: float) -> None:
        """Let no request of this class go before a time, because the venue asked for it."""
        with self._lock:
            self._paused_until[rate_class] = max(self.paused_until(rate_class), until)
