"""The judge of a simulated run: twenty invariants, each looked at when it can be broken.

The checker sees the exchange itself (as one of its listeners), every request that leaves the
engine, every write of its journal, every decision of its strategy, and the end of every step of
its process. It believes none of them: what one side says is compared with what the others did.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nkfast.errors import NkfastError
from nkfast.exchange.invariants import violations
from nkfast.exchange.money import text
from nkfast.exchange.orders import AccountTrade, Report, Trade
from nkfast.exchange.orders import Order as ExchangeOrder
from nkfast.trading.exact import ZERO, add, multiply, subtract
from nkfast.trading.journal import verify
from nkfast.trading.orders import News, Order, OrderState, instance_code, parse_client_id

if TYPE_CHECKING:
    from pathlib import Path

    from nkfast.core.book import OrderBook
    from nkfast.exchange.accounts import Account
    from nkfast.exchange.exchange import Exchange
    from nkfast.exchange.markets import Listing
    from nkfast.exchange.orders import Side
    from nkfast.testing.process import Process, ProcessLoop
    from nkfast.trading.engine import Engine
    from nkfast.trading.journal import Journal
    from nkfast.trading.plan_outcome import PlanOutcome
    from nkfast.trading.risk import RiskLimits
    from nkfast.trading.strategy import Fill, MarketView
    from nkfast.venue.port import NewOrder

__all__ = ["INVARIANTS", "Checker", "Violation"]

#: What must hold, by number.
INVARIANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "I1": "no id is accepted twice",
        "I2": "every order of ours at the exchange has a durable intent when it leaves",
        "I3": "what orders bind is reserved, and no position exceeds its limit with its open buys",
        "I4": "when it is quiet, both sides agree about every order and every balance",
        "I5": "recorded fills are the exchange's, each once; all of them when it is quiet",
        "I6": "the exchange makes no money and loses none",
        "I7": "a slot has at most one live order",
        "I8": "states move only along their arrows, and facts only grow",
        "I9": "after a durable halt or pause no order is intended; a halt cancels those that rest",
        "I10": "nothing is in doubt for longer than the horizon and a minute",
        "I11": "no decision before this run, and this connection, was compared with the exchange",
        "I12": "what was given up was never accepted",
        "I13": "an id leaves at most once, over all lives of the process",
        "I14": "every order that leaves keeps to the limits, judged anew",
        "I15": "a book shown to a strategy is the exchange's at its sequence, and live",
        "I16": "orders of others are left alone",
        "I17": "orders within any minute stay within the limit",
        "I18": "memory is what the journal holds, and the journal is what its events make",
        "I19": "a strategy is told each fill once over all its lives, after its order was accepted",
        "I20": "nothing fails unseen: no lost error, no task left, no halt without a cause",
    }
)

_S = OrderState
_ENDED: Final = frozenset({_S.DONE, _S.REJECTED, _S.ABANDONED})
_GIVEN_UP: Final = frozenset({_S.REJECTED, _S.ABANDONED})
_AT_EXCHANGE: Final = frozenset({_S.LIVE, _S.CLOSING, _S.DONE})
_ARROWS: Final[Mapping[OrderState, frozenset[OrderState]]] = {
    _S.SENDING: _AT_EXCHANGE | {_S.UNKNOWN, _S.REJECTED},
    _S.UNKNOWN: _AT_EXCHANGE | _GIVEN_UP,
    _S.LIVE: frozenset({_S.CLOSING, _S.DONE}),
    _S.CLOSING: frozenset({_S.DONE}),
    _S.DONE: frozenset(),
    _S.REJECTED: _AT_EXCHANGE,
    _S.ABANDONED: _AT_EXCHANGE,
}
_READS: Final = frozenset({"open_orders", "executions", "holdings"})
_MINUTE_NS: Final = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that was broken, how, and when (virtual seconds)."""

    invariant: str
    message: str
    time_s: float

    def __str__(self) -> str:
        rule = INVARIANTS[self.invariant]
        return f"{self.invariant} ({rule}) at {self.time_s:.3f} s: {self.message}"


@dataclass(slots=True)
class _Life:
    """What the checker knows of one life of the engine's process."""

    state: str = ""
    epoch: int = 0
    reads: frozenset[str] = frozenset()


class Checker:
    """Watches one exchange account and the engine that trades it.

    Parameters
    ----------
    loop : ProcessLoop
    exchange, account, listings
        Where the engine trades, its home first, and as whom.
    limits : RiskLimits
        What the engine was told to keep to.
    instance : str
        The engine's name; it tells its orders from those of others.
    forgets_ended : bool
        Whether the exchange does not find an order by its client id once it has ended.

    Attributes
    ----------
    violation : Violation or None
        The first one.
    failed : asyncio.Event
        Set with it.
    trace : list of tuple
        What happened: (virtual nanoseconds, what, ...).
    states : dict of str to OrderState
        What the journal holds, by client id.
    cells : Counter
        How often a fault struck while an order was in a state: (state, fault).
    """

    def __init__(
        self,
        loop: "ProcessLoop",
        exchange: "Exchange",
        account: "Account",
        listings: "Sequence[Listing]",
        limits: "RiskLimits",
        instance: str,
        *,
        forgets_ended: bool = False,
    ) -> None:
        self.violation: Violation | None = None
        self.failed = asyncio.Event()
        self.trace: list[tuple[object, ...]] = []
        self.states: dict[str, OrderState] = {}
        self.cells: Counter[tuple[str, str]] = Counter()
        self.intent_count = 0
        self.owner_trades = False
        self._loop = loop
        self._exchange = exchange
        self._account = account
        self._listings = {listing.symbol: listing for listing in listings}
        self._limits = limits
        self._instance = instance_code(instance)
        self._forgets_ended = forgets_ended
        self._accepted: dict[str, ExchangeOrder] = {}
        self._fills: dict[tuple[str, str], AccountTrade] = {}
        self._foreign: set[str] = set()
        self._books: dict[tuple[str, int], tuple[dict[int, int], dict[int, int]]] = {}
        self._exchange_version = 0
        self._is_sound = False
        self._finished_count = 0
        self._sent_ns: dict[str, int] = {}
        self._slots: dict[str, str] = {}
        self._recorded: dict[tuple[str, str, str], News] = {}
        self._touched: list[Order] = []
        self._undo: list[Callable[[], object]] | None = None
        self._life = _Life()
        self._engine: Engine | None = None
        self._seen = (-1, -1, -1)
        self._seen_books: dict[str, int] = {}
        for listing in listings:
            self.on_book(listing, (), 0)
        exchange.listeners.append(self)

    @property
    def fill_count(self) -> int:
        """Fills of the engine's orders at the exchange."""
        return len(self._fills)

    # What is written down ----------------------------------------------------------------------

    def fail(self, invariant: str, message: str) -> None:
        """Note a violation; the first one ends the run."""
        if self.violation is None:
            self.violation = Violation(invariant, message, self._loop.time())
            self.note("VIOLATION", invariant, message)
            self.failed.set()

    def note(self, what: str, *details: object) -> None:
        """Write one line of the trace."""
        self.trace.append((self._loop.now_ns, what, *details))

    def note_fault(self, fault: str) -> None:
        """Count a fault against the states that orders are in."""
        self.note("fault", fault)
        states = {str(state) for state in self.states.values() if state not in _ENDED}
        for state in states or {"none"}:
            self.cells[state, fault] += 1

    # The exchange (Listener) -------------------------------------------------------------------

    def on_report(self, report: Report) -> None:
        """Judge an acceptance, a fill or an end at the exchange."""
        self._is_sound = False
        order = report.order
        if order.account is not self._account:
            return
        self._exchange_version += 1
        self.note(report.kind, order.client_id, order.id, report.executed_lots)
        if not self.owns(order.client_id):
            self._foreign.add(order.id)
            # What others trade with the account is known late, and no limit of ours bounds it.
            self.owner_trades |= report.fill is not None
            return
        if report.kind == "new":
            self._judge_acceptance(order)
        elif report.fill is not None:
            self._fills[report.fill.trade.id, order.id] = report.fill
        self._judge_exposure()

    def on_book(
        self, listing: "Listing", changes: "Sequence[tuple[Side, int, int]]", now_ms: int
    ) -> None:
        """Keep the book of every sequence."""
        self._is_sound = False
        levels = listing.levels
        self._books[listing.symbol, listing.sequences.book] = (
            levels["buy"].copy(),
            levels["sell"].copy(),
        )

    def on_trades(self, listing: "Listing", trades: Sequence[Trade], now_ms: int) -> None:
        """Public trades prove nothing."""

    def on_ticker(self, listing: "Listing", now_ms: int) -> None:
        """Tickers prove nothing."""

    def on_balances(self, account: "Account", assets: Iterable[str], now_ms: int) -> None:
        """Take note that money moved."""
        self._is_sound = False
        self._exchange_version += 1

    def owns(self, client_id: str) -> bool:
        """Whether an id is one that the engine makes."""
        parsed = parse_client_id(client_id)
        return parsed is not None and parsed.instance == self._instance

    def own_orders(self) -> Iterator[ExchangeOrder]:
        """Every open order of the engine's at the exchange."""
        return (
            order for order in self._account.open_orders.values() if order.id not in self._foreign
        )

    def _judge_acceptance(self, order: ExchangeOrder) -> None:
        client_id = order.client_id
        if client_id in self._accepted:
            self.fail("I1", f"{client_id} was accepted again, as {order.id}")
        self._accepted[client_id] = order
        state = self.states.get(client_id)
        if state is None:
            self.fail("I2", f"{client_id} was accepted and has no durable intent")
            return
        if state in _GIVEN_UP:
            self.fail("I12", f"{client_id} was {state} and is accepted now")
        slot = self._slots[client_id]
        for other in self.own_orders():
            if other is not order and self._slots.get(other.client_id) == slot:
                self.fail("I7", f"slot {slot} has {other.client_id} and {client_id}")

    def _is_traceless(self, client_id: str) -> bool:
        """Whether nothing at the exchange shows that it ever accepted an order."""
        order = self._accepted.get(client_id)
        if order is None:
            return True
        # Where an order is not found by its id once it has ended, one that ended unfilled is as if
        # it had never been.
        return self._forgets_ended and not (order.is_open or order.executed_lots)

    def _judge_exposure(self) -> None:
        if self.owner_trades:
            return
        for asset in {listing.base for listing in self._listings.values()}:
            limit = self._limits.position_of(asset, is_base=True)
            if limit is None:
                continue
            atoms = self._account.holding(asset).total
            for order in self.own_orders():
                if order.side == "buy" and order.listing.base == asset:
                    atoms += order.remaining_lots * order.listing.lot_atoms
            exposure = Decimal(text(atoms))
            if exposure > limit:
                self.fail("I3", f"{exposure} {asset} with open buys, the limit is {limit}")

    def check_exchange(self, *, wholly: bool = False) -> None:
        """Check that the simulated exchange itself is sound, where it has changed, or wholly."""
        if self._is_sound and not wholly:
            return
        self._is_sound = True
        finished = len(self._account.finished)
        newest, self._finished_count = finished - self._finished_count, finished
        found = violations(self._exchange, finished_max=None if wholly else newest)
        if found:
            self.fail("I6", found[0])

    # The wire ----------------------------------------------------------------------------------

    def on_submit(self, order: "NewOrder") -> None:
        """Judge an order that leaves the engine."""
        now_ns, client_id = self._loop.now_ns, order.client_id
        self.note("submit", client_id, order.side, order.price, order.quantity, order.symbol)
        if client_id in self._sent_ns:
            self.fail(
                "I13", f"{client_id} leaves again, first at {self._sent_ns[client_id] / 1e9:.3f} s"
            )
        if client_id not in self.states or self._undo is not None:
            self.fail("I2", f"{client_id} leaves and its intent is not durable")
        self._judge_limits(order)
        self._sent_ns[client_id] = now_ns
        rate = self._limits.max_orders_per_minute
        recent = sum(sent_ns > now_ns - _MINUTE_NS for sent_ns in self._sent_ns.values())
        if rate is not None and recent > rate:
            self.fail("I17", f"{recent} orders within a minute, the limit is {rate}")

    def on_cancel(self, client_id: str) -> None:
        """Judge a cancel that leaves the engine."""
        self.note("cancel", client_id)
        if client_id not in self._sent_ns:
            self.fail("I16", f"{client_id!r} is cancelled and was never sent by the engine")

    def on_connection(self, is_up: bool) -> None:
        """Take note that the connection came or went: what was read before is old."""
        self.note("connection", is_up)
        self._life.epoch += 1
        self._life.reads = frozenset()

    @property
    def epoch(self) -> tuple[_Life, int]:
        """Which connection of which life this is; a read belongs to the one it began in."""
        return self._life, self._life.epoch

    def on_read(self, kind: str, epoch: tuple[_Life, int]) -> None:
        """Take note that a list was read."""
        if epoch == self.epoch:
            self._life.reads |= {kind}

    def _judge_limits(self, order: "NewOrder") -> None:
        limits = self._limits
        most = limits.max_order_notional
        if most is not None and order.price is not None:
            notional = multiply(order.price, order.quantity)
            if notional > most:
                self.fail("I14", f"{order.client_id} is worth {notional}, the limit is {most}")
        # Its own intent is among them.
        count = sum(state not in _ENDED for state in self.states.values())
        if limits.max_open_orders is not None and count > limits.max_open_orders:
            self.fail("I14", f"{count} open orders, the limit is {limits.max_open_orders}")

    # The journal -------------------------------------------------------------------------------

    def on_intent(self, order: Order) -> None:
        """Judge an intent that was written."""
        if self._life.state in ("halted", "paused"):
            self.fail("I9", f"{order.client_id} is intended while the engine is {self._life.state}")
        self._slots[order.client_id] = order.slot
        self._set_state(order.client_id, order.state)
        self.intent_count += 1
        self.note("intent", order.client_id, order.slot)

    def on_news(self, news: News) -> None:
        """Judge news of an order that was written."""
        order = news.order
        client_id, before, after = order.client_id, self.states.get(order.client_id), news.state
        if before is None:
            self.fail("I2", f"{client_id} is {after} and was never intended")
            return
        if after is not before:
            self.note("state", client_id, str(after))
            if after not in _ARROWS[before]:
                self.fail("I8", f"{client_id} goes from {before} to {after}")
            if after in _GIVEN_UP and not self._is_traceless(client_id):
                self.fail("I12", f"{client_id} was accepted and is {after} now")
        if news.facts.reported < order.facts.reported or news.filled < order.filled:
            self.fail("I8", f"{client_id}: what was executed shrinks")
        if after is _S.DONE and news.filled < news.facts.reported:
            executed = news.facts.reported
            self.fail("I5", f"{client_id} is done with {news.filled} filled of {executed}")
        if news.fill is not None:
            self._judge_fill(news)
        self._set_state(client_id, after)
        self._touched.append(order)

    def on_life(self, state: str) -> None:
        """Take note of the state that the engine has durably entered."""
        self.note("life", state)
        self._life.state = state

    def on_hold(self) -> None:
        """Take note that writes are gathered: nothing is durable until `on_commit`."""
        if self._undo is None:
            self._undo = []

    def on_commit(self) -> None:
        """Take note that everything written is durable."""
        self._undo = None

    def on_lost_writes(self) -> None:
        """Forget what was gathered and never committed: the process or the disk has failed."""
        self._touched.clear()  # memory follows the journal, and may stay behind now
        for undo in reversed(self._undo or []):
            undo()
        self._undo = None

    def _set_state(self, client_id: str, state: OrderState) -> None:
        states = self.states
        if self._undo is not None:
            if client_id in states:
                self._undo.append(partial(states.update, {client_id: states[client_id]}))
            else:
                self._undo.append(lambda: states.pop(client_id))
        states[client_id] = state

    def _judge_fill(self, news: News) -> None:
        fill, client_id = news.fill, news.order.client_id
        assert fill is not None
        true = self._fills.get((fill.trade_id, fill.order_id))
        key = (client_id, fill.trade_id, fill.order_id)
        if true is None:
            self.fail("I5", f"{client_id} records trade {fill.trade_id}, which never was")
        elif key in self._recorded:
            self.fail("I5", f"{client_id} records trade {fill.trade_id} twice")
        elif true.order.client_id != client_id or self._quantity(true) != fill.quantity:
            self.fail("I5", f"{client_id} records trade {fill.trade_id} as {fill.quantity}")
        self._recorded[key] = news
        if self._undo is not None:
            self._undo.append(lambda: self._recorded.pop(key))

    # The strategy ------------------------------------------------------------------------------

    def on_decide(self, view: "MarketView") -> None:
        """Judge what a strategy is shown."""
        if self._life.reads != _READS:
            missing = ", ".join(sorted(_READS - self._life.reads))
            self.fail("I11", f"a decision, and {missing} not read since the connection came")
        live = {symbol: book for symbol, book in view.books.items() if book.state == "live"}
        if not live:
            self.fail("I15", f"a decision on a book that is {view.book.state}")
        for symbol, book in live.items():
            if book.version != self._seen_books.get(symbol):
                self._seen_books[symbol] = book.version
                self._judge_book(symbol, book)

    def _judge_book(self, symbol: str, book: "OrderBook") -> None:
        bids, asks = book.depth(max(book.bid_count, book.ask_count, 1))
        # A market that was read while its tick was coarse counts in coarse ticks.
        listing = self._listings[symbol]
        coarse = 10 ** (listing.price_decimals - book.market.price_decimals)
        shown = [[(ticks * coarse, lots) for ticks, lots in side.tolist()] for side in (bids, asks)]
        true = self._books.get((symbol, book.sequence))
        best_first = true and [sorted(true[0].items(), reverse=True), sorted(true[1].items())]
        if shown != best_first:
            self.fail("I15", f"{symbol} {book.sequence} is shown as {shown}, it was {best_first}")

    def on_told(self, fill: "Fill", *, is_known: bool) -> None:
        """Judge a fill that a strategy is told."""
        if is_known:
            self.fail("I19", f"trade {fill.trade_id} is told twice")
        if not any(key[0] == fill.trade_id for key in self._fills):
            self.fail("I19", f"trade {fill.trade_id} is told and never was")

    def on_plan(self, outcome: "PlanOutcome") -> None:
        """Take note of what became of a plan."""
        self.note("plan", outcome.number, outcome.result, outcome.profit)

    # The process -------------------------------------------------------------------------------

    def begin_life(self) -> None:
        """Take note that a process starts."""
        self.note("start")
        self._life = _Life()
        self._seen_books.clear()

    def watch(self, engine: "Engine") -> None:
        """Look at an engine after every step from now on: it has started."""
        self._engine = engine

    def after_step(self) -> None:
        """Judge the engine after one step of its process."""
        engine = self._engine
        if self._touched:
            for order in self._touched:
                if order.state is not self.states.get(order.client_id, order.state):
                    self.fail(
                        "I18", f"{order.client_id} is {order.state}, the journal holds another one"
                    )
            self._touched.clear()
        if engine is None:
            return
        seen = (self._exchange_version, engine.orders.version, engine.ledger.version)
        if seen != self._seen:
            self._seen = seen
            self._judge_reservations(engine)

    def end_life(self, process: "Process") -> None:
        """Judge what a process leaves behind."""
        self._engine = None
        self._touched.clear()
        self.on_lost_writes()
        self.note("end", process.is_dead)
        if process.is_dead:
            return
        left = [task.get_name() for task in process.tasks if not task.done()]
        if left:
            self.fail("I20", f"tasks are left: {', '.join(left)}")
        # The process still holds its tasks, so asyncio, which would tell when they go, does not.
        for task in process.tasks:
            if task.done() and task._log_traceback:
                self.fail("I20", f"task {task.get_name()} failed unseen: {task.exception()!r}")
        self.check_failures()

    def check_failures(self) -> None:
        """Check that no error went unseen."""
        if self._loop.failures:
            self.fail("I20", self._loop.failures[0])

    def _judge_reservations(self, engine: "Engine") -> None:
        bound: dict[str, int] = {}
        for order in self.own_orders():
            bound[order.asset] = bound.get(order.asset, 0) + order.held
        for asset, amount in bound.items():
            held, reserved = Decimal(text(amount)), engine.ledger.reserved(asset)
            if held > reserved:
                self.fail("I3", f"orders bind {held} {asset}, {reserved} is reserved")

    # When it is quiet --------------------------------------------------------------------------

    def differences(self, engine: "Engine", journal: "Journal") -> Iterator[tuple[str, str]]:
        """Yield what the two sides do not agree about, with the invariant that it breaks."""
        for client_id, state in self.states.items():
            if state in (_S.SENDING, _S.UNKNOWN, _S.CLOSING):
                yield "I10", f"{client_id} is still {state}"
        for client_id in self.states:
            yield from self._order_differences(client_id, engine, journal)
        yield from self._money_differences(engine, journal)

    def _order_differences(
        self, client_id: str, engine: "Engine", journal: "Journal"
    ) -> Iterator[tuple[str, str]]:
        order, true = engine.orders.get(client_id), self._accepted.get(client_id)
        if order is None:
            yield "I4", f"{client_id} is in the journal, and the engine does not know it"
            return
        if order.state in _GIVEN_UP and self._is_traceless(client_id):
            return
        if order.state in _GIVEN_UP or true is None:
            yield "I4", f"{client_id} is {order.state}, the exchange has {true and true.status}"
            return
        if true is not None:
            if (order.state is _S.LIVE) is not true.is_open:
                yield "I4", f"{client_id} is {order.state}, the exchange has {true.status}"
            executed = true.listing.market.lots_to_quantity(true.executed_lots)
            if not order.executed == order.filled == executed:
                yield "I5", f"{client_id}: {order.filled} filled, the exchange has {executed}"
        fills = {key: (self._quantity(fill), _fee(fill)) for key, fill in self._fills_of(client_id)}
        told = {key: (fill.quantity, fill.fee) for key, fill in order.fills.items()}
        if fills != told:
            yield "I5", f"{client_id}: fills are {told}, the exchange has {fills}"
        stored = journal.find_order(client_id)
        if stored is None or _content(stored) != _content(order):
            yield "I18", f"{client_id}: the journal holds {stored}, memory {order}"

    def _money_differences(self, engine: "Engine", journal: "Journal") -> Iterator[tuple[str, str]]:
        ledger, markets = engine.ledger, [one.market for one in self._listings.values()]
        for asset in sorted({asset for it in markets for asset in (it.base, it.quote)}):
            total = Decimal(text(self._account.holding(asset).total))
            if ledger.total(asset) != total:
                yield "I4", f"{ledger.total(asset)} {asset}, the exchange has {total}"
        stored = journal.recover(0).profits
        for market in markets:
            position = cash = ZERO
            for fill in self._fills.values():
                if fill.trade.listing.symbol != market.symbol:
                    continue
                sign = 1 if fill.side == "buy" else -1
                quantity, price = self._quantity(fill), market.ticks_to_price(fill.trade.ticks)
                position = add(position, multiply(quantity, Decimal(sign)))
                cash = subtract(cash, multiply(multiply(price, quantity), Decimal(sign)))
                cash = subtract(cash, _fee(fill))
            profit, kept = ledger.profits[market.symbol], stored.get(market.symbol)
            if (profit.position, profit.cash) != (position, cash):
                yield "I5", f"the profit is {profit}, the fills make {position} and {cash}"
            if kept is not None and kept.as_json() != profit.as_json():
                yield "I18", f"the journal holds {kept}, memory {profit}"

    def check_told(self, told: Iterable[tuple[str, str]]) -> None:
        """Check that a strategy was told every fill: (trade id, side)."""
        true = {(trade_id, fill.side) for (trade_id, _), fill in self._fills.items()}
        missing = true - set(told)
        if missing:
            self.fail("I19", f"trade {min(missing)[0]} was never told")

    def check_journal(self, path: "Path") -> None:
        """Check that a journal is what its events make."""
        try:
            report = verify(path)
        except NkfastError as error:
            self.fail("I18", str(error))
        else:
            if not report.ok:
                self.fail("I18", report.differences[0])

    def _quantity(self, fill: AccountTrade) -> Decimal:
        return fill.trade.listing.market.lots_to_quantity(fill.trade.lots)

    def _fills_of(self, client_id: str) -> Iterator[tuple[tuple[str, str], AccountTrade]]:
        return (
            (key, fill) for key, fill in self._fills.items() if fill.order.client_id == client_id
        )


def _content(order: Order) -> object:
    fills = {
        key: (fill.price, fill.quantity, fill.fee, fill.fee_asset)
        for key, fill in order.fills.items()
    }
    return order.state, order.facts, order.price, order.quantity, fills


def _fee(fill: AccountTrade) -> Decimal:
    return Decimal(text(fill.fee))
