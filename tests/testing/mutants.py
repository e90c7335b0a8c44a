"""Engines with one known fault each: the checker must find every one of them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from nkfast.testing import Stage
from nkfast.testing.simulation import LIMITS, SETTINGS
from nkfast.trading import deciding, gate, orders
from nkfast.trading.bookkeeping import Bookkeeper
from nkfast.trading.deciding import Deciding
from nkfast.trading.engine import Engine
from nkfast.trading.gate import OrderGate
from nkfast.trading.journal import Journal
from nkfast.trading.ledger import Ledger
from nkfast.trading.life import LifeState
from nkfast.trading.news import NewsDesk
from nkfast.trading.reconcile import Reconciler
from nkfast.trading.risk import RiskGuard
from nkfast.trading.strategy_host import StrategyHost
from nkfast.venue.port import NewOrder
from nkfast.venue.simulated import SimulatedVenue

Patch = Callable[[Any], None]


@dataclass(frozen=True)
class Mutant:
    """A fault, the invariants one of which it breaks first, and a seed that shows it."""

    name: str
    break_it: Patch
    found_by: frozenset[str]
    seed: int
    stage: Stage | None = None


def _write_nothing_before_it_leaves(patch: Any) -> None:
    patch.setattr(Bookkeeper, "flush_in_haste", lambda self: None)


def _every_error_is_a_rejection(patch: Any) -> None:
    patch.setattr(gate, "_is_certain", lambda error: True)


def _send_again_what_was_not_answered(patch: Any) -> None:
    doubt = OrderGate._doubt_create

    def resend(self: OrderGate, order: Any, reason: str) -> None:
        self._submit(order, 0)
        doubt(self, order, reason)

    patch.setattr(OrderGate, "_doubt_create", resend)


def _no_limits(patch: Any) -> None:
    patch.setattr(RiskGuard, "check", lambda self, order: None)


def _forget_the_minute(patch: Any) -> None:
    patch.setattr(RiskGuard, "recall", lambda self, orders: None)


def _decide_before_comparing(patch: Any) -> None:
    async def nothing(self: Engine) -> None:
        await asyncio.sleep(0)
        self._news.is_compared = True

    patch.setattr(Engine, "_compare_at_start", nothing)


def _tell_twice(patch: Any) -> None:
    tell = StrategyHost.tell

    def twice(self: StrategyHost, order: Any, execution: Any) -> str:
        tell(self, order, execution)
        return tell(self, order, execution)

    patch.setattr(StrategyHost, "tell", twice)


def _tell_nothing(patch: Any) -> None:
    patch.setattr(StrategyHost, "tell", lambda self, order, execution: self._state())


def _reserve_nothing(patch: Any) -> None:
    patch.setattr(Ledger, "reserve", lambda self, order, at=None: None)


def _record_fills_nowhere(patch: Any) -> None:
    record = Journal.record

    def forgetful(self: Journal, news: Any, **more: Any) -> None:
        record(self, [one._replace(fill=None) for one in news], **more)

    patch.setattr(Journal, "record", forgetful)


def _decide_on_any_book(patch: Any) -> None:
    patch.setattr(
        Deciding,
        "may_decide",
        property(lambda self: self._news.is_compared and self._gate.is_open),
    )


def _cancel_strangers(patch: Any) -> None:
    patch.setattr(NewsDesk, "_meet_stranger", lambda self, update: self._gate.cancel_stray(update))


def _leave_without_cancelling(patch: Any) -> None:
    async def nothing(self: Engine, deadline_ns: int, *, keeps: bool) -> None:
        await asyncio.sleep(0)

    patch.setattr(Engine, "_wind_down", nothing)
    patch.setattr(Deciding, "_cancel_all", lambda self: None)


def _settle_no_doubt(patch: Any) -> None:
    async def nothing(self: Reconciler, case: Any) -> None:
        await asyncio.sleep(0)

    patch.setattr(Reconciler, "_look_up", nothing)


def _raise_where_nobody_listens(patch: Any) -> None:
    def fail(self: OrderGate, order: Any, timer: Any, answer: Any) -> None:
        timer.cancel()
        raise KeyError(order.client_id)

    patch.setattr(OrderGate, "_on_submitted", fail)


def _fail_in_a_task_that_nobody_awaits(patch: Any) -> None:
    settle_due = Reconciler.settle_due

    async def fail() -> None:
        raise KeyError("unseen")

    async def settle(self: Reconciler) -> None:
        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.wait([task])
        await settle_due(self)

    patch.setattr(Reconciler, "settle_due", settle)


def _believe_no_balance(patch: Any) -> None:
    set_holdings = Ledger.set_holdings

    def deaf(self: Ledger, holdings: Any, **more: Any) -> Any:
        return [] if self.has_fills else set_holdings(self, holdings, **more)

    patch.setattr(Ledger, "set_holdings", deaf)


def _mint_money(patch: Any) -> None:
    submit = SimulatedVenue.submit

    def minting(self: SimulatedVenue, order: Any) -> Any:
        self._account.holding("USDT").available += 1
        return submit(self, order)

    patch.setattr(SimulatedVenue, "submit", minting)


def _go_back(patch: Any) -> None:
    hear_update = orders.Order.hear_update

    def forgetful(self: orders.Order, update: Any) -> Any:
        news = hear_update(self, update)
        if news is None or not self.facts.reported:
            return news
        return news._replace(facts=news.facts._replace(reported=self.facts.reported / 2))

    patch.setattr(orders.Order, "hear_update", forgetful)


def _a_page_of_the_proxy_is_a_rejection(patch: Any) -> None:
    is_certain = gate._is_certain

    def hasty(error: Any) -> bool:
        return is_certain(error) or "no answer: error" in str(error) or "html" in str(error)

    patch.setattr(gate, "_is_certain", hasty)


def _count_every_execution(patch: Any) -> None:
    patch.setattr(orders.Order, "_sort_execution", lambda self, execution: (execution, None))


def _close_before_the_fills_are_told(patch: Any) -> None:
    derive = orders.derive_state

    def hasty(facts: Any, quantity: Any, filled: Any) -> orders.OrderState:
        state = derive(facts, quantity, filled)
        return orders.OrderState.DONE if state is orders.OrderState.CLOSING else state

    patch.setattr(orders, "derive_state", hasty)


def _send_again_after_a_restart(patch: Any) -> None:
    adopt, look_up = Bookkeeper.adopt, Reconciler._look_up
    interrupted: set[str] = set()

    def remember(self: Bookkeeper, order: Any) -> None:
        if order.state is orders.OrderState.SENDING:
            interrupted.add(order.client_id)
        adopt(self, order)

    async def resend(self: Reconciler, case: Any) -> None:
        order = case.order
        if order.client_id in interrupted:
            interrupted.remove(order.client_id)
            again = NewOrder(
                order.client_id, order.symbol, order.side, order.quantity, order.price, order.type
            )
            self._venue.submit(again).add_done_callback(lambda answer: answer.exception())
        await look_up(self, case)

    patch.setattr(Bookkeeper, "adopt", remember)
    patch.setattr(Reconciler, "_look_up", resend)


def _never_look_again_for_what_was_given_up(patch: Any) -> None:
    async def nothing(self: Reconciler) -> None:
        await asyncio.sleep(0)
        self._sweep_at_ns = self._clock.monotonic_ns() + 10**12

    patch.setattr(Reconciler, "_sweep", nothing)


def _read_trades_from_the_newest_on(patch: Any) -> None:
    read = Reconciler._read_executions

    async def go_on(self: Reconciler, since_ms: int) -> Any:
        return await read(self, max(since_ms, self._cursor_ms))

    patch.setattr(Reconciler, "_read_executions", go_on)


def _decide_while_paused(patch: Any) -> None:
    patch.setattr(deciding, "_DECIDING", deciding._DECIDING | {LifeState.PAUSED})


def _count_no_open_orders(patch: Any) -> None:
    patch.setattr(RiskGuard, "_check_counts", lambda self, order, price: None)


def _free_a_slot_with_the_wish_to_cancel(patch: Any) -> None:
    at_slot = orders.OrderStore.at_slot

    def free(self: orders.OrderStore, slot: str) -> Any:
        order = at_slot(self, slot)
        return None if order is not None and order.facts.cancel_wanted else order

    patch.setattr(orders.OrderStore, "at_slot", free)
    patch.setattr(orders.OrderStore, "check_slot", lambda self, order: None)


def _keep_ends_to_itself(patch: Any) -> None:
    record = Journal.record

    def forgetful(self: Journal, news: Any, **more: Any) -> None:
        record(self, [one for one in news if one.fill or not one.facts.final], **more)

    patch.setattr(Journal, "record", forgetful)


def _count_only_what_rests(patch: Any) -> None:
    def resting(self: RiskGuard) -> Any:
        for order in self._orders.open_orders:
            if order.facts.final is None:
                yield order, order.remaining

    patch.setattr(RiskGuard, "_coming", resting)


def _nothing(patch: Any) -> None:
    """The fault is in the settings."""


#: An absence that is believed at the first look.
_HASTY = Stage(settings=replace(SETTINGS, finality_horizon_s=0.01, round_gap_s=0.01))
_NO_OVERLAP = Stage(settings=replace(SETTINGS, overlap_s=0.001))
_FEW_ORDERS = Stage(limits=replace(LIMITS, max_open_orders=3, max_orders_per_minute=1_000_000))
#: Room for one bid of the two that are wanted.
NEAR_LIMIT = Stage(limits=replace(LIMITS, max_position=Decimal("1.03")))
#: A horizon below what comes late.
_SHORT = Stage(settings=replace(SETTINGS, finality_horizon_s=5.0, round_gap_s=1.0))
#: What was given up is there all the same: accepted, bound, executed.
_LATER = frozenset({"I3", "I7", "I8", "I12"})
MUTANTS = (
    Mutant("write nothing before it leaves", _write_nothing_before_it_leaves, frozenset({"I2"}), 0),
    Mutant("error means rejected", _every_error_is_a_rejection, frozenset({"I12", "I7"}), 4),
    Mutant("send again", _send_again_what_was_not_answered, frozenset({"I13"}), 2),
    Mutant("no limits", _no_limits, frozenset({"I3", "I14", "I17"}), 2),
    Mutant("a restart resets the minute", _forget_the_minute, frozenset({"I17"}), 5),
    Mutant("decide before comparing", _decide_before_comparing, frozenset({"I11"}), 0),
    Mutant("tell a fill twice", _tell_twice, frozenset({"I19"}), 0),
    Mutant("tell no fill", _tell_nothing, frozenset({"I19"}), 0),
    Mutant("reserve nothing", _reserve_nothing, frozenset({"I3"}), 0),
    Mutant("record no fill", _record_fills_nowhere, frozenset({"I5", "I18"}), 1),
    Mutant("decide on any book", _decide_on_any_book, frozenset({"I15"}), 1),
    Mutant("cancel strangers", _cancel_strangers, frozenset({"I16"}), 4),
    Mutant("leave without cancelling", _leave_without_cancelling, frozenset({"I4", "I9"}), 11),
    Mutant("settle no doubt", _settle_no_doubt, frozenset({"I10"}), 0),
    Mutant("raise unseen", _raise_where_nobody_listens, frozenset({"I20"}), 0),
    Mutant("fail in a task", _fail_in_a_task_that_nobody_awaits, frozenset({"I20"}), 0),
    Mutant("believe no balance", _believe_no_balance, frozenset({"I4"}), 1),
    Mutant("mint money", _mint_money, frozenset({"I6"}), 0),
    Mutant("go back", _go_back, frozenset({"I8"}), 2),
    Mutant("not found means gone", _nothing, frozenset({"I12"}), 15, _HASTY),
    Mutant("a proxy's page is a rejection", _a_page_of_the_proxy_is_a_rejection, _LATER, 4),
    Mutant("count every execution", _count_every_execution, frozenset({"I5", "I19"}), 0),
    Mutant("close before the fills", _close_before_the_fills_are_told, frozenset({"I5"}), 0),
    Mutant("a restart sends again", _send_again_after_a_restart, frozenset({"I13"}), 5),
    Mutant(
        "no overlap",
        _read_trades_from_the_newest_on,
        frozenset({"I4", "I5", "I10"}),
        24,
        _NO_OVERLAP,
    ),
    Mutant("decide while paused", _decide_while_paused, frozenset({"I9"}), 4),
    Mutant("count no open orders", _count_no_open_orders, frozenset({"I14"}), 0, _FEW_ORDERS),
    Mutant("free a slot at once", _free_a_slot_with_the_wish_to_cancel, frozenset({"I7"}), 0),
    Mutant("keep ends to itself", _keep_ends_to_itself, frozenset({"I18"}), 0),
    Mutant("count only what rests", _count_only_what_rests, frozenset({"I3"}), 15, NEAR_LIMIT),
    Mutant("never look again", _never_look_again_for_what_was_given_up, _LATER, 16, _SHORT),
)
