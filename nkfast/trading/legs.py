"""The execution of plans: one leg after the other, and the way back when one fails.

What a plan has done is never kept: it follows from the fills of its orders, which carry the plan's
number in their slot. Only the plan itself is kept and what its orders were to fetch, durable with
the intents and until it has ended. So a crash at any moment leaves nothing to guess: the next start
finds the plan, the orders are settled as all orders are, by reading, and what is owned then is
unwound.

    priced, there and back --> leg 1 --> leg 2 --> ... --> done
                                 |         |
                                 v         v
                               missed    unwinding, by policy --> unwound | held
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict

from nkfast.errors import HaltedError, RiskError
from nkfast.trading.exact import ZERO, add, multiply, plain, subtract
from nkfast.trading.gate import Intent, OrderGate
from nkfast.trading.journal_reading import reading
from nkfast.trading.life import LeftPlan
from nkfast.trading.orders import Order, OrderStore
from nkfast.trading.plan import PLAN_SLOT, Leg, Plan, WalkedLeg, price_plan, walk
from nkfast.trading.plan_outcome import LegOutcome, PlanOutcome, PlanResult

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.trading.journal import Journal
    from nkfast.trading.reasons import Reasons
    from nkfast.trading.strategy_host import StrategyHost
    from nkfast.venue.clock import Clock
    from nkfast.venue.port import Execution

__all__ = ["PlanRunner", "left_plan", "newest_plans"]

_KEPT_AS = "plan"
_NS_PER_MS = 1_000_000
#: A way back that our limits, or the market, refuse is tried again after this long.
_RETRY_MS = 1_000
#: So often in a row without a fill, some minutes: longer than a market is paused for a moment and
#: than it takes to learn that it is not any more. Then a person has to look.
_TRIES_MAX = 300
_OUTCOMES_KEPT = 256


class _Realized(TypedDict):
    """What fills made of a leg; see `LegOutcome`."""

    paid: Decimal
    received: Decimal
    is_fee_known: bool


@dataclass(slots=True)
class _Running:
    """A plan under way.

    ``orders`` holds every order of it, oldest first; ``expected`` what each leg, and then each
    order of the way back, was to pay and to receive.
    """

    number: int
    plan: Plan
    started_ms: int
    orders: list[Order]
    expected: list[tuple[Decimal, Decimal]]
    leg: int = 0  # the index of the one that is being taken
    is_unwinding: bool = False
    deadline_ns: int = 0  # of the newest order
    wait_until_ns: int = 0
    tries: int = 0  # to go back, in a row, without a fill
    fill_count: int = 0  # when the tries began


def left_plan(journal: "Journal") -> LeftPlan | None:
    """Return the plan that an earlier run did not resolve, before anything is known of it."""
    kept = journal.kept(_KEPT_AS)
    return None if kept is None or kept["plan"] is None else LeftPlan(kept["number"], {})


def newest_plans(path: str | os.PathLike[str], count: int) -> list[PlanOutcome]:
    """Return what became of the newest plans of a journal, the newest first.

    Parameters
    ----------
    path : path
        The journal, which another process may hold.
    count : int
        At most so many.

    Raises
    ------
    nkfast.errors.JournalError
        It cannot be read.
    """
    outcomes: dict[int, PlanOutcome] = {}
    with reading(path) as store:
        rows = store.execute("SELECT body FROM event WHERE kind = 'plan' ORDER BY n DESC")
        for (body,) in rows:
            if len(outcomes) == count:
                break
            outcome = PlanOutcome.from_json(json.loads(body))
            outcomes.setdefault(outcome.number, outcome)  # a late fee was told with a newer one
    return sorted(outcomes.values(), key=lambda outcome: outcome.number, reverse=True)


class PlanRunner:
    """Takes plans, one at a time, through the order gate.

    Parameters
    ----------
    gate, clock, loop, orders, books, journal, reasons
        What it works with; `gate` lets its orders out as it does all others.
    host : StrategyHost
        Tells the strategy what became of its plans.
    wake : callable
        Makes the engine call `advance` soon.
    halt : callable
        Halts trading.
    failures_max : int
        So many plans in a row that had to be broken off halt trading, where a plan does not say it.

    Attributes
    ----------
    recent : deque of PlanOutcome
        The newest ends.
    """

    def __init__(
        self,
        *,
        gate: OrderGate,
        clock: "Clock",
        loop: asyncio.AbstractEventLoop,
        orders: OrderStore,
        books: Mapping[str, "OrderBook"],
        journal: "Journal",
        reasons: "Reasons",
        host: "StrategyHost",
        wake: Callable[[], None],
        halt: Callable[[BaseException], None],
        failures_max: int,
    ) -> None:
        self.recent: deque[PlanOutcome] = deque(maxlen=_OUTCOMES_KEPT)
        self._gate = gate
        self._clock = clock
        self._loop = loop
        self._orders = orders
        self._books = books
        self._journal = journal
        self._reasons = reasons
        self._host = host
        self._wake = wake
        self._halt = halt
        self._failures_max = failures_max
        self._number = 0
        self._failures = 0
        self._running: _Running | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a plan is under way: until it has ended there is no other."""
        return self._running is not None

    def recover(self) -> None:
        """Take up the plan that an earlier run did not end. It goes back, not on, from here."""
        kept = self._journal.kept(_KEPT_AS)
        if kept is None:
            return
        self._number, self._failures = kept["number"], kept["failures"]
        if kept["plan"] is None:
            return
        prefix = f"{PLAN_SLOT}{self._number}:"
        orders = []
        for intent in self._journal.sent_since(kept["started_ms"]):
            if intent.slot.startswith(prefix):
                order = self._orders.get(intent.client_id)
                order = order or self._journal.find_order(intent.client_id)
                assert order is not None
                orders.append(order)
        self._running = _Running(
            self._number,
            Plan.from_json(kept["plan"]),
            kept["started_ms"],
            orders,
            [(Decimal(paid), Decimal(received)) for paid, received in kept["expected"]],
            is_unwinding=True,
        )
        self._reasons.count("PLAN_RECOVERED", f"plan {self._number} with {len(orders)} orders")

    def begin(self, plan: Plan, event_ns: int, *, sends: bool) -> None:
        """Begin a plan if it is worth it and there is a way back; count the reason if not.

        Parameters
        ----------
        plan : Plan
            What to do now.
        event_ns : int
            When the news came that it answers, monotonic nanoseconds; 0 when it answers none.
        sends : bool
            False in monitor mode: what would be done is counted and said.

        Raises
        ------
        nkfast.errors.JournalError
            The plan could not be made durable; nothing was sent.
        """
        assert self._running is None
        try:
            walked = self._price(plan)
        except RiskError as refusal:
            self._reasons.count(refusal.code, f"plan: {refusal.value} against {refusal.limit}")
            return
        if not sends:
            returned = f"{plain(walked[-1].received)} {plan.start} for {plain(walked[0].paid)}"
            self._reasons.count("MONITOR", f"plan: would fetch {returned}")
            return
        self._number += 1
        started_ms = self._clock.time_ns() // _NS_PER_MS
        expected = [(step.paid, step.received) for step in walked]
        running = self._running = _Running(self._number, plan, started_ms, [], expected)
        self._journal.hold()  # durable together with the first intent
        self._keep(running)
        try:
            self._send(running, walked[0], event_ns, stores_state=True)
        except RiskError as refusal:  # it was let pass a moment ago
            self._running = None
            self._keep(None)
            self._count_refusal(running, refusal)

    def advance(self, *, may_send: bool) -> None:
        """Do what is due: end an order whose time is over, take the next leg, go back, end.

        ``may_send`` says that we are connected, that our books have been compared with the
        venue's, and that the engine's life allows orders.
        """
        running = self._running
        if running is None:
            return
        open_orders = [order for order in running.orders if order.state.is_open]
        now_ns = self._clock.monotonic_ns()
        if open_orders:
            if now_ns >= running.deadline_ns:
                for order in open_orders:
                    self._gate.cancel(order)
            else:
                self._wake_at(running.deadline_ns, now_ns)
            return
        if not may_send:
            return
        if now_ns < running.wait_until_ns:
            self._wake_at(running.wait_until_ns, now_ns)
            return
        if not running.is_unwinding:
            self._after_leg(running)
        if running.is_unwinding and self._running is running:
            if not any(order.state.is_open for order in running.orders):
                self._unwind(running)

    def note_fee(self, order: Order, fill: "Execution", before: Decimal | None) -> None:
        """Write a fee that was told late into the record of the plan it belongs to.

        A plan that is under way counts it at its end.

        Parameters
        ----------
        order : Order
            Any order; it is a plan's if its slot says so.
        fill : Execution
            The fill with its fee.
        before : Decimal or None
            The fee that was known before.

        Raises
        ------
        nkfast.errors.JournalError
            It could not be written.
        """
        if not order.slot.startswith(PLAN_SLOT):
            return
        number, _, place = order.slot.removeprefix(PLAN_SLOT).partition(":")
        written = self._journal.find_plan(int(number))
        if written is None:
            return
        outcome = PlanOutcome.from_json(written)
        leg = outcome.leg_of(int(place))
        realized = replace(leg, **self._realized(leg.leg, order.fills.values()))
        corrected = outcome.with_late_fee(int(place), realized, fill, before)
        self._journal.note_plan(corrected.as_json())
        for index, kept in enumerate(self.recent):
            if kept.number == corrected.number:
                self.recent[index] = corrected

    def stop(self) -> None:
        """Wake nobody any more; count what is left under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is not None:
            self._reasons.count("PLAN_UNRESOLVED", f"plan {self._running.number}: the next start")

    def left(self) -> LeftPlan | None:
        """Return the plan that is under way as a stop reports it."""
        running = self._running
        if running is None:
            return None
        moved = self._moved(running)
        owns = {asset: plain(moved[asset]) for asset in running.plan.assets if moved[asset]}
        return LeftPlan(running.number, owns)

    # Before the first leg ------------------------------------------------------------------------

    def _price(self, plan: Plan) -> Sequence[WalkedLeg]:
        """Price a plan there and back, and ask the gate about every leg before the first one."""
        missing = [leg.symbol for leg in plan.legs if leg.symbol not in self._books]
        if missing:
            raise RiskError("NOT_WATCHED", ", ".join(missing), ", ".join(self._books))
        if plan.max_book_age_ms is not None:
            now_ns = self._clock.monotonic_ns()
            for leg in plan.legs:
                age_ms = (now_ns - self._books[leg.symbol].received_ns) / _NS_PER_MS
                if age_ms > plan.max_book_age_ms:
                    raise RiskError(
                        "BOOK_TOO_OLD",
                        f"{leg.symbol} {age_ms:.0f} ms",
                        f"{plan.max_book_age_ms} ms",
                    )
        walked = price_plan(plan, self._books)
        for index, step in enumerate(walked):
            try:
                self._gate.check(_intent("plan", step))
            except RiskError as refusal:
                # What a later leg pays is what the one before is to bring.
                if index == 0 or refusal.code != "INSUFFICIENT_BALANCE":
                    raise
        return walked

    # Legs ----------------------------------------------------------------------------------------

    def _send(
        self, running: _Running, step: WalkedLeg, event_ns: int = 0, *, stores_state: bool = False
    ) -> None:
        slot = f"{PLAN_SLOT}{running.number}:{len(running.orders) + 1}"
        order = self._gate.send(_intent(slot, step), event_ns, stores_state=stores_state)
        running.orders.append(order)
        now_ns = self._clock.monotonic_ns()
        running.deadline_ns = now_ns + running.plan.leg_timeout_ms * _NS_PER_MS
        self._wake_at(running.deadline_ns, now_ns)

    def _send_back(self, running: _Running, step: WalkedLeg) -> None:
        self._gate.check(_intent(PLAN_SLOT, step))  # what is refused is not to be kept
        running.expected.append((step.paid, step.received))
        self._journal.hold()  # durable together with the intent
        self._keep(running)
        self._send(running, step)

    def _after_leg(self, running: _Running) -> None:
        """Take the next leg, or break off: the newest order has ended."""
        plan, order = running.plan, running.orders[-1]
        if order.filled < multiply(order.quantity, plan.min_fill_ratio):
            self._reasons.count(
                "PLAN_LEG_SHORT",
                f"{order.slot}: {plain(order.filled)} of {plain(order.quantity)} {order.state}",
            )
            running.is_unwinding = True
            return
        running.leg += 1
        if running.leg == len(plan.legs):
            running.is_unwinding = True  # what the legs left over goes back, too
            return
        leg = plan.legs[running.leg]
        try:
            amount = self._moved(running).get(leg.pays, ZERO)
            self._send(running, walk(leg, self._books[leg.symbol], amount, plan.slippage))
        except RiskError as refusal:
            self._count_refusal(running, refusal)
            running.is_unwinding = True

    def _unwind(self, running: _Running) -> None:
        """Trade one asset that the plan still owns back, or on, towards the start; or end."""
        plan = running.plan
        fill_count = len(_fills(running))
        if fill_count > running.fill_count:
            running.fill_count, running.tries = fill_count, 0
        if running.tries > _TRIES_MAX:
            detail = f"plan {running.number}: {running.tries} tries to go back without a fill"
            self._halt(HaltedError("PLAN_UNRESOLVED", detail))
            return
        moved = self._moved(running)
        if plan.unwind != "hold" or running.leg == len(plan.legs):
            for leg in _ways(plan):
                amount = moved.get(leg.pays, ZERO)
                if amount <= 0:
                    continue
                try:
                    step = walk(leg, self._books[leg.symbol], amount, plan.unwind_slippage)
                    self._send_back(running, step)
                except RiskError as refusal:
                    if refusal.code == "BELOW_MINIMUM":
                        continue  # dust stays where it is
                    self._count_refusal(running, refusal)
                    self._wait(running)
                running.tries += 1
                return
        self._end(running, moved)

    def _wait(self, running: _Running) -> None:
        now_ns = self._clock.monotonic_ns()
        running.wait_until_ns = now_ns + _RETRY_MS * _NS_PER_MS
        self._wake_at(running.wait_until_ns, now_ns)

    def _count_refusal(self, running: _Running, refusal: RiskError) -> None:
        self._reasons.count(
            refusal.code, f"plan {running.number}: {refusal.value} against {refusal.limit}"
        )

    def _end(self, running: _Running, moved: dict[str, Decimal]) -> None:
        outcome = self._outcome(running, moved)
        state = self._host.tell_plan(outcome)
        self._failures += outcome.result in ("unwound", "held")
        if outcome.result == "done":
            self._failures = 0
        in_a_row, most = self._failures, running.plan.failures_max or self._failures_max
        if in_a_row >= most:
            self._failures = 0  # who clears the halt begins anew
        self._journal.hold()  # that it has ended, how, and what the strategy made of it: one fact
        self._keep(None)
        self._journal.note_plan(outcome.as_json())
        self._journal.set_strategy_state(state)
        self._host.note_stored(state)
        self._running = None
        self.recent.append(outcome)
        self._tell(outcome)
        if in_a_row >= most:
            self._halt(HaltedError("PLAN_FAILURES", f"{in_a_row} plans in a row were broken off"))
        self._wake()

    def _tell(self, outcome: PlanOutcome) -> None:
        name = f"plan {outcome.number}"
        moved = outcome.moved.items()
        told = ", ".join(f"{plain(amount)} {asset}" for asset, amount in moved if amount)
        predicted = f"{plain(outcome.predicted_profit)} {outcome.start}"
        code = f"PLAN_{outcome.result.upper()}"
        self._reasons.count(code, f"{name}: {told or 'nothing'}; predicted {predicted}")
        for number, leg in enumerate(outcome.legs, 1):
            if leg.paid:
                self._reasons.count("PLAN_LEG", f"{name}, {number}: {leg}")

    # What is known -------------------------------------------------------------------------------

    def _outcome(self, running: _Running, moved: dict[str, Decimal]) -> PlanOutcome:
        plan, expected = running.plan, running.expected
        is_known = all(fill.fee is not None for fill in _fills(running))
        return PlanOutcome(
            number=running.number,
            result=_result_of(running, moved),
            moved=moved,
            profit=moved[plan.start] if is_known else None,
            order_count=len(running.orders),
            start=plan.start,
            predicted_profit=subtract(expected[len(plan.legs) - 1][1], expected[0][0]),
            legs=tuple(self._leg_outcomes(running)),
            started_ms=running.started_ms,
            ended_ms=self._clock.time_ns() // _NS_PER_MS,
        )

    def _leg_outcomes(self, running: _Running) -> Iterator[LegOutcome]:
        legs, expected = running.plan.legs, running.expected
        taken = len(running.orders) - (len(expected) - len(legs))
        orders = [*running.orders[:taken], *[None] * (len(legs) - taken), *running.orders[taken:]]
        for index, (order, (paid, received)) in enumerate(zip(orders, expected, strict=True)):
            leg = legs[index] if order is None else Leg(order.symbol, order.side)
            fills = () if order is None else order.fills.values()
            yield LegOutcome(
                leg,
                is_way_back=index >= len(legs),
                predicted_paid=paid,
                predicted_received=received,
                **self._realized(leg, fills),
            )

    def _realized(self, leg: Leg, fills: "Collection[Execution]") -> _Realized:
        moved = self._moved_by(fills)
        return {
            "paid": moved.get(leg.pays, ZERO).copy_negate(),
            "received": moved.get(leg.gets, ZERO),
            "is_fee_known": all(fill.fee is not None for fill in fills),
        }

    def _moved(self, running: _Running) -> dict[str, Decimal]:
        """Return by how much the plan's fills changed what is owned of each asset."""
        none = dict.fromkeys((running.plan.start, *running.plan.assets), ZERO)
        return {**none, **self._moved_by(_fills(running))}

    def _moved_by(self, fills: "Iterable[Execution]") -> dict[str, Decimal]:
        """Return by how much fills changed what is owned of each asset.

        A fee that is not known yet is taken to be the taker's, of the quote asset, so that the next
        leg does not pay with what is not there.
        """
        moved: dict[str, Decimal] = {}

        def move(asset: str, amount: Decimal) -> None:
            moved[asset] = add(moved.get(asset, ZERO), amount)

        for fill in fills:
            base, _, quote = fill.symbol.partition("/")
            notional = multiply(fill.price, fill.quantity)
            is_buy = fill.side == "buy"
            move(base, fill.quantity if is_buy else fill.quantity.copy_negate())
            move(quote, notional.copy_negate() if is_buy else notional)
            if fill.fee is not None:
                move(fill.fee_asset, fill.fee.copy_negate())
            else:
                rate = max(self._books[fill.symbol].market.taker_fee, ZERO)
                move(quote, multiply(notional, rate).copy_negate())
        return moved

    def _keep(self, running: _Running | None) -> None:
        kept: dict[str, Any] = {"number": self._number, "failures": self._failures, "plan": None}
        if running is not None:
            kept["plan"] = running.plan.as_json()
            kept["started_ms"] = running.started_ms
            kept["expected"] = [[plain(amount) for amount in pair] for pair in running.expected]
        self._journal.keep(_KEPT_AS, kept)

    def _wake_at(self, when_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(when_ns - now_ns, 0) / 1e9, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()


def _intent(slot: str, step: WalkedLeg) -> Intent:
    return Intent(slot, step.leg.symbol, step.leg.side, step.quantity, step.price)


def _fills(running: _Running) -> "list[Execution]":
    return [fill for order in running.orders for fill in order.fills.values()]


def _ways(plan: Plan) -> Sequence[Leg]:
    """Return the steps that bring each asset in between to the start, farthest first."""
    if plan.unwind == "complete":
        return plan.legs[1:]
    return [leg.back for leg in reversed(plan.legs[:-1])]


def _result_of(running: _Running, moved: Mapping[str, Decimal]) -> PlanResult:
    plan = running.plan
    if not any(moved.values()):
        return "missed"
    if running.leg == len(plan.legs):
        return "done"
    return "held" if plan.unwind == "hold" else "unwound"
