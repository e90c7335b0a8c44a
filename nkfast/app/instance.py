"""What an instance keeps, and where: one folder for each name."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from nkfast.directories import account_directory, nonce_directory, state_directory
from nkfast.errors import ConfigError, JournalLockedError
from nkfast.trading.journal_file import FileLock

if TYPE_CHECKING:
    from nkfast.app.config.bot import BotConfig

__all__ = ["Instance", "RunRecord", "all_instances"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the newest run of an instance was: kept for ``status`` and for who names no mode."""

    mode: str
    strategy: str
    symbol: str
    config: str
    config_hash: str
    rest_url: str
    process_id: int
    started_ms: int
    fleet: str = ""  # the file of the fleet that it is one of

    @classmethod
    def of(
        cls, config: "BotConfig", *, mode: str, symbol: str, started_ms: int, fleet: str = ""
    ) -> Self:
        """Return that of a run by this process, which begins now."""
        return cls(
            mode=mode,
            strategy=config.strategy_name,
            symbol=symbol,
            config="" if config.path is None else str(config.path.resolve()),
            config_hash=config.hash,
            rest_url=config.exchange.rest_url,
            process_id=os.getpid(),
            started_ms=started_ms,
            fleet=fleet,
        )


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
        if not _NAME.fullmatch(name) or name in _shared_folders():
            raise ConfigError(
                f"{name!r} is no name for an instance: use letters, digits, '-' and '_', not more"
                " than 32, a letter or a digit first",
                "--name",
            )
        return cls(name, (state_dir if state_dir is not None else state_directory()) / name)

    @property
    def journal(self) -> Path:
        """The journal of real orders and fills."""
        return self.journal_of("live")

    def journal_of(self, mode: str) -> Path:
        """Return the journal of a mode: pretended orders are never mixed with real ones."""
        return self.folder / ("journal.db" if mode == "live" else f"journal-{mode}.db")

    @property
    def newest_journal(self) -> Path:
        """The journal of the newest run."""
        record = self.last_run()
        return self.journal if record is None else self.journal_of(record.mode)

    @property
    def kill_file(self) -> Path:
        """While it is there, the instance does not trade."""
        return self.folder / "kill"

    @property
    def heartbeat(self) -> Path:
        """Where the instance's heart beats."""
        return self.folder / "heartbeat"

    @property
    def pulse(self) -> Path:
        """A file that is touched every second while the instance's process does its work."""
        return self.folder / "pulse"

    @property
    def control(self) -> Path:
        """The folder in which it takes commands."""
        return self.folder / "control"

    def is_running(self) -> bool:
        """Whether a process holds the journal of its newest run."""
        if not self.folder.is_dir():
            return False
        try:
            FileLock.of(self.newest_journal).release()
        except JournalLockedError:
            return True
        return False

    @property
    def log(self) -> Path:
        """What happened, as JSON lines."""
        return self.folder / "log.jsonl"

    def kill(self, reason: str) -> None:
        """Throw the kill switch; throwing it twice does nothing.

        Raises
        ------
        FileNotFoundError
            There is no such instance: nothing of it was ever kept here.
        """
        self.kill_file.touch(mode=0o600)
        self.kill_file.write_text(f"{reason}\n")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the one process that runs this instance, inside the block.

        Raises
        ------
        nkfast.errors.JournalLockedError
            Another process is; the message names it.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock = FileLock(self._lock_file)
        except JournalLockedError:
            raise JournalLockedError(
                self.name, f"runs already, as process {self.holder()}; stop it, or use --name"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def holder(self) -> str:
        """Return the id of the process that runs this instance; empty when none does."""
        try:
            FileLock(self._lock_file).release()
        except FileNotFoundError:
            return ""
        except JournalLockedError:
            return self._lock_file.read_text("ascii", "replace").strip()
        return ""

    def note_run(self, record: RunRecord) -> None:
        """Remember what this run is."""
        fresh = self.folder / f".run.{os.getpid()}"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(asdict(record)) + "\n")
        fresh.replace(self._record_file)

    def last_run(self) -> RunRecord | None:
        """Return what the newest run is or was; None when there was none."""
        try:
            content: dict[str, Any] = json.loads(self._record_file.read_text())
            return RunRecord(**content)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ConfigError("is no record of a run; remove it", str(self._record_file)) from error

    @property
    def _lock_file(self) -> Path:
        return self.folder / "lock"

    @property
    def _record_file(self) -> Path:
        return self.folder / "run.json"


def _shared_folders() -> set[str]:
    return {nonce_directory().name, account_directory().name}


def all_instances(state_dir: Path | None = None) -> list[Instance]:
    """Return every instance that ever ran here, by name."""
    root = state_dir if state_dir is not None else state_directory()
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [Instance(path.name, path) for path in folders if (path / "run.json").is_file()]
