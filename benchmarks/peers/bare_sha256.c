/* The floor under every signature: so many SHA-256 compressions in a chain, and nothing else. */
#include "nk_sha256.h"

int nk_bare_compressions(int messages, int blocks_per_message);

int
nk_bare_compressions(int messages, int blocks_per_message)
{
    static const uint8_t blocks[16 * NK_SHA256_BLOCK_BYTES];
    static const nk_sha256_engine *engine; /* asking the processor takes longer than hashing */
    nk_sha256_state state = nk_sha256_initial;
    if (engine == NULL) {
        engine = nk_sha256_find(nk_sha256_best());
    }
    for (int i = 0; i < messages; i++) {
        engine->compress(&state, blocks, (size_t)blocks_per_message);
    }
    return (int)state.words[0]; /* so that no compiler leaves the work out */
}
