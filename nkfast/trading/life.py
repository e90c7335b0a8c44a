"""The life of an engine: its states, and which may follow which.

    starting --> running <--> paused
       |            |  ^         |
       |            v  |         |       a halt is possible from every one of these;
       |         draining <------+       out of halted leads only a stop, and then a start
       v            |                    after somebody has cleared the cause by its name
     halted <-------+
       |
       +--> stopping --> stopped

RUNNING does what the strategy wants. PAUSED leaves everything as it is: nothing is decided, what
rests goes on resting, fills are taken. DRAINING finishes what is open and takes nothing new: only
orders that reduce the position are placed, and when none is left the engine ends. HALTED sends
nothing but cancels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from nkfast.errors import (
    AuthenticationError,
    HaltedError,
    JournalCorruptError,
    JournalError,
    JournalLockedError,
    LifeError,
    OrderError,
    PermissionDeniedError,
    RejectedError,
    RiskError,
    VenueError,
)
from nkfast.trading.exact import plain
from nkfast.trading.orders import Order, OrderState
from nkfast.trading.plan import PLAN_SLOT
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.trading.journal import Journal

__all__ = [
    "ErrorBudget",
    "LeftOrder",
    "LeftPlan",
    "LifeState",
    "Lifecycle",
    "OnExit",
    "StopReport",
    "can_heal",
    "clear_halt",
    "halt_cause",
    "rests_on",
    "stop_report",
]

OnExit = Literal["cancel", "keep"]


class LifeState(StrEnum):
    """Where an engine is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    HALTED = "halted"
    STOPPING = "stopping"
    STOPPED = "stopped"


_ENDING = {LifeState.HALTED, LifeState.STOPPING}
_NEXT: dict[LifeState, set[LifeState]] = {
    LifeState.STARTING: {LifeState.RUNNING, LifeState.PAUSED, LifeState.DRAINING, *_ENDING},
    LifeState.RUNNING: {LifeState.PAUSED, LifeState.DRAINING, *_ENDING},
    LifeState.PAUSED: {LifeState.RUNNING, LifeState.DRAINING, *_ENDING},
    LifeState.DRAINING: {LifeState.RUNNING, LifeState.PAUSED, *_ENDING},
    LifeState.HALTED: {LifeState.STOPPING},
    LifeState.STOPPING: {LifeState.STOPPED},
    LifeState.STOPPED: set(),
}


class Lifecycle:
    """The state of one engine's life. It moves only along the arrows.

    Parameters
    ----------
    note : callable
        Is told every new state and its reason before `state` changes.
    """

    def __init__(self, note: Callable[[LifeState, str], None]) -> None:
        self.state = LifeState.STARTING
        self.reason = ""
        self._note = note

    def may_become(self, state: LifeState) -> bool:
        """Whether an arrow leads there."""
        return state in _NEXT[self.state]

    def become(self, state: LifeState, reason: str) -> None:
        """Move to another state.

        Raises
        ------
        nkfast.errors.LifeError
            No arrow leads there.
        """
        if not self.may_become(state):
            raise LifeError(self.state, state, self.reason)
        self._note(state, reason)
        self.state, self.reason = state, reason


class LeftOrder(NamedTuple):
    """An order that a stop left behind. ``state``: sending, unknown or live."""

    client_id: str
    order_id: str
    slot: str
    symbol: str
    side: Side
    price: str  # plain digits; empty for a market order
    remaining: str
    state: str

    def __str__(self) -> str:
        price = f"at {self.price}" if self.price else "at the market"
        name = self.order_id or self.client_id
        return f"{self.state} {self.side} {self.remaining} {self.symbol} {price}, order {name}"


class LeftPlan(NamedTuple):
    """A plan that a stop left unresolved: the next start brings back what it owns.

    ``owns`` is by asset, in plain digits; empty where it was not found out.
    """

    number: int
    owns: Mapping[str, str]

    def __str__(self) -> str:
        amounts = ", ".join(f"{amount} {asset}" for asset, amount in self.owns.items())
        owned = f"owning {amounts}" if amounts else "what it owns is not known"
        return f"plan {self.number} is not resolved, {owned}; the next start goes on with it"


class StopReport(NamedTuple):
    """What a stop left at the venue.

    Attributes
    ----------
    kept : tuple of LeftOrder
        Orders that rest because they were to be kept.
    left : tuple of LeftOrder
        Orders that may still rest although they should not, or whose fate is not known.
    plan : LeftPlan or None
        A plan that was not resolved.
    """

    kept: tuple[LeftOrder, ...] = ()
    left: tuple[LeftOrder, ...] = ()
    plan: LeftPlan | None = None

    @property
    def remains(self) -> "tuple[LeftOrder | LeftPlan, ...]":
        """Everything that should not have been left."""
        return self.left if self.plan is None else (*self.left, self.plan)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left that should not be: else a command ends with exit code 10."""
        return not self.remains


def rests_on(order: Order) -> bool:
    """Whether an order is one of those that a stop may keep: no leg of a plan is."""
    return not order.slot.startswith(PLAN_SLOT)


def stop_report(
    open_orders: Iterable[Order], *, keeps: bool, plan: LeftPlan | None = None
) -> StopReport:
    """Say what of the open orders is at the venue: kept if it was to be, or else left."""
    kept: list[LeftOrder] = []
    left: list[LeftOrder] = []
    for order in open_orders:
        if order.state is OrderState.CLOSING:
            continue  # nothing of it rests
        row = LeftOrder(
            order.client_id,
            order.order_id,
            order.slot,
            order.symbol,
            order.side,
            "" if order.price is None else plain(order.price),
            plain(order.remaining),
            order.state,
        )
        is_kept = keeps and order.state is OrderState.LIVE and rests_on(order)
        (kept if is_kept else left).append(row)
    return StopReport(tuple(kept), tuple(left), plan)


def halt_cause(error: BaseException) -> str:
    """Return the stable code of what halts trading; it is what has to be named to clear a halt."""
    if isinstance(error, HaltedError):
        return error.cause
    if isinstance(error, RiskError):
        return error.code
    if isinstance(error, JournalError):
        return "JOURNAL"
    if isinstance(error, OrderError):
        return "UNRECONCILED"
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return "KEY_REFUSED"
    return "ENGINE_ERROR"


def can_heal(error: BaseException) -> bool:
    """Whether another start may go well where this error ended the one before.

    Nothing was halted by it: the venue could not be reached or read, or our store not be written.
    """
    if isinstance(error, JournalError):
        return not isinstance(error, JournalLockedError | JournalCorruptError)
    return isinstance(error, VenueError) and not isinstance(
        error, AuthenticationError | PermissionDeniedError | RejectedError
    )


def clear_halt(journal: "Journal", cause: str, now_ms: int) -> None:
    """Let an instance start again whose trading was halted.

    Parameters
    ----------
    journal : Journal
        Of the halted instance.
    cause : str
        The code of what halted it: who clears a halt has read it.
    now_ms : int
        Unix milliseconds.

    Raises
    ------
    nkfast.errors.LifeError
        It is not halted.
    nkfast.errors.HaltedError
        Something else halted it.
    """
    life = journal.life()
    if life is None or life.state != LifeState.HALTED:
        raise LifeError("not halted" if life is None else life.state, "cleared", "")
    was, _, detail = life.cause.partition(": ")
    if was != cause:
        raise HaltedError(was, detail)
    journal.note_life(LifeState.STOPPED, f"cleared {was}", now_ms)


class ErrorBudget:
    """So many errors may happen within a time; one more is too many.

    Parameters
    ----------
    errors_max : int
        How many are put up with.
    window_ns : int
        Within how many nanoseconds.
    """

    def __init__(self, errors_max: int, window_ns: int) -> None:
        self.errors_max = errors_max
        self.window_ns = window_ns
        self._spent_ns: deque[int] = deque()

    def spend(self, now_ns: int) -> bool:
        """Count one error; return whether the budget still holds."""
        spent = self._spent_ns
        spent.append(now_ns)
        while spent[0] <= now_ns - self.window_ns:
            spent.popleft()
        return len(spent) <= self.errors_max
