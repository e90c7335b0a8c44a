"""A market without other people, on which a strategy can be driven by hand."""

import json
from dataclasses import replace
from decimal import Decimal

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.strategy import Desired, Fill, LiveOrder, MarketView

D = Decimal


def a_market(**changes: object) -> Market:
    """A BTC/USDT market with two price and four quantity decimals, or as asked."""
    return Market("BTC/USDT", **{"price_decimals": 2, "quantity_decimals": 4, **changes})


class Floor:
    """A market without other people: what the grid desires rests, what is crossed fills."""

    def __init__(self, settings: GridSettings, market: Market | None = None) -> None:
        self.market = market or a_market(min_notional="1")
        self.settings = settings
        self.grid = Grid(settings, self.market)
        self.book = OrderBook(self.market)
        self.orders: dict[str, LiveOrder] = {}
        self.desired = Desired()
        self.fills: list[Fill] = []
        self.sequence = 0
        self.mid = D(0)

    def show(self, bid: str | Decimal, ask: str | Decimal) -> None:
        self.sequence += 1
        levels = [
            [(self.market.price_to_ticks(D(price)), 1000)] if price is not None else []
            for price in (bid, ask)
        ]
        self.book.apply_snapshot(*levels, self.sequence)
        if bid is not None and ask is not None:
            self.mid = (D(bid) + D(ask)) / 2

    def decide(self) -> Desired:
        view = MarketView(self.market, self.book, self.orders, {}, {}, 0)
        self.desired = self.grid.decide(view)
        return self.desired

    def settle(self) -> None:
        """Decide and make it so until nothing changes: cancel first, then place."""
        for _ in range(10):
            before = self.orders
            quotes = self.decide().quotes
            live = {
                slot: order
                for slot, order in self.orders.items()
                if slot in quotes
                and (order.side, order.price, order.remaining)
                == (quotes[slot].side, quotes[slot].price, quotes[slot].quantity)
            }
            if len(live) == len(self.orders):
                for slot, quote in quotes.items():
                    live.setdefault(
                        slot,
                        LiveOrder(slot, slot, quote.side, quote.price, quote.quantity, D(0), False),
                    )
            if live == before:
                return
            self.orders = live
        raise AssertionError("the grid does not come to rest")

    def fill(self, slot: str, quantity: Decimal | None = None) -> Fill:
        order = self.orders[slot]
        amount = order.remaining if quantity is None else quantity
        fill = Fill(
            slot, "BTC/USDT", order.side, order.price, amount, None, "", f"t{len(self.fills)}", 0
        )
        self.fills.append(fill)
        self.grid.on_fill(fill)
        left = replace(order, executed=order.executed + amount)
        self.orders = {**self.orders, slot: left}
        if not left.remaining:
            self.cancel(slot)
        return fill

    def crossing(self) -> list[str]:
        """The orders that the market has reached."""
        return [
            slot
            for slot, order in self.orders.items()
            if (order.price >= self.mid if order.side == "buy" else order.price <= self.mid)
        ]

    def cancel(self, slot: str) -> None:
        self.orders = {key: order for key, order in self.orders.items() if key != slot}

    def restart(self) -> None:
        state = json.loads(json.dumps(self.grid.state()))
        self.grid = Grid(self.settings, self.market)
        self.grid.restore(state)

    def prices(self, side: str) -> list[str]:
        found = [order.price for order in self.orders.values() if order.side == side]
        return [str(price) for price in sorted(found, reverse=side == "buy")]
