"""What is said over the kept socket: logins, subscriptions, requests, and the news that come.

The meeting point of the parts. The session knows the venue's language, `InFlight` the requests
that wait, `Handlers` who is to be told, and `Freshness` whether what is subscribed really flows.
"""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from picows import WSMsgType

from nkfast.client.assembly import Tap
from nkfast.client.busy_poll import BusyPoll
from nkfast.client.freshness import Freshness
from nkfast.client.handlers import Handlers
from nkfast.client.inflight import InFlight
from nkfast.client.kept_socket import KeptSocket, SocketOptions
from nkfast.client.listener import Listener
from nkfast.client.streams import Stream
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.errors import (
    AuthenticationError,
    ConfigError,
    NonceError,
    PermissionDeniedError,
    VenueError,
    WireError,
)
from nkfast.wire import client_session
from nkfast.wire.client_session import Channel, ClientSession, Subscription

__all__ = ["Conversation", "Owner", "TalkOptions"]

#: Subscriptions that wait for their turn are asked for in steps of this length.
PACE_SECONDS = 0.1

# Looking a member up in its enumeration costs as much as a small message.
_TEXT = WSMsgType.TEXT

_log = logging.getLogger("nkfast.client.websocket")


@dataclass(frozen=True, kw_only=True)
class TalkOptions:
    """How to talk; `WebSocketClient` describes them.

    Raises
    ------
    ConfigError
        One of them makes no sense.
    """

    stale_after_seconds: dict[Channel, float]
    malformed_max: int
    malformed_window_seconds: float
    subscriptions_per_second: float
    subscription_priority: Callable[[Subscription], int] | None
    allow_changes: bool
    busy_poll: bool
    clock_ns: Callable[[], int]

    def __post_init__(self) -> None:
        numbers = (
            self.malformed_max,
            self.malformed_window_seconds,
            self.subscriptions_per_second,
        )
        if self.malformed_max < 1 or min(numbers) <= 0:
            raise ConfigError(
                "malformed_max, malformed_window_seconds and subscriptions_per_second must be "
                f"positive, were {', '.join(map(str, numbers))}"
            )

    @property
    def burst(self) -> int:
        """Subscriptions that are asked for in one step of `PACE_SECONDS`."""
        return max(1, round(self.subscriptions_per_second * PACE_SECONDS))


@dataclass(kw_only=True)
class Owner:
    """Whom to tell; `WebSocketClient` describes them."""

    on_book: Callable[[int, int], object] | None
    on_connection: Callable[[bool, str], object] | None
    on_refusal: Callable[[Subscription, VenueError], object] | None
    on_late_outcome: Callable[[str, Any, Any], object] | None
    tap: Tap | None


class Conversation(KeptSocket):
    """Talks to the venue over one connection after the other, as the client wants it.

    Parameters
    ----------
    socket_options : SocketOptions
    options : TalkOptions
    session : ClientSession
    decoder : FrameDecoder or None
    owner : Owner

    Attributes
    ----------
    handlers : Handlers
    requests : InFlight
    streams : set of Stream
        What ends with the client.
    """

    def __init__(
        self,
        socket_options: SocketOptions,
        options: TalkOptions,
        session: ClientSession,
        decoder: FrameDecoder | None,
        owner: Owner,
    ) -> None:
        counters: dict[str, int] = {}
        self.handlers = Handlers(counters, self.drop)
        super().__init__(
            socket_options,
            counters,
            self.handlers.report,
            BusyPoll() if options.busy_poll else None,
        )
        for name in ("rejected_messages", "complaints", "refused_subscriptions", "late_outcomes"):
            counters[name] = 0
        self.session = session
        self.decoder = decoder
        self.owner = owner
        self._talk_options = options
        self._malformed_times: deque[float] = deque(maxlen=options.malformed_max)
        self._is_up = False
        self.requests = InFlight(
            session,
            counters,
            allow_changes=options.allow_changes,
            timeout_seconds=socket_options.timeout_seconds,
            on_swallowed=self.drop,
            on_late_outcome=self.tell_late_outcome,
        )
        self._freshness = Freshness(
            self, session, decoder, counters, options.stale_after_seconds, options.clock_ns
        )
        self.streams: set[Stream[Any]] = set()
        self._book_streams: dict[int, list[Stream[OrderBook]]] = {}

    @property
    def is_ready(self) -> bool:
        """Whether login and all subscriptions are acknowledged on a live connection."""
        return self.transport is not None and self.session.is_ready

    def all_counters(self) -> dict[str, int]:
        """What happened since the beginning, by name."""
        dropped = {"dropped_news": self.handlers.dropped}
        return self.frame_counters() | dropped | self.session.counters

    def flush(self) -> None:
        """Send what the session has to say."""
        transport = self.transport
        if transport is not None:
            for frame in self.session.take_outgoing():
                transport.send(_TEXT, frame)

    def tune(self) -> None:
        """Let the listener know who wants what of order books; after any change of that."""
        if self.listener is not None:
            self.listener.wants_books = self.handlers.wants_books
            self.listener.book_callback = None if self._book_streams else self.owner.on_book

    def add_book_stream(self, market_index: int, stream: Stream[OrderBook]) -> None:
        """Put the book there whenever it changed."""
        self._book_streams.setdefault(market_index, []).append(stream)
        self.tune()

    def remove_book_stream(self, stream: Stream[Any]) -> None:
        """Put nothing there any more."""
        kept = {
            index: [row for row in streams if row is not stream]
            for index, streams in self._book_streams.items()
        }
        self._book_streams = {index: streams for index, streams in kept.items() if streams}
        self.tune()

    async def close(self) -> None:
        """End it all for good; unanswered requests end as unknown or unreachable."""
        await super().close()
        self.handlers.close()
        self.requests.close()
        self._finish_streams(self.fatal)

    # The life of the connection

    def make_listener(self) -> Listener:
        """Return a listener that tells this conversation."""
        return Listener(self, self.decoder, self.owner.tap, self._talk_options.clock_ns)

    def began(self) -> None:
        """Log in and subscribe."""
        options = self._talk_options
        assert self.transport is not None and self.listener is not None
        self.tune()
        self.requests.opened(self.transport, self.listener)
        self.session.opened(options.burst, options.subscription_priority)
        self.flush()
        if self.session.ask_more(0):
            self.later(PACE_SECONDS, self._ask_more)
        self.later(self._options.timeout_seconds, self._check_overdue, 0)
        self._freshness.began()
        self._check_ready()

    def ended(self, reason: str) -> None:
        """Let the books go stale and end every request."""
        self._malformed_times.clear()
        self._freshness.ended()
        self.requests.lost(self.session.lost(), reason)
        if self._is_up:
            self._is_up = False
            self.handlers.call(self.owner.on_connection, False, reason)
        if self.decoder is not None:
            now_ns = self._talk_options.clock_ns()
            for index in range(len(self.decoder.markets)):
                self.on_book(index, now_ns)

    def tripped(self, reason: str) -> None:
        """Tell that connecting is tried rarely from now on."""
        self.handlers.call(self.owner.on_connection, False, reason)

    def finished(self, error: VenueError) -> None:
        """Tell the readers why nothing more comes."""
        self._finish_streams(error)

    def _finish_streams(self, error: VenueError | None) -> None:
        for stream in [*self.streams]:
            stream.finish(error)

    def _ask_more(self) -> None:
        if self.session.ask_more(self._talk_options.burst):
            self.later(PACE_SECONDS, self._ask_more)
        self.flush()

    def _check_overdue(self, newest_id: int) -> None:
        overdue = self.session.overdue(newest_id)
        if overdue:
            self.counters["timeouts"] += 1
            self.drop(f"not acknowledged: {', '.join(overdue)}")
            return
        self.later(self._options.timeout_seconds, self._check_overdue, self.session.last_id)

    def _check_ready(self) -> None:
        if self._is_up or not self.session.is_ready:
            return
        self._is_up = True
        if self.ready is not None and not self.ready.done():
            self.ready.set_result(None)
        self.handlers.call(self.owner.on_connection, True, "ready")

    # What the listener tells

    def on_message(self, payload: bytes, received_ns: int) -> None:
        """Hand the message to whom it concerns."""
        try:
            events = self.session.receive(payload)
        except WireError as error:
            self.reject(error)
            return
        for event in events:
            self._handle(event)
        self.flush()
        if not self._is_up:
            self._check_ready()

    def on_snapshot(self, market_index: int) -> None:
        """Note that the book is there."""
        self._freshness.book_arrived(market_index)

    def on_gap(self, market_index: int) -> None:
        """Ask for a new snapshot."""
        self._freshness.book_lost(market_index)

    def on_rejected(self) -> None:
        """Note that the venue speaks nonsense, in case it goes on."""
        now, times = asyncio.get_running_loop().time(), self._malformed_times
        times.append(now)
        window = self._talk_options.malformed_window_seconds
        if len(times) == times.maxlen and now - times[0] <= window:
            times.clear()
            self.drop(f"{times.maxlen} malformed messages within {window} s")

    def on_book(self, market_index: int, received_ns: int) -> None:
        """Tell the owner."""
        callback = self.owner.on_book
        if callback is not None:
            try:
                result = callback(market_index, received_ns)
            except Exception as error:
                self.on_book_called(market_index, None, error)
            else:
                self.on_book_called(market_index, result, None)
        if self._book_streams:
            assert self.decoder is not None
            for stream in self._book_streams.get(market_index, ()):
                stream.put(self.decoder.book(self.decoder.markets[market_index].symbol), "")

    def on_book_called(self, market_index: int, result: object, error: Exception | None) -> None:
        """Isolate the owner's callback, as `Handlers.call` does; books conflate by market."""
        callback = self.owner.on_book
        assert callback is not None
        if error is not None:
            self.handlers.report(error, f"{callback!r} failed")
        elif result is not None and inspect.isawaitable(result):
            self.handlers.lane(callback).run(result, market_index)

    def tell_late_outcome(self, method: str, about: object, outcome: object) -> None:
        """Tell how an order or a cancel ended that nobody waits for any more."""
        self.counters["late_outcomes"] += 1
        _log.warning("%s %s, no longer waited for: %s", method, about, outcome)
        self.handlers.call(self.owner.on_late_outcome, method, about, outcome)

    def reject(self, error: WireError) -> None:
        """Count a message that cannot be read."""
        self.counters["rejected_messages"] += 1
        _log.warning("a message was dropped: %s", error)
        self.on_rejected()

    def _handle(self, event: client_session.Event) -> None:
        match event:
            case client_session.Answer(number, result):
                self.requests.end(number, result)
            case client_session.Refusal(number, error):
                self.requests.end(number, error=error)
            case client_session.News(method, params):
                self._freshness.count(method, params)
                self.handlers.publish(method, params)
            case client_session.LoginRefused(error):
                self._refused_login(error)
            case client_session.SubscriptionRefused(subscription, error, True):
                self.counters["refused_subscriptions"] += 1
                _log.error("%s %s is given up: %s", subscription.method, subscription.symbol, error)
                self.refuse_ready(error)
                self.handlers.call(self.owner.on_refusal, subscription, error)
            case client_session.SubscriptionRefused(subscription, error, False):
                # Half of what is wanted is not ready, and asking again on this connection might go
                # on for ever: a new one asks for everything, at the pace of the pauses.
                self.refuse_ready(error)
                self.drop(f"{subscription.method} {subscription.symbol} was refused: {error}")
            case client_session.Complaint(error):
                self.counters["complaints"] += 1
                _log.warning("the venue complains: %s", error)
            case client_session.LateAnswer(method, result, error):
                _log.warning("late answer to %s: %s", method, result if error is None else error)
            case _:
                pass

    def _refused_login(self, error: VenueError) -> None:
        is_final = isinstance(error, AuthenticationError | PermissionDeniedError)
        if is_final and not isinstance(error, NonceError):
            self.fatal = error
        self.drop(f"login refused: {error}", graceful=True)
