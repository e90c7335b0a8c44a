"""The head of an HTTP/1.1 message: its first line, and its headers.

Read byte by byte once, because a head is most of what a short message costs. What two readers could
understand differently, and another message could hide behind, is an error (RFC 9112, section 5).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8

from nkfast.errors import WireError

__all__ = ["parse_head"]

cdef enum:
    NAME_BYTES_MAX = 256

cdef unsigned char LOWER[256]  # of the characters that names are made of; 0 for all others
cdef tuple ONE_ONLY = ("content-length", "transfer-encoding")


cdef int fill_lower() except -1:
    cdef int code
    for code in range(256):
        LOWER[code] = 0
    for code in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        LOWER[code] = code
    for code in range(c"A", c"Z" + 1):
        LOWER[code] = code - c"A" + c"a"
    return 0


fill_lower()


cdef Py_ssize_t end_of_line(const char *text, Py_ssize_t at, Py_ssize_t size) noexcept:
    """Where the line ends that begins at `at`; -1 where it has a control character of its own."""
    while at < size:
        if text[at] == c"\r":
            return at if at + 1 < size and text[at + 1] == c"\n" else -1
        if text[at] == c"\n" or text[at] == 0:
            return -1
        at += 1
    return size


cdef str excerpt(const char *text, Py_ssize_t at, Py_ssize_t size):
    return repr(text[at:min(size, at + 100)])


cdef str lower_case_name(const char *text, Py_ssize_t size):
    cdef char name[NAME_BYTES_MAX]
    cdef Py_ssize_t i
    if size == 0 or size > NAME_BYTES_MAX:
        return None
    for i in range(size):
        name[i] = LOWER[<unsigned char>text[i]]
        if name[i] == 0:
            return None
    return PyUnicode_DecodeASCII(name, size, NULL)


def parse_head(bytes head not None):
    """Return the first line and the headers of a message.

    Parameters
    ----------
    head : bytes
        Up to the empty line and without it; lines end with CR LF.

    Returns
    -------
    first : str
    headers : dict of str to str
        By lower-case name; of repeated ones the last. Bytes that are no UTF-8 are surrogates in
        the values, and in the first line.

    Raises
    ------
    WireError
        A header is folded, has no name or a control character, or two contradict each other about
        the length of the body.
    """
    cdef const char *text = PyBytes_AS_STRING(head)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(head)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t colon
    cdef Py_ssize_t stop
    cdef Py_ssize_t end = end_of_line(text, 0, size)
    cdef str name
    if end < 0:
        raise WireError("not the first line of a message", excerpt(text, 0, size))
    first = PyUnicode_DecodeUTF8(text, end, b"surrogateescape")
    headers = {}
    while end < size:
        at = end + 2
        end = end_of_line(text, at, size)
        colon = at
        while colon < end and text[colon] != c":":
            colon += 1
        name = lower_case_name(text + at, colon - at) if colon < end else None
        if name is None:
            raise WireError("not a header of a message", excerpt(text, at, size))
        at = colon + 1
        stop = end
        while at < stop and (text[at] == c" " or text[at] == c"\t"):
            at += 1
        while stop > at and (text[stop - 1] == c" " or text[stop - 1] == c"\t"):
            stop -= 1
        value = PyUnicode_DecodeUTF8(text + at, stop - at, b"surrogateescape")
        if name in ONE_ONLY and headers.get(name, value) != value:
            raise WireError(f"two different headers {name}", repr(value[:100]))
        headers[name] = value
    return first, headers
