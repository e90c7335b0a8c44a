"""What HTTP/1.1 messages have in common: a head, and a body by length or in chunks.

A tenth of the time that `http.client` takes, which parses headers as those of a letter. What two
readers could understand differently, and another message could hide behind, is an error: two
lengths, a length beside chunks (RFC 9112, section 6), and what `nkfast.core.head` refuses.
"""

import re
from collections.abc import Callable, Mapping

from nkfast.core.head import parse_head
from nkfast.errors import WireError

__all__ = ["HEAD_BYTES_MAX", "MessageReader"]

#: A longer head, or line between chunks, is refused.
HEAD_BYTES_MAX = 64 * 1024
LINE_BYTES_MAX = 4096

_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")


class MessageReader:
    """Bytes as they come, and the body of the message that is being read.

    Parameters
    ----------
    body_bytes_max : int
        A longer body is refused, as soon as that is known.

    Attributes
    ----------
    body : bytearray
        As it came, not decompressed.
    is_complete : bool
    """

    __slots__ = ("_body_bytes_max", "_buffer", "_remaining", "_take", "body", "is_complete")

    #: What it reads, for the words of an error.
    what = "message"

    def __init__(self, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()
        self._take: Callable[[], bool] = self._take_length
        self._remaining = 0
        self.body = bytearray()
        self.is_complete = False

    def _head(self) -> tuple[str, dict[str, str]] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_BYTES_MAX:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise WireError(f"the head of a {self.what} is longer than {HEAD_BYTES_MAX} bytes")
            return None
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return parse_head(head)

    def _length(self, headers: Mapping[str, str]) -> int | None:
        # None where the headers name none; `_take` then is as it was, or takes chunks.
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise WireError("a length beside chunks, or another coding", coding)
            self._take = self._take_chunk_line
            return None
        if length is None:
            return None
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            raise WireError(f"not the length of a {self.what}", length[:40])
        return int(length)

    def _expect(self, size: int) -> None:
        self._remaining = size
        if len(self.body) + size > self._body_bytes_max:
            raise self._too_long()

    def _too_long(self) -> WireError:
        return WireError(f"the body of a {self.what} is longer than {self._body_bytes_max} bytes")

    def _take_length(self) -> bool:
        self._move()
        self.is_complete = self._remaining == 0
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
