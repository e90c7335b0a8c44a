"""What the instances that trade with one account share: their open orders, and a rate budget."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nkfast.trading.account_board import AccountBoard, BoardSeat
from nkfast.trading.orders import Order, OrderStore
from nkfast.venue.port import OrderUpdate, Side

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["AccountOrders", "Crossed", "RequestBudget"]


class RequestBudget(Protocol):
    """What the account may still send, over all its processes."""

    def take_order(self) -> float:
        """Take the place of an order; return the seconds until there is one, 0: it was taken."""

    def reserve_cancel(self) -> float:
        """Take the place of a cancel, which there always is; return in how many seconds."""

    def pause(self, seconds: float) -> None:
        """Let no order go for some seconds."""


class Crossed(NamedTuple):
    """An order of the account that another one would trade with."""

    price: Decimal
    owner: str  # "own", an instance of another process, or "other" for what only the venue tells


class _Foreign(NamedTuple):
    side: Side
    price: Decimal
    seen_ms: int


class AccountOrders:
    """What an order must not trade with: every open order of its own account.

    The instances of this process share one object for each account, and see each other's orders
    from the moment of their intents. So do those of other processes, by the board. Orders that a
    person placed, or a program that knows no board, are known from the venue's reports and lists,
    as long after they were placed as those take.

    Parameters
    ----------
    board : AccountBoard, optional
        The account's, where its money is real; without it other processes are not seen.
    budget : RequestBudget, optional
        The account's; without it orders are not counted over the processes.

    Attributes
    ----------
    budget : RequestBudget or None
    """

    def __init__(
        self, board: AccountBoard | None = None, budget: RequestBudget | None = None
    ) -> None:
        self.budget = budget
        self._board = board
        self._seats: dict[OrderStore, BoardSeat] = {}
        self._stores: dict[str, list[OrderStore]] = {}
        self._foreign: dict[str, dict[str, _Foreign]] = {}
        self._changes = 0  # of everything but the stores themselves

    def join(self, symbol: str, orders: OrderStore) -> None:
        """Take in the orders of an instance that trades a market."""
        self._stores.setdefault(symbol, []).append(orders)
        self._changes += 1

    def sit(
        self, markets: "Iterable[Market]", orders: OrderStore, name: str, identity: str
    ) -> None:
        """Let other processes see the orders of an instance, those that it takes up from now on.

        Parameters
        ----------
        markets : iterable of Market
            Those that it trades.
        orders : OrderStore
            Empty.
        name, identity : str
            As `AccountBoard.sit` has them.
        """
        if self._board is not None:
            seat = self._seats[orders] = self._board.sit(name, identity)
            for market in markets:
                seat.watch(market)
            orders.listen(_Publisher(seat, orders).note)

    def begin(self, orders: OrderStore) -> None:
        """Take note that an instance has taken up all orders that its earlier life left."""
        seat = self._seats.get(orders)
        if seat is not None:
            seat.begin()

    def leave(self, orders: OrderStore) -> None:
        """Forget the orders of an instance that ended."""
        for stores in self._stores.values():
            stores[:] = [store for store in stores if store is not orders]
        seat = self._seats.pop(orders, None)
        if seat is not None:
            seat.leave()
        self._changes += orders.version + 1  # so that no version comes twice

    def note(self, update: OrderUpdate, now_ms: int) -> None:
        """Take news of an order that the instance which was told of it did not make."""
        if any(store.get(update.client_id) for store in self._stores.get(update.symbol, ())):
            return
        self._changes += 1
        foreign = self._foreign.setdefault(update.symbol, {})
        if update.status.is_final or update.price is None:
            foreign.pop(update.order_id, None)
        else:
            foreign[update.order_id] = _Foreign(update.side, update.price, now_ms)

    def forget_unseen(self, symbol: str, since_ms: int) -> None:
        """Forget what a complete list, read since a time, did not show."""
        foreign = self._foreign.get(symbol)
        if foreign:
            self._changes += 1
            self._foreign[symbol] = {
                order_id: seen for order_id, seen in foreign.items() if seen.seen_ms >= since_ms
            }

    def version(self, symbol: str) -> int:
        """Return a number that grows with every change of what a market's orders must not meet.

        The board is not part of it: other processes change that, at any time.
        """
        version = self._changes
        for store in self._stores.get(symbol, ()):
            version += store.version
        return version

    def touch(self, symbol: str, side: Side) -> Decimal | None:
        """Return the price at which an order would begin to trade with one of the account.

        The board is not looked at.
        """
        prices = [price for other, price in self._own(symbol) if other != side]
        foreign = self._foreign.get(symbol, {}).values()
        prices += [order.price for order in foreign if order.side != side]
        if not prices:
            return None
        return min(prices) if side == "buy" else max(prices)

    def crossed_by(
        self, symbol: str, side: Side, price: Decimal, orders: OrderStore | None = None
    ) -> Crossed | None:
        """Return an open order that an order at this price would trade with.

        ``orders`` are those of the instance that asks; without them the board is not looked at.
        """
        for other_side, other_price in self._own(symbol):
            if _meet(side, price, other_side, other_price):
                return Crossed(other_price, "own")
        crossed = self.crossed_on_board(symbol, side, price, orders)
        if crossed is not None:
            return crossed
        for foreign in self._foreign.get(symbol, {}).values():
            if _meet(side, price, foreign.side, foreign.price):
                return Crossed(foreign.price, "other")
        return None

    def claim(self, symbol: str, side: Side, price: Decimal, orders: OrderStore) -> Crossed | None:
        """Let the instances of other processes see an order that is about to leave.

        Returns
        -------
        Crossed or None
            What one of them let be seen meanwhile: the order must not leave, and `withdraw` says
            that it does not.
        """
        seat = self._seats.get(orders)
        if seat is None:
            return None
        other = seat.claim(symbol, side, price)
        return None if other is None else Crossed(other.price, str(other))

    def withdraw(self, symbol: str, side: Side, orders: OrderStore) -> None:
        """Take back what was claimed for an order that does not leave."""
        seat = self._seats.get(orders)
        if seat is not None:
            _put_best(seat, orders, symbol, side)

    def crossed_on_board(
        self, symbol: str, side: Side, price: Decimal, orders: OrderStore | None
    ) -> Crossed | None:
        """Return an open order of another process that an order at this price would trade with."""
        seat = None if orders is None else self._seats.get(orders)
        if seat is None:
            return None
        other = seat.crossed_by(symbol, side, price)
        return None if other is None else Crossed(other.price, str(other))

    def _own(self, symbol: str) -> Iterator[tuple[Side, Decimal]]:
        for store in self._stores.get(symbol, ()):
            for order in store.open_orders:
                if order.symbol == symbol and order.price is not None:
                    if order.facts.final is None:
                        yield order.side, order.price


def _meet(side: Side, price: Decimal, other_side: Side, other_price: Decimal) -> bool:
    return other_side != side and (other_price <= price if side == "buy" else other_price >= price)


class _Publisher:
    """Keeps what others see of an instance's orders true."""

    def __init__(self, seat: BoardSeat, orders: OrderStore) -> None:
        self._seat = seat
        self._orders = orders

    def note(self, order: Order) -> None:
        if order.state.is_open:
            if order.price is not None:
                self._seat.widen(order.symbol, order.side, order.price)
        elif order.price is None or self._seat.is_best(order.symbol, order.side, order.price):
            _put_best(self._seat, self._orders, order.symbol, order.side)


def _put_best(seat: BoardSeat, orders: OrderStore, symbol: str, side: Side) -> None:
    prices = (
        order.price
        for order in orders.open_orders
        if order.symbol == symbol and order.side == side and order.price is not None
    )
    seat.put(symbol, side, (max if side == "buy" else min)(prices, default=None))
