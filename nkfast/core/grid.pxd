"""The grid kernel as compiled siblings see it."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

from nkfast.core.fixed cimport nk_status
from nkfast.core.market cimport Market


cdef extern from "nk_int128.h" nogil:
    ctypedef struct nk_uint128:
        uint64_t low
        uint64_t high


cdef extern from "nk_grid.h" nogil:
    ctypedef struct nk_grid_level:
        int8_t side
        int64_t price_ticks
        int64_t quantity_lots

    ctypedef struct nk_grid_sizing:
        nk_uint128 notional
        int64_t base_lots
        int64_t base_from_ticks
        int64_t lot_multiple

    ctypedef struct nk_grid_line:
        int64_t quotient
        nk_uint128 remainder
        int64_t step_quotient
        nk_uint128 step_remainder
        nk_uint128 divisor

    ctypedef struct nk_grid_curve:
        nk_uint128 value
        uint64_t error
        nk_uint128 ratio
        uint64_t dense_from
        int64_t price
        int64_t given
        int64_t index
        bint is_ceil

    ctypedef struct nk_grid_decimal:
        uint64_t digits
        int places

    bint nk_grid_line_narrow(
        nk_grid_line *line,
        nk_grid_decimal mid,
        nk_grid_decimal step,
        bint is_relative,
        int decimals,
        int64_t price_multiple,
        int sign,
        bint is_ceil,
    )
    nk_status nk_grid_line_levels(
        const nk_grid_line *line,
        const nk_grid_sizing *sizing,
        int sign,
        int64_t price_multiple,
        nk_grid_level *levels,
        int32_t count,
        int32_t *written,
    )
    nk_status nk_grid_curve_levels(
        nk_grid_curve *curve,
        const nk_grid_sizing *sizing,
        int sign,
        int64_t price_multiple,
        nk_grid_level *levels,
        int32_t count,
        int32_t *written,
    )


# Settings as exact integers, value = coefficient / 10**decimals: TypeError unless Decimal or int,
# ConfigError for what is negative (or zero), infinite or no number.
cdef tuple _parts(str name, object value)
cdef tuple _positive_parts(str name, object value)
# 10**n for n up to the digits that any setting may have.
cdef object _ten(int n)
cdef int32_t _count(str name, object value) except -1
# The larger of the market's minimum and the one wished, as _parts.
cdef tuple _least_notional(Market market, object min_notional)
