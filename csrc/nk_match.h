/* nk_match.h - price-time priority matching of one market.
 *
 * Orders of one price form a queue, oldest first. The levels of a side are kept sorted in leaves
 * of at most NK_MATCH_LEAF_MAX entries, the best price last in the last leaf: what happens at
 * the touch moves a few words, and a book with a million different prices still moves no more than
 * one leaf and, rarely, one directory entry. Orders are found by id in an open-addressing table.
 *
 * Only nk_match_reserve takes memory. Everything else either has the room or says NK_E_FULL, and
 * a refused call has changed nothing.
 */
#ifndef NK_MATCH_H
#define NK_MATCH_H

#include "nk_base.h"
#include "nk_int128.h"

#define NK_MATCH_BUY 1
#define NK_MATCH_SELL (-1)
#define NK_MATCH_NONE (-1)            /* no such slot */
#define NK_MATCH_LEAF_MAX 64          /* levels in one leaf */
#define NK_MATCH_ORDERS_MAX (1 << 29) /* orders in one book */

/* A resting order. */
typedef struct nk_match_order {
    int64_t id;
    int64_t lots;  /* remaining, > 0 */
    int64_t owner; /* 0 = nobody's */
    int32_t level; /* slot of its level */
    int32_t older; /* slot of the order before it in the queue, or NK_MATCH_NONE */
    int32_t younger;
} nk_match_order;

/* All orders resting at one price. */
typedef struct nk_match_level {
    int64_t price_ticks;
    int64_t lots;  /* of all its orders */
    int32_t first; /* slot of the oldest order */
    int32_t last;
    int32_t order_count;
    int32_t sign; /* NK_MATCH_BUY or NK_MATCH_SELL */
} nk_match_level;

/* A run of levels by key; a key is sign * price_ticks, so that higher is better on both sides. */
typedef struct nk_match_leaf {
    int64_t keys[NK_MATCH_LEAF_MAX];
    int32_t levels[NK_MATCH_LEAF_MAX];
    int32_t count;
} nk_match_leaf;

typedef struct nk_match_side {
    int64_t *floors; /* no key of leaf i is below floors[i] */
    int32_t *leaves; /* slots of the leaves, worst first */
    int32_t leaf_count;
    int32_t level_count;
    int32_t order_count;
} nk_match_side;

typedef struct nk_match_id {
    int64_t id;
    int32_t slot; /* NK_MATCH_NONE where the entry is free */
} nk_match_id;

/* Slots of orders, levels and leaves: first those given back, then the untouched ones. */
typedef struct nk_match_pool {
    int32_t free_first; /* head of the list of slots given back */
    int32_t used;       /* slots ever given out */
} nk_match_pool;

typedef struct nk_match {
    nk_match_order *orders; /* order_capacity entries; everything here is owned by the book */
    nk_match_level *levels; /* order_capacity entries */
    nk_match_leaf *leaves;
    nk_match_id *ids;       /* id_mask + 1 entries */
    nk_match_side sides[2]; /* buys, sells */
    nk_match_pool order_pool;
    nk_match_pool level_pool;
    nk_match_pool leaf_pool;
    uint64_t id_mask;
    int32_t order_capacity;
    int32_t order_count;
    bool stops_self_trade; /* an order stops where it would meet one of its own owner */
} nk_match;

/* An order that arrives. */
typedef struct nk_match_taker {
    int64_t id;
    int64_t lots;
    int64_t price_ticks; /* 0 = a market order */
    int64_t owner;       /* 0 = nobody's */
    int32_t sign;
} nk_match_taker;

typedef struct nk_match_fill {
    int64_t maker_id;
    int64_t price_ticks; /* of the maker */
    int64_t lots;
    int64_t maker_remaining;
    int64_t taker_remaining;
    int32_t maker_slot;
} nk_match_fill;

/* What an arriving order will do; true until the book changes. */
typedef struct nk_match_plan {
    nk_match_fill *fills; /* the caller's, `capacity` entries */
    int32_t capacity;
    int32_t count;      /* fills, best price and oldest order first */
    int64_t remaining;  /* lots that do not fill */
    int32_t rest_level; /* level where the remainder will rest, NK_MATCH_NONE = a new one */
    bool is_self_trade; /* stopped by stops_self_trade: the remainder is gone */
} nk_match_plan;

typedef struct nk_match_row {
    int64_t price_ticks;
    int64_t lots;
} nk_match_row;

/* Result of walking a side. */
typedef struct nk_match_cost {
    int64_t lots;         /* filled */
    nk_int128 ticks_lots; /* sum of price_ticks * lots */
    int64_t worst_ticks;  /* of the last level touched; 0 when nothing fills */
} nk_match_cost;

/* Make an empty book without memory.
 *
 * Ensures   order_capacity == 0; nk_match_free may be called.
 */
void nk_match_init(nk_match *book, bool stops_self_trade);

/* Give all memory back; the book is as after nk_match_init. */
void nk_match_free(nk_match *book);

/* Make room for at least `order_capacity` resting orders; never shrinks.
 *
 * Returns   NK_OK, NK_E_RANGE above NK_MATCH_ORDERS_MAX, or NK_E_MEMORY (unchanged).
 * Cost      O(order_capacity).
 */
nk_status nk_match_reserve(nk_match *book, int32_t order_capacity);

/* Say what an arriving order would do, changing nothing.
 *
 * Requires  plan->fills has plan->capacity entries.
 * Ensures   plan says the fills, the remainder and where it will rest.
 * Returns   NK_OK;
 *           NK_E_RANGE     lots <= 0, price_ticks < 0, or sign is neither side;
 *           NK_E_EXISTS    an order with this id rests;
 *           NK_E_FULL      no room for one more order (plan->count is 0), or for the fills
 *                          (plan->count is what they need);
 *           NK_E_OVERFLOW  the level would hold more than INT64_MAX lots.
 * Cost      O(fills) at the touch, plus a search of O(log levels) for a limit order.
 */
nk_status nk_match_make_plan(const nk_match *book, const nk_match_taker *taker,
                             nk_match_plan *plan);

/* Do what a plan says.
 *
 * Requires  plan comes from nk_match_make_plan with this taker, and the book has not changed since.
 * Ensures   makers are reduced or gone; the remainder of a limit order rests, last in its queue.
 * Cost      O(fills + distance from the touch), at most a leaf and the directory.
 */
void nk_match_apply(nk_match *book, const nk_match_taker *taker, const nk_match_plan *plan);

/* Plan and apply. Returns as nk_match_make_plan; unless NK_OK, nothing was changed. */
nk_status nk_match_submit(nk_match *book, const nk_match_taker *taker, nk_match_plan *plan);

/* Take a resting order out.
 *
 * Returns   NK_OK with its remaining lots, or NK_E_NOT_FOUND.
 * Cost      O(1), and the removal of a level when it was the last of its price.
 */
nk_status nk_match_cancel(nk_match *book, int64_t id, int64_t *lots);

/* Take lots off a resting order, which keeps its place; all of them take it out.
 *
 * Returns   NK_OK with what remains, NK_E_NOT_FOUND, or NK_E_RANGE unless 0 < lots <= remaining.
 */
nk_status nk_match_reduce(nk_match *book, int64_t id, int64_t lots, int64_t *remaining);

/* Slot of a resting order, or NK_MATCH_NONE. Cost O(1). */
int32_t nk_match_find(const nk_match *book, int64_t id);

/* Lots that must trade before this order does, at its own price. Cost O(orders before it). */
int64_t nk_match_lots_ahead(const nk_match *book, int32_t slot);

/* Slot of the order that trades first, or NK_MATCH_NONE. */
int32_t nk_match_first(const nk_match *book, int32_t sign);

/* Slot of the order that trades after this one, or NK_MATCH_NONE. */
int32_t nk_match_next(const nk_match *book, int32_t slot);

/* Write at most `capacity` levels, best first; returns how many. */
int32_t nk_match_depth(const nk_match *book, int32_t sign, nk_match_row *rows, int32_t capacity);

/* Lots resting at a price; 0 where there is no level. Cost O(log levels). */
int64_t nk_match_lots_at(const nk_match *book, int32_t sign, int64_t price_ticks);

/* What a market order of `lots` on side `sign` would pay or get now.
 *
 * Requires  lots >= 0.
 * Ensures   the cost is exact: no more than INT64_MAX lots at no more than INT64_MAX ticks.
 * Cost      O(levels walked).
 */
void nk_match_cost_to_fill(const nk_match *book, int32_t sign, int64_t lots, nk_match_cost *cost);

#endif /* NK_MATCH_H */
