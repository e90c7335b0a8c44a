"""From NonKYC's messages to what the engine knows: orders, fills and balances of the port."""

from collections.abc import Mapping
from typing import Any

from nkfast.core.market import Market
from nkfast.errors import WireError
from nkfast.venue.port import Execution, Holding, OrderUpdate, VenueStatus
from nkfast.wire.models import AccountTrade, Balance, OrderReport, OrderState, OrderStatus

__all__ = ["execution_of", "holding_of", "object_of", "reported_execution", "update_of"]

_STATUS = {
    OrderState.NEW: VenueStatus.OPEN,
    OrderState.ACTIVE: VenueStatus.OPEN,
    OrderState.SUSPENDED: VenueStatus.OPEN,
    OrderState.PARTLY_FILLED: VenueStatus.PARTLY_FILLED,
    OrderState.FILLED: VenueStatus.FILLED,
    OrderState.CANCELLED: VenueStatus.CANCELLED,
    OrderState.REJECTED: VenueStatus.REJECTED,
    OrderState.EXPIRED: VenueStatus.EXPIRED,
    OrderState.UNKNOWN: VenueStatus.UNKNOWN,
}


def object_of(value: Any) -> Mapping[str, Any]:
    """Return a JSON object, or say that it is none."""
    if not isinstance(value, Mapping):
        raise WireError("an object expected", repr(value)[:200])
    return value


def update_of(order: OrderStatus, execution: Execution | None = None) -> OrderUpdate:
    """Return what a message says of an order."""
    return OrderUpdate(
        client_id=order.user_provided_id,
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        price=order.price,
        quantity=order.quantity,
        executed=order.filled_quantity,
        status=_STATUS[order.status],
        execution=execution,
        time_ms=order.updated_ms,
    )


def reported_execution(report: OrderReport, market: Market) -> Execution | None:
    """Return the fill that a report tells of; None when it tells of none."""
    if not report.trade_id or report.trade_price is None or report.trade_quantity is None:
        return None
    return Execution(
        trade_id=report.trade_id,
        order_id=report.order_id,
        client_id=report.user_provided_id or None,
        symbol=report.symbol,
        side=report.side,
        price=report.trade_price,
        quantity=report.trade_quantity,
        fee=report.trade_fee,
        fee_asset=market.quote,
        is_maker=None,
        time_ms=report.updated_ms,
    )


def execution_of(row: AccountTrade) -> Execution:
    """Return a row of the account's trades; it does not say the client id."""
    return Execution(
        trade_id=row.trade_id,
        order_id=row.order_id,
        client_id=None,
        symbol=row.symbol,
        side=row.side,
        price=row.price,
        quantity=row.quantity,
        fee=row.fee,
        fee_asset=row.fee_asset,
        is_maker=row.is_maker,
        time_ms=row.time_ms,
    )


def holding_of(balance: Balance) -> Holding:
    """Return a balance."""
    return Holding(balance.asset, balance.available, balance.held, balance.pending)
