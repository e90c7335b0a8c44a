"""Leaks: a long day of a few bots in minutes, with connections that break, and what stays behind.

A simulated exchange of its own process trades the markets quickly and resets connections in the
middle of frames; grids with small steps trade on them until frames, orders and reconnects have
reached their numbers. The process's memory, open files and tasks are read all along: what they are
in the last quarter is compared with the second.

Run:  python -P benchmarks/soak.py [--frames 1000000] [--orders 10000] [--reconnects 100]
      Exit 1 when memory grew by more than 2 % or 2 MB, whichever is more, or files or tasks by one.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvloop
from fleet import CREDENTIALS, exchange_process, grid_engine, rest_client, rows, rss_mb

from nkfast.client import kept_socket
from nkfast.client.websocket import WebSocketClient
from nkfast.trading.journal import verify
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.shared import SharedVenue

GRID = {"step_pct": "0.0045", "fee_buffer_pct": "0", "base_order_size": "0.5"}
SAMPLES_MIN = 40


class Sample(NamedTuple):
    """The process at one moment."""

    frames: int
    memory_mb: float
    files: int
    tasks: int


def sample(frames: int) -> Sample:
    gc.collect()
    return Sample(frames, rss_mb(), len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()))


def growth(samples: list[Sample], name: str) -> tuple[float, float]:
    """Return the median of the second and of the last quarter."""
    quarter = len(samples) // 4
    values = [float(getattr(one, name)) for one in samples]
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])


async def main(goal: argparse.Namespace) -> dict[str, object]:
    # Minutes stand for a day: what holds for a second is not a failure in a row.
    kept_socket.STABLE_SECONDS = 1.0
    clock = RealClock()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        exchange = stack.enter_context(
            exchange_process(goal.bots, goal.speed, goal.tick, goal.reconnects / goal.frames * 1.2)
        )
        symbols = [str(row["symbol"]) for row in rows(goal.bots)]
        async with rest_client(exchange) as rest:
            socket = partial(WebSocketClient, exchange["ws_url"], CREDENTIALS, allow_changes=True)
            venue = partial(LiveVenue, rest=rest, websocket=socket, clock=clock)
            shared = SharedVenue(venue, symbols)
            engines = [
                await grid_engine(shared.seat(), rest, clock, symbol, GRID, stack, folder)
                for symbol in symbols
            ]
            await asyncio.gather(*(engine.start() for engine in engines))
            stop = asyncio.Event()
            running = [asyncio.ensure_future(engine.run(stop)) for engine in engines]
            began, samples, orders = time.monotonic(), [sample(0)], 0
            step = goal.frames // SAMPLES_MIN
            try:
                while time.monotonic() < began + goal.seconds:
                    done, _ = await asyncio.wait(running, timeout=1)
                    assert not done, [task.exception() for task in done]
                    counters = shared.venue.counters
                    frames = counters["connection_frames"]
                    reconnects = counters["connection_connections"] - 1
                    orders = sum(engine.summary().orders for engine in engines)
                    if frames >= samples[-1].frames + step:
                        samples.append(sample(frames))
                        memory = f"{samples[-1].memory_mb:.1f} MB"
                        told = f"{frames} frames, {orders} orders, {reconnects} reconnects"
                        print(f"{told}, {memory}", file=sys.stderr)
                    has_all = frames >= goal.frames and orders >= goal.orders
                    if has_all and reconnects >= goal.reconnects:
                        break
            finally:
                stop.set()
                await asyncio.gather(*running, return_exceptions=True)
                await asyncio.gather(*(engine.stop("cancel") for engine in engines))
        reports = [verify(path) for path in sorted(folder.glob("*.db"))]
    return {
        "seconds": round(time.monotonic() - began, 1),
        "frames": frames,
        "orders": sum(report.orders for report in reports),
        "fills": sum(report.fills for report in reports),
        "reconnects": reconnects,
        "journals_verified": all(report.ok for report in reports),
        "samples": len(samples),
        "second_and_last_quarter": {
            what: growth(samples, what) for what in ("memory_mb", "files", "tasks")
        },
    }


def is_flat(outcome: dict[str, object]) -> bool:
    quarters = outcome["second_and_last_quarter"]
    assert isinstance(quarters, dict)
    before, after = quarters["memory_mb"]
    return after - before <= max(0.02 * before, 2) and all(
        quarters[what][1] <= quarters[what][0] + 1 for what in ("files", "tasks")
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--reconnects", type=int, default=100)
    parser.add_argument("--bots", type=int, default=3)
    parser.add_argument("--speed", type=float, default=600)
    parser.add_argument("--tick", type=float, default=0.001, help="seconds between its actions")
    parser.add_argument("--seconds", type=float, default=3600, help="give up after")
    outcome = uvloop.run(main(parser.parse_args()))
    print(json.dumps(outcome, indent=2))
    sys.exit(0 if outcome["journals_verified"] and is_flat(outcome) else 1)
