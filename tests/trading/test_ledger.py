"""The ledger: realized and unrealized are the change in equity, to the last digit."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.market import Market
from nkfast.trading.exact import EXACT, plain, share
from nkfast.trading.ledger import Ledger, Lot, Profit
from nkfast.trading.orders import Order, OrderState
from nkfast.venue.port import Execution, Holding, OrderUpdate, VenueStatus

D = Decimal


def a_fill(
    side: str, price: object, quantity: object, fee: object | None = 0, asset: str = "USDT"
) -> Execution:
    known = None if fee is None else D(str(fee))
    return Execution(
        "t", "o", None, "BTC/USDT", side, D(str(price)), D(str(quantity)), known, asset, True, 0
    )


def after(*fills: Execution) -> Profit:
    profit = Profit("BTC", "USDT")
    for fill in fills:
        profit = profit.after_fill(fill)
    return profit


def test_a_round_trip_earns_the_difference_less_both_fees() -> None:
    profit = after(a_fill("buy", 99, "0.5", "0.099"), a_fill("sell", 100, "0.5", "0.1"))
    assert profit.realized == D("0.5") - D("0.199")
    assert profit.lots == ()
    assert profit.fees == {"USDT": D("0.199")}
    assert profit.position == 0
    assert profit.cash == profit.realized


def test_a_round_trip_that_begins_with_a_sale_earns_the_same() -> None:
    profit = after(a_fill("sell", 100, "0.5", "0.1"), a_fill("buy", 99, "0.5", "0.099"))
    assert profit.realized == D("0.301")


def test_lots_are_matched_first_in_first_out() -> None:
    profit = after(a_fill("buy", 90, 1), a_fill("buy", 100, 1), a_fill("sell", 110, "1.5"))
    assert profit.realized == 20 + 5
    assert profit.lots == (Lot(D("0.5"), D(-50)),)
    assert profit.unrealized(D(120)) == 10


def test_a_sale_beyond_the_position_turns_it() -> None:
    profit = after(a_fill("buy", 90, 1), a_fill("sell", 100, 3))
    assert profit.realized == 10
    assert profit.lots == (Lot(D(-2), D(200)),)
    assert profit.unrealized(D(95)) == 10


def test_an_unknown_fee_is_counted_not_zero() -> None:
    unknown = a_fill("buy", 100, 1, None)
    profit = after(unknown)
    assert profit.unknown_fees == 1
    assert profit.fees == {}
    told = profit.after_fee(unknown, replace(unknown, fee=D("0.2")))
    assert told.unknown_fees == 0
    assert told.fees == {"USDT": D("0.2")}
    assert told.realized == D("-0.2")
    more = told.after_fee(replace(unknown, fee=D("0.2")), replace(unknown, fee=D("0.25")))
    assert more.realized == D("-0.25")
    assert more.fees == {"USDT": D("0.25")}


def test_a_fee_in_base_makes_the_lot_smaller() -> None:
    profit = after(a_fill("buy", 100, 1, "0.002", "BTC"))
    assert profit.lots == (Lot(D("0.998"), D(-100)),)
    assert profit.position == D("0.998")


def test_a_fee_in_a_third_asset_stands_beside() -> None:
    profit = after(a_fill("buy", 100, 1, 7, "NKYC"), a_fill("sell", 101, 1, 7, "NKYC"))
    assert profit.realized == 1
    assert profit.fees == {"NKYC": D(14)}


numbers = st.integers(1, 10**18)
fills = st.builds(
    lambda side, ticks, lots, rate, asset: a_fill(
        side,
        D(ticks).scaleb(-8),
        D(lots).scaleb(-6),
        None if rate is None else EXACT.multiply(D(rate).scaleb(-5), D(lots).scaleb(-6)),
        asset,
    ),
    st.sampled_from(["buy", "sell"]),
    numbers,
    numbers,
    st.one_of(st.none(), st.integers(-50, 500)),
    st.sampled_from(["USDT", "BTC", "NKYC"]),
)


@given(st.lists(fills, max_size=20), numbers)
def test_realized_and_unrealized_are_the_change_in_equity(
    history: list[Execution], ticks: int
) -> None:
    profit = after(*history)
    mark = D(ticks).scaleb(-8)
    cash = position = D(0)
    for fill in history:
        sign = 1 if fill.side == "buy" else -1
        cash = EXACT.subtract(
            cash, EXACT.multiply(EXACT.multiply(fill.price, fill.quantity), D(sign))
        )
        position = EXACT.add(position, EXACT.multiply(fill.quantity, D(sign)))
        if fill.fee is not None and fill.fee_asset == "USDT":
            cash = EXACT.subtract(cash, fill.fee)
        if fill.fee is not None and fill.fee_asset == "BTC":
            position = EXACT.subtract(position, fill.fee)
    equity = EXACT.add(cash, EXACT.multiply(position, mark))
    assert profit.equity_change(mark) == equity
    assert EXACT.add(profit.realized, profit.unrealized(mark)) == equity
    assert profit.unknown_fees == sum(fill.fee is None for fill in history)
    signs = {lot.base > 0 for lot in profit.lots}
    assert len(signs) <= 1
    assert all(lot.base for lot in profit.lots)


@given(st.lists(fills, max_size=10), st.lists(fills, max_size=5))
def test_profit_survives_json(history: list[Execution], later: list[Execution]) -> None:
    profit = after(*history)
    again = Profit.from_json(json.loads(json.dumps(profit.as_json())))
    assert again == profit
    for fill in later:
        profit, again = profit.after_fill(fill), again.after_fill(fill)
    assert again.as_json() == profit.as_json()


def test_a_share_of_21_digits_is_cut_like_any_other() -> None:
    third = share(D("-400000000000000001310"), D(1), D(3))
    assert third == D("-133333333333333333770")
    third = share(D("400000000000000001310.1"), D(2), D(3))
    assert third == D("266666666666666667540.066666666666666666666666666666666666666")


@given(numbers, st.integers(1, 10**18), st.integers(0, 10**18))
def test_a_share_and_its_rest_are_the_whole(amount: int, part: int, more: int) -> None:
    whole = D(part + more)
    total = D(amount).scaleb(-9)
    piece = share(total, D(part), whole)
    rest = EXACT.subtract(total, piece)
    assert EXACT.add(piece, rest) == total
    assert abs(piece * whole - total * part) <= whole * D("1e-8")
    assert share(total, whole, whole) == total


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "0"), ("-0", "0"), ("1.500", "1.5"), ("1E+3", "1000"), ("2.33E-6", "0.00000233")],
)
def test_plain_digits(value: str, text: str) -> None:
    assert plain(D(value)) == text


# Balances ------------------------------------------------------------------------------------


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Market("BTC/USDT", 2, 4, maker_fee="0.001", taker_fee="0.002"))


def an_order(client_id: str, side: str, price: str, quantity: str) -> Order:
    return Order(client_id, client_id, "BTC/USDT", side, D(price), D(quantity))


def tell(order: Order, status: VenueStatus, executed: str = "0") -> None:
    update = OrderUpdate(
        order.client_id,
        "v" + order.client_id,
        "BTC/USDT",
        order.side,
        order.price,
        order.quantity,
        D(executed),
        status,
    )
    order.apply(order.hear_update(update))


def test_available_is_what_no_order_of_anybody_may_need(ledger: Ledger) -> None:
    assert not ledger.knows_holdings
    ledger.set_holdings(
        [Holding("BTC", D(5), D(2)), Holding("USDT", D(1000), D(300))], is_complete=True
    )
    assert ledger.knows_holdings
    assert ledger.available("BTC") == 5
    buy, sell = an_order("a", "buy", "100", "2"), an_order("b", "sell", "120", "3")
    ledger.reserve(buy)
    ledger.reserve(sell)
    # A buy needs the larger of both fees on top; 2 BTC and 300 USDT are held for others.
    assert ledger.reserved("USDT") == D("200.4")
    assert ledger.available("USDT") == D("799.6")
    assert ledger.available("BTC") == 2
    assert ledger.total("BTC") == 7
    assert ledger.held("BTC") == 2
    tell(buy, VenueStatus.PARTLY_FILLED, "0.5")
    ledger.reserve(buy)
    assert ledger.reserved("USDT") == D("150.3")
    tell(buy, VenueStatus.CANCELLED, "0.5")
    ledger.reserve(buy)
    assert buy.state is OrderState.CLOSING
    assert ledger.reserved("USDT") == 0
    assert ledger.available("nothing") == 0


def test_our_own_holds_are_not_the_foreign_ones(ledger: Ledger) -> None:
    order = an_order("a", "sell", "120", "3")
    ledger.reserve(order)
    tell(order, VenueStatus.OPEN)
    ledger.set_holdings([Holding("BTC", D(4), D(3))], is_complete=True)
    assert ledger.available("BTC") == 4
    assert ledger.available("USDT") == 0


def test_d48_a_fill_moves_the_balances_until_the_venue_speaks(ledger: Ledger) -> None:
    ledger.set_holdings([Holding("BTC", D(5), D(0)), Holding("USDT", D(1000), D(0))])
    ledger.apply(ledger.profit.after_fill(a_fill("buy", 100, 1, "0.2")))
    assert ledger.total("BTC") == 6
    assert ledger.total("USDT") == D("899.8")
    ledger.set_holdings([Holding("USDT", D("899.8"), D(0))])
    assert ledger.total("USDT") == D("899.8")
    ledger.set_holdings([Holding("NKYC", D(10), D(0))])
    ledger.apply(ledger.profit.after_fill(a_fill("buy", 100, 1, "3", "NKYC")))
    assert ledger.total("NKYC") == 7
    assert set(ledger.assets) == {"BTC", "USDT", "NKYC"}


def test_available_is_never_negative(ledger: Ledger) -> None:
    ledger.set_holdings([Holding("BTC", D(1), D(0))])
    ledger.reserve(an_order("a", "sell", "120", "3"))
    assert ledger.available("BTC") == 0


def test_a_fee_that_is_higher_than_the_market_says_is_reserved(ledger: Ledger) -> None:
    def cost() -> D:
        return ledger.cost("buy", D(100), D(1))[1]

    assert cost() == D("100.2")
    ledger.learn_fee(a_fill("buy", 100, 1, "0.1"))
    assert cost() == D("100.2")  # lower is no reason to reserve less
    ledger.learn_fee(a_fill("buy", 100, 1, "5", "NKYC"))
    assert cost() == D("100.2")
    ledger.learn_fee(a_fill("sell", 100, 3, "1"))
    assert D("100.333333") < cost() < D("100.334")
    ledger.learn_fee(a_fill("sell", 100, 1, "90"))  # not believed beyond a bound
    assert cost() == 105


def test_the_fee_of_a_crumb_says_nothing() -> None:
    ledger = Ledger(Market("BTC/USDT", 2, 4, min_notional="1"))
    ledger.learn_fee(a_fill("buy", 1, "0.0001", "0.0001"))
    assert ledger.cost("buy", D(100), D(1))[1] == D("100.2")


def test_a_balance_that_contradicts_itself_frees_nothing(ledger: Ledger) -> None:
    odd = Holding("BTC", D(-1), D(3))
    assert ledger.set_holdings([odd, Holding("USDT", D(10), D(0))], is_complete=True) == [odd]
    assert ledger.total("BTC") == 2
    assert ledger.available("BTC") == 0
    assert ledger.available("USDT") == 10


def test_a_balance_that_is_told_late_does_not_hide_a_fill(ledger: Ledger) -> None:
    ledger.set_holdings([Holding("BTC", D(5), D(0)), Holding("USDT", D(1000), D(0))])
    before = ledger.profit
    ledger.apply(before.after_fill(a_fill("buy", 100, 2)))
    assert ledger.total("BTC") == ledger.most("BTC") == D(7)
    ledger.set_holdings([Holding("BTC", D(5), D(0))], is_complete=True)  # of before the fill
    assert (ledger.total("BTC"), ledger.most("BTC")) == (D(5), D(7))
    assert ledger.beside_fills == {"BTC": "5"}
    later = Ledger(ledger.market, ledger.profit)
    later.recall(ledger.beside_fills)
    later.set_holdings([Holding("BTC", D(5), D(0))])
    assert later.most("BTC") == D(7)
    later.set_holdings([Holding("BTC", D(6), D(0))], is_complete=True, is_settled=True)
    assert later.most("BTC") == D(6)
    assert later.beside_fills == {"BTC": "4"}


def test_an_asset_that_the_venue_does_not_list_is_one_of_which_there_is_nothing(
    ledger: Ledger,
) -> None:
    sell = an_order("a", "sell", "120", "1")
    ledger.reserve(sell)
    ledger.set_holdings([Holding("USDT", D(1000), D(0))], is_complete=True)
    assert ledger.total("BTC") == 0
    ledger.apply(ledger.profit.after_fill(a_fill("sell", 120, 1, "0.2")))
    assert ledger.total("USDT") == D("1119.8")
    assert ledger.total("BTC") == -1  # until the venue speaks
