"""Where things are kept; what only other platforms show is left to platformdirs."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.client.nonces import KeyNonces
from nkfast.directories import state_directory
from nkfast.errors import ConfigError


@pytest.mark.skipif(sys.platform != "linux", reason="XDG is of Linux")
def test_linux_keeps_state_where_xdg_says(monkeypatch, tmp_path):
    monkeypatch.delenv("NKFAST_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "nkfast"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_directory() == tmp_path / ".local" / "state" / "nkfast"


def test_a_variable_moves_it(monkeypatch, tmp_path):
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "here"))
    assert state_directory() == tmp_path / "here"
    assert not (tmp_path / "here").exists()  # looking makes nothing


def test_a_place_that_depends_on_where_one_stands_is_refused(monkeypatch):
    monkeypatch.setenv("NKFAST_HOME", "here")
    with pytest.raises(ConfigError, match="NKFAST_HOME: must be an absolute path, was 'here'"):
        state_directory()


def test_nonces_are_kept_there_and_are_their_owners_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "here"))
    KeyNonces("key").next()
    [file] = (tmp_path / "here" / "nonces").iterdir()
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700


def test_the_command_tells_them(monkeypatch, tmp_path):
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path))
    result = CliRunner().invoke(main, ["paths", "--json"])
    assert json.loads(result.output) == {
        "state": str(tmp_path),
        "nonces": str(Path(tmp_path, "nonces")),
    }
