"""Files of other bots for NonKYC become files of nkfast; everything that changes is said."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nkfast.app.config.documents import read_document
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.strategies import load, names
from nkfast.strategies.settings import Settings

__all__ = ["Imported", "import_document"]

#: What other bots call our strategies.
_STRATEGIES = {
    "triangular_arb": "arbitrage",
    "hybrid_arb": "hybrid_arbitrage",
    "infinity": "infinity_grid",
    "market_making": "market_maker",
}
#: Keys that have no counterpart, and why they need none.
_NOT_NEEDED = {
    "state_path": "state is kept by the name of the instance",
    "poll_interval_sec": "news is pushed, not polled",
    "poll_interval_seconds": "news is pushed, not polled",
    "refresh_time": "news is pushed, not polled",
    "fetch_backoff_sec": "orders in doubt are looked up by the engine",
    "reconcile_interval_sec": "the engine compares by itself",
    "balance_refresh_sec": "balances are pushed",
    **dict.fromkeys(
        (
            *("rest_timeout_sec", "rest_timeout", "rest_retries", "rest_max_retries"),
            *("rest_backoff_factor", "rest_backoff", "rate_limit", "use_server_time"),
        ),
        "the client has limits of its own",
    ),
    **dict.fromkeys(
        ("enable_signing", "use_signing", "sign_absolute_url", "nonce_multiplier"),
        "requests are always signed, the one right way",
    ),
    **dict.fromkeys(
        ("api_key", "api_secret"), "keys are kept by nkfast keys set, never in this file"
    ),
    **dict.fromkeys(
        ("strictValidate", "strict_validate", "userProvidedId", "user_provided_id"),
        "the engine sets it for each order",
    ),
}
_SYMBOLS = ("symbol", "trading_pair")


class Imported(NamedTuple):
    """What was made of a file: values by section, and a line for each change."""

    strategy: str
    values: dict[str, Any]
    changes: tuple[str, ...]


def import_document(path: Path, strategy: str | None) -> Imported:
    """Read another bot's file.

    Parameters
    ----------
    path : Path
    strategy : str or None
        None: the file names it, or its keys tell.

    Raises
    ------
    nkfast.errors.ConfigErrors
        Keys that are known to neither.
    """
    document = read_document(path)
    given = dict(document.values)
    named = given.pop("strategy", None)
    chosen = strategy or (named if isinstance(named, str) else None) or _guess(given, str(path))
    chosen = _STRATEGIES.get(chosen, chosen)
    kind = load(chosen).settings_type
    changes = [] if strategy == chosen or named == chosen else [f"strategy is {chosen}"]
    values: dict[str, Any] = {}
    own: dict[str, Any] = {"name": chosen}
    problems = []
    for word, value in given.items():
        if word == "mode":
            values["mode"] = _mode(value, changes)
        elif word in _SYMBOLS:
            values["symbol"] = value
            if word != "symbol":
                changes.append(f"{word} is called symbol")
        elif word in kind.model_fields:
            own[word] = value
        elif word in kind.aliases:
            own |= dict.fromkeys(kind.aliases[word], value)
            changes.append(f"{word} is called {' and '.join(kind.aliases[word])}")
        elif word in _NOT_NEEDED:
            changes.append(f"{word} is left out: {_NOT_NEEDED[word]}")
        else:
            problems.append(
                ConfigError(
                    f"{word!r} is no key of {chosen}; remove it, or name another --strategy",
                    document.places[word,],
                )
            )
    if problems:
        raise ConfigErrors(problems)
    values["strategy"] = own
    return Imported(chosen, values, tuple(changes))


def _mode(value: Any, changes: list[str]) -> str:
    mode = str(value).lower().replace("-", "").replace("_", "")
    if mode == "dryrun":
        changes.append(f"mode {value!r} is called 'paper'")
        return "paper"
    if mode == "live":
        changes.append("mode 'live' becomes 'monitor': live is a decision to be made again")
    return "monitor"


def _guess(given: Mapping[str, Any], name: str) -> str:
    scores = {strategy: _score(load(strategy).settings_type, given) for strategy in names()}
    best = max(scores.values())
    found = [strategy for strategy, score in scores.items() if score == best]
    if len(found) > 1 or not best:
        raise ConfigError(
            f"does not tell its strategy (perhaps {', '.join(found)}); give --strategy", name
        )
    return found[0]


def _score(kind: type[Settings], given: Mapping[str, Any]) -> int:
    return sum(1 for _ in _known(kind, given))


def _known(kind: type[Settings], given: Mapping[str, Any]) -> Iterator[str]:
    own = {*kind.model_fields, *kind.aliases} - set(_SYMBOLS)
    return (word for word in given if word in own)
