"""In how many runs is each known fault found?

PYTHONPATH=.:tests python -P -m testing.survey --seeds 0:100 --jobs 2

One line for each: the runs that found it, the first seed, the invariants that caught it.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter

import pytest
from testing.mutants import MUTANTS

from nkfast.testing import simulate


def survey(number: int, seeds: range) -> tuple[int, list[tuple[int, str]], float]:
    """Return what found a mutant, as (seed, invariant), and the seconds it took."""
    mutant, found = MUTANTS[number], []
    began_s = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        mutant.break_it(patch)
        for seed in seeds:
            violation = simulate(seed, mutant.stage).violation
            if violation is not None:
                found.append((seed, violation.invariant))
    return number, found, time.process_time() - began_s


def main() -> None:
    """Print the survey of all mutants, or of those whose name contains a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:100")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    first, _, last = options.seeds.partition(":")
    seeds = range(int(first), int(last))
    numbers = [n for n, mutant in enumerate(MUTANTS) if options.only in mutant.name]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        results = [pool.apply_async(survey, (number, seeds)) for number in numbers]
        for result in results:
            number, found, seconds = result.get()
            caught = Counter(invariant for _, invariant in found)
            by = ", ".join(f"{name} {count}" for name, count in caught.most_common())
            first_seed = found[0][0] if found else "none"
            sys.stdout.write(
                f"{MUTANTS[number].name:32} {len(found):4} of {len(seeds)}, first {first_seed}, "
                f"{seconds:.0f} s: {by}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
