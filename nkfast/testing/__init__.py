"""Test a strategy, or the engine, against everything that can go wrong.

A run is drawn from a seed: a market that moves, faults of the network, the exchange, the disk and
the clock, ends of the process at any step and starts on the same journal. After every event twenty
`INVARIANTS` are judged. Pretended time: a run of two minutes takes a fifth of a second.

    from nkfast.testing import Stage, shrink, simulate

    stage = Stage(strategy=MyStrategy)            # called with the market at every start
    for seed in range(100):
        outcome = simulate(seed, stage)
        if not outcome.ok:
            small = shrink(outcome, stage)        # the same, with as few faults as it needs
            raise AssertionError(f"{small.violation}\\n{small.script.as_json()}")

``simulate(Script.from_json(text), stage)`` runs what was printed once more. A strategy needs
``name``, ``decide``, ``on_fill``, ``state``, ``restore``; what it remembers must be in its state,
or a start forgets it. It must not read clocks or chance of its own. It is to leave its orders alone
while nothing changes: one that moves them with every frame meets the limit of orders a minute
(`LIMITS`). A whole example is ``nkfast/examples/faults.py``.
"""

from nkfast.testing.checker import INVARIANTS, Checker, Violation
from nkfast.testing.process import Process, ProcessLoop
from nkfast.testing.script import Incident, Script
from nkfast.testing.shrink import shrink
from nkfast.testing.simulation import LIMITS, Outcome, Stage, simulate
from nkfast.venue.clock import VirtualClock, VirtualLoop, run_virtual

__all__ = [
    "INVARIANTS",
    "LIMITS",
    "Checker",
    "Incident",
    "Outcome",
    "Process",
    "ProcessLoop",
    "Script",
    "Stage",
    "Violation",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
    "shrink",
    "simulate",
]
