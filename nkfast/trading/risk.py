"""Our own limits: the one place that every order passes before anything leaves.

They are exact decimals, looked up where they are kept, and take tens of microseconds where nothing
is in a cache. So `RiskGuard.prepare` works out, while nothing is urgent, how far a limit order may
go without meeting one (`nkfast.core.headroom`); an order within that passes at once, as long as
nothing has changed since. Every other order meets the limits themselves, and only they refuse.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from nkfast.core.headroom import Headroom
from nkfast.errors import FixedPointError, RiskError
from nkfast.trading.daily_loss import DailyLoss
from nkfast.trading.exact import ONE, ZERO, add, divide_floor, multiply, plain, share, subtract
from nkfast.trading.limits import RiskLimits
from nkfast.venue.port import PublicTrade, Side

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market
    from nkfast.trading.account import AccountOrders, Crossed
    from nkfast.trading.day import Day
    from nkfast.trading.ledger import Ledger
    from nkfast.trading.orders import Order, OrderStore
    from nkfast.venue.clock import Clock

__all__ = ["Priced", "RiskGuard", "RiskLimits"]

_MINUTE_NS = 60_000_000_000
_NS_PER_S = 1_000_000_000
_HALF = Decimal("0.5")
#: Sides of markets whose headroom is kept ready: those that were last asked for.
_ROOMS_MAX = 8
_SIDES: tuple[Side, Side] = ("buy", "sell")


class Priced(Protocol):
    """What the guard needs to know of an order: an `Intent` and a `NewOrder` both say it."""

    @property
    def symbol(self) -> str: ...
    @property
    def side(self) -> Side: ...
    @property
    def price(self) -> Decimal | None: ...
    @property
    def quantity(self) -> Decimal: ...


_Sent = tuple[str, Side, Decimal, Decimal]


class RiskGuard:
    """Refuses orders that break a limit.

    A cancel never passes here: getting out is always allowed. An order that brings the position
    that our fills made nearer to zero passes the limits on exposure, which are MAX_POSITION and
    MAX_DAILY_NOTIONAL, and no other.

    Parameters
    ----------
    limits : RiskLimits
        What is allowed.
    books : mapping of str to OrderBook
        Of the markets that may be traded; on others every order is refused.
    ledger : Ledger
        What is owned, and what our fills made.
    orders : OrderStore
        The instance's orders.
    clock : Clock
        Tells how old a book is, and which minute it is.
    day : Day
        What was done today.
    account : AccountOrders
        What must not be traded with.

    Attributes
    ----------
    loss : DailyLoss
        The one limit that no order breaks but the market: it is compared before each decision.
    """

    def __init__(
        self,
        limits: RiskLimits,
        *,
        books: Mapping[str, "OrderBook"],
        ledger: "Ledger",
        orders: "OrderStore",
        clock: "Clock",
        day: "Day",
        account: "AccountOrders",
    ) -> None:
        self.limits = limits
        self._books = books
        self._ledger = ledger
        self._orders = orders
        self._clock = clock
        self._day = day
        self._account = account
        self._rules: dict[str, Market | None] = {symbol: b.market for symbol, b in books.items()}
        self._last_trades: dict[str, PublicTrade] = {}
        self._sent: deque[tuple[int, _Sent]] = deque()
        self._repeats: Counter[_Sent] = Counter()
        self._collar = _ratio(limits.price_collar)
        self.loss = DailyLoss(limits.max_daily_loss, books=books, ledger=ledger, day=day)
        self._changes = 0  # of what is kept here and bounds an order
        self._rooms: dict[tuple[str, Side], Headroom | None] = {}

    def recall(self, orders: Iterable["Order"]) -> None:
        """Count what earlier processes sent within the last minute: a restart resets no limit.

        Parameters
        ----------
        orders : iterable of Order
            As the journal holds them, oldest first.
        """
        clock = self._clock
        now_ns, boot_ns, unix_ms = clock.monotonic_ns(), clock.boot_ns(), clock.time_ns() // 10**6
        for order in orders:
            if order.sent_boot and order.sent_boot == clock.boot_id:
                age_ns = boot_ns - order.sent_ns
            else:
                age_ns = (unix_ms - order.sent_ms) * 10**6
            if age_ns < _MINUTE_NS:  # one of the future counts as well: the clock was set back
                price = order.price if order.price is not None else ZERO
                sent = (order.symbol, order.side, price, order.quantity)
                self._sent.append((now_ns - max(age_ns, 0), sent))
                self._repeats[sent] += 1
        self._changes += 1

    def price_of(self, order: Priced) -> Decimal:
        """Return the price of an order; of a market order the last that it takes on the book."""
        if order.price is not None:
            return order.price
        return _last_price(self._books[order.symbol], order)

    def note_rules(self, symbol: str, market: "Market | None") -> None:
        """Judge by a market's rules as they are now; None: it is not traded there any more."""
        self._rules[symbol] = market
        self._changes += 1

    def note_trade(self, trade: PublicTrade) -> None:
        """Take note of a trade of anybody; the newest one of a market bounds our prices."""
        last = self._last_trades.get(trade.symbol)
        if last is None or trade.time_ms >= last.time_ms:
            self._last_trades[trade.symbol] = trade
            for side in _SIDES:
                room = self._rooms.get((trade.symbol, side))
                if room is not None:
                    room.note_trade(trade.price)

    def note_sent(self, order: Priced) -> None:
        """Count one order that leaves."""
        self._changes += 1
        self._day.roll()
        book = self._books[order.symbol]
        price = self.price_of(order)
        sent = (order.symbol, order.side, price, order.quantity)
        self._sent.append((self._clock.monotonic_ns(), sent))
        self._repeats[sent] += 1
        self._day.count(book.market.quote, multiply(price, order.quantity))

    def check(self, order: Priced) -> None:
        """Let an order pass, or say which limit it breaks.

        A market order is judged by the price of the last level that it would take.

        Raises
        ------
        nkfast.errors.RiskError
            ``code`` is one of NOT_WATCHED, BOOK_NOT_LIVE, BOOK_TOO_OLD, BOOK_CROSSED,
            MARKET_PAUSED, ORDER_TYPE, OFF_GRID, BELOW_MINIMUM, MAX_ORDER_NOTIONAL, PRICE_COLLAR,
            MAX_UNKNOWN_ORDERS, MAX_OPEN_ORDERS, ORDER_RATE, MAX_REPEATS, MAX_DAILY_ORDERS,
            MAX_DAILY_NOTIONAL, SELF_CROSS, MAX_POSITION, INSUFFICIENT_BALANCE.
        """
        symbol, side, price = order.symbol, order.side, order.price
        room = self._rooms.get((symbol, side))
        if (
            room is not None
            and price is not None
            and room.version == self._version(symbol)
            and room.admits(price, order.quantity, self._clock.monotonic_ns())
            and self._account.crossed_on_board(symbol, side, price, self._orders) is None
        ):
            return
        if room is None and (symbol, side) not in self._rooms:
            if len(self._rooms) == _ROOMS_MAX:
                del self._rooms[next(iter(self._rooms))]
            self._rooms[symbol, side] = None
        self._check_limits(order)

    def prepare(self) -> None:
        """Work out, where that is not known, how far an order may go that meets no limit."""
        for (symbol, side), room in self._rooms.items():
            version = self._version(symbol)
            if room is None or room.version != version:
                self._rooms[symbol, side] = self._room(symbol, side, version)
        self.loss.prepare()

    def _version(self, symbol: str) -> int:
        # Each of them only grows, so that none of them can change without their sum.
        return (
            self._orders.version
            + self._ledger.version
            + self._account.version(symbol)
            + self._changes
        )

    def _room(self, symbol: str, side: Side, version: int) -> Headroom | None:
        """Return bounds within which a limit order breaks no limit; None where one may be broken.

        What frees an order from a limit, as reducing a position does, and what grows with time
        alone, is left to the limits themselves.
        """
        limits, ledger, is_buy = self.limits, self._ledger, side == "buy"
        market = self._rules[symbol]
        if market is None or not self._has_room_for_one(market, is_buy=is_buy):
            return None
        quantities: list[Decimal] = []  # what the order must not exceed, in base
        notionals: list[Decimal] = []  # and in quote
        if limits.max_order_notional is not None:
            notionals.append(limits.max_order_notional)
        if limits.max_daily_notional is not None:
            spent = self._day.notional(market.quote)
            notionals.append(subtract(limits.max_daily_notional, spent))
        asset = market.base if is_buy else market.quote
        most = limits.position_of(asset, is_base=is_buy)
        if most is not None:
            left = subtract(most, self._expected_position(asset))
            (quantities if is_buy else notionals).append(left)
        if ledger.knows_holdings:
            if is_buy:
                free = subtract(ledger.available(market.quote), limits.min_free_quote or ZERO)
                _, each = ledger.cost("buy", ONE, ONE, symbol)
                notionals.append(share(free, ONE, each))
            else:
                quantities.append(ledger.available(market.base))
        if min((*quantities, *notionals), default=ZERO) < 0:
            return None
        min_ticks = max_ticks = None
        touch = self._account.touch(symbol, side)
        if touch is not None:
            ticks = divide_floor(touch, market.tick_size)
            if not is_buy:
                min_ticks = ticks + 1
            elif multiply(market.tick_size, Decimal(ticks)) < touch:
                max_ticks = ticks
            else:
                max_ticks = ticks - 1
        unit = multiply(market.tick_size, market.lot_size)
        last = self._last_trades.get(symbol) if self._collar is not None else None
        age_max_s = limits.max_book_age_s
        try:
            return Headroom(
                self._books[symbol],
                market,
                version,
                min_ticks=min_ticks,
                max_ticks=max_ticks,
                max_lots=divide_floor(min(quantities), market.lot_size) if quantities else None,
                max_units=divide_floor(min(notionals), unit) if notionals else None,
                collar=self._collar,
                last_trade=None if last is None else last.price,
                age_max_ns=None if age_max_s is None else int(age_max_s * _NS_PER_S) - 1,
            )
        except ValueError:  # the rules have another grid than the book
            return None

    def _has_room_for_one(self, market: "Market", *, is_buy: bool) -> bool:
        """Whether no limit that counts orders, and no flag of the market, refuses every order."""
        limits, orders = self.limits, self._orders
        self._forget_sent(self._clock.monotonic_ns() - _MINUTE_NS)
        return (
            market.is_active
            and not market.is_paused
            and not (market.pause_buys if is_buy else market.pause_sells)
            and (limits.price_collar is None or self._collar is not None)
            and limits.max_repeats_per_minute is None
            and orders.unknown_count <= limits.max_unknown_orders
            and (limits.max_open_orders is None or orders.open_count < limits.max_open_orders)
            and (
                limits.max_orders_per_minute is None
                or len(self._sent) < limits.max_orders_per_minute
            )
            and (limits.max_daily_orders is None or self._day.order_count < limits.max_daily_orders)
        )

    def _check_limits(self, order: Priced) -> None:
        book = self._books.get(order.symbol)
        if book is None:
            raise RiskError("NOT_WATCHED", order.symbol, ", ".join(self._books))
        self._check_book(book)
        market = self._rules[order.symbol]
        if market is None:
            raise RiskError("MARKET_PAUSED", f"{order.symbol} is not listed", "an active market")
        price = order.price if order.price is not None else _last_price(book, order)
        ticks = self._check_market(market, order, price)
        if self.limits.price_collar is not None:
            self._check_price(book, price, ticks, self.limits.price_collar)
        self._check_counts(order, price)
        crossed = self._account.crossed_by(order.symbol, order.side, price, self._orders)
        if crossed is not None:
            raise _self_cross(order, price, crossed)
        self._check_exposure(market, order, price)
        self._check_funds(market, order, price)

    def claim(self, order: Priced) -> None:
        """Let the account's other instances see an order that is about to leave, and count it.

        `check` let it pass. It counts as open until the store of orders tells of its end.

        Raises
        ------
        nkfast.errors.RiskError
            Another process was quicker: code SELF_CROSS, or ACCOUNT_RATE where all processes
            together have sent as many orders as they may.
        """
        account, orders = self._account, self._orders
        price = self.price_of(order)
        crossed = account.claim(order.symbol, order.side, price, orders)
        if crossed is not None:
            account.withdraw(order.symbol, order.side, orders)
            raise _self_cross(order, price, crossed)
        if account.budget is not None:
            wait_s = account.budget.take_order()
            if wait_s:
                account.withdraw(order.symbol, order.side, orders)
                raise RiskError(
                    "ACCOUNT_RATE",
                    "one more order",
                    f"what the account may send; there is room in {wait_s:.3f} s",
                )

    @property
    def wait_ns(self) -> int:
        """Nanoseconds until the limit per minute has room for one more order; 0: it has."""
        rate = self.limits.max_orders_per_minute
        now_ns = self._clock.monotonic_ns()
        self._forget_sent(now_ns - _MINUTE_NS)
        if rate is None or len(self._sent) < rate:
            return 0
        # One has to leave the minute for each that is over the limit, and one more.
        return self._sent[len(self._sent) - rate][0] + _MINUTE_NS - now_ns if rate else _MINUTE_NS

    def check_rests(self, order: Priced) -> None:
        """Let an order pass that would not trade at once.

        Raises
        ------
        nkfast.errors.RiskError
            Code WOULD_TAKE.
        """
        if order.price is None:
            raise RiskError("WOULD_TAKE", f"{order.side} at the market", "a price")
        book = self._books[order.symbol]
        best = book.best_ask if order.side == "buy" else book.best_bid
        if best is None:
            return
        touch = book.market.ticks_to_price(best[0])
        if order.price >= touch if order.side == "buy" else order.price <= touch:
            raise RiskError(
                "WOULD_TAKE", f"{order.side} at {plain(order.price)}", f"best {plain(touch)}"
            )

    def _check_book(self, book: "OrderBook") -> None:
        if book.state != "live":
            raise RiskError("BOOK_NOT_LIVE", book.state, "live")
        limit = self.limits.max_book_age_s
        if limit is not None and book.received_ns:
            age_s = (self._clock.monotonic_ns() - book.received_ns) / 1e9
            if age_s > limit:
                raise RiskError("BOOK_TOO_OLD", f"{age_s:.3f} s", f"{limit} s")
        bid, ask = book.best_bid, book.best_ask
        if bid is not None and ask is not None and bid[0] >= ask[0]:
            raise RiskError("BOOK_CROSSED", f"bid {bid[0]} ticks", f"below the ask of {ask[0]}")

    def _check_market(self, market: "Market", order: Priced, price: Decimal) -> int:
        """Check what the market itself asks for; return the price in ticks."""
        quantity = order.quantity
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

    def _check_price(self, book: "OrderBook", price: Decimal, ticks: int, collar: Decimal) -> None:
        bid, ask = book.best_bid, book.best_ask
        trade = self._last_trades.get(book.market.symbol)
        if bid is not None and ask is not None:
            double_mid_ticks = bid[0] + ask[0]
            if abs(2 * ticks - double_mid_ticks) > multiply(collar, Decimal(double_mid_ticks)):
                mid = multiply(book.market.ticks_to_price(double_mid_ticks), _HALF)
                raise RiskError(
                    "PRICE_COLLAR",
                    plain(price),
                    f"mid {plain(mid)} plus or minus {plain(collar)} of it",
                )
        elif trade is None:  # where one side is empty the last trade has to do
            raise RiskError("PRICE_COLLAR", plain(price), "a mid or a last trade; there is neither")
        if trade is None:
            return
        if subtract(price, trade.price).copy_abs() > multiply(collar, trade.price):
            raise RiskError(
                "PRICE_COLLAR",
                plain(price),
                f"last trade {plain(trade.price)} plus or minus {plain(collar)} of it",
            )

    def _check_counts(self, order: Priced, price: Decimal) -> None:
        limits, day = self.limits, self._day
        uncertain = self._orders.unknown_count
        if uncertain > limits.max_unknown_orders:
            raise RiskError("MAX_UNKNOWN_ORDERS", str(uncertain), str(limits.max_unknown_orders))
        count = self._orders.open_count + 1
        if limits.max_open_orders is not None and count > limits.max_open_orders:
            raise RiskError("MAX_OPEN_ORDERS", str(count), str(limits.max_open_orders))
        self._forget_sent(self._clock.monotonic_ns() - _MINUTE_NS)
        rate = limits.max_orders_per_minute
        if rate is not None and len(self._sent) >= rate:
            room_s = plain(Decimal(self.wait_ns).scaleb(-9))
            raise RiskError(
                "ORDER_RATE",
                f"{len(self._sent) + 1} in 60 s",
                f"{rate} in 60 s; there is room in {room_s} s",
            )
        most = limits.max_repeats_per_minute
        if most is not None:
            repeats = self._repeats[order.symbol, order.side, price, order.quantity] + 1
            if repeats > most:
                raise RiskError("MAX_REPEATS", f"{repeats} in 60 s", f"{most} in 60 s")
        day.roll()
        if limits.max_daily_orders is not None and day.order_count >= limits.max_daily_orders:
            raise RiskError(
                "MAX_DAILY_ORDERS", str(day.order_count + 1), str(limits.max_daily_orders)
            )

    def _forget_sent(self, until_ns: int) -> None:
        sent, repeats = self._sent, self._repeats
        while sent and sent[0][0] <= until_ns:
            _, old = sent.popleft()
            repeats[old] -= 1
            if not repeats[old]:
                del repeats[old]

    def _check_exposure(self, market: "Market", order: Priced, price: Decimal) -> None:
        limits, is_buy = self.limits, order.side == "buy"
        asset = market.base if is_buy else market.quote
        most = limits.position_of(asset, is_base=is_buy)
        spendable = limits.max_daily_notional
        if (most is None and spendable is None) or self._reduces(order):
            return
        if most is not None:
            position = self._expected_position(asset)
            position = add(position, order.quantity if is_buy else multiply(price, order.quantity))
            if position > most:
                raise RiskError(
                    "MAX_POSITION", f"{plain(position)} {asset}", f"{plain(most)} {asset}"
                )
        if spendable is not None:
            notional = add(self._day.notional(market.quote), multiply(price, order.quantity))
            if notional > spendable:
                raise RiskError(
                    "MAX_DAILY_NOTIONAL",
                    f"{plain(notional)} {market.quote}",
                    f"{plain(spendable)} {market.quote}",
                )

    def _expected_position(self, asset: str) -> Decimal:
        """Return what may be owned of an asset once everything that rests has traded."""
        position = self._ledger.most(asset)
        for other, quantity in self._coming():
            base, _, quote = other.symbol.partition("/")
            if other.side == "buy" and base == asset:
                position = add(position, quantity)
            elif other.side == "sell" and quote == asset and other.price is not None:
                position = add(position, multiply(other.price, quantity))
        return position

    def _coming(self) -> Iterator[tuple["Order", Decimal]]:
        """Yield every open order with what the ledger may yet hear of it."""
        for order in self._orders.open_orders:
            # What is known to be executed and was told by no trade yet moves the ledger later.
            quantity = subtract(order.executed, order.filled)
            if order.facts.final is None:
                quantity = add(quantity, order.remaining)
            yield order, quantity

    def _reduces(self, order: Priced) -> bool:
        """Whether an order, with those that rest, only brings our own position nearer to zero."""
        position = self._ledger.profits[order.symbol].position
        left = position if order.side == "sell" else position.copy_negate()
        if left <= 0:
            return False
        for other, quantity in self._coming():
            if other.symbol == order.symbol and other.side == order.side:
                left = subtract(left, quantity)
        return order.quantity <= left

    def _check_funds(self, market: "Market", order: Priced, price: Decimal) -> None:
        ledger = self._ledger
        if not ledger.knows_holdings:
            return
        asset, needed = ledger.cost(order.side, price, order.quantity, order.symbol)
        available = ledger.available(asset)
        if asset == market.quote:
            available = subtract(available, self.limits.min_free_quote or ZERO)
        if needed > available:
            raise RiskError(
                "INSUFFICIENT_BALANCE", f"{plain(needed)} {asset}", f"{plain(available)} {asset}"
            )


def _self_cross(order: Priced, price: Decimal, crossed: "Crossed") -> RiskError:
    return RiskError(
        "SELF_CROSS",
        f"{order.side} at {plain(price)}",
        f"{crossed.owner} {plain(crossed.price)}",
    )


def _ratio(fraction: Decimal | None) -> tuple[int, int] | None:
    """Return a fraction in whole numbers of at most 64 bits; None where it has none such."""
    if fraction is None:
        return None
    ratio = Decimal(fraction).as_integer_ratio()
    return ratio if max(ratio) < 1 << 64 else None


def _last_price(book: "OrderBook", order: Priced) -> Decimal:
    """Return the price that counts for a market order: of the last level that it takes."""
    market = book.market
    if not market.allow_market_orders:
        raise RiskError("ORDER_TYPE", "market", f"limit orders on {market.symbol}")
    best = book.best_ask if order.side == "buy" else book.best_bid
    if best is None:
        raise RiskError("BOOK_NOT_LIVE", "one side is empty", "both sides")
    try:
        lots = market.quantity_to_lots(order.quantity)
    except FixedPointError:
        lots = 0  # refused as OFF_GRID in a moment
    ticks = book.cost_to_fill(order.side, lots)[2] if lots > 0 else best[0]
    return market.ticks_to_price(ticks)
