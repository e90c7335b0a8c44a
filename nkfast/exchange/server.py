"""The simulated exchange on a loopback port, HTTP and WebSocket, as clients of the real one see it.

`serve` runs it for the time of an ``async with`` block; the sockets only carry bytes, what is
answered is decided by `nkfast.exchange.rest` and `nkfast.wire.server_session`.
"""

import asyncio
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from nkfast.errors import ConfigError, RateLimitError, VenueError
from nkfast.exchange.accounts import HISTORY_MAX, Account
from nkfast.exchange.authentication import Authenticator, NoncePolicy
from nkfast.exchange.connection import Connection
from nkfast.exchange.control import WeatherControl
from nkfast.exchange.conversation import Broadcast, Conversation
from nkfast.exchange.desk import ExchangeDesk
from nkfast.exchange.exchange import Exchange, Uniqueness
from nkfast.exchange.invariants import BookWitness, FillWitness, violations
from nkfast.exchange.markets import DEFAULT_MARKETS, DEFAULT_POOLS, load_markets
from nkfast.exchange.money import ATOM_DECIMALS
from nkfast.exchange.recording import Recording
from nkfast.exchange.rest import BASE_PATH, Reply, Request, RestApi, error_reply
from nkfast.exchange.traders import Crowd
from nkfast.exchange.weather import CALM, Fate, Rule, Weather
from nkfast.wire.request import HttpRequest
from nkfast.wire.server_session import (
    Channel,
    ChannelKind,
    ServerSession,
    encode_notification,
)

__all__ = ["AccountSettings", "ExchangeServer", "ExchangeSettings", "serve"]

_log = logging.getLogger(__name__)

#: The channels that a recording holds, in the order in which their snapshots are taken.
_RECORDED: Final[tuple[ChannelKind, ...]] = ("orderbook", "trades")
_WHOLE_BOOK: Final = 1_000_000
_MILLISECOND_S: Final = 0.001
#: Of a time in milliseconds, until the year 2286.
_MILLISECOND_DIGITS: Final = 13
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
    recording : iterable of (int, bytes) or None
        Unix nanoseconds and frames of the markets, lived through again in place of the crowd; see
        `nkfast.exchange.recording`. ``speed`` holds for it too and must not be 0.
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
    self_trade, uniqueness, market_buys_in, fee_decimals, history_max
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
    recording: Iterable[tuple[int, bytes]] | None = None
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
    history_max: int = HISTORY_MAX
    unknown_method_code: int = 402
    private_shape: Literal["live", "docs"] = "live"
    weather: tuple[Rule, ...] = ()
    has_control: bool = False
    is_paranoid: bool = False
    record: Callable[[int, bytes], None] | None = None
    tls: ssl.SSLContext | None = None
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def __post_init__(self) -> None:
        for name in ("tick_interval_s", "ping_interval_s", "outbound_bytes_max", "history_max"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, was {getattr(self, name)}")
        if self.fee_decimals is not None and not 0 <= self.fee_decimals <= ATOM_DECIMALS:
            raise ConfigError(
                f"fee_decimals must be 0..{ATOM_DECIMALS} or None, was {self.fee_decimals}"
            )
        if self.speed < 0:
            raise ConfigError(f"speed must not be negative, was {self.speed}")
        if self.recording is not None and not self.speed:
            raise ConfigError("speed must be positive with a recording, was 0")

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
            history_max=settings.history_max,
            pools=DEFAULT_POOLS if settings.markets is None else (),
        )
        self.rest_url = self.ws_url = ""
        self._authenticator = Authenticator(
            nonce_policy=settings.nonce_policy,
            nonce_window_ms=settings.nonce_window_ms,
            unauthorized_code=settings.unauthorized_code,
        )
        self.crowd = self._traders(now_ms)
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
        self.connections: dict[Connection, Conversation] = {}
        self._everybody: dict[Connection, None] = {}
        self._scheme = "http" if settings.tls is None else "https"
        self._headers_s = -1
        self._common_headers: Mapping[str, str] = {}
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
        self._witnesses = (
            (BookWitness(self.exchange), FillWitness(self.exchange)) if settings.is_paranoid else ()
        )
        self._allowances = _Allowances(settings.rate_limit_per_s)
        self.exchange.listeners.append(self._broadcast)
        if settings.record is not None:
            self._desk.now_ms = now_ms
            for symbol in self.exchange.listings:
                for kind in _RECORDED:
                    message = self._desk.snapshot(Channel(kind, symbol), {"limit": _WHOLE_BOOK})
                    self._record(encode_notification(*message))

    def _traders(self, now_ms: int) -> Crowd | Recording:
        settings = self.settings
        if settings.recording is not None:
            return Recording(self.exchange, settings.recording, speed=settings.speed, now_ms=now_ms)
        crowd = Crowd(self.exchange, seed=settings.seed, speed=settings.speed, now_ms=now_ms)
        crowd.recall(settings.history_s)
        return crowd

    def _open_account(self, wanted: AccountSettings) -> None:
        if wanted.key in self.accounts:
            raise ConfigError(f"two accounts have the key {wanted.key!r}")
        balances = self.crowd.stake() if wanted.balances is None else wanted.balances
        if not (wanted.key and wanted.secret):
            raise ConfigError(
                f"an account needs a key and a secret; one of {wanted.key!r} is empty"
            )
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

    def listen(self, host: str, port: int) -> None:
        """Say where clients connect."""
        secure = "" if self.settings.tls is None else "s"
        if ":" in host:  # an IPv6 address
            host = f"[{host}]"
        self.rest_url = f"http{secure}://{host}:{port}{BASE_PATH}"
        self.ws_url = f"ws{secure}://{host}:{port}/"

    def connection(self) -> Connection:
        """Return what takes the next client."""
        connection = Connection(
            self,
            outbound_bytes_max=self.settings.outbound_bytes_max,
            ping_interval_s=self.settings.ping_interval_s,
        )
        self._everybody[connection] = None
        return connection

    def on_request(self, connection: Connection, request: HttpRequest) -> None:
        """Answer one HTTP request, or begin a WebSocket conversation."""
        headers = request.headers
        if headers.get("upgrade", "").lower() == "websocket":
            self._meet(connection, request)
            return
        path = request.target.partition("?")[0]
        if self.control is not None and self.control.is_for(path):
            reply = self.control.handle(request.method, connection.remote, headers, request.body)
            self._send(connection, reply)
            return
        refused = self._allowances.refusal(
            headers.get("x-api-key") or connection.remote, self._now_ms()
        )
        if refused is not None:
            self._send(connection, _refusal(refused, 429))
            return
        fate = self.weather.request(path.removeprefix(BASE_PATH + "/"))
        if fate is CALM:
            self._deliver(connection, request, fate, self._answer(request))
        else:
            _after(fate.inbound_s, partial(self._execute, connection, request, fate))

    def _execute(self, connection: Connection, request: HttpRequest, fate: Fate) -> None:
        reply = fate.run(partial(self._answer, request))
        _after(fate.outbound_s, partial(self._deliver, connection, request, fate, reply))

    def _deliver(
        self,
        connection: Connection,
        request: HttpRequest,
        fate: Fate,
        reply: Reply | None,
        waits: int = 3,  # a timer may come early, and a clock may stand still
    ) -> None:
        nonce = request.headers.get("x-api-nonce")
        if (
            nonce is not None
            and len(nonce) == _MILLISECOND_DIGITS
            and waits
            and nonce == str(self.settings.clock_ms())
        ):
            # No network between: who counts nonces in milliseconds and asks again at once would
            # use the same one twice.
            later = partial(self._deliver, connection, request, fate, reply, waits - 1)
            asyncio.get_running_loop().call_later(_MILLISECOND_S, later)
            return
        if fate is CALM and reply is not None:
            self._send(connection, reply)
            return
        if fate.is_lost:
            connection.reset()
            return
        if fate.refusal is not None:
            reply = _refusal(fate.refusal, fate.status or 503)
        if fate.is_html:
            headers = {**self._headers(), "Content-Type": "text/html; charset=utf-8"}
            connection.respond(fate.status or 503, fate.body(b""), headers)
            return
        assert reply is not None
        self._send(connection, reply._replace(body=fate.body(reply.body)), is_cut=fate.is_cut)

    def _send(self, connection: Connection, reply: Reply, *, is_cut: bool = False) -> None:
        headers = {**self._headers(), **reply.headers} if reply.headers else self._headers()
        connection.respond(reply.status, reply.body, headers, is_cut=is_cut)

    def _headers(self) -> Mapping[str, str]:
        second = self._now_ms() // 1000
        if second != self._headers_s:
            self._headers_s = second
            self._common_headers = {
                "Content-Type": "application/json",
                "Date": formatdate(second, usegmt=True),
                "Server": "nkfast",
            }
        return self._common_headers

    def on_malformed(self, connection: Connection, status: int, description: str) -> None:
        """Refuse what is no request."""
        self._send(connection, error_reply(status, 400, description))

    def _answer(self, request: HttpRequest) -> Reply:
        origin = f"{self._scheme}://{request.headers.get('host', '')}"
        self.weather.step()
        try:
            reply = self._rest.handle(
                Request(
                    method=request.method,
                    target=request.target,
                    headers=request.headers,
                    body=request.body,
                    origins=(origin, *self.settings.public_origins),
                ),
                self._now_ms(),
            )
        except Exception:  # a bug of ours: the client gets an answer, the log the trace
            _log.exception("%s %s", request.method, request.target)
            reply = error_reply(500, 500, "Internal Server Error")
        self._check()
        return reply

    def _now_ms(self) -> int:
        return self.settings.clock_ms() + self.weather.skew_ms

    def _check(self) -> None:
        if self.settings.is_paranoid and not self.broken.done():
            found = violations(self.exchange)
            for witness in self._witnesses:
                found += witness.differences()
            if found:
                self.broken.set_result(found)

    def _meet(self, connection: Connection, request: HttpRequest) -> None:
        most = self.settings.connections_max
        if most is not None and len(self.connections) >= most:
            self._send(connection, error_reply(429, 429, f"At most {most} connections"))
            return
        key = request.headers.get("sec-websocket-key")
        if not key or request.headers.get("sec-websocket-version") != "13":
            reply = error_reply(400, 400, "A WebSocket of version 13 needs Sec-WebSocket-Key")
            self._send(connection, reply._replace(headers={"Sec-WebSocket-Version": "13"}))
            return
        fate = self.weather.request("connect")
        _after(fate.inbound_s, partial(self._converse, connection, request, fate, key))

    def _converse(self, connection: Connection, request: HttpRequest, fate: Fate, key: str) -> None:
        if not fate.is_readable:
            reply = error_reply(503, 503, "Service Unavailable")
            self._deliver(connection, request, fate, reply)
            return
        session = ServerSession(
            self._desk,
            unknown_method_code=self.settings.unknown_method_code,
            private_shape=self.settings.private_shape,
            subscriptions_max=self.settings.subscriptions_max,
        )
        connection.accept(key)
        conversation = Conversation(session, self._receive, self.weather, connection)
        self.connections[connection] = conversation
        self._broadcast.conversations[conversation] = None

    def on_frame(self, connection: Connection, frame: bytes) -> None:
        """Take a text of a WebSocket."""
        refused = self._allowances.refusal(connection, self._now_ms())
        self.connections[connection].answer(frame, refused)

    def on_end(self, connection: Connection) -> None:
        """End the conversation of a client who has left."""
        self._everybody.pop(connection, None)
        conversation = self.connections.pop(connection, None)
        if conversation is not None:
            del self._broadcast.conversations[conversation]
            conversation.end()

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
        """Close every connection."""
        await asyncio.gather(*(connection.hang_up() for connection in self._everybody))


def _after(delay_s: float, call: Callable[[], None]) -> None:
    if delay_s > 0:
        asyncio.get_running_loop().call_later(delay_s, call)
    else:
        call()


def _refusal(error: VenueError, status: int) -> Reply:
    headers = {}
    if isinstance(error, RateLimitError) and error.retry_after_seconds:
        headers["Retry-After"] = f"{error.retry_after_seconds:.0f}"
    assert error.code is not None
    return error_reply(status, error.code, error.message)._replace(headers=headers)


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
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        server.connection, settings.host, settings.port, ssl=settings.tls
    )
    try:
        server.listen(*listening.sockets[0].getsockname()[:2])
        crowd = asyncio.create_task(server.live())
        try:
            yield server
        finally:
            crowd.cancel()
            with suppress(asyncio.CancelledError):
                await crowd
    finally:
        listening.close()
        await server.hang_up()
        await listening.wait_closed()
