"""The requests that must leave fast, for compiled callers."""

from libc.stdint cimport int64_t


cpdef bytes new_order_frame(
    int64_t request_id,
    str symbol,
    str side,
    str order_type,
    quantity,
    price,
    str user_provided_id,
    bint strict_validate,
)

cpdef bytes cancel_order_frame(int64_t request_id, str order_id, str user_provided_id)
