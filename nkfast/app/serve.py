"""``nkfast exchange serve``: the simulated exchange, served by this process."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from nkfast.app.loop import stop_on_signals
from nkfast.errors import ConfigError
from nkfast.exchange.server import ExchangeSettings
from nkfast.exchange.server import serve as serving

__all__ = ["serve"]


async def serve(
    settings: ExchangeSettings,
    *,
    seconds: float | None,
    until_eof: bool,
    announce: Callable[[Mapping[str, Any]], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    seconds : float or None
        Stop after this time too.
    until_eof : bool
        Stop when standard input ends too, so that a parent cannot leave this process behind.
    announce : callable
        Told once, when requests can be answered: rest_url, ws_url, key, process.

    Raises
    ------
    nkfast.errors.ConfigError
        The markets cannot be used, or the address cannot be listened on.
    """
    stop = asyncio.Event()
    with stop_on_signals(stop):
        if until_eof:
            _set_at_end_of_input(stop)
        async with AsyncExitStack() as stack:
            try:
                server = await stack.enter_async_context(serving(settings))
            except OSError as error:
                raise ConfigError(
                    f"cannot listen there: {error.strerror or error}",
                    f"{settings.host}:{settings.port}",
                ) from error
            announce(
                {
                    "rest_url": server.rest_url,
                    "ws_url": server.ws_url,
                    "key": settings.key,
                    "process": os.getpid(),
                }
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)


def _set_at_end_of_input(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def wait_for_end() -> None:
        # os.read, because a thread that waits inside sys.stdin holds a lock at exit.
        while os.read(0, 4096):
            pass
        with suppress(RuntimeError):  # the loop is closed: already stopped
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait_for_end, name="end-of-input", daemon=True).start()
