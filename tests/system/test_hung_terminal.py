"""A terminal that hangs, and one that is closed: neither stops trading, and nothing is left."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from system.conftest import KEY, SECRET
from system.test_run import GRID, LIMIT_S, LIVE

from nkfast.app.exits import ExitCode
from nkfast.client.rest import RestClient
from nkfast.wire.models import ApiCredentials

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pipes of a chosen size are Linux's"
)


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < deadline, f"no {text!r}"
        time.sleep(0.05)


def test_P09_P17_output_that_nobody_reads_and_a_terminal_that_is_closed(
    start: Any, exchange: Any, tmp_path: Path
) -> None:
    (tmp_path / "bot.toml").write_text(GRID)
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    os.write(writing, b"x" * 4096)  # full from the beginning
    os.set_blocking(writing, True)
    process: subprocess.Popen[str] = start(
        *("run", "bot.toml", *LIVE, "--for", "60s", *exchange.pairs()),
        env=exchange.environment(),
        stdout=writing,
    )
    log = exchange.home / "bot" / "log.jsonl"
    wait_for(log, '"evt": "order"')
    process.send_signal(signal.SIGHUP)
    wait_for(log, "ended by signal")
    with RestClient(ApiCredentials(KEY, SECRET), base_url=exchange.rest_url) as rest:
        assert rest.get_orders(status="active") == []
    os.close(reading)  # what it still wants to say has no reader any more
    os.close(writing)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode in (ExitCode.SIGTERM, ExitCode.ERROR)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line for line in lines if line["evt"] == "fill" or line["evt"] == "order"]
