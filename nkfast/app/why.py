"""``nkfast why``: what an instance considered and did not take, and what its plans came to."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from nkfast.trading.exact import plain
from nkfast.trading.legs import newest_plans
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.reason_codes import meaning_of
from nkfast.trading.reasons import newest_reasons, reason_totals

__all__ = ["print_reasons"]


def print_reasons(journal: Path, code: str | None, last: int, *, as_json: bool) -> None:
    """Print how often each reason was counted, the newest ones with their numbers, and plans.

    ``last`` bounds both; plans are left out where one reason is asked for.
    """
    totals = [total for total in reason_totals(journal) if code in (None, total.code)]
    newest = newest_reasons(journal, last, code)
    plans = newest_plans(journal, last) if code is None else []
    if as_json:
        record = {
            "totals": [{**total._asdict(), "meaning": meaning_of(total.code)} for total in totals],
            "newest": [reason._asdict() for reason in newest],
            "plans": [plan.as_json() for plan in plans],
        }
        click.echo(json.dumps(record))
        return
    if not totals and not plans:
        click.echo("every action that was considered was taken" if code is None else "never")
        return
    width = max((len(total.code) for total in totals), default=0)
    for total in totals:
        click.echo(f"{total.times:9,}  {total.code:{width}}  newest: {total.detail}")
    if newest:
        click.echo()
    if code is not None and meaning_of(code):
        click.echo(f"{code}: {meaning_of(code)}\n")
    for reason in newest:
        click.echo(f"{_stamp(reason.time_ms)}  {reason.code:{width}}  {reason.detail}")
    for plan in plans:
        click.echo()
        _print_plan(plan)


def _print_plan(plan: PlanOutcome) -> None:
    profit = "not known yet" if plan.profit is None else plain(plan.profit)
    click.echo(
        f"{_stamp(plan.started_ms)}  plan {plan.number} {plan.result}:"
        f" predicted {plain(plan.predicted_profit)} {plan.start}, realized {profit}"
    )
    for number, leg in enumerate(plan.legs, 1):
        fee = "" if leg.is_fee_known else "; a fee is not known yet"
        click.echo(f"  {number}. {leg}{fee}")


def _stamp(time_ms: int) -> str:
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return time.isoformat(" ", "milliseconds").removesuffix("+00:00")
