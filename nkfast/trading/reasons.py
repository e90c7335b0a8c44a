"""Why not: every action considered and not taken, counted by a stable code."""

from collections import Counter

__all__ = ["Reasons"]


class Reasons:
    """Counts reasons by code and keeps the newest numbers of each until they are stored.

    Attributes
    ----------
    counts : Counter
        How often each code was counted in this run.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._unwritten: dict[str, tuple[int, str]] = {}

    def count(self, code: str, detail: str) -> None:
        """Count an action not taken, or an oddity.

        Parameters
        ----------
        code : str
            Stable, upper case with underscores: ``MAX_OPEN_ORDERS``.
        detail : str
            The newest numbers behind it.
        """
        self.counts[code] += 1
        count, _ = self._unwritten.get(code, (0, ""))
        self._unwritten[code] = (count + 1, detail)

    def take_unwritten(self) -> dict[str, tuple[int, str]]:
        """Return what was counted since the last call: code -> (how often, newest numbers)."""
        unwritten, self._unwritten = self._unwritten, {}
        return unwritten
