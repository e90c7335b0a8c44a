"""Every code that the engine counts or halts by has a meaning, and no meaning is without a code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nkfast.trading
from nkfast.trading.reason_codes import MEANINGS, meaning_of

ROOM = Path(nkfast.trading.__file__).parent
CODE = re.compile(r"[A-Z]+(_[A-Z0-9]+)*")
#: Calls whose arguments are codes.
COUNTING = {"count", "halt", "_halt", "RiskError", "HaltedError", "_spend", "_on_anomaly"}


def name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def literals(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text()))


def counted() -> set[str]:
    """Return every literal code in a call that counts, refuses or halts."""
    return {
        argument.value
        for path in ROOM.glob("*.py")
        for node in literals(path)
        if isinstance(node, ast.Call) and name_of(node.func) in COUNTING
        for argument in node.args
        if isinstance(argument, ast.Constant)
        and isinstance(argument.value, str)
        and CODE.fullmatch(argument.value)
    }


def test_every_code_has_a_meaning() -> None:
    codes = counted()
    assert len(codes) > 40
    assert codes - MEANINGS.keys() == set()


def test_every_meaning_has_a_code() -> None:
    written = {
        node.value
        for path in ROOM.glob("*.py")
        if path.name != "reason_codes.py"
        for node in literals(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    ends = {f"PLAN_{result.upper()}" for result in ("done", "missed", "unwound", "held")}
    assert MEANINGS.keys() - written - ends == set()


def test_a_venues_own_code_and_a_strategys() -> None:
    assert meaning_of("REJECTED_20001") == meaning_of("REJECTED") == MEANINGS["REJECTED"]
    assert meaning_of("LEVEL_BUSY") == ""
