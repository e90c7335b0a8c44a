"""The habits of clients that were made for the real exchange, each of which has to work here."""

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import websockets
from yarl import URL

from nkfast.exchange.server import ExchangeServer, ExchangeSettings, serve

KEY, SECRET = "K", "S"
NONCES = itertools.count(1_790_000_000_000)
ORDER = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "quantity": "0.01", "price": "60000"}


def digest(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def signed(url: str, body: str = "", nonce: int | None = None) -> dict[str, str]:
    nonce = next(NONCES) if nonce is None else nonce
    signature = digest(f"{KEY}{url}{body}{nonce}")
    return {"X-API-KEY": KEY, "X-API-NONCE": str(nonce), "X-API-SIGN": signature}


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    async with serve(ExchangeSettings(speed=0, key=KEY, secret=SECRET)) as one:
        yield one


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


class Rest:
    """Signs a text and sends another, as a client may."""

    def __init__(self, server: ExchangeServer, session: aiohttp.ClientSession) -> None:
        self.base = server.rest_url
        self._session = session

    async def get(self, target: str, nonce: int | None = None) -> tuple[int, Any]:
        url = self.base + target
        headers = signed(url, nonce=nonce)
        async with self._session.get(URL(url, encoded=True), headers=headers) as reply:
            return reply.status, await reply.json()

    async def post(self, target: str, fields: Any) -> tuple[int, Any]:
        compact = json.dumps(fields, separators=(",", ":"))
        return await self.post_text(target, compact, compact)

    async def post_text(self, target: str, sent: str, signed_text: str) -> tuple[int, Any]:
        url = self.base + target
        headers = signed(url, signed_text)
        async with self._session.post(url, data=sent.encode(), headers=headers) as reply:
            return reply.status, await reply.json()


@pytest.fixture
def rest(server: ExchangeServer, session: aiohttp.ClientSession) -> Rest:
    return Rest(server, session)


# Signatures.


async def test_client_that_counts_milliseconds_may_hurry(rest: Rest) -> None:
    for _ in range(40):
        status, reply = await rest.get("/balances", nonce=time.time_ns() // 1_000_000)
        assert status == 200, reply


async def test_millisecond_that_is_used_twice_is_still_refused(rest: Rest) -> None:
    nonce = time.time_ns() // 1_000_000
    assert (await rest.get("/balances", nonce=nonce))[0] == 200
    status, reply = await rest.get("/account/orders", nonce=nonce)
    assert (status, reply["error"]["description"]) == (401, "Bad Nonce")


async def test_clock_that_stands_still_holds_no_reply_back(session: aiohttp.ClientSession) -> None:
    settings = ExchangeSettings(speed=0, key=KEY, secret=SECRET, clock_ms=lambda: 1_790_000_000_000)
    async with serve(settings) as server, asyncio.timeout(5):
        rest = Rest(server, session)
        assert (await rest.get("/balances", nonce=1_790_000_000_000))[0] == 200


@pytest.mark.parametrize(
    "nonces",
    [
        *(["1790000000000", "17900000000011", "1790000000002000"], ["1790000000", "1790000001000"]),
        *(["17900000000009999", "1790000000001"], ["1790000000000", "1790000000000000001"]),
    ],
)
async def test_nonces_of_all_widths_grow_together(
    session: aiohttp.ClientSession, nonces: list[str]
) -> None:
    settings = ExchangeSettings(speed=0, key=KEY, secret=SECRET, nonce_policy="increasing")
    async with serve(settings) as server:
        rest = Rest(server, session)
        assert [(await rest.get("/balances", int(nonce)))[0] for nonce in nonces] == [200] * len(
            nonces
        )
        assert (await rest.get("/balances", int(nonces[0]) + 0))[0] == 401


async def test_spaced_body_may_be_signed_without_its_spaces(rest: Rest) -> None:
    sent = json.dumps(ORDER, indent=2)
    compact = json.dumps(ORDER, separators=(",", ":"))
    assert sent != compact
    assert (await rest.post_text("/createorder", sent, compact))[0] == 200
    assert (await rest.post_text("/createorder", sent, sent))[0] == 200


async def test_spaces_inside_of_strings_are_signed(rest: Rest) -> None:
    fields = ORDER | {"note": 'a "b \\" c'}
    sent = json.dumps(fields)
    compact = json.dumps(fields, separators=(",", ":"))
    assert (await rest.post_text("/createorder", sent, compact.replace(" ", "")))[0] == 401
    assert (await rest.post_text("/createorder", sent, compact))[0] == 200


async def test_other_order_of_the_fields_is_another_body(rest: Rest) -> None:
    sent = json.dumps(ORDER)
    in_order = json.dumps(ORDER, separators=(",", ":"), sort_keys=True)
    assert (await rest.post_text("/createorder", sent, in_order))[0] == 401


@pytest.mark.parametrize("query", ["limit=5&symbol=BTC_USDT", "symbol=BTC_USDT&limit=5&x=y&z"])
async def test_order_and_number_of_parameters_are_free(rest: Rest, query: str) -> None:
    assert await rest.get(f"/account/orders?{query}") == (200, [])


# Words and numbers.


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "LIMIT"},
        {"side": "BUY"},
        {"symbol": "BTC_USDT"},
        {"symbol": "BTC_usdt"},
        {"quantity": 0.01},
        {"quantity": 1e-2, "price": 60000},
        {"quantity": "1e-2", "price": "6E4"},
        {"quantity": ".01", "price": "60000."},
        {"quantity": "0.0100000000", "price": "60000.0000000000"},
        {"quantity": "0.010000009", "price": "60000.009"},
        {"userProvidedId": None, "strictValidate": None},
        {"strictValidate": False, "somethingElse": {"a": [1]}},
    ],
)
async def test_the_same_order_in_other_words(rest: Rest, changes: Mapping[str, Any]) -> None:
    status, order = await rest.post("/createorder", {**ORDER, **changes})
    assert status == 200, order
    shown = {name: order[name] for name in ("symbol", "side", "type", "quantity", "price")}
    assert shown == ORDER | {"quantity": "0.010000", "price": "60000.00"}


@pytest.mark.parametrize("price", [None, "0", 0, "", "undefined", "60000"])
async def test_market_order_may_have_a_price_that_says_nothing(rest: Rest, price: Any) -> None:
    sale = ORDER | {"side": "sell", "price": "61000"}
    assert (await rest.post("/createorder", sale))[0] == 200
    status, order = await rest.post("/createorder", ORDER | {"type": "MARKET", "price": price})
    assert status == 200, order
    assert (order["type"], order["status"]) == ("market", "New")
    _, order = await rest.get(f"/getorder/{order['id']}")
    assert (order["status"], order["executedQuantity"]) == ("Filled", "0.010000")


@pytest.mark.parametrize("spelling", ["BTC_USDT", "BTC/USDT", "BTC%2FUSDT", "btc_usdt"])
@pytest.mark.parametrize(
    "path",
    [
        "/ticker/{}",
        "/market/info?symbol={}",
        "/market/orderbook?symbol={}&limit=3",
        "/orderbook?ticker_id={}&depth=1",
        "/market/trades?symbol={}",
        "/market/candles?symbol={}&resolution=30&countBack=2&firstDataRequest=1",
        "/account/orders?symbol={}&status=active&limit=500&skip=0",
        "/account/trades?symbol={}&since=1789000000000",
    ],
)
async def test_spellings_of_a_market(rest: Rest, path: str, spelling: str) -> None:
    assert (await rest.get(path.format(spelling)))[0] == 200


async def test_times_of_candles_may_be_milliseconds_by_mistake(rest: Rest) -> None:
    now_ms = time.time_ns() // 1_000_000
    target = f"/market/candles?symbol=BTC_USDT&resolution=5&countBack=9&from=0&to={now_ms}"
    assert (await rest.get(target))[0] == 200


async def test_trades_of_an_account_have_the_times_that_each_path_promises(rest: Rest) -> None:
    await rest.post("/createorder", ORDER | {"side": "sell"})
    await rest.post("/createorder", ORDER)
    shapes = {}
    for path in ("/account/trades", "/gettrades", "/gettradessince"):
        _, rows = await rest.get(path)
        assert len(rows) == 2
        shapes[path] = {name for name in rows[0] if name in ("timestamp", "createdAt", "updatedAt")}
        assert all(isinstance(rows[0][name], int) for name in shapes[path])
    assert shapes == {
        "/account/trades": {"timestamp"},
        "/gettrades": {"timestamp", "createdAt", "updatedAt"},
        "/gettradessince": {"createdAt", "updatedAt"},
    }


async def test_older_list_of_orders_says_what_remains(rest: Rest) -> None:
    await rest.post("/createorder", ORDER)
    _, (row,) = await rest.get("/account/orders")
    _, (older,) = await rest.get("/getorders?status=active&limit=500&skip=0&symbol=BTC_USDT")
    assert {name: older[name] for name in row} == row
    assert older["remainQuantity"] == "0.010000" and "remainQuantity" not in row


async def test_both_clocks_tell_milliseconds(rest: Rest) -> None:
    _, legacy = await rest.get("/getservertime")
    assert legacy["unix_microsec"] == legacy["serverTime"] * 1000
    _, now = await rest.get("/time")
    assert 0 <= now["serverTime"] - legacy["serverTime"] < 5_000


async def test_path_may_end_in_a_slash(rest: Rest) -> None:
    status, order = await rest.post("/createorder/", ORDER)
    assert status == 200
    assert (await rest.get(f"/getorder/{order['id']}/"))[1]["id"] == order["id"]
    assert (await rest.post("/cancelallorders/", {"symbol": "BTC_USDT", "side": "all"}))[1]["ids"]
    assert (await rest.get("/"))[0] == (await rest.get("/balances//"))[0] == 404


async def test_asset_can_be_deposited_where_its_address_can_be_asked_for(rest: Rest) -> None:
    _, asset = await rest.get("/asset/getbyticker/BTC")
    assert asset["depositActive"] is True
    assert (await rest.get("/getdepositaddress/BTC"))[1]["ticker"] == "BTC"


# Transport.


@asynccontextmanager
async def connected(
    server: ExchangeServer,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = URL(server.rest_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        async with asyncio.timeout(5):
            yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def head(server: ExchangeServer, line: str, **headers: str) -> bytes:
    lines = [line, f"Host: {URL(server.rest_url).authority}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
    headers = dict(line.lower().split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize(
    ("version", "connection", "is_open"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "keep-alive", True)],
)
async def test_connections_end_as_http_says(
    server: ExchangeServer, version: str, connection: str, is_open: bool
) -> None:
    asked = head(server, f"GET /api/v2/time HTTP/{version}", **({"Connection": connection} or {}))
    async with connected(server) as (reader, writer):
        writer.write(asked)
        assert "serverTime" in (await read_reply(reader))[2]
        if is_open:
            writer.write(asked)
            assert "serverTime" in (await read_reply(reader))[2]
        else:
            assert await reader.read() == b""


async def test_pipelined_requests_are_answered_in_order(server: ExchangeServer) -> None:
    async with connected(server) as (reader, writer):
        for path in ("time", "ticker/BTC_USDT", "nowhere", "time"):
            writer.write(head(server, f"GET /api/v2/{path} HTTP/1.1"))
        replies = [await read_reply(reader) for _ in range(4)]
    assert [status for status, _, _ in replies] == [200, 200, 404, 200]
    assert replies[1][2]["ticker_id"] == "BTC_USDT"
    assert {headers["content-type"] for _, headers, _ in replies} == {"application/json"}


@pytest.mark.parametrize("cased", [str.lower, str.upper, str.title])
async def test_names_of_headers_have_no_case(server: ExchangeServer, cased: Any) -> None:
    headers = {cased(name): value for name, value in signed(f"{server.rest_url}/balances").items()}
    async with connected(server) as (reader, writer):
        writer.write(head(server, "GET /api/v2/balances HTTP/1.1", **headers))
        assert (await read_reply(reader))[0] == 200


async def test_head_has_the_headers_of_get_alone(server: ExchangeServer) -> None:
    async with connected(server) as (reader, writer):
        writer.write(head(server, "HEAD /api/v2/ticker/BTC_USDT HTTP/1.1"))
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert answered.startswith(b"http/1.1 200") and b"content-length: 0" not in answered
        writer.write(head(server, "GET /api/v2/time HTTP/1.1"))
        assert (await read_reply(reader))[0] == 200


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0"])
async def test_upgrades_that_are_none_of_ours_are_ignored(
    server: ExchangeServer, upgrade: str
) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": upgrade, "HTTP2-Settings": "AA"}
    async with connected(server) as (reader, writer):
        for _ in range(2):
            writer.write(head(server, "GET /api/v2/time HTTP/1.1", **headers))
            assert (await read_reply(reader))[0] == 200


async def test_content_type_of_a_body_does_not_matter(server: ExchangeServer) -> None:
    body = json.dumps(ORDER, separators=(",", ":"))
    async with connected(server) as (reader, writer):
        for kind in ("application/json; charset=utf-8", "application/x-www-form-urlencoded"):
            headers = signed(f"{server.rest_url}/createorder", body)
            headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
            writer.write(head(server, "POST /api/v2/createorder HTTP/1.1", **headers))
            writer.write(body.encode())
            assert (await read_reply(reader))[0] == 200


async def test_body_may_come_in_chunks(server: ExchangeServer) -> None:
    body = json.dumps(ORDER, separators=(",", ":")).encode()
    headers = signed(f"{server.rest_url}/createorder", body.decode())
    headers["Transfer-Encoding"] = "chunked"
    async with connected(server) as (reader, writer):
        writer.write(head(server, "POST /api/v2/createorder HTTP/1.1", **headers))
        for part in (body[:10], body[10:], b""):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        assert (await read_reply(reader))[0] == 200


async def test_who_waits_to_be_told_to_go_on_is_told(server: ExchangeServer) -> None:
    body = json.dumps(ORDER, separators=(",", ":")).encode()
    headers = signed(f"{server.rest_url}/createorder", body.decode())
    headers |= {"Expect": "100-continue", "Content-Length": str(len(body))}
    async with connected(server) as (reader, writer):
        writer.write(head(server, "POST /api/v2/createorder HTTP/1.1", **headers))
        assert b"100" in await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        assert (await read_reply(reader))[0] == 200


# WebSocket.


@asynccontextmanager
async def talking(server: ExchangeServer, **options: Any) -> AsyncIterator[Any]:
    async with asyncio.timeout(5), websockets.connect(server.ws_url, **options) as socket:
        yield socket


async def reply_of(socket: Any, method: str, params: Any = None, **fields: Any) -> Any:
    await socket.send(json.dumps({"method": method, "params": params or {}, **fields}))
    return json.loads(await socket.recv())


@pytest.mark.parametrize("nonce", ["x", "['a', 'b']", "1790000000000", "ä" * 40])
async def test_login_is_signed_over_any_text(server: ExchangeServer, nonce: str) -> None:
    login = {"algo": "HS256", "pKey": KEY, "nonce": nonce, "signature": digest(nonce)}
    async with talking(server) as socket:
        assert await reply_of(socket, "login", login) == {"jsonrpc": "2.0", "result": True}


@pytest.mark.parametrize("number", [0, -1, 2**53, 1.5, "", "abc", "0"])
async def test_every_id_comes_back(server: ExchangeServer, number: Any) -> None:
    async with talking(server) as socket:
        reply = await reply_of(socket, "getMarket", {"symbol": "BTC/USDT"}, id=number)
        assert reply["id"] == number and type(reply["id"]) is type(number)
        assert (await reply_of(socket, "unheardOf", id=number))["id"] == number


async def test_beat_of_another_protocol_is_an_error_and_no_end(server: ExchangeServer) -> None:
    async with talking(server) as socket:
        await socket.send('{"event":"ping"}')
        assert "error" in json.loads(await socket.recv())
        reply = await reply_of(socket, "subscribeTicker", {"symbol": "BTC_USDT"}, id=1)
        assert reply == {"jsonrpc": "2.0", "result": True, "id": 1}


@pytest.mark.parametrize("payload", [b"", b"1790000000000", b"x" * 125])
async def test_pings_of_a_client_are_answered(server: ExchangeServer, payload: bytes) -> None:
    async with talking(server, ping_interval=None) as socket:
        assert await (await socket.ping(payload)) >= 0


@pytest.mark.parametrize("frame", [["{", '"method":"getMarkets"', ',"id":1}'], b'{"id":1}'])
async def test_requests_may_be_in_pieces_or_binary(server: ExchangeServer, frame: Any) -> None:
    async with talking(server) as socket:
        await socket.send(frame)
        assert json.loads(await socket.recv())["id"] == 1


async def test_offered_compression_is_declined(server: ExchangeServer) -> None:
    async with talking(server, compression="deflate") as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        assert (await reply_of(socket, "getAssets", id=1))["id"] == 1


@pytest.mark.parametrize("period", [30, "30"])
async def test_period_of_candles_may_be_text(server: ExchangeServer, period: Any) -> None:
    params = {"symbol": "BTC/USDT", "period": period, "limit": "5"}
    async with talking(server) as socket:
        assert (await reply_of(socket, "subscribeCandles", params, id=1))["result"] is True
        assert json.loads(await socket.recv())["params"]["period"] == 30


async def test_params_that_are_null_or_missing_are_empty(server: ExchangeServer) -> None:
    async with talking(server) as socket:
        for fields in ({}, {"params": None}, {"params": []}):
            await socket.send(json.dumps({"method": "getMarkets", "id": 1, **fields}))
            assert len(json.loads(await socket.recv())["result"]) > 1
