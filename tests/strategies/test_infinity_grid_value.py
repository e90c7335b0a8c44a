"""Holding a constant value: a trade a step, booked when it fills, at what it had cost."""

import json
from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.floor import a_market
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.strategies.infinity_grid_value import (
    InfinityGridValue,
    InfinityGridValueSettings,
    find_trade,
    hold_constant,
)
from nkfast.trading.exact import subtract
from nkfast.trading.strategy import Fill, Strategy

D = Decimal
FEE = D("0.002")


def a_pit(
    market: Market | None = None, funds: Mapping[str, str] | None = None, **settings: object
) -> Pit:
    read = InfinityGridValueSettings.read({"step_pct": "0.01", **settings})

    def make(markets: Mapping[str, Market]) -> Strategy:
        return InfinityGridValue.build(read, markets)

    pit = Pit(make, [market or a_market(min_notional="1")], funds or {"BTC": "5", "USDT": "1000"})
    show(pit, "100")
    pit.settle()
    return pit


def show(pit: Pit, mid: str | Decimal) -> None:
    pit.show(D(mid) - D("0.05"), D(mid) + D("0.05"))


def grid_of(pit: Pit) -> InfinityGridValue:
    assert isinstance(pit.strategy, InfinityGridValue)
    return pit.strategy


def the_order(pit: Pit) -> str:
    (order,) = pit.orders.values()
    return f"{order.side} {order.remaining:.4f} at {order.price:.2f}"


# The arithmetic ------------------------------------------------------------------------------


def test_d68_the_lower_limit_counts_every_level_that_is_paid_for() -> None:
    held = hold_constant(D(1), D(10_000), D(50_000), D("0.01"))
    assert held.levels == 20
    assert held.lower_limit == D("40895.34687986154354445993303")  # 28 digits
    assert hold_constant(D(1), D("9999.99"), D(50_000), D("0.01")).levels == 19


@given(
    st.decimals("0.001", "100", places=4),
    st.decimals("0", "100000", places=2),
    st.decimals("0.01", "50000", places=2),
    st.decimals("0.001", "0.4", places=3),
)
def test_every_level_down_to_the_limit_is_paid_for(
    base: Decimal, quote: Decimal, price: Decimal, step: Decimal
) -> None:
    held = hold_constant(base, quote, price, step)
    cost = held.value * step  # of a level, wherever it is
    assert held.levels * cost <= quote
    can_more = (held.levels + 1) * cost <= quote
    assert not can_more or held.lower_limit < price * D("0.5000001")
    left, at = quote, price
    for _ in range(held.levels):
        at *= 1 - step
        found = find_trade(held, held.value / (at / (1 - step)), left, at)
        assert found is None or found.side == "buy"
        left -= cost
    assert left >= -D("1e-15")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (("0", "1", "1", "0.1"), "base: is 0"),
        (("1", "-1", "1", "0.1"), "quote: is -1"),
        (("1", "1", "0", "0.1"), "price: is 0"),
        (("1", "1", "1", "0"), "step_pct: is 0"),
        (("1", "1", "1", "1"), "step_pct: is 1"),
    ],
)
def test_what_cannot_be_held_constant(numbers: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hold_constant(*map(D, numbers))


# Trades --------------------------------------------------------------------------------------


def test_nothing_rests_until_the_price_has_moved_by_a_step() -> None:
    pit = a_pit()
    for mid in ("100", "100.99", "99.01"):
        show(pit, mid)
        pit.settle()
        assert pit.orders == {}
    show(pit, "101")
    pit.settle()
    # 500 / 101 are 4.9505 of 5; the limit lies 0.1 % above.
    assert the_order(pit) == "sell 0.0495 at 101.11"
    pit = a_pit()
    show(pit, "99")
    pit.settle()
    assert the_order(pit) == "buy 0.0505 at 98.90"


def test_the_next_step_begins_when_an_order_has_filled_and_not_before() -> None:
    pit = a_pit()
    show(pit, "101")
    pit.settle()
    assert grid_of(pit).held.last_price == 100
    pit.fill("trade", "0.0200")
    pit.pass_time(60)
    pit.step()
    assert grid_of(pit).held.last_price == 100
    pit.restart()
    pit.settle()
    assert the_order(pit) == "sell 0.0295 at 101.11"  # the rest of it
    show(pit, "101.5")
    pit.settle()
    assert the_order(pit) == "sell 0.0295 at 101.11"
    pit.fill("trade")
    assert grid_of(pit).held.last_price == 101
    show(pit, "102")
    pit.settle()
    assert pit.orders == {}
    show(pit, "102.01")
    pit.settle()
    assert the_order(pit).startswith("sell 0.04")


def test_below_the_limit_nothing_is_traded() -> None:
    pit = a_pit(funds={"BTC": "5", "USDT": "10"})
    assert grid_of(pit).held.levels == 2
    show(pit, "90")
    pit.settle()
    assert pit.orders == {}
    assert pit.told == ["BELOW_FLOOR"]
    pit = a_pit(funds={"BTC": "5", "USDT": "10"}, lower_limit="50")
    show(pit, "90")
    pit.settle()
    # What quote pays for, the fee included.
    assert the_order(pit) == "buy 0.1108 at 89.91"


def test_a_trade_below_the_minimum_waits_for_a_larger_one() -> None:
    pit = a_pit(funds={"BTC": "0.5", "USDT": "1000"})
    show(pit, "101")
    pit.settle()
    assert pit.orders == {}
    assert pit.told == ["BELOW_MINIMUM"]
    show(pit, "103")
    pit.settle()
    assert the_order(pit) == "sell 0.0145 at 103.11"


def test_it_holds_what_it_was_given_and_no_more() -> None:
    pit = a_pit(base_allocation="2", quote_allocation="100")
    grid = grid_of(pit)
    assert (grid.base, grid.quote, grid.held.value) == (2, 100, 200)
    pit.totals["BTC"] += 3  # a deposit is not its
    show(pit, "102")
    pit.settle()
    assert the_order(pit) == "sell 0.0392 at 102.11"


def test_until_balances_are_known_it_does_not_begin() -> None:
    pit = a_pit(funds={"USDT": "1000"})
    assert grid_of(pit).held is None
    pit.totals["BTC"] = D(5)
    pit.settle()
    assert grid_of(pit).held.value == 500


def test_market_orders_and_other_prices() -> None:
    pit = a_pit(order_type="market", price_source="bid")
    assert grid_of(pit).held.last_price == D("99.95")
    pit.show("101", "120")
    pit.settle()
    assert [quote.price for _, quote in pit.placed] == [None]
    assert grid_of(pit).held.last_price == 101
    pit = a_pit(price_source="last")
    assert grid_of(pit).held.last_price == 100  # the mid, as long as nobody traded
    pit.trade("102")
    pit.settle()
    assert the_order(pit) == "sell 0.0980 at 102.11"
    pit = a_pit(price_source="ask")
    pit.trade("110")
    pit.show("99", None)
    pit.settle()
    assert the_order(pit) == "sell 0.4522 at 110.11"
    pit = a_pit(a_market(min_notional="1", allow_market_orders=False), order_type="market")
    show(pit, "102")
    pit.settle()
    assert the_order(pit) == "sell 0.0980 at 102.11"


# Books ---------------------------------------------------------------------------------------


def test_only_what_a_sale_brought_beyond_its_cost_is_profit() -> None:
    pit = a_pit()
    show(pit, "110")
    pit.settle()
    (order,) = pit.orders.values()
    pit.fill("trade")
    assert grid_of(pit).earned == order.quantity * (order.price * (1 - FEE) - 100)


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(1, 100)), max_size=20))
def test_what_it_earned_and_holds_is_the_change_in_equity(steps: list[tuple[int, int]]) -> None:
    pit = a_pit()
    mid = D(100)
    for move, percent in steps:
        mid = max(mid + D(move) / 100, D(20))
        show(pit, mid)
        pit.settle()
        for slot, order in list(pit.orders.items()):
            lots = int(order.remaining * 10_000) * percent // 100
            if lots:
                pit.fill(slot, D(lots) / 10_000)
        if percent % 4 == 0:
            pit.pass_time(61)
        if percent % 3 == 0:
            pit.restart()
        pit.settle()
        grid = grid_of(pit)
        assert (grid.base, grid.quote) == (pit.totals["BTC"], pit.totals["USDT"])
        assert grid.quote >= 0
        state = grid.state()
        paid = D(1000) - grid.quote  # net, for all that was bought and sold
        assert subtract(subtract(D(state["cost"]), D(500)), grid.earned) == paid


def test_fees_in_base_are_not_held() -> None:
    pit = a_pit()
    grid = grid_of(pit)
    grid.on_fill(Fill("trade", "BTC/USDT", "buy", D(100), D(1), D("0.002"), "BTC", "t", 0))
    assert (grid.base, grid.quote) == (D("5.998"), D(900))


def test_what_is_reinvested_is_held_from_the_next_step_on() -> None:
    pit = a_pit()
    grid_of(pit).reinvest(D(50))
    pit.restart()
    assert grid_of(pit).held.value == 550


def test_the_registry_makes_one() -> None:
    kind = load("infinity_grid_value")
    market = a_market()
    made = kind.build(kind.settings_type.read({"step_pct": "0.01"}), {market.symbol: market})
    assert made.name == "infinity_grid_value"
    assert json.loads(json.dumps(made.state())) == made.state()
    settings = InfinityGridValueSettings.read({"step_pct": "0.01", "symbol": "ETH/USDT"})
    with pytest.raises(ConfigError, match="the market is BTC/USDT"):
        InfinityGridValue(settings, market)
