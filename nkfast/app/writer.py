"""Writing apart from who has something to say: a pipe that nobody reads stops no trading."""

import queue
import threading
from collections.abc import Callable

__all__ = ["Writer"]


class Writer:
    """Does one thing after the other in a thread of its own; whoever asks never waits.

    Parameters
    ----------
    name : str
        Of the thread.
    waiting_max : int
        So many things may wait.
    """

    def __init__(self, name: str, waiting_max: int) -> None:
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(waiting_max)
        # A write that never returns must not keep the process from its end.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, write: Callable[[], object]) -> bool:
        """Let something be done soon; False when too much waits and it was left out."""
        try:
            self._waiting.put_nowait(write)
        except queue.Full:
            return False
        return True

    def close(self, limit_s: float) -> bool:
        """Wait until all is done, at most so many seconds; return whether it is."""
        try:
            self._waiting.put(None, timeout=limit_s)
        except queue.Full:
            return False
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (write := self._waiting.get()) is not None:
            write()
