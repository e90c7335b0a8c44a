"""What a grid of a thousand levels costs, with the quantity of each.

500 buys and 500 sells around 64213.455 at steps of 0.01 %, ticks of 0.01, lots of 0.000001. The
peers are Decimal, which is exact, and numpy in float64, which is not: how many of its levels are
wrong is shown too.

Run:  pytest benchmarks/bench_grid.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_grid.py
"""

from decimal import Decimal
from functools import partial

import numpy as np
import pytest
from interleaved import Comparison, report
from peers.grid import decimal_levels, numpy_levels

from nkfast.core.grid import grid_levels
from nkfast.core.market import Market

MID = Decimal("64213.455")
STEP = Decimal("0.0001")
COUNT = 500
BASE = Decimal("0.001")
MIN_NOTIONAL = Decimal("1.05")
BUFFER = Decimal("0.002")
market = Market("BTC/USDT", price_decimals=2, quantity_decimals=6)

peer_values = (MID, STEP, COUNT, market.tick_size, market.lot_size, BASE, MIN_NOTIONAL, BUFFER)
float_values = [value if isinstance(value, int) else float(value) for value in peer_values]


def ours(step_mode="arithmetic_pct", step=STEP, base=BASE):
    return partial(
        grid_levels,
        market,
        MID,
        step=step,
        step_mode=step_mode,
        n_buy=COUNT,
        n_sell=COUNT,
        base_quantity=base,
        min_notional=MIN_NOTIONAL,
        fee_buffer=BUFFER,
    )


CALLS = {
    "grid_levels": ours(),
    "grid_levels, every quantity from the minimum": ours(base=Decimal(0)),
    "grid_levels, absolute": ours("absolute", Decimal("6.4213455")),
    "grid_levels, geometric": ours("geometric"),
    "decimal": partial(decimal_levels, *peer_values),
    "numpy float64": partial(numpy_levels, *float_values),
}
OURS = [name for name in CALLS if name.startswith("grid_levels")]


@pytest.mark.parametrize("name", CALLS)
def test_thousand_levels(benchmark, name):
    benchmark(CALLS[name])
    if benchmark.enabled:
        benchmark.extra_info["ns_per_level"] = benchmark.stats["min"] / (2 * COUNT) * 1e9


def test_decimal_agrees():
    tick, lot = market.tick_size, market.lot_size
    expected = [(side, int(p / tick), int(q / lot)) for side, p, q in CALLS["decimal"]()]
    assert CALLS["grid_levels"]().tolist() == expected


def wrong_levels(mid, step):
    """Levels of numpy's grid that are not the exact ones."""
    levels = grid_levels(
        market, mid, step=step, n_buy=COUNT, n_sell=COUNT, base_quantity=BASE, fee_buffer=BUFFER
    )
    values = [mid, step, COUNT, market.tick_size, market.lot_size, BASE, MIN_NOTIONAL, BUFFER]
    ticks, _ = numpy_levels(*[v if isinstance(v, int) else float(v) for v in values])
    return int(np.count_nonzero(ticks != levels["price_ticks"]))


def comparisons():
    wrong = [(at, wrong_levels(at, STEP)) for at in (MID, Decimal(20000))]
    yield Comparison(
        "grid_levels, 1000 levels",
        {
            **{name if name == "grid_levels" else f"nkfast, {name}": CALLS[name] for name in OURS},
            **{name: CALLS[name] for name in CALLS if name not in OURS},
        },
        {"decimal": 2000, "numpy float64": 15},
        unit="grid",
        note="Of numpy's 1000 levels are wrong "
        + ", ".join(f"{count} around {at}" for at, count in wrong)
        + f", at steps of {STEP}; nkfast's and decimal's are exact.",
    )


if __name__ == "__main__":
    report(comparisons())
