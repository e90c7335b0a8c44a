/* nk_book.h - the price levels of one market, both sides.
 *
 * A side is one dense array with the best level at its END. Most changes happen near the best
 * price, so an insert or a removal moves a few levels, whatever the depth. A removal far from the
 * best moves nothing: it leaves its entry behind with no lots, to be used again by the same price
 * or swept out together with others. An entry is filed under a key that grows toward the best price
 * (the price of a bid, minus the price of an ask), so that both sides run through the same code.
 */
#ifndef NK_BOOK_H
#define NK_BOOK_H

#include "nk_base.h"
#include "nk_int128.h"

typedef struct nk_level {
    int64_t price_ticks; /* > 0 */
    int64_t size_lots;   /* >= 0; in a change, 0 removes the level */
} nk_level;

typedef struct nk_entry {
    int64_t key;       /* sign * price_ticks */
    int64_t size_lots; /* 0 in an entry left behind */
} nk_entry;

typedef struct nk_side {
    nk_entry *entries;  /* owned; keys strictly ascending: the worst first; the last one has lots */
    uint32_t used;      /* entries, with those left behind */
    uint32_t count;     /* levels: entries that have lots */
    uint32_t allocated; /* room in `entries`, grown by doubling */
    int64_t sign;       /* +1 bids, -1 asks */
} nk_side;

typedef enum nk_book_state {
    NK_BOOK_EMPTY, /* no snapshot yet */
    NK_BOOK_LIVE,
    NK_BOOK_STALE /* something was missed; the levels are the last ones known */
} nk_book_state;

/* What a sequence number means to a book. */
typedef enum nk_turn {
    NK_TURN_NEXT,
    NK_TURN_OLD,     /* already contained */
    NK_TURN_AHEAD,   /* something in between is missing */
    NK_TURN_NOT_LIVE /* no snapshot to apply it to */
} nk_turn;

typedef struct nk_book {
    nk_side bids;
    nk_side asks;
    int64_t sequence; /* of the last change applied; -1 before the first snapshot */
    uint64_t version; /* grows with every change, also of the state */
    uint32_t level_limit;
    nk_book_state state;
} nk_book;

/* One message's worth of levels, in the order received; of one price named twice the last holds. */
typedef struct nk_change {
    const nk_level *bids;
    const nk_level *asks;
    size_t bid_count;
    size_t ask_count;
} nk_change;

enum { NK_BOOK_LEVEL_LIMIT_MAX = 1 << 24 };

/* Requires  0 < level_limit <= NK_BOOK_LEVEL_LIMIT_MAX.
 * Ensures   an empty book without memory of its own.
 */
void nk_book_init(nk_book *book, uint32_t level_limit);

/* Give the memory back; the book may be initialised again. */
void nk_book_free(nk_book *book);

/* Forget every level and the sequence; the state is NK_BOOK_EMPTY. Keeps the memory. */
void nk_book_clear(nk_book *book);

/* Declare a live book stale; an empty one stays empty.
 *
 * Returns  true when the state changed.
 */
bool nk_book_mark_stale(nk_book *book);

/* Returns  what an update with this sequence number is to the book. */
nk_turn nk_book_turn(const nk_book *book, int64_t sequence);

/* Replace everything by a snapshot, whatever its sequence, and make the book live.
 *
 * Requires  every price > 0, every size >= 0, sequence >= 0.
 * Ensures   all or nothing; with NK_OK *top_changed says whether a best level is another one.
 * Returns   NK_OK, NK_E_FULL (more levels than the limit), NK_E_MEMORY.
 * Cost      O(levels) when each side comes best first, as exchanges send it.
 */
nk_status nk_book_snapshot(nk_book *book, const nk_change *change, int64_t sequence,
                           bool *top_changed);

/* Apply one update.
 *
 * Requires  as nk_book_snapshot, and nk_book_turn(book, sequence) == NK_TURN_NEXT.
 * Ensures   all or nothing; with NK_OK *top_changed says whether a best level is another one.
 * Returns   NK_OK, NK_E_FULL (a side would end above the limit), NK_E_MEMORY.
 * Cost      a level near the best: O(distance). A deep one: O(log count) to find, O(1) to change or
 *           remove (amortised), one memmove toward the best to insert.
 */
nk_status nk_book_update(nk_book *book, const nk_change *change, int64_t sequence,
                         bool *top_changed);

/* Make `copy` equal to `book`, with the lots of `own` taken off its levels; a level with nothing
 * left is removed, and own lots at a price the book does not have are ignored.
 *
 * Requires  copy is initialised and not `book`; every own size >= 0.
 * Returns   NK_OK, or NK_E_MEMORY (copy unchanged).
 * Cost      O(levels).
 */
nk_status nk_book_copy_without(const nk_book *book, const nk_change *own, nk_book *copy);

/* Returns  true when the best bid is at or above the best ask. */
bool nk_book_is_crossed(const nk_book *book);

/* Returns  false when the side is empty, else the best level in *level. */
NK_INLINE bool
nk_side_best(const nk_side *side, nk_level *level)
{
    if (side->count == 0) {
        return false;
    }
    const nk_entry *best = &side->entries[side->used - 1];
    level->price_ticks = side->sign * best->key;
    level->size_lots = best->size_lots;
    return true;
}

/* Returns  the lots at a price, 0 when there is no such level. */
int64_t nk_side_size_at(const nk_side *side, int64_t price_ticks);

/* Write the best levels, best first.
 *
 * Requires  levels has room for `limit` of them.
 * Returns   how many were written: min(limit, side->count).
 */
size_t nk_side_depth(const nk_side *side, size_t limit, nk_level *levels);

/* What a walk into a side comes to. */
typedef struct nk_walk {
    int64_t filled_lots;
    int64_t worst_ticks; /* price of the last level touched; 0 when none was */
    nk_int128 cost;      /* sum of ticks * lots, exact; below 2^126 */
} nk_walk;

/* Take `lots` from the best level on.
 *
 * Requires  lots >= 0.
 * Returns   the walk; filled_lots < lots when the side is too thin.
 */
nk_walk nk_side_take(const nk_side *side, int64_t lots);

/* Returns  the most whole lots that a walk costing at most `budget` (ticks * lots, >= 0) can take;
 *          at most INT64_MAX.
 */
int64_t nk_side_afford(const nk_side *side, nk_int128 budget);

#endif /* NK_BOOK_H */
