"""The simulated exchange as a venue, in this process: no sockets, and any clock.

The account's news and the market data are the exchange's own text frames and pass the weather;
orders and lists are calls that meet the same faults as REST requests would. On a `VirtualLoop` the
same seeds give the same run, to the last frame.

What is on its way to the exchange, and what the exchange does, runs in a `contextvars` context of
its own; news reaches the client in the client's. So a test can stop everything that a client does
and leave the exchange and the network as they are.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market
from nkfast.errors import (
    OrderNotFoundError,
    OutcomeUnknownError,
    RateLimitError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.exchange import shapes
from nkfast.exchange.accounts import Account
from nkfast.exchange.authentication import Authenticator
from nkfast.exchange.conversation import Broadcast, Conversation
from nkfast.exchange.desk import ExchangeDesk
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.orders import AccountTrade as Fill
from nkfast.exchange.orders import Order
from nkfast.exchange.recording import Recording
from nkfast.exchange.rules import OrderForm
from nkfast.exchange.traders import Crowd
from nkfast.exchange.weather import Fate, Weather
from nkfast.venue.clock import Clock
from nkfast.venue.port import (
    BookLevels,
    Execution,
    Holding,
    NewOrder,
    OrderUpdate,
    PublicTrade,
    VenueListener,
)
from nkfast.venue.translation import (
    execution_of,
    holding_of,
    object_of,
    reported_execution,
    update_of,
)
from nkfast.wire.codec import decode_frame, encode_request
from nkfast.wire.models import (
    AccountTrade,
    Balance,
    OrderBookSnapshot,
    OrderReport,
    OrderResponse,
    Trade,
)
from nkfast.wire.server_session import Channel, ServerSession

__all__ = ["SimulatedVenue"]

_RECONNECT_S: Final = 0.5
#: A connection that is not ready after this is broken off.
_READY_S: Final = 5.0
#: A book that says nothing for so long is asked for anew.
_SILENCE_S: Final = 15.0

_Reply = TypeVar("_Reply")


class _Link:
    """The client's end of one conversation: what comes out of it runs in the client's context."""

    def __init__(self, venue: "SimulatedVenue", loop: asyncio.AbstractEventLoop) -> None:
        self._venue = venue
        self._loop = loop
        self._context = contextvars.copy_context()
        self.is_over = False

    def put(self, frame: bytes, is_cut: bool) -> None:
        if is_cut:
            self.reset()
        elif not self.is_over:
            self._loop.call_soon(self._take, frame, context=self._context)

    def reset(self) -> None:
        if not self.is_over:
            self._loop.call_soon(self._lose, context=self._context)

    def _take(self, frame: bytes) -> None:
        if not self.is_over:
            self._venue.take(self, frame)

    def _lose(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._venue.lose(self)


class SimulatedVenue:
    """One account at an `Exchange` of this process. See `Venue` for what its methods promise.

    Parameters
    ----------
    exchange : Exchange
        It goes on when the venue is closed, and may have several venues.
    account : Account
    clock : Clock
        Gives the exchange its time.
    weather : Weather or None
        What goes wrong on the way; None: nothing.
    crowd : Crowd, Recording or None
        Who else trades; this venue lets them live while it is open.
    tick_s : float
        How often the exchange lives, and the venue looks after its connection, seconds.
    """

    name = "simulated"

    def __init__(
        self,
        exchange: Exchange,
        account: Account,
        *,
        clock: Clock,
        weather: Weather | None = None,
        crowd: Crowd | Recording | None = None,
        tick_s: float = 0.1,
    ) -> None:
        self._exchange = exchange
        self._account = account
        self._clock = clock
        self._weather = weather if weather is not None else Weather()
        self._crowd = crowd
        self._tick_s = tick_s
        self._outside = contextvars.Context()
        self._desk = ExchangeDesk(exchange, Authenticator())
        self._broadcast = Broadcast(exchange, self._desk, self._weather)
        self._counters: Counter[str] = Counter()
        self._markets: dict[str, Market] = {}
        self._decoder = FrameDecoder([])
        self._link: _Link | None = None
        self._conversation: Conversation | None = None
        self._is_up = False
        self._orders_told: dict[str, tuple[object, OrderUpdate]] = {}
        self._fills_told: dict[tuple[str, str], Execution] = {}
        self._life: asyncio.Task[None] | None = None

    @property
    def markets(self) -> Mapping[str, Market]:
        """The watched markets by symbol; empty before `start`."""
        return self._markets

    @property
    def counters(self) -> Mapping[str, int]:
        """The decoder's counters, connections, and messages that could not be read."""
        return {**self._decoder.counters, **self._counters}

    def book(self, symbol: str) -> OrderBook:
        """Return the book of a watched market, as far as the weather let it through."""
        return self._decoder.book(symbol)

    async def start(self, symbols: Sequence[str], listener: VenueListener) -> None:
        """Connect and subscribe; return when every book is live."""
        for symbol in symbols:
            self._markets[symbol] = self._market(symbol)
        self._decoder = FrameDecoder(list(self._markets.values()))
        self._listener = listener
        self._weather.attach(self._exchange)
        self._exchange.listeners.append(self._broadcast)
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._life = self._loop.create_task(self._live())
        await asyncio.wait((self._ready, self._life), return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            self._life.result()

    async def close(self) -> None:
        """Disconnect; orders stay as they are."""
        if self._life is None:
            return
        self._life.cancel()
        await asyncio.wait([self._life])
        self.abandon()

    def abandon(self) -> None:
        """End the connection as the end of the client's process would; orders stay as they are.

        What is on its way to the exchange arrives. Tasks of the client are left to whoever calls.
        """
        if self._link is not None:
            self._link.is_over = True
            self._end_conversation()
        if self._broadcast in self._exchange.listeners:
            self._exchange.listeners.remove(self._broadcast)

    # -- the connection -----------------------------------------------------------------------

    async def _live(self) -> None:
        connect_s = self._loop.time()
        while True:
            self._weather.step()
            now_s = self._loop.time()
            if self._crowd is not None:
                self._crowd.step(self._now_ms())
            if self._link is None:
                if now_s >= connect_s:
                    connect_s = now_s + _RECONNECT_S
                    self._connect()
            else:
                connect_s = now_s + _RECONNECT_S
                if self._weather.is_maintenance or self._is_hopeless(now_s):
                    self._conversation_of(self._link).reset()
            await asyncio.sleep(self._tick_s)

    def _connect(self) -> None:
        if not self._weather.request("connect").is_readable:
            return
        self._counters["connections"] += 1
        self._link = link = _Link(self, self._loop)
        session = ServerSession(self._desk)
        session.account = self._account.name  # nobody else is in this process
        self._conversation = Conversation(session, self._receive, self._weather, link)
        self._broadcast.conversations[self._conversation] = None
        self._connected_s = self._loop.time()
        self._unanswered: set[str] = set()
        self._ask("subscribeReports")
        for symbol in self._markets:
            self._ask("subscribeOrderbook", symbol=symbol)
            self._ask("subscribeTrades", symbol=symbol)
        self._ask("subscribeBalances")

    def _conversation_of(self, link: _Link) -> Conversation:
        assert self._link is link and self._conversation is not None
        return self._conversation

    def _is_hopeless(self, now_s: float) -> bool:
        if not self._is_up:
            return now_s - self._connected_s > _READY_S
        now_ns = self._clock.monotonic_ns()
        return any(
            self.book(symbol).state != "live"
            or now_ns - self.book(symbol).received_ns > _SILENCE_S * 1e9
            for symbol in self._markets
        )

    def _ask(self, method: str, **params: Any) -> None:
        name = f"{method} {params.get('symbol', '')}"
        self._unanswered.add(name)
        if self._conversation is not None:  # the weather may have broken it off meanwhile
            request = encode_request(method, params, name)
            self._outside.run(self._conversation.answer, request)

    def _receive(
        self, session: ServerSession, frame: str | bytes, refused: VenueError | None
    ) -> list[bytes]:
        self._desk.now_ms = self._now_ms()
        return session.receive(frame, refused)

    def _end_conversation(self) -> None:
        conversation, self._conversation, self._link = self._conversation, None, None
        if conversation is not None:
            conversation.end()
            self._broadcast.conversations.pop(conversation, None)

    def lose(self, link: _Link) -> None:
        """Take note that a link is broken off."""
        if link is not self._link:
            return
        self._end_conversation()
        self._decoder.mark_stale()
        if self._is_up:
            self._is_up = False
            self._listener.on_connection(False, "the connection was reset")

    def take(self, link: _Link, frame: bytes) -> None:
        """Take one frame of a link."""
        received_ns = self._clock.monotonic_ns()
        event = self._decoder.feed(frame, received_ns)
        if event.kind in (FrameKind.SNAPSHOT, FrameKind.UPDATE, FrameKind.GAP):
            symbol = self._decoder.markets[event.market_index].symbol
            self._listener.on_book(symbol, received_ns)
        elif event.kind is FrameKind.TRADES or event.kind is FrameKind.OTHER:
            try:
                self._take_message(link, frame)
            except WireError:
                self._counters["messages_rejected"] += 1
        self._check_ready()

    def _take_message(self, link: _Link, frame: bytes) -> None:
        message = decode_frame(frame)
        if message.id is not None:
            self._unanswered.discard(str(message.id))
            if message.error is not None:  # a subscription was refused: begin again
                self._conversation_of(link).reset()
                return
        method, params = message.method, message.params
        if method == "report":
            report = OrderReport.from_wire(object_of(params))
            market = self._markets.get(report.symbol)
            if market is not None:
                execution = reported_execution(report, market)
                self._listener.on_order(update_of(report, execution))
        elif method == "activeOrders":
            for row in _rows(params):
                order = OrderResponse.from_wire(object_of(row))
                if order.symbol in self._markets:
                    self._listener.on_order(update_of(order))
        elif method in ("balanceUpdate", "currentBalances"):
            rows = _rows(params) if method == "currentBalances" else [params]
            balances = [Balance.from_wire(object_of(row)) for row in rows]
            self._listener.on_holdings([holding_of(balance) for balance in balances])
        elif method == "updateTrades":
            for trade in Trade.from_stream(object_of(params)):
                self._listener.on_trade(
                    PublicTrade(
                        trade.symbol,
                        trade.trade_id,
                        trade.price,
                        trade.quantity,
                        trade.side,
                        trade.time_ms,
                    )
                )

    def _check_ready(self) -> None:
        is_ready = (
            self._link is not None
            and not self._unanswered
            and all(self.book(symbol).state == "live" for symbol in self._markets)
        )
        if is_ready and not self._is_up:
            self._is_up = True
            if not self._ready.done():
                self._ready.set_result(None)
            self._listener.on_connection(True, "every book is live")

    # -- orders -------------------------------------------------------------------------------

    def submit(self, order: NewOrder) -> asyncio.Future[OrderUpdate]:
        """Send one order; see `Venue.submit`."""
        form = OrderForm(
            symbol=order.symbol,
            side=order.side,
            type=order.type,
            quantity=order.quantity,
            price=order.price,
            client_id=order.client_id,
            is_strict=True,
        )

        def execute() -> OrderUpdate:
            # As its creation is answered: accepted, whatever happened to it since.
            placed = self._exchange.submit(self._account, form, self._now_ms())
            return update_of(OrderResponse.from_wire(shapes.placed_order(placed)))

        return self._change("createorder", execute)

    def cancel(self, symbol: str, client_id: str, order_id: str) -> asyncio.Future[OrderUpdate]:
        """Ask to cancel; see `Venue.cancel`."""

        def execute() -> OrderUpdate:
            name = order_id or client_id
            return self._told(self._exchange.cancel(self._account, name, self._now_ms()))

        return self._change("cancelorder", execute)

    def _change(self, name: str, execute: Callable[[], OrderUpdate]) -> asyncio.Future[OrderUpdate]:
        future: asyncio.Future[OrderUpdate] = self._loop.create_future()
        fate = self._weather.request(name)

        def arrive() -> None:
            answer = fate.run(partial(_outcome, execute))
            self._loop.call_later(fate.outbound_s, finish, answer, context=self._outside)

        def finish(answer: OrderUpdate | VenueError | None) -> None:
            if future.done():
                return
            if not fate.is_readable or answer is None:
                answer = _lost_change(fate, name)
            if isinstance(answer, VenueError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self._loop.call_later(fate.inbound_s, arrive, context=self._outside)
        return future

    # -- lists --------------------------------------------------------------------------------

    async def _read(self, name: str, execute: Callable[[], _Reply]) -> _Reply:
        fate = self._weather.request(name)
        await asyncio.sleep(fate.inbound_s)
        answer = fate.run(partial(_outcome, execute))
        await asyncio.sleep(fate.outbound_s)
        if isinstance(answer, VenueError):
            raise answer
        if not fate.is_readable or answer is None:
            if isinstance(fate.refusal, RateLimitError):
                raise fate.refusal
            raise UnreachableError(f"no answer: {fate.fault}", endpoint=name, sent="yes")
        return answer

    async def find_order(self, symbol: str, name: str) -> OrderUpdate | None:
        """Look an order up by our id or the exchange's. None when it does not know it."""
        try:
            return await self._read(
                "getorder", lambda: self._told(self._exchange.find_order(self._account, name))
            )
        except OrderNotFoundError:
            return None

    async def open_orders(self, symbol: str) -> list[OrderUpdate]:
        """Return every open order of this account on a market, ours and foreign."""
        return await self._read(
            "account/orders",
            lambda: [
                self._told(order)
                for order in self._account.open_orders.values()
                if order.listing.symbol == symbol
            ],
        )

    async def order_history(self, symbol: str, since_ms: int) -> list[OrderUpdate]:
        """Return every order of this account that was made on a market since a time."""
        return await self._read(
            "account/orders",
            lambda: [
                self._told(order)
                for order in self._account.orders()
                if order.listing.symbol == symbol and order.created_ms >= since_ms
            ],
        )

    async def executions(self, symbol: str, since_ms: int) -> list[Execution]:
        """Return the account's fills on a market since a time, oldest first."""
        return await self._read(
            "account/trades",
            lambda: [
                self._told_fill(fill)
                for fill in self._account.trades
                if fill.trade.listing.symbol == symbol and fill.trade.time_ms >= since_ms
            ],
        )

    async def holdings(self) -> list[Holding]:
        """Return every balance of the account."""
        return await self._read(
            "balances",
            lambda: [
                holding_of(Balance.from_wire(shapes.balance(self._exchange, self._account, ticker)))
                for ticker in self._exchange.assets
            ],
        )

    async def read_market(self, symbol: str) -> Market:
        """Read a market's rules."""
        return await self._read("market", lambda: self._market(symbol))

    def _market(self, symbol: str) -> Market:
        row = shapes.market(self._exchange, self._exchange.listing(symbol), self._now_ms())
        # Its fees the exchange tells nobody; here they are known.
        return Market.from_wire({**self._exchange.listing(symbol).row, **row})

    async def read_book(self, symbol: str, depth: int) -> BookLevels | None:
        """Read a market's book beside the stream."""

        def execute() -> BookLevels:
            _, params = self._desk.snapshot(Channel("orderbook", symbol), {"limit": depth})
            book = OrderBookSnapshot.from_wire(params)
            return BookLevels(
                [(level.price, level.quantity) for level in book.bids],
                [(level.price, level.quantity) for level in book.asks],
            )

        return await self._read("orderbook", execute)

    def resync(self, reason: str) -> None:
        """Break the connection off; a new one is made at the next try."""
        if self._link is not None:
            self._counters["resyncs"] += 1
            self._conversation_of(self._link).reset()

    def _told(self, order: Order) -> OrderUpdate:
        """Return what is read of an order; most have not changed since they were read last."""
        version = (order.status, order.lots, order.remaining_lots, order.updated_ms)
        known = self._orders_told.get(order.id)
        if known is None or known[0] != version:
            update = update_of(OrderResponse.from_wire(shapes.order(order)))
            known = self._orders_told[order.id] = (version, update)
        return known[1]

    def _told_fill(self, fill: Fill) -> Execution:
        key = (fill.trade.id, fill.order.id)
        known = self._fills_told.get(key)
        if known is None:
            known = execution_of(AccountTrade.from_wire(shapes.account_trade(fill)))
            self._fills_told[key] = known
        return known

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000 + self._weather.skew_ms


def _outcome(execute: Callable[[], _Reply]) -> _Reply | VenueError:
    try:
        return execute()
    except VenueError as error:
        return error


def _lost_change(fate: Fate, name: str) -> VenueError:
    if isinstance(fate.refusal, RateLimitError):
        return fate.refusal
    return OutcomeUnknownError(f"no answer: {fate.fault}", endpoint=name, sent="maybe")


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise WireError("a list expected", repr(value)[:200])
    return value
