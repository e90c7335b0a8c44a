"""Fifty bots in one process on fifty markets: memory, and how long an event waits for its bot.

A simulated exchange of its own process trades the markets; the bots are grids, each with its own
engine and journal, and share one connection. Measured is, for every change of a book that a bot is
told of, the time from the arrival of its frame to the bot, and at the end the process's memory.

Run:  python -P benchmarks/fleet.py [--seconds 20] [--speed 60] [--bots 50] [--tick 0.005]
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path

import uvloop

from nkfast.app.garbage import spare_what_stays
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.nonces import KeyNonces
from nkfast.client.throttle import Throttle
from nkfast.client.websocket import WebSocketClient
from nkfast.core.market import Market
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.exchange.weather import Rule
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.engine import Engine
from nkfast.trading.journal import Journal, verify
from nkfast.trading.risk import RiskLimits
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.port import Venue
from nkfast.venue.shared import SharedVenue
from nkfast.wire.models import ApiCredentials

CREDENTIALS = ApiCredentials("fleet", "s" * 40)


def rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "symbol": f"C{number:02}/USDT",
            "primaryTicker": f"C{number:02}",
            "lastPrice": f"{10 + number}.0000",
            "priceDecimals": 4,
            "quantityDecimals": 4,
            "minimumQuantity": "0.001",
            "isActive": True,
            "allowMarketOrders": True,
        }
        for number in range(count)
    ]


async def serve_exchange(bots: int, speed: float, tick_s: float, resets: float) -> None:
    """Serve until standard input ends, as it does with the process that started this one."""
    settings = ExchangeSettings(
        seed=7,
        key=CREDENTIALS.api_key,
        secret=CREDENTIALS.api_secret,
        markets=rows(bots),
        speed=speed,
        tick_interval_s=tick_s,
        weather=(Rule("reset", on="book", probability=resets),) if resets else (),
    )
    async with serve(settings) as server:
        print(json.dumps({"rest_url": server.rest_url, "ws_url": server.ws_url}), flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(0, ended.set)
        await ended.wait()


@contextmanager
def exchange_process(
    bots: int, speed: float, tick_s: float, resets: float = 0
) -> Iterator[dict[str, str]]:
    """Run the exchange; `resets` is the chance of each frame to end its connection half way."""
    words = ["--serve", "--bots", str(bots), "--speed", str(speed), "--tick", str(tick_s)]
    words += ["--resets", str(resets)]
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, *words],  # this file, also when another imports it
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


class Watched(SharedVenue):
    """A shared venue that notes how long news of a book was on its way, and what its bot took."""

    def __init__(self, make: Callable[[], LiveVenue], symbols: list[str]) -> None:
        super().__init__(make, symbols)
        self.waits_ns: list[int] = []
        self.works_ns: list[int] = []

    def on_book(self, symbol: str, received_ns: int) -> None:
        began = time.perf_counter_ns()
        self.waits_ns.append(began - received_ns)
        super().on_book(symbol, received_ns)
        self.works_ns.append(time.perf_counter_ns() - began)


def rest_client(exchange: dict[str, str]) -> AsyncRestClient:
    """Return a client of the exchange that leaves no nonces behind."""
    return AsyncRestClient(
        CREDENTIALS,
        base_url=exchange["rest_url"],
        allow_changes=True,
        throttle=Throttle({}),
        nonces=KeyNonces(CREDENTIALS.api_key, is_shared=False),
    )


async def grid_engine(
    venue: Venue,
    rest: AsyncRestClient,
    clock: RealClock,
    symbol: str,
    settings: dict[str, str],
    stack: ExitStack,
    folder: Path,
) -> Engine:
    """Make one bot, its journal in a folder and open until the stack unwinds."""
    market = Market.from_wire((await rest.get_market(symbol=symbol)).raw)
    name = symbol.partition("/")[0].lower()
    journal = stack.enter_context(Journal.open(folder / f"{name}.db", instance=name))
    return Engine(
        venue=venue,
        clock=clock,
        journal=journal,
        strategy=Grid(GridSettings.read(settings), market),
        symbol=symbol,
        limits=RiskLimits(max_order_notional=Decimal(1000)),
        mode="paper",
    )


def rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def quantile(values: list[int], fraction: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] / 1e6


async def main(bots: int, speed: float, tick_s: float, seconds: float) -> dict[str, object]:
    clock = RealClock()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        exchange = stack.enter_context(exchange_process(bots, speed, tick_s))
        symbols = [str(row["symbol"]) for row in rows(bots)]
        async with rest_client(exchange) as rest:
            socket = partial(WebSocketClient, exchange["ws_url"], CREDENTIALS, allow_changes=True)
            venue = LiveVenue(rest=rest, websocket=socket, clock=clock)
            shared = Watched(lambda: venue, symbols)
            settings = {"step_pct": "0.0065", "base_order_size": "0.5"}
            engines = [
                await grid_engine(shared.seat(), rest, clock, symbol, settings, stack, folder)
                for symbol in symbols
            ]
            await asyncio.gather(*(engine.start() for engine in engines))
            spare_what_stays()
            stop = asyncio.Event()
            running = [asyncio.ensure_future(engine.run(stop)) for engine in engines]
            shared.waits_ns.clear()
            shared.works_ns.clear()
            frames, began = venue.counters["connection_frames"], time.monotonic()
            processor = time.process_time()
            done, _ = await asyncio.wait(running, timeout=seconds)
            elapsed = time.monotonic() - began
            frames = venue.counters["connection_frames"] - frames
            processor = time.process_time() - processor
            memory = rss_mb()
            halted = [task.exception() for task in done]
            waits_of_run, works_of_run = list(shared.waits_ns), list(shared.works_ns)
            stop.set()
            await asyncio.gather(*running, return_exceptions=True)
            await asyncio.gather(*(engine.stop("cancel") for engine in engines))
        reports = [verify(path) for path in sorted(folder.glob("*.db"))]
        return {
            "bots": bots,
            "seconds": round(elapsed, 1),
            "frames_per_s": round(frames / elapsed),
            "processor_share": round(processor / elapsed, 2),
            "orders": sum(report.orders for report in reports),
            "fills": sum(report.fills for report in reports),
            "journals_verified": all(report.ok for report in reports),
            "halted": [str(error) for error in halted],
            "memory_mb": round(memory, 1),
            "events": len(waits_of_run),
            "wait_ms": {str(q): round(quantile(waits_of_run, q), 3) for q in (0.5, 0.99, 0.999)},
            "work_ms": {str(q): round(quantile(works_of_run, q), 3) for q in (0.5, 0.99, 0.999)},
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--speed", type=float, default=60)
    parser.add_argument("--bots", type=int, default=50)
    parser.add_argument("--tick", type=float, default=0.005, help="seconds between its actions")
    parser.add_argument("--resets", type=float, default=0, help="of a frame, with --serve")
    parser.add_argument("--serve", action="store_true", help="be the exchange")
    chosen = parser.parse_args()
    if chosen.serve:
        uvloop.run(serve_exchange(chosen.bots, chosen.speed, chosen.tick, chosen.resets))
    else:
        outcome = uvloop.run(main(chosen.bots, chosen.speed, chosen.tick, chosen.seconds))
        print(json.dumps(outcome, indent=2))
