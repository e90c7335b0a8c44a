"""Medians of interleaved repeats: the fair way to compare on a machine that is not quiet.

Each round times every candidate once, one after the other, so that a slow second of the machine
hits all of them alike. Ratios of the medians are what RESULTS.md and the goals speak of.
"""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter_ns

__all__ = ["compare"]

#: One timing lasts at least so long that reading the clock does not count, and so short that a
#: round over all candidates is over before the machine changes its mind.
SAMPLE_NS = 100_000
CALLS_MAX = 1 << 20


def compare(candidates: Mapping[str, Callable[[], object]], repeats: int = 201) -> dict[str, float]:
    """Time callables against each other.

    Parameters
    ----------
    candidates : mapping of str to callable
        Called without arguments; setup belongs outside.
    repeats : int
        Rounds; each times every candidate once.

    Returns
    -------
    dict of str to float
        Median nanoseconds of one call, the cost of an empty call included (some 30 ns for a
        lambda; hand in `functools.partial` or bound methods where that matters).
    """
    loops = {name: _calls_per_sample(call) for name, call in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            samples[name].append(_time(call, loops[name]) / loops[name])
    return {name: median(values) for name, values in samples.items()}


def _time(call: Callable[[], object], count: int) -> int:
    counter = range(count)
    start = perf_counter_ns()
    for _ in counter:
        call()
    return perf_counter_ns() - start


def _calls_per_sample(call: Callable[[], object]) -> int:
    count = 1
    while count < CALLS_MAX and _time(call, count) < SAMPLE_NS:
        count *= 2
    return count
