"""Own orders never meet: those of this instance, of its neighbours, of anybody with the account."""

from dataclasses import replace
from decimal import Decimal

from nkfast.trading.account import AccountOrders, Crossed
from nkfast.trading.orders import Order, OrderStore
from nkfast.venue.port import OrderUpdate, VenueStatus

D = Decimal
SYMBOL = "BTC/USDT"
MANUAL = OrderUpdate("", "m1", SYMBOL, "sell", D(101), D(1), D(0), VenueStatus.OPEN)


def store(*orders: Order) -> OrderStore:
    kept = OrderStore()
    for order in orders:
        kept.add(order)
    return kept


def order(name: str, side: str, price: str, symbol: str = SYMBOL) -> Order:
    return Order(name, name, symbol, side, D(price), D(1))


def test_the_orders_of_every_instance_on_the_market_count() -> None:
    account = AccountOrders()
    neighbour = store(order("a", "sell", "101"), order("b", "sell", "9", "ETH/USDT"))
    account.join(SYMBOL, store(order("c", "buy", "98")))
    account.join(SYMBOL, neighbour)
    account.join("ETH/USDT", neighbour)
    assert account.crossed_by(SYMBOL, "buy", D("100.99")) is None
    assert account.crossed_by(SYMBOL, "buy", D(101)) == Crossed(D(101), "own")
    assert account.crossed_by(SYMBOL, "sell", D("98.01")) is None
    assert account.crossed_by(SYMBOL, "sell", D(98)) == Crossed(D(98), "own")
    assert account.crossed_by("ETH/USDT", "buy", D(9)) == Crossed(D(9), "own")
    account.leave(neighbour)
    assert account.crossed_by(SYMBOL, "buy", D(101)) is None
    assert account.crossed_by("ETH/USDT", "buy", D(9)) is None


def test_orders_of_others_count_while_the_venue_shows_them() -> None:
    account = AccountOrders()
    account.note(MANUAL, 1_000)
    assert account.crossed_by(SYMBOL, "buy", D(101)) == Crossed(D(101), "other")
    assert account.crossed_by("ETH/USDT", "buy", D(101)) is None
    account.note(replace(MANUAL, status=VenueStatus.CANCELLED), 2_000)
    assert account.crossed_by(SYMBOL, "buy", D(101)) is None
    account.note(replace(MANUAL, price=None), 2_000)  # a market order rests nowhere
    assert account.crossed_by(SYMBOL, "buy", D(101)) is None


def test_what_a_complete_list_does_not_show_is_forgotten() -> None:
    account = AccountOrders()
    account.note(MANUAL, 1_000)
    account.note(replace(MANUAL, order_id="m2", price=D(102)), 2_000)
    account.forget_unseen("ETH/USDT", 9_000)
    account.forget_unseen(SYMBOL, 2_000)
    assert account.crossed_by(SYMBOL, "buy", D("101.99")) is None
    assert account.crossed_by(SYMBOL, "buy", D(102)) == Crossed(D(102), "other")


def test_a_neighbours_order_that_is_reported_is_not_taken_for_a_strangers() -> None:
    account = AccountOrders()
    neighbour = store(order("a", "sell", "101"))
    account.join(SYMBOL, neighbour)
    account.note(replace(MANUAL, client_id="a"), 1_000)
    assert account.crossed_by(SYMBOL, "buy", D(101)) == Crossed(D(101), "own")
    account.leave(neighbour)
    assert account.crossed_by(SYMBOL, "buy", D(101)) is None
