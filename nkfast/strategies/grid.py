"""The grid: buys below, sells above, on a lattice of prices that does not move.

Level ``i`` lies at ``anchor + i * step``. Between level ``i`` and level ``i + 1`` lies cell ``i``,
which waits either to buy at its lower level or to sell at its upper one. Whatever one of its orders
fills is what its other order will offer: a partial fill, a cancelled rest and a restart lose
nothing, and a round trip ends on the level where it began. Each level holds at most one order.

The anchor is the mid at the first decision. Cells are added so that ``n_buy_levels`` buys and
``n_sell_levels`` sells stand nearest to the mid; orders that the market left behind stay, unless
``recenter_pct`` says how far is too far, or ``max_order_age_sec`` how old is too old. What the free
balances do not pay for is not asked for, the nearest orders come first.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import ceil, floor, inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from nkfast.core.grid import lattice_ticks
from nkfast.errors import ConfigError
from nkfast.strategies.funds import within_funds
from nkfast.strategies.grid_cell import Cell
from nkfast.strategies.opening import OpeningTrade
from nkfast.strategies.profit_store import ProfitStoreSettings
from nkfast.strategies.round_trip import FeeWatch, fee_in_quote, is_profitable, late_fee
from nkfast.strategies.settings import key
from nkfast.strategies.sizing import Steps
from nkfast.strategies.spacing import SpacedSettings
from nkfast.strategies.storing import Earning, watched, with_profit_store
from nkfast.trading.exact import EXACT, ONE, ZERO, add, multiply, plain, subtract
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
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["Grid", "GridSettings"]

_SIDES: tuple[Side, Side] = ("buy", "sell")
#: How older bots raised a size that was too small, and how often at most.
_RAISE = Decimal("1.05")
_RAISES = 5


class GridSettings(SpacedSettings):
    """What a grid is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SpacedSettings.aliases,
        "grid_levels": ("n_buy_levels", "n_sell_levels"),
        "order_amount_mmx": ("base_order_size",),
    }

    n_buy_levels: int = key(3, ge=0, meaning="Orders below the mid; 0 makes the grid one-sided.")
    n_sell_levels: int = key(3, ge=0, meaning="Orders above the mid; 0 makes the grid one-sided.")
    size_rounding: Literal["up", "down"] = key(
        "up",
        meaning="up: a size below the minimum is raised to the least one that satisfies it. down: "
        "it is raised by 5 % at most five times, as older bots did, and not placed where that is "
        "too little.",
    )
    counter_price: Literal["level", "fill"] = key(
        "level",
        meaning="level: a filled order is answered on the next level. fill: one step from the "
        "price of the fill, as older bots did, whose levels drift by step_pct squared each time.",
    )
    recenter_pct: Decimal | None = key(
        None,
        unit="fraction",
        gt=0,
        meaning="Untouched orders of a side whose nearest is farther than this from the mid move "
        "to it; none: they stay.",
    )

    max_order_age_sec: int | None = key(
        None,
        unit="s",
        gt=0,
        meaning="An untouched order that is older moves to the nearest free level; none: it stays.",
    )
    profit_store: ProfitStoreSettings | None = key(
        None, meaning="What becomes of realized profit; none: it stays where it is."
    )

    def symbols(self, listed: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the market, and the one that profit is put away on."""
        del listed
        return watched(self.symbol, self.profit_store)

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if self.n_buy_levels + self.n_sell_levels == 0:
            raise ConfigError("no levels on either side; give at least one", "n_buy_levels")
        if self.step_mode == "pct":
            self.check_spacing(ONE)
        return self

    def check_spacing(self, anchor: Decimal) -> None:
        """Check the levels around an anchor, quote units.

        Raises
        ------
        nkfast.errors.ConfigError
            A round trip would lose money, or the lowest level is not above zero.
        """
        step, count = self.spacing.at(anchor), max(self.n_buy_levels, 1)
        if multiply(step, Decimal(count)) >= anchor:
            raise ConfigError(
                f"{count} levels of {plain(step)} reach zero from {plain(anchor)};"
                " use fewer levels or a smaller step",
                self.step_key,
            )
        # With an absolute step the tightest gap, measured as a fraction, is the highest one.
        highest = self.n_sell_levels if self.step_mode == "abs" else 0
        self.check_earns(self.spacing.away(anchor, highest))


class Grid(Earning):
    """A grid on one market.

    Parameters
    ----------
    settings : GridSettings
    market : Market
        Its tick and lot sizes and minimums bound every order.

    Raises
    ------
    nkfast.errors.ConfigError
        The settings name another market, or a coarser grid that does not fit the market's.
    """

    name = "grid"
    settings_type = GridSettings
    on_exit = "keep"  # levels wait for the next start

    def __init__(self, settings: GridSettings, market: "Market") -> None:
        settings.check_market(market)
        self.settings = settings
        self.market = market
        self.anchor: Decimal | None = None
        self.earned = ZERO
        self.earned_in = market.quote
        self._reinvested = ZERO
        self._anchor = self._step = ZERO
        self._steps = Steps(market, settings.tick_size, settings.step_size, settings.price_rounding)
        self._opening = settings.opening_trade(market)
        self._fees = FeeWatch(settings.fee_rate, settings.min_notional_quote)
        self._said: list[Skip] = []  # when told of fills
        self._cells: dict[int, Cell] = {}
        self._state: dict[str, Any] | None = None  # None when a cell has changed
        # The lattice in integers: anchor, step and ticks as counts of one power of ten.
        self._anchor_units = self._step_units = self._tick_units = self._market_tick_units = 0
        self._places: dict[tuple[int, Side], tuple[Decimal, int]] = {}
        # What the cached decision rests on.
        self._desired = Desired()
        self._is_stale = True
        self._orders: Mapping[str, LiveOrder] = {}
        self._available: Mapping[str, Decimal] = {}
        self._low_units = self._high_units = 0

    @classmethod
    def build(cls, settings: GridSettings, markets: Mapping[str, "Market"]) -> Strategy:
        """Make a grid on the first of the markets."""
        grid = cls(settings, next(iter(markets.values())))
        return with_profit_store(grid, settings.profit_store, markets)

    # Strategy ----------------------------------------------------------------------------------

    def decide(self, view: MarketView) -> Desired:
        """Return the orders that should rest; the same object while nothing has changed."""
        bid, ask = view.book.best_bid, view.book.best_ask
        if bid is None or ask is None:
            return self._as_it_is(view.orders)
        double_mid = (bid[0] + ask[0]) * self._market_tick_units
        if (
            not self._is_stale
            and view.orders is self._orders
            and view.available is self._available
            and self._low_units < double_mid < self._high_units
            and (self._desired.again_at_ms is None or view.now_ms < self._desired.again_at_ms)
        ):
            return self._desired
        if self.anchor is None:
            if self._opening is not None:
                opening = self._opening.desired(view, self.ctx)
                if opening is not None:
                    return opening
            self._state = None
            mid = self.market.ticks_to_price(bid[0] + ask[0])
            self._set_anchor(multiply(mid, Decimal("0.5")))
            double_mid = (bid[0] + ask[0]) * self._market_tick_units
        self._adopt(view.orders)
        skips, self._said = self._said, []
        for side, count in zip(
            _SIDES, (self.settings.n_buy_levels, self.settings.n_sell_levels), strict=True
        ):
            self._drop_left_behind(side, double_mid, view)
            self._seed(side, count, double_mid, skips)
        if self.settings.recenter_pct is not None:
            self._look_again_when_far(Fraction(self.settings.recenter_pct), double_mid)
        desired = self._wanted(double_mid, view, skips)
        # Those that are too old already were looked at just now.
        ages = [at for at in map(self._old_at_ms, view.orders.values()) if at > view.now_ms]
        if ages and min(ages) < inf:
            desired = replace(desired, again_at_ms=int(min(ages)))
        if desired != self._desired:
            self._desired = desired
        self._orders, self._available = view.orders, view.available
        self._is_stale = False
        return self._desired

    def on_end(self, order: EndedOrder) -> None:
        """Count the attempts to rebalance."""
        if self._opening is not None and order.slot == self._opening.SLOT:
            self._opening.on_end(order)
            self._state = None

    def on_fill(self, fill: Fill) -> None:
        """Move what was filled to the other side of its cell."""
        if fill.slot == OpeningTrade.SLOT:
            return
        index = _cell_of(fill)
        cell = self._cells.setdefault(index, Cell(ZERO, ZERO))
        self._fees.look(fill, self._said)
        if self.settings.counter_price == "fill":
            self._answer_from(index, cell, fill)
        self.earned = add(self.earned, cell.take(fill, fee_in_quote(fill, self.settings.fee_rate)))
        if self._reinvested and not cell.held and not cell.to_sell:
            cell.to_buy = max(cell.to_buy, self.quantity_at(self.price_of(index, "buy")))
        self._state = None
        self._is_stale = True

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Earn less by what a fee that is told late is more than it was taken to be."""
        if fill.slot == OpeningTrade.SLOT:
            return
        self._fees.look(fill, self._said)
        late = late_fee(fill, before, self.settings.fee_rate)
        cell = self._cells.get(_cell_of(fill))
        if cell is not None and cell.is_open(fill.side):
            cell.cash = subtract(cell.cash, late)  # it earns when the round trip is closed
        else:
            self.earned = subtract(self.earned, late)
        self._state = None
        self._is_stale = self._is_stale or bool(self._said)

    def _answer_from(self, index: int, cell: Cell, fill: Fill) -> None:
        """Price what answers a fill one step from it, but no nearer than what waits there."""
        spacing = self.settings.spacing
        if fill.side == "buy":
            ask = self._steps.price(spacing.away(fill.price, 1), "sell")
            waiting = cell.ask or self.price_of(index + 1, "sell")
            cell.ask = max(ask, waiting) if cell.to_sell else ask
        else:
            bid = self._steps.price(spacing.away(fill.price, -1), "buy")
            waiting = cell.bid or self.price_of(index, "buy")
            cell.bid = min(bid, waiting) if cell.to_buy else bid

    def reinvest(self, amount: Decimal) -> None:
        """Make fresh orders, and bought-back ones, larger: an amount of quote over all levels."""
        self._reinvested = add(self._reinvested, amount)
        self._state = None

    def state(self) -> dict[str, Any]:
        """Return the anchor, the step and every cell, in plain digits."""
        if self._state is None:
            self._state = {
                "anchor": None if self.anchor is None else plain(self.anchor),
                "step": plain(self._step),
                "earned": plain(self.earned),
                "reinvested": plain(self._reinvested),
                "opening": None if self._opening is None else self._opening.state(),
                "cells": {
                    str(index): cell.as_json() for index, cell in sorted(self._cells.items())
                },
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned; the lattice stays where it was."""
        self.anchor = None if state["anchor"] is None else Decimal(state["anchor"])
        self._step = Decimal(state["step"])
        self.earned = Decimal(state["earned"])
        self._reinvested = Decimal(state["reinvested"])
        if self._opening is not None and state["opening"] is not None:
            self._opening.restore(state["opening"])
        if self.anchor is not None:
            self._lay_out()
        self._cells = {int(index): Cell.from_json(row) for index, row in state["cells"].items()}
        self._state = None
        self._is_stale = True

    # The lattice -------------------------------------------------------------------------------

    def price_of(self, level: int, side: Side) -> Decimal:
        """Return the price of a level, on the market's grid; not positive below the lattice."""
        return self._place_of(level, side)[0]

    def _place_of(self, level: int, side: Side) -> tuple[Decimal, int]:
        """Return the price of a level and twice its units, to compare with bid plus ask."""
        place = self._places.get((level, side))
        if place is None:
            units = self._anchor_units + level * self._step_units
            ticks = 0
            if units >= self._tick_units:
                is_up = side == "sell" and self.settings.price_rounding == "side"
                ticks = lattice_ticks(
                    self.market,
                    self._anchor,
                    level,
                    step=self._step,
                    step_mode="absolute",
                    rounding="ceil" if is_up else "floor",
                    tick_size=self._steps.tick,
                )
            price = self.market.ticks_to_price(ticks)
            units = ticks * self._market_tick_units
            place = self._places[level, side] = (price, 2 * units)
        return place

    def quantity_at(self, price: Decimal) -> Decimal:
        """Return the size of a fresh order at a price: the base size, raised to the minimums."""
        settings, steps = self.settings, self._steps
        size = Fraction(settings.base_order_size)
        if self._reinvested and self.anchor is not None:
            orders = settings.n_buy_levels + settings.n_sell_levels
            size += Fraction(self._reinvested) / (Fraction(self.anchor) * orders)
        if settings.size_rounding == "up":
            return max(steps.down(size), steps.least(price, settings.min_value))
        quantity = steps.down(max(size, Fraction(settings.min_value) / Fraction(price)))
        for _ in range(_RAISES):
            if multiply(price, quantity) >= settings.min_notional_quote:
                break
            quantity = steps.down(multiply(quantity, _RAISE))
        return quantity

    def _set_anchor(self, mid: Decimal) -> None:
        settings = self.settings
        settings.check_spacing(mid)
        step = settings.spacing.at(mid)
        if step < self._steps.tick:
            raise ConfigError(
                f"a step of {plain(step)} at {plain(mid)} is less than one tick of"
                f" {plain(self._steps.tick)}; use a larger step",
                settings.step_key,
            )
        self.anchor, self._step = mid, step
        self._lay_out()

    def _lay_out(self) -> None:
        """Express the lattice in integers, so that placing a price costs no division."""
        assert self.anchor is not None
        self._anchor = self.anchor
        values = (self.anchor, self._step, self._steps.tick, self.market.tick_size)
        exponent = min(int(value.as_tuple().exponent) for value in values)
        self._anchor_units, self._step_units, self._tick_units, self._market_tick_units = (
            int(value.scaleb(-exponent, EXACT)) for value in values
        )
        self._places.clear()

    # Cells -------------------------------------------------------------------------------------

    def _adopt(self, orders: Mapping[str, LiveOrder]) -> None:
        """Make a cell of a live order that has none, so that it stays where it is."""
        for slot, order in orders.items():
            if slot == OpeningTrade.SLOT:
                continue
            index = _cell_of(order)
            if index not in self._cells:
                is_buy = order.side == "buy"
                rest = order.remaining
                self._state = None
                self._cells[index] = Cell(rest if is_buy else ZERO, ZERO if is_buy else rest)

    def _seed(self, side: Side, count: int, double_mid: int, skips: list[Skip]) -> None:
        """Add cells at the nearest free levels until a side has its number of orders."""
        have = sum(cell.waits(side) for cell in self._cells.values())
        below, rest = divmod(double_mid - 2 * self._anchor_units, 2 * self._step_units)
        self._low_units = 2 * (self._anchor_units + (below - (not rest)) * self._step_units)
        self._high_units = 2 * (self._anchor_units + (below + 1) * self._step_units)
        # The nearest level strictly below (above) the mid, then outwards.
        level, direction = (below - (not rest), -1) if side == "buy" else (below + 1, 1)
        while have < count:
            index = level if side == "buy" else level - 1
            low, high = self.price_of(index, "buy"), self.price_of(index + 1, "sell")
            if low <= 0:
                return
            settings = self.settings
            is_earning = is_profitable(low, high, settings.fee_rate, settings.fee_buffer_pct)
            if is_earning and self._is_free(level, side):
                # Sized at the lower price: the way back must satisfy the minimums as well.
                size = self.quantity_at(low)
                is_buy = side == "buy"
                self._cells[index] = Cell(size if is_buy else ZERO, ZERO if is_buy else size)
                have += 1
                self._state = None
            if not is_earning and side == "sell":  # and the higher, the less
                skips.append(Skip("UNPROFITABLE", f"{_slot(level)}: {plain(low)} to {plain(high)}"))
                return
            level += direction

    def _is_free(self, level: int, side: Side) -> bool:
        """Whether a fresh order may take a level: no cell of it and no order on it."""
        own, other = (level, level - 1) if side == "buy" else (level - 1, level)
        if own in self._cells and (self._cells[own].to_buy or self._cells[own].to_sell):
            return False
        neighbour = self._cells.get(other)
        return neighbour is None or not neighbour.waits("sell" if side == "buy" else "buy")

    def _drop_left_behind(self, side: Side, double_mid: int, view: MarketView) -> None:
        """Drop seeds that are too old, or never came to rest and that the market is past or far."""
        waiting = {
            index: self._place_of(index if side == "buy" else index + 1, side)[1]
            for index, cell in self._cells.items()
            if cell.waits(side)
        }
        is_far = False
        if waiting and self.settings.recenter_pct is not None:
            nearest = min(abs(units - double_mid) for units in waiting.values())
            limit = multiply(self.settings.recenter_pct, Decimal(double_mid))
            is_far = nearest > limit
        for index, units in waiting.items():
            if not self._cells[index].is_seed:
                continue
            is_passed = units >= double_mid if side == "buy" else units <= double_mid
            live = view.orders.get(_slot(index if side == "buy" else index + 1))
            is_old = live is not None and self._old_at_ms(live) <= view.now_ms
            if is_far or is_old or (is_passed and live is None):
                del self._cells[index]
                self._state = None

    def _look_again_when_far(self, share: Fraction, double_mid: int) -> None:
        """Let no decision stand once the mid is too far from the nearest order of a side."""
        for side in _SIDES:
            waiting = [
                self._place_of(index if side == "buy" else index + 1, side)[1]
                for index, cell in self._cells.items()
                if cell.waits(side)
            ]
            if not waiting:
                continue
            nearest = min(waiting, key=lambda units: abs(units - double_mid))
            self._low_units = max(self._low_units, ceil(nearest / (1 + share)) - 1)
            if share < 1:
                self._high_units = min(self._high_units, floor(nearest / (1 - share)) + 1)

    def _old_at_ms(self, order: LiveOrder) -> float:
        age = self.settings.max_order_age_sec
        return inf if age is None else order.placed_ms + age * 1000

    # From cells to quotes ----------------------------------------------------------------------

    def _as_it_is(self, orders: Mapping[str, LiveOrder]) -> Desired:
        """Without a mid there is no side: what rests may go on resting, nothing is added."""
        if orders is not self._orders or self._is_stale:
            quotes = {
                slot: Quote(order.side, order.price, order.remaining)
                for slot, order in orders.items()
            }
            self._desired, self._orders = Desired(quotes), orders
            self._is_stale = False
            self._low_units = self._high_units = 0  # decide afresh once there is a mid
        return self._desired

    def _wanted(self, double_mid: int, view: MarketView, skips: list[Skip]) -> Desired:
        orders = view.orders
        quotes: dict[str, Quote] = {}
        for index, cell in sorted(self._cells.items(), key=lambda item: abs(item[0])):
            for side in _SIDES:
                if not cell.waits(side):
                    continue
                level = index if side == "buy" else index + 1
                quote = self._quote(level, side, cell, orders, skips)
                if quote is None:
                    continue
                slot = _slot(level)
                rival = quotes.get(slot)
                if rival is not None:
                    is_below = self._place_of(level, rival.side)[1] < double_mid
                    quote, loser = _choose(rival, quote, orders.get(slot), is_below=is_below)
                    skips.append(Skip("LEVEL_BUSY", f"{slot}: {loser.side} waits for the other"))
                quotes[slot] = quote
        if view.available:
            # The nearest to the mid first.
            nearest = sorted(
                quotes.items(),
                key=lambda item: abs(
                    self._place_of(_level_of(item[0]), item[1].side)[1] - double_mid
                ),
            )
            quotes = within_funds(nearest, orders, view.available, self.market, skips)
        return Desired(quotes, tuple(skips))

    def _quote(
        self,
        level: int,
        side: Side,
        cell: Cell,
        orders: Mapping[str, LiveOrder],
        skips: list[Skip],
    ) -> Quote | None:
        """Return the order that one side of a cell wants at its level, if it may have one."""
        own, wanted = (cell.bid, cell.to_buy) if side == "buy" else (cell.ask, cell.to_sell)
        price = self.price_of(level, side) if own is None else own
        live = orders.get(_slot(level))
        is_own = live is not None and live.side == side and live.price == price
        source = orders.get(_slot(level + 1 if side == "buy" else level - 1))
        is_source_live = source is not None and source.side != side
        if live is not None and is_own and (live.remaining == wanted or is_source_live):
            # More may come from the other level: the order keeps its place in the queue until then.
            return Quote(side, price, min(live.remaining, wanted))
        if is_source_live and not self.settings.counter_on_partial:
            return None
        quantity = self.market.round_quantity(wanted, "floor")
        least = self.market.min_order_quantity(price)
        minimum = self.settings.min_notional_quote if is_source_live or cell.is_seed else ZERO
        if quantity < least or multiply(quantity, price) < minimum or quantity <= 0:
            skips.append(
                Skip(
                    "BELOW_MINIMUM",
                    f"{_slot(level)}: {side} {plain(quantity)} at {plain(price)}, the least is"
                    f" {plain(least)} and {plain(minimum)} quote",
                )
            )
            return None
        return Quote(side, price, quantity)


def _choose(
    first: Quote, second: Quote, live: LiveOrder | None, *, is_below: bool
) -> tuple[Quote, Quote]:
    """Choose which of two orders has a level: the one that rests, else the one that can."""
    side = live.side if live is not None else "buy" if is_below else "sell"
    return (first, second) if first.side == side else (second, first)


@cache
def _slot(level: int) -> str:
    return f"level{level:+d}"


@cache
def _level_of(slot: str) -> int:
    if not slot.startswith("level"):
        raise ValueError(f"slot {slot!r} is not a grid's")
    return int(slot.removeprefix("level"))


def _cell_of(what: Fill | LiveOrder) -> int:
    level = _level_of(what.slot)
    return level if what.side == "buy" else level - 1
