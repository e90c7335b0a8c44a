"""The infinity grid of constant value: `nkfast.strategies.infinity_grid_value`."""

from decimal import Decimal
from typing import Any

from strategies.vectors.grid import decimal_of
from strategies.vectors.registry import Given, Words, adapts

from nkfast.strategies.infinity_grid_value import ConstantValue, find_trade, hold_constant

D = Decimal


@adapts("git 0e43589 strategies.infinity_grid.initialize_infinity_grid")
def beginning(given: Given) -> Any:
    names = ("base_balance", "quote_balance", "current_price", "step_pct")
    held = hold_constant(*given.numbers(*names))
    answer = {
        "constant_value_quote": held.value,
        "last_rebalance_price": held.last_price,
        "step_pct": held.step_pct,
        "lower_limit": held.lower_limit,
        "allocated_quote": given.number("quote_balance"),
        "total_profit_quote": D(0),
    }
    return {**answer, "levels": held.levels} if given.is_defect else answer


@adapts("git 0e43589 strategies.infinity_grid.calculate_infinity_grid_order")
def trade(given: Given) -> Any:
    state = {name: D(value) for name, value in given["state"].items()}
    held = ConstantValue(
        state["constant_value_quote"],
        state["last_rebalance_price"],
        state["step_pct"],
        state["lower_limit"],
        0,
    )
    base, quote, price = given.numbers("base_balance", "quote_balance", "current_price")
    found = find_trade(held, base, quote, price)
    if found is None:
        return None
    reason = Words(f"{found.side} at {price}")
    amount = decimal_of(found.amount)
    return {"side": found.side, "amount": amount, "price": price, "reason": reason}
