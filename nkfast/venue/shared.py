"""One venue for several instances: one connection and one login, and each is told what concerns it.

An exchange counts connections and requests by account; fifty instances of one account share them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from nkfast.errors import ConfigError
from nkfast.venue.port import (
    BookLevels,
    Execution,
    Holding,
    NewOrder,
    OrderUpdate,
    PublicTrade,
    Venue,
    VenueListener,
)

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market

__all__ = ["Seat", "SharedVenue"]


class SharedVenue:
    """Shares a venue among seats, each of which is the venue of one instance.

    The venue is started with all markets by the first seat that starts, and closed by the last
    that closes; a seat that starts after that, or after a start that failed, gets a new one. Every
    seat of a market hears of its book, its trades and the account's orders on it; all hear of
    balances and of the connection.

    Parameters
    ----------
    make : callable
        Returns a venue that is not started yet.
    symbols : sequence of str
        Every market that a seat will want.

    Attributes
    ----------
    venue : Venue
        The newest one.
    """

    def __init__(self, make: Callable[[], Venue], symbols: Sequence[str]) -> None:
        self.venue = make()
        self._make = make
        self._is_fresh = True
        self._symbols = tuple(dict.fromkeys(symbols))
        self._listeners: dict[str, list[VenueListener]] = {name: [] for name in self._symbols}
        self._seats: list[Seat] = []
        self._starting: asyncio.Task[None] | None = None
        self._connection: tuple[bool, str] | None = None

    def seat(self) -> "Seat":
        """Return a venue for one instance."""
        return Seat(self)

    # What the seats ask ------------------------------------------------------------------------

    async def enter(self, seat: "Seat", symbols: Sequence[str], listener: VenueListener) -> None:
        """Take a seat in, start the venue if nobody has; what is told from now on, it hears."""
        unknown = [symbol for symbol in symbols if symbol not in self._listeners]
        if unknown:
            raise ConfigError(f"the shared venue was not made for {', '.join(unknown)}", "symbols")
        self._seats.append(seat)
        for symbol in symbols:
            self._listeners[symbol].append(listener)
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        # Shielded: one instance that gives up does not end the start of the others.
        await asyncio.shield(self._starting)
        if self._connection is not None:
            listener.on_connection(*self._connection)

    async def leave(self, seat: "Seat", listener: VenueListener) -> None:
        """Tell a seat nothing more; close the venue when it was the last."""
        if seat not in self._seats:
            return
        self._seats.remove(seat)
        for listeners in self._listeners.values():
            listeners[:] = [one for one in listeners if one is not listener]
        if not self._seats:
            starting, self._starting = self._starting, None
            venue = self.venue
            if starting is not None and not starting.done():
                starting.cancel()
                await asyncio.wait([starting])
            await venue.close()

    async def _start(self) -> None:
        if not self._is_fresh:
            self.venue = self._make()
        self._is_fresh = False
        self._connection = None
        venue = self.venue
        try:
            await venue.start(self._symbols, self)
        except BaseException:
            if self.venue is venue:
                self._starting = None
            await venue.close()
            raise

    # What the venue tells (VenueListener) ------------------------------------------------------

    def on_book(self, symbol: str, received_ns: int) -> None:
        """Tell the seats of the market."""
        for listener in tuple(self._listeners[symbol]):
            listener.on_book(symbol, received_ns)

    def on_order(self, update: OrderUpdate) -> None:
        """Tell the seats of the market."""
        for listener in tuple(self._listeners[update.symbol]):
            listener.on_order(update)

    def on_trade(self, trade: PublicTrade) -> None:
        """Tell the seats of the market."""
        for listener in tuple(self._listeners[trade.symbol]):
            listener.on_trade(trade)

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        """Tell every seat."""
        for listener in self._everybody():
            listener.on_holdings(holdings)

    def on_connection(self, is_up: bool, reason: str) -> None:
        """Tell every seat."""
        self._connection = (is_up, reason)
        for listener in self._everybody():
            listener.on_connection(is_up, reason)

    def _everybody(self) -> list[VenueListener]:
        everybody = {id(one): one for listeners in self._listeners.values() for one in listeners}
        return list(everybody.values())


class Seat:
    """The venue as one instance sees it. Made by `SharedVenue.seat`."""

    def __init__(self, shared: SharedVenue) -> None:
        self._shared = shared
        self._venue = shared.venue
        self._symbols: tuple[str, ...] = ()
        self._listener: VenueListener | None = None

    @property
    def name(self) -> str:
        """The venue's."""
        return self._venue.name

    @property
    def markets(self) -> Mapping[str, "Market"]:
        """The seat's markets by symbol."""
        markets = self._venue.markets
        return {symbol: markets[symbol] for symbol in self._symbols if symbol in markets}

    @property
    def counters(self) -> Mapping[str, int]:
        """The venue's, of all seats together."""
        return self._venue.counters

    def book(self, symbol: str) -> "OrderBook":
        """Return the live book of a watched market."""
        return self._venue.book(symbol)

    async def start(self, symbols: Sequence[str], listener: VenueListener) -> None:
        """Be told of these markets; see `Venue.start`."""
        self._symbols, self._listener = tuple(symbols), listener
        await self._shared.enter(self, symbols, listener)
        self._venue = self._shared.venue

    async def close(self) -> None:
        """Be told nothing more. The last seat closes the venue."""
        if self._listener is not None:
            await self._shared.leave(self, self._listener)

    def submit(self, order: NewOrder) -> "asyncio.Future[OrderUpdate]":
        """See `Venue.submit`."""
        return self._venue.submit(order)

    def cancel(self, symbol: str, client_id: str, order_id: str) -> "asyncio.Future[OrderUpdate]":
        """See `Venue.cancel`."""
        return self._venue.cancel(symbol, client_id, order_id)

    async def find_order(self, symbol: str, name: str) -> OrderUpdate | None:
        """See `Venue.find_order`."""
        return await self._venue.find_order(symbol, name)

    async def open_orders(self, symbol: str) -> list[OrderUpdate]:
        """See `Venue.open_orders`."""
        return await self._venue.open_orders(symbol)

    async def order_history(self, symbol: str, since_ms: int) -> list[OrderUpdate]:
        """See `Venue.order_history`."""
        return await self._venue.order_history(symbol, since_ms)

    async def executions(self, symbol: str, since_ms: int) -> list[Execution]:
        """See `Venue.executions`."""
        return await self._venue.executions(symbol, since_ms)

    async def holdings(self) -> list[Holding]:
        """See `Venue.holdings`."""
        return await self._venue.holdings()

    async def read_market(self, symbol: str) -> "Market":
        """See `Venue.read_market`."""
        return await self._venue.read_market(symbol)

    async def read_book(self, symbol: str, depth: int) -> BookLevels | None:
        """See `Venue.read_book`."""
        return await self._venue.read_book(symbol, depth)

    def resync(self, reason: str) -> None:
        """Give the connection up that all seats share; see `Venue.resync`."""
        self._venue.resync(reason)
