"""``nkfast init``: a commented file for a new bot, from an example and what is told."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from nkfast.app.config.bot import BotConfig, load_config
from nkfast.app.config.documents import read_document
from nkfast.app.config.writing import render
from nkfast.app.loop import run
from nkfast.app.outlook import Outlook, look_ahead
from nkfast.errors import ConfigError, NkfastError
from nkfast.strategies import load
from nkfast.strategies.settings import Settings, keys
from nkfast.trading.exact import ZERO, add, multiply, plain

__all__ = ["init"]

_LOOK_LIMIT_S = 10.0
_TWO_DIGITS = Context(prec=2, rounding=ROUND_CEILING)
#: Pretended funds are so many times what a start needs.
_MARGIN = Decimal("1.2")
_COMMON = ("symbol", "mode", "on_exit")


def init(
    strategy: str,
    pairs: Sequence[tuple[str, str]],
    *,
    out: Path,
    asks: bool,
    is_offline: bool,
) -> BotConfig:
    """Write a file that `load_config` takes, and return what it says.

    Parameters
    ----------
    pairs : sequence of (key, value)
        What is told; the rest comes from the example of the strategy and from the defaults.
    asks : bool
        Whether a person is asked for what matters.
    is_offline : bool
        Limits are those of the example; else they are fitted to the market and the account.

    Raises
    ------
    nkfast.errors.ConfigError
        The file exists, or what was told is wrong.
    """
    if out.exists():
        raise ConfigError("exists already; name a new file", str(out))
    load(strategy)
    told = [*_example(strategy), *pairs]
    if asks:
        told += _ask(strategy, dict(told))
    config = load_config(None, [("strategy", strategy), *told])
    if not is_offline:
        told += _fitting(config, {key for key, _ in pairs})
        config = load_config(None, [("strategy", strategy), *told])
    text = render(strategy, _given(config), out.suffix)
    out.write_text(text, "utf-8")
    return load_config(out)


def _example(strategy: str) -> list[tuple[str, Any]]:
    source = files("nkfast.examples") / f"{strategy}.toml"
    if not source.is_file():
        return [("symbol", "BTC/USDT")]
    with as_file(source) as path:
        values = read_document(path).values
    pairs: list[tuple[str, Any]] = []
    for section, content in values.items():
        if not isinstance(content, dict):
            if section != "mode":  # paper or live is decided by whom the file is for
                pairs.append((section, content))
            continue
        pairs += [(f"{section}.{key}", value) for key, value in content.items() if key != "name"]
    return pairs


def _ask(strategy: str, told: Mapping[str, Any]) -> list[tuple[str, str]]:
    answers = []
    symbol = click.prompt("market", default=str(told.get("symbol", "BTC/USDT")))
    answers.append(("symbol", symbol))
    for key in keys(load(strategy).settings_type):
        full = f"strategy.{key.name}"
        shown = told.get(full, told.get(key.name))
        if shown is None or isinstance(shown, dict | list) or key.name == "symbol":
            continue
        click.echo(f"  {key.meaning}{f' ({key.unit})' if key.unit else ''}", err=True)
        answers.append((full, click.prompt(key.name, default=str(shown))))
    return answers


def _fitting(config: BotConfig, told: set[str]) -> list[tuple[str, Any]]:
    """Raise what the example says to what a start of this bot needs: pretended funds and limits."""
    try:
        return run(_look(config, told))
    except (NkfastError, TimeoutError) as error:
        said = " ".join(str(error).split()) or "no answer"
        sys.stderr.write(f"the exchange was not asked ({said}): look at [risk]\n")
        return []


async def _look(config: BotConfig, told: set[str]) -> list[tuple[str, Any]]:
    async with asyncio.timeout(_LOOK_LIMIT_S):
        outlook = await look_ahead(config)
        funds: list[tuple[str, Any]] = []
        is_told = any(name == "paper.funds" or name.startswith("paper.funds.") for name in told)
        if not is_told and any(skip.code == "SHORT_OF_FUNDS" for skip in outlook.skips):
            # The example's funds are too small for these orders; nobody chose them.
            outlook = await look_ahead(config, assumes_plenty=True)
            enough = {
                asset: max(_rounded(multiply(need, _MARGIN)), config.paper.funds.get(asset, ZERO))
                for asset, need in outlook.needs.items()
            }
            funds = [("paper.funds", {asset: plain(amount) for asset, amount in enough.items()})]
    return funds + _limits(config, outlook, told)


def _limits(config: BotConfig, outlook: Outlook, told: set[str]) -> list[tuple[str, Any]]:
    sides = {"buy": ZERO, "sell": ZERO}
    # Where no account was looked at, it has what the sells need.
    base = (outlook.owns or outlook.needs).get(outlook.market.base, ZERO)
    for order in outlook.orders:
        sides[order.side] = add(sides[order.side], order.notional)
        if order.side == "buy" and order.symbol == outlook.market.symbol:
            base = add(base, order.quantity)
    largest = max((order.notional for order in outlook.orders), default=ZERO)
    wanted = {
        "max_order_notional": multiply(largest, Decimal(2)),
        "max_position": multiply(base, Decimal(2)),
        "max_daily_loss": multiply(max(sides.values()), Decimal("0.1")),
    }
    pairs: list[tuple[str, Any]] = []
    for name, least in wanted.items():
        now = getattr(config.risk, name)
        is_told = name in told or f"risk.{name}" in told
        if least and not is_told and not isinstance(now, dict) and (now is None or now < least):
            pairs.append((f"risk.{name}", plain(_rounded(least))))
    return pairs


def _rounded(amount: Decimal) -> Decimal:
    return _TWO_DIGITS.plus(amount)


def _given(config: BotConfig) -> dict[str, Any]:
    """Return what was given, checked and typed, in the sections of a file."""
    common = config.common
    given: dict[str, Any] = {name: getattr(common, name) for name in _COMMON}
    given = {name: value for name, value in given.items() if value not in (None, "")}
    for section, settings in config.sections.items():
        names = {path[1] for path in config.entries if path[0] == section and len(path) > 1}
        own = {
            name: _plain(getattr(settings, name))
            for name in type(settings).model_fields
            if name in names and name != "symbol"
        }
        if section == "strategy":
            own = {"name": config.strategy_name} | own
        if own:
            given[section] = own
    return given


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Settings):
        fields = {key: getattr(value, key) for key in type(value).model_fields}
        return {key: _plain(item) for key, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [_plain(item) for item in value]
    return value
