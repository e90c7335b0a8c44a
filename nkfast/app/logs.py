"""What an instance says: lines for a person, JSON lines for a file. Secrets never get there."""

import json
import logging
import logging.handlers
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from nkfast.app.writer import Writer

__all__ = ["Heard", "logged", "say", "speaking"]

_log = logging.getLogger("nkfast.app")
#: Who speaks, where several instances share a process; what nobody says concerns all of them.
_speaker: ContextVar[str] = ContextVar("nkfast_speaker", default="")
_FILE_BYTES = 10_000_000
_FILES_KEPT = 5
#: The same warning is written once within this, and then how often it came.
_COALESCED_S = 60.0
_LINE_MAX = 160
_REMOVED = "[removed]"
#: Lines that wait to be written where a disk or a reader is slow; more are left out, and counted.
_WAITING_MAX = 10_000
#: So long the end waits for them.
_CLOSE_S = 2.0


def say(tag: str, text: str, **fields: Any) -> None:
    """Say what happened, once for a person and once for a program.

    Parameters
    ----------
    tag : str
        ``order``, ``fill``, ``life``, ``why``, ``status``.
    text : str
    **fields : JSON values
    """
    _log.info("%s", text, extra={"tag": tag, "fields": fields})


@contextmanager
def speaking(instance: str) -> Iterator[None]:
    """Let what is said inside the block be in the log of one instance only."""
    before = _speaker.set(instance)
    try:
        yield
    finally:
        _speaker.reset(before)


@contextmanager
def logged(
    path: Path,
    *,
    instance: str,
    mode: str,
    secrets: Iterable[str] = (),
    show: Callable[[str], object] | None = None,
) -> Iterator[None]:
    """Keep the log of an instance inside the block.

    Whoever says something waits for no disk and no reader: each is written to by a thread of its
    own. What a reader who is gone would have been shown is in the file.

    Parameters
    ----------
    path : Path
        JSON lines; ten megabytes, and five older files of that size (``path.1``).
    secrets : iterable of str
        Texts that are taken out of everything that is written.
    show : callable or None
        Is given each line for a person.
    """
    removed = tuple(secret for secret in secrets if secret)
    handlers: list[logging.Handler] = [
        logging.handlers.RotatingFileHandler(
            path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8"
        )
    ]
    path.chmod(0o600)
    handlers[0].setFormatter(_JsonLines(instance, mode, removed))
    if show is not None:
        shown = _Shown(show)
        shown.setFormatter(_PlainLines(instance, mode, removed))
        handlers.append(shown)
    apart = [_Apart(handler) for handler in handlers]
    root = logging.getLogger("nkfast")
    before = root.level, root.propagate
    root.setLevel(logging.INFO)
    root.propagate = False
    for handler in apart:
        handler.addFilter(Heard(instance))
        handler.addFilter(_Coalesced())
        root.addHandler(handler)
    try:
        yield
    finally:
        root.level, root.propagate = before
        for handler in apart:
            root.removeHandler(handler)
            handler.close()


class _Apart(logging.Handler):
    """Lets another handler work in a thread of its own, and says what that could not keep up with.

    Parameters
    ----------
    handler : logging.Handler
        Is closed with this one, unless it hangs.
    """

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__(handler.level)
        self._handler = handler
        self._writer = Writer("nkfast-log", _WAITING_MAX)
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._left_out:
            text = f"{self._left_out} lines are missing here: the reader or the disk was too slow"
            gap = logging.LogRecord(_log.name, logging.WARNING, "", 0, text, None, None)
            if self._writer.put(partial(self._handler.handle, gap)):
                self._left_out = 0
        if not self._writer.put(partial(self._handler.handle, record)):
            self._left_out += 1

    def close(self) -> None:
        if self._writer.close(_CLOSE_S):
            self._handler.close()
        super().close()


class _Shown(logging.Handler):
    def __init__(self, show: Callable[[str], object]) -> None:
        super().__init__(logging.INFO)
        self._show: Callable[[str], object] | None = show

    def emit(self, record: logging.LogRecord) -> None:
        # What libraries find worth a note is for the file.
        if self._show is not None and (hasattr(record, "tag") or record.levelno >= logging.WARNING):
            try:
                self._show(self.format(record))
            except OSError:  # nobody is there any more: the file has it
                self._show = None


class Heard(logging.Filter):
    """Lets through what its instance says, and what nobody in particular does."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def filter(self, record: logging.LogRecord) -> bool:
        return _speaker.get() in ("", self._instance)


class _Coalesced(logging.Filter):
    """Lets a repeated warning through once a minute, with the number of its repeats."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, str(record.msg)), record.created
        since, repeats = self._seen.get(key, (-_COALESCED_S, 0))
        if now - since < _COALESCED_S:
            self._seen[key] = since, repeats + 1
            return False
        self._seen[key] = now, 0
        if repeats:
            record.repeats = repeats
        return True


class _Redacted(logging.Formatter):
    def __init__(self, instance: str, mode: str, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._instance = instance
        self._mode = mode
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        text = self._write(record)
        for secret in self._secrets:
            text = text.replace(secret, _REMOVED)
        return text

    def _write(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    def _message(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        repeats = getattr(record, "repeats", 0)
        return f"{text} (and {repeats} times more)" if repeats else text


class _JsonLines(_Redacted):
    def _write(self, record: logging.LogRecord) -> str:
        row = {
            "v": 1,
            "ts_ns": int(record.created * 1e9),
            "lvl": record.levelname.lower(),
            "evt": getattr(record, "tag", record.name),
            "bot": self._instance,
            "mode": self._mode,
            "msg": self._message(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            row["trace"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


class _PlainLines(_Redacted):
    def _write(self, record: logging.LogRecord) -> str:
        time_text = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        tag = getattr(record, "tag", "warning" if record.levelno >= logging.WARNING else "log")
        line = f"{time_text} {self._mode.upper()} {self._instance} [{tag}] {self._message(record)}"
        return line if len(line) <= _LINE_MAX else line[: _LINE_MAX - 3] + "..."
