/* nk_channel.h - one market's stream of book messages: sequence rule and reorder buffer.
 *
 * The exchange delivers updates out of order by a few places (seen live in 2026), so an update
 * that is ahead of its turn is kept for a while before a gap is declared. Updates that come while
 * the book is not live are kept too: the snapshot on its way may be older than they are.
 */
#ifndef NK_CHANNEL_H
#define NK_CHANNEL_H

#include "nk_base.h"
#include "nk_book.h"

typedef struct nk_held nk_held; /* an update waiting for its turn */

typedef struct nk_channel_rules {
    uint32_t held_limit;    /* messages kept before a gap is declared */
    int64_t held_window_ns; /* how long the oldest of them may wait */
} nk_channel_rules;

typedef struct nk_channel {
    nk_book *book; /* lent by the caller */
    nk_held *held; /* owned; a list by sequence, lowest first */
    uint32_t held_count;
    uint32_t old_streak; /* old updates since the last one that applied */
    nk_channel_rules rules;
} nk_channel;

/* What became of a message. */
typedef enum nk_fate {
    NK_FATE_APPLIED,
    NK_FATE_OLD,      /* contained already, or waiting already */
    NK_FATE_HELD,     /* ahead of its turn, kept */
    NK_FATE_GAP,      /* the book became stale: it wants a new snapshot */
    NK_FATE_STALE,    /* the book was not live; kept for the snapshot to come */
    NK_FATE_FULL,     /* more levels than the book may have; nothing changed */
    NK_FATE_NO_MEMORY /* nothing changed */
} nk_fate;

/* Old updates in a row that are still taken for repetitions. */
enum { NK_CHANNEL_OLD_MAX = 100 };

/* Requires  book outlives the channel. */
void nk_channel_init(nk_channel *channel, nk_book *book, nk_channel_rules rules);

void nk_channel_free(nk_channel *channel);

/* Replace the book by a snapshot, then apply the held updates that follow it.
 *
 * Requires  as nk_book_snapshot; now_ns is the time of receipt, 0 when nobody keeps it.
 * Returns   NK_FATE_APPLIED, NK_FATE_GAP (a held update did not fit), NK_FATE_FULL or
 *           NK_FATE_NO_MEMORY; *top_changed is set unless nothing changed.
 */
nk_fate nk_channel_snapshot(nk_channel *channel, const nk_change *change, int64_t sequence,
                            int64_t now_ns, bool *top_changed);

/* Apply, keep or drop one update, then apply the held ones that follow it.
 *
 * Requires  every price > 0, every size >= 0, sequence >= 0.
 * Returns   any fate; *top_changed is set, false unless NK_FATE_APPLIED or a held one applied.
 *           More than NK_CHANNEL_OLD_MAX old updates in a row are a gap: the exchange has begun
 *           to count anew.
 */
nk_fate nk_channel_update(nk_channel *channel, const nk_change *change, int64_t sequence,
                          int64_t now_ns, bool *top_changed);

/* Declare the gap that no message declares: the oldest held update has waited too long.
 *
 * Returns  true when the book became stale.
 */
bool nk_channel_expire(nk_channel *channel, int64_t now_ns);

/* The connection is gone: the book is stale, and what was held belongs to the old stream.
 *
 * Returns  true when the book became stale.
 */
bool nk_channel_disconnect(nk_channel *channel);

#endif /* NK_CHANNEL_H */
