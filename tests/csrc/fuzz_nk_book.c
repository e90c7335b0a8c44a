/* links: nk_book.c nk_channel.c */
/* Any stream of book messages leaves a book whose sides are in order, and a refused one leaves it
 * as it was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_channel.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum { LEVELS = 6, LEVEL_LIMIT = 60, HELD_LIMIT = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require_side(const nk_side *side, uint32_t limit)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < side->used; i++) {
        REQUIRE(side->entries[i].key * side->sign > 0 && side->entries[i].size_lots >= 0);
        REQUIRE(i == 0 || side->entries[i - 1].key < side->entries[i].key);
        count += side->entries[i].size_lots > 0;
    }
    REQUIRE(count == side->count && count <= limit && side->used <= side->allocated);
    REQUIRE(side->used == 0 || side->entries[side->used - 1].size_lots > 0);
}

static uint64_t
mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

/* A digest of everything a reader of the book can see. */
static uint64_t
digest(const nk_book *book)
{
    uint64_t hash = mix(mix(mix(1, (uint64_t)book->sequence), book->version), book->state);
    const nk_side *sides[] = {&book->bids, &book->asks};
    for (size_t s = 0; s < 2; s++) {
        nk_level levels[LEVEL_LIMIT];
        size_t count = nk_side_depth(sides[s], LEVEL_LIMIT, levels);
        hash = mix(hash, count);
        for (size_t i = 0; i < count; i++) {
            hash = mix(hash, (uint64_t)levels[i].price_ticks);
            hash = mix(hash, (uint64_t)levels[i].size_lots);
        }
    }
    return hash;
}

/* The first byte sets the limit of the book, which begins with a snapshot of nothing. Each message
 * is a byte for its kind and place in the sequence, one for the counts of levels, then two bytes a
 * level. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nk_book book;
    nk_channel channel;
    nk_channel_rules rules = {HELD_LIMIT, 100};
    static const int64_t steps[8] = {1, 1, 1, 1, 2, 3, 0, -1};
    const nk_change nothing = {NULL, NULL, 0, 0};
    bool top_changed = false;
    if (size == 0) {
        return 0;
    }
    nk_book_init(&book, LEVELS + data[0] % (LEVEL_LIMIT - LEVELS));
    nk_channel_init(&channel, &book, rules);
    nk_channel_snapshot(&channel, &nothing, 5, 0, &top_changed);
    data++;
    size--;
    while (size >= 2) {
        nk_level levels[2 * LEVELS];
        size_t bid_count = data[1] % LEVELS;
        size_t ask_count = data[1] / 16 % LEVELS;
        int kind = data[0] % 32;
        int64_t now_ns = data[0];
        int64_t sequence = book.sequence + steps[data[0] / 32];
        sequence = sequence < 0 ? 0 : sequence;
        data += 2;
        size -= 2;
        if (size < 2 * (bid_count + ask_count)) {
            break;
        }
        for (size_t i = 0; i < bid_count + ask_count; i++) {
            levels[i].price_ticks = 1 + data[0] % 100;
            levels[i].size_lots = data[1] % 3;
            data += 2;
            size -= 2;
        }
        nk_change change = {levels, levels + bid_count, bid_count, ask_count};
        uint64_t before = digest(&book);
        nk_turn turn = nk_book_turn(&book, sequence);
        uint64_t version = book.version;
        if (kind == 0) {
            REQUIRE(nk_channel_snapshot(&channel, &change, sequence, now_ns, &top_changed) !=
                    NK_FATE_FULL);
            REQUIRE(book.sequence >= sequence && book.version > version);
        } else if (kind == 1) {
            REQUIRE(!nk_channel_expire(&channel, now_ns) || book.state == NK_BOOK_STALE);
        } else if (kind == 2) {
            nk_channel_disconnect(&channel);
            REQUIRE(channel.held_count == 0 && book.state != NK_BOOK_LIVE);
        } else {
            nk_fate fate = nk_channel_update(&channel, &change, sequence, now_ns, &top_changed);
            bool is_due = turn == NK_TURN_NEXT;
            REQUIRE(is_due == (fate == NK_FATE_APPLIED || fate == NK_FATE_FULL ||
                               (fate == NK_FATE_GAP && book.version > version + 1)));
            REQUIRE(fate != NK_FATE_APPLIED || book.sequence >= sequence);
            REQUIRE(fate != NK_FATE_GAP || book.state == NK_BOOK_STALE);
            REQUIRE((digest(&book) == before) == (fate != NK_FATE_APPLIED && fate != NK_FATE_GAP));
        }
        REQUIRE(channel.held_count <= HELD_LIMIT);
        require_side(&book.bids, book.level_limit);
        require_side(&book.asks, book.level_limit);
    }
    nk_channel_free(&channel);
    nk_book_free(&book);
    return 0;
}

#ifdef NK_FUZZ_MAIN
static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int
main(int argc, char **argv)
{
    enum { INPUT_BYTES_MAX = 500 };
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : 200000;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    state = state * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (long i = 0; i < iterations; i++) {
        size_t size = next_random(&state) % INPUT_BYTES_MAX;
        uint8_t *data = malloc(size + 1);
        REQUIRE(data != NULL);
        for (size_t k = 0; k < size; k++) {
            data[k] = (uint8_t)(next_random(&state) >> 24);
        }
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    return 0;
}
#endif
