"""``nkfast why``: the actions that an instance considered and did not take."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from nkfast.trading.reasons import newest_reasons, reason_totals

__all__ = ["print_reasons"]


def print_reasons(journal: Path, code: str | None, last: int, *, as_json: bool) -> None:
    """Print how often each reason was counted, and the newest ones with their numbers."""
    totals = [total for total in reason_totals(journal) if code in (None, total.code)]
    newest = newest_reasons(journal, last, code)
    if as_json:
        record = {
            "totals": [total._asdict() for total in totals],
            "newest": [reason._asdict() for reason in newest],
        }
        click.echo(json.dumps(record))
        return
    if not totals:
        click.echo("every action that was considered was taken" if code is None else "never")
        return
    width = max(len(total.code) for total in totals)
    for total in totals:
        click.echo(f"{total.times:9,}  {total.code:{width}}  newest: {total.detail}")
    if newest:
        click.echo()
    for reason in newest:
        time = datetime.fromtimestamp(reason.time_ms / 1000, UTC)
        stamp = time.isoformat(" ", "milliseconds").removesuffix("+00:00")
        click.echo(f"{stamp}  {reason.code:{width}}  {reason.detail}")
