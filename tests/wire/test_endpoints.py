import json
import re

import pytest

from nkfast.wire.endpoints import ENDPOINTS

#: What the venue's documentation, its clients, and others that ran against it ask for, by our
#: knowledge of the protocol (1.4 and 1.5): path and parameters, "!" after those that are needed.
PUBLIC = """
/time
/getservertime
/info
/asset/getlist
/asset/info  id ticker
/asset/getbyid/{}
/asset/getbyticker/{}
/market/getlist
/market/info  id symbol
/market/getbyid/{}
/market/getbysymbol/{}
/market/orderbook  symbol marketId limit
/market/getorderbookbysymbol/{}
/market/getorderbookbymarketid/{}
/orderbook  ticker_id! depth
/orderbook/snapshot  market!
/orders/snapshot  market!
/market/candles  symbol! resolution! countBack! from to firstDataRequest
/market/trades  symbol! limit
/historical_trades  ticker_id! limit
/trades  market! since
/pool/trades  ticker_id! limit
/historical_pooltrades                  ticker_id! limit
/tickers
/ticker/{}
/pairs
/markets  type
/summary
/cmcassets
/cmctickers
/cmcorderbook/{}
/cmctrades/{}
/pool/getlist
/pool/info  id symbol
/pool/getbyid/{}
/pool/getbysymbol/{}
"""
PRIVATE = """
/balances
/getorder/{}
/account/orders  symbol status limit skip since
/getorders  symbol status limit skip since
/account/trades  symbol limit skip since
/gettrades  symbol limit skip since
/gettradessince  symbol limit! skip! since!
/getpooltrades  symbol limit skip since
/getpooltradessince  symbol limit! skip! since!
/getdepositaddress/{}
/getdeposits  ticker limit skip since
/getwithdrawals  ticker limit skip since
"""
CHANGES = """
/createorder  symbol! side! quantity! type price userProvidedId strictValidate
/cancelorder  id!
/cancelallorders  symbol! side!
/createwithdrawal  ticker! quantity! address! paymentid
"""


def bare(path):
    return re.sub(r"\{\w+\}", "{}", path)


def test_every_documented_endpoint_is_there_with_its_parameters(shared_data):
    described = json.loads((shared_data / "nonkyc-openapi-1.3.0.json").read_text())
    rows = {(row.method, bare(row.path)): row for row in ENDPOINTS.values()}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            row = rows[method.upper(), bare(path)]
            assert row.is_private == bool(operation.get("security")), path
            schema = (
                operation.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("schema", {})
            )
            if "$ref" in schema:
                schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            documented = set(schema.get("properties", {})) | {
                parameter["name"]
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "query"
            }
            ours = {
                parameter.wire_name
                for parameter in row.parameters
                if "{" + parameter.name + "}" not in row.path
            }
            # The description asks for `id` and `symbol` at once where either is enough.
            assert ours == documented, path


@pytest.mark.parametrize(
    ("table", "method", "is_private"),
    [(PUBLIC, "GET", False), (PRIVATE, "GET", True), (CHANGES, "POST", True)],
)
def test_the_table_is_the_protocols(table, method, is_private):
    ours = {}
    for row in ENDPOINTS.values():
        if (row.method, row.is_private) == (method, is_private):
            ours[bare(row.path)] = {
                parameter.wire_name + "!" * parameter.required
                for parameter in row.parameters
                if "{" + parameter.name + "}" not in row.path
            }
    lines = [line.split() for line in table.strip().splitlines()]
    assert ours == {path: set(parameters) for path, *parameters in lines}


def test_rows_are_consistent():
    assert len({(row.method, row.path) for row in ENDPOINTS.values()}) == len(ENDPOINTS)
    for name, row in ENDPOINTS.items():
        assert name == row.name and name.isidentifier()
        assert row.is_private or row.rate_class == "public"
        assert row.changes == (
            row.rate_class in ("orders", "cancels") or row.name == "create_withdrawal"
        )
        names = [parameter.name for parameter in row.parameters]
        assert len(set(names)) == len(names)
        assert set(re.findall(r"\{(\w+)\}", row.path)) <= {
            parameter.name for parameter in row.parameters if parameter.required
        }


def test_cancels_have_an_allowance_of_their_own():
    classes = {row.name: row.rate_class for row in ENDPOINTS.values() if row.changes}
    assert classes == {
        "create_order": "orders",
        "cancel_order": "cancels",
        "cancel_all_orders": "cancels",
        "create_withdrawal": "private",
    }
