"""How long things take, counted in buckets for as long as a run lives: nothing grows."""

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["BOUNDS_US", "Latencies"]

#: Upper bounds of the buckets, microseconds: 10, 20, 50 and so on to 10 s. What takes longer has
#: one more bucket.
BOUNDS_US: Sequence[int] = (
    *(digit * 10**exponent for exponent in range(1, 7) for digit in (1, 2, 5)),
    10_000_000,
)
_BOUNDS_NS = [bound * 1000 for bound in BOUNDS_US]


class Latencies:
    """Counts of latencies by bucket.

    Attributes
    ----------
    counts : list of int
        For each of `BOUNDS_US` how many were at most so long and longer than the bound before;
        the last one counts the rest.
    total_ns : int
        All of them together.
    """

    __slots__ = ("counts", "total_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_NS) + 1)
        self.total_ns = 0

    @property
    def mean_us(self) -> float | None:
        """The mean, microseconds; None before the first."""
        count = sum(self.counts)
        return self.total_ns / count / 1000 if count else None

    def note(self, latency_ns: int) -> None:
        """Count one."""
        self.counts[bisect_left(_BOUNDS_NS, latency_ns)] += 1
        self.total_ns += latency_ns
