"""The venue's objects as immutable, typed messages.

Every model is read from the decoded JSON object by ``from_wire``, which accepts all spellings seen
on REST and on the WebSocket, ignores fields it does not know, and keeps the object itself in
``raw``. Money is `Decimal`, exactly as written; times are Unix milliseconds, 0 when unknown.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Self

import msgspec

from nkfast.errors import ConfigError, WireError
from nkfast.wire.fields import (
    Object,
    OrderState,
    Side,
    read_amount,
    read_flag,
    read_integer,
    read_moment_ms,
    read_money,
    read_price,
    read_side,
    read_state,
    read_symbol,
    read_text,
    read_time_ms,
    require_money,
    require_text,
)
from nkfast.wire.known_fields import note_unknown, unknown_fields, unreadable_rows
from nkfast.wire.symbols import TradingPair, canonical

__all__ = [
    "AccountTrade",
    "ApiCredentials",
    "Asset",
    "Balance",
    "CancelAllResult",
    "Candle",
    "Deposit",
    "DepositAddress",
    "Document",
    "LiquidityPool",
    "MarketInfo",
    "MarketTicker",
    "Message",
    "OrderBookSnapshot",
    "OrderCancelResult",
    "OrderReport",
    "OrderRequest",
    "OrderResponse",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "PriceLevel",
    "ServerTime",
    "Side",
    "Trade",
    "TradingPair",
    "Withdrawal",
    "unknown_fields",
    "unreadable_rows",
]

OrderType = Literal["limit", "market"]


class ApiCredentials(msgspec.Struct, frozen=True):
    """The two halves of an API key. The secret never appears in ``repr`` or ``str``."""

    api_key: str
    api_secret: str

    def __repr__(self) -> str:
        return f"ApiCredentials(api_key={self.api_key!r}, api_secret=...)"

    __str__ = __repr__


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One order as it goes out.

    Parameters
    ----------
    symbol : str
        Market, in any spelling of `TradingPair.parse`.
    side : {"buy", "sell"}
    quantity : Decimal
        In base units, positive, on the market's grid.
    price : Decimal or None
        In quote units; None for a market order.
    order_type : {"limit", "market"}
    user_provided_id : str or None
        Our own id, unique for ever; the venue makes one when there is none, and then an order
        whose answer was lost cannot be found again.
    strict_validate : bool
        True refuses excess decimals; False lets the venue cut them off without a word.
    """

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal | None = None
    order_type: OrderType = "limit"
    user_provided_id: str | None = None
    strict_validate: bool = True

    def __post_init__(self) -> None:
        canonical(self.symbol)
        if self.side not in ("buy", "sell"):
            raise ConfigError(f"side must be 'buy' or 'sell', was {self.side!r}")
        if self.order_type not in ("limit", "market"):
            raise ConfigError(f"order_type must be 'limit' or 'market', was {self.order_type!r}")
        price = self.price
        if (price is None) != (self.order_type == "market"):
            raise ConfigError("a limit order needs a price and a market order has none")
        _check_positive("quantity", self.quantity)
        if price is not None:
            _check_positive("price", price)

    def to_payload(self) -> dict[str, Any]:
        """Return the fields as the venue wants them, decimals in plain digits."""
        payload: dict[str, Any] = {
            "symbol": canonical(self.symbol),
            "side": self.side,
            "type": self.order_type,
            "quantity": _digits(self.quantity),
        }
        if self.price is not None:
            payload["price"] = _digits(self.price)
        if self.user_provided_id is not None:
            payload["userProvidedId"] = self.user_provided_id
        payload["strictValidate"] = self.strict_validate
        return payload


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, Decimal):
        raise ConfigError(f"{name} must be a Decimal, was {type(value).__name__}")
    if not (value.is_finite() and value > 0):
        raise ConfigError(f"{name} must be a positive number, was {value}")


def _digits(number: Decimal) -> str:
    text = str(number)  # twice as fast as format, which is needed for exponents only
    return format(number, "f") if "E" in text else text


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What every message of the venue has: ``raw``, the object as it was decoded."""

    raw: Mapping[str, Any]

    @classmethod
    def from_wire(cls, data: Object) -> Self:
        """Read the decoded JSON object; names that are not known are noted, see `unknown_fields`.

        Raises
        ------
        WireError
            A field without which the message means nothing is missing, or a field is not what
            it should be.
        """
        note_unknown(cls.__name__, data)
        return cls._read(data)

    @classmethod
    def _read(cls, data: Object) -> Self:
        raise NotImplementedError

    def __repr__(self) -> str:
        fields = (
            f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "raw"
        )
        return f"{type(self).__name__}({', '.join(fields)})"


class Document(Message, frozen=True, kw_only=True):
    """An object whose content the venue does not document; read ``raw``."""

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(raw=data)


#: Names under which a clock has been seen to be told.
_CLOCK_NAMES = frozenset(
    {"serverTime", "unix_ms", "unixtime_ms", "unix_microsec", "server_time", "time", "timestamp"}
)


class ServerTime(Message, frozen=True, kw_only=True):
    """The venue's clock."""

    time_ms: int

    @classmethod
    def from_wire(cls, data: Any) -> Self:
        """Read a clock; beside the documented object, what other clients have met.

        Those are other names, seconds instead of milliseconds, the object or the number within
        ``data`` or ``result``, and the bare number.
        """
        inner = data
        while isinstance(inner, Mapping) and not inner.keys() & _CLOCK_NAMES:
            nested = inner.get("data", inner.get("result"))
            if nested is None:
                break
            inner = nested
        if not isinstance(inner, Mapping):
            inner = {"time": inner}
        return super().from_wire(inner)

    @classmethod
    def _read(cls, data: Object) -> Self:
        names = ("serverTime", "unix_ms", "unixtime_ms", "server_time", "time", "timestamp")
        time_ms = read_moment_ms(data, *names)
        # The older endpoint counts microseconds.
        time_ms = time_ms or (read_integer(data, "unix_microsec") or 0) // 1000
        if time_ms <= 0:
            raise WireError("time without serverTime", str(data)[:200])
        return cls(time_ms=time_ms, raw=data)


class Asset(Message, frozen=True, kw_only=True):
    """A coin or token."""

    asset_id: str
    ticker: str
    name: str
    network: str
    is_active: bool

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            asset_id=read_text(data, "id", "_id"),
            ticker=require_text(data, "ticker"),
            name=read_text(data, "name"),
            network=read_text(data, "network"),
            is_active=read_flag(data, "isActive", default=True),
            raw=data,
        )


class MarketInfo(Message, frozen=True, kw_only=True):
    """A market as the venue lists it.

    ``nkfast.core.market.Market.from_wire(info.raw)`` gives its trading rules to the core.
    """

    market_id: str
    symbol: str
    price_decimals: int
    quantity_decimals: int
    is_active: bool
    is_paused: bool
    last_price: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    volume: Decimal | None

    @classmethod
    def _read(cls, data: Object) -> Self:
        price_decimals = read_integer(data, "priceDecimals")
        quantity_decimals = read_integer(data, "quantityDecimals")
        if price_decimals is None or quantity_decimals is None:
            raise WireError("market without priceDecimals or quantityDecimals", str(data)[:200])
        symbol = read_symbol(data)
        if not symbol:
            raise WireError("market without symbol", str(data)[:200])
        return cls(
            market_id=read_text(data, "id", "_id"),
            # As it comes: one market with an odd name must not make the list unreadable.
            symbol=symbol,
            price_decimals=price_decimals,
            quantity_decimals=quantity_decimals,
            is_active=read_flag(data, "isActive", default=True),
            is_paused=read_flag(data, "isPaused"),
            last_price=read_price(data, "lastPrice"),
            bid=read_price(data, "bestBid"),
            ask=read_price(data, "bestAsk"),
            volume=read_money(data, "volume"),
            raw=data,
        )


class LiquidityPool(Message, frozen=True, kw_only=True):
    """An AMM pool; the venue shows no reserves and takes no swaps through its API."""

    pool_id: str
    symbol: str
    last_price: Decimal | None
    volume: Decimal | None
    is_active: bool

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            pool_id=read_text(data, "id", "_id"),
            symbol=read_symbol(data),
            last_price=read_price(data, "lastPrice"),
            volume=read_money(data, "volume"),
            is_active=read_flag(data, "isActive", default=True),
            raw=data,
        )


class MarketTicker(Message, frozen=True, kw_only=True):
    """Last trade, best prices and the volume of a day. None where the market has none."""

    symbol: str
    last_price: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    high: Decimal | None
    low: Decimal | None
    previous_price: Decimal | None
    volume: Decimal | None
    quote_volume: Decimal | None
    time_ms: int

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            symbol=read_symbol(data),
            last_price=read_price(data, "last_price", "lastPrice"),
            bid=read_price(data, "bid", "bestBid"),
            ask=read_price(data, "ask", "bestAsk"),
            high=read_price(data, "high", "highPrice"),
            low=read_price(data, "low", "lowPrice"),
            previous_price=read_price(data, "previous_day_price", "yesterdayPrice"),
            volume=read_money(data, "base_volume", "volume"),
            quote_volume=read_money(data, "target_volume", "volumeSecondary"),
            time_ms=read_time_ms(data, "updatedAt"),
            raw=data,
        )


class PriceLevel(NamedTuple):
    """One level of an order book."""

    price: Decimal
    quantity: Decimal


class OrderBookSnapshot(Message, frozen=True, kw_only=True):
    """An order book as REST gives it, best level first on both sides.

    ``sequence`` counts in a space of its own: never compare it with one of the WebSocket.
    """

    symbol: str
    bids: tuple[PriceLevel, ...]
    asks: tuple[PriceLevel, ...]
    sequence: int | None
    time_ms: int

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            symbol=read_symbol(data),
            bids=_levels(data, "bids"),
            asks=_levels(data, "asks"),
            sequence=read_integer(data, "sequence"),
            time_ms=read_time_ms(data, "timestamp"),
            raw=data,
        )


class Trade(Message, frozen=True, kw_only=True):
    """A public trade; ``side`` is the aggressor's. ``symbol`` is empty where the reply lacks it."""

    trade_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    time_ms: int

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            trade_id=require_text(data, "trade_id", "id"),
            symbol=read_symbol(data),
            side=read_side(data, "type", "side", "triggeredBy"),
            price=require_money(data, "price"),
            quantity=require_money(data, "base_volume", "quantity", "amount"),
            time_ms=read_time_ms(data, "trade_timestamp", "timestampms", "timestamp"),
            raw=data,
        )

    @classmethod
    def from_stream(cls, data: object) -> list[Self]:
        """Read the trades of a WebSocket message, whose symbol is written once for all of them."""
        rows = data.get("data") if isinstance(data, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(rows, list):
            raise WireError("trades without data", repr(data)[:200])
        if not all(isinstance(row, Mapping) for row in rows):
            raise WireError("a trade should be an object", repr(rows)[:200])
        symbol = read_symbol(data)
        return [cls.from_wire({**row, "symbol": symbol}) for row in rows]


class Candle(Message, frozen=True, kw_only=True):
    """One bar; ``time_ms`` is its open."""

    time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    @classmethod
    def _read(cls, data: Object) -> Self:
        # REST gives seconds or milliseconds, no source proves which.
        time_ms = read_moment_ms(data, "time", "timestamp", "datetime")
        return cls(
            time_ms=time_ms,
            open=require_money(data, "open"),
            high=require_money(data, "high", "max"),
            low=require_money(data, "low", "min"),
            close=require_money(data, "close"),
            volume=read_amount(data, "volume"),
            raw=data,
        )


class Balance(Message, frozen=True, kw_only=True):
    """One asset of the account. ``pending`` is never tradable."""

    asset: str
    available: Decimal
    held: Decimal
    pending: Decimal

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            asset=require_text(data, "asset", "ticker"),
            available=require_money(data, "available"),
            held=read_amount(data, "held"),
            pending=read_amount(data, "pending"),
            raw=data,
        )


class OrderStatus(Message, frozen=True, kw_only=True):
    """An order of the account as the venue describes it.

    ``filled_quantity`` is zero where the venue says nothing; it only grows. ``remaining_quantity``
    is what is not filled, also of a cancelled order. ``price`` is None for a market order.
    """

    order_id: str
    user_provided_id: str
    symbol: str
    side: Side
    order_type: str
    price: Decimal | None
    quantity: Decimal
    filled_quantity: Decimal
    remaining_quantity: Decimal
    status: OrderState
    created_ms: int
    updated_ms: int

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(**_order_fields(data))


class OrderResponse(OrderStatus, frozen=True, kw_only=True):
    """The venue's acceptance of a new order. Fills follow as reports."""


class OrderReport(OrderStatus, frozen=True, kw_only=True):
    """News of one order from the account stream.

    The four ``trade_`` fields are set when ``report_type`` is ``"trade"``; ``trade_fee`` is None
    when the venue did not say it, which is not zero.
    """

    report_type: str
    trade_id: str
    trade_price: Decimal | None
    trade_quantity: Decimal | None
    trade_fee: Decimal | None

    @classmethod
    def _read(cls, data: Object) -> Self:
        report_type = read_text(data, "reportType").lower()
        return cls(
            report_type="cancelled" if report_type == "canceled" else report_type,
            trade_id=read_text(data, "tradeId"),
            trade_price=read_money(data, "tradePrice"),
            trade_quantity=read_money(data, "tradeQuantity"),
            trade_fee=read_money(data, "tradeFee"),
            **_order_fields(data),
        )


class OrderCancelResult(Message, frozen=True, kw_only=True):
    """The answer to a cancel. ``order`` is the final state where the answer carries it.

    Without ``order`` nothing is known of what was filled before: look the order up.
    """

    order_id: str
    order: OrderStatus | None

    @classmethod
    def _read(cls, data: Object) -> Self:
        if data.get("success") is False:
            raise WireError("cancel answered success false without an error", str(data)[:200])
        has_order = data.get("side") is not None and data.get("quantity") is not None
        return cls(
            order_id=require_text(data, "id"),
            order=OrderStatus.from_wire(data) if has_order else None,
            raw=data,
        )


class CancelAllResult(Message, frozen=True, kw_only=True):
    """The answer to a cancel of everything on a market: the ids that were cancelled."""

    order_ids: tuple[str, ...]

    @classmethod
    def _read(cls, data: Object) -> Self:
        ids = data.get("ids")
        if data.get("success") is False or not isinstance(ids, list):
            raise WireError("cancel of all orders without ids", str(data)[:200])
        return cls(order_ids=tuple(map(str, ids)), raw=data)


class AccountTrade(Message, frozen=True, kw_only=True):
    """One fill of the account. The trade list names no client id: match by ``order_id``.

    ``fee_asset`` is the quote asset, or the asset that the fee was paid in instead.
    """

    trade_id: str
    order_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal | None
    fee_asset: str
    is_maker: bool | None
    time_ms: int

    @classmethod
    def _read(cls, data: Object) -> Self:
        symbol = read_symbol(data)
        side = read_side(data, "side")
        aggressor = read_text(data, "triggeredBy").lower()
        alternate = read_text(data, "alternateFeeAsset")
        quote = symbol.partition("/")[2]
        return cls(
            trade_id=require_text(data, "id"),
            order_id=read_text(data, "orderid", "orderId"),
            symbol=symbol,
            side=side,
            price=require_money(data, "price"),
            quantity=require_money(data, "quantity"),
            fee=read_money(data, "alternateFee" if alternate else "fee"),
            fee_asset=alternate or quote,
            is_maker=aggressor != side if aggressor else None,
            time_ms=read_time_ms(data, "timestamp", "createdAt"),
            raw=data,
        )


class DepositAddress(Message, frozen=True, kw_only=True):
    """Where an asset can be sent to the account."""

    ticker: str
    network: str
    address: str
    payment_id: str

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            ticker=read_text(data, "ticker"),
            network=read_text(data, "network"),
            address=require_text(data, "address"),
            payment_id=read_text(data, "paymentid", "paymentId"),
            raw=data,
        )


class Deposit(Message, frozen=True, kw_only=True):
    """An incoming transfer."""

    deposit_id: str
    ticker: str
    quantity: Decimal
    status: str
    transaction_id: str
    time_ms: int

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            deposit_id=require_text(data, "id"),
            ticker=require_text(data, "ticker"),
            quantity=require_money(data, "quantity"),
            status=read_text(data, "status"),
            transaction_id=read_text(data, "transactionid"),
            time_ms=read_time_ms(data, "firstseenat"),
            raw=data,
        )


class Withdrawal(Message, frozen=True, kw_only=True):
    """An outgoing transfer."""

    withdrawal_id: str
    ticker: str
    quantity: Decimal
    fee: Decimal | None
    status: str
    transaction_id: str
    time_ms: int

    @classmethod
    def _read(cls, data: Object) -> Self:
        return cls(
            withdrawal_id=require_text(data, "id"),
            ticker=require_text(data, "ticker"),
            quantity=require_money(data, "quantity"),
            fee=read_money(data, "fee"),
            status=read_text(data, "status"),
            transaction_id=read_text(data, "transactionid"),
            time_ms=read_time_ms(data, "requestedat"),
            raw=data,
        )


def _levels(data: Object, side: str) -> tuple[PriceLevel, ...]:
    rows = data.get(side)
    if not isinstance(rows, list):
        raise WireError(f"order book without {side}", str(data)[:200])
    return tuple(_level(row) for row in rows)


def _level(row: Any) -> PriceLevel:
    if isinstance(row, list) and len(row) >= 2:
        row = {"price": row[0], "quantity": row[1]}
    if not isinstance(row, Mapping):
        raise WireError("order book level is neither an object nor a pair", repr(row)[:200])
    return PriceLevel(require_money(row, "price"), require_money(row, "quantity"))


def _order_fields(data: Object) -> dict[str, Any]:
    status = read_state(data, "status")
    quantity = require_money(data, "quantity")
    filled = read_money(data, "executedQuantity")
    remaining = read_money(data, "remainQuantity")
    if filled is None and remaining is not None:
        filled = quantity - remaining
    if filled is None:
        filled = quantity if status is OrderState.FILLED else Decimal(0)
    order_type = read_text(data, "type").lower() or "limit"
    return {
        "order_id": require_text(data, "id", "orderId"),
        "user_provided_id": read_text(data, "userProvidedId"),
        "symbol": read_symbol(data),
        "side": read_side(data, "side"),
        "order_type": order_type,
        "price": read_price(data, "price"),
        "quantity": quantity,
        "filled_quantity": filled,
        "remaining_quantity": quantity - filled,
        "status": status,
        "created_ms": read_time_ms(data, "createdAt", "timestamp"),
        "updated_ms": read_time_ms(data, "updatedAt", "timestamp"),
        "raw": data,
    }
