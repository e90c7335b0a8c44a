"""Accounts: what each owns, what of it rests in orders, and the money paid as fees."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nkfast.exchange.money import text

if TYPE_CHECKING:
    from nkfast.exchange.orders import AccountTrade, Order

__all__ = ["HISTORY_MAX", "Account", "Holding"]

#: Finished orders, and trades, that an account remembers unless it is told otherwise.
HISTORY_MAX: Final = 20_000
#: A client id outlives its order: how many of them are remembered for each finished order.
_CLIENT_IDS_PER_ORDER: Final = 10


@dataclass(slots=True)
class Holding:
    """One asset of one account, in atoms (`nkfast.exchange.money`)."""

    available: int = 0  # free
    held: int = 0  # bound by resting orders
    pending: int = 0  # unconfirmed deposits and withdrawals; never tradable

    @property
    def total(self) -> int:
        """Everything owned."""
        return self.available + self.held + self.pending


@dataclass(slots=True, eq=False)
class Account:
    """One owner of money and orders.

    Parameters
    ----------
    number : int
        Position in the exchange; the owner that the matching engine sees.
    name : str
        For people; unique.
    keeps_history : bool
        Whether finished orders, trades and client ids are remembered.
    history_max : int
        How many finished orders, and how many trades; of client ids ten times as many.
    """

    number: int
    name: str
    keeps_history: bool = True
    history_max: int = HISTORY_MAX
    holdings: dict[str, Holding] = field(default_factory=dict)
    open_orders: dict[str, "Order"] = field(default_factory=dict)  # by exchange id, oldest first
    finished: "OrderedDict[str, Order]" = field(default_factory=OrderedDict)
    trades: "deque[AccountTrade]" = field(init=False)
    client_ids: OrderedDict[str, str] = field(default_factory=OrderedDict)  # to exchange ids
    deposited: dict[str, int] = field(default_factory=dict)  # what came from outside
    #: What balances are shown as where that is not what they are: a replica that lags.
    shown: dict[str, Holding] | None = None

    def __post_init__(self) -> None:
        self.trades = deque(maxlen=self.history_max)

    def holding(self, asset: str) -> Holding:
        """Return the holding of an asset, an empty one where nothing was ever owned."""
        found = self.holdings.get(asset)
        if found is None:
            found = self.holdings[asset] = Holding()
        return found

    def shown_holding(self, asset: str) -> Holding:
        """Return what the owner is told of an asset when asking."""
        holdings = self.holdings if self.shown is None else self.shown
        return holdings.get(asset) or Holding()

    def deposit(self, asset: str, amount: int) -> None:
        """Add money from outside."""
        if amount < 0:
            raise ValueError(f"cannot deposit {text(amount)} {asset}")
        self.holding(asset).available += amount
        self.deposited[asset] = self.deposited.get(asset, 0) + amount

    def hold(self, asset: str, amount: int) -> bool:
        """Bind free money for an order; False and nothing changed where it does not suffice."""
        holding = self.holding(asset)
        if amount > holding.available:
            return False
        holding.available -= amount
        holding.held += amount
        return True

    def release(self, asset: str, amount: int) -> None:
        """Free money that an order no longer needs."""
        holding = self.holdings[asset]
        assert 0 <= amount <= holding.held, f"{self.name}: {asset} {amount} of {holding}"
        holding.held -= amount
        holding.available += amount

    def spend(self, asset: str, amount: int) -> None:
        """Give away held money: it is somebody else's now."""
        holding = self.holdings[asset]
        assert 0 <= amount <= holding.held, f"{self.name}: {asset} {amount} of {holding}"
        holding.held -= amount

    def receive(self, asset: str, amount: int) -> None:
        """Take the proceeds of a fill."""
        assert amount >= 0
        self.holding(asset).available += amount

    def orders(self) -> "Iterator[Order]":
        """Every order remembered, open ones and finished ones, newest first."""
        everything = [*self.finished.values(), *self.open_orders.values()]
        everything.sort(key=lambda order: order.number, reverse=True)
        return iter(everything)

    def find(self, identifier: str) -> "Order | None":
        """Return the order with this exchange id or client id."""
        order_id = self.client_ids.get(identifier, identifier)
        return self.open_orders.get(order_id) or self.finished.get(order_id)

    def remember(self, order: "Order") -> None:
        """Enter an accepted order under both of its ids."""
        self.open_orders[order.id] = order
        if self.keeps_history and order.client_id:
            self.client_ids[order.client_id] = order.id
            if len(self.client_ids) > self.history_max * _CLIENT_IDS_PER_ORDER:
                self.client_ids.popitem(last=False)

    def finish(self, order: "Order") -> None:
        """Move an order from the open ones to the finished ones."""
        del self.open_orders[order.id]
        if self.keeps_history:
            self.finished[order.id] = order
            if len(self.finished) > self.history_max:
                self.finished.popitem(last=False)
