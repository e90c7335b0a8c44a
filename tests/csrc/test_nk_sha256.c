/* links: nk_sha256.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nk_sha256.h"

static int failures;

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) {                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                            \
        }                                                          \
    } while (0)

/* A message: a piece of text repeated, and its digest. */
typedef struct digest_vector {
    const char *piece;
    size_t repeats;
    const char *hex;
} digest_vector;

/* FIPS 180-2 appendix B, and the examples of NIST's secure hashing page. */
static const digest_vector DIGESTS[] = {
    {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
     "lmnopqrsmnopqrstnopqrstu",
     1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

/* RFC 4231, test cases 1 to 7; of the fifth only the first 16 bytes are given there. */
typedef struct hmac_vector {
    const char *key;
    size_t key_repeats;
    const char *message;
    size_t message_repeats;
    const char *hex;
} hmac_vector;

static const hmac_vector HMACS[] = {
    {"\x0b", 20, "Hi There", 1, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"Jefe", 1, "what do ya want for nothing?", 1,
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {"\xaa", 20, "\xdd", 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16"
     "\x17\x18\x19",
     1, "\xcd", 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {"\x0c", 20, "Test With Truncation", 1, "a3b6167473100ee06e0c796c2955552b"},
    {"\xaa", 131, "Test Using Larger Than Block-Size Key - Hash Key First", 1,
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {"\xaa", 131,
     "This is a test using a larger than block-size key and a larger than block-size data. The "
     "key needs to be hashed before being used by the HMAC algorithm.",
     1, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

/* A heap buffer of exactly the size, so that a read beyond it is caught. */
static uint8_t *
repeated(const char *piece, size_t repeats, size_t *bytes)
{
    size_t length = strlen(piece);
    *bytes = length * repeats;
    uint8_t *buffer = malloc(*bytes > 0 ? *bytes : 1);
    if (buffer == NULL) {
        abort();
    }
    for (size_t i = 0; i < repeats; i++) {
        memcpy(buffer + i * length, piece, length);
    }
    return buffer;
}

static void
test_digests(const nk_sha256_engine *engine)
{
    for (size_t i = 0; i < sizeof DIGESTS / sizeof *DIGESTS; i++) {
        size_t bytes;
        uint8_t *message = repeated(DIGESTS[i].piece, DIGESTS[i].repeats, &bytes);
        nk_sha256_state state = nk_sha256_initial;
        char hex[NK_SHA256_HEX_BYTES];
        nk_sha256_finish(engine, &state, 0, message, bytes);
        engine->write_hex(&state, hex);
        CHECK(memcmp(hex, DIGESTS[i].hex, sizeof hex) == 0);
        free(message);
    }
}

static void
test_hmacs(const nk_sha256_engine *engine)
{
    for (size_t i = 0; i < sizeof HMACS / sizeof *HMACS; i++) {
        size_t secret_bytes, message_bytes;
        uint8_t *secret = repeated(HMACS[i].key, HMACS[i].key_repeats, &secret_bytes);
        uint8_t *message = repeated(HMACS[i].message, HMACS[i].message_repeats, &message_bytes);
        nk_hmac_key key;
        nk_hmac_prepare(&key, engine, secret, secret_bytes);
        nk_sha256_state state = key.inner;
        char hex[NK_SHA256_HEX_BYTES];
        nk_hmac_finish(&key, &state, 0, message, message_bytes);
        engine->write_hex(&state, hex);
        CHECK(memcmp(hex, HMACS[i].hex, strlen(HMACS[i].hex)) == 0);
        free(secret);
        free(message);
    }
}

/* Every length around the block boundaries, with and without a prepared prefix, against the
 * portable one. */
static void
test_agrees_with_portable(const nk_sha256_engine *engine)
{
    const nk_sha256_engine *portable = nk_sha256_find(NK_SHA256_PORTABLE);
    uint64_t random = 88172645463325252u;
    for (size_t bytes = 0; bytes <= 5 * NK_SHA256_BLOCK_BYTES; bytes++) {
        uint8_t *message = malloc(bytes > 0 ? bytes : 1);
        if (message == NULL) {
            abort();
        }
        for (size_t i = 0; i < bytes; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            message[i] = (uint8_t)random;
        }
        nk_hmac_key fast, slow;
        size_t secret_bytes = bytes < 200 ? bytes : 200;
        nk_hmac_prepare(&fast, engine, message, secret_bytes);
        nk_hmac_prepare(&slow, portable, message, secret_bytes);
        CHECK(memcmp(&fast.inner, &slow.inner, sizeof fast.inner) == 0);
        CHECK(memcmp(&fast.outer, &slow.outer, sizeof fast.outer) == 0);
        nk_sha256_state expected = slow.inner;
        nk_hmac_finish(&slow, &expected, 0, message, bytes);
        for (size_t prefix = 0; prefix <= bytes; prefix += NK_SHA256_BLOCK_BYTES) {
            nk_sha256_state state = fast.inner;
            if (prefix > 0) {
                engine->compress(&state, message, prefix / NK_SHA256_BLOCK_BYTES);
            }
            nk_hmac_finish(&fast, &state, prefix, message + prefix, bytes - prefix);
            CHECK(memcmp(&state, &expected, sizeof state) == 0);
        }
        free(message);
    }
}

/* A length beyond 32 bits, without hashing so much: the last block is known. */
static void
test_long_lengths(const nk_sha256_engine *engine)
{
    uint8_t last[NK_SHA256_BLOCK_BYTES] = {0x80};
    nk_sha256_state expected = nk_sha256_initial, state = nk_sha256_initial;
    last[NK_SHA256_BLOCK_BYTES - 7] = 0x12; /* 8 * 0x0002400000000000 bits, big-endian */
    engine->compress(&expected, last, 1);
    nk_sha256_finish(engine, &state, UINT64_C(0x0002400000000000), NULL, 0);
    CHECK(memcmp(&state, &expected, sizeof state) == 0);
}

static void
test_hex_has_every_digit(const nk_sha256_engine *engine)
{
    nk_sha256_state state = {
        {0x01234567, 0x89abcdef, 0xffffffff, 0, 0x9a9a9a9a, 0xa9a9a9a9, 0xf0f0f0f0, 0x0f0f0f0f}};
    char hex[NK_SHA256_HEX_BYTES];
    uint8_t digest[NK_SHA256_DIGEST_BYTES];
    engine->write_hex(&state, hex);
    CHECK(memcmp(hex, "0123456789abcdefffffffff000000009a9a9a9aa9a9a9a9f0f0f0f00f0f0f0f",
                 sizeof hex) == 0);
    nk_sha256_write(&state, digest);
    CHECK(memcmp(digest, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8) == 0 && digest[31] == 0x0f);
}

static void
test_wipe(void)
{
    uint8_t memory[5] = {1, 2, 3, 4, 5};
    nk_wipe(memory, 4);
    CHECK(memcmp(memory, "\0\0\0\0\5", 5) == 0);
}

int
main(void)
{
    static const char *names[] = {"portable", "sha_ni", "armv8"};
    for (int backend = NK_SHA256_PORTABLE; backend <= NK_SHA256_ARMV8; backend++) {
        const nk_sha256_engine *engine = nk_sha256_find((nk_sha256_backend)backend);
        printf("%s: %s\n", names[backend], engine == NULL ? "absent" : "tested");
        if (engine != NULL) {
            test_digests(engine);
            test_hmacs(engine);
            test_agrees_with_portable(engine);
            test_long_lengths(engine);
            test_hex_has_every_digit(engine);
        }
    }
    CHECK(nk_sha256_find(NK_SHA256_PORTABLE) != NULL);
    CHECK(nk_sha256_find(nk_sha256_best()) != NULL);
    test_wipe();
    printf("%d failures\n", failures);
    return failures != 0;
}
