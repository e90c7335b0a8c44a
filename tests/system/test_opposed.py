"""Two live instances of one account that want each other's orders, as processes of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from system.conftest import Start
from system.opposed_trader import KEY

from nkfast.trading.journal_listing import list_fills

TESTS = Path(__file__).parent.parent
SECRET = "s" * 40
LIMIT_S = 30.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no reader of standard input")


def begin(tmp_path: Path, told: dict[str, Any], side: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "system.opposed_trader"]
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [*command, told["rest_url"], told["ws_url"], str(tmp_path / f"{side}.db"), side],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NKFAST_HOME": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    process.stdin.write(f"{SECRET}\n")
    return process


@pytest.mark.slow
def test_two_instances_never_trade_with_each_other(start: Start, tmp_path: Path) -> None:
    exchange = start(
        *("exchange", "serve", "--json", "--until-eof", "--seed", "7", "--speed", "60x"),
        *("--for", "120s", "--key", KEY, "--secret-stdin"),
        stdin=subprocess.PIPE,
    )
    exchange.stdin.write(f"{SECRET}\n")
    exchange.stdin.flush()
    told = json.loads(exchange.stdout.readline())
    traders = {side: begin(tmp_path, told, side) for side in ("buy", "sell")}
    try:
        for trader in traders.values():
            assert trader.stdout.readline() == "ready\n"
        deadline = time.monotonic() + LIMIT_S
        fills: dict[str, set[str]] = {}
        while time.monotonic() < deadline and not (fills and all(fills.values())):
            assert all(trader.poll() is None for trader in traders.values())
            time.sleep(0.2)
            fills = {
                side: {row["trade_id"] for row in list_fills(tmp_path / f"{side}.db")}
                for side in traders
            }
        said = {side: trader.communicate(timeout=LIMIT_S)[0] for side, trader in traders.items()}
    finally:
        for trader in traders.values():
            trader.kill()
            trader.communicate()
    assert {side: trader.returncode for side, trader in traders.items()} == {"buy": 0, "sell": 0}
    fills = {
        side: {row["trade_id"] for row in list_fills(tmp_path / f"{side}.db")} for side in traders
    }
    assert fills["buy"] and fills["sell"]
    assert not fills["buy"] & fills["sell"]  # a trade with both sides ours
    ends = [json.loads(text) for text in said.values()]
    assert sum(end["reasons"].get("SELF_CROSS", 0) for end in ends) > 0
    assert not any(end["reasons"].get("SELF_TRADE") for end in ends)
