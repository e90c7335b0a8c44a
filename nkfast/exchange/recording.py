"""A recorded market, lived through again: the books follow the recording, and others trade in it.

What rested in the recording rests here as orders of one trader with endless money, in its order of
time; what was traded is traded by another one again. An order that somebody places meets it as it
would have met the market: behind what rested at its price before, and eating what it takes only
once. What the recording leaves open is decided in `nkfast.exchange.departures`.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.exchange.departures import PRINT_LAG_NS, Departures, newest_first
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.orders import Order, Side

__all__ = ["Recording"]

_SIDES: Final[tuple[Side, Side]] = ("buy", "sell")
#: Of each asset: never the limit of a recorded trader, and a fair start for a user.
_WEALTH: Final = 10**15
_STAKE: Final = 100_000
_NS_PER_MS: Final = 1_000_000

_Key = tuple[Side, int]


class _Level:
    """One price of the recording, and what of it rests here."""

    __slots__ = ("departures", "orders", "recorded_lots")

    def __init__(self) -> None:
        self.orders: deque[Order] = deque()  # oldest first; the first may have been filled
        #: What rests here and is less was taken by others.
        self.recorded_lots = 0
        self.departures = Departures()

    @property
    def lots(self) -> int:
        return sum(order.remaining_lots for order in self.orders)


class _Book:
    """One market, the recorded book that it follows, and how far it did."""

    def __init__(self, listing: Listing, recorded: OrderBook) -> None:
        self.listing = listing
        self.recorded = recorded
        self.is_live = False
        self._levels: dict[_Key, _Level] = {}
        self._emptied: deque[tuple[int, _Key]] = deque()
        self._shown = recorded.depth(1)  # nothing yet

    def level(self, key: _Key) -> _Level:
        found = self._levels.get(key)
        if found is None:
            found = self._levels[key] = _Level()
        return found

    def lots_here(self, key: _Key) -> int:
        level = self._levels.get(key)
        return level.lots if level is not None else 0

    def changes(self) -> list[tuple[_Key, int]]:
        """Return what the recording shows now and did not at the last call, best levels first."""
        count = max(self.recorded.bid_count, self.recorded.ask_count, 1)
        old, self._shown = self._shown, self.recorded.depth(count)
        found: dict[_Key, int] = {}
        for side, before, now in zip(_SIDES, old, self._shown, strict=True):
            # What changes is close together most of the time: what is the same at both ends of a
            # side is left out without a look at each level.
            most = min(len(before), len(now))
            differs = (before[:most] != now[:most]).any(axis=1)
            head = int(differs.argmax()) if differs.any() else most
            most -= head
            differs = (before[len(before) - most :] != now[len(now) - most :]).any(axis=1)[::-1]
            tail = int(differs.argmax()) if differs.any() else most
            for ticks in before[head : len(before) - tail, 0].tolist():
                found[side, ticks] = 0
            for ticks, lots in now[head : len(now) - tail].tolist():
                found[side, ticks] = lots
        return list(found.items())

    def forget_emptied(self, now_ns: int, emptied: Iterable[_Key]) -> None:
        """Forget prices that have been empty for so long that no trade there is explained."""
        self._emptied.extend((now_ns + PRINT_LAG_NS, key) for key in emptied)
        while self._emptied and self._emptied[0][0] < now_ns:
            _, key = self._emptied.popleft()
            if key in self._levels and not self._levels[key].recorded_lots:
                del self._levels[key]


class Recording:
    """Drives an exchange from frames, in place of a `nkfast.exchange.traders.Crowd`.

    Parameters
    ----------
    exchange : Exchange
        Its markets are those whose frames are followed.
    frames : iterable of (int, bytes)
        Unix nanoseconds and a text frame, in the order of time; see `nkfast.venue.tape`.
    speed : float
        Seconds of the recording in one second of the exchange's time.
    now_ms : int
        Unix milliseconds of the exchange at which the first frame falls.

    Attributes
    ----------
    is_over : bool
        Whether there are no more frames. The books stay as they are and can be traded with.

    Notes
    -----
    Until its first snapshot, and after a gap until the next one, a market is paused.
    """

    def __init__(
        self,
        exchange: Exchange,
        frames: Iterable[tuple[int, bytes]],
        *,
        speed: float = 1.0,
        now_ms: int = 0,
    ) -> None:
        self._exchange = exchange
        self._speed = speed
        self._start_ms = now_ms
        self._frames = iter(frames)
        self._next = next(self._frames, None)
        self._first_ns = 0 if self._next is None else self._next[0]
        listings = list(exchange.listings.values())
        self._decoder = FrameDecoder([listing.market for listing in listings])
        self._books = [_Book(listing, self._decoder.book(listing.symbol)) for listing in listings]
        wealth = dict.fromkeys(exchange.assets, _WEALTH)
        self._maker = exchange.open_account("recorded-makers", wealth, keeps_history=False)
        self._taker = exchange.open_account("recorded-takers", wealth, keeps_history=False)
        for listing in listings:
            listing.is_paused = True

    @property
    def is_over(self) -> bool:
        return self._next is None

    @property
    def counters(self) -> Mapping[str, int]:
        """What became of the frames; see `nkfast.core.frame.FrameDecoder`."""
        return self._decoder.counters

    def stake(self) -> dict[str, str]:
        """Return balances for a user's account: as many of every asset."""
        return dict.fromkeys(self._exchange.assets, str(_STAKE))

    def step(self, now_ms: int) -> None:
        """Live until a time: take every frame that is due."""
        while self._next is not None:
            unix_ns, frame = self._next
            passed_ms = (unix_ns - self._first_ns) / _NS_PER_MS / self._speed
            if self._start_ms + passed_ms > now_ms:
                return
            self._take(frame, unix_ns, now_ms)
            self._next = next(self._frames, None)

    def _take(self, frame: bytes, unix_ns: int, now_ms: int) -> None:
        event = self._decoder.feed(frame, unix_ns)
        if event.kind in (FrameKind.SNAPSHOT, FrameKind.UPDATE, FrameKind.GAP):
            self._follow(self._books[event.market_index], unix_ns, now_ms)
        elif event.kind is FrameKind.TRADES:
            book = self._books[event.market_index]
            if b'"snapshotTrades"' in frame:
                self._remember(book.listing, now_ms)
            elif book.is_live:
                for trade in self._decoder.last_trades:
                    self._trade(book, trade.side, trade.ticks, trade.lots, unix_ns, now_ms)

    def _remember(self, listing: Listing, now_ms: int) -> None:
        # What a snapshot tells happened before; after a reconnection, perhaps a second time.
        if listing.trades:
            return
        told = [
            (now_ms if trade.time_ms is None else min(trade.time_ms, now_ms), trade)
            for trade in self._decoder.last_trades
        ]
        for when_ms, trade in sorted(told, key=lambda row: row[0]):
            self._exchange.remember_trade(listing, trade.side, trade.ticks, trade.lots, when_ms)

    def _follow(self, book: _Book, unix_ns: int, now_ms: int) -> None:
        is_live = book.recorded.state == "live" and not book.recorded.is_crossed
        if is_live != book.is_live:
            book.is_live = is_live
            book.listing.is_paused = not is_live
        if not is_live:
            return
        changes = book.changes()
        # What leaves goes first, so that what comes cannot meet it.
        for key, lots in changes:
            if lots < book.level(key).recorded_lots:
                self._shrink(book.level(key), lots, unix_ns, now_ms)
        for key, lots in changes:
            if lots > book.level(key).recorded_lots:
                self._grow(book, key, lots, now_ms)
        book.forget_emptied(unix_ns, [key for key, lots in changes if not lots])

    def _grow(self, book: _Book, key: _Key, lots: int, now_ms: int) -> None:
        level = book.level(key)
        more = lots - level.recorded_lots
        level.recorded_lots = lots
        side, ticks = key
        order = self._exchange.place(self._maker, book.listing, side, ticks, more, now_ms)
        if order.is_open:
            level.orders.append(order)

    def _shrink(self, level: _Level, lots: int, unix_ns: int, now_ms: int) -> None:
        here = level.lots
        # What others took stays taken until the recording shows less than that.
        taken = min(max(level.recorded_lots - here, 0), lots)
        level.recorded_lots = lots
        excess = here - (lots - taken)
        if excess <= 0:
            return
        leaving = newest_first([order.remaining_lots for order in level.orders], excess)
        for order, step in zip(level.orders, leaving, strict=True):
            if not step:
                continue
            level.departures.note(order.number, step, unix_ns)
            if step == order.remaining_lots:
                self._exchange.withdraw(order, now_ms)
            else:
                self._exchange.reduce(order, step, now_ms)
        level.orders = deque(order for order in level.orders if order.is_open)

    def _trade(
        self, book: _Book, side: Side, ticks: int, lots: int, unix_ns: int, now_ms: int
    ) -> None:
        resting: Side = "sell" if side == "buy" else "buy"
        # Whoever traded at this price would have met better prices of others first.
        better = ticks - 1 if side == "buy" else ticks + 1
        left = lots - self._aggress(book, side, better, lots, now_ms)
        unmet = 0  # of orders here: told all the same
        level = book.level((resting, ticks))
        # In the order of the queue: what has left in front of somebody, what is there, somebody.
        for other in [*self._others_at(book.listing, resting, ticks), None]:
            before = None if other is None else other.number
            explained = level.departures.explain(left, before, unix_ns)
            met = left - explained
            if other is not None:
                ahead = book.listing.engine.lots_ahead(other.number)
                met = min(met, ahead + other.remaining_lots)
            unmet += explained
            left -= explained + self._aggress(book, side, ticks, met, now_ms)
        unmet += left
        if unmet:
            self._exchange.print_trade(book.listing, side, ticks, unmet, now_ms)

    def _others_at(self, listing: Listing, side: Side, ticks: int) -> list[Order]:
        """Return the orders that are not of the recording, oldest first."""
        return [
            order
            for account in self._exchange.accounts
            if account is not self._maker
            for order in account.open_orders.values()
            if order.listing is listing and order.side == side and order.ticks == ticks
        ]

    def _aggress(self, book: _Book, side: Side, limit: int, lots: int, now_ms: int) -> int:
        """Trade up to a price and return the lots done; nothing of it stays behind."""
        resting: Side = "sell" if side == "buy" else "buy"
        within = {
            ticks: rows
            for ticks, rows in book.listing.levels[resting].items()
            if (ticks <= limit if side == "buy" else ticks >= limit)
        }
        lots = min(lots, sum(within.values()))
        if lots <= 0:
            return 0
        before = {ticks: book.lots_here((resting, ticks)) for ticks in within}
        self._exchange.place(self._taker, book.listing, side, limit, lots, now_ms)
        for ticks, lots_before in before.items():
            gone = lots_before - book.lots_here((resting, ticks))
            if gone:
                # The recording will show that they left: it was not others who took them.
                level = book.level((resting, ticks))
                level.recorded_lots = max(0, level.recorded_lots - gone)
                level.orders = deque(order for order in level.orders if order.is_open)
        return lots
