"""Several markets and one account on which any strategy can be driven by hand.

Nobody else trades: what the strategy desires rests, or takes what a test put opposite. Balances are
what the engine's ledger would say: a buy reserves its fee, a fill moves what is owned.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.trading.exact import add, multiply, subtract
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    LiveOrder,
    MarketView,
    OrderEnd,
    Quote,
    Strategy,
)
from nkfast.venue.port import PublicTrade

D = Decimal
START_MS = 1_760_000_000_000


class Context:
    """What a strategy asked of the engine."""

    def __init__(self) -> None:
        self.wishes: list[tuple[str, str]] = []

    def pause(self, reason: str) -> None:
        self.wishes.append(("pause", reason))

    def drain(self, reason: str) -> None:
        self.wishes.append(("drain", reason))

    def halt(self, reason: str) -> None:
        self.wishes.append(("halt", reason))


class Pit:
    """A strategy among markets. The first market is its home.

    ``fee`` is what a fill really costs, of its value, in the quote asset.
    """

    def __init__(
        self,
        make: Callable[[Mapping[str, Market]], Strategy],
        markets: list[Market],
        funds: Mapping[str, str | Decimal],
        fee: str | Decimal = "0.002",
    ) -> None:
        self.markets = {market.symbol: market for market in markets}
        self.home = markets[0]
        self.books = {market.symbol: OrderBook(market) for market in markets}
        self.totals = {asset: D(amount) for asset, amount in funds.items()}
        self.fee = D(fee)
        self.now_ms = START_MS
        self.orders: dict[str, LiveOrder] = {}
        self.desired = Desired()
        self.fills: list[Fill] = []
        self.told: list[str] = []  # why things were not done, as the engine counts it
        self.placed: list[tuple[str, Quote]] = []
        self.cancelled: list[str] = []
        self.keeps_cancelled = False  # whether cancels are on their way and do not end
        self.context = Context()
        self._make = make
        self._tops: dict[str, tuple[str | Decimal | None, str | Decimal | None, int]] = {}
        self._sequence = 0
        self._ids = 0
        self._start(None)

    def _start(self, state: Mapping[str, Any] | None) -> None:
        self.strategy = self._make(self.markets)
        self.strategy.ctx = self.context
        if state is not None:
            self.strategy.restore(state)

    def restart(self) -> None:
        """End the process and start it again on what the journal holds."""
        self._start(json.loads(json.dumps(self.strategy.state())))

    def pass_time(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    # The market --------------------------------------------------------------------------------

    def show(
        self,
        bid: str | Decimal | None,
        ask: str | Decimal | None,
        symbol: str = "",
        lots: int = 10**9,
    ) -> None:
        """Put one level on each side; our own orders are shown among them."""
        book = self.books[symbol or self.home.symbol]
        market = book.market
        self._sequence += 1
        sides: list[dict[int, int]] = []
        for price, side in ((bid, "buy"), (ask, "sell")):
            levels = {} if price is None else {market.price_to_ticks(D(price)): lots}
            for order in self.orders.values():
                if order.side == side and order.symbol == market.symbol:
                    ticks = market.price_to_ticks(order.price)
                    own = market.quantity_to_lots(order.remaining)
                    levels[ticks] = levels.get(ticks, 0) + own
            sides.append(levels)
        book.apply_snapshot(list(sides[0].items()), list(sides[1].items()), self._sequence)
        self._tops[market.symbol] = (bid, ask, lots)

    def show_own(self) -> None:
        """Show the newest orders in the books."""
        for symbol, (bid, ask, lots) in list(self._tops.items()):
            self.show(bid, ask, symbol, lots)

    # The engine --------------------------------------------------------------------------------

    def reserved(self) -> dict[str, Decimal]:
        reserved: dict[str, Decimal] = {}
        for order in self.orders.values():
            asset, amount = self._needs(
                Quote(order.side, order.price, order.remaining, order.symbol)
            )
            reserved[asset] = add(reserved.get(asset, D(0)), amount)
        return reserved

    def _needs(self, quote: Quote) -> tuple[str, Decimal]:
        market = self.markets[quote.symbol or self.home.symbol]
        if quote.side == "sell":
            return market.base, quote.quantity
        price = self._touch(quote) if quote.price is None else quote.price
        factor = add(D(1), max(market.maker_fee, market.taker_fee))
        return market.quote, multiply(multiply(price, quote.quantity), factor)

    def _touch(self, quote: Quote) -> Decimal:
        """Return the best price opposite."""
        book = self.books[quote.symbol or self.home.symbol]
        best = book.best_ask if quote.side == "buy" else book.best_bid
        assert best is not None
        return book.market.ticks_to_price(best[0])

    def view(self) -> MarketView:
        reserved = self.reserved()
        available = {
            asset: max(subtract(total, reserved.get(asset, D(0))), D(0))
            for asset, total in self.totals.items()
        }
        return MarketView(
            self.home,
            self.books[self.home.symbol],
            self.orders,
            available,
            dict(self.totals),
            self.now_ms,
            self.markets,
            self.books,
        )

    def decide(self) -> Desired:
        desired = self.strategy.decide(self.view())
        assert isinstance(desired, Desired)
        if desired is not self.desired:
            self.told += [skip.code for skip in desired.skips]
        self.desired = desired
        for quote in desired.quotes.values():
            market = self.markets[quote.symbol or self.home.symbol]
            if quote.price is not None:
                assert market.price_to_ticks(quote.price) > 0  # on the grid
            assert market.quantity_to_lots(quote.quantity) > 0
        return desired

    def step(self) -> bool:
        """Decide once and make it so; return whether an order changed."""
        quotes = self.decide().quotes
        changed, before = False, self.orders
        for slot, order in before.items():
            quote = quotes.get(slot)
            is_old = quote is not None and quote.good_for_ms is not None
            is_old = is_old and self.now_ms >= order.placed_ms + quote.good_for_ms
            if (
                is_old
                or quote is None
                or (quote.side, quote.price, quote.quantity)
                != (
                    order.side,
                    order.price or None,
                    order.remaining,
                )
            ):
                if not self.keeps_cancelled:
                    self.end(slot)
                    self.cancelled.append(slot)
                    changed = True
        for slot, quote in quotes.items():
            if slot in self.orders or slot in before:
                continue  # what was cancelled ends first, and is decided about anew
            asset, needed = self._needs(quote)
            market = self.markets[quote.symbol or self.home.symbol]
            if needed > self.view().available.get(asset, D(0)):
                continue
            price = self._touch(quote) if quote.price is None else quote.price
            if quote.quantity < market.min_order_quantity(price):
                continue
            if quote.post_only and self._crosses(quote.side, price, market):
                continue
            self._place(slot, quote)
            changed = True
        self.show_own()
        return changed

    def settle(self) -> None:
        """Decide until nothing changes."""
        for _ in range(50):
            if not self.step():
                return
        raise AssertionError("the strategy does not come to rest")

    def _place(self, slot: str, quote: Quote) -> None:
        self._ids += 1
        self.placed.append((slot, quote))
        order = LiveOrder(
            slot,
            f"id{self._ids}",
            quote.side,
            D(0) if quote.price is None else quote.price,
            quote.quantity,
            D(0),
            False,
            quote.symbol or self.home.symbol,
            self.now_ms,
        )
        self.orders = {**self.orders, slot: order}
        self._take(slot)

    def _crosses(self, side: str, price: Decimal, market: Market) -> bool:
        book = self.books[market.symbol]
        best = book.best_ask if side == "buy" else book.best_bid
        if best is None:
            return False
        opposite = market.ticks_to_price(best[0])
        return price >= opposite if side == "buy" else price <= opposite

    def _take(self, slot: str) -> None:
        """Let an order that crosses take what is opposite; what is left of a market order ends."""
        order, market = self.orders[slot], self.markets[self.orders[slot].symbol]
        book = self.books[market.symbol]
        best = book.best_ask if order.side == "buy" else book.best_bid
        if best is None:
            return
        price = market.ticks_to_price(best[0])
        if not order.price or self._crosses(order.side, order.price, market):
            quantity = min(order.remaining, market.lots_to_quantity(best[1]))
            self.fill(slot, quantity, price, is_maker=False)
            if not order.price and slot in self.orders:
                self.end(slot)

    def fill(
        self,
        slot: str,
        quantity: Decimal | str | None = None,
        price: Decimal | None = None,
        *,
        is_maker: bool = True,
        knows_fee: bool = True,
    ) -> Fill:
        """Let an order trade, whole or in part, at its own price unless another is given."""
        order, market = self.orders[slot], self.markets[self.orders[slot].symbol]
        amount = order.remaining if quantity is None else D(quantity)
        assert 0 < amount <= order.remaining
        at = order.price if price is None else price
        notional = multiply(at, amount)
        fee = multiply(notional, self.fee)
        sign = 1 if order.side == "buy" else -1
        self.totals[market.base] = add(self.totals.get(market.base, D(0)), sign * amount)
        quote_change = subtract(multiply(notional, D(-sign)), fee)
        self.totals[market.quote] = add(self.totals.get(market.quote, D(0)), quote_change)
        told = Fill(
            slot,
            market.symbol,
            order.side,
            at,
            amount,
            fee if knows_fee else None,
            market.quote if knows_fee else "",
            f"t{len(self.fills)}",
            self.now_ms,
            is_maker,
        )
        self.fills.append(told)
        self.strategy.on_fill(told)
        left = replace(order, executed=add(order.executed, amount))
        self.orders = {**self.orders, slot: left}
        if not left.remaining:
            self.end(slot, "filled")
        return told

    def end(self, slot: str, end: OrderEnd = "cancelled") -> None:
        """Let an order end."""
        order = self.orders[slot]
        self.orders = {key: other for key, other in self.orders.items() if key != slot}
        self.strategy.on_end(
            EndedOrder(
                slot,
                order.client_id,
                order.symbol,
                order.side,
                order.price or None,
                order.quantity,
                order.executed,
                end,
            )
        )

    def trade(self, price: str | Decimal, symbol: str = "") -> None:
        """Let others trade."""
        market = self.markets[symbol or self.home.symbol]
        self.strategy.on_trade(PublicTrade(market.symbol, "p", D(price), D(1), "buy", self.now_ms))
