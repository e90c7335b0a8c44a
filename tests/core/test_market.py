"""Market: money to counts and back, exactly; the rules as NonKYC's lists give them."""

import copy
import decimal
import json
import pickle
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast import errors
from nkfast.core.market import BUY, SELL, Market

INT64_MAX = 2**63 - 1
BTC_USDT = Market("BTC/USDT", 2, 6)
#: Contexts that would spoil arithmetic done in them.
CONTEXTS = [
    decimal.Context(prec=1),
    decimal.Context(prec=3, rounding=decimal.ROUND_UP, traps=[decimal.Inexact, decimal.Rounded]),
    decimal.Context(prec=5, Emax=2, Emin=-2, traps=[decimal.Overflow, decimal.Underflow]),
    decimal.Context(capitals=0, traps=[decimal.FloatOperation, decimal.InvalidOperation]),
    decimal.Context(prec=2, clamp=1, traps=[]),
]
decimal_places = st.integers(0, 18)
counts = st.integers(0, INT64_MAX)
prices = st.decimals(0, 10**20, allow_nan=False, places=None)
any_decimals = st.decimals(allow_nan=True)


def wire_market(**changes):
    data = {
        "id": "65f0c0ffee",
        "symbol": "ADM/USDT",
        "priceDecimals": 8,
        "quantityDecimals": 4,
        "minimumQuantity": 0.01,
        "minQuote": 1,
        "isMinQuoteActive": True,
        "isActive": True,
        "isPaused": False,
        "pauseBuys": False,
        "pauseSells": True,
    }
    data.update(changes)
    return {key: value for key, value in data.items() if value is not ...}


# --- conversion ---


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
@pytest.mark.parametrize(
    ("price", "ticks"),
    [
        (Decimal("64000.51"), 6400051),
        (Decimal("64000.5100000"), 6400051),
        (Decimal("6.4E+4"), 6400000),
        (Decimal("1E-2"), 1),
        (Decimal("0E-20"), 0),
        (Decimal("0E+20"), 0),
        (Decimal("-0"), 0),
        (Decimal("92233720368547758.07"), INT64_MAX),
        ("64000.51", 6400051),
        (64000, 6400000),
        (0, 0),
    ],
)
def test_money_becomes_counts_in_any_context(price, ticks, context):
    with decimal.localcontext(context):
        assert BTC_USDT.price_to_ticks(price) == ticks
        assert Market("A/B", 5, 2).quantity_to_lots(price) == ticks


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_arithmetic_is_exact_in_any_context(context):
    market = Market("A/B", 8, 8, min_notional="0.00000001")
    ticks, lots = INT64_MAX, INT64_MAX - 1
    with decimal.localcontext(context):
        back = market.ticks_to_price(ticks)
        notional = market.notional(ticks, lots)
        fee = market.fee(ticks, lots, Decimal("0.0025"))
        rounded = market.round_price(Decimal("1.000000005"), "half_even")
        least = market.min_order_quantity(Decimal("0.00000003"))
    assert str(back) == "92233720368.54775807"
    assert Fraction(notional) == Fraction(ticks * lots, 10**16)
    assert Fraction(fee) == Fraction(ticks * lots * 25, 10**20)
    assert str(rounded) == "1.00000000"
    assert least == Decimal("0.33333334")


@pytest.mark.parametrize(
    ("price", "error"),
    [
        (Decimal("0.001"), errors.TooManyDigitsError),
        (Decimal("1E-999999"), errors.TooManyDigitsError),
        (Decimal("1E-18"), errors.TooManyDigitsError),
        (Decimal("1E+999999"), errors.NumberOverflowError),
        (Decimal("92233720368547758.08"), errors.NumberOverflowError),
        (Decimal("1E+18"), errors.NumberOverflowError),
        (Decimal("-0.01"), errors.SignError),
        (Decimal("-1E-9"), errors.SignError),
        (Decimal("-1E+30"), errors.SignError),
        (Decimal("NaN"), errors.NotANumberError),
        (Decimal("sNaN"), errors.NotANumberError),
        (Decimal("-Infinity"), errors.NotANumberError),
        ("-1", errors.SignError),
        ("+1", errors.SignError),
        ("", errors.EmptyNumberError),
        ("1e5", errors.ExponentError),
        ("x", errors.NumberSyntaxError),
        (-1, errors.SignError),
        (10**17, errors.NumberOverflowError),
        pytest.param(10**5000, errors.NumberOverflowError, id="10**5000"),
        pytest.param(-(10**5000), errors.SignError, id="-10**5000"),
    ],
)
def test_money_that_is_no_count_is_refused(price, error):
    for convert in (BTC_USDT.price_to_ticks, Market("A/B", 0, 2).quantity_to_lots):
        with pytest.raises(errors.FixedPointError) as caught:
            convert(price)
        assert type(caught.value) is error


@pytest.mark.parametrize("money", [1.5, True, None, b"1", Fraction(1, 2)])
def test_money_is_never_a_float(money):
    with pytest.raises(TypeError, match=type(money).__name__):
        BTC_USDT.price_to_ticks(money)


@given(counts, decimal_places)
def test_counts_round_trip(count, places):
    market = Market("A/B", places, 18 - places)
    price, quantity = market.ticks_to_price(count), market.lots_to_quantity(count)
    assert Fraction(price) == Fraction(count, 10**places)
    assert price.as_tuple().exponent == -places
    assert market.price_to_ticks(price) == count
    assert market.price_to_ticks(price.normalize(decimal.Context(prec=60))) == count
    assert market.price_to_ticks(f"{price:f}") == count
    assert market.quantity_to_lots(quantity) == count


@given(any_decimals, decimal_places)
def test_every_decimal_is_a_count_or_an_error(number, places):
    try:
        count = Market("A/B", places).price_to_ticks(number)
    except errors.FixedPointError:
        exact = number.is_finite() and abs(number.adjusted()) < 1000
        units = Fraction(number) * 10**places if exact else None
        assert units is None or units.denominator != 1 or not 0 <= units <= INT64_MAX
    else:
        assert Fraction(count, 10**places) == Fraction(number)


def test_exponents_reach_to_both_ends_of_the_range():
    assert Market("A/B", 18).price_to_ticks(Decimal("1E-18")) == 1
    assert Market("A/B", 0).price_to_ticks(Decimal("9E+18")) == 9 * 10**18
    assert BTC_USDT.round_price(Decimal("92233720368547758.0701"), "floor") == Decimal(
        "92233720368547758.07"
    )


def test_counts_beyond_64_bits_are_refused():
    with pytest.raises(OverflowError):
        BTC_USDT.ticks_to_price(2**63)
    assert BTC_USDT.ticks_to_price(-(2**63)) == Decimal("-92233720368547758.08")


# --- rounding ---


@given(prices, decimal_places)
def test_rounding_lands_on_the_grid(price, places):
    market = Market("A/B", places, places)
    units = Fraction(price) * 10**places
    for name, rounded in (
        ("floor", floor(units)),
        ("ceil", ceil(units)),
        ("half_even", round(units)),
    ):
        if rounded > INT64_MAX:
            with pytest.raises(errors.NumberOverflowError):
                market.round_price(price, name)
        else:
            assert market.price_to_ticks(market.round_price(price, name)) == rounded
            assert market.quantity_to_lots(market.round_quantity(price, name)) == rounded


@pytest.mark.parametrize(
    ("price", "error"),
    [
        (Decimal("-0.01"), errors.SignError),
        (Decimal("NaN"), errors.NotANumberError),
        (Decimal("sNaN"), errors.NotANumberError),
        (Decimal("Infinity"), errors.NotANumberError),
        (Decimal("1E+17"), errors.NumberOverflowError),
        (Decimal("92233720368547758.0701"), errors.NumberOverflowError),
        (Decimal("1E+999"), errors.NumberOverflowError),
    ],
)
def test_rounding_refuses_what_has_no_place_on_the_grid(price, error):
    with pytest.raises(errors.FixedPointError) as caught:
        BTC_USDT.round_price(price, "ceil")
    assert type(caught.value) is error


def test_rounding_takes_the_sign_off_zero():
    assert str(BTC_USDT.round_price(Decimal("-0.000"), "floor")) == "0.00"


def test_rounding_is_named_and_of_decimals():
    with pytest.raises(ValueError, match="'nearest'"):
        BTC_USDT.round_price(Decimal(1), "nearest")
    with pytest.raises(TypeError, match="float"):
        BTC_USDT.round_quantity(1.5, "floor")


# --- products ---


@given(counts, counts, decimal_places, decimal_places)
def test_notional_and_fee_are_exact(ticks, lots, price_places, quantity_places):
    market = Market("A/B", price_places, quantity_places)
    notional = Fraction(ticks * lots, 10 ** (price_places + quantity_places))
    assert Fraction(market.notional(ticks, lots)) == notional
    assert Fraction(market.fee(ticks, lots, Decimal("0.00215"))) == notional * Fraction("0.00215")


def test_a_fee_that_cannot_be_exact_is_refused():
    with pytest.raises(errors.FixedPointError, match="60 digits"):
        BTC_USDT.fee(INT64_MAX, INT64_MAX, Decimal("0." + "7" * 40))
    with pytest.raises(TypeError):
        BTC_USDT.fee(1, 1, 0.002)


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_min_order_quantity_is_the_least(ticks, notional, quantity, price_places, quantity_places):
    market = Market(
        "A/B",
        price_places,
        quantity_places,
        min_quantity=Decimal(quantity).scaleb(-4),
        min_notional=Decimal(notional).scaleb(-5),
    )
    price = market.ticks_to_price(ticks)

    def is_enough(lots):
        return (
            lots >= 1
            and Fraction(lots, 10**quantity_places) >= Fraction(quantity, 10**4)
            and Fraction(market.notional(ticks, lots)) >= Fraction(notional, 10**5)
        )

    lots = market.quantity_to_lots(market.min_order_quantity(price))
    assert is_enough(lots) and not is_enough(lots - 1)


def test_min_order_quantity_refuses_prices_it_cannot_answer_for():
    market = Market("A/B", 2, 18, min_notional=1)
    with pytest.raises(ValueError, match="positive"):
        market.min_order_quantity(Decimal(0))
    with pytest.raises(errors.TooManyDigitsError):
        market.min_order_quantity(Decimal("0.001"))
    with pytest.raises(errors.NumberOverflowError):
        market.min_order_quantity(Decimal("0.01"))


# --- the value ---


def test_defaults():
    market = Market("BTC/USDT")
    assert (market.base, market.quote, market.market_id) == ("BTC", "USDT", "")
    assert (market.price_decimals, market.quantity_decimals) == (8, 8)
    assert market.tick_size == market.lot_size == Decimal("0.00000001")
    assert market.min_quantity == market.min_notional == 0
    assert market.min_price is None and market.max_price is None
    assert market.maker_fee == market.taker_fee == Decimal("0.002")
    assert market.is_active and market.allow_market_orders
    assert not (market.is_paused or market.pause_buys or market.pause_sells)
    assert (BUY, SELL) == (1, -1)


def test_equal_by_value_hashable_and_picklable():
    market = Market.from_wire(wire_market(maxAllowedPrice="5"))
    same = Market.from_wire(wire_market(maxAllowedPrice="5.0"))
    other = Market.from_wire(wire_market(maxAllowedPrice="5", pauseSells=False))
    assert market == same and hash(market) == hash(same)
    assert market != other and market != "ADM/USDT"
    for clone in (pickle.loads(pickle.dumps(market)), copy.copy(market), copy.deepcopy(market)):
        assert clone == market and hash(clone) == hash(market)
        assert repr(clone) == repr(market)


def test_immutable():
    for name in ("symbol", "price_decimals", "is_paused", "min_quantity"):
        with pytest.raises(AttributeError):
            setattr(BTC_USDT, name, getattr(BTC_USDT, name))
    with pytest.raises(AttributeError):
        BTC_USDT.comment = "new"


def test_repr_builds_the_market_again():
    for market in (BTC_USDT, Market.from_wire(wire_market(maxAllowedPrice="5"))):
        assert eval(repr(market), {"Market": Market, "Decimal": Decimal}) == market
    assert repr(BTC_USDT) == "Market('BTC/USDT', 2, 6)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbol": "BTCUSDT"}, "BASE/QUOTE, was 'BTCUSDT'"),
        ({"symbol": "/USDT"}, "BASE/QUOTE"),
        ({"symbol": "BTC/"}, "BASE/QUOTE"),
        ({"symbol": "A/B/C"}, "BASE/QUOTE"),
        ({"price_decimals": 19}, "price_decimals must be 0..18, was 19"),
        ({"price_decimals": -1}, "price_decimals"),
        ({"quantity_decimals": 19}, "quantity_decimals must be 0..18, was 19"),
        ({"min_quantity": "-1"}, "min_quantity"),
        ({"min_quantity": "much"}, "min_quantity must be a number, was 'much'"),
        ({"min_quantity": 10**12}, "does not fit 64 bits"),
        ({"min_quantity": Decimal("NaN")}, "min_quantity"),
        ({"min_notional": Decimal("1E+999999")}, "min_notional"),
        ({"min_notional": Decimal("1E-999999")}, "min_notional"),
        ({"min_price": 2, "max_price": 1}, "min_price 2 is above max_price 1"),
        ({"maker_fee": 1}, "maker_fee must be a rate below 1"),
        ({"taker_fee": Decimal("-0.001")}, "taker_fee"),
    ],
)
def test_rules_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Market(**{"symbol": "BTC/USDT", **changes})


def test_rules_are_no_floats():
    for name in (
        "min_quantity",
        "min_notional",
        "min_price",
        "max_price",
        "maker_fee",
        "taker_fee",
    ):
        with pytest.raises(TypeError, match=f"{name} must be Decimal, int or str, was float"):
            Market("A/B", **{name: 0.5})


@pytest.mark.parametrize("context", CONTEXTS, ids=str)
def test_a_market_is_the_same_in_any_context(context):
    data = wire_market(minimumQuantity="1.23456789", minAllowedPrice="0.000123456789", minQuote=33)
    market = Market.from_wire(data)
    with decimal.localcontext(context):
        same = Market.from_wire(data)
        assert same == market and hash(same) == hash(market)
        assert pickle.loads(pickle.dumps(same)) == market
    assert str(same.min_price) == "0.000123456789"
    assert same.min_order_quantity(Decimal(1)) == 33


# --- from the wire ---


def test_from_wire_reads_every_rule():
    market = Market.from_wire(
        wire_market(
            minAllowedPrice="0.5",
            maxAllowedPrice=7,
            makerFee="0.001",
            takerFee=0.0025,
            isPaused=True,
        )
    )
    assert (market.symbol, market.base, market.quote) == ("ADM/USDT", "ADM", "USDT")
    assert market.market_id == "65f0c0ffee"
    assert (market.price_decimals, market.quantity_decimals) == (8, 4)
    assert market.min_quantity == Decimal("0.01")
    assert market.min_notional == 1
    assert (market.min_price, market.max_price) == (Decimal("0.5"), 7)
    assert (market.maker_fee, market.taker_fee) == (Decimal("0.001"), Decimal("0.0025"))
    assert market.is_active and market.is_paused and market.pause_sells and not market.pause_buys


@pytest.mark.parametrize("none", [..., None, "", 0, "0"])
def test_from_wire_takes_absent_rules_for_none(none):
    market = Market.from_wire(
        wire_market(minimumQuantity=none, minQuote=none, minAllowedPrice=none, maxAllowedPrice=none)
    )
    assert market.min_quantity == market.min_notional == 0
    assert market.min_price is None and market.max_price is None
    assert market.maker_fee == Decimal("0.002")
    assert market.allow_market_orders


@pytest.mark.parametrize("nines", [999999999, "999999999", 999999999.0])
def test_from_wire_takes_nines_for_no_highest_price(nines):
    assert Market.from_wire(wire_market(maxAllowedPrice=nines, priceDecimals=12)).max_price is None


def test_from_wire_counts_the_least_notional_only_while_it_is_active():
    assert Market.from_wire(wire_market(isMinQuoteActive=False)).min_notional == 0
    assert Market.from_wire(wire_market(isMinQuoteActive=...)).min_notional == 0
    later_name = wire_market(isMinQuoteActive=..., minQuoteActive=True)
    assert Market.from_wire(later_name).min_notional == 1


def test_from_wire_knows_both_names_of_the_id():
    assert Market.from_wire(wire_market(id=..., _id="abc")).market_id == "abc"
    assert Market.from_wire(wire_market(id=...)).market_id == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbol": ...}, "symbol must be a string, was None"),
        ({"symbol": "ADM_USDT"}, "BASE/QUOTE"),
        ({"priceDecimals": ...}, "priceDecimals must be an integer, was None"),
        ({"quantityDecimals": "4"}, "quantityDecimals must be an integer, was '4'"),
        ({"priceDecimals": True}, "priceDecimals"),
        ({"priceDecimals": 40}, "priceDecimals must be 0..18, was 40"),
        ({"priceDecimals": 2**40}, "priceDecimals must be 0..18"),
        ({"minimumQuantity": "a few"}, "minimumQuantity must be a number, was 'a few'"),
        ({"minimumQuantity": float("nan")}, "minimumQuantity"),
        ({"minimumQuantity": -1}, "minimumQuantity"),
        ({"minQuote": [1]}, "minQuote"),
        ({"takerFee": "2"}, "taker_fee must be a rate below 1"),
        ({"isPaused": "no"}, "isPaused must be true or false, was 'no'"),
        ({"allowMarketOrders": 1}, "allowMarketOrders"),
        ({"id": 7}, "market_id"),
    ],
)
def test_from_wire_names_the_field_that_is_wrong(changes, message):
    with pytest.raises(errors.WireError, match=message):
        Market.from_wire(wire_market(**changes))


@pytest.mark.parametrize("data", [None, [], "ADM/USDT"])
def test_from_wire_wants_a_mapping(data):
    with pytest.raises(errors.WireError, match="mapping"):
        Market.from_wire(data)


def test_from_wire_loads_every_recorded_market(shared_data):
    records = json.loads((shared_data / "markets.json").read_text())
    markets = [Market.from_wire(record) for record in records]
    assert len(markets) == len(set(markets)) == 1242
    for record, market in zip(records, markets, strict=True):
        assert market.symbol == record["symbol"]
        assert market.base == record["primaryTicker"]
        assert market.min_quantity == Decimal(record["minimumQuantity"])
        assert market.min_notional == Decimal(record["minQuote"])
        assert market.taker_fee == Decimal(record["takerFee"])
        one_tick = market.ticks_to_price(1)
        assert one_tick == Decimal(1).scaleb(-record["priceDecimals"])
        assert market.min_order_quantity(one_tick) * one_tick >= market.min_notional
