"""Decimal arithmetic that never rounds.

Python's default context keeps 28 digits; a price times a quantity times a fee needs up to 57. These
operations keep 120 and raise `decimal.Inexact` instead of dropping one.
"""

from decimal import (
    ROUND_FLOOR,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)

__all__ = ["EXACT", "ONE", "ZERO", "add", "divide_floor", "multiply", "plain", "share", "subtract"]

ZERO = Decimal(0)
ONE = Decimal(1)

#: 120 digits; every result that would not fit exactly is an error.
EXACT = Context(prec=120, traps=[DivisionByZero, Inexact, InvalidOperation, Overflow])
_DIVISION = Context(prec=60, rounding=ROUND_FLOOR, traps=[DivisionByZero, InvalidOperation])
_CUT = Context(prec=120, rounding=ROUND_FLOOR, traps=[InvalidOperation])

add = EXACT.add
subtract = EXACT.subtract
multiply = EXACT.multiply

#: Digits after the point that a share of an amount is cut to when it has no end.
_SHARE_QUANTUM = Decimal(1).scaleb(-40)


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return ``amount * part / whole``, cut to 40 decimals where it has no finite expansion.

    The caller keeps ``amount - share`` for the rest, so that nothing is lost to the cut.
    """
    if part == whole:
        return amount
    product = multiply(amount, part)
    quotient = _DIVISION.divide(product, whole)
    if EXACT.multiply(quotient, whole) == product:
        return quotient
    return _CUT.quantize(quotient, _SHARE_QUANTUM)


def divide_floor(amount: Decimal, part: Decimal) -> int:
    """Return how often a positive part goes whole into an amount of at least 0."""
    count = int(_DIVISION.divide(amount, part))
    assert multiply(Decimal(count), part) <= amount
    return count


def plain(value: Decimal) -> str:
    """Return plain digits without an exponent and without trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0", "-") else text
