/* links: nk_match.c */
/* What only C can see of the matching kernel: its invariants after every step, its refusals, and,
 * with an argument (a number of orders), how many orders a second it takes. */
#undef NDEBUG
#include "nk_match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FILLS_MAX 4096

static uint64_t random_state = 88172645463325252u;

static uint64_t
random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

/* Walk everything: order of keys, floors, the bound on leaves, queues, sums, ids. */
static void
check_side(const nk_match *book, int32_t sign)
{
    const nk_match_side *side = &book->sides[sign == NK_MATCH_BUY ? 0 : 1];
    int64_t previous = INT64_MIN;
    int32_t levels = 0;
    int32_t orders = 0;
    for (int32_t i = 0; i < side->leaf_count; i++) {
        const nk_match_leaf *leaf = &book->leaves[side->leaves[i]];
        assert(leaf->count > 0 && leaf->count <= NK_MATCH_LEAF_MAX);
        assert(side->floors[i] <= leaf->keys[0] && side->floors[i] > previous);
        if (i > 0) {
            const nk_match_leaf *lower = &book->leaves[side->leaves[i - 1]];
            assert(lower->count + leaf->count > NK_MATCH_LEAF_MAX / 2);
        }
        for (int32_t j = 0; j < leaf->count; j++) {
            const nk_match_level *level = &book->levels[leaf->levels[j]];
            assert(leaf->keys[j] > previous && leaf->keys[j] == sign * level->price_ticks);
            assert(level->sign == sign && level->order_count > 0);
            previous = leaf->keys[j];
            int64_t lots = 0;
            int32_t count = 0;
            int32_t older = NK_MATCH_NONE;
            for (int32_t k = level->first; k != NK_MATCH_NONE; k = book->orders[k].younger) {
                assert(book->orders[k].older == older && book->orders[k].lots > 0);
                assert(book->orders[k].level == leaf->levels[j]);
                assert(nk_match_find(book, book->orders[k].id) == k);
                assert(nk_match_lots_ahead(book, k) == lots || count > 50);
                lots += book->orders[k].lots;
                older = k;
                count++;
            }
            assert(older == level->last && lots == level->lots && count == level->order_count);
            orders += count;
            levels++;
        }
    }
    assert(levels == side->level_count && orders == side->order_count);
}

static void
check(const nk_match *book)
{
    check_side(book, NK_MATCH_BUY);
    check_side(book, NK_MATCH_SELL);
    assert(book->order_count == book->sides[0].order_count + book->sides[1].order_count);
    nk_match_row bid;
    nk_match_row ask;
    if (nk_match_depth(book, NK_MATCH_BUY, &bid, 1) == 1 &&
        nk_match_depth(book, NK_MATCH_SELL, &ask, 1) == 1) {
        assert(bid.price_ticks < ask.price_ticks || !book->stops_self_trade);
        assert(bid.price_ticks < ask.price_ticks);
    }
}

static nk_status
submit(nk_match *book, int64_t id, int32_t sign, int64_t lots, int64_t ticks, nk_match_plan *plan)
{
    nk_match_taker taker = {id, lots, ticks, 0, sign};
    return nk_match_submit(book, &taker, plan);
}

static void
test_refusals_change_nothing(void)
{
    nk_match book;
    nk_match_fill fills[2];
    nk_match_plan plan = {fills, 2, 0, 0, 0, false};
    nk_match_init(&book, false);
    assert(submit(&book, 1, NK_MATCH_BUY, 1, 1, &plan) == NK_E_FULL);
    assert(nk_match_find(&book, 1) == NK_MATCH_NONE);
    assert(nk_match_reserve(&book, NK_MATCH_ORDERS_MAX + 1) == NK_E_RANGE);
    assert(nk_match_reserve(&book, 1) == NK_OK && book.order_capacity >= 1);
    assert(submit(&book, 1, NK_MATCH_BUY, 0, 1, &plan) == NK_E_RANGE);
    assert(submit(&book, 1, NK_MATCH_BUY, 1, -1, &plan) == NK_E_RANGE);
    assert(submit(&book, 1, 0, 1, 1, &plan) == NK_E_RANGE);
    for (int64_t id = 1; id <= 3; id++) {
        assert(submit(&book, id, NK_MATCH_SELL, 5, 10, &plan) == NK_OK);
    }
    assert(submit(&book, 2, NK_MATCH_SELL, 5, 10, &plan) == NK_E_EXISTS);
    /* Three fills do not fit two places: said, and not done. */
    assert(submit(&book, 9, NK_MATCH_BUY, 15, 10, &plan) == NK_E_FULL && plan.count == 3);
    assert(nk_match_lots_at(&book, NK_MATCH_SELL, 10) == 15);
    assert(submit(&book, 4, NK_MATCH_SELL, INT64_MAX - 14, 10, &plan) == NK_E_OVERFLOW);
    assert(submit(&book, 4, NK_MATCH_SELL, INT64_MAX - 15, 10, &plan) == NK_OK);
    assert(nk_match_lots_at(&book, NK_MATCH_SELL, 10) == INT64_MAX);
    check(&book);
    nk_match_free(&book);
    assert(book.order_capacity == 0 && nk_match_first(&book, NK_MATCH_SELL) == NK_MATCH_NONE);
}

static void
test_full_book_refuses_and_grows(void)
{
    nk_match book;
    nk_match_fill fills[FILLS_MAX];
    nk_match_plan plan = {fills, FILLS_MAX, 0, 0, 0, false};
    nk_match_init(&book, false);
    assert(nk_match_reserve(&book, 1) == NK_OK);
    int32_t capacity = book.order_capacity;
    for (int32_t i = 0; i < capacity; i++) {
        assert(submit(&book, i, NK_MATCH_BUY, 1, 1 + i, &plan) == NK_OK);
    }
    assert(submit(&book, capacity, NK_MATCH_BUY, 1, 1, &plan) == NK_E_FULL && plan.count == 0);
    assert(nk_match_reserve(&book, 2 * capacity) == NK_OK);
    assert(submit(&book, capacity, NK_MATCH_BUY, 1, 1, &plan) == NK_OK);
    check(&book);
    nk_match_free(&book);
}

static void
test_cost_needs_more_than_64_bits(void)
{
    nk_match book;
    nk_match_fill fills[1];
    nk_match_plan plan = {fills, 1, 0, 0, 0, false};
    nk_match_init(&book, false);
    assert(nk_match_reserve(&book, 1) == NK_OK);
    assert(submit(&book, 1, NK_MATCH_SELL, INT64_MAX - 1, INT64_MAX, &plan) == NK_OK);
    assert(submit(&book, 2, NK_MATCH_SELL, 1, INT64_MAX - 1, &plan) == NK_OK);
    nk_match_cost cost;
    nk_match_cost_to_fill(&book, NK_MATCH_BUY, INT64_MAX, &cost);
    /* (2^63-2)(2^63-1) + (2^63-2) = (2^63-2) * 2^63 = 2^126 - 2^64 */
    assert(cost.lots == INT64_MAX && cost.worst_ticks == INT64_MAX);
    assert(cost.ticks_lots.low == 0 && cost.ticks_lots.high == (INT64_C(1) << 62) - 1);
    nk_match_cost_to_fill(&book, NK_MATCH_SELL, 1, &cost);
    assert(cost.lots == 0 && cost.worst_ticks == 0 && cost.ticks_lots.high == 0);
    nk_match_free(&book);
}

static void
test_self_trade_stops_the_newcomer(void)
{
    nk_match book;
    nk_match_fill fills[4];
    nk_match_plan plan = {fills, 4, 0, 0, 0, false};
    nk_match_init(&book, true);
    assert(nk_match_reserve(&book, 8) == NK_OK);
    nk_match_taker foreign = {1, 5, 10, 7, NK_MATCH_SELL};
    nk_match_taker own = {2, 5, 10, 3, NK_MATCH_SELL};
    nk_match_taker taker = {3, 20, 11, 3, NK_MATCH_BUY};
    assert(nk_match_submit(&book, &foreign, &plan) == NK_OK);
    assert(nk_match_submit(&book, &own, &plan) == NK_OK);
    assert(nk_match_submit(&book, &taker, &plan) == NK_OK);
    assert(plan.is_self_trade && plan.count == 1 && plan.remaining == 15);
    assert(nk_match_find(&book, 3) == NK_MATCH_NONE && nk_match_find(&book, 2) != NK_MATCH_NONE);
    check(&book);
    nk_match_free(&book);
}

/* Random orders, few and many prices, with every invariant walked after each of them. */
static void
test_invariants_hold(uint64_t prices, int steps, int stride)
{
    nk_match book;
    static nk_match_fill fills[FILLS_MAX];
    nk_match_plan plan = {fills, FILLS_MAX, 0, 0, 0, false};
    nk_match_init(&book, false);
    for (int64_t id = 1; id <= steps; id++) {
        uint64_t what = random_below(10);
        int64_t ignored;
        if (book.order_count == book.order_capacity) {
            assert(nk_match_reserve(&book, 2 * book.order_capacity) == NK_OK);
        }
        if (what < 3) {
            int64_t victim = (int64_t)random_below((uint64_t)id);
            nk_status status = nk_match_cancel(&book, victim, &ignored);
            assert(status == NK_OK || status == NK_E_NOT_FOUND);
            assert(nk_match_find(&book, victim) == NK_MATCH_NONE);
        } else if (what < 4) {
            int64_t victim = (int64_t)random_below((uint64_t)id);
            nk_status status = nk_match_reduce(&book, victim, 2, &ignored);
            assert(status == NK_OK || status == NK_E_NOT_FOUND || ignored < 2);
        } else {
            int32_t sign = random_below(2) ? NK_MATCH_BUY : NK_MATCH_SELL;
            int64_t base = sign == NK_MATCH_BUY ? 1 : 1 + (int64_t)prices * 9 / 10;
            int64_t ticks = random_below(20) ? base + (int64_t)random_below(prices) : 0;
            int64_t lots = 1 + (int64_t)random_below(9);
            assert(submit(&book, id, sign, lots, ticks, &plan) == NK_OK);
            int64_t filled = 0;
            for (int32_t i = 0; i < plan.count; i++) {
                filled += fills[i].lots;
                assert(i == 0 || sign * fills[i].price_ticks >= sign * fills[i - 1].price_ticks);
            }
            assert(filled + plan.remaining == lots);
        }
        if (id % stride == 0) {
            check(&book);
        }
    }
    check(&book);
    int32_t seen = 0;
    for (int32_t s = nk_match_first(&book, NK_MATCH_BUY); s != NK_MATCH_NONE;
         s = nk_match_next(&book, s)) {
        seen++;
    }
    assert(seen == book.sides[0].order_count);
    nk_match_free(&book);
}

/* Of 100 orders: 45 new ones near the touch, 45 cancels of an order of recent days, 10 market. */
static void
measure(int32_t resting, int64_t orders)
{
    nk_match book;
    static nk_match_fill fills[FILLS_MAX];
    nk_match_plan plan = {fills, FILLS_MAX, 0, 0, 0, false};
    nk_match_init(&book, false);
    assert(nk_match_reserve(&book, resting + (int32_t)(orders / 2)) == NK_OK);
    int64_t next_id = 1;
    for (int32_t i = 0; i < resting; i++) {
        int32_t sign = i % 2 ? NK_MATCH_BUY : NK_MATCH_SELL;
        int64_t offset = 1 + (int64_t)random_below((uint64_t)resting);
        assert(submit(&book, next_id++, sign, 100, 10000000 - sign * offset, &plan) == NK_OK);
    }
    clock_t start = clock();
    int64_t fill_count = 0;
    for (int64_t i = 0; i < orders; i++) {
        uint64_t what = random_below(100);
        int32_t sign = random_below(2) ? NK_MATCH_BUY : NK_MATCH_SELL;
        int64_t ignored;
        if (what < 45) {
            int64_t ticks = 10000000 - sign * (int64_t)random_below(50);
            assert(submit(&book, next_id++, sign, 1 + (int64_t)(what % 7), ticks, &plan) == NK_OK);
        } else if (what < 90) {
            (void)nk_match_cancel(&book, 1 + (int64_t)random_below((uint64_t)next_id), &ignored);
        } else {
            assert(submit(&book, next_id++, sign, 5, 0, &plan) == NK_OK);
        }
        fill_count += plan.count;
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("%d resting, %lld orders: %.0f a second (%.0f ns each), %lld fills\n", resting,
           (long long)orders, (double)orders / seconds, seconds / (double)orders * 1e9,
           (long long)fill_count);
    nk_match_free(&book);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        int64_t orders = strtoll(argv[1], NULL, 10);
        measure(1000, orders);
        measure(100000, orders);
        measure(1000000, orders);
        return 0;
    }
    test_refusals_change_nothing();
    test_full_book_refuses_and_grows();
    test_cost_needs_more_than_64_bits();
    test_self_trade_stops_the_newcomer();
    test_invariants_hold(8, 3000, 1);
    test_invariants_hold(500, 5000, 7);
    test_invariants_hold(1000000, 20000, 500);
    puts("ok");
    return 0;
}
