"""What a strategy remembers of a market: averages over samples, and what its own trading did to it.

Pure: times are handed in, as Unix milliseconds. Averages keep 28 digits. Whatever is remembered has
an end: a number of samples, or a window of time.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from typing import Any, NamedTuple

from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract

__all__ = ["Adjustment", "ImpactGuard", "MarketWatch", "Window", "adjust", "vwap"]

_KEPT = Context(prec=28, rounding=ROUND_HALF_EVEN)
_HALF = Decimal("0.5")
_SPREADS = 120
#: A window is known to so many parts of its span.
_PARTS = 60


class Window:
    """Numbers of the newest span of time, and their sum.

    Those of a sixtieth of the span are remembered together, and as long as the last of them.

    Parameters
    ----------
    span_ms : int
        What is older is forgotten.
    """

    def __init__(self, span_ms: int) -> None:
        self.span_ms = span_ms
        self._rows: deque[tuple[int, int, Decimal, int]] = deque()  # first, last, sum, count
        self._sum = ZERO
        self._count = 0

    def add(self, time_ms: int, number: Decimal) -> None:
        """Remember a number."""
        first_ms, count, together = time_ms, 1, number
        if self._rows and time_ms - self._rows[-1][0] < self.span_ms // _PARTS:
            first_ms, _, before, count_before = self._rows.pop()
            together, count = add(before, number), count_before + 1
        self._rows.append((first_ms, time_ms, together, count))
        self._sum = add(self._sum, number)
        self._count += 1

    def state(self) -> list[list[Any]]:
        """Return what is remembered, in plain digits."""
        return [[first, last, plain(number), count] for first, last, number, count in self._rows]

    def restore(self, state: Iterable[list[Any]]) -> None:
        """Take back what `state` returned."""
        for first, last, digits, count in state:
            number = Decimal(digits)
            self._rows.append((first, last, number, count))
            self._sum = add(self._sum, number)
            self._count += count

    def sum(self, now_ms: int) -> Decimal:
        """Return the sum of what is not too old."""
        self._forget(now_ms)
        return self._sum

    def count(self, now_ms: int) -> int:
        """Return how many are not too old."""
        self._forget(now_ms)
        return self._count

    def mean(self, now_ms: int) -> Decimal | None:
        """Return their mean, None where there are none."""
        count = self.count(now_ms)
        return _KEPT.divide(self._sum, Decimal(count)) if count else None

    def _forget(self, now_ms: int) -> None:
        while self._rows and self._rows[0][1] <= now_ms - self.span_ms:
            _, _, number, count = self._rows.popleft()
            self._sum = subtract(self._sum, number)
            self._count -= count


class MarketWatch:
    """Averages of a market that is looked at now and then.

    Parameters
    ----------
    ema_alpha : Decimal
        Weight of the newest mid in the exponential average.
    moves_max : int
        Moves of the mid that `mean_move` is of.
    window_ms : int
        The span of `mids`.
    volume_ms : int
        The span of `moved` and `traded`.

    Attributes
    ----------
    mid, spread, median_spread : Decimal or None
        Of the newest sample: in quote units, as a fraction of the mid, and the upper median of the
        last 120 fractions.
    ema, mean_move : Decimal or None
        The average of mids, and of the absolute moves from one to the next, quote units.
    mids, moved, traded : Window
        The mids; what they moved times the mid; what anybody traded, quote units.
    """

    def __init__(self, ema_alpha: Decimal, moves_max: int, window_ms: int, volume_ms: int) -> None:
        self.mid: Decimal | None = None
        self.spread: Decimal | None = None
        self.median_spread: Decimal | None = None
        self.ema: Decimal | None = None
        self.mean_move = ZERO
        self.mids = Window(window_ms)
        self.moved = Window(volume_ms)
        self.traded = Window(volume_ms)
        self._alpha = ema_alpha
        self._spreads: deque[Decimal] = deque(maxlen=_SPREADS)
        self._moves: deque[Decimal] = deque(maxlen=moves_max)

    def sample(self, time_ms: int, bid: Decimal, ask: Decimal) -> None:
        """Look at the best prices."""
        mid = multiply(add(bid, ask), _HALF)
        self.spread = _KEPT.divide(subtract(ask, bid), mid)
        self._spreads.append(self.spread)
        if self.mid is not None:
            move = subtract(mid, self.mid).copy_abs()
            self._moves.append(move)
            self.moved.add(time_ms, multiply(move, mid))
        self._average()
        if self.ema is None:
            self.ema = mid
        else:
            kept = multiply(subtract(ONE, self._alpha), self.ema)
            self.ema = _KEPT.add(multiply(self._alpha, mid), kept)
        self.mids.add(time_ms, mid)
        self.mid = mid

    def state(self) -> dict[str, Any]:
        """Return everything, in plain digits."""
        return {
            "mid": None if self.mid is None else plain(self.mid),
            "ema": None if self.ema is None else plain(self.ema),
            "spreads": [*map(plain, self._spreads)],
            "moves": [*map(plain, self._moves)],
            "mids": self.mids.state(),
            "moved": self.moved.state(),
            "traded": self.traded.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        mid, ema = state["mid"], state["ema"]
        self.mid = None if mid is None else Decimal(mid)
        self.ema = None if ema is None else Decimal(ema)
        self._spreads.extend(map(Decimal, state["spreads"]))
        self._moves.extend(map(Decimal, state["moves"]))
        for window, rows in zip(
            (self.mids, self.moved, self.traded),
            (state["mids"], state["moved"], state["traded"]),
            strict=True,
        ):
            window.restore(rows)
        if self._spreads:
            self.spread = self._spreads[-1]
        self._average()

    def _average(self) -> None:
        if self._spreads:
            self.median_spread = sorted(self._spreads)[len(self._spreads) // 2]
        if self._moves:
            self.mean_move = _KEPT.divide(reduce(add, self._moves), Decimal(len(self._moves)))

    @property
    def volatility(self) -> Decimal:
        """The mean move as a fraction of the mid; 0 before there are two samples."""
        return _KEPT.divide(self.mean_move, self.mid) if self.mid else ZERO


class Adjustment(NamedTuple):
    """What is made of sizes and distances, and whether nothing is bought at all."""

    size: Decimal
    spacing: Decimal
    is_pause: bool


def vwap(fills: list[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Return the mean price of fills (price and quantity), None where there are none."""
    value = quantity = ZERO
    for price, amount in fills:
        value = add(value, multiply(price, amount))
        quantity = add(quantity, amount)
    return _KEPT.divide(value, quantity) if quantity else None


def adjust(
    paid: Decimal | None,
    market: Decimal | None,
    *,
    size_factor: Decimal,
    spacing_factor: Decimal,
    pause_threshold: Decimal,
) -> Adjustment:
    """Return how to go on when more was paid than the market cost on average.

    Parameters
    ----------
    paid, market : Decimal or None
        The mean price of our fills, and of the market in the same time; None: not known.
    size_factor, spacing_factor : Decimal
        For sizes and distances where we paid more.
    pause_threshold : Decimal
        The ratio above which nothing is bought.
    """
    if not paid or not market or paid <= market:
        return Adjustment(ONE, ONE, is_pause=False)
    if paid > multiply(market, pause_threshold):
        return Adjustment(ZERO, ONE, is_pause=True)
    return Adjustment(size_factor, spacing_factor, is_pause=False)


class ImpactGuard:
    """Rests for a while when our own orders seem to have moved the market.

    Parameters
    ----------
    fill_ms_min : int
        A fill that came sooner after its order was placed was too fast.
    mid_jump_max : Decimal
        The largest change of the mid after a fill, as a fraction.
    spread_ratio_max : Decimal
        The largest ratio of the spread to its median.
    touches_max, touch_window_ms : int
        How often in how long an order of ours may be seen at the best bid.
    pause_ms : int
        How long it rests.

    Attributes
    ----------
    triggers : int
        How often it was set off.
    paused_until_ms : int
    """

    def __init__(
        self,
        *,
        fill_ms_min: int,
        mid_jump_max: Decimal,
        spread_ratio_max: Decimal,
        touches_max: int,
        touch_window_ms: int,
        pause_ms: int,
    ) -> None:
        self.triggers = 0
        self.paused_until_ms = 0
        self._fill_ms_min = fill_ms_min
        self._mid_jump_max = mid_jump_max
        self._spread_ratio_max = spread_ratio_max
        self._touches_max = touches_max
        self._touches = Window(touch_window_ms)
        self._pause_ms = pause_ms

    def check_fill(self, now_ms: int, after_ms: int) -> bool:
        """Judge a fill by how long after its order was placed it came."""
        return self._judge(now_ms, is_impact=after_ms < self._fill_ms_min)

    def check_jump(self, now_ms: int, before: Decimal, after: Decimal) -> bool:
        """Judge the mid after a fill by the one before it."""
        moved = subtract(after, before).copy_abs()
        return self._judge(now_ms, is_impact=moved > multiply(before, self._mid_jump_max))

    def check_spread(self, now_ms: int, spread: Decimal, median: Decimal) -> bool:
        """Judge the spread by its median."""
        return self._judge(now_ms, is_impact=spread > multiply(median, self._spread_ratio_max))

    def check_touch(self, now_ms: int) -> bool:
        """Count that an order of ours was at the best bid."""
        self._touches.add(now_ms, ONE)
        return self._judge(now_ms, is_impact=self._touches.count(now_ms) >= self._touches_max)

    def is_paused(self, now_ms: int) -> bool:
        """Whether it rests."""
        return now_ms < self.paused_until_ms

    def _judge(self, now_ms: int, *, is_impact: bool) -> bool:
        if is_impact:
            self.triggers += 1
            self.paused_until_ms = max(self.paused_until_ms, now_ms + self._pause_ms)
        return is_impact
