"""One reading for all who ask within a moment.

Fifty instances of one account ask the same things at the same times. Whoever asks gets an answer
to a question that was put after he asked, never one that was on its way already: that could be
older than what he knows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Gathering"]

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


class Gathering(Generic[_Question, _Answer]):
    """Waits a moment for others who ask, then reads once and answers all.

    Parameters
    ----------
    read : callable
        Is given the questions of all; its answer, or its error, is for all.
    moment_s : float
        How long the first one waits for others.
    """

    def __init__(
        self, read: Callable[[Sequence[_Question]], Awaitable[_Answer]], moment_s: float = 0.01
    ) -> None:
        self._read = read
        self._moment_s = moment_s
        self._questions: list[_Question] = []
        self._next: asyncio.Task[_Answer] | None = None
        self._running: set[asyncio.Task[_Answer]] = set()

    async def ask(self, question: _Question) -> _Answer:
        """Return the answer of a reading that begins after this call."""
        self._questions.append(question)
        if self._next is None:
            self._next = asyncio.create_task(self._read_soon())
            self._running.add(self._next)
            self._next.add_done_callback(self._on_done)
        # Shielded: one who gives up does not take the answer from the others.
        return await asyncio.shield(self._next)

    async def close(self) -> None:
        """Give up what is being read; who waits for it is told by `asyncio.CancelledError`."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        self._questions, self._next = [], None

    async def _read_soon(self) -> _Answer:
        await asyncio.sleep(self._moment_s)
        questions, self._questions, self._next = self._questions, [], None
        return await self._read(questions)

    def _on_done(self, task: "asyncio.Task[_Answer]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting for it any more
