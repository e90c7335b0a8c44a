"""How far one order may go before a limit has to be asked: the quick half of the risk checks.

Whoever knows all limits works out, while nothing is urgent, between which bounds a limit order of
one market and one side certainly breaks none. Between a frame and its order it is then only looked
whether the order stays within them. One that does not is not refused: the limits themselves are
asked.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from nkfast.core.book cimport (
    NK_BOOK_LIVE,
    OrderBook,
    nk_level,
    nk_side_best,
)
from nkfast.core.market cimport Market

from nkfast.errors import FixedPointError

__all__ = ["Headroom"]

cdef extern from "nk_base.h":
    ctypedef bint cbool "bool"

cdef extern from "nk_int128.h":
    ctypedef struct nk_uint128:
        uint64_t low
        uint64_t high

cdef extern from "nk_headroom.h":
    ctypedef struct nk_headroom:
        int64_t min_ticks
        int64_t max_ticks
        int64_t min_lots
        int64_t max_lots
        nk_uint128 min_units
        nk_uint128 max_units
        cbool has_collar
        uint64_t collar_numerator
        uint64_t collar_divisor
        int64_t trade_ticks

    ctypedef struct nk_touch:
        cbool has_bid
        cbool has_ask
        int64_t bid_ticks
        int64_t ask_ticks

    bint nk_headroom_admits(
        const nk_headroom *room, const nk_touch *touch, int64_t ticks, int64_t lots
    ) noexcept nogil

cdef int64_t INT64_MAX = 0x7FFFFFFFFFFFFFFF
cdef object UINT128_MAX = (1 << 128) - 1
cdef object UINT64_MASK = (1 << 64) - 1


# A bound beyond what an order can have is no bound.
cdef int64_t bound(object value) except -1:
    return INT64_MAX if value is None else max(0, min(value, INT64_MAX))


cdef nk_uint128 wide_bound(object value) except *:
    cdef nk_uint128 wide
    value = UINT128_MAX if value is None else max(0, min(value, UINT128_MAX))
    wide.low = value & UINT64_MASK
    wide.high = value >> 64
    return wide


@cython.final
cdef class Headroom:
    """Bounds within which a limit order breaks no limit, as of one moment.

    Parameters
    ----------
    book : OrderBook
        Of the market; looked at whenever an order is.
    market : Market
        The market's rules, on the grid that the book has; its least quantity and least notional are
        bounds, too.
    version : int
        Of what the bounds were worked out from; whoever asks compares it.
    min_ticks, max_ticks : int or None
        Of the price, both included; None is no bound, here and below.
    max_lots : int or None
        Of the quantity, included.
    max_units : int or None
        Of price times quantity, ticks times lots, included.
    collar : tuple of (int, int) or None
        Largest distance of the price from the book's mid, and from the last trade, as a fraction of
        either: numerator and divisor, below 2**64.
    last_trade : Decimal or None
        The price of the last trade.
    age_max_ns : int or None
        Nanoseconds since the book's last change, where it is known.

    Raises
    ------
    OverflowError
        The collar has more than 64 bits.
    ValueError
        The book lies on another grid than the market, or the collar has no divisor.

    Attributes
    ----------
    version : int
        As it was given.
    """

    cdef nk_headroom room
    cdef OrderBook book
    cdef Market market
    cdef int64_t age_max_ns  # -1 for any
    cdef bint is_open  # False while the last trade lies beside the grid
    cdef readonly object version

    def __cinit__(
        self,
        OrderBook book not None,
        Market market not None,
        version not None,
        *,
        min_ticks=None,
        max_ticks=None,
        max_lots=None,
        max_units=None,
        tuple collar=None,
        last_trade=None,
        age_max_ns=None,
    ):
        if (
            book.market.price_decimals != market.price_decimals
            or book.market.quantity_decimals != market.quantity_decimals
        ):
            raise ValueError(f"the book of {market.symbol} lies on another grid than its rules")
        self.book = book
        self.market = market
        self.version = version
        self.room.min_ticks = 1 if min_ticks is None else bound(min_ticks)
        self.room.max_ticks = bound(max_ticks)
        self.room.min_lots = market.min_lots
        self.room.max_lots = bound(max_lots)
        self.room.min_units = wide_bound(market.min_notional_units)
        self.room.max_units = wide_bound(max_units)
        self.room.has_collar = collar is not None
        if collar is not None:
            self.room.collar_numerator, self.room.collar_divisor = collar
            if self.room.collar_divisor == 0:
                raise ValueError(f"the collar {collar[0]}/0 is no fraction")
        self.age_max_ns = -1 if age_max_ns is None else bound(age_max_ns)
        self.is_open = True
        if last_trade is not None:
            self.note_trade(last_trade)

    def note_trade(self, price not None):
        """Take the price of a newer last trade; beside the grid, no order is admitted any more."""
        try:
            self.room.trade_ticks = self.market.ticks_of(price)
            self.is_open = self.room.trade_ticks > 0
        except FixedPointError:
            self.is_open = False

    def admits(self, price not None, quantity not None, int64_t now_ns):
        """Return whether an order at this price certainly breaks no limit.

        Parameters
        ----------
        price, quantity : Decimal
        now_ns : int
            On the clock of the book's `received_ns`.
        """
        cdef nk_touch touch
        cdef nk_level best
        cdef OrderBook book = self.book
        cdef int64_t ticks, lots
        if not self.is_open or book.book.state != NK_BOOK_LIVE:
            return False
        if self.age_max_ns >= 0 and book.received_at_ns != 0:
            if now_ns - book.received_at_ns > self.age_max_ns:
                return False
        try:
            ticks = self.market.ticks_of(price)
            lots = self.market.lots_of(quantity)
        except FixedPointError:
            return False
        touch.bid_ticks = touch.ask_ticks = 0
        touch.has_bid = nk_side_best(&book.book.bids, &best)
        if touch.has_bid:
            touch.bid_ticks = best.price_ticks
        touch.has_ask = nk_side_best(&book.book.asks, &best)
        if touch.has_ask:
            touch.ask_ticks = best.price_ticks
        return nk_headroom_admits(&self.room, &touch, ticks, lots)
