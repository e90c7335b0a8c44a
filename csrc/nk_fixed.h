/* nk_fixed.h - decimal text <-> scaled 64-bit integers, exact or an error.
 *
 * A number with d decimals is held as the integer count of 10^-d: "1.25" at 4 decimals is 12500.
 * Nothing is ever rounded silently; each way of not fitting has its own status.
 */
#ifndef NK_FIXED_H
#define NK_FIXED_H

#include "nk_base.h"

enum {
    NK_FIXED_DECIMALS_MAX = 18, /* 10^18 is the largest power of ten in an int64 */
    NK_FIXED_SHIFT_MAX = 36,    /* the decimals of a product of two such numbers */
    NK_FIXED_TEXT_MAX = 21      /* sign, 19 digits, point; no terminating zero */
};

typedef enum nk_rounding {
    NK_ROUND_FLOOR,    /* toward minus infinity */
    NK_ROUND_CEIL,     /* toward plus infinity */
    NK_ROUND_HALF_EVEN /* to the nearest, ties to the even one */
} nk_rounding;

/* 10^0 .. 10^19, all that fit 64 unsigned bits. */
extern const uint64_t nk_fixed_powers[20];

/* Read a decimal number.
 *
 * Accepted are an optional '-', digits and at most one point, with at least one digit on either
 * side of it: "5", "5.", ".5", "-0.50", "007". Zeros beyond the decimals carry no value and are
 * accepted. Blanks, '+', group separators, exponents and non-ASCII digits are not.
 *
 * Requires  text has length readable bytes (it need not end in a zero byte);
 *           0 <= decimals <= NK_FIXED_DECIMALS_MAX.
 * Ensures   *value is written only with NK_OK.
 * Returns   NK_OK, or the first thing wrong from the left: NK_E_EMPTY (no digit at all),
 *           NK_E_SIGN, NK_E_EXPONENT, NK_E_NAN, NK_E_SYNTAX; of a well-formed number
 *           NK_E_TOO_MANY_DIGITS before NK_E_OVERFLOW.
 * Cost      O(length).
 */
nk_status nk_fixed_parse(const char *text, size_t length, int decimals, int64_t *value);

/* The same, but digits beyond the decimals are cut off toward zero.
 *
 * Ensures   with NK_OK, *truncated says whether a digit other than zero was cut.
 * Returns   as nk_fixed_parse, except that NK_E_TOO_MANY_DIGITS does not occur.
 */
nk_status nk_fixed_parse_truncate(const char *text, size_t length, int decimals, int64_t *value,
                                  bool *truncated);

/* Write a number with exactly `decimals` decimals in plain digits: "0.00012300", never "1.23E-4".
 *
 * Requires  text has room for NK_FIXED_TEXT_MAX bytes;
 *           0 <= decimals <= NK_FIXED_DECIMALS_MAX.
 * Returns   the number of bytes written; no terminating zero.
 */
size_t nk_fixed_format(int64_t value, int decimals, char *text);

/* a * b / 10^shift, rounded once from the exact 128-bit product.
 *
 * Requires  0 <= shift <= NK_FIXED_SHIFT_MAX.
 * Returns   NK_OK, or NK_E_OVERFLOW when the result is outside int64 (*result untouched).
 */
nk_status nk_fixed_multiply(int64_t a, int64_t b, int shift, nk_rounding rounding, int64_t *result);

/* The same number with other decimals.
 *
 * Requires  both decimals are 0 .. NK_FIXED_DECIMALS_MAX.
 * Returns   NK_OK, or NK_E_OVERFLOW when the result is outside int64 (*result untouched).
 */
nk_status nk_fixed_rescale(int64_t value, int decimals, int new_decimals, nk_rounding rounding,
                           int64_t *result);

#endif /* NK_FIXED_H */
