"""``nkfast pause`` to ``stop``, and ``down``: a command to a running instance, or to several."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from nkfast.app.exits import ExitCode, Failure
from nkfast.app.instance import Instance
from nkfast.errors import NotRunningError
from nkfast.trading.control import Answer, Command, send
from nkfast.trading.life import OnExit

__all__ = ["steer", "stop_all"]


async def steer(
    instance: Instance, command: Command, *, wait_s: float = 60.0, as_json: bool = False
) -> ExitCode:
    """Send a command, wait for what became of it, and say so.

    Returns
    -------
    ExitCode
        OK: it was done. WRONG_STATE: it was refused. INCOMPLETE_STOP: it stopped, and something is
        left that should not be. NOT_FOUND: nothing is known of the instance.

    Raises
    ------
    nkfast.errors.NotRunningError
        It does not run, or did not answer.
    """
    if not instance.folder.is_dir():
        message = f"nothing is known of an instance {instance.name}; is it another --state-dir?"
        click.echo(str(Failure(ExitCode.NOT_FOUND, str(instance.folder), message)), err=True)
        return ExitCode.NOT_FOUND
    answer = await send(instance.control, command, is_running=instance.is_running, answer_s=wait_s)
    if as_json:
        click.echo(json.dumps(asdict(answer)))
    else:
        _print(instance.name, answer)
    if answer.refused:
        return ExitCode.WRONG_STATE
    return ExitCode.INCOMPLETE_STOP if answer.left else ExitCode.OK


async def stop_all(
    instances: Sequence[Instance], *, on_exit: OnExit | None, wait_s: float, as_json: bool
) -> ExitCode:
    """Stop instances at the same time, wait until each has, and say so.

    Returns
    -------
    ExitCode
        OK; INCOMPLETE_STOP: something is left of one; WRONG_STATE: one did not run or answer.
    """
    command = Command(verb="stop", reason="nkfast down", on_exit=on_exit)
    answers = await asyncio.gather(
        *(
            send(instance.control, command, is_running=instance.is_running, answer_s=wait_s)
            for instance in instances
        ),
        return_exceptions=True,
    )
    rows, code = [], ExitCode.OK
    for instance, answer in zip(instances, answers, strict=True):
        if isinstance(answer, NotRunningError):
            code = ExitCode.WRONG_STATE
            rows.append({"name": instance.name, "error": str(answer)})
            if not as_json:
                click.echo(str(Failure(code, instance.name, str(answer))), err=True)
            continue
        if isinstance(answer, BaseException):
            raise answer
        if answer.left and code is ExitCode.OK:
            code = ExitCode.INCOMPLETE_STOP
        rows.append({"name": instance.name, **asdict(answer)})
        if not as_json:
            _print(instance.name, answer)
    if as_json:
        click.echo(json.dumps(rows))
    return code


def _print(name: str, answer: Answer) -> None:
    if answer.refused:
        click.echo(str(Failure(ExitCode.WRONG_STATE, name, answer.refused)), err=True)
        return
    why = f" ({answer.reason})" if answer.reason else ""
    click.echo(f"{name} is {answer.life}{why}")
    for row in answer.kept:
        click.echo(f"kept         {row}")
    for row in answer.left:
        click.echo(f"MAY BE LEFT  {row}")
    if answer.error:
        click.echo(f"ended by     {answer.error}")
