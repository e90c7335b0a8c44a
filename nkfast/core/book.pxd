"""The kernel of order books, and the class that owns one."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from nkfast.core.fixed cimport nk_status
from nkfast.core.market cimport Market


cdef extern from "nk_base.h":
    ctypedef bint cbool "bool"


cdef extern from "nk_int128.h":
    ctypedef struct nk_int128:
        uint64_t low
        int64_t high


cdef extern from "nk_book.h":
    int NK_BOOK_LEVEL_LIMIT_MAX

    ctypedef struct nk_level:
        int64_t price_ticks
        int64_t size_lots

    ctypedef struct nk_entry:
        int64_t key
        int64_t size_lots

    ctypedef struct nk_side:
        uint32_t count
        uint32_t allocated

    ctypedef enum nk_book_state:
        NK_BOOK_EMPTY
        NK_BOOK_LIVE
        NK_BOOK_STALE

    ctypedef enum nk_turn:
        NK_TURN_NEXT
        NK_TURN_OLD
        NK_TURN_AHEAD
        NK_TURN_NOT_LIVE

    ctypedef struct nk_book:
        nk_side bids
        nk_side asks
        int64_t sequence
        uint64_t version
        uint32_t level_limit
        nk_book_state state

    ctypedef struct nk_change:
        const nk_level *bids
        const nk_level *asks
        size_t bid_count
        size_t ask_count

    ctypedef struct nk_walk:
        int64_t filled_lots
        int64_t worst_ticks
        nk_int128 cost

    void nk_book_init(nk_book *book, uint32_t level_limit) noexcept nogil
    void nk_book_free(nk_book *book) noexcept nogil
    void nk_book_clear(nk_book *book) noexcept nogil
    bint nk_book_mark_stale(nk_book *book) noexcept nogil
    nk_turn nk_book_turn(const nk_book *book, int64_t sequence) noexcept nogil
    nk_status nk_book_snapshot(
        nk_book *book, const nk_change *change, int64_t sequence, cbool *top_changed
    ) noexcept nogil
    nk_status nk_book_update(
        nk_book *book, const nk_change *change, int64_t sequence, cbool *top_changed
    ) noexcept nogil
    nk_status nk_book_copy_without(
        const nk_book *book, const nk_change *own, nk_book *copy
    ) noexcept nogil
    bint nk_book_is_crossed(const nk_book *book) noexcept nogil
    bint nk_side_best(const nk_side *side, nk_level *level) noexcept nogil
    int64_t nk_side_size_at(const nk_side *side, int64_t price_ticks) noexcept nogil
    size_t nk_side_depth(const nk_side *side, size_t limit, nk_level *levels) noexcept nogil
    nk_walk nk_side_take(const nk_side *side, int64_t lots) noexcept nogil
    int64_t nk_side_afford(const nk_side *side, nk_int128 budget) noexcept nogil


cdef class OrderBook:
    cdef nk_book book  # owned; compiled callers may change it through the kernel
    cdef int64_t received_at_ns  # receipt of the last change, on the feeder's clock; 0 unknown
    # The best levels as last handed out: most updates leave them as they were.
    cdef nk_level bid_level
    cdef nk_level ask_level
    cdef tuple bid_tuple
    cdef tuple ask_tuple
    cdef readonly Market market

    cdef object change(self, bint is_snapshot, bids, asks, sequence, int64_t now_ns)
    cdef bint is_next(self, int64_t sequence) except -1
    cdef const nk_side *opposite(self, object side) except NULL
