"""Whole WebSocket clients against each other, over loopback sockets, each in its own process.

Frames in: 245 bytes of order-book update, sent as fast as the socket takes them; counted is the
processor time that the client's process uses for each. Tick to order: one such frame goes out, and
what is timed is how long the order takes to come back, median of all; the exchange's side is C, the
client goes back to sleep between two ticks. Linux only.

Run:  python -P benchmarks/bench_websocket.py
"""

import base64
import ctypes
import hashlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest
from interleaved import REPEATS, Comparison, report

PEERS = Path(__file__).parent / "peers"
TICK_BYTES = 245
BATCH = 5_000
ROUND_TRIPS = 10
PAUSE_US = 200
TIMEOUT_SECONDS = 30.0
#: Sequences have as many digits from the first to the last, so that C can write them in place.
FIRST_SEQUENCE = 10**14
DIGITS = 15
#: First bytes of whole frames.
TEXT, PING, PONG = 0x81, 0x89, 0x8A
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def tick(sequence: int) -> bytes:
    """One update of exactly `TICK_BYTES`, without a blank, in a frame of a server."""
    head = '{"jsonrpc":"2.0","method":"updateOrderbook","params":{"symbol":"BTC/USDT","sequence":'
    ask, bid = 6_400_100 + sequence % 50, 6_400_000 - sequence % 50
    quantity = f"0.{sequence % 999 + 1:06}"
    ask_level, bid_level = (
        f'[{{"price":"{price // 100}.{price % 100:02}","quantity":"{quantity}"}}]'
        for price in (ask, bid)
    )
    text = f'{head}{sequence:{DIGITS}d},"asks":{ask_level},"bids":{bid_level},'
    text += f'"timestamp":"2026-07-03T00:56:17.{sequence % 1000:03}Z"}}}}'
    assert len(text) == TICK_BYTES, text
    return frame(text)


def frame(text: str) -> bytes:
    payload = text.encode()
    if len(payload) < 126:
        return bytes([0x81, len(payload)]) + payload
    return b"\x81\x7e" + len(payload).to_bytes(2) + payload


class Connection:
    """The exchange's side of one client's connection, and the client's process."""

    def __init__(self, command: list[str], context: ssl.SSLContext | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(TIMEOUT_SECONDS)
            port = str(server.getsockname()[1])
            words = [word.replace("PORT", port) for word in command]
            self._process = subprocess.Popen(words)
            end, _ = server.accept()
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # In C the socket blocks for ever; SO_RCVTIMEO bounds it there too.
        self.socket = end if context is None else context.wrap_socket(end, server_side=True)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.sequence = FIRST_SEQUENCE

    def shake_hands(self) -> None:
        """Answer the handshake of the WebSocket."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(4096)
        key = next(
            line.partition(b":")[2].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def converse(self) -> None:
        """Answer the handshake, the login and the subscription, and give the book."""
        self.shake_hands()
        while True:
            request = json.loads(self.read_frame())
            answer = {"jsonrpc": "2.0", "result": True, "id": request["id"]}
            self.socket.sendall(frame(json.dumps(answer)))
            if request["method"] == "subscribeOrderbook":
                break
        params = {"symbol": "BTC/USDT", "sequence": FIRST_SEQUENCE, "bids": [], "asks": []}
        snapshot = {"jsonrpc": "2.0", "method": "snapshotOrderbook", "params": params}
        self.socket.sendall(frame(json.dumps(snapshot)))

    def read_frame(self) -> bytes:
        """Return the payload of the client's next text, answering the pings it sends between."""
        while True:
            first, second = self._read(2)
            length = second & 127
            if length == 126:
                length = int.from_bytes(self._read(2))
            mask, payload = self._read(4), self._read(length)
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
            if first == TEXT:
                return payload
            if first != PING:
                raise ConnectionError(f"the client sent a frame that begins with {first:#x}")
            self.socket.sendall(bytes([PONG, length]) + payload)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError(f"the client {self._process.args} has left")
            data += piece
        return data

    def stop(self) -> None:
        """Let the client's process rest until `resume`."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.socket.close()
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Rounds(Comparison):
    """A comparison whose candidates each return their own measurements, in nanoseconds."""

    measured: dict[str, Callable[[], list[float]]] = field(default_factory=dict)

    def measure(self, repeats: int = REPEATS) -> dict[str, float]:
        samples: dict[str, list[float]] = {name: [] for name in self.measured}
        for _ in range(repeats):
            for name, run in self.measured.items():
                samples[name] += run()
        return {name: median(values) for name, values in samples.items()}


def rounds(title: str, measured: dict[str, Callable[[], list[float]]], **more: object) -> Rounds:
    return Rounds(title, dict(measured), measured=measured, **more)


def processor_time(connection: Connection) -> Callable[[], list[float]]:
    """Each call sends a batch of frames and returns the processor time the client had for one."""
    before = 0

    def run() -> list[float]:
        nonlocal before
        first = connection.sequence + 1
        connection.sequence += BATCH
        connection.socket.sendall(b"".join(tick(first + n) for n in range(BATCH)))
        request = json.loads(connection.read_frame())
        connection.socket.sendall(frame(json.dumps({"result": [], "id": request["id"]})))
        used, before = request["params"]["cpu_ns"] - before, request["params"]["cpu_ns"]
        return [used / BATCH]

    run()  # what the process needed to start
    return run


def round_trips(
    connection: Connection, library: ctypes.CDLL, pause_us: int = PAUSE_US
) -> Callable[[], list[float]]:
    """Each call returns the times of some ticks to their orders, taken in C."""
    fd = connection.socket.fileno()
    connection.socket.setblocking(True)
    elapsed = (ctypes.c_longlong * ROUND_TRIPS)()

    def run() -> list[float]:
        first = connection.sequence + 1
        connection.sequence += ROUND_TRIPS
        template = tick(first)
        buffer = ctypes.create_string_buffer(template, len(template))
        digits_at = template.index(b'"sequence":') + len(b'"sequence":')
        failed = library.nk_tick_round_trips(
            fd,
            buffer,
            len(template),
            *(digits_at, DIGITS, ctypes.c_longlong(first), ROUND_TRIPS, pause_us, elapsed),
        )
        assert not failed, "the client has left"
        return list(elapsed)

    run()
    return run


def spinning_round_trips(connection: Connection, library: ctypes.CDLL) -> Callable[[], list[float]]:
    """As `round_trips`, of a client that takes a core: the others must not take the other ones."""
    measure = round_trips(connection, library)
    connection.stop()

    def run() -> list[float]:
        connection.resume()
        measure()  # the caches are another client's
        times = measure()
        connection.stop()
        return times

    return run


def secure_round_trips(connection: Connection) -> Callable[[], list[float]]:
    """As `round_trips` with the exchange's side in Python, for the sake of its TLS."""

    def run() -> list[float]:
        times = []
        for _ in range(ROUND_TRIPS):
            connection.sequence += 1
            message = tick(connection.sequence)
            start = time.perf_counter_ns()
            connection.socket.sendall(message)
            if not connection.socket.pending():
                select.select([connection.socket], [], [], TIMEOUT_SECONDS)
            order = connection.read_frame()
            times.append(time.perf_counter_ns() - start)
            answer = {"jsonrpc": "2.0", "result": None, "id": json.loads(order)["id"]}
            connection.socket.sendall(frame(json.dumps(answer)))
            time.sleep(PAUSE_US / 1e6)
        return times

    run()
    return run


def client(kind: str, job: str, secure: str = "") -> list[str]:
    scheme = "wss" if secure else "ws"
    script = str(PEERS / "websocket_clients.py")
    words = [sys.executable, "-P", script, kind, job, f"{scheme}://127.0.0.1:PORT/"]
    return [*words, secure] if secure else words


def compile_c(source: str, target: Path, *options: str) -> Path:
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-Wall", *options]
    subprocess.run([*command, str(PEERS / source), "-o", str(target)], check=True)
    return target


def conversing(stack: ExitStack, command: list[str], **more: ssl.SSLContext) -> Connection:
    connection = Connection(command, **more)
    stack.callback(connection.close)
    connection.converse()
    return connection


def comparisons() -> Iterator[Comparison]:
    if sys.platform != "linux":
        pytest.skip("the echo and the exchange of this benchmark are written for Linux")
    for name in ("websockets", "trustme"):
        pytest.importorskip(name)
    with tempfile.TemporaryDirectory() as folder:
        yield from frames_in()
        yield from ticks_to_orders(Path(folder))
        yield from secure_ticks_to_orders(Path(folder))


def frames_in() -> Iterator[Comparison]:
    kinds = {
        "nkfast": "nkfast",
        "aiohttp, orjson, floats": "aiohttp-orjson",
        "websockets, json, Decimal": "websockets-json",
    }
    with ExitStack() as stack:
        yield rounds(
            "WebSocket frames of 245 bytes from the socket into a book",
            {
                name: processor_time(conversing(stack, client(kind, "frames")))
                for name, kind in kinds.items()
            },
            goals={"aiohttp, orjson, floats": 12, "websockets, json, Decimal": 40},
            unit="frame",
            note="Processor time of the client's process, the kernel's part included. The peers' "
            "books are dictionaries that do not know their best prices.",
        )


def order_bytes() -> int:
    """How long the frame of an order is that nkfast's client sends."""
    with ExitStack() as stack:
        connection = conversing(stack, client("nkfast", "orders"))
        connection.socket.sendall(tick(FIRST_SEQUENCE + 1))
        return len(connection.read_frame()) + 8


def ticks_to_orders(folder: Path) -> Iterator[Comparison]:
    library = ctypes.CDLL(
        str(compile_c("tick_exchange.c", folder / "tick_exchange.so", "-shared", "-fPIC"))
    )
    echo = str(compile_c("tick_echo.c", folder / "tick_echo"))
    sizes = [str(TICK_BYTES + 4), str(order_bytes())]
    title = "tick to order: a book frame in, a logged-in newOrder out"
    with ExitStack() as stack:

        def bare(how: str) -> Connection:
            connection = Connection([echo, "PORT", *sizes, how])
            stack.callback(connection.close)
            return connection

        def full(kind: str) -> Connection:
            return conversing(stack, client(kind, "orders"))

        yield rounds(
            title,
            {
                "nkfast": round_trips(full("nkfast"), library),
                "bare C echo on epoll": round_trips(bare("sleep"), library),
                "aiohttp, json, Decimal": round_trips(full("aiohttp-json"), library),
            },
            goals={"bare C echo on epoll": 1 / 1.15, "aiohttp, json, Decimal": 2.5},
            unit="tick",
            note="Most of it is the kernel: two system calls and a wake-up on either side.",
        )
    with ExitStack() as stack:
        yield rounds(
            f"{title}, both spinning",
            {
                "nkfast, busy_poll": spinning_round_trips(full("nkfast-busy"), library),
                "bare C echo that spins": spinning_round_trips(bare("spin"), library),
            },
            goals={"bare C echo that spins": 1 / 1.6},
            unit="tick",
            note="Each rests while the other is measured: two that spin would take turns on the "
            "core that the exchange's side needs.",
        )


def secure_ticks_to_orders(folder: Path) -> Iterator[Comparison]:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    kinds = {"nkfast": "nkfast", "picows in Python, msgspec, Decimal": "picows-msgspec"}
    with ExitStack() as stack:
        yield rounds(
            "tick to order over TLS",
            {
                name: secure_round_trips(
                    conversing(stack, client(kind, "orders", str(ca_file)), context=context)
                )
                for name, kind in kinds.items()
            },
            goals={"picows in Python, msgspec, Decimal": 1 / 0.9},
            unit="tick",
        )


if __name__ == "__main__":
    report(comparisons(), int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
