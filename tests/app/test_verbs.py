"""Every verb, gone through by the registry: help, --json, --for, one line for each error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance
from nkfast.trading.journal import Journal

#: What goes on until it is stopped, or for as long as it is told to.
LONG = {
    *("run", "paper", "up", "demo", "guard", "logs", "book"),
    *("exchange serve", "exchange statistics"),
}
#: The verbs that part 7 names.
WANTED = {
    *("demo", "init", "check", "plan", "run", "paper", "replay", "backtest", "markets", "book"),
    *("ticker", "candles", "keys set", "keys test", "keys where", "keys rm", "config show"),
    *("config schema", "config migrate", "config import", "status", "orders", "fills", "balances"),
    *("pnl", "why", "logs", "pause", "resume", "drain", "stop", "kill", "guard", "journal verify"),
    *("export", "exchange serve", "doctor", "bench", "completion", "version"),
    *("up", "ps", "down", "service"),
}


def walk(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


VERBS = dict(walk(main))
GROUPS = [name for name, command in main.commands.items() if isinstance(command, click.Group)]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="nkfast")


def options_of(command: click.Command) -> set[str]:
    return {word for parameter in command.params for word in parameter.opts}


def test_every_verb_is_there() -> None:
    assert WANTED <= VERBS.keys()


@pytest.mark.parametrize("name", VERBS)
def test_verb_explains_itself(name: str) -> None:
    for flag in ("-h", "--help"):
        result = run(*name.split(), flag)
        assert result.exit_code == ExitCode.OK
        assert result.stdout.startswith(f"Usage: nkfast {name}")
    command = VERBS[name]
    assert len(command.help or "") > 20
    assert (command.help or "").rstrip().endswith((".", ":", "]", 'bash)".'))
    assert {"--json", "--debug"} <= options_of(command)
    assert ("--for" in options_of(command)) == (name in LONG)


@pytest.mark.parametrize("name", VERBS)
def test_misspelt_option_names_the_nearest(name: str) -> None:
    result = run(*name.split(), "--jsno")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr == (
        f"error[USAGE] nkfast {name}: no such option --jsno; did you mean --json?\n"
    )


@pytest.mark.parametrize("name", [*GROUPS, ""])
def test_misspelt_verb_names_the_nearest(name: str) -> None:
    group = main.commands[name] if name else main
    assert isinstance(group, click.Group)
    for word in group.commands:
        typed = word[:-1] + "q"
        result = run(*name.split(), typed)
        assert result.exit_code == ExitCode.USAGE
        assert result.stderr.count("\n") == 1
        assert f"no such command {typed}" in result.stderr
        assert len(word) < 5 or "; did you mean " in result.stderr, (word, result.stderr)


@pytest.mark.parametrize("name", VERBS)
def test_error_that_nobody_foresaw_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise ArithmeticError("7 / 0\nsecond line")

    command = VERBS[name]
    monkeypatch.setattr(command, "callback", fail)
    needed = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    for parameter in command.params:
        monkeypatch.setattr(parameter, "required", False)
    assert all(argument.name for argument in needed)
    result = run(*name.split())
    assert result.exit_code == ExitCode.ERROR
    assert result.stderr == (
        "error[ERROR] ArithmeticError: 7 / 0 second line (--debug shows where)\n"
    )
    assert "Traceback" in run(*name.split(), "--debug").stderr


def test_exit_codes_never_change() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        **{"OK": 0, "ERROR": 1, "USAGE": 2, "CONFIG": 3, "AUTH": 4, "UNREACHABLE": 5},
        **{"NOT_FOUND": 6, "WRONG_STATE": 7, "RISK_HALT": 8, "UNRECONCILED": 9},
        **{"INCOMPLETE_STOP": 10, "SIGINT": 130, "SIGTERM": 143},
    }


def test_what_changes_something_says_so_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    monkeypatch.setenv("NKFAST_HOME", str(home))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")

    def said(*words: str, given: str = "") -> Any:
        result = CliRunner().invoke(main, [*words, "--json"], input=given)
        assert result.exit_code == ExitCode.OK, result.output
        return json.loads(result.stdout)

    written = said("init", "grid", "--defaults", "--offline")
    assert (written["wrote"], written["mode"]) == ("grid.toml", "monitor")
    Path("old.yaml").write_text("trading_pair: BTC/USDT\nstrategy: grid\ngrid_spread: 0.01\n")
    imported = said("config", "import", "old.yaml", "--out", "new.toml")
    assert imported["strategy"] == "grid" and len(imported["changes"]) == 2
    assert said("config", "schema", "grid")["title"] == "nkfast bot"
    assert "canary" not in json.dumps(
        said("keys", "set", "--file", "--stdin", given="key-1\ncanary-secret\n")
    )
    assert said("keys", "rm", "--yes") == {"removed": [str(home / "credentials.json")]}
    assert said("strategies", "new", "drift")["wrote"]
    assert "_NKFAST_COMPLETE" in said("completion", "bash")["script"]
    with Journal.open(Instance.named("bot", home).journal, instance="bot") as journal:
        journal.note_life("halted", "MAX_DAILY_LOSS: 12 against the limit 10", 1)
    assert said("kill", "bot")["reason"] == "nkfast kill"
    cleared = said("journal", "clear", "bot", "MAX_DAILY_LOSS")
    assert cleared == {"cleared": "MAX_DAILY_LOSS", "name": "bot"}
