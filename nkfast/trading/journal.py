"""The journal: what was intended and what was learned, durable before it counts.

One SQLite file in WAL mode. An intent is written before the first byte of its order is sent; a
fill, the profit and the strategy's state are one transaction. Any error of the store is a
`JournalError`, and after one the journal takes nothing more: trading stops.

The table ``event`` is append-only, each row chained to the one before it by a hash. The other
tables hold the newest state; `verify` replays the events and compares.

Every write is a transaction of its own, or part of a batch: between `hold` and `commit` writes
are gathered and become durable together. Nothing may leave the process in between. A batch of
nothing but intents takes the short way (`intents`) where it has not to survive the loss of power:
`commit` makes it durable, and the store takes it up by `settle`, when its orders have left.
"""

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from nkfast.errors import JournalCorruptError, JournalError
from nkfast.trading.exact import plain
from nkfast.trading.intents import (
    SET_STATE,
    STRATEGY,
    IntentFile,
    Promise,
    take_up,
    write_intents,
)
from nkfast.trading.journal_file import (
    DAMAGE,
    Durability,
    FileLock,
    check_file,
    connect,
    make_file,
    make_power_proof,
    prepare,
)
from nkfast.trading.journal_replay import JournalReport, replay, verify
from nkfast.trading.journal_rows import (
    PROFIT,
    chain,
    encode_json,
    encode_row,
    facts_of,
    facts_row,
    fill_of,
    fill_row,
    intent_of,
    intent_row,
)
from nkfast.trading.ledger import Profit
from nkfast.trading.orders import MARKS, IdSource, News, Order, instance_code

__all__ = ["Durability", "Journal", "JournalReport", "Life", "Recovered", "verify"]

#: Finished orders are read back at a start for this long, so that late news is understood.
_FINISHED_KEPT_MS = 24 * 3600 * 1000
#: Newest reasons kept with their time; the counters keep all.
REASONS_KEPT = 10_000
#: A journal with at most so many events, a second's work, is replayed whole when it is opened.
REPLAYED_EVENTS_MAX = 50_000

_INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?)"
_UPDATE_ORDER = "UPDATE orders SET state = ?, executed = ?, facts = ? WHERE client_id = ?"
_INSERT_FILL = "INSERT INTO fill VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE_FEE = (
    "UPDATE fill SET fee = ?, fee_asset = ? WHERE client_id = ? AND trade_id = ? AND order_id = ?"
)
_SET_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_ADD_REASON = (
    "INSERT INTO reason VALUES (?, ?, ?) ON CONFLICT (code)"
    " DO UPDATE SET count = count + excluded.count, detail = excluded.detail"
)
_LOG_REASON = "INSERT INTO reason_log (time_ms, code, detail) VALUES (?, ?, ?)"
_FORGET_REASONS = "DELETE FROM reason_log WHERE n <= (SELECT max(n) FROM reason_log) - ?"
_LIFE = "life"
_KEPT = "kept:"
#: Under this name and its number ``meta`` has the mark of every start.
_START = "start:"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an earlier run left behind.

    ``orders`` holds every open order and those that were sent in the last 24 hours, oldest first;
    ``profits`` are by symbol.
    """

    orders: list[Order]
    profits: Mapping[str, Profit]
    strategy_state: Mapping[str, Any] | None
    cursor_ms: int | None


class Life(NamedTuple):
    """In which state an instance is (``"running"``, ``"halted"``, ...), why, and since when."""

    state: str
    cause: str
    time_ms: int


class Journal:
    """The durable memory of one instance. Made by `open`; one holder at a time."""

    def __init__(
        self,
        path: Path,
        instance: str,
        store: sqlite3.Connection,
        lock: FileLock,
        intents: IntentFile,
    ) -> None:
        self.path = path
        self.instance = instance
        self.boot = 0
        self._starts: dict[int, int] = {}  # the marks, by boot
        self._store = store
        self._lock = lock
        self._intents = intents
        # To sync a record takes as long as to sync the store, and that would follow.
        self._may_promise = True
        self._promises: list[Promise] = []  # intents that the store has not taken up
        self._execute = store.execute
        self._chosen: Durability | None = None
        self._process = os.getpid()
        self._failed_by = ""  # why it takes nothing more
        self._is_closed = False
        self._is_held = False
        self._next_event = 1
        self._last_hash = b""

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        instance: str,
        durability: Durability | None = None,
        mark: int | None = None,
    ) -> Self:
        """Open or make a journal, lock it, check it, and count one more boot.

        Parameters
        ----------
        path : path
            The file; its folder is made when it is missing. It and its lock file
            (``path.lock``) are readable by their owner only.
        instance : str
            Name of the instance; a journal belongs to one.
        durability : {"process", "power"}, optional
            What a written intent survives. Where it is not said: "power" for an engine in live
            mode, "process" for every other use.
        mark : int, optional
            What tells this start's client ids from those of every start that this journal does not
            know, 0 .. `MARKS` - 1; drawn at random when it is not given. Give one where a run is to
            be repeated exactly.

        Raises
        ------
        nkfast.errors.JournalLockedError
            Another process has it open; the message names the process.
        nkfast.errors.JournalCorruptError
            The file is no journal, of a later version, of another instance, or damaged.
        nkfast.errors.JournalError
            It cannot be opened or written, or others could.
        """
        file = Path(path)
        code = instance_code(instance)
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock.of(file)
        except OSError as error:
            raise JournalError(str(file), f"cannot be locked: {error}") from error
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            if not check_file(file):
                make_file(file, code)
            store = undo.enter_context(contextlib.closing(connect(file, durability or "process")))
            intents = undo.enter_context(contextlib.closing(IntentFile(file)))
            undo.pop_all()
        journal = cls(file, code, store, lock, intents)
        journal._chosen = durability
        try:
            prepare(file, store, code)
            if durability == "power":
                journal._survive_power()
            journal._take_up()
            journal._check()
            journal._count_boot(secrets.randbelow(MARKS) if mark is None else mark)
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Close the store and release the lock. Closing twice does nothing.

        A batch that was not committed is lost: close only after `commit`. What was not settled the
        next holder takes up.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._store.close()
            self._intents.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def id_source(self) -> IdSource:
        """Return what makes the client ids of this start; a start has one."""
        return IdSource(self.instance, self.boot, self._starts[self.boot], self._starts)

    def expect_real_money(self) -> None:
        """Make writes survive the loss of power from now on, unless whoever opened it chose."""
        if self._chosen is None:
            self._check_open()
            self._survive_power()

    # Batches -----------------------------------------------------------------------------------

    def hold(self) -> None:
        """Gather what is written from now on, until `commit`. Holding twice does nothing."""
        if not self._is_held:
            self.settle()
            self._check_open()
            self._is_held = True

    def commit(self) -> bool:
        """Make durable what was gathered; without a batch it does nothing.

        Returns
        -------
        bool
            Whether there was something.

        Raises
        ------
        nkfast.errors.JournalError
            It could not be written, or a part of it could not: all of it is lost.
        """
        self._check_open()
        if not self._is_held:
            return False
        self._is_held = False
        has_written = self._store.in_transaction or bool(self._promises)
        try:
            if self._store.in_transaction:
                self._execute("COMMIT")
            elif self._promises and not (
                self._may_promise and self._intents.write(self._promises, self._last_hash)
            ):
                self.settle()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return has_written

    def settle(self) -> None:
        """Store the intents that `commit` made durable, if there are any.

        Raises
        ------
        nkfast.errors.JournalError
            They could not be stored. They are durable all the same: the next `open` stores them.
        """
        if self._promises and not self._is_held:
            with self._transaction():
                pass  # a transaction begins with what was promised

    # Writing -----------------------------------------------------------------------------------

    def intend(self, order: Order, strategy_state: str | None = None) -> None:
        """Write an order's intent. Its first byte may be sent when it is durable, not before.

        ``strategy_state``, when given, is stored in the same transaction.
        """
        promise = intent_row(order), strategy_state
        if self._is_held and not self._store.in_transaction:  # `hold` saw that it is open
            self._promises.append(promise)
        else:
            with self._transaction():
                self._write_intents([promise])

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
                row = (PROFIT + profit.symbol, encode_json(profit.as_json()))
                self._execute(SET_STATE, row)
            if strategy_state is not None:
                self._execute(SET_STATE, (STRATEGY, strategy_state))

    def set_strategy_state(self, strategy_state: str) -> None:
        """Store the strategy's state by itself."""
        with self._transaction():
            self._execute(SET_STATE, (STRATEGY, strategy_state))

    def set_cursor(self, cursor_ms: int) -> None:
        """Store up to when the venue's executions are known to be complete, Unix milliseconds."""
        with self._transaction():
            self._execute(_SET_META, ("cursor_ms", str(cursor_ms)))

    def keep(self, name: str, value: object) -> None:
        """Store a small value of JSON under a name, in place of the one before."""
        with self._transaction():
            self._execute(SET_STATE, (_KEPT + name, encode_json(value)))

    def add_reasons(
        self,
        counts: Mapping[str, tuple[int, str]],
        newest: Iterable[tuple[int, str, str]],
    ) -> None:
        """Add actions that were not taken.

        Parameters
        ----------
        counts : mapping of str to (int, str)
            By code: how many more, and the newest numbers.
        newest : iterable of (int, str, str)
            Unix milliseconds, code and numbers, oldest first; `REASONS_KEPT` are kept in all.
        """
        with self._transaction():
            for code, (count, detail) in counts.items():
                self._execute(_ADD_REASON, (code, count, detail))
            for reason in newest:
                self._execute(_LOG_REASON, reason)
            self._execute(_FORGET_REASONS, (REASONS_KEPT,))

    def note_life(self, state: str, cause: str, now_ms: int) -> None:
        """Write in which state the instance is from now on, and why."""
        body = encode_json([state, cause, now_ms])
        with self._transaction():
            self._append("life", "", body)
            self._execute(SET_STATE, (_LIFE, body))

    def note_plan(self, outcome: Mapping[str, Any]) -> None:
        """Write what became of a plan; `nkfast.trading.legs.newest_plans` reads it."""
        with self._transaction():
            self._append("plan", "", encode_json(outcome))

    # Reading back ------------------------------------------------------------------------------

    def recover(self, now_ms: int) -> Recovered:
        """Return what earlier runs left behind."""
        rows = self._rows(
            "SELECT * FROM orders WHERE sent_ms >= ?"
            " OR state IN ('sending', 'unknown', 'live', 'closing') ORDER BY client_id",
            now_ms - _FINISHED_KEPT_MS,
        )
        orders = [self._read_order(row) for row in rows]
        state = dict(self._rows("SELECT key, value FROM state"))
        cursor = self._rows("SELECT value FROM meta WHERE key = 'cursor_ms'")
        return Recovered(
            orders,
            {
                key.removeprefix(PROFIT): Profit.from_json(json.loads(value))
                for key, value in state.items()
                if key.startswith(PROFIT)
            },
            json.loads(state[STRATEGY]) if STRATEGY in state else None,
            int(cursor[0][0]) if cursor else None,
        )

    def find_order(self, client_id: str) -> Order | None:
        """Read one order back, however old."""
        rows = self._rows("SELECT * FROM orders WHERE client_id = ?", client_id)
        return self._read_order(rows[0]) if rows else None

    @property
    def log_bytes(self) -> int:
        """How much was written and is not in the file itself yet: it grows while somebody reads."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def find_plan(self, number: int) -> dict[str, Any] | None:
        """Read back what was last noted of a plan that has ended."""
        rows = self._rows(
            "SELECT body FROM event WHERE kind = 'plan' AND json_extract(body, '$.number') = ?"
            " ORDER BY n DESC LIMIT 1",
            number,
        )
        return json.loads(rows[0][0]) if rows else None

    def sent_since(self, time_ms: int) -> list[Order]:
        """Return the orders that were sent since a time, as they were intended, oldest first."""
        rows = self._rows(
            "SELECT client_id, slot, symbol, side, type, price, quantity, sent_ms FROM orders"
            " WHERE sent_ms >= ? ORDER BY client_id",
            time_ms,
        )
        return [intent_of(row) for row in rows]

    def kept(self, name: str) -> Any:
        """Return what was last kept under a name; None when nothing was."""
        rows = self._rows("SELECT value FROM state WHERE key = ?", _KEPT + name)
        return json.loads(rows[0][0]) if rows else None

    def life(self) -> Life | None:
        """Return the newest `note_life`; None before the first."""
        rows = self._rows("SELECT value FROM state WHERE key = ?", _LIFE)
        return Life(*json.loads(rows[0][0])) if rows else None

    def _rows(self, query: str, *values: object) -> list[Any]:
        if self._promises:
            with self._transaction():
                pass
        try:
            return self._execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _read_order(self, row: Sequence[Any]) -> Order:
        *intent, _state, _executed, facts, sent_ns, sent_boot = row
        order = intent_of([*intent, sent_ns, sent_boot])
        if facts is not None:
            order.apply(News(order, facts_of(json.loads(facts))))
        for fill in self._rows("SELECT * FROM fill WHERE client_id = ?", order.client_id):
            order.apply(News(order, order.facts, fill=fill_of(fill)))
        return order

    # Opening -----------------------------------------------------------------------------------

    def _survive_power(self) -> None:
        self._may_promise = False
        try:
            make_power_proof(self.path, self._store)
        except (sqlite3.Error, OSError) as error:
            raise self._failure(error) from error

    def _check(self) -> None:
        """Refuse a journal whose state does not follow from its events, while that is quick."""
        try:
            events = self._execute("SELECT coalesce(max(n), 0) FROM event").fetchone()[0]
            if events > REPLAYED_EVENTS_MAX:
                return
            differences = replay(self._store).differences
        except DAMAGE as error:
            raise JournalCorruptError(str(self.path), f"cannot be read: {error}") from error
        if differences:
            raise JournalCorruptError(
                str(self.path),
                f"contradicts itself: {differences[0]}; nkfast journal verify shows all of it",
            )

    def _take_up(self) -> None:
        try:
            take_up(self._store, self.path)
        except DAMAGE as error:
            raise JournalCorruptError(str(self.path), f"cannot be read: {error}") from error
        except OSError as error:
            raise JournalError(str(self.path), f"its intents cannot be read: {error}") from error

    def _count_boot(self, mark: int) -> None:
        meta = dict(self._rows("SELECT key, value FROM meta"))
        last = self._rows("SELECT n, hash FROM event ORDER BY n DESC LIMIT 1")
        if last:
            self._next_event, self._last_hash = last[0][0] + 1, last[0][1]
        self.boot = int(meta.get("boot", "0")) + 1
        self._starts = {
            int(key.removeprefix(_START)): int(value)
            for key, value in meta.items()
            if key.startswith(_START)
        }
        self._starts[self.boot] = mark
        with self._transaction():
            self._execute(_SET_META, ("boot", str(self.boot)))
            self._execute(_SET_META, (f"{_START}{self.boot}", str(mark)))
            self._append("boot", "", encode_json([self.boot, mark]))

    # Transactions ------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._failed_by or self._is_closed:
            state = f"failed before ({self._failed_by})" if self._failed_by else "is closed"
            raise JournalError(str(self.path), f"{state} and takes nothing more")
        if os.getpid() != self._process:
            # A fork shares the open file, and with it the lock: that would exclude nobody.
            raise JournalError(
                str(self.path), f"is process {self._process}'s, of which this one is a fork"
            )

    def _begin(self) -> None:
        try:
            self._execute("BEGIN IMMEDIATE")
            promises, self._promises = self._promises, []
            self._write_intents(promises)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._check_open()
        is_own = not self._is_held
        if not self._store.in_transaction:
            self._begin()
        try:
            yield
            if is_own:
                self._execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failure(error) from error
        except BaseException as error:
            # Half a transaction is worth nothing, and what it was part of is lost with it.
            self._failure(error)
            raise

    def _failure(self, error: BaseException) -> JournalError:
        self._failed_by = str(error) or type(error).__name__
        self._is_held = False
        self._promises = []
        with contextlib.suppress(sqlite3.Error):
            if self._store.in_transaction:
                self._execute("ROLLBACK")
        return JournalError(str(self.path), f"{error}; trading stops")

    def _write_intents(self, promises: Sequence[Promise]) -> None:
        self._next_event, self._last_hash = write_intents(
            self._store, promises, self._next_event, self._last_hash
        )

    def _append(self, kind: str, client_id: str, body: str) -> None:
        digest = chain(self._last_hash, kind, client_id, body)
        self._execute(_INSERT_EVENT, (self._next_event, kind, client_id, body, digest))
        self._next_event += 1
        self._last_hash = digest

    def _record_one(self, news: News) -> None:
        client_id = news.order.client_id
        facts = facts_row(news.facts)
        fill = None if news.fill is None else fill_row(news.fill, client_id)
        fee = None if news.fee is None else fill_row(news.fee, client_id)
        self._append("news", client_id, encode_row([facts, fill, fee]))
        if fill is not None:
            self._execute(_INSERT_FILL, fill)
        if fee is not None:
            self._execute(_UPDATE_FEE, (fee[7], fee[8], *fee[:3]))
        executed = plain(max(news.facts.reported, news.filled))
        self._execute(_UPDATE_ORDER, (news.state, executed, encode_row(facts), client_id))
