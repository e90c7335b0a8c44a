"""From a configuration to a venue: what its mode trades on, and with which account."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from nkfast.app.config.bot import BotConfig
from nkfast.app.config.layers import nearest
from nkfast.app.credentials import find_credentials, require_credentials
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.budget import OrderBudget, account_digest, shared_throttle
from nkfast.client.nonces import KeyNonces
from nkfast.client.rest_session import AllowChanges
from nkfast.client.websocket import WebSocketClient
from nkfast.core.market import Market
from nkfast.directories import account_directory, nonce_directory
from nkfast.errors import ConfigError, NkfastError, SymbolNotFoundError
from nkfast.trading.account import AccountOrders
from nkfast.trading.account_board import AccountBoard
from nkfast.trading.exact import ZERO
from nkfast.trading.strategy import Strategy
from nkfast.venue.clock import Clock
from nkfast.venue.live import LiveVenue
from nkfast.venue.live_feed import LiveFeed
from nkfast.venue.paper import PaperVenue
from nkfast.wire.models import ApiCredentials, MarketInfo

__all__ = [
    "Connection",
    "chosen_symbols",
    "connected",
    "open_rest",
    "paper_funds",
    "paper_venue",
    "read_markets",
    "shared_account",
]

#: Of a pretended account whose funds nobody gave, in units of the home market's quote asset.
_PAPER_WORTH = Decimal(1000)


@dataclass(frozen=True, slots=True)
class Connection:
    """A venue that is not started yet, and the strategy that was made for its markets.

    ``account`` says whose money it is: "real", "read only" or "pretended"; ``orders`` is what the
    instances of a real account share.
    """

    venue: LiveVenue | PaperVenue
    rest: AsyncRestClient
    strategy: Strategy
    symbols: tuple[str, ...]  # the home market first
    account: str
    orders: AccountOrders
    feed: LiveFeed | None = None  # of a paper venue

    def counters(self) -> Mapping[str, int]:
        """Return those of the venue, and of its connection (``connection_...``)."""
        own = {} if self.feed is None else self.feed.counters
        return {**self.venue.counters, **{f"connection_{name}": n for name, n in own.items()}}


def open_rest(
    rest_url: str, credentials: ApiCredentials | None, *, allow_changes: AllowChanges = False
) -> AsyncRestClient:
    """Return a client that shares nonces and rate budget with all processes of the user."""
    nonces, key = None, None
    if credentials is not None:
        key = credentials.api_key
        nonces = KeyNonces(key, directory=nonce_directory())
    return AsyncRestClient(
        credentials,
        base_url=rest_url,
        allow_changes=allow_changes,
        throttle=shared_throttle(rest_url, key),
        nonces=nonces,
    )


def shared_account(rest_url: str, credentials: ApiCredentials, clock: Clock) -> AccountOrders:
    """Return what orders must not trade with and may be sent, over all processes of the user."""
    digest = account_digest(rest_url, credentials.api_key)
    return AccountOrders(
        AccountBoard(account_directory() / digest, clock),
        OrderBudget(shared_throttle(rest_url, credentials.api_key)),
    )


async def read_markets(rest: AsyncRestClient) -> dict[str, tuple[Market, MarketInfo]]:
    """Return every market that the exchange lists and that can be read, by symbol."""
    found = {}
    for info in await rest.get_markets():
        try:
            market = Market.from_wire(info.raw)
        except (NkfastError, ValueError):
            continue  # one odd market does not keep the others from being traded
        found[market.symbol] = (market, info)
    return found


@asynccontextmanager
async def connected(
    config: BotConfig,
    clock: Clock,
    resume: Callable[[Mapping[str, Decimal]], Mapping[str, Decimal]] | None = None,
) -> AsyncIterator[Connection]:
    """Read the markets, make the strategy and the venue of the configuration's mode.

    ``resume`` is told what a pretended account begins with, and says what it holds.

    Raises
    ------
    nkfast.errors.SymbolNotFoundError
        The exchange does not list a market.
    nkfast.errors.AuthenticationError
        Mode live, and there is no API key.
    """
    mode = config.common.mode
    if mode == "live":
        credentials: ApiCredentials | None = require_credentials()
    elif mode == "monitor":
        credentials = find_credentials().credentials
    else:
        credentials = None
    exchange = config.exchange
    async with open_rest(exchange.rest_url, credentials, allow_changes=mode == "live") as rest:
        listed = await read_markets(rest)
        symbols = chosen_symbols(config, {symbol: market for symbol, (market, _) in listed.items()})
        markets = {symbol: listed[symbol][0] for symbol in symbols}
        strategy = config.kind.build(config.strategy, markets)
        home, info = listed[symbols[0]]
        if credentials is None:
            funds = paper_funds(config, home, info)
            if resume is not None:
                funds = resume(funds)
            venue, feed = paper_venue(config, markets, funds, clock)
            orders = AccountOrders()
            yield Connection(venue, rest, strategy, symbols, "pretended", orders, feed)
        else:
            connect = partial(
                WebSocketClient, exchange.ws_url, credentials, allow_changes=mode == "live"
            )
            live = LiveVenue(rest=rest, websocket=connect, clock=clock)
            if mode == "live":
                account, orders = "real", shared_account(exchange.rest_url, credentials, clock)
            else:
                account, orders = "read only", AccountOrders()
            yield Connection(live, rest, strategy, symbols, account, orders)


def paper_venue(
    config: BotConfig,
    markets: Mapping[str, Market],
    funds: Mapping[str, Decimal],
    clock: Clock,
) -> tuple[PaperVenue, LiveFeed]:
    """Return a venue of pretended money, and the feed that it has the real market from."""
    feed = LiveFeed(
        websocket=partial(WebSocketClient, config.exchange.ws_url),
        markets=markets.values(),
        clock=clock,
        on_lost=lambda reason: venue.interrupt(reason),
    )
    venue = PaperVenue(
        feed=feed,
        markets=markets.values(),
        funds=funds,
        clock=clock,
        latency_ns=config.paper.latency_ms * 1_000_000,
    )
    return venue, feed


def chosen_symbols(config: BotConfig, listed: Mapping[str, Market]) -> tuple[str, ...]:
    """Return the markets that a bot trades, its home first; refuse one that is not listed."""
    symbols = config.strategy.symbols(listed)
    if not symbols and config.common.symbol:
        symbols = (config.common.symbol,)
    if not symbols:
        raise ConfigError("the strategy finds no market to trade; give it one", "symbol")
    for symbol in symbols:
        if symbol not in listed:
            raise SymbolNotFoundError(
                f"{config.exchange.rest_url} lists no market {symbol};"
                f" {nearest(symbol, list(listed))}"
            )
    return tuple(symbols)


def paper_funds(config: BotConfig, market: Market, info: MarketInfo) -> Mapping[str, Decimal]:
    """Return what a pretended account begins with."""
    return config.paper.funds or _funds(market, info)


def _funds(market: Market, info: MarketInfo) -> dict[str, Decimal]:
    prices = [price for price in (info.bid, info.ask, info.last_price) if price]
    half = _PAPER_WORTH / 2
    if not prices:
        return {market.quote: _PAPER_WORTH}
    base = market.round_quantity(half / prices[0], "floor")
    return {market.quote: half, market.base: base if base > ZERO else ZERO}
