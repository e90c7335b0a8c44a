"""P06: what the core is asked again and again leaves no object behind, and takes none away."""

import sys
from collections.abc import Callable
from decimal import Decimal

import pytest

from nkfast.core import fixed
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.core.signing import NonceSource, Signer
from nkfast.errors import NkfastError

TIMES = 5_000
MARKET = Market("BTC/USDT", 2, 4)
BIDS, ASKS = [(6_400_000, 100), (6_399_900, 7)], [(6_400_100, 50)]
TEXT = (
    b'{"jsonrpc":"2.0","method":"snapshotOrderbook","params":{"symbol":"BTC/USDT","sequence":"%d",'
    b'"bids":[{"price":"64000.00","quantity":"1.5"}],"asks":[{"price":"64001.00","quantity":"2"}]}}'
)


def of_fixed() -> None:
    value = fixed.parse("64000.123", 6)
    fixed.format(fixed.multiply(value, 12_345, 6, "floor"), 6)


def of_fixed_errors() -> None:
    for text in ("nan", "1e99", "", "1.2345678"):
        try:
            fixed.parse(text, 6)
        except NkfastError:
            continue
        raise AssertionError(text)


def of_market() -> None:
    ticks = MARKET.price_to_ticks(Decimal("64000.10"))
    MARKET.ticks_to_price(ticks)
    MARKET.lots_to_quantity(MARKET.quantity_to_lots(Decimal("0.0125")))


def of_book() -> Callable[[], None]:
    book = OrderBook(MARKET)
    sequence = 0

    def act() -> None:
        nonlocal sequence
        sequence += 1
        book.apply_snapshot(BIDS, ASKS, sequence)
        _ = book.best_bid, book.best_ask, book.mid
        book.depth(2)
        book.cost_to_fill("buy", 10)
        book.without(bids=[(6_400_000, 100)])

    return act


def of_frames() -> Callable[[], None]:
    decoder = FrameDecoder([MARKET])
    sequence = 0

    def act() -> None:
        nonlocal sequence
        sequence += 1
        decoder.feed(TEXT % sequence, sequence)
        decoder.feed(b'{"method": "report", "params": {"a": [1, 2.5, null, "x"]}}')
        decoder.feed(b'{"broken": ')

    return act


def of_signing() -> Callable[[], None]:
    signer, nonces = Signer("key", "secret"), NonceSource()

    def act() -> None:
        signer.sign(b"https://api.nonkyc.io/api/v2/balances%d" % nonces.next())
        signer.login()

    return act


@pytest.mark.parametrize(
    "act",
    [of_fixed, of_fixed_errors, of_market, of_book(), of_frames(), of_signing()],
    ids=["fixed", "fixed errors", "market", "book", "frames", "signing"],
)
def test_P06_nothing_is_left_behind(act: Callable[[], None]) -> None:
    counted = [None, True, False, (), ""]
    for _ in range(TIMES):
        act()
    blocks, references = sys.getallocatedblocks(), [sys.getrefcount(one) for one in counted]
    for _ in range(TIMES):
        act()
    assert sys.getallocatedblocks() - blocks < TIMES // 10
    after = [sys.getrefcount(one) for one in counted]
    assert all(abs(now - then) < TIMES // 10 for now, then in zip(after, references, strict=True))
