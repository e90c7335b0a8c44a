"""A simulated exchange in a process of its own, which cannot be left behind."""

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from nkfast.errors import UnreachableError

__all__ = ["Simulator", "started"]

START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulated exchange and the account that was opened there."""

    rest_url: str
    ws_url: str
    api_key: str
    api_secret: str = field(repr=False)
    process_id: int
    #: Ends when the process does.
    exited: "asyncio.Task[int]"


@asynccontextmanager
async def started(*, seed: int, speed: float, seconds: float) -> AsyncIterator[Simulator]:
    """Start a simulated exchange in its own process and stop it when the block ends.

    The process ends by itself after `seconds`, and at once when this one dies, however it
    does: it serves only while the pipe to its standard input is open. The secret goes
    through that pipe, so that it stands in no list of processes.

    Raises
    ------
    nkfast.errors.UnreachableError
        It did not start; the message is the last line that it wrote.
    """
    key, secret = f"demo-{secrets.token_hex(8)}", secrets.token_hex(32)
    with tempfile.TemporaryFile() as complaints:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the working directory may hold an uncompiled nkfast
            *("-m", "nkfast", "exchange", "serve", "--json", "--until-eof", "--secret-stdin"),
            *("--key", key, "--seed", str(seed), "--speed", f"{speed}x", "--for", f"{seconds}s"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            **_apart(),
        )
        exited = asyncio.ensure_future(process.wait())
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{secret}\n".encode())
            line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)
            if not line:
                raise UnreachableError(
                    f"the simulated exchange did not start: {_last_line(complaints)}", sent="no"
                )
            told = json.loads(line)
            yield Simulator(told["rest_url"], told["ws_url"], key, secret, process.pid, exited)
        finally:
            process.stdin.close()
            try:
                await asyncio.wait_for(asyncio.shield(exited), STOP_LIMIT_S)
            except TimeoutError:
                process.kill()
                await exited


def _apart() -> dict[str, Any]:
    # In a process group of its own: Ctrl-C reaches this process only, which cancels its orders
    # while the exchange is still there.
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
