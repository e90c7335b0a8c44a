"""Keeps what is subscribed fresh: heals gaps in books, and finds streams that fell silent.

A silent book becomes stale and is asked for again; if it moved on without telling us several times
in a row, the connection is replaced. Other channels are asked for again, and the connection is
replaced if that brings nothing either.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nkfast.client.handlers import CHANNELS
from nkfast.client.staleness import CHECKS_PER_LIMIT, StalenessClock
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.errors import ConfigError
from nkfast.wire import client_session
from nkfast.wire.client_session import Channel, ClientSession, Subscription

__all__ = ["STALE_SECONDS", "Freshness", "Talk", "spelled"]

#: How long a subscription may be silent on a connection that is alive. What is missing may be
#: silent for ever: on a quiet market nobody trades for hours.
STALE_SECONDS: Mapping[Channel, float] = {"order_book": 60.0}
#: How often updates that wait for their predecessors are looked at.
HELD_CHECK_SECONDS = 0.5
#: A book that moved on without telling us, so often in a row, needs another connection.
DEAF_MAX = 2
#: Streams whose news are counted; a venue that invents symbols cannot grow more.
COUNTED_MAX = 10_000

_ACCOUNT: tuple[Channel, ...] = ("reports", "balances")


class Talk(Protocol):
    """What is needed of the connection."""

    def flush(self) -> None:
        """Send what the session has to say."""

    def drop(self, reason: str, *, graceful: bool = False) -> None:
        """Replace the connection."""

    def later(self, seconds: float, function: Callable[..., None], *arguments: object) -> None:
        """Call a function after some time on this connection."""

    def on_book(self, market_index: int, received_ns: int) -> None:
        """Tell the owner that a book changed, or its state."""


class Freshness:
    """Watches over the subscriptions of one connection after the other.

    Parameters
    ----------
    talk : Talk
    session : ClientSession
    decoder : FrameDecoder or None
        Keeper of the books.
    counters : dict of str to int
        ``resyncs``, ``silent_streams``.
    stale_after_seconds : mapping of channel to float
    clock_ns : callable

    Raises
    ------
    ConfigError
        `stale_after_seconds` names no channel or no time.
    """

    def __init__(
        self,
        talk: Talk,
        session: ClientSession,
        decoder: FrameDecoder | None,
        counters: dict[str, int],
        stale_after_seconds: Mapping[Channel, float],
        clock_ns: Callable[[], int],
    ) -> None:
        for channel, seconds in stale_after_seconds.items():
            if channel not in CHANNELS.values() or seconds <= 0:
                raise ConfigError(f"stale_after_seconds: {channel!r} has {seconds!r}")
        self._talk = talk
        self._session = session
        self._decoder = decoder
        self._counters = counters
        self._clock_ns = clock_ns
        self._limits = dict(stale_after_seconds)
        self._clock: StalenessClock[Subscription] = StalenessClock(
            lambda subscription: self._limits.get(subscription.channel)
        )
        self._news_counts: dict[tuple[Channel, str], int] = {}
        # By subscription: the mark at which it was last found silent.
        self._silent: dict[Subscription, int] = {}
        # By subscription: how often in a row its book had moved on in silence.
        self._deaf: dict[Subscription, int] = {}
        counters["resyncs"] = counters["silent_streams"] = 0

    def began(self) -> None:
        """Watch over a new connection."""
        if self._limits:
            self._talk.later(self._check_seconds(), self._check)
        if self._decoder is not None:
            self._talk.later(HELD_CHECK_SECONDS, self._expire_held)

    def ended(self) -> None:
        """Let the books go stale: the connection is gone."""
        self._silent.clear()
        self._deaf.clear()
        if self._decoder is not None:
            self._decoder.mark_stale()

    def count(self, method: str, params: Any) -> None:
        """Take note of a notification."""
        channel = CHANNELS.get(method)
        if channel in self._limits:
            symbol = params.get("symbol") if isinstance(params, Mapping) else None
            key = (channel, "" if channel in _ACCOUNT else spelled(symbol))
            if key in self._news_counts or len(self._news_counts) < COUNTED_MAX:
                self._news_counts[key] = self._news_counts.get(key, 0) + 1

    # Books

    def book_arrived(self, market_index: int) -> None:
        """Take note of a whole book."""
        assert self._decoder is not None
        symbol = self._decoder.markets[market_index].symbol
        self._session.book_arrived(symbol)
        if self._silent:
            self._judge_silence(symbol, self._decoder.book(symbol).sequence)

    def book_lost(self, market_index: int) -> None:
        """Ask for a new snapshot."""
        assert self._decoder is not None
        self._resync(self._decoder.markets[market_index].symbol)

    def _resync(self, symbol: str) -> None:
        if self._session.book_lost(symbol):
            self._counters["resyncs"] += 1
            self._talk.flush()
            self._talk.later(client_session.RESYNC_PAUSE_SECONDS, self._ask_book_again, symbol)

    def _ask_book_again(self, symbol: str) -> None:
        self._session.ask_book_again(symbol)
        self._talk.flush()

    def _expire_held(self) -> None:
        # An update that waits for one that never comes: only time can tell.
        assert self._decoder is not None
        now_ns = self._clock_ns()
        for index in self._decoder.expire(now_ns):
            self.book_lost(index)
            self._talk.on_book(index, now_ns)
        self._talk.later(HELD_CHECK_SECONDS, self._expire_held)

    # Silence

    def _check_seconds(self) -> float:
        return min(self._limits.values()) / CHECKS_PER_LIMIT

    def _check(self) -> None:
        self._talk.later(self._check_seconds(), self._check)
        now = asyncio.get_running_loop().time()
        for subscription in self._clock.check(self._marks(), now):
            self._counters["silent_streams"] += 1
            self._fell_silent(subscription)

    def _marks(self) -> dict[Subscription, int]:
        marks = {}
        for subscription in self._session.subscriptions:
            if not self._session.is_active(subscription):
                continue
            book = self._book_of(subscription)
            if book is None:
                key = (subscription.channel, subscription.symbol)
                marks[subscription] = self._news_counts.get(key, 0)
            elif book.state == "live":
                marks[subscription] = book.sequence
        return marks

    def _book_of(self, subscription: Subscription) -> OrderBook | None:
        if self._decoder is None or subscription.channel != "order_book":
            return None
        known = {market.symbol for market in self._decoder.markets}
        return self._decoder.book(subscription.symbol) if subscription.symbol in known else None

    def _fell_silent(self, subscription: Subscription) -> None:
        what = f"{subscription.channel} {subscription.symbol}".rstrip()
        book = self._book_of(subscription)
        if book is not None:
            assert self._decoder is not None
            self._silent[subscription] = book.sequence
            book.mark_stale()
            self._resync(subscription.symbol)
            self._talk.on_book(self._decoder.index(subscription.symbol), self._clock_ns())
            return
        mark = self._news_counts.get((subscription.channel, subscription.symbol), 0)
        is_second = self._silent.get(subscription) == mark
        self._silent[subscription] = mark
        if subscription.channel == "order_book" and not is_second:
            self._resync(subscription.symbol)
        elif is_second or not self._session.restart(subscription):
            self._talk.drop(f"{what} is silent")
        self._talk.flush()

    def _judge_silence(self, symbol: str, sequence: int) -> None:
        # A snapshot that goes on where the book was: the market is quiet. Otherwise updates were
        # kept from us.
        for subscription in [row for row in self._silent if row.symbol == symbol]:
            if self._silent.pop(subscription) == sequence:
                self._deaf.pop(subscription, None)
                continue
            count = self._deaf[subscription] = self._deaf.get(subscription, 0) + 1
            if count >= DEAF_MAX:
                self._talk.drop(f"order_book {symbol} moved on in silence {count} times")


def spelled(symbol: object) -> str:
    """Return a symbol of a notification as ``BASE/QUOTE``, empty if it is none."""
    return symbol.replace("_", "/") if isinstance(symbol, str) else ""
