/* nk_atomic.h - 64-bit numbers in memory that threads and processes share, without a lock.
 *
 * Every operation is one step and sequentially consistent: of two writers that each store a number
 * and then load the other's, at least one sees the other. Compilers name the instructions
 * differently.
 *
 * Requires  every place is aligned to 8 bytes.
 * Cost      O(1) each; a store and a replacement empty the processor's store buffer.
 */
#ifndef NK_ATOMIC_H
#define NK_ATOMIC_H

#include "nk_base.h"

#if defined(_MSC_VER) && !defined(__clang__)

#include <intrin.h>

NK_INLINE int64_t
nk_atomic_load(const int64_t *place)
{
    /* The plain load of an aligned word is whole on x64 and ARM64, and the interlocked operations
     * below are full barriers. */
    return *(const volatile int64_t *)place;
}

NK_INLINE void
nk_atomic_store(int64_t *place, int64_t value)
{
    (void)_InterlockedExchange64((volatile long long *)place, value);
}

/* Store `value` where *expected is found; else *expected is what was found. */
NK_INLINE bool
nk_atomic_replace(int64_t *place, int64_t *expected, int64_t value)
{
    int64_t found = _InterlockedCompareExchange64((volatile long long *)place, value, *expected);
    bool was_expected = found == *expected;
    *expected = found;
    return was_expected;
}

#else

/* A lock in the place of the instruction would be one process's own. */
_Static_assert(__atomic_always_lock_free(sizeof(int64_t), 0),
               "this processor cannot replace 64 bits in one step");

NK_INLINE int64_t
nk_atomic_load(const int64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_SEQ_CST);
}

NK_INLINE void
nk_atomic_store(int64_t *place, int64_t value)
{
    __atomic_store_n(place, value, __ATOMIC_SEQ_CST);
}

/* Store `value` where *expected is found; else *expected is what was found. */
NK_INLINE bool
nk_atomic_replace(int64_t *place, int64_t *expected, int64_t value)
{
    return __atomic_compare_exchange_n(place, expected, value, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

#endif

#endif /* NK_ATOMIC_H */
