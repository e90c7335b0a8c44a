"""The matching kernel, and the class around it as compiled siblings see it."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from nkfast.core.fixed cimport nk_status
from nkfast.core.market cimport Market


cdef extern from "nk_int128.h" nogil:
    ctypedef struct nk_int128:
        uint64_t low
        int64_t high


cdef extern from "nk_match.h" nogil:
    enum:
        NK_MATCH_BUY
        NK_MATCH_SELL
        NK_MATCH_NONE
        NK_MATCH_ORDERS_MAX

    ctypedef struct nk_match_order:
        int64_t id
        int64_t lots
        int64_t owner
        int32_t level

    ctypedef struct nk_match_level:
        int64_t price_ticks
        int32_t sign

    ctypedef struct nk_match_side:
        int32_t level_count
        int32_t order_count

    ctypedef struct nk_match:
        nk_match_order *orders
        nk_match_level *levels
        nk_match_side sides[2]
        int32_t order_capacity
        int32_t order_count

    ctypedef struct nk_match_taker:
        int64_t id
        int64_t lots
        int64_t price_ticks
        int64_t owner
        int32_t sign

    ctypedef struct nk_match_fill:
        int64_t maker_id
        int64_t price_ticks
        int64_t lots
        int64_t maker_remaining
        int64_t taker_remaining

    ctypedef struct nk_match_plan:
        nk_match_fill *fills
        int32_t capacity
        int32_t count
        int64_t remaining
        bint is_self_trade

    ctypedef struct nk_match_row:
        int64_t price_ticks
        int64_t lots

    ctypedef struct nk_match_cost:
        int64_t lots
        nk_int128 ticks_lots
        int64_t worst_ticks

    void nk_match_init(nk_match *book, bint stops_self_trade)
    void nk_match_free(nk_match *book)
    nk_status nk_match_reserve(nk_match *book, int32_t order_capacity)
    nk_status nk_match_make_plan(
        const nk_match *book, const nk_match_taker *taker, nk_match_plan *plan
    )
    void nk_match_apply(nk_match *book, const nk_match_taker *taker, const nk_match_plan *plan)
    nk_status nk_match_cancel(nk_match *book, int64_t id, int64_t *lots)
    nk_status nk_match_reduce(nk_match *book, int64_t id, int64_t lots, int64_t *remaining)
    int32_t nk_match_find(const nk_match *book, int64_t id)
    int64_t nk_match_lots_ahead(const nk_match *book, int32_t slot)
    int32_t nk_match_first(const nk_match *book, int32_t sign)
    int32_t nk_match_next(const nk_match *book, int32_t slot)
    int32_t nk_match_depth(
        const nk_match *book, int32_t sign, nk_match_row *rows, int32_t capacity
    )
    int64_t nk_match_lots_at(const nk_match *book, int32_t sign, int64_t price_ticks)
    void nk_match_cost_to_fill(
        const nk_match *book, int32_t sign, int64_t lots, nk_match_cost *cost
    )


cdef class MatchingEngine:
    cdef readonly Market market
    cdef uint64_t stamp                # grows with every plan and every change
    cdef nk_match book                 # owns its memory
    cdef nk_match_plan plan            # owns plan.fills

    cdef int make_plan(self, const nk_match_taker *taker) except -1
    cdef int grow_fills(self, int32_t count) except -1
    cdef int32_t find(self, object order_id) except -1
    cdef object levels(self, int32_t sign, int64_t limit)
    cdef object best(self, int32_t sign)
