/* nk_nonce.h - the next of numbers that only grow, taken from memory that processes may share.
 *
 * There is no lock that a stopped process could hold: whoever takes a number replaces the newest
 * one by compare-and-swap, and tries again when another was quicker. One step of somebody else is
 * all that a failed try ever waits for.
 */
#ifndef NK_NONCE_H
#define NK_NONCE_H

#include "nk_base.h"

/* Read the newest number.
 *
 * Requires  newest is aligned to 8 bytes.
 * Cost      O(1), one load.
 */
int64_t nk_nonce_read(const int64_t *newest);

/* Take the next number: `wanted`, or one more than the largest that is known where that is larger.
 *
 * Requires  newest is aligned to 8 bytes, and changed by this function alone.
 * Ensures   with NK_OK, *taken is larger than `above` and than every number taken before, by
 *           whatever thread or process that shares the memory.
 * Returns   NK_OK, or NK_E_OVERFLOW when no larger int64 is left (nothing was changed).
 * Cost      O(1) plus one try for each number that others take meanwhile.
 */
nk_status nk_nonce_take(int64_t *newest, int64_t above, int64_t wanted, int64_t *taken);

#endif /* NK_NONCE_H */
