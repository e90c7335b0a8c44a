"""Plans: what is a plan at all, and what it would fetch on books as they are, to the last digit."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import ConfigError, RiskError
from nkfast.trading.plan import Leg, Plan, price_plan, walk

D = Decimal
CYCLE = (Leg("BTC/USDT", "buy"), Leg("ETH/BTC", "buy"), Leg("ETH/USDT", "sell"))
BACKWARD = (Leg("ETH/USDT", "buy"), Leg("ETH/BTC", "sell"), Leg("BTC/USDT", "sell"))
FEE = D("0.002")


def book(
    symbol: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]], **market: object
) -> OrderBook:
    """Make a book of (price, quantity) pairs, 2 and 4 decimals."""
    made = OrderBook(Market(symbol, 2, 4, **{"taker_fee": FEE, **market}))
    rules = made.market
    made.apply_snapshot(
        *(
            [(rules.price_to_ticks(price), rules.quantity_to_lots(size)) for price, size in side]
            for side in (bids, asks)
        ),
        1,
    )
    return made


def test_a_buy_never_needs_more_than_it_was_given() -> None:
    thin = book("A/B", [], [("10.00", "1"), ("11.00", "5")])
    step = walk(Leg("A/B", "buy"), thin, D("30"), D(0))
    # 30 / (11 * 1.002) = 2.7218.., although the first one costs less.
    assert (step.quantity, step.price) == (D("2.7218"), D("11.00"))
    assert step.paid == (D(10) + D("1.7218") * 11) * (1 + FEE)
    assert step.received == step.quantity
    assert step.price * step.quantity * (1 + FEE) <= 30
    beyond = walk(Leg("A/B", "buy"), thin, D("30"), D("0.1"))
    assert beyond.price == D("12.10")
    assert beyond.price * beyond.quantity * (1 + FEE) <= 30
    whole = walk(Leg("A/B", "buy"), thin, D("1000"), D(0))
    assert whole.quantity == 6  # all that is there


def test_a_sell_takes_bids_and_receives_less_the_fee() -> None:
    thin = book("A/B", [("10.00", "1"), ("9.99", "5")], [])
    step = walk(Leg("A/B", "sell"), thin, D("2.00009"), D("0.001"))
    assert (step.quantity, step.price) == (D(2), D("9.98"))
    assert step.paid == 2
    assert step.received == D("19.99") * (1 - FEE)
    assert walk(Leg("A/B", "sell"), thin, D(10**30), D(0)).quantity == 6
    assert walk(Leg("A/B", "sell"), thin, D(2), D("0.9999")).price == D("0.01")


@pytest.mark.parametrize(
    ("side", "amount", "code"),
    [
        ("sell", "0.00009", "BELOW_MINIMUM"),
        ("sell", "0.4", "BELOW_MINIMUM"),
        ("sell", "0.5", "BELOW_MINIMUM"),  # 5 units' worth
        ("buy", "0", "BELOW_MINIMUM"),
        ("buy", "4.9", "BELOW_MINIMUM"),
        ("sell", "90", ""),
        ("buy", "90", "PLAN_DEPTH"),  # it is not what may be paid that is too little
    ],
)
def test_a_leg_is_never_raised_to_a_minimum(side: str, amount: str, code: str) -> None:
    market = book(
        "A/B", [("10.00", "1")], [("10.00", "0.5")], min_quantity="0.5", min_notional="5.01"
    )
    if not code:
        assert walk(Leg("A/B", side), market, D(amount), D(0)).quantity == 1
        return
    with pytest.raises(RiskError) as caught:
        walk(Leg("A/B", side), market, D(amount), D(0))
    assert caught.value.code == code


def test_nothing_rests_opposite() -> None:
    empty = book("A/B", [], [])
    for side in ("buy", "sell"):
        with pytest.raises(RiskError) as caught:
            walk(Leg("A/B", side), empty, D(1), D(0))
        assert caught.value.code == "PLAN_DEPTH"


def test_a_stale_book_prices_nothing() -> None:
    old = book("A/B", [("10.00", "1")], [("11.00", "1")])
    old.mark_stale()
    with pytest.raises(RiskError) as caught:
        walk(Leg("A/B", "sell"), old, D(1), D(0))
    assert caught.value.code == "BOOK_NOT_LIVE"


LEVELS = st.lists(
    st.tuples(st.integers(1, 10_000), st.integers(1, 10**6)),
    min_size=1,
    max_size=8,
    unique_by=lambda level: level[0],
)


@given(
    levels=LEVELS,
    side=st.sampled_from(["buy", "sell"]),
    amount=st.decimals(D("0.0001"), D(10**6), places=6),
    slippage=st.decimals(D(0), D("0.5"), places=4),
)
def test_no_leg_pays_more_than_it_may_and_its_limit_covers_it(
    levels: list[tuple[int, int]], side: str, amount: Decimal, slippage: Decimal
) -> None:
    made = OrderBook(Market("A/B", 2, 4, taker_fee=FEE))
    sides = ([], levels) if side == "buy" else (levels, [])
    made.apply_snapshot(*sides, 1)
    try:
        step = walk(Leg("A/B", side), made, amount, slippage)
    except RiskError as refusal:
        assert refusal.code == "BELOW_MINIMUM"
        best = min(levels)[0] if side == "buy" else max(levels)[0]
        assert amount < D("0.0001") * (D(best) * (1 + slippage) + 1) / 100 * (1 + FEE) or (
            side == "sell" and amount < D("0.0001")
        )
        return
    assert step.paid <= amount
    taken = sorted(levels, reverse=side == "sell")
    left, value = made.market.quantity_to_lots(step.quantity), 0
    limit = made.market.price_to_ticks(step.price)
    for ticks, lots in taken:
        if not left:
            break
        assert ticks <= limit if side == "buy" else ticks >= limit
        value += ticks * min(lots, left)
        left -= min(lots, left)
    assert left == 0
    notional = D(value).scaleb(-6)
    if side == "buy":
        assert step.price * step.quantity * (1 + FEE) <= amount
        assert (step.paid, step.received) == (notional * (1 + FEE), step.quantity)
    else:
        assert (step.paid, step.received) == (step.quantity, notional * (1 - FEE))
        # One lot more is more than was given, or more than is there.
        total = sum(lots for _, lots in levels)
        more = step.quantity + D("0.0001")
        assert more > amount or made.market.quantity_to_lots(step.quantity) == total


def cycle_books(eth_btc: str = "0.05") -> dict[str, OrderBook]:
    return {
        "BTC/USDT": book("BTC/USDT", [("99.00", "50")], [("100.00", "50")]),
        "ETH/BTC": book("ETH/BTC", [("0.04", "500")], [(eth_btc, "500")]),
        "ETH/USDT": book("ETH/USDT", [("5.10", "500")], [("5.20", "500")]),
    }


def test_a_whole_plan_is_priced_there_and_back() -> None:
    plan = Plan(CYCLE, D(100), min_return=D("1.01"), max_unwind_cost=D("0.3"))
    walked = price_plan(plan, cycle_books())
    assert [step.quantity for step in walked] == [D("0.9980"), D("19.9201"), D("19.9201")]
    fetched = walked[-1].received / walked[0].paid
    assert D("1.01") < fetched < D("1.014")
    with pytest.raises(RiskError) as caught:
        price_plan(Plan(CYCLE, D(100), min_return=fetched + D("1e-9")), cycle_books())
    assert caught.value.code == "PLAN_RETURN"
    # Back after leg 1: at 99 less two fees, 1.4 %. After leg 2: at 0.04, 21 %.
    with pytest.raises(RiskError) as caught:
        price_plan(Plan(CYCLE, D(100), max_unwind_cost=D("0.2")), cycle_books())
    assert caught.value.code == "PLAN_WAY_BACK"
    assert "after leg 2" in caught.value.value
    with pytest.raises(RiskError) as caught:
        price_plan(Plan(CYCLE, D(100), max_unwind_cost=D("0.013")), cycle_books())
    assert "after leg 1" in caught.value.value


def test_a_plan_without_a_way_back_is_none() -> None:
    books = cycle_books()
    books["ETH/BTC"].apply_snapshot([], [(5, 5_000_000)], 2)
    with pytest.raises(RiskError) as caught:
        price_plan(Plan(CYCLE, D(100), max_unwind_cost=D("0.9")), books)
    assert caught.value.code == "PLAN_DEPTH"


def test_a_plan_survives_being_written_down() -> None:
    plan = Plan(BACKWARD, D("0.1"), unwind="complete", max_book_age_ms=None)
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    assert (plan.start, plan.assets) == ("USDT", ("ETH", "BTC"))


@pytest.mark.parametrize(
    ("legs", "settings"),
    [
        (CYCLE[:1], {}),
        (CYCLE[:2], {}),  # ends elsewhere
        ((CYCLE[0], CYCLE[2], CYCLE[1]), {}),
        ((*CYCLE, *CYCLE), {}),  # the same assets again
        (CYCLE, {"amount": D(0)}),
        (CYCLE, {"min_fill_ratio": D("1.1")}),
        (CYCLE, {"min_fill_ratio": D(0)}),
        (CYCLE, {"leg_timeout_ms": 0}),
        (CYCLE, {"slippage": D("-0.1")}),
        (CYCLE, {"unwind_slippage": D(1)}),
        (CYCLE, {"max_unwind_cost": D("NaN")}),
        (CYCLE, {"unwind": "sell"}),
    ],
)
def test_what_is_no_plan(legs: tuple[Leg, ...], settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Plan(legs, **{"amount": D(1), **settings})
