"""The venue's numeric error codes: what they mean and which exception each becomes.

Sources: the code table of the OpenAPI description 1.3.0 and of the WebSocket page.
"""

from typing import NamedTuple

from nkfast.errors import (
    AuthenticationError,
    BelowMinimumError,
    DuplicateClientIdError,
    InsufficientFundsError,
    InvalidOrderError,
    OrderNotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RejectedError,
    SymbolNotFoundError,
    UnreachableError,
    VenueError,
)

__all__ = ["ERROR_CODES", "ErrorCode"]


class ErrorCode(NamedTuple):
    """One row of the table.

    ``is_certain`` says that a change which was answered with this code certainly did not happen;
    after any other code the outcome of a change is unknown and must be looked up.
    """

    http_status: int
    message: str
    error: type[VenueError]
    is_certain: bool


ERROR_CODES: dict[int, ErrorCode] = {
    400: ErrorCode(400, "Unknown error", RejectedError, False),
    # 401 is in no table, but is what an unsigned private call has been seen to get.
    401: ErrorCode(401, "Not Authorized", AuthenticationError, True),
    402: ErrorCode(400, "Method not found", RejectedError, False),
    403: ErrorCode(401, "Action is forbidden for account", PermissionDeniedError, True),
    429: ErrorCode(429, "Too many requests", RateLimitError, True),
    500: ErrorCode(500, "Internal Server Error", UnreachableError, False),
    503: ErrorCode(503, "Service Unavailable", UnreachableError, False),
    504: ErrorCode(504, "Gateway Timeout", UnreachableError, False),
    1001: ErrorCode(401, "Authorization required", AuthenticationError, True),
    1002: ErrorCode(401, "Authorization failed", AuthenticationError, True),
    1003: ErrorCode(403, "Action is forbidden for this API key", PermissionDeniedError, True),
    1004: ErrorCode(401, "Unsupported authorisation method", AuthenticationError, True),
    2001: ErrorCode(400, "Symbol not found", SymbolNotFoundError, True),
    2002: ErrorCode(400, "Currency not found", SymbolNotFoundError, True),
    10001: ErrorCode(400, "Validation error", InvalidOrderError, True),
    20001: ErrorCode(400, "Insufficient funds", InsufficientFundsError, True),
    # Certain that the call changed nothing; no proof that the order never existed.
    20002: ErrorCode(400, "Order not found", OrderNotFoundError, True),
    20003: ErrorCode(400, "Limit exceeded", RejectedError, True),
    20004: ErrorCode(400, "Transaction not found", RejectedError, True),
    20005: ErrorCode(400, "Payout not found", RejectedError, True),
    20006: ErrorCode(400, "Payout already committed", RejectedError, False),
    20007: ErrorCode(400, "Payout already rolled back", RejectedError, False),
    # No second order, that is certain; the one there is may be this request's own, sent twice.
    20008: ErrorCode(400, "Duplicate clientOrderId", DuplicateClientIdError, True),
    20010: ErrorCode(400, "Address generation error", RejectedError, True),
    20011: ErrorCode(400, "Withdrawal not found", RejectedError, True),
    20012: ErrorCode(400, "Withdrawals disabled", RejectedError, True),
    20013: ErrorCode(400, "Withdrawal amount below minimum", BelowMinimumError, True),
    20014: ErrorCode(400, "Withdrawal address invalid", RejectedError, True),
    20015: ErrorCode(400, "Payment ID Required", RejectedError, True),
    20016: ErrorCode(400, "Invalid confirmation code", RejectedError, True),
    20017: ErrorCode(400, "Withdraw already confirmed", RejectedError, False),
}
