"""Another bot's state becomes ours: the same orders at the same prices, and what was paid."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from strategies.floor import a_market
from strategies.pit import START_MS, Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.strategies.nonkycbot_state import TakenOver, take_over
from nkfast.trading.strategy import Strategy

D = Decimal
GRID = {"step_pct": "0.01", "base_order_size": "0.5", "fee_rate": "0.002"}


def order(side: str, price: str, quantity: str, cost: str | None = None) -> dict[str, Any]:
    row = {"side": side, "price": price, "quantity": quantity, "client_id": "c"}
    return row | {"created_at": 1.5, "cost_basis": cost}


def go_on(
    kind: str, data: Mapping[str, Any], **settings: object
) -> tuple[Pit, TakenOver, Strategy]:
    """Start a strategy with what another bot left, at 100, and let it place its orders."""
    taken: list[TakenOver] = []

    def make(markets: Mapping[str, Market]) -> Strategy:
        read = load(kind).settings_type.read(settings)
        taken.append(take_over(data, load(kind).build(read, markets), START_MS))
        strategy = load(kind).build(read, markets)
        strategy.restore(taken[0].state)
        return strategy

    pit = Pit(make, [a_market(min_notional="1")], {"BTC": "5", "USDT": "1000"})
    pit.show("99.95", "100.05")
    pit.settle()
    return pit, taken[0], pit.strategy


def resting(pit: Pit) -> list[tuple[str, Decimal, Decimal]]:
    found = [(row.side, row.price, row.remaining) for row in pit.orders.values()]
    return sorted(found, key=lambda row: row[1])


ORDERS = {
    "a": order("buy", "97.02", "0.5"),
    "b": order("buy", "98.01", "0.5"),
    "c": order("sell", "100.98", "0.5", "99.98"),
    "d": order("sell", "102.03", "0.4"),
}


def test_grid_goes_on_with_its_levels_and_what_was_paid() -> None:
    data = {"open_orders": ORDERS, "last_mid": "99.9", "total_profit_quote": "1.25"}
    pit, taken, grid = go_on("grid", data, **GRID, n_buy_levels=2, n_sell_levels=2)
    assert resting(pit) == [
        ("buy", D("97.02"), D("0.5")),
        ("buy", D("98.01"), D("0.5")),
        ("sell", D("100.98"), D("0.5")),
        ("sell", D("102.03"), D("0.4")),
    ]
    assert grid.earned == D("1.25")
    assert set(taken.order_ids) == set("abcd")
    assert taken.needs == D("0.9")
    # What the third one sells was paid for: its profit is known when it is sold.
    [slot] = [slot for slot, row in pit.orders.items() if row.price == D("100.98")]
    pit.fill(slot)
    paid = D("0.5") * D("99.98") * D("1.002")
    assert grid.earned == D("1.25") + D("0.5") * D("100.98") * D("0.998") - paid


def test_two_orders_near_one_level_keep_their_prices() -> None:
    rows = {"a": order("buy", "98.01", "0.5"), "b": order("buy", "98.00", "0.3")}
    pit, _, _ = go_on(
        "grid", {"open_orders": rows, "last_mid": None}, **GRID, n_buy_levels=2, n_sell_levels=0
    )
    assert resting(pit) == [("buy", D("98.00"), D("0.3")), ("buy", D("98.01"), D("0.5"))]


def test_grid_without_orders_stands_around_its_last_mid() -> None:
    data = {"open_orders": {}, "last_mid": "100", "total_profit_quote": "-0.5"}
    pit, _, grid = go_on("grid", data, **GRID, n_buy_levels=1, n_sell_levels=1)
    assert [row[1] for row in resting(pit)] == [D(99), D(101)]
    assert grid.earned == D("-0.5")


def test_infinity_grid_keeps_floor_and_top() -> None:
    data = {
        **{"open_orders": ORDERS, "entry_price": "99", "lowest_buy_price": "97.02"},
        **{"highest_sell_price": "102.03", "total_profit_quote": "2"},
    }
    sizes = {"n_buy_levels": 2, "initial_sell_levels": 2}
    pit, taken, grid = go_on("infinity_grid", data, **GRID, **sizes)
    assert [row[1] for row in resting(pit)] == [D("97.02"), D("98.01"), D("100.98"), D("102.03")]
    assert (grid.entry, grid.lowest, grid.highest) == (D(99), D("97.02"), D("102.03"))
    assert (grid.earned, taken.needs) == (D(2), D("0.9"))
    [slot] = [slot for slot, row in pit.orders.items() if row.price == D("100.98")]
    pit.fill(slot)
    paid = D("0.5") * D("99.98") * D("1.002")
    assert grid.earned == D(2) + D("0.5") * D("100.98") * D("0.998") - paid


MARTINGALE = {
    **{"cycle_id": "f00", "started_at": START_MS / 1000 - 60, "total_btc": "0.3"},
    **{"total_buy_quote": "31.5", "total_buy_fees_quote": "0.063", "last_fill_price": "103"},
    **{"add_count": 1, "partial_exit_done": False, "open_orders": {"x": {}}},
}


def test_martingale_goes_on_with_its_cycle() -> None:
    pit, taken, bot = go_on("capped_martingale", MARTINGALE, cycle_budget="500")
    state = bot.state()
    assert (state["add_count"], state["started_ms"]) == (1, START_MS - 60_000)
    assert state["position"]["base"] == "0.3"
    assert state["position"]["gross"] == "31.563"
    assert (taken.order_ids, taken.needs) == (("x",), D("0.3"))
    # Below the last fill by more than a step: it adds, and begins no cycle anew.
    assert [row[0] for row in resting(pit)] == ["buy"]


def test_martingale_that_sold_half_counts_what_it_spent_on_it() -> None:
    data = MARTINGALE | {"partial_exit_done": True}
    _, taken, bot = go_on("capped_martingale", data, cycle_budget="500")
    assert bot.state()["position"]["gross"] == "63.126"
    assert "count as spent" in taken.said[1]
    _, taken, bot = go_on("capped_martingale", MARTINGALE | {"total_btc": "0"}, cycle_budget="500")
    assert bot.state()["started_ms"] is None or bot.state()["cycle"] == 0


ACCUMULATION = {
    "grid": {
        "next_index": 4,
        "levels": [
            {"index": 1, "price": "99.6", "quantity": "0.1", "order_id": "o1", "filled": True},
            {"index": 2, "price": "99.4", "quantity": "0.11", "order_id": "o2", "filled": False},
            {"index": 3, "price": "99.2", "quantity": "0.12", "order_id": None, "filled": False},
        ],
    },
    "dca": {
        **{"last_attempt_at": START_MS / 1000 - 10, "daily_spent_quote": "3"},
        "current_order_id": "p1",
    },
    "coordinator": {
        **{"daily_total_spent": "12.5", "daily_reset_at": START_MS / 1000},
        "last_grid_fill_at": START_MS / 1000 - 100,
    },
}
ACCUMULATION_SETTINGS = {
    "grid": {
        "n": 2,
        "d0": "0.005",
        "g": "1.3",
        "s0": "0.1",
        "k": "1.1",
        "per_order_volume_cap": "1",
    },
    "dca": {"budget_daily": "20", "interval_sec": 3600, "epsilon": "0.001", "ttl_sec": 1800},
    "guards": {
        **{"participation_cap": "0.5", "spread_limit": "0.03", "cooldown_impact_sec": 300},
        **{"cooldown_grid_dca_sec": 600, "fill_time_threshold_sec": 2, "mid_jump_threshold": "0.1"},
        **{"best_bid_touch_max": 5, "best_bid_touch_window_sec": 300},
        "spread_widen_threshold": 2,
    },
    "vwap": {
        **{"window_sec": 3600, "size_reduction_factor": "0.5", "spacing_widen_factor": "1.5"},
        "pause_threshold": "1.05",
    },
    "ema": {"ema_alpha": "0.01", "atr_window": 60, "atr_flat_threshold": "0.001"},
    "daily_budget_quote": "100",
}


def test_accumulation_goes_on_with_what_rests_and_what_was_spent_today() -> None:
    pit, taken, bot = go_on("accumulation", ACCUMULATION, **ACCUMULATION_SETTINGS)
    assert resting(pit) == [("buy", D("99.2"), D("0.12")), ("buy", D("99.4"), D("0.11"))]
    assert (bot.spent, bot.next_index) == (D("12.5"), 4)
    assert taken.order_ids == ("o2", "p1")
    yesterday = ACCUMULATION["coordinator"] | {"daily_reset_at": START_MS / 1000 - 86_400}
    _, _, bot = go_on(
        "accumulation", ACCUMULATION | {"coordinator": yesterday}, **ACCUMULATION_SETTINGS
    )
    assert bot.spent == 0


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("grid", lambda d: d.pop("open_orders"), "is no state of a grid: KeyError 'open_orders'"),
        ("grid", lambda d: d.update(total_profit_quote="NaN"), "'NaN' is no amount"),
        ("grid", lambda d: d["open_orders"]["a"].update(side="up"), "'up' is no side"),
        ("grid", lambda d: d["open_orders"]["a"].update(price="-1"), "'-1' is no amount"),
        ("rebalance", lambda d: None, "rebalance has no state to take over; these have: grid"),
        ("infinity_grid", lambda d: None, "is no state of a infinity_grid: KeyError 'entry_price'"),
    ],
)
def test_what_is_no_such_state_is_refused(
    kind: str, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    data = {"open_orders": {"a": dict(ORDERS["a"])}, "last_mid": "1", "total_profit_quote": "0"}
    change(data)
    settings = {"target_base_pct": "0.5"} if kind == "rebalance" else GRID
    with pytest.raises(ConfigError, match=message):
        go_on(kind, data, **settings)
