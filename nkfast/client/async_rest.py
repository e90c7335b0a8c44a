"""The venue's REST interface for asyncio: one method for each row of the REST table.

A request is built once and the same bytes are signed and sent. Reads are retried with jitter;
what changes something is sent exactly once, and an answer that is lost or is not the venue's own
becomes `OutcomeUnknownError`: look the order up, never send it again.
"""

import asyncio
import random
import ssl
from collections.abc import Mapping
from decimal import Decimal
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from nkfast.client.throttle import Throttle
from nkfast.core.signing import NonceSource, Signer
from nkfast.errors import (
    ConfigError,
    ModeError,
    NonceError,
    OutcomeUnknownError,
    RateLimitError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.wire import codec
from nkfast.wire.endpoints import ENDPOINTS, RateClass
from nkfast.wire.models import (
    AccountTrade,
    ApiCredentials,
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

__all__ = ["BASE_URL", "AsyncRestClient"]

BASE_URL = "https://api.nonkyc.io/api/v2"
#: The venue's front refuses the stock agents of HTTP libraries.
USER_AGENT = "nkfast (trading client)"
#: A reply that is longer is refused; the longest seen is the market list with more than 1 MB.
BODY_BYTES_MAX = 16 * 1024 * 1024
#: Waits before the attempts of a read are random up to these bounds, doubling from one to the next.
BACKOFF_SECONDS_FIRST = 0.25
BACKOFF_SECONDS_MAX = 5.0
#: After "Bad Nonce" nothing private is asked for so long (protocol: question 1).
NONCE_PAUSE_SECONDS = 2.0

M = TypeVar("M", bound=Message)


class AsyncRestClient:
    """A client of the venue's REST interface. Use it with ``async with``, or `close` it.

    Parameters
    ----------
    credentials : ApiCredentials or None
        Needed for private calls only. The secret is not kept, only the signer made from it.
    base_url : str
        Where paths begin, without a slash at the end.
    allow_changes : bool
        False refuses every call that changes something with `ModeError`, before anything is sent.
    timeout_seconds : float
        For one attempt, from asking for a connection to the last byte of the reply.
    attempts : int
        How often a read is tried in all. A change is sent once, whatever this says.
    throttle : Throttle or None
        None takes one with the default rates.
    nonces : NonceSource or None
        Share one between all clients of a key.
    ssl_context : ssl.SSLContext or None
        None takes the system's authorities; certificates are always verified.
    trust_environment : bool
        Whether HTTP_PROXY, HTTPS_PROXY and .netrc are obeyed.
    connections : int
        At most so many at once; they are kept alive and reused.
    user_agent : str

    Notes
    -----
    Every `VenueError` says in ``sent`` whether the request reached the venue.
    """

    def __init__(
        self,
        credentials: ApiCredentials | None = None,
        *,
        base_url: str = BASE_URL,
        allow_changes: bool = False,
        timeout_seconds: float = 10.0,
        attempts: int = 4,
        throttle: Throttle | None = None,
        nonces: NonceSource | None = None,
        ssl_context: ssl.SSLContext | None = None,
        trust_environment: bool = False,
        connections: int = 20,
        user_agent: str = USER_AGENT,
    ) -> None:
        if attempts < 1:
            raise ConfigError(f"attempts must be at least 1, was {attempts}")
        if not base_url.startswith(("http://", "https://")) or base_url.endswith("/"):
            raise ConfigError(f"base_url must be http(s)://host/path without '/', was {base_url!r}")
        self._signer = (
            Signer(credentials.api_key, credentials.api_secret, nonces=nonces or NonceSource())
            if credentials is not None
            else None
        )
        self._base_url = base_url
        self._allow_changes = allow_changes
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._attempts = attempts
        self._throttle = throttle if throttle is not None else Throttle()
        self._ssl_context = ssl_context
        self._trust_environment = trust_environment
        self._connections = connections
        self._user_agent = user_agent
        self._pool: _Pool | None = None
        self._retired: set[_Pool] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. The client opens new ones if it is used again."""
        await self._retire()
        for pool in tuple(self._retired):
            await pool.session.close()
        self._retired.clear()

    # Public

    async def get_time(self) -> ServerTime:
        """Return the venue's clock (``/time``)."""
        return await self._one(ServerTime, "get_time")

    async def get_server_time(self) -> ServerTime:
        """Return the venue's clock (``/getservertime``, older)."""
        return await self._one(ServerTime, "get_server_time")

    async def get_info(self) -> Document:
        """Return the venue's description of itself (``/info``)."""
        return await self._one(Document, "get_info")

    async def get_summary(self) -> list[Document]:
        """Return the summary made for price aggregators (``/summary``)."""
        return await self._many(Document, "get_summary")

    async def get_cmc_assets(self) -> Document:
        """Return the assets as made for an aggregator (``/cmcassets``)."""
        return await self._one(Document, "get_cmc_assets")

    async def get_cmc_tickers(self) -> Document:
        """Return the tickers as made for an aggregator (``/cmctickers``)."""
        return await self._one(Document, "get_cmc_tickers")

    async def get_cmc_order_book(self, symbol: str) -> Document:
        """Return a book as made for an aggregator (``/cmcorderbook``)."""
        return await self._one(Document, "get_cmc_order_book", symbol=symbol)

    async def get_cmc_trades(self, symbol: str) -> Document:
        """Return trades as made for an aggregator (``/cmctrades``)."""
        return await self._one(Document, "get_cmc_trades", symbol=symbol)

    async def get_assets(self) -> list[Asset]:
        """Return every asset (``/asset/getlist``)."""
        return await self._many(Asset, "get_assets")

    async def get_asset(self, ticker: str | None = None, asset_id: str | None = None) -> Asset:
        """Return one asset, by ticker or id (``/asset/info``)."""
        return await self._one(Asset, "get_asset", ticker=ticker, asset_id=asset_id)

    async def get_asset_by_id(self, asset_id: str) -> Asset:
        """Return one asset (``/asset/getbyid``, older)."""
        return await self._one(Asset, "get_asset_by_id", asset_id=asset_id)

    async def get_asset_by_ticker(self, ticker: str) -> Asset:
        """Return one asset (``/asset/getbyticker``, older)."""
        return await self._one(Asset, "get_asset_by_ticker", ticker=ticker)

    async def get_markets(self) -> list[MarketInfo]:
        """Return every market with its trading rules (``/market/getlist``)."""
        return await self._many(MarketInfo, "get_markets")

    async def get_market(
        self, symbol: str | None = None, market_id: str | None = None
    ) -> MarketInfo:
        """Return one market, by symbol or id (``/market/info``)."""
        return await self._one(MarketInfo, "get_market", symbol=symbol, market_id=market_id)

    async def get_market_by_id(self, market_id: str) -> MarketInfo:
        """Return one market (``/market/getbyid``, older)."""
        return await self._one(MarketInfo, "get_market_by_id", market_id=market_id)

    async def get_market_by_symbol(self, symbol: str) -> MarketInfo:
        """Return one market (``/market/getbysymbol``, older)."""
        return await self._one(MarketInfo, "get_market_by_symbol", symbol=symbol)

    async def get_order_book(
        self, symbol: str | None = None, market_id: str | None = None, limit: int | None = None
    ) -> OrderBookSnapshot:
        """Return a book, at most ``limit`` levels a side (``/market/orderbook``)."""
        return await self._one(
            OrderBookSnapshot, "get_order_book", symbol=symbol, market_id=market_id, limit=limit
        )

    async def get_order_book_by_symbol(self, symbol: str) -> OrderBookSnapshot:
        """Return a book (``/market/getorderbookbysymbol``, older)."""
        return await self._one(OrderBookSnapshot, "get_order_book_by_symbol", symbol=symbol)

    async def get_order_book_by_market_id(self, market_id: str) -> OrderBookSnapshot:
        """Return a book (``/market/getorderbookbymarketid``, older)."""
        return await self._one(
            OrderBookSnapshot, "get_order_book_by_market_id", market_id=market_id
        )

    async def get_ticker_order_book(
        self, symbol: str, depth: int | None = None
    ) -> OrderBookSnapshot:
        """Return a book; ``depth`` is the total of both sides (``/orderbook``)."""
        return await self._one(
            OrderBookSnapshot, "get_ticker_order_book", symbol=symbol, depth=depth
        )

    async def get_order_book_snapshot(self, market_id: str) -> OrderBookSnapshot:
        """Return a whole book without its symbol (``/orderbook/snapshot``)."""
        return await self._one(OrderBookSnapshot, "get_order_book_snapshot", market_id=market_id)

    async def get_orders_snapshot(self, market_id: str) -> OrderBookSnapshot:
        """Return a whole book without its symbol (``/orders/snapshot``, older)."""
        return await self._one(OrderBookSnapshot, "get_orders_snapshot", market_id=market_id)

    async def get_candles(
        self,
        symbol: str,
        resolution_minutes: int,
        count: int,
        *,
        from_seconds: int | None = None,
        to_seconds: int | None = None,
        first_data_request: bool | None = None,
    ) -> list[Candle]:
        """Return bars, oldest first, none for an empty interval (``/market/candles``).

        ``resolution_minutes`` is one of 5, 15, 30, 60, 180, 240, 480, 720, 1440; the two bounds
        are Unix seconds.
        """
        return await self._many(
            Candle,
            "get_candles",
            symbol=symbol,
            resolution_minutes=resolution_minutes,
            count=count,
            from_seconds=from_seconds,
            to_seconds=to_seconds,
            first_data_request=first_data_request,
        )

    async def get_trades(self, symbol: str, limit: int | None = None) -> list[Trade]:
        """Return the latest public trades (``/market/trades``)."""
        return await self._many(Trade, "get_trades", symbol=symbol, limit=limit)

    async def get_historical_trades(self, symbol: str, limit: int | None = None) -> list[Trade]:
        """Return the latest public trades (``/historical_trades``, older)."""
        return await self._many(Trade, "get_historical_trades", symbol=symbol, limit=limit)

    async def get_market_trades(
        self, market_id: str, since_trade_id: str | None = None
    ) -> list[Trade]:
        """Return public trades after a trade, without their symbol (``/trades``)."""
        return await self._many(
            Trade, "get_market_trades", market_id=market_id, since_trade_id=since_trade_id
        )

    async def get_tickers(self) -> list[MarketTicker]:
        """Return the ticker of every market (``/tickers``)."""
        return await self._many(MarketTicker, "get_tickers")

    async def get_ticker(self, symbol: str) -> MarketTicker:
        """Return the ticker of one market (``/ticker``)."""
        return await self._one(MarketTicker, "get_ticker", symbol=symbol)

    async def get_pairs(self) -> list[Document]:
        """Return every pair, markets and pools (``/pairs``)."""
        return await self._many(Document, "get_pairs")

    async def get_market_summaries(self, market_type: str | None = None) -> list[Document]:
        """Return the markets of a type, ``spot`` or ``pool`` (``/markets``)."""
        return await self._many(Document, "get_market_summaries", market_type=market_type)

    async def get_pools(self) -> list[LiquidityPool]:
        """Return every liquidity pool (``/pool/getlist``)."""
        return await self._many(LiquidityPool, "get_pools")

    async def get_pool(
        self, symbol: str | None = None, pool_id: str | None = None
    ) -> LiquidityPool:
        """Return one pool, by symbol or id (``/pool/info``)."""
        return await self._one(LiquidityPool, "get_pool", symbol=symbol, pool_id=pool_id)

    async def get_pool_by_id(self, pool_id: str) -> LiquidityPool:
        """Return one pool (``/pool/getbyid``, older)."""
        return await self._one(LiquidityPool, "get_pool_by_id", pool_id=pool_id)

    async def get_pool_by_symbol(self, symbol: str) -> LiquidityPool:
        """Return one pool (``/pool/getbysymbol``, older)."""
        return await self._one(LiquidityPool, "get_pool_by_symbol", symbol=symbol)

    async def get_pool_trades(self, symbol: str, limit: int | None = None) -> list[Trade]:
        """Return the latest trades of a pool (``/pool/trades``)."""
        return await self._many(Trade, "get_pool_trades", symbol=symbol, limit=limit)

    async def get_historical_pool_trades(
        self, symbol: str, limit: int | None = None
    ) -> list[Trade]:
        """Return the latest trades of a pool (``/historical_pooltrades``, older)."""
        return await self._many(Trade, "get_historical_pool_trades", symbol=symbol, limit=limit)

    # Private

    async def get_balances(self) -> list[Balance]:
        """Return the account's balance of every listed asset, zeros too (``/balances``).

        A row has been seen missing once for an asset that was there: absence is not zero
        without a second look.
        """
        return await self._many(Balance, "get_balances")

    async def get_deposit_address(self, ticker: str) -> DepositAddress:
        """Return where an asset can be sent to (``/getdepositaddress``)."""
        return await self._one(DepositAddress, "get_deposit_address", ticker=ticker)

    async def get_deposits(
        self,
        ticker: str | None = None,
        *,
        limit: int | None = None,
        skip: int | None = None,
        since_ms: int | None = None,
    ) -> list[Deposit]:
        """Return incoming transfers, newest first (``/getdeposits``)."""
        return await self._many(
            Deposit, "get_deposits", ticker=ticker, limit=limit, skip=skip, since_ms=since_ms
        )

    async def get_withdrawals(
        self,
        ticker: str | None = None,
        *,
        limit: int | None = None,
        skip: int | None = None,
        since_ms: int | None = None,
    ) -> list[Withdrawal]:
        """Return outgoing transfers, newest first (``/getwithdrawals``)."""
        return await self._many(
            Withdrawal, "get_withdrawals", ticker=ticker, limit=limit, skip=skip, since_ms=since_ms
        )

    async def get_order(self, order_id: str) -> OrderStatus:
        """Return one order, by the venue's id or ours (``/getorder``)."""
        return await self._one(OrderStatus, "get_order", order_id=order_id)

    async def get_orders(
        self,
        symbol: str | None = None,
        *,
        status: Literal["active", "filled", "cancelled"] | None = None,
        limit: int | None = None,
        skip: int | None = None,
        since_ms: int | None = None,
    ) -> list[OrderStatus]:
        """Return orders, newest first (``/account/orders``); ``"active"`` ones are the open ones.

        Partly filled orders are active. Rows of other markets are taken out here, because the
        venue has been seen to ignore ``symbol`` in lists; they count towards ``limit`` (at most
        500) all the same.
        """
        rows = await self._many(
            OrderStatus,
            "get_orders",
            symbol=symbol,
            status=status,
            limit=limit,
            skip=skip,
            since_ms=since_ms,
        )
        return _of_market(rows, symbol)

    async def get_orders_legacy(
        self,
        symbol: str | None = None,
        *,
        status: Literal["active", "filled", "cancelled"] | None = None,
        limit: int | None = None,
        skip: int | None = None,
        since_ms: int | None = None,
    ) -> list[OrderStatus]:
        """Return orders as `get_orders` does (``/getorders``, older)."""
        rows = await self._many(
            OrderStatus,
            "get_orders_legacy",
            symbol=symbol,
            status=status,
            limit=limit,
            skip=skip,
            since_ms=since_ms,
        )
        return _of_market(rows, symbol)

    async def get_account_trades(
        self,
        symbol: str | None = None,
        *,
        limit: int | None = None,
        skip: int | None = None,
        since_ms: int | None = None,
    ) -> list[AccountTrade]:
        """Return the account's fills, newest first (``/account/trades``).

        The venue ignores ``symbol``: rows of other markets are taken out here and count towards
        ``limit``. Both ``limit`` and ``skip`` go to 500, so only the newest 1000 can be reached.
        """
        rows = await self._many(
            AccountTrade,
            "get_account_trades",
            symbol=symbol,
            limit=limit,
            skip=skip,
            since_ms=since_ms,
        )
        return _of_market(rows, symbol)

    async def get_account_trades_legacy(
        self,
        symbol: str | None = None,
        *,
        limit: int | None = None,
        skip: int | None = None,
        since_ms: int | None = None,
    ) -> list[AccountTrade]:
        """Return the account's fills as `get_account_trades` does (``/gettrades``, older)."""
        rows = await self._many(
            AccountTrade,
            "get_account_trades_legacy",
            symbol=symbol,
            limit=limit,
            skip=skip,
            since_ms=since_ms,
        )
        return _of_market(rows, symbol)

    async def get_account_trades_since(
        self, since_ms: int, symbol: str | None = None, *, limit: int = 500, skip: int = 0
    ) -> list[AccountTrade]:
        """Return the account's fills since a time, oldest first (``/gettradessince``)."""
        rows = await self._many(
            AccountTrade,
            "get_account_trades_since",
            since_ms=since_ms,
            symbol=symbol,
            limit=limit,
            skip=skip,
        )
        return _of_market(rows, symbol)

    async def get_account_pool_trades(
        self,
        symbol: str | None = None,
        *,
        limit: int | None = None,
        skip: int | None = None,
        since_ms: int | None = None,
    ) -> list[AccountTrade]:
        """Return the account's swaps in liquidity pools, newest first (``/getpooltrades``)."""
        rows = await self._many(
            AccountTrade,
            "get_account_pool_trades",
            symbol=symbol,
            limit=limit,
            skip=skip,
            since_ms=since_ms,
        )
        return _of_market(rows, symbol)

    async def get_account_pool_trades_since(
        self, since_ms: int, symbol: str | None = None, *, limit: int = 500, skip: int = 0
    ) -> list[AccountTrade]:
        """Return the account's swaps since a time, oldest first (``/getpooltradessince``)."""
        rows = await self._many(
            AccountTrade,
            "get_account_pool_trades_since",
            since_ms=since_ms,
            symbol=symbol,
            limit=limit,
            skip=skip,
        )
        return _of_market(rows, symbol)

    # Changes

    async def create_order(self, request: OrderRequest) -> OrderResponse:
        """Send one order, once (``/createorder``).

        Raises
        ------
        ModeError
            The client was made without ``allow_changes``.
        RejectedError, AuthenticationError, PermissionDeniedError, RateLimitError
            There is certainly no order from this call.
        UnreachableError
            Nothing was sent.
        OutcomeUnknownError
            The order may exist: look it up by its client id. Also raised when the answer
            describes another order than the one that was sent.
        """
        response = await self._one(
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
        field = codec.echo_mismatch(request, response)
        if field:
            await self._retire()
            raise OutcomeUnknownError(
                f"the answer describes another order: {field} differs",
                endpoint="/createorder",
                sent="maybe",
            )
        return response

    async def cancel_order(self, order_id: str) -> OrderCancelResult:
        """Cancel an order, by the venue's id or ours (``/cancelorder``).

        `OrderNotFoundError` means that it is not open any more: look it up to learn why.
        """
        return await self._one(OrderCancelResult, "cancel_order", order_id=order_id)

    async def cancel_all_orders(
        self, symbol: str, side: Literal["all", "buy", "sell"] = "all"
    ) -> CancelAllResult:
        """Cancel all open orders on a market, whoever placed them (``/cancelallorders``)."""
        return await self._one(CancelAllResult, "cancel_all_orders", symbol=symbol, side=side)

    async def create_withdrawal(
        self, ticker: str, quantity: Decimal, address: str, *, payment_id: str | None = None
    ) -> Withdrawal:
        """Send an asset away from the account (``/createwithdrawal``)."""
        return await self._one(
            Withdrawal,
            "create_withdrawal",
            ticker=ticker,
            quantity=quantity,
            address=address,
            payment_id=payment_id,
        )

    # Anything else

    async def raw(
        self,
        method: Literal["GET", "POST"],
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        private: bool = False,
    ) -> Any:
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
        if not path.startswith("/") or not path.isascii():
            raise ConfigError(f"path must be ASCII and begin with '/', was {path!r}")
        if method not in ("GET", "POST"):
            raise ConfigError(f"method must be GET or POST, was {method!r}")
        target = path
        if params:
            target = f"{path}{'&' if '?' in path else '?'}{urlencode(params)}"
        content = codec.encode_json(body) if method == "POST" else b""
        return await self._call(
            method, target, content, private, "private" if private else "public", path
        )

    async def _one(self, model: type[M], name: str, **arguments: object) -> M:
        reply = await self._row(name, arguments)
        assert isinstance(reply, model)
        return reply

    async def _many(self, model: type[M], name: str, **arguments: object) -> list[M]:
        reply = await self._row(name, arguments)
        assert isinstance(reply, list) and all(isinstance(row, model) for row in reply)
        return reply

    async def _row(self, name: str, arguments: Mapping[str, object]) -> object:
        row = ENDPOINTS[name]
        target = codec.build_target(row, arguments)
        body = codec.build_body(row, arguments)
        reply = await self._call(row.method, target, body, row.is_private, row.rate_class, row.path)
        try:
            return codec.read_models(row, reply)
        except WireError as error:
            if not row.changes:
                raise
            await self._retire()
            raise OutcomeUnknownError(str(error), endpoint=row.path, sent="maybe") from error

    async def _call(
        self,
        method: Literal["GET", "POST"],
        target: str,
        body: bytes,
        is_private: bool,
        rate_class: RateClass,
        endpoint: str,
    ) -> Any:
        changes = method == "POST"
        if changes and not self._allow_changes:
            raise ModeError(endpoint, "monitor")
        if is_private and self._signer is None:
            raise ConfigError(f"{endpoint} is private: give the client credentials")
        attempts = 1 if changes else self._attempts
        for attempt in range(attempts):
            await self._throttle.acquire(rate_class)
            try:
                return await self._attempt(method, target, body, is_private, rate_class, endpoint)
            except (RateLimitError, UnreachableError) as error:
                wait = random.uniform(
                    0.0, min(BACKOFF_SECONDS_FIRST * 2**attempt, BACKOFF_SECONDS_MAX)
                )
                if isinstance(error, RateLimitError):
                    wait = max(wait, error.retry_after_seconds)
                    self._throttle.pause(rate_class, wait)
                if attempt + 1 == attempts:
                    raise
                await asyncio.sleep(wait)
            except NonceError:
                self._throttle.pause(rate_class, NONCE_PAUSE_SECONDS)
                raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self,
        method: str,
        target: str,
        body: bytes,
        is_private: bool,
        rate_class: RateClass,
        endpoint: str,
    ) -> Any:
        changes = method == "POST"
        url = self._base_url + target
        headers = {"Content-Type": "application/json"} if changes else {}
        if is_private and self._signer is not None:
            headers.update(self._signer.headers(url, body))
        progress = SimpleNamespace(is_connected=False)
        pool = self._open_pool()
        pool.in_flight += 1
        try:
            async with pool.session.request(
                method,
                # encoded: yarl must not touch what was signed.
                URL(url, encoded=True),
                data=body if changes else None,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                content = await _read_bounded(response)
            return codec.decode_reply(
                response.status,
                content,
                endpoint=endpoint,
                changes=changes,
                rate_class=rate_class,
                retry_after=response.headers.get("Retry-After", ""),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _lost(error, progress.is_connected, changes, endpoint) from error
        except OutcomeUnknownError:
            await self._retire()
            raise
        finally:
            pool.in_flight -= 1
            if pool in self._retired and not pool.in_flight:
                self._retired.discard(pool)
                await pool.session.close()

    async def _retire(self) -> None:
        # What comes next on connections that gave an answer not the venue's own, or one to another
        # request, cannot be trusted either: none of them is used again. Calls in flight end first.
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if pool.in_flight:
            self._retired.add(pool)
        else:
            await pool.session.close()

    def _open_pool(self) -> "_Pool":
        if self._pool is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_note_connection)
            trace.on_connection_reuseconn.append(_note_connection)
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, ssl=self._ssl_context or True
                ),
                timeout=self._timeout,
                trust_env=self._trust_environment,
                cookie_jar=aiohttp.DummyCookieJar(),
                # A compressed body could unfold to any size.
                auto_decompress=False,
                headers={
                    "User-Agent": self._user_agent,
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
                trace_configs=[trace],
            )
            # aiohttp would send a GET again on its own when a kept connection turns out to be
            # dead, with the nonce that is already used. It has no public switch for that.
            session._retry_connection = False
            self._pool = _Pool(session)
        return self._pool


class _Pool:
    """Connections that are kept alive and reused, and how many calls are under way on them."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.in_flight = 0


async def _note_connection(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: object
) -> None:
    context.trace_request_ctx.is_connected = True


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > BODY_BYTES_MAX:
            response.close()
            raise aiohttp.ClientPayloadError(f"reply is longer than {BODY_BYTES_MAX} bytes")
    return bytes(content)


def _lost(error: Exception, is_connected: bool, changes: bool, endpoint: str) -> VenueError:
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not is_connected:
        return UnreachableError(message, endpoint=endpoint, sent="no")
    if changes:
        return OutcomeUnknownError(message, endpoint=endpoint, sent="maybe")
    return UnreachableError(message, endpoint=endpoint, sent="maybe")


R = TypeVar("R", OrderStatus, AccountTrade)


def _of_market(rows: list[R], symbol: str | None) -> list[R]:
    if symbol is None:
        return rows
    wanted = TradingPair.parse(symbol).symbol
    return [row for row in rows if row.symbol == wanted]
