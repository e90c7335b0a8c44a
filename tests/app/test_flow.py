"""Statistics of a market's flow: worked out by hand, of a recording, of the crowd."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.flow import flow_of_crowd, flow_of_tape, side_by_side
from nkfast.errors import SymbolNotFoundError
from nkfast.venue.tape import TapeWriter


def level(price: str, quantity: str) -> dict[str, str]:
    return {"price": price, "quantity": quantity}


def message(method: str, **params: object) -> bytes:
    return json.dumps({"method": method, "params": {"symbol": "AAA/USDT", **params}}).encode()


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    path = tmp_path / "feed.tape"
    with TapeWriter(path) as writer:
        book = {"bids": [level("99.5", "2.0"), level("50.0", "9.0")], "asks": [level("100.5", "1")]}
        writer.write(10**9, message("snapshotOrderbook", sequence=1, **book))
        writer.write(
            5 * 10**9, message("updateOrderbook", sequence=2, bids=[], asks=[level("100.0", "1")])
        )
        for second, side, quantity in ((6, "buy", "1.0"), (9, "sell", "0.5")):
            trade = {**level("100.0", quantity), "id": str(second), "side": side}
            trade |= {"timestampms": second * 1000, "timestamp": "1970-01-01T00:00:09Z"}
            writer.write(second * 10**9, message("updateTrades", sequence="1", data=[trade]))
    return path


def test_flow_of_a_recording_worked_out_by_hand(tape: Path) -> None:
    flow = flow_of_tape(tape)
    assert (flow.symbol, flow.seconds, flow.updates, flow.trades) == ("AAA/USDT", 8.0, 2, 2)
    assert flow.spread_bps == pytest.approx(100.0)  # the larger of two: 1 and 0.5 around 100
    # Within 1 %: 99.5 * 2 + 100.5 at first, then 100 more.
    assert flow.depth_quote == pytest.approx(399.5)
    assert flow.level_count == 4
    assert (flow.trade_quote, flow.trade_gap_s, flow.buy_share) == (100.0, 3.0, 0.5)
    assert flow.updates_per_s == 0.25
    assert flow.trades_per_s == pytest.approx(2 / 3)


def test_same_seed_has_the_same_flow_and_looks_like_a_thin_market() -> None:
    flow = flow_of_crowd(7, 300)
    assert flow == flow_of_crowd(7, 300)
    assert flow.spread_bps is not None and 5 < flow.spread_bps < 200
    assert flow.trades > 20


def test_market_that_is_not_there_is_named(tape: Path) -> None:
    with pytest.raises(SymbolNotFoundError, match="AAA/USDT, not X/Y"):
        flow_of_tape(tape, "X/Y")
    with pytest.raises(SymbolNotFoundError, match="X/Y"):
        flow_of_crowd(1, 1, "X/Y")


def test_table_has_a_column_for_each_source() -> None:
    assert side_by_side([{"a": 1, "bb": 2}, {"a": 3, "bb": None}]) == "a   1  3\nbb  2  None"


def test_command_compares_the_crowd_with_recordings(tape: Path) -> None:
    words = ["exchange", "statistics", str(tape), "--for", "60s", "--json"]
    # The traders have no such market: it is the recording's busiest.
    result = CliRunner().invoke(main, words, prog_name="nkfast")
    assert result.exit_code == ExitCode.OK, result.stderr
    sources = [json.loads(line)["source"] for line in result.stdout.splitlines()]
    assert sources == ["crowd of seed 7", "feed.tape"]
    result = CliRunner().invoke(main, words[:-1], prog_name="nkfast")
    assert result.stdout.splitlines()[1].split() == ["symbol", "BTC/USDT", "AAA/USDT"]


def test_recorded_markets_can_be_measured(shared_data: Path) -> None:
    for path in sorted((shared_data / "captures").glob("*.gz")):
        flow = flow_of_tape(path)
        assert flow.spread_bps is not None and flow.spread_bps > 0
        assert flow.trades
