"""When to decide, and what is done with a decision: the part of the engine that news drives.

Something is decided while the engine's life allows it, a book is live, the venue is connected and
our books have been compared with the venue's. A decision's difference from what is live goes to
the executor, a plan to its runner; why nothing is decided is counted.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from nkfast.errors import HaltedError, JournalError, RiskError
from nkfast.trading.life import Lifecycle, LifeState
from nkfast.trading.orders import Order, OrderState, OrderStore
from nkfast.trading.plan import Plan
from nkfast.trading.strategy import Desired

if TYPE_CHECKING:
    from decimal import Decimal

    from nkfast.core.book import OrderBook
    from nkfast.trading.audit import BookAudit
    from nkfast.trading.bookkeeping import Bookkeeper
    from nkfast.trading.execution import Executor
    from nkfast.trading.gate import OrderGate
    from nkfast.trading.journal import Journal
    from nkfast.trading.legs import PlanRunner
    from nkfast.trading.news import NewsDesk
    from nkfast.trading.reasons import Reasons
    from nkfast.trading.reconcile import Reconciler
    from nkfast.trading.risk import RiskGuard
    from nkfast.trading.strategy_host import StrategyHost
    from nkfast.trading.watch import TimeWatch
    from nkfast.venue.port import Execution

__all__ = ["Deciding"]

_GIVEN_UP = frozenset({OrderState.REJECTED, OrderState.ABANDONED})
_DECIDING = frozenset({LifeState.RUNNING, LifeState.DRAINING})


class Deciding:
    """Decides whenever there is something to decide on.

    Parameters
    ----------
    life : Lifecycle
        Where the engine is in its life.
    orders, reasons, journal
        What it works with.
    sends : bool
        False in monitor mode: nothing is sent, and nothing is lost.
    cancels_on_halt, cancels_when_blind : bool
        Whether what rests is cancelled when trading is halted, and while a market is not seen.
    halt : callable
        Halts trading by an error, under a code or the error's own.
    enter : callable
        Moves the engine to another state of its life.
    end : callable
        Is called when nothing is left to be drained.
    changed : asyncio.Event
        Is set when an order changed.

    Attributes
    ----------
    is_halted : bool
        Whether trading was halted: nothing is decided any more.
    may_cancel : bool
        False when nothing at the venue may be touched.
    """

    def __init__(
        self,
        *,
        life: Lifecycle,
        orders: OrderStore,
        reasons: "Reasons",
        journal: "Journal",
        sends: bool,
        cancels_on_halt: bool,
        cancels_when_blind: bool,
        halt: Callable[[BaseException, str | None], None],
        enter: Callable[[LifeState, str], None],
        end: Callable[[], None],
        changed: asyncio.Event,
    ) -> None:
        self.is_halted = False
        self.may_cancel = True
        self._life = life
        self._orders = orders
        self._reasons = reasons
        self._journal = journal
        self._sends = sends
        self._cancels_on_halt = cancels_on_halt
        self._cancels_when_blind = cancels_when_blind
        self._halt = halt
        self._enter = enter
        self._end = end
        self._changed = changed
        self._is_open = False
        self._is_deciding = False
        self._is_decision_due = False
        self._blind_by = ""  # why nothing can be decided, as it was counted
        self._event_ns = 0
        self._fills_asked_for = 0  # up to here the venue was asked for the balances since

    def open(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        news: "NewsDesk",
        books: "Mapping[str, OrderBook]",
        bookkeeper: "Bookkeeper",
        gate: "OrderGate",
        guard: "RiskGuard",
        host: "StrategyHost",
        executor: "Executor",
        plans: "PlanRunner",
        reconciler: "Reconciler",
        audit: "BookAudit",
        watch: "TimeWatch",
    ) -> None:
        """Take the parts, now that the markets are known."""
        self._loop = loop
        self._news = news
        self._books = books
        self._bookkeeper = bookkeeper
        self._gate = gate
        self._guard = guard
        self._host = host
        self._executor = executor
        self._plans = plans
        self._reconciler = reconciler
        self._audit = audit
        self._watch = watch
        self._is_open = True

    def _write_the_rest(self) -> None:
        """Store what the decision left behind, once its orders are on their way."""
        if self._sends:
            self._news.guarded(self._bookkeeper.keep_state)
        if self._reasons.is_due and self._bookkeeper.can_record:
            self._news.guarded(self._write_reasons)

    def _write_reasons(self) -> None:
        self._reasons.write(self._journal)

    def on_learned(self, order: Order, before: OrderState, received_ns: int) -> None:
        """Do what follows from news of an order (told by the bookkeeper)."""
        if order.state is not before:
            if before in _GIVEN_UP:
                self._reasons.count(
                    "ZOMBIE", f"{order.client_id} was {before} and is {order.state}"
                )
            if order.state is OrderState.LIVE:
                self._gate.note_accepted()
                self._executor.note_accepted(order.slot)
            elif order.state is OrderState.CLOSING:
                self._reconciler.open_case(order, "fills")
            elif order.state in _GIVEN_UP:
                self._reconciler.note_given_up(order)
                if order.state is OrderState.REJECTED:
                    self._executor.note_rejected(order.slot)
        if self._bookkeeper.fill_count != self._fills_asked_for:
            self._fills_asked_for = self._bookkeeper.fill_count
            self._reconciler.read_balances_soon()
        self._executor.forget_refusals()
        self._take_wish()
        self._changed.set()
        self.decide_soon(received_ns)

    def on_late_fee(self, order: Order, fill: "Execution", before: "Decimal | None") -> None:
        """Put a fee that was told late where it belongs (told by the bookkeeper)."""
        self._plans.note_fee(order, fill, before)

    def decide(self, symbol: str, received_ns: int) -> None:
        """Decide on the newest book of a market, which came at a time (told by the news desk)."""
        self._host.note_book(symbol)
        if self._is_deciding:
            self.decide_soon(received_ns)
        else:
            self._decide(received_ns)
            self._write_the_rest()

    def note_change(self) -> None:
        """Wake who waits for an order to end (told by the news desk)."""
        self._changed.set()

    def leave_venue_alone(self) -> None:
        """Cancel nothing any more, whatever happens (told by the news desk)."""
        self.may_cancel = False

    def halt_by(self, error: BaseException) -> None:
        """Halt trading because of an error (told by the news desk)."""
        in_strategy = self._is_open and not self._host.can_tell
        self._halt(error, "STRATEGY_ERROR" if in_strategy else None)

    def decide_soon(self, event_ns: int = 0) -> None:
        """Decide once after everything that this turn of the loop brings.

        ``event_ns`` is when the market's news came that this answers; 0 when it answers none.
        """
        if event_ns and not self._event_ns:
            self._event_ns = event_ns
        if not self._is_decision_due:
            self._is_decision_due = True
            self._loop.call_soon(self._decide_now)

    def decide_afresh(self) -> None:
        """Decide soon, and compare with what is live even if neither has changed."""
        self._executor.forget_comparison()
        self.decide_soon()

    def _decide_now(self) -> None:
        self._is_decision_due = False
        event_ns, self._event_ns = self._event_ns, 0
        self._decide(event_ns)
        self._news.guarded(self._bookkeeper.flush)  # what this turn of the loop told us
        self._news.guarded(self._guard.prepare)
        self._write_the_rest()

    @property
    def may_decide(self) -> bool:
        """Whether to decide: running, connected, compared, a book live, the gate open."""
        news = self._news
        if (
            not (news.is_compared and news.is_connected and self._gate.is_open)
            or self._life.state not in _DECIDING
            or self._audit.drifted
        ):
            return False
        for book in self._books.values():  # at every frame: a loop is half an `any`
            if book.state == "live":
                return True
        return False

    def _decide(self, event_ns: int) -> None:
        has_stalled = self._watch.look()
        if self._plans.is_busy and not self.is_halted:
            self._advance_plan(has_stalled=has_stalled)
            if self._plans.is_busy:
                return
        if has_stalled or not self.may_decide:
            if self.is_halted and self.may_cancel:
                self._cancel_all()
            elif self._life.state is LifeState.PAUSED:
                for zombie in self._orders.zombies:  # nobody wants them, whatever is decided
                    self._gate.cancel(zombie)
            elif self._cancels_when_blind and self.may_cancel:
                self._cancel_blind()
            self._say_why_not()
            return
        self._blind_by = ""
        if not self.is_loss_bearable():
            return
        self._is_deciding = True
        try:
            desired = self._host.decide()
        except Exception as error:
            self._halt(error, "STRATEGY_ERROR")
            return
        finally:
            self._is_deciding = False
        if self._take_wish() and not self.may_decide:
            return
        self._is_deciding = True
        try:
            self._do(desired, event_ns)
        except Exception as error:
            self.halt_by(error)
        finally:
            self._is_deciding = False
        if self._executor.is_draining and self._executor.is_idle:
            self._end()

    def _do(self, decision: Desired | Plan, event_ns: int) -> None:
        if isinstance(decision, Desired):
            self._executor.make_so(decision, event_ns)
        elif not isinstance(decision, Plan):
            wrong = TypeError(f"decide returned {decision!r}, neither a Desired nor a Plan")
            self._halt(wrong, "STRATEGY_ERROR")
        elif self._executor.is_draining:
            self._reasons.count("DRAINING", "a plan is something new")
            self._executor.make_so(Desired())
        else:
            self._plans.begin(decision, event_ns, sends=self._sends)

    def _advance_plan(self, *, has_stalled: bool) -> None:
        """Let a plan go on, also while paused: nothing is left half done."""
        is_sure = self._news.is_compared and self._news.is_connected and not self._audit.drifted
        may_send = is_sure and self._gate.is_open and not has_stalled
        self._is_deciding = True
        try:
            self._plans.advance(may_send=may_send)
        except Exception as error:
            self.halt_by(error)
        finally:
            self._is_deciding = False
        if not self._plans.is_busy:
            self._executor.forget_comparison()

    def is_loss_bearable(self) -> bool:
        """Whether the day's loss is within its limit; trading is halted when it is not."""
        if not self._sends:
            return True  # it makes none
        try:
            self._guard.loss.check()
        except (RiskError, JournalError) as error:
            self._halt(error, None)
            return False
        return True

    def _take_wish(self) -> bool:
        """Do what the strategy asked of the engine's life; return whether it asked anything."""
        wish = self._host.take_wish()
        if wish is None:
            return False
        if wish.state is LifeState.HALTED:
            self._halt(HaltedError("STRATEGY", wish.reason), None)
        elif self._life.state is not wish.state and self._life.may_become(wish.state):
            self._enter(wish.state, wish.reason)
        return True

    def _say_why_not(self) -> None:
        """Count, once, why nothing is decided now that could be; a lost connection is counted."""
        news = self._news
        if self.is_halted or self._life.state not in _DECIDING or not news.is_connected:
            return
        if not news.is_compared:
            code, detail = "RECONCILING", "the venue's books are compared with ours first"
        elif self._audit.drifted:
            return  # counted when it was found
        else:
            books = self._books.items()
            code = "BOOK_NOT_LIVE"
            detail = ", ".join(f"{symbol} {book.state}" for symbol, book in books)
        if code != self._blind_by:
            self._blind_by = code
            self._reasons.count(code, detail)

    def _cancel_blind(self) -> None:
        """Cancel what rests on a market that is not seen; where nobody is reached, wait."""
        if not self._news.is_connected:
            return
        for order in list(self._orders.open_orders):
            if self._books[order.symbol].state != "live" or self._audit.drifted:
                self._gate.cancel(order)

    def _cancel_all(self) -> None:
        if self._cancels_on_halt:
            for order in list(self._orders.open_orders):
                self._gate.cancel(order)
