"""What a number costs: text to ticks and back, rounded products, and the way to Decimal.

The peers do the same exact work with `decimal`, as clients do. A price of 10 characters at 8
decimals, a quantity of 8 characters at 6; one context, made beforehand, where a context is needed.

Run:  pytest benchmarks/bench_fixed.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_fixed.py
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import partial

import pytest
from interleaved import Comparison, report

from nkfast.core import fixed
from nkfast.core.market import Market

PRICE_TEXT = "0.00012345"
PRICE = Decimal(PRICE_TEXT)
TICKS = 12345
LOTS = 1_500_000
CONTEXT = Context(prec=40)
EIGHT_PLACES = Decimal("0.00000001")
market = Market("ADM/USDT", 8, 6)

#: Each of ours, and what one would write without it.
PAIRS = {
    "fixed.parse": (
        partial(fixed.parse, PRICE_TEXT, 8),
        lambda: int(Decimal(PRICE_TEXT).scaleb(8, CONTEXT)),
    ),
    "fixed.format": (
        partial(fixed.format, TICKS, 8),
        lambda: f"{Decimal(TICKS).scaleb(-8, CONTEXT):f}",
    ),
    "fixed.multiply": (
        partial(fixed.multiply, TICKS, LOTS, 6, "half_even"),
        lambda: int(
            Decimal(TICKS * LOTS).scaleb(-6, CONTEXT).to_integral_value(ROUND_HALF_EVEN, CONTEXT)
        ),
    ),
    "fixed.rescale": (
        partial(fixed.rescale, LOTS, 6, 2, "floor"),
        lambda: LOTS // 10**4,
    ),
    "Market.price_to_ticks": (
        partial(market.price_to_ticks, PRICE),
        lambda: int(PRICE.scaleb(8, CONTEXT)),
    ),
    "Market.ticks_to_price": (
        partial(market.ticks_to_price, TICKS),
        lambda: Decimal(TICKS).scaleb(-8, CONTEXT),
    ),
    "Market.round_price": (
        partial(market.round_price, PRICE, "floor"),
        lambda: PRICE.quantize(EIGHT_PLACES, "ROUND_FLOOR", CONTEXT),
    ),
    "Market.notional": (
        partial(market.notional, TICKS, LOTS),
        lambda: Decimal(TICKS).scaleb(-8, CONTEXT) * Decimal(LOTS).scaleb(-6, CONTEXT),
    ),
}
ALL = {
    name: call
    for ours, (call, peer) in PAIRS.items()
    for name, call in ((ours, call), (f"{ours}, decimal", peer))
}


@pytest.mark.parametrize("name", ALL)
def test_number(benchmark, name):
    benchmark(ALL[name])


@pytest.mark.parametrize("name", PAIRS)
def test_peers_agree(name):
    ours, peer = PAIRS[name]
    assert ours() == peer()


def comparisons() -> Iterator[Comparison]:
    for name, (ours, peer) in PAIRS.items():
        yield Comparison(name, {name: ours, "decimal": peer})


if __name__ == "__main__":
    report(comparisons())
