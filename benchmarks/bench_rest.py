"""REST requests over loopback sockets: one ticker, asked for again and again.

Every candidate sends the same GET to the same server, a process of its own, and hands the ticker
over: nkfast's clients checked, typed and as `Decimal`, the peers as whatever `json` makes of it.
Timed is each request by itself; the clients on asyncio run on uvloop, as `nkfast` does.

Run:  python -P benchmarks/results.py --only rest
"""

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
from bench_websocket import rounds
from interleaved import REPEATS, Comparison, report

from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.rest import RestClient
from nkfast.client.throttle import Throttle

SERVER = Path(__file__).parent / "peers" / "rest_server.py"
REQUESTS = 10
AT_ONCE = 50
FAR_SECONDS = 0.02
PATH = "/ticker/BTC_USDT"

Timed = Callable[[], list[float]]


@contextmanager
def serving(*certificate: str, delay_seconds: float = 0.0) -> Iterator[str]:
    command = [sys.executable, "-P", str(SERVER), str(delay_seconds), *certificate]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        port = int(process.stdout.readline())
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}/api/v2"
        process.stdin.close()


def each(call: Callable[[], object]) -> Timed:
    def run() -> list[float]:
        times = []
        for _ in range(REQUESTS):
            start = perf_counter_ns()
            call()
            times.append(perf_counter_ns() - start)
        return times

    run()
    return run


def each_on(
    loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, object]]
) -> Timed:
    async def times() -> list[float]:
        found = []
        for _ in range(REQUESTS):
            start = perf_counter_ns()
            await call()
            found.append(perf_counter_ns() - start)
        return found

    def run() -> list[float]:
        return loop.run_until_complete(times())

    run()
    return run


def all_at_once(
    loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, object]]
) -> Timed:
    async def all_of_them() -> None:
        await asyncio.gather(*(call() for _ in range(AT_ONCE)))

    def run() -> list[float]:
        start = perf_counter_ns()
        loop.run_until_complete(all_of_them())
        return [(perf_counter_ns() - start) / AT_ONCE]

    run()
    return run


class Candidates:
    """The clients, each with its connections, closed with the stack."""

    def __init__(self, stack: ExitStack, url: str, context: ssl.SSLContext | None) -> None:
        aiohttp = pytest.importorskip("aiohttp")
        uvloop = pytest.importorskip("uvloop")
        self.url = url + PATH
        self.context = context
        options = {"base_url": url, "throttle": Throttle({}), "ssl_context": context}
        self.rest = stack.enter_context(RestClient(connections=AT_ONCE, **options))
        self.loop = uvloop.new_event_loop()
        stack.callback(self.loop.close)

        async def prepare() -> None:
            self.async_rest = AsyncRestClient(connections=AT_ONCE, **options)
            # A certificate is verified once for each connection; True is aiohttp's default.
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context or True)
            )

        async def close() -> None:
            await self.async_rest.close()
            await self.session.close()

        self.loop.run_until_complete(prepare())
        stack.callback(lambda: self.loop.run_until_complete(close()))

    def sync(self) -> object:
        return self.rest.get_ticker("BTC_USDT")

    async def asynchronous(self) -> object:
        return await self.async_rest.get_ticker("BTC_USDT")

    async def aiohttp(self) -> object:
        async with self.session.get(self.url) as response:
            return await response.json()

    def urllib(self) -> object:
        # Without the context that urllib makes each time if it gets none, which takes longer still.
        with urllib.request.urlopen(self.url, context=self.context) as response:
            return json.load(response)


def comparisons() -> Iterator[Comparison]:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        plain = Candidates(stack, stack.enter_context(serving()), None)
        secure = Candidates(
            stack, stack.enter_context(serving(str(certificate), str(key))), context
        )
        yield request("REST request, keep-alive, plain", plain)
        yield request("REST request, keep-alive, TLS", secure)
        yield many(plain)
        far = stack.enter_context(serving(delay_seconds=FAR_SECONDS))
        yield many_far(
            Candidates(stack, far, None), stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        )


def request(title: str, there: Candidates) -> Comparison:
    peer = "urllib, a connection each"
    return rounds(
        title,
        {
            "nkfast.AsyncRestClient": each_on(there.loop, there.asynchronous),
            "nkfast.RestClient": each(there.sync),
            "aiohttp, json": each_on(there.loop, there.aiohttp),
            peer: each(there.urllib),
        },
        goals={"aiohttp, json": 1 / 1.2} | ({peer: 8} if there.context else {}),
        unit="request",
        note="A request that does nothing but go to this server and back takes most of the time of "
        "all but the last row.",
    )


def many(there: Candidates) -> Comparison:
    return rounds(
        f"REST, {AT_ONCE} requests at once, plain",
        {
            "nkfast.AsyncRestClient": all_at_once(there.loop, there.asynchronous),
            "nkfast.RestClient, one after another": each(there.sync),
            "aiohttp, json": all_at_once(there.loop, there.aiohttp),
        },
        unit="request",
        note="Over loopback there is nothing to wait for: one after another loses nothing by it.",
    )


def many_far(there: Candidates, threads: ThreadPoolExecutor) -> Comparison:
    def in_threads() -> list[float]:
        start = perf_counter_ns()
        list(threads.map(lambda _: there.sync(), range(AT_ONCE)))
        return [(perf_counter_ns() - start) / AT_ONCE]

    def in_turn() -> list[float]:
        start = perf_counter_ns()
        for _ in range(AT_ONCE // 5):
            there.sync()
        return [(perf_counter_ns() - start) / (AT_ONCE // 5)]

    in_threads()
    return rounds(
        f"REST, {AT_ONCE} requests at once, the server {FAR_SECONDS * 1000:.0f} ms away",
        {
            "nkfast.AsyncRestClient": all_at_once(there.loop, there.asynchronous),
            f"nkfast.RestClient, {AT_ONCE} threads": in_threads,
            "nkfast.RestClient, one after another": in_turn,
            "aiohttp, json": all_at_once(there.loop, there.aiohttp),
        },
        unit="request",
    )


if __name__ == "__main__":
    report(comparisons(), int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
