"""How a grid is computed elsewhere: Decimal level by level, or numpy's binary floats."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np

__all__ = ["decimal_levels", "numpy_levels"]

Level = tuple[int, Decimal, Decimal]


def decimal_levels(
    mid: Decimal,
    step: Decimal,
    count: int,
    tick: Decimal,
    lot: Decimal,
    base: Decimal,
    min_notional: Decimal,
    buffer: Decimal,
) -> list[Level]:
    """One level after the other with the standard library, as the bots on this exchange do it."""
    levels: list[Level] = []
    wanted = (base / lot).to_integral_value(ROUND_FLOOR) * lot
    for sign, rounding in ((1, ROUND_FLOOR), (-1, ROUND_CEILING)):
        for k in range(1, count + 1):
            price = (mid * (1 - sign * step * k) / tick).to_integral_value(rounding) * tick
            least = (min_notional * (1 + buffer) / price / lot).to_integral_value(
                ROUND_CEILING
            ) * lot
            levels.append((sign, price, max(wanted, least)))
    return levels


def numpy_levels(
    mid: float,
    step: float,
    count: int,
    tick: float,
    lot: float,
    base: float,
    min_notional: float,
    buffer: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The whole grid in a few array operations; off by a tick where binary fractions are."""
    k = np.arange(1, count + 1)
    buys = np.floor(mid * (1 - step * k) / tick)
    sells = np.ceil(mid * (1 + step * k) / tick)
    ticks = np.concatenate((buys, sells))
    wanted = np.floor(base / lot)
    lots = np.maximum(wanted, np.ceil(min_notional * (1 + buffer) / (ticks * tick) / lot))
    return ticks.astype(np.int64), lots.astype(np.int64)
