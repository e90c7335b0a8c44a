"""Ladders of growing distances and quantities: exact on every level, always."""

import json
from contextlib import nullcontext
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import accumulation as reference

from nkfast.core.accumulation import accumulation_levels
from nkfast.core.market import Market
from nkfast.errors import ConfigError, NumberOverflowError

MARKET = Market("COSA/USDT", price_decimals=6, quantity_decimals=6, min_notional=1)
LADDER = {
    "first_distance": Decimal("0.005"),
    "distance_growth": Decimal("1.3"),
    "first_quantity": Decimal(60),
    "quantity_growth": Decimal("1.1"),
    "max_quantity": Decimal(120),
}


def decimals(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(low), Decimal(high), places=places)


@given(
    price_decimals=st.integers(0, 10),
    quantity_decimals=st.integers(0, 8),
    price=decimals("0.0001", "90000", 4),
    first_distance=decimals("0.0001", "0.5", 6),
    distance_growth=decimals("0.5", "3", 4),
    first_quantity=decimals("0.0001", "1000", 4),
    quantity_growth=decimals("0.5", "2", 3),
    count=st.integers(0, 40),
    first_index=st.integers(1, 30),
    factors=st.tuples(decimals("0.1", "3", 2), decimals("0", "2", 2)),
    max_quantity=st.none() | decimals("0.001", "2000", 3),
    minimums=st.tuples(decimals("0", "20", 4), decimals("0", "10", 4)),
    minimum_beats_maximum=st.booleans(),
)
def test_every_level_is_that_of_the_twin(
    price_decimals: int,
    quantity_decimals: int,
    price: Decimal,
    first_distance: Decimal,
    distance_growth: Decimal,
    first_quantity: Decimal,
    quantity_growth: Decimal,
    count: int,
    first_index: int,
    factors: tuple[Decimal, Decimal],
    max_quantity: Decimal | None,
    minimums: tuple[Decimal, Decimal],
    minimum_beats_maximum: bool,
) -> None:
    tick, lot = Fraction(1, 10**price_decimals), Fraction(1, 10**quantity_decimals)
    min_quantity = minimums[0].quantize(Decimal(1).scaleb(-quantity_decimals))
    market = Market(
        "A/B",
        price_decimals=price_decimals,
        quantity_decimals=quantity_decimals,
        min_quantity=min_quantity,
        min_notional=minimums[1],
    )
    twin = reference.accumulation_levels(
        tick=tick,
        lot=lot,
        reference=Fraction(price),
        distance=(Fraction(first_distance) * Fraction(factors[0]), Fraction(distance_growth)),
        quantity=(Fraction(first_quantity) * Fraction(factors[1]), Fraction(quantity_growth)),
        count=count,
        first_index=first_index,
        max_quantity=None if max_quantity is None else Fraction(max_quantity),
        min_quantity=Fraction(min_quantity),
        min_notional=Fraction(minimums[1]),
        minimum_beats_maximum=minimum_beats_maximum,
    )
    fits = all(number < 2**63 for level in twin for number in level)
    with nullcontext() if fits else pytest.raises(NumberOverflowError):
        levels = accumulation_levels(
            market,
            price,
            first_distance=first_distance,
            distance_growth=distance_growth,
            first_quantity=first_quantity,
            quantity_growth=quantity_growth,
            count=count,
            first_index=first_index,
            spacing_factor=factors[0],
            size_factor=factors[1],
            max_quantity=max_quantity,
            minimum_beats_maximum=minimum_beats_maximum,
        )
        assert levels.tolist() == twin


def test_published_examples(shared_data: Path) -> None:
    vectors = json.loads((shared_data / "strategy_vectors.json").read_text())["vectors"]
    chosen = [v for v in vectors if ".GridEngine.compute_levels " in v["function"]]
    assert len(chosen) == 4
    for vector in chosen:
        inputs, grid = vector["inputs"], vector["inputs"]["grid"]
        market = Market("A/B", inputs["price_decimals"], inputs["qty_decimals"])
        levels = accumulation_levels(
            market,
            Decimal(inputs["pref"]),
            first_distance=Decimal(grid["d0"]),
            distance_growth=Decimal(grid["g"]),
            first_quantity=Decimal(grid["s0"]),
            quantity_growth=Decimal(grid["k"]),
            count=inputs["n"],
            first_index=inputs["start_index"],
            spacing_factor=Decimal(inputs["spacing_factor"]),
            size_factor=Decimal(inputs["size_factor"]),
            max_quantity=Decimal(grid["per_order_volume_cap"]),
            min_notional=Decimal(inputs["min_order_notional"]),
            minimum_beats_maximum=True,  # as the reference did
        )
        assert [
            (int(i), market.ticks_to_price(int(p)), market.lots_to_quantity(int(q)))
            for i, p, q in levels.tolist()
        ] == [
            (row["index"], Decimal(row["price"]), Decimal(row["quantity"]))
            for row in vector["outputs"]
        ]


def test_level_that_cannot_keep_minimum_and_maximum_is_left_out() -> None:
    levels = accumulation_levels(MARKET, Decimal("0.02"), first_index=20, count=4, **LADDER)
    assert levels["index"].tolist() == []
    levels = accumulation_levels(MARKET, Decimal("0.02"), first_index=18, count=4, **LADDER)
    assert levels["index"].tolist() == [18, 19]
    assert (levels["quantity_lots"] <= 120 * 10**6).all()


def test_ladder_ends_above_zero() -> None:
    levels = accumulation_levels(
        MARKET, Decimal("0.02"), count=100, minimum_beats_maximum=True, **LADDER
    )
    assert levels["index"].tolist() == list(range(1, 22))
    assert levels["price_ticks"][-1] == 995


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("first_distance", Decimal(0), "first_distance must be above zero"),
        ("distance_growth", Decimal(-1), "distance_growth must be finite and not negative"),
        ("first_quantity", Decimal("NaN"), "first_quantity must be finite"),
        ("max_quantity", Decimal(0), "max_quantity must be above zero"),
        ("first_index", 0, "indices must be 1..10000, were 0..9"),
        ("count", -1, "count must be 0..1000000, was -1"),
        ("count", 10_001, "indices must be 1..10000, were 1..10001"),
    ],
)
def test_setting_out_of_range_is_named(name: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        accumulation_levels(MARKET, Decimal("0.02"), **{**LADDER, name: value})


def test_float_is_refused() -> None:
    with pytest.raises(TypeError, match="first_distance must be Decimal or int"):
        accumulation_levels(MARKET, Decimal("0.02"), **{**LADDER, "first_distance": 0.005})


def test_quantity_that_leaves_64_bits_is_an_error() -> None:
    settings = {**LADDER, "max_quantity": None, "first_quantity": Decimal(10) ** 14}
    with pytest.raises(NumberOverflowError):
        accumulation_levels(MARKET, Decimal("0.02"), **settings)
