"""The accumulation: deeper with each fill, above no cap and no budget, at rest when asked."""

import copy
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.floor import a_market
from strategies.pit import START_MS, Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.strategies import load
from nkfast.strategies.accumulation import Accumulation
from nkfast.strategies.accumulation_settings import AccumulationSettings

D = Decimal
DAY_S = 86_400
KEYS: dict[str, Any] = {
    "daily_budget_quote": 100,
    "has_jitter": False,
    "grid": {"n": 3, "d0": "0.01", "g": 2, "s0": "0.1", "k": "1.5", "per_order_volume_cap": "0.3"},
    "dca": {"budget_daily": 0, "interval_sec": 3600, "epsilon": "0.001", "ttl_sec": 600},
    "guards": {
        "participation_cap": "0.5",
        "spread_limit": "0.03",
        "cooldown_impact_sec": 300,
        "cooldown_grid_dca_sec": 600,
        "fill_time_threshold_sec": 2,
        "mid_jump_threshold": "0.005",
        "best_bid_touch_max": 5,
        "best_bid_touch_window_sec": 300,
        "spread_widen_threshold": 3,
    },
    "vwap": {
        "window_sec": 3600,
        "size_reduction_factor": "0.5",
        "spacing_widen_factor": "1.5",
        "pause_threshold": "1.05",
    },
    "ema": {"ema_alpha": "0.01", "atr_window": 60, "atr_flat_threshold": "0.001"},
}


def keys(**changes: Any) -> dict[str, Any]:
    """The keys above with changes, ``grid__n=5`` within a section."""
    given = copy.deepcopy(KEYS)
    for name, value in changes.items():
        section, _, inner = name.rpartition("__")
        (given[section] if section else given)[inner] = value
    return given


def a_pit(
    market: Market | None = None,
    usdt: str = "1000",
    state: Any = None,
    mid: str = "100",
    spread: str = "0.10",
    **changes: Any,
) -> Pit:
    read = AccumulationSettings.read(keys(**changes))
    pit = Pit(
        lambda markets: Accumulation.build(read, markets),
        [market or a_market(min_notional="1")],
        {"BTC": "0", "USDT": usdt},
        "0",
    )
    if state is not None:
        pit.strategy.restore(json.loads(json.dumps(state)))
    show(pit, mid, spread)
    pit.settle()
    return pit


def show(pit: Pit, mid: str | Decimal, spread: str = "0.10") -> None:
    pit.show(D(mid) - D(spread) / 2, D(mid) + D(spread) / 2)


def wait(pit: Pit, seconds: float = 5) -> None:
    pit.pass_time(seconds)
    pit.settle()


def bot_of(pit: Pit) -> Accumulation:
    assert isinstance(pit.strategy, Accumulation)
    return pit.strategy


def resting(pit: Pit) -> list[str]:
    orders = sorted(pit.orders.values(), key=lambda order: -order.price)
    return [f"{order.remaining:.4f} at {order.price:.2f}" for order in orders]


LADDER = ["0.1000 at 99.00", "0.1500 at 98.00", "0.2250 at 96.00"]


# The ladder ----------------------------------------------------------------------------------


def test_the_ladder_stands_below_the_average_price() -> None:
    pit = a_pit()
    assert resting(pit) == LADDER
    assert pit.desired.again_at_ms == START_MS + 5_000
    desired = pit.decide()
    show(pit, "100.01")
    assert pit.decide() is desired


def test_d40_each_fill_is_followed_by_one_deeper_until_the_average_has_risen() -> None:
    pit = a_pit()
    pit.pass_time(10)
    pit.fill("grid1")
    wait(pit)
    assert resting(pit) == ["0.1500 at 98.00", "0.2250 at 96.00", "0.3000 at 92.00"]
    show(pit, "102")
    wait(pit)
    # The average has risen: from the first step again.
    assert resting(pit)[0] == "0.1000 at 99.01"
    assert len(resting(pit)) == 3
    assert bot_of(pit).next_index == 4
    before = resting(pit)
    show(pit, "103")
    wait(pit)
    assert resting(pit) == before  # nothing has filled since


def test_d40_after_a_while_it_is_laid_anew_too() -> None:
    pit = a_pit(reset_after_sec=1000, ema__ema_alpha=1)
    show(pit, "99.90")
    pit.pass_time(10)
    pit.fill("grid1")
    wait(pit)
    assert bot_of(pit).next_index == 5
    wait(pit, 980)
    assert bot_of(pit).next_index == 5
    wait(pit, 10)
    assert bot_of(pit).next_index == 4
    assert resting(pit)[0] == "0.1000 at 98.90"


def test_d40_an_exhausted_ladder_is_said_once() -> None:
    pit = a_pit(grid__n=8, grid__k=1)
    assert len(resting(pit)) == 7  # 0.01 * 2 ** 7 is more than the whole price
    for _ in range(3):
        wait(pit)
    assert pit.told.count("LADDER_EXHAUSTED") == 1
    pit.restart()
    wait(pit)
    assert pit.told.count("LADDER_EXHAUSTED") == 1


@pytest.mark.parametrize(
    ("sizes", "changes"),
    [
        # Half of one whole coin is none.
        (0, {"grid__s0": 1, "grid__k": 1, "grid__per_order_volume_cap": 5}),
        # Half as far again as 80 % is more than the whole price.
        (4, {"grid__d0": "0.1", "grid__n": 3, "vwap__size_reduction_factor": 1}),
    ],
)
def test_d40_a_step_that_only_caution_takes_away_waits_for_its_end(
    sizes: int, changes: dict[str, Any]
) -> None:
    pit = a_pit(
        a_market(quantity_decimals=sizes, min_notional="1"),
        usdt="10000",
        daily_budget_quote=10_000,
        guards__mid_jump_threshold=1,
        guards__spread_widen_threshold=1000,
        vwap__window_sec=60,
        **changes,
    )
    pit.pass_time(10)
    first = pit.orders["grid1"].price
    pit.fill("grid1")
    show(pit, first - D("0.5"))
    wait(pit, 58)  # what was paid is more than the market costs
    assert len(resting(pit)) == 2
    assert bot_of(pit).next_index == 4
    wait(pit, 10)  # and is forgotten
    assert len(resting(pit)) == 3
    assert bot_of(pit).next_index == 5
    assert "LADDER_EXHAUSTED" not in pit.told


def test_a_part_counts_as_a_part_and_a_cancelled_rest_is_placed_again() -> None:
    pit = a_pit()
    pit.pass_time(10)
    pit.fill("grid2", "0.05")
    assert bot_of(pit).spent == D("4.9")
    pit.end("grid2")
    wait(pit)
    assert resting(pit) == ["0.1000 at 99.00", "0.1000 at 98.00", "0.2250 at 96.00"]
    pit.pass_time(10)
    pit.fill("grid2", "0.095")
    pit.end("grid2")
    wait(pit)
    # 0.005 are worth less than an order: the step counts as filled.
    assert resting(pit) == ["0.1000 at 99.00", "0.2250 at 96.00", "0.3000 at 92.00"]


def test_d07_what_has_gone_from_the_list_has_not_filled() -> None:
    pit = a_pit()
    pit.end("grid1", "expired")
    pit.end("grid3", "cancelled")
    wait(pit)
    assert resting(pit) == LADDER
    assert bot_of(pit).spent == 0
    assert bot_of(pit).next_index == 4


@pytest.mark.parametrize("seed", range(20))
def test_d39_sizes_vary_within_cap_and_minimum(seed: int) -> None:
    whole = a_market(quantity_decimals=0, min_notional="1")
    changes = {"grid__s0": 1, "grid__k": 1, "grid__per_order_volume_cap": 1}
    pit = a_pit(whole, has_jitter=True, seed=seed, daily_budget_quote=1000, **changes)
    assert [line[:6] for line in resting(pit)] == ["1.0000"] * 3
    pit = a_pit(
        has_jitter=True,
        seed=seed,
        daily_budget_quote=1000,
        grid__n=20,
        grid__g="1.05",
        grid__s0="0.29",
        grid__k=1,
    )
    assert len(pit.orders) == 20  # a size is cut to the cap, not left out
    sizes = {order.quantity for order in pit.orders.values()}
    assert len(sizes) > 5
    assert all(D("0.2755") <= size <= D("0.3") for size in sizes)
    for number, is_same in ((seed, True), (seed + 1, False)):
        other = a_pit(
            has_jitter=True,
            seed=number,
            daily_budget_quote=1000,
            grid__n=20,
            grid__g="1.05",
            grid__s0="0.29",
            grid__k=1,
        )
        assert (resting(other) == resting(pit)) is is_same


def test_d39_a_step_that_cannot_keep_minimum_and_cap_is_left_out() -> None:
    pit = a_pit(min_notional_quote=29, grid__s0="0.3", grid__k=1, daily_budget_quote=1000)
    # 1.01 * 29 quote are 0.2959 at 99, 0.2989 at 98 and 0.3051 at 96.
    assert resting(pit) == ["0.3000 at 99.00", "0.3000 at 98.00"]


def test_d41_a_ladder_that_is_now_shorter_loses_its_first_steps_once() -> None:
    pit = a_pit(grid__n=5, grid__g="1.2", daily_budget_quote=1000)
    state = pit.strategy.state()
    orders = dict(pit.orders)
    pit = a_pit(grid__n=3, grid__g="1.2", daily_budget_quote=1000, state=state)
    pit.orders = orders
    for _ in range(5):
        wait(pit)
    assert sorted(pit.orders) == ["grid3", "grid4", "grid5"]
    assert len(pit.cancelled) == 2
    assert [slot for slot, _ in pit.placed] == ["grid3", "grid4", "grid5"]


# Budgets -------------------------------------------------------------------------------------


def test_what_rests_counts_as_much_as_what_was_bought() -> None:
    pit = a_pit(daily_budget_quote=30)
    assert resting(pit) == ["0.1000 at 99.00", "0.1500 at 98.00"]  # 24.6; the third costs 21.6
    assert pit.told == ["SHORT_OF_FUNDS"]
    pit.pass_time(10)
    pit.fill("grid1")
    wait(pit)
    assert resting(pit) == ["0.1500 at 98.00"]
    pit.pass_time(DAY_S)
    pit.settle()
    assert bot_of(pit).spent == 0  # another day


@pytest.mark.parametrize("spread", ["0.10", "8"])
def test_a_budget_that_is_now_smaller_lets_the_deepest_go(spread: str) -> None:
    pit = a_pit()
    state, orders = pit.strategy.state(), dict(pit.orders)
    pit = a_pit(daily_budget_quote=25, state=state)
    pit.orders = orders
    show(pit, "100", spread)
    wait(pit)
    assert ("SPREAD_LIMIT" in pit.told) == (spread == "8")
    assert resting(pit) == ["0.1000 at 99.00", "0.1500 at 98.00"]


def test_the_balance_bounds_it_too() -> None:
    pit = a_pit(usdt="12")
    assert resting(pit) == ["0.1000 at 99.00"]
    assert set(pit.told) == {"SHORT_OF_FUNDS"}
    pit.totals["USDT"] = D(1000)
    wait(pit)
    assert resting(pit) == LADDER


def test_a_spent_budget_stops_it_until_the_next_day() -> None:
    pit = a_pit(daily_budget_quote=10)
    pit.pass_time(10)
    pit.fill("grid1", price=D("99"))
    assert bot_of(pit).spent == D("9.9")
    pit = a_pit(daily_budget_quote="9.9")
    pit.pass_time(10)
    pit.fill("grid1")
    wait(pit)
    assert pit.told[-1] == "BUDGET_SPENT"
    assert resting(pit) == []


def test_a_day_ends_at_midnight_utc() -> None:
    pit = a_pit(daily_budget_quote="9.9")
    pit.pass_time(10)
    pit.fill("grid1")
    midnight_s = (DAY_S * 1000 - START_MS % (DAY_S * 1000)) // 1000
    wait(pit, midnight_s - 11)
    assert (bot_of(pit).spent, resting(pit)) == (D("9.9"), [])
    wait(pit, 5)  # with the first sample of the day
    assert bot_of(pit).spent == 0
    pit = a_pit()
    wait(pit, midnight_s + 1)
    pit.now_ms -= 2_000
    pit.fill("grid1")  # told late, of the day before
    assert bot_of(pit).spent == 0


def test_no_step_is_placed_above_the_average() -> None:
    pit = a_pit(ema__ema_alpha=1)
    pit.end("grid1")
    show(pit, "98.90")
    wait(pit)
    assert resting(pit) == LADDER[1:]
    show(pit, "99.50")
    wait(pit)
    assert resting(pit) == LADDER


# Passive buys --------------------------------------------------------------------------------

PASSIVE = {"dca__budget_daily": 48, "daily_budget_quote": 1000, "grid__n": 1}


def test_a_part_of_the_budget_is_bought_below_the_bid_each_interval() -> None:
    pit = a_pit(**PASSIVE)
    # 2 quote an hour, 0.1 % below the bid of 99.95.
    assert resting(pit) == ["0.0200 at 99.85", "0.1000 at 99.00"]
    pit.fill("passive2")
    wait(pit, 3_000)
    assert resting(pit) == ["0.1000 at 99.00"]
    wait(pit, 601)
    assert resting(pit) == ["0.0200 at 99.85", "0.1000 at 99.00"]
    wait(pit, 599)
    assert len(pit.orders) == 2
    wait(pit, 1)
    assert resting(pit) == ["0.1000 at 99.00"]  # cancelled at its age


def test_no_passive_buy_while_the_market_moves_or_the_ladder_fills() -> None:
    pit = a_pit(**PASSIVE, ema__atr_window=2)
    wait(pit, 601)
    show(pit, "100.3")
    wait(pit, 3_600)
    assert resting(pit) == ["0.1000 at 99.00"]
    wait(pit)
    wait(pit)
    assert len(pit.orders) == 2
    pit = a_pit(**PASSIVE)
    wait(pit, 3_590)
    pit.fill("grid1")
    wait(pit, 580)
    assert [line[-5:] for line in resting(pit)] == ["98.00"]
    wait(pit, 25)
    assert len(pit.orders) == 2


def test_d42_a_move_of_a_few_units_is_flat_where_prices_are_high() -> None:
    words = {**PASSIVE, "dca__budget_daily": 480, "daily_budget_quote": 10**6}
    pit = a_pit(usdt="1000000", mid="60000", spread="60", ema__atr_window=2, **words)
    pit.end(next(slot for slot in pit.orders if slot.startswith("passive")))
    show(pit, "60012", "60")
    wait(pit, 3_601)
    assert bot_of(pit).watch.mean_move == 12
    assert any(slot.startswith("passive") for slot in pit.orders)


def test_a_passive_buy_keeps_the_budget_and_the_minimum_or_is_left_out() -> None:
    pit = a_pit(**{**PASSIVE, "dca__budget_daily": "2.5"})
    # A 24th part is below the minimum: 1.01 quote are bought, while the day's budget has them.
    bought = []
    for _ in range(6):
        for slot in [slot for slot in pit.orders if slot.startswith("passive")]:
            bought.append(pit.fill(slot))
        wait(pit, 3_601)
    spent = sum(fill.price * fill.quantity for fill in bought)
    assert len(bought) == 2
    assert D("2.02") <= spent <= D("2.5")
    pit.pass_time(DAY_S)
    pit.settle()
    assert any(slot.startswith("passive") for slot in pit.orders)


# Guards --------------------------------------------------------------------------------------


def test_d43_a_fast_fill_stops_it_by_the_times_of_the_events() -> None:
    pit = a_pit()
    pit.pass_time(1.9)
    pit.fill("grid1")
    pit.settle()
    assert pit.told[-1] == "IMPACT_PAUSE"
    assert resting(pit) == LADDER[1:]
    wait(pit, 299)
    assert resting(pit) == LADDER[1:]
    wait(pit, 5)
    assert len(resting(pit)) == 3
    pit = a_pit()
    pit.pass_time(2)
    pit.fill("grid1")
    pit.settle()
    assert len(resting(pit)) == 3


def test_d43_fills_are_counted_and_kept_while_it_rests() -> None:
    pit = a_pit()
    pit.pass_time(1)
    pit.fill("grid1")
    pit.fill("grid2")
    assert bot_of(pit).spent == D("24.6")
    pit.restart()
    assert bot_of(pit).spent == D("24.6")
    wait(pit)
    assert pit.told[-1] == "IMPACT_PAUSE"
    assert resting(pit) == LADDER[2:]


def test_orders_rest_while_it_rests_or_are_cancelled_where_asked() -> None:
    for cancels, left in ((True, []), (False, LADDER)):
        pit = a_pit(cancel_on_pause=cancels)
        wait(pit)
        show(pit, "100", spread="1")
        wait(pit)
        assert pit.told == ["IMPACT_PAUSE"]  # the spread is ten times its median
        assert resting(pit) == left
        show(pit, "100")
        wait(pit, 301)
        assert resting(pit) == LADDER


def test_a_jump_a_wide_spread_and_touching_the_bid_are_impacts() -> None:
    pit = a_pit()
    pit.pass_time(10)
    pit.fill("grid1")
    show(pit, "99.4")
    wait(pit)
    assert pit.told[-1] == "IMPACT_PAUSE"
    pit = a_pit(guards__spread_limit="0.011")
    show(pit, "100", spread="1.2")
    wait(pit)
    assert pit.told == ["SPREAD_LIMIT"]
    pit = a_pit(grid__d0="0.0005")
    for _ in range(4):
        assert pit.told == []
        wait(pit)
    wait(pit)
    assert pit.told == ["IMPACT_PAUSE"]


def test_d42_what_we_buy_is_compared_with_what_is_traded_in_the_same_hour() -> None:
    pit = a_pit(daily_budget_quote=1000)
    pit.pass_time(10)
    pit.trade("100")  # one whole BTC
    pit.fill("grid1")
    wait(pit)
    assert "PARTICIPATION" not in pit.told
    pit.fill("grid2")
    pit.fill("grid3")
    wait(pit)
    assert "PARTICIPATION" not in pit.told  # 46.2 of 100
    pit.fill("grid4", "0.05")
    wait(pit)
    assert pit.told[-1] == "PARTICIPATION"
    wait(pit, 3_590)
    assert len(resting(pit)) == 3  # neither is of the last hour


def test_d42_a_flat_market_is_measured_by_its_price() -> None:
    for mid, decimals in (("0.0002", 8), ("60000", 2)):
        market = a_market(price_decimals=decimals, quantity_decimals=6)
        spread = str(D(mid) / 1000)
        pit = a_pit(market, mid=mid, spread=spread, ema__atr_window=2)
        flat = D(KEYS["ema"]["atr_flat_threshold"])
        show(pit, D(mid) * D("1.0004"), spread)
        wait(pit)
        assert 0 < bot_of(pit).watch.volatility < flat
        show(pit, D(mid) * D("1.0045"), spread)
        wait(pit)
        assert bot_of(pit).watch.volatility > flat


def test_paying_more_than_the_market_costs_makes_it_careful_and_stops_it() -> None:
    calm = {"guards__mid_jump_threshold": 1, "guards__spread_widen_threshold": 1000}
    pit = a_pit(vwap__window_sec=60, daily_budget_quote=1000, **calm)
    pit.pass_time(10)
    pit.fill("grid1")
    show(pit, "98.50")
    wait(pit, 58)  # the mids of 100 are forgotten, what was paid is not
    # 99 were paid for what costs 98.5: half the size, half as far again from 99.985.
    assert resting(pit)[-1] == "0.1687 at 87.98"
    assert "VWAP_PAUSE" not in pit.told
    pit = a_pit(vwap__window_sec=60, daily_budget_quote=10, **calm)
    pit.pass_time(10)
    pit.fill("grid1")
    show(pit, "93")
    wait(pit, 58)
    assert pit.told[-1] == "VWAP_PAUSE"


def test_d61_what_it_remembers_has_an_end() -> None:
    pit = a_pit(vwap__window_sec=600, daily_budget_quote=10**6, reset_after_sec=100)
    for _ in range(60):
        wait(pit, 300)
        pit.fill(min(pit.orders, key=lambda slot: -pit.orders[slot].price))
        wait(pit, 301)
    state = pit.strategy.state()
    assert len(state["bought"]) <= 7  # of the last hour
    assert len(state["levels"]) <= 3


def test_without_a_market_what_rests_goes_on_resting() -> None:
    pit = a_pit()
    pit.show(None, "100.05")
    wait(pit)
    assert resting(pit) == LADDER
    pit.restart()
    wait(pit)
    assert resting(pit) == LADDER


# Settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid__n": 0}, r"grid\.n: is 0; give at least 1"),
        ({"grid__d0": 1}, r"grid\.d0: is 1; give more than 0 and less than 1"),
        ({"grid__s0": "0.5"}, r"above per_order_volume_cap 0\.3"),
        ({"dca__budget_daily": 200}, "above daily_budget_quote 100"),
        ({"guards__participation_cap": 0}, r"guards\.participation_cap"),
        ({"ema__ema_window_sec": 3600}, r"ema\.ema_window_sec: unknown key"),
        ({"ema": 1}, "give a section with keys"),
    ],
)
def test_wrong_settings_say_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AccumulationSettings.read(keys(**changes))


def test_every_key_of_the_sections_is_asked_for() -> None:
    given = keys()
    for section in ("grid", "dca", "guards", "vwap", "ema"):
        given[section] = {}
    with pytest.raises(ConfigErrors) as caught:
        AccumulationSettings.read(given)
    sections = [section for section in KEYS.values() if isinstance(section, dict)]
    assert len(caught.value.problems) == sum(map(len, sections))


def test_the_registry_makes_one() -> None:
    kind = load("accumulation")
    market = a_market()
    made = kind.build(kind.settings_type.read(keys()), {market.symbol: market})
    assert made.name == "accumulation"
    assert json.loads(json.dumps(made.state())) == made.state()
    with pytest.raises(ConfigError, match="the market is BTC/USDT"):
        Accumulation(AccumulationSettings.read(keys(symbol="ETH/USDT")), market)
    with pytest.raises(ConfigError, match="less than a lot"):
        Accumulation(AccumulationSettings.read(keys(grid__s0="0.00001")), market)
    with pytest.raises(ValueError, match="not an accumulation's"):
        a_pit().strategy.on_end(type("Ended", (), {"slot": "level+1"})())


# Properties ----------------------------------------------------------------------------------

actions = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.integers(0, 9), st.integers(1, 100)),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("move"), st.integers(-300, 300)),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 300, 3_600, 40_000])),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


@given(actions, st.booleans(), st.integers(0, 5), st.booleans())
def test_no_budget_and_no_cap_is_ever_exceeded(
    steps: list[tuple[Any, ...]], has_jitter: bool, seed: int, cancels: bool
) -> None:
    pit = a_pit(
        has_jitter=has_jitter,
        seed=seed,
        cancel_on_pause=cancels,
        daily_budget_quote=60,
        dca__budget_daily=20,
        guards__participation_cap=100,
    )
    mid = D(100)
    for name, *numbers in steps:
        placed = len(pit.placed)
        slots = sorted(pit.orders)
        if name == "restart":
            pit.restart()
        elif name == "move":
            mid = max(mid + D(numbers[0]) / 100, D(20))
            show(pit, mid)
        elif name == "wait":
            pit.pass_time(numbers[0])
        elif slots and name == "end":
            pit.end(slots[numbers[0] % len(slots)])
        elif slots:
            slot = slots[numbers[0] % len(slots)]
            lots = int(pit.orders[slot].remaining * 10_000) * numbers[1] // 100
            if lots:
                pit.fill(slot, D(lots) / 10_000)
        pit.settle()
        for order in pit.orders.values():
            assert order.side == "buy"
            assert order.quantity <= D("0.3")
        if len(pit.placed) > placed:
            day = pit.now_ms // (DAY_S * 1000)
            today = [fill for fill in pit.fills if fill.time_ms // (DAY_S * 1000) == day]
            spent = sum((fill.price * fill.quantity for fill in today), D(0))
            rests = sum((order.price * order.remaining for order in pit.orders.values()), D(0))
            assert spent + rests <= 60
            passively = sum(
                (f.price * f.quantity for f in today if f.slot.startswith("passive")), D(0)
            )
            assert passively <= 20
        state = pit.strategy.state()
        twin = Accumulation(bot_of(pit).settings, pit.home)
        twin.restore(json.loads(json.dumps(state)))
        assert twin.state() == state
