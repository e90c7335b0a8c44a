"""The REST interface over a real socket, asked by a plain client that signs by itself."""

import base64
import hashlib
import hmac
import io
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from nkfast.errors import ConfigError
from nkfast.exchange.server import AccountSettings, ExchangeServer, ExchangeSettings, serve

NONCES = itertools.count(1_790_000_000_000)


class Client:
    """Sends exactly the bytes that it is told to."""

    def __init__(self, server: ExchangeServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    async def send(
        self, method: str, target: str, body: bytes = b"", headers: Any = None
    ) -> tuple[int, Any]:
        url = URL(self.server.rest_url + target, encoded=True)
        async with self._session.request(
            method, url, data=body or None, headers=headers or {}
        ) as reply:
            assert reply.headers["Content-Type"] == "application/json"
            return reply.status, await reply.json()

    async def get(self, target: str) -> Any:
        status, reply = await self.send("GET", target)
        assert status == 200, reply
        return reply

    def sign(
        self, target: str, body: bytes = b"", *, signed: str | None = None, **other: str
    ) -> dict[str, str]:
        key, secret = other.get("key", "K"), other.get("secret", "S")
        nonce = other.get("nonce", str(next(NONCES)))
        url = self.server.rest_url + target if signed is None else signed
        text = key.encode() + url.encode() + body + nonce.encode()
        signature = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
        return {"X-API-KEY": key, "X-API-NONCE": nonce, "X-API-SIGN": signature}

    async def ask(self, target: str, fields: Any = None, **other: str) -> tuple[int, Any]:
        body = b"" if fields is None else json.dumps(fields, separators=(",", ":")).encode()
        method = "GET" if fields is None else "POST"
        return await self.send(method, target, body, self.sign(target, body, **other))


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Client]:
    options = {"speed": 0, "key": "K", "secret": "S"} | options
    async with (
        serve(ExchangeSettings(**options)) as server,
        aiohttp.ClientSession() as session,
    ):
        yield Client(server, session)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running(more_accounts=(AccountSettings("K2", "S2"),)) as one:
        yield one


ORDER = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "quantity": "0.01", "price": "60000"}


async def fill(client: Client) -> tuple[str, str]:
    """Let K2 sell a part of what K wants to buy; return both order ids."""
    _, buy = await client.ask("/createorder", ORDER)
    sale = ORDER | {"side": "sell", "quantity": "0.004", "price": "59000"}
    _, sell = await client.ask("/createorder", sale, key="K2", secret="S2")
    return buy["id"], sell["id"]


def error_of(reply: tuple[int, Any]) -> tuple[int, int, str]:
    status, body = reply
    assert set(body["error"]) == {"code", "message", "description"}
    return status, body["error"]["code"], body["error"]["description"]


# Public.


@pytest.mark.parametrize(
    "path",
    [
        *("time", "getservertime", "info", "asset/getlist", "market/getlist", "tickers"),
        *("pairs", "markets", "markets?type=pool", "summary", "pool/getlist"),
        *("cmcassets", "cmctickers", "cmcorderbook/BTC_USDT", "cmctrades/BTC_USDT"),
        *("asset/info?ticker=BTC", "asset/getbyticker/BTC", "market/info?symbol=BTC_USDT"),
        *("market/getbysymbol/BTC_USDT", "market/getbysymbol/BTC%2FUSDT"),
        *("ticker/BTC_USDT", "ticker/BTC%2FUSDT", "ticker/BTC/USDT"),
        *("market/orderbook?symbol=BTC_USDT", "market/orderbook?symbol=BTC/USDT&limit=5"),
        *("market/getorderbookbysymbol/BTC_USDT", "orderbook?ticker_id=BTC_USDT"),
        *("market/trades?symbol=BTC%2FUSDT", "historical_trades?ticker_id=BTC_USDT"),
        "market/candles?symbol=BTC/USDT&resolution=5&countBack=10",
    ],
)
async def test_public_paths_answer_without_a_key(client: Client, path: str) -> None:
    assert await client.get(f"/{path}") is not None


async def test_ids_lead_to_the_same_objects(client: Client) -> None:
    market = await client.get("/market/getbysymbol/ETH_BTC")
    same = {"updatedAt": None}
    for target in (f"/market/info?id={market['id']}", f"/market/getbyid/{market['_id']}"):
        assert (await client.get(target)) | same == market | same
    asset = await client.get(f"/asset/getbyid/{market['primaryAsset']}")
    assert asset["ticker"] == "ETH"
    book = await client.get(f"/market/getorderbookbymarketid/{market['id']}")
    assert book["symbol"] == "ETH/BTC"
    assert await client.get(f"/trades?market={market['id']}&since=null") == []


@pytest.mark.parametrize(
    "path",
    [
        *("nothing", "v1/account", "orders", "openorders", "getopenorders", "pool/quote", "swap"),
        *("getorder?userProvidedId=a", "market/getbysymbol/BTC/USDT", "account/cancelallorders"),
    ],
)
async def test_unknown_paths_are_404(client: Client, path: str) -> None:
    assert (await client.send("GET", f"/{path}", headers=client.sign(f"/{path}")))[0] == 404


async def test_base_without_version_is_404(client: Client) -> None:
    client.server.rest_url = client.server.rest_url.removesuffix("/api/v2")
    assert (await client.send("GET", "/time"))[0] == 404
    assert (await client.send("GET", "/api/v1/time"))[0] == 404


@pytest.mark.parametrize(
    ("path", "code", "description"),
    [
        ("market/info?symbol=NO/SUCH", 2001, "Symbol not found"),
        ("market/orderbook?symbol=BTC-USDT", 2001, "Symbol not found"),
        ("market/orderbook", 10001, "Missing required input: symbol"),
        ("market/orderbook?symbol=BTC_USDT&limit=-1", 10001, "limit must be a whole number"),
        ("asset/info?ticker=NONE", 2002, "Currency not found"),
        ("market/candles?symbol=NO/SUCH&resolution=5", 2001, "Market not found"),
    ],
)
async def test_errors_have_code_and_words(
    client: Client, path: str, code: int, description: str
) -> None:
    assert error_of(await client.send("GET", f"/{path}")) == (400, code, description)


async def test_public_path_tolerates_a_bad_signature(client: Client) -> None:
    headers = client.sign("/time") | {"X-API-SIGN": "0" * 64}
    assert (await client.send("GET", "/time", headers=headers))[0] == 200


async def test_books_have_the_three_shapes_and_the_sequence_of_the_trades(client: Client) -> None:
    await client.ask("/createorder", ORDER)
    await client.ask("/createorder", ORDER | {"price": "59999.5"})
    await client.ask("/createorder", ORDER | {"side": "sell", "price": "70000"})
    book = await client.get("/market/orderbook?symbol=BTC_USDT&limit=1")
    assert book["sequence"] == "0"  # not one trade, although the book changed three times
    assert book["bids"] == [{"price": "60000.00", "numberprice": 60000.0, "quantity": "0.010000"}]
    assert isinstance(book["timestamp"], int)
    other = await client.get("/orderbook?ticker_id=BTC_USDT&depth=1")
    assert other["bids"] == [["60000.00", "0.010000"]]
    assert other["asks"] == [["70000.00", "0.010000"]]
    assert isinstance(other["timestamp"], str)
    third = await client.get(f"/orderbook/snapshot?market={book['marketid']}")
    assert third["bids"] == [["60000.00", "0.010000"], ["59999.50", "0.010000"]]
    assert third["timestamp"].endswith("Z")
    same = await client.get(f"/orders/snapshot?market={book['marketid']}")
    assert (same["bids"], same["asks"]) == (third["bids"], third["asks"])
    await fill(client)
    assert (await client.get("/market/orderbook?symbol=BTC_USDT"))["sequence"] == "1"


async def test_public_trades_and_candles_tell_what_was_traded(client: Client) -> None:
    await fill(client)
    (trade,) = await client.get("/market/trades?symbol=BTC_USDT")
    assert (trade["price"], trade["base_volume"], trade["type"]) == ("60000.00", "0.004000", "sell")
    assert trade["target_volume"] == "240"
    assert isinstance(trade["trade_timestamp"], str)
    candles = await client.get("/market/candles?symbol=BTC/USDT&resolution=60&countBack=5")
    (bar,) = candles["bars"]
    assert (bar["open"], bar["high"], bar["low"], bar["close"]) == (60000, 60000, 60000, 60000)
    assert bar["time"] % 3_600_000 == 0
    assert bar["volume"] == 0.004
    ticker = await client.get("/ticker/BTC/USDT")
    assert (ticker["last_price"], ticker["base_volume"]) == ("60000.00", "0.004000")
    assert ticker["target_volume"] == "240"


async def test_candles_and_trades_can_be_cut_to_a_time() -> None:
    clock_ms = 1_790_000_100_000  # on the grid of five minutes
    more = (AccountSettings("K2", "S2"),)
    async with running(clock_ms=lambda: clock_ms, more_accounts=more) as client:
        for number in range(3):
            price = f"{60000 + number}"
            await client.ask("/createorder", ORDER | {"price": price})
            sale = ORDER | {"side": "sell", "price": price}
            await client.ask("/createorder", sale, key="K2", secret="S2")
            clock_ms += 300_000

        async def opens(query: str) -> list[float]:
            reply = await client.get(f"/market/candles?symbol=BTC_USDT&resolution=5&{query}")
            return [bar["open"] for bar in reply["bars"]]

        assert await opens("countBack=9") == [60000, 60001, 60002]
        assert await opens("countBack=2") == [60001, 60002]
        assert await opens("from=1790000400") == [60001, 60002]
        assert await opens("to=1790000400") == [60000, 60001]
        # What a chart asks for first: so many bars up to now, wherever they begin.
        assert await opens("from=1790000700&to=1790000700&countBack=3") == [60000, 60001, 60002]
        wrong = "/market/candles?symbol=BTC_USDT&resolution=7"
        assert error_of(await client.send("GET", wrong))[1] == 10001
        market = (await client.get("/market/info?symbol=BTC_USDT"))["id"]
        newest, middle, oldest = await client.get(f"/trades?market={market}")
        assert set(newest) == {"id", "timestamp", "price", "amount", "side"}
        assert await client.get(f"/trades?market={market}&since={oldest['id']}") == [newest, middle]
        assert error_of(await client.send("GET", "/trades?market=none"))[1] == 2001


async def test_pools_are_listed_and_do_not_trade(client: Client) -> None:
    first, _ = await client.get("/pool/getlist")
    assert first["symbol"] == "GRAIN/SAL"
    for target in ("info?symbol=GRAIN/SAL", "getbysymbol/GRAIN_SAL", f"getbyid/{first['id']}"):
        assert await client.get(f"/pool/{target}") == first
    for path in ("/pool/trades", "/historical_pooltrades"):
        assert await client.get(f"{path}?ticker_id=GRAIN_SAL") == []
    assert error_of(await client.send("GET", "/pool/info?symbol=BTC/USDT"))[1] == 2001
    pools = [pair for pair in await client.get("/pairs") if pair["type"] == "liquiditypool"]
    assert [pair["ticker_id"] for pair in pools] == ["GRAIN_SAL", "ADM_SAL"]
    assert len(await client.get("/markets?type=spot")) == 14
    assert len(await client.get("/markets?type=pool")) == 2
    assert len(await client.get("/markets")) == 16


async def test_markets_can_show_their_assets_as_objects() -> None:
    async with running(shows_assets=True) as client:
        market = await client.get("/market/info?symbol=ETH/BTC")
    assert (market["primaryAsset"]["ticker"], market["secondaryAsset"]["ticker"]) == ("ETH", "BTC")


# Authentication.


@pytest.mark.parametrize("spelling", ["BTC%2FUSDT", "BTC/USDT", "BTC_USDT", "BTC%2fUSDT"])
async def test_url_is_checked_as_it_was_received(client: Client, spelling: str) -> None:
    assert (await client.ask(f"/account/orders?symbol={spelling}"))[0] == 200


async def test_signing_one_spelling_and_sending_another_fails(client: Client) -> None:
    signed = client.server.rest_url + "/account/orders?symbol=BTC%2FUSDT"
    reply = await client.ask("/account/orders?symbol=BTC/USDT", signed=signed)
    assert error_of(reply) == (401, 401, "Not Authorized")


async def test_signing_the_path_alone_fails(client: Client) -> None:
    reply = await client.ask("/balances", signed="/api/v2/balances")
    assert error_of(reply) == (401, 401, "Not Authorized")


@pytest.mark.parametrize(
    "changes",
    [
        {"X-API-KEY": "other"},
        {"X-API-SIGN": "0" * 64},
        {"X-API-SIGN": ""},
        {"X-API-SIGN": "é"},
        {"X-API-NONCE": "12ab"},
        {"X-API-NONCE": ""},
        {"Authorization": "Basic " + base64.b64encode(b"K:wrong").decode()},
        {"Authorization": "Basic ***"},
    ],
)
async def test_wrong_credentials_are_not_authorized(client: Client, changes: Any) -> None:
    headers = client.sign("/balances") | changes
    reply = await client.send("GET", "/balances", headers=headers)
    assert error_of(reply) == (401, 401, "Not Authorized")


async def test_no_credentials_are_not_authorized(client: Client) -> None:
    assert error_of(await client.send("GET", "/balances"))[0] == 401
    assert error_of(await client.send("POST", "/createorder", b"{}"))[0] == 401


async def test_body_is_part_of_what_is_signed(client: Client) -> None:
    headers = client.sign("/createorder", json.dumps(ORDER).encode())
    other = json.dumps(ORDER | {"quantity": "1"}).encode()
    assert (await client.send("POST", "/createorder", other, headers))[0] == 401


async def test_basic_credentials_work(client: Client) -> None:
    headers = {"Authorization": "Basic " + base64.b64encode(b"K:S").decode()}
    for _ in range(2):
        assert (await client.send("GET", "/balances", headers=headers))[0] == 200


async def test_public_origin_may_be_signed_instead() -> None:
    signed = "https://api.nonkyc.io/api/v2/balances"
    async with running() as plain:
        assert (await plain.ask("/balances", signed=signed))[0] == 401
    async with running(public_origins=("https://api.nonkyc.io",)) as open_one:
        assert (await open_one.ask("/balances", signed=signed))[0] == 200
        assert (await open_one.ask("/balances"))[0] == 200


@pytest.mark.parametrize(
    ("policy", "nonces", "statuses"),
    [
        ("off", ["5", "5", "4"], [200, 200, 200]),
        ("unique", ["5", "4", "5"], [200, 200, 401]),
        ("increasing", ["5", "4", "5", "6"], [200, 401, 401, 200]),
        # 13, 14 and 16 digits are the same clock in different units.
        (
            "increasing",
            ["1790000000000", "17900000000001", "1790000000000200", "1790000000000"],
            [200, 200, 200, 401],
        ),
    ],
)
async def test_nonce_policies(policy: str, nonces: list[str], statuses: list[int]) -> None:
    async with running(nonce_policy=policy) as client:
        replies = [await client.ask("/balances", nonce=nonce) for nonce in nonces]
    assert [status for status, _ in replies] == statuses
    for status, reply in replies:
        if status == 401:
            assert reply["error"]["description"] == "Bad Nonce"


async def test_nonce_window_refuses_a_clock_that_is_off() -> None:
    async with running(nonce_window_ms=5_000, clock_ms=lambda: 1_790_000_000_000) as client:
        assert (await client.ask("/balances", nonce="1790000004999"))[0] == 200
        assert (await client.ask("/balances", nonce="1790000005001"))[0] == 401


async def test_a_refused_signature_does_not_use_up_the_nonce(client: Client) -> None:
    headers = client.sign("/balances", nonce="77") | {"X-API-SIGN": "0" * 64}
    assert (await client.send("GET", "/balances", headers=headers))[0] == 401
    assert (await client.ask("/balances", nonce="77"))[0] == 200


async def test_rate_limit_says_when_to_come_back() -> None:
    async with running(rate_limit_per_s=2.0, clock_ms=lambda: 1_790_000_000_000) as client:
        url = client.server.rest_url + "/time"
        async with aiohttp.ClientSession() as session:
            statuses = []
            for _ in range(4):
                async with session.get(url) as reply:
                    statuses.append(reply.status)
                    if reply.status == 429:
                        assert reply.headers["Retry-After"] == "1"
                        assert (await reply.json())["error"]["code"] == 429
        assert statuses == [200, 200, 429, 429]


# Orders.


async def test_created_order_is_new_and_says_what_remains(client: Client) -> None:
    status, order = await client.ask("/createorder", ORDER | {"userProvidedId": "mine-1"})
    assert status == 200
    assert order["userProvidedId"] == "mine-1"
    assert order["symbol"] == order["market"]["symbol"] == "BTC/USDT"
    assert (order["status"], order["isActive"], order["isNew"]) == ("New", True, True)
    assert (order["price"], order["numberprice"]) == ("60000.00", 60000.0)
    assert (order["remainTotal"], order["remainTotalWithFee"]) == ("600", "601.2")
    assert isinstance(order["createdAt"], int)
    for identifier in ("mine-1", order["id"]):
        _, found = await client.ask(f"/getorder/{identifier}")
        assert (found["id"], found["status"]) == (order["id"], "Active")


async def test_nulls_count_as_absent(client: Client) -> None:
    status, order = await client.ask("/createorder", ORDER | {"userProvidedId": None})
    assert status == 200
    assert len(order["userProvidedId"]) == 36


async def test_underscore_is_a_symbol_in_bodies_too(client: Client) -> None:
    _, order = await client.ask("/createorder", ORDER | {"symbol": "BTC_USDT"})
    assert order["symbol"] == "BTC/USDT"


@pytest.mark.parametrize(
    ("changes", "code", "description"),
    [
        ({"quantity": "100"}, 20001, "Insufficient funds for order creation"),
        ({"userProvidedId": "taken"}, 20008, "Duplicate userProvidedId"),
        ({"userProvidedId": ""}, 10001, "Bad userProvidedId"),
        ({"symbol": "NO/SUCH"}, 2001, "Symbol not found"),
        ({"quantity": "0.00001"}, 10001, "order value is below the minimum of the market"),
    ],
)
async def test_refusals_have_code_and_words(
    client: Client, changes: Any, code: int, description: str
) -> None:
    await client.ask("/createorder", ORDER | {"userProvidedId": "taken"})
    reply = await client.ask("/createorder", ORDER | changes)
    assert error_of(reply) == (400, code, description)


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff"])
async def test_body_that_is_no_object_is_refused(client: Client, body: bytes) -> None:
    headers = client.sign("/createorder", body)
    # Signed over the bytes as they are, so that only the body itself is wrong.
    text = b"K" + f"{client.server.rest_url}/createorder".encode() + body + b"99"
    signature = hmac.new(b"S", text, hashlib.sha256).hexdigest()
    headers |= {"X-API-NONCE": "99", "X-API-SIGN": signature}
    reply = await client.send("POST", "/createorder", body, headers)
    assert error_of(reply) == (400, 10001, "Invalid JSON Request")


async def test_cancel_answers_success_and_id_and_only_once(client: Client) -> None:
    _, order = await client.ask("/createorder", ORDER | {"userProvidedId": "mine"})
    assert await client.ask("/cancelorder", {"id": "mine"}) == (
        200,
        {"success": True, "id": order["id"]},
    )
    again = await client.ask("/cancelorder", {"id": order["id"]})
    assert error_of(again) == (400, 20002, "Active order not found for cancellation")
    _, found = await client.ask("/getorder/mine")
    assert (found["status"], found["isActive"]) == ("Cancelled", False)


async def test_cancel_can_carry_the_order() -> None:
    async with running(cancel_returns_order=True) as client:
        _, order = await client.ask("/createorder", ORDER)
        _, reply = await client.ask("/cancelorder", {"id": order["id"]})
    assert reply["success"] is True
    assert (reply["status"], reply["executedQuantity"]) == ("Cancelled", "0.000000")


async def test_unknown_order_is_400_with_20002(client: Client) -> None:
    assert error_of(await client.ask("/getorder/none")) == (400, 20002, "Order not found")


async def test_cancel_all_needs_symbol_and_side_and_says_so_with_200(client: Client) -> None:
    await client.ask("/createorder", ORDER)
    for fields in ({}, {"side": "all"}, {"symbol": "BTC/USDT"}):
        reply = await client.ask("/cancelallorders", fields)
        assert error_of(reply) == (200, 400, "Missing required input")
    _, other = await client.ask("/createorder", ORDER | {"symbol": "ETH/USDT", "price": "3000"})
    _, reply = await client.ask("/cancelallorders", {"symbol": "BTC/USDT", "side": "all"})
    assert reply["success"] is True and len(reply["ids"]) == 1
    _, left = await client.ask("/account/orders?status=active")
    assert [order["id"] for order in left] == [other["id"]]


async def test_cancel_all_can_be_lenient_about_the_side() -> None:
    async with running(cancel_all_needs_side=False) as client:
        await client.ask("/createorder", ORDER)
        _, reply = await client.ask("/cancelallorders", {"symbol": "BTC/USDT"})
        assert len(reply["ids"]) == 1


async def test_order_lists_filter_and_page(client: Client) -> None:
    ids = []
    for number in range(4):
        _, order = await client.ask("/createorder", ORDER | {"price": f"{50000 + number}"})
        ids.insert(0, order["id"])
    await client.ask("/cancelorder", {"id": ids[0]})

    async def listed(query: str) -> list[str]:
        status, rows = await client.ask(f"/account/orders{query}")
        assert status == 200, rows
        return [row["id"] for row in rows]

    assert await listed("") == ids
    assert await listed("?status=active") == ids[1:]
    assert await listed("?status=cancelled&symbol=null") == ids[:1]
    assert await listed("?status=filled") == []
    assert await listed("?limit=2&skip=1") == ids[1:3]
    assert await listed("?symbol=ETH_USDT") == []
    assert await listed("?since=99999999999999") == []
    assert error_of(await client.ask("/account/orders?status=odd"))[1] == 10001
    _, rows = await client.ask("/getorders?status=active&symbol=BTC%2FUSDT")
    assert {row["market"]["symbol"] for row in rows} == {row["symbol"] for row in rows}
    assert all(row["timestamp"] == row["createdAt"] for row in rows)


async def test_account_trades_are_capitalised_and_ignore_the_symbol(client: Client) -> None:
    buy, sell = await fill(client)
    (mine,) = (await client.ask("/account/trades?symbol=ETH/USDT"))[1]
    assert (mine["side"], mine["triggeredBy"], mine["orderid"]) == ("Buy", "sell", buy)
    assert mine["fee"] == "0.48"
    assert mine["totalWithFee"] == "240.48"
    assert mine["market"]["symbol"] == "BTC/USDT"
    assert "createdAt" not in mine and isinstance(mine["timestamp"], int)
    (theirs,) = (await client.ask("/gettrades", key="K2", secret="S2"))[1]
    assert (theirs["side"], theirs["orderid"], theirs["id"]) == ("Sell", sell, mine["id"])
    assert theirs["totalWithFee"] == "239.52"
    since = mine["timestamp"] + 1
    assert (await client.ask(f"/account/trades?since={since}"))[1] == []
    for path in ("/gettradessince", "/gettradesince"):
        (older,) = (await client.ask(f"{path}?since=1"))[1]
        assert older["createdAt"] == mine["timestamp"] and "timestamp" not in older


async def test_trades_can_be_filtered_by_option() -> None:
    async with running(filters_trades=True, more_accounts=(AccountSettings("K2", "S2"),)) as client:
        await fill(client)
        assert (await client.ask("/account/trades?symbol=ETH/USDT"))[1] == []
        assert len((await client.ask("/account/trades?symbol=BTC/USDT"))[1]) == 1


async def test_balances_list_every_asset_and_what_is_held(client: Client) -> None:
    await client.ask("/createorder", ORDER)
    _, rows = await client.ask("/balances")
    by_asset = {row["asset"]: row for row in rows}
    assert set(by_asset) == set(client.server.exchange.assets)
    usdt = by_asset["USDT"]
    assert (usdt["available"], usdt["held"], usdt["pending"]) == ("9398.8", "601.2", "0")
    assert set(usdt) == {"asset", "name", "available", "pending", "held", "assetid"}


async def test_deposit_addresses_differ_by_asset_and_account(client: Client) -> None:
    _, first = await client.ask("/getdepositaddress/BTC")
    assert set(first) == {"address", "paymentid", "ticker", "network"}
    _, second = await client.ask("/getdepositaddress/ETH")
    _, third = await client.ask("/getdepositaddress/BTC", key="K2", secret="S2")
    assert len({first["address"], second["address"], third["address"]}) == 3
    assert error_of(await client.ask("/getdepositaddress/NONE"))[1] == 2002


async def test_withdrawals_are_refused(client: Client) -> None:
    fields = {"ticker": "BTC", "quantity": "1", "address": "x"}
    assert error_of(await client.ask("/createwithdrawal", fields))[:2] == (400, 20012)
    for path in ("/getdeposits", "/getwithdrawals", "/getpooltrades", "/getpooltradessince"):
        assert await client.ask(path) == (200, [])


async def test_too_large_a_body_is_refused(client: Client) -> None:
    body = io.BytesIO(b"x" * (2 << 20))
    url = client.server.rest_url + "/createorder"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as reply:
        assert reply.status == 413
        assert (await reply.json())["error"]["code"] == 400


async def test_a_bug_is_answered_and_logged(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client.server.exchange, "listing", break_down)
    reply = await client.send("GET", "/ticker/BTC_USDT")
    assert error_of(reply)[:2] == (500, 500)
    assert "ZeroDivisionError" in caplog.text


async def test_missing_ids_and_wrong_sides_are_refused(client: Client) -> None:
    assert error_of(await client.ask("/cancelorder", {}))[1] == 10001
    fields = {"symbol": "BTC/USDT", "side": "both"}
    assert error_of(await client.ask("/cancelallorders", fields))[1] == 10001
    headers = client.sign("/createorder")
    assert error_of(await client.send("POST", "/createorder", headers=headers))[1] == 10001
    assert (await client.send("DELETE", "/time"))[0] == 404


# The server itself.


async def test_port_is_free_again_when_the_context_ends() -> None:
    async with serve(ExchangeSettings(speed=0)) as first:
        port = int(first.rest_url.split(":")[2].split("/")[0])
        with pytest.raises(OSError):
            async with serve(ExchangeSettings(speed=0, port=port)):
                pass
    async with serve(ExchangeSettings(speed=0, port=port)) as second:
        assert second.rest_url == first.rest_url


async def test_crowd_trades_while_the_server_runs(eventually: Callable[..., Any]) -> None:
    async with running(speed=200, tick_interval_s=0.01) as client:

        async def has_traded() -> bool:
            return len(await client.get("/market/trades?symbol=BTC_USDT")) > 0

        await eventually(has_traded)


@pytest.mark.parametrize(
    "options",
    [
        {"speed": -1.0},
        {"tick_interval_s": 0.0},
        {"ping_interval_s": -1.0},
        {"outbound_bytes_max": 0},
        {"fee_decimals": 43},
        {"balances": {"BTC": "much"}},
        {"more_accounts": (AccountSettings("K", "S2"),)},
        {"markets": "none.json"},
        {"markets": [{"symbol": "odd"}]},
    ],
)
async def test_unusable_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        async with running(**options):
            pass


async def test_balances_are_what_was_asked_for() -> None:
    async with running(balances={"BTC": "0.5", "XYZ": "0.123456789012345678"}) as client:
        rows = {row["asset"]: row["available"] for row in (await client.ask("/balances"))[1]}
    assert (rows["BTC"], rows["USDT"], rows["XYZ"]) == ("0.5", "0", "0.123456789012345678")


def test_settings_do_not_show_the_secret() -> None:
    assert "canary" not in repr(ExchangeSettings(secret="canary"))
    assert "canary" not in repr(AccountSettings("K", "canary"))
