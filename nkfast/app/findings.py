"""What was looked at and found well or not: the lines of ``check`` and ``doctor``."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import click

from nkfast.app.exits import ExitCode

__all__ = ["Finding", "as_json", "exit_code", "print_findings"]


class Finding(NamedTuple):
    """One thing that was looked at: ok, warn or fail, and then what to do where that is known."""

    verdict: str
    subject: str
    detail: str
    fix: str = ""
    code: ExitCode = ExitCode.ERROR  # of the command, where it is fail


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Return that of the first thing that failed."""
    return next((row.code for row in findings if row.verdict == "fail"), ExitCode.OK)


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return the findings as records."""
    return [
        {
            "verdict": row.verdict,
            "subject": row.subject,
            "detail": row.detail,
            "fix": row.fix,
            "code": (row.code if row.verdict == "fail" else ExitCode.OK).name,
        }
        for row in findings
    ]


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a line for each, on a terminal as many as it takes below each other."""
    width = max(len(row.subject) for row in findings)
    for row in findings:
        fix = f"  -> {row.fix}" if row.fix else ""
        line = f"{row.verdict:<5} {row.subject:<{width}}  {row.detail}{fix}"
        if sys.stdout.isatty():
            columns = shutil.get_terminal_size().columns
            line = textwrap.fill(
                line,
                columns,
                subsequent_indent=" " * (width + 8),
                break_long_words=False,
                break_on_hyphens=False,
            )
        click.echo(line)
