"""Bots as their users start them: real processes, a real exchange on the loopback interface."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nkfast.app.exits import ExitCode

LIMIT_S = 30
GRID = """\
symbol = "BTC/USDT"
on_exit = "cancel"
[strategy]
name = "grid"
step_pct = 0.005
base_order_size = 0.003
fee_buffer_pct = 0.0001
[risk]
max_order_notional = 1000
max_position = 1000
max_daily_loss = 1000
"""
LIVE = ("--set", "mode=live", "--live", "--yes")

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def bot(tmp_path: Path) -> str:
    (tmp_path / "bot.toml").write_text(GRID)
    return "bot.toml"


def ended(process: "subprocess.Popen[str]", code: ExitCode) -> str:
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code, (output, errors)
    return output


def failed(process: "subprocess.Popen[str]", code: ExitCode) -> str:
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code, (output, errors)
    assert "Traceback" not in errors
    return errors


def read_until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in {lines}, {process.communicate()[1]}")


def test_monitor_decides_and_sends_nothing(start: Any, exchange: Any, bot: str) -> None:
    words = ("run", bot, "--for", "1s", "--json", *exchange.pairs())
    summary = json.loads(ended(start(*words, env=exchange.environment()), ExitCode.OK))
    assert summary["mode"] == "monitor"
    assert summary["ended_by"] == "time"
    assert summary["orders"] == 0
    assert len(summary["desired"]) == 6
    assert summary["reasons"]["MONITOR"] >= 6


def test_check_and_plan_ask_and_send_nothing(start: Any, exchange: Any, bot: str) -> None:
    env, words = exchange.environment(), (bot, "--json", *exchange.pairs())
    check = json.loads(ended(start("check", "--matrix", *words, env=env), ExitCode.OK))
    found = {row["subject"]: row for row in check["findings"]}
    assert {subject: row["verdict"] for subject, row in found.items()} == {
        **{"configuration": "ok", "limits": "ok", "clock": "ok", "API key": "ok", "market": "ok"},
        **{"balances": "ok", "plan": "ok", "worst case": "ok", "round trip": "ok"},
        **{"key reads": "ok", "key trades": "ok", "key withdraws": "warn"},
    }
    assert "USDT (0." in found["round trip"]["detail"]
    assert "%) after two fees of 0.002" in found["round trip"]["detail"]
    assert check["matrix"][0]["answer"] == "taken"
    plan = json.loads(ended(start("plan", *words, env=env), ExitCode.OK))
    assert [order["side"] for order in plan["orders"]].count("buy") == 3
    assert plan["needs"]["BTC"] == "0.009"
    assert plan["missing"] == {}
    assert not exchange.home.joinpath("bot").exists()


def test_T18_paper_trades_pretended_money_and_heeds_no_edit_while_it_runs(
    start: Any, exchange: Any, bot: str, tmp_path: Path
) -> None:
    keyless = exchange.environment(NKFAST_API_KEY="", NKFAST_API_SECRET="")
    words = ("paper", bot, "--for", "2s", "--set", "mode=live", *exchange.pairs())
    process = start(*words, env=keyless)
    begun = read_until(process, "[life] running: started")
    (tmp_path / bot).write_text("no configuration")
    output = "".join(begun) + process.stdout.read()  # what was read ahead is still in there
    ended(process, ExitCode.OK)
    assert " PAPER bot [life] running: started\n" in output
    assert " PAPER bot [order] buy 0.003 BTC/USDT at " in output
    assert "LIVE" not in output
    assert "PAPER bot ended by time after " in output
    assert " 0 left open\n" in output
    verify = start("journal", "verify", "--name", "bot", "--json", env=keyless)
    report = json.loads(ended(verify, ExitCode.OK))
    assert report["ok"]
    assert report["orders"] >= 4


def test_live_trades_and_leaves_nothing_behind(start: Any, exchange: Any, bot: str) -> None:
    # Nobody is there whom alerts go to: that disturbs nothing, and the address is a secret too.
    hook = "http://127.0.0.1:1/canary-hook-9c1e"
    env = exchange.environment(NKFAST_ALERTS__WEBHOOK=hook)
    words = ("run", bot, "--name", "nk7", "--for", "2s", "--json", *LIVE, *exchange.pairs())
    process = start(*words, env=env)
    output = ended(process, ExitCode.OK)
    summary = json.loads(output)
    assert summary["name"] == "nk7"
    assert summary["orders"] >= 6
    assert summary["open_orders"] == summary["unknown_orders"] == 0
    assert summary["left"] == []
    report = json.loads(ended(start("journal", "verify", "nk7", "--json", env=env), ExitCode.OK))
    assert report["ok"]
    assert report["orders"] == summary["orders"]
    # The secret is in nothing that was written.
    files = [path for path in exchange.home.parent.rglob("*") if path.is_file()]
    assert any(path.name == "log.jsonl" for path in files)
    for path in files:
        assert env["NKFAST_API_SECRET"].encode() not in path.read_bytes(), path
        assert b"canary-hook" not in path.read_bytes(), path
    assert env["NKFAST_API_SECRET"] not in output and "canary-hook" not in output
    [log] = [path for path in files if path.name == "log.jsonl"]
    assert "an alert by webhook was given up" in log.read_text()


@posix_only
@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, ExitCode.SIGINT, marks=pytest.mark.slow),
        (signal.SIGTERM, ExitCode.SIGTERM),
    ],
)
def test_signal_cancels_within_ten_seconds(
    start: Any, exchange: Any, bot: str, number: signal.Signals, code: ExitCode
) -> None:
    process = start("run", bot, *LIVE, *exchange.pairs(), env=exchange.environment())
    read_until(process, "[order]")
    process.send_signal(number)
    began = time.monotonic()
    output = ended(process, code)
    assert time.monotonic() - began < 10
    assert "LIVE bot ended by signal after " in output
    assert " 0 left open\n" in output


@pytest.mark.slow
@posix_only
def test_kept_orders_are_taken_up_by_the_next_run(start: Any, exchange: Any, bot: str) -> None:
    env, words = exchange.environment(), ("run", bot, *LIVE, *exchange.pairs(on_exit="keep"))
    process = start(*words, env=env)
    read_until(process, "[order] sell")
    process.send_signal(signal.SIGTERM)
    output = ended(process, ExitCode.SIGTERM)
    assert " 0 left open\n" not in output
    kept = int(output.split(" left open")[0].rsplit(" ", 1)[1])
    assert kept >= 4
    again = start(*words[:-4], *exchange.pairs(), "--for", "2s", "--json", env=env)
    summary = json.loads(ended(again, ExitCode.OK))
    assert summary["open_orders"] == 0


@posix_only
def test_second_process_of_an_instance_is_refused(start: Any, exchange: Any, bot: str) -> None:
    env = exchange.environment()
    process = start("run", bot, *exchange.pairs(), env=env)
    read_until(process, "running")
    errors = failed(start("run", bot, *exchange.pairs(), env=env), ExitCode.WRONG_STATE)
    assert f"runs already, as process {process.pid}" in errors
    process.send_signal(signal.SIGTERM)
    ended(process, ExitCode.SIGTERM)


@pytest.mark.slow
@posix_only
def test_kill_halts_and_stays_halted(start: Any, exchange: Any, bot: str) -> None:
    env, words = exchange.environment(), ("run", bot, *LIVE, *exchange.pairs())
    process = start(*words, env=env)
    read_until(process, "[order]")
    ended(start("kill", "bot", env=env), ExitCode.OK)
    errors = failed(process, ExitCode.RISK_HALT)
    assert "KILL_SWITCH" in errors
    errors = failed(start(*words, env=env), ExitCode.RISK_HALT)
    (exchange.home / "bot" / "kill").unlink()
    ended(start("journal", "clear", "bot", "KILL_SWITCH", env=env), ExitCode.OK)
    ended(start(*words, "--for", "1s", env=env), ExitCode.OK)


@pytest.mark.slow
def test_live_needs_the_right_key(start: Any, exchange: Any, bot: str) -> None:
    words = ("run", bot, *LIVE, *exchange.pairs())
    keyless = exchange.environment(NKFAST_API_KEY="", NKFAST_API_SECRET="")
    assert "no API key" in failed(start(*words, env=keyless), ExitCode.AUTH)
    wrong = exchange.environment(NKFAST_API_SECRET="wrong")
    assert "error[AUTH]" in failed(start(*words, env=wrong), ExitCode.AUTH)


@posix_only
def test_exchange_that_goes_away_is_said_and_nothing_is_forgotten(
    start: Any, exchange: Any, bot: str
) -> None:
    process = start("run", bot, *LIVE, *exchange.pairs(), env=exchange.environment())
    read_until(process, "[order] sell")
    exchange.process.kill()
    read_until(process, "[warning]")
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    output = ended(process, ExitCode.INCOMPLETE_STOP)
    assert time.monotonic() - began < 12
    assert "MAY BE LEFT  " in output


@pytest.mark.slow
def test_the_pretended_account_goes_on_where_the_last_run_ended(
    start: Any, exchange: Any, bot: str
) -> None:
    env = exchange.environment()
    words = ("paper", bot, "--for", "1s", "--json", *exchange.pairs())
    first = json.loads(ended(start(*words, env=env), ExitCode.OK))
    again = json.loads(ended(start(*words, env=env), ExitCode.OK))
    total = json.loads(ended(start("status", "bot", "--json", env=env), ExitCode.OK))[0]
    assert total["orders"] == first["orders"] + again["orders"]
    fresh = json.loads(ended(start(*words, "--fresh", env=env), ExitCode.OK))
    total = json.loads(ended(start("status", "bot", "--json", env=env), ExitCode.OK))[0]
    assert total["orders"] == fresh["orders"]
