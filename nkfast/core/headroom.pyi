from decimal import Decimal
from typing import final

from nkfast.core.book import OrderBook
from nkfast.core.market import Market

__all__ = ["Headroom"]

@final
class Headroom:
    version: int
    def __new__(
        cls,
        book: OrderBook,
        market: Market,
        version: int,
        *,
        min_ticks: int | None = None,
        max_ticks: int | None = None,
        max_lots: int | None = None,
        max_units: int | None = None,
        collar: tuple[int, int] | None = None,
        last_trade: Decimal | None = None,
        age_max_ns: int | None = None,
    ) -> Headroom: ...
    def note_trade(self, price: Decimal) -> None: ...
    def admits(self, price: Decimal, quantity: Decimal, now_ns: int) -> bool: ...
