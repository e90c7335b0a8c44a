"""What buying and selling again earns after fees: the arithmetic that all strategies share.

A fee rate is of one side and is paid twice. Everything is decided by exact products; a quotient is
made only where a person reads one.
"""

from dataclasses import replace
from decimal import ROUND_CEILING, Context, Decimal

from nkfast.errors import ConfigError
from nkfast.trading.exact import ONE, add, multiply, plain, subtract
from nkfast.trading.strategy import Fill, Skip
from nkfast.venue.port import Side

__all__ = [
    "FeeWatch",
    "fee_in_quote",
    "grid_profit",
    "is_profitable",
    "late_fee",
    "min_sell_price",
    "pays_both_fees",
    "why_not",
]

_UP = Context(prec=28, rounding=ROUND_CEILING)
_SHOWN = Context(prec=4)
_TWO = Decimal(2)
_TENTH = Decimal("0.1")


def is_profitable(buy: Decimal, sell: Decimal, fee_rate: Decimal, fee_buffer: Decimal) -> bool:
    """Whether a round trip earns at least its fees, exactly.

    ``sell * (1 - fee - buffer) >= buy * (1 + fee)``; `fee_rate` is charged on each side.
    """
    kept = subtract(subtract(ONE, fee_rate), fee_buffer)
    return multiply(sell, kept) >= multiply(buy, add(ONE, fee_rate))


def grid_profit(buy: Decimal, sell: Decimal, quantity: Decimal, fee_rate: Decimal) -> Decimal:
    """Return what one round trip earns in quote, net of both fees, exactly."""
    proceeds = multiply(multiply(sell, quantity), subtract(ONE, fee_rate))
    return subtract(proceeds, multiply(multiply(buy, quantity), add(ONE, fee_rate)))


def fee_in_quote(fill: Fill, fee_rate: Decimal) -> Decimal:
    """Return the fee of a fill in quote units, at the rate where it is not known yet.

    A fee that was taken in base counts at the fill's price, one in a third asset as the rate.
    """
    base, _, quote = fill.symbol.partition("/")
    if fill.fee is not None and fill.fee_asset == quote:
        return fill.fee
    if fill.fee is not None and fill.fee_asset == base:
        return multiply(fill.fee, fill.price)
    return multiply(multiply(fill.price, fill.quantity), fee_rate)


def late_fee(fill: Fill, before: Decimal | None, fee_rate: Decimal) -> Decimal:
    """Return how much more than it was taken to be a fee is that is told late, quote units.

    Parameters
    ----------
    fill : Fill
        With its fee.
    before : Decimal or None
        The fee that was told with it; None: none was, and the rate was taken.
    fee_rate : Decimal
    """
    taken = fee_in_quote(replace(fill, fee=before), fee_rate)
    return subtract(fee_in_quote(fill, fee_rate), taken)


class FeeWatch:
    """Says once that fills cost another fee than is reckoned with, by more than a tenth of it.

    Parameters
    ----------
    fee_rate : Decimal
        What is reckoned with, of one side.
    least : Decimal
        Fills of a smaller value say nothing: of a crumb the venue's rounding is a large share.
    """

    def __init__(self, fee_rate: Decimal, least: Decimal) -> None:
        self._fee_rate = fee_rate
        self._least = least
        self._has_said = False

    def look(self, fill: Fill, skips: list[Skip]) -> None:
        """Add what is to be said of a fill's fee."""
        quote = fill.symbol.partition("/")[2]
        value = multiply(fill.price, fill.quantity)
        if self._has_said or fill.fee is None or fill.fee_asset != quote or value < self._least:
            return
        reckoned = multiply(value, self._fee_rate)
        if subtract(fill.fee, reckoned).copy_abs() <= multiply(reckoned, _TENTH):
            return
        self._has_said = True
        paid = _SHOWN.divide(fill.fee, value)
        detail = f"a fill cost {paid:f} of its value, {plain(self._fee_rate)} is reckoned with"
        skips.append(Skip("FEE_DIFFERS", f"{fill.symbol}: {detail}"))


def min_sell_price(buy: Decimal, fee_rate: Decimal, fee_buffer: Decimal) -> Decimal:
    """Return the least price at which what was bought can be sold, rounded up at 28 digits.

    Raises
    ------
    nkfast.errors.ConfigError
        Fee and buffer take all that a sale brings, or more.
    """
    kept = subtract(subtract(ONE, fee_rate), fee_buffer)
    if kept <= 0:
        raise ConfigError(
            f"is {plain(fee_rate)}; with a buffer of {plain(fee_buffer)} it takes all of a sale",
            "fee_rate",
        )
    return _UP.divide(multiply(buy, add(ONE, fee_rate)), kept)


def why_not(
    side: Side,
    price: Decimal,
    quantity: Decimal,
    opposing: Decimal,
    *,
    fee_rate: Decimal,
    fee_buffer: Decimal,
    min_notional: Decimal,
) -> Skip | None:
    """Say why an order is not worth placing, None when it is.

    Parameters
    ----------
    opposing : Decimal
        Price of the order that will answer it.
    min_notional : Decimal
        Least value of an order, quote units.
    """
    notional = multiply(price, quantity)
    if notional < min_notional:
        detail = f"{side} {plain(quantity)} at {plain(price)} is worth {plain(notional)}"
        return Skip("BELOW_MINIMUM", f"{detail}, the least is {plain(min_notional)}")
    buy, sell = (price, opposing) if side == "buy" else (opposing, price)
    if not is_profitable(buy, sell, fee_rate, fee_buffer):
        least = plain(min_sell_price(buy, fee_rate, fee_buffer))
        return Skip("UNPROFITABLE", f"{plain(buy)} to {plain(sell)}; it pays from {least} on")
    return None


def pays_both_fees(side: Side, price: Decimal, mid: Decimal, fee_rate: Decimal) -> bool:
    """Whether an order, answered as far on the other side of the mid, earns more than two fees."""
    mirrored = subtract(multiply(_TWO, mid), price)
    buy, sell = (price, mirrored) if side == "buy" else (mirrored, price)
    return subtract(sell, buy) > multiply(multiply(_TWO, fee_rate), buy)
