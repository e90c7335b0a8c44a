"""The simulated exchange as its own process."""

import json
import signal
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
