"""The infinity grid: `nkfast.strategies.infinity_grid`, and the symmetric ladder before it."""

import re
from decimal import Decimal
from typing import Any

from strategies.pit import Pit
from strategies.vectors.grid import a_market_for, a_market_with, keys_of
from strategies.vectors.registry import Given, adapts

from nkfast.core.grid import grid_levels
from nkfast.core.market import BUY, Market
from nkfast.strategies.infinity_grid import InfinityGrid, InfinityGridSettings

LADDER = "strategies.infinity_ladder_grid.InfinityLadderGridStrategy."
D = Decimal
DIGITS = re.compile(r"\D")
FILLED = re.compile(r"(buy|sell)(?: with cost basis [\d.]+)? filled @([\d.]+)")
PARTLY = re.compile(r"(buy|sell) [\d.]+@([\d.]+) 'Partly Filled' ([\d.]+)")


def settings_of(config: dict[str, Any]) -> InfinityGridSettings:
    """The settings that make an infinity grid do as the reference did."""
    more = {"price_rounding": "down", "sell_extra_inventory": True}
    return InfinityGridSettings.read(keys_of(config, InfinityGridSettings, **more))


def a_ladder(
    config: dict[str, Any],
    mid: Decimal,
    balances: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
) -> Pit:
    """An infinity grid that has placed its orders around a mid."""
    settings = settings_of(config)
    return a_market_with(
        lambda markets: InfinityGrid.build(settings, markets), config, balances or {}, mid, state
    )


def grid_of(pit: Pit) -> InfinityGrid:
    assert isinstance(pit.strategy, InfinityGrid)
    return pit.strategy


def orders_of(pit: Pit, *known: str) -> list[dict[str, Any]]:
    """The orders, in the order in which they were thought of."""
    return [
        {"side": order.side, "price": order.price, "qty": order.quantity}
        for slot, order in sorted(pit.orders.items(), key=lambda item: int(DIGITS.sub("", item[0])))
        if slot not in known
    ]


def told(pit: Pit, known: set[str], symbol: str) -> list[dict[str, Any]]:
    """The orders that are new, as they were sent."""
    return [{"op": "limit", "symbol": symbol, **order} for order in orders_of(pit, *known)]


@adapts(LADDER + "_resolve_order_quantity")
def size_of_an_order(given: Given) -> Any:
    grid = InfinityGrid(settings_of(given["config"]), a_market_for(given["config"]))
    grid.entry = given.number("entry_price")
    return grid.size_of(given["side"], given.number("price"))


@adapts(LADDER + "seed_ladder")
def first_orders(given: Given) -> Any:
    pit = a_ladder(given["config"], given.number("mid_price"), given.get("balances"))
    grid, orders = grid_of(pit), orders_of(pit)
    sells = [order for order in orders if order["side"] == "sell"]
    answer = {
        "initial_state": {
            "entry": grid.entry,
            "lowest_buy": grid.lowest,
            "highest_sell": grid.highest,
        },
        "orders": orders,
        "highest_sell_after": max((order["price"] for order in sells), default=grid.highest),
    }
    return {**answer, "second_sell_price": sells[1]["price"]} if given.is_defect else answer


@adapts(LADDER + "reconcile")
def answers_to_fills(given: Given) -> Any:
    config, symbol = given["config"], given["config"]["symbol"]
    if given.get("event") is not None:
        match = PARTLY.fullmatch(given["event"])
        assert match is not None, given["event"]
        side, price, quantity = match.groups()
        # The mid of which that price is the first level.
        step = D(config["step_pct"])
        mid = D(price) / (1 - step if side == "buy" else 1 + step)
        pit = a_ladder(config, mid)
        known = set(pit.orders)
        slot = the_order_at(pit, side, price)
        pit.fill(slot, quantity, knows_fee=False)
        pit.settle()
        return {"orders": told(pit, known, symbol), f"still_tracked_{price}": slot in pit.orders}
    pit = a_ladder(config, given.number("mid_price"))
    answers = []
    for event in (said["event"] for said in given.outputs):
        match = FILLED.fullmatch(event)
        assert match is not None, event
        known = set(pit.orders)
        pit.fill(the_order_at(pit, *match.groups()), knows_fee=False)
        pit.settle()
        grid = grid_of(pit)
        answers.append(
            {
                "event": event,
                "orders": told(pit, known, symbol),
                "highest_sell": grid.highest,
                "lowest_buy": grid.lowest,
                "profit": grid.earned,
            }
        )
    return answers


def the_order_at(pit: Pit, side: str, price: str) -> str:
    slots = [
        slot for slot, order in pit.orders.items() if (order.side, order.price) == (side, D(price))
    ]
    return slots[0]


@adapts(LADDER + "_extend_buy_levels")
def buys_below_the_floor(given: Given) -> Any:
    config, lowest, existing = given["config"], given["lowest_buy"], given["existing_buy"]
    fresh = InfinityGrid(settings_of(config), a_market_for(config))
    size = fresh.size_of("buy", D(existing))
    assert size is not None
    state = {
        **fresh.state(),
        "entry": given["mid_price"],
        "lowest": lowest,
        "highest": given["mid_price"],
        "next": 2,
        "rungs": {
            "1": ["buy", False, None, None, existing, str(size), "0", "0", "0", "0", "0"],
        },
    }
    pit = a_ladder(config, given.number("mid_price"), state=state)
    return {"orders": orders_of(pit, "buy1"), "lowest_buy": grid_of(pit).lowest}


@adapts("git 273924b strategies.infinity_grid.generate_symmetric_grid")
def symmetric_orders(given: Given) -> Any:
    market = Market("A/B", 12, 12)
    count = int(given["levels"])
    rows = grid_levels(
        market,
        given.number("mid_price"),
        step=given.number("step_pct"),
        n_buy=count,
        n_sell=count,
        base_quantity=given.number("order_size"),
        fee_buffer=0,
    )
    orders = [
        {
            "side": "buy" if row["side"] == BUY else "sell",
            "price": market.ticks_to_price(int(row["price_ticks"])),
            "size": market.lots_to_quantity(int(row["quantity_lots"])),
        }
        for row in rows
    ]
    return [order for pair in zip(orders[:count], orders[count:], strict=True) for order in pair]


@adapts("git 273924b strategies.infinity_grid.summarize_grid")
def symmetric_sums(given: Given) -> Any:
    sums = {"buy": D(0), "sell": D(0)}
    for order in symmetric_orders(given):
        sums[order["side"]] += order["size"]
    return sums
