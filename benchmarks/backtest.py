"""How fast a backtest goes: a grid of 20 levels over a made hour of a busy market.

Nineteen frames in twenty change the book near its best prices, the others are trades; every 2,000
frames the whole book moves by up to 90 dollars, so that orders fill. What is timed is the command's
own work, the survey of the file included.

Run:  python benchmarks/backtest.py --frames 1000000
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from nkfast.app.backtest import backtest
from nkfast.app.config.bot import load_config
from nkfast.venue.tape import TapeWriter

SEED = 5
SYMBOL = "BTC/USDT"
START_NS = 1_700_000_000_000_000_000
HOUR_NS = 3_600 * 10**9
LEVELS = 200
CONFIG = """
strategy = "grid"
symbol = "BTC/USDT"
step_pct = "0.005"
n_buy_levels = 10
n_sell_levels = 10
base_order_size = "0.01"
fee_buffer_pct = "0"
[paper]
funds = {BTC = 1, USDT = 100000}
"""


class BusyMarket:
    """A book that changes near its best prices; makes one frame at a time."""

    def __init__(self) -> None:
        self.chance = random.Random(SEED)
        self.sequence = self.trade = 0
        self.bids = {6_399_995 - 7 * n: self.lots() for n in range(LEVELS)}
        self.asks = {6_400_005 + 7 * n: self.lots() for n in range(LEVELS)}

    def lots(self) -> int:
        return self.chance.randint(1_000, 1_000_000)

    def book_frame(self, method: str, bids: dict[int, int], asks: dict[int, int]) -> bytes:
        self.sequence += 1
        sides = {"bids": _levels(bids), "asks": _levels(asks)}
        return _frame(method, sequence=self.sequence, **sides)

    def snapshot(self) -> bytes:
        return self.book_frame("snapshotOrderbook", self.bids, self.asks)

    def jump(self) -> bytes:
        """Move every level; what was there before is gone."""
        by = self.chance.choice((-1, 1)) * self.chance.randint(200, 9_000)
        bids = {price + by: lots for price, lots in self.bids.items()}
        asks = {price + by: lots for price, lots in self.asks.items()}
        gone_bids, gone_asks = dict.fromkeys(self.bids, 0), dict.fromkeys(self.asks, 0)
        self.bids, self.asks = bids, asks
        return self.book_frame("updateOrderbook", gone_bids | bids, gone_asks | asks)

    def change(self) -> bytes:
        chance, changed = self.chance, ({}, {})
        for _ in range(1 if chance.random() < 0.8 else chance.randint(2, 4)):
            bid, ask = max(self.bids), min(self.asks)
            if chance.random() < 0.5:
                side, news, price = self.bids, changed[0], bid - chance.randint(0, 60)
                if chance.random() < 0.05:
                    price = min(ask - 1, bid + chance.randint(1, 20))
            else:
                side, news, price = self.asks, changed[1], ask + chance.randint(0, 60)
                if chance.random() < 0.05:
                    price = max(bid + 1, ask - chance.randint(1, 20))
            if price in side and len(side) > 50 and chance.random() < 0.5:
                del side[price]
                news[price] = 0
            else:
                side[price] = news[price] = self.lots()
        return self.book_frame("updateOrderbook", *changed)

    def trades(self, time_ms: int) -> bytes:
        self.trade += 1
        side = self.chance.choice(("buy", "sell"))
        price = min(self.asks) if side == "buy" else max(self.bids)
        row = {
            "id": str(self.trade),
            "price": f"{price / 100:.2f}",
            "quantity": f"{self.chance.randint(100, 50_000) / 1e6:.6f}",
            "side": side,
            "timestampms": time_ms,
        }
        return _frame("updateTrades", sequence=str(self.trade), data=[row])


def _levels(side: dict[int, int]) -> list[dict[str, str]]:
    return [{"price": f"{p / 100:.2f}", "quantity": f"{q / 1e6:.6f}"} for p, q in side.items()]


def _frame(method: str, **params: object) -> bytes:
    content = {"jsonrpc": "2.0", "method": method, "params": {"symbol": SYMBOL, **params}}
    return json.dumps(content, separators=(",", ":")).encode()


def record(path: Path, frames: int) -> None:
    """Record an hour of it."""
    market, now_ns = BusyMarket(), START_NS
    with TapeWriter(path) as tape:
        tape.write(now_ns, market.snapshot())
        for number in range(1, frames):
            now_ns += market.chance.randint(1, 2 * HOUR_NS // frames)
            if number % 2_000 == 0:
                frame = market.jump()
            elif market.chance.random() < 0.05:
                frame = market.trades(now_ns // 10**6)
            else:
                frame = market.change()
            tape.write(now_ns, frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200_000)
    frames = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder) / "busy.tsv", Path(folder) / "grid.toml"
        config.write_text(CONFIG)
        record(path, frames)
        test = backtest(load_config(config, environment={}), [path])
    engine = test.result.engine
    sys.stdout.write(
        f"{test.frame_count:,} frames in {test.wall_s:.1f} s: {test.frame_count / test.wall_s:,.0f}"
        f" a second, {engine.orders} orders, {engine.fills} fills\n"
    )


if __name__ == "__main__":
    main()
