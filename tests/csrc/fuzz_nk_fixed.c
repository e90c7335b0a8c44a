/* links: nk_fixed.c */
/* Any bytes are a number or an error; what is a number survives being written and read again, and
 * cutting digits agrees with refusing them wherever nothing had to be cut.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_fixed.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses the decimals, the rest is the text. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    int decimals = data[0] % (NK_FIXED_DECIMALS_MAX + 1);
    const char *text = (const char *)data + 1;
    int64_t value = 0, cut = 0;
    bool truncated = false;
    nk_status status = nk_fixed_parse(text, size - 1, decimals, &value);
    nk_status cut_status = nk_fixed_parse_truncate(text, size - 1, decimals, &cut, &truncated);
    if (status == NK_OK) {
        char written[NK_FIXED_TEXT_MAX];
        size_t length = nk_fixed_format(value, decimals, written);
        int64_t again = 0;
        REQUIRE(length <= sizeof written);
        REQUIRE(nk_fixed_parse(written, length, decimals, &again) == NK_OK && again == value);
        REQUIRE(cut_status == NK_OK && cut == value && !truncated);
    } else if (status == NK_E_TOO_MANY_DIGITS) {
        REQUIRE(cut_status == NK_E_OVERFLOW || (cut_status == NK_OK && truncated));
    } else {
        REQUIRE(cut_status == status);
    }
    return 0;
}

#ifdef NK_FUZZ_MAIN
static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int
main(int argc, char **argv)
{
    static const char alphabet[] = "0123456789012345678900000....--+eEnaifty \x80";
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : 200000;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    state = state * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (long i = 0; i < iterations; i++) {
        size_t size = 1 + (size_t)(next_random(&state) % 30);
        /* Half of the inputs hold digits and points only: those reach the arithmetic. */
        size_t letters = next_random(&state) % 2 ? 29 : sizeof alphabet - 1;
        uint8_t *input = malloc(size);
        REQUIRE(input != NULL);
        for (size_t j = 0; j < size; j++) {
            input[j] = (uint8_t)alphabet[next_random(&state) % letters];
        }
        input[0] = (uint8_t)next_random(&state);
        LLVMFuzzerTestOneInput(input, size);
        free(input);
    }
    return 0;
}
#endif
