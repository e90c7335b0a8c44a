"""The unit that systemd runs, what a run tells it, and the image that containers run."""

import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.service import ServiceManager, unit

KINDS = [("run", False), ("run", True), ("up", False), ("up", True)]


def command_of(line: str) -> click.Command:
    """Return the verb of a command line, whose options must all be known."""
    verb, *words = shlex.split(line)[1:]
    command = main.commands[verb]
    with main.make_context("nkfast", [verb]) as parent:
        command.make_context(verb, words, parent=parent)
    return command


@pytest.mark.parametrize(("kind", "is_live"), KINDS)
def test_the_unit_runs_what_the_command_line_knows(kind, is_live):
    text = unit(kind, is_live=is_live, executable=Path("/opt/nkfast"))
    [line] = re.findall(r"^ExecStart=(/opt/nkfast .*)$", text, re.MULTILINE)
    assert command_of(line) is main.commands[kind]
    assert ("--live" in line) is ("LoadCredential=" in text) is is_live
    never = re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)[0].split()
    assert {int(code) for code in never} == set(ExitCode) - {
        *(ExitCode.OK, ExitCode.ERROR, ExitCode.UNREACHABLE, ExitCode.SIGINT, ExitCode.SIGTERM)
    }
    printed = CliRunner().invoke(
        main, ["service", *["--fleet"] * (kind == "up"), *["--live"] * is_live]
    )
    assert printed.stdout.splitlines()[3:14] == unit(kind, is_live=is_live).splitlines()[3:14]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize(("kind", "is_live"), KINDS)
def test_systemd_understands_the_unit_and_finds_it_safe(kind, is_live, tmp_path):
    # Root, as whom containers test, may be named here: verify looks for the command.
    path = tmp_path / "nkfast@grid.service"
    path.write_text(unit(kind, is_live=is_live, executable=Path(sys.executable)))
    checked = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    # 20 of 100: what a service of the network that writes into one folder can hardly better.
    safe = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert safe.returncode == 0, safe.stdout[-300:]


@pytest.mark.skipif(sys.platform == "win32", reason="no such sockets there")
def test_the_service_manager_hears_of_beginning_life_and_end(tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        told = ServiceManager()
        for _ in range(2):
            told.alive()
        told.close()
        told.close()
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    told = ServiceManager()
    told.alive()  # nobody listens any more
    told.close()
    monkeypatch.delenv("NOTIFY_SOCKET")
    ServiceManager().alive()


def test_the_image_is_made_of_what_is_there_and_runs_without_root(root):
    lines = re.sub(r"\\\n\s*", "", (root / "Dockerfile").read_text()).splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    stages = [number for number, (word, _) in enumerate(steps) if word == "FROM"]
    copied = [
        name
        for word, rest in steps[stages[0] : stages[1]]
        if word == "COPY"
        for name in rest.split()[:-1]
    ]
    assert copied and all((root / name).exists() for name in copied)
    ignored = (root / ".dockerignore").read_text().split()
    assert ignored[0] == "*" and {f"!{name}" for name in copied} <= set(ignored)
    final = dict(steps[stages[1] :])
    assert int(final["USER"]) > 0 and final["VOLUME"] == "/state"
    assert "NKFAST_HOME=/state" in final["ENV"]
    check = re.findall(r"CMD (\[.*\])", final["HEALTHCHECK"])[0]
    assert command_of(" ".join(re.findall(r'"([^"]+)"', check))) is main.commands["ps"]


def test_a_check_fails_where_nothing_runs(tmp_path):
    words = ["ps", "--check", "--state-dir", str(tmp_path)]
    assert CliRunner().invoke(main, words).exit_code == ExitCode.WRONG_STATE
