"""Older files of our own: what would change is shown, what was is kept, comments stay."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nkfast.app.cli import main
from nkfast.app.config.bot import load_config
from nkfast.app.config.migrating import migrate
from nkfast.app.exits import ExitCode
from nkfast.errors import ConfigError

TOML = """# my grid
mode = "paper"  # for now
symbol = "BTC/USDT"
[strategy]
name = "grid"
grid_spread = 0.01  # a percent
total_fee_rate = 0.002
"""
YAML = """# my grid
mode: paper  # for now
symbol: BTC/USDT
strategy: grid
grid_spread: 0.01
"""
JSON = '{"mode": "paper", "symbol": "BTC/USDT", "strategy": "grid",\n "grid_spread": 0.01}\n'


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["config", "migrate", *map(str, words)], prog_name="nkfast")


@pytest.mark.parametrize(("suffix", "text"), [(".toml", TOML), (".yaml", YAML), (".json", JSON)])
def test_older_file_is_shown_and_then_written(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"bot{suffix}"
    path.write_text(text)
    path.chmod(0o640)
    meaning = load_config(path).hash
    shown = run(path)
    assert shown.exit_code == ExitCode.CONFIG
    assert "changed  grid_spread is called step_pct" in shown.stdout
    assert "+" in shown.stdout and path.read_text() == text
    written = run(path, "--write", "--json")
    assert written.exit_code == ExitCode.OK, written.output
    backup = Path(json.loads(written.stdout)["backup"])
    assert backup.read_text() == text
    assert backup.stat().st_mode & 0o777 == path.stat().st_mode & 0o777 == 0o640
    new = path.read_text()
    assert "step_pct" in new and "grid_spread" not in new and "nkfast/1" in new
    assert load_config(path).hash == meaning
    assert load_config(path).common.schema_ == "nkfast/1"
    kept = [line for line in text.splitlines() if "#" in line and "spread" not in line]
    assert all(line in new for line in kept)
    assert run(path).stdout == f"{path} is of this version\n"
    assert sorted(tmp_path.iterdir()) == sorted([path, backup])


def test_backups_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    for _ in range(2):
        path.write_text(TOML)
        assert run(path, "--write").exit_code == ExitCode.OK
    assert {file.name for file in tmp_path.iterdir()} == {
        *("bot.toml", "bot.toml.bak", "bot.toml.bak.1")
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('schema = "nkfast/7"\n' + TOML, "bot.toml:1:1: 'nkfast/7' is not known; this nkfast"),
        (
            TOML.replace("grid_spread", "setp_pct"),
            "unknown key 'setp_pct'; did you mean 'step_pct'",
        ),
        (
            TOML + "grid_levels = 5\n",
            "bot.toml:8:1: 'grid_levels' stands for n_buy_levels and n_sell_levels: write them",
        ),
    ],
)
def test_what_cannot_be_migrated_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bot.toml"
    path.write_text(text)
    result = run(path, "--write")
    assert result.exit_code == ExitCode.CONFIG
    assert message in result.stderr
    assert path.read_text() == text


def test_file_that_changed_or_would_mean_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    path.write_text(TOML)
    migration = migrate(path)
    wrong = migration._replace(after=migration.after.replace("0.01", "0.02"))
    with pytest.raises(ConfigError, match="would mean something else"):
        wrong.write()
    assert path.read_text() == TOML
    path.write_text(TOML.replace("0.01", "0.03"))
    with pytest.raises(ConfigError, match="has changed meanwhile"):
        migration.write()
    assert list(tmp_path.iterdir()) == [path]


def test_other_version_is_refused_by_every_verb(tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    path.write_text('schema = "nkfast/7"\n' + TOML)
    result = CliRunner().invoke(main, ["check", str(path), "--offline"])
    assert result.exit_code == ExitCode.CONFIG
    assert "schema is 'nkfast/7'; this nkfast reads 'nkfast/1'" in result.stderr
