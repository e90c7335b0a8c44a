"""The benchmarks compare like with like, and their results say where nkfast is not ahead."""

import importlib
import sys
from pathlib import Path

import interleaved
import pytest
from interleaved import Comparison

sys_path_before = list(sys.path)
results = importlib.import_module("results")
sys.path[:] = sys_path_before  # results.py puts its folder there, for those who run it


def nothing() -> None:
    pass


def comparison(**changes: object) -> Comparison:
    fields = {"title": "work", "candidates": {"nkfast": nothing, "peer": nothing}, **changes}
    return Comparison(**fields)


@pytest.mark.parametrize("name", results.module_names())
def test_every_candidate_runs(name: str) -> None:
    for compared in results.comparisons_of(name):
        medians = compared.measure(repeats=1)
        assert all(ns > 0 for ns in medians.values()), compared.title
        assert medians.keys() == compared.candidates.keys()


def test_work_done_per_call_divides_the_time() -> None:
    one = comparison(candidates={"peer": lambda: sum(range(2000))})
    many = comparison(candidates={"peer": lambda: sum(range(2000))}, units={"peer": 1000})
    assert many.measure(11)["peer"] < one.measure(11)["peer"] / 100


def test_slow_candidate_is_timed_in_fewer_rounds(monkeypatch) -> None:
    monkeypatch.setattr(interleaved, "CANDIDATE_NS_MAX", 1)
    monkeypatch.setattr(interleaved, "CALLS_MAX", 1)
    calls = []
    interleaved.compare({"slow": lambda: calls.append(1)}, repeats=50)
    assert len(calls) == 1 + 5  # one to see how slow, then ROUNDS_MIN
    calls.clear()
    monkeypatch.undo()
    monkeypatch.setattr(interleaved, "CALLS_MAX", 1)
    interleaved.compare({"fast": lambda: calls.append(1)}, repeats=50)
    assert len(calls) == 1 + 50


@pytest.mark.parametrize("field", ["goals", "units", "limits_ns"])
def test_misspelt_candidate_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="work: no candidate is called \\['per'\\]"):
        comparison(**{field: {"per": 2}})


def test_goal_is_reached_or_missed() -> None:
    compared = comparison(goals={"peer": 2.0}, limits_ns={"nkfast": 300})
    reached = "\n".join(results.table(compared, {"nkfast": 100.0, "peer": 200.0}))
    missed = "\n".join(results.table(compared, {"nkfast": 301.0, "peer": 600.0}))
    assert "| nkfast | 100 |  | max 300 ns | reached |" in reached
    assert "| peer | 200 | 2.00 | 2 x | reached |" in reached
    assert "| nkfast | 301 |  | max 300 ns | **missed** |" in missed
    assert "| peer | 600 | 1.99 | 2 x | **missed** |" in missed


@pytest.mark.parametrize(
    ("changes", "medians", "expected"),
    [
        ({}, {"nkfast": 100.0, "peer": 101.0}, []),
        ({}, {"nkfast": 100.0, "peer": 99.0}, ["* work, peer: 0.99"]),
        (
            {"goals": {"peer": 2}},
            {"nkfast": 100.0, "peer": 150.0},
            ["* work, peer: 1.50, goal 2 x"],
        ),
        ({"goals": {"peer": 0.5}}, {"nkfast": 100.0, "peer": 60.0}, []),
        (
            {"goals": {"peer": 0.5}},
            {"nkfast": 100.0, "peer": 40.0},
            ["* work, peer: 0.40, goal 0.5 x"],
        ),
        (
            {"limits_ns": {"nkfast": 99}},
            {"nkfast": 100.0, "peer": 400.0},
            ["* work, nkfast: 100 ns, goal max 99 ns"],
        ),
    ],
)
def test_results_name_what_is_not_ahead(changes, medians, expected) -> None:
    assert results.behind(comparison(**changes), medians) == expected


def test_results_file_is_one_that_the_command_writes() -> None:
    text = Path(results.RESULTS).read_text(encoding="utf-8")
    assert text.startswith("# Results\n\nWritten by `python -P benchmarks/results.py")
    for name in ("processor", "versions", "## Where nkfast is not ahead"):
        assert name in text
