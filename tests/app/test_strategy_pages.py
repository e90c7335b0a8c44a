"""What a person reads of a strategy comes from the strategy; a new one works as it is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nkfast.app.cli import main
from nkfast.strategies import load, names
from nkfast.strategies.settings import keys


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="nkfast")


def test_every_strategy_is_listed_with_a_sentence() -> None:
    found = json.loads(run("strategies", "list", "--json").output)
    assert tuple(found) == names()
    assert all(len(summary) > 20 for summary in found.values())
    assert "capped_martingale    A capped martingale: buys" in run("strategies", "list").output


@pytest.mark.parametrize("name", names())
def test_a_page_has_a_row_for_every_key(name: str) -> None:
    text = run("strategies", "show", name).output
    rows = [line for line in text.partition("## Keys")[2].splitlines() if line.startswith("| ")][1:]
    wanted = keys(load(name).settings_type)
    assert [row.split(" | ")[0].strip("| `") for row in rows] == [k.name for k in wanted]
    for row, item in zip(rows, wanted, strict=True):
        assert item.meaning.replace("|", "\\|") in row
        assert item.range in row
    shown = json.loads(run("strategies", "show", name, "--json").output)
    assert [row["name"] for row in shown["keys"]] == [item.name for item in wanted]


def test_a_strategy_of_another_package_has_a_page_made_of_its_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nkfast.app.documents.pages.pages", tuple)
    text = run("strategies", "show", "grid").output
    assert text.startswith("# grid\n\nThe grid: buys below")
    assert "| `step_pct` | number, fraction, more than 0 | none | From level" in text


def test_a_misspelt_strategy_is_named() -> None:
    result = run("strategies", "show", "gird")
    assert result.exit_code == 3
    assert "did you mean 'grid'" in result.stderr


def test_a_new_strategy_passes_its_own_test(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    result = run("strategies", "new", "buy_low", "--out", str(folder))
    assert result.exit_code == 0, result.output
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(folder)])}
    tested = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "5 passed" in tested.stdout, tested.stdout + tested.stderr
    again = run("strategies", "new", "buy_low", "--out", str(folder))
    assert again.exit_code != 0
    assert "buy_low.py" in again.stderr


@pytest.mark.parametrize("name", ["grid", "Bad", "a", "x-y", "../x"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    result = run("strategies", "new", name, "--out", str(tmp_path / "out"))
    assert result.exit_code == 3
    assert not (tmp_path / "out").exists()
