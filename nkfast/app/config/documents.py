"""Files of settings: TOML, YAML 1.2 and JSON give the same values, and say where each key stands.

Numbers are exact: a fraction becomes a Decimal of the text as it was written.
"""

import bisect
import json
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nkfast.errors import ConfigError

__all__ = ["SUFFIXES", "Document", "KeyPath", "read_document"]

#: Where a value stands in a document: names of keys, and indices of lists.
KeyPath = tuple[str | int, ...]

SUFFIXES = (".toml", ".yaml", ".yml", ".json")

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'", re.DOTALL
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE = re.compile(r"[^,\]}\n#]+")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_YAML_TAG = "tag:yaml.org,2002:"


class Document(NamedTuple):
    """What a file says.

    ``places`` has ``FILE:LINE:COLUMN`` of every key and of every item of a list.
    """

    name: str
    values: dict[str, Any]
    places: Mapping[KeyPath, str]


def read_document(path: Path) -> Document:
    """Read a file of settings, in the format that its name ends in.

    Raises
    ------
    nkfast.errors.ConfigError
        It is not there, not text, has another format, or is not well-formed; a key stands in it
        twice. The place is ``FILE:LINE:COLUMN``.
    """
    name = str(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"ends in none of {', '.join(SUFFIXES)}", name)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text: byte {error.start}", name) from error
    try:
        match suffix:
            case ".toml":
                return _read_toml(name, text)
            case ".json":
                return _read_json(name, text)
        return _read_yaml(name, text)
    except RecursionError as error:
        raise ConfigError("is nested too deeply", name) from error


def _read_toml(name: str, text: str) -> Document:
    text = text.replace("\r\n", "\n")
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _TOML_PLACE.search(message)
        if found is None or found[1] is None:
            place = f"{name}:{text.count(chr(10)) + 1}"
        else:
            place = f"{name}:{found[1]}:{found[2]}"
        raise ConfigError(f"not TOML: {_TOML_PLACE.sub('', message)}", place) from error
    places = _Places(name, text)
    places.find_in_toml()
    return Document(name, values, places.found)


def _read_json(name: str, text: str) -> Document:
    def refuse(word: str) -> Any:
        raise ConfigError(f"not JSON: {word} is no number", name)

    try:
        values = json.loads(text, parse_float=Decimal, parse_constant=refuse)
    except json.JSONDecodeError as error:
        place = f"{name}:{error.lineno}:{error.colno}"
        raise ConfigError(f"not JSON: {error.msg}", place) from error
    if not isinstance(values, dict):
        raise ConfigError("has no keys at its top level", f"{name}:1:1")
    places = _Places(name, text)
    places.find_in_json()
    return Document(name, values, places.found)


class _Places:
    """Finds where each key stands, in a text that has been read without an error."""

    def __init__(self, name: str, text: str) -> None:
        self.found: dict[KeyPath, str] = {}
        self._name = name
        self._text = text
        self._at = 0
        self._assigns = "="
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def find_in_json(self) -> None:
        self._assigns = ":"
        self._value(())

    def find_in_toml(self) -> None:
        tables: dict[KeyPath, int] = {}  # of an array of tables, the index of the newest one
        prefix: KeyPath = ()
        while self._skip() < len(self._text):
            if self._text[self._at] != "[":
                self._entry(prefix)
                continue
            start, is_array = self._at, self._text.startswith("[[", self._at)
            self._at += 2 if is_array else 1
            prefix, words = (), self._key()
            for depth, word in enumerate(words):
                prefix += (word,)
                if is_array and depth == len(words) - 1:
                    tables[prefix] = tables.get(prefix, -1) + 1
                if prefix in tables:
                    self.found.setdefault(prefix, self._place(start))
                    prefix += (tables[prefix],)
                self.found.setdefault(prefix, self._place(start))
            self._skip()
            self._at += 2 if is_array else 1

    def _skip(self) -> int:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at

    def _place(self, at: int) -> str:
        line = bisect.bisect_right(self._lines, at)
        return f"{self._name}:{line}:{at - self._lines[line - 1] + 1}"

    def _key(self) -> list[str]:
        words = []
        while True:
            self._skip()
            found = _BARE_KEY.match(self._text, self._at)
            if found is not None:
                words.append(found[0])
            else:
                found = _STRING.match(self._text, self._at)
                assert found is not None
                is_json = self._assigns == ":"
                words.append(
                    json.loads(found[0]) if is_json else tomllib.loads(f"word = {found[0]}")["word"]
                )
            self._at = found.end()
            self._skip()
            if not self._text.startswith(".", self._at):
                return words
            self._at += 1

    def _entry(self, prefix: KeyPath) -> None:
        start = self._at
        for word in self._key():
            prefix += (word,)
            if self._assigns == ":" and prefix in self.found:
                raise ConfigError(f"{word!r} stands here a second time", self._place(start))
            self.found.setdefault(prefix, self._place(start))
        self._at = self._text.index(self._assigns, self._at) + 1
        self._value(prefix)

    def _value(self, path: KeyPath) -> None:
        self._skip()
        opening = self._text[self._at]
        if opening not in "[{":
            found = _STRING.match(self._text, self._at) or _PLAIN_VALUE.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            return
        self._at += 1
        index = 0
        while self._text[self._skip()] not in "]}":
            if opening == "{":
                self._entry(path)
            else:
                self.found[*path, index] = self._place(self._at)
                self._value((*path, index))
                index += 1
            if self._text[self._skip()] == ",":
                self._at += 1
        self._at += 1


def _read_yaml(name: str, text: str) -> Document:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
        raise ConfigError(f"not YAML: {error.problem or error.context}", place) from error
    except YAMLError as error:
        raise ConfigError(f"not YAML: {error}", name) from error
    reader = _YamlReader(name)
    if root is None:
        return Document(name, {}, reader.places)
    values = reader.read(root, ())
    if not isinstance(values, dict):
        raise ConfigError("has no keys at its top level", f"{name}:1:1")
    return Document(name, values, reader.places)


class _YamlReader:
    """Makes values of nodes. ruamel's own constructor makes binary fractions of numbers."""

    def __init__(self, name: str) -> None:
        self.places: dict[KeyPath, str] = {}
        self._name = name
        self._within: list[Node] = []

    def read(self, node: Node, path: KeyPath) -> Any:
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if any(outer is node for outer in self._within):
            raise ConfigError("holds itself", self._place(node))
        self._within.append(node)
        try:
            if isinstance(node, SequenceNode):
                return self._items(node, path)
            assert isinstance(node, MappingNode)
            return self._keys(node, path)
        finally:
            self._within.pop()

    def _items(self, node: SequenceNode, path: KeyPath) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self.places[*path, index] = self._place(item)
            items.append(self.read(item, (*path, index)))
        return items

    def _keys(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise ConfigError("a key is a word", self._place(key))
            word = key.value
            if word in values:
                raise ConfigError(f"{word!r} stands here a second time", self._place(key))
            self.places[*path, word] = self._place(key)
            values[word] = self.read(value, (*path, word))
        return values

    def _place(self, node: Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def _scalar(self, node: ScalarNode) -> Any:
        text = node.value
        match str(node.tag).removeprefix(_YAML_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                digits = text.replace("_", "")
                return int(digits, 0) if digits.lstrip("+-")[:2] in ("0x", "0o") else int(digits)
            case "float":
                digits = text.lower().replace("_", "")
                # YAML writes .inf and .nan, and .5 as well.
                return Decimal(digits.replace(".inf", "inf").replace(".nan", "nan"))
            case "str" | "timestamp":
                return text
            case tag:
                raise ConfigError(f"nkfast has no values of type {tag!r}", self._place(node))
