"""Grid levels: prices by an arithmetic, geometric or absolute step, and the quantity of each.

Every price is the exact decimal value, rounded once to the tick; every quantity is the wished one
or, where that is too small, the least that satisfies the minimums. Levels are numbered from the
mid: below it at ``k = 1, 2, ...`` for buys, above it for sells.

================== ======================================== ==============================
step mode          buy k                                    sell k
================== ======================================== ==============================
arithmetic_pct     ``mid * (1 - step * k)``                 ``mid * (1 + step * k)``
absolute           ``mid - step * k``                       ``mid + step * k``
geometric          ``mid * (1 - step) ** k``                ``mid * (1 + step) ** k``
geometric_inverse  ``mid / (1 + step) ** k``                ``mid * (1 + step) ** k``
================== ======================================== ==============================
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int32_t

from decimal import ROUND_CEILING, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from math import gcd

import numpy as np

from nkfast.core.fixed cimport NK_E_UNKNOWN, NK_OK, nk_status
from nkfast.core.market cimport Market

from nkfast.errors import ConfigError, NumberOverflowError

__all__ = ["LEVEL_DTYPE", "grid_levels", "lattice_ticks", "min_step"]

LEVEL_DTYPE = np.dtype(
    [("side", np.int8), ("price_ticks", np.int64), ("quantity_lots", np.int64)], align=True
)

cdef object DIVISION = Context(
    prec=28, rounding=ROUND_CEILING, traps=[InvalidOperation, DivisionByZero, Overflow]
)
cdef object EXACT = Context(prec=200, traps=[InvalidOperation, DivisionByZero, Overflow])
cdef int LEVELS_MAX = 1_000_000  # of one side
cdef int DIGITS_MAX = 60         # of any number, before and after the point
cdef int STEP_MAX = 100          # of a geometric step: 10 000 %
cdef int RATIO_PLACES = 120      # of nk_grid_curve.ratio
cdef list TENS = [int("1" + "0" * n) for n in range(2 * DIGITS_MAX + 40)]
cdef object INT64_MAX = 0x7FFFFFFFFFFFFFFF
cdef object WORD = 0xFFFFFFFFFFFFFFFF
cdef object ZERO = Decimal(0)
cdef object ONE = Decimal(1)
cdef object DEFAULT_BUFFER = Decimal("0.002")

cdef enum Mode:
    ARITHMETIC
    ABSOLUTE
    GEOMETRIC
    INVERSE


# What the prices of one side are, in exact integers: level k is
#   (start + k * step) / divisor            of a line,
#   start * ratio_up**k / (divisor * ratio_down**k)    of a curve,
# in steps of `multiple` ticks.
cdef class _Rule:
    cdef Mode mode
    cdef object start
    cdef object step
    cdef object divisor
    cdef object ratio_up
    cdef object ratio_down
    cdef object multiple
    cdef bint is_ceil

    # The exact price of level k in steps.
    cdef object price(self, object k):
        if self.mode == ARITHMETIC or self.mode == ABSOLUTE:
            numerator, denominator = self.start + k * self.step, self.divisor
        else:
            numerator = self.start * self.ratio_up ** k
            denominator = self.divisor * self.ratio_down ** k
        return -(-numerator // denominator) if self.is_ceil else numerator // denominator


cdef Mode _mode(object name) except *:
    if name == "arithmetic_pct":
        return ARITHMETIC
    if name == "absolute":
        return ABSOLUTE
    if name == "geometric":
        return GEOMETRIC
    if name == "geometric_inverse":
        return INVERSE
    raise ConfigError(
        "step_mode must be 'arithmetic_pct', 'absolute', 'geometric' or 'geometric_inverse', "
        f"was {name!r}"
    )


# coefficient, decimals: value is exactly coefficient / 10**decimals.
cdef tuple _parts(str name, object value):
    cdef str text
    cdef Py_ssize_t point
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    elif not isinstance(value, Decimal):
        raise TypeError(f"{name} must be Decimal or int, was {type(value).__name__}")
    text = str(value)
    if not value.is_finite():
        raise ConfigError(f"{name} must be a finite number, was {value}")
    if "E" in text or "e" in text or len(text) > DIGITS_MAX:
        if value and (value.adjusted() > DIGITS_MAX or value.as_tuple().exponent < -DIGITS_MAX):
            raise NumberOverflowError(text[:64], f"{name}: {DIGITS_MAX} digits around the point")
        text = f"{value:f}"
    point = text.find(".")
    if point < 0:
        return int(text), 0
    return int(text[:point] + text[point + 1:]), len(text) - point - 1


cdef tuple _positive_parts(str name, object value):
    parts = _parts(name, value)
    if parts[0] <= 0:
        raise ConfigError(f"{name} must be above zero, was {value}")
    return parts


# Never `10 ** n` with a C integer n: Cython makes that a power of floats.
cdef object _ten(int n):
    return TENS[n]


# How many of the market's own units a coarser one has.
cdef object _multiple(str name, object size, int decimals):
    if size is None:
        return 1
    coefficient, places = _positive_parts(name, size)
    multiple, rest = divmod(coefficient * _ten(decimals), _ten(places))
    if rest or multiple > INT64_MAX:
        raise ConfigError(f"{name} must be a multiple of 1e-{decimals}, was {size}")
    return multiple


cdef _Rule _rule(Mode mode, int sign, tuple mid, tuple step, int decimals, object multiple):
    cdef _Rule rule = _Rule.__new__(_Rule)
    cdef object m = mid[0]
    cdef int mid_places = mid[1]
    cdef object s = step[0]
    cdef int step_places = step[1]
    cdef object unit = _ten(step_places)
    rule.mode = mode
    rule.multiple = multiple
    rule.is_ceil = False
    # mid is start / divisor ticks, and of both at least one is free of a common power of ten.
    if mid_places > decimals:
        rule.start = m
        rule.divisor = _ten(mid_places - decimals) * multiple
    else:
        rule.start = m * _ten(decimals - mid_places)
        rule.divisor = multiple
    if mode == ARITHMETIC:
        rule.step = -sign * rule.start * s
        rule.start = rule.start * unit
        rule.divisor = rule.divisor * unit
    elif mode == ABSOLUTE:
        rule.start = rule.start * unit
        rule.step = -sign * s * _ten(decimals) * (rule.divisor // multiple)
        rule.divisor = rule.divisor * unit
    elif sign < 0:
        rule.ratio_up, rule.ratio_down = unit + s, unit
    elif mode == GEOMETRIC:
        rule.ratio_up, rule.ratio_down = unit - s, unit
    else:
        rule.ratio_up, rule.ratio_down = unit, unit + s
    return rule


cdef nk_uint128 _wide(object value):
    cdef nk_uint128 result
    result.low = value & WORD
    result.high = value >> 64
    return result


cdef int _refuse_price(object price) except -1:
    raise NumberOverflowError(str(price)[:64], "prices in ticks fit 64 bits")


cdef int _fill_sizing(
    nk_grid_sizing *sizing, Market market, tuple base, tuple notional, tuple buffer, object multiple
) except -1:
    cdef object floor_lots = base[0] * _ten(market.quantity_decimals) // _ten(base[1])
    cdef object least_lots = -(-market.min_lots // multiple) * multiple
    cdef object base_lots = max(floor_lots // multiple * multiple, least_lots)
    # Of minimum * (1 + buffer) * 10**(price and quantity decimals), the ceiling: prices and lots
    # are whole, so a product that reaches one reaches the other.
    cdef int places = <int>notional[1] + <int>buffer[1]
    cdef object scale = _ten(market.price_decimals + market.quantity_decimals)
    cdef object wanted = notional[0] * (_ten(buffer[1]) + buffer[0]) * scale
    cdef object least = -(-wanted // _ten(places))
    if base_lots > INT64_MAX:
        raise NumberOverflowError(str(base_lots), "lots fit 64 bits")
    if least >> 127:
        raise NumberOverflowError(str(least)[:64], "a minimum in ticks times lots fits 127 bits")
    sizing.base_lots = base_lots
    sizing.lot_multiple = multiple
    sizing.notional = _wide(least)
    sizing.base_from_ticks = min(-(-least // base_lots), INT64_MAX)
    return 0


cdef int _line(
    _Rule rule, const nk_grid_sizing *sizing, int sign, nk_grid_level *levels, int32_t count
) except -1:
    cdef nk_grid_line line
    cdef int32_t written
    cdef object start = rule.start + (rule.divisor - 1 if rule.is_ceil else 0)
    cdef object step = rule.step
    cdef object divisor = rule.divisor
    if divisor >> 126:
        common = gcd(start, step, divisor)
        start, step, divisor = start // common, step // common, divisor // common
        if divisor >> 126:
            raise NumberOverflowError(str(divisor)[:64], "mid and step: 38 decimals together")
    quotient, remainder = divmod(start, divisor)
    step_quotient, step_remainder = divmod(step, divisor)
    if quotient > INT64_MAX // rule.multiple or step_quotient > INT64_MAX:
        _refuse_price(max(quotient, step_quotient) * rule.multiple)
    if step_quotient < -INT64_MAX:
        return 0  # the first buy would already be below zero
    line.quotient = quotient
    line.remainder = _wide(remainder)
    line.step_quotient = step_quotient
    line.step_remainder = _wide(step_remainder)
    line.divisor = _wide(divisor)
    if nk_grid_line_levels(
        &line, sizing, sign, rule.multiple, levels, count, &written
    ) != NK_OK:
        raise NumberOverflowError("a level", "its price in ticks and its lots fit 64 bits")
    return written


cdef int _curve(
    _Rule rule, const nk_grid_sizing *sizing, int sign, nk_grid_level *levels, int32_t count
) except -1:
    cdef nk_grid_curve curve
    cdef nk_status status
    cdef int32_t written = 0
    cdef object value = (rule.start << 64) // rule.divisor
    cdef object change = abs(rule.ratio_up - rule.ratio_down)
    if value >> 127:
        _refuse_price(value >> 64)
    curve.value = _wide(value)
    curve.error = 1
    curve.ratio = _wide((rule.ratio_up << RATIO_PLACES) // rule.ratio_down)
    curve.dense_from = min(rule.ratio_down // change, WORD)
    curve.price = -1
    curve.given = -1
    curve.is_ceil = rule.is_ceil
    curve.index = 0
    while True:
        status = nk_grid_curve_levels(
            &curve, sizing, sign, rule.multiple, levels, count, &written
        )
        if status == NK_OK:
            return written
        if status != NK_E_UNKNOWN:
            raise NumberOverflowError("a level", "its price in ticks and its lots fit 64 bits")
        price = rule.price(curve.index)
        if price > INT64_MAX:
            _refuse_price(price)
        curve.given = price


def grid_levels(
    Market market not None,
    mid,
    *,
    step,
    step_mode="arithmetic_pct",
    int32_t n_buy=3,
    int32_t n_sell=3,
    base_quantity=ONE,
    min_notional=None,
    fee_buffer=DEFAULT_BUFFER,
    price_rounding="side",
    tick_size=None,
    lot_size=None,
):
    """Levels below and above `mid`, each with its price in ticks and its quantity in lots.

    Levels that round to the same price become one and the next takes their place, so that
    `n_buy` and `n_sell` different prices come back. No level is at or below zero: where the next
    buy would be, there are fewer.

    Parameters
    ----------
    market : Market
        Gives tick, lot and minimums.
    mid : Decimal or int
        Reference price, above zero; need not lie on a tick.
    step : Decimal or int
        Distance of the levels, above zero: a fraction (0.01 is 1 %), in step mode ``absolute``
        quote units.
    step_mode : {"arithmetic_pct", "geometric", "geometric_inverse", "absolute"}
        See the table of the module.
    n_buy, n_sell : int
        Levels of each side, 0..1 000 000.
    base_quantity : Decimal or int
        Wished quantity of every level; floored to the lot, raised to `market.min_quantity`.
    min_notional : Decimal, int or None
        Least price times quantity; never less than the market's own, which is meant by None. A
        level that would be below it gets the least quantity on the lot that is not.
    fee_buffer : Decimal or int
        Fraction that is added to the minimum notional.
    price_rounding : {"side", "down"}
        "side": buys round down, sells up; "down": both down.
    tick_size, lot_size : Decimal, int or None
        Coarser ones than the market's, multiples of them.

    Returns
    -------
    numpy.ndarray
        Of `LEVEL_DTYPE`: ``side`` (+1 buy, -1 sell), ``price_ticks``, ``quantity_lots``; buys,
        then sells, each nearest first.

    Raises
    ------
    ConfigError
        An argument outside its range.
    NumberOverflowError
        A price or quantity that does not fit 64 bits.
    TypeError
        A float: money and steps are exact.
    """
    cdef nk_grid_sizing sizing
    cdef Py_buffer view
    cdef int32_t written
    cdef nk_grid_level *levels
    cdef Mode mode = _mode(step_mode)
    if not (0 <= n_buy <= LEVELS_MAX and 0 <= n_sell <= LEVELS_MAX):
        raise ConfigError(f"n_buy and n_sell must be 0..{LEVELS_MAX}, were {n_buy}, {n_sell}")
    if price_rounding != "side" and price_rounding != "down":
        raise ConfigError(f"price_rounding must be 'side' or 'down', was {price_rounding!r}")
    mid_parts = _positive_parts("mid", mid)
    step_parts = _checked_step(mode, step)
    tick_multiple = _multiple("tick_size", tick_size, market.price_decimals)
    lot_multiple = _multiple("lot_size", lot_size, market.quantity_decimals)
    _fill_sizing(
        &sizing,
        market,
        _whole_parts("base_quantity", base_quantity),
        _least_notional(market, min_notional),
        _whole_parts("fee_buffer", fee_buffer),
        lot_multiple,
    )
    cells = np.empty((n_buy + n_sell) * (sizeof(nk_grid_level) // 8), np.int64)
    PyObject_GetBuffer(cells, &view, PyBUF_SIMPLE)
    try:
        levels = <nk_grid_level *>view.buf
        written = _side(
            mode, 1, mid_parts, step_parts, market, tick_multiple, False, &sizing, levels, n_buy
        )
        written += _side(
            mode,
            -1,
            mid_parts,
            step_parts,
            market,
            tick_multiple,
            price_rounding == "side",
            &sizing,
            &levels[written],
            n_sell,
        )
    finally:
        PyBuffer_Release(&view)
    return cells.view(LEVEL_DTYPE)[:written]


cdef int _side(
    Mode mode,
    int sign,
    tuple mid,
    tuple step,
    Market market,
    object multiple,
    bint is_ceil,
    const nk_grid_sizing *sizing,
    nk_grid_level *levels,
    int32_t count,
) except -1:
    cdef _Rule rule = _rule(mode, sign, mid, step, market.price_decimals, multiple)
    rule.is_ceil = is_ceil
    if count == 0:
        return 0
    if mode == ARITHMETIC or mode == ABSOLUTE:
        return _line(rule, sizing, sign, levels, count)
    return _curve(rule, sizing, sign, levels, count)


cdef tuple _checked_step(Mode mode, object step):
    parts = _positive_parts("step", step)
    if mode == GEOMETRIC and step >= 1:
        raise ConfigError(f"a geometric step must be below 1, was {step}; 1 % is 0.01")
    if mode == INVERSE and step > STEP_MAX:
        raise ConfigError(f"a geometric step must be at most {STEP_MAX}, was {step}; 1 % is 0.01")
    return parts


cdef tuple _whole_parts(str name, object value):
    parts = _parts(name, value)
    if parts[0] < 0:
        raise ConfigError(f"{name} must not be negative, was {value}")
    return parts


cdef tuple _least_notional(Market market, object min_notional):
    if min_notional is None:
        return _parts("min_notional", market.min_notional)
    parts = _whole_parts("min_notional", min_notional)
    if min_notional < market.min_notional:
        return _parts("min_notional", market.min_notional)
    return parts


def lattice_ticks(
    Market market not None,
    anchor,
    index,
    *,
    step,
    step_mode="arithmetic_pct",
    str rounding not None="floor",
    tick_size=None,
):
    """Price of one level of the endless grid around `anchor`, the same for buys and sells.

    Parameters
    ----------
    index : int
        0 is the anchor, negative levels lie below it as buys do, positive ones above it.
    rounding : {"floor", "ceil"}
        To the tick.
    market, anchor, step, step_mode, tick_size
        As of `grid_levels`; `anchor` is its mid.

    Returns
    -------
    int
        Ticks, at least 1.

    Raises
    ------
    ConfigError
        An argument outside its range, or a level at or below zero.
    NumberOverflowError
        The price does not fit 64 bits.
    """
    cdef Mode mode = _mode(step_mode)
    cdef _Rule rule
    cdef int sign
    if rounding != "floor" and rounding != "ceil":
        raise ConfigError(f"rounding must be 'floor' or 'ceil', was {rounding!r}")
    index = PyNumber_Index(index)
    if abs(index) > LEVELS_MAX:
        raise ConfigError(f"index must be within {LEVELS_MAX} of 0, was {index}")
    sign = 1 if index < 0 else -1
    rule = _rule(
        mode,
        sign,
        _positive_parts("anchor", anchor),
        _checked_step(mode, step),
        market.price_decimals,
        _multiple("tick_size", tick_size, market.price_decimals),
    )
    rule.is_ceil = rounding == "ceil"
    ticks = rule.price(abs(index)) * rule.multiple
    if ticks <= 0:
        raise ConfigError(f"level {index} of step {step} below {anchor} is not above zero")
    if ticks > INT64_MAX:
        _refuse_price(ticks)
    return ticks


def min_step(fee_rate, fee_buffer=ZERO):
    """Least step, as a fraction, at which a round trip earns its fees: ``(1+f)/(1-f-b) - 1``.

    Parameters
    ----------
    fee_rate : Decimal
        Of one side, 0.002 is 0.2 %.
    fee_buffer : Decimal
        Further fraction taken off the sell.

    Returns
    -------
    Decimal
        Rounded up at 28 significant digits.

    Raises
    ------
    ConfigError
        Fee and buffer take everything, or one of them is negative.

    Examples
    --------
    >>> min_step(Decimal("0.002"), Decimal("0.0001"))
    Decimal('0.004108628119050005010522096404')
    """
    _whole_parts("fee_rate", fee_rate)
    _whole_parts("fee_buffer", fee_buffer)
    kept = EXACT.subtract(EXACT.subtract(ONE, fee_rate), fee_buffer)
    if kept <= 0:
        raise ConfigError(f"a fee of {fee_rate} and a buffer of {fee_buffer} leave nothing")
    lost = EXACT.add(EXACT.multiply(2, fee_rate), fee_buffer)
    return DIVISION.divide(lost, kept)
