"""The server's side of the WebSocket protocol (RFC 6455), without I/O; no extensions."""

import base64
import hashlib
from enum import IntEnum
from typing import Final, NamedTuple

from nkfast.errors import WireError

__all__ = ["CloseCode", "FrameReader", "Message", "Opcode", "accept_key", "encode_frame"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_CONTROL_BYTES_MAX: Final = 125


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """Why a server closes."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    TOO_BIG = 1009


class Message(NamedTuple):
    """A control frame, or a text or binary message put together from its frames."""

    opcode: Opcode
    payload: bytes


class FrameReader:
    """The frames of one client.

    Parameters
    ----------
    message_bytes_max : int
        A longer message is refused, as soon as that is known.

    Attributes
    ----------
    close_code : CloseCode
        What to close with after an error.
    """

    __slots__ = ("_buffer", "_message_bytes_max", "_opcode", "_parts", "_start", "close_code")

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._buffer = bytearray()
        self._start = 0  # of the next frame
        self._opcode = Opcode.CONTINUATION  # of the message whose frames come
        self._parts = bytearray()
        self.close_code = CloseCode.PROTOCOL_ERROR

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def next_message(self) -> Message | None:
        """Return the next message or control frame, None until it is there as a whole.

        Raises
        ------
        WireError
            The client breaks the protocol or the limit.
        """
        while True:
            frame = self._next_frame()
            if frame is None:
                return None
            first, payload = frame
            opcode = first & 0x0F
            if opcode >= Opcode.CLOSE:
                return Message(self._known(opcode), payload)
            if bool(opcode) == bool(self._opcode):
                raise WireError("a frame begins a message within another, or continues none")
            if first & _FINAL and opcode:
                return Message(self._known(opcode), payload)
            self._parts += payload
            if opcode:
                self._opcode = self._known(opcode)
            elif first & _FINAL:
                message = Message(self._opcode, bytes(self._parts))
                self._opcode = Opcode.CONTINUATION
                self._parts.clear()
                return message

    @staticmethod
    def _known(opcode: int) -> Opcode:
        try:
            return _OPCODES[opcode]
        except KeyError:
            raise WireError(f"no frame has the opcode {opcode}") from None

    def _next_frame(self) -> tuple[int, bytes] | None:
        buffer, at = self._buffer, self._start + 2
        if len(buffer) < at:
            return None
        first, second = buffer[at - 2], buffer[at - 1]
        if first & _RESERVED or not second & _MASKED:
            raise WireError("a client's frame has reserved bits or no mask")
        size = second & ~_MASKED
        if first & 0x0F >= Opcode.CLOSE and (size > _CONTROL_BYTES_MAX or not first & _FINAL):
            raise WireError("a control frame is long or in pieces")
        if size > _CONTROL_BYTES_MAX:
            width = 2 if size == 126 else 8
            if len(buffer) < at + width:
                return None
            size = int.from_bytes(buffer[at : at + width])
            at += width
        if len(self._parts) + size > self._message_bytes_max:
            self.close_code = CloseCode.TOO_BIG
            raise WireError(f"a message is longer than {self._message_bytes_max} bytes")
        end = at + 4 + size
        if len(buffer) < end:
            return None
        self._start = end
        return first, _unmasked(buffer[at : at + 4], buffer[at + 4 : end])


_OPCODES: Final = {opcode.value: opcode for opcode in Opcode}


def _unmasked(mask: bytearray, payload: bytearray) -> bytes:
    # As two numbers of many bytes: the whole payload in one operation.
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    both = int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")
    return both.to_bytes(size, "little")


def encode_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return a frame of a server, unmasked and in one piece."""
    size = len(payload)
    first = _FINAL | opcode
    if size >= 1 << 16:
        return bytes((first, 127)) + size.to_bytes(8) + payload
    if size > _CONTROL_BYTES_MAX:
        return bytes((first, 126, size >> 8, size & 255)) + payload
    return bytes((first, size)) + payload


def accept_key(key: str) -> str:
    """Return what ``Sec-WebSocket-Accept`` answers a ``Sec-WebSocket-Key`` with."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
