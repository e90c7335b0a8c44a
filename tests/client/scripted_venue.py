"""A venue on a loopback WebSocket that answers as the test says, and the bytes it sends."""

import json
import struct
from contextlib import asynccontextmanager
from decimal import Decimal

import picows

from nkfast.wire.models import ApiCredentials, OrderRequest

KEY = ApiCredentials("the-key", "the-secret")
REQUEST = OrderRequest(
    symbol="AAA/USDT",
    side="buy",
    quantity=Decimal(40),
    price=Decimal("1.25"),
    user_provided_id="nk-1",
)
ORDER = {
    "id": "o1",
    "symbol": "AAA/USDT",
    "side": "buy",
    "type": "limit",
    "price": "1.25",
    "quantity": "40",
    "executedQuantity": "0",
    "status": "New",
    "userProvidedId": "nk-1",
}


def book(method, sequence, bids=(), asks=(), symbol="AAA/USDT"):
    sides = {"bids": bids, "asks": asks}
    levels = {
        side: [{"price": price, "quantity": quantity} for price, quantity in rows]
        for side, rows in sides.items()
    }
    return {"method": method, "params": {"symbol": symbol, "sequence": sequence, **levels}}


SNAPSHOT = book("snapshotOrderbook", 100, [("1.25", "40")], [("1.30", "7")])


class Connection(picows.WSListener):
    """The venue's side of one connection, answering as the test says."""

    def __init__(self, venue):
        self.venue = venue
        self.transport = None
        self.requests = []
        self.pings = 0
        self.closed_with = None

    def on_ws_connected(self, transport):
        self.transport = transport
        self.venue.connections.append(self)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.PING:
            self.pings += 1
            if self.venue.answers_pings:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self.closed_with = int.from_bytes(frame.get_payload_as_bytes()[:2])
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type == picows.WSMsgType.TEXT:
            request = json.loads(frame.get_payload_as_utf8_text())
            self.requests.append(request)
            self.venue.answer(self, request)

    def send(self, **frame):
        self.send_text(json.dumps({"jsonrpc": "2.0", **frame}))

    def send_text(self, text):
        self.transport.send(picows.WSMsgType.TEXT, text)

    def send_bytes(self, *pieces):
        """Write bytes to the socket as they are, in one go."""
        self.transport.underlying_transport.write(b"".join(pieces))

    def methods(self):
        return [request["method"] for request in self.requests]


class Venue:
    """A WebSocket server that acknowledges everything and is told what else to do."""

    def __init__(self):
        self.connections = []
        self.answers_pings = True
        self.snapshot = SNAPSHOT
        self.silent = set()
        self.errors = {}
        self.results = {"newOrder": ORDER, "cancelOrder": {**ORDER, "status": "Cancelled"}}

    def answer(self, connection, request):
        method, number = request["method"], request["id"]
        if method in self.silent:
            return
        if method in self.errors:
            connection.send(error=self.errors[method], id=number)
        elif method == "subscribeReports":
            connection.send(method="activeOrders", result=[], id=number)
        else:
            connection.send(result=self.results.get(method, True), id=number)
            if method == "subscribeOrderbook" and self.snapshot is not None:
                connection.send(**self.snapshot)

    @property
    def last(self):
        return self.connections[-1]


@asynccontextmanager
async def venue():
    there = Venue()
    server = await picows.ws_create_server(
        lambda request: Connection(there), "127.0.0.1", 0, enable_auto_pong=False
    )
    there.port = server.sockets[0].getsockname()[1]
    there.url = f"ws://127.0.0.1:{there.port}/"
    there.server = server
    try:
        yield there
    finally:
        server.close()
        for connection in there.connections:
            connection.transport.disconnect(graceful=False)
        await server.wait_closed()


def frame_bytes(opcode, payload, fin=True, rsv=0):
    """One unmasked frame as a server sends it."""
    if isinstance(payload, str):
        payload = payload.encode()
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + b"\x7e" + struct.pack(">H", len(payload)) + payload


TEXT, CONTINUATION, BINARY, PING, PONG = 1, 0, 2, 9, 10


def update(sequence, price="1.26", symbol="AAA/USDT"):
    bids = [(price, str(sequence))]
    return frame_bytes(TEXT, json.dumps(book("updateOrderbook", sequence, bids, symbol=symbol)))
