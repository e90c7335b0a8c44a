"""What stands between the socket, which never waits, and readers who take their time.

A `Stream` is read with ``async for``; a `Lane` runs what coroutine handlers returned, one after the
other. Both are bounded: who reads too slowly loses the oldest and is told how many.
"""

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from nkfast.errors import ConfigError

__all__ = ["QUEUE_MAX", "Lane", "Stream"]

#: So many items wait for a reader unless it asks for another number.
QUEUE_MAX = 1024

T = TypeVar("T")


class Stream(Generic[T]):
    """News of one kind, to be read with ``async for``.

    Parameters
    ----------
    queue_max : int
        Items that wait for the reader; beyond, the oldest is dropped.
    on_close : callable or None
        Called once with the stream when its reader closes it.

    Attributes
    ----------
    dropped : int
        Items that were lost because the reader was too slow.
    conflated : int
        Items that were replaced by a newer one of the same key before they were read.

    Notes
    -----
    For one reader. It ends when it is closed, or when the client is; when the venue refuses the key
    for good, the reader gets that error.
    """

    def __init__(
        self, queue_max: int = QUEUE_MAX, on_close: "Callable[[Stream[T]], None] | None" = None
    ) -> None:
        if queue_max < 1:
            raise ConfigError(f"queue_max must be at least 1, was {queue_max}")
        self._queue_max = queue_max
        self._on_close = on_close
        self._items: OrderedDict[object, T] = OrderedDict()
        self._last_key = 0
        self._reader: asyncio.Future[None] | None = None
        self._is_finished = False
        self._error: Exception | None = None
        self.dropped = 0
        self.conflated = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, key: object = None) -> T | None:
        """Add an item; return one that was lost for it, if that was necessary.

        An item with a key replaces an unread one of the same key, in its place in the queue.
        """
        if self._is_finished:
            return item
        lost = None
        if key is None:
            self._last_key += 1
            key = self._last_key
        elif key in self._items:
            self.conflated += 1
            lost = self._items[key]
        if lost is None and len(self._items) >= self._queue_max:
            self.dropped += 1
            _, lost = self._items.popitem(last=False)
        self._items[key] = item
        self._wake()
        return lost

    def clear(self) -> list[T]:
        """Drop everything that waits and return it."""
        lost = [*self._items.values()]
        self.dropped += len(lost)
        self._items.clear()
        return lost

    def finish(self, error: Exception | None = None) -> None:
        """Let the reader have what waits and then end, with an error if there is one."""
        if not self._is_finished:
            self._is_finished = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._is_finished:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._items.popitem(last=False)[1]

    async def aclose(self) -> None:
        """End the stream; what waits is dropped."""
        on_close, self._on_close = self._on_close, None
        self._items.clear()
        self.finish()
        if on_close is not None:
            on_close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class Lane:
    """Runs what one coroutine handler returns, in order, one at a time.

    Parameters
    ----------
    report : callable
        Gets every exception.
    queue_max : int
    """

    def __init__(self, report: Callable[[BaseException], None], queue_max: int = QUEUE_MAX) -> None:
        self._report = report
        self._stream: Stream[Awaitable[object]] = Stream(queue_max)
        self._task: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> int:
        """Calls that never ran because the handler was too slow."""
        return self._stream.dropped

    @property
    def is_busy(self) -> bool:
        """Whether something runs or waits."""
        return self._task is not None

    def run(self, work: Awaitable[object], key: object = None) -> bool:
        """Run it after all that waits; False when that cost the oldest that waited its place."""
        dropped_before = self._stream.dropped
        lost = self._stream.put(work, key)
        if lost is not None:
            _abandon(lost)
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())
        return self._stream.dropped == dropped_before

    def clear(self) -> None:
        """Drop everything that waits; what runs goes on."""
        for work in self._stream.clear():
            _abandon(work)

    def cancel(self) -> None:
        """End it all."""
        self.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        try:
            while len(self._stream):
                work = await anext(self._stream)
                try:
                    await work
                except Exception as error:
                    self._report(error)
        finally:
            self._task = None


def _abandon(work: Awaitable[object]) -> None:
    if inspect.iscoroutine(work):
        work.close()  # without it, Python would warn that it was never awaited
    elif isinstance(work, asyncio.Future):
        work.cancel()
