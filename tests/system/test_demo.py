"""The demo as its user runs it: real processes, real sockets, and nothing left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nkfast.app.exits import ExitCode

LIMIT_S = 60

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def first_lines(process: "subprocess.Popen[str]") -> tuple[int, int]:
    """Read on until trading goes on; return the exchange's port and process id."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"127\.0\.0\.1:(\d+) .*process (\d+)\)", line)
    assert found, (line, process.communicate())
    assert " mid " in process.stdout.readline()
    return int(found[1]), int(found[2])


def wait_until_closed(port: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
    pytest.fail(f"something still listens on port {port}")


def test_summary_says_that_every_book_agrees(start: Any, tmp_path: Path) -> None:
    process = start("demo", "--for", "5s", "--seed", "7", "--journal", "demo.db", "--json")
    output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (ExitCode.OK, "")
    summary = json.loads(output)
    assert output.count("\n") == 1
    assert summary["orders"] >= 1
    assert summary["fills"] >= 0
    assert summary["open_orders"] == summary["unknown_orders"] == 0
    assert summary["journal_verified"] is True
    assert summary["ledger_matches_exchange"] is True
    assert summary["tick_to_order_us"]["p50"] > 0
    assert summary["seed"] == 7
    assert summary["ended_by"] == "time"
    assert sum(summary["frames"].values()) > 0
    for amount in (summary["realized"], *summary["fees"].values()):
        assert isinstance(amount, str)
        assert Decimal(amount).is_finite()

    check = start("journal", "verify", "demo.db", "--json")
    output, errors = check.communicate(timeout=LIMIT_S)
    assert (check.returncode, errors) == (ExitCode.OK, "")
    report = json.loads(output)
    assert report["ok"] is True
    assert report["orders"] == summary["orders"]
    assert report["fills"] == summary["fills"]


def test_kept_tape_can_be_replayed(start: Any) -> None:
    traded = start("demo", "--for", "3s", "--tape", "demo.tsv.gz")
    output, errors = traded.communicate(timeout=LIMIT_S)
    assert (traded.returncode, errors) == (ExitCode.OK, "")
    assert "next:  nkfast replay demo.tsv.gz --symbol BTC/USDT" in output

    replayed = start("replay", "demo.tsv.gz", "--symbol", "BTC/USDT", "--json")
    output, errors = replayed.communicate(timeout=LIMIT_S)
    assert (replayed.returncode, errors) == (ExitCode.OK, "")
    summary = json.loads(output)
    assert summary["frames"]["snapshot"] >= 1
    assert summary["frames"]["update"] > 10
    assert summary["journal"]["ok"] is True


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_with_a_summary(start: Any, number: signal.Signals) -> None:
    process = start("demo", "--for", "60s")
    port, _ = first_lines(process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (ExitCode.OK, "")
    assert "journal      verified" in output
    assert "next:  nkfast " in output
    assert output.isascii()
    wait_until_closed(port)


@posix_only
def test_exchange_ends_with_a_demo_that_was_killed(start: Any) -> None:
    process = start("demo", "--for", "60s")
    port, _ = first_lines(process)
    process.kill()
    wait_until_closed(port)


@posix_only
def test_exchange_that_dies_ends_it_with_an_error(start: Any) -> None:
    process = start("demo", "--for", "60s")
    _, exchange = first_lines(process)
    os.kill(exchange, signal.SIGKILL)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.UNREACHABLE
    last = errors.splitlines()[-1]
    assert last == "error[UNREACHABLE] the simulated exchange ended while the demo traded"
    assert "Traceback" not in errors


@pytest.mark.parametrize("option", ["--journal", "--tape"])
def test_existing_file_is_not_written_to(start: Any, tmp_path: Path, option: str) -> None:
    (tmp_path / "old.db").write_text("mine")
    process = start("demo", "--for", "5s", option, "old.db")
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.CONFIG
    assert errors == "error[CONFIG] old.db: exists already; name a new file\n"
    assert (tmp_path / "old.db").read_text() == "mine"
