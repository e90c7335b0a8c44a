"""The command line as a user meets it: help, misspellings, one line per error, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nkfast import __version__
from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance, RunRecord
from nkfast.trading.journal import Journal


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="nkfast")


@pytest.mark.parametrize("words", [("exchange",), ("journal",)])
def test_bare_group_shows_its_help(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == ExitCode.OK
    assert "Commands:" in result.stdout


def test_the_root_lists_every_command_once_on_a_line_of_its_own_under_a_heading() -> None:
    result = run()
    assert result.exit_code == ExitCode.OK
    lines = result.stdout.splitlines()
    listed = [line.split()[0] for line in lines[lines.index("First steps:") :] if line[:1] == " "]
    assert sorted(listed) == sorted(main.commands)
    assert max(map(len, lines)) <= 80
    assert "..." not in result.stdout.partition("First steps:")[2]
    named = [name for names in main.sections.values() for name in names]
    assert len(set(named)) == len(named)
    assert set(named) <= set(main.commands)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("dmeo",), "error[USAGE] nkfast: no such command dmeo; did you mean demo?"),
        (("xyzzy",), "error[USAGE] nkfast: no such command xyzzy"),
        (
            ("journal", "verfy"),
            "error[USAGE] nkfast journal: no such command verfy; did you mean verify?",
        ),
        (
            ("demo", "--sede", "7"),
            "error[USAGE] nkfast demo: no such option --sede; did you mean --seed?",
        ),
        (("demo", "extra"), "error[USAGE] nkfast demo: got unexpected extra argument (extra)"),
        (("replay",), "error[USAGE] nkfast replay: missing argument 'TAPE'"),
    ],
)
def test_misspelt_words_end_with_one_line_that_helps(words: tuple[str, ...], line: str) -> None:
    result = run(*words)
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert result.stderr == line + "\n"


@pytest.mark.parametrize(
    "words",
    [
        ("demo", "--for", "soon"),
        ("demo", "--for", "0s"),
        ("demo", "--for", "infs"),
        ("demo", "--for", "nan"),
        ("demo", "--seed", "1.5"),
        ("demo", "--speed", "fast"),
        ("demo", "--speed", "0x"),
        ("exchange", "serve", "--port", "65536"),
    ],
)
def test_value_out_of_range_is_named(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.count("\n") == 1
    assert words[-1] in result.stderr


def test_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    result = run("journal", "verify", str(missing))
    assert result.exit_code == ExitCode.CONFIG
    assert result.stderr == f"error[CONFIG] {missing}: no such file\n"


def test_misspelt_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "grid.db").touch()
    result = run("journal", "verify", str(tmp_path / "gird.db"))
    assert result.exit_code == ExitCode.CONFIG
    assert result.stderr.endswith(f"no such file; did you mean {tmp_path / 'grid.db'}?\n")


def test_a_halt_is_cleared_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    words = ("journal", "clear", str(path), "KILL_SWITCH", "--name")
    assert run(*words, "grid").stderr == f"error[CONFIG] {path}: no such file\n"
    with Journal.open(path, instance="grid") as journal:
        journal.note_life("halted", "MAX_DAILY_LOSS: 12 against the limit 10", 1)
    refused = run(*words, "grid")
    assert refused.exit_code == ExitCode.RISK_HALT
    assert "halted by MAX_DAILY_LOSS: 12 against the limit 10" in refused.stderr
    cleared = run("journal", "clear", str(path), "MAX_DAILY_LOSS", "--name", "grid")
    assert cleared.exit_code == ExitCode.OK
    assert cleared.stdout == "cleared MAX_DAILY_LOSS: grid may be started\n"
    again = run("journal", "clear", str(path), "MAX_DAILY_LOSS", "--name", "grid")
    assert again.exit_code == ExitCode.WRONG_STATE


def test_setting_without_a_value_is_refused(tmp_path: Path) -> None:
    result = run("replay", str(tmp_path / "tape.tsv"), "--set", "step")
    assert result.exit_code == ExitCode.CONFIG
    assert result.stderr == "error[CONFIG] --set: 'step' is not KEY=VALUE\n"


def test_traceback_only_with_debug(tmp_path: Path) -> None:
    words = ("journal", "verify", str(tmp_path / "none.db"))
    assert "Traceback" not in run(*words).stderr
    shown = run(*words, "--debug").stderr
    assert shown.startswith("Traceback")
    assert shown.splitlines()[-1].startswith("error[CONFIG]")


def test_version_tells_what_runs() -> None:
    result = run("version", "--json")
    assert result.exit_code == ExitCode.OK
    record = json.loads(result.stdout)
    assert record["nkfast"] == __version__
    assert record["signing"] in {"sha_ni", "armv8", "portable"}
    assert record["event_loop"] in {"uvloop", "winloop", "asyncio"}


def test_help_loads_nothing_of_the_engine() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['nkfast', '--help']\n"
        "from nkfast.app.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not loaded & {"aiohttp", "asyncio", "numpy", "orjson", "picows", "rich", "sqlite3"}


def test_a_configuration_is_read_without_any_client() -> None:
    code = "import sys, nkfast.app.config.bot\nprint(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(subprocess.check_output([sys.executable, "-P", "-c", code], text=True).split())
    assert "pydantic" in loaded
    assert not loaded & {"aiohttp", "picows", "urllib3", "rich", "sqlite3"}


def test_kill_makes_the_file_that_stops_trading(tmp_path: Path) -> None:
    (tmp_path / "grid-1").mkdir()
    for _ in range(2):  # twice is once
        result = run("kill", "grid-1", "--reason", "because", "--state-dir", str(tmp_path))
        assert result.exit_code == ExitCode.OK
    kill_file = tmp_path / "grid-1" / "kill"
    assert kill_file.read_text() == "because\n"
    assert kill_file.stat().st_mode & 0o777 == 0o600
    assert "nkfast journal clear" in result.stdout


def test_kill_all_stops_what_runs_and_nothing_else(tmp_path: Path) -> None:
    words = ("kill", "--all", "--json", "--state-dir", str(tmp_path))
    assert json.loads(run(*words).stdout)["thrown"] == []
    assert run(*words[:2], *words[3:]).stdout == "no instance runs here\n"
    instances = [Instance.named(name, tmp_path) for name in ("one", "two", "idle")]
    for instance in instances:
        instance.folder.mkdir()
        instance.note_run(RunRecord("paper", "grid", "BTC/USDT", "", "", "http://x", 1, 0))
    with instances[0].held(), instances[1].held():
        thrown = json.loads(run(*words).stdout)["thrown"]
    assert thrown == [str(instance.kill_file) for instance in instances[:2]]
    assert not instances[2].kill_file.exists()
    for instance in instances[:2]:
        instance.kill_file.unlink()
    instances[
        0
    ].kill_file.mkdir()  # nothing can be written there: the other is stopped all the same
    with instances[0].held(), instances[1].held():
        failed = run(*words)
    assert failed.exit_code == ExitCode.CONFIG
    assert json.loads(failed.stdout)["thrown"] == [str(instances[1].kill_file)]
    for wrong in (("kill",), ("kill", "one", "--all")):
        assert run(*wrong, "--state-dir", str(tmp_path)).exit_code == ExitCode.USAGE


def test_kill_of_an_instance_that_nobody_knows(tmp_path: Path) -> None:
    result = run("kill", "grdi-1", "--state-dir", str(tmp_path))
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr.startswith(f"error[NOT_FOUND] {tmp_path / 'grdi-1'}: nothing is known")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["..", "a/b", "", "-x", "a b", "nonces", "x" * 33, "a.b", "\u00e4"]
)
def test_names_that_are_no_names(name: str, tmp_path: Path) -> None:
    result = run("kill", "--state-dir", str(tmp_path), "--", name)
    assert result.exit_code == ExitCode.CONFIG
    assert result.stderr.startswith("error[CONFIG] --name: ")


def test_guard_takes_the_key_that_every_verb_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("guard", "--name", "grid-1", "--state-dir", str(tmp_path), "--for", "0.2s", "--json")
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "home"))
    for name in ("KEY", "SECRET"):
        monkeypatch.delenv(f"NKFAST_API_{name}", raising=False)
    without = run(*words)
    assert without.exit_code == ExitCode.AUTH
    assert "nkfast keys set" in without.stderr
    monkeypatch.setenv("NKFAST_API_KEY", "k")
    monkeypatch.setenv("NKFAST_API_SECRET", "s3cr3t")
    given = run(*words)
    assert given.exit_code == ExitCode.OK
    assert json.loads(given.stdout)["event"] == "watching"
    assert "s3cr3t" not in given.output
    assert run("guard", "--name", "grid-1", "--key", "k").exit_code == ExitCode.USAGE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == ExitCode.OK
    assert f"_NKFAST_COMPLETE={shell}_complete" in result.stdout
