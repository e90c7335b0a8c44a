"""Where settings come from: a file, then ``NKFAST_*`` variables, then ``--set``; the later wins.

Each value keeps the place that it came from, so that an error can name it and ``nkfast config
show`` can list it.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from nkfast.app.config.documents import KeyPath, read_document
from nkfast.errors import ConfigError, ConfigErrors

__all__ = ["PREFIX", "Entry", "Layers", "expand", "nearest", "read_layers"]

PREFIX = "NKFAST_"
#: Variables that are no settings of a bot.
OTHER_VARIABLES = frozenset(
    PREFIX + name
    for name in (
        "HOME",
        "API_KEY",
        "API_KEY_FILE",
        "API_SECRET",
        "API_SECRET_FILE",
        # Of those who build and test nkfast.
        *("ANNOTATE", "BUILD", "KILLS", "PLAN_SEEDS", "VECTORS"),
    )
)
#: Digits before or after the point that no amount, price or time comes near to.
_DIGITS_MAX = 60
#: Words that a hint lists at most.
_SHOWN_MAX = 30
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Entry(NamedTuple):
    """One value, and where it came from: ``bot.toml:14:1``, ``NKFAST_MODE``, ``--set``."""

    value: Any
    place: str


@dataclass(slots=True)
class Layers:
    """The values by their full key, as the last layer that has one says, and all problems so far.

    ``given`` has them in the order of the layers. A table is not an entry but its keys are.
    """

    name: str
    given: list[tuple[tuple[str, ...], Entry]] = field(default_factory=list)
    problems: list[ConfigError] = field(default_factory=list)
    #: Places of tables, for what is missing in them.
    tables: dict[tuple[str, ...], str] = field(default_factory=dict)
    #: Places within lists.
    items: dict[KeyPath, str] = field(default_factory=dict)


def read_layers(
    file: Path | None, environment: Mapping[str, str], pairs: Iterable[tuple[str, Any]]
) -> Layers:
    """Read all layers; nothing is checked yet but the syntax.

    Parameters
    ----------
    file : Path or None
    environment : mapping
        All variables; those that do not begin with `PREFIX` serve ``${VARIABLE}`` only.
    pairs : iterable of (key, value)
        Of ``--set``: texts, or values of a file.

    Raises
    ------
    nkfast.errors.ConfigError
        The file cannot be read.
    """
    layers = Layers("" if file is None else str(file))
    if file is not None:
        document = read_document(file)
        for path, value in _leaves(document.values):
            place = document.places[path]
            _add(layers, path, value, place, environment)
        layers.tables = {path: place for path, place in document.places.items() if _is_words(path)}  # type: ignore[misc]
        layers.items = dict(document.places)
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES:
            path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            _add_all(layers, path, _parsed(value), name, environment)
    for key, value in pairs:
        _add_all(layers, tuple(key.split(".")), _parsed(value), f"--set {key}", environment)
    return layers


def expand(value: Any, environment: Mapping[str, str]) -> Any:
    """Replace ``${VARIABLE}`` and ``${VARIABLE:-default}`` in every text of a value.

    Raises
    ------
    nkfast.errors.ConfigErrors
        Variables that are not set and have no default.
    """
    missing: list[str] = []

    def replaced(found: "re.Match[str]") -> str:
        name, default = found[1], found[2]
        known = environment.get(name)
        if default is not None:
            return known or default
        if known is None:
            missing.append(name)
            return ""
        return known

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return _REFERENCE.sub(replaced, value)
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        return value

    result = walk(value)
    if missing:
        raise ConfigErrors(
            [
                ConfigError(f"variable {name} is not set; set it, or write ${{{name}:-default}}")
                for name in missing
            ]
        )
    return result


def nearest(word: str, known: Sequence[str]) -> str:
    """Return what else could have been meant, as the end of a sentence."""
    near = difflib.get_close_matches(word, known, 1, 0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known[:_SHOWN_MAX])}{', ...' if len(known) > _SHOWN_MAX else ''}"


def _add_all(
    layers: Layers, path: KeyPath, value: Any, place: str, environment: Mapping[str, str]
) -> None:
    """Add a value; of a table each key, so that a later layer may set one of them."""
    if isinstance(value, dict) and value:
        for inner, item in _leaves(value):
            _add(layers, (*path, *inner), item, place, environment)
    else:
        _add(layers, path, value, place, environment)


def _add(
    layers: Layers, path: KeyPath, value: Any, place: str, environment: Mapping[str, str]
) -> None:
    words = tuple(str(word) for word in path)
    try:
        value = expand(value, environment)
    except ConfigErrors as errors:
        layers.problems += [ConfigError(error.message, place) for error in errors.problems]
        return
    if _is_beyond_reason(value):
        layers.problems.append(ConfigError(f"{'.'.join(words)} has too many digits", place))
        return
    layers.given.append((words, Entry(value, place)))


def _leaves(values: Mapping[str, Any], prefix: KeyPath = ()) -> Iterable[tuple[KeyPath, Any]]:
    for word, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*prefix, word))
        else:
            yield (*prefix, word), value


def _is_words(path: KeyPath) -> bool:
    return all(isinstance(word, str) for word in path)


def _parsed(text: Any) -> Any:
    """Read a list or a table, which only JSON can write in one line; all else stays text."""
    if isinstance(text, str) and text[:1] in ("[", "{"):
        try:
            return json.loads(text, parse_float=Decimal)
        except ValueError:
            return text
    return text


def _is_beyond_reason(value: Any) -> bool:
    if isinstance(value, str) and len(value) < _DIGITS_MAX:
        try:
            value = Decimal(value)
        except ArithmeticError:
            return False
    if isinstance(value, Decimal) and value.is_finite():
        return abs(value.adjusted()) > _DIGITS_MAX or len(value.as_tuple().digits) > _DIGITS_MAX
    return isinstance(value, int) and abs(value) >= 10**_DIGITS_MAX
