/* nk_book.c - see nk_book.h. */
#include "nk_book.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_ALLOCATION = 16,
    /* Entries from the best on that are looked at one by one, and moved rather than left behind. */
    NEAR_ENTRIES = 16,
    /* Entries left behind are swept out when they are more than one in so many. */
    SWEEP_SHARE = 4
};

static void
side_init(nk_side *side, int64_t sign)
{
    side->entries = NULL;
    side->used = 0;
    side->count = 0;
    side->allocated = 0;
    side->sign = sign;
}

/* Make room for `needed` entries; on NK_E_MEMORY nothing changed. */
static nk_status
side_reserve(nk_side *side, size_t needed)
{
    size_t allocated = side->allocated ? side->allocated : FIRST_ALLOCATION;
    if (NK_LIKELY(needed <= side->allocated)) {
        return NK_OK;
    }
    while (allocated < needed) {
        allocated *= 2;
    }
    nk_entry *entries = realloc(side->entries, allocated * sizeof *entries);
    if (entries == NULL) {
        return NK_E_MEMORY;
    }
    side->entries = entries;
    side->allocated = (uint32_t)allocated;
    return NK_OK;
}

/* Returns the number of entries whose key is <= key: if there is one for the key itself, it is the
 * last of them. */
static uint32_t
side_find(const nk_side *side, int64_t key)
{
    const nk_entry *entries = side->entries;
    uint32_t high = side->used;
    uint32_t low = 0;
    if (high <= NEAR_ENTRIES || entries[high - NEAR_ENTRIES].key <= key) {
        while (high > 0 && entries[high - 1].key > key) {
            high--;
        }
        return high;
    }
    high -= NEAR_ENTRIES;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entries[middle].key <= key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void
side_sweep(nk_side *side)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < side->used; i++) {
        if (side->entries[i].size_lots > 0) {
            side->entries[kept++] = side->entries[i];
        }
    }
    assert(kept == side->count);
    side->used = kept;
}

/* Take the lots off the entry at an index. */
static void
side_remove(nk_side *side, uint32_t at)
{
    nk_entry *entries = side->entries;
    side->count--;
    if (side->used - at > NEAR_ENTRIES) {
        entries[at].size_lots = 0;
        if ((side->used - side->count) * SWEEP_SHARE > side->used) {
            side_sweep(side);
        }
        return;
    }
    side->used--;
    if (at < side->used) { /* a memmove of nothing costs a call */
        memmove(&entries[at], &entries[at + 1], (side->used - at) * sizeof *entries);
    }
    while (side->used > 0 && entries[side->used - 1].size_lots == 0) {
        side->used--;
    }
}

/* Set one level. Requires room for one more entry. */
static void
side_set(nk_side *side, int64_t price_ticks, int64_t size_lots)
{
    int64_t key = side->sign * price_ticks;
    uint32_t at = side_find(side, key);
    nk_entry *entries = side->entries;
    assert(price_ticks > 0 && size_lots >= 0);
    if (at > 0 && entries[at - 1].key == key) {
        bool was_level = entries[at - 1].size_lots > 0;
        if (size_lots > 0) {
            entries[at - 1].size_lots = size_lots;
            side->count += !was_level;
        } else if (was_level) {
            side_remove(side, at - 1);
        }
        return;
    }
    if (size_lots == 0) {
        return;
    }
    assert(side->used < side->allocated);
    if (at < side->used) {
        memmove(&entries[at + 1], &entries[at], (side->used - at) * sizeof *entries);
    }
    entries[at].key = key;
    entries[at].size_lots = size_lots;
    side->used++;
    side->count++;
}

/* Fill an emptied side. Requires room for `count` levels. */
static void
side_fill(nk_side *side, const nk_level *levels, size_t count)
{
    nk_entry *entries = side->entries;
    size_t written = 0;
    /* Exchanges send the best first: written from the back, such a snapshot needs no search. */
    for (; written < count; written++) {
        const nk_level *level = &levels[count - 1 - written];
        int64_t key = side->sign * level->price_ticks;
        assert(level->price_ticks > 0 && level->size_lots >= 0);
        if (level->size_lots == 0 || (written > 0 && entries[written - 1].key >= key)) {
            break;
        }
        entries[written].key = key;
        entries[written].size_lots = level->size_lots;
    }
    side->used = side->count = written == count ? (uint32_t)count : 0;
    if (written == count) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        side_set(side, levels[i].price_ticks, levels[i].size_lots);
    }
}

/* memcpy must not be given NULL, which an empty side has. */
static void
copy_entries(nk_entry *to, const nk_entry *from, size_t count)
{
    if (count > 0) {
        memcpy(to, from, count * sizeof *to);
    }
}

static void
side_apply(nk_side *side, const nk_level *levels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        side_set(side, levels[i].price_ticks, levels[i].size_lots);
    }
}

void
nk_book_init(nk_book *book, uint32_t level_limit)
{
    assert(level_limit > 0 && level_limit <= NK_BOOK_LEVEL_LIMIT_MAX);
    side_init(&book->bids, 1);
    side_init(&book->asks, -1);
    book->sequence = -1;
    book->version = 0;
    book->level_limit = level_limit;
    book->state = NK_BOOK_EMPTY;
}

void
nk_book_free(nk_book *book)
{
    free(book->bids.entries);
    free(book->asks.entries);
    side_init(&book->bids, 1);
    side_init(&book->asks, -1);
}

void
nk_book_clear(nk_book *book)
{
    book->bids.used = book->bids.count = 0;
    book->asks.used = book->asks.count = 0;
    book->sequence = -1;
    book->version++;
    book->state = NK_BOOK_EMPTY;
}

bool
nk_book_mark_stale(nk_book *book)
{
    if (book->state != NK_BOOK_LIVE) {
        return false;
    }
    book->state = NK_BOOK_STALE;
    book->version++;
    return true;
}

nk_turn
nk_book_turn(const nk_book *book, int64_t sequence)
{
    if (book->state != NK_BOOK_LIVE) {
        return NK_TURN_NOT_LIVE;
    }
    if (sequence <= book->sequence) {
        return NK_TURN_OLD;
    }
    return sequence - book->sequence == 1 ? NK_TURN_NEXT : NK_TURN_AHEAD;
}

/* The best level of a side as it was, to compare with later. */
static nk_entry
side_top(const nk_side *side)
{
    static const nk_entry none = {0, 0};
    return side->count > 0 ? side->entries[side->used - 1] : none;
}

static bool
same_entry(nk_entry a, nk_entry b)
{
    return a.key == b.key && a.size_lots == b.size_lots;
}

static void
book_changed(nk_book *book, int64_t sequence)
{
    book->sequence = sequence;
    book->state = NK_BOOK_LIVE;
    book->version++;
}

nk_status
nk_book_snapshot(nk_book *book, const nk_change *change, int64_t sequence, bool *top_changed)
{
    nk_entry bid = side_top(&book->bids);
    nk_entry ask = side_top(&book->asks);
    assert(sequence >= 0);
    if (change->bid_count > book->level_limit || change->ask_count > book->level_limit) {
        return NK_E_FULL;
    }
    if (side_reserve(&book->bids, change->bid_count) != NK_OK ||
        side_reserve(&book->asks, change->ask_count) != NK_OK) {
        return NK_E_MEMORY;
    }
    side_fill(&book->bids, change->bids, change->bid_count);
    side_fill(&book->asks, change->asks, change->ask_count);
    book_changed(book, sequence);
    *top_changed =
        !same_entry(bid, side_top(&book->bids)) || !same_entry(ask, side_top(&book->asks));
    return NK_OK;
}

/* Near the limit only the result tells whether it fits: apply, and put the sides back if not. */
static nk_status
update_near_limit(nk_book *book, const nk_change *change)
{
    nk_side bids = book->bids;
    nk_side asks = book->asks;
    nk_entry *saved = malloc((bids.used + asks.used + 1) * sizeof *saved);
    if (saved == NULL) {
        return NK_E_MEMORY;
    }
    copy_entries(saved, bids.entries, bids.used);
    copy_entries(saved + bids.used, asks.entries, asks.used);
    side_apply(&book->bids, change->bids, change->bid_count);
    side_apply(&book->asks, change->asks, change->ask_count);
    bool fits = book->bids.count <= book->level_limit && book->asks.count <= book->level_limit;
    if (!fits) {
        copy_entries(bids.entries, saved, bids.used);
        copy_entries(asks.entries, saved + bids.used, asks.used);
        book->bids = bids;
        book->asks = asks;
    }
    free(saved);
    return fits ? NK_OK : NK_E_FULL;
}

nk_status
nk_book_update(nk_book *book, const nk_change *change, int64_t sequence, bool *top_changed)
{
    nk_entry bid = side_top(&book->bids);
    nk_entry ask = side_top(&book->asks);
    size_t bids_after = book->bids.count + change->bid_count; /* at most */
    size_t asks_after = book->asks.count + change->ask_count;
    assert(nk_book_turn(book, sequence) == NK_TURN_NEXT);
    if (change->bid_count > book->level_limit || change->ask_count > book->level_limit) {
        return NK_E_FULL;
    }
    if (side_reserve(&book->bids, book->bids.used + change->bid_count) != NK_OK ||
        side_reserve(&book->asks, book->asks.used + change->ask_count) != NK_OK) {
        return NK_E_MEMORY;
    }
    if (NK_LIKELY(bids_after <= book->level_limit && asks_after <= book->level_limit)) {
        side_apply(&book->bids, change->bids, change->bid_count);
        side_apply(&book->asks, change->asks, change->ask_count);
    } else {
        nk_status status = update_near_limit(book, change);
        if (status != NK_OK) {
            return status;
        }
    }
    book_changed(book, sequence);
    *top_changed =
        !same_entry(bid, side_top(&book->bids)) || !same_entry(ask, side_top(&book->asks));
    return NK_OK;
}

static void
side_take_off(nk_side *side, const nk_level *own, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t resting = nk_side_size_at(side, own[i].price_ticks);
        assert(own[i].size_lots >= 0);
        if (resting > 0) {
            int64_t rest = own[i].size_lots < resting ? resting - own[i].size_lots : 0;
            side_set(side, own[i].price_ticks, rest);
        }
    }
}

static void
copy_side(nk_side *copy, const nk_side *side)
{
    copy_entries(copy->entries, side->entries, side->used);
    copy->used = side->used;
    copy->count = side->count;
}

nk_status
nk_book_copy_without(const nk_book *book, const nk_change *own, nk_book *copy)
{
    assert(copy != book);
    if (side_reserve(&copy->bids, book->bids.used) != NK_OK ||
        side_reserve(&copy->asks, book->asks.used) != NK_OK) {
        return NK_E_MEMORY;
    }
    copy_side(&copy->bids, &book->bids);
    copy_side(&copy->asks, &book->asks);
    copy->sequence = book->sequence;
    copy->version = book->version;
    copy->level_limit = book->level_limit;
    copy->state = book->state;
    side_take_off(&copy->bids, own->bids, own->bid_count);
    side_take_off(&copy->asks, own->asks, own->ask_count);
    return NK_OK;
}

bool
nk_book_is_crossed(const nk_book *book)
{
    nk_level bid, ask;
    return nk_side_best(&book->bids, &bid) && nk_side_best(&book->asks, &ask) &&
           bid.price_ticks >= ask.price_ticks;
}

int64_t
nk_side_size_at(const nk_side *side, int64_t price_ticks)
{
    int64_t key = side->sign * price_ticks;
    uint32_t at = side_find(side, key);
    return at > 0 && side->entries[at - 1].key == key ? side->entries[at - 1].size_lots : 0;
}

size_t
nk_side_depth(const nk_side *side, size_t limit, nk_level *levels)
{
    size_t count = limit < side->count ? limit : side->count;
    size_t at = side->used;
    for (size_t written = 0; written < count;) {
        const nk_entry *entry = &side->entries[--at];
        if (entry->size_lots > 0) {
            levels[written].price_ticks = side->sign * entry->key;
            levels[written].size_lots = entry->size_lots;
            written++;
        }
    }
    return count;
}

nk_walk
nk_side_take(const nk_side *side, int64_t lots)
{
    nk_walk walk = {0, 0, {0, 0}};
    assert(lots >= 0);
    for (uint32_t i = side->used; i > 0 && walk.filled_lots < lots; i--) {
        const nk_entry *entry = &side->entries[i - 1];
        int64_t wanted = lots - walk.filled_lots;
        int64_t taken = entry->size_lots < wanted ? entry->size_lots : wanted;
        if (taken > 0) {
            walk.worst_ticks = side->sign * entry->key;
            walk.filled_lots += taken;
            walk.cost = nk_int128_add(walk.cost, nk_int128_multiply(walk.worst_ticks, taken));
        }
    }
    return walk;
}

int64_t
nk_side_afford(const nk_side *side, nk_int128 budget)
{
    int64_t lots = 0;
    assert(budget.high >= 0);
    for (uint32_t i = side->used; i > 0; i--) {
        const nk_entry *entry = &side->entries[i - 1];
        int64_t ticks = side->sign * entry->key;
        nk_int128 cost = nk_int128_multiply(ticks, entry->size_lots);
        int64_t taken = entry->size_lots;
        bool is_last = nk_int128_compare(cost, budget) > 0;
        if (is_last) {
            /* budget < ticks * size, so the quotient is below the size and fits. */
            nk_uint128 rest = {budget.low, (uint64_t)budget.high};
            uint64_t remainder;
            taken = (int64_t)nk_uint128_divide(rest, (uint64_t)ticks, &remainder).low;
        }
        if (taken > INT64_MAX - lots) {
            return INT64_MAX;
        }
        lots += taken;
        if (is_last) {
            break;
        }
        budget = nk_int128_subtract(budget, cost);
    }
    return lots;
}
