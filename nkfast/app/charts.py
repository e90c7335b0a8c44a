"""Charts as SVG, made here: a report must open anywhere, without a network or a program.

The curves are stretched to whatever width there is; letters, lines and marks are not, so that a
chart is read on a telephone as well. `STYLE` has to be on the page.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from math import floor, log10
from typing import NamedTuple

__all__ = ["STYLE", "Line", "Mark", "Marks", "chart"]

STYLE = """
.plot { position: relative; height: 15rem; margin: .4rem 0 1.8rem;
  font: .72rem system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.plot svg { position: absolute; left: 5.5rem; width: calc(100% - 6rem); height: 100%; }
.plot span { position: absolute; opacity: .75; white-space: nowrap; }
.plot .y { right: calc(100% - 5.1rem); transform: translateY(-50%); }
.plot .x { top: calc(100% + .3rem); transform: translateX(-50%); }
.plot * { vector-effect: non-scaling-stroke; }
figure { margin: 1.4rem 0; }
figcaption { font-weight: 600; }
figcaption span { font-weight: 400; margin-left: .8rem; white-space: nowrap; }
"""
_WIDTH, _HEIGHT = 1000, 300
#: Lines across, about; times below.
_RULES, _TIMES = 5, 4
_DAY_MS = 24 * 3600 * 1000


class Line(NamedTuple):
    """One curve: a name, a colour, a value for each time; None leaves a gap."""

    name: str
    color: str
    values: Sequence[float | None]


class Mark(NamedTuple):
    """One point of its own: Unix milliseconds, a value, what is said of it."""

    time_ms: int
    value: float
    text: str


class Marks(NamedTuple):
    """Points that mean the same: a name, a colour."""

    name: str
    color: str
    marks: Sequence[Mark]


def chart(
    title: str, times_ms: Sequence[int], lines: Sequence[Line], points: Sequence[Marks] = ()
) -> str:
    """Draw curves over time.

    Parameters
    ----------
    title : str
    times_ms : sequence of int
        Unix milliseconds, rising.
    lines : sequence of Line
        Each as long as ``times_ms``.
    points : sequence of Marks

    Returns
    -------
    str
        A ``figure``; empty where there is nothing to be drawn.
    """
    values = [value for line in lines for value in line.values if value is not None]
    values += [mark.value for kind in points for mark in kind.marks]
    if not times_ms or not values:
        return ""
    area = _Area.around(times_ms[0], times_ms[-1], min(values), max(values))
    drawn = [f'<path d="M0 {area.y(value):.1f}H{_WIDTH}" stroke="#8884"/>' for value in area.rules]
    for line in lines:
        drawn += (
            f'<polyline fill="none" stroke="{line.color}" stroke-width="1.5" points="{run}"/>'
            for run in _runs(area, times_ms, line.values)
        )
    for kind in points:
        # A stroke of no length with round ends is a dot that no stretching makes an egg.
        drawn.append(f'<g stroke="{kind.color}" stroke-width="6" stroke-linecap="round">')
        drawn += (
            f'<path d="M{area.x(mark.time_ms):.1f} {area.y(mark.value):.1f}h0">'
            f"<title>{escape(mark.text)}</title></path>"
            for mark in kind.marks
        )
        drawn.append("</g>")
    named = [(line.name, line.color, "&#9644;") for line in lines if line.name]
    named += [(kind.name, kind.color, "&#9679;") for kind in points]
    legend = "".join(
        f' <span style="color:{color}">{sign} {escape(name)}</span>' for name, color, sign in named
    )
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none"'
    return (
        f'<figure><figcaption>{escape(title)}{legend}</figcaption><div class="plot">'
        f'<svg {box} role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'
        f"{''.join(area.labels())}</div></figure>"
    )


class _Area(NamedTuple):
    """What is shown: from when to when, from which value to which, ruled at round values."""

    first_ms: int
    last_ms: int
    low: float
    high: float
    step: float

    @classmethod
    def around(cls, first_ms: int, last_ms: int, low: float, high: float) -> "_Area":
        pad = (high - low) * 0.04 or abs(high) * 0.001 or 1.0
        low, high = low - pad, high + pad
        rough = (high - low) / _RULES
        power = 10.0 ** floor(log10(rough))
        step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
        return cls(first_ms, max(last_ms, first_ms + 1), low, high, step)

    def x(self, time_ms: int) -> float:
        return (time_ms - self.first_ms) / (self.last_ms - self.first_ms) * _WIDTH

    def y(self, value: float) -> float:
        return (self.high - value) / (self.high - self.low) * _HEIGHT

    @property
    def rules(self) -> list[float]:
        first, last = floor(self.low / self.step) + 1, floor(self.high / self.step)
        return [index * self.step for index in range(first, last + 1)]

    def labels(self) -> Iterator[str]:
        decimals = max(0, -floor(log10(self.step)))
        for value in self.rules:
            # Not -0.
            shown = f"{value if abs(value) > self.step / 2 else 0.0:,.{decimals}f}"
            if len(shown) > 13:
                shown = f"{value:.4g}"
            yield f'<span class="y" style="top:{self.y(value) / _HEIGHT:.2%}">{shown}</span>'
        is_long = self.last_ms - self.first_ms >= _DAY_MS
        for index in range(_TIMES):
            part = (2 * index + 1) / (2 * _TIMES)
            time = datetime.fromtimestamp(
                (self.first_ms + part * (self.last_ms - self.first_ms)) / 1000, UTC
            )
            shown = time.strftime("%d %b %H:%M" if is_long else "%H:%M:%S")
            place = f"left:calc(5.5rem + (100% - 6rem) * {part})"
            yield f'<span class="x" style="{place}">{shown}</span>'


def _runs(area: _Area, times_ms: Sequence[int], values: Sequence[float | None]) -> list[str]:
    """Return the points of each stretch without a gap."""
    runs: list[list[str]] = [[]]
    for time_ms, value in zip(times_ms, values, strict=True):
        if value is None:
            runs.append([])
            continue
        runs[-1].append(f"{area.x(time_ms):.1f},{area.y(value):.1f}")
    return [" ".join(points) for points in runs if points]
