"""What acts on an instance from outside: ``pause`` to ``kill``, ``guard``, ``reconcile``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nkfast.app.cli.program import FOR, JSON, STATE_DIR, Duration, known_instance, verb
from nkfast.app.exits import ExitCode

if TYPE_CHECKING:
    from nkfast.app.instance import Instance

__all__ = ["COMMANDS"]

REASON = click.option("--reason", default="by hand", help="Kept in the journal.", show_default=True)
ON_EXIT = click.option(
    "--on-exit",
    type=click.Choice(["cancel", "keep"]),
    help="What becomes of resting orders; as configured without.",
)


REST_URL = click.option("--rest-url", help="Of the exchange; that of the instance's newest run.")


def _rest_url_of(instance: "Instance") -> str:
    from nkfast.wire.addresses import BASE_URL

    record = instance.last_run()
    return BASE_URL if record is None else record.rest_url


def _steer(name: str, state_dir: Path | None, as_json: bool, **command: Any) -> ExitCode:
    from nkfast.app.instance import Instance
    from nkfast.app.loop import run
    from nkfast.app.steer import steer
    from nkfast.trading.control import Command

    return run(steer(Instance.named(name, state_dir), Command(**command), as_json=as_json))


@verb()
@click.argument("name")
@REASON
@STATE_DIR
@JSON
def pause(name: str, reason: str, state_dir: Path | None, as_json: bool) -> ExitCode:
    """Let an instance decide nothing more until it is resumed; what rests goes on resting.

    A pause outlasts a crash; a stop ends it. Exit 7: it does not run, or cannot be paused now.
    """
    return _steer(name, state_dir, as_json, verb="pause", reason=reason)


@verb()
@click.argument("name")
@STATE_DIR
@JSON
def resume(name: str, state_dir: Path | None, as_json: bool) -> ExitCode:
    """Let an instance trade on that was paused, or is draining. A halt is not ended by it.

    Exit 7: the instance does not run, or is halted.
    """
    return _steer(name, state_dir, as_json, verb="resume", reason="by hand")


@verb()
@click.argument("name")
@REASON
@ON_EXIT
@STATE_DIR
@JSON
def drain(
    name: str, reason: str, on_exit: str | None, state_dir: Path | None, as_json: bool
) -> ExitCode:
    """Let an instance finish what is open and take nothing new; then it ends.

    Exit 7: the instance does not run, or is halted.
    """
    return _steer(name, state_dir, as_json, verb="drain", reason=reason, on_exit=on_exit)


@verb()
@click.argument("name")
@REASON
@ON_EXIT
@STATE_DIR
@JSON
def stop(
    name: str, reason: str, on_exit: str | None, state_dir: Path | None, as_json: bool
) -> ExitCode:
    """Stop an instance, wait until it has, and say what it left.

    Exit 7: it does not run; 10: it stopped, and what is printed may be left.
    """
    return _steer(name, state_dir, as_json, verb="stop", reason=reason, on_exit=on_exit)


@verb()
@click.argument("name", required=False)
@click.option("--all", "is_all", is_flag=True, help="Every instance that runs here.")
@click.option("--reason", default="nkfast kill", help="Kept in the file, for who finds it.")
@STATE_DIR
@JSON
def kill(
    name: str | None, is_all: bool, reason: str, state_dir: Path | None, as_json: bool
) -> ExitCode:
    """Stop an instance's trading at once: it cancels its orders and stays halted.

    Makes the file that the instance, and its guard, look for; it needs neither to be well.
    """
    from nkfast.app.instance import all_instances

    if (name is None) is not is_all:
        raise click.UsageError("give the name of an instance, or --all")
    if name is not None:
        found = [known_instance(name, state_dir)]
    else:
        found = [each for each in all_instances(state_dir) if each.holder()]
    thrown, failures = [], []
    for instance in found:
        try:
            instance.kill(reason)
            thrown.append(instance)
        except OSError as error:  # the others are stopped all the same
            failures.append(error)
    if as_json:
        files = [str(instance.kill_file) for instance in thrown]
        click.echo(json.dumps({"thrown": files, "reason": reason}))
    else:
        for instance in thrown:
            click.echo(f"thrown: {instance.kill_file}")
            click.echo(
                f"to trade again: remove it, then nkfast journal clear {instance.name} KILL_SWITCH"
            )
        if not found:
            click.echo("no instance runs here")
    if failures:
        raise failures[0]
    return ExitCode.OK


@verb()
@click.option("--name", required=True, help="Of the instance to be guarded.")
@STATE_DIR
@REST_URL
@click.option("--alarm", "alarm_s", type=Duration(), default="15s", show_default=True)
@click.option("--cancel", "cancel_s", type=Duration(), default="60s", show_default=True)
@click.option(
    "--linger",
    "linger_s",
    type=Duration(),
    default="120s",
    show_default=True,
    help="Look so long for orders that were on their way.",
)
@FOR
@JSON
def guard(
    name: str,
    state_dir: Path | None,
    rest_url: str | None,
    alarm_s: float,
    cancel_s: float,
    linger_s: float,
    seconds: float | None,
    as_json: bool,
) -> ExitCode:
    """Cancel an instance's orders when its heart stands still: killed, stuck, asleep.

    Run it beside the instance, with the key that nkfast keys where finds; it may be one of its
    own. It cannot place orders. Exit 0: it never had to act; 8: it
    cancelled; 10: it ended while orders were open.
    """
    from nkfast.app.credentials import require_credentials
    from nkfast.app.guard import guard as stand_guard
    from nkfast.app.instance import Instance
    from nkfast.app.loop import run
    from nkfast.trading.guard import GuardSettings

    instance = Instance.named(name, state_dir)
    return run(
        stand_guard(
            instance,
            require_credentials(),
            base_url=rest_url or _rest_url_of(instance),
            settings=GuardSettings(
                alarm_s=alarm_s,
                cancel_s=cancel_s,
                poll_s=min(1.0, alarm_s / 4),
                linger_s=linger_s,
            ),
            seconds=seconds,
            as_json=as_json,
        )
    )


@verb()
@click.option("--name", required=True, help="Of the instance.")
@STATE_DIR
@REST_URL
@click.option("--dry-run", is_flag=True, required=True, help="Show; the next start does it.")
@JSON
def reconcile(
    name: str,
    state_dir: Path | None,
    rest_url: str | None,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Show what an instance's journal and its account differ in, and what a start does about it.

    The key needs to read only. Nothing is changed. Exit 7: the instance runs; 9: the next start
    would halt.
    """
    from nkfast.app.credentials import require_credentials
    from nkfast.app.instance import Instance
    from nkfast.app.loop import run
    from nkfast.app.reconcile import show_plan

    instance = Instance.named(name, state_dir)
    url = rest_url or _rest_url_of(instance)
    return run(show_plan(instance, require_credentials(), base_url=url, as_json=as_json))


@verb()
@click.option("--name", required=True, help="Of the instance.")
@STATE_DIR
@REST_URL
@JSON
def recover(name: str, state_dir: Path | None, rest_url: str | None, as_json: bool) -> ExitCode:
    """Let an instance begin anew whose journal is lost, damaged, or not the exchange's story.

    Cancels every open order with the instance's ids: see to it that no copy of it runs elsewhere.
    A damaged journal is kept under another name. Exit 7: it runs, or has nothing to recover; 10:
    orders are still open.
    """
    from nkfast.app.credentials import require_credentials
    from nkfast.app.instance import Instance
    from nkfast.app.loop import run
    from nkfast.app.recover import recover_instance

    instance = Instance.named(name, state_dir)
    url = rest_url or _rest_url_of(instance)
    return run(recover_instance(instance, require_credentials(), base_url=url, as_json=as_json))


COMMANDS = (pause, resume, drain, stop, kill, guard, reconcile, recover)
