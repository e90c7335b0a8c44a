"""What our orders would have met in a market that was only watched.

The recorded book knows nothing of us. Our orders live in the core's matching engine; just the part
of the recorded liquidity that they can meet is put beside them, as orders of nobody:

* ahead of each resting order, what rested at its price when it came: its queue;
* while one of ours is matched on arrival, the recorded levels that it crosses;
* while a recorded trade or a recorded order that crosses ours is applied, that one.

So price, then time decides, as on the exchange. Where the recording leaves open what happened, the
answer that is worse for us is taken; each such place says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nkfast.core.book import OrderBook
from nkfast.core.matching import Match, MatchingEngine
from nkfast.exchange.departures import Departures, newest_first
from nkfast.venue.port import Side

__all__ = ["PaperFill", "PaperMarket"]

_Key = tuple[Side, int]


def opposite(side: Side) -> Side:
    """Return the other side."""
    return "sell" if side == "buy" else "buy"


class PaperFill(NamedTuple):
    """A fill of one of our orders: our number of it, at what price, how much, in which role."""

    order_number: int
    ticks: int
    lots: int
    is_maker: bool
    match_number: int  # the same for both orders of a trade with ourselves


class _Level:
    """The queue at one price at which orders of ours rest: engine numbers, and their places."""

    __slots__ = ("arrivals", "departures", "fitting_lots", "nobody", "own")

    def __init__(self) -> None:
        self.arrivals = 0
        # So many recorded lots hold the queue, of which nothing was taken since; -1: to be seen.
        self.fitting_lots = -1
        self.nobody: dict[int, int] = {}  # recorded liquidity, oldest first
        self.own: dict[int, int] = {}
        self.departures = Departures()

    def place(self) -> int:
        self.arrivals += 1
        return self.arrivals


class PaperMarket:
    """Our orders in one recorded market.

    Parameters
    ----------
    book : OrderBook
        The recorded book, kept by somebody else; call `on_book` after each change of it.

    Notes
    -----
    Nothing fills unless the book is live. What we took of a recorded level stays taken until the
    recording shows less than that at the level, so that the same liquidity is not eaten twice.
    """

    def __init__(self, book: OrderBook) -> None:
        self.book = book
        self._engine = MatchingEngine(book.market)
        self._numbers = 0
        self._match_number = 0
        self._own: dict[int, _Key] = {}  # resting orders of ours, and the one being matched
        self._levels: dict[_Key, _Level] = {}
        self._queued_at: dict[_Key, None] = {}  # levels with recorded liquidity in their queue
        self._taken: dict[_Key, int] = {}

    def next_number(self) -> int:
        """Return a number for a new order, unused before in this market."""
        self._numbers += 1
        return self._numbers

    def remaining(self, order_number: int) -> int:
        """Return the lots of one of our orders that still rest; 0 when it does not rest."""
        return self._engine.remaining(order_number)

    def cost(self, side: Side, lots: int) -> tuple[int, int]:
        """Return what a market order would fill now: (lots, cost in ticks times lots)."""
        with self._recorded_levels(side, lots, None):
            filled, total, _ = self._engine.cost_to_fill(side, lots)
        return filled, total

    def submit(
        self, order_number: int, side: Side, lots: int, ticks: int | None
    ) -> list[PaperFill]:
        """Match a new order; what is left of a limit order rests, of a market order is gone."""
        if ticks is not None:
            if not self._crosses(side, ticks):
                self._queue_up(side, ticks)
            self._own[order_number] = (side, ticks)
            level = self._level((side, ticks))
            level.own[order_number] = level.place()
        with self._recorded_levels(side, lots, ticks):
            matches = self._engine.submit(order_number, side, lots, ticks)
        for match in matches:
            if match.maker_id not in self._own:
                self._take((opposite(side), match.ticks), match.lots)
        fills = self._fills(matches, order_number)
        self._forget_finished()
        return fills

    def cancel(self, order_number: int) -> int:
        """Take a resting order out; return the lots that were left."""
        left = self._engine.cancel(order_number)
        self._forget_finished()
        return left

    def on_book(self, now_ns: int) -> list[PaperFill]:
        """Follow a change of the recorded book; return what it filled."""
        if self.book.state != "live":
            return []
        for key in [key for key, lots in self._taken.items() if self.book.lots_at(*key) < lots]:
            self._taken[key] = self.book.lots_at(*key)
            if not self._taken[key]:
                del self._taken[key]
        if not self._levels:
            return []
        if self._queued_at:
            lots_at = self.book.lots_at
            for key in tuple(self._queued_at):
                level, lots = self._levels[key], lots_at(*key)
                if not 0 <= level.fitting_lots <= lots:
                    self._shrink_queue(key, level, now_ns)
                    level.fitting_lots = lots
        return self._meet_crossing("buy") + self._meet_crossing("sell")

    def on_print(self, side: Side, ticks: int, lots: int, now_ns: int) -> list[PaperFill]:
        """Follow a recorded trade, `side` being its aggressor's; return what it filled."""
        resting = opposite(side)
        if self.book.state != "live" or not self._has_own_within(resting, ticks):
            return []
        # Whoever traded at this price would have met our better prices first.
        better = ticks + 1 if side == "sell" else ticks - 1
        fills: list[PaperFill] = []
        if better > 0:
            fills, lots = self._aggress(side, better, lots)
        if (resting, ticks) in self._levels:
            fills += self._trade_at(self._levels[resting, ticks], side, ticks, lots, now_ns)
        self._forget_finished()
        return fills

    def _trade_at(
        self, level: _Level, side: Side, ticks: int, lots: int, now_ns: int
    ) -> list[PaperFill]:
        """Follow the queue: what has left in front of an order of ours, what is there, ours."""
        fills: list[PaperFill] = []
        for number, place in level.own.items():
            lots -= level.departures.explain(lots, place, now_ns)
            ahead = self._engine.lots_ahead(number)
            met = min(lots, ahead + self._engine.remaining(number))
            more, left = self._aggress(side, ticks, met)
            fills += more
            lots -= met - left
        return fills

    # -- the recorded liquidity beside ours ---------------------------------------------------

    @contextmanager
    def _recorded_levels(self, side: Side, lots: int, limit: int | None) -> Iterator[None]:
        """Put into the engine what an order of `side` could meet now, and take it out again."""
        other = opposite(side)
        numbers = []
        missing = lots
        for ticks, free in self._free_levels(other, limit):
            unqueued = free - self._queued((other, ticks))
            if unqueued > 0:
                numbers.append(self._rest_nobody((other, ticks), unqueued))
            missing -= free
            if missing <= 0:
                break
        yield
        for number in numbers:
            if self._engine.remaining(number):
                self._engine.cancel(number)

    def _rest_nobody(self, key: _Key, lots: int) -> int:
        side, ticks = key
        number = self.next_number()
        matches = self._engine.submit(number, side, lots, ticks)
        # `on_book` has filled whatever of ours the recorded book crosses.
        assert not matches, f"recorded {side} at {ticks} ticks crosses orders of ours: {matches}"
        return number

    def _level(self, key: _Key) -> _Level:
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = _Level()
        return level

    def _take(self, key: _Key, lots: int) -> None:
        self._taken[key] = self._taken.get(key, 0) + lots
        if key in self._levels:
            self._levels[key].fitting_lots = -1

    def _queued(self, key: _Key) -> int:
        level = self._levels.get(key)
        return sum(map(self._engine.remaining, level.nobody)) if level is not None else 0

    def _free(self, key: _Key) -> int:
        return self.book.lots_at(*key) - self._taken.get(key, 0)

    def _free_levels(self, side: Side, limit: int | None) -> Iterator[tuple[int, int]]:
        """Walk what is not taken of one recorded side, best first, as far as a limit."""
        wanted = 16
        done = 0
        while True:
            levels = self.book.depth(wanted)[0 if side == "buy" else 1]
            for ticks, _ in levels[done:].tolist():
                if limit is not None and (ticks > limit if side == "sell" else ticks < limit):
                    return
                free = self._free((side, ticks))
                if free > 0:
                    yield ticks, free
            if len(levels) < wanted:
                return
            done, wanted = wanted, wanted * 4

    def _crosses(self, side: Side, ticks: int) -> bool:
        best = self.book.best_ask if side == "buy" else self.book.best_bid
        return best is not None and (ticks >= best[0] if side == "buy" else ticks <= best[0])

    def _queue_up(self, side: Side, ticks: int) -> None:
        # All that rests at the price now goes ahead of the order that comes.
        key = (side, ticks)
        ahead = self._free(key) - self._queued(key)
        if ahead > 0:
            level = self._level(key)
            level.nobody[self._rest_nobody(key, ahead)] = level.place()
            level.fitting_lots = -1
            self._queued_at[key] = None

    def _shrink_queue(self, key: _Key, level: _Level, now_ns: int) -> None:
        excess = self._queued(key) - max(self._free(key), 0)
        if excess <= 0:
            return
        queue = [self._engine.remaining(number) for number in level.nobody]
        leaving = newest_first(queue, excess)
        for (number, place), step in zip(level.nobody.items(), leaving, strict=True):
            if step:
                level.departures.note(place, step, now_ns)
                self._engine.reduce(number, step)
        level.nobody = {
            number: place
            for number, place in level.nobody.items()
            if self._engine.remaining(number)
        }
        if not level.nobody:
            del self._queued_at[key]

    def _has_own_within(self, side: Side, ticks: int) -> bool:
        best = self._engine.best_bid if side == "buy" else self._engine.best_ask
        return best is not None and (best[0] >= ticks if side == "buy" else best[0] <= ticks)

    def _meet_crossing(self, side: Side) -> list[PaperFill]:
        """Fill our orders on `side` with recorded orders of the other side that cross them."""
        fills: list[PaperFill] = []
        other = opposite(side)
        best = self._engine.best_bid if side == "buy" else self._engine.best_ask
        if best is None or not self._crosses(side, best[0]):
            return fills
        for ticks, free in list(self._free_levels(other, best[0])):
            more, left = self._aggress(other, ticks, free)
            fills += more
            if left < free:
                self._take((other, ticks), free - left)
        self._forget_finished()
        return fills

    def _aggress(self, side: Side, ticks: int, lots: int) -> tuple[list[PaperFill], int]:
        """Let an order of nobody meet ours; return our fills and the lots that met nothing."""
        if lots <= 0:
            return [], 0
        number = self.next_number()
        matches = self._engine.submit(number, side, lots, ticks)
        left = self._engine.remaining(number)
        if left:
            self._engine.cancel(number)
        return self._fills(matches, None), left

    def _fills(self, matches: list[Match], taker: int | None) -> list[PaperFill]:
        fills = []
        for match in matches:
            self._match_number += 1
            if match.maker_id in self._own:
                fills.append(
                    PaperFill(match.maker_id, match.ticks, match.lots, True, self._match_number)
                )
            if taker is not None:
                fills.append(PaperFill(taker, match.ticks, match.lots, False, self._match_number))
        return fills

    def _forget_finished(self) -> None:
        for number in [number for number in self._own if not self._engine.remaining(number)]:
            key = self._own.pop(number)
            level = self._levels[key]
            del level.own[number]
            if not level.own:
                for nobody in level.nobody:
                    if self._engine.remaining(nobody):
                        self._engine.cancel(nobody)
                del self._levels[key]
                self._queued_at.pop(key, None)
