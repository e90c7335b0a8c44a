"""The venue's WebSocket for asyncio: market data, the account's news, orders.

One connection carries everything. It is kept up: after any loss, also a clean close, it is opened
again with a random, growing pause, logged in, and everything that was subscribed is subscribed
again. Meanwhile the decoder's books are stale.

`WebSocketClient` is what a user sees. The work is done by `nkfast.client.conversation` and the
modules that it names.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from nkfast.client.assembly import Tap
from nkfast.client.conversation import Conversation, Owner, TalkOptions
from nkfast.client.freshness import STALE_SECONDS, spelled
from nkfast.client.handlers import KINDS, Handler
from nkfast.client.kept_socket import SocketOptions
from nkfast.client.roads import USER_AGENT
from nkfast.client.streams import QUEUE_MAX, Stream
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.core.signing import Signer
from nkfast.errors import ConfigError, OutcomeUnknownError, UnreachableError, VenueError, WireError
from nkfast.wire.addresses import WEBSOCKET_URL
from nkfast.wire.client_session import Channel, ClientSession, Subscription, changes
from nkfast.wire.codec import read_list, read_model
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
from nkfast.wire.symbols import canonical

__all__ = ["STALE_SECONDS", "Subscription", "WebSocketClient"]


T = TypeVar("T")
M = TypeVar("M", bound=Message)


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
    on_late_outcome : callable or None
        ``on_late_outcome(method, about, outcome)``: what became of an order or a cancel that nobody
        waits for, because the task that did was cancelled. ``about`` is the id as it was given,
        ``outcome`` the answer or the error. It is logged as well.
    tap : callable or None
        ``tap(received_ns, payload)`` with every text message, before anything else.
    ssl_context : ssl.SSLContext or None
        For the venue, and for a proxy that speaks TLS. None takes the system's authorities.
        Verification cannot be switched off: a context that does not verify certificate and host
        name is refused.
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
        on_late_outcome: Callable[[str, Any, Any], object] | None = None,
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
        socket_options = SocketOptions(
            url=url,
            ssl_context=ssl_context,
            proxy=proxy,
            user_agent=user_agent,
            timeout_seconds=request_timeout_seconds,
            ping_interval_seconds=ping_interval_seconds,
            pong_timeout_seconds=pong_timeout_seconds,
        )
        options = TalkOptions(
            stale_after_seconds=dict(stale_after_seconds),
            malformed_max=malformed_max,
            malformed_window_seconds=malformed_window_seconds,
            subscriptions_per_second=subscriptions_per_second,
            subscription_priority=subscription_priority,
            allow_changes=allow_changes,
            busy_poll=busy_poll,
            clock_ns=clock_ns,
        )
        owner = Owner(
            on_book=on_book,
            on_connection=on_connection,
            on_refusal=on_refusal,
            on_late_outcome=on_late_outcome,
            tap=tap,
        )
        login = None
        if credentials is not None:
            login = _basic(credentials) if basic_login else _signer(credentials).login
        self._url = url
        self._decoder = decoder
        self._session = ClientSession(login)
        self._talk = Conversation(socket_options, options, self._session, decoder, owner)
        self._requests = self._talk.requests
        self._routes: dict[Stream[Any], Mapping[str, Handler]] = {}

    @property
    def counters(self) -> dict[str, int]:
        """What happened since the beginning, by name."""
        return self._talk.all_counters()

    @property
    def is_breaker_open(self) -> bool:
        """Whether connecting failed so often in a row that it is tried rarely now."""
        return self._talk.is_breaker_open

    # What to be told of

    def subscribe_order_book(self, symbol: str, depth: int = 100) -> Subscription:
        """Want the book of a market, ``depth`` levels a side; kept over reconnects."""
        return self.subscribe(Subscription("order_book", canonical(symbol), depth))

    def subscribe_trades(self, symbol: str) -> Subscription:
        """Want the public trades of a market."""
        return self.subscribe(Subscription("trades", canonical(symbol)))

    def subscribe_ticker(self, symbol: str) -> Subscription:
        """Want the ticker of a market."""
        return self.subscribe(Subscription("ticker", canonical(symbol)))

    def subscribe_candles(self, symbol: str, period_minutes: int, count: int = 100) -> Subscription:
        """Want the bars of a market; the periods are those of `AsyncRestClient.get_candles`."""
        return self.subscribe(Subscription("candles", canonical(symbol), count, period_minutes))

    def subscribe_account_updates(self) -> tuple[Subscription, Subscription]:
        """Want the reports of the account's orders, and its balances."""
        return self.subscribe(Subscription("reports")), self.subscribe(Subscription("balances"))

    def subscribe(self, subscription: Subscription) -> Subscription:
        """Want something from now on and after every reconnect."""
        if subscription.is_private and not self._session.has_login:
            raise ConfigError(f"{subscription.method} is private: give the client credentials")
        self._session.subscribe(subscription)
        self._talk.flush()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Want something no longer."""
        self._session.unsubscribe(subscription)
        self._talk.flush()

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
        self._talk.handlers.add(method, callback)
        self._talk.tune()

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
            "ticker", subscription.symbol, lambda row: [read_model(MarketTicker, row)], 1
        )

    def candles(
        self, symbol: str, period_minutes: int, count: int = 100, queue_max: int = QUEUE_MAX
    ) -> "Stream[Candle]":
        """Subscribe and return the bars of a market; the last is told again as it grows."""
        subscription = self.subscribe_candles(symbol, period_minutes, count)

        def read(params: Any) -> list[Candle]:
            if str(params.get("period", period_minutes)) != str(period_minutes):
                return []
            return read_list(Candle, params.get("data"))

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
                self._talk.drop("the reader of the account's news is too slow")

        readers: dict[str, Callable[[Any], Iterable[OrderStatus | Balance]]] = {
            "activeOrders": lambda rows: read_list(OrderStatus, rows),
            "report": lambda row: [read_model(OrderReport, row)],
            "currentBalances": lambda rows: read_list(Balance, rows),
            "balanceUpdate": lambda row: [read_model(Balance, row)],
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
        symbol = canonical(symbol)
        known = () if self._decoder is None else [market.symbol for market in self._decoder.markets]
        if self._decoder is None or symbol not in known:
            raise ConfigError(f"no book of {symbol}: make the client with a decoder for it")
        index = self._decoder.index(symbol)
        stream: Stream[OrderBook] = Stream(1, self._forget_stream)
        self._talk.add_book_stream(index, stream)
        self._add_stream(stream, {})
        self.subscribe_order_book(symbol, depth)
        return stream

    def _stream(
        self, name: str, symbol: str, read: Callable[[Any], list[M]], queue_max: int
    ) -> "Stream[M]":
        stream: Stream[M] = Stream(queue_max, self._forget_stream)
        key = symbol if queue_max == 1 else None

        def push(params: Any) -> None:
            if isinstance(params, Mapping) and spelled(params.get("symbol")) == symbol:
                for item in self._readable(read, params):
                    stream.put(item, key)

        self._add_stream(stream, dict.fromkeys(KINDS[name], push))
        return stream

    def _readable(self, read: Callable[[Any], Iterable[T]], params: Any) -> Iterable[T]:
        try:
            return read(params)
        except WireError as error:
            self._talk.reject(error)
            return ()

    def _add_stream(self, stream: Stream[Any], routes: Mapping[str, Handler]) -> None:
        self._routes[stream] = routes
        self._talk.streams.add(stream)
        for method, push in routes.items():
            self.register_handler(method, push)

    def _forget_stream(self, stream: Stream[Any]) -> None:
        self._talk.streams.discard(stream)
        for method, push in self._routes.pop(stream).items():
            self._talk.handlers.remove(method, push)
        self._talk.remove_book_stream(stream)

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
        return self._requests.send_new_order(request)

    def send_cancel_order(
        self, *, order_id: str | None = None, user_provided_id: str | None = None
    ) -> "asyncio.Future[OrderCancelResult]":
        """Ask to cancel an order, by the venue's id or ours; as `send_new_order`.

        `OrderNotFoundError` means that it is not open any more: look it up to learn why.
        """
        return self._requests.send_cancel_order(order_id, user_provided_id)

    async def new_order(self, request: OrderRequest) -> OrderResponse:
        """Send one order and wait for the answer; see `send_new_order`.

        Whoever cancels this once the order is sent gets `OutcomeUnknownError` in place of
        `asyncio.CancelledError`, also out of `asyncio.timeout`, for the order may exist. How it
        ended is logged and told to ``on_late_outcome``.
        """
        sent = self.send_new_order(request)
        return await self._outcome("newOrder", request.user_provided_id, sent)

    async def cancel_order(
        self, *, order_id: str | None = None, user_provided_id: str | None = None
    ) -> OrderCancelResult:
        """Cancel an order and wait for the answer; see `send_cancel_order` and `new_order`."""
        sent = self.send_cancel_order(order_id=order_id, user_provided_id=user_provided_id)
        return await self._outcome("cancelOrder", order_id or user_provided_id, sent)

    async def _outcome(self, method: str, about: object, sent: "asyncio.Future[T]") -> T:
        try:
            return await asyncio.shield(sent)
        except asyncio.CancelledError:
            reason = "the call was cancelled before its answer came"
            if not sent.cancel():  # what is in flight stays in flight; its answer came just now
                reason = "the call was cancelled as its answer came"
                self._talk.tell_late_outcome(method, about, sent.exception() or sent.result())
            raise OutcomeUnknownError(reason, endpoint=method, sent="maybe") from None

    async def get_orders(self, symbol: str | None = None) -> list[OrderStatus]:
        """Return the account's open orders."""
        params = {"symbol": canonical(symbol)} if symbol is not None else {}
        rows = await self._ask("getOrders", params, lambda rows: read_list(OrderStatus, rows))
        return rows if symbol is None else [row for row in rows if row.symbol == params["symbol"]]

    async def get_trading_balance(self) -> list[Balance]:
        """Return the account's balances."""
        return await self._ask("getTradingBalance", {}, lambda rows: read_list(Balance, rows))

    async def get_market(self, symbol: str) -> MarketInfo:
        """Return one market with its trading rules."""
        params = {"symbol": canonical(symbol)}
        return await self._ask("getMarket", params, lambda row: read_model(MarketInfo, row))

    async def get_markets(self) -> list[MarketInfo]:
        """Return every market with its trading rules."""
        return await self._ask("getMarkets", {}, lambda rows: read_list(MarketInfo, rows))

    async def get_asset(self, ticker: str) -> Asset:
        """Return one asset."""
        return await self._ask("getAsset", {"ticker": ticker}, lambda row: read_model(Asset, row))

    async def get_assets(self) -> list[Asset]:
        """Return every asset."""
        return await self._ask("getAssets", {}, lambda rows: read_list(Asset, rows))

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
        params: dict[str, object] = {"symbol": canonical(symbol), "limit": limit}
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
        sent = self._requests.send(method, params, lambda result: result)
        return await (self._outcome(method, params, sent) if changes(method) else sent)

    async def _ask(self, method: str, params: Mapping[str, object], read: Callable[[Any], T]) -> T:
        return await self._requests.send(method, params, read)

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
        return self._talk.is_ready

    async def connect(self, timeout_seconds: float = 30.0) -> None:
        """Connect, log in, subscribe, and keep it so in the background.

        Raises
        ------
        VenueError
            The login or a subscription was refused, or not everything was acknowledged in time.
        """
        self._talk.start()
        assert self._talk.ready is not None
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.shield(self._talk.ready)
        except TimeoutError:
            reason = self._talk.loss_reason
            if not reason and self._talk.transport is None:
                reason = "the connection could not be opened"
            reason = reason or "not everything was acknowledged"
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
        runner = self._talk.start()
        try:
            await asyncio.shield(runner)
        except asyncio.CancelledError:
            if runner.cancelled():  # by `close`
                return
            await self.close()
            raise

    def reconnect(self, reason: str) -> None:
        """Give the connection up and make a new one; unanswered requests end as unknown."""
        self._talk.drop(reason)

    async def close(self) -> None:
        """Close the connection for good; unanswered requests end as unknown or unreachable."""
        await self._talk.close()


def _signer(credentials: ApiCredentials) -> Signer:
    return Signer(credentials.api_key, credentials.api_secret)


def _basic(credentials: ApiCredentials) -> Callable[[], Mapping[str, str]]:
    params = {"algo": "BASIC", "pKey": credentials.api_key, "sKey": credentials.api_secret}
    return lambda: params
