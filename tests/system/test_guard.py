"""The dead man's switch with real processes: a trader dies or is stopped, its guard clears up."""

import signal
import subprocess
import sys
import time
from decimal import Decimal

import pytest
from app.receiver import Receiver, receiving
from system.guarded_trader import INSTANCE, KEY, SYMBOL
from system.scene import CANCEL_S, LIMIT_S, SECRET, Scene, until

from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance, RunRecord
from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import ModeError
from nkfast.trading.journal import verify
from nkfast.wire.models import ApiCredentials, OrderRequest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def test_a_killed_trader_loses_its_orders_and_its_next_start_agrees(scene: Scene) -> None:
    with receiving() as receiver:
        lose_a_trader(scene, receiver)
    # Who was killed tells nobody: its guard does.
    told = "\n".join(body["text"] for _, body in receiver.posts)
    assert f"GUARD {INSTANCE}: alarm" in told and "cleared cancelled=4" in told
    assert all(body["level"] == "urgent" for _, body in receiver.posts)
    assert SECRET not in told


def lose_a_trader(scene: Scene, receiver: Receiver) -> None:
    config = scene.folder / "bot.toml"
    head = 'strategy = "grid"\nsymbol = "BTC/USDT"\nstep_pct = 0.01\n'
    config.write_text(f'{head}[alerts]\nwebhook = "{receiver.url}/hook"\n')
    record = RunRecord("live", "grid", SYMBOL, str(config), "", scene.rest_url, 1, 0)
    trader = scene.start_trader()
    Instance.named(INSTANCE, scene.folder).note_run(record)
    guard = scene.start_guard()
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


def test_P01_P04_a_trader_that_stood_still_goes_on_and_so_does_its_guard(scene: Scene) -> None:
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
