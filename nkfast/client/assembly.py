"""Everything about WebSocket frames but the common case, for both listeners.

The common case is a whole text message in one frame. The rest, control frames, fragments, and what
breaks the protocol, is rare and needs no speed.
"""

from collections.abc import Callable
from typing import Protocol

from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport

__all__ = ["FRAGMENTS_MAX", "MESSAGE_BYTES_MAX", "FrameAssembler", "Sink", "Tap"]

#: A longer message closes the connection; the longest seen is the market list with more than 1 MB.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
#: More fragments than this for one message are an attack or a fault.
FRAGMENTS_MAX = 4096

#: Close codes that only ever describe what happened (RFC 6455, 7.4.1); picows knows the others.
_NEVER_SENT = (0, 1005, 1006)

#: Called with receive time and bytes of every text message, before anything else.
Tap = Callable[[int, bytes], object]


class Sink(Protocol):
    """What a listener tells, always on the loop's thread.

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
        """Say that a book is not live and needs a new snapshot."""

    def on_rejected(self) -> None:
        """Say that the decoder refused a malformed message."""

    def on_book(self, market_index: int, received_ns: int) -> None:
        """Say that a book changed, once per burst of frames."""

    def on_book_called(self, market_index: int, result: object, error: Exception | None) -> None:
        """Hand over what the listener's ``book_callback`` returned, unless None, or raised."""

    def on_pong(self) -> None:
        """Say that the venue answered a ping."""

    def on_close(self, code: int, reason: str) -> None:
        """Say that the venue is closing the connection; 0 when it gave no code."""

    def on_protocol_error(self, reason: str) -> None:
        """Say that the connection is being closed because the venue broke the protocol."""


class FrameAssembler:
    """Puts messages together, answers control frames, ends connections that break the protocol.

    Parameters
    ----------
    sink : Sink
    message_bytes_max, fragments_max : int
        A fragmented message beyond either closes the connection.

    Attributes
    ----------
    is_plain : bool
        Whether a whole text frame may be taken as a message as it is: no message of fragments is
        open and the connection is not closing.
    binary_count : int
        Binary messages, which are ignored.
    """

    def __init__(
        self,
        sink: Sink,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        fragments_max: int = FRAGMENTS_MAX,
    ) -> None:
        self._sink = sink
        self._message_bytes_max = message_bytes_max
        self._fragments_max = fragments_max
        self._fragments: bytearray | None = None
        self._fragment_count = 0
        self._ping: bytes | None = None
        self._is_closing = False
        self.is_plain = True
        self.binary_count = 0

    def take(self, transport: WSTransport, frame: WSFrame) -> bytes | None:
        """Take a frame of any kind; return the message that it completes, if it does."""
        if self._is_closing:
            return None
        message = None
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(transport, WSCloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        elif kind == WSMsgType.PING:
            self._ping = frame.get_payload_as_bytes()
        elif kind == WSMsgType.PONG:
            self._sink.on_pong()
        elif kind == WSMsgType.CLOSE:
            self._close(transport, frame.get_payload_as_bytes())
        elif kind == WSMsgType.BINARY and self._fragments is None:
            self.binary_count += 1
            if not frame.fin:
                self._fail(transport, WSCloseCode.UNSUPPORTED_DATA, "a binary message in fragments")
        else:
            message = self._fragment(transport, frame, is_first=kind != WSMsgType.CONTINUATION)
        self.is_plain = self._fragments is None and not self._is_closing
        return message

    def end_of_burst(self, transport: WSTransport) -> None:
        """Answer pings: only the newest of a burst, as RFC 6455 allows."""
        if self._ping is not None and not self._is_closing:
            payload, self._ping = self._ping, None
            transport.send_pong(payload)

    def _fragment(self, transport: WSTransport, frame: WSFrame, is_first: bool) -> bytes | None:
        if is_first != (self._fragments is None):
            self._fail(transport, WSCloseCode.PROTOCOL_ERROR, "fragments out of order")
            return None
        if self._fragments is None:
            self._fragments = bytearray()
            self._fragment_count = 0
        self._fragment_count += 1
        size = len(self._fragments) + frame.payload_size
        if self._fragment_count > self._fragments_max or size > self._message_bytes_max:
            self._fail(transport, WSCloseCode.MESSAGE_TOO_BIG, "a message of too many fragments")
            return None
        self._fragments += frame.get_payload_as_memoryview()
        if not frame.fin:
            return None
        message, self._fragments = bytes(self._fragments), None
        return message

    def _close(self, transport: WSTransport, payload: bytes) -> None:
        # Read from the bytes: codes of 3000 and more are not in picows' enumeration.
        code = int.from_bytes(payload[:2])
        if payload and code in _NEVER_SENT:
            self._fail(transport, WSCloseCode.PROTOCOL_ERROR, f"close code {code} was sent")
            return
        self._is_closing = True
        self._sink.on_close(code, payload[2:].decode("utf-8", "replace"))
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()

    def _fail(self, transport: WSTransport, code: WSCloseCode, reason: str) -> None:
        self._is_closing = True
        self._sink.on_protocol_error(reason)
        transport.send_close(code)
        transport.disconnect()
