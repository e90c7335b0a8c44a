"""What a recording leaves open about a queue, and how it is decided: always against the newcomer.

A recorded book tells how much rests at a price, not whose it is. When it becomes less, somebody
left or was filled; a recorded trade, told a moment before or after, says which. Both ways of living
through a recording, `nkfast.exchange.recording` and `nkfast.venue.paper_market`, decide by this.
"""

from collections.abc import Sequence
from typing import Final

__all__ = ["PRINT_LAG_NS", "Departures", "newest_first"]

#: A recorded trade is told beside the change of the book that it caused, before or after it. In
#: the coinbase capture of 2021-04-17 the book comes first, by 0.01 to 0.14 ms; one second covers a
#: venue that tells its trades on another channel.
PRINT_LAG_NS: Final = 1_000_000_000


class Departures:
    """Lots that left one queue before a trade was told that could explain it."""

    __slots__ = ("_left", "_until_ns")

    def __init__(self) -> None:
        self._left: list[tuple[int, int]] = []  # place in the queue, lots
        self._until_ns = 0

    def note(self, place: int, lots: int, now_ns: int) -> None:
        """Take note of lots that left a place of the queue without a trade.

        Parameters
        ----------
        place : int
            Grows from the front of the queue to its end.
        """
        if now_ns > self._until_ns:
            self._left.clear()
        self._left.append((place, lots))
        self._until_ns = now_ns + PRINT_LAG_NS

    def explain(self, lots: int, before: int | None, now_ns: int) -> int:
        """Return how many lots of a trade have left already: they must not leave twice.

        Parameters
        ----------
        before : int or None
            Only what left in front of this place; None: whatever left.
        """
        if now_ns > self._until_ns:
            return 0
        explained = 0
        still: list[tuple[int, int]] = []
        for place, gone in self._left:
            step = min(gone, lots - explained) if before is None or place < before else 0
            explained += step
            if gone > step:
                still.append((place, gone - step))
        self._left = still
        return explained


def newest_first(queue: Sequence[int], lots: int) -> list[int]:
    """Return how much of each order leaves when so many lots of a queue do.

    The recording does not say which of the orders at a price left. Taking the newest first keeps
    the longest queue ahead of whoever waits behind it.

    Parameters
    ----------
    queue : sequence of int
        The lots of each order, oldest first.
    lots : int
        At most their sum.
    """
    leaving = [0] * len(queue)
    for number in reversed(range(len(queue))):
        leaving[number] = min(lots, queue[number])
        lots -= leaving[number]
        if not lots:
            break
    return leaving
