"""What a demo concludes from what it saw; tests/system runs the demo itself."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.app.demo import DemoSettings, DemoSummary, _closing_lines, agrees
from nkfast.app.exits import ExitCode
from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.trading.engine import EngineSummary
from nkfast.trading.ledger import Ledger, Profit
from nkfast.trading.life import LeftOrder, LifeState
from nkfast.venue.port import Execution, Holding

MARKET = Market("BTC/USDT", 2, 6)
BEFORE = {"BTC": Decimal("0.5"), "USDT": Decimal(1000), "XMR": Decimal(7)}
FILL = Execution(
    trade_id="1",
    order_id="2",
    client_id="3",
    symbol="BTC/USDT",
    side="buy",
    price=Decimal("64000.01"),
    quantity=Decimal("0.001"),
    fee=Decimal("0.12800002"),
    fee_asset="USDT",
    is_maker=True,
    time_ms=1,
)
AFTER = {"BTC": Decimal("0.501"), "USDT": Decimal("935.87198998"), "XMR": Decimal(7)}

ENGINE = EngineSummary(
    orders=2,
    fills=1,
    rejects=0,
    fees={"USDT": Decimal("0.12800002")},
    unknown_fees=0,
    realized=Decimal("1E-8"),
    unrealized=None,
    equity_change=None,
    position=Decimal("0.001"),
    open_orders=0,
    unknown_orders=0,
    tick_to_order_us={"p50": 40.5, "p99": None},
    reasons={},
    book_mismatch=None,
    life=LifeState.STOPPED,
    halted=None,
)
SUMMARY = DemoSummary(
    settings=DemoSettings(seconds=5.0, seed=7, speed=60.0),
    traded_s=5.0004,
    ended_by="time",
    engine=ENGINE,
    counters={
        "update": 3,
        "gap": 0,
        "rejected": 0,
        "rejected_json": 0,
        "connection_frames": 9,
        "connection_timeouts": 0,
    },
    journal_verified=True,
    ledger_matches_exchange=True,
)


LEFT = LeftOrder("nk1", "", "level-1", "BTC/USDT", "buy", "63000.1", "0.003", "unknown")


def ledger(after: dict[str, Decimal]) -> Ledger:
    books = Ledger(MARKET, Profit("BTC", "USDT").after_fill(FILL))
    books.set_holdings([Holding(asset, total, Decimal(0)) for asset, total in after.items()])
    return books


def test_books_agree_when_every_digit_does() -> None:
    assert agrees(ledger(AFTER), BEFORE, AFTER)


@pytest.mark.parametrize("asset", ["BTC", "USDT", "XMR"])
def test_books_differ_by_one_unit_of_the_last_digit(asset: str) -> None:
    other = AFTER | {asset: AFTER[asset] + Decimal("0.00000001")}
    # The exchange moved what we counted no fill for, and our ledger heard of it.
    assert not agrees(ledger(other), BEFORE, other)
    # Our ledger was told another balance than the exchange tells now.
    assert not agrees(ledger(other), BEFORE, AFTER)


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (SUMMARY, ExitCode.OK),
        (replace(SUMMARY, journal_verified=False), ExitCode.UNRECONCILED),
        (replace(SUMMARY, ledger_matches_exchange=False), ExitCode.UNRECONCILED),
        (replace(SUMMARY, left=(LEFT,)), ExitCode.INCOMPLETE_STOP),
        (replace(SUMMARY, left=(LEFT,), journal_verified=False), ExitCode.UNRECONCILED),
    ],
)
def test_exit_code_says_whether_all_is_well(summary: DemoSummary, code: ExitCode) -> None:
    assert summary.exit_code == code


def test_what_may_be_left_is_printed() -> None:
    left = replace(SUMMARY, left=(LEFT, LEFT._replace(order_id="v7", state="live", price="")))
    lines = [line for line in _closing_lines(left) if "LEFT" in line]
    assert lines == [
        "MAY BE LEFT  unknown buy 0.003 BTC/USDT at 63000.1, order nk1",
        "MAY BE LEFT  live buy 0.003 BTC/USDT at the market, order v7",
    ]
    assert left.as_json()["left"][0]["client_id"] == "nk1"


def test_json_has_money_as_text_and_counters_in_groups() -> None:
    record = SUMMARY.as_json()
    assert record["realized"] == "0.00000001"
    assert record["fees"] == {"USDT": "0.12800002"}
    assert record["tick_to_order_us"] == {"p50": 40.5, "p99": None}
    assert record["frames"] == {"update": 3}
    assert record["rejected_frames"] == {"json": 0}
    assert record["connection"] == {"frames": 9}
    assert (record["seed"], record["seconds"], record["ended_by"]) == (7, 5.0, "time")


@pytest.mark.parametrize("option", ["journal", "tape"])
def test_file_that_exists_is_refused_before_anything_starts(tmp_path: Path, option: str) -> None:
    path = tmp_path / "old"
    path.touch()
    with pytest.raises(ConfigError, match="exists already"):
        DemoSettings(seconds=5.0, seed=7, speed=60.0, **{option: path})
