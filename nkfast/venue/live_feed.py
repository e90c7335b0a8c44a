"""The exchange's public stream as the feed of a paper venue: no login, no orders."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from nkfast.client.websocket import WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.venue.clock import Clock
from nkfast.venue.paper import Deliver

__all__ = ["LiveFeed", "MakePublicWebSocket"]


class MakePublicWebSocket(Protocol):
    """Makes the client: ``partial(WebSocketClient, url)``."""

    def __call__(
        self,
        *,
        decoder: FrameDecoder,
        on_connection: Callable[[bool, str], object],
        tap: Callable[[int, bytes], object],
        clock_ns: Callable[[], int],
    ) -> WebSocketClient: ...


class LiveFeed:
    """Delivers the frames of books and trades as they come, over every reconnect.

    Parameters
    ----------
    websocket : callable
        Makes the client; called once, by `run`.
    markets : iterable of Market
        Those that may be asked for.
    clock : Clock
        Tells when frames arrive.
    on_lost : callable
        Is told the reason when the connection is lost: what was delivered is old from then on.
        Every book begins anew with a snapshot when it is back.
    ready_timeout_s : float
        How long the first connection may take.
    """

    def __init__(
        self,
        *,
        websocket: MakePublicWebSocket,
        markets: Iterable[Market],
        clock: Clock,
        on_lost: Callable[[str], object],
        ready_timeout_s: float = 30.0,
    ) -> None:
        self._make_websocket = websocket
        self._markets = {market.symbol: market for market in markets}
        self._clock = clock
        self._on_lost = on_lost
        self._ready_timeout_s = ready_timeout_s
        self._websocket: WebSocketClient | None = None

    @property
    def counters(self) -> Mapping[str, int]:
        """Those of the connection; empty before `run`."""
        return {} if self._websocket is None else self._websocket.counters

    async def run(self, symbols: Sequence[str], deliver: Deliver) -> None:
        """Deliver frames until it is cancelled.

        Raises
        ------
        nkfast.errors.VenueError
            The exchange cannot be reached at first, or knows one of the symbols not.
        """
        # The client's own books: they find gaps and silence, and ask for what is missing.
        decoder = FrameDecoder([self._markets[symbol] for symbol in symbols])
        websocket = self._websocket = self._make_websocket(
            decoder=decoder,
            on_connection=self._on_connection,
            tap=lambda received_ns, frame: deliver(frame, received_ns),
            clock_ns=self._clock.monotonic_ns,
        )
        for symbol in symbols:
            websocket.subscribe_order_book(symbol)
            websocket.subscribe_trades(symbol)
        await websocket.connect(self._ready_timeout_s)
        await websocket.run_forever()

    def _on_connection(self, is_up: bool, reason: str) -> None:
        if not is_up:
            self._on_lost(reason)
