"""``nkfast pause``, ``resume``, ``drain``, ``stop``: a command to a running instance."""

import json
from dataclasses import asdict

import click

from nkfast.app.exits import ExitCode, Failure
from nkfast.app.instance import Instance
from nkfast.trading.control import Answer, Command, send

__all__ = ["steer"]


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
