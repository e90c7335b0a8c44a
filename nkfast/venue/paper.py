"""Paper trading: our orders against a market that is only watched, a recorded one or the live one.

Nobody else sees our orders. `PaperMarket` says what they would have met; this module is the
exchange around it: acceptance and refusal, holds and balances, fees, reports. Everything is exact,
and with a virtual clock the same frames and orders give the same fills and ids, always.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Protocol

from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market
from nkfast.errors import (
    BelowMinimumError,
    DuplicateClientIdError,
    FixedPointError,
    InsufficientFundsError,
    InvalidOrderError,
    MarketPausedError,
    OrderNotFoundError,
    RejectedError,
    SymbolNotFoundError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.venue.clock import Clock
from nkfast.venue.paper_market import PaperFill, PaperMarket
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
from nkfast.venue.tape import TapePlayer
from nkfast.wire.codec import decode_frame
from nkfast.wire.models import Trade

__all__ = ["Deliver", "Feed", "PaperVenue"]

#: Takes one frame and the `Clock.monotonic_ns` of its arrival.
Deliver = Callable[[bytes, int], None]

#: Finished orders, and fills, that are remembered; enough for any reconciliation.
_REMEMBERED = 100_000
#: Sums and products of money are exact or an error, never rounded.
_EXACT = Context(prec=400, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_ZERO = Decimal(0)


class Feed(Protocol):
    """Where the public frames come from: a recording, or the live venue."""

    async def run(self, symbols: Sequence[str], deliver: Deliver) -> None:
        """Deliver the frames of at least these symbols; return when there are no more."""


@dataclass(slots=True)
class _Order:
    request: NewOrder
    order_id: str
    number: int  # in its PaperMarket
    lots: int
    ticks: int | None
    hold_asset: str
    hold: Decimal  # what is still held for it
    time_ms: int
    executed_lots: int = 0
    status: VenueStatus = VenueStatus.OPEN


class _Account:
    """Balances: what is free and what resting orders hold."""

    def __init__(self, funds: Mapping[str, Decimal]) -> None:
        for asset, amount in funds.items():
            if not (amount.is_finite() and amount >= 0):
                raise ValueError(f"funds of {asset} must not be negative, were {amount}")
        self._available = dict(funds)
        self._held = dict.fromkeys(funds, _ZERO)
        self._changed: dict[str, None] = {}

    def available(self, asset: str) -> Decimal:
        return self._available.get(asset, _ZERO)

    def credit(self, asset: str, amount: Decimal) -> None:
        self._available[asset] = _EXACT.add(self.available(asset), amount)
        assert self._available[asset] >= 0, f"{asset} fell to {self._available[asset]}"
        self._changed[asset] = None

    def hold(self, asset: str, amount: Decimal) -> None:
        """Move an amount from free to held; back, when it is negative."""
        self.credit(asset, amount.copy_negate())
        self._held[asset] = _EXACT.add(self._held.get(asset, _ZERO), amount)
        assert self._held[asset] >= 0, f"held {asset} fell to {self._held[asset]}"

    def holdings(self) -> list[Holding]:
        return [
            Holding(asset, amount, self._held.get(asset, _ZERO))
            for asset, amount in sorted(self._available.items())
        ]

    def take_changed(self) -> list[Holding]:
        changed, self._changed = self._changed, {}
        return [holding for holding in self.holdings() if holding.asset in changed]


class PaperVenue:
    """A venue whose market data is real and whose orders go nowhere.

    Parameters
    ----------
    feed : Feed
        Gives the public frames, for instance a `nkfast.venue.tape.TapePlayer`.
    markets : iterable of Market
        The markets that may be watched, with their rules and fees.
    funds : mapping of asset to Decimal
        What the account holds at the start, in units of each asset.
    clock : Clock
        The time of everything that the venue says.
    latency_ns : int or callable
        Nanoseconds from `submit` or `cancel` to its effect and answer; a callable is asked for
        each request. Requests arrive in the order they were sent, as on one connection.

    Notes
    -----
    Fills follow `PaperMarket`. Fees are those of the `Market`, charged in the quote asset, and not
    rounded (protocol.md section 4). A buy holds price times quantity plus the higher of the two
    fees; better prices are given back at the fill.

    While a book is not live nothing of its market fills and new orders are refused, for nobody
    knows what they would meet. A live feed asks for a new snapshot; a recording cannot, so after a
    gap in it the market stands still until the recording brings its next snapshot.
    """

    name = "paper"

    def __init__(
        self,
        *,
        feed: Feed,
        markets: Iterable[Market],
        funds: Mapping[str, Decimal],
        clock: Clock,
        latency_ns: int | Callable[[], int] = 0,
    ) -> None:
        self._known = {market.symbol: market for market in markets}
        self._feed = feed
        self._clock = clock
        self._latency_ns = latency_ns
        self._last_arrival_ns = 0
        self._account = _Account(funds)
        self._markets: dict[str, Market] = {}
        self._decoder = FrameDecoder([])
        self._papers: dict[str, PaperMarket] = {}
        self._orders: dict[str, _Order] = {}  # by client id, in order of acceptance
        self._by_number: dict[tuple[str, int], _Order] = {}  # those that are open
        self._finished: deque[str] = deque()
        self._executions: deque[Execution] = deque(maxlen=_REMEMBERED)
        self._requests: deque[tuple[asyncio.Future[OrderUpdate], Callable[[], OrderUpdate]]]
        self._requests = deque()
        self._dirty: dict[str, int] = {}
        self._settles_by_itself = not (isinstance(feed, TapePlayer) and feed.is_virtual)
        if isinstance(feed, TapePlayer):
            feed.settle = self._tell_books
        self._rejected_trade_frames = 0
        self._feed_task: asyncio.Task[None] | None = None
        self._is_interrupted = False

    @property
    def markets(self) -> Mapping[str, Market]:
        """The watched markets by symbol; empty before `start`."""
        return self._markets

    @property
    def counters(self) -> Mapping[str, int]:
        """The decoder's counters, and the frames of trades that could not be read."""
        return {**self._decoder.counters, "trades_rejected": self._rejected_trade_frames}

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the feed has no more frames; carries the feed's error if it failed."""
        return self._ended

    def book(self, symbol: str) -> OrderBook:
        """Return the watched book of a market."""
        return self._papers[symbol].book

    async def start(self, symbols: Sequence[str], listener: VenueListener) -> None:
        """Start the feed and wait until every watched book is live.

        Raises
        ------
        SymbolNotFoundError
            A symbol is none of the venue's markets.
        UnreachableError
            The feed ended or failed first.
        """
        markets = {symbol: self._find_market(symbol) for symbol in symbols}
        self._markets = markets
        self._listener = listener
        self._decoder = FrameDecoder(list(markets.values()))
        self._papers = {symbol: PaperMarket(self._decoder.book(symbol)) for symbol in self._markets}
        # Ids differ between runs, so that fills of two runs in one journal are never confused.
        self._run = f"{self._clock.time_ns() // 1_000_000:x}"
        self._loop = asyncio.get_running_loop()
        self._live: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._feed_task = self._loop.create_task(self._run_feed())
        await self._live
        listener.on_holdings(self._account.holdings())
        listener.on_connection(True, "every watched book is live")

    async def _run_feed(self) -> None:
        try:
            await self._feed.run(list(self._markets), self.deliver)
        except Exception as error:
            self._ended.set_exception(error)
            if not self._live.done():
                self._live.set_exception(
                    UnreachableError(f"the feed failed: {error}", endpoint="feed", sent="no")
                )
            self._decoder.mark_stale()
            self._listener.on_connection(False, f"the feed failed: {error}")
        else:
            self._ended.set_result(None)
            if not self._live.done():
                waiting = [s for s, paper in self._papers.items() if paper.book.state != "live"]
                self._live.set_exception(
                    UnreachableError(
                        f"the feed ended before a snapshot of {', '.join(waiting)}",
                        endpoint="feed",
                        sent="no",
                    )
                )

    async def close(self) -> None:
        """Stop the feed; requests on their way never arrive, orders stay as they are."""
        if self._feed_task is not None:
            self._feed_task.cancel()
            await asyncio.wait([self._feed_task])
        while self._requests:
            future, _ = self._requests.popleft()
            if not future.done():
                future.set_exception(UnreachableError("the venue was closed", sent="no"))

    # -- market data --------------------------------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """Take note that frames were lost: nothing fills until every book has a new snapshot."""
        if self._live.done() and not self._is_interrupted:
            self._is_interrupted = True
            self._decoder.mark_stale()
            self._listener.on_connection(False, reason)

    def deliver(self, frame: bytes, received_ns: int) -> None:
        """Take one public frame; our orders are matched before it returns.

        Parameters
        ----------
        frame : bytes
            One text frame, as received. No content raises: what cannot be read changes nothing
            and is counted.
        received_ns : int
            `Clock.monotonic_ns` at its arrival.
        """
        event = self._decoder.feed(frame, received_ns)
        if event.kind in (FrameKind.SNAPSHOT, FrameKind.UPDATE, FrameKind.GAP):
            symbol = self._decoder.markets[event.market_index].symbol
            self._fill(symbol, self._papers[symbol].on_book(received_ns))
            if self._settles_by_itself and not self._dirty:
                self._loop.call_soon(self._tell_books)
            self._dirty.setdefault(symbol, received_ns)
            is_waiting = self._is_interrupted or not self._live.done()
            if is_waiting and all(paper.book.state == "live" for paper in self._papers.values()):
                self._on_all_live()
        elif event.kind is FrameKind.TRADES:
            symbol = self._decoder.markets[event.market_index].symbol
            try:
                trades = _read_trades(frame, self._markets[symbol])
            except (WireError, FixedPointError):
                self._rejected_trade_frames += 1
                return
            for trade, ticks, lots in trades:
                paper = self._papers[symbol]
                self._fill(symbol, paper.on_print(trade.side, ticks, lots, received_ns))
                self._listener.on_trade(trade)

    def _on_all_live(self) -> None:
        if not self._live.done():
            self._live.set_result(None)
        elif self._is_interrupted:
            self._is_interrupted = False
            self._listener.on_connection(True, "every watched book is live again")

    def _tell_books(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for symbol, received_ns in dirty.items():
            self._listener.on_book(symbol, received_ns)

    # -- orders -------------------------------------------------------------------------------

    def submit(self, order: NewOrder) -> asyncio.Future[OrderUpdate]:
        """Send one order; it arrives after the latency. See `Venue.submit`."""
        return self._request(lambda: self._accept(order))

    def cancel(self, symbol: str, client_id: str, order_id: str) -> asyncio.Future[OrderUpdate]:
        """Ask to cancel, by client id where there is one; it arrives after the latency."""
        return self._request(lambda: self._cancel(symbol, client_id, order_id))

    def _request(self, serve: Callable[[], OrderUpdate]) -> asyncio.Future[OrderUpdate]:
        future: asyncio.Future[OrderUpdate] = self._loop.create_future()
        latency_ns = self._latency_ns if isinstance(self._latency_ns, int) else self._latency_ns()
        now_ns = self._clock.monotonic_ns()
        self._last_arrival_ns = max(self._last_arrival_ns, now_ns + latency_ns)
        # Equal timers may run in any order; the queue keeps requests in theirs.
        self._requests.append((future, serve))
        self._loop.call_later((self._last_arrival_ns - now_ns) / 1e9, self._serve_next)
        return future

    def _serve_next(self) -> None:
        if not self._requests:  # closed meanwhile
            return
        future, serve = self._requests.popleft()
        try:
            update = serve()
        except VenueError as error:
            if not future.done():
                future.set_exception(error)
            return
        if not future.done():
            future.set_result(update)
        self._listener.on_order(update)
        if update.status is VenueStatus.OPEN:
            self._match(self._orders[update.client_id])
        self._tell_holdings()

    def _accept(self, request: NewOrder) -> OrderUpdate:
        market = self._find_market(request.symbol)
        lots, ticks = self._check(request, market)
        hold_asset, hold = self._hold_of(request, market, lots, ticks)
        available = self._account.available(hold_asset)
        if hold > available:
            raise InsufficientFundsError(
                f"Insufficient funds for order creation: {_plain(hold)} {hold_asset} needed, "
                f"{_plain(available)} available",
                code=20001,
                endpoint="newOrder",
            )
        paper = self._papers[request.symbol]
        number = paper.next_number()
        order = _Order(
            request=request,
            order_id=f"{self._run}-{list(self._markets).index(request.symbol)}-{number}",
            number=number,
            lots=lots,
            ticks=ticks,
            hold_asset=hold_asset,
            hold=hold,
            time_ms=self._now_ms(),
        )
        self._account.hold(hold_asset, hold)
        self._orders[request.client_id] = order
        self._by_number[request.symbol, number] = order
        return self._update(order)

    def _find_market(self, symbol: str) -> Market:
        market = self._known.get(symbol)
        if market is None:
            raise SymbolNotFoundError(f"Symbol not found: {symbol}", code=2001, sent="no")
        return market

    def _check(self, request: NewOrder, market: Market) -> tuple[int, int | None]:
        """Return lots and ticks of a request that the venue would take, or raise its refusal."""
        paused = market.pause_buys if request.side == "buy" else market.pause_sells
        if not market.is_active or market.is_paused or paused:
            raise _refusal(MarketPausedError, f"{market.symbol} does not take this side now")
        if request.symbol not in self._papers:
            raise _refusal(MarketPausedError, f"{market.symbol} is not watched")
        state = self._papers[request.symbol].book.state
        if state != "live":
            raise _refusal(MarketPausedError, f"the watched book of {market.symbol} is {state}")
        if request.client_id in self._orders:
            raise DuplicateClientIdError(
                f"Duplicate clientOrderId {request.client_id}", code=20008, endpoint="newOrder"
            )
        if request.type == "market" and not market.allow_market_orders:
            raise _refusal(InvalidOrderError, f"{market.symbol} takes no market orders")
        if (request.price is None) != (request.type == "market"):
            raise _refusal(InvalidOrderError, "a limit order has a price, a market order none")
        try:
            lots = market.quantity_to_lots(request.quantity)
            ticks = None if request.price is None else market.price_to_ticks(request.price)
        except FixedPointError as error:
            raise _refusal(InvalidOrderError, str(error)) from error
        if lots == 0 or ticks == 0:
            raise _refusal(InvalidOrderError, "price and quantity must be positive")
        if request.quantity < market.min_quantity:
            raise _refusal(
                BelowMinimumError,
                f"quantity {_plain(request.quantity)} is below the minimum "
                f"{_plain(market.min_quantity)}",
            )
        if request.price is not None and ticks is not None:
            self._check_price(market, request.price, market.notional(ticks, lots))
        return lots, ticks

    def _check_price(self, market: Market, price: Decimal, notional: Decimal) -> None:
        if market.min_price is not None and price < market.min_price:
            raise _refusal(InvalidOrderError, f"price is below {_plain(market.min_price)}")
        if market.max_price is not None and price > market.max_price:
            raise _refusal(InvalidOrderError, f"price is above {_plain(market.max_price)}")
        if notional < market.min_notional:
            raise _refusal(
                BelowMinimumError,
                f"price times quantity {_plain(notional)} is below the minimum "
                f"{_plain(market.min_notional)}",
            )

    def _hold_of(
        self, request: NewOrder, market: Market, lots: int, ticks: int | None
    ) -> tuple[str, Decimal]:
        if request.side == "sell":
            return market.base, market.lots_to_quantity(lots)
        if ticks is not None:
            return market.quote, _hold_for(market, ticks, lots)
        _, cost = self._papers[request.symbol].cost("buy", lots)
        spent = Decimal(cost).scaleb(
            -(market.price_decimals + market.quantity_decimals), context=_EXACT
        )
        return market.quote, _EXACT.fma(spent, market.taker_fee, spent)

    def _match(self, order: _Order) -> None:
        request = order.request
        paper = self._papers[request.symbol]
        self._fill(
            request.symbol, paper.submit(order.number, request.side, order.lots, order.ticks)
        )
        if order.ticks is None and not order.status.is_final:
            # What a market order did not find is cancelled.
            self._finish(order, VenueStatus.CANCELLED)
            self._listener.on_order(self._update(order))

    def _cancel(self, symbol: str, client_id: str, order_id: str) -> OrderUpdate:
        order = self._orders.get(client_id) if client_id else self._find_by_order_id(order_id)
        if order is None or order.status.is_final or order.request.symbol != symbol:
            raise OrderNotFoundError(
                "Active order not found for cancellation", code=20002, endpoint="cancelOrder"
            )
        self._papers[symbol].cancel(order.number)
        self._finish(order, VenueStatus.CANCELLED)
        return self._update(order)

    def _find_by_order_id(self, order_id: str) -> _Order | None:
        return next(
            (order for order in self._by_number.values() if order.order_id == order_id), None
        )

    def _fill(self, symbol: str, fills: list[PaperFill]) -> None:
        for fill in fills:
            order = self._by_number[symbol, fill.order_number]
            execution = self._settle(order, self._markets[symbol], fill)
            self._executions.append(execution)
            self._listener.on_order(self._update(order, execution))
        if fills:
            self._tell_holdings()

    def _settle(self, order: _Order, market: Market, fill: PaperFill) -> Execution:
        request = order.request
        quantity = market.lots_to_quantity(fill.lots)
        notional = market.notional(fill.ticks, fill.lots)
        rate = market.maker_fee if fill.is_maker else market.taker_fee
        fee = market.fee(fill.ticks, fill.lots, rate)
        if request.side == "buy":
            paid = _EXACT.add(notional, fee)
            released = paid if order.ticks is None else _hold_for(market, order.ticks, fill.lots)
            self._release(order, released)
            self._account.credit(market.quote, paid.copy_negate())
            self._account.credit(market.base, quantity)
        else:
            self._release(order, quantity)
            self._account.credit(market.base, quantity.copy_negate())
            self._account.credit(market.quote, _EXACT.subtract(notional, fee))
        order.executed_lots += fill.lots
        if order.executed_lots == order.lots:
            self._finish(order, VenueStatus.FILLED)
        else:
            order.status = VenueStatus.PARTLY_FILLED
        index = list(self._markets).index(market.symbol)
        return Execution(
            trade_id=f"{self._run}-{index}-t{fill.match_number}",
            order_id=order.order_id,
            client_id=request.client_id,
            symbol=market.symbol,
            side=request.side,
            price=market.ticks_to_price(fill.ticks),
            quantity=quantity,
            fee=fee,
            fee_asset=market.quote,
            is_maker=fill.is_maker,
            time_ms=self._now_ms(),
        )

    def _release(self, order: _Order, amount: Decimal) -> None:
        self._account.hold(order.hold_asset, amount.copy_negate())
        order.hold = _EXACT.subtract(order.hold, amount)

    def _finish(self, order: _Order, status: VenueStatus) -> None:
        self._release(order, order.hold)
        order.status = status
        del self._by_number[order.request.symbol, order.number]
        self._finished.append(order.request.client_id)
        if len(self._finished) > _REMEMBERED:
            del self._orders[self._finished.popleft()]

    # -- what is -----------------------------------------------------------------------------

    async def find_order(self, symbol: str, name: str) -> OrderUpdate | None:
        """Look an order up by our id or the venue's; finished ones are remembered by ours."""
        order = self._orders.get(name) or self._find_by_order_id(name)
        return self._update(order) if order and order.request.symbol == symbol else None

    async def open_orders(self, symbol: str) -> list[OrderUpdate]:
        """Return the open orders of a market, oldest first."""
        return [
            self._update(order)
            for order in self._by_number.values()
            if order.request.symbol == symbol
        ]

    async def order_history(self, symbol: str, since_ms: int) -> list[OrderUpdate]:
        """Return every order that is remembered; when it was made is not."""
        return [
            self._update(order) for order in self._orders.values() if order.request.symbol == symbol
        ]

    async def executions(self, symbol: str, since_ms: int) -> list[Execution]:
        """Return the fills on a market since a time, oldest first."""
        return [
            execution
            for execution in self._executions
            if execution.symbol == symbol and execution.time_ms >= since_ms
        ]

    async def holdings(self) -> list[Holding]:
        """Return every balance."""
        return self._account.holdings()

    async def read_market(self, symbol: str) -> Market:
        """Return the market as it was given: nobody changes it."""
        return self._find_market(symbol)

    async def read_book(self, symbol: str, depth: int) -> BookLevels | None:
        """Return None: the feed is all that there is."""
        return None

    def resync(self, reason: str) -> None:
        """Do nothing: the orders are in this process, and the feed has its own connection."""

    def _update(self, order: _Order, execution: Execution | None = None) -> OrderUpdate:
        market = self._known[order.request.symbol]
        return OrderUpdate(
            client_id=order.request.client_id,
            order_id=order.order_id,
            symbol=order.request.symbol,
            side=order.request.side,
            price=order.request.price,
            quantity=order.request.quantity,
            executed=market.lots_to_quantity(order.executed_lots),
            status=order.status,
            execution=execution,
            time_ms=self._now_ms(),
        )

    def _tell_holdings(self) -> None:
        changed = self._account.take_changed()
        if changed:
            self._listener.on_holdings(changed)

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000


def _hold_for(market: Market, ticks: int, lots: int) -> Decimal:
    rate = max(market.maker_fee, market.taker_fee)
    return _EXACT.add(market.notional(ticks, lots), market.fee(ticks, lots, rate))


def _refusal(kind: type[RejectedError], message: str) -> RejectedError:
    return kind(message, code=10001, endpoint="newOrder")


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _read_trades(frame: bytes, market: Market) -> list[tuple[PublicTrade, int, int]]:
    """Read the new trades of a frame with their ticks and lots; all of them, or an error."""
    message = decode_frame(frame)
    if message.method != "updateTrades":
        return []  # a snapshot tells what happened before we watched
    trades = []
    for trade in Trade.from_stream(message.params):
        ticks = market.price_to_ticks(trade.price)
        # As in the book: a part of a lot is nothing.
        lots = market.quantity_to_lots(market.round_quantity(trade.quantity, "floor"))
        public = PublicTrade(
            symbol=market.symbol,
            trade_id=trade.trade_id,
            price=trade.price,
            quantity=trade.quantity,
            side=trade.side,
            time_ms=trade.time_ms,
        )
        trades.append((public, ticks, lots))
    return trades
