"""A whole engine that bench_engine.py measures: every new book is answered by one order.

    python -P benchmarks/peers/engine_trader.py WS_URL DURABILITY JOURNAL

Orders and market data go over the WebSocket at WS_URL; a simulated exchange, started here, answers
what is asked over REST. Every limit of the risk guard is set.
"""

import asyncio
import sys
from decimal import Decimal
from functools import partial

import uvloop

from nkfast.app.simulator import started
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.nonces import KeyNonces
from nkfast.client.websocket import WebSocketClient
from nkfast.trading.engine import Engine
from nkfast.trading.journal import Journal
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Strategy
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.port import Side
from nkfast.wire.models import ApiCredentials

SYMBOL = "BTC/USDT"
SECONDS_MAX = 900.0
LIMITS = RiskLimits(
    max_order_notional=Decimal(10_000),
    max_open_orders=10,
    max_position=Decimal(1_000),
    max_daily_loss=Decimal(1_000_000),
    max_orders_per_minute=1_000_000,
    price_collar=Decimal("0.05"),
    max_book_age_s=60.0,
)


class OnePerBook(Strategy):
    """Answers every change of the book by one order, buys and sells in turn."""

    name = "one-per-book"

    def __init__(self) -> None:
        self._answered = 0
        self._book = 0
        self._wanted = Desired()
        self._nothing = Desired()
        self._state: dict[str, int] = {}

    def decide(self, view: MarketView) -> Desired:
        sequence = view.book.sequence
        if sequence != self._book:
            self._book = sequence
            best_bid, best_ask = view.book.best_bid, view.book.best_ask
            if best_bid is None or best_ask is None:
                return self._nothing
            side: Side = "sell" if sequence % 2 else "buy"
            ticks = best_ask[0] - 1 if sequence % 2 else best_bid[0] + 1
            quote = Quote(side, view.market.ticks_to_price(ticks), Decimal("0.0125"))
            self._wanted = Desired({"only": quote})
        return self._nothing if self._answered == sequence else self._wanted

    def on_fill(self, fill: Fill) -> None:
        self._answered = self._book

    def state(self) -> dict[str, int]:
        return self._state

    def restore(self, state: object) -> None:
        pass


async def main(ws_url: str, durability: str, path: str) -> None:
    clock = RealClock()
    async with started(seed=7, speed=0.01, seconds=SECONDS_MAX) as simulator:
        credentials = ApiCredentials(simulator.api_key, simulator.api_secret)
        nonces = KeyNonces(credentials.api_key, is_shared=False)
        async with AsyncRestClient(
            credentials, base_url=simulator.rest_url, allow_changes=True, nonces=nonces
        ) as rest:
            with Journal.open(path, instance="bench", durability=durability) as journal:
                engine = Engine(
                    venue=LiveVenue(
                        rest=rest,
                        websocket=partial(WebSocketClient, ws_url, credentials, allow_changes=True),
                        clock=clock,
                    ),
                    clock=clock,
                    journal=journal,
                    strategy=OnePerBook(),
                    symbol=SYMBOL,
                    limits=LIMITS,
                    mode="live",
                )
                await engine.start()
                await engine.run(asyncio.Event())


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
