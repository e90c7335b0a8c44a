from decimal import Decimal

__all__ = ["cancel_order_frame", "new_order_frame"]

def new_order_frame(
    request_id: int,
    symbol: str,
    side: str,
    order_type: str,
    quantity: Decimal,
    price: Decimal | None,
    user_provided_id: str | None,
    strict_validate: bool,
) -> bytes: ...
def cancel_order_frame(
    request_id: int, order_id: str | None, user_provided_id: str | None
) -> bytes: ...
