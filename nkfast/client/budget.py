"""One rate budget for all processes of a user: for each account, and for each exchange's address.

What the exchange counts by key is counted in a file of the key, what it counts by address in a
file of the exchange. The files are mapped into the memory of every process (`nkfast.core.bucket`);
nobody holds a lock, so that a process that is stopped or dies keeps nobody from sending.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nkfast.client.throttle import Rate, Throttle
from nkfast.directories import account_directory
from nkfast.mapped_file import map_file
from nkfast.wire.endpoints import RateClass

__all__ = ["OrderBudget", "account_digest", "shared_throttle"]

_MAGIC = b"nkBudge1"
_WHAT = "budget file"
_WAY_OUT = "Give the client throttle=Throttle() to count in this process alone"
#: Where each class is counted: the two files have one form.
_PLACES: dict[RateClass, int] = {"public": 16, "private": 32, "orders": 48, "cancels": 64}
_PLACE_BYTES = 16
_NS = 1_000_000_000
_FILE_BYTES = 80


def account_digest(base_url: str, api_key: str) -> str:
    """Return what stands for an account in the names of files: it does not tell the key.

    The exchange counts: a key of a simulated one may be everybody's.
    """
    text = f"nkfast account of {api_key} at {_address(base_url)}"
    return hashlib.sha256(text.encode()).hexdigest()


def shared_throttle(
    base_url: str,
    api_key: str | None,
    *,
    rates: Mapping[RateClass, Rate] | None = None,
    directory: Path | None = None,
) -> Throttle:
    """Return a throttle that counts together with all processes of the user.

    Parameters
    ----------
    base_url : str
        Of the exchange; public requests to it are counted together, whoever makes them.
    api_key : str or None
        Of the account by which everything else is counted; None: only public requests are made.
    rates : mapping, optional
        `nkfast.client.throttle.DEFAULT_RATES` without; all processes should have the same.
    directory : Path, optional
        Where the processes meet; `nkfast.directories.account_directory` without.

    Raises
    ------
    nkfast.errors.ConfigError
        A file cannot be made, mapped or understood.
    """
    folder = account_directory() if directory is None else directory
    host = hashlib.sha256(f"nkfast requests to {_address(base_url)}".encode()).hexdigest()
    memory: dict[RateClass, memoryview] = {"public": _places(folder / f"{host}.budget")["public"]}
    if api_key is not None:
        own = _places(folder / f"{account_digest(base_url, api_key)}.budget")
        memory |= {name: own[name] for name in own if name != "public"}
    return Throttle(rates, memory=memory)


class OrderBudget:
    """What an account may still send, for orders that go over a WebSocket: nothing waits there.

    Parameters
    ----------
    throttle : Throttle
        Of the account.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._orders = throttle.bucket("orders")
        self._cancels = throttle.bucket("cancels")

    def take_order(self) -> float:
        """Take the place of one order; return the seconds until there is one, 0: it was taken.

        While more cancels went out than their own rate allows there is none: they come first.
        """
        now_ns = time.monotonic_ns()
        orders, cancels = self._orders, self._cancels
        at_ns = now_ns if cancels is None else cancels.ready(now_ns)
        if orders is not None:
            at_ns = max(at_ns, orders.paused_until(now_ns))
            if at_ns == now_ns:
                at_ns = orders.take(now_ns)
        return (at_ns - now_ns) / _NS

    def reserve_cancel(self) -> float:
        """Take the place of one cancel, which there always is; return in how many seconds."""
        if self._cancels is None:
            return 0.0
        now_ns = time.monotonic_ns()
        at_ns = max(self._cancels.reserve(now_ns), self._cancels.paused_until(now_ns))
        return (at_ns - now_ns) / _NS

    def pause(self, seconds: float) -> None:
        """Let no order go for some seconds, because the venue asked for it."""
        now = time.monotonic()
        self._throttle.pause("orders", now + seconds, now)


def _places(path: Path) -> dict[RateClass, memoryview]:
    memory = memoryview(map_file(path, _MAGIC, _FILE_BYTES, _WHAT, _WAY_OUT))
    return {name: memory[at : at + _PLACE_BYTES] for name, at in _PLACES.items()}


def _address(base_url: str) -> str:
    address = urlsplit(base_url).netloc.lower().rpartition("@")[2]
    return address.replace("localhost", "127.0.0.1")
