"""A market without other people, on which a grid can be driven by hand."""

from decimal import Decimal

from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.strategies.grid import Grid, GridSettings

D = Decimal


def a_market(**changes: object) -> Market:
    """A BTC/USDT market with two price and four quantity decimals, or as asked."""
    return Market("BTC/USDT", **{"price_decimals": 2, "quantity_decimals": 4, **changes})


class Still(Pit):
    """A market on which nothing trades but what a test says, whatever crosses."""

    def _take(self, slot: str) -> None:
        pass


class Floor(Still):
    """A grid that is rich, on a market that knows where its middle is."""

    def __init__(self, settings: GridSettings, market: Market | None = None) -> None:
        self.mid = D(0)
        home = market or a_market(min_notional="1")
        funds = {home.base: "1000000000", home.quote: "1000000000000"}
        super().__init__(lambda markets: Grid.build(settings, markets), [home], funds)

    @property
    def grid(self) -> Grid:
        assert isinstance(self.strategy, Grid)
        return self.strategy

    def show(
        self,
        bid: str | Decimal | None,
        ask: str | Decimal | None,
        symbol: str = "",
        lots: int = 1000,
    ) -> None:
        super().show(bid, ask, symbol, lots)
        if bid is not None and ask is not None:
            self.mid = (D(bid) + D(ask)) / 2

    def show_own(self) -> None:
        """Our own orders are not shown: they would move the middle."""

    def crossing(self) -> list[str]:
        """The orders that the market has reached."""
        return [
            slot
            for slot, order in self.orders.items()
            if (order.price >= self.mid if order.side == "buy" else order.price <= self.mid)
        ]

    def prices(self, side: str) -> list[str]:
        found = [order.price for order in self.orders.values() if order.side == side]
        return [str(price) for price in sorted(found, reverse=side == "buy")]
