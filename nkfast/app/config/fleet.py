"""The configuration of a fleet: bots that run in one process, each with a file of its own.

[restart]                 # may be left out
most = 10

[bots.grid-btc]           # its name; so are called its folder, its journal and its log
config = "grid.toml"      # from this file's folder
set = { mode = "paper" }  # keys that differ here; may be left out
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nkfast.app.config.bot import BotConfig, load_config
from nkfast.app.config.documents import Document, read_document
from nkfast.app.config.layers import expand
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.strategies.settings import Settings, key
from nkfast.trading.fleet import Restarts

__all__ = ["BotEntry", "FleetConfig", "RestartSettings", "load_fleet"]

_Settings = TypeVar("_Settings", bound=Settings)


class RestartSettings(Settings):
    """How often a bot that failed is started again."""

    most: int = key(10, ge=0, meaning="So many starts in window_s; one failure more and it stays.")
    window_s: float = key(3600.0, gt=0, meaning="Seconds.")
    first_wait_s: float = key(1.0, gt=0, meaning="Before the first new start; doubled each time.")
    longest_wait_s: float = key(60.0, gt=0, meaning="It never waits longer.")


class BotEntry(Settings):
    """One bot of a fleet."""

    config: str = key(..., meaning="Its file, from the folder of the fleet's.")
    set: dict[str, Any] = key({}, meaning="Keys that differ from the file, as --set has them.")


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """Everything that a fleet was told, checked."""

    path: Path
    restarts: Restarts
    bots: Mapping[str, BotConfig]

    @property
    def name(self) -> str:
        """The file's name without its ending: what is typed to arm it."""
        return self.path.stem

    @property
    def live(self) -> tuple[str, ...]:
        """The names of the bots that trade real money."""
        return tuple(name for name, bot in self.bots.items() if bot.common.mode == "live")

    @property
    def hash(self) -> str:
        """SHA-256 of what decides what the bots do."""
        text = "\n".join(f"{name} {bot.hash}" for name, bot in self.bots.items())
        return hashlib.sha256(text.encode()).hexdigest()


def load_fleet(path: Path, environment: Mapping[str, str] | None = None) -> FleetConfig:
    """Read and check the configuration of a fleet, and those of all its bots.

    Raises
    ------
    nkfast.errors.ConfigErrors
        Everything that is wrong in any of the files, each with its place.
    """
    document = read_document(path)
    variables = os.environ if environment is None else environment
    problems: list[ConfigError] = []
    for word in document.values:
        if word not in ("restart", "bots"):
            known = f"unknown key {word!r}; known: restart, bots"
            problems.append(ConfigError(known, _place(document, word)))
    restarts = _read(document, RestartSettings, ("restart",), variables, problems)
    entries = document.values.get("bots")
    if not isinstance(entries, dict) or not entries:
        place = _place(document, "bots") if entries is not None else str(path)
        problems.append(ConfigError("needs a table for each bot: [bots.NAME] with config", place))
        entries = {}
    bots = {}
    for name in entries:
        entry = _read(document, BotEntry, ("bots", name), variables, problems)
        if entry is None:
            continue
        file = path.parent / entry.config
        try:
            bots[name] = load_config(file, entry.set.items(), variables)
        except OSError as error:
            place = _place(document, "bots", name, "config")
            problems.append(ConfigError(f"cannot read {file}: {error.strerror}", place))
        except ConfigErrors as errors:
            problems += [_renamed(one, document, name) for one in errors.problems]
        except ConfigError as error:
            problems.append(_renamed(error, document, name))
    if problems:
        raise ConfigErrors(list({(one.place, one.message): one for one in problems}.values()))
    assert restarts is not None
    return FleetConfig(path, Restarts(**restarts.model_dump()), bots)


def _read(
    document: Document,
    kind: type[_Settings],
    prefix: tuple[str, ...],
    variables: Mapping[str, str],
    problems: list[ConfigError],
) -> _Settings | None:
    given: Any = document.values
    for word in prefix:
        given = given.get(word, {})
    if not isinstance(given, dict):
        problems.append(ConfigError("is no table", _place(document, *prefix)))
        return None
    try:
        return kind.read(expand(given, variables))
    except ConfigErrors as errors:
        found = errors.problems
    except ConfigError as error:
        found = (error,)
    for one in found:
        words = [word for word in one.place.split(".") if word]
        is_unknown = one.message.startswith("unknown key")
        said = one.message if is_unknown else f"{one.place}: {one.message}"
        problems.append(ConfigError(said, _place(document, *prefix, *words)))
    return None


def _place(document: Document, *words: str) -> str:
    """Return where a key stands, or the nearest one that it would stand in."""
    while words:
        if words in document.places:
            return document.places[words]
        within = [place for path, place in document.places.items() if path[: len(words)] == words]
        if within:
            return within[0]
        words = words[:-1]
    return document.name


def _renamed(error: ConfigError, document: Document, name: str) -> ConfigError:
    """Give what is wrong with a value of ``set`` the place where that stands."""
    if not error.place.startswith("--set "):
        return error
    word = error.place.removeprefix("--set ")
    return ConfigError(error.message, _place(document, "bots", name, "set", word))
