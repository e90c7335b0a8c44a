"""The command line: ``nkfast`` and ``python -m nkfast``.

Only click is imported here; what a command needs is imported when it runs, so that help and
completion answer at once.
"""

import difflib
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from nkfast import __version__
from nkfast.app.exits import ExitCode, Failure, describe
from nkfast.errors import ConfigError, WireError

__all__ = ["main"]

SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SPEED_MAX = 1000.0
FILE = click.Path(path_type=Path)


class Duration(click.ParamType[float]):
    """A length of time: ``30s``, ``10m``, ``1.5h``, or a number of seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        digits, unit = (value[:-1], value[-1]) if value[-1:].isalpha() else (value, "s")
        try:
            seconds = float(digits) * SECONDS_PER_UNIT[unit]
        except (KeyError, ValueError):
            self.fail(f"{value!r} is no length of time; write 30s, 10m or 1.5h", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not above zero and finite", param, ctx)
        return seconds


class Speed(click.ParamType[float]):
    """How many times faster than life a simulated market moves: ``60x`` or ``60``."""

    name = "speed"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the factor."""
        if isinstance(value, float):
            return value
        try:
            factor = float(value.removesuffix("x"))
        except ValueError:
            self.fail(f"{value!r} is no factor; write 1x or 60x", param, ctx)
        if not 0 < factor <= SPEED_MAX:
            self.fail(f"{value!r} is not above 0x and at most {SPEED_MAX:g}x", param, ctx)
        return factor


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error."
    )


class Verb(click.Command):
    """A command; every one takes ``--debug``."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.params.append(_debug_option())


class Verbs(click.Group):
    """A group of commands; it takes ``--debug`` too."""

    command_class = Verb

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.params.append(_debug_option())


class Program(Verbs):
    """The root: it turns every error into one line and an exit code."""

    group_class = Verbs

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command line and end the process; a command returns its `ExitCode` or None."""
        words = sys.argv[1:] if args is None else list(args)
        extra["standalone_mode"] = False
        try:
            result = super().main(words, **extra)
        except Exception as error:
            if "--debug" in words:
                traceback.print_exception(error)
            failure = describe(error)
            click.echo(str(failure), err=True)
            result = failure.code
        sys.exit(int(result or ExitCode.OK))


@click.group(
    cls=Program,
    name="nkfast",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="nkfast %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Trade on the NonKYC.io exchange; try it first on a simulated one: nkfast demo."""
    _help_when_bare(ctx)


@main.command()
@click.option(
    "--for", "seconds", type=Duration(), default="30s", show_default=True, help="How long to trade."
)
@click.option(
    "--seed", type=int, default=7, show_default=True, help="The same seed, the same market."
)
@click.option(
    "--speed", type=Speed(), default="60x", show_default=True, help="How fast the market moves."
)
@click.option("--journal", type=FILE, help="Keep the journal here, for nkfast journal verify.")
@click.option("--tape", type=FILE, help="Keep every received frame here, for nkfast replay.")
@click.option("--json", "as_json", is_flag=True, help="Print only the summary, as one JSON object.")
def demo(as_json: bool, **settings: Any) -> ExitCode:
    """Trade a grid on a simulated exchange, over real sockets; no key, no network, no money.

    Ends by itself, or at Ctrl-C, with a summary.
    """
    from nkfast.app.demo import DemoSettings, run_demo

    return run_demo(DemoSettings(**settings), as_json=as_json)


@main.command()
@click.argument("tape", type=FILE)
@click.option("--strategy", default="grid", show_default=True, help="Which strategy trades.")
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Set one parameter of the strategy."
)
@click.option("--symbol", help="The market to trade; the only one of the tape is the default.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def replay(
    tape: Path, strategy: str, pairs: Sequence[str], symbol: str | None, seed: int, as_json: bool
) -> None:
    """Run a strategy over recorded market data; the same tape and seed give the same orders."""
    settings = _settings(pairs)
    _check_exists(tape)
    from nkfast.app.replay import replay as replay_tape

    try:
        summary = replay_tape(tape, strategy=strategy, settings=settings, seed=seed, symbol=symbol)
    except WireError as error:
        raise ConfigError(str(error), str(tape)) from error
    _print_record(summary.as_json(), as_json)


@main.group(invoke_without_command=True)
@click.pass_context
def exchange(ctx: click.Context) -> None:
    """The simulated exchange."""
    _help_when_bare(ctx)


@exchange.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="0, the default, takes a free one."
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of the market's traders.")
@click.option("--key", default="demo-key", show_default=True, help="API key of the account.")
@click.option(
    "--secret", default="demo-secret", show_default=True, help="Its secret; guards pretended money."
)
@click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input instead.")
@click.option("--markets", type=FILE, help="A reply of market/getlist; fourteen markets without.")
@click.option("--speed", type=Speed(), default="1x", show_default=True, help="How fast it moves.")
@click.option("--balances", help="Of the account: BTC=1,USDT=5000; some of everything without.")
@click.option("--accounts", type=FILE, help="More accounts: a JSON array of key, secret, balances.")
@click.option(
    "--weather",
    default="clear",
    show_default=True,
    help="What goes wrong: drizzle, rain, storm, fog, or a file with a JSON array of rules like "
    '{"fault": "reset_after", "on": "create", "after": 2, "times": 1}.',
)
@click.option("--control", "has_control", is_flag=True, help="Let the weather be changed by HTTP.")
@click.option("--rate-limit", type=click.FloatRange(min=0, min_open=True), help="Requests a second")
@click.option("--replay", type=FILE, help="A tape whose market is lived through again.")
@click.option("--record", type=FILE, help="Keep all market data here, for nkfast replay.")
@click.option("--paranoid", "is_paranoid", is_flag=True, help="Check the books after every step.")
@click.option("--tls", metavar="PEM", help="Certificate and key in one file, or: self-signed.")
@click.option(
    "--set", "variants", multiple=True, metavar="NAME=VALUE", help="As others saw it: book_time=iso"
)
@click.option("--for", "seconds", type=Duration(), help="Stop after this time.")
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON object.")
def exchange_serve(
    seconds: float | None,
    secret_stdin: bool,
    until_eof: bool,
    markets: Path | None,
    balances: str | None,
    accounts: Path | None,
    weather: str,
    rate_limit: float | None,
    replay: Path | None,
    record: Path | None,
    tls: str | None,
    variants: Sequence[str],
    as_json: bool,
    **settings: Any,
) -> None:
    """Serve a simulated exchange on this machine until SIGINT or SIGTERM."""
    for file in (markets, accounts, replay):
        if file is not None:
            _check_exists(file)
    if secret_stdin:
        settings["secret"] = sys.stdin.readline().rstrip("\r\n")
    from nkfast.app.loop import run
    from nkfast.app.serve import (
        load_accounts,
        load_recording,
        load_weather,
        read_balances,
        read_variants,
        serve,
        tls_context,
    )
    from nkfast.exchange.server import ExchangeSettings

    if markets is not None and replay is not None:
        raise ConfigError("a recording brings its own markets: leave --markets out", "--replay")
    listed, recording = (markets, None) if replay is None else load_recording(replay)
    run(
        serve(
            ExchangeSettings(
                markets=listed,
                recording=recording,
                balances=None if balances is None else read_balances(balances),
                more_accounts=() if accounts is None else load_accounts(accounts),
                weather=load_weather(weather),
                rate_limit_per_s=rate_limit,
                tls=None if tls is None else tls_context(tls),
                **read_variants(variants),
                **settings,
            ),
            seconds=seconds,
            until_eof=until_eof,
            record=record,
            announce=lambda told: _print_record(told, as_json),
        )
    )


@exchange.command("statistics")
@click.argument("tapes", metavar="[TAPE]...", nargs=-1, type=FILE)
@click.option("--seed", type=int, default=7, show_default=True, help="Of the market's traders.")
@click.option("--symbol", help="BTC/USDT of the traders, the busiest market of a tape without.")
@click.option(
    "--for", "seconds", type=Duration(), default="30m", show_default=True, help="Of their life."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a source.")
def exchange_statistics(
    tapes: Sequence[Path], seed: int, symbol: str | None, seconds: float, as_json: bool
) -> None:
    """Compare how the simulated traders' market flows with recordings: spread, depth, trades."""
    for tape in tapes:
        _check_exists(tape)
    from nkfast.app.flow import flow_of_crowd, flow_of_tape, side_by_side

    flows = [flow_of_crowd(seed, seconds, symbol or "BTC/USDT").as_json()]
    try:
        flows += [flow_of_tape(tape, symbol).as_json() for tape in tapes]
    except WireError as error:
        raise ConfigError(str(error)) from error
    if as_json:
        for record in flows:
            click.echo(json.dumps(record))
    else:
        click.echo(side_by_side(flows))


@main.group(invoke_without_command=True)
@click.pass_context
def journal(ctx: click.Context) -> None:
    """The journal of orders and fills."""
    _help_when_bare(ctx)


@journal.command("verify")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def journal_verify(file: Path, as_json: bool) -> ExitCode:
    """Compute every order and balance again from the events and compare. Exit 9: they differ."""
    _check_exists(file)
    from nkfast.trading.journal import verify

    report = verify(file)
    record = {
        "ok": report.ok,
        "orders": report.orders,
        "fills": report.fills,
        "differences": list(report.differences),
    }
    _print_record(record, as_json)
    return ExitCode.OK if report.ok else ExitCode.UNRECONCILED


@journal.command("clear")
@click.argument("file", type=FILE)
@click.argument("cause")
@click.option("--name", required=True, help="Name of the instance that the journal belongs to.")
def journal_clear(file: Path, cause: str, name: str) -> None:
    """Let an instance trade again that was halted; CAUSE is the code that the halt named."""
    _check_exists(file)
    from nkfast.trading.journal import Journal
    from nkfast.trading.life import clear_halt
    from nkfast.venue.clock import RealClock

    with Journal.open(file, instance=name) as journal:
        clear_halt(journal, cause, RealClock().time_ns() // 1_000_000)
    click.echo(f"cleared {cause}: {name} may be started")


@main.command()
@click.argument("file", type=FILE)
@click.option("--code", help="One reason only, such as MAX_OPEN_ORDERS.")
@click.option("--last", type=click.IntRange(0), default=10, show_default=True, help="So many.")
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON object.")
def why(file: Path, code: str | None, last: int, as_json: bool) -> None:
    """Say why not: the actions that an instance considered and did not take, from its journal."""
    _check_exists(file)
    from nkfast.app.why import print_reasons

    print_reasons(file, code, last, as_json=as_json)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON object.")
def paths(as_json: bool) -> None:
    """Show the directories that nkfast keeps things in. NKFAST_HOME moves them."""
    from nkfast.app.directories import nonce_directory, state_directory

    _print_record({"state": str(state_directory()), "nonces": str(nonce_directory())}, as_json)


STATE_DIR = click.option(
    "--state-dir", type=FILE, help="Where state is kept; NKFAST_HOME or the platform's place."
)


@main.command()
@click.argument("name")
@click.option("--reason", default="nkfast kill", help="Kept in the file, for who finds it.")
@STATE_DIR
def kill(name: str, reason: str, state_dir: Path | None) -> ExitCode:
    """Stop an instance's trading at once: it cancels its orders and stays halted.

    Makes the file that the instance, and its guard, look for; it needs neither to be well.
    """
    from nkfast.app.instance import Instance

    instance = Instance.named(name, state_dir)
    try:
        instance.kill(reason)
    except FileNotFoundError:
        message = f"nothing is known of an instance {name}; is it another --state-dir?"
        click.echo(str(Failure(ExitCode.NOT_FOUND, str(instance.folder), message)), err=True)
        return ExitCode.NOT_FOUND
    click.echo(
        f"thrown: {instance.kill_file}\nto trade again: remove it, then"
        f" nkfast journal clear {instance.journal} KILL_SWITCH --name {name}"
    )
    return ExitCode.OK


@main.command()
@click.option("--name", required=True, help="Of the instance to be guarded.")
@STATE_DIR
@click.option("--rest-url", help="Of the exchange; NonKYC's own without.")
@click.option("--key", required=True, help="API key; one of its own is best.")
@click.option("--secret-stdin", is_flag=True, required=True, help="Read its secret from there.")
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
@click.option("--for", "seconds", type=Duration(), help="Stop after this time.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object.")
def guard(
    name: str,
    state_dir: Path | None,
    rest_url: str | None,
    key: str,
    secret_stdin: bool,
    alarm_s: float,
    cancel_s: float,
    linger_s: float,
    seconds: float | None,
    as_json: bool,
) -> ExitCode:
    """Cancel an instance's orders when its heart stands still: killed, stuck, asleep.

    Run it beside the instance. It cannot place orders. Exit 0: it never had to act; 8: it
    cancelled; 10: it ended while orders were open.
    """
    from nkfast.app.guard import guard as stand_guard
    from nkfast.app.instance import Instance
    from nkfast.app.loop import run
    from nkfast.client.rest_session import BASE_URL
    from nkfast.trading.guard import GuardSettings
    from nkfast.wire.models import ApiCredentials

    credentials = ApiCredentials(key, sys.stdin.readline().rstrip("\r\n"))
    return run(
        stand_guard(
            Instance.named(name, state_dir),
            credentials,
            base_url=rest_url or BASE_URL,
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


@main.command()
@click.option("--name", required=True, help="Of the instance.")
@STATE_DIR
@click.option("--rest-url", help="Of the exchange; NonKYC's own without.")
@click.option("--key", required=True, help="API key; it needs to read only.")
@click.option("--secret-stdin", is_flag=True, required=True, help="Read its secret from there.")
@click.option("--dry-run", is_flag=True, required=True, help="Show; the next start does it.")
@click.option("--json", "as_json", is_flag=True, help="Print the steps as one JSON list.")
def reconcile(
    name: str,
    state_dir: Path | None,
    rest_url: str | None,
    key: str,
    secret_stdin: bool,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Show what an instance's journal and its account differ in, and what a start does about it.

    Nothing is changed. Exit 7: the instance runs; 9: the next start would halt.
    """
    from nkfast.app.instance import Instance
    from nkfast.app.loop import run
    from nkfast.app.reconcile import show_plan
    from nkfast.client.rest_session import BASE_URL
    from nkfast.wire.models import ApiCredentials

    credentials = ApiCredentials(key, sys.stdin.readline().rstrip("\r\n"))
    instance = Instance.named(name, state_dir)
    plan = show_plan(instance, credentials, base_url=rest_url or BASE_URL, as_json=as_json)
    return run(plan)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object.")
def version(as_json: bool) -> None:
    """Show the version and what this installation runs on."""
    import platform

    from nkfast.app.loop import loop_name
    from nkfast.core import signing

    record = {
        "nkfast": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "event_loop": loop_name(),
        "signing": signing.backend(),
    }
    _print_record(record, as_json)


def _help_when_bare(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _check_exists(path: Path) -> None:
    if path.is_file():
        return
    siblings = [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    hint = f"; did you mean {path.parent / near[0]}?" if near else ""
    raise ConfigError(f"no such file{hint}", str(path))


def _settings(pairs: Sequence[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{pair!r} is not KEY=VALUE", "--set")
        settings[key.strip()] = value.strip()
    return settings


def _print_record(record: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record))
        return
    width = max(map(len, record))
    for key, value in record.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"{key:<{width}}  {shown}")
