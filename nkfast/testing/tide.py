"""A small market that moves: enough to fill orders, cheap enough for a hundred thousand runs."""

import random
from typing import Final

from nkfast.exchange.accounts import Account
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.orders import Order, Side

__all__ = ["Tide"]

_LEVELS: Final = 3
_STRAY: Final = 0.03


class Tide:
    """A maker with a few levels a side around a walking price, and takers who eat into them.

    Parameters
    ----------
    exchange : Exchange
    listing : Listing
        The market that moves.
    chance : random.Random
    spread_ticks, size_lots : int
        Typical distance of a level from the middle, and typical size.
    """

    def __init__(
        self,
        exchange: Exchange,
        listing: Listing,
        chance: random.Random,
        *,
        start_ticks: int,
        spread_ticks: int,
        size_lots: int,
        now_ms: int,
    ) -> None:
        self._exchange = exchange
        self._listing = listing
        self._random = chance
        self._start_ticks = self._middle_ticks = start_ticks
        self._spread_ticks = spread_ticks
        self._size_lots = size_lots
        wealth = {listing.market.base: 10**9, listing.market.quote: 10**15}
        name = f"tide of {listing.symbol}"
        self._account: Account = exchange.open_account(name, wealth, keeps_history=False)
        self._quotes: dict[Side, list[Order]] = {"buy": [], "sell": []}
        self._breath: list[Order] = []
        for _ in range(_LEVELS):
            self._quote("buy", now_ms)
            self._quote("sell", now_ms)

    def step(self, now_ms: int) -> None:
        """Do one thing: quote anew, take from a side, or move."""
        listing = self._listing
        if listing.is_paused or not listing.is_active:
            return
        side: Side = "buy" if self._random.random() < 0.5 else "sell"
        mood = self._random.random()
        if mood < 0.3:
            self._quote(side, now_ms)
        elif mood < 0.75:
            self._take(side, now_ms)
        else:
            self._move(now_ms)

    def breathe(self, now_ms: int) -> None:
        """Quote once far away: the market is heard of, and nobody trades."""
        listing = self._listing
        if listing.is_paused or not listing.is_active:
            return
        for order in self._breath:
            if order.is_open:
                self._exchange.withdraw(order, now_ms)
        for side, quotes in self._quotes.items():
            if not any(order.is_open for order in quotes):
                self._quote(side, now_ms)
        ticks = self._start_ticks // 2
        self._breath = [self._place("buy", ticks, self._size_lots, now_ms)]

    def _move(self, now_ms: int) -> None:
        pull = (self._start_ticks - self._middle_ticks) / (_STRAY * self._start_ticks)
        step = self._random.gauss(0.3 * pull, 1.0) * 1.5 * self._spread_ticks
        self._middle_ticks += round(step)
        self._quote("buy" if step < 0 else "sell", now_ms)
        self._take("buy" if step > 0 else "sell", now_ms)

    def _quote(self, side: Side, now_ms: int) -> None:
        quotes = [order for order in self._quotes[side] if order.is_open]
        while len(quotes) >= _LEVELS:
            self._exchange.withdraw(quotes.pop(0), now_ms)
        away = 1 + int(self._random.expovariate(1 / self._spread_ticks))
        engine = self._listing.engine
        if side == "buy":
            ticks, best = self._middle_ticks - away, engine.best_ask
            ticks = ticks if best is None else min(ticks, best[0] - 1)
        else:
            ticks, best = self._middle_ticks + away, engine.best_bid
            ticks = ticks if best is None else max(ticks, best[0] + 1)
        quotes.append(self._place(side, ticks, self._lots(), now_ms))
        self._quotes[side] = quotes

    def _take(self, side: Side, now_ms: int) -> None:
        """Buy or sell up to the middle, at most a typical size: what crosses it is eaten."""
        engine = self._listing.engine
        best = engine.best_ask if side == "buy" else engine.best_bid
        if best is None:
            return
        deep = self._random.random() < 0.3
        reach = 3 * self._spread_ticks if deep else 0
        if side == "buy":
            ticks = max(best[0], self._middle_ticks + reach)
        else:
            ticks = min(best[0], self._middle_ticks - reach)
        lots = self._lots() * (3 if deep else 1)
        order = self._place(side, ticks, lots, now_ms)
        if order.is_open:
            self._exchange.withdraw(order, now_ms)

    def _place(self, side: Side, ticks: int, lots: int, now_ms: int) -> Order:
        grain = self._listing.accepted_ticks
        ticks = max(ticks - ticks % grain, grain)
        return self._exchange.place(self._account, self._listing, side, ticks, lots, now_ms)

    def _lots(self) -> int:
        return max(1, int(self._size_lots * self._random.uniform(0.2, 2.0)))
