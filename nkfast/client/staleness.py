"""Streams that fell silent while the connection looks healthy.

Pings are answered, other streams flow, but nothing comes for one subscription: only a clock of its
own can tell.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["CHECKS_PER_LIMIT", "StalenessClock"]

#: How often a stream is looked at within the time it may be silent.
CHECKS_PER_LIMIT = 10

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Watch:
    mark: int
    since: float  # when the mark was seen to change


class StalenessClock(Generic[K]):
    """Finds streams whose mark has not changed for too long.

    Marks are compared at every check instead of times noted with every message: the way of a
    message stays as short as it is.

    Parameters
    ----------
    limit_seconds : callable
        How long a stream may be silent, None for ever.
    """

    def __init__(self, limit_seconds: Callable[[K], float | None]) -> None:
        self._limit_seconds = limit_seconds
        self._watched: dict[K, _Watch] = {}

    def check(self, marks: Mapping[K, int], now: float) -> list[K]:
        """Return the streams that have been silent for as long as they may be.

        Parameters
        ----------
        marks : mapping
            Of every stream that should flow now, any number that its messages change. A stream
            that is missing is forgotten and begins anew.
        now : float
            Seconds of a monotonic clock.

        Notes
        -----
        A stream is found between 0.9 and 1.0 times its limit after its last message, if checks
        come `CHECKS_PER_LIMIT` times within the limit. One that was found begins anew.
        """
        self._watched = {key: row for key, row in self._watched.items() if key in marks}
        silent = []
        for key, mark in marks.items():
            row = self._watched.get(key)
            if row is None or row.mark != mark:
                self._watched[key] = _Watch(mark, now)
                continue
            limit = self._limit_seconds(key)
            if limit is not None and now - row.since >= limit * (1 - 1 / CHECKS_PER_LIMIT):
                row.since = now
                silent.append(key)
        return silent
