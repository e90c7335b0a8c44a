"""Makes a failing run small: leaves out every fault that the failure does not need."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nkfast.testing.simulation import Outcome, Stage, simulate

if TYPE_CHECKING:
    from nkfast.exchange.weather import Rule
    from nkfast.testing.script import Incident, Script

__all__ = ["shrink"]


def shrink(outcome: Outcome, stage: Stage | None = None, *, runs_max: int = 200) -> Outcome:
    """Return a run that breaks the same invariant with as few faults as could be found.

    Halves, quarters and at last single faults are left out, each time as long as the same
    invariant breaks.

    Parameters
    ----------
    outcome : Outcome
        A run that broke an invariant.
    stage : Stage or None
        What it was run on.
    runs_max : int
        After so many tries what has been reached is returned.

    Raises
    ------
    ValueError
        Nothing was broken.
    """
    if outcome.violation is None:
        raise ValueError("the run broke no invariant: there is nothing to make small")
    search = _Search(outcome, stage, runs_max)
    search.run()
    return search.smallest


class _Search:
    def __init__(self, outcome: Outcome, stage: Stage | None, runs_left: int) -> None:
        assert outcome.violation is not None
        self.smallest = outcome
        self._invariant = outcome.violation.invariant
        self._stage = stage
        self._runs_left = runs_left

    def run(self) -> None:
        size = max(1, len(self._faults) // 2)
        while self._runs_left > 0:
            if not self._leave_out(size):
                if size == 1:
                    return
                size = max(1, size // 2)

    @property
    def _faults(self) -> "Sequence[Rule | Incident]":
        return self.smallest.script.faults

    def _leave_out(self, size: int) -> bool:
        """Leave out so many neighbours wherever that is possible; return whether it was."""
        has_shrunk, at = False, 0
        while at < len(self._faults) and self._runs_left > 0:
            faults = self._faults
            if self._breaks(self.smallest.script.only((*faults[:at], *faults[at + size :]))):
                has_shrunk = True
            else:
                at += size
        return has_shrunk

    def _breaks(self, script: "Script") -> bool:
        self._runs_left -= 1
        outcome = simulate(script, self._stage)
        if outcome.violation is None or outcome.violation.invariant != self._invariant:
            return False
        self.smallest = outcome
        return True
