/* nk_nonce.c - see nk_nonce.h. */
#include "nk_nonce.h"

#include "nk_atomic.h"

int64_t
nk_nonce_read(const int64_t *newest)
{
    assert(newest != NULL && (uintptr_t)newest % sizeof(int64_t) == 0);
    return nk_atomic_load(newest);
}

nk_status
nk_nonce_take(int64_t *newest, int64_t above, int64_t wanted, int64_t *taken)
{
    assert(newest != NULL && (uintptr_t)newest % sizeof(int64_t) == 0 && taken != NULL);
    int64_t last = nk_atomic_load(newest);
    for (;;) {
        int64_t floor = last > above ? last : above;
        if (floor == INT64_MAX) {
            return NK_E_OVERFLOW;
        }
        int64_t next = wanted > floor ? wanted : floor + 1;
        if (nk_atomic_replace(newest, &last, next)) {
            assert(next > above && next > last);
            *taken = next;
            return NK_OK;
        }
    }
}
