"""What an arbitrage costs at a frame: its decision, beside the scanner's own part of it.

500 markets: every coin against USDT, and against a hub. Prices are fair within the spread, so that
nothing pays, as it is nearly always.

Run:  pytest benchmarks/bench_arbitrage.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_arbitrage.py
"""

import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import cycle

import pytest
from interleaved import Comparison, report

from nkfast.core.book import OrderBook
from nkfast.core.cycles import CycleScanner
from nkfast.core.market import Market
from nkfast.strategies.arbitrage import Arbitrage, ArbitrageSettings
from nkfast.trading.strategy import MarketView

SEED = 20_261_125
MARKETS = 500
FUNDS = {"USDT": Decimal(1_000)}


class Floor:
    """Markets with fair prices, the strategy, and a scanner that is asked the same."""

    def __init__(self, max_length: int) -> None:
        rng = random.Random(SEED)
        worth = {"USDT": 1.0, "BTC": 60_000.0, "ETH": 3_000.0, "LTC": 80.0}
        pairs = [("BTC", "USDT"), ("ETH", "USDT"), ("LTC", "USDT"), ("ETH", "BTC"), ("LTC", "BTC")]
        while len(pairs) < MARKETS:
            coin = f"C{len(worth)}"
            worth[coin] = rng.uniform(0.5, 50)
            pairs += [(coin, "USDT"), (coin, rng.choice(["BTC", "ETH", "LTC"]))]
        markets = [Market(f"{base}/{quote}", 10, 4) for base, quote in pairs[:MARKETS]]
        self.books = {market.symbol: OrderBook(market) for market in markets}
        for market in markets:
            ticks = int(worth[market.base] / worth[market.quote] * 10**10)
            sides = [[(int(ticks * away), 10**6)] for away in (0.997, 1.003)]
            self.books[market.symbol].apply_snapshot(*sides, 1, now_ns=1)
        self.markets = {market.symbol: market for market in markets}
        settings = ArbitrageSettings.read({"trade_amount": 100, "max_length": max_length})
        self.arbitrage = Arbitrage.build(settings, self.markets)
        self.scanner = CycleScanner(
            markets,
            ["USDT"],
            max_length,
            books=list(self.books.values()),
            threshold=Decimal("0.002"),
        )
        self.arbitrage.decide(self.view(*self.markets))
        touched = [
            rng.randrange(MARKETS) if rng.random() < 0.7 else rng.randrange(5) for _ in "x" * 999
        ]
        self.touched = cycle(touched)
        self.views = cycle([self.view(markets[index].symbol) for index in touched])

    def view(self, *changed: str) -> MarketView:
        home = next(iter(self.markets))
        return MarketView(
            self.markets[home],
            self.books[home],
            {},
            FUNDS,
            FUNDS,
            1,
            self.markets,
            self.books,
            changed,
        )

    def decide(self) -> Callable[[], object]:
        decide, views = self.arbitrage.decide, self.views
        return lambda: decide(next(views))

    def scan(self) -> Callable[[], object]:
        update, touched = self.scanner.update, self.touched
        return lambda: update(next(touched))


@pytest.mark.parametrize("max_length", [3, 4])
def test_decide(benchmark, max_length: int) -> None:
    floor = Floor(max_length)
    benchmark(floor.decide())
    benchmark.extra_info["cycles"] = floor.arbitrage.cycle_count


def comparisons() -> Iterator[Comparison]:
    for max_length in (3, 4):
        floor = Floor(max_length)
        yield Comparison(
            f"arbitrage: a decision after one of {MARKETS} markets changed,"
            f" {floor.arbitrage.cycle_count:,} cycles",
            {"nkfast decide": floor.decide(), "nkfast scanner alone": floor.scan()},
            unit="frame",
            limits_ns={"nkfast decide": 5_000},
        )


if __name__ == "__main__":
    report(comparisons())
