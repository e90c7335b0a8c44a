/* nk_json.h - check a JSON text once, then walk it in place.
 *
 * No tree and no copies: nk_json_check reads the whole text by RFC 8259 (and as strictly as
 * Python's json module without its NaN and Infinity); the walkers after it rely on that and only
 * look for the ends of values.
 */
#ifndef NK_JSON_H
#define NK_JSON_H

#include "nk_base.h"

enum { NK_JSON_DEPTH_MAX = 256 /* nested objects and arrays */ };

typedef enum nk_json_type {
    NK_JSON_OBJECT,
    NK_JSON_ARRAY,
    NK_JSON_STRING,
    NK_JSON_NUMBER,
    NK_JSON_TRUE,
    NK_JSON_FALSE,
    NK_JSON_NULL
} nk_json_type;

/* A value inside a checked text: lives as long as that text. */
typedef struct nk_json_value {
    const char *text; /* of a string: what stands between the quotes, escapes and all */
    size_t length;
    nk_json_type type;
} nk_json_value;

typedef struct nk_json_walk {
    const char *at;
    const char *end;
} nk_json_walk;

/* Check that a text is exactly one JSON value in valid UTF-8, blanks around it allowed.
 *
 * Requires  text has length readable bytes.
 * Returns   NK_OK, NK_E_MALFORMED, or NK_E_RANGE (nested deeper than NK_JSON_DEPTH_MAX).
 * Cost      O(length), no recursion.
 */
nk_status nk_json_check(const char *text, size_t length);

/* Returns  the value of a text that nk_json_check found well formed. */
nk_json_value nk_json_root(const char *text, size_t length);

/* Start a walk over the members of an object or the elements of an array. */
nk_json_walk nk_json_open(nk_json_value container);

/* Returns  false at the end of the object, else the next member. */
bool nk_json_next_member(nk_json_walk *walk, nk_json_value *name, nk_json_value *value);

/* Returns  false at the end of the array, else the next element. */
bool nk_json_next_element(nk_json_walk *walk, nk_json_value *value);

/* Write the characters of a string value as UTF-8, escapes resolved. A lone surrogate becomes its
 * three-byte form, which no valid UTF-8 text contains.
 *
 * Requires  value is a string; buffer has room for `capacity` bytes.
 * Returns   NK_OK with the bytes written in *length, or NK_E_FULL.
 */
nk_status nk_json_unescape(nk_json_value value, char *buffer, size_t capacity, size_t *length);

/* Returns  true when a string value has exactly these characters, however they are escaped.
 *
 * Requires  value is a string; length <= 64.
 */
bool nk_json_equals(nk_json_value value, const char *text, size_t length);

#endif /* NK_JSON_H */
