"""The order gate: the one way out, and what the venue answers.

Every order leaves by `OrderGate.send` and by nothing else: risk check, durable intent, venue. A
closed gate lets nothing out. Cancels always pass: the way out of the market stays open.

An answer proves an order or its absence, or it proves nothing; then the order is UNKNOWN and is
looked up, never sent again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from nkfast.errors import (
    AuthenticationError,
    DuplicateClientIdError,
    InsufficientFundsError,
    JournalError,
    NkfastError,
    OrderError,
    OrderNotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RejectedError,
    RiskError,
    VenueError,
)
from nkfast.trading.latency import Latencies
from nkfast.trading.orders import IdSource, Order, OrderState, Outcome
from nkfast.venue.port import NewOrder, OrderType, OrderUpdate, Side

if TYPE_CHECKING:
    from decimal import Decimal

    from nkfast.trading.account import RequestBudget
    from nkfast.trading.bookkeeping import Bookkeeper
    from nkfast.trading.reasons import Reasons
    from nkfast.trading.reconcile import Reconciler
    from nkfast.trading.risk import RiskGuard
    from nkfast.venue.clock import Clock
    from nkfast.venue.port import Venue

__all__ = ["DUPLICATE_ID", "Intent", "OrderGate"]

#: Why an order is UNKNOWN whose id the venue refused as used.
DUPLICATE_ID = "the venue knows its id already"

_NS = 1_000_000_000
#: Latencies kept for the percentiles.
_LATENCIES_KEPT = 10_000
#: The key was refused this often in a row: it will not be accepted the next time.
_AUTH_FAILURES_MAX = 2


class Intent(NamedTuple):
    """What shall be sent. ``price`` is None for a market order; ``slot`` has no open order.

    ``post_only`` says that it must not trade at once.
    """

    slot: str
    symbol: str
    side: Side
    quantity: "Decimal"
    price: "Decimal | None"
    type: OrderType = "limit"
    post_only: bool = False


class OrderGate:
    """Lets orders out, one intent once, and understands the answers.

    Parameters
    ----------
    venue, clock, loop
        Where to, what time it is, and who calls back.
    guard : RiskGuard
        May refuse before anything leaves.
    bookkeeper, reasons, reconciler
        Learn what the answers say; the reconciler settles what they do not.
    request_timeout_s : float
        A request without an answer for this long is in doubt.
    guarded : callable
        Runs what an answer causes; an error in it halts trading.
    halt : callable
        Halts trading.
    on_anomaly : callable
        Is told the code and the detail of each answer that spends the error budget.
    budget : RequestBudget, optional
        Of the account: counts cancels, and lets those wait that are more than it allows.

    Attributes
    ----------
    waits_until_ns : int
        The venue asked for less: nothing is to be sent before this, monotonic nanoseconds.
    answered : Latencies
        From handing an order to the venue until its answer, whatever it says.
    tick_to_order : Latencies
        From the news that an order answers until after it was handed to the venue.
    """

    def __init__(
        self,
        *,
        venue: "Venue",
        clock: "Clock",
        loop: asyncio.AbstractEventLoop,
        ids: IdSource,
        guard: "RiskGuard",
        bookkeeper: "Bookkeeper",
        reasons: "Reasons",
        reconciler: "Reconciler",
        request_timeout_s: float,
        guarded: Callable[[Callable[[], None]], None],
        halt: Callable[[BaseException], None],
        on_anomaly: Callable[[str, str], None],
        budget: "RequestBudget | None" = None,
    ) -> None:
        self.waits_until_ns = 0
        self.answered = Latencies()
        self.tick_to_order = Latencies()
        self._closed_by: str | None = None
        self._venue = venue
        self._clock = clock
        self._loop = loop
        self._ids = ids
        self._guard = guard
        self._bookkeeper = bookkeeper
        self._reasons = reasons
        self._reconciler = reconciler
        self._request_timeout_s = request_timeout_s
        self._guarded = guarded
        self._halt = halt
        self._on_anomaly = on_anomaly
        self._budget = budget
        self._auth_failures = 0
        self._latencies_ns: deque[int] = deque(maxlen=_LATENCIES_KEPT)
        self._gathered: list[tuple[Order, int]] | None = None
        self._gathered_cancels: list[Order] = []
        # The newest order until it is counted: when it has left, or before another is checked.
        self._uncounted: tuple[Order, Intent] | None = None
        self._boot_id = clock.boot_id

    @property
    def is_open(self) -> bool:
        """Whether orders are let out."""
        return self._closed_by is None

    def close(self, reason: str) -> None:
        """Let no order out from here on; the first reason stays."""
        if self._closed_by is None:
            self._closed_by = reason

    def check(self, intent: Intent) -> None:
        """Let an order pass, or say why not; nothing is sent.

        Raises
        ------
        nkfast.errors.RiskError
            The gate is closed (code GATE_CLOSED) or a limit would be broken.
        """
        if self._closed_by is not None:
            raise RiskError("GATE_CLOSED", self._closed_by, "an open gate")
        self._guard.check(intent)
        if intent.post_only:
            self._guard.check_rests(intent)

    def gather(self) -> None:
        """Keep back what is sent and cancelled from now on, until `release`."""
        self._gathered = []

    def release(self) -> None:
        """Make every intent durable that was gathered, as one; then let them out, cancels first.

        Raises
        ------
        nkfast.errors.JournalError
            The intents are not durable: no order was sent. The cancels were.
        """
        gathered, self._gathered = self._gathered or [], None
        cancels, self._gathered_cancels = self._gathered_cancels, []
        if not gathered and not cancels:
            return
        try:
            self._bookkeeper.flush_in_haste()
        except JournalError:
            self._count_newest()
            for order, _ in gathered:
                self._bookkeeper.forget(order)
            gathered = []
            raise
        finally:
            try:
                for order in cancels:
                    self._submit_cancel(order)
                for order, event_ns in gathered:
                    self._submit(order, event_ns)
            finally:
                self._count_newest()
        self._bookkeeper.settle()

    def send(self, intent: Intent, event_ns: int = 0, *, stores_state: bool = False) -> Order:
        """Send one order, now or when what is gathered is released.

        Parameters
        ----------
        intent : Intent
            What to send.
        event_ns : int
            When the news came that it answers, monotonic nanoseconds; 0 when it answers none.
        stores_state : bool
            Whether the strategy's state may be new and is to be stored with the intent.

        Returns
        -------
        Order
            In state SENDING; the bookkeeper learns the rest.

        Raises
        ------
        nkfast.errors.RiskError
            The gate is closed or a limit would be broken; nothing was written or sent.
        nkfast.errors.JournalError
            The intent could not be made durable; nothing was sent.
        """
        if self._uncounted is not None:
            self._count_newest()
        self.check(intent)
        slot, symbol, side, quantity, price, kind, _ = intent
        order = Order(
            self._ids.next(),
            slot,
            symbol,
            side,
            price,
            quantity,
            kind,
            self._clock.time_ns() // 1_000_000,
            self._clock.boot_ns(),
            self._boot_id,
        )
        self._guard.claim(intent)
        self._bookkeeper.intend(order, stores_state=stores_state)
        self._uncounted = order, intent
        if self._gathered is not None:
            self._gathered.append((order, event_ns))
            return order
        try:
            self._bookkeeper.flush_in_haste()
        except JournalError:
            self._count_newest()
            self._bookkeeper.forget(order)
            raise
        try:
            self._submit(order, event_ns)
        finally:
            self._count_newest()
        self._bookkeeper.settle()
        return order

    def _count_newest(self) -> None:
        """Let the newest order count: for its slot, its reservation, our limits."""
        if self._uncounted is None:
            return
        (order, intent), self._uncounted = self._uncounted, None
        at = self._guard.price_of(intent) if intent.price is None else None
        self._bookkeeper.add(order, at)
        self._guard.note_sent(intent)
        self._ids.prepare()

    def _submit(self, order: Order, event_ns: int) -> None:
        answer = self._venue.submit(
            NewOrder(
                order.client_id,
                order.symbol,
                order.side,
                order.quantity,
                order.price,
                order.type,
            )
        )
        sent_ns = self._clock.monotonic_ns()
        if event_ns:
            self._latencies_ns.append(sent_ns - event_ns)
            self.tick_to_order.note(sent_ns - event_ns)
        timer = self._loop.call_later(self._request_timeout_s, self._on_submit_timeout, order)
        answer.add_done_callback(partial(self._on_submitted, order, timer, sent_ns))

    def cancel(self, order: Order) -> None:
        """Ask for the end of a resting order, unless that is under way. No gate is in its way."""
        if order.state is not OrderState.LIVE or order.cancel_in_flight:
            return
        order.cancel_in_flight = True
        try:
            self._bookkeeper.wish_cancelled(order)
            if self._gathered is not None:
                self._gathered_cancels.append(order)
                return
            self._bookkeeper.flush()
        except JournalError as error:
            self._halt(error)  # the way out stays open without a journal
        self._submit_cancel(order)

    def _submit_cancel(self, order: Order) -> None:
        wait_s = 0.0 if self._budget is None else self._budget.reserve_cancel()
        if wait_s:
            self._loop.call_later(wait_s, self._send_cancel, order)
        else:
            self._send_cancel(order)

    def _send_cancel(self, order: Order) -> None:
        if order.state is not OrderState.LIVE:
            return  # it ended while the cancel waited for its turn
        answer = self._venue.cancel(order.symbol, order.client_id, order.order_id)
        timer = self._loop.call_later(self._request_timeout_s, self._on_cancel_timeout, order)
        answer.add_done_callback(partial(self._on_cancelled, order, timer))

    def cancel_stray(self, update: OrderUpdate) -> None:
        """Cancel an order with an id of ours that no order of ours is."""
        if self._budget is not None:
            self._budget.reserve_cancel()
        answer = self._venue.cancel(update.symbol, update.client_id, update.order_id)
        answer.add_done_callback(_error_of)  # its caller halts; that is what matters

    def note_accepted(self) -> None:
        """Take note that the venue accepted an order: the key works."""
        self._auth_failures = 0

    def tick_to_order_us(self) -> Mapping[str, float | None]:
        """Return p50 and p99 of the time from an event to the order that answered it."""
        ordered = sorted(self._latencies_ns)
        return {"p50": _quantile(ordered, 0.5), "p99": _quantile(ordered, 0.99)}

    # Answers -----------------------------------------------------------------------------------

    def _on_submit_timeout(self, order: Order) -> None:
        if order.state is OrderState.SENDING:
            reason = f"no answer in {self._request_timeout_s:g} s"
            self._guarded(partial(self._doubt_create, order, reason))

    def _on_cancel_timeout(self, order: Order) -> None:
        if order.cancel_in_flight:
            self._reasons.count("CANCEL_UNKNOWN", f"{order.client_id}: no answer")
            self._reconciler.open_case(order, "cancel")

    def _on_submitted(
        self,
        order: Order,
        timer: asyncio.TimerHandle,
        sent_ns: int,
        answer: "asyncio.Future[OrderUpdate]",
    ) -> None:
        timer.cancel()
        self.answered.note(self._clock.monotonic_ns() - sent_ns)
        error = _error_of(answer)
        self._guarded(partial(self._take_answer, order, answer, error))

    def _take_answer(
        self, order: Order, answer: "asyncio.Future[OrderUpdate]", error: BaseException | None
    ) -> None:
        """Classify one attempt to send. What is not certainly rejected is unknown."""
        if error is None:
            try:
                news = order.hear_update(answer.result())
            except OrderError as mismatch:  # the answer to another request on this connection
                self._reasons.count("ANSWER_MISMATCH", str(mismatch))
                self._doubt_create(order, "the answer was another order's")
                self._on_anomaly("ANSWER_MISMATCH", str(mismatch))
            else:
                self._bookkeeper.learn(news)
            return
        if isinstance(error, DuplicateClientIdError):
            self._doubt_create(order, DUPLICATE_ID)
        elif isinstance(error, VenueError) and _is_certain(error):
            self._reasons.count(_reject_code(error), f"{order.slot}: {error}")
            self._bookkeeper.learn(order.hear_outcome(Outcome.REJECTED, str(error)))
            self._take_rejection(error)
        else:
            self._doubt_create(order, str(error) or type(error).__name__)
            if not isinstance(error, NkfastError | asyncio.CancelledError):
                raise error

    def _doubt_create(self, order: Order, reason: str) -> None:
        if order.state is OrderState.SENDING:
            self._reasons.count("OUTCOME_UNKNOWN", f"{order.client_id}: {reason}")
        self._bookkeeper.learn(order.hear_outcome(Outcome.UNKNOWN, reason))
        if order.state is OrderState.UNKNOWN:
            self._reconciler.open_case(order, "create")

    def _take_rejection(self, error: VenueError) -> None:
        if isinstance(error, RateLimitError):
            wait_ns = int(error.retry_after_seconds * _NS)
            self.waits_until_ns = self._clock.monotonic_ns() + wait_ns
            if self._budget is not None:
                self._budget.pause(error.retry_after_seconds)
        elif error.sent != "no":
            self._on_anomaly(_reject_code(error), str(error))
        if isinstance(error, InsufficientFundsError):
            self._reconciler.compare_soon()  # our idea of the balances is wrong
        if isinstance(error, AuthenticationError | PermissionDeniedError):
            self._auth_failures += 1
            if self._auth_failures >= _AUTH_FAILURES_MAX:
                raise error

    def _on_cancelled(
        self, order: Order, timer: asyncio.TimerHandle, answer: "asyncio.Future[OrderUpdate]"
    ) -> None:
        timer.cancel()
        error = _error_of(answer)
        self._guarded(partial(self._take_cancel_answer, order, answer, error))

    def _take_cancel_answer(
        self, order: Order, answer: "asyncio.Future[OrderUpdate]", error: BaseException | None
    ) -> None:
        if error is None:
            self._bookkeeper.learn(order.hear_update(answer.result()))
        elif order.state is OrderState.LIVE and not isinstance(error, OrderNotFoundError):
            detail = f"{order.client_id}: {error or type(error).__name__}"
            self._reasons.count("CANCEL_UNKNOWN", detail)
        # The end comes from what the venue says of the order, never from the answer to a cancel.
        if order.state is OrderState.LIVE:
            self._reconciler.open_case(order, "cancel")
        if error is not None and not isinstance(error, NkfastError | asyncio.CancelledError):
            raise error


def _error_of(answer: "asyncio.Future[OrderUpdate]") -> BaseException | None:
    return asyncio.CancelledError() if answer.cancelled() else answer.exception()


def _is_certain(error: VenueError) -> bool:
    """Whether an error proves that there is no order."""
    if error.sent == "no":
        return True
    if error.sent == "maybe" or isinstance(error, OrderNotFoundError):
        return False
    return isinstance(
        error, RejectedError | RateLimitError | AuthenticationError | PermissionDeniedError
    )


def _reject_code(error: VenueError) -> str:
    return f"REJECTED_{error.code}" if error.code is not None else "REJECTED"


def _quantile(ordered: Sequence[int], fraction: float) -> float | None:
    """Return a quantile of ordered nanoseconds, in microseconds."""
    if not ordered:
        return None
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] / 1000
