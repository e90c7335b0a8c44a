import json
import re

import pytest

from nkfast.wire.endpoints import ENDPOINTS

#: Every path of the venue's own documentation and clients, apart from the OpenAPI description.
LEGACY = """
/getservertime /asset/getbyid/{} /asset/getbyticker/{} /market/getbyid/{} /market/getbysymbol/{}
/market/getorderbookbysymbol/{} /market/getorderbookbymarketid/{} /orders/snapshot
/historical_trades /historical_pooltrades /pool/getbyid/{} /pool/getbysymbol/{}
/getorders /gettrades /getpooltrades
""".split()


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


@pytest.mark.parametrize("path", LEGACY)
def test_legacy_paths_are_there(path):
    assert path in {bare(row.path) for row in ENDPOINTS.values()}


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
