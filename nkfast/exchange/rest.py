"""The REST interface of the exchange, without sockets: a request in, a reply out.

Paths, parameters and shapes are those of protocol.md 1.4 and 1.5, with the names that older
clients use and the oddities that live ones rely on.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from nkfast.errors import VenueError, WireError
from nkfast.exchange import shapes
from nkfast.exchange.accounts import Account
from nkfast.exchange.authentication import Authenticator
from nkfast.exchange.candles import RESOLUTIONS
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.orders import AccountTrade, Order, OrderStatus
from nkfast.exchange.rules import OrderForm, refusal
from nkfast.wire.codec import decode_json, encode_json
from nkfast.wire.error_codes import ERROR_CODES
from nkfast.wire.server_session import error_object

__all__ = ["BASE_PATH", "Reply", "Request", "RestApi", "error_reply"]

BASE_PATH: Final = "/api/v2"

_ROW_COUNT_MAX: Final = 500
_PUBLIC_TRADE_COUNT: Final = 100
_BOOK_DEPTH: Final = 100
_STATUSES: Final[Mapping[str, frozenset[OrderStatus]]] = {
    "active": frozenset({OrderStatus.NEW, OrderStatus.ACTIVE, OrderStatus.PARTLY_FILLED}),
    "filled": frozenset({OrderStatus.FILLED}),
    "cancelled": frozenset({OrderStatus.CANCELLED}),
}


class Request(NamedTuple):
    """One HTTP request.

    Parameters
    ----------
    method : str
    target : str
        Path and query exactly as received.
    headers : Mapping
        By lower-case name.
    body : bytes
        Exactly as received.
    origins : tuple of str
        ``scheme://host`` that the client may have signed with; the first is the one it used.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    origins: tuple[str, ...]


class Reply(NamedTuple):
    """One HTTP reply; the body is JSON whatever the status."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class _Call(NamedTuple):
    """A request whose path and parameters are understood."""

    query: Mapping[str, str]
    fields: Mapping[str, Any]
    now_ms: int
    name: str = ""  # the last part of the path, where the path ends in one
    account: Account | None = None


_Handler = Callable[[_Call], Any]


class _InOkError(Exception):
    """An error that the exchange sends with HTTP 200."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description


class RestApi:
    """Answers REST requests.

    Parameters
    ----------
    exchange : Exchange
    authenticator : Authenticator
    cancel_all_needs_side : bool
        Whether cancelallorders without ``side`` is an error, as was seen live.
    cancel_returns_order : bool
        Whether the reply of cancelorder carries the order beside ``success`` and ``id``.
    filters_trades : bool
        Whether account/trades heeds ``symbol``; the real exchange ignores it.
    shows_assets : bool
        Whether markets show their assets as objects, as documented, and not as ids.
    """

    def __init__(
        self,
        exchange: Exchange,
        authenticator: Authenticator,
        *,
        cancel_all_needs_side: bool = True,
        cancel_returns_order: bool = False,
        filters_trades: bool = False,
        shows_assets: bool = False,
    ) -> None:
        self._exchange = exchange
        self._authenticator = authenticator
        self._cancel_all_needs_side = cancel_all_needs_side
        self._cancel_returns_order = cancel_returns_order
        self._filters_trades = filters_trades
        self._shows_assets = shows_assets
        self._public = self._public_routes()
        self._private = self._private_routes()
        #: Paths that end in a name.
        self._public_named = self._public_named_routes()
        self._private_named: dict[str, _Handler] = {
            "/getorder/": self._order,
            "/getdepositaddress/": self._deposit_address,
        }
        self._posts: dict[str, _Handler] = {
            "/createorder": self._create_order,
            "/cancelorder": self._cancel_order,
            "/cancelallorders": self._cancel_all_orders,
            "/createwithdrawal": self._create_withdrawal,
        }

    def _public_routes(self) -> dict[str, _Handler]:
        return {
            "/time": lambda call: {"serverTime": call.now_ms},
            "/getservertime": self._server_time,
            "/info": self._info,
            "/asset/getlist": self._assets,
            "/asset/info": self._asset_info,
            "/market/getlist": self._markets,
            "/market/info": self._market_info,
            "/market/orderbook": self._book_a,
            "/orderbook": self._book_b,
            "/orderbook/snapshot": self._book_c,
            "/orders/snapshot": self._book_c,
            "/market/candles": self._candles,
            "/market/trades": self._historical_trades,
            "/historical_trades": self._historical_trades,
            "/trades": self._trades_since,
            "/pool/getlist": self._pools,
            "/pool/info": self._pool_info,
            "/pool/trades": self._pool_trades,
            "/historical_pooltrades": self._pool_trades,
            "/tickers": self._tickers,
            "/summary": self._tickers,
            "/pairs": self._pairs,
            "/cmcassets": self._summary_assets,
            "/cmctickers": self._summary_tickers,
            "/markets": self._spot_markets,
        }

    def _public_named_routes(self) -> dict[str, _Handler]:
        return {
            "/ticker/": self._ticker,
            "/market/getbysymbol/": self._market_by_symbol,
            "/market/getbyid/": self._market_by_id,
            "/market/getorderbookbysymbol/": self._book_by_symbol,
            "/market/getorderbookbymarketid/": self._book_by_id,
            "/asset/getbyticker/": self._asset_by_ticker,
            "/asset/getbyid/": self._asset_by_id,
            "/pool/getbyid/": lambda call: self._pool(call.name),
            "/pool/getbysymbol/": lambda call: self._pool(call.name),
            "/cmcorderbook/": self._summary_book,
            "/cmctrades/": self._summary_trades,
        }

    def _private_routes(self) -> dict[str, _Handler]:
        return {
            "/balances": self._balances,
            "/account/orders": self._orders,
            "/getorders": self._whole_orders,
            "/account/trades": self._account_trades,
            "/gettrades": self._dated_trades,
            "/gettradessince": self._trades_oldest_first,
            "/gettradesince": self._trades_oldest_first,
            "/getpooltrades": lambda call: [],
            "/getpooltradessince": lambda call: [],
            "/getdeposits": lambda call: [],
            "/getwithdrawals": lambda call: [],
        }

    def handle(self, request: Request, now_ms: int) -> Reply:
        """Answer one request."""
        path, _, query = request.target.partition("?")
        if not path.startswith(BASE_PATH + "/"):
            return error_reply(404, 402, "Not Found")
        # A client that trades on the real exchange posts to ``createorder/``.
        path = path.removeprefix(BASE_PATH).removesuffix("/")
        handler, is_private, name = self._find(request.method, path)
        if handler is None:
            return error_reply(404, 402, "Not Found")
        try:
            account = None
            if is_private:
                urls = [origin + request.target for origin in request.origins]
                account = self._authenticator.request(request.headers, urls, request.body, now_ms)
            call = _Call(
                query=_read_query(query),
                fields=_read_body(request.body) if request.method == "POST" else {},
                now_ms=now_ms,
                name=name,
                account=account,
            )
            return Reply(200, encode_json(handler(call)))
        except _InOkError as error:
            return error_reply(200, 400, error.description)
        except VenueError as error:
            row = ERROR_CODES.get(error.code or 500, ERROR_CODES[500])
            return Reply(row.http_status, encode_json({"error": error_object(error)}))

    def _find(self, method: str, path: str) -> tuple[_Handler | None, bool, str]:
        if method == "POST":
            return self._posts.get(path), True, ""
        if method not in ("GET", "HEAD"):
            return None, False, ""
        for table, named, is_private in (
            (self._public, self._public_named, False),
            (self._private, self._private_named, True),
        ):
            if path in table:
                return table[path], is_private, ""
            for prefix, handler in named.items():
                rest = path.removeprefix(prefix)
                # A raw slash in the symbol makes two segments of one; only tickers allow it.
                if rest and rest != path and rest.count("/") <= (prefix == "/ticker/"):
                    return handler, is_private, unquote(rest)
        return None, False, ""

    # Public.

    def _server_time(self, call: _Call) -> Any:
        return {
            "unix_microsec": call.now_ms * 1000,
            "serverTime": call.now_ms,
            "iso": shapes.iso_time(call.now_ms),
        }

    def _info(self, call: _Call) -> Any:
        texts = dict.fromkeys(("description", "location", "logo", "website", "twitter"), "")
        return {
            "name": "nkfast simulated exchange",
            **texts,
            "version": "2",
            "capability": {"markets": True, "trades": True, "orderbook": True, "candles": True},
        }

    def _assets(self, call: _Call) -> Any:
        return [shapes.asset(self._exchange, ticker) for ticker in self._exchange.assets]

    def _asset_info(self, call: _Call) -> Any:
        ticker = call.query.get("ticker")
        if ticker is not None:
            return self._asset(ticker)
        return self._asset(self._ticker_of(call.query.get("id", "")))

    def _asset_by_ticker(self, call: _Call) -> Any:
        return self._asset(call.name)

    def _asset_by_id(self, call: _Call) -> Any:
        return self._asset(self._ticker_of(call.name))

    def _ticker_of(self, asset_id: str) -> str:
        for ticker, known_id in self._exchange.assets.items():
            if known_id == asset_id:
                return ticker
        return ""

    def _asset(self, ticker: str) -> Any:
        if ticker not in self._exchange.assets:
            raise refusal(2002, "Currency not found")
        return shapes.asset(self._exchange, ticker)

    def _markets(self, call: _Call) -> Any:
        return [self._market(listing, call) for listing in self._exchange.listings.values()]

    def _market_info(self, call: _Call) -> Any:
        return self._market(self._listing(call, "symbol", "id"), call)

    def _market_by_symbol(self, call: _Call) -> Any:
        return self._market(self._exchange.listing(call.name), call)

    def _market_by_id(self, call: _Call) -> Any:
        return self._market(self._listing_by_id(call.name), call)

    def _market(self, listing: Listing, call: _Call) -> Any:
        return shapes.market(self._exchange, listing, call.now_ms, shows_assets=self._shows_assets)

    def _listing(self, call: _Call, symbol_name: str, id_name: str = "") -> Listing:
        symbol = call.query.get(symbol_name)
        if symbol is not None:
            return self._exchange.listing(symbol)
        if id_name in call.query:
            return self._listing_by_id(call.query[id_name])
        raise refusal(10001, f"Missing required input: {symbol_name}")

    def _listing_by_id(self, market_id: str) -> Listing:
        found = self._exchange.listings_by_id.get(market_id)
        if found is None:
            raise refusal(2001, "Symbol not found")
        return found

    def _book_a(self, call: _Call) -> Any:
        return self._book(self._listing(call, "symbol", "marketId"), call)

    def _book_by_symbol(self, call: _Call) -> Any:
        return self._book(self._exchange.listing(call.name), call)

    def _book_by_id(self, call: _Call) -> Any:
        return self._book(self._listing_by_id(call.name), call)

    def _book(self, listing: Listing, call: _Call) -> Any:
        return shapes.book_a(listing, _count(call.query, "limit"), call.now_ms)

    def _book_b(self, call: _Call) -> Any:
        depth = _count(call.query, "depth")
        listing = self._listing(call, "ticker_id")
        return shapes.book_b(listing, _BOOK_DEPTH if depth is None else depth, call.now_ms)

    def _book_c(self, call: _Call) -> Any:
        return shapes.book_c(self._listing_by_id(call.query.get("market", "")), call.now_ms)

    def _candles(self, call: _Call) -> Any:
        try:
            listing = self._exchange.listing(call.query.get("symbol", ""))
        except VenueError:
            raise refusal(2001, "Market not found") from None
        resolution = _count(call.query, "resolution")
        if resolution not in RESOLUTIONS:
            raise refusal(10001, f"resolution must be one of {RESOLUTIONS}")
        count = _count(call.query, "countBack")
        since_s, until_s = _count(call.query, "from"), _count(call.query, "to")
        bars: list[dict[str, Any]] = []
        for bar in listing.candles.bars(resolution):
            if until_s is not None and bar.start_ms > until_s * 1000:
                continue
            # countBack is what a chart needs, and goes before `from`.
            if len(bars) == count or (
                count is None and since_s is not None and bar.start_ms < since_s * 1000
            ):
                break
            bars.append(shapes.rest_bar(listing, bar))
        return {"bars": bars[::-1], "meta": {}}

    def _historical_trades(self, call: _Call) -> Any:
        name = "symbol" if "symbol" in call.query else "ticker_id"
        listing = self._listing(call, name)
        limit = _count(call.query, "limit")
        newest = list(reversed(listing.trades))
        return [
            shapes.historical_trade(trade)
            for trade in newest[: _PUBLIC_TRADE_COUNT if limit is None else limit]
        ]

    def _trades_since(self, call: _Call) -> Any:
        listing = self._listing_by_id(call.query.get("market", ""))
        trades = list(listing.trades)
        since = call.query.get("since")
        for index, trade in enumerate(trades):
            if trade.id == since:
                trades = trades[index + 1 :]
                break
        return [shapes.trade_row(trade) for trade in reversed(trades)]

    def _pools(self, call: _Call) -> Any:
        return [shapes.pool(self._exchange, symbol) for symbol in self._exchange.pools]

    def _pool_info(self, call: _Call) -> Any:
        return self._pool(call.query.get("symbol", call.query.get("id", "")))

    def _pool(self, name: str) -> Any:
        for symbol, pool_id in self._exchange.pools.items():
            if name in (symbol, symbol.replace("/", "_"), pool_id):
                return shapes.pool(self._exchange, symbol)
        raise refusal(2001, "Pool not found")

    def _pool_trades(self, call: _Call) -> Any:
        self._pool(call.query.get("ticker_id", ""))
        return []

    def _tickers(self, call: _Call) -> Any:
        return [
            shapes.rest_ticker(listing, call.now_ms) for listing in self._exchange.listings.values()
        ]

    def _ticker(self, call: _Call) -> Any:
        return shapes.rest_ticker(self._exchange.listing(call.name), call.now_ms)

    def _pairs(self, call: _Call) -> Any:
        markets = [shapes.pair(listing) for listing in self._exchange.listings.values()]
        return markets + [shapes.pool_pair(symbol) for symbol in self._exchange.pools]

    def _spot_markets(self, call: _Call) -> Any:
        kind = call.query.get("type")
        exchange = self._exchange
        rows = [shapes.spot_market(listing) for listing in exchange.listings.values()]
        rows += [shapes.pool_market(exchange, symbol) for symbol in exchange.pools]
        return [row for row in rows if kind in (None, row["type"])]

    # The contents of these four are documented nowhere; they are what their names suggest.

    def _summary_assets(self, call: _Call) -> Any:
        return {
            ticker: {"name": ticker, "can_withdraw": False, "can_deposit": False}
            for ticker in self._exchange.assets
        }

    def _summary_tickers(self, call: _Call) -> Any:
        return {row["ticker_id"]: row for row in self._tickers(call)}

    def _summary_book(self, call: _Call) -> Any:
        return shapes.book_c(self._exchange.listing(call.name), call.now_ms)

    def _summary_trades(self, call: _Call) -> Any:
        trades = reversed(self._exchange.listing(call.name).trades)
        return {"trades": [shapes.historical_trade(trade) for trade in trades]}

    # Private.

    def _balances(self, call: _Call) -> Any:
        account = _account(call)
        tickers = dict.fromkeys([*self._exchange.assets, *account.holdings])
        return [shapes.balance(self._exchange, account, ticker) for ticker in tickers]

    def _create_order(self, call: _Call) -> Any:
        form = OrderForm.from_wire(call.fields)
        order = self._exchange.submit(_account(call), form, call.now_ms)
        return shapes.placed_order(order)

    def _cancel_order(self, call: _Call) -> Any:
        identifier = call.fields.get("id", call.fields.get("userProvidedId"))
        if not isinstance(identifier, str) or not identifier:
            raise refusal(10001, "Missing required input: id")
        order = self._exchange.cancel(_account(call), identifier, call.now_ms)
        result = {"success": True, "id": order.id}
        return {**shapes.order(order), **result} if self._cancel_returns_order else result

    def _cancel_all_orders(self, call: _Call) -> Any:
        symbol, side = call.fields.get("symbol"), call.fields.get("side")
        if side is None and not self._cancel_all_needs_side:
            side = "all"
        if not isinstance(symbol, str) or side is None:
            raise _InOkError("Missing required input")
        if side not in ("all", "buy", "sell"):
            raise refusal(10001, "side must be all, buy or sell")
        listing = self._exchange.listing(symbol)
        wanted = None if side == "all" else side
        orders = self._exchange.cancel_all(_account(call), listing, wanted, call.now_ms)
        return {"success": True, "ids": [order.id for order in orders]}

    def _order(self, call: _Call) -> Any:
        return shapes.order(self._exchange.find_order(_account(call), call.name))

    def _orders(self, call: _Call) -> Any:
        return [shapes.order_row(order) for order in self._listed_orders(call)]

    def _whole_orders(self, call: _Call) -> Any:
        return [shapes.order(order) for order in self._listed_orders(call)]

    def _listed_orders(self, call: _Call) -> list[Order]:
        account = _account(call)
        symbol = call.query.get("symbol")
        listing = None if symbol is None else self._exchange.listing(symbol)
        status = call.query.get("status")
        if status is not None and status not in _STATUSES:
            raise refusal(10001, f"status must be one of {', '.join(_STATUSES)}")
        since_ms = _count(call.query, "since") or 0
        orders = [
            order
            for order in account.orders()
            if (listing is None or order.listing is listing)
            and (status is None or order.status in _STATUSES[status])
            and order.created_ms >= since_ms
        ]
        # All open orders come back where no limit was asked for.
        limit = _count(call.query, "limit")
        if limit is None:
            limit = len(orders) if status == "active" else _ROW_COUNT_MAX
        else:
            limit = min(limit, _ROW_COUNT_MAX)
        skip = _count(call.query, "skip") or 0
        return orders[skip : skip + limit]

    def _account_trades(self, call: _Call) -> Any:
        fills = [*reversed(_account(call).trades)]
        return [shapes.account_trade(fill) for fill in self._page(call, fills)]

    def _dated_trades(self, call: _Call) -> Any:
        fills = [*reversed(_account(call).trades)]
        return [shapes.dated_account_trade(fill) for fill in self._page(call, fills)]

    def _trades_oldest_first(self, call: _Call) -> Any:
        fills = [*_account(call).trades]
        return [shapes.older_account_trade(fill) for fill in self._page(call, fills)]

    def _page(self, call: _Call, fills: list[AccountTrade]) -> list[AccountTrade]:
        since_ms = _count(call.query, "since") or 0
        fills = [fill for fill in fills if fill.trade.time_ms >= since_ms]
        if self._filters_trades and "symbol" in call.query:
            listing = self._exchange.listing(call.query["symbol"])
            fills = [fill for fill in fills if fill.trade.listing is listing]
        skip, limit = _count(call.query, "skip") or 0, _count(call.query, "limit")
        limit = _ROW_COUNT_MAX if limit is None else min(limit, _ROW_COUNT_MAX)
        return fills[skip : skip + limit]

    def _deposit_address(self, call: _Call) -> Any:
        if call.name not in self._exchange.assets:
            raise refusal(2002, "Currency not found")
        return shapes.deposit_address(self._exchange, _account(call), call.name)

    def _create_withdrawal(self, call: _Call) -> Any:
        raise refusal(20012, "Withdrawals disabled")


def _account(call: _Call) -> Account:
    assert call.account is not None
    return call.account


def error_reply(status: int, code: int, description: str) -> Reply:
    """Return an error in the exchange's envelope."""
    message = ERROR_CODES[code].message
    error = {"code": code, "message": message, "description": description}
    return Reply(status, encode_json({"error": error}))


def _read_query(query: str) -> dict[str, str]:
    # The official node client sends the word null for what is absent.
    return {name: value for name, value in parse_qsl(query) if value != "null"} if query else {}


def _read_body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        fields = decode_json(body)
    except WireError:
        raise refusal(10001, "Invalid JSON Request") from None
    if not isinstance(fields, dict):
        raise refusal(10001, "Invalid JSON Request")
    return {name: value for name, value in fields.items() if value is not None}


def _count(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise refusal(10001, f"{name} must be a whole number")
    return int(value)
