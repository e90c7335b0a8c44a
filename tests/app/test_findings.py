"""Findings are lines for programs, and fit a terminal for people."""

import os
import sys

import pytest

from nkfast.app.findings import Finding, print_findings

LONG = Finding("ok", "market", "a tick-size of so many digits " * 5, "mend it")


def test_a_line_stays_whole_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([LONG, Finding("warn", "key", "none")])
    assert [len(line) > 80 for line in capsys.readouterr().out.splitlines()] == [True, False]


def test_a_terminal_gets_lines_that_fit_below_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))
    print_findings([LONG])
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("ok    market  a tick-size")
    assert rest
    assert all(line.startswith(" " * 14 + line.split()[0]) for line in rest)
    assert max(map(len, (first, *rest))) <= 60
