"""``nkfast guard``: the dead man's switch as a process of its own."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import click

from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance
from nkfast.app.loop import stop_on_signals
from nkfast.client.async_rest import AsyncRestClient
from nkfast.trading.guard import Guard, GuardReport, GuardSettings
from nkfast.venue.cancel_desk import RestCancelDesk
from nkfast.venue.clock import RealClock
from nkfast.wire.models import ApiCredentials

__all__ = ["guard"]


async def guard(
    instance: Instance,
    credentials: ApiCredentials,
    *,
    base_url: str,
    settings: GuardSettings,
    seconds: float | None = None,
    as_json: bool = False,
) -> ExitCode:
    """Guard an instance until it ended in order, until SIGINT or SIGTERM, or for some seconds.

    What it has to do is told to whom the instance's configuration names in ``[alerts]``.

    Returns
    -------
    ExitCode
        OK: it never had to act. RISK_HALT: it cancelled the instance's orders, and none was open
        when it was last able to read. INCOMPLETE_STOP: some were.
    """
    # Loaded by a guard that runs: who only looks at this module loads nothing that trades.
    from nkfast.app.guard_alerts import alerted  # noqa: PLC0415

    stop = asyncio.Event()
    with alerted(instance, (credentials.api_secret,)) as tell_people:
        return await _guard(
            instance,
            credentials,
            stop,
            base_url=base_url,
            settings=settings,
            seconds=seconds,
            tell=_teller(as_json, tell_people),
        )


async def _guard(
    instance: Instance,
    credentials: ApiCredentials,
    stop: asyncio.Event,
    *,
    base_url: str,
    settings: GuardSettings,
    seconds: float | None,
    tell: Callable[[str, dict[str, Any]], None],
) -> ExitCode:
    async with AsyncRestClient(credentials, base_url=base_url, allow_changes="cancels") as rest:
        watch = Guard(
            instance=instance.name,
            heartbeat=instance.heartbeat,
            kill_file=instance.kill_file,
            desk=RestCancelDesk(rest),
            clock=RealClock(),
            tell=tell,
            settings=settings,
        )
        with stop_on_signals(stop):
            if seconds is not None:
                asyncio.get_running_loop().call_later(seconds, stop.set)
            return _code_of(await watch.run(stop))


def _code_of(report: GuardReport) -> ExitCode:
    if report.left:
        return ExitCode.INCOMPLETE_STOP
    return ExitCode.RISK_HALT if report.has_acted else ExitCode.OK


def _teller(
    as_json: bool, tell_people: Callable[[str, str], None]
) -> Callable[[str, dict[str, Any]], None]:
    clock = RealClock()

    def tell(event: str, facts: dict[str, Any]) -> None:
        words = " ".join([event, *(f"{name}={value}" for name, value in facts.items())])
        tell_people(event, words)
        if as_json:
            time_ms = clock.time_ns() // 1_000_000
            click.echo(json.dumps({"time_ms": time_ms, "event": event, **facts}))
        else:
            click.echo(words)

    return tell
