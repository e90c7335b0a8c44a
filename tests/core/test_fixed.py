"""Decimal text and scaled integers: exact both ways, and every misfit has its own error."""

import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference import fixed as twin

from nkfast import errors
from nkfast.core import fixed

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
int64s = st.one_of(
    st.integers(INT64_MIN, INT64_MAX),
    st.integers(-1000, 1000),
    st.integers(0, 18).map(lambda power: 10**power),
)
decimal_places = st.integers(0, 18)
roundings = st.sampled_from(["floor", "ceil", "half_even"])
#: Digits with a point somewhere, often with the things that make a number wrong.
number_like = st.from_regex(r"\A-?[0-9]{0,22}\.?[0-9]{0,22}([+\-eE. nx]?[0-9]{0,3})\Z")


def outcome(call, *args):
    """The result of a call, or the kind of its error."""
    try:
        return call(*args)
    except errors.FixedPointError as error:
        return type(error)


@pytest.mark.parametrize(
    ("text", "decimals", "value"),
    [
        ("0.00012300", 8, 12300),
        ("0", 0, 0),
        ("1.500", 1, 15),
        ("1.0000000000000000000000000000000000", 0, 1),
        ("-0.50", 2, -50),
        ("-0", 4, 0),
        (".5", 1, 5),
        ("5.", 1, 50),
        ("007", 0, 7),
        (b"64000.51", 2, 6400051),
        ("9223372036854775807", 0, INT64_MAX),
        ("-9.223372036854775808", 18, INT64_MIN),
    ],
)
def test_parse_reads_plain_digits(text, decimals, value):
    assert fixed.parse(text, decimals) == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", errors.EmptyNumberError),
        (".", errors.EmptyNumberError),
        ("-", errors.EmptyNumberError),
        ("+1", errors.SignError),
        ("--1", errors.SignError),
        ("1-", errors.SignError),
        ("1e-7", errors.ExponentError),
        ("2.33E-6", errors.ExponentError),
        ("NaN", errors.NotANumberError),
        ("-Infinity", errors.NotANumberError),
        (" 1", errors.NumberSyntaxError),
        ("1 ", errors.NumberSyntaxError),
        ("1\n", errors.NumberSyntaxError),
        ("1\x00", errors.NumberSyntaxError),
        ("1.2.3", errors.NumberSyntaxError),
        ("1,000", errors.NumberSyntaxError),
        ("1_000", errors.NumberSyntaxError),
        ("0x1", errors.NumberSyntaxError),
        ("e5", errors.NumberSyntaxError),
        ("٣", errors.NumberSyntaxError),
        ("１", errors.NumberSyntaxError),
        ("1.001", errors.TooManyDigitsError),
        ("92233720368547758.08", errors.NumberOverflowError),
        ("9" * 60, errors.NumberOverflowError),
    ],
)
def test_parse_refuses_with_an_error_of_its_own(text, error):
    with pytest.raises(error) as caught:
        fixed.parse(text, 2)
    assert type(caught.value) is error
    assert caught.value.text == text


def test_bytes_that_are_no_text_are_shown_escaped():
    with pytest.raises(errors.NumberSyntaxError, match="xff"):
        fixed.parse(b"\xff", 2)


def test_errors_name_the_limit_and_shorten_the_number():
    with pytest.raises(errors.TooManyDigitsError, match="at most 2 decimals"):
        fixed.parse("1.001", 2)
    with pytest.raises(errors.NumberOverflowError, match=r"92233720368547758\.07") as caught:
        fixed.parse("9" * 1000, 2)
    assert caught.value.text == "9" * 64
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


@pytest.mark.parametrize("decimals", [-1, 19, 2**31 - 1])
def test_decimals_outside_0_to_18_are_refused(decimals):
    for call in (
        lambda: fixed.parse("1", decimals),
        lambda: fixed.format(1, decimals),
        lambda: fixed.rescale(1, decimals, 0, "floor"),
        lambda: fixed.rescale(1, 0, decimals, "floor"),
    ):
        with pytest.raises(ValueError, match=f"must be 0..18, was {decimals}"):
            call()


@pytest.mark.parametrize("number", [1.5, 1, None, bytearray(b"1")])
def test_only_text_is_parsed(number):
    with pytest.raises(TypeError, match=f"was {type(number).__name__}"):
        fixed.parse(number, 2)


def test_a_subclass_of_str_is_text():
    class Text(str):
        __slots__ = ()

    assert fixed.parse(Text("1.5"), 1) == 15


@given(number_like, decimal_places)
@example("-", 0)
@example("1.", 0)
@example("9999999999999999999", 0)  # 19 digits: the short way's longest
@example("-999999999999999999", 0)
def test_parse_agrees_with_the_twin(text, decimals):
    expected = outcome(twin.parse, text, decimals)
    assert outcome(fixed.parse, text, decimals) == expected
    assert outcome(fixed.parse, text.encode(), decimals) == expected


@given(st.text(max_size=20), decimal_places)
def test_any_text_is_a_number_or_an_error(text, decimals):
    assert outcome(fixed.parse, text, decimals) == outcome(twin.parse, text, decimals)


@given(int64s, decimal_places)
@example(INT64_MIN, 0)
@example(INT64_MIN, 18)
@example(INT64_MAX, 18)
def test_format_and_parse_round_trip_for_every_int64(value, decimals):
    text = fixed.format(value, decimals)
    assert text == twin.format(value, decimals)
    assert fixed.parse(text, decimals) == value


def test_format_writes_plain_digits():
    assert fixed.format(233, 8) == "0.00000233"
    assert fixed.format(-7, 0) == "-7"
    assert fixed.format(0, 3) == "0.000"
    with pytest.raises(OverflowError):
        fixed.format(2**63, 0)


@given(int64s, int64s, st.integers(0, 36), roundings)
@example(5 * 10**18, 5 * 10**17, 36, "half_even")
@example(5 * 10**18 + 1, 5 * 10**17, 36, "half_even")
@example(INT64_MIN, INT64_MIN, 19, "ceil")
@example(12, 7686143364045646506, 1, "ceil")
def test_multiply_agrees_with_the_twin(a, b, shift, rounding):
    expected = outcome(twin.multiply, a, b, shift, rounding)
    assert outcome(fixed.multiply, a, b, shift, rounding) == expected


@given(int64s, decimal_places, decimal_places, roundings)
def test_rescale_agrees_with_the_twin(value, decimals, new_decimals, rounding):
    expected = outcome(twin.rescale, value, decimals, new_decimals, rounding)
    assert outcome(fixed.rescale, value, decimals, new_decimals, rounding) == expected


def test_unknown_roundings_and_shifts_are_refused():
    with pytest.raises(ValueError, match="'up'"):
        fixed.multiply(1, 1, 0, "up")
    with pytest.raises(ValueError, match=r"shift must be 0..36, was 37"):
        fixed.multiply(1, 1, 37, "floor")
    with pytest.raises(ValueError, match="was -1"):
        fixed.multiply(1, 1, -1, "floor")
    with pytest.raises(errors.NumberOverflowError, match=r"2 \* 9223372036854775807"):
        fixed.multiply(2, INT64_MAX, 0, "floor")
    with pytest.raises(errors.NumberOverflowError, match="'10'"):
        fixed.rescale(10, 0, 18, "floor")
