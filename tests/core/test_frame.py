"""Frames against the slow reference: recordings, spellings, mutations, order of messages."""

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest
from reference.frame import ReferenceDecoder

from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market

MARKET = Market("BTC/USDT", 2, 6)


def frame(method, /, **params):
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def side(*pairs):
    return [{"price": str(price), "quantity": str(quantity)} for price, quantity in pairs]


def snapshot(sequence, bids=(), asks=(), symbol="BTC/USDT"):
    return frame(
        "snapshotOrderbook", symbol=symbol, sequence=sequence, asks=side(*asks), bids=side(*bids)
    )


def update(sequence, bids=(), asks=(), symbol="BTC/USDT"):
    return frame(
        "updateOrderbook", symbol=symbol, sequence=sequence, asks=side(*asks), bids=side(*bids)
    )


def levels(book):
    return tuple(array.tolist() for array in book.depth(100_000))


def same_state(decoder, twin):
    """Every book of the decoder is the reference's."""
    for symbol in twin.indices:
        book, expected = decoder.book(symbol), twin.book(symbol)
        assert (book.state, book.sequence) == (expected.state, expected.sequence)
        bids, asks = levels(book)
        assert bids == [list(level) for level in expected.bids]
        assert asks == [list(level) for level in expected.asks]
    assert decoder.counters["quantities_truncated"] == twin.truncated


def feed_both(decoder, twin, data, now_ns=0):
    """Feed one frame to both and compare what they say of it."""
    event = decoder.feed(data, now_ns)
    expected = twin.feed(data, now_ns)
    assert (event.kind, event.market_index, event.top_changed) == expected, (data, twin.reason)
    assert [tuple(trade) for trade in decoder.last_trades] == twin.trades
    return event


def digits_after_point(text):
    return len(text.partition(".")[2])


def recording(path):
    """The frames of a recording, and a market for each symbol with the most digits seen."""
    with gzip.open(path, "rb") as lines:
        frames = [line.rstrip(b"\n").split(b"\t", 1)[1] for line in lines]
    decimals = defaultdict(lambda: [0, 0])
    for data in frames:
        params = json.loads(data)["params"]
        found = decimals[params["symbol"]]
        for item in params.get("asks", []) + params.get("bids", []) + params.get("data", []):
            found[0] = max(found[0], digits_after_point(item["price"]))
            found[1] = max(found[1], digits_after_point(item["quantity"]))
    return frames, [Market(symbol, *found) for symbol, found in decimals.items()]


@pytest.mark.parametrize("name", ["bequant-2021-07-03", "coinbase-2021-04-17"])
def test_recordings_agree_frame_by_frame(shared_data: Path, name):
    frames, markets = recording(shared_data / "captures" / f"{name}.tsv.gz")
    decoder, twin = FrameDecoder(markets), ReferenceDecoder(markets)
    for data in frames:
        event = feed_both(decoder, twin, data)
        assert event.kind in {FrameKind.SNAPSHOT, FrameKind.UPDATE, FrameKind.TRADES}
        book = decoder.book(markets[event.market_index].symbol)
        assert book.state == "live" and not book.is_crossed
        best = twin.channels[event.market_index].book.top()
        assert ([book.best_bid], [book.best_ask]) == best
    same_state(decoder, twin)
    assert sum(decoder.counters[kind] for kind in ("snapshot", "update", "trades")) == len(frames)
