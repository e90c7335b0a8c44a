"""Our own limits: each refuses by its code, with both numbers, and only then."""

import pickle
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import ConfigError, RiskError
from nkfast.trading.account import AccountOrders
from nkfast.trading.day import Day
from nkfast.trading.gate import Intent
from nkfast.trading.journal import Journal
from nkfast.trading.ledger import Ledger, Profit
from nkfast.trading.orders import Order, OrderStore, Outcome
from nkfast.trading.risk import RiskGuard, RiskLimits
from nkfast.venue.port import Execution, Holding, OrderUpdate, PublicTrade, VenueStatus

D = Decimal
S = 1_000_000_000
DAY_NS = 86_400 * S
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2
NOON_MS = NOON_NS // 1_000_000
SYMBOL = "BTC/USDT"


class Hands:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 10 * S
        self.unix_ns = NOON_NS

    def time_ns(self) -> int:
        return self.unix_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def boot_ns(self) -> int:
        return self.now_ns

    boot_id = "one boot"


class Gate:
    """A guard with everything that it looks at."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.clock = Hands()
        self.account = AccountOrders()
        self.ids = journal.id_source()
        self.make()

    def make(self, limits: RiskLimits | None = None, **market: object) -> "Gate":
        self.market = Market(SYMBOL, 2, 4, **{"min_notional": "1", **market})
        self.ledger = Ledger(self.market)
        self.orders = OrderStore()
        self.account.join(SYMBOL, self.orders)
        self.book = OrderBook(self.market)
        self.books = {SYMBOL: self.book}
        self.show(9_990, 10_010)
        self.limit(limits or RiskLimits())
        return self

    def limit(self, limits: RiskLimits) -> None:
        """Begin anew, as a restart does, with other limits."""
        self.day = Day(self.journal, self.clock)
        self.guard = RiskGuard(
            limits,
            books=self.books,
            ledger=self.ledger,
            orders=self.orders,
            clock=self.clock,
            day=self.day,
            account=self.account,
        )

    def show(self, bid: int, ask: int) -> None:
        sequence = self.book.sequence + 1
        self.book.apply_snapshot([(bid, 5)], [(ask, 5)], sequence, now_ns=self.clock.now_ns)

    def fill(self, side: str, price: str, quantity: str) -> None:
        """Let an order of an earlier time have moved the position."""
        number = self.ledger.profit.fills
        fill = Execution(
            f"t{number}", "o", None, SYMBOL, side, D(price), D(quantity), D(0), "USDT", True, 0
        )
        self.ledger.apply(self.ledger.profit.after_fill(fill))

    def rest(self, side: str, price: str, quantity: str = "1") -> Order:
        name = self.ids.next()
        order = Order(name, name, SYMBOL, side, D(price), D(quantity))
        self.orders.add(order)
        self.ledger.reserve(order)
        return order

    def check(self, side: str, price: str | None, quantity: str = "1") -> None:
        """Check an order, and again when it has been worked out how far one may go."""
        wanted = intent(side, price, quantity)
        try:
            self.guard.check(wanted)
        except RiskError as refusal:
            self.guard.prepare()
            with pytest.raises(RiskError, match=refusal.code):
                self.guard.check(wanted)
            raise
        self.guard.prepare()
        self.guard.check(wanted)

    def send(self, side: str, price: str | None, quantity: str = "1") -> None:
        """Do what the order gate does with an order that passes."""
        wanted = intent(side, price, quantity)
        self.guard.check(wanted)
        name = self.ids.next()
        sent_ms = self.clock.unix_ns // 1_000_000
        self.journal.intend(
            Order(name, name, SYMBOL, side, wanted.price, D(quantity), wanted.type, sent_ms)
        )
        self.guard.note_sent(wanted)

    def refusal(self, *order: str | None) -> RiskError:
        with pytest.raises(RiskError) as caught:
            self.check(*order)
        assert pickle.loads(pickle.dumps(caught.value)).code == caught.value.code
        assert caught.value.value
        assert caught.value.limit
        return caught.value


def intent(side: str, price: str | None, quantity: str = "1", symbol: str = SYMBOL) -> Intent:
    kind = "market" if price is None else "limit"
    return Intent("slot", symbol, side, D(quantity), None if price is None else D(price), kind)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Journal.open(tmp_path / "journal.db", instance="nk01") as journal:
        yield Gate(journal)


def test_an_ordinary_order_passes(gate: Gate) -> None:
    gate.make().check("buy", "99.00")
    gate.make().check("sell", None)


def test_M12_a_market_order_is_judged_by_the_last_level_that_it_takes(gate: Gate) -> None:
    gate.make(RiskLimits(price_collar=D("0.05"), max_order_notional=D(1_000_000)))
    book = gate.books[SYMBOL]
    ticks = book.market.price_to_ticks
    lots = book.market.quantity_to_lots(D(1))
    bids = [(ticks(D(price)), lots) for price in ("100.00", "90.00")]
    asks = [(ticks(D(price)), lots) for price in ("100.10", "110.00")]
    book.apply_snapshot(bids, asks, 99)
    for side, worst in (("buy", "110"), ("sell", "90")):
        gate.check(side, None, "1")
        refusal = gate.refusal(side, None, "1.5")
        assert (refusal.code, refusal.value) == ("PRICE_COLLAR", worst)


def test_a_stale_book(gate: Gate) -> None:
    gate.book.mark_stale()
    assert gate.refusal("buy", "99").code == "BOOK_NOT_LIVE"


def test_M13_an_old_book(gate: Gate) -> None:
    gate.make(RiskLimits(max_book_age_s=2.0))
    gate.clock.now_ns += 2 * S
    gate.check("buy", "99")
    gate.clock.now_ns += 1
    refusal = gate.refusal("buy", "99")
    assert (refusal.code, refusal.value, refusal.limit) == ("BOOK_TOO_OLD", "2.000 s", "2.0 s")
    gate.show(9_990, 10_010)
    gate.check("buy", "99")


@pytest.mark.parametrize(
    ("flags", "side"),
    [
        ({"is_active": False}, "buy"),
        ({"is_paused": True}, "sell"),
        ({"pause_buys": True}, "buy"),
        ({"pause_sells": True}, "sell"),
    ],
)
def test_a_paused_market(gate: Gate, flags: dict[str, bool], side: str) -> None:
    assert gate.make(**flags).refusal(side, "100").code == "MARKET_PAUSED"


def test_one_paused_side_leaves_the_other(gate: Gate) -> None:
    gate.make(pause_buys=True).check("sell", "100")


@pytest.mark.parametrize(
    ("price", "quantity"), [("99.001", "1"), ("99", "0.00001"), ("99", "0"), ("0", "1")]
)
def test_off_the_markets_grid(gate: Gate, price: str, quantity: str) -> None:
    gate.make(RiskLimits(price_collar=None))
    assert gate.refusal("buy", price, quantity).code == "OFF_GRID"


def test_below_the_markets_minimums(gate: Gate) -> None:
    gate.make(min_quantity="0.5", min_notional="60")
    assert gate.refusal("buy", "99", "0.4").code == "BELOW_MINIMUM"
    refusal = gate.refusal("buy", "99", "0.6")
    assert (refusal.code, refusal.value, refusal.limit) == ("BELOW_MINIMUM", "59.4", "60")
    gate.check("buy", "100", "0.6")


def test_order_notional(gate: Gate) -> None:
    gate.make(RiskLimits(max_order_notional=D(99)))
    gate.check("buy", "99")
    refusal = gate.refusal("buy", "99", "1.0001")
    assert (refusal.code, refusal.value) == ("MAX_ORDER_NOTIONAL", "99.0099")


@pytest.mark.parametrize("price", ["80.00", "120.00"])
def test_price_collar_includes_its_edge(gate: Gate, price: str) -> None:
    gate.make(RiskLimits(price_collar=D("0.2")))
    gate.check("buy", price)
    beyond = D(price) + (D("0.01") if price > "1" and D(price) > 100 else D("-0.01"))
    refusal = gate.refusal("buy", str(beyond))
    assert refusal.code == "PRICE_COLLAR"
    assert "100" in refusal.limit


def test_a_one_sided_book_has_no_collar_to_pass(gate: Gate) -> None:
    gate.book.apply_snapshot([(9_990, 5)], [], 2)
    assert gate.refusal("buy", "99").code == "PRICE_COLLAR"
    assert gate.refusal("buy", None).code == "BOOK_NOT_LIVE"
    gate.guard.note_trade(PublicTrade(SYMBOL, "1", D(100), D(1), "buy", 1))
    gate.check("buy", "80")  # the last trade stands in for the mid
    assert gate.refusal("buy", "79.99").code == "PRICE_COLLAR"
    gate.make(RiskLimits(price_collar=None)).check("buy", "99")


def test_open_orders(gate: Gate) -> None:
    gate.make(RiskLimits(max_open_orders=2))
    gate.rest("buy", "98")
    gate.check("buy", "99")
    done = gate.rest("buy", "97")
    assert gate.refusal("buy", "99").code == "MAX_OPEN_ORDERS"
    gate.orders.apply(done.hear_outcome(Outcome.REJECTED))
    gate.check("buy", "99")


def test_unknown_orders(gate: Gate) -> None:
    gate.make(RiskLimits(max_unknown_orders=1))
    for price in ("98", "97"):
        gate.check("buy", "99")
        gate.orders.apply(gate.rest("buy", price).hear_outcome(Outcome.UNKNOWN))
    assert gate.refusal("buy", "99").code == "MAX_UNKNOWN_ORDERS"


def test_order_rate_is_of_any_sixty_seconds(gate: Gate) -> None:
    gate.make(RiskLimits(max_orders_per_minute=2))
    start_ns = gate.clock.now_ns
    gate.send("buy", "99")
    gate.clock.now_ns = start_ns + 30 * S
    gate.send("buy", "98")
    gate.clock.now_ns = start_ns + 60 * S - 1
    refusal = gate.refusal("buy", "99")
    assert (refusal.code, refusal.value) == ("ORDER_RATE", "3 in 60 s")
    assert refusal.limit == "2 in 60 s; there is room in 0.000000001 s"
    gate.clock.now_ns += 1
    assert gate.guard.wait_ns == 0
    gate.send("buy", "99")
    gate.clock.now_ns = start_ns + 89 * S
    assert gate.refusal("buy", "99").code == "ORDER_RATE"
    assert gate.guard.wait_ns == S


def test_without_a_rate_nothing_waits_and_a_rate_of_none_waits_for_ever(gate: Gate) -> None:
    gate.make(RiskLimits(max_orders_per_minute=None))
    gate.send("buy", "99")
    assert gate.guard.wait_ns == 0
    gate.limit(RiskLimits(max_orders_per_minute=0))
    assert gate.refusal("buy", "99").limit == "0 in 60 s; there is room in 60 s"


def test_the_same_order_over_and_over(gate: Gate) -> None:
    gate.make(RiskLimits(max_repeats_per_minute=2))
    for _ in range(2):
        gate.send("buy", "99")
    refusal = gate.refusal("buy", "99")
    assert (refusal.code, refusal.value, refusal.limit) == ("MAX_REPEATS", "3 in 60 s", "2 in 60 s")
    gate.check("buy", "99.01")
    gate.check("buy", "99", "1.0001")
    gate.clock.now_ns += 60 * S
    gate.check("buy", "99")


def test_orders_of_a_day_are_counted_over_starts(gate: Gate) -> None:
    limits = RiskLimits(max_daily_orders=2)
    gate.limit(limits)
    gate.send("buy", "99")
    gate.limit(limits)
    gate.send("buy", None)
    gate.limit(limits)
    refusal = gate.refusal("sell", "110")
    assert (refusal.code, refusal.value, refusal.limit) == ("MAX_DAILY_ORDERS", "3", "2")
    gate.clock.unix_ns = NOON_NS + DAY_NS // 2 - 1
    assert gate.refusal("sell", "110").code == "MAX_DAILY_ORDERS"
    gate.clock.unix_ns += 1
    gate.send("sell", "110")
    gate.send("sell", "111")
    assert gate.refusal("sell", "112").code == "MAX_DAILY_ORDERS"
    gate.clock.unix_ns -= 1  # a clock that steps back begins no day
    assert gate.refusal("sell", "112").code == "MAX_DAILY_ORDERS"


def test_notional_of_a_day_is_counted_over_starts(gate: Gate) -> None:
    limits = RiskLimits(max_daily_notional=D(300))
    gate.limit(limits)
    gate.send("buy", "99")
    gate.send("sell", "101")
    gate.limit(limits)
    gate.check("buy", "100", "1")
    refusal = gate.refusal("buy", "100", "1.0001")
    assert (refusal.code, refusal.value, refusal.limit) == (
        "MAX_DAILY_NOTIONAL",
        "300.01 USDT",
        "300 USDT",
    )


def test_a_market_order_of_today_counts_at_its_fills_after_a_restart(gate: Gate) -> None:
    limits = RiskLimits(max_daily_notional=D(300))
    gate.limit(limits)
    order = Order(gate.ids.next(), "a", SYMBOL, "buy", None, D(2), "market", NOON_MS)
    gate.journal.intend(order)
    fill = Execution("t", "o", None, SYMBOL, "buy", D("100.10"), D(2), D(0), "USDT", False, NOON_MS)
    gate.journal.record([order.hear_execution(fill)], profit=Profit("BTC", "USDT").after_fill(fill))
    gate.limit(limits)
    gate.check("buy", "99", "1")
    assert gate.refusal("buy", "100", "1").value == "300.2 USDT"


def test_the_days_loss_begins_where_the_day_began(gate: Gate) -> None:
    limits = RiskLimits(max_daily_loss=D(10))
    gate.fill("buy", "1000", "5")  # yesterday's, and worse than today's limit
    gate.limit(limits)
    gate.guard.loss.check()
    gate.show(9_790, 9_810)  # five fall from 100 to 98
    gate.guard.loss.check()
    gate.limit(limits)  # a restart takes no new baseline
    gate.show(9_789, 9_810)
    with pytest.raises(RiskError) as caught:
        gate.guard.loss.check()
    refusal = caught.value
    assert (refusal.code, refusal.value, refusal.limit) == ("MAX_DAILY_LOSS", "10.025", "10")
    gate.clock.unix_ns += DAY_NS
    gate.guard.loss.check()


def test_a_day_that_begins_flat_begins_with_what_was_made_before(gate: Gate) -> None:
    gate.limit(RiskLimits(max_daily_loss=D(5)))
    gate.guard.loss.check()
    gate.fill("buy", "100", "1")
    gate.fill("sell", "96", "1")
    gate.guard.loss.check()
    gate.guard.loss.check()
    gate.clock.unix_ns += DAY_NS
    gate.guard.loss.check()  # takes the new baseline, although nothing is owned
    gate.fill("buy", "100", "1")
    gate.fill("sell", "96", "1")
    gate.guard.loss.check()
    gate.fill("buy", "100", "1")
    gate.fill("sell", "98", "1")
    with pytest.raises(RiskError) as caught:
        gate.guard.loss.check()
    assert caught.value.value == "6"


def test_no_loss_without_fills_and_no_word_without_a_mid(gate: Gate) -> None:
    gate.limit(RiskLimits(max_daily_loss=D(0)))
    gate.guard.loss.check()
    gate.show(4_000, 4_001)  # what was owned before does not count
    gate.guard.loss.check()
    gate.fill("buy", "100", "1")
    gate.book.apply_snapshot([], [], gate.book.sequence + 1)
    gate.guard.loss.check()
    gate.show(9_990, 10_008)
    with pytest.raises(RiskError):
        gate.guard.loss.check()


def test_the_loss_over_several_markets_is_valued_in_the_home_quote(gate: Gate) -> None:
    other = Market("ETH/BTC", 4, 4)
    inverse = Market("USDT/DOGE", 4, 4)
    gate.ledger.add_market(other)
    gate.ledger.add_market(inverse)
    for market in (other, inverse):
        gate.books[market.symbol] = OrderBook(market)
    eth = OrderBook(Market("ETH/USDT", 2, 4))
    eth.apply_snapshot([(1_000, 5)], [(1_000 + 100, 5)], 1)
    gate.books["ETH/USDT"] = eth
    gate.limit(RiskLimits(max_daily_loss=D(0)))
    gate.guard.loss.check()  # takes zero as its baseline

    def buy(symbol: str, price: str, quantity: str) -> None:
        asset = symbol.split("/")[1]
        fill = Execution("t", "o", None, symbol, "buy", D(price), D(quantity), D(0), asset, True, 0)
        gate.ledger.apply(gate.ledger.profits[symbol].after_fill(fill))

    buy("ETH/BTC", "0.1", "10")  # 1 BTC of 100 for 10 ETH of 10.5
    gate.guard.loss.check()
    buy("USDT/DOGE", "2", "8")  # 16 DOGE for 8 USDT: nobody says what a DOGE is worth
    gate.guard.loss.check()
    gate.books["USDT/DOGE"].apply_snapshot([(5_000, 5)], [(5_000, 5)], 1)
    with pytest.raises(RiskError) as caught:
        gate.guard.loss.check()
    assert caught.value.value == "19"  # 100 less 105, less 8, and 16 DOGE at two to the USDT


def test_the_last_trade_bounds_prices_too(gate: Gate) -> None:
    gate.make(RiskLimits(price_collar=D("0.2")))
    gate.check("buy", "120")
    gate.guard.note_trade(PublicTrade(SYMBOL, "2", D(96), D(1), "buy", 2_000))
    gate.guard.note_trade(PublicTrade(SYMBOL, "1", D(100), D(1), "buy", 1_000))  # an older one
    gate.guard.note_trade(PublicTrade("ETH/USDT", "3", D(100), D(1), "buy", 3_000))
    gate.check("buy", "115.20")
    refusal = gate.refusal("buy", "115.21")
    assert (refusal.code, refusal.limit) == (
        "PRICE_COLLAR",
        "last trade 96 plus or minus 0.2 of it",
    )


def test_what_reduces_the_position_passes_exposure_limits_and_no_other(gate: Gate) -> None:
    gate.make(
        RiskLimits(max_position={"BTC": D(3), "USDT": D(100)}, max_daily_notional=D(0)),
        maker_fee="0",
        taker_fee="0",
    )
    gate.ledger.set_holdings([Holding("BTC", D(3), D(0)), Holding("USDT", D(1_000), D(0))])
    assert gate.refusal("buy", "99").code == "MAX_POSITION"
    assert gate.refusal("sell", "101").code == "MAX_POSITION"  # of USDT
    gate.fill("buy", "100", "2")
    gate.check("sell", "101", "2")
    gate.rest("sell", "102", "1.5")
    gate.check("sell", "101", "0.5")
    assert gate.refusal("sell", "101", "0.5001").code == "MAX_POSITION"
    assert gate.refusal("buy", "99", "0.5").code == "MAX_POSITION"
    assert gate.refusal("sell", "60", "0.1").code == "PRICE_COLLAR"
    gate.book.mark_stale()
    assert gate.refusal("sell", "101", "0.1").code == "BOOK_NOT_LIVE"


def test_buying_back_what_was_sold_reduces_too(gate: Gate) -> None:
    gate.make(RiskLimits(max_position=D(1)), maker_fee="0", taker_fee="0")
    gate.ledger.set_holdings([Holding("BTC", D(9), D(0)), Holding("USDT", D(1_000), D(0))])
    assert gate.refusal("buy", "99").code == "MAX_POSITION"
    gate.fill("sell", "100", "2")
    gate.check("buy", "99", "2")
    assert gate.refusal("buy", "99", "2.0001").code == "MAX_POSITION"


def test_other_markets_and_market_orders_where_they_are_not_allowed(gate: Gate) -> None:
    with pytest.raises(RiskError) as caught:
        gate.guard.check(intent("buy", "1", symbol="ETH/USDT"))
    assert caught.value.code == "NOT_WATCHED"
    gate.make(allow_market_orders=False)
    assert gate.refusal("buy", None).code == "ORDER_TYPE"
    gate.check("buy", "99")


def test_self_cross(gate: Gate) -> None:
    gate.rest("sell", "101")
    gate.rest("buy", "98")
    gate.check("buy", "100.99")
    gate.check("sell", "98.01")
    refusal = gate.refusal("buy", "101")
    assert (refusal.code, refusal.limit) == ("SELF_CROSS", "own 101")
    assert gate.refusal("sell", "98").code == "SELF_CROSS"


def test_position_counts_what_open_buys_may_add(gate: Gate) -> None:
    gate.make(RiskLimits(max_position=D(5)))
    gate.ledger.set_holdings([Holding("BTC", D(1), D(1)), Holding("USDT", D(10_000), D(0))])
    gate.rest("buy", "98", "2")
    gate.check("buy", "99", "1")
    refusal = gate.refusal("buy", "99", "1.0001")
    assert (refusal.code, refusal.value, refusal.limit) == (
        "MAX_POSITION",
        "5.0001 BTC",
        "5 BTC",
    )
    gate.check("sell", "101", "1")


def test_balance_counts_reservations_and_the_fee(gate: Gate) -> None:
    gate.make(RiskLimits(min_free_quote=D(10)), maker_fee="0.002", taker_fee="0.002")
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


def test_none_switches_a_limit_off(gate: Gate) -> None:
    off = RiskLimits(
        max_open_orders=None, max_orders_per_minute=None, price_collar=None, max_unknown_orders=0
    )
    gate.make(off)
    for number in range(500):
        gate.rest("buy", f"{50 + number % 40}.00")
        gate.guard.note_sent(intent("buy", "1.00"))
    gate.check("buy", "1.00")


@pytest.mark.parametrize(
    "limits",
    [
        {"max_open_orders": -1},
        {"price_collar": D("NaN")},
        {"max_daily_loss": "10"},
        {"max_position": True},
        {"max_position": {"BTC": D(-1)}},
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RiskLimits(**limits)


def test_live_trading_needs_the_limits_that_bound_a_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        RiskLimits(max_position=D(1)).require_live()
    assert str(caught.value) == (
        "risk: live mode needs max_order_notional, max_daily_loss; set each to a number"
    )
    RiskLimits(
        max_order_notional=D(1), max_position={"BTC": D(1)}, max_daily_loss=D(0)
    ).require_live()


# How far an order may go without meeting a limit -----------------------------------------------


def at_random(gate: Gate, random: Random) -> None:
    """Put a guard into a state that trading could have brought about, with its limits at hand."""

    def some(*values: object) -> Any:
        return random.choice(values) if random.random() < 0.3 else None

    limits = RiskLimits(
        max_order_notional=some(D("150"), D("333.3333"), D("1E+40")),
        max_open_orders=some(1, 2, 200),
        max_position=some(D("1.5"), {"BTC": D("2.00005"), "USDT": D("500.005")}),
        max_daily_orders=some(1, 2),
        max_daily_notional=some(D("400"), D("199.999")),
        max_orders_per_minute=some(1, 3),
        max_repeats_per_minute=some(1) if random.random() < 0.2 else None,
        price_collar=some(D("0.05"), D("0.0099"), D("1E-30")),
        min_free_quote=some(D("10.5")),
        max_unknown_orders=random.choice((0, 3)),
        max_book_age_s=some(60.0, 0.3),
    )
    gate.account = AccountOrders()
    rules = {"min_notional": some("1", "120") or "0", "min_quantity": some("0.5") or "0"}
    gate.make(limits, is_paused=random.random() < 0.05, pause_sells=random.random() < 0.1, **rules)
    for side, price, quantity in (("buy", "90", "1"), ("sell", "110", "2"), ("buy", "99.5", "1")):
        if random.random() < 0.4:
            gate.fill(side, price, quantity)
    if random.random() < 0.7:
        held = (Holding("BTC", D("1.2345"), D(0)), Holding("USDT", D("310.777"), D(0)))
        gate.ledger.set_holdings(held)
    for side, price in (("buy", "98.01"), ("sell", "101.99"), ("sell", "100.50")):
        if random.random() < 0.3:
            order = gate.rest(side, price, random.choice(("0.3", "1")))
            if random.random() < 0.3:
                gate.orders.apply(order.hear_outcome(Outcome.UNKNOWN, "lost"))
    if random.random() < 0.3:
        price = random.choice(("100.004", "99.99"))
        gate.account.note(foreign(random.choice(("buy", "sell")), price), 0)
    for _ in range(random.randrange(3)):
        gate.guard.note_sent(intent("buy", "99.99", "0.5"))
        gate.clock.now_ns += random.choice((1, 40 * S))
    tell(gate, random)


def foreign(side: str, price: str) -> OrderUpdate:
    return OrderUpdate("web", "v9", SYMBOL, side, D(price), D(1), D(0), VenueStatus.OPEN)


def tell(gate: Gate, random: Random) -> None:
    """Let the market move, which changes no headroom but what it is compared with."""
    if random.random() < 0.5:
        trade = PublicTrade(
            SYMBOL, "t", D(random.choice(("100.00", "99.005", "96.2"))), D(1), "buy", 0
        )
        gate.guard.note_trade(trade)
    bid = random.randrange(9_900, 10_000)
    gate.show(bid, bid + random.choice((-1, 0, 1, 40)))
    if random.random() < 0.1:
        gate.book.mark_stale()
    gate.clock.now_ns += random.choice((0, 200_000_000, 300_000_000, 301_000_000, 61 * S))


def refusal_of(check: Callable[[Intent], None], wanted: Intent) -> str:
    try:
        check(wanted)
    except RiskError as refusal:
        return refusal.code
    return ""


def test_an_order_within_the_headroom_breaks_no_limit(gate: Gate) -> None:
    admitted = passed = 0
    for seed in range(700):
        random = Random(seed)
        at_random(gate, random)
        guard = gate.guard
        for side in ("buy", "sell"):
            refusal_of(guard.check, intent(side, "99.99"))
        guard.prepare()
        tell(gate, random)
        for _ in range(6):
            side, ticks = random.choice(("buy", "sell")), random.randrange(9_700, 10_250)
            lots = random.choice((1, 5_000, 10_000, random.randrange(1, 40_000)))
            wanted = intent(side, str(ticks * D("0.01")), str(lots * D("0.0001")))
            room = guard._rooms[SYMBOL, side]
            is_admitted = room is not None and room.admits(
                wanted.price, wanted.quantity, gate.clock.now_ns
            )
            truth = refusal_of(guard._check_limits, wanted)
            assert not (is_admitted and truth), (seed, wanted, truth)
            assert refusal_of(guard.check, wanted) == truth, (seed, wanted)
            admitted += is_admitted
            passed += not truth
    assert passed > 400, passed
    assert admitted > 0.7 * passed, (admitted, passed)


@pytest.mark.parametrize(
    "change",
    [
        lambda gate: gate.rest("sell", "99.50"),
        lambda gate: gate.account.note(foreign("sell", "99.50"), 0),
        lambda gate: gate.ledger.set_holdings([Holding("USDT", D(1), D(0))]),
        lambda gate: gate.guard.note_rules(SYMBOL, None),
        lambda gate: gate.guard.note_sent(intent("buy", "99.99")),
        lambda gate: gate.account.join(SYMBOL, other_store(gate)),
        lambda gate: gate.guard.recall(
            [Order("i", "s", SYMBOL, "buy", D(1), D(1), sent_ms=NOON_MS)]
        ),
    ],
)
def test_whatever_bounds_an_order_ends_the_headroom_when_it_changes(gate: Gate, change) -> None:
    gate.make(RiskLimits(max_orders_per_minute=1))
    gate.check("buy", "100.00")
    assert gate.guard._rooms[SYMBOL, "buy"].admits(D("100.00"), D(1), gate.clock.now_ns)
    change(gate)
    with pytest.raises(RiskError):
        gate.guard.check(intent("buy", "100.00"))


def other_store(gate: Gate) -> OrderStore:
    """Orders of another instance of the process."""
    orders = OrderStore()
    orders.add(Order("other", "other", SYMBOL, "sell", D("99.50"), D(1)))
    return orders


def test_an_account_never_has_a_version_twice(gate: Gate) -> None:
    seen = []
    gate.make()
    other = other_store(gate)
    for change in (
        lambda: gate.account.join(SYMBOL, other),
        lambda: other.add(Order("b", "b", SYMBOL, "sell", D(99), D(1))),
        lambda: gate.account.leave(other),
        lambda: gate.account.note(foreign("sell", "99.50"), 0),
        lambda: gate.account.forget_unseen(SYMBOL, 1),
        lambda: gate.rest("buy", "98.00"),
    ):
        seen.append(gate.account.version(SYMBOL))
        change()
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)


def test_the_headroom_of_a_few_markets_is_kept_ready(gate: Gate) -> None:
    gate.make()
    for n in range(20):
        symbol = f"A{n}/USDT"
        gate.books[symbol] = OrderBook(Market(symbol, 2, 4))
        gate.ledger.add_market(gate.books[symbol].market)
    gate.limit(RiskLimits())
    for symbol in gate.books:
        refusal_of(gate.guard.check, intent("buy", "99.99", symbol=symbol))
    gate.guard.prepare()
    assert len(gate.guard._rooms) == 8
    assert ("A19/USDT", "buy") in gate.guard._rooms


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("limit", ["0", "3.00015", "7.5"])
def test_between_the_bearable_mids_the_loss_is_bearable_and_beside_them_it_is_judged(
    gate: Gate, side: str, limit: str
) -> None:
    gate.make(RiskLimits(max_daily_loss=D(limit)))
    guard, judged = gate.guard, []
    guard.loss.check()
    gate.fill(side, "100.00", "7.001")
    guard.prepare()
    known = guard.loss._bearable
    assert known is not None
    equity, seen = guard.loss._equity, []
    guard.loss._equity = lambda: judged.append(gate.book.best_bid) or equity()
    for double_mid in range(19_700, 20_300):
        gate.show(double_mid // 2 - 3, double_mid - double_mid // 2 + 3)
        guard.loss._bearable, judged[:] = known, []
        quick = loss_refusal(guard)
        was_judged = bool(judged)
        guard.loss._bearable = None
        assert loss_refusal(guard) == quick, double_mid
        assert was_judged is bool(quick), double_mid
        seen.append(quick)
    assert len(set(seen)) == 2


def loss_refusal(guard: RiskGuard) -> str:
    try:
        guard.loss.check()
    except RiskError as refusal:
        return refusal.code
    return ""


def test_the_bearable_mids_end_with_the_position_the_day_and_the_book(gate: Gate) -> None:
    gate.make(RiskLimits(max_daily_loss=D(5)))
    gate.guard.loss.check()
    gate.fill("buy", "100.00", "1")
    gate.guard.prepare()
    known = gate.guard.loss._bearable
    assert known is not None
    judged = []
    loss = gate.day.loss
    gate.day.loss = lambda equity: judged.append(equity) or loss(equity)
    gate.guard.loss.check()
    assert not judged
    gate.book.apply_snapshot([], [(10_010, 5)], gate.book.sequence + 1)
    gate.guard.loss.check()  # nobody knows what it is worth
    gate.show(9_990, 10_010)
    assert not judged
    gate.clock.unix_ns += DAY_NS
    gate.guard.loss.check()
    assert len(judged) == 1, "a new day begins where equity is"
    gate.guard.loss.check()
    assert len(judged) == 2, "the bounds were the day's before"
    gate.guard.prepare()
    gate.guard.loss.check()
    assert len(judged) == 2
    gate.fill("buy", "100.00", "1")
    gate.guard.loss.check()
    assert len(judged) == 3
    for other in ({"ETH": D(1)}, {}):
        gate.guard.loss._made = (gate.ledger.version, other)
        gate.guard.loss._bearable = None
        gate.guard.prepare()
        assert gate.guard.loss._bearable is None
