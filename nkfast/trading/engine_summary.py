"""What one run of an engine did, in numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nkfast.trading.exact import ZERO, plain, subtract
from nkfast.trading.life import LifeState

if TYPE_CHECKING:
    from nkfast.trading.bookkeeping import Bookkeeper
    from nkfast.trading.ledger import Profit
    from nkfast.trading.orders import OrderStore

__all__ = ["EngineSummary", "summarize"]


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
        Of the home market, in its quote units; the last two are None without a mid to value the
        position at. Over all runs the first two add up to the last, to the last digit.
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
    book_mismatch : float or None
        Share of the home book's levels that differed when the venue was last asked for them; None
        before the first time.
    life : LifeState
        Where the engine is in its life.
    halted : str or None
        Why nothing new is sent any more.
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
    book_mismatch: float | None
    life: LifeState
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


def summarize(
    *,
    profit: "Profit",
    first: "Profit",
    mid: Decimal | None,
    bookkeeper: "Bookkeeper",
    orders: "OrderStore",
    tick_to_order_us: Mapping[str, float | None],
    reasons: Mapping[str, int],
    book_mismatch: float | None,
    life: LifeState,
    halted: str | None,
) -> EngineSummary:
    """Put a summary together; ``first`` is the home market's profit when the run began."""
    return EngineSummary(
        orders=bookkeeper.intent_count,
        fills=bookkeeper.fill_count,
        rejects=bookkeeper.rejection_count,
        fees={
            asset: subtract(fee, first.fees.get(asset, ZERO)) for asset, fee in profit.fees.items()
        },
        unknown_fees=profit.unknown_fees,
        realized=subtract(profit.realized, first.realized),
        unrealized=None if mid is None else profit.unrealized(mid),
        equity_change=None if mid is None else profit.equity_change(mid),
        position=profit.position,
        open_orders=orders.open_count,
        unknown_orders=orders.unknown_count,
        tick_to_order_us=tick_to_order_us,
        reasons=dict(reasons),
        book_mismatch=book_mismatch,
        life=life,
        halted=halted,
    )
