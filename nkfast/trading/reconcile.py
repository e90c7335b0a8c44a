"""Our books against the venue's: what was lost on the way is looked up, never sent again.

`Reconciler` compares open orders, executions and balances at the start, after every reconnect and
at an interval, and settles single orders in doubt: a create or a cancel without an answer, an order
that is missing from the venue's list, an end whose fills have not all been told.

That an order is absent is believed only after two complete rounds of reading, both begun after a
horizon by which the venue must have decided, some seconds apart, over one unbroken connection (or
three rounds), without any execution left that could be its own. A round asks for the order by its
id, then reads the whole history of orders and of executions since it was sent. "Not found" alone
proves nothing: the venue says it of finished orders too. Time is told by a clock that counts while
the machine sleeps.

What was given up, rejected or proven absent, is looked for in the history for a day all the same.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from nkfast.errors import ConfigError, UnreachableError, VenueError
from nkfast.trading.exact import plain, subtract
from nkfast.trading.life import can_heal
from nkfast.trading.orders import FillKey, Order, OrderState, OrderStore, Outcome
from nkfast.venue.port import Execution, Holding, OrderUpdate, ask_each

if TYPE_CHECKING:
    from nkfast.trading.journal import Recovered
    from nkfast.venue.clock import Clock
    from nkfast.venue.port import Venue

__all__ = ["Doubt", "ReconcileSettings", "ReconcileSink", "Reconciler", "cursor_of"]

Doubt = Literal["create", "cancel", "absent", "fills"]
_GIVEN_UP = frozenset({OrderState.REJECTED, OrderState.ABANDONED})

#: Seconds before each look-up of an order in doubt; the last one repeats.
_DELAYS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 5.0)
#: Seconds before a comparison that failed is tried again; the last one repeats.
_RETRIES_S = (1.0, 2.0, 5.0, 10.0, 30.0)
#: Venue ids of the orders of others that executions named; forgotten oldest first.
_STRANGERS_KEPT = 10_000
#: How often balances are read again because an order moved meanwhile.
_BALANCE_READS = 3
#: Balances are read so long after a fill, once for all fills of that time.
_BALANCES_AFTER_S = 2.0
#: For so long what was given up is looked for again, more often at first.
_SWEPT_MS = 24 * 3600 * 1000
_YOUNG_MS = 3600 * 1000
_SWEEP_YOUNG_S = 60.0
_SWEEP_ALL_S = 600.0
#: Our clock may be ahead of the venue's by this much, and an order is in its history all the same.
_CLOCKS_APART_MS = 3600 * 1000
#: A fill this young may be missing from the venue's history: replicas lag.
_SETTLED_MS = 10_000
#: An order whose fills have not all been told after this long is named.
_FILLS_LATE_NS = 60 * 1_000_000_000
_NS = 1_000_000_000
#: Replicas lag; a fill that the history lacks for so long was taken back.
_TAKEN_BACK_NS = 25 * _NS


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    """How often, how far back, and how long until absence is believed.

    Attributes
    ----------
    interval_s : float
        Between two comparisons.
    overlap_s : float
        How far before the newest known execution they are read again; more than the venue's read
        lag.
    finality_horizon_s : float
        After this long without a trace the venue is taken to have decided about a request.
    round_gap_s : float
        Between two rounds of the proof of absence.
    unknown_max_s : float
        An order whose fate is not found out after this long is reported as overdue.
    """

    interval_s: float = 30.0
    overlap_s: float = 60.0
    finality_horizon_s: float = 120.0
    round_gap_s: float = 5.0
    unknown_max_s: float = 300.0

    def __post_init__(self) -> None:
        for name in (
            "interval_s",
            "overlap_s",
            "finality_horizon_s",
            "round_gap_s",
            "unknown_max_s",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive", name)


class ReconcileSink(Protocol):
    """Who is told what was read: the engine."""

    def on_order(self, update: OrderUpdate) -> None:
        """Take a row of a list or the answer of a look-up."""

    def on_execution(self, execution: Execution) -> bool:
        """Take one execution; False when the order it belongs to is not known."""

    def on_balances(self, holdings: Sequence[Holding], *, is_quiet: bool) -> None:
        """Take every balance; ``is_quiet`` when none of our orders moved meanwhile."""

    def on_outcome(self, order: Order, outcome: Outcome, reason: str) -> None:
        """Take the end of an attempt to send."""

    def on_vanished(self, order: Order) -> None:
        """Take the proof that an accepted order rests no more."""

    def on_overdue(self, order: Order) -> None:
        """Take note that the fate of an order is not found out in the time it may take."""

    def on_rolled_back(self, client_id: str, trade_id: str) -> None:
        """Take note that the venue's history no longer has a fill that it told."""

    def on_settled(self, order: Order) -> None:
        """Take note that an order is in doubt no more."""

    def on_compared(self, started_ms: int, cursor_ms: int) -> None:
        """Take note of a complete comparison that began at a time, Unix milliseconds.

        Executions before the cursor, by the venue's clock, are known.
        """

    def count(self, code: str, detail: str) -> None:
        """Count a reason."""


@dataclass(slots=True)
class _Round:
    started_ns: int  # on the boot clock
    epoch: int


@dataclass(slots=True)
class _Case:
    """One order in doubt and what was read about it."""

    order: Order
    doubt: Doubt
    opened_ns: int
    due_ns: int
    attempt: int = 0
    was_found: bool = False
    is_overdue: bool = False
    rounds: list[_Round] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        state = self.order.state
        if state is OrderState.LIVE:
            return self.was_found or self.doubt == "create"
        return not state.is_open


class Reconciler:
    """Reads the venue's books and settles what is in doubt. It sends nothing but reads.

    Parameters
    ----------
    venue, clock, orders
        Where to read, what time it is, what we believe.
    symbols : sequence of str
        The markets.
    sink : ReconcileSink
        Is told everything that was read.
    cursor_ms : int
        Up to when an earlier run knows the executions, Unix milliseconds.
    """

    def __init__(
        self,
        *,
        venue: "Venue",
        clock: "Clock",
        orders: OrderStore,
        symbols: Sequence[str],
        sink: ReconcileSink,
        cursor_ms: int,
        settings: ReconcileSettings,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._orders = orders
        self._symbols = tuple(symbols)
        self._sink = sink
        self._cursor_ms = cursor_ms
        self._settings = settings
        self._cases: dict[str, _Case] = {}
        self._strangers: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._epoch = 0
        self._is_up = True
        self._compare_at_ns = 0
        self._failures = 0
        self._given_up: dict[str, Order] = {}
        self._balances_at_ns: int | None = None
        self._sweep_at_ns = 0
        self._sweep_all_at_ns = 0
        self._missing: dict[FillKey, int] = {}  # since when, monotonic nanoseconds

    @property
    def cursor_ms(self) -> int:
        """Up to when the executions are known, Unix milliseconds."""
        return self._cursor_ms

    def note_connection(self, is_up: bool) -> None:
        """Take note that the connection came or went: rounds of reading no longer join up."""
        self._epoch += 1
        self._is_up = is_up

    def note_given_up(self, order: Order) -> None:
        """Look for a rejected or abandoned order in the history for a day."""
        self._given_up[order.client_id] = order

    def open_case(self, order: Order, doubt: Doubt, *, at_once: bool = False) -> None:
        """Begin to look an order up; what is looked up already stays as it is."""
        if order.client_id in self._cases:
            return
        now = self._clock.monotonic_ns()
        due = now if at_once else now + int(_DELAYS_S[0] * _NS)
        self._cases[order.client_id] = _Case(order, doubt, now, due)
        self._wake.set()

    def compare_soon(self) -> None:
        """Ask `run` for a comparison now."""
        self._compare_at_ns = self._clock.monotonic_ns()
        self._wake.set()

    def read_balances_soon(self) -> None:
        """Ask `run` for the balances: a fill has moved them, and their own news may come before it.

        What is told of balances is the venue's word on all fills up to then, also on those that
        are told later and counted once more; the word after the last fill is right.
        """
        if self._balances_at_ns is None:
            self._balances_at_ns = self._clock.monotonic_ns() + int(_BALANCES_AFTER_S * _NS)
            self._wake.set()

    async def run(self) -> None:
        """Compare at the interval, settle what is in doubt, until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic_ns()
            due_ns = min((case.due_ns for case in self._cases.values()), default=now + 3600 * _NS)
            due_ns = min(due_ns, self._compare_at_ns)
            if self._given_up:
                due_ns = min(due_ns, self._sweep_at_ns)
            if self._balances_at_ns is not None:
                due_ns = min(due_ns, self._balances_at_ns)
            if due_ns > now:
                # Not wait_for: in Python 3.11 it loses a cancellation that meets the event.
                timer = asyncio.get_running_loop().call_later((due_ns - now) / _NS, self._wake.set)
                try:
                    await self._wake.wait()
                finally:
                    timer.cancel()
                continue
            if self._compare_at_ns <= now:
                await self._compare_or_retry()
            if self._balances_at_ns is not None and self._balances_at_ns <= now:
                await self._read_balances_or_retry()
            await self.settle_due()
            if self._given_up and self._sweep_at_ns <= now:
                await self._sweep()

    async def compare(self) -> None:
        """Read open orders, executions since the cursor and balances, and tell the engine.

        Raises
        ------
        nkfast.errors.VenueError
            Something could not be read; nothing is concluded then.
        """
        started_ms = self._clock.time_ns() // 1_000_000
        epoch = self._epoch
        resting = [order for order in self._orders.open_orders if order.state is OrderState.LIVE]
        seen = await self._read_open_orders()
        since_ms = max(self._cursor_ms - int(self._settings.overlap_s * 1000), 0)
        told, unknown = await self._read_executions(since_ms)
        for execution in unknown:
            self._sink.count("TRADE_OF_UNKNOWN_ORDER", execution.trade_id)
        self._check_rolled_back(told, since_ms, started_ms - _SETTLED_MS)
        await self._read_balances()
        for order in resting:
            if order.client_id not in seen and order.state is OrderState.LIVE:
                self.open_case(order, "absent", at_once=True)
        if epoch == self._epoch:
            self._compare_at_ns = self._clock.monotonic_ns() + int(self._settings.interval_s * _NS)
            # By the venue's own times, or by ours with room for a clock that is wrong or was set.
            newest_ms = max(told.values(), default=0)
            self._cursor_ms = max(self._cursor_ms, newest_ms, started_ms - _CLOCKS_APART_MS)
            self._sink.on_compared(started_ms, self._cursor_ms)

    async def compare_within(self, limit_s: float) -> None:
        """Compare; what fails is tried again, at growing intervals.

        Raises
        ------
        nkfast.errors.UnreachableError
            It did not succeed within the limit; the message names what failed last.
        nkfast.errors.VenueError
            The venue refuses what is asked for: another time is no better.
        """
        attempts, last = 0, "no answer"
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    attempts += 1
                    try:
                        await self.compare()
                        return
                    except VenueError as error:
                        if not can_heal(error):
                            raise
                        last = str(error)
                        self._sink.count("RECONCILE_FAILED", last)
                    await asyncio.sleep(_DELAYS_S[min(attempts, len(_DELAYS_S)) - 1])
        except TimeoutError:
            raise UnreachableError(
                f"our books could not be compared with the venue's within {limit_s:g} s, in"
                f" {attempts} attempts; the last one: {last}. Nothing was sent. See whether the"
                " exchange is up and the network good, and start again",
                endpoint="open orders, trades, balances",
                sent="no",
            ) from None

    async def settle_due(self) -> None:
        """Look up every order in doubt whose time has come, once."""
        now = self._clock.monotonic_ns()
        for case in self._cases.values():
            self._check_overdue(case, now)
        due = [case for case in self._cases.values() if case.due_ns <= now]
        await ask_each(self._settle, due)

    async def _settle(self, case: _Case) -> None:
        try:
            if not case.is_settled:
                await self._look_up(case)
        except VenueError as error:
            self._sink.count("LOOKUP_FAILED", str(error))
        if case.is_settled:
            del self._cases[case.order.client_id]
            self._sink.on_settled(case.order)
            return
        if case.order.state is OrderState.CLOSING:
            case.doubt = "fills"
        case.attempt += 1
        delay = _DELAYS_S[min(case.attempt, len(_DELAYS_S) - 1)]
        case.due_ns = self._clock.monotonic_ns() + int(delay * _NS)

    def _check_overdue(self, case: _Case, now_ns: int) -> None:
        order = case.order
        if order.state is OrderState.UNKNOWN:
            limit_ns = int(self._settings.unknown_max_s * _NS)
            if not case.is_overdue and self._clock.boot_ns() - order.sent_ns > limit_ns:
                case.is_overdue = True
                self._sink.on_overdue(order)
        elif order.state is OrderState.CLOSING and not case.is_overdue:
            if now_ns - case.opened_ns > _FILLS_LATE_NS:
                case.is_overdue = True
                missing = subtract(order.executed, order.filled)
                self._sink.count("FILLS_LATE", f"{order.client_id}: {plain(missing)} not told")

    def _check_rolled_back(self, told: Collection[FillKey], since_ms: int, until_ms: int) -> None:
        """Say which of our fills the history lacks again, after more time than it may lag."""
        missing = {
            key: client_id
            for client_id, key, time_ms in self._orders.newest_fills
            if since_ms <= time_ms <= until_ms and key not in told
        }
        now_ns = self._clock.monotonic_ns()
        self._missing = {key: self._missing.get(key, now_ns) for key in missing}
        for key, since_ns in self._missing.items():
            if now_ns - since_ns >= _TAKEN_BACK_NS:
                self._sink.on_rolled_back(missing[key], key[0])

    async def _sweep(self) -> None:
        """Look for what was given up in the history of orders."""
        now_ns, now_ms = self._clock.monotonic_ns(), self._clock.time_ns() // 1_000_000
        for client_id, order in list(self._given_up.items()):
            # One that the store forgot, and the journal gave back, is another object.
            known = self._orders.get(client_id) or order
            if known.state not in _GIVEN_UP or order.sent_ms < now_ms - _SWEPT_MS:
                del self._given_up[client_id]
        is_whole = self._sweep_all_at_ns <= now_ns
        youngest_ms = 0 if is_whole else now_ms - _YOUNG_MS
        orders = [order for order in self._given_up.values() if order.sent_ms >= youngest_ms]
        self._sweep_at_ns = now_ns + int(_SWEEP_YOUNG_S * _NS)
        if is_whole:
            self._sweep_all_at_ns = now_ns + int(_SWEEP_ALL_S * _NS)
        try:
            for symbol in {order.symbol: None for order in orders}:
                of_symbol = [order for order in orders if order.symbol == symbol]
                await self._read_history(symbol, min(order.sent_ms for order in of_symbol))
        except VenueError as error:
            self._sink.count("SWEEP_FAILED", str(error))

    async def _read_history(self, symbol: str, since_ms: int) -> set[str]:
        """Tell of the orders of ours in the history since a time; return their client ids."""
        since_ms = max(since_ms - _CLOCKS_APART_MS, 0)
        seen = set()
        for row in await self._venue.order_history(symbol, since_ms):
            order = self._orders.find(row.client_id, row.order_id)
            if order is None and row.client_id is not None:
                order = self._given_up.get(row.client_id)
            if order is not None:
                seen.add(order.client_id)
                self._sink.on_order(row)
        return seen

    async def _read_balances_or_retry(self) -> None:
        self._balances_at_ns = None
        try:
            await self._read_balances()
        except VenueError as error:
            self._sink.count("BALANCES_FAILED", str(error))
            self.read_balances_soon()

    async def _compare_or_retry(self) -> None:
        try:
            await self.compare()
        except VenueError as error:
            self._sink.count("RECONCILE_FAILED", str(error))
            delay = _RETRIES_S[min(self._failures, len(_RETRIES_S) - 1)]
            self._failures += 1
            self._compare_at_ns = self._clock.monotonic_ns() + int(delay * _NS)
        else:
            self._failures = 0

    def _is_quiet(self) -> bool:
        """Whether none of our orders is on its way in or out."""
        return all(
            order.state is OrderState.LIVE and not order.cancel_in_flight
            for order in self._orders.open_orders
        )

    async def _read_balances(self) -> None:
        """Tell of every balance, read while nothing of ours moved if that can be had."""
        for _ in range(_BALANCE_READS):
            is_quiet, version = self._is_quiet(), self._orders.version
            holdings = await self._venue.holdings()
            # An answer that was made before a fill which we know already would undo the fill.
            if version == self._orders.version:
                break
            is_quiet = False
        self._sink.on_balances(holdings, is_quiet=is_quiet)

    async def _read_open_orders(self) -> set[str]:
        """Tell of every open order; return the client ids of ours."""
        seen = set()
        for rows in await ask_each(self._venue.open_orders, self._symbols):
            for row in rows:
                self._sink.on_order(row)
                order = self._orders.find(row.client_id, row.order_id)
                if order is not None:
                    seen.add(order.client_id)
        return seen

    async def _read_executions(self, since_ms: int) -> tuple[dict[FillKey, int], list[Execution]]:
        """Tell of every execution since a time; return their times, and those of nobody known."""
        told: dict[FillKey, int] = {}
        unknown: list[Execution] = []
        read = partial(self._venue.executions, since_ms=since_ms)
        for executions in await ask_each(read, self._symbols):
            await self._tell_executions(executions, told, unknown)
        return told, unknown

    async def _tell_executions(
        self, executions: list[Execution], told: dict[FillKey, int], unknown: list[Execution]
    ) -> None:
        for execution in executions:
            told[execution.trade_id, execution.order_id] = execution.time_ms
            if self._sink.on_execution(execution) or execution.order_id in self._strangers:
                continue
            # A trade in the history does not say its client id: ask for its order.
            owner = await self._venue.find_order(execution.symbol, execution.order_id)
            if owner is None:
                unknown.append(execution)
                continue
            self._sink.on_order(owner)
            if not self._sink.on_execution(execution):
                self._strangers[execution.order_id] = None
                if len(self._strangers) > _STRANGERS_KEPT:
                    del self._strangers[next(iter(self._strangers))]

    async def _look_up(self, case: _Case) -> None:
        order, started_ns, epoch = case.order, self._clock.boot_ns(), self._epoch
        since_ms = max(order.sent_ms - _CLOCKS_APART_MS, 0)
        found = await self._venue.find_order(order.symbol, order.client_id)
        if found is not None:
            case.was_found = True
            case.rounds.clear()
            self._sink.on_order(found)
            if order.state is OrderState.CLOSING:
                await self._read_executions(since_ms)
            return
        seen = await self._read_history(order.symbol, order.sent_ms)
        _, unknown = await self._read_executions(since_ms)
        if order.client_id in seen:
            case.was_found = True
            case.rounds.clear()
        if case.was_found or order.state is OrderState.CLOSING or case.is_settled:
            return
        if any(_may_be_of(execution, order) for execution in unknown):
            self._sink.count("TRADE_OF_UNKNOWN_ORDER", order.client_id)
            return
        self._add_round(case, _Round(started_ns, epoch))

    def _add_round(self, case: _Case, new: _Round) -> None:
        """Note a complete round without a trace of the order, and conclude when it is proof."""
        order = case.order
        # An accepted order needs no horizon for its creation, only for the end that was not seen.
        horizon_ns = int(self._settings.finality_horizon_s * _NS)
        if order.state is OrderState.UNKNOWN and new.started_ns < order.sent_ns + horizon_ns:
            return
        gap_ns = int(self._settings.round_gap_s * _NS)
        if case.rounds and new.started_ns - case.rounds[-1].started_ns < gap_ns:
            return
        case.rounds.append(new)
        first = case.rounds[0]
        is_unbroken = self._is_up and first.epoch == new.epoch == self._epoch
        if len(case.rounds) < 2 or not (is_unbroken or len(case.rounds) >= 3):
            return
        if order.state is OrderState.UNKNOWN:
            self._sink.on_outcome(order, Outcome.ABANDONED, "no trace of it after the horizon")
        else:
            self._sink.on_vanished(order)


def _may_be_of(execution: Execution, order: Order) -> bool:
    """Whether an execution of an order that nobody knows could be one of this order's."""
    if (
        execution.symbol != order.symbol
        or execution.side != order.side
        or execution.quantity > order.quantity
    ):
        return False
    if order.price is None:
        return True
    is_buy = order.side == "buy"
    return execution.price <= order.price if is_buy else execution.price >= order.price


def cursor_of(recovered: "Recovered", now_ms: int) -> int:
    """Return up to when the executions are known that an earlier run left, Unix milliseconds."""
    known_ms = now_ms if recovered.cursor_ms is None else recovered.cursor_ms
    sent = [order.sent_ms for order in recovered.orders if order.state.is_open]
    return min([known_ms, *sent])
