"""What a journal holds, row by row, for who lists and exports it; its instance may be running."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nkfast.trading.journal_reading import reading
from nkfast.trading.journal_rows import PROFIT
from nkfast.trading.orders import OrderState

__all__ = ["describe_journal", "list_fills", "list_orders"]

_ORDER_COLUMNS = (
    *("client_id", "slot", "symbol", "side", "type", "price", "quantity", "executed", "state"),
    "sent_ms",
)
_FILL_COLUMNS = (
    *("time_ms", "trade_id", "order_id", "client_id", "symbol", "side", "price", "quantity"),
    *("fee", "fee_asset", "is_maker"),
)
_OPEN = tuple(str(state) for state in OrderState if state.is_open)
_MARKS = ", ".join("?" * len(_OPEN))


def list_orders(path: str | os.PathLike[str], *, only_open: bool) -> Iterator[dict[str, Any]]:
    """Give every order, or those that may still trade, oldest first; money is text."""
    where, values = (f" WHERE state IN ({_MARKS})", _OPEN) if only_open else ("", ())
    query = f"SELECT {', '.join(_ORDER_COLUMNS)} FROM orders{where} ORDER BY sent_ms, client_id"
    with reading(path) as store:
        for row in store.execute(query, values):
            yield dict(zip(_ORDER_COLUMNS, row, strict=True))


def list_fills(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Give every fill, oldest first; a fee that nobody told is None, which is not zero."""
    query = f"SELECT {', '.join(_FILL_COLUMNS)} FROM fill ORDER BY time_ms, trade_id"
    with reading(path) as store:
        for row in store.execute(query):
            record = dict(zip(_FILL_COLUMNS, row, strict=True))
            record["is_maker"] = None if row[-1] is None else bool(row[-1])
            yield record


def describe_journal(path: Path) -> dict[str, Any]:
    """Return counts, the newest state of the instance's life, and the profit of each market."""
    with reading(path) as store:
        orders, is_open = store.execute(
            f"SELECT count(*), coalesce(sum(state IN ({_MARKS})), 0) FROM orders", _OPEN
        ).fetchone()
        fills = store.execute("SELECT count(*) FROM fill").fetchone()[0]
        life = store.execute("SELECT value FROM state WHERE key = 'life'").fetchone()
        profits = store.execute(
            "SELECT key, value FROM state WHERE key LIKE ?", (f"{PROFIT}%",)
        ).fetchall()
    state, cause, _ = ("", "", 0) if life is None else json.loads(life[0])
    return {
        "life": state,
        "reason": cause,
        "orders": orders,
        "open_orders": is_open,
        "fills": fills,
        "profit": {key.removeprefix(PROFIT): json.loads(value) for key, value in profits},
    }
