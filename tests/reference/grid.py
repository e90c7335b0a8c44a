"""The slow obvious twin of `nkfast.core.grid`: fractions, one level after the other."""

from fractions import Fraction
from math import ceil, floor

INT64_MAX = 2**63 - 1


def level_price(mid: Fraction, step: Fraction, mode: str, sign: int, k: int) -> Fraction:
    """The true price of level `k`; sign is +1 for buys, which lie below."""
    if mode == "arithmetic_pct":
        return mid - sign * mid * step * k
    if mode == "absolute":
        return mid - sign * step * k
    if sign < 0:
        return mid * (1 + step) ** k
    return mid * (1 - step) ** k if mode == "geometric" else mid / (1 + step) ** k


def level_quantity(
    ticks: int,
    price_decimals: int,
    quantity_decimals: int,
    base: Fraction,
    min_quantity: Fraction,
    min_notional: Fraction,
    fee_buffer: Fraction,
    lot: Fraction,
) -> int:
    price = Fraction(ticks, 10**price_decimals)
    quantity = max(
        floor(base / lot) * lot,
        ceil(min_quantity / lot) * lot,
        ceil(min_notional * (1 + fee_buffer) / price / lot) * lot,
        lot,
    )
    return int(quantity * 10**quantity_decimals)


def grid_levels(
    *,
    price_decimals: int,
    quantity_decimals: int,
    mid: Fraction,
    step: Fraction,
    mode: str,
    n_buy: int,
    n_sell: int,
    base: Fraction,
    min_quantity: Fraction,
    min_notional: Fraction,
    fee_buffer: Fraction,
    rounds_down: bool,
    tick: Fraction,
    lot: Fraction,
) -> list[tuple[int, int, int]]:
    """(side, ticks, lots) of every level; OverflowError when one leaves 64 bits."""
    levels = []
    for sign, count in ((1, n_buy), (-1, n_sell)):
        prices: list[int] = []
        k = 0
        while len(prices) < count:
            k += 1
            steps = level_price(mid, step, mode, sign, k) / tick
            whole = floor(steps) if sign > 0 or rounds_down else ceil(steps)
            ticks = int(whole * tick * 10**price_decimals)
            if ticks <= 0 and sign > 0:
                break
            if ticks > INT64_MAX:
                raise OverflowError(ticks)
            if ticks > 0 and ticks not in prices:
                prices.append(ticks)
        for ticks in prices:
            lots = level_quantity(
                ticks,
                price_decimals,
                quantity_decimals,
                base,
                min_quantity,
                min_notional,
                fee_buffer,
                lot,
            )
            if lots > INT64_MAX:
                raise OverflowError(lots)
            levels.append((sign, ticks, lots))
    return levels
