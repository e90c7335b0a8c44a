"""A live trader that wants what another one rests: a buyer that takes, or a seller that undercuts.

    python -m system.opposed_trader REST_URL WS_URL JOURNAL buy|sell

Reads the API secret from standard input; ends when standard input does, and prints what it did.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from nkfast.app.connection import open_rest, shared_account
from nkfast.client.websocket import WebSocketClient
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Strategy
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.wire.models import ApiCredentials

KEY, SYMBOL = "opposed-key", "BTC/USDT"
QUANTITY = Decimal("0.001")
LIMITS = RiskLimits(
    max_order_notional=Decimal(10_000), max_position=Decimal(1000), max_daily_loss=Decimal(10_000)
)


class Opposed(Strategy):
    """Sells a tick below the best ask, or buys at the best ask, again with every frame."""

    def __init__(self, side: str) -> None:
        self.name = f"opposed-{side}"
        self._side = side
        self._turn = 0

    def decide(self, view: MarketView) -> Desired:
        bid, ask = view.book.best_bid, view.book.best_ask
        if bid is None or ask is None:
            return Desired()
        self._turn += 1
        ticks = ask[0] if self._side == "buy" else max(ask[0] - 1, bid[0] + 1)
        price = view.market.ticks_to_price(ticks)
        slot = f"{self._side}-{self._turn % 3}"
        return Desired({slot: Quote(self._side, price, QUANTITY)})

    def on_fill(self, fill: Fill) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(rest_url: str, ws_url: str, journal_path: str, side: str) -> None:
    credentials = ApiCredentials(KEY, sys.stdin.readline().strip())
    clock = RealClock()
    async with open_rest(rest_url, credentials, allow_changes=True) as rest:
        connect = partial(WebSocketClient, ws_url, credentials, allow_changes=True)
        with Journal.open(Path(journal_path), instance=side) as journal:
            engine = Engine(
                venue=LiveVenue(rest=rest, websocket=connect, clock=clock),
                clock=clock,
                journal=journal,
                strategy=Opposed(side),
                symbol=SYMBOL,
                limits=LIMITS,
                mode="live",
                account=shared_account(rest_url, credentials, clock),
                settings=EngineSettings(instance=side),
            )
            stop = asyncio.Event()
            try:
                await engine.start()
                tell("ready")
                asyncio.get_running_loop().add_reader(0, stop.set)
                await engine.run(stop)
            finally:
                await engine.stop()
            tell(json.dumps({"reasons": engine.reasons}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
