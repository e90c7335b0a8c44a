"""The disk fails at any call, or the power does: what left is known, and nothing is done twice.

A trader's life is run again and again; each time something else becomes of one of its calls to the
disk (`io_shim.c`). What it leaves is opened by the next life, which has to find what the exchange
has. Power is lost after the fact: from the log of a life every write that was not synced is kept,
dropped, or torn at sectors.

    NKFAST_DISK_POINTS=1000 NKFAST_POWER_LOSSES=20000 pytest tests/faults/test_storage.py
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from faults.spoiled_trader import FAILED, JOURNAL, WIRE
from trading.conftest import START_NS, Desk
from trading.crashing_trader import replay_onto

from nkfast.errors import JournalError
from nkfast.trading.journal import Journal, verify
from nkfast.trading.orders import OrderState
from nkfast.venue.clock import VirtualClock, run_virtual

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the shim is one for Linux")

TESTS = Path(__file__).parent.parent
#: So many of a life's calls are spoiled, spread over it, in each way.
POINTS = int(os.environ.get("NKFAST_DISK_POINTS", "4"))
POWER_LOSSES = int(os.environ.get("NKFAST_POWER_LOSSES", "60"))
SECTOR = 512
DIES = ("die_before", "die_after", "die_torn")
FAILS = ("full", "error", "error_ever", "short")

Lives = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory: what is written there thousands of times is to be quick, not durable."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name).resolve()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Lives:
    """Return a function that runs lives, each a task, and returns how they ended."""
    compiler = os.environ.get("CC", "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler: {compiler!r} is not on the path")
    shim = tmp_path_factory.mktemp("shim") / "io_shim.so"
    source = str(Path(__file__).with_name("io_shim.c"))
    flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror")
    without_preload = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    subprocess.run(
        [compiler, *flags, "-o", str(shim), source, "-ldl"], check=True, env=without_preload
    )

    def run(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(shim)]))
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "faults.spoiled_trader"],
            env={**os.environ, "LD_PRELOAD": preload, "PYTHONPATH": os.pathsep.join(paths)},
            input="".join(json.dumps(task) + "\n" for task in tasks),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return [json.loads(line) for line in ended.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def logged(live: Lives, tmp_path_factory: pytest.TempPathFactory) -> "dict[str, list[Event]]":
    """What a whole life does to the disk, by its durability."""
    root = tmp_path_factory.mktemp("logged")
    tasks = [a_task(root / name, durability=name, logs=True) for name in ("process", "power")]
    assert [ended["code"] for ended in live(tasks)] == [0, 0]
    return {task["durability"]: read_events(Path(task["folder"])) for task in tasks}


def a_task(folder: Path, mode: str = "none", at: int = 0, **more: Any) -> dict[str, Any]:
    task = {"folder": str(folder), "durability": "process", "logs": False}
    return {**task, "mode": mode, "strikes_at": at, **more}


def read_wire(folder: Path) -> list[dict[str, str]]:
    """Return every request that left before the life ended, and where the fault struck."""
    return [json.loads(line) for line in folder.with_suffix(".wire").read_text().splitlines()]


def check_next_life(path: Path, wire: list[dict[str, str]]) -> None:
    """Start again on what a life left: all that is at the exchange is found, and once."""
    sent = [line["client_id"] for line in wire if line["do"] == "submit"]
    assert len(set(sent)) == len(sent)
    # Who cannot write that an order has ended asks for its end again.
    asked = {line["client_id"]: line for line in wire if line["do"] == "cancel"}.values()
    wire = [line for line in wire if line["do"] in ("submit", "fill")] + list(asked)

    async def scenario(clock: VirtualClock) -> None:
        desk = Desk(path, clock)
        replay_onto(desk.venue, wire)
        async with desk.trading(exit_timeout_s=60) as engine:
            assert {order.client_id for order in engine.orders} >= set(sent)
            await desk.until(lambda: engine.orders.unknown_count == 0, 150)
            await asyncio.sleep(1)
            restored = desk.strategy.restored or {"trades": []}
            told = [*restored["trades"], *(fill.trade_id for fill in desk.strategy.told)]
            assert sorted(told) == sorted(trade.trade_id for trade in desk.venue.trades)
            for asset, amount in desk.venue.balances.items():
                assert engine.ledger.total(asset) == amount
            states = {order.client_id: order.state for order in engine.orders}
            # What is in the journal and never left is proven to be absent.
            for client_id, state in states.items():
                assert (state is OrderState.ABANDONED) is (client_id not in desk.venue.truth)
        assert desk.venue.open_own() == []

    run_virtual(scenario, START_NS + 60 * 10**9)


def points_of(live: Lives, folder: Path, durability: str) -> list[int]:
    """Return at which calls a life is to be struck: some, spread over all that it makes."""
    (ended,) = live([a_task(folder, durability=durability)])
    assert ended["code"] == 0
    calls = int(ended["calls"])
    check_next_life(folder / JOURNAL, read_wire(folder))
    return sorted({1 + calls * n // POINTS for n in range(POINTS)})


@pytest.mark.parametrize("durability", ["process", "power"])
def test_T02_killed_before_after_and_amid_a_call_to_the_disk(
    live: Lives, folder: Path, durability: str
) -> None:
    points = points_of(live, folder / "whole", durability)
    tasks = [
        a_task(folder / f"{mode}-{at}", mode, at, durability=durability)
        for at in points
        for mode in DIES
    ]
    for task, ended in zip(tasks, live(tasks), strict=True):
        own = Path(task["folder"])
        assert ended["code"] == 9, task
        check_next_life(own / JOURNAL, read_wire(own))


def test_T04_T05_a_disk_that_is_full_or_broken_or_cannot_sync_ends_trading(
    live: Lives, folder: Path
) -> None:
    points = points_of(live, folder / "whole", "power")
    tasks = [
        a_task(folder / f"{mode}-{at}", mode, at, durability="power")
        for at in points
        for mode in FAILS
    ]
    codes = []
    for task, ended in zip(tasks, live(tasks), strict=True):
        own = Path(task["folder"])
        wire = read_wire(own)
        struck = [line["do"] for line in wire].index("fault")
        if task["mode"] != "short":  # which SQLite writes on from
            assert not [line for line in wire[struck:] if line["do"] == "submit"], task
        codes.append(ended["code"])
        check_next_life(own / JOURNAL, wire)
    assert set(codes) <= {0, FAILED}
    # A fault may strike what needs not be there, and after the trading.
    assert codes.count(FAILED) > len(codes) // 2


def test_T05_a_sync_that_fails_is_not_tried_again(
    live: Lives, logged: "dict[str, list[Event]]", folder: Path
) -> None:
    events = logged["power"]
    syncs = [n for n, event in enumerate(events, 1) if event.kind == "F"]
    # What becomes of names is logged, and not counted.
    counted = [e for e in events[: syncs[len(syncs) // 2]] if e.kind not in "UR" and e.name != WIRE]
    task = a_task(folder / "failed", "error", len(counted), durability="power")
    assert live([task])[0]["code"] == FAILED
    wire = read_wire(folder / "failed")
    struck = [line["do"] for line in wire].index("fault")
    assert {line["do"] for line in wire[struck:]} <= {"fault", "cancel"}
    check_next_life(folder / "failed" / JOURNAL, wire)


# The loss of power ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """One call to the disk: W(rite), T(runcate), F(sync), U(nlink) or R(ename, to the data)."""

    kind: str
    name: str
    at: int
    data: bytes


def read_events(folder: Path) -> list[Event]:
    events = []
    for line in folder.with_suffix(".io").read_text().splitlines():
        kind, name, at, *data = line.split(" ")
        events.append(Event(kind, name, int(at), bytes.fromhex(data[0])))
    return events


@dataclass
class Disk:
    """What a disk may hold after the power went, given what was done before.

    What was synced is there. Of everything else the disk has kept what it liked: whole writes or
    single sectors, a file's length, its name in its folder, that a name was removed.
    """

    chance: random.Random
    keeps: float  # how much of what it need not have kept it did keep
    files: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def after(cls, events: list[Event], chance: random.Random) -> "Disk":
        disk = cls(chance, chance.choice((0.0, 0.5, 1.0, chance.random())))
        files: dict[str, list[tuple[int, Event]]] = {}
        named_at: dict[str, int] = {}
        for n, event in enumerate(events):
            if event.kind == "R":
                name = event.data.decode()
                files[name], named_at[name] = files.pop(event.name), n
            elif event.name != WIRE:
                named_at.setdefault(event.name, n)
                files.setdefault(event.name, []).append((n, event))
        for folder in {str(folder) for name in files for folder in Path(name).parents}:
            files.pop(folder, None)
        for name, own in sorted(files.items()):
            content = disk._content(own)
            if content is not None and disk._is_named(name, named_at[name], events):
                disk.files[name] = content
        return disk

    def _likes(self) -> bool:
        return self.chance.random() < self.keeps

    def _content(self, own: list[tuple[int, Event]]) -> bytes | None:
        synced = max((n for n, event in own if event.kind == "F"), default=-1)
        content = bytearray()
        for n, event in own:
            if event.kind == "W":
                for start in range(0, len(event.data), SECTOR):
                    if n < synced or self._likes():
                        part = event.data[start : start + SECTOR]
                        place = event.at + start
                        content.extend(bytes(max(place + len(part) - len(content), 0)))
                        content[place : place + len(part)] = part
            elif event.kind == "T" and (n < synced or self._likes()):
                del content[event.at :]
                content.extend(bytes(event.at - len(content)))
            elif event.kind == "U" and self._likes():
                return None
        return bytes(content)

    def _is_named(self, name: str, made: int, events: list[Event]) -> bool:
        """Whether every folder on the way to a file knows the next one."""
        for folder in Path(name).parents:
            synced = (event.name for event in events[made:] if event.kind == "F")
            if str(folder) not in synced and not self._likes():
                return False
            made = 0  # the folders were made before the first call
        return True

    def write(self, folder: Path) -> None:
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.write_bytes(content)


def find_losses(events: list[Event], folder: Path, chance: random.Random) -> tuple[int, int]:
    """Lose the power again and again; return how often an order that left, or all was lost."""
    lost = unreadable = 0
    for number in range(POWER_LOSSES):
        until = chance.randrange(len(events) + 1)
        disk = Disk.after(events[:until], chance)
        sent = [
            json.loads(event.data)["client_id"]
            for event in events[:until]
            if event.name == WIRE and b'"submit"' in event.data
        ]
        place = folder / str(number)
        disk.write(place)
        try:
            with Journal.open(place / JOURNAL, instance="nk01", durability="process") as journal:
                lost += any(journal.find_order(client_id) is None for client_id in sent)
            report = verify(place / JOURNAL)
            assert report.ok, report.differences
        except JournalError:
            # Where nothing left, a person may remove the file.
            unreadable += bool(sent)
        shutil.rmtree(place)
    return lost, unreadable


def test_T03_no_order_that_left_is_lost_with_the_power(
    logged: "dict[str, list[Event]]", folder: Path
) -> None:
    chance = random.Random(3)
    assert find_losses(logged["power"], folder, chance) == (0, 0)
    # The same test must see what is lost where nothing is synced.
    lost, _ = find_losses(logged["process"], folder, chance)
    assert lost > POWER_LOSSES // 4


def test_T03_every_name_on_the_way_to_the_journal_is_synced(
    logged: "dict[str, list[Event]]",
) -> None:
    events = logged["power"]
    sent = next(n for n, event in enumerate(events) if event.name == WIRE)
    synced = {event.name for event in events[:sent] if event.kind == "F"}
    assert synced >= {".", "state", "state/bot", f"{JOURNAL}-wal"}
