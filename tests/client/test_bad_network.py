"""The WebSocket client behind a proxy that stalls, cuts, repeats and swaps frames."""

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from client.cutting_proxy import (
    Cut,
    CutAfter,
    Swap,
    as_it_is,
    cutting_proxy,
    half_then_end,
    half_then_reset,
    twice,
)

from nkfast import errors
from nkfast.client import conversation, kept_socket, listener
from nkfast.client.websocket import WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.exchange import shapes
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.wire import client_session
from nkfast.wire.models import ApiCredentials, OrderRequest

SYMBOLS = ("BTC/USDT", "XMR/USDT")
KEY = ApiCredentials("demo-key", "demo-secret")


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
    """Whatever reaches the loop's exception handler fails the test."""
    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    assert contexts == []


class Scene:
    """A client, the proxy and an exchange whose crowd acts when it is told to."""

    def __init__(self, there, proxy, client, decoder):
        self.there, self.proxy, self.client, self.decoder = there, proxy, client, decoder
        self._now_ms = there.settings.clock_ms()

    def trade(self, seconds=2):
        """Let the crowd act for some seconds of its life."""
        for _ in range(seconds * 10):
            self._now_ms += 100
            self.there.crowd.step(self._now_ms)

    def agrees(self):
        """Whether every book is live and equal to the exchange's own."""
        for symbol in SYMBOLS:
            book = self.decoder.book(symbol)
            if book.state != "live":
                return False
            ours = [[tuple(level) for level in side.tolist()] for side in book.depth(10_000)]
            theirs = [[tuple(map(int, level)) for level in side] for side in self.listing(symbol)]
            if ours != theirs:
                return False
        return True

    def listing(self, symbol):
        return self.there.exchange.listings[symbol].depth()


@asynccontextmanager
async def scene(symbols=SYMBOLS, **options):
    settings = ExchangeSettings(speed=20.0, tick_interval_s=3600.0, seed=3)
    async with serve(settings) as there, cutting_proxy(there.ws_url) as proxy:
        rows = {
            symbol: shapes.market(there.exchange, there.exchange.listings[symbol], 0)
            for symbol in symbols
        }
        decoder = FrameDecoder([Market.from_wire(row) for row in rows.values()])
        client = WebSocketClient(proxy.url, KEY, decoder=decoder, allow_changes=True, **options)
        for symbol in symbols:
            client.subscribe_order_book(symbol, 10_000)
        client.subscribe_account_updates()
        await client.connect()
        try:
            yield Scene(there, proxy, client, decoder)
        finally:
            await client.close()


async def test_books_follow_a_network_that_behaves(until):
    async with scene() as here:
        here.trade()
        await until(here.agrees)
        assert here.decoder.counters["update"] > 50


async def test_repeated_frames_change_nothing(until):
    async with scene() as here:
        await until(here.agrees)
        here.proxy.rule = twice
        here.trade()
        await until(here.agrees)
        assert here.decoder.counters["duplicate"] > 50
        assert here.client.counters["resyncs"] == 0


async def test_swapped_frames_are_put_in_order_without_a_resync(until):
    async with scene() as here:
        await until(here.agrees)
        swap = here.proxy.rule = Swap(5)
        here.trade()
        await until(lambda: here.decoder.counters["held"] > 20)
        # The last group may be waiting to be full.
        here.proxy.rule = lambda frame: [*swap.rest(), frame]
        here.trade(1)
        await until(here.agrees)
        assert here.client.counters["resyncs"] == 0


async def test_late_frames_are_taken(until):
    async with scene() as here:
        await until(here.agrees)
        here.proxy.delay_seconds = 0.001
        here.trade(1)
        assert not here.agrees()
        await until(here.agrees, 20)
        assert here.client.counters["disconnections"] == 0


@pytest.mark.parametrize("rule", [half_then_end, half_then_reset])
async def test_half_a_frame_ends_the_connection_and_nothing_else(until, rule):
    async with scene() as here:
        await until(here.agrees)
        here.proxy.rule = rule
        here.trade()
        await until(lambda: here.client.counters["disconnections"] == 1)
        assert not here.agrees()
        here.proxy.rule = as_it_is
        await until(lambda: here.agrees() and here.client.is_ready)


async def test_a_reset_is_overcome(until):
    async with scene() as here:
        for count in range(1, 4):
            await until(here.agrees)
            here.proxy.reset()
            await until(lambda count=count: here.client.counters["disconnections"] == count)
            here.trade(1)


async def test_a_stall_is_noticed_by_its_missing_pong(until):
    async with scene(ping_interval_seconds=0.1, pong_timeout_seconds=0.1) as here:
        await until(here.agrees)
        started = asyncio.get_running_loop().time()
        here.proxy.stall()
        await until(lambda: here.client.counters["disconnections"] == 1)
        assert asyncio.get_running_loop().time() - started < 2.0
        assert {here.decoder.book(symbol).state for symbol in SYMBOLS} == {"stale"}
        here.trade()
        here.proxy.resume()
        await until(here.agrees)


async def test_an_order_whose_answer_is_cut_off_is_unknown_and_stands(until):
    async with scene() as here:
        await until(lambda: here.client.is_ready)

        def cut_the_answer(frame):
            if b'"userProvidedId":"nk-cut"' in frame:
                raise Cut(frame[:20])
            return [frame]

        here.proxy.rule = cut_the_answer
        request = OrderRequest(
            symbol="BTC/USDT",
            side="buy",
            quantity=Decimal("0.01"),
            price=Decimal(100),
            user_provided_id="nk-cut",
        )
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await here.client.new_order(request)
        assert caught.value.sent == "maybe"
        here.proxy.rule = as_it_is
        await until(lambda: here.client.is_ready)
        assert [row.user_provided_id for row in await here.client.get_orders()] == ["nk-cut"]


async def test_a_script_of_three_frames_cut_at_every_byte(until):
    async with scene(symbols=SYMBOLS[:1]) as here:
        client = WebSocketClient(here.proxy.url, decoder=None)
        client.subscribe_order_book("BTC/USDT", 1)
        client.subscribe_ticker("BTC/USDT")
        news = []
        client.register_handler("ticker", news.append)
        # Acknowledgement and snapshot of the book, acknowledgement and value of the ticker.
        lengths = []

        def measure(frame):
            lengths.append(len(frame))
            return [frame]

        here.proxy.rule = measure
        await client.connect()
        await until(lambda: news)
        await client.close()
        total = sum(lengths[:3])
        assert len(lengths) >= 4 and total > 300

        runner = None
        for offset in range(total):
            here.proxy.rule = CutAfter(offset)
            if runner is None:
                runner = asyncio.ensure_future(client.run_forever())
            before = client.counters["disconnections"]
            await until(lambda count=before: client.counters["disconnections"] > count)
        here.proxy.rule = as_it_is
        news.clear()
        await until(lambda: client.is_ready and news)
        # Nothing that was cut has been taken for a message.
        assert client.counters["rejected_messages"] == 0
        assert client.counters["disconnections"] >= total
        await client.close()
        await runner
