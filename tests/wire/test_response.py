import pytest

from nkfast.errors import WireError
from nkfast.wire.response import HEAD_BYTES_MAX, ResponseReader

PLAIN = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-A: 1\r\nServer:  b \r\n\r\n{"a":1}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b'3;note=x\r\n{"a\r\n004\r\n":1}\r\n0\r\nTrailer: x\r\n\r\n'
)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN


def read(data, piece=None, body_bytes_max=1000):
    reader = ResponseReader(body_bytes_max)
    piece = piece or len(data) or 1
    for start in range(0, len(data), piece):
        assert not reader.is_complete
        reader.feed(data[start : start + piece])
    return reader


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, INTERIM])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50, None])
def test_a_response_is_the_same_however_it_is_cut(data, piece):
    reader = read(data, piece)
    assert reader.is_complete and reader.may_reuse
    assert (reader.status, bytes(reader.body)) == (200, b'{"a":1}')


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, INTERIM])
def test_a_response_that_ends_early_is_an_error(data):
    for length in range(len(data)):
        reader = read(data[:length])
        assert not reader.is_complete
        with pytest.raises(WireError, match="cut off"):
            reader.feed(b"")


def test_headers_are_read_by_lower_case_name():
    assert read(PLAIN).headers == {"content-length": "7", "x-a": "1", "server": "b"}


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]", b"[]"),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n[]", b"[]"),
        # Bytes after the response belong to nothing that was asked for.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]HTTP/1.1 200", b"[]"),
    ],
)
def test_some_connections_are_not_used_again(data, body):
    reader = read(data)
    assert reader.is_complete and not reader.may_reuse and bytes(reader.body) == body


def test_without_a_length_the_end_of_the_connection_is_the_end_of_the_body():
    reader = read(b"HTTP/1.1 200\r\n\r\n[1", piece=4)
    assert not reader.is_complete
    reader.feed(b"]")
    reader.feed(b"")
    assert reader.is_complete and not reader.may_reuse and bytes(reader.body) == b"[1]"


def test_no_content_has_no_body():
    reader = read(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert reader.is_complete and reader.may_reuse and reader.body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nA: 1\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 5000,
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX,
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n",
    ],
)
@pytest.mark.parametrize("piece", [997, None])
def test_what_could_be_read_in_two_ways_is_an_error(data, piece):
    with pytest.raises(WireError):
        read(data, piece)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
    ],
)
def test_a_long_body_is_refused_as_soon_as_that_is_known(data):
    with pytest.raises(WireError, match="longer than 1000 bytes"):
        read(data)
    read(data.replace(b"1001", b"1000").replace(b"3e9", b"3e8")[:1000])
