"""Reads single fields of the venue's objects, exactly and tolerantly.

A field may be absent, ``null`` or ``""``; numbers come as strings or as JSON numbers; names differ
between endpoints, so every reader takes the names to try in order. What is present but cannot be
read is a `WireError`, never a default.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Literal

from nkfast.errors import WireError

__all__ = [
    "Object",
    "OrderState",
    "Side",
    "read_amount",
    "read_flag",
    "read_integer",
    "read_money",
    "read_side",
    "read_state",
    "read_symbol",
    "read_text",
    "read_time_ms",
    "require_money",
    "require_text",
]

Object = Mapping[str, Any]
Side = Literal["buy", "sell"]

#: No price, quantity or balance needs more; refused before it can cost memory when written out.
MAX_DIGITS = 64

_ZERO = Decimal(0)


class OrderState(StrEnum):
    """The venue's word for the state of an order, in one spelling (any case, spaces ignored)."""

    NEW = "new"
    ACTIVE = "active"
    PARTLY_FILLED = "partly_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"  # a word that nobody has seen yet: the order counts as alive

    @property
    def is_final(self) -> bool:
        """Whether nothing more can happen to the order."""
        return self in _FINAL


_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?").fullmatch
_FINAL = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED}
)
_STATES = {state.value.replace("_", ""): state for state in OrderState} | {
    "partiallyfilled": OrderState.PARTLY_FILLED,
    "canceled": OrderState.CANCELLED,
}


def _find(data: Object, names: tuple[str, ...]) -> Any:
    for name in names:
        value = data.get(name)
        if value is not None and value != "":
            return value
    return None


def read_text(data: Object, *names: str) -> str:
    """Return the first present field as text, ``""`` when there is none."""
    value = _find(data, names)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise WireError(f"field {names[0]} should be text", repr(value)[:200])
    return str(value)


def require_text(data: Object, *names: str) -> str:
    """Return the first present field as text; `WireError` when there is none."""
    text = read_text(data, *names)
    if not text:
        raise WireError(f"field {names[0]} is missing", repr(sorted(data))[:200])
    return text


def read_money(data: Object, *names: str) -> Decimal | None:
    """Return the first present field as an exact decimal, None when there is none."""
    value = _find(data, names)
    return None if value is None else _decimal(value, names[0])


def read_amount(data: Object, *names: str) -> Decimal:
    """Return the first present field as an exact decimal, zero when there is none."""
    return read_money(data, *names) or _ZERO


def require_money(data: Object, *names: str) -> Decimal:
    """Return the first present field as an exact decimal; `WireError` when there is none."""
    value = read_money(data, *names)
    if value is None:
        raise WireError(f"field {names[0]} is missing", repr(sorted(data))[:200])
    return value


def _decimal(value: Any, name: str) -> Decimal:
    # Nearly all there is; its length bounds its digits on both sides of the point.
    if type(value) is str and len(value) <= MAX_DIGITS and _PLAIN(value):
        return Decimal(value)
    # A binary float has already lost digits: the codec never makes one, and a caller's is refused.
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise WireError(f"field {name} should be a decimal number", repr(value)[:200])
    if isinstance(value, str) and (len(value) > MAX_DIGITS or not value.isascii() or "_" in value):
        raise WireError(f"field {name} should be a decimal number", repr(value)[:200])
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise WireError(f"field {name} should be a decimal number", repr(value)[:200]) from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise WireError(f"field {name} should be a finite number", repr(value)[:200])
    if abs(exponent) > MAX_DIGITS or abs(number.adjusted()) > MAX_DIGITS:
        raise WireError(f"field {name} has more than {MAX_DIGITS} digits", repr(value)[:200])
    return number


def read_integer(data: Object, *names: str) -> int | None:
    """Return the first present field as an integer, None when there is none."""
    number = read_money(data, *names)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise WireError(f"field {names[0]} should be an integer", str(number)[:200])
    return int(number)


def read_time_ms(data: Object, *names: str) -> int:
    """Return the first present field as Unix milliseconds, 0 when there is none.

    The venue writes integers, integers as text, and ISO 8601 in UTC (protocol: date and time).
    """
    value = _find(data, names)
    if type(value) is int and value.bit_length() < 64:  # nearly all there is
        return value
    if isinstance(value, str) and not _PLAIN(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise WireError(f"field {names[0]} should be a time", repr(value)[:200]) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    # `lastPriceUpdate` has been seen with a fraction.
    return 0 if value is None else int(_decimal(value, names[0]))


def read_flag(data: Object, *names: str, default: bool = False) -> bool:
    """Return the first present field as a truth value; also from 0, 1, "true" and "false"."""
    value = _find(data, names)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in ("1", "true"):
        return True
    if word in ("0", "false"):
        return False
    raise WireError(f"field {names[0]} should be true or false", repr(value)[:200])


def read_side(data: Object, *names: str) -> Side:
    """Return ``"buy"`` or ``"sell"`` from any case (account trades say ``"Buy"``)."""
    word = require_text(data, *names).lower()
    if word == "buy":
        return "buy"
    if word == "sell":
        return "sell"
    raise WireError(f"field {names[0]} should be buy or sell", word[:200])


def read_state(data: Object, *names: str) -> OrderState:
    """Return the state of an order; an unknown word is `OrderState.UNKNOWN`."""
    word = read_text(data, *names).lower()
    state = _STATES.get(word)
    if state is None:
        for character in " _-":
            word = word.replace(character, "")
        state = _STATES.get(word, OrderState.UNKNOWN)
    return state


def read_symbol(data: Object) -> str:
    """Return the market as ``BASE/QUOTE``: ``symbol``, ``market.symbol`` or ``ticker_id``."""
    for holder in (data, data.get("market"), data.get("pool")):
        if isinstance(holder, Mapping):
            symbol = read_text(holder, "symbol", "ticker_id")
            if symbol:
                return symbol.replace("_", "/")
    return ""
