"""Rebalance: what is off, and the order that a check makes of it."""

from collections.abc import Mapping
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from strategies.pit import Pit
from strategies.vectors.registry import Given, adapts, places

from nkfast.core.market import Market
from nkfast.strategies.rebalance import (
    Correction,
    Rebalance,
    RebalanceSettings,
    find_correction,
    find_pair_correction,
)

_DIGITS = Context(prec=40)


def _decimal(number: Fraction) -> Decimal:
    return _DIGITS.divide(Decimal(number.numerator), Decimal(number.denominator))


def _numbers(given: Mapping[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(value) for name, value in given.items()}


def _pair(found: Correction | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "side": found.side,
        "amount": _decimal(found.amount),
        "price": found.price,
        "target_ratio": found.target,
    }


@adapts("strategies.rebalance.calculate_rebalance_order")
def pair(given: Given) -> Any:
    names = ("base_balance", "quote_balance", "mid_price", "target_base_ratio", "drift_threshold")
    return _pair(find_pair_correction(*given.numbers(*names)))


@adapts("strategies.rebalance.calculate_multi_asset_rebalance")
def several(given: Given) -> Any:
    found = find_correction(
        _numbers(given["balances"]),
        _numbers(given["prices"]),
        _numbers(given["target_ratios"]),
        given["quote_asset"],
        given.number("drift_threshold"),
    )
    said = _pair(found)
    if found is not None and said is not None:
        said |= {"asset": found.asset, "current_ratio": _decimal(found.ratio)}
    return said


@adapts("bots.run_rebalance_bot.RebalanceBot.run_cycle")
def cycle(given: Given) -> Any:
    # Of a market's steps and fees the reference knows nothing here.
    chosen = RebalanceSettings.read(
        {name: value for name, value in given["config"].items() if name != "mode"}
    )
    tops = {
        name.replace("_", "/"): [Decimal(price) for price in top]
        for name, top in given["ticker(bid,ask,last)"].items()
    }
    wealth = sum(_numbers(given["available"]).values())
    markets = [
        Market(symbol, places(*top), places(wealth), maker_fee=0, taker_fee=0)
        for symbol, top in tops.items()
    ]
    pit = Pit(lambda found: Rebalance.build(chosen, found), markets, given["available"])
    for symbol, (bid, ask, last) in tops.items():
        pit.show(bid, ask, symbol, lots=1)
        pit.trade(last, symbol)
    return [
        {
            "symbol": quote.symbol.replace("/", "_"),
            "side": quote.side,
            "type": "limit" if quote.price is not None else "market",
            "quantity": quote.quantity,
            "price": quote.price,
        }
        for quote in pit.decide().quotes.values()
    ]
