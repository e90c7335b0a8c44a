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

cimport cython
cimport numpy as cnp
from cpython.number cimport PyNumber_Index
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int32_t, int64_t

from decimal import ROUND_CEILING, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from math import gcd

import numpy as np

from nkfast.core.fixed cimport NK_E_UNKNOWN, NK_OK, nk_status
from nkfast.core.market cimport Market

from nkfast.errors import ConfigError, NumberOverflowError

cnp.import_array()

cdef extern from "numpy/arrayobject.h":
    # Takes the reference to the type.
    object PyArray_Empty(int dimensions, cnp.npy_intp *shape, cnp.dtype dtype, int is_fortran)

cdef extern from "Python.h":
    void *PyUnicode_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept

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

cdef dict MODES = {
    "arithmetic_pct": <int>ARITHMETIC,
    "absolute": <int>ABSOLUTE,
    "geometric": <int>GEOMETRIC,
    "geometric_inverse": <int>INVERSE,
}


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
    if name not in MODES:
        raise ConfigError(f"step_mode must be one of {', '.join(MODES)}, was {name!r}")
    return <Mode><int>MODES[name]


# coefficient, decimals: value is exactly coefficient / 10**decimals.
cdef tuple _parts(str name, object value):
    cdef str text
    cdef Py_ssize_t point
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    elif not isinstance(value, Decimal):
        raise TypeError(f"{name} must be Decimal or int, was {type(value).__name__}")
    text = str(value)
    if not value.is_finite() or value < 0:
        raise ConfigError(f"{name} must be finite and not negative, was {value}")
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
    if parts[0] == 0:
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


# The settings of a grid, prepared. A bot has the same ones, the very same objects, every time.
@cython.final
cdef class _Settings:
    cdef Market market
    cdef tuple given           # all arguments, as they came
    cdef Mode mode
    cdef tuple step            # parts
    cdef nk_grid_decimal narrow_step
    cdef bint is_narrow        # a line, of which narrow_step says the step
    cdef int64_t price_multiple
    cdef nk_grid_sizing sizing


cdef _Settings _last = None


cdef bint _are_same(tuple some, tuple others) noexcept:
    cdef Py_ssize_t i
    for i in range(len(some)):
        if some[i] is not others[i]:
            return False
    return True


cdef _Settings _settings(
    Market market, step, step_mode, base_quantity, min_notional, fee_buffer, tick_size, lot_size
):
    global _last
    cdef _Settings known = _last
    cdef tuple given = (
        market, step, step_mode, base_quantity, min_notional, fee_buffer, tick_size, lot_size
    )
    if known is not None and _are_same(known.given, given):
        return known
    known = _Settings.__new__(_Settings)
    known.market = market
    known.given = given
    known.mode = _mode(step_mode)
    known.step = _checked_step(known.mode, step)
    known.is_narrow = known.mode in (ARITHMETIC, ABSOLUTE) and _narrow(step, &known.narrow_step)
    known.price_multiple = _multiple("tick_size", tick_size, market.price_decimals)
    _fill_sizing(
        &known.sizing,
        market,
        _parts("base_quantity", base_quantity),
        _least_notional(market, min_notional),
        _parts("fee_buffer", fee_buffer),
        _multiple("lot_size", lot_size, market.quantity_decimals),
    )
    _last = known
    return known


# A Decimal of at most 18 digits and above zero; False for everything else.
cdef bint _narrow(object value, nk_grid_decimal *result) except -1:
    cdef str text
    cdef const unsigned char *byte
    cdef Py_ssize_t i
    cdef Py_ssize_t point = -1
    if type(value) is not Decimal:
        return False
    text = str(value)
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(text)
    if length > 18:
        return False
    byte = <const unsigned char *>PyUnicode_DATA(text)
    result.digits = 0
    for i in range(length):
        if 48 <= byte[i] <= 57:
            result.digits = 10 * result.digits + (byte[i] - 48)
        elif byte[i] == 46 and point < 0:  # a point
            point = i
        else:
            return False
    result.places = 0 if point < 0 else <int>(length - point - 1)
    return result.digits > 0


cdef int32_t _wide_line(
    _Settings known, _Rule rule, int sign, nk_grid_level *levels, int32_t count
) except -1:
    cdef nk_grid_line line
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
    return _write_line(known, &line, sign, levels, count)


cdef int32_t _curve(
    _Settings known, _Rule rule, int sign, nk_grid_level *levels, int32_t count
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
            &curve, &known.sizing, sign, known.price_multiple, levels, count, &written
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
    n_buy=3,
    n_sell=3,
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
    cdef _Settings known
    cdef nk_grid_decimal narrow_mid
    cdef bint is_narrow
    cdef cnp.npy_intp room
    cdef cnp.ndarray result
    cdef nk_grid_level *levels
    cdef int32_t written
    cdef int32_t buys = _count("n_buy", n_buy)
    cdef int32_t sells = _count("n_sell", n_sell)
    cdef bint is_ceil = price_rounding == "side"
    if not is_ceil and price_rounding != "down":
        raise ConfigError(f"price_rounding must be 'side' or 'down', was {price_rounding!r}")
    known = _settings(
        market, step, step_mode, base_quantity, min_notional, fee_buffer, tick_size, lot_size
    )
    is_narrow = known.is_narrow and _narrow(mid, &narrow_mid)
    if not is_narrow:
        _positive_parts("mid", mid)
    room = buys + sells
    Py_INCREF(LEVEL_DTYPE)
    result = PyArray_Empty(1, &room, <cnp.dtype>LEVEL_DTYPE, 0)
    levels = <nk_grid_level *>cnp.PyArray_DATA(result)
    written = _side(known, mid, is_narrow, narrow_mid, 1, False, levels, buys)
    written += _side(known, mid, is_narrow, narrow_mid, -1, is_ceil, &levels[written], sells)
    return result if written == room else result[:written]


cdef int32_t _count(str name, object value) except -1:
    cdef object count = PyNumber_Index(value)
    if not 0 <= count <= LEVELS_MAX:
        raise ConfigError(f"{name} must be 0..{LEVELS_MAX}, was {count}")
    return count


cdef int32_t _side(
    _Settings known,
    object mid,
    bint is_narrow,
    nk_grid_decimal narrow_mid,
    int sign,
    bint is_ceil,
    nk_grid_level *levels,
    int32_t count,
) except -1:
    cdef nk_grid_line line
    cdef _Rule rule
    cdef int decimals = known.market.price_decimals
    if count == 0:
        return 0
    if is_narrow and nk_grid_line_narrow(
        &line,
        narrow_mid,
        known.narrow_step,
        known.mode == ARITHMETIC,
        decimals,
        known.price_multiple,
        sign,
        is_ceil,
    ):
        return _write_line(known, &line, sign, levels, count)
    parts = _positive_parts("mid", mid)
    rule = _rule(known.mode, sign, parts, known.step, decimals, known.price_multiple)
    rule.is_ceil = is_ceil
    if rule.mode == ARITHMETIC or rule.mode == ABSOLUTE:
        return _wide_line(known, rule, sign, levels, count)
    return _curve(known, rule, sign, levels, count)


cdef int32_t _write_line(
    _Settings known, const nk_grid_line *line, int sign, nk_grid_level *levels, int32_t count
) except -1:
    cdef int32_t written
    if nk_grid_line_levels(
        line, &known.sizing, sign, known.price_multiple, levels, count, &written
    ) != NK_OK:
        raise NumberOverflowError("a level", "its price in ticks and its lots fit 64 bits")
    return written


cdef tuple _checked_step(Mode mode, object step):
    parts = _positive_parts("step", step)
    if mode == GEOMETRIC and step >= 1:
        raise ConfigError(f"a geometric step must be below 1, was {step}; 1 % is 0.01")
    if mode == INVERSE and step > STEP_MAX:
        raise ConfigError(f"a geometric step must be at most {STEP_MAX}, was {step}; 1 % is 0.01")
    return parts


cdef tuple _least_notional(Market market, object min_notional):
    if min_notional is None:
        return _parts("min_notional", market.min_notional)
    parts = _parts("min_notional", min_notional)
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
    multiple = _multiple("tick_size", tick_size, market.price_decimals)
    parts = _positive_parts("anchor", anchor)
    rule = _rule(mode, sign, parts, _checked_step(mode, step), market.price_decimals, multiple)
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
    _parts("fee_rate", fee_rate)
    _parts("fee_buffer", fee_buffer)
    kept = EXACT.subtract(EXACT.subtract(ONE, fee_rate), fee_buffer)
    if kept <= 0:
        raise ConfigError(f"a fee of {fee_rate} and a buffer of {fee_buffer} leave nothing")
    lost = EXACT.add(EXACT.multiply(2, fee_rate), fee_buffer)
    return DIVISION.divide(lost, kept)
