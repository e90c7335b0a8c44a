"""What may be sent, and how often: `nkfast.trading.risk`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from strategies.vectors.registry import Given, adapts

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import RiskError
from nkfast.trading.account import AccountOrders
from nkfast.trading.day import Day
from nkfast.trading.gate import Intent
from nkfast.trading.journal import Journal
from nkfast.trading.ledger import Ledger
from nkfast.trading.orders import OrderStore
from nkfast.trading.risk import RiskGuard, RiskLimits
from nkfast.venue.port import Holding

ONE = Decimal(1)
MINUTE_NS = 60 * 10**9


class Hands:
    """A clock that stands where it is put."""

    now_ns = 0

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


@contextmanager
def a_guard(
    limits: RiskLimits, holdings: tuple[Holding, ...] = (), **market: Any
) -> Iterator[tuple[RiskGuard, Hands]]:
    """A guard of a market where one unit of base costs one of quote."""
    rules = Market("BASE/QUOTE", 8, 8, **market)
    book, ledger, clock, orders = OrderBook(rules), Ledger(rules), Hands(), OrderStore()
    price = rules.price_to_ticks(ONE)
    book.apply_snapshot([(price - 1, 1)], [(price + 1, 1)], 1)
    ledger.set_holdings(holdings)
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal.open(Path(folder) / "journal.db", instance="vect") as journal,
    ):
        account = AccountOrders()
        account.join(rules.symbol, orders)
        guard = RiskGuard(
            limits,
            books={rules.symbol: book},
            ledger=ledger,
            orders=orders,
            clock=clock,
            day=Day(journal, clock),
            account=account,
        )
        yield guard, clock


def an_order(amount: Decimal) -> Intent:
    side = "buy" if amount >= 0 else "sell"
    return Intent("slot", "BASE/QUOTE", side, abs(amount), ONE, "limit")


@adapts("engine.risk.RiskManager.allows_order")
def is_order_allowed(given: Given) -> Any:
    # What an order brings counts: base of a buy, quote of a sell. The exposure is in that.
    least, most, exposed = (Decimal(given["limits"][name]) for name in ("min", "max", "exposure"))
    order = an_order(given.number("amount"))
    have = abs(given.number("current_exposure"))
    limits = RiskLimits(max_order_notional=most, max_position={"BASE": exposed, "QUOTE": exposed})
    brings, pays = ("BASE", "QUOTE") if order.side == "buy" else ("QUOTE", "BASE")
    rich = Decimal(10**6)
    holdings = (Holding(brings, have, Decimal(0)), Holding(pays, rich, Decimal(0)))
    with a_guard(limits, holdings, min_quantity=least) as (guard, _):
        try:
            guard.check(order)
        except RiskError as error:
            assert error.code in ("BELOW_MINIMUM", "MAX_ORDER_NOTIONAL", "MAX_POSITION", "OFF_GRID")
            return False
    return True


@adapts("utils.rate_limiter.RateLimiter.acquire(blocking=False)")
def may_another_be_sent(given: Given) -> Any:
    # nkfast's sliding window is a minute: its time runs that much slower.
    scale = MINUTE_NS / given.number("time_window")
    answers: list[list[Any]] = []
    with a_guard(RiskLimits(max_orders_per_minute=int(given["max_requests"]))) as (guard, clock):
        for time, *_ in given.outputs:
            clock.now_ns = int(Decimal(time) * scale)
            try:
                guard.check(an_order(ONE))
            except RiskError as error:
                assert error.code == "ORDER_RATE"
                answers.append([time, "retry_after", guard.wait_ns / scale])
            else:
                guard.note_sent(an_order(ONE))
                answers.append([time, "ok"])
    return answers
