"""What the exchange answers to a WebSocket conversation (protocol.md 2.3 to 2.5)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from nkfast.errors import VenueError
from nkfast.exchange import shapes
from nkfast.exchange.accounts import Account
from nkfast.exchange.authentication import Authenticator
from nkfast.exchange.candles import RESOLUTIONS
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.orders import Trade
from nkfast.exchange.rules import OrderForm, refusal
from nkfast.wire.server_session import Channel, ChannelKind

__all__ = ["ExchangeDesk"]

_LIMIT: Final = 100
_LIMIT_MAX: Final = 1_000
_SNAPSHOT_TRADE_COUNT: Final = 50


class ExchangeDesk:
    """The `nkfast.wire.server_session.Desk` of a simulated exchange.

    Parameters
    ----------
    exchange : Exchange
    authenticator : Authenticator
    book_time : {"ms", "iso"}
        How book messages write their time: as seen live, or as documented.
    shows_assets : bool
        Whether markets show their assets as objects, as documented, and not as ids.
    now_ms : int
        Attribute: the time of the exchange; whoever drives the sessions keeps it.
    """

    def __init__(
        self,
        exchange: Exchange,
        authenticator: Authenticator,
        *,
        book_time: Literal["ms", "iso"] = "ms",
        shows_assets: bool = False,
    ) -> None:
        self._exchange = exchange
        self._authenticator = authenticator
        self._book_time = book_time
        self._shows_assets = shows_assets
        self.now_ms = 0

    def login(self, params: Mapping[str, Any]) -> str:
        """Check a login and return the name of the account."""
        return self._authenticator.login(params).name

    def public(self, method: str, params: Mapping[str, Any]) -> Any:
        """Answer one of the public methods."""
        exchange = self._exchange
        if method == "getMarkets":
            return [self._market(listing) for listing in exchange.listings.values()]
        if method == "getMarket":
            return self._market(self._listing(params))
        if method == "getTrades":
            return self._trades(params)
        ticker = params.get("ticker", params.get("currency"))
        if method == "getAssets" and ticker is None:
            return [shapes.asset(exchange, name) for name in exchange.assets]
        if ticker not in exchange.assets:
            raise refusal(2002, "Currency not found")
        found = shapes.asset(exchange, ticker)
        return [found] if method == "getAssets" else found

    def private(self, account: str, method: str, params: Mapping[str, Any]) -> Any:
        """Answer one of the private methods."""
        owner = self._exchange.account(account)
        if method == "newOrder":
            order = self._exchange.submit(owner, OrderForm.from_wire(params), self.now_ms)
            placed = shapes.placed_order(order)
            placed["reportType"] = "new"
            return placed
        if method == "cancelOrder":
            return self._cancel(owner, params)
        if method == "getOrders":
            listing = self._listing(params) if "symbol" in params else None
            return [_status_row(row) for row in self._open_orders(owner, listing)]
        return [
            shapes.trading_balance(owner, ticker)
            for ticker in dict.fromkeys([*self._exchange.assets, *owner.holdings])
        ]

    def channel(self, kind: ChannelKind, params: Mapping[str, Any]) -> Channel:
        """Return the channel that a public subscription names."""
        symbol = self._listing(params).symbol
        if kind != "candles":
            return Channel(kind, symbol)
        period = _integer(params, "period", 0)
        if period not in RESOLUTIONS:
            raise refusal(10001, f"period must be one of {RESOLUTIONS}")
        return Channel(kind, symbol, period)

    def snapshot(self, channel: Channel, params: Mapping[str, Any]) -> tuple[str, Any]:
        """Return what a public subscription begins with."""
        listing = self._exchange.listing(channel.symbol)
        if channel.kind == "ticker":
            return "ticker", shapes.stream_ticker(self._exchange, listing, self.now_ms)
        if channel.kind == "trades":
            newest = list(reversed(listing.trades))[:_SNAPSHOT_TRADE_COUNT]
            return "snapshotTrades", trades_message(listing, newest)
        limit = _integer(params, "limit", _LIMIT)
        if channel.kind == "candles":
            return "snapshotCandles", candles_message(listing, channel.period, limit)
        bids, asks = listing.depth(limit)
        return "snapshotOrderbook", {
            "symbol": listing.symbol,
            "sequence": listing.sequences.book,
            "timestamp": self.book_time(self.now_ms),
            "asks": shapes.book_levels(listing, asks),
            "bids": shapes.book_levels(listing, bids),
        }

    def state(self, account: str, kind: ChannelKind) -> dict[str, Any]:
        """Return what a private subscription is answered with."""
        owner = self._exchange.account(account)
        if kind == "reports":
            return {"method": "activeOrders", "result": self._open_orders(owner, None)}
        return {
            "method": "currentBalances",
            "timestamp": self.now_ms,
            "portfolioData": shapes.portfolio(self._exchange, owner),
            "result": [
                shapes.balance_change(self._exchange, owner, ticker)
                for ticker in dict.fromkeys([*self._exchange.assets, *owner.holdings])
            ],
        }

    def book_time(self, time_ms: int) -> int | str:
        """Return a time as book messages write it."""
        return time_ms if self._book_time == "ms" else shapes.iso_time(time_ms)

    def _market(self, listing: Listing) -> dict[str, Any]:
        return shapes.market(self._exchange, listing, self.now_ms, shows_assets=self._shows_assets)

    def _listing(self, params: Mapping[str, Any]) -> Listing:
        symbol = params.get("symbol")
        if not isinstance(symbol, str):
            raise refusal(10001, "Missing required input: symbol")
        return self._exchange.listing(symbol)

    def _open_orders(self, owner: Account, listing: Listing | None) -> list[dict[str, Any]]:
        return [
            {**shapes.order_row(order), "reportType": "status"}
            for order in owner.open_orders.values()
            if listing is None or order.listing is listing
        ]

    def _cancel(self, owner: Account, params: Mapping[str, Any]) -> dict[str, Any]:
        identifier = params.get("orderId", params.get("userProvidedId"))
        if not isinstance(identifier, str) or not identifier:
            raise refusal(10001, "Missing required input: orderId")
        order = self._exchange.cancel(owner, identifier, self.now_ms)
        cancelled = shapes.order(order)
        cancelled["isNew"] = False
        cancelled["reportType"] = "cancelled"
        return cancelled

    def _trades(self, params: Mapping[str, Any]) -> dict[str, Any]:
        listing = self._listing(params)
        trades = [*listing.trades]
        if "from" in params or "till" in params:
            since_ms, until_ms = _time(params, "from"), _time(params, "till")
            trades = [trade for trade in trades if since_ms <= trade.time_ms <= until_ms]
        sort = params.get("sort", "DESC")
        if sort not in ("ASC", "DESC"):
            raise refusal(10001, "sort must be ASC or DESC")
        if sort == "DESC":
            trades.reverse()
        offset = _integer(params, "offset", 0)
        limit = min(_integer(params, "limit", _LIMIT), _LIMIT_MAX)
        rows = [shapes.trade_query_row(trade) for trade in trades[offset : offset + limit]]
        return {"data": rows, "symbol": listing.symbol}


def trades_message(listing: Listing, trades: Sequence[Trade]) -> dict[str, Any]:
    """Return the params of ``snapshotTrades`` and ``updateTrades``; the sequence is text."""
    return {
        "symbol": listing.symbol,
        "sequence": str(listing.sequences.trades),
        "data": [shapes.stream_trade(trade) for trade in trades],
    }


def candles_message(listing: Listing, period: int, count: int) -> dict[str, Any]:
    """Return the params of ``snapshotCandles`` and ``updateCandles``, newest bar first."""
    data: list[dict[str, Any]] = []
    for bar in listing.candles.bars(period):
        if len(data) == count:
            break
        data.append(shapes.candle(listing, bar))
    return {"symbol": listing.symbol, "period": period, "data": data}


def _status_row(row: dict[str, Any]) -> dict[str, Any]:
    # Spelled in lower case here, and only here.
    return {**row, "status": row["status"].lower()}


def _integer(params: Mapping[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise refusal(10001, f"{name} must be a whole number")
    return value


def _time(params: Mapping[str, Any], name: str) -> int:
    value = params.get(name)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise _bad_time(name)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _bad_time(name: str) -> VenueError:
    return refusal(10001, f"{name} must be a time in ISO 8601; from and till go together")
