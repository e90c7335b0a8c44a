"""Candles of one market, kept at the finest resolution and summed up for the coarser ones."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["RESOLUTIONS", "Bar", "CandleHistory", "Day"]

#: Minutes of a bar, as the exchange offers them; every one is a multiple of the first.
RESOLUTIONS: Final = (5, 15, 30, 60, 180, 240, 480, 720, 1440)
DAY_MS: Final = 86_400_000

_MINUTE_MS: Final = 60_000
_FINEST_MS: Final = RESOLUTIONS[0] * _MINUTE_MS
_BAR_COUNT_MAX: Final = 30 * DAY_MS // _FINEST_MS  # thirty days


@dataclass(slots=True)
class Bar:
    """The trades of one interval; prices in ticks, volume in lots, turnover in ticks times lots."""

    start_ms: int  # on the grid of the resolution
    open: int
    high: int
    low: int
    close: int
    volume: int
    turnover: int

    def absorb(self, later: "Bar") -> None:
        """Add the bar of a later interval."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume
        self.turnover += later.turnover


@dataclass(frozen=True, slots=True)
class Day:
    """What happened in the last 24 hours; zeros where nothing did."""

    high: int = 0
    low: int = 0
    volume: int = 0
    turnover: int = 0
    previous: int = 0  # the price 24 hours ago: of the last trade before, else of the first since


class CandleHistory:
    """The last thirty days of one market. Intervals without a trade have no bar."""

    def __init__(self) -> None:
        self._bars: deque[Bar] = deque(maxlen=_BAR_COUNT_MAX)

    def add(self, ticks: int, lots: int, time_ms: int) -> None:
        """Enter a trade; times never decrease."""
        bar = self._bars[-1] if self._bars else None
        if bar is None or time_ms >= bar.start_ms + _FINEST_MS:
            start_ms = time_ms - time_ms % _FINEST_MS
            self._bars.append(Bar(start_ms, ticks, ticks, ticks, ticks, lots, ticks * lots))
            return
        if ticks > bar.high:
            bar.high = ticks
        elif ticks < bar.low:
            bar.low = ticks
        bar.close = ticks
        bar.volume += lots
        bar.turnover += ticks * lots

    def bars(self, minutes: int) -> Iterator[Bar]:
        """Give the bars of a resolution, newest first.

        Raises
        ------
        ValueError
            The exchange has no such resolution.
        """
        if minutes not in RESOLUTIONS:
            raise ValueError(f"resolution {minutes} is none of {RESOLUTIONS}")
        width_ms = minutes * _MINUTE_MS
        group: list[Bar] = []
        for bar in reversed(self._bars):
            if group and bar.start_ms // width_ms != group[-1].start_ms // width_ms:
                yield _sum(group, width_ms)
                group = []
            group.append(bar)
        if group:
            yield _sum(group, width_ms)

    def day(self, now_ms: int) -> Day:
        """Sum up the last 24 hours, to the precision of the finest bars."""
        since_ms = now_ms - DAY_MS
        high = low = volume = turnover = previous = 0
        for bar in reversed(self._bars):
            if bar.start_ms < since_ms:
                previous = bar.close
                break
            high = max(high, bar.high)
            low = min(low, bar.low) if low else bar.low
            volume += bar.volume
            turnover += bar.turnover
            previous = bar.open
        return Day(high, low, volume, turnover, previous)


def _sum(newest_first: list[Bar], width_ms: int) -> Bar:
    oldest = newest_first[-1]
    whole = replace(oldest, start_ms=oldest.start_ms - oldest.start_ms % width_ms)
    for bar in reversed(newest_first[:-1]):
        whole.absorb(bar)
    return whole
