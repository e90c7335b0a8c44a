"""Real processes, each ended by the test that started it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from system.scene import Scene

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``nkfast WORDS`` in an empty directory; output and errors are piped text."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*words: str, **extra: Any) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            # -P: the tests' own working directory may hold an uncompiled nkfast.
            [sys.executable, "-P", "-m", "nkfast", *words],
            cwd=tmp_path,
            # A killed process cannot remove its temporary directory; pytest will.
            env=extra.pop("env", os.environ) | {"PYTHONWARNINGS": "error", "TMPDIR": str(tmp_path)},
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **extra},
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    try:
        scene.open()
        yield scene
    finally:
        scene.close()


KEY, SECRET = "demo-key", "canary-secret-5f1c"


class Exchange(NamedTuple):
    """A simulated exchange that serves while the test runs."""

    rest_url: str
    ws_url: str
    process: "subprocess.Popen[str]"
    home: Path

    def pairs(self, **settings: object) -> list[str]:
        """Return --set options that lead a bot here, and more."""
        pairs = {"exchange.rest_url": self.rest_url, "exchange.ws_url": self.ws_url, **settings}
        return [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables of a process that has the account's key."""
        own = {"NKFAST_HOME": str(self.home), "PYTHONWARNINGS": "error"}
        return os.environ | own | {"NKFAST_API_KEY": KEY, "NKFAST_API_SECRET": SECRET} | more


@pytest.fixture
def exchange(start: Start, tmp_path: Path) -> Exchange:
    """Serve a simulated exchange, sixty times as fast as life."""
    process = start(
        *("exchange", "serve", "--json", "--until-eof", "--seed", "7", "--speed", "60x"),
        *("--for", "120s", "--key", KEY, "--secret-stdin"),
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{SECRET}\n")
    process.stdin.flush()
    told = json.loads(process.stdout.readline())
    return Exchange(told["rest_url"], told["ws_url"], process, tmp_path / "home")
