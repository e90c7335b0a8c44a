"""Stands between traders and an exchange, and keeps every byte that a trader sends."""

import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from nkfast.errors import WireError
from nkfast.wire.request import RequestReader
from nkfast.wire.websocket import FrameReader

_ID = re.compile(rb'"userProvidedId"\s*:\s*"([^"]+)"')
#: With a linger of zero seconds the end of a connection is a reset.
_RESET = struct.pack("ii", 1, 0)
_BYTES_MAX = 1 << 22
_END_S = 10.0


class WireTap:
    """Forwards TCP connections to a port of this machine.

    Attributes
    ----------
    port : int
        Where it listens.
    """

    def __init__(self, exchange_port: int) -> None:
        self._exchange = ("127.0.0.1", exchange_port)
        self._sent: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """Stop; both ends of every connection must have ended."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(_END_S)

    def orders(self) -> "Counter[str]":
        """Count on how many wires each order was sent, and how often; half a request counts."""
        found: Counter[str] = Counter()
        for sent in self._sent:
            for message in _messages(bytes(sent)):
                found.update(match.decode() for match in _ID.findall(message))
        return found

    def _start(self, target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            sent = bytearray()
            self._sent.append(sent)
            self._start(self._carry, client, sent)

    def _carry(self, client: socket.socket, sent: bytearray) -> None:
        with client, socket.create_connection(self._exchange) as exchange:
            back = self._start(_pump, exchange, client, bytearray())
            _pump(client, exchange, sent)
            back.join()


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    try:
        while data := source.recv(1 << 16):
            kept += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)


def _messages(sent: bytes) -> list[bytes]:
    """Return what one client sent: the bodies of HTTP requests, or the orders of a WebSocket."""
    requests = RequestReader(_BYTES_MAX)
    requests.feed(sent)
    request = requests.next_request()
    if request is None or "upgrade" not in request.headers.get("connection", "").lower():
        return [sent]  # nothing is masked, and half a request is a part of it
    frames = FrameReader(_BYTES_MAX)
    frames.feed(requests.rest())
    found = []
    with suppress(WireError):  # killed in the middle of one
        while (message := frames.next_message()) is not None:
            if b'"newOrder"' in message.payload:
                found.append(message.payload)
    return found
