"""What the journals of instances say: ``journal verify``, ``journal clear``, ``why``."""

import json
from pathlib import Path

import click

from nkfast.app.cli.program import (
    JSON,
    STATE_DIR,
    check_exists,
    group,
    known_instance,
    print_record,
    verb,
)
from nkfast.app.exits import ExitCode

__all__ = ["COMMANDS"]

TARGET = click.argument("target", metavar="JOURNAL|INSTANCE", required=False)
NAME = click.option("--name", help="Of the instance; its newest run's journal is read.")


@group()
def journal() -> None:
    """The journal of orders and fills."""


@journal.command("verify")
@TARGET
@NAME
@STATE_DIR
@JSON
def journal_verify(
    target: str | None, name: str | None, state_dir: Path | None, as_json: bool
) -> ExitCode:
    """Compute every order and balance again from the events and compare. Exit 9: they differ."""
    file = _journal(target, name, state_dir)
    from nkfast.trading.journal import verify

    report = verify(file)
    record = {
        "ok": report.ok,
        "orders": report.orders,
        "fills": report.fills,
        "differences": list(report.differences),
    }
    print_record(record, as_json)
    return ExitCode.OK if report.ok else ExitCode.UNRECONCILED


@journal.command("clear")
@click.argument("target", metavar="JOURNAL|INSTANCE")
@click.argument("cause")
@NAME
@STATE_DIR
@JSON
def journal_clear(
    target: str, cause: str, name: str | None, state_dir: Path | None, as_json: bool
) -> None:
    """Let an instance trade again that was halted; CAUSE is the code that the halt named.

    The name of an instance is enough; a journal's file needs --name, too.
    """
    file = _journal(target, None, state_dir)
    if name is None and Path(target).is_file():
        raise click.UsageError("--name of the instance is missing")
    from nkfast.trading.journal import Journal
    from nkfast.trading.life import clear_halt
    from nkfast.venue.clock import RealClock

    owner = target if name is None else name
    with Journal.open(file, instance=owner) as journal:
        clear_halt(journal, cause, RealClock().time_ns() // 1_000_000)
    if as_json:
        click.echo(json.dumps({"cleared": cause, "name": owner}))
    else:
        click.echo(f"cleared {cause}: {owner} may be started")


@verb()
@TARGET
@NAME
@STATE_DIR
@click.option("--code", help="One reason only, such as MAX_OPEN_ORDERS.")
@click.option("--last", type=click.IntRange(0), default=10, show_default=True, help="So many.")
@JSON
def why(
    target: str | None,
    name: str | None,
    state_dir: Path | None,
    code: str | None,
    last: int,
    as_json: bool,
) -> None:
    """Say why not: what an instance considered and did not do.

    It reads the journal: of every reason how often, the newest numbers, and what became of plans.
    """
    file = _journal(target, name, state_dir)
    from nkfast.app.why import print_reasons

    print_reasons(file, code, last, as_json=as_json)


def _journal(target: str | None, name: str | None, state_dir: Path | None) -> Path:
    """Return a journal that was named by its file, or by its instance: that of the newest run."""
    if (target is None) == (name is None):
        raise click.UsageError("give a journal's file, or the name of an instance")
    if target is not None and (Path(target).is_file() or Path(target).suffix):
        check_exists(Path(target))
        return Path(target)
    return known_instance(name or target or "", state_dir).newest_journal


COMMANDS = (journal, why)
