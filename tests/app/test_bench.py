"""The benchmark compares equals, and says how much faster in numbers for people and programs."""

import json

import pytest
from click.testing import CliRunner

from nkfast.app import bench
from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.core.signing import Signer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_ROUNDS", 5)


def test_everything_is_timed_on_both_sides() -> None:
    result = CliRunner().invoke(main, ["bench", "--json"])
    assert result.exit_code == ExitCode.OK, result.output
    rows = json.loads(result.stdout)
    assert [row["what"].split()[0] for row in rows] == ["sign", "update", "frame", "signed"]
    assert all(row["nkfast_ns"] > 0 and row["plain_ns"] > 0 for row in rows)
    # Far from what is measured on a quiet machine, and never wrong.
    assert rows[0]["ratio"] > 1.5 and rows[2]["ratio"] > 3


def test_sides_that_do_not_agree_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def __init__(self, *_: str) -> None: ...

        def headers(self, *_: object) -> dict[str, str]:
            return {}

    assert Signer is bench.Signer
    monkeypatch.setattr(bench, "Signer", Wrong)
    with pytest.raises(AssertionError):
        bench._signing()


def test_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    row = bench.Measured("sign a request", 362.4, 2338.0, 6.44)
    monkeypatch.setattr(bench, "measure", lambda: [row])
    head, line = CliRunner().invoke(main, ["bench"]).stdout.splitlines()
    assert head.split() == ["what", "nkfast_ns", "plain_ns", "times_faster"]
    assert line.split() == ["sign", "a", "request", "362", "2,338", "6.4"]
