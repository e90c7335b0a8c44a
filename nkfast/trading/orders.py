"""The life of an order: its id, its states, and what news does to it.

News is a set, not a sequence. Whatever order reports, replies, list rows and trades arrive in, an
order ends in the same state, because what is known of it is a join of facts that only grow:

    SENDING --> UNKNOWN --> LIVE --> CLOSING --> DONE
       |           |
    REJECTED   ABANDONED        both are left when the venue shows that the order exists after all

CLOSING means that nothing rests any more but not every fill has been told. A step may be left out
on the way to the right. The only way back is from DONE to CLOSING, when the venue tells of more
fills than it had. Every other move is an `OrderError`: such news is of another order, or ours are
wrong. A slot holds at most one order that is not DONE, REJECTED or ABANDONED.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import NamedTuple

from nkfast.errors import ConfigError, OrderError
from nkfast.trading.exact import ZERO, add, subtract
from nkfast.venue.port import Execution, OrderType, OrderUpdate, Side, VenueStatus

__all__ = [
    "MARKS",
    "TRANSITIONS",
    "ClientId",
    "Facts",
    "FillKey",
    "IdSource",
    "News",
    "Order",
    "OrderState",
    "OrderStore",
    "Outcome",
    "instance_code",
    "parse_client_id",
]

# Base 32 without the look-alikes i, l, o, u: an id must survive being read aloud.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PREFIX = "nk"
_INSTANCE_LENGTH = 4
_BOOT_LENGTH = 5
_MARK_LENGTH = 5
_CHECK_LENGTH = 2
_ID_LENGTH = 25
#: How many marks there are: one is drawn for every start.
MARKS = 32**_MARK_LENGTH
#: A prime below 32**2 that finds every wrong digit and every swap of two neighbours.
_CHECK_MODULUS = 1021


class ClientId(NamedTuple):
    """What one of our client ids says."""

    instance: str
    boot: int
    mark: int
    sequence: int


def _encode(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, 32)
        digits.append(_DIGITS[digit])
    if value:
        raise OverflowError(f"{length} base-32 digits do not hold the counter")
    return "".join(reversed(digits))


def _decode(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 32 + _VALUES[digit]
    return value


def _residue(text: str, start: int = 0) -> int:
    value = start
    for digit in text:
        value = (value * 33 + _VALUES[digit] + 1) % _CHECK_MODULUS
    return value


#: Two digits at a time: what they are, and what they add to a residue.
_PAIRS = tuple(first + second for first in _DIGITS for second in _DIGITS)
_PAIR_RESIDUES = tuple(_residue(pair) for pair in _PAIRS)
_SHIFT = 33 * 33 % _CHECK_MODULUS


def instance_code(name: str) -> str:
    """Return the four characters that stand for an instance in its client ids.

    A name of four characters of the id alphabet stands for itself; any other is hashed.
    """
    if not name:
        raise ConfigError("the instance has no name; give it one, such as 'nk01'")
    if len(name) == _INSTANCE_LENGTH and all(digit in _VALUES for digit in name):
        return name
    digest = blake2b(name.encode(), digest_size=4).digest()
    return _encode(int.from_bytes(digest) >> 12, _INSTANCE_LENGTH)


def parse_client_id(text: str) -> ClientId | None:
    """Read one of nkfast's client ids; None when it is not one (or was corrupted)."""
    if len(text) != _ID_LENGTH or not text.startswith(_PREFIX):
        return None
    body, check = text[:-_CHECK_LENGTH], text[-_CHECK_LENGTH:]
    if any(digit not in _VALUES for digit in text) or _decode(check) != _residue(body):
        return None
    boot_at = len(_PREFIX) + _INSTANCE_LENGTH
    mark_at = boot_at + _BOOT_LENGTH
    sequence_at = mark_at + _MARK_LENGTH
    return ClientId(
        body[len(_PREFIX) : boot_at],
        _decode(body[boot_at:mark_at]),
        _decode(body[mark_at:sequence_at]),
        _decode(body[sequence_at:]),
    )


class IdSource:
    """Makes client ids: ``nk`` + instance (4) + boot (5) + mark (5) + sequence (7) + check (2).

    The mark keeps the ids of two starts apart that count the same boot: where the journal was lost,
    an old one was put back, or a copy of it is in use.

    Parameters
    ----------
    instance : str
        Name of the instance; see `instance_code`.
    boot : int
        Counter of starts of this instance, 0 .. 32**5 - 1, made durable before the first id.
    mark : int
        Drawn for this start, 0 .. `MARKS` - 1, and made durable with it.
    starts : mapping of int to int
        The mark of every start that the journal counted, by boot.
    """

    def __init__(
        self, instance: str, boot: int, mark: int = 0, starts: Mapping[int, int] | None = None
    ) -> None:
        self.instance = instance_code(instance)
        self.boot = boot
        self._starts = {boot: mark} if starts is None else starts
        self._sequence = 0
        self._head = (
            _PREFIX + self.instance + _encode(boot, _BOOT_LENGTH) + _encode(mark, _MARK_LENGTH)
        )
        self._head_residue = _residue(self._head)
        self._prepared = ""

    def next(self) -> str:
        """Return an id that was never returned before."""
        prepared, self._prepared = self._prepared, ""
        return prepared or self._make()

    def prepare(self) -> None:
        """Make the next id ahead, while there is time."""
        if not self._prepared:
            self._prepared = self._make()

    def _make(self) -> str:
        self._sequence += 1
        first, rest = divmod(self._sequence, 32**6)
        high, rest = divmod(rest, 32**4)
        middle, low = divmod(rest, 32**2)
        digit = _DIGITS[first]
        residue = _residue(digit, self._head_residue)
        for pair in (high, middle, low):
            residue = (residue * _SHIFT + _PAIR_RESIDUES[pair]) % _CHECK_MODULUS
        return self._head + digit + _PAIRS[high] + _PAIRS[middle] + _PAIRS[low] + _PAIRS[residue]

    def owns(self, client_id: str) -> ClientId | None:
        """Return what an id says when this instance made it, in this run or an earlier one."""
        parsed = parse_client_id(client_id)
        return parsed if parsed is not None and parsed.instance == self.instance else None

    def knows_start(self, made_by: ClientId) -> bool:
        """Whether the start that made an id of ours is one that the journal counted."""
        return self._starts.get(made_by.boot) == made_by.mark


class OrderState(StrEnum):
    """Where an order is in its life."""

    SENDING = "sending"  # the intent is durable; no answer yet
    UNKNOWN = "unknown"  # sent, and the answer was lost
    LIVE = "live"
    CLOSING = "closing"  # nothing rests; some fills are still to be told
    DONE = "done"
    REJECTED = "rejected"  # certainly never at the venue
    ABANDONED = "abandoned"  # proven absent after its answer was lost

    @property
    def is_open(self) -> bool:
        """Whether the order may still trade or tell of trades: it holds its slot."""
        return self in _OPEN


_S = OrderState
#: Which state may follow which.
TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = MappingProxyType(
    {
        _S.SENDING: frozenset({_S.UNKNOWN, _S.LIVE, _S.CLOSING, _S.DONE, _S.REJECTED}),
        _S.UNKNOWN: frozenset({_S.LIVE, _S.CLOSING, _S.DONE, _S.REJECTED, _S.ABANDONED}),
        _S.LIVE: frozenset({_S.CLOSING, _S.DONE, _S.REJECTED}),
        _S.CLOSING: frozenset({_S.DONE}),
        _S.DONE: frozenset({_S.CLOSING}),
        _S.REJECTED: frozenset({_S.LIVE, _S.CLOSING, _S.DONE}),
        _S.ABANDONED: frozenset({_S.LIVE, _S.CLOSING, _S.DONE, _S.REJECTED}),
    }
)
_OPEN = frozenset({OrderState.SENDING, OrderState.UNKNOWN, OrderState.LIVE, OrderState.CLOSING})


class Outcome(StrEnum):
    """What became of the attempt to send, as far as we can tell from our side."""

    PENDING = "pending"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    ABANDONED = "abandoned"


_OUTCOME_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}
_OUTCOME_STATE = {
    Outcome.PENDING: OrderState.SENDING,
    Outcome.UNKNOWN: OrderState.UNKNOWN,
    Outcome.REJECTED: OrderState.REJECTED,
    Outcome.ABANDONED: OrderState.ABANDONED,
}
#: When two final words are told, the one that claims more wins, whichever came first.
_FINAL_RANK = {
    None: 0,
    VenueStatus.REJECTED: 1,
    VenueStatus.EXPIRED: 2,
    VenueStatus.CANCELLED: 3,
    VenueStatus.FILLED: 4,
}


class Facts(NamedTuple):
    """What is known of an order besides its fills. Every field only grows.

    Attributes
    ----------
    outcome, reason
        Of our attempt to send it; the reason of a rejection.
    order_id
        The venue's id; empty until it was told.
    is_accepted
        Whether the venue has shown the order to exist.
    reported
        The largest executed quantity that the venue has told.
    final
        The venue's last word; None while the order rests.
    cancel_wanted
        Whether we have asked, or are about to ask, for its end.
    """

    outcome: Outcome = Outcome.PENDING
    reason: str = ""
    order_id: str = ""
    is_accepted: bool = False
    reported: Decimal = ZERO
    final: VenueStatus | None = None
    cancel_wanted: bool = False


_NOTHING_KNOWN = Facts()
#: Fills that are remembered to be looked for in the venue's history.
_NEWEST_FILLS = 2000

FillKey = tuple[str, str]  # (trade id, order id): a self-trade shows one trade id on two orders


class News(NamedTuple):
    """What one message adds to an order; nothing has changed until it is applied.

    ``fill`` is an execution that was not known, ``fee`` one whose fee was not known, or was less.
    """

    order: "Order"
    facts: Facts
    fill: Execution | None = None
    fee: Execution | None = None

    @property
    def filled(self) -> Decimal:
        """The sum of the fills that the order will have."""
        if self.fill is None:
            return self.order.filled
        return add(self.order.filled, self.fill.quantity)

    @property
    def state(self) -> OrderState:
        """The state that the order will have."""
        return derive_state(self.facts, self.order.quantity, self.filled)


def derive_state(facts: Facts, quantity: Decimal, filled: Decimal) -> OrderState:
    """Return the state that follows from the facts and the sum of the fills."""
    if not facts.is_accepted:
        return _OUTCOME_STATE[facts.outcome]
    executed = max(facts.reported, filled)
    if facts.final is None and executed < quantity:
        return OrderState.LIVE
    if facts.final is VenueStatus.REJECTED and not executed:
        return OrderState.REJECTED
    return OrderState.DONE if filled >= executed else OrderState.CLOSING


@dataclass(slots=True, eq=False)
class Order:
    """One order of ours. It changes only by `apply`, after the journal has the news.

    Parameters
    ----------
    client_id : str
        Made by `IdSource`; on the wire at most once.
    slot : str
        The strategy's name for its place.
    sent_ms : int
        Unix time in milliseconds when the intent was written.
    sent_ns : int
        The same on the clock that counts while the machine sleeps; the start of the process for
        an order of another boot of the machine.
    sent_boot : str
        The name of the boot that ``sent_ns`` is of; empty where that is not known.
    """

    client_id: str
    slot: str
    symbol: str
    side: Side
    price: Decimal | None
    quantity: Decimal
    type: OrderType = "limit"
    sent_ms: int = 0
    sent_ns: int = 0
    sent_boot: str = ""
    facts: Facts = _NOTHING_KNOWN
    filled: Decimal = ZERO
    state: OrderState = OrderState.SENDING
    cancel_in_flight: bool = False
    _fills: dict[FillKey, Execution] = field(default_factory=dict)

    @property
    def fills(self) -> Mapping[FillKey, Execution]:
        """The known executions by (trade id, order id)."""
        return MappingProxyType(self._fills)

    @property
    def order_id(self) -> str:
        """The venue's id, empty until it was told."""
        return self.facts.order_id

    @property
    def executed(self) -> Decimal:
        """What the venue has executed, told by a report or by the fills, whichever is more."""
        return max(self.facts.reported, self.filled)

    @property
    def remaining(self) -> Decimal:
        """What may still fill."""
        return subtract(self.quantity, self.executed)

    def hear_update(self, update: OrderUpdate) -> News | None:
        """Return what a report, a reply or a list row adds; None when it adds nothing.

        Raises
        ------
        nkfast.errors.OrderError
            It tells of another order: an id, the symbol, the side, the price or the quantity
            differs, or more was executed than was ordered; or the state that would follow cannot.
        """
        self._check_identity(update)
        executed, final = update.executed, self.facts.final
        if update.status.is_final:
            if _FINAL_RANK[update.status] > _FINAL_RANK[final]:
                final = update.status
            if update.status is VenueStatus.FILLED:
                executed = self.quantity
        fill, fee = self._sort_execution(update.execution)
        known = self.facts
        order_id, reported = update.order_id or known.order_id, max(known.reported, executed)
        if (
            (order_id, reported, final) == (known.order_id, known.reported, known.final)
            and known.is_accepted
            and fill is None
            and fee is None
        ):
            return None
        facts = known._replace(order_id=order_id, is_accepted=True, reported=reported, final=final)
        return self._checked(News(self, facts, fill, fee))

    def hear_execution(self, execution: Execution) -> News | None:
        """Return what one trade of the account's history adds; None when it adds nothing."""
        fill, fee = self._sort_execution(execution)
        if fill is None and fee is None:
            return None
        order_id = execution.order_id or self.facts.order_id
        facts = self.facts._replace(order_id=order_id, is_accepted=True)
        return self._checked(News(self, facts, fill, fee))

    def hear_outcome(self, outcome: Outcome, reason: str = "") -> News | None:
        """Return what the end of our attempt to send adds; None when it adds nothing.

        Raises
        ------
        nkfast.errors.OrderError
            ABANDONED is a conclusion about an UNKNOWN order and about no other.
        """
        if outcome is Outcome.ABANDONED and self.state is not OrderState.UNKNOWN:
            raise OrderError(self.client_id, self.state, f"outcome {outcome}")
        if _OUTCOME_RANK[outcome] <= _OUTCOME_RANK[self.facts.outcome]:
            return None
        return self._checked(News(self, self.facts._replace(outcome=outcome, reason=reason)))

    def hear_cancel_wish(self) -> News | None:
        """Return what our wish to cancel adds; None when it was noted before."""
        if self.facts.cancel_wanted:
            return None
        return News(self, self.facts._replace(cancel_wanted=True))

    def hear_vanished(self) -> News:
        """Return what the proof adds that an accepted order rests no more, its end unseen."""
        if not self.facts.is_accepted or self.facts.final is not None:
            raise OrderError(self.client_id, self.state, "proof that it is gone")
        return self._checked(News(self, self.facts._replace(final=VenueStatus.EXPIRED)))

    def apply(self, news: News) -> None:
        """Make the news part of the order. The journal has it already."""
        assert news.order is self
        self.state = news.state
        self.filled = news.filled
        self.facts = news.facts
        execution = news.fill if news.fill is not None else news.fee
        if execution is not None:
            self._fills[execution.trade_id, execution.order_id] = execution

    def _checked(self, news: News) -> News:
        state = news.state
        if state is not self.state and state not in TRANSITIONS[self.state]:
            raise OrderError(self.client_id, self.state, f"a move to {state}")
        return news

    def _check_identity(self, update: OrderUpdate) -> None:
        for name, ours, told in (
            ("client id", self.client_id, update.client_id or self.client_id),
            ("order id", self.facts.order_id, update.order_id or self.facts.order_id),
            ("symbol", self.symbol, update.symbol),
            ("side", self.side, update.side),
            ("quantity", self.quantity, update.quantity),
            ("price", self.price, self.price if update.price is None else update.price),
        ):
            if ours != told and not (name == "order id" and not ours):
                if name == "price" and self.type == "market":
                    continue
                raise OrderError(self.client_id, self.state, f"{name} {told}, it has {ours}")
        if update.executed > self.quantity:
            raise OrderError(
                self.client_id, self.state, f"executed {update.executed} of {self.quantity}"
            )

    def _sort_execution(
        self, execution: Execution | None
    ) -> tuple[Execution | None, Execution | None]:
        """Tell a new fill from a known one whose fee is news."""
        if execution is None:
            return None, None
        known = self._fills.get((execution.trade_id, execution.order_id))
        if known is None:
            self._check_fill(execution)
            return execution, None
        if (known.price, known.quantity, known.side) != (
            execution.price,
            execution.quantity,
            execution.side,
        ):
            raise OrderError(
                self.client_id, self.state, f"trade {known.trade_id} told twice, apart"
            )
        if execution.fee is None:
            return None, None
        # Told differently by report and history, the larger fee stands, whichever came first.
        if known.fee is not None and (known.fee, known.fee_asset) >= (
            execution.fee,
            execution.fee_asset,
        ):
            return None, None
        # The fee alone is news: what else the history tells of a known fill the journal keeps once.
        return None, replace(known, fee=execution.fee, fee_asset=execution.fee_asset)

    def _check_fill(self, execution: Execution) -> None:
        if execution.symbol != self.symbol or execution.side != self.side:
            raise OrderError(
                self.client_id, self.state, f"a {execution.side} trade on {execution.symbol}"
            )
        if self.facts.order_id and execution.order_id != self.facts.order_id:
            raise OrderError(
                self.client_id, self.state, f"order id {execution.order_id}, it has {self.order_id}"
            )
        if execution.quantity <= 0 or add(self.filled, execution.quantity) > self.quantity:
            raise OrderError(
                self.client_id,
                self.state,
                f"a fill of {execution.quantity} after {self.filled} of {self.quantity}",
            )


class OrderStore:
    """Every order of ours that still matters, by client id, by the venue's id and by slot.

    Parameters
    ----------
    finished_limit : int
        Finished orders kept for late news; older ones are read back from the journal.
    """

    def __init__(self, finished_limit: int = 512) -> None:
        self._by_client_id: dict[str, Order] = {}
        self._by_order_id: dict[str, Order] = {}
        self._by_slot: dict[str, Order] = {}
        self._open: dict[str, Order] = {}
        self._finished: dict[str, None] = {}
        self._finished_limit = finished_limit
        self._newest_fills: deque[tuple[str, FillKey, int]] = deque(maxlen=_NEWEST_FILLS)
        self._on_moved: Callable[[Order], object] | None = None
        self.version = 0

    def __len__(self) -> int:
        return len(self._by_client_id)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._by_client_id.values())

    def listen(self, on_moved: Callable[[Order], object]) -> None:
        """Tell of each order that becomes open or ends, when it has, from now on."""
        self._on_moved = on_moved

    def add(self, order: Order) -> None:
        """Take a new order in; an open one takes its slot.

        Raises
        ------
        nkfast.errors.OrderError
            Its id is known, or its slot has an open order.
        """
        self.check_slot(order)
        self.adopt(order)

    def check_slot(self, order: Order) -> None:
        """Refuse a new order whose slot has an open one.

        Raises
        ------
        nkfast.errors.OrderError
            It has.
        """
        holder = self._by_slot.get(order.slot)
        if holder is not None and order.state.is_open:
            raise OrderError(
                holder.client_id, holder.state, f"{order.client_id} in its slot {order.slot}"
            )

    def adopt(self, order: Order) -> None:
        """Take in an order of the past; where its slot is taken it is a zombie.

        Raises
        ------
        nkfast.errors.OrderError
            Its id is known.
        """
        if order.client_id in self._by_client_id:
            raise OrderError(order.client_id, order.state, "a second order with its id")
        self._by_client_id[order.client_id] = order
        self._index(order)

    def apply(self, news: News) -> None:
        """Apply news to its order and keep the indexes true."""
        order = news.order
        order.apply(news)
        self._index(order)
        if news.fill is not None:
            key = (news.fill.trade_id, news.fill.order_id)
            self._newest_fills.append((order.client_id, key, news.fill.time_ms))

    def get(self, client_id: str) -> Order | None:
        """Return an order by its client id."""
        return self._by_client_id.get(client_id)

    def find(self, client_id: str | None, order_id: str) -> Order | None:
        """Return an order by its client id or, failing that, by the venue's id."""
        order = self._by_client_id.get(client_id) if client_id else None
        return order if order is not None else self._by_order_id.get(order_id)

    def at_slot(self, slot: str) -> Order | None:
        """Return the open order that holds a slot."""
        return self._by_slot.get(slot)

    @property
    def open_by_slot(self) -> Mapping[str, Order]:
        """The open orders by slot, oldest first; a loan, copy to keep."""
        return MappingProxyType(self._by_slot)

    @property
    def open_orders(self) -> Collection[Order]:
        """Every order that may still trade or tell of trades, zombies too; copy to keep."""
        return self._open.values()

    @property
    def open_count(self) -> int:
        """How many orders may still trade or tell of trades."""
        return len(self._open)

    @property
    def unknown_count(self) -> int:
        """How many orders have an answer that was lost and not found out yet."""
        return sum(order.state is OrderState.UNKNOWN for order in self._open.values())

    @property
    def newest_fills(self) -> Iterable[tuple[str, FillKey, int]]:
        """The newest fills that were applied: client id, key, venue's Unix milliseconds; a loan."""
        return self._newest_fills

    @property
    def zombies(self) -> list[Order]:
        """Open orders without a slot: given up, their slot reused, and then seen after all."""
        if len(self._open) == len(self._by_slot):
            return []  # every slot is held by an open order
        return [
            order for order in self._open.values() if self._by_slot.get(order.slot) is not order
        ]

    def _index(self, order: Order) -> None:
        self.version += 1
        if order.facts.order_id:
            self._by_order_id[order.facts.order_id] = order
        is_open, was_open = order.state.is_open, order.client_id in self._open
        if is_open:
            self._open[order.client_id] = order
            self._finished.pop(order.client_id, None)
            self._by_slot.setdefault(order.slot, order)
        else:
            self._finish(order)
        if is_open is not was_open and self._on_moved is not None:
            self._on_moved(order)

    def _finish(self, order: Order) -> None:
        self._open.pop(order.client_id, None)
        if self._by_slot.get(order.slot) is order:
            del self._by_slot[order.slot]
        self._finished.setdefault(order.client_id)
        while len(self._finished) > self._finished_limit:
            old = next(iter(self._finished))
            del self._finished[old]
            forgotten = self._by_client_id.pop(old)
            self._by_order_id.pop(forgotten.facts.order_id, None)
