"""One rate budget for all processes of a user."""

import subprocess
import sys
import time

import pytest

from nkfast.client import budget as budgets
from nkfast.client.budget import OrderBudget, account_digest, shared_throttle
from nkfast.client.throttle import Rate
from nkfast.errors import ConfigError

URL = "https://api.example"
RATES = {
    "public": Rate(1.0, 2),
    "private": Rate(1.0, 2),
    "orders": Rate(1.0, 3),
    "cancels": Rate(1.0, 2),
}


def shared(folder, url=URL, key="k"):
    return shared_throttle(url, key, rates=RATES, directory=folder)


def test_an_account_is_counted_together_and_public_requests_by_the_exchange(tmp_path):
    one, same, other = shared(tmp_path), shared(tmp_path), shared(tmp_path, key="other")
    elsewhere = shared(tmp_path, "https://elsewhere.example")
    for name in ("private", "orders", "cancels"):
        assert [each.take(name, 9.0) for each in (one, same)] == [0, 0]
        assert other.take(name, 9.0) == elsewhere.take(name, 9.0) == 0
    assert same.take("private", 9.0) == 1
    assert [one.take("public", 9.0), other.take("public", 9.0), same.take("public", 9.0)] == [
        *(0, 0, 1)
    ]
    assert elsewhere.take("public", 9.0) == 0
    keyless = shared_throttle(URL, None, rates=RATES, directory=tmp_path)
    assert (keyless.take("public", 9.0), keyless.take("private", 9.0)) == (1, 0)
    same.pause("orders", 30.0, 9.0)
    assert one.paused_until("orders", 9.0) == 30


def at(monkeypatch, seconds):
    monkeypatch.setattr(budgets.time, "monotonic", lambda: float(seconds))
    monkeypatch.setattr(budgets.time, "monotonic_ns", lambda: seconds * 10**9)


def test_cancels_come_before_orders(tmp_path, monkeypatch):
    at(monkeypatch, 9)
    one, other = OrderBudget(shared(tmp_path)), OrderBudget(shared(tmp_path))
    assert one.take_order() == 0
    assert [other.reserve_cancel() for _ in range(4)] == [0, 0, 1, 2]
    assert one.take_order() == 3  # until the cancels are within their rate again
    at(monkeypatch, 12)
    assert one.take_order() == 0
    other.pause(5.0)
    assert one.take_order() == 5
    assert one.reserve_cancel() == 0


def test_nothing_that_is_written_tells_the_key(tmp_path):
    shared(tmp_path, key="the-api-key")
    for path in tmp_path.iterdir():
        assert "the-api-key" not in path.name and b"the-api-key" not in path.read_bytes()
    digest = account_digest("http://LOCALHOST:1/x", "k")
    assert digest == account_digest("http://127.0.0.1:1", "k") != account_digest(URL, "k")


def test_a_folder_that_cannot_be_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="throttle=Throttle"):
        shared(tmp_path / "file")


PROCESS = """
import sys, time
from pathlib import Path
from nkfast.client.budget import OrderBudget, shared_throttle
from nkfast.client.throttle import Rate
rates = {"orders": Rate(200.0, 50), "cancels": Rate(200.0, 50)}
budget = OrderBudget(shared_throttle("https://x", "k", rates=rates, directory=Path(sys.argv[1])))
print(time.monotonic(), flush=True)
sent, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    sent += budget.take_order() == 0
print(sent, time.monotonic(), flush=True)
"""


def test_processes_together_stay_within_the_budget_though_one_is_killed(tmp_path):
    command = [sys.executable, "-P", "-c", PROCESS, str(tmp_path)]
    began = time.monotonic()
    processes = [
        subprocess.Popen([*command, seconds], stdout=subprocess.PIPE, text=True)
        for seconds in ("0.5", "0.5", "600")
    ]
    first = min(float(process.stdout.readline()) for process in processes)
    said = [process.stdout.readline().split() for process in processes[:2]]
    processes[2].kill()
    for process in processes:
        process.communicate()
    sent = sum(int(count) for count, _ in said)
    seconds = max(float(end) for _, end in said) - first
    assert began < first and 0 < sent <= 50 + 200 * seconds + 1
    assert (
        OrderBudget(
            shared_throttle("https://x", "k", rates=RATES, directory=tmp_path)
        ).reserve_cancel()
        == 0
    )
