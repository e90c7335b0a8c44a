"""The kill switch: whatever else is broken, nothing is placed any more, and what rests ends."""

import asyncio
from pathlib import Path

import pytest

from nkfast.errors import HaltedError, JournalError
from nkfast.trading.kill import KillSwitch
from nkfast.trading.life import LifeState

QUOTES = {
    "low": ("buy", "99.00", "1"),
    "high": ("sell", "101.00", "1"),
    "lower": ("buy", "98.00", "1"),
}


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("broken")


async def throw_while_trading(desk, break_something, **settings) -> None:
    """Trade, break something, throw the switch; then nothing is created and nothing rests."""
    kill_file = desk.path.with_name("kill")
    desk.strategy.want(**QUOTES)
    async with desk.trading(kill_file=kill_file, verifies=False, **settings) as engine:
        await desk.until(lambda: len(desk.venue.open_own()) == 3)
        await desk.until(lambda: engine.summary().open_orders == 3)
        break_something(engine)
        sent = len(desk.venue.wire)
        desk.strategy.want(**QUOTES, more=("buy", "97.00", "1"))
        kill_file.touch()
        await desk.until(lambda: engine.halted)
        desk.venue.tell_book()
        await desk.until(lambda: desk.venue.open_own() == [])
        desk.venue.tell_book()
        assert len(desk.venue.wire) == sent
        with pytest.raises((HaltedError, JournalError)):  # whichever is met first
            await engine.run(asyncio.Event())


async def test_the_file_stops_trading(desk) -> None:
    await throw_while_trading(desk, lambda engine: None)
    assert desk.stopped.is_complete
    with pytest.raises(HaltedError, match="KILL_SWITCH"):
        async with desk.trading():
            pass
    kill_file = desk.path.with_name("kill")
    desk.clear_halt("KILL_SWITCH")
    with pytest.raises(HaltedError, match="remove it to trade"):
        async with desk.trading(kill_file=kill_file):
            pass
    kill_file.unlink()
    async with desk.trading(kill_file=kill_file):
        await desk.until(desk.venue.open_own)


async def test_a_full_disk_is_not_in_its_way(desk) -> None:
    def fill_disk(engine) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise JournalError("journal.db", "disk full")

        for name in ("record", "intend", "note_life", "hold", "commit"):
            setattr(engine._journal, name, refuse)

    await throw_while_trading(desk, fill_disk, exit_timeout_s=0.5)


async def test_no_report_is_in_its_way(desk) -> None:
    def break_reports(engine) -> None:
        engine._journal.note_life = fail
        engine._reasons.count = fail
        engine._life._note = fail

    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
    kill_file = desk.path.with_name("kill")
    desk.strategy.want(**QUOTES)
    with pytest.raises(RuntimeError, match="broken"):  # the stop reports too
        async with desk.trading(kill_file=kill_file, verifies=False) as engine:
            asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
            await desk.until(lambda: engine.summary().open_orders == 3)
            break_reports(engine)
            kill_file.touch()
            await desk.until(lambda: desk.venue.open_own() == [])
            assert not engine.may_decide
            desk.venue.tell_book()
            assert len(desk.venue.wire) == 3
    assert len(failures) == 1  # what was broken is told, after the orders were cancelled


async def test_a_switch_that_cannot_be_looked_at_is_thrown(tmp_path: Path) -> None:
    thrown: list[tuple[str, str]] = []
    name_too_long = KillSwitch(tmp_path / ("k" * 300), lambda *told: thrown.append(told))
    with pytest.raises(HaltedError):
        name_too_long.refuse_thrown()
    name_too_long.watch()
    while not thrown:
        await asyncio.sleep(0.01)
    assert thrown == [("KILL_SWITCH", f"{name_too_long.path} is there")]
    not_a_folder = tmp_path / "file"
    not_a_folder.touch()
    KillSwitch(not_a_folder / "kill", fail).refuse_thrown()


async def test_a_switch_nobody_watches_does_nothing(tmp_path: Path) -> None:
    thrown: list[tuple[str, str]] = []
    ignored, watched = (
        KillSwitch(tmp_path / "kill", lambda *told, to=to: to.append(told)) for to in (thrown, [])
    )
    ignored.watch()
    watched.watch()
    ignored.unwatch()
    (tmp_path / "kill").touch()
    while watched._timer is not None:
        await asyncio.sleep(0.01)
    assert thrown == []


async def test_the_engine_is_halted_by_a_call_too(desk) -> None:
    desk.strategy.want(**QUOTES)
    async with desk.trading() as engine:
        await desk.until(lambda: len(desk.venue.open_own()) == 3)
        engine.halt("KILL_SWITCH", "SIGUSR1")
        assert engine.life is LifeState.HALTED
        await desk.until(lambda: desk.venue.open_own() == [])
