"""At most so many requests a second, by class, so that cancels never wait behind others."""

from collections.abc import Mapping
from typing import NamedTuple, get_args

from nkfast.core.bucket import TokenBucket
from nkfast.errors import ConfigError
from nkfast.wire.endpoints import RateClass

__all__ = ["DEFAULT_RATES", "Rate", "Throttle"]

_NS = 1_000_000_000


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
    memory : mapping of class to memoryview, optional
        Where a class is counted: 16 bytes for each, as `nkfast.core.bucket.TokenBucket` has them.
        `nkfast.client.budget.shared_throttle` gives those that all processes of a user share.

    Notes
    -----
    Times are monotonic seconds from any start, the same for all clients that share a throttle. One
    that is an hour too far in the future is of a machine that was started since, and forgotten.
    """

    def __init__(
        self,
        rates: Mapping[RateClass, Rate] | None = None,
        *,
        memory: Mapping[RateClass, memoryview] | None = None,
    ) -> None:
        lent = memory if memory is not None else {}
        self._limited = dict(DEFAULT_RATES if rates is None else rates)
        self._buckets: dict[RateClass, TokenBucket] = {}
        for name in get_args(RateClass):
            rate = self._limited.get(name, Rate(1.0, 1))
            if not rate.per_second > 0 or rate.burst < 1:
                raise ConfigError(f"rate of {name} must be positive, was {rate}")
            self._buckets[name] = TokenBucket(*rate, memory=lent.get(name))

    def reserve(self, rate_class: RateClass, now: float) -> float:
        """Take a place for one request and return the time from which it may go.

        Whoever comes next is behind. `paused_until` may move the time further.
        """
        if rate_class not in self._limited:
            return now
        return self._buckets[rate_class].reserve(_ns(now)) / _NS

    def bucket(self, rate_class: RateClass) -> TokenBucket | None:
        """Return the bucket of a class, in monotonic nanoseconds; None: it is not limited."""
        return self._buckets[rate_class] if rate_class in self._limited else None

    def take(self, rate_class: RateClass, now: float) -> float:
        """Take a place for one request that may go now; return the seconds until there is one.

        0: it was taken.
        """
        paused = self.paused_until(rate_class, now) - now
        if paused > 0 or rate_class not in self._limited:
            return max(paused, 0.0)
        now_ns = _ns(now)
        return (self._buckets[rate_class].take(now_ns) - now_ns) / _NS

    def wait(self, rate_class: RateClass, now: float) -> float:
        """Return the seconds until a request may go, without taking its place."""
        seconds = self.paused_until(rate_class, now) - now
        if rate_class in self._limited:
            now_ns = _ns(now)
            seconds = max(seconds, (self._buckets[rate_class].ready(now_ns) - now_ns) / _NS)
        return max(seconds, 0.0)

    def paused_until(self, rate_class: RateClass, now: float) -> float:
        """Return the time before which no request of this class may go; it may be over."""
        return self._buckets[rate_class].paused_until(_ns(now)) / _NS

    def pause(self, rate_class: RateClass, until: float, now: float) -> None:
        """Let no request of this class go before a time, because the venue asked for it."""
        self._buckets[rate_class].pause(_ns(until), _ns(now))


def _ns(seconds: float) -> int:
    return round(seconds * _NS)
