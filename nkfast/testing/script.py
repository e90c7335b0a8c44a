"""What goes wrong in one simulated run, as data: drawn from a seed, replayed, taken apart.

A `Script` holds everything that a run depends on. The same script gives the same run, and a part
of it can be left out while the rest strikes where it did: that is how a failure is made small.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from nkfast.errors import ConfigError
from nkfast.exchange.weather import Rule

__all__ = ["Incident", "IncidentKind", "Script"]

IncidentKind = Literal[
    "kill",
    "kill_at_step",
    "kill_before_write",
    "kill_after_write",
    "kill_before_send",
    "kill_after_send",
    "disk_full",
    "disk_error",
    "freeze",
    "clock_jump",
    "owner_cancels",
    "owner_orders",
    "owner_trades",
    "strategy_error",
    "owner_pauses",
    "sleep",
]
_KINDS: Final = frozenset(get_args(IncidentKind))
#: Whose ``at`` counts something other than seconds.
COUNTED: Final[Mapping[str, str]] = {
    "kill_at_step": "steps",
    "kill_before_write": "writes",
    "kill_after_write": "writes",
    "kill_before_send": "sends",
    "kill_after_send": "sends",
    "disk_full": "writes",
    "disk_error": "writes",
    "strategy_error": "decisions",
}


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that happens to the engine's process, its disk, its clock or its account.

    Attributes
    ----------
    kind : str
        ``kill`` the process at a second; ``kill_at_step`` before its nth step;
        ``kill_before_write`` and ``kill_after_write`` around the nth write of the journal,
        ``kill_before_send`` and ``kill_after_send`` around the nth request that leaves;
        ``disk_full`` the nth write fails, ``disk_error`` it fails and was made durable all the
        same; ``freeze`` the process for ``seconds``; ``clock_jump`` of the wall clock by
        ``seconds``; the owner cancels one of the engine's orders by hand, places an order, trades
        at the market; the strategy raises at its nth decision; the owner pauses the engine for
        ``seconds``; the machine is asleep for ``seconds``: as ``freeze``, but that its monotonic
        clock and its timers stand still too.
    at : float
        Seconds since the beginning, or the count of steps, writes, sends or decisions over all
        lives of the process.
    seconds : float
        How long or how far.
    """

    kind: IncidentKind
    at: float
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ConfigError(f"is {self.kind!r}; known: {', '.join(sorted(_KINDS))}", "kind")


@dataclass(frozen=True, slots=True)
class Script:
    """Everything that one run depends on, besides the strategy.

    Attributes
    ----------
    seed : int
        Of the market and of all ids.
    storm_s : float
        How long faults strike, virtual seconds.
    latency_s : float
        Mean time of a request, an answer or a message on the way.
    rules : tuple of Rule
        Faults of the network and the exchange, each with its count (``after``, ``times``).
    lasting : tuple of Rule
        What stays wrong when the storm is over, and must be lived with.
    incidents : tuple of Incident
        Faults of the process, its disk, its clock and its owner.
    uniqueness : {"always", "active", "never"}
        How long a client id stays taken at the exchange.
    lookup : {"any", "active"}
        Whether an order is found by its id once it has ended.
    read_lag_s : float
        How old the lists are that the exchange shows; of trades each appears some time within it,
        a later one sometimes before an earlier one.
    skew_ms : int
        By how much the engine's wall clock is ahead.
    calm_s : float
        How long at least the engine trades on when the storm is over.
    ending : {"cancel", "keep", "halt"}
        How the run ends when it is quiet: stopped, or by an error of the strategy.
    """

    seed: int
    storm_s: float = 60.0
    latency_s: float = 0.0
    rules: tuple[Rule, ...] = ()
    lasting: tuple[Rule, ...] = ()
    incidents: tuple[Incident, ...] = ()
    uniqueness: Literal["always", "active", "never"] = "always"
    lookup: Literal["any", "active"] = "any"
    read_lag_s: float = 0.0
    skew_ms: int = 0
    calm_s: float = 5.0
    ending: Literal["cancel", "keep", "halt"] = "cancel"

    @property
    def faults(self) -> tuple[Rule | Incident, ...]:
        """Everything that strikes once: what can be left out."""
        return (*self.rules, *self.incidents)

    @property
    def faults_named(self) -> frozenset[str]:
        """The kinds of faults that it has, whether or not they strike."""
        rules = (*self.rules, *self.lasting)
        return frozenset((*(rule.fault for rule in rules), *(one.kind for one in self.incidents)))

    def only(self, faults: Sequence[Rule | Incident]) -> "Script":
        """Return the same script with these of its faults and no others."""
        return replace(
            self,
            rules=tuple(fault for fault in faults if isinstance(fault, Rule)),
            incidents=tuple(fault for fault in faults if isinstance(fault, Incident)),
        )

    def as_json(self) -> str:
        """Return the script as one line of JSON; what has its usual value is left out."""
        usual = Script(self.seed)
        row: dict[str, Any] = {"seed": self.seed}
        for item in fields(self):
            value = getattr(self, item.name)
            if value == getattr(usual, item.name):
                continue
            if item.name in ("rules", "lasting", "incidents"):
                value = [_row(fault) for fault in value]
            row[item.name] = value
        return json.dumps(row)

    @classmethod
    def from_json(cls, text: str) -> "Script":
        """Read what `as_json` returned.

        Raises
        ------
        nkfast.errors.ConfigError
            It is no script.
        """
        try:
            row = json.loads(text)
            for name in ("rules", "lasting"):
                row[name] = tuple(Rule.from_json(item) for item in row.get(name, ()))
            row["incidents"] = tuple(Incident(**item) for item in row.get("incidents", ()))
            return cls(**row)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"is no script: {error}", "script") from error

    @classmethod
    def draw(cls, seed: int) -> "Script":
        """Draw a script from a seed: first which faults there are at all, then how many of each."""
        return _Drawing(seed).script()


def _row(fault: Rule | Incident) -> dict[str, Any]:
    usual: Rule | Incident
    usual = Rule(fault.fault) if isinstance(fault, Rule) else Incident(fault.kind, 0)
    named = {"fault", "kind", "at", "times"}
    return {
        name: value
        for name, value in asdict(fault).items()
        if name in named or value != getattr(usual, name)
    }


class _Drawing:
    """The making of one script."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(f"script/{seed}")
        self._storm_s = self._random.choice((30.0, 45.0, 60.0, 90.0, 150.0))

    def script(self) -> Script:
        chance = self._random
        rules = [rule for draw in _FAMILIES for rule in self._family(draw)]
        incidents = [one for draw in _INCIDENTS for one in self._family(draw)]
        script = Script(
            self._seed,
            storm_s=self._storm_s,
            latency_s=chance.choice((0.0, 0.005, 0.03, 0.1, 0.4)),
            rules=tuple(rules),
            lasting=chance.choice(_LASTING),
            incidents=tuple(incidents),
            uniqueness=chance.choice(("always", "always", "active", "never")),
            lookup=chance.choice(("any", "active")),
            read_lag_s=chance.choice((0.0, 0.0, 1.0, 3.0)),
            skew_ms=chance.choice((0, 0, 3_000, -3_000, 8_000)),
            ending=chance.choice(("cancel", "cancel", "keep", "halt")),
            calm_s=chance.choice((5.0, 5.0, 5.0, 25.0)),
        )
        # Drawn last: a new kind of rest leaves everything else as it was.
        rests = [one for draw in _RESTS for one in self._family(draw)]
        return replace(script, incidents=(*script.incidents, *rests))

    def _family(self, draw: "Callable[[random.Random, float], Any]") -> list[Any]:
        chance = self._random
        if chance.random() < 0.6:
            return []
        return [draw(chance, self._storm_s) for _ in range(1 + int(chance.expovariate(0.7)))]


def _request(on: str, passages_per_s: float, *faults: str) -> Any:
    """Return what draws one fault of a request, somewhere in the storm."""

    def draw(chance: random.Random, storm_s: float) -> Rule:
        fault: Any = chance.choice(faults)
        seconds = 0.0
        if fault.startswith("stall"):
            seconds = round(chance.uniform(1, 14), 1)
        elif fault == "late":
            seconds = round(chance.uniform(0.1, 19), 1)
        elif fault == "rate_limit":
            seconds = chance.choice((0.0, 1.0, 5.0))
        elif fault.startswith("delay"):
            seconds = round(chance.uniform(0.5, 9), 1)
        after = int(chance.uniform(0, passages_per_s * storm_s))
        status = chance.choice((500, 502, 503, 520))
        return Rule(fault, on=on, after=after, times=1, seconds=seconds, status=status)

    return draw


def _message(on: str, passages_per_s: float, *faults: str) -> Any:
    """Return what draws one fault of the notifications of a kind."""

    def draw(chance: random.Random, storm_s: float) -> Rule:
        fault: Any = chance.choice(faults)
        seconds = 0.0
        if fault in ("delay", "reorder"):
            seconds = round(chance.uniform(0.1, 8), 1)
        elif fault == "stall":
            seconds = round(chance.uniform(2, 20), 1)
        after = int(chance.uniform(0, passages_per_s * storm_s))
        times = chance.choice((1, 1, 3))
        return Rule(fault, on=on, after=after, times=times, seconds=seconds)

    return draw


def _state(fault: Any, low_s: float, high_s: float) -> Any:
    """Return what draws one fault of the exchange itself."""

    def draw(chance: random.Random, storm_s: float) -> Rule:
        after = int(chance.uniform(0, storm_s))
        seconds = round(chance.uniform(low_s, high_s), 1)
        return Rule(fault, after=after, times=1, seconds=seconds)

    return draw


def _incident(kind: Any, rate: float, low_s: float = 0.0, high_s: float = 0.0) -> Any:
    """Return what draws one incident; ``rate``: of what it counts, in a second of the storm."""

    def draw(chance: random.Random, storm_s: float) -> Incident:
        at = chance.uniform(0, rate * storm_s)
        at = 1 + int(at) if kind in COUNTED else round(at, 2)
        return Incident(kind, at, round(chance.uniform(low_s, high_s), 1))

    return draw


_UNANSWERED: Final = (
    "reset_before",
    "reset_after",
    "stall_before",
    "stall_after",
    "late",
    "error_before",
    "error_after",
    "html_before",
    "html_after",
    "empty",
    "truncated",
    "half",
    "nulls",
    "rate_limit",
    "delay_in",
    "delay_out",
)
#: One line per family: a script has about two in five of them.
_FAMILIES: Final = (
    _request("create", 0.3, *_UNANSWERED),
    _request("create", 0.3, "reset_after", "stall_after", "late", "half", "error_after"),
    _request("create", 0.3, "reset_before", "stall_before", "error_before", "html_before"),
    _request("cancel", 0.25, *_UNANSWERED),
    _request("getorder", 0.3, "error_before", "html_before", "stall_after", "rate_limit"),
    _request("account/*", 0.3, "error_before", "html_before", "stall_after", "rate_limit"),
    _request("balances", 0.15, "error_before", "html_before", "stall_after", "delay_out"),
    _request("connect", 0.02, "reset_before", "error_before"),
    _request("subscribe", 0.1, "reset_before", "error_before", "empty"),
    _message("report", 0.8, "drop", "duplicate", "delay", "reorder", "cut", "blank"),
    _message("balance", 0.8, "drop", "duplicate", "delay", "cut", "blank"),
    _message("updateOrderbook", 2.0, "drop", "duplicate", "reorder", "delay", "cut"),
    _message("snapshotOrderbook", 0.03, "drop", "delay", "cut"),
    _message("*", 3.0, "reset"),
    _message("book", 2.0, "stall"),
    _state("pause", 2, 20),
    _state("tick_size", 5, 30),
    _state("maintenance", 1, 15),
    _state("clog", 1, 25),
    _state("clock_skew", -4, 4),
    _state("balance_lag", 0.5, 4),
)
_INCIDENTS: Final = (
    _incident("kill", 1.0),
    _incident("kill_at_step", 25.0),
    _incident("kill_before_write", 1.2),
    _incident("kill_after_write", 1.2),
    _incident("kill_before_send", 0.6),
    _incident("kill_after_send", 0.6),
    _incident("disk_full", 2.0),
    _incident("disk_error", 2.0),
    _incident("freeze", 1.0, 1, 60),
    _incident("clock_jump", 1.0, -20, 20),
    _incident("owner_cancels", 1.0),
    _incident("owner_orders", 1.0),
    _incident("owner_trades", 1.0),
    _incident("strategy_error", 3.0),
)
_RESTS: Final = (
    _incident("owner_pauses", 1.0, 1, 30),
    _incident("sleep", 1.0, 1, 90),
)
_LASTING: Final[Sequence[tuple[Rule, ...]]] = (
    (),
    (),
    (Rule("delay_in", on="read", seconds=0.5),),
    (Rule("delay_out", on="c*", seconds=3.0),),
    (Rule("drop", on="report"),),
    (Rule("drop", on="report"), Rule("drop", on="balance")),
    (Rule("duplicate", on="report"),),
    (Rule("error_before", on="read", probability=0.05),),
)
