"""Files that the processes of a user map into their memory, to share what is counted there.

Below all rooms but the errors, as `nkfast.directories` is: what meets in one file may live in
different rooms.
"""

import mmap
import os
import sys
from pathlib import Path

from nkfast.errors import ConfigError

__all__ = ["foreign", "map_file"]


def map_file(path: Path, magic: bytes, size: int, what: str, way_out: str) -> mmap.mmap:
    """Map a file of `size` bytes that begins with `magic`; it is made where it is not there yet.

    Parameters
    ----------
    path : Path
        On a disk of this machine; its folder is made too. Only the user can read it.
    magic : bytes
        What it begins with; the rest of a new one is zeros.
    size : int
        Bytes of the whole file.
    what : str
        What it is called in an error.
    way_out : str
        A sentence that says what to do where it cannot be had.

    Raises
    ------
    ConfigError
        It cannot be made or mapped, or is something else.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o600)
        try:
            return _memory(descriptor, path, magic, size, what)
        finally:
            os.close(descriptor)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"the {what} {path} cannot be used: {error}. {way_out}") from error


def foreign(what: str, path: Path | None, why: str) -> ConfigError:
    """Return the error that a file is not what it should be."""
    return ConfigError(f"the {what} {path} {why}: remove it while nothing uses the key")


def _memory(descriptor: int, path: Path, magic: bytes, size: int, what: str) -> mmap.mmap:
    found = os.fstat(descriptor).st_size
    if found not in (0, size):
        raise foreign(what, path, f"has {found} bytes, not {size}")
    # Whoever comes first makes the file, and another process may be about to do the same: what
    # is done here changes nothing when it is done again, also when it is in use meanwhile.
    os.ftruncate(descriptor, size)
    memory = mmap.mmap(descriptor, size)
    if memory[: len(magic)] == bytes(len(magic)):
        # Written and reserved, not put into the memory: a full disk is an error then, and not the
        # end.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        os.write(descriptor, magic)
        os.fsync(descriptor)
        _sync_directory(path.parent)
    if memory[: len(magic)] != magic:
        raise foreign(what, path, "does not begin as one")
    return memory


def _sync_directory(path: Path) -> None:
    if sys.platform == "win32":
        # Windows opens no directories, and NTFS keeps a journal of them.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
