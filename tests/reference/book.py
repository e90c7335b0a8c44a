"""The order book as one would write it on an afternoon: two dicts, sorted when asked."""

from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal, localcontext

Level = tuple[int, int]


class ReferenceBook:
    def __init__(self, capacity: int = 65_536) -> None:
        self.capacity = capacity
        self.sides: dict[str, dict[int, int]] = {"buy": {}, "sell": {}}
        self.sequence = -1
        self.state = "empty"

    @property
    def bids(self) -> list[Level]:
        return sorted(self.sides["buy"].items(), reverse=True)

    @property
    def asks(self) -> list[Level]:
        return sorted(self.sides["sell"].items())

    def top(self) -> tuple[list[Level], list[Level]]:
        return self.bids[:1], self.asks[:1]

    def fits(self, bids: list[Level], asks: list[Level]) -> bool:
        return len(bids) <= self.capacity and len(asks) <= self.capacity

    def merged(self, side: str, levels: Iterable[Level]) -> dict[int, int]:
        result = dict(self.sides[side])
        for ticks, lots in levels:
            if lots:
                result[ticks] = lots
            else:
                result.pop(ticks, None)
        return result

    def snapshot(self, bids: list[Level], asks: list[Level], sequence: int) -> bool | None:
        """Whether the top changed; None when it does not fit."""
        if not self.fits(bids, asks):
            return None
        before = self.top()
        self.sides = {"buy": {}, "sell": {}}
        self.sides = {"buy": self.merged("buy", bids), "sell": self.merged("sell", asks)}
        self.sequence, self.state = sequence, "live"
        return self.top() != before

    def update(self, bids: list[Level], asks: list[Level], sequence: int) -> bool | None:
        """Whether the top changed; None when it does not fit."""
        assert self.state == "live" and sequence == self.sequence + 1
        after = {"buy": self.merged("buy", bids), "sell": self.merged("sell", asks)}
        if not self.fits(bids, asks) or max(map(len, after.values())) > self.capacity:
            return None
        before = self.top()
        self.sides, self.sequence = after, sequence
        return self.top() != before

    def cost_to_fill(self, side: str, lots: int) -> tuple[int, int, int]:
        filled = cost = worst = 0
        for ticks, size in self.asks if side == "buy" else self.bids:
            if filled == lots:
                break
            taken = min(size, lots - filled)
            filled, cost, worst = filled + taken, cost + taken * ticks, ticks
        return filled, cost, worst

    def quantity_for_notional(self, side: str, notional: Decimal, decimals: int) -> int:
        with localcontext(prec=200, rounding=ROUND_FLOOR):
            budget = int(notional * 10**decimals)
        lots = 0
        for ticks, size in self.asks if side == "buy" else self.bids:
            taken = min(size, budget // ticks)
            lots, budget = lots + taken, budget - taken * ticks
            if taken < size:
                break
        return min(lots, 2**63 - 1)
