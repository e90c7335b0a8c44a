"""What a grid says that a round trip earns is what the ledger realizes, to the last digit."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from strategies.floor import Floor

from nkfast.core.market import Market
from nkfast.strategies.grid import GridSettings
from nkfast.strategies.round_trip import grid_profit
from nkfast.trading.exact import EXACT
from nkfast.trading.ledger import Profit
from nkfast.trading.strategy import Fill
from nkfast.venue.port import Execution

D = Decimal
FEE = D("0.00137")


def as_execution(fill: Fill) -> Execution:
    notional = EXACT.multiply(fill.price, fill.quantity)
    return Execution(
        fill.trade_id,
        fill.slot,
        None,
        fill.symbol,
        fill.side,
        fill.price,
        fill.quantity,
        EXACT.multiply(notional, FEE),
        "USDT",
        True,
        0,
    )


def round_trips(fills: list[Fill]) -> Decimal:
    """Add up what each cell earned, pairing its own buys and sells; every cell must be flat."""
    grids: dict[int, Decimal] = {}
    flat: dict[int, Decimal] = {}
    for fill in fills:
        level = int(fill.slot.removeprefix("level"))
        cell, sign = (level, 1) if fill.side == "buy" else (level - 1, -1)
        flat[cell] = flat.get(cell, D(0)) + sign * fill.quantity
        # Half a round trip each: what a sale brings, what a purchase takes.
        buy = fill.price if fill.side == "buy" else D(0)
        sell = fill.price if fill.side == "sell" else D(0)
        earned = grid_profit(buy, sell, fill.quantity, FEE)
        grids[cell] = EXACT.add(grids.get(cell, D(0)), earned)
    assert set(flat.values()) <= {D(0)}
    total = D(0)
    for earned in grids.values():
        total = EXACT.add(total, earned)
    return total


@given(st.lists(st.integers(-500, 500), max_size=15), st.lists(st.integers(1, 99), max_size=4))
def test_round_trips_add_up_to_the_realized_profit(moves: list[int], parts: list[int]) -> None:
    market = Market("BTC/USDT", 2, 4, min_notional="1")
    settings = GridSettings.read({"step_pct": "0.0123", "base_order_size": "0.7531"})
    floor = Floor(settings, market)
    floor.show("99.95", "100.05")
    floor.settle()
    profit = Profit("BTC", "USDT")
    counted = 0
    for move in [*moves, None]:
        mid = D(100) if move is None else max(floor.mid + D(move) / 100, D(60))
        floor.show(mid - D("0.05"), mid + D("0.05"))
        floor.settle()
        while crossing := floor.crossing():
            for number, slot in enumerate(crossing):
                lots = int(floor.orders[slot].remaining * 10_000)
                part = parts[number % len(parts)] if parts else 100
                floor.fill(slot, D(max(lots * part // 100, 1)) / 10_000)
                if slot in floor.orders:
                    floor.fill(slot)
            floor.settle()
        for fill in floor.fills[counted:]:
            profit = profit.after_fill(as_execution(fill))
        counted = len(floor.fills)
    assert profit.position == 0
    assert profit.lots == ()
    assert profit.realized == round_trips(floor.fills)
    assert profit.realized >= 0


def test_one_round_trip_is_the_formula() -> None:
    market = Market("BTC/USDT", 2, 4, min_notional="1")
    floor = Floor(GridSettings.read({"step_pct": "0.01", "base_order_size": "0.5"}), market)
    floor.show("99.95", "100.05")
    floor.settle()
    profit = Profit("BTC", "USDT").after_fill(as_execution(floor.fill("level-1")))
    floor.settle()
    profit = profit.after_fill(as_execution(floor.fill("level+0")))
    assert profit.realized == grid_profit(D(99), D(100), D("0.5"), FEE)
    assert replace(profit, realized=D(0)).cash == profit.realized
