/* nk_base.h - statuses and compiler macros that every kernel shares. */
#ifndef NK_BASE_H
#define NK_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Digits are read and written eight at a time, as words whose first byte is the lowest. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "nkfast needs a little-endian processor: x86-64, aarch64, riscv64, ppc64le"
#endif

/* What a kernel says of its work. A kernel never prints, aborts or touches Python's errors. */
typedef enum nk_status {
    NK_OK = 0,
    /* numbers */
    NK_E_EMPTY,           /* no digit */
    NK_E_SYNTAX,          /* a character that no number has, or two points */
    NK_E_SIGN,            /* a sign that is not allowed */
    NK_E_EXPONENT,        /* exponent notation */
    NK_E_NAN,             /* NaN or infinity */
    NK_E_TOO_MANY_DIGITS, /* more decimal places than asked for */
    NK_E_OVERFLOW,        /* outside int64 */
    /* structures */
    NK_E_FULL,      /* no room; nothing was changed */
    NK_E_NOT_FOUND, /* no such key */
    NK_E_EXISTS,    /* the key is taken */
    NK_E_RANGE,     /* an argument outside its range */
    NK_E_MEMORY,    /* the system gave no memory; nothing was changed */
    /* frames */
    NK_E_MALFORMED, /* not JSON, or not the shape of its method */
    NK_E_UNKNOWN    /* well formed, but not for this kernel */
} nk_status;

#if defined(_MSC_VER) && !defined(__clang__)
#define NK_LIKELY(x) (x)
#define NK_UNLIKELY(x) (x)
#define NK_INLINE static __forceinline
#else
#define NK_LIKELY(x) __builtin_expect(!!(x), 1)
#define NK_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NK_INLINE static inline __attribute__((always_inline, unused))
#endif

#endif /* NK_BASE_H */
