import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.board import PriceBoard

MARKETS = [64, -64, 1 << 40, -(1 << 62)]


@pytest.fixture(scope="module")
def memory():
    return bytearray(PriceBoard.SIZE)


writes = st.tuples(st.integers(0, 5), st.sampled_from(MARKETS), st.booleans(), st.integers(0, 9))


@given(st.lists(writes, max_size=30), st.sampled_from(MARKETS), st.booleans(), st.integers(1, 9))
def test_a_board_agrees_with_a_dict(memory, found, market, is_buy, ticks):
    memory[:] = bytes(len(memory))
    board, model = PriceBoard(memory), {}
    for seat, where, bids, price in found:
        board.take_seat(seat, seat + 1, b"x")
        board.write(seat, board.row_of(where, 2)[0], bids, price)
        model[where, bids, seat] = price
    row, first, crossed = board.row_of(market, 2)[0], 0, []
    while (one := board.find_crossed(row, is_buy, ticks, first)) is not None:
        crossed.append(one)
        first = one[0] + 1
    opposite = [(seat, model.get((market, not is_buy, seat), 0)) for seat in range(6)]
    assert crossed == [
        (seat, price)
        for seat, price in opposite
        if price and (price <= ticks if is_buy else price >= ticks)
    ]


def test_a_seat_says_who_sits_there(memory):
    board = PriceBoard(memory)
    board.take_seat(7, -5, b"grid" * 20)
    owner, name, ended = board.sitter(7)
    assert (owner, name, ended) == (-5, (b"grid" * 20)[:47], 0)
    board.leave_seat(7, 99)
    assert board.sitter(7)[2] == 99
    board.clear_seat(7)
    assert board.sitter(7)[0] == board.sitter(7)[2] == 0
    board.take_seat(7, 1, b"a")
    assert board.sitter(7) == (1, b"a", 0)


def test_the_first_to_come_says_how_prices_are_written(memory):
    board = PriceBoard(memory)
    row, decimals = board.row_of(1 << 20, 4)
    assert decimals == 4
    assert PriceBoard(memory).row_of((1 << 20) + 17, 8) == (row, 4)


def test_what_is_not_on_the_board_is_refused():
    board = PriceBoard(bytearray(PriceBoard.SIZE))
    for call in (
        lambda: board.write(PriceBoard.SEATS, 0, True, 1),
        lambda: board.write(-1, 0, True, 1),
        lambda: board.write(0, PriceBoard.ROWS, True, 1),
        lambda: board.write(0, -1, True, 1),
        lambda: board.write(0, 0, True, -1),
        lambda: board.find_crossed(PriceBoard.ROWS, True, 1),
        lambda: board.find_crossed(0, True, 0),
        lambda: board.find_crossed(0, True, 1, -1),
        lambda: board.take_seat(0, 0, b"x"),
        lambda: board.sitter(PriceBoard.SEATS),
        lambda: board.row_of(64, 32),
        lambda: board.row_of(31, 2),
        lambda: PriceBoard(bytearray(8)),
    ):
        with pytest.raises(ValueError, match="must"):
            call()
    assert board.find_crossed(0, True, 1, PriceBoard.SEATS) is None
    for market in range(PriceBoard.ROWS):
        board.row_of((market + 1) * 32, 0)
    with pytest.raises(OverflowError, match="512 markets"):
        board.row_of(1 << 40, 0)
