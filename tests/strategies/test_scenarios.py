"""Every strategy on the simulated exchange: in clear weather, through crashes, in storms.

The judge of `nkfast.testing` compares the engine with the exchange in each run: no order twice,
none without an intent, every fill once, and when it is quiet the same orders and the same balances
on both sides, to the last unit. Here stands what else must be seen: that in clear weather a
strategy sends the orders that it is for.

More storms: NKFAST_SCENARIO_SEEDS=200.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.strategies import load, names
from nkfast.testing import Incident, Outcome, Script, Stage, simulate
from nkfast.testing.simulation import SETTINGS
from nkfast.trading.plan import Plan
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, MarketView, Strategy
from nkfast.venue.port import NewOrder, Venue

D = Decimal
SEEDS = range(int(os.environ.get("NKFAST_SCENARIO_SEEDS", "2")))
ROWS = {row["symbol"]: row for row in DEFAULT_MARKETS}
HOME = "BTC/USDT"
MID = D(64_000)
#: Wide: this is not about limits.
LIMITS = RiskLimits(
    max_order_notional=D(10**6),
    max_position=D(10**6),
    max_daily_loss=D(10**6),
    max_orders_per_minute=600,
    max_open_orders=50,
)
CRASHES = (
    Incident("kill_before_send", 1),
    Incident("kill_after_send", 3),
    Incident("kill_after_write", 9),
    Incident("kill", 20.0),
    Incident("kill_at_step", 900),
    Incident("kill", 45.0),
)


class Sent(NamedTuple):
    """An order that left the engine, and how much of it was executed."""

    client_id: str
    side: str
    price: Decimal
    quantity: Decimal
    symbol: str
    executed: Decimal

    @property
    def notional(self) -> Decimal:
        return self.price * self.quantity


@dataclass(frozen=True)
class Scenario:
    """What a strategy is told, where it trades, and what it must be seen to do."""

    settings: Mapping[str, Any]
    judge: Callable[[Sequence[Sent], Outcome], None]
    funds: Mapping[str, str] = field(default_factory=lambda: {"BTC": "1", "USDT": "20000"})
    more: Sequence[str] = ()
    stage: Mapping[str, Any] = field(default_factory=dict)

    def run(
        self,
        name: str,
        script: Script,
        limits: RiskLimits = LIMITS,
        wrap: Callable[[Strategy], Strategy] = lambda strategy: strategy,
    ) -> Outcome:
        kind = load(name)
        settings = kind.settings_type.read(self.settings)

        def build(*markets: Market) -> Strategy:
            return wrap(kind.build(settings, {market.symbol: market for market in markets}))

        stage = Stage(
            strategy=build,
            market=ROWS[HOME],
            more_markets=[ROWS[symbol] for symbol in self.more],
            funds=self.funds,
            limits=limits,
            settings=replace(SETTINGS, plan_failures_max=10**6),
            **self.stage,
        )
        return simulate(script, stage)


def sent(outcome: Outcome) -> list[Sent]:
    lots: dict[str, int] = {}
    for _, what, *details in outcome.trace:
        if what == "trade":
            lots[str(details[0])] = int(str(details[2]))
    found = []
    for _, what, *details in outcome.trace:
        if what == "submit":
            client_id, side, price, quantity, symbol = details
            scale = -int(ROWS[str(symbol)]["quantityDecimals"])
            executed = D(lots.get(str(client_id), 0)).scaleb(scale)
            found.append(Sent(client_id, side, price, quantity, symbol, executed))  # type: ignore[arg-type]
    return found


# What each must be seen to do --------------------------------------------------------------------


def judge_grid(orders: Sequence[Sent], outcome: Outcome) -> None:
    """Three a side around the middle, all on one lattice; what fills is answered a step away."""
    first = orders[:6]
    middle = sum(order.price for order in first) / 6
    assert sorted(order.side for order in first) == ["buy"] * 3 + ["sell"] * 3
    assert all((order.price < middle) == (order.side == "buy") for order in first)
    assert {order.quantity for order in first} == {D("0.004")}
    step = middle * D("0.006")
    for order in orders:
        steps = (order.price - first[0].price) / step
        assert abs(steps - round(steps)) < D("0.02"), order
        assert order.quantity <= D("0.004")  # what was filled in part is answered in part
    filled = [order for order in orders if order.executed == order.quantity]
    assert filled
    for order in filled:
        away = step if order.side == "buy" else -step
        answers = [
            other
            for other in orders
            if other.side != order.side and abs(other.price - order.price - away) < 1
        ]
        assert answers or order is orders[-1]


def judge_infinity_grid(orders: Sequence[Sent], outcome: Outcome) -> None:
    """Never under the floor; a buy is answered a step above, a sell below it and at the top."""
    first = orders[:8]
    assert sorted(order.side for order in first) == ["buy"] * 4 + ["sell"] * 4
    buys = [order for order in orders if order.side == "buy"]
    sells = [order for order in orders if order.side == "sell"]
    floor, top = min(o.price for o in first), max(o.price for o in first)
    assert min(order.price for order in buys) == floor
    filled = [order for order in orders if order.executed == order.quantity]
    assert {order.side for order in filled} == {"buy", "sell"}
    for order in filled[:-1]:
        near = order.price * (D("1.005") if order.side == "buy" else D("0.995"))
        answers = [o for o in orders if o.side != order.side and abs(o.price - near) < D("0.02")]
        assert answers or (order.side == "sell" and near < floor), order
        if order.side == "buy":
            assert all(answer.quantity <= order.quantity for answer in answers)
    assert max(order.price for order in sells) > top * D("1.0049")


def judge_infinity_grid_value(orders: Sequence[Sent], outcome: Outcome) -> None:
    """Whatever is held is worth the same after each trade, to a step, at the price of the trade."""
    assert {order.side for order in orders} == {"buy", "sell"}
    base = D("0.5")
    value = base * MID
    for order in orders:
        base += order.executed if order.side == "buy" else -order.executed
        assert order.notional < value * D("0.05")
        if order.executed == order.quantity:
            assert abs(base * order.price - value) < value * D("0.005")


def judge_accumulation(orders: Sequence[Sent], outcome: Outcome) -> None:
    """Buys only, each smaller than its cap, ever deeper, and no more than the budget in all."""
    assert {order.side for order in orders} == {"buy"}
    ladder = orders[:4]
    assert [order.price for order in ladder] == sorted((o.price for o in ladder), reverse=True)
    assert all(order.quantity <= D("0.008") for order in orders)
    spent = sum(order.executed * order.price for order in orders)
    assert 0 < spent <= 3_000
    resting = sum((o.quantity - o.executed) * o.price for o in orders[-4:])
    assert spent + resting <= 3_000


def judge_market_maker(orders: Sequence[Sent], outcome: Outcome) -> None:
    """Both sides are quoted, inside the limits of size; fills happen on either."""
    assert {order.side for order in orders} == {"buy", "sell"}
    for order in orders:
        if order.side == "buy":
            assert order.quantity <= D("0.01")
        else:
            assert order.notional <= 600
    assert outcome.fills


def judge_capped_martingale(orders: Sequence[Sent], outcome: Outcome) -> None:
    """A base order takes; what follows adds below it or sells above its cost, inside the budget."""
    first, *rest = orders
    assert first.side == "buy"
    assert first.executed == first.quantity
    assert rest
    assert all(o.notional <= 310 for o in orders if o.side == "buy")
    assert all(o.price > first.price for o in rest if o.side == "sell")
    assert outcome.fills


def judge_rebalance(orders: Sequence[Sent], outcome: Outcome) -> None:
    """1 BTC of 64,000 and 20,000 USDT: 22,000 USDT worth are sold, and little more after it."""
    assert orders[0].side == "sell"
    assert abs(orders[0].notional - 22_000) < 1_500
    base = D(1) + sum(
        order.executed if order.side == "buy" else -order.executed for order in orders
    )
    assert abs(base - D("0.65625")) < D("0.03")


def judge_profit_allocation(orders: Sequence[Sent], outcome: Outcome) -> None:
    """20,000 USDT, of which 12,000 are the principal: half of the rest buys the target, once."""
    assert {order.side for order in orders} == {"buy"}
    assert abs(orders[0].notional - 4_000) < 50
    bought = sum(order.executed * order.price for order in orders)  # at most: limits lie beyond
    assert D(3_900) < bought <= D(4_000) * D("1.003")


def judge_arbitrage(orders: Sequence[Sent], outcome: Outcome) -> None:
    """Three legs at a time, never more than was allowed, and what is begun is mostly earned."""
    plans = [event[2:] for event in outcome.trace if event[1] == "plan"]
    done = [profit for _, result, profit in plans if result == "done"]
    assert len(done) >= 5
    assert all(isinstance(profit, Decimal) for profit in done)
    assert sum(profit > 0 for profit in done) > 0.9 * len(done)  # type: ignore[operator]
    usdt = [order for order in orders if order.symbol.endswith("/USDT") and order.side == "buy"]
    assert usdt
    assert all(order.notional * D("1.002") <= 200 for order in usdt)
    assert {order.symbol for order in orders} == {HOME, "ETH/USDT", "ETH/BTC"}


SCENARIOS: Mapping[str, Scenario] = {
    "grid": Scenario(
        {"step_pct": "0.006", "base_order_size": "0.004", "fee_buffer_pct": "0.0001"},
        judge_grid,
        stage={"spread": 0.001},
    ),
    "infinity_grid": Scenario(
        {
            "step_pct": "0.005",
            "base_order_size": "0.004",
            "n_buy_levels": 4,
            "initial_sell_levels": 4,
        },
        judge_infinity_grid,
        stage={"spread": 0.001},
    ),
    "infinity_grid_value": Scenario(
        {"step_pct": "0.001", "base_allocation": "0.5", "order_timeout_sec": 5},
        judge_infinity_grid_value,
    ),
    "accumulation": Scenario(
        {
            "daily_budget_quote": 3_000,
            "sample_interval_sec": 1,
            "grid": {
                **{"n": 4, "d0": "0.001", "g": "1.3", "s0": "0.004", "k": "1.1"},
                "per_order_volume_cap": "0.008",
            },
            "dca": {"budget_daily": 500, "interval_sec": 10, "epsilon": "0.0005", "ttl_sec": 5},
            "guards": {
                **{"participation_cap": 5, "spread_limit": "0.03", "cooldown_impact_sec": 2},
                **{"cooldown_grid_dca_sec": 1, "fill_time_threshold_sec": "0.05"},
                **{"mid_jump_threshold": "0.01", "best_bid_touch_max": 50},
                **{"best_bid_touch_window_sec": 60, "spread_widen_threshold": 10},
            },
            "vwap": {
                **{"window_sec": 3600, "size_reduction_factor": "0.8"},
                **{"spacing_widen_factor": "1.2", "pause_threshold": "1.05"},
            },
            "ema": {"ema_alpha": "0.05", "atr_window": 30, "atr_flat_threshold": "0.01"},
        },
        judge_accumulation,
        stage={"spread": 0.001},
    ),
    "market_maker": Scenario(
        {"sell_quote_target": 600, "inventory_tolerance_pct": "0.3"},
        judge_market_maker,
        stage={"spread": 0.003},
    ),
    "capped_martingale": Scenario(
        {
            **{"cycle_budget": 3_000, "base_order_pct": "0.1", "step_pct": "0.001"},
            **{"tp1_pct": "0.0005", "tp2_pct": "0.001", "fee_rate": 0},
        },
        judge_capped_martingale,
        stage={"spread": 0.001},
    ),
    "rebalance": Scenario({"poll_interval_s": 5, "order_timeout_s": 10}, judge_rebalance),
    "profit_allocation": Scenario(
        {"symbol": HOME, "principal": 12_000, "poll_interval_s": 5}, judge_profit_allocation
    ),
    "arbitrage": Scenario(
        {
            "trade_amount": 200,
            "min_profitability": "0.0005",
            "max_book_age_ms": 5_000,
            "leg_timeout_ms": 2_000,
            "max_unwind_cost_pct": "0.05",
            "unwind_slippage_pct": "0.05",
            "max_consecutive_failures": 10**6,
        },
        judge_arbitrage,
        funds={"USDT": "2000"},
        more=("ETH/USDT", "ETH/BTC"),
        stage={"spread": 0.003, "size_lots": 40_000, "rests_when_quiet": True},
    ),
}


@pytest.mark.parametrize("name", names())
def test_every_strategy_has_a_scenario(name: str) -> None:
    # One that only looks is seen in tests of its own to send nothing.
    assert name in SCENARIOS or load(name).refuses_live, f"say what {name} must be seen to do"


@pytest.mark.parametrize("name", SCENARIOS)
def test_in_clear_weather_it_sends_the_orders_that_it_is_for(name: str) -> None:
    scenario = SCENARIOS[name]
    outcome = scenario.run(name, Script(2, storm_s=120.0))
    assert outcome.ok, f"{outcome.violation}\n{outcome.reasons}"
    scenario.judge(sent(outcome), outcome)


#: Which want more than this collar lets out.
FAR = ("grid", "infinity_grid", "accumulation")


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_order_leaves_the_collar(name: str) -> None:
    collar = D("0.006")
    books: dict[str, OrderBook] = {}
    sent_at: list[tuple[Decimal, Decimal]] = []

    def watch(strategy: Strategy) -> Strategy:
        decide = strategy.decide

        def decide_and_note(view: MarketView) -> Desired | Plan:
            books.update(view.books)
            return decide(view)

        strategy.decide = decide_and_note  # type: ignore[method-assign]
        return strategy

    def tap(venue: Venue) -> Venue:
        submit = venue.submit

        def submit_and_note(order: NewOrder) -> Any:
            mid = books[order.symbol].mid
            assert order.price is not None
            if mid is not None:  # where a side is empty the last trade bounds it
                sent_at.append((order.price, mid))
            return submit(order)

        venue.submit = submit_and_note  # type: ignore[method-assign]
        return venue

    limits, scenario = replace(LIMITS, price_collar=collar), SCENARIOS[name]
    scenario = replace(scenario, stage={**scenario.stage, "venue": tap})
    storm_s = 20.0 if name in ("arbitrage", "market_maker") else 60.0  # they send many
    outcome = scenario.run(name, Script(2, storm_s=storm_s), limits, watch)
    assert outcome.ok, f"{outcome.violation}\n{outcome.reasons}"
    assert outcome.reasons["PRICE_COLLAR"] > 0 or name not in FAR
    assert len(sent_at) >= outcome.intents / 4 > 0  # others were sent while a side was empty
    for price, mid in sent_at:
        assert abs(price - mid) <= collar * mid


def keep_to_their_budgets(name: str, outcome: Outcome) -> None:
    """Whatever went wrong, no more was bought for than was allowed, in the whole run."""
    bought = [order for order in sent(outcome) if order.side == "buy" and order.executed]
    if name == "accumulation":  # orders that nobody heard of and that filled are in it
        assert sum(order.executed * order.price for order in bought) <= 3_000
    owner_moves_money = {"owner_orders", "owner_trades"} & outcome.script.faults_named
    if name == "profit_allocation" and not owner_moves_money:
        assert sum(order.executed * order.price for order in bought) <= 4_000 * D("1.003")


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_survives_crashes_and_both_sides_agree_afterwards(name: str) -> None:
    outcome = SCENARIOS[name].run(name, Script(2, storm_s=90.0, incidents=CRASHES))
    assert outcome.ok, f"{outcome.violation}\n{outcome.reasons}"
    assert outcome.kills >= 4
    assert outcome.intents
    keep_to_their_budgets(name, outcome)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_it_survives_a_storm_and_both_sides_agree_afterwards(name: str, seed: int) -> None:
    outcome = SCENARIOS[name].run(name, Script.draw(seed + 2))
    assert outcome.ok, f"{outcome.violation}\n{outcome.command}\n{outcome.reasons}"
    assert outcome.faults
    keep_to_their_budgets(name, outcome)
