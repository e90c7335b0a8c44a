"""The venue's REST interface for asyncio: one method for each row of the REST table.

A request is built once and the same bytes are signed and sent. Reads are retried with jitter;
what changes something is sent exactly once, and an answer that is lost or is not the venue's own
becomes `OutcomeUnknownError`: look the order up, never send it again.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from nkfast.client import calls
from nkfast.client.async_connections import AsyncConnections
from nkfast.client.calls import Call
from nkfast.client.nonces import KeyNonces
from nkfast.client.rest_session import (
    AllowChanges,
    Answer,
    Lost,
    RestSession,
    Steps,
    Wait,
)
from nkfast.client.roads import USER_AGENT, Request, Road
from nkfast.client.throttle import Throttle
from nkfast.client.time_sync import TimeSync
from nkfast.errors import VenueError, WireError
from nkfast.wire.addresses import BASE_URL
from nkfast.wire.models import ApiCredentials

__all__ = ["AsyncRestClient"]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("nkfast.client.async_rest")


def _method(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate["AsyncRestClient", P], Coroutine[Any, Any, T]]:
    make = calls.remembering(build)

    async def method(self: "AsyncRestClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        session = self._session
        if session.time_sync is not None and self._time_task is None:
            self._start_time(session.time_sync)
        now = asyncio.get_running_loop().time
        return await self._follow(session.steps(make(*args, **kwargs), now))

    calls.describe_method(method, build, "AsyncRestClient")
    return method


class AsyncRestClient:
    """A client of the venue's REST interface. Use it with ``async with``, or `close` it.

    Parameters
    ----------
    credentials : ApiCredentials or None
        Needed for private calls only. The secret is not kept, only the signer made from it.
    base_url : str
        Where paths begin, without a slash at the end.
    allow_changes : bool or "cancels"
        False refuses every call that changes something with `ModeError`, before anything is sent;
        ``"cancels"`` all but those that cancel orders.
    allow_withdrawals : bool
        False refuses to move assets out of the account, even where changes are allowed.
    basic_auth : bool
        True authenticates private calls with ``Authorization: Basic``. **The secret itself is then
        on the wire with each of them** and kept in memory, and nothing tells a repeated request
        from a new one. It is for a venue, or something before it, that takes nothing else.
    timeout_seconds : float
        For one attempt, from connecting to the last byte of the reply.
    attempts : int
        How often a read is tried in all. A change is sent once, whatever this says.
    throttle : Throttle or None
        None takes one with the default rates.
    nonces : KeyNonces or None
        None takes nonces that grow over all clients of the key, in all processes of the user, and
        over restarts: ``KeyNonces(api_key)``, which has options. None are needed for Basic
        authentication, nor where there are no credentials.
    time_sync : TimeSync or None
        Given, it is fed in the background from the first call on; else from the first time that
        `skew_ms` is asked for.
    ssl_context : ssl.SSLContext or None
        None takes the system's authorities. Verification cannot be switched off: a context that
        does not verify certificate and host name is refused.
    proxy : str or None
        ``http://``, ``https://``, ``socks4://`` or ``socks5://``, with user and password if it
        needs them.
    trust_environment : bool
        Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY are obeyed where ``proxy`` is None.
    connections : int
        At most so many reads at once; changes do not wait behind them. So many are kept alive.
    user_agent : str

    Notes
    -----
    Arguments and results of the methods are described in `nkfast.client.calls`; `RestClient` is
    the same for programs without asyncio. Every `VenueError` says in ``sent`` whether the request
    reached the venue. A read on a kept connection that turns out to be dead is sent on another one
    within the same attempt, with a nonce of its own.

    A read can be cancelled. A change can be before it is sent; later, whoever cancels it gets
    `OutcomeUnknownError` in place of `asyncio.CancelledError`, also out of `asyncio.timeout`, for
    the order may exist. The request itself goes on, and how it ended is logged.
    """

    def __init__(
        self,
        credentials: ApiCredentials | None = None,
        *,
        base_url: str = BASE_URL,
        allow_changes: AllowChanges = False,
        allow_withdrawals: bool = False,
        basic_auth: bool = False,
        timeout_seconds: float = 10.0,
        attempts: int = 4,
        throttle: Throttle | None = None,
        nonces: KeyNonces | None = None,
        time_sync: TimeSync | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_environment: bool = False,
        connections: int = 20,
        user_agent: str = USER_AGENT,
    ) -> None:
        road = Road(
            base_url,
            ssl_context=ssl_context,
            proxy=proxy,
            trust_environment=trust_environment,
            user_agent=user_agent,
            timeout_seconds=timeout_seconds,
            connections=connections,
        )
        self._session = RestSession(
            credentials,
            base_url=base_url,
            allow_changes=allow_changes,
            allow_withdrawals=allow_withdrawals,
            basic_auth=basic_auth,
            attempts=attempts,
            throttle=throttle,
            nonces=nonces,
            time_sync=time_sync,
        )
        self._connections = AsyncConnections(road)
        self._read_slots = asyncio.Semaphore(connections)
        self._time_task: asyncio.Task[None] | None = None
        self._is_closed = False

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
        self._is_closed = True
        task, self._time_task = self._time_task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._connections.close()

    @property
    def skew_ms(self) -> float | None:
        """How far our clock is ahead of the venue's; None while that is not known.

        A client without a `TimeSync` makes one when this is first asked for, and measures in the
        background from then on, until it is closed; a closed client begins no more.
        """
        session = self._session
        if session.time_sync is None and not self._is_closed:
            session.time_sync = TimeSync()
            with suppress(RuntimeError):  # outside a loop: with the next call
                self._start_time(session.time_sync)
        return None if session.time_sync is None else session.time_sync.skew_ms

    # Public

    get_time = _method(calls.get_time)
    get_server_time = _method(calls.get_server_time)
    get_info = _method(calls.get_info)
    get_summary = _method(calls.get_summary)
    get_cmc_assets = _method(calls.get_cmc_assets)
    get_cmc_tickers = _method(calls.get_cmc_tickers)
    get_cmc_order_book = _method(calls.get_cmc_order_book)
    get_cmc_trades = _method(calls.get_cmc_trades)
    get_assets = _method(calls.get_assets)
    get_asset = _method(calls.get_asset)
    get_asset_by_id = _method(calls.get_asset_by_id)
    get_asset_by_ticker = _method(calls.get_asset_by_ticker)
    get_markets = _method(calls.get_markets)
    get_market = _method(calls.get_market)
    get_market_by_id = _method(calls.get_market_by_id)
    get_market_by_symbol = _method(calls.get_market_by_symbol)
    get_order_book = _method(calls.get_order_book)
    get_order_book_by_symbol = _method(calls.get_order_book_by_symbol)
    get_order_book_by_market_id = _method(calls.get_order_book_by_market_id)
    get_ticker_order_book = _method(calls.get_ticker_order_book)
    get_order_book_snapshot = _method(calls.get_order_book_snapshot)
    get_orders_snapshot = _method(calls.get_orders_snapshot)
    get_candles = _method(calls.get_candles)
    get_trades = _method(calls.get_trades)
    get_historical_trades = _method(calls.get_historical_trades)
    get_market_trades = _method(calls.get_market_trades)
    get_tickers = _method(calls.get_tickers)
    get_ticker = _method(calls.get_ticker)
    get_pairs = _method(calls.get_pairs)
    get_market_summaries = _method(calls.get_market_summaries)
    get_pools = _method(calls.get_pools)
    get_pool = _method(calls.get_pool)
    get_pool_by_id = _method(calls.get_pool_by_id)
    get_pool_by_symbol = _method(calls.get_pool_by_symbol)
    get_pool_trades = _method(calls.get_pool_trades)
    get_historical_pool_trades = _method(calls.get_historical_pool_trades)

    # Private

    get_balances = _method(calls.get_balances)
    get_deposit_address = _method(calls.get_deposit_address)
    get_deposits = _method(calls.get_deposits)
    get_withdrawals = _method(calls.get_withdrawals)
    get_order = _method(calls.get_order)
    get_orders = _method(calls.get_orders)
    get_orders_legacy = _method(calls.get_orders_legacy)
    get_account_trades = _method(calls.get_account_trades)
    get_account_trades_legacy = _method(calls.get_account_trades_legacy)
    get_account_trades_since = _method(calls.get_account_trades_since)
    get_account_pool_trades = _method(calls.get_account_pool_trades)
    get_account_pool_trades_since = _method(calls.get_account_pool_trades_since)

    # Changes

    create_order = _method(calls.create_order)
    cancel_order = _method(calls.cancel_order)
    cancel_all_orders = _method(calls.cancel_all_orders)
    create_withdrawal = _method(calls.create_withdrawal)

    # Anything else

    raw = _method(calls.raw)

    # How a call is carried out

    async def _follow(self, steps: Steps[T]) -> T:
        result: Answer | Lost | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                value: T = end.value
                return value
            result = None
            if isinstance(step, Request):
                if step.method == "GET":
                    await self._read_slots.acquire()
                    try:
                        result = await self._connections.send(step)
                    finally:
                        self._read_slots.release()
                else:
                    result = await self._connections.send(step)
            elif isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
            else:
                await self._connections.retire()

    def _start_time(self, time_sync: TimeSync) -> None:
        loop = asyncio.get_running_loop()
        self._time_task = loop.create_task(self._keep_time(time_sync))

    async def _keep_time(self, time_sync: TimeSync) -> None:
        now = asyncio.get_running_loop().time
        while True:
            try:
                await self._follow(self._session.measure(time_sync, now))
            except (VenueError, WireError) as error:
                _log.warning("the venue's time is not known: %s", error)
            await asyncio.sleep(time_sync.pause_seconds)
