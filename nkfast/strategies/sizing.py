"""Prices and quantities that a market takes, and the least that an order may be.

`Steps` is the one place where a strategy rounds. Values that have no end as a decimal (a quote
amount divided by a price) go in as a `fractions.Fraction`, so that they are rounded once.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Literal

from nkfast.errors import ConfigError
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract
from nkfast.venue.port import Side
from nkfast.wire.symbols import TradingPair

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["PriceRounding", "Steps", "largest_quantity", "min_quantity", "needed"]

#: ``side``: buys down, sells up, as an order that must not be worse than asked for. ``down``: both
#: down, as older bots have it.
PriceRounding = Literal["side", "down"]

_UP = Context(prec=28, rounding=ROUND_CEILING)
_DOWN = Context(prec=28, rounding=ROUND_FLOOR)


def min_quantity(price: Decimal, min_notional: Decimal, fee_rate: Decimal = ZERO) -> Decimal:
    """Return the least quantity that is worth `min_notional` net of a fee, up at 28 digits.

    0 where the price or what the fee leaves is not above 0.
    """
    kept = multiply(price, subtract(ONE, fee_rate))
    return ZERO if kept <= 0 or price <= 0 else _UP.divide(min_notional, kept)


def needed(
    pair: TradingPair, side: Side, price: Decimal, quantity: Decimal, fee_rate: Decimal
) -> tuple[str, Decimal]:
    """Return the asset and the amount that is wise to have before an order is placed.

    The fee is taken to come on top on either side; what an order really holds is the ledger's to
    say (`nkfast.trading.ledger.Ledger.cost`).
    """
    amount = multiply(quantity, add(ONE, fee_rate))
    return (pair.quote, multiply(price, amount)) if side == "buy" else (pair.base, amount)


def largest_quantity(
    side: Side, price: Decimal, available: Decimal, fee_rate: Decimal, margin: Decimal = ZERO
) -> Decimal:
    """Return the quantity of which `needed` asks for what is available, down at 28 digits.

    Parameters
    ----------
    margin : Decimal
        A fraction of what is needed that stays free.
    """
    unit = multiply(add(ONE, margin), add(ONE, fee_rate))
    return _DOWN.divide(available, multiply(price, unit) if side == "buy" else unit)


class Steps:
    """Where prices and quantities of a market may lie: its tick and lot, or multiples of them.

    Parameters
    ----------
    market : Market
    tick_size, lot_size : Decimal
        Coarser steps, in quote and base units; 0 takes the market's.
    price_rounding : {"side", "down"}
        What `price` does with sells.

    Raises
    ------
    nkfast.errors.ConfigError
        A coarser step is not a multiple of the market's.
    """

    def __init__(
        self,
        market: "Market",
        tick_size: Decimal = ZERO,
        lot_size: Decimal = ZERO,
        price_rounding: PriceRounding = "side",
    ) -> None:
        self.market = market
        self.tick = _coarser(tick_size, market.tick_size, "tick_size")
        self.lot = _coarser(lot_size, market.lot_size, "step_size")
        self._has_own_lot = self.lot == market.lot_size
        self._sells_up = price_rounding == "side"

    def price(self, price: Decimal | Fraction, side: Side) -> Decimal:
        """Return the price of an order: a buy's is rounded down, a sell's up."""
        return _multiple(price, self.tick, is_up=side == "sell" and self._sells_up)

    def down(self, quantity: Decimal | Fraction) -> Decimal:
        """Return the largest quantity of whole lots that is not above a quantity."""
        if self._has_own_lot and isinstance(quantity, Decimal):  # a tenth of the time
            return self.market.round_quantity(quantity, "floor")
        return _multiple(quantity, self.lot, is_up=False)

    def up(self, quantity: Decimal | Fraction) -> Decimal:
        """Return the smallest quantity of whole lots that is not below a quantity."""
        return _multiple(quantity, self.lot, is_up=True)

    def least(self, price: Decimal, min_notional: Decimal = ZERO) -> Decimal:
        """Return the least quantity of an order, at least one lot.

        Parameters
        ----------
        price : Decimal
            On the market's grid, above 0.
        min_notional : Decimal
            What it must be worth, quote units; the market's own minimums hold as well.
        """
        wanted = Fraction(min_notional) / Fraction(price)
        market = Fraction(self.market.min_order_quantity(price))
        return self.up(max(wanted, market, Fraction(self.lot)))


def _multiple(value: Decimal | Fraction, step: Decimal, *, is_up: bool) -> Decimal:
    count = Fraction(value) / Fraction(step)
    return multiply(step, Decimal(ceil(count) if is_up else floor(count)))


def _coarser(wished: Decimal, least: Decimal, key: str) -> Decimal:
    if not wished:
        return least
    if Fraction(wished) % Fraction(least):
        raise ConfigError(
            f"is {plain(wished)}; give a multiple of the market's {plain(least)}", key
        )
    return wished
