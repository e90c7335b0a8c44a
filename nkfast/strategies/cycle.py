"""Cycles of conversions by rate: what comes of an amount after each step, exactly.

The size-aware search over books is the core's (`nkfast.core.cycles`); this is the arithmetic of a
cycle whose rates are known, of which one may be a pool's.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from nkfast.errors import ConfigError
from nkfast.venue.port import Side

__all__ = ["CycleResult", "Step", "convert", "evaluate", "rate_of"]

_Number = Decimal | Fraction | int


class Step(NamedTuple):
    """One conversion: ``rate`` of what is got for each unit paid, before the fee.

    ``slippage`` is the fraction that comes less than the rate says.
    """

    pays: str
    gets: str
    rate: _Number
    fee_rate: _Number = 0
    slippage: _Number = 0


class CycleResult(NamedTuple):
    """What came of an amount, after each step."""

    start: Fraction
    amounts: tuple[Fraction, ...]

    @property
    def final(self) -> Fraction:
        """What came out."""
        return self.amounts[-1]

    @property
    def profit(self) -> Fraction:
        """What came out beyond what went in."""
        return self.final - self.start

    @property
    def ratio(self) -> Fraction:
        """The profit for each unit that went in."""
        return self.profit / self.start

    def is_worth(self, threshold: _Number) -> bool:
        """Whether it brings at least so much for each unit; exact."""
        return self.ratio >= Fraction(threshold)


def rate_of(side: Side, price: _Number) -> Fraction:
    """Return what a unit paid gets: base for quote when buying, quote for base when selling."""
    if not price > 0:
        raise ConfigError(f"is {price}; give more than 0", "price")
    return 1 / Fraction(price) if side == "buy" else Fraction(price)


def convert(step: Step, amount: _Number) -> Fraction:
    """Return what one step makes of an amount of at least 0."""
    if amount < 0:
        raise ConfigError(f"is {amount}; give at least 0", "amount")
    kept = (1 - Fraction(step.fee_rate)) * (1 - Fraction(step.slippage))
    return Fraction(amount) * Fraction(step.rate) * kept


def evaluate(start: _Number, steps: Sequence[Step]) -> CycleResult:
    """Walk a cycle.

    Raises
    ------
    nkfast.errors.ConfigError
        The amount or a rate is not above 0, a fee or a slippage is not within 0 and 1, or a step
        does not pay what the one before got, or the last does not get what the first pays.
    """
    if not start > 0:
        raise ConfigError(f"is {start}; give more than 0", "start")
    if not steps:
        raise ConfigError("has no steps", "steps")
    amounts: list[Fraction] = []
    for number, step in enumerate(steps):
        before = steps[number - 1]
        if before.gets != step.pays:
            raise ConfigError(f"{before.gets} is got before {step.pays} is paid", "steps")
        if not step.rate > 0:
            raise ConfigError(f"is {step.rate}; give more than 0", "rate")
        for name in ("fee_rate", "slippage"):
            if not 0 <= getattr(step, name) < 1:
                raise ConfigError(f"is {getattr(step, name)}; give at least 0, less than 1", name)
        amounts.append(convert(step, amounts[-1] if amounts else start))
    return CycleResult(Fraction(start), tuple(amounts))
