"""What instances are and did: ``status``, ``orders``, ``fills``, ``pnl``, ``export``, ``logs``."""

import csv
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from nkfast.app.cli.program import (
    FILE,
    FOR,
    JSON,
    STATE_DIR,
    known_instance,
    print_table,
    settings_of,
    verb,
)
from nkfast.app.exits import ExitCode
from nkfast.errors import ConfigError
from nkfast.wire.symbols import canonical

__all__ = ["COMMANDS"]

NAME = click.argument("name")
LAST = click.option("--last", type=click.IntRange(1), default=20, show_default=True)
_POLL_S = 0.25
_DIGITS_SHOWN = 8


@verb()
@click.argument("name", required=False)
@STATE_DIR
@JSON
def status(name: str | None, state_dir: Path | None, as_json: bool) -> None:
    """Show what every instance, or one, is and did. It need not run."""
    from nkfast.app.instance import all_instances
    from nkfast.app.status import describe_instance

    instances = all_instances(state_dir) if name is None else [known_instance(name, state_dir)]
    rows = [describe_instance(instance) for instance in instances]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("no instance ever ran here; nkfast init makes a configuration")
    else:
        shown = ("name", "mode", "strategy", "symbol", "state", "health", "process_id", "orders")
        print_table(rows, (*shown, "open_orders", "fills", "reason"))


@verb()
@NAME
@click.option("--all", "is_all", is_flag=True, help="The ended ones as well.")
@STATE_DIR
@JSON
def orders(name: str, is_all: bool, state_dir: Path | None, as_json: bool) -> None:
    """List the orders of an instance that may still trade, as its journal has them."""
    from nkfast.trading.journal_listing import list_orders

    rows = list_orders(known_instance(name, state_dir).newest_journal, only_open=not is_all)
    _print_rows(rows, as_json, ("slot", "symbol", "side", "price", "quantity", "executed", "state"))


@verb()
@NAME
@LAST
@STATE_DIR
@JSON
def fills(name: str, last: int, state_dir: Path | None, as_json: bool) -> None:
    """List the newest fills of an instance; nkfast export gives all of them."""
    from nkfast.trading.journal_listing import list_fills

    rows = deque(list_fills(known_instance(name, state_dir).newest_journal), maxlen=last)
    if not as_json:
        rows = deque({"time": _clock(row["time_ms"]), **row} for row in rows)
    shown = ("time", "symbol", "side", "price", "quantity", "fee", "fee_asset", "trade_id")
    _print_rows(rows, as_json, shown)


@verb()
@click.argument("name", required=False)
@click.option(
    "--by",
    type=click.Choice(["instance", "strategy", "market", "day"]),
    multiple=True,
    default=("instance", "market"),
    show_default=True,
    help="What rows are told apart by; may be repeated.",
)
@click.option("--mark", "marks", multiple=True, metavar="SYMBOL=PRICE", help="Of open lots.")
@click.option("--now", is_flag=True, help="Ask the exchange for the marks.")
@click.option("--csv", "as_csv", is_flag=True, help="Print it as CSV.")
@STATE_DIR
@JSON
def pnl(
    name: str | None,
    by: tuple[str, ...],
    marks: Sequence[str],
    now: bool,
    as_csv: bool,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Show what instances earned: realized, unrealized, fees by asset, from their journals.

    Realized and unrealized are the change in equity, to the last digit. Open lots are valued at
    the newest fill's price without --now or --mark. A fee in a third asset is in no profit.
    """
    from nkfast.app.instance import all_instances
    from nkfast.app.pnl import ask_marks, pnl_rows

    instances = all_instances(state_dir) if name is None else [known_instance(name, state_dir)]
    given = _marks_of(marks)
    if now:
        given = ask_marks(instances) | given
    rows = pnl_rows(instances, tuple(dict.fromkeys(by)), given)
    flat = [
        row | {"fees": " ".join(f"{fee} {asset}" for asset, fee in row["fees"].items())}
        for row in rows
    ]
    if as_json:
        click.echo(json.dumps(rows))
    elif as_csv:
        _write_rows(flat, "csv", sys.stdout)
    elif flat:
        amounts = ("realized", "unrealized", "equity_change")
        cut = [row | {name: _cut(row[name]) for name in amounts} for row in flat]
        print_table(cut, tuple(cut[0]))
    else:
        click.echo("nothing was traded")


@verb()
@NAME
@click.option("--what", type=click.Choice(["fills", "orders"]), default="fills")
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), default="csv")
@click.option("--out", type=FILE, help="The file; standard output without.")
@STATE_DIR
@JSON
def export(
    name: str, what: str, kind: str, out: Path | None, state_dir: Path | None, as_json: bool
) -> None:
    """Write every fill or order of an instance, never cut: CSV, or one JSON object a line."""
    kind = "json" if as_json else kind
    from nkfast.trading.journal_listing import list_fills, list_orders

    journal = known_instance(name, state_dir).newest_journal
    rows = list_fills(journal) if what == "fills" else list_orders(journal, only_open=False)
    if out is None:
        _write_rows(rows, kind, sys.stdout)
        return
    with out.open("x", encoding="utf-8", newline="") as file:
        _write_rows(rows, kind, file)


@verb()
@NAME
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@LAST
@STATE_DIR
@FOR
@JSON
def logs(
    name: str,
    follow: bool,
    last: int,
    state_dir: Path | None,
    seconds: float | None,
    as_json: bool,
) -> ExitCode:
    """Print the newest lines of an instance's log: one event a line, JSON always."""
    del as_json
    from nkfast.venue.clock import RealClock

    path = known_instance(name, state_dir).log
    clock = RealClock()
    end_ns = None if seconds is None else clock.monotonic_ns() + int(seconds * 1e9)
    with path.open(encoding="utf-8") as file:
        for line in deque(file, maxlen=last):
            click.echo(line, nl=False)
        while follow and (end_ns is None or clock.monotonic_ns() < end_ns):
            line = file.readline()
            if line:
                click.echo(line, nl=False)
            else:
                time.sleep(_POLL_S)
    return ExitCode.OK


def _marks_of(pairs: Sequence[str]) -> dict[str, Decimal]:
    """Return the prices of ``--mark SYMBOL=PRICE``."""
    found = {}
    for symbol, text in settings_of(pairs, "--mark").items():
        try:
            price = Decimal(text)
        except ArithmeticError:
            price = Decimal(0)
        if not price.is_finite() or price <= 0:
            raise ConfigError(f"{text!r} is no price above 0", f"--mark {symbol}")
        found[canonical(symbol)] = price
    return found


def _cut(amount: str) -> str:
    """Cut an amount to what a table shows; --json and --csv have all digits."""
    whole, point, digits = amount.partition(".")
    return f"{whole}{point}{digits[:_DIGITS_SHOWN]}"


def _write_rows(rows: Iterable[Mapping[str, Any]], kind: str, file: Any) -> None:
    if kind == "json":
        for row in rows:
            file.write(json.dumps(row) + "\n")
        return
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        return
    writer = csv.DictWriter(file, first.keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(itertools.chain([first], iterator))


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _print_rows(rows: Iterable[Mapping[str, Any]], as_json: bool, shown: tuple[str, ...]) -> None:
    found = list(rows)
    if as_json:
        click.echo(json.dumps(found))
    elif found:
        print_table(found, shown)
    else:
        click.echo("none")


COMMANDS = (status, orders, fills, pnl, export, logs)
