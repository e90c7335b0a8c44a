"""``nkfast pnl``: what instances earned, from their journals, to the last digit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from nkfast.app.connection import open_rest
from nkfast.app.instance import Instance
from nkfast.app.loop import run
from nkfast.trading.exact import ZERO, add, multiply, plain
from nkfast.trading.profit_history import DayProfit, profit_history
from nkfast.venue.clock import RealClock

__all__ = ["BY", "Marks", "ask_marks", "pnl_rows"]

#: What rows can be told apart by, beside the mode and the quote asset, which are never mixed.
BY = ("instance", "strategy", "market", "day")

Marks = Mapping[str, Decimal]


@dataclass(slots=True)
class _Sum:
    realized: Decimal = ZERO
    unrealized: Decimal = ZERO
    fees: dict[str, Decimal] = field(default_factory=dict)
    unknown_fees: int = 0
    fills: int = 0

    def take(self, day: DayProfit) -> None:
        self.realized = add(self.realized, day.realized)
        self.unrealized = add(self.unrealized, day.unrealized)
        for asset, fee in day.fees.items():
            self.fees[asset] = add(self.fees.get(asset, ZERO), fee)
        self.unknown_fees += day.unknown_fees
        self.fills += day.fills


def pnl_rows(
    instances: Iterable[Instance], by: Sequence[str], marks: Marks | None = None
) -> list[dict[str, Any]]:
    """Add up what the newest runs' journals hold; money is text in plain digits.

    Parameters
    ----------
    instances : iterable of Instance
    by : sequence of str
        Of `BY`. Modes and quote assets are told apart always: pretended money is not real, and
        one asset is not another.
    marks : mapping of str to Decimal, optional
        What open lots are worth, by symbol; the price of a market's newest fill without.

    Returns
    -------
    list of dict
        In each row ``realized`` and ``unrealized`` are ``equity_change`` exactly, and the rows of
        one mode and quote asset add up to the same whatever they are told apart by.
    """
    today = datetime.fromtimestamp(RealClock().time_ns() / 1e9, UTC).date().isoformat()
    sums: dict[tuple[str, ...], _Sum] = {}
    for instance in instances:
        record = instance.last_run()
        if record is None or not instance.newest_journal.is_file():
            continue
        for symbol, market in profit_history(instance.newest_journal).items():
            if marks is not None and symbol in marks:
                market = market.marked(marks[symbol], today)
            words = {"instance": instance.name, "strategy": record.strategy, "market": symbol}
            for day in market.days:
                named = words | {"day": day.day}
                key = record.mode, symbol.split("/")[1], *(named[word] for word in by)
                sums.setdefault(key, _Sum()).take(day)
    return [_row(key, by, total) for key, total in sorted(sums.items())]


def _row(key: tuple[str, ...], by: Sequence[str], total: _Sum) -> dict[str, Any]:
    mode, quote, *words = key
    return {
        "mode": mode,
        **dict(zip(by, words, strict=True)),
        "quote": quote,
        "fills": total.fills,
        "realized": plain(total.realized),
        "unrealized": plain(total.unrealized),
        "equity_change": plain(add(total.realized, total.unrealized)),
        "fees": {asset: plain(fee) for asset, fee in sorted(total.fees.items())},
        "unknown_fees": total.unknown_fees,
    }


def ask_marks(instances: Iterable[Instance]) -> dict[str, Decimal]:
    """Ask each instance's exchange for the mids of the markets that it traded.

    Raises
    ------
    nkfast.errors.VenueError
        It cannot be asked, or does not list a market.
    """
    wanted: dict[str, set[str]] = {}
    for instance in instances:
        record = instance.last_run()
        if record is not None and instance.newest_journal.is_file():
            traded = profit_history(instance.newest_journal)
            wanted.setdefault(record.rest_url, set()).update(traded)

    async def ask() -> dict[str, Decimal]:
        marks = {}
        for rest_url, symbols in wanted.items():
            async with open_rest(rest_url, None) as rest:
                for symbol in sorted(symbols):
                    book = await rest.get_order_book(symbol=symbol, limit=2)
                    if book.bids and book.asks:
                        both = add(book.bids[0].price, book.asks[0].price)
                        marks[symbol] = multiply(both, Decimal("0.5"))
        return marks

    return run(ask())
