"""The REST table: every endpoint of the venue as data.

Sources: the OpenAPI description 1.3.0 and, for what it leaves out, the venue's own clients. Both
REST clients have one method per row, under the row's name; a test compares them.
"""

from typing import Literal, NamedTuple

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
    OrderResponse,
    OrderStatus,
    ServerTime,
    Trade,
    Withdrawal,
)

__all__ = ["ENDPOINTS", "Endpoint", "Kind", "Parameter", "RateClass"]

#: How a value is written. "symbol" is a market (``BASE_QUOTE`` in paths and queries, ``BASE/QUOTE``
#: in bodies); "flag" is true and false in a body, 1 and 0 in a query.
Kind = Literal["text", "symbol", "integer", "money", "flag"]
#: Which allowance a call draws on; "cancels" is reserved so that cancelling never waits for others.
RateClass = Literal["public", "private", "orders", "cancels"]


class Parameter(NamedTuple):
    """One parameter: our name, the venue's, and how its value is written."""

    name: str
    wire_name: str
    kind: Kind
    required: bool


class Endpoint(NamedTuple):
    """One row of the table.

    ``path`` is relative to the base URL and holds ``{name}`` where a parameter goes; the others
    go to the query of a GET and the body of a POST. The reply is one ``reply`` object, or a list
    of them when ``is_list``; ``reply_key`` names the field that holds it, if it is not the whole.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    parameters: tuple[Parameter, ...]
    is_private: bool
    reply: type[Message]
    is_list: bool
    reply_key: str
    rate_class: RateClass

    @property
    def changes(self) -> bool:
        """Whether a call changes something at the venue, so that it is never repeated."""
        return self.method == "POST"


_KINDS: dict[str, Kind] = {
    "symbol": "symbol",
    "ticker_id": "symbol",
    "limit": "integer",
    "depth": "integer",
    "skip": "integer",
    "since": "integer",
    "from": "integer",
    "to": "integer",
    "resolution": "integer",
    "countBack": "integer",
    "firstDataRequest": "flag",
    "strictValidate": "flag",
    "quantity": "money",
    "price": "money",
}
#: Our names where they are not the venue's in lower case with underscores.
_NAMES = {
    "ticker_id": "symbol",
    "id": "order_id",
    "type": "order_type",
    "from": "from_seconds",
    "to": "to_seconds",
    "resolution": "resolution_minutes",
    "countBack": "count",
    "since": "since_ms",
    "userProvidedId": "user_provided_id",
    "strictValidate": "strict_validate",
    "firstDataRequest": "first_data_request",
    "marketId": "market_id",
    "market": "market_id",
    "paymentid": "payment_id",
}


def _parameters(words: str, names: dict[str, str]) -> tuple[Parameter, ...]:
    # "symbol! limit" is a required symbol and an optional limit, by the venue's names.
    rows = []
    for word in words.split():
        wire_name = word.rstrip("!")
        rows.append(
            Parameter(
                name=names.get(wire_name, _NAMES.get(wire_name, wire_name)),
                wire_name=wire_name,
                kind="text" if wire_name in names else _KINDS.get(wire_name, "text"),
                required=word.endswith("!"),
            )
        )
    return tuple(rows)


def _public(
    name: str,
    path: str,
    parameters: str,
    reply: type[Message],
    *,
    is_list: bool = False,
    reply_key: str = "",
    names: dict[str, str] | None = None,
) -> Endpoint:
    return Endpoint(
        name=name,
        method="GET",
        path=path,
        parameters=_parameters(parameters, names or {}),
        is_private=False,
        reply=reply,
        is_list=is_list,
        reply_key=reply_key,
        rate_class="public",
    )


def _private(
    name: str,
    path: str,
    parameters: str,
    reply: type[Message],
    *,
    is_list: bool = False,
    names: dict[str, str] | None = None,
    changes: RateClass | None = None,
) -> Endpoint:
    return Endpoint(
        name=name,
        method="GET" if changes is None else "POST",
        path=path,
        parameters=_parameters(parameters, names or {}),
        is_private=True,
        reply=reply,
        is_list=is_list,
        reply_key="",
        rate_class="private" if changes is None else changes,
    )


_ASSET_ID = {"id": "asset_id"}
_MARKET_ID = {"id": "market_id"}
_POOL_ID = {"id": "pool_id"}
_TRADE_ID = {"since": "since_trade_id"}
_WINDOW = "limit skip since"

_TABLE = (
    # Public: the venue.
    _public("get_time", "/time", "", ServerTime),
    _public("get_server_time", "/getservertime", "", ServerTime),
    _public("get_info", "/info", "", Document),
    _public("get_summary", "/summary", "", Document, is_list=True),
    _public("get_cmc_assets", "/cmcassets", "", Document),
    _public("get_cmc_tickers", "/cmctickers", "", Document),
    _public("get_cmc_order_book", "/cmcorderbook/{symbol}", "symbol!", Document),
    _public("get_cmc_trades", "/cmctrades/{symbol}", "symbol!", Document),
    # Public: assets.
    _public("get_assets", "/asset/getlist", "", Asset, is_list=True),
    _public("get_asset", "/asset/info", "id ticker", Asset, names=_ASSET_ID),
    _public("get_asset_by_id", "/asset/getbyid/{asset_id}", "id!", Asset, names=_ASSET_ID),
    _public("get_asset_by_ticker", "/asset/getbyticker/{ticker}", "ticker!", Asset),
    # Public: markets.
    _public("get_markets", "/market/getlist", "", MarketInfo, is_list=True),
    _public("get_market", "/market/info", "symbol id", MarketInfo, names=_MARKET_ID),
    _public("get_market_by_id", "/market/getbyid/{market_id}", "id!", MarketInfo, names=_MARKET_ID),
    _public("get_market_by_symbol", "/market/getbysymbol/{symbol}", "symbol!", MarketInfo),
    _public("get_order_book", "/market/orderbook", "symbol marketId limit", OrderBookSnapshot),
    _public(
        "get_order_book_by_symbol",
        "/market/getorderbookbysymbol/{symbol}",
        "symbol!",
        OrderBookSnapshot,
    ),
    _public(
        "get_order_book_by_market_id",
        "/market/getorderbookbymarketid/{market_id}",
        "id!",
        OrderBookSnapshot,
        names=_MARKET_ID,
    ),
    _public("get_ticker_order_book", "/orderbook", "ticker_id! depth", OrderBookSnapshot),
    _public("get_order_book_snapshot", "/orderbook/snapshot", "market!", OrderBookSnapshot),
    _public("get_orders_snapshot", "/orders/snapshot", "market!", OrderBookSnapshot),
    _public(
        "get_candles",
        "/market/candles",
        "symbol! resolution! countBack! from to firstDataRequest",
        Candle,
        is_list=True,
        reply_key="bars",
    ),
    _public("get_trades", "/market/trades", "symbol! limit", Trade, is_list=True),
    _public("get_historical_trades", "/historical_trades", "ticker_id! limit", Trade, is_list=True),
    _public("get_market_trades", "/trades", "market! since", Trade, is_list=True, names=_TRADE_ID),
    _public("get_tickers", "/tickers", "", MarketTicker, is_list=True),
    _public("get_ticker", "/ticker/{symbol}", "symbol!", MarketTicker),
    _public("get_pairs", "/pairs", "", Document, is_list=True),
    _public(
        "get_market_summaries",
        "/markets",
        "type",
        Document,
        is_list=True,
        names={"type": "market_type"},
    ),
    # Public: liquidity pools.
    _public("get_pools", "/pool/getlist", "", LiquidityPool, is_list=True),
    _public("get_pool", "/pool/info", "symbol id", LiquidityPool, names=_POOL_ID),
    _public("get_pool_by_id", "/pool/getbyid/{pool_id}", "id!", LiquidityPool, names=_POOL_ID),
    _public("get_pool_by_symbol", "/pool/getbysymbol/{symbol}", "symbol!", LiquidityPool),
    _public("get_pool_trades", "/pool/trades", "ticker_id! limit", Trade, is_list=True),
    _public(
        "get_historical_pool_trades",
        "/historical_pooltrades",
        "ticker_id! limit",
        Trade,
        is_list=True,
    ),
    # Private: the account.
    _private("get_balances", "/balances", "", Balance, is_list=True),
    _private("get_deposit_address", "/getdepositaddress/{ticker}", "ticker!", DepositAddress),
    _private("get_deposits", "/getdeposits", f"ticker {_WINDOW}", Deposit, is_list=True),
    _private("get_withdrawals", "/getwithdrawals", f"ticker {_WINDOW}", Withdrawal, is_list=True),
    _private(
        "create_withdrawal",
        "/createwithdrawal",
        "ticker! quantity! address! paymentid",
        Withdrawal,
        changes="private",
    ),
    # Private: orders and trades.
    _private(
        "create_order",
        "/createorder",
        "symbol! side! quantity! type price userProvidedId strictValidate",
        OrderResponse,
        changes="orders",
    ),
    _private("cancel_order", "/cancelorder", "id!", OrderCancelResult, changes="cancels"),
    _private(
        "cancel_all_orders",
        "/cancelallorders",
        "symbol! side!",
        CancelAllResult,
        changes="cancels",
    ),
    _private("get_order", "/getorder/{order_id}", "id!", OrderStatus),
    _private(
        "get_orders", "/account/orders", f"symbol status {_WINDOW}", OrderStatus, is_list=True
    ),
    _private(
        "get_orders_legacy", "/getorders", f"symbol status {_WINDOW}", OrderStatus, is_list=True
    ),
    _private(
        "get_account_trades", "/account/trades", f"symbol {_WINDOW}", AccountTrade, is_list=True
    ),
    _private(
        "get_account_trades_legacy", "/gettrades", f"symbol {_WINDOW}", AccountTrade, is_list=True
    ),
    _private(
        "get_account_trades_since",
        "/gettradessince",
        "since! symbol limit! skip!",
        AccountTrade,
        is_list=True,
    ),
    _private(
        "get_account_pool_trades", "/getpooltrades", f"symbol {_WINDOW}", AccountTrade, is_list=True
    ),
    _private(
        "get_account_pool_trades_since",
        "/getpooltradessince",
        "since! symbol limit! skip!",
        AccountTrade,
        is_list=True,
    ),
)

ENDPOINTS: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in _TABLE}
