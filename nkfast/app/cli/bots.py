"""What runs a bot: ``check``, ``plan``, ``run``, ``paper``, ``import-state``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nkfast.app.cli.program import (
    FILE,
    FOR,
    JSON,
    SETTINGS,
    STATE_DIR,
    check_exists,
    settings_of,
    verb,
)
from nkfast.app.exits import ExitCode
from nkfast.errors import ConfigError

if TYPE_CHECKING:
    from nkfast.app.config.bot import BotConfig
    from nkfast.app.instance import Instance

__all__ = ["COMMANDS"]

NAME = click.option("--name", help="Of the instance; the file's name without.")
TARGET = click.argument("file", type=FILE)
METRICS = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Answer Prometheus there, on this machine alone; 0 takes a free port.",
)


@verb()
@TARGET
@SETTINGS
@NAME
@STATE_DIR
@FOR
@click.option("--live", "is_live", is_flag=True, help="Trade real money; mode must be live, too.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask for the market's name.")
@click.option("--token", help="What nkfast check showed, in place of the market's name.")
@METRICS
@JSON
def run(
    file: Path,
    pairs: Sequence[str],
    name: str | None,
    state_dir: Path | None,
    seconds: float | None,
    is_live: bool,
    is_sure: bool,
    token: str | None,
    metrics_port: int | None,
    as_json: bool,
) -> ExitCode:
    """Run a bot in the mode of its configuration, until Ctrl-C or SIGTERM.

    FILE is a configuration, or the name of a strategy that --set tells the rest. Live trading
    needs mode = "live" in it, --live here, limits, and the market's name typed.
    """
    from nkfast.app.run import run_bot

    config = _load(file, pairs)
    if config.common.mode == "live" or is_live:
        _arm(config, is_live=is_live, is_sure=is_sure, token=token)
    return run_bot(
        config,
        _instance(file, name, state_dir),
        seconds=seconds,
        as_json=as_json,
        metrics_port=metrics_port,
    )


@verb()
@TARGET
@SETTINGS
@NAME
@STATE_DIR
@FOR
@METRICS
@click.option("--fresh", "is_fresh", is_flag=True, help="Begin with a new account and journal.")
@JSON
def paper(
    file: Path,
    pairs: Sequence[str],
    name: str | None,
    state_dir: Path | None,
    seconds: float | None,
    metrics_port: int | None,
    is_fresh: bool,
    as_json: bool,
) -> ExitCode:
    """Run a bot with pretended money on the real market, whatever mode its configuration has.

    The pretended account goes on where the instance's last paper run ended. --fresh moves that
    journal aside, and begins with the funds of the configuration.
    """
    from nkfast.app.paper_account import put_away
    from nkfast.app.run import run_bot

    config = _load(file, (*pairs, "mode=paper"))
    instance = _instance(file, name, state_dir)
    before = put_away(instance) if is_fresh else ""
    if before and not as_json:
        click.echo(f"a new account begins; the one before is in {before}")
    return run_bot(config, instance, seconds=seconds, as_json=as_json, metrics_port=metrics_port)


@verb()
@TARGET
@SETTINGS
@click.option("--offline", "is_offline", is_flag=True, help="Ask no exchange.")
@click.option(
    "--matrix", "has_matrix", is_flag=True, help="Try what the exchange takes, with the key."
)
@JSON
def check(
    file: Path, pairs: Sequence[str], is_offline: bool, has_matrix: bool, as_json: bool
) -> ExitCode:
    """Say what is wrong with a bot before it costs something; nothing is sent.

    Configuration, limits, clock, API key and what it may, market rules, balances, profit of a round
    trip, worst case. The exit code is that of the first thing that failed: 3 configuration, 4 key
    or clock, 5 exchange, 6 market.
    """
    from nkfast.app.check import check as check_bot

    if is_offline and has_matrix:
        raise click.UsageError("--matrix asks the exchange, --offline does not")
    return check_bot(
        _load(file, pairs), is_offline=is_offline, has_matrix=has_matrix, prints_json=as_json
    )


@verb()
@TARGET
@SETTINGS
@JSON
def plan(file: Path, pairs: Sequence[str], as_json: bool) -> ExitCode:
    """Print every order that a start would place now, and what they need; nothing is sent."""
    from nkfast.app.check import print_plan

    return print_plan(_load(file, pairs), as_json=as_json)


@verb("import-state")
@click.argument("state", type=FILE)
@click.option(
    "--from", "source", type=click.Choice(["nonkycbot"]), required=True, help="Whose file it is."
)
@click.option("--config", "file", type=FILE, required=True, help="The bot that goes on with it.")
@SETTINGS
@NAME
@STATE_DIR
@click.option("--write", "writes", is_flag=True, help="Do it; without, it is only shown.")
@JSON
def import_state(
    state: Path,
    source: str,
    file: Path,
    pairs: Sequence[str],
    name: str | None,
    state_dir: Path | None,
    writes: bool,
    as_json: bool,
) -> None:
    """Go on where another bot stopped: its levels, what it bought and what that cost, its cycle.

    For grid, infinity_grid, capped_martingale and accumulation. Stop that bot and cancel its orders
    before: with an API key it is refused while they rest, or where the account holds less than the
    file says. The first start compares everything with the exchange, as every start does.
    """
    del source
    check_exists(state)
    from nkfast.app import state_import
    from nkfast.app.loop import run as run_loop

    config = _load(file, pairs)
    instance = _instance(file, name, state_dir)
    found = run_loop(state_import.import_state(state, config, instance, writes=writes))
    if as_json:
        click.echo(json.dumps(state_import.as_json(found)))
        return
    for line in found.taken.said:
        click.echo(f"taken over  {line}")
    if found.taken.order_ids and not found.is_compared:
        click.echo(f"not asked   whether these rest: {', '.join(found.taken.order_ids)}")
    if found.journal is None:
        click.echo("nothing was written; --write does it")
    else:
        click.echo(f"wrote {found.journal}\nnext:  nkfast run {file} --name {instance.name}")


def _load(file: Path, pairs: Sequence[str]) -> "BotConfig":
    from nkfast.app.config.bot import load_config
    from nkfast.strategies import names

    settings = settings_of(pairs)
    if not file.exists() and file.name in names():
        return load_config(None, {"strategy": file.name, **settings}.items())
    check_exists(file, others=names())
    return load_config(file, settings.items())


def _instance(file: Path, name: str | None, state_dir: Path | None) -> "Instance":
    from nkfast.app.instance import Instance

    return Instance.named(name if name is not None else file.stem, state_dir)


def _arm(config: "BotConfig", *, is_live: bool, is_sure: bool, token: str | None) -> None:
    """Let live trading begin only when everything that makes it a decision is there."""
    if config.common.mode != "live":
        raise ConfigError(
            f'mode is "{config.common.mode}"; live trading needs mode = "live" there as well',
            config.place("mode"),
        )
    if not is_live:
        raise ConfigError('mode is "live"; live trading needs the option --live as well', "--live")
    config.risk.limits().require_live()
    if is_sure:
        return
    if token is not None:
        if token != config.token:
            raise ConfigError(
                "belongs to another configuration; nkfast check shows this one's", "--token"
            )
        return
    wanted = config.common.symbol or config.strategy_name
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody is here to type {wanted}; give --yes or --token", "--live")
    click.echo(f"LIVE {config.strategy_name} on {wanted} at {config.exchange.rest_url}: real money")
    typed = click.prompt(f"type {wanted} to arm", default="", show_default=False)
    if typed.strip().upper() != wanted.upper():
        raise ConfigError(f"{typed!r} is not {wanted}; nothing was started", "--live")


COMMANDS = (check, import_state, plan, run, paper)
