"""Blocking HTTP connections to one server, kept alive and used again.

urllib3 opens them: names, TLS, proxies. What goes over them is written and read here, because the
bytes that were signed must be the bytes that are sent, a request must be sent once, and the whole
response must be there before a deadline, however it trickles in.
"""

import ssl
import threading
import time
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError

from nkfast.client import rest_session
from nkfast.client.rest_session import Answer, Lost, Request
from nkfast.errors import WireError
from nkfast.wire.response import ResponseReader

__all__ = ["Connections"]

_RECEIVE_BYTES = 256 * 1024


class Connections:
    """Connections to the server of a base URL; safe across threads.

    Parameters
    ----------
    base_url : str
    timeout_seconds : float
        From connecting to the last byte of the response.
    ssl_context : ssl.SSLContext or None
        None takes the system's authorities.
    proxy : str or None
    trust_environment : bool
        Whether the environment's proxy is used where there is no other.
    idle_max : int
        So many are kept for later.
    user_agent : str
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
        trust_environment: bool,
        idle_max: int,
        user_agent: str,
    ) -> None:
        parts = urlsplit(base_url)
        self._timeout_seconds = timeout_seconds
        self._idle_max = idle_max
        self._is_tls = parts.scheme == "https"
        if self._is_tls and ssl_context is None:
            ssl_context = ssl.create_default_context()
        self._pool = _pool(base_url, ssl_context, proxy or _proxy_of(base_url, trust_environment))
        # To a proxy that does not see through TLS goes the whole URL instead of the path.
        self._sends_url = self._pool.proxy is not None and not self._is_tls
        self._head = (
            f" HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nUser-Agent: {user_agent}\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\n"
        )
        if self._sends_url:
            for name, value in self._pool.proxy_headers.items():
                self._head += f"{name}: {value}\r\n"
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._generation = 0

    def send(self, request: Request) -> Answer | Lost:
        """Send a request, once, and wait for the whole response."""
        deadline = time.monotonic() + self._timeout_seconds
        connection, generation = self._take()
        is_connected = connection is not None
        reader = ResponseReader(rest_session.BODY_BYTES_MAX)
        try:
            if connection is None:
                connection = self._open()
                is_connected = True
            sent_ns = time.perf_counter_ns()
            self._transfer(connection, request, reader, deadline)
            received_ns = time.perf_counter_ns()
        except (HTTPError, WireError, OSError) as error:
            if connection is not None:
                connection.close()
            return Lost(f"{type(error).__name__}: {error}", is_connected)
        except BaseException:
            # Interrupted half way: what comes on it later would be taken for another's answer.
            if connection is not None:
                connection.close()
            raise
        self._put(connection, generation, reader.may_reuse)
        headers = reader.headers
        return Answer(
            reader.status,
            bytes(reader.body),
            headers.get("retry-after", ""),
            headers.get("date", ""),
            sent_ns,
            received_ns,
        )

    def retire(self) -> None:
        """Close what is idle, and later what is in use: none of it is used again."""
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> tuple[HTTPConnection | None, int]:
        # The one used last is the least likely to have been closed meanwhile.
        while True:
            with self._lock:
                if not self._idle:
                    return None, self._generation
                connection, generation = self._idle.pop(), self._generation
            # Also False when something came that nobody asked for.
            if connection.is_connected:
                return connection, generation
            connection.close()

    def _put(self, connection: HTTPConnection, generation: int, may_reuse: bool) -> None:
        with self._lock:
            if may_reuse and generation == self._generation and len(self._idle) < self._idle_max:
                self._idle.append(connection)
                return
        connection.close()

    def _open(self) -> HTTPConnection:
        connection = self._pool._new_conn()
        assert isinstance(connection, HTTPConnection)
        try:
            connection.timeout = self._timeout_seconds
            if self._pool.proxy is not None and self._is_tls:
                self._pool._prepare_proxy(connection)
            else:
                connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _transfer(
        self,
        connection: HTTPConnection,
        request: Request,
        reader: ResponseReader,
        deadline: float,
    ) -> None:
        socket = connection.sock
        place = request.url if self._sends_url else request.target
        lines = [request.method, " ", place, self._head]
        for name, value in request.headers.items():
            lines += (name, ": ", value, "\r\n")
        if request.method == "POST":
            lines.append(f"Content-Length: {len(request.body)}\r\n")
        lines.append("\r\n")
        socket.settimeout(_left(deadline))
        # Head and body in one packet.
        socket.sendall("".join(lines).encode("ascii") + request.body)
        while not reader.is_complete:
            socket.settimeout(_left(deadline))
            reader.feed(socket.recv(_RECEIVE_BYTES))


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the response was not complete in time")
    return seconds


def _proxy_of(base_url: str, trust_environment: bool) -> str | None:
    parts = urlsplit(base_url)
    if not trust_environment or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def _pool(
    base_url: str, ssl_context: ssl.SSLContext | None, proxy: str | None
) -> HTTPConnectionPool:
    # Used to open connections only; a pool of urllib3 keeps the proxy beside the host.
    if proxy is None:
        return urllib3.PoolManager(ssl_context=ssl_context).connection_from_url(base_url)
    user = urlsplit(proxy)
    headers = None
    if user.username:
        pair = f"{unquote(user.username)}:{unquote(user.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=pair)
    manager = urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=ssl_context)
    return manager.connection_from_url(base_url)
