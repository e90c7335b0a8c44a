"""The two requests that must leave fast, newOrder and cancelOrder, written straight into bytes.

What comes out is, byte for byte, what a JSON library makes of the same request. But between a tick
and its order everything is cold, and what is not called need not be fetched from memory.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject_Str
from libc.stdint cimport int64_t
from libc.string cimport memcpy, strlen

__all__ = ["cancel_order_frame", "new_order_frame"]

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef enum:
    FIXED_BYTES = 256  # more than keys, punctuation and an id of 19 digits need
    GROWTH = 6  # a character may become \u00XX
    STACK_BYTES = 2048  # frames up to here are written without an allocation
    ID_DIGITS_MAX = 19
    NEW_ORDER_TEXTS = 6

cdef const char *HEX = b"0123456789abcdef"


# A string lent by the str, which the caller keeps alive.
cdef struct Text:
    const char *data
    Py_ssize_t size


cdef inline int lend(str text, Text *lent) except -1:
    lent.data = PyUnicode_AsUTF8AndSize(text, &lent.size)
    return 0


cdef inline char *put(char *at, const char *piece, size_t size) noexcept nogil:
    memcpy(at, piece, size)
    return at + size


cdef char *put_escaped(char *at, unsigned char character) noexcept nogil:
    at[0] = c"\\"
    if character == c'"' or character == c"\\":
        at[1] = character
    elif character == c"\n":
        at[1] = c"n"
    elif character == c"\r":
        at[1] = c"r"
    elif character == c"\t":
        at[1] = c"t"
    elif character == c"\b":
        at[1] = c"b"
    elif character == c"\f":
        at[1] = c"f"
    else:
        memcpy(at + 1, b"u00", 3)
        at[4] = HEX[character >> 4]
        at[5] = HEX[character & 15]
        return at + GROWTH
    return at + 2


cdef char *put_text(char *at, const Text *text) noexcept nogil:
    cdef Py_ssize_t i
    cdef unsigned char character
    at[0] = c'"'
    at += 1
    for i in range(text.size):
        character = text.data[i]
        if character < c" " or character == c'"' or character == c"\\":
            at = put_escaped(at, character)
        else:
            at[0] = character
            at += 1
    at[0] = c'"'
    return at + 1


cdef char *put_id(char *at, int64_t request_id) noexcept nogil:
    cdef char digits[ID_DIGITS_MAX]
    cdef int count = 0
    while True:
        digits[count] = c"0" + <char>(request_id % 10)
        count += 1
        request_id //= 10
        if request_id == 0:
            break
    at = put(at, b'},"id":', 7)
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    at[0] = c"}"
    return at + 1


cdef str plain_digits(number):
    # `str` is twice as fast as `format`, which is needed for exponents only.
    cdef str text = PyObject_Str(number)
    return format(number, "f") if "E" in text else text


# One member of the params: its key with quotes, colon and the comma before it, and its text.
cdef struct Member:
    const char *key
    Text text


cdef inline int set_member(Member *member, const char *key, str text) except -1:
    member.key = key
    return lend(text, &member.text)


# The frame of a request with these params; `tail` is the last member, which is no text.
cdef bytes write(
    int64_t request_id, const char *head, const Member *members, int count, const char *tail
):
    cdef char stack[STACK_BYTES]
    cdef char *frame = stack
    cdef char *at
    cdef bytes written
    cdef Py_ssize_t bound = FIXED_BYTES
    cdef int i
    if request_id < 0:
        raise ValueError(f"request_id must not be negative, was {request_id}")
    for i in range(count):
        bound += members[i].text.size * GROWTH
    if bound > STACK_BYTES:
        frame = <char *>PyMem_Malloc(bound)
        if frame == NULL:
            raise MemoryError(f"no memory for a frame of {bound} bytes")
    at = put(frame, head, strlen(head))
    for i in range(count):
        at = put(at, members[i].key, strlen(members[i].key))
        at = put_text(at, &members[i].text)
    at = put(at, tail, strlen(tail))
    at = put_id(at, request_id)
    try:
        written = PyBytes_FromStringAndSize(frame, at - frame)
    finally:
        if frame != stack:
            PyMem_Free(frame)
    return written


cpdef bytes new_order_frame(
    int64_t request_id,
    str symbol,
    str side,
    str order_type,
    quantity,
    price,
    str user_provided_id,
    bint strict_validate,
):
    """Return the text frame of a newOrder request.

    Parameters
    ----------
    request_id : int
        Comes back with the answer; not negative.
    symbol : str
        ``BASE/QUOTE``.
    side, order_type : str
    quantity : Decimal
    price : Decimal or None
        None for a market order.
    user_provided_id : str or None
    strict_validate : bool

    Raises
    ------
    ValueError
        `request_id` is negative, or a text has no UTF-8.

    Notes
    -----
    The values are not judged: `nkfast.OrderRequest` has done that. Source: protocol.md 2.5.
    """
    cdef Member members[NEW_ORDER_TEXTS]
    cdef int count = 4
    cdef str quantity_text, price_text
    quantity_text = plain_digits(quantity)
    set_member(&members[0], b'"symbol":', symbol)
    set_member(&members[1], b',"side":', side)
    set_member(&members[2], b',"type":', order_type)
    set_member(&members[3], b',"quantity":', quantity_text)
    if price is not None:
        price_text = plain_digits(price)
        set_member(&members[count], b',"price":', price_text)
        count += 1
    if user_provided_id is not None:
        set_member(&members[count], b',"userProvidedId":', user_provided_id)
        count += 1
    return write(
        request_id,
        b'{"method":"newOrder","params":{',
        members,
        count,
        b',"strictValidate":true' if strict_validate else b',"strictValidate":false',
    )


cpdef bytes cancel_order_frame(int64_t request_id, str order_id, str user_provided_id):
    """Return the text frame of a cancelOrder request.

    Parameters
    ----------
    request_id : int
        Comes back with the answer; not negative.
    order_id : str or None
        The exchange's id; if there is none, the order is named by `user_provided_id`.
    user_provided_id : str or None

    Raises
    ------
    ValueError
        Neither id is given, `request_id` is negative, or a text has no UTF-8.

    Notes
    -----
    Source: protocol.md 2.5.
    """
    cdef Member member
    if order_id is not None:
        set_member(&member, b'"orderId":', order_id)
    elif user_provided_id is not None:
        set_member(&member, b'"userProvidedId":', user_provided_id)
    else:
        raise ValueError("a cancel needs order_id or user_provided_id")
    return write(request_id, b'{"method":"cancelOrder","params":{', &member, 1, b"")
