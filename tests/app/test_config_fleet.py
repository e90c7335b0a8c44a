"""The file of a fleet: everything that is wrong in it and its bots' files, at once, with places."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nkfast.app.cli import main
from nkfast.app.config.fleet import load_fleet
from nkfast.app.exits import ExitCode
from nkfast.errors import ConfigErrors

BOT = 'symbol = "BTC/USDT"\nstrategy = "grid"\nstep_pct = 0.01\nbase_order_size = 0.01\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.toml").write_text(BOT)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text)
    return path


def test_each_bot_is_its_file_with_what_differs(folder):
    path = written(
        folder,
        '[restart]\nmost = 3\n[bots.a]\nconfig = "bot.toml"\n[bots.b]\nconfig = "bot.toml"\n'
        'set = { mode = "paper", "strategy.step_pct" = "${STEP:-0.02}" }\n',
    )
    fleet = load_fleet(path, {})
    assert (fleet.name, fleet.restarts.most, fleet.restarts.window_s) == ("fleet", 3, 3600)
    assert [bot.common.mode for bot in fleet.bots.values()] == ["monitor", "paper"]
    assert fleet.bots["b"].values()["strategy.step_pct"] == "0.02"
    assert fleet.live == ()
    # A grid keeps what rests; pretended orders rest nowhere when their process has ended.
    assert [bot.on_exit for bot in fleet.bots.values()] == ["keep", "cancel"]
    assert fleet.hash != load_fleet(path, {"STEP": "0.03"}).hash


def test_everything_that_is_wrong_is_said_at_once_with_its_place(folder):
    (folder / "bad.toml").write_text(BOT + "setp = 1\n")
    path = written(
        folder,
        "wrong = 1\n[restart]\nmots = 3\nwindow_s = -1\n"
        '[bots.a]\nconfig = "bot.toml"\nset = { mode = "dryrun" }\n'
        '[bots.b]\nconfig = "none.toml"\n[bots.c]\nconfg = "bot.toml"\n'
        '[bots.d]\nconfig = "bad.toml"\n[bots]\ne = 1\n',
    )
    with pytest.raises(ConfigErrors) as caught:
        load_fleet(path, {})
    found = {problem.place: problem.message for problem in caught.value.problems}
    fleet = str(path)
    assert "known: restart, bots" in found[f"{fleet}:1:1"]
    assert "did you mean 'most'" in found[f"{fleet}:3:1"]
    assert "window_s" in found[f"{fleet}:4:1"]
    assert "paper" in found[f"{fleet}:7:9"]
    assert "none.toml" in found[f"{fleet}:9:1"]
    assert "did you mean 'config'" in found[f"{fleet}:11:1"]
    assert "did you mean 'step_pct'" in found[f"{folder / 'bad.toml'}:5:1"]


@pytest.mark.parametrize("text", ["", "bots = 1\n", "[bots]\n"])
def test_a_fleet_has_bots(folder, text):
    with pytest.raises(ConfigErrors, match=r"\[bots.NAME\]"):
        load_fleet(written(folder, text), {})


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--state-dir", str(folder / "state")])


def test_real_money_is_a_decision(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert run(folder, "up").exit_code == ExitCode.CONFIG
    written(folder, '[bots.a]\nconfig = "bot.toml"\n')
    result = run(folder, "up", "--live")
    assert (result.exit_code, "no bot has mode" in result.stderr) == (ExitCode.CONFIG, True)
    written(folder, '[bots.a]\nconfig = "bot.toml"\nset = { mode = "live" }\n')
    assert "needs the option --live" in run(folder, "up").stderr
    assert "max_" in run(folder, "up", "--live", "--yes").stderr
    limits = "max_order_notional = 10\nmax_position = 1\nmax_daily_loss = 10\n"
    (folder / "bot.toml").write_text(BOT + limits)
    assert "give --yes" in run(folder, "up", "--live").stderr
    assert not (folder / "state").exists()


def test_nothing_runs(folder):
    shown = run(folder, "ps", "--json")
    assert (shown.exit_code, json.loads(shown.stdout)) == (ExitCode.OK, [])
    assert "nothing runs" in run(folder, "ps").stdout
    assert run(folder, "down").exit_code == ExitCode.CONFIG
    assert run(folder, "down", "grid").exit_code == ExitCode.NOT_FOUND
