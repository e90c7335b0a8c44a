"""Pools of two assets that hold the product of their reserves, exactly.

Amounts in and out are fractions, never rounded; what a venue cuts off is the caller's to cut. The
fee is taken from what goes in, once.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isqrt
from typing import NamedTuple

from nkfast.errors import ConfigError

__all__ = ["Pool", "Swap", "least_received"]

#: Digits that a square root is rounded down to, beyond those of its argument.
_ROOT_DIGITS = 40

_Number = Decimal | Fraction | int


class Swap(NamedTuple):
    """What a swap would give.

    ``price`` is received for each unit paid; ``impact`` the fraction by which it is worse than the
    spot price, the fee included; ``fee`` of the asset that is paid.
    """

    paid: Fraction
    received: Fraction
    price: Fraction
    impact: Fraction
    fee: Fraction


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of two assets.

    Attributes
    ----------
    base, quote : str
        The assets.
    base_reserve, quote_reserve : Decimal
        What it holds of each; above 0.
    fee_rate : Decimal
        Of what goes in; at least 0 and less than 1.

    Raises
    ------
    nkfast.errors.ConfigError
        A value outside its range.
    """

    base: str
    quote: str
    base_reserve: Decimal
    quote_reserve: Decimal
    fee_rate: Decimal

    def __post_init__(self) -> None:
        for name in ("base_reserve", "quote_reserve"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"is {getattr(self, name)}; give more than 0", name)
        if not 0 <= self.fee_rate < 1:
            raise ConfigError(f"is {self.fee_rate}; give at least 0 and less than 1", "fee_rate")

    def reserves(self, pays: str) -> tuple[Fraction, Fraction]:
        """Return the reserves of the asset that is paid and of the one that is received.

        Raises
        ------
        nkfast.errors.ConfigError
            The pool has no such asset.
        """
        if pays == self.base:
            return Fraction(self.base_reserve), Fraction(self.quote_reserve)
        if pays == self.quote:
            return Fraction(self.quote_reserve), Fraction(self.base_reserve)
        raise ConfigError(f"is {pays}; the pool holds {self.base} and {self.quote}", "asset")

    def spot(self, pays: str) -> Fraction:
        """Return what the first crumb of an asset would fetch, without the fee."""
        reserve_in, reserve_out = self.reserves(pays)
        return reserve_out / reserve_in

    def received(self, pays: str, amount: _Number) -> Fraction:
        """Return what an amount fetches, the fee taken off it first."""
        reserve_in, reserve_out = self.reserves(pays)
        kept = _not_negative(amount) * (1 - Fraction(self.fee_rate))
        return kept * reserve_out / (reserve_in + kept)

    def needed(self, pays: str, received: _Number) -> Fraction:
        """Return what must be paid to receive an amount.

        Raises
        ------
        nkfast.errors.ConfigError
            The pool does not hold so much.
        """
        reserve_in, reserve_out = self.reserves(pays)
        wanted = _not_negative(received)
        if wanted >= reserve_out:
            raise ConfigError(f"is {received}; the pool holds {reserve_out}", "amount")
        return reserve_in * wanted / ((reserve_out - wanted) * (1 - Fraction(self.fee_rate)))

    def swap(self, pays: str, amount: _Number) -> Swap:
        """Return everything about a swap of an amount above 0."""
        paid = _not_negative(amount)
        if not paid:
            raise ConfigError("is 0; give more than 0", "amount")
        received = self.received(pays, paid)
        price, spot = received / paid, self.spot(pays)
        return Swap(paid, received, price, abs(price - spot) / spot, paid * Fraction(self.fee_rate))

    def size_for_impact(self, pays: str, impact: _Number) -> Fraction:
        """Return what may be paid until the price is worse by a fraction, the fee aside.

        Raises
        ------
        nkfast.errors.ConfigError
            The fraction is negative, or not below 1.
        """
        part = _not_negative(impact)
        if part >= 1:
            raise ConfigError(f"is {impact}; give less than 1", "impact")
        reserve_in, _ = self.reserves(pays)
        return reserve_in * part / ((1 - part) * (1 - Fraction(self.fee_rate)))

    def best_size(self, pays: str, bought: _Number, sold: _Number) -> Fraction:
        """Return how much to put into a round trip through the pool so that it earns most.

        Parameters
        ----------
        pays : str
            The asset that is bought first, and swapped.
        bought : number
            Of it, for each unit that goes in, after the fee.
        sold : number
            What each unit of the other asset fetches afterwards, after the fee.

        Returns
        -------
        Fraction
            0 where no size earns; rounded down in its 40th digit.
        """
        reserve_in, reserve_out = self.reserves(pays)
        each = Fraction(bought) * (1 - Fraction(self.fee_rate))
        if each <= 0 or Fraction(sold) <= 0:
            return Fraction(0)
        root = _root(Fraction(sold) * each * reserve_in * reserve_out)
        return max((root - reserve_in) / each, Fraction(0))


def least_received(received: _Number, tolerance: _Number) -> Fraction:
    """Return the least that is put up with where a fraction less than predicted may come."""
    return Fraction(received) * (1 - Fraction(tolerance))


def _not_negative(amount: _Number) -> Fraction:
    if amount < 0:
        raise ConfigError(f"is {amount}; give at least 0", "amount")
    return Fraction(amount)


def _root(value: Fraction) -> Fraction:
    """Return the square root, rounded down."""
    scale: int = 10**_ROOT_DIGITS
    whole = isqrt(value.numerator * value.denominator * scale * scale)
    return Fraction(whole, value.denominator * scale)
