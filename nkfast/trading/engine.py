"""The engine's life: start, trade, stop; what it is made of.

One engine runs one strategy on one market or several. What the venue tells (`news`) leads to
decisions (`deciding`). A decision's difference from what is live (`execution`), or the legs of a
plan (`legs`), pass the order gate (`gate`); what comes back is made durable and true by the
bookkeeper (`bookkeeping`), and what does not come back is found out by the reconciler
(`reconcile`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nkfast.errors import ConfigError, HaltedError, JournalError, LifeError
from nkfast.trading.account import AccountOrders
from nkfast.trading.audit import BookAudit
from nkfast.trading.bookkeeping import BESIDE_FILLS, Bookkeeper
from nkfast.trading.day import Day
from nkfast.trading.deciding import Deciding
from nkfast.trading.engine_settings import EngineSettings
from nkfast.trading.engine_summary import EngineSummary, summarize
from nkfast.trading.execution import Executor
from nkfast.trading.gate import OrderGate
from nkfast.trading.kill import KillSwitch
from nkfast.trading.ledger import Ledger
from nkfast.trading.legs import PlanRunner, left_plan
from nkfast.trading.life import (
    ErrorBudget,
    LeftPlan,
    Lifecycle,
    LifeState,
    OnExit,
    StopReport,
    halt_cause,
    rests_on,
    stop_report,
)
from nkfast.trading.news import NewsDesk
from nkfast.trading.orders import Order, OrderState, OrderStore, instance_code
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.reasons import Reasons
from nkfast.trading.reconcile import Reconciler, cursor_of
from nkfast.trading.reconcile_plan import ReconcilePlan, make_plan, plan_of_start
from nkfast.trading.risk import RiskGuard, RiskLimits
from nkfast.trading.rules_watch import RulesWatch
from nkfast.trading.strategy import Desired, Fill, Strategy
from nkfast.trading.strategy_host import StrategyHost
from nkfast.trading.watch import TimeWatch

if TYPE_CHECKING:
    from nkfast.core.market import Market
    from nkfast.trading.heartbeat import Heart
    from nkfast.trading.journal import Journal, Recovered
    from nkfast.trading.latency import Latencies
    from nkfast.venue.clock import Clock
    from nkfast.venue.port import Venue

__all__ = ["Engine", "EngineSettings", "EngineSummary", "Mode"]

Mode = Literal["monitor", "paper", "live"]

_NS = 1_000_000_000
#: The venue has at least so long to close, also after a stop that took all its time.
_CLOSE_MIN_S = 1.0
_GIVEN_UP = frozenset({OrderState.REJECTED, OrderState.ABANDONED})
_DECIDING = frozenset({LifeState.RUNNING, LifeState.DRAINING})
_LEAVING = frozenset({LifeState.STOPPING, LifeState.STOPPED})


class Engine:
    """Runs one strategy at one venue.

    Parameters
    ----------
    venue, clock, journal, strategy
        Where, when, into what, by whose wish.
    symbol : str
        The home market, ``BASE/QUOTE``.
    more_symbols : sequence of str
        Further markets that the strategy sees and trades: those of a cycle.
    limits : RiskLimits
        Our own limits; in live mode those that bound what a mistake can cost must be set.
    mode : {"monitor", "paper", "live"}
        "monitor" decides and counts what it would do, and sends nothing.
    account : AccountOrders, optional
        Shared by the instances of this process that trade with one account, so that their orders
        never meet each other; with a board, nor those of other processes.
    heart : Heart, optional
        Beats from before the first order until nothing is left that should not be.

    Attributes
    ----------
    orders, ledger
        What we believe; `ledger` exists once `start` knows the market.
    recent_fills : deque of Fill
        The newest fills.
    halted : str or None
        Why nothing new is sent any more.
    has_started : bool
        Whether `start` came to its end: our books were compared with the venue's.
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
        more_symbols: Sequence[str] = (),
        account: AccountOrders | None = None,
        heart: "Heart | None" = None,
        settings: EngineSettings | None = None,
    ) -> None:
        if mode not in ("monitor", "paper", "live"):
            raise ConfigError(f"mode {mode!r}: use 'monitor', 'paper' or 'live'", "mode")
        if mode == "live":
            limits.require_live()
            if strategy.refuses_live:
                raise ConfigError(f"{strategy.name}: {strategy.refuses_live}", "mode")
        self._settings = settings = settings if settings is not None else EngineSettings()
        if settings.instance and instance_code(settings.instance) != journal.instance:
            raise ConfigError(
                f"instance {settings.instance!r} has another journal than {journal.path}",
                "instance",
            )
        self.symbol = symbol
        self.symbols = tuple(dict.fromkeys((symbol, *more_symbols)))
        self.mode: Mode = mode
        self.strategy = strategy
        self.orders = OrderStore()
        self.recent_fills: deque[Fill] = deque(maxlen=settings.recent_fills)
        self.halted: str | None = None
        self._venue = venue
        self._clock = clock
        self._journal = journal
        self._heart = heart
        self._kill_switch = (
            None if settings.kill_file is None else KillSwitch(settings.kill_file, self.halt)
        )
        self._limits = limits
        self._account = account if account is not None else AccountOrders()
        self._ids = journal.id_source()
        self._reasons = Reasons(clock)
        self._life = Lifecycle(self._note_life)
        self._budget = ErrorBudget(settings.error_budget, int(settings.error_window_s * _NS))
        self._error: BaseException | None = None
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._deciding = Deciding(
            life=self._life,
            orders=self.orders,
            reasons=self._reasons,
            journal=journal,
            sends=mode != "monitor",
            cancels_on_halt=settings.on_halt == "cancel",
            cancels_when_blind=strategy.cancels_when_blind,
            halt=self._halt,
            enter=self._enter,
            end=self._ended.set,
            changed=self._changed,
        )
        self._news = NewsDesk(
            symbols=self.symbols,
            clock=clock,
            ids=self._ids,
            account=self._account,
            reasons=self._reasons,
            decider=self._deciding,
            compares=mode != "monitor",
        )
        self._recovered_open: list[Order] = []
        self._recovered_plan: LeftPlan | None = None
        self._is_venue_started = False
        self._is_assembled = False
        self.has_started = False

    @property
    def reasons(self) -> Counter[str]:
        """Actions considered and not taken, by code."""
        return self._reasons.counts

    @property
    def reason_details(self) -> Mapping[str, str]:
        """The numbers of the newest time of each reason, by code."""
        return self._reasons.details

    @property
    def error(self) -> BaseException | None:
        """What halted trading."""
        return self._error

    @property
    def life(self) -> LifeState:
        """Where the engine is in its life; see `nkfast.trading.life`."""
        return self._life.state

    @property
    def life_reason(self) -> str:
        """Why it is there."""
        return self._life.reason

    @property
    def latencies(self) -> "Mapping[str, Latencies]":
        """How long things took in this run, by what: tick_to_order, answer, journal."""
        if not self._is_assembled:
            return {}
        return {
            "tick_to_order": self._gate.tick_to_order,
            "answer": self._gate.answered,
            "journal": self._bookkeeper.durable,
        }

    @property
    def recent_plans(self) -> Sequence[PlanOutcome]:
        """What became of the newest plans."""
        return self._plans.recent

    @property
    def may_decide(self) -> bool:
        """Whether to decide: running, connected, compared, a book live, nothing halted."""
        return self._deciding.may_decide

    @property
    def desired(self) -> Desired | None:
        """The newest decision."""
        return self._executor.desired

    # The life of the engine --------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, take up what an earlier run left, compare with the venue, begin to decide.

        Raises
        ------
        nkfast.errors.VenueError
            The venue cannot be reached or read.
        nkfast.errors.ConfigError
            The journal belongs to another strategy or market.
        nkfast.errors.HaltedError
            Trading was halted, and nobody has cleared the cause.
        """
        self._loop = asyncio.get_running_loop()
        if self.mode == "live":
            self._journal.expect_real_money()
        now_ms = self._clock.time_ns() // 1_000_000
        before = self._journal.life()
        if before is not None and before.state == LifeState.HALTED and self.mode != "monitor":
            cause, _, detail = before.cause.partition(": ")
            raise HaltedError(cause, detail)
        if self._kill_switch is not None:
            self._kill_switch.refuse_thrown()
        if self._heart is not None:
            self._heart.start()
        recovered = await self._connect(now_ms)
        self._assemble(recovered, now_ms)
        self._is_assembled = True
        if self._error is not None:  # halted while it connected: now it can be written down
            error, self._error = self._error, None
            self._halt(error)
            raise error
        self._news.open(
            bookkeeper=self._bookkeeper,
            gate=self._gate,
            guard=self._guard,
            reconciler=self._reconciler,
            executor=self._executor,
            host=self._host,
        )
        self._watch.start()
        if self._kill_switch is not None:
            self._kill_switch.watch()
        if self.mode != "monitor":
            await self._compare_at_start()
            self._deciding.is_loss_bearable()
        self._supervise(self._audit.run(), "audit")
        self._supervise(self._rules_watch.run(), "rules")
        if self._error is not None:
            raise self._error
        self.has_started = True
        # What was paused or draining when its process died goes on so.
        if before is not None and before.state in (LifeState.PAUSED, LifeState.DRAINING):
            self._enter(LifeState(before.state), before.cause)
        else:
            self._enter(LifeState.RUNNING, "started")

    async def plan(self) -> ReconcilePlan:
        """Read what the venue's books and ours differ in, and change nothing.

        Before `start` it compares with what an earlier run left: the plan is what `start` will do.

        Raises
        ------
        nkfast.errors.VenueError
            The venue cannot be reached or read.
        nkfast.errors.ConfigError
            The journal belongs to another strategy or market.
        """
        overlap_ms = int(self._settings.overlap_s * 1000)
        if not self._is_assembled:
            now_ms = self._clock.time_ns() // 1_000_000
            recovered = await self._connect(now_ms)
            return await plan_of_start(
                self._journal,
                recovered,
                self._venue,
                symbols=self.symbols,
                now_ms=now_ms,
                overlap_ms=overlap_ms,
            )
        return await make_plan(
            venue=self._venue,
            symbols=self.symbols,
            ids=self._ids,
            open_orders=self.orders.open_orders,
            find=self._bookkeeper.find,
            since_ms=max(self._reconciler.cursor_ms - overlap_ms, 0),
            ledger=self.ledger,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Trade until ``stop`` is set or nothing is left to drain, or raise what halted trading.

        Raises
        ------
        nkfast.errors.HaltedError
            A person, the strategy or a budget halted trading.
        """
        waiters = [asyncio.ensure_future(event.wait()) for event in (stop, self._ended)]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
            await asyncio.gather(*waiters, return_exceptions=True)
        if self._error is not None:
            raise self._error

    def pause(self, reason: str) -> None:
        """Decide no more until `resume` or a stop; what rests goes on resting."""
        self._enter(LifeState.PAUSED, reason)

    def resume(self) -> None:
        """End a pause, or take new things up again while draining."""
        self._enter(LifeState.RUNNING, "resumed")

    def drain(self, reason: str) -> None:
        """Take nothing new; `run` ends when nothing is left that reduces the position."""
        self._enter(LifeState.DRAINING, reason)

    def halt(self, cause: str, detail: str) -> None:
        """Cancel everything and stay halted, also over a restart, until somebody clears the cause.

        Parameters
        ----------
        cause : str
            Stable code: ``KILL_SWITCH``.
        detail : str
            What happened.
        """
        self._halt(HaltedError(cause, detail))

    async def stop(self, on_exit: OnExit = "cancel", *, comes_back: bool = False) -> StopReport:
        """Send nothing new, cancel what rests (or keep it), wait for the ends, disconnect.

        Neither a broken journal nor a venue that does not close keeps it from its end; look at
        `error` afterwards. The journal stays open. Orders whose end is not known at the deadline
        are in the journal and are looked up by the next start. The legs of a plan are cancelled
        also where orders are kept.

        Parameters
        ----------
        on_exit : {"cancel", "keep"}
            What becomes of what rests.
        comes_back : bool
            Whether the instance is started again in a moment: its guard goes on watching.

        Returns
        -------
        StopReport
            What is left at the venue.
        """
        is_assembled = self._is_assembled
        if is_assembled:
            self._gate.close("the engine stops")
            self._executor.stop()
            self._plans.stop()
        if self._kill_switch is not None:
            self._kill_switch.unwatch()
        self._pass_to(LifeState.STOPPING, on_exit)
        deadline_ns = self._clock.monotonic_ns() + int(self._settings.exit_timeout_s * _NS)
        try:
            if is_assembled and self.mode != "monitor":
                await self._wind_down(deadline_ns, keeps=on_exit == "keep")
        finally:
            if is_assembled:
                self._watch.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks.clear()
            await self._close_venue(deadline_ns)
            self._account.leave(self.orders)
            if is_assembled and self._bookkeeper.can_record:
                self._news.guarded(self._put_away)
        self._pass_to(LifeState.STOPPED, on_exit)
        if is_assembled:
            orders, plan = self.orders.open_orders, self._plans.left()
            report = stop_report(orders, keeps=on_exit == "keep", plan=plan)
        else:  # nothing was asked of the venue: what an earlier run left rests on
            report = stop_report(self._recovered_open, keeps=True, plan=self._recovered_plan)
        if self._heart is not None:
            self._heart.stop(is_at_rest=not (report.left or comes_back))
        return report

    def summary(self) -> EngineSummary:
        """Return what this run did so far."""
        return summarize(
            profit=self.ledger.profit,
            first=self._first_profits[self.symbol],
            mid=self._books[self.symbol].mid,
            bookkeeper=self._bookkeeper,
            orders=self.orders,
            tick_to_order_us=self._gate.tick_to_order_us(),
            reasons=self.reasons,
            book_mismatch=self._audit.mismatch.get(self.symbol),
            life=self._life.state,
            halted=self.halted,
        )

    def _pass_to(self, state: LifeState, reason: str) -> None:
        """Move on when the life allows it; the way to the end depends on no store."""
        try:
            if self._life.may_become(state):
                self._life.become(state, reason)
        except JournalError as error:
            self._halt(error)

    async def _close_venue(self, deadline_ns: int) -> None:
        left_s = (deadline_ns - self._clock.monotonic_ns()) / _NS
        try:
            async with asyncio.timeout(max(left_s, _CLOSE_MIN_S)):
                await self._venue.close()
        except TimeoutError:
            self._reasons.count("EXIT_TIMEOUT", "the venue did not close")
        except Exception as error:
            self._reasons.count("CLOSE_FAILED", f"{type(error).__name__}: {error}")

    def _put_away(self) -> None:
        self._bookkeeper.flush()
        self._reasons.write(self._journal)

    async def _connect(self, now_ms: int) -> "Recovered":
        """Connect, once; return what an earlier run left."""
        recovered = self._journal.recover(now_ms)
        self._recovered_open = [order for order in recovered.orders if order.state.is_open]
        self._recovered_plan = left_plan(self._journal)
        self._check_owner(recovered.strategy_state)
        if not self._is_venue_started:
            await self._venue.start(self.symbols, self._news)
            self._is_venue_started = self._news.is_connected = True
        return recovered

    def _check_owner(self, stored: Mapping[str, Any] | None) -> None:
        if stored is None or (stored["strategy"], stored["symbol"]) == (
            self.strategy.name,
            self.symbol,
        ):
            return
        raise ConfigError(
            f"journal {self._journal.path} belongs to strategy {stored['strategy']!r} on"
            f" {stored['symbol']}, not to {self.strategy.name!r} on {self.symbol};"
            " give this instance another name"
        )

    def _assemble(self, recovered: "Recovered", now_ms: int) -> None:
        """Put the parts together, now that the markets are known, and take up what was left."""
        markets = {symbol: self._venue.markets[symbol] for symbol in self.symbols}
        self._books = {symbol: self._venue.book(symbol) for symbol in self.symbols}
        profits = recovered.profits
        self.ledger = Ledger(markets[self.symbol], profits.get(self.symbol))
        for symbol in self.symbols[1:]:
            self.ledger.add_market(markets[symbol], profits.get(symbol))
        self.ledger.recall(self._journal.kept(BESIDE_FILLS) or {})
        for symbol in self.symbols:
            self._account.join(symbol, self.orders)
        name = self._settings.instance or self._journal.instance
        identity = str(self._journal.path.resolve())
        self._account.sit(markets.values(), self.orders, name, identity)
        self._first_profits = dict(self.ledger.profits)
        self._host = StrategyHost(
            self.strategy,
            clock=self._clock,
            symbol=self.symbol,
            markets=markets,
            books=self._books,
            orders=self.orders,
            ledger=self.ledger,
            reasons=self._reasons,
            slow_callback_ms=self._settings.slow_callback_ms,
        )
        if recovered.strategy_state is not None:
            self._host.restore(recovered.strategy_state)
        self._assemble_the_way_out(cursor_of(recovered, now_ms))
        self._assemble_watches(markets)
        self._deciding.open(
            loop=self._loop,
            news=self._news,
            books=self._books,
            bookkeeper=self._bookkeeper,
            gate=self._gate,
            guard=self._guard,
            host=self._host,
            executor=self._executor,
            plans=self._plans,
            reconciler=self._reconciler,
            audit=self._audit,
            watch=self._watch,
        )
        self._guard.recall(recovered.orders)
        for order in reversed(recovered.orders):  # the newest order of a slot holds it
            self._bookkeeper.adopt(order)
            if order.state is OrderState.UNKNOWN:
                self._reconciler.open_case(order, "create", at_once=True)
            elif order.state is OrderState.CLOSING:
                self._reconciler.open_case(order, "fills", at_once=True)
            elif order.state in _GIVEN_UP:
                self._reconciler.note_given_up(order)
        self._account.begin(self.orders)
        if self.mode != "monitor":
            self._plans.recover()

    def _assemble_the_way_out(self, cursor_ms: int) -> None:
        self._bookkeeper = Bookkeeper(
            clock=self._clock,
            journal=self._journal,
            orders=self.orders,
            ledger=self.ledger,
            host=self._host,
            ids=self._ids,
            on_learned=self._deciding.on_learned,
            on_late_fee=self._deciding.on_late_fee,
            recent_fills=self.recent_fills,
            send_limit_s=self._settings.request_timeout_s,
        )
        self._reconciler = Reconciler(
            venue=self._venue,
            clock=self._clock,
            orders=self.orders,
            symbols=self.symbols,
            sink=self._news,
            cursor_ms=cursor_ms,
            settings=self._settings.reconcile(),
        )
        self._guard = RiskGuard(
            self._limits,
            books=self._books,
            ledger=self.ledger,
            orders=self.orders,
            clock=self._clock,
            day=Day(self._journal, self._clock),
            account=self._account,
        )
        self._gate = OrderGate(
            venue=self._venue,
            clock=self._clock,
            loop=self._loop,
            ids=self._ids,
            guard=self._guard,
            bookkeeper=self._bookkeeper,
            reasons=self._reasons,
            reconciler=self._reconciler,
            request_timeout_s=self._settings.request_timeout_s,
            guarded=self._news.guarded,
            halt=self._halt,
            on_anomaly=self._spend,
            budget=self._account.budget,
        )
        self._executor = Executor(
            gate=self._gate,
            clock=self._clock,
            loop=self._loop,
            orders=self.orders,
            ledger=self.ledger,
            reasons=self._reasons,
            symbol=self.symbol,
            sends=self.mode != "monitor",
            decide_afresh=self._deciding.decide_afresh,
            decide_soon=self._deciding.decide_soon,
        )

    def _assemble_watches(self, markets: "Mapping[str, Market]") -> None:
        self._audit = BookAudit(
            venue=self._venue,
            markets=markets,
            books=self._books,
            reasons=self._reasons,
            interval_s=self._settings.audit_interval_s,
            on_change=self._on_audited,
        )
        self._rules_watch = RulesWatch(
            venue=self._venue,
            markets=markets,
            reasons=self._reasons,
            interval_s=self._settings.rules_interval_s,
            on_rules=self._on_rules,
            on_grid=lambda symbol: self.halt(
                "MARKET_CHANGED", f"ticks or lots of {symbol} have another size"
            ),
        )
        self._watch = TimeWatch(
            self._clock,
            self._loop,
            stall_max_s=self._settings.stall_max_s,
            on_gap=self._on_gap,
            on_step=self._on_clock_set,
        )
        self._plans = PlanRunner(
            gate=self._gate,
            clock=self._clock,
            loop=self._loop,
            orders=self.orders,
            books=self._books,
            journal=self._journal,
            reasons=self._reasons,
            host=self._host,
            wake=self._deciding.decide_soon,
            halt=self._halt,
            failures_max=self._settings.plan_failures_max,
        )

    async def _compare_at_start(self) -> None:
        await self._reconciler.compare_within(self._settings.start_timeout_s)
        await self._reconciler.settle_due()
        self._supervise(self._reconciler.run(), "reconcile")

    def _supervise(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Let work go on beside the loop; when it ends, by an error or not, trading halts."""
        task = self._loop.create_task(work, name=f"nkfast-{name}")
        task.add_done_callback(self._on_task_done)
        self._tasks.append(task)

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            error = task.exception()
            ended = AssertionError(f"task {task.get_name()} ended")
            self._halt(error if error is not None else ended)

    async def _wind_down(self, deadline_ns: int, *, keeps: bool) -> None:
        """Cancel what is not to be kept and wait until everything on its way has ended."""
        takes_fills = self._bookkeeper.can_record and self._host.can_tell

        def is_to_end(order: Order) -> bool:
            return self._deciding.may_cancel and not (keeps and rests_on(order))

        def is_awaited(order: Order) -> bool:
            if order.state is OrderState.CLOSING:
                return takes_fills and is_to_end(order)
            return order.state is OrderState.SENDING or is_to_end(order)

        while any(is_awaited(order) for order in self.orders.open_orders):
            self._changed.clear()
            for order in list(self.orders.open_orders):
                if is_to_end(order):
                    self._gate.cancel(order)
            left_s = (deadline_ns - self._clock.monotonic_ns()) / _NS
            if left_s <= 0:
                self._reasons.count(
                    "EXIT_TIMEOUT", f"{self.orders.open_count} orders without an end"
                )
                return
            timer = self._loop.call_later(min(left_s, 0.25), self._changed.set)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()

    def _enter(self, state: LifeState, reason: str) -> None:
        """Move to a state in which the engine goes on living, and act by it."""
        if not self._is_assembled:
            raise LifeError(self._life.state, state, "it has not come up yet")
        try:
            self._life.become(state, reason)
        except JournalError as error:
            self._halt(error)
            return
        self._executor.set_draining(state is LifeState.DRAINING)
        self._deciding.decide_soon()

    def _note_life(self, state: LifeState, reason: str) -> None:
        # A halt is the journal's last word until somebody clears it. Who only looks says nothing,
        # and who did not come up ends no pause of the run before.
        is_told = self.mode != "monitor" and (self.halted is None or state is LifeState.HALTED)
        is_told = is_told and (self.has_started or state not in _LEAVING)
        if is_told and self._is_assembled and self._bookkeeper.can_record:
            self._journal.note_life(state, reason, self._clock.time_ns() // 1_000_000)

    def _halt(self, error: BaseException, cause: str | None = None) -> None:
        """Send nothing new from here on, and cancel what rests; `run` raises the error."""
        if self._is_assembled:
            self._bookkeeper.note_failure(error)
        if self._error is not None:
            return
        self._error = error
        self._deciding.is_halted = True
        self.halted = f"{type(error).__name__}: {error}"
        if not self._is_assembled:
            return  # nothing can be sent yet, and `start` raises it
        # First what stops trading, then what tells of it: that may fail.
        self._gate.close(self.halted)
        self._ended.set()
        self._deciding.decide_soon()
        detail = error.detail if isinstance(error, HaltedError) else self.halted
        reason = f"{cause or halt_cause(error)}: {detail}"
        try:
            if self._life.may_become(LifeState.HALTED):
                self._life.become(LifeState.HALTED, reason)
            else:  # it stops already, and will have been halted all the same
                self._note_life(LifeState.HALTED, reason)
        except JournalError as failure:
            self._bookkeeper.note_failure(failure)

    def _spend(self, code: str, detail: str) -> None:
        """Take note of one error that is put up with, unless there are too many."""
        self._rules_watch.look_soon()
        if not self._budget.spend(self._clock.monotonic_ns()):
            budget = f"{self._settings.error_budget} in {self._settings.error_window_s:g} s"
            self.halt("ERROR_BUDGET", f"more than {budget}, the last one {code}: {detail}")

    # What the watches tell ---------------------------------------------------------------------

    def _on_gap(self, gap_s: float) -> None:
        """Believe nothing that was told before: connect anew, and compare before deciding."""
        self._reasons.count("TIME_LOST", f"nothing ran for {gap_s:.1f} s")
        self._news.distrust()
        self._venue.resync(f"nothing ran for {gap_s:.1f} s")

    def _on_clock_set(self, step_s: float) -> None:
        self._reasons.count("CLOCK_SET", f"by {step_s:.1f} s")
        self._executor.note_clock_set()

    def _on_audited(self, symbol: str) -> None:
        if symbol in self._audit.drifted:
            self._venue.resync(f"the book of {symbol} has drifted")
        else:
            self._deciding.decide_afresh()

    def _on_rules(self, symbol: str, market: "Market | None") -> None:
        self._guard.note_rules(symbol, market)
        self._host.note_rules(symbol, market)
        self._executor.forget_refusals()
        self._deciding.decide_afresh()
