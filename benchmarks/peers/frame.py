"""How one would get from bytes to a book instead: a JSON reader, then Decimal."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import simdjson

__all__ = ["decode_json", "decode_msgspec", "decode_orjson", "decode_simdjson"]

Levels = list[tuple[Decimal, Decimal]]
Decoder = Callable[[bytes], tuple[Levels, Levels]]


def _levels(items: list[dict[str, Any]]) -> Levels:
    return [(Decimal(item["price"]), Decimal(item["quantity"])) for item in items]


def decode_json(frame: bytes) -> tuple[Levels, Levels]:
    """The standard library."""
    params = json.loads(frame)["params"]
    return _levels(params["bids"]), _levels(params["asks"])


def decode_orjson(frame: bytes) -> tuple[Levels, Levels]:
    """The fastest reader into dicts."""
    params = orjson.loads(frame)["params"]
    return _levels(params["bids"]), _levels(params["asks"])


_simdjson = simdjson.Parser()


def decode_simdjson(frame: bytes) -> tuple[Levels, Levels]:
    """pysimdjson, which makes Python objects only of what is asked for."""
    params = _simdjson.parse(frame)["params"]
    levels = _levels(params["bids"]), _levels(params["asks"])
    del params  # the parser is busy as long as anything refers to its document
    return levels


class _Level(msgspec.Struct):
    price: Decimal
    quantity: Decimal


class _Params(msgspec.Struct):
    symbol: str
    sequence: int
    bids: list[_Level]
    asks: list[_Level]


class _Message(msgspec.Struct):
    method: str
    params: _Params


_decode = msgspec.json.Decoder(_Message).decode


def decode_msgspec(frame: bytes) -> tuple[Levels, Levels]:
    """The fastest reader into typed objects; it makes the Decimals itself."""
    params = _decode(frame).params
    return (
        [(level.price, level.quantity) for level in params.bids],
        [(level.price, level.quantity) for level in params.asks],
    )
