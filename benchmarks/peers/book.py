"""The order books one would take instead: a dict, a sorted dict, a compiled book.

Each takes levels as (Decimal price, Decimal quantity), quantity 0 removes, and answers `best` and
`depth(n)`. Sequence numbers and all-or-nothing changes, which nkfast's book has, are left out.
"""

from collections.abc import Iterable
from decimal import Decimal

import order_book
from sortedcontainers import SortedDict

__all__ = ["CompiledBook", "DictBook", "SortedBook"]

Level = tuple[Decimal, Decimal]


class DictBook:
    """Two dicts and `max`/`min`: what most scripts do."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}

    def update(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, quantity in levels:
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)

    def best(self) -> tuple[Level, Level]:
        bid, ask = max(self.bids), min(self.asks)
        return (bid, self.bids[bid]), (ask, self.asks[ask])

    def depth(self, n: int) -> tuple[list[Level], list[Level]]:
        return sorted(self.bids.items(), reverse=True)[:n], sorted(self.asks.items())[:n]


class SortedBook:
    """sortedcontainers: bids under their negated price, so that the best comes first."""

    def __init__(self) -> None:
        self.bids = SortedDict()
        self.asks = SortedDict()

    def update(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        side = self.bids
        for price, quantity in bids:
            if quantity:
                side[-price] = quantity
            else:
                side.pop(-price, None)
        side = self.asks
        for price, quantity in asks:
            if quantity:
                side[price] = quantity
            else:
                side.pop(price, None)

    def best(self) -> tuple[Level, Level]:
        price, quantity = self.bids.peekitem(0)
        return (-price, quantity), self.asks.peekitem(0)

    def depth(self, n: int) -> tuple[list[Level], list[Level]]:
        return [(-p, q) for p, q in self.bids.items()[:n]], list(self.asks.items()[:n])


class CompiledBook:
    """order-book from PyPI, written in C; keys are whatever compares, Decimal or int."""

    def __init__(self) -> None:
        self.book = order_book.OrderBook()

    def update(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        for side, levels in ((self.book.bids, bids), (self.book.asks, asks)):
            for price, quantity in levels:
                if quantity:
                    side[price] = quantity
                elif price in side:
                    del side[price]

    def best(self) -> tuple[Level, Level]:
        return self.book.bids.index(0), self.book.asks.index(0)

    def depth(self, n: int) -> tuple[list[Level], list[Level]]:
        # One by one: its to_list() makes a list of every level first.
        bids, asks = self.book.bids, self.book.asks
        return [bids.index(i) for i in range(n)], [asks.index(i) for i in range(n)]
