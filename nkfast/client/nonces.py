"""Nonces that only grow: for one key, over all clients of all processes of a user, and restarts.

The newest nonce of a key is a number in a small file, which every process maps into its memory and
replaces in one step (``csrc/nk_nonce.c``). Nobody holds a lock: a process that is stopped, or dies,
half way through a request is in nobody's way, and a fork needs no care. Blocks of nonces reserved
ahead would be unique, but not increasing: whoever took the earlier block would still be sending
from it after the other had begun with the later one.
"""

import hashlib
import mmap
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from nkfast.core.signing import NonceSource
from nkfast.directories import nonce_directory
from nkfast.errors import ConfigError
from nkfast.mapped_file import foreign, map_file

__all__ = ["KeyNonces"]

#: A machine that dies loses what was written to a file in its last half minute, when the system
#: had not yet put it on the disk. With a clock that is right afterwards that does not matter.
LEAP_SECONDS = 60
#: What a file begins with; then the newest nonce, an integer of this machine.
_MAGIC = b"nkNonce1"
_FILE_BYTES = 16
_WHAT = "nonce file"
#: No nonce of this century is larger, in any unit.
_NONCE_MAX = 1 << 62


#: The counters of this process by digest of the key. There are as many as keys, and each has to
#: outlive its clients, so none is ever taken out.
_counters: dict[str, "_Counter"] = {}
_counters_lock = threading.Lock()


class KeyNonces:
    """The nonces of one key.

    Parameters
    ----------
    api_key : str
        Kept only as a digest, in memory and in the name of the file.
    multiplier : int
        Nonces per second of Unix time: 1e4, which NonKYC's newer clients use, or 1e3 for
        milliseconds (protocol: question 1). A key has one in a process.
    directory : Path or None
        Where the processes of a user meet, and what is remembered for the next start; made if it is
        not there, on a disk of this machine. None takes `nkfast.directories.nonce_directory`.
    is_shared : bool
        False takes other processes and restarts out of account, and writes no file: for a key that
        nothing else uses, and for a system without a place to write to.
    now_ns : callable or None
        Unix time in nanoseconds, `TimeSync.time_ns` for the venue's. None takes the machine's.

    Raises
    ------
    ConfigError
        This process uses the key with another multiplier or another file, or the file cannot be
        made, mapped or understood.

    Notes
    -----
    Growing order is that of `next`; requests sent at once on several connections may still
    overtake one another.

    The file is not put on the disk nonce by nonce, which would take milliseconds each time. When
    a process begins while the clock is behind the file, the file may be behind what was used, too
    (the machine lost power, and started with a clock that does not run without): then the first
    nonce leaps `LEAP_SECONDS` ahead, and is put on the disk.
    """

    def __init__(
        self,
        api_key: str,
        multiplier: int = 10_000,
        *,
        directory: Path | None = None,
        is_shared: bool = True,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        if directory is not None and not is_shared:
            raise ConfigError("directory must be left out where is_shared is False")
        digest = hashlib.sha256(b"nkfast nonces of " + api_key.encode()).hexdigest()
        path = None
        if is_shared:
            path = (nonce_directory() if directory is None else directory) / f"{digest}.nonce"
        self._now_ns = now_ns
        self._counter = _counter(digest, multiplier, path)

    def next(self) -> int:
        """Return a nonce larger than all before it.

        Raises
        ------
        ConfigError
            The file was overwritten with something else.
        """
        return self._counter.next(None if self._now_ns is None else self._now_ns())


def _counter(digest: str, multiplier: int, path: Path | None) -> "_Counter":
    with _counters_lock:
        known = _counters.get(digest)
        if known is None:
            known = _counters[digest] = _Counter(multiplier, path)
    if known.multiplier != multiplier:
        raise ConfigError(
            f"nonce multiplier must be {known.multiplier}, as this process uses this key with "
            f"already, was {multiplier}"
        )
    if known.path != path:
        raise ConfigError(
            f"this process counts the nonces of this key {_place(known.path)}: it must not count "
            f"them {_place(path)} as well"
        )
    return known


class _Counter:
    """What all clients of a key in this process share."""

    def __init__(self, multiplier: int, path: Path | None) -> None:
        self.multiplier = multiplier
        self.path = path
        self._memory = memoryview(bytearray(_MAGIC + bytes(8)) if path is None else _mapped(path))
        self._source = NonceSource(multiplier, memory=self._memory[len(_MAGIC) :])
        self._is_begun = path is None
        self._begin = threading.Lock()

    def next(self, now_ns: int | None) -> int:
        if not self._is_begun:
            return self._first(now_ns)
        if self._memory[: len(_MAGIC)] != _MAGIC:
            raise foreign(_WHAT, self.path, "was overwritten")
        return self._source.next(0, now_ns)

    def _first(self, now_ns: int | None) -> int:
        assert self.path is not None
        with self._begin:
            last, clock = self._source.last, NonceSource(self.multiplier).next(0, now_ns)
            if self._is_begun or not last or last < clock:
                nonce = self._source.next(0, now_ns)
            else:
                nonce = self._source.next(last + LEAP_SECONDS * self.multiplier, now_ns)
                with open(self.path, "r+b") as file:
                    os.fsync(file.fileno())
            self._is_begun = True
        return nonce


def _mapped(path: Path) -> mmap.mmap:
    way_out = (
        "Give the client nonces=KeyNonces(api_key, directory=...) for another place, or"
        " is_shared=False in its stead to count in this process alone"
    )
    memory = map_file(path, _MAGIC, _FILE_BYTES, _WHAT, way_out)
    if not 0 <= int.from_bytes(memory[len(_MAGIC) :], sys.byteorder, signed=True) <= _NONCE_MAX:
        raise foreign(_WHAT, path, "holds no nonce")
    return memory


def _place(path: Path | None) -> str:
    return "by itself" if path is None else f"in {path}"
