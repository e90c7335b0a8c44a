"""Intents on their way into the journal: durable before their orders leave, stored after.

To store an intent takes a transaction of SQLite, most of which need not be over before the order
is on its way. So the intents of one batch are first written as one record into a small file beside
the journal. The file is mapped: what is copied there is the system's, and survives the end of the
process. The store takes them up as soon as the orders have left, and the next batch takes the
record's place.

A record is sealed with the hash of the event that it follows: it counts while the store ends with
that event, and no longer once the store has taken it up. A record that was torn has no valid seal;
its orders had not left.
"""

import json
import mmap
import os
import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nkfast.errors import JournalError
from nkfast.trading.journal_file import check_file
from nkfast.trading.journal_rows import chain, encode_row
from nkfast.wire.codec import encode_json

__all__ = ["SET_STATE", "STRATEGY", "IntentFile", "Promise", "left", "take_up", "write_intents"]

#: Written once, so that no later write finds the disk full.
_FILE_BYTES = 1 << 16
_SEAL_BYTES = 16
_LENGTH_BYTES = 4
_HEAD_BYTES = _SEAL_BYTES + _LENGTH_BYTES
#: Under this key the strategy's state is stored.
STRATEGY = "strategy"

_INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?)"
_INSERT_ORDER = (
    "INSERT INTO orders (client_id, slot, symbol, side, type, price, quantity, sent_ms, sent_ns,"
    " sent_boot) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
SET_STATE = "INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


#: One intent: the row of its order, and the strategy's state where that is new.
Promise = tuple[Sequence[Any], str | None]


class IntentFile:
    """The file of one journal's record. It is made when it is missing, for its owner only.

    Parameters
    ----------
    journal : Path
        Its file is ``journal.intents``.
    """

    def __init__(self, journal: Path) -> None:
        path = _path_of(journal)
        try:
            is_new = not check_file(path)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            file = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise JournalError(str(path), f"cannot be opened: {error}") from error
        try:
            if is_new or os.fstat(file).st_size < _FILE_BYTES:
                _write_whole(file, bytes(_FILE_BYTES))
            self._map = mmap.mmap(file, _FILE_BYTES)
        except OSError as error:
            raise JournalError(str(path), f"cannot be written: {error}") from error
        finally:
            os.close(file)

    def close(self) -> None:
        """Close it; the record stays."""
        self._map.close()

    def write(self, promises: Sequence[Promise], last_hash: bytes) -> bool:
        """Put a record in the place of the last one; False when it is too large for the file."""
        text = encode_json(promises)
        if len(text) > _FILE_BYTES - _HEAD_BYTES:
            return False
        record = _seal(text, last_hash) + len(text).to_bytes(_LENGTH_BYTES) + text
        self._map[: len(record)] = record
        return True


def _path_of(journal: Path) -> Path:
    return journal.with_name(journal.name + ".intents")


def _write_whole(file: int, content: bytes) -> None:
    if os.write(file, content) != len(content):
        raise OSError("the disk is full")


def _seal(text: bytes, last_hash: bytes) -> bytes:
    return blake2b(text, digest_size=_SEAL_BYTES, key=last_hash).digest()


def write_intents(
    store: sqlite3.Connection, promises: Sequence[Promise], number: int, last_hash: bytes
) -> tuple[int, bytes]:
    """Write intents into an open transaction as the events from ``number`` on.

    Returns
    -------
    tuple of int and bytes
        The number of the next event, and the hash of the last.
    """
    for row, strategy_state in promises:
        client_id, body = row[0], encode_row(row[1:])
        last_hash = chain(last_hash, "intent", client_id, body)
        store.execute(_INSERT_EVENT, (number, "intent", client_id, body, last_hash))
        store.execute(_INSERT_ORDER, row)
        if strategy_state is not None:
            store.execute(SET_STATE, (STRATEGY, strategy_state))
        number += 1
    return number, last_hash


def left(store: sqlite3.Connection, journal: Path) -> list[Promise]:
    """Return the intents that a store has still to take up, in their order."""
    last_hash = _last_event(store)[1]
    try:
        record = _path_of(journal).read_bytes()
    except FileNotFoundError:
        return []
    size = int.from_bytes(record[_SEAL_BYTES:_HEAD_BYTES])
    text = record[_HEAD_BYTES : _HEAD_BYTES + size]
    if not text or record[:_SEAL_BYTES] != _seal(text, last_hash):
        return []
    return [(row, state) for row, state in json.loads(text)]


def take_up(store: sqlite3.Connection, journal: Path) -> None:
    """Store what was promised when the last process ended, if anything was; its lock is held.

    Raises
    ------
    sqlite3.Error, OSError
        It could not be read or stored.
    """
    promises = left(store, journal)
    if promises:
        number, last_hash = _last_event(store)
        store.execute("BEGIN IMMEDIATE")
        write_intents(store, promises, number + 1, last_hash)
        store.execute("COMMIT")


def _last_event(store: sqlite3.Connection) -> tuple[int, bytes]:
    row = store.execute("SELECT n, hash FROM event ORDER BY n DESC LIMIT 1").fetchone()
    return (0, b"") if row is None else (row[0], row[1])
