"""News, silence, refusals and malformed messages, against a scripted venue."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import pytest
from client.scripted_venue import (
    KEY,
    ORDER,
    TEXT,
    book,
    frame_bytes,
    update,
    venue,
)

from nkfast import errors
from nkfast.client import conversation, handlers, kept_socket, listener
from nkfast.client.websocket import Subscription, WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.wire import client_session
from nkfast.wire.models import Balance, OrderReport, OrderStatus

BOOK = Subscription("order_book", "AAA/USDT", 20)
TRADES = Subscription("trades", "AAA/USDT")
REPORTS = Subscription("reports")


@pytest.fixture(autouse=True, params=["compiled", "python"])
def quick(request, monkeypatch):
    """Run with each listener; reconnect at once."""
    if request.param == "python":
        monkeypatch.setattr(conversation, "Listener", listener.PythonListener)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_FIRST", 0.001)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_MAX", 0.01)
    monkeypatch.setattr(client_session, "RESYNC_PAUSE_SECONDS", 0.01)


@pytest.fixture(autouse=True)
async def reported():
    """Whatever reaches the loop's exception handler fails the test, unless it takes it out."""
    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    assert contexts == []


@asynccontextmanager
async def connected(there, credentials=None, *subscriptions, **options):
    markets = [Market("AAA/USDT", 2, 0), Market("BBB/USDT", 2, 0)]
    options = {"decoder": FrameDecoder(markets), "allow_changes": True} | options
    client = WebSocketClient(there.url, credentials, **options)
    for subscription in subscriptions:
        client.subscribe(subscription)
    await client.connect(10.0)
    try:
        yield client
    finally:
        await client.close()


def trade(number):
    return {"id": str(number), "price": "1.25", "quantity": "4", "side": "sell", "timestampms": 9}


def trades(*numbers, symbol="AAA/USDT", method="updateTrades"):
    rows = [trade(number) for number in numbers]
    return {"method": method, "params": {"symbol": symbol, "sequence": "5", "data": rows}}


# Streams


async def test_trades_are_iterated(until):
    async with venue() as there, connected(there) as client:
        stream = client.trades("AAA_USDT")
        await until(lambda: client.is_ready)
        there.last.send(**trades(1, 2, method="snapshotTrades"))
        there.last.send(**trades(7, symbol="BBB/USDT"))
        there.last.send(**trades(3))
        got = [await anext(stream) for _ in range(3)]
        assert [row.trade_id for row in got] == ["1", "2", "3"]
        assert {row.symbol for row in got} == {"AAA/USDT"}
        await stream.aclose()
        assert client._talk.handlers._handlers["updateTrades"] == []
    assert there.last.methods() == ["subscribeTrades"]


async def test_a_slow_reader_of_trades_loses_the_oldest_and_a_client_that_closes_ends_it(until):
    async with venue() as there, connected(there) as client:
        stream = client.trades("AAA/USDT", queue_max=10)
        await until(lambda: client.is_ready)
        for number in range(50):
            there.last.send(**trades(2 * number, 2 * number + 1))
        await until(lambda: stream.dropped == 90)
        assert len(stream) == 10
        await client.close()
        assert [row.trade_id for row in [row async for row in stream]] == [
            str(number) for number in range(90, 100)
        ]


async def test_trades_that_cannot_be_read_are_counted(until):
    async with venue() as there, connected(there, decoder=None) as client:
        stream = client.trades("AAA/USDT")
        there.last.send(method="updateTrades", params={"symbol": "AAA/USDT", "data": [{}]})
        there.last.send(**trades(1))
        assert (await anext(stream)).trade_id == "1"
        assert client.counters["rejected_messages"] == 1


async def test_books_conflate(until):
    async with venue() as there, connected(there) as client:
        stream = client.books("AAA_USDT", 5)
        await until(lambda: client._decoder.book("AAA/USDT").state == "live")
        for number in range(101, 201):
            there.last.send_bytes(update(number))
            if number % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: client._decoder.book("AAA/USDT").sequence == 200)
        live = await anext(stream)
        assert live.sequence == 200 and len(stream) == 0
        assert stream.conflated > 0 and stream.dropped == 0
        there.last.transport.disconnect()
        assert (await anext(stream)).state == "stale"
        await stream.aclose()
        assert there.connections[0].requests[0]["params"] == {"symbol": "AAA/USDT", "limit": 5}


async def test_a_book_without_a_decoder_is_refused():
    for client in (WebSocketClient(), WebSocketClient(decoder=FrameDecoder([Market("B/C", 1, 1)]))):
        with pytest.raises(errors.ConfigError, match="no book of AAA/USDT"):
            client.books("AAA/USDT")


async def test_tickers_conflate_and_candles_come(until):
    async with venue() as there, connected(there) as client:
        tickers = client.tickers("AAA/USDT")
        bars = client.candles("AAA/USDT", 5, count=3)
        await until(lambda: client.is_ready)
        assert there.last.requests[-1]["params"] == {
            "symbol": "AAA/USDT",
            "period": 5,
            "limit": 3,
        }
        for price in ("1", "2", "3"):
            there.last.send(method="ticker", params={"symbol": "AAA/USDT", "lastPrice": price})
        bar = {"datetime": "2026-01-01T00:00:00.000Z", "volume": "1"}
        bar |= {"open": "1", "close": "2", "min": "1", "max": "3"}
        for period in (5, 15):
            params = {"symbol": "AAA/USDT", "period": period, "data": [bar]}
            there.last.send(method="updateCandles", params=params)
        await until(lambda: len(bars))
        there.last.send(method="ticker", params={"symbol": "AAA/USDT", "lastPrice": "4"})
        await until(lambda: tickers.conflated == 3)
        assert (await anext(tickers)).last_price == 4
        assert (await anext(bars)).high == 3 and len(bars) == 0


async def test_account_updates_are_iterated(until):
    async with venue() as there, connected(there, KEY) as client:
        stream = client.account_updates()
        await until(lambda: client.is_ready)
        there.last.send(method="activeOrders", params=[ORDER])
        there.last.send(method="report", params={**ORDER, "reportType": "new"})
        there.last.send(method="balanceUpdate", params={"ticker": "AAA", "available": "3"})
        got = [await anext(stream) for _ in range(3)]
        assert [type(row) for row in got] == [OrderStatus, OrderReport, Balance]


async def test_account_updates_that_nobody_reads_replace_the_connection(until):
    async with venue() as there, connected(there, KEY) as client:
        stream = client.account_updates(queue_max=3)
        await until(lambda: client.is_ready)
        for _ in range(4):
            there.last.send(method="report", params={**ORDER, "reportType": "new"})
        await until(lambda: len(there.connections) == 2 and client.is_ready)
        assert len(stream) == 0 and stream.dropped == 4
        there.last.send(method="report", params={**ORDER, "reportType": "new"})
        assert (await anext(stream)).order_id == "o1"


async def test_a_final_refusal_reaches_the_readers(until):
    async with venue() as there, connected(there, KEY) as client:
        stream = client.trades("AAA/USDT")
        there.last.send_bytes(b"\x88\x0e\x0f\xa1bad api key!")
        with pytest.raises(errors.AuthenticationError):
            await anext(stream)


# Handlers that take their time


async def test_a_slow_handler_blocks_no_book_and_stays_small(until, monkeypatch):
    monkeypatch.setattr(handlers.Lane.__init__, "__defaults__", (8,))
    gate, entered, seen = asyncio.Event(), [], []

    async def slow(params):
        entered.append(params)
        await gate.wait()
        seen.append(params["data"][0]["id"])

    async with venue() as there, connected(there, None, BOOK, TRADES) as client:
        client.register_handler("updateTrades", slow)
        live = client._decoder.book("AAA/USDT")
        await until(lambda: live.state == "live")
        for number in range(100):
            there.last.send(**trades(number))
            if number == 0:  # the first runs before the others come
                await until(lambda: entered)
            there.last.send_bytes(update(101 + number))
        await until(lambda: live.sequence == 200)
        assert seen == []
        await until(lambda: client.counters["dropped_news"] == 100 - 8 - 1)
        gate.set()
        await until(lambda: len(seen) == 9)
        assert seen[1:] == [*map(str, range(92, 100))]


async def test_a_slow_book_callback_sees_the_newest_only(until):
    gate, seen = asyncio.Event(), []

    async def slow(index, received_ns):
        await gate.wait()
        seen.append((index, client._decoder.book("AAA/USDT").sequence))

    async with venue() as there, connected(there, None, BOOK, on_book=slow) as client:
        live = client._decoder.book("AAA/USDT")
        await until(lambda: live.state == "live")
        for number in range(101, 151):
            there.last.send_bytes(update(number))
            await until(lambda number=number: live.sequence == number)
        gate.set()
        await until(lambda: seen and seen[-1] == (0, 150))
        assert len(seen) <= 3
        assert client.counters["dropped_news"] == 0


async def test_an_account_handler_that_is_too_slow_gets_the_whole_state(until, monkeypatch):
    monkeypatch.setattr(handlers.Lane.__init__, "__defaults__", (4,))
    gate, seen = asyncio.Event(), []

    async def slow(params):
        await gate.wait()
        seen.append(params)

    async with venue() as there, connected(there, KEY, REPORTS) as client:
        client.register_handler("report", slow)
        for _ in range(6):
            there.last.send(method="report", params={**ORDER, "reportType": "new"})
        await until(lambda: len(there.connections) == 2 and client.is_ready)
        gate.set()
        await until(lambda: seen)
        assert len(seen) == 1


# Silence


async def test_a_quiet_book_is_asked_for_again_and_the_connection_stays(until):
    states = []
    options = {"stale_after_seconds": {"order_book": 0.1}}
    async with venue() as there, connected(there, None, BOOK, **options) as client:
        live = client._decoder.book("AAA/USDT")
        client._talk.owner.on_book = lambda index, received_ns: states.append((index, live.state))
        client._talk.tune()
        await until(lambda: client.counters["silent_streams"] >= 3)
        await until(lambda: live.state == "live")
        assert (0, "stale") in states
        assert len(there.connections) == 1
        assert there.last.methods()[:3] == [
            "subscribeOrderbook",
            "unsubscribeOrderbook",
            "subscribeOrderbook",
        ]


async def test_a_book_that_moved_on_in_silence_replaces_the_connection(until):
    options = {"stale_after_seconds": {"order_book": 0.05}}
    async with venue() as there, connected(there, None, BOOK, **options) as client:
        snapshots = iter(range(200, 1000, 10))
        answer = there.answer

        def moving(connection, request):
            there.snapshot = book("snapshotOrderbook", next(snapshots), [("1.25", "40")])
            answer(connection, request)

        there.answer = moving
        await until(lambda: len(there.connections) == 2)
        assert client.counters["silent_streams"] == 2


async def test_a_book_that_does_not_come_back_replaces_the_connection(until):
    options = {"stale_after_seconds": {"order_book": 0.05}, "request_timeout_seconds": 0.1}
    async with venue() as there, connected(there, None, BOOK, **options) as client:
        live = client._decoder.book("AAA/USDT")
        await until(lambda: live.state == "live")
        there.snapshot = None
        await until(lambda: len(there.connections) == 2)
        assert live.state == "stale"


async def test_a_book_that_moves_is_not_silent(until):
    options = {"stale_after_seconds": {"order_book": 0.2}}
    async with venue() as there, connected(there, None, BOOK, **options) as client:
        live = client._decoder.book("AAA/USDT")
        await until(lambda: live.state == "live")
        loop = asyncio.get_running_loop()
        ends, sequence = loop.time() + 0.6, 100
        while loop.time() < ends:
            sequence += 1
            there.last.send_bytes(update(sequence))
            await until(lambda wanted=sequence: live.sequence == wanted)
        assert client.counters["silent_streams"] == 0


async def test_silent_trades_are_asked_for_again_then_the_connection_is_replaced(until):
    options = {"stale_after_seconds": {"trades": 0.1}}
    async with venue() as there, connected(there, None, TRADES, **options) as client:
        await until(lambda: len(there.connections) == 2)
        assert there.connections[0].methods() == [
            "subscribeTrades",
            "unsubscribeTrades",
            "subscribeTrades",
        ]
        assert client.counters["silent_streams"] == 2


async def test_trades_that_come_back_keep_the_connection(until):
    options = {"stale_after_seconds": {"trades": 0.05}}
    async with venue() as there, connected(there, None, TRADES, **options) as client:
        answer = there.answer

        def with_snapshot(connection, request):
            answer(connection, request)
            if request["method"] == "subscribeTrades":
                connection.send(**trades(1, method="snapshotTrades"))

        there.answer = with_snapshot
        await until(lambda: client.counters["silent_streams"] >= 4)
        assert len(there.connections) == 1


async def test_silent_reports_replace_the_connection(until):
    options = {"stale_after_seconds": {"reports": 0.1}}
    async with venue() as there, connected(there, KEY, REPORTS, **options) as client:
        await until(lambda: len(there.connections) == 2)
        assert client.counters["silent_streams"] == 1


# Malformed messages


@pytest.mark.parametrize("junk", ["{", json.dumps(book("updateOrderbook", -5, [("x", "y")]))])
async def test_malformed_messages_in_numbers_replace_the_connection(until, junk):
    async with venue() as there, connected(there, None, BOOK, malformed_max=5) as client:
        live = client._decoder.book("AAA/USDT")
        await until(lambda: live.state == "live")
        there.last.send_bytes(*[frame_bytes(TEXT, junk)] * 4)
        there.last.send_bytes(update(101))
        await until(lambda: live.sequence == 101)
        assert len(there.connections) == 1
        there.last.send_bytes(frame_bytes(TEXT, junk))
        await until(lambda: len(there.connections) == 2)


async def test_malformed_messages_now_and_then_do_not(until, monkeypatch):
    options = {"malformed_max": 3, "malformed_window_seconds": 0.5}
    loop = asyncio.get_running_loop()
    clock, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead)
    async with venue() as there, connected(there, None, **options) as client:
        for count in range(1, 7):
            there.last.send_text("{")
            await until(
                lambda count=count: (
                    sum(
                        (client.counters | client._decoder.counters)[name]
                        for name in ("rejected_messages", "rejected")
                    )
                    == count
                )
            )
            ahead += 0.3
        assert len(there.connections) == 1


# Subscriptions


async def test_a_subscription_that_is_never_given_is_reported_once_and_dropped(until, caplog):
    refused = []
    async with venue() as there:
        there.errors["subscribeTrades"] = {"code": 2001, "message": "Symbol not found"}
        client = WebSocketClient(there.url, on_refusal=lambda *news: refused.append(news))
        client.subscribe_order_book("AAA/USDT")
        client.subscribe_trades("AAA/USDT")
        caplog.set_level(logging.ERROR)
        runner = asyncio.ensure_future(client.run_forever())
        await until(lambda: client.is_ready)
        there.last.transport.disconnect()
        await until(lambda: len(there.connections) == 2 and client.is_ready)
        [(subscription, error)] = refused
        assert subscription == TRADES and isinstance(error, errors.SymbolNotFoundError)
        assert client.counters["refused_subscriptions"] == 1
        assert "subscribeTrades AAA/USDT is given up" in caplog.text
        assert there.last.methods() == ["subscribeOrderbook"]
        await client.close()
        await runner


async def test_subscriptions_are_paced_and_the_important_go_first(until):
    symbols = [f"A{number}/USDT" for number in range(40)]
    busy = set()

    def priority(subscription):
        return 0 if subscription.symbol in busy else 1

    async with venue() as there:
        there.snapshot = None
        wanted = [Subscription("trades", symbol) for symbol in symbols]
        options = {"subscription_priority": priority, "subscriptions_per_second": 100}
        async with connected(there, None, *wanted, **options) as client:
            busy |= {"A30/USDT", "A20/USDT"}
            there.last.transport.disconnect()
            await until(lambda: len(there.connections) == 2 and there.last.requests)
            started = asyncio.get_running_loop().time()
            assert len(there.last.requests) == 10
            await until(lambda: client.is_ready)
            assert asyncio.get_running_loop().time() - started > 0.25
            order = [request["params"]["symbol"] for request in there.last.requests]
            rest = [symbol for symbol in symbols if symbol not in busy]
            assert order == ["A20/USDT", "A30/USDT", *rest]


async def test_the_breaker_announces_itself_and_closes(until, monkeypatch):
    monkeypatch.setattr(kept_socket, "STABLE_SECONDS", 0.0)
    states = []
    async with venue() as there:
        answer, there.answer = (
            there.answer,
            lambda connection, request: connection.transport.disconnect(),
        )
        client = WebSocketClient(
            there.url, on_connection=lambda is_up, reason: states.append((is_up, reason))
        )
        client.subscribe(TRADES)
        monkeypatch.setattr(kept_socket, "STABLE_SECONDS", 30.0)
        runner = asyncio.ensure_future(client.run_forever())
        await until(lambda: client.is_breaker_open)
        [(is_up, reason)] = states
        assert not is_up and "the circuit breaker is open after 8 failures in a row" in reason
        there.answer = answer
        await until(lambda: client.is_ready)
        monkeypatch.setattr(kept_socket, "STABLE_SECONDS", 0.0)
        there.last.transport.disconnect()
        await until(lambda: not client.is_breaker_open)
        await client.close()
        await runner


async def test_every_request_of_the_venue_is_a_call(until):
    asset = {"id": "a1", "ticker": "AAA", "name": "A coin"}
    market = {"id": "m1", "symbol": "AAA/USDT", "priceDecimals": 2, "quantityDecimals": 0}
    async with venue() as there, connected(there, KEY) as client:
        there.results |= {"getAsset": asset, "getAssets": [asset], "getMarket": market}
        there.results |= {"getMarkets": [market]}
        there.results["getTrades"] = {"symbol": "AAA/USDT", "data": [trade(1)]}
        assert (await client.get_asset("AAA")).ticker == "AAA"
        assert [row.ticker for row in await client.get_assets()] == ["AAA"]
        assert (await client.get_market("AAA_USDT")).symbol == "AAA/USDT"
        assert [row.symbol for row in await client.get_markets()] == ["AAA/USDT"]
        [row] = await client.get_trades("AAA/USDT")
        assert (row.trade_id, row.symbol) == ("1", "AAA/USDT")
        await client.get_trades(
            "AAA/USDT",
            5,
            offset=3,
            newest_first=False,
            since="2026-01-01T00:00:00Z",
            until="2026-01-02T00:00:00Z",
        )
        assert there.last.requests[-1]["params"] == {
            "symbol": "AAA/USDT",
            "limit": 5,
            "offset": 3,
            "sort": "ASC",
            "from": "2026-01-01T00:00:00Z",
            "till": "2026-01-02T00:00:00Z",
        }
        for wrong in ({"since": "2026-01-01"}, {"limit": 1001}, {"offset": -1}):
            with pytest.raises(errors.ConfigError):
                await client.get_trades("AAA/USDT", **wrong)


async def test_many_requests_share_one_timer(until):
    async with venue() as there:
        there.silent.add("getOrders")
        async with connected(there, KEY, request_timeout_seconds=0.2) as client:
            first = asyncio.ensure_future(client.get_orders())
            await asyncio.sleep(0)
            assert await client.request("getAssets", {})
            timer = client._requests.timer
            second = asyncio.ensure_future(client.get_orders())
            await asyncio.sleep(0)
            assert client._requests.timer is timer
            for read in (first, second):
                with pytest.raises(errors.UnreachableError, match=r"within 0.2 s"):
                    await read
            assert len(client._requests) == 0 and client._requests.timer is None


async def test_busy_polling_lasts_as_long_as_the_connection(until):
    async with venue() as there, connected(there, None, BOOK, busy_poll=True) as client:
        assert client._talk._busy_poll.is_running
        there.last.transport.disconnect()
        await until(lambda: not client._talk._busy_poll.is_running)
        await until(lambda: client._talk._busy_poll.is_running)
        await client.close()
        assert not client._talk._busy_poll.is_running
    assert WebSocketClient()._talk._busy_poll is None


def test_wrong_settings_are_refused():
    for options in (
        {"stale_after_seconds": {"books": 1}},
        {"stale_after_seconds": {"trades": 0}},
        {"malformed_max": 0},
        {"malformed_window_seconds": 0},
        {"subscriptions_per_second": 0},
        {"proxy": "ftp://127.0.0.1:1"},
    ):
        with pytest.raises(errors.ConfigError):
            WebSocketClient(**options)
