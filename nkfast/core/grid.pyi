from decimal import Decimal
from typing import Literal

import numpy as np
import numpy.typing as npt

from nkfast.core.market import Market

LEVEL_DTYPE: np.dtype[np.void]  # side i1 (+1 buy, -1 sell), price_ticks i8, quantity_lots i8

# strategies.md 0.4: (1 + fee) / (1 - fee - buffer) - 1, rounded up at 28 digits
def min_step(fee_rate: Decimal, fee_buffer: Decimal = ...) -> Decimal: ...

# n_buy levels below and n_sell above `mid`, nearest first; buys floor, sells ceil to the tick
def grid_levels(
    market: Market,
    mid: Decimal,
    *,
    step: Decimal,
    step_mode: Literal["arithmetic_pct", "geometric", "absolute"] = "arithmetic_pct",
    n_buy: int = 3,
    n_sell: int = 3,
    base_quantity: Decimal = ...,
    min_notional: Decimal | None = None,
    fee_buffer: Decimal = ...,
    price_rounding: Literal["side", "down"] = "side",
) -> npt.NDArray[np.void]: ...
