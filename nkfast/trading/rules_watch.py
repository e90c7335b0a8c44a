"""Notices when a market's rules change: it is paused, delisted, or asks for larger orders."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from nkfast.errors import SymbolNotFoundError, VenueError
from nkfast.venue.port import ask_each

if TYPE_CHECKING:
    from nkfast.core.market import Market
    from nkfast.trading.reasons import Reasons
    from nkfast.venue.port import Venue

__all__ = ["RulesWatch"]

#: What is looked at. Fees are not: the venue tells them of no market, they are learned from fills.
_RULES = (
    "is_active",
    "is_paused",
    "pause_buys",
    "pause_sells",
    "allow_market_orders",
    "min_quantity",
    "min_notional",
    "min_price",
    "max_price",
)
#: Every price and quantity that we have rests on these.
_GRID = ("price_decimals", "quantity_decimals")
#: Rules are read at most so often, and so often while nothing can be traded.
_GAP_S = 1.0
_PAUSED_S = 10.0


class RulesWatch:
    """Reads the rules of every market at an interval.

    Parameters
    ----------
    venue, markets, reasons
        What to read, what was known, and who counts: RULES_CHANGED, RULES_FAILED.
    interval_s : float
        Between two readings.
    on_rules : callable
        Is told the symbol and its market when a rule has changed; None when it is gone.
    on_grid : callable
        Is told the symbol when ticks or lots have another size: what we hold does not fit them.
    """

    def __init__(
        self,
        *,
        venue: "Venue",
        markets: Mapping[str, "Market"],
        reasons: "Reasons",
        interval_s: float,
        on_rules: Callable[[str, "Market | None"], None],
        on_grid: Callable[[str], None],
    ) -> None:
        self._venue = venue
        self._known: dict[str, Market | None] = dict(markets)
        self._grids = {symbol: _values(market, _GRID) for symbol, market in markets.items()}
        self._reasons = reasons
        self._interval_s = interval_s
        self._on_rules = on_rules
        self._on_grid = on_grid
        self._soon = asyncio.Event()

    def look_soon(self) -> None:
        """Read before the interval is over: something was refused, perhaps by new rules."""
        self._soon.set()

    async def run(self) -> None:
        """Read at the interval, until cancelled; more often while a market is paused."""
        while True:
            await asyncio.sleep(_GAP_S)
            is_paused = any(map(_is_paused, self._known.values()))
            interval_s = min(self._interval_s, _PAUSED_S) if is_paused else self._interval_s
            with suppress(TimeoutError):
                async with asyncio.timeout(max(interval_s - _GAP_S, 0)):
                    await self._soon.wait()
            self._soon.clear()
            await ask_each(self._read, tuple(self._known))

    async def _read(self, symbol: str) -> None:
        try:
            self._look(symbol, await self._venue.read_market(symbol))
        except SymbolNotFoundError:
            self._look(symbol, None)
        except VenueError as error:
            self._reasons.count("RULES_FAILED", f"{symbol}: {error}")

    def _look(self, symbol: str, market: "Market | None") -> None:
        if market is not None and _values(market, _GRID) != self._grids[symbol]:
            self._on_grid(symbol)
            return
        before = self._known[symbol]
        changed = _changes(before, market)
        if changed:
            self._known[symbol] = market
            self._reasons.count("RULES_CHANGED", f"{symbol}: {changed}")
            self._on_rules(symbol, market)


def _is_paused(market: "Market | None") -> bool:
    if market is None or not market.is_active:
        return True
    return market.is_paused or market.pause_buys or market.pause_sells


def _values(market: "Market", names: tuple[str, ...]) -> list[object]:
    return [getattr(market, name) for name in names]


def _changes(before: "Market | None", now: "Market | None") -> str:
    if before is None or now is None:
        return "" if before is now else ("it is gone" if now is None else "it is back")
    return ", ".join(
        f"{name} {was} -> {is_}"
        for name, was, is_ in zip(
            _RULES, _values(before, _RULES), _values(now, _RULES), strict=True
        )
        if was != is_
    )
