from libc.stdint cimport int64_t


cdef extern from "nk_bucket.h":
    ctypedef struct nk_rate:
        int64_t interval_ns
        int64_t burst_ns
        int64_t horizon_ns

    int64_t nk_bucket_reserve(int64_t *full_at, const nk_rate *rate, int64_t now_ns) noexcept nogil
    int64_t nk_bucket_take(int64_t *full_at, const nk_rate *rate, int64_t now_ns) noexcept nogil
    int64_t nk_bucket_ready(
        const int64_t *full_at, const nk_rate *rate, int64_t now_ns
    ) noexcept nogil
    void nk_bucket_delay(
        int64_t *time, int64_t until_ns, int64_t now_ns, int64_t horizon_ns
    ) noexcept nogil
    int64_t nk_bucket_read(
        const int64_t *time, int64_t now_ns, int64_t horizon_ns
    ) noexcept nogil


cdef class TokenBucket:
    cdef int64_t *times  # when it is full again, until when it is closed: `own`, or `lent`
    cdef int64_t own[2]
    cdef Py_buffer lent  # held as long as the object
    cdef nk_rate rate
