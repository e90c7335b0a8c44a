"""The listener that reads each payload where the socket left it.

The only file that cimports picows, whose .pxd is an ABI: import `Listener` from
`nkfast.client.listener`, which falls back to Python when the layouts do not match.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint8_t
from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

from nkfast.core.frame cimport (
    FRAME_GAP,
    FRAME_OTHER,
    FRAME_REJECTED,
    FRAME_SNAPSHOT,
    FRAME_STALE,
    FRAME_TICKER,
    FRAME_TRADES,
    FRAME_UNKNOWN_MARKET,
    FRAME_UPDATE,
    FrameCode,
    FrameDecoder,
    FrameEvent,
)

import time

from nkfast.client import assembly


@cython.final
@cython.auto_pickle(False)
cdef class Listener(WSListener):
    """Takes frames from picows; the compiled twin of `PythonListener`, which describes it."""

    cdef object sink
    cdef FrameDecoder decoder
    cdef object tap
    cdef object clock_ns
    cdef object assembler
    cdef int64_t burst_ns  # receive time of the burst, 0 between bursts
    cdef int32_t *changed  # owned; indices of the markets that this burst changed
    cdef uint8_t *is_changed  # owned; one flag for each market
    cdef Py_ssize_t changed_count
    cdef bint is_plain  # copy of the assembler's
    cdef bint was_taken  # by the assembler, in this burst: it may have to answer
    cdef public object book_callback  # instead of the sink's on_book
    cdef public bint wants_books
    cdef public bint is_writable
    cdef public int64_t frame_count
    cdef public int64_t byte_count

    def __cinit__(
        self,
        sink not None,
        FrameDecoder decoder=None,
        tap=None,
        clock_ns=time.perf_counter_ns,
        *,
        message_bytes_max=assembly.MESSAGE_BYTES_MAX,
        fragments_max=assembly.FRAGMENTS_MAX,
    ):
        cdef Py_ssize_t market_count = 0 if decoder is None else len(decoder.markets)
        self.sink = sink
        self.decoder = decoder
        self.tap = tap
        self.clock_ns = clock_ns
        self.assembler = assembly.FrameAssembler(sink, message_bytes_max, fragments_max)
        self.is_plain = True
        self.is_writable = True
        self.changed = <int32_t *>PyMem_Calloc(market_count + 1, sizeof(int32_t))
        self.is_changed = <uint8_t *>PyMem_Calloc(market_count + 1, sizeof(uint8_t))
        if self.changed == NULL or self.is_changed == NULL:
            raise MemoryError(f"no memory for {market_count} markets")

    def __dealloc__(self):
        PyMem_Free(self.changed)
        PyMem_Free(self.is_changed)

    @property
    def binary_count(self):
        """Binary messages, which are ignored."""
        return self.assembler.binary_count

    cpdef on_ws_connected(self, WSTransport transport):
        self.sink.on_connected(transport)

    cpdef on_ws_disconnected(self, WSTransport transport):
        self.sink.on_disconnected(transport)

    cpdef pause_writing(self):
        self.is_writable = False

    cpdef resume_writing(self):
        self.is_writable = True

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        cdef bytes message
        if self.burst_ns == 0:
            self.burst_ns = self.clock_ns()
        self.frame_count += 1
        self.byte_count += frame.payload_size
        if (
            frame.msg_type == WSMsgType.TEXT
            and self.is_plain
            and frame.fin
            and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        ):
            self.text(frame.payload_ptr, frame.payload_size)
        else:
            self.was_taken = True
            message = self.assembler.take(transport, frame)
            self.is_plain = self.assembler.is_plain
            if message is not None:
                self.text(message, len(message))
        if frame.last_in_buffer:
            self.flush(transport)

    cdef int text(self, const char *payload, Py_ssize_t size) except -1:
        cdef FrameEvent event
        cdef FrameCode code
        if self.tap is not None:
            self.tap(self.burst_ns, PyBytes_FromStringAndSize(payload, size))
        if self.decoder is None:
            self.sink.on_message(PyBytes_FromStringAndSize(payload, size), self.burst_ns)
            return 0
        event = self.decoder.feed_raw(payload, <size_t>size, self.burst_ns)
        code = event.code
        if (
            code == FRAME_OTHER
            or code == FRAME_TRADES
            or code == FRAME_TICKER
            or code == FRAME_UNKNOWN_MARKET
            or (self.wants_books and code != FRAME_REJECTED)
        ):
            self.sink.on_message(PyBytes_FromStringAndSize(payload, size), self.burst_ns)
        if code == FRAME_UPDATE or code == FRAME_SNAPSHOT or code == FRAME_GAP:
            self.mark(event.market)
        if code == FRAME_SNAPSHOT:
            self.sink.on_snapshot(event.market)
        elif code == FRAME_GAP or code == FRAME_STALE:
            self.sink.on_gap(event.market)
        elif code == FRAME_REJECTED:
            self.sink.on_rejected()
        return 0

    cdef void mark(self, int32_t market) noexcept:
        if not self.is_changed[market]:
            self.is_changed[market] = 1
            self.changed[self.changed_count] = market
            self.changed_count += 1

    cdef int flush(self, WSTransport transport) except -1:
        cdef int64_t received_ns = self.burst_ns
        cdef Py_ssize_t count = self.changed_count
        cdef Py_ssize_t i
        self.burst_ns = 0
        if count:
            self.changed_count = 0
            for i in range(count):
                self.is_changed[self.changed[i]] = 0
            for i in range(count):
                self.tell_book(self.changed[i], received_ns)
        if self.was_taken:
            self.was_taken = False
            self.assembler.end_of_burst(transport)
        return 0

    cdef int tell_book(self, int32_t market, int64_t received_ns) except -1:
        if self.book_callback is None:
            self.sink.on_book(market, received_ns)
            return 0
        try:
            result = self.book_callback(market, received_ns)
        except Exception as error:
            self.sink.on_book_called(market, None, error)
        else:
            if result is not None:
                self.sink.on_book_called(market, result, None)
        return 0
