"""Files of an older nkfast become files of this one: edited in place, comments and order stay."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nkfast.app.config.bot import load_config
from nkfast.app.config.documents import Document, read_document
from nkfast.app.config.sections import SCHEMA
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.strategies import load
from nkfast.strategies.settings import Settings

__all__ = ["Migration", "migrate"]


class Migration(NamedTuple):
    """What a file would become. ``changes`` is empty where it is of this version already."""

    path: Path
    before: str
    after: str
    changes: tuple[str, ...]

    @property
    def diff(self) -> str:
        """The change, line by line."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        name = str(self.path)
        return "".join(difflib.unified_diff(before, after, name, name))

    def write(self) -> Path:
        """Write the file, keep the old one beside it, and return where.

        Raises
        ------
        nkfast.errors.ConfigError
            The file has changed since it was read, or the new one would mean something else. It is
            as it was.
        """
        if self.path.read_text("utf-8") != self.before:
            raise ConfigError("has changed meanwhile; nothing was written", str(self.path))
        # Named so that the format is still seen from the end.
        fresh = self.path.with_name(f".migrated.{os.getpid()}.{self.path.name}")
        fresh.write_text(self.after, "utf-8")
        try:
            if _meaning(fresh) != _meaning(self.path):
                raise ConfigError("would mean something else; nothing was written", str(self.path))
            fresh.chmod(self.path.stat().st_mode & 0o777)
            backup = self._backup()
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)
        return backup

    def _backup(self) -> Path:
        number = 0
        while True:
            end = f".{number}" if number else ""
            backup = self.path.with_name(f"{self.path.name}.bak{end}")
            try:
                with backup.open("x", encoding="utf-8") as file:
                    backup.chmod(self.path.stat().st_mode & 0o777)
                    file.write(self.before)
            except FileExistsError:
                number += 1
            else:
                return backup


def migrate(path: Path) -> Migration:
    """Say what a bot's file becomes: its version is said, and keys have their names of today.

    Raises
    ------
    nkfast.errors.ConfigErrors
        The file is wrong in another way, of a later nkfast, or an old name stands for several keys:
        which of them was meant is for a person to say.
    """
    document = read_document(path)
    version = document.values.get("schema", "")
    if version not in ("", SCHEMA):
        place = document.places["schema",]
        raise ConfigError(f"{version!r} is not known; this nkfast reads {SCHEMA!r}", place)
    load_config(path)  # what is wrong in other ways is said first
    before = path.read_text("utf-8")
    changes: list[str] = []
    edits = _renamings(document, changes)
    lines = before.splitlines(keepends=True)
    for line, column, old, new in sorted(edits, reverse=True):
        text = lines[line - 1]
        start = text.find(old, column - 1)
        lines[line - 1] = text[:start] + new + text[start + len(old) :]
    if not version:
        changes.insert(0, f"schema = {SCHEMA!r} is said")
        _say_version(document, lines, path.suffix.lower())
    return Migration(path, before, "".join(lines), tuple(changes))


def _renamings(document: Document, changes: list[str]) -> list[tuple[int, int, str, str]]:
    """Find keys of the strategy under an old name: line, column, old, new."""
    kind = _settings_type(document.values)
    problems, edits = [], []
    for section in ((), ("strategy",)):
        values = document.values if not section else document.values.get("strategy")
        for word in values if isinstance(values, dict) else ():
            names = kind.aliases.get(word, ()) if word not in kind.model_fields else ()
            if not names:
                continue
            place = document.places[(*section, word)]
            if len(names) > 1:
                text = f"{word!r} stands for {' and '.join(names)}: write them in its place"
                problems.append(ConfigError(text, place))
                continue
            line, column = (int(number) for number in place.rsplit(":", 2)[1:])
            edits.append((line, column, word, names[0]))
            changes.append(f"{word} is called {names[0]} (line {line})")
    if problems:
        raise ConfigErrors(problems)
    return edits


def _settings_type(values: Mapping[str, Any]) -> type[Settings]:
    named = values["strategy"]
    return load(named["name"] if isinstance(named, dict) else named).settings_type


def _say_version(document: Document, lines: list[str], suffix: str) -> None:
    first = min(int(place.rsplit(":", 2)[1]) for place in document.places.values())
    if suffix == ".json":
        text = lines[first - 1]
        start = text.index('"')
        lines[first - 1] = f'{text[:start]}"schema": "{SCHEMA}",\n{" " * start}{text[start:]}'
        return
    assign = " = " if suffix == ".toml" else ": "
    lines.insert(first - 1, f'schema{assign}"{SCHEMA}"\n')


def _meaning(path: Path) -> str:
    return load_config(path).hash
