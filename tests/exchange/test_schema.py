"""Every documented endpoint answers, and its reply fits what is documented, or here is why not."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from exchange.conftest import NOW_MS

from nkfast.exchange.authentication import Authenticator
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS, DEFAULT_POOLS
from nkfast.exchange.rest import BASE_PATH, Request, RestApi
from nkfast.exchange.traders import Crowd

#: Where the exchange, and we, answer otherwise than documented: the reason, from protocol.md.
ALLOWED = {
    "GET /info: array": "1.4: clients only test for 200; one object is emitted",
    "GET /orderbook: array": "1.4 Book B: one object, as aggregators and clients read it",
    "GET /orderbook/snapshot: array": "1.4 Book C: one object, as the official client reads it",
    "GET /summary[].*": "1.4: documented as Info, clearly wrong; tickers are emitted",
    "*.primaryAsset: object": "Q14: live it is the id",
    "*.secondaryAsset: object": "Q14: live it is the id",
    "*.depositPayId: absent": "1.4: spelled depositPayid on the WebSocket and live",
    "POST /createwithdrawal: status 400": "1.5: the simulator refuses withdrawals with 20012",
}
TYPES = {
    "string": str,
    "number": int | float,
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
}


class Documented:
    """The exchange's own description of its endpoints."""

    def __init__(self, path: Path) -> None:
        self.data = json.loads(path.read_text())

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, methods in self.data["paths"].items():
            for method, operation in methods.items():
                yield method.upper(), path, operation

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in schema:
            return self.resolve(self.data["components"]["schemas"][schema["$ref"].split("/")[-1]])
        # The document wraps what a field is into a property that is called schema.
        inner = schema.get("properties", {})
        if list(inner) == ["schema"]:
            return self.resolve(inner["schema"])
        return schema

    def differences(self, value: Any, schema: dict[str, Any], place: str) -> Iterator[str]:
        schema = self.resolve(schema)
        kind = schema.get("type")
        if value is None:  # nothing says what may be null; absent values are
            return
        is_right = kind is None or isinstance(value, TYPES[kind])
        if isinstance(value, bool) and kind in ("number", "integer"):
            is_right = False
        if not is_right:
            yield f"{place}: {kind}"
            return
        if kind == "array":
            for item in value[:3]:
                yield from self.differences(item, schema["items"], f"{place}[]")
        elif kind == "object":
            for name, inner in schema.get("properties", {}).items():
                if name in value:
                    yield from self.differences(value[name], inner, f"{place}.{name}")
                else:
                    yield f"{place}.{name}: absent"


class Desk:
    """An exchange with a past, and an account with orders and trades."""

    def __init__(self) -> None:
        self.exchange = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS, pools=DEFAULT_POOLS)
        crowd = Crowd(self.exchange, seed=1, speed=1, now_ms=NOW_MS)
        crowd.recall(3600)
        authenticator = Authenticator()
        self.account = self.exchange.open_account("A", crowd.stake())
        authenticator.add_key(self.account, "K", "S")
        self.api = RestApi(self.exchange, authenticator)
        for price in ("70000", "50000"):
            status, order = self.ask("POST", "/createorder", {**self.order(), "price": price})
            assert status == 200, order
        self.order_id = order["id"]

    def order(self) -> dict[str, Any]:
        return {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.001", "price": "40000"}

    def ask(self, method: str, target: str, fields: Any = None) -> tuple[int, Any]:
        credentials = base64.b64encode(b"K:S").decode()
        body = b"" if fields is None else json.dumps(fields).encode()
        reply = self.api.handle(
            Request(
                method,
                BASE_PATH + target,
                {"authorization": f"Basic {credentials}"},
                body,
                ("http://localhost",),
            ),
            NOW_MS,
        )
        return reply.status, json.loads(reply.body)

    def body(self, path: str) -> dict[str, Any]:
        return {
            "/createorder": self.order(),
            "/cancelorder": {"id": self.order_id},
            "/cancelallorders": {"symbol": "BTC/USDT", "side": "all"},
            "/createwithdrawal": {"ticker": "BTC", "quantity": "1", "address": "x"},
        }[path]

    def target(self, path: str, operation: dict[str, Any]) -> str:
        listing = self.exchange.listing("BTC/USDT")
        is_pool = path.startswith("/pool")
        values = {
            "id": self.exchange.assets["BTC"] if "asset" in path else listing.id,
            "ticker": "BTC",
            "symbol": "GRAIN_SAL" if is_pool else "BTC_USDT",
            "ticker_id": "GRAIN_SAL" if is_pool else "BTC_USDT",
            "market": listing.id,
            "resolution": "5",
            "countBack": "10",
            "orderId": self.order_id,
            "since": "0",
            "limit": "10",
            "skip": "0",
        }
        query = []
        for parameter in operation.get("parameters", ()):
            name = parameter["name"]
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", values[name])
            elif parameter.get("required") and not (is_pool and name == "id"):
                query.append(f"{name}={values[name]}")
        return path + "?" + "&".join(query)


def is_like(sentence: str, pattern: str) -> bool:
    head, _, tail = pattern.partition("*")
    return (
        sentence == pattern
        if "*" not in pattern
        else sentence.startswith(head) and sentence.endswith(tail)
    )


@pytest.fixture(scope="module")
def found(shared_data: Path) -> dict[str, list[str]]:
    """The differences of every endpoint."""
    documented = Documented(shared_data / "nonkyc-openapi-1.3.0.json")
    found: dict[str, list[str]] = {}
    for method, path, operation in documented.operations():
        desk = Desk()
        name = f"{method} {path}"
        fields = desk.body(path) if method == "POST" else None
        status, reply = desk.ask(method, desk.target(path, operation), fields)
        if status != 200:
            found[name] = [f"{name}: status {status}"]
            continue
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        found[name] = sorted(set(documented.differences(reply, schema, name)))
    return found


def test_every_documented_endpoint_answers_as_documented(found: dict[str, list[str]]) -> None:
    assert len(found) == 37
    unexplained = [
        sentence
        for sentences in found.values()
        for sentence in sentences
        if not any(is_like(sentence, pattern) for pattern in ALLOWED)
    ]
    assert unexplained == []


def test_every_exception_is_one(found: dict[str, list[str]]) -> None:
    sentences = [sentence for rows in found.values() for sentence in rows]
    unused = [
        pattern
        for pattern in ALLOWED
        if not any(is_like(sentence, pattern) for sentence in sentences)
    ]
    assert unused == []


def test_checker_sees_a_wrong_type(shared_data: Path) -> None:
    documented = Documented(shared_data / "nonkyc-openapi-1.3.0.json")
    schema = {"$ref": "#/components/schemas/Balance"}
    row = {"asset": "BTC", "name": "BTC", "available": 1, "pending": "0", "held": "0"}
    differences = list(documented.differences(row, schema, "row"))
    assert "row.available: string" in differences
