"""A fee that becomes known after its fill counts as one told with it; an odd one is said."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from strategies.pit import Pit
from strategies.test_event_matrix import SCENES

from nkfast.core.market import Market
from nkfast.strategies import load, names
from nkfast.trading.exact import multiply
from nkfast.trading.strategy import Fill

D = Decimal
BTC = Market("BTC/USDT", 2, 6, min_quantity="0.00001", min_notional="1")
PAXG = Market("PAXG/USDT", 2, 6, min_notional="1")
#: What it counts, of each strategy that counts fees.
COUNTS: dict[str, Callable[[Any], object]] = {
    "grid": lambda one: one.earned,
    "infinity_grid": lambda one: (one.earned, [rung.cost for rung in one._rungs.values()]),
    "infinity_grid_value": lambda one: (one.earned, one.quote),
    "capped_martingale": lambda one: replace(one.position, fees=D(0), quote=D(0)),
    "profit_allocation": lambda one: (one.store.converted, one.store.pending + one.store.reserved),
}


def run(name: str, told: str) -> object:
    """Fill an order and its answer, at a fee that is half of what is reckoned with."""
    settings = dict(SCENES[name].settings)
    if name == "grid":  # which is told through the store that it is given
        settings["symbol"] = "BTC/USDT"
        settings["profit_store"] = {"enabled": True, "min_profit_quote": "1000"}
    kind = load(name)
    chosen = kind.settings_type.read(settings)
    funds = {"BTC": "1", "USDT": "50000", "PAXG": "0"}
    pit = Pit(lambda markets: kind.build(chosen, markets), [BTC, PAXG], funds, "0.001")
    pit.show("3990", "4000", "PAXG/USDT")
    pit.show("49990", "50010", lots=1 if name == "profit_allocation" else 10**9)
    tell = pit.strategy.on_fill

    def hear(fill: Fill) -> None:
        """Tell a fill, and its fee when it is meant to be told."""
        value = multiply(fill.price, fill.quantity)
        first = {"at once": fill.fee, "late": None, "corrected": multiply(value, D("0.0004"))}[told]
        tell(replace(fill, fee=first))
        if told != "at once":
            pit.strategy.on_fee(fill, first)

    pit.strategy.on_fill = hear  # type: ignore[method-assign]
    pit.settle()
    if name == "infinity_grid_value":
        pit.show("50490", "50510")
        pit.settle()
    for _ in range(3):
        slots = sorted(slot for slot in pit.orders if pit.orders[slot].symbol == "BTC/USDT")
        if slots:
            pit.fill(min(slots, key=lambda slot: abs(pit.orders[slot].price - 50_000)))
        pit.settle()
    inner = getattr(pit.strategy, "strategy", pit.strategy)
    assert pit.fills
    return COUNTS[name](inner)


@pytest.mark.parametrize("told", ["late", "corrected"])
@pytest.mark.parametrize("name", COUNTS)
def test_a_fee_that_is_told_late_counts_as_one_told_with_its_fill(name: str, told: str) -> None:
    assert run(name, told) == run(name, "at once")


@pytest.mark.parametrize(
    "name", [name for name in names() if "fee_rate" in load(name).settings_type.model_fields]
)
def test_a_fee_that_differs_from_what_is_reckoned_with_is_said_once(name: str) -> None:
    kind = load(name)
    chosen = kind.settings_type.read(dict(SCENES[name].settings))
    funds = {"BTC": "1", "USDT": "50000"}
    pit = Pit(lambda markets: kind.build(chosen, markets), [BTC], funds, "0.0025")
    pit.show(*SCENES[name].tops["BTC/USDT"])
    pit.settle()
    for mid in (50_500, 50_000):  # one of them moves a grid that answers a price
        for slot in list(pit.orders):
            pit.fill(slot)
            pit.settle()
        pit.show(str(mid - 60), str(mid + 60))
        pit.settle()
    assert pit.fills
    assert pit.told.count("FEE_DIFFERS") == 1


@pytest.mark.parametrize("name", ["grid", "infinity_grid", "infinity_grid_value"])
def test_a_fee_that_is_told_late_and_differs_is_said(name: str) -> None:
    kind = load(name)
    chosen = kind.settings_type.read(dict(SCENES[name].settings))
    pit = Pit(lambda markets: kind.build(chosen, markets), [BTC], {"BTC": "1", "USDT": "50000"})
    tell = pit.strategy.on_fill
    pit.strategy.on_fill = lambda fill: tell(replace(fill, fee=None))  # type: ignore[method-assign]
    pit.show("49990", "50010")
    pit.settle()
    pit.show("50490", "50510")
    pit.settle()
    if pit.orders:
        pit.fill(min(pit.orders, key=lambda slot: abs(pit.orders[slot].price - 50_000)))
    pit.settle()
    fill = pit.fills[-1]
    assert "FEE_DIFFERS" not in pit.told
    late = multiply(multiply(fill.price, fill.quantity), D("0.0025"))
    pit.strategy.on_fee(replace(fill, fee=late, fee_asset="USDT"), None)
    pit.settle()
    assert pit.told.count("FEE_DIFFERS") == 1
