"""The loop that is taken, and signals that ask instead of killing."""

import asyncio
import os
import signal
import sys

import pytest

from nkfast.app.loop import kill_on_signal, loop_name, run, stop_on_signals


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_fastest_installed_loop_runs() -> None:
    assert loop_name() == ("winloop" if sys.platform == "win32" else "uvloop")
    assert type(run(running_loop())).__module__.split(".")[0] == loop_name()


def test_asyncio_takes_over_where_nothing_faster_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setitem(sys.modules, "winloop", None)
    assert loop_name() == "asyncio"
    assert type(run(running_loop())).__module__.startswith("asyncio")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send itself a signal")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("faster", [True, False])
def test_P08_P09_first_signal_asks_to_stop(
    name: str, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(signal, name)
    if not faster:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    async def wait_for_signal() -> bool:
        stop = asyncio.Event()
        with stop_on_signals(stop):
            os.kill(os.getpid(), number)
            await asyncio.wait_for(stop.wait(), 5)
        return stop.is_set()

    before = signal.getsignal(number)
    assert run(wait_for_signal())
    assert signal.getsignal(number) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_P09_under_nohup_a_closed_terminal_is_ignored() -> None:
    async def is_stopped() -> bool:
        stop = asyncio.Event()
        with stop_on_signals(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.05)
        return stop.is_set()

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert not run(is_stopped())
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send itself a signal")
def test_P08_second_signal_interrupts() -> None:
    async def never_stops() -> None:
        stop = asyncio.Event()
        with stop_on_signals(stop):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait_for(stop.wait(), 5)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        run(never_stops())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
@pytest.mark.parametrize("faster", [True, False])
def test_a_signal_throws_the_kill_switch(faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not faster:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    async def wait_for_signal() -> str:
        thrown: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with kill_on_signal(thrown.set_result):
            os.kill(os.getpid(), signal.SIGUSR1)
            return await asyncio.wait_for(thrown, 5)

    before = signal.getsignal(signal.SIGUSR1)
    assert run(wait_for_signal()) == "SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) == before
