/* links: nk_board.c */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "nk_board.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum { ROUNDS = 500, MASK = 31 };

static nk_board board;
static int64_t begun, looked, judged, buyer_clear = -1, seller_clear = -1;

static void
test_rows(void)
{
    int32_t row = -1, again = -1, other = -1;
    REQUIRE(nk_board_find_row(&board, 64 | 4, MASK, &row) == NK_OK);
    REQUIRE(nk_board_find_row(&board, 64 | 5, MASK, &again) == NK_OK && again == row);
    REQUIRE(board.rows[row].key == (64 | 4));
    REQUIRE(nk_board_find_row(&board, -96, MASK, &other) == NK_OK && other != row);
    for (int64_t market = 10; market < 10 + NK_BOARD_ROWS - 2; market++) {
        REQUIRE(nk_board_find_row(&board, market * 32, MASK, &other) == NK_OK);
    }
    REQUIRE(nk_board_find_row(&board, 1 << 20, MASK, &other) == NK_E_FULL);
    REQUIRE(nk_board_find_row(&board, 64, MASK, &again) == NK_OK && again == row);
}

static void
test_prices(void)
{
    int64_t found = 0;
    nk_board_row *row = &board.rows[7];
    nk_board_open_seat(&board, 5);
    nk_board_open_seat(&board, 2);
    REQUIRE(board.seat_count == 6);
    nk_board_write(&row->asks[2], 101);
    nk_board_write(&row->asks[5], 100);
    nk_board_write(&row->bids[5], 90);
    nk_board_write(&row->asks[6], 1); /* nobody ever sat there */
    REQUIRE(nk_board_find_crossed(&board, row, true, 99, 0, &found) == -1);
    REQUIRE(nk_board_find_crossed(&board, row, true, 101, 0, &found) == 2 && found == 101);
    REQUIRE(nk_board_find_crossed(&board, row, true, 101, 3, &found) == 5 && found == 100);
    REQUIRE(nk_board_find_crossed(&board, row, true, 101, 6, &found) == -1);
    REQUIRE(nk_board_find_crossed(&board, row, false, 91, 0, &found) == -1);
    REQUIRE(nk_board_find_crossed(&board, row, false, 90, 0, &found) == 5 && found == 90);
    nk_board_clear_seat(&board, 5);
    REQUIRE(nk_board_find_crossed(&board, row, false, 1, 0, &found) == -1);
    REQUIRE(row->asks[5] == 0 && row->asks[2] == 101);
    nk_board_clear_seat(&board, 2);
}

static void
wait_for_both(int64_t *arrived, int64_t round)
{
    __atomic_fetch_add(arrived, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(arrived, __ATOMIC_SEQ_CST) < 2 * (round + 1)) {
        sched_yield();
    }
}

/* Each round both write first and look afterwards: never may both find the way clear. */
static void *
trade(void *side)
{
    bool is_buy = *(bool *)side;
    nk_board_row *row = &board.rows[9];
    int64_t found = 0, *mine = is_buy ? &row->bids[0] : &row->asks[1];
    for (int64_t round = 0; round < ROUNDS; round++) {
        wait_for_both(&begun, round);
        nk_board_write(mine, 100);
        if (nk_board_find_crossed(&board, row, is_buy, 100, 0, &found) < 0) {
            *(is_buy ? &buyer_clear : &seller_clear) = round;
        }
        wait_for_both(&looked, round);
        REQUIRE(buyer_clear != round || seller_clear != round);
        wait_for_both(&judged, round);
        nk_board_write(mine, 0);
    }
    return NULL;
}

static void
test_of_two_at_once_one_sees_the_other(void)
{
    pthread_t buyer, seller;
    bool buys = true, sells = false;
    REQUIRE(pthread_create(&buyer, NULL, trade, &buys) == 0);
    REQUIRE(pthread_create(&seller, NULL, trade, &sells) == 0);
    REQUIRE(pthread_join(buyer, NULL) == 0);
    REQUIRE(pthread_join(seller, NULL) == 0);
}

int
main(void)
{
    test_rows();
    test_prices();
    test_of_two_at_once_one_sees_the_other();
    return 0;
}
