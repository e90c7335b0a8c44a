"""Which fields each of the venue's objects is known to have; those nobody knows are noted, once.

A field that is new does no harm: it is ignored, and is in ``raw``. But it may be the first sign of
a change, so its name is logged when it is first seen, and kept.

Sources: the OpenAPI description 1.3.0, the WebSocket page, and what clients recorded.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from nkfast.errors import WireError

__all__ = ["KNOWN_FIELDS", "note_unknown", "note_unreadable", "unknown_fields", "unreadable_rows"]

#: Enough for every combination of fields that a venue means, and a bound for one that means harm.
SHAPES_MAX = 256
NAMES_MAX = 64

_ORDER = """
id orderId userProvidedId market symbol side type price numberprice quantity executedQuantity
remainQuantity remainTotal remainTotalWithFee lastTradeAt status isActive isNew createdAt updatedAt
timestamp reportType success
"""
_TRANSFER = "id address paymentid ticker childticker quantity status transactionid"
_PRICES = """
lastPrice lastPriceNumber lastPriceUpDown yesterdayPrice yesterdayPriceNumber changePercent
changePercentNumber highPrice highPriceNumber lowPrice lowPriceNumber volume volumeNumber
volumeSecondary volumeSecondaryNumber volumeUsdNumber bestBid bestBidNumber bestAsk bestAskNumber
spreadPercent spreadPercentNumber lastTradeAt updatedAt
"""
_WORDS = {
    "ServerTime": "serverTime unix unix_ms unixtime unixtime_ms unix_microsec iso",
    "Asset": """
        id _id ticker name network logo isActive hasChildren isChild childOf isToken tokenOf
        tokenDetails useParentAddress usdValue depositActive depositNotes depositPayid depositPayId
        withdrawalActive withdrawalNotes withdrawalPayid withdrawalPayidRequired
        withdrawFeeMultiply confirmsRequired withdrawDecimals isDeflationary deflationPercent
        withdrawFee explorer explorerTxid explorerAddress website coinMarketCap coinGecko
        addressRegEx payidRegEx socialCommunity circulation marketcapNumber canLiquidityPool
        canStake canVote imageUUID createdAt updatedAt lastPriceUpdate""",
    "MarketInfo": f"""{_PRICES}
        id _id symbol primaryTicker primaryName primaryAsset secondaryAsset marketcapNumber
        lineChart createdAt primaryUsdValue primaryCirculation secondaryUsdValue
        secondaryCirculation primaryIsPrivate secondaryIsPrivate imageUUID engineId
        assignedWebsites priceDecimals quantityDecimals minimumQuantity maximumQuantity minQuote
        isMinQuoteActive minQuoteActive minAllowedPrice maxAllowedPrice allowMarketOrders
        allowTriggerOrders isActive isPaused pauseBuys pauseSells apiExcluded""",
    "LiquidityPool": f"{_PRICES} id _id symbol primaryAsset secondaryAsset lineChart isActive",
    "MarketTicker": f"""{_PRICES}
        ticker_id type base_currency target_currency last_price base_volume target_volume bid ask
        high low previous_day_price change_percent symbol sequence""",
    "OrderBookSnapshot": "marketid symbol ticker_id timestamp sequence bids asks",
    "Trade": """
        trade_id id symbol price base_volume target_volume quantity amount trade_timestamp
        timestamp timestampms type side triggeredBy""",
    "Candle": "time timestamp datetime open high max low min close volume",
    "Balance": "asset assetid assetId ticker name available held pending changePercent",
    "OrderStatus": _ORDER,
    "OrderResponse": _ORDER,
    "OrderReport": f"{_ORDER} tradeQuantity tradePrice tradeId tradeFee",
    "OrderCancelResult": _ORDER,
    "CancelAllResult": "success ids",
    "AccountTrade": """
        id market pool symbol orderid side triggeredBy price quantity fee totalWithFee
        alternateFeeAsset alternateFee timestamp createdAt updatedAt""",
    "DepositAddress": "address paymentid ticker network",
    "Deposit": f"{_TRANSFER} isposted isreversed confirmations firstseenat",
    "Withdrawal": f"{_TRANSFER} fee feecurrency issent sentat isconfirmed requestedat",
}
KNOWN_FIELDS: dict[str, frozenset[str]] = {
    model: frozenset(words.split()) for model, words in _WORDS.items()
}

_log = logging.getLogger("nkfast.wire.known_fields")
_lock = threading.Lock()
#: Combinations of names that were looked at already: most messages cost one look-up.
_shapes: dict[str, set[tuple[str, ...]]] = {model: set() for model in KNOWN_FIELDS}
_unknown: dict[str, set[str]] = {}
_unreadable: dict[str, int] = {}


def unknown_fields() -> dict[str, frozenset[str]]:
    """Return the names of fields that nobody knows, by model, which this process has seen."""
    with _lock:
        return {model: frozenset(names) for model, names in _unknown.items()}


def note_unknown(model: str, data: Mapping[str, Any]) -> None:
    """Log and keep the names of fields that a model is not known to have, each once."""
    shapes = _shapes.get(model)
    shape = tuple(data)
    if shapes is None or shape in shapes:
        return
    with _lock:
        if len(shapes) < SHAPES_MAX:
            shapes.add(shape)
        names = _unknown.get(model, set())
        for name in set(shape) - KNOWN_FIELDS[model]:
            shown = name[:NAMES_MAX]
            if shown not in names and len(names) < NAMES_MAX:
                _unknown[model] = names
                names.add(shown)
                _log.info("%s has a field that is not known: %r", model, shown)


def unreadable_rows() -> dict[str, int]:
    """Return how many rows of lists were left out because they could not be read, by model."""
    with _lock:
        return _unreadable.copy()


def note_unreadable(model: str, error: WireError) -> None:
    """Count a row that is left out of a list; the first one of a model is logged."""
    with _lock:
        count = _unreadable[model] = _unreadable.get(model, 0) + 1
    if count == 1:
        _log.warning("a row of a list of %s is left out: %s", model, error)
