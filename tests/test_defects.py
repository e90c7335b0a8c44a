"""The 68 defects of the bot that nkfast follows: each has a test named after it, or a reason.

``D-47`` is a test ``test_d47_...`` in any room; a test may bear several (``test_d05_d06_...``).
Where a defect lies in a room whose tests have names of their own, the test is named here.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "nkfast"
DEFECTS = range(1, 69)
_TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
_SOURCES = {".py", ".pyx", ".pyi", ".pxd"}
_NUMBERS = re.compile(r"d(\d\d)(?=_)")

#: Of the client, the language, the configuration and the command line.
ELSEWHERE = {
    29: "client/test_rest.py::test_every_row_of_the_table_has_its_method",
    30: "client/test_nonces.py::test_processes_at_once_get_different_nonces",
    31: "client/test_websocket.py::test_a_close_loop_opens_the_breaker",
    32: "system/test_run.py::test_live_trades_and_leaves_nothing_behind",
    49: "client/test_throttle.py::test_a_burst_goes_at_once_and_the_rest_at_the_rate",
    50: "client/test_time_sync.py::test_half_the_round_trip_is_taken_out",
    51: "wire/test_models.py::test_a_dead_market_has_no_price",
    52: "wire/test_codec.py::test_the_code_decides_over_the_status_for_a_new_order",
    53: "client/test_rest.py::test_both_clients_have_the_same_methods",
    56: "app/test_credentials.py::test_half_a_pair_is_never_completed_from_elsewhere",
    58: "client/test_rest.py::test_the_client_shows_no_secret",
    62: "app/test_credentials.py::test_sources_are_asked_in_their_order",
}
#: Nothing of ours could have it, and why.
NOT_OURS = {
    59: "a strategy's state is made of what it returns; settings and keys are never part of it",
}


def _named() -> Iterator[tuple[int, str]]:
    for path in TESTS.rglob("test_*.py"):
        for name in _TEST.findall(path.read_text()):
            prefix = re.match(r"test_((?:d\d\d_)+)", name)
            for number in _NUMBERS.findall(prefix[1] if prefix else ""):
                yield int(number), f"{path.relative_to(TESTS)}::{name}"


NAMED: dict[int, list[str]] = {}
for _number, _where in _named():
    NAMED.setdefault(_number, []).append(_where)


@pytest.mark.parametrize("number", DEFECTS, ids=lambda number: f"D-{number:02}")
def test_a_defect_has_a_test_or_a_reason(number: int) -> None:
    said = [table for table in (NAMED, ELSEWHERE, NOT_OURS) if number in table]
    assert len(said) == 1, f"D-{number:02} is said in {len(said)} places"


def test_no_test_is_named_after_a_defect_that_nobody_knows() -> None:
    assert set(NAMED) <= set(DEFECTS)


@pytest.mark.parametrize("where", ELSEWHERE.values())
def test_what_is_said_to_be_elsewhere_is_there(where: str) -> None:
    path, _, name = where.partition("::")
    assert name in _TEST.findall((TESTS / path).read_text())


def test_d63_no_module_is_shipped_that_nothing_uses() -> None:
    # The reference advertised an order manager, risk controls and a socket that no bot used. The
    # rooms of `app` are entered by commands, which have a test each.
    texts = {path: path.read_text() for path in PACKAGE.rglob("*.py*") if path.suffix in _SOURCES}
    unused = []
    for path in texts:
        room = path.relative_to(PACKAGE).parts[0]
        if path.stem.startswith("__") or path.suffix == ".pyi" or room in ("app", "examples"):
            continue
        dotted = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        package, _, name = dotted.rpartition(".")
        uses = re.compile(
            rf"{re.escape(dotted)}\b|from {re.escape(package)} c?import [^\n]*\b{name}\b"
        )
        others = (
            text for other, text in texts.items() if other.with_suffix("") != path.with_suffix("")
        )
        if not any(map(uses.search, others)):
            unused.append(dotted)
    assert unused == []


def test_d64_every_file_of_tests_has_some() -> None:
    # The reference kept tests of a module that no longer existed in files that nothing collects.
    assert not list(TESTS.rglob("*.disabled"))
    for path in TESTS.rglob("*.py"):
        tests = _TEST.findall(path.read_text())
        assert bool(tests) == path.name.startswith("test_"), path
