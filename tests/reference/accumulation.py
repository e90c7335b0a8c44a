"""The slow obvious twin of `nkfast.core.accumulation`: fractions, each level by itself."""

from fractions import Fraction
from math import ceil, floor


def accumulation_levels(
    *,
    tick: Fraction,
    lot: Fraction,
    reference: Fraction,
    distance: tuple[Fraction, Fraction],
    quantity: tuple[Fraction, Fraction],
    count: int,
    first_index: int,
    max_quantity: Fraction | None,
    min_quantity: Fraction,
    min_notional: Fraction,
    minimum_beats_maximum: bool,
) -> list[tuple[int, int, int]]:
    """(index, ticks, lots); distance and quantity are (of level 1, growth)."""
    levels = []
    for index in range(first_index, first_index + count):
        ticks = floor(reference * (1 - distance[0] * distance[1] ** (index - 1)) / tick)
        wished = quantity[0] * quantity[1] ** (index - 1)
        if max_quantity is not None:
            wished = min(wished, max_quantity)
        lots = floor(wished / lot)
        if ticks <= 0 or lots <= 0:
            return levels
        least = max(
            ceil(min_notional * Fraction("1.01") / (ticks * tick) / lot),
            ceil(min_quantity / lot),
            1,
        )
        if lots < least:
            lots = least
            is_above = max_quantity is not None and lots > floor(max_quantity / lot)
            if is_above and not minimum_beats_maximum:
                continue
        levels.append((index, ticks, lots))
    return levels
