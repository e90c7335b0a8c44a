"""From a frame of the market to an order of a whole engine, against a bare echo and a plain client.

The engine reads the frame into its book, asks its strategy, checks every limit, writes the intent
to its journal and sends the order; the peers have neither risk checks nor a journal. The exchange's
side is C, as in bench_websocket.py; every order is filled at once, so that the next book finds the
slot free. Linux only.

Run:  python -P benchmarks/bench_engine.py
"""

import ctypes
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pytest
from bench_websocket import (
    FIRST_SEQUENCE,
    PEERS,
    ROUND_TRIPS,
    TICK_BYTES,
    Connection,
    client,
    compile_c,
    conversing,
    frame,
    round_trips,
    rounds,
    tick,
)
from interleaved import REPEATS, Comparison, report

from nkfast.trading.journal import Journal
from nkfast.trading.orders import Order

#: After an order, until the engine has taken its fill and sleeps again; the peers pause as long.
SETTLE_US = 1_000
ORDER_BYTES_MAX = 4096
SNAPSHOT = {
    "symbol": "BTC/USDT",
    "sequence": FIRST_SEQUENCE,
    "bids": [{"price": "63999.00", "quantity": "1.000000"}],
    "asks": [{"price": "64002.00", "quantity": "1.000000"}],
}


class Desk(Connection):
    """The exchange's side of an engine: accepts every order, and fills it at once."""

    def converse(self) -> None:
        self.shake_hands()
        while (request := json.loads(self.read_frame()))["method"] != "newOrder":
            self.tell(id=request["id"], **self._first_answer(request["method"]))
            if request["method"] == "subscribeOrderbook":
                self.tell(method="snapshotOrderbook", params=SNAPSHOT)
        self.fill(request)

    def tell(self, **message: object) -> None:
        self.socket.sendall(frame(json.dumps({"jsonrpc": "2.0", **message})))

    def fill(self, request: dict) -> None:
        """Answer an order, then report the trade that fills it."""
        wanted, order_id = request["params"], f"{request['id']:024x}"
        order = {
            "id": order_id,
            "userProvidedId": wanted["userProvidedId"],
            "symbol": wanted["symbol"],
            "side": wanted["side"],
            "type": "limit",
            "price": wanted["price"],
            "quantity": wanted["quantity"],
            "executedQuantity": "0",
            "remainQuantity": wanted["quantity"],
            "status": "New",
            "isActive": True,
            "createdAt": 1790000000123,
            "updatedAt": 1790000000123,
            "reportType": "new",
        }
        self.tell(id=request["id"], result=order)
        trade = {
            "status": "Filled",
            "executedQuantity": wanted["quantity"],
            "reportType": "trade",
            "tradeQuantity": wanted["quantity"],
            "tradePrice": wanted["price"],
            "tradeId": order_id,
            "tradeFee": "1.60",
        }
        self.tell(method="report", params=order | trade)

    @staticmethod
    def _first_answer(method: str) -> dict[str, object]:
        if method == "subscribeReports":
            return {"method": "activeOrders", "result": []}
        if method == "subscribeBalances":
            return {"method": "currentBalances", "result": []}
        return {"result": True}


def engine(stack: ExitStack, durability: str, folder: Path) -> Desk:
    script = str(PEERS / "engine_trader.py")
    words = [sys.executable, "-P", script, "ws://127.0.0.1:PORT/", durability]
    desk = Desk([*words, str(folder / f"{durability}.db")])
    stack.callback(desk.close)
    desk.converse()
    return desk


def order_times(desk: Desk, library: ctypes.CDLL) -> Callable[[], list[float]]:
    """Each call returns the times of some ticks to their orders."""
    order = ctypes.create_string_buffer(ORDER_BYTES_MAX)
    library.nk_tick_round_trip.restype = ctypes.c_longlong
    desk.socket.setblocking(True)

    def run() -> list[float]:
        times = []
        for _ in range(ROUND_TRIPS):
            desk.sequence += 1
            message = tick(desk.sequence)
            elapsed = library.nk_tick_round_trip(desk.socket.fileno(), message, len(message), order)
            assert elapsed > 0, "the engine has left"
            times.append(elapsed)
            desk.fill(json.loads(order.value))
            time.sleep(SETTLE_US / 1e6)
        return times

    run()
    return run


def comparisons() -> Iterator[Comparison]:
    if sys.platform != "linux":
        pytest.skip("the echo and the exchange of this benchmark are written for Linux")
    with tempfile.TemporaryDirectory() as folder:
        yield from journals(Path(folder))
        yield from ticks_to_orders(Path(folder))


def ticks_to_orders(folder: Path) -> Iterator[Comparison]:
    options = ["-shared", "-fPIC"]
    library = ctypes.CDLL(str(compile_c("tick_exchange.c", folder / "exchange.so", *options)))
    echo = str(compile_c("tick_echo.c", folder / "tick_echo"))
    with ExitStack() as stack:
        ours = engine(stack, "process", folder)
        order_bytes = order_frame_bytes(ours)
        bare = Connection([echo, "PORT", str(TICK_BYTES + 4), str(order_bytes), "sleep"])
        stack.callback(bare.close)
        plain = conversing(stack, client("aiohttp-json", "orders"))
        yield rounds(
            "frame in to order out through the whole engine: book, strategy, risk, journal, send",
            {
                "nkfast": order_times(ours, library),
                "nkfast, durability power": order_times(engine(stack, "power", folder), library),
                "bare C echo on epoll": round_trips(bare, library, SETTLE_US),
                "aiohttp, json, Decimal": round_trips(plain, library, SETTLE_US),
            },
            goals={"bare C echo on epoll": 1 / 1.5, "aiohttp, json, Decimal": 2},
            unit="tick",
            note="The peers have no risk checks and no journal.",
        )


def order_frame_bytes(desk: Desk) -> int:
    """How long the frame of an order is that the engine sends."""
    desk.sequence += 1
    desk.socket.sendall(tick(desk.sequence))
    payload = desk.read_frame()
    desk.fill(json.loads(payload))
    time.sleep(SETTLE_US / 1e6)
    return len(payload) + 8


def journals(folder: Path) -> Iterator[Comparison]:
    with ExitStack() as stack:

        def intents(durability: str) -> Callable[[], object]:
            journal = stack.enter_context(
                Journal.open(
                    folder / f"{durability}-intents.db", instance="bench", durability=durability
                )
            )
            ids = journal.id_source()
            price, quantity = Decimal("64000.51"), Decimal("0.0125")

            def call() -> None:
                journal.hold()
                journal.intend(
                    Order(
                        *(ids.next(), "buy", "BTC/USDT", "buy", price, quantity, "limit"),
                        1790000000123,
                    )
                )
                journal.commit()  # here its order leaves
                journal.settle()

            return call

        yield Comparison(
            "one intent made durable and stored, its order object included",
            {"nkfast, process": intents("process"), "nkfast, power": intents("power")},
            unit="intent",
            limits_ns={"nkfast, process": 30_000},
        )


if __name__ == "__main__":
    report(comparisons(), int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
