import copy
import pickle
import random
from decimal import Decimal

import pytest

from nkfast.errors import ConfigError, WireError
from nkfast.wire import models
from nkfast.wire.codec import decode_json
from nkfast.wire.known_fields import KNOWN_FIELDS
from nkfast.wire.models import (
    AccountTrade,
    ApiCredentials,
    Balance,
    Candle,
    MarketInfo,
    MarketTicker,
    OrderBookSnapshot,
    OrderCancelResult,
    OrderReport,
    OrderRequest,
    OrderResponse,
    OrderState,
    OrderStatus,
    ServerTime,
    Trade,
)

ORDER = {
    "id": "6a0000000000000000000001",
    "userProvidedId": "nk-a-1",
    "market": {"id": "6b0000000000000000000001", "symbol": "AAA/USDT"},
    "side": "buy",
    "type": "limit",
    "price": "1.250",
    "quantity": "40.0",
    "executedQuantity": "0",
    "remainQuantity": "40.0",
    "status": "New",
    "isActive": True,
    "lastTradeAt": 0,
    "createdAt": 1790000000123,
    "updatedAt": 1790000000124,
    "someNewField": {"a": [1]},
}


def test_the_secret_is_in_no_text():
    credentials = ApiCredentials("key", "hunter2")
    for text in (repr(credentials), str(credentials), f"{credentials}", repr([credentials])):
        assert "hunter2" not in text
        assert "key" in text
    assert credentials.api_secret == "hunter2"


def test_models_are_immutable_and_keep_the_object():
    order = OrderStatus.from_wire(ORDER)
    with pytest.raises(AttributeError):
        order.status = OrderState.FILLED
    assert order.raw is ORDER
    assert "raw" not in repr(order)
    assert pickle.loads(pickle.dumps(order)) == order == copy.copy(order)


def test_order_is_read():
    order = OrderResponse.from_wire(ORDER)
    assert order.order_id == "6a0000000000000000000001"
    assert order.user_provided_id == "nk-a-1"
    assert (order.symbol, order.side, order.order_type) == ("AAA/USDT", "buy", "limit")
    assert (order.price, order.quantity) == (Decimal("1.25"), Decimal(40))
    assert (order.filled_quantity, order.remaining_quantity) == (0, 40)
    assert order.status is OrderState.NEW
    assert (order.created_ms, order.updated_ms) == (1790000000123, 1790000000124)


def test_order_list_row_with_symbol_and_timestamp():
    row = {**ORDER, "symbol": "BBB/BTC", "timestamp": 5}
    for name in ("market", "createdAt", "updatedAt", "remainQuantity"):
        del row[name]
    order = OrderStatus.from_wire(row)
    assert (order.symbol, order.created_ms, order.updated_ms) == ("BBB/BTC", 5, 5)


@pytest.mark.parametrize(
    ("fields", "filled"),
    [
        ({"executedQuantity": "15"}, 15),
        ({"executedQuantity": None, "remainQuantity": "30"}, 10),
        ({"executedQuantity": "", "remainQuantity": "", "status": "Filled"}, 40),
        ({"executedQuantity": None, "remainQuantity": None}, 0),
    ],
)
def test_filled_quantity_comes_from_what_the_venue_says(fields, filled):
    order = OrderStatus.from_wire({**ORDER, **fields})
    assert (order.filled_quantity, order.remaining_quantity) == (filled, 40 - filled)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("New", OrderState.NEW),
        ("ACTIVE", OrderState.ACTIVE),
        ("Partly Filled", OrderState.PARTLY_FILLED),
        ("partlyFilled", OrderState.PARTLY_FILLED),
        ("partially_filled", OrderState.PARTLY_FILLED),
        ("Filled", OrderState.FILLED),
        ("Cancelled", OrderState.CANCELLED),
        ("canceled", OrderState.CANCELLED),
        ("Expired", OrderState.EXPIRED),
        ("Rejected", OrderState.REJECTED),
        ("Suspended", OrderState.SUSPENDED),
        ("Sleeping", OrderState.UNKNOWN),
        ("", OrderState.UNKNOWN),
        (None, OrderState.UNKNOWN),
    ],
)
def test_status_words(word, state):
    assert OrderStatus.from_wire({**ORDER, "status": word}).status is state


def test_only_the_end_is_final():
    assert {state for state in OrderState if state.is_final} == {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
    }


@pytest.mark.parametrize("missing", ["id", "side", "quantity"])
def test_an_order_without_its_essentials_is_refused(missing):
    for absent in (None, ""):
        with pytest.raises(WireError, match=missing):
            OrderStatus.from_wire({**ORDER, missing: absent})


def test_market_order_has_no_price():
    order = OrderStatus.from_wire({**ORDER, "type": "market", "price": None})
    assert (order.order_type, order.price) == ("market", None)


def test_trade_report():
    report = OrderReport.from_wire(
        {
            **ORDER,
            "status": "Partly Filled",
            "executedQuantity": "10",
            "remainQuantity": None,
            "reportType": "trade",
            "tradeId": 4711,
            "tradePrice": "1.25",
            "tradeQuantity": "10",
            "tradeFee": "0.025",
        }
    )
    assert (report.report_type, report.trade_id) == ("trade", "4711")
    assert (report.trade_price, report.trade_quantity) == (Decimal("1.25"), 10)
    assert report.trade_fee == Decimal("0.025")
    assert report.status is OrderState.PARTLY_FILLED


def test_report_type_has_one_spelling_and_an_unknown_fee_is_not_zero():
    report = OrderReport.from_wire({**ORDER, "reportType": "canceled"})
    assert (report.report_type, report.trade_fee) == ("cancelled", None)


@pytest.mark.parametrize(
    ("answer", "has_order"),
    [
        ({"success": True, "id": "x"}, False),
        (ORDER, True),
        ({**ORDER, "success": True}, True),
    ],
)
def test_cancel_answers(answer, has_order):
    result = OrderCancelResult.from_wire(answer)
    assert result.order_id == answer["id"]
    assert (result.order is not None) == has_order


def test_cancel_without_success_is_no_cancel():
    with pytest.raises(WireError, match="success false"):
        OrderCancelResult.from_wire({"success": False, "id": "x"})
    with pytest.raises(WireError, match="id is missing"):
        OrderCancelResult.from_wire({"success": True})


def test_account_trade_with_capital_side():
    trade = AccountTrade.from_wire(
        {
            "id": "t1",
            "market": {"id": "m", "symbol": "AAA/USDT"},
            "orderid": "o1",
            "side": "Buy",
            "triggeredBy": "sell",
            "price": "1.25",
            "quantity": "3",
            "fee": "0.0075",
            "alternateFeeAsset": None,
            "alternateFee": None,
            "timestamp": 1790000000000,
        }
    )
    assert (trade.side, trade.is_maker, trade.order_id) == ("buy", True, "o1")
    assert (trade.fee, trade.fee_asset) == (Decimal("0.0075"), "USDT")


def test_account_trade_with_the_fee_in_another_asset():
    row = {"id": "t1", "symbol": "AAA/USDT", "side": "Sell", "triggeredBy": "sell", "price": "1"}
    row |= {"quantity": "1", "fee": "0", "alternateFeeAsset": "NKYC", "alternateFee": "0.5"}
    trade = AccountTrade.from_wire(row)
    assert (trade.is_maker, trade.fee, trade.fee_asset) == (False, Decimal("0.5"), "NKYC")
    del row["triggeredBy"], row["alternateFee"]
    trade = AccountTrade.from_wire(row)
    assert (trade.is_maker, trade.fee) == (None, None)


BOOKS = {
    "A": b'{"marketid":"m","symbol":"AAA/USDT","timestamp":7,"sequence":"4711",'
    b'"bids":[{"price":"1.25","numberprice":1.25,"quantity":"40.0"}],"asks":[]}',
    "B": b'{"ticker_id":"AAA_USDT","timestamp":"7","bids":[["1.25","40.0"]],"asks":[]}',
    "C": b'{"timestamp":"1970-01-01T00:00:00.007Z","bids":[[1.25,40.0]],"asks":[]}',
}


@pytest.mark.parametrize("form", BOOKS)
def test_every_form_of_order_book(form):
    book = OrderBookSnapshot.from_wire(decode_json(BOOKS[form]))
    assert book.bids == ((Decimal("1.25"), Decimal(40)),)
    assert book.asks == ()
    assert book.time_ms == 7
    assert book.symbol == ("" if form == "C" else "AAA/USDT")
    assert book.sequence == (4711 if form == "A" else None)


@pytest.mark.parametrize("bids", [None, {}, ["1"], [["1"]], [{"price": "1"}], [{"quantity": "1"}]])
def test_a_malformed_book_is_refused(bids):
    with pytest.raises(WireError):
        OrderBookSnapshot.from_wire({"symbol": "AAA/USDT", "bids": bids, "asks": []})


def test_numbers_are_exact_as_text_and_as_json_numbers():
    text = b'{"asset":"AAA","available":0.100000000000000000000000001,"held":"1e-7","pending":7}'
    balance = Balance.from_wire(decode_json(text))
    assert str(balance.available) == "0.100000000000000000000000001"
    assert format(balance.held, "f") == "0.0000001"
    assert balance.pending == 7


@pytest.mark.parametrize(
    "value", ["x", "1,5", "1_0", "NaN", "Infinity", "1e999999", "9" * 65, True, [], {}, 0.1, "٣"]
)
def test_what_is_no_money_is_refused(value):
    with pytest.raises(WireError, match="available"):
        Balance.from_wire({"asset": "AAA", "available": value})


def test_a_number_of_endless_digits_is_refused():
    text = b'{"asset":"AAA","available":0.' + b"1" * 100 + b"}"
    with pytest.raises(WireError, match="more than 64 digits"):
        Balance.from_wire(decode_json(text))


def test_a_balance_without_available_is_not_zero():
    with pytest.raises(WireError, match="available is missing"):
        Balance.from_wire({"asset": "AAA", "held": "1"})


def test_ticker_of_rest_and_of_the_stream_agree():
    rest = MarketTicker.from_wire(
        {
            "ticker_id": "AAA_USDT",
            "last_price": "1.25",
            "bid": "1.2",
            "ask": "1.3",
            "base_volume": "9",
            "target_volume": "10",
        }
    )
    stream = MarketTicker.from_wire(
        {"symbol": "AAA/USDT", "lastPrice": "1.250", "bestBid": "1.20", "bestAsk": "1.3"}
        | {"volume": "9.0", "volumeSecondary": "10"}
    )
    for name in ("symbol", "last_price", "bid", "ask", "volume", "quote_volume"):
        assert getattr(rest, name) == getattr(stream, name), name


@pytest.mark.parametrize("nothing", ["", "0", "0.00", None])
def test_a_dead_market_has_no_price(nothing):
    ticker = MarketTicker.from_wire(
        {"ticker_id": "AAA_USDT", "last_price": nothing, "bid": nothing}
    )
    assert (ticker.last_price, ticker.bid, ticker.ask) == (None, None, None)


@pytest.mark.parametrize(
    "row",
    [
        {"trade_id": "t", "type": "sell", "base_volume": "2", "trade_timestamp": "1790000000000"},
        {"id": "t", "side": "sell", "amount": "2", "timestamp": "2026-09-21T14:13:20Z"},
        {"id": "t", "triggeredBy": "sell", "quantity": "2", "timestampms": 1790000000000},
    ],
)
def test_every_form_of_public_trade(row):
    trade = Trade.from_wire({**row, "price": "3"})
    assert (trade.trade_id, trade.side, trade.price, trade.quantity) == ("t", "sell", 3, 2)
    assert trade.time_ms == 1790000000000


@pytest.mark.parametrize("field", ["time", "timestamp", "datetime"])
@pytest.mark.parametrize(
    "value",
    [1790000000, "1790000000", 1790000000000, "2026-09-21T14:13:20.000Z", Decimal("1790000000.0")],
)
def test_candle_time_in_every_unit(field, value):
    row = {field: value, "open": 1, "high": 2, "low": 1, "close": Decimal("1.5"), "volume": 0}
    assert Candle.from_wire(row).time_ms == 1790000000000


def test_a_time_of_long_ago_in_words_is_no_number():
    row = {"time": "1971-01-01T00:00:00Z", "open": 1, "high": 2, "low": 1, "close": 1}
    assert Candle.from_wire(row).time_ms == 365 * 86_400_000


def test_market_needs_its_decimals():
    row = {"symbol": "AAA/USDT", "priceDecimals": 2, "quantityDecimals": "6", "lastPrice": "0"}
    info = MarketInfo.from_wire(row)
    assert (info.price_decimals, info.quantity_decimals, info.last_price) == (2, 6, None)
    assert info.is_active and not info.is_paused
    with pytest.raises(WireError, match="priceDecimals"):
        MarketInfo.from_wire({**row, "priceDecimals": None})


def request(**changes):
    fields = {"symbol": "aaa_usdt", "side": "buy", "quantity": Decimal("40"), "price": Decimal("2")}
    return OrderRequest(**(fields | changes))


def test_d20_order_request_goes_out_in_plain_digits():
    payload = request(price=Decimal("2.327E-7"), user_provided_id="nk-1").to_payload()
    assert payload == {
        "symbol": "AAA/USDT",
        "side": "buy",
        "type": "limit",
        "quantity": "40",
        "price": "0.0000002327",
        "userProvidedId": "nk-1",
        "strictValidate": True,
    }
    assert "price" not in request(order_type="market", price=None).to_payload()


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "AAA"},
        {"side": "Buy"},
        {"order_type": "stop"},
        {"price": None},
        {"order_type": "market"},
        {"quantity": Decimal(0)},
        {"quantity": Decimal(-1)},
        {"quantity": Decimal("NaN")},
        {"quantity": 1.5},
        {"price": "2"},
    ],
)
def test_an_impossible_order_request_is_refused(changes):
    with pytest.raises(ConfigError):
        request(**changes)


#: An object with what every model needs, and what may stand in any field of it.
ANY = {
    **{"id": "1", "ticker": "A", "asset": "A", "symbol": "A/B", "available": "1", "address": "x"},
    **{"priceDecimals": 2, "quantityDecimals": 2, "bids": [["1", "2"]], "asks": [["1", "2"]]},
    **{"price": "1", "quantity": "2", "side": "buy", "type": "buy", "status": "New", "ids": ["a"]},
    **dict.fromkeys(("open", "high", "low", "close", "base_volume"), "1"),
    **{"time": 5, "serverTime": 5, "trade_id": "t", "market": {"symbol": "A/B"}},
}
ODD = [
    *(
        None,
        "",
        0,
        1,
        -1,
        True,
        False,
        "x",
        "1.5",
        Decimal("1e5"),
        10**30,
        "9" * 80,
        "NaN",
        "1e999",
    ),
    *([], {}, ["1"], [None], [[1, 2]], [{"price": None}], {"symbol": None}, {"symbol": 5}),
    *("A_B", "A-B-C", "2026-01-01T00:00:00Z", "2026-13-01", "9999-12-31T23:59:59+23:59", "Sell"),
    *("1e999", float("nan"), float("inf"), 1.5, "\u0663", "1_0", " 1", "-5"),
]


@pytest.mark.parametrize("model", KNOWN_FIELDS)
def test_whatever_stands_in_a_field_is_read_or_is_a_wire_error(model):
    kind, names = getattr(models, model), sorted(KNOWN_FIELDS[model])
    kind.from_wire(ANY)
    rng = random.Random(model)
    for _ in range(500):
        changed = rng.sample(names, rng.choice((1, 1, min(3, len(names)))))
        data = ANY | {name: rng.choice(ODD) for name in changed}
        try:
            repr(kind.from_wire(data))
        except WireError as error:
            assert str(error), data


def test_a_market_with_an_odd_name_does_not_hide_the_others():
    rows = [{"symbol": name, "priceDecimals": 2, "quantityDecimals": 2} for name in ("$X", "A/B")]
    assert [MarketInfo.from_wire(row).symbol for row in rows] == ["$X", "A/B"]


@pytest.mark.parametrize(
    "reply",
    [
        {"serverTime": 1737419000123},
        {"serverTime": "1737419000123"},
        {"unix_microsec": 1737419000123456},
        {"server_time": "1737419000.123"},
        {"time": Decimal("1737419000.123456")},
        {"timestamp": "2025-01-21T00:23:20.123Z"},
        {"data": {"time": 1737419000123}},
        {"result": {"data": "1737419000.123"}},
        1737419000123,
        "1737419000.123",
    ],
)
def test_a_clock_in_every_form_that_clients_have_met(reply):
    assert ServerTime.from_wire(reply).time_ms == 1737419000123


@pytest.mark.parametrize("reply", [{}, {"data": {}}, {"serverTime": 0}, {"time": -5}, None, "soon"])
def test_a_clock_that_tells_no_time(reply):
    with pytest.raises(WireError):
        ServerTime.from_wire(reply)
