"""The venue's WebSocket for asyncio: market data, the account's news, orders.

One connection carries everything. It is kept up: after any loss, also a clean close, it is opened
again with a random, growing pause, logged in, and everything that was subscribed is subscribed
again. Meanwhile the decoder's books are stale.
"""

import asyncio
import inspect
import logging
import random
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from picows import WSError, WSMsgType, WSTransport, ws_connect
from python_socks import ProxyError

from nkfast.client.assembly import MESSAGE_BYTES_MAX, Tap
from nkfast.client.busy_poll import BusyPoll
from nkfast.client.listener import Listener
from nkfast.client.roads import USER_AGENT, refuse_unverified
from nkfast.client.staleness import CHECKS_PER_LIMIT, StalenessClock
from nkfast.client.streams import QUEUE_MAX, Lane, Stream
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.core.signing import Signer
from nkfast.errors import (
    AuthenticationError,
    ConfigError,
    ModeError,
    NonceError,
    OutcomeUnknownError,
    PermissionDeniedError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.wire import client_session as conversation
from nkfast.wire.client_session import Channel, ClientSession, Subscription
from nkfast.wire.codec import echo_mismatch
from nkfast.wire.models import (
    ApiCredentials,
    Asset,
    Balance,
    Candle,
    MarketInfo,
    MarketTicker,
    Message,
    OrderCancelResult,
    OrderReport,
    OrderRequest,
    OrderResponse,
    OrderStatus,
    Trade,
)
from nkfast.wire.symbols import TradingPair

__all__ = ["STALE_SECONDS", "WEBSOCKET_URL", "Subscription", "WebSocketClient"]

WEBSOCKET_URL = "wss://ws.nonkyc.io"

#: Pauses before connecting again are random up to these bounds, doubling with every failure.
BACKOFF_SECONDS_FIRST = 0.5
BACKOFF_SECONDS_MAX = 60.0
#: A connection that held so long counts as success: the pauses begin small again.
STABLE_SECONDS = 30.0
#: After so many failures in a row the breaker opens: one attempt after each longest pause.
BREAKER_FAILURES = 8
#: How often updates that wait for their predecessors are looked at.
HELD_CHECK_SECONDS = 0.5
#: So long the venue gets to close its side when we close ours.
CLOSE_SECONDS = 1.0
#: At most so many orders and cancels without an answer on one socket (reliability 3.8).
UNANSWERED_MAX = 16
#: How long a subscription may be silent on a connection that is alive. What is missing may be
#: silent for ever: on a quiet market nobody trades for hours.
STALE_SECONDS: Mapping[Channel, float] = {"order_book": 60.0}
#: A book that moved on without telling us, so often in a row, needs another connection.
DEAF_MAX = 2
#: Streams whose news are counted; a venue that invents symbols cannot grow more.
COUNTED_MAX = 10_000
#: Subscriptions that wait for their turn are asked for in steps of this length.
PACE_SECONDS = 0.1
#: Close codes and words that mean: this key is not wanted, do not come back.
_BANNED = re.compile(r"auth|api.?key|forbidden|banned", re.IGNORECASE)
_BANNED_CODES = (1008, 4001)

_PROXY_SCHEMES = ("http://", "https://", "socks4://", "socks5://")

_NAMES = {
    "orderbook": ("snapshotOrderbook", "updateOrderbook"),
    "trades": ("snapshotTrades", "updateTrades"),
    "candles": ("snapshotCandles", "updateCandles"),
    "ticker": ("ticker",),
    "reports": ("activeOrders", "report"),
    "balances": ("currentBalances", "balanceUpdate"),
}
# Looking a member up in its enumeration costs as much as a small message.
_TEXT = WSMsgType.TEXT
_METHODS = frozenset(method for methods in _NAMES.values() for method in methods)
_CHANNELS: dict[str, Channel] = {
    "snapshotOrderbook": "order_book",
    "updateOrderbook": "order_book",
    "snapshotTrades": "trades",
    "updateTrades": "trades",
    "snapshotCandles": "candles",
    "updateCandles": "candles",
    "ticker": "ticker",
    "activeOrders": "reports",
    "report": "reports",
    "currentBalances": "balances",
    "balanceUpdate": "balances",
}
#: News that must not be lost: a reader too slow for them gets the whole state anew instead.
_NEVER_LOST = frozenset({"activeOrders", "report", "currentBalances", "balanceUpdate"})
_ACCOUNT: tuple[Channel, ...] = ("reports", "balances")

Handler = Callable[[Any], object]
T = TypeVar("T")
M = TypeVar("M", bound=Message)

_log = logging.getLogger("nkfast.client.websocket")


class _Waiting(NamedTuple):
    """A request of the user's: who waits, how its result is read, what limits the wait."""

    future: asyncio.Future[Any]
    read: Callable[[Any], Any]
    method: str
    deadline: float


class WebSocketClient:
    """A client of the venue's WebSocket. Use it with ``async with``, or `connect` and `close` it.

    Parameters
    ----------
    url : str
    credentials : ApiCredentials or None
        Given, the client logs in on every connection. The secret is not kept.
    basic_login : bool
        True logs in with ``algo BASIC``. **The secret itself is then on the wire with every login**
        and kept in memory. It is for a venue, or something before it, that takes nothing else.
    decoder : FrameDecoder or None
        Takes the order books of its markets without a Python object in between; its books become
        stale when the connection is lost. None leaves all market data to the handlers.
    allow_changes : bool
        False refuses `new_order` and `cancel_order` with `ModeError`, before anything is sent.
    on_book : callable or None
        ``on_book(market_index, received_ns)``: a book of the decoder changed, or its state did;
        once per burst of frames and market. ``received_ns`` is from ``clock_ns``.
    on_connection : callable or None
        ``on_connection(is_up, reason)``: up when login and all subscriptions are acknowledged.
        Down is told again when the circuit breaker opens: from then on it is tried rarely.
    on_refusal : callable or None
        ``on_refusal(subscription, error)``, once: the venue will never give this (it does not know
        the market), so it is not wanted any more. Such a refusal is logged as well.
    tap : callable or None
        ``tap(received_ns, payload)`` with every text message, before anything else.
    ssl_context : ssl.SSLContext or None
        None takes the system's authorities. Verification cannot be switched off: a context that
        does not verify certificate and host name is refused.
    proxy : str or None
        ``http://``, ``https://``, ``socks4://`` or ``socks5://``, with user and password if it
        needs them. The environment's proxy variables are not read.
    user_agent : str
    request_timeout_seconds : float
        For the answer to a request, a login, a subscription, and for opening a connection.
    ping_interval_seconds, pong_timeout_seconds : float
        Every so often a ping goes out; without an answer in time the connection is dropped.
    stale_after_seconds : mapping of channel to float
        How long a subscription may be silent while the connection is alive. A silent book becomes
        stale and is asked for again; if it moved on without telling us twice in a row, or does not
        come at all, the connection is replaced. Other channels are asked for again, and the
        connection is replaced if that brings nothing either.
    malformed_max, malformed_window_seconds : int, float
        So many unreadable messages within that time end the connection.
    subscriptions_per_second : float
        The pace at which subscriptions are asked for on a new connection.
    subscription_priority : callable or None
        ``subscription_priority(subscription) -> int``: the lower, the earlier it is asked for on a
        new connection. Called then, so it may know where orders are open by now.
    busy_poll : bool
        Never let the loop sleep while connected: the lowest latency, for the price of one whole
        processor core. See `nkfast.client.busy_poll.BusyPoll`.
    clock_ns : callable
        Monotonic nanoseconds for receive times.

    Notes
    -----
    Callbacks run on the loop's thread, in the order of arrival. An exception in one is logged and
    goes to the loop's exception handler; it disturbs neither the connection nor other callbacks.

    A coroutine function as a callback runs beside the reading of the socket, one call after the
    other. If it is slower than the news, at most `streams.QUEUE_MAX` calls wait: books conflate to
    the newest, of public news the oldest is dropped and counted (``dropped_news``), and where the
    account's news would be lost the connection is replaced, so that it begins with the whole state.
    """

    def __init__(
        self,
        url: str = WEBSOCKET_URL,
        credentials: ApiCredentials | None = None,
        *,
        basic_login: bool = False,
        decoder: FrameDecoder | None = None,
        allow_changes: bool = False,
        on_book: Callable[[int, int], object] | None = None,
        on_connection: Callable[[bool, str], object] | None = None,
        tap: Tap | None = None,
        on_refusal: Callable[[Subscription, VenueError], object] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        user_agent: str = USER_AGENT,
        request_timeout_seconds: float = 10.0,
        ping_interval_seconds: float = 20.0,
        pong_timeout_seconds: float = 10.0,
        stale_after_seconds: Mapping[Channel, float] = STALE_SECONDS,
        malformed_max: int = 20,
        malformed_window_seconds: float = 10.0,
        subscriptions_per_second: float = 100.0,
        subscription_priority: Callable[[Subscription], int] | None = None,
        busy_poll: bool = False,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise ConfigError(f"url must begin with ws:// or wss://, was {url!r}")
        if not 0 < pong_timeout_seconds <= ping_interval_seconds:
            raise ConfigError("pong_timeout_seconds must be positive and within the ping interval")
        if ssl_context is not None:
            refuse_unverified(ssl_context)
        if proxy is not None and not proxy.startswith(_PROXY_SCHEMES):
            raise ConfigError(f"proxy must begin with one of {', '.join(_PROXY_SCHEMES)}")
        for channel, seconds in stale_after_seconds.items():
            if channel not in _CHANNELS.values() or seconds <= 0:
                raise ConfigError(f"stale_after_seconds: {channel!r} has {seconds!r}")
        if malformed_max < 1 or malformed_window_seconds <= 0 or subscriptions_per_second <= 0:
            raise ConfigError(
                "malformed_max, malformed_window_seconds and subscriptions_per_second must be "
                f"positive, were {malformed_max}, {malformed_window_seconds} and "
                f"{subscriptions_per_second}"
            )
        login = None
        if credentials is not None:
            login = _basic(credentials) if basic_login else _signer(credentials).login
        self._session = ClientSession(login)
        self._url = url
        self._decoder = decoder
        self._allow_changes = allow_changes
        self._book_callback = on_book
        self._connection_callback = on_connection
        self._tap = tap
        self._refusal_callback = on_refusal
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._user_agent = user_agent
        self._request_timeout_seconds = request_timeout_seconds
        self._ping_interval_seconds = ping_interval_seconds
        self._pong_timeout_seconds = pong_timeout_seconds
        self._clock_ns = clock_ns
        self._stale_after_seconds = dict(stale_after_seconds)
        self._malformed_window_seconds = malformed_window_seconds
        self._malformed_times: deque[float] = deque(maxlen=malformed_max)
        self._burst = max(1, round(subscriptions_per_second * PACE_SECONDS))
        self._subscription_priority = subscription_priority
        self._busy_poll = BusyPoll() if busy_poll else None
        self._staleness: StalenessClock[Subscription] = StalenessClock(
            lambda subscription: self._stale_after_seconds.get(subscription.channel)
        )
        self._news_counts: dict[tuple[Channel, str], int] = {}
        # By subscription: the mark at which it was last found silent.
        self._silent: dict[Subscription, int] = {}
        # By subscription: how often in a row its book had moved on in silence.
        self._deaf: dict[Subscription, int] = {}
        self._handlers: dict[str, list[Handler]] = {}
        self._lanes: dict[int, Lane] = {}  # by id of the callback, which is kept alive here
        self._streams: dict[Stream[Any], Mapping[str, Handler]] = {}
        self._book_streams: dict[int, list[Stream[OrderBook]]] = {}
        # In the order of sending, which is the order of their deadlines.
        self._waiting: dict[int, _Waiting] = {}
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._unanswered_changes = 0
        self._transport: WSTransport | None = None
        self._listener: Listener | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._pongs = 0
        self._runner: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._is_up = False
        self._is_closed = False
        self._loss_reason = ""
        self._fatal: VenueError | None = None
        self._failures = 0
        self._counters = {
            "connections": 0,
            "disconnections": 0,
            "breaker_openings": 0,
            "frames": 0,
            "bytes": 0,
            "binary_frames": 0,
            "rejected_messages": 0,
            "handler_errors": 0,
            "resyncs": 0,
            "timeouts": 0,
            "complaints": 0,
            "silent_streams": 0,
            "refused_subscriptions": 0,
        }

    @property
    def counters(self) -> dict[str, int]:
        """What happened since the beginning, by name."""
        return self._frame_counters() | self._session.counters

    def _frame_counters(self) -> dict[str, int]:
        counters, listener = dict(self._counters), self._listener
        if listener is not None:
            counters["frames"] += listener.frame_count
            counters["bytes"] += listener.byte_count
            counters["binary_frames"] += listener.binary_count
        counters["dropped_news"] = sum(lane.dropped for lane in self._lanes.values())
        return counters

    @property
    def is_breaker_open(self) -> bool:
        """Whether connecting failed so often in a row that it is tried rarely now."""
        return self._failures >= BREAKER_FAILURES

    # What to be told of

    def subscribe_order_book(self, symbol: str, depth: int = 100) -> Subscription:
        """Want the book of a market, ``depth`` levels a side; kept over reconnects."""
        return self.subscribe(Subscription("order_book", _symbol(symbol), depth))

    def subscribe_trades(self, symbol: str) -> Subscription:
        """Want the public trades of a market."""
        return self.subscribe(Subscription("trades", _symbol(symbol)))

    def subscribe_ticker(self, symbol: str) -> Subscription:
        """Want the ticker of a market."""
        return self.subscribe(Subscription("ticker", _symbol(symbol)))

    def subscribe_candles(self, symbol: str, period_minutes: int, count: int = 100) -> Subscription:
        """Want the bars of a market; the periods are those of `AsyncRestClient.get_candles`."""
        return self.subscribe(Subscription("candles", _symbol(symbol), count, period_minutes))

    def subscribe_account_updates(self) -> tuple[Subscription, Subscription]:
        """Want the reports of the account's orders, and its balances."""
        return self.subscribe(Subscription("reports")), self.subscribe(Subscription("balances"))

    def subscribe(self, subscription: Subscription) -> Subscription:
        """Want something from now on and after every reconnect."""
        if subscription.is_private and not self._session.has_login:
            raise ConfigError(f"{subscription.method} is private: give the client credentials")
        self._session.subscribe(subscription)
        self._flush()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Want something no longer."""
        self._session.unsubscribe(subscription)
        self._flush()

    def register_handler(self, method: str, callback: Handler) -> None:
        """Let a function, or a coroutine function, be called with the content of a notification.

        Parameters
        ----------
        method : str
            A method of the venue (``updateTrades``), or one of ``orderbook``, ``trades``,
            ``ticker``, ``candles``, ``reports``, ``balances`` for all methods of that kind.
        callback : callable
            Gets the params of the notification, numbers with a point as exact `Decimal`. For
            ``activeOrders`` and ``currentBalances`` that is a list.

        Raises
        ------
        ConfigError
            The venue has no such notification.
        """
        methods = _NAMES.get(method, (method,))
        for name in methods:
            if name not in _METHODS:
                known = ", ".join(sorted(_METHODS | _NAMES.keys()))
                raise ConfigError(f"there is no notification {method!r}; there are {known}")
            self._handlers.setdefault(name, []).append(callback)
        if self._listener is not None:
            self._listener.wants_books = self._wants_books()

    # News as streams

    def trades(self, symbol: str, queue_max: int = QUEUE_MAX) -> "Stream[Trade]":
        """Subscribe and return the public trades of a market, for ``async for``.

        The first are those of the snapshot, in the venue's order. `Stream` says what becomes of
        them when nobody reads; the subscription stays until `unsubscribe`.
        """
        subscription = self.subscribe_trades(symbol)
        return self._stream("trades", subscription.symbol, Trade.from_stream, queue_max)

    def tickers(self, symbol: str) -> "Stream[MarketTicker]":
        """Subscribe and return the ticker of a market: always the newest, unread ones conflate."""
        subscription = self.subscribe_ticker(symbol)
        return self._stream(
            "ticker", subscription.symbol, lambda row: [_read(MarketTicker, row)], 1
        )

    def candles(
        self, symbol: str, period_minutes: int, count: int = 100, queue_max: int = QUEUE_MAX
    ) -> "Stream[Candle]":
        """Subscribe and return the bars of a market; the last is told again as it grows."""
        subscription = self.subscribe_candles(symbol, period_minutes, count)

        def read(params: Any) -> list[Candle]:
            if str(params.get("period", period_minutes)) != str(period_minutes):
                return []
            return _read_list(Candle, params.get("data"))

        return self._stream("candles", subscription.symbol, read, queue_max)

    def account_updates(self, queue_max: int = QUEUE_MAX) -> "Stream[OrderStatus | Balance]":
        """Subscribe and return the account's news.

        First, and again after every reconnect, an `OrderStatus` for each open order and every
        `Balance`; then an `OrderReport` for whatever happens to an order, and changed balances. If
        the reader is so slow that something would be lost, the connection is replaced.
        """
        self.subscribe_account_updates()
        stream: Stream[OrderStatus | Balance] = Stream(queue_max, self._forget_stream)

        def push(read: Callable[[Any], Iterable[OrderStatus | Balance]], params: Any) -> None:
            dropped_before = stream.dropped
            for item in self._readable(read, params):
                stream.put(item)
            if stream.dropped > dropped_before:
                stream.clear()
                self._drop("the reader of the account's news is too slow")

        readers: dict[str, Callable[[Any], Iterable[OrderStatus | Balance]]] = {
            "activeOrders": lambda rows: _read_list(OrderStatus, rows),
            "report": lambda row: [_read(OrderReport, row)],
            "currentBalances": lambda rows: _read_list(Balance, rows),
            "balanceUpdate": lambda row: [_read(Balance, row)],
        }
        self._add_stream(stream, {method: partial(push, read) for method, read in readers.items()})
        return stream

    def books(self, symbol: str, depth: int = 100) -> "Stream[OrderBook]":
        """Subscribe and return the book of a market whenever it changed.

        Every item is the decoder's own book as it is when it is read; changes in between conflate.
        Look at its ``state``: it may have become stale.

        Raises
        ------
        ConfigError
            The client was made without a decoder for this market.
        """
        symbol = _symbol(symbol)
        known = () if self._decoder is None else [market.symbol for market in self._decoder.markets]
        if self._decoder is None or symbol not in known:
            raise ConfigError(f"no book of {symbol}: make the client with a decoder for it")
        index = self._decoder.index(symbol)
        stream: Stream[OrderBook] = Stream(1, self._forget_stream)
        self._book_streams.setdefault(index, []).append(stream)
        self._add_stream(stream, {})
        self.subscribe_order_book(symbol, depth)
        return stream

    def _stream(
        self, name: str, symbol: str, read: Callable[[Any], list[M]], queue_max: int
    ) -> "Stream[M]":
        stream: Stream[M] = Stream(queue_max, self._forget_stream)
        key = symbol if queue_max == 1 else None

        def push(params: Any) -> None:
            if isinstance(params, Mapping) and _spelled(params.get("symbol")) == symbol:
                for item in self._readable(read, params):
                    stream.put(item, key)

        self._add_stream(stream, dict.fromkeys(_NAMES[name], push))
        return stream

    def _readable(self, read: Callable[[Any], Iterable[T]], params: Any) -> Iterable[T]:
        try:
            return read(params)
        except WireError as error:
            self._malformed(error)
            return ()

    def _add_stream(self, stream: Stream[Any], routes: Mapping[str, Handler]) -> None:
        self._streams[stream] = routes
        for method, push in routes.items():
            self.register_handler(method, push)

    def _forget_stream(self, stream: Stream[Any]) -> None:
        for method, push in self._streams.pop(stream).items():
            self._handlers[method] = [row for row in self._handlers[method] if row is not push]
        for streams in self._book_streams.values():
            if stream in streams:
                streams.remove(stream)

    # Requests

    def send_new_order(self, request: OrderRequest) -> "asyncio.Future[OrderResponse]":
        """Send one order, once; it is on the socket when this returns.

        Returns
        -------
        asyncio.Future
            Ends with the venue's acceptance, or with the same errors as
            `AsyncRestClient.create_order`.

        Raises
        ------
        ModeError
            The client was made without ``allow_changes``.
        """

        def read(result: Any) -> OrderResponse:
            response = _read(OrderResponse, result)
            field = echo_mismatch(request, response)
            if field:
                raise WireError(f"the answer describes another order: {field} differs")
            return response

        return self._change("newOrder", request.to_payload(), read)

    def send_cancel_order(
        self, *, order_id: str | None = None, user_provided_id: str | None = None
    ) -> "asyncio.Future[OrderCancelResult]":
        """Ask to cancel an order, by the venue's id or ours; as `send_new_order`.

        `OrderNotFoundError` means that it is not open any more: look it up to learn why.
        """
        if (order_id is None) == (user_provided_id is None):
            raise ConfigError("give either order_id or user_provided_id")
        params = {"orderId": order_id} if order_id else {"userProvidedId": user_provided_id}
        return self._change("cancelOrder", params, lambda result: _read(OrderCancelResult, result))

    async def new_order(self, request: OrderRequest) -> OrderResponse:
        """Send one order and wait for the answer; see `send_new_order`."""
        return await self.send_new_order(request)

    async def cancel_order(
        self, *, order_id: str | None = None, user_provided_id: str | None = None
    ) -> OrderCancelResult:
        """Cancel an order and wait for the answer; see `send_cancel_order`."""
        return await self.send_cancel_order(order_id=order_id, user_provided_id=user_provided_id)

    async def get_orders(self, symbol: str | None = None) -> list[OrderStatus]:
        """Return the account's open orders."""
        params = {"symbol": _symbol(symbol)} if symbol is not None else {}
        rows = await self._ask("getOrders", params, lambda rows: _read_list(OrderStatus, rows))
        return rows if symbol is None else [row for row in rows if row.symbol == params["symbol"]]

    async def get_trading_balance(self) -> list[Balance]:
        """Return the account's balances."""
        return await self._ask("getTradingBalance", {}, lambda rows: _read_list(Balance, rows))

    async def get_market(self, symbol: str) -> MarketInfo:
        """Return one market with its trading rules."""
        params = {"symbol": _symbol(symbol)}
        return await self._ask("getMarket", params, lambda row: _read(MarketInfo, row))

    async def get_markets(self) -> list[MarketInfo]:
        """Return every market with its trading rules."""
        return await self._ask("getMarkets", {}, lambda rows: _read_list(MarketInfo, rows))

    async def get_asset(self, ticker: str) -> Asset:
        """Return one asset."""
        return await self._ask("getAsset", {"ticker": ticker}, lambda row: _read(Asset, row))

    async def get_assets(self) -> list[Asset]:
        """Return every asset."""
        return await self._ask("getAssets", {}, lambda rows: _read_list(Asset, rows))

    async def get_trades(
        self,
        symbol: str,
        limit: int = 100,
        *,
        offset: int = 0,
        newest_first: bool = True,
        since: str | None = None,
        until: str | None = None,
    ) -> list[Trade]:
        """Return public trades of a market.

        Parameters
        ----------
        symbol : str
        limit : int
            1..1000.
        offset : int
            How many to skip.
        newest_first : bool
        since, until : str or None
            ISO 8601; the venue wants both or none.
        """
        if (since is None) != (until is None):
            raise ConfigError("give both since and until, or none")
        if not 1 <= limit <= 1000 or offset < 0:
            raise ConfigError(f"limit must be 1..1000 and offset >= 0, were {limit} and {offset}")
        params: dict[str, object] = {"symbol": _symbol(symbol), "limit": limit}
        if offset:
            params["offset"] = offset
        if not newest_first:
            params["sort"] = "ASC"
        if since is not None:
            params |= {"from": since, "till": until}
        return await self._ask("getTrades", params, Trade.from_stream)

    async def request(self, method: str, params: Mapping[str, object]) -> Any:
        """Send any request and return its result as decoded JSON.

        A method that changes something is refused as `new_order` is.
        """
        if conversation.changes(method):
            return await self._change(method, params, lambda result: result)
        return await self._ask(method, params, lambda result: result)

    def _change(
        self, method: str, params: Mapping[str, object], read: Callable[[Any], T]
    ) -> "asyncio.Future[T]":
        if not self._allow_changes:
            raise ModeError(method, "monitor")
        return self._send(method, params, read)

    async def _ask(self, method: str, params: Mapping[str, object], read: Callable[[Any], T]) -> T:
        return await self._send(method, params, read)

    def _send(
        self, method: str, params: Mapping[str, object], read: Callable[[Any], T]
    ) -> "asyncio.Future[T]":
        # What need not be done before the request is on the socket is done afterwards.
        is_change = conversation.changes(method)
        obstacle = self._obstacle(is_change)
        if not obstacle:
            session, transport = self._session, self._transport
            assert transport is not None
            number, frame = session.address(method, params)
            transport.send(_TEXT, frame)
            session.expect(number, method)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if obstacle:
            future.set_exception(UnreachableError(obstacle, endpoint=method, sent="no"))
            return future
        deadline = loop.time() + self._request_timeout_seconds
        self._waiting[number] = _Waiting(future, read, method, deadline)
        if self._deadline_timer is None:
            self._deadline_timer = loop.call_at(deadline, self._expire_due)
        self._unanswered_changes += is_change
        return future

    def _obstacle(self, is_change: bool) -> str:
        transport = self._transport
        # picows drops what is sent after a close frame without a word.
        if transport is None or transport.is_close_frame_sent or transport.is_disconnected:
            return "not connected"
        if is_change:
            if not self._session.takes_orders:
                return "the login or the reports are not acknowledged yet"
            if self._unanswered_changes >= UNANSWERED_MAX:
                return f"{UNANSWERED_MAX} orders and cancels are unanswered"
        if self._listener is not None and not self._listener.is_writable:
            return "the venue reads too slowly"
        return ""

    def _expire_due(self) -> None:
        # One timer for all, since most requests are answered long before: it wakes for the oldest.
        loop = asyncio.get_running_loop()
        self._deadline_timer = None
        now = loop.time()
        for number, row in [*self._waiting.items()]:
            if row.deadline > now:
                self._deadline_timer = loop.call_at(row.deadline, self._expire_due)
                return
            if number in self._waiting:
                self._expire(number, row)

    def _expire(self, number: int, row: _Waiting) -> None:
        self._counters["timeouts"] += 1
        self._session.forget(number)
        reason = f"no answer within {self._request_timeout_seconds} s"
        self._end(number, error=_unanswered(row.method, reason))
        if conversation.changes(row.method):
            # A socket that swallowed an order is not trusted with another.
            self._drop(f"{row.method}: {reason}")

    def _end(self, number: int, result: Any = None, error: VenueError | None = None) -> None:
        row = self._waiting.pop(number, None)
        if row is None:
            return
        is_change = conversation.changes(row.method)
        self._unanswered_changes -= is_change
        if row.future.done():
            return
        if error is not None:
            row.future.set_exception(error)
            return
        try:
            row.future.set_result(row.read(result))
        except WireError as fault:
            row.future.set_exception(
                OutcomeUnknownError(str(fault), endpoint=row.method, sent="maybe")
                if is_change
                else fault
            )

    # Life of the connection

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def is_ready(self) -> bool:
        """Whether login and all subscriptions are acknowledged on a live connection."""
        return self._transport is not None and self._session.is_ready

    async def connect(self, timeout_seconds: float = 30.0) -> None:
        """Connect, log in, subscribe, and keep it so in the background.

        Raises
        ------
        VenueError
            The login or a subscription was refused, or not everything was acknowledged in time.
        """
        self._start()
        assert self._ready is not None
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.shield(self._ready)
        except TimeoutError:
            reason = self._loss_reason or "not everything was acknowledged"
            await self.close()
            raise UnreachableError(
                f"not ready after {timeout_seconds} s: {reason}", endpoint=self._url, sent="no"
            ) from None
        except BaseException:
            await self.close()
            raise

    async def run_forever(self) -> None:
        """Keep the connection until `close`.

        Raises
        ------
        AuthenticationError, PermissionDeniedError
            The venue refuses the key: trying again cannot help.
        """
        runner = self._start()
        try:
            await asyncio.shield(runner)
        except asyncio.CancelledError:
            if runner.cancelled():  # by `close`
                return
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection for good; unanswered requests end as unknown or unreachable."""
        self._is_closed = True
        runner, self._runner = self._runner, None
        if runner is not None:
            if self._transport is None:
                runner.cancel()
            else:
                self._drop("closed by us", graceful=True)
            await asyncio.wait({runner}, timeout=CLOSE_SECONDS)
            if not runner.done():
                runner.cancel()
                await asyncio.wait({runner})
        for lane in self._lanes.values():
            lane.cancel()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        for stream in [*self._streams]:
            stream.finish(self._fatal)

    def _start(self) -> "asyncio.Task[None]":
        if self._runner is None:
            self._is_closed = False
            self._fatal = None
            loop = asyncio.get_running_loop()
            self._ready = loop.create_future()
            # Whoever only calls `run_forever` never looks at it.
            self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
            self._runner = loop.create_task(self._run())
            self._runner.add_done_callback(_log_end)
        return self._runner

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await self._connect_once()
            if self._fatal is not None:
                self._refuse_ready(self._fatal)
                for stream in [*self._streams]:
                    stream.finish(self._fatal)
                raise self._fatal
            if self._is_closed:
                return
            if loop.time() - started >= STABLE_SECONDS:
                self._failures = 0
            self._failures += 1
            _log.warning("%s: %s; connecting again", self._url, self._loss_reason)
            await asyncio.sleep(self._pause_seconds())

    def _pause_seconds(self) -> float:
        if self._failures >= BREAKER_FAILURES:
            if self._failures == BREAKER_FAILURES:
                self._counters["breaker_openings"] += 1
                reason = (
                    f"the circuit breaker is open after {BREAKER_FAILURES} failures in a row, "
                    f"the last one: {self._loss_reason}"
                )
                _log.error("%s: %s", self._url, reason)
                self._call(self._connection_callback, False, reason)
            return random.uniform(BACKOFF_SECONDS_MAX / 2, BACKOFF_SECONDS_MAX)
        bound = min(BACKOFF_SECONDS_FIRST * 2 ** (self._failures - 1), BACKOFF_SECONDS_MAX)
        return random.uniform(0.0, bound)

    async def _connect_once(self) -> None:
        listener = Listener(self, self._decoder, self._tap, self._clock_ns)
        listener.wants_books = self._wants_books()
        self._listener = listener
        try:
            async with asyncio.timeout(self._request_timeout_seconds):
                transport, _ = await ws_connect(
                    lambda *_: listener,
                    self._url,
                    ssl_context=self._ssl_context,
                    proxy=self._proxy,
                    extra_headers={"User-Agent": self._user_agent},
                    websocket_handshake_timeout=self._request_timeout_seconds,
                    # Answered by the listener: picows would keep a ping to itself, and with it
                    # the mark that a burst has ended.
                    enable_auto_pong=False,
                    max_frame_size=MESSAGE_BYTES_MAX,
                    max_redirects=0,
                    logger_name=_log,
                )
        except (OSError, WSError, TimeoutError, ProxyError) as error:
            self._loss_reason = f"cannot connect: {type(error).__name__}: {error}"
            return
        try:
            await transport.wait_disconnected()
        except asyncio.CancelledError:
            transport.disconnect(graceful=False)
            raise
        except WSError as error:
            self._loss_reason = f"protocol error: {error}"
        except Exception as error:  # raised while a frame was handled: picows closed the connection
            self._report(error, "the connection was closed by an exception")

    def _drop(self, reason: str, *, graceful: bool = False) -> None:
        if self._transport is None:
            return
        self._loss_reason = self._loss_reason or reason
        if graceful:
            self._transport.send_close()
        self._transport.disconnect(graceful)

    # What the listener tells

    def on_connected(self, transport: WSTransport) -> None:
        """Log in and subscribe."""
        self._transport = transport
        self._loss_reason = ""
        self._counters["connections"] += 1
        if self._busy_poll is not None:
            self._busy_poll.start()
        self._session.opened(self._burst, self._subscription_priority)
        self._flush()
        if self._session.ask_more(0):
            self._later(PACE_SECONDS, self._ask_more)
        if self._stale_after_seconds:
            self._later(self._staleness_check_seconds(), self._check_staleness)
        self._later(self._ping_interval_seconds, self._beat)
        self._later(self._request_timeout_seconds, self._check_overdue, 0)
        if self._decoder is not None:
            self._later(HELD_CHECK_SECONDS, self._expire_held)
        self._check_ready()

    def on_disconnected(self, transport: WSTransport) -> None:
        """Let the books go stale and end every request."""
        if self._transport is None:
            return
        self._transport = None
        if self._busy_poll is not None:
            self._busy_poll.stop()
        self._malformed_times.clear()
        self._silent.clear()
        self._deaf.clear()
        self._counters["disconnections"] += 1
        self._counters = self._frame_counters()
        self._listener = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        reason = self._loss_reason = self._loss_reason or "the connection was lost"
        if self._decoder is not None:
            self._decoder.mark_stale()
        for number in self._session.lost():
            row = self._waiting.get(number)
            if row is not None:
                self._end(number, error=_unanswered(row.method, reason))
        if self._is_up:
            self._is_up = False
            self._call(self._connection_callback, False, reason)
        if self._decoder is not None:
            now_ns = self._clock_ns()
            for index in range(len(self._decoder.markets)):
                self.on_book(index, now_ns)

    def on_message(self, payload: bytes, received_ns: int) -> None:
        """Hand the message to whom it concerns."""
        try:
            events = self._session.receive(payload)
        except WireError as error:
            self._malformed(error)
            return
        for event in events:
            self._handle(event)
        self._flush()
        if not self._is_up:
            self._check_ready()

    def on_snapshot(self, market_index: int) -> None:
        """Note that the book is there."""
        assert self._decoder is not None
        symbol = self._decoder.markets[market_index].symbol
        self._session.book_arrived(symbol)
        if self._silent:
            self._judge_silence(symbol, self._decoder.book(symbol).sequence)

    def on_gap(self, market_index: int) -> None:
        """Ask for a new snapshot."""
        assert self._decoder is not None
        self._resync(self._decoder.markets[market_index].symbol)

    def on_rejected(self) -> None:
        """Note that the venue speaks nonsense, in case it goes on."""
        self._note_malformed()

    def on_book(self, market_index: int, received_ns: int) -> None:
        """Tell the owner."""
        callback = self._book_callback
        if callback is not None:
            # As `_call`, written out: this is the way from a tick to an order.
            try:
                result = callback(market_index, received_ns)
            except Exception as error:
                self._report(error, f"{callback!r} failed")
            else:
                if result is not None and inspect.isawaitable(result):
                    self._lane(callback).run(result, market_index)
        if self._book_streams:
            assert self._decoder is not None
            for stream in self._book_streams.get(market_index, ()):
                stream.put(self._decoder.book(self._decoder.markets[market_index].symbol), "")

    def on_pong(self) -> None:
        """Note that the venue is alive."""
        self._pongs += 1

    def on_close(self, code: int, reason: str) -> None:
        """Note why the venue closes; a ban is final."""
        self._loss_reason = f"closed by the venue with code {code} {reason}".rstrip()
        if code in _BANNED_CODES and _BANNED.search(reason):
            self._fatal = AuthenticationError(self._loss_reason, endpoint=self._url)

    def on_protocol_error(self, reason: str) -> None:
        """Note why the connection is being closed."""
        self._loss_reason = f"protocol error: {reason}"

    def _handle(self, event: conversation.Event) -> None:
        match event:
            case conversation.Answer(number, result):
                self._end(number, result)
            case conversation.Refusal(number, error):
                self._end(number, error=error)
            case conversation.News(method, params):
                self._publish(method, params)
            case conversation.LoginRefused(error):
                self._refused_login(error)
            case conversation.SubscriptionRefused(subscription, error, True):
                self._counters["refused_subscriptions"] += 1
                _log.error("%s %s is given up: %s", subscription.method, subscription.symbol, error)
                self._refuse_ready(error)
                self._call(self._refusal_callback, subscription, error)
            case conversation.SubscriptionRefused(subscription, error, False):
                # Half of what is wanted is not ready, and asking again on this connection might go
                # on for ever: a new one asks for everything, at the pace of the pauses.
                self._refuse_ready(error)
                self._drop(f"{subscription.method} {subscription.symbol} was refused: {error}")
            case conversation.Complaint(error):
                self._counters["complaints"] += 1
                _log.warning("the venue complains: %s", error)
            case conversation.LateAnswer(method, result, error):
                _log.warning("late answer to %s: %s", method, result if error is None else error)
            case _:
                pass

    def _publish(self, method: str, params: Any) -> None:
        channel = _CHANNELS.get(method)
        if channel in self._stale_after_seconds:
            symbol = params.get("symbol") if isinstance(params, Mapping) else None
            key = (channel, "" if channel in _ACCOUNT else _spelled(symbol))
            if key in self._news_counts or len(self._news_counts) < COUNTED_MAX:
                self._news_counts[key] = self._news_counts.get(key, 0) + 1
        for handler in self._handlers.get(method, ()):
            self._call(handler, params, must_arrive=method in _NEVER_LOST)

    def _refused_login(self, error: VenueError) -> None:
        is_final = isinstance(error, AuthenticationError | PermissionDeniedError)
        if is_final and not isinstance(error, NonceError):
            self._fatal = error
        self._drop(f"login refused: {error}", graceful=True)

    def _check_ready(self) -> None:
        if self._is_up or not self._session.is_ready:
            return
        self._is_up = True
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        self._call(self._connection_callback, True, "ready")

    def _refuse_ready(self, error: VenueError) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)

    def _check_overdue(self, newest_id: int) -> None:
        overdue = self._session.overdue(newest_id)
        if overdue:
            self._counters["timeouts"] += 1
            self._drop(f"not acknowledged: {', '.join(overdue)}")
            return
        self._later(self._request_timeout_seconds, self._check_overdue, self._session.last_id)

    def _ask_more(self) -> None:
        if self._session.ask_more(self._burst):
            self._later(PACE_SECONDS, self._ask_more)
        self._flush()

    def _malformed(self, error: WireError) -> None:
        self._counters["rejected_messages"] += 1
        _log.warning("a message was dropped: %s", error)
        self._note_malformed()

    def _note_malformed(self) -> None:
        now, times = asyncio.get_running_loop().time(), self._malformed_times
        times.append(now)
        window = self._malformed_window_seconds
        if len(times) == times.maxlen and now - times[0] <= window:
            times.clear()
            self._drop(f"{times.maxlen} malformed messages within {window} s")

    def _staleness_check_seconds(self) -> float:
        return min(self._stale_after_seconds.values()) / CHECKS_PER_LIMIT

    def _check_staleness(self) -> None:
        self._later(self._staleness_check_seconds(), self._check_staleness)
        now = asyncio.get_running_loop().time()
        for subscription in self._staleness.check(self._marks(), now):
            self._counters["silent_streams"] += 1
            self._fell_silent(subscription)

    def _marks(self) -> dict[Subscription, int]:
        marks = {}
        for subscription in self._session.subscriptions:
            if not self._session.is_active(subscription):
                continue
            book = self._book_of(subscription)
            if book is None:
                key = (subscription.channel, subscription.symbol)
                marks[subscription] = self._news_counts.get(key, 0)
            elif book.state == "live":
                marks[subscription] = book.sequence
        return marks

    def _book_of(self, subscription: Subscription) -> OrderBook | None:
        if self._decoder is None or subscription.channel != "order_book":
            return None
        known = {market.symbol for market in self._decoder.markets}
        return self._decoder.book(subscription.symbol) if subscription.symbol in known else None

    def _fell_silent(self, subscription: Subscription) -> None:
        what = f"{subscription.channel} {subscription.symbol}".rstrip()
        book = self._book_of(subscription)
        if book is not None:
            assert self._decoder is not None
            self._silent[subscription] = book.sequence
            book.mark_stale()
            self._resync(subscription.symbol)
            self.on_book(self._decoder.index(subscription.symbol), self._clock_ns())
            return
        mark = self._news_counts.get((subscription.channel, subscription.symbol), 0)
        is_second = self._silent.get(subscription) == mark
        self._silent[subscription] = mark
        if subscription.channel == "order_book" and not is_second:
            self._resync(subscription.symbol)
        elif is_second or not self._session.restart(subscription):
            self._drop(f"{what} is silent")
        self._flush()

    def _judge_silence(self, symbol: str, sequence: int) -> None:
        # A snapshot that goes on where the book was: the market is quiet. Otherwise updates were
        # kept from us.
        for subscription in [row for row in self._silent if row.symbol == symbol]:
            if self._silent.pop(subscription) == sequence:
                self._deaf.pop(subscription, None)
                continue
            count = self._deaf[subscription] = self._deaf.get(subscription, 0) + 1
            if count >= DEAF_MAX:
                self._drop(f"order_book {symbol} moved on in silence {count} times")

    def _resync(self, symbol: str) -> None:
        if self._session.book_lost(symbol):
            self._counters["resyncs"] += 1
            self._flush()
            self._later(conversation.RESYNC_PAUSE_SECONDS, self._ask_book_again, symbol)

    def _beat(self) -> None:
        if self._transport is None:
            return
        self._transport.send_ping()
        self._later(self._pong_timeout_seconds, self._check_pong, self._pongs)
        self._later(self._ping_interval_seconds, self._beat)

    def _check_pong(self, pongs_before: int) -> None:
        if self._pongs == pongs_before:
            self._drop(f"no pong within {self._pong_timeout_seconds} s")

    def _expire_held(self) -> None:
        # An update that waits for one that never comes: only time can tell.
        assert self._decoder is not None
        now_ns = self._clock_ns()
        for index in self._decoder.expire(now_ns):
            self.on_gap(index)
            self.on_book(index, now_ns)
        self._later(HELD_CHECK_SECONDS, self._expire_held)

    def _ask_book_again(self, symbol: str) -> None:
        self._session.ask_book_again(symbol)
        self._flush()

    def _flush(self) -> None:
        transport = self._transport
        if transport is not None:
            for frame in self._session.take_outgoing():
                transport.send(_TEXT, frame)

    def _later(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            self._timers.discard(timer)
            function(*arguments)

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)

    def _wants_books(self) -> bool:
        return any(method in self._handlers for method in _NAMES["orderbook"])

    def _call(
        self,
        callback: Callable[..., object] | None,
        *arguments: object,
        must_arrive: bool = False,
    ) -> None:
        if callback is None:
            return
        try:
            result = callback(*arguments)
        except Exception as error:
            self._report(error, f"{callback!r} failed")
            return
        if result is not None and inspect.isawaitable(result):
            lane = self._lane(callback)
            if not lane.run(result) and must_arrive:
                lane.clear()
                self._drop(f"{callback!r} is too slow for the account's news")

    def _lane(self, callback: Callable[..., object]) -> Lane:
        lane = self._lanes.get(id(callback))
        if lane is None:
            lane = Lane(partial(self._report, message=f"{callback!r} failed"))
            self._lanes[id(callback)] = lane
        return lane

    def _report(self, error: BaseException | None, message: str) -> None:
        self._counters["handler_errors"] += 1
        context = {"message": message, "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


def _log_end(runner: "asyncio.Task[None]") -> None:
    # Whoever only calls `connect` never looks at it.
    error = None if runner.cancelled() else runner.exception()
    if error is not None:
        _log.error("the connection has ended for good: %s", error)


def _signer(credentials: ApiCredentials) -> Signer:
    return Signer(credentials.api_key, credentials.api_secret)


def _basic(credentials: ApiCredentials) -> Callable[[], Mapping[str, str]]:
    params = {"algo": "BASIC", "pKey": credentials.api_key, "sKey": credentials.api_secret}
    return lambda: params


def _spelled(symbol: object) -> str:
    return symbol.replace("_", "/") if isinstance(symbol, str) else ""


def _symbol(symbol: str) -> str:
    return TradingPair.parse(symbol).symbol


def _unanswered(method: str, reason: str) -> VenueError:
    if conversation.changes(method):
        return OutcomeUnknownError(reason, endpoint=method, sent="maybe")
    return UnreachableError(reason, endpoint=method, sent="maybe")


def _read(model: type[M], data: object) -> M:
    if not isinstance(data, Mapping):
        raise WireError(f"{model.__name__} should be an object", repr(data)[:200])
    return model.from_wire(data)


def _read_list(model: type[M], rows: object) -> list[M]:
    if not isinstance(rows, list):
        raise WireError(f"a list of {model.__name__} expected", repr(rows)[:200])
    return [_read(model, row) for row in rows]
