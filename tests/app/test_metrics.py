"""Metrics answer this machine alone, under its own name, and nothing but a GET of /metrics."""

import asyncio
import random
from bisect import bisect_left
from itertools import pairwise
from types import SimpleNamespace

import pytest

from nkfast.app.metrics import EngineMetrics, serve_metrics
from nkfast.errors import ConfigError
from nkfast.trading.latency import BOUNDS_US, Latencies
from nkfast.venue.clock import RealClock


def metrics() -> EngineMetrics:
    # Of a bot that is about to start: what runs is known, and nothing else yet.
    engine = SimpleNamespace(mode="live", has_started=False)
    return EngineMetrics(engine, None, RealClock(), instance='a"b', strategy="grid")


async def ask(address: str, request: bytes) -> bytes:
    host, port = address.removeprefix("http://").removesuffix("/metrics").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n", 200),
        (b"GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: [::1]:9\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.test:80\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.test\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
        (b"\x16\x03\x01 this is TLS\r\n\r\n", 400),
    ],
)
async def test_who_asks_and_for_what(request_: bytes, status: int) -> None:
    async with serve_metrics(metrics(), 0) as address:
        answer = await ask(address, request_)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    told = b'nkfast_info{instance="a\\"b",mode="live",strategy="grid",version='
    assert (told in answer) == (status == 200)


async def test_fault_of_the_metrics_is_told_and_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = metrics()
    broken._engine.has_started = True  # and has nothing that could be asked
    async with serve_metrics(broken, 0) as address:
        answer = await ask(address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert "the metrics cannot be written down" in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7"])
async def test_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="is open to others"):
        async with serve_metrics(metrics(), 0, host):
            pass


async def test_port_that_is_taken_is_named() -> None:
    async with serve_metrics(metrics(), 0) as address:
        port = int(address.removesuffix("/metrics").rsplit(":", 1)[1])
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be listened at"):
            async with serve_metrics(metrics(), port):
                pass


async def test_many_who_only_connect_are_turned_away() -> None:
    async with serve_metrics(metrics(), 0) as address:
        host, port = address.removeprefix("http://").removesuffix("/metrics").rsplit(":", 1)
        held = [await asyncio.open_connection(host, int(port)) for _ in range(8)]
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionResetError):
                if not await reader.read():
                    raise ConnectionResetError
        for _, each in (*held, (reader, writer)):
            each.close()


def test_latencies_are_counted_in_their_buckets() -> None:
    rng, latencies = random.Random(7), Latencies()
    noted = [int(10 ** rng.uniform(2, 11)) for _ in range(500)] + [10_000, 10_001]
    for latency_ns in noted:
        latencies.note(latency_ns)
    bounds_ns = [bound * 1000 for bound in BOUNDS_US]
    wanted = [0] * (len(bounds_ns) + 1)
    for latency_ns in noted:
        wanted[bisect_left(bounds_ns, latency_ns)] += 1
    assert latencies.counts == wanted
    assert latencies.total_ns == sum(noted)
    assert all(later > earlier for earlier, later in pairwise(BOUNDS_US))
