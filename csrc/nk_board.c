/* nk_board.c - see nk_board.h. */
#include "nk_board.h"

#include "nk_atomic.h"

nk_status
nk_board_find_row(nk_board *board, int64_t key, int64_t mask, int32_t *row)
{
    assert(board != NULL && (uintptr_t)board % sizeof(int64_t) == 0 && row != NULL);
    assert((key & ~mask) != 0);
    uint64_t start = ((uint64_t)(key & ~mask) * UINT64_C(0x9E3779B97F4A7C15)) >> 32;
    for (uint64_t step = 0; step < NK_BOARD_ROWS; step++) {
        int32_t index = (int32_t)((start + step) % NK_BOARD_ROWS);
        int64_t found = nk_atomic_load(&board->rows[index].key);
        if (found == 0 && nk_atomic_replace(&board->rows[index].key, &found, key)) {
            found = key;
        }
        if ((found & ~mask) == (key & ~mask)) {
            *row = index;
            return NK_OK;
        }
    }
    return NK_E_FULL;
}

void
nk_board_open_seat(nk_board *board, int32_t seat)
{
    assert(board != NULL && seat >= 0 && seat < NK_BOARD_SEATS);
    int64_t count = nk_atomic_load(&board->seat_count);
    while (count <= seat) {
        if (nk_atomic_replace(&board->seat_count, &count, seat + 1)) {
            return;
        }
    }
}

void
nk_board_write(int64_t *price, int64_t ticks)
{
    assert(price != NULL && (uintptr_t)price % sizeof(int64_t) == 0 && ticks >= 0);
    nk_atomic_store(price, ticks);
}

int32_t
nk_board_find_crossed(const nk_board *board, const nk_board_row *row, bool is_buy, int64_t ticks,
                      int32_t first, int64_t *found)
{
    assert(board != NULL && row != NULL && first >= 0 && ticks > 0 && found != NULL);
    int64_t count = nk_atomic_load(&board->seat_count);
    if (count > NK_BOARD_SEATS) {
        count = NK_BOARD_SEATS;
    }
    const int64_t *prices = is_buy ? row->asks : row->bids;
    for (int32_t seat = first; seat < count; seat++) {
        int64_t price = nk_atomic_load(&prices[seat]);
        if (price > 0 && (is_buy ? price <= ticks : price >= ticks)) {
            *found = price;
            return seat;
        }
    }
    return -1;
}

void
nk_board_clear_seat(nk_board *board, int32_t seat)
{
    assert(board != NULL && seat >= 0 && seat < NK_BOARD_SEATS);
    for (size_t index = 0; index < NK_BOARD_ROWS; index++) {
        nk_board_row *row = &board->rows[index];
        if (nk_atomic_load(&row->key) != 0) {
            nk_atomic_store(&row->bids[seat], 0);
            nk_atomic_store(&row->asks[seat], 0);
        }
    }
}
