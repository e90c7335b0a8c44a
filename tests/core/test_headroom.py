"""The quick half of the risk checks: bounds on one order, exact, against plain Decimals."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.book import OrderBook
from nkfast.core.headroom import Headroom
from nkfast.core.market import Market

D = Decimal
INT64_MAX = 2**63 - 1
TICK, LOT = D("0.01"), D("0.0001")


def book_of(bid: int | None, ask: int | None, *, received_ns: int = 0, **rules) -> OrderBook:
    book = OrderBook(Market("BTC/USDT", 2, 4, **rules))
    bids, asks = ([] if ticks is None else [(ticks, 5)] for ticks in (bid, ask))
    book.apply_snapshot(bids, asks, 1, now_ns=received_ns)
    return book


def room_of(book: OrderBook, **bounds) -> Headroom:
    return Headroom(book, book.market, 1, **bounds)


def admits(room: Headroom, ticks: int, lots: int, now_ns: int = 0) -> bool:
    return room.admits(ticks * TICK, lots * LOT, now_ns)


small, large = st.integers(1, 40), st.integers(1, INT64_MAX)
counts = st.one_of(small, large)
maybe = st.one_of(st.none(), counts)
ratios = st.tuples(
    st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1)), st.integers(1, 2**64 - 1)
)


@given(
    counts,
    counts,
    maybe,
    maybe,
    st.tuples(maybe, maybe, maybe, st.one_of(st.none(), st.integers(0, 2**130))),
    st.one_of(st.none(), st.tuples(st.integers(0, 9), st.integers(1, 9)), ratios),
    maybe,
)
def test_it_admits_what_plain_numbers_say(ticks, lots, bid, ask, bounds, collar, trade) -> None:
    book = book_of(bid, ask, min_quantity=2 * LOT, min_notional=7 * TICK * LOT)
    min_ticks, max_ticks, max_lots, max_units = bounds
    room = room_of(
        book,
        min_ticks=min_ticks,
        max_ticks=max_ticks,
        max_lots=max_lots,
        max_units=max_units,
        collar=collar,
        last_trade=None if trade is None else trade * TICK,
    )
    wanted = lots >= 2 and ticks * lots >= 7
    wanted &= min_ticks is None or ticks >= min_ticks
    wanted &= max_ticks is None or ticks <= max_ticks
    wanted &= max_lots is None or lots <= max_lots
    wanted &= max_units is None or ticks * lots <= max_units
    mid = None if bid is None or ask is None else Fraction(bid + ask, 2)
    wanted &= mid is None or bid < ask
    if collar is not None:
        wanted &= mid is not None or trade is not None
        for reference in (mid, trade):
            if reference is not None:
                wanted &= abs(ticks - reference) <= Fraction(*collar) * reference
    assert admits(room, ticks, lots) is wanted


@pytest.mark.parametrize(
    ("bounds", "ticks", "lots"),
    [
        ({"max_units": 12}, 3, 4),
        ({"max_lots": 4}, 3, 4),
        ({"max_units": INT64_MAX**2}, INT64_MAX, INT64_MAX),
        ({"max_lots": INT64_MAX}, 1, INT64_MAX),
    ],
)
def test_an_order_that_reaches_a_bound_is_admitted_and_a_lot_more_is_not(bounds, ticks, lots):
    room = room_of(book_of(None, None), **bounds)
    assert admits(room, ticks, lots)
    assert not admits(room, ticks, lots + 1)


def test_the_price_may_reach_its_bounds() -> None:
    room = room_of(book_of(None, None), min_ticks=5, max_ticks=9)
    assert [ticks for ticks in range(1, 15) if admits(room, ticks, 1)] == [5, 6, 7, 8, 9]


def test_nothing_is_admitted_on_a_book_that_is_not_live() -> None:
    book = book_of(10, 12)
    room = room_of(book)
    assert admits(room, 11, 1)
    book.mark_stale()
    assert not admits(room, 11, 1)
    assert not admits(room_of(OrderBook(book.market)), 11, 1)


def test_it_follows_the_book_that_it_was_made_for() -> None:
    book = book_of(100, 102)
    room = room_of(book, collar=(1, 100))
    assert admits(room, 101, 1)
    book.apply_update([(200, 5)], [(102, 0), (202, 5)], 2)
    assert not admits(room, 101, 1)
    assert admits(room, 201, 1)


def test_a_book_may_be_as_old_as_it_is_said() -> None:
    room = room_of(book_of(10, 12, received_ns=1_000), age_max_ns=50)
    assert admits(room, 11, 1, 1_050)
    assert not admits(room, 11, 1, 1_051)
    assert admits(room_of(book_of(10, 12), age_max_ns=50), 11, 1, 10**9), "its age is not known"


def test_the_newest_trade_bounds_the_price() -> None:
    room = room_of(book_of(100, 102), collar=(1, 10))
    assert admits(room, 95, 1)
    room.note_trade(D("1.10"))
    assert not admits(room, 95, 1)
    assert admits(room, 105, 1)
    for beside_the_grid in (D("1.005"), D("-1"), D("NaN"), D(0)):
        room.note_trade(beside_the_grid)
        assert not admits(room, 105, 1)
    room.note_trade(D("1.00"))
    assert admits(room, 95, 1)


def test_what_lies_beside_the_grid_is_never_admitted() -> None:
    room = room_of(book_of(100, 102))
    for price in (D("1.005"), D("-1.00"), D(0), D("NaN"), D("Infinity"), D("1E+30")):
        assert not room.admits(price, D(1), 0)
    for quantity in (D("0.00001"), D(-1), D(0), D("NaN"), D("1E+30")):
        assert not room.admits(D("1.01"), quantity, 0)


def test_the_rules_of_another_grid_are_refused() -> None:
    book = book_of(100, 102)
    for decimals in ((3, 4), (2, 5)):
        with pytest.raises(ValueError, match="another grid"):
            Headroom(book, Market("BTC/USDT", *decimals), 1)


def test_a_collar_beyond_64_bits_is_refused() -> None:
    book = book_of(100, 102)
    for collar in ((2**64, 1), (1, 2**64), (-1, 1)):
        with pytest.raises(OverflowError):
            room_of(book, collar=collar)
    with pytest.raises(ValueError, match="1/0 is no fraction"):
        room_of(book, collar=(1, 0))


def test_what_it_is_handed_must_be_what_it_reads() -> None:
    book = book_of(100, 102)
    with pytest.raises(TypeError):
        Headroom(None, book.market, 1)
    with pytest.raises(TypeError):
        Headroom(book, None, 1)
    with pytest.raises(TypeError):
        Headroom(book, book.market, None)
    room = room_of(book)
    assert room.version == 1
    with pytest.raises(TypeError):
        room.admits(None, D(1), 0)
    with pytest.raises(TypeError):
        room.admits(1.01, D(1), 0)
