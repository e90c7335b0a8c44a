"""Runs many simulations, or one again.

    python -m nkfast.testing --seeds 0:2000 --jobs 2
    python -m nkfast.testing --script '{"seed": 7, ...}'

Prints what was run and every failure: the seed, the invariant, and the smallest script that was
found to break it, with the command that runs it. Exit 1: an invariant was broken. Exit 2: an engine
that is known to be wrong was not found to be.
"""

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from nkfast.testing.fragile import Canary
from nkfast.testing.script import Script
from nkfast.testing.shrink import shrink
from nkfast.testing.simulation import Outcome, Stage, simulate
from nkfast.venue.port import Venue

__all__ = ["main"]

_FAILURES_SHOWN = 10


def main(words: list[str]) -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nkfast.testing", description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--seeds", type=_range, help="from:to, the last one not included")
    chosen.add_argument("--script", type=Script.from_json, help="one run, as a failure printed it")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--cells", action="store_true", help="show what struck in which state")
    options = parser.parse_args(words)
    if options.script is not None:
        outcome = simulate(options.script)
        for line in outcome.trace:
            _say(" ".join(map(str, line)))
        _say(str(outcome.violation or "every invariant held"))
        return 0 if outcome.ok else 1
    return _run_many(options.seeds, options.jobs, shows_cells=options.cells)


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last))


def _run_many(seeds: range, jobs: int, *, shows_cells: bool) -> int:
    if not _notices_canary(seeds):
        _say("an engine that sends every order twice was not noticed: nothing can be believed")
        return 2
    began_s, total, failed = time.monotonic(), _Total(), 0
    for outcome in _outcomes(seeds, jobs):
        total.add(outcome)
        if outcome.ok:
            continue
        failed += 1
        _say(f"seed {outcome.script.seed}: {outcome.violation}")
        if failed <= _FAILURES_SHOWN:
            small = shrink(outcome)
            _say(f"  with {len(small.script.faults)} of {len(outcome.script.faults)} faults:")
            _say(f"  {small.command}")
    _say(total.text(time.monotonic() - began_s))
    if shows_cells:
        for (state, fault), count in sorted(total.cells.items()):
            _say(f"{count:9}  {state:10} {fault}")
    _say(f"{failed} of {len(seeds)} seeds broke an invariant")
    return 1 if failed else 0


def _notices_canary(seeds: range) -> bool:
    """Whether an engine that sends every order twice breaks an invariant, once it sends one."""
    stage = Stage(venue=cast("Callable[[Venue], Venue]", Canary))
    for outcome in (simulate(seed, stage) for seed in seeds):
        if outcome.intents:
            return not outcome.ok
    return False


def _outcomes(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(_run, seeds)
        return
    # What a process has once it has started stays: it need not be looked through for garbage again.
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=gc.freeze) as pool:
        yield from pool.imap_unordered(_run, seeds, chunksize=8)


def _run(seed: int) -> Outcome:
    outcome = simulate(seed)
    outcome.trace.clear()  # it is long, and a failure is run again
    return outcome


class _Total:
    """What many runs did together."""

    def __init__(self) -> None:
        self.runs = self.kills = self.intents = self.fills = 0
        self.virtual_s = 0.0
        self.faults: Counter[str] = Counter()
        self.cells: Counter[tuple[str, str]] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.kills += outcome.kills
        self.intents += outcome.intents
        self.fills += outcome.fills
        self.virtual_s += outcome.virtual_s
        self.faults.update(outcome.faults)
        self.cells.update(outcome.cells)

    def text(self, seconds: float) -> str:
        return (
            f"{self.runs} runs in {seconds:.0f} s ({self.runs / max(seconds, 1e-9):.1f} a second): "
            f"{self.virtual_s / 3600:.1f} virtual hours, {self.kills} processes killed, "
            f"{sum(self.faults.values())} faults of {len(self.faults)} kinds, "
            f"{self.intents} orders, {self.fills} fills, "
            f"{len(self.cells)} pairs of a state and a fault"
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
