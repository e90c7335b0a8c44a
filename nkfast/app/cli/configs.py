"""Configuration files: ``init``, ``config show``, ``config schema``, ``config import``, ..."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from nkfast.app.cli.program import FILE, JSON, SETTINGS, check_exists, group, settings_of

__all__ = ["COMMANDS"]


@group()
def config() -> None:
    """Configuration files: TOML, YAML 1.2 or JSON."""


@config.command("show")
@click.argument("file", type=FILE)
@SETTINGS
@JSON
def config_show(file: Path, pairs: Sequence[str], as_json: bool) -> None:
    """Show every value of a configuration and where it came from.

    A file counts less than NKFAST_* variables, and these less than --set.
    """
    check_exists(file)
    from nkfast.app.config.bot import load_config

    loaded = load_config(file, settings_of(pairs).items())
    values = loaded.values()
    if as_json:
        record = {
            name: {"value": value, "origin": loaded.origin(name)} for name, value in values.items()
        }
        click.echo(json.dumps({"hash": loaded.hash, "values": record}))
        return
    rows = [
        (name, value if isinstance(value, str) else json.dumps(value), loaded.origin(name))
        for name, value in values.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        click.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")


@config.command("schema")
@click.argument("strategy", required=False)
def config_schema(strategy: str | None) -> None:
    """Print the JSON Schema of a configuration, of one strategy or of all."""
    from nkfast.app.config.schema import json_schema

    click.echo(json.dumps(json_schema(strategy), indent=2))


COMMANDS = (config,)
