"""What happens to a WebSocket frame the moment it arrives.

Two listeners of one behaviour: the compiled one in `nkfast.client._picows` reads the payload
straight from the socket's buffer; `PythonListener` works wherever the compiled one cannot load.
`Listener` is the better of the two here. Market data goes to the core's decoder, and Python hears
of it once per burst and market; everything else goes to the sink as bytes.
"""

import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from nkfast.client.assembly import FRAGMENTS_MAX, MESSAGE_BYTES_MAX, FrameAssembler, Sink, Tap
from nkfast.core.frame import FrameDecoder, FrameKind

__all__ = ["Listener", "PythonListener"]

# Looking a member up in its enumeration costs more than all the rest of `_text`.
_TEXT = WSMsgType.TEXT
_SNAPSHOT, _UPDATE, _GAP = FrameKind.SNAPSHOT, FrameKind.UPDATE, FrameKind.GAP
_STALE, _REJECTED = FrameKind.STALE, FrameKind.REJECTED
_TO_SINK = frozenset(
    {FrameKind.OTHER, FrameKind.TRADES, FrameKind.TICKER, FrameKind.UNKNOWN_MARKET}
)


class PythonListener(WSListener):
    """Takes frames from picows. See the module.

    Parameters
    ----------
    sink : Sink
    decoder : FrameDecoder or None
        None hands every text message to the sink.
    tap : callable or None
        Called with receive time and bytes of every text message, before anything else.
    clock_ns : callable
        Monotonic nanoseconds; read once per burst.
    message_bytes_max, fragments_max : int
        A fragmented message beyond either closes the connection.

    Attributes
    ----------
    book_callback : callable or None
        Called instead of the sink's ``on_book``, which saves a call on the way from a tick to an
        order; the sink gets what it returns or raises.
    wants_books : bool
        Whether order-book messages go to the sink as well, after the decoder has had them.
    is_writable : bool
        False while the socket takes no more, because the venue does not read.
    frame_count, byte_count : int
        Frames and payload bytes received.
    binary_count : int
        Binary messages, which are ignored.
    """

    def __init__(
        self,
        sink: Sink,
        decoder: FrameDecoder | None = None,
        tap: Tap | None = None,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        fragments_max: int = FRAGMENTS_MAX,
    ) -> None:
        self._sink = sink
        self._decoder = decoder
        self._tap = tap
        self._clock_ns = clock_ns
        self._assembler = FrameAssembler(sink, message_bytes_max, fragments_max)
        self._burst_ns = 0
        self._changed: dict[int, None] = {}
        self.book_callback: Callable[[int, int], object] | None = None
        self.wants_books = False
        self.is_writable = True
        self.frame_count = 0
        self.byte_count = 0

    @property
    def binary_count(self) -> int:
        return self._assembler.binary_count

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._sink.on_connected(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._sink.on_disconnected(transport)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if not self._burst_ns:
            self._burst_ns = self._clock_ns()
        self.frame_count += 1
        self.byte_count += frame.payload_size
        is_whole = frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        if is_whole and self._assembler.is_plain and frame.msg_type == _TEXT:
            self._text(frame.get_payload_as_memoryview())
        else:
            message = self._assembler.take(transport, frame)
            if message is not None:
                self._text(message)
        if frame.last_in_buffer:
            self._flush(transport)

    def _text(self, payload: bytes | memoryview) -> None:
        if self._tap is not None:
            self._tap(self._burst_ns, bytes(payload))
        if self._decoder is None:
            self._sink.on_message(bytes(payload), self._burst_ns)
            return
        event = self._decoder.feed(payload, self._burst_ns)
        kind, index = event.kind, event.market_index
        if kind in _TO_SINK or (self.wants_books and kind is not _REJECTED):
            self._sink.on_message(bytes(payload), self._burst_ns)
        if kind is _UPDATE:
            self._changed[index] = None
        elif kind is _SNAPSHOT:
            self._changed[index] = None
            self._sink.on_snapshot(index)
        elif kind is _GAP:
            self._changed[index] = None
            self._sink.on_gap(index)
        elif kind is _STALE:
            self._sink.on_gap(index)
        elif kind is _REJECTED:
            self._sink.on_rejected()

    def _flush(self, transport: WSTransport) -> None:
        received_ns, self._burst_ns = self._burst_ns, 0
        if self._changed:
            changed, self._changed = self._changed, {}
            for index in changed:
                self._tell_book(index, received_ns)
        self._assembler.end_of_burst(transport)

    def _tell_book(self, index: int, received_ns: int) -> None:
        if self.book_callback is None:
            self._sink.on_book(index, received_ns)
            return
        try:
            result = self.book_callback(index, received_ns)
        except Exception as error:
            self._sink.on_book_called(index, None, error)
        else:
            if result is not None:
                self._sink.on_book_called(index, result, None)


if TYPE_CHECKING:
    Listener = PythonListener
else:
    try:
        # picows promises no ABI: a listener that was compiled against another layout of its frames
        # must not load, since it would read a wrong pointer (Cython then only warns).
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            from nkfast.client._picows import Listener
    except (ImportError, AttributeError, ValueError, RuntimeWarning):
        Listener = PythonListener
