"""The simulated exchange on a loopback port, HTTP and WebSocket, as clients of the real one see it.

`serve` runs it for the time of an ``async with`` block; the sockets only carry bytes, what is
answered is decided by `nkfast.exchange.rest` and `nkfast.wire.server_session`.
"""

import asyncio
import logging
import socket
import ssl
import struct
import sys
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from aiohttp import WSCloseCode, WSMsgType, web

from nkfast.errors import ConfigError, RateLimitError, VenueError
from nkfast.exchange.accounts import Account
from nkfast.exchange.authentication import Authenticator, NoncePolicy
from nkfast.exchange.control import WeatherControl
from nkfast.exchange.conversation import Broadcast, Conversation
from nkfast.exchange.desk import ExchangeDesk
from nkfast.exchange.exchange import Exchange, Uniqueness
from nkfast.exchange.invariants import violations
from nkfast.exchange.markets import DEFAULT_MARKETS, DEFAULT_POOLS, load_markets
from nkfast.exchange.money import ATOM_DECIMALS
from nkfast.exchange.rest import BASE_PATH, Reply, Request, RestApi, error_reply
from nkfast.exchange.traders import Crowd
from nkfast.exchange.weather import Fate, Rule, Weather
from nkfast.wire.server_session import (
    Channel,
    ChannelKind,
    ServerSession,
    encode_notification,
)

__all__ = ["AccountSettings", "ExchangeServer", "ExchangeSettings", "serve"]

_log = logging.getLogger(__name__)

#: Of one WebSocket frame from a client; aiohttp limits HTTP bodies to the same.
_FRAME_BYTES_MAX: Final = 1 << 20
#: The channels that a recording holds, in the order in which their snapshots are taken.
_RECORDED: Final[tuple[ChannelKind, ...]] = ("orderbook", "trades")
_WHOLE_BOOK: Final = 1_000_000
_MILLISECOND_S: Final = 0.001
#: How long a client may take to answer a close frame.
_CLOSE_TIMEOUT_S: Final = 1.0
#: Callers whose request rates are remembered.
_CALLER_COUNT_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """One account with its API key; ``balances`` None gives it some of every asset."""

    key: str
    secret: str
    balances: Mapping[str, Decimal | str] | None = None

    def __repr__(self) -> str:
        return f"AccountSettings(key={self.key!r}, secret=..., balances={self.balances!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """How a simulated exchange behaves; the defaults are those of protocol.md section 5.

    Parameters
    ----------
    port : int
        0 lets the system choose one.
    seed : int
        Of the crowd and of the ids.
    key, secret, balances
        The account that is there from the start; ``balances`` None gives it some of every asset.
    more_accounts : tuple of AccountSettings
    markets : path, sequence of mappings, or None
        A file or rows in the shape of the reply of ``market/getlist``; None: fourteen markets.
    speed : float
        How much faster than real the crowd lives; 0: there is no crowd.
    history_s : int
        How far back the markets remember trades at the start; there are none without a crowd.
    tick_interval_s : float
        How often the crowd acts.
    ping_interval_s : float
        Between the pings of the server.
    outbound_bytes_max : int
        What may wait for a reader of a WebSocket; one who falls behind further is cut off.
    connections_max, subscriptions_max : int or None
        WebSockets of all clients, and subscriptions of each; None: as many as they like.
    rate_limit_per_s : float or None
        REST requests of one key or address, and WebSocket requests of one connection; None: as
        many as they like.
    nonce_policy, nonce_window_ms, unauthorized_code
        See `nkfast.exchange.authentication.Authenticator`.
    self_trade, uniqueness, market_buys_in, fee_decimals
        See `nkfast.exchange.exchange.Exchange`.
    cancel_all_needs_side, cancel_returns_order, filters_trades, shows_assets
        See `nkfast.exchange.rest.RestApi`.
    unknown_method_code, private_shape
        See `nkfast.wire.server_session.ServerSession`.
    book_time : {"ms", "iso"}
        How book messages write their time: as seen live, or as documented.
    public_origins : tuple of str
        Further ``scheme://host`` that a request may be signed for, besides the one it was sent to.
    weather : tuple of Rule
        What goes wrong; see `nkfast.exchange.weather`. It is drawn from `seed`.
    has_control : bool
        Whether the weather can be changed over HTTP; see `nkfast.exchange.control`.
    is_paranoid : bool
        Whether the invariants are checked after every step; the first contradiction stops it.
    record : callable or None
        Takes Unix nanoseconds and a frame: every book and trade of every market, from its snapshot
        at the start on, as a client would receive them on a clear day.
    tls : ssl.SSLContext or None
        Serves https and wss with it.
    clock_ms : callable
        Unix milliseconds.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    key: str = "demo-key"
    secret: str = field(default="demo-secret", repr=False)
    balances: Mapping[str, Decimal | str] | None = None
    more_accounts: tuple[AccountSettings, ...] = ()
    markets: str | Path | Sequence[Mapping[str, Any]] | None = None
    speed: float = 1.0
    history_s: int = 86_400
    tick_interval_s: float = 0.05
    ping_interval_s: float = 60.0
    outbound_bytes_max: int = 32 << 20
    connections_max: int | None = None
    subscriptions_max: int | None = None
    rate_limit_per_s: float | None = None
    public_origins: tuple[str, ...] = ()
    nonce_policy: NoncePolicy = "unique"
    nonce_window_ms: int | None = None
    unauthorized_code: int = 401
    self_trade: Literal["allow", "cancel_newest"] = "allow"
    uniqueness: Uniqueness = "always"
    cancel_all_needs_side: bool = True
    cancel_returns_order: bool = False
    filters_trades: bool = False
    shows_assets: bool = False
    book_time: Literal["ms", "iso"] = "ms"
    market_buys_in: Literal["base", "quote"] = "base"
    fee_decimals: int | None = None
    unknown_method_code: int = 402
    private_shape: Literal["live", "docs"] = "live"
    weather: tuple[Rule, ...] = ()
    has_control: bool = False
    is_paranoid: bool = False
    record: Callable[[int, bytes], None] | None = None
    tls: ssl.SSLContext | None = None
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def __post_init__(self) -> None:
        for name in ("tick_interval_s", "ping_interval_s", "outbound_bytes_max"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, was {getattr(self, name)}")
        if self.fee_decimals is not None and not 0 <= self.fee_decimals <= ATOM_DECIMALS:
            raise ConfigError(
                f"fee_decimals must be 0..{ATOM_DECIMALS} or None, was {self.fee_decimals}"
            )
        if self.speed < 0:
            raise ConfigError(f"speed must not be negative, was {self.speed}")

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return the markets as rows."""
        if self.markets is None:
            return DEFAULT_MARKETS
        if isinstance(self.markets, str | Path):
            return load_markets(self.markets)
        return self.markets

    def accounts(self) -> list[AccountSettings]:
        """Return every account, the first one first."""
        return [AccountSettings(self.key, self.secret, self.balances), *self.more_accounts]


class _Allowances:
    """How many requests each caller may still make: buckets that fill again with time."""

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._buckets: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def refusal(self, caller: object, now_ms: int) -> RateLimitError | None:
        """Count a request; return what it is refused with, None when it may pass."""
        per_s = self._per_s
        if per_s is None:
            return None
        most = max(per_s, 1.0)
        tokens, last_ms = self._buckets.pop(caller, (most, now_ms))
        tokens = min(most, tokens + (now_ms - last_ms) * per_s / 1000)
        is_allowed = tokens >= 1
        self._buckets[caller] = (tokens - is_allowed, now_ms)
        if len(self._buckets) > _CALLER_COUNT_MAX:
            self._buckets.popitem(last=False)
        if is_allowed:
            return None
        seconds = max(1.0, -(-(1 - tokens) // per_s))
        return RateLimitError("Too many requests", retry_after_seconds=seconds)


class _Connection:
    """One WebSocket: the line of its conversation, and what waits to be sent."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        outbound_bytes_max: int,
    ) -> None:
        self.socket = socket
        self.waiting_bytes = 0
        self._transport = transport
        self._outbound_bytes_max = outbound_bytes_max
        self._frames: deque[tuple[bytes, bool]] = deque()
        self._has_frames = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._is_cut_off = False

    def put(self, frame: bytes, is_cut: bool) -> None:
        """Send a frame when the reader is ready for it; half of it if it is cut."""
        if self._is_cut_off:
            return
        self._frames.append((frame, is_cut))
        self.waiting_bytes += len(frame)
        self._has_frames.set()
        self._is_empty.clear()
        if self.waiting_bytes > self._outbound_bytes_max:
            self.reset()

    def reset(self) -> None:
        """Break the connection off, and with it everything that was not read."""
        # Not closed but aborted: a close frame would wait behind everything that was not read.
        self._is_cut_off = True
        self._frames.clear()
        self.waiting_bytes = 0
        _reset(self._transport)

    async def hang_up(self) -> None:
        """Close the socket when everything is sent; a reader too slow for that is cut off."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._is_empty.wait()
        except TimeoutError:
            self.reset()
        else:
            await self.socket.close(code=WSCloseCode.GOING_AWAY)

    async def write(self) -> None:
        """Send what was pushed, for ever."""
        while True:
            await self._has_frames.wait()
            self._has_frames.clear()
            while self._frames:
                frame, is_cut = self._frames.popleft()
                if is_cut:
                    self._send_half(frame)
                    return
                await self.socket.send_frame(frame, WSMsgType.TEXT)
                self.waiting_bytes -= len(frame)
            self._is_empty.set()

    def _send_half(self, frame: bytes) -> None:
        self._is_cut_off = True
        if self._transport is not None:
            # A text frame in one piece, its length in 64 bits whatever it is.
            head = struct.pack(">BBQ", 0x81, 127, len(frame))
            self._transport.write(head + frame[: len(frame) // 2])
            self._transport.close()


def _reset(transport: asyncio.Transport | None) -> None:
    if transport is None:
        return
    connected = transport.get_extra_info("socket")
    if connected is not None:
        # With a linger of zero seconds the peer gets a reset and not an orderly end.
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class ExchangeServer:
    """A running exchange; made by `serve`.

    Attributes
    ----------
    exchange : Exchange
    accounts : dict
        By API key.
    connections : dict
        The conversations of the open WebSockets, in the order in which they came.
    rest_url, ws_url : str
        Where clients connect.
    """

    def __init__(self, settings: ExchangeSettings) -> None:
        self.settings = settings
        now_ms = settings.clock_ms()
        rows = settings.rows()
        self.exchange = Exchange(
            rows,
            seed=settings.seed,
            now_ms=now_ms,
            self_trade=settings.self_trade,
            uniqueness=settings.uniqueness,
            market_buys_in=settings.market_buys_in,
            fee_decimals=settings.fee_decimals,
            pools=DEFAULT_POOLS if settings.markets is None else (),
        )
        self.rest_url = self.ws_url = ""
        self._authenticator = Authenticator(
            nonce_policy=settings.nonce_policy,
            nonce_window_ms=settings.nonce_window_ms,
            unauthorized_code=settings.unauthorized_code,
        )
        self.crowd = Crowd(self.exchange, seed=settings.seed, speed=settings.speed, now_ms=now_ms)
        self.crowd.recall(settings.history_s)
        self.accounts: dict[str, Account] = {}
        for wanted in settings.accounts():
            self._open_account(wanted)
        self._rest = RestApi(
            self.exchange,
            self._authenticator,
            cancel_all_needs_side=settings.cancel_all_needs_side,
            cancel_returns_order=settings.cancel_returns_order,
            filters_trades=settings.filters_trades,
            shows_assets=settings.shows_assets,
        )
        self._desk = ExchangeDesk(
            self.exchange,
            self._authenticator,
            book_time=settings.book_time,
            shows_assets=settings.shows_assets,
        )
        self.connections: dict[_Connection, Conversation] = {}
        self.weather = Weather(settings.weather, settings.seed)
        self.weather.attach(self.exchange)
        self._broadcast = Broadcast(
            self.exchange,
            self._desk,
            self.weather,
            recorded=_RECORDED,
            on_frame=None if settings.record is None else self._record,
        )
        self.control = WeatherControl(self.weather) if settings.has_control else None
        #: Ends with what contradicts itself, once something does and `is_paranoid` looks.
        self.broken: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._allowances = _Allowances(settings.rate_limit_per_s)
        self.exchange.listeners.append(self._broadcast)
        if settings.record is not None:
            self._desk.now_ms = now_ms
            for symbol in self.exchange.listings:
                for kind in _RECORDED:
                    message = self._desk.snapshot(Channel(kind, symbol), {"limit": _WHOLE_BOOK})
                    self._record(encode_notification(*message))

    def _open_account(self, wanted: AccountSettings) -> None:
        if wanted.key in self.accounts:
            raise ConfigError(f"two accounts have the key {wanted.key!r}")
        balances = self.crowd.stake() if wanted.balances is None else wanted.balances
        try:
            account = self.exchange.open_account(wanted.key, balances)
        except ValueError as error:
            raise ConfigError(f"balances of {wanted.key!r}: {error}") from error
        self._authenticator.add_key(account, wanted.key, wanted.secret)
        self.accounts[wanted.key] = account

    def _record(self, frame: bytes) -> None:
        assert self.settings.record is not None
        self.settings.record(self._now_ms() * 1_000_000, frame)

    # Sockets.

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request, or hold one WebSocket conversation."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._converse(request)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _response(error_reply(413, 400, "Request body is too large"))
        if self.control is not None and self.control.is_for(request.path):
            return _response(
                self.control.handle(request.method, request.remote or "", request.headers, body)
            )
        refused = self._allowances.refusal(
            request.headers.get("X-API-KEY") or request.remote or "", self._now_ms()
        )
        if refused is not None:
            return _response(_refusal(refused, 429))
        fate = self.weather.request(request.path.removeprefix(BASE_PATH + "/"))
        if fate.inbound_s:
            await asyncio.sleep(fate.inbound_s)
        reply = fate.run(partial(self._answer, request, body))
        if fate.outbound_s:
            await asyncio.sleep(fate.outbound_s)
        await self._outlast(request.headers.get("X-API-NONCE"))
        return _send(request, fate, reply)

    async def _outlast(self, nonce: str | None) -> None:
        # No network between: who counts nonces in milliseconds and asks again at once would use
        # the same one twice. Twice, because a loop may wake a little early.
        for _ in range(2):
            if nonce == str(self.settings.clock_ms()):
                await asyncio.sleep(_MILLISECOND_S)

    def _answer(self, request: web.BaseRequest, body: bytes) -> Reply:
        origin = f"{request.scheme}://{request.host}"
        self.weather.step()
        try:
            reply = self._rest.handle(
                Request(
                    method=request.method,
                    target=request.raw_path,
                    headers=request.headers,
                    body=body,
                    origins=(origin, *self.settings.public_origins),
                ),
                self._now_ms(),
            )
        except Exception:  # a bug of ours: the client gets an answer, the log the trace
            _log.exception("%s %s", request.method, request.path)
            reply = error_reply(500, 500, "Internal Server Error")
        self._check()
        return reply

    def _now_ms(self) -> int:
        return self.settings.clock_ms() + self.weather.skew_ms

    def _check(self) -> None:
        if self.settings.is_paranoid and not self.broken.done():
            found = violations(self.exchange)
            if found:
                self.broken.set_result(found)

    async def _converse(self, request: web.BaseRequest) -> web.StreamResponse:
        settings = self.settings
        most = settings.connections_max
        if most is not None and len(self.connections) >= most:
            return _response(error_reply(429, 429, f"At most {most} connections"))
        fate = self.weather.request("connect")
        if fate.inbound_s:
            await asyncio.sleep(fate.inbound_s)
        if not fate.is_readable:
            return _send(request, fate, error_reply(503, 503, "Service Unavailable"))
        socket = web.WebSocketResponse(
            heartbeat=settings.ping_interval_s,
            timeout=_CLOSE_TIMEOUT_S,
            max_msg_size=_FRAME_BYTES_MAX,
            compress=False,
        )
        await socket.prepare(request)
        session = ServerSession(
            self._desk,
            unknown_method_code=settings.unknown_method_code,
            private_shape=settings.private_shape,
            subscriptions_max=settings.subscriptions_max,
        )
        connection = _Connection(socket, request.transport, settings.outbound_bytes_max)
        conversation = Conversation(session, self._receive, self.weather, connection)
        self.connections[connection] = conversation
        self._broadcast.conversations[conversation] = None
        reader = asyncio.ensure_future(self._read(connection, conversation))
        writer = asyncio.ensure_future(connection.write())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self.connections[connection]
            del self._broadcast.conversations[conversation]
            conversation.end()
            for task in (reader, writer):
                task.cancel()
            outcomes = await asyncio.gather(reader, writer, return_exceptions=True)
        for outcome in outcomes:
            # A reader who left in the middle of a frame is no fault of ours.
            if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                _log.error("WebSocket conversation failed", exc_info=outcome)
        return socket

    async def _read(self, connection: _Connection, conversation: Conversation) -> None:
        async for message in connection.socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                refused = self._allowances.refusal(connection, self._now_ms())
                conversation.answer(message.data, refused)

    def _receive(
        self, session: ServerSession, frame: str | bytes, refused: VenueError | None
    ) -> list[bytes]:
        self.weather.step()
        self._desk.now_ms = self._now_ms()
        replies = session.receive(frame, refused)
        self._check()
        return replies

    async def live(self) -> None:
        """Let the crowd trade until cancelled."""
        while True:
            await asyncio.sleep(self.settings.tick_interval_s)
            self.weather.step()
            if self.weather.is_maintenance:
                for conversation in list(self.connections.values()):
                    conversation.reset()
            self.crowd.step(self._now_ms())
            self._check()

    async def hang_up(self) -> None:
        """Close every WebSocket."""
        await asyncio.gather(*(connection.hang_up() for connection in self.connections))


def _refusal(error: VenueError, status: int) -> Reply:
    headers = {}
    if isinstance(error, RateLimitError) and error.retry_after_seconds:
        headers["Retry-After"] = f"{error.retry_after_seconds:.0f}"
    assert error.code is not None
    return error_reply(status, error.code, error.message)._replace(headers=headers)


def _send(request: web.BaseRequest, fate: Fate, reply: Reply | None) -> web.Response:
    """Make of a reply, or of none, what the weather lets through."""
    transport = request.transport
    if fate.is_lost:
        _reset(transport)
        return web.Response()
    if fate.refusal is not None:
        reply = _refusal(fate.refusal, fate.status or 503)
    if fate.is_html:
        return web.Response(
            status=fate.status or 503, body=fate.body(b""), content_type="text/html"
        )
    assert reply is not None
    if fate.is_cut and transport is not None:
        head = f"HTTP/1.1 {reply.status} OK\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(reply.body)}\r\n\r\n"
        transport.write(head.encode() + reply.body[: len(reply.body) // 2])
        transport.close()
        return web.Response()
    return _response(reply._replace(body=fate.body(reply.body)))


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers={"Content-Type": "application/json", **reply.headers},
    )


@asynccontextmanager
async def serve(settings: ExchangeSettings | None = None) -> AsyncIterator[ExchangeServer]:
    """Run a simulated exchange for the time of the context.

    Raises
    ------
    ConfigError
        The markets or the balances cannot be used.
    OSError
        The port is taken.
    """
    settings = ExchangeSettings() if settings is None else settings
    server = ExchangeServer(settings)
    runner = web.ServerRunner(web.Server(server.handle, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, ssl_context=settings.tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        secure = "s" if settings.tls is not None else ""
        server.rest_url = f"http{secure}://{host}:{port}{BASE_PATH}"
        server.ws_url = f"ws{secure}://{host}:{port}/"
        crowd = asyncio.create_task(server.live())
        try:
            yield server
        finally:
            crowd.cancel()
            with suppress(asyncio.CancelledError):
                await crowd
            await server.hang_up()
    finally:
        await runner.cleanup()
