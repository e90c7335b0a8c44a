"""The loop: what a strategy desires becomes orders, and news of orders becomes knowledge.

One engine trades one market with one strategy. It decides only while the book is live, the venue
is connected and our books have been compared with the venue's. A decision's difference from what
is live passes the risk guard, is written to the journal, and only then leaves. To replace an order
is to cancel it, to wait for its end, and to place the new one at the next decision: one slot never
has two live orders.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from nkfast.errors import (
    AuthenticationError,
    ConfigError,
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
from nkfast.trading.exact import ZERO, plain, subtract
from nkfast.trading.ledger import Ledger
from nkfast.trading.orders import (
    IdSource,
    News,
    Order,
    OrderState,
    OrderStore,
    Outcome,
    instance_code,
)
from nkfast.trading.reconcile import Reconciler, ReconcileSettings
from nkfast.trading.risk import RiskGuard, RiskLimits
from nkfast.trading.strategy import Desired, Fill, LiveOrder, MarketView, Quote, Strategy
from nkfast.venue.port import Execution, Holding, NewOrder, OrderUpdate, PublicTrade

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market
    from nkfast.trading.journal import Journal
    from nkfast.venue.clock import Clock
    from nkfast.venue.port import Venue

__all__ = ["Engine", "EngineSettings", "EngineSummary", "Mode"]

Mode = Literal["monitor", "paper", "live"]

_NS = 1_000_000_000
#: A slot whose order our own limits refused is tried again after this long, or when orders or
#: balances have changed.
_REFUSAL_PAUSE_S = 1.0
#: A slot whose order the venue rejected waits twice as long each time.
_REJECTION_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
#: Latencies kept for the percentiles.
_LATENCIES_KEPT = 10_000

_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine behaves, apart from what the strategy and the limits say.

    Attributes
    ----------
    instance : str or None
        When given, the journal must be this instance's.
    reconcile_interval_s, overlap_s, finality_horizon_s, round_gap_s : float
        See `ReconcileSettings`.
    request_timeout_s : float
        A create or cancel without an answer for this long is in doubt.
    exit_timeout_s : float
        How long `Engine.stop` waits for cancels to end.
    recent_fills : int
        Fills kept for the screens.
    """

    instance: str | None = None
    reconcile_interval_s: float = 30.0
    overlap_s: float = 60.0
    finality_horizon_s: float = 120.0
    round_gap_s: float = 5.0
    request_timeout_s: float = 10.0
    exit_timeout_s: float = 10.0
    recent_fills: int = 256

    def __post_init__(self) -> None:
        for name in ("request_timeout_s", "exit_timeout_s", "recent_fills"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive", name)
        self.reconcile()

    def reconcile(self) -> ReconcileSettings:
        """Return the part that the reconciler needs."""
        return ReconcileSettings(
            self.reconcile_interval_s,
            self.overlap_s,
            self.finality_horizon_s,
            self.round_gap_s,
        )


@dataclass(frozen=True, slots=True)
class EngineSummary:
    """What one run did so far. The ledger holds the totals over all runs.

    Attributes
    ----------
    orders, fills, rejects : int
        Intents sent, executions told, orders that the venue rejected.
    fees : mapping of str to Decimal
        By the asset that they were paid in.
    unknown_fees : int
        Fills, over all runs, whose fee is not known yet.
    realized, unrealized, equity_change : Decimal
        Quote units; the last two are None without a mid to value the position at. Their sum over
        all runs agrees to the last digit.
    position : Decimal
        Base units bought less sold, over all runs.
    open_orders, unknown_orders : int
        Now.
    tick_to_order_us : mapping
        p50 and p99, from the arrival of the frame or report that an order answers until after
        the order was handed to the venue; None before the first. Orders that answer nothing, such
        as the first ones of a start, are not measured.
    reasons : mapping of str to int
        How often each action was not taken, by reason code.
    """

    orders: int
    fills: int
    rejects: int
    fees: Mapping[str, Decimal]
    unknown_fees: int
    realized: Decimal
    unrealized: Decimal | None
    equity_change: Decimal | None
    position: Decimal
    open_orders: int
    unknown_orders: int
    tick_to_order_us: Mapping[str, float | None]
    reasons: Mapping[str, int]
    halted: str | None

    def as_json(self) -> dict[str, Any]:
        """Return everything with money in plain digits."""
        return {name: _as_json(value) for name, value in asdict(self).items()}


def _as_json(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return value


@dataclass(slots=True)
class _Pauses:
    """Until when slots, or all of them, must wait before their next order."""

    all_ns: int = 0  # the venue asked for less
    refused: dict[str, int] = field(default_factory=dict)  # until, by our own limits
    rejected: dict[str, tuple[int, int]] = field(default_factory=dict)  # until, how often

    def until_ns(self, slot: str) -> int:
        until, _ = self.rejected.get(slot, (0, 0))
        return max(until, self.refused.get(slot, 0), self.all_ns)


class Engine:
    """Trades one market with one strategy at one venue.

    Parameters
    ----------
    venue, clock, journal, strategy
        Where, when, into what, by whose wish.
    symbol : str
        ``BASE/QUOTE``.
    limits : RiskLimits
        Our own limits.
    mode : {"monitor", "paper", "live"}
        "monitor" decides and counts what it would do, and sends nothing.

    Attributes
    ----------
    orders, ledger
        What we believe; `ledger` exists once `start` knows the market.
    recent_fills : deque of Fill
        The newest fills.
    desired : Desired or None
        The newest decision.
    halted : str or None
        Why nothing new is sent any more.
    reasons : Counter
        Actions considered and not taken, by code.
    """

    ledger: Ledger

    def __init__(
        self,
        *,
        venue: "Venue",
        clock: "Clock",
        journal: "Journal",
        strategy: Strategy,
        symbol: str,
        limits: RiskLimits,
        mode: Mode,
        settings: EngineSettings | None = None,
    ) -> None:
        if mode not in ("monitor", "paper", "live"):
            raise ConfigError(f"mode {mode!r}: use 'monitor', 'paper' or 'live'", "mode")
        self._settings = settings = settings if settings is not None else EngineSettings()
        if settings.instance and instance_code(settings.instance) != journal.instance:
            raise ConfigError(
                f"instance {settings.instance!r} has another journal than {journal.path}",
                "instance",
            )
        self.symbol = symbol
        self.mode: Mode = mode
        self.strategy = strategy
        self.orders = OrderStore()
        self.recent_fills: deque[Fill] = deque(maxlen=settings.recent_fills)
        self.desired: Desired | None = None
        self.halted: str | None = None
        self.reasons: Counter[str] = Counter()
        self._venue = venue
        self._clock = clock
        self._journal = journal
        self._limits = limits
        self._ids = IdSource(journal.instance, journal.boot)
        self._pauses = _Pauses()
        self._error: BaseException | None = None
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wake_timer: asyncio.TimerHandle | None = None
        # News that comes before `start` has a ledger to put it in; None from then on.
        self._early_news: list[Callable[[], None]] | None = []
        # What must all hold for a decision, beside a live book and no halt.
        self._is_connected = False
        self._is_compared = False
        self._is_stopping = False
        self._is_deciding = False
        self._is_decision_due = False
        self._can_record = True  # False once the journal failed
        self._can_tell = True  # False once the strategy failed to take a fill
        self._auth_failures = 0
        self._made_so: tuple[Desired | None, int, int] = (None, -1, -1)
        self._stored_state: str | None = None
        self._told_state: dict[str, Any] | None = None
        self._event_ns = 0
        self._book_ns: int | None = None
        self._latencies_ns: deque[int] = deque(maxlen=_LATENCIES_KEPT)
        self._unwritten: dict[str, tuple[int, str]] = {}
        self._orders_sent = self._fills = self._rejects = 0
        self._view_orders: tuple[int, Mapping[str, LiveOrder]] = (-1, {})
        self._view_funds: tuple[int, Mapping[str, Decimal], Mapping[str, Decimal]] = (-1, {}, {})

    # The life of the engine --------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, take up what an earlier run left, compare with the venue, begin to decide.

        Raises
        ------
        nkfast.errors.VenueError
            The venue cannot be reached or read.
        nkfast.errors.ConfigError
            The journal belongs to another strategy or market.
        """
        self._loop = asyncio.get_running_loop()
        now_ms = self._clock.time_ns() // 1_000_000
        recovered = self._journal.recover(now_ms)
        self._take_up_strategy(recovered.strategy_state)
        self._reconciler = Reconciler(
            venue=self._venue,
            clock=self._clock,
            orders=self.orders,
            symbol=self.symbol,
            sink=self,
            cursor_ms=min(
                [now_ms if recovered.cursor_ms is None else recovered.cursor_ms]
                + [order.sent_ms for order in recovered.orders if order.state.is_open]
            ),
            settings=self._settings.reconcile(),
        )
        for order in reversed(recovered.orders):  # the newest order of a slot holds it
            self._take_up_order(order)
        await self._venue.start([self.symbol], self)
        self._market: Market = self._venue.markets[self.symbol]
        self._book: OrderBook = self._venue.book(self.symbol)
        self.ledger = Ledger(self._market, recovered.profit)
        self._first_profit = self.ledger.profit
        for order in self.orders.open_orders:
            self.ledger.reserve(order)
        self._guard = RiskGuard(self._limits, self._market, self.ledger, self.orders)
        early, self._early_news = self._early_news or [], None
        for tell in early:
            tell()
        self._is_connected = True
        if self.mode == "monitor":
            self._is_compared = True
        else:
            await self._compare_at_start()
        if self._error is not None:
            raise self._error
        self._decide_soon()

    async def run(self, stop: asyncio.Event) -> None:
        """Trade until ``stop`` is set, or raise what halted trading."""
        waiters = [asyncio.ensure_future(event.wait()) for event in (stop, self._ended)]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
        if self._error is not None:
            raise self._error

    async def stop(self, on_exit: Literal["cancel", "keep"] = "cancel") -> None:
        """Send nothing new, cancel what rests (or keep it), wait for the ends, disconnect.

        The journal stays open. Orders whose end is not known at the deadline are in the journal
        and are looked up by the next start.
        """
        self._is_stopping = True
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        try:
            if self._task is not None:
                await self._wind_down(cancels=on_exit == "cancel")
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
                self._task = None
            await self._venue.close()
            if self._can_record:
                self._write_reasons()

    def summary(self) -> EngineSummary:
        """Return what this run did so far."""
        now, first = self.ledger.profit, self._first_profit
        mid = self._book.mid
        latencies = sorted(self._latencies_ns)
        return EngineSummary(
            orders=self._orders_sent,
            fills=self._fills,
            rejects=self._rejects,
            fees={
                asset: subtract(fee, first.fees.get(asset, ZERO)) for asset, fee in now.fees.items()
            },
            unknown_fees=now.unknown_fees,
            realized=subtract(now.realized, first.realized),
            unrealized=None if mid is None else now.unrealized(mid),
            equity_change=None if mid is None else now.equity_change(mid),
            position=now.position,
            open_orders=self.orders.open_count,
            unknown_orders=self.orders.unknown_count,
            tick_to_order_us={"p50": _quantile(latencies, 0.5), "p99": _quantile(latencies, 0.99)},
            reasons=dict(self.reasons),
            halted=self.halted,
        )

    def _take_up_strategy(self, stored: Mapping[str, Any] | None) -> None:
        if stored is None:
            return
        if (stored["strategy"], stored["symbol"]) != (self.strategy.name, self.symbol):
            raise ConfigError(
                f"journal {self._journal.path} belongs to strategy {stored['strategy']!r} on"
                f" {stored['symbol']}, not to {self.strategy.name!r} on {self.symbol};"
                " give this instance another name"
            )
        self.strategy.restore(stored["state"])
        self._stored_state = _encode_json(stored)

    def _take_up_order(self, order: Order) -> None:
        """Adopt an order of an earlier run. What was being sent then has an unknown outcome."""
        order.sent_ns = self._clock.monotonic_ns()
        if order.state is OrderState.SENDING:
            news = order.hear_outcome(Outcome.UNKNOWN, "the process that sent it ended")
            assert news is not None
            self._journal.record([news])
            order.apply(news)
        self.orders.adopt(order)
        if order.state is OrderState.UNKNOWN:
            self._reconciler.open_case(order, "create", at_once=True)
        elif order.state is OrderState.CLOSING:
            self._reconciler.open_case(order, "fills", at_once=True)

    async def _compare_at_start(self) -> None:
        await self._reconciler.compare()
        await self._reconciler.settle_due()
        self._task = self._loop.create_task(self._reconciler.run(), name="nkfast-reconcile")
        self._task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            error = task.exception()
            self._halt(error if error is not None else AssertionError("reconciling ended"))

    async def _wind_down(self, *, cancels: bool) -> None:
        """Cancel what rests and wait until everything on its way has ended, up to a deadline."""
        waited_for = {OrderState.SENDING}
        if cancels:
            waited_for = {OrderState.SENDING, OrderState.UNKNOWN, OrderState.LIVE}
            if self._can_record and self._can_tell:
                waited_for.add(OrderState.CLOSING)
        deadline_ns = self._clock.monotonic_ns() + int(self._settings.exit_timeout_s * _NS)
        while any(order.state in waited_for for order in self.orders.open_orders):
            self._changed.clear()
            if cancels:
                for order in list(self.orders.open_orders):
                    self._cancel(order)
            left_s = (deadline_ns - self._clock.monotonic_ns()) / _NS
            if left_s <= 0:
                self.count("EXIT_TIMEOUT", f"{self.orders.open_count} orders without an end")
                return
            timer = self._loop.call_later(min(left_s, 0.25), self._changed.set)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()

    def _halt(self, error: BaseException) -> None:
        """Send nothing new from here on; `run` raises the error."""
        if isinstance(error, JournalError):
            self._can_record = False
        if self._error is not None:
            return
        self._error = error
        self.halted = f"{type(error).__name__}: {error}"
        self._ended.set()
        if self._can_record:
            try:
                self._journal.note_halt(self.halted)
            except JournalError:
                self._can_record = False

    # What the venue tells (VenueListener) ------------------------------------------------------

    def on_book(self, symbol: str, received_ns: int) -> None:
        """Decide on the newest book. Called by the venue, once a burst."""
        if symbol != self.symbol:
            return
        self._book_ns = received_ns
        if self._is_deciding:
            self._decide_soon(received_ns)
        else:
            self._decide(received_ns)

    def on_order(self, update: OrderUpdate) -> None:
        """Take news of an order, ours or foreign."""
        if update.symbol == self.symbol:
            self._guarded(partial(self._take_update, update, self._clock.monotonic_ns()))

    def on_execution(self, execution: Execution) -> bool:
        """Take one execution; False when the order it belongs to is not known."""
        order = self._find(execution.client_id, execution.order_id)
        if order is None:
            # A client id that is not ours says whose it is: nobody that matters here.
            client_id = execution.client_id
            return client_id is not None and self._ids.owns(client_id) is None
        self._guarded(lambda: self._learn(order.hear_execution(execution)))
        return True

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        """Take the balances that changed."""
        self._guarded(partial(self._take_holdings, holdings, is_quiet=False))

    def on_trade(self, trade: PublicTrade) -> None:
        """Take a public trade; decisions are made on the book."""

    def on_connection(self, is_up: bool, reason: str) -> None:
        """Stop deciding while disconnected, and compare before deciding again."""
        if self._early_news is not None:
            return  # `start` of the venue tells by returning
        self._is_connected = is_up
        self._reconciler.note_connection()
        if not is_up:
            self.count("DISCONNECTED", reason)
        if self.mode != "monitor":
            self._is_compared = False
            if is_up:
                self._reconciler.compare_soon()

    def _guarded(self, tell: Callable[[], None]) -> None:
        """Run what news causes; whatever goes wrong halts trading, not the venue's socket."""
        if self._early_news is not None:
            self._early_news.append(partial(self._guarded, tell))
            return
        try:
            tell()
        except Exception as error:
            self._halt(error)

    # What the reconciler tells (ReconcileSink) -------------------------------------------------

    def on_balances(self, holdings: Sequence[Holding], *, is_quiet: bool) -> None:
        """Take every balance of the account."""
        self._guarded(partial(self._take_holdings, holdings, is_quiet=is_quiet))

    def on_outcome(self, order: Order, outcome: Outcome, reason: str) -> None:
        """Take what became of an attempt to send."""
        if outcome is Outcome.ABANDONED:
            self.count("ABANDONED", f"{order.client_id}: {reason}")
        self._guarded(lambda: self._learn(order.hear_outcome(outcome, reason)))

    def on_vanished(self, order: Order) -> None:
        """Take the proof that an accepted order rests no more."""
        self.count("VANISHED", order.client_id)
        self._guarded(lambda: self._learn(order.hear_vanished()))

    def on_settled(self, order: Order) -> None:
        """Take note that an order is in doubt no more: it may be cancelled again."""
        order.cancel_in_flight = False
        self._changed.set()
        self._decide_afresh()

    def on_compared(self, cursor_ms: int) -> None:
        """Decide again: our books and the venue's have been compared."""
        self._guarded(partial(self._take_comparison, cursor_ms))

    def count(self, code: str, detail: str) -> None:
        """Count an action not taken, or an oddity, by a stable code."""
        self.reasons[code] += 1
        count, _ = self._unwritten.get(code, (0, ""))
        self._unwritten[code] = (count + 1, detail)

    def _take_comparison(self, cursor_ms: int) -> None:
        if self._can_record and self._can_tell:
            self._journal.set_cursor(cursor_ms)
            self._write_reasons()
        self._is_compared = self._is_connected
        self._decide_soon()

    def _write_reasons(self) -> None:
        if self._unwritten:
            self._journal.count_reasons(self._unwritten)
            self._unwritten = {}

    # From news to knowledge --------------------------------------------------------------------

    def _find(self, client_id: str | None, order_id: str) -> Order | None:
        """Return an order of ours, from the journal when it was forgotten."""
        order = self.orders.find(client_id, order_id)
        if order is None and client_id is not None and self._ids.owns(client_id) is not None:
            order = self._journal.find_order(client_id)
            if order is not None:
                order.sent_ns = self._clock.monotonic_ns()
                self.orders.adopt(order)
        return order

    def _take_update(self, update: OrderUpdate, received_ns: int) -> None:
        order = self._find(update.client_id, update.order_id)
        if order is None:
            self._meet_stranger(update)
        else:
            self._learn(order.hear_update(update), received_ns)

    def _take_holdings(self, holdings: Sequence[Holding], *, is_quiet: bool) -> None:
        self.ledger.set_holdings(holdings, is_complete=is_quiet)
        self._pauses.refused.clear()
        self._decide_soon()

    def _meet_stranger(self, update: OrderUpdate) -> None:
        """Judge an order that the journal does not know: leave it alone, or halt."""
        made_by = self._ids.owns(update.client_id)
        if made_by is None:
            if not update.status.is_final:
                self.count("FOREIGN_ORDER", f"{update.side} order {update.order_id}")
            return
        if made_by.boot > self._ids.boot:
            raise OrderError(
                update.client_id,
                update.status,
                f"a place here: start {made_by.boot} of this instance sent it and the journal knows"
                f" {self._ids.boot}; another copy trades, or an old journal was put back",
            )
        if not update.status.is_final:
            answer = self._venue.cancel(self.symbol, update.client_id, update.order_id)
            answer.add_done_callback(_error_of)  # the halt below is what matters
        raise OrderError(
            update.client_id, update.status, "a place here: the journal has no intent of it"
        )

    def _learn(self, news: News | None, received_ns: int = 0) -> None:
        """Make news durable, then true; tell the strategy of a fill in the same transaction."""
        if news is None or not self._can_record:
            return
        order = news.order
        if news.fill is not None and not self._can_tell:
            # The strategy is broken: the fill stays untold, and the next start reads it again.
            news = replace(news, fill=None)
        profit = state = None
        if news.fill is not None:
            profit = self.ledger.profit.after_fill(news.fill)
            state = self._tell_strategy(order, news.fill)
        elif news.fee is not None:
            key = (news.fee.trade_id, news.fee.order_id)
            profit = self.ledger.profit.after_fee(order.fills[key], news.fee)
        self._journal.record([news], profit=profit, strategy_state=state)
        before = order.state
        self.orders.apply(news)
        self.ledger.reserve(order)
        if profit is not None:
            self.ledger.apply(profit)
        if state is not None:
            self._stored_state = state
        if news.fill is not None:
            self._fills += 1
            self.recent_fills.append(_fill_of(order, news.fill))
        if order.state is not before:
            self._take_state(order, before)
        self._pauses.refused.clear()
        self._changed.set()
        self._decide_soon(received_ns)

    def _take_state(self, order: Order, before: OrderState) -> None:
        if order.state is OrderState.LIVE:
            self._auth_failures = 0
            self._pauses.rejected.pop(order.slot, None)
            if before in (OrderState.REJECTED, OrderState.ABANDONED):
                self.count("ZOMBIE", f"{order.client_id} was {before} and lives")
        elif order.state is OrderState.CLOSING:
            self._reconciler.open_case(order, "fills")
        elif order.state is OrderState.REJECTED:
            self._rejects += 1
            _, times = self._pauses.rejected.get(order.slot, (0, 0))
            pause_s = _REJECTION_PAUSES_S[min(times, len(_REJECTION_PAUSES_S) - 1)]
            self._pause(order.slot, pause_s, times + 1)

    def _tell_strategy(self, order: Order, execution: Execution) -> str:
        try:
            self.strategy.on_fill(_fill_of(order, execution))
            return self._strategy_state()
        except Exception:
            self._can_tell = False
            raise

    def _strategy_state(self) -> str:
        self._told_state = state = self.strategy.state()
        return _encode_json({"strategy": self.strategy.name, "symbol": self.symbol, "state": state})

    def _unstored_state(self) -> str | None:
        """Return the strategy's state if the journal does not have it yet."""
        if self._told_state is not None and self.strategy.state() is self._told_state:
            return None
        state = self._strategy_state()
        return None if state == self._stored_state else state

    # From wish to orders -----------------------------------------------------------------------

    def _decide_soon(self, event_ns: int = 0) -> None:
        """Decide once after everything that this turn of the loop brings.

        ``event_ns`` is when the market's news came that this answers; 0 when it answers none.
        """
        if event_ns and not self._event_ns:
            self._event_ns = event_ns
        if not self._is_decision_due:
            self._is_decision_due = True
            self._loop.call_soon(self._decide_now)

    def _decide_afresh(self) -> None:
        """Decide soon, and compare with what is live even if neither has changed."""
        self._made_so = (None, -1, -1)
        self._decide_soon()

    def _decide_now(self) -> None:
        self._is_decision_due = False
        event_ns, self._event_ns = self._event_ns, 0
        self._decide(event_ns)

    @property
    def may_decide(self) -> bool:
        """Whether orders may be sent: connected, compared, the book live, no halt, no stop."""
        return (
            self._is_compared
            and self._is_connected
            and self._error is None
            and not self._is_stopping
            and self._early_news is None
            and self._book.state == "live"
        )

    def _decide(self, event_ns: int) -> None:
        if not self.may_decide:
            return
        self._is_deciding = True
        try:
            desired = self.strategy.decide(self._view())
            made_so = (desired, self.orders.version, self.ledger.version)
            if desired is not self._made_so[0] or made_so != self._made_so:
                self._make_so(desired, event_ns)
        except Exception as error:
            self._halt(error)
        finally:
            self._is_deciding = False

    def _view(self) -> MarketView:
        if self._view_orders[0] != self.orders.version:
            live = {
                slot: LiveOrder(
                    slot,
                    order.client_id,
                    order.side,
                    order.price if order.price is not None else ZERO,
                    order.quantity,
                    order.filled,
                    order.state is OrderState.UNKNOWN,
                )
                for slot, order in self.orders.open_by_slot.items()
            }
            self._view_orders = (self.orders.version, live)
        if self._view_funds[0] != self.ledger.version:
            assets = (self._market.base, self._market.quote)
            self._view_funds = (
                self.ledger.version,
                {asset: self.ledger.available(asset) for asset in assets},
                {asset: self.ledger.total(asset) for asset in assets},
            )
        return MarketView(
            self._market,
            self._book,
            self._view_orders[1],
            self._view_funds[1],
            self._view_funds[2],
            self._clock.time_ns() // 1_000_000,
        )

    def _make_so(self, desired: Desired, event_ns: int) -> None:
        """Send the difference between what is desired and what is live, cancels first."""
        is_new = desired is not self.desired
        if is_new:
            self.desired = desired
            for skip in desired.skips:
                self.count(skip.code, skip.detail)
        quotes = desired.quotes
        for slot, order in list(self.orders.open_by_slot.items()):
            quote = quotes.get(slot)
            if quote is None or not _is_as_desired(order, quote):
                self._cancel(order)
        for zombie in self.orders.zombies:
            self._cancel(zombie)
        now_ns = self._clock.monotonic_ns()
        wake_ns = 0
        for slot, quote in quotes.items():
            if self.orders.at_slot(slot) is not None:
                continue
            until_ns = self._pauses.until_ns(slot)
            if until_ns <= now_ns:
                until_ns = self._place(slot, quote, event_ns, is_new=is_new)
            if until_ns and (not wake_ns or until_ns < wake_ns):
                wake_ns = until_ns
            if self._error is not None:
                return
        self._made_so = (desired, self.orders.version, self.ledger.version)
        if wake_ns:
            self._wake_at(wake_ns, now_ns)

    def _place(self, slot: str, quote: Quote, event_ns: int, *, is_new: bool) -> int:
        """Send one order; return 0, or until when the slot has to wait."""
        now_ns = self._clock.monotonic_ns()
        try:
            self._guard.check(quote, self._book, now_ns, self._book_ns)
        except RiskError as refusal:
            self.count(refusal.code, f"{slot}: {refusal.value} against {refusal.limit}")
            return self._refuse(slot, now_ns)
        if self.mode == "monitor":
            if is_new:
                price, quantity = plain(quote.price), plain(quote.quantity)
                self.count("MONITOR", f"{slot}: would {quote.side} {quantity} at {price}")
            return 0
        order = Order(
            self._ids.next(),
            slot,
            self.symbol,
            quote.side,
            quote.price,
            quote.quantity,
            "limit",
            self._clock.time_ns() // 1_000_000,
            now_ns,
        )
        state = self._unstored_state() if is_new else None
        self._journal.intend(order, state)
        if state is not None:
            self._stored_state = state
        self.orders.add(order)
        self.ledger.reserve(order)
        self._guard.note_sent(now_ns)
        self._orders_sent += 1
        answer = self._venue.submit(
            NewOrder(
                order.client_id, self.symbol, order.side, order.quantity, order.price, order.type
            )
        )
        if event_ns:
            self._latencies_ns.append(self._clock.monotonic_ns() - event_ns)
        timer = self._loop.call_later(
            self._settings.request_timeout_s, self._on_submit_timeout, order
        )
        answer.add_done_callback(partial(self._on_submitted, order, timer))
        return 0

    def _refuse(self, slot: str, now_ns: int) -> int:
        until_ns = now_ns + int(_REFUSAL_PAUSE_S * _NS)
        self._pauses.refused[slot] = until_ns
        return until_ns

    def _pause(self, slot: str, pause_s: float, times: int) -> None:
        until_ns = self._clock.monotonic_ns() + int(pause_s * _NS)
        self._pauses.rejected[slot] = (until_ns, times)

    def _wake_at(self, wake_ns: int, now_ns: int) -> None:
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        self._wake_timer = self._loop.call_later((wake_ns - now_ns) / _NS, self._on_wake)

    def _on_wake(self) -> None:
        self._wake_timer = None
        self._decide_afresh()

    def _cancel(self, order: Order) -> None:
        """Ask for the end of a resting order, unless that is under way."""
        if order.state is not OrderState.LIVE or order.cancel_in_flight:
            return
        if self._can_record:
            try:
                news = order.hear_cancel_wish()
                if news is not None:
                    self._journal.record([news])
                    self.orders.apply(news)
            except JournalError as error:
                self._halt(error)  # the way out stays open without a journal
        order.cancel_in_flight = True
        answer = self._venue.cancel(self.symbol, order.client_id, order.order_id)
        timer = self._loop.call_later(
            self._settings.request_timeout_s, self._on_cancel_timeout, order
        )
        answer.add_done_callback(partial(self._on_cancelled, order, timer))

    # Answers -----------------------------------------------------------------------------------

    def _on_submit_timeout(self, order: Order) -> None:
        if order.state is OrderState.SENDING:
            self._doubt_create(order, f"no answer in {self._settings.request_timeout_s:g} s")

    def _on_cancel_timeout(self, order: Order) -> None:
        if order.cancel_in_flight:
            self.count("CANCEL_UNKNOWN", f"{order.client_id}: no answer")
            self._reconciler.open_case(order, "cancel")

    def _on_submitted(
        self, order: Order, timer: asyncio.TimerHandle, answer: "asyncio.Future[OrderUpdate]"
    ) -> None:
        timer.cancel()
        error = _error_of(answer)
        self._guarded(partial(self._take_answer, order, answer, error))

    def _take_answer(
        self, order: Order, answer: "asyncio.Future[OrderUpdate]", error: BaseException | None
    ) -> None:
        """Classify one attempt to send. What is not certainly rejected is unknown."""
        if error is None:
            update = answer.result()
            try:
                news = order.hear_update(update)
            except OrderError as mismatch:  # the answer to another request on this connection
                self.count("ANSWER_MISMATCH", str(mismatch))
                self._doubt_create(order, "the answer was another order's")
            else:
                self._learn(news)
            return
        if isinstance(error, DuplicateClientIdError):
            self._doubt_create(order, "the venue knows its id already")
        elif isinstance(error, VenueError) and _is_certain(error):
            self.count(_reject_code(error), f"{order.slot}: {error}")
            self._learn(order.hear_outcome(Outcome.REJECTED, str(error)))
            self._take_rejection(error)
        else:
            self._doubt_create(order, str(error) or type(error).__name__)
            if not isinstance(error, NkfastError | asyncio.CancelledError):
                raise error

    def _doubt_create(self, order: Order, reason: str) -> None:
        if order.state is OrderState.SENDING:
            self.count("OUTCOME_UNKNOWN", f"{order.client_id}: {reason}")
        self._learn(order.hear_outcome(Outcome.UNKNOWN, reason))
        if order.state is OrderState.UNKNOWN:
            self._reconciler.open_case(order, "create")

    def _take_rejection(self, error: VenueError) -> None:
        if isinstance(error, RateLimitError):
            wait_ns = int(error.retry_after_seconds * _NS)
            self._pauses.all_ns = self._clock.monotonic_ns() + wait_ns
        if isinstance(error, InsufficientFundsError):
            self._reconciler.compare_soon()  # our idea of the balances is wrong
        if isinstance(error, AuthenticationError | PermissionDeniedError):
            self._auth_failures += 1
            if self._auth_failures >= 2:
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
            self._learn(order.hear_update(answer.result()))
        elif order.state is OrderState.LIVE and not isinstance(error, OrderNotFoundError):
            self.count("CANCEL_UNKNOWN", f"{order.client_id}: {error or type(error).__name__}")
        # The end comes from what the venue says of the order, never from the answer to a cancel.
        if order.state is OrderState.LIVE:
            self._reconciler.open_case(order, "cancel")
        if error is not None and not isinstance(error, NkfastError | asyncio.CancelledError):
            raise error


def _is_as_desired(order: Order, quote: Quote) -> bool:
    # Against what the strategy was told: between a report and its fill the two must not differ.
    return (
        order.side == quote.side
        and order.price == quote.price
        and subtract(order.quantity, order.filled) == quote.quantity
    )


def _fill_of(order: Order, execution: Execution) -> Fill:
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
    )


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
