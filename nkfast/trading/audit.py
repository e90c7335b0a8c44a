"""Compares the streamed books with what the venue shows when it is asked.

A stream can lose an update without a gap in its numbers, and then its book is wrong for hours and
looks well. The two cannot be compared by sequence (each counts for itself), nor at one moment; so a
level counts as differing when the venue shows it as it was neither just before nor just after the
question, and a book is believed to have drifted when half of its levels differ three times in a
row. A book whose best bid is not below its best ask for more than a second is wrong without asking,
unless the venue is found to show it so: a market that stands still may stay crossed, and is no
reason to stop the others.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from nkfast.errors import FixedPointError, VenueError

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market
    from nkfast.trading.reasons import Reasons
    from nkfast.venue.port import Venue

__all__ = ["BookAudit"]

_DEPTH = 10
_DRIFTED_SHARE = 0.5
_READS = 3
_READ_GAP_S = 2.0
#: A book that had drifted is looked at again this soon.
_AGAIN_S = 15.0
#: How often it is looked whether a book is crossed; at the second time in a row it is wrong.
_CROSSED_S = 1.0

_Levels = dict[int, int]  # lots by ticks


class BookAudit:
    """Looks at every book at an interval; a book that has drifted is not to be traded on.

    Parameters
    ----------
    venue, markets, books, reasons
        What to compare, and who counts: BOOK_DRIFT, AUDIT_FAILED.
    interval_s : float
        Between two looks.
    on_change : callable
        Is told the symbol whenever a book has drifted, or is well again.

    Attributes
    ----------
    mismatch : dict of str to float
        Share of levels that differed at the newest look, by symbol.
    drifted : set of str
        Symbols of the books that are not to be traded on.
    """

    def __init__(
        self,
        *,
        venue: "Venue",
        markets: Mapping[str, "Market"],
        books: Mapping[str, "OrderBook"],
        reasons: "Reasons",
        interval_s: float,
        on_change: Callable[[str], None],
    ) -> None:
        self.mismatch: dict[str, float] = {}
        self.drifted: set[str] = set()
        self._venue = venue
        self._markets = markets
        self._books = books
        self._reasons = reasons
        self._interval_s = interval_s
        self._on_change = on_change
        self._crossed: set[str] = set()
        self._crossed_there: set[str] = set()  # as the venue shows them, too

    async def run(self) -> None:
        """Look at every book at the interval, until cancelled."""
        waited_s = 0.0
        while True:
            await asyncio.sleep(_CROSSED_S)
            waited_s += _CROSSED_S
            self._look_for_crossed()
            if waited_s >= (min(self._interval_s, _AGAIN_S) if self.drifted else self._interval_s):
                waited_s = 0.0
                await self._look_at_all()

    async def _look_at_all(self) -> None:
        for symbol in self._books:
            try:
                await self.look(symbol)
            except VenueError as error:
                self._reasons.count("AUDIT_FAILED", f"{symbol}: {error}")

    def _look_for_crossed(self) -> None:
        crossed = {symbol for symbol, book in self._books.items() if _is_crossed(book)}
        self._crossed_there &= crossed
        for symbol in crossed & self._crossed - self.drifted - self._crossed_there:
            self._reasons.count("BOOK_DRIFT", f"{symbol}: the best bid is not below the best ask")
            self.drifted.add(symbol)
            self._on_change(symbol)
        self._crossed = crossed

    async def look(self, symbol: str) -> None:
        """Compare one book with what the venue shows.

        Raises
        ------
        nkfast.errors.VenueError
            The venue's book could not be read.
        """
        for read in range(_READS):
            if read:
                await asyncio.sleep(_READ_GAP_S)
            share = await self._differing_share(symbol)
            if share is None:
                return  # the book is not live, or there is nothing to compare with
            self.mismatch[symbol] = share
            if share < _DRIFTED_SHARE:
                if _is_crossed(self._books[symbol]):
                    self._crossed_there.add(symbol)  # no order passes our limits there
                if symbol in self.drifted:
                    self.drifted.remove(symbol)
                    self._on_change(symbol)
                return
        self._reasons.count("BOOK_DRIFT", f"{symbol}: {share:.0%} of the levels differ")
        self.drifted.add(symbol)
        self._on_change(symbol)

    async def _differing_share(self, symbol: str) -> float | None:
        book = self._books[symbol]
        if book.state != "live":
            return None
        before = self._levels(book)
        shown = await self._venue.read_book(symbol, _DEPTH)
        if shown is None or book.state != "live":
            return None
        after = self._levels(book)
        differing = total = 0
        for side, (rows, is_bid) in enumerate(((shown.bids, True), (shown.asks, False))):
            theirs = self._in_ticks(symbol, rows[:_DEPTH])
            wrong, compared = _compare(theirs, before[side], after[side], is_bid=is_bid)
            differing += wrong
            total += compared
        return differing / total if total else 0.0

    def _levels(self, book: "OrderBook") -> tuple[_Levels, _Levels]:
        bids, asks = book.depth(_DEPTH)
        return dict(bids.tolist()), dict(asks.tolist())

    def _in_ticks(self, symbol: str, rows: Sequence[tuple[Decimal, Decimal]]) -> _Levels:
        """Return levels in the market's units; what does not fit them is no level of ours."""
        market, levels = self._markets[symbol], {}
        for price, quantity in rows:
            try:
                levels[market.price_to_ticks(price)] = market.quantity_to_lots(quantity)
            except FixedPointError as error:
                self._reasons.count("AUDIT_FAILED", f"{symbol}: {error}")
        return levels


def _is_crossed(book: "OrderBook") -> bool:
    bid, ask = book.best_bid, book.best_ask
    return book.state == "live" and bid is not None and ask is not None and bid[0] >= ask[0]


def _compare(theirs: _Levels, before: _Levels, after: _Levels, *, is_bid: bool) -> tuple[int, int]:
    """Return how many levels of one side differ, and of how many."""
    wrong = sum(
        lots != before.get(ticks) and lots != after.get(ticks) for ticks, lots in theirs.items()
    )
    # Levels that we had before and after, in the range that was shown, and they have not.
    worst = (min if is_bid else max)(theirs, default=None)
    steady = [
        ticks
        for ticks, lots in before.items()
        if after.get(ticks) == lots
        and ticks not in theirs
        and (worst is None or (ticks >= worst if is_bid else ticks <= worst))
    ]
    return wrong + len(steady), len(theirs) + len(steady)
