/* nk_json.c - see nk_json.h. */
#include "nk_json.h"

#include <string.h>

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *
skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
    }
    return at;
}

/* Returns the value of a hexadecimal digit, -1 when it is none. */
static int
hex_digit(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Returns the 16 bits of four hexadecimal digits, -1 when they are none. */
static int32_t
hex_unit(const char *at, const char *end)
{
    int32_t unit = 0;
    if (end - at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

static bool
is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Returns the byte after one multi-byte UTF-8 character, NULL when it is not well formed (Unicode
 * 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF). */
static const char *
check_multibyte(const char *at, const char *end)
{
    unsigned char lead = (unsigned char)*at;
    ptrdiff_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || end - at < length) {
        return NULL;
    }
    unsigned char second = (unsigned char)at[1];
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
        return NULL;
    }
    for (ptrdiff_t i = 1; i < length; i++) {
        if (!is_continuation(at[i])) {
            return NULL;
        }
    }
    return at + length;
}

/* The check_ functions return the byte after what they checked, or NULL. */

static const char *
check_string(const char *at, const char *end)
{
    if (at == end || *at != '"') {
        return NULL;
    }
    at++;
    while (at < end) {
        unsigned char c = (unsigned char)*at;
        if (c == '"') {
            return at + 1;
        }
        if (c < 0x20) {
            return NULL;
        }
        if (c == '\\') {
            if (end - at < 2) {
                return NULL;
            }
            if (at[1] == 'u') {
                if (hex_unit(at + 2, end) < 0) {
                    return NULL;
                }
                at += 6;
            } else if (at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL) {
                at += 2;
            } else {
                return NULL;
            }
        } else if (c < 0x80) {
            at++;
        } else {
            at = check_multibyte(at, end);
            if (at == NULL) {
                return NULL;
            }
        }
    }
    return NULL;
}

static const char *
check_digits(const char *at, const char *end)
{
    if (at == end || !is_digit(*at)) {
        return NULL;
    }
    while (at < end && is_digit(*at)) {
        at++;
    }
    return at;
}

static const char *
check_number(const char *at, const char *end)
{
    if (at < end && *at == '-') {
        at++;
    }
    if (at < end && *at == '0') {
        at++; /* nothing but a point or an exponent may follow a leading zero */
    } else {
        at = check_digits(at, end);
    }
    if (at != NULL && at < end && *at == '.') {
        at = check_digits(at + 1, end);
    }
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) {
            at++;
        }
        at = check_digits(at, end);
    }
    return at;
}

static const char *
check_word(const char *at, const char *end, const char *word)
{
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && memcmp(at, word, length) == 0 ? at + length : NULL;
}

static const char *
check_scalar(const char *at, const char *end)
{
    switch (*at) {
        case '"':
            return check_string(at, end);
        case 't':
            return check_word(at, end, "true");
        case 'f':
            return check_word(at, end, "false");
        case 'n':
            return check_word(at, end, "null");
        default:
            return check_number(at, end);
    }
}

/* Name, colon and the blanks around them. */
static const char *
check_name(const char *at, const char *end)
{
    at = check_string(skip_blanks(at, end), end);
    if (at == NULL) {
        return NULL;
    }
    at = skip_blanks(at, end);
    return at < end && *at == ':' ? at + 1 : NULL;
}

nk_status
nk_json_check(const char *text, size_t length)
{
    const char *at = text;
    const char *end = text + length;
    char closers[NK_JSON_DEPTH_MAX]; /* what ends each open container */
    size_t depth = 0;
    for (;;) { /* a value is due */
        at = skip_blanks(at, end);
        if (at == end) {
            return NK_E_MALFORMED;
        }
        if (*at == '{' || *at == '[') {
            if (depth == NK_JSON_DEPTH_MAX) {
                return NK_E_RANGE;
            }
            char closer = *at == '{' ? '}' : ']';
            at = skip_blanks(at + 1, end);
            closers[depth++] = closer;
            if (at == end || *at != closer) {
                at = closer == '}' ? check_name(at, end) : at;
                if (at == NULL) {
                    return NK_E_MALFORMED;
                }
                continue;
            }
        } else {
            at = check_scalar(at, end);
            if (at == NULL) {
                return NK_E_MALFORMED;
            }
        }
        for (;;) { /* a value has ended, or its container is about to */
            at = skip_blanks(at, end);
            if (depth == 0) {
                return at == end ? NK_OK : NK_E_MALFORMED;
            }
            if (at == end) {
                return NK_E_MALFORMED;
            }
            if (*at == ',') {
                at = closers[depth - 1] == '}' ? check_name(at + 1, end) : at + 1;
                if (at == NULL) {
                    return NK_E_MALFORMED;
                }
                break;
            }
            if (*at != closers[depth - 1]) {
                return NK_E_MALFORMED;
            }
            at++;
            depth--;
        }
    }
}

/* From here on the text is known to be well formed: ends exist and need no bounds. */

static const char *
string_end(const char *at)
{
    while (*at != '"') {
        at += *at == '\\' ? 2 : 1;
    }
    return at;
}

static nk_json_value
read_value(const char *at, const char *end)
{
    nk_json_value value = {at, 0, NK_JSON_NULL};
    const char *stop = at;
    switch (*at) {
        case '"':
            value.type = NK_JSON_STRING;
            value.text = at + 1;
            value.length = (size_t)(string_end(at + 1) - value.text);
            return value;
        case '{':
        case '[':
            value.type = *at == '{' ? NK_JSON_OBJECT : NK_JSON_ARRAY;
            for (size_t depth = 0;; stop++) {
                if (*stop == '"') {
                    stop = string_end(stop + 1);
                } else if (*stop == '{' || *stop == '[') {
                    depth++;
                } else if ((*stop == '}' || *stop == ']') && --depth == 0) {
                    break;
                }
            }
            value.length = (size_t)(stop + 1 - at);
            return value;
        case 't':
            value.type = NK_JSON_TRUE;
            value.length = 4;
            return value;
        case 'f':
            value.type = NK_JSON_FALSE;
            value.length = 5;
            return value;
        case 'n':
            value.length = 4;
            return value;
        default:
            value.type = NK_JSON_NUMBER;
            while (stop < end && (is_digit(*stop) || (*stop != '\0' && strchr("+-.eE", *stop)))) {
                stop++;
            }
            value.length = (size_t)(stop - at);
            return value;
    }
}

/* The byte after a value: strings leave their closing quote behind. */
static const char *
value_end(nk_json_value value)
{
    return value.text + value.length + (value.type == NK_JSON_STRING);
}

nk_json_value
nk_json_root(const char *text, size_t length)
{
    const char *end = text + length;
    assert(nk_json_check(text, length) == NK_OK);
    return read_value(skip_blanks(text, end), end);
}

nk_json_walk
nk_json_open(nk_json_value container)
{
    nk_json_walk walk = {container.text + 1, container.text + container.length};
    assert(container.type == NK_JSON_OBJECT || container.type == NK_JSON_ARRAY);
    return walk;
}

bool
nk_json_next_element(nk_json_walk *walk, nk_json_value *value)
{
    const char *at = skip_blanks(walk->at, walk->end);
    if (*at == ',') {
        at = skip_blanks(at + 1, walk->end);
    }
    if (*at == ']') {
        return false;
    }
    *value = read_value(at, walk->end);
    walk->at = value_end(*value);
    return true;
}

bool
nk_json_next_member(nk_json_walk *walk, nk_json_value *name, nk_json_value *value)
{
    const char *at = skip_blanks(walk->at, walk->end);
    if (*at == ',') {
        at = skip_blanks(at + 1, walk->end);
    }
    if (*at == '}') {
        return false;
    }
    *name = read_value(at, walk->end);
    at = skip_blanks(value_end(*name), walk->end); /* at the colon */
    *value = read_value(skip_blanks(at + 1, walk->end), walk->end);
    walk->at = value_end(*value);
    return true;
}

/* Returns the number of bytes written for one character. */
static size_t
encode(uint32_t character, char bytes[4])
{
    if (character < 0x80) {
        bytes[0] = (char)character;
        return 1;
    }
    size_t length = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const unsigned char leads[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length; i-- > 1;) {
        bytes[i] = (char)(0x80 | (character & 0x3F));
        character >>= 6;
    }
    bytes[0] = (char)(leads[length] | character);
    return length;
}

/* Read the escape at **at and move past it. */
static uint32_t
read_escape(const char **at, const char *end)
{
    static const char from[] = "bfnrt";
    static const char to[] = "\b\f\n\r\t";
    char c = (*at)[1];
    if (c != 'u') {
        const char *found = strchr(from, c);
        *at += 2;
        return (uint32_t)(unsigned char)(found != NULL ? to[found - from] : c);
    }
    uint32_t unit = (uint32_t)hex_unit(*at + 2, end);
    *at += 6;
    if (unit >= 0xD800 && unit <= 0xDBFF && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        uint32_t low = (uint32_t)hex_unit(*at + 2, end);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *at += 6;
            return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return unit;
}

nk_status
nk_json_unescape(nk_json_value value, char *buffer, size_t capacity, size_t *length)
{
    const char *at = value.text;
    const char *end = value.text + value.length;
    size_t written = 0;
    assert(value.type == NK_JSON_STRING);
    while (at < end) {
        char bytes[4] = {*at, 0, 0, 0};
        size_t count = 1;
        if (*at == '\\') {
            count = encode(read_escape(&at, end), bytes);
        } else {
            at++;
        }
        if (capacity - written < count) {
            return NK_E_FULL;
        }
        memcpy(buffer + written, bytes, count);
        written += count;
    }
    *length = written;
    return NK_OK;
}

bool
nk_json_equals(nk_json_value value, const char *text, size_t length)
{
    char buffer[64];
    size_t decoded;
    assert(value.type == NK_JSON_STRING && length <= sizeof buffer);
    if (NK_LIKELY(memchr(value.text, '\\', value.length) == NULL)) {
        return value.length == length && memcmp(value.text, text, length) == 0;
    }
    return nk_json_unescape(value, buffer, sizeof buffer, &decoded) == NK_OK && decoded == length &&
           memcmp(buffer, text, length) == 0;
}
