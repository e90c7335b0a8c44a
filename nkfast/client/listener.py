"""What happens to a WebSocket frame the moment it arrives.

Two listeners of one behaviour: the compiled one in `nkfast.client._picows` reads the payload
straight from the socket's buffer; `PythonListener` works wherever the compiled one cannot load.
`Listener` is the better of the two here. Market data goes to the core's decoder, and Python hears
of it once per burst and market; everything else goes to the sink as bytes.
"""

import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from nkfast.core.frame import FrameDecoder, FrameKind

__all__ = ["FRAGMENTS_MAX", "MESSAGE_BYTES_MAX", "Listener", "PythonListener", "Sink"]

#: A longer message closes the connection; the longest seen is the market list with more than 1 MB.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
#: More fragments than this for one message are an attack or a fault.
FRAGMENTS_MAX = 4096

Tap = Callable[[int, bytes], object]


class Sink(Protocol):
    """What a listener tells, always on the loop's thread and never re-entrantly.

    An exception from any of these is a fault of the sink and closes the connection.
    """

    def on_connected(self, transport: WSTransport) -> None:
        """Say that the socket is open."""

    def on_disconnected(self, transport: WSTransport) -> None:
        """Say that the socket is gone."""

    def on_message(self, payload: bytes, received_ns: int) -> None:
        """Hand a text message over that is not an order book of a known market."""

    def on_snapshot(self, market_index: int) -> None:
        """Say that a whole book arrived."""

    def on_gap(self, market_index: int) -> None:
        """Say that a book is stale and needs a new snapshot."""

    def on_book(self, market_index: int, received_ns: int) -> None:
        """Say that a book changed, once per burst of frames."""

    def on_pong(self) -> None:
        """Say that the venue answered a ping."""

    def on_close(self, code: int, reason: str) -> None:
        """Say that the venue is closing the connection; 0 when it gave no code."""

    def on_protocol_error(self, reason: str) -> None:
        """Say that the connection is being closed because the venue broke the protocol."""


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
    wants_books : bool
        Whether order-book messages go to the sink as well, after the decoder has had them.
    is_writable : bool
        False while the socket takes no more, because the venue does not read.
    frame_count, byte_count, binary_count : int
        Frames and payload bytes received; binary messages, which are ignored.
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
        self._message_bytes_max = message_bytes_max
        self._fragments_max = fragments_max
        self._burst_ns = 0
        self._changed: dict[int, None] = {}
        self._fragments: bytearray | None = None
        self._fragment_count = 0
        self._ping: bytes | None = None
        self._is_closing = False
        self.is_writable = True
        self.wants_books = False
        self.frame_count = 0
        self.byte_count = 0
        self.binary_count = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._sink.on_connected(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._is_closing = True
        self._sink.on_disconnected(transport)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._is_closing:
            return
        if not self._burst_ns:
            self._burst_ns = self._clock_ns()
        self.frame_count += 1
        self.byte_count += frame.payload_size
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(transport, WSCloseCode.PROTOCOL_ERROR, "a reserved bit is set")
            return
        kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin and self._fragments is None:
            self._text(frame.get_payload_as_memoryview())
        else:
            self._other(transport, frame, kind)
        if frame.last_in_buffer:
            self._flush(transport)

    def _other(self, transport: WSTransport, frame: WSFrame, kind: WSMsgType) -> None:
        if kind == WSMsgType.PING:
            # One answer per burst, to the newest ping, is what RFC 6455 asks for.
            self._ping = frame.get_payload_as_bytes()
        elif kind == WSMsgType.PONG:
            self._sink.on_pong()
        elif kind == WSMsgType.CLOSE:
            # Read from the bytes: codes of 3000 and more are not in picows' enumeration.
            payload = frame.get_payload_as_bytes()
            self._is_closing = True
            self._sink.on_close(int.from_bytes(payload[:2]), payload[2:].decode("utf-8", "replace"))
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind == WSMsgType.BINARY and self._fragments is None:
            self.binary_count += 1
            if not frame.fin:
                self._fail(transport, WSCloseCode.UNSUPPORTED_DATA, "a fragmented binary message")
        else:
            self._fragment(transport, frame, kind)

    def _fragment(self, transport: WSTransport, frame: WSFrame, kind: WSMsgType) -> None:
        is_first = kind != WSMsgType.CONTINUATION
        if is_first != (self._fragments is None):
            self._fail(transport, WSCloseCode.PROTOCOL_ERROR, "fragments out of order")
            return
        if self._fragments is None:
            self._fragments = bytearray()
            self._fragment_count = 0
        self._fragment_count += 1
        if (
            self._fragment_count > self._fragments_max
            or len(self._fragments) + frame.payload_size > self._message_bytes_max
        ):
            self._fail(transport, WSCloseCode.MESSAGE_TOO_BIG, "a message of too many fragments")
            return
        self._fragments += frame.get_payload_as_memoryview()
        if frame.fin:
            message, self._fragments = bytes(self._fragments), None
            self._text(message)

    def _fail(self, transport: WSTransport, code: WSCloseCode, reason: str) -> None:
        self._is_closing = True
        self._sink.on_protocol_error(reason)
        transport.send_close(code)
        transport.disconnect()

    def _text(self, payload: Any) -> None:
        if self._tap is not None:
            self._tap(self._burst_ns, bytes(payload))
        decoder = self._decoder
        if decoder is None:
            self._sink.on_message(bytes(payload), self._burst_ns)
            return
        event = decoder.feed(payload, self._burst_ns)
        kind = event.kind
        if kind in _TO_SINK or (self.wants_books and kind != FrameKind.REJECTED):
            self._sink.on_message(bytes(payload), self._burst_ns)
        if kind == FrameKind.UPDATE:
            self._changed[event.market_index] = None
        elif kind == FrameKind.SNAPSHOT:
            self._changed[event.market_index] = None
            self._sink.on_snapshot(event.market_index)
        elif kind == FrameKind.GAP:
            self._changed[event.market_index] = None
            self._sink.on_gap(event.market_index)
        elif kind == FrameKind.STALE:
            self._sink.on_gap(event.market_index)

    def _flush(self, transport: WSTransport) -> None:
        received_ns, self._burst_ns = self._burst_ns, 0
        if self._changed:
            changed, self._changed = self._changed, {}
            for index in changed:
                self._sink.on_book(index, received_ns)
        if self._ping is not None and not self._is_closing:
            payload, self._ping = self._ping, None
            transport.send_pong(payload)


_TO_SINK = frozenset(
    {FrameKind.OTHER, FrameKind.TRADES, FrameKind.TICKER, FrameKind.UNKNOWN_MARKET}
)

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
