/* nk_grid.c - price levels of a grid and the quantity of each, exact.
 *
 * A line is walked as a digital differential analyser: whole steps and a remainder are added up,
 * so that no level costs a division and none inherits an error. A curve is walked in fixed point
 * with a bound on its error; where the bound straddles a price the caller, who has big integers,
 * decides.
 */
#include "nk_grid.h"

#define RATIO_PLACES 120

static const uint64_t TENS[] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};
#define TENS_MAX 18
#define NARROW_MAX ((UINT64_C(1) << 62) - 1)

/* Multiply in place; false when the product is above NARROW_MAX. */
static bool
scale(uint64_t *value, uint64_t factor)
{
    nk_uint128 product = nk_uint128_multiply(*value, factor);
    *value = product.low;
    return product.high == 0 && product.low <= NARROW_MAX;
}

/* Multiply by 10^exponent in place. */
static bool
scale_ten(uint64_t *value, int exponent)
{
    assert(exponent >= 0);
    return exponent <= TENS_MAX ? scale(value, TENS[exponent]) : false;
}

bool
nk_grid_line_narrow(nk_grid_line *line, nk_grid_decimal mid, nk_grid_decimal step, bool is_relative,
                    int decimals, int64_t price_multiple, int sign, bool is_ceil)
{
    assert(mid.places >= 0 && mid.places <= TENS_MAX && step.places >= 0);
    assert(decimals >= 0 && decimals <= TENS_MAX && step.places <= TENS_MAX);
    /* mid * 10^decimals and the distance over one power of ten, and that power in ticks. */
    uint64_t start = mid.digits;
    uint64_t distance = step.digits;
    int places = is_relative ? mid.places + step.places
                             : (mid.places > step.places ? mid.places : step.places);
    bool fits = scale_ten(&start, places - mid.places);
    fits = fits && (is_relative ? scale(&distance, mid.digits)
                                : scale_ten(&distance, places - step.places));
    int up = places < decimals ? decimals - places : 0;
    uint64_t divisor = 1;
    fits = fits && scale_ten(&start, up) && scale_ten(&distance, up) &&
           scale_ten(&divisor, places + up - decimals) && scale(&divisor, (uint64_t)price_multiple);
    if (!fits) {
        return false;
    }
    start += is_ceil ? divisor - 1 : 0;
    uint64_t rest = distance % divisor;
    nk_uint128 zero = {0, 0};
    line->remainder = zero;
    line->step_remainder = zero;
    line->divisor = zero;
    line->divisor.low = divisor;
    line->quotient = (int64_t)(start / divisor);
    line->remainder.low = start % divisor;
    line->step_quotient = (int64_t)(distance / divisor);
    line->step_remainder.low = rest;
    if (sign > 0) {
        line->step_quotient = -line->step_quotient - (rest != 0);
        line->step_remainder.low = rest != 0 ? divisor - rest : 0;
    }
    return true;
}

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

/* Raise the quantities that the notional asks for. Of levels in order of price those are at one
 * end, so the others are not even read. */
static nk_status
raise_quantities(const nk_grid_sizing *sizing, int sign, nk_grid_level *levels, int32_t count)
{
    assert(sizing->base_lots > 0 && sizing->lot_multiple > 0);
    for (int32_t n = 0; n < count; n++) {
        nk_grid_level *level = &levels[sign > 0 ? count - 1 - n : n];
        if (level->price_ticks >= sizing->base_from_ticks) {
            break;
        }
        int64_t lots = lots_for_notional(sizing, level->price_ticks);
        if (lots == INT64_MAX) {
            return NK_E_OVERFLOW;
        }
        level->quantity_lots = lots > sizing->base_lots ? lots : sizing->base_lots;
    }
    return NK_OK;
}

NK_INLINE void
put_level(nk_grid_level *level, int sign, int64_t price_ticks, int64_t lots)
{
    level->side = (int8_t)sign;
    level->price_ticks = price_ticks;
    level->quantity_lots = lots;
}

/* Neighbouring prices from `price` on, where levels are less than one step apart and so leave none
 * out. */
static nk_status
dense_levels(int64_t price, int sign, int64_t price_multiple, int64_t lots, nk_grid_level *levels,
             int32_t count, int32_t *written)
{
    int64_t price_max = INT64_MAX / price_multiple;
    if (price == 0 && sign < 0) {
        price = 1;
    }
    while (*written < count && price > 0) {
        if (price > price_max) {
            return NK_E_OVERFLOW;
        }
        put_level(&levels[*written], sign, price * price_multiple, lots);
        (*written)++;
        if (*written == count) {
            break;
        }
        if (price == INT64_MAX && sign < 0) {
            return NK_E_OVERFLOW;
        }
        price -= sign;
    }
    return NK_OK;
}

/* As line_prices, where the remainder is one word and no price leaves 64 bits. */
NK_INLINE int32_t
line_prices_narrow(const nk_grid_line *line, int sign, int64_t price_multiple, int64_t lots,
                   nk_grid_level *levels, int32_t count)
{
    int64_t price = line->quotient;
    uint64_t rest = line->remainder.low;
    const uint64_t divisor = line->divisor.low;
    const uint64_t step_rest = line->step_remainder.low;
    const int64_t step = line->step_quotient;
    int32_t i = 0;
    for (; i < count; i++) {
        rest += step_rest;
        price += step;
        if (rest >= divisor) {
            rest -= divisor;
            price++;
        }
        if (price <= 0) {
            break;
        }
        put_level(&levels[i], sign, price * price_multiple, lots);
    }
    return i;
}

static bool
line_is_narrow(const nk_grid_line *line, int sign, int64_t price_multiple, int32_t count)
{
    int64_t step = line->step_quotient;
    if (line->divisor.high != 0 || line->divisor.low > NARROW_MAX) {
        return false;
    }
    /* A dense line is enumerated; a rising one may leave 64 bits. */
    return sign > 0
               ? step < -1
               : step > 0 && step < INT64_MAX && line->quotient <= INT64_MAX / price_multiple &&
                     (INT64_MAX / price_multiple - line->quotient) / (step + 1) >= count;
}

static nk_status
line_prices(const nk_grid_line *line, int sign, int64_t price_multiple, int64_t lots,
            nk_grid_level *levels, int32_t count, int32_t *written)
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
            return dense_levels(price, sign, price_multiple, lots, levels, count, written);
        }
        if (price <= 0) {
            return NK_OK;
        }
        put_level(&levels[i], sign, price * price_multiple, lots);
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
    if (line_is_narrow(line, sign, price_multiple, count)) {
        *written =
            sign > 0
                ? line_prices_narrow(line, 1, price_multiple, sizing->base_lots, levels, count)
                : line_prices_narrow(line, -1, price_multiple, sizing->base_lots, levels, count);
        return raise_quantities(sizing, sign, levels, *written);
    }
    nk_status status =
        line_prices(line, sign, price_multiple, sizing->base_lots, levels, count, written);
    return status == NK_OK ? raise_quantities(sizing, sign, levels, *written) : status;
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
curve_prices(nk_grid_curve *curve, int sign, int64_t price_multiple, int64_t lots,
             nk_grid_level *levels, int32_t count, int32_t *written)
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
            put_level(&levels[*written], sign, price * price_multiple, lots);
            curve->price = price;
            (*written)++;
        }
        /* From here on every level is less than a step from the next: nothing is left out. */
        uint64_t ahead = sign > 0 ? 1 : (uint64_t)(count - *written) + 1;
        if (*written < count && (uint64_t)price + ahead < curve->dense_from) {
            return dense_levels(price - sign, sign, price_multiple, lots, levels, count, written);
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
    nk_status status =
        curve_prices(curve, sign, price_multiple, sizing->base_lots, levels, count, written);
    nk_status sized = raise_quantities(sizing, sign, &levels[first], *written - first);
    return status == NK_OK || status == NK_E_UNKNOWN ? (sized == NK_OK ? status : sized) : status;
}
