"""The grid: exact on every level, always, and what it refuses."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import grid as reference

from nkfast.core.grid import LEVEL_DTYPE, grid_levels, lattice_ticks, min_step
from nkfast.core.market import Market
from nkfast.errors import ConfigError, NumberOverflowError

MODES = ("arithmetic_pct", "geometric", "geometric_inverse", "absolute")
ETH = Market("ETH/USDT", price_decimals=2, quantity_decimals=4)
CENT = Market("A/USDT", price_decimals=2, quantity_decimals=0)


def prices(levels: np.ndarray, side: int) -> list[int]:
    return levels["price_ticks"][levels["side"] == side].tolist()


def test_layout_is_the_documented_one() -> None:
    levels = grid_levels(ETH, Decimal("2000.37"), step=Decimal("0.011"), n_buy=4, n_sell=2)
    assert levels.dtype == LEVEL_DTYPE and levels.shape == (6,)
    assert levels["side"].tolist() == [1, 1, 1, 1, -1, -1]
    assert levels["side"].dtype == np.int8 and levels["price_ticks"].dtype == np.int64
    assert levels.flags.writeable


def test_reference_example_of_an_arithmetic_grid() -> None:
    # strategies.md 5, "grid seed", which rounds both sides down.
    levels = grid_levels(
        ETH,
        Decimal("2000.37"),
        step=Decimal("0.011"),
        n_buy=4,
        n_sell=2,
        base_quantity=Decimal("0.01"),
        price_rounding="down",
    )
    assert prices(levels, 1) == [197836, 195636, 193435, 191235]
    assert prices(levels, -1) == [202237, 204437]
    assert set(levels["quantity_lots"].tolist()) == {100}


def test_buys_round_down_and_sells_up() -> None:
    mid, step = Decimal("100.001"), Decimal("0.01")
    assert prices(grid_levels(ETH, mid, step=step, n_buy=1, n_sell=0), 1) == [9900]
    assert prices(grid_levels(ETH, mid, step=step, n_buy=0, n_sell=1), -1) == [10101]
    sells = grid_levels(ETH, mid, step=step, n_buy=0, n_sell=1, price_rounding="down")
    assert prices(sells, -1) == [10100]


@pytest.mark.parametrize(
    ("mode", "buys", "sells"),
    [
        ("arithmetic_pct", [9000, 8000, 7000], [11000, 12000, 13000]),
        ("absolute", [9990, 9980, 9970], [10010, 10020, 10030]),
        ("geometric", [9000, 8100, 7290], [11000, 12100, 13310]),
        ("geometric_inverse", [9090, 8264, 7513], [11000, 12100, 13310]),
    ],
)
def test_step_modes(mode: str, buys: list[int], sells: list[int]) -> None:
    levels = grid_levels(ETH, Decimal(100), step=Decimal("0.1"), step_mode=mode)
    assert prices(levels, 1) == buys and prices(levels, -1) == sells


def test_levels_on_the_same_price_become_one() -> None:
    # 1 % of 132 ticks: levels 1.32 ticks apart, as in the vector grid.seed.4.
    market = Market("MMX/USDT", price_decimals=4, quantity_decimals=0)
    levels = grid_levels(
        market, Decimal("0.0132"), step=Decimal("0.01"), base_quantity=100, price_rounding="down"
    )
    assert prices(levels, 1) == [130, 129, 128]
    assert prices(levels, -1) == [133, 134, 135]


@pytest.mark.parametrize("mode", MODES)
def test_steps_far_below_a_tick_give_neighbouring_prices_at_once(mode: str) -> None:
    step = Decimal("1e-25")
    levels = grid_levels(ETH, Decimal(100), step=step, step_mode=mode, n_buy=5000, n_sell=5000)
    assert prices(levels, 1) == list(range(9999, 4999, -1))
    assert prices(levels, -1) == list(range(10001, 15001))


@pytest.mark.parametrize("mode", MODES)
def test_no_level_at_or_below_zero(mode: str) -> None:
    levels = grid_levels(
        CENT, Decimal("0.05"), step=Decimal("0.01"), step_mode=mode, n_buy=100, n_sell=0
    )
    assert prices(levels, 1) == [4, 3, 2, 1]
    steep = Decimal("0.9") if mode != "absolute" else Decimal("0.045")
    levels = grid_levels(CENT, Decimal("0.05"), step=steep, step_mode=mode, n_buy=5, n_sell=0)
    assert all(price > 0 for price in prices(levels, 1))


def test_first_buy_below_zero_leaves_only_sells() -> None:
    levels = grid_levels(CENT, 1, step=5, step_mode="absolute")
    assert prices(levels, 1) == [] and prices(levels, -1) == [600, 1100, 1600]
    levels = grid_levels(CENT, 1, step=Decimal("1e18"), step_mode="absolute", n_sell=0)
    assert len(levels) == 0


def test_quantity_is_the_wished_one_or_the_least_that_the_minimums_allow() -> None:
    # strategies.md vectors grid.resolve_qty.1 to .4
    def quantity(price: str, base: str, minimum: str, buffer: str, lot: str, places: int) -> int:
        market = Market("A/B", price_decimals=5, quantity_decimals=places)
        levels = grid_levels(
            market,
            Decimal(price),
            step=Decimal("1e-9"),
            n_buy=0,
            n_sell=1,
            base_quantity=Decimal(base),
            min_notional=Decimal(minimum),
            fee_buffer=Decimal(buffer),
            price_rounding="down",
            lot_size=Decimal(lot),
        )
        return int(levels["quantity_lots"][0])

    assert quantity("100", "1", "1.05", "0.002", "0.001", 3) == 1000
    assert quantity("100", "0.001", "1.05", "0.002", "0.001", 3) == 11  # 0.0105210 rounded up
    assert quantity("0.02181", "10", "1", "0.0001", "1", 0) == 46
    assert quantity("3", "0.1", "1", "0", "0.3", 1) == 6


def test_quantity_is_never_below_the_rules_of_the_market() -> None:
    market = Market(
        "A/B", price_decimals=2, quantity_decimals=2, min_quantity=Decimal("0.5"), min_notional=10
    )
    levels = grid_levels(
        market, 100, step=Decimal("0.5"), base_quantity=0, min_notional=1, fee_buffer=0, n_buy=1
    )
    assert levels["quantity_lots"].tolist() == [50, 50, 50, 50]
    levels = grid_levels(market, 4, step=Decimal("0.5"), base_quantity=0, fee_buffer=0, n_sell=1)
    assert levels["quantity_lots"].tolist() == [500, 167]
    unruled = grid_levels(CENT, 100, step=Decimal("0.01"), base_quantity=0)
    assert unruled["quantity_lots"].tolist() == [1] * 6


def test_coarser_ticks_and_lots() -> None:
    levels = grid_levels(
        ETH,
        Decimal("2000.37"),
        step=Decimal("0.01"),
        n_buy=2,
        n_sell=2,
        base_quantity=Decimal("0.0999"),
        tick_size=Decimal("0.25"),
        lot_size=Decimal("0.02"),
    )
    assert prices(levels, 1) == [198025, 196025] and prices(levels, -1) == [202050, 204050]
    assert levels["quantity_lots"].tolist() == [800] * 4


@pytest.mark.parametrize("mode", MODES)
def test_sells_from_below_the_first_tick_begin_there(mode: str) -> None:
    levels = grid_levels(
        CENT, Decimal("0.004"), step=Decimal("0.001"), step_mode=mode, price_rounding="down"
    )
    assert prices(levels, 1) == [] and prices(levels, -1) == [1, 2, 3]


@pytest.mark.parametrize("mode", MODES)
def test_empty_sides(mode: str) -> None:
    assert len(grid_levels(ETH, 5, step=Decimal("0.1"), step_mode=mode, n_buy=0, n_sell=0)) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": Decimal(0)}, "step must be above zero, was 0"),
        ({"step": Decimal("-0.1")}, "step must be finite and not negative, was -0.1"),
        ({"step": Decimal("NaN")}, "step must be finite and not negative, was NaN"),
        ({"step": Decimal(1), "step_mode": "geometric"}, "below 1, was 1"),
        ({"step": Decimal(101), "step_mode": "geometric_inverse"}, "at most 100, was 101"),
        ({"step_mode": "pct"}, "step_mode must be one of .* was 'pct'"),
        ({"n_buy": -1}, "n_buy must be 0..1000000, was -1"),
        ({"n_sell": 1_000_001}, "n_sell must be 0..1000000, was 1000001"),
        ({"mid": Decimal(0)}, "mid must be above zero"),
        ({"mid": Decimal("Infinity")}, "mid must be finite"),
        ({"base_quantity": Decimal(-1)}, "base_quantity must be .* not negative, was -1"),
        ({"min_notional": Decimal(-1)}, "min_notional must be .* not negative"),
        ({"fee_buffer": Decimal("-0.1")}, "fee_buffer must be .* not negative"),
        ({"price_rounding": "up"}, "price_rounding must be 'side' or 'down', was 'up'"),
        ({"tick_size": Decimal("0.015")}, "tick_size must be a multiple of 1e-2, was 0.015"),
        ({"lot_size": Decimal(0)}, "lot_size must be above zero"),
    ],
)
def test_settings_outside_their_range_are_named(changes: dict[str, object], words: str) -> None:
    arguments = {"mid": Decimal(100), "step": Decimal("0.01")} | changes
    with pytest.raises(ConfigError, match=words):
        grid_levels(ETH, arguments.pop("mid"), **arguments)


@pytest.mark.parametrize("name", ["mid", "step", "base_quantity", "min_notional", "fee_buffer"])
@pytest.mark.parametrize("value", [0.5, True, "1"])
def test_floats_and_texts_are_refused(name: str, value: object) -> None:
    arguments = {"mid": Decimal(100), "step": Decimal("0.01")} | {name: value}
    with pytest.raises(TypeError, match=f"{name} must be Decimal or int"):
        grid_levels(ETH, arguments.pop("mid"), **arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"mid": Decimal("1e17")},
        {"mid": Decimal("9e16"), "step": Decimal("0.5")},
        {"mid": Decimal("9e16"), "step": Decimal("0.5"), "step_mode": "geometric"},
        {"mid": Decimal("1e17"), "step_mode": "geometric"},
        {"step": Decimal("1e30"), "step_mode": "absolute"},
        {"base_quantity": Decimal("1e16")},
        {"min_notional": Decimal("1e18")},
        {"min_notional": Decimal("1e40")},
        {"mid": Decimal("1e61")},
        {"mid": Decimal("1e-61")},
        {"mid": Decimal("100") + Decimal("1e-20"), "step": Decimal("0.1") + Decimal("1e-25")},
    ],
)
def test_numbers_beyond_the_core_are_an_error_and_never_wrong(changes: dict[str, object]) -> None:
    arguments = {"mid": Decimal(100), "step": Decimal("0.01")} | changes
    with pytest.raises(NumberOverflowError):
        grid_levels(ETH, arguments.pop("mid"), **arguments)


@pytest.mark.parametrize("mode", MODES)
def test_highest_price_is_exact_and_the_next_one_an_error(mode: str) -> None:
    market = Market("A/B", price_decimals=0, quantity_decimals=0)
    sells = {"step": Decimal(1) if mode == "absolute" else Decimal("1e-25"), "step_mode": mode}
    levels = grid_levels(market, 2**63 - 4, n_buy=0, n_sell=3, **sells)
    assert prices(levels, -1) == [2**63 - 3, 2**63 - 2, 2**63 - 1]
    with pytest.raises(NumberOverflowError):
        grid_levels(market, 2**63 - 4, n_buy=0, n_sell=4, **sells)


DECIMALS = st.integers(0, 10)


@st.composite
def grids(draw: st.DrawFn) -> dict[str, object]:
    mode = draw(st.sampled_from(MODES))
    price_decimals = draw(DECIMALS)
    mid = Decimal(draw(st.integers(1, 10**12))).scaleb(-draw(DECIMALS) - draw(st.integers(0, 3)))
    step_digits = draw(st.integers(2, 27))
    step = Decimal(draw(st.integers(1, 10 ** min(step_digits, 12)))).scaleb(-step_digits)
    if mode == "absolute":
        step = step * mid
    elif step == 1:
        step = Decimal("0.5")
    return {
        "mode": mode,
        "price_decimals": price_decimals,
        "quantity_decimals": draw(DECIMALS),
        "mid": mid,
        "step": step,
        "n_buy": draw(st.integers(0, 25)),
        "n_sell": draw(st.integers(0, 25)),
        "base": Decimal(draw(st.integers(0, 10**9))).scaleb(-draw(DECIMALS)),
        "min_quantity": Decimal(draw(st.integers(0, 10**6))).scaleb(-draw(DECIMALS)),
        "min_notional": Decimal(draw(st.integers(0, 10**6))).scaleb(-draw(DECIMALS)),
        "fee_buffer": Decimal(draw(st.integers(0, 10**4))).scaleb(-draw(st.integers(4, 8))),
        "rounds_down": draw(st.booleans()),
        "tick": draw(st.sampled_from([1, 1, 1, 5, 25, 7])),
        "lot": draw(st.sampled_from([1, 1, 1, 10, 3])),
    }


def expected_levels(grid: dict[str, object]) -> list[tuple[int, int, int]] | str:
    step_ticks = Fraction(grid["mid"]) * 10 ** grid["price_decimals"] * Fraction(grid["step"])
    # Levels that share a price cost the twin a step each; another test has the densest ones.
    if grid["mode"] == "absolute":
        step_ticks = Fraction(grid["step"]) * 10 ** grid["price_decimals"]
    if step_ticks / grid["tick"] < Fraction(1, 40):
        return "dense"
    names = ("mid", "step", "base", "min_quantity", "min_notional", "fee_buffer")
    fractions = {name: Fraction(grid[name]) for name in names}
    fractions["tick"] = Fraction(grid["tick"], 10 ** grid["price_decimals"])
    fractions["lot"] = Fraction(grid["lot"], 10 ** grid["quantity_decimals"])
    try:
        return reference.grid_levels(**(grid | fractions))
    except OverflowError:
        return "overflow"


@settings(deadline=None, max_examples=400)
@given(grids())
def test_every_level_equals_exact_arithmetic(grid: dict[str, object]) -> None:
    expected = expected_levels(grid)
    if expected == "dense":
        return
    market = Market(
        "A/B",
        price_decimals=grid["price_decimals"],
        quantity_decimals=grid["quantity_decimals"],
        min_quantity=grid["min_quantity"],
    )
    try:
        levels = grid_levels(
            market,
            grid["mid"],
            step=grid["step"],
            step_mode=grid["mode"],
            n_buy=grid["n_buy"],
            n_sell=grid["n_sell"],
            base_quantity=grid["base"],
            min_notional=grid["min_notional"],
            fee_buffer=grid["fee_buffer"],
            price_rounding="down" if grid["rounds_down"] else "side",
            tick_size=market.tick_size * grid["tick"],
            lot_size=market.lot_size * grid["lot"],
        ).tolist()
    except NumberOverflowError:
        levels = "overflow"
    assert levels == expected


@pytest.mark.parametrize("mode", ["geometric", "geometric_inverse"])
@pytest.mark.parametrize("step", ["0.0011", "0.5", "0.004108628119050005010522096404"])
def test_a_thousand_geometric_levels_are_exact(mode: str, step: str) -> None:
    market = Market("A/B", price_decimals=8, quantity_decimals=8)
    mid = Fraction("64213.4551")
    count = 500 if step != "0.5" else 34
    levels = grid_levels(
        market, Decimal("64213.4551"), step=Decimal(step), step_mode=mode, n_buy=count, n_sell=count
    )
    for sign in (1, -1):
        for k, ticks in enumerate(prices(levels, sign), 1):
            exact = reference.level_price(mid, Fraction(step), mode, sign, k) * 10**8
            assert ticks == (exact.__floor__() if sign > 0 else exact.__ceil__())


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["geometric", "geometric_inverse"]),
    st.sampled_from(["0.011", "0.00037", "0.4", "0.004108628119050005010522096404"]),
    st.integers(1, 60),
    st.integers(10**6, 10**15),
    st.sampled_from([1, -1]),
    st.integers(18, 42),
)
def test_levels_a_hair_from_a_tick_are_exact(
    mode: str, step: str, k: int, ticks: int, sign: int, digits: int
) -> None:
    # A mid whose level k misses a whole tick by about 10**-digits of it, on either side.
    ratio = reference.level_price(Fraction(1), Fraction(step), mode, sign, k)
    mids = [Decimal(int(ticks / ratio * 10**digits) + hair).scaleb(-digits) for hair in (0, 1)]
    # Level k is the k-th price, and the core holds the mid.
    assume(all(mid * Decimal(step) > 2 and mid < 2**62 for mid in mids))
    market = Market("A/B", price_decimals=0, quantity_decimals=0)
    for mid in mids:
        count = {"n_buy": k if sign > 0 else 0, "n_sell": k if sign < 0 else 0}
        levels = grid_levels(market, mid, step=Decimal(step), step_mode=mode, **count)
        exact = reference.level_price(Fraction(mid), Fraction(step), mode, sign, k)
        expected = exact.__floor__() if sign > 0 else exact.__ceil__()
        assert prices(levels, sign)[-1] == expected


@settings(deadline=None)
@given(st.integers(-30, 30), st.sampled_from(MODES), st.sampled_from(["floor", "ceil"]))
def test_lattice_is_the_same_grid_level_by_level(index: int, mode: str, rounding: str) -> None:
    mid, step = Decimal("2000.371"), Decimal("0.0173")
    sign = 1 if index < 0 else -1
    exact = 100 * reference.level_price(Fraction(mid), Fraction(step), mode, sign, abs(index))
    ticks = lattice_ticks(ETH, mid, index, step=step, step_mode=mode, rounding=rounding)
    assert ticks == (exact.__floor__() if rounding == "floor" else exact.__ceil__())


def test_lattice_refuses_what_is_no_price() -> None:
    with pytest.raises(ConfigError, match=r"level -10 of step 0\.1 below 100 is not above zero"):
        lattice_ticks(ETH, 100, -10, step=Decimal("0.1"))
    with pytest.raises(NumberOverflowError):
        lattice_ticks(ETH, Decimal("9e16"), 10, step=Decimal("0.1"))
    with pytest.raises(ConfigError, match="'up'"):
        lattice_ticks(ETH, 100, 1, step=Decimal("0.1"), rounding="up")
    with pytest.raises(ConfigError, match="index must be within 1000000 of 0"):
        lattice_ticks(ETH, 100, 10**7, step=Decimal("0.1"))
    with pytest.raises(TypeError):
        lattice_ticks(ETH, 100, 1.5, step=Decimal("0.1"))


@pytest.mark.parametrize("name", ["n_buy", "n_sell"])
def test_half_a_level_is_refused(name: str) -> None:
    with pytest.raises(TypeError):
        grid_levels(ETH, 100, step=Decimal("0.01"), **{name: 1.5})


def test_changed_settings_are_seen() -> None:
    # Prepared settings are kept for the next call; each of them must count.
    first = {"step": Decimal("0.01"), "base_quantity": Decimal(2), "fee_buffer": Decimal(0)}
    plain = grid_levels(ETH, Decimal(100), **first).tolist()
    for change in (
        {"step": Decimal("0.02")},
        {"step_mode": "absolute"},
        {"base_quantity": Decimal(3)},
        {"min_notional": Decimal(1000)},
        {"min_notional": Decimal(198), "fee_buffer": Decimal("0.5")},
        {"tick_size": Decimal(7)},
        {"lot_size": Decimal(7)},
    ):
        assert grid_levels(ETH, Decimal(100), **(first | change)).tolist() != plain, change
        assert grid_levels(ETH, Decimal(100), **first).tolist() == plain
    other = Market("ETH/USDT", price_decimals=1, quantity_decimals=4)
    assert grid_levels(other, Decimal(100), **first).tolist() != plain
    assert grid_levels(ETH, Decimal(100), **first, price_rounding="down").tolist() == plain
    assert grid_levels(ETH, Decimal("100.005"), **first).tolist() != plain


def test_least_step_earns_the_fees_exactly() -> None:
    assert min_step(Decimal("0.002"), Decimal("0.0001")) == Decimal(
        "0.004108628119050005010522096403"
    )
    assert min_step(Decimal(0)) == 0
    for fee, buffer in ((Decimal("0.002"), Decimal("0.0001")), (Decimal("0.004"), Decimal("0.01"))):
        exact = (1 + Fraction(fee)) / (1 - Fraction(fee) - Fraction(buffer)) - 1
        step = Fraction(min_step(fee, buffer))
        assert exact <= step < exact * (1 + Fraction(1, 10**27))
        # A sell one such step above a buy pays both fees.
        assert (1 + step) * (1 - Fraction(fee) - Fraction(buffer)) >= 1 + Fraction(fee)


@pytest.mark.parametrize(
    ("fee", "buffer"), [("1", "0"), ("0.5", "0.5"), ("-0.1", "0"), ("0", "-1")]
)
def test_fees_that_take_everything_are_refused(fee: str, buffer: str) -> None:
    with pytest.raises(ConfigError):
        min_step(Decimal(fee), Decimal(buffer))
