from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, final

from nkfast.core.book import OrderBook
from nkfast.core.market import Market, Side

__all__ = ["CycleLeg", "CycleScanner", "Opportunity"]

class CycleLeg(NamedTuple):
    market_index: int
    side: Side
    ticks: int  # the worst price touched: the limit
    lots: int

class Opportunity(NamedTuple):
    asset: str  # of the amounts; where the cycle begins and ends
    legs: tuple[CycleLeg, ...]
    input_amount: Decimal  # exact, like all amounts
    output_amount: Decimal  # after every fee
    profit: Decimal
    ratio: Decimal  # profit / input_amount, rounded down at 28 digits

@final
class CycleScanner:
    def __new__(
        cls,
        markets: Sequence[Market],
        start_assets: Sequence[str],
        max_length: int = 3,  # or 4
        *,
        books: Sequence[OrderBook | None] | None = None,
        threshold: Decimal | int = ...,  # 0
        budgets: Mapping[str, Decimal | int] | None = None,
    ) -> CycleScanner: ...
    @property
    def markets(self) -> tuple[Market | None, ...]: ...  # None where one was removed
    @property
    def start_assets(self) -> tuple[str, ...]: ...
    @property
    def cycle_count(self) -> int: ...
    @property
    def threshold(self) -> Decimal: ...
    @threshold.setter
    def threshold(self, value: Decimal | int) -> None: ...
    def set_book(self, index: int, book: OrderBook | None) -> None: ...
    def set_budget(self, asset: str, amount: Decimal | int | None) -> None: ...
    def pause(self, index: int, *, buys: bool = True, sells: bool = True) -> None: ...
    def resume(self, index: int) -> None: ...
    def add_market(self, market: Market, book: OrderBook | None = None) -> int: ...
    def remove_market(self, index: int) -> None: ...
    # the best of the cycles through this market
    def update(self, index: int) -> Opportunity | None: ...
    # all that pay, highest ratio first; without refresh by the prices of the last updates
    def scan(self, *, refresh: bool = True) -> list[Opportunity]: ...
