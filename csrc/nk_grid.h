/* nk_grid.h - price levels of a grid and the quantity of each, exact.
 *
 * Prices count in steps: `price_multiple` ticks, 1 unless a grid is coarser than its market. A line
 * has levels at equal distances, a curve at equal ratios. A price rounds down; the ceiling of a
 * line is the floor of another one, so only a curve needs to know.
 */
#ifndef NK_GRID_H
#define NK_GRID_H

#include "nk_base.h"
#include "nk_int128.h"

/* Layout of the array that Python sees. */
typedef struct nk_grid_level {
    int8_t side; /* +1 buy, -1 sell */
    int64_t price_ticks;
    int64_t quantity_lots;
} nk_grid_level;

/* quantity = max(base, least multiple whose notional suffices) */
typedef struct nk_grid_sizing {
    nk_uint128 notional;     /* least price_ticks * quantity_lots */
    int64_t base_lots;       /* > 0, a multiple of lot_multiple */
    int64_t base_from_ticks; /* least price at which base_lots suffices */
    int64_t lot_multiple;    /* > 0 */
} nk_grid_sizing;

/* Level k lies at floor(value + k * step), with value = quotient + remainder / divisor. */
typedef struct nk_grid_line {
    int64_t quotient;
    nk_uint128 remainder; /* < divisor */
    int64_t step_quotient;
    nk_uint128 step_remainder; /* < divisor; the step is negative for buys */
    nk_uint128 divisor;        /* 0 < divisor < 2^127 */
} nk_grid_line;

/* Level k lies at value * ratio^k, known to lie between value and value + error. */
typedef struct nk_grid_curve {
    nk_uint128 value;    /* 64 binary places */
    uint64_t error;      /* in units of the last place; UINT64_MAX when nothing is known */
    nk_uint128 ratio;    /* 120 binary places, rounded down */
    uint64_t dense_from; /* below this price levels are less than one step apart */
    int64_t price;       /* of the last level written; starts at -1 */
    int64_t given;       /* exact price of the level that could not be told, else -1 */
    int64_t index;       /* k of the last level that was looked at; starts at 0 */
    bool is_ceil;
} nk_grid_curve;

/* An exact decimal: digits / 10^places. */
typedef struct nk_grid_decimal {
    uint64_t digits;
    int places; /* 0..18 */
} nk_grid_decimal;

/* A line from decimals, where 64 bits suffice.
 *
 * Requires  mid > 0; step > 0; decimals is 0..18; price_multiple > 0; sign is +1 or -1.
 * Ensures   prices count in steps of price_multiple ticks of 10^-decimals; the distance is `step`,
 *           or with is_relative `mid * step`; with is_ceil prices round up.
 * Returns   false when a product leaves 62 bits: the caller has to do it with bigger integers.
 */
bool nk_grid_line_narrow(nk_grid_line *line, nk_grid_decimal mid, nk_grid_decimal step,
                         bool is_relative, int decimals, int64_t price_multiple, int sign,
                         bool is_ceil);

/* Write up to `count` levels of a line, nearest first; equal prices become one level.
 *
 * Requires  levels has `count` entries; price_multiple > 0; sign is +1 (buys, the step is
 *           negative) or -1 (sells, the step is positive).
 * Ensures   every price is above zero; *written < count only where the next would not be.
 * Returns   NK_OK, or NK_E_OVERFLOW when a price or a quantity leaves 64 bits.
 * Cost      O(count), about a nanosecond a level while base_lots suffices.
 */
nk_status nk_grid_line_levels(const nk_grid_line *line, const nk_grid_sizing *sizing, int sign,
                              int64_t price_multiple, nk_grid_level *levels, int32_t count,
                              int32_t *written);

/* The same for a curve, which goes on where it stopped: *written says how many levels there are.
 *
 * Requires  as above; ratio < 1 for buys, > 1 for sells.
 * Returns   also NK_E_UNKNOWN when the rounding of a level cannot be told from its bounds: put its
 *           exact price into curve->given and call again. *written and curve tell where it is.
 * Cost      O(levels written, and those that fell on the same price).
 */
nk_status nk_grid_curve_levels(nk_grid_curve *curve, const nk_grid_sizing *sizing, int sign,
                               int64_t price_multiple, nk_grid_level *levels, int32_t count,
                               int32_t *written);

#endif /* NK_GRID_H */
