"""The simulated exchange as its own process."""

import base64
import json
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from nkfast.app.exits import ExitCode

LIMIT_S = 30

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def announced(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    told: dict[str, Any] = json.loads(line)
    return told


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=LIMIT_S) as reply:
        return json.load(reply)


@posix_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_asked_to_stop(start: Any, number: signal.Signals) -> None:
    process = start("exchange", "serve", "--seed", "7", "--key", "K", "--secret", "S", "--json")
    told = announced(process)
    assert told["process"] == process.pid
    assert told["key"] == "K"
    assert told["ws_url"].startswith("ws://127.0.0.1:")
    symbols = {market["symbol"] for market in get(f"{told['rest_url']}/market/getlist")}
    assert "BTC/USDT" in symbols
    process.send_signal(number)
    output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output, errors) == (ExitCode.OK, "", "")


def test_ends_when_its_time_is_over(start: Any) -> None:
    process = start("exchange", "serve", "--for", "0.2s", "--json")
    announced(process)
    assert process.communicate(timeout=LIMIT_S) == ("", "")
    assert process.returncode == ExitCode.OK


def test_ends_when_its_input_does(start: Any) -> None:
    process = start("exchange", "serve", "--until-eof", "--json", stdin=subprocess.PIPE)
    announced(process)
    assert process.communicate(timeout=LIMIT_S) == ("", "")
    assert process.returncode == ExitCode.OK


def test_secret_from_standard_input_is_not_shown(start: Any) -> None:
    words = ("exchange", "serve", "--key", "K", "--secret-stdin", "--until-eof", "--json")
    process = start(*words, stdin=subprocess.PIPE)
    process.stdin.write("canary-secret\n")
    process.stdin.flush()
    assert "canary" not in json.dumps(announced(process))
    if sys.platform == "linux":
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            assert b"canary" not in file.read()


def test_taken_port_is_an_error_that_says_so(start: Any) -> None:
    told = announced(start("exchange", "serve", "--for", "20s", "--json"))
    port = told["rest_url"].split(":")[2].split("/")[0]
    second = start("exchange", "serve", "--port", port, "--json")
    _, errors = second.communicate(timeout=LIMIT_S)
    assert second.returncode == ExitCode.CONFIG
    assert errors.startswith(f"error[CONFIG] 127.0.0.1:{port}: cannot listen there: ")
    assert errors.count("\n") == 1


def test_missing_markets_file_is_named(start: Any) -> None:
    process = start("exchange", "serve", "--markets", "none.json")
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.CONFIG
    assert errors == "error[CONFIG] none.json: no such file\n"


def test_weather_control_accounts_and_recording(start: Any, tmp_path: Any) -> None:
    accounts = tmp_path / "accounts.json"
    accounts.write_text('[{"key": "K2", "secret": "S2", "balances": {"BTC": "1"}}]')
    tape = tmp_path / "feed.tape"
    process = start(
        *("exchange", "serve", "--json", "--weather", "drizzle", "--control", "--paranoid"),
        *("--balances", "BTC=1.5,USDT=10", "--accounts", str(accounts), "--record", str(tape)),
        *("--rate-limit", "1000", "--until-eof"),
        stdin=subprocess.PIPE,
    )
    told = announced(process)
    control = urllib.request.Request(
        told["rest_url"].replace("/api/v2", "/control/weather"),
        headers={"Authorization": f"Bearer {told['control_token']}"},
    )
    with urllib.request.urlopen(control, timeout=LIMIT_S) as reply:
        assert "delay_in" in [rule["fault"] for rule in json.load(reply)["rules"]]
    for key, secret, amount in (("demo-key", "demo-secret", "1.5"), ("K2", "S2", "1")):
        credentials = base64.b64encode(f"{key}:{secret}".encode()).decode()
        request = urllib.request.Request(
            told["rest_url"] + "/balances", headers={"Authorization": f"Basic {credentials}"}
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as reply:
            (row,) = [row for row in json.load(reply) if row["asset"] == "BTC"]
        assert float(row["available"]) == float(amount)
    assert process.communicate(timeout=LIMIT_S) == ("", "")
    assert process.returncode == ExitCode.OK
    assert b"snapshotOrderbook" in tape.read_bytes()


def test_weather_nobody_knows_is_a_configuration_error(start: Any) -> None:
    process = start("exchange", "serve", "--weather", "hurricane")
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.CONFIG
    assert errors.startswith("error[CONFIG] weather: no weather 'hurricane'; there are clear, ")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes the certificate with openssl")
def test_serves_tls_with_a_certificate_of_its_own(start: Any) -> None:
    process = start("exchange", "serve", "--tls", "self-signed", "--until-eof", "--json", stdin=-1)
    told = announced(process)
    assert told["ws_url"].startswith("wss://")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"{told['rest_url']}/time"
    with urllib.request.urlopen(url, timeout=LIMIT_S, context=context) as reply:
        assert json.load(reply)["serverTime"] > 0
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == ExitCode.OK
