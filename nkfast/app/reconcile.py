"""``nkfast reconcile``: what the next start of an instance will find, and do about it."""

import json

import click

from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance
from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import ConfigError
from nkfast.trading.journal import Journal
from nkfast.trading.reconcile import ReconcileSettings
from nkfast.trading.reconcile_plan import ReconcilePlan, plan_of_start
from nkfast.venue.clock import RealClock
from nkfast.venue.rest_account import RestAccount
from nkfast.wire.models import ApiCredentials

__all__ = ["show_plan"]


async def show_plan(
    instance: Instance, credentials: ApiCredentials, *, base_url: str, as_json: bool
) -> ExitCode:
    """Compare an instance's journal with its account, and print what differs.

    The client can change nothing, and of the journal only the count of its openings changes. An
    instance that runs holds its journal: it compares by itself.

    Returns
    -------
    ExitCode
        OK, or UNRECONCILED when the next start would halt.
    """
    if not instance.journal.is_file():
        raise ConfigError("there is no journal yet: nothing was traded", str(instance.journal))
    with Journal.open(instance.journal, instance=instance.name) as journal:
        now_ms = RealClock().time_ns() // 1_000_000
        recovered = journal.recover(now_ms)
        symbols = {order.symbol: None for order in recovered.orders}
        if recovered.strategy_state is not None:
            symbols.setdefault(recovered.strategy_state["symbol"])
        async with AsyncRestClient(credentials, base_url=base_url) as rest:
            plan = await plan_of_start(
                journal,
                recovered,
                RestAccount(rest),
                symbols=list(symbols),
                now_ms=now_ms,
                overlap_ms=int(ReconcileSettings().overlap_s * 1000),
            )
    _print_plan(plan, as_json)
    is_refused = any(step.kind == "halt" for step in plan.steps)
    return ExitCode.UNRECONCILED if is_refused else ExitCode.OK


def _print_plan(plan: ReconcilePlan, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan.as_json()))
    elif plan.is_empty:
        click.echo("journal and exchange agree")
    else:
        for step in plan.steps:
            click.echo(str(step))
