/* nk_sha256.h - SHA-256 and HMAC-SHA256 with prepared pads.
 *
 * A request is signed once per key and many times per second, so the two pads of HMAC are hashed
 * once and kept as states, and so may be any constant prefix of the message. What is left is the
 * compression of the message itself, in whatever way this processor does it best.
 */
#ifndef NK_SHA256_H
#define NK_SHA256_H

#include "nk_base.h"

enum { NK_SHA256_BLOCK_BYTES = 64, NK_SHA256_DIGEST_BYTES = 32, NK_SHA256_HEX_BYTES = 64 };

typedef enum nk_sha256_backend {
    NK_SHA256_PORTABLE,
    NK_SHA256_SHA_NI, /* x86 SHA extensions */
    NK_SHA256_ARMV8   /* ARMv8 cryptography extensions */
} nk_sha256_backend;

typedef struct nk_sha256_state {
    uint32_t words[8];
} nk_sha256_state;

/* SHA-256 as one kind of processor does it best. */
typedef struct nk_sha256_engine {
    /* Feed whole blocks of NK_SHA256_BLOCK_BYTES into the state. */
    void (*compress)(nk_sha256_state *state, const uint8_t *blocks, size_t block_count);
    /* Feed the message's whole blocks and its padded last ones into the state of HMAC's inner hash,
     * then the digest into `outer`; the state becomes the signature. In one call, so that nothing
     * leaves the registers in between. */
    void (*sign)(nk_sha256_state *state, const nk_sha256_state *outer, const uint8_t *blocks,
                 size_t block_count, const uint8_t *last, size_t last_count);
    /* Write a digest as lower-case hexadecimal digits, without a terminating zero. */
    void (*write_hex)(const nk_sha256_state *digest, char hex[NK_SHA256_HEX_BYTES]);
} nk_sha256_engine;

/* Returns  the engine of a backend, NULL when this build or processor lacks it. */
const nk_sha256_engine *nk_sha256_find(nk_sha256_backend backend);

/* Returns  the fastest backend that this processor has. Cost: asks the processor; keep it. */
nk_sha256_backend nk_sha256_best(void);

/* The state before the first block of any message. */
extern const nk_sha256_state nk_sha256_initial;

/* Finish a message whose first blocks are in the state already.
 *
 * Requires  prefix_bytes is a multiple of NK_SHA256_BLOCK_BYTES, the bytes hashed into *state.
 * Ensures   *state has taken the tail and the padding: it is the digest, see nk_sha256_write.
 */
void nk_sha256_finish(const nk_sha256_engine *engine, nk_sha256_state *state, uint64_t prefix_bytes,
                      const uint8_t *tail, size_t tail_bytes);

/* The digest as bytes. */
void nk_sha256_write(const nk_sha256_state *state, uint8_t digest[NK_SHA256_DIGEST_BYTES]);

/* A secret as HMAC needs it: two states, from which it cannot be read back. They still sign, so
 * they are wiped with the same care. */
typedef struct nk_hmac_key {
    const nk_sha256_engine *engine;
    nk_sha256_state inner;
    nk_sha256_state outer;
} nk_hmac_key;

/* Hash the pads of a secret of any length.
 *
 * Requires  engine is not NULL.
 * Ensures   nothing of the secret is left on the stack.
 */
void nk_hmac_prepare(nk_hmac_key *key, const nk_sha256_engine *engine, const uint8_t *secret,
                     size_t secret_bytes);

/* Sign the rest of a message whose first blocks are in the state already.
 *
 * Requires  *state began as key->inner and has taken message_bytes of whole blocks since.
 * Ensures   *state is the signature, see nk_sha256_write.
 */
void nk_hmac_finish(const nk_hmac_key *key, nk_sha256_state *state, uint64_t message_bytes,
                    const uint8_t *tail, size_t tail_bytes);

/* Overwrite memory in a way that no compiler removes. */
void nk_wipe(void *memory, size_t bytes);

#endif /* NK_SHA256_H */
