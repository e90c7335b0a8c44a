"""The arithmetic of a round trip: exact at the border between gain and loss."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.errors import ConfigError
from nkfast.strategies.round_trip import (
    FeeWatch,
    fee_in_quote,
    grid_profit,
    is_profitable,
    min_sell_price,
    pays_both_fees,
    why_not,
)
from nkfast.trading.strategy import Fill

D = Decimal
FEES = {"fee_rate": D("0.002"), "fee_buffer": D("0.0001")}


@given(
    st.integers(1, 10**6),
    st.decimals("0.0001", "0.3", places=4),
    st.decimals("0", "0.01", places=4),
    st.decimals("0", "0.01", places=4),
)
def test_a_round_trip_that_passes_never_loses(
    ticks: int, step: Decimal, fee: Decimal, buffer: Decimal
) -> None:
    buy = D(ticks) / 100
    sell = buy * (1 + step)
    if is_profitable(buy, sell, fee, buffer):
        assert grid_profit(buy, sell, D(1), fee) >= 0
    elif not buffer:
        assert grid_profit(buy, sell, D(1), fee) < 0


@given(
    st.integers(1, 10**12),
    st.decimals("0", "0.3", places=4),
    st.decimals("0", "0.3", places=4),
)
def test_the_least_sell_price_pays_and_a_little_less_does_not(
    ticks: int, fee: Decimal, buffer: Decimal
) -> None:
    buy = D(ticks) / 10**8
    least = min_sell_price(buy, fee, buffer)
    assert is_profitable(buy, least, fee, buffer)
    assert not is_profitable(buy, least * (1 - D("1e-26")), fee, buffer)


def test_fees_that_take_everything_have_no_price() -> None:
    with pytest.raises(ConfigError, match="takes all of a sale"):
        min_sell_price(D(100), D("0.9"), D("0.1"))


def test_an_order_is_worth_placing_at_the_border() -> None:
    least = D("100.4108628119050005010522097")
    for side, price, opposing in (("buy", D(100), least), ("sell", least, D(100))):
        assert why_not(side, price, D(1), opposing, **FEES, min_notional=D(100)) is None
    skip = why_not("buy", D(100), D(1), D("100.41"), **FEES, min_notional=D(1))
    assert skip is not None
    assert skip.code == "UNPROFITABLE"
    assert "100.41086281" in skip.detail
    skip = why_not("sell", D("0.009"), D(100), D("0.008"), **FEES, min_notional=D(1))
    assert skip is not None
    assert (skip.code, skip.detail) == (
        "BELOW_MINIMUM",
        "sell 100 at 0.009 is worth 0.9, the least is 1",
    )


def test_two_fees_exactly_are_not_earned() -> None:
    # 100.2 / 99.8 - 1 is just above 2 * 0.002, the mirrored 99.80039... just at it.
    assert pays_both_fees("buy", D("99.8"), D(100), D("0.002"))
    assert pays_both_fees("sell", D("100.2"), D(100), D("0.002"))
    assert not pays_both_fees("buy", D(100), D("100.2"), D("0.002"))
    assert not pays_both_fees("sell", D("100.4"), D("100.2"), D("0.002"))


def test_a_fee_is_told_in_quote_whatever_it_was_taken_in() -> None:
    def fill(fee: str | None, asset: str) -> Fill:
        known = None if fee is None else D(fee)
        return Fill("slot", "BTC/USDT", "buy", D(100), D(2), known, asset, "t", 0)

    assert fee_in_quote(fill("0.3", "USDT"), D("0.002")) == D("0.3")
    assert fee_in_quote(fill("0.004", "BTC"), D("0.001")) == D("0.4")
    assert fee_in_quote(fill("7", "NKC"), D("0.001")) == D("0.2")
    assert fee_in_quote(fill(None, ""), D("0.002")) == D("0.4")


def test_a_fee_that_differs_by_more_than_a_tenth_is_said_once() -> None:
    def fill(fee: str | None, asset: str = "USDT", price: int = 100) -> Fill:
        known = None if fee is None else D(fee)
        return Fill("slot", "BTC/USDT", "buy", D(price), D(1), known, asset, "t", 0)

    watch, said = FeeWatch(D("0.002"), D(10)), []
    for quiet in (fill("0.22"), fill("0.18"), fill(None), fill("9", "NKC"), fill("0.5", price=9)):
        watch.look(quiet, said)
    assert said == []
    watch.look(fill("0.2201"), said)
    watch.look(fill("9"), said)
    detail = "BTC/USDT: a fill cost 0.002201 of its value, 0.002 is reckoned with"
    assert [(skip.code, skip.detail) for skip in said] == [("FEE_DIFFERS", detail)]
    FeeWatch(D("0.002"), D(10)).look(fill("0.1799"), said)
    assert len(said) == 2
