"""The vectors of the reference bot, through nkfast's functions: one test each.

They lie beside the project (``../shared/data/strategy_vectors.json``) or where NKFAST_VECTORS says.
"""

import copy
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from strategies.vectors.registry import ADAPTERS, Words, check, difference

ROOT = Path(__file__).parents[2]
FILE = Path(
    os.environ.get("NKFAST_VECTORS", ROOT.parent / "shared" / "data" / "strategy_vectors.json")
)

for path in sorted((Path(__file__).parent / "vectors").glob("*.py")):
    import_module(f"strategies.vectors.{path.stem}")


def vectors() -> list[Any]:
    if not FILE.exists() and "NKFAST_VECTORS" not in os.environ:
        reason = f"no vectors ({FILE.name} beside the project, or NKFAST_VECTORS)"
        return [pytest.param(None, id="none", marks=pytest.mark.skip(reason=reason))]
    found = json.loads(FILE.read_text())["vectors"]
    assert found, f"{FILE} has no vectors"
    return [pytest.param(vector, id=vector["id"]) for vector in found]


@pytest.mark.parametrize("vector", vectors())
def test_vector(vector: dict[str, Any]) -> None:
    check(vector)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value has numbers and switches."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from leaves(inner, (*place, key))
    elif isinstance(value, bool | int) or (isinstance(value, str) and is_number(value)):
        yield place


def is_number(text: str) -> bool:
    try:
        return bool(Decimal(text).is_finite())
    except ArithmeticError:
        return False


def altered(value: Any, place: tuple[Any, ...]) -> Any:
    """The value with another number at a place."""
    if not place:
        return not value if isinstance(value, bool) else str(Decimal(value) + 1)
    changed = copy.copy(value)
    changed[place[0]] = altered(value[place[0]], place[1:])
    return changed


def test_another_number_would_not_pass() -> None:
    for (vector,) in (parameters.values for parameters in vectors()):
        if vector is None or vector["function"] not in ADAPTERS:
            continue
        name = "expected" if vector["conformance"] == "legacy_defect" else "outputs"
        places = list(leaves(vector[name]))
        unnoticed = [
            place for place in places if passes({**vector, name: altered(vector[name], place)})
        ]
        # What is asked may stand among the outputs: the times of a limiter, the prices of events.
        assert len(unnoticed) <= len(places) // 2, vector["id"]


def passes(vector: dict[str, Any]) -> bool:
    try:
        check(vector)
    except Exception:
        return False
    return True


def test_numbers_agree_to_twenty_digits_and_orders_to_the_last() -> None:
    third = Decimal(1) / 3
    assert difference(third, "0.33333333333333333333333", is_exact=False) is None
    assert difference(third, "0.3333333333333333333", is_exact=False)
    assert difference(third, "0.33333333333333333333333", is_exact=True)
    assert difference({"price": Decimal("1.10")}, {"price": "1.1"}, is_exact=True) is None
    assert difference({"price": 1 + Decimal("1e-24")}, {"price": "1"}, is_exact=False)
    assert difference({"value": 1 + Decimal("1e-24")}, {"value": "1"}, is_exact=False) is None


def test_shapes_and_kinds_must_agree() -> None:
    for got, expected in (
        ({"a": 1, "b": 2}, {"a": 1}),
        ({}, {"a": 1}),
        ([1], [1, 2]),
        (None, "0"),
        (Decimal(0), None),
        (True, 1),
        (1, True),
        ("buy", "sell"),
        (Words(""), "a reason"),
        (Words("a reason"), ""),
        ([], {}),
        ({}, []),
    ):
        assert difference(got, expected, is_exact=True), (got, expected)
    assert difference({"a": 1, "b": 2}, {"a": 1}, is_exact=True, is_partial=True) is None
    assert difference(Words("mine"), "another", is_exact=True) is None


def test_what_nothing_answers_fails() -> None:
    vector = {"id": "x", "function": "f", "inputs": {}, "outputs": 1, "exact": True}
    with pytest.raises(AssertionError, match="nothing of ours answers f"):
        check({**vector, "conformance": "match"})


def test_the_type_of_an_error_counts() -> None:
    function = "utils.profit_calculator.calculate_min_profitable_sell_price"
    inputs = {"buy_price": "1", "total_fee_rate": "1", "fee_buffer_pct": "0"}
    vector = {"id": "x", "function": function, "inputs": inputs, "exact": True}
    for kind in ("ConfigError", "ValueError"):
        check({**vector, "conformance": "match", "outputs": {"raises": kind, "message": ""}})
    for outputs in ({"raises": "KeyError", "message": ""}, {"raises": "Nonsense"}):
        with pytest.raises(AssertionError):
            check({**vector, "conformance": "match", "outputs": outputs})
    with pytest.raises(ValueError, match="takes all"):
        check({**vector, "conformance": "match", "outputs": "1"})
