"""An account at the exchange, read over REST: orders, fills, balances, markets and books."""

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

from nkfast.client.async_rest import AsyncRestClient
from nkfast.core.market import Market
from nkfast.errors import (
    FixedPointError,
    OrderNotFoundError,
    SymbolNotFoundError,
    UnreachableError,
    WireError,
)
from nkfast.venue.gathering import Gathering
from nkfast.venue.port import BookLevels, Execution, Holding, OrderUpdate
from nkfast.venue.translation import execution_of, holding_of, update_of
from nkfast.wire.models import AccountTrade, OrderStatus

__all__ = ["RestAccount"]

#: The longest page of a list, and the furthest the newest-first list of trades can be turned.
_PAGE_ROWS = 500
_SKIP_MAX = 500
#: A list of open orders that does not end before this is not believed.
_PAGES_MAX = 40
#: How often a list of several pages is read until two readings agree.
_STABLE_READS = 4

_ListedStatus = Literal["active", "filled", "cancelled"]
_LISTED_STATUSES: tuple[_ListedStatus | None, ...] = (None, "active", "filled", "cancelled")


_TradeRows = dict[tuple[str, str], AccountTrade]
_P = ParamSpec("_P")
_T = TypeVar("_T")


def _understood(
    read: Callable[_P, Coroutine[Any, Any, _T]],
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Make of an answer that cannot be understood one that did not come: it is asked for again."""

    @functools.wraps(read)
    async def reading(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await read(*args, **kwargs)
        except (WireError, FixedPointError) as error:
            raise UnreachableError(
                f"the answer cannot be understood: {error}", endpoint=read.__name__, sent="yes"
            ) from error

    return reading


class RestAccount:
    """Reads an account. See `AccountBooks` for what its methods promise.

    The venue's lists are the account's, not a market's: who asks for them at the same time, for
    whichever market, shares one reading.

    Parameters
    ----------
    rest : AsyncRestClient
        With the account's credentials; it stays the caller's to close.
    """

    def __init__(self, rest: AsyncRestClient) -> None:
        self._rest = rest
        self._open_orders: Gathering[None, list[OrderStatus]] = Gathering(self._read_open_orders)
        self._history: Gathering[int, dict[str, OrderUpdate]] = Gathering(self._read_history)
        self._trades: Gathering[int, _TradeRows] = Gathering(self._read_trades)
        self._holdings: Gathering[None, list[Holding]] = Gathering(self._read_holdings)
        self._rules: Gathering[str, dict[str, Market]] = Gathering(self._read_markets)

    async def end_readings(self) -> None:
        """Give up what is being read; who waits for it is told by `asyncio.CancelledError`."""
        for gathering in (
            self._open_orders,
            self._history,
            self._trades,
            self._holdings,
            self._rules,
        ):
            await gathering.close()

    @_understood
    async def find_order(self, symbol: str, name: str) -> OrderUpdate | None:
        """Look an order up by our id or the venue's. None when the venue does not know it."""
        try:
            order = await self._rest.get_order(name)
        except OrderNotFoundError:
            return None
        if name not in (order.user_provided_id, order.order_id) or order.symbol not in ("", symbol):
            raise UnreachableError(
                f"asked for order {name}, the answer describes "
                f"{order.user_provided_id or order.order_id} on {order.symbol}",
                endpoint="/getorder",
                sent="yes",
            )
        return update_of(order)

    async def open_orders(self, symbol: str) -> list[OrderUpdate]:
        """Return every open order of this account on a market, ours and foreign."""
        return [update_of(row) for row in await self._open_orders.ask(None) if row.symbol == symbol]

    @_understood
    async def _read_open_orders(self, _askers: Sequence[None]) -> list[OrderStatus]:
        rows, pages = await self._list_active_orders()
        if pages > 1:
            # An order that ended between two pages moves the later ones up by one place: what is
            # read twice, alike, is whole.
            for _ in range(_STABLE_READS):
                before, (rows, _) = rows, await self._list_active_orders()
                if before.keys() == rows.keys():
                    break
            else:
                raise UnreachableError(
                    f"the list of open orders changed in each of {_STABLE_READS} reads",
                    endpoint="/account/orders",
                    sent="yes",
                )
        return [row for row in rows.values() if not row.status.is_final]

    async def _list_active_orders(self) -> tuple[dict[str, OrderStatus], int]:
        """Return the rows of all pages by the venue's id, and how many pages there were."""
        rows: dict[str, OrderStatus] = {}
        pages = 0
        async for page in self._order_pages("active"):
            rows.update((row.order_id, row) for row in page)
            pages += 1
        return rows, pages

    async def order_history(self, symbol: str, since_ms: int) -> list[OrderUpdate]:
        """Return every order of this account that was made on a market since a time.

        Older ones may be among them, where somebody else asked for those at the same time.
        """
        found = await self._history.ask(since_ms)
        return [update for update in found.values() if update.symbol == symbol]

    @_understood
    async def _read_history(self, times_ms: Sequence[int]) -> dict[str, OrderUpdate]:
        """Return every order since the earliest of the times, by the venue's id.

        What the list holds when no status is asked for is documented nowhere: each is asked for.
        New orders move the older ones down, so that rows come twice, never not at all.
        """
        found: dict[str, OrderUpdate] = {}
        for status in _LISTED_STATUSES:
            async for page in self._order_pages(status, min(times_ms)):
                # Not the rows themselves: an hour of a busy account would be a hundred megabytes.
                found.update((row.order_id, update_of(row)) for row in page)
        return found

    async def _order_pages(
        self, status: _ListedStatus | None, since_ms: int | None = None
    ) -> AsyncIterator[list[OrderStatus]]:
        """Read a list page by page.

        Without a symbol: the client would take foreign rows out, and how full a page was could not
        be told.
        """
        for page in range(_PAGES_MAX):
            rows = await self._rest.get_orders(
                status=status, limit=_PAGE_ROWS, skip=page * _PAGE_ROWS, since_ms=since_ms
            )
            yield rows
            if len(rows) < _PAGE_ROWS:
                return
        raise UnreachableError(
            f"the list of orders has more than {_PAGES_MAX * _PAGE_ROWS} rows",
            endpoint="/account/orders",
            sent="yes",
        )

    async def executions(self, symbol: str, since_ms: int) -> list[Execution]:
        """Return the account's fills on a market since a time, oldest first."""
        rows = await self._trades.ask(since_ms)
        fills = [row for row in rows.values() if row.symbol == symbol and row.time_ms >= since_ms]
        fills.sort(key=lambda row: row.time_ms)
        return [execution_of(row) for row in fills]

    @_understood
    async def _read_trades(self, times_ms: Sequence[int]) -> _TradeRows:
        since_ms, rows = min(times_ms), _TradeRows()
        for skip in range(0, _SKIP_MAX + 1, _PAGE_ROWS):
            page = await self._rest.get_account_trades(
                limit=_PAGE_ROWS, skip=skip, since_ms=since_ms
            )
            rows.update(((row.trade_id, row.order_id), row) for row in page)
            if len(page) < _PAGE_ROWS:
                return rows
        return await self._older_trades(since_ms)

    async def _older_trades(self, since_ms: int) -> _TradeRows:
        """Read more fills than the newest-first list reaches: from the oldest on, by time."""
        rows = _TradeRows()
        while True:
            page = await self._rest.get_account_trades_since(since_ms, limit=_PAGE_ROWS)
            known = len(rows)
            rows.update(((row.trade_id, row.order_id), row) for row in page)
            if len(page) < _PAGE_ROWS:
                return rows
            if len(rows) == known:
                raise UnreachableError(
                    f"more than {_PAGE_ROWS} fills in one millisecond, or the list of trades "
                    f"does not go on after {since_ms}",
                    endpoint="/gettradessince",
                    sent="yes",
                )
            since_ms = max(row.time_ms for row in page)

    async def holdings(self) -> list[Holding]:
        """Return every balance of the account, zeros too."""
        return await self._holdings.ask(None)

    @_understood
    async def _read_holdings(self, _askers: Sequence[None]) -> list[Holding]:
        return [holding_of(row) for row in await self._rest.get_balances()]

    async def read_market(self, symbol: str) -> Market:
        """Read a market's rules over REST."""
        found = await self._rules.ask(symbol)
        if symbol not in found:
            raise SymbolNotFoundError(f"asked for {symbol}, got {', '.join(found) or 'nothing'}")
        return found[symbol]

    @_understood
    async def _read_markets(self, symbols: Sequence[str]) -> dict[str, Market]:
        if len(set(symbols)) == 1:
            rows = [await self._rest.get_market(symbol=symbols[0])]
        else:  # hundreds cost no more than two
            wanted = set(symbols)
            rows = [row for row in await self._rest.get_markets() if row.symbol in wanted]
        return {market.symbol: market for market in (Market.from_wire(row.raw) for row in rows)}

    @_understood
    async def read_book(self, symbol: str, depth: int) -> BookLevels | None:
        """Read a market's book over REST."""
        book = await self._rest.get_order_book(symbol=symbol, limit=depth)
        return BookLevels(
            [(level.price, level.quantity) for level in book.bids],
            [(level.price, level.quantity) for level in book.asks],
        )
