"""The signature kernel."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from nkfast.core.fixed cimport nk_status


cdef extern from "nk_sha256.h":
    int NK_SHA256_BLOCK_BYTES
    int NK_SHA256_HEX_BYTES

    ctypedef enum nk_sha256_backend:
        NK_SHA256_PORTABLE
        NK_SHA256_SHA_NI
        NK_SHA256_ARMV8

    ctypedef struct nk_sha256_state:
        uint32_t words[8]

    ctypedef struct nk_sha256_engine:
        void (*compress)(
            nk_sha256_state *state, const uint8_t *blocks, size_t block_count
        ) noexcept nogil
        void (*write_hex)(const nk_sha256_state *digest, char *hex) noexcept nogil

    ctypedef struct nk_hmac_key:
        const nk_sha256_engine *engine
        nk_sha256_state inner
        nk_sha256_state outer

    const nk_sha256_engine *nk_sha256_find(nk_sha256_backend backend) noexcept nogil
    nk_sha256_backend nk_sha256_best() noexcept nogil
    void nk_hmac_prepare(
        nk_hmac_key *key, const nk_sha256_engine *engine, const uint8_t *secret, size_t secret_bytes
    ) noexcept nogil
    void nk_hmac_finish(
        const nk_hmac_key *key,
        nk_sha256_state *state,
        uint64_t message_bytes,
        const uint8_t *tail,
        size_t tail_bytes,
    ) noexcept nogil
    void nk_wipe(void *memory, size_t size) noexcept nogil


cdef extern from "nk_nonce.h":
    int64_t nk_nonce_read(const int64_t *newest) noexcept nogil
    nk_status nk_nonce_take(
        int64_t *newest, int64_t above, int64_t wanted, int64_t *taken
    ) noexcept nogil


# The state after one first block of key and URL.
cdef struct Prefix:
    uint8_t block[64]
    nk_sha256_state state
    bint is_set


cdef class NonceSource:
    cdef int64_t *newest  # the newest nonce given out: `own`, or 8 bytes of `lent`
    cdef int64_t own
    cdef Py_buffer lent  # held as long as the object
    cdef int64_t multiplier  # nonces per second

    cdef int64_t take(self, int64_t above, int64_t now_ns) except -1


cdef class Signer:
    cdef nk_hmac_key key  # wiped with the object, as are the prefixes
    cdef Prefix prefixes[8]
    cdef readonly str api_key
    cdef NonceSource nonces

    cdef str sign_message(self, const uint8_t *message, size_t size, size_t constant)
