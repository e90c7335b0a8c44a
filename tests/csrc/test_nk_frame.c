/* links: nk_frame.c nk_frame_quick.c nk_json.c nk_fixed.c */
/* Frames that one of the two readers could get wrong: the quick one must read the first group
 * itself and leave the second to the thorough one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_frame.h"
#include "nk_frame_quick.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

#define UPDATE "{\"method\":\"updateOrderbook\",\"params\":"
#define LEVEL "{\"price\":\"1.5\",\"quantity\":\"2\"}"

static const nk_listing listings[] = {{"BTC/USDT", 8, 2, 6}, {"ETH/USDT", 8, 4, 4}};

/* Read as one update of BTC/USDT, sequence 7, one ask of 1.5 for 2, without the thorough reader. */
static const char *const usual[] = {
    UPDATE "{\"symbol\":\"BTC/USDT\",\"sequence\":7,\"asks\":[" LEVEL "],\"bids\":[]}}",
    UPDATE "{\"asks\":[" LEVEL "],\"bids\":[],\"symbol\":\"BTC/USDT\",\"sequence\":\"7\"}}",
    UPDATE
    "{\"timestamp\":\"x\",\"symbol\":\"BTC/USDT\",\"sequence\":7,\"asks\":[{\"price\":1.50,"
    "\"quantity\":2.0000000}],\"bids\":[]}}",
    "{\"jsonrpc\":\"2.0\",\"method\":\"updateOrderbook\",\"params\":{\"symbol\":\"BTC/USDT\","
    "\"sequence\":7,\"timestamp\":1790000000123,\"asks\":[" LEVEL "],\"bids\":[]}} \r\n",
    "{ \"jsonrpc\" : \"2.0\" , \"method\" : \"updateOrderbook\" , \"params\" : { \"symbol\" : "
    "\"BTC/USDT\" , \"sequence\" : 7 , \"asks\" : [ { \"price\" : 1.5 , \"quantity\" : \"2\" } ] ,"
    " \"bids\" : [ ] } } "};

/* Not for the quick reader; what the thorough one makes of each is given. */
static const struct {
    const char *text;
    nk_frame_kind kind;
    nk_reject reject;
} unusual[] = {
    /* a name without its colon must not be passed over */
    {UPDATE "{\"symbol\" \"symbol\":\"BTC/USDT\",\"sequence\":7,\"asks\":[],\"bids\":[]}}",
     NK_FRAME_REJECTED, NK_REJECT_JSON},
    {"{\"jsonrpc\" \"method\":\"updateOrderbook\",\"params\":{\"symbol\":\"BTC/USDT\","
     "\"sequence\":7,\"asks\":[],\"bids\":[]}}",
     NK_FRAME_REJECTED, NK_REJECT_JSON},
    /* two symbols: the last counts, with its decimals */
    {UPDATE "{\"symbol\":\"ETH/USDT\",\"sequence\":7,\"asks\":[{\"price\":1.5,\"quantity\":2}],"
            "\"bids\":[],\"symbol\":\"BTC/USDT\"}}",
     NK_FRAME_UPDATE, NK_REJECT_NONE},
    {UPDATE "{\"asks\":[{\"price\":1.5,\"quantity\":2}],\"symbol\":\"BTC/USDT\",\"sequence\":7,"
            "\"bids\":[],\"x\":{\"symbol\":\"ETH/USDT\"}}}",
     NK_FRAME_UPDATE, NK_REJECT_NONE},
    {UPDATE "{\"asks\":[{\"price\":1.5,\"quantity\":2}],\"symbol\":\"BTC/USDT\",\"sequence\":7,"
            "\"bids\":[]},\"x\":{\"symbol\":\"ETH/USDT\"}}",
     NK_FRAME_UPDATE, NK_REJECT_NONE},
    /* a member is missing */
    {UPDATE "{\"sequence\":7,\"asks\":[],\"bids\":[]}}", NK_FRAME_REJECTED, NK_REJECT_SHAPE},
    {UPDATE "{\"symbol\":\"BTC/USDT\",\"asks\":[],\"bids\":[]}}", NK_FRAME_REJECTED,
     NK_REJECT_SHAPE},
    {UPDATE "{\"symbol\":\"BTC/USDT\",\"sequence\":7,\"bids\":[]}}", NK_FRAME_REJECTED,
     NK_REJECT_SHAPE},
    {UPDATE "{\"symbol\":\"BTC/USDT\",\"sequence\":7,\"asks\":[]}}", NK_FRAME_REJECTED,
     NK_REJECT_SHAPE},
    /* a string that ends with the frame */
    {UPDATE "{\"symbol\":\"BTC/USDT}", NK_FRAME_REJECTED, NK_REJECT_JSON},
    {UPDATE "{\"symbol\":\"}", NK_FRAME_REJECTED, NK_REJECT_JSON},
    {UPDATE "{\"symbol\":\"BTC/USDT\",\"sequence\":\"7}}", NK_FRAME_REJECTED, NK_REJECT_JSON},
    {UPDATE "{\"asks\":[],\"bids\":[],\"sequence\":7,\"symbol\"}}", NK_FRAME_REJECTED,
     NK_REJECT_JSON},
    {UPDATE "}", NK_FRAME_REJECTED, NK_REJECT_JSON},
    {"}", NK_FRAME_REJECTED, NK_REJECT_JSON},
    {"{}", NK_FRAME_OTHER, NK_REJECT_NONE},
    {" ", NK_FRAME_REJECTED, NK_REJECT_JSON},
    {UPDATE "{\"symbol\":\"NO/NE\",\"sequence\":7,\"asks\":[],\"bids\":[]}}",
     NK_FRAME_UNKNOWN_MARKET, NK_REJECT_NONE},
    {UPDATE "{\"symbol\":\"BTC\\/USDT\",\"sequence\":7,\"asks\":[" LEVEL "],\"bids\":[]}}",
     NK_FRAME_UPDATE, NK_REJECT_NONE}};

/* Scan a copy of exactly the text's size, so that a read too far is caught. */
static bool
scan(nk_scanner *scanner, const char *text, size_t length, bool is_quick, nk_frame *frame)
{
    char *copy = malloc(length + (length == 0));
    bool is_taken = false;
    REQUIRE(copy != NULL);
    memcpy(copy, text, length);
    nk_frame_scan_thorough(scanner, "", 0, frame); /* clears it */
    if (is_quick) {
        frame->market_index = -1;
        is_taken = nk_frame_scan_quick(scanner, copy, length, frame);
    } else {
        nk_frame_scan(scanner, copy, length, frame);
    }
    free(copy);
    return is_taken;
}

static void
require_update(const nk_frame *frame)
{
    REQUIRE(frame->kind == NK_FRAME_UPDATE && frame->market_index == 0 && frame->sequence == 7);
    REQUIRE(frame->change.bid_count == 0 && frame->change.ask_count == 1);
    REQUIRE(frame->change.asks[0].price_ticks == 150);
    REQUIRE(frame->change.asks[0].size_lots == 2000000 && frame->truncated == 0);
}

static void
test_usual_frames_are_read_quickly(nk_scanner *scanner)
{
    nk_frame frame;
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
        size_t length = strlen(usual[i]);
        REQUIRE(scan(scanner, usual[i], length, true, &frame));
        require_update(&frame);
        scan(scanner, usual[i], length, false, &frame);
        require_update(&frame);
        while (strchr(" \r\n", usual[i][length - 1]) != NULL) {
            length--;
        }
        for (size_t cut = 0; cut < length; cut++) {
            REQUIRE(!scan(scanner, usual[i], cut, true, &frame));
            scan(scanner, usual[i], cut, false, &frame);
            REQUIRE(frame.kind == NK_FRAME_REJECTED && frame.reject == NK_REJECT_JSON);
        }
    }
}

static void
test_unusual_frames_are_left_to_the_thorough_reader(nk_scanner *scanner)
{
    nk_frame frame;
    for (size_t i = 0; i < sizeof unusual / sizeof unusual[0]; i++) {
        size_t length = strlen(unusual[i].text);
        REQUIRE(!scan(scanner, unusual[i].text, length, true, &frame));
        scan(scanner, unusual[i].text, length, false, &frame);
        if (frame.kind != unusual[i].kind || frame.reject != unusual[i].reject) {
            fprintf(stderr, "%s: kind %d reject %d\n", unusual[i].text, (int)frame.kind,
                    (int)frame.reject);
            abort();
        }
        if (frame.kind == NK_FRAME_UPDATE) {
            require_update(&frame);
        }
    }
}

static void
test_symbols_are_found(void)
{
    /* Names that share their head, their tail, or both. */
    static const char *const names[] = {"",
                                        "A",
                                        "A/B",
                                        "AB/CD",
                                        "ABCD/EFG",
                                        "ABCDE/FGH",
                                        "ABCDEFGHxABCDEFGH",
                                        "ABCDEFGHyABCDEFGH",
                                        "ABCDEFGHABCDEFGH",
                                        "XBCDEFGH"};
    enum { COUNT = sizeof names / sizeof names[0] };
    nk_listing listed[COUNT];
    nk_scanner scanner;
    for (int32_t i = 0; i < COUNT; i++) {
        listed[i] = (nk_listing){names[i], strlen(names[i]), 0, 0};
    }
    REQUIRE(nk_scanner_init(&scanner, listed, COUNT, 1, 100) == NK_OK);
    for (int32_t i = 0; i < COUNT; i++) {
        REQUIRE(nk_scanner_find(&scanner, names[i], strlen(names[i])) == i);
    }
    REQUIRE(nk_scanner_find(&scanner, "ABCDEFGHzABCDEFGH", 17) == -1);
    nk_scanner_free(&scanner);
    listed[3] = listed[7];
    REQUIRE(nk_scanner_init(&scanner, listed, COUNT, 1, 100) == NK_E_EXISTS);
    REQUIRE(nk_scanner_init(&scanner, listed, 0, 1, 100) == NK_OK);
    REQUIRE(nk_scanner_find(&scanner, "A", 1) == -1);
    nk_scanner_free(&scanner);
}

int
main(void)
{
    nk_scanner scanner;
    REQUIRE(nk_scanner_init(&scanner, listings, 2, 4, 10000) == NK_OK);
    test_usual_frames_are_read_quickly(&scanner);
    test_unusual_frames_are_left_to_the_thorough_reader(&scanner);
    nk_scanner_free(&scanner);
    test_symbols_are_found();
    return 0;
}
