"""A WebSocket that is opened again after every loss, also after a clean close.

The life of the connection: opening with a random, growing pause, the circuit breaker, the
heartbeat, and timers that end with the connection they belong to. What is said over it is up to
the subclass.
"""

import asyncio
import logging
import random
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf

from picows import WSError, WSTransport, ws_connect
from python_socks import ProxyError

from nkfast.client.assembly import MESSAGE_BYTES_MAX
from nkfast.client.busy_poll import BusyPoll
from nkfast.client.listener import Listener
from nkfast.client.roads import IS_NOT_TLS, PROXY_SCHEMES, refuse_unverified
from nkfast.errors import AuthenticationError, ConfigError, VenueError

__all__ = ["BREAKER_FAILURES", "KeptSocket", "SocketOptions"]

#: Pauses before connecting again are random up to these bounds, doubling with every failure.
BACKOFF_SECONDS_FIRST = 0.5
BACKOFF_SECONDS_MAX = 60.0
#: A connection that held so long counts as success: the pauses begin small again.
STABLE_SECONDS = 30.0
#: After so many failures in a row the breaker opens: one attempt after each longest pause.
BREAKER_FAILURES = 8
#: So long the venue gets to close its side when we close ours.
CLOSE_SECONDS = 1.0
#: Close codes and words that mean: this key is not wanted, do not come back.
_BANNED = re.compile(r"auth|api.?key|forbidden|banned", re.IGNORECASE)
_BANNED_CODES = (1008, 4001)

_PROXY_BEGINNINGS = tuple(f"{scheme}://" for scheme in PROXY_SCHEMES)

_log = logging.getLogger("nkfast.client.websocket")


@dataclass(frozen=True, kw_only=True)
class SocketOptions:
    """How to reach the venue and how long to wait for it; `WebSocketClient` describes them.

    Raises
    ------
    ConfigError
        One of them makes no sense, or would leave TLS unverified.
    """

    url: str
    ssl_context: ssl.SSLContext | None
    proxy: str | None
    user_agent: str
    timeout_seconds: float
    ping_interval_seconds: float
    pong_timeout_seconds: float

    def __post_init__(self) -> None:
        if not self.url.startswith(("ws://", "wss://")):
            raise ConfigError(f"url must begin with ws:// or wss://, was {self.url!r}")
        if not 0 < self.timeout_seconds < inf:
            raise ConfigError(
                f"request_timeout_seconds must be positive, was {self.timeout_seconds}"
            )
        if not 0 < self.pong_timeout_seconds <= self.ping_interval_seconds:
            raise ConfigError("pong_timeout_seconds must be positive and within the ping interval")
        if self.ssl_context is not None:
            refuse_unverified(self.ssl_context)
        if self.proxy is not None and not self.proxy.startswith(_PROXY_BEGINNINGS):
            raise ConfigError(f"proxy must begin with one of {', '.join(_PROXY_BEGINNINGS)}")


class KeptSocket(ABC):
    """One connection at a time, from `start` to `close`.

    Parameters
    ----------
    options : SocketOptions
    counters : dict of str to int
        Where everything is counted, shared with whoever else counts.
    report : callable
        ``report(error, message)``: an exception that nobody else will see.
    busy_poll : BusyPoll or None
        Kept running while connected.

    Attributes
    ----------
    transport : WSTransport or None
        The open connection.
    listener : Listener or None
        What takes its frames.
    ready : asyncio.Future or None
        Made by `start`; the subclass ends it when all is said that has to be said first.
    loss_reason : str
        Why the last connection ended.
    fatal : VenueError or None
        Why no other will be made.
    """

    def __init__(
        self,
        options: SocketOptions,
        counters: dict[str, int],
        report: Callable[[BaseException, str], None],
        busy_poll: BusyPoll | None,
    ) -> None:
        self._options = options
        self._report = report
        self._busy_poll = busy_poll
        self._timers: set[asyncio.TimerHandle] = set()
        self._pongs = 0
        self._failures = 0
        self._is_closed = False
        self._runner: asyncio.Task[None] | None = None
        self.counters = counters
        self.transport: WSTransport | None = None
        self.listener: Listener | None = None
        self.ready: asyncio.Future[None] | None = None
        self.loss_reason = ""
        self.fatal: VenueError | None = None
        for name in ("connections", "disconnections", "breaker_openings"):
            counters[name] = 0
        for name in ("frames", "bytes", "binary_frames"):
            counters[name] = 0

    # What the subclass says

    @abstractmethod
    def make_listener(self) -> Listener:
        """Return a listener for the next connection that tells this object."""

    @abstractmethod
    def began(self) -> None:
        """Begin to talk: the connection is open."""

    @abstractmethod
    def ended(self, reason: str) -> None:
        """Take note that the connection is gone; another one follows."""

    @abstractmethod
    def tripped(self, reason: str) -> None:
        """Take note that the circuit breaker opened."""

    @abstractmethod
    def finished(self, error: VenueError) -> None:
        """Take note that no connection follows, and why."""

    # From the first connection to the last

    @property
    def is_breaker_open(self) -> bool:
        """Whether connecting failed so often in a row that it is tried rarely now."""
        return self._failures >= BREAKER_FAILURES

    def frame_counters(self) -> dict[str, int]:
        """Return the counters with the frames of the open connection."""
        counters, listener = dict(self.counters), self.listener
        if listener is not None:
            counters["frames"] += listener.frame_count
            counters["bytes"] += listener.byte_count
            counters["binary_frames"] += listener.binary_count
        return counters

    def start(self) -> "asyncio.Task[None]":
        """Begin to connect, unless that is so already; the task ends with the last connection."""
        if self._runner is None:
            self._is_closed = False
            self.fatal = None
            loop = asyncio.get_running_loop()
            self.ready = loop.create_future()
            # Whoever only calls `run_forever` never looks at it.
            self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
            self._runner = loop.create_task(self._run())
            self._runner.add_done_callback(partial(_end, self.ready))
        return self._runner

    async def close(self) -> None:
        """End the connection and make no other."""
        self._is_closed = True
        runner, self._runner = self._runner, None
        if runner is None:
            return
        if self.transport is None:
            runner.cancel()
        else:
            self.drop("closed by us", graceful=True)
        await asyncio.wait({runner}, timeout=CLOSE_SECONDS)
        if not runner.done():
            runner.cancel()
            await asyncio.wait({runner})

    def refuse_ready(self, error: VenueError) -> None:
        """Tell whoever waits for `ready` that it will not come."""
        if self.ready is not None and not self.ready.done():
            self.ready.set_exception(error)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await self._connect_once()
            if self.fatal is not None:
                self.refuse_ready(self.fatal)
                self.finished(self.fatal)
                raise self.fatal
            if self._is_closed:
                return
            if loop.time() - started >= STABLE_SECONDS:
                self._failures = 0
            self._failures += 1
            _log.warning("%s: %s; connecting again", self._options.url, self.loss_reason)
            await asyncio.sleep(self._pause_seconds())

    def _pause_seconds(self) -> float:
        if self._failures >= BREAKER_FAILURES:
            if self._failures == BREAKER_FAILURES:
                self.counters["breaker_openings"] += 1
                reason = (
                    f"the circuit breaker is open after {BREAKER_FAILURES} failures in a row, "
                    f"the last one: {self.loss_reason}"
                )
                _log.error("%s: %s", self._options.url, reason)
                self.tripped(reason)
            return random.uniform(BACKOFF_SECONDS_MAX / 2, BACKOFF_SECONDS_MAX)
        bound = min(BACKOFF_SECONDS_FIRST * 2 ** (self._failures - 1), BACKOFF_SECONDS_MAX)
        return random.uniform(0.0, bound)

    # One connection

    async def _connect_once(self) -> None:
        options = self._options
        listener = self.listener = self.make_listener()
        connections_before = self.counters["connections"]
        is_proxy_secure = options.proxy is not None and options.proxy.startswith("https://")
        try:
            async with asyncio.timeout(options.timeout_seconds):
                transport, _ = await ws_connect(
                    lambda *_: listener,
                    options.url,
                    ssl_context=options.ssl_context,
                    proxy=options.proxy,
                    proxy_ssl_context=options.ssl_context if is_proxy_secure else None,
                    extra_headers={"User-Agent": options.user_agent},
                    websocket_handshake_timeout=options.timeout_seconds,
                    # Answered by the listener: picows would keep a ping to itself, and with it
                    # the mark that a burst has ended.
                    enable_auto_pong=False,
                    max_frame_size=MESSAGE_BYTES_MAX,
                    max_redirects=0,
                    logger_name=_log,
                )
        except (OSError, WSError, TimeoutError, ProxyError) as error:
            self.loss_reason = f"cannot connect: {type(error).__name__}: {error}"
            if options.url.startswith("wss:") and (
                isinstance(error, TimeoutError) or IS_NOT_TLS.search(str(error))
            ):
                self.loss_reason += "; if the venue does not speak TLS there, url begins with ws://"
            return
        try:
            await transport.wait_disconnected()
        except asyncio.CancelledError:
            transport.disconnect(graceful=False)
            raise
        except WSError as error:
            self.loss_reason = f"protocol error: {error}"
        except Exception as error:  # raised while a frame was handled: picows closed the connection
            self._report(error, "the connection was closed by an exception")
        else:
            if self.counters["connections"] == connections_before:
                # picows does not raise then.
                self.loss_reason = "cannot connect: the server closed without an answer"
                if options.url.startswith("ws:"):
                    self.loss_reason += "; if it speaks TLS there, url begins with wss://"

    def drop(self, reason: str, *, graceful: bool = False) -> None:
        """End the connection; another one follows unless it was `close` that asked."""
        if self.transport is None:
            return
        self.loss_reason = self.loss_reason or reason
        if graceful:
            self.transport.send_close()
        self.transport.disconnect(graceful)

    def later(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        """Call a function after some time, unless the connection ends before."""

        def run() -> None:
            self._timers.discard(timer)
            function(*arguments)

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)

    def _beat(self) -> None:
        if self.transport is None:
            return
        self.transport.send_ping()
        self.later(self._options.pong_timeout_seconds, self._check_pong, self._pongs)
        self.later(self._options.ping_interval_seconds, self._beat)

    def _check_pong(self, pongs_before: int) -> None:
        if self._pongs == pongs_before:
            self.drop(f"no pong within {self._options.pong_timeout_seconds} s")

    # What the listener tells of the connection

    def on_connected(self, transport: WSTransport) -> None:
        """Begin."""
        self.transport = transport
        self.loss_reason = ""
        self.counters["connections"] += 1
        if self._busy_poll is not None:
            self._busy_poll.start()
        self.later(self._options.ping_interval_seconds, self._beat)
        self.began()

    def on_disconnected(self, transport: WSTransport) -> None:
        """End what belongs to the connection."""
        if self.transport is None:
            return
        self.transport = None
        if self._busy_poll is not None:
            self._busy_poll.stop()
        self.counters["disconnections"] += 1
        self.counters.update(self.frame_counters())
        self.listener = None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.loss_reason = self.loss_reason or _refusal(transport) or "the connection was lost"
        self.ended(self.loss_reason)

    def on_pong(self) -> None:
        """Note that the venue is alive."""
        self._pongs += 1

    def on_close(self, code: int, reason: str) -> None:
        """Note why the venue closes; a ban is final."""
        told = f"closed by the venue with code {code} {reason}".rstrip()
        # Unless it only answers ours, whose reason came first.
        self.loss_reason = self.loss_reason or _refusal(self.transport) or told
        if code in _BANNED_CODES and _BANNED.search(reason):
            self.fatal = AuthenticationError(told, endpoint=self._options.url)

    def on_protocol_error(self, reason: str) -> None:
        """Note why the connection is being closed."""
        self.loss_reason = f"protocol error: {reason}"


def _refusal(transport: WSTransport | None) -> str:
    # What picows found wrong with a frame is told to `wait_disconnected` only, which is too late.
    handshake = transport.close_handshake if transport is not None else None
    sent = handshake.sent if handshake is not None else None
    return f"protocol error: {sent.reason} (closed with code {sent.code:d})" if sent else ""


def _end(ready: "asyncio.Future[None]", runner: "asyncio.Task[None]") -> None:
    # Whoever only calls `connect` never looks at it.
    error = None if runner.cancelled() else runner.exception()
    if error is not None:
        _log.error("the connection has ended for good: %s", error)
        if not ready.done():
            ready.set_exception(error)
