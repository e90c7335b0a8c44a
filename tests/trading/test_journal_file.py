"""The journal's file: damaged, foreign, shared, upgraded, read for long; faults are named by id."""

import asyncio
import errno
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from trading.test_journal import an_order, live_a_little, make_old

from nkfast.errors import JournalCorruptError, JournalError, JournalLockedError
from nkfast.trading import journal_file
from nkfast.trading.journal import Journal, verify
from nkfast.trading.journal_file import MIGRATIONS, SCHEMA_VERSION

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows forks no processes")


def in_a_fork(act: Callable[[], int]) -> int:
    """Run something in a process of its own; return how that ended."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(act())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def opens(path: Path) -> bool:
    """Whether a journal is taken; what is taken says what was written."""
    try:
        with Journal.open(path, instance="nk01") as journal:
            assert len(journal.recover(0).orders) == 5
    except JournalError:
        return False
    assert verify(path).ok
    return True


def crash_with_news_in_the_wal(path: Path) -> None:
    """Write a journal by a process that is killed: its newest writes are in the WAL alone."""

    def act() -> int:
        live_a_little(path)
        journal = Journal.open(path, instance="nk01")
        journal.set_cursor(9999)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert in_a_fork(act) == -9
    assert path.with_name("j.db-wal").stat().st_size > 0


@posix_only
def test_T07_the_wal_of_a_killed_process_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    crash_with_news_in_the_wal(path)
    path.with_name("j.db-shm").unlink()  # what is in it is found again
    with Journal.open(path, instance="nk01") as journal:
        assert journal.recover(0).cursor_ms == 9999
        assert journal.boot == 3
    assert verify(path).ok


@posix_only
def test_T07_a_wal_that_is_missing_stale_or_anothers_is_refused_or_does_no_harm(
    tmp_path: Path,
) -> None:
    own, other = tmp_path / "own" / "j.db", tmp_path / "other" / "j.db"
    crash_with_news_in_the_wal(own)
    crash_with_news_in_the_wal(other)
    stale = own.with_name("j.db-wal").read_bytes()
    for name, make in {
        "missing": lambda wal: wal.unlink(),
        "another": lambda wal: shutil.copy(other.with_name("j.db-wal"), wal),
        "random": lambda wal: wal.write_bytes(random.Random(1).randbytes(5000)),
        "cut": lambda wal: wal.write_bytes(stale[: len(stale) // 2]),
    }.items():
        copy = shutil.copytree(own.parent, tmp_path / name) / "j.db"
        copy.with_name("j.db-shm").unlink()
        make(copy.with_name("j.db-wal"))
        opens(copy)
    # The log of an earlier time beside the file of a later one.
    opens(own)
    own.with_name("j.db-wal").write_bytes(stale)
    assert opens(own)


def test_T06_a_file_cut_at_any_page_or_replaced_by_text_is_refused(tmp_path: Path) -> None:
    live_a_little(tmp_path / "j.db")
    whole = (tmp_path / "j.db").read_bytes()
    for number, content in enumerate(
        [whole[:cut] for cut in range(0, len(whole), 1024)] + [b"once upon a time\n" * 999]
    ):
        path = tmp_path / str(number) / "j.db"
        path.parent.mkdir()
        path.touch(0o600)
        path.write_bytes(content)
        with pytest.raises(JournalCorruptError):
            Journal.open(path, instance="nk01")
        assert path.read_bytes() == content  # kept for whoever looks


@pytest.mark.skipif(not hasattr(os, "chown") or os.geteuid() != 0, reason="only root gives away")
def test_T08_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    os.chown(tmp_path / "j.db", 1, 1)
    with pytest.raises(JournalError, match="belongs to user 1"):
        Journal.open(tmp_path / "j.db", instance="nk01")


@posix_only
@pytest.mark.parametrize("fault", ["refuses", "shares"])
def test_T09_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def flock(_file: int, _how: int) -> None:
        if fault == "refuses":
            raise OSError(37, "No locks available")

    monkeypatch.setattr(journal_file.fcntl, "flock", flock)
    with pytest.raises(JournalError, match="keep journals on a local disk") as caught:
        Journal.open(tmp_path / "j.db", instance="nk01")
    assert not isinstance(caught.value, JournalLockedError)
    monkeypatch.undo()
    Journal.open(tmp_path / "j.db", instance="nk01").close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux what a file is")
@pytest.mark.parametrize(("number", "is_taken"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_T03_a_folder_that_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_taken: bool
) -> None:
    sync = os.fsync

    def failing(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(number, os.strerror(number))
        sync(file)

    monkeypatch.setattr(os, "fsync", failing)
    refusal = pytest.raises(JournalError, match=os.strerror(number))
    with nullcontext() if is_taken else refusal:
        Journal.open(tmp_path / "j.db", instance="nk01", durability="power").close()


@posix_only
def test_T10_of_many_that_start_at_once_one_lives(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    for _ in range(10):
        begin, beginning = os.pipe()
        end, ending = os.pipe()
        children = []
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os.close(beginning)
                os.close(ending)
                os.read(begin, 1)  # all at once: at its end
                try:
                    journal = Journal.open(path, instance="nk01")
                except JournalLockedError:
                    os._exit(7)
                except BaseException:
                    os._exit(99)
                os.read(end, 1)
                journal.close()
                os._exit(0)
            children.append(child)
        for pipe in (begin, end, beginning):
            os.close(pipe)
        codes = []
        while len(codes) < 9:  # the tenth holds it until it is told to end
            codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
        os.close(ending)
        codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
        assert sorted(codes) == [0] + [7] * 9
    assert verify(path).ok


@posix_only
@pytest.mark.parametrize("version", MIGRATIONS)
def test_T15_an_upgrade_that_is_killed_at_any_statement_is_made_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    old = tmp_path / "old" / "j.db"
    live_a_little(old)
    make_old(old, version)
    statements = [part for script in MIGRATIONS.values() for part in script.split(";")]
    killed = 0
    for point in range(len(statements) + 1):
        path = shutil.copytree(old.parent, tmp_path / str(point)) / "j.db"
        left = point

        def dying_run(store: sqlite3.Connection, script: str) -> None:
            nonlocal left
            for statement in script.split(";"):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                store.execute(statement)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def act(path: Path = path, run: object = dying_run) -> int:
            monkeypatch.setattr(journal_file, "_run", run)
            Journal.open(path, instance="nk01").close()
            return 0

        killed += in_a_fork(act) == -9
        with Journal.open(path, instance="nk01") as journal:
            assert len(journal.recover(0).orders) == 5
        assert verify(path).ok
        store = sqlite3.connect(path.with_name(f"j.db.v{version}"))
        assert store.execute("PRAGMA user_version").fetchone() == (version,)
        store.close()
    assert killed == len(statements) + 1


def test_T15_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    live_a_little(tmp_path / "j.db")
    store = sqlite3.connect(tmp_path / "j.db")
    store.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()
    before = (tmp_path / "j.db").read_bytes()
    with pytest.raises(JournalCorruptError, match=f"version {SCHEMA_VERSION + 1}, this nkfast"):
        Journal.open(tmp_path / "j.db", instance="nk01")
    assert (tmp_path / "j.db").read_bytes() == before


def test_T17_a_reader_that_never_ends_stops_nothing_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with Journal.open(path, instance="nk01") as journal:
        reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        ids = journal.id_source()
        journal._execute("PRAGMA wal_autocheckpoint = 20")
        for number in range(200):
            journal.intend(an_order(ids.next(), f"level-{number}"))
        held = journal.log_bytes
        assert held > 400_000  # nothing could be written back
        reader.close()
        for number in range(200, 230):
            journal.intend(an_order(ids.next(), f"level-{number}"))
        journal._execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert journal.log_bytes < 100_000
    assert verify(path).orders == 230


def test_T17_a_log_that_grows_is_told(on_virtual_desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            await asyncio.sleep(60)
            assert engine.reasons["JOURNAL_READ_FOR_LONG"] == 0
            monkeypatch.setattr("nkfast.trading.news.LOG_BYTES_MAX", 1000)
            await asyncio.sleep(60)
            assert engine.reasons["JOURNAL_READ_FOR_LONG"] == 2
            assert engine.may_decide

    on_virtual_desk(scenario)
