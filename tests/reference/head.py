"""The head of an HTTP message, read the slow and plain way."""

import re

HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}):[ \t]*(.*?)[ \t]*", re.DOTALL)


def parse_head(head: bytes) -> tuple[str, dict[str, str]] | None:
    """Return first line and headers; None for what is no head."""
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    if any(re.search(r"[\r\n\0]", line) for line in lines):
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        match = HEADER.fullmatch(line)
        if match is None:
            return None
        name, value = match[1].lower(), match[2]
        if name in ("content-length", "transfer-encoding") and headers.get(name, value) != value:
            return None
        headers[name] = value
    return lines[0], headers
