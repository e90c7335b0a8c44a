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

enum { LEVELS = 6, LEVEL_LIMIT = 40, HELD_LIMIT = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require_side(const nk_side *side)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < side->used; i++) {
        REQUIRE(side->entries[i].key * side->sign > 0 && side->entries[i].size_lots >= 0);
        REQUIRE(i == 0 || side->entries[i - 1].key < side->entries[i].key);
        count += side->entries[i].size_lots > 0;
    }
    REQUIRE(count == side->count && count <= LEVEL_LIMIT && side->used <= side->allocated);
    REQUIRE(side->used == 0 || side->entries[side->used - 1].size_lots > 0);
}

/* A digest of everything a reader of the book can see. */
static uint64_t
digest(const nk_book *book)
{
    uint64_t hash = (uint64_t)book->sequence * 31 + book->version * 7 + (uint64_t)book->state;
    const nk_side *sides[] = {&book->bids, &book->asks};
    for (size_t s = 0; s < 2; s++) {
        nk_level levels[LEVEL_LIMIT];
        size_t count = nk_side_depth(sides[s], LEVEL_LIMIT, levels);
        for (size_t i = 0; i < count; i++) {
            hash = (hash ^ (uint64_t)levels[i].price_ticks) * 0x9E3779B97F4A7C15u;
            hash = (hash ^ (uint64_t)levels[i].size_lots) * 0xD6E8FEB86659FD93u;
        }
        hash = hash * 3 + count;
    }
    return hash;
}

/* Each message is a byte for its kind and place in the sequence, one for the counts of levels, then
 * two bytes a level. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nk_book book;
    nk_channel channel;
    nk_channel_rules rules = {HELD_LIMIT, 100};
    nk_book_init(&book, LEVEL_LIMIT);
    nk_channel_init(&channel, &book, rules);
    while (size >= 2) {
        nk_level levels[2 * LEVELS];
        size_t bid_count = data[1] % LEVELS;
        size_t ask_count = data[1] / 16 % LEVELS;
        int kind = data[0] % 16;
        int64_t now_ns = data[0];
        int64_t sequence = book.sequence + data[0] / 16 % 8 - 1;
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
        bool top_changed = false;
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
        require_side(&book.bids);
        require_side(&book.asks);
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
    enum { SIZE_MAX_BYTES = 400 };
    long iterations = argc > 1 ? atol(argv[1]) : 1000;
    uint64_t state = argc > 2 ? (uint64_t)atoll(argv[2]) | 1 : 1;
    for (long i = 0; i < iterations; i++) {
        size_t size = next_random(&state) % SIZE_MAX_BYTES;
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
