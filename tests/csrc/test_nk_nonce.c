/* links: nk_nonce.c */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "nk_nonce.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum { THREADS = 4, NUMBERS = 3000000 };

static int64_t shared;
static bool may_begin;

static void
test_the_next_number(void)
{
    int64_t newest = 0, taken = 0;
    REQUIRE(nk_nonce_take(&newest, 0, 100, &taken) == NK_OK && taken == 100);
    REQUIRE(nk_nonce_take(&newest, 0, 100, &taken) == NK_OK && taken == 101);
    REQUIRE(nk_nonce_take(&newest, 0, 50, &taken) == NK_OK && taken == 102);
    REQUIRE(nk_nonce_take(&newest, 200, 50, &taken) == NK_OK && taken == 201);
    REQUIRE(nk_nonce_take(&newest, 200, 201, &taken) == NK_OK && taken == 202);
    REQUIRE(nk_nonce_read(&newest) == 202);
}

static void
test_the_last_number(void)
{
    int64_t newest = INT64_MAX - 1, taken = 0;
    REQUIRE(nk_nonce_take(&newest, 0, 0, &taken) == NK_OK && taken == INT64_MAX);
    taken = 7;
    REQUIRE(nk_nonce_take(&newest, 0, 0, &taken) == NK_E_OVERFLOW && taken == 7);
    REQUIRE(nk_nonce_read(&newest) == INT64_MAX);
    newest = 5;
    REQUIRE(nk_nonce_take(&newest, INT64_MAX, 0, &taken) == NK_E_OVERFLOW);
    REQUIRE(nk_nonce_read(&newest) == 5);
}

static void *
take_many(void *sum)
{
    int64_t last = 0, taken = 0;
    while (!__atomic_load_n(&may_begin, __ATOMIC_ACQUIRE)) {
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        REQUIRE(nk_nonce_take(&shared, 0, 0, &taken) == NK_OK && taken > last);
        last = taken;
        *(int64_t *)sum += taken;
    }
    return NULL;
}

static void
test_threads_at_once_get_every_number_once(void)
{
    pthread_t threads[THREADS];
    int64_t sums[THREADS] = {0}, sum = 0;
    for (size_t t = 0; t < THREADS; t++) {
        REQUIRE(pthread_create(&threads[t], NULL, take_many, &sums[t]) == 0);
    }
    __atomic_store_n(&may_begin, true, __ATOMIC_RELEASE);
    for (size_t t = 0; t < THREADS; t++) {
        REQUIRE(pthread_join(threads[t], NULL) == 0);
        sum += sums[t];
    }
    const int64_t count = (int64_t)THREADS * NUMBERS;
    REQUIRE(nk_nonce_read(&shared) == count && sum == count * (count + 1) / 2);
}

int
main(void)
{
    test_the_next_number();
    test_the_last_number();
    test_threads_at_once_get_every_number_once();
    return 0;
}
