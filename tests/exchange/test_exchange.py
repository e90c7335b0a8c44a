"""Orders, fills, holds and fees, down to the last digit; and random order flow."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkfast.errors import (
    BelowMinimumError,
    DuplicateClientIdError,
    InsufficientFundsError,
    InvalidOrderError,
    MarketPausedError,
    OrderNotFoundError,
    SymbolNotFoundError,
    VenueError,
)
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.invariants import BookWitness, FillWitness, violations
from nkfast.exchange.money import atoms, text
from nkfast.exchange.orders import OrderStatus, Report
from nkfast.exchange.rules import OrderForm

NOW_MS = 1_790_000_000_000
ROWS = [
    {
        "symbol": symbol,
        "priceDecimals": price_decimals,
        "quantityDecimals": quantity_decimals,
        "minimumQuantity": "0",
        "minQuote": "0",
        "isActive": True,
        **extra,
    }
    for symbol, price_decimals, quantity_decimals, extra in (
        ("AAA/QQQ", 2, 1, {}),
        ("BBB/QQQ", 13, 8, {"makerFee": "0.001", "takerFee": "0.0025"}),
        ("AAA/BBB", 0, 0, {}),
    )
]


def balances(bench: Any, account: Any, asset: str) -> tuple[str, str]:
    holding = account.holding(asset)
    return text(holding.available), text(holding.held)


def test_buy_holds_price_times_quantity_and_the_fee(bench: Any) -> None:
    bench.order(bench.alice, "buy", "2", "100.10")
    assert balances(bench, bench.alice, "USDT") == ("999799.3996", "200.6004")


def test_sell_holds_the_base_alone(bench: Any) -> None:
    bench.order(bench.alice, "sell", "0.5", "100")
    assert balances(bench, bench.alice, "ETH") == ("999999.5", "0.5")
    assert balances(bench, bench.alice, "USDT") == ("1000000", "0")


def test_price_improvement_is_released_and_both_sides_pay_the_fee(bench: Any) -> None:
    bench.order(bench.bob, "sell", "1", "99.99")
    order = bench.order(bench.alice, "buy", "1.5", "105")
    assert order.status is OrderStatus.PARTLY_FILLED
    # 99.99 * 1.002 paid; 0.5 * 105 * 1.002 held.
    assert balances(bench, bench.alice, "USDT") == ("999847.20502", "52.605")
    assert balances(bench, bench.bob, "USDT") == ("1000099.79002", "0")
    assert balances(bench, bench.alice, "ETH")[0] == "1000001"
    assert text(bench.exchange.fees["USDT"]) == "0.39996"


def test_fees_are_not_rounded(make_bench: Callable[..., Any]) -> None:
    row = {"symbol": "BBB/QQQ", "priceDecimals": 13, "quantityDecimals": 8, "isActive": True}
    bench = make_bench(row)
    quantity, price = "0.00000007", "0.0000000000003"
    bench.order(bench.bob, "sell", quantity, price, symbol="BBB/QQQ")
    bench.order(bench.alice, "buy", quantity, price, symbol="BBB/QQQ")
    fill = bench.alice.trades[0]
    assert Decimal(text(fill.fee)) == Decimal(quantity) * Decimal(price) * Decimal("0.002")


def test_fills_go_by_price_then_by_time(bench: Any) -> None:
    first = bench.order(bench.bob, "sell", "1", "101")
    second = bench.order(bench.bob, "sell", "1", "101")
    better = bench.order(bench.bob, "sell", "1", "100")
    order = bench.order(bench.alice, "buy", "2.5", "102")
    makers = [fill.order for fill in bench.bob.trades]
    assert makers == [better, first, second]
    assert [fill.trade.ticks for fill in bench.alice.trades] == [10000, 10100, 10100]
    assert order.status is OrderStatus.FILLED
    assert second.status is OrderStatus.PARTLY_FILLED


def test_market_buy_needs_the_cost_of_its_walk(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    poor = bench.exchange.open_account("poor", {"USDT": "201.4019"})
    bench.order(bench.bob, "sell", "1", "100")
    bench.order(bench.bob, "sell", "1", "101")
    with pytest.raises(InsufficientFundsError, match="Insufficient funds for order creation"):
        bench.order(poor, "buy", "2")
    bench.exchange.deposit(poor, "USDT", atoms("0.0001"))
    assert bench.order(poor, "buy", "2").status is OrderStatus.FILLED
    assert balances(bench, poor, "USDT") == ("0", "0")


def test_what_a_market_order_does_not_find_is_cancelled(bench: Any) -> None:
    bench.order(bench.bob, "buy", "1", "100")
    order = bench.order(bench.alice, "sell", "3")
    assert order.status is OrderStatus.CANCELLED
    assert (order.executed_lots, order.cancelled_lots) == (10000, 20000)
    assert balances(bench, bench.alice, "ETH") == ("999999", "0")


def test_market_order_on_an_empty_book_is_cancelled(bench: Any) -> None:
    assert bench.order(bench.alice, "buy", "3").status is OrderStatus.CANCELLED


def test_cancel_gives_everything_back_and_names_what_was_filled(bench: Any) -> None:
    order = bench.order(bench.alice, "buy", "2", "100", userProvidedId="mine")
    bench.order(bench.bob, "sell", "0.5", "100")
    assert bench.cancel(bench.alice, "mine") is order
    assert (order.executed_lots, order.cancelled_lots) == (5000, 15000)
    assert balances(bench, bench.alice, "USDT") == ("999949.9", "0")
    for identifier in ("mine", order.id, "never"):
        with pytest.raises(OrderNotFoundError, match="Active order not found for cancellation"):
            bench.exchange.cancel(bench.alice, identifier, NOW_MS)


def test_nobody_cancels_or_finds_the_order_of_another(bench: Any) -> None:
    order = bench.order(bench.alice, "buy", "2", "100", userProvidedId="mine")
    for identifier in ("mine", order.id):
        with pytest.raises(OrderNotFoundError):
            bench.exchange.cancel(bench.bob, identifier, NOW_MS)
        with pytest.raises(OrderNotFoundError, match="Order not found"):
            bench.exchange.find_order(bench.bob, identifier)
    assert order.is_open


def test_cancel_all_heeds_the_side(bench: Any) -> None:
    buy = bench.order(bench.alice, "buy", "1", "90")
    sell = bench.order(bench.alice, "sell", "1", "110")
    bench.order(bench.bob, "sell", "1", "111")
    listing = bench.exchange.listing("ETH/USDT")
    assert bench.exchange.cancel_all(bench.alice, listing, "sell", NOW_MS) == [sell]
    assert bench.exchange.cancel_all(bench.alice, listing, None, NOW_MS) == [buy]
    bench.check()
    assert len(bench.bob.open_orders) == 1


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"symbol": "ETH-USDT"}, SymbolNotFoundError, 2001),
        ({"symbol": None}, InvalidOrderError, 10001),
        ({"side": "hold"}, InvalidOrderError, 10001),
        ({"type": "stop"}, InvalidOrderError, 10001),
        ({"price": None}, InvalidOrderError, 10001),
        ({"price": "0.001"}, InvalidOrderError, 10001),
        ({"price": "-1"}, InvalidOrderError, 10001),
        ({"price": "abc"}, InvalidOrderError, 10001),
        ({"price": []}, InvalidOrderError, 10001),
        ({"price": "1e30"}, InvalidOrderError, 10001),
        ({"quantity": "0"}, InvalidOrderError, 10001),
        ({"quantity": ""}, InvalidOrderError, 10001),
        ({"quantity": "0.0009"}, BelowMinimumError, 10001),
        ({"quantity": "0.0099"}, BelowMinimumError, 10001),
        ({"quantity": "20000"}, InsufficientFundsError, 20001),
        ({"userProvidedId": "with space"}, InvalidOrderError, 10001),
        ({"userProvidedId": "x" * 65}, InvalidOrderError, 10001),
        ({"quantity": "0.10001", "strictValidate": True}, InvalidOrderError, 10001),
        ({"price": "100.001", "strictValidate": True}, InvalidOrderError, 10001),
    ],
)
def test_refused_orders_change_nothing(
    bench: Any, changes: dict[str, Any], error: type[VenueError], code: int
) -> None:
    fields = {"symbol": "ETH/USDT", "side": "buy", "quantity": "1", "price": "100"} | changes
    with pytest.raises(error) as caught:
        bench.exchange.submit(bench.alice, OrderForm.from_wire(fields), NOW_MS)
    assert caught.value.code == code
    assert balances(bench, bench.alice, "USDT") == ("1000000", "0")
    assert not bench.alice.open_orders
    bench.check()


def test_excess_decimals_are_cut_toward_zero(bench: Any) -> None:
    order = bench.order(bench.alice, "buy", "1.99999", "100.009")
    assert (order.lots, order.ticks) == (19999, 10000)


def test_numbers_may_come_as_json_numbers(bench: Any) -> None:
    order = bench.order(bench.alice, "buy", 2, Decimal("1e2"))
    assert (order.lots, order.ticks) == (20000, 10000)


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({"isActive": False}, "buy"),
        ({"isPaused": True}, "sell"),
        ({"pauseBuys": True}, "buy"),
        ({"pauseSells": True}, "sell"),
    ],
)
def test_paused_markets_take_no_orders(
    make_bench: Callable[..., Any], changes: dict[str, Any], side: str
) -> None:
    row = {"symbol": "ETH/USDT", "priceDecimals": 2, "quantityDecimals": 4, "isActive": True}
    bench = make_bench(row | changes)
    with pytest.raises(MarketPausedError):
        bench.order(bench.alice, side, "1", "100")


def test_a_paused_side_leaves_the_other_open(make_bench: Callable[..., Any]) -> None:
    row = {"symbol": "ETH/USDT", "priceDecimals": 2, "quantityDecimals": 4, "isActive": True}
    bench = make_bench(row | {"pauseBuys": True})
    assert bench.order(bench.alice, "sell", "1", "100").is_open


def test_band_maximum_and_market_orders_are_rules_too(make_bench: Callable[..., Any]) -> None:
    row = {"symbol": "ETH/USDT", "priceDecimals": 2, "quantityDecimals": 4, "isActive": True}
    limits = {"minAllowedPrice": "10", "maxAllowedPrice": "200", "maximumQuantity": 5}
    bench = make_bench(row | limits | {"allowMarketOrders": False})
    for quantity, price in (("1", "9.99"), ("1", "200.01"), ("5.0001", "100"), ("1", None)):
        with pytest.raises(InvalidOrderError):
            bench.order(bench.alice, "buy", quantity, price)
    for quantity, price in (("1", "10"), ("1", "200"), ("5", "100")):
        assert bench.order(bench.alice, "buy", quantity, price).is_open


@pytest.mark.parametrize(
    ("uniqueness", "while_open", "afterwards"),
    [("always", True, True), ("active", True, False), ("never", False, False)],
)
def test_client_ids_stay_taken_as_long_as_asked(
    make_bench: Callable[..., Any], uniqueness: str, while_open: bool, afterwards: bool
) -> None:
    bench = make_bench(uniqueness=uniqueness)

    def is_refused() -> bool:
        try:
            bench.order(bench.alice, "buy", "1", "50", userProvidedId="once")
        except DuplicateClientIdError as error:
            assert error.code == 20008
            return True
        return False

    first = bench.order(bench.alice, "buy", "1", "50", userProvidedId="once")
    assert is_refused() == while_open
    if first.is_open:
        bench.cancel(bench.alice, first.id)
    assert is_refused() == afterwards
    # Another account may use the same id.
    assert bench.order(bench.bob, "buy", "1", "50", userProvidedId="once").is_open


def test_self_trade_is_allowed_unless_forbidden(make_bench: Callable[..., Any]) -> None:
    for self_trade, status in (
        ("allow", OrderStatus.FILLED),
        ("cancel_newest", OrderStatus.CANCELLED),
    ):
        bench = make_bench(self_trade=self_trade)
        bench.order(bench.alice, "sell", "1", "100")
        assert bench.order(bench.alice, "buy", "1", "100").status is status


def test_fees_can_be_cut_off_after_some_places(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(fee_decimals=4)
    bench.order(bench.bob, "sell", "0.1111", "99.99")
    bench.order(bench.alice, "buy", "0.1111", "99.99")
    assert text(bench.alice.trades[0].fee) == "0.0222"  # of 0.022217778


def test_market_buys_can_be_counted_in_quote(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(market_buys_in="quote")
    bench.order(bench.bob, "sell", "1", "100")
    bench.order(bench.bob, "sell", "1", "200")
    order = bench.order(bench.alice, "buy", "150.01")
    assert (order.executed_lots, order.status) == (12500, OrderStatus.FILLED)
    with pytest.raises(BelowMinimumError):
        bench.order(bench.alice, "buy", "0.001")
    with pytest.raises(InvalidOrderError):
        bench.order(bench.alice, "buy", "-5")
    # What a market sell or a limit order counts does not change.
    assert bench.order(bench.alice, "buy", "0.5", "90").lots == 5000
    assert bench.order(bench.bob, "sell", "0.25").lots == 2500


class Reports:
    def __init__(self, exchange: Exchange) -> None:
        self.seen: list[Report] = []
        exchange.listeners.append(self)

    def on_report(self, report: Report) -> None:
        self.seen.append(report)

    def on_book(self, *_: Any) -> None: ...

    on_trades = on_ticker = on_balances = on_book


def test_reports_tell_each_fill_with_what_was_true_then(bench: Any) -> None:
    reports = Reports(bench.exchange)
    bench.order(bench.bob, "sell", "1", "100")
    bench.order(bench.bob, "sell", "1", "101")
    bench.order(bench.alice, "buy", "3", "101")
    told = [(news.order.account.name, news.kind, news.status.value) for news in reports.seen[2:]]
    assert told == [
        ("alice", "new", "New"),
        ("bob", "trade", "Filled"),
        ("alice", "trade", "Partly Filled"),
        ("bob", "trade", "Filled"),
        ("alice", "trade", "Partly Filled"),
    ]
    assert [news.executed_lots for news in reports.seen if news.order.account is bench.alice] == [
        0,
        10000,
        20000,
    ]


def test_client_ids_that_the_exchange_makes_are_uuids(bench: Any) -> None:
    for number in range(100):
        made = bench.order(bench.alice, "sell", "1", 2000 + number).client_id
        assert str(uuid.UUID(made)) == made
        assert (uuid.UUID(made).version, uuid.UUID(made).variant) == (4, uuid.RFC_4122)


def test_histories_are_bounded_by_option(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(history_max=3)
    for number in range(31):
        bench.order(bench.alice, "sell", "1", "2000", userProvidedId=f"a{number}")
        bench.order(bench.bob, "buy", "1", "2000")
    for account in (bench.alice, bench.bob):
        assert (len(account.finished), len(account.trades)) == (3, 3)
        assert len(account.client_ids) == 30
    assert bench.alice.find("a27") is None and bench.alice.find("a28") is not None
    # Of an id that is forgotten nobody knows any more that it was taken.
    with pytest.raises(VenueError, match="Duplicate"):
        bench.order(bench.alice, "sell", "1", "2000", userProvidedId="a1")
    bench.order(bench.alice, "sell", "1", "2000", userProvidedId="a0")


def test_anonymous_accounts_trade_without_leaving_a_history(bench: Any) -> None:
    crowd = bench.exchange.open_account("crowd", {"ETH": "10"}, keeps_history=False)
    reports = Reports(bench.exchange)
    bench.order(crowd, "sell", "1", "100")
    bench.order(bench.alice, "buy", "1", "100")
    assert not crowd.trades and not crowd.finished and not crowd.client_ids
    assert {news.order.account.name for news in reports.seen} == {"alice"}


# Random order flow.

ACTIONS = st.one_of(
    st.tuples(
        st.just("order"),
        st.integers(0, 3),
        st.sampled_from(["AAA/QQQ", "BBB/QQQ", "AAA/BBB"]),
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 40),
        st.one_of(st.none(), st.integers(95, 105)),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 3), st.integers(0, 30)),
    st.tuples(st.just("cancel_all"), st.integers(0, 3), st.sampled_from([None, "buy", "sell"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=50), st.sampled_from(["allow", "cancel_newest"]))
def test_invariants_hold_after_every_step(actions: list[Any], self_trade: Any) -> None:
    exchange = Exchange(ROWS, now_ms=NOW_MS, self_trade=self_trade)
    witness, fills = BookWitness(exchange), FillWitness(exchange)
    accounts = [
        exchange.open_account(
            f"account {number}",
            {"AAA": "40", "BBB": "4000", "QQQ": "3000"},
            keeps_history=number != 3,
        )
        for number in range(4)
    ]
    for action in actions:
        account = accounts[action[1]]
        try:
            if action[0] == "order":
                _, _, symbol, side, quantity, price = action
                fields = {"symbol": symbol, "side": side, "quantity": str(quantity)}
                fields |= {"type": "market"} if price is None else {"price": str(price)}
                exchange.submit(account, OrderForm.from_wire(fields), NOW_MS)
            elif action[0] == "cancel" and account.open_orders:
                ids = list(account.open_orders)
                exchange.cancel(account, ids[action[2] % len(ids)], NOW_MS)
            elif action[0] == "cancel_all":
                exchange.cancel_all(account, exchange.listing("AAA/QQQ"), action[2], NOW_MS)
        except InsufficientFundsError:
            pass
        assert violations(exchange) == []
        assert witness.differences() == []
        assert fills.differences() == []


def test_violations_notice_what_is_wrong(bench: Any) -> None:
    order = bench.order(bench.alice, "buy", "1", "100")
    holding = bench.alice.holding("USDT")
    holding.available += 1
    assert any("came from nowhere" in sentence for sentence in violations(bench.exchange))
    holding.available -= 1
    holding.held += 1
    assert any("orders bind" in sentence for sentence in violations(bench.exchange))
    holding.held -= 1
    order.executed_lots += 1
    assert any("do not add up" in sentence for sentence in violations(bench.exchange))
    order.executed_lots -= 1
    order.listing.levels["buy"][1] = 1
    assert any("orders make" in sentence for sentence in violations(bench.exchange))
    del order.listing.levels["buy"][1]
    assert violations(bench.exchange) == []


def test_witness_notices_a_gap(bench: Any) -> None:
    bench.exchange.listing("ETH/USDT").sequences.book += 1
    bench.exchange.submit(
        bench.alice,
        OrderForm.from_wire({"symbol": "ETH/USDT", "side": "buy", "quantity": "1", "price": "9"}),
        NOW_MS,
    )
    assert bench.witness.differences()


def test_witness_notices_a_level_that_went_and_never_was(bench: Any) -> None:
    bench.order(bench.alice, "buy", "1", "100")
    bench.order(bench.bob, "sell", "1", "100")
    listing = bench.exchange.listing("ETH/USDT")
    listing.sequences.book += 1
    bench.witness.on_book(listing, [("buy", 7, 0)], NOW_MS)
    assert bench.witness.complaints == ["ETH/USDT: buy 7 went and never was"]


@pytest.fixture
def filled(bench: Any) -> Any:
    """A bench whose last order was filled, and whose witness has not looked since."""
    bench.order(bench.alice, "sell", "1", "100")
    fields = {"symbol": "ETH/USDT", "side": "buy", "quantity": "2", "price": "100"}
    bench.exchange.submit(bench.bob, OrderForm.from_wire(fields), NOW_MS)
    return bench


def break_balance(bench: Any) -> str:
    # Money is conserved, and in the wrong hands.
    bench.alice.holding("USDT").available += 1
    bench.bob.holding("USDT").available -= 1
    return "deposits and fills make"


def break_rows(bench: Any) -> str:
    bench.bob.trades.pop()
    return "bob: the trades end in"


def break_fee(bench: Any) -> str:
    row = bench.alice.trades.pop()
    bench.alice.trades.append(row._replace(fee=row.fee + 1))
    return "alice: the trades end in"


@pytest.mark.parametrize("broken", [break_balance, break_rows, break_fee])
def test_fill_witness_notices_what_does_not_follow_from_fills(
    filled: Any, broken: Callable[[Any], str]
) -> None:
    words = broken(filled)
    assert any(words in sentence for sentence in filled.fills.differences())


def test_fill_witness_notices_a_report_of_too_much(bench: Any) -> None:
    order = bench.order(bench.alice, "buy", "1", "100")
    bench.fills.on_report(Report(order, "cancelled", OrderStatus.CANCELLED, 1, NOW_MS))
    assert bench.fills.differences() == [f"order {order.id}: reported 1 executed, fills make 0"]


def test_fill_witness_notices_a_fill_that_the_public_never_saw(bench: Any) -> None:
    bench.fills.on_trades = lambda listing, trades, now_ms: None
    with pytest.raises(AssertionError, match="is no public trade"):
        bench.order(bench.alice, "sell", "1", "100")
        bench.order(bench.bob, "buy", "1", "100")


def test_fill_witness_knows_what_was_there_before_it(filled: Any) -> None:
    late = FillWitness(filled.exchange)
    fields = {"symbol": "ETH/USDT", "side": "sell", "quantity": "1", "price": "100"}
    filled.exchange.submit(filled.alice, OrderForm.from_wire(fields), NOW_MS)
    filled.exchange.deposit(filled.bob, "USDT", 5)
    assert late.differences() == filled.fills.differences() == []


def break_available(order: Any) -> str:
    holding = order.account.holding("USDT")
    order.held, holding.held, holding.available = holding.total + 1, holding.total + 1, -1
    return "is negative"


def break_executed(order: Any) -> str:
    order.executed_lots += 1
    return "do not add up"


def break_status(order: Any) -> str:
    order.status = OrderStatus.FILLED
    return "and should be New"


def break_hold(order: Any) -> str:
    order.held += 1
    return "holds"


def break_engine(order: Any) -> str:
    order.listing.engine.cancel(order.number)
    return "the engine has 0 orders, not 1"


@pytest.mark.parametrize(
    "broken", [break_available, break_executed, break_status, break_hold, break_engine]
)
def test_each_invariant_is_seen_to_break(bench: Any, broken: Callable[[Any], str]) -> None:
    order = bench.order(bench.alice, "buy", "1", "100")
    words = broken(order)
    assert any(words in sentence for sentence in violations(bench.exchange))


def test_crossed_book_is_seen(bench: Any) -> None:
    class Crossed:
        best_bid, best_ask, order_count = (101, 1), (100, 1), 0

        def depth(self, count: int) -> tuple[Any, Any]:
            return np.empty((0, 2)), np.empty((0, 2))

    listing = bench.exchange.listing("ETH/USDT")
    engine, listing.engine = listing.engine, Crossed()
    try:
        assert any("the book is crossed" in sentence for sentence in violations(bench.exchange))
    finally:
        listing.engine = engine
