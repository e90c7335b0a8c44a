"""What looking for cycles costs: after the change of one market, and over all of them.

Markets as on this exchange: every coin against USDT, two in three against BTC too, one in three
against ETH, and the hubs among themselves. Prices are fair within the spread, so nothing pays:
this is what a scanner does nearly always. What an opportunity costs to size is measured apart.

An ordinary market is one that is not between two hubs; the update is of the market whose book
changed, and reads that book. The peers get rates that somebody has computed already.

Run:  pytest benchmarks/bench_cycles.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_cycles.py
"""

import random
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from interleaved import Comparison, report

pytest.importorskip("networkx")
pytest.importorskip("numba")

from peers.cycles import NetworkxSearch, NumpyScan, PythonIndex
from peers.numba_cycles import NumbaIndex

from nkfast.core.book import OrderBook
from nkfast.core.cycles import CycleScanner
from nkfast.core.market import Market

SEED = 20_260_101
FEE = 0.002


class World:
    """Markets, books and everything the peers need, all of the same prices."""

    def __init__(self, market_count: int, max_length: int = 3, mispriced: bool = False) -> None:
        rng = random.Random(SEED)
        values = {"USDT": 1.0, "BTC": 60_000.0, "ETH": 3_000.0}
        pairs = [("BTC", "USDT"), ("ETH", "USDT"), ("ETH", "BTC")]
        while len(pairs) < market_count:
            coin = f"C{len(values)}"
            values[coin] = 10 ** rng.uniform(-3, 3)
            pairs += [(coin, "USDT")]
            pairs += [(coin, "BTC")] * (rng.random() < 2 / 3)
            pairs += [(coin, "ETH")] * (rng.random() < 1 / 3)
        self.pairs = pairs[:market_count]
        self.markets = [
            Market(f"{base}/{quote}", price_decimals=12, quantity_decimals=4)
            for base, quote in self.pairs
        ]
        self.ordinary = next(
            i
            for i, (base, _) in enumerate(self.pairs)
            if i > 2 and sum(other == base for other, _ in self.pairs) == 2
        )
        self.books = [OrderBook(market) for market in self.markets]
        for i, (base, quote) in enumerate(self.pairs):
            middle = values[base] / values[quote] * 1e12
            if mispriced and i == self.ordinary:
                middle *= 1.05
            bids = [(int(middle * (1 - 0.001 * k)), 10**6) for k in range(1, 11)]
            asks = [(int(middle * (1 + 0.001 * k)) + 1, 10**6) for k in range(1, 11)]
            self.books[i].apply_snapshot(bids, asks, 1)
        self.max_length = max_length
        self.scanner = CycleScanner(self.markets, ["USDT"], max_length, books=self.books)

    def rates(self) -> np.ndarray:
        """Of every arc: 2 * market sells, 2 * market + 1 buys."""
        rates = np.empty(2 * len(self.markets))
        for i, book in enumerate(self.books):
            rates[2 * i] = book.best_bid[0] / 1e12 * (1 - FEE)
            rates[2 * i + 1] = 1e12 / book.best_ask[0] / (1 + FEE)
        return rates

    def cycles(self, length: int) -> np.ndarray:
        """Every directed cycle of so many markets through USDT, as arc numbers from there on."""
        arcs: dict[str, dict[str, int]] = {}
        for i, (base, quote) in enumerate(self.pairs):
            arcs.setdefault(base, {})[quote] = 2 * i
            arcs.setdefault(quote, {})[base] = 2 * i + 1
        paths = [((), ("USDT",))]
        for _ in range(length - 1):
            paths = [
                ((*taken, arc), (*assets, there))
                for taken, assets in paths
                for there, arc in arcs[assets[-1]].items()
                if there not in assets
            ]
        closed = [
            (*taken, arcs[assets[-1]]["USDT"])
            for taken, assets in paths
            if "USDT" in arcs[assets[-1]]
        ]
        return np.array(closed)

    def all_cycles(self) -> list[np.ndarray]:
        """Those of every length that the scanner looks at."""
        return [self.cycles(length) for length in range(3, self.max_length + 1)]

    def named(self, arc: int) -> tuple[str, str]:
        base, quote = self.pairs[arc // 2]
        return (base, quote) if arc % 2 == 0 else (quote, base)

    def python_update(self, index: int):
        rates = self.rates()
        peer = PythonIndex(
            [
                tuple(self.named(arc) for arc in arcs)
                for cycles in self.all_cycles()
                for arcs in cycles.tolist()
            ],
            {self.named(arc): rate for arc, rate in enumerate(rates.tolist())},
        )
        base, quote = self.pairs[index]
        return partial(peer.update, base, quote, *rates[2 * index : 2 * index + 2].tolist())

    def numba_update(self, index: int):
        rates = self.rates()
        peer = NumbaIndex(self.all_cycles(), rates)
        return partial(peer.update, index, *rates[2 * index : 2 * index + 2].tolist())

    def numpy_scan(self):
        return partial(NumpyScan(self.cycles(3)).scan, self.rates())

    def networkx_scan(self):
        rates = {self.named(arc): rate for arc, rate in enumerate(self.rates().tolist())}
        return NetworkxSearch(rates).scan


@pytest.mark.parametrize("market_count", [100, 1000, 4000])
@pytest.mark.parametrize("max_length", [3, 4])
def test_update_of_an_ordinary_market(benchmark, market_count, max_length):
    world = World(market_count, max_length)
    assert benchmark(world.scanner.update, world.ordinary) is None


@pytest.mark.parametrize("market_count", [100, 1000, 4000])
def test_update_of_the_busiest_market(benchmark, market_count):
    world = World(market_count)
    assert benchmark(world.scanner.update, 0) is None


@pytest.mark.parametrize("refresh", [True, False])
@pytest.mark.parametrize("market_count", [100, 1000, 4000])
def test_scan(benchmark, market_count, refresh):
    world = World(market_count)
    assert benchmark(world.scanner.scan, refresh=refresh) == []


def test_sizing_of_an_opportunity(benchmark):
    world = World(1000, mispriced=True)
    assert benchmark(world.scanner.update, world.ordinary) is not None


@pytest.mark.parametrize("max_length", [3, 4])
def test_peers_look_at_the_same_cycles(max_length):
    world = World(1000, max_length)
    assert sum(map(len, world.all_cycles())) == world.scanner.cycle_count
    market, (base, quote) = world.ordinary, world.pairs[world.ordinary]
    sell, buy = world.rates()[2 * market : 2 * market + 2].tolist()
    python = world.python_update(market).func
    numba = world.numba_update(market).func
    assert python(base, quote, sell, buy) is None and numba(market, sell, buy)[0] == -1
    assert python(base, quote, 2 * sell, buy)[0] == pytest.approx(numba(market, 2 * sell, buy)[1])
    assert python(base, quote, sell, 3 * buy)[0] == pytest.approx(numba(market, sell, 3 * buy)[1])


def comparisons() -> Iterator[Comparison]:
    for market_count, max_length in ((1000, 3), (1000, 4), (3000, 3)):
        world = World(market_count, max_length)
        kind = "3-cycles" if max_length == 3 else "3- and 4-cycles"
        for name, market in (("an ordinary market", world.ordinary), ("the busiest market", 0)):
            calls = {
                "nkfast": partial(world.scanner.update, market),
                "Python, prepared index": world.python_update(market),
                "numba, prepared index": world.numba_update(market),
            }
            goals, limits = {}, {}
            if market_count == 1000 and market:
                goals = {"Python, prepared index": 4, "numba, prepared index": 2.2}
                limits = {"nkfast": 300.0}
            yield Comparison(
                f"update of {name}, {market_count} markets, {kind}",
                calls,
                goals,
                unit="update",
                limits_ns=limits,
                note=f"{world.scanner.cycle_count:,} cycles in all. nkfast reads the book; the"
                " peers are given rates and look at nothing else.",
            )
    world = World(1000)
    yield Comparison(
        "scan of 1000 markets for 3-cycles, rates known",
        {
            "nkfast": partial(world.scanner.scan, refresh=False),
            "nkfast, reading every book": world.scanner.scan,
            "numpy": world.numpy_scan(),
            "networkx": world.networkx_scan(),
        },
        {"numpy": 4, "networkx": 10_000},
        unit="scan",
    )
    yield Comparison(
        "update as the number of markets grows",
        {
            f"nkfast, {count} markets": partial(other.scanner.update, other.ordinary)
            for count, other in ((count, World(count)) for count in (4000, 1000, 100))
        },
        {"nkfast, 100 markets": 0.5},
        unit="update",
        note="The goal is at most twice the time of 100 markets.",
    )
    world = World(1000, mispriced=True)
    yield Comparison(
        "update that finds an opportunity and sizes it through the depth, 1000 markets",
        {"nkfast": partial(world.scanner.update, world.ordinary)},
        unit="update",
    )


if __name__ == "__main__":
    report(comparisons())
