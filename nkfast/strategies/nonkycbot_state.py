"""State files of the bot "nonkycbot" as the states of our strategies.

Its files are JSON: amounts are texts, times are seconds since 1970 as floats. What rests at the
venue under its ids is not ours: those orders are to be cancelled, and ours take their places.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from nkfast.errors import ConfigError
from nkfast.strategies.accumulation import Accumulation
from nkfast.strategies.capped_martingale import CappedMartingale
from nkfast.strategies.grid import Grid
from nkfast.strategies.grid_cell import Cell
from nkfast.strategies.infinity_grid import InfinityGrid
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract
from nkfast.trading.strategy import Strategy

__all__ = ["TakenOver", "take_over"]

_DIVISION = Context(prec=28, rounding=ROUND_HALF_EVEN)
_MS = 1000
_DAY_MS = 24 * 3600 * _MS
_TWO = Decimal(2)


@dataclass(slots=True)
class TakenOver:
    """What became of a file.

    Attributes
    ----------
    state : dict
        What `Strategy.restore` takes.
    order_ids : tuple of str
        The other bot's open orders, by the venue's ids: to be cancelled before ours are placed.
    needs : Decimal
        Base units that the account must hold for what the file says to be true.
    said : list of str
        What was taken over and what was not, for a person.
    """

    state: dict[str, Any]
    order_ids: tuple[str, ...] = ()
    needs: Decimal = ZERO
    said: list[str] = field(default_factory=list)


def take_over(data: Mapping[str, Any], strategy: Strategy, now_ms: int) -> TakenOver:
    """Make the state of a fresh strategy from another bot's file.

    Parameters
    ----------
    data : mapping
        The file's JSON.
    strategy : Strategy
        As it was made, with its settings; the state is checked by restoring it there.

    Raises
    ------
    nkfast.errors.ConfigError
        The file lacks something, holds something else, or is another strategy's.
    """
    inner = getattr(strategy, "strategy", strategy)  # within a profit store
    read = _READERS.get(type(inner))
    if read is None:
        known = ", ".join(kind.name for kind in _READERS)
        raise ConfigError(f"{strategy.name} has no state to take over; these have: {known}")
    try:
        taken = read(data, inner, now_ms)
        strategy.restore(taken.state)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        why = f"{type(error).__name__} {error}"
        raise ConfigError(f"is no state of a {inner.name}: {why}") from error
    return taken


def _number(value: object) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite() or number < 0:
        raise ValueError(f"{value!r} is no amount")
    return number


def _ms(seconds: object) -> int:
    return int(Decimal(str(seconds)) * _MS)


def _orders(data: Mapping[str, Any]) -> list[tuple[str, str, Decimal, Decimal, Decimal | None]]:
    """Return id, side, price, quantity and cost of a unit of every open order, by price."""
    found = []
    for order_id, row in data["open_orders"].items():
        side = row["side"].lower()
        if side not in ("buy", "sell"):
            raise ValueError(f"{side!r} is no side")
        cost = row.get("cost_basis")
        found.append(
            (
                *(order_id, side, _number(row["price"]), _number(row["quantity"])),
                None if cost is None else _number(cost),
            )
        )
    return sorted(found, key=lambda order: order[2])


def _grid(data: Mapping[str, Any], grid: Grid, now_ms: int) -> TakenOver:
    orders, spacing = _orders(data), grid.settings.spacing
    anchor = _anchor_of(data, orders, grid)
    step = spacing.at(anchor)
    cells: dict[int, Cell] = {}
    held = needs = ZERO
    for _, side, price, quantity, cost in orders:
        level = int(_DIVISION.divide(price - anchor, step).to_integral_value(ROUND_HALF_EVEN))
        index = level if side == "buy" else level - 1
        while index in cells:  # its price stays its own wherever it is counted
            index += -1 if side == "buy" else 1
        if side == "buy":
            cells[index] = Cell(quantity, ZERO, is_seed=cost is None, bid=price)
            continue
        needs = add(needs, quantity)
        cells[index] = cell = Cell(ZERO, quantity, is_seed=cost is None, ask=price)
        if cost is not None:
            paid = multiply(multiply(cost, quantity), add(ONE, grid.settings.fee_rate))
            cell.held, cell.cash = quantity, paid.copy_negate()
            cell.bid = cost
            held = add(held, quantity)
    earned = _number_or_loss(data.get("total_profit_quote", "0"))
    state = grid.state() | {
        "anchor": plain(anchor),
        "step": plain(step),
        "earned": plain(earned),
        "cells": {str(index): cell.as_json() for index, cell in sorted(cells.items())},
    }
    said = [
        f"{len(orders)} levels around {plain(anchor)}, each at its own price",
        f"{plain(held)} {grid.market.base} bought and waiting to be sold, with what it cost",
        f"{plain(earned)} {grid.market.quote} earned before",
    ]
    return TakenOver(state, tuple(order[0] for order in orders), needs, said)


def _anchor_of(data: Mapping[str, Any], orders: list[Any], grid: Grid) -> Decimal:
    """Return the mid that the levels were laid around, as near as they tell it."""
    buys = [order[2] for order in orders if order[1] == "buy"]
    sells = [order[2] for order in orders if order[1] == "sell"]
    spacing = grid.settings.spacing
    if buys:
        price = max(buys)
        if spacing.mode == "pct":
            return _DIVISION.divide(price, subtract(ONE, spacing.step))
        return add(price, spacing.step)
    if sells:
        price = min(sells)
        if spacing.mode == "pct":
            return _DIVISION.divide(price, add(ONE, spacing.step))
        return subtract(price, spacing.step)
    return _number(data["last_mid"])


def _infinity(data: Mapping[str, Any], grid: InfinityGrid, now_ms: int) -> TakenOver:
    orders, fee = _orders(data), grid.settings.fee_rate
    rungs: dict[str, list[Any]] = {}
    held = needs = ZERO
    for number, (_, side, price, quantity, cost) in enumerate(orders, 1):
        paid = bought = ZERO
        if side == "sell":
            needs = add(needs, quantity)
            if cost is not None:
                paid, bought = multiply(multiply(cost, quantity), add(ONE, fee)), quantity
                held = add(held, quantity)
        numbers = (price, quantity, ZERO, ZERO, ZERO, paid, bought)
        rungs[str(number)] = [side, False, None, None, *map(plain, numbers)]
    earned = _number_or_loss(data.get("total_profit_quote", "0"))
    state = grid.state() | {
        "entry": plain(_number(data["entry_price"])),
        "lowest": plain(_number(data["lowest_buy_price"])),
        "highest": plain(_number(data["highest_sell_price"])),
        "earned": plain(earned),
        "next": len(orders) + 1,
        "rungs": rungs,
    }
    said = [
        f"{len(orders)} orders from {state['lowest']} up, entry {state['entry']}",
        f"{plain(held)} {grid.market.base} bought and waiting to be sold, with what it cost",
        f"{plain(earned)} {grid.market.quote} earned before",
    ]
    return TakenOver(state, tuple(order[0] for order in orders), needs, said)


def _martingale(data: Mapping[str, Any], bot: CappedMartingale, now_ms: int) -> TakenOver:
    base = _number(data["total_btc"])
    quote, fees = _number(data["total_buy_quote"]), _number(data["total_buy_fees_quote"])
    is_half_sold = bool(data.get("partial_exit_done", False))
    gross = add(quote, fees)
    said = [f"a cycle that holds {plain(base)} {bot.market.base} for {plain(gross)}"]
    if is_half_sold:  # the file forgets what was paid for what is sold
        gross = multiply(gross, _TWO)
        said.append(f"half of it is sold already: {plain(gross)} of the budget count as spent")
    order_ids = tuple(data.get("open_orders", {}))
    if not base:
        said = ["nothing is held: the next cycle begins afresh"]
    state = bot.state() | {
        "cycle": 1 if base else 0,
        "started_ms": _ms(data["started_at"]) if base else None,
        "add_count": int(data.get("add_count", 0)) if base else 0,
        "is_partial_done": is_half_sold and bool(base),
        "position": {
            **{"base": plain(base), "quote": plain(quote), "fees": plain(fees)},
            **{"gross": plain(gross), "proceeds": "0"},
            "last_price": plain(_number(data.get("last_fill_price") or "0")),
        },
    }
    return TakenOver(state, order_ids, base, said)


def _accumulation(data: Mapping[str, Any], bot: Accumulation, now_ms: int) -> TakenOver:
    levels: dict[str, list[Any]] = {}
    order_ids = []
    for row in data["grid"]["levels"]:
        if row.get("filled"):
            continue
        number = len(levels) + 1
        levels[str(number)] = [
            int(row["index"]),
            *(plain(_number(row["price"])), plain(_number(row["quantity"])), "0"),
        ]
        if row.get("order_id"):
            order_ids.append(str(row["order_id"]))
    laid_at = _laid_at(next(iter(levels.values()), None), bot)
    dca, coordinator = data["dca"], data["coordinator"]
    if dca.get("current_order_id"):
        order_ids.append(str(dca["current_order_id"]))
    # Its day begins when it was started, ours at midnight UTC: a day that began before is over.
    reset_ms = _ms(coordinator["daily_reset_at"])
    is_today = _day(reset_ms) == _day(now_ms)
    spent = _number(coordinator["daily_total_spent"]) if is_today else ZERO
    passive = _number(dca["daily_spent_quote"]) if is_today else ZERO
    interval_ms = bot.settings.dca.interval_sec * _MS
    state = bot.state() | {
        "levels": levels,
        "next_number": len(levels) + 1,
        "next_index": int(data["grid"]["next_index"]),
        "laid_at": None if laid_at is None else plain(laid_at),
        "laid_ms": now_ms,
        "day": _day(now_ms),
        "spent": plain(spent),
        "spent_passively": plain(passive),
        "passive_due_ms": int(_ms(dca["last_attempt_at"]) + interval_ms),
        "ladder_filled_ms": _ms(coordinator["last_grid_fill_at"]),
    }
    said = [
        f"{len(levels)} levels, the next one is {state['next_index']}",
        f"{plain(spent)} {bot.market.quote} spent today",
        "what it counted as filled is not taken over: it counted orders as filled that it could not"
        " see",
    ]
    return TakenOver(state, tuple(order_ids), ZERO, said)


def _laid_at(level: list[Any] | None, bot: Accumulation) -> Decimal | None:
    """Return the average price that the ladder was laid at, as its first step tells it."""
    if level is None:
        return None
    settings = bot.settings.grid
    distance = _DIVISION.multiply(settings.d0, _DIVISION.power(settings.g, level[0] - 1))
    return _DIVISION.divide(Decimal(level[1]), ONE - distance) if distance < 1 else None


def _day(time_ms: int) -> int:
    return time_ms // _DAY_MS


def _number_or_loss(value: object) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"{value!r} is no amount")
    return number


_READERS: Mapping[type[Strategy], Callable[[Mapping[str, Any], Any, int], TakenOver]] = {
    Grid: _grid,
    InfinityGrid: _infinity,
    CappedMartingale: _martingale,
    Accumulation: _accumulation,
}
