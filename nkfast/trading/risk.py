"""Our own limits: the one place that every order passes before anything leaves."""

from collections import deque
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from nkfast.errors import ConfigError, FixedPointError, RiskError
from nkfast.trading.exact import ZERO, add, multiply, plain, subtract
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market
    from nkfast.trading.ledger import Ledger
    from nkfast.trading.orders import OrderStore

__all__ = ["Priced", "RiskGuard", "RiskLimits"]

_MINUTE_NS = 60_000_000_000
_HALF = Decimal("0.5")


class Priced(Protocol):
    """What the guard needs to know of an order: a `Quote` and a `NewOrder` both say it."""

    @property
    def side(self) -> Side: ...
    @property
    def price(self) -> Decimal | None: ...
    @property
    def quantity(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """What an instance may do at most. None switches a limit off.

    Attributes
    ----------
    max_order_notional : Decimal or None
        Quote units of one order.
    max_open_orders : int or None
        Orders that may still trade, unanswered ones included.
    max_position : Decimal or None
        Base units owned plus those of open buys; sells are never refused for it.
    max_orders_per_minute : int or None
        Orders sent within any 60 s.
    price_collar : Decimal or None
        Largest distance of a price from the book's mid, as a fraction of it.
    min_free_quote : Decimal or None
        Quote units that stay free whatever happens.
    max_unknown_orders : int
        Orders whose answer was lost, above which nothing new is sent.
    max_book_age_s : float or None
        Seconds since the book's last frame, above which it counts as stale.
    """

    max_order_notional: Decimal | None = None
    max_open_orders: int | None = 200
    max_position: Decimal | None = None
    max_orders_per_minute: int | None = 300
    price_collar: Decimal | None = Decimal("0.2")
    min_free_quote: Decimal | None = None
    max_unknown_orders: int = 3
    max_book_age_s: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            if isinstance(value, bool) or not Decimal(value).is_finite() or value < 0:
                raise ConfigError(f"{item.name} is {value}; give a limit of at least 0", item.name)


class RiskGuard:
    """Refuses orders that break a limit.

    A cancel never passes here: getting out is always allowed.
    """

    def __init__(
        self, limits: RiskLimits, market: "Market", ledger: "Ledger", orders: "OrderStore"
    ) -> None:
        self.limits = limits
        self._market = market
        self._ledger = ledger
        self._orders = orders
        self._sent_ns: deque[int] = deque()

    def note_sent(self, now_ns: int) -> None:
        """Count one order that left."""
        self._sent_ns.append(now_ns)

    def check(
        self, order: Priced, book: "OrderBook", now_ns: int, book_ns: int | None = None
    ) -> None:
        """Let an order pass, or say which limit it breaks.

        Parameters
        ----------
        order : Quote or NewOrder
            What is to be sent.
        book : OrderBook
            The market's live book.
        now_ns, book_ns : int
            Monotonic time now, and of the book's last frame when it is known.

        Raises
        ------
        nkfast.errors.RiskError
            ``code`` is one of BOOK_NOT_LIVE, BOOK_TOO_OLD, MARKET_PAUSED, OFF_GRID, BELOW_MINIMUM,
            MAX_ORDER_NOTIONAL, PRICE_COLLAR, MAX_UNKNOWN_ORDERS, MAX_OPEN_ORDERS, ORDER_RATE,
            SELF_CROSS, MAX_POSITION, INSUFFICIENT_BALANCE.
        """
        self._check_book(book, now_ns, book_ns)
        bid, ask = book.best_bid, book.best_ask
        price = order.price
        if price is None:  # of a market order the best one opposite counts
            best = ask if order.side == "buy" else bid
            if best is None:
                raise RiskError("BOOK_NOT_LIVE", "one side is empty", "both sides")
            price = self._market.ticks_to_price(best[0])
        ticks = self._check_market(order, price)
        if self.limits.price_collar is not None:
            if bid is None or ask is None:
                raise RiskError("PRICE_COLLAR", plain(price), "a mid; one side is empty")
            self._check_price(price, ticks, bid[0] + ask[0], self.limits.price_collar)
        self._check_counts(now_ns)
        self._check_own_book(order, price)
        self._check_funds(order, price)

    def _check_book(self, book: "OrderBook", now_ns: int, book_ns: int | None) -> None:
        if book.state != "live":
            raise RiskError("BOOK_NOT_LIVE", book.state, "live")
        limit = self.limits.max_book_age_s
        if limit is not None and book_ns is not None and now_ns - book_ns > limit * 1e9:
            raise RiskError("BOOK_TOO_OLD", f"{(now_ns - book_ns) / 1e9:.3f} s", f"{limit} s")

    def _check_market(self, order: Priced, price: Decimal) -> int:
        """Check what the market itself asks for; return the price in ticks."""
        market, quantity = self._market, order.quantity
        if not market.is_active or market.is_paused:
            raise RiskError("MARKET_PAUSED", market.symbol, "an active market")
        if market.pause_buys if order.side == "buy" else market.pause_sells:
            raise RiskError("MARKET_PAUSED", f"{order.side} on {market.symbol}", "both sides open")
        try:
            ticks = market.price_to_ticks(price)
            lots = market.quantity_to_lots(quantity)
        except FixedPointError as error:
            grid = f"tick {plain(market.tick_size)}, lot {plain(market.lot_size)}"
            raise RiskError("OFF_GRID", str(error), grid) from error
        if ticks <= 0 or lots <= 0:
            raise RiskError("OFF_GRID", f"{plain(quantity)} at {plain(price)}", "more than 0")
        if quantity < market.min_quantity:
            raise RiskError("BELOW_MINIMUM", plain(quantity), plain(market.min_quantity))
        notional = multiply(price, quantity)
        if notional < market.min_notional:
            raise RiskError("BELOW_MINIMUM", plain(notional), plain(market.min_notional))
        limit = self.limits.max_order_notional
        if limit is not None and notional > limit:
            raise RiskError("MAX_ORDER_NOTIONAL", plain(notional), plain(limit))
        return ticks

    def _check_price(
        self, price: Decimal, ticks: int, double_mid_ticks: int, collar: Decimal
    ) -> None:
        if abs(2 * ticks - double_mid_ticks) > multiply(collar, Decimal(double_mid_ticks)):
            mid = multiply(self._market.ticks_to_price(double_mid_ticks), _HALF)
            raise RiskError(
                "PRICE_COLLAR", plain(price), f"{plain(mid)} plus or minus {plain(collar)} of it"
            )

    def _check_counts(self, now_ns: int) -> None:
        limits = self.limits
        uncertain = self._orders.unknown_count
        if uncertain > limits.max_unknown_orders:
            raise RiskError("MAX_UNKNOWN_ORDERS", str(uncertain), str(limits.max_unknown_orders))
        count = self._orders.open_count + 1
        if limits.max_open_orders is not None and count > limits.max_open_orders:
            raise RiskError("MAX_OPEN_ORDERS", str(count), str(limits.max_open_orders))
        sent = self._sent_ns
        while sent and now_ns - sent[0] >= _MINUTE_NS:
            sent.popleft()
        rate = limits.max_orders_per_minute
        if rate is not None and len(sent) >= rate:
            raise RiskError("ORDER_RATE", f"{len(sent) + 1} in 60 s", f"{rate} in 60 s")

    def _check_own_book(self, order: Priced, price: Decimal) -> None:
        side, symbol = order.side, self._market.symbol
        for other in self._orders.open_orders:
            if other.side == side or other.price is None or other.facts.final is not None:
                continue
            if other.symbol != symbol:
                continue
            crosses = other.price <= price if order.side == "buy" else other.price >= price
            if crosses:
                raise RiskError(
                    "SELF_CROSS", f"{order.side} at {plain(price)}", f"own {plain(other.price)}"
                )

    def _check_funds(self, order: Priced, price: Decimal) -> None:
        ledger, limits, market = self._ledger, self.limits, self._market
        if limits.max_position is not None and order.side == "buy":
            position = add(ledger.total(market.base), order.quantity)
            for other in self._orders.open_orders:
                is_of_market = other.symbol == market.symbol
                if is_of_market and other.side == "buy" and other.facts.final is None:
                    position = add(position, other.remaining)
            if position > limits.max_position:
                raise RiskError("MAX_POSITION", plain(position), plain(limits.max_position))
        if not ledger.knows_holdings:
            return
        asset, needed = ledger.cost(order.side, price, order.quantity, market.symbol)
        available = ledger.available(asset)
        if asset == market.quote:
            available = subtract(available, limits.min_free_quote or ZERO)
        if needed > available:
            raise RiskError(
                "INSUFFICIENT_BALANCE", f"{plain(needed)} {asset}", f"{plain(available)} {asset}"
            )
