"""What an infinity grid wants to rest at one price, and what answers it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nkfast.trading.exact import ZERO, plain, subtract
from nkfast.venue.port import Side

__all__ = ["Rung"]


@dataclass(slots=True)
class Rung:
    """An order that is wanted until it has filled.

    Of ``quantity``, ``executed`` has filled and ``answered`` of that has made ``back`` and ``top``,
    the numbers of other rungs. ``is_growing`` while more of what it answers may fill. ``received``
    is what a buy brought in all, net of fees in base. ``cost``, fees included, was paid for
    ``bought``, which a buy has not answered yet, or which a sell sells.
    """

    side: Side
    price: Decimal
    quantity: Decimal
    executed: Decimal = ZERO
    answered: Decimal = ZERO
    is_growing: bool = False
    back: int | None = None
    top: int | None = None
    received: Decimal = ZERO
    cost: Decimal = ZERO
    bought: Decimal = ZERO

    @property
    def rest(self) -> Decimal:
        """What has not filled."""
        return subtract(self.quantity, self.executed)

    @property
    def distance(self) -> Decimal:
        """Of two on one side the nearer one to the market has the smaller."""
        return self.price if self.side == "sell" else self.price.copy_negate()

    @property
    def is_full(self) -> bool:
        """Whether all of it has filled and no more will come."""
        return not self.is_growing and self.rest <= 0

    def as_json(self) -> list[Any]:
        """Return everything, in plain digits."""
        numbers = (
            *(self.price, self.quantity, self.executed, self.answered),
            *(self.received, self.cost, self.bought),
        )
        return [self.side, self.is_growing, self.back, self.top, *map(plain, numbers)]

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> "Rung":
        """Take back what `as_json` returned."""
        side, is_growing, back, top, *digits = row
        price, quantity, executed, answered, *paid = map(Decimal, digits)
        return cls(side, price, quantity, executed, answered, is_growing, back, top, *paid)
