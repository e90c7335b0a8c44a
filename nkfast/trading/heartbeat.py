"""The heartbeat: a counter in a small mapped file that moves while an instance's loop turns.

The instance writes it from a timer of its own loop, so that a process which is killed, stopped,
stuck in a callback or asleep with the machine beats no more. Who watches it only compares: that the
counter moved says that the loop turned, and nothing else in the file has to be believed.
"""

import asyncio
import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

from nkfast.errors import ConfigError

__all__ = ["BEAT_INTERVAL_S", "Beat", "Heart", "read_beat"]

BEAT_INTERVAL_S = 5.0

_LAYOUT = struct.Struct("<8sQQQ")  # magic, process id, whether it rests, count
_MAGIC = b"nkheart1"
_COUNT_AT = 24
_COUNT = struct.Struct("<Q")


class Beat(NamedTuple):
    """What a heartbeat file says.

    Attributes
    ----------
    process_id : int
        Of the instance that wrote it last.
    is_at_rest : bool
        Whether the instance ended in order and left no order that should not be.
    beats : int
        It moved if the instance's loop turned.
    """

    process_id: int
    is_at_rest: bool
    beats: int


class Heart:
    """Writes the heartbeat of an instance.

    Parameters
    ----------
    path : Path
        The file; its folder exists. It is readable by its owner only.
    interval_s : float
        Between two beats.
    """

    def __init__(self, path: Path, interval_s: float = BEAT_INTERVAL_S) -> None:
        if not interval_s > 0:
            raise ConfigError(f"interval_s is {interval_s}; it must be positive", "interval_s")
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None
        before = read_beat(path)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, _LAYOUT.size)
            self._map = mmap.mmap(file, _LAYOUT.size)
        finally:
            os.close(file)
        self._count = 0 if before is None else before.beats
        self._write(is_at_rest=before is None or before.is_at_rest)

    def start(self) -> None:
        """Beat from now on, on the running loop."""
        self._beat()

    def stop(self, *, is_at_rest: bool) -> None:
        """Beat no more. ``is_at_rest`` says that nobody has to look after what is left.

        A heart that never beat says nothing new.
        """
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._write(is_at_rest=is_at_rest)

    def close(self) -> None:
        """Let go of the file; it stays as it is."""
        if self._timer is not None:
            self._timer.cancel()
        self._map.close()

    def _beat(self) -> None:
        self._count += 1
        if self._timer is None:
            self._write(is_at_rest=False)
        else:
            _COUNT.pack_into(self._map, _COUNT_AT, self._count)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval_s, self._beat)

    def _write(self, *, is_at_rest: bool) -> None:
        _LAYOUT.pack_into(self._map, 0, _MAGIC, os.getpid(), is_at_rest, self._count)


def read_beat(path: Path) -> Beat | None:
    """Return what a heartbeat file says; None when there is none, or something else."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) != _LAYOUT.size:
        return None
    magic, process_id, is_at_rest, count = _LAYOUT.unpack(content)
    return Beat(process_id, bool(is_at_rest), count) if magic == _MAGIC else None
