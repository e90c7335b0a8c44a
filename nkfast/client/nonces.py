"""Nonces that only grow: for one key, over all clients of a process and all processes of a user.

Within a process one counter serves all clients of a key. Between processes a small file does: it
holds the newest nonce, and is locked for each one. Blocks of nonces reserved ahead would be cheaper
and unique, but not increasing: whoever took the earlier block would still be sending from it after
the other had begun with the later one.
"""

import hashlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from nkfast.core.signing import NonceSource
from nkfast.errors import ConfigError, UnreachableError

__all__ = ["KeyNonces"]

#: Another process holds the lock for microseconds; when it was stopped just then, we give up.
LOCK_SECONDS_MAX = 1.0
#: A machine that dies loses what was written to a file in its last half minute, when the system
#: had not yet put it on the disk. With a clock that is right afterwards that does not matter.
LEAP_SECONDS = 60
#: The newest nonce as decimal digits and a line end, so that a person can read the file.
_DIGITS = 19

#: The counters of this process by digest of the key. There are as many as keys, and each has to
#: outlive its clients, so none is ever taken out.
_counters: dict[str, tuple[int, NonceSource]] = {}
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
        Where processes of one user meet, and what is remembered for the next start; made if it is
        not there. None leaves other processes out of account.
    now_ns : callable or None
        Unix time in nanoseconds, `TimeSync.time_ns` for the venue's. None takes the machine's.

    Raises
    ------
    ConfigError
        The key is used with another multiplier, or the directory cannot be used.

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
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        digest = hashlib.sha256(b"nkfast nonces of " + api_key.encode()).hexdigest()
        self._counter = _counter(digest, multiplier)
        self._now_ns = now_ns
        self._file = None if directory is None else _LockedNumber(directory / f"{digest}.nonce")
        self._leap = LEAP_SECONDS * multiplier

    def next(self) -> int:
        """Return a nonce larger than all before it.

        Raises
        ------
        UnreachableError
            Another process held the file for a second, so that nothing was sent.
        ConfigError
            The file holds something else.
        """
        now_ns = None if self._now_ns is None else self._now_ns()
        if self._file is None:
            return self._counter.next(now_ns=now_ns)

        def choose(last: int) -> tuple[int, bool]:
            nonce = self._counter.next(last, now_ns)
            leap, self._leap = self._leap, 0
            if last and leap and nonce <= last + 1:
                return self._counter.next(last + leap, now_ns), True
            return nonce, False

        return self._file.replace(choose)


def _counter(digest: str, multiplier: int) -> NonceSource:
    with _counters_lock:
        known = _counters.get(digest)
        if known is None:
            known = _counters[digest] = multiplier, NonceSource(multiplier)
        if known[0] != multiplier:
            raise ConfigError(
                f"nonce multiplier must be {known[0]}, as this process uses this key with already, "
                f"was {multiplier}"
            )
        return known[1]


class _LockedNumber:
    """A number in a file, replaced under a lock that excludes threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"the nonce file {self._path} cannot be used: {error}") from error
        self._mutex = threading.Lock()
        self._process = os.getpid()
        self._close = weakref.finalize(self, os.close, self._descriptor)
        if not os.fstat(self._descriptor).st_size:
            # From now on the file has one size: it is overwritten in place, within one sector.
            self.replace(lambda last: (last, True))
            _sync_directory(self._path.parent)

    def replace(self, choose: Callable[[int], tuple[int, bool]]) -> int:
        if os.getpid() != self._process:
            # A fork shares the open file, and with it the lock: that would exclude nobody.
            close_shared = self._close
            self._open()
            close_shared()
        with self._mutex:
            self._lock()
            try:
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                last = self._parse(os.read(self._descriptor, _DIGITS + 2))
                number, must_last = choose(last)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.write(self._descriptor, b"%0*d\n" % (_DIGITS, number))
                if must_last:
                    os.fsync(self._descriptor)
            finally:
                _unlock(self._descriptor)
        return number

    def _lock(self) -> None:
        deadline = None
        while not _try_lock(self._descriptor):
            now = time.monotonic()
            deadline = now + LOCK_SECONDS_MAX if deadline is None else deadline
            if now > deadline:
                raise UnreachableError(
                    f"another process holds the nonce file {self._path} for {LOCK_SECONDS_MAX} s",
                    sent="no",
                )
            time.sleep(0.0001)

    def _parse(self, text: bytes) -> int:
        if not text:
            return 0
        if len(text) != _DIGITS + 1 or not text[:_DIGITS].isdigit() or text[_DIGITS:] != b"\n":
            raise ConfigError(
                f"the nonce file {self._path} holds {text!r}, not a nonce: remove it while nothing "
                "uses the key"
            )
        return int(text)


if sys.platform == "win32":
    import msvcrt

    # Beyond the number, because Windows refuses to read locked bytes.
    _LOCK_PLACE = 1 << 20

    def _sync_directory(path: Path) -> None:
        # Windows opens no directories, and NTFS keeps a journal of them.
        return

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _LOCK_PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCK_PLACE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _sync_directory(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
