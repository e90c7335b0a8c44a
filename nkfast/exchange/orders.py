"""Orders and trades of the simulated exchange."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from nkfast.exchange.accounts import Account
    from nkfast.exchange.markets import Listing

__all__ = ["AccountTrade", "Order", "OrderStatus", "OrderType", "Report", "Side", "Trade"]

Side = Literal["buy", "sell"]
OrderType = Literal["limit", "market"]


class OrderStatus(StrEnum):
    """The states of an order, spelled as the exchange spells them."""

    NEW = "New"
    ACTIVE = "Active"
    PARTLY_FILLED = "Partly Filled"
    FILLED = "Filled"
    CANCELLED = "Cancelled"


@dataclass(slots=True, eq=False)
class Order:
    """One order, from acceptance to its end.

    Prices are ticks and quantities lots of the order's market; ``ticks`` is None for a market
    order. ``lots == executed_lots + remaining_lots + cancelled_lots`` at all times.
    """

    number: int  # the matching engine's id
    id: str
    client_id: str
    account: "Account"
    listing: "Listing"
    side: Side
    type: OrderType
    ticks: int | None
    lots: int
    asset: str  # which it gives away: the quote of a buy, the base of a sell
    created_ms: int
    updated_ms: int
    remaining_lots: int = 0
    executed_lots: int = 0
    cancelled_lots: int = 0
    held: int = 0  # atoms of `asset` bound by it
    last_trade_ms: int = 0
    status: OrderStatus = OrderStatus.NEW

    @property
    def is_open(self) -> bool:
        """Whether it rests in the book."""
        return self.remaining_lots > 0

    def hold_for(self, lots: int) -> int:
        """Return the atoms of `asset` that so many lots bind at the order's own price."""
        listing = self.listing
        if self.side == "sell":
            return lots * listing.lot_atoms
        assert self.ticks is not None
        return self.ticks * lots * listing.buy_unit


class Trade(NamedTuple):
    """One fill between two orders, as the public sees it; ``side`` is the aggressor's."""

    id: str
    listing: "Listing"
    ticks: int
    lots: int
    side: Side
    time_ms: int


class AccountTrade(NamedTuple):
    """One order's share of a trade. ``fee`` is in atoms of the quote asset."""

    trade: Trade
    order: Order
    fee: int

    @property
    def side(self) -> Side:
        """The side of the account's own order."""
        return self.order.side


class Report(NamedTuple):
    """News of one order, with what was true of it at that moment."""

    order: Order
    kind: Literal["new", "trade", "cancelled"]
    status: OrderStatus
    executed_lots: int
    time_ms: int
    fill: AccountTrade | None = None
