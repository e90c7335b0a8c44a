"""The engine's side of a strategy: what it is shown, what it is told, what it wants kept."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from nkfast.trading.exact import ZERO
from nkfast.trading.journal_rows import encode_json
from nkfast.trading.life import LifeState
from nkfast.trading.orders import News, Order, OrderState, OrderStore
from nkfast.trading.plan import Plan
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    LiveOrder,
    MarketView,
    OrderEnd,
    Strategy,
)
from nkfast.venue.port import Execution, PublicTrade, VenueStatus

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market
    from nkfast.trading.ledger import Ledger
    from nkfast.trading.reasons import Reasons
    from nkfast.venue.clock import Clock

__all__ = ["LifeWish", "StrategyHost", "ended_of", "fill_of"]

_NS_PER_MS = 1_000_000


def fill_of(order: Order, execution: Execution) -> Fill:
    """Return an execution as a strategy sees it."""
    return Fill(
        order.slot,
        order.symbol,
        order.side,
        execution.price,
        execution.quantity,
        execution.fee,
        execution.fee_asset,
        execution.trade_id,
        execution.time_ms,
        execution.is_maker,
    )


def ended_of(news: News) -> EndedOrder:
    """Return an order that news ends as a strategy sees it."""
    order = news.order
    end: OrderEnd
    if news.state is OrderState.REJECTED:
        end = "rejected"
    elif news.state is OrderState.ABANDONED:
        end = "abandoned"
    elif news.filled >= order.quantity:
        end = "filled"
    else:
        end = "expired" if news.facts.final is VenueStatus.EXPIRED else "cancelled"
    return EndedOrder(
        order.slot,
        order.client_id,
        order.symbol,
        order.side,
        order.price,
        order.quantity,
        news.filled,
        end,
        news.facts.reason if end == "rejected" else "",
    )


class LifeWish(NamedTuple):
    """What a strategy asked of the engine's life through its context."""

    state: LifeState
    reason: str


class StrategyHost:
    """Shows a strategy the market, tells it of fills, and knows which of its state is stored.

    It is the strategy's context too, and watches how long the strategy takes: nothing else happens
    meanwhile.

    Parameters
    ----------
    strategy : Strategy
        The guest.
    symbol : str
        The home market.
    markets, books
        What it trades, by symbol.
    orders, ledger
        What it is shown of them.
    reasons : Reasons
        Counts slow calls, SLOW_CALLBACK, by name and time.
    slow_callback_ms : float
        A call that takes longer is slow.

    Attributes
    ----------
    can_tell : bool
        False once the strategy failed to take what it was told: its state is in doubt from then on.
    hears_ends, hears_fees, hears_trades : bool
        Whether the strategy wants to be told.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        clock: "Clock",
        symbol: str,
        markets: Mapping[str, "Market"],
        books: Mapping[str, "OrderBook"],
        orders: OrderStore,
        ledger: "Ledger",
        reasons: "Reasons",
        slow_callback_ms: float,
    ) -> None:
        self.strategy = strategy
        strategy.ctx = self
        self.can_tell = True
        kind = type(strategy)
        self.hears_ends = kind.on_end is not Strategy.on_end
        self.hears_fees = kind.on_fee is not Strategy.on_fee
        self.hears_trades = kind.on_trade is not Strategy.on_trade
        self._clock = clock
        self._market = markets[symbol]
        self._book = books[symbol]
        self._markets = dict(markets)
        self._books = books
        self._changed = dict.fromkeys(books)
        self._assets = sorted({a for m in markets.values() for a in (m.base, m.quote)})
        self._orders = orders
        self._ledger = ledger
        self._reasons = reasons
        self._slow_ns = int(slow_callback_ms * _NS_PER_MS)
        self._wish: LifeWish | None = None
        self._stored_state: str | None = None
        self._told_state: dict[str, Any] | None = None
        self._view_orders: tuple[int, Mapping[str, LiveOrder]] = (-1, {})
        self._view_funds: tuple[int, Mapping[str, Decimal], Mapping[str, Decimal]] = (-1, {}, {})

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Give the strategy back what an earlier run stored."""
        self.strategy.restore(stored["state"])
        self._stored_state = encode_json(stored)

    def decide(self) -> Desired | Plan:
        """Ask what should be resting now."""
        view = self._view()
        self._changed = {}
        started_ns = self._clock.monotonic_ns()
        try:
            return self.strategy.decide(view)
        finally:
            if self._clock.monotonic_ns() - started_ns > self._slow_ns:
                self._check_time("decide", started_ns)

    def note_book(self, symbol: str) -> None:
        """Name a market in the next view: its book has changed, or the book's state did."""
        self._changed[symbol] = None

    def note_rules(self, symbol: str, market: "Market | None") -> None:
        """Show a market's new rules from the next view on; None: it is listed no more."""
        if market is None:
            self._markets.pop(symbol, None)
        else:
            self._markets[symbol] = market
        self._changed[symbol] = None

    def tell(self, order: Order, execution: Execution) -> str:
        """Tell of one fill; return the state to be stored with it."""
        return self._told("on_fill", lambda: self.strategy.on_fill(fill_of(order, execution)))

    def tell_fee(self, order: Order, execution: Execution, before: Decimal | None) -> str:
        """Tell of the fee of a fill that was told; return the state to be stored with it."""
        fill = fill_of(order, execution)
        return self._told("on_fee", lambda: self.strategy.on_fee(fill, before))

    def tell_end(self, news: News) -> str:
        """Tell of the end of an order; return the state to be stored with it."""
        return self._told("on_end", lambda: self.strategy.on_end(ended_of(news)))

    def tell_trade(self, trade: PublicTrade) -> None:
        """Tell of a trade of anybody."""
        if self.can_tell:
            self._told("on_trade", lambda: self.strategy.on_trade(trade))

    def tell_plan(self, outcome: PlanOutcome) -> str:
        """Tell what became of a plan; return the state to be stored with its end."""
        return self._told("on_plan", lambda: self.strategy.on_plan(outcome))

    def _told(self, call: str, tell: Callable[[], None]) -> str:
        started_ns = self._clock.monotonic_ns()
        try:
            tell()
            return self._state()
        except Exception:
            self.can_tell = False
            raise
        finally:
            self._check_time(call, started_ns)

    # The strategy's context (StrategyContext) --------------------------------------------------

    def pause(self, reason: str) -> None:
        """Note the wish to pause."""
        self._note_wish(LifeState.PAUSED, reason)

    def drain(self, reason: str) -> None:
        """Note the wish to drain."""
        self._note_wish(LifeState.DRAINING, reason)

    def halt(self, reason: str) -> None:
        """Note the wish to halt."""
        self._note_wish(LifeState.HALTED, reason)

    def take_wish(self) -> LifeWish | None:
        """Return what the strategy asked for since the last call; a halt outweighs the rest."""
        wish, self._wish = self._wish, None
        return wish

    def _note_wish(self, state: LifeState, reason: str) -> None:
        if self._wish is None or self._wish.state is not LifeState.HALTED:
            self._wish = LifeWish(state, reason)

    def _check_time(self, call: str, started_ns: int) -> None:
        taken_ns = self._clock.monotonic_ns() - started_ns
        if taken_ns > self._slow_ns:
            took, limit = taken_ns / _NS_PER_MS, self._slow_ns / _NS_PER_MS
            self._reasons.count(
                "SLOW_CALLBACK", f"{self.strategy.name}.{call} took {took:.1f} ms, limit {limit:g}"
            )

    # What is stored ----------------------------------------------------------------------------

    def unstored_state(self) -> str | None:
        """Return the strategy's state if the journal does not have it yet."""
        try:
            if self._told_state is not None and self.strategy.state() is self._told_state:
                return None
            state = self._state()
        except Exception:
            self.can_tell = False
            raise
        return None if state == self._stored_state else state

    def note_stored(self, state: str) -> None:
        """Take note that the journal has a state."""
        self._stored_state = state

    def _state(self) -> str:
        self._told_state = state = self.strategy.state()
        return encode_json(
            {"strategy": self.strategy.name, "symbol": self._market.symbol, "state": state}
        )

    def _view(self) -> MarketView:
        if self._view_orders[0] != self._orders.version:
            live = {
                slot: LiveOrder(
                    slot,
                    order.client_id,
                    order.side,
                    order.price if order.price is not None else ZERO,
                    order.quantity,
                    order.filled,
                    order.state is OrderState.UNKNOWN,
                    order.symbol,
                    order.sent_ms,
                )
                for slot, order in self._orders.open_by_slot.items()
            }
            self._view_orders = (self._orders.version, live)
        if self._view_funds[0] != self._ledger.version and self._ledger.knows_holdings:
            self._view_funds = (
                self._ledger.version,
                {asset: self._ledger.available(asset) for asset in self._assets},
                {asset: self._ledger.total(asset) for asset in self._assets},
            )
        return MarketView(
            self._market,
            self._book,
            self._view_orders[1],
            self._view_funds[1],
            self._view_funds[2],
            self._clock.time_ns() // 1_000_000,
            self._markets,
            self._books,
            self._changed,
        )
