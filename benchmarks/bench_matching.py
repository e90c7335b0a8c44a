"""What an order costs in the matching engine, called from Python and in the kernel.

Of 100 calls 45 are new limit orders within 50 ticks of the touch, 45 cancel one of the newest
thousand orders, 10 are market orders. The book starts with so many orders, spread over as many
ticks. The peer is the usual Python book, sorted prices with a queue at each (sortedcontainers).

Run:  pytest benchmarks/bench_matching.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_matching.py
The kernel alone:
    cc -O3 -Icsrc tests/csrc/test_nk_match.c csrc/nk_match.c -o match && ./match 2000000
"""

import random
from collections import deque
from collections.abc import Iterator
from itertools import cycle

import pytest
from interleaved import Comparison, report

pytest.importorskip("sortedcontainers")

from peers.matching import SortedQueues

from nkfast.core.market import Market
from nkfast.core.matching import MatchingEngine

SEED = 20_260_101
MIDDLE = 10_000_000
market = Market("BTC/USDT", price_decimals=2, quantity_decimals=6)


def filled(engine, resting):
    rng = random.Random(SEED)
    for order_id in range(resting):
        side = "buy" if order_id % 2 else "sell"
        offset = rng.randint(1, resting)
        engine.submit(order_id, side, 100, MIDDLE + (offset if side == "sell" else -offset))
    return engine


class Flow:
    """An endless flow of calls, the same for every engine; one call of it is one order."""

    def __init__(self, engine, resting):
        self.engine = filled(engine, resting)
        self.next_id = resting
        self.recent = []
        self.rng = random.Random(SEED)

    def plan(self, count):
        """Calls to time, as (method, arguments); cancels are of orders that rest for sure."""
        calls = []
        rng = self.rng
        for _ in range(count):
            what = rng.random()
            side = rng.choice(("buy", "sell"))
            if what < 0.45:
                offset = rng.randint(1, 50) * (1 if side == "sell" else -1)
                calls.append((self.engine.submit, (self.next_id, side, 7, MIDDLE + offset)))
                self.recent.append(self.next_id)
                self.next_id += 1
            elif what < 0.9 and self.recent:
                i = rng.randrange(max(0, len(self.recent) - 1000), len(self.recent))
                calls.append((self.cancel, (self.recent.pop(i),)))
            else:
                calls.append((self.engine.submit, (self.next_id, side, 5)))
                self.next_id += 1
        return calls

    def cancel(self, order_id):
        try:
            self.engine.cancel(order_id)
        except KeyError:
            pass  # filled in the meantime


def run(calls):
    for call, arguments in calls:
        call(*arguments)


@pytest.mark.parametrize("resting", [1_000, 100_000, 1_000_000])
def test_flow(benchmark, resting):
    flow = Flow(MatchingEngine(market), resting)
    benchmark.pedantic(run, setup=lambda: ((flow.plan(10_000),), {}), rounds=20)
    if benchmark.enabled:
        benchmark.extra_info["ns_per_order"] = benchmark.stats["min"] / 10_000 * 1e9


def test_peer_matches_the_same():
    ours, peer = Flow(MatchingEngine(market), 1000), Flow(SortedQueues(), 1000)
    for (call, arguments), (other, _) in zip(ours.plan(5000), peer.plan(5000), strict=True):
        assert call(*arguments) == other(*arguments)


class Steady:
    """A book that stays as it is: every call brings an order, takes an old one away, lets one
    trade at the market and puts back what that took."""

    def __init__(self, engine, resting):
        self.engine = filled(engine, resting)
        self.next_id = resting
        self.own = deque()
        self.offsets = cycle(random.Random(SEED).choices(range(1, 51), k=997))
        for _ in range(100):
            self.bring()

    def bring(self):
        self.own.append(self.next_id)
        self.engine.submit(self.next_id, "buy", 7, MIDDLE - 50 - next(self.offsets))
        self.next_id += 1

    def __call__(self):
        self.bring()
        self.engine.cancel(self.own.popleft())
        for _, _, ticks, lots, *_ in self.engine.submit(self.next_id, "buy", 5):
            self.next_id += 1
            self.engine.submit(self.next_id, "sell", lots, ticks)
        self.next_id += 1


def comparisons() -> Iterator[Comparison]:
    for resting in (1_000, 100_000):
        yield Comparison(
            f"orders into a book of {resting:,}",
            {
                "MatchingEngine": Steady(MatchingEngine(market), resting),
                "sortedcontainers": Steady(SortedQueues(), resting),
            },
            unit="order",
            units={"MatchingEngine": 4, "sortedcontainers": 4},
            limits_ns={"MatchingEngine": 1000},
            note="Of four, one rests, one is cancelled, one trades at the market and one rests"
            " again; the loop of the benchmark is in the time of both.",
        )
    engine = filled(MatchingEngine(market), 1_000_000)
    yield Comparison(
        "reading a book of 1,000,000 orders",
        {
            "MatchingEngine.best_bid": lambda: engine.best_bid,
            "nkfast, depth(20)": lambda: engine.depth(20),
            "nkfast, cost_to_fill of 1000 lots": lambda: engine.cost_to_fill("buy", 1000),
        },
    )


if __name__ == "__main__":
    report(comparisons())
