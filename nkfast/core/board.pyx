"""The best own prices of each trader of an account, in memory that processes share.

A trader writes its best bid and ask of a market into its seat, before an order leaves, and looks at
the seats of all others afterwards: of two that do so at once at least one sees the other. There is
no lock: every price has one writer.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from nkfast.core.fixed cimport NK_OK

__all__ = ["PriceBoard"]

#: The low bits of a row's key: how many decimals its prices have.
cdef int64_t DECIMALS_MASK = 31


@cython.final
cdef class PriceBoard:
    """A view of a board.

    Parameters
    ----------
    memory : bytearray or memoryview
        `PriceBoard.SIZE` writable bytes, aligned to 8, zeros at first but for the first eight,
        which are the caller's; kept as long as the object.

    Raises
    ------
    ValueError
        `memory` has another size or place.
    BufferError
        `memory` cannot be written to.

    Notes
    -----
    Seats are 0..SEATS-1. A seat may be written by one thread of one process only; who that is, the
    callers agree upon elsewhere. Prices are ticks of the row, above 0; 0 is none.
    """

    SIZE = sizeof(nk_board)
    SEATS = NK_BOARD_SEATS
    ROWS = NK_BOARD_ROWS

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self.lent, PyBUF_WRITABLE)
        if self.lent.len != sizeof(nk_board) or <size_t>self.lent.buf % sizeof(int64_t) != 0:
            raise ValueError(
                f"memory must be {sizeof(nk_board)} bytes, aligned to 8, was {self.lent.len} bytes"
            )
        self.board = <nk_board *>self.lent.buf

    def __dealloc__(self):
        PyBuffer_Release(&self.lent)

    cdef int check(self, int64_t seat, int64_t row) except -1:
        if not 0 <= seat < NK_BOARD_SEATS:
            raise ValueError(f"seat must be 0..{NK_BOARD_SEATS - 1}, was {seat}")
        if not 0 <= row < NK_BOARD_ROWS:
            raise ValueError(f"row must be 0..{NK_BOARD_ROWS - 1}, was {row}")
        return 0

    def row_of(self, int64_t market, int64_t decimals):
        """Return the row of a market and the decimals of its prices there.

        Parameters
        ----------
        market : int
            Names the market: a hash of 8 bytes; its lower 5 bits do not count, the others are
            not all 0.
        decimals : int
            0..31, of the prices as the caller writes them. Whoever comes first decides.

        Raises
        ------
        OverflowError
            The board has no free row.
        """
        cdef int32_t row
        if not 0 <= decimals <= DECIMALS_MASK:
            raise ValueError(f"decimals must be 0..{DECIMALS_MASK}, were {decimals}")
        if market & ~DECIMALS_MASK == 0:
            raise ValueError("the upper bits of market must not be 0")
        cdef int64_t key = (market & ~DECIMALS_MASK) | decimals
        if nk_board_find_row(self.board, key, DECIMALS_MASK, &row) != NK_OK:
            raise OverflowError(f"the board has no row for more than {NK_BOARD_ROWS} markets")
        return row, self.board.rows[row].key & DECIMALS_MASK

    def take_seat(self, int64_t seat, int64_t owner, bytes name not None):
        """Sit down, where nobody else writes.

        Parameters
        ----------
        seat : int
        owner : int
            Names the trader, not 0.
        name : bytes
            For people; cut after 47 bytes.
        """
        cdef nk_board_seat *place
        cdef Py_ssize_t size = min(len(name), NK_BOARD_NAME_BYTES - 1)
        self.check(seat, 0)
        if owner == 0:
            raise ValueError("owner must not be 0")
        place = &self.board.seats[seat]
        memset(place.name, 0, NK_BOARD_NAME_BYTES)
        memcpy(place.name, <const char *>name, size)
        place.ended_ns = 0
        place.owner = owner
        nk_board_open_seat(self.board, <int32_t>seat)

    def leave_seat(self, int64_t seat, int64_t ended_ns):
        """Say since when nobody tends the orders of a seat; their prices stay."""
        self.check(seat, 0)
        self.board.seats[seat].ended_ns = ended_ns

    def clear_seat(self, int64_t seat):
        """Take the prices of a seat away, and who sat there."""
        self.check(seat, 0)
        nk_board_clear_seat(self.board, <int32_t>seat)
        self.board.seats[seat].ended_ns = 0
        self.board.seats[seat].owner = 0

    def sitter(self, int64_t seat):
        """Return owner, name and ended_ns of a seat; the owner is 0 where nobody sat."""
        self.check(seat, 0)
        cdef nk_board_seat *place = &self.board.seats[seat]
        cdef bytes name = place.name[:NK_BOARD_NAME_BYTES]
        return place.owner, name.partition(b"\0")[0], place.ended_ns

    def write(self, int64_t seat, int64_t row, bint is_buy, int64_t ticks):
        """Write the best own bid (`is_buy`) or ask of a seat; 0: none."""
        self.check(seat, row)
        if ticks < 0:
            raise ValueError(f"ticks must not be negative, were {ticks}")
        if is_buy:
            nk_board_write(&self.board.rows[row].bids[seat], ticks)
        else:
            nk_board_write(&self.board.rows[row].asks[seat], ticks)

    def find_crossed(self, int64_t row, bint is_buy, int64_t ticks, int64_t first=0):
        """Return the first seat from `first` on that an order would trade with, and its price.

        None when there is none.
        """
        cdef int64_t price = 0
        self.check(0, row)
        if ticks <= 0 or first < 0:
            raise ValueError(f"ticks must be above 0 and first not below, were {ticks}, {first}")
        if first >= NK_BOARD_SEATS:
            return None
        cdef int32_t seat = nk_board_find_crossed(
            self.board, &self.board.rows[row], is_buy, ticks, <int32_t>first, &price
        )
        return None if seat < 0 else (seat, price)
