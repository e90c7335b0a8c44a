/* nk_int128.h - 128-bit integers for products of ticks and lots.
 *
 * One struct on every compiler, so that kernels are written once. GCC and Clang do the work with
 * __int128; without it (MSVC), or with NK_NO_INT128 defined (the tests do), with 64-bit words.
 */
#ifndef NK_INT128_H
#define NK_INT128_H

#include "nk_base.h"

#if defined(__SIZEOF_INT128__) && !defined(NK_NO_INT128)
#define NK_HAVE_INT128 1
__extension__ typedef unsigned __int128 nk_native_uint128;
#endif

typedef struct nk_uint128 {
    uint64_t low;
    uint64_t high;
} nk_uint128;

/* Two's complement over both words; the sign is the sign of `high`. */
typedef struct nk_int128 {
    uint64_t low;
    int64_t high;
} nk_int128;

/* Returns  |value|, also for INT64_MIN. */
NK_INLINE uint64_t
nk_magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

/* Returns  a * b, which always fits. */
NK_INLINE nk_uint128
nk_uint128_multiply(uint64_t a, uint64_t b)
{
    nk_uint128 result;
#ifdef NK_HAVE_INT128
    nk_native_uint128 product = (nk_native_uint128)a * b;
    result.low = (uint64_t)product;
    result.high = (uint64_t)(product >> 64);
#else
    uint64_t a_low = a & 0xffffffffu, a_high = a >> 32;
    uint64_t b_low = b & 0xffffffffu, b_high = b >> 32;
    uint64_t cross = a_high * b_low + ((a_low * b_low) >> 32);
    uint64_t middle = a_low * b_high + (cross & 0xffffffffu);
    result.low = a * b;
    result.high = a_high * b_high + (cross >> 32) + (middle >> 32);
#endif
    return result;
}

/* Divide by one word.
 *
 * Requires  divisor > 0.
 * Returns   floor(dividend / divisor), and the remainder in *remainder.
 */
NK_INLINE nk_uint128
nk_uint128_divide(nk_uint128 dividend, uint64_t divisor, uint64_t *remainder)
{
    nk_uint128 quotient;
    assert(divisor > 0);
    if (dividend.high == 0) {
        quotient.high = 0;
        quotient.low = dividend.low / divisor;
        *remainder = dividend.low % divisor;
        return quotient;
    }
#ifdef NK_HAVE_INT128
    nk_native_uint128 value = ((nk_native_uint128)dividend.high << 64) | dividend.low;
    nk_native_uint128 native = value / divisor;
    quotient.low = (uint64_t)native;
    quotient.high = (uint64_t)(native >> 64);
    *remainder = (uint64_t)(value - native * divisor);
#else
    uint64_t rest = dividend.high % divisor;
    uint64_t low = dividend.low;
    quotient.high = dividend.high / divisor;
    quotient.low = 0;
    for (int bit = 0; bit < 64; bit++) {
        uint64_t carry = rest >> 63; /* the 65th bit of the remainder being shifted */
        rest = (rest << 1) | (low >> 63);
        low <<= 1;
        quotient.low <<= 1;
        if (carry || rest >= divisor) {
            rest -= divisor;
            quotient.low |= 1;
        }
    }
    *remainder = rest;
#endif
    return quotient;
}

/* Returns  -1, 0 or 1 as a is below, equal to or above b. */
NK_INLINE int
nk_uint128_compare(nk_uint128 a, nk_uint128 b)
{
    if (a.high != b.high) {
        return a.high < b.high ? -1 : 1;
    }
    return a.low < b.low ? -1 : a.low > b.low;
}

NK_INLINE nk_int128
nk_int128_from(int64_t value)
{
    nk_int128 result = {(uint64_t)value, value < 0 ? -1 : 0};
    return result;
}

NK_INLINE nk_int128
nk_int128_add(nk_int128 a, nk_int128 b)
{
    nk_int128 result;
    result.low = a.low + b.low;
    result.high = (int64_t)((uint64_t)a.high + (uint64_t)b.high + (result.low < a.low));
    return result;
}

NK_INLINE nk_int128
nk_int128_negate(nk_int128 value)
{
    nk_int128 result;
    result.low = 0 - value.low;
    result.high = (int64_t)(~(uint64_t)value.high + (value.low == 0));
    return result;
}

NK_INLINE nk_int128
nk_int128_subtract(nk_int128 a, nk_int128 b)
{
    return nk_int128_add(a, nk_int128_negate(b));
}

/* Returns  a * b, which always fits. */
NK_INLINE nk_int128
nk_int128_multiply(int64_t a, int64_t b)
{
    nk_uint128 product = nk_uint128_multiply(nk_magnitude(a), nk_magnitude(b));
    nk_int128 result = {product.low, (int64_t)product.high};
    return (a < 0) != (b < 0) ? nk_int128_negate(result) : result;
}

/* Returns  -1, 0 or 1 as a is below, equal to or above b. */
NK_INLINE int
nk_int128_compare(nk_int128 a, nk_int128 b)
{
    if (a.high != b.high) {
        return a.high < b.high ? -1 : 1;
    }
    return a.low < b.low ? -1 : a.low > b.low;
}

/* Returns  NK_OK with the value in *result, or NK_E_OVERFLOW (*result untouched). */
NK_INLINE nk_status
nk_int128_to_int64(nk_int128 value, int64_t *result)
{
    if (value.high != ((int64_t)value.low < 0 ? -1 : 0)) {
        return NK_E_OVERFLOW;
    }
    *result = (int64_t)value.low;
    return NK_OK;
}

#endif /* NK_INT128_H */
