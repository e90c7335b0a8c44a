"""What an instance may do at most."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from nkfast.errors import ConfigError

__all__ = ["RiskLimits"]

#: Live trading is refused without these.
_NEEDED_LIVE = (
    "max_order_notional",
    "max_open_orders",
    "max_position",
    "max_daily_loss",
    "max_orders_per_minute",
    "price_collar",
)


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """What an instance may do at most. None switches a limit off.

    Attributes
    ----------
    max_order_notional : Decimal or None
        Quote units of one order.
    max_open_orders : int or None
        Orders that may still trade, unanswered ones included.
    max_position : Decimal, mapping of str to Decimal, or None
        Units owned of an asset plus those that open orders may bring. One number is for the base
        asset of each market; a mapping names assets.
    max_daily_loss : Decimal or None
        Units of the quote asset by which equity may lie below where it was when the UTC day, or
        the first trading in it, began. Equity is what our own fills made of it, open positions
        valued at the mid; what was owned before does not count. Beyond it trading is halted.
    max_daily_orders : int or None
        Orders sent in a UTC day, over all starts.
    max_daily_notional : Decimal or None
        Quote units, by quote asset, of the orders sent in a UTC day, over all starts.
    max_orders_per_minute : int or None
        Orders sent within any 60 s.
    max_repeats_per_minute : int or None
        Orders with the same market, side, price and quantity sent within any 60 s.
    price_collar : Decimal or None
        Largest distance of a price from the book's mid, and from the last trade when one is
        known, as a fraction of either. Where a side of the book is empty one must be known.
    min_free_quote : Decimal or None
        Quote units that stay free whatever happens.
    max_unknown_orders : int
        Orders whose answer was lost, above which nothing new is sent.
    max_book_age_s : float or None
        Seconds since the book's last frame, above which it counts as stale.
    """

    max_order_notional: Decimal | None = None
    max_open_orders: int | None = 200
    max_position: Decimal | Mapping[str, Decimal] | None = None
    max_daily_loss: Decimal | None = None
    max_daily_orders: int | None = None
    max_daily_notional: Decimal | None = None
    max_orders_per_minute: int | None = 300
    max_repeats_per_minute: int | None = None
    price_collar: Decimal | None = Decimal("0.2")
    min_free_quote: Decimal | None = None
    max_unknown_orders: int = 3
    max_book_age_s: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Mapping):
                for asset, limit in value.items():
                    _check(f"{item.name}.{asset}", limit)
            elif value is not None:
                _check(item.name, value)

    def require_live(self) -> None:
        """Refuse to trade real money without the limits that bound what a mistake can cost.

        Raises
        ------
        nkfast.errors.ConfigError
            It names each limit that is missing.
        """
        missing = [name for name in _NEEDED_LIVE if getattr(self, name) is None]
        if missing:
            raise ConfigError(f"live mode needs {', '.join(missing)}; set each to a number", "risk")

    def position_of(self, asset: str, *, is_base: bool) -> Decimal | None:
        """Return the most that may be owned of an asset."""
        limit = self.max_position
        if isinstance(limit, Mapping):
            return limit.get(asset)
        return limit if is_base else None


def _check(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not is_number or not Decimal(value).is_finite() or value < 0:
        raise ConfigError(f"{name} is {value}; give a limit of at least 0", name)
