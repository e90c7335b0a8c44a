"""HTTP connections of asyncio to one server, kept alive and used again: aiohttp's.

aiohttp opens, keeps, reads and closes them. What is added is what only a trading client needs: a
request is signed when its connection is there, so that a nonce is young when it is sent; it is
known from then on that it was sent; a change that was sent is never given up; and a whole set of
connections can be left behind.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from nkfast.client import rest_session
from nkfast.client.idle import IDLE_SECONDS_MAX
from nkfast.client.rest_session import Answer, Lost
from nkfast.client.roads import Request, Road
from nkfast.errors import WireError

__all__ = ["AsyncConnections", "SigningConnector"]

#: After so many connections in a row on which something came unasked no other is tried.
_SPOILT_MAX = 5

_log = logging.getLogger("nkfast.client.async_connections")


class _Sending:
    """What becomes of one request; several attempts if aiohttp repeats a read."""

    __slots__ = ("is_sent", "make_headers", "sent_ns")

    def __init__(self, make_headers: Callable[[], dict[str, str]]) -> None:
        self.make_headers = make_headers
        self.is_sent = False
        self.sent_ns = 0


#: The request that the running task sends.
_sending: ContextVar[_Sending] = ContextVar("the request that is being sent")


class SigningConnector(aiohttp.TCPConnector):
    """Signs each request when there is a connection for it, right before it is written.

    aiohttp asks for a connection whenever it is about to write a request, also when it repeats a
    read because a kept connection was dead: that has a nonce of its own then.

    Parameters
    ----------
    headers : dict of str to str
        Of every request.
    kept_max : int
        So many connections at most are used again. What more is opened at a time ends with its
        answer, so that a burst goes out at once and leaves nothing behind.
    **options
        As `aiohttp.TCPConnector` takes them.
    """

    def __init__(self, *, headers: dict[str, str], kept_max: int, **options: Any) -> None:
        super().__init__(**options)
        self._headers = CIMultiDict(headers)
        self._kept_max = kept_max
        self._in_use = 0

    async def connect(
        self, req: aiohttp.ClientRequest, *arguments: Any, **options: Any
    ) -> Connection:
        """Return a connection for a request that is complete now."""
        sending = _sending.get()
        for _ in range(_SPOILT_MAX):
            if self.closed:
                raise aiohttp.ClientConnectionError("the client was closed")
            connection = await super().connect(req, *arguments, **options)
            protocol = connection.protocol
            if protocol is None or not protocol.is_connected():
                connection.close()
                raise aiohttp.ClientConnectionError("the server closed the connection at once")
            if not protocol.should_close:
                break
            # Something came on it that nobody asked for: the next answer would be another's.
            connection.close()
        else:
            raise aiohttp.ClientConnectionError("the server says things that nobody asked for")
        try:
            headers = sending.make_headers()
            # Over those that aiohttp puts there by itself.
            req.headers.update(self._headers)
            if headers:
                req.headers.update(headers)
        except BaseException:
            connection.close()
            raise
        self._in_use += 1
        connection.add_callback(self._count_released)
        if self._in_use > self._kept_max:
            protocol.force_close()
        sending.is_sent = True
        sending.sent_ns = time.perf_counter_ns()
        return connection

    def _count_released(self) -> None:
        self._in_use -= 1


class AsyncConnections:
    """Connections to the server of a road, from one event loop.

    Parameters
    ----------
    road : Road
    """

    def __init__(self, road: Road) -> None:
        self._road = road
        self._pool: _Pool | None = None
        self._abandoned: set[asyncio.Task[Answer | Lost]] = set()

    def send(self, request: Request) -> Coroutine[Any, Any, Answer | Lost]:
        """Send a request and wait for the whole response, when awaited.

        Cancelled before the request is written, it is not sent. Cancelled later, a GET is given
        up; a POST goes on by itself, and `Lost` says that its answer is not known here. A POST is
        sent once; a GET on a kept connection that proves to be dead is sent on another one.
        """
        pool = self._pool
        if pool is None:
            pool = self._pool = _Pool(self._road)
        sending = _Sending(request.make_headers)
        exchange = pool.exchange(request, sending)
        return exchange if request.method == "GET" else self._shielded(request, sending, exchange)

    async def _shielded(
        self, request: Request, sending: _Sending, exchange: Coroutine[Any, Any, Answer | Lost]
    ) -> Answer | Lost:
        task = asyncio.get_running_loop().create_task(exchange)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not sending.is_sent:
                task.cancel()
                await asyncio.wait({task})
            if not sending.is_sent:
                raise
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)
            task.add_done_callback(partial(_log_outcome, request))
            return Lost("the call was cancelled before its answer came", True)

    async def retire(self) -> None:
        """Use none of the connections again; they close as soon as nothing is under way on them."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.retire()

    async def close(self) -> None:
        """Close all, what is in use too."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()


class _Pool:
    """Connections that are left behind together."""

    def __init__(self, road: Road) -> None:
        self._road = road
        self._session = aiohttp.ClientSession(
            connector=_connector(road),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=road.timeout_seconds),
            proxy=road.forward_proxy,
        )
        self._in_use = 0
        self._is_retired = False

    async def exchange(self, request: Request, sending: _Sending) -> Answer | Lost:
        token = _sending.set(sending)
        self._in_use += 1
        try:
            response = await self._session.request(
                request.method,
                URL(request.url, encoded=True),
                data=request.body or None,
                allow_redirects=False,
            )
            size = response.content_length
            is_short = size is not None and size <= rest_session.BODY_BYTES_MAX
            body = await (response.read() if is_short else _read_parts(response))
        except (aiohttp.ClientError, OSError, WireError) as error:
            reason = self._road.explain(error, is_sent=sending.is_sent)
            return Lost(reason, sending.is_sent)
        finally:
            _sending.reset(token)
            self._in_use -= 1
            if self._is_retired and not self._in_use:
                await self._session.close()
        received_ns = time.perf_counter_ns()
        retry_after = response.headers.get("Retry-After", "")
        # It is looked at beside the other only.
        date = response.headers.get("Date", "") if retry_after else ""
        return Answer(response.status, body, retry_after, date, sending.sent_ns, received_ns)

    async def retire(self) -> None:
        self._is_retired = True
        if not self._in_use:
            await self._session.close()

    async def close(self) -> None:
        await self._session.close()


def _connector(road: Road) -> aiohttp.TCPConnector:
    make: Callable[..., aiohttp.TCPConnector] = SigningConnector
    if road.tunnel is not None:
        # With what it imports it takes a while to load.
        tunnels = import_module("nkfast.client.tunnels")
        connectors = import_module("nkfast.client.async_tunnels")
        make = partial(connectors.TunnelConnector, **tunnels.proxy_options(road))
    return make(
        headers=road.headers,
        kept_max=road.connections,
        ssl=road.ssl_context if road.is_tls else True,
        # How many reads go at once is limited elsewhere: changes must not wait behind them.
        limit=0,
        keepalive_timeout=IDLE_SECONDS_MAX,
    )


async def _read_parts(response: aiohttp.ClientResponse) -> bytes:
    # Of a length that is not known, or too large.
    limit = rest_session.BODY_BYTES_MAX
    body = bytearray()
    try:
        if response.content_length is None:
            async for part in response.content.iter_any():
                body += part
                if len(body) > limit:
                    break
            else:
                return bytes(body)
    except BaseException:
        response.close()
        raise
    response.close()
    raise WireError(f"the body of a response is longer than {limit} bytes")


def _log_outcome(request: Request, task: "asyncio.Task[Answer | Lost]") -> None:
    if task.cancelled():
        how = "nothing, because the program ended"
    elif (error := task.exception()) is not None:
        how = f"{type(error).__name__}: {error}"
    else:
        end = task.result()
        how = f"HTTP {end.status}" if isinstance(end, Answer) else end.reason
    _log.warning("%s %s was cancelled and ended with: %s", request.method, request.target, how)
