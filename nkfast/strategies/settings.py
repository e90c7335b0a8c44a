"""From a mapping of words to a strategy's settings: exact, and every unknown key is an error."""

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from nkfast.errors import ConfigError

__all__ = ["settings_from"]

_Settings = TypeVar("_Settings")


def settings_from(
    kind: type[_Settings], given: Mapping[str, Any], aliases: Mapping[str, tuple[str, ...]]
) -> _Settings:
    """Make settings from text and numbers.

    Parameters
    ----------
    kind : dataclass
        What to make; its annotations say what each key must be.
    given : mapping
        Values as text, int, bool, Decimal or float. A float is taken as the shortest text that
        means it, which is what was typed.
    aliases : mapping of str to tuple of str
        Other names of keys; one may stand for several.

    Raises
    ------
    nkfast.errors.ConfigError
        An unknown key (the nearest known one is named), a key given twice under two names, or a
        value that its key does not take.
    """
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for key, value in given.items():
        names = (key,) if key in known else aliases.get(key)
        if names is None:
            near = difflib.get_close_matches(key, [*known, *aliases], 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"unknown key {key!r}{hint}", key)
        for name in names:
            if name in values:
                raise ConfigError(f"{key!r} and {origin[name]!r} both set {name!r}", key)
            values[name] = _convert(value, hints[name], key)
            origin[name] = key
    return kind(**values)


def _convert(value: Any, hint: Any, key: str) -> Any:
    if get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return None
        (hint,) = [choice for choice in get_args(hint) if choice is not type(None)]
    if get_origin(hint) is typing.Literal:
        choices = get_args(hint)
        if value not in choices:
            allowed = ", ".join(repr(choice) for choice in choices)
            raise ConfigError(f"is {value!r}; use one of {allowed}", key)
        return value
    convert = {bool: _to_bool, int: _to_int, Decimal: _to_decimal, str: _to_str}[hint]
    return convert(value, key)


def _to_bool(value: Any, key: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ConfigError(f"is {value!r}; use true or false", key)


def _to_decimal(value: Any, key: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ConfigError(f"is {value!r}; give a number", key)
    text = repr(value) if isinstance(value, float) else value
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ConfigError(f"is {value!r}, which is not a number", key) from None
    if not number.is_finite():
        raise ConfigError(f"is {value!r}; give a finite number", key)
    return number


def _to_int(value: Any, key: str) -> int:
    number = _to_decimal(value, key)
    if number != number.to_integral_value():
        raise ConfigError(f"is {value!r}; give a whole number", key)
    return int(number)


def _to_str(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"is {value!r}; give a text", key)
    return value
