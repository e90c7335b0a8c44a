"""Files of other bots for NonKYC become files of nkfast; everything that changes is said."""

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from nkfast.app.config.documents import read_document
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.strategies import load, names
from nkfast.strategies.settings import Settings
from nkfast.wire.addresses import BASE_URL

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
        (
            *("enable_signing", "use_signing", "sign_requests", "sign_absolute_url"),
            *("nonce_multiplier", "sort_params", "sort_body", "debug_auth"),
        ),
        "requests are always signed, the one right way",
    ),
    **dict.fromkeys(
        ("log_level", "log_file", "timestamp"), "the instance keeps its log: nkfast logs NAME"
    ),
    "exchange": "there is one",
    **dict.fromkeys(
        (
            *("price_decimals", "qty_decimals", "tick_size", "step_size", "quantity_step"),
            *("qty_step", "quantity_step_size", "quantity_precision", "qty_precision"),
        ),
        "ticks and lots are the market's own",
    ),
    **dict.fromkeys(("fee_rate", "orderbook_fee", "pool_fee"), "fees are the market's own"),
    "startup_cancel_all": "orders of others are never touched; cancel them by hand",
    **dict.fromkeys(("asset_b", "asset_c"), "the markets say them"),
    "order_type": "legs are limit orders at the price that the books are walked to",
    "orderbook_pairs": "the pool's assets and the start asset say them",
    "orderbook_aggressive_limit_pct": "the books are walked to the price that is needed",
    "aggressive_limit_pct": "the books are walked to the price that is needed",
    "exit_symbol": "nothing is sold beside the cycle",
    "target_base_reserve": "profit is what the account has beyond its principal in quote",
    "limit_order_spread": "the reserve is bought at the ask",
    "price_source": "the reserve is bought at the ask",
    **dict.fromkeys(
        ("api_key", "api_secret"), "keys are kept by nkfast keys set, never in this file"
    ),
    **dict.fromkeys(
        ("strictValidate", "strict_validate", "userProvidedId", "user_provided_id"),
        "the engine sets it for each order",
    ),
}
#: The same within a section.
_NOT_NEEDED_WITHIN = {
    ("ema", "ema_window_sec"): "ema_alpha says how fast the average moves",
    ("profit_store", "quote_asset"): "profit is in the market's quote asset",
}
_SYMBOLS = ("symbol", "trading_pair")
#: The three markets of a triangle, in the order of its legs.
_LEGS = ("pair_ab", "pair_bc", "pair_ac")


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
            own[word] = _without_unneeded(word, value, changes)
        elif word == "base_url":
            _address(str(value), values, changes)
        elif word in _LEGS and "pairs" in kind.model_fields:
            own.setdefault("pairs", []).append(value)
            changes.append(f"{word} is one of pairs")
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


def _without_unneeded(section: str, value: Any, changes: list[str]) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {}
    for word, item in value.items():
        reason = _NOT_NEEDED_WITHIN.get((section, word))
        if reason is None:
            kept[word] = item
        else:
            changes.append(f"{section}.{word} is left out: {reason}")
    return kept


def _address(url: str, values: dict[str, Any], changes: list[str]) -> None:
    """Take over where the exchange is; NonKYC's own address is the default."""
    parts = urlsplit(url)
    if parts.hostname == urlsplit(BASE_URL).hostname:
        changes.append("base_url is left out: it is the default")
        return
    path = parts.path.rstrip("/") or urlsplit(BASE_URL).path
    rest_url = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    values["exchange"] = {"rest_url": rest_url}
    changes.append(f"base_url is called exchange.rest_url, {rest_url}; set exchange.ws_url, too")


def _mode(value: Any, changes: list[str]) -> str:
    mode = str(value).lower().replace("-", "").replace("_", "")
    if mode == "dryrun":
        changes.append(f"mode {value!r} is called 'paper'")
        return "paper"
    if mode == "live":
        changes.append("mode 'live' becomes 'monitor': live is a decision to be made again")
    return "monitor"


def _guess(given: Mapping[str, Any], name: str) -> str:
    known = {strategy: _known(load(strategy).settings_type, given) for strategy in names()}
    # A word that many strategies know says little.
    knowing = Counter(word for words in known.values() for word in words)
    scores = {
        strategy: sum((Fraction(1, knowing[word]) for word in words), Fraction())
        for strategy, words in known.items()
    }
    best = max(scores.values())
    found = [strategy for strategy, score in scores.items() if score == best]
    if len(found) > 1 or not best:
        raise ConfigError(
            f"does not tell its strategy (perhaps {', '.join(found)}); give --strategy", name
        )
    return found[0]


def _known(kind: type[Settings], given: Mapping[str, Any]) -> list[str]:
    own = {*kind.model_fields, *kind.aliases} - set(_SYMBOLS)
    if "pairs" in own:
        own |= set(_LEGS)
    return [word for word in given if word in own]
