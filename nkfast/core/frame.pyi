from collections.abc import Sequence
from enum import IntEnum
from typing import final

from nkfast.core.book import OrderBook
from nkfast.core.market import Market

class FrameKind(IntEnum):
    OTHER = 0  # not market data: handed on untouched
    SNAPSHOT = 1
    UPDATE = 2
    DUPLICATE = 3  # an old sequence, dropped
    HELD = 4  # ahead of its turn, kept in the reorder buffer
    GAP = 5  # the book is stale now and wants a new snapshot
    STALE = 6  # an update for a book that is not live, dropped
    TRADES = 7
    TICKER = 8
    UNKNOWN_MARKET = 9  # market data for a symbol nobody asked for
    REJECTED = 10  # malformed or impossible; the book is as it was

@final
class FrameEvent:
    @property
    def kind(self) -> FrameKind: ...
    @property
    def market_index(self) -> int: ...  # -1 where there is none
    @property
    def top_changed(self) -> bool: ...

@final
class FrameDecoder:
    def __init__(
        self,
        markets: Sequence[Market],
        *,
        reorder_limit: int = 50,
        reorder_window_ns: int = 2_000_000_000,
        capacity: int = 65_536,
        max_frame_bytes: int = 16_777_216,
    ) -> None: ...
    @property
    def markets(self) -> tuple[Market, ...]: ...
    @property
    def counters(self) -> dict[str, int]: ...  # by kind, and rejections by reason
    def book(self, symbol: str) -> OrderBook: ...
    def index(self, symbol: str) -> int: ...
    def feed(self, buffer: bytes | bytearray | memoryview, now_ns: int = 0) -> FrameEvent: ...
    def mark_stale(self) -> None: ...  # every book: the connection is gone
