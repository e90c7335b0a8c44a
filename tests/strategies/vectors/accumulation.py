"""The accumulation: `nkfast.strategies.accumulation` and `nkfast.strategies.market_watch`."""

import re
from decimal import Decimal
from typing import Any

from strategies.pit import Pit
from strategies.vectors.registry import Given, adapts

from nkfast.core.accumulation import accumulation_levels
from nkfast.core.market import Market
from nkfast.strategies.accumulation import Accumulation, find_passive_buy
from nkfast.strategies.accumulation_settings import AccumulationSettings, PassiveSettings
from nkfast.strategies.market_watch import ImpactGuard, MarketWatch, adjust, vwap
from nkfast.strategies.sizing import Steps

MODULE = "strategies.accumulation_infinity_grid."
D = Decimal
MS = 1000
START_MS = 1_760_000_000_000
TRIGGERED_AT_S = 10  # when the vectors' impacts happen, in their seconds
QUESTION = re.compile(r"(\w+?)(?:\((.+)\)|_at_(\d+))")


@adapts(MODULE + "GridEngine.compute_levels (jitter=1)")
def levels(given: Given) -> Any:
    grid = {name: D(str(value)) for name, value in given["grid"].items()}
    market = Market("A/B", given["price_decimals"], given["qty_decimals"])
    rows = accumulation_levels(
        market,
        given.number("pref"),
        first_distance=grid["d0"],
        distance_growth=grid["g"],
        first_quantity=grid["s0"],
        quantity_growth=grid["k"],
        count=given["n"],
        first_index=given["start_index"],
        spacing_factor=given.number("spacing_factor"),
        size_factor=given.number("size_factor"),
        max_quantity=grid["per_order_volume_cap"],
        min_notional=given.number("min_order_notional"),
        minimum_beats_maximum=True,  # as the reference did
    )
    return [
        {
            "index": index,
            "price": market.ticks_to_price(ticks),
            "quantity": market.lots_to_quantity(lots),
        }
        for index, ticks, lots in rows.tolist()
    ]


@adapts(MODULE + "DCAEngine.compute_order (jitter=1)")
def passive_buy(given: Given) -> Any:
    found = find_passive_buy(
        Steps(Market("A/B", 6, 6)),
        PassiveSettings.read(given["dca"]),
        best_bid=given.number("best_bid"),
        spent=given.number("daily_spent_quote"),
        min_notional=given.number("min_order_notional"),
        minimum_beats_budget=True,  # as the reference did
    )
    price, quantity = (D(0), D(0)) if found is None else found
    return {"price": price, "quantity": quantity}


@adapts(MODULE + "VWAPController.adjustments")
def adjustments(given: Given) -> Any:
    settings = given["vwap"]
    watch = MarketWatch(D(1), 1, settings["window_sec"] * MS, MS)
    for mid in given["market_mids"]:
        watch.sample(START_MS, D(mid), D(mid))
    paid = vwap([(D(price), D(quantity)) for price, quantity in given["bot_fills(price,qty)"]])
    market = watch.mids.mean(START_MS)
    found = adjust(
        paid,
        market,
        size_factor=D(settings["size_reduction_factor"]),
        spacing_factor=D(settings["spacing_widen_factor"]),
        pause_threshold=D(settings["pause_threshold"]),
    )
    return {
        "bot_vwap": paid or D(0),
        "market_twap": market or D(0),
        "adjustments(size,spacing,pause)": list(found),
    }


@adapts(MODULE + "MarketStateTracker.update")
def samples(given: Given) -> Any:
    ema = given["ema"]
    watch = MarketWatch(D(ema["ema_alpha"]), ema["atr_window"], 60 * MS, 60 * MS)
    answers = []
    for number, (bid, ask) in enumerate(given["tops"]):
        now_ms = START_MS + number * int(given["interval_sec"]) * MS
        watch.sample(now_ms, D(bid), D(ask))
        answers.append(
            {
                "mid": watch.mid,
                "spread_pct": watch.spread,
                "median_spread_pct": watch.median_spread,
                "ema": watch.ema,
                "atr": watch.mean_move,
                # Of the mid, where the reference compares quote units with a fraction.
                "is_flat": watch.volatility < D(ema["atr_flat_threshold"]),
                "volume_1m_proxy": watch.moved.sum(now_ms),
            }
        )
    return answers


@adapts(MODULE + "ImpactDetector")
def impacts(given: Given) -> Any:
    guards = given["guards"]
    guard = ImpactGuard(
        fill_ms_min=int(D(str(guards["fill_time_threshold_sec"])) * MS),
        mid_jump_max=D(guards["mid_jump_threshold"]),
        spread_ratio_max=D(guards["spread_widen_threshold"]),
        touches_max=guards["best_bid_touch_max"],
        touch_window_ms=guards["best_bid_touch_window_sec"] * MS,
        pause_ms=guards["cooldown_impact_sec"] * MS,
    )
    at_ms = TRIGGERED_AT_S * MS
    answers: dict[str, Any] = {}
    # What is asked are the names of the answers: mid_jump(100->100.5), paused_at_309.
    for name in given.outputs:
        match = QUESTION.fullmatch(name)
        question, numbers, second = match.groups() if match else (name, None, None)
        if question == "fast_fill":
            after_ms = int(D(numbers.removesuffix("s")) * MS)
            answers[name] = guard.check_fill(at_ms, after_ms)
        elif question == "mid_jump":
            answers[name] = guard.check_jump(at_ms, *map(D, numbers.split("->")))
        elif question == "spread_widen":
            answers[name] = guard.check_spread(at_ms, *map(D, numbers.split(" vs ")))
        elif question == "paused":
            answers[name] = guard.is_paused(int(second) * MS)
        else:
            assert name == "triggers", name
            answers[name] = guard.triggers
    return answers


@adapts(MODULE + "AccumulationInfinityGrid.poll_once (scenario, jitter=1)")
def scenario(given: Given) -> Any:
    config = given["config"]
    known = {*AccumulationSettings.model_fields, *AccumulationSettings.aliases}
    read: dict[str, Any] = {name: value for name, value in config.items() if name in known}
    read["ema"] = {key: value for key, value in config["ema"].items() if key != "ema_window_sec"}
    settings = AccumulationSettings.read({**read, "has_jitter": False})
    symbol = config["symbol"].replace("_", "/")
    market = Market(symbol, config["price_decimals"], config["qty_decimals"])
    funds = {market.base: "0", market.quote: given["available_quote"]}
    pit = Pit(lambda markets: Accumulation.build(settings, markets), [market], funds, "0")
    bot = pit.strategy
    assert isinstance(bot, Accumulation)
    pit.show(*given["top"])
    answers = []
    for said in given.outputs:
        known_slots = set(pit.orders)
        filled = re.fullmatch(r"level (\d+) filled", said["event"])
        if filled is not None:
            rows = bot.state()["levels"]
            (number,) = (n for n, row in rows.items() if row[0] == int(filled[1]))
            pit.pass_time(float(config["poll_interval_sec"]))
            pit.fill(f"grid{number}")
        pit.settle()
        orders = [
            {"op": "limit", "symbol": config["symbol"], "side": order.side}
            | {"price": order.price, "qty": order.quantity}
            for slot, order in pit.orders.items()
            if slot not in known_slots
        ]
        answer = {"event": said["event"], "orders": orders}
        if filled is None:
            answer["dca_active"] = any(slot.startswith("passive") for slot in pit.orders)
        else:
            answer["budget_remaining"] = settings.daily_budget_quote - bot.spent
            answer["next_index"] = bot.next_index
        answers.append(answer)
    return answers
