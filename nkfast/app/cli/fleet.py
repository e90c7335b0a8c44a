"""Bots that stay: ``up``, ``ps``, ``down`` of several in one process, ``service`` of the system."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nkfast.app.cli.program import (
    FILE,
    FOR,
    JSON,
    STATE_DIR,
    Duration,
    check_exists,
    known_instance,
    print_table,
    verb,
)
from nkfast.app.exits import ExitCode
from nkfast.errors import ConfigError

if TYPE_CHECKING:
    from nkfast.app.config.fleet import FleetConfig
    from nkfast.app.instance import Instance

__all__ = ["COMMANDS"]

_WELL = ("well", "starting", "paused", "draining")
FLEET = click.argument("fleet", type=FILE, default=Path("fleet.toml"))


@verb()
@FLEET
@STATE_DIR
@FOR
@click.option("--live", "is_live", is_flag=True, help="Trade real money with the live bots.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask for the fleet's name.")
@JSON
def up(
    fleet: Path,
    state_dir: Path | None,
    seconds: float | None,
    is_live: bool,
    is_sure: bool,
    as_json: bool,
) -> ExitCode:
    """Run the bots of a fleet in one process, until Ctrl-C, SIGTERM or nkfast down.

    FLEET names each bot's configuration; fleet.toml without. Bots of one account share a
    connection. One that fails is started again, later each time. Live bots need --live, limits,
    and the fleet's name typed.
    """
    from nkfast.app.config.fleet import load_fleet
    from nkfast.app.fleet import run_fleet
    from nkfast.app.instance import Instance

    check_exists(fleet)
    config = load_fleet(fleet)
    instances = {name: Instance.named(name, state_dir) for name in config.bots}
    if config.live or is_live:
        _arm(config, is_live=is_live, is_sure=is_sure)
    return run_fleet(config, instances.__getitem__, seconds=seconds, as_json=as_json)


def _arm(config: "FleetConfig", *, is_live: bool, is_sure: bool) -> None:
    """Let real money be traded only when everything that makes it a decision is there."""
    if not config.live:
        raise ConfigError('no bot has mode = "live"; leave --live out', str(config.path))
    for name in config.live:
        if not is_live:
            bot = config.bots[name]
            raise ConfigError(
                f'{name} has mode = "live"; live trading needs the option --live as well',
                bot.place("mode"),
            )
        config.bots[name].risk.limits().require_live()
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody is here to type {config.name}; give --yes", "--live")
    click.echo(f"LIVE {', '.join(config.live)}: real money")
    typed = click.prompt(f"type {config.name} to arm", default="", show_default=False)
    if typed.strip() != config.name:
        raise ConfigError(f"{typed!r} is not {config.name}; nothing was started", "--live")


@verb()
@click.option("--all", "is_all", is_flag=True, help="Those that do not run as well.")
@click.option("--check", "checks", is_flag=True, help="Exit 7 unless some run, and all are well.")
@STATE_DIR
@JSON
def ps(is_all: bool, checks: bool, state_dir: Path | None, as_json: bool) -> ExitCode:
    """List the bots that run, of fleets and alone: life, health, orders, fills, profit, uptime."""
    import json

    from nkfast.app.instance import all_instances
    from nkfast.app.status import describe_instance

    rows = [describe_instance(instance) for instance in all_instances(state_dir)]
    rows = [row for row in rows if is_all or row["process_id"] is not None]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("nothing runs; nkfast up starts a fleet, nkfast run a bot")
    else:
        shown = [row | {"uptime": _uptime(row["uptime_s"]), "profit": _profit(row)} for row in rows]
        columns = ("name", "mode", "symbol", "state", "health", "orders", "open_orders", "fills")
        print_table(shown, (*columns, "profit", "uptime", "process_id"))
    running = [row["health"] for row in rows if row["process_id"] is not None]
    is_well = running and all(health in _WELL for health in running)
    return ExitCode.WRONG_STATE if checks and not is_well else ExitCode.OK


@verb()
@click.option("--fleet", "is_fleet", is_flag=True, help="For nkfast up; without, for nkfast run.")
@click.option("--live", "is_live", is_flag=True, help="Real money, with the key as credentials.")
@JSON
def service(is_fleet: bool, is_live: bool, as_json: bool) -> None:
    """Print a systemd unit for a bot or a fleet, hardened and watched.

    It runs /etc/nkfast/NAME.toml as nkfast@NAME.
    """
    import json

    from nkfast.app.service import unit

    text = unit("up" if is_fleet else "run", is_live=is_live)
    click.echo(json.dumps({"unit": text}) if as_json else text, nl=as_json)


@verb()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--on-exit", type=click.Choice(["cancel", "keep"]), help="As configured without.")
@click.option(
    "--deadline", "wait_s", type=Duration(), default="60s", show_default=True, help="Wait so long."
)
@STATE_DIR
@JSON
def down(
    names: Sequence[str],
    on_exit: Literal["cancel", "keep"] | None,
    wait_s: float,
    state_dir: Path | None,
    as_json: bool,
) -> ExitCode:
    """Stop bots by their names, or every bot of every fleet; wait until they have, and say so.

    Exit 7: one does not run, or did not answer in time; 10: one stopped, and what is printed may
    be left.
    """
    from nkfast.app.loop import run
    from nkfast.app.steer import stop_all

    chosen = [known_instance(name, state_dir) for name in names] or _of_fleets(state_dir)
    if not chosen:
        raise ConfigError("no fleet runs; name the bots to stop", "NAME")
    return run(stop_all(chosen, on_exit=on_exit, wait_s=wait_s, as_json=as_json))


def _of_fleets(state_dir: Path | None) -> "list[Instance]":
    from nkfast.app.instance import all_instances

    found = []
    for instance in all_instances(state_dir):
        record = instance.last_run()
        if record is not None and record.fleet and instance.is_running():
            found.append(instance)
    return found


def _uptime(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}m{rest:02}s"


def _profit(row: dict[str, Any]) -> str:
    return " ".join(
        f"{profit['realized']} {profit['quote_asset']}" for profit in row["profit"].values()
    )


COMMANDS = (up, ps, down, service)
