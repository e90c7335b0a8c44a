"""One market's rules, as compiled siblings see them."""

from libc.stdint cimport int64_t


cdef class Market:
    cdef readonly str symbol  # "BTC/USDT"
    cdef readonly str base
    cdef readonly str quote
    cdef readonly str market_id  # the venue's own, "" when unknown
    cdef readonly int price_decimals  # one tick is 10^-price_decimals of quote for one of base
    cdef readonly int quantity_decimals  # one lot is 10^-quantity_decimals of base
    cdef readonly object tick_size  # Decimal, as all below up to the flags
    cdef readonly object lot_size
    cdef readonly object min_quantity
    cdef readonly object min_notional
    cdef readonly object min_price  # or None
    cdef readonly object max_price  # or None
    cdef readonly object maker_fee
    cdef readonly object taker_fee
    cdef readonly bint is_active
    cdef readonly bint is_paused
    cdef readonly bint pause_buys
    cdef readonly bint pause_sells
    cdef readonly bint allow_market_orders
    cdef object notional_unit  # Decimal: tick_size * lot_size
    cdef int64_t min_lots  # least lots that satisfy min_quantity, at least 1
    cdef object min_notional_units  # int: least ticks * lots that satisfy min_notional
    cdef tuple fields  # all constructor arguments in order: identity, hash and pickle
    cdef Py_hash_t hash

    # Exact, never negative, or a FixedPointError.
    cdef int64_t ticks_of(self, object price) except -1
    cdef int64_t lots_of(self, object quantity) except -1
    # Any int64, also negative.
    cdef object price_of(self, int64_t ticks)
    cdef object quantity_of(self, int64_t lots)
    # Least lots that satisfy min_quantity and min_notional at this price; ticks must be positive.
    cdef int64_t min_order_lots(self, int64_t ticks) except -1


# +1 for "buy", -1 for "sell", ValueError for anything else.
cdef int side_sign(object side) except 0
