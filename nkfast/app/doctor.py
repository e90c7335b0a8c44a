"""``nkfast doctor``: what of this machine and installation is well, and what to do where not."""

import importlib.metadata
import os
import platform
import shutil
import ssl
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from nkfast import __version__
from nkfast.app.connection import open_rest
from nkfast.app.credentials import credentials_file, find_credentials
from nkfast.app.exits import ExitCode, describe
from nkfast.app.findings import Finding
from nkfast.app.instance import all_instances
from nkfast.app.loop import loop_name
from nkfast.client.websocket import WebSocketClient
from nkfast.core import signing
from nkfast.directories import state_directory
from nkfast.errors import NkfastError
from nkfast.venue.clock import RealClock

__all__ = ["examine_exchange", "examine_machine"]

_PYTHON_LEAST = (3, 11)
_DISK_LEAST, _DISK_WANTED = 100_000_000, 1_000_000_000
_FILES_WANTED = 1024
_WIDTH_WANTED, _HEIGHT_WANTED = 80, 24
#: Beyond the second the exchange refuses to log a client in.
_SKEW_WANTED_MS, _SKEW_MAX_MS = 1_000, 30_000
_CONNECT_LIMIT_S = 10.0
#: What nkfast does much of its work with.
_LIBRARIES = ("picows", "aiohttp", "urllib3", "orjson", "msgspec", "numpy", "pydantic", "rich")


def examine_machine() -> list[Finding]:
    """Look at everything that needs no network."""
    return [
        _python(),
        _core(),
        _loop(),
        _libraries(),
        _tls(),
        *_state(),
        _disk(),
        _open_files(),
        _terminal(),
        _key(),
    ]


async def examine_exchange(rest_url: str, ws_url: str) -> list[Finding]:
    """Ask the exchange for its time, and open its WebSocket; nothing is sent that needs a key."""
    clock = RealClock()
    async with open_rest(rest_url, None) as rest:
        try:
            await rest.get_time()  # opens the connection: the next one measures the road alone
            before_ns = clock.time_ns()
            venue_ms = (await rest.get_time()).time_ms
            after_ns = clock.time_ns()
        except NkfastError as error:
            failure = describe(error)
            return [
                Finding(
                    *("fail", "exchange", f"{rest_url}: {failure.message}"),
                    "look at the network, a proxy's variables, and exchange.rest_url",
                    failure.code,
                )
            ]
    road_ms = (after_ns - before_ns) / 1e6
    found = [Finding("ok", "exchange", f"{rest_url} answers in {road_ms:.0f} ms")]
    found.append(_skew((before_ns + after_ns) / 2e6 - venue_ms, road_ms))
    found.append(await _websocket(ws_url))
    return found


def _skew(skew_ms: float, road_ms: float) -> Finding:
    text = f"{skew_ms:+.0f} ms from the exchange's, give or take {road_ms / 2:.0f}"
    fix = "let the system set its clock: timedatectl set-ntp true, or chronyd"
    if abs(skew_ms) > _SKEW_MAX_MS:
        return Finding("fail", "clock", text, fix, ExitCode.AUTH)
    if abs(skew_ms) > _SKEW_WANTED_MS:
        return Finding("warn", "clock", text, fix)
    return Finding("ok", "clock", text)


async def _websocket(ws_url: str) -> Finding:
    client = WebSocketClient(ws_url)
    try:
        await client.connect(_CONNECT_LIMIT_S)
    except NkfastError as error:
        failure = describe(error)
        fix = "look at exchange.ws_url; a proxy must let WebSockets through"
        return Finding("fail", "websocket", f"{ws_url}: {failure.message}", fix, failure.code)
    finally:
        await client.close()
    return Finding("ok", "websocket", f"{ws_url} opens")


def _python() -> Finding:
    bits = struct.calcsize("P") * 8
    text = f"{platform.python_implementation()} {platform.python_version()}, {bits} bits"
    if sys.version_info < _PYTHON_LEAST or bits < 64:
        return Finding("fail", "python", text, "install CPython 3.11 or later, 64 bits")
    if platform.python_implementation() != "CPython":
        return Finding("warn", "python", text, "CPython is what nkfast is tested on")
    return Finding("ok", "python", text)


def _core() -> Finding:
    backend = signing.backend()
    text = f"compiled, nkfast {__version__} on {platform.system()} {platform.machine()}, "
    text += f"SHA-256 by {backend}"
    if backend == "portable":
        return Finding("warn", "core", text, "a CPU with SHA instructions signs faster")
    return Finding("ok", "core", text)


def _loop() -> Finding:
    name = loop_name()
    if name == "asyncio":
        wanted = "winloop" if sys.platform == "win32" else "uvloop"
        return Finding("warn", "event loop", f"{name}, the slow one", f"pip install {wanted}")
    return Finding("ok", "event loop", name)


def _libraries() -> Finding:
    found, missing = [], []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("fail", "libraries", f"{', '.join(missing)} missing", "pip install nkfast")
    return Finding("ok", "libraries", ", ".join(found))


def _tls() -> Finding:
    authorities = ssl.create_default_context().cert_store_stats()["x509_ca"]
    # Some systems keep them in a folder that is read when one is needed.
    folder = ssl.get_default_verify_paths().capath
    text = f"{ssl.OPENSSL_VERSION}, {authorities} authorities"
    if not authorities and folder is None:
        fix = "install ca-certificates, or name a file in SSL_CERT_FILE"
        return Finding("fail", "TLS", text, fix)
    return Finding("ok", "TLS", text)


def _state() -> Iterator[Finding]:
    folder = state_directory()
    if not folder.is_dir():
        yield Finding("ok", "state", f"{folder} will be made by the first run")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("fail", "state", f"{folder} cannot be written", f"chown it: {folder}")
        return
    instances = all_instances()
    kept = [credentials_file(), *(each.newest_journal for each in instances)]
    exposed = [str(path) for path in kept if _is_open_to_others(path, 0o077)]
    exposed += [str(folder)] if _is_open_to_others(folder, 0o022) else []
    if exposed:
        text = f"others can read or change {', '.join(exposed)}"
        yield Finding("warn", "state", text, f"chmod go-rwx {' '.join(exposed)}")
        return
    yield Finding("ok", "state", f"{folder}, {len(instances)} instances, yours alone")


def _is_open_to_others(path: Path, bits: int) -> bool:
    if sys.platform == "win32" or not path.exists():
        return False
    return bool(stat.S_IMODE(path.stat().st_mode) & bits)


def _disk() -> Finding:
    folder = state_directory()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free for journals and logs"
    if free < _DISK_LEAST:
        return Finding("fail", "disk", text, "make room: a journal that cannot be written halts")
    if free < _DISK_WANTED:
        return Finding("warn", "disk", text, "make room, or move it with NKFAST_HOME")
    return Finding("ok", "disk", text)


def _open_files() -> Finding:
    if sys.platform == "win32":
        return Finding("ok", "open files", "not limited here")
    import resource  # noqa: PLC0415 - not there on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = "no limit" if limit == resource.RLIM_INFINITY else f"{limit} at most"
    if limit != resource.RLIM_INFINITY and limit < _FILES_WANTED:
        return Finding("warn", "open files", text, f"ulimit -n {_FILES_WANTED}")
    return Finding("ok", "open files", text)


def _terminal() -> Finding:
    if not sys.stdout.isatty():
        return Finding("ok", "terminal", "none: plain lines")
    width, height = shutil.get_terminal_size()
    encoding = sys.stdout.encoding or "unknown"
    colour = "no colour, as NO_COLOR says" if "NO_COLOR" in os.environ else "colour"
    text = f"{width} x {height}, {encoding}, {colour}"
    if not encoding.lower().startswith("utf"):
        return Finding("warn", "terminal", text, "set PYTHONUTF8=1 for the live screen")
    if width < _WIDTH_WANTED or height < _HEIGHT_WANTED:
        return Finding("warn", "terminal", text, "the live screen wants 80 x 24")
    return Finding("ok", "terminal", text)


def _key() -> Finding:
    try:
        found = find_credentials()
    except NkfastError as error:
        failure = describe(error)
        text = f"{failure.place}: {failure.message}"
        return Finding("fail", "API key", text, "nkfast keys where", failure.code)
    if found.credentials is None:
        return Finding("ok", "API key", "none; only live trading needs one")
    return Finding("ok", "API key", f"found in {found.source}; nkfast keys test tries it")
