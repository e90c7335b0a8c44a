/* links: nk_frame.c nk_frame_quick.c nk_json.c nk_fixed.c */
/* Any bytes are a frame or refused; what the quick reader takes, the thorough one reads the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_frame.h"
#include "nk_frame_quick.h"
#include "nk_json.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum { LEVEL_LIMIT = 8, FRAME_BYTES_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const nk_listing listings[] = {
    {"BTC/USDT", 8, 2, 6}, {"A/B", 3, 0, 0}, {"\xC3\xA9/EUR", 6, 18, 18}};
static nk_scanner quick, thorough;

static void
require_same_levels(const nk_level *a, size_t a_count, const nk_level *b, size_t b_count)
{
    REQUIRE(a_count == b_count);
    REQUIRE(a_count == 0 || memcmp(a, b, a_count * sizeof *a) == 0);
}

static void
require_sound(const nk_frame *frame)
{
    bool has_market = frame->market_index >= 0 && frame->market_index < 3;
    REQUIRE((frame->kind == NK_FRAME_REJECTED) == (frame->reject != NK_REJECT_NONE));
    switch (frame->kind) {
        case NK_FRAME_SNAPSHOT:
        case NK_FRAME_UPDATE:
            REQUIRE(has_market && frame->sequence >= 0);
            REQUIRE(frame->change.bid_count <= LEVEL_LIMIT &&
                    frame->change.ask_count <= LEVEL_LIMIT);
            for (size_t i = 0; i < frame->change.bid_count; i++) {
                REQUIRE(frame->change.bids[i].price_ticks > 0 &&
                        frame->change.bids[i].size_lots >= 0);
            }
            for (size_t i = 0; i < frame->change.ask_count; i++) {
                REQUIRE(frame->change.asks[i].price_ticks > 0 &&
                        frame->change.asks[i].size_lots >= 0);
            }
            break;
        case NK_FRAME_TRADES:
            REQUIRE(has_market && frame->sequence >= -1);
            for (size_t i = 0; i < frame->trade_count; i++) {
                const nk_trade *trade = &frame->trades[i];
                REQUIRE(trade->price_ticks > 0 && trade->size_lots >= 0 && trade->time_ms >= -1);
                REQUIRE(trade->side == 1 || trade->side == -1);
                REQUIRE(trade->id_length > 0 && trade->id_length <= NK_TRADE_ID_MAX);
            }
            break;
        case NK_FRAME_TICKER:
            REQUIRE(has_market && frame->ticker.last_ticks != 0 && frame->ticker.last_ticks >= -1);
            REQUIRE(frame->ticker.volume_lots >= -1 && frame->ticker.time_ms >= -1);
            break;
        case NK_FRAME_OTHER:
        case NK_FRAME_UNKNOWN_MARKET:
            REQUIRE(frame->market_index == -1);
            break;
        case NK_FRAME_REJECTED:
        default:
            break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    nk_frame fast, slow;
    if (quick.slots == NULL) {
        REQUIRE(nk_scanner_init(&quick, listings, 3, LEVEL_LIMIT, FRAME_BYTES_MAX) == NK_OK);
        REQUIRE(nk_scanner_init(&thorough, listings, 3, LEVEL_LIMIT, FRAME_BYTES_MAX) == NK_OK);
    }
    nk_frame_scan(&quick, text, size, &fast);
    nk_frame_scan_thorough(&thorough, text, size, &slow);
    require_sound(&slow);
    REQUIRE(fast.kind == slow.kind && fast.reject == slow.reject);
    REQUIRE(fast.market_index == slow.market_index && fast.sequence == slow.sequence);
    if (slow.kind == NK_FRAME_SNAPSHOT || slow.kind == NK_FRAME_UPDATE) {
        REQUIRE(fast.truncated == slow.truncated);
        require_same_levels(fast.change.bids, fast.change.bid_count, slow.change.bids,
                            slow.change.bid_count);
        require_same_levels(fast.change.asks, fast.change.ask_count, slow.change.asks,
                            slow.change.ask_count);
    }
    bool is_json = nk_json_check(text, size) == NK_OK;
    REQUIRE(is_json || slow.kind == NK_FRAME_REJECTED);
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

static const char *const numbers[] = {"\"33519.32\"",
                                      "\"0.01231\"",
                                      "\"0\"",
                                      "\"1\"",
                                      "2.5",
                                      "0",
                                      "\"0.000\"",
                                      "1e-7",
                                      "1.5E+1",
                                      "\"10.5\"",
                                      "7",
                                      "\"5\"",
                                      "\"\\u0031\"",
                                      "\"1.123456789\"",
                                      "100",
                                      "\"3.00\"",
                                      "\"9\"",
                                      "\"1.1\"",
                                      "1.25",
                                      "\"12345678901234567\""};
static const char *const prices[] = {"\"33519.32\"", "\"1\"", "2.5",  "\"10.5\"", "7",
                                     "\"3.00\"",     "100",   "1.25", "\"9\"",    "\"007\"",
                                     "\"1.20000\"",  "5"};
static const char *const odd_numbers[] = {"-1",
                                          "\"-1\"",
                                          "1e999",
                                          "\"x\"",
                                          "null",
                                          "01",
                                          "\"1.2.3\"",
                                          "9223372036854775807",
                                          "\"92233720368547758.07\"",
                                          "\"\"",
                                          "[]",
                                          "\"1e3\"",
                                          "1.",
                                          "\".5\"",
                                          "\"5.\"",
                                          "00.1",
                                          "\"18446744073709551617\"",
                                          "0.10000000000000000000000000000000001",
                                          "-0"};
static const char *const symbols[] = {"\"BTC/USDT\"", "\"BTC/USDT\"",      "\"BTC\\/USDT\"",
                                      "\"A/B\"",      "\"\xC3\xA9/EUR\"",  "\"\\u00e9/EUR\"",
                                      "\"NO/NE\"",    "\"\\u0042TC/USDT\""};
static const char *const values[] = {"null",
                                     "true",
                                     "[1,{\"a\":[]}]",
                                     "\"x\\ny\"",
                                     "{}",
                                     "1.5e3",
                                     "\"2026-04-17T16:43:37.075Z\"",
                                     "1790000000123"};
static const char *const odd_values[] = {"\"\\q\"", "\"a\tb\"", "NaN",       "[1,]",     "{\"a\"}",
                                         "01",      "\"\xC3\"", "\"\\ud8\"", "\"\\\"\"", "nul"};
static const char *const methods[] = {"updateOrderbook", "updateOrderbook", "snapshotOrderbook",
                                      "updateTrades",    "ticker",          "report"};

#define PICK(list) list[next_random(state) % (sizeof list / sizeof list[0])]

typedef struct writer {
    char text[2048];
    size_t length;
    uint64_t state;
    bool has_blanks;
    bool loses_tokens; /* or writes them twice */
} writer;

static bool
one_in(uint64_t *state, uint64_t n)
{
    return next_random(state) % n == 0;
}

static void
put_bytes(writer *out, const char *text)
{
    size_t length = strlen(text);
    if (out->length + length < sizeof out->text) {
        memcpy(out->text + out->length, text, length);
        out->length += length;
    }
}

/* Write one token, and blanks after it. */
static void
put(writer *out, const char *token)
{
    static const char *const blanks[] = {" ", "\n", "\t\r", "  "};
    uint64_t *state = &out->state;
    if (out->loses_tokens && one_in(state, 30)) {
        if (one_in(state, 2)) {
            return;
        }
        put_bytes(out, token);
    }
    put_bytes(out, token);
    if (out->has_blanks && one_in(state, 4)) {
        put_bytes(out, PICK(blanks));
    }
}

static void
put_number(writer *out, bool is_price)
{
    uint64_t *state = &out->state;
    const char *number = is_price ? PICK(prices) : PICK(numbers);
    put(out, one_in(state, 80) ? PICK(odd_numbers) : number);
}

static void
put_value(writer *out)
{
    uint64_t *state = &out->state;
    put(out, one_in(state, 20) ? PICK(odd_values) : PICK(values));
}

/* Members separated by tokens, so that blanks can come in between. */
static void
put_level(writer *out)
{
    uint64_t *state = &out->state;
    bool is_swapped = one_in(state, 30);
    put(out, "{");
    put(out, is_swapped ? "\"quantity\"" : "\"price\"");
    put(out, ":");
    put_number(out, !is_swapped);
    put(out, ",");
    put(out, is_swapped ? "\"price\"" : "\"quantity\"");
    put(out, ":");
    put_number(out, is_swapped);
    if (one_in(state, 100)) {
        put(out, ",");
        put(out, one_in(state, 2) ? "\"quantity\"" : "\"x\"");
        put(out, ":");
        put_value(out);
    }
    put(out, "}");
}

static void
put_levels(writer *out)
{
    size_t count = next_random(&out->state) % 5;
    count = one_in(&out->state, 30) ? LEVEL_LIMIT + 1 : count;
    put(out, "[");
    for (size_t i = 0; i < count; i++) {
        put(out, i > 0 ? "," : "");
        put_level(out);
    }
    put(out, "]");
}

static void
put_trades(writer *out)
{
    put(out, "[{\"id\":\"a\\u00e9\",\"side\":\"Buy\",\"timestamp\":");
    put_value(out);
    put(out, ",\"price\":");
    put_number(out, true);
    put(out, ",\"quantity\":");
    put_number(out, false);
    put(out, "}]");
}

static void
put_member(writer *out, unsigned which)
{
    static const char *const names[] = {"\"symbol\"",    "\"sequence\"",  "\"asks\"",
                                        "\"bids\"",      "\"timestamp\"", "\"data\"",
                                        "\"lastPrice\"", "\"volume\"",    "\"x\""};
    uint64_t *state = &out->state;
    char digits[24];
    put(out, names[which]);
    put(out, ":");
    switch (which) {
        case 0:
            put(out, PICK(symbols));
            break;
        case 1:
            snprintf(digits, sizeof digits, one_in(state, 3) ? "\"%u\"" : "%u",
                     (unsigned)(next_random(state) % 1000000));
            put(out, one_in(state, 20) ? PICK(odd_numbers) : digits);
            break;
        case 2:
        case 3:
            put_levels(out);
            break;
        case 5:
            put_trades(out);
            break;
        case 6:
        case 7:
            put_number(out, which == 6);
            break;
        default:
            put_value(out);
    }
}

static void
put_frame(writer *out)
{
    static const unsigned orders[][5] = {
        {0, 1, 4, 2, 3}, {2, 3, 0, 4, 1}, {1, 3, 2, 0, 4}, {0, 5, 1, 8, 4}, {0, 6, 7, 1, 8}};
    uint64_t *state = &out->state;
    const unsigned *order = PICK(orders);
    char method[32];
    put(out, "{");
    if (!one_in(state, 3)) {
        put(out, "\"jsonrpc\":\"2.0\"");
        put(out, ",");
    }
    snprintf(method, sizeof method, "\"%s\"", PICK(methods));
    put(out, "\"method\"");
    put(out, ":");
    put(out, method);
    put(out, ",");
    put(out, "\"params\"");
    put(out, ":");
    put(out, "{");
    unsigned skipped = one_in(state, 40) ? (unsigned)(next_random(state) % 5) : 5;
    for (unsigned i = 0; i < 5; i++) {
        if (i == skipped) {
            continue;
        }
        put(out, i > (skipped == 0) ? "," : "");
        put_member(out, one_in(state, 60) ? (unsigned)(next_random(state) % 9) : order[i]);
        if (one_in(state, 60)) {
            put(out, ",");
            put_member(out, order[next_random(state) % (i + 1)]);
        }
    }
    put(out, "}");
    put(out, "}");
}

/* A byte or two changed, lost or doubled; now and then the end cut off. */
static void
damage(writer *out)
{
    static const char bytes[] = "\"\\{}[],:0.-eu \x80\xC3\n";
    uint64_t *state = &out->state;
    size_t at = next_random(state) % out->length;
    switch (next_random(state) % 4) {
        case 0:
            out->text[at] = PICK(bytes);
            break;
        case 1:
            memmove(out->text + at, out->text + at + 1, out->length - at - 1);
            out->length--;
            break;
        case 2:
            memmove(out->text + at + 1, out->text + at, out->length - at);
            out->length++;
            break;
        default:
            out->length = at;
    }
}

int
main(int argc, char **argv)
{
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : 200000;
    static writer out;
    out.state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (long i = 0; i < iterations; i++) {
        out.length = 0;
        out.has_blanks = one_in(&out.state, 3);
        out.loses_tokens = one_in(&out.state, 4);
        put_frame(&out);
        uint64_t damages = one_in(&out.state, 3) ? 1 + next_random(&out.state) % 2 : 0;
        for (uint64_t n = damages; n > 0 && out.length > 0; n--) {
            damage(&out);
        }
        uint8_t *input = malloc(out.length + (out.length == 0)); /* a read too far is caught */
        REQUIRE(input != NULL);
        memcpy(input, out.text, out.length);
        LLVMFuzzerTestOneInput(input, out.length);
        free(input);
    }
    nk_scanner_free(&quick);
    nk_scanner_free(&thorough);
    return 0;
}
#endif
