"""HTTP connections of asyncio to one server, kept alive and used again.

An answer is read where it arrives, in the protocol, by the reader that the blocking client uses,
too. Beside the request there is no task, no stream and no session: checked and typed, an answer is
there sooner than aiohttp alone has it as JSON (benchmarks/bench_rest.py). And aiohttp sends a GET
again by itself, with the nonce that is used up; it has no public name for not doing so.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import cast

import aiohappyeyeballs

from nkfast.client import rest_session
from nkfast.client.idle import IdleConnections
from nkfast.client.rest_session import Answer, Lost
from nkfast.client.roads import Request, Road
from nkfast.errors import WireError
from nkfast.wire.response import ResponseReader

__all__ = ["AsyncConnections"]

#: When an address has not answered by then, the next one is tried as well (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25

_log = logging.getLogger("nkfast.client.async_connections")
_Outcome = asyncio.Future[Answer | Lost]


class AsyncConnections:
    """Connections to the server of a road, from one event loop.

    Parameters
    ----------
    road : Road
    timeout_seconds : float
        From connecting to the last byte of the response.
    idle_max : int
        So many are kept for later.
    """

    def __init__(self, road: Road, *, timeout_seconds: float, idle_max: int) -> None:
        self._road = road
        self._timeout_seconds = timeout_seconds
        self._idle: IdleConnections[_Connection] = IdleConnections(idle_max)
        self._open: set[_Connection] = set()

    async def send(self, request: Request) -> Answer | Lost:
        """Send a request, once, and wait for the whole response.

        Cancelled before the request is written, it is not sent. Cancelled later, a GET is given
        up; a POST goes on by itself, and `Lost` says that its answer is not known here.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        connection, generation = self._idle.take()
        if connection is None:
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await self._connect(loop)
            except OSError as error:
                return _lost(error, is_sent=False)
            if not connection.is_usable:
                return _lost(ConnectionResetError("the server closed it at once"), is_sent=False)
        try:
            packet = self._road.packet(request)
        except BaseException:
            connection.close()
            raise
        outcome: _Outcome = loop.create_future()
        connection.exchange(
            packet,
            outcome,
            partial(self._idle.put, connection, generation),
            loop.call_at(deadline, connection.expire),
        )
        if request.method == "GET":
            try:
                return await outcome
            except asyncio.CancelledError:
                connection.close()
                raise
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            outcome.add_done_callback(partial(_log_outcome, request))
            return Lost("the call was cancelled before its answer came", True)

    def retire(self) -> None:
        """Close what is idle, and later what is in use: none of it is used again."""
        self._idle.retire()

    async def close(self) -> None:
        """Close all, what is in use too."""
        self._idle.retire()
        for connection in tuple(self._open):
            connection.close()
        # The loop closes the sockets in its next round.
        await asyncio.sleep(0)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> "_Connection":
        road = self._road
        connection = _Connection(self._open)
        if road.tunnel is not None:
            # With what it imports it takes a tenth of a second to load.
            tunnels = import_module("nkfast.client.tunnels")
            connection.stream = await tunnels.open_transport(road, connection)
            return connection
        addresses = await loop.getaddrinfo(road.host, road.port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1
        )
        try:
            await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=road.ssl_context if road.is_tls else None,
                server_hostname=road.host if road.is_tls else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection


class _Connection(asyncio.Protocol):
    """Carries one request at a time."""

    def __init__(self, registry: "set[_Connection]") -> None:
        self._registry = registry
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self.stream: object = None  # what has to live as long as the connection

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def exchange(
        self,
        packet: bytes,
        outcome: _Outcome,
        give_back: Callable[[], None],
        timer: asyncio.TimerHandle,
    ) -> None:
        assert self._transport is not None and self._reader is None
        self._reader = ResponseReader(rest_session.BODY_BYTES_MAX)
        self._outcome, self._give_back, self._timer = outcome, give_back, timer
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(packet)

    def expire(self) -> None:
        self._end(TimeoutError("the response was not complete in time"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one without being called so.
        self._transport = cast(asyncio.Transport, transport)
        self._registry.add(self)

    def data_received(self, data: bytes) -> None:
        received_ns = time.perf_counter_ns()
        reader = self._reader
        if reader is None:
            # Nobody asked for it: the next answer would be another's.
            self.close()
            return
        try:
            reader.feed(data)
        except WireError as error:
            self._end(error)
            return
        if reader.is_complete:
            self._end(Answer.of(reader, self._sent_ns, received_ns), may_reuse=reader.may_reuse)

    def eof_received(self) -> None:
        if self._reader is not None:
            self.data_received(b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._registry.discard(self)
        self._end(error or ConnectionResetError("the server closed the connection"))

    def _end(self, end: Answer | Exception, may_reuse: bool = False) -> None:
        if self._reader is None:
            return
        self._reader = None
        self._timer.cancel()
        if may_reuse:
            self._give_back()
        else:
            self.close()
        if not self._outcome.done():
            self._outcome.set_result(end if isinstance(end, Answer) else _lost(end, is_sent=True))


def _lost(error: Exception, *, is_sent: bool) -> Lost:
    return Lost(f"{type(error).__name__}: {error}", is_sent)


def _log_outcome(request: Request, outcome: _Outcome) -> None:
    end = outcome.result()
    how = f"HTTP {end.status}" if isinstance(end, Answer) else end.reason
    _log.warning("%s %s was cancelled and ended with: %s", request.method, request.target, how)
