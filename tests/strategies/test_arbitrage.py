"""Arbitrage: what it takes pays, to the last unit; what it leaves, it leaves for a reason."""

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import ConfigError, ConfigErrors, RiskError
from nkfast.strategies.arbitrage import Arbitrage, ArbitrageSettings, cycle_markets
from nkfast.strategies.storing import Storing
from nkfast.trading.plan import Leg, Plan, WalkedLeg, price_plan
from nkfast.trading.plan_outcome import PlanOutcome, PlanResult
from nkfast.trading.strategy import Desired, Fill, MarketView

D = Decimal
MS = 1_000_000
TRIANGLE = ("BTC/USDT", "ETH/BTC", "ETH/USDT")
#: 100 USDT buy 1 BTC, that 20 ETH, those 104 USDT.
FORWARD = {
    "BTC/USDT": ([(990_000, 5_000)], [(1_000_000, 5_000)]),
    "ETH/BTC": ([(490, 100_000)], [(500, 100_000)]),
    "ETH/USDT": ([(52_000, 60_000)], [(53_000, 60_000)]),
}
LEGS = (Leg("BTC/USDT", "buy"), Leg("ETH/BTC", "buy"), Leg("ETH/USDT", "sell"))
_Levels = tuple[list[tuple[int, int]], list[tuple[int, int]]]


class Floor:
    """Some markets, the strategy, and what it was last told of them."""

    def __init__(
        self,
        books: Mapping[str, _Levels],
        *,
        funds: Mapping[str, str] | None = None,
        rules: Mapping[str, Any] | None = None,
        **words: Any,
    ) -> None:
        usual = {"price_decimals": 4, "quantity_decimals": 3, "taker_fee": "0.002"}
        self.markets = {
            symbol: Market(symbol, **{**usual, **(rules or {})})  # type: ignore[arg-type]
            for symbol in books
        }
        self.books = {symbol: OrderBook(market) for symbol, market in self.markets.items()}
        self.funds = {asset: D(amount) for asset, amount in (funds or {}).items()}
        self.now_ms = 1_000
        for symbol, levels in books.items():
            self.show(symbol, *levels)
        self.arbitrage = self.new(**words)
        self.words = words

    def new(self, **words: Any) -> Arbitrage:
        words = {"trade_amount": "100", "min_profitability": "0.001", **words}
        return Arbitrage(ArbitrageSettings.read(words), self.markets)

    def show(self, symbol: str, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        book = self.books[symbol]
        book.apply_snapshot(bids, asks, book.sequence + 1, now_ns=self.now_ms * MS)

    def decide(self, changed: Collection[str] | None = None) -> Desired | Plan:
        home = next(iter(self.markets))
        view = MarketView(
            self.markets[home],
            self.books[home],
            {},
            self.funds,
            self.funds,
            self.now_ms,
            self.markets,
            self.books,
            tuple(self.books) if changed is None else changed,
        )
        return self.arbitrage.decide(view)

    def skips(self, changed: Collection[str] | None = None) -> list[str]:
        decision = self.decide(changed)
        assert isinstance(decision, Desired)
        assert not decision.quotes
        return [skip.code for skip in decision.skips]


def test_a_cycle_that_pays_becomes_a_plan_with_the_settings_policies() -> None:
    floor = Floor(
        FORWARD,
        slippage_pct="0.0005",
        unwind="complete",
        leg_timeout_ms=700,
        min_fill_ratio="0.9",
        max_unwind_cost_pct="0.3",
        unwind_slippage_pct="0.02",
        max_book_age_ms=450,
        max_consecutive_failures=7,
    )
    plan = floor.decide()
    assert isinstance(plan, Plan)
    assert plan.legs == LEGS
    assert 99 < plan.amount <= 100
    assert plan.min_return == D("1.001")
    assert (plan.unwind, plan.leg_timeout_ms, plan.min_fill_ratio) == ("complete", 700, D("0.9"))
    assert (plan.slippage, plan.unwind_slippage) == (D("0.0005"), D("0.02"))
    assert (plan.max_unwind_cost, plan.max_book_age_ms) == (D("0.3"), 450)
    assert plan.failures_max == 7


def test_the_other_direction_is_watched_as_well() -> None:
    floor = Floor(FORWARD)
    floor.show("ETH/BTC", [(580, 100_000)], [(590, 100_000)])
    plan = floor.decide()
    assert isinstance(plan, Plan)
    assert plan.legs == (Leg("ETH/USDT", "buy"), Leg("ETH/BTC", "sell"), Leg("BTC/USDT", "sell"))


def test_four_legs_where_three_are_not_enough() -> None:
    books: dict[str, _Levels] = {
        "BTC/USDT": ([(990_000, 5_000)], [(1_000_000, 5_000)]),
        "ETH/BTC": ([(490, 100_000)], [(500, 100_000)]),
        "ETH/EUR": ([(52_000, 60_000)], [(53_000, 60_000)]),
        "EUR/USDT": ([(9_990, 10**6)], [(10_010, 10**6)]),
    }
    with pytest.raises(ConfigError, match="no cycle of 3 trades through USDT on 4 markets"):
        Floor(books)
    plan = Floor(books, max_length=4).decide()
    assert isinstance(plan, Plan)
    assert [leg.symbol for leg in plan.legs] == list(books)


def test_only_the_markets_that_changed_are_looked_at() -> None:
    floor = Floor(FORWARD)
    floor.show("ETH/BTC", [(490, 100_000)], [(530, 100_000)])
    assert floor.decide() == Desired()
    floor.show("ETH/BTC", *FORWARD["ETH/BTC"])
    assert floor.decide(()) is floor.decide(())  # nothing is said to have changed
    assert isinstance(floor.decide(("ETH/BTC",)), Plan)


def test_what_goes_in_is_bounded_by_amount_funds_and_depth() -> None:
    assert 299 < _plan(Floor(FORWARD, trade_amount=300)).amount <= 300
    assert 49 < _plan(Floor(FORWARD, trade_amount=300, funds={"USDT": "50"})).amount <= 50
    # 60 ETH are asked for: 3 BTC or 300 USDT at most.
    assert _plan(Floor(FORWARD, trade_amount=5000)).amount < 302
    assert Floor(FORWARD, funds={"USDT": "0"}).decide() == Desired()
    assert Floor(FORWARD, funds={"BTC": "1"}, start_assets="USDT").decide() != Desired()


def test_no_part_of_a_size_earns_less_than_the_least() -> None:
    # The second level costs 3 % more: it still earns, but less than half a per cent.
    books = {**FORWARD, "BTC/USDT": ([(990_000, 5_000)], [(1_000_000, 1_000), (1_030_000, 4_000)])}
    assert 200 < _plan(Floor(books, trade_amount=300, min_profitability="0.001")).amount
    assert 99 < _plan(Floor(books, trade_amount=300, min_profitability="0.01")).amount < 101


def test_several_start_assets_have_an_amount_each() -> None:
    floor = Floor(FORWARD, start_assets="BTC, USDT", trade_amount="USDT=50, BTC=2")
    floor.funds = {"BTC": D("1.5"), "USDT": D(0)}
    plan = _plan(floor)
    assert plan.start == "BTC"
    assert D("1.4") < plan.amount <= D("1.5")


def _plan(floor: Floor) -> Plan:
    plan = floor.decide()
    assert isinstance(plan, Plan)
    return plan


# Books that cannot be trusted --------------------------------------------------------------------


def test_d18_a_book_that_is_too_old_counts_for_nothing() -> None:
    floor = Floor(FORWARD)
    floor.now_ms += 501
    floor.show("ETH/BTC", *FORWARD["ETH/BTC"])
    assert floor.skips(("ETH/BTC",)) == ["BOOK_TOO_OLD", "BOOK_TOO_OLD"]
    assert floor.skips(("ETH/BTC",)) == []  # said once, not at every frame
    floor.now_ms += 100
    floor.show("BTC/USDT", *FORWARD["BTC/USDT"])
    assert floor.skips(("BTC/USDT",)) == []  # ETH/USDT is still asleep
    floor.show("ETH/USDT", *FORWARD["ETH/USDT"])
    assert isinstance(floor.decide(("ETH/USDT",)), Plan)


def test_an_old_book_hides_no_other_cycle() -> None:
    books = {
        **FORWARD,
        # A cycle of twice the profit, on books that nobody touches.
        "XMR/BTC": ([(490, 100_000)], [(500, 100_000)]),
        "XMR/USDT": ([(56_000, 60_000)], [(57_000, 60_000)]),
    }
    floor = Floor(books)
    assert _plan(floor).legs[-1].symbol == "XMR/USDT"
    floor.now_ms += 501
    for symbol in TRIANGLE:
        floor.show(symbol, *FORWARD[symbol])
    plan = floor.decide(TRIANGLE)
    assert isinstance(plan, Plan)
    assert plan.legs == LEGS


def test_a_cycle_that_the_engine_does_not_begin_hides_no_other_and_waits() -> None:
    books = {
        **FORWARD,
        "XMR/BTC": ([(490, 100_000)], [(500, 100_000)]),
        "XMR/USDT": ([(56_000, 60_000)], [(57_000, 60_000)]),
    }
    floor = Floor(books)
    assert _plan(floor).legs[-1].symbol == "XMR/USDT"
    # Asked again, and not told of an end: it was not begun.
    assert _plan(floor).legs == LEGS
    assert floor.decide() == Desired()
    floor.now_ms += 999
    assert floor.decide() == Desired()
    floor.now_ms += 1
    assert _plan(floor).legs[-1].symbol == "XMR/USDT"
    floor.arbitrage.on_plan(_outcome("missed", "0"))  # begun, and ended
    assert _plan(floor).legs[-1].symbol == "XMR/USDT"
    floor.now_ms -= 60_000  # the clock is set back
    assert isinstance(floor.decide(), Plan)


def test_a_book_with_a_gap_counts_for_nothing() -> None:
    floor = Floor(FORWARD)
    floor.books["ETH/BTC"].mark_stale()
    assert floor.decide() == Desired()
    floor.show("ETH/BTC", *FORWARD["ETH/BTC"])
    assert isinstance(floor.decide(("ETH/BTC",)), Plan)


@pytest.mark.parametrize("closed", [{"is_paused": True}, {"is_active": False}, None])
def test_no_cycle_passes_a_market_that_is_closed(closed: dict[str, bool] | None) -> None:
    floor = Floor(FORWARD)
    open_market = floor.markets["ETH/BTC"]
    if closed is None:
        del floor.markets["ETH/BTC"]
    else:
        floor.markets["ETH/BTC"] = Market("ETH/BTC", 4, 3, taker_fee="0.002", **closed)
    assert floor.decide(("ETH/BTC",)) == Desired()
    assert floor.decide(("BTC/USDT",)) == Desired()
    floor.markets["ETH/BTC"] = open_market
    assert isinstance(floor.decide(("ETH/BTC",)), Plan)


def test_a_market_that_is_closed_while_its_book_is_old_stays_closed() -> None:
    floor = Floor(FORWARD)
    floor.now_ms += 501
    for symbol in ("BTC/USDT", "ETH/BTC"):
        floor.show(symbol, *FORWARD[symbol])
    assert floor.skips(("BTC/USDT", "ETH/BTC")) == ["BOOK_TOO_OLD"]  # of ETH/USDT
    floor.markets["ETH/USDT"] = Market("ETH/USDT", 4, 3, taker_fee="0.002", is_paused=True)
    floor.show("ETH/USDT", *FORWARD["ETH/USDT"])
    assert floor.decide(("ETH/USDT",)) == Desired()
    assert floor.decide(("BTC/USDT",)) == Desired()


def test_a_market_may_be_closed_to_one_side() -> None:
    floor = Floor(FORWARD)
    floor.markets["ETH/BTC"] = Market("ETH/BTC", 4, 3, taker_fee="0.002", pause_sells=True)
    assert isinstance(floor.decide(), Plan)  # it buys there
    floor.markets["ETH/BTC"] = Market("ETH/BTC", 4, 3, taker_fee="0.002", pause_buys=True)
    assert floor.decide(("ETH/BTC",)) == Desired()


def test_a_market_that_is_closed_to_one_side_comes_back_after_its_book_was_old() -> None:
    floor = Floor(FORWARD)
    floor.markets["ETH/BTC"] = Market("ETH/BTC", 4, 3, taker_fee="0.002", pause_sells=True)
    floor.now_ms += 501
    for symbol in ("BTC/USDT", "ETH/USDT"):
        floor.show(symbol, *FORWARD[symbol])
    assert floor.skips() == ["BOOK_TOO_OLD"]
    floor.show("ETH/BTC", *FORWARD["ETH/BTC"])
    assert isinstance(floor.decide(("ETH/BTC",)), Plan)


# Minimums ----------------------------------------------------------------------------------------


def test_d04_no_size_is_raised_to_a_minimum() -> None:
    # 100 USDT are 1 BTC and 20 ETH; a minimum in the quote asset of each market.
    assert isinstance(Floor(FORWARD, rules={"min_notional": "0.9"}).decide(), Plan)
    assert Floor(FORWARD, rules={"min_notional": "1.1"}).decide() == Desired()
    assert Floor(FORWARD, rules={"min_quantity": "1.1"}).decide() == Desired()


def test_d17_below_our_own_minimum_nothing_is_done() -> None:
    assert Floor(FORWARD, min_notional="150", trade_amount="120").skips() == ["BELOW_MINIMUM"]
    assert isinstance(Floor(FORWARD, min_notional="99", trade_amount="120").decide(), Plan)


def test_a_cycle_below_our_own_minimum_hides_no_other() -> None:
    books = {
        **FORWARD,
        # A cycle of twice the profit, in which there is room for 30 USDT.
        "XMR/BTC": ([(490, 100_000)], [(500, 100_000)]),
        "XMR/USDT": ([(56_000, 6_000)], [(57_000, 6_000)]),
    }
    assert _plan(Floor(books, min_notional="30")).legs[-1].symbol == "XMR/USDT"
    floor = Floor(books, min_notional="50")
    plan = floor.decide(("BTC/USDT",))
    assert isinstance(plan, Plan)
    assert plan.legs == LEGS
    floor.show("ETH/USDT", [(50_000, 60_000)], [(53_000, 60_000)])
    assert floor.skips() == ["BELOW_MINIMUM"]  # said once, whichever of its markets changed


def _outcome(result: PlanResult, profit: str) -> PlanOutcome:
    moved = {"USDT": D(profit), "BTC": D("0.001")}
    return PlanOutcome(1, result, moved, D(profit), 3, "USDT", D(4), (), 0, 1)


def test_d67_what_is_kept_is_read_again() -> None:
    floor = Floor(FORWARD)
    before = floor.decide()
    first = floor.arbitrage
    assert first.state() is first.state()
    first.on_plan(_outcome("done", "3.75"))
    first.on_plan(_outcome("unwound", "-0.5"))
    state = json.loads(json.dumps(first.state()))
    floor.now_ms += 1_000
    assert state["profits"] == {"USDT": "3.25"}  # what was realized, not what was predicted
    floor.arbitrage = floor.new()
    floor.arbitrage.restore(state)
    assert floor.arbitrage.state() == first.state()
    assert floor.decide() == before


def _fill(fee: str | None, symbol: str = "BTC/USDT", asset: str = "USDT") -> Fill:
    known = None if fee is None else D(fee)
    return Fill("plan-1:1", symbol, "buy", D(100), D(1), known, asset, "t", 0)


def test_a_fee_told_after_the_plans_end_is_realized_too() -> None:
    floor = Floor(FORWARD)
    first = floor.arbitrage
    first.on_fill(_fill(None))  # 0.2 are taken for it
    first.on_fee(_fill("0.1"), None)  # the plan is under way: its end counts it
    assert first.earned == 0
    first.on_plan(_outcome("done", "3"))
    first.on_fee(_fill("0.3"), D("0.1"))
    assert first.earned == D("2.8")
    second = floor.new()
    second.restore(json.loads(json.dumps(first.state())))
    second.on_fee(_fill("0.25"), None)  # of another fill
    assert second.earned == D("2.75")
    second.on_fee(_fill("9", asset="NKC"), None)  # it was paid in something else
    assert second.earned == D("2.95")
    second.on_fee(_fill("0.5", "ETH/BTC", "BTC"), None)  # which is not what the plan began with
    assert second.earned == D("2.95")
    second.on_fee(_fill("0.5", "XMR/EUR", "EUR"), None)
    assert second.state()["profits"] == {"USDT": "2.95"}


def test_a_fee_that_differs_from_the_markets_is_said_once() -> None:
    floor = Floor(FORWARD, rules={"min_notional": "1"}, min_profitability="1")
    floor.arbitrage.on_fill(_fill("0.21"))
    assert floor.skips() == []
    floor.arbitrage.on_fill(_fill("0.3"))
    floor.arbitrage.on_fill(_fill("0.3"))
    assert floor.skips() == ["FEE_DIFFERS"]
    assert floor.skips() == []
    floor.arbitrage.on_fee(_fill("0.3", "ETH/USDT"), None)
    assert floor.skips() == ["FEE_DIFFERS"]


def test_what_a_profit_store_reinvests_goes_into_the_next_cycles() -> None:
    floor = Floor(FORWARD, trade_amount=50)
    assert 49 < _plan(floor).amount <= 50
    arbitrage = floor.arbitrage
    arbitrage.on_plan(_outcome("done", "30"))
    assert (arbitrage.earned, arbitrage.earned_in) == (D(30), "USDT")
    arbitrage.reinvest(D(10))
    assert 59 < _plan(floor).amount <= 60
    state = json.loads(json.dumps(arbitrage.state()))
    floor.arbitrage = floor.new(trade_amount=50)
    floor.arbitrage.restore(state)
    assert floor.arbitrage.earned == 30
    assert 59 < _plan(floor).amount <= 60


def test_a_profit_store_is_given_to_it_and_its_market_is_watched() -> None:
    store = {"enabled": True, "target_symbol": "PAXG/USDT", "min_profit_quote": 5}
    words = {"trade_amount": 100, "profit_store": store}
    listed = dict.fromkeys([*TRIANGLE, "PAXG/USDT"])
    read = ArbitrageSettings.read(words)
    assert read.symbols(listed) == (*TRIANGLE, "PAXG/USDT")
    gold: dict[str, _Levels] = {"PAXG/USDT": ([(2_490, 10**6)], [(2_500, 10**6)])}
    floor = Floor({**FORWARD, **gold}, funds={"USDT": "1000"})
    storing = Arbitrage.build(read, floor.markets)
    assert isinstance(storing, Storing)
    floor.arbitrage = storing  # type: ignore[assignment]
    assert isinstance(floor.decide(), Plan)
    storing.on_plan(_outcome("done", "8"))
    floor.show("ETH/BTC", [(490, 100_000)], [(530, 100_000)])  # nothing pays any more
    decision = floor.decide(("ETH/BTC",))
    assert isinstance(decision, Desired)
    (quote,) = decision.quotes.values()
    assert (quote.symbol, quote.side) == ("PAXG/USDT", "buy")
    assert D("7.8") < quote.quantity * D("0.25") <= 8


# A slow twin -------------------------------------------------------------------------------------

_levels = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 400)), min_size=1, max_size=4)


@st.composite
def _floors(draw: st.DrawFn) -> Floor:
    """Up to four assets in a ring and across, prices near to a consistent set, and odd rules."""
    assets = ["USDT", "BTC", "ETH", "XMR"][: draw(st.sampled_from([3, 4]))]
    worth = {asset: draw(st.integers(20, 500)) for asset in assets}
    books: dict[str, _Levels] = {}
    for i, base in enumerate(assets):
        for quote in assets[:i]:
            middle = worth[base] * 1000 // worth[quote]
            offset = draw(st.integers(-60, 60))
            bid = max(1, middle + offset * middle // 1000 - 1)
            ask = bid + draw(st.integers(1, 1 + middle // 50))
            sides = []
            for start, step in ((bid, -1), (ask, 1)):
                levels, ticks = [], start
                for gap, lots in draw(_levels):
                    if ticks < 1:
                        break
                    levels.append((ticks, lots))
                    ticks += step * gap
                sides.append(levels)
            books[f"{base}/{quote}"] = (sides[0], sides[1])
    rules = {
        "price_decimals": 3,
        "quantity_decimals": draw(st.integers(0, 3)),
        "taker_fee": draw(st.sampled_from(["0", "0.001", "0.002", "0.0037"])),
        "min_notional": draw(st.sampled_from(["0", "0.5", "5"])),
        "min_quantity": draw(st.sampled_from(["0", "0.01", "2"])),
    }
    return Floor(
        books,
        rules=rules,
        funds={"USDT": draw(st.sampled_from(["3", "17.77", "1000"]))},
        trade_amount=draw(st.sampled_from(["10", "99.123", "5000"])),
        min_profitability=draw(st.sampled_from(["0", "0.0005", "0.01"])),
        max_length=draw(st.sampled_from([3, 4])),
        slippage_pct=draw(st.sampled_from(["0", "0.001"])),
        max_unwind_cost_pct="0.99",
        unwind_slippage_pct="0.5",
        max_book_age_ms=10**9,
    )


def _take(step: WalkedLeg, book: OrderBook) -> tuple[Fraction, Fraction]:
    """Match a limit order against a book, slowly; return what is paid and received."""
    market = book.market
    tick, lot = Fraction(market.tick_size), Fraction(market.lot_size)
    price, rest = Fraction(step.price), Fraction(step.quantity)
    assert price % tick == 0
    assert rest % lot == 0
    assert rest >= Fraction(market.min_quantity)
    assert rest * price >= Fraction(market.min_notional)
    bids, asks = book.depth(100)
    is_buy = step.leg.side == "buy"
    notional = Fraction(0)
    for ticks, lots in (asks if is_buy else bids).tolist():
        at = ticks * tick
        if rest and (at <= price if is_buy else at >= price):
            taken = min(rest, lots * lot)
            notional += taken * at
            rest -= taken
    assert rest == 0, "the limit does not reach what the size counts on"
    fee = notional * Fraction(market.taker_fee)
    quantity = Fraction(step.quantity)
    return (notional + fee, quantity) if is_buy else (quantity, notional - fee)


@settings(max_examples=250, deadline=None)
@given(_floors())
def test_a_cycle_that_is_taken_wins_after_rounding_fees_and_depth(floor: Floor) -> None:
    decision = floor.decide()
    if isinstance(decision, Desired):
        return
    words = floor.arbitrage.settings
    most = min(words.trade_amount[""], floor.funds["USDT"])
    assert decision.amount <= most  # never raised
    try:
        walked = price_plan(decision, floor.books)
    except RiskError as refusal:  # not begun, and the reason is counted
        assert refusal.code in {"PLAN_RETURN", "PLAN_WAY_BACK", "PLAN_DEPTH", "BELOW_MINIMUM"}
        return
    have = Fraction(most)
    paid_first: Fraction | None = None
    for step in walked:
        paid, received = _take(step, floor.books[step.leg.symbol])
        assert paid <= have
        paid_first = paid if paid_first is None else paid_first
        have = received
    assert paid_first is not None
    assert have >= paid_first * (1 + Fraction(words.min_profitability))
    assert [step.leg for step in walked] == list(decision.legs)


@settings(max_examples=100, deadline=None)
@given(_floors(), st.data())
def test_looking_at_what_changed_finds_what_looking_at_everything_does(
    floor: Floor, data: st.DataObject
) -> None:
    floor.decide()
    for _ in range(6):
        symbol = data.draw(st.sampled_from(sorted(floor.books)))
        bid = data.draw(st.integers(1, 20_000))
        lots = data.draw(st.integers(1, 500))
        floor.now_ms += 1_000  # nothing waits any more
        floor.show(symbol, [(bid, lots)], [(bid + 1, lots)])
        seen = floor.decide((symbol,))
        afresh, floor.arbitrage = floor.arbitrage, floor.new(**floor.words)
        everything, floor.arbitrage = floor.decide(), afresh
        if isinstance(everything, Desired):
            assert isinstance(seen, Desired)
        elif any(leg.symbol == symbol for leg in everything.legs):
            assert seen == everything


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "trade_amount: is required"),
        ({"trade_amount": "0"}, "trade_amount: is '0'; give more than 0"),
        ({"trade_amount": "USDT=1, BTC=2"}, "trade_amount: names BTC: no start assets"),
        ({"trade_amount": 5, "start_assets": ["USDT", "BTC"]}, "'USDT=..., BTC=...'"),
        ({"trade_amount": {"BTC": 1}, "start_assets": "BTC,ETH"}, "has no amount of ETH"),
        ({"trade_amount": 5, "start_assets": " , "}, "start_assets: names no asset"),
        ({"trade_amount": 5, "pairs": "BTC"}, "pairs.0: symbol 'BTC' is not BASE/QUOTE"),
        ({"trade_amount": 5, "max_length": 5}, "max_length: is 5; use 3 or 4"),
        ({"trade_amount": 5, "min_fill_ratio": 0}, "min_fill_ratio: is 0; give more than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        ArbitrageSettings.read(words)
    assert said in str(caught.value)


def test_old_names_are_understood() -> None:
    read = ArbitrageSettings.read(
        {"asset_a": "USDT", "trade_amount_a": 100, "min_notional_usd": "1.0", "legs": 4}
    )
    assert read.start_assets == ("USDT",)
    assert read.most_of("USDT") == 100
    assert read.least_of("USDT") == 1
    assert read.max_length == 4


def test_no_cycle_passes_the_profit_stores_market_unless_it_is_one_of_ours() -> None:
    pairs = (*TRIANGLE, "XMR/BTC", "XMR/ETH")
    store = {"enabled": True, "target_symbol": "XMR/USDT"}
    words = {"max_length": 4, "pairs": ", ".join(pairs), "profit_store": store}
    books = {**FORWARD, "XMR/BTC": ([], []), "XMR/ETH": ([], []), "XMR/USDT": ([], [])}
    floor = Floor(books, **words)
    assert set(floor.arbitrage.settings.symbols(books)) == set(books)
    alone = Floor({symbol: books[symbol] for symbol in pairs}, max_length=4)
    assert floor.arbitrage.cycle_count == alone.arbitrage.cycle_count
    assert floor.decide(("XMR/USDT",)) == Desired()  # its book is shown all the same
    assert isinstance(floor.decide(), Plan)


def test_assets_are_named_in_any_case_as_symbols_are() -> None:
    read = ArbitrageSettings.read(
        {
            "start_assets": ["usdt", "Btc"],
            "trade_amount": "usdt=100, btc=0.001",
            "min_notional": {"usdt": 5},
            "excluded_assets": "eth",
        }
    )
    assert read.start_assets == ("USDT", "BTC")
    assert (read.most_of("USDT"), read.most_of("BTC")) == (100, D("0.001"))
    assert read.least_of("USDT") == 5
    assert read.symbols(dict.fromkeys((*TRIANGLE, "XMR/USDT", "XMR/BTC"))) == (
        *("BTC/USDT", "XMR/BTC", "XMR/USDT"),
    )


def test_the_markets_of_cycles_are_chosen_from_all_that_are_listed() -> None:
    listed = dict.fromkeys((*TRIANGLE, "XMR/USDT", "XMR/BTC", "DOGE/LTC", "LTC/USDT"))
    words: dict[str, Any] = {"trade_amount": 1}
    every = ("BTC/USDT", "ETH/BTC", "ETH/USDT", "XMR/BTC", "XMR/USDT")
    assert ArbitrageSettings.read(words).symbols(listed) == every
    without = ArbitrageSettings.read({**words, "excluded_assets": "ETH"})
    assert without.symbols(listed) == ("BTC/USDT", "XMR/BTC", "XMR/USDT")
    chosen = ArbitrageSettings.read({**words, "pairs": "BTC-USDT, ETH_BTC, ETH/USDT"})
    assert chosen.symbols(listed) == TRIANGLE
    longer = ["BTC/USDT", "ETH/BTC", "ETH/EUR", "EUR/USDT", "DOGE/EUR"]
    assert cycle_markets(longer, ["USDT"], 3) == ()
    assert cycle_markets(longer, ["USDT"], 4) == tuple(longer[:4])
