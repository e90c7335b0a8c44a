"""The one interface between the engine and wherever orders go.

A strategy, the orders, the risk guard and the journal cannot tell which venue is behind it.
Money is `Decimal`; times are Unix milliseconds where the venue speaks (``_ms``) and nanoseconds
of our own clock elsewhere (``_ns``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market

Side = Literal["buy", "sell"]
OrderType = Literal["limit", "market"]
_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


class VenueStatus(StrEnum):
    """What the venue says of an order (protocol.md section 4), one spelling."""

    OPEN = "open"  # New and Active
    PARTLY_FILLED = "partly_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"  # a word that we do not know: treated as still open

    @property
    def is_final(self) -> bool:
        """Whether nothing more can happen to the order."""
        return self in _FINAL


_FINAL = frozenset(
    {VenueStatus.FILLED, VenueStatus.CANCELLED, VenueStatus.REJECTED, VenueStatus.EXPIRED}
)


class NewOrder(NamedTuple):
    """One order as it goes out. ``price`` is None for a market order."""

    client_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal | None
    type: OrderType = "limit"


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill of one of our orders, as the venue reports it.

    ``client_id`` is None where the venue does not say it (account trades); ``fee`` is None while
    it is unknown, which is not zero. Fills are counted by (trade_id, order_id).
    """

    trade_id: str
    order_id: str
    client_id: str | None
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal | None
    fee_asset: str
    is_maker: bool | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """News of one order: a reply, a report or a row of a list. ``executed`` only grows."""

    client_id: str
    order_id: str
    symbol: str
    side: Side
    price: Decimal | None
    quantity: Decimal
    executed: Decimal
    status: VenueStatus
    execution: Execution | None = None
    time_ms: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """One asset of our account at the venue."""

    asset: str
    available: Decimal
    held: Decimal
    pending: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """A trade of anybody on a watched market; ``side`` is the aggressor's."""

    symbol: str
    trade_id: str
    price: Decimal
    quantity: Decimal
    side: Side
    time_ms: int


@dataclass(frozen=True, slots=True)
class BookLevels:
    """A book as it is read, not streamed: (price, quantity), best first."""

    bids: Sequence[tuple[Decimal, Decimal]]
    asks: Sequence[tuple[Decimal, Decimal]]


class OpenOrder(NamedTuple):
    """One open order of the account; ``client_id`` is empty where it was placed without one."""

    client_id: str
    order_id: str
    symbol: str


class CancelDesk(Protocol):
    """All that a guard can do at a venue: look at what is open, and cancel it."""

    async def open_orders(self) -> Sequence[OpenOrder]:
        """Return every open order of the account, on every market.

        Raises
        ------
        nkfast.errors.VenueError
            It could not be read whole.
        """

    async def cancel(self, order: OpenOrder) -> None:
        """Ask to cancel one order. Only the next reading shows whether it is gone.

        Raises
        ------
        nkfast.errors.VenueError
            The venue refused, or its answer was lost.
        """


class VenueListener(Protocol):
    """What the engine offers to a venue. Every call is synchronous, on the loop's thread."""

    def on_book(self, symbol: str, received_ns: int) -> None:
        """Say that a watched book changed, or its state did; read it for the newest content.

        Calls are coalesced per burst of frames. ``received_ns`` is `Clock.monotonic_ns` at the
        arrival of the frame.
        """

    def on_order(self, update: OrderUpdate) -> None:
        """Tell news of an order of this account, ours or foreign."""

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        """Tell the balances that changed."""

    def on_trade(self, trade: PublicTrade) -> None:
        """Tell a public trade."""

    def on_connection(self, is_up: bool, reason: str) -> None:
        """Say that the venue can, or can no longer, be reached and its reports trusted."""


class AccountBooks(Protocol):
    """What a venue says of an account when it is asked."""

    async def find_order(self, symbol: str, name: str) -> OrderUpdate | None:
        """Look an order up by our id or the venue's. None when the venue does not know it."""

    async def open_orders(self, symbol: str) -> list[OrderUpdate]:
        """Return every open order of this account on a market, ours and foreign."""

    async def order_history(self, symbol: str, since_ms: int) -> list[OrderUpdate]:
        """Return every order of this account that was made on a market since a time.

        Finished ones too, in no order; those of a time before may be among them.
        """

    async def executions(self, symbol: str, since_ms: int) -> list[Execution]:
        """Return the account's fills on a market since a time, oldest first."""

    async def holdings(self) -> list[Holding]:
        """Return every balance of the account."""


class Venue(AccountBooks, Protocol):
    """A place to trade: live, paper, simulated. Its books are the core's own."""

    @property
    def name(self) -> str:
        """``"live"``, ``"paper"`` or ``"simulated"``."""

    @property
    def markets(self) -> Mapping[str, "Market"]:
        """The watched markets by symbol (``BASE/QUOTE``); filled by `start`."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Frames by kind, reconnects, rejected frames by reason."""

    def book(self, symbol: str) -> "OrderBook":
        """Return the live book of a watched market."""

    async def start(self, symbols: Sequence[str], listener: VenueListener) -> None:
        """Connect, log in, watch the markets and the account; return when books are live.

        Raises
        ------
        nkfast.errors.VenueError
            The venue cannot be reached, refuses the key or does not know a symbol.
        """

    async def close(self) -> None:
        """Close every socket; orders stay as they are."""

    def submit(self, order: NewOrder) -> "Future[OrderUpdate]":
        """Send one order, before returning where the connection allows; never twice.

        The future ends with the venue's acceptance, or with `RejectedError` (certainly no
        order), `UnreachableError` with sent == "no", or `OutcomeUnknownError`.
        """

    def cancel(self, symbol: str, client_id: str, order_id: str) -> "Future[OrderUpdate]":
        """Ask to cancel; the future ends with the final state, or as `submit` does."""

    async def read_market(self, symbol: str) -> "Market":
        """Read a market's rules as they are now.

        Raises
        ------
        nkfast.errors.SymbolNotFoundError
            The venue does not know it any more.
        """

    async def read_book(self, symbol: str, depth: int) -> BookLevels | None:
        """Read a market's book beside the stream; None where there is nothing but the stream."""

    def resync(self, reason: str) -> None:
        """Give the connection up and make a new one, because what it told cannot be trusted.

        The listener hears of it as of any other loss of the connection.
        """


async def ask_each(
    ask: Callable[[_Question], Awaitable[_Answer]], questions: Iterable[_Question]
) -> Sequence[_Answer]:
    """Return the answers in order, or raise the first error when all have been heard.

    A venue's lists are the account's, not a market's: questions about several markets that are put
    at the same time share one reading, where one after the other would read the list for each.
    """
    answers = await asyncio.gather(*map(ask, questions), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]
