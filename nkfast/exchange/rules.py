"""What the exchange asks of an order before it is accepted (protocol.md section 4).

Every refusal is the `VenueError` that a client would get for it over the wire, with the code and
the words of the real exchange.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from nkfast.core import fixed
from nkfast.errors import BelowMinimumError, FixedPointError, MarketPausedError, VenueError
from nkfast.exchange.markets import Listing
from nkfast.exchange.money import ATOM_DECIMALS, TEXT_LENGTH_MAX, parse_amount, shifted
from nkfast.exchange.orders import OrderType, Side
from nkfast.wire.error_codes import ERROR_CODES

__all__ = [
    "OrderForm",
    "check_market",
    "check_size",
    "read_amount",
    "read_price",
    "read_quantity",
    "refusal",
]

#: Longer than any client's, short enough to be part of a path.
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")
_COUNT_MAX: Final = 2**63 - 1


def refusal(code: int, description: str) -> VenueError:
    """Return the error of a code of the exchange, with a text that clients match on."""
    return ERROR_CODES[code].error(description, code=code)


def _word(value: Any) -> Any:
    # The exchange's own Hummingbot connector writes LIMIT and MARKET, others write BUY.
    return value.lower() if isinstance(value, str) else value


def _invalid(description: str) -> VenueError:
    return refusal(10001, description)


class OrderForm(NamedTuple):
    """An order as somebody wrote it; numbers are not read yet."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Any
    price: Any
    client_id: str | None
    is_strict: bool

    @classmethod
    def from_wire(cls, fields: Mapping[str, Any]) -> "OrderForm":
        """Read the body of createorder or the params of newOrder; null counts as absent.

        Raises
        ------
        InvalidOrderError
            A field is missing or is none of the words allowed.
        """
        symbol = fields.get("symbol")
        if not isinstance(symbol, str) or not symbol:
            raise _invalid("Missing required input: symbol")
        side: Any = _word(fields.get("side"))
        if side not in ("buy", "sell"):
            raise _invalid("side must be buy or sell")
        kind: Any = _word(fields.get("type"))
        if kind is None:
            kind = "limit"
        if kind not in ("limit", "market"):
            raise _invalid("type must be limit or market")
        client_id = fields.get("userProvidedId")
        if client_id is not None and not (
            isinstance(client_id, str) and _CLIENT_ID.fullmatch(client_id)
        ):
            raise _invalid("Bad userProvidedId")
        is_strict = fields.get("strictValidate")
        if is_strict not in (None, False, True):
            raise _invalid("strictValidate must be true or false")
        quantity, price = fields.get("quantity"), fields.get("price")
        return cls(symbol, side, kind, quantity, price, client_id, bool(is_strict))


def check_market(listing: Listing, side: Side, kind: OrderType) -> None:
    """Refuse an order that the state of the market does not allow."""
    if not listing.is_active:
        raise MarketPausedError("Market is not active", code=10001)
    if listing.is_paused:
        raise MarketPausedError("Market is paused", code=10001)
    if listing.pause_buys if side == "buy" else listing.pause_sells:
        raise MarketPausedError(f"Market is paused for {side} orders", code=10001)
    if kind == "market" and not listing.market.allow_market_orders:
        raise _invalid("Market orders are not allowed on this market")


def _number(name: str, value: Any) -> Decimal:
    if value is None or value == "":
        raise _invalid(f"Missing required input: {name}")
    if not isinstance(value, str | int | Decimal):
        raise _invalid(f"{name} must be a decimal number")
    try:
        return parse_amount(value)
    except ValueError:
        raise _invalid(f"{name} must be a decimal number") from None


def _read(name: str, value: Any, decimals: int, is_strict: bool) -> int:
    if type(value) is str and len(value) <= TEXT_LENGTH_MAX:
        try:
            count = fixed.parse(value, decimals)
        except FixedPointError:
            count = 0
        if count > 0:
            return count
    # Anything but plain digits that fit: spaces, exponents, digits to cut off, errors.
    count, is_exact = shifted(_number(name, value), decimals)
    if is_strict and not is_exact:
        raise _invalid(f"{name} has more than {decimals} decimal places")
    if count <= 0:
        raise _invalid(f"{name} must be positive after truncation to {decimals} decimal places")
    if count > _COUNT_MAX:
        raise _invalid(f"{name} is too large")
    return count


def read_price(listing: Listing, value: Any, is_strict: bool) -> int:
    """Return a limit price in ticks: excess decimals cut off, or refused when strict."""
    count = _read("price", value, listing.accepted_price_decimals, is_strict)
    ticks = count * listing.accepted_ticks
    if ticks > _COUNT_MAX:
        raise _invalid("price is too large")
    return ticks


def read_quantity(listing: Listing, value: Any, is_strict: bool) -> int:
    """Return a quantity in lots: excess decimals cut off, or refused when strict."""
    return _read("quantity", value, listing.quantity_decimals, is_strict)


def read_amount(name: str, value: Any) -> int:
    """Return a positive amount in atoms; digits beyond an atom are cut off."""
    amount, _ = shifted(_number(name, value), ATOM_DECIMALS)
    if amount <= 0:
        raise _invalid(f"{name} must be positive")
    return amount


def check_size(listing: Listing, ticks: int | None, lots: int, notional: int | None) -> None:
    """Refuse what is outside the price band or below a minimum.

    Parameters
    ----------
    ticks : int or None
        The limit; None for a market order, which the price band does not bind.
    notional : int or None
        Atoms of the quote asset; None where nobody can say, on a book too thin for the order.
    """
    if ticks is not None:
        price = ticks * listing.tick_atoms
        if price < listing.min_price:
            raise _invalid("price is outside the allowed range of the market (too low)")
        if listing.max_price is not None and price > listing.max_price:
            raise _invalid("price is outside the allowed range of the market (too high)")
    quantity = lots * listing.lot_atoms
    if quantity < listing.min_quantity:
        raise BelowMinimumError("quantity is below the minimum quantity of the market", code=10001)
    if listing.max_quantity is not None and quantity > listing.max_quantity:
        raise _invalid("quantity is above the maximum quantity of the market")
    if notional is not None and notional < listing.min_notional:
        raise BelowMinimumError("order value is below the minimum of the market", code=10001)
