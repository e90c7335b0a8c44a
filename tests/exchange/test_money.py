"""Amounts are exact whatever their size."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.exchange.money import UNIT, atoms, parse_amount, rate_units, shifted, text


@given(st.integers(min_value=-(10**60), max_value=10**60))
def test_text_gives_back_the_same_atoms(amount: int) -> None:
    written = text(amount)
    assert "e" not in written.lower()
    assert Decimal(written).scaleb(42) == amount or len(written) > 28
    whole, _, fraction = written.lstrip("-").partition(".")
    assert int(whole) * UNIT + int(fraction.ljust(42, "0") or "0") == abs(amount)
    assert not fraction.endswith("0")
    assert written.startswith("-") == (amount < 0)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("1", UNIT), ("0.5", UNIT // 2), ("1e-7", UNIT // 10**7), (" 2 ", 2 * UNIT), (3, 3 * UNIT)],
)
def test_amounts_are_read_as_third_parties_write_them(written: str, expected: int) -> None:
    assert atoms(written) == expected


@pytest.mark.parametrize(
    "written",
    ["", "x", "1_000", "NaN", "Infinity", "1e31", "9" * 65, "1e999999999999", "١", True, "0x10"],
)
def test_what_is_no_amount_is_refused(written: object) -> None:
    with pytest.raises(ValueError):
        parse_amount(written)  # type: ignore[arg-type]


def test_more_than_42_places_do_not_fit() -> None:
    assert atoms("0." + "0" * 41 + "1") == 1
    with pytest.raises(ValueError, match="42 decimal places"):
        atoms("0." + "0" * 42 + "1")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-10, max_value=10))
def test_shifting_cuts_toward_zero(number: Decimal) -> None:
    count, is_exact = shifted(number, 8)
    assert (
        abs(Decimal(count).scaleb(-8))
        <= abs(number)
        < abs(Decimal(count).scaleb(-8)) + Decimal("1e-8")
    )
    assert is_exact == (Decimal(count).scaleb(-8) == number)


def test_rates_have_six_places_and_are_below_one() -> None:
    assert rate_units("0.002") == 2000
    for rate in ("1", "-0.001", "0.0000001"):
        with pytest.raises(ValueError, match="fee rate"):
            rate_units(rate)
