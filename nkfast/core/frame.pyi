from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, final

from nkfast.core.book import OrderBook
from nkfast.core.market import Market, Side

class FrameKind(IntEnum):
    OTHER = 0  # not market data: handed on untouched
    SNAPSHOT = 1
    UPDATE = 2
    DUPLICATE = 3  # an old sequence, dropped
    HELD = 4  # ahead of its turn, kept in the reorder buffer
    GAP = 5  # the book is stale now and wants a new snapshot
    STALE = 6  # an update for a book that is not live, kept for the snapshot to come
    TRADES = 7
    TICKER = 8
    UNKNOWN_MARKET = 9  # market data for a symbol nobody asked for
    REJECTED = 10  # malformed or impossible; the book is as it was

class FeedTrade(NamedTuple):
    trade_id: str
    ticks: int
    lots: int
    side: Side
    time_ms: int | None

class FeedTicker(NamedTuple):
    last_ticks: int | None
    bid_ticks: int | None
    ask_ticks: int | None
    high_ticks: int | None
    low_ticks: int | None
    volume_lots: int | None
    sequence: int | None
    time_ms: int | None

@final
class FrameEvent:
    def __init__(self, *args: object, **kwargs: object) -> None: ...  # always a TypeError
    @property
    def kind(self) -> FrameKind: ...
    @property
    def market_index(self) -> int: ...  # -1 where there is none
    @property
    def top_changed(self) -> bool: ...

@final
class FrameDecoder:
    def __new__(
        cls,
        markets: Sequence[Market],
        *,
        reorder_limit: int = 50,
        reorder_window_ns: int = 2_000_000_000,
        capacity: int = 65_536,
        max_frame_bytes: int = 16_777_216,
    ) -> FrameDecoder: ...
    @property
    def markets(self) -> tuple[Market, ...]: ...
    @property
    def counters(self) -> dict[str, int]: ...  # by kind, and rejections by reason
    @property
    def last_trades(self) -> list[FeedTrade]: ...
    def book(self, symbol: str) -> OrderBook: ...
    def index(self, symbol: str) -> int: ...
    def ticker(self, symbol: str) -> FeedTicker | None: ...
    def feed(self, buffer: bytes | bytearray | memoryview, now_ns: int = 0) -> FrameEvent: ...
    def expire(self, now_ns: int) -> list[int]: ...
    def mark_stale(self) -> None: ...  # every book: the connection is gone
