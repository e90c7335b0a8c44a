"""What a market-data frame costs, from received bytes to the changed book.

The update is 245 bytes long and changes a level of each side, as most in recordings do; the
snapshot has 100 + 100 levels. The peers decode, make Decimals and change a book; they check
neither sequence nor market, and a fault in the middle would leave their book half changed.

Run:  pytest benchmarks/bench_frame.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_frame.py
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from interleaved import Comparison, report

pytest.importorskip("order_book")
pytest.importorskip("simdjson")
pytest.importorskip("sortedcontainers")

from peers.book import DictBook, SortedBook
from peers.frame import decode_json, decode_msgspec, decode_orjson, decode_simdjson

from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market

MARKET = Market("BTC/USDT", 4, 8)
#: The best bid: 33500.0000.
TOP_TICKS = 335_000_000
UPDATE_BYTES = 245
UPDATES = 2_000
LEVELS = 100
FIRST_SEQUENCE = 7_476_850


def level(ticks: int, lots: int) -> dict[str, str]:
    return {"price": f"{MARKET.ticks_to_price(ticks)}", "quantity": f"{lots / 100_000:.8f}"}


def frame(method: str, params: dict[str, Any]) -> bytes:
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message, separators=(",", ":")).encode()


def snapshot() -> bytes:
    return frame(
        "snapshotOrderbook",
        {
            "symbol": "BTC/USDT",
            "sequence": FIRST_SEQUENCE,
            "asks": [level(TOP_TICKS + 1 + 37 * i, 1_000 + 300 * i) for i in range(LEVELS)],
            "bids": [level(TOP_TICKS - 37 * i, 1_000 + 300 * i) for i in range(LEVELS)],
        },
    )


def update(number: int) -> bytes:
    near = number // 2 % 7
    made = frame(
        "updateOrderbook",
        {
            "symbol": "BTC/USDT",
            "sequence": FIRST_SEQUENCE + 1 + number,
            "timestamp": f"2026-07-03T00:56:17.{number % 1000:03}Z",
            "asks": [level(TOP_TICKS + 1 + 37 * near, 0 if number % 4 == 3 else 1_000 + number)],
            "bids": [level(TOP_TICKS - 37 * near, 0 if number % 4 == 1 else 2_000 + number)],
        },
    )
    assert len(made) == UPDATE_BYTES, made
    return made


def our_updates(updates: list[bytes]) -> Any:
    """Feed the next update; a snapshot every so often makes the sequence begin again."""
    decoder = FrameDecoder([MARKET])
    frames = itertools.cycle([snapshot(), *updates]).__next__
    feed = decoder.feed

    def call() -> None:
        feed(frames())

    return call


def peer_updates(decode: Any, book: Any, updates: list[bytes]) -> Any:
    book.update(*decode(snapshot()))
    frames = itertools.cycle(updates).__next__

    def call() -> None:
        book.update(*decode(frames()))

    return call


def update_candidates() -> dict[str, Any]:
    updates = [update(number) for number in range(UPDATES)]
    return {
        "nkfast": our_updates(updates),
        "json, dict": peer_updates(decode_json, DictBook(), updates),
        "orjson, sorted": peer_updates(decode_orjson, SortedBook(), updates),
        "msgspec, sorted": peer_updates(decode_msgspec, SortedBook(), updates),
        "msgspec, dict": peer_updates(decode_msgspec, DictBook(), updates),
        "simdjson, dict": peer_updates(decode_simdjson, DictBook(), updates),
    }


def snapshot_candidates() -> dict[str, Any]:
    decoder, data = FrameDecoder([MARKET]), snapshot()
    return {
        "nkfast": lambda: decoder.feed(data),
        "json, dict": lambda: DictBook().update(*decode_json(data)),
        "orjson, sorted": lambda: SortedBook().update(*decode_orjson(data)),
        "msgspec, sorted": lambda: SortedBook().update(*decode_msgspec(data)),
        "msgspec, dict": lambda: DictBook().update(*decode_msgspec(data)),
        "simdjson, dict": lambda: DictBook().update(*decode_simdjson(data)),
    }


def test_candidates_reach_the_same_book() -> None:
    decoder, peer = FrameDecoder([MARKET]), SortedBook()
    assert decoder.feed(snapshot()).kind is FrameKind.SNAPSHOT
    peer.update(*decode_orjson(snapshot()))
    for number in range(100):
        assert decoder.feed(update(number)).kind is FrameKind.UPDATE
        peer.update(*decode_orjson(update(number)))
    bids, asks = decoder.book("BTC/USDT").depth(500)
    for ours, theirs in zip((bids, asks), peer.depth(500), strict=True):
        assert [
            (MARKET.ticks_to_price(ticks), MARKET.lots_to_quantity(lots))
            for ticks, lots in ours.tolist()
        ] == theirs


def test_update(benchmark: Any) -> None:
    benchmark(our_updates([update(number) for number in range(UPDATES)]))


def test_snapshot(benchmark: Any) -> None:
    benchmark(FrameDecoder([MARKET]).feed, snapshot())


def comparisons() -> Iterator[Comparison]:
    yield Comparison(
        f"FrameDecoder.feed, update of {len(update(0))} bytes",
        update_candidates(),
        {"json, dict": 35, "orjson, sorted": 9, "msgspec, sorted": 9},
        unit="frame",
    )
    yield Comparison(
        f"FrameDecoder.feed, snapshot of {LEVELS} + {LEVELS} levels",
        snapshot_candidates(),
        {"json, dict": 35, "orjson, sorted": 15, "msgspec, sorted": 15},
        unit="frame",
    )


if __name__ == "__main__":
    report(comparisons())
