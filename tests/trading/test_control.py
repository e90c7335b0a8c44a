"""Commands to a running instance: done once, answered, refused with a reason, or taken back."""

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nkfast.errors import NotRunningError
from nkfast.trading import control as control_module
from nkfast.trading.control import Answer, Command, Control, send
from nkfast.trading.engine import Engine
from nkfast.trading.life import LeftPlan, LifeState, StopReport

BUY = ("buy", "99.00", "1")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "LOOK_INTERVAL_S", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "control"


async def tell(folder: Path, verb: str, reason: str = "a test", **more) -> Answer:
    """Send a command, as another process does."""
    waits = {"take_s": 2.0, "answer_s": 5.0, "is_running": lambda: True}
    command = Command(verb, reason, more.pop("on_exit", None))
    return await send(folder, command, **{**waits, **more})


@asynccontextmanager
async def controlled(desk, folder: Path) -> AsyncIterator[tuple[Engine, Control]]:
    control = Control(folder, asyncio.Event())
    control.watch()
    desk.strategy.want(low=BUY)
    try:
        async with desk.trading() as engine:
            control.steered = engine
            await desk.until(desk.venue.open_own)
            yield engine, control
    finally:
        control.finish(desk.stopped)


async def test_an_instance_is_paused_resumed_and_drained(desk, folder: Path) -> None:
    async with controlled(desk, folder) as (engine, _):
        assert await tell(folder, "pause", "lunch") == Answer("paused", "lunch")
        assert engine.life is LifeState.PAUSED
        decisions = desk.strategy.decisions
        desk.venue.tell_book()
        assert desk.strategy.decisions == decisions
        assert len(desk.venue.open_own()) == 1
        # To be asked for what is so already is no mistake.
        assert await tell(folder, "pause", "again") == Answer("paused", "lunch")
        assert await tell(folder, "resume") == Answer("running", "resumed")
        assert await tell(folder, "drain", "home") == Answer("draining", "home")
        await asyncio.wait_for(engine.run(asyncio.Event()), 5)
        assert desk.venue.open_own() == []


async def test_a_stop_is_answered_when_it_is_over(desk, folder: Path) -> None:
    async with controlled(desk, folder) as (engine, control):
        asked = asyncio.create_task(tell(folder, "stop", on_exit="keep"))
        await asyncio.wait_for(engine.run(control.stop), 5)
        assert control.on_exit == "keep"
        assert not asked.done()
    answer = await asked
    assert (answer.life, answer.kept, answer.left) == ("stopped", (), ())


async def test_a_stop_says_what_is_left(folder: Path) -> None:
    control = Control(folder, asyncio.Event())
    control.watch()
    asked = [asyncio.create_task(tell(folder, "stop")) for _ in range(3)]
    await control.stop.wait()
    await asyncio.sleep(0.1)  # all three are taken
    control.finish(StopReport(plan=LeftPlan(7, {"BTC": "0.1"})), RuntimeError("no way"))
    for task in asked:
        answer = await task
        assert answer.left == (
            "plan 7 is not resolved, owning 0.1 BTC; the next start goes on with it",
        )
        assert (answer.life, answer.error) == ("down", "RuntimeError: no way")
    assert list(folder.iterdir()) == []


async def test_what_the_life_does_not_allow_is_refused_with_its_reason(desk, folder: Path) -> None:
    async with controlled(desk, folder) as (engine, _):
        engine.halt("KILL_SWITCH", "a test")
        answer = await tell(folder, "resume")
        assert answer.life == "halted"
        assert "halted (KILL_SWITCH: a test) and cannot become running" in answer.refused


async def test_while_nobody_is_up_it_can_only_be_stopped(folder: Path) -> None:
    control = Control(folder, asyncio.Event())
    control.watch()
    answer = await tell(folder, "pause")
    assert (answer.life, answer.refused) == ("down", "it is not up now; it can only be stopped")
    asked = asyncio.create_task(tell(folder, "stop"))
    await asyncio.wait_for(control.stop.wait(), 5)
    control.finish(StopReport())
    assert (await asked).life == "down"


async def test_what_nobody_takes_is_taken_back(folder: Path) -> None:
    with pytest.raises(NotRunningError, match="nothing ever took commands in"):
        await tell(folder, "pause")
    folder.mkdir()
    with pytest.raises(NotRunningError, match="is not running; the command to pause is taken back"):
        await tell(folder, "pause", take_s=0.1, is_running=lambda: False)
    with pytest.raises(NotRunningError, match="does not answer"):
        await tell(folder, "pause", take_s=0.1)
    assert list(folder.iterdir()) == []


async def test_one_that_ends_without_an_answer_is_noticed(folder: Path) -> None:
    control = Control(folder, asyncio.Event())
    control.watch()
    asked = asyncio.create_task(tell(folder, "stop", is_running=lambda: not control.stop.is_set()))
    with pytest.raises(NotRunningError, match="took the command to stop and ended without"):
        await asked
    with pytest.raises(NotRunningError, match="did not say what became of it"):
        await tell(folder, "stop", answer_s=0.1)
    control.finish(StopReport())


async def test_what_was_meant_for_an_earlier_run_is_forgotten(desk, folder: Path) -> None:
    folder.mkdir()
    for name in ("a.command", "b.answer", "c.command.part"):
        (folder / name).write_text('{"verb": "drain", "reason": "yesterday"}')
    async with controlled(desk, folder) as (engine, _):
        assert list(folder.iterdir()) == []
        assert (await tell(folder, "pause")).life == "paused"
        assert engine.life_reason == "a test"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[]", "must be a mapping"),
        ('{"verb": "buy", "reason": ""}', "no command 'buy'"),
        ('{"verb": ["stop"], "reason": ""}', "no command"),
        ('{"verb": "stop"}', "reason"),
        ('{"verb": "stop", "reason": 7}', "give text"),
        ('{"verb": "stop", "reason": "", "on_exit": "sell"}', "'cancel' or 'keep'"),
        ('{"verb": "stop", "reason": "", "price": 1}', "price"),
    ],
)
async def test_what_is_no_command_is_refused(folder: Path, text: str, said: str) -> None:
    control = Control(folder, asyncio.Event())
    control.watch()
    (folder / "x.command").write_text(text)
    answer = folder / "x.answer"
    for _ in range(500):
        if answer.exists():
            break
        await asyncio.sleep(0.01)
    assert said in json.loads(answer.read_text())["refused"]
    assert not control.stop.is_set()
    control.finish(StopReport())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither modes nor FIFOs")
async def test_only_files_of_the_owner_are_read(folder: Path, tmp_path: Path) -> None:
    control = Control(folder, asyncio.Event())
    control.watch()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text('{"verb": "stop", "reason": ""}')
    (folder / "link.command").symlink_to(elsewhere)
    os.mkfifo(folder / "pipe.command")
    pipe = os.open(folder / "pipe.command", os.O_RDWR)
    os.write(pipe, elsewhere.read_bytes())
    (folder / "folder.command").mkdir()
    assert (await tell(folder, "pause")).refused  # it is not up; but it was looked at
    os.close(pipe)
    assert not control.stop.is_set()
    control.finish(StopReport())


async def test_a_command_is_done_once(folder: Path) -> None:
    told = []

    class Counting:
        life, life_reason = LifeState.RUNNING, ""

        def pause(self, reason: str) -> None:
            told.append(reason)

        resume = drain = pause

    control = Control(folder, asyncio.Event())
    control.watch()
    control.steered = Counting()
    await asyncio.gather(*(tell(folder, "pause", str(number)) for number in range(10)))
    await asyncio.sleep(0.1)
    assert sorted(told) == sorted(map(str, range(10)))
    control.finish(StopReport())
