/* nk_grid.c - price levels of a grid and the quantity of each, exact.
 *
 * A line is walked as a digital differential analyser: whole steps and a remainder are added up,
 * so that no level costs a division and none inherits an error. A curve is walked in fixed point
 * with a bound on its error; where the bound straddles a price the caller, who has big integers,
 * decides.
 */
#include "nk_grid.h"

#define RATIO_PLACES 120

/* Returns  ceil(notional / price), in multiples; INT64_MAX stands for more than that. */
static int64_t
lots_for_notional(const nk_grid_sizing *sizing, int64_t price_ticks)
{
    uint64_t rest;
    nk_uint128 lots = nk_uint128_divide(sizing->notional, (uint64_t)price_ticks, &rest);
    if (lots.high != 0 || lots.low >= INT64_MAX) {
        return INT64_MAX;
    }
    uint64_t least = lots.low + (rest != 0);
    uint64_t multiple = (uint64_t)sizing->lot_multiple;
    uint64_t multiples = least / multiple + (least % multiple != 0);
    return multiples <= (uint64_t)INT64_MAX / multiple ? (int64_t)(multiples * multiple)
                                                       : INT64_MAX;
}

/* Give the levels from `first` on their quantities. */
static nk_status
size_levels(const nk_grid_sizing *sizing, nk_grid_level *levels, int32_t first, int32_t count)
{
    assert(sizing->base_lots > 0 && sizing->lot_multiple > 0);
    for (int32_t i = first; i < count; i++) {
        levels[i].quantity_lots = sizing->base_lots;
        if (levels[i].price_ticks < sizing->base_from_ticks) {
            int64_t lots = lots_for_notional(sizing, levels[i].price_ticks);
            if (lots == INT64_MAX) {
                return NK_E_OVERFLOW;
            }
            levels[i].quantity_lots = lots > sizing->base_lots ? lots : sizing->base_lots;
        }
    }
    return NK_OK;
}

/* Neighbouring prices from `price` on, where levels are less than one step apart and so leave none
 * out. */
static nk_status
dense_levels(int64_t price, int sign, int64_t price_multiple, nk_grid_level *levels, int32_t count,
             int32_t *written)
{
    int64_t price_max = INT64_MAX / price_multiple;
    if (price == 0 && sign < 0) {
        price = 1;
    }
    while (*written < count && price > 0) {
        if (price > price_max) {
            return NK_E_OVERFLOW;
        }
        levels[*written].side = (int8_t)sign;
        levels[*written].price_ticks = price * price_multiple;
        (*written)++;
        if (price == INT64_MAX && *written < count) {
            return sign < 0 ? NK_E_OVERFLOW : NK_OK;
        }
        price -= sign;
    }
    return NK_OK;
}

static nk_status
line_prices(const nk_grid_line *line, int sign, int64_t price_multiple, nk_grid_level *levels,
            int32_t count, int32_t *written)
{
    int64_t price_max = INT64_MAX / price_multiple;
    int64_t price = line->quotient;
    nk_uint128 rest = line->remainder;
    for (int32_t i = 0; i < count; i++) {
        nk_uint128 sum;
        sum.low = rest.low + line->step_remainder.low;
        sum.high = rest.high + line->step_remainder.high + (sum.low < rest.low);
        bool carries = nk_uint128_compare(sum, line->divisor) >= 0;
        rest = sum;
        if (carries) {
            rest.low = sum.low - line->divisor.low;
            rest.high = sum.high - line->divisor.high - (sum.low < line->divisor.low);
        }
        if (sign < 0 && price > price_max - line->step_quotient - carries) {
            return NK_E_OVERFLOW;
        }
        price += line->step_quotient + carries;
        if (line->step_quotient == (sign < 0 ? 0 : -1)) {
            return dense_levels(price, sign, price_multiple, levels, count, written);
        }
        if (price <= 0) {
            return NK_OK;
        }
        levels[i].side = (int8_t)sign;
        levels[i].price_ticks = price * price_multiple;
        *written = i + 1;
    }
    return NK_OK;
}

nk_status
nk_grid_line_levels(const nk_grid_line *line, const nk_grid_sizing *sizing, int sign,
                    int64_t price_multiple, nk_grid_level *levels, int32_t count, int32_t *written)
{
    assert(sign == 1 || sign == -1);
    assert(price_multiple > 0 && line->quotient >= 0);
    assert(sign < 0 ? line->step_quotient >= 0 : line->step_quotient < 0);
    *written = 0;
    nk_status status = line_prices(line, sign, price_multiple, levels, count, written);
    return status == NK_OK ? size_levels(sizing, levels, 0, *written) : status;
}

/* value * ratio, rounded down; false when it leaves 64 whole places. */
static bool
curve_step(nk_grid_curve *curve)
{
    nk_uint128 v = curve->value;
    nk_uint128 r = curve->ratio;
    nk_uint128 low = nk_uint128_multiply(v.low, r.low);
    nk_uint128 cross_a = nk_uint128_multiply(v.high, r.low);
    nk_uint128 cross_b = nk_uint128_multiply(v.low, r.high);
    nk_uint128 high = nk_uint128_multiply(v.high, r.high);
    /* Words 1, 2 and 3 of the product; word 0 lies below every place that is kept. */
    uint64_t word1 = low.high + cross_a.low;
    uint64_t carry = word1 < low.high;
    uint64_t sum1 = word1 + cross_b.low;
    carry += sum1 < word1;
    uint64_t word2 = high.low + cross_a.high;
    uint64_t carry2 = word2 < high.low;
    uint64_t sum2 = word2 + cross_b.high;
    carry2 += sum2 < word2;
    uint64_t word2c = sum2 + carry;
    carry2 += word2c < sum2;
    uint64_t word3 = high.high + carry2;
    int shift = RATIO_PLACES - 64;
    if (word3 >> shift != 0) {
        return false;
    }
    /* ratio lost less than 2^-120 of value, the product less than one last place. */
    uint64_t lost = (v.high >> shift) + 2;
    nk_uint128 grown = nk_uint128_multiply(curve->error, (r.high >> 32) + 1);
    grown.low = (grown.low >> (shift - 32)) | (grown.high << (64 - (shift - 32)));
    grown.high >>= shift - 32;
    bool is_known =
        curve->error != UINT64_MAX && grown.high == 0 && grown.low < UINT64_MAX - 1 - lost;
    curve->error = is_known ? grown.low + 1 + lost : UINT64_MAX;
    curve->value.low = (sum1 >> shift) | (word2c << (64 - shift));
    curve->value.high = (word2c >> shift) | (word3 << (64 - shift));
    return true;
}

/* The rounded price, if both bounds agree on it. */
static bool
curve_price(const nk_grid_curve *curve, int64_t *price)
{
    nk_uint128 value = curve->value;
    uint64_t top_low = value.low + curve->error;
    uint64_t top_high = value.high + (top_low < value.low);
    uint64_t least = value.high + (curve->is_ceil && value.low != 0);
    uint64_t most = top_high + (curve->is_ceil && top_low != 0);
    *price = (int64_t)least;
    return curve->error != UINT64_MAX && least == most && least <= INT64_MAX;
}

static nk_status
curve_prices(nk_grid_curve *curve, int sign, int64_t price_multiple, nk_grid_level *levels,
             int32_t count, int32_t *written)
{
    int64_t price_max = INT64_MAX / price_multiple;
    while (*written < count) {
        int64_t price = curve->given;
        if (price < 0) {
            if (!curve_step(curve)) {
                return NK_E_OVERFLOW;
            }
            curve->index++;
            if (!curve_price(curve, &price)) {
                return NK_E_UNKNOWN;
            }
        }
        curve->given = -1;
        if (price > price_max) {
            return NK_E_OVERFLOW;
        }
        if (price == 0 && sign > 0) {
            return NK_OK;
        }
        if (price != 0 && price != curve->price) {
            levels[*written].side = (int8_t)sign;
            levels[*written].price_ticks = price * price_multiple;
            curve->price = price;
            (*written)++;
        }
        /* From here on every level is less than a step from the next: nothing is left out. */
        uint64_t ahead = sign > 0 ? 1 : (uint64_t)(count - *written) + 1;
        if (*written < count && (uint64_t)price + ahead < curve->dense_from) {
            return dense_levels(price - sign, sign, price_multiple, levels, count, written);
        }
    }
    return NK_OK;
}

nk_status
nk_grid_curve_levels(nk_grid_curve *curve, const nk_grid_sizing *sizing, int sign,
                     int64_t price_multiple, nk_grid_level *levels, int32_t count, int32_t *written)
{
    assert(sign == 1 || sign == -1);
    assert(price_multiple > 0 && *written <= count);
    int32_t first = *written;
    nk_status status = curve_prices(curve, sign, price_multiple, levels, count, written);
    nk_status sized = size_levels(sizing, levels, first, *written);
    return status == NK_OK || status == NK_E_UNKNOWN ? (sized == NK_OK ? status : sized) : status;
}
