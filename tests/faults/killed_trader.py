"""A trader in a process of its own, made to be killed: it quotes and quotes again, never still.

It says "ready" when the first comparison with the exchange is done. Whatever it is told then ends
it, every order cancelled, and it says its summary.
"""

import asyncio
import sys
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nkfast.app.loop import run
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.core.market import Market
from nkfast.errors import VenueError, WireError
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Strategy
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.port import Side
from nkfast.wire.models import ApiCredentials

KEY = "kill-test"
SECRET = "s" * 40
INSTANCE = "nk01"
SYMBOL = "BTC/USDT"
#: Old quotes are replaced this often.
QUOTE_MS = 400
#: Distances from the middle of the book, as fractions of it: the nearest are often filled.
DISTANCES = (Decimal("0.0001"), Decimal("0.0004"), Decimal("0.002"))
QUANTITY = Decimal("0.0031")
#: The storm lets an order be accepted up to 9 s late; absence is believed after more than that.
SETTINGS = EngineSettings(
    reconcile_interval_s=2.0,
    finality_horizon_s=15.0,
    round_gap_s=1.0,
    request_timeout_s=3.0,
    exit_timeout_s=60.0,
    unknown_max_s=3600.0,  # lives of seconds, one after the other, prove no absence
)
SIDES: dict[Side, int] = {"buy": -1, "sell": 1}
LIMITS = RiskLimits(
    max_orders_per_minute=1_000_000,
    max_order_notional=Decimal(1000),
    max_open_orders=60,
    max_position=Decimal(10**6),
    max_daily_loss=Decimal(10**9),
    max_unknown_orders=1000,
)
#: The exchange's own faults let a start fail; what a user would do is to start again.
STARTS_MAX = 10


class Restless(Strategy):
    """Rests on both sides of the market, each time anew; counts what it was told."""

    name = "restless"

    def __init__(self) -> None:
        self._turn = 0
        self._wanted = Desired()
        self._trades = 0

    def decide(self, view: MarketView) -> Desired:
        turn, mid = view.now_ms // QUOTE_MS, view.mid
        if turn == self._turn or mid is None:
            return self._wanted
        self._turn = turn
        quotes = {}
        for number, distance in enumerate(DISTANCES):
            for side, sign in SIDES.items():
                price = (mid * (1 + sign * distance)).quantize(view.market.tick_size)
                quotes[f"{side}-{number}"] = Quote(side, price, QUANTITY)
        self._wanted = Desired(quotes)
        return self._wanted

    def on_fill(self, fill: Fill) -> None:
        self._trades += 1

    def state(self) -> dict[str, int]:
        return {"trades": self._trades}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._trades = state["trades"]


def trade(rest_url: str, ws_url: str, journal: Path, pipe: Connection, errors: Path) -> None:
    """Be that process."""
    sys.stderr = errors.open("a")
    run(_trade(rest_url, ws_url, journal, pipe))


async def _trade(rest_url: str, ws_url: str, path: Path, pipe: Connection) -> None:
    credentials = ApiCredentials(KEY, SECRET)
    async with AsyncRestClient(credentials, base_url=rest_url, allow_changes=True) as rest:
        market = await market_of(rest)
        connect = partial(WebSocketClient, ws_url, credentials, allow_changes=True)
        with Journal.open(path, instance=INSTANCE) as journal:
            engine = Engine(
                venue=LiveVenue(rest=rest, websocket=connect, clock=RealClock()),
                clock=RealClock(),
                journal=journal,
                strategy=Restless(),
                symbol=SYMBOL,
                limits=LIMITS,
                mode="live",
                settings=SETTINGS,
            )
            stop = asyncio.Event()
            asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
            try:
                await engine.start()
                pipe.send("ready")
                await engine.run(stop)
            finally:
                await engine.stop("cancel")
            summary = engine.summary().as_json()
            ledger = {
                asset: str(engine.ledger.total(asset)) for asset in (market.base, market.quote)
            }
            pipe.send({**summary, "ledger": ledger})


async def market_of(rest: AsyncRestClient) -> Market:
    for _ in range(STARTS_MAX):
        try:
            return Market.from_wire((await rest.get_market(symbol=SYMBOL)).raw)
        except (VenueError, WireError) as error:
            print(f"again: {error}", file=sys.stderr, flush=True)
    raise SystemExit(5)
