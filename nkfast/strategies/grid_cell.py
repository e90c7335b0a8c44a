"""What lies between two levels of a grid, and what its round trips earn."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nkfast.trading.exact import ZERO, add, multiply, plain, share, subtract
from nkfast.trading.strategy import Fill
from nkfast.venue.port import Side

__all__ = ["Cell"]


@dataclass(slots=True)
class Cell:
    """What lies between two levels.

    ``to_buy`` waits at the lower level, ``to_sell`` at the upper; a fill moves its quantity from
    one to the other, so that their sum stays. ``is_seed`` until the first fill.

    ``held`` was bought and not yet sold, or, below zero, sold and not yet bought back; ``cash`` is
    what that brought, net of fees. ``bid`` and ``ask`` are its prices where those are not its
    levels'.
    """

    to_buy: Decimal
    to_sell: Decimal
    is_seed: bool = True
    held: Decimal = ZERO
    cash: Decimal = ZERO
    bid: Decimal | None = None
    ask: Decimal | None = None

    def take(self, fill: Fill, fee: Decimal) -> Decimal:
        """Move what was filled to the other side; return what that has earned, net of fees."""
        quantity = fill.quantity
        if fill.side == "buy":
            self.to_buy = max(subtract(self.to_buy, quantity), ZERO)
            self.to_sell = add(self.to_sell, quantity)
            signed = quantity
        else:
            self.to_sell = max(subtract(self.to_sell, quantity), ZERO)
            self.to_buy = add(self.to_buy, quantity)
            signed = quantity.copy_negate()
        self.is_seed = False
        brought = subtract(multiply(fill.price, signed).copy_negate(), fee)
        # What closes a round trip earns; what opens one, or makes it larger, waits.
        is_opposite = bool(self.held) and (self.held > 0) is not (signed > 0)
        closing = min(quantity, self.held.copy_abs()) if is_opposite else ZERO
        opened = share(self.cash, closing, self.held.copy_abs()) if closing else ZERO
        closed = share(brought, closing, quantity)
        self.cash = add(subtract(self.cash, opened), subtract(brought, closed))
        self.held = add(self.held, signed)
        return add(opened, closed)

    def waits(self, side: Side) -> bool:
        """Whether an order of a side is wanted."""
        return bool(self.to_buy if side == "buy" else self.to_sell)

    def is_open(self, side: Side) -> bool:
        """Whether what fills on a side have made is not closed by the other side yet."""
        return self.held > 0 if side == "buy" else self.held < 0

    def as_json(self) -> list[Any]:
        """Return everything, in plain digits."""
        return [
            plain(self.to_buy),
            plain(self.to_sell),
            self.is_seed,
            plain(self.held),
            plain(self.cash),
            None if self.bid is None else plain(self.bid),
            None if self.ask is None else plain(self.ask),
        ]

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> "Cell":
        """Take back what `as_json` returned."""
        to_buy, to_sell, is_seed, held, cash, bid, ask = row
        return cls(
            Decimal(to_buy),
            Decimal(to_sell),
            is_seed,
            Decimal(held),
            Decimal(cash),
            None if bid is None else Decimal(bid),
            None if ask is None else Decimal(ask),
        )
