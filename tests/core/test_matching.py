"""The matching engine: what it promises one by one, and that it always equals its slow twin."""

import gc
import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.matching import ReferenceEngine

from nkfast.core.market import Market
from nkfast.core.matching import Match, MatchingEngine, RestingOrder
from nkfast.errors import NumberOverflowError

INT64_MAX = 2**63 - 1
MARKET = Market("BTC/USDT", price_decimals=2, quantity_decimals=6)


@pytest.fixture
def engine() -> MatchingEngine:
    return MatchingEngine(MARKET)


def contents(engine: MatchingEngine) -> tuple[list[RestingOrder], list[RestingOrder]]:
    return engine.orders("buy"), engine.orders("sell")


def test_empty_book_has_nothing(engine: MatchingEngine) -> None:
    assert engine.market is MARKET
    assert engine.order_count == 0
    assert engine.best_bid is None and engine.best_ask is None
    assert contents(engine) == ([], [])
    assert engine.cost_to_fill("buy", 5) == (0, 0, 0)
    bids, asks = engine.depth(10)
    assert bids.shape == asks.shape == (0, 2)
    assert 1 not in engine and engine.remaining(1) == 0


def test_better_price_trades_first_then_older(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", 5, 102)
    engine.submit(2, "sell", 5, 101)
    engine.submit(3, "sell", 5, 101)
    matches = engine.submit(9, "buy", 12, 102)
    assert matches == [
        Match(2, 9, 101, 5, 0, 7),
        Match(3, 9, 101, 5, 0, 2),
        Match(1, 9, 102, 2, 3, 0),
    ]
    assert engine.remaining(1) == 3 and 9 not in engine
    assert engine.best_ask == (102, 3)


def test_trades_at_the_resting_price(engine: MatchingEngine) -> None:
    engine.submit(1, "buy", 5, 100)
    [match] = engine.submit(2, "sell", 1, 90)
    assert match.ticks == 100


def test_limit_remainder_rests_and_market_remainder_is_gone(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", 5, 100)
    engine.submit(2, "buy", 8, 100)
    assert engine.order(2) == RestingOrder(2, "buy", 100, 3, 0)
    assert engine.submit(3, "sell", 10) == [Match(2, 3, 100, 3, 0, 7)]
    assert engine.order_count == 0 and 3 not in engine


def test_limit_does_not_trade_beyond_its_price(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", 5, 101)
    assert engine.submit(2, "buy", 5, 100) == []
    assert engine.best_bid == (100, 5) and engine.best_ask == (101, 5)


def test_cancel_returns_the_remainder_once(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", 5, 100)
    engine.submit(2, "buy", 2, 100)
    assert engine.cancel(1) == 3
    with pytest.raises(KeyError, match="1"):
        engine.cancel(1)
    assert engine.best_ask is None


def test_reduce_keeps_the_place(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", 5, 100)
    engine.submit(2, "sell", 5, 100)
    assert engine.reduce(1, 2) == 3
    assert engine.lots_ahead(2) == 3
    assert [match.maker_id for match in engine.submit(3, "buy", 4)] == [1, 2]
    assert engine.reduce(2, 4) == 0
    assert engine.order_count == 0


@pytest.mark.parametrize("lots", [0, -1, 6, INT64_MAX])
def test_reduce_refuses_what_is_not_there(engine: MatchingEngine, lots: int) -> None:
    engine.submit(1, "sell", 5, 100)
    with pytest.raises(ValueError, match=r"between 1 and 5 \(remaining\)"):
        engine.reduce(1, lots)
    assert engine.remaining(1) == 5


@pytest.mark.parametrize("call", ["cancel", "order", "lots_ahead"])
def test_unknown_order_is_a_key_error(engine: MatchingEngine, call: str) -> None:
    with pytest.raises(KeyError, match="77"):
        getattr(engine, call)(77)
    with pytest.raises(KeyError, match="77"):
        engine.reduce(77, 1)


def test_id_of_a_resting_order_is_refused_and_free_again_later(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", 5, 100)
    with pytest.raises(ValueError, match="id 1 rests"):
        engine.submit(1, "buy", 5, 200)
    assert engine.best_ask == (100, 5)
    engine.cancel(1)
    engine.submit(1, "buy", 5, 200)
    assert engine.best_bid == (200, 5)


@pytest.mark.parametrize(
    ("side", "lots", "ticks", "words"),
    [
        ("bid", 1, 1, "side must be 'buy' or 'sell', was 'bid'"),
        ("buy", 0, 1, "lots must be at least 1, was 0"),
        ("buy", -5, None, "lots must be at least 1, was -5"),
        ("sell", 1, 0, "ticks must be at least 1, was 0"),
        ("sell", 1, -2, "ticks must be at least 1, was -2"),
    ],
)
def test_argument_outside_its_range_is_named(
    engine: MatchingEngine, side: str, lots: int, ticks: int | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        engine.submit(1, side, lots, ticks)
    assert engine.order_count == 0


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_numbers_beyond_64_bits_are_refused(engine: MatchingEngine, number: int) -> None:
    for arguments in ((number, "buy", 1, 1), (1, "buy", number, 1), (1, "buy", 1, number)):
        with pytest.raises(OverflowError):
            engine.submit(*arguments)
    assert engine.order_count == 0


def test_floats_and_none_are_refused(engine: MatchingEngine) -> None:
    for arguments in ((1, "buy", 1.5, 1), (1, "buy", 1, 1.5), (1.0, "buy", 1, 1), (1, None, 1, 1)):
        with pytest.raises(TypeError):
            engine.submit(*arguments)
    engine.submit(1, "buy", 5, 1)
    for call in (lambda: engine.cancel(1.0), lambda: engine.reduce(1, 1.5), lambda: 1.0 in engine):
        with pytest.raises(TypeError):
            call()
    assert engine.remaining(np.int64(1)) == 5
    with pytest.raises(TypeError):
        MatchingEngine(None)
    with pytest.raises(ValueError, match="cancel_oldest"):
        MatchingEngine(MARKET, self_trade="cancel_oldest")


def test_extreme_ids_prices_and_lots_are_exact() -> None:
    engine = MatchingEngine(MARKET)
    engine.submit(-(2**63), "sell", INT64_MAX, INT64_MAX)
    assert engine.cost_to_fill("buy", INT64_MAX) == (INT64_MAX, INT64_MAX**2, INT64_MAX)
    [match] = engine.submit(INT64_MAX, "buy", INT64_MAX)
    assert match == (-(2**63), INT64_MAX, INT64_MAX, INT64_MAX, 0, 0)


def test_level_never_holds_more_than_64_bits(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", INT64_MAX - 4, 100)
    with pytest.raises(NumberOverflowError, match=str(2**63)):
        engine.submit(2, "sell", 5, 100)
    assert engine.best_ask == (100, INT64_MAX - 4) and 2 not in engine
    engine.submit(2, "sell", 4, 100)
    assert engine.lots_at("sell", 100) == INT64_MAX


def test_own_orders_trade_unless_told_otherwise() -> None:
    engine = MatchingEngine(MARKET)
    engine.submit(1, "sell", 5, 100, owner=7)
    assert len(engine.submit(2, "buy", 5, 100, owner=7)) == 1


def test_cancel_newest_stops_at_the_own_order() -> None:
    engine = MatchingEngine(MARKET, self_trade="cancel_newest")
    engine.submit(1, "sell", 5, 100, owner=8)
    engine.submit(2, "sell", 5, 101, owner=7)
    engine.submit(3, "sell", 5, 102, owner=8)
    assert [match.maker_id for match in engine.submit(4, "buy", 15, 102, owner=7)] == [1]
    assert engine.remaining(4) == 0 and engine.best_bid is None
    assert engine.best_ask == (101, 5)
    # Nobody's orders are not each other's.
    engine.submit(5, "buy", 5, 50)
    assert len(engine.submit(6, "sell", 5, 50)) == 1


def test_depth_aggregates_and_is_a_copy(engine: MatchingEngine) -> None:
    for order_id, ticks in enumerate([100, 99, 100, 98]):
        engine.submit(order_id, "buy", 10 + order_id, ticks)
    engine.submit(10, "sell", 3, 105)
    bids, asks = engine.depth(2)
    assert bids.tolist() == [[100, 22], [99, 11]] and asks.tolist() == [[105, 3]]
    assert bids.dtype == np.int64
    bids[0, 1] = 0
    assert engine.best_bid == (100, 22)
    assert engine.depth(0)[0].shape == (0, 2)
    assert len(engine.depth(2**31 - 1)[0]) == 3
    with pytest.raises(ValueError, match="-1"):
        engine.depth(-1)


def test_lots_at_a_price(engine: MatchingEngine) -> None:
    engine.submit(1, "buy", 5, 100)
    assert engine.lots_at("buy", 100) == 5
    assert engine.lots_at("sell", 100) == 0
    with pytest.raises(ValueError, match="ticks must be at least 1"):
        engine.lots_at("buy", 0)


def test_cost_to_fill_walks_the_levels_and_changes_nothing(engine: MatchingEngine) -> None:
    engine.submit(1, "sell", 5, 100)
    engine.submit(2, "sell", 5, 103)
    assert engine.cost_to_fill("buy", 7) == (7, 500 + 2 * 103, 103)
    assert engine.cost_to_fill("buy", 70) == (10, 500 + 515, 103)
    assert engine.cost_to_fill("sell", 1) == (0, 0, 0)
    assert engine.order_count == 2


def test_clear_empties_the_book_for_new_orders(engine: MatchingEngine) -> None:
    for order_id in range(500):
        engine.submit(order_id, "buy", 1, 1 + order_id)
        engine.submit(1000 + order_id, "sell", 1, 1000 + order_id)
    engine.clear()
    assert engine.order_count == 0 and contents(engine) == ([], [])
    engine.submit(1, "buy", 1, 1)
    assert engine.best_bid == (1, 1)


def test_one_order_may_fill_against_thousands(engine: MatchingEngine) -> None:
    for order_id in range(5000):
        engine.submit(order_id, "sell", 1, 100 + order_id % 700)
    matches = engine.submit(9999, "buy", 5001)
    assert len(matches) == 5000 and engine.order_count == 0
    assert [match.ticks for match in matches] == sorted(match.ticks for match in matches)


def test_matches_pickle() -> None:
    for value in (Match(1, 2, 3, 4, 5, 6), RestingOrder(1, "buy", 2, 3, 4)):
        assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.skipif(
    sys.version_info >= (3, 12),
    reason="from 3.12 on the collector runs between bytecodes only, never inside a compiled call",
)
def test_code_that_the_collector_runs_cannot_break_a_submission(engine: MatchingEngine) -> None:
    # Matches are objects, and making them may run the collector, whose callbacks may call back.
    for order_id in range(1000):
        engine.submit(order_id, "sell", 1, 100)
    cancelled = []

    def cancel_one(phase: str, info: dict[str, int]) -> None:
        if not cancelled and engine.order_count == 1000:
            cancelled.append(engine.cancel(500))

    threshold = gc.get_threshold()
    gc.callbacks.append(cancel_one)
    gc.set_threshold(5)
    try:
        matches = engine.submit(5000, "buy", 1000)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(cancel_one)
    assert cancelled == [1]
    assert [match.maker_id for match in matches] == [i for i in range(1000) if i != 500]
    assert engine.order_count == 0


ORDERS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.integers(0, 30),
            st.sampled_from(["buy", "sell"]),
            st.integers(1, 9),
            st.one_of(st.none(), st.integers(1, 12)),
            st.integers(0, 2),
        ),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("reduce"), st.integers(0, 30), st.integers(1, 5)),
    ),
    max_size=120,
)


def outcome(engine: MatchingEngine | ReferenceEngine, call: tuple) -> object:
    try:
        return getattr(engine, call[0])(*call[1:])
    except (KeyError, ValueError) as error:
        return type(error)


def assert_same(engine: MatchingEngine, reference: ReferenceEngine) -> None:
    for side in ("buy", "sell"):
        expected = reference.orders(side)
        assert engine.orders(side) == [
            (order.order_id, order.side, order.ticks, order.lots, order.owner) for order in expected
        ]
        for lots in (1, 7, 1000):
            assert engine.cost_to_fill(side, lots) == reference.cost_to_fill(side, lots)
    assert [side.tolist() for side in engine.depth(5)] == [
        reference.depth("buy", 5),
        reference.depth("sell", 5),
    ]


@settings(deadline=None)
@given(ORDERS, st.sampled_from(["allow", "cancel_newest"]))
def test_every_sequence_agrees_with_the_reference(calls: list[tuple], self_trade: str) -> None:
    engine = MatchingEngine(MARKET, self_trade=self_trade)
    reference = ReferenceEngine(self_trade)
    for call in calls:
        assert outcome(engine, call) == outcome(reference, call)
    assert_same(engine, reference)
    for order in reference.resting:
        assert engine.lots_ahead(order.order_id) == reference.lots_ahead(order.order_id)


@pytest.mark.parametrize("seed", range(3))
def test_many_levels_agree_with_the_reference(seed: int) -> None:
    # Hundreds of prices a side, so that leaves split and merge; ids are multiples of 4096.
    rng = random.Random(seed)
    engine, reference = MatchingEngine(MARKET), ReferenceEngine()
    for step in range(3000):
        victim = rng.randrange(step + 1) * 4096
        side = rng.choice(["buy", "sell"])
        center = 3000 if side == "buy" else 6000
        call = rng.choices(
            [
                ("submit", step * 4096, side, rng.randint(1, 9), center + rng.randint(-2999, 2000)),
                ("submit", step * 4096, side, rng.randint(1, 40)),
                ("cancel", victim),
                ("reduce", victim, 1),
            ],
            [12, 1, 1 + step // 300, 1],
        )[0]
        assert outcome(engine, call) == outcome(reference, call), f"seed {seed}, step {step}"
    assert engine.order_count == len(reference.resting) > 300
    assert_same(engine, reference)


def test_million_orders_come_and_go() -> None:
    count = 1_000_000
    engine = MatchingEngine(MARKET)
    for order_id in range(count):
        engine.submit(order_id, "buy", 1, 1 + order_id * 7919 % 999_983)
    assert engine.order_count == count and engine.best_bid == (999_983, 1)
    assert len(engine.depth(count)[0]) == 999_983
    assert engine.submit(count, "sell", 3, 999_981)[-1].ticks == 999_981
    for order_id in range(0, count, 2):
        if order_id in engine:
            engine.cancel(order_id)
    assert engine.order_count <= count // 2
    assert engine.submit(count, "sell", count)[-1].taker_remaining >= count // 2
    assert engine.order_count == 0


FAILING_MEMORY = """
import resource, pathlib
from nkfast.core.market import Market
from nkfast.core.matching import MatchingEngine
engine = MatchingEngine(Market("BTC/USDT"))
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (100 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
order_id = 0
try:
    while True:
        engine.submit(order_id, "buy", 1, 1 + order_id % 1000)
        order_id += 1
except MemoryError as error:
    message = str(error)
assert message.startswith("no room for more than"), message
assert engine.order_count == order_id and order_id not in engine
assert engine.lots_at("buy", 1 + order_id % 1000) == engine.cancel(0) * order_id // 1000
engine.submit(order_id, "sell", 1, 2000)
assert engine.order_count == order_id
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="ASan needs terabytes of it")
def test_P11_lack_of_memory_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", FAILING_MEMORY], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
