"""The real exchange, or one that speaks like it, as a venue.

Market data, reports and orders share one WebSocket, already logged in; REST serves what the socket
cannot: looking orders up, lists, balances, and orders while the socket is away. An order takes one
of the two ways and never both.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.errors import (
    OrderNotFoundError,
    OutcomeUnknownError,
    SymbolNotFoundError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.venue.clock import Clock
from nkfast.venue.port import (
    BookLevels,
    Execution,
    Holding,
    NewOrder,
    OrderUpdate,
    PublicTrade,
    VenueListener,
    VenueStatus,
)
from nkfast.wire.models import (
    AccountTrade,
    Balance,
    OrderCancelResult,
    OrderReport,
    OrderRequest,
    OrderResponse,
    OrderState,
    OrderStatus,
    Trade,
)

__all__ = ["LiveVenue", "MakeWebSocket"]

#: The longest page of a list, and the furthest the newest-first list of trades can be turned.
_PAGE_ROWS = 500
_SKIP_MAX = 500
#: A list of open orders that does not end before this is not believed.
_PAGES_MAX = 40
#: How often a list of several pages is read until two readings agree.
_STABLE_READS = 4

_STATUS = {
    OrderState.NEW: VenueStatus.OPEN,
    OrderState.ACTIVE: VenueStatus.OPEN,
    OrderState.SUSPENDED: VenueStatus.OPEN,
    OrderState.PARTLY_FILLED: VenueStatus.PARTLY_FILLED,
    OrderState.FILLED: VenueStatus.FILLED,
    OrderState.CANCELLED: VenueStatus.CANCELLED,
    OrderState.REJECTED: VenueStatus.REJECTED,
    OrderState.EXPIRED: VenueStatus.EXPIRED,
    OrderState.UNKNOWN: VenueStatus.UNKNOWN,
}

_ListedStatus = Literal["active", "filled", "cancelled"]
_LISTED_STATUSES: tuple[_ListedStatus | None, ...] = (None, "active", "filled", "cancelled")

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


class LiveVenue:
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
        self._rest = rest
        self._make_websocket = websocket
        self._clock = clock
        self._ready_timeout_s = ready_timeout_s
        self._markets: dict[str, Market] = {}
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
        """Read the markets, connect, log in, subscribe; return when every book is live."""
        markets = {}
        for symbol in symbols:
            market = await self.read_market(symbol)
            if market.symbol != symbol:
                raise SymbolNotFoundError(f"asked for {symbol}, got {market.symbol}")
            markets[symbol] = market
        self._markets = markets
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder(list(markets.values()))
        self._live: asyncio.Future[None] = self._loop.create_future()
        self._is_started = False
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

    async def close(self) -> None:
        """Close the WebSocket; orders stay as they are, unanswered requests end as unknown."""
        self._is_closed = True
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
        return _update_of(await self._until_closed(request))

    async def _cancelled(
        self, request: Callable[[], Awaitable[OrderCancelResult]], name: str
    ) -> OrderUpdate:
        result = await self._until_closed(request)
        if result.order is not None:
            return _update_of(result.order)
        # The answer says only that it is cancelled; what was filled before has to be asked.
        try:
            return _update_of(await self._rest.get_order(name))
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

    # -- lists --------------------------------------------------------------------------------

    async def find_order(self, symbol: str, name: str) -> OrderUpdate | None:
        """Look an order up by our id or the venue's. None when the venue does not know it."""
        try:
            order = await self._rest.get_order(name)
        except OrderNotFoundError:
            return None
        if name not in (order.user_provided_id, order.order_id) or order.symbol not in ("", symbol):
            raise UnreachableError(
                f"asked for order {name}, the answer describes "
                f"{order.user_provided_id or order.order_id} on {order.symbol}",
                endpoint="/getorder",
                sent="yes",
            )
        return _update_of(order)

    async def open_orders(self, symbol: str) -> list[OrderUpdate]:
        """Return every open order of this account on a market, ours and foreign."""
        rows, pages = await self._list_orders("active")
        if pages > 1:
            # An order that ended between two pages moves the later ones up by one place: what is
            # read twice, alike, is whole.
            for _ in range(_STABLE_READS):
                before, (rows, _) = rows, await self._list_orders("active")
                if before.keys() == rows.keys():
                    break
            else:
                raise UnreachableError(
                    f"the list of open orders changed in each of {_STABLE_READS} reads",
                    endpoint="/account/orders",
                    sent="yes",
                )
        return [
            _update_of(row)
            for row in rows.values()
            if row.symbol == symbol and not row.status.is_final
        ]

    async def order_history(self, symbol: str, since_ms: int) -> list[OrderUpdate]:
        """Return every order of this account that was made on a market since a time.

        What the list holds when no status is asked for is documented nowhere: each is asked for.
        New orders move the older ones down, so that rows come twice, never not at all.
        """
        rows: dict[str, OrderStatus] = {}
        for status in _LISTED_STATUSES:
            found, _ = await self._list_orders(status, since_ms)
            rows.update(found)
        return [_update_of(row) for row in rows.values() if row.symbol == symbol]

    async def _list_orders(
        self, status: _ListedStatus | None, since_ms: int | None = None
    ) -> tuple[dict[str, OrderStatus], int]:
        """Return the rows of all pages by the venue's id, and how many pages there were.

        Without a symbol: the client would take foreign rows out, and how full a page was could not
        be told.
        """
        found: dict[str, OrderStatus] = {}
        for page in range(_PAGES_MAX):
            rows = await self._rest.get_orders(
                status=status, limit=_PAGE_ROWS, skip=page * _PAGE_ROWS, since_ms=since_ms
            )
            found.update((row.order_id, row) for row in rows)
            if len(rows) < _PAGE_ROWS:
                return found, page + 1
        raise UnreachableError(
            f"the list of orders has more than {_PAGES_MAX * _PAGE_ROWS} rows",
            endpoint="/account/orders",
            sent="yes",
        )

    async def executions(self, symbol: str, since_ms: int) -> list[Execution]:
        """Return the account's fills on a market since a time, oldest first."""
        rows: dict[tuple[str, str], AccountTrade] = {}
        for skip in range(0, _SKIP_MAX + 1, _PAGE_ROWS):
            page = await self._rest.get_account_trades(
                limit=_PAGE_ROWS, skip=skip, since_ms=since_ms
            )
            rows.update(((row.trade_id, row.order_id), row) for row in page)
            if len(page) < _PAGE_ROWS:
                break
        else:
            rows = await self._older_trades(since_ms)
        fills = [row for row in rows.values() if row.symbol == symbol and row.time_ms >= since_ms]
        fills.sort(key=lambda row: row.time_ms)
        return [_execution_of(row) for row in fills]

    async def _older_trades(self, since_ms: int) -> dict[tuple[str, str], AccountTrade]:
        """Read more fills than the newest-first list reaches: from the oldest on, by time."""
        rows: dict[tuple[str, str], AccountTrade] = {}
        while True:
            page = await self._rest.get_account_trades_since(since_ms, limit=_PAGE_ROWS)
            known = len(rows)
            rows.update(((row.trade_id, row.order_id), row) for row in page)
            if len(page) < _PAGE_ROWS:
                return rows
            if len(rows) == known:
                raise UnreachableError(
                    f"more than {_PAGE_ROWS} fills in one millisecond, or the list of trades "
                    f"does not go on after {since_ms}",
                    endpoint="/gettradessince",
                    sent="yes",
                )
            since_ms = max(row.time_ms for row in page)

    async def holdings(self) -> list[Holding]:
        """Return every balance of the account, zeros too."""
        return [_holding_of(row) for row in await self._rest.get_balances()]

    async def read_market(self, symbol: str) -> Market:
        """Read a market's rules over REST."""
        return Market.from_wire((await self._rest.get_market(symbol=symbol)).raw)

    async def read_book(self, symbol: str, depth: int) -> BookLevels | None:
        """Read a market's book over REST."""
        book = await self._rest.get_order_book(symbol=symbol, limit=depth)
        return BookLevels(
            [(level.price, level.quantity) for level in book.bids],
            [(level.price, level.quantity) for level in book.asks],
        )

    def resync(self, reason: str) -> None:
        """Give the WebSocket up; its client makes a new one."""
        if self._websocket is not None and not self._is_closed:
            self._websocket.reconnect(reason)

    # -- what the WebSocket tells -------------------------------------------------------------

    def _on_book(self, market_index: int, received_ns: int) -> None:
        self._listener.on_book(self._decoder.markets[market_index].symbol, received_ns)
        if not self._live.done() and all(
            self.book(symbol).state == "live" for symbol in self._markets
        ):
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
            order = OrderStatus.from_wire(_object(row))
            if order.symbol in self._markets:
                self._listener.on_order(_update_of(order))

    def _on_report(self, params: Any) -> None:
        report = OrderReport.from_wire(_object(params))
        market = self._markets.get(report.symbol)
        if market is not None:
            self._listener.on_order(_update_of(report, _reported_execution(report, market)))

    def _on_balances(self, params: Any) -> None:
        rows = params if isinstance(params, list) else [params]
        balances = [Balance.from_wire(_object(row)) for row in rows]
        self._listener.on_holdings([_holding_of(balance) for balance in balances])

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


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise WireError("an object expected", repr(value)[:200])
    return value


def _update_of(order: OrderStatus, execution: Execution | None = None) -> OrderUpdate:
    return OrderUpdate(
        client_id=order.user_provided_id,
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        price=order.price,
        quantity=order.quantity,
        executed=order.filled_quantity,
        status=_STATUS[order.status],
        execution=execution,
        time_ms=order.updated_ms,
    )


def _reported_execution(report: OrderReport, market: Market) -> Execution | None:
    if not report.trade_id or report.trade_price is None or report.trade_quantity is None:
        return None
    return Execution(
        trade_id=report.trade_id,
        order_id=report.order_id,
        client_id=report.user_provided_id or None,
        symbol=report.symbol,
        side=report.side,
        price=report.trade_price,
        quantity=report.trade_quantity,
        fee=report.trade_fee,
        fee_asset=market.quote,
        is_maker=None,
        time_ms=report.updated_ms,
    )


def _execution_of(row: AccountTrade) -> Execution:
    return Execution(
        trade_id=row.trade_id,
        order_id=row.order_id,
        client_id=None,
        symbol=row.symbol,
        side=row.side,
        price=row.price,
        quantity=row.quantity,
        fee=row.fee,
        fee_asset=row.fee_asset,
        is_maker=row.is_maker,
        time_ms=row.time_ms,
    )


def _holding_of(balance: Balance) -> Holding:
    return Holding(balance.asset, balance.available, balance.held, balance.pending)
