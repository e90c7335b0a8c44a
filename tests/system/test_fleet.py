"""``nkfast up``, ``ps``, ``down``: bots of one process, from the command line."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from system.test_run import GRID, ended, read_until

from nkfast.app.exits import ExitCode
from nkfast.app.instance import all_instances
from nkfast.app.status import describe_instance

FLEET = """\
[restart]
first_wait_s = 0.2

[bots.btc]
config = "bot.toml"
set = {{ mode = "{mode}", {where} }}

[bots.ltc]
config = "bot.toml"
set = {{ mode = "{mode}", symbol = "LTC/USDT", base_order_size = "1", {where} }}
"""
LIMIT_S = 30.0


@pytest.fixture
def fleet(tmp_path: Path, exchange: Any) -> Any:
    (tmp_path / "bot.toml").write_text(GRID)

    def write(mode: str) -> str:
        where = f'"exchange.rest_url" = "{exchange.rest_url}", '
        where += f'"exchange.ws_url" = "{exchange.ws_url}"'
        (tmp_path / "fleet.toml").write_text(FLEET.format(mode=mode, where=where))
        return "fleet.toml"

    return write


def test_bots_of_one_account_live_side_by_side_and_end_by_name(
    start: Any, exchange: Any, fleet: Any
) -> None:
    env = exchange.environment()
    up = start("up", fleet("live"), "--live", "--yes", "--json", env=env)

    def shown() -> dict[str, Any]:
        rows = map(describe_instance, all_instances(exchange.home))
        return {row["name"]: row for row in rows if row["process_id"] is not None}

    deadline = time.monotonic() + LIMIT_S
    rows = shown()
    while [row["health"] for row in rows.values() if row["orders"]] != ["well", "well"]:
        assert time.monotonic() < deadline and up.poll() is None, (rows, up.communicate())
        time.sleep(0.05)
        rows = shown()
    told = json.loads(ended(start("ps", "--json", env=env), ExitCode.OK))
    assert [row["name"] for row in told] == ["btc", "ltc"]
    assert {row["process_id"] for row in rows.values()} == {up.pid}
    assert all(row["uptime_s"] > 0 and row["open_orders"] for row in rows.values())
    assert all(row["fleet"].endswith("fleet.toml") for row in rows.values())

    down = json.loads(ended(start("down", "ltc", "--json", env=env), ExitCode.OK))
    assert [(row["name"], row["life"], row["left"]) for row in down] == [("ltc", "stopped", [])]
    assert shown()["btc"]["health"] == "well"

    if sys.platform != "win32":
        os.kill(up.pid, signal.SIGTERM)
        summary = json.loads(ended(up, ExitCode.SIGTERM))
    else:
        assert ended(start("down", env=env), ExitCode.OK)
        summary = json.loads(ended(up, ExitCode.OK))
    assert [(bot["name"], bot["error"], bot["left"]) for bot in summary["bots"]] == [
        *(("ltc", None, []), ("btc", None, []))
    ]
    # Each has a log of its own.
    for name, other in (("btc", "LTC/USDT"), ("ltc", "BTC/USDT")):
        text = (exchange.home / name / "log.jsonl").read_text()
        assert f'"bot": "{name}"' in text and "[order]" not in text
        assert other not in text
    assert not shown()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_fleet_that_stands_still_or_died_is_shown_as_such(
    start: Any, exchange: Any, fleet: Any, tmp_path: Path
) -> None:
    env = exchange.environment()
    up = start("up", fleet("paper"), env=env)
    read_until(up, "[life] running")
    os.kill(up.pid, signal.SIGSTOP)
    pulse = exchange.home / "btc" / "pulse"
    os.utime(pulse, (time.time() - 11, time.time() - 11))
    record = exchange.home / "btc" / "run.json"
    old = json.loads(record.read_text())
    record.write_text(json.dumps(old | {"started_ms": old["started_ms"] - 60_000}))
    rows = json.loads(ended(start("status", "btc", "--json", env=env), ExitCode.OK))
    assert rows[0]["health"] == "stale"
    up.kill()
    up.communicate()
    rows = json.loads(ended(start("status", "--json", env=env), ExitCode.OK))
    assert [row["health"] for row in rows] == ["dead", "dead"]
