"""What a running engine looks like at one moment, for the screens and the summaries."""

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from nkfast.app.screens import BookRow, FillRow, HoldingRow, OrderRow, TradingView
from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.trading.engine import Engine
from nkfast.trading.exact import ZERO, add

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
    ) -> None:
        self._engine = engine
        self._venue = venue
        self._mode = mode
        self._title = title
        self._place = place
        self._details = details
        self._total_s = total_s
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
        counters = self._venue.counters
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
        )

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
