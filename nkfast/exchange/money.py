"""Money of the simulated exchange: whole numbers of atoms, exact to the last digit.

One atom is 10^-42 of any asset. That is fine enough for a price of 18 decimals times a quantity
of 18 times a fee rate of 6, so that neither a notional, a hold nor an unrounded fee ever loses a
digit, whatever the market. Python's integers carry any amount of it.
"""

from decimal import Context, Decimal
from typing import Final

__all__ = [
    "ATOM_DECIMALS",
    "RATE_DECIMALS",
    "RATE_UNIT",
    "TEXT_LENGTH_MAX",
    "UNIT",
    "atoms",
    "parse_amount",
    "rate_units",
    "shifted",
    "text",
]

#: Decimal places of a fee rate.
RATE_DECIMALS: Final = 6
#: A rate of one.
RATE_UNIT: Final = 10**RATE_DECIMALS
#: Decimal places of every amount held.
ATOM_DECIMALS: Final = 18 + 18 + RATE_DECIMALS
#: Atoms of one whole coin.
UNIT: Final = 10**ATOM_DECIMALS

#: A number that is written longer is none.
TEXT_LENGTH_MAX: Final = 64
_ADJUSTED_MAX = 30  # nothing of 10^31 and more is an amount of money
_EXACT = Context(prec=160)
_SMALL_DECIMALS = 18


def parse_amount(value: str | int | Decimal) -> Decimal:
    """Read a number as third parties write it: text or a JSON number, also with an exponent.

    Raises
    ------
    ValueError
        It is no finite number, is longer than 64 characters, or is 10^31 or more.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    written = str(value).strip()
    if not written.isascii() or "_" in written or len(written) > TEXT_LENGTH_MAX:
        raise ValueError(f"{written[:TEXT_LENGTH_MAX]!r} is not a decimal number")
    try:
        number = Decimal(written)
    except ArithmeticError:
        raise ValueError(f"{written!r} is not a decimal number") from None
    if not number.is_finite() or (number and number.adjusted() > _ADJUSTED_MAX):
        raise ValueError(f"{written!r} is not an amount of money")
    return number


def shifted(number: Decimal, decimals: int) -> tuple[int, bool]:
    """Return a number as a count of 10^-decimals, cut toward zero, and whether that was exact."""
    scaled = _EXACT.scaleb(number, decimals)
    count = int(scaled)
    return count, scaled == count


def atoms(amount: Decimal | str | int) -> int:
    """Return an amount in atoms.

    Raises
    ------
    ValueError
        It is not a number, or has more than 42 decimal places.
    """
    number = amount if isinstance(amount, Decimal) else parse_amount(amount)
    count, is_exact = shifted(number, ATOM_DECIMALS)
    if not is_exact:
        raise ValueError(f"{amount} has more than {ATOM_DECIMALS} decimal places")
    return count


def rate_units(rate: Decimal | str) -> int:
    """Return a fee rate in units of 10^-6.

    Raises
    ------
    ValueError
        It is negative, 1 or more, or has more than 6 decimal places.
    """
    count, is_exact = shifted(Decimal(rate), RATE_DECIMALS)
    if not is_exact or not 0 <= count < RATE_UNIT:
        raise ValueError(f"fee rate {rate} is not in 0..1 with at most {RATE_DECIMALS} decimals")
    return count


def text(amount: int, decimals: int = ATOM_DECIMALS) -> str:
    """Return plain digits, without trailing zeros and never with an exponent.

    Parameters
    ----------
    amount : int
        Count of 10^-decimals; atoms by default.
    """
    if amount <= 0:
        return "-" + text(-amount, decimals) if amount else "0"
    if decimals > _SMALL_DECIMALS:
        # Few amounts use all their digits, and the long numbers are the slow ones.
        most, rest = divmod(amount, 10 ** (decimals - _SMALL_DECIMALS))
        if not rest:
            return text(most, _SMALL_DECIMALS)
    digits = str(amount)
    point = len(digits) - decimals
    if point > 0:
        fraction = digits[point:].rstrip("0")
        return f"{digits[:point]}.{fraction}" if fraction else digits[:point]
    return "0." + "0" * -point + digits.rstrip("0")
