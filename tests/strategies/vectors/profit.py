"""Round trips, minimums and needs: `nkfast.strategies.round_trip` and `.sizing`."""

from decimal import Decimal
from typing import Any

from strategies.vectors.registry import Given, Words, adapts

from nkfast.core.grid import min_step
from nkfast.core.market import Market
from nkfast.strategies.round_trip import (
    grid_profit,
    is_profitable,
    min_sell_price,
    pays_both_fees,
    why_not,
)
from nkfast.strategies.sizing import Steps, largest_quantity, min_quantity, needed
from nkfast.wire.symbols import TradingPair

CALCULATOR = "utils.profit_calculator."


@adapts(CALCULATOR + "calculate_min_profitable_step_pct")
def least_step(given: Given) -> Any:
    return min_step(*given.numbers("total_fee_rate", "fee_buffer_pct"))


@adapts(CALCULATOR + "calculate_min_profitable_sell_price")
def least_sell_price(given: Given) -> Any:
    return min_sell_price(*given.numbers("buy_price", "total_fee_rate", "fee_buffer_pct"))


@adapts(CALCULATOR + "calculate_grid_profit")
def profit_of_a_round_trip(given: Given) -> Any:
    return grid_profit(*given.numbers("buy_price", "sell_price", "quantity", "total_fee_rate"))


@adapts(CALCULATOR + "is_profitable_grid_level")
def is_level_profitable(given: Given) -> Any:
    names = ("buy_price", "sell_price", "total_fee_rate", "fee_buffer_pct")
    return is_profitable(*given.numbers(*names))


@adapts(CALCULATOR + "validate_order_profitability")
def is_order_worth_placing(given: Given) -> Any:
    skip = why_not(
        given["side"],
        *given.numbers("price", "quantity", "opposing_price"),
        fee_rate=given.number("total_fee_rate"),
        fee_buffer=given.number("fee_buffer_pct"),
        min_notional=given.number("min_notional_quote"),
    )
    return [skip is None, Words("" if skip is None else skip.detail)]


@adapts("nonkyc_client.pricing.min_quantity_for_notional")
def least_quantity(given: Given) -> Any:
    return min_quantity(*given.numbers("price", "min_notional", "fee_rate"))


@adapts("utils.notional.min_quantity_from_notional")
def least_lots(given: Given) -> Any:
    if given.get("step_size") is None and given.get("precision") is None:
        return least_quantity(given)
    precision = given.get("precision", 8)
    steps = Steps(Market("A/B", 8, int(precision)), lot_size=_or_zero(given, "step_size"))
    return steps.up(least_quantity(given))


@adapts("nonkyc_client.pricing.should_skip_fee_edge")
def is_edge_too_small(given: Given) -> Any:
    return not pays_both_fees(given["side"], *given.numbers("price", "mid_price", "fee_rate"))


@adapts("utils.balance_checker.calculate_required_balance")
def what_an_order_needs(given: Given) -> Any:
    pair = TradingPair.parse(given["symbol"])
    price = _or_zero(given, "price")  # a sell needs none
    return list(needed(pair, given["side"], price, *given.numbers("quantity", "fee_rate")))


@adapts("utils.balance_checker.get_max_order_size")
def what_a_balance_allows(given: Given) -> Any:
    names = ("available", "fee_rate", "safety_margin")
    return largest_quantity(given["side"], _or_zero(given, "price"), *given.numbers(*names))


def _or_zero(given: Given, name: str) -> Decimal:
    return given.number(name) if given.get(name) is not None else Decimal(0)
