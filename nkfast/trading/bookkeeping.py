"""From news to knowledge: written, true, told; durable before anything leaves that builds on it.

Every change of an order, of the ledger and of what the strategy knows of fills is made here, after
the journal took it. What one turn of the loop brings becomes durable as one transaction, by
`Bookkeeper.flush`; when that fails, trading has ended before anybody outside could know.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nkfast.errors import JournalError
from nkfast.trading.latency import Latencies
from nkfast.trading.orders import IdSource, News, Order, OrderState, OrderStore, Outcome
from nkfast.trading.strategy_host import StrategyHost, fill_of
from nkfast.venue.port import Execution, Holding

if TYPE_CHECKING:
    from decimal import Decimal

    from nkfast.trading.journal import Journal
    from nkfast.trading.ledger import Ledger
    from nkfast.trading.strategy import Fill
    from nkfast.venue.clock import Clock

__all__ = ["BESIDE_FILLS", "Bookkeeper"]

#: Name under which the journal keeps what was owned beside what our fills brought.
BESIDE_FILLS = "beside_fills"

_NS = 1_000_000_000
#: Balances have been seen to be told a second after what moved them; no more than this is believed.
_BALANCE_LAG_NS = 10 * _NS


class Bookkeeper:
    """Keeps the journal, the orders, the ledger and the strategy's knowledge of fills in step.

    Parameters
    ----------
    clock, journal, orders, ledger, host
        What is kept in step.
    ids : IdSource
        Says which client ids are ours.
    on_learned : callable
        Is told of each order that news changed, with its state before and when the news came
        (monotonic nanoseconds; 0 for news that answers no event).
    on_late_fee : callable
        Is told of each order of which a fill's fee became known, or larger, with that fill and the
        fee that was known before; what it writes is part of the same batch.
    recent_fills : deque of Fill
        Takes the newest fills.
    send_limit_s : float
        How long after its intent an order was sent at the latest.

    Attributes
    ----------
    can_record : bool
        False once the journal failed: nothing is learned any more.
    fill_count, rejection_count, intent_count : int
        Of this run.
    durable : Latencies
        What it took to make durable what was written.
    """

    def __init__(
        self,
        *,
        clock: "Clock",
        journal: "Journal",
        orders: OrderStore,
        ledger: "Ledger",
        host: StrategyHost,
        ids: IdSource,
        on_learned: Callable[[Order, OrderState, int], None],
        on_late_fee: "Callable[[Order, Execution, Decimal | None], None]",
        recent_fills: "deque[Fill]",
        send_limit_s: float,
    ) -> None:
        self.can_record = True
        self.fill_count = self.rejection_count = self.intent_count = 0
        self.durable = Latencies()
        self._flush_ns: int | None = None  # of the newest that is not in `durable` yet
        self._clock = clock
        self._journal = journal
        self._orders = orders
        self._ledger = ledger
        self._host = host
        self._ids = ids
        self._on_learned = on_learned
        self._on_late_fee = on_late_fee
        self._recent_fills = recent_fills
        self._kept_beside: dict[str, str] = {}
        self._filled_ns = clock.monotonic_ns()  # or just before this process began
        self._send_limit_ns = int(send_limit_s * _NS)

    def adopt(self, order: Order) -> None:
        """Take up an order of an earlier run. What was being sent then has an unknown outcome."""
        self._place_in_time(order)
        if order.state is OrderState.SENDING:
            news = order.hear_outcome(Outcome.UNKNOWN, "the process that sent it ended")
            assert news is not None
            self._journal.record([news])
            order.apply(news)
        self._orders.adopt(order)
        self._ledger.reserve(order)

    def find(self, client_id: str | None, order_id: str) -> Order | None:
        """Return an order of ours, from the journal when it was forgotten."""
        order = self._orders.find(client_id, order_id)
        if order is None and client_id is not None and self._ids.owns(client_id) is not None:
            order = self._journal.find_order(client_id)
            if order is not None:
                self._place_in_time(order)
                self._orders.adopt(order)
        return order

    def _place_in_time(self, order: Order) -> None:
        """Say when an order of an earlier process was sent at the latest, on this boot's clock.

        Known where the machine has not been started since; otherwise before now. A process that
        restarts again and again must not put the end of a doubt off for ever.
        """
        now_ns = self._clock.boot_ns()
        if order.sent_boot and order.sent_boot == self._clock.boot_id:
            now_ns = min(now_ns, order.sent_ns + self._send_limit_ns)
        order.sent_ns = now_ns

    def flush(self) -> None:
        """Make durable what was written since the last time.

        Raises
        ------
        nkfast.errors.JournalError
            All of it is lost. Nothing that was written may be acted upon.
        """
        self.flush_in_haste()
        self._note_flush()

    def flush_in_haste(self) -> None:
        """Do as `flush` does, and leave everything else that can be done later to `settle`.

        Raises
        ------
        nkfast.errors.JournalError
            As `flush` does.
        """
        began_ns = self._clock.monotonic_ns()
        if self._journal.commit():
            self._flush_ns = self._clock.monotonic_ns() - began_ns

    def _note_flush(self) -> None:
        if self._flush_ns is not None:
            self.durable.note(self._flush_ns)
            self._flush_ns = None

    def settle(self) -> None:
        """Store what `flush_in_haste` made durable on the short way, now that it was acted upon.

        Raises
        ------
        nkfast.errors.JournalError
            It could not be stored. It is durable all the same.
        """
        self._note_flush()
        if self.can_record:
            self._journal.settle()

    def intend(self, order: Order, *, stores_state: bool) -> None:
        """Write an intent. It may be sent after the next `flush`, and is to be counted by `add`.

        Raises
        ------
        nkfast.errors.OrderError
            Its slot has an open order.
        """
        self._orders.check_slot(order)
        state = self._host.unstored_state() if stores_state else None
        self._journal.hold()
        self._journal.intend(order, state)
        if state is not None:
            self._host.note_stored(state)

    def add(self, order: Order, at: "Decimal | None" = None) -> None:
        """Take an intended order in, and reserve what it needs.

        ``at`` is the price that a market order is expected to trade at.
        """
        self._orders.add(order)
        self._ledger.reserve(order, at)
        self.intent_count += 1

    def keep_state(self) -> None:
        """Store what the strategy remembers, where no order and no fill took it along.

        Raises
        ------
        nkfast.errors.JournalError
            It could not be stored.
        """
        if not (self.can_record and self._host.can_tell):
            return
        state = self._host.unstored_state()
        if state is not None:
            self._journal.set_strategy_state(state)
            self._host.note_stored(state)

    def forget(self, order: Order) -> None:
        """Take back an intent that could not be made durable: it is never sent."""
        news = order.hear_outcome(Outcome.REJECTED, "never sent: its intent is not durable")
        assert news is not None
        self._orders.apply(news)
        self._ledger.reserve(order)

    def wish_cancelled(self, order: Order) -> None:
        """Write the wish to cancel, once."""
        news = order.hear_cancel_wish()
        if news is not None and self.can_record:
            self._journal.hold()
            self._journal.record([news])
            self._orders.apply(news)

    def learn(self, news: News | None, received_ns: int = 0) -> None:
        """Write news, make it true; tell the strategy of fill and end in the same transaction."""
        if news is None or not self.can_record:
            return
        order, host = news.order, self._host
        if not host.can_tell:
            # The strategy is broken: fill and fee stay untold, and the next start reads them again.
            news = news._replace(fill=None, fee=None)
        profit = state = fee_before = None
        if news.fill is not None:
            profit = self._ledger.profits[order.symbol].after_fill(news.fill)
            state = host.tell(order, news.fill)
        elif news.fee is not None:
            key = (news.fee.trade_id, news.fee.order_id)
            fee_before = order.fills[key].fee
            profit = self._ledger.profits[order.symbol].after_fee(order.fills[key], news.fee)
            if host.hears_fees:
                state = host.tell_fee(order, news.fee, fee_before)
        before = order.state
        if host.hears_ends and host.can_tell and before.is_open and not news.state.is_open:
            state = host.tell_end(news)
        self._journal.hold()
        self._journal.record([news], profit=profit, strategy_state=state)
        self._orders.apply(news)
        self._ledger.reserve(order)
        told = news.fill if news.fill is not None else news.fee
        if profit is not None and told is not None:
            self._ledger.apply(profit)
            self._ledger.learn_fee(told)
        if state is not None:
            host.note_stored(state)
        if news.fill is not None:
            self.fill_count += 1
            self._filled_ns = self._clock.monotonic_ns()
            self._recent_fills.append(fill_of(order, news.fill))
        if news.fee is not None:
            self._on_late_fee(order, news.fee, fee_before)
        if order.state is OrderState.REJECTED and before is not OrderState.REJECTED:
            self.rejection_count += 1
        self._on_learned(order, before, received_ns)

    def set_holdings(self, holdings: Sequence[Holding], *, is_quiet: bool) -> list[Holding]:
        """Take the venue's word on balances; return those that contradict themselves.

        ``is_quiet`` says that they are all, told while none of our orders moved.
        """
        silence_ns = self._clock.monotonic_ns() - self._filled_ns
        is_settled = is_quiet and (silence_ns > _BALANCE_LAG_NS or not self._ledger.has_fills)
        odd = self._ledger.set_holdings(holdings, is_complete=is_quiet, is_settled=is_settled)
        if is_settled and self.can_record:
            beside_fills = self._ledger.beside_fills
            if beside_fills != self._kept_beside:
                self._journal.keep(BESIDE_FILLS, beside_fills)
                self._kept_beside = beside_fills
        return odd

    @property
    def log_bytes(self) -> int:
        """See `nkfast.trading.journal.Journal.log_bytes`."""
        return self._journal.log_bytes

    def note_compared(self, cursor_ms: int) -> None:
        """Make durable up to when the venue's executions are known."""
        if self.can_record and self._host.can_tell:
            self._journal.set_cursor(cursor_ms)

    def note_failure(self, error: BaseException) -> None:
        """Record nothing more once the journal failed."""
        if isinstance(error, JournalError):
            self.can_record = False
