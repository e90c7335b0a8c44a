"""The event loop of every command: uvloop, winloop on Windows, asyncio where neither is."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, TypeVar, cast

__all__ = ["kill_on_signal", "loop_name", "run", "stop_on_signals"]

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)


def loop_name() -> str:
    """Return the name of the loop that `run` takes: uvloop, winloop or asyncio."""
    return _choose()[0]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on the fastest loop that is installed."""
    with asyncio.Runner(loop_factory=_choose()[1]) as runner:
        return runner.run(main)


@contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[list[int]]:
    """Let SIGINT, SIGTERM and SIGHUP set `stop` instead of ending the process, inside the block.

    SIGHUP says that the terminal was closed; under ``nohup`` it goes on being ignored. A second
    signal does what it always does, so that a shutdown which hangs can be ended. The list holds
    the numbers of the signals that came.
    """
    loop = asyncio.get_running_loop()
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_signal(number: int, frame: FrameType | None) -> None:
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )
        caught.append(number)
        loop.call_soon_threadsafe(stop.set)

    for number, handler in before.items():
        is_nohup = handler == signal.SIG_IGN and signal.Signals(number).name == "SIGHUP"
        if not is_nohup:
            signal.signal(number, on_signal)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def kill_on_signal(kill: Callable[[str], object]) -> Iterator[None]:
    """Let SIGUSR1 throw the kill switch, inside the block; Windows has no such signal.

    ``kill`` is called on the loop, with the name of the signal.
    """
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(kill, "SIGUSR1")

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _choose() -> tuple[str, LoopFactory]:
    name = "winloop" if sys.platform == "win32" else "uvloop"
    try:
        return name, cast(LoopFactory, import_module(name).new_event_loop)
    except ImportError:
        return "asyncio", asyncio.new_event_loop
