/* nk_frame.h - read one market-data frame of the WebSocket in place.
 *
 * A frame is read and checked completely before anybody acts on it: the levels land in scratch
 * memory of the scanner, scaled to the ticks and lots of their market, and only a frame without a
 * fault is handed on. Two readers do the same work. The quick one knows the shape the exchange
 * writes and gives up at the first surprise; the thorough one takes every spelling of JSON. They
 * agree on every frame that the quick one takes, which the tests check.
 *
 * Source of the shapes: the exchange's WebSocket page v1.0.0 and recordings of 2026.
 */
#ifndef NK_FRAME_H
#define NK_FRAME_H

#include "nk_base.h"
#include "nk_book.h"

enum {
    NK_TRADE_ID_MAX = 64,     /* bytes */
    NK_FRAME_TRADE_MAX = 4096 /* trades in one frame; the exchange sends 50 */
};

typedef enum nk_frame_kind {
    NK_FRAME_OTHER, /* well-formed JSON, but not market data */
    NK_FRAME_SNAPSHOT,
    NK_FRAME_UPDATE,
    NK_FRAME_TRADES,
    NK_FRAME_TICKER,
    NK_FRAME_UNKNOWN_MARKET,
    NK_FRAME_REJECTED
} nk_frame_kind;

/* Why a frame was refused. */
typedef enum nk_reject {
    NK_REJECT_NONE,
    NK_REJECT_TOO_LARGE, /* more bytes than allowed */
    NK_REJECT_JSON,      /* not JSON in UTF-8 */
    NK_REJECT_DEPTH,     /* nested too deep */
    NK_REJECT_SHAPE,     /* a field is missing or has another type than its method gives it */
    NK_REJECT_SEQUENCE,  /* not a whole number in 0 .. INT64_MAX */
    NK_REJECT_PRICE,     /* not positive, not on the market's ticks, or too large */
    NK_REJECT_QUANTITY,  /* negative, not a number, or too large */
    NK_REJECT_FULL,      /* more levels or trades than there is room for */
    NK_REJECT_COUNT
} nk_reject;

typedef struct nk_listing {
    const char *symbol; /* UTF-8, lent by the caller for the life of the scanner */
    size_t symbol_length;
    int32_t price_decimals;    /* 0 .. 18 */
    int32_t quantity_decimals; /* 0 .. 18 */
} nk_listing;

typedef struct nk_trade {
    int64_t price_ticks;
    int64_t size_lots;
    int64_t time_ms; /* since 1970 UTC; -1 when the exchange did not say */
    int32_t side;    /* of the aggressor: +1 buy, -1 sell */
    uint32_t id_length;
    char id[NK_TRADE_ID_MAX];
} nk_trade;

/* -1 stands for absent, null, "" and, of a price, zero: what dead markets show. */
typedef struct nk_ticker {
    int64_t last_ticks;
    int64_t bid_ticks;
    int64_t ask_ticks;
    int64_t high_ticks;
    int64_t low_ticks;
    int64_t volume_lots; /* also -1 when it does not fit */
    int64_t sequence;
    int64_t time_ms;
} nk_ticker;

/* What a frame says. The levels and trades are lent until the next scan. */
typedef struct nk_frame {
    nk_frame_kind kind;
    nk_reject reject;     /* NK_REJECT_NONE unless kind is NK_FRAME_REJECTED */
    int32_t market_index; /* -1 where there is none */
    int64_t sequence;     /* -1 where there is none */
    uint64_t truncated;   /* quantities that had more digits than the market */
    nk_change change;     /* SNAPSHOT, UPDATE */
    const nk_trade *trades;
    size_t trade_count;
    nk_ticker ticker;
} nk_frame;

typedef struct nk_scanner {
    const nk_listing *listings; /* lent by the caller */
    uint32_t listing_count;
    uint32_t slot_mask;
    int32_t *slots; /* open addressing: symbol -> listing, -1 empty */
    nk_level *bids; /* scratch of level_limit levels each */
    nk_level *asks;
    nk_trade *trades; /* scratch of NK_FRAME_TRADE_MAX */
    size_t level_limit;
    size_t frame_bytes_max;
} nk_scanner;

/* Requires  listing_count >= 0 listings that stay where they are while the scanner lives;
 *           0 < level_limit <= NK_BOOK_LEVEL_LIMIT_MAX.
 * Returns   NK_OK, NK_E_EXISTS (a symbol listed twice) or NK_E_MEMORY; with an error the scanner
 *           holds nothing.
 */
nk_status nk_scanner_init(nk_scanner *scanner, const nk_listing *listings, uint32_t listing_count,
                          size_t level_limit, size_t frame_bytes_max);

void nk_scanner_free(nk_scanner *scanner);

/* Returns  the index of the listing with this symbol, -1 when there is none. */
int32_t nk_scanner_find(const nk_scanner *scanner, const char *symbol, size_t length);

/* Read one frame.
 *
 * Requires  text has length readable bytes (none beyond them is read).
 * Ensures   *frame is filled; no book is touched.
 * Cost      O(length); one pass over a frame as the exchange writes it, three over any other.
 */
void nk_frame_scan(nk_scanner *scanner, const char *text, size_t length, nk_frame *frame);

/* The same by the thorough reader alone: what nk_frame_scan is measured against. */
void nk_frame_scan_thorough(nk_scanner *scanner, const char *text, size_t length, nk_frame *frame);

#endif /* NK_FRAME_H */
