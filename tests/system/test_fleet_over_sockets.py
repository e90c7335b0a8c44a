"""A fleet over real sockets: an exchange that is not there yet is waited for."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from trading.conftest import LIMITS, Wanting

from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.exchange.server import ExchangeServer, ExchangeSettings, serve
from nkfast.trading.account import AccountOrders
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.fleet import Fleet, Restarts
from nkfast.trading.journal import Journal, verify
from nkfast.trading.strategy import Desired, Quote
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.shared import SharedVenue
from nkfast.wire.models import ApiCredentials

US = ApiCredentials("fleet-key", "s" * 40)
MARKETS = {"aaaa": "BTC/USDT", "bbbb": "LTC/USDT"}
LIMIT_S = 30.0


async def until(condition) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def resting(server: ExchangeServer) -> list[str]:
    account = server.accounts[US.api_key]
    return sorted(order.listing.symbol for order in account.open_orders.values())


async def test_an_exchange_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    balances = {"BTC": "10", "LTC": "100", "USDT": "100000"}
    settings = ExchangeSettings(seed=3, key=US.api_key, secret=US.api_secret, balances=balances)
    async with serve(settings) as server:
        rest_url, ws_url = server.rest_url, server.ws_url  # nobody is there in a moment
    clock, account, faults = RealClock(), AccountOrders(), []
    async with AsyncRestClient(US, base_url=rest_url, allow_changes=True) as rest:
        connect = partial(WebSocketClient, ws_url, US, allow_changes=True)
        shared = SharedVenue(
            partial(LiveVenue, rest=rest, websocket=connect, clock=clock), [*MARKETS.values()]
        )

        def launch(name: str) -> AbstractContextManager[Engine]:
            @contextmanager
            def make() -> Iterator[Engine]:
                strategy = Wanting()
                price = {"aaaa": "30000", "bbbb": "10"}[name]
                strategy.desired = Desired({"low": Quote("buy", Decimal(price), Decimal("0.1"))})
                with Journal.open(tmp_path / f"{name}.db", instance=name) as journal:
                    yield Engine(
                        venue=shared.seat(),
                        clock=clock,
                        journal=journal,
                        strategy=strategy,
                        symbol=MARKETS[name],
                        limits=replace(LIMITS, price_collar=None),
                        mode="paper",
                        account=account,
                        settings=EngineSettings(),
                    )

            return make()

        fleet = Fleet(
            {name: partial(launch, name) for name in MARKETS},
            clock=clock,
            restarts=Restarts(most=50, first_wait_s=0.1, longest_wait_s=0.4),
            tell=lambda name, fault: faults.append((name, fault)),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await until(lambda: len(faults) >= 4)
        assert {type(fault.error).__name__ for _, fault in faults} == {"UnreachableError"}
        port = urlsplit(rest_url).port
        async with serve(replace(settings, port=port)) as server:
            await until(lambda: resting(server) == ["BTC/USDT", "LTC/USDT"])
            stop.set()
            ended = await running
            assert [end.error for end in ended.values()] == [None, None]
            assert resting(server) == []
    for name in MARKETS:
        assert verify(tmp_path / f"{name}.db").ok
