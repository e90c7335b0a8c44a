"""A token bucket in memory that threads and processes may share: at most so many a second."""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t

__all__ = ["TokenBucket"]

cdef int64_t NS_PER_SECOND = 1_000_000_000
cdef int64_t HORIZON_NS = 3600 * NS_PER_SECOND
cdef double BURST_SECONDS_MAX = 1e9
cdef double PER_SECOND_MAX = 1e9


@cython.final
cdef class TokenBucket:
    """Gives so many tokens a second, and some at once after a pause.

    It reads no clock. There is no lock: a process that is stopped or dies is in nobody's way.

    Parameters
    ----------
    per_second : float
        Tokens a second, above 0 and at most 1e9.
    burst : int
        Tokens of a full bucket, at least 1.
    memory : bytearray or memoryview, optional
        16 writable bytes, aligned to 8, zeros at first, that are kept as long as the bucket.
        Buckets of one rate share tokens by sharing them. By default it has memory of its own.

    Raises
    ------
    ValueError
        A number is out of range, or `memory` has another size or place.
    BufferError
        `memory` cannot be written to.

    Notes
    -----
    Times are nanoseconds of one clock, the same for all who share the memory. A time that lies
    more than an hour beyond what a full bucket takes is of another clock, one that began again
    with the machine, and is not believed.
    """

    def __cinit__(self, double per_second, int64_t burst, *, memory=None):
        if not 0 < per_second <= PER_SECOND_MAX:
            raise ValueError(f"per_second must be above 0 and at most 1e9, was {per_second}")
        if burst < 1 or burst / per_second > BURST_SECONDS_MAX:
            raise ValueError(f"burst must be at least 1 and filled in 1e9 s, was {burst}")
        self.rate.interval_ns = max(<int64_t>(NS_PER_SECOND / per_second), 1)
        self.rate.burst_ns = self.rate.interval_ns * burst
        self.rate.horizon_ns = self.rate.burst_ns + HORIZON_NS
        self.times = self.own
        if memory is not None:
            PyObject_GetBuffer(memory, &self.lent, PyBUF_WRITABLE)
            if self.lent.len != sizeof(self.own) or <size_t>self.lent.buf % sizeof(int64_t) != 0:
                raise ValueError(
                    f"memory must be 16 bytes, aligned to 8, was {self.lent.len} bytes"
                )
            self.times = <int64_t *>self.lent.buf

    def __dealloc__(self):
        PyBuffer_Release(&self.lent)

    def reserve(self, int64_t now_ns):
        """Take a token, in advance when there is none; return the time from which it may be used.

        Whoever comes next is behind.
        """
        return nk_bucket_reserve(&self.times[0], &self.rate, now_ns)

    def take(self, int64_t now_ns):
        """Take a token if there is one; return the time at which there is: now, if it was taken."""
        return nk_bucket_take(&self.times[0], &self.rate, now_ns)

    def ready(self, int64_t now_ns):
        """Return the time from which there is a token, and take none."""
        return nk_bucket_ready(&self.times[0], &self.rate, now_ns)

    def pause(self, int64_t until_ns, int64_t now_ns):
        """Ask everybody to use no token before a time; one that is later already stays."""
        nk_bucket_delay(&self.times[1], until_ns, now_ns, self.rate.horizon_ns)

    def paused_until(self, int64_t now_ns):
        """Return the time before which no token may be used; it may be over."""
        return nk_bucket_read(&self.times[1], now_ns, self.rate.horizon_ns)
