"""The clients that bench_websocket.py compares, each in a process of its own.

    python -P benchmarks/peers/websocket_clients.py KIND JOB URL [CA_FILE]

JOB ``orders``: every change of the book sends one newOrder. JOB ``frames``: the frames go into a
book; whenever a sequence is reached that is a multiple of `BATCH`, a message says how much
processor time this process has used until then. Peers keep a book as plain as can be, a dictionary
for each side, without finding its best prices.
"""

import asyncio
import json
import ssl
import sys
import time
from decimal import Decimal

import aiohttp
import msgspec
import orjson
import picows
import uvloop
import websockets

from nkfast.client.websocket import WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.wire.models import ApiCredentials, OrderRequest

SYMBOL = "BTC/USDT"
BATCH = 5_000
#: Sequence of the snapshot.
FIRST_SEQUENCE = 10**14
ORDER = OrderRequest(
    symbol=SYMBOL,
    side="buy",
    quantity=Decimal("0.0125"),
    price=Decimal("64000.50"),
    user_provided_id="nk-bench-00000001",
)
PARAMS = ORDER.to_payload()


def report():
    return {"method": "getAssets", "params": {"cpu_ns": time.process_time_ns()}, "id": 1}


class Book:
    """Levels by price on each side, numbers of the caller's kind."""

    def __init__(self, number):
        self._number = number
        self._sides = {"bids": {}, "asks": {}}

    def apply(self, params):
        number = self._number
        for name, side in self._sides.items():
            for level in params[name]:
                price, quantity = number(level["price"]), number(level["quantity"])
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)
        return params["sequence"]


class Plain:
    """What every peer does with a message: its own JSON reader, its own kind of number."""

    def __init__(self, job, loads, dumps, number):
        self._job = job
        self._loads = loads
        self._dumps = dumps
        self._number = number
        self._book = Book(number)
        self._last_id = 2

    def first(self):
        params = {"algo": "HS256", "pKey": "k", "nonce": "n", "signature": "s"}
        yield self._dumps({"method": "login", "params": params, "id": 1})
        yield self._dumps({"method": "subscribeOrderbook", "params": {"symbol": SYMBOL}, "id": 2})

    def take(self, payload):
        """Return what to send for a message, None when that is nothing."""
        message = self._loads(payload)
        if message.get("method") not in ("updateOrderbook", "snapshotOrderbook"):
            return None
        sequence = self._book.apply(message["params"])
        if self._job == "orders":
            if message["method"] != "updateOrderbook":
                return None
            self._last_id += 1
            order = {"method": "newOrder", "params": self._order(), "id": self._last_id}
            return self._dumps(order)
        return self._dumps(report()) if sequence % BATCH == 0 else None

    def _order(self):
        price, quantity = self._number("64000.50"), self._number("0.0125")
        return PARAMS | {"price": str(price), "quantity": str(quantity)}


async def run_nkfast(job, url, context, busy_poll):
    decoder = FrameDecoder([Market(SYMBOL, 2, 6)])
    book = decoder.book(SYMBOL)
    reported = FIRST_SEQUENCE // BATCH
    reports = []

    def send_order(index, received_ns):
        if book.sequence > FIRST_SEQUENCE:
            # The answer of this exchange is no order: it has been measured when it comes.
            client.send_new_order(ORDER).add_done_callback(asyncio.Future.exception)

    def send_report(index, received_ns):
        nonlocal reported
        if book.sequence // BATCH > reported:
            reported = book.sequence // BATCH
            message = report()
            answer = client.request(message["method"], message["params"])
            reports.append(asyncio.ensure_future(answer))

    client = WebSocketClient(
        url,
        ApiCredentials("key", "secret"),
        decoder=decoder,
        allow_changes=True,
        on_book=send_order if job == "orders" else send_report,
        ssl_context=context,
        busy_poll=busy_poll,
    )
    client.subscribe_order_book(SYMBOL)
    await client.run_forever()


async def run_aiohttp(plain, url, context):
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, ssl=context or True, max_msg_size=0) as socket,
    ):
        for message in plain.first():
            await socket.send_str(message.decode() if isinstance(message, bytes) else message)
        async for message in socket:
            answer = plain.take(message.data)
            if answer is not None:
                await socket.send_str(answer.decode() if isinstance(answer, bytes) else answer)


async def run_websockets(plain, url, context):
    async with websockets.connect(url, ssl=context, compression=None, max_size=None) as socket:
        for message in plain.first():
            await socket.send(message)
        async for message in socket:
            answer = plain.take(message)
            if answer is not None:
                await socket.send(answer)


class PicowsListener(picows.WSListener):
    """As picows' own documentation shows it."""

    def __init__(self, plain):
        self._plain = plain

    def on_ws_connected(self, transport):
        for message in self._plain.first():
            transport.send(picows.WSMsgType.TEXT, message)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.TEXT:
            answer = self._plain.take(frame.get_payload_as_memoryview())
            if answer is not None:
                transport.send(picows.WSMsgType.TEXT, answer)


async def run_picows(plain, url, context):
    transport, _ = await picows.ws_connect(
        lambda *_: PicowsListener(plain), url, ssl_context=context
    )
    await transport.wait_disconnected()


def main(kind, job, url, ca_file=""):
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    runs = {
        "nkfast": lambda: run_nkfast(job, url, context, False),
        "nkfast-busy": lambda: run_nkfast(job, url, context, True),
        "aiohttp-orjson": lambda: run_aiohttp(
            Plain(job, orjson.loads, orjson.dumps, float), url, context
        ),
        "aiohttp-json": lambda: run_aiohttp(
            Plain(job, json.loads, json.dumps, Decimal), url, context
        ),
        "websockets-json": lambda: run_websockets(
            Plain(job, json.loads, json.dumps, Decimal), url, context
        ),
        "picows-msgspec": lambda: run_picows(
            Plain(job, msgspec.json.decode, msgspec.json.encode, Decimal), url, context
        ),
    }
    uvloop.run(runs[kind]())


if __name__ == "__main__":
    main(*sys.argv[1:])
