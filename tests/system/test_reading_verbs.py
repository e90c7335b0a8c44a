"""The verbs that read: the market, the account, and what an instance is and did."""

import csv
import io
import json
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode

Ask = Callable[..., str]


@pytest.fixture
def ask(exchange: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """Run ``nkfast WORDS`` in this process, with the exchange and the key of the account."""
    monkeypatch.chdir(tmp_path)
    for name, value in exchange.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NKFAST_EXCHANGE__REST_URL", exchange.rest_url)
    monkeypatch.setenv("NKFAST_EXCHANGE__WS_URL", exchange.ws_url)

    def run(*words: str, code: ExitCode = ExitCode.OK) -> str:
        result = CliRunner().invoke(main, list(words))
        assert result.exit_code == code, result.output
        return result.stdout

    return run


def test_market_and_account_are_shown(ask: Ask) -> None:
    rows = json.loads(ask("markets", "btc/", "--json"))
    assert [row["symbol"] for row in rows] == ["BTC/USDT"]
    assert rows[0]["tick"] == "0.01"
    assert "BTC/USDT" in ask("markets", "BTC")
    assert ask("markets", "nothing") == "none\n"
    assert json.loads(ask("ticker", "btc-usdt", "--json"))["symbol"] == "BTC/USDT"
    book = json.loads(ask("book", "BTC_USDT", "--depth", "3", "--json"))
    assert (len(book["bids"]), len(book["asks"])) == (3, 3)
    lines = ask("book", "BTC/USDT", "--depth", "1").splitlines()
    assert [line.split()[0] for line in lines] == ["ask", "bid"]
    tops = ask("book", "BTC/USDT", "--watch", "--for", "1s", "--json").splitlines()
    assert json.loads(tops[-1])["state"] == "live"
    assert len(json.loads(ask("candles", "BTC/USDT", "--last", "2", "--json"))) <= 2
    owned = {row["asset"]: row["available"] for row in json.loads(ask("balances", "--json"))}
    assert owned["USDT"] != "0"
    assert json.loads(ask("keys", "where", "--json"))["source"] == "variables"
    well = json.loads(ask("doctor", "--json"))
    found = {row["subject"]: row["verdict"] for row in well["findings"]}
    assert (found["exchange"], found["clock"], found["websocket"]) == ("ok", "ok", "ok")
    ask("markets", "--rest-url", "http://127.0.0.1:1/api/v2", code=ExitCode.UNREACHABLE)
    ask("ticker", "NO/SUCH", code=ExitCode.NOT_FOUND)
    for verb in (("ticker",), ("candles",), ("book",), ("book", "--watch")):
        with pytest.raises(
            AssertionError, match="BTC/UST: no such market; did you mean 'BTC/USDT'"
        ):
            ask(*verb, "BTC/UST")


def test_a_limit_that_the_account_is_beyond_is_told_before_a_start(ask: Ask) -> None:
    words = ("check", "grid", "--set", "symbol=BTC/USDT", "--set", "step_pct=0.02", "--json")
    words += ("--set", "base_order_size=0.001")
    for limit, wanted in (("0.01", ["warn"]), ("1", [])):
        told = json.loads(ask(*words, "--set", f"max_position={limit}"))["findings"]
        found = [row for row in told if row["subject"] == "position"]
        assert [row["verdict"] for row in found] == wanted
        assert all("0.159 BTC owned and bought is above" in row["detail"] for row in found)


def test_instance_is_described_while_it_runs_and_after(
    ask: Ask, start: Any, exchange: Any, tmp_path: Path
) -> None:
    (tmp_path / "bot.toml").write_text(
        'symbol = "BTC/USDT"\nstrategy = "grid"\nstep_pct = 0.004\nfee_buffer_pct = 0\n'
        "fee_rate = 0.0015\nbase_order_size = 0.003\nmode = 'paper'\non_exit = 'cancel'\n"
    )
    words = ("run", "bot.toml", "--metrics-port", "0", *exchange.pairs())
    process = start(*words, env=exchange.environment())
    address = ""
    for line in process.stdout:
        if "metrics at " in line:
            address = line.split()[-1]
        if "[fill]" in line:
            break
    check_metrics(address)
    [row] = json.loads(ask("status", "--json"))
    assert (row["name"], row["mode"], row["state"]) == ("bot", "paper", "running")
    assert row["process_id"] == process.pid
    assert "bot   paper" in ask("status")
    assert json.loads(ask("orders", "bot", "--json"))[0]["state"] in ("live", "sending")
    assert "is paused" in ask("pause", "bot")
    [row] = json.loads(ask("status", "--json"))
    assert row["state"] == "paused"
    assert "is stopped" in ask("stop", "bot")
    assert process.wait(30) == ExitCode.OK
    [row] = json.loads(ask("status", "bot", "--json"))
    assert (row["state"], row["process_id"], row["open_orders"]) == ("stopped", None, 0)
    exported = list(csv.DictReader(io.StringIO(ask("export", "bot"))))
    assert len(exported) == row["fills"] >= 1
    assert len(json.loads(ask("fills", "bot", "--last", "1", "--json"))) == 1
    orders = ask("export", "bot", "--what", "orders", "--format", "json").splitlines()
    assert len(orders) == row["orders"]
    told = [json.loads(line) for line in ask("logs", "bot", "--last", "500").splitlines()]
    assert {"life", "order", "fill"} <= {line["evt"] for line in told}
    assert [line["round_trip_pct"] for line in told if "round_trip_pct" in line] == ["0.3005"]
    assert all("realized" in line for line in told if line["evt"] == "fill")
    assert ask("orders", "bot") == "none\n"
    ask("status", "bto", code=ExitCode.NOT_FOUND)
    ask("pause", "bot", code=ExitCode.WRONG_STATE)


def check_metrics(address: str) -> None:
    """Scrape a paper grid that has filled, as Prometheus does."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {
            family.name: family.samples
            for family in text_string_to_metric_families(answer.read().decode())
        }
    values = {name: samples[0].value for name, samples in families.items() if samples}
    assert families["nkfast_info"][0].labels["mode"] == "paper"
    assert values["nkfast_fills"] >= 1
    assert values["nkfast_orders"] >= values["nkfast_open_orders"] > 0
    assert values["nkfast_reconnects"] == values["nkfast_unknown_orders"] == 0
    assert values["nkfast_frames"] > 0
    assert 0 <= values["nkfast_book_age_seconds"] < 60
    assert values["nkfast_book_live"] == 1
    assert values["nkfast_loop_wait_seconds"] >= 0
    assert {sample.labels["asset"] for sample in families["nkfast_balance"]} == {"BTC", "USDT"}
    assert "nkfast_equity_change" in values and "nkfast_fees" in values
    for name in ("tick_to_order", "answer", "journal"):
        samples = families[f"nkfast_{name}_seconds"]
        buckets = [sample.value for sample in samples if sample.name.endswith("_bucket")]
        assert buckets == sorted(buckets)
        [count] = [sample.value for sample in samples if sample.name.endswith("_count")]
        assert count == buckets[-1]
        assert count > 0 or name == "tick_to_order"


def test_killed_process_is_shown_as_gone(ask: Ask, start: Any, exchange: Any) -> None:
    words = ("run", "grid", "--set", "symbol=BTC/USDT", "--set", "step_pct=0.02")
    words += ("--set", "mode=paper")
    process = start(*words, *exchange.pairs(), env=exchange.environment())
    for line in process.stdout:
        if "running" in line:
            break
    process.send_signal(signal.SIGTERM if not hasattr(signal, "SIGKILL") else signal.SIGKILL)
    process.wait(30)
    [row] = json.loads(ask("status", "--json"))
    assert (row["name"], row["state"], row["process_id"]) == ("grid", "gone", None)
