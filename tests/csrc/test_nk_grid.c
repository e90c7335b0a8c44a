/* links: nk_grid.c */
/* What only C can see of the grid kernel: it stays inside its buffer, and a curve goes on exactly
 * where it stopped to ask. That every level is right is for the property tests in Python. */
#undef NDEBUG
#include "nk_grid.h"

#include <stdio.h>
#include <stdlib.h>

static nk_uint128
wide(uint64_t low)
{
    nk_uint128 result = {low, 0};
    return result;
}

static nk_grid_sizing
plain_sizing(void)
{
    nk_grid_sizing sizing = {{0, 0}, 1, 0, 1};
    return sizing;
}

static void
test_line_fills_exactly_its_room(void)
{
    /* 10.5 + 2.25 k */
    nk_grid_line line = {10, wide(2), 2, wide(1), wide(4)};
    nk_grid_sizing sizing = plain_sizing();
    for (int32_t count = 0; count < 6; count++) {
        nk_grid_level *levels = malloc(((size_t)count + (count == 0)) * sizeof *levels);
        int32_t written;
        assert(levels != NULL);
        assert(nk_grid_line_levels(&line, &sizing, -1, 3, levels, count, &written) == NK_OK);
        assert(written == count);
        const int64_t prices[] = {12, 15, 17, 19, 21};
        for (int32_t i = 0; i < count; i++) {
            assert(levels[i].price_ticks == 3 * prices[i] && levels[i].side == -1);
        }
        free(levels);
    }
}

static void
test_line_stops_above_zero_and_at_the_last_price(void)
{
    nk_grid_level levels[8];
    nk_grid_sizing sizing = plain_sizing();
    int32_t written;
    nk_grid_line falling = {5, wide(0), -2, wide(0), wide(1)};
    assert(nk_grid_line_levels(&falling, &sizing, 1, 1, levels, 8, &written) == NK_OK);
    assert(written == 2 && levels[1].price_ticks == 1);
    nk_grid_line rising = {INT64_MAX - 5, wide(0), 2, wide(0), wide(1)};
    assert(nk_grid_line_levels(&rising, &sizing, -1, 1, levels, 2, &written) == NK_OK);
    assert(levels[1].price_ticks == INT64_MAX - 1);
    assert(nk_grid_line_levels(&rising, &sizing, -1, 1, levels, 3, &written) == NK_E_OVERFLOW);
    nk_grid_line dense = {INT64_MAX - 2, wide(0), 0, wide(1), wide(3)};
    assert(nk_grid_line_levels(&dense, &sizing, -1, 1, levels, 3, &written) == NK_OK);
    assert(levels[2].price_ticks == INT64_MAX);
    assert(nk_grid_line_levels(&dense, &sizing, -1, 1, levels, 4, &written) == NK_E_OVERFLOW);
}

static void
test_quantity_meets_the_notional_or_overflows(void)
{
    nk_grid_level level;
    int32_t written;
    nk_grid_line line = {6, wide(0), 1, wide(0), wide(1)}; /* the first level is at 7 */
    nk_grid_sizing sizing = {{100, 0}, 10, 10, 5};
    assert(nk_grid_line_levels(&line, &sizing, -1, 1, &level, 1, &written) == NK_OK);
    assert(level.quantity_lots == 15); /* ceil(100 / 7), to a multiple of 5 */
    sizing.base_from_ticks = 7;        /* said to suffice from 7 on */
    assert(nk_grid_line_levels(&line, &sizing, -1, 1, &level, 1, &written) == NK_OK);
    assert(level.quantity_lots == 10);
    nk_grid_sizing huge = {{0, 4}, 1, INT64_MAX, 1}; /* 2^66 / 7 does not fit */
    assert(nk_grid_line_levels(&line, &huge, -1, 1, &level, 1, &written) == NK_E_OVERFLOW);
}

static void
test_curve_asks_and_goes_on(void)
{
    nk_grid_level levels[4];
    nk_grid_sizing sizing = plain_sizing();
    /* 8 doubles at every level and is exact, so a ceiling cannot tell 16 from a little more. */
    nk_grid_curve curve = {{0, 8}, 1, {0, UINT64_C(1) << 57}, 0, -1, -1, 0, true};
    int32_t written = 0;
    for (int32_t i = 0; i < 4; i++) {
        assert(nk_grid_curve_levels(&curve, &sizing, -1, 1, levels, 4, &written) == NK_E_UNKNOWN);
        assert(written == i && curve.index == i + 1);
        curve.given = INT64_C(8) << curve.index;
    }
    assert(nk_grid_curve_levels(&curve, &sizing, -1, 1, levels, 4, &written) == NK_OK);
    assert(written == 4 && levels[0].price_ticks == 16 && levels[3].price_ticks == 128);
    /* Floors are told: the value is the lower bound and 2^64 - 1 units of error are far off. */
    nk_grid_curve floors = {{1 << 20, 8}, 1, {0, UINT64_C(1) << 57}, 0, -1, -1, 0, false};
    written = 0;
    assert(nk_grid_curve_levels(&floors, &sizing, -1, 1, levels, 4, &written) == NK_OK);
    assert(levels[3].price_ticks == 128 && levels[3].quantity_lots == 1);
}

static void
test_curve_leaves_64_bits_with_an_error(void)
{
    nk_grid_level levels[70];
    nk_grid_sizing sizing = plain_sizing();
    nk_grid_curve curve = {{1, 1}, 1, {0, UINT64_C(3) << 56}, 0, -1, -1, 0, false};
    int32_t written = 0;
    nk_status status = nk_grid_curve_levels(&curve, &sizing, -1, 1, levels, 70, &written);
    assert(status == NK_E_OVERFLOW || status == NK_E_UNKNOWN);
    assert(written == 39); /* 3^39 < 2^63 < 3^40 */
}

int
main(void)
{
    test_line_fills_exactly_its_room();
    test_line_stops_above_zero_and_at_the_last_price();
    test_quantity_meets_the_notional_or_overflows();
    test_curve_asks_and_goes_on();
    test_curve_leaves_64_bits_with_an_error();
    puts("ok");
    return 0;
}
