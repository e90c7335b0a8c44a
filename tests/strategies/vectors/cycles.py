"""Cycles by rate, their minimums, and cycles through a pool."""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from strategies.vectors.registry import Given, adapts, places

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.strategies.amm import Pool, least_received
from nkfast.strategies.cycle import CycleResult, Step, convert, evaluate, rate_of
from nkfast.strategies.hybrid_arbitrage import around
from nkfast.strategies.sizing import Steps, min_quantity
from nkfast.trading.exact import multiply
from nkfast.trading.plan import Leg, walk

#: As many as the reference has.
_DIGITS = Context(prec=28)


def number(value: Fraction) -> Decimal:
    return _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))


# By rate -----------------------------------------------------------------------------------------


@adapts("strategies.triangular_arb.evaluate_cycle")
def triangle(given: Given) -> Any:
    steps = [
        Step(*pair.split(">"), Decimal(given["rates"][pair]), given.number("fee_rate"))
        for pair in given["cycle"]
    ]
    return number(evaluate(given.number("start_amount"), steps).final)


def _triangle_steps(prices: Mapping[str, str], fee_rate: Decimal) -> list[Step]:
    """Buy on the first pair, sell on the other two, as the reference does."""
    steps = []
    for side, pair in zip(("buy", "sell", "sell"), prices, strict=True):
        base, quote = pair.split("_")
        pays, gets = (quote, base) if side == "buy" else (base, quote)
        steps.append(Step(pays, gets, rate_of(side, Decimal(prices[pair])), fee_rate))  # type: ignore[arg-type]
    return steps


@adapts("bots.run_arb_bot.calculate_conversion_rates")
def rates(given: Given) -> Any:
    steps = _triangle_steps(given["prices"], Decimal(0))
    return {f"step{n}": number(Fraction(step.rate)) for n, step in enumerate(steps, 1)}


@adapts("bots.run_arb_bot._min_quantities_for_cycle")
def minimums(given: Given) -> Any:
    """A minimum in dollars, of a pair of any quote asset: by what its base is worth in them."""
    prices, step = given["prices"], given.number("step")
    start = next(iter(prices)).split("_")[1]
    found = {}
    for pair in prices:
        base = pair.split("_")[0]
        worth = Decimal(prices[f"{base}_{start}"])
        least = min_quantity(worth, *given.numbers("min_notional_usd", "fee_rate"))
        lots = Steps(Market(pair.replace("_", "/"), 8, 8), Decimal(0), step)
        found[pair] = lots.up(least)
    return found


@adapts("bots.run_arb_bot._simulate_fee_adjusted_cycle")
def simulated(given: Given) -> Any:
    start = given.number("start_amount")
    result = evaluate(start, _triangle_steps(given["prices"], given.number("fee_rate")))
    return {
        "adjusted_start": number(result.start),
        "final": number(result.final),
        "profit_ratio": number(result.ratio),
    }


# Pools -------------------------------------------------------------------------------------------


def _pool(reserves: Mapping[str, str], fee_rate: str) -> Pool:
    return Pool(
        reserves["token_a_symbol"],
        reserves["token_b_symbol"],
        Decimal(reserves["reserve_token_a"]),
        Decimal(reserves["reserve_token_b"]),
        Decimal(fee_rate),
    )


def _in_to_out(given: Given) -> Pool:
    return Pool("in", "out", *given.numbers("reserve_in", "reserve_out", "fee_rate"))


@adapts("utils.amm_pricing.calculate_constant_product_output")
def output(given: Given) -> Any:
    return number(_in_to_out(given).received("in", given.number("amount_in")))


@adapts("utils.amm_pricing.calculate_constant_product_input")
def needed(given: Given) -> Any:
    return number(_in_to_out(given).needed("in", given.number("amount_out")))


@adapts("utils.amm_pricing.get_swap_quote")
def quote(given: Given) -> Any:
    pool = _pool(given["reserves"], given["fee_rate"])
    swap = pool.swap(given["token_in"], given.number("amount_in"))
    return {
        "amount_in": number(swap.paid),
        "amount_out": number(swap.received),
        "effective_price": number(swap.price),
        "price_impact": number(swap.impact * 100),
        "fee_amount": number(swap.fee),
    }


@adapts("utils.amm_pricing.calculate_minimum_received")
def least(given: Given) -> Any:
    return number(least_received(*given.numbers("amount_out", "slippage_tolerance")))


@adapts("utils.amm_pricing.calculate_pool_spot_price")
def spot(given: Given) -> Any:
    return number(_pool(given["reserves"], "0").spot(given["quote_token"]))


@adapts("utils.amm_pricing.estimate_optimal_trade_size")
def size(given: Given) -> Any:
    pool = _pool(given["reserves"], given["fee_rate"])
    impact = given.number("max_price_impact")
    return {
        f"{pool.base}_to_{pool.quote}": number(pool.size_for_impact(pool.base, impact)),
        f"{pool.quote}_to_{pool.base}": number(pool.size_for_impact(pool.quote, impact)),
    }


# Through a pool ----------------------------------------------------------------------------------


def _step(leg: Mapping[str, Any]) -> Step:
    """Of the order book only the pool's legs have slippage, in per cent."""
    slippage = Decimal(leg["slippage_pct"]) / 100 if leg["leg_type"] == "pool_swap" else 0
    return Step(
        leg["input_currency"],
        leg["output_currency"],
        Decimal(leg["price"]),
        Decimal(leg["fee_rate"]),
        slippage,
    )


@adapts("strategies.hybrid_triangular_arb.calculate_leg_output")
def leg_output(given: Given) -> Any:
    return number(convert(_step(given["leg"]), given.number("input_amount")))


def _cycle(legs: Sequence[Mapping[str, Any]], start: Decimal) -> CycleResult:
    return evaluate(start, [_step(leg) for leg in legs])


@adapts("strategies.hybrid_triangular_arb.evaluate_cycle")
def hybrid_cycle(given: Given) -> Any:
    legs, start = given["legs"], given.number("start_amount")
    result = _cycle(legs, start)
    paid = [result.start, *result.amounts]
    told: dict[str, Any] = {
        f"leg{n + 1}": {
            **leg,
            "input_amount": number(paid[n]),
            "output_amount": number(paid[n + 1]),
        }
        for n, leg in enumerate(legs)
    }
    return {
        **told,
        "start_currency": legs[0]["input_currency"],
        "start_amount": number(result.start),
        "expected_return": number(result.final),
        "net_profit": number(result.profit),
        "profit_pct": number(result.ratio * 100),
        "cycle_id": ">".join(leg["symbol"] for leg in legs),
    }


@adapts("strategies.hybrid_triangular_arb.is_cycle_profitable")
def is_profitable(given: Given) -> Any:
    result = _cycle(given["legs"], given.number("start_amount"))
    return result.is_worth(given.number("min_profit_threshold_percent") / 100)


@adapts("bots.run_hybrid_arb_bot.HybridArbBot.build_cycles")
def hybrid_cycles(given: Given) -> Any:
    (first, top), (second, other) = given["orderbook"].items()
    (base, start), (quote_asset, _) = first.split("_"), second.split("_")
    pool = Pool(
        base,
        quote_asset,
        Decimal(given["pool"]["reserve_a"]),
        Decimal(given["pool"]["reserve_b"]),
        given.number("pool_fee"),
    )
    fees = given.number("orderbook_fee"), given.number("orderbook_fee")
    amount = given.number("trade_amount")
    told = []
    for pays, bought, sold in ((base, top, other), (quote_asset, other, top)):
        ask, bid = Decimal(bought["ask"]), Decimal(sold["bid"])
        found = around(pool, start, amount, pays, ask, bid, fees)
        names = [found.buys.replace("/", "_"), f"{base}_{quote_asset}", found.sells]
        told.append(
            {
                "cycle_id": ">".join(names).replace("/", "_"),
                "expected_return": number(found.result.final),
                "profit_pct": number(found.result.ratio * 100),
            }
        )
    return told


@adapts("bots.run_hybrid_arb_bot.HybridArbBot._apply_aggressive_limit_price")
def aggressive(given: Given) -> Any:
    """The limit of a leg, on a market of so many decimals that nothing is rounded."""
    price, beyond = given.number("price"), given.number("orderbook_aggressive_limit_pct")
    market = Market("A/B", places(price), 0, taker_fee=0)
    book = OrderBook(market)
    level = [(market.price_to_ticks(price), 1)]
    book.apply_snapshot(level, [(level[0][0] + 1, 1)], 1)
    if given["side"] == "buy":
        book.apply_snapshot([], level, 2)
    paid = multiply(price, Decimal(2)) if given["side"] == "buy" else Decimal(1)
    return walk(Leg("A/B", given["side"]), book, paid, beyond).price
