/* nk_match.c - price-time priority matching of one market.
 *
 * Why leaves: a sorted array is the fastest structure near the touch, where almost everything
 * happens, but one array of a million prices would move megabytes for an insertion far from it.
 * Leaves of 64 keep the moves short. Two neighbours together always hold more than half a leaf,
 * which bounds the leaves by the levels, so nk_match_reserve can take all memory beforehand.
 */
#include "nk_match.h"

#include <stdlib.h>
#include <string.h>

#define LEAF_MERGE (NK_MATCH_LEAF_MAX / 2) /* neighbours of no more than this become one */
#define CAPACITY_MIN 64

/* Leaves that `level_count` levels on two sides can need: see the invariant above. */
static int32_t
leaf_capacity(int32_t level_count)
{
    return 2 * (level_count / (LEAF_MERGE + 1)) + 4;
}

/* ---- pools: the slots given back form a list through the array that holds them ---- */

static void
pool_init(nk_match_pool *pool)
{
    pool->free_first = NK_MATCH_NONE;
    pool->used = 0;
}

static int32_t
order_take(nk_match *book)
{
    int32_t slot = book->order_pool.free_first;
    if (slot == NK_MATCH_NONE) {
        assert(book->order_pool.used < book->order_capacity);
        return book->order_pool.used++;
    }
    book->order_pool.free_first = book->orders[slot].younger;
    return slot;
}

static void
order_give_back(nk_match *book, int32_t slot)
{
    book->orders[slot].younger = book->order_pool.free_first;
    book->order_pool.free_first = slot;
}

static int32_t
level_take(nk_match *book)
{
    int32_t slot = book->level_pool.free_first;
    if (slot == NK_MATCH_NONE) {
        assert(book->level_pool.used < book->order_capacity);
        return book->level_pool.used++;
    }
    book->level_pool.free_first = book->levels[slot].first;
    return slot;
}

static void
level_give_back(nk_match *book, int32_t slot)
{
    book->levels[slot].first = book->level_pool.free_first;
    book->level_pool.free_first = slot;
}

static int32_t
leaf_take(nk_match *book)
{
    int32_t slot = book->leaf_pool.free_first;
    if (slot == NK_MATCH_NONE) {
        assert(book->leaf_pool.used < leaf_capacity(book->order_capacity));
        slot = book->leaf_pool.used++;
    } else {
        book->leaf_pool.free_first = book->leaves[slot].levels[0];
    }
    book->leaves[slot].count = 0;
    return slot;
}

static void
leaf_give_back(nk_match *book, int32_t slot)
{
    book->leaves[slot].levels[0] = book->leaf_pool.free_first;
    book->leaf_pool.free_first = slot;
}

/* ---- ids: linear probing at a load of at most one half ---- */

static uint64_t
id_home(const nk_match *book, int64_t id)
{
    /* Fibonacci hashing, and the high half folded down: ids are often multiples of something. */
    uint64_t hash = (uint64_t)id * UINT64_C(0x9E3779B97F4A7C15);
    return (hash ^ (hash >> 32)) & book->id_mask;
}

/* Entry that holds the id, or the free one where it would go. */
static uint64_t
id_entry(const nk_match *book, int64_t id)
{
    uint64_t entry = id_home(book, id);
    while (book->ids[entry].slot != NK_MATCH_NONE && book->ids[entry].id != id) {
        entry = (entry + 1) & book->id_mask;
    }
    return entry;
}

static void
id_put(nk_match *book, int64_t id, int32_t slot)
{
    uint64_t entry = id_entry(book, id);
    assert(book->ids[entry].slot == NK_MATCH_NONE);
    book->ids[entry].id = id;
    book->ids[entry].slot = slot;
}

/* Free an entry by moving later ones of its run back, so that no tombstones are needed. */
static void
id_remove(nk_match *book, int64_t id)
{
    uint64_t hole = id_entry(book, id);
    assert(book->ids[hole].slot != NK_MATCH_NONE);
    uint64_t entry = hole;
    for (;;) {
        entry = (entry + 1) & book->id_mask;
        if (book->ids[entry].slot == NK_MATCH_NONE) {
            break;
        }
        uint64_t home = id_home(book, book->ids[entry].id);
        /* It may move back unless its home lies behind the hole. */
        if (((entry - home) & book->id_mask) >= ((entry - hole) & book->id_mask)) {
            book->ids[hole] = book->ids[entry];
            hole = entry;
        }
    }
    book->ids[hole].slot = NK_MATCH_NONE;
}

/* ---- the sorted levels of a side ---- */

/* Where a key is, or would be inserted. */
typedef struct position {
    int32_t leaf_index; /* in side->leaves; NK_MATCH_NONE when the side is empty */
    int32_t index;      /* in the leaf */
    bool is_found;
} position;

static int
side_index(int32_t sign)
{
    assert(sign == NK_MATCH_BUY || sign == NK_MATCH_SELL);
    return sign == NK_MATCH_BUY ? 0 : 1;
}

static position
side_search(const nk_match *book, const nk_match_side *side, int64_t key)
{
    position at = {NK_MATCH_NONE, 0, false};
    if (side->leaf_count == 0) {
        return at;
    }
    /* The last leaf first: it holds the touch. */
    int32_t low = side->leaf_count - 1;
    if (side->floors[low] > key) {
        int32_t high = low; /* floors[high] > key; leaf 0 takes whatever is below all floors */
        low = 0;
        while (high - low > 1) {
            int32_t middle = low + (high - low) / 2;
            if (side->floors[middle] > key) {
                high = middle;
            } else {
                low = middle;
            }
        }
    }
    const nk_match_leaf *leaf = &book->leaves[side->leaves[low]];
    int32_t first = 0;
    int32_t last = leaf->count; /* keys before first are below; keys from last on are not */
    while (first < last) {
        int32_t middle = first + (last - first) / 2;
        if (leaf->keys[middle] < key) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    at.leaf_index = low;
    at.index = first;
    at.is_found = first < leaf->count && leaf->keys[first] == key;
    return at;
}

static void
leaf_insert(nk_match_leaf *leaf, int32_t index, int64_t key, int32_t level)
{
    assert(leaf->count < NK_MATCH_LEAF_MAX && index <= leaf->count);
    size_t moved = (size_t)(leaf->count - index);
    memmove(&leaf->keys[index + 1], &leaf->keys[index], moved * sizeof leaf->keys[0]);
    memmove(&leaf->levels[index + 1], &leaf->levels[index], moved * sizeof leaf->levels[0]);
    leaf->keys[index] = key;
    leaf->levels[index] = level;
    leaf->count++;
}

static void
directory_insert(nk_match_side *side, int32_t leaf_index, int64_t floor_key, int32_t leaf)
{
    size_t moved = (size_t)(side->leaf_count - leaf_index);
    memmove(&side->floors[leaf_index + 1], &side->floors[leaf_index],
            moved * sizeof side->floors[0]);
    memmove(&side->leaves[leaf_index + 1], &side->leaves[leaf_index],
            moved * sizeof side->leaves[0]);
    side->floors[leaf_index] = floor_key;
    side->leaves[leaf_index] = leaf;
    side->leaf_count++;
}

static void
directory_remove(nk_match *book, nk_match_side *side, int32_t leaf_index)
{
    leaf_give_back(book, side->leaves[leaf_index]);
    size_t moved = (size_t)(side->leaf_count - leaf_index - 1);
    memmove(&side->floors[leaf_index], &side->floors[leaf_index + 1],
            moved * sizeof side->floors[0]);
    memmove(&side->leaves[leaf_index], &side->leaves[leaf_index + 1],
            moved * sizeof side->leaves[0]);
    side->leaf_count--;
}

static void
side_insert(nk_match *book, nk_match_side *side, int64_t key, int32_t level)
{
    position at = side_search(book, side, key);
    assert(!at.is_found);
    side->level_count++;
    if (at.leaf_index == NK_MATCH_NONE) {
        int32_t slot = leaf_take(book);
        directory_insert(side, 0, key, slot);
        leaf_insert(&book->leaves[slot], 0, key, level);
        return;
    }
    nk_match_leaf *leaf = &book->leaves[side->leaves[at.leaf_index]];
    if (key < side->floors[at.leaf_index]) {
        side->floors[at.leaf_index] = key;
    }
    if (leaf->count < NK_MATCH_LEAF_MAX) {
        leaf_insert(leaf, at.index, key, level);
        return;
    }
    int32_t slot = leaf_take(book);
    nk_match_leaf *upper = &book->leaves[slot];
    int32_t kept = NK_MATCH_LEAF_MAX / 2;
    upper->count = NK_MATCH_LEAF_MAX - kept;
    memcpy(upper->keys, &leaf->keys[kept], (size_t)upper->count * sizeof leaf->keys[0]);
    memcpy(upper->levels, &leaf->levels[kept], (size_t)upper->count * sizeof leaf->levels[0]);
    leaf->count = kept;
    directory_insert(side, at.leaf_index + 1, upper->keys[0], slot);
    if (at.index <= kept) {
        leaf_insert(leaf, at.index, key, level);
    } else {
        leaf_insert(upper, at.index - kept, key, level);
    }
}

/* Make one leaf of two neighbours if they hold little enough. */
static bool
leaf_merge(nk_match *book, nk_match_side *side, int32_t leaf_index)
{
    if (leaf_index < 0 || leaf_index + 1 >= side->leaf_count) {
        return false;
    }
    nk_match_leaf *lower = &book->leaves[side->leaves[leaf_index]];
    const nk_match_leaf *upper = &book->leaves[side->leaves[leaf_index + 1]];
    if (lower->count + upper->count > LEAF_MERGE) {
        return false;
    }
    size_t moved = (size_t)upper->count;
    memcpy(&lower->keys[lower->count], upper->keys, moved * sizeof upper->keys[0]);
    memcpy(&lower->levels[lower->count], upper->levels, moved * sizeof upper->levels[0]);
    lower->count += upper->count;
    directory_remove(book, side, leaf_index + 1);
    return true;
}

static void
side_remove(nk_match *book, nk_match_side *side, int64_t key)
{
    position at = side_search(book, side, key);
    assert(at.is_found);
    nk_match_leaf *leaf = &book->leaves[side->leaves[at.leaf_index]];
    size_t moved = (size_t)(leaf->count - at.index - 1);
    memmove(&leaf->keys[at.index], &leaf->keys[at.index + 1], moved * sizeof leaf->keys[0]);
    memmove(&leaf->levels[at.index], &leaf->levels[at.index + 1], moved * sizeof leaf->levels[0]);
    leaf->count--;
    side->level_count--;
    if (leaf->count == 0) {
        directory_remove(book, side, at.leaf_index);
    } else if (!leaf_merge(book, side, at.leaf_index)) {
        leaf_merge(book, side, at.leaf_index - 1);
    }
}

/* Slot of the level before the position, going from best to worst; moves the position there. */
static int32_t
side_step(const nk_match *book, const nk_match_side *side, position *at)
{
    if (at->index == 0) {
        if (at->leaf_index <= 0) {
            return NK_MATCH_NONE;
        }
        at->leaf_index--;
        at->index = book->leaves[side->leaves[at->leaf_index]].count;
    }
    at->index--;
    return book->leaves[side->leaves[at->leaf_index]].levels[at->index];
}

/* A position before the best level, for side_step. */
static position
side_top(const nk_match_side *side)
{
    position at = {side->leaf_count, 0, false};
    return at;
}

/* ---- orders ---- */

static int32_t
level_at(const nk_match *book, int32_t sign, int64_t price_ticks)
{
    const nk_match_side *side = &book->sides[side_index(sign)];
    position at = side_search(book, side, sign * price_ticks);
    return at.is_found ? book->leaves[side->leaves[at.leaf_index]].levels[at.index] : NK_MATCH_NONE;
}

static void
order_insert(nk_match *book, const nk_match_taker *taker, int64_t lots, int32_t level_slot)
{
    nk_match_side *side = &book->sides[side_index(taker->sign)];
    int32_t slot = order_take(book);
    if (level_slot == NK_MATCH_NONE) {
        level_slot = level_take(book);
        nk_match_level *fresh = &book->levels[level_slot];
        fresh->price_ticks = taker->price_ticks;
        fresh->lots = 0;
        fresh->first = NK_MATCH_NONE;
        fresh->last = NK_MATCH_NONE;
        fresh->order_count = 0;
        fresh->sign = taker->sign;
        side_insert(book, side, taker->sign * taker->price_ticks, level_slot);
    }
    nk_match_level *level = &book->levels[level_slot];
    nk_match_order *order = &book->orders[slot];
    order->id = taker->id;
    order->lots = lots;
    order->owner = taker->owner;
    order->level = level_slot;
    order->older = level->last;
    order->younger = NK_MATCH_NONE;
    if (level->last == NK_MATCH_NONE) {
        level->first = slot;
    } else {
        book->orders[level->last].younger = slot;
    }
    level->last = slot;
    level->lots += lots;
    level->order_count++;
    side->order_count++;
    book->order_count++;
    id_put(book, taker->id, slot);
}

static void
order_remove(nk_match *book, int32_t slot)
{
    nk_match_order *order = &book->orders[slot];
    nk_match_level *level = &book->levels[order->level];
    nk_match_side *side = &book->sides[side_index(level->sign)];
    id_remove(book, order->id);
    if (order->older == NK_MATCH_NONE) {
        level->first = order->younger;
    } else {
        book->orders[order->older].younger = order->younger;
    }
    if (order->younger == NK_MATCH_NONE) {
        level->last = order->older;
    } else {
        book->orders[order->younger].older = order->older;
    }
    level->lots -= order->lots;
    level->order_count--;
    side->order_count--;
    book->order_count--;
    if (level->order_count == 0) {
        assert(level->lots == 0);
        side_remove(book, side, level->sign * level->price_ticks);
        level_give_back(book, order->level);
    }
    order_give_back(book, slot);
}

/* ---- the interface ---- */

void
nk_match_init(nk_match *book, bool stops_self_trade)
{
    memset(book, 0, sizeof *book);
    pool_init(&book->order_pool);
    pool_init(&book->level_pool);
    pool_init(&book->leaf_pool);
    book->stops_self_trade = stops_self_trade;
}

void
nk_match_free(nk_match *book)
{
    for (int i = 0; i < 2; i++) {
        free(book->sides[i].floors);
        free(book->sides[i].leaves);
    }
    free(book->orders);
    free(book->levels);
    free(book->leaves);
    free(book->ids);
    nk_match_init(book, book->stops_self_trade);
}

/* Enlarge the array whose address lies at `place`; false leaves it as it was. */
static bool
grow(void *place, size_t count, size_t size)
{
    void *array;
    memcpy(&array, place, sizeof array);
    void *grown = count <= SIZE_MAX / size ? realloc(array, count * size) : NULL;
    if (grown == NULL) {
        return false;
    }
    memcpy(place, &grown, sizeof grown);
    return true;
}

nk_status
nk_match_reserve(nk_match *book, int32_t order_capacity)
{
    if (order_capacity > NK_MATCH_ORDERS_MAX) {
        return NK_E_RANGE;
    }
    if (order_capacity <= book->order_capacity && book->order_capacity > 0) {
        return NK_OK;
    }
    size_t orders = (size_t)(order_capacity > CAPACITY_MIN ? order_capacity : CAPACITY_MIN);
    size_t leaves = (size_t)leaf_capacity((int32_t)orders);
    size_t entries = 1;
    while (entries < 2 * orders) {
        entries *= 2;
    }
    /* An array that has grown before another could not stays grown; nobody uses the room. */
    bool has_room = grow(&book->orders, orders, sizeof book->orders[0]) &&
                    grow(&book->levels, orders, sizeof book->levels[0]) &&
                    grow(&book->leaves, leaves, sizeof book->leaves[0]);
    for (int i = 0; i < 2 && has_room; i++) {
        nk_match_side *side = &book->sides[i];
        has_room = grow(&side->floors, leaves, sizeof side->floors[0]) &&
                   grow(&side->leaves, leaves, sizeof side->leaves[0]);
    }
    nk_match_id *ids = NULL;
    if (!has_room || !grow(&ids, entries, sizeof ids[0])) {
        return NK_E_MEMORY;
    }
    for (size_t i = 0; i < entries; i++) {
        ids[i].slot = NK_MATCH_NONE;
    }
    nk_match_id *old = book->ids;
    size_t old_entries = old == NULL ? 0 : (size_t)book->id_mask + 1;
    book->ids = ids;
    book->id_mask = entries - 1;
    for (size_t i = 0; i < old_entries; i++) {
        if (old[i].slot != NK_MATCH_NONE) {
            id_put(book, old[i].id, old[i].slot);
        }
    }
    free(old);
    book->order_capacity = (int32_t)orders;
    return NK_OK;
}

static void
plan_fills(const nk_match *book, const nk_match_taker *taker, nk_match_plan *plan)
{
    const nk_match_side *side = &book->sides[side_index(-taker->sign)];
    position at = side_top(side);
    int64_t remaining = taker->lots;
    int32_t level_slot;
    while (remaining > 0 && (level_slot = side_step(book, side, &at)) != NK_MATCH_NONE) {
        const nk_match_level *level = &book->levels[level_slot];
        if (taker->price_ticks != 0 &&
            taker->sign * level->price_ticks > taker->sign * taker->price_ticks) {
            break;
        }
        int32_t slot = level->first;
        for (; slot != NK_MATCH_NONE && remaining > 0; slot = book->orders[slot].younger) {
            const nk_match_order *maker = &book->orders[slot];
            if (book->stops_self_trade && taker->owner != 0 && maker->owner == taker->owner) {
                plan->is_self_trade = true;
                plan->remaining = remaining;
                return;
            }
            int64_t lots = maker->lots < remaining ? maker->lots : remaining;
            remaining -= lots;
            if (plan->count < plan->capacity) {
                nk_match_fill *fill = &plan->fills[plan->count];
                fill->maker_id = maker->id;
                fill->price_ticks = level->price_ticks;
                fill->lots = lots;
                fill->maker_remaining = maker->lots - lots;
                fill->taker_remaining = remaining;
                fill->maker_slot = slot;
            }
            plan->count++;
        }
    }
    plan->remaining = remaining;
}

nk_status
nk_match_make_plan(const nk_match *book, const nk_match_taker *taker, nk_match_plan *plan)
{
    plan->count = 0;
    plan->remaining = taker->lots;
    plan->rest_level = NK_MATCH_NONE;
    plan->is_self_trade = false;
    if (taker->lots <= 0 || taker->price_ticks < 0 ||
        (taker->sign != NK_MATCH_BUY && taker->sign != NK_MATCH_SELL)) {
        return NK_E_RANGE;
    }
    if (book->order_count == book->order_capacity) {
        return NK_E_FULL;
    }
    if (nk_match_find(book, taker->id) != NK_MATCH_NONE) {
        return NK_E_EXISTS;
    }
    plan_fills(book, taker, plan);
    if (plan->count > plan->capacity) {
        return NK_E_FULL;
    }
    if (taker->price_ticks != 0 && plan->remaining > 0 && !plan->is_self_trade) {
        plan->rest_level = level_at(book, taker->sign, taker->price_ticks);
        if (plan->rest_level != NK_MATCH_NONE &&
            book->levels[plan->rest_level].lots > INT64_MAX - plan->remaining) {
            return NK_E_OVERFLOW;
        }
    }
    return NK_OK;
}

void
nk_match_apply(nk_match *book, const nk_match_taker *taker, const nk_match_plan *plan)
{
    assert(plan->count <= plan->capacity);
    for (int32_t i = 0; i < plan->count; i++) {
        const nk_match_fill *fill = &plan->fills[i];
        nk_match_order *maker = &book->orders[fill->maker_slot];
        assert(maker->id == fill->maker_id && maker->lots - fill->lots == fill->maker_remaining);
        if (fill->maker_remaining == 0) {
            order_remove(book, fill->maker_slot);
        } else {
            maker->lots = fill->maker_remaining;
            book->levels[maker->level].lots -= fill->lots;
        }
    }
    if (taker->price_ticks != 0 && plan->remaining > 0 && !plan->is_self_trade) {
        order_insert(book, taker, plan->remaining, plan->rest_level);
    }
}

nk_status
nk_match_submit(nk_match *book, const nk_match_taker *taker, nk_match_plan *plan)
{
    nk_status status = nk_match_make_plan(book, taker, plan);
    if (status == NK_OK) {
        nk_match_apply(book, taker, plan);
    }
    return status;
}

nk_status
nk_match_cancel(nk_match *book, int64_t id, int64_t *lots)
{
    int32_t slot = nk_match_find(book, id);
    if (slot == NK_MATCH_NONE) {
        return NK_E_NOT_FOUND;
    }
    *lots = book->orders[slot].lots;
    order_remove(book, slot);
    return NK_OK;
}

nk_status
nk_match_reduce(nk_match *book, int64_t id, int64_t lots, int64_t *remaining)
{
    int32_t slot = nk_match_find(book, id);
    if (slot == NK_MATCH_NONE) {
        return NK_E_NOT_FOUND;
    }
    nk_match_order *order = &book->orders[slot];
    *remaining = order->lots;
    if (lots <= 0 || lots > order->lots) {
        return NK_E_RANGE;
    }
    *remaining = order->lots - lots;
    if (*remaining == 0) {
        order_remove(book, slot);
    } else {
        order->lots = *remaining;
        book->levels[order->level].lots -= lots;
    }
    return NK_OK;
}

int32_t
nk_match_find(const nk_match *book, int64_t id)
{
    return book->order_capacity == 0 ? NK_MATCH_NONE : book->ids[id_entry(book, id)].slot;
}

int64_t
nk_match_lots_ahead(const nk_match *book, int32_t slot)
{
    int64_t lots = 0;
    for (slot = book->orders[slot].older; slot != NK_MATCH_NONE; slot = book->orders[slot].older) {
        lots += book->orders[slot].lots; /* at most level->lots, which fits */
    }
    return lots;
}

int32_t
nk_match_first(const nk_match *book, int32_t sign)
{
    const nk_match_side *side = &book->sides[side_index(sign)];
    position at = side_top(side);
    int32_t level = side_step(book, side, &at);
    return level == NK_MATCH_NONE ? NK_MATCH_NONE : book->levels[level].first;
}

int32_t
nk_match_next(const nk_match *book, int32_t slot)
{
    const nk_match_order *order = &book->orders[slot];
    if (order->younger != NK_MATCH_NONE) {
        return order->younger;
    }
    const nk_match_level *level = &book->levels[order->level];
    const nk_match_side *side = &book->sides[side_index(level->sign)];
    position at = side_search(book, side, level->sign * level->price_ticks);
    assert(at.is_found);
    int32_t worse = side_step(book, side, &at);
    return worse == NK_MATCH_NONE ? NK_MATCH_NONE : book->levels[worse].first;
}

int32_t
nk_match_depth(const nk_match *book, int32_t sign, nk_match_row *rows, int32_t capacity)
{
    const nk_match_side *side = &book->sides[side_index(sign)];
    position at = side_top(side);
    int32_t count = 0;
    int32_t level;
    while (count < capacity && (level = side_step(book, side, &at)) != NK_MATCH_NONE) {
        rows[count].price_ticks = book->levels[level].price_ticks;
        rows[count].lots = book->levels[level].lots;
        count++;
    }
    return count;
}

int64_t
nk_match_lots_at(const nk_match *book, int32_t sign, int64_t price_ticks)
{
    int32_t level = level_at(book, sign, price_ticks);
    return level == NK_MATCH_NONE ? 0 : book->levels[level].lots;
}

void
nk_match_cost_to_fill(const nk_match *book, int32_t sign, int64_t lots, nk_match_cost *cost)
{
    assert(lots >= 0);
    const nk_match_side *side = &book->sides[side_index(-sign)];
    position at = side_top(side);
    int32_t slot;
    cost->lots = 0;
    cost->worst_ticks = 0;
    cost->ticks_lots = nk_int128_from(0);
    while (cost->lots < lots && (slot = side_step(book, side, &at)) != NK_MATCH_NONE) {
        const nk_match_level *level = &book->levels[slot];
        int64_t missing = lots - cost->lots;
        int64_t taken = level->lots < missing ? level->lots : missing;
        cost->ticks_lots =
            nk_int128_add(cost->ticks_lots, nk_int128_multiply(level->price_ticks, taken));
        cost->lots += taken;
        cost->worst_ticks = level->price_ticks;
    }
}
