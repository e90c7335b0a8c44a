"""Medians of interleaved repeats: the fair way to compare on a machine that is not quiet.

Each round times every candidate once, one after the other, so that a slow second of the machine
hits all of them alike. Ratios of the medians are what RESULTS.md and the goals speak of.

A benchmark module has ``comparisons()``, which yields a `Comparison` for every table it
contributes; state that is expensive to make is made when its comparison's turn comes.
``results.py`` runs those of all modules, `report` those of one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns

__all__ = ["REPEATS", "Comparison", "compare", "report"]

#: One timing lasts at least so long that reading the clock does not count, and so short that a
#: round over all candidates is over before the machine changes its mind.
SAMPLE_NS = 100_000
CALLS_MAX = 1 << 20
REPEATS = 201
#: A candidate slower than this divided by the repeats is timed less often, but in `ROUNDS_MIN`.
CANDIDATE_NS_MAX = 5_000_000_000
ROUNDS_MIN = 5


@dataclass(frozen=True)
class Comparison:
    """Candidates that do the same work, nkfast's first.

    Parameters
    ----------
    title : str
        What is done, with the size of the state it is done on.
    candidates : mapping of str to callable
        Called without arguments; the first is the one that the others are compared with. Further
        ones of nkfast have names that begin with ``nkfast``.
    goals : mapping of str to float, optional
        For some of the others, how many times faster than it the first should at least be.
        Below 1 it is a limit: 0.5 is "at most twice as slow".
    unit : str, optional
        The unit of work that times are given for.
    units : mapping of str to int, optional
        How many units one call of a candidate does, where it is not 1.
    limits_ns : mapping of str to float, optional
        For some candidates, the most nanoseconds that a unit of work should take.
    note : str, optional
        What a reader of the table has to know: where a peer does less, or rounds.
    """

    title: str
    candidates: Mapping[str, Callable[[], object]]
    goals: Mapping[str, float] = field(default_factory=dict)
    unit: str = "call"
    units: Mapping[str, int] = field(default_factory=dict)
    limits_ns: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        unknown = {*self.goals, *self.units, *self.limits_ns} - set(self.candidates)
        if unknown:
            raise ValueError(f"{self.title}: no candidate is called {sorted(unknown)}")

    @property
    def first(self) -> str:
        """The candidate that the others are compared with."""
        return next(iter(self.candidates))

    def measure(self, repeats: int = REPEATS) -> dict[str, float]:
        """Median nanoseconds that each candidate takes for one unit of work."""
        medians = compare(self.candidates, repeats)
        return {name: ns / self.units.get(name, 1) for name, ns in medians.items()}


def compare(
    candidates: Mapping[str, Callable[[], object]], repeats: int = REPEATS
) -> dict[str, float]:
    """Time callables against each other.

    Parameters
    ----------
    candidates : mapping of str to callable
        Called without arguments; setup belongs outside.
    repeats : int
        Rounds; each times every candidate once, those that are slow in every so many rounds.

    Returns
    -------
    dict of str to float
        Median nanoseconds of one call, the cost of an empty call included (some 30 ns for a
        lambda; hand in `functools.partial` or bound methods where that matters).
    """
    loops = {name: _calls_per_sample(call) for name, call in candidates.items()}
    strides = {
        name: _stride(_time(call, loops[name]), repeats) for name, call in candidates.items()
    }
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(repeats):
        for name, call in candidates.items():
            if round_number % strides[name] == 0:
                samples[name].append(_time(call, loops[name]) / loops[name])
    return {name: median(values) for name, values in samples.items()}


def report(comparisons: Iterable[Comparison], repeats: int = REPEATS) -> None:
    """Print the medians of each comparison and how many times slower than the first they are."""
    for comparison in comparisons:
        medians = comparison.measure(repeats)
        print(f"{comparison.title}  (ns per {comparison.unit})")
        for name, ns in medians.items():
            ratio = ns / medians[comparison.first]
            goal = f"  goal {comparison.goals[name]:.3g}" if name in comparison.goals else ""
            print(f"  {name:44} {ns:14.1f} {ratio:10.2f} x{goal}")


def _time(call: Callable[[], object], count: int) -> int:
    counter = range(count)
    start = perf_counter_ns()
    for _ in counter:
        call()
    return perf_counter_ns() - start


def _stride(sample_ns: int, repeats: int) -> int:
    rounds = max(ROUNDS_MIN, CANDIDATE_NS_MAX // max(sample_ns, 1))
    return max(1, repeats // rounds)


def _calls_per_sample(call: Callable[[], object]) -> int:
    count = 1
    while count < CALLS_MAX and _time(call, count) < SAMPLE_NS:
        count *= 2
    return count
