import json
import logging
import threading

import pytest

from nkfast.errors import WireError
from nkfast.wire import known_fields, models
from nkfast.wire.codec import read_models
from nkfast.wire.endpoints import ENDPOINTS
from nkfast.wire.known_fields import KNOWN_FIELDS, unknown_fields, unreadable_rows
from nkfast.wire.models import Balance, Document, Message

ROW = {"asset": "BTC", "available": "1", "held": "0"}


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch):
    monkeypatch.setattr(known_fields, "_shapes", {name: set() for name in KNOWN_FIELDS})
    monkeypatch.setattr(known_fields, "_unknown", {})
    monkeypatch.setattr(known_fields, "_unreadable", {})


def test_a_field_that_nobody_knows_is_ignored_kept_and_told_once(caplog):
    caplog.set_level(logging.INFO)
    for _ in range(3):
        balance = Balance.from_wire({**ROW, "staked": "2"})
        Balance.from_wire({"staked": "3", **ROW})  # another order is another shape
    assert balance.raw["staked"] == "2"
    assert unknown_fields() == {"Balance": {"staked"}}
    assert [record.getMessage() for record in caplog.records] == [
        "Balance has a field that is not known: 'staked'"
    ]


def test_known_fields_and_objects_without_a_description_are_not_told():
    Balance.from_wire(ROW)
    Document.from_wire({"anything": 1})
    assert unknown_fields() == {}


def test_a_venue_that_makes_up_names_costs_no_memory():
    for number in range(1000):
        Balance.from_wire({**ROW, "x" * 1000 + str(number): 1, str(number): 1})
    [names] = unknown_fields().values()
    assert len(names) <= known_fields.NAMES_MAX and max(map(len, names)) <= known_fields.NAMES_MAX
    assert len(known_fields._shapes["Balance"]) <= known_fields.SHAPES_MAX


def test_threads_tell_once(caplog):
    caplog.set_level(logging.INFO)
    threads = [
        threading.Thread(target=Balance.from_wire, args=({**ROW, "staked": 1},)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.records) == 1


def test_every_model_but_the_undescribed_is_known():
    kinds = {row.reply.__name__ for row in ENDPOINTS.values()} | {"OrderReport"}
    assert kinds - {"Document"} == set(KNOWN_FIELDS)
    assert all(issubclass(getattr(models, name), Message) for name in KNOWN_FIELDS)


def test_what_the_venue_describes_is_known(shared_data):
    described = json.loads((shared_data / "nonkyc-openapi-1.3.0.json").read_text())
    schemas = described["components"]["schemas"]
    rows = {row.path.partition("{")[0]: row for row in ENDPOINTS.values()}
    seen = 0
    for path, methods in described["paths"].items():
        for operation in methods.values():
            content = operation["responses"]["200"]["content"]
            schema = content["application/json"]["schema"]
            schema = schema.get("items", schema)
            if "$ref" in schema:
                schema = schemas[schema["$ref"].rpartition("/")[2]]
            row = rows[path.partition("{")[0]]
            if row.reply_key:
                schema = schemas["CandlestickItem"]
            if row.reply is Document:
                continue
            seen += 1
            assert set(schema.get("properties", {})) <= KNOWN_FIELDS[row.reply.__name__], path
    assert seen > 25


GOOD = {
    "get_markets": {"id": "1", "symbol": "A/B", "priceDecimals": 2, "quantityDecimals": 2},
    "get_assets": {"id": "1", "ticker": "A"},
    "get_tickers": {"ticker_id": "A_B", "last_price": "1"},
    "get_pools": {"id": "1", "symbol": "A/B"},
    "get_balances": {"asset": "A", "available": "1", "held": "0"},
    "get_deposits": {"id": "1", "ticker": "A", "quantity": "1"},
}


@pytest.mark.parametrize("name", GOOD)
def test_one_odd_row_takes_away_no_other_unless_it_would_be_missed(caplog, name):
    row, good = ENDPOINTS[name], GOOD[name]
    rows = [good, "odd", good, None, good]
    if row.is_private:
        with pytest.raises(WireError):
            read_models(row, rows)
        assert unreadable_rows() == {}
        return
    for _ in range(2):
        assert [found.raw for found in read_models(row, rows)] == [good] * 3
    assert unreadable_rows() == {row.reply.__name__: 4}
    assert len(caplog.records) == 1 and "left out" in caplog.text
    with pytest.raises(WireError):
        read_models(row, ["odd", None])  # that is no list of them at all
    assert read_models(row, []) == []


@pytest.mark.parametrize("name", ["get_trades", "get_candles", "get_orders", "get_account_trades"])
def test_nothing_is_left_out_where_that_would_not_be_seen(name):
    row = ENDPOINTS[name]
    with pytest.raises(WireError):
        read_models(row, {row.reply_key: ["odd"]} if row.reply_key else ["odd"])
    assert unreadable_rows() == {}
