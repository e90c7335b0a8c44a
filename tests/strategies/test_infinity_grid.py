"""The infinity grid: down to a floor, up without a ceiling, and an answer to what really filled."""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.floor import a_market
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.strategies.infinity_grid import InfinityGrid, InfinityGridSettings
from nkfast.trading.strategy import Fill, LiveOrder, Strategy

D = Decimal
FEE = D("0.002")


def a_pit(
    market: Market | None = None, funds: Mapping[str, str] | None = None, **settings: object
) -> Pit:
    read = InfinityGridSettings.read(
        {
            "step_pct": "0.01",
            "base_order_size": "0.5",
            "n_buy_levels": 3,
            "initial_sell_levels": 3,
            **settings,
        }
    )

    def make(markets: Mapping[str, Market]) -> Strategy:
        return InfinityGrid.build(read, markets)

    pit = Pit(make, [market or a_market(min_notional="1")], funds or {"BTC": "5", "USDT": "1000"})
    pit.show("99.95", "100.05")
    pit.settle()
    return pit


def grid_of(pit: Pit) -> InfinityGrid:
    assert isinstance(pit.strategy, InfinityGrid)
    return pit.strategy


def resting(pit: Pit, side: str) -> list[str]:
    orders = [order for order in pit.orders.values() if order.side == side]
    orders.sort(key=lambda order: order.price, reverse=side == "buy")
    return [f"{order.remaining:.4f} at {order.price:.2f}" for order in orders]


def the_order(pit: Pit, price: str) -> str:
    (slot,) = (slot for slot, order in pit.orders.items() if order.price == D(price))
    return slot


# Full fills ----------------------------------------------------------------------------------


def test_the_first_orders_go_down_to_the_floor_and_up() -> None:
    pit = a_pit()
    assert resting(pit, "buy") == ["0.5000 at 99.00", "0.5000 at 98.00", "0.5000 at 97.00"]
    # Dynamic sells are worth what a buy is worth at the first mid.
    assert resting(pit, "sell") == ["0.4950 at 101.00", "0.4901 at 102.00", "0.4854 at 103.00"]
    grid = grid_of(pit)
    assert (grid.entry, grid.lowest, grid.highest) == (100, 97, 103)
    desired = pit.decide()
    pit.show("99.96", "100.20")
    assert pit.decide() is desired


def test_a_filled_sell_makes_a_new_highest_and_a_buy_back() -> None:
    pit = a_pit()
    pit.fill(the_order(pit, "101.00"))
    pit.settle()
    assert resting(pit, "sell")[-1] == "0.4806 at 104.03"
    assert grid_of(pit).highest == D("104.03")
    assert resting(pit, "buy")[0] == "0.5000 at 99.99"


def test_a_filled_buy_is_answered_by_no_more_than_was_bought() -> None:
    pit = a_pit()
    slot = the_order(pit, "99.00")
    pit.fill(slot)
    pit.settle()
    # 50 / 99.99 were 0.5001.
    assert resting(pit, "sell")[0] == "0.5000 at 99.99"
    pit = a_pit(sell_extra_inventory=True)
    for price in ("99.00", "98.00", "97.00"):
        pit.fill(the_order(pit, price))
    pit.show("96.00", "97.90")
    pit.settle()
    assert resting(pit, "sell")[0] == "0.5103 at 97.97"


def test_fees_in_base_are_not_sold() -> None:
    pit = a_pit()
    slot = the_order(pit, "99.00")
    order = pit.orders[slot]
    pit.orders = {key: other for key, other in pit.orders.items() if key != slot}
    pit.strategy.on_fill(
        Fill(slot, "BTC/USDT", "buy", order.price, D("0.5"), D("0.001"), "BTC", "t", 0)
    )
    pit.settle()
    assert resting(pit, "sell")[0] == "0.4990 at 99.99"


def test_under_the_floor_nothing_is_bought_back() -> None:
    pit = a_pit()
    for price in ("99.00", "98.00", "97.00"):
        pit.fill(the_order(pit, price))
    pit.show("96.00", "96.10")
    pit.settle()
    assert resting(pit, "buy") == []
    pit.fill(the_order(pit, "97.97"))
    pit.settle()
    assert resting(pit, "buy") == []
    assert pit.told.count("BELOW_FLOOR") == 1


def test_a_round_trip_earns_what_it_brought_less_both_fees() -> None:
    pit = a_pit()
    pit.fill(the_order(pit, "101.00"))
    assert grid_of(pit).earned == 0  # nobody knows what that was bought at
    pit.fill(the_order(pit, "99.00"), price=D("98.50"))
    pit.settle()
    pit.fill(next(s for s, o in pit.orders.items() if (o.side, o.price) == ("sell", D("99.99"))))
    earned = D("0.5") * (D("99.99") * (1 - FEE) - D("98.50") * (1 + FEE))
    assert grid_of(pit).earned == earned


def test_a_late_fee_counts_where_its_round_trip_is_counted() -> None:
    pit = a_pit()
    unknown = pit.fill(the_order(pit, "101.00"))
    bought = pit.fill(the_order(pit, "99.00"), knows_fee=False)
    pit.settle()
    sale = next(s for s, o in pit.orders.items() if (o.side, o.price) == ("sell", D("99.99")))
    part = pit.fill(sale, "0.2")
    pit.restart()
    grid_of(pit).on_fee(replace(unknown, fee=D(9)), unknown.fee)  # in no round trip
    late = D("0.15") - bought.price * bought.quantity * FEE
    before = grid_of(pit).earned
    grid_of(pit).on_fee(replace(bought, fee=D("0.15"), fee_asset="USDT"), None)
    assert grid_of(pit).earned == before  # while some of it is not sold
    pit.fill(sale)
    pit.restart()
    assert part.fee is not None
    grid_of(pit).on_fee(replace(part, fee=part.fee + 1), part.fee)
    assert grid_of(pit).earned == D("0.5") * (D("99.99") * (1 - FEE) - 99 * (1 + FEE)) - late - 1
    # After all of it was sold.
    grid_of(pit).on_fee(replace(bought, fee=D("0.25"), fee_asset="USDT"), D("0.15"))
    assert grid_of(pit).earned == D("0.5") * (D("99.99") * (1 - FEE) - 99) - D("0.25") - 1


# Parts, cancels, restarts --------------------------------------------------------------------


def test_d09_a_part_is_answered_as_a_part_and_the_rest_stays() -> None:
    pit = a_pit()
    slot = the_order(pit, "99.00")
    pit.fill(slot, "0.0050")
    pit.settle()
    assert pit.orders[slot].remaining == D("0.4950")
    assert resting(pit, "sell")[0] == "0.4950 at 101.00"  # 0.495 quote are below the minimum
    pit.fill(slot, "0.1950")
    pit.settle()
    assert resting(pit, "sell")[0] == "0.2000 at 99.99"
    answer = the_order(pit, "99.99")
    first = pit.orders[answer].client_id
    pit.fill(slot, "0.1000")
    pit.settle()
    assert pit.orders[answer].client_id == first  # keeps its place in the queue ...
    pit.fill(slot)
    pit.settle()
    assert resting(pit, "sell")[0] == "0.5000 at 99.99"  # ... until no more can come


def test_parts_of_a_sell_grow_one_highest_and_one_buy_back() -> None:
    pit = a_pit()
    slot = the_order(pit, "101.00")
    pit.fill(slot, "0.2475")
    pit.settle()
    assert resting(pit, "sell")[-1] == "0.2403 at 104.03"
    assert resting(pit, "buy")[0] == "0.2500 at 99.99"
    pit.restart()
    pit.fill(slot)
    pit.settle()
    assert resting(pit, "sell")[-1] == "0.4806 at 104.03"
    assert resting(pit, "buy")[0] == "0.5000 at 99.99"
    assert len(pit.orders) == 7


def test_parts_wait_for_the_end_when_asked_to() -> None:
    pit = a_pit(counter_on_partial=False)
    slot = the_order(pit, "99.00")
    pit.fill(slot, "0.2")
    pit.settle()
    assert resting(pit, "sell")[0] == "0.4950 at 101.00"
    pit.end(slot)
    pit.settle()
    assert resting(pit, "sell")[0] == "0.2000 at 99.99"
    assert pit.orders[slot].remaining == D("0.3")


def test_d44_what_was_cancelled_is_placed_again_also_after_a_restart() -> None:
    pit = a_pit()
    before = resting(pit, "buy"), resting(pit, "sell")
    pit.end(the_order(pit, "98.00"))
    pit.restart()
    pit.end(the_order(pit, "103.00"))
    pit.settle()
    assert (resting(pit, "buy"), resting(pit, "sell")) == before


@pytest.mark.parametrize("placed", range(7))
def test_d27_a_ladder_that_was_half_placed_is_completed(placed: int) -> None:
    pit = a_pit()
    quotes = list(pit.desired.quotes.items())
    pit.orders, pit.placed = {}, []
    for slot, quote in quotes[:placed]:
        pit._place(slot, quote)
    pit.restart()
    show = pit.orders.keys()
    pit.settle()
    assert len(pit.orders) == len(pit.placed) == 6
    assert show <= pit.orders.keys()


def test_d26_a_ladder_whose_state_was_lost_is_not_laid_over_another() -> None:
    pit = a_pit()
    pit.fill(the_order(pit, "99.00"), "0.2")
    orders = dict(pit.orders)
    pit._start(None)
    pit.settle()
    assert {slot: order.client_id for slot, order in pit.orders.items()} == {
        slot: order.client_id for slot, order in orders.items()
    }
    grid = grid_of(pit)
    assert (grid.entry, grid.lowest, grid.highest) == (100, 97, 103)
    pit.fill(the_order(pit, "101.00"))
    pit.settle()
    assert resting(pit, "sell")[-1].endswith("at 104.03")


def test_d46_orders_of_others_are_never_seen_nor_touched() -> None:
    # The engine shows a strategy its own orders only; a slot of another kind is a mistake.
    pit = a_pit()
    pit.orders = {
        **pit.orders,
        "level+1": LiveOrder("level+1", "x", "buy", D(1), D(1), D(0), False),
    }
    with pytest.raises(ValueError, match="not an infinity grid's"):
        pit.decide()


def test_a_restart_adds_buys_below_the_floor_where_asked_and_paid_for() -> None:
    pit = a_pit(
        n_buy_levels=5, extend_buy_levels_on_restart=True, funds={"BTC": "5", "USDT": "330"}
    )
    pit.fill(the_order(pit, "99.00"))
    pit.show("97.95", "98.05")
    pit.settle()
    assert resting(pit, "buy")[-1] == "0.5000 at 95.00"
    pit.restart()
    pit.settle()
    # Four and five steps below the mid are under the floor of 95; the free balance pays for one.
    mid = (D("98.00") + D("98.05")) / 2
    assert resting(pit, "buy")[-1] == "0.5000 at 94.10"
    assert grid_of(pit).lowest == mid * D("0.96")
    assert "SHORT_OF_FUNDS" in pit.told
    pit = a_pit(n_buy_levels=5)
    pit.show("97.95", "98.05")
    pit.restart()
    pit.settle()
    assert resting(pit, "buy")[-1] == "0.5000 at 95.00"


def test_without_a_mid_nothing_begins_and_what_rests_is_answered() -> None:
    pit = a_pit()
    slot = the_order(pit, "99.00")
    pit.show("99.95", None)
    pit.fill(slot)
    pit.settle()
    assert resting(pit, "sell")[0] == "0.5000 at 99.99"
    pit._start(None)
    pit.settle()
    assert resting(pit, "sell")[0] == "0.5000 at 99.99"


def test_d36_only_what_the_balances_pay_for_is_asked_for_the_nearest_first() -> None:
    pit = a_pit(funds={"BTC": "0.7", "USDT": "120"})
    assert resting(pit, "buy") == ["0.5000 at 99.00", "0.5000 at 98.00"]
    assert resting(pit, "sell") == ["0.4950 at 101.00"]
    assert pit.told == ["SHORT_OF_FUNDS", "SHORT_OF_FUNDS"]
    pit.totals["USDT"] += 1000
    pit.settle()
    assert len(resting(pit, "buy")) == 3
    # A sell that fills pays for no other sell; its buy-back is nearest.
    pit.fill(the_order(pit, "101.00"))
    pit.settle()
    assert resting(pit, "buy")[0] == "0.5000 at 99.99"
    assert resting(pit, "sell") == []


def test_a_fee_that_differs_is_said() -> None:
    pit = a_pit()
    pit.fee = D("0.0025")
    pit.fill(the_order(pit, "99.00"))
    pit.settle()
    assert pit.told == ["FEE_DIFFERS"]


# Sizes ---------------------------------------------------------------------------------------


def test_sizes_are_fixed_worth_as_much_or_at_least() -> None:
    def sizes(**settings: object) -> tuple[Decimal | None, Decimal | None]:
        grid = grid_of(a_pit(**settings))
        return grid.size_of("buy", D(50)), grid.size_of("sell", D(200))

    assert sizes() == (D("0.5"), D("0.25"))
    assert sizes(buy_sizing_mode="dynamic", sell_sizing_mode="fixed") == (D(1), D("0.5"))
    assert sizes(fixed_base_order_qty="0.3") == (D("0.3"), D("0.15"))
    assert sizes(target_quote_per_order="90") == (D("0.5"), D("0.45"))
    hybrid = {"sell_sizing_mode": "hybrid", "min_base_order_qty": "0.30001"}
    assert sizes(**hybrid) == (D("0.5"), D("0.3001"))
    assert sizes(min_order_qty="0.3") == (D("0.5"), None)
    assert sizes(min_notional_quote="26") == (None, D("0.25"))


def test_what_would_be_too_small_is_said_and_not_placed() -> None:
    pit = a_pit(target_quote_per_order="0.9")
    assert resting(pit, "sell") == []
    assert pit.told.count("BELOW_MINIMUM") == 3


def test_what_is_reinvested_makes_fresh_orders_larger() -> None:
    pit = a_pit()
    grid_of(pit).reinvest(D(60))
    pit.restart()
    pit.fill(the_order(pit, "101.00"))
    pit.settle()
    # 60 quote over six orders are 0.1 base each at the first mid.
    assert resting(pit, "buy")[0] == "0.6000 at 99.99"


# Settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "step_pct: is required"),
        ({"step_pct": "0.004"}, "does not earn its fees"),
        ({"step_pct": "0.1"}, "reach zero"),
        ({"step_pct": "0.01", "sell_sizing_mode": "hybrid"}, "min_base_order_qty: is required"),
        ({"step_pct": "0.01", "buy_sizing_mode": "large"}, "use 'fixed', 'dynamic' or 'hybrid'"),
        ({"step_pct": "0.01", "n_buy_levels": 0}, "at least 1"),
        ({"step_pct": "0.01", "poll_interval_sec": 60}, "unknown key"),
    ],
)
def test_wrong_settings_say_what_is_wrong(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        InfinityGridSettings.read(given)


def test_an_absolute_step_is_exact_and_judged_at_the_first_mid() -> None:
    pit = a_pit(step_pct=None, step_mode="abs", step_abs="0.7")
    assert resting(pit, "sell")[1].endswith("at 101.40")
    for step, message in (("0.4", "does not earn"), ("34", "reach zero")):
        with pytest.raises(ConfigError, match=message):
            a_pit(step_pct=None, step_mode="abs", step_abs=step)


def test_the_registry_makes_one() -> None:
    kind = load("infinity_grid")
    market = a_market()
    made = kind.build(kind.settings_type.read({"step_pct": "0.01"}), {market.symbol: market})
    assert made.name == "infinity_grid"
    assert json.loads(json.dumps(made.state())) == made.state()
    settings = InfinityGridSettings.read({"step_pct": "0.01", "symbol": "ETH/USDT"})
    with pytest.raises(ConfigError, match="the market is BTC/USDT"):
        InfinityGrid(settings, market)


def test_base_is_brought_to_its_share_before_the_first_order() -> None:
    pit = a_pit(funds={"BTC": "0", "USDT": "1000"}, startup_rebalance=True)
    assert pit.totals["BTC"] == 5
    assert len(pit.orders) == 6


# Properties ----------------------------------------------------------------------------------

actions = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.integers(0, 20), st.integers(1, 100)),
        st.tuples(st.just("end"), st.integers(0, 20)),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


@given(actions, st.booleans(), st.sampled_from(["fixed", "dynamic"]))
def test_nothing_is_lost_whatever_happens(
    steps: list[tuple[object, ...]], counter_on_partial: bool, sizing: str
) -> None:
    pit = a_pit(
        counter_on_partial=counter_on_partial,
        sell_sizing_mode=sizing,
        funds={"BTC": "100", "USDT": "100000"},
    )
    for name, *numbers in steps:
        # What is filled is the best order of a side, as on a market.
        best = [
            min(
                (slot for slot, order in pit.orders.items() if order.side == side),
                key=lambda slot: (sign * pit.orders[slot].price, slot),
            )
            for side, sign in (("buy", -1), ("sell", 1))
            if resting(pit, side)
        ]
        if name == "restart":
            pit.restart()
        elif name == "end":
            slots = sorted(pit.orders)
            pit.end(slots[numbers[0] % len(slots)])
        elif best:
            slot = best[numbers[0] % len(best)]
            order = pit.orders[slot]
            mid = order.price
            pit.show(mid - 1, mid + 1, lots=1)
            lots = int(order.remaining * 10_000) * numbers[1] // 100
            if lots:
                pit.fill(slot, D(lots) / 10_000)
        pit.settle()
        check(pit)


def check(pit: Pit) -> None:
    grid = grid_of(pit)
    state = grid.state()
    twin = InfinityGrid(grid.settings, grid.market)
    twin.restore(json.loads(json.dumps(state)))
    assert twin.state() == state
    buys = [order.price for order in pit.orders.values() if order.side == "buy"]
    sells = [order.price for order in pit.orders.values() if order.side == "sell"]
    assert all(price >= D("96.9") for price in buys)  # the floor, rounded down
    assert max(sells) <= grid.highest + D("0.01")
    # What answers bought base sells no more than was bought.
    sold: dict[str, Decimal] = {}
    for fill in pit.fills:
        sold[fill.slot] = sold.get(fill.slot, D(0)) + fill.quantity
    for number, row in state["rungs"].items():
        rung = dict(zip(ROW, row, strict=True))
        if rung["side"] == "buy" and rung["back"] is not None:
            back = dict(zip(ROW, state["rungs"][str(rung["back"])], strict=True))
            assert D(back["quantity"]) <= D(rung["received"])
        slot = f"{rung['side']}{number}"
        assert sold.get(slot, D(0)) == D(rung["executed"])
        assert D(rung["answered"]) <= D(rung["executed"]) <= D(rung["quantity"])


ROW = (
    *("side", "is_growing", "back", "top", "price", "quantity", "executed", "answered"),
    *("received", "cost", "bought"),
)


@given(st.lists(st.integers(-300, 300), max_size=30))
def test_bought_base_is_sold_dearer_than_it_was_bought(moves: list[int]) -> None:
    pit = a_pit(funds={"BTC": "100", "USDT": "100000"})
    mid = D(100)
    for move in moves:
        mid = max(mid + D(move) / 100, D(60))
        pit.show(mid - D("0.05"), mid + D("0.05"), lots=1)
        pit.settle()
        for _ in range(20):
            crossed = [
                slot
                for slot, order in pit.orders.items()
                if (order.price >= mid if order.side == "buy" else order.price <= mid)
            ]
            for slot in crossed:
                pit.fill(slot)
            pit.settle()
            if not crossed:
                break
    # Pair each sell that answers a buy with it: the sum is what it says that it earned.
    grid = grid_of(pit)
    assert grid.earned >= 0
    known = {fill.slot: fill for fill in pit.fills if fill.side == "buy"}
    assert grid.earned == 0 or known
