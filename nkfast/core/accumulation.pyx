"""Buy levels whose distances and quantities grow: the ladder of an accumulation.

Level ``i = 1, 2, ...`` below a reference price::

    price(i)    = reference * (1 - first_distance * spacing_factor * distance_growth ** (i - 1))
    quantity(i) = first_quantity * size_factor * quantity_growth ** (i - 1), at most max_quantity

Both are exact decimal values, rounded down once to the tick and the lot. A ladder has a few dozen
levels and is made when one of them filled, so big integers do what `grid_levels` needs C for.
"""

from decimal import Decimal

import numpy as np

from nkfast.core.grid cimport _count, _least_notional, _parts, _positive_parts, _ten
from nkfast.core.market cimport Market

from nkfast.errors import ConfigError, NumberOverflowError

__all__ = ["ACCUMULATION_DTYPE", "accumulation_levels"]

ACCUMULATION_DTYPE = np.dtype(
    [("index", np.int32), ("price_ticks", np.int64), ("quantity_lots", np.int64)], align=True
)

cdef object INT64_MAX = 0x7FFFFFFFFFFFFFFF
cdef object ONE = Decimal(1)
#: The powers of the growth become integers of that many times its digits.
cdef int INDEX_MAX = 10_000
#: Orders at the very minimum have been refused: 1 % above it is the least (strategies: 1.11).
cdef object MIN_NOTIONAL_NUMERATOR = 101
cdef object MIN_NOTIONAL_DIVISOR = 100


# first * growth**n as a fraction; one step is one multiplication of each part.
cdef class _Power:
    cdef object numerator
    cdef object divisor
    cdef object growth
    cdef int places

    def __cinit__(self, tuple first, tuple factor, tuple growth, int exponent):
        self.growth = growth[0]
        self.places = growth[1]
        self.numerator = first[0] * factor[0] * growth[0] ** <object>exponent
        self.divisor = _ten(first[1]) * _ten(factor[1]) * _ten(growth[1]) ** <object>exponent

    cdef void step(self):
        self.numerator *= self.growth
        self.divisor *= _ten(self.places)


def accumulation_levels(
    Market market not None,
    reference,
    *,
    first_distance,
    distance_growth,
    first_quantity,
    quantity_growth=ONE,
    count=10,
    first_index=1,
    spacing_factor=ONE,
    size_factor=ONE,
    max_quantity=None,
    min_notional=None,
    bint minimum_beats_maximum=False,
):
    """Return the levels of a ladder, nearest first.

    Parameters
    ----------
    market : Market
        Says tick, lot and minimums.
    reference : Decimal or int
        Price in quote units that distances are measured from, above zero.
    first_distance, distance_growth : Decimal or int
        Distance of level 1 as a fraction of the reference, 0.005 is 0.5 %, and the ratio of two
        neighbours' distances.
    first_quantity, quantity_growth : Decimal or int
        Base units of level 1, and the ratio of two neighbours' quantities.
    count : int
        Levels wished.
    first_index : int
        Number of the first, at least 1; ``first_index + count`` is at most 10,001.
    spacing_factor, size_factor : Decimal or int
        What all distances and all quantities are multiplied by.
    max_quantity : Decimal or int or None
        Base units of one level; None sets no limit.
    min_notional : Decimal or int or None
        Quote units; the market's when None or less. A level below 1.01 times it is raised to that.
    minimum_beats_maximum : bool
        What becomes of a level that cannot keep both: it is left out (False), or exceeds
        ``max_quantity`` (True).

    Returns
    -------
    numpy.ndarray
        Structured, shape (<= count,): ``index`` i4, ``price_ticks`` i8, ``quantity_lots`` i8.
        It ends where a price or a quantity would be zero; levels left out leave a gap in
        ``index``.

    Raises
    ------
    ConfigError
        A number is negative, or zero where it may not be, or an index is out of range.
    NumberOverflowError
        A quantity leaves 64 bits.
    """
    cdef tuple wished = _positive_parts("reference", reference)
    cdef tuple least = _least_notional(market, min_notional)
    cdef tuple most = None if max_quantity is None else _positive_parts(
        "max_quantity", max_quantity
    )
    cdef int length = _count("count", count)
    cdef int start = _count("first_index", first_index)
    if start < 1 or start + length > INDEX_MAX + 1:
        raise ConfigError(
            f"indices must be 1..{INDEX_MAX}, were {start}..{start + length - 1}"
        )
    cdef _Power distance = _Power(
        _positive_parts("first_distance", first_distance),
        _positive_parts("spacing_factor", spacing_factor),
        _positive_parts("distance_growth", distance_growth),
        start - 1,
    )
    cdef _Power quantity = _Power(
        _positive_parts("first_quantity", first_quantity),
        _parts("size_factor", size_factor),
        _positive_parts("quantity_growth", quantity_growth),
        start - 1,
    )
    most_lots = None
    if most is not None:
        most_lots = most[0] * _ten(market.quantity_decimals) // _ten(most[1])
    unit = _ten(market.price_decimals) * _ten(market.quantity_decimals)
    # ticks * lots is enough when it is at least this, rounded up.
    enough = -(
        -least[0] * MIN_NOTIONAL_NUMERATOR * unit // (_ten(least[1]) * MIN_NOTIONAL_DIVISOR)
    )
    levels = []
    for index in range(start, start + length):
        ticks = (
            wished[0] * (distance.divisor - distance.numerator) * _ten(market.price_decimals)
        ) // (_ten(wished[1]) * distance.divisor)
        lots = quantity.numerator * _ten(market.quantity_decimals) // quantity.divisor
        distance.step()
        quantity.step()
        if most_lots is not None:
            lots = min(lots, most_lots)
        if ticks <= 0 or lots <= 0:
            break
        needed = max(-(-enough // ticks), market.min_lots)
        if lots < needed:
            if most_lots is not None and needed > most_lots and not minimum_beats_maximum:
                continue
            lots = needed
        if ticks > INT64_MAX or lots > INT64_MAX:
            raise NumberOverflowError("a level", "its price in ticks and its lots fit 64 bits")
        levels.append((index, ticks, lots))
    return np.array(levels, ACCUMULATION_DTYPE)
