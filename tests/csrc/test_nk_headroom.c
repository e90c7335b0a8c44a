/* links: nk_headroom.c */
/* Bounds on one order, at the ends of every range, with both widths of products. */
#undef NDEBUG
#include "nk_headroom.h"

static const nk_touch NOBODY = {false, false, 0, 0};

static nk_headroom
boundless(void)
{
    nk_headroom room = {0};
    room.max_ticks = INT64_MAX;
    room.max_lots = INT64_MAX;
    room.max_units.low = UINT64_MAX;
    room.max_units.high = UINT64_MAX;
    return room;
}

static void
test_prices_and_quantities_are_positive(void)
{
    nk_headroom room = boundless();
    assert(nk_headroom_admits(&room, &NOBODY, 1, 1));
    assert(nk_headroom_admits(&room, &NOBODY, INT64_MAX, INT64_MAX));
    assert(!nk_headroom_admits(&room, &NOBODY, 0, 1));
    assert(!nk_headroom_admits(&room, &NOBODY, 1, 0));
    assert(!nk_headroom_admits(&room, &NOBODY, -1, -1));
    assert(!nk_headroom_admits(&room, &NOBODY, INT64_MIN, INT64_MIN));
}

static void
test_the_product_is_128_bits_wide(void)
{
    nk_headroom room = boundless();
    room.max_units = nk_uint128_multiply((uint64_t)INT64_MAX, (uint64_t)INT64_MAX);
    assert(nk_headroom_admits(&room, &NOBODY, INT64_MAX, INT64_MAX));
    room.max_units.low -= 1;
    assert(!nk_headroom_admits(&room, &NOBODY, INT64_MAX, INT64_MAX));
    room = boundless();
    room.min_units.high = 1;
    assert(nk_headroom_admits(&room, &NOBODY, INT64_C(1) << 32, INT64_C(1) << 32));
    assert(!nk_headroom_admits(&room, &NOBODY, INT64_C(1) << 32, (INT64_C(1) << 32) - 1));
}

static void
test_a_collar_needs_a_mid_or_a_trade(void)
{
    nk_headroom room = boundless();
    room.has_collar = true;
    room.collar_numerator = 1;
    room.collar_divisor = 10;
    const nk_touch one_sided = {true, false, 100, 0};
    assert(!nk_headroom_admits(&room, &NOBODY, 100, 1));
    assert(!nk_headroom_admits(&room, &one_sided, 100, 1));
    room.trade_ticks = 100;
    assert(nk_headroom_admits(&room, &one_sided, 110, 1));
    assert(!nk_headroom_admits(&room, &one_sided, 111, 1));
    const nk_touch lower = {true, true, 90, 100}; /* its collar ends at 104.5 */
    assert(nk_headroom_admits(&room, &lower, 104, 1));
    assert(!nk_headroom_admits(&room, &lower, 105, 1));
    const nk_touch crossed = {true, true, 100, 100};
    assert(!nk_headroom_admits(&room, &crossed, 100, 1));
}

static void
test_the_widest_prices_do_not_wrap(void)
{
    nk_headroom room = boundless();
    room.has_collar = true;
    room.collar_numerator = 0;
    room.collar_divisor = UINT64_MAX;
    const nk_touch highest = {true, true, INT64_MAX - 2, INT64_MAX};
    assert(nk_headroom_admits(&room, &highest, INT64_MAX - 1, 1));
    assert(!nk_headroom_admits(&room, &highest, INT64_MAX, 1));
    assert(!nk_headroom_admits(&room, &highest, 1, 1));
    room.collar_numerator = UINT64_MAX;
    assert(nk_headroom_admits(&room, &highest, 1, 1));
}

int
main(void)
{
    test_prices_and_quantities_are_positive();
    test_the_product_is_128_bits_wide();
    test_a_collar_needs_a_mid_or_a_trade();
    test_the_widest_prices_do_not_wrap();
    return 0;
}
