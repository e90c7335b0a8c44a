"""What a grid does beyond its lattice: the first trade, ages, older bots' ways, what it earns."""

import json
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.floor import a_market
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.exact import add, multiply
from nkfast.trading.strategy import Fill, Strategy

D = Decimal
FEE = D("0.002")


def a_pit(
    market: Market | None = None, funds: Mapping[str, str] | None = None, **settings: object
) -> Pit:
    read = GridSettings.read({"step_pct": "0.01", "base_order_size": "0.5", **settings})

    def make(markets: Mapping[str, Market]) -> Strategy:
        return Grid.build(read, markets)

    pit = Pit(make, [market or a_market(min_notional="1")], funds or {"BTC": "5", "USDT": "1000"})
    pit.show("99.95", "100.05")
    return pit


def resting(pit: Pit, side: str) -> dict[str, str]:
    return {
        slot: f"{order.remaining} at {order.price}"
        for slot, order in sorted(pit.orders.items())
        if order.side == side
    }


# The first trade -----------------------------------------------------------------------------


def test_d28_base_is_brought_to_its_share_before_the_first_order() -> None:
    pit = a_pit(funds={"BTC": "0", "USDT": "1000"}, startup_rebalance=True)
    pit.settle()
    first = pit.placed[0]
    assert first[0] == "rebalance"
    assert (first[1].side, first[1].quantity) == ("buy", D(5))
    assert first[1].price == D("100.25")  # 0.2 % beyond the best ask, down to a tick
    # 5 BTC at 100.05 and a fee of 0.2 %: what is missing is less than the least order.
    assert pit.totals["BTC"] == 5
    assert pit.context.wishes == []
    assert len(resting(pit, "buy")) == len(resting(pit, "sell")) == 3
    assert [slot for slot, _ in pit.placed].count("rebalance") == 1
    pit.restart()
    pit.end("level-1")
    pit.settle()
    assert [slot for slot, _ in pit.placed].count("rebalance") == 1


def test_what_is_not_filled_is_priced_anew_and_at_last_a_person_is_asked() -> None:
    pit = a_pit(funds={"BTC": "10", "USDT": "0"}, startup_rebalance=True)
    pit.show("99.95", "100.05", lots=10_000)  # 1 BTC
    pit.settle()
    assert [slot for slot, _ in pit.placed] == ["rebalance"]
    assert resting(pit, "sell") == {"rebalance": "4.0000 at 99.76"}
    pit.show("99.00", "99.10", lots=1)
    pit.pass_time(4.9)
    pit.settle()
    assert pit.orders["rebalance"].price == D("99.76")
    pit.pass_time(0.2)
    pit.settle()
    assert [str(quote.price) for _, quote in pit.placed] == ["99.76", "98.81"]
    pit.restart()
    pit.pass_time(5.1)
    pit.step()
    assert pit.orders == {}
    pit.step()
    assert pit.context.wishes == [("pause", "2 orders to rebalance were made, and it is not done")]
    pit.settle()  # a person has resumed it
    assert len(pit.placed) == 3


def test_a_share_that_is_right_or_unknown_trades_nothing() -> None:
    pit = a_pit(funds={"BTC": "5", "USDT": "500.5"}, startup_rebalance=True)
    pit.settle()
    assert "rebalance" not in dict(pit.placed)
    assert len(pit.orders) == 6
    pit = a_pit(funds={"BTC": "5"}, startup_rebalance=True)
    pit.settle()
    assert pit.placed == []


def test_orders_that_rest_already_are_not_rebalanced() -> None:
    pit = a_pit(funds={"BTC": "1", "USDT": "1000"})
    pit.settle()
    state = pit.strategy.state()
    pit = a_pit(funds={"BTC": "1", "USDT": "1000"}, startup_rebalance=True)
    pit.strategy.restore(json.loads(json.dumps(state)))
    pit.settle()
    assert "rebalance" not in dict(pit.placed)


# Ages ----------------------------------------------------------------------------------------


def test_untouched_orders_that_are_old_move_to_the_mid() -> None:
    pit = a_pit(max_order_age_sec=1800, n_sell_levels=0)
    pit.settle()
    assert pit.desired.again_at_ms == pit.now_ms + 1_800_000
    pit.fill("level-2", "0.2")
    pit.show("109.95", "110.05")
    pit.settle()
    assert "level-1" in pit.orders
    pit.pass_time(1800)
    pit.settle()
    # What has filled stays, and was sold and bought back meanwhile; the rest is near the mid.
    assert resting(pit, "buy") == {
        "level+8": "0.5000 at 108.00",
        "level+9": "0.5000 at 109.00",
        "level-2": "0.5000 at 98.00",
    }


def test_an_old_order_on_the_nearest_level_keeps_its_place_in_the_queue() -> None:
    pit = a_pit(max_order_age_sec=60)
    pit.settle()
    ids = {order.client_id for order in pit.orders.values()}
    for _ in range(3):
        pit.pass_time(61)
        pit.settle()
    assert {order.client_id for order in pit.orders.values()} == ids
    assert pit.desired.again_at_ms is None


# As older bots did ---------------------------------------------------------------------------


def test_answers_one_step_from_the_fill_drift_as_a_ladder() -> None:
    pit = a_pit(counter_price="fill", price_rounding="down", n_buy_levels=1, n_sell_levels=1)
    pit.show("99.50", "100.50")
    pit.settle()
    prices = []
    for _ in range(3):
        pit.fill("level-1")
        pit.settle()
        prices.append(str(pit.orders["level+0"].price))
        pit.restart()
        pit.fill("level+0")
        pit.settle()
        prices.append(str(pit.orders["level-1"].price))
    assert prices == ["99.99", "98.99", "99.97", "98.97", "99.95", "98.95"]


def test_answers_of_parts_are_as_far_as_the_farthest() -> None:
    pit = a_pit(counter_price="fill")
    pit.settle()
    pit.fill("level-1", "0.2")
    pit.fill("level-1", "0.1", price=D("98.50"))
    pit.settle()
    assert pit.orders["level+0"].price == D("99.99")
    pit.fill("level+0", "0.1", price=D("100.50"))
    pit.fill("level+0", "0.1")
    pit.end("level-1")
    pit.settle()
    assert pit.orders["level-1"].price == D("98.99")


def test_sizes_of_older_bots_may_stay_too_small_and_are_not_placed() -> None:
    pit = a_pit(
        a_market(quantity_decimals=3),
        base_order_size="0.001",
        fee_buffer_pct="0.002",
        size_rounding="down",
    )
    pit.settle()
    # 1.05 quote are 0.0104 and more on both sides; the steps of 5 % are cut away.
    assert pit.orders == {}
    assert set(pit.told) == {"BELOW_MINIMUM"}
    pit = a_pit(a_market(quantity_decimals=3), base_order_size="0.001")
    pit.settle()
    assert pit.orders["level-1"].quantity == D("0.011")


# Defects of the reference --------------------------------------------------------------------


def test_d10_the_executed_part_of_a_cancelled_order_is_offered() -> None:
    pit = a_pit(counter_on_partial=False)
    pit.settle()
    pit.fill("level-1", "0.3")
    pit.settle()
    assert "level+0" not in pit.orders
    pit.end("level-1")
    pit.settle()
    assert resting(pit, "sell")["level+0"] == "0.3000 at 100.00"
    assert resting(pit, "buy")["level-1"] == "0.2000 at 99.00"


def test_d36_only_what_the_balances_pay_for_is_asked_for_the_nearest_first() -> None:
    pit = a_pit(funds={"BTC": "0.7", "USDT": "120"})
    pit.settle()
    # 99 and 98 quote for two buys of 0.5; the third needs 48.6 more.
    assert resting(pit, "buy") == {
        "level-1": "0.5000 at 99.00",
        "level-2": "0.5000 at 98.00",
    }
    assert resting(pit, "sell") == {"level+1": "0.5000 at 101.00"}
    assert pit.told == ["SHORT_OF_FUNDS", "SHORT_OF_FUNDS"]
    details = [skip.detail for skip in pit.desired.skips]
    assert "level+2: sell 0.5 at 102 needs 0.5 BTC, 0.2 are free" in details
    pit.totals["BTC"] += 1
    pit.settle()
    assert len(resting(pit, "sell")) == 3  # as soon as there is some
    assert len(pit.placed) == 5


def test_d24_an_order_that_the_venue_does_not_know_blocks_no_level() -> None:
    pit = a_pit()
    pit.settle()
    pit.fill("level-1", "0.1")
    pit.end("level-1", "abandoned")
    pit.end("level+1", "rejected")
    pit.settle()
    assert resting(pit, "buy")["level-1"] == "0.4000 at 99.00"
    assert resting(pit, "sell")["level+0"] == "0.1000 at 100.00"
    assert resting(pit, "sell")["level+1"] == "0.5000 at 101.00"


@pytest.mark.parametrize("placed", range(7))
def test_d27_a_ladder_that_was_half_placed_is_completed(placed: int) -> None:
    pit = a_pit()
    for slot, quote in list(pit.decide().quotes.items())[:placed]:
        pit._place(slot, quote)
    pit.restart()
    pit.show("99.45", "99.55")
    pit.settle()
    assert sorted(pit.orders) == [f"level{n:+d}" for n in (1, 2, 3, -1, -2, -3)]
    assert len(pit.placed) == 6


@pytest.mark.parametrize("step", ["0.1", "0.101", "0.4"])
def test_d34_an_absolute_step_that_loses_is_refused(step: str) -> None:
    with pytest.raises(ConfigError, match="does not earn its fees"):
        a_pit(step_mode="abs", step_pct=None, step_abs=step).settle()


def test_d34_an_absolute_step_is_judged_at_the_highest_sell() -> None:
    # 0.6024 % of it are needed at a fee of 0.2 % a side and a buffer of 0.2 %.
    least = D("0.006024096385542168674698795181")
    highest = 100 * least / (1 - 3 * least)
    for step, is_enough in ((highest, True), (highest - D("1e-20"), False)):
        settings = GridSettings.read({"step_abs": str(step)})
        if is_enough:
            settings.check_spacing(D(100))
            continue
        with pytest.raises(ConfigError, match="does not earn its fees"):
            settings.check_spacing(D(100))


def test_d35_levels_neither_cluster_nor_go_below_zero() -> None:
    pit = a_pit(base_order_size="0.1")
    pit.settle()
    for mid in ("100.4", "99.7", "100.9", "98.6", "101.3"):
        pit.show(D(mid) - D("0.05"), D(mid) + D("0.05"))
        for slot, order in list(pit.orders.items()):
            if order.price >= D(mid) if order.side == "buy" else order.price <= D(mid):
                pit.fill(slot)
        pit.settle()
        prices = sorted(order.price for order in pit.orders.values())
        gaps = [above - below for below, above in pairwise(prices)]
        assert min(gaps) >= 1
    with pytest.raises(ConfigError, match="reach zero"):
        GridSettings.read({"step_pct": "0.09", "n_buy_levels": 12})


def test_d66_each_attempt_is_another_order() -> None:
    pit = a_pit(funds={"BTC": "0", "USDT": "1000"}, startup_rebalance=True)
    pit.show("99.95", "100.05", lots=1)
    pit.settle()
    first = pit.orders["rebalance"].client_id
    pit.pass_time(6)
    pit.settle()
    assert pit.orders["rebalance"].client_id != first


# What it earns -------------------------------------------------------------------------------


def test_a_round_trip_earns_what_it_brought_less_both_fees() -> None:
    pit = a_pit()
    pit.settle()
    grid = pit.strategy
    assert isinstance(grid, Grid)
    pit.fill("level-1", "0.2")
    assert grid.earned == 0
    pit.settle()
    pit.fill("level+0", "0.1")
    assert grid.earned == D("0.1") * (D(100) * (1 - FEE) - D(99) * (1 + FEE))
    pit.restart()
    pit.fill("level+0")
    grid = pit.strategy
    assert isinstance(grid, Grid)
    assert grid.earned == D("0.2") * (D(100) * (1 - FEE) - D(99) * (1 + FEE))
    # One that begins with a sale earns when it is bought back.
    pit.settle()
    before = grid.earned
    pit.fill("level+2")
    assert grid.earned == before
    pit.end("level+1")
    pit.show("101.40", "101.50")
    pit.settle()
    pit.fill("level+1")
    earned = D("0.5") * (D(102) * (1 - FEE) - D(101) * (1 + FEE))
    assert grid.earned == before + earned


def test_what_is_reinvested_makes_orders_larger() -> None:
    pit = a_pit(base_order_size="0.5", n_buy_levels=1, n_sell_levels=1)
    pit.settle()
    grid = pit.strategy
    assert isinstance(grid, Grid)
    grid.reinvest(D(20))
    pit.restart()
    pit.fill("level-1")
    pit.settle()
    assert resting(pit, "sell")["level+0"] == "0.5000 at 100.00"
    pit.fill("level+0")
    pit.settle()
    # 20 quote over two levels are 0.1 base each.
    assert resting(pit, "buy")["level-1"] == "0.6000 at 99.00"


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 100)), max_size=25),
    st.sampled_from(["level", "fill"]),
    st.integers(90, 110),
)
def test_what_it_earned_and_holds_is_the_change_in_equity(
    steps: list[tuple[int, int]], counter_price: str, mark: int
) -> None:
    pit = a_pit(counter_price=counter_price)
    pit.settle()
    start = pit.totals["USDT"] + pit.totals["BTC"] * mark
    for number, percent in steps:
        slots = sorted(pit.orders)
        slot = slots[number % len(slots)]
        lots = int(pit.orders[slot].remaining * 10_000) * percent // 100
        if lots:
            pit.fill(slot, D(lots) / 10_000)
        if percent % 3 == 0:
            pit.restart()
        pit.settle()
    state = pit.strategy.state()
    worth = D(state["earned"])
    for _, _, _, held, cash, *_ in state["cells"].values():
        worth = add(worth, add(D(cash), multiply(D(held), D(mark))))
    assert worth == pit.totals["USDT"] + pit.totals["BTC"] * mark - start


def test_a_fee_in_base_counts_at_the_price_of_the_fill() -> None:
    grid = Grid(GridSettings.read({"step_pct": "0.01"}), a_market())
    for side, price, fee, asset in (("buy", 99, "0.002", "BTC"), ("sell", 100, "0.2", "USDT")):
        grid.on_fill(
            Fill(
                "level-1" if side == "buy" else "level+0",
                "BTC/USDT",
                side,
                D(price),
                D(1),
                D(fee),
                asset,
                side,
                0,
            )
        )
    assert grid.earned == D("0.8") - D("0.198")


def test_a_fee_that_differs_is_said() -> None:
    pit = a_pit()
    pit.fee = D("0.0025")
    pit.settle()
    pit.fill("level-1")
    pit.settle()
    pit.fill("level-2")
    pit.settle()
    assert pit.told.count("FEE_DIFFERS") == 1
