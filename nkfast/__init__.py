"""nkfast: a compiled-core engine for trading on the NonKYC.io exchange.

The public names below load when they are first used, so that ``import nkfast`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nkfast.client.async_rest import AsyncRestClient
    from nkfast.client.rest import RestClient
    from nkfast.client.websocket import Subscription, WebSocketClient
    from nkfast.errors import NkfastError
    from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Strategy
    from nkfast.wire.models import (
        ApiCredentials,
        Balance,
        MarketTicker,
        OrderBookSnapshot,
        OrderCancelResult,
        OrderRequest,
        OrderResponse,
        OrderStatus,
        Trade,
        TradingPair,
    )

_HOMES = {
    "ApiCredentials": "nkfast.wire.models",
    "AsyncRestClient": "nkfast.client.async_rest",
    "Balance": "nkfast.wire.models",
    "Desired": "nkfast.trading.strategy",
    "Fill": "nkfast.trading.strategy",
    "MarketTicker": "nkfast.wire.models",
    "MarketView": "nkfast.trading.strategy",
    "NkfastError": "nkfast.errors",
    "OrderBookSnapshot": "nkfast.wire.models",
    "OrderCancelResult": "nkfast.wire.models",
    "OrderRequest": "nkfast.wire.models",
    "OrderResponse": "nkfast.wire.models",
    "OrderStatus": "nkfast.wire.models",
    "Quote": "nkfast.trading.strategy",
    "RestClient": "nkfast.client.rest",
    "Strategy": "nkfast.trading.strategy",
    "Subscription": "nkfast.client.websocket",
    "Trade": "nkfast.wire.models",
    "TradingPair": "nkfast.wire.models",
    "WebSocketClient": "nkfast.client.websocket",
}

__all__ = [
    "ApiCredentials",
    "AsyncRestClient",
    "Balance",
    "Desired",
    "Fill",
    "MarketTicker",
    "MarketView",
    "NkfastError",
    "OrderBookSnapshot",
    "OrderCancelResult",
    "OrderRequest",
    "OrderResponse",
    "OrderStatus",
    "Quote",
    "RestClient",
    "Strategy",
    "Subscription",
    "Trade",
    "TradingPair",
    "WebSocketClient",
    "__version__",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nkfast' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
