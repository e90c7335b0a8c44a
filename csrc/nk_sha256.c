/* nk_sha256.c - SHA-256 (FIPS 180-4) and HMAC (RFC 2104) with prepared pads.
 *
 * Compression is one chain of 64 dependent rounds, so the hardware's rounds are all that counts:
 * the processor's own instructions do a block in about 40 ns, plain C in about 250.
 */
#include "nk_sha256.h"

#include <string.h>

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(NK_NO_SHA_NI)
#define NK_HAVE_SHA_NI 1
#include <immintrin.h>
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

#if (defined(__aarch64__) || defined(_M_ARM64)) && !defined(NK_NO_ARMV8)
#define NK_HAVE_ARMV8 1
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#endif

#if defined(__GNUC__) || defined(__clang__)
#define NK_TARGET(features) __attribute__((target(features)))
#else
#define NK_TARGET(features)
#endif

const nk_sha256_state nk_sha256_initial = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};

static const uint32_t ROUND_CONSTANTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* What follows the digest in the last block of HMAC: one bit, zeros, and the 768 bits of pad and
 * digest. */
static const uint32_t DIGEST_PADDING[8] = {
    0x80000000, 0, 0, 0, 0, 0, 0, 8 * (NK_SHA256_BLOCK_BYTES + NK_SHA256_DIGEST_BYTES),
};

static uint32_t
load_big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           (uint32_t)bytes[3];
}

static void
store_big_endian(uint8_t *bytes, uint32_t word)
{
    bytes[0] = (uint8_t)(word >> 24);
    bytes[1] = (uint8_t)(word >> 16);
    bytes[2] = (uint8_t)(word >> 8);
    bytes[3] = (uint8_t)word;
}

/* ---- portable ---- */

NK_INLINE uint32_t
rotate_right(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

/* The first 16 words of the schedule are the block. */
static void
compress_schedule(nk_sha256_state *state, uint32_t schedule[64])
{
    for (int i = 16; i < 64; i++) {
        uint32_t a = schedule[i - 15], b = schedule[i - 2];
        schedule[i] = schedule[i - 16] + schedule[i - 7] +
                      (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
                      (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
    }
    uint32_t a = state->words[0], b = state->words[1], c = state->words[2];
    uint32_t d = state->words[3], e = state->words[4], f = state->words[5];
    uint32_t g = state->words[6], h = state->words[7];
    for (int i = 0; i < 64; i++) {
        uint32_t choice = g ^ (e & (f ^ g));
        uint32_t majority = (a & b) | (c & (a | b));
        uint32_t first = h + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +
                         choice + ROUND_CONSTANTS[i] + schedule[i];
        uint32_t second =
            (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + majority;
        h = g;
        g = f;
        f = e;
        e = d + first;
        d = c;
        c = b;
        b = a;
        a = first + second;
    }
    state->words[0] += a;
    state->words[1] += b;
    state->words[2] += c;
    state->words[3] += d;
    state->words[4] += e;
    state->words[5] += f;
    state->words[6] += g;
    state->words[7] += h;
}

static void
compress_portable(nk_sha256_state *state, const uint8_t *blocks, size_t block_count)
{
    for (; block_count > 0; block_count--, blocks += NK_SHA256_BLOCK_BYTES) {
        uint32_t schedule[64];
        for (int i = 0; i < 16; i++) {
            schedule[i] = load_big_endian(blocks + 4 * i);
        }
        compress_schedule(state, schedule);
    }
}

static void
sign_portable(nk_sha256_state *state, const nk_sha256_state *outer, const uint8_t *blocks,
              size_t block_count, const uint8_t *last, size_t last_count)
{
    uint32_t schedule[64];
    compress_portable(state, blocks, block_count);
    compress_portable(state, last, last_count);
    memcpy(schedule, state->words, sizeof state->words);
    memcpy(schedule + 8, DIGEST_PADDING, sizeof DIGEST_PADDING);
    *state = *outer;
    compress_schedule(state, schedule);
}

static void
write_hex_portable(const nk_sha256_state *digest, char hex[NK_SHA256_HEX_BYTES])
{
    for (int i = 0; i < 8; i++) {
        /* Spread the eight nibbles of a word over eight bytes, then turn all into digits: 39 more
         * for those above 9 leads from '9' + 1 to 'a'. */
        uint64_t nibbles = digest->words[i];
        nibbles = (nibbles | nibbles << 16) & UINT64_C(0x0000ffff0000ffff);
        nibbles = (nibbles | nibbles << 8) & UINT64_C(0x00ff00ff00ff00ff);
        nibbles = (nibbles | nibbles << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
        uint64_t is_letter =
            (nibbles + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
        uint64_t digits = nibbles + UINT64_C(0x3030303030303030) + is_letter * 39;
        for (int j = 0; j < 8; j++) {
            hex[8 * i + j] = (char)(digits >> (56 - 8 * j));
        }
    }
}

static const nk_sha256_engine PORTABLE = {compress_portable, sign_portable, write_hex_portable};

/* ---- x86 SHA extensions ---- */

#ifdef NK_HAVE_SHA_NI

/* Turns the bytes of four words around. */
static const uint8_t BIG_ENDIAN_ORDER[16] = {3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12};

#define NK_TARGET_SHA_NI NK_TARGET("sha,sse4.1,ssse3")

/* The state in the order that the instructions want. */
typedef struct sha_ni_state {
    __m128i abef;
    __m128i cdgh;
} sha_ni_state;

NK_TARGET_SHA_NI
NK_INLINE sha_ni_state
sha_ni_load(const nk_sha256_state *state)
{
    const __m128i *words = (const __m128i *)(const void *)state->words;
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);      /* CDAB */
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b); /* EFGH */
    sha_ni_state result = {_mm_alignr_epi8(low, high, 8), _mm_blend_epi16(high, low, 0xf0)};
    return result;
}

NK_TARGET_SHA_NI
NK_INLINE void
sha_ni_store(sha_ni_state registers, nk_sha256_state *state)
{
    __m128i *words = (__m128i *)(void *)state->words;
    __m128i low = _mm_shuffle_epi32(registers.abef, 0x1b);  /* FEBA */
    __m128i high = _mm_shuffle_epi32(registers.cdgh, 0xb1); /* DCHG */
    _mm_storeu_si128(words, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(high, low, 8));
}

/* Four rounds with the schedule words `m`: the instruction takes two words at a time. */
#define NK_FOUR_ROUNDS(m, i)                                                                 \
    do {                                                                                     \
        __m128i sums =                                                                       \
            _mm_add_epi32(m, _mm_loadu_si128((const __m128i *)(ROUND_CONSTANTS + 4 * (i)))); \
        now.cdgh = _mm_sha256rnds2_epu32(now.cdgh, now.abef, sums);                          \
        now.abef = _mm_sha256rnds2_epu32(now.abef, now.cdgh, _mm_shuffle_epi32(sums, 0x0e)); \
    } while (0)

/* The next four schedule words, in place of the oldest four. */
#define NK_SCHEDULE(m0, m1, m2, m3) \
    m0 = _mm_sha256msg2_epu32(      \
        _mm_add_epi32(_mm_sha256msg1_epu32(m0, m1), _mm_alignr_epi8(m3, m2, 4)), m3)

/* One block, given as its sixteen words. */
NK_TARGET_SHA_NI
NK_INLINE sha_ni_state
sha_ni_block(sha_ni_state before, __m128i m0, __m128i m1, __m128i m2, __m128i m3)
{
    sha_ni_state now = before;
    NK_FOUR_ROUNDS(m0, 0);
    NK_FOUR_ROUNDS(m1, 1);
    NK_FOUR_ROUNDS(m2, 2);
    NK_FOUR_ROUNDS(m3, 3);
    for (int i = 4; i < 16; i += 4) {
        NK_SCHEDULE(m0, m1, m2, m3);
        NK_FOUR_ROUNDS(m0, i);
        NK_SCHEDULE(m1, m2, m3, m0);
        NK_FOUR_ROUNDS(m1, i + 1);
        NK_SCHEDULE(m2, m3, m0, m1);
        NK_FOUR_ROUNDS(m2, i + 2);
        NK_SCHEDULE(m3, m0, m1, m2);
        NK_FOUR_ROUNDS(m3, i + 3);
    }
    now.abef = _mm_add_epi32(now.abef, before.abef);
    now.cdgh = _mm_add_epi32(now.cdgh, before.cdgh);
    return now;
}

NK_TARGET_SHA_NI
NK_INLINE sha_ni_state
sha_ni_blocks(sha_ni_state now, const uint8_t *blocks, size_t block_count)
{
    const __m128i big_endian = _mm_loadu_si128((const __m128i *)(const void *)BIG_ENDIAN_ORDER);
    for (; block_count > 0; block_count--, blocks += NK_SHA256_BLOCK_BYTES) {
        const __m128i *block = (const __m128i *)(const void *)blocks;
        now = sha_ni_block(now, _mm_shuffle_epi8(_mm_loadu_si128(block), big_endian),
                           _mm_shuffle_epi8(_mm_loadu_si128(block + 1), big_endian),
                           _mm_shuffle_epi8(_mm_loadu_si128(block + 2), big_endian),
                           _mm_shuffle_epi8(_mm_loadu_si128(block + 3), big_endian));
    }
    return now;
}

NK_TARGET_SHA_NI
static void
compress_sha_ni(nk_sha256_state *state, const uint8_t *blocks, size_t block_count)
{
    sha_ni_store(sha_ni_blocks(sha_ni_load(state), blocks, block_count), state);
}

NK_TARGET_SHA_NI
static void
sign_sha_ni(nk_sha256_state *state, const nk_sha256_state *outer, const uint8_t *blocks,
            size_t block_count, const uint8_t *last, size_t last_count)
{
    const __m128i *words = (const __m128i *)(const void *)state->words;
    const __m128i *padding = (const __m128i *)(const void *)DIGEST_PADDING;
    sha_ni_state now = sha_ni_blocks(sha_ni_load(state), blocks, block_count);
    sha_ni_store(sha_ni_blocks(now, last, last_count), state);
    now = sha_ni_block(sha_ni_load(outer), _mm_loadu_si128(words), _mm_loadu_si128(words + 1),
                       _mm_loadu_si128(padding), _mm_loadu_si128(padding + 1));
    sha_ni_store(now, state);
}

NK_TARGET_SHA_NI
static void
write_hex_sha_ni(const nk_sha256_state *digest, char hex[NK_SHA256_HEX_BYTES])
{
    const __m128i big_endian = _mm_loadu_si128((const __m128i *)(const void *)BIG_ENDIAN_ORDER);
    const __m128i low_nibbles = _mm_set1_epi8(0x0f);
    const __m128i digits = _mm_loadu_si128((const __m128i *)(const void *)"0123456789abcdef");
    const __m128i *words = (const __m128i *)(const void *)digest->words;
    __m128i *out = (__m128i *)(void *)hex;
    for (int i = 0; i < 2; i++) {
        __m128i bytes = _mm_shuffle_epi8(_mm_loadu_si128(words + i), big_endian);
        __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), low_nibbles);
        __m128i low = _mm_and_si128(bytes, low_nibbles);
        _mm_storeu_si128(out + 2 * i, _mm_shuffle_epi8(digits, _mm_unpacklo_epi8(high, low)));
        _mm_storeu_si128(out + 2 * i + 1, _mm_shuffle_epi8(digits, _mm_unpackhi_epi8(high, low)));
    }
}

static const nk_sha256_engine SHA_NI = {compress_sha_ni, sign_sha_ni, write_hex_sha_ni};

static bool
has_sha_ni(void)
{
    enum { SSSE3 = 1 << 9, SSE41 = 1 << 19, SHA = 1 << 29 };
    unsigned leaf1_ecx = 0, leaf7_ebx = 0;
#ifdef _MSC_VER
    int registers[4];
    __cpuid(registers, 0);
    if (registers[0] >= 7) {
        __cpuid(registers, 1);
        leaf1_ecx = (unsigned)registers[2];
        __cpuidex(registers, 7, 0);
        leaf7_ebx = (unsigned)registers[1];
    }
#else
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        leaf1_ecx = ecx;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        leaf7_ebx = ebx;
    }
#endif
    return (leaf1_ecx & SSSE3) && (leaf1_ecx & SSE41) && (leaf7_ebx & SHA);
}

#endif /* NK_HAVE_SHA_NI */

/* ---- ARMv8 cryptography extensions ---- */

#ifdef NK_HAVE_ARMV8

#ifdef __clang__
#define NK_TARGET_SHA2 NK_TARGET("sha2")
#else
#define NK_TARGET_SHA2 NK_TARGET("+crypto")
#endif

typedef struct armv8_state {
    uint32x4_t abcd;
    uint32x4_t efgh;
} armv8_state;

#define NK_FOUR_ROUNDS(m, i)                                                  \
    do {                                                                      \
        uint32x4_t sums = vaddq_u32(m, vld1q_u32(ROUND_CONSTANTS + 4 * (i))); \
        uint32x4_t abcd = now.abcd;                                           \
        now.abcd = vsha256hq_u32(abcd, now.efgh, sums);                       \
        now.efgh = vsha256h2q_u32(now.efgh, abcd, sums);                      \
    } while (0)

#define NK_SCHEDULE(m0, m1, m2, m3) m0 = vsha256su1q_u32(vsha256su0q_u32(m0, m1), m2, m3)

/* One block, given as its sixteen words. */
NK_TARGET_SHA2
NK_INLINE armv8_state
armv8_block(armv8_state before, uint32x4_t m0, uint32x4_t m1, uint32x4_t m2, uint32x4_t m3)
{
    armv8_state now = before;
    NK_FOUR_ROUNDS(m0, 0);
    NK_FOUR_ROUNDS(m1, 1);
    NK_FOUR_ROUNDS(m2, 2);
    NK_FOUR_ROUNDS(m3, 3);
    for (int i = 4; i < 16; i += 4) {
        NK_SCHEDULE(m0, m1, m2, m3);
        NK_FOUR_ROUNDS(m0, i);
        NK_SCHEDULE(m1, m2, m3, m0);
        NK_FOUR_ROUNDS(m1, i + 1);
        NK_SCHEDULE(m2, m3, m0, m1);
        NK_FOUR_ROUNDS(m2, i + 2);
        NK_SCHEDULE(m3, m0, m1, m2);
        NK_FOUR_ROUNDS(m3, i + 3);
    }
    now.abcd = vaddq_u32(now.abcd, before.abcd);
    now.efgh = vaddq_u32(now.efgh, before.efgh);
    return now;
}

NK_TARGET_SHA2
NK_INLINE armv8_state
armv8_blocks(armv8_state now, const uint8_t *blocks, size_t block_count)
{
    for (; block_count > 0; block_count--, blocks += NK_SHA256_BLOCK_BYTES) {
        now = armv8_block(now, vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks))),
                          vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16))),
                          vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 32))),
                          vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 48))));
    }
    return now;
}

NK_TARGET_SHA2
NK_INLINE armv8_state
armv8_load(const nk_sha256_state *state)
{
    armv8_state result = {vld1q_u32(state->words), vld1q_u32(state->words + 4)};
    return result;
}

NK_TARGET_SHA2
NK_INLINE void
armv8_store(armv8_state registers, nk_sha256_state *state)
{
    vst1q_u32(state->words, registers.abcd);
    vst1q_u32(state->words + 4, registers.efgh);
}

NK_TARGET_SHA2
static void
compress_armv8(nk_sha256_state *state, const uint8_t *blocks, size_t block_count)
{
    armv8_store(armv8_blocks(armv8_load(state), blocks, block_count), state);
}

NK_TARGET_SHA2
static void
sign_armv8(nk_sha256_state *state, const nk_sha256_state *outer, const uint8_t *blocks,
           size_t block_count, const uint8_t *last, size_t last_count)
{
    armv8_state digest = armv8_blocks(armv8_load(state), blocks, block_count);
    digest = armv8_blocks(digest, last, last_count);
    armv8_store(armv8_block(armv8_load(outer), digest.abcd, digest.efgh, vld1q_u32(DIGEST_PADDING),
                            vld1q_u32(DIGEST_PADDING + 4)),
                state);
}

static const nk_sha256_engine ARMV8 = {compress_armv8, sign_armv8, write_hex_portable};

static bool
has_armv8(void)
{
#if defined(__linux__)
    const unsigned long hwcap_sha2 = 1ul << 6; /* HWCAP_SHA2 of asm/hwcap.h */
    return (getauxval(AT_HWCAP) & hwcap_sha2) != 0;
#elif defined(__APPLE__)
    int present = 0;
    size_t size = sizeof present;
    return sysctlbyname("hw.optional.arm.FEAT_SHA256", &present, &size, NULL, 0) == 0 && present;
#elif defined(_WIN32)
    return IsProcessorFeaturePresent(PF_ARM_V8_CRYPTO_INSTRUCTIONS_AVAILABLE) != 0;
#else
    return false;
#endif
}

#endif /* NK_HAVE_ARMV8 */

/* ---- the choice ---- */

const nk_sha256_engine *
nk_sha256_find(nk_sha256_backend backend)
{
    switch (backend) {
        case NK_SHA256_PORTABLE:
            return &PORTABLE;
        case NK_SHA256_SHA_NI:
#ifdef NK_HAVE_SHA_NI
            return has_sha_ni() ? &SHA_NI : NULL;
#else
            return NULL;
#endif
        case NK_SHA256_ARMV8:
#ifdef NK_HAVE_ARMV8
            return has_armv8() ? &ARMV8 : NULL;
#else
            return NULL;
#endif
    }
    return NULL;
}

nk_sha256_backend
nk_sha256_best(void)
{
    if (nk_sha256_find(NK_SHA256_SHA_NI) != NULL) {
        return NK_SHA256_SHA_NI;
    }
    if (nk_sha256_find(NK_SHA256_ARMV8) != NULL) {
        return NK_SHA256_ARMV8;
    }
    return NK_SHA256_PORTABLE;
}

/* ---- messages ---- */

/* Write the blocks that close a message: what of the tail does not fill a block, one bit, zeros,
 * and the length in bits at the end. Returns the number of blocks. */
static size_t
close_message(uint8_t last[2 * NK_SHA256_BLOCK_BYTES], uint64_t prefix_bytes, const uint8_t *tail,
              size_t tail_bytes)
{
    enum { LENGTH_BYTES = 8 };
    size_t rest = tail_bytes % NK_SHA256_BLOCK_BYTES;
    size_t count = rest + 1 + LENGTH_BYTES > NK_SHA256_BLOCK_BYTES ? 2 : 1;
    uint8_t *length_at = last + count * NK_SHA256_BLOCK_BYTES - LENGTH_BYTES;
    uint64_t bits = 8 * (prefix_bytes + tail_bytes);
    memset(last, 0, 2 * NK_SHA256_BLOCK_BYTES);
    if (rest > 0) {
        memcpy(last, tail + tail_bytes - rest, rest);
    }
    last[rest] = 0x80;
    store_big_endian(length_at, (uint32_t)(bits >> 32));
    store_big_endian(length_at + 4, (uint32_t)bits);
    return count;
}

void
nk_sha256_finish(const nk_sha256_engine *engine, nk_sha256_state *state, uint64_t prefix_bytes,
                 const uint8_t *tail, size_t tail_bytes)
{
    assert(engine != NULL && state != NULL);
    assert(tail != NULL || tail_bytes == 0);
    assert(prefix_bytes % NK_SHA256_BLOCK_BYTES == 0);
    uint8_t last[2 * NK_SHA256_BLOCK_BYTES];
    size_t last_count = close_message(last, prefix_bytes, tail, tail_bytes);
    engine->compress(state, tail, tail_bytes / NK_SHA256_BLOCK_BYTES);
    engine->compress(state, last, last_count);
}

void
nk_sha256_write(const nk_sha256_state *state, uint8_t digest[NK_SHA256_DIGEST_BYTES])
{
    for (int i = 0; i < 8; i++) {
        store_big_endian(digest + 4 * i, state->words[i]);
    }
}

void
nk_hmac_prepare(nk_hmac_key *key, const nk_sha256_engine *engine, const uint8_t *secret,
                size_t secret_bytes)
{
    assert(key != NULL && engine != NULL);
    uint8_t pad[NK_SHA256_BLOCK_BYTES] = {0};
    if (secret_bytes > NK_SHA256_BLOCK_BYTES) {
        nk_sha256_state digest = nk_sha256_initial;
        nk_sha256_finish(engine, &digest, 0, secret, secret_bytes);
        nk_sha256_write(&digest, pad);
        nk_wipe(&digest, sizeof digest);
    } else if (secret_bytes > 0) {
        memcpy(pad, secret, secret_bytes);
    }
    key->engine = engine;
    key->inner = nk_sha256_initial;
    key->outer = nk_sha256_initial;
    for (size_t i = 0; i < sizeof pad; i++) {
        pad[i] ^= 0x36;
    }
    engine->compress(&key->inner, pad, 1);
    for (size_t i = 0; i < sizeof pad; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }
    engine->compress(&key->outer, pad, 1);
    nk_wipe(pad, sizeof pad);
}

void
nk_hmac_finish(const nk_hmac_key *key, nk_sha256_state *state, uint64_t message_bytes,
               const uint8_t *tail, size_t tail_bytes)
{
    assert(key != NULL && state != NULL);
    assert(tail != NULL || tail_bytes == 0);
    assert(message_bytes % NK_SHA256_BLOCK_BYTES == 0);
    uint8_t last[2 * NK_SHA256_BLOCK_BYTES];
    /* The pad is the first block of the inner message. */
    size_t last_count =
        close_message(last, NK_SHA256_BLOCK_BYTES + message_bytes, tail, tail_bytes);
    key->engine->sign(state, &key->outer, tail, tail_bytes / NK_SHA256_BLOCK_BYTES, last,
                      last_count);
}

void
nk_wipe(void *memory, size_t bytes)
{
    volatile uint8_t *byte = memory;
    while (bytes-- > 0) {
        *byte++ = 0;
    }
}
