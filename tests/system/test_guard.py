"""The dead man's switch with real processes: a trader dies or is stopped, its guard clears up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from system.guarded_trader import INSTANCE, KEY, SYMBOL

from nkfast.app.exits import ExitCode
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.rest import RestClient
from nkfast.errors import ModeError
from nkfast.trading.journal import verify
from nkfast.trading.orders import instance_code, parse_client_id
from nkfast.wire.models import ApiCredentials, OrderRequest, OrderStatus

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

TESTS = Path(__file__).parent.parent
SECRET = "s" * 40
LIMIT_S = 30.0
#: The heart beats every 0.1 s.
CANCEL_S = 2.0


class Scene:
    """An exchange, a trader with four orders there, one order by hand, and a guard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def open(self) -> None:
        exchange = self.spawn(
            *("nkfast", "exchange", "serve", "--json", "--seed", "7", "--for", "120s"),
            *("--key", KEY, "--secret-stdin"),
        )
        told = json.loads(exchange.stdout.readline())
        self.rest_url, self.ws_url = told["rest_url"], told["ws_url"]
        self.rest = RestClient(
            ApiCredentials(KEY, SECRET), base_url=self.rest_url, allow_changes=True
        )
        bid = self.rest.get_order_book(symbol=SYMBOL).bids[0][0]
        self.rest.create_order(
            OrderRequest(
                symbol=SYMBOL,
                side="buy",
                quantity=Decimal("0.01"),
                price=round(bid / 2, 2),
                user_provided_id="hand",
            )
        )

    def spawn(self, module: str, *words: str) -> "subprocess.Popen[str]":
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        process.stdin.write(f"{SECRET}\n")
        process.stdin.flush()
        self.processes.append(process)
        return process

    def start_trader(self) -> "subprocess.Popen[str]":
        trader = self.spawn("system.guarded_trader", self.rest_url, self.ws_url, str(self.folder))
        assert trader.stdout.readline() == "ready\n"
        until(lambda: len(self.own()) == 4)
        return trader

    def start_guard(self) -> "subprocess.Popen[str]":
        guard = self.spawn(
            *("nkfast", "guard", "--name", INSTANCE, "--state-dir", str(self.folder), "--json"),
            *("--rest-url", self.rest_url, "--key", KEY, "--secret-stdin"),
            *("--alarm", "0.5s", "--cancel", f"{CANCEL_S}s", "--linger", "1s"),
        )
        assert json.loads(guard.stdout.readline())["event"] == "watching"
        return guard

    def open_orders(self) -> list[OrderStatus]:
        return self.rest.get_orders(status="active", limit=500)

    def own(self) -> list[OrderStatus]:
        made_by = [(parse_client_id(row.user_provided_id), row) for row in self.open_orders()]
        code = instance_code(INSTANCE)
        return [row for parsed, row in made_by if parsed is not None and parsed.instance == code]

    def by_hand(self) -> bool:
        return [row.user_provided_id for row in self.open_orders()].count("hand") == 1

    def end(self, process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
        """Let a process end by itself; return what it told."""
        output, _ = process.communicate(timeout=LIMIT_S)
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]

    def close(self) -> None:
        if hasattr(self, "rest"):
            self.rest.close()
        for process in self.processes:
            process.kill()
            process.communicate()


def until(condition: Callable[[], bool]) -> float:
    """Wait for an effect; return how many seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < LIMIT_S, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - start


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    try:
        scene.open()
        yield scene
    finally:
        scene.close()


def test_a_killed_trader_loses_its_orders_and_its_next_start_agrees(scene: Scene) -> None:
    trader, guard = scene.start_trader(), scene.start_guard()
    time.sleep(CANCEL_S * 1.5)  # it beats: nothing happens
    assert len(scene.own()) == 4
    trader.kill()
    trader.wait()
    took_s = until(lambda: not scene.own())
    assert CANCEL_S - 0.3 < took_s < CANCEL_S + 3
    told = scene.end(guard)
    assert guard.returncode == ExitCode.RISK_HALT
    assert [each["event"] for each in told] == [
        *("alarm", "clearing", "cancel", "cancel", "cancel", "cancel", "none_open", "cleared")
    ]
    assert told[0]["process"] == trader.pid
    assert told[0]["is_running"] is False
    assert scene.by_hand()
    again = scene.start_trader()
    again.communicate("", timeout=LIMIT_S)
    assert again.returncode == ExitCode.OK
    assert scene.own() == []
    assert scene.by_hand()
    report = verify(scene.folder / INSTANCE / "journal.db")
    assert report.ok, report.differences
    assert report.orders == 8


def test_a_trader_that_stood_still_goes_on_and_so_does_its_guard(scene: Scene) -> None:
    trader, guard = scene.start_trader(), scene.start_guard()
    trader.send_signal(signal.SIGSTOP)
    until(lambda: not scene.own())
    assert scene.by_hand()
    trader.send_signal(signal.SIGCONT)
    until(lambda: len(scene.own()) == 4)
    trader.communicate("", timeout=LIMIT_S)
    assert trader.returncode == ExitCode.OK
    told = scene.end(guard)
    assert [told[-2]["event"], told[-1]["event"]] == ["heart_beats_again", "at_rest"]
    assert guard.returncode == ExitCode.RISK_HALT
    assert scene.by_hand()
    assert verify(scene.folder / INSTANCE / "journal.db").ok


@pytest.mark.parametrize("way", ["command", "signal"])
def test_the_kill_switch_stops_a_trader_for_good(scene: Scene, way: str) -> None:
    trader, guard = scene.start_trader(), scene.start_guard()
    if way == "signal":
        trader.send_signal(signal.SIGUSR1)
    else:
        kill = scene.spawn("nkfast", "kill", INSTANCE, "--state-dir", str(scene.folder))
        kill.communicate(timeout=LIMIT_S)
        assert kill.returncode == ExitCode.OK
    assert "KILL_SWITCH" in trader.stdout.readline()
    trader.communicate(timeout=LIMIT_S)
    assert trader.returncode == ExitCode.OK
    assert scene.own() == []
    assert scene.by_hand()
    scene.end(guard)
    assert guard.returncode == ExitCode.OK
    refused = scene.spawn("system.guarded_trader", scene.rest_url, scene.ws_url, str(scene.folder))
    assert "KILL_SWITCH" in refused.stdout.readline()


async def test_the_guards_client_cancels_and_changes_nothing_else(scene: Scene) -> None:
    order = OrderRequest(symbol=SYMBOL, side="buy", quantity=Decimal("0.01"), price=Decimal(50_000))
    (by_hand,) = scene.open_orders()
    credentials = ApiCredentials(KEY, SECRET)
    async with AsyncRestClient(
        credentials, base_url=scene.rest_url, allow_changes="cancels"
    ) as rest:
        with pytest.raises(ModeError):
            await rest.create_order(order)
        with pytest.raises(ModeError):
            await rest.raw("POST", "/createorder", body={}, private=True)
        await rest.cancel_order(by_hand.order_id)
    assert scene.open_orders() == []


def test_a_guard_loads_nothing_that_trades(scene: Scene) -> None:
    code = (
        "import sys, nkfast.app.guard;print(*(m for m in sys.modules if m.startswith('nkfast.')))"
    )
    output = subprocess.check_output([sys.executable, "-P", "-c", code], text=True)
    loaded = set(output.split())
    assert "nkfast.trading.guard" in loaded
    for room in ("gate", "engine", "execution", "strategy"):
        assert f"nkfast.trading.{room}" not in loaded
    assert "nkfast.client.websocket" not in loaded
    assert "nkfast.venue.live" not in loaded
