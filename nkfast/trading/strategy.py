"""The interface between a strategy and the engine.

A strategy is pure: it sees a `MarketView`, returns what should be resting (`Desired`), and is told
of fills. It never sends, waits, reads a clock or keeps an order id; the engine compares what is
desired with what is live and makes the difference so.

What a strategy wants, and how it says so:

=============================  =====================================================================
a resting order                `Quote` under a slot name; kept while it is named and unchanged
another price or quantity      the new `Quote` under the same name: the old order is cancelled, its
                               end awaited, the new one placed
an order that must not take    ``Quote(..., post_only=True)``: not sent while it would take; the
                               market may still be faster, see `Fill`
take now, at most to a price   a `Quote` beyond the touch with ``good_for_ms``: what is not filled
                               by then is cancelled; `Strategy.on_end` says what became of it
take now, at any price         ``Quote(side, None, quantity)``: a market order, where
                               ``market.allow_market_orders``
an order of a limited age      ``good_for_ms``: cancelled at that age, and placed anew while named
an end to all orders           ``Desired()``; ``view.orders`` is empty once the venue confirmed it
to be asked at a time          ``Desired(..., again_at_ms=view.now_ms + 60_000)``, though nothing
                               happens on the market until then
several orders in a row, each  `Plan`; `Strategy.on_plan` tells what became of it
paid by the one before
another market                 ``Quote.symbol``, ``view.books``, ``view.markets``: those that the
                               engine was given
the traded volume, last price  `Strategy.on_trade`
to rest, finish, or give up    ``ctx.pause``, ``ctx.drain``, ``ctx.halt``
=============================  =====================================================================
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nkfast.trading.plan import Plan
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.venue.port import PublicTrade, Side

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market


@dataclass(frozen=True, slots=True)
class Quote:
    """One order that should be resting.

    ``price`` and ``quantity`` lie on the market's grid; ``quantity`` is what should still rest,
    so that an order which is partly filled and wanted for its rest needs no change.

    Attributes
    ----------
    price : Decimal or None
        None for a market order: the whole quantity at once at whatever price. A limit beyond the
        touch with ``good_for_ms`` is the safer way to take: it bounds the price, and that NonKYC
        reads a market buy's quantity in the base asset is not proven.
    symbol : str
        The home market's when it is empty.
    post_only : bool
        Whether it waits, reason WOULD_TAKE, while it would trade at once.
    good_for_ms : int or None
        Positive; milliseconds after which the engine cancels it. Named still when it has ended, it
        is placed again.
    """

    side: Side
    price: Decimal | None
    quantity: Decimal
    symbol: str = ""
    post_only: bool = False
    good_for_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """An action considered and not taken: a stable code (``BELOW_MINIMUM``) and its numbers."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole set of orders that should be resting, by stable slot name (``"level-3"``).

    A slot that is not named should have no order.

    Attributes
    ----------
    quotes : mapping of str to Quote
        By slot.
    skips : sequence of Skip
        Counted once, when the object is new.
    again_at_ms : int or None
        When to ask again at the latest, Unix milliseconds as `MarketView.now_ms`. It is asked once,
        10 ms from now at the earliest; a decision made then names the next time.
    """

    quotes: Mapping[str, Quote] = field(default_factory=dict)
    skips: Sequence[Skip] = ()
    again_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order that a slot of this strategy made, told exactly once.

    ``fee`` is None while it is not known, which is not zero. ``is_maker`` is None where the venue
    does not say it: NonKYC's reports do not, and the public trade with the same id
    (`Strategy.on_trade`) has the side of who took.
    """

    slot: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal | None
    fee_asset: str
    trade_id: str
    time_ms: int
    is_maker: bool | None = None


@dataclass(frozen=True, slots=True)
class LiveOrder:
    """An order of ours that rests, is on its way, or whose outcome is unknown.

    ``price`` is 0 for a market order. ``placed_ms`` is when it was sent, to be compared with
    `MarketView.now_ms`.
    """

    slot: str
    client_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    executed: Decimal
    is_uncertain: bool
    symbol: str = ""
    placed_ms: int = 0

    @property
    def remaining(self) -> Decimal:
        """What may still fill."""
        return self.quantity - self.executed


#: filled: all of it. cancelled: by us, by a person or by the venue. expired: it is gone, and nobody
#: said how. rejected: refused by the venue. abandoned: its answer was lost, its absence is proven.
OrderEnd = Literal["filled", "cancelled", "expired", "rejected", "abandoned"]


@dataclass(frozen=True, slots=True)
class EndedOrder:
    """An order of ours that has ended. ``executed`` is the sum of the fills that were told.

    ``price`` is None for a market order; ``reason`` is the venue's word where it refused.
    """

    slot: str
    client_id: str
    symbol: str
    side: Side
    price: Decimal | None
    quantity: Decimal
    executed: Decimal
    end: OrderEnd
    reason: str = ""


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
    an order or a balance changed or the time has come that the last `Desired` named, and `on_fill`
    for each fill, exactly once over all restarts; after each fill it stores `state` in the same
    transaction as the fill. The same holds for `on_fee`, `on_end` and `on_plan`, which may be left
    out. What a decision changed is stored with its orders before they are sent, else right after
    it.
    """

    #: Short name of the kind: ``"grid"``.
    name: str
    #: Why it must not trade real money; empty: it may.
    refuses_live: str = ""
    #: What a stop does with its resting orders where nobody says it.
    on_exit: Literal["cancel", "keep"] = "cancel"
    #: Set by the engine before the first call.
    ctx: StrategyContext
    #: Whether its orders are to be cancelled while it cannot be asked because a book of theirs is
    #: not live. Such an order answers a price that nobody knows any more; a grid's does not.
    cancels_when_blind: bool = False

    @abstractmethod
    def decide(self, view: MarketView) -> Desired | Plan:
        """Return what should be resting now, or a plan to be taken now.

        The same `Desired` again means: nothing changed. A `Plan` leaves what rests as it is; until
        it has ended the strategy is not asked again, but told of its fills as of all others.
        """

    @abstractmethod
    def on_fill(self, fill: Fill) -> None:
        """Take note of one fill."""

    def on_fee(  # noqa: B027 - to be overridden at will
        self, fill: Fill, before: Decimal | None
    ) -> None:
        """Take note that the fee of a fill has become known, or larger, after the fill was told.

        Parameters
        ----------
        fill : Fill
            As it was told, but for its fee.
        before : Decimal or None
            The fee that was told before; None: none was known.
        """

    def on_end(self, order: EndedOrder) -> None:  # noqa: B027 - to be overridden at will
        """Take note that an order has ended, after all its fills; once over all restarts.

        An order that was given up (rejected, abandoned) and is seen at the venue after all is
        cancelled; then it ends a second time.
        """

    def on_trade(self, trade: PublicTrade) -> None:  # noqa: B027 - to be overridden at will
        """Take note of a trade of anybody on a market that the engine watches.

        What was traded while it was disconnected or down is not told. No decision follows from a
        trade; one follows from what it changed in the book.
        """

    def on_plan(self, outcome: PlanOutcome) -> None:  # noqa: B027 - to be overridden at will
        """Take note of what became of a plan, after all its fills; exactly once over all restarts.

        What each leg was to fetch stands beside what it did fetch. A fee that is told later is in
        the plan's record, and told by `on_fee`.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON: strings, integers, lists, objects.

        The same object again means: nothing changed. An object that was returned stays as it is.
        """

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
