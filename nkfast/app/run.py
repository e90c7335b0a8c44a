"""``nkfast run`` and ``nkfast paper``: a bot from its first connection to its last order."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
from rich.console import Console

from nkfast import __version__
from nkfast.app.alerts import alerting
from nkfast.app.config.bot import BotConfig
from nkfast.app.connection import Connection, connected
from nkfast.app.credentials import find_credentials
from nkfast.app.exits import ExitCode, describe
from nkfast.app.garbage import spare_what_stays
from nkfast.app.instance import Instance, RunRecord
from nkfast.app.logs import logged, say
from nkfast.app.loop import kill_on_signal, run, stop_on_signals
from nkfast.app.narrator import Narrator, priced
from nkfast.app.paper_account import resumed_funds
from nkfast.app.screens import LiveScreen
from nkfast.app.service import ServiceManager
from nkfast.app.views import Viewer
from nkfast.core.grid import min_step
from nkfast.errors import NkfastError
from nkfast.trading.control import Control
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.exact import plain
from nkfast.trading.heartbeat import Heart
from nkfast.trading.journal import Journal
from nkfast.trading.kill import KILL_SWITCH
from nkfast.trading.life import LeftOrder, LeftPlan, OnExit
from nkfast.venue.clock import RealClock

__all__ = ["run_bot"]

_NS = 1_000_000_000
#: The engine is looked at this often; it does not wait for it.
_LOOK_S = 0.25
#: So often its pulse says that the loop turns.
_PULSE_S = 1.0
_STATUS_S, _STATUS_LEAST_S = 60.0, 5.0
_STATUS_LINES = 10


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a run ended."""

    record: dict[str, Any]
    error: BaseException | None
    left: tuple[LeftOrder | LeftPlan, ...]
    signal_number: int

    @property
    def exit_code(self) -> ExitCode:
        if self.error is not None:
            return describe(self.error).code
        if self.left:
            return ExitCode.INCOMPLETE_STOP
        if self.signal_number == signal.SIGINT:
            return ExitCode.SIGINT
        return ExitCode.SIGTERM if self.signal_number else ExitCode.OK


def run_bot(
    config: BotConfig,
    instance: Instance,
    *,
    seconds: float | None,
    as_json: bool,
    metrics_port: int | None = None,
) -> ExitCode:
    """Trade until a signal comes, the time is over, or something ends trading.

    Parameters
    ----------
    config : BotConfig
        Its mode was decided by whoever calls this.
    seconds : float or None
        None: without an end.
    as_json : bool
        Print nothing but the summary, as one JSON object.
    metrics_port : int or None
        Where Prometheus may ask, on this machine; 0 takes a free port.

    Raises
    ------
    nkfast.errors.NkfastError
        It could not begin.
    """
    bot = _Run(config, instance, seconds, as_json=as_json, metrics_port=metrics_port)
    outcome = run(bot.run())
    if as_json:
        click.echo(json.dumps(outcome.record))
    else:
        _print_end(outcome)
    if outcome.error is not None:
        raise outcome.error
    return outcome.exit_code


def _print_end(outcome: _Outcome) -> None:
    record = outcome.record
    mode = record["mode"].upper()
    click.echo(
        f"{mode} {record['name']} ended by {record['ended_by']} after {record['seconds']:.1f} s"
    )
    if "orders" in record:
        fees = ", ".join(f"{fee} {asset}" for asset, fee in record["fees"].items()) or "none"
        click.echo(
            f"{record['orders']} orders, {record['fills']} fills, {record['rejects']} rejected,"
            f" {record['unknown_orders']} unknown, {record['open_orders']} left open"
        )
        if record["mode"] == "monitor":
            click.echo(f"would place {len(record['desired'])} orders; nothing was sent")
        else:
            click.echo(f"realized {record['realized']} {record['quote']}, fees {fees}")
    if record["kept"]:
        click.echo(f"{len(record['kept'])} orders rest on, as on_exit says")
    for row in outcome.left:
        click.echo(f"MAY BE LEFT  {row}")
    click.echo(f"why not:  nkfast why --name {record['name']}")


class _Run:
    def __init__(
        self,
        config: BotConfig,
        instance: Instance,
        seconds: float | None,
        *,
        as_json: bool,
        metrics_port: int | None,
    ) -> None:
        self._metrics_port = metrics_port
        self._config = config
        self._instance = instance
        self._seconds = seconds
        self._as_json = as_json
        self._mode = config.common.mode
        self._on_exit: OnExit = config.on_exit
        self._clock = RealClock()
        self._stop = asyncio.Event()
        console = Console()
        is_screen = console.is_terminal and console.encoding.startswith("utf") and not as_json
        self._screen = LiveScreen(console) if is_screen else None

    async def run(self) -> _Outcome:
        instance = self._instance
        found = find_credentials() if self._mode != "paper" else None
        secrets = []
        if found is not None and found.credentials is not None:
            secrets = [found.credentials.api_secret]
        secrets += self._config.alerts.secrets
        is_plain = self._screen is None and not self._as_json
        with (
            instance.held(),
            stop_on_signals(self._stop) as caught,
            logged(
                instance.log,
                instance=instance.name,
                mode=self._mode,
                secrets=secrets,
                show=_print_line if is_plain else None,
            ),
            alerting(
                self._config.alerts,
                instance=instance.name,
                mode=self._mode,
                secrets=tuple(secrets),
            ) as self._beat,
        ):
            with ExitStack() as stack:
                journal = stack.enter_context(
                    Journal.open(instance.journal_of(self._mode), instance=instance.name)
                )
                resume = partial(resumed_funds, journal) if self._mode == "paper" else None
                async with connected(self._config, self._clock, resume) as connection:
                    self._note(connection)
                    heart = None
                    if self._mode == "live":
                        heart = Heart(instance.heartbeat)
                        stack.callback(heart.close)
                    engine = self._engine(connection, journal, heart)
                    async with self._metrics(engine, connection):
                        return await self._trade(engine, connection, caught)

    @asynccontextmanager
    async def _metrics(self, engine: Engine, connection: Connection) -> AsyncIterator[None]:
        if self._metrics_port is None:
            yield
            return
        from nkfast.app.metrics import EngineMetrics, serve_metrics  # noqa: PLC0415 - if wanted

        name, strategy = self._instance.name, self._config.strategy_name
        metrics = EngineMetrics(engine, connection, self._clock, instance=name, strategy=strategy)
        async with serve_metrics(metrics, self._metrics_port) as address:
            say("life", f"metrics at {address}", address=address)
            yield

    def _note(self, connection: Connection) -> None:
        config = self._config
        self._instance.note_run(
            RunRecord.of(
                config,
                mode=self._mode,
                symbol=connection.symbols[0],
                started_ms=self._clock.time_ns() // 1_000_000,
            )
        )
        say(
            "life",
            f"nkfast {__version__} {config.strategy_name} on {', '.join(connection.symbols[:5])}"
            f" at {config.exchange.rest_url}, {connection.account} money",
            config=config.hash,
        )
        fee_rate = getattr(config.strategy, "fee_rate", None)
        if fee_rate is not None:
            cost = f"{min_step(fee_rate) * 100:.4f}"
            text = f"a round trip costs {cost} % at fee_rate {plain(fee_rate)} a side"
            say("life", text, round_trip_pct=cost)

    def _engine(self, connection: Connection, journal: Journal, heart: Heart | None) -> Engine:
        return Engine(
            venue=connection.venue,
            clock=self._clock,
            journal=journal,
            strategy=connection.strategy,
            symbol=connection.symbols[0],
            more_symbols=connection.symbols[1:],
            limits=self._config.risk.limits(),
            mode=self._mode,
            account=connection.orders,
            heart=heart,
            settings=EngineSettings(
                instance=self._instance.name,
                kill_file=self._instance.kill_file,
            ),
        )

    async def _trade(self, engine: Engine, connection: Connection, caught: list[int]) -> _Outcome:
        began_ns = self._clock.monotonic_ns()
        control = Control(self._instance.control, self._stop)
        control.watch()
        error: BaseException | None = None
        ended_by = "stop"
        is_started = False
        try:
            is_started = await self._start(engine)
            if is_started:
                spare_what_stays()
                control.steered = engine
                with kill_on_signal(lambda name: engine.halt(KILL_SWITCH, name)):
                    ended_by = await self._watch(engine, connection, began_ns)
        except NkfastError as failure:
            error, ended_by = failure, "error"
        finally:
            report = await engine.stop(control.on_exit or self._on_exit)
            control.finish(report, engine.error)
        error = engine.error or error
        if caught and ended_by == "stop":
            ended_by = "signal"
        if error is not None:
            ended_by = "error"
        seconds = (self._clock.monotonic_ns() - began_ns) / _NS
        record: dict[str, Any] = {
            "name": self._instance.name,
            "mode": self._mode,
            "strategy": self._config.strategy_name,
            "symbol": connection.symbols[0],
            "quote": connection.symbols[0].split("/")[1],
            "config": self._config.hash,
            "seconds": round(seconds, 3),
            "ended_by": ended_by,
            "error": None if error is None else str(describe(error)),
            "kept": [row._asdict() for row in report.kept],
            "left": [row._asdict() for row in report.remains],
        }
        if is_started:
            record |= engine.summary().as_json()
            if self._mode == "monitor":
                record["desired"] = _wishes(engine)
        say("life", f"ended by {ended_by}", **({} if error is None else {"error": str(error)}))
        return _Outcome(record, error, report.remains, caught[0] if caught else 0)

    async def _start(self, engine: Engine) -> bool:
        """Start the engine; False when it was asked to stop before it had."""
        starting = asyncio.create_task(engine.start())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not starting.done():
                starting.cancel()
            await asyncio.wait({starting, stopping})
        if starting.cancelled():
            return False
        await starting
        return True

    async def _watch(self, engine: Engine, connection: Connection, began_ns: int) -> str:
        viewer = Viewer(
            engine,
            connection.venue,
            mode=self._mode,
            title=self._instance.name,
            place=self._config.exchange.rest_url.split("/")[2],
            details=f"{self._config.strategy_name}, {connection.account} money",
            total_s=self._seconds,
            counters=connection.counters,
            skew_ms=lambda: connection.rest.skew_ms,
        )
        narrator = Narrator(engine)
        status_s = _STATUS_S if self._seconds is None else self._seconds / _STATUS_LINES
        next_pulse_s = 0.0
        next_status_s = status_s = max(_STATUS_LEAST_S, min(status_s, _STATUS_S))
        trading = asyncio.create_task(engine.run(self._stop))
        try:
            with closing(ServiceManager()) as manager, self._screen or nullcontext():
                while True:
                    elapsed_s = (self._clock.monotonic_ns() - began_ns) / _NS
                    narrator.look(elapsed_s)
                    self._beat(_newest_ns(connection))
                    if elapsed_s >= next_pulse_s:
                        self._instance.pulse.touch(mode=0o600)
                        manager.alive()
                        next_pulse_s = elapsed_s + _PULSE_S
                    if elapsed_s >= next_status_s:
                        narrator.status(elapsed_s)
                        next_status_s += status_s
                    if self._screen is not None:
                        self._screen.show(viewer.view(elapsed_s))
                    left_s = _LOOK_S if self._seconds is None else self._seconds - elapsed_s
                    if left_s <= 0:
                        return "time"
                    done, _ = await asyncio.wait({trading}, timeout=min(left_s, _LOOK_S))
                    if done:
                        return "stop" if self._stop.is_set() else "drained"
        finally:
            narrator.look(elapsed_s)
            self._stop.set()
            await trading


def _newest_ns(connection: Connection) -> int | None:
    """Return when the newest frame of any book came; None before the first."""
    times = [connection.venue.book(symbol).received_ns for symbol in connection.symbols]
    return max(times) or None


def _wishes(engine: Engine) -> list[dict[str, str]]:
    desired = engine.desired
    return [
        {
            "slot": slot,
            "symbol": quote.symbol or engine.symbol,
            "side": quote.side,
            "price": priced(quote.price),
            "quantity": plain(quote.quantity),
        }
        for slot, quote in (desired.quotes.items() if desired is not None else ())
    ]


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
