"""The loss of the day against its limit, compared before every decision."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple

from nkfast.errors import RiskError
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, share, subtract

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.trading.day import Day
    from nkfast.trading.ledger import Ledger

__all__ = ["DailyLoss"]

_ANY_MID = 1 << 65  # twice the highest price in ticks


class _Bearable(NamedTuple):
    """Between which sums of best bid and best ask, in ticks, the day's loss is within its limit."""

    version: int  # of the ledger
    baseline: Decimal
    book: "OrderBook"
    least: int
    most: int


class DailyLoss:
    """Compares what our fills made since the day began with the most that may be lost.

    Equity is what all fills made, open positions valued at the mid. Where the home market alone
    decides what it is, `prepare` works out between which mids the loss is bearable; there is no
    more to look at then than the best prices.

    Parameters
    ----------
    limit : Decimal or None
        The most, in the home market's quote asset; None is no limit.
    books : mapping of str to OrderBook
        What values positions.
    ledger : Ledger
        What our fills made.
    day : Day
        Where the day's equity began.
    """

    def __init__(
        self,
        limit: Decimal | None,
        *,
        books: "Mapping[str, OrderBook]",
        ledger: "Ledger",
        day: "Day",
    ) -> None:
        self._limit = limit
        self._books = books
        self._ledger = ledger
        self._day = day
        # Of all fills, by asset, as of a version of the ledger; and the version judged flat.
        self._made: tuple[int, Mapping[str, Decimal]] = (-1, {})
        self._judged_flat = -1
        self._bearable: _Bearable | None = None

    def check(self) -> None:
        """Compare the day's loss with its limit; no word while what is owned has no price.

        Raises
        ------
        nkfast.errors.RiskError
            Code MAX_DAILY_LOSS: trading is to be halted.
        """
        limit = self._limit
        if limit is None:
            return
        version = self._ledger.version
        if version == self._judged_flat and not self._day.is_over:
            return  # no price changes what nothing is owned of
        known = self._bearable
        if (
            known is not None
            and known.version == version
            and known.baseline is self._day.baseline
            and not self._day.is_over
        ):
            bid, ask = known.book.best_bid, known.book.best_ask
            if bid is not None and ask is not None and known.least <= bid[0] + ask[0] <= known.most:
                return
        equity = self._equity()
        if equity is None:
            return
        loss = self._day.loss(equity)
        if loss > limit:
            raise RiskError("MAX_DAILY_LOSS", plain(loss), plain(limit))
        if not self._made_by_fills().keys() - {self._ledger.market.quote}:
            self._judged_flat = version

    def prepare(self) -> None:
        """Work out between which mids the loss is bearable, where that is not known."""
        known, version = self._bearable, self._ledger.version
        if known is None or known.version != version or known.baseline is not self._day.baseline:
            self._bearable = self._bearable_mids(version)

    def _bearable_mids(self, version: int) -> "_Bearable | None":
        """Return between which mids the day's loss is bearable, where one market decides that."""
        limit, baseline, home = self._limit, self._day.baseline, self._ledger.market
        made, book = self._made_by_fills(), self._books.get(home.symbol)
        if (
            limit is None
            or baseline is None
            or book is None
            or made.keys() - {home.base, home.quote}
        ):
            return None
        position = made.get(home.base, ZERO)
        if not position:
            return None
        # Equity is cash and the position at the mid, which is half the sum of the best prices.
        needed = subtract(subtract(baseline, limit), made.get(home.quote, ZERO))
        count = Fraction(needed) / (Fraction(position) * Fraction(book.market.tick_size) / 2)
        if position > 0:
            return _Bearable(version, baseline, book, ceil(count), _ANY_MID)
        return _Bearable(version, baseline, book, 0, floor(count))

    def _equity(self) -> Decimal | None:
        """Return what all our fills made, valued now in the home market's quote asset."""
        quote, equity = self._ledger.market.quote, ZERO
        for asset, change in self._made_by_fills().items():
            value = change if asset == quote else self._valued(asset, change, quote)
            if value is None:
                return None
            equity = add(equity, value)
        return equity

    def _made_by_fills(self) -> Mapping[str, Decimal]:
        """Return by how much all our fills changed what is owned of each asset, zeros left out."""
        ledger = self._ledger
        if self._made[0] != ledger.version:
            made: dict[str, Decimal] = {}
            for profit in ledger.profits.values():
                made[profit.base_asset] = add(made.get(profit.base_asset, ZERO), profit.position)
                made[profit.quote_asset] = add(made.get(profit.quote_asset, ZERO), profit.cash)
            kept = {asset: amount for asset, amount in made.items() if amount}
            self._made = (ledger.version, kept)
        return self._made[1]

    def _valued(self, asset: str, amount: Decimal, quote: str) -> Decimal | None:
        book = self._books.get(f"{asset}/{quote}")
        if book is not None:
            return None if book.mid is None else multiply(amount, book.mid)
        book = self._books.get(f"{quote}/{asset}")
        return None if book is None or book.mid is None else share(amount, ONE, book.mid)
