"""What can be asked of the venue over REST: one function for each row of the REST table.

Each function takes the arguments of one endpoint and returns a `Call`: what has to be sent, and how
the reply is read. Both REST clients take their methods from here, so that names, arguments and
documentation exist once; `nkfast.client.rest_session` decides how a call is carried out.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, get_args
from urllib.parse import unquote, urlencode

from nkfast.errors import ConfigError, WireError
from nkfast.wire import codec
from nkfast.wire.endpoints import ENDPOINTS, RateClass
from nkfast.wire.models import (
    AccountTrade,
    Asset,
    Balance,
    CancelAllResult,
    Candle,
    Deposit,
    DepositAddress,
    Document,
    LiquidityPool,
    MarketInfo,
    MarketTicker,
    Message,
    OrderBookSnapshot,
    OrderCancelResult,
    OrderRequest,
    OrderResponse,
    OrderStatus,
    ServerTime,
    Trade,
    Withdrawal,
)
from nkfast.wire.symbols import TradingPair

#: Anything else would be changed on the way, or would end the request line early.
_PATH = re.compile(r"/[!-\"$-~]*", re.ASCII)

#: By endpoint.
READS_REMEMBERED = 256

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Message)
R = TypeVar("R", OrderStatus, AccountTrade)


class Call(Generic[T]):
    """One request of the REST interface and how its reply is read.

    Attributes
    ----------
    method : {"GET", "POST"}
        A POST changes something.
    target : str
        Path and query as they go over the wire, relative to the base URL.
    body : bytes
        As it goes over the wire.
    endpoint : str
        The path without arguments, for errors.
    read : callable
        Takes the decoded JSON and returns what the caller wants, or raises `WireError`.
    withdraws : bool
        Whether the call moves assets out of the account, in whatever spelling.
    """

    __slots__ = (
        "body",
        "endpoint",
        "is_private",
        "method",
        "rate_class",
        "read",
        "target",
        "withdraws",
    )

    def __init__(
        self,
        method: Literal["GET", "POST"],
        target: str,
        body: bytes,
        is_private: bool,
        rate_class: RateClass,
        endpoint: str,
        read: Callable[[Any], T],
    ) -> None:
        self.method = method
        self.target = target
        self.body = body
        self.is_private = is_private
        self.rate_class: RateClass = rate_class
        self.endpoint = endpoint
        self.read = read
        self.withdraws = "createwithdrawal" in unquote(target).lower()

    @property
    def changes(self) -> bool:
        """Whether the call changes something at the venue, so that it is sent once."""
        return self.method == "POST"

    def replace(self, read: Callable[[Any], M]) -> "Call[M]":
        """Return the same request with another reading of its reply."""
        return Call(
            self.method,
            self.target,
            self.body,
            self.is_private,
            self.rate_class,
            self.endpoint,
            read,
        )


def remembering(build: Callable[P, Call[T]]) -> Callable[P, Call[T]]:
    """Return one of these functions so that it makes the same read only once.

    Bots ask the same few questions again and again, and making a call takes a third of what it
    takes to carry it out.
    """
    row = ENDPOINTS.get(build.__name__)
    if row is None or row.changes:
        return build
    remembered: Any = functools.lru_cache(maxsize=READS_REMEMBERED, typed=True)(build)
    return cast(Callable[P, Call[T]], remembered)


def describe_method(method: Any, build: Callable[..., Call[Any]], owner: str) -> None:
    """Give a client's method the name, documentation and signature of one of these functions."""
    functools.update_wrapper(method, build)
    method.__qualname__ = f"{owner}.{build.__name__}"
    signature = inspect.signature(build)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    [result] = get_args(signature.return_annotation)
    method.__signature__ = signature.replace(
        parameters=[itself, *signature.parameters.values()], return_annotation=result
    )


def _row(name: str, arguments: Mapping[str, object], read: Callable[[Any], T]) -> Call[T]:
    row = ENDPOINTS[name]
    target = codec.build_target(row, arguments)
    body = codec.build_body(row, arguments) if row.changes else b""
    return Call(row.method, target, body, row.is_private, row.rate_class, row.path, read)


def _one(model: type[M], name: str, **arguments: object) -> Call[M]:
    row = ENDPOINTS[name]
    assert row.reply is model and not row.is_list
    return _row(name, arguments, functools.partial(codec.read_models, row))


def _many(model: type[M], name: str, **arguments: object) -> Call[list[M]]:
    def read(reply: Any) -> list[M]:
        rows = codec.read_models(ENDPOINTS[name], reply)
        assert isinstance(rows, list) and (not rows or isinstance(rows[0], model))
        return rows

    return _row(name, arguments, read)


def _of_market(
    model: type[R], name: str, *, symbol: str | None, **arguments: object
) -> Call[list[R]]:
    wanted = None if symbol is None else TradingPair.parse(symbol).symbol

    def read(reply: Any) -> list[R]:
        rows: list[R] = codec.read_models(ENDPOINTS[name], reply)
        return [row for row in rows if wanted is None or row.symbol == wanted]

    return _row(name, arguments | {"symbol": symbol}, read)


# Public


def get_time() -> Call[ServerTime]:
    """Return the venue's clock (``/time``)."""
    return _one(ServerTime, "get_time")


def get_server_time() -> Call[ServerTime]:
    """Return the venue's clock (``/getservertime``, older)."""
    return _one(ServerTime, "get_server_time")


def get_info() -> Call[Document]:
    """Return the venue's description of itself (``/info``)."""
    return _one(Document, "get_info")


def get_summary() -> Call[list[Document]]:
    """Return the summary made for price aggregators (``/summary``)."""
    return _many(Document, "get_summary")


def get_cmc_assets() -> Call[Document]:
    """Return the assets as made for an aggregator (``/cmcassets``)."""
    return _one(Document, "get_cmc_assets")


def get_cmc_tickers() -> Call[Document]:
    """Return the tickers as made for an aggregator (``/cmctickers``)."""
    return _one(Document, "get_cmc_tickers")


def get_cmc_order_book(symbol: str) -> Call[Document]:
    """Return a book as made for an aggregator (``/cmcorderbook``)."""
    return _one(Document, "get_cmc_order_book", symbol=symbol)


def get_cmc_trades(symbol: str) -> Call[Document]:
    """Return trades as made for an aggregator (``/cmctrades``)."""
    return _one(Document, "get_cmc_trades", symbol=symbol)


def get_assets() -> Call[list[Asset]]:
    """Return every asset (``/asset/getlist``)."""
    return _many(Asset, "get_assets")


def get_asset(ticker: str | None = None, asset_id: str | None = None) -> Call[Asset]:
    """Return one asset, by ticker or id (``/asset/info``)."""
    return _one(Asset, "get_asset", ticker=ticker, asset_id=asset_id)


def get_asset_by_id(asset_id: str) -> Call[Asset]:
    """Return one asset (``/asset/getbyid``, older)."""
    return _one(Asset, "get_asset_by_id", asset_id=asset_id)


def get_asset_by_ticker(ticker: str) -> Call[Asset]:
    """Return one asset (``/asset/getbyticker``, older)."""
    return _one(Asset, "get_asset_by_ticker", ticker=ticker)


def get_markets() -> Call[list[MarketInfo]]:
    """Return every market with its trading rules (``/market/getlist``)."""
    return _many(MarketInfo, "get_markets")


def get_market(symbol: str | None = None, market_id: str | None = None) -> Call[MarketInfo]:
    """Return one market, by symbol or id (``/market/info``)."""
    return _one(MarketInfo, "get_market", symbol=symbol, market_id=market_id)


def get_market_by_id(market_id: str) -> Call[MarketInfo]:
    """Return one market (``/market/getbyid``, older)."""
    return _one(MarketInfo, "get_market_by_id", market_id=market_id)


def get_market_by_symbol(symbol: str) -> Call[MarketInfo]:
    """Return one market (``/market/getbysymbol``, older)."""
    return _one(MarketInfo, "get_market_by_symbol", symbol=symbol)


def get_order_book(
    symbol: str | None = None, market_id: str | None = None, limit: int | None = None
) -> Call[OrderBookSnapshot]:
    """Return a book, at most ``limit`` levels a side (``/market/orderbook``)."""
    return _one(
        OrderBookSnapshot, "get_order_book", symbol=symbol, market_id=market_id, limit=limit
    )


def get_order_book_by_symbol(symbol: str) -> Call[OrderBookSnapshot]:
    """Return a book (``/market/getorderbookbysymbol``, older)."""
    return _one(OrderBookSnapshot, "get_order_book_by_symbol", symbol=symbol)


def get_order_book_by_market_id(market_id: str) -> Call[OrderBookSnapshot]:
    """Return a book (``/market/getorderbookbymarketid``, older)."""
    return _one(OrderBookSnapshot, "get_order_book_by_market_id", market_id=market_id)


def get_ticker_order_book(symbol: str, depth: int | None = None) -> Call[OrderBookSnapshot]:
    """Return a book; ``depth`` is the total of both sides (``/orderbook``)."""
    return _one(OrderBookSnapshot, "get_ticker_order_book", symbol=symbol, depth=depth)


def get_order_book_snapshot(market_id: str) -> Call[OrderBookSnapshot]:
    """Return a whole book without its symbol (``/orderbook/snapshot``)."""
    return _one(OrderBookSnapshot, "get_order_book_snapshot", market_id=market_id)


def get_orders_snapshot(market_id: str) -> Call[OrderBookSnapshot]:
    """Return a whole book without its symbol (``/orders/snapshot``, older)."""
    return _one(OrderBookSnapshot, "get_orders_snapshot", market_id=market_id)


def get_candles(
    symbol: str,
    resolution_minutes: int,
    count: int,
    *,
    from_seconds: int | None = None,
    to_seconds: int | None = None,
    first_data_request: bool | None = None,
) -> Call[list[Candle]]:
    """Return bars, oldest first, none for an empty interval (``/market/candles``).

    ``resolution_minutes`` is one of 5, 15, 30, 60, 180, 240, 480, 720, 1440; the two bounds
    are Unix seconds.
    """
    return _many(
        Candle,
        "get_candles",
        symbol=symbol,
        resolution_minutes=resolution_minutes,
        count=count,
        from_seconds=from_seconds,
        to_seconds=to_seconds,
        first_data_request=first_data_request,
    )


def get_trades(symbol: str, limit: int | None = None) -> Call[list[Trade]]:
    """Return the latest public trades (``/market/trades``)."""
    return _many(Trade, "get_trades", symbol=symbol, limit=limit)


def get_historical_trades(symbol: str, limit: int | None = None) -> Call[list[Trade]]:
    """Return the latest public trades (``/historical_trades``, older)."""
    return _many(Trade, "get_historical_trades", symbol=symbol, limit=limit)


def get_market_trades(market_id: str, since_trade_id: str | None = None) -> Call[list[Trade]]:
    """Return public trades after a trade, without their symbol (``/trades``)."""
    return _many(Trade, "get_market_trades", market_id=market_id, since_trade_id=since_trade_id)


def get_tickers() -> Call[list[MarketTicker]]:
    """Return the ticker of every market (``/tickers``)."""
    return _many(MarketTicker, "get_tickers")


def get_ticker(symbol: str) -> Call[MarketTicker]:
    """Return the ticker of one market (``/ticker``)."""
    return _one(MarketTicker, "get_ticker", symbol=symbol)


def get_pairs() -> Call[list[Document]]:
    """Return every pair, markets and pools (``/pairs``)."""
    return _many(Document, "get_pairs")


def get_market_summaries(market_type: str | None = None) -> Call[list[Document]]:
    """Return the markets of a type, ``spot`` or ``pool`` (``/markets``)."""
    return _many(Document, "get_market_summaries", market_type=market_type)


def get_pools() -> Call[list[LiquidityPool]]:
    """Return every liquidity pool (``/pool/getlist``)."""
    return _many(LiquidityPool, "get_pools")


def get_pool(symbol: str | None = None, pool_id: str | None = None) -> Call[LiquidityPool]:
    """Return one pool, by symbol or id (``/pool/info``)."""
    return _one(LiquidityPool, "get_pool", symbol=symbol, pool_id=pool_id)


def get_pool_by_id(pool_id: str) -> Call[LiquidityPool]:
    """Return one pool (``/pool/getbyid``, older)."""
    return _one(LiquidityPool, "get_pool_by_id", pool_id=pool_id)


def get_pool_by_symbol(symbol: str) -> Call[LiquidityPool]:
    """Return one pool (``/pool/getbysymbol``, older)."""
    return _one(LiquidityPool, "get_pool_by_symbol", symbol=symbol)


def get_pool_trades(symbol: str, limit: int | None = None) -> Call[list[Trade]]:
    """Return the latest trades of a pool (``/pool/trades``)."""
    return _many(Trade, "get_pool_trades", symbol=symbol, limit=limit)


def get_historical_pool_trades(symbol: str, limit: int | None = None) -> Call[list[Trade]]:
    """Return the latest trades of a pool (``/historical_pooltrades``, older)."""
    return _many(Trade, "get_historical_pool_trades", symbol=symbol, limit=limit)


# Private


def get_balances() -> Call[list[Balance]]:
    """Return the account's balance of every listed asset, zeros too (``/balances``).

    A row has been seen missing once for an asset that was there: absence is not zero
    without a second look.
    """
    return _many(Balance, "get_balances")


def get_deposit_address(ticker: str) -> Call[DepositAddress]:
    """Return where an asset can be sent to (``/getdepositaddress``)."""
    return _one(DepositAddress, "get_deposit_address", ticker=ticker)


def get_deposits(
    ticker: str | None = None,
    *,
    limit: int | None = None,
    skip: int | None = None,
    since_ms: int | None = None,
) -> Call[list[Deposit]]:
    """Return incoming transfers, newest first (``/getdeposits``)."""
    return _many(Deposit, "get_deposits", ticker=ticker, limit=limit, skip=skip, since_ms=since_ms)


def get_withdrawals(
    ticker: str | None = None,
    *,
    limit: int | None = None,
    skip: int | None = None,
    since_ms: int | None = None,
) -> Call[list[Withdrawal]]:
    """Return outgoing transfers, newest first (``/getwithdrawals``)."""
    return _many(
        Withdrawal, "get_withdrawals", ticker=ticker, limit=limit, skip=skip, since_ms=since_ms
    )


def get_order(order_id: str) -> Call[OrderStatus]:
    """Return one order, by the venue's id or ours (``/getorder``)."""
    return _one(OrderStatus, "get_order", order_id=order_id)


def get_orders(
    symbol: str | None = None,
    *,
    status: Literal["active", "filled", "cancelled"] | None = None,
    limit: int | None = None,
    skip: int | None = None,
    since_ms: int | None = None,
) -> Call[list[OrderStatus]]:
    """Return orders, newest first (``/account/orders``); ``"active"`` ones are the open ones.

    Partly filled orders are active. Rows of other markets are taken out here, because the
    venue has been seen to ignore ``symbol`` in lists; they count towards ``limit`` (at most
    500) all the same.
    """
    return _of_market(
        OrderStatus,
        "get_orders",
        symbol=symbol,
        status=status,
        limit=limit,
        skip=skip,
        since_ms=since_ms,
    )


def get_orders_legacy(
    symbol: str | None = None,
    *,
    status: Literal["active", "filled", "cancelled"] | None = None,
    limit: int | None = None,
    skip: int | None = None,
    since_ms: int | None = None,
) -> Call[list[OrderStatus]]:
    """Return orders as `get_orders` does (``/getorders``, older)."""
    return _of_market(
        OrderStatus,
        "get_orders_legacy",
        symbol=symbol,
        status=status,
        limit=limit,
        skip=skip,
        since_ms=since_ms,
    )


def get_account_trades(
    symbol: str | None = None,
    *,
    limit: int | None = None,
    skip: int | None = None,
    since_ms: int | None = None,
) -> Call[list[AccountTrade]]:
    """Return the account's fills, newest first (``/account/trades``).

    The venue ignores ``symbol``: rows of other markets are taken out here and count towards
    ``limit``. Both ``limit`` and ``skip`` go to 500, so only the newest 1000 can be reached.
    """
    return _of_market(
        AccountTrade,
        "get_account_trades",
        symbol=symbol,
        limit=limit,
        skip=skip,
        since_ms=since_ms,
    )


def get_account_trades_legacy(
    symbol: str | None = None,
    *,
    limit: int | None = None,
    skip: int | None = None,
    since_ms: int | None = None,
) -> Call[list[AccountTrade]]:
    """Return the account's fills as `get_account_trades` does (``/gettrades``, older)."""
    return _of_market(
        AccountTrade,
        "get_account_trades_legacy",
        symbol=symbol,
        limit=limit,
        skip=skip,
        since_ms=since_ms,
    )


def get_account_trades_since(
    since_ms: int, symbol: str | None = None, *, limit: int = 500, skip: int = 0
) -> Call[list[AccountTrade]]:
    """Return the account's fills since a time, oldest first (``/gettradessince``)."""
    return _of_market(
        AccountTrade,
        "get_account_trades_since",
        since_ms=since_ms,
        symbol=symbol,
        limit=limit,
        skip=skip,
    )


def get_account_pool_trades(
    symbol: str | None = None,
    *,
    limit: int | None = None,
    skip: int | None = None,
    since_ms: int | None = None,
) -> Call[list[AccountTrade]]:
    """Return the account's swaps in liquidity pools, newest first (``/getpooltrades``)."""
    return _of_market(
        AccountTrade,
        "get_account_pool_trades",
        symbol=symbol,
        limit=limit,
        skip=skip,
        since_ms=since_ms,
    )


def get_account_pool_trades_since(
    since_ms: int, symbol: str | None = None, *, limit: int = 500, skip: int = 0
) -> Call[list[AccountTrade]]:
    """Return the account's swaps since a time, oldest first (``/getpooltradessince``)."""
    return _of_market(
        AccountTrade,
        "get_account_pool_trades_since",
        since_ms=since_ms,
        symbol=symbol,
        limit=limit,
        skip=skip,
    )


# Changes


def create_order(request: OrderRequest) -> Call[OrderResponse]:
    """Send one order, once (``/createorder``).

    Raises
    ------
    ModeError
        The client was made without ``allow_changes``.
    RejectedError, AuthenticationError, PermissionDeniedError, RateLimitError
        There is certainly no order from this call.
    DuplicateClientIdError
        There is an order with this client id: another's, or this one, sent twice on the way.
    UnreachableError
        Nothing was sent.
    OutcomeUnknownError
        The order may exist: look it up by its client id. Also raised when the answer
        describes another order than the one that was sent.
    """
    call = _one(
        OrderResponse,
        "create_order",
        symbol=request.symbol,
        side=request.side,
        order_type=request.order_type,
        quantity=request.quantity,
        price=request.price,
        user_provided_id=request.user_provided_id,
        strict_validate=request.strict_validate,
    )

    def read(reply: Any) -> OrderResponse:
        response = call.read(reply)
        field = codec.echo_mismatch(request, response)
        if field:
            raise WireError(f"the answer describes another order: {field} differs")
        return response

    return call.replace(read)


def cancel_order(order_id: str) -> Call[OrderCancelResult]:
    """Cancel an order, by the venue's id or ours (``/cancelorder``).

    `OrderNotFoundError` means that it is not open any more: look it up to learn why.
    """
    return _one(OrderCancelResult, "cancel_order", order_id=order_id)


def cancel_all_orders(
    symbol: str, side: Literal["all", "buy", "sell"] = "all"
) -> Call[CancelAllResult]:
    """Cancel all open orders on a market, whoever placed them (``/cancelallorders``)."""
    return _one(CancelAllResult, "cancel_all_orders", symbol=symbol, side=side)


def create_withdrawal(
    ticker: str, quantity: Decimal, address: str, *, payment_id: str | None = None
) -> Call[Withdrawal]:
    """Send an asset away from the account (``/createwithdrawal``).

    Refused unless the client was made with ``allow_withdrawals``.
    """
    return _one(
        Withdrawal,
        "create_withdrawal",
        ticker=ticker,
        quantity=quantity,
        address=address,
        payment_id=payment_id,
    )


# Anything else


def raw(
    method: Literal["GET", "POST"],
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    body: object = None,
    private: bool = False,
) -> Call[Any]:
    """Call any path and return the decoded JSON.

    Parameters
    ----------
    method : {"GET", "POST"}
        A POST counts as a change.
    path : str
        Relative to the base URL, beginning with ``/``, percent-encoded as it should be sent.
    params : mapping or None
        Query parameters; they are encoded here.
    body : object
        JSON content of a POST.
    private : bool
        Whether to sign.

    Raises
    ------
    VenueError, ModeError, ConfigError
    """
    if not _PATH.fullmatch(path):
        raise ConfigError(
            f"path must begin with '/' and be ASCII without spaces and '#', was {path!r}"
        )
    if method not in ("GET", "POST"):
        raise ConfigError(f"method must be GET or POST, was {method!r}")
    target = f"{path}{'&' if '?' in path else '?'}{urlencode(params)}" if params else path
    content = codec.encode_json(body) if method == "POST" else b""
    rate_class: RateClass = "private" if private else "public"
    return Call(method, target, content, private, rate_class, path, lambda reply: reply)
