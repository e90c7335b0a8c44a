"""``nkfast bench``: what nkfast costs on this machine, beside plain Python in the same run.

Both sides do the same work and are timed turn by turn, so that a slow second of the machine hits
both; the ratio says more than either time. The plain side is what one would write first with the
standard library: json, Decimal, hmac, sorted lists and http.client.
"""

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from decimal import Decimal
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nkfast.client.nonces import KeyNonces
from nkfast.client.rest import RestClient
from nkfast.client.throttle import Throttle
from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.core.signing import Signer
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.venue.clock import RealClock
from nkfast.wire.models import ApiCredentials

__all__ = ["Measured", "measure"]

_ROUNDS = 41
#: One timing lasts at least so long that reading the clock does not count.
_SAMPLE_NS = 200_000
_SYMBOL = "BTC/USDT"
_MARKET = Market(_SYMBOL, 2, 6)
_TOP_TICKS = 6_400_000
_LEVELS = 100
_UPDATES = 1_000
_TICK = Decimal("0.01")
_KEY, _SECRET = "bench-key", "bench-secret"
_URL = "https://api.nonkyc.io/api/v2/createorder"
_BODY = b'{"symbol":"BTC/USDT","side":"buy","type":"limit","quantity":"0.01","price":"64000.00"}'

Call = Callable[[], object]


class Measured(NamedTuple):
    """One piece of work: medians of nanoseconds, and how many times faster nkfast is."""

    what: str
    nkfast_ns: float
    plain_ns: float
    ratio: float


def measure() -> list[Measured]:
    """Time everything; about three seconds, half of them on the sockets of this machine."""
    found = [
        _compare("sign a request", *_signing()),
        _compare("update a book of 100 levels, ask the best", *_books()),
        _compare("frame to decision", *_frames()),
    ]
    with _exchange() as rest_url, _clients(rest_url) as calls:
        found.append(_compare("signed REST round trip on loopback", *calls))
    return found


def _compare(what: str, ours: Call, plain: Call) -> Measured:
    counts = [_count(call) for call in (ours, plain)]
    times: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        times.append((_time(ours, counts[0]), _time(plain, counts[1])))
    ours_ns, plain_ns = (median(column) for column in zip(*times, strict=True))
    ratio = median(theirs / own for own, theirs in times)
    return Measured(what, ours_ns, plain_ns, ratio)


def _count(call: Call) -> int:
    """Return how many calls make one timing; it warms the call up meanwhile."""
    count = 1
    while _time(call, count) * count < _SAMPLE_NS:
        count *= 2
    return count


def _time(call: Call, count: int) -> float:
    clock = RealClock()
    began_ns = clock.monotonic_ns()
    for _ in range(count):
        call()
    return (clock.monotonic_ns() - began_ns) / count


def _plain_headers(url: str, body: bytes, nonce: int) -> dict[str, str]:
    message = f"{_KEY}{url}".encode() + body + str(nonce).encode()
    signature = hmac.new(_SECRET.encode(), message, hashlib.sha256).hexdigest()
    return {"X-API-KEY": _KEY, "X-API-NONCE": str(nonce), "X-API-SIGN": signature}


def _signing() -> tuple[Call, Call]:
    signer, numbers = Signer(_KEY, _SECRET), itertools.count(1_750_000_000_000)
    assert signer.headers(_URL, _BODY, 1) == _plain_headers(_URL, _BODY, 1)
    return (
        lambda: signer.headers(_URL, _BODY, next(numbers)),
        lambda: _plain_headers(_URL, _BODY, next(numbers)),
    )


class _PlainBook:
    """Price levels as one would write them: a sorted list for the order, a dict for the sizes."""

    def __init__(self) -> None:
        self._prices: dict[str, list[Decimal]] = {"bids": [], "asks": []}
        self._sizes: dict[Decimal, Decimal] = {}

    def take(self, side: str, price: Decimal, size: Decimal) -> None:
        prices = self._prices[side]
        if size:
            if price not in self._sizes:
                insort(prices, price)
            self._sizes[price] = size
        elif self._sizes.pop(price, None) is not None:
            del prices[bisect_left(prices, price)]

    def best(self) -> tuple[Decimal, Decimal]:
        return self._prices["bids"][-1], self._prices["asks"][0]


def _ladder() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    steps = range(_LEVELS)
    return (
        [(_TOP_TICKS - 10 * step, 1_000 + step) for step in steps],
        [(_TOP_TICKS + 10 + 10 * step, 1_000 + step) for step in steps],
    )


def _changes() -> list[tuple[int, int]]:
    """Give one bid after the other: near the top, and gone every fourth time."""
    return [
        (_TOP_TICKS - 10 * (1 + number // 2 % 7), 0 if number % 4 == 1 else 2_000 + number)
        for number in range(_UPDATES)
    ]


def _filled() -> _PlainBook:
    book = _PlainBook()
    for side, levels in zip(("bids", "asks"), _ladder(), strict=True):
        for ticks, lots in levels:
            book.take(side, _price(ticks), _size(lots))
    return book


def _price(ticks: int) -> Decimal:
    return _MARKET.ticks_to_price(ticks)


def _size(lots: int) -> Decimal:
    return _MARKET.lots_to_quantity(lots)


def _books() -> tuple[Call, Call]:
    book, plain = OrderBook(_MARKET), _filled()
    book.apply_snapshot(*_ladder(), 0, now_ns=0)
    changes = itertools.cycle(_changes()).__next__
    texts = itertools.cycle([(_price(t), _size(n)) for t, n in _changes()]).__next__
    sequences = itertools.count(1)

    def ours() -> object:
        book.apply_update([changes()], [], next(sequences), now_ns=0)
        return book.best_bid, book.best_ask

    def theirs() -> object:
        plain.take("bids", *texts())
        return plain.best()

    return ours, theirs


def _frame(method: str, sequence: int, **sides: list[tuple[int, int]]) -> bytes:
    levels = {
        side: [{"price": f"{_price(t):f}", "quantity": f"{_size(n):f}"} for t, n in rows]
        for side, rows in sides.items()
    }
    params = {"symbol": _SYMBOL, "sequence": sequence, "timestamp": 1_750_000_000_000, **levels}
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def _frames() -> tuple[Call, Call]:
    """Quote one tick inside the spread, whatever a frame made of it."""
    bids, asks = _ladder()
    snapshot = _frame("snapshotOrderbook", 0, bids=bids, asks=asks)
    updates = [
        _frame("updateOrderbook", number + 1, bids=[change], asks=[])
        for number, change in enumerate(_changes())
    ]
    decoder, plain = FrameDecoder([_MARKET]), _filled()
    ours_next = itertools.cycle([snapshot, *updates]).__next__
    theirs_next = itertools.cycle(updates).__next__

    def ours() -> object:
        decoder.feed(ours_next())
        book = decoder.book(_SYMBOL)
        bid, ask = book.best_bid, book.best_ask
        assert bid is not None and ask is not None
        return bid[0] + 1, ask[0] - 1

    def theirs() -> object:
        message: dict[str, Any] = json.loads(theirs_next())
        for side in ("bids", "asks"):
            for level in message["params"][side]:
                plain.take(side, Decimal(level["price"]), Decimal(level["quantity"]))
        bid, ask = plain.best()
        return bid + _TICK, ask - _TICK

    ours()
    assert tuple(map(_price, ours())) == theirs()  # type: ignore[call-overload]
    return ours, theirs


@contextlib.contextmanager
def _exchange() -> Iterator[str]:
    """Serve a simulated exchange on another thread of this process."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    address: Future[str] = Future()

    async def live() -> None:
        try:
            async with serve(ExchangeSettings(speed=0.0, key=_KEY, secret=_SECRET)) as there:
                address.set_result(there.rest_url)
                await stop.wait()
        except BaseException as error:
            if address.done():
                raise
            address.set_exception(error)

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()), name="exchange")
    thread.start()
    try:
        yield address.result()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextlib.contextmanager
def _clients(rest_url: str) -> Iterator[tuple[Call, Call]]:

    nonces = KeyNonces(_KEY, is_shared=False)
    server = urlsplit(rest_url)
    plain = http.client.HTTPConnection(server.netloc, timeout=10)
    target = f"{server.path}/balances"

    def theirs() -> object:
        headers = _plain_headers(f"{rest_url}/balances", b"", nonces.next())
        plain.request("GET", target, headers=headers)
        rows = json.loads(plain.getresponse().read())
        return [(row["asset"], Decimal(row["available"]), Decimal(row["held"])) for row in rows]

    client = RestClient(
        ApiCredentials(_KEY, _SECRET), base_url=rest_url, throttle=Throttle({}), nonces=nonces
    )
    with client, contextlib.closing(plain):
        yield client.get_balances, theirs
