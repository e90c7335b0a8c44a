"""What keeps a bot from being started, before anything is asked of an exchange."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nkfast.app.cli import main
from nkfast.app.config.bot import load_config
from nkfast.app.exits import ExitCode

GRID = 'symbol = "BTC/USDT"\nstrategy = "grid"\nstep_pct = 0.01\n'
LIMITS = "max_order_notional = 1\nmax_position = 1\nmax_daily_loss = 1\n"


@pytest.fixture
def bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NKFAST_EXCHANGE__REST_URL", "http://127.0.0.1:1/api/v2")
    path = Path("bot.toml")
    path.write_text(GRID + LIMITS)
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="nkfast")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--live",), 'bot.toml: mode is "monitor"; live trading needs mode = "live" there'),
        (("--set", "mode=live"), '--live: mode is "live"; live trading needs the option'),
        (("--set", "mode=live", "--live"), "--live: nobody is here to type BTC/USDT"),
        (("--set", "mode=live", "--live", "--token", "nk-0"), "--token: belongs to another"),
        (("--set", "mode=dry-run"), "--set mode: mode is 'dry-run'; did you mean 'paper'?"),
        (("--set", "mode"), "--set: 'mode' is not KEY=VALUE"),
        (("--name", "../x"), "--name: '../x' is no name for an instance"),
    ],
)
def test_a_bot_that_may_not_start_says_why(bot: Path, words: tuple[str, ...], message: str) -> None:
    result = run("run", str(bot), *words)
    assert result.exit_code == ExitCode.CONFIG
    assert f"error[CONFIG] {message}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("home").exists()


def test_live_without_limits_names_them(bot: Path) -> None:
    bot.write_text(GRID)
    result = run("run", str(bot), "--set", "mode=live", "--live", "--yes")
    assert result.exit_code == ExitCode.CONFIG
    assert "live mode needs max_order_notional, max_position, max_daily_loss" in result.stderr


def test_token_of_the_configuration_arms_it(bot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Armed, it goes on to what is missing next: a key.
    for name in ("NKFAST_API_KEY", "NKFAST_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    token = load_config(bot, [("mode", "live")]).token
    words = ("run", str(bot), "--set", "mode=live", "--live", "--token", token)
    result = run(*words)
    assert (result.exit_code, "no API key" in result.stderr) == (ExitCode.AUTH, True)
    bot.write_text(GRID + LIMITS.replace("1", "2"))
    assert "--token: belongs to another" in run(*words).stderr


def test_exchange_that_is_not_there_is_unreachable(bot: Path) -> None:
    result = run("run", str(bot))
    assert result.exit_code == ExitCode.UNREACHABLE
    assert result.stderr.count("\n") == 1


def test_missing_file_and_strategy_as_a_file(bot: Path) -> None:
    result = run("run", "bto.toml")
    assert (result.exit_code, "did you mean bot.toml?" in result.stderr) == (ExitCode.CONFIG, True)
    result = run("run", "grid", "--set", "step_pct=0.01")
    assert result.stderr == "error[CONFIG] symbol is required, BASE/QUOTE\n"
