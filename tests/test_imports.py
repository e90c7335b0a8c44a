"""What loads when: counted in modules, because a count does not depend on the machine."""

import subprocess
import sys
from importlib import import_module

import pytest

import nkfast
from nkfast import errors

#: Each takes from 5 to 100 ms, or pulls in what does.
HEAVY = {
    "aiohttp",
    "asyncio",
    "click",
    "email",
    "http",
    "logging",
    "msgspec",
    "numpy",
    "orjson",
    "picows",
    "rich",
    "sqlite3",
    "ssl",
    "urllib3",
    "uvloop",
}


FOUNDING = """
ApiCredentials TradingPair Balance OrderRequest OrderResponse OrderStatus OrderCancelResult
MarketTicker OrderBookSnapshot Trade RestClient AsyncRestClient WebSocketClient
"""


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    command = [sys.executable, "-P", "-c", code]
    return set(subprocess.check_output(command, text=True).split())


def test_the_package_itself_is_light() -> None:
    loaded = loaded_by("import nkfast")
    assert not {name.split(".")[0] for name in loaded} & HEAVY
    # 29 when this was written: `typing` and `importlib`, and what they need.
    assert len(loaded) < 60


NOT_FOR_REST = {"numpy", "picows", "python_socks", "rich", "sqlite3", "uvloop"}


@pytest.mark.parametrize(
    ("name", "unused"),
    [
        ("RestClient", {"aiohttp", "asyncio", *NOT_FOR_REST}),
        ("AsyncRestClient", {"aiohttp_socks", "urllib3", *NOT_FOR_REST}),
        ("WebSocketClient", {"aiohttp", "urllib3", "rich", "sqlite3"}),
        ("Strategy", {"aiohttp", "urllib3", "picows", "rich", "sqlite3"}),
    ],
)
def test_a_name_loads_only_what_it_uses(name: str, unused: set[str]) -> None:
    loaded = {module.split(".")[0] for module in loaded_by(f"from nkfast import {name}")}
    assert not loaded & unused


def test_every_public_name_is_there_and_is_what_its_home_says() -> None:
    for name in nkfast.__all__:
        value = getattr(nkfast, name)
        if name != "__version__":
            assert getattr(import_module(nkfast._HOMES[name]), name) is value
    assert {*nkfast._HOMES, "__version__"} == {*nkfast.__all__}
    assert {name for name in errors.__all__ if name != "Sent"} <= {*nkfast.__all__}


def test_the_names_of_the_founding_document_are_public() -> None:
    assert {*FOUNDING.split()} <= {*nkfast.__all__}
