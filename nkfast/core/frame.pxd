"""The kernels that read frames, and the decoder that compiled clients feed directly."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from nkfast.core.book cimport OrderBook, cbool, nk_book, nk_change
from nkfast.core.fixed cimport nk_status
from nkfast.core.market cimport Market


cdef extern from "nk_frame.h":
    ctypedef enum nk_frame_kind:
        NK_FRAME_OTHER
        NK_FRAME_SNAPSHOT
        NK_FRAME_UPDATE
        NK_FRAME_TRADES
        NK_FRAME_TICKER
        NK_FRAME_UNKNOWN_MARKET
        NK_FRAME_REJECTED

    ctypedef enum nk_reject:
        NK_REJECT_NONE
        NK_REJECT_FULL
        NK_REJECT_COUNT

    ctypedef struct nk_listing:
        const char *symbol
        size_t symbol_length
        int32_t price_decimals
        int32_t quantity_decimals

    ctypedef struct nk_trade:
        int64_t price_ticks
        int64_t size_lots
        int64_t time_ms
        int32_t side
        uint32_t id_length
        char *id

    ctypedef struct nk_ticker:
        int64_t last_ticks
        int64_t bid_ticks
        int64_t ask_ticks
        int64_t high_ticks
        int64_t low_ticks
        int64_t volume_lots
        int64_t sequence
        int64_t time_ms

    ctypedef struct nk_frame:
        nk_frame_kind kind
        nk_reject reject
        int32_t market_index
        int64_t sequence
        uint64_t truncated
        nk_change change
        const nk_trade *trades
        size_t trade_count
        nk_ticker ticker

    ctypedef struct nk_scanner:
        size_t level_limit

    nk_status nk_scanner_init(
        nk_scanner *scanner,
        const nk_listing *listings,
        uint32_t listing_count,
        size_t level_limit,
        size_t frame_bytes_max,
    ) noexcept nogil
    void nk_scanner_free(nk_scanner *scanner) noexcept nogil
    void nk_frame_scan(
        nk_scanner *scanner, const char *text, size_t length, nk_frame *frame
    ) noexcept nogil
    void nk_frame_scan_thorough(
        nk_scanner *scanner, const char *text, size_t length, nk_frame *frame
    ) noexcept nogil


cdef extern from "nk_channel.h":
    ctypedef struct nk_channel_rules:
        uint32_t held_limit
        int64_t held_window_ns

    ctypedef struct nk_channel:
        nk_book *book

    ctypedef enum nk_fate:
        NK_FATE_APPLIED
        NK_FATE_OLD
        NK_FATE_HELD
        NK_FATE_GAP
        NK_FATE_STALE
        NK_FATE_FULL
        NK_FATE_NO_MEMORY

    void nk_channel_init(nk_channel *channel, nk_book *book, nk_channel_rules rules) noexcept nogil
    void nk_channel_free(nk_channel *channel) noexcept nogil
    nk_fate nk_channel_snapshot(
        nk_channel *channel,
        const nk_change *change,
        int64_t sequence,
        int64_t now_ns,
        cbool *top_changed,
    ) noexcept nogil
    nk_fate nk_channel_update(
        nk_channel *channel,
        const nk_change *change,
        int64_t sequence,
        int64_t now_ns,
        cbool *top_changed,
    ) noexcept nogil
    bint nk_channel_expire(nk_channel *channel, int64_t now_ns) noexcept nogil
    bint nk_channel_disconnect(nk_channel *channel) noexcept nogil


# The members of nkfast.core.frame.FrameKind, for compiled callers.
cdef enum FrameCode:
    FRAME_OTHER = 0
    FRAME_SNAPSHOT = 1
    FRAME_UPDATE = 2
    FRAME_DUPLICATE = 3
    FRAME_HELD = 4
    FRAME_GAP = 5
    FRAME_STALE = 6
    FRAME_TRADES = 7
    FRAME_TICKER = 8
    FRAME_UNKNOWN_MARKET = 9
    FRAME_REJECTED = 10
    FRAME_CODE_COUNT = 11


cdef class FrameEvent:
    cdef FrameCode code
    cdef int32_t market  # index, -1 where there is none
    cdef bint is_top_changed


cdef class FrameDecoder:
    cdef nk_scanner scanner  # owned
    cdef nk_frame frame  # what the last feed said; its trades are lent by the scanner
    cdef nk_listing *listings  # owned; the symbols are lent by `symbols`
    cdef nk_channel *channels  # owned; one for each market, the books lent by `books`
    cdef nk_ticker *tickers  # owned; one for each market
    cdef uint64_t code_counts[11]  # by FrameCode
    cdef uint64_t reject_counts[9]  # by nk_reject
    cdef uint64_t truncated_count
    cdef readonly tuple markets
    cdef list symbols  # bytes
    cdef list books
    cdef dict indices  # symbol -> index
    cdef list events  # made once for each code, market and top_changed, then handed out again
    cdef object seen_tickers  # set of indices with a ticker

    # Feed the `length` bytes at `text`, which are not needed afterwards.
    cdef FrameEvent feed_raw(self, const char *text, size_t length, int64_t now_ns)
    cdef FrameEvent event(self, FrameCode code, int32_t market, bint is_top_changed)
    cdef FrameCode apply(self, int64_t now_ns, bint *is_top_changed) except *
    cdef FrameCode apply_quiet(self) except *
    cdef int list_market(self, int32_t index, Market market) except -1
    cdef int start_scanner(self, size_t capacity, size_t frame_bytes_max) except -1
