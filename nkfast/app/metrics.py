"""``--metrics-port``: what a running bot does, for Prometheus, to this machine alone.

Nothing is counted for it on the way of an order: when it is asked, what the engine knows anyway is
written down.
"""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from nkfast import __version__
from nkfast.app.connection import Connection
from nkfast.errors import ConfigError, WireError
from nkfast.trading.engine import Engine
from nkfast.trading.latency import BOUNDS_US, Latencies
from nkfast.trading.orders import OrderState
from nkfast.venue.clock import Clock
from nkfast.wire.request import HttpRequest, RequestReader, encode_response

__all__ = ["EngineMetrics", "serve_metrics"]

_log = logging.getLogger("nkfast.app")
_HISTOGRAMS = {
    "tick_to_order": "From the arrival of news until the order that answers it was handed over.",
    "answer": "From handing an order over until its answer.",
    "journal": "To make durable what was written.",
}
_BODY_BYTES_MAX = 1_024
_CONNECTIONS_MAX = 8
_IDLE_S = 10.0


class EngineMetrics(Collector):
    """Writes down what an engine knows.

    Parameters
    ----------
    engine, connection
        Started.
    instance, strategy : str
        For the labels of ``nkfast_info``.
    """

    def __init__(
        self, engine: Engine, connection: Connection, clock: Clock, *, instance: str, strategy: str
    ) -> None:
        self._engine = engine
        self._connection = connection
        self.clock = clock
        self._labels = {
            "version": __version__,
            "instance": instance,
            "strategy": strategy,
            "mode": engine.mode,
        }
        #: How long the loop let the newest request wait for its turn, seconds.
        self.loop_wait_s = 0.0

    def describe(self) -> Iterable[Metric]:
        """Say nothing before it is asked: there may be no engine to ask yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Give every metric as it is now."""
        yield InfoMetricFamily("nkfast", "What runs.", self._labels)
        if not self._engine.has_started:
            return
        yield from self._orders()
        yield from self._market()
        yield from self._money()
        for name, latencies in self._engine.latencies.items():
            yield _histogram(f"nkfast_{name}_seconds", _HISTOGRAMS[name], latencies)
        yield _gauge("nkfast_loop_wait_seconds", "Until a due callback ran.", self.loop_wait_s)

    def _orders(self) -> Iterator[Metric]:
        summary = self._engine.summary()
        yield _counter("nkfast_orders", "Orders sent.", summary.orders)
        yield _counter("nkfast_fills", "Executions told.", summary.fills)
        refused = {c: n for c, n in summary.reasons.items() if c.startswith("REJECTED")}
        others = {c: n for c, n in summary.reasons.items() if c not in refused}
        yield _by_code("nkfast_rejects", "Orders that the exchange refused, by code.", refused)
        yield _by_code("nkfast_reasons", "Actions not taken, by reason.", others)
        yield _gauge("nkfast_open_orders", "Orders that may trade.", summary.open_orders)
        yield _gauge("nkfast_unknown_orders", "Orders without an answer.", summary.unknown_orders)
        waiting = sum(
            order.state is OrderState.SENDING or order.cancel_in_flight
            for order in self._engine.orders.open_orders
        )
        yield _gauge("nkfast_waiting", "Requests that wait for an answer.", waiting)
        life = GaugeMetricFamily("nkfast_life", "1 for the state it is in.", labels=["state"])
        life.add_metric([str(summary.life)], 1)
        yield life

    def _market(self) -> Iterator[Metric]:
        counters = self._connection.counters()
        reconnects = max(counters.get("connection_connections", 1) - 1, 0)
        yield _counter("nkfast_reconnects", "Connections after the first.", reconnects)
        yield _counter("nkfast_frames", "Frames received.", counters.get("connection_frames", 0))
        resyncs = counters.get("connection_resyncs", 0)
        yield _counter("nkfast_resyncs", "Books asked for anew.", resyncs)
        age = GaugeMetricFamily(
            "nkfast_book_age_seconds", "Since the newest frame of a book.", labels=["market"]
        )
        live = GaugeMetricFamily(
            "nkfast_book_live", "1 while a book can be traded on.", labels=["market"]
        )
        now_ns = self.clock.monotonic_ns()
        for symbol in self._engine.symbols:
            book = self._connection.venue.book(symbol)
            live.add_metric([symbol], int(book.state == "live"))
            if book.received_ns:
                age.add_metric([symbol], (now_ns - book.received_ns) / 1e9)
        yield age
        yield live
        skew_ms = self._connection.rest.skew_ms
        if skew_ms is not None:
            yield _gauge("nkfast_clock_skew_seconds", "Ahead of the exchange.", skew_ms / 1000)

    def _money(self) -> Iterator[Metric]:
        summary, quote = self._engine.summary(), self._engine.symbol.split("/")[1]
        for name, meaning, amount in (
            ("realized", "Earned by matched lots in this run.", summary.realized),
            ("unrealized", "What open lots would earn now.", summary.unrealized),
            ("equity_change", "By how much all fills changed our wealth.", summary.equity_change),
        ):
            if amount is not None:
                yield _money(f"nkfast_{name}", meaning, {quote: amount})
        yield _money("nkfast_fees", "Paid in this run.", summary.fees)
        ledger = self._engine.ledger
        held = {asset: ledger.total(asset) for asset in ledger.assets}
        yield _money("nkfast_balance", "Owned, free and in orders.", held)


def _counter(name: str, meaning: str, value: int) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _by_code(name: str, meaning: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=["code"])
    for code, count in counts.items():
        family.add_metric([code], count)
    return family


def _money(name: str, meaning: str, amounts: Mapping[str, Decimal]) -> Metric:
    family = GaugeMetricFamily(name, f"{meaning} To be looked at: floats.", labels=["asset"])
    for asset, amount in amounts.items():
        family.add_metric([asset], float(amount))
    return family


def _histogram(name: str, meaning: str, latencies: Latencies) -> Metric:
    family = HistogramMetricFamily(name, meaning)
    buckets, below = [], 0
    for bound, count in zip((*BOUNDS_US, None), latencies.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound is None else repr(bound / 1e6), below))
    family.add_metric([], buckets, latencies.total_ns / 1e9)
    return family


class _Server(asyncio.Protocol):
    """One connection of somebody who asks."""

    def __init__(
        self,
        metrics: EngineMetrics,
        registry: CollectorRegistry,
        clock: Clock,
        connections: set[asyncio.Transport],
    ) -> None:
        self._metrics = metrics
        self._registry = registry
        self._clock = clock
        self._connections = connections
        self._reader = RequestReader(_BODY_BYTES_MAX)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._connections.add(self._transport)
        if len(self._connections) > _CONNECTIONS_MAX:
            self._transport.abort()
        self._timer = self._loop.call_later(_IDLE_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            request = self._reader.next_request()
        except WireError:
            self._say(400, b"not an HTTP request\n")
            return
        if request is not None:
            self._loop.call_soon(self._answer, request, self._clock.monotonic_ns())

    def _answer(self, request: HttpRequest, asked_ns: int) -> None:
        self._metrics.loop_wait_s = (self._clock.monotonic_ns() - asked_ns) / 1e9
        # A page that the user looks at may make his browser ask here, under a name of its own.
        if not _is_of_this_machine(request.headers.get("host", "")):
            self._say(403, b"ask for 127.0.0.1 or localhost\n")
        elif request.target.partition("?")[0] != "/metrics":
            self._say(404, b"see /metrics\n")
        elif request.method != "GET":
            self._say(405, b"GET\n")
        else:
            self._tell()

    def _tell(self) -> None:
        try:
            text = generate_latest(self._registry)
        except Exception:  # whoever looks on must not disturb who trades
            _log.exception("the metrics cannot be written down")
            self._say(500, b"see the log\n")
        else:
            self._say(200, text, CONTENT_TYPE_PLAIN_0_0_4)

    def _say(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        headers = {"Content-Type": kind, "Connection": "close", "Cache-Control": "no-store"}
        self._transport.write(encode_response(status, body, headers))
        self._transport.close()


def _is_of_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name in ("127.0.0.1", "localhost", "[::1]")


@asynccontextmanager
async def serve_metrics(
    metrics: EngineMetrics, port: int, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """Answer ``GET /metrics`` inside the block; gives the address.

    Parameters
    ----------
    port : int
        0 takes a free one.
    host : str
        A loopback address: what it says is nobody else's business.

    Raises
    ------
    nkfast.errors.ConfigError
        The address is not this machine's alone, or the port is taken.
    """
    if not ipaddress.ip_address(host).is_loopback:
        raise ConfigError(f"{host} is open to others; use 127.0.0.1 or ::1", "--metrics-port")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    connections: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: _Server(metrics, registry, metrics.clock, connections), host, port
        )
    except OSError as error:
        text = f"{host}:{port} cannot be listened at: {error.strerror or error}"
        raise ConfigError(text, "--metrics-port") from error
    try:
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()
        for transport in list(connections):
            transport.abort()
        await server.wait_closed()
