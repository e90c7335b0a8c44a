/* links: nk_book.c */
/* Sides of every size against a plain table of prices, and each way a book refuses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_book.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum { PRICES = 400 };

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void
require_side(const nk_side *side, const int64_t table[PRICES])
{
    nk_level levels[PRICES];
    size_t count = nk_side_depth(side, PRICES, levels);
    size_t seen = 0;
    for (int64_t i = 1; i < PRICES; i++) {
        int64_t ticks = side->sign > 0 ? PRICES - i : i; /* best first */
        REQUIRE(nk_side_size_at(side, ticks) == table[ticks]);
        if (table[ticks] > 0) {
            REQUIRE(seen < count && levels[seen].price_ticks == ticks);
            REQUIRE(levels[seen].size_lots == table[ticks]);
            seen++;
        }
    }
    REQUIRE(seen == count && count == side->count && side->count <= side->used);
    nk_level best;
    REQUIRE(nk_side_best(side, &best) == (count > 0));
    REQUIRE(count == 0 || memcmp(&best, &levels[0], sizeof best) == 0);
}

static void
test_a_book_follows_a_table_of_prices(uint64_t seed)
{
    static int64_t bids[PRICES], asks[PRICES];
    nk_book book;
    nk_change change = {NULL, NULL, 0, 0};
    bool top_changed;
    memset(bids, 0, sizeof bids);
    memset(asks, 0, sizeof asks);
    nk_book_init(&book, PRICES);
    REQUIRE(nk_book_snapshot(&book, &change, 0, &top_changed) == NK_OK && !top_changed);
    for (int64_t sequence = 1; sequence < 400; sequence++) {
        nk_level bid_levels[8], ask_levels[8];
        /* Long runs of removals make many entries stay behind. */
        bool is_removing = sequence / 50 % 2 == 1;
        for (size_t i = 0; i < 8; i++) {
            int64_t size = is_removing ? 0 : (int64_t)(next_random(&seed) % 100);
            bid_levels[i].price_ticks = 1 + (int64_t)(next_random(&seed) % (PRICES - 1));
            bid_levels[i].size_lots = bids[bid_levels[i].price_ticks] = size;
            ask_levels[i].price_ticks = 1 + (int64_t)(next_random(&seed) % (PRICES - 1));
            ask_levels[i].size_lots = asks[ask_levels[i].price_ticks] = size;
        }
        change = (nk_change){bid_levels, ask_levels, 8, 8};
        nk_level bid = {0, 0}, ask = {0, 0}, bid_now = {0, 0}, ask_now = {0, 0};
        nk_side_best(&book.bids, &bid);
        nk_side_best(&book.asks, &ask);
        REQUIRE(nk_book_update(&book, &change, sequence, &top_changed) == NK_OK);
        nk_side_best(&book.bids, &bid_now);
        nk_side_best(&book.asks, &ask_now);
        REQUIRE(top_changed == (memcmp(&bid, &bid_now, sizeof bid) != 0 ||
                                memcmp(&ask, &ask_now, sizeof ask) != 0));
        REQUIRE(book.sequence == sequence && book.version == (uint64_t)sequence + 1);
        require_side(&book.bids, bids);
        require_side(&book.asks, asks);
    }
    nk_book_free(&book);
}

/* Removals from the worst level on leave every entry behind but the last ones; once those go too,
 * the best level must not be an entry without lots. */
static void
test_a_book_eaten_from_the_back_has_no_ghost_at_the_top(void)
{
    enum { COUNT = 60 };
    nk_book book;
    nk_level levels[COUNT];
    bool top_changed;
    nk_book_init(&book, COUNT);
    for (int64_t i = 0; i < COUNT; i++) {
        levels[i] = (nk_level){COUNT - i, 1};
    }
    nk_change change = {levels, NULL, COUNT, 0};
    REQUIRE(nk_book_snapshot(&book, &change, 0, &top_changed) == NK_OK);
    /* Few enough to stay behind, next to the part that is moved. */
    for (int64_t i = 20; i < 30; i++) {
        nk_level gone = {COUNT - i, 0};
        change = (nk_change){&gone, NULL, 1, 0};
        REQUIRE(nk_book_update(&book, &change, i - 19, &top_changed) == NK_OK && !top_changed);
    }
    REQUIRE(book.bids.used == COUNT && book.bids.count == COUNT - 10);
    for (int64_t i = 0; i < 20; i++) {
        nk_level gone = {COUNT - i, 0}, best;
        change = (nk_change){&gone, NULL, 1, 0};
        REQUIRE(nk_book_update(&book, &change, 11 + i, &top_changed) == NK_OK && top_changed);
        REQUIRE(nk_side_best(&book.bids, &best) && best.size_lots == 1);
        REQUIRE(best.price_ticks == (i < 19 ? COUNT - i - 1 : COUNT - 30));
    }
    nk_book_free(&book);
}

static void
test_a_full_book_is_put_back(void)
{
    nk_level three[] = {{3, 1}, {2, 1}, {1, 1}};
    nk_level ask[] = {{5, 1}};
    nk_level more[] = {{3, 0}, {9, 1}, {8, 1}};
    nk_change change = {three, ask, 3, 1};
    bool top_changed;
    nk_book book;
    nk_book_init(&book, 3);
    REQUIRE(nk_book_snapshot(&book, &change, 7, &top_changed) == NK_OK && top_changed);
    change = (nk_change){more, more + 1, 3, 2};
    REQUIRE(nk_book_update(&book, &change, 8, &top_changed) == NK_E_FULL);
    REQUIRE(book.sequence == 7 && book.version == 1 && book.bids.count == 3);
    REQUIRE(nk_side_size_at(&book.bids, 3) == 1 && nk_side_size_at(&book.asks, 9) == 0);
    change = (nk_change){more, more + 1, 2, 2};
    REQUIRE(nk_book_update(&book, &change, 8, &top_changed) == NK_OK && top_changed);
    REQUIRE(book.bids.count == 3 && book.asks.count == 3);
    nk_level four[] = {{4, 1}, {3, 1}, {2, 1}, {1, 1}};
    change = (nk_change){four, NULL, 4, 0};
    REQUIRE(nk_book_snapshot(&book, &change, 9, &top_changed) == NK_E_FULL);
    REQUIRE(nk_book_update(&book, &change, 9, &top_changed) == NK_E_FULL);
    REQUIRE(book.sequence == 8 && book.state == NK_BOOK_LIVE);
    nk_book_free(&book);
}

static void
test_turns(void)
{
    nk_book book;
    nk_change change = {NULL, NULL, 0, 0};
    bool top_changed;
    nk_book_init(&book, 1);
    REQUIRE(nk_book_turn(&book, 0) == NK_TURN_NOT_LIVE && !nk_book_mark_stale(&book));
    REQUIRE(nk_book_snapshot(&book, &change, INT64_MAX - 1, &top_changed) == NK_OK);
    REQUIRE(nk_book_turn(&book, 0) == NK_TURN_OLD);
    REQUIRE(nk_book_turn(&book, INT64_MAX - 1) == NK_TURN_OLD);
    REQUIRE(nk_book_turn(&book, INT64_MAX) == NK_TURN_NEXT);
    REQUIRE(nk_book_snapshot(&book, &change, 0, &top_changed) == NK_OK);
    REQUIRE(nk_book_turn(&book, INT64_MAX) == NK_TURN_AHEAD);
    REQUIRE(nk_book_mark_stale(&book) && nk_book_turn(&book, 1) == NK_TURN_NOT_LIVE);
    nk_book_clear(&book);
    REQUIRE(book.state == NK_BOOK_EMPTY && book.sequence == -1);
    nk_book_free(&book);
}

static void
test_walks_at_the_edges_of_the_range(void)
{
    nk_level asks[] = {{1, 10}, {INT64_MAX, INT64_MAX}};
    nk_change change = {NULL, asks, 0, 2};
    bool top_changed;
    nk_book book;
    nk_book_init(&book, 2);
    REQUIRE(nk_book_snapshot(&book, &change, 0, &top_changed) == NK_OK);
    nk_walk walk = nk_side_take(&book.asks, INT64_MAX);
    nk_int128 dear = nk_int128_multiply(INT64_MAX, INT64_MAX - 10);
    nk_int128 cost = nk_int128_add(dear, nk_int128_from(10));
    REQUIRE(walk.filled_lots == INT64_MAX && walk.worst_ticks == INT64_MAX);
    REQUIRE(nk_int128_compare(walk.cost, cost) == 0);
    REQUIRE(nk_side_take(&book.asks, 0).worst_ticks == 0);
    REQUIRE(nk_side_take(&book.bids, 5).filled_lots == 0);
    REQUIRE(nk_side_afford(&book.asks, cost) == INT64_MAX);
    REQUIRE(nk_side_afford(&book.asks, nk_int128_from(0)) == 0);
    REQUIRE(nk_side_afford(&book.asks, nk_int128_from(9)) == 9);
    REQUIRE(nk_side_afford(&book.asks, nk_int128_from(INT64_MAX)) == 10);
    nk_int128 all = {UINT64_MAX, INT64_MAX};
    REQUIRE(nk_side_afford(&book.asks, all) == INT64_MAX); /* 10 lots more than fit */
    nk_book_free(&book);
}

static void
test_a_copy_without_own_lots(void)
{
    nk_level bids[] = {{5, 10}, {4, 10}};
    nk_level own[] = {{5, 4}, {5, 4}, {4, 99}, {3, 1}};
    nk_change change = {bids, NULL, 2, 0}, ours = {own, NULL, 4, 0};
    bool top_changed;
    nk_book book, copy;
    nk_book_init(&book, 9);
    nk_book_init(&copy, 1);
    REQUIRE(nk_book_snapshot(&book, &change, 3, &top_changed) == NK_OK);
    REQUIRE(nk_book_copy_without(&book, &ours, &copy) == NK_OK);
    REQUIRE(copy.bids.count == 1 && nk_side_size_at(&copy.bids, 5) == 2);
    REQUIRE(copy.sequence == 3 && copy.level_limit == 9 && copy.state == NK_BOOK_LIVE);
    REQUIRE(book.bids.count == 2 && nk_side_size_at(&book.bids, 5) == 10);
    nk_book_free(&book);
    nk_book_free(&copy);
}

int
main(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        test_a_book_follows_a_table_of_prices(seed * 0x9E3779B97F4A7C15u);
    }
    test_a_book_eaten_from_the_back_has_no_ghost_at_the_top();
    test_a_full_book_is_put_back();
    test_turns();
    test_walks_at_the_edges_of_the_range();
    test_a_copy_without_own_lots();
    return 0;
}
