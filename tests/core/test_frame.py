"""Frames against the slow reference: recordings, spellings, mutations, order of messages."""

import gzip
import json
import pickle
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.frame import ReferenceDecoder
from reference.spelling import Speller

from nkfast.core.frame import FrameDecoder, FrameEvent, FrameKind
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


MARKETS = [MARKET, Market("A/é", 0, 0)]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 2, 50]), st.sampled_from([3, 65_536]))
def test_every_spelling_agrees_with_the_reference(seed, reorder_limit, capacity):
    random = Random(seed)
    speller = Speller(random)
    decoder = FrameDecoder(MARKETS, reorder_limit=reorder_limit, capacity=capacity)
    twin = ReferenceDecoder(MARKETS, reorder_limit=reorder_limit, capacity=capacity)
    now_ns = 0
    for data in (snapshot(0), snapshot(0, symbol="A/é")):
        feed_both(decoder, twin, data)
    for _ in range(12):
        now_ns += random.choice([0, 1_000_000, 900_000_000])
        sequence = twin.channels[0].book.sequence + random.choice([1, 1, 1, 1, 2, 3, 0, -1])
        data = speller.message(max(0, sequence))
        feed_both(decoder, twin, speller.damaged(data) if random.random() < 0.2 else data, now_ns)
        same_state(decoder, twin)
        for market in MARKETS:
            ticker = decoder.ticker(market.symbol)
            assert (ticker and tuple(ticker)) == twin.tickers.get(market.symbol)
    reasons = {name: count for name, count in decoder.counters.items() if "rejected" in name}
    assert reasons.pop("rejected") == sum(reasons.values()) == decoder.counters["rejected"]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered_as_the_reference_answers(data):
    feed_both(FrameDecoder(MARKETS), ReferenceDecoder(MARKETS), data)


@pytest.fixture
def decoder():
    decoder = FrameDecoder([MARKET, Market("ETH/USDT", 4, 4)])
    decoder.feed(snapshot(10, [("9.99", 1)], [("10.01", 2)]))
    return decoder


@pytest.fixture
def book(decoder):
    return decoder.book("BTC/USDT")


def kinds(decoder, *frames, now_ns=0):
    return [decoder.feed(data, now_ns).kind.name for data in frames]


def test_a_snapshot_and_its_updates_reach_the_book(decoder, book):
    assert (book.state, book.sequence) == ("live", 10)
    assert levels(book) == ([[999, 1_000_000]], [[1001, 2_000_000]])
    event = decoder.feed(update(11, [("9.99", 0), ("9.98", "0.5")]), 77)
    assert (event.kind, event.market_index, event.top_changed) == (FrameKind.UPDATE, 0, True)
    assert levels(book) == ([[998, 500_000]], [[1001, 2_000_000]])
    assert book.received_ns == 77
    event = decoder.feed(update(12, [("9.90", 1)]))
    assert (event.kind, event.top_changed) == (FrameKind.UPDATE, False)
    assert decoder.book("ETH/USDT").state == "empty"


def test_frames_come_in_any_buffer(decoder, book):
    data = update(11, [("9.00", 1)])
    assert kinds(decoder, bytearray(data), memoryview(update(12)), memoryview(b"x" + data)[1:]) == [
        "UPDATE",
        "UPDATE",
        "DUPLICATE",
    ]
    for wrong in ("text", None, 5):
        with pytest.raises(TypeError):
            decoder.feed(wrong)
    with pytest.raises(BufferError):
        decoder.feed(memoryview(data)[::2])


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","result":true,"id":1}',
        b'{"jsonrpc":"2.0","method":"report","params":{"symbol":"BTC/USDT"}}',
        b'{"jsonrpc":"2.0","error":{"code":10001,"message":"Invalid JSON Request"}}',
        b'{"method":5,"params":{"symbol":"BTC/USDT"}}',
        b'{"params":{"method":"updateOrderbook"}}',
        b" [1, 2] ",
        b'"updateOrderbook"',
        b"null",
    ],
)
def test_what_is_not_market_data_is_other(decoder, book, data):
    before = levels(book)
    event = decoder.feed(data)
    assert (event.kind, event.market_index) == (FrameKind.OTHER, -1)
    assert levels(book) == before


def test_market_data_of_a_symbol_nobody_follows_is_told_apart(decoder):
    event = decoder.feed(snapshot(1, symbol="DOGE/USDT"))
    assert (event.kind, event.market_index) == (FrameKind.UNKNOWN_MARKET, -1)
    with pytest.raises(KeyError):
        decoder.book("DOGE/USDT")
    with pytest.raises(KeyError):
        decoder.index("DOGE/USDT")
    assert decoder.index("ETH/USDT") == 1


def spelled(bids="[]", sequence="11", more=""):
    return (
        f'{{"method":"updateOrderbook","params":{{"symbol":"BTC/USDT","sequence":{sequence},'
        f'"asks":[],"bids":{bids}{more}}}}}'
    ).encode()


def bid(price="9.50", quantity='"1"'):
    return f'[{{"price":"{price}","quantity":{quantity}}}]'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "json"),
        (b"{", "json"),
        (spelled() + b"x", "json"),
        (spelled() + spelled(), "json"),
        (spelled()[:-1], "json"),
        (b"\xef\xbb\xbf" + spelled(), "json"),
        (spelled(more=',"x":"\xff"').replace(b"\xc3\xbf", b"\xff"), "json"),
        (spelled(more=',"x":"\\q"'), "json"),
        (spelled(more=',"x":"\\u12g4"'), "json"),
        (spelled(more=',"x":"a\nb"'), "json"),
        (spelled(more=',"x":NaN'), "json"),
        (spelled(more=',"x":01'), "json"),
        (spelled(more=',"x":[1,]'), "json"),
        (spelled(more=',"x":' + "[" * 300 + "]" * 300), "depth"),
        (b"[" * 100_000, "depth"),
        (b'{"a":' * 100_000, "depth"),
        (b'{"method":"updateOrderbook"}', "shape"),
        (b'{"method":"updateOrderbook","params":[]}', "shape"),
        (b'{"method":"ticker","params":{"symbol":5}}', "shape"),
        (spelled(bids="{}"), "shape"),
        (spelled(bids="null"), "shape"),
        (spelled(bids="[5]"), "shape"),
        (spelled(bids='[["9.5","1"]]'), "shape"),
        (spelled(bids='[{"price":"9.5"}]'), "shape"),
        (spelled(sequence='"1.5"'), "sequence"),
        (spelled(sequence="-1"), "sequence"),
        (spelled(sequence="9223372036854775808"), "sequence"),
        (spelled(sequence="true"), "sequence"),
        (spelled(bid("9.501")), "price"),
        (spelled(bid("0")), "price"),
        (spelled(bid("-1")), "price"),
        (spelled(bid("92233720368547758.08")), "price"),
        (spelled(bid("1e2")), "price"),
        (spelled(bid("")), "price"),
        (spelled(bid(quantity='"-1"')), "quantity"),
        (spelled(bid(quantity="-1")), "quantity"),
        (spelled(bid(quantity="null")), "quantity"),
        (spelled(bid(quantity='"1e3"')), "quantity"),
        (spelled(bid(quantity='"x"')), "quantity"),
        (spelled(bid(quantity="1e300")), "quantity"),
    ],
)
def test_a_bad_frame_is_rejected_with_its_reason_and_changes_nothing(decoder, book, data, reason):
    twin = ReferenceDecoder([MARKET])
    assert twin.feed(data)[0] is FrameKind.REJECTED and twin.reason == reason
    before = levels(book), book.sequence, book.version, book.state
    assert decoder.feed(data).kind is FrameKind.REJECTED
    assert (levels(book), book.sequence, book.version, book.state) == before
    assert decoder.counters["rejected"] == decoder.counters[f"rejected_{reason}"] == 1


def test_a_bad_level_after_good_ones_changes_nothing(decoder, book):
    before = levels(book), book.version
    assert kinds(decoder, update(11, [("9.99", 0), ("9.98", 5), ("9.975", 1)])) == ["REJECTED"]
    assert (levels(book), book.version) == before
    assert kinds(decoder, update(11)) == ["UPDATE"]


@pytest.mark.parametrize(
    ("quantity", "lots"),
    [
        ('"1.5"', 1_500_000),
        ("1.5", 1_500_000),
        ("15e-1", 1_500_000),
        ("0.015E+2", 1_500_000),
        ("1e-7", 0),  # below one lot: cut, which removes the level
        ("1e-6", 1),
        ("1.0000019", 1_000_001),
        ('"1.00000000000000000000"', 1_000_000),
        ('"\\u0031.5"', 1_500_000),
        ('".5"', 500_000),
        ("0e99", 0),
    ],
)
def test_every_spelling_of_a_quantity_is_exact_or_cut(decoder, book, quantity, lots):
    assert kinds(decoder, spelled(bid("9.50", quantity))) == ["UPDATE"]
    assert book.lots_at("buy", 950) == lots
    is_cut = Decimal(lots).scaleb(-6) != Decimal(json.loads(quantity, parse_float=str))
    assert decoder.counters["quantities_truncated"] == is_cut


def test_levels_may_come_before_their_symbol_and_params_before_method(decoder, book):
    data = (
        '{"params": {"bids": [{"quantity": 3, "price": 9.5}], "asks": [], "more": {"symbol": 1},'
        ' "sequence": "11", "symbol": "BTC\\/\\u0055SDT"}, "method": "updateOrderbook"}'
    )
    assert kinds(decoder, data.encode()) == ["UPDATE"]
    assert book.lots_at("buy", 950) == 3_000_000
    # The quick reader looks ahead for the symbol; it must not be fooled by another one.
    data = (
        '{"method":"updateOrderbook","params":{"asks":[],"bids":[{"price":"9.50","quantity":"4"}],'
        '"symbol":"BTC/USDT","sequence":12,"x":{"symbol":"ETH/USDT"}}}'
    )
    assert kinds(decoder, data.encode()) == ["UPDATE"]
    assert book.lots_at("buy", 950) == 4_000_000


def test_of_a_member_named_twice_the_last_counts(decoder, book):
    data = spelled(sequence="99", bids=bid("9.50"), more=',"sequence":11,"bids":' + bid("9.60"))
    assert kinds(decoder, data) == ["UPDATE"]
    assert (book.lots_at("buy", 950), book.lots_at("buy", 960)) == (0, 1_000_000)


def test_updates_out_of_order_wait_for_the_missing_one(decoder, book):
    assert kinds(decoder, update(13, [("9.13", 1)]), update(12, [("9.12", 1)])) == ["HELD"] * 2
    assert kinds(decoder, update(13, [("9.99", 5)])) == ["DUPLICATE"]  # waiting already
    assert book.sequence == 10 and book.state == "live"
    event = decoder.feed(update(11, [("9.99", 0)]))
    assert (event.kind, event.top_changed) == (FrameKind.UPDATE, True)
    assert book.sequence == 13
    assert levels(book)[0] == [[913, 1_000_000], [912, 1_000_000]]


def test_a_held_update_reports_that_the_top_changed(decoder):
    decoder.feed(update(12, [("9.99", 5)]))
    assert decoder.feed(update(11, [("5.00", 1)])).top_changed


def test_one_update_more_than_the_buffer_holds_is_a_gap(book):
    decoder = FrameDecoder([MARKET], reorder_limit=2)
    decoder.feed(snapshot(10))
    assert kinds(decoder, update(12), update(13), update(14)) == ["HELD", "HELD", "GAP"]
    assert decoder.book("BTC/USDT").state == "stale"
    assert kinds(decoder, update(11)) == ["STALE"]
    strict = FrameDecoder([MARKET], reorder_limit=0)
    strict.feed(snapshot(10))
    assert kinds(strict, update(11), update(13)) == ["UPDATE", "GAP"]


def test_waiting_too_long_is_a_gap(decoder, book):
    assert kinds(decoder, update(12), now_ns=5) == ["HELD"]
    assert kinds(decoder, update(13), now_ns=2_000_000_005) == ["HELD"]
    assert decoder.expire(2_000_000_005) == [] and book.state == "live"
    assert kinds(decoder, update(14), now_ns=2_000_000_006) == ["GAP"]
    assert book.state == "stale"


def test_expire_declares_the_gap_of_a_silent_stream(decoder, book):
    decoder.feed(snapshot(1, symbol="ETH/USDT"))
    decoder.feed(update(12), 5)
    assert decoder.expire(2_000_000_006) == [0]
    assert book.state == "stale" and decoder.book("ETH/USDT").state == "live"
    assert decoder.expire(3_000_000_000) == []


def test_a_snapshot_heals_a_gap_and_applies_what_waited(decoder, book):
    decoder.feed(update(12, [("9.12", 1)]), 1)
    decoder.feed(update(15, [("9.15", 1)]), 1)
    assert decoder.expire(10**10) == [0]
    assert kinds(decoder, update(14, [("9.14", 1)]), now_ns=10**10) == ["STALE"]
    assert kinds(decoder, snapshot(13, [("9.00", 1)]), now_ns=10**10) == ["SNAPSHOT"]
    assert (book.sequence, book.state) == (15, "live")
    assert [ticks for ticks, _ in levels(book)[0]] == [915, 914, 900]


def test_updates_before_the_first_snapshot_are_kept_for_it():
    decoder = FrameDecoder([MARKET])
    frames = [update(4, [("9.04", 1)]), update(5, [("9.05", 1)])]
    assert kinds(decoder, *frames, snapshot(4, [("9.00", 1)])) == ["STALE", "STALE", "SNAPSHOT"]
    book = decoder.book("BTC/USDT")
    assert book.sequence == 5
    assert [ticks for ticks, _ in levels(book)[0]] == [905, 900]


def test_a_snapshot_always_replaces(decoder, book):
    assert kinds(decoder, snapshot(3, [("1.00", 1)])) == ["SNAPSHOT"]
    assert (book.sequence, levels(book)) == (3, ([[100, 1_000_000]], []))


def test_a_held_update_that_does_not_fit_makes_the_book_stale():
    decoder = FrameDecoder([MARKET], capacity=1)
    decoder.feed(snapshot(10, [("5.00", 1)]))
    assert kinds(decoder, update(12, [("4.00", 1)]), update(11)) == ["HELD", "GAP"]
    assert decoder.book("BTC/USDT").state == "stale"


def test_more_levels_than_a_book_may_have_are_rejected():
    decoder = FrameDecoder([MARKET], capacity=2)
    three = [("1.00", 1), ("2.00", 1), ("3.00", 1)]
    assert kinds(decoder, snapshot(1, three)) == ["REJECTED"]
    assert kinds(decoder, snapshot(1, three[:2]), update(2, three[2:])) == ["SNAPSHOT", "REJECTED"]
    assert decoder.counters["rejected_full"] == 2
    assert decoder.book("BTC/USDT").sequence == 1


def test_many_old_updates_in_a_row_mean_that_the_venue_counts_anew(decoder, book):
    assert set(kinds(decoder, *[update(5)] * 100)) == {"DUPLICATE"}
    assert kinds(decoder, update(11)) == ["UPDATE"]  # and the count begins again
    assert set(kinds(decoder, *[update(5)] * 100)) == {"DUPLICATE"}
    assert kinds(decoder, update(6)) == ["GAP"]
    assert book.state == "stale"


def test_a_lost_connection_makes_every_book_stale_and_forgets_what_waited(decoder, book):
    decoder.feed(update(12, [("9.12", 1)]))
    decoder.mark_stale()
    assert book.state == "stale" and decoder.book("ETH/USDT").state == "empty"
    decoder.feed(snapshot(11))
    assert book.sequence == 11


def test_a_frame_above_the_limit_is_rejected_unread():
    data = snapshot(1)
    decoder = FrameDecoder([MARKET], max_frame_bytes=len(data))
    assert kinds(decoder, data, data + b" ") == ["SNAPSHOT", "REJECTED"]
    assert decoder.counters["rejected_too_large"] == 1


def test_trades_are_readable_after_their_frame(decoder):
    trade = {"id": "a1", "price": "9.50", "quantity": "0.25", "side": "sell"}
    data = frame(
        "updateTrades",
        symbol="BTC/USDT",
        sequence="17",
        data=[
            {**trade, "timestamp": "2026-04-17T16:43:37.075Z"},
            {**trade, "id": 7, "price": 9.25, "side": "Buy", "timestampms": 1790000000123},
            trade,
        ],
    )
    event = decoder.feed(data)
    assert (event.kind, event.market_index, event.top_changed) == (FrameKind.TRADES, 0, False)
    assert decoder.last_trades == [
        ("a1", 950, 250_000, "sell", 1776444217075),
        ("7", 925, 250_000, "buy", 1790000000123),
        ("a1", 950, 250_000, "sell", None),
    ]
    assert decoder.last_trades[0].trade_id == "a1"
    decoder.feed(update(11))
    assert decoder.last_trades == []


def test_more_trades_than_one_frame_may_have_are_rejected(decoder):
    trade = {"id": "1", "price": "9.50", "quantity": "1", "side": "buy"}
    exactly = frame("snapshotTrades", symbol="BTC/USDT", data=[trade] * 4096)
    one_more = frame("snapshotTrades", symbol="BTC/USDT", data=[trade] * 4097)
    assert kinds(decoder, exactly) == ["TRADES"] and len(decoder.last_trades) == 4096
    assert kinds(decoder, one_more) == ["REJECTED"] and decoder.last_trades == []


def test_the_newest_ticker_of_a_market_is_kept(decoder):
    assert decoder.ticker("BTC/USDT") is None
    data = frame(
        "ticker",
        symbol="BTC/USDT",
        lastPrice="9.50",
        bestBid="",
        bestAsk=None,
        highPrice="0.00",
        volume="12.5",
        updatedAt=1790000000123,
        sequence=5,
    )
    assert kinds(decoder, data) == ["TICKER"]
    expected = (950, None, None, None, None, 12_500_000, 5, 1790000000123)
    assert decoder.ticker("BTC/USDT") == expected
    assert decoder.ticker("BTC/USDT").last_ticks == 950
    assert decoder.ticker("ETH/USDT") is None
    assert kinds(decoder, frame("ticker", symbol="BTC/USDT", lastPrice="9.501")) == ["REJECTED"]
    assert decoder.ticker("BTC/USDT") == expected
    with pytest.raises(KeyError):
        decoder.ticker("DOGE/USDT")


def test_counters_name_every_kind_and_count_from_the_start(decoder):
    kinds(decoder, b"{}", b"{", update(11), update(11), update(13))
    counters = decoder.counters
    assert {kind.name.lower() for kind in FrameKind} <= counters.keys()
    for name, count in {"snapshot": 1, "other": 1, "rejected": 1, "rejected_json": 1}.items():
        assert counters[name] == count
    for name in ("update", "duplicate", "held"):
        assert counters[name] == 1
    assert sum(counters[kind.name.lower()] for kind in FrameKind) == 6


def test_events_are_immutable_and_come_from_a_decoder_only(decoder):
    event = decoder.feed(update(11))
    assert repr(event) == "<FrameEvent UPDATE market_index=0 top_changed=False>"
    with pytest.raises(AttributeError):
        event.kind = FrameKind.GAP
    with pytest.raises(TypeError, match="feed"):
        FrameEvent()
    for thing in (event, decoder):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(thing)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"markets": [MARKET, MARKET]}, ValueError),
        ({"markets": ["BTC/USDT"]}, TypeError),
        ({"markets": None}, TypeError),
        ({"markets": [MARKET], "reorder_limit": -1}, ValueError),
        ({"markets": [MARKET], "reorder_window_ns": -1}, ValueError),
        ({"markets": [MARKET], "capacity": 0}, ValueError),
        ({"markets": [MARKET], "max_frame_bytes": 0}, ValueError),
    ],
)
def test_a_decoder_that_could_not_work_is_refused(arguments, error):
    with pytest.raises(error):
        FrameDecoder(**arguments)


def test_a_decoder_without_markets_knows_none():
    assert kinds(FrameDecoder([]), snapshot(1)) == ["UNKNOWN_MARKET"]


def test_many_markets_are_told_apart(shared_data):
    listed = json.loads((shared_data / "markets.json").read_text())
    markets = [Market(item["symbol"], 2, 2) for item in listed]
    decoder = FrameDecoder(markets, capacity=10)
    for index, market in enumerate(markets):
        event = decoder.feed(snapshot(index, [("1.00", 1)], symbol=market.symbol))
        assert event.market_index == index == decoder.index(market.symbol)
        assert decoder.book(market.symbol).sequence == index
