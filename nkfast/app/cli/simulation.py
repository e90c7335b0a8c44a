"""What runs without an exchange: ``demo``, ``replay``, ``backtest`` and ``exchange``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nkfast.app.cli.program import (
    FILE,
    FOR,
    JSON,
    SETTINGS,
    Duration,
    Speed,
    check_exists,
    group,
    print_record,
    settings_of,
    verb,
)
from nkfast.app.exits import ExitCode
from nkfast.errors import ConfigError, WireError

__all__ = ["COMMANDS"]


@verb()
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
@JSON
def demo(as_json: bool, **settings: Any) -> ExitCode:
    """Trade a grid on a simulated exchange, over real sockets; no key, no network, no money.

    Ends by itself, or at Ctrl-C, with a summary.
    """
    from nkfast.app.demo import DemoSettings, run_demo

    return run_demo(DemoSettings(**settings), as_json=as_json)


@verb()
@click.argument("tape", type=FILE)
@click.option("--strategy", default="grid", show_default=True, help="Which strategy trades.")
@SETTINGS
@click.option("--symbol", help="The market to trade; the only one of the tape is the default.")
@click.option("--seed", type=int, default=0, show_default=True)
@JSON
def replay(
    tape: Path, strategy: str, pairs: Sequence[str], symbol: str | None, seed: int, as_json: bool
) -> None:
    """Run a strategy over recorded market data; the same tape and seed give the same orders."""
    settings = settings_of(pairs)
    check_exists(tape)
    from nkfast.app.replay import replay as replay_tape

    try:
        summary = replay_tape(tape, strategy=strategy, settings=settings, seed=seed, symbol=symbol)
    except WireError as error:
        raise ConfigError(str(error), str(tape)) from error
    print_record(summary.as_json(), as_json)


@verb()
@click.argument("config", type=FILE)
@click.argument("data", nargs=-1, required=True, type=FILE)
@SETTINGS
@click.option("--seed", type=int, default=0, show_default=True, help="Of the latencies.")
@click.option("--markets", type=FILE, help="A reply of market/getlist: the rules of the markets.")
@click.option("--html", type=FILE, help="Write a report with plots here.")
@click.option("--out", type=FILE, help="Write everything as JSON here, every fill included.")
@JSON
def backtest(
    config: Path,
    data: Sequence[Path],
    pairs: Sequence[str],
    seed: int,
    markets: Path | None,
    html: Path | None,
    out: Path | None,
    as_json: bool,
) -> ExitCode:
    """Run a bot's configuration over recordings, as fast as they can be read."""
    for file in (config, *data, *((markets,) if markets is not None else ())):
        check_exists(file)
    from nkfast.app.backtest import backtest as run_backtest
    from nkfast.app.backtest_report import as_html, as_lines
    from nkfast.app.config.bot import load_config
    from nkfast.app.recorded import read_rules

    bot = load_config(config, list(settings_of(pairs).items()))
    rules = None if markets is None else read_rules(markets)
    try:
        test = run_backtest(bot, data, seed=seed, rules=rules)
    except WireError as error:
        raise ConfigError(str(error), ", ".join(map(str, data))) from error
    record = test.as_json()
    if out is not None:
        out.write_text(json.dumps(record) + "\n")
    if html is not None:
        html.write_text(as_html(test), "utf-8")
    if as_json:
        long = ("settings", "series", "executions", "plans", "newest_reasons")
        click.echo(json.dumps({name: value for name, value in record.items() if name not in long}))
    else:
        for line in as_lines(test):
            click.echo(line)
        click.echo(f"next:  open {html}" if html else "next:  the same with --html report.html")
    if not test.result.journal.ok:
        return ExitCode.UNRECONCILED
    return ExitCode.OK if test.result.error is None else ExitCode.RISK_HALT


@group()
def exchange() -> None:
    """The simulated exchange."""


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
@FOR
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends.")
@JSON
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
            check_exists(file)
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
            announce=lambda told: print_record(told, as_json),
        )
    )


@exchange.command("statistics")
@click.argument("tapes", metavar="[TAPE]...", nargs=-1, type=FILE)
@click.option("--seed", type=int, default=7, show_default=True, help="Of the market's traders.")
@click.option("--symbol", help="BTC/USDT of the traders, the busiest market of a tape without.")
@click.option(
    "--for", "seconds", type=Duration(), default="30m", show_default=True, help="Of their life."
)
@JSON
def exchange_statistics(
    tapes: Sequence[Path], seed: int, symbol: str | None, seconds: float, as_json: bool
) -> None:
    """Compare how the simulated traders' market flows with recordings: spread, depth, trades."""
    for tape in tapes:
        check_exists(tape)
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


COMMANDS = (demo, replay, backtest, exchange)
