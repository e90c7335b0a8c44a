"""Rounding and minimums: every price and quantity lies on the market's grid."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.floor import a_market

from nkfast.errors import ConfigError
from nkfast.strategies.sizing import Steps, largest_quantity, min_quantity, needed
from nkfast.wire.symbols import TradingPair

D = Decimal


@given(st.fractions(Fraction(1, 10**9), 10**9), st.sampled_from(["0.01", "0.05", "25"]))
def test_prices_are_never_worse_than_asked_for(wished: Fraction, tick: str) -> None:
    steps = Steps(a_market(), D(tick))
    buy, sell = steps.price(wished, "buy"), steps.price(wished, "sell")
    assert buy <= wished <= sell
    assert sell - buy in (0, D(tick))
    assert buy % D(tick) == sell % D(tick) == 0
    down = Steps(a_market(), D(tick), price_rounding="down")
    assert down.price(wished, "buy") == down.price(wished, "sell") == buy


@given(st.fractions(Fraction(1, 10**9), 10**9), st.sampled_from(["0.0001", "0.25", "3"]))
def test_quantities_are_whole_lots(wished: Fraction, lot: str) -> None:
    steps = Steps(a_market(), lot_size=D(lot))
    assert steps.down(wished) <= wished <= steps.up(wished)
    assert steps.up(wished) - steps.down(wished) in (0, D(lot))
    assert steps.down(wished) % D(lot) == 0


@given(st.integers(1, 10**7), st.decimals("0.01", "50", places=2))
def test_the_least_order_is_worth_its_minimum_and_one_lot_less_is_not(
    ticks: int, minimum: Decimal
) -> None:
    price = D(ticks) / 100
    market = a_market(min_notional="1", min_quantity="0.002")
    least = Steps(market).least(price, minimum)
    assert least >= D("0.002")
    assert least * price >= max(minimum, 1)
    less = least - market.lot_size
    assert less < D("0.002") or less * price < max(minimum, 1)


def test_steps_finer_than_the_markets_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tick_size: is 0\.015; give a multiple of the market's"):
        Steps(a_market(), D("0.015"))
    with pytest.raises(ConfigError, match=r"step_size: is 0\.00005"):
        Steps(a_market(), lot_size=D("0.00005"))


def test_a_quantity_for_nothing_is_nothing() -> None:
    assert min_quantity(D(0), D(1)) == min_quantity(D(-1), D(1)) == 0
    assert min_quantity(D(2), D(1), D(1)) == 0
    assert min_quantity(D(3), D(1)) == D("0.3333333333333333333333333334")


@given(
    st.sampled_from(["buy", "sell"]),
    st.decimals("0.01", "100000", places=2),
    st.decimals("0", "1000000", places=8),
    st.decimals("0", "0.1", places=4),
    st.decimals("0", "0.1", places=3),
)
def test_the_largest_order_needs_no_more_than_there_is(
    side: str, price: Decimal, available: Decimal, fee: Decimal, margin: Decimal
) -> None:
    pair = TradingPair.parse("btc_usdt")
    quantity = largest_quantity(side, price, available, fee, margin)
    asset, amount = needed(pair, side, price, quantity, fee)
    assert asset == ("USDT" if side == "buy" else "BTC")
    assert amount * (1 + margin) <= available
    assert amount * (1 + margin) >= available * (1 - D("1e-26"))


@given(st.decimals("0", "1000000000", places=30))
def test_a_decimal_is_rounded_as_a_fraction_is(wished: Decimal) -> None:
    steps = Steps(a_market())
    assert steps.down(wished) == steps.down(Fraction(wished))
