"""``nkfast recover``: a new beginning for an instance whose journal is lost, damaged or too old.

What the journal knew is not made up again: what is owned is the exchange's word at the next start,
what rests with the instance's ids is cancelled, and the old file is kept for whoever looks.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import click

from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance
from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import JournalCorruptError, LifeError, OrderNotFoundError
from nkfast.trading.journal import Journal
from nkfast.trading.journal_file import FileLock, set_aside
from nkfast.trading.life import LifeState, clear_halt
from nkfast.trading.orders import instance_code, parse_client_id
from nkfast.venue.cancel_desk import RestCancelDesk
from nkfast.venue.clock import RealClock
from nkfast.venue.port import OpenOrder
from nkfast.wire.models import ApiCredentials

__all__ = ["recover_instance"]

#: So often what is open is read before it is given up; an order on its way may still arrive.
_READINGS_MAX = 10
_PAUSE_S = 1.0
_UNRECONCILED = "UNRECONCILED"


async def recover_instance(
    instance: Instance, credentials: ApiCredentials, *, base_url: str, as_json: bool
) -> ExitCode:
    """Cancel what rests with an instance's ids, then make its journal one to begin with.

    A journal that is damaged is put aside under another name. One that is sound stays, and a halt
    because it and the exchange disagree is cleared.

    Returns
    -------
    ExitCode
        OK, or INCOMPLETE_STOP where orders are still open: then nothing was done to the journal.

    Raises
    ------
    nkfast.errors.LifeError
        There is nothing to recover: the journal is sound, and the instance not halted for that.
    nkfast.errors.JournalLockedError
        The instance runs.
    nkfast.errors.VenueError
        The exchange could not be asked.
    """
    with instance.held():
        is_damaged = _is_damaged(instance)
        async with AsyncRestClient(credentials, base_url=base_url, allow_changes="cancels") as rest:
            cancelled, left = await _cancel_all(RestCancelDesk(rest), instance.name)
        aside = None
        if not left:
            aside = _mend(instance, is_damaged=is_damaged)
    _print(instance, cancelled, left, aside, as_json=as_json)
    return ExitCode.INCOMPLETE_STOP if left else ExitCode.OK


def _is_damaged(instance: Instance) -> bool:
    if not instance.journal.exists():
        return False
    try:
        with Journal.open(instance.journal, instance=instance.name) as journal:
            life = journal.life()
    except JournalCorruptError:
        return True
    cause = "" if life is None else life.cause.partition(":")[0]
    if life is None or (life.state, cause) != (LifeState.HALTED, _UNRECONCILED):
        raise LifeError("sound and not halted for it", "recovered", "its journal can be read")
    return False


async def _cancel_all(desk: RestCancelDesk, name: str) -> tuple[list[str], list[OpenOrder]]:
    """Cancel, and read until nothing was open twice; return what was cancelled and what is left."""
    code = instance_code(name)
    asked: dict[str, None] = {}
    own: list[OpenOrder] = []
    empty = 0
    for _ in range(_READINGS_MAX):
        made_by = [(parse_client_id(row.client_id), row) for row in await desk.open_orders()]
        own = [row for parsed, row in made_by if parsed is not None and parsed.instance == code]
        empty = 0 if own else empty + 1
        if empty == 2:
            break
        for order in own:
            asked[order.client_id] = None
            try:
                await desk.cancel(order)
            except OrderNotFoundError:
                continue  # it ended meanwhile; the next reading shows
        await asyncio.sleep(_PAUSE_S)
    left = {order.client_id for order in own}
    return [client_id for client_id in asked if client_id not in left], own


def _mend(instance: Instance, *, is_damaged: bool) -> Path | None:
    now_ms = RealClock().time_ns() // 1_000_000
    path = instance.journal
    if is_damaged:
        lock = FileLock.of(path)
        try:
            return set_aside(path, f"damaged-{now_ms}")
        finally:
            lock.release()
    if path.exists():
        with Journal.open(path, instance=instance.name) as journal:
            clear_halt(journal, _UNRECONCILED, now_ms)
    return None


def _print(
    instance: Instance,
    cancelled: Sequence[str],
    left: Sequence[OpenOrder],
    aside: Path | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        record = {
            "cancelled": list(cancelled),
            "left": [order.client_id for order in left],
            "kept_as": None if aside is None else str(aside),
        }
        click.echo(json.dumps(record))
        return
    click.echo(f"{len(cancelled)} orders of {instance.name} were cancelled")
    for order in left:
        click.echo(f"STILL OPEN  {order.client_id} on {order.symbol}, order {order.order_id}")
    if aside is not None:
        click.echo(f"the damaged journal is kept as {aside}")
    if not left:
        click.echo(f"{instance.name} may be started; what it owns it learns from the exchange")
