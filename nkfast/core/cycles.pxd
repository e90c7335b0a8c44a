"""The kernel of cycles, and the class around it as compiled siblings see it."""

from libc.stdint cimport int32_t, int64_t

from nkfast.core.book cimport OrderBook, nk_book
from nkfast.core.fixed cimport nk_status
from nkfast.core.market cimport Market


cdef extern from "nk_base.h" nogil:
    ctypedef bint cbool "bool"


cdef extern from "nk_cycle.h" nogil:
    int NK_CYCLE_LENGTH_MIN
    int NK_CYCLE_LENGTH_MAX
    int NK_CYCLE_MARKETS_MAX

    ctypedef struct nk_cycle_market:
        const nk_book *book
        double sell_scale
        double buy_scale
        int32_t base
        int32_t quote
        bint is_listed
        bint can_sell
        bint can_buy

    ctypedef struct nk_cycle_table:
        int64_t count

    ctypedef struct nk_cycle:
        nk_cycle_market *markets
        nk_cycle_table tables[2]
        int32_t market_count
        int32_t max_length

    ctypedef struct nk_cycle_hit:
        double ratio
        int32_t length
        int32_t arcs[4]

    nk_status nk_cycle_build(
        nk_cycle *index,
        nk_cycle_market *markets,
        int32_t market_count,
        const cbool *is_start,
        int32_t asset_count,
        int32_t max_length,
    )
    void nk_cycle_free(nk_cycle *index)
    void nk_cycle_refresh(nk_cycle *index, int32_t market)
    int64_t nk_cycle_screen_market(
        const nk_cycle *index,
        int32_t market,
        double limit,
        nk_cycle_hit *hits,
        int64_t capacity,
    )
    int64_t nk_cycle_screen_all(
        const nk_cycle *index, double limit, nk_cycle_hit *hits, int64_t capacity
    )


cdef class CycleScanner:
    cdef nk_cycle index                # owned
    cdef nk_cycle_market *entries      # owned, entry_capacity of them
    cdef int32_t entry_capacity
    cdef nk_cycle_hit *hits            # owned, hit_capacity of them
    cdef int64_t hit_capacity
    cdef int64_t hit_count             # of the last screen
    cdef double limit                  # of the screen: 1 + threshold, lowered
    cdef int32_t max_length
    cdef int places                    # decimals of an amount while a cycle is walked
    cdef list members                  # _Member or None, by market index
    cdef tuple starts                  # names of the start assets
    cdef dict assets                   # name -> number in the kernel
    cdef dict budgets                  # start asset -> Decimal
    cdef object threshold_value        # Decimal
    cdef tuple least                   # 1 + threshold as (numerator, denominator)

    cdef int append(self, Market market, OrderBook book) except -1
    cdef int admit(self, int32_t i) except -1
    cdef int rebuild(self) except -1
    cdef int32_t checked(self, object index) except -1
    cdef int64_t screen(self, int32_t market) except -1
    cdef list candidates(self)
    cdef list verdicts(self, list arcs)
    cdef object source(self, int32_t arc)
    cdef object verdict(self, str asset, list arcs)
