"""The open orders of one account, whoever made them, as far as this process knows."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from nkfast.trading.orders import OrderStore
from nkfast.venue.port import OrderUpdate, Side

__all__ = ["AccountOrders", "Crossed"]


class Crossed(NamedTuple):
    """An order of the account that another one would trade with."""

    price: Decimal
    owner: str  # "own", or "other" for another process's or a person's


class _Foreign(NamedTuple):
    side: Side
    price: Decimal
    seen_ms: int


class AccountOrders:
    """What an order must not trade with: every open order of its own account.

    The instances of this process share one object for each account, and see each other's orders
    from the moment of their intents. Orders of other processes, and those that a person placed,
    are known from the venue's reports and lists, as long after they were placed as those take.
    """

    def __init__(self) -> None:
        self._stores: dict[str, list[OrderStore]] = {}
        self._foreign: dict[str, dict[str, _Foreign]] = {}

    def join(self, symbol: str, orders: OrderStore) -> None:
        """Take in the orders of an instance that trades a market."""
        self._stores.setdefault(symbol, []).append(orders)

    def leave(self, orders: OrderStore) -> None:
        """Forget the orders of an instance that ended."""
        for stores in self._stores.values():
            stores[:] = [store for store in stores if store is not orders]

    def note(self, update: OrderUpdate, now_ms: int) -> None:
        """Take news of an order that the instance which was told of it did not make."""
        if any(store.get(update.client_id) for store in self._stores.get(update.symbol, ())):
            return
        foreign = self._foreign.setdefault(update.symbol, {})
        if update.status.is_final or update.price is None:
            foreign.pop(update.order_id, None)
        else:
            foreign[update.order_id] = _Foreign(update.side, update.price, now_ms)

    def forget_unseen(self, symbol: str, since_ms: int) -> None:
        """Forget what a complete list, read since a time, did not show."""
        foreign = self._foreign.get(symbol)
        if foreign:
            self._foreign[symbol] = {
                order_id: seen for order_id, seen in foreign.items() if seen.seen_ms >= since_ms
            }

    def crossed_by(self, symbol: str, side: Side, price: Decimal) -> Crossed | None:
        """Return an open order that an order at this price would trade with."""
        for other_side, other_price, owner in self._resting(symbol):
            if other_side != side and (
                other_price <= price if side == "buy" else other_price >= price
            ):
                return Crossed(other_price, owner)
        return None

    def _resting(self, symbol: str) -> Iterator[tuple[Side, Decimal, str]]:
        for store in self._stores.get(symbol, ()):
            for order in store.open_orders:
                if order.symbol == symbol and order.price is not None:
                    if order.facts.final is None:
                        yield order.side, order.price, "own"
        for foreign in self._foreign.get(symbol, {}).values():
            yield foreign.side, foreign.price, "other"
