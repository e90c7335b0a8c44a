"""The exchange itself: accounts, books, trades and the rules between them.

It has no socket and no clock. Whoever calls hands in the time; what happened is told to the
listeners after each command, when everything is consistent again.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

from nkfast.core.matching import Match
from nkfast.exchange.accounts import HISTORY_MAX, Account
from nkfast.exchange.markets import Listing, ObjectIds
from nkfast.exchange.money import ATOM_DECIMALS, atoms
from nkfast.exchange.orders import (
    AccountTrade,
    Order,
    OrderStatus,
    OrderType,
    Report,
    Side,
    Trade,
)
from nkfast.exchange.rules import (
    OrderForm,
    check_market,
    check_size,
    read_amount,
    read_price,
    read_quantity,
    refusal,
)

__all__ = ["Exchange", "Listener", "Uniqueness"]

#: How long an account's client order id may not be used again. What the real exchange does is
#: not known; "always" is what its documentation suggests.
Uniqueness = Literal["always", "active", "never"]

#: What counts as a US dollar where values are shown.
USD_ASSETS: Final = ("USDT", "USD", "USDC")


class Listener(Protocol):
    """Who wants to know what happened. Called after a command, in the order of this class."""

    def on_report(self, report: Report) -> None:
        """Tell news of one order of an account that keeps a history."""

    def on_book(
        self, listing: Listing, changes: Sequence[tuple[Side, int, int]], now_ms: int
    ) -> None:
        """Tell levels that changed, as (side, ticks, lots now); 0 lots: the level is gone."""

    def on_trades(self, listing: Listing, trades: Sequence[Trade], now_ms: int) -> None:
        """Tell the trades of one command, in their order."""

    def on_ticker(self, listing: Listing, now_ms: int) -> None:
        """Say that the last price, the best bid or the best ask changed."""

    def on_balances(self, account: Account, assets: Iterable[str], now_ms: int) -> None:
        """Say which holdings of an account that keeps a history changed."""


class _Command:
    """Collects what one command changed."""

    __slots__ = ("balances", "levels", "listing", "now_ms", "reports", "top", "trades")

    def __init__(self, listing: Listing, now_ms: int) -> None:
        self.listing = listing
        self.now_ms = now_ms
        self.reports: list[Report] = []
        self.levels: dict[tuple[Side, int], None] = {}
        self.trades: list[Trade] = []
        self.balances: dict[Account, dict[str, None]] = {}
        self.top = (listing.engine.best_bid, listing.engine.best_ask)

    def report(
        self,
        order: Order,
        kind: Literal["new", "trade", "cancelled"],
        fill: AccountTrade | None = None,
    ) -> None:
        if order.account.keeps_history:
            self.reports.append(
                Report(order, kind, order.status, order.executed_lots, self.now_ms, fill)
            )

    def touch(self, account: Account, *assets: str) -> None:
        if account.keeps_history:
            touched = self.balances.setdefault(account, {})
            for asset in assets:
                touched[asset] = None


class Exchange:
    """Markets, accounts, orders and trades of one exchange.

    Parameters
    ----------
    rows : Iterable of Mapping
        The markets, in the shape of the reply of ``market/getlist``.
    seed : int
        Of the ids that the exchange makes.
    now_ms : int
        Unix milliseconds of the listing.
    self_trade : {"allow", "cancel_newest"}
        What happens when an account meets itself.
    uniqueness : {"always", "active", "never"}
        How long a client order id stays taken.
    market_buys_in : {"base", "quote"}
        What the quantity of a market buy counts.
    fee_decimals : int or None
        None charges fees as they are; otherwise they are cut off after so many places.
    history_max : int
        Finished orders, and trades, that each account remembers.
    pools : Iterable of str
        Symbols of liquidity pools; they are listed and do not trade.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        seed: int = 0,
        now_ms: int = 0,
        self_trade: Literal["allow", "cancel_newest"] = "allow",
        uniqueness: Uniqueness = "always",
        market_buys_in: Literal["base", "quote"] = "base",
        fee_decimals: int | None = None,
        history_max: int = HISTORY_MAX,
        pools: Iterable[str] = (),
    ) -> None:
        self._generator = random.Random(seed)
        self._ids = ObjectIds(self._generator)
        self._order_count = 0
        self.created_ms = now_ms
        self._uniqueness = uniqueness
        self._market_buys_in = market_buys_in
        self._history_max = history_max
        self._fee_grain = 1 if fee_decimals is None else 10 ** (ATOM_DECIMALS - fee_decimals)
        self.listings: dict[str, Listing] = {}
        for row in rows:
            listing = Listing(row, self._ids, now_ms, self_trade)
            self.listings[listing.symbol] = listing
        self.listings_by_id = {listing.id: listing for listing in self.listings.values()}
        #: Every asset of every market, with its id.
        self.assets: dict[str, str] = {}
        for listing in self.listings.values():
            for asset in (listing.base, listing.quote):
                if asset not in self.assets:
                    self.assets[asset] = self._ids.next(now_ms)
        #: Symbols of the pools, with their ids.
        self.pools = {symbol: self._ids.next(now_ms) for symbol in pools}
        self.accounts: list[Account] = []
        self._accounts_by_name: dict[str, Account] = {}
        #: Atoms by asset: taken from outside, and kept by the exchange.
        self.deposited: dict[str, int] = {}
        self.fees: dict[str, int] = {}
        self.listeners: list[Listener] = []

    # Accounts.

    def open_account(
        self,
        name: str,
        balances: Mapping[str, Decimal | str | int],
        *,
        keeps_history: bool = True,
    ) -> Account:
        """Open an account with money in it.

        Parameters
        ----------
        keeps_history : bool
            False for the many whom nobody will ask about: no reports, no finished orders.
        """
        account = Account(len(self.accounts) + 1, name, keeps_history, self._history_max)
        self.accounts.append(account)
        self._accounts_by_name.setdefault(name, account)
        for asset, amount in balances.items():
            self.deposit(account, asset, atoms(amount))
        return account

    def account(self, name: str) -> Account:
        """Return the account of a name, the oldest one where there are several."""
        return self._accounts_by_name[name]

    def deposit(self, account: Account, asset: str, amount: int, now_ms: int = 0) -> None:
        """Credit money from outside, in atoms."""
        account.deposit(asset, amount)
        self.deposited[asset] = self.deposited.get(asset, 0) + amount
        if account.keeps_history:
            for listener in self.listeners:
                listener.on_balances(account, (asset,), now_ms)

    # Markets.

    def listing(self, symbol: str) -> Listing:
        """Return the market of a symbol, ``BASE/QUOTE`` or ``BASE_QUOTE``, in any case.

        Raises
        ------
        SymbolNotFoundError
            There is none; also for hyphens, which the exchange does not take.
        """
        # Mining pools write BASE_btc.
        found = self.listings.get(symbol) or self.listings.get(symbol.replace("_", "/", 1).upper())
        if found is None:
            raise refusal(2001, "Symbol not found")
        return found

    def usd_value(self, asset: str) -> float:
        """Return what one of an asset is worth in US dollars by its last trade; 0: unknown."""
        if asset in USD_ASSETS:
            return 1.0
        for dollar in USD_ASSETS:
            listing = self.listings.get(f"{asset}/{dollar}")
            if listing is not None and listing.last_ticks:
                return float(listing.price_text(listing.last_ticks))
        return 0.0

    def remember_trade(
        self, listing: Listing, side: Side, ticks: int, lots: int, time_ms: int
    ) -> None:
        """Enter a trade of the past, between parties who are long gone.

        It gives a market a history; no money moves, nobody is told, no sequence counts it.
        """
        listing.record(Trade(self._ids.next(time_ms), listing, ticks, lots, side, time_ms))

    # Orders.

    def submit(self, account: Account, form: OrderForm, now_ms: int) -> Order:
        """Check an order as somebody wrote it, and execute it.

        Raises
        ------
        VenueError
            The refusal, with the exchange's code; nothing was changed.
        """
        listing = self.listing(form.symbol)
        check_market(listing, form.side, form.type)
        if form.type == "market" and form.side == "buy" and self._market_buys_in == "quote":
            lots = _affordable_lots(listing, read_amount("quantity", form.quantity))
        else:
            lots = read_quantity(listing, form.quantity, form.is_strict)
        if form.type == "limit":
            ticks = read_price(listing, form.price, form.is_strict)
            notional: int | None = listing.notional(ticks, lots)
        else:
            ticks = None
            filled_lots, cost, _ = listing.engine.cost_to_fill(form.side, lots)
            notional = listing.notional(cost, 1) if filled_lots == lots else None
        check_size(listing, ticks, lots, notional)
        client_id = form.client_id
        if client_id is None:
            client_id = _uuid4(self._generator.getrandbits(128))
        elif self._is_taken(account, client_id):
            raise refusal(20008, "Duplicate userProvidedId")
        return self.place(account, listing, form.side, ticks, lots, now_ms, client_id)

    def _is_taken(self, account: Account, client_id: str) -> bool:
        if self._uniqueness == "never":
            return False
        order_id = account.client_ids.get(client_id)
        if self._uniqueness == "active":
            return order_id in account.open_orders
        return order_id is not None

    def place(
        self,
        account: Account,
        listing: Listing,
        side: Side,
        ticks: int | None,
        lots: int,
        now_ms: int,
        client_id: str = "",
    ) -> Order:
        """Execute an order that needs no more checks but the one for funds.

        Raises
        ------
        InsufficientFundsError
            The account cannot pay for it; nothing was changed.
        """
        kind: OrderType = "market" if ticks is None else "limit"
        self._order_count += 1
        order = Order(
            number=self._order_count,
            id=self._ids.next(now_ms),
            client_id=client_id,
            account=account,
            listing=listing,
            side=side,
            type=kind,
            ticks=ticks,
            lots=lots,
            asset=listing.quote if side == "buy" else listing.base,
            created_ms=now_ms,
            updated_ms=now_ms,
            remaining_lots=lots,
        )
        if ticks is None and side == "buy":
            _, cost, _ = listing.engine.cost_to_fill(side, lots)
            needed = listing.notional(cost, 1) + listing.fee(cost, 1, listing.taker_rate)
        else:
            needed = order.hold_for(lots)
        if not account.hold(order.asset, needed):
            raise refusal(20001, "Insufficient funds for order creation")
        order.held = needed
        command = _Command(listing, now_ms)
        account.remember(order)
        listing.orders[order.number] = order
        command.touch(account, order.asset)
        command.report(order, "new")
        for match in listing.engine.submit(order.number, side, lots, ticks, account.number):
            self._settle(command, order, match)
        resting_lots = listing.engine.remaining(order.number)
        if resting_lots:
            assert ticks is not None and resting_lots == order.remaining_lots
            listing.change_level(side, ticks, resting_lots)
            command.levels[side, ticks] = None
        elif order.remaining_lots:
            self._end(command, order)
        self._tell(command)
        return order

    def _settle(self, command: _Command, taker: Order, match: Match) -> None:
        listing, now_ms = command.listing, command.now_ms
        maker = listing.orders[match.maker_id]
        ticks, lots = match.ticks, match.lots
        trade = Trade(self._ids.next(now_ms), listing, ticks, lots, taker.side, now_ms)
        command.trades.append(trade)
        listing.record(trade)
        listing.change_level(maker.side, ticks, -lots)
        command.levels[maker.side, ticks] = None
        notional = listing.notional(ticks, lots)
        base, quote = listing.base, listing.quote
        for order, rate in ((maker, listing.maker_rate), (taker, listing.taker_rate)):
            account = order.account
            fee = listing.fee(ticks, lots, rate)
            if self._fee_grain > 1:
                fee -= fee % self._fee_grain
            self.fees[quote] = self.fees.get(quote, 0) + fee
            paid = notional + fee if order.side == "buy" else lots * listing.lot_atoms
            account.spend(order.asset, paid)
            order.held -= paid
            order.remaining_lots -= lots
            order.executed_lots += lots
            order.last_trade_ms = order.updated_ms = now_ms
            if order.side == "buy":
                account.receive(base, lots * listing.lot_atoms)
            else:
                account.receive(quote, notional - fee)
            if order.remaining_lots:
                order.status = OrderStatus.PARTLY_FILLED
                self._keep_only(order, self._bound(order))
            else:
                order.status = OrderStatus.FILLED
                self._leave(order)
            command.touch(account, base, quote)
            fill = AccountTrade(trade, order, fee)
            if account.keeps_history:
                account.trades.append(fill)
            command.report(order, "trade", fill)

    @staticmethod
    def _bound(order: Order) -> int:
        # What a market buy holds was worked out for the whole walk and is spent on the way.
        if order.ticks is None and order.side == "buy":
            return order.held
        return order.hold_for(order.remaining_lots)

    @staticmethod
    def _keep_only(order: Order, amount: int) -> None:
        order.account.release(order.asset, order.held - amount)
        order.held = amount

    def _leave(self, order: Order) -> None:
        self._keep_only(order, 0)
        del order.listing.orders[order.number]
        order.account.finish(order)

    def _end(self, command: _Command, order: Order) -> None:
        order.cancelled_lots, order.remaining_lots = order.remaining_lots, 0
        order.status = OrderStatus.CANCELLED
        order.updated_ms = command.now_ms
        self._leave(order)
        command.touch(order.account, order.asset)
        command.report(order, "cancelled")

    def find_order(self, account: Account, identifier: str) -> Order:
        """Return an account's order by exchange id or client id.

        Raises
        ------
        OrderNotFoundError
            The account has, or remembers, no such order.
        """
        order = account.find(identifier)
        if order is None:
            raise refusal(20002, "Order not found")
        return order

    def cancel(self, account: Account, identifier: str, now_ms: int) -> Order:
        """Cancel an open order, by exchange id or client id, and return its final state.

        Raises
        ------
        OrderNotFoundError
            No such order is open: also when it was filled or cancelled before.
        """
        order = account.find(identifier)
        if order is None or not order.is_open:
            raise refusal(20002, "Active order not found for cancellation")
        self.withdraw(order, now_ms)
        return order

    def withdraw(self, order: Order, now_ms: int) -> None:
        """Take an open order out of the book."""
        listing = order.listing
        command = _Command(listing, now_ms)
        assert order.ticks is not None
        lots = listing.engine.cancel(order.number)
        assert lots == order.remaining_lots
        listing.change_level(order.side, order.ticks, -lots)
        command.levels[order.side, order.ticks] = None
        self._end(command, order)
        self._tell(command)

    def reduce(self, order: Order, lots: int, now_ms: int) -> None:
        """Make a resting order smaller by fewer lots than are left; it keeps its turn."""
        listing = order.listing
        assert order.ticks is not None and 0 < lots < order.remaining_lots
        command = _Command(listing, now_ms)
        listing.engine.reduce(order.number, lots)
        order.lots -= lots
        order.remaining_lots -= lots
        order.updated_ms = now_ms
        self._keep_only(order, self._bound(order))
        listing.change_level(order.side, order.ticks, -lots)
        command.levels[order.side, order.ticks] = None
        command.touch(order.account, order.asset)
        self._tell(command)

    def print_trade(self, listing: Listing, side: Side, ticks: int, lots: int, now_ms: int) -> None:
        """Tell everybody of a trade between parties outside; no money moves here."""
        command = _Command(listing, now_ms)
        trade = Trade(self._ids.next(now_ms), listing, ticks, lots, side, now_ms)
        command.trades.append(trade)
        listing.record(trade)
        self._tell(command)

    def cancel_all(
        self, account: Account, listing: Listing, side: Side | None, now_ms: int
    ) -> list[Order]:
        """Cancel an account's orders on a market, of one side or of both, oldest first."""
        orders = [
            order
            for order in account.open_orders.values()
            if order.listing is listing and side in (None, order.side)
        ]
        for order in orders:
            self.withdraw(order, now_ms)
        return orders

    def _tell(self, command: _Command) -> None:
        listing, now_ms = command.listing, command.now_ms
        levels = listing.levels
        changes = [(side, ticks, levels[side].get(ticks, 0)) for side, ticks in command.levels]
        if changes:
            listing.sequences.book += 1
        if command.trades:
            listing.sequences.trades += 1
        engine = listing.engine
        has_news = bool(command.trades) or (engine.best_bid, engine.best_ask) != command.top
        if has_news:
            listing.sequences.ticker += 1
        for listener in self.listeners:
            for report in command.reports:
                listener.on_report(report)
            if changes:
                listener.on_book(listing, changes, now_ms)
            if command.trades:
                listener.on_trades(listing, command.trades, now_ms)
            if has_news:
                listener.on_ticker(listing, now_ms)
            for account, assets in command.balances.items():
                listener.on_balances(account, tuple(assets), now_ms)


def _uuid4(bits: int) -> str:
    # As uuid.UUID(int=bits, version=4) is written, in a fifth of the time.
    bits = bits & ~(0xF000 << 64 | 0xC000 << 48) | 4 << 76 | 1 << 63
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _affordable_lots(listing: Listing, amount: int) -> int:
    """Return the lots that an amount of the quote asset buys now, fees not counted."""
    lots = 0
    for ticks, resting_lots in listing.depth()[1]:
        price = listing.notional(ticks, 1)
        taken = min(resting_lots, amount // price)
        lots += taken
        amount -= taken * price
        if taken < resting_lots:
            break
    # An order for nothing is too small, not wrong: the minimum of the market refuses it.
    return max(lots, 1)
