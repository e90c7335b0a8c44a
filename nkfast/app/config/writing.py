"""Files of settings as nkfast writes them: every key with its meaning, in sections."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from nkfast.app.config.documents import SUFFIXES
from nkfast.app.config.sections import SCHEMA, SECTIONS, CommonSettings
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.strategies.settings import Key, Settings, keys
from nkfast.trading.exact import plain

__all__ = ["render"]

_WIDTH = 92


class _Line(NamedTuple):
    """One key; ``value`` is None where the default holds and the key is only shown."""

    word: str
    value: Any
    default: str | None
    comment: str


def render(strategy: str, values: Mapping[str, Any], suffix: str) -> str:
    """Return the text of a bot's file.

    Parameters
    ----------
    strategy : str
        Its name.
    values : mapping
        By section and key, as a file has them; common keys at the top.
    suffix : str
        ``.toml``, ``.yaml``, ``.yml`` or ``.json``; JSON has no comments.

    Raises
    ------
    nkfast.errors.ConfigError
        The suffix is another.
    """
    if suffix not in SUFFIXES:
        raise ConfigError(f"{suffix!r} is none of {', '.join(SUFFIXES)}", "--out")
    if suffix == ".json":
        return _json({"schema": SCHEMA, **values}) + "\n"
    spell = _toml if suffix == ".toml" else _json
    is_toml = suffix == ".toml"
    lines = [
        f"# A bot of nkfast, strategy {strategy}. What is commented out shows its default.",
        "",
    ]
    lines += _keys(_of(CommonSettings, {"schema_": SCHEMA, **values}), spell, is_toml, "")
    strategy_values = {**values.get("strategy", {}), "name": strategy}
    own = {"strategy": load(strategy).settings_type}
    for name, section in {"exchange": SECTIONS["exchange"], **own, **SECTIONS}.items():
        given = strategy_values if name == "strategy" else values.get(name, {})
        lines += ["", f"[{name}]" if is_toml else f"{name}:"]
        indent = "" if is_toml else "  "
        if name == "strategy":
            lines.append(f"{indent}name{' = ' if is_toml else ': '}{spell(strategy)}")
        body = list(_keys(_of(section, given), spell, is_toml, indent))
        lines += body
        if not is_toml and not given:  # a section of comments alone would be null
            lines[-len(body) - 1] = f"{name}: {{}}"
    return "\n".join(lines) + "\n"


def _of(kind: type[Settings], given: Mapping[str, Any]) -> Iterator[_Line]:
    for key in keys(kind):
        if "." in key.name or (kind is not CommonSettings and key.name == "symbol"):
            continue  # the keys of a section within stand with their section
        word = key.name.removesuffix("_")
        yield _Line(word, given.get(key.name), key.default, _comment(key))


def _comment(key: Key) -> str:
    facts = [fact for fact in (key.unit, key.range) if fact]
    return key.meaning + (f" ({', '.join(facts)})" if facts else "")


def _keys(lines: Iterator[_Line], spell: Any, is_toml: bool, indent: str) -> Iterator[str]:
    assign = " = " if is_toml else ": "
    for line in lines:
        for text in textwrap.wrap(line.comment, _WIDTH):
            yield f"{indent}# {text}"
        if line.value is not None:
            yield f"{indent}{line.word}{assign}{spell(line.value)}"
        else:
            default = "" if line.default in (None, "") else line.default
            yield f"{indent}#{line.word}{assign}{default}".rstrip()


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_word(word)} = {_toml(item)}" for word, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return _scalar(value)


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)}: {_json(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_json, value))}]"
    return _scalar(value)


def _word(word: str) -> str:
    return word if word.replace("_", "").replace("-", "").isalnum() else json.dumps(word)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return plain(value)
    return str(value) if isinstance(value, int) else json.dumps(str(value))
