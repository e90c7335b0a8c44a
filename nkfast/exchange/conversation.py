"""WebSocket conversations without sockets: what is said in them, under the weather, to everybody.

A `Conversation` is one connection from the exchange's side: frames go in, frames come out through
a `Line`, which is a socket or a client in the same process. A `Broadcast` tells all of them what
happens at the exchange.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from nkfast.errors import VenueError
from nkfast.exchange import shapes
from nkfast.exchange.accounts import Account
from nkfast.exchange.desk import ExchangeDesk, candles_message, trades_message
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.orders import Report, Side, Trade
from nkfast.exchange.weather import CALM, Fate, Lane, Weather
from nkfast.wire.server_session import (
    Channel,
    ServerSession,
    encode_notification,
    notified_method,
    requested_method,
)

__all__ = ["Broadcast", "Conversation", "Line"]

_REPORTS: Final = Channel("reports")
_BALANCES: Final = Channel("balances")


class Line(Protocol):
    """What carries a conversation's frames to its client."""

    def put(self, frame: bytes, is_cut: bool) -> None:
        """Send one frame after all before it; only half of it, and no more, if it is cut."""

    def reset(self) -> None:
        """Break off."""


class Conversation:
    """One connection: its session, and the weather between it and its client.

    Parameters
    ----------
    session : ServerSession
    receive : callable
        Lets the session receive a frame, at the exchange's time.
    weather : Weather
    line : Line
    """

    def __init__(
        self,
        session: ServerSession,
        receive: Callable[[ServerSession, str | bytes, VenueError | None], list[bytes]],
        weather: Weather,
        line: Line,
    ) -> None:
        self.session = session
        self._receive = receive
        self._weather = weather
        self._line = line
        self._inbound = Lane()
        self._outbound = Lane()
        self._later: list[bytes] | None = None
        self._is_over = False

    def answer(self, frame: str | bytes, refused: VenueError | None = None) -> None:
        """Take a request; what it causes follows its reply."""
        weather = self._weather
        if weather.is_calm and self._inbound.is_empty:
            self._execute(frame, refused, CALM)
            return
        fate = weather.request(requested_method(frame))
        self._inbound.send(fate.inbound_s, partial(self._execute, frame, refused, fate))

    def _execute(self, frame: str | bytes, refused: VenueError | None, fate: Fate) -> None:
        self._later = []
        if fate is CALM:
            replies = self._receive(self.session, frame, refused)
            later, self._later = self._later, None
            for reply in replies:
                if notified_method(reply) is None:
                    self._send(reply)
                else:
                    self.push(reply)
            for notification in later:
                self.push(notification)
            return
        replies = fate.run(partial(self._receive, self.session, frame, refused)) or []
        if fate.refusal is not None:
            replies = self.session.receive(frame, fate.refusal)
        later, self._later = self._later, None
        if fate.is_lost:
            self._outbound.send(fate.outbound_s, self.reset)
        elif fate.is_html and not replies:
            self._outbound.send(fate.outbound_s, partial(self._put, fate.body(b""), False))
        else:
            for reply in replies:
                if notified_method(reply) is None:
                    put = partial(self._put, fate.body(reply), fate.is_cut)
                    self._outbound.send(fate.outbound_s, put)
                else:
                    self.push(reply)
        for notification in later:
            self.push(notification)

    def push(self, frame: bytes) -> None:
        """Send a notification, as the weather lets it; after the reply that is being made."""
        if self._later is not None:
            self._later.append(frame)
            return
        weather = self._weather
        if weather.is_calm:
            self._send(frame)
            return
        for sending in weather.message(notified_method(frame) or "", frame):
            put = partial(self._put, sending.frame, sending.is_cut)
            if sending.is_loose:
                asyncio.get_running_loop().call_later(sending.delay_s, put)
            else:
                self._outbound.send(sending.delay_s, put)

    def reset(self) -> None:
        """Break off, and lose everything that is on the way."""
        self.end()
        self._line.reset()

    def end(self) -> None:
        """Send nothing any more."""
        self._is_over = True
        self._inbound.close()
        self._outbound.close()

    def _send(self, frame: bytes) -> None:
        if self._outbound.is_empty:
            self._put(frame, False)
        else:
            self._outbound.send(0.0, partial(self._put, frame, False))

    def _put(self, frame: bytes, is_cut: bool) -> None:
        if not self._is_over:
            self._is_over = is_cut
            self._line.put(frame, is_cut)


class Broadcast:
    """A listener of the exchange that tells every conversation what it subscribed to.

    Parameters
    ----------
    exchange : Exchange
    desk : ExchangeDesk
        Writes times and answers as its conversations expect.
    weather : Weather
        Is told of balances that change.
    recorded, on_frame
        Kinds of channels, and who is told each of their notifications, subscribed to or not.

    Attributes
    ----------
    conversations : dict
        In the order in which they came; whoever begins and ends them keeps it.
    """

    def __init__(
        self,
        exchange: Exchange,
        desk: ExchangeDesk,
        weather: Weather,
        *,
        recorded: Iterable[str] = (),
        on_frame: Callable[[bytes], None] | None = None,
    ) -> None:
        self.conversations: dict[Conversation, None] = {}
        self._exchange = exchange
        self._desk = desk
        self._weather = weather
        self._recorded = frozenset(recorded)
        self._on_frame = on_frame

    def on_report(self, report: Report) -> None:
        """Tell every connection of the account that asked for reports."""
        listening = self._listening(_REPORTS, report.order.account)
        if self._is_wanted(_REPORTS, listening):
            self._tell(_REPORTS, listening, "report", shapes.report(report))

    def on_book(
        self, listing: Listing, changes: Sequence[tuple[Side, int, int]], now_ms: int
    ) -> None:
        """Tell the levels that changed."""
        channel = Channel("orderbook", listing.symbol)
        listening = self._listening(channel)
        if self._is_wanted(channel, listening):
            params = shapes.book_changes(listing, changes, self._desk.book_time(now_ms))
            self._tell(channel, listening, "updateOrderbook", params)

    def on_trades(self, listing: Listing, trades: Sequence[Trade], now_ms: int) -> None:
        """Tell the trades, and the bars that they changed."""
        channel = Channel("trades", listing.symbol)
        listening = self._listening(channel)
        if self._is_wanted(channel, listening):
            self._tell(channel, listening, "updateTrades", trades_message(listing, trades))
        watched = {
            channel
            for conversation in self.conversations
            for channel in conversation.session.channels
            if channel.kind == "candles" and channel.symbol == listing.symbol
        }
        for channel in sorted(watched):
            params = candles_message(listing, channel.period, 1)
            self._tell(channel, self._listening(channel), "updateCandles", params)

    def on_ticker(self, listing: Listing, now_ms: int) -> None:
        """Tell the ticker."""
        channel = Channel("ticker", listing.symbol)
        listening = self._listening(channel)
        if self._is_wanted(channel, listening):
            params = shapes.stream_ticker(self._exchange, listing, now_ms)
            self._tell(channel, listening, "ticker", params)

    def on_balances(self, account: Account, assets: Iterable[str], now_ms: int) -> None:
        """Tell every connection of the account that asked for balances."""
        self._weather.on_balances(account, assets)
        listening = self._listening(_BALANCES, account)
        if self._is_wanted(_BALANCES, listening):
            for asset in assets:
                params = shapes.balance_change(self._exchange, account, asset)
                self._tell(_BALANCES, listening, "balanceUpdate", params)

    def _listening(self, channel: Channel, account: Account | None = None) -> list[Conversation]:
        if not self.conversations:
            return []
        return [
            conversation
            for conversation in self.conversations
            if channel in conversation.session.channels
            and (account is None or conversation.session.account == account.name)
        ]

    def _is_wanted(self, channel: Channel, listening: list[Conversation]) -> bool:
        # Most of what happens interests nobody, and what nobody reads is not written.
        return bool(listening) or (self._on_frame is not None and channel.kind in self._recorded)

    def _tell(
        self, channel: Channel, listening: list[Conversation], method: str, params: Any
    ) -> None:
        frame = encode_notification(method, params)
        if self._on_frame is not None and channel.kind in self._recorded:
            self._on_frame(frame)
        # The same bytes for all. A frame that is cut ends its conversation.
        for conversation in listening:
            conversation.push(frame)
