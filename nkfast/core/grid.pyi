from decimal import Decimal
from typing import Literal

import numpy as np
import numpy.typing as npt

from nkfast.core.market import Market

__all__ = ["LEVEL_DTYPE", "grid_levels", "lattice_ticks", "min_step"]

LEVEL_DTYPE: np.dtype[np.void]  # side i1 (+1 buy, -1 sell), price_ticks i8, quantity_lots i8

# n_buy levels below and n_sell above `mid`, nearest first; buys floor, sells ceil to the tick
def grid_levels(
    market: Market,
    mid: Decimal | int,
    *,
    step: Decimal | int,
    step_mode: Literal[
        "arithmetic_pct", "geometric", "geometric_inverse", "absolute"
    ] = "arithmetic_pct",
    n_buy: int = 3,
    n_sell: int = 3,
    base_quantity: Decimal | int = ...,  # 1
    min_notional: Decimal | int | None = None,
    fee_buffer: Decimal | int = ...,  # 0.002
    price_rounding: Literal["side", "down"] = "side",
    tick_size: Decimal | int | None = None,
    lot_size: Decimal | int | None = None,
) -> npt.NDArray[np.void]: ...

# level `index` of the endless grid around `anchor`, negative ones below it
def lattice_ticks(
    market: Market,
    anchor: Decimal | int,
    index: int,
    *,
    step: Decimal | int,
    step_mode: Literal[
        "arithmetic_pct", "geometric", "geometric_inverse", "absolute"
    ] = "arithmetic_pct",
    rounding: Literal["floor", "ceil"] = "floor",
    tick_size: Decimal | int | None = None,
) -> int: ...

# strategies.md 0.4: (1 + fee) / (1 - fee - buffer) - 1, rounded up at 28 digits
def min_step(fee_rate: Decimal | int, fee_buffer: Decimal | int = ...) -> Decimal: ...
