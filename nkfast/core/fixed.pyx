"""Decimal text <-> scaled 64-bit integers, exact or an error.

A number with `decimals` decimals is held as the integer count of ``10**-decimals``: ``"1.25"`` at
4 decimals is 12500. Nothing is rounded unless the call names a rounding, and every way of not
fitting has its own error (see `nkfast.errors.FixedPointError`).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy

from typing import Literal

from nkfast.errors import (
    EmptyNumberError,
    ExponentError,
    NotANumberError,
    NumberOverflowError,
    NumberSyntaxError,
    SignError,
    TooManyDigitsError,
)

__all__ = ["Rounding", "format", "multiply", "parse", "rescale"]

Rounding = Literal["floor", "ceil", "half_even"]

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text) noexcept
    void *PyUnicode_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)

cdef Py_ssize_t EXCERPT_MAX = 64  # characters of a refused number that an error shows

cdef dict ERRORS = {
    <int>NK_E_EMPTY: EmptyNumberError,
    <int>NK_E_SYNTAX: NumberSyntaxError,
    <int>NK_E_SIGN: SignError,
    <int>NK_E_EXPONENT: ExponentError,
    <int>NK_E_NAN: NotANumberError,
    <int>NK_E_TOO_MANY_DIGITS: TooManyDigitsError,
    <int>NK_E_OVERFLOW: NumberOverflowError,
}


cdef int raise_number(nk_status status, object number, int decimals) except -1:
    if isinstance(number, (bytes, bytearray)):
        number = number[:EXCERPT_MAX].decode("ascii", "backslashreplace")
    text = str(number)[:EXCERPT_MAX]
    limit = ""
    if status == NK_E_TOO_MANY_DIGITS:
        limit = f"at most {decimals} decimals"
    elif status == NK_E_OVERFLOW:
        limit = f"at most {format_count(0x7FFFFFFFFFFFFFFF, decimals)} with {decimals} decimals"
    raise ERRORS[<int>status](text, limit)


cdef int64_t parse_text(object text, int decimals) except? -1:
    cdef int64_t value = 0
    cdef nk_status status
    cdef bytes encoded
    if isinstance(text, str):
        if PyUnicode_IS_ASCII(text):
            status = nk_fixed_parse(
                <const char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text), decimals, &value
            )
        else:
            # Digits of other scripts are digits to Python, but no venue sends them; the kernel
            # says which character is the first that is wrong.
            encoded = (<str>text).encode("utf-8", "surrogatepass")
            status = nk_fixed_parse(
                PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded), decimals, &value
            )
    elif isinstance(text, bytes):
        status = nk_fixed_parse(
            PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), decimals, &value
        )
    else:
        raise TypeError(f"a number must be str or bytes, was {type(text).__name__}")
    if status != NK_OK:
        raise_number(status, text, decimals)
    return value


cdef str format_count(int64_t value, int decimals):
    cdef char buffer[32]
    cdef size_t length = nk_fixed_format(value, decimals, buffer)
    cdef str text = PyUnicode_New(length, 127)
    memcpy(PyUnicode_DATA(text), buffer, length)
    return text


cdef nk_rounding rounding_named(object name) except *:
    if name == "floor":
        return NK_ROUND_FLOOR
    if name == "ceil":
        return NK_ROUND_CEIL
    if name == "half_even":
        return NK_ROUND_HALF_EVEN
    raise ValueError(f"rounding must be 'floor', 'ceil' or 'half_even', was {name!r}")


cdef int decimals_of(object decimals) except -1:
    if not 0 <= integer_of(decimals) <= NK_FIXED_DECIMALS_MAX:
        raise ValueError(f"decimals must be 0..{NK_FIXED_DECIMALS_MAX}, was {decimals}")
    return decimals


def parse(text, decimals):
    """Return a decimal text as the count of ``10**-decimals``.

    Accepted are an optional ``-``, digits and at most one point, with a digit on at least one
    side of it; ``".5"`` and ``"5."`` are numbers, as they are for `decimal.Decimal`. Zeros beyond
    the decimals are accepted: they carry no value.

    Parameters
    ----------
    text : str or bytes
        The number in plain ASCII digits, without blanks.
    decimals : int
        Decimal places of the result, 0..18.

    Returns
    -------
    int
        The count, within signed 64 bits.

    Raises
    ------
    EmptyNumberError
        There is no digit (``""``, ``"."``, ``"-"``).
    SignError
        A ``+``, a second sign, or one behind a digit.
    ExponentError
        Exponent notation.
    NotANumberError
        NaN or infinity.
    NumberSyntaxError
        Any other character, blanks included, or a second point.
    TooManyDigitsError
        A digit other than zero beyond the decimals.
    NumberOverflowError
        The count is outside signed 64 bits.
    ValueError
        `decimals` is not 0..18.

    Examples
    --------
    >>> parse("0.00012300", 8)
    12300
    """
    return parse_text(text, decimals_of(decimals))


def format(value, decimals):
    """Return a count of ``10**-decimals`` as text with exactly so many decimals.

    The digits are plain, as the venue wants them: ``0.00000233``, never ``2.33E-6``. `parse` is
    the inverse for every 64-bit integer.

    Parameters
    ----------
    value : int
        The count, within signed 64 bits.
    decimals : int
        Decimal places, 0..18.

    Returns
    -------
    str
        The number; no point when `decimals` is 0.

    Raises
    ------
    OverflowError
        `value` is outside signed 64 bits.
    ValueError
        `decimals` is not 0..18.

    Examples
    --------
    >>> format(12300, 8)
    '0.00012300'
    """
    return format_count(integer_of(value), decimals_of(decimals))


def multiply(a, b, shift, rounding):
    """Return ``a * b / 10**shift``, rounded once from the exact 128-bit product.

    Parameters
    ----------
    a, b : int
        Factors within signed 64 bits.
    shift : int
        Decimals to drop from the product, 0..36.
    rounding : {"floor", "ceil", "half_even"}
        Toward minus infinity, toward plus infinity, to the nearest with ties to even.

    Returns
    -------
    int
        The result, within signed 64 bits.

    Raises
    ------
    NumberOverflowError
        The result is outside signed 64 bits.
    ValueError
        `shift` or `rounding` is none of the above.

    Examples
    --------
    >>> multiply(12345, 200, 3, "half_even")
    2469
    """
    cdef int64_t result = 0
    cdef int64_t left = integer_of(a)
    cdef int64_t right = integer_of(b)
    if not 0 <= integer_of(shift) <= NK_FIXED_SHIFT_MAX:
        raise ValueError(f"shift must be 0..{NK_FIXED_SHIFT_MAX}, was {shift}")
    if nk_fixed_multiply(left, right, shift, rounding_named(rounding), &result) != NK_OK:
        raise_number(NK_E_OVERFLOW, f"{a} * {b} / 10**{shift}", 0)
    return result


def rescale(value, decimals, new_decimals, rounding):
    """Return a count of ``10**-decimals`` as a count of ``10**-new_decimals``.

    Parameters
    ----------
    value : int
        The count, within signed 64 bits.
    decimals, new_decimals : int
        Decimal places before and after, 0..18.
    rounding : {"floor", "ceil", "half_even"}
        What happens to digits that are dropped, as in `multiply`.

    Returns
    -------
    int
        The new count, within signed 64 bits.

    Raises
    ------
    NumberOverflowError
        The new count is outside signed 64 bits.
    ValueError
        An argument is none of the above.

    Examples
    --------
    >>> rescale(12345, 4, 2, "floor")
    123
    """
    cdef int64_t result = 0
    cdef int64_t count = integer_of(value)
    cdef int places = decimals_of(decimals)
    cdef int new_places = decimals_of(new_decimals)
    if nk_fixed_rescale(count, places, new_places, rounding_named(rounding), &result) != NK_OK:
        raise_number(NK_E_OVERFLOW, format_count(value, decimals), new_decimals)
    return result
