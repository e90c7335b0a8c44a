"""The file of a journal: who may hold it, whose it is, which version it has, whether it is whole.

Everything here happens before the first order of a run. What is not as it must be is refused with
a message that says what and where; nothing is repaired silently.
"""

import contextlib
import errno
import os
import sqlite3
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

from nkfast.errors import JournalCorruptError, JournalError, JournalLockedError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "DAMAGE",
    "SCHEMA_VERSION",
    "Durability",
    "FileLock",
    "check_file",
    "connect",
    "make_file",
    "make_power_proof",
    "prepare",
    "set_aside",
]

#: "process" survives kill -9; "power" also the loss of power, for about 0.2 ms more a write.
Durability = Literal["process", "power"]

SCHEMA_VERSION = 2
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
#: Pages of the store; a small page is a small write, and every commit writes at least two.
_PAGE_BYTES = 1024
#: What a damaged file raises: sqlite3 puts names of tables into its messages, whatever they are.
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
#: What tells that another process has a lock; Windows says it by no error of its own.
_IS_TAKEN = OSError if sys.platform == "win32" else BlockingIOError
#: What file systems say that sync no folders: they keep names in another way.
_NAMELESS = frozenset({errno.EINVAL, errno.ENOTSUP})
_EMPTY = "is empty; remove it if no order was ever sent with it"
_LOCAL = "the file system keeps no locks; keep journals on a local disk"
#: Where Windows locks: beyond the text, so that the holder's name stays readable.
_LOCK_OFFSET = 4096

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE event (
    n INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    client_id TEXT NOT NULL,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
);
CREATE TABLE orders (
    client_id TEXT PRIMARY KEY,
    slot TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    type TEXT NOT NULL,
    price TEXT,
    quantity TEXT NOT NULL,
    sent_ms INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'sending',
    executed TEXT NOT NULL DEFAULT '0',
    facts TEXT,
    sent_ns INTEGER NOT NULL DEFAULT 0,
    sent_boot TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE fill (
    client_id TEXT NOT NULL,
    trade_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    price TEXT NOT NULL,
    quantity TEXT NOT NULL,
    fee TEXT,
    fee_asset TEXT NOT NULL,
    is_maker INTEGER,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (client_id, trade_id, order_id)
) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE reason (code TEXT PRIMARY KEY, count INTEGER NOT NULL, detail TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE reason_log (
    n INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL
);
"""


#: What brings a file of a version to the next one. A version that was released is never changed.
MIGRATIONS: Mapping[int, str] = {
    1: """
CREATE TABLE reason_log (
    n INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL
);
ALTER TABLE orders ADD COLUMN sent_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN sent_boot TEXT NOT NULL DEFAULT '';
UPDATE state
    SET key = 'profit:' || json_extract(value, '$.base') || '/' || json_extract(value, '$.quote')
    WHERE key = 'profit'
""",
}


class FileLock:
    """An operating-system lock beside the journal; the holder writes its process id into it."""

    @classmethod
    def of(cls, journal: Path) -> Self:
        """Take the lock of a journal.

        Raises
        ------
        nkfast.errors.JournalLockedError
            Another process has it; the message names the process.
        nkfast.errors.JournalError
            The file system keeps no locks, as some over a network do not.
        OSError
            The lock's file cannot be made or opened.
        """
        return cls(journal.with_name(journal.name + ".lock"))

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(self._file)
            excludes = self._excludes(path)
        except _IS_TAKEN:
            holder = os.pread(self._file, 32, 0) if hasattr(os, "pread") else self._read()
            os.close(self._file)
            name = holder.decode("ascii", "replace").strip() or "of unknown id"
            raise JournalLockedError(
                str(path), f"process {name} holds the journal; stop it or use another one"
            ) from None
        except OSError as error:
            os.close(self._file)
            raise JournalError(str(path), f"cannot be locked: {error}; {_LOCAL}") from error
        if not excludes:
            os.close(self._file)
            raise JournalError(str(path), f"can be locked twice at once; {_LOCAL}")
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def _excludes(self, path: Path) -> bool:
        """Whether the lock that is held keeps another one out: not every file system's does."""
        other = os.open(path, os.O_RDWR)
        try:
            self._take(other)
        except OSError:
            return True
        finally:
            os.close(other)
        return False

    def _read(self) -> bytes:
        os.lseek(self._file, 0, os.SEEK_SET)
        return os.read(self._file, 32)

    if sys.platform == "win32":

        def _take(self, file: int) -> None:
            os.lseek(file, _LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

        def release(self) -> None:
            os.lseek(self._file, _LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(self._file, msvcrt.LK_UNLCK, 1)
            os.close(self._file)

    else:

        def _take(self, file: int) -> None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

        def release(self) -> None:
            os.close(self._file)  # the lock goes with it


def check_file(path: Path) -> bool:
    """Refuse a file that others could have written, or that is none; return whether it is there.

    Raises
    ------
    nkfast.errors.JournalError
        It is a link, a folder or a device, belongs to another user, or others may read or
        write it.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no file"
        raise JournalError(str(path), f"is {kind}; give the file itself")
    if sys.platform == "win32":
        return True
    if found.st_uid != os.geteuid():
        raise JournalError(str(path), f"belongs to user {found.st_uid}, not to {os.geteuid()}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise JournalError(
            str(path), f"has mode {mode:04o}, others may use it; chmod 600 if it is yours alone"
        )
    return True


def make_power_proof(path: Path, store: sqlite3.Connection) -> None:
    """Let every commit from now on survive the loss of power, and the file's very name, too.

    Raises
    ------
    sqlite3.Error, OSError
        It cannot be had.
    """
    _set_durability(store, "power")
    if sys.platform != "win32":  # which gives nobody a folder to sync
        _sync_folders(path.parent.absolute())


def _set_durability(store: sqlite3.Connection, durability: Durability) -> None:
    store.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")


def _keep_log(store: sqlite3.Connection) -> None:
    """Let SQLite write ahead; it says in no other way that it cannot."""
    (mode,) = store.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise OSError(f"no write-ahead log can be kept there, its mode is {mode}")


def _sync_folders(folder: Path) -> None:
    """Make a folder's entries durable, and its own in those above it: they may be as new."""
    while True:
        try:
            handle = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return  # in what we may not even read we made nothing
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NAMELESS:
                raise
        finally:
            os.close(handle)
        if os.path.ismount(folder):
            return
        folder = folder.parent


def make_file(path: Path, instance: str) -> None:
    """Make a new journal, whole or not at all; its lock is held.

    Raises
    ------
    nkfast.errors.JournalError
        It cannot be made.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        for part in ("", "-journal", "-wal", "-shm"):  # of a making that did not end
            fresh.with_name(fresh.name + part).unlink(missing_ok=True)
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as store:
                store.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                store.execute("PRAGMA synchronous = OFF")  # it is synced once, as a whole
                store.execute("PRAGMA journal_mode = MEMORY")
                with _upgrade(store, SCHEMA_VERSION):
                    _run(store, SCHEMA)
                    store.execute("INSERT INTO meta VALUES ('instance', ?)", (instance,))
                _keep_log(store)
            os.fsync(file)
        finally:
            os.close(file)
        fresh.replace(path)
    except (sqlite3.Error, OSError) as error:
        raise JournalError(str(path), f"cannot be made: {error}") from error


def set_aside(path: Path, mark: str) -> Path:
    """Give a journal and what belongs to it other names, ``path.mark``; its lock is held.

    Raises
    ------
    OSError
        It cannot be renamed.
    """
    aside = path.with_name(f"{path.name}.{mark}")
    for part in ("-wal", "-shm", ".intents", ""):  # the file itself last: without it all is new
        source = path.with_name(path.name + part)
        if source.exists():
            source.rename(aside.with_name(aside.name + part))
    return aside


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open the store."""
    if durability not in _SYNCHRONOUS:
        raise JournalError(str(path), f"durability {durability!r}: 'process' or 'power'")
    store: sqlite3.Connection | None = None
    try:
        os.close(os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)))
        if not path.stat().st_size:  # which SQLite would make a store of
            raise JournalCorruptError(str(path), _EMPTY)
        store = sqlite3.connect(path, isolation_level=None, cached_statements=64)
        _keep_log(store)
        _set_durability(store, durability)
        store.execute("PRAGMA wal_autocheckpoint = 8000")
        store.execute("PRAGMA busy_timeout = 2000")
    except (*DAMAGE, OSError) as error:
        if store is not None:
            store.close()
        if isinstance(error, OSError):
            raise JournalError(str(path), f"cannot be opened: {error}") from error
        raise JournalCorruptError(str(path), f"cannot be read: {error}") from error
    return store


def prepare(path: Path, store: sqlite3.Connection, instance: str) -> None:
    """Check that a file is whole and whose it is, and bring its tables to this version.

    A file of an earlier version is copied beside itself (``path.v1``) before it is changed, in one
    transaction: a crash leaves the old version or the new one.

    Raises
    ------
    nkfast.errors.JournalCorruptError
        It is damaged, of a later version, or of another instance.
    """
    try:
        version = store.execute("PRAGMA user_version").fetchone()[0]
        if not store.execute("SELECT name FROM sqlite_master").fetchone():
            raise JournalCorruptError(str(path), _EMPTY)
        if version not in MIGRATIONS and version != SCHEMA_VERSION:
            raise JournalCorruptError(
                str(path), f"has schema version {version}, this nkfast reads {SCHEMA_VERSION}"
            )
        found = store.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise JournalCorruptError(str(path), f"is damaged: {found}")
        owner = store.execute("SELECT value FROM meta WHERE key = 'instance'").fetchone()
        if owner is None or owner[0] != instance:
            name = None if owner is None else owner[0]
            raise JournalCorruptError(
                str(path), f"belongs to instance {name!r}, not to {instance!r}"
            )
        if version != SCHEMA_VERSION:
            _migrate(path, store, version)
    except DAMAGE as error:
        raise JournalCorruptError(str(path), f"cannot be read: {error}") from error


def _migrate(path: Path, store: sqlite3.Connection, version: int) -> None:
    copy = path.with_name(f"{path.name}.v{version}")
    copy.unlink(missing_ok=True)  # of an upgrade that did not end
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(copy)) as target:
        store.backup(target)
    with _upgrade(store, SCHEMA_VERSION):
        for step in range(version, SCHEMA_VERSION):
            _run(store, MIGRATIONS[step])


@contextlib.contextmanager
def _upgrade(store: sqlite3.Connection, version: int) -> Iterator[None]:
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
        store.execute(f"PRAGMA user_version = {version}")
        store.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the first error is the one that matters
            store.execute("ROLLBACK")
        raise


def _run(store: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):  # executescript would commit between
        store.execute(statement)
