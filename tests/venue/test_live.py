"""The live venue against the simulated exchange, over real sockets."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal as D
from functools import partial
from typing import Any, ClassVar

import pytest

from nkfast import errors
from nkfast.client import kept_socket
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.exchange.server import AccountSettings, ExchangeServer, ExchangeSettings, serve
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.port import Execution, Holding, NewOrder, OrderUpdate, PublicTrade, VenueStatus
from nkfast.wire.models import (
    AccountTrade,
    ApiCredentials,
    OrderRequest,
    OrderResponse,
    OrderStatus,
)

SYMBOL = "XMR/USDT"
MONEY = {"XMR": "100", "USDT": "10000"}
US = ApiCredentials("us", "our-secret")
THEM = ApiCredentials("them", "their-secret")


class Recorder:
    """A listener that keeps what it is told; ``on_down`` runs inside the news of a loss."""

    def __init__(self) -> None:
        self.books: list[tuple[str, int]] = []
        self.orders: list[OrderUpdate] = []
        self.holdings: dict[str, Holding] = {}
        self.trades: list[PublicTrade] = []
        self.connections: list[bool] = []
        self.on_down: Callable[[], None] | None = None

    def on_book(self, symbol: str, received_ns: int) -> None:
        self.books.append((symbol, received_ns))

    def on_order(self, update: OrderUpdate) -> None:
        self.orders.append(update)

    def on_holdings(self, holdings: list[Holding]) -> None:
        self.holdings.update((holding.asset, holding) for holding in holdings)

    def on_trade(self, trade: PublicTrade) -> None:
        self.trades.append(trade)

    def on_connection(self, is_up: bool, reason: str) -> None:
        self.connections.append(is_up)
        if not is_up and self.on_down is not None:
            self.on_down()

    @property
    def executions(self) -> list[Execution]:
        return [update.execution for update in self.orders if update.execution is not None]

    def statuses(self, client_id: str) -> list[VenueStatus]:
        return [update.status for update in self.orders if update.client_id == client_id]


class Scene:
    """A running exchange, our started venue there, and somebody to trade with."""

    def __init__(
        self, server: ExchangeServer, rest: AsyncRestClient, them: AsyncRestClient
    ) -> None:
        self.server = server
        self.rest = rest
        self.them = them
        self.heard = Recorder()
        self.venue = LiveVenue(
            rest=rest,
            websocket=partial(WebSocketClient, server.ws_url, US, allow_changes=True),
            clock=RealClock(),
        )

    def submit(
        self, client_id: str, side: Any, quantity: str, price: str | None
    ) -> "asyncio.Future[OrderUpdate]":
        kind: Any = "limit" if price is not None else "market"
        price_ = D(price) if price is not None else None
        return self.venue.submit(NewOrder(client_id, SYMBOL, side, D(quantity), price_, kind))

    async def they_order(self, side: Any, quantity: str, price: str) -> OrderResponse:
        return await self.them.create_order(
            OrderRequest(symbol=SYMBOL, side=side, quantity=D(quantity), price=D(price))
        )

    async def ours(self) -> list[str]:
        """Client ids of every order that the exchange ever took from us."""
        return [order.user_provided_id for order in await self.rest.get_orders()]


@asynccontextmanager
async def scene(rest_type: type[AsyncRestClient] = AsyncRestClient) -> AsyncIterator[Scene]:
    settings = ExchangeSettings(
        speed=0,
        key=US.api_key,
        secret=US.api_secret,
        balances=MONEY,
        more_accounts=(AccountSettings(THEM.api_key, THEM.api_secret, MONEY),),
    )
    async with (
        serve(settings) as server,
        rest_type(US, base_url=server.rest_url, allow_changes=True) as rest,
        AsyncRestClient(THEM, base_url=server.rest_url, allow_changes=True) as them,
    ):
        stage = Scene(server, rest, them)
        await stage.they_order("buy", "5", "159.00")
        await stage.they_order("sell", "5", "161.00")
        await stage.venue.start([SYMBOL], stage.heard)
        try:
            yield stage
        finally:
            await stage.venue.close()


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


async def test_start_ends_when_the_books_are_live() -> None:
    async with scene() as s:
        market = s.venue.markets[SYMBOL]
        assert (market.price_decimals, market.quantity_decimals) == (2, 3)
        book = s.venue.book(SYMBOL)
        assert book.state == "live"
        assert (book.best_bid, book.best_ask) == ((15900, 5000), (16100, 5000))
        assert s.heard.connections == [True]
        assert {h.asset: h.available for h in await s.venue.holdings()}["USDT"] == D(10000)
        before_ns = RealClock().monotonic_ns()
        s.heard.books.clear()
        await s.they_order("buy", "1", "159.50")
        await until(lambda: s.heard.books)
        assert s.heard.books[0][0] == SYMBOL
        assert before_ns < s.heard.books[0][1] < RealClock().monotonic_ns()
        assert book.best_bid == (15950, 1000)


async def test_start_refuses_an_unknown_symbol() -> None:
    async with scene() as s:
        other = LiveVenue(
            rest=s.rest, websocket=partial(WebSocketClient, s.server.ws_url, US), clock=RealClock()
        )
        with pytest.raises(errors.SymbolNotFoundError):
            await other.start(["NO/SUCH"], Recorder())
        await other.close()


async def test_start_says_which_book_never_came() -> None:
    async with scene() as s:
        never = LiveVenue(
            rest=s.rest,
            websocket=partial(WebSocketClient, "ws://127.0.0.1:9", US),
            clock=RealClock(),
            ready_timeout_s=0.2,
        )
        with pytest.raises(errors.UnreachableError):
            await never.start([SYMBOL], Recorder())
        await never.close()


async def test_an_order_goes_over_the_socket_and_its_life_is_reported() -> None:
    async with scene() as s:
        accepted = await s.submit("nk-1", "buy", "2", "159.50")
        assert accepted.status is VenueStatus.OPEN
        assert (accepted.client_id, accepted.quantity) == ("nk-1", D(2))
        assert accepted.price == D("159.50")
        await until(lambda: s.heard.holdings.get("USDT", Holding("", D(0), D(0))).held > 0)
        assert s.heard.holdings["USDT"].held == D(319) * D("1.002")
        await s.they_order("sell", "0.5", "159.00")
        await until(lambda: s.heard.executions)
        [fill] = s.heard.executions
        assert (fill.client_id, fill.order_id) == ("nk-1", accepted.order_id)
        assert (fill.price, fill.quantity, fill.fee) == (D("159.50"), D("0.5"), D("0.1595"))
        assert fill.fee_asset == "USDT"
        await until(lambda: s.heard.trades)
        assert (s.heard.trades[-1].side, s.heard.trades[-1].price) == ("sell", D("159.50"))
        final = await s.venue.cancel(SYMBOL, "nk-1", accepted.order_id)
        assert (final.status, final.executed) == (VenueStatus.CANCELLED, D("0.5"))
        await until(lambda: s.heard.statuses("nk-1")[-1] is VenueStatus.CANCELLED)
        assert s.heard.statuses("nk-1")[:2] == [VenueStatus.OPEN, VenueStatus.PARTLY_FILLED]
        [row] = await s.venue.executions(SYMBOL, 0)
        assert (row.trade_id, row.order_id) == (fill.trade_id, fill.order_id)
        assert (row.client_id, row.is_maker, row.fee) == (None, True, fill.fee)
        assert await s.venue.executions(SYMBOL, row.time_ms + 1) == []
        assert await s.venue.executions("BTC/USDT", 0) == []


async def test_start_waits_for_the_books_themselves() -> None:
    class Hasty(WebSocketClient):
        async def connect(self, timeout_seconds: float = 30.0) -> None:
            self._talk.start()

    async with scene() as s:
        hasty = LiveVenue(
            rest=s.rest, websocket=partial(Hasty, s.server.ws_url, US), clock=RealClock()
        )
        await hasty.start([SYMBOL], Recorder())
        assert hasty.book(SYMBOL).state == "live"
        await hasty.close()


async def test_the_frame_is_on_the_socket_when_submit_returns() -> None:
    async with scene() as s:
        connection = s.venue._websocket
        assert connection is not None
        sent: list[bytes] = []
        transport, listener = connection._talk.transport, connection._talk.listener
        assert transport is not None and listener is not None

        class Spy:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def send(self, kind: Any, frame: bytes) -> None:
                sent.append(frame)
                transport.send(kind, frame)

        connection._requests.opened(Spy(), listener)  # type: ignore[arg-type]
        future = s.submit("nk-1", "buy", "1", "150.00")
        assert len(sent) == 1
        assert b"newOrder" in sent[0]
        connection._requests.opened(transport, listener)
        await future


async def test_refusals_are_told_as_what_they_are() -> None:
    async with scene() as s:
        with pytest.raises(errors.InsufficientFundsError):
            await s.submit("nk-1", "buy", "5000", "160.00")
        await s.submit("nk-2", "buy", "1", "150.00")
        with pytest.raises(errors.DuplicateClientIdError):
            await s.submit("nk-2", "buy", "1", "150.00")
        with pytest.raises(errors.RejectedError):
            await s.submit("nk-3", "buy", "0.001", "1.00")
        with pytest.raises(errors.RejectedError):  # not cut to the market's digits
            await s.submit("nk-4", "buy", "1.0001", "150.00")
        with pytest.raises(errors.OrderNotFoundError):
            await s.venue.cancel(SYMBOL, "nobody", "")


async def test_while_the_socket_is_away_an_order_goes_over_rest_once() -> None:
    async with scene() as s:
        futures: list[asyncio.Future[OrderUpdate]] = []
        s.heard.on_down = lambda: futures.append(s.submit("nk-1", "buy", "1", "150.00"))
        await s.server.hang_up()
        await until(lambda: futures)
        assert s.venue.book(SYMBOL).state == "stale"
        accepted = await futures[0]
        assert accepted.status is VenueStatus.OPEN
        await until(lambda: s.heard.connections[-1])
        assert s.heard.connections == [True, False, True]
        await until(lambda: s.venue.book(SYMBOL).state == "live")
        assert await s.ours() == ["nk-1"]
        # What was open is told anew after the reconnect.
        await until(lambda: "nk-1" in {update.client_id for update in s.heard.orders})


async def test_a_cancel_over_rest_tells_what_was_filled() -> None:
    async with scene() as s:
        await s.submit("nk-1", "buy", "2", "159.50")
        await s.they_order("sell", "0.5", "159.00")
        futures: list[asyncio.Future[OrderUpdate]] = []
        s.heard.on_down = lambda: futures.append(s.venue.cancel(SYMBOL, "nk-1", ""))
        await s.server.hang_up()
        await until(lambda: futures)
        final = await futures[0]
        assert (final.status, final.executed) == (VenueStatus.CANCELLED, D("0.5"))


async def test_a_cancel_whose_fills_cannot_be_read_is_unknown() -> None:
    class Forgetful(AsyncRestClient):
        async def get_order(self, order_id: str) -> OrderStatus:
            raise errors.UnreachableError("gone", endpoint="/getorder")

    async with scene(Forgetful) as s:
        await s.submit("nk-1", "buy", "2", "159.50")
        futures: list[asyncio.Future[OrderUpdate]] = []
        s.heard.on_down = lambda: futures.append(s.venue.cancel(SYMBOL, "nk-1", ""))
        await s.server.hang_up()
        await until(lambda: futures)
        with pytest.raises(errors.OutcomeUnknownError, match="fills could not be read"):
            await futures[0]


async def test_a_venue_that_is_not_open_sends_nothing() -> None:
    async with scene() as s:
        await s.venue.close()
        assert s.heard.connections == [True]  # closing is no loss
        with pytest.raises(errors.UnreachableError, match="not open"):
            await s.submit("nk-1", "buy", "1", "150.00")
        idle = LiveVenue(
            rest=s.rest, websocket=partial(WebSocketClient, s.server.ws_url, US), clock=RealClock()
        )
        with pytest.raises(errors.UnreachableError) as refused:
            await idle.submit(NewOrder("nk-1", SYMBOL, "buy", D(1), D(150)))
        assert refused.value.sent == "no"
        with pytest.raises(errors.UnreachableError, match="not open"):
            await idle.cancel(SYMBOL, "nk-1", "")
        assert set(idle.counters.values()) == {0}
        await idle.close()


async def test_giving_up_the_wait_cancels_nothing_else() -> None:
    async with scene() as s:
        future = s.submit("nk-1", "buy", "1", "150.00")
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        await until(lambda: s.heard.statuses("nk-1"))
        assert (await s.submit("nk-2", "buy", "1", "150.00")).status is VenueStatus.OPEN


async def test_orders_are_found_by_either_id() -> None:
    async with scene() as s:
        assert await s.venue.find_order(SYMBOL, "nk-1") is None
        accepted = await s.submit("nk-1", "sell", "2", "170.00")
        found = await s.venue.find_order(SYMBOL, "nk-1")
        assert found is not None
        assert (found.order_id, found.status) == (accepted.order_id, VenueStatus.OPEN)
        assert await s.venue.find_order(SYMBOL, accepted.order_id) == found
        with pytest.raises(errors.UnreachableError, match="describes"):
            await s.venue.find_order("BTC/USDT", "nk-1")


async def test_another_order_in_the_answer_is_not_taken_for_ours() -> None:
    class Mixed(AsyncRestClient):
        async def get_order(self, order_id: str) -> OrderStatus:
            return await super().get_order("nk-1")

    async with scene(Mixed) as s:
        await s.submit("nk-1", "sell", "2", "170.00")
        with pytest.raises(errors.UnreachableError, match=r"asked for order nk-2.*nk-1"):
            await s.venue.find_order(SYMBOL, "nk-2")


async def test_open_orders_are_those_of_the_market() -> None:
    async with scene() as s:
        await s.submit("nk-1", "sell", "2", "170.00")
        await s.submit("nk-2", "buy", "1", "150.00")
        cancelled = await s.submit("nk-3", "buy", "1", "149.00")
        await s.venue.cancel(SYMBOL, "nk-3", cancelled.order_id)
        await s.rest.create_order(
            OrderRequest(
                symbol="XMR/BTC", side="sell", quantity=D(1), price=D("0.01"), user_provided_id="x"
            )
        )
        found = await s.venue.open_orders(SYMBOL)
        assert sorted(update.client_id for update in found) == ["nk-1", "nk-2"]


@pytest.mark.parametrize(
    ("method", "read"),
    [
        ("get_order", lambda venue: venue.find_order(SYMBOL, "nk-1")),
        ("get_orders", lambda venue: venue.open_orders(SYMBOL)),
        ("get_orders", lambda venue: venue.order_history(SYMBOL, 0)),
        ("get_account_trades", lambda venue: venue.executions(SYMBOL, 0)),
        ("get_balances", lambda venue: venue.holdings()),
        ("get_market", lambda venue: venue.read_market(SYMBOL)),
        ("get_order_book", lambda venue: venue.read_book(SYMBOL, 10)),
    ],
)
async def test_an_answer_that_cannot_be_understood_is_one_that_did_not_come(
    method: str, read: Any
) -> None:
    async with scene() as s:

        async def unreadable(*_: object, **__: object) -> None:
            raise errors.WireError("a list expected", "<html>")

        s.rest.__dict__[method] = unreadable
        with pytest.raises(errors.UnreachableError, match="cannot be understood: a list expected"):
            await read(s.venue)
        del s.rest.__dict__[method]
        await read(s.venue)


async def test_the_history_holds_finished_orders_too() -> None:
    async with scene() as s:
        await s.submit("nk-1", "sell", "2", "170.00")
        filled = await s.submit("nk-2", "buy", "1", "161.00")
        ended = await s.submit("nk-3", "buy", "1", "149.00")
        await s.venue.cancel(SYMBOL, "nk-3", ended.order_id)
        found = {row.client_id: row for row in await s.venue.order_history(SYMBOL, 0)}
        assert {name: row.status for name, row in found.items()} == {
            "nk-1": VenueStatus.OPEN,
            "nk-2": VenueStatus.FILLED,
            "nk-3": VenueStatus.CANCELLED,
        }
        assert found["nk-2"].order_id == filled.order_id
        assert await s.venue.order_history("BTC/USDT", 0) == []


async def test_the_book_is_read_beside_the_stream() -> None:
    async with scene() as s:
        book = await s.venue.read_book(SYMBOL, 10)
        assert book is not None
        assert (list(book.bids), list(book.asks)) == (
            [(D("159.00"), D(5))],
            [(D("161.00"), D(5))],
        )


async def test_a_resync_is_a_new_connection() -> None:
    async with scene() as s:
        s.venue.resync("the machine slept")
        await until(lambda: s.heard.connections == [True, False, True])
        await until(lambda: s.venue.book(SYMBOL).state == "live")
        assert (await s.submit("nk-1", "buy", "1", "150.00")).status is VenueStatus.OPEN


async def test_account_news_that_cannot_be_read_is_counted_and_harmless() -> None:
    async with scene() as s:
        bad = (
            b'{"jsonrpc":"2.0","method":"report","params":{"id":"1"}}',
            b'{"jsonrpc":"2.0","method":"report","params":[7]}',
            b'{"jsonrpc":"2.0","method":"balanceUpdate","params":{"ticker":"XMR"}}',
            b'{"jsonrpc":"2.0","method":"updateTrades","params":{"symbol":"XMR/USDT","data":3}}',
        )
        for conversation in s.server.connections.values():
            for frame in bad:
                conversation.push(frame)
        accepted = await s.submit("nk-1", "buy", "1", "150.00")
        assert accepted.status is VenueStatus.OPEN
        assert s.venue.counters["account_messages_rejected"] == 3
        assert s.venue.counters["rejected"] == 1  # the decoder reads the trades first
        assert s.heard.connections == [True]


async def test_closing_ends_what_is_unanswered_as_unknown() -> None:
    class Swallowing(AsyncRestClient):
        async def create_order(self, request: OrderRequest) -> OrderResponse:
            return await asyncio.get_running_loop().create_future()

    async with scene(Swallowing) as s:
        futures: list[asyncio.Future[OrderUpdate]] = []
        s.heard.on_down = lambda: futures.append(s.submit("nk-1", "buy", "1", "150.00"))
        await s.server.hang_up()
        await until(lambda: futures)
        await asyncio.sleep(0)
        await s.venue.close()
        with pytest.raises(errors.OutcomeUnknownError, match="closed"):
            await futures[0]


class ManyTrades(AsyncRestClient):
    """Answers with more fills than one page holds, as the venue's lists do."""

    @staticmethod
    def row(number: int) -> AccountTrade:
        return AccountTrade.from_wire(
            {
                "id": f"t{number}",
                "orderid": "o1",
                "symbol": SYMBOL if number % 2 else "BTC/USDT",
                "side": "Buy",
                "triggeredBy": "sell",
                "price": "1",
                "quantity": "1",
                "fee": "0.002",
                "timestamp": 1000 + number // 3,
            }
        )

    count = 1200

    async def get_account_trades(
        self,
        symbol: str | None = None,
        *,
        limit: Any = None,
        skip: Any = None,
        since_ms: Any = None,
    ) -> list[AccountTrade]:
        assert (symbol, limit) == (None, 500)
        rows = [self.row(n) for n in range(self.count) if 1000 + n // 3 >= since_ms]
        return rows[::-1][skip : skip + limit]

    async def get_account_trades_since(
        self, since_ms: int, symbol: str | None = None, *, limit: int = 500, skip: int = 0
    ) -> list[AccountTrade]:
        rows = [self.row(n) for n in range(self.count) if 1000 + n // 3 >= since_ms]
        return rows[skip : skip + limit]


@pytest.mark.parametrize("since_ms", [0, 1050, 1200, 1390])
async def test_every_fill_since_a_time_is_read_once(since_ms: int) -> None:
    async with scene(ManyTrades) as s:
        fills = await s.venue.executions(SYMBOL, since_ms)
    wanted = [n for n in range(1200) if n % 2 and 1000 + n // 3 >= since_ms]
    assert sorted(int(fill.trade_id[1:]) for fill in fills) == wanted
    assert [fill.time_ms for fill in fills] == sorted(fill.time_ms for fill in fills)


async def test_a_list_of_fills_that_does_not_go_on_is_an_error() -> None:
    class Stuck(ManyTrades):
        async def get_account_trades_since(self, since_ms: int, *_: Any, **__: Any) -> Any:
            return [self.row(n) for n in range(500)]

    async with scene(Stuck) as s:
        with pytest.raises(errors.UnreachableError, match="does not go on"):
            await s.venue.executions(SYMBOL, 0)


async def test_open_orders_are_read_over_all_pages() -> None:
    class ManyOrders(AsyncRestClient):
        count = 700

        async def get_orders(
            self,
            symbol: Any = None,
            *,
            status: Any = None,
            limit: Any = None,
            skip: Any = 0,
            since_ms: Any = None,
        ) -> list[OrderStatus]:
            assert (symbol, status) == (None, "active")
            rows = [
                {
                    "id": f"o{n}",
                    "symbol": SYMBOL,
                    "side": "buy",
                    "price": "1",
                    "quantity": "1",
                    "status": "Active",
                }
                for n in range(skip, min(skip + limit, self.count))
            ]
            return [OrderStatus.from_wire(row) for row in rows]

    async with scene(ManyOrders) as s:
        assert len(await s.venue.open_orders(SYMBOL)) == 700
        assert await s.venue.open_orders("BTC/USDT") == []
        ManyOrders.count = 1_000_000
        with pytest.raises(errors.UnreachableError, match="more than 20000 rows"):
            await s.venue.open_orders(SYMBOL)


async def test_an_order_that_ends_between_two_pages_hides_no_other() -> None:
    class Moving(AsyncRestClient):
        numbers: ClassVar[list[int]] = list(range(700))
        ends_after_page: ClassVar[list[int]] = [3, 4]

        async def get_orders(
            self, *, status: Any = None, limit: Any = None, skip: Any = 0, since_ms: Any = None
        ) -> list[OrderStatus]:
            rows = [
                OrderStatus.from_wire(
                    {
                        "id": f"o{n}",
                        "symbol": SYMBOL,
                        "side": "buy",
                        "price": "1",
                        "quantity": "1",
                        "status": "Active",
                    }
                )
                for n in self.numbers[skip : skip + limit]
            ]
            if skip == 0 and self.ends_after_page:
                self.numbers.remove(self.ends_after_page.pop(0))  # the rest moves up by one
            return rows

    async with scene(Moving) as s:
        found = await s.venue.open_orders(SYMBOL)
        assert {row.order_id for row in found} == {f"o{n}" for n in Moving.numbers}
        Moving.ends_after_page = list(range(10, 40))
        with pytest.raises(errors.UnreachableError, match="changed in each of 4 reads"):
            await s.venue.open_orders(SYMBOL)


@pytest.mark.parametrize(("off_s", "side"), [(31, "ahead of"), (-31, "behind"), (29, None)])
async def test_a_clock_that_is_wrong_is_refused(off_s: int, side: str | None) -> None:
    class Off(RealClock):
        def time_ns(self) -> int:
            return super().time_ns() + off_s * 10**9

    async with scene() as s:
        connect = partial(WebSocketClient, s.server.ws_url, US, allow_changes=True)
        venue = LiveVenue(rest=s.rest, websocket=connect, clock=Off())
        try:
            if side is None:
                await venue.start([SYMBOL], Recorder())
            else:
                with pytest.raises(errors.ClockError, match=f"clock is 31 s {side} the venue's"):
                    await venue.start([SYMBOL], Recorder())
        finally:
            await venue.close()


async def test_what_is_asked_together_is_read_once() -> None:
    class Counted(AsyncRestClient):
        calls: ClassVar[list[str]] = []

        async def get_orders(self, *_: Any, **given: Any) -> list[OrderStatus]:
            self.calls.append("orders")
            return await super().get_orders(*_, **given)

        async def get_account_trades(self, *_: Any, **given: Any) -> list[AccountTrade]:
            self.calls.append(f"trades {given['since_ms']}")
            return await super().get_account_trades(*_, **given)

    async with scene(Counted) as s:
        await s.submit("nk-1", "buy", "1", "161.00")
        Counted.calls.clear()
        lists = await asyncio.gather(
            s.venue.open_orders(SYMBOL),
            s.venue.open_orders("BTC/USDT"),
            s.venue.executions(SYMBOL, 7),
            s.venue.executions("BTC/USDT", 5),
            s.venue.executions(SYMBOL, 2**42),
        )
        assert sorted(Counted.calls) == ["orders", "trades 5"]
        assert [len(rows) for rows in lists] == [0, 0, 1, 0, 0]
        Counted.calls.clear()
        await asyncio.gather(*(s.venue.order_history(SYMBOL, since) for since in range(9)))
        assert Counted.calls == ["orders"] * 4  # one for each status


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts what Linux shows as open")
async def test_P07_a_reconnect_leaves_no_file_and_no_task_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_FIRST", 0.001)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_MAX", 0.01)
    async with scene() as s:

        async def reconnect() -> None:
            before = len(s.heard.connections)
            s.venue.resync("for the test")
            await until(lambda: s.heard.connections[before:][-1:] == [True])
            await s.venue.open_orders(SYMBOL)

        for _ in range(5):  # what is made once is made now
            await reconnect()
        gc.collect()
        files, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
        for _ in range(30):
            await reconnect()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= files)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
