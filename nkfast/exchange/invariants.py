"""What must be true of an exchange after every command, as checks that say what is not."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from nkfast.exchange.accounts import Account
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.money import text
from nkfast.exchange.orders import AccountTrade, Order, OrderStatus, Report, Side, Trade

__all__ = ["BookWitness", "FillWitness", "violations"]


def violations(exchange: Exchange, *, finished_max: int | None = None) -> list[str]:
    """Return a sentence for everything that contradicts itself; an empty list is right.

    Checked are: money is conserved to the last digit, no balance is negative, what is held is
    what the open orders bind, quantities of every order add up, no book is crossed, and the
    levels, the orders and the matching engine of every market agree.

    Parameters
    ----------
    finished_max : int or None
        Only so many of the newest finished orders of each account are looked at; None: all.
    """
    found = [*_money(exchange)]
    for account in exchange.accounts:
        found += _account(account, finished_max)
    for listing in exchange.listings.values():
        found += _market(listing)
    return found


def _money(exchange: Exchange) -> Iterator[str]:
    owned = dict(exchange.fees)
    for account in exchange.accounts:
        for asset, holding in account.holdings.items():
            owned[asset] = owned.get(asset, 0) + holding.total
    for asset in owned.keys() | exchange.deposited.keys():
        difference = owned.get(asset, 0) - exchange.deposited.get(asset, 0)
        if difference:
            yield f"{text(difference)} {asset} came from nowhere"


def _account(account: Account, finished_max: int | None) -> Iterator[str]:
    bound: dict[str, int] = {}
    for order in account.open_orders.values():
        if order.remaining_lots <= 0:
            yield f"{account.name}: order {order.id} is among the open ones and is not open"
        if order.held != order.hold_for(order.remaining_lots):
            yield f"{account.name}: order {order.id} holds {text(order.held)}"
        bound[order.asset] = bound.get(order.asset, 0) + order.held
        if not _adds_up(order):
            yield from _order(order)
    for order in islice(reversed(account.finished.values()), finished_max):
        if order.remaining_lots or order.held:
            yield f"{account.name}: order {order.id} is finished, and open or holding"
        if not _adds_up(order):
            yield from _order(order)
    for asset, holding in account.holdings.items():
        if holding.available < 0 or holding.held < 0 or holding.pending < 0:
            yield f"{account.name}: {asset} is negative: {holding}"
        if holding.held != bound.get(asset, 0):
            yield (
                f"{account.name}: {asset} held is {text(holding.held)}, "
                f"orders bind {text(bound.get(asset, 0))}"
            )


def _adds_up(order: Order) -> bool:
    executed, remaining, cancelled = (
        order.executed_lots,
        order.remaining_lots,
        order.cancelled_lots,
    )
    return (
        executed + remaining + cancelled == order.lots
        and executed >= 0
        and remaining >= 0
        and cancelled >= 0
        and order.status is _expected_status(order)
    )


def _expected_status(order: Order) -> OrderStatus:
    if order.cancelled_lots:
        return OrderStatus.CANCELLED
    if not order.executed_lots:
        return OrderStatus.NEW
    return OrderStatus.PARTLY_FILLED if order.remaining_lots > 0 else OrderStatus.FILLED


def _order(order: Order) -> Iterator[str]:
    parts = (order.executed_lots, order.remaining_lots, order.cancelled_lots)
    if sum(parts) != order.lots or min(parts) < 0:
        yield f"order {order.id}: {parts} do not add up to {order.lots}"
    expected = _expected_status(order)
    if order.status is not expected:
        yield f"order {order.id} is {order.status} and should be {expected}"


def _market(listing: Listing) -> Iterator[str]:
    name, engine = listing.symbol, listing.engine
    bid, ask = engine.best_bid, engine.best_ask
    if bid is not None and ask is not None and bid[0] >= ask[0]:
        yield f"{name}: the book is crossed, bid {bid} ask {ask}"
    levels: dict[Side, dict[int, int]] = {"buy": {}, "sell": {}}
    for order in listing.orders.values():
        assert order.ticks is not None
        side = levels[order.side]
        side[order.ticks] = side.get(order.ticks, 0) + order.remaining_lots
        if engine.remaining(order.number) != order.remaining_lots:
            yield f"{name}: the engine has {engine.remaining(order.number)} left of {order.number}"
    if engine.order_count != len(listing.orders):
        yield f"{name}: the engine has {engine.order_count} orders, not {len(listing.orders)}"
    if levels != listing.levels:
        yield f"{name}: levels are {listing.levels}, orders make {levels}"
    bids, asks = listing.depth()
    expected_bids = sorted(([*row] for row in levels["buy"].items()), reverse=True)
    expected_asks = sorted([*row] for row in levels["sell"].items())
    if bids != expected_bids or asks != expected_asks:
        yield f"{name}: depth is {bids} {asks}, orders make {expected_bids} {expected_asks}"


class BookWitness:
    """A listener that rebuilds every book from what it is told, and watches the sequences.

    Attributes
    ----------
    complaints : list of str
        Every gap, every level that was told twice as the same, every trade without a book change.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.complaints: list[str] = []
        self._books: dict[str, dict[Side, dict[int, int]]] = {}
        self._sequences: dict[str, tuple[int, int, int]] = {}
        for listing in exchange.listings.values():
            self._books[listing.symbol] = {
                "buy": dict(listing.levels["buy"]),
                "sell": dict(listing.levels["sell"]),
            }
            counts = listing.sequences
            self._sequences[listing.symbol] = (counts.book, counts.trades, counts.ticker)
        exchange.listeners.append(self)

    def differences(self) -> list[str]:
        """Return every complaint, and every book that is not what was told."""
        return self.complaints + [
            f"{listing.symbol}: told {self._books[listing.symbol]}, is {listing.levels}"
            for listing in self._exchange.listings.values()
            if listing.levels != self._books[listing.symbol]
        ]

    def on_report(self, report: Report) -> None:
        """Check that a report fits its order."""
        if report.executed_lots > report.order.executed_lots:
            self.complaints.append(f"order {report.order.id}: reported more than was executed")

    def on_book(
        self, listing: Listing, changes: Sequence[tuple[Side, int, int]], now_ms: int
    ) -> None:
        """Apply the changes."""
        book, trades, ticker = self._sequences[listing.symbol]
        if listing.sequences.book != book + 1:
            self.complaints.append(f"{listing.symbol}: book {book} -> {listing.sequences.book}")
        self._sequences[listing.symbol] = (listing.sequences.book, trades, ticker)
        for side, ticks, lots in changes:
            levels = self._books[listing.symbol][side]
            if lots:
                levels[ticks] = lots
            elif levels.pop(ticks, None) is None:
                self.complaints.append(f"{listing.symbol}: {side} {ticks} went and never was")

    def on_trades(self, listing: Listing, trades: Sequence[Trade], now_ms: int) -> None:
        """Check the sequence."""
        book, count, ticker = self._sequences[listing.symbol]
        if listing.sequences.trades != count + 1 or not trades:
            self.complaints.append(f"{listing.symbol}: trades {count}")
        self._sequences[listing.symbol] = (book, listing.sequences.trades, ticker)

    def on_ticker(self, listing: Listing, now_ms: int) -> None:
        """Check the sequence."""
        book, trades, ticker = self._sequences[listing.symbol]
        if listing.sequences.ticker != ticker + 1:
            self.complaints.append(f"{listing.symbol}: ticker {ticker}")
        self._sequences[listing.symbol] = (book, trades, listing.sequences.ticker)

    def on_balances(self, account: Account, assets: Iterable[str], now_ms: int) -> None:
        """Check that no balance is negative."""
        for asset in assets:
            holding = account.holding(asset)
            if min(holding.available, holding.held) < 0:
                self.complaints.append(f"{account.name}: {asset} {holding}")


class FillWitness:
    """A listener that adds up every fill that is reported, beside what the accounts say.

    It sees the accounts that keep a history: of the others nothing is reported.

    Attributes
    ----------
    complaints : list of str
        Every report that does not follow from the one before, and every fill that the public
        trades do not show.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.complaints: list[str] = []
        #: What each account owns beyond its deposits, by asset.
        self._gained: dict[Account, dict[str, int]] = {}
        for account in exchange.accounts:
            if account.keeps_history:
                gained = self._gained[account] = {}
                for asset, holding in account.holdings.items():
                    gained[asset] = holding.total - account.deposited.get(asset, 0)
        self._executed = {
            order.id: order.executed_lots
            for account in self._gained
            for order in account.open_orders.values()
        }
        #: Fills since their rows were looked at, and those whose public trade is yet to come.
        self._fresh: dict[Account, list[AccountTrade]] = {}
        self._unshown: list[AccountTrade] = []
        exchange.listeners.append(self)

    def differences(self) -> list[str]:
        """Return every complaint, and where rows or balances are not what the fills make them."""
        found = self.complaints + [
            f"fill {fill.trade.id} of order {fill.order.id} is no public trade"
            for fill in self._unshown
        ]
        for account in self._exchange.accounts:
            if account.keeps_history:
                found += self._rows(account)
                found += self._balances(account)
        return found

    def _rows(self, account: Account) -> Iterator[str]:
        expected = self._fresh.pop(account, [])[-account.history_max :]
        rows = list(islice(reversed(account.trades), len(expected)))[::-1]
        if rows != expected:
            yield f"{account.name}: the trades end in {rows}, reported were {expected}"

    def _balances(self, account: Account) -> Iterator[str]:
        gained = self._gained.get(account, {})
        for asset, holding in account.holdings.items():
            expected = account.deposited.get(asset, 0) + gained.get(asset, 0)
            if holding.total != expected:
                yield (
                    f"{account.name}: {asset} is {text(holding.total)}, "
                    f"deposits and fills make {text(expected)}"
                )

    def on_report(self, report: Report) -> None:
        """Add up a fill, and compare what was reported as executed."""
        order, fill = report.order, report.fill
        lots = self._executed.pop(order.id, 0)
        if fill is not None:
            lots += fill.trade.lots
            self._add(fill)
        if report.executed_lots != lots:
            self.complaints.append(
                f"order {order.id}: reported {report.executed_lots} executed, fills make {lots}"
            )
        if report.status not in (OrderStatus.FILLED, OrderStatus.CANCELLED):
            self._executed[order.id] = lots

    def _add(self, fill: AccountTrade) -> None:
        trade, order = fill.trade, fill.order
        listing = trade.listing
        sign = 1 if order.side == "buy" else -1
        gained = self._gained.setdefault(order.account, {})
        for asset, amount in (
            (listing.base, sign * trade.lots * listing.lot_atoms),
            (listing.quote, -sign * listing.notional(trade.ticks, trade.lots)),
            (listing.quote, -fill.fee),
        ):
            gained[asset] = gained.get(asset, 0) + amount
        self._fresh.setdefault(order.account, []).append(fill)
        self._unshown.append(fill)

    def on_book(
        self, listing: Listing, changes: Sequence[tuple[Side, int, int]], now_ms: int
    ) -> None:
        """Books are not its concern."""

    def on_trades(self, listing: Listing, trades: Sequence[Trade], now_ms: int) -> None:
        """Strike out the fills that the public sees now."""
        shown = {trade.id for trade in trades}
        self._unshown = [fill for fill in self._unshown if fill.trade.id not in shown]

    def on_ticker(self, listing: Listing, now_ms: int) -> None:
        """Prices are not its concern."""

    def on_balances(self, account: Account, assets: Iterable[str], now_ms: int) -> None:
        """Balances are compared where everything is at rest, in `differences`."""
