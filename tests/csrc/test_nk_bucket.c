/* links: nk_bucket.c */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "nk_bucket.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

enum { THREADS = 4, TRIES = 50000, TOKENS = 1000 };

static const nk_rate RATE = {.interval_ns = 10, .burst_ns = 30, .horizon_ns = 1000};
static const nk_rate MANY = {
    .interval_ns = 10, .burst_ns = 10 * TOKENS, .horizon_ns = 100 * TOKENS};
static int64_t shared;

static void
test_a_burst_and_then_the_rate(void)
{
    int64_t full_at = 0;
    for (int i = 0; i < 3; i++) {
        REQUIRE(nk_bucket_ready(&full_at, &RATE, 500) == 500);
        REQUIRE(nk_bucket_take(&full_at, &RATE, 500) == 500);
    }
    REQUIRE(nk_bucket_ready(&full_at, &RATE, 500) == 510);
    REQUIRE(nk_bucket_take(&full_at, &RATE, 500) == 510);
    REQUIRE(nk_bucket_take(&full_at, &RATE, 509) == 510 && full_at == 530);
    REQUIRE(nk_bucket_take(&full_at, &RATE, 510) == 510 && full_at == 540);
    REQUIRE(nk_bucket_reserve(&full_at, &RATE, 511) == 520);
    REQUIRE(nk_bucket_reserve(&full_at, &RATE, 511) == 530);
    REQUIRE(nk_bucket_take(&full_at, &RATE, 600) == 600 && full_at == 610);
}

static void
test_a_time_of_another_clock(void)
{
    int64_t full_at = 5000, pause = 5000;
    REQUIRE(nk_bucket_read(&pause, 4000, 1000) == 5000);
    REQUIRE(nk_bucket_read(&pause, 3999, 1000) == 0);
    REQUIRE(nk_bucket_take(&full_at, &RATE, 4000) == 4980);
    REQUIRE(nk_bucket_take(&full_at, &RATE, 3999) == 3999 && full_at == 4009);
    nk_bucket_delay(&pause, 100, 50, 1000);
    REQUIRE(pause == 100);
    nk_bucket_delay(&pause, 90, 50, 1000);
    REQUIRE(pause == 100);
    nk_bucket_delay(&pause, 110, 50, 1000);
    REQUIRE(pause == 110);
}

static void *
take_many(void *taken)
{
    for (size_t i = 0; i < TRIES; i++) {
        *(int64_t *)taken += nk_bucket_take(&shared, &MANY, 1) == 1;
    }
    return NULL;
}

static void
test_threads_at_once_take_each_token_once(void)
{
    pthread_t threads[THREADS];
    int64_t taken[THREADS] = {0}, sum = 0;
    for (size_t t = 0; t < THREADS; t++) {
        REQUIRE(pthread_create(&threads[t], NULL, take_many, &taken[t]) == 0);
    }
    for (size_t t = 0; t < THREADS; t++) {
        REQUIRE(pthread_join(threads[t], NULL) == 0);
        sum += taken[t];
    }
    REQUIRE(sum == TOKENS);
}

int
main(void)
{
    test_a_burst_and_then_the_rate();
    test_a_time_of_another_clock();
    test_threads_at_once_take_each_token_once();
    return 0;
}
