/* nk_frame_quick.c - see nk_frame_quick.h. */
#include "nk_frame_quick.h"

#include "nk_fixed.h"

/* The last byte of the frame, its closing brace, lies at `end` and can be read there: it is neither
 * blank nor digit, so that loops over those need no bound. */
typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

/* Numbers of at most this many digits, after scaling too, cannot overflow. */
enum { SAFE_DIGITS = 18 };

NK_INLINE bool
is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

NK_INLINE void
skip_blanks(cursor *in)
{
    while (NK_UNLIKELY(*in->at <= ' ') && is_blank(*in->at)) {
        in->at++;
    }
}

/* Take these characters and the blanks after them, if they come next. */
NK_INLINE bool
take_text(cursor *in, const char *text, size_t length)
{
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, text, length) != 0) {
        return false;
    }
    in->at += length;
    skip_blanks(in);
    return true;
}

#define TAKE(in, literal) take_text(in, literal, sizeof(literal) - 1)

/* Take a quoted name and its colon, or nothing. */
NK_INLINE bool
take_name(cursor *in, const char *name, size_t length)
{
    cursor start = *in;
    if (take_text(in, name, length) && TAKE(in, ":")) {
        return true;
    }
    *in = start;
    return false;
}

/* Take `"name":`, with blanks or without. */
#define TAKE_NAME(in, name) \
    (TAKE(in, "\"" name "\":") || take_name(in, "\"" name "\"", sizeof(name) + 1))

/* Take `before"name":`, with blanks or without. */
#define TAKE_NAME_AFTER(in, before, name) \
    (TAKE(in, before "\"" name "\":") || (TAKE(in, before) && TAKE_NAME(in, name)))

/* Returns  true when each of 8 bytes is plain: 0x20 .. 0x7F, neither quote nor backslash. May say
 * false of plain bytes that follow another one. */
NK_INLINE bool
are_plain(const char *text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones * 0x80;
    uint64_t bytes;
    memcpy(&bytes, text, sizeof bytes);
    uint64_t quotes = bytes ^ (ones * '"');
    uint64_t backslashes = bytes ^ (ones * '\\');
    /* A byte below n borrows into its high bit when n is subtracted. */
    uint64_t found = (quotes - ones) | (backslashes - ones) | (bytes - ones * 0x20) | bytes;
    return (found & highs) == 0;
}

/* Take a string of plain ASCII; its text lies between *text and *text + *length. */
NK_INLINE bool
take_string(cursor *in, const char **text, size_t *length)
{
    if (*in->at != '"') {
        return false;
    }
    const char *at = in->at + 1;
    *text = at;
    while (in->end - at >= 8 && are_plain(at)) {
        at += 8;
    }
    while (at < in->end && *at != '"') {
        unsigned char c = (unsigned char)*at;
        if (c < 0x20 || c >= 0x80 || c == '\\') {
            return false;
        }
        at++;
    }
    if (at == in->end) {
        return false;
    }
    *length = (size_t)(at - *text);
    in->at = at + 1;
    skip_blanks(in);
    return true;
}

NK_INLINE const char *
read_digits(const char *at, uint64_t *number)
{
    for (;; at++) {
        unsigned digit = (unsigned)(unsigned char)*at - '0';
        if (digit > 9) {
            return at;
        }
        *number = *number * 10 + digit; /* may wrap: the count of digits tells */
    }
}

/* Take digits with at most one point between them: the digits as one number, how many, and how many
 * after the point. JSON numbers may not begin with a zero too many. */
NK_INLINE bool
take_digits(cursor *in, uint64_t *mantissa, int *digit_count, int *fraction_count)
{
    const bool is_quoted = *in->at == '"';
    const char *begin = in->at + is_quoted;
    uint64_t number = 0;
    const char *at = read_digits(begin, &number);
    ptrdiff_t whole = at - begin;
    ptrdiff_t fraction = 0;
    if (*at == '.') {
        const char *point = at;
        at = read_digits(point + 1, &number);
        fraction = at - point - 1;
        if (fraction == 0) {
            return false;
        }
    }
    if (whole == 0 || whole + fraction > SAFE_DIGITS) {
        return false;
    }
    if (is_quoted ? *at != '"' : whole > 1 && *begin == '0') {
        return false;
    }
    *mantissa = number;
    *digit_count = (int)(whole + fraction);
    *fraction_count = (int)fraction;
    in->at = at + is_quoted;
    skip_blanks(in);
    return true;
}

/* Take an amount and scale it; *is_cut says whether a digit beyond the decimals was lost. */
NK_INLINE bool
take_amount(cursor *in, int decimals, int64_t *amount, bool *is_cut)
{
    uint64_t mantissa;
    int digit_count, fraction_count;
    if (!take_digits(in, &mantissa, &digit_count, &fraction_count)) {
        return false;
    }
    *is_cut = false;
    if (NK_LIKELY(fraction_count <= decimals)) {
        int shift = decimals - fraction_count;
        if (digit_count + shift > SAFE_DIGITS) {
            return false;
        }
        *amount = (int64_t)(mantissa * nk_fixed_powers[shift]);
        return true;
    }
    uint64_t divisor = nk_fixed_powers[fraction_count - decimals];
    *amount = (int64_t)(mantissa / divisor);
    *is_cut = mantissa % divisor != 0;
    return true;
}

static bool
take_levels(cursor *in, const nk_listing *listing, nk_level *levels, size_t limit, size_t *count,
            uint64_t *truncated)
{
    size_t taken = 0;
    if (!TAKE(in, "[")) {
        return false;
    }
    if (TAKE(in, "]")) {
        *count = 0;
        return true;
    }
    do {
        bool is_cut;
        nk_level *level = &levels[taken];
        if (taken == limit || !TAKE_NAME_AFTER(in, "{", "price") ||
            !take_amount(in, listing->price_decimals, &level->price_ticks, &is_cut) || is_cut ||
            level->price_ticks == 0 || !TAKE_NAME_AFTER(in, ",", "quantity") ||
            !take_amount(in, listing->quantity_decimals, &level->size_lots, &is_cut) ||
            !TAKE(in, "}")) {
            return false;
        }
        *truncated += is_cut;
        taken++;
    } while (TAKE(in, ","));
    *count = taken;
    return TAKE(in, "]");
}

/* Take the value of "symbol" at the cursor. Returns the market, -1 when it is none of ours. */
static int32_t
take_symbol(cursor *in, const nk_scanner *scanner)
{
    const char *text;
    size_t length;
    return take_string(in, &text, &length) ? nk_scanner_find(scanner, text, length) : -1;
}

/* Levels that come before their symbol need its decimals: look for it from the end on. The member
 * proper is met later and must name the same market. */
static int32_t
foresee_symbol(cursor in, const nk_scanner *scanner)
{
    static const char name[] = "\"symbol\"";
    const ptrdiff_t length = (ptrdiff_t)sizeof name - 1;
    for (ptrdiff_t ahead = in.end - in.at - length; ahead >= 0; ahead--) {
        if (memcmp(in.at + ahead, name, (size_t)length) == 0) {
            in.at += ahead;
            return TAKE_NAME(&in, "symbol") ? take_symbol(&in, scanner) : -1;
        }
    }
    return -1;
}

static bool
take_sequence(cursor *in, int64_t *sequence)
{
    uint64_t number;
    int digit_count, fraction_count;
    if (!take_digits(in, &number, &digit_count, &fraction_count) || fraction_count > 0) {
        return false;
    }
    *sequence = (int64_t)number;
    return true;
}

/* The time of a book is not used, but it has to be JSON: a plain string or digits. */
static bool
take_time(cursor *in)
{
    const char *text;
    size_t length;
    int64_t ms;
    return take_string(in, &text, &length) || take_sequence(in, &ms);
}

static bool
take_levels_of(cursor *in, nk_scanner *scanner, nk_frame *frame, bool is_bid)
{
    if (frame->market_index < 0) {
        frame->market_index = foresee_symbol(*in, scanner);
        if (frame->market_index < 0) {
            return false;
        }
    }
    const nk_listing *listing = &scanner->listings[frame->market_index];
    if (is_bid) {
        return take_levels(in, listing, scanner->bids, scanner->level_limit,
                           &frame->change.bid_count, &frame->truncated);
    }
    return take_levels(in, listing, scanner->asks, scanner->level_limit, &frame->change.ask_count,
                       &frame->truncated);
}

/* Take the members of params up to and with its closing brace. */
static bool
take_params(cursor *in, nk_scanner *scanner, nk_frame *frame)
{
    enum { SYMBOL = 1, SEQUENCE = 2, ASKS = 4, BIDS = 8, TIME = 16, NEEDED = 15 };
    unsigned seen = 0;
    do {
        unsigned member;
        bool is_taken;
        if (TAKE_NAME(in, "symbol")) {
            int32_t market_index = take_symbol(in, scanner);
            member = SYMBOL;
            is_taken = market_index >= 0 &&
                       (frame->market_index < 0 || frame->market_index == market_index);
            frame->market_index = market_index;
        } else if (TAKE_NAME(in, "sequence")) {
            member = SEQUENCE;
            is_taken = take_sequence(in, &frame->sequence);
        } else if (TAKE_NAME(in, "asks")) {
            member = ASKS;
            is_taken = take_levels_of(in, scanner, frame, false);
        } else if (TAKE_NAME(in, "bids")) {
            member = BIDS;
            is_taken = take_levels_of(in, scanner, frame, true);
        } else if (TAKE_NAME(in, "timestamp")) {
            member = TIME;
            is_taken = take_time(in);
        } else {
            return false;
        }
        if (!is_taken || (seen & member)) {
            return false;
        }
        seen |= member;
    } while (TAKE(in, ","));
    return (seen & NEEDED) == NEEDED && TAKE(in, "}");
}

bool
nk_frame_scan_quick(nk_scanner *scanner, const char *text, size_t length, nk_frame *frame)
{
    while (length > 0 && is_blank(text[length - 1])) {
        length--;
    }
    if (length == 0 || text[length - 1] != '}') {
        return false;
    }
    cursor in = {text, text + length - 1};
    if (!TAKE(&in, "{\"jsonrpc\":\"2.0\",\"method\":")) {
        if (!TAKE(&in, "{") ||
            (TAKE_NAME(&in, "jsonrpc") && (!TAKE(&in, "\"2.0\"") || !TAKE(&in, ","))) ||
            !TAKE_NAME(&in, "method")) {
            return false;
        }
    }
    if (TAKE(&in, "\"updateOrderbook\"")) {
        frame->kind = NK_FRAME_UPDATE;
    } else if (TAKE(&in, "\"snapshotOrderbook\"")) {
        frame->kind = NK_FRAME_SNAPSHOT;
    } else {
        return false;
    }
    return TAKE_NAME_AFTER(&in, ",", "params") && TAKE(&in, "{") &&
           take_params(&in, scanner, frame) && in.at == in.end;
}
