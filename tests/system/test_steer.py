"""``nkfast pause``, ``resume``, ``drain`` and ``stop`` to a trader in a process of its own."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from system.guarded_trader import INSTANCE
from system.scene import LIMIT_S, Scene, until

from nkfast.app.exits import ExitCode
from nkfast.trading.journal import verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the trader reads a pipe")


def steer(scene: Scene, verb: str, *words: str) -> tuple[int, dict[str, Any], str]:
    """Run a command to its end; return its exit code, what it printed and its errors."""
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "nkfast", verb, INSTANCE, "--json", *words),
            *("--state-dir", str(scene.folder)),
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_trader_is_paused_resumed_and_stopped(scene: Scene) -> None:
    trader = scene.start_trader()
    code, answer, _ = steer(scene, "pause", "--reason", "lunch")
    assert (code, answer["life"], answer["reason"]) == (ExitCode.OK, "paused", "lunch")
    assert len(scene.own()) == 4
    code, answer, _ = steer(scene, "resume")
    assert (code, answer["life"]) == (ExitCode.OK, "running")
    code, answer, _ = steer(scene, "stop", "--on-exit", "keep")
    assert (code, answer["life"], len(answer["kept"])) == (ExitCode.OK, "stopped", 4)
    assert trader.wait(LIMIT_S) == 0
    assert len(scene.own()) == 4
    code, _, said = steer(scene, "pause")
    assert code == ExitCode.WRONG_STATE
    assert "it is not running; the command to pause is taken back" in said
    trader = scene.start_trader()
    code, answer, _ = steer(scene, "drain", "--on-exit", "cancel")
    assert (code, answer["life"]) == (ExitCode.OK, "draining")
    assert trader.wait(LIMIT_S) == 0
    until(lambda: scene.own() == [])
    assert scene.by_hand()
    assert verify(scene.folder / INSTANCE / "journal.db").ok


def test_one_that_stands_still_is_not_commanded_later_by_surprise(scene: Scene) -> None:
    trader = scene.start_trader()
    trader.send_signal(signal.SIGSTOP)
    code, _, said = steer(scene, "stop")
    trader.send_signal(signal.SIGCONT)
    assert code == ExitCode.WRONG_STATE
    assert "it does not answer; the command to stop is taken back" in said
    code, answer, _ = steer(scene, "pause")
    assert (code, answer["life"]) == (ExitCode.OK, "paused")
    assert trader.poll() is None
    code, answer, _ = steer(scene, "stop")
    assert (code, answer["life"], answer["left"]) == (ExitCode.OK, "stopped", [])
    assert scene.own() == []


def test_a_halted_one_is_not_resumed_and_one_that_nobody_knows_not_found(scene: Scene) -> None:
    code, _, said = steer(scene, "pause")
    assert code == ExitCode.NOT_FOUND
    assert "nothing is known of an instance" in said
    trader = scene.start_trader()
    trader.kill()
    trader.wait()
    code, _, said = steer(scene, "stop")
    assert code == ExitCode.WRONG_STATE
    assert "is not running" in said
