"""The slow obvious twin of `nkfast.core.cycles`: permutations of markets, fractions, every size."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import permutations

Arc = tuple[int, str]  # market index, side
Level = tuple[int, int]  # ticks, lots


def all_cycles(pairs: Sequence[tuple[str, str]], starts: set[str], length: int) -> set[frozenset]:
    """Directed cycles of distinct assets through a start asset, each as a set of arcs."""
    cycles = set()
    for chosen in permutations(range(len(pairs)), length):
        for first in ("sell", "buy"):
            base, quote = pairs[chosen[0]]
            origin, here = (base, quote) if first == "sell" else (quote, base)
            arcs: list[Arc] = [(chosen[0], first)]
            visited = [origin]
            for index in chosen[1:]:
                visited.append(here)
                if here == pairs[index][0]:
                    arcs.append((index, "sell"))
                    here = pairs[index][1]
                elif here == pairs[index][1]:
                    arcs.append((index, "buy"))
                    here = pairs[index][0]
                else:
                    break
            if len(arcs) == length and here == origin and len(set(visited)) == length:
                if starts & set(visited):
                    cycles.add(frozenset(arcs))
    return cycles


def walk(levels: Sequence[Level], lots: int) -> int | None:
    """Ticks * lots of taking so many lots; None when the levels do not hold them."""
    cost = 0
    for ticks, size in levels:
        taken = min(size, lots)
        cost += taken * ticks
        lots -= taken
    return cost if lots == 0 else None


class Leg:
    """One trade: what it needs and what it brings, as exact fractions."""

    def __init__(
        self, side: str, levels: Sequence[Level], tick: Fraction, lot: Fraction, fee: Fraction
    ) -> None:
        self.side, self.levels, self.tick, self.lot, self.fee = side, levels, tick, lot, fee

    def needs(self, lots: int) -> Fraction:
        if self.side == "sell":
            return lots * self.lot
        return walk(self.levels, lots) * self.tick * self.lot * (1 + self.fee)

    def brings(self, lots: int) -> Fraction:
        if self.side == "buy":
            return lots * self.lot
        return walk(self.levels, lots) * self.tick * self.lot * (1 - self.fee)

    def affordable(self, amount: Fraction) -> int:
        """Most lots that the amount and the levels allow."""
        total = sum(size for _, size in self.levels)
        return bisect_right(range(1, total + 1), amount, key=self.needs)


def every_size(legs: Sequence[Leg]) -> Iterator[tuple[Fraction, Fraction]]:
    """(input, output) of the cycle for every quantity of its first leg."""
    lots = 1
    while walk(legs[0].levels, lots) is not None:
        amount = legs[0].brings(lots)
        for leg in legs[1:]:
            amount = leg.brings(leg.affordable(amount))
        yield legs[0].needs(lots), amount
        lots += 1
