"""Tells people what a bot does, from a thread of its own.

The bot's loop only puts news into a bounded queue; a thread with a loop of its own sends it. So a
dead or slow receiver never holds up trading, and a bot that stands still is noticed and told of.
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

from nkfast.app.alert_rules import AlertRules, Due, News
from nkfast.app.alert_sinks import Message, Sink, open_sinks
from nkfast.app.config.alerts import AlertSettings
from nkfast.app.logs import Heard
from nkfast.trading.exact import multiply
from nkfast.venue.clock import RealClock

__all__ = ["Alerts", "alerting", "try_out"]

_log = logging.getLogger(__name__)
_TICK_S = 1.0
_ATTEMPTS = 3
_WAITS_S = (1.0, 4.0)
#: A bot that ends waits so long for its last words at most.
_LAST_WORDS_S = 3.0
_QUEUED_MAX = 1_000
_LOOK_S = 0.1
_NS = 1_000_000_000
_REMOVED = "[removed]"


class Alerts(logging.Handler):
    """Sends what the log of a bot says that somebody ought to know.

    Parameters
    ----------
    settings : AlertSettings
    instance, mode : str
        Stand before every message.
    secrets : tuple of str
        Texts that are taken out of every message.

    Attributes
    ----------
    sent, failed : int
        Messages by sink that arrived, and that were given up.
    """

    def __init__(
        self, settings: AlertSettings, *, instance: str, mode: str, secrets: tuple[str, ...] = ()
    ) -> None:
        super().__init__(logging.INFO)
        self.sent = self.failed = 0
        self._title = f"{mode.upper()} {instance}"
        self._labels = {"instance": instance, "mode": mode}
        self._secrets = (*secrets, *settings.secrets)
        self._clock = RealClock()
        self._rules = AlertRules(settings, self._now_s(), _minute_of_day)
        self._sinks = open_sinks(settings)
        self._queue: deque[News | str] = deque(maxlen=_QUEUED_MAX)
        self._step_ns = self._clock.monotonic_ns()
        self._data_ns: int | None = None
        self._stop = threading.Event()
        # It must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="nkfast-alerts", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send the last words, for a few seconds at most."""
        self._stop.set()
        self._thread.join(_LAST_WORDS_S + 1.0)

    def beat(self, data_ns: int | None) -> None:
        """Say that the bot moves, and when the market told something, monotonic nanoseconds."""
        self._step_ns, self._data_ns = self._clock.monotonic_ns(), data_ns

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a line of the log; it is never waited for."""
        if record.name == __name__:
            return  # of alerts that failed nobody can be alerted
        tag, fields = getattr(record, "tag", ""), getattr(record, "fields", {})
        text = record.getMessage()
        if tag == "status":
            self._queue.append(text)
        elif tag == "fill":
            value = multiply(Decimal(fields["price"]), Decimal(fields["quantity"]))
            self._queue.append(News(text, value=value))
        elif tag == "life":
            is_bad = fields.get("state") == "halted" or "error" in fields
            self._queue.append(News(text, is_urgent=is_bad))
        elif record.levelno >= logging.WARNING:
            self._queue.append(News(f"{record.levelname} {text}", is_urgent=True))

    # On the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        asyncio.run(self._send_until_stopped())

    async def _send_until_stopped(self) -> None:
        try:
            while not self._stop.is_set():
                await asyncio.sleep(_TICK_S)
                self._take()
                await self._tell(self._rules.due(self._now_s()))
            self._take()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._tell(self._rules.due(self._now_s(), is_last=True))
        finally:
            for sink in self._sinks:
                await sink.close()

    def _take(self) -> None:
        while self._queue:
            news = self._queue.popleft()
            if isinstance(news, str):
                self._rules.note_status(news)
            else:
                self._rules.take(news)
        if not self._stop.is_set():
            now_ns, data_ns = self._clock.monotonic_ns(), self._data_ns
            data_age_s = None if data_ns is None else (now_ns - data_ns) / _NS
            self._rules.look(self._now_s(), (now_ns - self._step_ns) / _NS, data_age_s)

    async def _tell(self, due: Due | None) -> None:
        if due is None:
            return
        text = self._clean(f"{self._title}: {due.text}")
        message: Message = {
            "text": text,
            "level": "urgent" if due.is_urgent else "info",
            **self._labels,
            "time": datetime.fromtimestamp(self._clock.time_ns() / 1e9, UTC).isoformat(),
        }
        await asyncio.gather(*(self._deliver(sink, message) for sink in self._sinks))

    async def _deliver(self, sink: Sink, message: Message) -> None:
        reason = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await self._pause(_WAITS_S[attempt - 1])
            try:
                reason = await sink.send(message)
            except Exception as error:  # each library fails in its own way
                reason = f"{type(error).__name__}: {error}"
            if not reason:
                self.sent += 1
                return
        self.failed += 1
        _log.warning("an alert by %s was given up: %s", sink.name, self._clean(reason))

    async def _pause(self, seconds: float) -> None:
        """Wait before trying again; who ends waits for nobody."""
        end_s = self._now_s() + seconds
        while not self._stop.is_set() and self._now_s() < end_s:
            await asyncio.sleep(min(seconds, _LOOK_S))

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _REMOVED)
        return text

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / _NS


async def try_out(settings: AlertSettings, text: str) -> dict[str, str]:
    """Send one message by every way; return why each failed, empty where it did not.

    Raises
    ------
    nkfast.errors.ConfigError
        Apprise is wanted and not installed, or does not know an address.
    """
    found = {}
    for sink in open_sinks(settings):
        try:
            found[sink.name] = await sink.send({"text": text, "level": "info"})
        finally:
            await sink.close()
        for secret in settings.secrets:
            found[sink.name] = found[sink.name].replace(secret, _REMOVED)
    return found


def _minute_of_day() -> int:
    now = datetime.now().astimezone()
    return 60 * now.hour + now.minute


@contextlib.contextmanager
def alerting(
    settings: AlertSettings, *, instance: str, mode: str, secrets: tuple[str, ...] = ()
) -> Iterator[Callable[[int | None], None]]:
    """Tell people of what is logged inside the block; gives `Alerts.beat`.

    Raises
    ------
    nkfast.errors.ConfigError
        Apprise is wanted and not installed, or does not know an address.
    """
    if not settings.goes_anywhere:
        yield lambda data_ns: None
        return
    alerts = Alerts(settings, instance=instance, mode=mode, secrets=secrets)
    log = logging.getLogger("nkfast")
    level = log.level
    if log.getEffectiveLevel() > logging.INFO:  # nobody keeps a log
        log.setLevel(logging.INFO)
    alerts.addFilter(Heard(instance))
    log.addHandler(alerts)
    alerts.start()
    try:
        yield alerts.beat
    finally:
        log.removeHandler(alerts)
        log.setLevel(level)
        alerts.stop()
