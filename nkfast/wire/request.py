"""The server's side of HTTP/1.1, without I/O: requests out of bytes, responses into bytes."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from nkfast.errors import WireError
from nkfast.wire.message import MessageReader

__all__ = ["HttpRequest", "RequestReader", "encode_response"]

_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) ([^\x00-\x20\x7f]+) HTTP/1\.([01])")
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class HttpRequest(NamedTuple):
    """One request.

    Parameters
    ----------
    method : str
    target : str
        Exactly as received; bytes that are no UTF-8 are surrogates in it, as in the headers.
    headers : dict of str to str
        By lower-case name; of repeated ones the last.
    body : bytes
        Empty where there was none.
    may_reuse : bool
        Whether the client means to send another request on this connection.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    may_reuse: bool


class RequestReader(MessageReader):
    """The requests of one connection, one after the other; they may come all at once.

    Parameters
    ----------
    body_bytes_max : int
        A longer body is refused, as soon as that is known.

    Attributes
    ----------
    is_too_long : bool
        Whether it was for its length that a request was refused.
    waits : bool
        Whether the client wants to be told to go on before it sends the body (100 Continue);
        whoever tells it sets this to False.
    """

    __slots__ = ("_first", "_headers", "is_too_long", "waits")

    what = "request"

    def __init__(self, body_bytes_max: int) -> None:
        super().__init__(body_bytes_max)
        self._first: re.Match[str] | None = None
        self._headers: dict[str, str] = {}
        self.is_too_long = False
        self.waits = False

    @property
    def size(self) -> int:
        """How many bytes wait to be read."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self._buffer += data

    def rest(self) -> bytes:
        """Return the bytes that belong to another protocol, after the last request."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def next_request(self) -> HttpRequest | None:
        """Return the next request, None until it is there as a whole.

        Raises
        ------
        WireError
            It is none, or too long; nothing more can be read from this connection.
        """
        if self._first is None and not (self._buffer and self._take_head()):
            return None
        while not self.is_complete and self._take():
            pass
        if not self.is_complete:
            return None
        first, self._first = self._first, None
        assert first is not None
        self.waits = False
        method, target, version = first.groups()
        connection = self._headers.get("connection", "").lower()
        may_reuse = "close" not in connection if version == "1" else "keep-alive" in connection
        return HttpRequest(method, target, self._headers, bytes(self.body), may_reuse)

    def _take_head(self) -> bool:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: some send it after a body
            del self._buffer[:2]
        # TLS spoken to a plain port never comes to the end of a head: it is told so at once.
        if self._buffer and self._buffer[0] < 0x20 and self._buffer[0] != 0x0D:
            raise WireError("not the first line of an HTTP request", repr(self._buffer[:100]))
        head = self._head()
        if head is None:
            return False
        first, headers = head
        match = _REQUEST_LINE.fullmatch(first)
        if match is None:
            raise WireError("not the first line of an HTTP request", repr(first[:100]))
        self._first = match
        self._headers = headers
        self.body = bytearray()
        self.is_complete = False
        self._take = self._take_length
        length = self._length(headers)
        if "transfer-encoding" not in headers:
            self._expect(length or 0)
        self.waits = headers.get("expect", "").lower() == "100-continue"
        return True

    def _too_long(self) -> WireError:
        self.is_too_long = True
        return super()._too_long()


def encode_response(
    status: int, body: bytes, headers: Mapping[str, str], *, has_body: bool = True
) -> bytes:
    """Return a response with its length in its head.

    Parameters
    ----------
    has_body : bool
        False for the answer to a HEAD: only the head is sent.
    """
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    reason = _REASONS.get(status, "Unknown")
    head = f"HTTP/1.1 {status} {reason}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    return head + body if has_body else head
