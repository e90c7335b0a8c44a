"""The journal: what was intended and what was learned, durable before it counts.

One SQLite file in WAL mode. An intent is written before the first byte of its order is sent; news
is written before memory changes; a fill, the profit and the strategy's state are one transaction.
Any error of the store is a `JournalError`, and after one the journal takes nothing more: trading
stops.

The table ``event`` is append-only, each row chained to the one before it by a hash. The other
tables hold the newest state; `verify` replays the events and compares.
"""

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Self

from nkfast.errors import JournalCorruptError, JournalError, JournalLockedError, NkfastError
from nkfast.trading.exact import plain
from nkfast.trading.ledger import Profit
from nkfast.trading.orders import Facts, News, Order, Outcome, instance_code
from nkfast.venue.port import Execution, VenueStatus

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Durability", "Journal", "JournalReport", "Recovered", "verify"]

#: "process" survives kill -9; "power" also the loss of power, for about 0.2 ms more a write.
Durability = Literal["process", "power"]

SCHEMA_VERSION = 1
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
#: Pages of the store; a small page is a small write, and every commit writes at least two.
_PAGE_BYTES = 1024
#: Finished orders are read back at a start for this long, so that late news is understood.
_FINISHED_KEPT_MS = 24 * 3600 * 1000
#: Where Windows locks: beyond the text, so that the holder's name stays readable.
_LOCK_OFFSET = 4096

_SCHEMA = """
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
    facts TEXT
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
"""

_INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?)"
_INSERT_ORDER = (
    "INSERT INTO orders (client_id, slot, symbol, side, type, price, quantity, sent_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE_ORDER = "UPDATE orders SET state = ?, executed = ?, facts = ? WHERE client_id = ?"
_INSERT_FILL = "INSERT INTO fill VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE_FEE = (
    "UPDATE fill SET fee = ?, fee_asset = ? WHERE client_id = ? AND trade_id = ? AND order_id = ?"
)
_SET_STATE = (
    "INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_SET_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_ADD_REASON = (
    "INSERT INTO reason VALUES (?, ?, ?) ON CONFLICT (code)"
    " DO UPDATE SET count = count + excluded.count, detail = excluded.detail"
)
_PROFIT = "profit"
_STRATEGY = "strategy"

_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _chain(last: bytes, kind: str, client_id: str, body: str) -> bytes:
    return blake2b(f"{kind}\0{client_id}\0{body}".encode(), digest_size=16, key=last).digest()


def _facts_row(facts: Facts) -> list[Any]:
    return [
        facts.outcome,
        facts.reason,
        facts.order_id,
        facts.is_accepted,
        plain(facts.reported),
        facts.final,
        facts.cancel_wanted,
    ]


def _facts_of(row: Sequence[Any]) -> Facts:
    outcome, reason, order_id, is_accepted, reported, final, cancel_wanted = row
    return Facts(
        Outcome(outcome),
        reason,
        order_id,
        is_accepted,
        Decimal(reported),
        None if final is None else VenueStatus(final),
        cancel_wanted,
    )


def _fill_row(fill: Execution, client_id: str) -> list[Any]:
    return [
        client_id,
        fill.trade_id,
        fill.order_id,
        fill.symbol,
        fill.side,
        plain(fill.price),
        plain(fill.quantity),
        None if fill.fee is None else plain(fill.fee),
        fill.fee_asset,
        fill.is_maker,
        fill.time_ms,
    ]


def _fill_of(row: Sequence[Any]) -> Execution:
    client_id, trade_id, order_id, symbol, side, price, quantity, fee, asset, maker, time_ms = row
    return Execution(
        trade_id,
        order_id,
        client_id,
        symbol,
        side,
        Decimal(price),
        Decimal(quantity),
        None if fee is None else Decimal(fee),
        asset,
        None if maker is None else bool(maker),
        time_ms,
    )


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an earlier run left behind.

    ``orders`` holds every open order and those that were sent in the last 24 hours, oldest first.
    """

    orders: list[Order]
    profit: Profit | None
    strategy_state: Mapping[str, Any] | None
    cursor_ms: int | None


@dataclass(frozen=True, slots=True)
class JournalReport:
    """What `verify` found: how much there is, and where state and events differ."""

    ok: bool
    orders: int
    fills: int
    differences: list[str] = field(default_factory=list)


class _FileLock:
    """An operating-system lock beside the journal; the holder writes its process id into it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take()
        except OSError:
            holder = os.pread(self._file, 32, 0) if hasattr(os, "pread") else self._read()
            os.close(self._file)
            name = holder.decode("ascii", "replace").strip() or "of unknown id"
            raise JournalLockedError(
                str(path), f"process {name} holds the journal; stop it or use another one"
            ) from None
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def _read(self) -> bytes:
        os.lseek(self._file, 0, os.SEEK_SET)
        return os.read(self._file, 32)

    if sys.platform == "win32":

        def _take(self) -> None:
            os.lseek(self._file, _LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(self._file, msvcrt.LK_NBLCK, 1)

        def release(self) -> None:
            os.lseek(self._file, _LOCK_OFFSET, os.SEEK_SET)
            msvcrt.locking(self._file, msvcrt.LK_UNLCK, 1)
            os.close(self._file)

    else:

        def _take(self) -> None:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

        def release(self) -> None:
            os.close(self._file)  # the lock goes with it


class Journal:
    """The durable memory of one instance. Made by `open`; one holder at a time."""

    def __init__(
        self, path: Path, instance: str, store: sqlite3.Connection, lock: _FileLock
    ) -> None:
        self.path = path
        self.instance = instance
        self.boot = 0
        self._store = store
        self._lock = lock
        self._execute = store.execute
        self._is_failed = False
        self._is_closed = False
        self._next_event = 1
        self._last_hash = b""

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, instance: str, durability: Durability = "process"
    ) -> Self:
        """Open or make a journal, lock it, and count one more boot.

        Parameters
        ----------
        path : path
            The file; its folder is made when it is missing. It and its lock file
            (``path.lock``) are readable by their owner only.
        instance : str
            Name of the instance; a journal belongs to one.
        durability : {"process", "power"}
            What a written intent survives.

        Raises
        ------
        nkfast.errors.JournalLockedError
            Another process has it open; the message names the process.
        nkfast.errors.JournalCorruptError
            The file is no journal, of another version, of another instance, or damaged.
        nkfast.errors.JournalError
            It cannot be opened or written.
        """
        if durability not in _SYNCHRONOUS:
            raise JournalError(str(path), f"durability {durability!r}: 'process' or 'power'")
        file = Path(path)
        code = instance_code(instance)
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _FileLock(file.with_name(file.name + ".lock"))
        except OSError as error:
            raise JournalError(str(file), f"cannot be locked: {error}") from error
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            store = sqlite3.connect(file, isolation_level=None, cached_statements=64)
        except (OSError, sqlite3.Error) as error:
            lock.release()
            raise JournalError(str(file), f"cannot be opened: {error}") from error
        journal = cls(file, code, store, lock)
        try:
            journal._prepare(durability)
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Close the store and release the lock. Closing twice does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._store.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def intend(self, order: Order, strategy_state: str | None = None) -> None:
        """Write an order's intent. Only after this returns may its first byte be sent.

        ``strategy_state``, when given, is stored in the same transaction.
        """
        price = None if order.price is None else plain(order.price)
        intent = (
            order.client_id,
            order.slot,
            order.symbol,
            order.side,
            order.type,
            price,
            plain(order.quantity),
            order.sent_ms,
        )
        body = _encode_json(intent[1:])
        number, digest = self._next_event, _chain(self._last_hash, "intent", order.client_id, body)
        try:
            self._begin()
            self._execute(_INSERT_EVENT, (number, "intent", order.client_id, body, digest))
            self._execute(_INSERT_ORDER, intent)
            if strategy_state is not None:
                self._execute(_SET_STATE, (_STRATEGY, strategy_state))
            self._execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failure(error) from error
        self._next_event, self._last_hash = number + 1, digest

    def record(
        self,
        news: Iterable[News],
        *,
        profit: Profit | None = None,
        strategy_state: str | None = None,
    ) -> None:
        """Write news of orders, in one transaction with what follows from it.

        ``profit`` and ``strategy_state`` go with fills: they are what both are after the news.
        """
        with self._transaction():
            for item in news:
                self._record_one(item)
            if profit is not None:
                self._execute(_SET_STATE, (_PROFIT, _encode_json(profit.as_json())))
            if strategy_state is not None:
                self._execute(_SET_STATE, (_STRATEGY, strategy_state))

    def set_strategy_state(self, strategy_state: str) -> None:
        """Store the strategy's state by itself."""
        with self._transaction():
            self._execute(_SET_STATE, (_STRATEGY, strategy_state))

    def set_cursor(self, cursor_ms: int) -> None:
        """Store up to when the venue's executions are known to be complete, Unix milliseconds."""
        with self._transaction():
            self._execute(_SET_META, ("cursor_ms", str(cursor_ms)))

    def count_reasons(self, reasons: Mapping[str, tuple[int, str]]) -> None:
        """Add to the counters of actions not taken: code -> (how many more, newest numbers)."""
        with self._transaction():
            for code, (count, detail) in reasons.items():
                self._execute(_ADD_REASON, (code, count, detail))

    def note_halt(self, cause: str) -> None:
        """Write that trading was halted, and why."""
        with self._transaction():
            self._append("halt", "", _encode_json([cause]))

    def recover(self, now_ms: int) -> Recovered:
        """Return what earlier runs left behind."""
        try:
            rows = self._execute(
                "SELECT * FROM orders WHERE sent_ms >= ?"
                " OR state IN ('sending', 'unknown', 'live', 'closing') ORDER BY client_id",
                (now_ms - _FINISHED_KEPT_MS,),
            ).fetchall()
            orders = [self._read_order(row) for row in rows]
            state = dict(self._execute("SELECT key, value FROM state").fetchall())
            cursor = self._execute("SELECT value FROM meta WHERE key = 'cursor_ms'").fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return Recovered(
            orders,
            Profit.from_json(json.loads(state[_PROFIT])) if _PROFIT in state else None,
            json.loads(state[_STRATEGY]) if _STRATEGY in state else None,
            None if cursor is None else int(cursor[0]),
        )

    def find_order(self, client_id: str) -> Order | None:
        """Read one order back, however old."""
        try:
            row = self._execute("SELECT * FROM orders WHERE client_id = ?", (client_id,)).fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return None if row is None else self._read_order(row)

    def reasons(self) -> dict[str, tuple[int, str]]:
        """Return the stored counters of actions not taken: code -> (count, newest numbers)."""
        try:
            rows = self._execute("SELECT code, count, detail FROM reason").fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return {code: (count, detail) for code, count, detail in rows}

    def _prepare(self, durability: Durability) -> None:
        try:
            self._execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            self._execute("PRAGMA journal_mode = WAL")
            self._execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
            self._execute("PRAGMA wal_autocheckpoint = 8000")
            self._execute("PRAGMA busy_timeout = 2000")
            version = self._execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not self._execute("SELECT name FROM sqlite_master").fetchone():
                self._execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";"):
                    self._execute(statement)
                self._execute(_SET_META, ("instance", self.instance))
                self._execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                self._execute("COMMIT")
            elif version != SCHEMA_VERSION:
                raise JournalCorruptError(
                    str(self.path),
                    f"has schema version {version}, this nkfast reads {SCHEMA_VERSION}",
                )
            self._count_boot()
        except sqlite3.DatabaseError as error:
            raise JournalCorruptError(str(self.path), f"cannot be read: {error}") from error

    def _count_boot(self) -> None:
        meta = dict(self._execute("SELECT key, value FROM meta").fetchall())
        if meta.get("instance") != self.instance:
            raise JournalCorruptError(
                str(self.path),
                f"belongs to instance {meta.get('instance')!r}, not to {self.instance!r}",
            )
        last = self._execute("SELECT n, hash FROM event ORDER BY n DESC LIMIT 1").fetchone()
        if last is not None:
            self._next_event, self._last_hash = last[0] + 1, last[1]
        self.boot = int(meta.get("boot", "0")) + 1
        with self._transaction():
            self._execute(_SET_META, ("boot", str(self.boot)))
            self._append("boot", "", _encode_json([self.boot]))

    def _begin(self) -> None:
        if self._is_failed or self._is_closed:
            state = "failed before" if self._is_failed else "is closed"
            raise JournalError(str(self.path), f"{state} and takes nothing more")
        self._execute("BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        number, digest = self._next_event, self._last_hash
        try:
            self._begin()
            yield
            self._execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failure(error) from error
        except BaseException:
            self._next_event, self._last_hash = number, digest
            if self._store.in_transaction:
                self._execute("ROLLBACK")
            raise

    def _failure(self, error: sqlite3.Error) -> JournalError:
        self._is_failed = True
        with contextlib.suppress(sqlite3.Error):
            if self._store.in_transaction:
                self._execute("ROLLBACK")
        return JournalError(str(self.path), f"{error}; trading stops")

    def _append(self, kind: str, client_id: str, body: str) -> None:
        digest = _chain(self._last_hash, kind, client_id, body)
        self._execute(_INSERT_EVENT, (self._next_event, kind, client_id, body, digest))
        self._next_event += 1
        self._last_hash = digest

    def _record_one(self, news: News) -> None:
        client_id = news.order.client_id
        facts = _facts_row(news.facts)
        fill = None if news.fill is None else _fill_row(news.fill, client_id)
        fee = None if news.fee is None else _fill_row(news.fee, client_id)
        self._append("news", client_id, _encode_json([facts, fill, fee]))
        if fill is not None:
            self._execute(_INSERT_FILL, fill)
        if fee is not None:
            self._execute(_UPDATE_FEE, (fee[7], fee[8], *fee[:3]))
        executed = plain(max(news.facts.reported, news.filled))
        self._execute(_UPDATE_ORDER, (news.state, executed, _encode_json(facts), client_id))

    def _read_order(self, row: Sequence[Any]) -> Order:
        client_id, slot, symbol, side, kind, price, quantity, sent_ms, _, _, facts = row
        order = Order(
            client_id,
            slot,
            symbol,
            side,
            None if price is None else Decimal(price),
            Decimal(quantity),
            kind,
            sent_ms,
        )
        if facts is not None:
            order.apply(News(order, _facts_of(json.loads(facts))))
        fills = self._execute("SELECT * FROM fill WHERE client_id = ?", (client_id,))
        for fill in fills.fetchall():
            order.apply(News(order, order.facts, fill=_fill_of(fill)))
        return order


def verify(path: str | os.PathLike[str]) -> JournalReport:
    """Replay a journal's events and compare the outcome with the state it holds.

    Every order's state, executed quantity and fills, and the realized profit and fees must come out
    as stored, and the chain of hashes must hold. Reading needs no lock.

    Raises
    ------
    nkfast.errors.JournalError
        The file cannot be read.
    """
    file = Path(path)
    if not file.is_file():
        raise JournalError(str(file), "does not exist")
    store: sqlite3.Connection | None = None
    try:
        store = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(store):
            store.execute("BEGIN")
            version = store.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise JournalCorruptError(str(file), f"has schema version {version}")
            return _Replay(store).report()
    except sqlite3.DatabaseError as error:
        raise JournalCorruptError(str(file), f"cannot be read: {error}") from error


class _Replay:
    """Plays the events of a journal into fresh orders and a fresh profit."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        self._orders: dict[str, Order] = {}
        self._profit: Profit | None = None
        self._differences: list[str] = []
        self._play: Mapping[str, Callable[[str, str], None]] = {
            "intent": self._intent,
            "news": self._news,
        }

    def report(self) -> JournalReport:
        self._replay()
        self._compare_orders()
        self._compare_fills()
        self._compare_profit()
        fills = sum(len(order.fills) for order in self._orders.values())
        return JournalReport(not self._differences, len(self._orders), fills, self._differences)

    def _differ(self, text: str) -> None:
        self._differences.append(text)

    def _replay(self) -> None:
        last, expected = b"", 1
        rows = self._store.execute("SELECT n, kind, client_id, body, hash FROM event ORDER BY n")
        for number, kind, client_id, body, digest in rows:
            if number != expected:
                self._differ(f"event {expected} is missing")
            if _chain(last, kind, client_id, body) != digest:
                self._differ(f"event {number} ({kind}) does not continue the chain of hashes")
            last, expected = digest, number + 1
            play = self._play.get(kind)
            if play is None:
                continue  # boot and halt change no order
            try:
                play(client_id, body)
            except (NkfastError, KeyError, ValueError, ArithmeticError, AssertionError) as error:
                self._differ(f"event {number} ({kind}) cannot be played: {error!r}")

    def _intent(self, client_id: str, body: str) -> None:
        slot, symbol, side, kind, price, quantity, sent_ms = json.loads(body)
        if client_id in self._orders:
            raise ValueError(f"a second intent {client_id}")
        self._orders[client_id] = Order(
            client_id,
            slot,
            symbol,
            side,
            None if price is None else Decimal(price),
            Decimal(quantity),
            kind,
            sent_ms,
        )
        if self._profit is None:
            self._profit = Profit(*symbol.split("/"))

    def _news(self, client_id: str, body: str) -> None:
        order = self._orders[client_id]
        facts_row, fill_row, fee_row = json.loads(body)
        facts = _facts_of(facts_row)
        if facts.reported < order.facts.reported or order.facts.is_accepted > facts.is_accepted:
            raise ValueError(f"order {client_id} went back")
        fill = None if fill_row is None else _fill_of(fill_row)
        fee = None if fee_row is None else _fill_of(fee_row)
        assert self._profit is not None
        if fill is not None:
            if (fill.trade_id, fill.order_id) in order.fills:
                raise ValueError(f"fill {fill.trade_id} twice")
            self._profit = self._profit.after_fill(fill)
        if fee is not None:
            known = order.fills[fee.trade_id, fee.order_id]
            self._profit = self._profit.after_fee(known, fee)
        order.apply(News(order, facts, fill, fee))

    def _compare_orders(self) -> None:
        stored = {row[0]: row for row in self._store.execute("SELECT * FROM orders")}
        for client_id in self._orders.keys() - stored.keys():
            self._differ(f"order {client_id} has an intent and no row")
        for client_id in stored.keys() - self._orders.keys():
            self._differ(f"order {client_id} has a row and no intent")
        for client_id, order in self._orders.items():
            if client_id not in stored:
                continue
            row = stored[client_id]
            replayed = (
                client_id,
                order.slot,
                order.symbol,
                order.side,
                order.type,
                None if order.price is None else plain(order.price),
                plain(order.quantity),
                order.sent_ms,
                order.state,
                plain(order.executed),
            )
            facts = Facts() if row[-1] is None else _facts_of(json.loads(row[-1]))
            if row[:-1] != replayed or facts != order.facts:
                self._differ(f"order {client_id}: stored {row}, replayed {replayed}")

    def _compare_fills(self) -> None:
        replayed = {
            (client_id, *key): fill
            for client_id, order in self._orders.items()
            for key, fill in order.fills.items()
        }
        stored = {row[:3]: _fill_of(row) for row in self._store.execute("SELECT * FROM fill")}
        for key in replayed.keys() | stored.keys():
            ours, theirs = replayed.get(key), stored.get(key)
            if ours != theirs:
                self._differ(f"fill {key[1]}: stored {theirs}, replayed {ours}")

    def _compare_profit(self) -> None:
        row = self._store.execute("SELECT value FROM state WHERE key = ?", (_PROFIT,)).fetchone()
        stored = None if row is None else Profit.from_json(json.loads(row[0]))
        replayed = self._profit if self._profit is not None and self._profit.fills else None
        if stored != replayed:
            self._differ(f"profit: stored {stored}, replayed {replayed}")
