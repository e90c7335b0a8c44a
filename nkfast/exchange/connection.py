"""One TCP connection to the exchange: HTTP requests, and frames once it became a WebSocket.

It moves bytes and knows what is malformed; what is answered is decided by the `House` behind it.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Final, Protocol, cast

from nkfast.errors import WireError
from nkfast.wire.request import HttpRequest, RequestReader, encode_response
from nkfast.wire.websocket import CloseCode, FrameReader, Opcode, accept_key, encode_frame

__all__ = ["Connection", "House"]

#: Of one HTTP body, and of one WebSocket message.
MESSAGE_BYTES_MAX: Final = 1 << 20
#: What may wait to be read while a request is being answered.
_WAITING_BYTES_MAX: Final = 1 << 18
#: How long a client may take to answer a close frame, or to read a refusal.
_CLOSE_TIMEOUT_S: Final = 1.0


class House(Protocol):
    """Who answers."""

    def on_request(self, connection: "Connection", request: HttpRequest) -> None:
        """Answer a request, now or later: by `respond`, `accept`, `cut_off` or `reset`."""

    def on_malformed(self, connection: "Connection", status: int, description: str) -> None:
        """Answer, by `respond`, what is no request."""

    def on_frame(self, connection: "Connection", frame: bytes) -> None:
        """Take a text of a WebSocket."""

    def on_end(self, connection: "Connection") -> None:
        """Take note that there is nobody any more."""


class Connection(asyncio.Protocol):
    """One client's connection.

    Parameters
    ----------
    house : House
    outbound_bytes_max : int
        What may wait for the reader of a WebSocket; one who falls behind further is cut off.
    ping_interval_s : float
        Between the pings of a WebSocket; who is silent for half of it after one is gone.

    Attributes
    ----------
    remote : str
        The client's address.
    """

    def __init__(self, house: House, *, outbound_bytes_max: int, ping_interval_s: float) -> None:
        self.remote = ""
        self._house = house
        self._outbound_bytes_max = outbound_bytes_max
        self._ping_interval_s = ping_interval_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._requests = RequestReader(MESSAGE_BYTES_MAX)
        self._frames: FrameReader | None = None
        self._asked: HttpRequest | None = None  # what is being answered
        self._is_reading = False
        self._is_full = False
        self._is_deaf = False  # whatever comes is nothing to us any more
        self._outbound: list[bytes] = []
        self._outbound_bytes = 0
        self._is_silent = False  # since the last ping
        self._timer: asyncio.TimerHandle | None = None
        self._end: asyncio.Future[None] | None = None

    # From the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # Those of uvloop are no subclass of what they implement.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.remote = str(peer[0]) if peer else ""

    def data_received(self, data: bytes) -> None:
        """Answer what is there as a whole."""
        self._is_silent = False
        if self._is_deaf:
            return
        if self._frames is None:
            self._requests.feed(data)
            self._read_requests()
        else:
            self._frames.feed(data)
            self._read_frames()

    def pause_writing(self) -> None:
        """Answer no further requests of somebody who does not read."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        self._read_requests()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._transport = None
        self._is_deaf = True
        self._forget()
        self._stop_timer()
        if self._end is not None and not self._end.done():
            self._end.set_result(None)
        self._house.on_end(self)

    # HTTP.

    def _read_requests(self) -> None:
        if self._is_reading:
            return
        self._is_reading = True
        try:
            while not (self._is_deaf or self._is_full or self._asked or self._frames):
                request = self._requests.next_request()
                if request is None:
                    break
                self._asked = request
                self._house.on_request(self, request)
        except WireError as error:
            self._house.on_malformed(self, 413 if self._requests.is_too_long else 400, str(error))
        finally:
            self._is_reading = False
        transport = self._transport
        if transport is None or self._frames is not None:
            return
        if self._requests.waits:
            self._requests.waits = False
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._requests.size > _WAITING_BYTES_MAX and (self._asked or self._is_full):
            transport.pause_reading()
        else:
            transport.resume_reading()

    def respond(
        self, status: int, body: bytes, headers: Mapping[str, str], *, is_cut: bool = False
    ) -> None:
        """Answer the request; with half an answer and then an end, if it is cut."""
        transport, asked = self._transport, self._asked
        self._asked = None
        if transport is None or self._is_deaf:
            return
        may_reuse = asked is not None and asked.may_reuse
        if not may_reuse:
            headers = {**headers, "Connection": "close"}
        has_body = asked is None or asked.method != "HEAD"
        data = encode_response(status, body, headers, has_body=has_body)
        if is_cut:
            self._send_half(data[: len(data) - len(body) // 2])
            return
        transport.write(data)
        if may_reuse:
            self._read_requests()
        else:
            self._linger()

    def _linger(self) -> None:
        # Closed at once, what is still on its way here would make a reset, and the client might
        # never see the answer.
        transport = self._transport
        assert transport is not None
        self._is_deaf = True
        if transport.can_write_eof():
            transport.write_eof()
            self._stop_timer()
            self._timer = self._loop.call_later(_CLOSE_TIMEOUT_S, transport.close)
        else:
            transport.close()

    # WebSocket.

    def accept(self, key: str) -> None:
        """Answer the request by becoming a WebSocket."""
        if self._transport is None:
            return
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
        )
        self._transport.write(head.encode())
        self._transport.resume_reading()
        self._asked = None
        self._frames = FrameReader(MESSAGE_BYTES_MAX)
        self._timer = self._loop.call_later(self._ping_interval_s, self._ping)
        self._frames.feed(self._requests.rest())
        # Not now: whoever accepts has more to prepare.
        self._loop.call_soon(self._read_frames)

    def _read_frames(self) -> None:
        frames = self._frames
        assert frames is not None
        try:
            while not self._is_deaf:
                message = frames.next_message()
                if message is None:
                    break
                opcode, payload = message
                if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                    self._house.on_frame(self, payload)
                elif opcode is Opcode.PING:
                    self._send(encode_frame(Opcode.PONG, payload))
                elif opcode is Opcode.CLOSE:
                    self._send(encode_frame(Opcode.CLOSE, payload[:2]))
                    self._flush()
                    self._close()
        except WireError:
            self._send(encode_frame(Opcode.CLOSE, frames.close_code.to_bytes(2)))
            self._flush()
            self._linger()
        self._flush()

    @property
    def waiting_bytes(self) -> int:
        """What was not read yet."""
        if self._transport is None:
            return 0
        return self._outbound_bytes + self._transport.get_write_buffer_size()

    def put(self, frame: bytes, is_cut: bool) -> None:
        """Send a text, soon; half of it and then an end, if it is cut."""
        if self._is_deaf:
            return
        if is_cut:
            head = encode_frame(Opcode.TEXT, frame)
            self._send_half(head[: len(head) - len(frame) + len(frame) // 2])
            return
        self._send(encode_frame(Opcode.TEXT, frame))
        if self.waiting_bytes > self._outbound_bytes_max:
            self.reset()

    def _send(self, frame: bytes) -> None:
        # Everything that one turn of the loop says is one write.
        if not self._outbound:
            self._loop.call_soon(self._flush)
        self._outbound.append(frame)
        self._outbound_bytes += len(frame)

    def _flush(self) -> None:
        if self._outbound and self._transport is not None:
            self._transport.write(b"".join(self._outbound))
        self._forget()

    def _forget(self) -> None:
        self._outbound.clear()
        self._outbound_bytes = 0

    def _ping(self) -> None:
        self._is_silent = True
        self._send(encode_frame(Opcode.PING, b""))
        self._timer = self._loop.call_later(self._ping_interval_s / 2, self._expect_life)

    def _expect_life(self) -> None:
        if self._is_silent:
            self._close()
        else:
            self._timer = self._loop.call_later(self._ping_interval_s / 2, self._ping)

    # The end.

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _send_half(self, data: bytes) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.write(data)
        self._close()

    def _close(self) -> None:
        self._is_deaf = True
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Break off, and lose everything that was not read."""
        # Not closed but aborted: an orderly end would wait behind what was not read.
        self._is_deaf = True
        self._forget()
        transport = self._transport
        if transport is None:
            return
        connected = transport.get_extra_info("socket")
        if connected is not None:
            # With a linger of zero seconds the peer gets a reset and not an orderly end.
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()

    async def hang_up(self) -> None:
        """End in order when everything is sent; a client too slow for that is cut off."""
        if self._transport is None:
            return
        self._end = self._loop.create_future()
        if self._frames is None or self._is_deaf:
            self._close()
        else:
            self._send(encode_frame(Opcode.CLOSE, CloseCode.GOING_AWAY.to_bytes(2)))
            self._flush()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._end
        except TimeoutError:
            self.reset()
