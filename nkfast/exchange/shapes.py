"""The objects of the exchange as its clients see them: fields, spellings and oddities.

Each function gives one object of protocol.md; money is text in plain digits, fields whose names
end in ``Number`` repeat it as a JSON number, times are Unix milliseconds or ISO 8601 as the place
demands.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from nkfast.exchange.accounts import Account, Holding
from nkfast.exchange.candles import Bar
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.money import RATE_DECIMALS, RATE_UNIT, UNIT, text
from nkfast.exchange.orders import AccountTrade, Order, OrderStatus, Report, Side, Trade

__all__ = [
    "account_trade",
    "asset",
    "balance",
    "balance_change",
    "book_a",
    "book_b",
    "book_c",
    "book_changes",
    "book_levels",
    "candle",
    "dated_account_trade",
    "deposit_address",
    "historical_trade",
    "iso_time",
    "market",
    "older_account_trade",
    "order",
    "order_row",
    "pair",
    "placed_order",
    "pool",
    "pool_market",
    "pool_pair",
    "portfolio",
    "report",
    "rest_bar",
    "rest_ticker",
    "spot_market",
    "stream_ticker",
    "stream_trade",
    "trade_query_row",
    "trade_row",
    "trading_balance",
]

Object = dict[str, Any]

_PERCENT = 100


def iso_time(time_ms: int) -> str:
    """Return ISO 8601 in UTC with milliseconds and ``Z``."""
    return f"{_iso_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _iso_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def _price(listing: Listing, ticks: int) -> str:
    # A market without a price says "0".
    return listing.price_text(ticks) if ticks else "0"


def _change_percent(now: int, before: int) -> str:
    if not before:
        return "0.00"
    hundredths = (now - before) * _PERCENT * 100 // before
    return text(hundredths, 2)


# Orders


def order_row(order: Order) -> Object:
    """Return an order as the lists of orders show it."""
    listing = order.listing
    # A resting order is called New where it was created and Active afterwards.
    status = OrderStatus.ACTIVE if order.status is OrderStatus.NEW else order.status
    price = _price(listing, order.ticks or 0)
    return {
        "id": order.id,
        "userProvidedId": order.client_id,
        "market": {"id": listing.id, "symbol": listing.symbol},
        "symbol": listing.symbol,
        "side": order.side,
        "type": order.type,
        "price": price,
        "numberprice": float(price),
        "quantity": listing.quantity_text(order.lots),
        "executedQuantity": listing.quantity_text(order.executed_lots),
        "status": status.value,
        "isActive": order.is_open,
        "timestamp": order.created_ms,
        "createdAt": order.created_ms,
        "updatedAt": order.updated_ms,
    }


def order(order: Order) -> Object:
    """Return an order as getorder shows it."""
    fields = order_row(order)
    _add_remains(fields, order, order.remaining_lots)
    fields["lastTradeAt"] = order.last_trade_ms
    return fields


def _add_remains(fields: Object, order: Order, lots: int) -> None:
    listing = order.listing
    total = (order.ticks or 0) * lots
    total_text = text(total, listing.notional_decimals)
    fields["remainQuantity"] = listing.quantity_text(lots)
    fields["remainTotal"] = total_text
    if order.side == "buy":
        total *= RATE_UNIT + listing.taker_rate
        total_text = text(total, listing.notional_decimals + RATE_DECIMALS)
    fields["remainTotalWithFee"] = total_text


def placed_order(order: Order) -> Object:
    """Return an order as its creation is answered: accepted, whatever happened to it since."""
    fields = order_row(order)
    _add_remains(fields, order, order.lots)
    fields["executedQuantity"] = order.listing.quantity_text(0)
    fields["lastTradeAt"] = 0
    fields["status"] = OrderStatus.NEW.value
    fields["isActive"] = fields["isNew"] = True
    fields["updatedAt"] = order.created_ms
    return fields


def report(news: Report) -> Object:
    """Return the params of a ``report`` notification."""
    order_ = news.order
    listing = order_.listing
    is_open = news.status not in (OrderStatus.FILLED, OrderStatus.CANCELLED)
    fields = {
        "id": order_.id,
        "userProvidedId": order_.client_id,
        "symbol": listing.symbol,
        "side": order_.side,
        "status": news.status.value,
        "type": order_.type,
        "quantity": listing.quantity_text(order_.lots),
        "price": _price(listing, order_.ticks or 0),
        "executedQuantity": listing.quantity_text(news.executed_lots),
        "isActive": is_open,
        "createdAt": order_.created_ms,
        "updatedAt": news.time_ms,
        "reportType": news.kind,
    }
    if news.fill is not None:
        fields["tradeQuantity"] = listing.quantity_text(news.fill.trade.lots)
        fields["tradePrice"] = listing.price_text(news.fill.trade.ticks)
        fields["tradeId"] = news.fill.trade.id
        fields["tradeFee"] = text(news.fill.fee)
    return fields


# Trades


def account_trade(fill: AccountTrade) -> Object:
    """Return a row of ``account/trades``: the side is capitalised here and nowhere else."""
    trade, listing = fill.trade, fill.trade.listing
    total = listing.notional(trade.ticks, trade.lots)
    return {
        "id": trade.id,
        "market": {"id": listing.id, "symbol": listing.symbol},
        "orderid": fill.order.id,
        "side": fill.side.capitalize(),
        "triggeredBy": trade.side,
        "price": listing.price_text(trade.ticks),
        "quantity": listing.quantity_text(trade.lots),
        "fee": text(fill.fee),
        "totalWithFee": text(total + fill.fee if fill.side == "buy" else total - fill.fee),
        "alternateFeeAsset": None,
        "alternateFee": None,
        "timestamp": trade.time_ms,
    }


def older_account_trade(fill: AccountTrade) -> Object:
    """Return a row of ``gettradessince``: the older shape."""
    row = dated_account_trade(fill)
    del row["timestamp"]
    return {**row, "side": fill.side}


def dated_account_trade(fill: AccountTrade) -> Object:
    """Return a row of ``gettrades``: with the times that clients of the older shape read."""
    time_ms = fill.trade.time_ms
    return {**account_trade(fill), "createdAt": time_ms, "updatedAt": time_ms}


def historical_trade(trade: Trade) -> Object:
    """Return a row of ``market/trades``."""
    listing = trade.listing
    return {
        "trade_id": trade.id,
        "price": listing.price_text(trade.ticks),
        "base_volume": listing.quantity_text(trade.lots),
        "target_volume": text(listing.notional(trade.ticks, trade.lots)),
        "trade_timestamp": str(trade.time_ms),
        "type": trade.side,
    }


def trade_row(trade: Trade) -> Object:
    """Return a row of ``trades``."""
    listing = trade.listing
    return {
        "id": trade.id,
        "timestamp": iso_time(trade.time_ms),
        "price": listing.price_text(trade.ticks),
        "amount": listing.quantity_text(trade.lots),
        "side": trade.side,
    }


def stream_trade(trade: Trade) -> Object:
    """Return a trade of the stream; the aggressor's side is called ``side``."""
    return _stream_trade(trade, "side")


def trade_query_row(trade: Trade) -> Object:
    """Return a trade of getTrades; the aggressor's side is called ``triggeredBy``."""
    return _stream_trade(trade, "triggeredBy")


def _stream_trade(trade: Trade, side_name: str) -> Object:
    listing = trade.listing
    return {
        "id": trade.id,
        "price": listing.price_text(trade.ticks),
        "quantity": listing.quantity_text(trade.lots),
        side_name: trade.side,
        "timestamp": iso_time(trade.time_ms),
        "timestampms": trade.time_ms,
    }


# Books


def book_levels(listing: Listing, levels: Iterable[Sequence[int]]) -> list[dict[str, str]]:
    """Return levels as objects, as the stream has them."""
    return [
        {"price": listing.price_text(ticks), "quantity": listing.quantity_text(lots)}
        for ticks, lots in levels
    ]


def book_changes(
    listing: Listing, changes: Iterable[tuple[Side, int, int]], time: int | str
) -> Object:
    """Return the params of an ``updateOrderbook``: absolute quantities, zero deletes."""
    rows: dict[str, list[dict[str, str]]] = {"buy": [], "sell": []}
    for side, ticks, lots in changes:
        rows[side] += book_levels(listing, [(ticks, lots)])
    return {
        "symbol": listing.symbol,
        "sequence": listing.sequences.book,
        "timestamp": time,
        "asks": rows["sell"],
        "bids": rows["buy"],
    }


def book_a(listing: Listing, limit: int | None, now_ms: int) -> Object:
    """Return the reply of ``market/orderbook``; its sequence is that of the trades, as text."""
    bids, asks = listing.depth(limit)
    return {
        "marketid": listing.id,
        "symbol": listing.symbol,
        "timestamp": now_ms,
        "sequence": str(listing.sequences.trades),
        "bids": _numbered(book_levels(listing, bids)),
        "asks": _numbered(book_levels(listing, asks)),
    }


def _numbered(levels: list[dict[str, str]]) -> list[Object]:
    return [
        {"price": row["price"], "numberprice": float(row["price"]), "quantity": row["quantity"]}
        for row in levels
    ]


def book_b(listing: Listing, depth: int, now_ms: int) -> Object:
    """Return the reply of ``orderbook``; depth counts both sides together, at least one each."""
    bids, asks = listing.depth(max(1, (depth + 1) // 2))
    return {
        "ticker_id": listing.symbol.replace("/", "_"),
        "timestamp": str(now_ms),
        "bids": _pairs(listing, bids),
        "asks": _pairs(listing, asks),
    }


def book_c(listing: Listing, now_ms: int) -> Object:
    """Return the reply of ``orderbook/snapshot``."""
    bids, asks = listing.depth()
    return {
        "timestamp": iso_time(now_ms),
        "bids": _pairs(listing, bids),
        "asks": _pairs(listing, asks),
    }


def _pairs(listing: Listing, levels: Iterable[Sequence[int]]) -> list[list[str]]:
    return [[listing.price_text(ticks), listing.quantity_text(lots)] for ticks, lots in levels]


# Markets and tickers


class _Statistics:
    """A market's prices and volumes, as text, shared by all the shapes that show them."""

    def __init__(self, listing: Listing, now_ms: int) -> None:
        day = listing.candles.day(now_ms)
        bid, ask = listing.engine.best_bid, listing.engine.best_ask
        self.last = _price(listing, listing.last_ticks) if listing.last_ticks else _last(listing)
        self.yesterday = _price(listing, day.previous)
        self.high = _price(listing, day.high)
        self.low = _price(listing, day.low)
        self.bid = _price(listing, bid[0] if bid else 0)
        self.ask = _price(listing, ask[0] if ask else 0)
        self.change = _change_percent(listing.last_ticks, day.previous)
        self.spread = _change_percent(ask[0], bid[0]) if bid and ask else "0.00"
        self.volume = listing.quantity_text(day.volume)
        self.turnover = text(listing.notional(day.turnover, 1))

    def fields(self) -> Object:
        """Return what tickers of the stream and markets have in common."""
        texts = {
            "lastPrice": self.last,
            "yesterdayPrice": self.yesterday,
            "changePercent": self.change,
            "highPrice": self.high,
            "lowPrice": self.low,
            "volume": self.volume,
            "bestBid": self.bid,
            "bestAsk": self.ask,
        }
        numbers = {f"{name}Number": float(written) for name, written in texts.items()}
        return {**texts, **numbers, "spreadPercent": self.spread}


def _last(listing: Listing) -> str:
    return str(listing.row.get("lastPrice") or "0")


def rest_ticker(listing: Listing, now_ms: int) -> Object:
    """Return a ticker as REST shows it."""
    seen = _Statistics(listing, now_ms)
    return {
        "ticker_id": listing.symbol.replace("/", "_"),
        "type": "market",
        "base_currency": listing.market.base,
        "target_currency": listing.market.quote,
        "last_price": seen.last,
        "base_volume": seen.volume,
        "target_volume": seen.turnover,
        "bid": seen.bid,
        "ask": seen.ask,
        "high": seen.high,
        "low": seen.low,
        "previous_day_price": seen.yesterday,
        "change_percent": seen.change,
    }


def stream_ticker(exchange: Exchange, listing: Listing, now_ms: int) -> Object:
    """Return the params of a ``ticker`` notification."""
    seen = _Statistics(listing, now_ms)
    return {
        "symbol": listing.symbol,
        **seen.fields(),
        "lastPriceUpDown": listing.last_move,
        "volumeUsdNumber": float(seen.turnover) * exchange.usd_value(listing.market.quote),
        "lastTradeAt": listing.last_trade_ms,
        "updatedAt": now_ms,
        "sequence": listing.sequences.ticker,
    }


def market(
    exchange: Exchange, listing: Listing, now_ms: int, *, shows_assets: bool = False
) -> Object:
    """Return a market: an item of ``market/getlist``, the reply of getMarket.

    Live its assets are ids, in the documentation they are objects: ``shows_assets``.
    """
    seen = _Statistics(listing, now_ms)
    rules = listing.market
    primary, secondary = (
        asset(exchange, ticker) if shows_assets else exchange.assets[ticker]
        for ticker in (rules.base, rules.quote)
    )
    fields: Object = {
        "_id": listing.id,
        "id": listing.id,
        "symbol": listing.symbol,
        "primaryTicker": rules.base,
        "primaryName": rules.base,
        "primaryAsset": primary,
        "secondaryAsset": secondary,
        **seen.fields(),
        "spreadPercentNumber": float(seen.spread),
        "volumeSecondary": seen.turnover,
        "volumeSecondaryNumber": float(seen.turnover),
        "volumeUsdNumber": float(seen.turnover) * exchange.usd_value(rules.quote),
        "marketcapNumber": 0,
        "lastPriceUpDown": listing.last_move,
        "lineChart": "[]",
        "lastTradeAt": listing.last_trade_ms,
        "createdAt": listing.created_ms,
        "updatedAt": now_ms,
        "priceDecimals": listing.accepted_price_decimals,
        "quantityDecimals": listing.quantity_decimals,
        "minimumQuantity": text(listing.min_quantity),
        "minQuote": text(listing.min_notional),
        "isMinQuoteActive": listing.min_notional > 0,
        "minAllowedPrice": text(listing.min_price),
        "maxAllowedPrice": None if listing.max_price is None else text(listing.max_price),
        "allowMarketOrders": rules.allow_market_orders,
        "allowTriggerOrders": False,
        "isActive": listing.is_active,
        "isPaused": listing.is_paused,
        "pauseBuys": listing.pause_buys,
        "pauseSells": listing.pause_sells,
        "apiExcluded": False,
        "imageUUID": "",
        "engineId": "1",
        "assignedWebsites": [],
    }
    if listing.max_quantity is not None:
        fields["maximumQuantity"] = text(listing.max_quantity)
    # The real list names no fees; a file that does is repeated.
    fields |= {name: listing.row[name] for name in ("makerFee", "takerFee") if name in listing.row}
    return fields


def pair(listing: Listing) -> Object:
    """Return an item of ``pairs``."""
    return {
        "ticker_id": listing.symbol.replace("/", "_"),
        "base": listing.market.base,
        "target": listing.market.quote,
        "type": "market",
    }


def spot_market(listing: Listing) -> Object:
    """Return an item of ``markets``."""
    return {
        "id": listing.id,
        "base": listing.market.base,
        "quote": listing.market.quote,
        "type": "spot",
        "market_url": f"https://nonkyc.io/market/{listing.symbol.replace('/', '_')}",
        "active": "true" if listing.is_active else "false",
        "description": f"{listing.symbol} spot market",
    }


def pool(exchange: Exchange, symbol: str) -> Object:
    """Return a liquidity pool; the exchange shows no reserves."""
    base, _, quote = symbol.partition("/")
    return {
        "id": exchange.pools[symbol],
        "symbol": symbol,
        "primaryAsset": exchange.assets.get(base, ""),
        "secondaryAsset": exchange.assets.get(quote, ""),
        **dict.fromkeys(("lastPrice", "highPrice", "lowPrice", "volume"), "0"),
        "lineChart": "[]",
        "lastTradeAt": 0,
        "isActive": True,
    }


def pool_pair(symbol: str) -> Object:
    """Return the item of ``pairs`` of a pool."""
    base, _, quote = symbol.partition("/")
    return {"ticker_id": f"{base}_{quote}", "base": base, "target": quote, "type": "liquiditypool"}


def pool_market(exchange: Exchange, symbol: str) -> Object:
    """Return the item of ``markets`` of a pool."""
    base, _, quote = symbol.partition("/")
    return {
        "id": exchange.pools[symbol],
        "base": base,
        "quote": quote,
        "type": "pool",
        "market_url": f"https://nonkyc.io/pool/{base}_{quote}",
        "active": "true",
        "description": f"{symbol} liquidity pool",
    }


# Candles


def rest_bar(listing: Listing, bar: Bar) -> Object:
    """Return a bar of ``market/candles``: numbers throughout, time in milliseconds."""
    return {
        "time": bar.start_ms,
        "open": float(listing.price_text(bar.open)),
        "high": float(listing.price_text(bar.high)),
        "low": float(listing.price_text(bar.low)),
        "close": float(listing.price_text(bar.close)),
        "volume": float(text(bar.volume, listing.quantity_decimals)),
    }


def candle(listing: Listing, bar: Bar) -> Object:
    """Return a bar of the stream, with its time under both names."""
    time = iso_time(bar.start_ms)
    return {
        "timestamp": time,
        "datetime": time,
        "open": listing.price_text(bar.open),
        "close": listing.price_text(bar.close),
        "min": listing.price_text(bar.low),
        "max": listing.price_text(bar.high),
        "volume": text(bar.volume, listing.quantity_decimals),
    }


# Assets and balances


def asset(exchange: Exchange, ticker: str) -> Object:
    """Return an asset, on REST and on the WebSocket alike."""
    asset_id = exchange.assets[ticker]
    flags = ("hasChildren", "isChild", "isToken", "useParentAddress", "isDeflationary")
    texts = ("logo", "depositNotes", "withdrawalNotes", "website", "coinMarketCap", "coinGecko")
    patterns = ("explorer", "explorerTxid", "explorerAddress", "addressRegEx", "payidRegEx")
    return {
        "_id": asset_id,
        "id": asset_id,
        "ticker": ticker,
        "name": ticker,
        "network": ticker,
        "isActive": True,
        **dict.fromkeys(flags, False),
        **dict.fromkeys((*texts, *patterns), ""),
        "childOf": None,
        "tokenOf": None,
        "tokenDetails": {},
        "usdValue": f"{exchange.usd_value(ticker):.8f}",
        "depositActive": True,
        "depositPayid": False,
        "withdrawalActive": False,
        "withdrawalPayid": False,
        "withdrawalPayidRequired": False,
        "confirmsRequired": 1,
        "withdrawDecimals": 8,
        "withdrawFee": "0",
        "socialCommunity": {},
        "circulation": "0",
        "canLiquidityPool": False,
        "canStake": False,
        "canVote": False,
        "createdAt": exchange.created_ms,
        "updatedAt": exchange.created_ms,
    }


def balance(exchange: Exchange, account: Account, ticker: str) -> Object:
    """Return a row of ``balances``; there is one for every listed asset."""
    holding = account.shown_holding(ticker)
    return {
        "asset": ticker,
        "name": ticker,
        "available": text(holding.available),
        "pending": text(holding.pending),
        "held": text(holding.held),
        "assetid": exchange.assets.get(ticker, ""),
    }


def portfolio(exchange: Exchange, account: Account) -> dict[str, str]:
    """Return what an account is worth, as ``currentBalances`` says it."""
    usd = sum(
        holding.total / UNIT * exchange.usd_value(ticker)
        for ticker, holding in account.holdings.items()
    )
    btc_usd = exchange.usd_value("BTC")
    return {
        "totalUsdValue": f"{usd:.2f}",
        "totalBtcValue": f"{usd / btc_usd if btc_usd else 0.0:.8f}",
    }


def deposit_address(exchange: Exchange, account: Account, ticker: str) -> Object:
    """Return a deposit address; nothing sent there would ever arrive."""
    return {
        "address": f"simulated{exchange.assets[ticker]}{account.number:04d}",
        "paymentid": "",
        "ticker": ticker,
        "network": ticker,
    }


def trading_balance(account: Account, ticker: str) -> Object:
    """Return a row of getTradingBalance."""
    holding = account.shown_holding(ticker)
    return {"asset": ticker, "available": text(holding.available), "held": text(holding.held)}


def balance_change(exchange: Exchange, account: Account, ticker: str) -> Object:
    """Return the params of a ``balanceUpdate``, also an item of ``currentBalances``."""
    holding = account.holdings.get(ticker, Holding())
    return {
        "assetId": exchange.assets.get(ticker, ""),
        "ticker": ticker,
        "available": text(holding.available),
        "held": text(holding.held),
        "pending": text(holding.pending),
        "changePercent": "0.00",
    }
