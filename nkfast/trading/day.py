"""What an instance did since midnight UTC. A restart changes nothing of it."""

from decimal import Decimal
from typing import TYPE_CHECKING

from nkfast.trading.exact import ZERO, add, multiply, plain, subtract

if TYPE_CHECKING:
    from nkfast.trading.journal import Journal
    from nkfast.trading.orders import Order
    from nkfast.venue.clock import Clock

__all__ = ["Day"]

_NS_PER_DAY = 86_400 * 10**9
_MS_PER_DAY = 86_400 * 1000
_KEPT_AS = "day"


class Day:
    """Counts a UTC day's orders and notional, and remembers where its equity began.

    Orders are counted from the journal's intents, so that they need no counter of their own; the
    baseline is kept in the journal when it is taken. A clock that steps back begins no new day.

    Parameters
    ----------
    journal, clock
        Where it is kept, and what day it is.

    Attributes
    ----------
    order_count : int
        Orders sent today.
    baseline : Decimal or None
        The equity that the day's loss is counted from; None until it is taken.
    """

    def __init__(self, journal: "Journal", clock: "Clock") -> None:
        self._journal = journal
        self._clock = clock
        self._number = self._today()
        self.baseline: Decimal | None = None
        self.order_count = 0
        self._notional: dict[str, Decimal] = {}
        kept = journal.kept(_KEPT_AS)
        if kept is not None and kept["day"] >= self._number:
            self._number = kept["day"]
            self.baseline = Decimal(kept["equity"])
        for order in journal.sent_since(self._number * _MS_PER_DAY):
            self.count(order.symbol.partition("/")[2], self._notional_of(order))

    def notional(self, quote: str) -> Decimal:
        """Return the notional of today's orders on the markets with a quote asset."""
        return self._notional.get(quote, ZERO)

    @property
    def is_over(self) -> bool:
        """Whether midnight has passed and nothing was counted since."""
        return self._clock.time_ns() >= (self._number + 1) * _NS_PER_DAY

    def roll(self) -> None:
        """Begin a new day if midnight has passed."""
        today = self._today()
        if today > self._number:
            self._number = today
            self.baseline = None
            self.order_count = 0
            self._notional.clear()

    def count(self, quote: str, notional: Decimal) -> None:
        """Count one order that is sent today."""
        self.order_count += 1
        self._notional[quote] = add(self.notional(quote), notional)

    def loss(self, equity: Decimal) -> Decimal:
        """Return by how much equity fell since the baseline; negative when it rose.

        The first call of a day takes the baseline and makes it durable.

        Raises
        ------
        nkfast.errors.JournalError
            It could not be made durable.
        """
        self.roll()
        if self.baseline is None:
            self._journal.keep(_KEPT_AS, {"day": self._number, "equity": plain(equity)})
            self.baseline = equity
        return subtract(self.baseline, equity)

    def _today(self) -> int:
        return self._clock.time_ns() // _NS_PER_DAY

    def _notional_of(self, order: "Order") -> Decimal:
        if order.price is not None:
            return multiply(order.price, order.quantity)
        known = self._journal.find_order(order.client_id)  # a market order costs what it traded at
        total = ZERO
        for fill in () if known is None else known.fills.values():
            total = add(total, multiply(fill.price, fill.quantity))
        return total
