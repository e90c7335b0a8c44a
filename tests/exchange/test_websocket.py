"""The WebSocket interface over real sockets, with a plain client."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market
from nkfast.exchange.server import AccountSettings, ExchangeServer, ExchangeSettings, serve

LIMIT_S = 10.0


class Conversation:
    """One WebSocket; frames are read in their order."""

    def __init__(self, server: ExchangeServer, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.server = server
        self._ws = ws

    async def say(self, method: str, request_id: Any = None, **params: Any) -> None:
        request: dict[str, Any] = {"method": method, "params": params}
        if request_id is not None:
            request["id"] = request_id
        await self._ws.send_str(json.dumps(request))

    async def hear_bytes(self) -> bytes:
        return (await asyncio.wait_for(self._ws.receive_str(), LIMIT_S)).encode()

    async def hear(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.hear_bytes())
        return frame

    async def ask(self, method: str, **params: Any) -> Any:
        await self.say(method, method, **params)
        frame = await self.hear()
        assert frame["id"] == method, frame
        return frame.get("result", frame.get("error"))

    async def log_in(self, key: str = "K", secret: str = "S") -> None:
        signature = hmac.new(secret.encode(), b"nonce", hashlib.sha256).hexdigest()
        login = {"algo": "HS256", "pKey": key, "nonce": "nonce", "signature": signature}
        assert await self.ask("login", **login) is True

    async def is_silent(self) -> bool:
        """Ask something and see that nothing came before its answer."""
        await self.say("getAsset", "silence", ticker="BTC")
        return (await self.hear()).get("id") == "silence"


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[ExchangeServer]:
    options = {
        "speed": 0,
        "key": "K",
        "secret": "S",
        "more_accounts": (AccountSettings("K2", "S2"),),
    } | options
    async with serve(ExchangeSettings(**options)) as server:
        yield server


@asynccontextmanager
async def talking(server: ExchangeServer, path: str = "") -> AsyncIterator[Conversation]:
    async with aiohttp.ClientSession() as session, session.ws_connect(server.ws_url + path) as ws:
        yield Conversation(server, ws)


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    async with running() as one:
        yield one


@pytest.fixture
async def talk(server: ExchangeServer) -> AsyncIterator[Conversation]:
    async with talking(server) as one:
        yield one


@pytest.fixture
async def trader(server: ExchangeServer) -> AsyncIterator[Conversation]:
    async with talking(server) as one:
        await one.log_in()
        yield one


@pytest.fixture
async def other(server: ExchangeServer) -> AsyncIterator[Conversation]:
    async with talking(server) as one:
        await one.log_in("K2", "S2")
        yield one


BUY = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "price": "60000"}
SELL = BUY | {"side": "sell"}


@pytest.mark.parametrize("path", ["", "ws", "any/other"])
async def test_every_path_can_be_upgraded(server: ExchangeServer, path: str) -> None:
    async with talking(server, path) as talk:
        assert len(await talk.ask("getMarkets")) == 14


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"algo": "HS256", "pKey": "K", "nonce": "n", "signature": "0" * 64}, 1002),
        ({"algo": "HS256", "pKey": "K"}, 1002),
        ({"algo": "HS256", "pKey": "other", "nonce": "n", "signature": "0" * 64}, 1002),
        ({"algo": "BASIC", "pKey": "K", "sKey": "wrong"}, 1002),
        ({"algo": "RS256", "pKey": "K"}, 1004),
        ({}, 1004),
    ],
)
async def test_wrong_logins_have_codes(talk: Conversation, params: Any, code: int) -> None:
    assert (await talk.ask("login", **params))["code"] == code
    assert (await talk.ask("getOrders"))["code"] == 1001


async def test_both_algorithms_log_in(talk: Conversation) -> None:
    assert await talk.ask("login", algo="BASIC", pKey="K", sKey="S") is True
    await talk.log_in("K2", "S2")


async def test_pipelined_login_and_subscriptions_are_answered_in_order(talk: Conversation) -> None:
    await talk.say("login", 1, algo="BASIC", pKey="K", sKey="S")
    await talk.say("subscribeReports", 2)
    await talk.say("subscribeOrderbook", 3, symbol="BTC/USDT")
    frames = [await talk.hear() for _ in range(4)]
    assert [frame.get("id") for frame in frames] == [1, 2, 3, None]
    assert frames[1]["method"] == "activeOrders"
    assert frames[3]["method"] == "snapshotOrderbook"


async def test_market_and_asset_queries(talk: Conversation) -> None:
    market = await talk.ask("getMarket", symbol="ETH/BTC")
    assert (market["symbol"], market["priceDecimals"]) == ("ETH/BTC", 6)
    assert (await talk.ask("getAsset", ticker="BTC"))["ticker"] == "BTC"
    assert (await talk.ask("getAsset", currency="BTC"))["ticker"] == "BTC"
    assert len(await talk.ask("getAssets")) == 9
    assert [asset["ticker"] for asset in await talk.ask("getAssets", ticker="ETH")] == ["ETH"]
    assert (await talk.ask("getAsset", ticker="NONE"))["code"] == 2002
    assert (await talk.ask("getMarket", symbol="BTC-USDT"))["code"] == 2001
    assert (await talk.ask("getMarket"))["code"] == 10001


async def test_order_reply_comes_before_its_reports(
    trader: Conversation, other: Conversation
) -> None:
    await other.ask("newOrder", **SELL)
    await trader.ask("subscribeReports")
    await trader.say("newOrder", 5, **BUY, userProvidedId="mine")
    reply, new, trade = [await trader.hear() for _ in range(3)]
    assert reply["id"] == 5
    order = reply["result"]
    assert (order["status"], order["reportType"], order["isNew"]) == ("New", "new", True)
    assert order["executedQuantity"] == "0.000000"
    assert (new["method"], new["params"]["reportType"]) == ("report", "new")
    assert "id" not in new and "id" not in trade
    filled = trade["params"]
    assert (filled["reportType"], filled["status"]) == ("trade", "Filled")
    assert (filled["id"], filled["userProvidedId"]) == (order["id"], "mine")
    assert (filled["tradeQuantity"], filled["tradePrice"]) == ("0.010000", "60000.00")
    assert filled["tradeFee"] == "1.2"
    (row,) = trader.server.accounts["K"].trades
    assert filled["tradeId"] == row.trade.id


async def test_reports_go_to_every_connection_of_the_account_alone(
    server: ExchangeServer, trader: Conversation, other: Conversation
) -> None:
    async with talking(server) as second, talking(server) as unsubscribed:
        for one in (second, unsubscribed):
            await one.log_in()
        for one in (trader, second, other):
            await one.ask("subscribeReports")
        await trader.say("newOrder", 1, **BUY)
        assert (await trader.hear())["id"] == 1
        for one in (trader, second):
            assert (await one.hear())["params"]["reportType"] == "new"
        assert await other.is_silent()
        assert await unsubscribed.is_silent()


async def test_cancel_answers_with_the_final_state(trader: Conversation) -> None:
    order = await trader.ask("newOrder", **BUY, userProvidedId="mine")
    assert [row["id"] for row in await trader.ask("getOrders")] == [order["id"]]
    (row,) = await trader.ask("getOrders", symbol="BTC/USDT")
    assert (row["status"], row["reportType"]) == ("active", "status")
    assert await trader.ask("getOrders", symbol="ETH/USDT") == []
    await trader.ask("subscribeReports")
    await trader.say("cancelOrder", 1, userProvidedId="mine")
    reply, report = await trader.hear(), await trader.hear()
    for fields in (reply["result"], report["params"]):
        assert (fields["id"], fields["status"]) == (order["id"], "Cancelled")
        assert (fields["isActive"], fields["reportType"]) == (False, "cancelled")
    again = await trader.ask("cancelOrder", orderId=order["id"])
    assert again["code"] == 20002
    assert again["description"] == "Active order not found for cancellation"
    assert (await trader.ask("cancelOrder"))["code"] == 10001


async def test_active_orders_come_with_the_subscription(trader: Conversation) -> None:
    order = await trader.ask("newOrder", **BUY)
    await trader.say("subscribeReports")
    frame = await trader.hear()
    assert set(frame) == {"jsonrpc", "method", "result"}
    assert [row["id"] for row in frame["result"]] == [order["id"]]


async def test_balances_change_with_orders(trader: Conversation) -> None:
    await trader.say("subscribeBalances", 1)
    frame = await trader.hear()
    assert frame["method"] == "currentBalances"
    # Without a trade nobody knows what the other assets are worth.
    assert frame["portfolioData"] == {"totalUsdValue": "10000.00", "totalBtcValue": "0.00000000"}
    before = {row["ticker"]: row["available"] for row in frame["result"]}
    assert before["USDT"] == "10000"
    await trader.say("newOrder", 2, **BUY)
    assert (await trader.hear())["id"] == 2
    update = await trader.hear()
    assert update["method"] == "balanceUpdate"
    assert update["params"]["ticker"] == "USDT"
    assert (update["params"]["available"], update["params"]["held"]) == ("9398.8", "601.2")
    rows = {row["asset"]: row for row in await trader.ask("getTradingBalance")}
    assert rows["USDT"] == {"asset": "USDT", "available": "9398.8", "held": "601.2"}


async def test_refused_order_has_code_and_words(trader: Conversation) -> None:
    error = await trader.ask("newOrder", **BUY | {"quantity": "9"})
    assert error == {
        "code": 20001,
        "message": "Insufficient funds",
        "description": "Insufficient funds for order creation",
    }
    await trader.ask("newOrder", **BUY, userProvidedId="once")
    assert (await trader.ask("newOrder", **BUY, userProvidedId="once"))["code"] == 20008


async def test_book_updates_follow_the_snapshot_without_a_gap(
    talk: Conversation, trader: Conversation, other: Conversation
) -> None:
    await trader.ask("newOrder", **BUY)
    await talk.say("subscribeOrderbook", symbol="BTC/USDT", limit=5)
    snapshot = (await talk.hear())["params"]
    assert snapshot["bids"] == [{"price": "60000.00", "quantity": "0.010000"}]
    assert snapshot["asks"] == [] and type(snapshot["sequence"]) is int
    await other.ask("newOrder", **SELL | {"quantity": "0.004"})
    await other.ask("newOrder", **SELL | {"quantity": "0.010"})
    await other.ask("newOrder", **SELL | {"price": "61000"})
    changes = []
    for number in range(1, 4):
        frame = await talk.hear()
        assert frame["method"] == "updateOrderbook"
        assert frame["params"]["sequence"] == snapshot["sequence"] + number
        assert type(frame["params"]["timestamp"]) is int
        changes.append((frame["params"]["bids"], frame["params"]["asks"]))
    assert changes == [
        ([{"price": "60000.00", "quantity": "0.006000"}], []),
        (
            [{"price": "60000.00", "quantity": "0.000000"}],
            [{"price": "60000.00", "quantity": "0.004000"}],
        ),
        ([], [{"price": "61000.00", "quantity": "0.010000"}]),
    ]


async def test_snapshot_is_cut_to_its_limit(talk: Conversation, trader: Conversation) -> None:
    for number in range(3):
        await trader.ask(
            "newOrder", **BUY | {"quantity": "0.001", "price": f"{100 * number + 60000}"}
        )
    await talk.say("subscribeOrderbook", symbol="BTC/USDT", limit=2)
    bids = (await talk.hear())["params"]["bids"]
    assert [level["price"] for level in bids] == ["60200.00", "60100.00"]


@pytest.mark.parametrize(
    ("channel", "params", "snapshot"),
    [
        ("Ticker", {}, "ticker"),
        ("Orderbook", {}, "snapshotOrderbook"),
        ("Trades", {}, "snapshotTrades"),
        ("Candles", {"period": 30}, "snapshotCandles"),
    ],
)
async def test_nothing_follows_an_unsubscribe(
    talk: Conversation,
    trader: Conversation,
    other: Conversation,
    channel: str,
    params: Mapping[str, Any],
    snapshot: str,
) -> None:
    await talk.say(f"subscribe{channel}", symbol="BTC/USDT", **params)
    first = await talk.hear()
    assert (first["method"], first["params"]["symbol"]) == (snapshot, "BTC/USDT")
    assert await talk.ask(f"unsubscribe{channel}", symbol="BTC/USDT", **params) is True
    await trader.ask("newOrder", **BUY)
    await other.ask("newOrder", **SELL)
    assert await talk.is_silent()


async def test_nothing_follows_an_unsubscribe_of_reports(trader: Conversation) -> None:
    await trader.ask("subscribeReports")
    assert await trader.ask("unsubscribeReports") is True
    await trader.ask("newOrder", **BUY)
    assert await trader.is_silent()


async def test_balances_cannot_be_unsubscribed(trader: Conversation) -> None:
    assert (await trader.ask("unsubscribeBalances"))["code"] == 402


async def test_address_of_version_six_makes_a_url(server: ExchangeServer) -> None:
    server.listen("::1", 80)
    assert server.rest_url == "http://[::1]:80/api/v2"
    assert server.ws_url == "ws://[::1]:80/"


async def test_trades_are_streamed_with_a_sequence_of_their_own(
    talk: Conversation, trader: Conversation, other: Conversation
) -> None:
    await trader.ask("newOrder", **BUY | {"price": "59000"})
    await trader.ask("newOrder", **BUY)
    await talk.say("subscribeTrades", symbol="BTC/USDT")
    snapshot = (await talk.hear())["params"]
    assert (snapshot["sequence"], snapshot["data"]) == ("0", [])
    await other.ask("newOrder", **SELL | {"quantity": "0.015", "price": "59000"})
    update = await talk.hear()
    assert (update["method"], update["params"]["sequence"]) == ("updateTrades", "1")
    first, second = update["params"]["data"]
    assert (first["price"], first["quantity"], first["side"]) == ("60000.00", "0.010000", "sell")
    assert (second["price"], second["quantity"]) == ("59000.00", "0.005000")
    found = await talk.ask("getTrades", symbol="BTC/USDT", sort="ASC", limit=1)
    assert found["symbol"] == "BTC/USDT"
    assert found["data"][0]["id"] == first["id"]
    assert found["data"][0]["triggeredBy"] == "sell" and "side" not in found["data"][0]
    newest = await talk.ask("getTrades", symbol="BTC/USDT", offset=0)
    assert [row["id"] for row in newest["data"]] == [second["id"], first["id"]]
    window = {"from": "2000-01-01T00:00:00Z", "till": "2001-01-01T00:00:00.000Z"}
    assert (await talk.ask("getTrades", symbol="BTC/USDT", **window))["data"] == []
    for wrong in (
        {"till": "2001-01-01"},
        {"from": "soon", "till": "2001-01-01"},
        {"sort": "UP"},
        {"limit": -1},
        {"offset": True},
    ):
        assert (await talk.ask("getTrades", symbol="BTC/USDT", **wrong))["code"] == 10001
    window = {"from": "2000-01-01", "till": "2100-01-01", "limit": "1"}
    assert len((await talk.ask("getTrades", symbol="BTC/USDT", **window))["data"]) == 1


async def test_ticker_and_candles_follow_trades(
    talk: Conversation, trader: Conversation, other: Conversation
) -> None:
    await talk.say("subscribeTicker", symbol="BTC/USDT")
    first = (await talk.hear())["params"]
    assert (first["lastPrice"], first["bestBid"]) == ("64000.00", "0")
    await talk.say("subscribeCandles", symbol="BTC/USDT", period=30)
    assert (await talk.hear())["params"]["data"] == []
    await trader.ask("newOrder", **BUY)
    quoted = (await talk.hear())["params"]
    assert (quoted["bestBid"], quoted["bestBidNumber"]) == ("60000.00", 60000.0)
    assert quoted["sequence"] == first["sequence"] + 1
    await other.ask("newOrder", **SELL)
    frames = {frame["method"]: frame["params"] for frame in [await talk.hear(), await talk.hear()]}
    assert frames["ticker"]["lastPrice"] == "60000.00"
    (bar,) = frames["updateCandles"]["data"]
    assert bar["timestamp"] == bar["datetime"]
    assert bar["timestamp"].endswith(("00:00.000Z", "30:00.000Z"))
    assert (bar["open"], bar["max"], bar["volume"]) == ("60000.00", "60000.00", "0.01")
    assert (await talk.ask("subscribeCandles", symbol="BTC/USDT", period=7))["code"] == 10001


async def test_orders_by_rest_are_reported_too(trader: Conversation) -> None:
    await trader.ask("subscribeReports")
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": "Basic " + base64.b64encode(b"K:S").decode()}
        url = trader.server.rest_url + "/createorder"
        async with session.post(url, json=BUY, headers=headers) as reply:
            order = await reply.json()
    report = await trader.hear()
    assert (report["params"]["id"], report["params"]["reportType"]) == (order["id"], "new")


async def test_invalid_json_leaves_the_connection_open(server: ExchangeServer) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(server.ws_url) as ws:
        await ws.send_str("{not json")
        reply = json.loads(await ws.receive_str())
        assert reply["error"] == {"code": 10001, "message": "Invalid JSON Request"}
        await ws.send_str('{"method":"getMarkets","id":1}')
        assert json.loads(await ws.receive_str())["id"] == 1


async def test_server_pings(server: ExchangeServer) -> None:
    async with running(ping_interval_s=0.05) as quick, aiohttp.ClientSession() as session:
        async with session.ws_connect(quick.ws_url, autoping=False) as ws:
            message = await asyncio.wait_for(ws.receive(), LIMIT_S)
            assert message.type is aiohttp.WSMsgType.PING
            # Nobody answers: the server hangs up.
            closed = await asyncio.wait_for(ws.receive(), LIMIT_S)
            assert closed.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
    assert server.settings.ping_interval_s == 60.0


@asynccontextmanager
async def deaf_client(server: ExchangeServer) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Connect somebody who never reads; yield a call with which he asks for 340 kB."""
    host, port = server.ws_url.removeprefix("ws://").rstrip("/").split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((host, int(port)))
    raw.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    request = b'{"method":"getMarkets","id":1}'
    frame = bytes((0x81, 0x80 | len(request))) + b"\0\0\0\0" + request

    async def ask() -> None:
        with suppress(ConnectionError):
            writer.write(frame * 20)
            await writer.drain()

    try:
        yield ask
    finally:
        writer.transport.abort()


async def test_slow_reader_is_cut_off_and_others_are_not(
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    async with running(outbound_bytes_max=100_000) as server, talking(server) as good:
        async with deaf_client(server) as ask:
            assert len(server.connections) == 2

            async def is_cut_off() -> bool:
                await ask()
                waiting = sum(one.waiting_bytes for one in server.connections)
                assert waiting <= server.settings.outbound_bytes_max
                return len(server.connections) == 1

            await eventually(is_cut_off)
        assert len(await good.ask("getMarkets")) == 14


async def test_server_ends_although_somebody_does_not_read(
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    async with asyncio.timeout(3 * LIMIT_S), running() as server, deaf_client(server) as ask:

        async def is_behind() -> bool:
            await ask()
            return any(one.waiting_bytes > 1_000_000 for one in server.connections)

        await eventually(is_behind)
        await asyncio.wait_for(server.hang_up(), LIMIT_S)


async def test_limits_can_be_set() -> None:
    clock_ms = 1_790_000_000_000
    options = {"connections_max": 1, "subscriptions_max": 2, "clock_ms": lambda: clock_ms}
    async with running(**options, rate_limit_per_s=5.0) as server, talking(server) as talk:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with talking(server):
                pass
        assert refused.value.status == 429
        for kind in ("Ticker", "Trades", "Ticker"):
            await talk.say(f"subscribe{kind}", symbol="BTC/USDT")
            assert "error" not in await talk.hear()
        error = await talk.ask("subscribeOrderbook", symbol="BTC/USDT")
        assert (error["code"], error["description"]) == (429, "At most 2 subscriptions")
        assert (await talk.ask("getAsset", ticker="BTC"))["ticker"] == "BTC"
        error = await talk.ask("getAsset", ticker="BTC")
        assert (error["code"], error["description"]) == (429, "Too many requests")
        clock_ms += 200
        assert (await talk.ask("getAsset", ticker="BTC"))["ticker"] == "BTC"


async def test_the_core_follows_every_book_of_the_crowd() -> None:
    async with running(speed=50, tick_interval_s=0.02) as server, talking(server) as talk:
        rows = await talk.ask("getMarkets")
        decoder = FrameDecoder([Market.from_wire(row) for row in rows])
        for row in rows:
            await talk.say("subscribeOrderbook", symbol=row["symbol"], limit=1000)
        agreed: dict[str, int] = {}
        async with asyncio.timeout(3 * LIMIT_S):
            while len(agreed) < len(rows) or min(agreed.values()) < 3:
                event = decoder.feed(await talk.hear_bytes())
                assert event.kind in (FrameKind.SNAPSHOT, FrameKind.UPDATE)
                book = decoder.book(rows[event.market_index]["symbol"])
                listing = server.exchange.listing(book.market.symbol)
                if book.sequence == listing.sequences.book:
                    bids, asks = book.depth(1000)
                    assert (bids.tolist(), asks.tolist()) == listing.depth()
                    agreed[listing.symbol] = agreed.get(listing.symbol, 0) + 1
        assert decoder.counters["gap"] == decoder.counters["duplicate"] == 0


async def test_documented_shapes_can_be_had() -> None:
    options = {"private_shape": "docs", "book_time": "iso", "shows_assets": True}
    async with running(**options, unknown_method_code=404) as server, talking(server) as talk:
        await talk.log_in()
        assert await talk.ask("subscribeReports") is True
        assert (await talk.hear())["method"] == "activeOrders"
        await talk.say("subscribeOrderbook", symbol="BTC/USDT")
        assert (await talk.hear())["params"]["timestamp"].endswith("Z")
        await talk.say("newOrder", **BUY)
        frames = [await talk.hear() for _ in range(3)]
        updates = [one for one in frames if one.get("method") == "updateOrderbook"]
        assert updates[0]["params"]["timestamp"].endswith("Z")
        market = await talk.ask("getMarket", symbol="BTC/USDT")
        assert market["primaryAsset"]["ticker"] == "BTC"
        assert (await talk.ask("nothing"))["code"] == 404


async def test_conversations_end_with_the_server() -> None:
    async def listen(ws: aiohttp.ClientWebSocketResponse) -> None:
        while not ws.closed:
            await ws.receive()

    async with aiohttp.ClientSession() as session:
        async with running(speed=200, tick_interval_s=0.01) as server:
            ws = await session.ws_connect(server.ws_url)
            await ws.send_str('{"method":"subscribeOrderbook","params":{"symbol":"BTC/USDT"}}')
            await asyncio.wait_for(ws.receive_str(), LIMIT_S)
            listener = asyncio.create_task(listen(ws))
        await asyncio.wait_for(listener, LIMIT_S)
        assert ws.close_code == aiohttp.WSCloseCode.GOING_AWAY
