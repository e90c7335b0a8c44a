"""The interface between a strategy and the engine.

A strategy is pure: it sees a `MarketView`, returns what should be resting (`Desired`), and is told
of fills. It never sends, waits, reads a clock or keeps an order id; the engine compares what is
desired with what is live and makes the difference so.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from nkfast.trading.plan import Plan
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market


@dataclass(frozen=True, slots=True)
class Quote:
    """One order that should be resting.

    ``price`` and ``quantity`` lie on the market's grid; ``quantity`` is what should still rest,
    so that an order which is partly filled and wanted for its rest needs no change. ``symbol`` is
    the home market's when it is empty.
    """

    side: Side
    price: Decimal
    quantity: Decimal
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Skip:
    """An action considered and not taken: a stable code (``BELOW_MINIMUM``) and its numbers."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole set of orders that should be resting, by stable slot name (``"level-3"``).

    A slot that is not named should have no order.
    """

    quotes: Mapping[str, Quote] = field(default_factory=dict)
    skips: Sequence[Skip] = ()


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order that a slot of this strategy made, told exactly once."""

    slot: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal | None  # None: not known yet, which is not zero
    fee_asset: str
    trade_id: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class LiveOrder:
    """An order of ours that rests, is on its way, or whose outcome is unknown."""

    slot: str
    client_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    executed: Decimal
    is_uncertain: bool

    @property
    def remaining(self) -> Decimal:
        """What may still fill."""
        return self.quantity - self.executed


@dataclass(frozen=True, slots=True)
class MarketView:
    """What a strategy may see when it decides.

    ``market`` and ``book`` are the home market's; ``markets`` and ``books`` are all that the engine
    watches, by symbol. Books are lent until `Strategy.decide` returns. ``available`` is what is
    free after our own reservations, ``total`` includes what our resting orders hold, both by asset;
    both are empty where the venue tells no balances, as to one who only looks. ``changed`` names
    the markets whose book or rules may differ from those of the last view: all of them in the first
    one. A market that the venue lists no more is not among ``markets``.
    """

    market: "Market"
    book: "OrderBook"
    orders: Mapping[str, LiveOrder]
    available: Mapping[str, Decimal]
    total: Mapping[str, Decimal]
    now_ms: int
    markets: Mapping[str, "Market"] = field(default_factory=dict)
    books: Mapping[str, "OrderBook"] = field(default_factory=dict)
    changed: Collection[str] = ()

    @property
    def mid(self) -> Decimal | None:
        """Return the middle of best bid and best ask, None when a side is empty."""
        return self.book.mid


class StrategyContext(Protocol):
    """What a strategy may ask of the engine that runs it, beside what it wants to rest.

    A wish is taken up when the call that it was made in (`Strategy.decide`, `Strategy.on_fill`)
    has returned.
    """

    def pause(self, reason: str) -> None:
        """Decide no more, until a person resumes; what rests goes on resting."""

    def drain(self, reason: str) -> None:
        """Take nothing new; end when nothing is left that reduces the position."""

    def halt(self, reason: str) -> None:
        """Cancel everything and stay halted, also over a restart, until a person clears it."""


class Strategy(ABC):
    """What a strategy must offer. One object trades one account on the markets it was given.

    The engine calls `restore` once if the journal holds a state, then `decide` whenever the book,
    an order or a balance changed, and `on_fill` for each fill, exactly once over all restarts;
    after each fill it stores `state` in the same transaction as the fill.
    """

    #: Short name of the kind: ``"grid"``.
    name: str
    #: Set by the engine before the first call.
    ctx: StrategyContext

    @abstractmethod
    def decide(self, view: MarketView) -> Desired | Plan:
        """Return what should be resting now, or a plan to be taken now.

        The same `Desired` again means: nothing changed. A `Plan` leaves what rests as it is; until
        it has ended the strategy is not asked again, but told of its fills as of all others.
        """

    @abstractmethod
    def on_fill(self, fill: Fill) -> None:
        """Take note of one fill."""

    def on_plan(self, outcome: PlanOutcome) -> None:  # noqa: B027 - to be overridden at will
        """Take note of what became of a plan, after all its fills; exactly once over all restarts.

        What each leg was to fetch stands beside what it did fetch.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON: strings, integers, lists, objects.

        The same object again means: nothing changed. An object that was returned stays as it is.
        """

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
