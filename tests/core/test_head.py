import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nkfast.core.head import parse_head
from nkfast.errors import WireError
from tests.reference import head as reference

PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\r", b"\n", b":", b" ", b"\t", b"\0", b"a", b"Content-Length", b"1", b"2"),
        *(b"\xc3\xa9", b"\xff", b"Z-_~", b"(", b"x" * 256, b"\r\nA: b", b"\r\ncontent-length:1"),
    ]
)


def parsed(head):
    try:
        return parse_head(head)
    except WireError:
        return None


@given(st.lists(PIECES, max_size=20).map(b"".join))
@example(b"")
@example(b"GET / HTTP/1.1\r\n")
@example(b"a\r\nA:b\r")
@example(b"a\r\nA:" + b" " * 9)
def test_reads_what_the_reference_reads(head):
    assert parsed(head) == reference.parse_head(head)


def test_first_line_and_headers_are_text():
    first, headers = parse_head(b"GET /\xff HTTP/1.1\r\nHost:  a\t\r\nX: \xc3\xa9 b\r\nx: c\r\nY:")
    assert first.encode("utf-8", "surrogateescape") == b"GET /\xff HTTP/1.1"
    assert headers == {"host": "a", "x": "c", "y": ""}


@pytest.mark.parametrize("value", ["text", bytearray(b"GET"), None])
def test_takes_bytes_only(value):
    with pytest.raises(TypeError):
        parse_head(value)


def test_error_shows_what_was_read():
    with pytest.raises(WireError, match="not a header of a message") as caught:
        parse_head(b"GET / HTTP/1.1\r\nHost: a\r\n folded")
    assert "folded" in str(caught.value)
