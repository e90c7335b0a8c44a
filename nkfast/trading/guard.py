"""The dead man's switch: cancels an instance's orders when its heart stands still.

It runs in a process of its own, with a connection of its own. It cannot place an order: what it is
given reads the open orders and cancels one, and there is nothing else. It trusts the heartbeat's
movement alone; what the file says of the process is passed on to who reads the log.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nkfast.errors import ConfigError, OrderNotFoundError
from nkfast.trading.heartbeat import Beat, read_beat
from nkfast.trading.kill import is_thrown
from nkfast.trading.orders import instance_code, parse_client_id
from nkfast.venue.port import CancelDesk, OpenOrder

if TYPE_CHECKING:
    from nkfast.venue.clock import Clock

__all__ = ["Guard", "GuardReport", "GuardSettings"]

_NS = 1_000_000_000
#: Seconds before reading again that failed; the last one repeats.
_RETRIES_S = (0.25, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """When a guard acts.

    Attributes
    ----------
    alarm_s : float
        The heart stands still for so long: an alarm is told. Where the kill switch is thrown and
        the instance still has orders after so long, they are cancelled.
    cancel_s : float
        The heart stands still for so long: the instance's orders are cancelled.
    poll_s : float
        Between two looks at the heartbeat, and between two readings of the open orders.
    linger_s : float
        After the last order is gone the open orders are read for so long again: an order that was
        on its way may still arrive.
    """

    alarm_s: float = 15.0
    cancel_s: float = 60.0
    poll_s: float = 1.0
    linger_s: float = 120.0

    def __post_init__(self) -> None:
        for name in ("alarm_s", "cancel_s", "poll_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive", name)
        if self.alarm_s > self.cancel_s:
            raise ConfigError(
                f"alarm_s is {self.alarm_s}; it must not be above cancel_s, {self.cancel_s}",
                "alarm_s",
            )
        if self.linger_s < 0:
            raise ConfigError(f"linger_s is {self.linger_s}; give at least 0", "linger_s")


@dataclass(slots=True)
class GuardReport:
    """What a guard saw and did.

    Attributes
    ----------
    alarms : int
        How often the heart stood still long enough for an alarm.
    has_acted : bool
        Whether it came to cancelling, even if nothing was open.
    cancelled : list of OpenOrder
        Orders that were open, were cancelled, and are open no more.
    left : list of OpenOrder
        Orders of the instance that were open when the guard ended although its heart stood still.
    """

    alarms: int = 0
    has_acted: bool = False
    cancelled: list[OpenOrder] = field(default_factory=list)
    left: list[OpenOrder] = field(default_factory=list)


class Guard:
    """Watches one instance.

    Parameters
    ----------
    instance : str
        Its name; orders with its ids, and no others, are cancelled.
    heartbeat, kill_file : Path
        The files of the instance; either may come and go.
    desk : CancelDesk
        The way to the venue.
    clock : Clock
        Its boot time counts while the machine sleeps.
    tell : callable
        Takes the name of an event and its facts, for the log. It may fail; the guard goes on.
    """

    def __init__(
        self,
        *,
        instance: str,
        heartbeat: Path,
        kill_file: Path,
        desk: CancelDesk,
        clock: "Clock",
        tell: Callable[[str, dict[str, Any]], None],
        settings: GuardSettings | None = None,
    ) -> None:
        self.report = GuardReport()
        self._code = instance_code(instance)
        self._heartbeat = heartbeat
        self._kill_file = kill_file
        self._desk = desk
        self._clock = clock
        self._tell_log = tell
        self._settings = settings if settings is not None else GuardSettings()
        self._beat: Beat | None = None
        self._moved_ns = clock.boot_ns()
        self._killed_ns: int | None = None
        self._is_alarmed = False
        self._is_blind = False  # the heartbeat could not be read
        self._is_cleared = False  # nothing to do until the heart has moved
        self._asked: dict[str, OpenOrder] = {}

    async def run(self, stop: asyncio.Event) -> GuardReport:
        """Watch until the instance ended in order, or died and nothing of it is left, or ``stop``.

        An instance that was only stopped for a while is watched on when its heart beats again.
        """
        self._tell("watching", instance=self._code, heartbeat=str(self._heartbeat))
        while not stop.is_set():
            self._look()
            if self._is_due() and not self._is_cleared:
                await self._clear(stop)
            if self._is_cleared and self._is_over():
                break
            if self._beat is not None and self._beat.is_at_rest and not self._is_due():
                self._tell("at_rest", process=self._beat.process_id)
                break
            await self._wait(stop, self._settings.poll_s)
        return self.report

    # The heart -----------------------------------------------------------------------------------

    def _look(self) -> None:
        now_ns = self._clock.boot_ns()
        try:
            beat = read_beat(self._heartbeat)
            self._is_blind = False
        except OSError as error:  # what cannot be seen to move stands still
            if not self._is_blind:
                self._tell("heartbeat_unreadable", error=_said(error))
            self._is_blind, beat = True, self._beat
        if beat != self._beat:
            self._beat = beat
            if beat is not None:
                self._moved_ns = now_ns
                self._is_alarmed = self._is_cleared = False
        if not is_thrown(self._kill_file):
            self._killed_ns = None
        elif self._killed_ns is None:
            self._killed_ns = now_ns
        still_s = self._still_s()
        if still_s >= self._settings.alarm_s and not self._is_alarmed:
            self._is_alarmed = True
            self.report.alarms += 1
            self._tell("alarm", still_s=round(still_s, 3), **self._process())

    def _still_s(self) -> float:
        """Return how long the heart stands still; 0 where none was ever seen."""
        if self._beat is None:
            return 0.0
        return (self._clock.boot_ns() - self._moved_ns) / _NS

    def _is_due(self) -> bool:
        if self._still_s() >= self._settings.cancel_s:
            return True
        if self._killed_ns is None:
            return False
        return (self._clock.boot_ns() - self._killed_ns) / _NS >= self._settings.alarm_s

    def _is_over(self) -> bool:
        """Whether there is nothing left to watch: there is no such process any more."""
        return self._beat is not None and not _is_running(self._beat.process_id)

    def _process(self) -> dict[str, Any]:
        assert self._beat is not None
        process_id = self._beat.process_id
        return {"process": process_id, "is_running": _is_running(process_id)}

    # The orders ----------------------------------------------------------------------------------

    async def _clear(self, stop: asyncio.Event) -> None:
        """Cancel what is open, one by one, and read until nothing was open for a while."""
        settings, failures = self._settings, 0
        self.report.has_acted = True
        self._tell("clearing", still_s=round(self._still_s(), 3), is_killed=bool(self._killed_ns))
        empty_since_ns: int | None = None
        while True:
            try:
                own = [order for order in await self._desk.open_orders() if self._owns(order)]
            except Exception as error:  # whatever it is, who gives up cancels nothing
                self._tell("read_failed", error=_said(error))
                empty_since_ns = None
                pause_s = _RETRIES_S[min(failures, len(_RETRIES_S) - 1)]
                failures += 1
            else:
                failures, pause_s = 0, settings.poll_s
                self._note_gone(own)
                now_ns = self._clock.boot_ns()
                if own:
                    empty_since_ns = None
                    await self._cancel(own)
                elif empty_since_ns is None:
                    empty_since_ns = now_ns
                    self._tell("none_open", cancelled=len(self.report.cancelled))
                if empty_since_ns is not None and not stop.is_set():
                    if now_ns - empty_since_ns >= settings.linger_s * _NS:
                        self._tell("cleared", cancelled=len(self.report.cancelled))
                        self._is_cleared = True
                        return
            if stop.is_set():
                return
            await self._wait(stop, pause_s)
            self._look()
            if not self._is_due():
                self._tell("heart_beats_again", left=len(self.report.left))
                self.report.left.clear()
                return

    async def _cancel(self, own: Sequence[OpenOrder]) -> None:
        for order in own:
            self._asked[order.order_id] = order
            try:
                await self._desk.cancel(order)
            except OrderNotFoundError:
                pass  # it ended meanwhile; the next reading shows
            except Exception as error:  # the others are cancelled all the same
                self._tell("cancel_failed", order=order.client_id, error=_said(error))
            else:
                self._tell("cancel", order=order.client_id, symbol=order.symbol)

    def _note_gone(self, own: Sequence[OpenOrder]) -> None:
        """Take a reading as the proof of what is gone."""
        open_ids = {order.order_id for order in own}
        for order_id in [order_id for order_id in self._asked if order_id not in open_ids]:
            self.report.cancelled.append(self._asked.pop(order_id))
        self.report.left = list(own)

    def _owns(self, order: OpenOrder) -> bool:
        made_by = parse_client_id(order.client_id)
        return made_by is not None and made_by.instance == self._code

    # What does not matter ------------------------------------------------------------------------

    def _tell(self, event: str, **facts: Any) -> None:
        # Neither a full disk nor a closed pipe keeps an order from being cancelled.
        with contextlib.suppress(Exception):
            self._tell_log(event, facts)

    async def _wait(self, stop: asyncio.Event, seconds: float) -> None:
        waiter = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            waiter.cancel()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _is_running(process_id: int) -> bool:
    """Whether a process with this id runs; after a while another one may have it."""
    if sys.platform == "win32":
        return True  # nobody can be asked without disturbing it
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
