"""A strategy to be tested with: it quotes both sides, and trades often."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Strategy
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["Quoter"]

_LEVELS: Final = 2


class Quoter(Strategy):
    """Two bids and two asks near the middle, moved against the position and with the market.

    Parameters
    ----------
    market : Market
    distance_ticks, size_lots : int
        Of the first level from the middle; the second lies twice as far. Size of a quote.
    """

    name = "quoter"

    def __init__(self, market: "Market", *, distance_ticks: int = 1_500, size_lots: int = 20_000):
        self._market = market
        self._distance_ticks = distance_ticks
        self._size_lots = size_lots
        self._position_lots = 0
        self._middle_ticks = 0
        self._desired = Desired()
        self._state: dict[str, Any] = {"position_lots": 0}

    def decide(self, view: MarketView) -> Desired:
        """Return four quotes; the same ones until the market has moved by half a distance."""
        bid, ask = view.book.best_bid, view.book.best_ask
        if bid is None or ask is None:
            return self._desired
        middle_ticks = (bid[0] + ask[0]) // 2
        if abs(middle_ticks - self._middle_ticks) < self._distance_ticks // 2:
            return self._desired
        self._middle_ticks = middle_ticks
        self._desired = Desired(
            {
                f"{side}-{level}": self._quote(side, level)
                for level in range(_LEVELS)
                for side in ("buy", "sell")
            }
        )
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        """Count the position, and quote anew."""
        lots = self._market.quantity_to_lots(fill.quantity)
        self._position_lots += lots if fill.side == "buy" else -lots
        self._state = {"position_lots": self._position_lots}
        self._middle_ticks = 0

    def state(self) -> dict[str, Any]:
        """Return the position."""
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the position back."""
        self._state = dict(state)
        self._position_lots = state["position_lots"]

    def _quote(self, side: Side, level: int) -> Quote:
        lean_ticks = self._distance_ticks * self._position_lots // (8 * self._size_lots)
        away_ticks = self._distance_ticks * (level + 1)
        ticks = self._middle_ticks - lean_ticks
        ticks += -away_ticks if side == "buy" else away_ticks
        price: Decimal = self._market.ticks_to_price(ticks)
        return Quote(side, price, self._market.lots_to_quantity(self._size_lots))
