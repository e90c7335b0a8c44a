"""The client's side of one WebSocket conversation, as a state machine without sockets or clocks.

The owner calls `opened` when a socket is up, hands every text frame to `receive`, sends what
`take_outgoing` returns, and calls `lost` when the socket is gone. What should be subscribed is kept
over reconnects: login goes first, public subscriptions follow at once, private ones when the
login has been acknowledged.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, Literal, NamedTuple

from nkfast.errors import (
    InvalidOrderError,
    PermissionDeniedError,
    SymbolNotFoundError,
    VenueError,
)
from nkfast.wire import codec
from nkfast.wire.endpoints import RateClass
from nkfast.wire.symbols import TradingPair

__all__ = [
    "RESYNC_PAUSE_SECONDS",
    "Answer",
    "ClientSession",
    "Complaint",
    "Event",
    "LateAnswer",
    "LoginDone",
    "LoginRefused",
    "News",
    "Refusal",
    "Subscription",
    "SubscriptionDone",
    "SubscriptionRefused",
    "changes",
]

#: Between unsubscribing a book that has a gap and subscribing it again (protocol 2.4).
RESYNC_PAUSE_SECONDS = 0.2
#: So many requests that were given up are remembered, to recognise their late answers.
FORGOTTEN_MAX = 1024

Channel = Literal["order_book", "trades", "ticker", "candles", "reports", "balances"]
_SUBSCRIBE: dict[Channel, str] = {
    "order_book": "subscribeOrderbook",
    "trades": "subscribeTrades",
    "ticker": "subscribeTicker",
    "candles": "subscribeCandles",
    "reports": "subscribeReports",
    "balances": "subscribeBalances",
}
#: The first answer of the two private channels is also their content, in one of several forms.
_FIRST_NEWS = {"reports": "activeOrders", "balances": "currentBalances"}
#: Refusals of a subscription that the next connection would meet as well.
_NEVER = (SymbolNotFoundError, InvalidOrderError, PermissionDeniedError)
#: Requests that change something, and the allowance they draw on.
_CHANGES: dict[str, RateClass] = {"newOrder": "orders", "cancelOrder": "cancels"}


def changes(method: str) -> bool:
    """Return whether a request of this method may change something at the venue."""
    return method in _CHANGES


@dataclass(frozen=True, slots=True)
class Subscription:
    """One thing to be told of, kept over reconnects.

    Parameters
    ----------
    channel : {"order_book", "trades", "ticker", "candles", "reports", "balances"}
    symbol : str
        ``BASE/QUOTE``; empty for the two channels of the account.
    limit : int
        Levels a side of a book, or bars; 0 leaves it to the venue.
    period_minutes : int
        Of candles; 0 for other channels.
    """

    channel: Channel
    symbol: str = ""
    limit: int = 0
    period_minutes: int = 0

    @property
    def is_private(self) -> bool:
        """Whether a login is needed."""
        return self.channel in _FIRST_NEWS

    @property
    def method(self) -> str:
        """The venue's name of the subscribing request."""
        return _SUBSCRIBE[self.channel]

    def params(self, *, unsubscribe: bool = False) -> dict[str, object]:
        """Return the parameters of the request."""
        params: dict[str, object] = {}
        if self.symbol:
            params["symbol"] = self.symbol
        if self.period_minutes:
            params["period"] = self.period_minutes
        if self.limit and not unsubscribe:
            params["limit"] = self.limit
        return params


_REPORTS = Subscription("reports")


class LoginDone(NamedTuple):
    """The login was acknowledged."""


class LoginRefused(NamedTuple):
    """The venue refused the login: nothing private will come on this connection."""

    error: VenueError


class SubscriptionDone(NamedTuple):
    """A subscription was acknowledged."""

    subscription: Subscription


class SubscriptionRefused(NamedTuple):
    """A subscription was refused.

    It stays wanted, for the next connection to ask again, unless ``is_final``: the venue does not
    know the market, or the key may not have it, and asking again cannot help.
    """

    subscription: Subscription
    error: VenueError
    is_final: bool


class Answer(NamedTuple):
    """The result of a request."""

    request_id: int
    result: Any


class Refusal(NamedTuple):
    """The error that a request was answered with."""

    request_id: int
    error: VenueError


class LateAnswer(NamedTuple):
    """An answer to a request that was given up: information, but nobody waits for it."""

    method: str
    result: Any
    error: Any


class News(NamedTuple):
    """A notification. ``activeOrders`` and ``currentBalances`` are always lists here."""

    method: str
    params: Any


class Complaint(NamedTuple):
    """An error that answers no request of ours."""

    error: VenueError


Event = (
    LoginDone
    | LoginRefused
    | SubscriptionDone
    | SubscriptionRefused
    | Answer
    | Refusal
    | LateAnswer
    | News
    | Complaint
)


class _Pending(NamedTuple):
    method: str
    kind: Literal["login", "subscribe", "unsubscribe", "request"]
    subscription: Subscription | None = None


@lru_cache(maxsize=64)
def _request(method: str) -> _Pending:
    # One for all requests of a method: to make a new one would take as long as all the rest.
    return _Pending(method, "request")


class ClientSession:
    """The state of one conversation.

    Parameters
    ----------
    login : callable or None
        Returns the parameters of a login, new ones for every call (`Signer.login`). None for a
        session without an account.

    Attributes
    ----------
    ids : iterator of int
        Of all requests: the session takes its own from it, and so does whoever sends others.
    takes_orders : bool
        Whether an order's fate would be heard of: logged in, and reports, if wanted, flow. Kept
        ready, because it is asked before every order.
    counters : dict
        ``late_answers``, ``unknown_answers`` and ``stray_frames`` since the beginning.
    """

    def __init__(self, login: Callable[[], Mapping[str, str]] | None = None) -> None:
        self._login = login
        self._wanted: dict[Subscription, None] = {}
        # Public subscriptions that this connection has not asked for yet, first one first.
        self._unasked: deque[Subscription] = deque()
        self._active: set[Subscription] = set()
        self._pending: dict[int, _Pending] = {}
        self._forgotten: dict[int, str] = {}
        self._outgoing: list[bytes] = []
        self._last_id = 0
        self.ids = count(1)
        self._is_open = False
        self._is_logged_in = False
        self.takes_orders = False
        # Books whose snapshot is on its way, with the id of the request that asked for it.
        self._awaited: dict[str, int] = {}
        self._resyncing: set[str] = set()
        self.counters = {"late_answers": 0, "unknown_answers": 0, "stray_frames": 0}

    @property
    def is_open(self) -> bool:
        """Whether there is a socket."""
        return self._is_open

    @property
    def has_login(self) -> bool:
        """Whether the session is made for an account."""
        return self._login is not None

    @property
    def is_logged_in(self) -> bool:
        """Whether the login of this connection has been acknowledged."""
        return self._is_logged_in

    @property
    def is_ready(self) -> bool:
        """Whether login and all subscriptions have been acknowledged."""
        return (
            self._is_open
            and (self._is_logged_in or self._login is None)
            and self._active >= self._wanted.keys()
        )

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """What is wanted, in the order of asking."""
        return tuple(self._wanted)

    def is_active(self, subscription: Subscription) -> bool:
        """Return whether a subscription is acknowledged on this connection."""
        return subscription in self._active

    def take_outgoing(self) -> list[bytes]:
        """Return the frames to send now, in order, and forget them."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def opened(
        self,
        burst: int | None = None,
        priority: Callable[[Subscription], int] | None = None,
    ) -> None:
        """Take note of a new socket: log in and ask again for everything that is wanted.

        Parameters
        ----------
        burst : int or None
            So many public subscriptions are asked for at once, the others by `ask_more`; None asks
            for all. Private ones are few and never wait.
        priority : callable or None
            The lower its value, the earlier a subscription is asked for; equal ones, and all
            without it, go in the order of wanting.
        """
        self._is_open = True
        if self._login is not None:
            self._send("login", self._login(), "login")
        public = [row for row in self._wanted if not row.is_private]
        if priority is not None:
            public.sort(key=priority)
        self._unasked.extend(public)
        self.ask_more(burst)

    def ask_more(self, count: int | None = None) -> bool:
        """Ask for the next subscriptions, all if no count is given; return whether more wait."""
        while self._unasked and (count is None or count > 0):
            self._subscribe(self._unasked.popleft())
            count = None if count is None else count - 1
        return bool(self._unasked)

    def lost(self) -> list[int]:
        """Take note that the socket is gone; return the requests that will get no answer."""
        unanswered = [number for number, row in self._pending.items() if row.kind == "request"]
        self._pending.clear()
        self._outgoing.clear()
        self._unasked.clear()
        self._active.clear()
        self._awaited.clear()
        self._resyncing.clear()
        self._is_open = self._is_logged_in = self.takes_orders = False
        return unanswered

    def expect(self, request_id: int, method: str) -> None:
        """Take note that a request with an id of `ids` was sent by somebody else.

        The way for those in a hurry: the frame is on the socket before the session hears of it.
        """
        self._pending[request_id] = _request(method)

    def forget(self, request_id: int) -> Subscription | None:
        """Give an unanswered request up; a late answer to it becomes a `LateAnswer`.

        Returns
        -------
        Subscription or None
            The subscription that was asked for, if the request was one.
        """
        row = self._pending.pop(request_id, None)
        if row is None:
            return None
        self._forgotten[request_id] = row.method
        if len(self._forgotten) > FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]
        return row.subscription

    def overdue(self, newest_id: int) -> list[str]:
        """Return what the session itself asked for, up to a request id, and has not got yet.

        Logins and subscriptions that were not acknowledged, and books without a snapshot. What is
        returned twice, at a distance in time, will not come any more: drop the connection.
        """
        return [
            row.method
            for number, row in self._pending.items()
            if number <= newest_id and row.kind != "request"
        ] + [
            f"snapshot of {symbol}"
            for symbol, number in self._awaited.items()
            if number <= newest_id
        ]

    @property
    def last_id(self) -> int:
        """The id of the newest request that the session sent itself."""
        return self._last_id

    def subscribe(self, subscription: Subscription) -> None:
        """Want something from now on. What is wanted already stays as it is."""
        if subscription in self._wanted:
            return
        self._wanted[subscription] = None
        self._check_takes_orders()
        if self._is_open and (self._is_logged_in or not subscription.is_private):
            self._subscribe(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Want something no longer."""
        if subscription not in self._wanted:
            return
        del self._wanted[subscription]
        self._check_takes_orders()
        self._deactivate(subscription)
        if subscription in self._unasked:
            self._unasked.remove(subscription)
            return
        if subscription.channel == "order_book":
            self._awaited.pop(subscription.symbol, None)
            self._resyncing.discard(subscription.symbol)
        # The venue has no unsubscribeBalances; what still comes is not asked for by anybody.
        if self._is_open and subscription.channel != "balances":
            self._unsubscribe(subscription)

    def book_arrived(self, symbol: str) -> None:
        """Take note of a snapshot."""
        self._awaited.pop(symbol, None)

    def restart(self, subscription: Subscription) -> bool:
        """Unsubscribe and subscribe something that fell silent; True if that was possible now.

        Not for books, which `book_lost` restarts, and not where the venue cannot unsubscribe.
        """
        if subscription not in self._active or subscription.is_private:
            return False
        self._deactivate(subscription)
        self._unsubscribe(subscription)
        self._subscribe(subscription)
        return True

    def book_lost(self, symbol: str) -> bool:
        """Take note of a gap; the book is unsubscribed.

        Returns
        -------
        bool
            True when the caller should call `ask_book_again` after `RESYNC_PAUSE_SECONDS`; False
            when a snapshot is on its way already, or nobody wants the book.
        """
        subscription = self._book(symbol)
        if not self._is_open or subscription is None:
            return False
        if symbol in self._awaited or symbol in self._resyncing:
            return False
        self._resyncing.add(symbol)
        self._unsubscribe(subscription)
        return True

    def ask_book_again(self, symbol: str) -> None:
        """Subscribe a book again after `book_lost`."""
        subscription = self._book(symbol)
        if self._is_open and subscription is not None and symbol in self._resyncing:
            self._resyncing.discard(symbol)
            self._subscribe(subscription)

    def receive(self, buffer: bytes | bytearray | memoryview) -> list[Event]:
        """Return what one text frame of the venue means.

        Raises
        ------
        WireError
            The frame is not in the venue's language; the session is as it was.
        """
        frame = codec.decode_frame(buffer)
        if frame.kind == "notification":
            return self._notified(frame.method, frame.params)
        if frame.id is None:
            return self._unaddressed(frame)
        row = self._pending.pop(frame.id, None) if isinstance(frame.id, int) else None
        if row is None:
            return self._unexpected(frame)
        if frame.error is not None:
            return self._refused(frame.id, row, frame.error)
        return self._answered(frame.id, row, frame.result)

    def _notified(self, method: str, params: Any) -> list[Event]:
        events: list[Event] = []
        if method == "snapshotOrderbook" and isinstance(params, Mapping):
            symbol = params.get("symbol")
            if isinstance(symbol, str):
                self.book_arrived(symbol)
        for channel, news in _FIRST_NEWS.items():
            if method == news:
                # Documentation's form: no answer with an id will follow.
                events += self._acknowledge_by_content(channel)
        # Balance updates have been seen without content; an empty list of orders is content.
        is_list = isinstance(params, list)
        if is_list if method in _FIRST_NEWS.values() else params:
            events.append(News(method, params))
        return events

    def _acknowledge_by_content(self, channel: str) -> list[Event]:
        for number, row in self._pending.items():
            subscription = row.subscription
            if row.kind == "subscribe" and subscription and subscription.channel == channel:
                del self._pending[number]
                self._activate(subscription)
                return [SubscriptionDone(subscription)]
        return []

    def _unaddressed(self, frame: codec.Frame) -> list[Event]:
        if frame.kind == "both":
            return self._notified(frame.method, frame.params)
        if frame.error is not None:
            return [Complaint(codec.venue_error(frame.error, endpoint="", changes=False))]
        self.counters["stray_frames"] += 1
        return []

    def _unexpected(self, frame: codec.Frame) -> list[Event]:
        if isinstance(frame.id, int) and frame.id in self._forgotten:
            self.counters["late_answers"] += 1
            return [LateAnswer(self._forgotten.pop(frame.id), frame.result, frame.error)]
        self.counters["unknown_answers"] += 1
        return []

    def _refused(self, number: object, row: _Pending, error: object) -> list[Event]:
        exception = codec.venue_error(
            error,
            endpoint=row.method,
            changes=changes(row.method),
            rate_class=_CHANGES.get(row.method, "private"),
        )
        if row.kind == "login":
            return [LoginRefused(exception)]
        if row.kind == "subscribe" and row.subscription is not None:
            return [self._subscription_refused(row.subscription, exception)]
        if row.kind == "request" and isinstance(number, int):
            return [Refusal(number, exception)]
        return [Complaint(exception)]

    def _subscription_refused(
        self, subscription: Subscription, error: VenueError
    ) -> SubscriptionRefused:
        if subscription.channel == "order_book":
            self._awaited.pop(subscription.symbol, None)
        is_final = isinstance(error, _NEVER)
        if is_final:
            self._wanted.pop(subscription, None)
            self._check_takes_orders()
        return SubscriptionRefused(subscription, error, is_final)

    def _answered(self, number: object, row: _Pending, result: Any) -> list[Event]:
        if row.kind == "login":
            if result is not True:
                error = codec.venue_error(
                    {"code": 1002, "message": f"login answered {result!r}"[:200]},
                    endpoint="login",
                    changes=False,
                )
                return [LoginRefused(error)]
            self._is_logged_in = True
            self._check_takes_orders()
            for subscription in self._wanted:
                if subscription.is_private:
                    self._subscribe(subscription)
            return [LoginDone()]
        if row.kind == "subscribe" and row.subscription is not None:
            return self._subscribed(row.subscription, result)
        if row.kind == "request" and isinstance(number, int):
            return [Answer(number, result)]
        return []

    def _subscribed(self, subscription: Subscription, result: Any) -> list[Event]:
        if subscription not in self._wanted:
            return []
        self._activate(subscription)
        events: list[Event] = [SubscriptionDone(subscription)]
        if subscription.is_private and isinstance(result, list):
            events.append(News(_FIRST_NEWS[subscription.channel], result))
        return events

    def _activate(self, subscription: Subscription) -> None:
        self._active.add(subscription)
        self._check_takes_orders()

    def _deactivate(self, subscription: Subscription) -> None:
        self._active.discard(subscription)
        self._check_takes_orders()

    def _check_takes_orders(self) -> None:
        is_told = _REPORTS in self._active or _REPORTS not in self._wanted
        self.takes_orders = self._is_logged_in and is_told

    def _send(
        self,
        method: str,
        params: Mapping[str, object],
        kind: Literal["login", "subscribe", "unsubscribe"],
        subscription: Subscription | None = None,
    ) -> int:
        number = self._last_id = next(self.ids)
        self._outgoing.append(codec.encode_request(method, params, number))
        self._pending[number] = _Pending(method, kind, subscription)
        return number

    def _subscribe(self, subscription: Subscription) -> None:
        number = self._send(subscription.method, subscription.params(), "subscribe", subscription)
        if subscription.channel == "order_book":
            self._awaited[subscription.symbol] = number

    def _unsubscribe(self, subscription: Subscription) -> None:
        params = subscription.params(unsubscribe=True)
        self._send(f"un{subscription.method}", params, "unsubscribe", subscription)

    def _book(self, symbol: str) -> Subscription | None:
        wanted = TradingPair.parse(symbol).symbol
        for subscription in self._wanted:
            if subscription.channel == "order_book" and subscription.symbol == wanted:
                return subscription
        return None
