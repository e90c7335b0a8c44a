"""Reading a journal that another process may hold, or that one has left behind."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from nkfast.errors import JournalCorruptError, JournalError, JournalLockedError
from nkfast.trading.intents import left, take_up
from nkfast.trading.journal_file import DAMAGE, SCHEMA_VERSION, FileLock, connect

__all__ = ["reading"]


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[sqlite3.Connection]:
    """Lend a journal for reading, as it is now; its holder may go on writing.

    Intents that a dead process had promised are stored before: they are part of what it left.

    Raises
    ------
    nkfast.errors.JournalError
        There is none, or it cannot be read.
    """
    file = Path(path)
    if not file.is_file():
        raise JournalError(str(file), "does not exist")
    try:
        store = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(store):
            store.execute("BEGIN")
            version = store.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise JournalCorruptError(
                    str(file), f"has schema version {version}, this nkfast reads {SCHEMA_VERSION}"
                )
            if left(store, file):
                store.execute("ROLLBACK")
                _store_what_was_left(file)
                store.execute("BEGIN")
            yield store
    except DAMAGE as error:
        raise JournalCorruptError(str(file), f"cannot be read: {error}") from error


def _store_what_was_left(journal: Path) -> None:
    try:
        lock = FileLock.of(journal)
    except JournalLockedError:
        return  # its holder lives, and is about to store them
    try:
        with contextlib.closing(connect(journal, "power")) as store:
            take_up(store, journal)
    finally:
        lock.release()
