"""The rebalancer: one order at a time, never more than what is off, everything owned counted."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.strategies.rebalance import (
    Rebalance,
    RebalanceSettings,
    find_correction,
    find_pair_correction,
)
from nkfast.strategies.settings import keys
from nkfast.trading.strategy import Fill

D = Decimal
ETH = Market("ETH/USDT", 2, 4, min_notional="1")
BTC = Market("BTC/USDT", 2, 6, min_notional="1")


def a_pit(base: str, quote: str, fee: str = "0.002", **settings: object) -> Pit:
    chosen = RebalanceSettings.read(settings)

    def make(markets: Mapping[str, Market]) -> Rebalance:
        return Rebalance.build(chosen, markets)

    pit = Pit(make, [ETH], {"ETH": base, "USDT": quote}, fee)
    pit.show("99.95", "100.05")
    return pit


def codes(pit: Pit) -> list[str]:
    return [skip.code for skip in pit.desired.skips]


# What is off ---------------------------------------------------------------------------------


def test_a_share_that_is_off_by_the_threshold_is_left() -> None:
    assert find_pair_correction(D("0.52"), D(48), D(100), D("0.5"), D("0.02")) is None
    found = find_pair_correction(D("0.521"), D("47.9"), D(100), D("0.5"), D("0.02"))
    assert found is not None
    assert (found.side, found.amount) == ("sell", Fraction("0.021"))


def test_the_farthest_is_corrected_and_the_quote_alone_never() -> None:
    prices = {"A": D(1), "B": D(2), "Q": D(1)}
    targets = {"A": D("0.5"), "B": D("0.25"), "Q": D("0.25")}
    found = find_correction({"A": D(10)}, prices, targets, "Q", D("0.02"))
    assert found == ("A", "sell", 5, 1, D("0.5"), 1)
    owned = {"A": D(45), "B": D("10.5"), "Q": D(34)}  # only Q is off by more than 0.08
    assert find_correction(owned, prices, targets, "Q", D("0.08")) is None
    assert find_correction({}, prices, targets, "Q", D(0)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quote_asset": "X"}, "no target"),
        ({"threshold": D("-0.1")}, "at least 0"),
        ({"prices": {"A": D(1)}}, "price of Q is None"),
        ({"prices": {"A": D(0), "Q": D(1)}}, "price of A is 0"),
    ],
)
def test_wrong_questions_are_errors(change: dict[str, object], message: str) -> None:
    given = {
        "balances": {},
        "prices": {"A": D(1), "Q": D(1)},
        "targets": {"A": D("0.5"), "Q": D("0.5")},
        "quote_asset": "Q",
        "threshold": D(0),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        find_correction(**given)
    with pytest.raises(ValueError, match="more than 0 and less than 1"):
        find_pair_correction(D(1), D(1), D(1), D(1), D(0))


# One pair ------------------------------------------------------------------------------------


def test_a_sale_waits_as_a_maker_above_the_price() -> None:
    pit = a_pit("0.6", "40")
    pit.settle()
    ((slot, quote),) = pit.placed
    assert slot == "rebalance-ETH"
    assert (quote.side, quote.price, quote.quantity) == ("sell", D("100.20"), D("0.1000"))
    assert quote.post_only
    pit.fill(slot)
    pit.settle()
    pit.pass_time(10)
    pit.settle()
    assert len(pit.placed) == 1
    assert codes(pit) == ["BALANCED"]


def test_a_limit_that_would_take_stays_on_the_makers_side() -> None:
    pit = a_pit("0.6", "40", spread_pct="0", price_source="bid")
    pit.settle()
    assert pit.placed[0][1].price == D("99.96")
    pit = a_pit("0.3", "70", spread_pct="0", price_source="ask")
    pit.settle()
    assert pit.placed[0][1].price == D("100.04")


def test_d13_no_second_order_while_one_is_open() -> None:
    # The reference sold 0.10, 0.05 and 0.025 of what had to be 0.1: 0.175.
    pit = a_pit("0.6", "40")
    for _ in range(20):
        pit.step()
        pit.pass_time(61)
    assert sum(quote.quantity for _, quote in pit.placed) >= D("0.1")
    assert len(pit.orders) == 1
    assert all(quote.quantity == D("0.1") for _, quote in pit.placed)


def test_d13_what_is_held_counts_as_owned() -> None:
    pit = a_pit("0.6", "40")
    pit.settle()
    assert pit.view().available["ETH"] == D("0.5")
    pit.restart()
    pit.pass_time(61)
    pit.settle()
    assert len(pit.placed) == 1  # the order that rests is known again by its slot


def test_d13_what_others_hold_counts_as_owned() -> None:
    pit = a_pit("0.6", "40")
    view = pit.view()
    held = replace(view, available={"ETH": D("0.3"), "USDT": D(40)})  # 0.3 wait in another order
    (quote,) = pit.strategy.decide(held).quotes.values()
    assert (quote.side, quote.quantity) == ("sell", D("0.1"))  # by what is free it would buy


def test_an_order_that_is_too_old_is_priced_anew() -> None:
    pit = a_pit("0.6", "40", order_timeout_s=90)
    pit.settle()
    pit.show("101.95", "102.05")
    pit.pass_time(89)
    pit.settle()
    assert len(pit.placed) == 1
    pit.pass_time(1)
    pit.settle()
    assert pit.cancelled == ["rebalance-ETH"]
    assert [quote.price for _, quote in pit.placed] == [D("100.20"), D("102.21")]


def test_a_part_that_filled_is_not_sold_twice() -> None:
    pit = a_pit("0.6", "40", order_timeout_s=90)
    pit.settle()
    pit.fill("rebalance-ETH", "0.06")
    pit.pass_time(91)
    pit.settle()
    assert pit.orders == {}
    pit.pass_time(10)
    pit.settle()
    assert [quote.quantity for _, quote in pit.placed] == [D("0.1"), D("0.04")]


def test_balances_told_late_are_not_acted_on() -> None:
    pit = a_pit("0.6", "40")
    pit.settle()
    before = dict(pit.totals)
    pit.fill("rebalance-ETH")
    pit.totals, after = before, pit.totals  # the venue tells what was before the fill
    pit.settle()
    assert pit.desired.again_at_ms == pit.now_ms + 10_000
    pit.pass_time(9)
    pit.settle()
    assert len(pit.placed) == 1
    pit.totals = after
    pit.pass_time(1)
    pit.settle()
    assert len(pit.placed) == 1
    assert codes(pit) == ["BALANCED"]


def test_a_restart_believes_no_balances_that_may_be_told_late() -> None:
    pit = a_pit("0.6", "40")
    pit.settle()
    totals = dict(pit.totals)
    pit.fill("rebalance-ETH")
    pit.totals = totals  # the venue does not show it yet
    pit.restart()
    pit.settle()
    assert not pit.orders
    pit.restart()
    pit.settle()
    assert not pit.orders
    assert pit.desired.again_at_ms == pit.now_ms + 10_000


def test_nothing_is_looked_at_between_checks() -> None:
    pit = a_pit("0.5", "50")
    pit.settle()
    first = pit.decide()
    assert codes(pit) == ["BALANCED"]
    assert first.again_at_ms == pit.now_ms + 60_000
    pit.totals["ETH"] = D(3)
    assert pit.decide() is first
    pit.pass_time(60)
    pit.settle()
    assert pit.placed[-1][1].side == "sell"


def test_a_clock_that_was_set_back_does_not_put_a_check_off() -> None:
    pit = a_pit("0.5", "50")
    pit.settle()
    first = pit.decide()
    pit.pass_time(-3600)
    assert pit.decide() is not first


def test_a_buy_leaves_room_for_its_fee() -> None:
    pit = a_pit("0", "100", target_base_pct="0.999")
    pit.settle()
    ((_, quote),) = pit.placed
    assert quote.quantity == D("0.9990")
    assert quote.quantity * quote.price * D("1.002") <= 100
    assert "SHORTAGE" not in codes(pit)
    pit = a_pit("0", "100", target_base_pct="0.999", spread_pct="0")
    pit.settle()
    ((_, quote),) = pit.placed
    assert (quote.price, quote.quantity) == (D("100.00"), D("0.9980"))
    assert quote.quantity * quote.price * D("1.002") <= 100
    assert "SHORTAGE" in pit.told


def test_what_is_too_little_is_left() -> None:
    pit = a_pit("0.006", "0.4")
    pit.settle()
    assert pit.placed == []
    assert codes(pit) == ["DRIFT", "BELOW_MINIMUM"]
    pit = a_pit("0.6", "40", min_notional_quote="11")
    pit.settle()
    assert "BELOW_MINIMUM" in codes(pit)


def test_a_market_order_has_no_price() -> None:
    pit = a_pit("0.3", "70", order_type="market", price_source="last")
    pit.settle()
    assert codes(pit) == ["NO_PRICE"]
    pit.trade("103")
    pit.pass_time(60)
    pit.settle()
    ((_, quote),) = pit.placed
    assert (quote.side, quote.price, quote.quantity) == ("buy", None, D("0.1898"))
    assert pit.fills[0].price == D("100.05")
    with pytest.raises(ConfigError, match="takes no market orders"):
        Rebalance(
            RebalanceSettings(order_type="market"),
            {"ETH/USDT": Market("ETH/USDT", 2, 4, allow_market_orders=False)},
        )


def test_without_a_book_nothing_is_done() -> None:
    pit = a_pit("0.6", "40")
    for bid, ask in ((None, "100.05"), ("99.95", None)):
        pit.show(bid, ask)
        pit.settle()
        assert codes(pit) == ["NO_PRICE"]
        pit.pass_time(60)
    pit.books["ETH/USDT"].mark_stale()
    pit.settle()
    assert codes(pit) == ["NO_PRICE"]
    assert pit.placed == []


def test_without_balances_it_says_so() -> None:
    pit = a_pit("0.6", "40")
    pit.totals.clear()
    pit.decide()
    assert codes(pit) == ["NO_BALANCES"]


def test_one_line_says_what_a_check_found() -> None:
    pit = a_pit("0.6", "40")
    pit.decide()
    assert pit.desired.skips[0].code == "DRIFT"
    assert pit.desired.skips[0].detail == (
        "sell ETH: ETH 0.6 of 0.5, USDT 0.4 of 0.5; worth 100 USDT"
    )


def test_statistics_survive_a_restart() -> None:
    pit = a_pit("0.6", "40")
    pit.settle()
    pit.fill("rebalance-ETH", "0.04")
    pit.fill("rebalance-ETH", knows_fee=False)
    pit.restart()
    state = pit.strategy.state()
    assert state == {
        "checks": 1,
        "corrections": 1,
        "fills": 2,
        "moved": {"ETH": "-0.1", "USDT": "10.011984"},
        "next_ms": pit.now_ms + 60_000,
        "has_filled": True,
        "ended": "filled",
    }
    assert pit.strategy.state() is state


def test_a_rejected_order_waits_for_the_next_check() -> None:
    pit = a_pit("0.6", "40")
    pit.settle()
    pit.end("rebalance-ETH", "rejected")
    before = len(pit.placed)
    pit.step()
    assert len(pit.placed) == before
    pit.pass_time(60)
    pit.step()
    assert len(pit.placed) == before + 1


# Several assets ------------------------------------------------------------------------------

ASSETS = [
    {"asset": "BTC", "target_pct": "0.22"},
    {"asset": "ETH", "target_percent": "0.43", "trading_pair": "eth_usdt"},
]


def a_basket(funds: dict[str, str], **settings: object) -> Pit:
    chosen = RebalanceSettings.read({"assets": ASSETS, "threshold_pct": "0.05", **settings})

    def make(markets: Mapping[str, Market]) -> Rebalance:
        return Rebalance.build(chosen, markets)

    pit = Pit(make, [BTC, ETH], funds)
    pit.show("49990", "50010")
    pit.show("99.95", "100.05", "ETH/USDT")
    return pit


def test_assets_are_corrected_one_after_the_other() -> None:
    pit = a_basket({"BTC": "0.01", "ETH": "1", "USDT": "400"})
    for _ in range(6):
        pit.settle()
        assert len(pit.orders) <= 1
        for slot in pit.orders:
            pit.fill(slot)
        pit.settle()
        pit.pass_time(60)
    slots = [slot for slot, _ in pit.placed]
    assert slots == ["rebalance-ETH", "rebalance-BTC"]
    assert [quote.symbol for _, quote in pit.placed] == ["ETH/USDT", "BTC/USDT"]
    assert codes(pit) == ["BALANCED"]


def test_a_price_that_is_missing_stops_all() -> None:
    pit = a_basket({"BTC": "0.01", "ETH": "1", "USDT": "400"})
    pit.show(None, None, "ETH/USDT")
    pit.settle()
    assert codes(pit) == ["NO_PRICE"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"assets": [{"asset": "BTC", "target_pct": "0.5"}]}, "quote_asset: is required"),
        (
            {"assets": [{"asset": "BTC", "target_pct": "0.5", "symbol": "ETH/USDT"}]},
            "ETH/USDT does not trade BTC for USDT",
        ),
        (
            {"assets": [{"asset": "A", "target_pct": "0.6"}] * 2, "quote_asset": "Q"},
            "named twice",
        ),
        (
            {
                "assets": [
                    {"asset": "A", "target_pct": "0.6"},
                    {"asset": "B", "target_pct": "0.5"},
                ],
                "quote_asset": "Q",
            },
            "add up to 1.1; 1 is all",
        ),
        (
            {
                "assets": [
                    {"asset": "A", "target_pct": "0.6"},
                    {"asset": "Q", "target_pct": "0.3"},
                ],
                "quote_asset": "Q",
            },
            "add up to 0.9, not to 1",
        ),
        ({"assets": [{"asset": "Q", "target_pct": 1}], "quote_asset": "Q"}, "beside Q"),
        ({"assets": [{"asset": "A", "target_pct": 2}], "quote_asset": "Q"}, "target_pct: is 2"),
        ({"target_base_pct": 1}, "less than 1"),
        ({"order_type": "stop"}, "use 'limit' or 'market'"),
    ],
)
def test_wrong_settings_say_what_is_wrong(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RebalanceSettings.read(given)


def test_targets_may_miss_one_by_a_rounding() -> None:
    thirds = [{"asset": asset, "target_pct": "0.33333"} for asset in ("A", "B", "Q")]
    settings = RebalanceSettings.read({"assets": thirds, "quote_asset": "Q"})
    assert settings.symbols({}) == ("A/Q", "B/Q")
    assert settings.targets_of("", "")["Q"] == D("0.33333")
    left = RebalanceSettings.read({"assets": thirds[:2], "quote_asset": "Q"})
    assert left.targets_of("", "")["Q"] == D("0.33334")


def test_assets_are_named_as_markets_are() -> None:
    settings = RebalanceSettings.read(
        {
            "quote_asset": "usdt",
            "assets": [
                {"asset": "eth", "target_pct": "0.5", "trading_pair": "eth_usdt"},
                {"asset": "btc", "target_pct": "0.2"},
            ],
        }
    )
    assert settings.symbols({}) == ("ETH/USDT", "BTC/USDT")
    assert list(settings.targets_of("", "")) == ["ETH", "BTC", "USDT"]


def test_d33_old_names_are_known() -> None:
    settings = RebalanceSettings.read(
        {
            "trading_pair": "ETH-USDT",
            "target_base_percent": 0.6,
            "drift_threshold": "0.03",
            "rebalance_order_type": "limit",
            "rebalance_order_spread": 0.001,
            "poll_interval_seconds": 30,
        }
    )
    assert settings.symbols({}) == ("ETH/USDT",)
    assert (settings.target_base_pct, settings.threshold_pct) == (D("0.6"), D("0.03"))
    told = {item.name: item for item in keys(RebalanceSettings)}
    assert told["assets"].type == "list of sections"
    assert told["assets.target_pct"].unit == "fraction"


def test_a_market_that_is_missing_is_named() -> None:
    settings = RebalanceSettings.read({"assets": ASSETS})
    with pytest.raises(ConfigError, match="BTC/USDT is not among ETH/USDT"):
        Rebalance(settings, {"ETH/USDT": ETH})
    assert load("rebalance") is Rebalance


# Always --------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["step", "fill", "part", "end", "reject", "time", "restart", "price"]),
        st.integers(1, 200),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 300), st.integers(0, 300))
def test_never_two_orders_and_never_too_much(
    steps: list[tuple[str, int]], base: int, quote: int
) -> None:
    pit = a_pit(str(D(base) / 100), str(quote), threshold_pct="0.03")
    for kind, size in steps:
        if kind == "step":
            before = set(pit.orders)
            pit.step()
            assert len(pit.orders) <= 1
            for slot in set(pit.orders) - before:
                _check_not_too_much(pit, slot)
        elif kind in ("fill", "part", "end", "reject") and pit.orders:
            (slot,) = pit.orders
            if kind == "fill":
                pit.fill(slot)
            elif kind == "part":
                lots = min(size, int(pit.orders[slot].remaining * 10_000))
                pit.fill(slot, D(lots) / 10_000)
            else:
                pit.end(slot, "cancelled" if kind == "end" else "rejected")
        elif kind == "time":
            pit.pass_time(size)
        elif kind == "restart":
            pit.restart()
        elif kind == "price":
            pit.show(D(9900 + size) / 100, D(9910 + size) / 100)


def _check_not_too_much(pit: Pit, slot: str) -> None:
    """After the order is filled whole the share is not off to the other side."""
    order = pit.orders[slot]
    sign = 1 if order.side == "buy" else -1
    base = pit.totals["ETH"] + sign * order.remaining
    quote = pit.totals["USDT"] - sign * order.remaining * order.price
    mid = pit.books["ETH/USDT"].without([(pit.home.price_to_ticks(order.price), 0)]).mid
    assert mid is not None
    share = base * mid / (base * mid + quote)
    slack = D("0.01")  # the spread of the limit, and the mid that our own order moved
    assert (share - D("0.5")) * sign <= slack
    assert base >= 0
    assert quote >= 0


@given(st.integers(0, 1000), st.integers(1, 100_000), st.integers(1, 99))
def test_it_converges(base: int, quote: int, target: int) -> None:
    pit = a_pit(
        str(D(base) / 100), str(D(quote) / 100), target_base_pct=D(target) / 100, spread_pct="0"
    )
    for _ in range(8):
        pit.settle()
        for slot in list(pit.orders):
            pit.fill(slot)
        pit.settle()
        pit.pass_time(61)
    pit.settle()
    assert codes(pit) == ["BALANCED"] or "BELOW_MINIMUM" in codes(pit)
    assert len(pit.placed) <= 4


def test_a_fee_that_is_told_late_counts_as_one_told_with_its_fill() -> None:
    fill = Fill("sell", "ETH/USDT", "sell", D(100), D("0.5"), D("0.1"), "USDT", "t1", 1)
    at_once, late, corrected = (a_pit("1", "100").strategy for _ in range(3))
    at_once.on_fill(fill)
    late.on_fill(replace(fill, fee=None))
    late.on_fee(fill, None)
    corrected.on_fill(replace(fill, fee=D("0.04")))
    corrected.on_fee(fill, D("0.04"))
    assert at_once.state()["moved"] == {"ETH": "-0.5", "USDT": "49.9"}
    assert late.state() == corrected.state() == at_once.state()
