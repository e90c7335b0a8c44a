"""A loop that never sleeps in the kernel while something is awaited."""

import asyncio

__all__ = ["BusyPoll"]


class BusyPoll:
    """Keeps an event loop awake: it asks the kernel for news again and again, without waiting.

    A frame is then taken at once, where a sleeping loop takes tens of microseconds to be woken.
    Works on asyncio, uvloop and winloop alike: a callback that schedules itself makes every loop
    poll with a timeout of zero.

    Notes
    -----
    **It costs one processor core**, used to the full from `start` to `stop`, whether anything comes
    or not, and its electricity and heat. Give it a core of its own: on a machine whose cores are
    all busy it makes everything slower, itself included. Never run the process under ``SCHED_FIFO``
    with it: threads of the same process, which inherit that, would starve.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next: asyncio.Handle | None = None

    @property
    def is_running(self) -> bool:
        """Whether the loop is being kept awake."""
        return self._loop is not None

    def start(self) -> None:
        """Begin, on the running loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._turn()

    def stop(self) -> None:
        """Let the loop sleep again."""
        self._loop = None
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _turn(self) -> None:
        if self._loop is not None:
            self._next = self._loop.call_soon(self._turn)
