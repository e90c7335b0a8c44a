"""What a journal's fills earned, day by day and market by market, to the last digit.

A day's equity change is its realized profit and the change of what the open lots would earn. Each
day's lots are valued at the last price that an order of ours traded at by its end, so that the days
add up to the whole; from the last of those prices to the one of now is one more step.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from nkfast.errors import JournalCorruptError
from nkfast.trading.exact import ZERO, add, subtract
from nkfast.trading.journal_reading import reading
from nkfast.trading.journal_rows import fill_of
from nkfast.trading.ledger import Profit
from nkfast.venue.port import Execution

__all__ = ["DayProfit", "MarketProfit", "profit_history"]


@dataclass(frozen=True, slots=True)
class DayProfit:
    """What one UTC day did on one market, in units of its quote asset.

    Attributes
    ----------
    day : str
        ``2026-11-25``.
    realized, unrealized : Decimal
        What matched lots earned, and by how much the worth of the open ones changed; together the
        change in equity.
    fees : mapping of str to Decimal
        By the asset that they were paid in. Those in base or quote are in ``realized`` already.
    unknown_fees : int
        Fills whose fee is not known yet, less those whose fee became known.
    """

    day: str
    realized: Decimal = ZERO
    unrealized: Decimal = ZERO
    fees: Mapping[str, Decimal] = field(default_factory=dict)
    unknown_fees: int = 0
    fills: int = 0

    @property
    def equity_change(self) -> Decimal:
        """By how much the day changed our wealth."""
        return add(self.realized, self.unrealized)


@dataclass(frozen=True, slots=True)
class MarketProfit:
    """What all fills on one market did, and each day of it.

    ``last_price`` is that of the newest fill.
    """

    total: Profit
    last_price: Decimal
    days: tuple[DayProfit, ...]

    def marked(self, mark: Decimal, day: str) -> "MarketProfit":
        """Return the same with the open lots valued at another price, as of a day."""
        change = subtract(self.total.unrealized(mark), self.total.unrealized(self.last_price))
        return MarketProfit(self.total, mark, (*self.days, DayProfit(day, unrealized=change)))


class _Market:
    """The days of one market while its events are read."""

    def __init__(self, symbol: str) -> None:
        base, quote = symbol.split("/")
        self._profit = self._before = Profit(base, quote)
        self._price = self._price_before = ZERO
        self._day = ""
        self._days: list[DayProfit] = []

    def take(self, fill: Execution, known: Execution | None) -> None:
        # A fee that is told late carries the time of its fill.
        day = datetime.fromtimestamp(fill.time_ms / 1000, UTC).date().isoformat()
        if day != self._day:
            self._end_day()
            self._day = day
        if known is None:
            self._profit = self._profit.after_fill(fill)
            self._price = fill.price
        else:
            self._profit = self._profit.after_fee(known, fill)

    def result(self) -> MarketProfit:
        self._end_day()
        return MarketProfit(self._profit, self._price, tuple(self._days))

    def _end_day(self) -> None:
        if not self._day:
            return
        after, before = self._profit, self._before
        worth = subtract(after.unrealized(self._price), before.unrealized(self._price_before))
        fees = {
            asset: subtract(fee, before.fees.get(asset, ZERO)) for asset, fee in after.fees.items()
        }
        self._days.append(
            DayProfit(
                day=self._day,
                realized=subtract(after.realized, before.realized),
                unrealized=worth,
                fees={asset: fee for asset, fee in fees.items() if fee},
                unknown_fees=after.unknown_fees - before.unknown_fees,
                fills=after.fills - before.fills,
            )
        )
        self._before, self._price_before, self._day = after, self._price, ""


def profit_history(path: str | os.PathLike[str]) -> dict[str, MarketProfit]:
    """Play a journal's fills again, in the order in which they were counted, by symbol.

    A fee that was told late belongs to the day of its fill.

    Raises
    ------
    nkfast.errors.JournalError
        There is no journal, or it cannot be read.
    """
    markets: dict[str, _Market] = {}
    known: dict[tuple[str, str, str], Execution] = {}
    with reading(path) as store:
        for number, client_id, body in store.execute(
            "SELECT n, client_id, body FROM event WHERE kind = 'news' ORDER BY n"
        ):
            try:
                for fill, is_fee in _executions(body):
                    key = client_id, fill.trade_id, fill.order_id
                    market = markets.setdefault(fill.symbol, _Market(fill.symbol))
                    market.take(fill, known[key] if is_fee else None)
                    known[key] = fill
            except (ValueError, TypeError, LookupError, ArithmeticError) as error:
                raise JournalCorruptError(
                    str(path), f"event {number} cannot be read: {error!r}; nkfast journal verify"
                ) from error
    return {symbol: market.result() for symbol, market in markets.items()}


def _executions(body: str) -> Iterator[tuple[Execution, bool]]:
    """Give the fill of an event, and the one whose fee it tells."""
    _, fill, fee = json.loads(body)
    if fill is not None:
        yield fill_of(fill), False
    if fee is not None:
        yield fill_of(fee), True
