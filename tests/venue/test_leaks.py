"""Rounds of lost connections, orders and readings leave nothing behind in the client."""

import asyncio
import gc
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal as D
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import nkfast
from nkfast.client import kept_socket
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.calls import READS_REMEMBERED
from nkfast.client.throttle import Throttle
from nkfast.client.websocket import WebSocketClient
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.port import Holding, NewOrder, OrderUpdate, PublicTrade
from nkfast.wire.models import ApiCredentials

SYMBOL = "XMR/USDT"
US = ApiCredentials("us", "our-secret")
#: The exchange runs in this process too, and remembers orders as it should.
CLIENTS = ("nkfast.client", "nkfast.venue", "nkfast.wire.client_session", "aiohttp.", "picows.")
FOLDERS = [Path(nkfast.__file__).parent / room for room in ("client", "venue")]
WARM_ROUNDS, ROUNDS, ORDERS = 4, 12, 5  # ROUNDS twice
#: Over half of all rounds and orders; 200 bytes kept for each order are more.
GROWTH_BYTES_MAX = 12_000


class Forgetful:
    """A listener that keeps nothing but whether the connection is up."""

    is_up = False

    def on_book(self, symbol: str, received_ns: int) -> None: ...

    def on_order(self, update: OrderUpdate) -> None: ...

    def on_holdings(self, holdings: list[Holding]) -> None: ...

    def on_trade(self, trade: PublicTrade) -> None: ...

    def on_connection(self, is_up: bool, reason: str) -> None:
        self.is_up = is_up


def objects() -> Counter[str]:
    gc.collect()
    names = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    return Counter(name for name in names if name.startswith(CLIENTS))


def files() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


def left_behind(before: tuple[int, int, Counter[str]]) -> list[str]:
    """What there is more of: files and tasks by one, objects by one for each round."""
    now = files(), len(asyncio.all_tasks()), objects()
    more = [
        f"{name}: {before[place]} -> {now[place]}"
        for place, name in enumerate(("files", "tasks"))
        if now[place] > before[place]
    ]
    grown = {name: count for name, count in (now[2] - before[2]).items() if count >= ROUNDS}
    return more + [f"{name}: {count} more" for name, count in grown.items()]


def traced() -> int:
    gc.collect()
    inside = [tracemalloc.Filter(True, str(folder / "*")) for folder in FOLDERS]
    snapshot = tracemalloc.take_snapshot().filter_traces(inside)
    return sum(trace.size for trace in snapshot.traces)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def _traced() -> Iterator[None]:
    # From the beginning on: what takes the place of something that is not traced would be growth.
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced")
async def test_lost_connections_and_orders_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One loss after another is what is wanted: no back-off, no breaker.
    monkeypatch.setattr(kept_socket, "STABLE_SECONDS", 0.0)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_FIRST", 0.001)
    settings = ExchangeSettings(
        speed=0,
        key=US.api_key,
        secret=US.api_secret,
        balances={"XMR": "100", "USDT": "10000"},
    )
    heard, free = Forgetful(), Throttle({})
    async with (
        serve(settings) as server,
        AsyncRestClient(US, base_url=server.rest_url, allow_changes=True, throttle=free) as rest,
    ):
        websocket = partial(WebSocketClient, server.ws_url, US, allow_changes=True)
        venue = LiveVenue(rest=rest, websocket=websocket, clock=RealClock())
        await venue.start([SYMBOL], heard)

        async def one_round(number: int) -> None:
            names = [f"nk-{number}-{order}" for order in range(ORDERS)]
            for name in names:
                await venue.submit(NewOrder(name, SYMBOL, "buy", D("0.5"), D("150.00"), "limit"))
            await server.hang_up()
            await until(lambda: not heard.is_up)
            await asyncio.gather(*(venue.cancel(SYMBOL, name, "") for name in names))
            await venue.order_history(SYMBOL, 2**42)
            await venue.executions(SYMBOL, 0)
            await venue.holdings()
            await until(lambda: heard.is_up and venue.book(SYMBOL).state == "live")

        # The client remembers as many calls as it will: each cancel asks about an order of its own.
        asked = (rest.get_order(f"nobody-{number}") for number in range(READS_REMEMBERED))
        await asyncio.gather(*asked, return_exceptions=True)
        for number in range(WARM_ROUNDS):
            await one_round(number)
        before, traced_before = (files(), len(asyncio.all_tasks()), objects()), traced()
        for number in range(WARM_ROUNDS, WARM_ROUNDS + ROUNDS):
            await one_round(number)
        deadline = asyncio.get_running_loop().time() + 20
        while left := left_behind(before):
            assert asyncio.get_running_loop().time() < deadline, left
            await asyncio.sleep(0.05)
        traced_after = traced()
        # What grows once (a table that doubles) grows in one half only, a leak in both.
        for number in range(WARM_ROUNDS + ROUNDS, WARM_ROUNDS + 2 * ROUNDS):
            await one_round(number)
        grown = traced_after - traced_before, traced() - traced_after
        assert min(grown) < GROWTH_BYTES_MAX, grown
        await venue.close()
