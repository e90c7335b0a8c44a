"""The grid: one order a level, and the counter order for what really filled."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.floor import Floor, a_market

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.strategies.grid import Grid, GridSettings

D = Decimal


def a_floor(market: Market | None = None, **settings: object) -> Floor:
    given = {"step_pct": "0.01", "base_order_size": "0.5", **settings}
    floor = Floor(GridSettings.read(given), market)
    floor.show("99.95", "100.05")
    floor.settle()
    return floor


# The lattice ---------------------------------------------------------------------------------


def test_the_first_orders_stand_around_the_mid() -> None:
    floor = a_floor()
    assert floor.prices("buy") == ["99.00", "98.00", "97.00"]
    assert floor.prices("sell") == ["101.00", "102.00", "103.00"]
    assert set(floor.orders) == {f"level{n:+d}" for n in (-3, -2, -1, 1, 2, 3)}
    assert {order.quantity for order in floor.orders.values()} == {D("0.5")}


def test_nothing_changed_is_the_same_object() -> None:
    floor = a_floor()
    desired = floor.decide()
    floor.show("99.96", "100.10")
    assert floor.decide() is desired
    floor.orders = dict(floor.orders)
    assert floor.decide() is desired


def test_a_filled_buy_is_offered_one_level_up_and_bought_back_where_it_was() -> None:
    floor = a_floor()
    floor.fill("level-1")
    floor.settle()
    assert floor.orders["level+0"].side == "sell"
    assert floor.orders["level+0"].price == 100
    for _ in range(100):
        floor.fill("level+0")
        floor.settle()
        assert floor.orders["level-1"].price == 99
        floor.fill("level-1")
        floor.settle()
    assert floor.orders["level+0"].price == 100  # no drift: 99.0049 in the ladder it replaces


def test_a_filled_sell_is_bought_back_one_level_down() -> None:
    floor = a_floor()
    floor.fill("level+1", D("0.5"))
    floor.settle()
    assert floor.orders["level+0"].side == "buy"
    assert floor.orders["level+0"].quantity == D("0.5")


def test_a_side_keeps_its_number_of_orders_at_the_nearest_free_levels() -> None:
    floor = a_floor()
    floor.fill("level-1")
    floor.show("98.90", "99.00")
    floor.settle()
    assert floor.prices("buy") == ["98.00", "97.00", "96.00"]
    assert floor.prices("sell") == ["100.00", "101.00", "102.00", "103.00"]


def test_a_partial_fill_is_offered_at_once_and_the_rest_stays() -> None:
    floor = a_floor()
    floor.fill("level-1", D("0.2"))
    floor.settle()
    assert floor.orders["level-1"].remaining == D("0.3")
    assert floor.orders["level+0"].quantity == D("0.2")
    floor.fill("level-1", D("0.1"))
    floor.settle()
    assert floor.orders["level+0"].quantity == D("0.2")  # keeps its place in the queue ...
    floor.fill("level-1")
    floor.settle()
    assert floor.orders["level+0"].quantity == D("0.5")  # ... until no more can come


def test_small_parts_are_gathered_until_they_make_an_order() -> None:
    floor = a_floor()
    floor.fill("level-1", D("0.005"))
    floor.settle()
    assert "level+0" not in floor.orders
    assert [skip.code for skip in floor.desired.skips] == ["BELOW_MINIMUM"]
    floor.fill("level-1", D("0.006"))
    floor.settle()
    assert floor.orders["level+0"].quantity == D("0.011")


def test_a_larger_least_value_than_the_markets_holds_for_parts() -> None:
    floor = a_floor(min_notional_quote="5")
    for part, codes in (("0.03", ["BELOW_MINIMUM"]), ("0.03", [])):
        floor.fill("level-1", D(part))
        floor.settle()
        assert [skip.code for skip in floor.desired.skips] == codes
    assert floor.orders["level+0"].quantity == D("0.06")


def test_parts_wait_for_the_end_when_asked_to() -> None:
    floor = a_floor(counter_on_partial=False)
    floor.fill("level-1", D("0.3"))
    floor.settle()
    assert "level+0" not in floor.orders
    floor.fill("level-1")
    floor.settle()
    assert floor.orders["level+0"].quantity == D("0.5")


def test_a_cancelled_rest_is_armed_again_and_its_fills_are_offered() -> None:
    floor = a_floor()
    floor.fill("level-1", D("0.3"))
    floor.end("level-1")
    floor.settle()
    assert floor.orders["level-1"].quantity == D("0.2")
    assert floor.orders["level+0"].quantity == D("0.3")


def test_a_one_sided_grid_still_takes_the_way_back() -> None:
    floor = a_floor(n_buy_levels=0)
    assert floor.prices("buy") == []
    assert len(floor.prices("sell")) == 3
    floor.fill("level+1")
    floor.settle()
    assert floor.prices("buy") == ["100.00"]


def test_orders_left_behind_stay_unless_asked_to_move() -> None:
    floor = a_floor(n_sell_levels=0)
    floor.show("119.95", "120.05")
    floor.settle()
    assert floor.prices("buy") == ["99.00", "98.00", "97.00"]
    floor = a_floor(n_sell_levels=0, recenter_pct="0.05")
    floor.show("102.95", "103.05")
    floor.settle()
    assert floor.prices("buy") == ["99.00", "98.00", "97.00"]
    floor.show("119.95", "120.05")
    floor.settle()
    assert floor.prices("buy") == ["119.00", "118.00", "117.00"]
    assert floor.grid.anchor == 100


@pytest.mark.parametrize(
    ("side", "last", "prices"),
    [
        ("buy", "101", {"102": "90", "102.2": "90", "102.3": "100", "109": "100"}),
        ("sell", "99", {"98.3": "110", "98.2": "100", "91": "100"}),
    ],
)
def test_recentering_waits_for_no_level_to_be_crossed(
    side: str, last: str, prices: dict[str, str]
) -> None:
    other = {"buy": "n_sell_levels", "sell": "n_buy_levels"}[side]
    floor = a_floor(step_pct="0.1", recenter_pct="0.12", **{other: 0})
    floor.show(D(last) - D("0.05"), D(last) + D("0.05"))
    floor.settle()
    view = floor.view()  # nothing but the book changes
    for mid, price in prices.items():
        floor.show(D(mid) - D("0.05"), D(mid) + D("0.05"))
        found = [quote.price for quote in floor.strategy.decide(view).quotes.values()]
        assert D(price) in found, mid
        assert ("100" == price) is (D(100) in found), mid


def test_recentering_never_drops_what_has_filled() -> None:
    floor = a_floor(n_sell_levels=0, recenter_pct="0.05")
    floor.fill("level-1", D("0.2"))
    floor.show("119.95", "120.05")
    floor.settle()
    assert floor.orders["level-1"].remaining == D("0.3")
    assert floor.orders["level+0"].quantity == D("0.2")


def test_without_a_mid_what_rests_goes_on_resting() -> None:
    floor = a_floor()
    before = dict(floor.orders)
    floor.show("99.95", None)
    floor.settle()
    assert floor.orders == before
    floor.restart()
    floor.settle()
    assert floor.orders == before
    floor.show("99.95", "100.05")
    floor.settle()
    assert floor.orders == before


def test_a_restart_keeps_the_lattice_and_what_is_owed() -> None:
    floor = a_floor()
    floor.fill("level-1", D("0.3"))
    floor.settle()
    before = dict(floor.orders)
    floor.restart()
    floor.show("98.50", "98.60")
    floor.fill("level-2")
    floor.settle()
    assert floor.grid.anchor == 100
    assert floor.orders["level+0"] == before["level+0"]
    assert floor.orders["level-3"] == before["level-3"]


def test_levels_that_would_lose_are_not_sold() -> None:
    # 0.61 % at the anchor is too little two levels up: 0.6024 % of what they cost are needed.
    floor = a_floor(a_market(price_decimals=8, min_notional="1"), step_pct="0.00605")
    assert len(floor.prices("buy")) == 3
    assert floor.prices("sell") == ["100.60500000"]
    assert "UNPROFITABLE" in {skip.code for skip in floor.desired.skips}


def test_sizes_are_raised_to_the_minimums_of_both_ways() -> None:
    floor = a_floor(base_order_size="0.001")
    sells = [order for order in floor.orders.values() if order.side == "sell"]
    # 1.05 * 1.002 quote at the lower price of the cell, rounded up to a lot.
    assert floor.orders["level-1"].quantity == D("0.0107")
    for order in sells:
        assert order.quantity * (order.price - 1) >= D("1.05") * D("1.002")
    floor.fill("level+1")
    floor.settle()
    assert floor.orders["level+0"].side == "buy"


def test_coarser_grids_than_the_markets_hold() -> None:
    floor = a_floor(step_pct="0.0123", tick_size="0.5", step_size="0.25", base_order_size="0.6")
    for order in floor.orders.values():
        assert order.price % D("0.5") == 0
        assert order.quantity == D("0.5")
    with pytest.raises(ConfigError, match="multiple"):
        a_floor(tick_size="0.015")


# Settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "step_pct: is required"),
        ({"step_mode": "abs"}, "step_abs: is required"),
        ({"step_mode": "geometric", "step_pct": "0.01"}, "use 'pct' or 'abs'"),
        ({"setp_pct": "0.01"}, "did you mean 'step_pct'"),
        ({"step_pct": "1 pct"}, "not a number"),
        ({"step_pct": "nan"}, "finite"),
        ({"step_pct": True}, "give a number"),
        ({"step_pct": "-0.01"}, "more than 0"),
        ({"step_pct": "0.006"}, "does not earn its fees"),
        ({"step_pct": "0.25", "n_buy_levels": 4}, "reach zero"),
        ({"step_pct": "0.09", "n_buy_levels": 12}, "reach zero"),
        ({"step_pct": "0.01", "n_buy_levels": "2.5"}, "whole number"),
        ({"step_pct": "0.01", "n_buy_levels": -1}, "at least 0"),
        ({"step_pct": "0.01", "grid_levels": 0}, "no levels"),
        ({"step_pct": "0.01", "grid_spread": "0.02"}, "both set 'step_pct'"),
        ({"step_pct": "0.01", "base_order_size": 0}, "more than 0"),
        ({"step_pct": "0.01", "fee_rate": "0.6", "fee_buffer_pct": "0.4"}, "everything"),
        ({"step_pct": "0.01", "fee_rate": "-0.1"}, "at least 0"),
        ({"step_pct": "0.01", "recenter_pct": "0"}, "more than 0"),
        ({"step_pct": "0.01", "counter_on_partial": "yes"}, "true or false"),
        ({"step_pct": "0.01", "counter_on_partial": 1}, "true or false"),
        ({"step_pct": "0.01", "symbol": 7}, "give a text"),
    ],
)
def test_wrong_settings_say_what_is_wrong(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GridSettings.read(given)


def test_settings_are_exact_and_know_their_old_names() -> None:
    settings = GridSettings.read(
        {
            "trading_pair": "btc_usdt",
            "grid_spread": 0.011,
            "grid_levels": "4",
            "order_amount_mmx": "1000000000000.000000000001",
            "min_notional_usd": 2,
            "total_fee_rate": "0.0015",
            "counter_on_partial": "false",
            "recenter_pct": None,
        }
    )
    assert settings.step_pct == D("0.011")
    assert (settings.n_buy_levels, settings.n_sell_levels) == (4, 4)
    assert settings.base_order_size == D("1000000000000.000000000001")
    assert settings.min_notional_quote == 2
    assert settings.fee_rate == D("0.0015")
    assert settings.counter_on_partial is False
    assert Grid(settings, a_market()).settings is settings
    with pytest.raises(ConfigError, match="the market is ETH/USDT"):
        Grid(settings, Market("ETH/USDT", 2, 4))


def test_an_absolute_step_needs_no_mode() -> None:
    floor = a_floor(step_pct=None, step_mode="abs", step_abs="0.7")
    assert floor.prices("buy")[0] == "99.30"
    assert GridSettings.read({"step_abs": "0.7"}).step_mode == "abs"


@pytest.mark.parametrize("step", ["0.6", "100", "34"])
def test_an_absolute_step_is_judged_at_the_first_mid(step: str) -> None:
    with pytest.raises(ConfigError, match="step_abs"):
        a_floor(step_pct=None, step_mode="abs", step_abs=step)


def test_a_step_below_one_tick_is_refused() -> None:
    floor = Floor(
        GridSettings.read({"step_pct": "0.01"}), a_market(price_decimals=0, min_notional="1")
    )
    floor.show("10", "11")
    with pytest.raises(ConfigError, match="less than one tick"):
        floor.settle()


def test_the_registry_makes_a_grid() -> None:
    kind = load("grid")
    assert kind.settings_type is GridSettings
    market = a_market()
    made = kind.build(kind.settings_type.read({"step_pct": "0.01"}), {market.symbol: market})
    assert made.name == "grid"
    assert json.loads(json.dumps(made.state())) == made.state()


# Properties ----------------------------------------------------------------------------------

actions = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(-400, 400)),
        st.tuples(st.just("part"), st.integers(0, 9), st.integers(1, 99)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


@given(actions, st.integers(0, 3), st.integers(1, 3), st.sampled_from([None, "0.03"]))
def test_the_lattice_holds_whatever_happens(
    steps: list[tuple[object, ...]], buys: int, sells: int, recenter: str | None
) -> None:
    floor = a_floor(n_buy_levels=buys, n_sell_levels=sells, recenter_pct=recenter)
    for name, *numbers in steps:
        slots = sorted(floor.orders)
        if name == "move":
            mid = max(floor.mid + D(numbers[0]) / 100, D(50))
            floor.show(mid - D("0.05"), mid + D("0.05"))
        elif name == "restart":
            floor.restart()
        elif slots and name == "cancel":
            floor.end(slots[numbers[0] % len(slots)])
        elif slots:
            best = best_slots(floor)
            slot = best[numbers[0] % len(best)]
            lots = int(floor.orders[slot].remaining * 10_000 * numbers[1] // 100)
            if lots:
                floor.fill(slot, D(lots) / 10_000)
        floor.settle()
        while crossing := floor.crossing():
            for slot in crossing:
                floor.fill(slot)
            floor.settle()
        check(floor)


def best_slots(floor: Floor) -> list[str]:
    """The highest buy and the lowest sell: the only ones that a market can fill in part."""
    best = []
    for side, choose in (("buy", max), ("sell", min)):
        prices = {o.price: slot for slot, o in floor.orders.items() if o.side == side}
        if prices:
            best.append(prices[choose(prices)])
    return best


def check(floor: Floor) -> None:
    grid = floor.grid
    buys = [order for order in floor.orders.values() if order.side == "buy"]
    sells = [order for order in floor.orders.values() if order.side == "sell"]
    for slot, order in floor.orders.items():
        assert order.price == grid.price_of(int(slot.removeprefix("level")), order.side)
    levels = [order.price for order in floor.orders.values()]
    assert len(set(levels)) == len(levels)
    if buys and sells:
        assert max(order.price for order in buys) < min(order.price for order in sells)
    # What is offered for sale in a cell that has traded is what it bought less what it sold.
    bought: dict[int, Decimal] = {}
    for fill in floor.fills:
        level = int(fill.slot.removeprefix("level"))
        index, sign = (level, 1) if fill.side == "buy" else (level - 1, -1)
        bought[index] = bought.get(index, D(0)) + sign * fill.quantity
    cells = grid.state()["cells"]
    for index, net in bought.items():
        to_buy, to_sell, is_seed, *_ = cells[str(index)]
        assert not is_seed
        seeded = D(to_sell) - net  # 0 where a buy began, the size where a sell began
        assert seeded in (0, D("0.5"))
        assert D(to_buy) + D(to_sell) == D("0.5")
        offered = floor.orders.get(f"level{index + 1:+d}")
        if offered is not None and offered.side == "sell":
            assert offered.remaining <= D(to_sell)
