"""What the journals of instances say: ``journal verify``, ``journal clear``, ``why``."""

from pathlib import Path

import click

from nkfast.app.cli.program import FILE, JSON, check_exists, group, print_record, verb
from nkfast.app.exits import ExitCode

__all__ = ["COMMANDS"]


@group()
def journal() -> None:
    """The journal of orders and fills."""


@journal.command("verify")
@click.argument("file", type=FILE)
@JSON
def journal_verify(file: Path, as_json: bool) -> ExitCode:
    """Compute every order and balance again from the events and compare. Exit 9: they differ."""
    check_exists(file)
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
@click.argument("file", type=FILE)
@click.argument("cause")
@click.option("--name", required=True, help="Name of the instance that the journal belongs to.")
def journal_clear(file: Path, cause: str, name: str) -> None:
    """Let an instance trade again that was halted; CAUSE is the code that the halt named."""
    check_exists(file)
    from nkfast.trading.journal import Journal
    from nkfast.trading.life import clear_halt
    from nkfast.venue.clock import RealClock

    with Journal.open(file, instance=name) as journal:
        clear_halt(journal, cause, RealClock().time_ns() // 1_000_000)
    click.echo(f"cleared {cause}: {name} may be started")


@verb()
@click.argument("file", type=FILE)
@click.option("--code", help="One reason only, such as MAX_OPEN_ORDERS.")
@click.option("--last", type=click.IntRange(0), default=10, show_default=True, help="So many.")
@JSON
def why(file: Path, code: str | None, last: int, as_json: bool) -> None:
    """Say why not: the actions that an instance considered and did not take, from its journal."""
    check_exists(file)
    from nkfast.app.why import print_reasons

    print_reasons(file, code, last, as_json=as_json)


COMMANDS = (journal, why)
