"""``nkfast why``: totals, newest, one code, JSON, and a journal that another process holds."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.trading.journal import Journal
from nkfast.trading.plan import Leg
from nkfast.trading.plan_outcome import LegOutcome, PlanOutcome


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
        "totals": [
            {
                "code": "SELF_CROSS",
                "times": 1,
                "detail": "b: 1 against 2",
                "meaning": "it would trade with an order of this account",
            }
        ],
        "newest": [
            {"time_ms": 1_790_000_001_000, "code": "SELF_CROSS", "detail": "b: 1 against 2"}
        ],
        "plans": [],
    }
    explained = why(str(held), "--code", "SELF_CROSS").output
    assert "SELF_CROSS: it would trade with an order of this account\n" in explained
    assert json.loads(why(str(held), "--last", "0", "--json").output)["newest"] == []
    assert why(str(held), "--code", "NOTHING").output == "never\n"


def test_a_journal_without_reasons_says_so(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    assert why(str(tmp_path / "j.db")).output == "every action that was considered was taken\n"


def test_plans_show_each_leg_predicted_beside_realized(tmp_path: Path) -> None:
    buy, sell = Leg("BTC/USDT", "buy"), Leg("BTC/USDT", "sell")
    legs = (
        LegOutcome(buy, False, Decimal(1000), Decimal("0.02"), Decimal(500), Decimal("0.01")),
        LegOutcome(sell, False, Decimal("0.02"), Decimal(1010), Decimal(0), Decimal(0)),
        LegOutcome(sell, True, Decimal("0.01"), Decimal(500), Decimal("0.01"), Decimal(495), False),
    )
    outcome = PlanOutcome(
        number=7,
        result="unwound",
        moved={"USDT": Decimal(-5)},
        profit=None,
        order_count=2,
        start="USDT",
        predicted_profit=Decimal(10),
        legs=legs,
        started_ms=1_790_000_000_123,
        ended_ms=1_790_000_001_000,
    )
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        journal.note_plan(outcome.as_json())
    result = why(str(tmp_path / "j.db"))
    assert result.output.strip().splitlines() == [
        "2026-09-21 14:13:20.123  plan 7 unwound: predicted 10 USDT, realized not known yet",
        "  1. buy BTC/USDT, USDT -> BTC: predicted 1000 -> 0.02, realized 500 -> 0.01,"
        " 0.0000% less a unit",
        "  2. sell BTC/USDT, BTC -> USDT: predicted 0.02 -> 1010, realized 0 -> 0",
        "  3. back: sell BTC/USDT, BTC -> USDT: predicted 0.01 -> 500, realized 0.01 -> 495,"
        " 1.0000% less a unit; a fee is not known yet",
    ]
    (plan,) = json.loads(why(str(tmp_path / "j.db"), "--json").output)["plans"]
    assert PlanOutcome.from_json(plan) == outcome
    assert json.loads(why(str(tmp_path / "j.db"), "--last", "0", "--json").output)["plans"] == []
