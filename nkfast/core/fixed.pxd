"""The kernel of decimal numbers, and the way from its statuses to the errors of nkfast.errors."""

from cpython.long cimport PyLong_CheckExact
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t


cdef extern from "nk_base.h":
    ctypedef enum nk_status:
        NK_OK
        NK_E_EMPTY
        NK_E_SYNTAX
        NK_E_SIGN
        NK_E_EXPONENT
        NK_E_NAN
        NK_E_TOO_MANY_DIGITS
        NK_E_OVERFLOW
        NK_E_FULL
        NK_E_NOT_FOUND
        NK_E_EXISTS
        NK_E_RANGE
        NK_E_MEMORY
        NK_E_MALFORMED
        NK_E_UNKNOWN


cdef extern from "nk_fixed.h":
    int NK_FIXED_DECIMALS_MAX
    int NK_FIXED_SHIFT_MAX
    int NK_FIXED_TEXT_MAX

    ctypedef enum nk_rounding:
        NK_ROUND_FLOOR
        NK_ROUND_CEIL
        NK_ROUND_HALF_EVEN

    nk_status nk_fixed_parse(
        const char *text, size_t length, int decimals, int64_t *value
    ) noexcept nogil
    size_t nk_fixed_format(int64_t value, int decimals, char *text) noexcept nogil
    nk_status nk_fixed_multiply(
        int64_t a, int64_t b, int shift, nk_rounding rounding, int64_t *result
    ) noexcept nogil
    nk_status nk_fixed_rescale(
        int64_t value, int decimals, int new_decimals, nk_rounding rounding, int64_t *result
    ) noexcept nogil


# Raise the error that a number status stands for; `number` is shown, `limit` explains.
cdef int raise_number(nk_status status, object number, int decimals) except -1

# A str or bytes as a count of 10^-decimals. The decimals must have been checked.
cdef int64_t parse_text(object text, int decimals) except? -1

# The count as text with exactly so many decimals. The decimals must have been checked.
cdef str format_count(int64_t value, int decimals)

# "floor", "ceil" or "half_even" as the kernel's constant; ValueError for anything else.
cdef nk_rounding rounding_named(object name) except *

# ValueError unless an integer 0 .. NK_FIXED_DECIMALS_MAX, which it returns.
cdef int decimals_of(object decimals) except -1


# An int (or what stands for one, as in an index) within 64 bits. A typed argument, or a plain
# conversion to a C integer, would cut 1.5 down to 1 without a word.
cdef inline int64_t integer_of(object value) except? -1:
    return value if PyLong_CheckExact(value) else PyNumber_Index(value)
