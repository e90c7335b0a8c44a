"""``nkfast why``: totals, newest, one code, JSON, and a journal that another process holds."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.trading.journal import Journal


@pytest.fixture
def held(tmp_path: Path):
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        journal.add_reasons(
            {"SELF_CROSS": (1, "b: 1 against 2"), "MAX_OPEN_ORDERS": (1200, "a: 41 against 40")},
            [
                (1_790_000_000_123, "MAX_OPEN_ORDERS", "a: 41 against 40"),
                (1_790_000_001_000, "SELF_CROSS", "b: 1 against 2"),
            ],
        )
        yield tmp_path / "j.db"


def why(*words: str):
    return CliRunner().invoke(main, ["why", *words])


def test_totals_come_first_then_the_newest(held: Path) -> None:
    result = why(str(held))
    assert result.exit_code == ExitCode.OK
    assert result.output.splitlines() == [
        "    1,200  MAX_OPEN_ORDERS  newest: a: 41 against 40",
        "        1  SELF_CROSS       newest: b: 1 against 2",
        "",
        "2026-09-21 14:13:21.000  SELF_CROSS       b: 1 against 2",
        "2026-09-21 14:13:20.123  MAX_OPEN_ORDERS  a: 41 against 40",
    ]


def test_one_code_and_a_number(held: Path) -> None:
    record = json.loads(why(str(held), "--code", "SELF_CROSS", "--json").output)
    assert record == {
        "totals": [{"code": "SELF_CROSS", "times": 1, "detail": "b: 1 against 2"}],
        "newest": [
            {"time_ms": 1_790_000_001_000, "code": "SELF_CROSS", "detail": "b: 1 against 2"}
        ],
    }
    assert json.loads(why(str(held), "--last", "0", "--json").output)["newest"] == []
    assert why(str(held), "--code", "NOTHING").output == "never\n"


def test_a_journal_without_reasons_says_so(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    assert why(str(tmp_path / "j.db")).output == "every action that was considered was taken\n"
