"""Why not: every action considered and not taken, counted by a stable code."""

import os
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from nkfast.trading.journal_reading import reading

if TYPE_CHECKING:
    from nkfast.trading.journal import Journal
    from nkfast.venue.clock import Clock

__all__ = ["Reason", "ReasonTotal", "Reasons", "newest_reasons", "reason_totals"]

#: Reasons wait at most so long for being stored, and at most so many keep their time.
_WAIT_NS = 5_000_000_000
_WAITING_MAX = 1_000


class ReasonTotal(NamedTuple):
    """How often a reason was counted over all runs, and the numbers of the newest time."""

    code: str
    times: int
    detail: str


class Reason(NamedTuple):
    """One action that was not taken."""

    time_ms: int
    code: str
    detail: str


class Reasons:
    """Counts reasons by code and hands them to the journal, not one by one.

    Parameters
    ----------
    clock : Clock
        Says when.

    Attributes
    ----------
    counts : Counter
        How often each code was counted in this run.
    details : dict of str to str
        The numbers of the newest time of each.
    """

    def __init__(self, clock: "Clock") -> None:
        self.counts: Counter[str] = Counter()
        self.details: dict[str, str] = {}
        self._clock = clock
        self._unwritten: dict[str, tuple[int, str]] = {}
        self._newest: deque[Reason] = deque(maxlen=_WAITING_MAX)
        self._due_ns = 0

    def count(self, code: str, detail: str) -> None:
        """Count an action not taken, or an oddity.

        Parameters
        ----------
        code : str
            Stable, upper case with underscores: ``MAX_OPEN_ORDERS``.
        detail : str
            The numbers behind it.
        """
        if not self._unwritten:
            self._due_ns = self._clock.monotonic_ns() + _WAIT_NS
        self.counts[code] += 1
        self.details[code] = detail
        count, _ = self._unwritten.get(code, (0, ""))
        self._unwritten[code] = (count + 1, detail)
        self._newest.append(Reason(self._clock.time_ns() // 1_000_000, code, detail))

    @property
    def is_due(self) -> bool:
        """Whether some have waited long enough to be written."""
        return bool(self._unwritten) and self._clock.monotonic_ns() >= self._due_ns

    def write(self, journal: "Journal") -> None:
        """Store what was counted since the last time.

        Raises
        ------
        nkfast.errors.JournalError
        """
        if self._unwritten:
            journal.add_reasons(self._unwritten, self._newest)
            self._unwritten = {}
            self._newest.clear()


def reason_totals(path: str | os.PathLike[str]) -> list[ReasonTotal]:
    """Return the reasons that a journal holds, the most frequent first.

    Raises
    ------
    nkfast.errors.JournalError
        It cannot be read.
    """
    with reading(path) as store:
        rows = store.execute("SELECT code, count, detail FROM reason ORDER BY count DESC, code")
        return [ReasonTotal(*row) for row in rows]


def newest_reasons(
    path: str | os.PathLike[str], count: int, code: str | None = None
) -> list[Reason]:
    """Return the newest actions that were not taken, the newest first.

    Parameters
    ----------
    path : path
        The journal, which another process may hold.
    count : int
        At most so many; a journal keeps the last 10,000.
    code : str, optional
        Of this reason only.

    Raises
    ------
    nkfast.errors.JournalError
        It cannot be read.
    """
    with reading(path) as store:
        rows = store.execute(
            "SELECT time_ms, code, detail FROM reason_log WHERE ?1 IS NULL OR code = ?1"
            " ORDER BY n DESC LIMIT ?2",
            (code, count),
        )
        return [Reason(*row) for row in rows]
