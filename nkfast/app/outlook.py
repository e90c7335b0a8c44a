"""What a bot would place if it started now, and what that takes."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from nkfast.app.config.bot import BotConfig
from nkfast.app.connection import chosen_symbols, open_rest, read_markets
from nkfast.app.credentials import find_credentials
from nkfast.client.async_rest import AsyncRestClient
from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.trading.exact import ONE, ZERO, add, multiply
from nkfast.trading.strategy import Desired, MarketView, Quote, Skip
from nkfast.venue.clock import RealClock
from nkfast.wire.models import MarketInfo, OrderBookSnapshot

__all__ = ["Outlook", "PlannedOrder", "look_ahead"]

#: An account whose size is not known is taken to be large enough for everything.
_PLENTY = Decimal(10) ** 12
_BOOK_LEVELS = 100
#: What amounts are told in where their own unit says little to a person.
_COUNTED_IN = "USDT"


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One order that a start would place; ``price`` is None for one at the market."""

    slot: str
    symbol: str
    side: str
    price: Decimal | None
    quantity: Decimal
    notional: Decimal  # quote units, at the price or the mid


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a start would do.

    ``needs`` is by asset, fees included; ``owns`` is empty where no account was asked.
    """

    symbols: tuple[str, ...]
    market: Market
    mid: Decimal | None
    spread: Decimal | None
    orders: tuple[PlannedOrder, ...]
    skips: tuple[Skip, ...]
    is_plan: bool  # legs to be taken at once, not orders to rest
    needs: Mapping[str, Decimal]
    owns: Mapping[str, Decimal]
    quote_worth: Decimal | None = None  # of a unit of the home market's quote asset, in USDT

    @property
    def missing(self) -> dict[str, Decimal]:
        """What the account lacks, by asset; empty where it was not asked."""
        if not self.owns:
            return {}
        return {
            asset: amount - self.owns.get(asset, ZERO)
            for asset, amount in self.needs.items()
            if amount > self.owns.get(asset, ZERO)
        }


async def look_ahead(config: BotConfig, *, assumes_plenty: bool = False) -> Outlook:
    """Let the strategy decide once on the books as they are; nothing is sent.

    Parameters
    ----------
    assumes_plenty : bool
        Whether it is to decide as if it owned enough of everything.

    Raises
    ------
    nkfast.errors.VenueError
        The exchange cannot be asked, or does not list a market.
    nkfast.errors.ConfigError
        The strategy does not fit the market.
    """
    credentials = None if config.common.mode == "paper" else find_credentials().credentials
    async with open_rest(config.exchange.rest_url, credentials) as rest:
        listed = await read_markets(rest)
        symbols = chosen_symbols(config, {name: market for name, (market, _) in listed.items()})
        markets = {symbol: listed[symbol][0] for symbol in symbols}
        books = dict(
            zip(
                symbols,
                await asyncio.gather(*(_read_book(rest, markets[name]) for name in symbols)),
                strict=True,
            )
        )
        owns: dict[str, Decimal] = {}
        if assumes_plenty:
            pass
        elif credentials is not None:
            owns = {row.asset: row.available for row in await rest.get_balances()}
        elif config.paper.funds:
            owns = dict(config.paper.funds)
    outlook = _decide(config, markets, books, owns)
    return replace(outlook, quote_worth=_worth(outlook.market.quote, listed))


def _worth(asset: str, listed: Mapping[str, tuple[Market, MarketInfo]]) -> Decimal | None:
    if asset == _COUNTED_IN:
        return ONE
    found = listed.get(f"{asset}/{_COUNTED_IN}")
    return None if found is None else found[1].last_price


async def _read_book(rest: AsyncRestClient, market: Market) -> OrderBook:
    snapshot: OrderBookSnapshot = await rest.get_order_book(
        symbol=market.symbol, limit=_BOOK_LEVELS
    )
    bids, asks = (
        [
            (market.price_to_ticks(level.price), lots)
            for level in levels
            for lots in (market.quantity_to_lots(market.round_quantity(level.quantity, "floor")),)
            if lots
        ]
        for levels in (snapshot.bids, snapshot.asks)
    )
    book = OrderBook(market)
    book.apply_snapshot(bids, asks, 1, now_ns=RealClock().monotonic_ns())
    return book


def _decide(
    config: BotConfig,
    markets: Mapping[str, Market],
    books: Mapping[str, OrderBook],
    owns: Mapping[str, Decimal],
) -> Outlook:
    home, *_ = markets
    assets = {asset for symbol in markets for asset in symbol.split("/")}
    funds = {asset: owns.get(asset, ZERO) if owns else _PLENTY for asset in assets}
    strategy = config.kind.build(config.strategy, markets)
    decision = strategy.decide(
        MarketView(
            market=markets[home],
            book=books[home],
            orders={},
            available=funds,
            total=funds,
            now_ms=RealClock().time_ns() // 1_000_000,
            markets=markets,
            books=books,
            changed=tuple(markets),
        )
    )
    quotes: Mapping[str, Quote] = {}
    skips: tuple[Skip, ...] = ()
    if isinstance(decision, Desired):
        quotes, skips = decision.quotes, tuple(decision.skips)
    orders, needs = [], defaultdict[str, Decimal](lambda: ZERO)
    for slot, quote in quotes.items():
        symbol = quote.symbol or home
        market, price = markets[symbol], quote.price or books[symbol].mid or ZERO
        notional = multiply(price, quote.quantity)
        orders.append(PlannedOrder(slot, symbol, quote.side, quote.price, quote.quantity, notional))
        if quote.side == "buy":
            rate = add(ONE, max(market.maker_fee, market.taker_fee))
            needs[market.quote] = add(needs[market.quote], multiply(notional, rate))
        else:
            needs[market.base] = add(needs[market.base], quote.quantity)
    best_bid, best_ask = books[home].best_bid, books[home].best_ask
    spread = None
    if best_bid is not None and best_ask is not None:
        spread = markets[home].ticks_to_price(best_ask[0] - best_bid[0])
    return Outlook(
        symbols=tuple(markets),
        market=markets[home],
        mid=books[home].mid,
        spread=spread,
        orders=tuple(orders),
        skips=skips,
        is_plan=not isinstance(decision, Desired),
        needs=dict(needs),
        owns={asset: owns[asset] for asset in sorted(assets) if asset in owns},
    )
