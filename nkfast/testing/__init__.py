"""Test a strategy, or the engine, against everything that can go wrong."""

from nkfast.testing.checker import INVARIANTS, Checker, Violation
from nkfast.testing.process import Process, ProcessLoop
from nkfast.testing.script import Incident, Script
from nkfast.testing.shrink import shrink
from nkfast.testing.simulation import Outcome, Stage, simulate
from nkfast.venue.clock import VirtualClock, VirtualLoop, run_virtual

__all__ = [
    "INVARIANTS",
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
