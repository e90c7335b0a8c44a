"""Configuration files: ``init``, ``config show``, ``config schema``, ``config import``, ..."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from nkfast.app.cli.program import FILE, JSON, SETTINGS, check_exists, group, settings_of, verb
from nkfast.app.exits import ExitCode

__all__ = ["COMMANDS"]


@verb()
@click.argument("strategy", required=False)
@SETTINGS
@click.option("--symbol", help="The market, as --set symbol=...")
@click.option("--defaults", "is_silent", is_flag=True, help="Ask nothing.")
@click.option("--offline", "is_offline", is_flag=True, help="Fit the limits to no market.")
@click.option("--out", type=FILE, help="The file; STRATEGY.toml without.")
@JSON
def init(
    strategy: str | None,
    pairs: Sequence[str],
    symbol: str | None,
    is_silent: bool,
    is_offline: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write a commented configuration for a new bot: TOML, YAML or JSON, as --out ends.

    On a terminal it asks; --defaults does not. Mode is monitor unless --set says another.
    """
    from nkfast.app.init import init as write_file
    from nkfast.strategies import names

    asks = not is_silent and sys.stdin.isatty()
    if strategy is None:
        if not asks:
            raise click.UsageError(f"name a strategy: {', '.join(names())}")
        strategy = click.prompt("strategy", type=click.Choice(names()), default="grid")
    told = list(settings_of(pairs).items())
    if symbol is not None:
        told.append(("symbol", symbol))
    path = out if out is not None else Path(f"{strategy}.toml")
    written = write_file(strategy, told, out=path, asks=asks, is_offline=is_offline)
    common = written.common
    if as_json:
        said = {"wrote": str(path), "strategy": strategy, "symbol": common.symbol}
        click.echo(json.dumps(said | {"mode": common.mode, "hash": written.hash}))
        return
    click.echo(f"wrote {path}: {common.mode.upper()} {strategy} {common.symbol}")
    click.echo(f"next:  nkfast check {path}")


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
@JSON
def config_schema(strategy: str | None, as_json: bool) -> None:
    """Print the JSON Schema of a configuration, of one strategy or of all; it is JSON always."""
    del as_json
    from nkfast.app.config.schema import json_schema

    click.echo(json.dumps(json_schema(strategy), indent=2))


@config.command("import")
@click.argument("file", type=FILE)
@click.option("--strategy", help="Which one it is, where the file does not say it.")
@click.option("--out", type=FILE, required=True, help="The new file: TOML, YAML or JSON.")
@JSON
def config_import(file: Path, strategy: str | None, out: Path, as_json: bool) -> None:
    """Make a configuration of another NonKYC bot's file, and say everything that changed."""
    check_exists(file)
    from nkfast.app.config.bot import load_config
    from nkfast.app.config.importing import import_document
    from nkfast.app.config.writing import render
    from nkfast.errors import ConfigErrors

    imported = import_document(file, strategy)
    text = render(imported.strategy, imported.values, out.suffix)
    with out.open("x", encoding="utf-8") as written:
        written.write(text)
    if as_json:
        said = {"wrote": str(out), "strategy": imported.strategy, "changes": imported.changes}
        click.echo(json.dumps(said))
    else:
        for change in imported.changes:
            click.echo(f"changed  {change}")
        click.echo(f"wrote {out}, a {imported.strategy}")
    try:
        load_config(out)
    except ConfigErrors as problems:
        click.echo("it is not complete yet:", err=True)
        raise problems from None
    if not as_json:
        click.echo(f"next:  nkfast check {out}")


@config.command("migrate")
@click.argument("file", type=FILE)
@click.option("--write", "writes", is_flag=True, help="Write it; the old file is kept beside it.")
@JSON
def config_migrate(file: Path, writes: bool, as_json: bool) -> ExitCode:
    """Bring an older file to this version: show what would change, and with --write change it.

    Comments and order stay. Exit 3: it is of an older version, and was only shown.
    """
    check_exists(file)
    from nkfast.app.config.migrating import migrate

    migration = migrate(file)
    needs = bool(migration.changes)
    backup = migration.write() if writes and needs else None
    if as_json:
        record = {"changes": migration.changes, "diff": migration.diff}
        click.echo(json.dumps(record | {"backup": None if backup is None else str(backup)}))
    elif not needs:
        click.echo(f"{file} is of this version")
    else:
        for change in migration.changes:
            click.echo(f"changed  {change}")
        click.echo(migration.diff, nl=False)
        if backup is None:
            click.echo(f"next:  nkfast config migrate {file} --write")
        else:
            click.echo(f"wrote {file}; it was {backup}")
    return ExitCode.CONFIG if needs and backup is None else ExitCode.OK


COMMANDS = (init, config)
