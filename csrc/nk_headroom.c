/* nk_headroom.c - see nk_headroom.h. */
#include "nk_headroom.h"

/* Whether |price - reference| * divisor <= reference * numerator. */
static bool
is_near(const nk_headroom *room, uint64_t price, uint64_t reference)
{
    uint64_t distance = price > reference ? price - reference : reference - price;
    return nk_uint128_compare(nk_uint128_multiply(distance, room->collar_divisor),
                              nk_uint128_multiply(reference, room->collar_numerator)) <= 0;
}

bool
nk_headroom_admits(const nk_headroom *room, const nk_touch *touch, int64_t ticks, int64_t lots)
{
    assert(!touch->has_bid || touch->bid_ticks > 0);
    assert(!touch->has_ask || touch->ask_ticks > 0);
    assert(!room->has_collar || room->collar_divisor > 0);
    assert(room->trade_ticks >= 0);
    if (ticks <= 0 || ticks < room->min_ticks || ticks > room->max_ticks) {
        return false;
    }
    if (lots <= 0 || lots < room->min_lots || lots > room->max_lots) {
        return false;
    }
    nk_uint128 units = nk_uint128_multiply((uint64_t)ticks, (uint64_t)lots);
    if (nk_uint128_compare(units, room->min_units) < 0 ||
        nk_uint128_compare(units, room->max_units) > 0) {
        return false;
    }
    bool has_mid = touch->has_bid && touch->has_ask;
    if (has_mid && touch->bid_ticks >= touch->ask_ticks) {
        return false;
    }
    if (!room->has_collar) {
        return true;
    }
    if (!has_mid && room->trade_ticks == 0) {
        return false;
    }
    /* Price and mid are doubled, so that both are whole. */
    uint64_t double_mid = (uint64_t)touch->bid_ticks + (uint64_t)touch->ask_ticks;
    if (has_mid && !is_near(room, 2 * (uint64_t)ticks, double_mid)) {
        return false;
    }
    return room->trade_ticks == 0 || is_near(room, (uint64_t)ticks, (uint64_t)room->trade_ticks);
}
