import pytest

from nkfast.errors import WireError
from nkfast.wire.request import RequestReader, encode_response

GET = b"GET /api/v2/time?a=%20b HTTP/1.1\r\nHost: x\r\nX-API-KEY:  k \r\n\r\n"
POST = b'POST /createorder HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{"a":1}'
CHUNKED = (
    b"POST /createorder HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3;note=x\r\n{"a\r\n004\r\n":1}\r\n0\r\nTrailer: x\r\n\r\n'
)


def read(data, piece=None, body_bytes_max=1000):
    reader = RequestReader(body_bytes_max)
    found = []
    piece = piece or len(data)
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
        while (request := reader.next_request()) is not None:
            found.append(request)
    return found


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50, None])
def test_requests_are_the_same_however_they_are_cut(piece):
    get, chunked, post, again = read(GET + CHUNKED + POST + b"\r\n" + GET, piece)
    assert get == again
    assert (get.method, get.target, get.body) == ("GET", "/api/v2/time?a=%20b", b"")
    assert chunked.body == post.body == b'{"a":1}'
    assert get.may_reuse and post.may_reuse


def test_a_request_is_there_only_as_a_whole():
    for data in (GET, POST, CHUNKED):
        for length in range(1, len(data)):
            assert read(data[:length]) == []


def test_headers_are_read_by_lower_case_name():
    (request,) = read(GET)
    assert request.headers == {"host": "x", "x-api-key": "k"}


def test_bytes_that_are_no_utf8_can_be_had_back():
    (request,) = read(b"GET /\xff HTTP/1.1\r\nX-API-SIGN: \xe9\r\n\r\n")
    assert request.target.encode("utf-8", "surrogateescape") == b"/\xff"
    assert request.headers["x-api-sign"].encode("utf-8", "surrogateescape") == b"\xe9"


@pytest.mark.parametrize(
    ("head", "may_reuse"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
    ],
)
def test_some_connections_carry_one_request(head, may_reuse):
    assert [request.may_reuse for request in read(head + b"\r\n")] == [may_reuse]


@pytest.mark.parametrize(
    "data",
    [
        b"GET /\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /\nX: y HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\nB: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 65_536 + b"\r\n\r\n",
    ],
)
def test_what_could_be_understood_in_two_ways_is_refused(data):
    with pytest.raises(WireError):
        read(data)


@pytest.mark.parametrize("data", [POST, CHUNKED])
def test_too_long_a_body_is_refused_and_known_as_such(data):
    reader = RequestReader(6)
    reader.feed(data)
    with pytest.raises(WireError, match="longer than 6 bytes"):
        reader.next_request()
    assert reader.is_too_long


def test_client_that_waits_is_known_until_its_body_is_there():
    reader = RequestReader(1000)
    head, _, body = POST.partition(b"\r\n\r\n")
    reader.feed(head + b"\r\nExpect: 100-continue\r\n\r\n")
    assert reader.next_request() is None and reader.waits
    reader.feed(body)
    assert reader.next_request().body == body and not reader.waits


def test_rest_belongs_to_another_protocol():
    reader = RequestReader(1000)
    reader.feed(GET + b"\x81\x80")
    assert reader.next_request() is not None
    assert (reader.size, reader.rest(), reader.size) == (2, b"\x81\x80", 0)


def test_response_says_its_length_also_without_its_body():
    assert encode_response(200, b"[]", {"A": "b"}) == (
        b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\n[]"
    )
    head = encode_response(520, b"[]", {}, has_body=False)
    assert head == b"HTTP/1.1 520 Unknown\r\nContent-Length: 2\r\n\r\n"
