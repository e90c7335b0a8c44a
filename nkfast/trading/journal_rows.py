"""Rows of the journal: what an event's body and a table's row are made of, and the chain of hashes.

Money is written as plain decimal text, so that it comes back as it was.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from nkfast.trading.exact import plain
from nkfast.trading.orders import Facts, Order, Outcome
from nkfast.venue.port import Execution, VenueStatus
from nkfast.wire import codec

__all__ = [
    "PROFIT",
    "chain",
    "encode_json",
    "encode_row",
    "facts_of",
    "facts_row",
    "fill_of",
    "fill_row",
    "intent_of",
    "intent_row",
]

#: Among the states, the profit of a market has this and the symbol for its key.
PROFIT = "profit:"

encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def encode_row(row: Sequence[Any]) -> str:
    """Return a row as JSON, the quick way: texts, numbers of at most 64 bits, lists of them."""
    return codec.encode_json(row).decode()


def chain(last: bytes, kind: str, client_id: str, body: str) -> bytes:
    return blake2b(f"{kind}\0{client_id}\0{body}".encode(), digest_size=16, key=last).digest()


def facts_row(facts: Facts) -> list[Any]:
    return [
        facts.outcome,
        facts.reason,
        facts.order_id,
        facts.is_accepted,
        plain(facts.reported),
        facts.final,
        facts.cancel_wanted,
    ]


def facts_of(row: Sequence[Any]) -> Facts:
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


def fill_row(fill: Execution, client_id: str) -> list[Any]:
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


def fill_of(row: Sequence[Any]) -> Execution:
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


def intent_row(order: Order) -> tuple[Any, ...]:
    return (
        order.client_id,
        order.slot,
        order.symbol,
        order.side,
        order.type,
        None if order.price is None else plain(order.price),
        plain(order.quantity),
        order.sent_ms,
        order.sent_ns,
        order.sent_boot,
    )


def intent_of(row: Sequence[Any]) -> Order:
    # Those of version 1 end before the boot clock.
    client_id, slot, symbol, side, kind, price, quantity, sent_ms, *boot = row
    return Order(
        client_id,
        slot,
        symbol,
        side,
        None if price is None else Decimal(price),
        Decimal(quantity),
        kind,
        sent_ms,
        *boot,
    )
