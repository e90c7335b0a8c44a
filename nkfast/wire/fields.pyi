from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

__all__ = [
    "Object",
    "OrderState",
    "Side",
    "read_amount",
    "read_flag",
    "read_integer",
    "read_moment_ms",
    "read_money",
    "read_price",
    "read_side",
    "read_state",
    "read_symbol",
    "read_text",
    "read_time_ms",
    "require_money",
    "require_text",
]

Object = Mapping[str, Any]
Side = Literal["buy", "sell"]

class OrderState(StrEnum):
    NEW = "new"
    ACTIVE = "active"
    PARTLY_FILLED = "partly_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"
    @property
    def is_final(self) -> bool: ...

def read_text(data: Object, *names: str) -> str: ...
def require_text(data: Object, *names: str) -> str: ...
def read_money(data: Object, *names: str) -> Decimal | None: ...
def read_price(data: Object, *names: str) -> Decimal | None: ...
def read_amount(data: Object, *names: str) -> Decimal: ...
def require_money(data: Object, *names: str) -> Decimal: ...
def read_integer(data: Object, *names: str) -> int | None: ...
def read_time_ms(data: Object, *names: str) -> int: ...
def read_moment_ms(data: Object, *names: str) -> int: ...
def read_flag(data: Object, *names: str, default: bool = False) -> bool: ...
def read_side(data: Object, *names: str) -> Side: ...
def read_state(data: Object, *names: str) -> OrderState: ...
def read_symbol(data: Object) -> str: ...
