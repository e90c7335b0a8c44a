"""``nkfast demo``: a grid trades on a simulated exchange, over real sockets.

What runs here is what trades live: the clients with their signatures and nonces, the engine, the
journal. Only the exchange at the other end of the sockets is ours, in a process of its own.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from nkfast.app.exits import ExitCode
from nkfast.app.loop import run, stop_on_signals
from nkfast.app.screens import LiveScreen, ProgressLines, Screen
from nkfast.app.simulator import Simulator, started
from nkfast.app.views import Viewer
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.nonces import KeyNonces
from nkfast.client.websocket import WebSocketClient
from nkfast.core.market import Market
from nkfast.errors import ConfigError, UnreachableError
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.engine import Engine, EngineSummary
from nkfast.trading.exact import ZERO, add, plain
from nkfast.trading.journal import Journal, verify
from nkfast.trading.ledger import Ledger
from nkfast.trading.life import LeftOrder
from nkfast.trading.risk import RiskLimits
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.tape import TapeWriter
from nkfast.wire.models import ApiCredentials

__all__ = ["DemoSettings", "DemoSummary", "agrees", "run_demo"]

SYMBOL = "BTC/USDT"
INSTANCE = "demo"
#: A step that pays two fees and little more, so that a minute has something to show.
GRID = GridSettings(
    step_pct=Decimal("0.005"),
    n_buy_levels=6,
    n_sell_levels=6,
    base_order_size=Decimal("0.003"),
    fee_buffer_pct=Decimal("0.0001"),
)
LIMITS = RiskLimits(
    max_order_notional=Decimal(1000),
    max_open_orders=40,
    max_position=Decimal(1000),
    max_daily_loss=Decimal(1000),
)
#: Given to the exchange beyond the trading time, for the start, the end and the last look.
GRACE_S = 60.0
NS = 1_000_000_000
Tap = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What ``nkfast demo`` is told; without a ``journal`` it keeps a temporary one."""

    seconds: float
    seed: int
    speed: float
    journal: Path | None = None
    tape: Path | None = None

    def __post_init__(self) -> None:
        # Another run's orders and frames belong to another exchange.
        for path in (self.journal, self.tape):
            if path is not None and path.exists():
                raise ConfigError("exists already; name a new file", str(path))


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What a demo did, and whether its books agree with the exchange's and with themselves."""

    settings: DemoSettings
    traded_s: float
    ended_by: str
    engine: EngineSummary
    counters: Mapping[str, int]
    journal_verified: bool
    ledger_matches_exchange: bool
    left: tuple[LeftOrder, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """Return 0 when nothing is left open and all books agree."""
        if not (self.journal_verified and self.ledger_matches_exchange):
            return ExitCode.UNRECONCILED
        if self.left:
            return ExitCode.INCOMPLETE_STOP
        return ExitCode.OK

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON; money is text in plain digits."""
        return {
            "symbol": SYMBOL,
            "seed": self.settings.seed,
            "speed": self.settings.speed,
            "seconds": round(self.traded_s, 3),
            "ended_by": self.ended_by,
            **self.engine.as_json(),
            "journal_verified": self.journal_verified,
            "ledger_matches_exchange": self.ledger_matches_exchange,
            "left": [row._asdict() for row in self.left],
            **_sorted_counters(self.counters),
        }


def run_demo(settings: DemoSettings, *, as_json: bool) -> ExitCode:
    """Trade, show it, print the summary."""
    summary = run(_Demo(settings, _choose_screen(as_json)).run())
    if as_json:
        click.echo(json.dumps(summary.as_json()))
    else:
        click.echo("\n".join(_closing_lines(summary)))
    return summary.exit_code


def _choose_screen(as_json: bool) -> Screen | None:
    if as_json:
        return None
    console = Console()
    if console.is_terminal and console.encoding.startswith("utf"):
        return LiveScreen(console)
    return ProgressLines(sys.stdout)


def _closing_lines(summary: DemoSummary) -> Iterator[str]:
    engine, settings = summary.engine, summary.settings
    quote = SYMBOL.split("/")[1]
    fees = ", ".join(f"{plain(fee)} {asset}" for asset, fee in engine.fees.items()) or "none"
    yield (
        f"traded for {summary.traded_s:.1f} s: {engine.orders} orders, {engine.fills} fills, "
        f"{engine.rejects} rejected, {engine.unknown_orders} unknown, "
        f"{engine.open_orders} left open"
    )
    yield f"realized     {plain(engine.realized)} {quote} after fees of {fees}"
    p50, p99 = (engine.tick_to_order_us[key] for key in ("p50", "p99"))
    if p50 is not None and p99 is not None:
        yield f"speed        frame in to order out: p50 {p50:.0f} us, p99 {p99:.0f} us"
    yield f"journal      {'verified' if summary.journal_verified else 'CONTRADICTS ITSELF'}"
    agreement = "the exchange's, to the last digit"
    yield f"balances     {agreement if summary.ledger_matches_exchange else 'DIFFER'}"
    for row in summary.left:
        yield f"MAY BE LEFT  {row}"
    if engine.reasons:
        reasons = ", ".join(f"{code} {count}" for code, count in sorted(engine.reasons.items()))
        yield f"not done     {reasons}"
    yield ""
    if settings.journal is None and settings.tape is None:
        yield "next:  nkfast init grid    a bot of your own, for pretended money on the real market"
    if settings.journal is not None:
        yield f"next:  nkfast journal verify {settings.journal}"
    if settings.tape is not None:
        yield f"next:  nkfast replay {settings.tape} --symbol {SYMBOL}"


class _Demo:
    """One demo, from the first socket to the last."""

    def __init__(self, settings: DemoSettings, screen: Screen | None) -> None:
        self._settings = settings
        self._screen = screen
        self._clock = RealClock()
        self._stop = asyncio.Event()

    async def run(self) -> DemoSummary:
        settings = self._settings
        with (
            stop_on_signals(self._stop),
            _journal_path(settings.journal) as path,
            self._tape() as tap,
        ):
            async with started(
                seed=settings.seed, speed=settings.speed, seconds=settings.seconds + GRACE_S
            ) as simulator:
                return await self._trade(simulator, path, tap)

    @contextmanager
    def _tape(self) -> Iterator[Tap | None]:
        if self._settings.tape is None:
            yield None
            return
        unix_offset_ns = self._clock.time_ns() - self._clock.monotonic_ns()
        with TapeWriter(self._settings.tape) as tape:
            yield lambda received_ns, frame: tape.write(unix_offset_ns + received_ns, frame)

    async def _trade(self, simulator: Simulator, path: Path, tap: Tap | None) -> DemoSummary:
        credentials = ApiCredentials(simulator.api_key, simulator.api_secret)
        # The key is new with each run: there are no nonces of it to remember or to share.
        nonces = KeyNonces(credentials.api_key, is_shared=False)
        async with AsyncRestClient(
            credentials, base_url=simulator.rest_url, allow_changes=True, nonces=nonces
        ) as rest:
            before = await _totals(rest)
            market = Market.from_wire((await rest.get_market(symbol=SYMBOL)).raw)
            connect = partial(
                WebSocketClient, simulator.ws_url, credentials, allow_changes=True, tap=tap
            )
            venue = LiveVenue(rest=rest, websocket=connect, clock=self._clock)
            with Journal.open(path, instance=INSTANCE, durability="process") as journal:
                engine = Engine(
                    venue=venue,
                    clock=self._clock,
                    journal=journal,
                    strategy=Grid(GRID, market),
                    symbol=SYMBOL,
                    limits=LIMITS,
                    mode="live",
                )
                try:
                    await engine.start()
                    began_ns = self._clock.monotonic_ns()
                    with self._screen or nullcontext():
                        ended_by = await self._watch(engine, venue, simulator, began_ns)
                    traded_s = self._seconds_since(began_ns)
                finally:
                    # Where no exchange is, nothing can be cancelled.
                    report = await engine.stop("keep" if simulator.exited.done() else "cancel")
                if engine.error is not None:  # the stop itself found something wrong
                    raise engine.error
                return DemoSummary(
                    settings=self._settings,
                    traded_s=traded_s,
                    ended_by=ended_by,
                    engine=engine.summary(),
                    counters=venue.counters,
                    journal_verified=verify(path).ok,
                    ledger_matches_exchange=agrees(engine.ledger, before, await _totals(rest)),
                    left=report.left,
                )

    async def _watch(
        self, engine: Engine, venue: LiveVenue, simulator: Simulator, began_ns: int
    ) -> str:
        """Show the engine at work until it is over; return what ended it."""
        total_s, screen = self._settings.seconds, self._screen
        interval_s = total_s if screen is None else screen.interval_s(total_s)
        viewer = Viewer(
            engine,
            venue,
            mode="demo",
            title="grid",
            place=f"simulated exchange {simulator.rest_url.split('/')[2]}",
            details=(
                f"seed {self._settings.seed}, {self._settings.speed:g}x, "
                f"process {simulator.process_id}"
            ),
            total_s=total_s,
        )
        trading = asyncio.create_task(engine.run(self._stop))
        # The first orders come before the first picture.
        await asyncio.sleep(0)
        try:
            while True:
                elapsed_s = self._seconds_since(began_ns)
                if screen is not None:
                    screen.show(viewer.view(elapsed_s))
                left_s = total_s - self._seconds_since(began_ns)
                if left_s <= 0:
                    return "time"
                done, _ = await asyncio.wait(
                    {trading, simulator.exited},
                    timeout=min(left_s, interval_s),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if simulator.exited in done:
                    raise UnreachableError("the simulated exchange ended while the demo traded")
                if trading in done:
                    return "signal"
        finally:
            self._stop.set()
            await trading

    def _seconds_since(self, began_ns: int) -> float:
        return (self._clock.monotonic_ns() - began_ns) / NS


async def _totals(rest: AsyncRestClient) -> dict[str, Decimal]:
    balances = await rest.get_balances()
    return {balance.asset: add(balance.available, balance.held) for balance in balances}


def agrees(ledger: Ledger, before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> bool:
    """Whether what the exchange says is what we counted, to the last digit.

    Twice: the ledger's balances, and the balances of the start moved by every fill and fee.

    Parameters
    ----------
    before, after : mapping of str to Decimal
        The exchange's totals by asset, at the start and when nothing is open any more.
    """
    profit = ledger.profit
    moved = {profit.base_asset: profit.position, profit.quote_asset: profit.cash}
    return all(
        ledger.total(asset) == total == add(before.get(asset, ZERO), moved.get(asset, ZERO))
        for asset, total in after.items()
    )


def _sorted_counters(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Group the venue's counters; zeros are left out of all but the rejections."""
    groups: dict[str, dict[str, int]] = {"frames": {}, "rejected_frames": {}, "connection": {}}
    for name, count in counters.items():
        if name.startswith("rejected_"):
            groups["rejected_frames"][name.removeprefix("rejected_")] = count
        elif name.startswith("connection_") and count:
            groups["connection"][name.removeprefix("connection_")] = count
        elif count:
            groups["frames"][name] = count
    return groups


@contextmanager
def _journal_path(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="nkfast-demo-") as folder:
        yield Path(folder) / "journal.db"
