"""The grid: buys below, sells above, on a lattice of prices that does not move.

Level ``i`` lies at ``anchor + i * step``. Between level ``i`` and level ``i + 1`` lies cell ``i``,
which waits either to buy at its lower level or to sell at its upper one. Whatever one of its orders
fills is what its other order will offer: a partial fill, a cancelled rest and a restart lose
nothing, and a round trip ends on the level where it began. Each level holds at most one order.

The anchor is the mid at the first decision. Cells are added so that ``n_buy_levels`` buys and
``n_sell_levels`` sells stand nearest to the mid; orders that the market left behind stay, unless
``recenter_pct`` says how far is too far.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from nkfast.core.grid import lattice_ticks, min_step
from nkfast.errors import ConfigError
from nkfast.strategies.round_trip import is_profitable
from nkfast.strategies.settings import Settings, Symbol, key
from nkfast.strategies.sizing import PriceRounding, Steps
from nkfast.trading.exact import EXACT, ONE, ZERO, add, multiply, plain, subtract
from nkfast.trading.strategy import Desired, Fill, LiveOrder, MarketView, Quote, Skip, Strategy
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["Grid", "GridSettings"]

_SIDES: tuple[Side, Side] = ("buy", "sell")


class GridSettings(Settings):
    """What a grid is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "trading_pair": ("symbol",),
        "grid_spread": ("step_pct",),
        "grid_levels": ("n_buy_levels", "n_sell_levels"),
        "order_amount_mmx": ("base_order_size",),
        "min_notional_usd": ("min_notional_quote",),
        "total_fee_rate": ("fee_rate",),
    }

    symbol: Symbol = key("", meaning="BASE/QUOTE; empty means the market that the grid is given.")
    step_mode: Literal["pct", "abs"] = key(
        "pct", meaning="Whether the step is step_pct of the anchor or step_abs quote units."
    )
    step_pct: Decimal | None = key(
        None, unit="fraction", gt=0, meaning="From level to level; required with step_mode pct."
    )
    step_abs: Decimal | None = key(
        None, unit="quote", gt=0, meaning="From level to level; required with step_mode abs."
    )
    n_buy_levels: int = key(3, ge=0, meaning="Orders below the mid; 0 makes the grid one-sided.")
    n_sell_levels: int = key(3, ge=0, meaning="Orders above the mid; 0 makes the grid one-sided.")
    base_order_size: Decimal = key(
        ONE, unit="base", gt=0, meaning="Of an order, raised where a minimum asks for more."
    )
    min_notional_quote: Decimal = key(
        Decimal("1.05"),
        unit="quote",
        ge=0,
        meaning="Least value of an order; the market's own minimum holds as well.",
    )
    fee_rate: Decimal = key(
        Decimal("0.002"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="Of one side; a round trip pays it twice.",
    )
    fee_buffer_pct: Decimal = key(
        Decimal("0.002"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="Taken off sells when a spacing is judged, and added to minimum sizes.",
    )
    tick_size: Decimal = key(
        ZERO, unit="quote", ge=0, meaning="A coarser grid of prices; 0 takes the market's."
    )
    step_size: Decimal = key(
        ZERO, unit="base", ge=0, meaning="A coarser grid of quantities; 0 takes the market's."
    )
    price_rounding: PriceRounding = key(
        "side", meaning="side: buys down, sells up. down: both down."
    )
    counter_on_partial: bool = key(
        True, meaning="Whether a part of an order is offered again before the order has ended."
    )
    recenter_pct: Decimal | None = key(
        None,
        unit="fraction",
        gt=0,
        meaning="Untouched orders of a side whose nearest is farther than this from the mid move "
        "to it; none: they stay.",
    )

    @model_validator(mode="before")
    @classmethod
    def _mode_of_step(cls, given: dict[str, Any]) -> dict[str, Any]:
        # A step in quote units alone says its mode.
        if "step_mode" not in given and "step_abs" in given and "step_pct" not in given:
            return {**given, "step_mode": "abs"}
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_buy_levels + self.n_sell_levels == 0:
            raise ConfigError("no levels on either side; give at least one", "n_buy_levels")
        if add(self.fee_rate, self.fee_buffer_pct) >= 1:
            raise ConfigError("fee_rate and fee_buffer_pct together take everything", "fee_rate")
        self._check_step()
        return self

    def _check_step(self) -> None:
        name: Literal["step_pct", "step_abs"] = (
            "step_pct" if self.step_mode == "pct" else "step_abs"
        )
        step = getattr(self, name)
        if step is None:
            raise ConfigError(f"is required with step_mode = {self.step_mode!r}", name)
        if name == "step_pct":
            self.check_spacing(ONE, step)

    def check_spacing(self, anchor: Decimal, step: Decimal) -> None:
        """Check a step around an anchor, both in quote units.

        Raises
        ------
        nkfast.errors.ConfigError
            A round trip would lose money, or the lowest level is not above zero.
        """
        name = "step_pct" if self.step_mode == "pct" else "step_abs"
        if multiply(step, Decimal(max(self.n_buy_levels, 1))) >= anchor:
            raise ConfigError(
                f"{max(self.n_buy_levels, 1)} levels of {plain(step)} reach zero from"
                f" {plain(anchor)}; use fewer levels or a smaller step",
                name,
            )
        # With an absolute step the tightest gap, measured as a fraction, is the highest one.
        low = anchor
        if self.step_mode == "abs":
            low = add(anchor, multiply(step, Decimal(max(self.n_sell_levels - 1, 0))))
        if not is_profitable(low, add(low, step), self.fee_rate, self.fee_buffer_pct):
            least = min_step(self.fee_rate, self.fee_buffer_pct)
            raise ConfigError(
                f"a step of {plain(step)} at {plain(low)} does not earn its fees: a round trip at"
                f" fee_rate {plain(self.fee_rate)} a side and fee_buffer_pct"
                f" {plain(self.fee_buffer_pct)} needs a step of {least:.4%}",
                name,
            )


@dataclass(slots=True)
class _Cell:
    """What lies between two levels.

    ``to_buy`` waits at the lower level, ``to_sell`` at the upper; a fill moves its quantity from
    one to the other, so that their sum stays. ``is_seed`` until the first fill.
    """

    to_buy: Decimal
    to_sell: Decimal
    is_seed: bool = True


class Grid(Strategy):
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

    def __init__(self, settings: GridSettings, market: "Market") -> None:
        if settings.symbol and settings.symbol != market.symbol:
            raise ConfigError(f"is {settings.symbol!r}, the market is {market.symbol}", "symbol")
        self.settings = settings
        self.market = market
        self.anchor: Decimal | None = None
        self._anchor = self._step = ZERO
        self._steps = Steps(market, settings.tick_size, settings.step_size, settings.price_rounding)
        self._cells: dict[int, _Cell] = {}
        self._state: dict[str, Any] | None = None  # None when a cell has changed
        # The lattice in integers: anchor, step and ticks as counts of one power of ten.
        self._anchor_units = self._step_units = self._tick_units = self._market_tick_units = 0
        self._places: dict[tuple[int, Side], tuple[Decimal, int]] = {}
        # What the cached decision rests on.
        self._desired = Desired()
        self._is_stale = True
        self._orders: Mapping[str, LiveOrder] = {}
        self._low_units = self._high_units = 0

    @classmethod
    def build(cls, settings: GridSettings, markets: Mapping[str, "Market"]) -> Self:
        """Make a grid on the first of the markets."""
        return cls(settings, next(iter(markets.values())))

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
            and self._low_units < double_mid < self._high_units
        ):
            return self._desired
        if self.anchor is None:
            mid = self.market.ticks_to_price(bid[0] + ask[0])
            self._set_anchor(multiply(mid, Decimal("0.5")))
            double_mid = (bid[0] + ask[0]) * self._market_tick_units
        self._adopt(view.orders)
        skips: list[Skip] = []
        for side, count in zip(
            _SIDES, (self.settings.n_buy_levels, self.settings.n_sell_levels), strict=True
        ):
            self._drop_left_behind(side, double_mid, view.orders)
            self._seed(side, count, double_mid, skips)
        desired = self._wanted(double_mid, view.orders, skips)
        if desired != self._desired:
            self._desired = desired
        self._orders = view.orders
        self._is_stale = False
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        """Move what was filled to the other side of its cell."""
        level = _level_of(fill.slot)
        index = level if fill.side == "buy" else level - 1
        cell = self._cells.setdefault(index, _Cell(ZERO, ZERO))
        cell.is_seed = False
        self._state = None
        if fill.side == "buy":
            cell.to_buy = max(subtract(cell.to_buy, fill.quantity), ZERO)
            cell.to_sell = add(cell.to_sell, fill.quantity)
        else:
            cell.to_sell = max(subtract(cell.to_sell, fill.quantity), ZERO)
            cell.to_buy = add(cell.to_buy, fill.quantity)
        self._is_stale = True

    def state(self) -> dict[str, Any]:
        """Return the anchor, the step and every cell, in plain digits."""
        if self._state is None:
            self._state = {
                "anchor": None if self.anchor is None else plain(self.anchor),
                "step": plain(self._step),
                "cells": {
                    str(index): [plain(cell.to_buy), plain(cell.to_sell), cell.is_seed]
                    for index, cell in sorted(self._cells.items())
                },
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned; the lattice stays where it was."""
        self.anchor = None if state["anchor"] is None else Decimal(state["anchor"])
        self._step = Decimal(state["step"])
        if self.anchor is not None:
            self._lay_out()
        self._cells = {
            int(index): _Cell(Decimal(to_buy), Decimal(to_sell), is_seed)
            for index, (to_buy, to_sell, is_seed) in state["cells"].items()
        }
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
        settings = self.settings
        least = multiply(settings.min_notional_quote, add(ONE, settings.fee_buffer_pct))
        return max(self._steps.down(settings.base_order_size), self._steps.least(price, least))

    def _set_anchor(self, mid: Decimal) -> None:
        settings = self.settings
        if settings.step_mode == "pct":
            assert settings.step_pct is not None
            step = multiply(mid, settings.step_pct)
        else:
            assert settings.step_abs is not None
            step = settings.step_abs
        settings.check_spacing(mid, step)
        if step < self._steps.tick:
            raise ConfigError(
                f"a step of {plain(step)} at {plain(mid)} is less than one tick of"
                f" {plain(self._steps.tick)}; use a larger step",
                "step_pct" if settings.step_mode == "pct" else "step_abs",
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
            level = _level_of(slot)
            index = level if order.side == "buy" else level - 1
            if index not in self._cells:
                is_buy = order.side == "buy"
                rest = order.remaining
                self._state = None
                self._cells[index] = _Cell(rest if is_buy else ZERO, ZERO if is_buy else rest)

    def _seed(self, side: Side, count: int, double_mid: int, skips: list[Skip]) -> None:
        """Add cells at the nearest free levels until a side has its number of orders."""
        have = sum(self._waits(cell, side) for cell in self._cells.values())
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
                self._cells[index] = _Cell(size if is_buy else ZERO, ZERO if is_buy else size)
                have += 1
                self._state = None
            if not is_earning and side == "sell":  # and the higher, the less
                skips.append(Skip("UNPROFITABLE", f"{_slot(level)}: {plain(low)} to {plain(high)}"))
                return
            level += direction

    def _waits(self, cell: _Cell, side: Side) -> bool:
        return bool(cell.to_buy if side == "buy" else cell.to_sell)

    def _is_free(self, level: int, side: Side) -> bool:
        """Whether a fresh order may take a level: no cell of it and no order on it."""
        own, other = (level, level - 1) if side == "buy" else (level - 1, level)
        if own in self._cells and (self._cells[own].to_buy or self._cells[own].to_sell):
            return False
        neighbour = self._cells.get(other)
        return neighbour is None or not self._waits(neighbour, "sell" if side == "buy" else "buy")

    def _drop_left_behind(
        self, side: Side, double_mid: int, orders: Mapping[str, LiveOrder]
    ) -> None:
        """Drop seeds that never came to rest and that the market passed by, or is far from."""
        waiting = {
            index: self._place_of(index if side == "buy" else index + 1, side)[1]
            for index, cell in self._cells.items()
            if self._waits(cell, side)
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
            level = index if side == "buy" else index + 1
            if is_far or (is_passed and _slot(level) not in orders):
                del self._cells[index]
                self._state = None

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

    def _wanted(
        self, double_mid: int, orders: Mapping[str, LiveOrder], skips: list[Skip]
    ) -> Desired:
        quotes: dict[str, Quote] = {}
        for index, cell in sorted(self._cells.items(), key=lambda item: abs(item[0])):
            for side in _SIDES:
                if not self._waits(cell, side):
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
        return Desired(quotes, tuple(skips))

    def _quote(
        self,
        level: int,
        side: Side,
        cell: _Cell,
        orders: Mapping[str, LiveOrder],
        skips: list[Skip],
    ) -> Quote | None:
        """Return the order that one side of a cell wants at its level, if it may have one."""
        price = self.price_of(level, side)
        wanted = cell.to_buy if side == "buy" else cell.to_sell
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
        minimum = self.settings.min_notional_quote if is_source_live else ZERO
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
