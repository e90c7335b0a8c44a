/* links: nk_cycle.c nk_book.c */
/* What only C can see of the cycle kernel: buffers of exactly the size asked for, building twice,
 * the tables under every arc. */
#undef NDEBUG
#include "nk_cycle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASSETS = 9, MARKETS = ASSETS * (ASSETS - 1) / 2 };

static void
give_book(nk_book *book, int64_t bid_ticks, int64_t ask_ticks)
{
    nk_level bid = {bid_ticks, 10};
    nk_level ask = {ask_ticks, 10};
    nk_change change = {&bid, &ask, 1, 1};
    bool top_changed;
    nk_book_init(book, 16);
    assert(nk_book_snapshot(book, &change, 1, &top_changed) == NK_OK);
}

/* A complete graph: n (n-1) (n-2) / 3 directed triangles, n (n-1) (n-2) (n-3) / 4 squares. */
static void
test_complete_graph(int32_t max_length)
{
    static nk_book books[MARKETS];
    nk_cycle_market markets[MARKETS];
    bool is_start[ASSETS];
    memset(is_start, 1, sizeof is_start);
    int32_t count = 0;
    for (int32_t base = 0; base < ASSETS; base++) {
        for (int32_t quote = 0; quote < base; quote++) {
            give_book(&books[count], 99, 100);
            nk_cycle_market it = {&books[count], 0.01, 100, base, quote, true, true, true};
            markets[count++] = it;
        }
    }
    nk_cycle index;
    memset(&index, 0, sizeof index);
    for (int i = 0; i < 2; i++) {
        assert(nk_cycle_build(&index, markets, count, is_start, ASSETS, max_length) == NK_OK);
    }
    int64_t triangles = ASSETS * (ASSETS - 1) * (ASSETS - 2) / 3;
    int64_t squares = max_length == 4 ? ASSETS * (ASSETS - 1) * (ASSETS - 2) * (ASSETS - 3) / 4 : 0;
    assert(index.tables[0].count == triangles && index.tables[1].count == squares);
    /* No rates yet: nothing passes. */
    assert(nk_cycle_screen_all(&index, 1e-9, NULL, 0) == 0);
    for (int32_t i = 0; i < count; i++) {
        nk_cycle_refresh(&index, i);
    }
    assert(nk_cycle_screen_all(&index, 1e-9, NULL, 0) == triangles + squares);
    assert(nk_cycle_screen_all(&index, 1.5, NULL, 0) == 0);
    /* Every triangle lies under its three arcs, every square under four. */
    int64_t under = 0;
    for (int32_t i = 0; i < count; i++) {
        int64_t found = nk_cycle_screen_market(&index, i, 1e-9, NULL, 0);
        nk_cycle_hit *hits = malloc((size_t)(found - 1) * sizeof *hits);
        assert(hits != NULL);
        assert(nk_cycle_screen_market(&index, i, 1e-9, hits, found - 1) == found);
        for (int64_t j = 0; j < found - 1; j++) {
            double ratio = 1;
            for (int32_t k = 0; k < hits[j].length; k++) {
                ratio *= index.rates[hits[j].arcs[k]];
            }
            assert(hits[j].arcs[0] / 2 == i && ratio > 0.9);
            assert(hits[j].ratio > ratio * 0.999999 && hits[j].ratio < ratio * 1.000001);
        }
        free(hits);
        under += found;
    }
    assert(under == 3 * triangles + 4 * squares);
    nk_cycle_free(&index);
    for (int32_t i = 0; i < count; i++) {
        nk_book_free(&books[i]);
    }
}

static void
test_start_assets_and_unlisted_markets(void)
{
    nk_cycle_market markets[4] = {
        {NULL, 1, 1, 0, 1, true, true, true},
        {NULL, 1, 1, 1, 2, true, true, true},
        {NULL, 1, 1, 2, 0, true, true, true},
        {NULL, 1, 1, 0, 2, true, true, true}, /* a second market of the same assets */
    };
    bool is_start[4] = {false, false, false, true};
    nk_cycle index;
    memset(&index, 0, sizeof index);
    assert(nk_cycle_build(&index, markets, 4, is_start, 4, 3) == NK_OK);
    assert(index.tables[0].count == 0);
    is_start[1] = true;
    assert(nk_cycle_build(&index, markets, 4, is_start, 4, 3) == NK_OK);
    assert(index.tables[0].count == 4);
    markets[3].is_listed = false;
    assert(nk_cycle_build(&index, markets, 4, is_start, 4, 4) == NK_OK);
    assert(index.tables[0].count == 2 && index.tables[1].count == 0);
    assert(nk_cycle_build(&index, markets, 0, is_start, 0, 4) == NK_OK);
    assert(index.tables[0].count == 0);
    nk_cycle_free(&index);
    assert(index.rates == NULL);
}

static void
test_rates_need_a_live_uncrossed_book(void)
{
    nk_book book;
    nk_cycle_market market = {&book, 0.5, 8, 0, 1, true, true, true};
    bool is_start[2] = {true, true};
    nk_cycle index;
    memset(&index, 0, sizeof index);
    assert(nk_cycle_build(&index, &market, 1, is_start, 2, 3) == NK_OK);
    give_book(&book, 3, 4);
    nk_cycle_refresh(&index, 0);
    assert(index.rates[0] == 1.5 && index.rates[1] == 2);
    market.can_buy = false;
    nk_cycle_refresh(&index, 0);
    assert(index.rates[0] == 1.5 && index.rates[1] == 0);
    nk_book_mark_stale(&book);
    nk_cycle_refresh(&index, 0);
    assert(index.rates[0] == 0 && index.rates[1] == 0);
    nk_book_free(&book);
    give_book(&book, 4, 4);
    market.can_buy = true;
    nk_cycle_refresh(&index, 0);
    assert(index.rates[0] == 0 && index.rates[1] == 0);
    nk_book_free(&book);
    nk_cycle_free(&index);
}

int
main(void)
{
    test_complete_graph(3);
    test_complete_graph(4);
    test_start_assets_and_unlisted_markets();
    test_rates_need_a_live_uncrossed_book();
    puts("ok");
    return 0;
}
