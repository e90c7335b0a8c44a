"""Signatures of REST requests and of the WebSocket login, and the nonces they need.

REST: lower-case hexadecimal HMAC-SHA256 over ``api_key + absolute_url + body + nonce``, all exactly
as sent. WebSocket: the same over the login's nonce alone. Source: protocol.md 1.7 and 2.5, after
the exchange's own clients.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from os import urandom

from nkfast.core.fixed cimport NK_OK, integer_of, nk_fixed_format

__all__ = ["NonceSource", "Signer", "backend"]

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text) noexcept
    void *PyUnicode_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        long tv_nsec

    int TIME_UTC
    int timespec_get(timespec *now, int base)

cdef int64_t NS_PER_SECOND = 1_000_000_000
cdef Py_ssize_t LOGIN_NONCE_CHARACTERS = 14  # as the exchange's own clients send
# 32 characters, so that five bits of a random byte choose one without bias.
cdef str LOGIN_NONCE_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

cdef enum:
    STACK_BYTES = 1024  # messages up to here are put together without an allocation
    PREFIX_BITS = 3  # 8 prefixes: one for each endpoint in constant use

# Chosen once, when the module is loaded.
cdef nk_sha256_backend BACKEND = nk_sha256_best()
cdef const nk_sha256_engine *ENGINE = nk_sha256_find(BACKEND)
cdef dict BACKEND_NAMES = {
    <int>NK_SHA256_PORTABLE: "portable",
    <int>NK_SHA256_SHA_NI: "sha_ni",
    <int>NK_SHA256_ARMV8: "armv8",
}


def backend():
    """Return how this processor compresses: ``"sha_ni"``, ``"armv8"`` or ``"portable"``."""
    return BACKEND_NAMES[<int>BACKEND]


cdef bint is_ascii(const uint8_t *text, size_t size) noexcept:
    cdef uint8_t seen = 0
    cdef size_t i
    for i in range(size):
        seen |= text[i]
    return seen < 0x80


# The characters of a str or bytes, refused unless ASCII and not empty. Never shows the value.
cdef const uint8_t *ascii_of(object text, str name, size_t *size) except NULL:
    cdef const uint8_t *data
    if isinstance(text, str):
        if not PyUnicode_IS_ASCII(text):
            raise ValueError(f"{name} must be ASCII")
        data = <const uint8_t *>PyUnicode_DATA(text)
        size[0] = PyUnicode_GET_LENGTH(text)
    elif isinstance(text, bytes):
        data = <const uint8_t *>PyBytes_AS_STRING(text)
        size[0] = PyBytes_GET_SIZE(text)
        if not is_ascii(data, size[0]):
            raise ValueError(f"{name} must be ASCII")
    else:
        raise TypeError(f"{name} must be str or bytes, was {type(text).__name__}")
    if size[0] == 0:
        raise ValueError(f"{name} must not be empty")
    return data


@cython.final
cdef class NonceSource:
    """Numbers that only grow, near ``unix time * multiplier``; safe across threads.

    Each is the larger of the clock and the last one plus one, so a clock that steps back, or is
    asked faster than it ticks, never repeats a nonce.

    Parameters
    ----------
    multiplier : int
        Nonces per second, 1..1e9. NonKYC takes 1e4, and 1e3 for milliseconds (protocol.md Q1).
    last : int
        The newest nonce already used with this key; what follows is larger.
    memory : bytearray or memoryview, optional
        8 writable bytes, aligned to 8, that hold the newest nonce as an integer of this machine,
        and are kept as long as the source. Sources share nonces by sharing them, in one process or
        in several: none waits for another, even one that was stopped half way. By default a source
        has memory of its own.

    Raises
    ------
    ValueError
        `multiplier` is out of range, `last` is negative, or `memory` has another size or place.
    BufferError
        `memory` cannot be written to.
    """

    def __cinit__(self, multiplier=10_000, last=0, *, memory=None):
        cdef int64_t taken
        if not 1 <= integer_of(multiplier) <= NS_PER_SECOND:
            raise ValueError(f"multiplier must be 1..{NS_PER_SECOND}, was {multiplier}")
        if integer_of(last) < 0:
            raise ValueError(f"last must not be negative, was {last}")
        self.multiplier = multiplier
        self.newest = &self.own
        if memory is not None:
            PyObject_GetBuffer(memory, &self.lent, PyBUF_WRITABLE)
            if self.lent.len != sizeof(int64_t) or <size_t>self.lent.buf % sizeof(int64_t) != 0:
                raise ValueError(f"memory must be 8 bytes, aligned to 8, was {self.lent.len} bytes")
            self.newest = <int64_t *>self.lent.buf
        if last > nk_nonce_read(self.newest):
            nk_nonce_take(self.newest, last - 1, 0, &taken)

    def __dealloc__(self):
        PyBuffer_Release(&self.lent)

    @property
    def last(self):
        """The newest nonce that was taken; 0 before the first."""
        return nk_nonce_read(self.newest)

    cdef int64_t take(self, int64_t above, int64_t now_ns) except -1:
        cdef timespec now
        cdef int64_t nonce
        if now_ns < 0:
            if timespec_get(&now, TIME_UTC) != TIME_UTC:
                raise OSError("the operating system gives no time")
        else:
            now.tv_sec = now_ns // NS_PER_SECOND
            now.tv_nsec = now_ns % NS_PER_SECOND
        # Below 2^63 for any clock before the year 2262, which nanoseconds in 64 bits end with.
        nonce = now.tv_sec * self.multiplier + now.tv_nsec * self.multiplier // NS_PER_SECOND
        if nk_nonce_take(self.newest, above, nonce, &nonce) != NK_OK:
            raise OverflowError("no nonce is left: the last one was 2**63 - 1")
        return nonce

    def next(self, above=0, now_ns=None):
        """Return a nonce larger than all before it.

        Parameters
        ----------
        above : int
            It is larger than this, too.
        now_ns : int, optional
            Unix time in nanoseconds, not negative; the machine's clock by default.

        Raises
        ------
        ValueError
            `now_ns` is negative.
        OverflowError
            The last nonce was the largest of 64 bits.
        """
        cdef int64_t given_ns = -1
        if now_ns is not None:
            given_ns = integer_of(now_ns)
            if given_ns < 0:
                raise ValueError(f"now_ns must not be negative, was {given_ns}")
        return self.take(integer_of(above), given_ns)

    def __repr__(self):
        return f"NonceSource(multiplier={self.multiplier}, last={self.last})"


@cython.final
cdef class Signer:
    """Signs with one key; holds the secret only as the two hashed pads of HMAC.

    Neither `repr` nor an error shows the secret, it cannot be pickled or copied, and the pads are
    overwritten when the object dies.

    Parameters
    ----------
    api_key : str
        The public key as shown by the exchange; ASCII.
    api_secret : str or bytes
        The private key; ASCII.
    nonces : NonceSource, optional
        Where nonces come from when a call gives none. Signers of one key must share one.

    Raises
    ------
    ValueError
        The key or the secret is empty or not ASCII.

    Examples
    --------
    >>> signer = Signer("key", "secret")
    >>> signer.headers("https://api.nonkyc.io/api/v2/balances", nonce=1)["X-API-SIGN"][:16]
    '193e14e04d9540b5'
    """

    def __cinit__(
        self, str api_key not None, api_secret not None, *, NonceSource nonces=None
    ):
        cdef size_t size = 0
        cdef const uint8_t *secret
        ascii_of(api_key, "api_key", &size)
        secret = ascii_of(api_secret, "api_secret", &size)
        nk_hmac_prepare(&self.key, ENGINE, secret, size)
        self.api_key = api_key
        self.nonces = NonceSource() if nonces is None else nonces

    def __dealloc__(self):
        nk_wipe(&self.key, sizeof(self.key))
        nk_wipe(self.prefixes, sizeof(self.prefixes))

    # The first `constant` bytes, key and URL, are what other messages begin with, too: the state
    # after their first block is kept, which saves one compression in five.
    cdef str sign_message(self, const uint8_t *message, size_t size, size_t constant):
        cdef nk_sha256_state state = self.key.inner
        cdef size_t skip = 0
        cdef Prefix *prefix
        cdef uint64_t ending
        cdef str signature
        if constant >= NK_SHA256_BLOCK_BYTES:
            skip = NK_SHA256_BLOCK_BYTES
            # The end of the block tells endpoints apart, so it chooses the place.
            memcpy(&ending, message + NK_SHA256_BLOCK_BYTES - sizeof(ending), sizeof(ending))
            prefix = &self.prefixes[ending * <uint64_t>0x9E3779B97F4A7C15 >> 64 - PREFIX_BITS]
            if not prefix.is_set or memcmp(prefix.block, message, NK_SHA256_BLOCK_BYTES) != 0:
                self.key.engine.compress(&state, message, 1)
                prefix.state = state
                memcpy(prefix.block, message, NK_SHA256_BLOCK_BYTES)
                prefix.is_set = True
            state = prefix.state
        # The text is made first: the processor does that while the hash is still under way.
        signature = PyUnicode_New(NK_SHA256_HEX_BYTES, 127)
        nk_hmac_finish(&self.key, &state, skip, message + skip, size - skip)
        self.key.engine.write_hex(&state, <char *>PyUnicode_DATA(signature))
        return signature

    def sign(self, bytes message not None):
        """Return the HMAC-SHA256 of a message as 64 lower-case hexadecimal digits."""
        return self.sign_message(
            <const uint8_t *>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), 0
        )

    def headers(self, url, bytes body not None=b"", nonce=None):
        """Return the three headers that authenticate one REST request.

        Parameters
        ----------
        url : str or bytes
            The absolute URL with its query, byte for byte as sent: ``%2F`` and ``/`` sign
            differently.
        body : bytes
            The body byte for byte as sent; empty for GET.
        nonce : int, optional
            Positive and larger than any used before; the next of `nonces` by default.

        Returns
        -------
        dict of str to str
            ``X-API-KEY``, ``X-API-NONCE`` and ``X-API-SIGN``.

        Raises
        ------
        ValueError
            `url` is empty or not ASCII (percent-encode it), or `nonce` is not positive.
        """
        cdef uint8_t stack[STACK_BYTES]
        cdef uint8_t *message = stack
        cdef uint8_t *end
        cdef char digits[32]
        cdef size_t url_size = 0
        cdef const uint8_t *url_text = ascii_of(url, "url", &url_size)
        cdef size_t key_size = PyUnicode_GET_LENGTH(self.api_key)
        cdef size_t body_size = PyBytes_GET_SIZE(body)
        cdef size_t nonce_size, size
        cdef int64_t number
        cdef str nonce_text, signature
        number = self.nonces.take(0, -1) if nonce is None else integer_of(nonce)
        if number <= 0:
            raise ValueError(f"nonce must be positive, was {number}")
        nonce_size = nk_fixed_format(number, 0, digits)
        size = key_size + url_size + body_size + nonce_size
        if size > STACK_BYTES:
            message = <uint8_t *>PyMem_Malloc(size)
            if message == NULL:
                raise MemoryError(f"cannot allocate {size} bytes for a message to sign")
        try:
            end = message
            memcpy(end, PyUnicode_DATA(self.api_key), key_size)
            end += key_size
            memcpy(end, url_text, url_size)
            end += url_size
            memcpy(end, PyBytes_AS_STRING(body), body_size)
            end += body_size
            memcpy(end, digits, nonce_size)
            signature = self.sign_message(message, size, key_size + url_size)
        finally:
            if message != stack:
                PyMem_Free(message)
        nonce_text = PyUnicode_New(nonce_size, 127)
        memcpy(PyUnicode_DATA(nonce_text), digits, nonce_size)
        return {
            "X-API-KEY": self.api_key,
            "X-API-NONCE": nonce_text,
            "X-API-SIGN": signature,
        }

    def login(self, str nonce=None):
        """Return the parameters of the WebSocket ``login`` call.

        Parameters
        ----------
        nonce : str, optional
            ASCII; 14 random characters by default.

        Returns
        -------
        dict of str to str
            ``algo`` (``HS256``), ``pKey``, ``nonce`` and ``signature``.

        Raises
        ------
        ValueError
            `nonce` is empty or not ASCII.
        """
        cdef size_t size = 0
        cdef const uint8_t *text
        if nonce is None:
            nonce = "".join(
                [LOGIN_NONCE_ALPHABET[byte & 31] for byte in urandom(LOGIN_NONCE_CHARACTERS)]
            )
        text = ascii_of(nonce, "nonce", &size)
        return {
            "algo": "HS256",
            "pKey": self.api_key,
            "nonce": nonce,
            "signature": self.sign_message(text, size, 0),
        }

    def __repr__(self):
        return f"Signer(api_key={self.api_key[:4] + '...'!r})"

    def __reduce__(self):
        raise TypeError("a Signer holds a secret and is neither pickled nor copied")
