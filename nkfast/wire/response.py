"""Reads one HTTP/1.1 response from bytes as they come; refuses whatever is not plain.

A tenth of the time that `http.client` takes, which parses headers as those of a letter. What the
two could understand differently, and another request's answer could hide behind, is an error:
folded or nameless headers, two lengths, a length beside chunks (RFC 9112, sections 5 and 6).
"""

import re
from collections.abc import Callable

from nkfast.errors import WireError

__all__ = ["ResponseReader"]

#: A longer head, or line between chunks, is refused.
HEAD_BYTES_MAX = 64 * 1024
LINE_BYTES_MAX = 4096

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n\x00]*)?")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\x00]*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")


class ResponseReader:
    """One response of a GET or POST.

    Parameters
    ----------
    body_bytes_max : int
        A longer body is refused, as soon as that is known.

    Attributes
    ----------
    status : int
        0 until the head is there.
    headers : dict of str to str
        By lower-case name; of repeated ones the last.
    body : bytearray
        As it came, not decompressed.
    is_complete : bool
    may_reuse : bool
        Whether the connection may carry another request after this response.
    """

    __slots__ = (
        "_body_bytes_max",
        "_buffer",
        "_remaining",
        "_take",
        "body",
        "headers",
        "is_complete",
        "may_reuse",
        "status",
    )

    def __init__(self, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()
        self._take: Callable[[], bool] = self._take_head
        self._remaining = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_complete = False
        self.may_reuse = False

    def feed(self, data: bytes) -> None:
        """Take bytes, none of them for the end of the connection.

        Raises
        ------
        WireError
            They are no response, or it was cut off, or is too long.
        """
        if not data:
            if self._take != self._take_until_end:
                raise WireError("the response was cut off", str(bytes(self._buffer[:200])))
            self.is_complete = True
            return
        self._buffer += data
        while not self.is_complete and self._take():
            pass
        if self.is_complete and self._buffer:
            # Something follows that nobody asked for: the next answer would be another's.
            self.may_reuse = False

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_BYTES_MAX:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise WireError(f"the head of a response is longer than {HEAD_BYTES_MAX} bytes")
            return False
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise WireError("not the status line of an HTTP response", str(first[:100]))
        self.status = int(match[2])
        self.headers = _headers(lines)
        if 100 <= self.status < 200:
            if self.status == 101:
                raise WireError("the server changed to another protocol")
            return True  # the response proper follows
        connection = self.headers.get("connection", "").lower()
        self.may_reuse = match[1] == b"1" and "close" not in connection
        self._take = self._choose_body()
        return True

    def _choose_body(self) -> Callable[[], bool]:
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise WireError("a length beside chunks, or another coding", coding)
            return self._take_chunk_line
        if self.status in (204, 304):
            length = "0"
        if length is None:
            self.may_reuse = False
            return self._take_until_end
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            raise WireError("not the length of a response", length[:40])
        self._expect(int(length))
        return self._take_length

    def _expect(self, size: int) -> None:
        self._remaining = size
        if len(self.body) + size > self._body_bytes_max:
            raise WireError(f"reply is longer than {self._body_bytes_max} bytes")

    def _take_length(self) -> bool:
        self._move()
        self.is_complete = self._remaining == 0
        return False

    def _take_until_end(self) -> bool:
        self._expect(len(self._buffer))
        self._move()
        return False

    def _move(self) -> None:
        part = self._buffer[: self._remaining]
        self.body += part
        self._remaining -= len(part)
        del self._buffer[: len(part)]

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, LINE_BYTES_MAX)
        if end < 0:
            if len(self._buffer) >= LINE_BYTES_MAX:
                raise WireError(f"a line between chunks is longer than {LINE_BYTES_MAX} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _take_chunk_line(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise WireError("not the size of a chunk", str(line[:40]))
        self._expect(int(match[1], 16))
        self._take = self._take_chunk if self._remaining else self._take_trailer
        return True

    def _take_chunk(self) -> bool:
        self._move()
        if self._remaining or len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise WireError("a chunk is longer than its size")
        del self._buffer[:2]
        self._take = self._take_chunk_line
        return True

    def _take_trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self.is_complete = not line
        return bool(line)


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise WireError("not a header of a response", str(line[:100]))
        name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1")
        if name in ("content-length", "transfer-encoding") and headers.get(name, value) != value:
            raise WireError(f"two different headers {name}", value[:100])
        headers[name] = value
    return headers
