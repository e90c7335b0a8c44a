"""Market data of the WebSocket, from received bytes straight into order books.

A frame is read in place and checked completely before a book is touched; nothing is made in Python
on the way. What is not market data is left alone: `FrameKind.OTHER`.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_GET_SIZE,
)
from cpython.list cimport PyList_GET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint32_t

from enum import IntEnum
from typing import NamedTuple

from nkfast.core.book cimport NK_BOOK_LEVEL_LIMIT_MAX, OrderBook, cbool
from nkfast.core.fixed cimport NK_E_EXISTS, NK_OK, integer_of
from nkfast.core.market cimport Market


class FrameKind(IntEnum):
    """What a frame was, and what became of it."""

    OTHER = FRAME_OTHER
    SNAPSHOT = FRAME_SNAPSHOT
    UPDATE = FRAME_UPDATE
    DUPLICATE = FRAME_DUPLICATE
    HELD = FRAME_HELD
    GAP = FRAME_GAP
    STALE = FRAME_STALE
    TRADES = FRAME_TRADES
    TICKER = FRAME_TICKER
    UNKNOWN_MARKET = FRAME_UNKNOWN_MARKET
    REJECTED = FRAME_REJECTED


cdef tuple KINDS = tuple(FrameKind)
# By nk_reject; NK_REJECT_NONE has no name.
cdef tuple REASONS = (
    None, "too_large", "json", "depth", "shape", "sequence", "price", "quantity", "full"
)


class FeedTrade(NamedTuple):
    """One public trade: the venue's id, price, quantity, aggressor's side, time."""

    trade_id: str
    ticks: int
    lots: int
    side: str
    time_ms: int | None


class FeedTicker(NamedTuple):
    """The venue's own summary of a market; None where it said nothing."""

    last_ticks: int | None
    bid_ticks: int | None
    ask_ticks: int | None
    high_ticks: int | None
    low_ticks: int | None
    volume_lots: int | None
    sequence: int | None
    time_ms: int | None


@cython.final
cdef class FrameEvent:
    """What one frame did. Immutable and shared: equal events are often the same object."""

    def __init__(self):
        raise TypeError("a FrameEvent comes from FrameDecoder.feed")

    @property
    def kind(self):
        """The `FrameKind`."""
        return KINDS[<int>self.code]

    @property
    def market_index(self):
        """Index into `FrameDecoder.markets`; -1 where the frame names none of them."""
        return self.market

    @property
    def top_changed(self):
        """Whether the best bid or the best ask of the market is another one now."""
        return bool(self.is_top_changed)

    def __repr__(self):
        return (
            f"<FrameEvent {self.kind.name} market_index={self.market}"
            f" top_changed={bool(self.is_top_changed)}>"
        )

    def __reduce__(self):
        raise TypeError("a FrameEvent cannot be pickled: its index belongs to one decoder")


cdef object none_below_zero(int64_t value):
    return None if value < 0 else value


@cython.final
cdef class FrameDecoder:
    """Decode market-data frames of many markets into their order books.

    Parameters
    ----------
    markets : sequence of Market
        The markets to follow, each symbol once.
    reorder_limit : int
        Updates of one market kept ahead of their turn before a gap is declared, at least 0.
    reorder_window_ns : int
        How long such an update may wait, at least 0.
    capacity : int
        Most levels on one side of a book, and in one frame.
    max_frame_bytes : int
        Longer frames are rejected unread.

    Notes
    -----
    A rejected frame leaves every book as it was and is counted with its reason in `counters`:
    ``too_large``, ``json``, ``depth``, ``shape`` (a field is missing or has a wrong type),
    ``sequence``, ``price`` (not positive, or not on the market's ticks), ``quantity``, ``full``
    (too many levels or trades). Quantities with more digits than the market has are cut toward
    zero and counted as ``quantities_truncated``.

    Updates that come while a book is not live are kept for the snapshot to come, as many as
    `reorder_limit`: the snapshot may be older than they are. After more than 100 old updates in a
    row the venue has begun to count anew, which is a gap.
    """

    def __cinit__(
        self,
        markets not None,
        *,
        reorder_limit=50,
        reorder_window_ns=2_000_000_000,
        capacity=65_536,
        max_frame_bytes=16_777_216,
    ):
        cdef nk_channel_rules rules
        cdef OrderBook book
        self.markets = tuple(markets)
        check_range("reorder_limit", reorder_limit, 0, 1_000_000)
        check_range("reorder_window_ns", reorder_window_ns, 0, (<int64_t>1) << 62)
        check_range("capacity", capacity, 1, NK_BOOK_LEVEL_LIMIT_MAX)
        check_range("max_frame_bytes", max_frame_bytes, 1, (<int64_t>1) << 40)
        self.symbols = []
        self.books = []
        self.indices = {}
        self.seen_tickers = set()
        self.events = [None] * ((len(self.markets) + 1) * FRAME_CODE_COUNT * 2)
        rules.held_limit = <uint32_t>reorder_limit
        rules.held_window_ns = reorder_window_ns
        self.listings = <nk_listing *>PyMem_Calloc(len(self.markets) + 1, sizeof(nk_listing))
        self.channels = <nk_channel *>PyMem_Calloc(len(self.markets) + 1, sizeof(nk_channel))
        self.tickers = <nk_ticker *>PyMem_Calloc(len(self.markets) + 1, sizeof(nk_ticker))
        if self.listings == NULL or self.channels == NULL or self.tickers == NULL:
            raise MemoryError(f"no memory for {len(self.markets)} markets")
        for index, market in enumerate(self.markets):
            if not isinstance(market, Market):
                raise TypeError(f"markets must be Market, was {type(market).__name__}")
            book = OrderBook(market, capacity)
            self.books.append(book)
            self.list_market(index, market)
            nk_channel_init(&self.channels[<int32_t>index], &book.book, rules)
        self.start_scanner(<size_t>capacity, <size_t>max_frame_bytes)

    cdef int list_market(self, int32_t index, Market market) except -1:
        cdef bytes symbol = market.symbol.encode()
        self.symbols.append(symbol)
        self.indices[market.symbol] = index
        self.listings[index].symbol = PyBytes_AS_STRING(symbol)
        self.listings[index].symbol_length = <size_t>len(symbol)
        self.listings[index].price_decimals = market.price_decimals
        self.listings[index].quantity_decimals = market.quantity_decimals
        return 0

    cdef int start_scanner(self, size_t capacity, size_t frame_bytes_max) except -1:
        cdef nk_status status = nk_scanner_init(
            &self.scanner, self.listings, <uint32_t>len(self.markets), capacity, frame_bytes_max
        )
        if status == NK_E_EXISTS:
            raise ValueError(f"a symbol is listed twice among {sorted(map(str, self.symbols))}")
        if status != NK_OK:
            raise MemoryError(f"no memory to read {capacity} levels")
        return 0

    def __dealloc__(self):
        cdef int32_t index
        # Channels exist as far as books do: the constructor may have failed half way.
        if self.channels != NULL and self.books is not None:
            for index in range(<int32_t>len(self.books)):
                nk_channel_free(&self.channels[index])
        nk_scanner_free(&self.scanner)
        PyMem_Free(self.listings)
        PyMem_Free(self.channels)
        PyMem_Free(self.tickers)

    def book(self, str symbol not None):
        """Return the order book of a market; KeyError for a symbol that is not followed."""
        return self.books[self.indices[symbol]]

    def index(self, str symbol not None):
        """Return the index of a market in `markets`; KeyError when it is not followed."""
        return self.indices[symbol]

    def feed(self, buffer not None, now_ns=0):
        """Read one complete frame and act on it.

        Parameters
        ----------
        buffer : bytes-like
            The payload of a text frame, contiguous; not needed after the call.
        now_ns : int
            Time of receipt on any steady clock. Left at 0, waiting updates never grow too old.

        Returns
        -------
        FrameEvent
            What the frame was and did. No content, however malformed, raises.
        """
        cdef Py_buffer view
        cdef int64_t time_ns = integer_of(now_ns)
        if PyBytes_CheckExact(buffer):
            return self.feed_raw(PyBytes_AS_STRING(buffer), PyBytes_GET_SIZE(buffer), time_ns)
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            return self.feed_raw(<const char *>view.buf, <size_t>view.len, time_ns)
        finally:
            PyBuffer_Release(&view)

    cdef FrameEvent feed_raw(self, const char *text, size_t length, int64_t now_ns):
        cdef bint is_top_changed = False
        cdef FrameCode code
        nk_frame_scan(&self.scanner, text, length, &self.frame)
        code = self.apply(now_ns, &is_top_changed)
        self.code_counts[<int>code] += 1
        return self.event(code, self.frame.market_index, is_top_changed)

    cdef FrameCode apply(self, int64_t now_ns, bint *is_top_changed) except *:
        cdef nk_frame *frame = &self.frame
        cdef nk_fate fate
        cdef FrameCode applied
        cdef cbool top_changed = False
        if frame.kind == NK_FRAME_UPDATE:
            applied = FRAME_UPDATE
            fate = nk_channel_update(
                &self.channels[frame.market_index],
                &frame.change, frame.sequence, now_ns, &top_changed,
            )
        elif frame.kind == NK_FRAME_SNAPSHOT:
            applied = FRAME_SNAPSHOT
            fate = nk_channel_snapshot(
                &self.channels[frame.market_index],
                &frame.change, frame.sequence, now_ns, &top_changed,
            )
        else:
            return self.apply_quiet()
        if fate == NK_FATE_NO_MEMORY:
            raise MemoryError(f"no memory for the book of {self.markets[frame.market_index]!r}")
        if fate == NK_FATE_FULL:
            self.reject_counts[<int>NK_REJECT_FULL] += 1
            return FRAME_REJECTED
        self.truncated_count += frame.truncated
        is_top_changed[0] = top_changed
        if fate == NK_FATE_APPLIED:
            (<OrderBook>PyList_GET_ITEM(self.books, frame.market_index)).received_at_ns = now_ns
            return applied
        if fate == NK_FATE_OLD:
            return FRAME_DUPLICATE
        if fate == NK_FATE_HELD:
            return FRAME_HELD
        return FRAME_GAP if fate == NK_FATE_GAP else FRAME_STALE

    # Frames that touch no book.
    cdef FrameCode apply_quiet(self) except *:
        cdef nk_frame *frame = &self.frame
        if frame.kind == NK_FRAME_OTHER:
            return FRAME_OTHER
        if frame.kind == NK_FRAME_UNKNOWN_MARKET:
            return FRAME_UNKNOWN_MARKET
        if frame.kind == NK_FRAME_REJECTED:
            self.reject_counts[<int>frame.reject] += 1
            return FRAME_REJECTED
        self.truncated_count += frame.truncated
        if frame.kind == NK_FRAME_TRADES:
            return FRAME_TRADES
        self.tickers[frame.market_index] = frame.ticker
        self.seen_tickers.add(frame.market_index)
        return FRAME_TICKER

    cdef FrameEvent event(self, FrameCode code, int32_t market, bint is_top_changed):
        cdef Py_ssize_t slot = ((market + 1) * FRAME_CODE_COUNT + <int>code) * 2 + is_top_changed
        cdef object known = <object>PyList_GET_ITEM(self.events, slot)
        cdef FrameEvent made
        if known is not None:
            return <FrameEvent>known
        made = FrameEvent.__new__(FrameEvent)
        made.code = code
        made.market = market
        made.is_top_changed = is_top_changed
        self.events[slot] = made
        return made

    def expire(self, now_ns):
        """Declare the gaps that no frame declares: updates that have waited too long.

        Parameters
        ----------
        now_ns : int
            On the clock of `feed`.

        Returns
        -------
        list of int
            Indices of the markets whose book became stale now.
        """
        cdef int32_t index
        cdef int64_t time_ns = integer_of(now_ns)
        return [
            index
            for index in range(<int32_t>len(self.books))
            if nk_channel_expire(&self.channels[index], time_ns)
        ]

    def mark_stale(self):
        """Declare every book stale and forget waiting updates: the connection is gone."""
        cdef int32_t index
        for index in range(<int32_t>len(self.books)):
            nk_channel_disconnect(&self.channels[index])

    @property
    def last_trades(self):
        """The trades of the frame fed last, as a list of `FeedTrade` in the venue's order; empty
        when that frame was none of `FrameKind.TRADES`. Read before the next feed."""
        cdef const nk_trade *trade
        cdef size_t position
        trades = []
        if self.frame.kind == NK_FRAME_TRADES:
            for position in range(self.frame.trade_count):
                trade = &self.frame.trades[position]
                trades.append(
                    FeedTrade(
                        trade.id[:trade.id_length].decode("utf-8", "surrogatepass"),
                        trade.price_ticks,
                        trade.size_lots,
                        "buy" if trade.side > 0 else "sell",
                        none_below_zero(trade.time_ms),
                    )
                )
        return trades

    def ticker(self, str symbol not None):
        """Return the newest `FeedTicker` of a market, None before the first one."""
        cdef int32_t index = self.indices[symbol]
        cdef nk_ticker *ticker = &self.tickers[index]
        if index not in self.seen_tickers:
            return None
        return FeedTicker(
            none_below_zero(ticker.last_ticks),
            none_below_zero(ticker.bid_ticks),
            none_below_zero(ticker.ask_ticks),
            none_below_zero(ticker.high_ticks),
            none_below_zero(ticker.low_ticks),
            none_below_zero(ticker.volume_lots),
            none_below_zero(ticker.sequence),
            none_below_zero(ticker.time_ms),
        )

    @property
    def counters(self):
        """Frames by kind in lower case, rejections by reason as ``rejected_<reason>``, and
        ``quantities_truncated``; all from the start."""
        counts = {kind.name.lower(): self.code_counts[<int>kind] for kind in KINDS}
        for reason in range(1, <int>NK_REJECT_COUNT):
            counts[f"rejected_{REASONS[reason]}"] = self.reject_counts[<int>reason]
        counts["quantities_truncated"] = self.truncated_count
        return counts

    def __reduce__(self):
        raise TypeError("a FrameDecoder cannot be pickled: its books belong to one stream")


cdef int check_range(str name, object value, int64_t low, int64_t high) except -1:
    if not low <= integer_of(value) <= high:
        raise ValueError(f"{name} must be {low} to {high}, was {value}")
    return 0
