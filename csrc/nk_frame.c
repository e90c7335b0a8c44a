/* nk_frame.c - see nk_frame.h. This file holds the scanner and the thorough reader. */
#include "nk_frame.h"

#include <stdlib.h>
#include <string.h>

#include "nk_fixed.h"
#include "nk_frame_quick.h"
#include "nk_json.h"

enum {
    /* Longest spelling of a number. Enough for any double printed exactly above 1e-70. */
    NUMBER_BYTES_MAX = 128,
    /* Zeros that an exponent may add: more than int64 and 18 decimals can tell apart. */
    EXPONENT_ZEROS_MAX = 40,
    SYMBOL_BYTES_MAX = 64
};

nk_status
nk_scanner_init(nk_scanner *scanner, const nk_listing *listings, uint32_t listing_count,
                size_t level_limit, size_t frame_bytes_max)
{
    uint32_t slot_count = 4;
    assert(level_limit > 0 && level_limit <= NK_BOOK_LEVEL_LIMIT_MAX);
    while (slot_count < 4 * (size_t)listing_count) {
        slot_count *= 2;
    }
    scanner->listings = listings;
    scanner->listing_count = listing_count;
    scanner->slot_mask = slot_count - 1;
    scanner->level_limit = level_limit;
    scanner->frame_bytes_max = frame_bytes_max;
    scanner->slots = malloc(slot_count * sizeof *scanner->slots);
    scanner->bids = malloc(level_limit * sizeof *scanner->bids);
    scanner->asks = malloc(level_limit * sizeof *scanner->asks);
    scanner->trades = malloc(NK_FRAME_TRADE_MAX * sizeof *scanner->trades);
    if (!scanner->slots || !scanner->bids || !scanner->asks || !scanner->trades) {
        nk_scanner_free(scanner);
        return NK_E_MEMORY;
    }
    for (uint32_t i = 0; i < slot_count; i++) {
        scanner->slots[i] = -1;
    }
    for (uint32_t i = 0; i < listing_count; i++) {
        const nk_listing *listing = &listings[i];
        if (nk_scanner_find(scanner, listing->symbol, listing->symbol_length) >= 0) {
            nk_scanner_free(scanner);
            return NK_E_EXISTS;
        }
        uint32_t slot = nk_symbol_hash(listing->symbol, listing->symbol_length);
        while (scanner->slots[slot & scanner->slot_mask] >= 0) {
            slot++;
        }
        scanner->slots[slot & scanner->slot_mask] = (int32_t)i;
    }
    return NK_OK;
}

void
nk_scanner_free(nk_scanner *scanner)
{
    free(scanner->slots);
    free(scanner->bids);
    free(scanner->asks);
    free(scanner->trades);
    scanner->slots = NULL;
    scanner->bids = NULL;
    scanner->asks = NULL;
    scanner->trades = NULL;
}

int32_t
nk_scanner_find(const nk_scanner *scanner, const char *symbol, size_t length)
{
    uint32_t slot = nk_symbol_hash(symbol, length);
    for (;; slot++) {
        int32_t index = scanner->slots[slot & scanner->slot_mask];
        if (index < 0) {
            return -1;
        }
        const nk_listing *listing = &scanner->listings[index];
        if (listing->symbol_length == length && memcmp(listing->symbol, symbol, length) == 0) {
            return index;
        }
    }
}

/* ---- numbers and times ---- */

typedef struct text_span {
    const char *text;
    size_t length;
} text_span;

/* The characters of a string or number; escapes are resolved into `buffer`, which must hold
 * NUMBER_BYTES_MAX bytes. Returns false for other types and for anything longer. */
static bool
plain_text(nk_json_value value, char *buffer, text_span *span)
{
    span->text = value.text;
    span->length = value.length;
    if (value.type == NK_JSON_STRING && memchr(value.text, '\\', value.length) != NULL) {
        span->text = buffer;
        return nk_json_unescape(value, buffer, NUMBER_BYTES_MAX, &span->length) == NK_OK;
    }
    return (value.type == NK_JSON_STRING || value.type == NK_JSON_NUMBER) &&
           value.length <= NUMBER_BYTES_MAX;
}

/* Spell a JSON number without its exponent: 1.5e-3 as 0.0015. The buffer must hold
 * NUMBER_BYTES_MAX + EXPONENT_ZEROS_MAX + 2 bytes. */
static void
expand_exponent(text_span number, const char *mark, char *buffer, text_span *expanded)
{
    const char *end = number.text + number.length;
    bool is_negative = mark[1] == '-';
    int64_t exponent = 0;
    int64_t whole = 0; /* digits before the point */
    char digits[NUMBER_BYTES_MAX];
    int64_t count = 0;
    char *out = buffer;
    bool past_point = false;
    for (const char *at = mark + 1; at < end; at++) {
        if (*at >= '0' && *at <= '9' && exponent < 1000) {
            exponent = exponent * 10 + (*at - '0');
        }
    }
    for (const char *at = number.text; at < mark; at++) {
        if (*at == '.') {
            past_point = true;
        } else {
            digits[count++] = *at;
            whole += !past_point;
        }
    }
    whole += is_negative ? -exponent : exponent;
    if (whole <= 0) {
        int64_t zeros = -whole < EXPONENT_ZEROS_MAX ? -whole : EXPONENT_ZEROS_MAX;
        *out++ = '0';
        *out++ = '.';
        memset(out, '0', (size_t)zeros);
        out += zeros;
    }
    for (int64_t i = 0; i < count; i++) {
        if (i == whole && i > 0) {
            *out++ = '.';
        }
        *out++ = digits[i];
    }
    if (whole > count) {
        int64_t zeros = whole - count < EXPONENT_ZEROS_MAX ? whole - count : EXPONENT_ZEROS_MAX;
        memset(out, '0', (size_t)zeros);
        out += zeros;
    }
    expanded->text = buffer;
    expanded->length = (size_t)(out - buffer);
}

/* Read an amount that may not be negative; with `truncated` NULL it has to fit exactly. A JSON
 * number may have an exponent, a string not. */
static nk_status
read_amount(nk_json_value value, int decimals, int64_t *amount, bool *truncated)
{
    char buffer[NUMBER_BYTES_MAX];
    char expanded[NUMBER_BYTES_MAX + EXPONENT_ZEROS_MAX + 2];
    text_span span;
    if (!plain_text(value, buffer, &span)) {
        return NK_E_SYNTAX;
    }
    if (span.length > 0 && span.text[0] == '-') {
        return NK_E_SIGN;
    }
    if (value.type == NK_JSON_NUMBER) {
        const char *mark = memchr(span.text, 'e', span.length);
        mark = mark != NULL ? mark : memchr(span.text, 'E', span.length);
        if (mark != NULL) {
            expand_exponent(span, mark, expanded, &span);
        }
    }
    if (truncated == NULL) {
        return nk_fixed_parse(span.text, span.length, decimals, amount);
    }
    return nk_fixed_parse_truncate(span.text, span.length, decimals, amount, truncated);
}

static bool
read_price(nk_json_value value, const nk_listing *listing, int64_t *ticks)
{
    return read_amount(value, listing->price_decimals, ticks, NULL) == NK_OK && *ticks > 0;
}

static bool
read_quantity(nk_json_value value, const nk_listing *listing, int64_t *lots, uint64_t *truncated)
{
    bool is_cut = false;
    if (read_amount(value, listing->quantity_decimals, lots, &is_cut) != NK_OK) {
        return false;
    }
    *truncated += is_cut;
    return true;
}

/* Read a whole number of digits alone, as a number or a string. */
static bool
read_whole(nk_json_value value, int64_t *number)
{
    char buffer[NUMBER_BYTES_MAX];
    text_span span;
    int64_t result = 0;
    if (!plain_text(value, buffer, &span) || span.length == 0) {
        return false;
    }
    for (size_t i = 0; i < span.length; i++) {
        int digit = span.text[i] - '0';
        if (digit < 0 || digit > 9 || result > (INT64_MAX - digit) / 10) {
            return false;
        }
        result = result * 10 + digit;
    }
    *number = result;
    return true;
}

/* Read `count` digits. Returns -1 when they are none. */
static int64_t
read_digits(const char *text, size_t count)
{
    int64_t number = 0;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar, month by month from March, so that the
 * leap day is the last of its year. */
static int64_t
days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t shifted_year = month <= 2 ? year - 1 : year;
    int64_t shifted_month = month <= 2 ? month + 9 : month - 3;
    int64_t leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    return 365 * shifted_year + leap_days + (153 * shifted_month + 2) / 5 + day - 1 - 719468;
}

/* Read "2026-04-17T16:43:37[.123]Z". Returns milliseconds since 1970, -1 when it is none. */
static int64_t
read_iso_time(text_span span)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    static const int64_t month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *text = span.text;
    if (span.length < 20 || text[span.length - 1] != 'Z') {
        return -1;
    }
    for (size_t i = 0; i < 19; i++) {
        bool is_digit = text[i] >= '0' && text[i] <= '9';
        if (shape[i] == 'd' ? !is_digit : text[i] != shape[i]) {
            return -1;
        }
    }
    int64_t year = read_digits(text, 4), month = read_digits(text + 5, 2);
    int64_t day = read_digits(text + 8, 2), hour = read_digits(text + 11, 2);
    int64_t minute = read_digits(text + 14, 2), second = read_digits(text + 17, 2);
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 ||
        second > 59 || day > month_days[month - 1] + (month == 2 && is_leap)) {
        return -1;
    }
    int64_t ms = 0;
    if (span.length > 20) {
        size_t fraction = span.length - 21;
        if (text[19] != '.' || fraction < 1 || fraction > 9 ||
            read_digits(text + 20, fraction) < 0) {
            return -1;
        }
        for (size_t i = 0; i < 3; i++) {
            ms = ms * 10 + (i < fraction ? text[20 + i] - '0' : 0);
        }
    }
    return (((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms;
}

/* A time is information, not a condition: what cannot be read is absent (-1). */
static int64_t
read_time(const nk_json_value *value)
{
    char buffer[NUMBER_BYTES_MAX];
    text_span span;
    int64_t ms;
    if (value == NULL || !plain_text(*value, buffer, &span)) {
        return -1;
    }
    return read_whole(*value, &ms) ? ms : read_iso_time(span);
}

/* ---- the thorough reader ---- */

/* Members that mean something in some object; a member named twice counts as its last one. */
typedef struct member {
    const char *name;
    nk_json_value value;
    bool is_present;
} member;

static void
collect(nk_json_value object, member *members, size_t count)
{
    nk_json_walk walk = nk_json_open(object);
    nk_json_value name, value;
    while (nk_json_next_member(&walk, &name, &value)) {
        for (size_t i = 0; i < count; i++) {
            if (nk_json_equals(name, members[i].name, strlen(members[i].name))) {
                members[i].value = value;
                members[i].is_present = true;
                break;
            }
        }
    }
}

static bool
has_type(const member *field, nk_json_type type)
{
    return field->is_present && field->value.type == type;
}

static const nk_json_value *
value_or_null(const member *field)
{
    return field->is_present ? &field->value : NULL;
}

static nk_reject
read_levels(const nk_scanner *scanner, const nk_listing *listing, nk_json_value array,
            nk_level *levels, size_t *count, uint64_t *truncated)
{
    nk_json_walk walk = nk_json_open(array);
    nk_json_value element;
    *count = 0;
    while (nk_json_next_element(&walk, &element)) {
        member fields[] = {{.name = "price"}, {.name = "quantity"}};
        if (element.type != NK_JSON_OBJECT) {
            return NK_REJECT_SHAPE;
        }
        collect(element, fields, 2);
        if (!fields[0].is_present || !fields[1].is_present) {
            return NK_REJECT_SHAPE;
        }
        if (*count == scanner->level_limit) {
            return NK_REJECT_FULL;
        }
        nk_level *level = &levels[*count];
        if (!read_price(fields[0].value, listing, &level->price_ticks)) {
            return NK_REJECT_PRICE;
        }
        if (!read_quantity(fields[1].value, listing, &level->size_lots, truncated)) {
            return NK_REJECT_QUANTITY;
        }
        ++*count;
    }
    return NK_REJECT_NONE;
}

static nk_reject
read_book(nk_scanner *scanner, nk_json_value params, nk_frame *frame)
{
    const nk_listing *listing = &scanner->listings[frame->market_index];
    member fields[] = {{.name = "sequence"}, {.name = "asks"}, {.name = "bids"}};
    collect(params, fields, 3);
    if (!fields[0].is_present || !has_type(&fields[1], NK_JSON_ARRAY) ||
        !has_type(&fields[2], NK_JSON_ARRAY)) {
        return NK_REJECT_SHAPE;
    }
    if (!read_whole(fields[0].value, &frame->sequence)) {
        return NK_REJECT_SEQUENCE;
    }
    nk_reject reject = read_levels(scanner, listing, fields[1].value, scanner->asks,
                                   &frame->change.ask_count, &frame->truncated);
    if (reject == NK_REJECT_NONE) {
        reject = read_levels(scanner, listing, fields[2].value, scanner->bids,
                             &frame->change.bid_count, &frame->truncated);
    }
    return reject;
}

/* Returns +1 for buy, -1 for sell in any case of letters, 0 for anything else. */
static int32_t
read_side(const member *field)
{
    char text[8];
    size_t length;
    if (!has_type(field, NK_JSON_STRING) ||
        nk_json_unescape(field->value, text, sizeof text, &length) != NK_OK) {
        return 0;
    }
    for (size_t i = 0; i < length; i++) {
        text[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    }
    if (length == 3 && memcmp(text, "buy", 3) == 0) {
        return 1;
    }
    return length == 4 && memcmp(text, "sell", 4) == 0 ? -1 : 0;
}

/* An id is opaque: a string, or a number of digits alone. */
static bool
read_trade_id(const member *field, nk_trade *trade)
{
    size_t length = 0;
    if (has_type(field, NK_JSON_STRING)) {
        if (nk_json_unescape(field->value, trade->id, NK_TRADE_ID_MAX, &length) != NK_OK) {
            return false;
        }
    } else if (has_type(field, NK_JSON_NUMBER)) {
        length = field->value.length;
        if (length > NK_TRADE_ID_MAX) {
            return false;
        }
        for (size_t i = 0; i < length; i++) {
            trade->id[i] = field->value.text[i];
            if (trade->id[i] < '0' || trade->id[i] > '9') {
                return false;
            }
        }
    }
    trade->id_length = (uint32_t)length;
    return length > 0;
}

static nk_reject
read_trade(const nk_listing *listing, nk_json_value object, nk_trade *trade, uint64_t *truncated)
{
    enum { ID, PRICE, QUANTITY, SIDE, TIME, TIME_MS, FIELD_COUNT };
    member fields[FIELD_COUNT] = {{.name = "id"},   {.name = "price"},     {.name = "quantity"},
                                  {.name = "side"}, {.name = "timestamp"}, {.name = "timestampms"}};
    if (object.type != NK_JSON_OBJECT) {
        return NK_REJECT_SHAPE;
    }
    collect(object, fields, FIELD_COUNT);
    trade->side = read_side(&fields[SIDE]);
    if (trade->side == 0 || !read_trade_id(&fields[ID], trade) || !fields[PRICE].is_present ||
        !fields[QUANTITY].is_present) {
        return NK_REJECT_SHAPE;
    }
    if (!read_price(fields[PRICE].value, listing, &trade->price_ticks)) {
        return NK_REJECT_PRICE;
    }
    if (!read_quantity(fields[QUANTITY].value, listing, &trade->size_lots, truncated)) {
        return NK_REJECT_QUANTITY;
    }
    trade->time_ms = read_time(value_or_null(&fields[TIME_MS]));
    if (trade->time_ms < 0) {
        trade->time_ms = read_time(value_or_null(&fields[TIME]));
    }
    return NK_REJECT_NONE;
}

/* The sequence of trades and tickers is optional. */
static bool
read_optional_sequence(const member *field, int64_t *sequence)
{
    return !field->is_present || field->value.type == NK_JSON_NULL ||
           read_whole(field->value, sequence);
}

static nk_reject
read_trades(nk_scanner *scanner, nk_json_value params, nk_frame *frame)
{
    const nk_listing *listing = &scanner->listings[frame->market_index];
    member fields[] = {{.name = "sequence"}, {.name = "data"}};
    nk_json_value element;
    collect(params, fields, 2);
    if (!has_type(&fields[1], NK_JSON_ARRAY)) {
        return NK_REJECT_SHAPE;
    }
    if (!read_optional_sequence(&fields[0], &frame->sequence)) {
        return NK_REJECT_SEQUENCE;
    }
    nk_json_walk walk = nk_json_open(fields[1].value);
    while (nk_json_next_element(&walk, &element)) {
        if (frame->trade_count == NK_FRAME_TRADE_MAX) {
            return NK_REJECT_FULL;
        }
        nk_trade *trade = &scanner->trades[frame->trade_count];
        nk_reject reject = read_trade(listing, element, trade, &frame->truncated);
        if (reject != NK_REJECT_NONE) {
            return reject;
        }
        frame->trade_count++;
    }
    return NK_REJECT_NONE;
}

/* Dead markets show null, "" or zero where there is no price. */
static bool
read_optional_price(const member *field, const nk_listing *listing, int64_t *ticks)
{
    int64_t price = 0;
    *ticks = -1;
    if (!field->is_present || field->value.type == NK_JSON_NULL ||
        (field->value.type == NK_JSON_STRING && field->value.length == 0)) {
        return true;
    }
    if (read_amount(field->value, listing->price_decimals, &price, NULL) != NK_OK) {
        return false;
    }
    *ticks = price > 0 ? price : -1;
    return true;
}

static nk_reject
read_ticker(nk_scanner *scanner, nk_json_value params, nk_frame *frame)
{
    enum { SEQUENCE, LAST, BID, ASK, HIGH, LOW, VOLUME, UPDATED, FIELD_COUNT };
    const nk_listing *listing = &scanner->listings[frame->market_index];
    nk_ticker *ticker = &frame->ticker;
    bool is_cut;
    member fields[FIELD_COUNT] = {{.name = "sequence"}, {.name = "lastPrice"}, {.name = "bestBid"},
                                  {.name = "bestAsk"},  {.name = "highPrice"}, {.name = "lowPrice"},
                                  {.name = "volume"},   {.name = "updatedAt"}};
    collect(params, fields, FIELD_COUNT);
    if (!read_optional_sequence(&fields[SEQUENCE], &frame->sequence)) {
        return NK_REJECT_SEQUENCE;
    }
    if (!read_optional_price(&fields[LAST], listing, &ticker->last_ticks) ||
        !read_optional_price(&fields[BID], listing, &ticker->bid_ticks) ||
        !read_optional_price(&fields[ASK], listing, &ticker->ask_ticks) ||
        !read_optional_price(&fields[HIGH], listing, &ticker->high_ticks) ||
        !read_optional_price(&fields[LOW], listing, &ticker->low_ticks)) {
        return NK_REJECT_PRICE;
    }
    ticker->volume_lots = -1;
    if (fields[VOLUME].is_present && read_amount(fields[VOLUME].value, listing->quantity_decimals,
                                                 &ticker->volume_lots, &is_cut) != NK_OK) {
        ticker->volume_lots = -1;
    }
    ticker->sequence = frame->sequence;
    ticker->time_ms = read_time(value_or_null(&fields[UPDATED]));
    return NK_REJECT_NONE;
}

static int32_t
find_symbol(const nk_scanner *scanner, nk_json_value symbol)
{
    char buffer[SYMBOL_BYTES_MAX];
    size_t length;
    if (memchr(symbol.text, '\\', symbol.length) == NULL) {
        return nk_scanner_find(scanner, symbol.text, symbol.length);
    }
    if (nk_json_unescape(symbol, buffer, sizeof buffer, &length) != NK_OK) {
        return -1;
    }
    return nk_scanner_find(scanner, buffer, length);
}

static nk_frame_kind
kind_of_method(nk_json_value method)
{
    static const struct {
        const char *name;
        nk_frame_kind kind;
    } methods[] = {{"updateOrderbook", NK_FRAME_UPDATE},
                   {"snapshotOrderbook", NK_FRAME_SNAPSHOT},
                   {"updateTrades", NK_FRAME_TRADES},
                   {"snapshotTrades", NK_FRAME_TRADES},
                   {"ticker", NK_FRAME_TICKER}};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (nk_json_equals(method, methods[i].name, strlen(methods[i].name))) {
            return methods[i].kind;
        }
    }
    return NK_FRAME_OTHER;
}

/* Read a checked text. Sets frame->kind. */
static nk_reject
read_frame(nk_scanner *scanner, nk_json_value root, nk_frame *frame)
{
    member fields[] = {{.name = "method"}, {.name = "params"}};
    member symbol = {.name = "symbol"};
    if (root.type != NK_JSON_OBJECT) {
        return NK_REJECT_NONE;
    }
    collect(root, fields, 2);
    if (!has_type(&fields[0], NK_JSON_STRING)) {
        return NK_REJECT_NONE;
    }
    frame->kind = kind_of_method(fields[0].value);
    if (frame->kind == NK_FRAME_OTHER) {
        return NK_REJECT_NONE;
    }
    if (!has_type(&fields[1], NK_JSON_OBJECT)) {
        return NK_REJECT_SHAPE;
    }
    collect(fields[1].value, &symbol, 1);
    if (!has_type(&symbol, NK_JSON_STRING)) {
        return NK_REJECT_SHAPE;
    }
    frame->market_index = find_symbol(scanner, symbol.value);
    if (frame->market_index < 0) {
        frame->kind = NK_FRAME_UNKNOWN_MARKET;
        return NK_REJECT_NONE;
    }
    if (frame->kind == NK_FRAME_TRADES) {
        return read_trades(scanner, fields[1].value, frame);
    }
    if (frame->kind == NK_FRAME_TICKER) {
        return read_ticker(scanner, fields[1].value, frame);
    }
    return read_book(scanner, fields[1].value, frame);
}

static void
clear_frame(const nk_scanner *scanner, nk_frame *frame)
{
    frame->kind = NK_FRAME_OTHER;
    frame->reject = NK_REJECT_NONE;
    frame->market_index = -1;
    frame->sequence = -1;
    frame->truncated = 0;
    frame->change.bids = scanner->bids;
    frame->change.asks = scanner->asks;
    frame->change.bid_count = 0;
    frame->change.ask_count = 0;
    frame->trades = scanner->trades;
    frame->trade_count = 0;
}

void
nk_frame_scan_thorough(nk_scanner *scanner, const char *text, size_t length, nk_frame *frame)
{
    clear_frame(scanner, frame);
    if (length > scanner->frame_bytes_max) {
        frame->reject = NK_REJECT_TOO_LARGE;
    } else {
        nk_status status = nk_json_check(text, length);
        if (status == NK_OK) {
            frame->reject = read_frame(scanner, nk_json_root(text, length), frame);
        } else {
            frame->reject = status == NK_E_RANGE ? NK_REJECT_DEPTH : NK_REJECT_JSON;
        }
    }
    if (frame->reject != NK_REJECT_NONE) {
        frame->kind = NK_FRAME_REJECTED;
    }
}

void
nk_frame_scan(nk_scanner *scanner, const char *text, size_t length, nk_frame *frame)
{
    clear_frame(scanner, frame);
    if (length > scanner->frame_bytes_max || !nk_frame_scan_quick(scanner, text, length, frame)) {
        nk_frame_scan_thorough(scanner, text, length, frame);
    }
}
