"""The parts around the engine that break on command: journal, wire, strategy and clock.

Each wraps the real thing, tells the `Checker` what passes, and does what the script says.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from zlib import crc32

from nkfast.errors import JournalError
from nkfast.testing.process import Killed, Process
from nkfast.testing.script import COUNTED, Incident
from nkfast.trading.plan import Plan
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    MarketView,
    Strategy,
    StrategyContext,
)

if TYPE_CHECKING:
    from asyncio import Future
    from decimal import Decimal

    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market
    from nkfast.exchange.accounts import Account
    from nkfast.testing.checker import Checker
    from nkfast.trading.journal import Journal
    from nkfast.venue.clock import Clock
    from nkfast.venue.port import (
        BookLevels,
        Execution,
        Holding,
        NewOrder,
        OrderUpdate,
        PublicTrade,
        Venue,
        VenueListener,
    )

__all__ = [
    "Canary",
    "FragileJournal",
    "FragileStrategy",
    "MachineClock",
    "Schedule",
    "ScriptedError",
    "Wire",
]

_Reply = TypeVar("_Reply")


class ScriptedError(Exception):
    """What a strategy raises because the script says so."""


class Schedule:
    """The incidents that strike at a count: the nth write, request or decision of all lives.

    Parameters
    ----------
    incidents : iterable of Incident
    on_strike : callable
        Is told the kind of each that strikes.

    Attributes
    ----------
    is_over : bool
        Set when the storm has passed: nothing strikes any more.
    """

    def __init__(self, incidents: Iterable[Incident], on_strike: Callable[[str], None]) -> None:
        self.is_over = False
        self._on_strike = on_strike
        self._counts: Counter[str] = Counter()
        self._due: dict[tuple[str, int], str] = {
            (COUNTED[one.kind], int(one.at)): one.kind for one in incidents if one.kind in COUNTED
        }

    def next(self, what: str) -> str:
        """Count one more; return the kind of what strikes it, or an empty word."""
        self._counts[what] += 1
        kind = self._due.get((what, self._counts[what]), "")
        if not kind or self.is_over:
            return ""
        self._on_strike(kind)
        return kind


#: What changes a journal. Everything else is read, or does nothing that could be lost.
_WRITES: Final = frozenset(
    {
        "add_reasons",
        "commit",
        "hold",
        "intend",
        "keep",
        "note_life",
        "record",
        "set_cursor",
        "set_strategy_state",
        "settle",
    }
)


class FragileJournal:
    """A `Journal` whose writes are counted, watched, and fail or end the process on command."""

    def __init__(
        self, journal: "Journal", process: Process, schedule: Schedule, checker: "Checker"
    ) -> None:
        self._journal = journal
        self._process = process
        self._schedule = schedule
        self._checker = checker
        self._is_broken = False

    @property
    def is_broken(self) -> bool:
        """Whether the disk failed."""
        return self._is_broken

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._journal, name)
        if name in _WRITES:
            found = partial(self._write, name, found)
            setattr(self, name, found)
        return found

    def _write(self, name: str, write: Callable[..., None], *given: Any, **named: Any) -> None:
        if self._is_broken:
            raise JournalError(str(self._journal.path), "failed before and takes nothing more")
        if name == "record":
            given = (list(given[0]), *given[1:])
        fault = self._schedule.next("writes")
        if fault == "kill_before_write" or self._process.is_dead:
            self._end_process()
        if fault == "disk_full":
            self._break("database or disk is full")
        write(*given, **named)
        self._tell(name, given)
        if fault == "kill_after_write":
            self._end_process()
        if fault == "disk_error":
            self._journal.commit()
            self._checker.on_commit()
            self._break("disk I/O error")

    def _end_process(self) -> None:
        self._process.kill()
        raise Killed

    def _break(self, reason: str) -> None:
        self._is_broken = True
        self._checker.on_lost_writes()
        raise JournalError(str(self._journal.path), f"{reason}; trading stops")

    def _tell(self, name: str, given: tuple[Any, ...]) -> None:
        checker = self._checker
        if name == "intend":
            checker.on_intent(given[0])
        elif name == "record":
            for news in given[0]:
                checker.on_news(news)
        elif name == "hold":
            checker.on_hold()
        elif name == "commit":
            checker.on_commit()
        elif name == "note_life":
            checker.on_life(given[0])


class _Ear:
    """Hears for the engine, and tells the checker of the connection."""

    def __init__(self, listener: "VenueListener", checker: "Checker") -> None:
        self._listener = listener
        self._checker = checker
        self.on_book = listener.on_book
        self.on_order = listener.on_order
        self.on_holdings = listener.on_holdings
        self.on_trade: Callable[[PublicTrade], None] = listener.on_trade

    def on_connection(self, is_up: bool, reason: str) -> None:
        self._checker.on_connection(is_up)
        self._listener.on_connection(is_up, reason)


class Wire:
    """A `Venue` between the engine and the simulated one: everything that leaves passes here.

    Parameters
    ----------
    venue : Venue
        The simulated venue.
    account : Account
        The engine's account there.
    now_ms : callable
        The exchange's time, Unix milliseconds.
    process, schedule, checker
        Whose wire it is, what strikes it, who watches it.
    lookup, read_lag_s
        See `Script`.
    """

    def __init__(
        self,
        venue: "Venue",
        account: "Account",
        now_ms: Callable[[], int],
        process: Process,
        schedule: Schedule,
        checker: "Checker",
        *,
        lookup: str,
        read_lag_s: float,
    ) -> None:
        self._venue = venue
        self._account = account
        self._now_ms = now_ms
        self._process = process
        self._schedule = schedule
        self._checker = checker
        self._finds_ended = lookup == "any"
        self._read_lag_ms = int(read_lag_s * 1000)
        self._answers: list[Future[OrderUpdate]] = []

    @property
    def name(self) -> str:
        """See `Venue.name`."""
        return self._venue.name

    @property
    def markets(self) -> Mapping[str, "Market"]:
        """See `Venue.markets`."""
        return self._venue.markets

    @property
    def counters(self) -> Mapping[str, int]:
        """See `Venue.counters`."""
        return self._venue.counters

    def book(self, symbol: str) -> "OrderBook":
        """See `Venue.book`."""
        return self._venue.book(symbol)

    async def start(self, symbols: Sequence[str], listener: "VenueListener") -> None:
        """See `Venue.start`."""
        await self._venue.start(symbols, _Ear(listener, self._checker))

    async def close(self) -> None:
        """See `Venue.close`."""
        await self._venue.close()

    def submit(self, order: "NewOrder") -> "Future[OrderUpdate]":
        """See `Venue.submit`."""
        return self._send(
            partial(self._checker.on_submit, order), partial(self._venue.submit, order)
        )

    def cancel(self, symbol: str, client_id: str, order_id: str) -> "Future[OrderUpdate]":
        """See `Venue.cancel`."""
        return self._send(
            partial(self._checker.on_cancel, client_id),
            partial(self._venue.cancel, symbol, client_id, order_id),
        )

    def _send(
        self, tell: Callable[[], None], send: Callable[[], "Future[OrderUpdate]"]
    ) -> "Future[OrderUpdate]":
        fault = self._schedule.next("sends")
        if fault == "kill_before_send" or self._process.is_dead:
            self._process.kill()
            raise Killed
        tell()
        answer = send()
        self._answers.append(answer)
        if fault == "kill_after_send":
            self._process.kill()
            raise Killed
        return answer

    def abandon(self) -> None:
        """Take the answers that nobody is left to take: the process was killed."""
        for answer in self._answers:
            answer.add_done_callback(_take, context=Context())
        self._answers.clear()

    async def find_order(self, symbol: str, name: str) -> "OrderUpdate | None":
        """See `Venue.find_order`."""
        found = await self._venue.find_order(symbol, name)
        if found is None or self._is_hidden(name):
            return None
        # By the exchange's own id an order is found for ever.
        if found.status.is_final and not self._finds_ended and name == found.client_id:
            return None
        return found

    async def order_history(self, symbol: str, since_ms: int) -> "list[OrderUpdate]":
        """See `Venue.order_history`."""
        rows = await self._venue.order_history(symbol, since_ms)
        return [row for row in rows if not self._is_hidden(row.order_id)]

    async def open_orders(self, symbol: str) -> "list[OrderUpdate]":
        """See `Venue.open_orders`."""
        rows = await self._read("open_orders", self._venue.open_orders(symbol))
        return [row for row in rows if not self._is_hidden(row.order_id)]

    async def executions(self, symbol: str, since_ms: int) -> "list[Execution]":
        """See `Venue.executions`."""
        rows = await self._read("executions", self._venue.executions(symbol, since_ms))
        return [row for row in rows if not self._is_unlisted(row)]

    async def holdings(self) -> "list[Holding]":
        """See `Venue.holdings`."""
        return await self._read("holdings", self._venue.holdings())

    async def read_market(self, symbol: str) -> "Market":
        """See `Venue.read_market`."""
        return await self._venue.read_market(symbol)

    async def read_book(self, symbol: str, depth: int) -> "BookLevels | None":
        """See `Venue.read_book`."""
        return await self._venue.read_book(symbol, depth)

    def resync(self, reason: str) -> None:
        """See `Venue.resync`."""
        self._venue.resync(reason)

    async def _read(self, kind: str, reading: Awaitable[_Reply]) -> _Reply:
        epoch = self._checker.epoch
        reply = await reading
        self._checker.on_read(kind, epoch)
        return reply

    def _is_unlisted(self, fill: "Execution") -> bool:
        """Whether a trade is too new for the list, which has older and newer ones in any order."""
        share = crc32(fill.trade_id.encode()) / 2**32
        return fill.time_ms > self._now_ms() - share * self._read_lag_ms

    def _is_hidden(self, identifier: str) -> bool:
        order = self._account.find(identifier)
        return order is not None and self._is_too_new(order.created_ms)

    def _is_too_new(self, time_ms: int) -> bool:
        if not self._read_lag_ms:
            return False
        return time_ms > self._now_ms() - self._read_lag_ms


def _take(answer: "Future[OrderUpdate]") -> None:
    if not answer.cancelled():
        answer.exception()


class Canary:
    """A venue that sends every order twice: whatever else is broken, the checker must see it.

    Parameters
    ----------
    venue : Venue
        To which it sends.
    """

    def __init__(self, venue: "Venue") -> None:
        self._venue = venue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def submit(self, order: "NewOrder") -> "Future[OrderUpdate]":
        """Send it, and again."""
        answer = self._venue.submit(order)
        self._venue.submit(order).add_done_callback(_take)
        return answer


class FragileStrategy(Strategy):
    """A strategy that is watched, remembers what it was told, and raises on command.

    What it was told is part of its state: it is lost or kept with the rest.
    """

    def __init__(self, strategy: Strategy, schedule: Schedule, checker: "Checker") -> None:
        self.name = strategy.name
        self.cancels_when_blind = strategy.cancels_when_blind
        self.fails = self.rests = False
        self._resting = Desired()
        self._strategy = strategy
        self._schedule = schedule
        self._checker = checker
        self._told: tuple[tuple[str, str], ...] = ()
        self._inner_state: Mapping[str, Any] | None = None
        self._state: dict[str, Any] = {}

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """Every fill that it was told, over all lives: (trade id, side)."""
        return self._told

    def decide(self, view: MarketView) -> Desired | Plan:
        """See `Strategy.decide`."""
        self._checker.on_decide(view)
        if self._schedule.next("decisions") or self.fails:
            raise ScriptedError("the script says so")
        return self._resting if self.rests else self._strategy.decide(view)

    def on_fill(self, fill: Fill) -> None:
        """See `Strategy.on_fill`."""
        key = (fill.trade_id, fill.side)
        self._checker.on_told(fill, is_known=key in self._told)
        self._told = (*self._told, key)
        self._inner_state = None
        self._strategy.on_fill(fill)

    def on_fee(self, fill: Fill, before: "Decimal | None") -> None:
        """See `Strategy.on_fee`."""
        self._inner_state = None
        self._strategy.on_fee(fill, before)

    @property
    def ctx(self) -> StrategyContext:
        """See `Strategy.ctx`."""
        return self._strategy.ctx

    @ctx.setter
    def ctx(self, ctx: StrategyContext) -> None:
        self._strategy.ctx = ctx

    def on_end(self, order: EndedOrder) -> None:
        """See `Strategy.on_end`."""
        self._strategy.on_end(order)

    def on_trade(self, trade: "PublicTrade") -> None:
        """See `Strategy.on_trade`."""
        self._strategy.on_trade(trade)

    def on_plan(self, outcome: PlanOutcome) -> None:
        """See `Strategy.on_plan`."""
        self._checker.on_plan(outcome)
        self._strategy.on_plan(outcome)

    def state(self) -> dict[str, Any]:
        """See `Strategy.state`."""
        state = self._strategy.state()
        if state is not self._inner_state:
            self._inner_state = state
            self._state = {"told": [list(key) for key in self._told], "state": state}
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Strategy.restore`."""
        self._told = tuple((trade_id, side) for trade_id, side in state["told"])
        self._strategy.restore(state["state"])


class MachineClock:
    """The clock of the engine's machine: it sleeps, and its Unix time is ahead, and jumps.

    Attributes
    ----------
    ahead_ns : int
        How far its Unix time is ahead of the world's.
    slept_ns : int
        How long it has slept: its monotonic clock stood still.
    """

    def __init__(self, clock: "Clock", ahead_ms: int = 0) -> None:
        self._clock = clock
        self.ahead_ns = ahead_ms * 1_000_000
        self.slept_ns = 0

    def time_ns(self) -> int:
        """See `Clock.time_ns`."""
        return self._clock.time_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        """See `Clock.monotonic_ns`."""
        return self._clock.monotonic_ns() - self.slept_ns

    def boot_ns(self) -> int:
        """See `Clock.boot_ns`."""
        return self._clock.boot_ns()

    @property
    def boot_id(self) -> str:
        """See `Clock.boot_id`."""
        return self._clock.boot_id
