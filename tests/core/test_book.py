"""The order book against its slow twin, and each way it can refuse."""

import pickle
import sys
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.book import ReferenceBook

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import BookFullError, BookGapError, BookStaleError, NumberOverflowError

INT64_MAX = 2**63 - 1
MARKET = Market("BTC/USDT", 2, 6)

near_prices = st.integers(1, 60)  # few, so that levels meet
any_prices = near_prices | st.integers(1, INT64_MAX)
sizes = st.just(0) | st.integers(0, 1000) | st.integers(0, INT64_MAX)
levels = st.lists(st.tuples(any_prices, sizes), max_size=40)


def filled(bids, asks, sequence=10, capacity=65_536):
    book = OrderBook(MARKET, capacity)
    book.apply_snapshot(bids, asks, sequence)
    return book


def contents(book):
    bids, asks = book.depth(100_000)
    return bids.tolist(), asks.tolist(), book.sequence, book.state, book.version


def as_lists(pairs):
    return [list(pair) for pair in pairs]


@given(levels, levels, st.lists(st.tuples(levels, levels), max_size=10), st.integers(1, 40))
def test_book_agrees_with_dicts(bids, asks, updates, capacity):
    book, twin = OrderBook(MARKET, capacity), ReferenceBook(capacity)
    changes = [(book.apply_snapshot, twin.snapshot, bids, asks)]
    changes += [(book.apply_update, twin.update, *update) for update in updates]
    sequence = 7
    for apply, twin_apply, bids, asks in changes:
        if apply == book.apply_update and twin.state != "live":
            continue
        expected = twin_apply(bids, asks, sequence)
        if expected is None:
            with pytest.raises(BookFullError):
                apply(bids, asks, sequence)
        else:
            assert apply(iter(bids), tuple(asks), sequence) is expected
            sequence += 1
        assert contents(book)[0] == as_lists(twin.bids)
        assert contents(book)[1] == as_lists(twin.asks)
        assert (book.sequence, book.state) == (twin.sequence, twin.state)
        assert book.best_bid == next(iter(twin.bids), None)
        assert book.best_ask == next(iter(twin.asks), None)
        assert (book.bid_count, book.ask_count) == (len(twin.bids), len(twin.asks))


@given(levels, levels, st.sampled_from(["buy", "sell"]), sizes)
def test_cost_agrees_with_the_walk(bids, asks, side, lots):
    twin = ReferenceBook()
    twin.snapshot(bids, asks, 1)
    assert filled(bids, asks).cost_to_fill(side, lots) == twin.cost_to_fill(side, lots)


@given(levels, st.sampled_from(["buy", "sell"]), st.integers(0, 10**45), st.integers(-30, 10))
def test_quantity_for_notional_agrees_with_the_walk(pairs, side, digits, exponent):
    notional = Decimal(digits).scaleb(exponent)
    twin = ReferenceBook()
    twin.snapshot(pairs, pairs, 1)
    expected = twin.quantity_for_notional(side, notional, 8)
    assert filled(pairs, pairs).quantity_for_notional(side, notional) == expected


@given(levels, levels)
def test_cost_of_an_affordable_quantity_stays_in_the_budget(bids, asks):
    book = filled(bids, asks)
    lots = book.quantity_for_notional("buy", Decimal("12.34567891"))
    assert book.cost_to_fill("buy", lots)[1] <= 1234567891


@given(levels, levels, levels, levels)
def test_without_takes_own_lots_off(bids, asks, own_bids, own_asks):
    book = filled(bids, asks)
    before = contents(book)
    rest = book.without(own_bids, own_asks)
    for side, resting, own in (("buy", bids, own_bids), ("sell", asks, own_asks)):
        for ticks in {ticks for ticks, _ in resting + own}:
            ours = sum(lots for price, lots in own if price == ticks)
            assert rest.lots_at(side, ticks) == max(0, book.lots_at(side, ticks) - ours)
    assert contents(book) == before
    assert (rest.sequence, rest.state, rest.version) == (book.sequence, book.state, book.version)


@given(levels, levels, levels, levels)
def test_audit_names_every_difference(bids, asks, other_bids, other_asks):
    book = filled(bids, asks)
    differences = book.audit(other_bids, other_asks)
    bids_changed = [(ticks, lots) for side, ticks, _, lots in differences if side == "buy"]
    asks_changed = [(ticks, lots) for side, ticks, _, lots in differences if side == "sell"]
    for side, ticks, lots, other_lots in differences:
        assert book.lots_at(side, ticks) == lots != other_lots
    assert [ticks for ticks, _ in bids_changed] == sorted(dict(bids_changed), reverse=True)
    assert [ticks for ticks, _ in asks_changed] == sorted(dict(asks_changed))
    book.apply_update(bids_changed, asks_changed, 11)
    assert book.audit(other_bids, other_asks) == []


def test_audit_of_a_cut_snapshot_ignores_what_lies_deeper():
    book = filled([(9, 1), (8, 1), (5, 1)], [(10, 1), (12, 1)])
    assert book.audit([(9, 1), (7, 2)], [(10, 3)], complete=False) == [
        ("buy", 8, 1, 0),
        ("buy", 7, 0, 2),
        ("sell", 10, 1, 3),
    ]
    assert ("buy", 5, 1, 0) in book.audit([(9, 1), (7, 2)], [(10, 3)])
    assert book.audit([], [(10, 1)], complete=False) == [
        ("buy", 9, 1, 0),
        ("buy", 8, 1, 0),
        ("buy", 5, 1, 0),
    ]


def test_a_new_book_is_empty():
    book = OrderBook(MARKET)
    assert (book.state, book.sequence, book.version, book.capacity) == ("empty", -1, 0, 65_536)
    assert book.best_bid is book.best_ask is book.mid is None
    assert not book.is_crossed
    assert [side.shape for side in book.depth(5)] == [(0, 2), (0, 2)]
    assert book.cost_to_fill("buy", 5) == (0, 0, 0)
    assert book.quantity_for_notional("sell", Decimal(5)) == 0
    assert book.audit([], []) == []
    assert book.market is MARKET


def test_an_update_before_the_snapshot_is_refused():
    book = OrderBook(MARKET)
    with pytest.raises(BookStaleError, match="BTC/USDT: the book is empty"):
        book.apply_update([(1, 1)], [], 1)
    assert contents(book) == ([], [], -1, "empty", 0)


def test_the_next_sequence_applies_and_an_old_one_is_dropped():
    book = filled([(5, 1)], [])
    assert book.apply_update([(5, 2)], [], 11) is True
    assert book.apply_update([(4, 2)], [], 12) is False  # below the best
    before = contents(book)
    assert book.apply_update([(5, 9)], [], 12) is False
    assert book.apply_update([(5, 9)], [], 3) is False
    assert contents(book) == before


def test_a_skipped_sequence_makes_the_book_stale_until_a_snapshot():
    book = filled([(5, 1)], [(6, 1)])
    with pytest.raises(BookGapError) as caught:
        book.apply_update([(5, 2)], [], 12)
    assert (caught.value.expected, caught.value.received) == (11, 12)
    assert book.state == "stale" and book.best_bid == (5, 1) and book.sequence == 10
    with pytest.raises(BookStaleError, match="stale"):
        book.apply_update([(5, 2)], [], 11)
    assert book.apply_snapshot([(5, 3)], [(6, 1)], 4) is True
    assert (book.state, book.sequence) == ("live", 4)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ((0, 1), ValueError),
        ((-1, 1), ValueError),
        ((1, -1), ValueError),
        ((INT64_MAX + 1, 1), NumberOverflowError),
        ((1, 2**200), NumberOverflowError),
        ((-(2**63) - 1, 1), NumberOverflowError),
        ((1.0, 1), TypeError),
        (("1", 1), TypeError),
        ((1, None), TypeError),
        ((1,), ValueError),
        ((1, 2, 3), ValueError),
        (5, TypeError),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("others", [0, 50])
def test_a_bad_level_changes_nothing(bad, error, side, others):
    book = filled([(5, 1)], [(6, 1)])
    before = contents(book)
    good = [(7 + i, 2) for i in range(others)]
    sides = [[*good, bad, *good], good] if side == 0 else [good, [*good, bad]]
    for apply in (book.apply_update, book.apply_snapshot):
        with pytest.raises(error):
            apply(*sides, 11)
        assert contents(book) == before


@pytest.mark.parametrize(
    ("sequence", "error"), [(-1, ValueError), (2**63, NumberOverflowError), ("11", TypeError)]
)
def test_a_bad_sequence_changes_nothing(sequence, error):
    book = filled([(5, 1)], [(6, 1)])
    before = contents(book)
    for apply in (book.apply_update, book.apply_snapshot):
        with pytest.raises(error):
            apply([(5, 2)], [], sequence)
        assert contents(book) == before


def test_a_full_book_refuses_one_level_more_and_stays_as_it_was():
    book = filled([(1, 1), (2, 1)], [(3, 1), (4, 1)], capacity=2)
    before = contents(book)
    with pytest.raises(BookFullError, match="more than 2 levels"):
        book.apply_update([(1, 7)], [(3, 7), (5, 1)], 11)
    with pytest.raises(BookFullError):
        book.apply_snapshot([(1, 1), (2, 1), (3, 1)], [], 11)
    assert contents(book) == before
    # One in, one out fits, whichever comes first.
    assert book.apply_update([(3, 1), (1, 0)], [(4, 0), (5, 1)], 11) is True
    assert contents(book)[:2] == ([[3, 1], [2, 1]], [[3, 1], [5, 1]])


def test_the_last_of_two_quantities_of_one_price_holds():
    assert contents(filled([(5, 1), (5, 2)], [(6, 1), (6, 0)]))[:2] == ([[5, 2]], [])


def test_snapshots_take_levels_in_any_order():
    expected = ([[9, 1], [5, 2]], [[10, 1], [12, 3]])
    assert contents(filled([(5, 2), (9, 1)], [(12, 3), (10, 1)]))[:2] == expected
    assert contents(filled([(9, 1), (7, 0), (5, 2)], [(10, 1), (12, 3)]))[:2] == expected


def test_levels_may_be_rows_of_an_array():
    book = filled([(9, 1), (5, 2)], [(10, 1)])
    assert contents(filled(*book.depth(10)))[:2] == contents(book)[:2]


def test_a_list_that_grows_while_it_is_read_is_refused():
    class Growing:
        def __index__(self):
            bids.append((1, 1))
            return 1

    bids = [(Growing(), 1)]
    with pytest.raises(ValueError, match="changed while"):
        OrderBook(MARKET).apply_snapshot(bids, [], 1)


def test_a_crossed_book_is_shown_and_not_refused():
    book = filled([(5, 1)], [(6, 1)])
    assert not book.is_crossed
    book.apply_update([(6, 1)], [], 11)
    assert book.is_crossed and book.state == "live"
    book.apply_update([], [(6, 0), (7, 1)], 12)
    assert not book.is_crossed


def test_version_grows_with_every_change_and_only_then():
    book = OrderBook(MARKET)
    versions = [book.version]

    def changed(call, *args):
        call(*args)
        versions.append(book.version)
        return versions[-1] > versions[-2]

    assert not changed(book.mark_stale)  # still empty
    assert changed(book.apply_snapshot, [(5, 1)], [], 1)
    assert changed(book.apply_update, [(5, 1)], [], 2)
    assert not changed(book.apply_update, [(5, 2)], [], 2)
    assert changed(book.mark_stale)
    assert not changed(book.mark_stale)
    assert changed(book.clear)
    assert contents(book)[:4] == ([], [], -1, "empty")


def test_depth_is_best_first_and_a_copy():
    book = filled([(3, 1), (2, 1), (1, 1)], [(4, 2), (5, 2)])
    bids, asks = book.depth(2)
    assert bids.dtype == asks.dtype == np.int64
    assert bids.tolist() == [[3, 1], [2, 1]] and asks.tolist() == [[4, 2], [5, 2]]
    book.apply_update([(3, 0)], [], 11)
    assert bids.tolist() == [[3, 1], [2, 1]]
    assert [side.shape for side in book.depth(0)] == [(0, 2), (0, 2)]
    with pytest.raises(ValueError, match="at least 0"):
        book.depth(-1)


def test_mid_is_exact():
    assert filled([(1, 1)], [(2, 1)]).mid == Decimal("0.015")
    assert filled([(INT64_MAX - 1, 1)], [(INT64_MAX, 1)]).mid == Decimal("92233720368547758.065")
    assert filled([(1, 1)], []).mid is None


def test_lots_at_answers_for_each_side():
    book = filled([(5, 1)], [(6, 2)])
    assert [book.lots_at("buy", 5), book.lots_at("sell", 6), book.lots_at("buy", 6)] == [1, 2, 0]
    assert book.lots_at("buy", -5) == book.lots_at("sell", -(2**63)) == 0
    with pytest.raises(ValueError, match="side"):
        book.lots_at("bid", 5)


def test_impossible_questions_are_refused():
    book = filled([(5, 1)], [(6, 2)])
    with pytest.raises(ValueError, match="at least 0"):
        book.cost_to_fill("buy", -1)
    for notional in (Decimal(-1), Decimal("nan"), Decimal("inf")):
        with pytest.raises(ValueError, match="finite"):
            book.quantity_for_notional("buy", notional)
    with pytest.raises(TypeError, match="Decimal"):
        book.quantity_for_notional("buy", 1.5)
    for capacity in (0, -1, 2**24 + 1):
        with pytest.raises(ValueError, match="capacity"):
            OrderBook(MARKET, capacity)
    with pytest.raises(TypeError):
        OrderBook(None)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(book)


def test_the_time_of_receipt_is_kept():
    book = OrderBook(MARKET)
    assert book.received_ns == 0
    book.apply_snapshot([], [], 1, now_ns=5)
    book.apply_update([], [], 2, now_ns=7)
    assert book.received_ns == book.without().received_ns == 7


def test_a_small_book_takes_little_memory_and_a_deep_one_holds():
    # Seen from outside: sys.getsizeof counts the object and the levels it owns.
    small = filled([(1000 - i, 1) for i in range(100)], [(1001 + i, 1) for i in range(100)])
    assert sys.getsizeof(small) < 10_000
    deep = [(100_000 - i, 1) for i in range(20_000)]
    assert filled(deep, []).bid_count == 20_000
