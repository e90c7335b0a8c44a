"""What the venue and the reconciler tell, and who of us takes it.

News that comes while the engine is being put together waits until there is a ledger to put it in.
Whatever goes wrong with news halts trading; it is never raised into the venue's socket.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from nkfast.errors import HaltedError, JournalError, OrderError
from nkfast.trading.exact import plain
from nkfast.trading.gate import DUPLICATE_ID
from nkfast.trading.orders import ClientId, IdSource, Order, Outcome
from nkfast.trading.self_trades import SelfTrades
from nkfast.venue.port import Execution, Holding, OrderUpdate, PublicTrade, VenueStatus

if TYPE_CHECKING:
    from nkfast.trading.account import AccountOrders
    from nkfast.trading.bookkeeping import Bookkeeper
    from nkfast.trading.execution import Executor
    from nkfast.trading.gate import OrderGate
    from nkfast.trading.reasons import Reasons
    from nkfast.trading.reconcile import Reconciler
    from nkfast.trading.risk import RiskGuard
    from nkfast.trading.strategy_host import StrategyHost
    from nkfast.venue.clock import Clock

__all__ = ["Decider", "NewsDesk"]


#: The journal's log is put away at a quarter of this, unless somebody reads all the time.
LOG_BYTES_MAX = 32_000_000


class Decider(Protocol):
    """Who acts on news: the engine."""

    def decide(self, symbol: str, received_ns: int) -> None:
        """Decide on the newest book of a market."""

    def decide_soon(self, event_ns: int = 0) -> None:
        """Decide once after everything that this turn of the loop brings."""

    def decide_afresh(self) -> None:
        """Decide soon, and compare with what is live even if neither has changed."""

    def note_change(self) -> None:
        """Wake who waits for an order to end."""

    def halt_by(self, error: BaseException) -> None:
        """Halt trading because of an error."""

    def leave_venue_alone(self) -> None:
        """Cancel nothing any more, whatever happens."""


class NewsDesk:
    """Takes news of the venue (`VenueListener`) and of the reconciler (`ReconcileSink`).

    Parameters
    ----------
    symbols, clock, ids, account, reasons
        What is ours, what time it is, and who counts.
    decider : Decider
        Acts on it.
    compares : bool
        Whether nothing may be decided until our books were compared with the venue's; not so for
        an engine that only looks.

    Attributes
    ----------
    is_connected, is_compared : bool
        Whether what we know is the venue's word of now.
    """

    def __init__(
        self,
        *,
        symbols: Sequence[str],
        clock: "Clock",
        ids: IdSource,
        account: "AccountOrders",
        reasons: "Reasons",
        decider: Decider,
        compares: bool,
    ) -> None:
        self.is_connected = False
        self.is_compared = not compares
        self._symbols = frozenset(symbols)
        self._clock = clock
        self._ids = ids
        self._account = account
        self._reasons = reasons
        self._decider = decider
        self._compares = compares
        self._self_trades = SelfTrades()
        # News that comes before there is a ledger to put it in; None from then on.
        self._early: list[Callable[[], None]] | None = []

    def open(
        self,
        *,
        bookkeeper: "Bookkeeper",
        gate: "OrderGate",
        guard: "RiskGuard",
        reconciler: "Reconciler",
        executor: "Executor",
        host: "StrategyHost",
    ) -> None:
        """Take what has waited, and from now on everything at once."""
        self._bookkeeper = bookkeeper
        self._gate = gate
        self._guard = guard
        self._reconciler = reconciler
        self._executor = executor
        self._host = host
        early, self._early = self._early or [], None
        for tell in early:
            tell()

    def guarded(self, tell: Callable[[], None]) -> None:
        """Run what news causes; whatever goes wrong halts trading."""
        if self._early is not None:
            self._early.append(partial(self.guarded, tell))
            return
        try:
            tell()
        except Exception as error:
            self._decider.halt_by(error)

    def distrust(self) -> None:
        """Let nothing be decided before another comparison."""
        if self._compares:
            self.is_compared = False
            self._reconciler.compare_soon()

    # What the venue tells (VenueListener) ------------------------------------------------------

    def on_book(self, symbol: str, received_ns: int) -> None:
        """Decide on the newest book. Called by the venue, once a burst."""
        if self._early is None and symbol in self._symbols:
            self._decider.decide(symbol, received_ns)

    def on_order(self, update: OrderUpdate) -> None:
        """Take news of an order, ours or foreign."""
        if update.symbol in self._symbols:
            self.guarded(partial(self._take_update, update, self._clock.monotonic_ns()))

    def on_execution(self, execution: Execution) -> bool:
        """Take one execution; False when the order it belongs to is not known."""
        client_id = execution.client_id
        if client_id is not None and self._ids.owns(client_id) is None:
            return True  # a client id that is not ours says whose it is
        try:
            order = self._bookkeeper.find(client_id, execution.order_id)
        except JournalError as error:
            self._decider.halt_by(error)
            return True
        if order is not None:
            self.guarded(lambda: self._bookkeeper.learn(order.hear_execution(execution)))
        return order is not None

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        """Take the balances that changed."""
        self.guarded(partial(self._take_holdings, holdings, is_quiet=False))

    def on_trade(self, trade: PublicTrade) -> None:
        """Take a public trade: it bounds our prices. Decisions are made on the book."""
        if self._early is not None:
            return
        self._guard.note_trade(trade)
        if self._host.hears_trades and trade.symbol in self._symbols:
            self.guarded(partial(self._host.tell_trade, trade))

    def on_connection(self, is_up: bool, reason: str) -> None:
        """Stop deciding while disconnected, and compare before deciding again."""
        self.is_connected = is_up
        if self._early is not None:
            return
        self._reconciler.note_connection(is_up)
        if not is_up:
            self.count("DISCONNECTED", reason)
        if self._compares:
            self.is_compared = False
            if is_up:
                self._reconciler.compare_soon()

    def _take_update(self, update: OrderUpdate, received_ns: int) -> None:
        order = self._bookkeeper.find(update.client_id, update.order_id)
        if order is None:
            self._meet_stranger(update)
            return
        try:
            news = order.hear_update(update)
        except OrderError:
            if update.order_id != order.order_id and not update.status.is_final:
                self._gate.cancel_stray(update)  # one intent, two orders: somebody repeated it
            raise
        if update.status is VenueStatus.UNKNOWN:
            self.count("UNKNOWN_STATUS", f"{order.client_id} is taken to be still open")
        self._bookkeeper.learn(news, received_ns)
        if update.execution is not None:
            self._note_side(update, is_ours=True)

    def _take_holdings(self, holdings: Sequence[Holding], *, is_quiet: bool) -> None:
        for odd in self._bookkeeper.set_holdings(holdings, is_quiet=is_quiet):
            free, held = plain(odd.available), plain(odd.held)
            self.count("ODD_BALANCE", f"{odd.asset}: {free} free and {held} held")
        self._executor.forget_refusals()
        self._decider.decide_soon()

    def _meet_stranger(self, update: OrderUpdate) -> None:
        """Judge an order that the journal does not know: leave it alone, or halt."""
        made_by = self._ids.owns(update.client_id)
        if made_by is None:
            self._account.note(update, self._clock.time_ns() // 1_000_000)
            if update.execution is not None:
                self._note_side(update, is_ours=False)
            if not update.status.is_final:
                self.count("FOREIGN_ORDER", f"{update.side} order {update.order_id}")
            return
        if not self._ids.knows_start(made_by):
            self._meet_orphan(update, made_by)
            return
        if not update.status.is_final:
            self._gate.cancel_stray(update)
        raise OrderError(
            update.client_id, update.status, "a place here: the journal has no intent of it"
        )

    def _meet_orphan(self, update: OrderUpdate, made_by: ClientId) -> None:
        """Judge an order of a start of this instance that the journal did not count.

        Either the journal was lost or is an old one, or another copy trades: while that may be,
        nothing is touched. What has ended and is told by the history is of the past.
        """
        if update.status.is_final and update.execution is None:
            self.count("ORPHAN_ENDED", f"{update.client_id}, {update.status}")
            return
        self._decider.leave_venue_alone()
        raise OrderError(
            update.client_id,
            update.status,
            f"a place here: start {made_by.boot} of this instance sent it, which this journal did"
            " not count. Another copy trades, or the journal was lost or an old one put back; see"
            f" to it that no copy runs, then nkfast recover cancels order {update.order_id} and all"
            " others of this instance",
        )

    def _note_side(self, update: OrderUpdate, *, is_ours: bool) -> None:
        """Notice a trade with an order of the account that this instance did not make."""
        execution = update.execution
        assert execution is not None
        if not self._self_trades.note(execution.trade_id, is_ours=is_ours):
            return
        detail = f"trade {execution.trade_id} at {plain(execution.price)} on {update.symbol}"
        self.count("SELF_TRADE", detail)
        if self._self_trades.are_too_many(self._clock.monotonic_ns()):
            self._halt("SELF_TRADES", f"again and again within a minute, the last one {detail}")

    # What the reconciler tells (ReconcileSink) -------------------------------------------------

    def on_balances(self, holdings: Sequence[Holding], *, is_quiet: bool) -> None:
        """Take every balance of the account."""
        self.guarded(partial(self._take_holdings, holdings, is_quiet=is_quiet))

    def on_outcome(self, order: Order, outcome: Outcome, reason: str) -> None:
        """Take what became of an attempt to send."""
        if outcome is Outcome.ABANDONED:
            self.count("ABANDONED", f"{order.client_id}: {reason}")
            if order.facts.reason == DUPLICATE_ID:  # used by whom?
                self._halt("UNRECONCILED", f"{DUPLICATE_ID}, and has no order {order.client_id}")
        self.guarded(lambda: self._bookkeeper.learn(order.hear_outcome(outcome, reason)))

    def on_vanished(self, order: Order) -> None:
        """Take the proof that an accepted order rests no more."""
        self.count("VANISHED", order.client_id)
        self.guarded(lambda: self._bookkeeper.learn(order.hear_vanished()))

    def on_overdue(self, order: Order) -> None:
        """Halt: the fate of an order is not found out in the time it may take."""
        age_s = (self._clock.boot_ns() - order.sent_ns) / 1e9
        self._halt("UNKNOWN_ORDERS", f"{order.client_id} is unknown for {age_s:.0f} s")

    def on_rolled_back(self, client_id: str, trade_id: str) -> None:
        """Halt: the venue's history no longer has a fill that it told."""
        self._halt("UNRECONCILED", f"trade {trade_id} of {client_id} was taken back")

    def on_settled(self, order: Order) -> None:
        """Take note that an order is in doubt no more: it may be cancelled again."""
        order.cancel_in_flight = False
        self._decider.note_change()
        self._decider.decide_afresh()

    def on_compared(self, started_ms: int, cursor_ms: int) -> None:
        """Decide again: our books and the venue's have been compared."""
        self.guarded(partial(self._take_comparison, started_ms, cursor_ms))

    def count(self, code: str, detail: str) -> None:
        """Count an action not taken, or an oddity, by a stable code."""
        self._reasons.count(code, detail)

    def _halt(self, cause: str, detail: str) -> None:
        self._decider.halt_by(HaltedError(cause, detail))

    def _take_comparison(self, started_ms: int, cursor_ms: int) -> None:
        self._bookkeeper.note_compared(cursor_ms)
        log_bytes = self._bookkeeper.log_bytes
        if log_bytes > LOG_BYTES_MAX:
            self.count("JOURNAL_READ_FOR_LONG", f"{log_bytes} bytes against {LOG_BYTES_MAX}")
        for symbol in self._symbols:
            self._account.forget_unseen(symbol, started_ms)
        self.is_compared = self.is_connected
        self._decider.decide_soon()
