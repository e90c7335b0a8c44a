"""The configuration of one bot: which keys there are, and what they mean together.

Common keys stand at the top (``symbol``, ``mode``, ``on_exit``), the rest in sections:
``[exchange]``, ``[strategy]`` with ``name`` and the strategy's own keys, ``[risk]``, ``[paper]``.
A key of the strategy or of ``[risk]`` may stand at the top as well, and ``strategy = "grid"`` is
short for its name, so that a small file needs no sections.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import SecretStr

from nkfast.app.config.alerts import AlertSettings
from nkfast.app.config.layers import PREFIX, Entry, Layers, nearest, read_layers
from nkfast.app.config.sections import (
    SECTIONS,
    CommonSettings,
    ExchangeSettings,
    PaperSettings,
    RiskSettings,
)
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.strategies import Kind, load, names
from nkfast.strategies.settings import Settings
from nkfast.trading.exact import plain

__all__ = ["BotConfig", "load_config"]

Path_ = tuple[str, ...]
_COMMON = {"schema": "schema_"} | {
    name: name for name in CommonSettings.model_fields if name != "schema_"
}


@dataclass(frozen=True, slots=True)
class BotConfig:
    """Everything that one bot was told, checked.

    ``entries`` has every value that was given, by its full key, with its origin.
    """

    path: Path | None
    common: CommonSettings
    exchange: ExchangeSettings
    strategy_name: str
    kind: Kind
    strategy: Settings
    risk: RiskSettings
    paper: PaperSettings
    alerts: AlertSettings
    entries: Mapping[Path_, Entry]

    @property
    def on_exit(self) -> Literal["cancel", "keep"]:
        """What a stop does with resting orders, unless it says it itself.

        Those of pretended money rest nowhere once their process has ended: they are cancelled.
        """
        if self.common.mode == "paper":
            return "cancel"
        return self.common.on_exit or self.kind.on_exit

    @property
    def sections(self) -> Mapping[str, Settings]:
        """The sections by name."""
        return {
            "exchange": self.exchange,
            "strategy": self.strategy,
            "risk": self.risk,
            "paper": self.paper,
            "alerts": self.alerts,
        }

    def values(self) -> dict[str, Any]:
        """Return every value, defaults too, as JSON by full key; money is text in plain digits."""
        found: dict[str, Any] = {
            word: _as_json(getattr(self.common, name)) for word, name in _COMMON.items()
        }
        found["strategy.name"] = self.strategy_name
        for section, settings in self.sections.items():
            for name in type(settings).model_fields:
                if (section, name) != ("strategy", "symbol"):
                    _flatten(found, f"{section}.{name}", getattr(settings, name))
        return found

    def origin(self, full_key: str) -> str:
        """Return where a value came from; "default" where nobody gave one."""
        entry = self.entries.get(tuple(full_key.split(".")))
        return "default" if entry is None else entry.place

    def place(self, full_key: str) -> str:
        """Return where a value stands, or would have to."""
        entry = self.entries.get(tuple(full_key.split(".")))
        if entry is not None:
            return entry.place
        return full_key if self.path is None else str(self.path)

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides what the bot does, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.values(), sort_keys=True).encode()).hexdigest()

    @property
    def token(self) -> str:
        """What ``nkfast check`` shows and ``nkfast run --token`` asks for; of these values only."""
        return f"nk-{self.hash[:12]}"


def load_config(
    path: Path | None,
    pairs: Iterable[tuple[str, Any]] = (),
    environment: Mapping[str, str] | None = None,
) -> BotConfig:
    """Read and check the configuration of a bot.

    Parameters
    ----------
    path : Path or None
        None: everything is given by variables and pairs.
    pairs : iterable of (key, value)
        Of ``--set``.
    environment : mapping, optional
        In place of the process's variables.

    Raises
    ------
    nkfast.errors.ConfigErrors
        Everything that is wrong, each with the place of its value.
    """
    variables = os.environ if environment is None else environment
    layers = read_layers(path, variables, pairs)
    kind, strategy_name = _choose_strategy(layers)
    entries = _entries(layers, kind)
    read = _Reader(layers, entries)
    common = read.settings(CommonSettings, (), _COMMON)
    sections = {
        name: read.settings(section, (name,), {word: word for word in section.model_fields})
        for name, section in SECTIONS.items()
    }
    strategy = None
    if kind is not None:
        strategy = read.strategy(kind)
    if layers.problems:
        raise ConfigErrors(sorted(_without_echoes(layers.problems), key=_order_of))
    assert kind is not None and strategy is not None and common is not None
    return BotConfig(
        path=path,
        common=cast(CommonSettings, common),
        exchange=cast(ExchangeSettings, sections["exchange"]),
        strategy_name=strategy_name,
        kind=kind,
        strategy=strategy,
        risk=cast(RiskSettings, sections["risk"]),
        paper=cast(PaperSettings, sections["paper"]),
        alerts=cast(AlertSettings, sections["alerts"]),
        entries=entries,
    )


def _choose_strategy(layers: Layers) -> tuple[Kind | None, str]:
    chosen = None
    for words, entry in layers.given:
        if words in (("strategy",), ("strategy", "name")):
            chosen = entry
    if chosen is None:
        layers.problems.append(
            ConfigError(f"strategy is required; there are {', '.join(names())}", layers.name)
        )
        return None, ""
    try:
        return load(str(chosen.value)), str(chosen.value)
    except ConfigError as error:
        layers.problems.append(ConfigError(error.message, chosen.place))
        return None, ""


def _entries(layers: Layers, kind: Kind | None) -> dict[Path_, Entry]:
    """Bring every given key to its full name; of several layers the last one wins."""
    entries: dict[Path_, Entry] = {}
    from_file: dict[Path_, tuple[str, Entry]] = {}
    for words, entry in layers.given:
        for path in _full_paths(words, entry, layers, kind):
            before = from_file.get(path)
            if before is not None and _is_of_file(before[1].place) and _is_of_file(entry.place):
                layers.problems.append(
                    ConfigError(
                        f"{'.'.join(words)!r} and {before[0]!r} both set {'.'.join(path)}",
                        entry.place,
                    )
                )
            from_file[path] = ".".join(words), entry
            for other in list(entries):
                if other[: len(path)] == path or path[: len(other)] == other:
                    del entries[other]
            entries[path] = entry
    return entries


def _is_of_file(place: str) -> bool:
    return not place.startswith((PREFIX, "--set "))


def _full_paths(words: Path_, entry: Entry, layers: Layers, kind: Kind | None) -> list[Path_]:
    head, rest = words[0], words[1:]
    settings = None if kind is None else kind.settings_type
    own = () if settings is None else (*settings.model_fields, *settings.aliases)
    if words == ("$schema",) or (entry.value == {} and head in (*SECTIONS, "strategy")):
        return []  # for an editor; an empty section
    if words == ("strategy",):
        return [("strategy", "name")]
    if head in _COMMON and not rest:
        return [words]
    if head in SECTIONS and rest:
        # Assets are written in capitals; variables of the environment often are not told apart.
        return [(*words[:2], *(word.upper() for word in rest[1:]))]
    if head in SECTIONS:
        layers.problems.append(ConfigError(f"{head} is a section of keys, not one", entry.place))
        return []
    if head == "strategy" and rest:
        if rest == ("name",):
            return [words]
        head, rest = rest[0], rest[1:]
        if settings is None:
            return []
        return _strategy_paths(settings, head, rest) or [("strategy", head, *rest)]
    if settings is None:
        return []  # whether it is known cannot be said
    found = _strategy_paths(settings, head, rest)
    if not found and head in RiskSettings.model_fields:
        found = [("risk", *words)]
    if not found:
        known = [*_COMMON, "strategy", *SECTIONS, *own, *RiskSettings.model_fields]
        layers.problems.append(_unknown(words, entry.place, known))
    return found


def _strategy_paths(settings: type[Settings], head: str, rest: Path_) -> list[Path_]:
    targets = (head,) if head in settings.model_fields else settings.aliases.get(head, ())
    return [(name, *rest) if name == "symbol" else ("strategy", name, *rest) for name in targets]


def _unknown(words: Path_, place: str, known: list[str]) -> ConfigError:
    if place.startswith(PREFIX):
        if any(word in place for word in ("DRY", "LIVE", "PAPER", "MONITOR")):
            hint = "NKFAST_MODE sets the mode: monitor, paper or live"
        else:
            variables = [PREFIX + word.upper() for word in known]
            near = difflib.get_close_matches(place, variables, 1, 0.75)
            hint = f"did you mean {near[0]}?" if near else "nkfast config show lists the keys"
        return ConfigError(f"unknown variable; {hint}", place)
    if any("secret" in word or "api_key" in word for word in words):
        return ConfigError(
            f"unknown key {'.'.join(words)!r}; keys of the exchange are kept by nkfast keys set",
            place,
        )
    hint = nearest(words[0], known)
    if not hint.startswith("did"):
        hint = "nkfast config schema lists the known ones"
    return ConfigError(f"unknown key {'.'.join(words)!r}; {hint}", place)


class _Reader:
    """Reads sections, and puts what is wrong with them at the places of their values."""

    def __init__(self, layers: Layers, entries: Mapping[Path_, Entry]) -> None:
        self._layers = layers
        self._entries = entries

    def settings(
        self, kind: type[Settings], prefix: Path_, words: Mapping[str, str]
    ) -> Settings | None:
        given: dict[str, Any] = {}
        for path, entry in self._entries.items():
            if path[: len(prefix)] != prefix or len(path) == len(prefix):
                continue
            rest = path[len(prefix) :]
            if prefix or rest[0] in words:
                _put(given, (words.get(rest[0], rest[0]), *rest[1:]), entry.value)
        return self._checked(kind, prefix, given)

    def strategy(self, kind: Kind) -> Settings | None:
        given: dict[str, Any] = {}
        for path, entry in self._entries.items():
            if path[0] == "strategy" and path != ("strategy", "name"):
                _put(given, path[1:], entry.value)
        symbol = self._entries.get(("symbol",))
        is_of_one_market = "symbol" in kind.settings_type.model_fields
        if is_of_one_market and symbol is not None:
            given["symbol"] = symbol.value
        settings = self._checked(kind.settings_type, ("strategy",), given)
        names_none = settings is None or not settings.symbols({})  # others may name their markets
        if is_of_one_market and symbol is None and names_none:
            problem = ConfigError("symbol is required, BASE/QUOTE", self._layers.name)
            self._layers.problems.append(problem)
        return settings

    def _checked(
        self, kind: type[Settings], prefix: Path_, given: dict[str, Any]
    ) -> Settings | None:
        try:
            return kind.read(given)
        except ConfigErrors as errors:
            problems = errors.problems
        except ConfigError as error:
            problems = (error,)
        for problem in problems:
            self._layers.problems.append(self._placed(prefix, problem))
        return None

    def _placed(self, prefix: Path_, problem: ConfigError) -> ConfigError:
        word = problem.place.removesuffix("_") if not prefix else problem.place
        message = problem.message
        if word and not message.startswith(("unknown key", word)):
            is_said_of_it = message.startswith(("is ", "of ", "holds "))
            message = f"{word} {message}" if is_said_of_it else f"{word}: {message}"
        return ConfigError(message, self._place_of(prefix, word))

    def _place_of(self, prefix: Path_, word: str) -> str:
        parts = [int(part) if part.isdigit() else part for part in word.split(".") if part]
        if word == "symbol":
            prefix = ()
        full = (*prefix, *parts)
        while full:
            entry = self._entries.get(full)  # type: ignore[arg-type]
            if entry is not None:
                return entry.place
            within = [known for known in self._entries if known[: len(full)] == full]
            if within:
                return self._entries[within[0]].place
            if full in self._layers.items:
                return self._layers.items[full]
            full = full[:-1]
        return self._layers.name


def _put(values: dict[str, Any], path: Path_, value: Any) -> None:
    for word in path[:-1]:
        values = values.setdefault(word, {})
    values[path[-1]] = value


def _without_echoes(problems: list[ConfigError]) -> list[ConfigError]:
    """Say each thing once: a symbol that is wrong is wrong for the strategy, too."""
    return list({(problem.place, problem.message): problem for problem in problems}.values())


def _order_of(problem: ConfigError) -> tuple[int, list[int | str]]:
    name, *numbers = problem.place.rsplit(":", 2)
    if numbers and all(number.isdigit() for number in numbers):
        return 0, [name, *(int(number) for number in numbers)]
    return 1, [problem.place]


def _flatten(found: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, Settings):
        for inner in type(value).model_fields:
            _flatten(found, f"{name}.{inner}", getattr(value, inner))
    elif isinstance(value, dict) and value:
        for word, item in value.items():
            _flatten(found, f"{name}.{word}", item)
    else:
        found[name] = _as_json(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return str(value)  # stars
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Settings):
        return {name: _as_json(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {word: _as_json(item) for word, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value
