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
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from picows import WSError, WSMsgType, WSTransport, ws_connect

from nkfast.client.assembly import MESSAGE_BYTES_MAX, Tap
from nkfast.client.listener import Listener
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
from nkfast.wire.client_session import ClientSession, Subscription
from nkfast.wire.codec import echo_mismatch
from nkfast.wire.models import (
    ApiCredentials,
    Asset,
    Balance,
    MarketInfo,
    Message,
    OrderCancelResult,
    OrderRequest,
    OrderResponse,
    OrderStatus,
    Trade,
)
from nkfast.wire.symbols import TradingPair

__all__ = ["WEBSOCKET_URL", "Subscription", "WebSocketClient"]

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
#: Close codes and words that mean: this key is not wanted, do not come back.
_BANNED = re.compile(r"auth|api.?key|forbidden|banned", re.IGNORECASE)
_BANNED_CODES = (1008, 4001)

_NAMES = {
    "orderbook": ("snapshotOrderbook", "updateOrderbook"),
    "trades": ("snapshotTrades", "updateTrades"),
    "candles": ("snapshotCandles", "updateCandles"),
    "ticker": ("ticker",),
    "reports": ("activeOrders", "report"),
    "balances": ("currentBalances", "balanceUpdate"),
}
_METHODS = frozenset(method for methods in _NAMES.values() for method in methods)

Handler = Callable[[Any], object]
T = TypeVar("T")
M = TypeVar("M", bound=Message)

_log = logging.getLogger("nkfast.client.websocket")


class _Waiting(NamedTuple):
    """A request of the user's: who waits, how its result is read, what limits the wait."""

    future: asyncio.Future[Any]
    read: Callable[[Any], Any]
    method: str
    timer: asyncio.TimerHandle


class WebSocketClient:
    """A client of the venue's WebSocket. Use it with ``async with``, or `connect` and `close` it.

    Parameters
    ----------
    url : str
    credentials : ApiCredentials or None
        Given, the client logs in on every connection. The secret is not kept.
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
    tap : callable or None
        ``tap(received_ns, payload)`` with every text message, before anything else.
    ssl_context : ssl.SSLContext or None
        None takes the system's authorities; certificates are always verified.
    request_timeout_seconds : float
        For the answer to a request, a login, a subscription, and for opening a connection.
    ping_interval_seconds, pong_timeout_seconds : float
        Every so often a ping goes out; without an answer in time the connection is dropped.
    clock_ns : callable
        Monotonic nanoseconds for receive times.

    Notes
    -----
    Callbacks run on the loop's thread, in the order of arrival. An exception in one is logged and
    goes to the loop's exception handler; it disturbs neither the connection nor other callbacks.
    """

    def __init__(
        self,
        url: str = WEBSOCKET_URL,
        credentials: ApiCredentials | None = None,
        *,
        decoder: FrameDecoder | None = None,
        allow_changes: bool = False,
        on_book: Callable[[int, int], object] | None = None,
        on_connection: Callable[[bool, str], object] | None = None,
        tap: Tap | None = None,
        ssl_context: ssl.SSLContext | None = None,
        request_timeout_seconds: float = 10.0,
        ping_interval_seconds: float = 20.0,
        pong_timeout_seconds: float = 10.0,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise ConfigError(f"url must begin with ws:// or wss://, was {url!r}")
        if not 0 < pong_timeout_seconds <= ping_interval_seconds:
            raise ConfigError("pong_timeout_seconds must be positive and within the ping interval")
        signer = credentials and Signer(credentials.api_key, credentials.api_secret)
        self._session = ClientSession(signer.login if signer else None)
        self._url = url
        self._decoder = decoder
        self._allow_changes = allow_changes
        self._book_callback = on_book
        self._connection_callback = on_connection
        self._tap = tap
        self._ssl_context = ssl_context
        self._request_timeout_seconds = request_timeout_seconds
        self._ping_interval_seconds = ping_interval_seconds
        self._pong_timeout_seconds = pong_timeout_seconds
        self._clock_ns = clock_ns
        self._handlers: dict[str, list[Handler]] = {}
        self._handler_tasks: set[asyncio.Future[Any]] = set()
        self._waiting: dict[int, _Waiting] = {}
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
        return counters

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

    async def get_trades(self, symbol: str, limit: int = 100) -> list[Trade]:
        """Return the latest public trades of a market, newest first."""
        params = {"symbol": _symbol(symbol), "limit": limit}
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
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        obstacle = self._obstacle(method)
        if obstacle:
            future.set_exception(UnreachableError(obstacle, endpoint=method, sent="no"))
            return future
        number = self._session.request(method, params)
        self._flush()
        timer = loop.call_later(self._request_timeout_seconds, self._expire, number)
        self._waiting[number] = _Waiting(future, read, method, timer)
        if conversation.changes(method):
            self._unanswered_changes += 1
        return future

    def _obstacle(self, method: str) -> str:
        transport = self._transport
        # picows drops what is sent after a close frame without a word.
        if transport is None or transport.is_close_frame_sent or transport.is_disconnected:
            return "not connected"
        if conversation.changes(method):
            if not self._session.takes_orders:
                return "the login or the reports are not acknowledged yet"
            if self._unanswered_changes >= UNANSWERED_MAX:
                return f"{UNANSWERED_MAX} orders and cancels are unanswered"
        if self._listener is not None and not self._listener.is_writable:
            return "the venue reads too slowly"
        return ""

    def _expire(self, number: int) -> None:
        row = self._waiting.get(number)
        if row is None:
            return
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
        row.timer.cancel()
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
        for task in tuple(self._handler_tasks):
            task.cancel()

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
            self._counters["breaker_openings"] += self._failures == BREAKER_FAILURES
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
                    websocket_handshake_timeout=self._request_timeout_seconds,
                    # Answered by the listener: picows would keep a ping to itself, and with it
                    # the mark that a burst has ended.
                    enable_auto_pong=False,
                    max_frame_size=MESSAGE_BYTES_MAX,
                    max_redirects=0,
                    logger_name=_log,
                )
        except (OSError, WSError, TimeoutError) as error:
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
        self._session.opened()
        self._flush()
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
        if self._decoder is not None and self._book_callback is not None:
            now_ns = self._clock_ns()
            for index in range(len(self._decoder.markets)):
                self.on_book(index, now_ns)

    def on_message(self, payload: bytes, received_ns: int) -> None:
        """Hand the message to whom it concerns."""
        try:
            events = self._session.receive(payload)
        except WireError as error:
            self._counters["rejected_messages"] += 1
            _log.warning("a message was dropped: %s", error)
            return
        for event in events:
            self._handle(event)
        self._flush()
        if not self._is_up:
            self._check_ready()

    def on_snapshot(self, market_index: int) -> None:
        """Note that the book is there."""
        assert self._decoder is not None
        self._session.book_arrived(self._decoder.markets[market_index].symbol)

    def on_gap(self, market_index: int) -> None:
        """Ask for a new snapshot."""
        assert self._decoder is not None
        symbol = self._decoder.markets[market_index].symbol
        if self._session.book_lost(symbol):
            self._counters["resyncs"] += 1
            self._flush()
            self._later(conversation.RESYNC_PAUSE_SECONDS, self._ask_book_again, symbol)

    def on_book(self, market_index: int, received_ns: int) -> None:
        """Tell the owner."""
        self._call(self._book_callback, market_index, received_ns)

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
                for handler in self._handlers.get(method, ()):
                    self._call(handler, params)
            case conversation.LoginRefused(error):
                self._refused_login(error)
            case conversation.SubscriptionRefused(subscription, error):
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
                transport.send(WSMsgType.TEXT, frame)

    def _later(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            self._timers.discard(timer)
            function(*arguments)

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)

    def _wants_books(self) -> bool:
        return any(method in self._handlers for method in _NAMES["orderbook"])

    def _call(self, callback: Callable[..., object] | None, *arguments: object) -> None:
        if callback is None:
            return
        try:
            result = callback(*arguments)
        except Exception as error:
            self._report(error, f"{callback!r} failed")
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(result)
            self._handler_tasks.add(task)
            task.add_done_callback(self._handler_done)

    def _handler_done(self, task: "asyncio.Future[Any]") -> None:
        self._handler_tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._report(task.exception(), f"{task!r} failed")

    def _report(self, error: BaseException | None, message: str) -> None:
        self._counters["handler_errors"] += 1
        context = {"message": message, "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)


def _log_end(runner: "asyncio.Task[None]") -> None:
    # Whoever only calls `connect` never looks at it.
    error = None if runner.cancelled() else runner.exception()
    if error is not None:
        _log.error("the connection has ended for good: %s", error)


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
