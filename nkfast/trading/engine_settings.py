"""How an engine behaves, apart from what the strategy and the limits say."""

from dataclasses import dataclass
from pathlib import Path

from nkfast.errors import ConfigError
from nkfast.trading.life import OnExit
from nkfast.trading.reconcile import ReconcileSettings

__all__ = ["EngineSettings"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine behaves, apart from what the strategy and the limits say.

    Attributes
    ----------
    instance : str or None
        When given, the journal must be this instance's.
    reconcile_interval_s, overlap_s, finality_horizon_s, round_gap_s, unknown_max_s : float
        See `ReconcileSettings`. An order that stays unknown for too long halts trading.
    request_timeout_s : float
        A create or cancel without an answer for this long is in doubt.
    start_timeout_s : float
        How long `Engine.start` goes on where our books and the venue's cannot be compared.
    exit_timeout_s : float
        How long `Engine.stop` waits for cancels to end. A venue that does not close costs one
        second more.
    on_halt : {"cancel", "keep"}
        What becomes of resting orders when trading is halted.
    slow_callback_ms : float
        A call of the strategy that takes longer is counted and named.
    error_budget : int
        So many rejected orders and misplaced answers are put up with in ``error_window_s``.
    error_window_s : float
        Seconds.
    stall_max_s : float
        When the engine has not run for longer, because the machine slept, the process was stopped
        or something held the loop, it makes a new connection and compares before it decides again.
    audit_interval_s : float
        Between two comparisons of the streamed books with what the venue shows when it is asked.
    rules_interval_s : float
        Between two readings of the markets' rules.
    plan_failures_max : int
        So many plans in a row that had to be broken off halt trading.
    recent_fills : int
        Fills kept for the screens.
    kill_file : Path or None
        Trading is halted while this file is there: the kill switch for who has no other.
    """

    instance: str | None = None
    reconcile_interval_s: float = 30.0
    overlap_s: float = 60.0
    finality_horizon_s: float = 120.0
    round_gap_s: float = 5.0
    unknown_max_s: float = 300.0
    request_timeout_s: float = 10.0
    start_timeout_s: float = 60.0
    exit_timeout_s: float = 9.0
    on_halt: OnExit = "cancel"
    slow_callback_ms: float = 5.0
    error_budget: int = 30
    error_window_s: float = 60.0
    stall_max_s: float = 5.0
    audit_interval_s: float = 300.0
    rules_interval_s: float = 60.0
    plan_failures_max: int = 3
    recent_fills: int = 256
    kill_file: Path | None = None

    def __post_init__(self) -> None:
        for name in (
            "request_timeout_s",
            "start_timeout_s",
            "exit_timeout_s",
            "slow_callback_ms",
            "error_budget",
            "error_window_s",
            "stall_max_s",
            "audit_interval_s",
            "rules_interval_s",
            "plan_failures_max",
            "recent_fills",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive", name)
        self.reconcile()

    def reconcile(self) -> ReconcileSettings:
        """Return the part that the reconciler needs."""
        return ReconcileSettings(
            self.reconcile_interval_s,
            self.overlap_s,
            self.finality_horizon_s,
            self.round_gap_s,
            self.unknown_max_s,
        )
