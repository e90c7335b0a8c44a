/* nk_headroom.h - how far one order may go before a limit has to be asked.
 *
 * All limits on a limit order of one market and one side that do not depend on the book, as bounds
 * on its price, its quantity and their product. They are worked out while nothing is urgent;
 * whether an order stays within them, and within what the book says, is then a dozen comparisons on
 * one structure.
 */
#ifndef NK_HEADROOM_H
#define NK_HEADROOM_H

#include "nk_int128.h"

typedef struct nk_headroom {
    int64_t min_ticks; /* the price, both ends included */
    int64_t max_ticks;
    int64_t min_lots; /* the quantity, both ends included */
    int64_t max_lots;
    nk_uint128 min_units; /* ticks times lots, both ends included */
    nk_uint128 max_units;
    bool has_collar;
    uint64_t collar_numerator; /* largest distance from mid and last trade, as a fraction of each */
    uint64_t collar_divisor;   /* > 0 */
    int64_t trade_ticks;       /* price of the last trade; 0 while none is known */
} nk_headroom;

/* The best prices of a book; each counts only where its side has a level. */
typedef struct nk_touch {
    bool has_bid;
    bool has_ask;
    int64_t bid_ticks;
    int64_t ask_ticks;
} nk_touch;

/* Whether an order lies within the bounds, the book is not crossed and, where there is a collar,
 * the price is near enough to the mid and to the last trade, of which one has to be there.
 *
 * Requires  prices of the touch > 0, that of the last trade >= 0; ticks and lots of any value.
 * Returns   true only if every bound holds, exactly.
 * Cost      O(1).
 */
bool nk_headroom_admits(const nk_headroom *room, const nk_touch *touch, int64_t ticks,
                        int64_t lots);

#endif /* NK_HEADROOM_H */
