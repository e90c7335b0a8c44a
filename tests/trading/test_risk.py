"""Our own limits: each refuses by its code, with both numbers, and only then."""

import pickle
from decimal import Decimal

import pytest

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import ConfigError, RiskError
from nkfast.trading.ledger import Ledger
from nkfast.trading.orders import Order, OrderStore, Outcome
from nkfast.trading.risk import RiskGuard, RiskLimits
from nkfast.trading.strategy import Quote
from nkfast.venue.port import Holding, NewOrder

D = Decimal
S = 1_000_000_000


class Gate:
    """A guard with everything that it looks at."""

    def __init__(self, limits: RiskLimits | None = None, **market: object) -> None:
        self.market = Market("BTC/USDT", 2, 4, **{"min_notional": "1", **market})
        self.ledger = Ledger(self.market)
        self.orders = OrderStore()
        self.book = OrderBook(self.market)
        self.book.apply_snapshot([(9_990, 5)], [(10_010, 5)], 1)
        self.guard = RiskGuard(limits or RiskLimits(), self.market, self.ledger, self.orders)
        self.count = 0

    def rest(self, side: str, price: str, quantity: str = "1") -> Order:
        self.count += 1
        name = f"o{self.count}"
        order = Order(name, name, "BTC/USDT", side, D(price), D(quantity))
        self.orders.add(order)
        self.ledger.reserve(order)
        return order

    def check(self, side: str, price: str | None, quantity: str = "1", **times: int) -> None:
        if price is None:
            order = NewOrder("c", "BTC/USDT", side, D(quantity), None, "market")
        else:
            order = Quote(side, D(price), D(quantity))
        self.guard.check(order, self.book, times.get("now", 0), times.get("book"))

    def refusal(self, *order: object, **times: int) -> RiskError:
        with pytest.raises(RiskError) as caught:
            self.check(*order, **times)
        assert pickle.loads(pickle.dumps(caught.value)).code == caught.value.code
        assert caught.value.value
        assert caught.value.limit
        return caught.value


def test_an_ordinary_order_passes() -> None:
    Gate().check("buy", "99.00")
    Gate().check("sell", None)


def test_a_stale_book() -> None:
    gate = Gate()
    gate.book.mark_stale()
    assert gate.refusal("buy", "99").code == "BOOK_NOT_LIVE"


def test_an_old_book() -> None:
    gate = Gate(RiskLimits(max_book_age_s=2.0))
    gate.check("buy", "99", now=5 * S, book=3 * S)
    assert gate.refusal("buy", "99", now=5 * S + 1, book=3 * S).code == "BOOK_TOO_OLD"


@pytest.mark.parametrize(
    ("flags", "side"),
    [
        ({"is_active": False}, "buy"),
        ({"is_paused": True}, "sell"),
        ({"pause_buys": True}, "buy"),
        ({"pause_sells": True}, "sell"),
    ],
)
def test_a_paused_market(flags: dict[str, bool], side: str) -> None:
    assert Gate(**flags).refusal(side, "100").code == "MARKET_PAUSED"


def test_one_paused_side_leaves_the_other() -> None:
    Gate(pause_buys=True).check("sell", "100")


@pytest.mark.parametrize(
    ("price", "quantity"), [("99.001", "1"), ("99", "0.00001"), ("99", "0"), ("0", "1")]
)
def test_off_the_markets_grid(price: str, quantity: str) -> None:
    assert Gate(RiskLimits(price_collar=None)).refusal("buy", price, quantity).code == "OFF_GRID"


def test_below_the_markets_minimums() -> None:
    gate = Gate(min_quantity="0.5", min_notional="60")
    assert gate.refusal("buy", "99", "0.4").code == "BELOW_MINIMUM"
    refusal = gate.refusal("buy", "99", "0.6")
    assert (refusal.code, refusal.value, refusal.limit) == ("BELOW_MINIMUM", "59.4", "60")
    gate.check("buy", "100", "0.6")


def test_order_notional() -> None:
    gate = Gate(RiskLimits(max_order_notional=D(99)))
    gate.check("buy", "99")
    refusal = gate.refusal("buy", "99", "1.0001")
    assert (refusal.code, refusal.value) == ("MAX_ORDER_NOTIONAL", "99.0099")


@pytest.mark.parametrize("price", ["80.00", "120.00"])
def test_price_collar_includes_its_edge(price: str) -> None:
    gate = Gate(RiskLimits(price_collar=D("0.2")))
    gate.check("buy", price)
    beyond = D(price) + (D("0.01") if price > "1" and D(price) > 100 else D("-0.01"))
    refusal = gate.refusal("buy", str(beyond))
    assert refusal.code == "PRICE_COLLAR"
    assert "100" in refusal.limit


def test_a_one_sided_book_has_no_collar_to_pass() -> None:
    gate = Gate()
    gate.book.apply_snapshot([(9_990, 5)], [], 2)
    assert gate.refusal("buy", "99").code == "PRICE_COLLAR"
    assert gate.refusal("buy", None).code == "BOOK_NOT_LIVE"
    Gate(RiskLimits(price_collar=None)).check("buy", "99")


def test_open_orders() -> None:
    gate = Gate(RiskLimits(max_open_orders=2))
    gate.rest("buy", "98")
    gate.check("buy", "99")
    done = gate.rest("buy", "97")
    assert gate.refusal("buy", "99").code == "MAX_OPEN_ORDERS"
    gate.orders.apply(done.hear_outcome(Outcome.REJECTED))
    gate.check("buy", "99")


def test_unknown_orders() -> None:
    gate = Gate(RiskLimits(max_unknown_orders=1))
    for price in ("98", "97"):
        gate.check("buy", "99")
        gate.orders.apply(gate.rest("buy", price).hear_outcome(Outcome.UNKNOWN))
    assert gate.refusal("buy", "99").code == "MAX_UNKNOWN_ORDERS"


def test_order_rate_is_of_any_sixty_seconds() -> None:
    gate = Gate(RiskLimits(max_orders_per_minute=2))
    gate.guard.note_sent(0)
    gate.guard.note_sent(30 * S)
    assert gate.refusal("buy", "99", now=60 * S - 1).code == "ORDER_RATE"
    gate.check("buy", "99", now=60 * S)
    gate.guard.note_sent(60 * S)
    assert gate.refusal("buy", "99", now=89 * S).code == "ORDER_RATE"


def test_self_cross() -> None:
    gate = Gate()
    gate.rest("sell", "101")
    gate.rest("buy", "98")
    gate.check("buy", "100.99")
    gate.check("sell", "98.01")
    refusal = gate.refusal("buy", "101")
    assert (refusal.code, refusal.limit) == ("SELF_CROSS", "own 101")
    assert gate.refusal("sell", "98").code == "SELF_CROSS"


def test_position_counts_what_open_buys_may_add() -> None:
    gate = Gate(RiskLimits(max_position=D(5)))
    gate.ledger.set_holdings([Holding("BTC", D(1), D(1)), Holding("USDT", D(10_000), D(0))])
    gate.rest("buy", "98", "2")
    gate.check("buy", "99", "1")
    refusal = gate.refusal("buy", "99", "1.0001")
    assert (refusal.code, refusal.value, refusal.limit) == ("MAX_POSITION", "5.0001", "5")
    gate.check("sell", "101", "1")


def test_balance_counts_reservations_and_the_fee() -> None:
    gate = Gate(RiskLimits(min_free_quote=D(10)), maker_fee="0.002", taker_fee="0.002")
    gate.ledger.set_holdings([Holding("BTC", D(3), D(0)), Holding("USDT", D("310.4"), D(0))])
    gate.rest("buy", "98", "1")  # 98.196
    gate.rest("sell", "110", "2")
    gate.check("buy", "99", "2")  # 198.396 of 212.204 less 10
    refusal = gate.refusal("buy", "99", "2.1")
    assert refusal.code == "INSUFFICIENT_BALANCE"
    assert refusal.value == "208.3158 USDT"
    assert refusal.limit == "202.204 USDT"
    gate.check("sell", "111", "1")
    assert gate.refusal("sell", "111", "1.0001").code == "INSUFFICIENT_BALANCE"


def test_none_switches_a_limit_off() -> None:
    off = RiskLimits(
        max_open_orders=None, max_orders_per_minute=None, price_collar=None, max_unknown_orders=0
    )
    gate = Gate(off)
    for number in range(500):
        gate.rest("buy", f"{50 + number % 40}.00")
        gate.guard.note_sent(0)
    gate.check("buy", "1.00")


@pytest.mark.parametrize(
    "limits", [{"max_open_orders": -1}, {"price_collar": D("NaN")}, {"max_position": True}]
)
def test_limits_that_make_no_sense(limits: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RiskLimits(**limits)
