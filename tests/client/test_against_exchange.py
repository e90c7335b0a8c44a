"""Both clients against the simulated exchange over real sockets: the life of a bot."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
import trustme

import nkfast
from nkfast import errors
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.rest import RestClient
from nkfast.client.throttle import Throttle
from nkfast.client.websocket import Subscription, WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.exchange.server import AccountSettings, ExchangeSettings, serve
from nkfast.wire import known_fields
from nkfast.wire.endpoints import ENDPOINTS
from nkfast.wire.known_fields import KNOWN_FIELDS
from nkfast.wire.models import (
    ApiCredentials,
    Balance,
    OrderReport,
    OrderRequest,
    OrderState,
    OrderStatus,
    Trade,
)

ALICE = ApiCredentials("alice", "alice's secret")
BOB = ApiCredentials("bob", "bob's secret")
SYMBOL = "BTC/USDT"


@asynccontextmanager
async def exchange(**settings):
    accounts = tuple(
        AccountSettings(
            credentials.api_key, credentials.api_secret, {"BTC": "100", "USDT": "10000000"}
        )
        for credentials in (ALICE, BOB)
    )
    options = {"speed": 0.0, "more_accounts": accounts} | settings
    async with serve(ExchangeSettings(**options)) as there:
        yield there


def rest_client(there, credentials=ALICE):
    return AsyncRestClient(
        credentials, base_url=there.rest_url, allow_changes=True, throttle=Throttle({}), attempts=1
    )


def request(side, quantity, price, client_id, **more):
    return OrderRequest(
        symbol=SYMBOL,
        side=side,
        quantity=Decimal(quantity),
        price=None if price is None else Decimal(price),
        user_provided_id=client_id,
        **more,
    )


class News:
    """What the account stream of one client said."""

    def __init__(self, client):
        self.reports, self.open_orders, self.balances, self.trades = [], [], {}, []
        client.register_handler(
            "report", lambda row: self.reports.append(OrderReport.from_wire(row))
        )
        client.register_handler("activeOrders", self.open_orders.extend)
        client.register_handler("currentBalances", lambda rows: [*map(self.balance, rows)])
        client.register_handler("balanceUpdate", self.balance)
        client.register_handler(
            "updateTrades", lambda row: self.trades.extend(Trade.from_stream(row))
        )

    def balance(self, row):
        balance = Balance.from_wire(row)
        self.balances[balance.asset] = balance


@pytest.mark.parametrize("shape", ["live", "docs"])
async def test_the_life_of_a_bot(until, shape):
    async with exchange(private_shape=shape, cancel_returns_order=shape == "live") as there:
        async with rest_client(there) as rest, rest_client(there, BOB) as other:
            assert (await rest.get_time()).time_ms > 1_700_000_000_000
            market = Market.from_wire((await rest.get_market(SYMBOL)).raw)
            assert SYMBOL in {info.symbol for info in await rest.get_markets()}
            assert {row.asset: row.available for row in await rest.get_balances()}["BTC"] == 100

            decoder = FrameDecoder([market])
            client = WebSocketClient(there.ws_url, ALICE, decoder=decoder, allow_changes=True)
            news = News(client)
            client.subscribe_order_book(SYMBOL)
            client.subscribe_trades(SYMBOL)
            client.subscribe_account_updates()
            await client.connect()
            book = decoder.book(SYMBOL)
            await until(lambda: book.state == "live")

            # A resting order: accepted, reported, in the book, found again.
            accepted = await client.new_order(request("buy", "0.5", "100", "nk-1"))
            assert accepted.status in (OrderState.NEW, OrderState.ACTIVE)
            await until(lambda: news.reports)
            assert news.reports[0].report_type == "new"
            await until(lambda: book.best_bid is not None)
            assert market.ticks_to_price(book.best_bid[0]) == 100
            assert market.lots_to_quantity(book.best_bid[1]) == Decimal("0.5")
            found = await rest.get_order("nk-1")
            assert (found.order_id, found.symbol) == (accepted.order_id, SYMBOL)
            assert [row.order_id for row in await client.get_orders(SYMBOL)] == [found.order_id]
            opened = await rest.get_orders(SYMBOL, status="active")
            assert [row.user_provided_id for row in opened] == ["nk-1"]

            # Another account sells into it.
            await other.create_order(request("sell", "0.2", None, "ot-1", order_type="market"))
            await until(lambda: len(news.reports) == 2 and news.trades)
            fill = news.reports[1]
            assert (fill.report_type, fill.status) == ("trade", OrderState.PARTLY_FILLED)
            assert (fill.trade_price, fill.trade_quantity) == (100, Decimal("0.2"))
            assert fill.filled_quantity == Decimal("0.2")
            assert news.trades[0].side == "sell" and news.trades[0].symbol == SYMBOL
            [trade] = await rest.get_account_trades(SYMBOL)
            assert (trade.trade_id, trade.order_id) == (fill.trade_id, accepted.order_id)
            assert trade.is_maker and trade.fee == fill.trade_fee == Decimal("0.04")
            await until(lambda: news.balances["BTC"].available == Decimal("100.2"))
            assert (await client.get_trading_balance())[0].asset

            # Cancelled on the other road than it was made on.
            cancelled = await rest.cancel_order("nk-1")
            assert cancelled.order_id in (accepted.order_id, "nk-1")
            assert (cancelled.order is not None) == (shape == "live")
            await until(lambda: news.reports[-1].report_type == "cancelled")
            assert news.reports[-1].filled_quantity == Decimal("0.2")
            with pytest.raises(errors.OrderNotFoundError):
                await client.cancel_order(user_provided_id="nk-1")
            with pytest.raises(errors.DuplicateClientIdError):
                await client.new_order(request("buy", "0.5", "100", "nk-1"))
            with pytest.raises(errors.InsufficientFundsError):
                await rest.create_order(request("sell", "101", "1000000", "nk-2"))
            with pytest.raises(errors.OrderNotFoundError):
                await rest.get_order("nk-2")

            # Several at once, and all of them away.
            orders = [request("buy", "0.1", str(50 + n), f"nk-m{n}") for n in range(5)]
            await asyncio.gather(*map(client.send_new_order, orders))
            result = await rest.cancel_all_orders(SYMBOL)
            assert len(result.order_ids) == 5
            await until(lambda: book.best_bid is None)
            await client.close()


async def test_wrong_keys_are_refused_on_both_roads():
    wrong = ApiCredentials("alice", "guessed")
    async with exchange() as there, rest_client(there, wrong) as rest:
        with pytest.raises(errors.AuthenticationError):
            await rest.get_balances()
        client = WebSocketClient(there.ws_url, wrong)
        with pytest.raises(errors.AuthenticationError):
            await client.connect()


async def test_basic_credentials_are_taken_on_both_roads():
    async with exchange() as there:
        async with AsyncRestClient(ALICE, base_url=there.rest_url, basic_auth=True) as rest:
            assert {row.asset for row in await rest.get_balances()} >= {"BTC"}
        async with WebSocketClient(there.ws_url, ALICE, basic_login=True) as client:
            assert {row.asset for row in await client.get_trading_balance()} >= {"BTC"}
        wrong = ApiCredentials("alice", "guessed")
        async with AsyncRestClient(wrong, base_url=there.rest_url, basic_auth=True) as rest:
            with pytest.raises(errors.AuthenticationError):
                await rest.get_balances()


async def test_the_sync_client_does_the_same():
    def trade(url):
        options = {"allow_changes": True, "throttle": Throttle({}), "attempts": 1}
        with RestClient(ALICE, base_url=url, **options) as rest:
            assert rest.get_time().time_ms > 1_700_000_000_000
            assert SYMBOL in {info.symbol for info in rest.get_markets()}
            accepted = rest.create_order(request("buy", "0.5", "100", "nk-1"))
            with pytest.raises(errors.DuplicateClientIdError):
                rest.create_order(request("buy", "0.5", "100", "nk-1"))
            [found] = rest.get_orders(SYMBOL, status="active")
            assert found.order_id == accepted.order_id
            book = rest.get_order_book(SYMBOL)
            assert (book.bids[0].price, book.bids[0].quantity) == (100, Decimal("0.5"))
            rest.cancel_order("nk-1")
            with pytest.raises(errors.OrderNotFoundError):
                rest.cancel_order("nk-1")
            assert rest.raw("GET", "/getorder/nk-1", private=True)["status"] == "Cancelled"

    async with exchange() as there:
        await asyncio.to_thread(trade, there.rest_url)


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "TLS"])
async def test_every_request_and_stream_of_the_socket(until, is_secure):
    """Protocol 2.3 to 2.5, line by line, over one connection."""
    authority, ours, theirs = trustme.CA(), None, None
    if is_secure:
        ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.configure_trust(ours)
        authority.issue_cert("127.0.0.1").configure_cert(theirs)
    async with exchange(speed=50.0, tick_interval_s=0.01, tls=theirs) as there:
        decoder = FrameDecoder([Market(SYMBOL, 2, 6)])
        options = {"decoder": decoder, "allow_changes": True, "ssl_context": ours}
        async with WebSocketClient(there.ws_url, ALICE, **options) as client:
            assert (await client.get_asset("BTC")).ticker == "BTC"
            assert "BTC" in {row.ticker for row in await client.get_assets()}
            assert (await client.get_market(SYMBOL)).symbol == SYMBOL
            assert SYMBOL in {row.symbol for row in await client.get_markets()}
            assert "USDT" in {row.asset for row in await client.get_trading_balance()}
            streams = {
                "book": client.books(SYMBOL, 20),
                "trade": client.trades(SYMBOL),
                "ticker": client.tickers(SYMBOL),
                "bar": client.candles(SYMBOL, 5, count=3),
                "account": client.account_updates(),
            }
            first = {name: await anext(stream) for name, stream in streams.items()}
            assert first["book"].state == "live" and first["book"].best_bid
            assert first["trade"].symbol == SYMBOL and first["ticker"].last_price > 0
            assert first["bar"].high >= first["bar"].low
            assert isinstance(first["account"], OrderStatus | Balance)
            assert (await client.get_trades(SYMBOL, 5))[0].symbol == SYMBOL
            order = await client.new_order(request("buy", "0.5", "100", "nk-1"))
            assert [row.order_id for row in await client.get_orders(SYMBOL)] == [order.order_id]
            cancelled = await client.cancel_order(order_id=order.order_id)
            assert cancelled.order.status is OrderState.CANCELLED
            assert await client.request("getOrders", {}) == []
            for channel in ("order_book", "trades", "ticker"):
                limit = 20 if channel == "order_book" else 0
                client.unsubscribe(Subscription(channel, SYMBOL, limit))
            client.unsubscribe(Subscription("candles", SYMBOL, 3, 5))
            client.unsubscribe(Subscription("reports"))
            assert client.is_ready
            assert await client.request("getOrders", {}) == []  # the unsubscriptions were taken
            assert client.counters["complaints"] == 0


async def test_the_example_of_the_founding_document_runs(until):
    async with exchange(speed=50.0, tick_interval_s=0.01) as there:
        client = nkfast.WebSocketClient(there.ws_url.rstrip("/") + "/ws")
        client.subscribe_order_book("BTC/USDT", depth=20)
        client.subscribe_trades("BTC/USDT")

        shown = []

        async def handle_orderbook(msg):
            shown.append(f"Order book: {msg}")

        client.register_handler("orderbook", handle_orderbook)
        running = asyncio.ensure_future(client.run_forever())
        await until(lambda: shown)
        await client.close()
        await running
    assert "'symbol': 'BTC/USDT'" in shown[0] and "'bids': [" in shown[0]


async def test_open_orders_are_told_after_a_reconnect(until):
    async with exchange() as there, rest_client(there) as rest:
        await rest.create_order(request("buy", "0.5", "100", "nk-1"))
        client = WebSocketClient(there.ws_url, ALICE)
        news = News(client)
        client.subscribe_account_updates()
        await client.connect()
        await until(lambda: news.open_orders)
        news.open_orders.clear()
        client._talk.transport.disconnect(graceful=False)
        await until(lambda: news.open_orders)
        assert OrderStatus.from_wire(news.open_orders[0]).user_provided_id == "nk-1"
        await client.close()


async def test_books_of_a_busy_exchange_stay_equal_to_its_own(until):
    async with (
        exchange(speed=50.0, tick_interval_s=0.002, seed=7) as there,
        rest_client(there) as rest,
    ):
        infos = (await rest.get_markets())[:5]
        decoder = FrameDecoder([Market.from_wire(info.raw) for info in infos])
        told = []
        client = WebSocketClient(
            there.ws_url,
            decoder=decoder,
            on_book=lambda *news: told.append(news),
        )
        for info in infos:
            client.subscribe_order_book(info.symbol, 1000)
        await client.connect()
        await until(lambda: decoder.counters["update"] > 500)
        assert client.counters["resyncs"] == 0
        assert all(decoder.book(info.symbol).state == "live" for info in infos)
        for info in infos:
            book = decoder.book(info.symbol)
            market = Market.from_wire(info.raw)

            async def agrees(info=info, book=book, market=market):
                theirs = await rest.get_order_book(info.symbol, limit=1000)
                sides = []
                for levels in book.depth(1000):
                    sides.append(
                        tuple(
                            (market.ticks_to_price(ticks), market.lots_to_quantity(lots))
                            for ticks, lots in levels.tolist()
                        )
                    )
                return sides == [theirs.bids, theirs.asks]

            # The book moves on while REST is asked: equal at some moment is equal.
            for _ in range(500):
                if await agrees():
                    break
            else:
                raise AssertionError(f"{info.symbol} never agreed")
        assert len(told) <= decoder.counters["update"] + decoder.counters["snapshot"]
        await client.close()


async def test_every_read_of_the_table_is_answered(monkeypatch):
    monkeypatch.setattr(known_fields, "_shapes", {name: set() for name in KNOWN_FIELDS})
    monkeypatch.setattr(known_fields, "_unknown", {})
    arguments = {
        "symbol": SYMBOL,
        "ticker": "BTC",
        "order_id": "nk-1",
        "resolution_minutes": 5,
        "count": 10,
        "since_ms": 0,
        "limit": 5,
        "skip": 0,
    }
    answered, refused = set(), {}
    async with exchange(speed=20.0) as there, rest_client(there) as rest:
        await rest.create_order(request("buy", "0.5", "100", "nk-1"))
        market = await rest.get_market(SYMBOL)
        asset = await rest.get_asset(ticker="BTC")
        arguments |= {"market_id": market.market_id, "asset_id": asset.asset_id}
        for name, row in ENDPOINTS.items():
            if row.changes or "pool" in name:
                continue
            wanted = {p.name: arguments[p.name] for p in row.parameters if p.required}
            if name == "get_asset":
                wanted = {"ticker": "BTC"}
            elif not wanted and "symbol" in {p.name for p in row.parameters}:
                wanted = {"symbol": SYMBOL}
            try:
                await getattr(rest, name)(**wanted)
                answered.add(name)
            except errors.VenueError as error:
                refused[name] = error
    # The venue's own documentation is silent on these; the simulation may be as well.
    vague = {"get_summary", "get_cmc_assets", "get_cmc_tickers", "get_cmc_order_book"}
    vague |= {"get_cmc_trades", "get_deposit_address"}
    assert set(refused) <= vague, refused
    assert len(answered) > 30
    assert known_fields.unknown_fields() == {}
