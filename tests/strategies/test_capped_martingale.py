"""The capped martingale: executed amounts count, the budget is gross, one order at a time."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies.capped_martingale import (
    CappedMartingale,
    MartingaleSettings,
    Position,
    next_add_notional,
)
from nkfast.trading.strategy import EndedOrder, Fill

D = Decimal
BTC = Market("BTC/USDT", 2, 6, min_quantity="0.00001", min_notional="1")
GIVEN = {"cycle_budget": 500, "base_order_pct": "0.02"}


def a_pit(quote: str = "1000", base: str = "0", **given: object) -> Pit:
    chosen = MartingaleSettings.read({**GIVEN, **given})

    def make(markets: Mapping[str, Market]) -> CappedMartingale:
        return CappedMartingale.build(chosen, markets)

    pit = Pit(make, [BTC], {"USDT": quote, "BTC": base})
    pit.show("49990", "50010")
    return pit


def position(pit: Pit) -> Position:
    assert isinstance(pit.strategy, CappedMartingale)
    return pit.strategy.position


def only(pit: Pit) -> str:
    (slot,) = pit.orders
    return slot


def begun(pit: Pit) -> Pit:
    """Let the base order take at 50,010: its cost is 50,110.02 a unit, fee included."""
    pit.settle()
    assert pit.placed[0][0] == "base"
    assert position(pit).base
    return pit


def at(pit: Pit, mid: int) -> None:
    pit.show(str(mid - 10), str(mid + 10))
    pit.settle()


def test_the_base_order_is_booked_as_it_is_executed_and_not_before() -> None:
    pit = a_pit()
    pit.show("49990", "50010", lots=100)
    pit.step()
    order = pit.orders["base"]
    assert order.price == D("50060.01")  # the ask and its slippage, down to the tick
    assert order.quantity == D("0.000201")  # 10 USDT at the bid, up to the lot
    assert position(pit).base == D("0.0001")  # what there was
    assert position(pit).gross == D("0.0001") * 50010 * D("1.002")


def test_a_base_order_that_found_nothing_is_tried_again_later() -> None:
    pit = a_pit()
    pit.show("49990", "50010")
    pit.decide()
    pit.strategy.on_end(
        EndedOrder("base", "id0", "BTC/USDT", "buy", D(50060), D("0.0002"), D(0), "rejected")
    )
    pit.settle()
    assert not pit.orders
    assert pit.desired.again_at_ms == pit.now_ms + 10_000
    pit.pass_time(10)
    pit.settle()
    assert only(pit) == "add"


def test_adds_wait_one_step_below_the_last_buy_and_grow() -> None:
    pit = begun(a_pit())
    notionals = []
    for mid in (50_000, 49_500, 49_000):
        at(pit, mid)
        order = pit.orders["add"]
        expected = position(pit).last_price * D("0.988")
        assert expected - D("0.01") < order.price <= expected
        notionals.append(order.price * order.quantity)
        pit.fill("add")
    assert [round(value, 1) for value in notionals] == [D("10.0"), D("14.5"), D("21.0")]


def test_d01_adds_are_counted_by_what_was_executed() -> None:
    pit = begun(a_pit(max_adds=1))
    at(pit, 50_000)
    pit.fill("add", D("0.0001"))
    assert only(pit) == "add"  # its rest stays
    pit.end("add")
    pit.settle()
    assert not pit.orders  # that was the one add
    assert position(pit).base == D("0.000301")


def test_half_is_sold_at_the_first_target_and_the_rest_at_the_second() -> None:
    pit = begun(a_pit())
    average = position(pit).average
    at(pit, 50_600)
    order = pit.orders["tp1"]
    assert order.side == "sell"
    assert order.quantity == D("0.0001")
    assert order.price == D("50610")
    pit.fill("tp1")
    assert position(pit).average == pytest.approx(average)
    at(pit, 50_700)
    assert only(pit) == "add"  # the first target is not taken twice
    at(pit, 50_900)
    assert only(pit) == "tp2"
    pit.fill("tp2")
    at(pit, 50_900)
    assert pit.placed[-2][0] == "base"  # a new cycle
    assert position(pit).gross < 11


def test_a_sale_too_small_for_half_takes_the_whole() -> None:
    pit = begun(a_pit(min_order_notional=6))
    at(pit, 50_600)
    assert pit.orders["tp1"].quantity == D("0.000201")


def test_what_the_first_target_did_not_sell_is_sold_when_the_price_is_there_again() -> None:
    pit = begun(a_pit(cycle_budget=5000))
    at(pit, 50_600)
    half = pit.orders["tp1"].quantity
    assert half == D("0.001")
    pit.fill("tp1", D("0.0004"))
    pit.end("tp1")
    at(pit, 50_200)
    assert only(pit) == "add"
    pit.restart()
    at(pit, 50_600)
    assert pit.orders["tp1"].quantity == half - D("0.0004")
    pit.fill("tp1", D("0.00059"))
    pit.end("tp1")
    at(pit, 50_600)
    assert only(pit) == "add"  # half but for less than an order


def test_a_loss_is_taken_at_once_when_a_sale_above_cost_has_missed() -> None:
    pit = begun(a_pit(time_stop_s=3600, max_loss_pct="0.05", max_adds=0))
    pit.pass_time(3601)
    at(pit, 50_320)
    assert only(pit) == "tp2"
    pit.show("46000", "46010")
    pit.settle()
    assert [slot for slot, _ in pit.placed] == ["base", "tp2", "stop", "base"]


def test_what_is_left_of_a_sale_and_is_too_little_ends_the_cycle() -> None:
    pit = begun(a_pit())
    at(pit, 51_000)
    pit.fill("tp2", D("0.00018"))  # the rest, of 1.07 USDT, can never be sold
    pit.end("tp2")
    at(pit, 51_000)
    assert "LEFT_OVER" in pit.told
    pit.settle()
    assert [slot for slot, _ in pit.placed] == ["base", "add", "tp2", "base", "add"]
    assert position(pit).base == D("0.000197")


def test_a_refused_order_is_not_sent_again_at_once() -> None:
    pit = begun(a_pit())
    at(pit, 50_000)
    pit.end("add", "rejected")
    pit.restart()
    at(pit, 50_000)
    assert not pit.orders
    pit.pass_time(10)
    at(pit, 50_000)
    assert only(pit) == "add"


def test_a_fee_in_a_third_asset_counts_as_planned() -> None:
    pit = begun(a_pit())
    at(pit, 50_000)
    before = position(pit)
    order = pit.orders["add"]
    cost = order.price * order.quantity
    pit.strategy.on_fill(
        Fill("add", "BTC/USDT", "buy", order.price, order.quantity, D(7), "NKC", "t9", pit.now_ms)
    )
    assert position(pit).gross - before.gross == cost * D("1.002")
    assert position(pit).base - before.base == order.quantity


def test_a_fee_in_base_makes_what_is_held_less_and_dearer() -> None:
    pit = begun(a_pit())
    at(pit, 50_000)
    before = position(pit)
    order, fee = pit.orders["add"], D("0.000001")
    pit.strategy.on_fill(
        Fill("add", "BTC/USDT", "buy", order.price, order.quantity, fee, "BTC", "t9", pit.now_ms)
    )
    assert position(pit).base - before.base == order.quantity - fee
    assert position(pit).gross - before.gross == order.price * order.quantity


def test_another_role_waits_for_the_end_of_the_one_before() -> None:
    pit = begun(a_pit())
    at(pit, 50_000)
    assert only(pit) == "add"
    pit.keeps_cancelled = True
    at(pit, 50_600)
    assert only(pit) == "add"
    pit.keeps_cancelled = False
    pit.settle()
    assert only(pit) == "tp1"


def test_d57_after_its_time_a_cycle_adds_nothing_and_leaves_at_break_even() -> None:
    pit = begun(a_pit(time_stop_s=3600))
    at(pit, 50_000)
    assert only(pit) == "add"
    assert pit.desired.again_at_ms is not None
    pit.pass_time(3601)
    at(pit, 49_500)
    assert not pit.orders
    at(pit, 50_300)  # break-even with the fee of the sale, slippage and buffer: 50,310.9
    assert not pit.orders
    at(pit, 50_320)
    assert only(pit) == "tp2"


def test_a_loss_that_is_allowed_is_taken_when_the_time_is_up() -> None:
    pit = begun(a_pit(time_stop_s=3600, max_loss_pct="0.05", max_adds=0))
    at(pit, 46_000)
    assert not pit.orders  # the time is not up
    pit.pass_time(3601)
    at(pit, 46_000)
    (quote,) = [quote for slot, quote in pit.placed if slot == "stop"]
    assert (quote.side, quote.price) == ("sell", D("45944.01"))
    assert quote.quantity == D("0.000201")


def test_a_cooldown_follows_a_cycle() -> None:
    pit = begun(a_pit(cooldown_after_cycle_s=60))
    at(pit, 51_000)
    pit.fill("tp2")
    at(pit, 51_000)
    assert not pit.orders
    assert position(pit) == Position()
    assert pit.desired.again_at_ms == pit.now_ms + 60_000
    pit.pass_time(60)
    at(pit, 51_000)
    assert pit.placed[-2][0] == "base"


def test_a_shortage_is_said_and_nothing_is_placed() -> None:
    pit = a_pit(quote="5")
    pit.settle()
    assert not pit.orders
    assert pit.told == ["SHORTAGE"]


def test_d57_selling_gives_no_budget_back() -> None:
    pit = begun(a_pit(cycle_budget=25, base_order_pct="0.5", per_order_cap_pct=1))
    at(pit, 50_700)
    pit.fill("tp1")
    at(pit, 49_000)
    assert "add" not in pit.orders
    assert "CYCLE_BUDGET" in pit.told


def test_nothing_is_done_on_a_book_that_is_not_whole() -> None:
    pit = begun(a_pit())
    at(pit, 50_000)
    pit.show(None, "50010")
    pit.settle()
    assert only(pit) == "add"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cycle_budget": 0}, "more than 0"),
        ({"tp2_pct": "0.001"}, "tp1_pct"),
        ({"multiplier": "0.9"}, "at least 1"),
        ({"symbol": "ETH/USDT"}, "the market is BTC/USDT"),
    ],
)
def test_wrong_settings_say_what_is_wrong(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        a_pit(**given)


def test_an_add_is_never_more_than_its_cap() -> None:
    chosen = MartingaleSettings.read({"cycle_budget": 500})
    assert [next_add_notional(chosen, D(1), made) for made in (0, 1, 7)] == [
        D("7.5"),
        D("10.875"),
        D(50),
    ]


MOVES = st.lists(
    st.tuples(
        st.integers(44_000, 54_000), st.sampled_from(["none", "part", "all", "end", "restart"])
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(MOVES)
@example(
    [
        (44_000, "none"),
        (44_451, "all"),
        (44_716, "part"),
        (44_000, "part"),
        (44_716, "none"),
        (44_000, "none"),
    ]
)
def test_d08_the_budget_holds_through_fills_ends_and_restarts(moves: list[tuple[int, str]]) -> None:
    pit = a_pit(cycle_budget=60, base_order_pct="0.2", time_stop_s=600)
    for mid, what in moves:
        at(pit, mid)
        pit.pass_time(30)
        assert len(pit.orders) <= 1
        for slot, order in list(pit.orders.items()):
            if order.side == "buy":
                resting = order.remaining * order.price * D("1.002")
                assert position(pit).gross + resting <= 60
            if what == "part":
                pit.fill(slot, BTC.round_quantity(order.remaining / 2, "floor") or order.remaining)
            elif what == "all":
                pit.fill(slot)
            elif what == "end":
                pit.end(slot)
        # What a cycle left over is the account's: less than the least order, 2 USDT, each time.
        left = pit.totals["BTC"] - position(pit).base
        assert 0 <= left * 43_000 <= 2 * pit.told.count("LEFT_OVER")
        if what == "restart":
            pit.restart()
