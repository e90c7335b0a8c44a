"""A count is a whole number: nothing in the core cuts 1.5 down to 1 without a word."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from nkfast.core import fixed
from nkfast.core.book import OrderBook
from nkfast.core.cycles import CycleScanner
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.core.matching import MatchingEngine
from nkfast.core.signing import NonceSource, Signer

MARKET = Market("BTC/USDT", 2, 6)
BOOK = OrderBook(MARKET)
BOOK.apply_snapshot([(100, 5)], [(101, 5)], 1)

CALLS: dict[str, Callable[[object], object]] = {
    "fixed.parse decimals": lambda n: fixed.parse("1", n),
    "fixed.format value": lambda n: fixed.format(n, 2),
    "fixed.format decimals": lambda n: fixed.format(1, n),
    "fixed.multiply a": lambda n: fixed.multiply(n, 1, 0, "floor"),
    "fixed.multiply b": lambda n: fixed.multiply(1, n, 0, "floor"),
    "fixed.multiply shift": lambda n: fixed.multiply(1, 1, n, "floor"),
    "fixed.rescale value": lambda n: fixed.rescale(n, 1, 2, "floor"),
    "fixed.rescale decimals": lambda n: fixed.rescale(1, n, 2, "floor"),
    "fixed.rescale new_decimals": lambda n: fixed.rescale(1, 1, n, "floor"),
    "Market price_decimals": lambda n: Market("BTC/USDT", n, 6),
    "Market quantity_decimals": lambda n: Market("BTC/USDT", 2, n),
    "Market.ticks_to_price": MARKET.ticks_to_price,
    "Market.lots_to_quantity": MARKET.lots_to_quantity,
    "Market.notional ticks": lambda n: MARKET.notional(n, 1),
    "Market.notional lots": lambda n: MARKET.notional(1, n),
    "Market.fee ticks": lambda n: MARKET.fee(n, 1, Decimal("0.002")),
    "Market.fee lots": lambda n: MARKET.fee(1, n, Decimal("0.002")),
    "OrderBook capacity": lambda n: OrderBook(MARKET, n),
    "OrderBook.apply_snapshot ticks": lambda n: OrderBook(MARKET).apply_snapshot([(n, 1)], [], 1),
    "OrderBook.apply_snapshot lots": lambda n: OrderBook(MARKET).apply_snapshot([(1, n)], [], 1),
    "OrderBook.apply_snapshot sequence": lambda n: OrderBook(MARKET).apply_snapshot([], [], n),
    "OrderBook.depth": BOOK.depth,
    "OrderBook.lots_at": lambda n: BOOK.lots_at("buy", n),
    "OrderBook.cost_to_fill": lambda n: BOOK.cost_to_fill("buy", n),
    "FrameDecoder reorder_limit": lambda n: FrameDecoder([MARKET], reorder_limit=n),
    "FrameDecoder reorder_window_ns": lambda n: FrameDecoder([MARKET], reorder_window_ns=n),
    "FrameDecoder capacity": lambda n: FrameDecoder([MARKET], capacity=n),
    "FrameDecoder max_frame_bytes": lambda n: FrameDecoder([MARKET], max_frame_bytes=n),
    "FrameDecoder.feed now_ns": lambda n: FrameDecoder([MARKET]).feed(b"{}", n),
    "FrameDecoder.expire": lambda n: FrameDecoder([MARKET]).expire(n),
    "MatchingEngine.submit order_id": lambda n: MatchingEngine(MARKET).submit(n, "buy", 1, 1),
    "MatchingEngine.submit lots": lambda n: MatchingEngine(MARKET).submit(1, "buy", n, 1),
    "MatchingEngine.submit ticks": lambda n: MatchingEngine(MARKET).submit(1, "buy", 1, n),
    "MatchingEngine.cancel": lambda n: MatchingEngine(MARKET).cancel(n),
    "NonceSource multiplier": NonceSource,
    "NonceSource last": lambda n: NonceSource(last=n),
    "Signer.headers nonce": lambda n: Signer("key", "secret").headers("http://a/b", b"", n),
    "CycleScanner.update": lambda n: CycleScanner([MARKET], ["BTC"]).update(n),
}


@pytest.mark.parametrize("number", [1.5, 1.0, Decimal("1.5"), Decimal(1), "1"], ids=repr)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_only_integers_count(call: Callable[[object], object], number: object) -> None:
    with pytest.raises(TypeError):
        call(number)
