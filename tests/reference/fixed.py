"""Decimal numbers the slow and obvious way: by the words of the rules, one after the other."""

import re
from fractions import Fraction
from math import ceil, floor

from nkfast.errors import (
    EmptyNumberError,
    ExponentError,
    NotANumberError,
    NumberOverflowError,
    NumberSyntaxError,
    SignError,
    TooManyDigitsError,
)

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
ROUNDINGS = {"floor": floor, "ceil": ceil, "half_even": round}


def in_range(value: int, text: str) -> int:
    if not INT64_MIN <= value <= INT64_MAX:
        raise NumberOverflowError(text)
    return value


def parse(text: str, decimals: int) -> int:
    if re.fullmatch(r"-?(s?nan|inf|infinity)", text, re.IGNORECASE | re.ASCII):
        raise NotANumberError(text)
    wrong = re.match(r"-?[0-9]*(?:\.[0-9]*)?(.?)", text, re.DOTALL)
    assert wrong is not None
    begins_with_digits = re.match(r"-?(?:[0-9]|\.[0-9])", text)
    if wrong[1] and wrong[1] in "+-":
        raise SignError(text)
    if wrong[1] and wrong[1] in "eE" and begins_with_digits:
        raise ExponentError(text)
    if wrong[1]:
        raise NumberSyntaxError(text)
    if not begins_with_digits:
        raise EmptyNumberError(text)
    units = Fraction(re.sub(r"\.$", "", text)) * 10**decimals
    if units.denominator != 1:
        raise TooManyDigitsError(text)
    return in_range(int(units), text)


def format(value: int, decimals: int) -> str:
    sign = "-" if value < 0 else ""
    digits = str(abs(value)).rjust(decimals + 1, "0")
    if decimals == 0:
        return sign + digits
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def multiply(a: int, b: int, shift: int, rounding: str) -> int:
    return in_range(ROUNDINGS[rounding](Fraction(a * b, 10**shift)), "product")


def rescale(value: int, decimals: int, new_decimals: int, rounding: str) -> int:
    units = Fraction(value, 10**decimals) * 10**new_decimals
    return in_range(ROUNDINGS[rounding](units), "rescaled")
