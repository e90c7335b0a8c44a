/* nk_bucket.h - at most so many a second, counted in memory that processes may share.
 *
 * A token bucket as one number: the time at which it would be full again. Whoever takes a token
 * moves that time by compare-and-swap; there is no lock that a stopped process could hold. Times
 * are nanoseconds of one clock that all who share the memory read.
 */
#ifndef NK_BUCKET_H
#define NK_BUCKET_H

#include "nk_base.h"

/* What a bucket gives. A time further ahead than `horizon_ns` is not one of this clock: the machine
 * was started since, and the bucket counts as full. */
typedef struct nk_rate {
    int64_t interval_ns; /* between two tokens, > 0 */
    int64_t burst_ns;    /* interval_ns times the tokens of a full bucket, >= interval_ns */
    int64_t horizon_ns;  /* > burst_ns */
} nk_rate;

/* Take a token, now or in advance.
 *
 * Requires  full_at is aligned to 8 bytes; now_ns and the rate's sums stay within int64.
 * Returns   the time from which the token may be used: now_ns, or later when the bucket is empty.
 * Cost      O(1) plus one try for each token that others take meanwhile.
 */
int64_t nk_bucket_reserve(int64_t *full_at, const nk_rate *rate, int64_t now_ns);

/* Take a token if there is one.
 *
 * Requires  as nk_bucket_reserve.
 * Returns   now_ns when it was taken; else the time at which there is one, and nothing changed.
 * Cost      as nk_bucket_reserve.
 */
int64_t nk_bucket_take(int64_t *full_at, const nk_rate *rate, int64_t now_ns);

/* Return the time from which there is a token: now_ns when there is one. Nothing is changed. */
int64_t nk_bucket_ready(const int64_t *full_at, const nk_rate *rate, int64_t now_ns);

/* Move a time further; one that is further already, and within the horizon, stays.
 *
 * Requires  time is aligned to 8 bytes; horizon_ns > 0.
 */
void nk_bucket_delay(int64_t *time, int64_t until_ns, int64_t now_ns, int64_t horizon_ns);

/* Read a time; 0 when it is beyond the horizon. */
int64_t nk_bucket_read(const int64_t *time, int64_t now_ns, int64_t horizon_ns);

#endif /* NK_BUCKET_H */
