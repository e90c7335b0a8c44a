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

static void
compress_portable(nk_sha256_state *state, const uint8_t *blocks, size_t block_count)
{
    for (; block_count > 0; block_count--, blocks += NK_SHA256_BLOCK_BYTES) {
        uint32_t schedule[64];
        for (int i = 0; i < 16; i++) {
            schedule[i] = load_big_endian(blocks + 4 * i);
        }
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
}

/* ---- x86 SHA extensions ---- */

#ifdef NK_HAVE_SHA_NI

/* Four rounds with the schedule words `m`: the instruction takes two words at a time. */
#define NK_FOUR_ROUNDS(m, i)                                                                 \
    do {                                                                                     \
        __m128i sums =                                                                       \
            _mm_add_epi32(m, _mm_loadu_si128((const __m128i *)(ROUND_CONSTANTS + 4 * (i)))); \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sums);                                      \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sums, 0x0e));             \
    } while (0)

/* The next four schedule words, in place of the oldest four. */
#define NK_SCHEDULE(m0, m1, m2, m3) \
    m0 = _mm_sha256msg2_epu32(      \
        _mm_add_epi32(_mm_sha256msg1_epu32(m0, m1), _mm_alignr_epi8(m3, m2, 4)), m3)

NK_TARGET("sha,sse4.1,ssse3")
static void
compress_sha_ni(nk_sha256_state *state, const uint8_t *blocks, size_t block_count)
{
    const __m128i big_endian =
        _mm_set_epi64x(INT64_C(0x0c0d0e0f08090a0b), INT64_C(0x0405060700010203));
    __m128i *words = (__m128i *)(void *)state->words;
    /* The instructions want the state as ABEF and CDGH. */
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, high, 8);
    __m128i cdgh = _mm_blend_epi16(high, low, 0xf0);
    for (; block_count > 0; block_count--, blocks += NK_SHA256_BLOCK_BYTES) {
        const __m128i *block = (const __m128i *)(const void *)blocks;
        __m128i abef_before = abef;
        __m128i cdgh_before = cdgh;
        __m128i m0 = _mm_shuffle_epi8(_mm_loadu_si128(block), big_endian);
        __m128i m1 = _mm_shuffle_epi8(_mm_loadu_si128(block + 1), big_endian);
        __m128i m2 = _mm_shuffle_epi8(_mm_loadu_si128(block + 2), big_endian);
        __m128i m3 = _mm_shuffle_epi8(_mm_loadu_si128(block + 3), big_endian);
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
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    low = _mm_shuffle_epi32(abef, 0x1b);  /* FEBA */
    high = _mm_shuffle_epi32(cdgh, 0xb1); /* DCHG */
    _mm_storeu_si128(words, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(high, low, 8));
}

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

#define NK_FOUR_ROUNDS(m, i)                                                  \
    do {                                                                      \
        uint32x4_t sums = vaddq_u32(m, vld1q_u32(ROUND_CONSTANTS + 4 * (i))); \
        uint32x4_t abcd_before = abcd;                                        \
        abcd = vsha256hq_u32(abcd, efgh, sums);                               \
        efgh = vsha256h2q_u32(efgh, abcd_before, sums);                       \
    } while (0)

#define NK_SCHEDULE(m0, m1, m2, m3) m0 = vsha256su1q_u32(vsha256su0q_u32(m0, m1), m2, m3)

NK_TARGET_SHA2
static void
compress_armv8(nk_sha256_state *state, const uint8_t *blocks, size_t block_count)
{
    uint32x4_t abcd = vld1q_u32(state->words);
    uint32x4_t efgh = vld1q_u32(state->words + 4);
    for (; block_count > 0; block_count--, blocks += NK_SHA256_BLOCK_BYTES) {
        uint32x4_t abcd_start = abcd;
        uint32x4_t efgh_start = efgh;
        uint32x4_t m0 = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks)));
        uint32x4_t m1 = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16)));
        uint32x4_t m2 = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 32)));
        uint32x4_t m3 = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 48)));
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
        abcd = vaddq_u32(abcd, abcd_start);
        efgh = vaddq_u32(efgh, efgh_start);
    }
    vst1q_u32(state->words, abcd);
    vst1q_u32(state->words + 4, efgh);
}

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

nk_sha256_compress
nk_sha256_compressor(nk_sha256_backend backend)
{
    switch (backend) {
        case NK_SHA256_PORTABLE:
            return compress_portable;
        case NK_SHA256_SHA_NI:
#ifdef NK_HAVE_SHA_NI
            return has_sha_ni() ? compress_sha_ni : NULL;
#else
            return NULL;
#endif
        case NK_SHA256_ARMV8:
#ifdef NK_HAVE_ARMV8
            return has_armv8() ? compress_armv8 : NULL;
#else
            return NULL;
#endif
    }
    return NULL;
}

nk_sha256_backend
nk_sha256_best(void)
{
    if (nk_sha256_compressor(NK_SHA256_SHA_NI) != NULL) {
        return NK_SHA256_SHA_NI;
    }
    if (nk_sha256_compressor(NK_SHA256_ARMV8) != NULL) {
        return NK_SHA256_ARMV8;
    }
    return NK_SHA256_PORTABLE;
}

/* ---- messages ---- */

void
nk_sha256_finish(nk_sha256_compress compress, nk_sha256_state *state, uint64_t prefix_bytes,
                 const uint8_t *tail, size_t tail_bytes)
{
    assert(compress != NULL && state != NULL);
    assert(prefix_bytes % NK_SHA256_BLOCK_BYTES == 0);
    enum { LENGTH_BYTES = 8 };
    uint8_t last[2 * NK_SHA256_BLOCK_BYTES];
    size_t whole_blocks = tail_bytes / NK_SHA256_BLOCK_BYTES;
    size_t rest = tail_bytes % NK_SHA256_BLOCK_BYTES;
    if (whole_blocks > 0) {
        compress(state, tail, whole_blocks);
    }
    /* The padding: one bit, zeros, and the length in bits at the end of a block. */
    size_t last_blocks = rest + 1 + LENGTH_BYTES > NK_SHA256_BLOCK_BYTES ? 2 : 1;
    uint8_t *length_at = last + last_blocks * NK_SHA256_BLOCK_BYTES - LENGTH_BYTES;
    uint64_t bits = 8 * (prefix_bytes + tail_bytes);
    memset(last, 0, sizeof last);
    if (rest > 0) {
        memcpy(last, tail + tail_bytes - rest, rest);
    }
    last[rest] = 0x80;
    store_big_endian(length_at, (uint32_t)(bits >> 32));
    store_big_endian(length_at + 4, (uint32_t)bits);
    compress(state, last, last_blocks);
}

void
nk_sha256_write(const nk_sha256_state *state, uint8_t digest[NK_SHA256_DIGEST_BYTES])
{
    for (int i = 0; i < 8; i++) {
        store_big_endian(digest + 4 * i, state->words[i]);
    }
}

void
nk_sha256_write_hex(const nk_sha256_state *state, char hex[NK_SHA256_HEX_BYTES])
{
    for (int i = 0; i < 8; i++) {
        /* Spread the eight nibbles of a word over eight bytes, then turn all into digits: 39 more
         * for those above 9 leads from '9' + 1 to 'a'. */
        uint64_t nibbles = state->words[i];
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

void
nk_hmac_prepare(nk_hmac_key *key, nk_sha256_compress compress, const uint8_t *secret,
                size_t secret_bytes)
{
    assert(key != NULL && compress != NULL);
    uint8_t pad[NK_SHA256_BLOCK_BYTES] = {0};
    if (secret_bytes > NK_SHA256_BLOCK_BYTES) {
        nk_sha256_state digest = nk_sha256_initial;
        nk_sha256_finish(compress, &digest, 0, secret, secret_bytes);
        nk_sha256_write(&digest, pad);
        nk_wipe(&digest, sizeof digest);
    } else if (secret_bytes > 0) {
        memcpy(pad, secret, secret_bytes);
    }
    key->compress = compress;
    key->inner = nk_sha256_initial;
    key->outer = nk_sha256_initial;
    for (size_t i = 0; i < sizeof pad; i++) {
        pad[i] ^= 0x36;
    }
    compress(&key->inner, pad, 1);
    for (size_t i = 0; i < sizeof pad; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }
    compress(&key->outer, pad, 1);
    nk_wipe(pad, sizeof pad);
}

void
nk_hmac_finish(const nk_hmac_key *key, nk_sha256_state *state, uint64_t message_bytes,
               const uint8_t *tail, size_t tail_bytes)
{
    /* The pad is the first block of the inner message. */
    nk_sha256_finish(key->compress, state, NK_SHA256_BLOCK_BYTES + message_bytes, tail, tail_bytes);
    uint8_t block[NK_SHA256_BLOCK_BYTES] = {0};
    nk_sha256_write(state, block);
    /* Pad and digest are 96 bytes, 768 bits. */
    block[NK_SHA256_DIGEST_BYTES] = 0x80;
    block[NK_SHA256_BLOCK_BYTES - 2] = 0x03;
    *state = key->outer;
    key->compress(state, block, 1);
}

void
nk_wipe(void *memory, size_t bytes)
{
    volatile uint8_t *byte = memory;
    while (bytes-- > 0) {
        *byte++ = 0;
    }
}
