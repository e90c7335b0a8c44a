"""From a frame of the exchange to a signed order that follows it: nkfast and the plain way.

A market maker's inner path: an update changes the book, an order one tick above the best bid is
made and signed for REST. Sockets are left out. The plain client is in peers/plain.py.

Run:  pytest benchmarks/bench_plain.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_plain.py
"""

import itertools
import json
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from interleaved import Comparison, report

pytest.importorskip("order_book")
pytest.importorskip("simdjson")
pytest.importorskip("sortedcontainers")

from bench_frame import MARKET, UPDATES, snapshot, update
from peers.plain import PlainClient

from nkfast.core.frame import FrameDecoder
from nkfast.core.signing import Signer
from nkfast.wire.codec import build_body
from nkfast.wire.endpoints import ENDPOINTS

API_KEY = "0123456789abcdef0123456789abcdef"
SECRET = "fedcba9876543210" * 4
URL = "https://api.nonkyc.io/api/v2/createorder"
QUANTITY = Decimal("0.001")
CLIENT_ID = "nk01-01-00001"
Order = tuple[dict[str, str], bytes]


def our_path() -> Callable[[], Order]:
    decoder, signer = FrameDecoder([MARKET]), Signer(API_KEY, SECRET)
    book, endpoint = decoder.book(MARKET.symbol), ENDPOINTS["create_order"]
    frames = itertools.cycle([snapshot(), *map(update, range(UPDATES))]).__next__

    def call() -> Order:
        decoder.feed(frames())
        ticks, _ = book.best_bid
        body = build_body(
            endpoint,
            {
                "symbol": MARKET.symbol,
                "side": "buy",
                "order_type": "limit",
                "quantity": QUANTITY,
                "price": MARKET.ticks_to_price(ticks + 1),
                "user_provided_id": CLIENT_ID,
            },
        )
        return signer.headers(URL, body), body

    return call


def plain_path() -> Callable[[], Order]:
    client = PlainClient(API_KEY, SECRET, URL)
    frames = itertools.cycle([snapshot(), *map(update, range(UPDATES))]).__next__

    def call() -> Order:
        client.on_frame(frames())
        price = client.best_bid() + MARKET.tick_size
        return client.order(MARKET.symbol, price, QUANTITY, CLIENT_ID)

    return call


def test_both_order_the_same() -> None:
    ours, plain = our_path(), plain_path()
    for _ in range(200):
        (our_headers, our_body), (plain_headers, plain_body) = ours(), plain()
        assert json.loads(our_body) == json.loads(plain_body)
        assert our_headers.keys() == plain_headers.keys()


@pytest.mark.parametrize("path", [our_path, plain_path], ids=["nkfast", "plain"])
def test_frame_to_order(benchmark, path) -> None:
    benchmark(path())


def comparisons() -> Iterator[Comparison]:
    yield Comparison(
        "From an update of the book to a signed order",
        {"nkfast": our_path(), "plain Python": plain_path()},
        unit="order",
    )


if __name__ == "__main__":
    report(comparisons())
