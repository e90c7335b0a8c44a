"""Connections that wait for another request."""

import threading
import time
from typing import Generic, Protocol, TypeVar

__all__ = ["IdleConnections"]

#: Servers end what is idle after 60 s and more, and what stands between forgets it without a
#: word: a request on such a connection would wait for its time limit, and an order be unknown.
IDLE_SECONDS_MAX = 50.0


class _Connection(Protocol):
    @property
    def is_usable(self) -> bool: ...

    def close(self) -> None: ...


C = TypeVar("C", bound=_Connection)


class IdleConnections(Generic[C]):
    """Connections to one server; safe across threads.

    Parameters
    ----------
    count_max : int
        One more is closed instead of kept.
    """

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._idle: list[tuple[C, float]] = []
        self._generation = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> tuple[C | None, int]:
        """Return a connection, None if there is no usable one, and a number for `put`."""
        oldest = time.monotonic() - IDLE_SECONDS_MAX
        while True:
            with self._lock:
                if not self._idle:
                    return None, self._generation
                # The one used last is the least likely to have been closed meanwhile.
                connection, since = self._idle.pop()
                generation = self._generation
            if since > oldest and connection.is_usable:
                return connection, generation
            connection.close()

    def put(self, connection: C, generation: int) -> None:
        """Keep a connection for later; close it if `retire` was called since it was taken."""
        with self._lock:
            if generation == self._generation and len(self._idle) < self._count_max:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    def retire(self) -> None:
        """Close what is idle, and what is in use when it is put back: none is used again."""
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()
