"""What one would sign with instead: the standard library, as clients use it; cryptography."""

import ctypes
import hashlib
import hmac
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

__all__ = [
    "CopiedCryptography",
    "CopiedMidstates",
    "bare_compressions",
    "hmac_digest",
    "hmac_new",
    "string_headers",
]

ROOT = Path(__file__).parent.parent.parent


def hmac_new(secret: bytes, message: bytes) -> str:
    """The line found in nearly every exchange client."""
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def hmac_digest(secret: bytes, message: bytes) -> str:
    """The one-shot form that the documentation of hmac recommends."""
    return hmac.digest(secret, message, "sha256").hex()


class CopiedCryptography:
    """The HMAC of cryptography, made once with the key and copied per message."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = HMAC(secret, hashes.SHA256())

    def sign(self, message: bytes) -> str:
        keyed = self._keyed.copy()
        keyed.update(message)
        return keyed.finalize().hex()


class CopiedMidstates:
    """The best that hashlib allows: both pads hashed once, their states copied per message."""

    def __init__(self, secret: bytes) -> None:
        key = secret if len(secret) <= 64 else hashlib.sha256(secret).digest()
        key = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def sign(self, message: bytes) -> str:
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


def string_headers(
    api_key: str, secret: str, url: str, body: Mapping[str, object]
) -> dict[str, str]:
    """The headers of a POST with hmac, f-strings and json."""
    text = json.dumps(body, separators=(",", ":"))
    nonce = str(int(time.time() * 1e4))
    message = f"{api_key}{url}{text}{nonce}"
    signature = hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    return {"X-API-KEY": api_key, "X-API-NONCE": nonce, "X-API-SIGN": signature}


def bare_compressions(folder: Path) -> Callable[[int, int], int]:
    """Compile bare_sha256.c; the result takes (messages, blocks per message).

    Parameters
    ----------
    folder : Path
        Where the library goes.
    """
    library = folder / "bare_sha256.so"
    sources = [Path(__file__).parent / "bare_sha256.c", ROOT / "csrc" / "nk_sha256.c"]
    command = [os.environ.get("CC", "cc"), "-std=c11", "-O3", "-DNDEBUG", "-shared", "-fPIC"]
    subprocess.run([*command, f"-I{ROOT / 'csrc'}", *sources, "-o", library], check=True)
    function = ctypes.CDLL(str(library)).nk_bare_compressions
    function.argtypes = [ctypes.c_int, ctypes.c_int]
    return function
