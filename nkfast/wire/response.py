"""Reads one HTTP/1.1 response from bytes as they come; refuses whatever is not plain."""

import re
from collections.abc import Callable

from nkfast.errors import WireError
from nkfast.wire.message import HEAD_BYTES_MAX, MessageReader

__all__ = ["HEAD_BYTES_MAX", "ResponseReader"]

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n\x00]*)?")


class ResponseReader(MessageReader):
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
    may_reuse : bool
        Whether the connection may carry another request after this response.
    """

    __slots__ = ("headers", "may_reuse", "status")

    what = "response"

    def __init__(self, body_bytes_max: int) -> None:
        super().__init__(body_bytes_max)
        self._take = self._take_head
        self.status = 0
        self.headers: dict[str, str] = {}
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
        head = self._head()
        if head is None:
            return False
        first, self.headers = head
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise WireError("not the status line of an HTTP response", repr(first[:100]))
        self.status = int(match[2])
        if 100 <= self.status < 200:
            if self.status == 101:
                raise WireError("the server changed to another protocol")
            return True  # the response proper follows
        connection = self.headers.get("connection", "").lower()
        self.may_reuse = match[1] == "1" and "close" not in connection
        self._take = self._choose_body()
        return True

    def _choose_body(self) -> Callable[[], bool]:
        length = self._length(self.headers)
        if "transfer-encoding" in self.headers:
            return self._take
        if self.status in (204, 304):
            length = 0
        if length is None:
            self.may_reuse = False
            return self._take_until_end
        self._expect(length)
        return self._take_length

    def _take_until_end(self) -> bool:
        self._expect(len(self._buffer))
        self._move()
        return False
