"""What goes wrong, decided from a seed, and carried out over real sockets."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from exchange.conftest import NOW_MS, Bench

from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.server import ExchangeServer, ExchangeSettings, serve
from nkfast.exchange.weather import CALM, PRESETS, Lane, Rule, Weather, preset
from nkfast.venue.clock import VirtualClock, run_virtual

ORDER = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.01", "price": "60000"}
BASIC = {"Authorization": "Basic " + base64.b64encode(b"K:S").decode()}
REQUESTS = ["createorder", "cancelorder", "balances", "newOrder", "account/orders"] * 200


class Client:
    def __init__(self, server: ExchangeServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def place(self, **changes: Any) -> tuple[int, bytes, Any]:
        async with self.session.post(
            self.server.rest_url + "/createorder", json=ORDER | changes, headers=BASIC
        ) as reply:
            return reply.status, await reply.read(), reply.headers

    async def get(self, path: str) -> tuple[int, bytes, Any]:
        async with self.session.get(self.server.rest_url + path, headers=BASIC) as reply:
            return reply.status, await reply.read(), reply.headers

    @property
    def accepted_count(self) -> int:
        return len(self.server.accounts["K"].open_orders)


@asynccontextmanager
async def under(*rules: Rule, **options: Any) -> AsyncIterator[Client]:
    settings = {"speed": 0, "key": "K", "secret": "S", "balances": {"USDT": "1000000"}} | options
    async with (
        serve(ExchangeSettings(weather=rules, **settings)) as server,
        aiohttp.ClientSession() as session,
    ):
        yield Client(server, session)


def fates(rules: Any, seed: int) -> list[Any]:
    weather = Weather(rules, seed)
    return [weather.request(name) for name in REQUESTS]


def test_same_seed_gives_the_same_weather() -> None:
    told = [repr(fates(preset("storm"), seed)) for seed in (1, 1, 2)]
    assert told[0] == told[1] != told[2]


def test_taking_a_rule_away_leaves_the_others_as_they_were() -> None:
    rare = Rule("reset_after", on="create", probability=0.1)
    both = fates([rare, Rule("html_before", on="read", probability=0.1)], 3)
    alone = fates([rare], 3)
    struck = [index for index, fate in enumerate(alone) if fate.fault == "reset_after"]
    assert 10 < len(struck) < 90
    assert [index for index, fate in enumerate(both) if fate.fault == "reset_after"] == struck


def test_script_strikes_where_it_is_told() -> None:
    weather = Weather([Rule("error_before", on="newOrder", after=2, times=1)])
    seen = [weather.request("newOrder").fault for _ in range(5)]
    assert seen == [None, None, "error_before", None, None]
    assert weather.request("createorder") == CALM
    assert weather.strikes == {"error_before": 1}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fault": "hail"}, "known: "),
        ({}, "with a fault"),
        ({"fault": "drop", "probabilty": 1}, "unknown"),
        ({"fault": "drop", "probability": 2}, "give 0 to 1"),
        ({"fault": "drop", "probability": "1"}, "cannot be"),
        ({"fault": "late", "seconds": -1}, "give 0 to"),
        ({"fault": "drop", "times": -1}, "0 or more"),
        ({"fault": "error_after", "status": 200}, "400 to 599"),
        ({"fault": "tick_size", "decimals": 9}, "0 to 8"),
    ],
)
def test_rule_that_cannot_be_is_refused(fields: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Rule.from_json(fields)


def test_rules_survive_json() -> None:
    for rules in PRESETS.values():
        assert tuple(Rule.from_json(json.loads(json.dumps(r.as_json()))) for r in rules) == rules


def test_unknown_preset_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match="storm"):
        preset("hurricane")


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        ("reset_before", 0),
        ("reset_after", 1),
        ("stall_before", 0),
        ("stall_after", 1),
        ("half", 1),
    ],
)
async def test_answer_is_lost_and_the_order_lives_or_not(fault: Any, accepted: int) -> None:
    async with under(Rule(fault, on="create", times=1, seconds=0.05)) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.place()
        assert client.accepted_count == accepted
        status, _, _ = await client.place()
        assert status == 200


@pytest.mark.parametrize(
    ("rule", "status", "accepted", "content"),
    [
        (Rule("error_before", on="create", status=503), 503, 0, b'"code":503'),
        (Rule("error_after", on="create", status=502), 502, 1, b'"code":500'),
        (Rule("html_before", on="create", status=409), 409, 0, b"<!DOCTYPE html>"),
        (Rule("html_after", on="create", status=520), 520, 1, b"<!DOCTYPE html>"),
        (Rule("nulls", on="create"), 200, 1, b'"id":null'),
        (Rule("twice", on="create"), 200, 2, b'"status":"New"'),
        (Rule("rate_limit", on="create", seconds=3), 429, 0, b'"code":429'),
    ],
)
async def test_answer_is_another(rule: Rule, status: int, accepted: int, content: bytes) -> None:
    async with under(rule) as client:
        seen, body, headers = await client.place()
        assert (seen, client.accepted_count) == (status, accepted)
        assert content in body
        assert headers.get("Retry-After") == ("3" if rule.fault == "rate_limit" else None)
        is_html = rule.fault.startswith("html")
        assert headers["Content-Type"].startswith("text/html" if is_html else "application/json")


async def test_rate_limit_may_keep_silent_about_when_to_come_back() -> None:
    async with under(Rule("rate_limit")) as client:
        status, _, headers = await client.get("/time")
        assert status == 429
        assert "Retry-After" not in headers


async def test_empty_and_truncated_bodies() -> None:
    async with under(Rule("empty", times=1), Rule("truncated", after=1, times=1)) as client:
        assert (await client.get("/time"))[1] == b""
        _, body, _ = await client.get("/time")
        with pytest.raises(ValueError):
            json.loads(body)
        assert json.loads((await client.get("/time"))[1])


async def test_late_order_is_answered_first_and_done_then(eventually: Any) -> None:
    async with under(Rule("late", on="create", seconds=0.05)) as client:
        status, _, _ = await client.place()
        assert (status, client.accepted_count) == (504, 0)

        async def is_done() -> bool:
            return client.accepted_count == 1

        await eventually(is_done)


async def test_latency_of_each_direction() -> None:
    async with under(
        Rule("delay_in", on="create", seconds=0.05), Rule("delay_out", on="create", seconds=0.05)
    ) as client:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.place()
        assert loop.time() - began >= 0.1


def test_jitter_spreads_the_latency() -> None:
    weather = Weather([Rule("delay_in", seconds=0.05, jitter_s=0.1)], 4)
    delays = [weather.request("balances").inbound_s for _ in range(2_000)]
    assert min(delays) >= 0.05
    assert 0.14 < sum(delays) / len(delays) < 0.16
    assert len(set(delays)) == len(delays)


async def test_everything_waits_behind_a_clog() -> None:
    async with under(Rule("clog", seconds=0.2), tick_interval_s=60) as client:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.place()  # on its way when the clog begins, or caught in it
        await client.place()
        assert loop.time() - began >= 0.15
        assert client.accepted_count == 2


async def test_clock_skew_shows_in_the_time() -> None:
    async with under(Rule("clock_skew", seconds=-100), clock_ms=lambda: NOW_MS) as client:
        assert json.loads((await client.get("/time"))[1]) == {"serverTime": NOW_MS - 100_000}


async def test_balances_lag() -> None:
    async with under(Rule("balance_lag", seconds=60)) as client:
        await client.get("/balances")
        await client.place()
        account = client.server.accounts["K"]
        assert account.holding("USDT").held
        rows = json.loads((await client.get("/balances"))[1])
        (usdt,) = [row for row in rows if row["asset"] == "USDT"]
        assert float(usdt["available"]) == 1_000_000
        client.server.weather.change((), 0)
        rows = json.loads((await client.get("/balances"))[1])
        (usdt,) = [row for row in rows if row["asset"] == "USDT"]
        assert float(usdt["available"]) < 1_000_000


def test_balances_that_move_while_nobody_listens_are_shown_late_and_not_never() -> None:
    async def main(clock: VirtualClock) -> None:
        exchange = Exchange(DEFAULT_MARKETS[:1])
        account = exchange.open_account("owner", {"USDT": "10"})
        weather = Weather((Rule("balance_lag", seconds=3.0),), 0)
        weather.attach(exchange)
        weather.step()
        exchange.deposit(account, "USDT", 7)
        shown = []
        for _ in range(5):
            weather.step()
            shown.append(account.shown_holding("USDT") == account.holding("USDT"))
            await asyncio.sleep(1.0)
        assert shown == [False, False, False, True, True]

    run_virtual(main, NOW_MS * 10**6)


async def test_market_pauses_and_goes_on(eventually: Any) -> None:
    async with under(Rule("pause", symbol="BTC/USDT", seconds=0.1)) as client:
        status, body, _ = await client.place()
        assert status == 400
        assert b"paused" in body

        async def is_open() -> bool:
            return (await client.place())[0] == 200

        await eventually(is_open)


async def test_pause_ends_at_its_own_time_although_the_weather_changed(eventually: Any) -> None:
    async with under(Rule("pause", symbol="BTC/USDT", seconds=0.1)) as client:
        assert (await client.place())[0] == 400
        client.server.weather.change((), 0)

        async def is_open() -> bool:
            return (await client.place())[0] == 200

        await eventually(is_open)


async def test_tick_size_grows_for_new_orders_only() -> None:
    async with under() as client:
        await client.place(price="60000.01")
        client.server.weather.change([Rule("tick_size", symbol="BTC/USDT", decimals=1)], 0)
        _, body, _ = await client.place(price="60000.19")
        assert json.loads(body)["price"] == "60000.10"
        status, body, _ = await client.place(price="60000.19", strictValidate=True)
        assert (status, b"1 decimal places" in body) == (400, True)
        market = json.loads((await client.get("/market/info?symbol=BTC_USDT"))[1])
        assert market["priceDecimals"] == 1
        assert "60000.01" in [
            row["price"] for row in json.loads((await client.get("/account/orders"))[1])
        ]


async def test_maintenance_closes_everything_for_a_while(eventually: Any) -> None:
    async with under(Rule("maintenance", after=1, seconds=0.2), tick_interval_s=0.01) as client:
        async with client.session.ws_connect(client.server.ws_url) as socket:
            assert (await client.get("/time"))[0] == 200
            assert (await socket.receive()).type in (
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.ERROR,
                aiohttp.WSMsgType.CLOSE,
            )
        assert (await client.get("/time"))[0] == 503

        async def is_open() -> bool:
            return (await client.get("/time"))[0] == 200

        await eventually(is_open)


async def frames_of(client: Client, count: int) -> list[dict[str, Any]]:
    """Subscribe to a book, change it so often, ask something, and return all up to its answer."""
    async with client.session.ws_connect(client.server.ws_url) as socket:
        await socket.send_json(
            {"method": "subscribeOrderbook", "params": {"symbol": "BTC/USDT"}, "id": 1}
        )
        assert (await socket.receive_json())["id"] == 1
        for number in range(count):
            await client.place(price=str(50_000 + number))
        await socket.send_json({"method": "getAsset", "params": {"ticker": "BTC"}, "id": 2})
        frames = []
        while not frames or frames[-1].get("id") != 2:
            frames.append(await asyncio.wait_for(socket.receive_json(), 10))
        return frames[:-1]


def sequences(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["params"]["sequence"] for frame in frames]


async def test_dropped_update_is_a_gap_that_a_book_notices() -> None:
    async with under(Rule("drop", on="updateOrderbook", after=1, times=1)) as client:
        frames = await frames_of(client, 4)
    assert sequences(frames) == [0, 1, 3, 4]
    decoder = FrameDecoder([Market("BTC/USDT", 2, 6)])
    kinds = [decoder.feed(json.dumps(frame).encode(), 0).kind for frame in frames]
    assert kinds[-1] is not FrameKind.UPDATE


async def test_snapshot_can_be_missed() -> None:
    async with under(Rule("drop", on="snapshotOrderbook")) as client:
        assert sequences(await frames_of(client, 2)) == [1, 2]


async def test_updates_come_twice_or_in_another_order() -> None:
    async with under(
        Rule("duplicate", on="book", after=1, times=1),
        Rule("reorder", on="book", after=2, times=1, seconds=0.2),
        Rule("delay", on="book", after=5, times=1, seconds=0.5),
    ) as client:
        async with client.session.ws_connect(client.server.ws_url) as socket:
            params = {"symbol": "BTC/USDT"}
            await socket.send_json({"method": "subscribeOrderbook", "params": params})
            assert (await socket.receive_json())["params"]["sequence"] == 0
            for number in range(5):
                await client.place(price=str(50_000 + number))
            frames = [await asyncio.wait_for(socket.receive_json(), 10) for _ in range(6)]
    assert sequences(frames) == [1, 1, 3, 4, 2, 5]


async def test_channel_falls_silent_while_the_socket_lives() -> None:
    async with under(Rule("stall", on="book", after=2, times=1, seconds=60)) as client:
        assert sequences(await frames_of(client, 4)) == [0, 1]


async def test_half_a_frame_and_then_a_reset() -> None:
    async with under(Rule("reset", on="updateOrderbook", after=1)) as client:
        async with client.session.ws_connect(client.server.ws_url) as socket:
            params = {"symbol": "BTC/USDT"}
            await socket.send_json({"method": "subscribeOrderbook", "params": params})
            await client.place()
            await client.place(price="50000")
            seen = [(await socket.receive()).type for _ in range(3)]
        assert seen[:2] == [aiohttp.WSMsgType.TEXT] * 2
        assert seen[2] is not aiohttp.WSMsgType.TEXT


async def test_params_are_blank_or_the_json_is_cut() -> None:
    async with under(
        Rule("blank", on="book", after=1, times=1), Rule("cut", on="book", after=2, times=1)
    ) as client:
        async with client.session.ws_connect(client.server.ws_url) as socket:
            params = {"symbol": "BTC/USDT"}
            await socket.send_json({"method": "subscribeOrderbook", "params": params})
            await client.place()
            await client.place(price="50000")
            await socket.receive_json()
            assert (await socket.receive_json())["params"] == {}
            with pytest.raises(ValueError):
                await socket.receive_json()


async def test_rule_of_a_market_leaves_the_others_alone() -> None:
    weather = Weather([Rule("drop", symbol="ETH/USDT")])
    assert not weather.message("updateOrderbook", b'{"symbol":"ETH/USDT"}')
    assert len(weather.message("updateOrderbook", b'{"symbol":"BTC/USDT"}')) == 1


async def ask(socket: aiohttp.ClientWebSocketResponse, method: str, **params: Any) -> Any:
    await socket.send_json({"method": method, "params": params, "id": method})
    return await asyncio.wait_for(socket.receive_json(), 10)


async def test_orders_over_the_websocket_have_the_same_weather(eventually: Any) -> None:
    async with under(
        Rule("error_before", on="newOrder", times=1),
        Rule("rate_limit", on="newOrder", after=1, times=1),
        Rule("late", on="newOrder", after=2, times=1, seconds=0.01),
        Rule("reset_after", on="newOrder", after=3, times=1),
    ) as client:
        async with client.session.ws_connect(client.server.ws_url) as socket:
            await ask(socket, "login", algo="BASIC", pKey="K", sKey="S")
            codes = [(await ask(socket, "newOrder", **ORDER))["error"]["code"] for _ in range(3)]
            assert codes == [503, 429, 504]
            await socket.send_json({"method": "newOrder", "params": ORDER, "id": 4})
            assert (await socket.receive()).type is not aiohttp.WSMsgType.TEXT

        async def both_live() -> bool:  # the late one and the last
            return client.accepted_count == 2

        await eventually(both_live)


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        (Rule("empty", on="newOrder", times=1), ""),
        (Rule("html_after", on="newOrder", times=1), "<!DOCTYPE html>"),
        (Rule("nulls", on="newOrder", times=1), '"status":null'),
        (Rule("truncated", on="newOrder", times=1), '{"jsonrpc":"2.0"'),
        (Rule("half", on="newOrder", times=1), None),
    ],
)
async def test_answer_over_the_websocket_is_another(rule: Rule, answer: str | None) -> None:
    async with under(rule) as client, client.session.ws_connect(client.server.ws_url) as socket:
        await ask(socket, "login", algo="BASIC", pKey="K", sKey="S")
        await socket.send_json({"method": "newOrder", "params": ORDER, "id": 4})
        message = await asyncio.wait_for(socket.receive(), 10)
        assert client.accepted_count == 1
        if answer is None:
            assert message.type is not aiohttp.WSMsgType.TEXT
            return
        assert message.data.startswith(answer) or (rule.fault == "nulls" and answer in message.data)
        if rule.fault == "truncated":
            with pytest.raises(ValueError):
                json.loads(message.data)


async def test_report_comes_long_after_its_order() -> None:
    async with under(Rule("delay", on="report", seconds=0.2)) as client:
        async with client.session.ws_connect(client.server.ws_url) as socket:
            await ask(socket, "login", algo="BASIC", pKey="K", sKey="S")
            await ask(socket, "subscribeReports")
            loop = asyncio.get_running_loop()
            began = loop.time()
            await client.place()
            report = await asyncio.wait_for(socket.receive_json(), 10)
            assert (report["method"], report["params"]["reportType"]) == ("report", "new")
            assert loop.time() - began >= 0.19


async def test_connection_can_be_refused() -> None:
    async with under(Rule("rate_limit", on="connect", times=1)) as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.session.ws_connect(client.server.ws_url)
        assert caught.value.status == 429
        async with client.session.ws_connect(client.server.ws_url):
            pass


async def test_lane_keeps_the_order_of_what_overtakes() -> None:
    lane, seen = Lane(), []
    done = asyncio.Event()
    lane.send(0.02, lambda: seen.append(1))
    lane.send(0.0, lambda: seen.append(2))
    lane.send(0.01, lambda: (seen.append(3), done.set()))
    assert seen == []
    await asyncio.wait_for(done.wait(), 10)
    assert seen == [1, 2, 3]
    lane.send(0.01, lambda: seen.append(4))
    lane.close()
    lane.send(0.02, done.clear)
    while done.is_set():
        await asyncio.sleep(0.001)
    assert seen == [1, 2, 3]


async def control(client: Client, method: str, token: str, body: Any = None) -> tuple[int, Any]:
    url = client.server.rest_url.replace("/api/v2", "/control/weather")
    headers = {"Authorization": f"Bearer {token}"}
    async with client.session.request(method, url, json=body, headers=headers) as reply:
        return reply.status, await reply.json()


async def test_weather_changes_over_http_with_the_token_only() -> None:
    async with under(has_control=True) as client:
        assert client.server.control is not None
        token = client.server.control.token
        assert (await control(client, "POST", "x", {"weather": "storm"}))[0] == 401
        assert client.server.weather.is_calm
        rule = {"fault": "error_before", "on": "read", "probability": 1, "status": 500}
        status, state = await control(client, "POST", token, {"rules": [rule], "seed": 5})
        assert (status, state["seed"], state["rules"][0]["status"]) == (200, 5, 500)
        assert (await client.get("/time"))[0] == 500
        assert (await control(client, "GET", token))[1]["strikes"] == {"error_before": 1}
        assert (await control(client, "POST", token, {"weather": "clear"}))[0] == 200
        assert (await client.get("/time"))[0] == 200
        for wrong in ({}, {"weather": "x"}, {"rules": 1}, [], {"rules": [{"fault": "x"}]}):
            assert (await control(client, "POST", token, wrong))[0] == 400, wrong
        assert (await control(client, "PUT", token))[0] == 405


async def test_without_control_there_is_no_such_path() -> None:
    async with under() as client:
        assert (await control(client, "GET", "x"))[0] == 404


async def test_paranoid_server_says_what_contradicts_itself() -> None:
    async with under(is_paranoid=True) as client:
        await client.place()
        assert not client.server.broken.done()
        client.server.accounts["K"].holding("USDT").available += 1
        await client.get("/time")
        conserved, filled = client.server.broken.result()
        assert conserved.endswith("USDT came from nowhere")
        assert "USDT is" in filled


async def test_paranoid_server_watches_the_sequences() -> None:
    async with under(is_paranoid=True) as client:
        await client.place()
        client.server.exchange.listing("BTC/USDT").sequences.book += 1
        await client.place()
        assert client.server.broken.result() == ["BTC/USDT: book 1 -> 3"]


async def test_records_what_a_client_would_have_seen() -> None:
    frames: list[tuple[int, bytes]] = []
    async with under(record=lambda at, frame: frames.append((at, frame))) as client:
        await client.place()
    books = [json.loads(frame) for _, frame in frames if b"BTC/USDT" in frame]
    assert [book["method"] for book in books] == [
        "snapshotOrderbook",
        "snapshotTrades",
        "updateOrderbook",
    ]
    assert books[-1]["params"]["bids"] == [{"price": "60000.00", "quantity": "0.010000"}]


def test_invariants_hold_after_the_tick_size_grew(bench: Bench) -> None:
    bench.order(bench.alice, "buy", "1", "100.55")
    bench.exchange.listing("ETH/USDT").shrink_price_decimals(2)
    order = bench.order(bench.bob, "sell", "2", "100.99")
    assert order.ticks == 10_000
    assert order.executed_lots == 10_000
