"""A trader in a process of its own, made to be killed: a grid on a simulated exchange.

    python -P -m faults.killed_trader REST_URL WS_URL JOURNAL STRATEGY_SEED

The secret comes on standard input. "ready" on standard output says that the first comparison with
the exchange is done; one more line from standard input ends it, every order cancelled, and the
summary comes on standard output.
"""

import asyncio
import json
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path

from nkfast.app.loop import run
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.core.market import Market
from nkfast.errors import VenueError, WireError
from nkfast.strategies.grid import Grid
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal
from nkfast.trading.risk import RiskLimits
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.wire.models import ApiCredentials

KEY = "kill-test"
INSTANCE = "nk01"
SYMBOL = "BTC/USDT"
#: Narrow, so that orders come and go all the time.
GRID = {"step_pct": "0.0042", "base_order_size": "0.003", "fee_buffer_pct": "0.0001"}
#: The storm lets an order be accepted up to 9 s late; absence is believed after more than that.
SETTINGS = EngineSettings(
    reconcile_interval_s=2.0,
    finality_horizon_s=15.0,
    round_gap_s=1.0,
    request_timeout_s=3.0,
    exit_timeout_s=60.0,
)
LIMITS = RiskLimits(max_order_notional=Decimal(1000), max_open_orders=60, max_unknown_orders=1000)
#: The exchange's own faults let a start fail; what a user would do is to start again.
STARTS_MAX = 10


async def main(rest_url: str, ws_url: str, journal_path: str, secret: str) -> None:
    credentials = ApiCredentials(KEY, secret)
    async with AsyncRestClient(credentials, base_url=rest_url, allow_changes=True) as rest:
        market = await market_of(rest)
        connect = partial(WebSocketClient, ws_url, credentials, allow_changes=True)
        with Journal.open(Path(journal_path), instance=INSTANCE) as journal:
            engine = Engine(
                venue=LiveVenue(rest=rest, websocket=connect, clock=RealClock()),
                clock=RealClock(),
                journal=journal,
                strategy=Grid(Grid.settings_from(GRID), market),
                symbol=SYMBOL,
                limits=LIMITS,
                mode="live",
                settings=SETTINGS,
            )
            stop = asyncio.Event()
            asyncio.get_running_loop().add_reader(0, stop.set)
            try:
                await engine.start()
                print("ready", flush=True)
                await engine.run(stop)
            finally:
                await engine.stop("cancel")
            summary = engine.summary().as_json()
            ledger = {
                asset: str(engine.ledger.total(asset)) for asset in (market.base, market.quote)
            }
            print(json.dumps({**summary, "ledger": ledger}), flush=True)


async def market_of(rest: AsyncRestClient) -> Market:
    for _ in range(STARTS_MAX):
        try:
            return Market.from_wire((await rest.get_market(symbol=SYMBOL)).raw)
        except (VenueError, WireError) as error:
            print(f"again: {error}", file=sys.stderr, flush=True)
    raise SystemExit(5)


if __name__ == "__main__":
    run(main(*sys.argv[1:4], sys.stdin.readline().strip()))
