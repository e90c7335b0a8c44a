"""Orders into the simulated exchange: in this process, over a WebSocket, over REST.

The work is the same everywhere: orders that rest and are cancelled again, or pairs that trade,
into a book of `RESTING` orders; counted is each request. Over sockets the servers are processes of
their own, and what counts is the processor time that they use, the kernel's part included: it is
what one core has to give, whoever else is busy on the machine. The peer is what one would write in
an afternoon (peers/plain_exchange.py): dictionaries of `Decimal`, aiohttp, json; it does less.
Linux only.

Run:  python benchmarks/bench_exchange.py
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
from bench_websocket import rounds
from interleaved import REPEATS, Comparison, report
from peers.plain_exchange import KEY, SECRET, PlainExchange

from nkfast.core.signing import Signer
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.rules import OrderForm

PEER = Path(__file__).parent / "peers" / "plain_exchange.py"
SYMBOL = "BTC/USDT"
RESTING = 200
AT_ONCE = 50
CONNECTIONS = 16
TIMEOUT_SECONDS = 30.0
RESTS = "orders that rest, and their cancels"
TRADES = "orders that trade at once"
#: Of one request: 20,000 a second on one core.
GOAL_NS = 50_000
PLENTY = {"BTC": "1000", "USDT": "100000000"}
#: ``nkfast exchange serve`` without traders of its own.
SERVE = f"""
import json
from nkfast.app.loop import run
from nkfast.app.serve import serve
from nkfast.exchange.server import ExchangeSettings

settings = ExchangeSettings(speed=0, balances={PLENTY})
tell = lambda told: print(json.dumps(told), flush=True)
run(serve(settings, seconds=None, until_eof=True, announce=tell))
"""
#: Every client id of this process is new to a server that outlives a round.
numbers = count()


def resting_prices() -> Iterator[tuple[str, str]]:
    for level in range(1, RESTING // 2 + 1):
        yield "buy", f"{63_900 - level}.00"
        yield "sell", f"{64_100 + level}.00"


class Nkfast:
    """An `Exchange` and two accounts."""

    def __init__(self) -> None:
        self.exchange = Exchange(DEFAULT_MARKETS)
        self.account = self.exchange.open_account("one", PLENTY)
        self.other = self.exchange.open_account("two", PLENTY)
        for side, price in resting_prices():
            self.submit(self.other, side, price)

    def submit(self, account: object, side: str, price: str) -> str:
        name = f"order-{next(numbers)}"
        form = OrderForm(SYMBOL, side, "limit", "0.01", price, name, True)
        return self.exchange.submit(account, form, 1_790_000_000_000).id

    def rest_and_cancel(self) -> None:
        order_id = self.submit(self.account, "buy", "63990.00")
        self.exchange.cancel(self.account, order_id, 1_790_000_000_000)

    def trade(self) -> None:
        self.submit(self.account, "sell", "64000.00")
        self.submit(self.other, "buy", "64000.00")


class Peer:
    """The same with a `PlainExchange`."""

    def __init__(self) -> None:
        self.exchange = PlainExchange()
        for name in ("one", "two"):
            self.exchange.open_account(name, PLENTY["BTC"], PLENTY["USDT"])
        for side, price in resting_prices():
            self.submit("two", side, price)

    def submit(self, account: str, side: str, price: str) -> str:
        return self.exchange.submit(account, side, price, "0.01", f"order-{next(numbers)}")["id"]

    def rest_and_cancel(self) -> None:
        self.exchange.cancel("one", self.submit("one", "buy", "63990.00"))

    def trade(self) -> None:
        self.submit("one", "sell", "64000.00")
        self.submit("two", "buy", "64000.00")


class Server:
    """A process that answers on a port, and the processor time that it has used."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self.sockets: list[socket.socket] = []
        # The clock of another process, as clock_getcpuclockid(3) would name it.
        self._clock = ~process.pid << 3 | 2

    def connect(self) -> socket.socket:
        end = socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECONDS)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sockets.append(end)
        return end

    def cpu_ns(self) -> int:
        return time.clock_gettime_ns(self._clock)


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Server]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-P", *command], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None and process.stdout is not None
        told = json.loads(process.stdout.readline())
        port = told.get("port") or int(told["rest_url"].split(":")[2].split("/")[0])
        server = Server(process, port)
        yield server
        for end in server.sockets:
            end.close()
        process.stdin.close()


class WebSocketLoad:
    """Sends orders on one WebSocket, `AT_ONCE` before it reads the answers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._socket = server.connect()
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._received = b""
        while b"\r\n\r\n" not in self._received:
            self._received += self._socket.recv(65_536)
        _, _, self._received = self._received.partition(b"\r\n\r\n")
        nonce = secrets.token_hex(8)
        signature = Signer(KEY, SECRET).sign(nonce.encode())
        login = {"algo": "HS256", "pKey": KEY, "nonce": nonce, "signature": signature}
        self._ask([("login", login)])

    def orders(self, orders: Sequence[dict[str, object]]) -> None:
        self._ask([("newOrder", order) for order in orders])

    def cancels(self, names: Sequence[str]) -> None:
        self._ask([("cancelOrder", {"userProvidedId": name}) for name in names])

    def _ask(self, requests: Sequence[tuple[str, dict[str, object]]]) -> None:
        frames = (
            masked(json.dumps({"method": method, "params": params, "id": number}).encode())
            for number, (method, params) in enumerate(requests)
        )
        self._socket.sendall(b"".join(frames))
        for number in range(len(requests)):
            answer = json.loads(self._read_frame())
            assert answer.get("id") == number and "result" in answer, answer

    def _read_frame(self) -> bytes:
        length = self._peek(2)[1]
        start = 2
        if length == 126:
            length, start = int.from_bytes(self._peek(4)[2:4]), 4
        frame = self._peek(start + length)
        self._received = frame[start + length :]
        return frame[start : start + length]

    def _peek(self, size: int) -> bytes:
        while len(self._received) < size:
            piece = self._socket.recv(262_144)
            assert piece, "the server has left"
            self._received += piece
        return self._received


class RestLoad:
    """Sends orders on `CONNECTIONS` connections that are kept, one request on each at a time."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._sockets = [server.connect() for _ in range(CONNECTIONS)]
        self._host = f"127.0.0.1:{server.port}"
        self._signer = Signer(KEY, SECRET)
        self._nonce = time.time_ns() // 1000

    def orders(self, orders: Sequence[dict[str, object]]) -> None:
        self._ask("createorder", orders)

    def cancels(self, names: Sequence[str]) -> None:
        self._ask("cancelorder", [{"id": name} for name in names])

    def _ask(self, call: str, bodies: Sequence[dict[str, object]]) -> None:
        for start in range(0, len(bodies), CONNECTIONS):
            pairs = list(zip(self._sockets, bodies[start:], strict=False))
            for connection, body in pairs:
                connection.sendall(self._request(call, json.dumps(body)))
            for connection, _ in pairs:
                answer = read_response(connection)
                assert answer.startswith(b"HTTP/1.1 200 "), answer

    def _request(self, call: str, body: str) -> bytes:
        self._nonce += 1
        path = f"/api/v2/{call}"
        signed = f"{KEY}http://{self._host}{path}{body}{self._nonce}"
        return (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nX-API-KEY: {KEY}\r\nX-API-NONCE: {self._nonce}\r\n"
            f"X-API-SIGN: {self._signer.sign(signed.encode())}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def masked(payload: bytes) -> bytes:
    mask = b"\x12\x34\x56\x78"
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return head + mask + (int.from_bytes(payload) ^ key).to_bytes(size)


def read_response(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def an_order(side: str, price: str) -> dict[str, object]:
    return {
        "symbol": SYMBOL,
        "side": side,
        "type": "limit",
        "price": price,
        "quantity": "0.01",
        "userProvidedId": f"order-{os.getpid()}-{next(numbers)}",
        "strictValidate": True,
    }


Load = WebSocketLoad | RestLoad
Work = Callable[[Load], None]


def filled(load: Load) -> Load:
    load.orders([an_order(side, price) for side, price in resting_prices()])
    return load


def rest_and_cancel(load: Load) -> None:
    orders = [an_order("buy", f"{63_990 - n}.00") for n in range(AT_ONCE)]
    load.orders(orders)
    load.cancels([str(order["userProvidedId"]) for order in orders])


def trade(load: Load) -> None:
    load.orders([an_order("sell" if n % 2 else "buy", "64000.00") for n in range(2 * AT_ONCE)])


class Clocked:
    """Does the work again and again, two requests to an order; gives the time of one request."""

    def __init__(self, load: Load, work: Work) -> None:
        self._load, self._work = load, work
        self._wall_ns = 0
        work(load)

    def processor(self) -> list[float]:
        server = self._load.server
        start_ns, start_cpu_ns = time.perf_counter_ns(), server.cpu_ns()
        self._work(self._load)
        self._wall_ns = time.perf_counter_ns() - start_ns
        return [(server.cpu_ns() - start_cpu_ns) / (2 * AT_ONCE)]

    def wall(self) -> list[float]:
        """Of the round that `processor` measured last."""
        return [self._wall_ns / (2 * AT_ONCE)]


def in_process() -> Iterator[Comparison]:
    for work, method in ((RESTS, "rest_and_cancel"), (TRADES, "trade")):
        ours, peer = Nkfast(), Peer()
        yield Comparison(
            f"exchange in process: {work}",
            {"Exchange": getattr(ours, method), "Decimal, dictionaries": getattr(peer, method)},
            unit="request",
            units={"Exchange": 2, "Decimal, dictionaries": 2},
            note="The peer keeps no history and tells nobody.",
        )


def over_sockets(title: str, kind: type[Load], work: Work) -> Iterator[Comparison]:
    with ExitStack() as stack:
        ours, peer = (
            Clocked(filled(kind(stack.enter_context(serving(command)))), work)
            for command in (["-c", SERVE], [str(PEER)])
        )
        yield rounds(
            title,
            {
                "nkfast": ours.processor,
                "nkfast, on the wall": ours.wall,
                "aiohttp, json, Decimal": peer.processor,
            },
            unit="request",
            limits_ns={"nkfast": GOAL_NS},
            note="Processor time of the server. On the wall, the load generator and the server"
            " wait for each other.",
        )


def comparisons() -> Iterator[Comparison]:
    if sys.platform != "linux":
        pytest.skip("the processor time of another process is read as Linux has it")
    pytest.importorskip("uvloop")
    yield from in_process()
    for name, kind in (("WebSocket", WebSocketLoad), ("REST", RestLoad)):
        yield from over_sockets(f"exchange over {name}: {RESTS}", kind, rest_and_cancel)
        yield from over_sockets(f"exchange over {name}: {TRADES}", kind, trade)


if __name__ == "__main__":
    report(comparisons(), int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
