"""``alerts test``: whether a person would be told."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from nkfast.app.cli.program import FILE, JSON, SETTINGS, check_exists, group, settings_of
from nkfast.app.exits import ExitCode
from nkfast.errors import ConfigError

__all__ = ["COMMANDS"]


@group()
def alerts() -> None:
    """Messages to people about a bot: webhook, Discord, Telegram, Apprise."""


@alerts.command("test")
@click.argument("file", type=FILE)
@SETTINGS
@JSON
def alerts_test(file: Path, pairs: Sequence[str], as_json: bool) -> ExitCode:
    """Send a message by every way that a bot's configuration names. Exit 5: one did not arrive."""
    check_exists(file)
    from nkfast.app.alerts import try_out
    from nkfast.app.config.bot import load_config
    from nkfast.app.loop import run

    settings = load_config(file, settings_of(pairs).items()).alerts
    if not settings.goes_anywhere:
        raise ConfigError(
            "[alerts] names nobody: give webhook, discord or telegram_token", str(file)
        )
    found = run(try_out(settings, f"nkfast: alerts of {file.name} arrive here"))
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, reason in found.items():
            click.echo(f"{'fail' if reason else 'ok':<5} {name:<9} {reason}".rstrip())
    return ExitCode.UNREACHABLE if any(found.values()) else ExitCode.OK


COMMANDS = (alerts,)
