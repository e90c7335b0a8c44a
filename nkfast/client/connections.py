"""Blocking HTTP connections to one server, kept alive and used again.

urllib3 opens them: names and TLS. What goes over them is written and read here, because the bytes
that were signed must be the bytes that are sent, a request must be sent once, and the whole
response must be there before a deadline, however it trickles in.

urllib3's own pool and reading were measured in its place (urlopen without retries, json): 174 us a
request over loopback and 248 us over TLS, where aiohttp takes 116 and 193 us, and this with the
reply checked and typed 59 and 112 us. The goal is 1.2 times aiohttp.
"""

import socket
import time
from importlib import import_module

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import wait_for_read

from nkfast.client import rest_session
from nkfast.client.idle import IdleConnections
from nkfast.client.rest_session import Answer, Lost
from nkfast.client.roads import Request, Road
from nkfast.errors import WireError
from nkfast.wire.response import ResponseReader

__all__ = ["Connections"]

_RECEIVE_BYTES = 256 * 1024
#: An address of the server that does not answer leaves as much time for the next one.
_CONNECT_RATIO = 0.5


class Connections:
    """Connections to the server of a road; safe across threads.

    Parameters
    ----------
    road : Road
    """

    def __init__(self, road: Road) -> None:
        self._road = road
        self._idle: IdleConnections[_Connection] = IdleConnections(road.connections)

    def send(self, request: Request) -> Answer | Lost:
        """Send a request, once, and wait for the whole response."""
        deadline = time.monotonic() + self._road.timeout_seconds
        connection, generation = self._idle.take()
        is_sent = False
        reader = ResponseReader(rest_session.BODY_BYTES_MAX)
        try:
            if connection is None:
                connection = _Connection(self._open())
            packet = self._road.packet(request)
            sock = connection.socket
            sock.settimeout(_left(deadline))
            is_sent = True
            sent_ns = time.perf_counter_ns()
            sock.sendall(packet)
            while not reader.is_complete:
                sock.settimeout(_left(deadline))
                reader.feed(sock.recv(_RECEIVE_BYTES))
            received_ns = time.perf_counter_ns()
        except (HTTPError, WireError, OSError) as error:
            if connection is not None:
                connection.close()
            return Lost(self._road.explain(error, is_sent=is_sent), is_sent)
        except BaseException as error:
            # Interrupted half way: what comes on it later would be taken for another's answer.
            if connection is not None:
                connection.close()
            if is_sent and request.method == "POST":
                error.add_note(f"POST {request.target} was sent, and its outcome is unknown")
            raise
        if reader.may_reuse:
            self._idle.put(connection, generation)
        else:
            connection.close()
        return Answer.of(reader, sent_ns, received_ns)

    def retire(self) -> None:
        """Close what is idle, and later what is in use: none of it is used again."""
        self._idle.retire()

    def _open(self) -> socket.socket:
        road = self._road
        if road.tunnel is not None:
            # With what it imports it takes a tenth of a second to load.
            tunnels = import_module("nkfast.client.tunnels")
            sock: socket.socket = tunnels.open_socket(road)
            return sock
        seconds = road.timeout_seconds * _CONNECT_RATIO
        connection = (
            HTTPSConnection(road.host, road.port, timeout=seconds, ssl_context=road.ssl_context)
            if road.is_tls
            else HTTPConnection(road.host, road.port, timeout=seconds)
        )
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection.sock


class _Connection:
    __slots__ = ("socket",)

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    @property
    def is_usable(self) -> bool:
        # Also False when something came that nobody asked for.
        return not wait_for_read(self.socket, timeout=0.0)

    def close(self) -> None:
        self.socket.close()


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the response was not complete in time")
    return seconds
