/* nk_channel.c - see nk_channel.h. */
#include "nk_channel.h"

#include <stdlib.h>
#include <string.h>

/* GCC's analyzer loses sight of a list node that a function keeps, and calls it leaked. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

struct nk_held {
    nk_held *next;
    int64_t sequence;
    int64_t received_ns;
    size_t bid_count;
    size_t ask_count;
    nk_level levels[]; /* bids, then asks */
};

void
nk_channel_init(nk_channel *channel, nk_book *book, nk_channel_rules rules)
{
    channel->book = book;
    channel->held = NULL;
    channel->held_count = 0;
    channel->old_streak = 0;
    channel->rules = rules;
}

static void
drop_lowest(nk_channel *channel)
{
    nk_held *lowest = channel->held;
    channel->held = lowest->next;
    channel->held_count--;
    free(lowest);
}

void
nk_channel_free(nk_channel *channel)
{
    while (channel->held != NULL) {
        drop_lowest(channel);
    }
}

/* Keep an update and return `fate`. In a full buffer the lowest makes room; if this one is lower
 * still, it is the one that is dropped. */
static nk_fate
hold(nk_channel *channel, const nk_change *change, int64_t sequence, int64_t now_ns, nk_fate fate)
{
    bool is_full = channel->held_count == channel->rules.held_limit;
    size_t count = change->bid_count + change->ask_count;
    nk_held **link = &channel->held;
    while (*link != NULL && (*link)->sequence < sequence) {
        link = &(*link)->next;
    }
    if (*link != NULL && (*link)->sequence == sequence) {
        return NK_FATE_OLD;
    }
    if (is_full && link == &channel->held) {
        return fate;
    }
    nk_held *update = malloc(sizeof *update + count * sizeof(nk_level));
    if (update == NULL) {
        return NK_FATE_NO_MEMORY;
    }
    update->sequence = sequence;
    update->received_ns = now_ns;
    update->bid_count = change->bid_count;
    update->ask_count = change->ask_count;
    memcpy(update->levels, change->bids, change->bid_count * sizeof(nk_level));
    memcpy(update->levels + change->bid_count, change->asks, change->ask_count * sizeof(nk_level));
    update->next = *link;
    *link = update;
    channel->held_count++;
    if (is_full) {
        drop_lowest(channel);
    }
    return fate;
}

/* Apply what is held and due. Returns NK_FATE_APPLIED, or NK_FATE_GAP when one does not fit: the
 * stream goes on without it, so the book cannot. */
static nk_fate
apply_held(nk_channel *channel, bool *top_changed)
{
    while (channel->held != NULL) {
        const nk_held *update = channel->held;
        nk_change change = {update->levels, update->levels + update->bid_count, update->bid_count,
                            update->ask_count};
        nk_turn turn = nk_book_turn(channel->book, update->sequence);
        bool is_changed = false;
        if (turn == NK_TURN_AHEAD) {
            break;
        }
        if (turn == NK_TURN_NEXT &&
            nk_book_update(channel->book, &change, update->sequence, &is_changed) != NK_OK) {
            nk_book_mark_stale(channel->book);
            drop_lowest(channel);
            return NK_FATE_GAP;
        }
        *top_changed |= is_changed;
        drop_lowest(channel);
    }
    return NK_FATE_APPLIED;
}

nk_fate
nk_channel_snapshot(nk_channel *channel, const nk_change *change, int64_t sequence, int64_t now_ns,
                    bool *top_changed)
{
    nk_status status = nk_book_snapshot(channel->book, change, sequence, top_changed);
    if (status != NK_OK) {
        return status == NK_E_FULL ? NK_FATE_FULL : NK_FATE_NO_MEMORY;
    }
    channel->old_streak = 0;
    nk_fate fate = apply_held(channel, top_changed);
    /* What still waits for a missing one waits from now on. */
    for (nk_held *update = channel->held; update != NULL; update = update->next) {
        update->received_ns = now_ns;
    }
    return fate;
}

static bool
waited_too_long(const nk_channel *channel, int64_t now_ns)
{
    for (const nk_held *update = channel->held; update != NULL; update = update->next) {
        if (now_ns - update->received_ns > channel->rules.held_window_ns) {
            return true;
        }
    }
    return false;
}

static nk_fate
update_ahead(nk_channel *channel, const nk_change *change, int64_t sequence, int64_t now_ns)
{
    bool is_over =
        waited_too_long(channel, now_ns) || channel->held_count == channel->rules.held_limit;
    nk_fate fate = hold(channel, change, sequence, now_ns, NK_FATE_HELD);
    if (is_over && fate != NK_FATE_NO_MEMORY) {
        nk_book_mark_stale(channel->book);
        return NK_FATE_GAP;
    }
    return fate;
}

static nk_fate
update_old(nk_channel *channel)
{
    if (++channel->old_streak > NK_CHANNEL_OLD_MAX) {
        channel->old_streak = 0;
        nk_book_mark_stale(channel->book);
        return NK_FATE_GAP;
    }
    return NK_FATE_OLD;
}

nk_fate
nk_channel_update(nk_channel *channel, const nk_change *change, int64_t sequence, int64_t now_ns,
                  bool *top_changed)
{
    nk_status status;
    *top_changed = false;
    switch (nk_book_turn(channel->book, sequence)) {
        case NK_TURN_NEXT:
            status = nk_book_update(channel->book, change, sequence, top_changed);
            if (status != NK_OK) {
                return status == NK_E_FULL ? NK_FATE_FULL : NK_FATE_NO_MEMORY;
            }
            channel->old_streak = 0;
            return channel->held != NULL ? apply_held(channel, top_changed) : NK_FATE_APPLIED;
        case NK_TURN_OLD:
            return update_old(channel);
        case NK_TURN_AHEAD:
            return update_ahead(channel, change, sequence, now_ns);
        case NK_TURN_NOT_LIVE:
        default:
            return hold(channel, change, sequence, now_ns, NK_FATE_STALE);
    }
}

bool
nk_channel_expire(nk_channel *channel, int64_t now_ns)
{
    return channel->book->state == NK_BOOK_LIVE && waited_too_long(channel, now_ns) &&
           nk_book_mark_stale(channel->book);
}

bool
nk_channel_disconnect(nk_channel *channel)
{
    nk_channel_free(channel);
    channel->old_streak = 0;
    return nk_book_mark_stale(channel->book);
}
