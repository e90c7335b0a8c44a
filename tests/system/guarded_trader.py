"""A trader in a process of its own that rests four orders, has a heart, and takes commands.

    python -m system.guarded_trader REST_URL WS_URL STATE_DIR

Reads the API secret from standard input; ends in order when standard input does.
"""

import asyncio
import sys
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from nkfast.app.instance import Instance
from nkfast.app.loop import kill_on_signal, run
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.errors import HaltedError
from nkfast.trading.control import Control
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.heartbeat import Heart
from nkfast.trading.journal import Journal
from nkfast.trading.kill import KILL_SWITCH
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Strategy
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.wire.models import ApiCredentials

KEY, INSTANCE, SYMBOL = "guarded-key", "guarded", "BTC/USDT"
BEAT_S = 0.1
LIMITS = RiskLimits(
    max_order_notional=Decimal(10_000), max_position=Decimal(1000), max_daily_loss=Decimal(10_000)
)


class Resting(Strategy):
    """Rests two orders a side, far from the market, and leaves them there."""

    name = "resting"

    def __init__(self) -> None:
        self._wanted = Desired()

    def decide(self, view: MarketView) -> Desired:
        mid = view.mid
        if mid is not None and not self._wanted.quotes:
            tick = view.market.tick_size
            self._wanted = Desired(
                {
                    f"{side}-{percent}": Quote(
                        side,
                        (mid * (1 + sign * Decimal(percent) / 100)).quantize(tick),
                        Decimal("0.01"),
                    )
                    for side, sign in (("buy", -1), ("sell", 1))
                    for percent in (10, 11)
                }
            )
        return self._wanted

    def on_fill(self, fill: Fill) -> None:
        raise AssertionError(f"filled far from the market: {fill}")

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(rest_url: str, ws_url: str, state_dir: str, secret: str) -> int:
    credentials = ApiCredentials(KEY, secret)
    instance = Instance.named(INSTANCE, Path(state_dir))
    async with AsyncRestClient(credentials, base_url=rest_url, allow_changes=True) as rest:
        connect = partial(WebSocketClient, ws_url, credentials, allow_changes=True)
        with Journal.open(instance.journal, instance=INSTANCE) as journal:
            engine = Engine(
                venue=LiveVenue(rest=rest, websocket=connect, clock=RealClock()),
                clock=RealClock(),
                journal=journal,
                strategy=Resting(),
                symbol=SYMBOL,
                limits=LIMITS,
                mode="live",
                heart=Heart(instance.heartbeat, BEAT_S),
                settings=EngineSettings(kill_file=instance.kill_file, reconcile_interval_s=2),
            )
            stop = asyncio.Event()
            control = Control(instance.control, stop)
            control.watch()
            asyncio.get_running_loop().add_reader(0, stop.set)
            with kill_on_signal(lambda name: engine.halt(KILL_SWITCH, name)):
                try:
                    await engine.start()
                    control.steered = engine
                    tell("ready")
                    await engine.run(stop)
                except HaltedError as halt:
                    tell(f"halted: {halt}")
                finally:
                    report = await engine.stop(control.on_exit or "cancel")
                    control.finish(report, engine.error)
            return 0 if report.is_complete else 10


if __name__ == "__main__":
    sys.exit(run(main(*sys.argv[1:4], sys.stdin.readline().strip())))
