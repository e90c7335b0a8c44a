"""A venue that does what a test tells it, with every fault that a real one has.

It keeps the truth about orders, trades and balances; what the engine is told of it, and when, is
scripted. It asserts what no engine may ever do: send one client id twice, or touch a foreign order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import (
    OrderNotFoundError,
    OutcomeUnknownError,
    RejectedError,
    SymbolNotFoundError,
    UnreachableError,
    VenueError,
)
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

FEE_RATE = Decimal("0.002")


@dataclass
class TrueOrder:
    """An order as the venue has it."""

    order: NewOrder
    order_id: str
    executed: Decimal = Decimal(0)
    status: VenueStatus = VenueStatus.OPEN
    executions: list[Execution] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return not self.status.is_final

    def told(self, execution: Execution | None = None) -> OrderUpdate:
        order = self.order
        return OrderUpdate(
            order.client_id,
            self.order_id,
            order.symbol,
            order.side,
            order.price,
            order.quantity,
            self.executed,
            self.status,
            execution,
        )


class ScriptedVenue:
    """A `nkfast.venue.port.Venue`.

    ``submits`` and ``cancels`` hold what becomes of the next requests, "accept" when empty:

    accept             done and answered
    reject             refused for certain
    unreachable        not sent for certain
    lose               done, the answer says that the outcome is unknown
    drop               not done, the answer says that the outcome is unknown
    silent             done, no answer ever
    late               done after `late_s`, the answer says at once that the outcome is unknown
    error:NAME         not done, fails with `errors[NAME]`
    """

    name = "scripted"

    def __init__(self, market: Market, clock, holdings: Mapping[str, str]) -> None:
        self.market = market
        self.clock = clock
        self.truth: dict[str, TrueOrder] = {}
        self.balances = {asset: Decimal(amount) for asset, amount in holdings.items()}
        self.trades: list[Execution] = []
        self.submits: deque[str] = deque()
        self.cancels: deque[str] = deque()
        self.errors: dict[str, Exception] = {}
        self.reads: deque[str] = deque()  # "fail" makes the next read fail
        self.late_s = 5.0
        self.wire: list[str] = []
        self.cancelled_on_wire: list[str] = []
        self.listener: VenueListener | None = None
        self.is_up = False
        self.tells_reports = True
        self.finds_nothing: set[str] = set()
        self.lookup_finds_nothing = False  # the lists go on
        self.forgets_untouched = False  # says "not found" of what ended without a fill
        self.is_closed = False
        self.shown_beside: BookLevels | None = None
        self.resyncs: list[str] = []
        self.rules: Market | None = market
        self._book = OrderBook(market)
        self._sequence = 0

    # What a test does ------------------------------------------------------------------------

    def set_book(self, bid: str, ask: str) -> None:
        """Show a book of one level a side and tell of it."""
        market = self.market
        self._sequence += 1
        lots = market.quantity_to_lots(Decimal(100))
        self._book.apply_snapshot(
            [(market.price_to_ticks(Decimal(bid)), lots)],
            [(market.price_to_ticks(Decimal(ask)), lots)],
            self._sequence,
        )
        self.tell_book()

    def tell_book(self) -> None:
        if self.listener is not None:
            self.listener.on_book(self.market.symbol, self.clock.monotonic_ns())

    def open_own(self) -> list[TrueOrder]:
        return [true for true in self.truth.values() if true.is_open]

    def at_price(self, side: str, price: str) -> TrueOrder:
        (found,) = [
            true
            for true in self.open_own()
            if true.order.side == side and true.order.price == Decimal(price)
        ]
        return found

    def fill(
        self,
        true: TrueOrder,
        quantity: str | None = None,
        *,
        told: bool = True,
        fee: bool = True,
    ) -> Execution:
        """Execute a part of a resting order, or all of it, at its price."""
        order = true.order
        amount = order.quantity - true.executed if quantity is None else Decimal(quantity)
        assert true.is_open
        assert 0 < amount <= order.quantity - true.executed
        notional = order.price * amount
        execution = Execution(
            f"t{len(self.trades) + 1}",
            true.order_id,
            order.client_id,
            order.symbol,
            order.side,
            order.price,
            amount,
            notional * FEE_RATE,
            self.market.quote,
            True,
            self.clock.time_ns() // 1_000_000,
        )
        sign = 1 if order.side == "buy" else -1
        self.balances[self.market.base] += sign * amount
        self.balances[self.market.quote] -= sign * notional + notional * FEE_RATE
        true.executed += amount
        is_filled = true.executed == order.quantity
        true.status = VenueStatus.FILLED if is_filled else VenueStatus.PARTLY_FILLED
        # The history does not say the client id: neither does the real one.
        self.trades.append(replace(execution, client_id=None))
        true.executions.append(execution)
        if told and self.tells_reports:
            told_execution = execution if fee else replace(execution, fee=None)
            self.listener.on_order(true.told(told_execution))
            self.listener.on_holdings(self.current_holdings())
        return execution

    def end(self, true: TrueOrder, *, told: bool = True) -> None:
        """Cancel an order, as its owner may do by hand."""
        assert true.is_open
        true.status = VenueStatus.CANCELLED
        if told and self.tells_reports:
            self.listener.on_order(true.told())
            self.listener.on_holdings(self.current_holdings())

    def place_foreign(self, client_id: str, side: str, price: str, quantity: str) -> TrueOrder:
        """Place an order that the engine did not send."""
        order = NewOrder(client_id, self.market.symbol, side, Decimal(quantity), Decimal(price))
        return self._accept(order)

    def disconnect(self, reason: str = "socket lost") -> None:
        self.is_up = False
        self._book.mark_stale()
        self.listener.on_connection(False, reason)

    def reconnect(self, bid: str, ask: str) -> None:
        self.is_up = True
        self.set_book(bid, ask)
        self.listener.on_connection(True, "connected")

    def current_holdings(self) -> list[Holding]:
        held = {asset: Decimal(0) for asset in self.balances}
        for true in self.open_own():
            left = true.order.quantity - true.executed
            if true.order.side == "sell":
                held[self.market.base] += left
            else:
                held[self.market.quote] += left * true.order.price * (1 + FEE_RATE)
        return [
            Holding(asset, total - held[asset], held[asset])
            for asset, total in self.balances.items()
        ]

    # The port --------------------------------------------------------------------------------

    @property
    def markets(self) -> Mapping[str, Market]:
        return {self.market.symbol: self.market}

    @property
    def counters(self) -> Mapping[str, int]:
        return MappingProxyType({})

    def book(self, symbol: str) -> OrderBook:
        assert symbol == self.market.symbol
        return self._book

    async def start(self, symbols: Sequence[str], listener: VenueListener) -> None:
        assert list(symbols) == [self.market.symbol]
        self.listener = listener
        self.is_up = True
        await asyncio.sleep(0)

    async def close(self) -> None:
        self.is_closed = True

    def submit(self, order: NewOrder) -> "asyncio.Future[OrderUpdate]":
        assert order.client_id not in self.wire, f"{order.client_id} was sent twice"
        self.wire.append(order.client_id)
        fate = self.submits.popleft() if self.submits else "accept"
        return self._request(fate, lambda: self._accept(order), "createorder")

    def cancel(self, symbol: str, client_id: str, order_id: str) -> "asyncio.Future[OrderUpdate]":
        true = self.truth.get(client_id)
        assert true is not None, f"{client_id} was never accepted and is cancelled"
        assert client_id in self.wire or client_id.startswith("nk"), f"{client_id} is foreign"
        self.cancelled_on_wire.append(client_id)
        fate = self.cancels.popleft() if self.cancels else "accept"

        def end() -> TrueOrder:
            if not true.is_open:
                raise OrderNotFoundError("order not found", code=20002, endpoint="cancelorder")
            self.end(true)
            return true

        return self._request(fate, end, "cancelorder")

    async def find_order(self, symbol: str, client_id: str) -> OrderUpdate | None:
        await self._read()
        for true in self.truth.values():
            if client_id in (true.order.client_id, true.order_id):
                hides = (
                    self.lookup_finds_nothing
                    or self._is_forgotten(true)
                    or true.order.client_id in self.finds_nothing
                )
                return None if hides else true.told()
        return None

    def _is_forgotten(self, true: TrueOrder) -> bool:
        return self.forgets_untouched and not (true.is_open or true.executed)

    async def open_orders(self, symbol: str) -> list[OrderUpdate]:
        await self._read()
        return [true.told() for true in self.open_own()]

    async def order_history(self, symbol: str, since_ms: int) -> list[OrderUpdate]:
        await self._read()
        return [
            true.told()
            for client_id, true in self.truth.items()
            if client_id not in self.finds_nothing and not self._is_forgotten(true)
        ]

    async def executions(self, symbol: str, since_ms: int) -> list[Execution]:
        await self._read()
        return [trade for trade in self.trades if trade.time_ms >= since_ms]

    async def holdings(self) -> list[Holding]:
        await self._read()
        return self.current_holdings()

    async def read_market(self, symbol: str) -> Market:
        await self._read()
        if self.rules is None:
            raise SymbolNotFoundError("Market not found", code=2001)
        return self.rules

    async def read_book(self, symbol: str, depth: int) -> BookLevels | None:
        await self._read()
        return self.shown_beside

    def resync(self, reason: str) -> None:
        self.resyncs.append(reason)

    def tell_trade(self, trade: PublicTrade) -> None:
        self.listener.on_trade(trade)

    async def _read(self) -> None:
        await asyncio.sleep(0.001)
        if self.reads and self.reads.popleft() == "fail":
            raise VenueError("HTTP 502", endpoint="read", sent="maybe")
        if not self.is_up:
            raise UnreachableError("not connected", sent="no")

    def _accept(self, order: NewOrder) -> TrueOrder:
        true = TrueOrder(order, f"v{len(self.truth) + 1}")
        self.truth[order.client_id] = true
        if self.listener is not None and self.tells_reports:
            self.listener.on_holdings(self.current_holdings())
        return true

    def _request(
        self, fate: str, do: Callable[[], TrueOrder], endpoint: str
    ) -> "asyncio.Future[OrderUpdate]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[OrderUpdate] = loop.create_future()

        def perform() -> None:
            try:
                true = do()
            except VenueError as error:
                answer.set_exception(error)
                return
            if fate == "accept":
                answer.set_result(true.told())
            elif fate == "lose":
                answer.set_exception(OutcomeUnknownError("reset", endpoint=endpoint, sent="maybe"))

        def perform_late() -> None:
            with suppress(OrderNotFoundError):  # nobody waits for this answer
                do()

        if fate in ("accept", "lose", "silent"):
            loop.call_soon(perform)
        elif fate == "late":
            loop.call_later(self.late_s, perform_late)
            answer.set_exception(OutcomeUnknownError("timed out", endpoint=endpoint, sent="maybe"))
        elif fate == "drop":
            answer.set_exception(OutcomeUnknownError("reset", endpoint=endpoint, sent="maybe"))
        elif fate == "reject":
            answer.set_exception(RejectedError("Insufficient funds", code=20001, endpoint=endpoint))
        elif fate == "unreachable":
            answer.set_exception(UnreachableError("refused", endpoint=endpoint, sent="no"))
        else:
            answer.set_exception(self.errors[fate.removeprefix("error:")])
        return answer
