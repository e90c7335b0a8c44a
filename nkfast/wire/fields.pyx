"""Reads single fields of the venue's objects, exactly and tolerantly.

A field may be absent, ``null`` or ``""``; numbers come as strings or as JSON numbers; names differ
between endpoints, so every reader takes the names to try in order. What is present but cannot be
read is a `WireError`, never a default.

Compiled, because reading a message field by field is most of what a small reply costs.
"""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject

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
    "read_moment_ms",
    "read_money",
    "read_price",
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

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text) noexcept
    const void *PyUnicode_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept

cdef enum:
    # No price, quantity or balance needs more; refused before it can cost memory when written out.
    MAX_DIGITS = 64

cdef object ZERO = Decimal(0)
# A larger time counts milliseconds: those of 1973, or seconds of the year 5138.
cdef object SECONDS_MAX = 10**11


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


_FINAL = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED}
)
_STATES = {state.value.replace("_", ""): state for state in OrderState} | {
    "partiallyfilled": OrderState.PARTLY_FILLED,
    "canceled": OrderState.CANCELLED,
}


cdef object find(object data, tuple names):
    cdef PyObject *found
    cdef object value
    for name in names:
        if type(data) is dict:
            found = PyDict_GetItemWithError(data, name)
            if found == NULL:
                continue
            value = <object>found
        else:
            value = data.get(name)
        if value is not None and value != "":
            return value
    return None


cdef bint is_plain(str text) noexcept:
    """Digits, perhaps a sign before and a point between: nearly all there is."""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    cdef Py_ssize_t i = 0
    cdef bint has_point = False
    cdef const unsigned char *characters
    # Its length bounds its digits on both sides of the point.
    if not PyUnicode_IS_ASCII(text) or size > MAX_DIGITS:
        return False
    characters = <const unsigned char *>PyUnicode_DATA(text)
    if size > 0 and characters[0] == c"-":
        i = 1
    if i == size or characters[i] == c"." or characters[size - 1] == c".":
        return False
    while i < size:
        if characters[i] == c".":
            if has_point:
                return False
            has_point = True
        elif not c"0" <= characters[i] <= c"9":
            return False
        i += 1
    return True


def read_text(data, *names):
    """Return the first present field as text, ``""`` when there is none."""
    value = find(data, names)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise WireError(f"field {names[0]} should be text", repr(value)[:200])
    return str(value)


def require_text(data, *names):
    """Return the first present field as text; `WireError` when there is none."""
    text = read_text(data, *names)
    if not text:
        raise WireError(f"field {names[0]} is missing", repr(sorted(data))[:200])
    return text


def read_money(data, *names):
    """Return the first present field as an exact decimal, None when there is none."""
    value = find(data, names)
    return None if value is None else decimal_of(value, names[0])


def read_price(data, *names):
    """Return the first present field as an exact decimal, None when there is none or it is zero.

    A dead market says "0" or "" where it has no price.
    """
    value = find(data, names)
    return None if value is None else decimal_of(value, names[0]) or None


def read_amount(data, *names):
    """Return the first present field as an exact decimal, zero when there is none."""
    return read_money(data, *names) or ZERO


def require_money(data, *names):
    """Return the first present field as an exact decimal; `WireError` when there is none."""
    value = read_money(data, *names)
    if value is None:
        raise WireError(f"field {names[0]} is missing", repr(sorted(data))[:200])
    return value


cdef object decimal_of(object value, name):
    if type(value) is str and is_plain(value):
        return Decimal(value)
    # A binary float has already lost digits: the codec never makes one, and a caller's is refused.
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
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


def read_integer(data, *names):
    """Return the first present field as an integer, None when there is none."""
    number = read_money(data, *names)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise WireError(f"field {names[0]} should be an integer", str(number)[:200])
    return int(number)


def read_time_ms(data, *names):
    """Return the first present field as Unix milliseconds, 0 when there is none.

    The venue writes integers, integers as text, and ISO 8601 in UTC (protocol: date and time).
    """
    value = find(data, names)
    if type(value) is int and value.bit_length() < 64:  # nearly all there is
        return value
    if type(value) is str and not is_plain(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise WireError(f"field {names[0]} should be a time", repr(value)[:200]) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    # `lastPriceUpdate` has been seen with a fraction.
    return 0 if value is None else int(decimal_of(value, names[0]))


def read_moment_ms(data, *names):
    """Return the first present field as Unix milliseconds, also where it counts seconds."""
    value = find(data, names)
    time_ms = read_time_ms(data, *names)
    if 0 < time_ms < SECONDS_MAX and not (isinstance(value, str) and not is_plain(value)):
        return int(decimal_of(value, names[0]).scaleb(3))
    return time_ms


def read_flag(data, *names, default=False):
    """Return the first present field as a truth value; also from 0, 1, "true" and "false"."""
    value = find(data, names)
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


def read_side(data, *names):
    """Return ``"buy"`` or ``"sell"`` from any case (account trades say ``"Buy"``)."""
    word = require_text(data, *names).lower()
    if word == "buy":
        return "buy"
    if word == "sell":
        return "sell"
    raise WireError(f"field {names[0]} should be buy or sell", word[:200])


def read_state(data, *names):
    """Return the state of an order; an unknown word is `OrderState.UNKNOWN`."""
    word = read_text(data, *names).lower()
    state = _STATES.get(word)
    if state is None:
        for character in " _-":
            word = word.replace(character, "")
        state = _STATES.get(word, OrderState.UNKNOWN)
    return state


def read_symbol(data):
    """Return the market as ``BASE/QUOTE``: ``symbol``, ``market.symbol`` or ``ticker_id``."""
    symbol = read_text(data, "symbol", "ticker_id")
    if not symbol:
        for holder in (data.get("market"), data.get("pool")):
            if isinstance(holder, Mapping):
                symbol = read_text(holder, "symbol", "ticker_id")
                if symbol:
                    break
    return symbol.replace("_", "/")
