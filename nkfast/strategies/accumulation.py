"""The accumulation: buys only, on a ladder that goes deeper with each fill, and a little each hour.

Layer A is a ladder of ``n`` buys below the average price, whose distances and sizes grow; each one
that fills is followed by one deeper. When the average has risen above where the ladder was laid, or
after a while, it is laid anew from its first step. Layer B buys a part of a daily budget just below
the best bid, while the market is flat and the ladder has not filled lately. Guards stop both while
our own orders seem to move the market, or cost more than it does on average.

What was executed today and what rests never exceed the daily budget together, nor a single order
its cap. Days are of UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from nkfast.core.accumulation import accumulation_levels
from nkfast.errors import ConfigError
from nkfast.strategies.accumulation_settings import AccumulationSettings, PassiveSettings
from nkfast.strategies.market_watch import (
    Adjustment,
    ImpactGuard,
    MarketWatch,
    Window,
    adjust,
    vwap,
)
from nkfast.strategies.sizing import Steps
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    LiveOrder,
    MarketView,
    Quote,
    Skip,
    Strategy,
)
from nkfast.venue.port import PublicTrade

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["Accumulation", "AccumulationSettings", "find_passive_buy"]

_MS = 1_000
_HOUR_MS = 3_600 * _MS
_DAY_MS = 24 * _HOUR_MS
#: Orders at the very minimum have been refused.
_ABOVE_MINIMUM = Decimal("1.01")
#: How much sizes vary, so that orders do not look alike: of the ladder, and of the passive buys.
_LADDER_JITTER = Decimal("0.05")
_PASSIVE_JITTER = Decimal("0.03")
_AS_SET = Adjustment(ONE, ONE, is_pause=False)


class PassiveBuy(NamedTuple):
    """A passive buy."""

    price: Decimal
    quantity: Decimal


def find_passive_buy(
    steps: Steps,
    settings: PassiveSettings,
    *,
    best_bid: Decimal,
    spent: Decimal,
    min_notional: Decimal,
    jitter: Decimal = ONE,
    minimum_beats_budget: bool = False,
) -> PassiveBuy | None:
    """Return the next passive buy: the interval's part of the daily budget, just below the bid.

    Parameters
    ----------
    best_bid : Decimal
        Quote units.
    spent : Decimal
        Of the daily budget, quote units.
    min_notional : Decimal
        An order is worth at least 1 % more, quote units.
    jitter : Decimal
        What the size is multiplied by.
    minimum_beats_budget : bool
        What becomes of one that cannot keep both: it is left out (False), or exceeds what is left
        of the budget (True).
    """
    price = steps.price(multiply(best_bid, subtract(ONE, settings.epsilon)), "buy")
    if price <= 0:
        return None
    left = subtract(settings.budget_daily, spent)
    intervals = max(Fraction(86_400, settings.interval_sec), Fraction(1))
    budget = min(Fraction(settings.budget_daily) / intervals, Fraction(left))
    least = steps.least(price, multiply(min_notional, _ABOVE_MINIMUM))
    quantity = max(steps.down(max(budget, Fraction(0)) / Fraction(price) * Fraction(jitter)), least)
    if multiply(price, quantity) > left and not minimum_beats_budget:
        return None
    return PassiveBuy(price, quantity)


@dataclass(slots=True)
class _Level:
    """A step of the ladder, until it has filled."""

    index: int
    price: Decimal
    quantity: Decimal
    executed: Decimal = ZERO

    @property
    def rest(self) -> Decimal:
        return subtract(self.quantity, self.executed)


class _Bought(NamedTuple):
    time_ms: int
    price: Decimal
    quantity: Decimal


class Accumulation(Strategy):
    """An accumulation on one market.

    Parameters
    ----------
    settings : AccumulationSettings
    market : Market
        Its tick and lot sizes and minimums bound every order.

    Attributes
    ----------
    spent : Decimal
        Executed today, quote units.
    next_index : int
        The step that the next level of the ladder will be.

    Raises
    ------
    nkfast.errors.ConfigError
        The settings name another market, a coarser grid that does not fit the market's, or sizes
        that vary to nothing.
    """

    name = "accumulation"
    settings_type = AccumulationSettings
    on_exit = "keep"  # levels wait for the next start

    def __init__(self, settings: AccumulationSettings, market: "Market") -> None:
        settings.check_market(market)
        self.settings = settings
        self.market = market
        self._steps = Steps(market, settings.tick_size, settings.step_size)
        if self._steps.down(settings.grid.s0) <= 0:
            raise ConfigError(
                f"is {plain(settings.grid.s0)}, less than a lot of {plain(self._steps.lot)}",
                "grid.s0",
            )
        guards, ema, window_ms = settings.guards, settings.ema, settings.vwap.window_sec * _MS
        self.watch = MarketWatch(ema.ema_alpha, ema.atr_window, window_ms, _HOUR_MS)
        self.impact = ImpactGuard(
            fill_ms_min=int(guards.fill_time_threshold_sec * _MS),
            mid_jump_max=guards.mid_jump_threshold,
            spread_ratio_max=guards.spread_widen_threshold,
            touches_max=guards.best_bid_touch_max,
            touch_window_ms=guards.best_bid_touch_window_sec * _MS,
            pause_ms=guards.cooldown_impact_sec * _MS,
        )
        self.spent = ZERO
        self.next_index = 1
        self._spent_passively = ZERO
        self._day = 0
        self._levels: dict[int, _Level] = {}
        self._passive: tuple[int, _Level] | None = None
        self._next_number = 1
        self._passive_due_ms = 0
        self._ladder_filled_ms = -_DAY_MS
        self._laid_at: Decimal | None = None  # the average price when the ladder was laid
        self._laid_ms = 0
        self._to_add = 0  # levels that follow those that have filled
        self._is_exhausted = False
        self._bought: list[_Bought] = []
        self._own_hour = Window(_HOUR_MS)
        self._placed_ms: dict[str, int] = {}
        self._jump_from: Decimal | None = None  # the mid before the newest fill
        self._sample_due_ms = 0
        self._now_ms = 0
        self._state: dict[str, Any] | None = None
        self._desired = Desired()
        self._told: tuple[Skip, ...] = ()
        self._is_stale = True
        self._orders: Mapping[str, LiveOrder] = {}

    @classmethod
    def build(cls, settings: AccumulationSettings, markets: Mapping[str, "Market"]) -> Self:
        """Make an accumulation on the first of the markets."""
        return cls(settings, next(iter(markets.values())))

    # Strategy ----------------------------------------------------------------------------------

    def decide(self, view: MarketView) -> Desired:
        """Return the orders that should rest; the same object while nothing has changed."""
        self._now_ms = view.now_ms
        # A clock that was set back must not put it off.
        interval_ms = self.settings.sample_interval_sec * _MS
        is_due = not view.now_ms < self._sample_due_ms <= view.now_ms + interval_ms
        if not is_due and not self._is_stale and view.orders is self._orders:
            return self._desired
        self._begin_day(view.now_ms)
        self._placed_ms.update({s: o.placed_ms for s, o in view.orders.items()})
        if is_due:
            self._sample(view)
            self._sample_due_ms, self._state = view.now_ms + interval_ms, None
        self._drop_dust(view.orders)
        skip = self._guard(view.now_ms)
        if self.watch.ema is None or skip is not None:
            is_kept = skip is None or not self.settings.cancel_on_pause
            quotes = self._kept(view.orders) if is_kept else {}
            skips = [] if skip is None else [skip]
        else:
            skips = []
            quotes = self._wanted(view, skips)
        # Asked at each sample, it says what it does not do once.
        told, self._told = self._told, tuple(skips)
        desired = Desired(quotes, () if told == self._told else self._told, self._sample_due_ms)
        if desired != self._desired:
            self._desired = desired
        self._orders, self._is_stale = view.orders, False
        return self._desired

    def on_trade(self, trade: PublicTrade) -> None:
        """Count what is traded."""
        if trade.symbol == self.market.symbol:
            self.watch.traded.add(trade.time_ms, multiply(trade.price, trade.quantity))

    def on_fill(self, fill: Fill) -> None:
        """Count what was bought, and see whether it came too fast."""
        kind, number = _kind_of(fill.slot)
        value = multiply(fill.price, fill.quantity)
        self._begin_day(fill.time_ms)
        if fill.time_ms // _DAY_MS == self._day:
            self.spent = add(self.spent, value)
            if kind == "passive":
                self._spent_passively = add(self._spent_passively, value)
        self._bought.append(_Bought(fill.time_ms, fill.price, fill.quantity))
        self._own_hour.add(fill.time_ms, value)
        placed_ms = self._placed_ms.get(fill.slot, self._now_ms)  # not seen yet: just placed
        self.impact.check_fill(fill.time_ms, fill.time_ms - placed_ms)
        self._jump_from = self._jump_from or self.watch.mid
        if kind == "grid":
            self._ladder_filled_ms = max(self._ladder_filled_ms, fill.time_ms)
            self._fill_level(number, fill.quantity)
        elif self._passive is not None and self._passive[0] == number:
            passive = self._passive[1]
            passive.executed = add(passive.executed, fill.quantity)
            if passive.rest <= 0:
                self._passive = None
        self._note_change()

    def on_end(self, order: EndedOrder) -> None:
        """Let a passive buy go that has ended."""
        kind, number = _kind_of(order.slot)
        if kind == "passive" and self._passive is not None and self._passive[0] == number:
            self._passive = None
        self._placed_ms.pop(order.slot, None)
        self._note_change()

    def state(self) -> dict[str, Any]:
        """Return levels, passive buy, budgets and what guards need, in plain digits."""
        if self._state is None:
            passive, laid_at = self._passive, self._laid_at
            jump_from = self._jump_from
            self._state = {
                "levels": {str(number): _row(level) for number, level in self._levels.items()},
                "passive": None if passive is None else [passive[0], *_row(passive[1])],
                "next_number": self._next_number,
                "next_index": self.next_index,
                "to_add": self._to_add,
                "is_exhausted": self._is_exhausted,
                "laid_at": None if laid_at is None else plain(laid_at),
                "laid_ms": self._laid_ms,
                "day": self._day,
                "spent": plain(self.spent),
                "spent_passively": plain(self._spent_passively),
                "passive_due_ms": self._passive_due_ms,
                "ladder_filled_ms": self._ladder_filled_ms,
                "paused_until_ms": self.impact.paused_until_ms,
                "watch": self.watch.state(),
                "sample_due_ms": self._sample_due_ms,
                "jump_from": None if jump_from is None else plain(jump_from),
                "bought": [[b.time_ms, plain(b.price), plain(b.quantity)] for b in self._bought],
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned; a ladder that is now too long loses its first steps."""
        self._levels = {int(number): _level(row) for number, row in state["levels"].items()}
        passive = state["passive"]
        self._passive = None if passive is None else (passive[0], _level(passive[1:]))
        self._next_number, self.next_index = state["next_number"], state["next_index"]
        self._to_add, self._is_exhausted = state["to_add"], state["is_exhausted"]
        self._laid_at = None if state["laid_at"] is None else Decimal(state["laid_at"])
        self._laid_ms, self._day = state["laid_ms"], state["day"]
        self.spent = Decimal(state["spent"])
        self._spent_passively = Decimal(state["spent_passively"])
        self._passive_due_ms = state["passive_due_ms"]
        self._ladder_filled_ms = state["ladder_filled_ms"]
        self.impact.paused_until_ms = state["paused_until_ms"]
        self.watch.restore(state["watch"])
        self._sample_due_ms = state["sample_due_ms"]
        jump_from = state["jump_from"]
        self._jump_from = None if jump_from is None else Decimal(jump_from)
        self._bought = [_Bought(at, Decimal(p), Decimal(q)) for at, p, q in state["bought"]]
        for bought in self._bought:
            self._own_hour.add(bought.time_ms, multiply(bought.price, bought.quantity))
        for number in sorted(self._levels)[: max(len(self._levels) - self.settings.grid.n, 0)]:
            del self._levels[number]
        self._note_change()

    # What is remembered ------------------------------------------------------------------------

    def _note_change(self) -> None:
        self._state, self._is_stale = None, True

    def _begin_day(self, now_ms: int) -> None:
        day = now_ms // _DAY_MS
        if day > self._day:
            self._day, self.spent, self._spent_passively = day, ZERO, ZERO
            self._note_change()

    def _sample(self, view: MarketView) -> None:
        """Look at the market, and whether our own orders have moved it."""
        bid, ask = view.book.best_bid, view.book.best_ask
        if bid is None or ask is None or bid[0] >= ask[0]:
            return
        watch, now_ms = self.watch, view.now_ms
        best_bid = self.market.ticks_to_price(bid[0])
        watch.sample(now_ms, best_bid, self.market.ticks_to_price(ask[0]))
        assert watch.mid is not None
        assert watch.spread is not None
        assert watch.median_spread is not None
        if self._jump_from is not None:
            self.impact.check_jump(now_ms, self._jump_from, watch.mid)
            self._jump_from = None
        self.impact.check_spread(now_ms, watch.spread, watch.median_spread)
        if any(order.price >= best_bid for order in view.orders.values()):
            self.impact.check_touch(now_ms)

    def _fill_level(self, number: int, quantity: Decimal) -> None:
        level = self._levels.get(number)
        if level is not None:
            level.executed = add(level.executed, quantity)
            if level.rest <= 0:
                del self._levels[number]
                self._to_add += 1

    def _drop_dust(self, orders: Mapping[str, LiveOrder]) -> None:
        """Let a step go whose rest is too small for an order: it counts as filled."""
        for number, level in list(self._levels.items()):
            is_live = _slot("grid", number) in orders
            if level.executed and not is_live and level.rest < self._steps.least(level.price):
                del self._levels[number]
                self._to_add += 1
                self._state = None

    # Guards ------------------------------------------------------------------------------------

    def _guard(self, now_ms: int) -> Skip | None:
        """Say what stops it, None when nothing does."""
        guards, watch = self.settings.guards, self.watch
        if self.impact.is_paused(now_ms):
            return Skip("IMPACT_PAUSE", f"until {self.impact.paused_until_ms} ms")
        if watch.spread is not None and watch.spread > guards.spread_limit:
            return Skip("SPREAD_LIMIT", f"it is above {plain(guards.spread_limit)}")
        if self.spent >= self.settings.daily_budget_quote:
            limit = plain(self.settings.daily_budget_quote)
            return Skip("BUDGET_SPENT", f"{plain(self.spent)} of {limit} today")
        source = watch.traded if guards.volume_source == "trades" else watch.moved
        volume = source.sum(now_ms)
        own = self._own_hour.sum(now_ms)
        if volume and own >= multiply(volume, guards.participation_cap):
            cap = plain(guards.participation_cap)
            return Skip("PARTICIPATION", f"{plain(own)} of {plain(volume)} in an hour, cap {cap}")
        if self._adjustment(now_ms).is_pause:
            return Skip("VWAP_PAUSE", "we pay too much more than the market costs")
        return None

    def _adjustment(self, now_ms: int) -> Adjustment:
        vwap_settings = self.settings.vwap
        first_ms = now_ms - max(vwap_settings.window_sec * _MS, _HOUR_MS)
        if self._bought and self._bought[0].time_ms <= first_ms:
            self._bought = [bought for bought in self._bought if bought.time_ms > first_ms]
            self._state = None
        first_ms = now_ms - vwap_settings.window_sec * _MS
        return adjust(
            vwap([(b.price, b.quantity) for b in self._bought if b.time_ms > first_ms]),
            self.watch.mids.mean(now_ms),
            size_factor=vwap_settings.size_reduction_factor,
            spacing_factor=vwap_settings.spacing_widen_factor,
            pause_threshold=vwap_settings.pause_threshold,
        )

    # Orders ------------------------------------------------------------------------------------

    def _kept(self, orders: Mapping[str, LiveOrder]) -> dict[str, Quote]:
        """Return what rests, nearest first, as far as the budget goes: it may have been lowered."""
        left = subtract(self.settings.daily_budget_quote, self.spent)
        kept: dict[str, Quote] = {}
        for slot, order in sorted(orders.items(), key=lambda item: -item[1].price):
            left = subtract(left, multiply(order.price, order.remaining))
            if left < 0:
                break
            kept[slot] = self._live(order)
        return kept

    def _live(self, order: LiveOrder) -> Quote:
        kind, _ = _kind_of(order.slot)
        ttl_ms = self.settings.dca.ttl_sec * _MS if kind == "passive" else None
        return Quote("buy", order.price, order.remaining, good_for_ms=ttl_ms)

    def _wanted(self, view: MarketView, skips: list[Skip]) -> dict[str, Quote]:
        """Return what rests and what else the budgets pay for, the ladder first."""
        self._lay(view.now_ms, skips)
        quotes = self._kept(view.orders)
        resting = ZERO
        for slot, order in view.orders.items():
            kind, number = _kind_of(slot)
            if kind == "grid" and number not in self._levels:
                quotes.pop(slot, None)
            # One that is being cancelled still holds its money.
            resting = add(resting, multiply(order.price, order.remaining))
        left = subtract(subtract(self.settings.daily_budget_quote, self.spent), resting)
        free = view.available.get(self.market.quote)
        if free is not None:
            left = min(left, free)
        left = self._add_levels(quotes, left, skips)
        self._add_passive(view, quotes, left)
        return quotes

    def _add_levels(self, quotes: dict[str, Quote], left: Decimal, skips: list[Skip]) -> Decimal:
        """Add the steps that do not rest yet, nearest first, while there is money."""
        ema = self.watch.ema
        assert ema is not None
        for number, level in self._levels.items():
            slot = _slot("grid", number)
            if slot in quotes or level.price >= ema:
                continue
            quantity = self._steps.down(level.rest)
            cost = multiply(level.price, quantity)
            if cost > left:
                detail = f"{slot} needs {plain(cost)}, {plain(max(left, ZERO))} are left"
                skips.append(Skip("SHORT_OF_FUNDS", detail))
                break
            quotes[slot] = Quote("buy", level.price, quantity)
            left = subtract(left, cost)
        return left

    def _add_passive(self, view: MarketView, quotes: dict[str, Quote], left: Decimal) -> None:
        settings, now_ms, bid = self.settings, view.now_ms, view.book.best_bid
        passive = self._passive
        if passive is not None:
            slot = _slot("passive", passive[0])
            cost = multiply(passive[1].price, passive[1].rest)
            wished_ms = self._passive_due_ms - settings.dca.interval_sec * _MS
            if slot in quotes:
                return
            if now_ms < wished_ms + settings.dca.ttl_sec * _MS:
                if cost <= left:
                    quotes[slot] = self._passive_quote(passive[1])
                return
            self._passive, self._state = None, None  # it never came to rest
        rested_ms = now_ms - self._ladder_filled_ms
        is_flat = self.watch.volatility < settings.ema.atr_flat_threshold
        if (
            bid is None
            or not settings.dca.budget_daily
            or now_ms < self._passive_due_ms
            or not is_flat
            or rested_ms < settings.guards.cooldown_grid_dca_sec * _MS
            or any(_kind_of(slot)[0] == "passive" for slot in view.orders)
        ):
            return
        found = find_passive_buy(
            self._steps,
            settings.dca,
            best_bid=self.market.ticks_to_price(bid[0]),
            spent=self._spent_passively,
            min_notional=settings.min_notional_quote,
            jitter=self._jitter(self._next_number, _PASSIVE_JITTER),
        )
        if found is None or multiply(found.price, found.quantity) > left:
            return
        number, self._next_number = self._next_number, self._next_number + 1
        level = _Level(0, found.price, found.quantity)
        self._passive = (number, level)
        self._passive_due_ms = now_ms + settings.dca.interval_sec * _MS
        self._state = None
        quotes[_slot("passive", number)] = self._passive_quote(level)

    def _passive_quote(self, level: _Level) -> Quote:
        ttl_ms = self.settings.dca.ttl_sec * _MS
        return Quote("buy", level.price, level.rest, good_for_ms=ttl_ms)

    # The ladder --------------------------------------------------------------------------------

    def _lay(self, now_ms: int, skips: list[Skip]) -> None:
        """Lay the ladder at first and anew, and add a deeper step for each that has filled."""
        settings, ema = self.settings, self.watch.ema
        assert ema is not None
        has_filled = self.next_index + self._to_add > settings.grid.n + 1
        is_late = settings.reset_after_sec is not None and (
            now_ms >= self._laid_ms + settings.reset_after_sec * _MS
        )
        if self._laid_at is None or (has_filled and (ema > self._laid_at or is_late)):
            self._levels.clear()
            self.next_index, self._to_add, self._is_exhausted = 1, settings.grid.n, False
            self._laid_at, self._laid_ms = ema, now_ms
            self._state = None
        adjustment = self._adjustment(now_ms)
        if not self._to_add or self._is_exhausted or not adjustment.size:
            return
        # It ends for good where a price or a size comes to nothing as set; a step that only the
        # adjustment takes away waits for its end.
        first, wished, cap = self.next_index, self._to_add, settings.grid.per_order_volume_cap
        count = len(self._steps_from(first, wished, adjustment, cap=None))
        if count < wished and len(self._steps_from(first, wished, _AS_SET, cap=None)) <= count:
            self._is_exhausted, self._state = True, None
            detail = f"step {first + count} would have no price or no size"
            skips.append(Skip("LADDER_EXHAUSTED", detail))
        if not count:
            return
        rows = self._steps_from(first, count, adjustment, cap)
        for index, ticks, lots in rows:
            self._add_level(index, self.market.ticks_to_price(ticks), lots, skips)
        self.next_index, self._to_add, self._state = first + count, wished - count, None
        left_out = {*range(first, first + count)} - {row[0] for row in rows}
        if left_out:
            steps = ", ".join(map(str, sorted(left_out)))
            detail = f"steps {steps}: the least order is above the cap, {plain(cap)}"
            skips.append(Skip("BELOW_MINIMUM", detail))

    def _steps_from(
        self, first: int, count: int, adjustment: Adjustment, cap: Decimal | None
    ) -> list[tuple[int, int, int]]:
        """Return index, price in ticks and lots of each step that is possible."""
        grid, ema = self.settings.grid, self.watch.ema
        assert ema is not None
        rows: list[tuple[int, int, int]] = accumulation_levels(
            self.market,
            ema,
            first_distance=grid.d0,
            distance_growth=grid.g,
            first_quantity=grid.s0,
            quantity_growth=grid.k,
            count=count,
            first_index=first,
            spacing_factor=adjustment.spacing,
            size_factor=adjustment.size,
            max_quantity=cap,
            min_notional=self.settings.min_notional_quote,
        ).tolist()
        return rows

    def _add_level(self, index: int, price: Decimal, lots: int, skips: list[Skip]) -> None:
        """Add a step whose size varies a little and keeps cap and minimum."""
        steps = self._steps
        price = steps.price(price, "buy")
        if price <= 0:
            return
        number, self._next_number = self._next_number, self._next_number + 1
        varied = multiply(self.market.lots_to_quantity(lots), self._jitter(number, _LADDER_JITTER))
        most = steps.down(self.settings.grid.per_order_volume_cap)
        least = steps.least(price, multiply(self.settings.min_notional_quote, _ABOVE_MINIMUM))
        quantity = max(min(steps.down(varied), most), least)
        if quantity > most:
            detail = f"step {index}: the least is {plain(least)}, the cap {plain(most)}"
            skips.append(Skip("BELOW_MINIMUM", detail))
            return
        self._levels[number] = _Level(index, price, quantity)

    def _jitter(self, number: int, width: Decimal) -> Decimal:
        """Return a factor around 1, another for each number and seed, the same each time."""
        if not self.settings.has_jitter:
            return ONE
        text = f"{self.settings.seed}/{number}".encode()
        drawn = int.from_bytes(blake2b(text, digest_size=4).digest(), "big")
        share = Decimal(drawn % 20_001 - 10_000).scaleb(-4)  # -1 to 1
        return add(ONE, multiply(width, share))


def _row(level: _Level) -> list[Any]:
    return [level.index, plain(level.price), plain(level.quantity), plain(level.executed)]


def _level(row: list[Any]) -> _Level:
    index, *numbers = row
    return _Level(index, *map(Decimal, numbers))


@cache
def _slot(kind: str, number: int) -> str:
    return f"{kind}{number}"


@cache
def _kind_of(slot: str) -> tuple[str, int]:
    for kind in ("grid", "passive"):
        if slot.startswith(kind) and slot.removeprefix(kind).isdecimal():
            return kind, int(slot.removeprefix(kind))
    raise ValueError(f"slot {slot!r} is not an accumulation's")
