"""The real exchange, or one that speaks like it, as a venue.

Market data, reports and orders share one WebSocket, already logged in; REST serves what the socket
cannot: looking orders up, lists, balances, and orders while the socket is away. An order takes one
of the two ways and never both.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.errors import (
    ClockError,
    OutcomeUnknownError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.venue.clock import Clock
from nkfast.venue.port import (
    NewOrder,
    OrderUpdate,
    PublicTrade,
    VenueListener,
    ask_each,
)
from nkfast.venue.rest_account import RestAccount
from nkfast.venue.translation import holding_of, object_of, reported_execution, update_of
from nkfast.wire.models import (
    Balance,
    OrderCancelResult,
    OrderReport,
    OrderRequest,
    OrderResponse,
    OrderStatus,
    Trade,
)

__all__ = ["LiveVenue", "MakeWebSocket"]

_CLOCKS_APART_MAX_S = 30.0

_Reply = TypeVar("_Reply")
_log = logging.getLogger("nkfast.venue.live")


class MakeWebSocket(Protocol):
    """Makes the venue's WebSocket client: ``partial(WebSocketClient, url, credentials, ...)``."""

    def __call__(
        self,
        *,
        decoder: FrameDecoder,
        on_book: Callable[[int, int], object],
        on_connection: Callable[[bool, str], object],
        clock_ns: Callable[[], int],
    ) -> WebSocketClient: ...


class LiveVenue(RestAccount):
    """An account at the exchange. See `Venue` for what its methods promise.

    Parameters
    ----------
    rest : AsyncRestClient
        With the account's credentials; it stays the caller's to close.
    websocket : callable
        Makes the client of the WebSocket, with the same credentials; called once, by `start`,
        when the markets are known. Whether orders may be sent is decided by ``allow_changes`` of
        both clients.
    clock : Clock
        Tells when frames arrive.
    ready_timeout_s : float
        How long `start` waits for the login, every subscription and every book.
    """

    name = "live"

    def __init__(
        self,
        *,
        rest: AsyncRestClient,
        websocket: MakeWebSocket,
        clock: Clock,
        ready_timeout_s: float = 30.0,
    ) -> None:
        super().__init__(rest)
        self._make_websocket = websocket
        self._clock = clock
        self._ready_timeout_s = ready_timeout_s
        self._markets: dict[str, Market] = {}
        self._symbols: tuple[str, ...] = ()  # of the decoder's markets, by their index
        self._decoder = FrameDecoder([])
        self._websocket: WebSocketClient | None = None
        self._answers: set[asyncio.Task[OrderUpdate]] = set()
        self._is_closed = False
        self._rejected_messages = 0

    @property
    def markets(self) -> Mapping[str, Market]:
        """The watched markets by symbol; empty before `start`."""
        return self._markets

    @property
    def counters(self) -> Mapping[str, int]:
        """The decoder's counters, those of the connection, and messages that could not be read."""
        connection = self._websocket.counters if self._websocket is not None else {}
        return {
            **self._decoder.counters,
            **{f"connection_{name}": count for name, count in connection.items()},
            "account_messages_rejected": self._rejected_messages,
        }

    def book(self, symbol: str) -> OrderBook:
        """Return the live book of a watched market."""
        return self._decoder.book(symbol)

    async def start(self, symbols: Sequence[str], listener: VenueListener) -> None:
        """Read the markets, connect, log in, subscribe; return when every book is live.

        Raises
        ------
        nkfast.errors.ClockError
            Our clock and the venue's are too far apart: histories are asked for by time.
        """
        await self._check_clock()
        read = await ask_each(self.read_market, symbols)
        self._markets = markets = {market.symbol: market for market in read}
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._symbols = tuple(markets)
        self._decoder = FrameDecoder(list(markets.values()))
        self._live: asyncio.Future[None] = self._loop.create_future()
        self._is_started = self._is_live = False
        websocket = self._websocket = self._make_websocket(
            decoder=self._decoder,
            on_book=self._on_book,
            on_connection=self._on_connection,
            clock_ns=self._clock.monotonic_ns,
        )
        websocket.register_handler("activeOrders", self._reading(self._on_active_orders))
        websocket.register_handler("report", self._reading(self._on_report))
        websocket.register_handler("balances", self._reading(self._on_balances))
        websocket.register_handler("updateTrades", self._reading(self._on_trades))
        # The account's news first: lists that are read after this cannot miss anything.
        websocket.subscribe_account_updates()
        for symbol in symbols:
            websocket.subscribe_order_book(symbol)
            websocket.subscribe_trades(symbol)
        try:
            async with asyncio.timeout(self._ready_timeout_s):
                await websocket.connect(self._ready_timeout_s)
                await self._live
        except TimeoutError:
            waiting = [symbol for symbol in symbols if self.book(symbol).state != "live"]
            raise UnreachableError(
                f"no live book of {', '.join(waiting)} within {self._ready_timeout_s} s",
                endpoint="subscribeOrderbook",
                sent="yes",
            ) from None
        self._is_started = True
        listener.on_connection(True, "logged in, every book is live")

    async def _check_clock(self) -> None:
        asked_ns = self._clock.time_ns()
        venue_ms = (await self._rest.get_time()).time_ms
        apart_s = ((asked_ns + self._clock.time_ns()) / 2e6 - venue_ms) / 1e3
        if abs(apart_s) > _CLOCKS_APART_MAX_S:
            side = "ahead of" if apart_s > 0 else "behind"
            raise ClockError(
                f"our clock is {abs(apart_s):.0f} s {side} the venue's, the limit is"
                f" {_CLOCKS_APART_MAX_S:g} s; set it",
                endpoint="/time",
                sent="yes",
            )

    async def close(self) -> None:
        """Close the WebSocket; orders stay as they are, unanswered requests end as unknown."""
        self._is_closed = True
        await self.end_readings()
        if self._websocket is not None:
            await self._websocket.close()
        answers = list(self._answers)
        for task in answers:
            task.cancel()
        if answers:
            await asyncio.wait(answers)

    # -- orders -------------------------------------------------------------------------------

    def submit(self, order: NewOrder) -> asyncio.Future[OrderUpdate]:
        """Send one order: over the WebSocket, before this returns, if that takes orders now."""
        request = OrderRequest(
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            price=order.price,
            order_type=order.type,
            user_provided_id=order.client_id,
            # Otherwise the venue may cut digits off, and the echo could not be compared.
            strict_validate=True,
        )
        websocket = self._websocket
        if websocket is None or self._is_closed:
            return _not_open()
        sent = websocket.send_new_order(request)
        if _was_not_sent(sent):
            return self._answer(self._accepted(lambda: self._rest.create_order(request)))
        return self._answer(self._accepted(lambda: sent))

    def cancel(self, symbol: str, client_id: str, order_id: str) -> asyncio.Future[OrderUpdate]:
        """Ask to cancel, by the venue's id where it is known; the way is chosen as in `submit`."""
        websocket = self._websocket
        if websocket is None or self._is_closed:
            return _not_open()
        name = order_id or client_id
        if order_id:
            sent = websocket.send_cancel_order(order_id=order_id)
        else:
            sent = websocket.send_cancel_order(user_provided_id=client_id)
        if _was_not_sent(sent):
            return self._answer(self._cancelled(lambda: self._rest.cancel_order(name), name))
        return self._answer(self._cancelled(lambda: sent, name))

    def _answer(self, answer: Coroutine[Any, Any, OrderUpdate]) -> asyncio.Future[OrderUpdate]:
        task = self._loop.create_task(answer)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        return task

    # Both take a function, not a coroutine: one that is cancelled before it begins would leave
    # an inner coroutine behind that nobody ever awaits.
    async def _accepted(self, request: Callable[[], Awaitable[OrderResponse]]) -> OrderUpdate:
        return update_of(await self._until_closed(request))

    async def _cancelled(
        self, request: Callable[[], Awaitable[OrderCancelResult]], name: str
    ) -> OrderUpdate:
        result = await self._until_closed(request)
        if result.order is not None:
            return update_of(result.order)
        # The answer says only that it is cancelled; what was filled before has to be asked.
        try:
            return update_of(await self._rest.get_order(name))
        except (VenueError, WireError) as error:
            raise OutcomeUnknownError(
                f"cancelled, but its fills could not be read: {error}",
                endpoint="cancelOrder",
                sent="yes",
            ) from error

    async def _until_closed(self, request: Callable[[], Awaitable[_Reply]]) -> _Reply:
        try:
            return await request()
        except asyncio.CancelledError:
            if self._is_closed:
                raise OutcomeUnknownError("the venue was closed", sent="maybe") from None
            raise

    def resync(self, reason: str) -> None:
        """Give the WebSocket up; its client makes a new one."""
        if self._websocket is not None and not self._is_closed:
            self._websocket.reconnect(reason)

    # -- what the WebSocket tells -------------------------------------------------------------

    def _on_book(self, market_index: int, received_ns: int) -> None:
        self._listener.on_book(self._symbols[market_index], received_ns)
        if not self._is_live and all(self.book(symbol).state == "live" for symbol in self._symbols):
            self._is_live = True
            if not self._live.done():  # else who waited has given up
                self._live.set_result(None)

    def _on_connection(self, is_up: bool, reason: str) -> None:
        if self._is_started and not self._is_closed:
            self._listener.on_connection(is_up, reason)

    def _reading(self, handle: Callable[[Any], None]) -> Callable[[Any], None]:
        # A message of the account that cannot be read is lost news; the next reconciliation
        # finds what it said.
        def call(params: Any) -> None:
            try:
                handle(params)
            except WireError as error:
                self._rejected_messages += 1
                _log.warning("an account message was dropped: %s", error)

        return call

    def _on_active_orders(self, rows: list[Any]) -> None:
        for row in rows:
            order = OrderStatus.from_wire(object_of(row))
            if order.symbol in self._markets:
                self._listener.on_order(update_of(order))

    def _on_report(self, params: Any) -> None:
        report = OrderReport.from_wire(object_of(params))
        market = self._markets.get(report.symbol)
        if market is not None:
            self._listener.on_order(update_of(report, reported_execution(report, market)))

    def _on_balances(self, params: Any) -> None:
        rows = params if isinstance(params, list) else [params]
        balances = [Balance.from_wire(object_of(row)) for row in rows]
        self._listener.on_holdings([holding_of(balance) for balance in balances])

    def _on_trades(self, params: Any) -> None:
        for trade in Trade.from_stream(params):
            self._listener.on_trade(
                PublicTrade(
                    symbol=trade.symbol,
                    trade_id=trade.trade_id,
                    price=trade.price,
                    quantity=trade.quantity,
                    side=trade.side,
                    time_ms=trade.time_ms,
                )
            )


def _was_not_sent(sent: asyncio.Future[Any]) -> bool:
    """Return whether a request ended at once because the socket takes none now."""
    if not sent.done() or sent.cancelled():
        return False
    error = sent.exception()
    return isinstance(error, UnreachableError) and error.sent == "no"


def _not_open() -> asyncio.Future[OrderUpdate]:
    future: asyncio.Future[OrderUpdate] = asyncio.get_running_loop().create_future()
    future.set_exception(UnreachableError("the venue is not open", sent="no"))
    return future
