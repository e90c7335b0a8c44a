"""The price levels of one market: an exact, sorted order book.

A level is a pair ``(ticks, lots)`` of integers, see `nkfast.core.market`. The kernel keeps each
side as one array with the best level at its end, so that a change near the best price costs the
same in a deep book as in a shallow one.
"""

cimport cython
cimport numpy as cnp
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from decimal import Context, Decimal, InvalidOperation
from typing import Literal

from nkfast.core.fixed cimport NK_E_FULL, NK_OK, integer_of
from nkfast.core.market cimport Market, side_sign

from nkfast.errors import BookFullError, BookGapError, BookStaleError, NumberOverflowError

cnp.import_array()

BookState = Literal["empty", "live", "stale"]
Level = tuple[int, int]

cdef tuple STATES = ("empty", "live", "stale")  # by nk_book_state
# Whole ticks * lots of a notional: at most 38 digits, so that 60 are exact up to the floor.
cdef object FLOOR = Context(prec=60, rounding="ROUND_FLOOR", traps=[InvalidOperation])
cdef object BUDGET_MAX = (1 << 127) - 1

cdef enum:
    INLINE_LEVELS = 32  # changes of up to this many levels a side need no memory

# One side of a change, read and checked before anything is applied.
cdef struct LevelList:
    nk_level inline_levels[INLINE_LEVELS]
    nk_level *levels  # inline_levels, or owned
    size_t count


cdef inline int64_t read_count(object number, str name) except? -1:
    cdef int overflow = 0
    cdef int64_t count = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow != 0:
        raise NumberOverflowError(f"of {number.bit_length()} bits", f"{name}, 64 bits")
    return count


cdef inline int read_level(object item, nk_level *level) except -1:
    cdef object ticks, lots
    if PyTuple_CheckExact(item) and PyTuple_GET_SIZE(item) == 2:
        ticks = <object>PyTuple_GET_ITEM(item, 0)
        lots = <object>PyTuple_GET_ITEM(item, 1)
    else:
        ticks, lots = item
    level.price_ticks = read_count(ticks, "ticks")
    level.size_lots = read_count(lots, "lots")
    if level.price_ticks <= 0:
        raise ValueError(f"a price must be at least 1 tick, was {ticks}")
    if level.size_lots < 0:
        raise ValueError(f"a quantity must be at least 0 lots, was {lots}")
    return 0


cdef int read_levels(object iterable, LevelList *result) except -1:
    cdef list items = iterable if type(iterable) is list else list(iterable)
    cdef Py_ssize_t room = len(items)
    result.count = 0
    result.levels = result.inline_levels
    if room > INLINE_LEVELS:
        result.levels = <nk_level *>PyMem_Malloc(room * sizeof(nk_level))
        if result.levels == NULL:
            raise MemoryError(f"no memory for {room} levels")
    for item in items:
        # A list can grow while an element's __index__ runs.
        if result.count == <size_t>room:
            raise ValueError("the list of levels changed while it was read")
        read_level(item, &result.levels[result.count])
        result.count += 1
    return 0


cdef void free_levels(LevelList *held) noexcept:
    if held.levels != held.inline_levels:
        PyMem_Free(held.levels)


cdef int read_sequence(object sequence, int64_t *result) except -1:
    result[0] = read_count(sequence, "sequence")
    if result[0] < 0:
        raise ValueError(f"a sequence must not be negative, was {sequence}")
    return 0


cdef inline bint is_same(nk_level a, nk_level b) noexcept:
    return a.price_ticks == b.price_ticks and a.size_lots == b.size_lots


cdef object depth_of(const nk_side *side, size_t limit):
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray array
    shape[0] = <cnp.npy_intp>min(limit, <size_t>side.count)
    shape[1] = 2
    array = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_INT64)
    nk_side_depth(side, <size_t>shape[0], <nk_level *>cnp.PyArray_DATA(array))
    return array


@cython.final
cdef class OrderBook:
    """The price levels of one market, kept in step by sequence numbers.

    Parameters
    ----------
    market : Market
        Whose levels these are.
    capacity : int
        Most levels on one side, 1..16777216. Memory grows with the levels held, not with this.

    Notes
    -----
    Every change is all or nothing: when a level is refused, or too many would remain, the book is
    as it was. A level that is named twice in one change has its last quantity, and removing a level
    that is not there is nothing.

    A *crossed* book (best bid at or above best ask) is accepted and shown by `is_crossed`: the
    levels are what the venue said, and an update may cross for a moment what the next one mends.
    None occurs in the recordings this was checked against. Do not quote on a crossed book.
    """

    def __cinit__(self, Market market not None, capacity=65_536):
        if not 1 <= integer_of(capacity) <= NK_BOOK_LEVEL_LIMIT_MAX:
            raise ValueError(
                f"capacity must be 1 to {NK_BOOK_LEVEL_LIMIT_MAX} levels, was {capacity}"
            )
        nk_book_init(&self.book, <uint32_t>capacity)
        self.market = market

    def __dealloc__(self):
        nk_book_free(&self.book)

    def __repr__(self):
        return (
            f"<OrderBook {self.market.symbol} {self.state}, sequence {self.book.sequence},"
            f" {self.book.bids.count} bids, {self.book.asks.count} asks>"
        )

    def __sizeof__(self):
        cdef size_t entries = self.book.bids.allocated + self.book.asks.allocated
        return object.__sizeof__(self) + entries * sizeof(nk_entry)

    @property
    def capacity(self):
        """Most levels on one side."""
        return self.book.level_limit

    @property
    def sequence(self):
        """Sequence number of the last change; -1 before the first snapshot."""
        return self.book.sequence

    @property
    def state(self):
        """``"empty"``, ``"live"`` or ``"stale"``. Nothing may trade on a book that is not live."""
        return STATES[<int>self.book.state]

    @property
    def version(self):
        """A number that grows with every change, also of the state."""
        return self.book.version

    @property
    def received_ns(self):
        """When the last change was received, on the clock of whoever fed it; 0 when unknown."""
        return self.received_at_ns

    @property
    def best_bid(self):
        """Highest bid as (ticks, lots), None when there is none."""
        cdef nk_level level
        if not nk_side_best(&self.book.bids, &level):
            return None
        if not is_same(level, self.bid_level):
            self.bid_level = level
            self.bid_tuple = (level.price_ticks, level.size_lots)
        return self.bid_tuple

    @property
    def best_ask(self):
        """Lowest ask as (ticks, lots), None when there is none."""
        cdef nk_level level
        if not nk_side_best(&self.book.asks, &level):
            return None
        if not is_same(level, self.ask_level):
            self.ask_level = level
            self.ask_tuple = (level.price_ticks, level.size_lots)
        return self.ask_tuple

    @property
    def bid_count(self):
        """Number of bid levels."""
        return self.book.bids.count

    @property
    def ask_count(self):
        """Number of ask levels."""
        return self.book.asks.count

    @property
    def is_crossed(self):
        """Whether the best bid is at or above the best ask."""
        return bool(nk_book_is_crossed(&self.book))

    @property
    def mid(self):
        """Price halfway between best bid and best ask, exact; None when a side is empty."""
        cdef nk_level bid, ask
        if not nk_side_best(&self.book.bids, &bid) or not nk_side_best(&self.book.asks, &ask):
            return None
        # Half a tick is 5 * 10^-(decimals + 1); the text constructor never rounds.
        halves = (<object>bid.price_ticks + ask.price_ticks) * 5
        return Decimal(f"{halves}E-{self.market.price_decimals + 1}")

    def apply_snapshot(self, bids not None, asks not None, sequence, *, int64_t now_ns=0):
        """Replace all levels and make the book live, whatever the sequence was before.

        Parameters
        ----------
        bids, asks : iterable of (int, int)
            Price in ticks (at least 1) and quantity in lots (0 is no level), any order; fastest as
            a list of tuples, best first.
        sequence : int
            The snapshot's own number; the next update carries one more.
        now_ns : int
            Time of receipt, kept as `received_ns`.

        Returns
        -------
        bool
            Whether the best bid or the best ask is another one.

        Raises
        ------
        ValueError, TypeError
            A level or the sequence is not what it has to be.
        NumberOverflowError
            A number does not fit 64 bits.
        BookFullError
            More levels on a side than `capacity`.
        """
        return self.change(True, bids, asks, sequence, now_ns)

    def apply_update(self, bids not None, asks not None, sequence, *, int64_t now_ns=0):
        """Set the quantities of some levels; 0 lots removes a level.

        Parameters
        ----------
        bids, asks, sequence, now_ns
            As for `apply_snapshot`; `sequence` has to be the next one.

        Returns
        -------
        bool
            Whether the best bid or the best ask is another one. An update of a sequence that the
            book contains already is dropped: False.

        Raises
        ------
        BookGapError
            A sequence number was skipped; the book is stale from now on.
        BookStaleError
            The book is empty or stale and wants a snapshot first.
        ValueError, TypeError, NumberOverflowError, BookFullError
            As for `apply_snapshot`.
        """
        return self.change(False, bids, asks, sequence, now_ns)

    cdef object change(self, bint is_snapshot, bids, asks, sequence, int64_t now_ns):
        cdef LevelList bid_list, ask_list
        cdef int64_t number
        read_sequence(sequence, &number)
        read_levels(bids, &bid_list)
        try:
            read_levels(asks, &ask_list)
            try:
                return apply(self, is_snapshot, &bid_list, &ask_list, number, now_ns)
            finally:
                free_levels(&ask_list)
        finally:
            free_levels(&bid_list)

    cdef bint is_next(self, int64_t sequence) except -1:
        cdef nk_turn turn = nk_book_turn(&self.book, sequence)
        if turn == NK_TURN_AHEAD:
            nk_book_mark_stale(&self.book)
            raise BookGapError(self.market.symbol, self.book.sequence + 1, sequence)
        if turn == NK_TURN_NOT_LIVE:
            raise BookStaleError(self.market.symbol, self.state)
        return turn == NK_TURN_NEXT

    def mark_stale(self):
        """Declare the levels untrustworthy until the next snapshot; an empty book stays empty."""
        nk_book_mark_stale(&self.book)

    def clear(self):
        """Forget all levels and the sequence; the book is empty."""
        nk_book_clear(&self.book)

    def depth(self, n):
        """Return the best levels of both sides.

        Parameters
        ----------
        n : int
            Most levels of a side, at least 0.

        Returns
        -------
        bids, asks : numpy.ndarray
            int64, shape (<= n, 2): ticks and lots, best first. Copies; they do not follow the book.
        """
        if integer_of(n) < 0:
            raise ValueError(f"n must be at least 0 levels, was {n}")
        return depth_of(&self.book.bids, n), depth_of(&self.book.asks, n)

    def lots_at(self, side not None, ticks):
        """Return the lots resting at a price: bids for ``"buy"``, asks for ``"sell"``; else 0."""
        cdef const nk_side *levels = &self.book.bids if side_sign(side) > 0 else &self.book.asks
        cdef int64_t price_ticks = integer_of(ticks)
        return nk_side_size_at(levels, price_ticks) if price_ticks > 0 else 0

    def cost_to_fill(self, side not None, lots):
        """Walk the side that an order would take from.

        Parameters
        ----------
        side : {"buy", "sell"}
            Of the order: a buy takes asks, a sell takes bids.
        lots : int
            Quantity of the order, at least 0.

        Returns
        -------
        filled_lots : int
            Less than `lots` when the book is too thin.
        cost : int
            Sum of ticks * lots, exact; `Market.notional(1, cost)` is its value for small ones, and
            always ``Decimal(cost).scaleb(-(price_decimals + quantity_decimals))``.
        worst_ticks : int
            Price of the last level touched; 0 when none was.
        """
        cdef nk_walk walk
        if integer_of(lots) < 0:
            raise ValueError(f"lots must be at least 0, was {lots}")
        walk = nk_side_take(self.opposite(side), lots)
        cost = (<object>walk.cost.high << 64) | walk.cost.low
        return walk.filled_lots, cost, walk.worst_ticks

    def quantity_for_notional(self, side not None, notional not None):
        """Return the most lots an order can take without its notional exceeding an amount.

        Parameters
        ----------
        side : {"buy", "sell"}
            Of the order.
        notional : Decimal
            Amount of the quote asset, at least 0; fees are not included.

        Returns
        -------
        int
            Lots, at most 2**63 - 1.
        """
        cdef nk_int128 budget
        cdef int decimals = self.market.price_decimals + self.market.quantity_decimals
        if not isinstance(notional, Decimal):
            raise TypeError(f"notional must be Decimal, was {type(notional).__name__}")
        if not notional.is_finite() or notional < 0:
            raise ValueError(f"notional must be finite and at least 0, was {notional}")
        if notional.adjusted() > 38:  # above any 128-bit count, whatever the decimals
            units = BUDGET_MAX
        else:
            units = min(int(FLOOR.scaleb(notional, decimals)), BUDGET_MAX)
        budget.low = <uint64_t>(units & 0xFFFFFFFFFFFFFFFF)
        budget.high = <int64_t>(units >> 64)
        return nk_side_afford(self.opposite(side), budget)

    def without(self, bids not None=(), asks not None=()):
        """Return a copy of the book from which one's own resting orders are taken off.

        Everything a book answers (best, depth, costs) can then be asked of the market without us.

        Parameters
        ----------
        bids, asks : iterable of (int, int)
            Own orders as (ticks, lots); several at one price add up. Lots that the book does not
            show (an order so new that its update has not come) are ignored.

        Returns
        -------
        OrderBook
            Independent of this one from now on; same sequence, state and version.
        """
        cdef LevelList bid_list, ask_list
        cdef OrderBook copy = OrderBook.__new__(OrderBook, self.market, self.book.level_limit)
        cdef nk_change own
        cdef nk_status status
        read_levels(bids, &bid_list)
        try:
            read_levels(asks, &ask_list)
            own.bids = bid_list.levels
            own.asks = ask_list.levels
            own.bid_count = bid_list.count
            own.ask_count = ask_list.count
            status = nk_book_copy_without(&self.book, &own, &copy.book)
            free_levels(&ask_list)
        finally:
            free_levels(&bid_list)
        if status != NK_OK:
            raise MemoryError(f"no memory for a copy of {self!r}")
        copy.received_at_ns = self.received_at_ns
        return copy

    def audit(self, bids not None, asks not None, *, bint complete=True):
        """Compare the book with a snapshot taken another way, by REST for instance.

        Parameters
        ----------
        bids, asks : iterable of (int, int)
            The snapshot's levels.
        complete : bool
            False for a snapshot cut off at some depth: what this book holds beyond the snapshot's
            worst level of a side is then no difference. (An empty side is never cut off.)

        Returns
        -------
        list of (str, int, int, int)
            For each level that differs: ``"buy"`` for bids or ``"sell"`` for asks, ticks, lots in
            this book, lots in the snapshot; 0 lots is no level. Best first, bids before asks.
        """
        cdef OrderBook other = OrderBook.__new__(OrderBook, self.market, NK_BOOK_LEVEL_LIMIT_MAX)
        other.apply_snapshot(bids, asks, 0)
        differences = []
        compare(self, other, "buy", complete, differences)
        compare(self, other, "sell", complete, differences)
        return differences

    cdef const nk_side *opposite(self, object side) except NULL:
        return &self.book.asks if side_sign(side) > 0 else &self.book.bids

    def __reduce__(self):
        raise TypeError("an OrderBook cannot be pickled; send what depth() returns")


cdef object apply(
    OrderBook book,
    bint is_snapshot,
    LevelList *bids,
    LevelList *asks,
    int64_t sequence,
    int64_t now_ns,
):
    cdef nk_change change
    cdef nk_status status
    cdef cbool top_changed = False
    change.bids = bids.levels
    change.asks = asks.levels
    change.bid_count = bids.count
    change.ask_count = asks.count
    if is_snapshot:
        status = nk_book_snapshot(&book.book, &change, sequence, &top_changed)
    elif book.is_next(sequence):
        status = nk_book_update(&book.book, &change, sequence, &top_changed)
    else:
        return False
    if status == NK_E_FULL:
        raise BookFullError(book.market.symbol, book.book.level_limit)
    if status != NK_OK:
        raise MemoryError(f"no memory for {bids.count + asks.count} levels")
    book.received_at_ns = now_ns
    return bool(top_changed)


cdef int compare(
    OrderBook book, OrderBook other, str name, bint complete, list differences
) except -1:
    cdef int sign = side_sign(name)
    cdef Py_ssize_t count = max(book.book.level_limit, other.book.level_limit)
    ours = dict(book.depth(count)[0 if sign > 0 else 1].tolist())
    theirs = dict(other.depth(count)[0 if sign > 0 else 1].tolist())
    worst = min((sign * ticks for ticks in theirs), default=None)
    for ticks in sorted(ours.keys() | theirs.keys(), key=lambda ticks: -sign * ticks):
        if not complete and worst is not None and sign * ticks < worst:
            break
        if ours.get(ticks, 0) != theirs.get(ticks, 0):
            differences.append((name, ticks, ours.get(ticks, 0), theirs.get(ticks, 0)))
    return 0
