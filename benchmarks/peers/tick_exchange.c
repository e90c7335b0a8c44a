/* The exchange's side of a tick-to-order measurement: sends a frame, waits for the order, answers it.
 *
 * Linux only. Frames of the server are not masked, those of the client are (RFC 6455).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_BYTES_MAX = 4096, PING_BYTES_MAX = 125 };

int nk_tick_round_trips(
    int fd,
    char *tick,
    int tick_bytes,
    int digits_at,
    int digit_count,
    long long first_sequence,
    int count,
    int pause_us,
    long long *elapsed_ns);

long long
nk_tick_round_trip(int fd, const char *tick, int tick_bytes, unsigned char *order);

static long long
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int
read_all(int fd, unsigned char *to, int count)
{
    int have = 0;
    while (have < count) {
        ssize_t got = recv(fd, to + have, (size_t)(count - have), 0);
        if (got <= 0) {
            return -1;
        }
        have += (int)got;
    }
    return 0;
}

/* Read one masked frame, unmask its payload; returns its length, or -1. */
static int
read_frame(int fd, unsigned char *first_byte, unsigned char *payload)
{
    unsigned char head[8];
    if (read_all(fd, head, 2) < 0) {
        return -1;
    }
    int length = head[1] & 127;
    if (length == 126) {
        if (read_all(fd, head + 2, 2) < 0) {
            return -1;
        }
        length = head[2] << 8 | head[3];
    }
    unsigned char mask[4];
    if (length >= FRAME_BYTES_MAX || read_all(fd, mask, 4) < 0 || read_all(fd, payload, length) < 0) {
        return -1;
    }
    for (int i = 0; i < length; i++) {
        payload[i] ^= mask[i % 4];
    }
    payload[length] = 0;
    *first_byte = head[0];
    return length;
}

/* Read the next text, answering the pings that a client sends between. */
static int
read_text(int fd, unsigned char *payload)
{
    unsigned char first_byte;
    for (;;) {
        int length = read_frame(fd, &first_byte, payload);
        if (length < 0 || first_byte == 0x81) {
            return length;
        }
        if (first_byte != 0x89 || length > PING_BYTES_MAX) {
            return -1;
        }
        unsigned char pong[2 + PING_BYTES_MAX] = {0x8A, (unsigned char)length};
        memcpy(pong + 2, payload, (size_t)length);
        if (send(fd, pong, (size_t)length + 2, MSG_NOSIGNAL) != length + 2) {
            return -1;
        }
    }
}

/* Send one tick and read the order that follows; `order` takes FRAME_BYTES_MAX bytes, with a zero at
 * the end. Returns the nanoseconds between, or -1. */
long long
nk_tick_round_trip(int fd, const char *tick, int tick_bytes, unsigned char *order)
{
    long long start = now_ns();
    if (send(fd, tick, (size_t)tick_bytes, MSG_NOSIGNAL) != tick_bytes || read_text(fd, order) < 0) {
        return -1;
    }
    return now_ns() - start;
}

int
nk_tick_round_trips(
    int fd,
    char *tick,
    int tick_bytes,
    int digits_at,
    int digit_count,
    long long first_sequence,
    int count,
    int pause_us,
    long long *elapsed_ns)
{
    unsigned char order[FRAME_BYTES_MAX];
    for (int i = 0; i < count; i++) {
        long long sequence = first_sequence + i;
        for (int at = digits_at + digit_count - 1; at >= digits_at; at--) {
            tick[at] = (char)('0' + sequence % 10);
            sequence /= 10;
        }
        elapsed_ns[i] = nk_tick_round_trip(fd, tick, tick_bytes, order);
        if (elapsed_ns[i] < 0) {
            return -1;
        }
        const char *id = strstr((const char *)order, "\"id\":");
        char answer[256];
        int size = snprintf(
            answer + 2,
            120,
            "{\"jsonrpc\":\"2.0\",\"result\":null,\"id\":%lld}",
            id == NULL ? 0 : strtoll(id + 5, NULL, 10));
        answer[0] = (char)0x81;
        answer[1] = (char)size;
        if (send(fd, answer, (size_t)size + 2, MSG_NOSIGNAL) != size + 2) {
            return -1;
        }
        usleep((unsigned)pause_us); /* the client takes the answer and goes back to sleep */
    }
    return 0;
}
