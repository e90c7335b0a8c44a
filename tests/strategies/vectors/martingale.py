"""The capped martingale: sizes of its adds, rounding, and what it does next."""

import re
from decimal import Decimal
from typing import Any

from strategies.vectors.registry import Given, adapts, places

from nkfast.core.market import Market
from nkfast.strategies.capped_martingale import (
    MartingaleSettings,
    Position,
    next_action,
    next_add_notional,
)
from nkfast.strategies.sizing import Steps

MARTINGALE = "strategies.adaptive_capped_martingale.AdaptiveCappedMartingaleStrategy."


@adapts(MARTINGALE + "_next_add_notional (add_count = 0..max_adds)")
def adds(given: Given) -> Any:
    chosen = {
        **given["config"],
        "time_stop_seconds": int(Decimal(given["config"]["time_stop_seconds"])),
    }
    settings = MartingaleSettings.read(chosen)
    price = given.number("price")
    return [next_add_notional(settings, price, made) for made in range(settings.max_adds + 1)]


@adapts(MARTINGALE + "_round_quantity")
def round_quantity(given: Given) -> Any:
    quantity = given.number("quantity")
    step = given.get("quantity_step")
    if step is None:
        step = Decimal(1).scaleb(-int(given["quantity_precision"]))
    step = Decimal(step)
    market = Market("A/B", 2, places(abs(quantity) + 1) - 3)
    steps = Steps(market, lot_size=step)
    rounded = steps.up(quantity) if given["rounding"] == "ROUND_UP" else steps.down(quantity)
    # The reference gives 0 for what is not above 0; ours never asks.
    return rounded if quantity > 0 else Decimal(0)


@adapts(MARTINGALE + "_determine_next_action")
def action(given: Given) -> Any:
    base, price, fee = map(
        Decimal, re.fullmatch(r"(\S+)@(\S+) fee (\S+)", given["position"]).groups()
    )
    settings = MartingaleSettings.read({"cycle_budget": "500", "fee_rate": fee})
    position = Position().bought(price, base, base * price * fee, Decimal(0))
    return next_action(
        settings,
        position,
        given.number("mid_price"),
        add_count=given["add_count"],
        is_partial_done=given["partial_exit_done"],
        is_time_up=given["time_stop_triggered"],
        has_order=given["open_orders"] > 0,
    )
