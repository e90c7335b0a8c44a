"""Replays a journal's events and compares the outcome with the state that it holds."""

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nkfast.errors import NkfastError
from nkfast.trading.exact import plain
from nkfast.trading.journal_reading import reading
from nkfast.trading.journal_rows import PROFIT, chain, facts_of, fill_of, intent_of, intent_row
from nkfast.trading.ledger import Profit
from nkfast.trading.orders import Facts, News, Order

__all__ = ["JournalReport", "replay", "verify"]


#: What values raise that are not what was written.
_UNREADABLE = (
    NkfastError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
)


@dataclass(frozen=True, slots=True)
class JournalReport:
    """What `verify` found: how much there is, and where state and events differ."""

    ok: bool
    orders: int
    fills: int
    differences: list[str] = field(default_factory=list)


def verify(path: str | os.PathLike[str]) -> JournalReport:
    """Replay a journal's events and compare the outcome with the state it holds.

    Every order's state, executed quantity and fills, and the realized profit and fees must come out
    as stored, and the chain of hashes must hold. Reading needs no lock.

    Raises
    ------
    nkfast.errors.JournalError
        The file cannot be read.
    """
    with reading(path) as store:
        return replay(store)


def replay(store: sqlite3.Connection) -> JournalReport:
    """Replay the events of an open store and compare; see `verify`."""
    return _Replay(store).report()


class _Replay:
    """Plays the events of a journal into fresh orders and fresh profits."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        self._orders: dict[str, Order] = {}
        self._profits: dict[str, Profit] = {}
        self._differences: list[str] = []
        self._play: Mapping[str, Callable[[str, str], None]] = {
            "intent": self._intent,
            "news": self._news,
        }

    def report(self) -> JournalReport:
        for step in (
            self._replay,
            self._compare_orders,
            self._compare_fills,
            self._compare_profits,
        ):
            try:
                step()
            except _UNREADABLE as error:
                self._differ(f"a row cannot be read: {error!r}")
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
            if chain(last, kind, client_id, body) != digest:
                self._differ(f"event {number} ({kind}) does not continue the chain of hashes")
            last, expected = digest, number + 1
            play = self._play.get(kind)
            if play is None:
                continue  # boot, life and plan change no order
            try:
                play(client_id, body)
            except _UNREADABLE as error:
                self._differ(f"event {number} ({kind}) cannot be played: {error!r}")

    def _intent(self, client_id: str, body: str) -> None:
        if client_id in self._orders:
            raise ValueError(f"a second intent {client_id}")
        order = self._orders[client_id] = intent_of([client_id, *json.loads(body)])
        if order.symbol not in self._profits:
            base, quote = order.symbol.split("/")
            self._profits[order.symbol] = Profit(base, quote)

    def _news(self, client_id: str, body: str) -> None:
        order = self._orders[client_id]
        facts_row, fill_row, fee_row = json.loads(body)
        facts = facts_of(facts_row)
        if facts.reported < order.facts.reported or order.facts.is_accepted > facts.is_accepted:
            raise ValueError(f"order {client_id} went back")
        fill = None if fill_row is None else fill_of(fill_row)
        fee = None if fee_row is None else fill_of(fee_row)
        profit = self._profits[order.symbol]
        if fill is not None:
            if (fill.trade_id, fill.order_id) in order.fills:
                raise ValueError(f"fill {fill.trade_id} twice")
            profit = profit.after_fill(fill)
        if fee is not None:
            known = order.fills[fee.trade_id, fee.order_id]
            profit = profit.after_fee(known, fee)
        self._profits[order.symbol] = profit
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
            *intent, state, executed, facts_text, sent_ns, sent_boot = row
            facts = Facts() if facts_text is None else facts_of(json.loads(facts_text))
            replayed = (*intent_row(order), order.state, plain(order.executed))
            if (*intent, sent_ns, sent_boot, state, executed) != replayed or facts != order.facts:
                self._differ(f"order {client_id}: stored {row}, replayed {replayed}")

    def _compare_fills(self) -> None:
        replayed = {
            (client_id, *key): fill
            for client_id, order in self._orders.items()
            for key, fill in order.fills.items()
        }
        stored = {row[:3]: fill_of(row) for row in self._store.execute("SELECT * FROM fill")}
        for key in replayed.keys() | stored.keys():
            ours, theirs = replayed.get(key), stored.get(key)
            if ours != theirs:
                self._differ(f"fill {key[1]}: stored {theirs}, replayed {ours}")

    def _compare_profits(self) -> None:
        rows = self._store.execute(
            "SELECT key, value FROM state WHERE key LIKE ?", (PROFIT + "%",)
        ).fetchall()
        stored = {
            key.removeprefix(PROFIT): Profit.from_json(json.loads(value)) for key, value in rows
        }
        replayed = {symbol: profit for symbol, profit in self._profits.items() if profit.fills}
        for symbol in stored.keys() | replayed.keys():
            ours, theirs = replayed.get(symbol), stored.get(symbol)
            if ours != theirs:
                self._differ(f"profit on {symbol}: stored {theirs}, replayed {ours}")
