"""What the client adds to a frame on its way in and to an order on its way out.

Frames: `Listener.on_ws_frame` on a frame as picows hands it over, 245 bytes with one level a side,
into a live book; the sockets are left out. Every frame ends a burst, which is the costliest case:
clock, callback and all. Orders: a request to the bytes of its message, and the reply back.

Run:  pytest benchmarks/bench_client.py --benchmark-columns=min,median,ops
"""

import json
from decimal import Decimal

import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from nkfast.client.listener import Listener, PythonListener
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.core.order_frame import new_order_frame
from nkfast.core.signing import Signer
from nkfast.wire.client_session import Answer, ClientSession
from nkfast.wire.codec import build_body, build_target, echo_mismatch, encode_request
from nkfast.wire.endpoints import ENDPOINTS
from nkfast.wire.models import OrderRequest, OrderResponse

FRAMES = 10_000
FRAME_BYTES = 245
FIRST_SEQUENCE = 10**14


class Silent:
    """A sink that only counts."""

    def __init__(self):
        self.books = 0

    def on_snapshot(self, market_index):
        pass

    def on_book(self, market_index, received_ns):
        self.books += 1


def frame(method, sequence, bids, asks):
    params = {
        "symbol": "AAA/USDT",
        "sequence": sequence,
        "bids": [{"price": price, "quantity": "0.025000"} for price in bids],
        "asks": [{"price": price, "quantity": "0.012500"} for price in asks],
    }
    content = {"jsonrpc": "2.0", "method": method, "params": params}
    text = json.dumps(content, separators=(",", ":")).removesuffix("}}")
    text += f',"timestamp":"2026-07-03T00:56:17.{sequence % 1000:03}Z"}}}}'
    payload = text.encode()
    assert method != "updateOrderbook" or len(payload) == FRAME_BYTES
    return _make_test_ws_frame(WSMsgType.TEXT, payload, True, False)


UPDATES = [
    frame("updateOrderbook", FIRST_SEQUENCE + n, [f"63999.{n % 50:02}"], [f"64001.{n % 50:02}"])
    for n in range(1, FRAMES + 1)
]


@pytest.mark.parametrize("kind", [Listener, PythonListener], ids=["compiled", "python"])
def test_frame(benchmark, kind):
    def prepare():
        sink = Silent()
        decoder = FrameDecoder([Market("AAA/USDT", 2, 6)])
        listener = kind(sink, decoder)
        snapshot = frame("snapshotOrderbook", FIRST_SEQUENCE, ["63999.00"], ["64001.00"])
        listener.on_ws_frame(None, snapshot)
        return (listener, decoder), {}

    def run(listener, decoder):
        take = listener.on_ws_frame
        for update in UPDATES:
            take(None, update)
        assert decoder.book("AAA/USDT").sequence == FIRST_SEQUENCE + FRAMES

    benchmark.pedantic(run, setup=prepare, rounds=20)
    if benchmark.stats is not None:  # with --benchmark-disable there are none
        benchmark.extra_info["ns_per_frame"] = round(benchmark.stats["min"] / FRAMES * 1e9)


REQUEST = OrderRequest(
    symbol="AAA/USDT",
    side="buy",
    quantity=Decimal("40.5"),
    price=Decimal("1.25"),
    user_provided_id="nk-a1-000001",
)


def test_websocket_order_out(benchmark):
    def run():
        return new_order_frame(
            1,
            REQUEST.symbol,
            REQUEST.side,
            REQUEST.order_type,
            REQUEST.quantity,
            REQUEST.price,
            REQUEST.user_provided_id,
            REQUEST.strict_validate,
        )

    assert benchmark(run) == encode_request("newOrder", REQUEST.to_payload(), 1)


def test_websocket_order_reply(benchmark):
    session = ClientSession()
    session.opened()
    reply = REQUEST.to_payload() | {"id": "6a0000000000000000000001", "executedQuantity": "0"}
    reply |= {"status": "New", "createdAt": 1790000000123, "updatedAt": 1790000000123}

    def prepare():
        number = next(session.ids)
        session.expect(number, "newOrder")
        message = {"jsonrpc": "2.0", "result": reply, "id": number}
        return (json.dumps(message).encode(),), {}

    def run(message):
        [answer] = session.receive(message)
        assert isinstance(answer, Answer)
        response = OrderResponse.from_wire(answer.result)
        assert echo_mismatch(REQUEST, response) == ""

    benchmark.pedantic(run, setup=prepare, rounds=5000)


def test_rest_order_out(benchmark):
    row = ENDPOINTS["create_order"]
    signer = Signer("the-key", "the-secret")
    arguments = {
        "symbol": REQUEST.symbol,
        "side": REQUEST.side,
        "order_type": REQUEST.order_type,
        "quantity": REQUEST.quantity,
        "price": REQUEST.price,
        "user_provided_id": REQUEST.user_provided_id,
        "strict_validate": True,
    }

    def run():
        url = "https://api.nonkyc.io/api/v2" + build_target(row, arguments)
        body = build_body(row, arguments)
        return signer.headers(url, body), body

    assert b'"price":"1.25"' in benchmark(run)[1]
