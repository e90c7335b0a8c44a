from decimal import Decimal

import numpy as np
import numpy.typing as npt

from nkfast.core.market import Market

__all__ = ["ACCUMULATION_DTYPE", "accumulation_levels"]

ACCUMULATION_DTYPE: np.dtype[np.void]  # index i4, price_ticks i8, quantity_lots i8

# strategies.md 1.11: buys at growing distances and in growing quantities, nearest first
def accumulation_levels(
    market: Market,
    reference: Decimal | int,
    *,
    first_distance: Decimal | int,
    distance_growth: Decimal | int,
    first_quantity: Decimal | int,
    quantity_growth: Decimal | int = ...,  # 1
    count: int = 10,
    first_index: int = 1,
    spacing_factor: Decimal | int = ...,  # 1
    size_factor: Decimal | int = ...,  # 1
    max_quantity: Decimal | int | None = None,
    min_notional: Decimal | int | None = None,
    minimum_beats_maximum: bool = False,
) -> npt.NDArray[np.void]: ...
