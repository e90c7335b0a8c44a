/* nk_cycle.h - cycles of the market graph, screened by the best prices.
 *
 * Every market is two arcs: 2 * market sells (base to quote), 2 * market + 1 buys (quote to base).
 * All directed cycles are listed once, when the graph is built, and again under each of
 * their arcs, so that a change of one market looks at the cycles through it and at nothing else.
 *
 * The screen multiplies rates in binary floats that are rounded up: it may let through what does
 * not pay, never the other way round. Whether a cycle pays is for exact arithmetic to say.
 */
#ifndef NK_CYCLE_H
#define NK_CYCLE_H

#include "nk_base.h"
#include "nk_book.h"

#define NK_CYCLE_LENGTH_MIN 3
#define NK_CYCLE_LENGTH_MAX 4
#define NK_CYCLE_MARKETS_MAX (1 << 20)

/* One market as the screen sees it. */
typedef struct nk_cycle_market {
    const nk_book *book; /* borrowed; NULL while there is none */
    double sell_scale;   /* quote for one base = best bid in ticks * sell_scale, after the fee */
    double buy_scale;    /* base for one quote = buy_scale / best ask in ticks, after the fee */
    int32_t base;        /* asset */
    int32_t quote;       /* asset, another one */
    bool is_listed;      /* part of the graph */
    bool can_sell;
    bool can_buy;
} nk_cycle_market;

/* All cycles of one length. */
typedef struct nk_cycle_table {
    int32_t *cycles; /* count * length arcs, each cycle from its lowest arc on */
    int32_t *others; /* the other arcs of every cycle through an arc, in order after it */
    int64_t *starts; /* arc_count + 1 places in `others`, in cycles of length - 1 arcs */
    int64_t count;
} nk_cycle_table;

typedef struct nk_cycle {
    nk_cycle_market *markets; /* borrowed, market_count entries */
    double *rates;            /* of every arc; 0 where it cannot be taken */
    nk_cycle_table tables[NK_CYCLE_LENGTH_MAX - NK_CYCLE_LENGTH_MIN + 1];
    int32_t market_count;
    int32_t max_length;
} nk_cycle;

/* A cycle that passed the screen. */
typedef struct nk_cycle_hit {
    double ratio; /* at most so much comes back for one that goes in */
    int32_t length;
    int32_t arcs[NK_CYCLE_LENGTH_MAX];
} nk_cycle_hit;

/* List the cycles of a graph.
 *
 * Requires  0 <= market_count <= NK_CYCLE_MARKETS_MAX; assets are 0..asset_count - 1 and is_start
 *           has asset_count entries; max_length is 3 or 4; `index` is zeroed or was built before.
 * Ensures   every directed cycle of distinct assets with a start asset among them is listed;
 *           all rates are 0.
 * Returns   NK_OK, or NK_E_MEMORY (index unchanged).
 */
nk_status nk_cycle_build(nk_cycle *index, nk_cycle_market *markets, int32_t market_count,
                         const bool *is_start, int32_t asset_count, int32_t max_length);

/* Give the memory back; the index is as if zeroed. */
void nk_cycle_free(nk_cycle *index);

/* Read the rates of one market from its book: 0 unless the book is live and not crossed. */
void nk_cycle_refresh(nk_cycle *index, int32_t market);

/* Cycles through a market whose screened ratio is at least `limit`.
 *
 * Requires  limit > 0; hits has `capacity` entries.
 * Returns   how many there are; the first `capacity` of them are written.
 * Cost      O(cycles through the market), a few nanoseconds each.
 */
int64_t nk_cycle_screen_market(const nk_cycle *index, int32_t market, double limit,
                               nk_cycle_hit *hits, int64_t capacity);

/* The same over all cycles. */
int64_t nk_cycle_screen_all(const nk_cycle *index, double limit, nk_cycle_hit *hits,
                            int64_t capacity);

#endif /* NK_CYCLE_H */
