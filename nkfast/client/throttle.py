"""At most so many requests a second, by class, so that cancels never wait behind others."""

import asyncio
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
    """One token bucket for each class of request; waiters go in the order they came.

    Parameters
    ----------
    rates : mapping or None
        Rate by class; a class that is not named is not limited. None takes `DEFAULT_RATES`.

    Notes
    -----
    Time is the running event loop's own, so that a pretended loop pretends here as well.
    """

    def __init__(self, rates: Mapping[RateClass, Rate] | None = None) -> None:
        self._rates = dict(DEFAULT_RATES if rates is None else rates)
        for name, rate in self._rates.items():
            if not rate.per_second > 0 or rate.burst < 1:
                raise ConfigError(f"rate of {name} must be positive, was {rate}")
        # The bucket as one number: the time at which it would be full again.
        self._full_at: dict[RateClass, float] = {}
        self._paused_until: dict[RateClass, float] = {}

    async def acquire(self, rate_class: RateClass) -> None:
        """Wait until a request of this class may go."""
        loop = asyncio.get_running_loop()
        rate = self._rates.get(rate_class)
        if rate is not None:
            interval = 1.0 / rate.per_second
            full_at = max(self._full_at.get(rate_class, 0.0), loop.time()) + interval
            # Reserved at once: whoever comes next waits behind.
            self._full_at[rate_class] = full_at
            await _sleep_until(full_at - rate.burst * interval)
        while self._paused_until.get(rate_class, 0.0) > loop.time():
            await _sleep_until(self._paused_until[rate_class])

    def pause(self, rate_class: RateClass, seconds: float) -> None:
        """Let no request of this class go for a while, because the venue asked for it."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until[rate_class] = max(self._paused_until.get(rate_class, 0.0), until)


async def _sleep_until(deadline: float) -> None:
    delay = deadline - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)
