/* nk_fixed.c - decimal text <-> scaled 64-bit integers.
 *
 * Numbers on the wire are short, so the parser has two parts: one loop for texts that cannot
 * overflow 64 bits and need no digit dropped, and everything else, errors included, out of line.
 */
#include "nk_fixed.h"

#include <string.h>

#include "nk_int128.h"

const uint64_t nk_fixed_powers[20] = {
    UINT64_C(1),
    UINT64_C(10),
    UINT64_C(100),
    UINT64_C(1000),
    UINT64_C(10000),
    UINT64_C(100000),
    UINT64_C(1000000),
    UINT64_C(10000000),
    UINT64_C(100000000),
    UINT64_C(1000000000),
    UINT64_C(10000000000),
    UINT64_C(100000000000),
    UINT64_C(1000000000000),
    UINT64_C(10000000000000),
    UINT64_C(100000000000000),
    UINT64_C(1000000000000000),
    UINT64_C(10000000000000000),
    UINT64_C(100000000000000000),
    UINT64_C(1000000000000000000),
    UINT64_C(10000000000000000000),
};

/* At most so many characters hold at most 19 digits, and 10^19 - 1 fits 64 bits. */
#define SHORT_TEXT_MAX 19

/* The digits of a well-formed number, leading zeros of the whole part left out. */
typedef struct decimal_parts {
    const char *whole;
    size_t whole_length;
    const char *fraction;
    size_t fraction_length;
    bool is_negative;
} decimal_parts;

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Compare with a lower-case word, in any case of the text. */
static bool
is_word(const char *text, size_t length, const char *word)
{
    if (length != strlen(word)) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if ((text[i] | 0x20) != word[i]) {
            return false;
        }
    }
    return true;
}

static nk_status
classify(char c, bool has_digit)
{
    if (c == '-' || c == '+') {
        return NK_E_SIGN;
    }
    return (c == 'e' || c == 'E') && has_digit ? NK_E_EXPONENT : NK_E_SYNTAX;
}

/* Split a text into its parts, or say what is wrong with it. */
static nk_status
split(const char *text, size_t length, decimal_parts *parts)
{
    const char *end = text + length;
    const char *c = text;
    parts->is_negative = c < end && *c == '-';
    c += parts->is_negative;
    size_t rest = (size_t)(end - c);
    if (is_word(c, rest, "nan") || is_word(c, rest, "snan") || is_word(c, rest, "inf") ||
        is_word(c, rest, "infinity")) {
        return NK_E_NAN;
    }
    const char *first = c;
    while (c < end && is_digit(*c)) {
        c++;
    }
    parts->whole = first;
    parts->whole_length = (size_t)(c - first);
    parts->fraction = c;
    parts->fraction_length = 0;
    if (c < end && *c == '.') {
        parts->fraction = ++c;
        while (c < end && is_digit(*c)) {
            c++;
        }
        parts->fraction_length = (size_t)(c - parts->fraction);
    }
    bool has_digit = parts->whole_length + parts->fraction_length > 0;
    if (c < end) {
        return classify(*c, has_digit);
    }
    while (parts->whole_length > 0 && *parts->whole == '0') {
        parts->whole++;
        parts->whole_length--;
    }
    return has_digit ? NK_OK : NK_E_EMPTY;
}

/* Append digits to *value; false when it would leave 64 unsigned bits. */
static bool
append(uint64_t *value, const char *digits, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        uint64_t digit = (uint64_t)(digits[i] - '0');
        if (*value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        *value = *value * 10 + digit;
    }
    return true;
}

/* magnitude * 10^zeros with its sign, when that is an int64. */
static nk_status
finish(uint64_t magnitude, int zeros, bool is_negative, int64_t *value)
{
    nk_uint128 scaled = nk_uint128_multiply(magnitude, nk_fixed_powers[zeros]);
    if (NK_UNLIKELY(scaled.high != 0 || scaled.low > (uint64_t)INT64_MAX + is_negative)) {
        return NK_E_OVERFLOW;
    }
    *value = (int64_t)(is_negative ? 0 - scaled.low : scaled.low);
    return NK_OK;
}

/* Any text at all; *truncated says whether a digit other than zero was cut. */
static nk_status
parse_any(const char *text, size_t length, int decimals, int64_t *value, bool *truncated)
{
    decimal_parts parts;
    nk_status status = split(text, length, &parts);
    if (status != NK_OK) {
        return status;
    }
    *truncated = false;
    while (parts.fraction_length > (size_t)decimals) {
        parts.fraction_length--;
        *truncated = *truncated || parts.fraction[parts.fraction_length] != '0';
    }
    uint64_t magnitude = 0;
    if (!append(&magnitude, parts.whole, parts.whole_length) ||
        !append(&magnitude, parts.fraction, parts.fraction_length)) {
        return NK_E_OVERFLOW;
    }
    return finish(magnitude, decimals - (int)parts.fraction_length, parts.is_negative, value);
}

/* The short way: true when it has decided, with the outcome in *status. */
NK_INLINE bool
parse_short(const char *text, size_t length, int decimals, int64_t *value, nk_status *status)
{
    if (NK_UNLIKELY(length == 0 || length > SHORT_TEXT_MAX)) {
        return false;
    }
    const char *end = text + length;
    const char *c = text;
    bool is_negative = *c == '-';
    c += is_negative;
    const char *first = c;
    uint64_t magnitude = 0;
    unsigned digit;
    while (c < end && (digit = (unsigned)((unsigned char)*c - '0')) <= 9) {
        magnitude = magnitude * 10 + digit;
        c++;
    }
    int fraction_length = 0;
    if (c < end && *c == '.') {
        const char *fraction = ++c;
        while (c < end && (digit = (unsigned)((unsigned char)*c - '0')) <= 9) {
            magnitude = magnitude * 10 + digit;
            c++;
        }
        fraction_length = (int)(c - fraction);
        first++; /* the point is no digit */
    }
    if (NK_UNLIKELY(c != end || c == first || fraction_length > decimals)) {
        return false;
    }
    *status = finish(magnitude, decimals - fraction_length, is_negative, value);
    return true;
}

nk_status
nk_fixed_parse(const char *text, size_t length, int decimals, int64_t *value)
{
    assert(text != NULL || length == 0);
    assert(decimals >= 0 && decimals <= NK_FIXED_DECIMALS_MAX);
    nk_status status;
    if (NK_LIKELY(parse_short(text, length, decimals, value, &status))) {
        return status;
    }
    bool truncated;
    int64_t number;
    status = parse_any(text, length, decimals, &number, &truncated);
    if ((status == NK_OK || status == NK_E_OVERFLOW) && truncated) {
        return NK_E_TOO_MANY_DIGITS;
    }
    if (status == NK_OK) {
        *value = number;
    }
    return status;
}

nk_status
nk_fixed_parse_truncate(const char *text, size_t length, int decimals, int64_t *value,
                        bool *truncated)
{
    assert(text != NULL || length == 0);
    assert(decimals >= 0 && decimals <= NK_FIXED_DECIMALS_MAX);
    nk_status status;
    if (NK_LIKELY(parse_short(text, length, decimals, value, &status))) {
        *truncated = false;
        return status;
    }
    return parse_any(text, length, decimals, value, truncated);
}

size_t
nk_fixed_format(int64_t value, int decimals, char *text)
{
    assert(text != NULL);
    assert(decimals >= 0 && decimals <= NK_FIXED_DECIMALS_MAX);
    char digits[20];
    size_t count = 0;
    uint64_t magnitude = nk_magnitude(value);
    /* Least digit first, and at least one digit before the point. */
    while (magnitude > 0 || count <= (size_t)decimals) {
        digits[count++] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    }
    char *out = text;
    if (value < 0) {
        *out++ = '-';
    }
    while (count > (size_t)decimals) {
        *out++ = digits[--count];
    }
    if (decimals > 0) {
        *out++ = '.';
        while (count > 0) {
            *out++ = digits[--count];
        }
    }
    assert(out - text <= NK_FIXED_TEXT_MAX);
    return (size_t)(out - text);
}

/* Whether a magnitude with this remainder goes away from zero. */
static bool
rounds_up(nk_rounding rounding, bool is_negative, bool is_odd, int half, bool is_exact)
{
    switch (rounding) {
        case NK_ROUND_FLOOR:
            return is_negative && !is_exact;
        case NK_ROUND_CEIL:
            return !is_negative && !is_exact;
        case NK_ROUND_HALF_EVEN:
            return half > 0 || (half == 0 && is_odd);
    }
    assert(false && "a rounding that nk_rounding does not have");
    return false;
}

nk_status
nk_fixed_multiply(int64_t a, int64_t b, int shift, nk_rounding rounding, int64_t *result)
{
    assert(shift >= 0 && shift <= NK_FIXED_SHIFT_MAX);
    assert(result != NULL);
    bool is_negative = (a < 0) != (b < 0);
    nk_uint128 quotient = nk_uint128_multiply(nk_magnitude(a), nk_magnitude(b));
    /* Divide by at most 10^18 at a time: what the first division leaves over only says whether
     * the second remainder is a little more than it looks. */
    uint64_t dust = 0;
    if (shift > NK_FIXED_DECIMALS_MAX) {
        quotient = nk_uint128_divide(quotient, nk_fixed_powers[NK_FIXED_DECIMALS_MAX], &dust);
        shift -= NK_FIXED_DECIMALS_MAX;
    }
    uint64_t divisor = nk_fixed_powers[shift];
    uint64_t remainder;
    quotient = nk_uint128_divide(quotient, divisor, &remainder);
    /* The remainder against one half: no overflow, since it is below 10^18. */
    uint64_t twice = 2 * remainder;
    int half = twice != divisor ? (twice > divisor ? 1 : -1) : dust > 0;
    bool is_exact = remainder == 0 && dust == 0;
    if (rounds_up(rounding, is_negative, quotient.low & 1, half, is_exact)) {
        quotient.low++;
        quotient.high += quotient.low == 0;
    }
    if (quotient.high != 0 || quotient.low > (uint64_t)INT64_MAX + is_negative) {
        return NK_E_OVERFLOW;
    }
    *result = (int64_t)(is_negative ? 0 - quotient.low : quotient.low);
    return NK_OK;
}

nk_status
nk_fixed_rescale(int64_t value, int decimals, int new_decimals, nk_rounding rounding,
                 int64_t *result)
{
    assert(decimals >= 0 && decimals <= NK_FIXED_DECIMALS_MAX);
    assert(new_decimals >= 0 && new_decimals <= NK_FIXED_DECIMALS_MAX);
    if (new_decimals >= decimals) {
        int64_t factor = (int64_t)nk_fixed_powers[new_decimals - decimals];
        return nk_fixed_multiply(value, factor, 0, rounding, result);
    }
    return nk_fixed_multiply(value, 1, decimals - new_decimals, rounding, result);
}
