/* nk_bucket.c - see nk_bucket.h. The generic cell rate algorithm, on one shared number. */
#include "nk_bucket.h"

#include "nk_atomic.h"

NK_INLINE int64_t
full_from(int64_t found, int64_t now_ns, int64_t horizon_ns)
{
    return found > now_ns && found - now_ns <= horizon_ns ? found : now_ns;
}

NK_INLINE void
check(const int64_t *full_at, const nk_rate *rate)
{
    assert(full_at != NULL && (uintptr_t)full_at % sizeof(int64_t) == 0);
    assert(rate->interval_ns > 0 && rate->burst_ns >= rate->interval_ns);
    assert(rate->horizon_ns > rate->burst_ns);
    (void)full_at;
    (void)rate;
}

NK_INLINE int64_t
usable_from(int64_t full_at, const nk_rate *rate, int64_t now_ns)
{
    int64_t ready_ns = full_at - rate->burst_ns;
    return ready_ns > now_ns ? ready_ns : now_ns;
}

int64_t
nk_bucket_reserve(int64_t *full_at, const nk_rate *rate, int64_t now_ns)
{
    check(full_at, rate);
    int64_t found = nk_atomic_load(full_at);
    for (;;) {
        int64_t next = full_from(found, now_ns, rate->horizon_ns) + rate->interval_ns;
        if (nk_atomic_replace(full_at, &found, next)) {
            return usable_from(next, rate, now_ns);
        }
    }
}

int64_t
nk_bucket_take(int64_t *full_at, const nk_rate *rate, int64_t now_ns)
{
    check(full_at, rate);
    int64_t found = nk_atomic_load(full_at);
    for (;;) {
        int64_t next = full_from(found, now_ns, rate->horizon_ns) + rate->interval_ns;
        int64_t ready_ns = usable_from(next, rate, now_ns);
        if (ready_ns > now_ns || nk_atomic_replace(full_at, &found, next)) {
            return ready_ns;
        }
    }
}

int64_t
nk_bucket_ready(const int64_t *full_at, const nk_rate *rate, int64_t now_ns)
{
    check(full_at, rate);
    int64_t found = full_from(nk_atomic_load(full_at), now_ns, rate->horizon_ns);
    return usable_from(found + rate->interval_ns, rate, now_ns);
}

void
nk_bucket_delay(int64_t *time, int64_t until_ns, int64_t now_ns, int64_t horizon_ns)
{
    assert(time != NULL && (uintptr_t)time % sizeof(int64_t) == 0 && horizon_ns > 0);
    int64_t found = nk_atomic_load(time);
    while (full_from(found, now_ns, horizon_ns) < until_ns) {
        if (nk_atomic_replace(time, &found, until_ns)) {
            return;
        }
    }
}

int64_t
nk_bucket_read(const int64_t *time, int64_t now_ns, int64_t horizon_ns)
{
    assert(time != NULL && (uintptr_t)time % sizeof(int64_t) == 0 && horizon_ns > 0);
    int64_t found = nk_atomic_load(time);
    return found > now_ns && found - now_ns > horizon_ns ? 0 : found;
}
