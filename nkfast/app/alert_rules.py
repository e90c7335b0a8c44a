"""What of a bot's news is told at once, what later and what not at all; no time, no sockets."""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from nkfast.app.config.alerts import AlertSettings
from nkfast.trading.exact import ZERO, add, plain

__all__ = ["AlertRules", "Due", "News"]

_LINES_MAX = 20
_KEPT_MAX = 200
_S_PER_H = 3600


class News(NamedTuple):
    """Something that happened. ``value`` is that of a fill, quote units."""

    text: str
    is_urgent: bool = False
    value: Decimal | None = None


class Due(NamedTuple):
    """What is to be told now."""

    text: str
    is_urgent: bool


class AlertRules:
    """Gathers news and says what is due.

    Parameters
    ----------
    settings : AlertSettings
    now_s : float
        Any clock that never goes back.
    minute : callable
        Returns the minute of the local day.
    """

    def __init__(self, settings: AlertSettings, now_s: float, minute: Callable[[], int]) -> None:
        self._settings = settings
        self._minute = minute
        self._began_s = self._digest_s = now_s
        self._lines: deque[str] = deque()
        self._is_urgent = False
        self._dropped = 0
        self._status = "no status yet"
        self._fills, self._worth = 0, ZERO
        self._silent: dict[str, float] = {}

    def take(self, news: News) -> None:
        """Take note of something."""
        if news.value is not None:
            self._fills += 1
            self._worth = add(self._worth, news.value)
            if news.value < self._settings.min_value:
                return
        if self._lines and self._lines[-1] == news.text:
            return  # said a moment ago
        self._is_urgent |= news.is_urgent
        self._lines.append(news.text)
        if len(self._lines) > _KEPT_MAX:
            self._lines.popleft()
            self._dropped += 1

    def note_status(self, text: str) -> None:
        """Take note of where the bot stands, for the digest."""
        self._status = text

    def look(self, now_s: float, step_age_s: float, data_age_s: float | None) -> None:
        """Take note of how long ago the bot did a step, and the market told anything."""
        limit_s = float(self._settings.silence_s)
        if not limit_s:
            return
        is_stalled = step_age_s > limit_s
        self._watch("the bot has not moved", step_age_s, limit_s, now_s)
        if data_age_s is not None and not is_stalled:  # else its age is not known
            self._watch("no market data", data_age_s, limit_s, now_s)

    def _watch(self, what: str, age_s: float, limit_s: float, now_s: float) -> None:
        if age_s > limit_s:
            if what not in self._silent:
                self._silent[what] = now_s - age_s
                self.take(News(f"SILENCE {what} for {age_s:.0f} s", is_urgent=True))
        elif what in self._silent:
            since_s = self._silent.pop(what)
            self.take(News(f"over after {now_s - since_s:.0f} s: {what}", is_urgent=True))

    def due(self, now_s: float, *, is_last: bool = False) -> Due | None:
        """Return what is to be told now, all in one; None when there is nothing, or it can wait."""
        hours = float(self._settings.digest_hours)
        if hours and now_s - self._digest_s >= hours * _S_PER_H:
            self._lines.append(self._digest(now_s))
            self._digest_s = now_s
        if not self._lines or (self._is_quiet() and not self._is_urgent and not is_last):
            return None
        lines, more = list(self._lines)[-_LINES_MAX:], max(len(self._lines) - _LINES_MAX, 0)
        more += self._dropped
        if more:
            lines.insert(0, f"({more} more before)")
        due = Due("\n".join(lines), self._is_urgent)
        self._lines.clear()
        self._is_urgent, self._dropped = False, 0
        return due

    def _digest(self, now_s: float) -> str:
        hours = (now_s - self._digest_s) / _S_PER_H
        text = f"DIGEST of {hours:.1f} h: {self._fills} fills worth {plain(self._worth)};"
        text += f" {self._status}; up {(now_s - self._began_s) / _S_PER_H:.1f} h"
        self._fills, self._worth = 0, ZERO
        return text

    def _is_quiet(self) -> bool:
        hours = self._settings.quiet_minutes
        if hours is None:
            return False
        begin, end = hours
        now = self._minute()
        return begin <= now < end if begin <= end else now >= begin or now < end
