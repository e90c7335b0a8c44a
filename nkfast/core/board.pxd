from libc.stdint cimport int32_t, int64_t

from nkfast.core.fixed cimport nk_status


cdef extern from "nk_board.h":
    enum:
        NK_BOARD_SEATS
        NK_BOARD_ROWS
        NK_BOARD_NAME_BYTES

    ctypedef struct nk_board_seat:
        int64_t owner
        int64_t ended_ns
        char name[48]  # NK_BOARD_NAME_BYTES

    ctypedef struct nk_board_row:
        int64_t key
        int64_t bids[128]  # NK_BOARD_SEATS
        int64_t asks[128]

    ctypedef struct nk_board:
        int64_t seat_count
        nk_board_seat seats[128]
        nk_board_row rows[512]  # NK_BOARD_ROWS

    nk_status nk_board_find_row(
        nk_board *board, int64_t key, int64_t mask, int32_t *row
    ) noexcept nogil
    void nk_board_open_seat(nk_board *board, int32_t seat) noexcept nogil
    void nk_board_write(int64_t *price, int64_t ticks) noexcept nogil
    int32_t nk_board_find_crossed(
        const nk_board *board,
        const nk_board_row *row,
        bint is_buy,
        int64_t ticks,
        int32_t first,
        int64_t *found,
    ) noexcept nogil
    void nk_board_clear_seat(nk_board *board, int32_t seat) noexcept nogil


cdef class PriceBoard:
    cdef nk_board *board  # `lent`
    cdef Py_buffer lent  # held as long as the object

    cdef int check(self, int64_t seat, int64_t row) except -1
