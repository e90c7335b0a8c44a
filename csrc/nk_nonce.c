/* nk_nonce.c - see nk_nonce.h. Compilers name the same two instructions differently. */
#include "nk_nonce.h"

#if defined(_MSC_VER) && !defined(__clang__)

#include <intrin.h>

NK_INLINE int64_t
load(const int64_t *place)
{
    /* The plain load of an aligned word is whole on x64 and ARM64; a number that is old by the time
     * it is used only costs the exchange a second try. */
    return *(const volatile int64_t *)place;
}

NK_INLINE bool
replace(int64_t *place, int64_t *expected, int64_t value)
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
load(const int64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_SEQ_CST);
}

NK_INLINE bool
replace(int64_t *place, int64_t *expected, int64_t value)
{
    return __atomic_compare_exchange_n(place, expected, value, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

#endif

int64_t
nk_nonce_read(const int64_t *newest)
{
    assert(newest != NULL && (uintptr_t)newest % sizeof(int64_t) == 0);
    return load(newest);
}

nk_status
nk_nonce_take(int64_t *newest, int64_t above, int64_t wanted, int64_t *taken)
{
    assert(newest != NULL && (uintptr_t)newest % sizeof(int64_t) == 0 && taken != NULL);
    int64_t last = load(newest);
    for (;;) {
        int64_t floor = last > above ? last : above;
        if (floor == INT64_MAX) {
            return NK_E_OVERFLOW;
        }
        int64_t next = wanted > floor ? wanted : floor + 1;
        if (replace(newest, &last, next)) {
            assert(next > above && next > last);
            *taken = next;
            return NK_OK;
        }
    }
}
