"""The key: both halves from one source, named, and shown to nobody."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from click.testing import CliRunner
from keyring.backend import KeyringBackend

from nkfast.app.cli import main
from nkfast.app.credentials import credentials_file, find_credentials, require_credentials
from nkfast.app.exits import ExitCode
from nkfast.errors import AuthenticationError, ConfigError

CANARY = "canary-81f0c2"


class MemoryKeyring(KeyringBackend):
    """A keyring that forgets everything with the test."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryKeyring]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "home"))
    for name in os.environ:
        if name.startswith(("NKFAST_API", "NONKYC_API")):
            monkeypatch.delenv(name)
    backend = MemoryKeyring()
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def write(path: Path, content: object, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    path.chmod(mode)


def test_sources_are_asked_in_their_order(tmp_path: Path, kept: MemoryKeyring) -> None:
    assert find_credentials({}).credentials is None
    pair = json.dumps({"api_key": "ring", "api_secret": "s4"})
    kept.set_password("nkfast", "credentials", pair)
    assert find_credentials({}).source == "keyring"
    write(Path("nonkyc_settings.json"), {"access_key": "official", "secret_key": "s3"})
    assert find_credentials({}).source == "nonkyc_settings.json"
    write(credentials_file(), {"api_key": "file", "api_secret": "s2"})
    found = find_credentials({})
    assert (found.source, found.credentials.api_key) == (str(credentials_file()), "file")  # type: ignore[union-attr]
    (tmp_path / "secret").write_text("s1\n")
    variables = {"NKFAST_API_KEY": "variable", "NKFAST_API_SECRET_FILE": str(tmp_path / "secret")}
    found = find_credentials(variables)
    assert found.credentials is not None
    assert (found.credentials.api_key, found.credentials.api_secret) == ("variable", "s1")
    old = find_credentials({"NONKYC_API_KEY": "old", "NONKYC_API_SECRET": "s0"})
    assert old.credentials is not None and old.credentials.api_key == "old"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"NKFAST_API_KEY": CANARY}, "NKFAST_API_SECRET"),
        ({"NKFAST_API_SECRET": CANARY}, "NKFAST_API_KEY"),
        ({"NONKYC_API_SECRET": CANARY}, "NONKYC_API_KEY"),
        ({"NKFAST_API_KEY": "k", "NKFAST_API_SECRET_FILE": "nowhere"}, "NKFAST_API_SECRET_FILE"),
        ({"NKFAST_API_KEY": "k", "NKFAST_API_SECRET": f"{CANARY} x"}, "NKFAST_API_KEY"),
        (
            {"NKFAST_API_KEY": "k", "NKFAST_API_SECRET": CANARY, "NKFAST_API_SECRET_FILE": "x"},
            "NKFAST_API_SECRET",
        ),
    ],
)
def test_half_a_pair_is_never_completed_from_elsewhere(
    variables: dict[str, str], place: str
) -> None:
    write(credentials_file(), {"api_key": "file", "api_secret": "s2"})
    with pytest.raises(ConfigError) as raised:
        find_credentials(variables)
    assert raised.value.place == place
    assert CANARY not in str(raised.value)


def test_files_that_cannot_be_trusted_are_refused() -> None:
    write(credentials_file(), {"api_key": "k", "api_secret": CANARY}, 0o644)
    if sys.platform != "win32":
        with pytest.raises(ConfigError, match=r"others can read it .mode 644.: chmod 600"):
            find_credentials({})
    for content in ({"api_key": "k"}, {"api_key": "k", "api_secret": 5}):
        write(credentials_file(), content)
        with pytest.raises(ConfigError, match="needs both api_key and api_secret"):
            find_credentials({})
    credentials_file().write_text(f'{{"api_key": "{CANARY}')
    with pytest.raises(ConfigError) as raised:
        find_credentials({})
    assert CANARY not in str(raised.value)


def test_missing_key_says_who_was_asked() -> None:
    with pytest.raises(AuthenticationError) as raised:
        require_credentials({})
    for source in ("variables: has none", "credentials.json: has none", "keyring: has none"):
        assert source in str(raised.value)


def test_locked_keyring_is_said_and_ends_nothing(
    kept: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: str) -> str:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(kept, "get_password", locked)
    assert find_credentials({}).asked[-1] == ("keyring", "RuntimeError")


def test_keyring_that_is_not_installed_is_said_and_a_file_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    remedy = "not installed: pip install 'nkfast[keyring]'"
    assert find_credentials({}).asked[-1] == ("keyring", remedy)
    done = CliRunner().invoke(main, ["keys", "set", "--stdin"], input=f"my-key\n{CANARY}\n")
    assert (done.exit_code, remedy in done.stderr) == (ExitCode.OK, True)
    assert find_credentials({}).source == str(credentials_file())


def test_keys_are_set_found_and_removed(kept: MemoryKeyring) -> None:
    runner = CliRunner()
    outputs = []

    def nkfast(*words: str, typed: str = "") -> int:
        result = runner.invoke(main, ["keys", *words], input=typed)
        outputs.append(result.output)
        return result.exit_code

    assert nkfast("where") == ExitCode.AUTH
    assert nkfast("set", "--stdin", typed=f"my-key\n{CANARY}\n") == ExitCode.OK
    assert CANARY in kept.kept["nkfast", "credentials"]
    assert nkfast("where") == ExitCode.OK
    assert "keyring" in outputs[-1] and "my-key" in outputs[-1]
    assert nkfast("set", "--file", typed=f"my-key\n{CANARY}\n") == ExitCode.OK
    if sys.platform != "win32":
        assert credentials_file().stat().st_mode & 0o777 == 0o600
    assert nkfast("rm", "--yes") == ExitCode.OK
    assert (kept.kept, credentials_file().exists()) == ({}, False)
    assert nkfast("set", typed="my-key\n") == ExitCode.CONFIG
    assert not any(CANARY in output for output in outputs)
