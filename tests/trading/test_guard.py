"""The dead man's switch, on pretended time: when it acts, on what, and what cannot stop it."""

import ast
import asyncio
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nkfast.errors import ConfigError, OrderNotFoundError, UnreachableError
from nkfast.trading import guard as guard_module
from nkfast.trading.guard import Guard, GuardReport, GuardSettings
from nkfast.trading.heartbeat import Heart, read_beat
from nkfast.trading.orders import IdSource
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.port import OpenOrder

MINE = [OpenOrder(IdSource("nk01", 3).next(), "v1", "BTC/USDT")]
SOURCE = IdSource("nk01", 4)
MINE += [OpenOrder(SOURCE.next(), f"v{n}", "ETH/USDT") for n in (2, 3)]
OTHERS = [
    OpenOrder(IdSource("nk02", 3).next(), "w1", "BTC/USDT"),
    OpenOrder("by-hand", "w2", "BTC/USDT"),
    OpenOrder("", "w3", "BTC/USDT"),
]
#: Ends long before anybody loses patience: a dead process's id.
DEAD_PROCESS = 2**22 + 1


class Desk:
    """An account with orders; what a test says goes wrong."""

    def __init__(self) -> None:
        self.orders = [*MINE, *OTHERS]
        self.cancelled: list[OpenOrder] = []
        self.faults: deque[str] = deque()
        self.readings = 0

    async def open_orders(self) -> list[OpenOrder]:
        await asyncio.sleep(0.1)
        self.readings += 1
        if self.faults and self.faults[0] == "unreadable":
            self.faults.popleft()
            raise UnreachableError("HTTP 502", sent="maybe")
        return list(self.orders)

    async def cancel(self, order: OpenOrder) -> None:
        await asyncio.sleep(0.1)
        self.cancelled.append(order)
        fault = self.faults.popleft() if self.faults else ""
        if fault == "refused":
            raise UnreachableError("HTTP 502", sent="maybe")
        if fault == "lie":
            return  # says that it is done
        if order not in self.orders:
            raise OrderNotFoundError("not found", code=20002)
        self.orders.remove(order)


class Scene:
    """A guard, the heart that it watches, and what it told."""

    def __init__(self, folder: Path, clock: VirtualClock, **settings: float) -> None:
        self.clock = clock
        self.path = folder / "heartbeat"
        self.kill_file = folder / "kill"
        self.desk = Desk()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.stop = asyncio.Event()
        self.guard = Guard(
            instance="nk01",
            heartbeat=self.path,
            kill_file=self.kill_file,
            desk=self.desk,
            clock=clock,
            tell=lambda event, facts: self.told.append((event, facts)),
            settings=GuardSettings(**settings),
        )
        self.task = asyncio.ensure_future(self.guard.run(self.stop))

    def events(self) -> list[str]:
        return [event for event, _ in self.told]

    async def end(self) -> GuardReport:
        self.stop.set()
        return await self.task


@pytest.fixture
def on_scene(tmp_path: Path, monkeypatch) -> Callable[..., None]:
    """Run ``test(scene)`` with a guard on pretended time; processes with our id are running."""
    monkeypatch.setattr(guard_module, "_is_running", lambda process: process == os.getpid())

    def run(test: Callable[[Scene], Any], **settings: float) -> None:
        async def main(clock: VirtualClock) -> None:
            await test(Scene(tmp_path, clock, **settings))

        run_virtual(main, 0)

    return run


def bury(scene: Scene) -> None:
    """Let the process of the heart be gone."""
    content = bytearray(scene.path.read_bytes())
    content[8:16] = DEAD_PROCESS.to_bytes(8, "little")
    scene.path.write_bytes(content)


def test_a_heart_that_beats_is_left_alone(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(3600)
        heart.stop(is_at_rest=True)
        report = await scene.task
        assert (report.alarms, report.has_acted) == (0, False)
        assert scene.desk.readings == 0
        assert scene.events() == ["watching", "at_rest"]
        heart.close()

    on_scene(scenario)


def test_no_heart_was_ever_seen(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        await asyncio.sleep(3600)
        scene.path.write_bytes(b"something else that is long enough")
        await asyncio.sleep(3600)
        report = await scene.end()
        assert not report.has_acted
        assert scene.desk.readings == 0

    on_scene(scenario)


@pytest.mark.parametrize("ending", ["killed", "crashed with orders left"])
def test_a_dead_instance_loses_its_orders_and_nobody_else(on_scene, ending: str) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(100)
        start = scene.clock.boot_ns()
        if ending == "killed":
            heart.close()
        else:
            heart.stop(is_at_rest=False)
        bury(scene)
        await asyncio.sleep(59)
        assert scene.events() == ["watching", "alarm"]
        assert scene.told[1][1]["is_running"] is False
        assert scene.desk.readings == 0
        while len(scene.desk.orders) > len(OTHERS):
            assert scene.clock.boot_ns() - start < 67e9
            await asyncio.sleep(0.1)
        report = await scene.task
        assert scene.desk.orders == OTHERS
        assert scene.desk.cancelled == report.cancelled == MINE
        assert (report.alarms, report.has_acted, report.left) == (1, True, [])
        assert scene.events()[-1] == "cleared"
        # It went on looking for what was on its way.
        assert scene.clock.boot_ns() - start > 180e9

    on_scene(scenario)


def test_what_was_on_its_way_is_cancelled_when_it_arrives(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(7)
        heart.close()
        bury(scene)
        await asyncio.sleep(100)
        late = OpenOrder(SOURCE.next(), "v9", "BTC/USDT")
        scene.desk.orders.append(late)
        report = await scene.task
        assert late in report.cancelled
        assert scene.desk.orders == OTHERS

    on_scene(scenario)


def test_nothing_is_believed_but_a_reading(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(1)
        heart.close()
        bury(scene)
        scene.desk.faults.extend(
            ["unreadable", "unreadable", "refused", "lie", "", "unreadable", "lie"]
        )
        report = await scene.task
        assert scene.desk.orders == OTHERS
        assert sorted(report.cancelled) == sorted(MINE)
        assert len(scene.desk.cancelled) > len(MINE)
        assert {"read_failed", "cancel_failed"} <= set(scene.events())

    on_scene(scenario)


def test_an_order_that_ended_meanwhile_is_no_failure(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(1)
        heart.close()
        bury(scene)
        ended = scene.desk.cancel

        async def cancel(order: OpenOrder) -> None:
            scene.desk.orders[:] = OTHERS
            await ended(order)

        scene.desk.cancel = cancel
        report = await scene.task
        assert sorted(report.cancelled) == sorted(MINE)
        assert "cancel_failed" not in scene.events()

    on_scene(scenario)


@pytest.mark.parametrize("linger_s", [5, 300])
def test_an_instance_that_was_only_stopped_is_watched_on(on_scene, linger_s: float) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(10)
        heart._timer.cancel()  # as SIGSTOP does
        await asyncio.sleep(70)
        assert scene.desk.orders == OTHERS
        heart._beat()
        await asyncio.sleep(3)
        assert scene.events()[-1] == ("cleared" if linger_s < 10 else "heart_beats_again")
        scene.desk.orders += MINE
        await asyncio.sleep(600)
        assert len(scene.desk.orders) == len(OTHERS) + len(MINE)
        heart._timer.cancel()
        await asyncio.sleep(90)
        assert scene.desk.orders == OTHERS
        report = await scene.end()
        assert report.alarms == 2
        heart.close()

    on_scene(scenario, linger_s=linger_s)


def test_a_machine_that_slept_counts_as_a_heart_that_stood_still(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(1)
        scene.clock.sleep_machine(3600)
        await asyncio.sleep(2)
        assert scene.desk.orders == OTHERS
        heart.stop(is_at_rest=True)
        report = await scene.task
        assert report.has_acted
        heart.close()

    on_scene(scenario)


def test_a_thrown_kill_switch_that_nobody_obeys(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(100)
        scene.kill_file.touch()
        await asyncio.sleep(14)
        assert scene.desk.readings == 0
        await asyncio.sleep(5)
        assert scene.desk.orders == OTHERS
        heart.close()
        await scene.end()

    on_scene(scenario)


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), OSError(24, "too many files")])
def test_no_error_of_any_kind_ends_a_guard(on_scene, monkeypatch, error: Exception) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(1)
        heart.close()
        read, cancel, reads, cancels = scene.desk.open_orders, scene.desk.cancel, [], []

        async def failing_read() -> list[OpenOrder]:
            reads.append(1)
            if len(reads) in (1, 3):
                raise error
            return await read()

        async def failing_cancel(order: OpenOrder) -> None:
            cancels.append(order)
            if len(cancels) == 1:
                raise error
            await cancel(order)

        scene.desk.open_orders, scene.desk.cancel = failing_read, failing_cancel
        await asyncio.sleep(80)
        assert scene.desk.orders == OTHERS
        assert {"read_failed", "cancel_failed"} <= set(scene.events())
        await scene.end()

    on_scene(scenario)


def test_a_heartbeat_that_cannot_be_read_stands_still(on_scene, monkeypatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(24, "too many open files")

    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(10)
        monkeypatch.setattr(guard_module, "read_beat", refuse)
        await asyncio.sleep(55)
        assert scene.desk.orders == [*MINE, *OTHERS]
        assert scene.events().count("heartbeat_unreadable") == 1
        await asyncio.sleep(10)
        assert scene.desk.orders == OTHERS
        heart.close()
        await scene.end()

    on_scene(scenario)


def test_a_guard_that_is_stopped_says_what_it_leaves(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(1)
        heart.close()
        scene.desk.faults.extend(["lie"] * 1000)
        await asyncio.sleep(62)
        report = await scene.end()
        assert report.left == MINE
        assert report.cancelled == []

    on_scene(scenario)


def test_a_log_that_fails_keeps_no_order_from_its_cancel(on_scene) -> None:
    async def scenario(scene: Scene) -> None:
        def fail(event: str, facts: dict[str, Any]) -> None:
            raise OSError("no space left")

        scene.guard._tell_log = fail
        heart = Heart(scene.path)
        heart.start()
        await asyncio.sleep(1)
        heart.close()
        bury(scene)
        await scene.task
        assert scene.desk.orders == OTHERS

    on_scene(scenario)


@pytest.mark.parametrize(
    "settings",
    [{"alarm_s": 0}, {"cancel_s": 10}, {"poll_s": float("nan")}, {"linger_s": -1}],
)
def test_settings_that_make_no_sense(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GuardSettings(**settings)


def test_a_heart_says_who_beats_and_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"

    async def live(clock: VirtualClock) -> None:
        heart = Heart(path, interval_s=2.0)
        assert read_beat(path) == (os.getpid(), True, 0)  # it never beat: nothing to look after
        heart.start()
        await asyncio.sleep(3)
        assert read_beat(path) == (os.getpid(), False, 2)
        heart.stop(is_at_rest=True)
        heart.stop(is_at_rest=False)
        heart.close()

    run_virtual(live, 0)
    assert read_beat(path) == (os.getpid(), True, 2)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError):
        Heart(path, interval_s=0)

    async def die(clock: VirtualClock) -> None:
        heart = Heart(path)
        heart.start()
        assert read_beat(path).beats == 3
        heart.close()

    run_virtual(die, 0)
    Heart(path).close()  # a new process that has not begun changes nothing of what is left
    assert read_beat(path).is_at_rest is False


async def test_the_heart_of_an_engine_beats_until_nothing_is_left(desk) -> None:
    path = desk.path.with_name("heartbeat")
    heart = Heart(path, interval_s=0.01)
    desk.strategy.want(low=("buy", "99.00", "1"))
    async with desk.trading(heart=heart) as engine:
        await desk.until(lambda: engine.summary().open_orders == 1)
        first = read_beat(path)
        assert not first.is_at_rest
        await desk.until(lambda: read_beat(path).beats > first.beats)
    assert read_beat(path).is_at_rest
    async with desk.trading(heart=heart, exit_timeout_s=0.1, on_exit="cancel") as engine:
        await desk.until(lambda: engine.summary().open_orders == 1)
        desk.venue.cancels.extend(["silent"] * 3)
        desk.venue.tells_reports = False
        desk.venue.reads.extend(["fail"] * 100)
    assert not desk.stopped.is_complete
    assert not read_beat(path).is_at_rest  # somebody has to look after it
    desk.venue.cancels.clear()
    desk.venue.reads.clear()
    desk.venue.tells_reports = True
    async with desk.trading(heart=heart) as engine:
        await engine.stop(comes_back=True)
        assert not read_beat(path).is_at_rest  # it is to be watched on
    heart.close()


def test_a_guard_has_no_code_that_places_orders() -> None:
    room = Path(guard_module.__file__).parent
    reached, todo = set(), [room / "guard.py"]
    while todo:
        path = todo.pop()
        reached.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "nkfast.trading."
            ):
                found = room / f"{node.module.rsplit('.', 1)[1]}.py"
                if found not in reached:
                    todo.append(found)
            if isinstance(node, ast.Attribute | ast.Name | ast.alias):
                name = getattr(node, "attr", None) or getattr(node, "id", None) or node.name
                assert name not in {"NewOrder", "submit", "create_order", "Venue", "OrderGate"}, (
                    path
                )
    assert {path.stem for path in reached} == {"guard", "heartbeat", "kill", "orders", "exact"}
