"""Charts as SVG, made here: a report must open anywhere, without a network or a program."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

__all__ = ["Line", "Mark", "chart"]

_WIDTH, _HEIGHT = 960, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 12, 12, 26
_TICKS = 5


class Line(NamedTuple):
    """One curve: a name, a colour, a value for each time; None leaves a gap."""

    name: str
    color: str
    values: Sequence[float | None]


class Mark(NamedTuple):
    """One point of its own: Unix milliseconds, a value, a colour, what is said of it."""

    time_ms: int
    value: float
    color: str
    text: str


def chart(
    title: str, times_ms: Sequence[int], lines: Sequence[Line], marks: Sequence[Mark] = ()
) -> str:
    """Draw curves over time.

    Parameters
    ----------
    title : str
    times_ms : sequence of int
        Unix milliseconds, rising.
    lines : sequence of Line
        Each as long as ``times_ms``.
    marks : sequence of Mark

    Returns
    -------
    str
        An ``svg`` element in a ``figure``; empty where there is nothing to be drawn.
    """
    values = [value for line in lines for value in line.values if value is not None]
    values += [mark.value for mark in marks]
    if not times_ms or not values:
        return ""
    low, high = min(values), max(values)
    pad = (high - low) * 0.04 or abs(high) * 0.001 or 1.0
    area = _Area(times_ms[0], max(times_ms[-1], times_ms[0] + 1), low - pad, high + pad)
    parts = [*area.grid()]
    for line in lines:
        for points in _runs(area, times_ms, line.values):
            style = f'fill="none" stroke="{line.color}" stroke-width="1.5"'
            parts.append(f'<polyline {style} points="{points}"/>')
    for mark in marks:
        x, y = area.place(mark.time_ms, mark.value)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{mark.color}">'
            f"<title>{escape(mark.text)}</title></circle>"
        )
    legend = " ".join(
        f'<span style="color:{line.color}">&#9644; {escape(line.name)}</span>' for line in lines
    )
    return (
        f"<figure><figcaption>{escape(title)} {legend}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
    )


class _Area(NamedTuple):
    """What is shown: from when to when, from which value to which."""

    first_ms: int
    last_ms: int
    low: float
    high: float

    def place(self, time_ms: int, value: float) -> tuple[float, float]:
        right = (time_ms - self.first_ms) / (self.last_ms - self.first_ms)
        up = (value - self.low) / (self.high - self.low)
        return (
            _LEFT + right * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def grid(self) -> list[str]:
        parts: list[str] = []
        for step in range(_TICKS):
            part = step / (_TICKS - 1)
            value = self.low + part * (self.high - self.low)
            time_ms = self.first_ms + round(part * (self.last_ms - self.first_ms))
            x, y = self.place(time_ms, value)
            anchor = "start" if not step else "end" if step == _TICKS - 1 else "middle"
            beside = f'x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end"'
            below = f'x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}"'
            parts += (
                f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#8884" fill="none"/>',
                f"<text {beside}>{value:,.6g}</text>",
                f"<text {below}>{_clock(time_ms)}</text>",
            )
        return parts


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%m-%d %H:%M:%S")


def _runs(area: _Area, times_ms: Sequence[int], values: Sequence[float | None]) -> list[str]:
    """Return the points of each stretch without a gap."""
    runs: list[list[str]] = [[]]
    for time_ms, value in zip(times_ms, values, strict=True):
        if value is None:
            runs.append([])
            continue
        x, y = area.place(time_ms, value)
        runs[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(points) for points in runs if points]
