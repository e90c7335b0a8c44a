"""Commands to a running instance from other processes: pause, resume, drain, stop.

They are files in a folder of the instance that belongs to its owner alone, so that they need no
port, no secret and nothing of a platform. A command is moved into place when it is whole; the
instance takes it by removing it, so that it is done at most once, and answers with a file of the
same name. What nobody took in time its sender takes back: it is not done later, by surprise, and
what is found at a start was meant for an earlier run.

    sender                         instance
    NAME.command  ---------------> looks every quarter of a second; removes it, does it
    reads, removes  <------------- NAME.answer

What stops trading at once is `nkfast.trading.kill`, which works when nothing of this does.
"""

import asyncio
import json
import os
import secrets
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, get_args

from nkfast.errors import NkfastError, NotRunningError
from nkfast.trading.life import LifeState, OnExit, StopReport

__all__ = ["Answer", "Command", "Control", "Steered", "Verb", "send"]

Verb = Literal["pause", "resume", "drain", "stop"]

#: A command is seen after at most so long, while the instance's loop turns.
LOOK_INTERVAL_S = 0.25
_POLL_S = 0.02
_AFTER = {
    "pause": LifeState.PAUSED,
    "resume": LifeState.RUNNING,
    "drain": LifeState.DRAINING,
}
_COMMAND = ".command"
_ANSWER = ".answer"
_PART = ".part"
_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Command:
    """What is asked of an instance.

    Attributes
    ----------
    verb : {"pause", "resume", "drain", "stop"}
        What to do.
    reason : str
        Why, for the journal and for whoever asks.
    on_exit : {"cancel", "keep"} or None
        Of a stop or a drain: what becomes of resting orders; None leaves it as it was configured.
    """

    verb: Verb
    reason: str
    on_exit: OnExit | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command.

    Attributes
    ----------
    life, reason : str
        Where the instance is in its life afterwards, and why.
    refused : str
        Why the command was not done; empty when it was.
    kept, left : tuple of str
        Of a stop: the orders that rest because they were to be kept, and what may be left although
        it should not be.
    error : str
        Of a stop: what had ended trading before, or went wrong in the stop; empty when nothing did.
    """

    life: str
    reason: str
    refused: str = ""
    kept: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    error: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Take back what was written."""
        return cls(**{**data, "kept": tuple(data["kept"]), "left": tuple(data["left"])})


class Steered(Protocol):
    """What commands steer: an engine."""

    @property
    def life(self) -> LifeState: ...
    @property
    def life_reason(self) -> str: ...
    def pause(self, reason: str) -> None: ...
    def resume(self) -> None: ...
    def drain(self, reason: str) -> None: ...


class Control:
    """Takes the commands to one instance.

    `nkfast.trading.fleet.Fleet` keeps one for each instance. By hand::

        control = Control(folder, stop)
        control.watch()
        await engine.start()
        control.steered = engine
        await engine.run(stop)
        report = await engine.stop(control.on_exit or "cancel")
        control.finish(report)

    Parameters
    ----------
    folder : Path
        Made when it is missing, for its owner only.
    stop : asyncio.Event
        Is set by the command to stop.

    Attributes
    ----------
    steered : Steered or None
        Who is to do what is commanded; None while nobody is up, and then only a stop is done.
    on_exit : {"cancel", "keep"} or None
        What the newest command said of resting orders.
    """

    def __init__(self, folder: Path, stop: asyncio.Event) -> None:
        self.folder = folder
        self.stop = stop
        self.steered: Steered | None = None
        self.on_exit: OnExit | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stops: list[str] = []  # who waits for what the stop leaves

    def watch(self) -> None:
        """Forget what was commanded before, and look from now on, on the running loop."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self.folder.iterdir():
            if path.suffix in (_COMMAND, _ANSWER, _PART):
                path.unlink(missing_ok=True)
        self._look_later()

    def finish(self, report: StopReport, error: BaseException | None = None) -> None:
        """Say to whoever asked for the stop what it left, and look no more.

        Call it after the stop, whatever ended the instance.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for name in self._stops:
            answer = self._now(
                kept=tuple(map(str, report.kept)),
                left=tuple(map(str, report.remains)),
                error="" if error is None else f"{type(error).__name__}: {error}",
            )
            self._answer(name, answer)
        self._stops.clear()
        self.steered = None

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self._look)

    def _look(self) -> None:
        self._look_later()
        try:
            names = sorted(
                entry.name.removesuffix(_COMMAND)
                for entry in os.scandir(self.folder)
                if entry.name.endswith(_COMMAND)
            )
        except OSError:
            return  # the folder is not to be read now; whoever waits is told that nobody answers
        for name in names:
            path = self.folder / (name + _COMMAND)
            try:
                text = _read(path)
                path.unlink()  # who removes it has it
            except OSError:
                continue  # taken back, or not to be read yet
            self._take(name, text)

    def _take(self, name: str, text: str) -> None:
        try:
            command = _command_of(text)
            if command.verb == "stop":
                self._stops.append(name)
                self.on_exit = command.on_exit or self.on_exit
                self.stop.set()
                return
            answer = self._do(command)
        except (NkfastError, ValueError, TypeError) as error:
            answer = self._now(refused=str(error))
        self._answer(name, answer)

    def _do(self, command: Command) -> Answer:
        steered = self.steered
        if steered is None:
            return self._now(refused="it is not up now; it can only be stopped")
        if command.verb == "drain":
            self.on_exit = command.on_exit or self.on_exit
        if steered.life is _AFTER[command.verb]:
            return self._now()
        if command.verb == "pause":
            steered.pause(command.reason)
        elif command.verb == "resume":
            steered.resume()
        else:
            steered.drain(command.reason)
        return self._now()

    def _now(self, **facts: Any) -> Answer:
        steered = self.steered
        if steered is None:
            return Answer("down", "", **facts)
        return Answer(steered.life, steered.life_reason, **facts)

    def _answer(self, name: str, answer: Answer) -> None:
        with suppress(OSError):  # whoever waits is told that nobody answers
            _write(self.folder / (name + _ANSWER), json.dumps(asdict(answer)))


async def send(
    folder: Path,
    command: Command,
    *,
    is_running: Callable[[], bool],
    take_s: float = 5.0,
    answer_s: float = 60.0,
) -> Answer:
    """Send a command and wait for what became of it.

    Parameters
    ----------
    folder : Path
        The instance's, as `Control` has it.
    command : Command
        What to do.
    is_running : callable
        Whether the instance's process is there; asked while nobody answers.
    take_s : float
        After so many seconds a command that nobody took is taken back.
    answer_s : float
        So many seconds an answer may take from then on; a stop waits for its orders to end.

    Raises
    ------
    nkfast.errors.NotRunningError
        Nobody took it, and it is taken back; or whoever took it ended without an answer, or gave
        none in time.
    """
    name = secrets.token_hex(8)
    path, answer = folder / (name + _COMMAND), folder / (name + _ANSWER)
    try:
        _write(path, json.dumps(asdict(command)))
    except FileNotFoundError:
        raise NotRunningError(f"nothing ever took commands in {folder}") from None
    try:
        if not await _wait(take_s, lambda: not path.exists(), is_running=lambda: True):
            path.unlink()
            how = "does not answer" if is_running() else "is not running"
            raise NotRunningError(f"it {how}; the command to {command.verb} is taken back")
    except FileNotFoundError:
        pass  # taken in the last moment
    await _wait(answer_s, answer.exists, is_running=is_running)
    try:
        told = Answer.from_json(json.loads(_read(answer)))
    except FileNotFoundError:
        how = "did not say what became of it" if is_running() else "ended without an answer"
        raise NotRunningError(f"it took the command to {command.verb} and {how}") from None
    answer.unlink(missing_ok=True)
    return told


async def _wait(
    seconds: float, has_come: Callable[[], bool], *, is_running: Callable[[], bool]
) -> bool:
    """Wait for something, for so long at most and while the instance runs; return if it came."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not has_come():
        if loop.time() >= deadline or not is_running():
            return has_come()
        await asyncio.sleep(_POLL_S)
    return True


def _command_of(text: str) -> Command:
    data = json.loads(text)
    command = Command(**data)
    if command.verb not in get_args(Verb):
        raise ValueError(f"there is no command {command.verb!r}")
    if command.on_exit not in (None, "cancel", "keep"):
        raise ValueError(f"on_exit {command.on_exit!r}: 'cancel' or 'keep'")
    if not isinstance(command.reason, str):
        raise ValueError(f"the reason is {command.reason!r}; give text")
    return command


def _read(path: Path) -> str:
    """Return what a file of ours says; what is not ours, or no file, says nothing."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    file = os.open(path, flags)
    with os.fdopen(file, "rb") as stream:
        found = os.fstat(file)
        is_ours = sys.platform == "win32" or found.st_uid == os.geteuid()
        if not stat.S_ISREG(found.st_mode) or not is_ours:
            return ""
        return stream.read(_BYTES_MAX).decode(errors="replace")


def _write(path: Path, text: str) -> None:
    """Put a whole file in place, readable by its owner only."""
    part = path.with_suffix(path.suffix + _PART)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as stream:
        stream.write(text)
    os.replace(part, path)
