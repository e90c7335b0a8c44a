"""What the venue's books and ours differ in, shown before anything is done about it.

The plan is made by reading alone: no order, no balance and no row of the journal changes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from nkfast.errors import OrderError
from nkfast.trading.exact import plain
from nkfast.trading.orders import IdSource, Order, OrderState, OrderStore
from nkfast.trading.reconcile import cursor_of
from nkfast.venue.port import Execution, OrderUpdate, ask_each

if TYPE_CHECKING:
    from nkfast.trading.journal import Journal, Recovered
    from nkfast.trading.ledger import Ledger
    from nkfast.venue.port import AccountBooks

__all__ = ["ReconcilePlan", "Step", "StepKind", "make_plan", "plan_of_start"]

StepKind = Literal[
    "adopt",  # an order whose answer was lost rests at the venue: it is ours from now on
    "update",  # an order of ours has got on
    "close",  # an order of ours has ended; its slot is free, and the strategy says for what
    "look up",  # an order of ours that the venue does not list: it is looked up until it is known
    "fill",  # an execution that the journal does not have
    "leave",  # an order of somebody else: left alone
    "halt",  # an order with an id of ours that cannot be: trading halts
    "balance",  # the venue's total is another than ours: the venue's counts
]


class Step(NamedTuple):
    """One difference and what is done about it."""

    kind: StepKind
    symbol: str
    client_id: str  # empty where there is none
    order_id: str
    detail: str

    def __str__(self) -> str:
        name = self.client_id or self.order_id
        return f"{self.kind:8} {self.symbol} {name}: {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class ReconcilePlan:
    """Every difference between the venue's books and ours, in the order in which it is settled."""

    steps: tuple[Step, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether both agree and nobody else has orders."""
        return not self.steps

    def as_json(self) -> list[dict[str, str]]:
        """Return one object per step."""
        return [step._asdict() for step in self.steps]


async def plan_of_start(
    journal: "Journal",
    recovered: "Recovered",
    venue: "AccountBooks",
    *,
    symbols: Sequence[str],
    now_ms: int,
    overlap_ms: int,
) -> ReconcilePlan:
    """Say what the next start of an instance will find, and do about it.

    Parameters
    ----------
    journal, recovered
        The instance's, and what an earlier run left in it.
    venue : AccountBooks
        Where to read.
    symbols : sequence of str
        The markets.
    now_ms, overlap_ms : int
        What time it is, and how far before the newest known execution to begin.

    Raises
    ------
    nkfast.errors.VenueError
        Something could not be read.
    """
    orders = OrderStore()
    for order in recovered.orders:
        orders.adopt(order)

    def find(client_id: str | None, order_id: str) -> Order | None:
        order = orders.find(client_id, order_id)
        return order or (journal.find_order(client_id) if client_id else None)

    return await make_plan(
        venue=venue,
        symbols=symbols,
        ids=journal.id_source(),
        open_orders=orders.open_orders,
        find=find,
        since_ms=max(cursor_of(recovered, now_ms) - overlap_ms, 0),
        ledger=None,
    )


async def make_plan(
    *,
    venue: "AccountBooks",
    symbols: Sequence[str],
    ids: IdSource,
    open_orders: Iterable[Order],
    find: Callable[[str | None, str], Order | None],
    since_ms: int,
    ledger: "Ledger | None",
) -> ReconcilePlan:
    """Read the venue's books and say what differs.

    Parameters
    ----------
    venue : AccountBooks
        Where to read.
    symbols, ids
        The markets, and whose ids are ours.
    open_orders : iterable of Order
        Ours, as far as we know.
    find : callable
        Returns an order of ours by (client id, venue's id), finished ones too.
    since_ms : int
        From when executions are compared, Unix milliseconds.
    ledger : Ledger or None
        None: no balance is known to compare with.

    Raises
    ------
    nkfast.errors.VenueError
        Something could not be read.
    """
    steps: list[Step] = []
    seen: set[str] = set()
    for rows in await ask_each(venue.open_orders, symbols):
        for row in rows:
            order = find(row.client_id, row.order_id)
            if order is None:
                steps.append(_stranger(row, ids))
                continue
            seen.add(order.client_id)
            steps += _steps_of(order, row)
    for order in list(open_orders):
        if order.client_id in seen:
            continue
        found = await venue.find_order(order.symbol, order.client_id)
        if found is not None:
            steps += _steps_of(order, found)
        else:
            steps.append(_step("look up", order, f"{order.state} here, not listed there"))
    for executions in await ask_each(partial(venue.executions, since_ms=since_ms), symbols):
        for execution in executions:
            step = await _fill_step(execution, venue, find)
            if step is not None:
                steps.append(step)
    if ledger is not None and ledger.knows_holdings:
        for holding in await venue.holdings():
            total = ledger.total_of(holding)
            if holding.asset in ledger.assets and total != ledger.total(holding.asset):
                detail = f"{plain(total)} there, {plain(ledger.total(holding.asset))} here"
                steps.append(Step("balance", holding.asset, "", "", detail))
    return ReconcilePlan(tuple(steps))


def _step(kind: StepKind, order: Order, detail: str, order_id: str = "") -> Step:
    return Step(kind, order.symbol, order.client_id, order_id or order.order_id, detail)


def _steps_of(order: Order, row: OrderUpdate) -> list[Step]:
    """Say what a row of the venue adds to an order of ours."""
    try:
        news = order.hear_update(row)
    except OrderError as error:
        return [_step("halt", order, str(error), row.order_id)]
    if news is None or (news.state is order.state and order.executed == row.executed):
        return []
    if news.state in (OrderState.CLOSING, OrderState.DONE, OrderState.REJECTED):
        detail = f"{row.status} with {plain(row.executed)} executed; slot {order.slot} is free"
        return [_step("close", order, detail, row.order_id)]
    if not order.facts.is_accepted:
        what = f"{order.side} {plain(order.quantity)} rests, {order.state} here"
        return [_step("adopt", order, what, row.order_id)]
    detail = f"executed {plain(order.executed)} -> {plain(row.executed)}"
    return [_step("update", order, detail, row.order_id)]


def _stranger(row: OrderUpdate, ids: IdSource) -> Step:
    made_by = ids.owns(row.client_id)
    what = f"{row.side} {plain(row.quantity)}"
    if made_by is None:
        return Step("leave", row.symbol, row.client_id, row.order_id, f"{what} of somebody else")
    if not ids.knows_start(made_by):
        detail = f"{what} of start {made_by.boot} of this instance, which the journal did not count"
    else:
        detail = f"{what} with an id of ours that the journal does not have"
    return Step("halt", row.symbol, row.client_id, row.order_id, detail)


async def _fill_step(
    execution: Execution, venue: "AccountBooks", find: Callable[[str | None, str], Order | None]
) -> Step | None:
    order = find(execution.client_id, execution.order_id)
    if order is None:
        # A trade in the history does not say its client id: ask for its order.
        owner = await venue.find_order(execution.symbol, execution.order_id)
        order = None if owner is None else find(owner.client_id, owner.order_id)
    if order is None or (execution.trade_id, execution.order_id) in order.fills:
        return None
    detail = f"{execution.side} {plain(execution.quantity)} at {plain(execution.price)}"
    return _step("fill", order, f"{detail}, trade {execution.trade_id}", execution.order_id)
