"""What becomes of each strategy at each event: the event matrix, on the exchange, in no real time.

A cell is a test of what the specification says, or a word why the event cannot be. A strategy of
the registry that has no row, or an event that is missing in one, fails.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from strategies.arena import Arena, Placed
from strategies.test_scenarios import HOME, LIMITS, ROWS, SCENARIOS

from nkfast.exchange.money import atoms
from nkfast.exchange.orders import Order
from nkfast.strategies import names

D = Decimal
EVENTS = (
    *("full fill", "partial fill", "cancelled", "shortage", "restart", "exit"),
    *("minimum", "fees", "rounding"),
)
#: Longer than any interval or time-out of a scene.
_LATER_S = 70.0


@dataclass(frozen=True)
class Scene:
    """What a strategy is told, and where it stands when the event comes.

    ``told_of_shortage`` and ``told_of_minimum`` are what it says then; none: it raises its sizes.
    """

    settings: Mapping[str, Any]
    tops: Mapping[str, tuple[str, str]]
    funds: Mapping[str, str]
    told_of_shortage: str = "SHORT_OF_FUNDS"
    told_of_minimum: str = ""
    quantity: str = "1000"
    poor: Mapping[str, str] = field(default_factory=lambda: {"USDT": "0.5"})
    rounds_quantity: Literal["down", "up"] = "down"


HALF = {"BTC": "1", "USDT": "50000"}
AROUND = {HOME: ("49990.00", "50010.00")}
TRIANGLE = {
    HOME: ("63900.00", "64000.00"),
    "ETH/BTC": ("0.050000", "0.051000"),
    "ETH/USDT": ("3400.00", "3410.00"),
}
SCENES: Mapping[str, Scene] = {
    "grid": Scene(
        {"step_pct": "0.01", "n_buy_levels": 2, "n_sell_levels": 2, "base_order_size": "0.01"},
        AROUND,
        HALF,
    ),
    "infinity_grid": Scene(
        {
            "step_pct": "0.01",
            "n_buy_levels": 2,
            "initial_sell_levels": 2,
            "base_order_size": "0.01",
        },
        AROUND,
        HALF,
        told_of_minimum="BELOW_MINIMUM",
    ),
    "infinity_grid_value": Scene(
        {"step_pct": "0.01", "order_timeout_sec": 60},
        AROUND,
        HALF,
        told_of_shortage="",
        told_of_minimum="BELOW_MINIMUM",
        poor={"BTC": "1"},
    ),
    "accumulation": Scene(
        {
            **SCENARIOS["accumulation"].settings,
            "has_jitter": False,
            "dca": {"budget_daily": 0, "interval_sec": 10, "epsilon": "0.0005", "ttl_sec": 5},
        },
        {HOME: ("49990.00", "50010.00")},
        HALF,
        told_of_minimum="BELOW_MINIMUM",
    ),
    "market_maker": Scene(
        {"sell_quote_target": 500},
        {HOME: ("49900.00", "50100.00")},
        HALF,
        told_of_shortage="SHORTAGE",
        told_of_minimum="SHORTAGE",
    ),
    "capped_martingale": Scene(
        {"cycle_budget": 3_000, "base_order_pct": "0.1", "per_order_cap_pct": "0.3"},
        AROUND,
        HALF,
        told_of_shortage="SHORTAGE",
        rounds_quantity="up",
    ),
    "rebalance": Scene(
        {"poll_interval_s": 20, "order_timeout_s": 60},
        AROUND,
        {"BTC": "1", "USDT": "20000"},
        told_of_shortage="BELOW_MINIMUM",
        told_of_minimum="BELOW_MINIMUM",
    ),
    "profit_allocation": Scene(
        {"symbol": HOME, "principal": 12_000, "poll_interval_s": 20, "order_timeout_s": 30},
        AROUND,
        {"BTC": "0", "USDT": "20000"},
        told_of_shortage="PROFIT",
        told_of_minimum="BELOW_MINIMUM",
        quantity="0.05",
    ),
    "arbitrage": Scene(
        {
            **{"trade_amount": 500, "min_profitability": "0.001", "max_book_age_ms": 10**6},
            **{"max_unwind_cost_pct": "0.05", "unwind_slippage_pct": "0.05"},
            **{"leg_timeout_ms": 1_000, "max_consecutive_failures": 100},
        },
        TRIANGLE,
        {"USDT": "100000"},
        told_of_shortage="",
        told_of_minimum="",
    ),
    "hybrid_arbitrage": Scene(
        {"pool_pair": "ETH/BTC", "pool_base_reserve": "1000", "pool_quote_reserve": "60"},
        {HOME: ("63900.00", "64000.00"), "ETH/USDT": ("3400.00", "3410.00")},
        {"USDT": "100000"},
    ),
}


def arena_of(
    name: str,
    folder: Path,
    *,
    mode: Literal["live", "monitor"] = "live",
    funds: Mapping[str, str] | None = None,
    rows: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Arena:
    """Build the scene of a strategy; ``rows`` changes its markets."""
    scene = SCENES[name]
    return Arena(
        name,
        {**scene.settings, **(settings or {})},
        [{**ROWS[symbol], **(rows or {})} for symbol in scene.tops],
        scene.funds if funds is None else funds,
        folder,
        limits=LIMITS,
        mode=mode,
    )


def show(arena: Arena, name: str, tops: Mapping[str, tuple[str, str]] | None = None) -> None:
    scene = SCENES[name]
    for symbol, (bid, ask) in (scene.tops if tops is None else tops).items():
        arena.show(bid, ask, symbol, "0.1" if symbol == "ETH/BTC" else scene.quantity)


Story = Callable[[Arena], Awaitable[None]]
Cell = Callable[[str, Path], None]


def told(story: Story, **changes: Any) -> Cell:
    """Make a cell of what happens after the first orders."""

    def cell(name: str, folder: Path) -> None:
        arena = arena_of(name, folder, **changes)
        show(arena, name)

        async def whole() -> None:
            await arena.settle(1.5)
            await story(arena)

        arena.run(whole)

    return cell


def at(orders: "list[Order]") -> list[tuple[str, Decimal]]:
    """Return side and price of orders."""
    return [(order.side, order.listing.market.ticks_to_price(order.ticks or 0)) for order in orders]


def size(order: Order) -> Decimal:
    """Return what of an order rests."""
    return order.listing.market.lots_to_quantity(order.remaining_lots)


def ids(arena: Arena) -> set[str]:
    return {order.id for order in arena.resting()}


# Full fills ------------------------------------------------------------------------------------


async def grid_fills(arena: Arena) -> None:
    assert at(arena.resting("buy")) == [("buy", D(49500)), ("buy", D(49000))]
    arena.hit(arena.resting("buy")[0])
    await arena.settle()
    answer = arena.resting("sell")[0]
    assert (at([answer]), size(answer)) == ([("sell", D(50000))], D("0.01"))
    assert ("buy", D(49500)) not in at(arena.resting("buy"))
    arena.hit(answer)  # a round trip ends where it began, and earns
    await arena.settle()
    assert at(arena.resting("buy"))[0] == ("buy", D(49500))
    assert arena.strategy.earned == 5 - D("0.995") * 2  # type: ignore[attr-defined]


async def infinity_fills(arena: Arena) -> None:
    arena.hit(arena.resting("buy")[0])
    await arena.settle()
    assert at(arena.resting("sell"))[0] == ("sell", D(49995))
    assert size(arena.resting("sell")[0]) <= D("0.01")
    arena.hit(arena.resting("sell")[0])
    await arena.settle()
    assert at(arena.resting("sell"))[-1] == ("sell", D(51510))  # no ceiling
    assert at(arena.resting("buy"))[0] == ("buy", D("49495.05"))


async def value_fills(arena: Arena) -> None:
    assert arena.resting() == []
    arena.show("50490.00", "50510.00")
    await arena.settle()
    (order,) = arena.resting()
    assert (order.side, size(order)) == ("sell", D("0.009900"))  # what is beyond 50,000 USDT
    arena.hit(order)
    await arena.settle()
    assert arena.strategy.held.last_price == 50_500  # type: ignore[attr-defined]
    assert arena.resting() == []


async def accumulation_fills(arena: Arena) -> None:
    before = at(arena.resting("buy"))
    arena.hit(arena.resting("buy")[0])
    await arena.settle(5)
    after = at(arena.resting("buy"))
    assert after[:3] == before[1:]
    assert after[3] < before[3]  # one deeper
    assert arena.resting("sell") == []


async def maker_fills(arena: Arena) -> None:
    buy, sell = arena.resting("buy")[0], arena.resting("sell")[0]
    arena.hit(buy)
    await arena.settle(5)
    assert at(arena.resting("buy")) == at([buy])
    assert arena.resting("buy")[0].id != buy.id
    assert arena.resting("sell")[0].id == sell.id


async def martingale_fills(arena: Arena) -> None:
    (add,) = arena.resting()
    first = at([add])[0][1]
    assert first <= D("50010") * D("0.988")
    arena.show(str(first - 10), str(first + 10))
    await arena.settle()
    arena.hit(add)
    await arena.settle()
    (deeper,) = arena.resting()
    assert at([deeper])[0][1] <= first * D("0.988")
    assert size(deeper) / size_of(add) > D("1.4")


def size_of(order: Order) -> Decimal:
    return order.listing.market.lots_to_quantity(order.lots)


async def rebalance_fills(arena: Arena) -> None:
    (order,) = arena.resting()
    assert (order.side, size(order)) == ("sell", D("0.3"))
    arena.hit(order)
    await arena.settle(_LATER_S)
    assert arena.resting() == []
    assert len(arena.placed()) == 1  # no second one for the same drift


async def allocation_fills(arena: Arena) -> None:
    await arena.settle(_LATER_S)  # the rest, priced anew as the market comes back
    show(arena, "profit_allocation")
    for _ in range(4):
        await arena.settle(_LATER_S)
        show(arena, "profit_allocation")
    spent = 20_000 - arena.total("USDT")
    assert 3_900 < spent <= 4_000  # half of what is beyond the principal, once
    assert arena.strategy.principal == 16_000  # type: ignore[attr-defined]


async def arbitrage_fills(arena: Arena) -> None:
    plans = arena.engine.recent_plans
    assert plans[0].result == "done"
    for leg in plans[0].legs:  # predicted beside realized
        assert 0 < leg.paid <= leg.predicted_paid
        assert 0 < leg.received <= leg.predicted_received
    assert plans[0].profit == arena.total("USDT") - 100_000 > 0


# Partial fills ---------------------------------------------------------------------------------


async def grid_fills_in_part(arena: Arena) -> None:
    order = arena.resting("buy")[0]
    arena.hit(order, "0.4")
    await arena.settle()
    assert order.is_open
    assert size(order) == D("0.006")
    answer = arena.resting("sell")[0]
    assert (at([answer])[0][1] > 49_900, size(answer)) == (True, D("0.004"))


async def value_fills_in_part(arena: Arena) -> None:
    arena.show("50490.00", "50510.00")
    await arena.settle()
    (order,) = arena.resting()
    arena.hit(order, "0.5")
    await arena.settle()
    assert arena.resting() == [order]
    assert arena.strategy.held.last_price == 50_000  # type: ignore[attr-defined]


async def stays_in_part(arena: Arena) -> None:
    """Its rest keeps its place in the queue, and nothing more is sent for it."""
    order = (arena.resting("buy") or arena.resting())[0]
    before = ids(arena)
    arena.hit(order, "0.4")
    await arena.settle()
    assert ids(arena) == before
    assert order.executed_lots
    arena.agree()


async def allocation_fills_in_part(arena: Arena) -> None:
    (order,) = arena.resting()  # 0.05 BTC were offered
    store = arena.strategy.store  # type: ignore[attr-defined]
    assert size_of(order) - size(order) == D("0.05")
    assert store.converted == D("0.05") * 50_010 * D("1.002")
    assert store.converted + store.reserved == 4_000


async def arbitrage_fills_in_part(arena: Arena) -> None:
    arena.clear("ETH/USDT")
    arena.show("3400.00", "3410.00", "ETH/USDT", quantity="0.05")  # a third of the last leg
    arena.show("63899.00", "64000.00")
    await arena.settle(10)
    last = arena.engine.recent_plans[-1]
    assert last.result in ("unwound", "done")
    assert arena.total("ETH") < D("0.0003")  # nothing is left lying but dust
    assert arena.total("BTC") < D("0.00002")
    arena.agree()


# Cancelled by hand -----------------------------------------------------------------------------


async def is_placed_again(arena: Arena) -> None:
    """What was cancelled counts as nothing, and is wanted as before."""
    order = (arena.resting("buy") or arena.resting())[0]
    arena.cancel(order)
    await arena.settle(5)
    assert not order.is_open
    assert at(arena.resting(order.side))[0] == at([order])[0]
    assert not arena.account.trades or arena.account.trades[-1].order is not order
    arena.agree()


async def grid_is_cancelled_in_part(arena: Arena) -> None:
    order = arena.resting("buy")[0]
    arena.hit(order, "0.4")
    await arena.settle()
    arena.cancel(order)
    await arena.settle(5)
    buy, sell = arena.resting("buy")[0], arena.resting("sell")[0]
    assert (at([buy]), size(buy)) == (at([order]), D("0.006"))
    assert size(sell) == D("0.004")
    arena.agree()


async def value_is_cancelled(arena: Arena) -> None:
    arena.show("50490.00", "50510.00")
    await arena.settle()
    await is_placed_again(arena)


async def allocation_is_cancelled(arena: Arena) -> None:
    (order,) = arena.resting()
    arena.cancel(order)
    show(arena, "profit_allocation")
    await arena.settle(_LATER_S)
    store = arena.strategy.store  # type: ignore[attr-defined]
    assert store.converted > D("0.05") * 50_010 * D("1.002")  # what is left buys again
    assert store.converted + store.reserved + store.pending == 4_000
    arena.agree()


# For all ---------------------------------------------------------------------------------------


def shortage(name: str, folder: Path) -> None:
    """Nothing is sent that is not paid for; it is said; and it goes on when there is money."""
    scene = SCENES[name]
    arena = arena_of(name, folder, funds=scene.poor)
    show(arena, name)

    async def story() -> None:
        await arena.settle(_LATER_S)
        assert arena.placed() == []
        if scene.told_of_shortage:
            assert arena.engine.reasons[scene.told_of_shortage]
        assert not [code for code in arena.engine.reasons if code.startswith("REJECTED")]
        for asset, amount in scene.funds.items():
            arena.exchange.deposit(arena.account, asset, atoms(amount), arena.now_ms())
        await arena.settle(_LATER_S)
        bid, ask = scene.tops[HOME]
        arena.show(str(D(bid) * D("1.02")), str(D(ask) * D("1.02")), quantity=scene.quantity)
        await arena.settle(_LATER_S)
        assert arena.placed()
        arena.agree()

    arena.run(story)


async def restart(arena: Arena) -> None:
    """The orders that rest are known again, and none is sent that was sent before."""
    if not arena.resting() and not arena.placed():
        arena.show("50490.00", "50510.00")
        await arena.settle()
    before, count = ids(arena), len(arena.placed())
    await arena.restart()
    await arena.settle(1)
    assert ids(arena) == before
    assert len(arena.placed()) == count
    arena.agree()


async def end(arena: Arena) -> None:
    """What rests is kept or cancelled, as the strategy has it."""
    if not arena.resting() and not arena.placed():
        arena.show("50490.00", "50510.00")
        await arena.settle()
    before = ids(arena)
    await arena.stop()
    assert ids(arena) == (before if arena.kind.on_exit == "keep" else set())


def minimum(name: str, folder: Path) -> None:
    """No order is below the market's minimum: sizes are raised where that is said, else skipped."""
    scene = SCENES[name]
    least = D("0.4") if name in ("rebalance", "profit_allocation") else D("0.02")
    arena = arena_of(name, folder, rows={"minimumQuantity": str(least)})
    show(arena, name)

    async def story() -> None:
        await arena.settle(1.5)
        if name == "infinity_grid_value":
            arena.show("50490.00", "50510.00")
            await arena.settle(1.5)
        assert all(order.quantity >= least for order in arena.placed() if order.symbol == HOME)
        if scene.told_of_minimum:
            assert arena.engine.reasons[scene.told_of_minimum]
            assert arena.placed() == []
        elif name != "arbitrage":  # which never raises a size
            assert max(order.quantity for order in arena.placed()) < least * D("1.001")
        codes = ("BELOW_MINIMUM", "REJECTED")
        told = [code for code in arena.engine.reasons if code.startswith(codes)]
        assert not told or scene.told_of_minimum in told

    arena.run(story)


def fees(name: str, folder: Path) -> None:
    """What is booked is what was charged, to the last unit, at whatever rate the venue charges."""
    arena = arena_of(name, folder, rows={"makerFee": "0.0015", "takerFee": "0.0025"})
    show(arena, name)

    async def story() -> None:
        await arena.settle(1.5)
        if name == "infinity_grid_value":
            arena.show("50490.00", "50510.00")
            await arena.settle()
        for _ in range(3):
            best = arena.resting("buy") or arena.resting("sell")
            if best:
                arena.hit(best[0])
                await arena.settle(5)
        arena.agree()
        assert arena.account.trades
        charged = sum(fill.fee for fill in arena.account.trades)
        booked = [profit.fees.get("USDT", D(0)) for profit in arena.engine.ledger.profits.values()]
        if name != "arbitrage":  # which pays some in BTC's market
            assert atoms(sum(booked)) == charged

    arena.run(story)


def rounding(name: str, folder: Path) -> None:
    """On a coarse market buys are priced down and sells up, and quantities are cut."""
    scene = SCENES[name]
    first: dict[str, list[Placed]] = {}
    for kind, (price_decimals, quantity_decimals) in {"fine": (6, 8), "coarse": (0, 3)}.items():
        rows = {
            "priceDecimals": price_decimals,
            "quantityDecimals": quantity_decimals,
            "minimumQuantity": "0.001",
        }
        arena = arena_of(name, folder / kind, rows=rows)

        bid, ask = scene.tops[HOME]
        arena.show(bid.split(".")[0], ask.split(".")[0], quantity=scene.quantity)

        async def story(arena: Arena = arena) -> None:
            await arena.settle(1.5)
            if name == "infinity_grid_value":
                arena.show("50491", "50512", quantity=scene.quantity)
                await arena.settle(1.5)
            odd = [c for c in arena.engine.reasons if c.startswith(("REJECTED", "OFF_GRID"))]
            assert odd == []

        arena.run(story)
        first[kind] = sorted(arena.placed(), key=lambda order: (order.side, order.price))
    assert first["fine"]
    assert len(first["fine"]) == len(first["coarse"])
    for fine, coarse in zip(first["fine"], first["coarse"], strict=True):
        assert fine.price is not None
        assert coarse.price is not None
        down, up = (1, 0) if fine.side == "buy" else (0, 1)
        assert fine.price - down <= coarse.price <= fine.price + up
        if scene.rounds_quantity == "down":
            # A lower buy may be a trace larger, where it is worth as much.
            assert fine.quantity * D("0.8") < coarse.quantity <= fine.quantity * D("1.0001")
        else:
            assert fine.quantity * D("0.999") <= coarse.quantity


# The table -------------------------------------------------------------------------------------

NOTHING_RESTS = "its legs take at once and end within their time"
NOTHING_IS_SENT = "it only looks: the API has no endpoint to swap in a pool"
FOR_ALL: Mapping[str, Cell] = {
    "shortage": shortage,
    "restart": told(restart),
    "exit": told(end),
    "minimum": minimum,
    "fees": fees,
    "rounding": rounding,
}
TABLE: Mapping[str, Mapping[str, Cell | str]] = {
    "grid": {
        "full fill": told(grid_fills),
        "partial fill": told(grid_fills_in_part),
        "cancelled": told(grid_is_cancelled_in_part),
        **FOR_ALL,
    },
    "infinity_grid": {
        "full fill": told(infinity_fills),
        "partial fill": told(grid_fills_in_part),
        "cancelled": told(is_placed_again),
        **FOR_ALL,
    },
    "infinity_grid_value": {
        "full fill": told(value_fills),
        "partial fill": told(value_fills_in_part),
        "cancelled": told(value_is_cancelled),
        **FOR_ALL,
    },
    "accumulation": {
        "full fill": told(accumulation_fills),
        "partial fill": told(stays_in_part),
        "cancelled": told(is_placed_again),
        **FOR_ALL,
    },
    "market_maker": {
        "full fill": told(maker_fills),
        "partial fill": told(stays_in_part),
        "cancelled": told(is_placed_again),
        **FOR_ALL,
    },
    "capped_martingale": {
        "full fill": told(martingale_fills),
        "partial fill": told(stays_in_part),
        "cancelled": told(is_placed_again),
        **FOR_ALL,
    },
    "rebalance": {
        "full fill": told(rebalance_fills),
        "partial fill": told(stays_in_part),
        "cancelled": told(is_placed_again),
        **FOR_ALL,
    },
    "profit_allocation": {
        "full fill": told(allocation_fills),
        "partial fill": told(allocation_fills_in_part),
        "cancelled": told(allocation_is_cancelled),
        **FOR_ALL,
    },
    "arbitrage": {
        "full fill": told(arbitrage_fills),
        "partial fill": told(arbitrage_fills_in_part),
        "cancelled": NOTHING_RESTS,
        **FOR_ALL,
        "rounding": "the core cuts each leg to lots; what is taken has the prices of the books",
    },
    "hybrid_arbitrage": dict.fromkeys(EVENTS, NOTHING_IS_SENT),
}


@pytest.mark.parametrize("name", names())
def test_every_strategy_has_a_whole_row(name: str) -> None:
    assert set(TABLE.get(name, {})) == set(EVENTS), f"say what {name} does at each event"


@pytest.mark.parametrize(
    ("name", "event"),
    [(name, event) for name, row in TABLE.items() for event, cell in row.items() if callable(cell)],
)
def test_what_becomes_of_it(name: str, event: str, tmp_path: Path) -> None:
    cell = TABLE[name][event]
    assert callable(cell)
    cell(name, tmp_path)


@pytest.mark.parametrize("name", names())
def test_d05_d06_in_monitor_mode_nothing_reaches_the_venue(name: str, tmp_path: Path) -> None:
    settings = {"startup_rebalance": True} if name in ("grid", "infinity_grid") else {}
    arena = arena_of(name, tmp_path, mode="monitor", settings=settings)

    async def story() -> None:
        show(arena, name)
        await arena.settle(_LATER_S)
        arena.show("50490.00", "50510.00")
        await arena.settle(_LATER_S)
        await arena.stop()

    arena.run(story)
    assert arena.placed() == []
    told = arena.engine.reasons
    assert told["MONITOR"] or told["POOL_OPPORTUNITY"] or told["NO_BALANCES"], told
