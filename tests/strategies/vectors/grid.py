"""The grid: `nkfast.strategies.grid`, with the settings that make it do as the reference did."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from strategies.floor import Still
from strategies.vectors.registry import Given, adapts

from nkfast.core.market import Market
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.strategies.rebalance import find_pair_correction
from nkfast.strategies.sizing import Steps
from nkfast.strategies.spacing import Spacing
from nkfast.trading.exact import EXACT
from nkfast.trading.strategy import Strategy

LADDER = "strategies.grid.LadderGridStrategy."
D = Decimal
DIGITS = 40
RICH = "1000000000"
#: What makes a grid a ladder: prices and sizes down, answers one step from the fill.
AS_LADDER = {"price_rounding": "down", "size_rounding": "down", "counter_price": "fill"}
EVENT = re.compile(r"(buy|sell) [\d.]+@([\d.]+) filled ([\d.]+)(?: then (cancelled))?")


def decimal_of(ratio: Any) -> Decimal:
    """A fraction to forty digits, exactly where it ends before."""
    context = EXACT.copy()
    context.prec = DIGITS
    context.clear_traps()
    return context.divide(D(ratio.numerator), D(ratio.denominator))


def keys_of(config: dict[str, Any], kind: type, **more: Any) -> dict[str, Any]:
    """The keys of a configuration that say what to trade; the rest is the engine's."""
    known = {*kind.model_fields, *kind.aliases}
    given = {key: value for key, value in config.items() if key in known and value is not None}
    return {**given, **more}


def a_market_for(config: dict[str, Any]) -> Market:
    """A market that is finer than every step that a configuration names."""
    return Market(config["symbol"].replace("_", "/"), 12, 12)


def spacing_of(given: Given) -> Spacing:
    mode = given["step_mode"]
    return Spacing(mode, given.number("step_pct" if mode == "pct" else "step_abs"))


def a_market_with(
    make: Callable[[Mapping[str, Market]], Strategy],
    config: dict[str, Any],
    balances: Mapping[str, Any],
    mid: Decimal,
    state: Mapping[str, Any] | None = None,
) -> Still:
    """A strategy that has placed its first orders around a mid, rich where no balance is given."""
    market = a_market_for(config)
    funds = {asset: balances.get(asset, (RICH,))[0] for asset in (market.base, market.quote)}
    pit = Still(make, [market], funds, "0")
    if state is not None:
        pit.strategy.restore(state)
    pit.show(mid - market.tick_size, mid + market.tick_size)
    pit.settle()
    return pit


def a_ladder(given: Given, mid: Decimal) -> Still:
    """A grid that has placed its first orders around a mid."""
    config = given["config"]
    settings = GridSettings.read(keys_of(config, GridSettings, **AS_LADDER))
    balances = given.get("balances", {})
    return a_market_with(lambda markets: Grid.build(settings, markets), config, balances, mid)


@adapts(LADDER + "_apply_step")
def one_step_away(given: Given) -> Any:
    count = int(given["level"]) * (1 if given["upward"] else -1)
    return spacing_of(given).away(given.number("price"), count)


@adapts(LADDER + "_quantize_price/_quantize_quantity")
def rounded(given: Given) -> Any:
    tick, lot = given.numbers("tick_size", "step_size")
    steps = Steps(Market("A/B", 12, 12), tick, lot, "down")
    return {
        "price": steps.price(given.number("price"), "sell"),
        "quantity": steps.down(given.number("quantity")),
    }


@adapts(LADDER + "_resolve_order_quantity")
def size_of_an_order(given: Given) -> Any:
    settings = GridSettings.read(
        {
            "step_pct": "0.2",
            "base_order_size": given["base_quantity"],
            "min_notional_quote": given["min_notional_quote"],
            "fee_buffer_pct": given["fee_buffer_pct"],
            "step_size": given["step_size"],
            # The least lot that satisfies the minimum, or what the reference's bumps come to.
            "size_rounding": "up" if given.is_defect else "down",
        }
    )
    return Grid(settings, Market("A/B", 12, 12)).quantity_at(given.number("price"))


@adapts(LADDER + "seed_ladder")
def first_orders(given: Given) -> Any:
    pit = a_ladder(given, given.number("mid_price"))
    orders = [
        {"side": order.side, "price": order.price, "qty": order.quantity}
        for side in ("buy", "sell")
        for order in sorted(
            (order for order in pit.orders.values() if order.side == side),
            key=lambda order: abs(order.price - given.number("mid_price")),
        )
    ]
    return {"orders": orders, "tracked": len(pit.orders)}


@adapts(LADDER + "poll_once (partial fill then cancel)")
def answer_of_an_event(given: Given) -> Any:
    match = EVENT.fullmatch(given["event"])
    assert match is not None, given["event"]
    side, price, filled, cancelled = match.groups()
    # The mid around which the order at that price is the nearest of its side.
    step = Spacing(given["config"]["step_mode"], D(given["config"]["step_pct"] or 0))
    mid = D(price) / (1 - step.step if side == "buy" else 1 + step.step)
    pit = a_ladder(given, mid)
    (slot,) = (slot for slot, order in pit.orders.items() if order.price == D(price))
    before = set(pit.orders)
    pit.fill(slot, filled)
    if cancelled:
        pit.end(slot)
    pit.settle()
    return {
        "orders": [
            {
                "op": "limit",
                "symbol": given["config"]["symbol"],
                "side": order.side,
                "price": order.price,
                "qty": order.quantity,
            }
            for name, order in pit.orders.items()
            # The side that has filled is filled up at its far end: that is not the answer.
            if name not in before and order.side != side
        ],
        "tracked": len(pit.orders),
    }


@adapts(LADDER + "_calculate_rebalance_need")
def what_to_shift(given: Given) -> Any:
    names = ("base_available", "quote_available", "mid_price", "rebalance_target_base_pct")
    found = find_pair_correction(*given.numbers(*names), D(0))
    return None if found is None else [found.side, decimal_of(found.amount)]


@adapts(LADDER + "_validate_spacing")
def is_spacing_wide_enough(given: Given) -> Any:
    names = ("step_mode", "step_pct", "step_abs", "total_fee_rate", "fee_buffer_pct")
    config = {name: given[name] for name in names if given.get(name) is not None}
    # One level on each side: the spacing is judged, not how many there are.
    settings = GridSettings.read({**config, "grid_levels": 1})
    settings.check_spacing(given.number("mid_price"))
    return "ok"
