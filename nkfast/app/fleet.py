"""``nkfast up``: the bots of a fleet in one process, over one connection where they share a key."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from nkfast import __version__
from nkfast.app.alerts import alerting
from nkfast.app.config.bot import BotConfig
from nkfast.app.config.fleet import FleetConfig
from nkfast.app.connection import (
    chosen_symbols,
    open_rest,
    paper_funds,
    paper_venue,
    read_markets,
    shared_account,
)
from nkfast.app.credentials import find_credentials, require_credentials
from nkfast.app.exits import ExitCode, describe
from nkfast.app.garbage import spare_what_stays
from nkfast.app.instance import Instance, RunRecord
from nkfast.app.logs import logged, say, speaking
from nkfast.app.loop import kill_on_signal, run, stop_on_signals
from nkfast.app.narrator import Narrator
from nkfast.app.paper_account import resumed_funds
from nkfast.app.service import ServiceManager
from nkfast.client.websocket import WebSocketClient
from nkfast.core.market import Market
from nkfast.trading.account import AccountOrders
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.fleet import Ended, Fault, Fleet, Launch
from nkfast.trading.heartbeat import Heart
from nkfast.trading.journal import Journal
from nkfast.trading.kill import KILL_SWITCH
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.port import Venue
from nkfast.venue.shared import SharedVenue
from nkfast.wire.models import ApiCredentials, MarketInfo

__all__ = ["run_fleet"]

_NS = 1_000_000_000
_LOOK_S = 0.25
_PULSE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Bot:
    """One bot, its markets known."""

    name: str
    config: BotConfig
    instance: Instance
    markets: Mapping[str, Market]
    info: MarketInfo  # of the home market
    seat: Callable[[], Venue] | None  # None: a pretended account of its own
    account: AccountOrders

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.markets)


def run_fleet(
    config: FleetConfig,
    instance_of: Callable[[str], Instance],
    *,
    seconds: float | None,
    as_json: bool,
) -> ExitCode:
    """Keep a fleet up until a signal comes, the time is over, or every bot has ended.

    Parameters
    ----------
    config : FleetConfig
        Whether its live bots may trade was decided by whoever calls this.
    instance_of : callable
        Returns the instance of a name.
    seconds : float or None
        None: without an end.
    as_json : bool
        Print nothing but the summary, as one JSON object.

    Returns
    -------
    ExitCode
        OK; that of the first bot that failed for good; INCOMPLETE_STOP when orders may be left.
    """
    fleet = _Up(config, {name: instance_of(name) for name in config.bots}, as_json=as_json)
    ended, caught = run(fleet.run(seconds))
    rows = [_row(name, config.bots[name], end) for name, end in ended.items()]
    if as_json:
        click.echo(json.dumps({"fleet": str(config.path), "bots": rows}))
    else:
        for row in rows:
            click.echo(f"{row['mode'].upper()} {row['name']} is down: {row['why']}")
            for kind in ("kept", "left"):
                for order in row[kind]:
                    click.echo(f"  {'kept' if kind == 'kept' else 'MAY BE LEFT'}  {order}")
    codes = [describe(end.error).code for end in ended.values() if end.error is not None]
    if codes:
        return codes[0]
    if any(end.report.remains for end in ended.values()):
        return ExitCode.INCOMPLETE_STOP
    if not caught:
        return ExitCode.OK
    return ExitCode.SIGINT if caught[0] == signal.SIGINT else ExitCode.SIGTERM


def _row(name: str, config: BotConfig, end: Ended) -> dict[str, Any]:
    return {
        "name": name,
        "mode": config.common.mode,
        "strategy": config.strategy_name,
        "why": end.why,
        "error": None if end.error is None else str(describe(end.error)),
        "starts": len(end.faults) + 1 if end.error is None else max(len(end.faults), 1),
        "kept": [str(row) for row in end.report.kept],
        "left": [str(row) for row in end.report.remains],
    }


class _Up:
    def __init__(
        self, config: FleetConfig, instances: Mapping[str, Instance], *, as_json: bool
    ) -> None:
        self._config = config
        self._instances = instances
        self._show = None if as_json else _print_line
        self._clock = RealClock()
        self._stop = asyncio.Event()
        self._narrators: dict[str, tuple[Engine, Narrator]] = {}
        self._beats: dict[str, Callable[[int | None], None]] = {}
        self._venues: dict[str, Venue] = {}  # of the newest life of each

    async def run(self, seconds: float | None) -> tuple[Mapping[str, Ended], list[int]]:
        with ExitStack() as held, stop_on_signals(self._stop) as caught:
            for instance in self._instances.values():
                held.enter_context(instance.held())
            secrets = self._secrets()
            for name, instance in self._instances.items():
                held.enter_context(
                    logged(
                        instance.log,
                        instance=name,
                        mode=self._config.bots[name].common.mode,
                        secrets=secrets,
                        show=self._show,
                    )
                )
                self._beats[name] = held.enter_context(
                    alerting(
                        self._config.bots[name].alerts,
                        instance=name,
                        mode=self._config.bots[name].common.mode,
                        secrets=tuple(secrets),
                    )
                )
            async with AsyncExitStack() as stack:
                bots = [bot async for bot in self._bots(stack)]
                fleet = Fleet(
                    {bot.name: self._launch(bot) for bot in bots},
                    clock=self._clock,
                    restarts=self._config.restarts,
                    control={bot.name: bot.instance.control for bot in bots},
                    tell=_tell_fault,
                )
                for bot in bots:
                    self._note(bot)
                watching = asyncio.create_task(self._watch(fleet, bots, seconds))
                way_out = {bot.name: bot.config.on_exit for bot in bots}
                try:
                    with kill_on_signal(partial(_halt_all, fleet)):
                        return await fleet.run(self._stop, way_out), caught
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])

    def _secrets(self) -> list[str]:
        secrets = [secret for bot in self._config.bots.values() for secret in bot.alerts.secrets]
        if any(bot.common.mode != "paper" for bot in self._config.bots.values()):
            found = find_credentials().credentials
            if found is not None:
                secrets.append(found.api_secret)
        return secrets

    async def _bots(self, stack: AsyncExitStack) -> AsyncIterator[_Bot]:
        """Read the markets of each exchange once, and give each bot its place at a venue."""
        groups: dict[tuple[str, str, str], list[str]] = {}
        for name, config in self._config.bots.items():
            place = (config.exchange.rest_url, config.exchange.ws_url, config.common.mode)
            groups.setdefault(place, []).append(name)
        for (rest_url, ws_url, mode), group in groups.items():
            credentials = self._credentials(mode)
            is_live = mode == "live"
            rest = await stack.enter_async_context(
                open_rest(rest_url, credentials, allow_changes=is_live)
            )
            listed = await read_markets(rest)
            symbols = {
                name: chosen_symbols(
                    self._config.bots[name], {symbol: pair[0] for symbol, pair in listed.items()}
                )
                for name in group
            }
            seat = None
            account = AccountOrders()
            if credentials is not None:
                if is_live:
                    account = shared_account(rest_url, credentials, self._clock)
                connect = partial(WebSocketClient, ws_url, credentials, allow_changes=is_live)
                seat = SharedVenue(
                    partial(LiveVenue, rest=rest, websocket=connect, clock=self._clock),
                    [symbol for name in group for symbol in symbols[name]],
                ).seat
            for name in group:
                markets = {symbol: listed[symbol][0] for symbol in symbols[name]}
                yield _Bot(
                    name,
                    self._config.bots[name],
                    self._instances[name],
                    markets,
                    listed[symbols[name][0]][1],
                    seat,
                    account if seat is not None else AccountOrders(),
                )

    def _credentials(self, mode: str) -> ApiCredentials | None:
        if mode == "live":
            return require_credentials()
        return find_credentials().credentials if mode == "monitor" else None

    def _launch(self, bot: _Bot) -> Launch:
        return lambda: self._engine(bot)

    @contextmanager
    def _engine(self, bot: _Bot) -> Iterator[Engine]:
        config, instance, mode = bot.config, bot.instance, bot.config.common.mode
        with speaking(bot.name), ExitStack() as stack:
            journal = stack.enter_context(
                Journal.open(instance.journal_of(mode), instance=instance.name)
            )
            heart = None
            if mode == "live":
                heart = Heart(instance.heartbeat)
                stack.callback(heart.close)
            yield Engine(
                venue=self._venue(bot, journal),
                clock=self._clock,
                journal=journal,
                strategy=config.kind.build(config.strategy, bot.markets),
                symbol=bot.symbols[0],
                more_symbols=bot.symbols[1:],
                limits=config.risk.limits(),
                mode=mode,
                account=bot.account,
                heart=heart,
                settings=EngineSettings(instance=instance.name, kill_file=instance.kill_file),
            )

    def _venue(self, bot: _Bot, journal: Journal) -> Venue:
        venue = self._venues[bot.name] = self._make_venue(bot, journal)
        return venue

    def _make_venue(self, bot: _Bot, journal: Journal) -> Venue:
        if bot.seat is not None:
            return bot.seat()
        funds = paper_funds(bot.config, bot.markets[bot.symbols[0]], bot.info)
        if bot.config.common.mode == "paper":
            funds = resumed_funds(journal, funds)
        return paper_venue(bot.config, bot.markets, funds, self._clock)[0]

    def _note(self, bot: _Bot) -> None:
        config = bot.config
        bot.instance.note_run(
            RunRecord.of(
                config,
                mode=config.common.mode,
                symbol=bot.symbols[0],
                started_ms=self._clock.time_ns() // 1_000_000,
                fleet=str(self._config.path.resolve()),
            )
        )
        with speaking(bot.name):
            say(
                "life",
                f"nkfast {__version__} {config.strategy_name} on {', '.join(bot.symbols[:5])}"
                f" at {config.exchange.rest_url}, in the fleet {self._config.name}",
                config=config.hash,
            )

    def _newest_ns(self, bot: _Bot) -> int | None:
        """Return when the newest frame of any book came; None before the first."""
        venue = self._venues[bot.name]
        return max(venue.book(symbol).received_ns for symbol in bot.symbols) or None

    async def _watch(self, fleet: Fleet, bots: list[_Bot], seconds: float | None) -> None:
        """Say what is new with each bot, show that this process does its work, end it in time."""
        with closing(ServiceManager()) as manager:
            await self._look(fleet, bots, seconds, manager)

    async def _look(
        self, fleet: Fleet, bots: list[_Bot], seconds: float | None, manager: ServiceManager
    ) -> None:
        has_begun = False
        began_ns = self._clock.monotonic_ns()
        next_pulse_s = 0.0
        have_all_started = False
        while True:
            elapsed_s = (self._clock.monotonic_ns() - began_ns) / _NS
            for name, engine in fleet.engines.items():
                if engine.has_started:
                    known = self._narrators.get(name)
                    if known is None or known[0] is not engine:
                        known = self._narrators[name] = engine, Narrator(engine)
                    with speaking(name):
                        known[1].look(elapsed_s)
            for bot in bots:
                engine_now = fleet.engines.get(bot.name)
                has_books = engine_now is not None and engine_now.has_started
                self._beats[bot.name](self._newest_ns(bot) if has_books else None)
            if not have_all_started and len(fleet.engines) == len(bots):
                have_all_started = all(engine.has_started for engine in fleet.engines.values())
                if have_all_started:
                    spare_what_stays()
            if elapsed_s >= next_pulse_s:
                next_pulse_s = elapsed_s + _PULSE_S
                for bot in bots:
                    if bot.name not in fleet.ended:
                        bot.instance.pulse.touch(mode=0o600)
                # Each has come up once, or has failed and waits.
                has_begun = has_begun or all(
                    bot.name in self._narrators or fleet.faults[bot.name] or bot.name in fleet.ended
                    for bot in bots
                )
                if has_begun:
                    manager.alive()
            if seconds is not None and elapsed_s >= seconds:
                self._stop.set()
            await asyncio.sleep(_LOOK_S)


def _halt_all(fleet: Fleet, name: str) -> None:
    for engine in fleet.engines.values():
        engine.halt(KILL_SWITCH, name)


def _tell_fault(name: str, fault: Fault) -> None:
    with speaking(name):
        say("life", str(fault), error=str(fault.error), again_in_s=fault.wait_s)


def _print_line(line: str) -> None:
    click.echo(line)
