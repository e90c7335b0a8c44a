/* links: nk_fixed.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_fixed.h"
#include "nk_int128.h"

static int failures;

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                            \
        }                                                          \
    } while (0)

/* Parse from a buffer of exactly the text's size, so that a read beyond it is caught. */
static nk_status
parse(const char *text, int decimals, int64_t *value, bool *truncated)
{
    size_t length = strlen(text);
    char *exact = malloc(length > 0 ? length : 1);
    if (exact == NULL) {
        abort();
    }
    memcpy(exact, text, length);
    nk_status status = truncated == NULL
                           ? nk_fixed_parse(exact, length, decimals, value)
                           : nk_fixed_parse_truncate(exact, length, decimals, value, truncated);
    free(exact);
    return status;
}

static void
test_parse_accepts(void)
{
    static const struct {
        const char *text;
        int decimals;
        int64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 3, 0},
        {"1", 0, 1},
        {"1.", 2, 100},
        {".5", 1, 5},
        {"-.5", 2, -50},
        {"007", 0, 7},
        {"0.00012300", 8, 12300},
        {"1.500", 1, 15},
        {"1.000000000000000000000000000000", 0, 1},
        {"000000000000000000000000000000.1", 1, 1},
        {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN},
        {"9.223372036854775807", 18, INT64_MAX},
        {"-9.223372036854775808", 18, INT64_MIN},
        {"9.22337203685477580700", 18, INT64_MAX},
        {"9999999999", 8, INT64_C(999999999900000000)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = -77;
        bool truncated = true;
        CHECK(parse(cases[i].text, cases[i].decimals, &value, NULL) == NK_OK);
        CHECK(value == cases[i].value);
        CHECK(parse(cases[i].text, cases[i].decimals, &value, &truncated) == NK_OK);
        CHECK(value == cases[i].value && !truncated);
    }
}

static void
test_parse_refuses(void)
{
    static const struct {
        const char *text;
        int decimals;
        nk_status status;
    } cases[] = {
        {"", 0, NK_E_EMPTY},
        {".", 0, NK_E_EMPTY},
        {"-", 0, NK_E_EMPTY},
        {"-.", 0, NK_E_EMPTY},
        {"+1", 0, NK_E_SIGN},
        {"--1", 0, NK_E_SIGN},
        {"-+1", 0, NK_E_SIGN},
        {"1-", 0, NK_E_SIGN},
        {"1.-5", 1, NK_E_SIGN},
        {"1e5", 0, NK_E_EXPONENT},
        {"1.5E-3", 8, NK_E_EXPONENT},
        {"e5", 0, NK_E_SYNTAX},
        {"nan", 0, NK_E_NAN},
        {"-NaN", 0, NK_E_NAN},
        {"sNaN", 0, NK_E_NAN},
        {"Inf", 0, NK_E_NAN},
        {"-infinity", 0, NK_E_NAN},
        {"infinit", 0, NK_E_SYNTAX},
        {" 1", 0, NK_E_SYNTAX},
        {"1 ", 0, NK_E_SYNTAX},
        {"1..2", 1, NK_E_SYNTAX},
        {"1.2.3", 2, NK_E_SYNTAX},
        {"1,000", 0, NK_E_SYNTAX},
        {"0x10", 0, NK_E_SYNTAX},
        {"1_0", 0, NK_E_SYNTAX},
        {"\xd9\xa1", 0, NK_E_SYNTAX},
        {"1.01", 1, NK_E_TOO_MANY_DIGITS},
        {"0.0000000000000000001", 18, NK_E_TOO_MANY_DIGITS},
        {"99999999999999999999.01", 1, NK_E_TOO_MANY_DIGITS},
        {"9223372036854775808", 0, NK_E_OVERFLOW},
        {"-9223372036854775809", 0, NK_E_OVERFLOW},
        {"9999999999999999999", 0, NK_E_OVERFLOW},
        {"18446744073709551617", 0, NK_E_OVERFLOW}, /* 2^64 + 1 would wrap to 1 */
        {"-18446744073709551617", 0, NK_E_OVERFLOW},
        {"18446744073709551.6169", 4, NK_E_OVERFLOW},
        {"10", 18, NK_E_OVERFLOW},
        {"999999999999", 18, NK_E_OVERFLOW},
        {"99999999999999999999999999999999999999999", 0, NK_E_OVERFLOW},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = -77;
        CHECK(parse(cases[i].text, cases[i].decimals, &value, NULL) == cases[i].status);
        CHECK(value == -77);
    }
}

static void
test_parse_truncate_cuts_toward_zero(void)
{
    static const struct {
        const char *text;
        int decimals;
        int64_t value;
    } cases[] = {
        {"1.29", 1, 12},
        {"-1.29", 1, -12},
        {"0.9999999999999999999999", 0, 0},
        {"9223372036854775807.9", 0, INT64_MAX},
        {"1.2000001", 1, 12},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = -77;
        bool truncated = false;
        CHECK(parse(cases[i].text, cases[i].decimals, &value, &truncated) == NK_OK);
        CHECK(value == cases[i].value && truncated);
    }
    int64_t value = -77;
    bool truncated;
    CHECK(parse("9223372036854775808.9", 0, &value, &truncated) == NK_E_OVERFLOW);
    CHECK(parse("1.5x", 0, &value, &truncated) == NK_E_SYNTAX);
    CHECK(value == -77);
}

static void
test_format_round_trips(void)
{
    static const int64_t values[] = {0,
                                     1,
                                     -1,
                                     9,
                                     10,
                                     -10,
                                     12300,
                                     INT64_MAX,
                                     INT64_MIN,
                                     INT64_MAX - 1,
                                     INT64_C(1000000000000000000)};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        for (int decimals = 0; decimals <= NK_FIXED_DECIMALS_MAX; decimals++) {
            char text[NK_FIXED_TEXT_MAX];
            size_t length = nk_fixed_format(values[i], decimals, text);
            int64_t value = values[i] + (values[i] < 0 ? 1 : -1);
            CHECK(length <= NK_FIXED_TEXT_MAX);
            CHECK(nk_fixed_parse(text, length, decimals, &value) == NK_OK);
            CHECK(value == values[i]);
        }
    }
    char text[NK_FIXED_TEXT_MAX];
    CHECK(nk_fixed_format(233, 8, text) == 10 && memcmp(text, "0.00000233", 10) == 0);
    CHECK(nk_fixed_format(-5, 0, text) == 2 && memcmp(text, "-5", 2) == 0);
    CHECK(nk_fixed_format(0, 2, text) == 4 && memcmp(text, "0.00", 4) == 0);
}

static void
test_multiply_rounds_the_exact_product(void)
{
    static const struct {
        int64_t a, b;
        int shift;
        int64_t floor, ceil, half_even;
    } cases[] = {
        {7, 5, 1, 3, 4, 4},
        {5, 5, 1, 2, 3, 2},
        {-5, 5, 1, -3, -2, -2},
        {-7, 5, 1, -4, -3, -4},
        {0, -5, 3, 0, 0, 0},
        {3, 4, 0, 12, 12, 12},
        {INT64_MAX, INT64_MAX, 36, 85, 86, 85},
        {INT64_MIN, INT64_MIN, 36, 85, 86, 85},
        {INT64_MIN, INT64_MAX, 36, -86, -85, -85},
        {INT64_MAX, INT64_C(1000000000000000000), 18, INT64_MAX, INT64_MAX, INT64_MAX},
        {INT64_MIN, INT64_C(1000000000000000000), 18, INT64_MIN, INT64_MIN, INT64_MIN},
        /* nothing is left over but what the first of two divisions drops */
        {1, 1, 19, 0, 1, 0},
        {-1, 1, 19, -1, 0, 0},
        /* 2.5 exactly, and a little to either side, seen only by the first of two divisions */
        {INT64_C(5000000000000000000), INT64_C(500000000000000000), 36, 2, 3, 2},
        {INT64_C(5000000000000000001), INT64_C(500000000000000000), 36, 2, 3, 3},
        {INT64_C(4999999999999999999), INT64_C(500000000000000000), 36, 2, 3, 2},
        {INT64_C(1000000000000000000), INT64_C(1000000000000000000), 36, 1, 1, 1},
        {INT64_C(1000000000000000001), INT64_C(1000000000000000000), 36, 1, 2, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t floor = 0, ceil = 0, half_even = 0;
        CHECK(nk_fixed_multiply(cases[i].a, cases[i].b, cases[i].shift, NK_ROUND_FLOOR, &floor) ==
              NK_OK);
        CHECK(nk_fixed_multiply(cases[i].a, cases[i].b, cases[i].shift, NK_ROUND_CEIL, &ceil) ==
              NK_OK);
        CHECK(nk_fixed_multiply(cases[i].a, cases[i].b, cases[i].shift, NK_ROUND_HALF_EVEN,
                                &half_even) == NK_OK);
        CHECK(floor == cases[i].floor);
        CHECK(ceil == cases[i].ceil);
        CHECK(half_even == cases[i].half_even);
    }
    int64_t value = -77;
    CHECK(nk_fixed_multiply(INT64_MAX, 2, 0, NK_ROUND_FLOOR, &value) == NK_E_OVERFLOW);
    /* UINT64_MAX + 0.4: rounding up carries into the high word. */
    CHECK(nk_fixed_multiply(22, INT64_C(8384883669867978007), 1, NK_ROUND_CEIL, &value) ==
          NK_E_OVERFLOW);
    CHECK(nk_fixed_multiply(INT64_MIN, -1, 0, NK_ROUND_FLOOR, &value) == NK_E_OVERFLOW);
    CHECK(nk_fixed_multiply(INT64_MAX, INT64_MAX, 0, NK_ROUND_CEIL, &value) == NK_E_OVERFLOW);
    /* INT64_MAX + 0.2 and its negative, whose floor is INT64_MIN. */
    CHECK(nk_fixed_multiply(12, INT64_C(7686143364045646506), 1, NK_ROUND_CEIL, &value) ==
          NK_E_OVERFLOW);
    CHECK(value == -77);
    CHECK(nk_fixed_multiply(12, INT64_C(7686143364045646506), 1, NK_ROUND_FLOOR, &value) == NK_OK);
    CHECK(value == INT64_MAX);
    CHECK(nk_fixed_multiply(-12, INT64_C(7686143364045646506), 1, NK_ROUND_FLOOR, &value) == NK_OK);
    CHECK(value == INT64_MIN);
}

static void
test_rescale(void)
{
    int64_t value = 0;
    CHECK(nk_fixed_rescale(12345, 4, 2, NK_ROUND_FLOOR, &value) == NK_OK && value == 123);
    CHECK(nk_fixed_rescale(-12345, 4, 2, NK_ROUND_FLOOR, &value) == NK_OK && value == -124);
    CHECK(nk_fixed_rescale(12350, 4, 3, NK_ROUND_HALF_EVEN, &value) == NK_OK && value == 1235);
    CHECK(nk_fixed_rescale(12345, 4, 3, NK_ROUND_HALF_EVEN, &value) == NK_OK && value == 1234);
    CHECK(nk_fixed_rescale(1, 0, 18, NK_ROUND_CEIL, &value) == NK_OK &&
          value == INT64_C(1000000000000000000));
    CHECK(nk_fixed_rescale(1, 18, 0, NK_ROUND_CEIL, &value) == NK_OK && value == 1);
    CHECK(nk_fixed_rescale(INT64_MIN, 7, 7, NK_ROUND_CEIL, &value) == NK_OK && value == INT64_MIN);
    value = -77;
    CHECK(nk_fixed_rescale(10, 0, 18, NK_ROUND_FLOOR, &value) == NK_E_OVERFLOW && value == -77);
}

/* The identities hold for both twins; running the file with NK_NO_INT128 tests the other one. */
static void
test_int128(void)
{
    static const uint64_t words[] = {0,
                                     1,
                                     2,
                                     10,
                                     UINT32_MAX,
                                     UINT64_C(1) << 32,
                                     UINT64_C(0x123456789abcdef0),
                                     UINT64_C(1) << 63,
                                     UINT64_MAX - 1,
                                     UINT64_MAX};
    size_t count = sizeof words / sizeof *words;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            nk_uint128 product = nk_uint128_multiply(words[i], words[j]);
            CHECK(product.low == words[i] * words[j]);
            if (words[j] > 0) {
                uint64_t remainder = 1;
                nk_uint128 back = nk_uint128_divide(product, words[j], &remainder);
                CHECK(back.low == words[i] && back.high == 0 && remainder == 0);
            }
            for (size_t k = 0; k < count; k++) {
                if (words[k] == 0) {
                    continue;
                }
                nk_uint128 dividend = {words[i], words[j]};
                uint64_t remainder = 0;
                nk_uint128 quotient = nk_uint128_divide(dividend, words[k], &remainder);
                nk_uint128 check = nk_uint128_multiply(quotient.low, words[k]);
                check.high += quotient.high * words[k];
                check.low += remainder;
                check.high += check.low < remainder;
                CHECK(remainder < words[k]);
                CHECK(nk_uint128_compare(check, dividend) == 0);
            }
        }
    }
    nk_uint128 top = nk_uint128_multiply(UINT64_MAX, UINT64_MAX);
    CHECK(top.high == UINT64_MAX - 1 && top.low == 1);
    nk_int128 word = nk_int128_multiply(-(INT64_C(1) << 32), INT64_C(1) << 32);
    CHECK(word.high == -1 && word.low == 0);
    nk_int128 least = nk_int128_multiply(INT64_MIN, INT64_MAX);
    nk_int128 sum = nk_int128_add(least, nk_int128_multiply(INT64_MIN, -INT64_MAX));
    CHECK(sum.low == 0 && sum.high == 0);
    CHECK(nk_int128_compare(least, nk_int128_from(INT64_MIN)) < 0);
    CHECK(nk_int128_compare(nk_int128_from(-1), nk_int128_from(1)) < 0);
    CHECK(nk_int128_compare(nk_int128_from(5), nk_int128_from(5)) == 0);
    int64_t value = 0;
    nk_int128 difference = nk_int128_subtract(nk_int128_from(INT64_MIN), nk_int128_from(1));
    CHECK(nk_int128_to_int64(difference, &value) == NK_E_OVERFLOW);
    difference = nk_int128_add(difference, nk_int128_from(1));
    CHECK(nk_int128_to_int64(difference, &value) == NK_OK && value == INT64_MIN);
    CHECK(nk_uint128_compare(top, (nk_uint128){2, UINT64_MAX - 1}) < 0);
    CHECK(nk_uint128_compare((nk_uint128){0, 1}, (nk_uint128){UINT64_MAX, 0}) > 0);
}

int
main(void)
{
    test_parse_accepts();
    test_parse_refuses();
    test_parse_truncate_cuts_toward_zero();
    test_format_round_trips();
    test_multiply_rounds_the_exact_product();
    test_rescale();
    test_int128();
    printf("%d failures\n", failures);
    return failures != 0;
}
