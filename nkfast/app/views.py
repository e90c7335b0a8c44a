"""What a running engine looks like at one moment, for the screens and the summaries."""

from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Protocol

from nkfast.app.screens import BookRow, FillRow, HoldingRow, OrderRow, TradingView
from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.trading.engine import Engine
from nkfast.trading.exact import ZERO, add
from nkfast.venue.clock import RealClock

__all__ = ["Viewer", "Watched"]

_MIDS_MAX = 500
_DEPTH = 40
#: The newest reasons that a view carries.
_REASONS_MAX = 8


class Watched(Protocol):
    """What a viewer needs of a venue."""

    @property
    def markets(self) -> Mapping[str, Market]: ...
    @property
    def counters(self) -> Mapping[str, int]: ...
    def book(self, symbol: str) -> OrderBook: ...


def _time(us: float) -> str:
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1000:.1f} ms"


class Viewer:
    """Makes views of one engine, and remembers the mids between them.

    Parameters
    ----------
    engine, venue
        Started.
    mode, title, place, details : str
        For the head of the screen.
    total_s : float or None
        How long it will run; None without an end.
    counters : callable, optional
        The venue's and the connection's; the venue's alone without.
    skew_ms : callable, optional
        How far our clock is ahead of the exchange's; None while that is not known.
    """

    def __init__(
        self,
        engine: Engine,
        venue: Watched,
        *,
        mode: str,
        title: str,
        place: str,
        details: str,
        total_s: float | None,
        counters: Callable[[], Mapping[str, int]] | None = None,
        skew_ms: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._venue = venue
        self._mode = mode
        self._title = title
        self._place = place
        self._details = details
        self._total_s = total_s
        self._counters = counters if counters is not None else lambda: venue.counters
        self._skew_ms = skew_ms
        self._clock = RealClock()
        self._mids: deque[Decimal] = deque(maxlen=_MIDS_MAX)

    def view(self, elapsed_s: float) -> TradingView:
        """Return what is now."""
        engine, symbol = self._engine, self._engine.symbol
        market, book = self._venue.markets[symbol], self._venue.book(symbol)
        if book.mid is not None:
            self._mids.append(book.mid)
        orders = self._orders()
        own: dict[Decimal | None, Decimal] = {}
        for order in orders:
            own[order.price] = add(own.get(order.price, ZERO), order.quantity - order.executed)
        bids, asks = (
            [
                BookRow(price, market.lots_to_quantity(lots), own.get(price, ZERO))
                for ticks, lots in levels.tolist()
                for price in (market.ticks_to_price(ticks),)
            ]
            for levels in book.depth(_DEPTH)
        )
        summary = engine.summary()
        counters = self._counters()
        reasons = sorted(summary.reasons.items(), key=lambda item: -item[1])[:_REASONS_MAX]
        return TradingView(
            mode=self._mode,
            title=self._title,
            place=self._place,
            details=self._details,
            state=summary.life if summary.halted is None else "halted",
            symbol=symbol,
            book_state=book.state,
            bids=bids,
            asks=asks,
            orders=orders,
            fills=[FillRow.of(fill) for fill in reversed(engine.recent_fills)],
            holdings=[
                HoldingRow(asset, engine.ledger.available(asset), engine.ledger.reserved(asset))
                for asset in self._assets(market)
            ],
            reasons=dict(reasons),
            mids=tuple(self._mids),
            quote=market.quote,
            order_count=summary.orders,
            fill_count=summary.fills,
            reject_count=summary.rejects,
            unknown_count=summary.unknown_orders,
            realized=summary.realized,
            fees=summary.fees,
            equity_change=summary.equity_change,
            tick_to_order_us=summary.tick_to_order_us,
            frame_count=counters.get("connection_frames", counters.get("frames", 0)),
            elapsed_s=elapsed_s,
            total_s=self._total_s,
            health=self._health(book, counters),
        )

    def _health(self, book: OrderBook, counters: Mapping[str, int]) -> dict[str, str]:
        age_s = (self._clock.monotonic_ns() - book.received_ns) / 1e9
        figures = {"book": f"{age_s:.1f} s" if book.received_ns else "-"}
        latencies = self._engine.latencies
        for name, what in (("answer", "order answered"), ("journal", "made durable")):
            mean_us = latencies[name].mean_us if name in latencies else None
            figures[what] = "-" if mean_us is None else _time(mean_us)
        skew_ms = self._skew_ms()
        figures["clock"] = "-" if skew_ms is None else f"{skew_ms:+.0f} ms"
        connections = counters.get("connection_connections", counters.get("connections", 1))
        figures["reconnects"] = str(max(connections - 1, 0))
        return figures

    def _orders(self) -> list[OrderRow]:
        if self._engine.mode != "monitor":
            return [OrderRow.of(order) for order in self._engine.orders.open_orders]
        desired = self._engine.desired
        return [
            OrderRow(slot, quote.side, quote.price, quote.quantity, ZERO)
            for slot, quote in (desired.quotes.items() if desired is not None else ())
        ]

    def _assets(self, home: Market) -> list[str]:
        assets = [home.base, home.quote]
        for symbol in self._engine.symbols:
            assets += symbol.split("/")
        return list(dict.fromkeys(assets))
