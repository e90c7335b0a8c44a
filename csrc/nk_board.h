/* nk_board.h - the best own prices of each trader of an account, in memory that processes share.
 *
 * A board has a row for each market and a seat for each trader. A trader writes the best bid and
 * the best ask of its own orders into its seat of the row, before an order leaves, and reads those
 * of all others afterwards: of two that do so at once at least one sees the other. Every price is
 * one number with one writer, so that nobody waits for anybody, and nothing is ever half written.
 */
#ifndef NK_BOARD_H
#define NK_BOARD_H

#include "nk_base.h"

enum { NK_BOARD_SEATS = 128, NK_BOARD_ROWS = 512, NK_BOARD_NAME_BYTES = 48 };

typedef struct nk_board_seat {
    int64_t owner;    /* names the trader; 0: nobody sits here */
    int64_t ended_ns; /* since when its orders have nobody who tends them; 0: it has one */
    char name[NK_BOARD_NAME_BYTES]; /* for people, zero-padded; written before anything else */
} nk_board_seat;

typedef struct nk_board_row {
    int64_t key;                  /* names the market; 0: free, else it never changes again */
    int64_t bids[NK_BOARD_SEATS]; /* ticks of the best own bid; 0: none */
    int64_t asks[NK_BOARD_SEATS];
} nk_board_row;

typedef struct nk_board {
    int64_t magic;
    int64_t seat_count; /* no seat from here on was ever taken */
    nk_board_seat seats[NK_BOARD_SEATS];
    nk_board_row rows[NK_BOARD_ROWS];
} nk_board;

/* Find the row of a market, or take a free one for it. Rows are never given back.
 *
 * Requires  board is aligned to 8 bytes; key != 0; the keys' bits above `mask` name the market,
 * those of the mask say how its prices are written, as whoever took the row had it. Returns   NK_OK
 * with *row, or NK_E_FULL. Cost      O(1) expected.
 */
nk_status nk_board_find_row(nk_board *board, int64_t key, int64_t mask, int32_t *row);

/* Let everybody look at a seat from now on.
 *
 * Requires  0 <= seat < NK_BOARD_SEATS; the caller alone writes this seat.
 */
void nk_board_open_seat(nk_board *board, int32_t seat);

/* Write the price of a seat; 0: none. What is read after this is read after everybody can see it.
 *
 * Requires  price is a place in a row; the caller alone writes it.
 * Cost      O(1), one exchange.
 */
void nk_board_write(int64_t *price, int64_t ticks);

/* Find the first seat from `first` on with a price that an order at `ticks` would trade with.
 *
 * Requires  0 <= first; row is a row of the board; 0 < ticks.
 * Returns   the seat, with *found its price; or -1.
 * Cost      O(seats ever taken), 8 bytes each.
 */
int32_t nk_board_find_crossed(const nk_board *board, const nk_board_row *row, bool is_buy,
                              int64_t ticks, int32_t first, int64_t *found);

/* Take all prices of a seat away.
 *
 * Requires  as nk_board_open_seat.
 * Cost      O(rows).
 */
void nk_board_clear_seat(nk_board *board, int32_t seat);

#endif /* NK_BOARD_H */
