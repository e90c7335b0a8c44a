"""``nkfast demo``: a grid trades on a simulated exchange, over real sockets.

What runs here is what trades live: the clients with their signatures and nonces, the engine, the
journal. Only the exchange at the other end of the sockets is ours, in a process of its own.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from nkfast import __version__
from nkfast.app.exits import ExitCode
from nkfast.app.loop import run, stop_on_signals
from nkfast.app.screens import (
    BookRow,
    FillRow,
    HoldingRow,
    LiveScreen,
    OrderRow,
    ProgressLines,
    Screen,
    Silence,
    TradingView,
    plain,
)
from nkfast.app.simulator import Simulator, started
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.errors import UnreachableError
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.trading.engine import Engine, EngineSummary
from nkfast.trading.journal import Journal, verify
from nkfast.trading.risk import RiskLimits
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.wire.models import ApiCredentials

__all__ = ["DemoSettings", "DemoSummary", "run_demo"]

SYMBOL = "BTC/USDT"
INSTANCE = "demo"
#: Given to the exchange beyond the trading time, for the start, the end and the last look.
GRACE_S = 60.0
SAMPLES_MAX = 2000
DEPTH = 40


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What ``nkfast demo`` is told; ``journal`` is None for a temporary one."""

    seconds: float
    seed: int
    speed: float
    journal: Path | None = None


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
    process_id: int

    @property
    def exit_code(self) -> ExitCode:
        """Return 0 when nothing is left open and all books agree."""
        if not (self.journal_verified and self.ledger_matches_exchange):
            return ExitCode.UNRECONCILED
        if self.engine.open_orders or self.engine.unknown_orders:
            return ExitCode.INCOMPLETE_STOP
        return ExitCode.OK

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON; money is text in plain digits."""
        engine = self.engine
        return {
            "symbol": SYMBOL,
            "seed": self.settings.seed,
            "seconds": round(self.traded_s, 3),
            "ended_by": self.ended_by,
            "orders": engine.orders,
            "fills": engine.fills,
            "realized": plain(engine.realized),
            "fees": {asset: plain(fee) for asset, fee in engine.fees.items()},
            "open_orders": engine.open_orders,
            "unknown_orders": engine.unknown_orders,
            "rejects": engine.rejects,
            "tick_to_order_us": dict(engine.tick_to_order_us),
            "journal_verified": self.journal_verified,
            "ledger_matches_exchange": self.ledger_matches_exchange,
            "counters": dict(self.counters),
            "reasons": dict(engine.reasons),
            "exchange_process": self.process_id,
        }


def run_demo(settings: DemoSettings, *, as_json: bool) -> ExitCode:
    """Trade, show it, print the summary."""
    summary = run(_Demo(settings, _choose_screen(as_json)).run())
    if as_json:
        click.echo(json.dumps(summary.as_json()))
    else:
        for line in _closing_lines(summary):
            click.echo(line)
    return summary.exit_code


def _choose_screen(as_json: bool) -> Screen:
    if as_json:
        return Silence()
    console = Console()
    if console.is_terminal and console.encoding.startswith("utf"):
        return LiveScreen(console)
    return ProgressLines(sys.stdout)


def _closing_lines(summary: DemoSummary) -> Iterator[str]:
    engine, settings = summary.engine, summary.settings
    fees = ", ".join(f"{plain(fee)} {asset}" for asset, fee in engine.fees.items()) or "none"
    p50, p99 = (engine.tick_to_order_us[key] for key in ("p50", "p99"))
    yield (
        f"demo ended after {summary.traded_s:.1f} s: {engine.orders} orders, {engine.fills} fills, "
        f"{engine.rejects} rejected, {engine.unknown_orders} unknown, {engine.open_orders} left open"
    )
    yield f"  realized {plain(engine.realized)} {SYMBOL.split('/')[1]} after fees of {fees}"
    if p50 is not None and p99 is not None:
        yield f"  market frame received to order sent: p50 {p50:.0f} us, p99 {p99:.0f} us"
    yield f"  journal: {'verified' if summary.journal_verified else 'CONTRADICTS ITSELF'}"
    agrees = "to the last digit" if summary.ledger_matches_exchange else "NO"
    yield f"  our balances are the exchange's: {agrees}"
    yield ""
    if settings.journal is None:
        yield "next:  nkfast demo --journal demo.db    and then    nkfast journal verify demo.db"
    else:
        yield f"next:  nkfast journal verify {settings.journal}"


class _Demo:
    """One demo, from the first socket to the last."""

    def __init__(self, settings: DemoSettings, screen: Screen) -> None:
        self._settings = settings
        self._screen = screen
        self._clock = RealClock()
        self._stop = asyncio.Event()
        self._mids: deque[Decimal] = deque(maxlen=SAMPLES_MAX)

    async def run(self) -> DemoSummary:
        settings = self._settings
        with stop_on_signals(self._stop), _journal_path(settings.journal) as path:
            async with started(
                seed=settings.seed, speed=settings.speed, seconds=settings.seconds + GRACE_S
            ) as simulator:
                return await self._trade(simulator, path)

    async def _trade(self, simulator: Simulator, path: Path) -> DemoSummary:
        credentials = ApiCredentials(simulator.api_key, simulator.api_secret)
        async with AsyncRestClient(
            credentials, base_url=simulator.rest_url, allow_changes=True
        ) as rest:
            market = Market.from_wire((await rest.get_market_by_symbol(SYMBOL)).raw)
            venue = LiveVenue(rest=rest, websocket=WebSocketClient(simulator.ws_url, credentials))
            with Journal.open(path, instance=INSTANCE) as journal:
                engine = Engine(
                    venue=venue,
                    clock=self._clock,
                    journal=journal,
                    strategy=Grid(GRID, market),
                    symbol=SYMBOL,
                    limits=LIMITS,
                    mode="live",
                )
                began_ns = self._clock.monotonic_ns()
                try:
                    await engine.start()
                    with self._screen:
                        await self._run_engine(engine, venue, market, simulator)
                finally:
                    traded_s = self._seconds_since(began_ns)
                    await engine.stop("cancel")
                summary = engine.summary()
                matches = await _ledger_matches(engine, simulator, credentials)
        return DemoSummary(
            settings=self._settings,
            traded_s=traded_s,
            ended_by="signal" if self._is_interrupted else "time",
            engine=summary,
            counters=dict(venue.counters),
            journal_verified=verify(path).ok,
            ledger_matches_exchange=matches,
            process_id=simulator.process_id,
        )

    async def _run_engine(
        self, engine: Engine, venue: LiveVenue, market: Market, simulator: Simulator
    ) -> None:
        began_ns = self._clock.monotonic_ns()
        trading = asyncio.create_task(engine.run(self._stop))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while True:
                elapsed_s = self._seconds_since(began_ns)
                self._screen.show(self._view(engine, venue, market, simulator, elapsed_s))
                left_s = self._settings.seconds - elapsed_s
                done, _ = await asyncio.wait(
                    {trading, stopped, simulator.exited},
                    timeout=max(0.0, min(left_s, self._screen.interval_s)),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if simulator.exited in done:
                    raise UnreachableError("the simulated exchange ended too early")
                if done or left_s <= 0:
                    break
        finally:
            self._stop.set()
            stopped.cancel()
            await trading

    def _view(
        self,
        engine: Engine,
        venue: LiveVenue,
        market: Market,
        simulator: Simulator,
        elapsed_s: float,
    ) -> TradingView:
        book = venue.book(SYMBOL)
        if book.mid is not None:
            self._mids.append(book.mid)
        own: dict[Decimal, Decimal] = {}
        orders = engine.orders.open_orders()
        for order in orders:
            own[order.price] = own.get(order.price, ZERO) + order.remaining
        bids, asks = (
            [
                BookRow(
                    price := market.ticks_to_price(ticks),
                    market.lots_to_quantity(lots),
                    own.get(price, ZERO),
                )
                for ticks, lots in side.tolist()
            ]
            for side in book.depth(DEPTH)
        )
        summary = engine.summary()
        return TradingView(
            title="demo",
            place=f"{simulator.rest_url} (process {simulator.process_id})",
            symbol=SYMBOL,
            book_state=book.state,
            bids=bids,
            asks=asks,
            orders=[
                OrderRow(
                    order.slot,
                    order.side,
                    order.price,
                    order.quantity,
                    order.executed,
                    order.state.is_uncertain,
                )
                for order in orders
            ],
            fills=[
                FillRow(f.time_ms, f.side, f.price, f.quantity, f.fee, f.fee_asset)
                for f in reversed(engine.recent_fills)
            ],
            holdings=[
                HoldingRow(asset, engine.ledger.available(asset), engine.ledger.reserved(asset))
                for asset in (market.base, market.quote)
            ],
            mids=tuple(self._mids),
            quote=market.quote,
            order_count=summary.orders,
            fill_count=summary.fills,
            reject_count=summary.rejects,
            unknown_count=summary.unknown_orders,
            realized=summary.realized,
            fees=summary.fees,
            equity_change=summary.equity_change,
            tick_to_order_us=summary.tick_to_order_us,
            frame_count=0,
            elapsed_s=elapsed_s,
            total_s=self._settings.seconds,
        )

    def _seconds_since(self, began_ns: int) -> float:
        return (self._clock.monotonic_ns() - began_ns) / 1e9


async def _holdings(rest: AsyncRestClient) -> dict[str, Decimal]:
    return {
        balance.asset: balance.available + balance.held for balance in await rest.get_balances()
    }


def _agrees(engine: Engine, before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> bool:
    """Whether what the exchange says is what we counted, to the last digit.

    Twice: the ledger's balances, and the balances of the start moved by every fill and fee.
    """
    profit, ledger = engine.ledger.profit, engine.ledger
    moved = {profit.base_asset: profit.position, profit.quote_asset: profit.cash}
    return all(
        ledger.total(asset) == total == before.get(asset, ZERO) + moved.get(asset, ZERO)
        for asset, total in after.items()
    )


@contextmanager
def _journal_path(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        if wanted.exists():
            raise ConfigError("exists already; name a new file", str(wanted))
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="nkfast-demo-") as folder:
        yield Path(folder) / "journal.db"
