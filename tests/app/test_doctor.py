"""The doctor says what to mend; its bundle holds what a helper needs, and no secret."""

import io
import json
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nkfast.app import doctor, support_bundle
from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance, RunRecord
from nkfast.trading.journal import Journal

KEY, SECRET = "canary-key-77", 'canary"secret\\99'
WEBHOOK = "https://hooks.test/services/canary-hook-1"
TOKEN = "123456:canary-telegram-token"
CANARIES = (KEY, SECRET, WEBHOOK, TOKEN, "canary-proxy-password")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    monkeypatch.setenv("NKFAST_HOME", str(home))
    monkeypatch.setenv("NKFAST_API_KEY", KEY)
    monkeypatch.setenv("NKFAST_API_SECRET", SECRET)
    monkeypatch.setenv("BOT_TOKEN", TOKEN)
    instance = Instance.named("bot", home)
    instance.folder.mkdir(parents=True, mode=0o700)
    config = tmp_path / "bot.toml"
    config.write_text(
        f'symbol = "BTC/USDT"\n[alerts]\nwebhook = "{WEBHOOK}"\nquiet = "22:00-07:00"\n'
        '[alerts.telegram]\ntoken = "${BOT_TOKEN}"\nchat = "42"\n'
    )
    url = "http://127.0.0.1:1/api/v2"
    instance.note_run(RunRecord("live", "grid", "BTC/USDT", str(config), "", url, 1, 0))
    with Journal.open(instance.journal, instance="bot") as journal:
        journal.add_reasons({"SELF_CROSS": (2, "1 against 2")}, [])
    lines = [f"connect to http://user:{CANARIES[4]}@proxy.test/", f"posting to {WEBHOOK}"]
    lines += [f"signed with {SECRET} of {KEY}", f"https://api.telegram.org/bot{TOKEN}/send"]
    instance.log.write_text("".join(json.dumps({"msg": line}) + "\n" for line in lines))
    return home


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words], prog_name="nkfast")


def test_machine_that_is_well(home: Path) -> None:
    result = run("--offline", "--json")
    assert result.exit_code == ExitCode.OK
    record = json.loads(result.stdout)
    found = {row["subject"]: row for row in record["findings"]}
    wanted = {"python", "core", "event loop", "libraries", "TLS", "state", "disk", "open files"}
    assert found.keys() == wanted | {"terminal", "API key"}
    assert all(row["fix"] for row in found.values() if row["verdict"] != "ok")
    assert "1 instances, yours alone" in found["state"]["detail"]
    assert not any(canary in result.output for canary in CANARIES)


def test_exchange_that_is_not_there_is_named_with_what_to_do(home: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: refused at once
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api/v2"
        result = run("--rest-url", url)
    assert result.exit_code == ExitCode.UNREACHABLE
    [line] = [line for line in result.stdout.splitlines() if line.startswith("fail")]
    assert url in line and "-> look at the network" in line


@pytest.mark.parametrize(
    ("break_it", "subject", "verdict", "fix"),
    [
        (lambda home, _: home.chmod(0o777), "state", "warn", "chmod go-rwx"),
        (lambda home, _: (home / "bot" / "journal.db").chmod(0o644), "state", "warn", "chmod"),
        (lambda _, patch: patch.delenv("NKFAST_API_SECRET"), "API key", "fail", "keys where"),
        (
            lambda _, patch: patch.setattr(doctor, "loop_name", lambda: "asyncio"),
            *("event loop", "warn", "pip install"),
        ),
        (
            lambda _, patch: patch.setattr(doctor.signing, "backend", lambda: "portable"),
            *("core", "warn", "SHA"),
        ),
        (
            lambda _, patch: patch.setattr(doctor, "_DISK_LEAST", 10**18),
            *("disk", "fail", "make room"),
        ),
        (
            lambda _, patch: patch.setattr(doctor, "_LIBRARIES", ("nosuch",)),
            "libraries",
            "fail",
            "pip",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[Path, Any], object],
    subject: str,
    verdict: str,
    fix: str,
) -> None:
    break_it(home, monkeypatch)
    result = run("--offline", "--json")
    [row] = [row for row in json.loads(result.stdout)["findings"] if row["subject"] == subject]
    assert row["verdict"] == verdict
    assert fix in row["fix"]
    assert (result.exit_code == ExitCode.OK) == (verdict == "warn")


@pytest.mark.parametrize(
    ("skew_ms", "verdict"), [(5, "ok"), (-999, "ok"), (2_000, "warn"), (-31_000, "fail")]
)
def test_clock_that_is_off(skew_ms: float, verdict: str) -> None:
    assert doctor._skew(skew_ms, 10).verdict == verdict


def test_bundle_holds_what_helps_and_no_secret(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    result = run("--offline", "--bundle", str(path))
    assert result.exit_code == ExitCode.OK, result.output
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert parts.keys() == {"doctor.json", "bot/status.json", "bot/log.jsonl", "bot/bot.toml"}
    assert json.loads(parts["bot/status.json"])["reasons"][0]["code"] == "SELF_CROSS"
    assert 'quiet = "22:00-07:00"' in parts["bot/bot.toml"]
    assert parts["bot/log.jsonl"].count("[removed]") == 5
    everything = path.read_bytes().decode("latin-1") + "".join(parts.values()) + result.output
    for canary in CANARIES:
        assert canary not in everything
        assert json.dumps(canary)[1:-1] not in everything
    again = run("--offline", "--bundle", str(path))
    assert again.exit_code == ExitCode.CONFIG
    assert "file exists" in again.stderr


def test_bundle_that_would_hold_a_secret_is_not_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support_bundle, "_without", lambda text, secrets: text)
    result = run("--offline", "--bundle", str(tmp_path / "bundle.zip"))
    assert result.exit_code == ExitCode.CONFIG
    assert "would hold a secret" in result.stderr
    assert not (tmp_path / "bundle.zip").exists()
    assert not any(canary in result.output for canary in CANARIES)
