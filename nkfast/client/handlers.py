"""Who is told of which notification, and what becomes of those who fail or take their time."""

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from nkfast.client.streams import Lane
from nkfast.errors import ConfigError
from nkfast.wire.client_session import Channel

__all__ = ["CHANNELS", "KINDS", "Handler", "Handlers"]

#: The notifications of each kind that a handler may ask for.
KINDS = {
    "orderbook": ("snapshotOrderbook", "updateOrderbook"),
    "trades": ("snapshotTrades", "updateTrades"),
    "candles": ("snapshotCandles", "updateCandles"),
    "ticker": ("ticker",),
    "reports": ("activeOrders", "report"),
    "balances": ("currentBalances", "balanceUpdate"),
}
#: By notification, the channel that brings it.
CHANNELS: dict[str, Channel] = {
    method: "order_book" if kind == "orderbook" else kind  # type: ignore[misc]
    for kind, methods in KINDS.items()
    for method in methods
}
#: News that must not be lost: a reader too slow for them gets the whole state anew instead.
_NEVER_LOST = frozenset({*KINDS["reports"], *KINDS["balances"]})

Handler = Callable[[Any], object]


class Handlers:
    """Calls handlers, in the order of arrival, and keeps them away from each other.

    An exception in one is counted and goes to the loop's exception handler. What a coroutine
    function returns runs in a `Lane` of that handler's own.

    Parameters
    ----------
    counters : dict of str to int
    on_overrun : callable
        ``on_overrun(reason)``: a handler was too slow for news that must not be lost.
    """

    def __init__(self, counters: dict[str, int], on_overrun: Callable[[str], None]) -> None:
        self._counters = counters
        self._counters["handler_errors"] = 0
        self._on_overrun = on_overrun
        self._handlers: dict[str, list[Handler]] = {}
        self._lanes: dict[int, Lane] = {}  # by id of the callback, which is kept alive here

    @property
    def dropped(self) -> int:
        """Calls that never ran because their handlers were too slow."""
        return sum(lane.dropped for lane in self._lanes.values())

    @property
    def wants_books(self) -> bool:
        """Whether somebody asks for order-book messages as objects."""
        return any(self._handlers.get(method) for method in KINDS["orderbook"])

    def add(self, method: str, callback: Handler) -> None:
        """Call it with the params of a notification, or of every one of a kind."""
        for name in KINDS.get(method, (method,)):
            if name not in CHANNELS:
                known = ", ".join(sorted(CHANNELS.keys() | KINDS.keys()))
                raise ConfigError(f"there is no notification {method!r}; there are {known}")
            self._handlers.setdefault(name, []).append(callback)

    def remove(self, method: str, callback: Handler) -> None:
        """Call it no more."""
        self._handlers[method] = [row for row in self._handlers[method] if row is not callback]

    def publish(self, method: str, params: Any) -> None:
        """Tell everyone who asked for it."""
        for handler in self._handlers.get(method, ()):
            self.call(handler, params, must_arrive=method in _NEVER_LOST)

    def call(
        self,
        callback: Callable[..., object] | None,
        *arguments: object,
        must_arrive: bool = False,
    ) -> None:
        """Call one, if there is one."""
        if callback is None:
            return
        try:
            result = callback(*arguments)
        except Exception as error:
            self.report(error, f"{callback!r} failed")
            return
        if result is not None and inspect.isawaitable(result):
            lane = self.lane(callback)
            if not lane.run(result) and must_arrive:
                lane.clear()
                self._on_overrun(f"{callback!r} is too slow for the account's news")

    def lane(self, callback: Callable[..., object]) -> Lane:
        """Return the lane in which what a callback returned is run."""
        lane = self._lanes.get(id(callback))
        if lane is None:
            lane = Lane(partial(self.report, message=f"{callback!r} failed"))
            self._lanes[id(callback)] = lane
        return lane

    def report(self, error: BaseException, message: str) -> None:
        """Give an exception to the loop's handler."""
        self._counters["handler_errors"] += 1
        context = {"message": message, "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)

    def close(self) -> None:
        """End what still runs."""
        for lane in self._lanes.values():
            lane.cancel()
