"""What an instance keeps, and where: one folder for each name."""

import re
from pathlib import Path
from typing import NamedTuple, Self

from nkfast.directories import nonce_directory, state_directory
from nkfast.errors import ConfigError, JournalLockedError
from nkfast.trading.journal_file import FileLock

__all__ = ["Instance"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)


class Instance(NamedTuple):
    """The files of one instance."""

    name: str
    folder: Path

    @classmethod
    def named(cls, name: str, state_dir: Path | None = None) -> Self:
        """Return the instance with a name; nothing is made.

        Raises
        ------
        nkfast.errors.ConfigError
            The name could be mistaken for a path, an option or something else that is kept there.
        """
        if not _NAME.fullmatch(name) or name == nonce_directory().name:
            raise ConfigError(
                f"{name!r} is no name for an instance: use letters, digits, '-' and '_', not more"
                " than 32, a letter or a digit first",
                "--name",
            )
        return cls(name, (state_dir if state_dir is not None else state_directory()) / name)

    @property
    def journal(self) -> Path:
        """The journal of orders and fills."""
        return self.folder / "journal.db"

    @property
    def kill_file(self) -> Path:
        """While it is there, the instance does not trade."""
        return self.folder / "kill"

    @property
    def heartbeat(self) -> Path:
        """Where the instance's heart beats."""
        return self.folder / "heartbeat"

    @property
    def control(self) -> Path:
        """The folder in which it takes commands."""
        return self.folder / "control"

    def is_running(self) -> bool:
        """Whether a process holds its journal."""
        if not self.folder.is_dir():
            return False
        try:
            FileLock.of(self.journal).release()
        except JournalLockedError:
            return True
        return False

    def kill(self, reason: str) -> None:
        """Throw the kill switch; throwing it twice does nothing.

        Raises
        ------
        FileNotFoundError
            There is no such instance: nothing of it was ever kept here.
        """
        self.kill_file.touch(mode=0o600)
        self.kill_file.write_text(f"{reason}\n")
