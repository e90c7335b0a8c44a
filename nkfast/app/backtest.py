"""Backtests: a bot's configuration over recordings, and what came of it.

The run is the live engine's (`nkfast.app.recorded`). While it goes on its wealth is looked at at
equal steps of the recording's time: what it owns, at the middle of the books, in the home market's
quote asset, beside what its first funds would be worth had they been held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nkfast.app.config.bot import BotConfig
from nkfast.app.recorded import FirstBook, RecordedRun, Recordings, RunResult
from nkfast.errors import ConfigError
from nkfast.trading.exact import ONE, ZERO, add, divide_floor, multiply, plain, share, subtract
from nkfast.venue.clock import RealClock
from nkfast.venue.port import Execution, Holding, OrderUpdate

if TYPE_CHECKING:
    from nkfast.core.market import Market
    from nkfast.venue.clock import VirtualClock
    from nkfast.venue.paper import PaperVenue

__all__ = ["Backtest", "Sample", "backtest"]

_NS_PER_MS = 1_000_000
#: Looks at the wealth in one run.
_SAMPLES = 1_000
#: Of the quote asset, half of it in each asset, where no funds are named.
_USUAL_FUNDS = Decimal(1_000)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was owned at a time.

    ``equity`` and ``held`` are None while a price that they need is missing.
    """

    time_ms: int
    price: Decimal | None
    owned: Mapping[str, Decimal]
    equity: Decimal | None
    held: Decimal | None
    fees: Decimal


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a backtest found.

    Attributes
    ----------
    config : BotConfig
    data : str
        The recordings.
    seed : int
    symbols : tuple of str
        The markets, the home first; amounts without an asset are of its quote.
    funds : mapping of str to Decimal
        At the beginning.
    result : RunResult
    samples : list of Sample
    fills : list of Execution
    unpriced : list of str
        Assets of the funds that no market of the run prices: no wealth counts them.
    duration_s, wall_s : float
        Seconds of the recording, and of reality, with the reading of the files.
    """

    config: BotConfig
    data: str
    seed: int
    symbols: tuple[str, ...]
    funds: Mapping[str, Decimal]
    result: RunResult
    samples: list[Sample]
    fills: list[Execution]
    unpriced: list[str]
    duration_s: float
    wall_s: float

    @property
    def quote(self) -> str:
        """What everything is valued in."""
        return self.symbols[0].partition("/")[2]

    @property
    def frame_count(self) -> int:
        """Frames of the recordings."""
        return sum(self.result.frames.values())

    @property
    def equity_change(self) -> Decimal | None:
        """By how much the wealth grew; None where it could not be valued."""
        valued = [one.equity for one in self.samples if one.equity is not None]
        return subtract(valued[-1], valued[0]) if valued else None

    @property
    def against_holding(self) -> Decimal | None:
        """How much more it is than if the first funds had been held."""
        if not self.samples:
            return None
        last = self.samples[-1]
        if last.equity is None or last.held is None:
            return None
        return subtract(last.equity, last.held)

    @property
    def drawdown(self) -> Decimal:
        """The deepest fall of the wealth from a height before it."""
        height = deepest = ZERO
        for one in self.samples:
            if one.equity is not None:
                height = max(height, one.equity)
                deepest = max(deepest, subtract(height, one.equity))
        return deepest

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values; money as plain text."""
        engine = self.result.engine
        return {
            "strategy": self.config.strategy_name,
            "settings": self.config.values(),
            "config_hash": self.config.hash,
            "symbols": list(self.symbols),
            "data": self.data,
            "seed": self.seed,
            "frames": self.result.frames,
            "rejected": self.result.rejected,
            "duration_s": self.duration_s,
            "wall_s": self.wall_s,
            "frames_per_s": self.frame_count / self.wall_s,
            "funds": _plain_of(self.funds),
            "unpriced": self.unpriced,
            "owned": _plain_of(self.samples[-1].owned if self.samples else self.funds),
            "equity_change": _maybe(self.equity_change),
            "against_holding": _maybe(self.against_holding),
            "drawdown": plain(self.drawdown),
            "realized": plain(engine.realized),
            "fees": _plain_of(engine.fees),
            "orders": engine.orders,
            "fills": engine.fills,
            "open_orders": engine.open_orders,
            "unknown_orders": engine.unknown_orders,
            "rejects": engine.rejects,
            "halted": engine.halted,
            "reasons": dict(engine.reasons),
            "newest_reasons": self.result.reasons,
            "plans": [plan.as_json() for plan in self.result.plans],
            "journal": {
                "ok": self.result.journal.ok,
                "differences": list(self.result.journal.differences),
            },
            "hash": self.result.hash,
            "series": [_sample_json(one) for one in self.samples],
            "executions": [_fill_json(fill) for fill in self.fills],
        }


def backtest(
    config: BotConfig,
    data: Sequence[str | Path],
    *,
    seed: int = 0,
    rules: "Sequence[Market] | None" = None,
    latency_ns: tuple[int, int] | None = None,
) -> Backtest:
    """Run a bot over recordings.

    Parameters
    ----------
    config : BotConfig
        Its strategy, limits and paper section count; its mode does not.
    data : sequence of path-like
        Recordings, see `nkfast.venue.tape`.
    seed : int
        Draws the latency of every request.
    rules : sequence of Market or None
        The markets' trading rules; None makes them from the recordings, with the usual fees and
        without minimums.
    latency_ns : (int, int) or None
        The shortest and the longest latency; None takes that of the paper section.

    Raises
    ------
    nkfast.errors.ConfigError
        The strategy's markets are not in the recordings, or a file holds nothing.
    """
    started_ns = RealClock().monotonic_ns()
    recordings = Recordings(data)
    known = recordings.markets(rules)
    markets = _chosen(config, known, recordings)
    home = next(iter(markets.values()))
    funds = dict(config.paper.funds) or _usual_funds(FirstBook.of(recordings, home))
    span_ns = recordings.survey.last_unix_ns - recordings.survey.first_unix_ns
    watch = _Watch(markets, funds, max(span_ns // _SAMPLES, 1))
    usual_ns = config.paper.latency_ms * _NS_PER_MS
    run = RecordedRun(
        recordings,
        markets,
        config.kind.build(config.strategy, markets),
        funds,
        seed,
        latency_ns if latency_ns is not None else (usual_ns, usual_ns),
        config.risk.limits(),
        watch,
    )
    result = run.run()
    watch.look()
    return Backtest(
        config=config,
        data=str(recordings),
        seed=seed,
        symbols=tuple(markets),
        funds=funds,
        result=result,
        samples=watch.samples,
        fills=watch.fills,
        unpriced=[asset for asset in funds if not watch.can_price(asset)],
        duration_s=span_ns / 1e9,
        wall_s=(RealClock().monotonic_ns() - started_ns) / 1e9,
    )


def _chosen(
    config: BotConfig, known: "Mapping[str, Market]", recordings: Recordings
) -> "dict[str, Market]":
    wanted = config.strategy.symbols(known)
    if not wanted and config.common.symbol:
        wanted = (config.common.symbol,)
    if not wanted:
        wanted = tuple(known)[:1]
    missing = [symbol for symbol in wanted if symbol not in known]
    if missing or not wanted:
        names = ", ".join(missing) or "a market"
        there = ", ".join(known) or "none"
        raise ConfigError(f"{recordings} does not hold {names}; there are {there}", "symbol")
    return {symbol: known[symbol] for symbol in wanted}


def _usual_funds(first: FirstBook) -> dict[str, Decimal]:
    half = _USUAL_FUNDS / 2
    lots = divide_floor(share(half, ONE, first.mid), first.market.lot_size)
    return {first.market.base: first.market.lots_to_quantity(lots), first.market.quote: half}


@dataclass(slots=True)
class _Watch:
    """Looks at what is owned, at equal steps (`nkfast.app.recorded.Observer`)."""

    markets: "Mapping[str, Market]"
    funds: Mapping[str, Decimal]
    step_ns: int
    samples: list[Sample] = field(default_factory=list)
    fills: list[Execution] = field(default_factory=list)
    _venue: "PaperVenue | None" = None
    _clock: "VirtualClock | None" = None
    _owned: dict[str, Decimal] = field(default_factory=dict)
    _priceable: dict[str, bool] = field(default_factory=dict)
    _fees: Decimal = ZERO
    _next_ns: int = 0

    def begin(self, venue: "PaperVenue", clock: "VirtualClock") -> None:
        self._venue, self._clock = venue, clock
        self._owned = dict(self.funds)

    def on_book(self, symbol: str) -> None:
        assert self._clock is not None
        if self._clock.monotonic_ns() >= self._next_ns:
            self.look()
            self._next_ns = self._clock.monotonic_ns() + self.step_ns

    def on_order(self, update: OrderUpdate) -> None:
        fill = update.execution
        if fill is not None:
            self.fills.append(fill)
            value = self._valued(fill.fee_asset, fill.fee or ZERO)
            self._fees = add(self._fees, value if value is not None else ZERO)

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        for one in holdings:
            self._owned[one.asset] = add(one.available, one.held)

    def look(self) -> None:
        """Take a sample."""
        assert self._clock is not None and self._venue is not None
        home = next(iter(self.markets))
        self.samples.append(
            Sample(
                self._clock.time_ns() // _NS_PER_MS,
                self._venue.book(home).mid,
                dict(self._owned),
                self._worth(self._owned),
                self._worth(self.funds),
                self._fees,
            )
        )

    def can_price(self, asset: str) -> bool:
        """Whether a market, or two in a row, lead from an asset to the home's quote asset."""
        if asset not in self._priceable:
            quote = next(iter(self.markets.values())).quote
            pairs = [{market.base, market.quote} for market in self.markets.values()]
            others = {quote}.union(*(pair for pair in pairs if asset in pair))
            self._priceable[asset] = asset == quote or any(
                other != asset and (other == quote or {other, quote} in pairs)
                for other in others
                if {asset, other} in pairs
            )
        return self._priceable[asset]

    def _worth(self, owned: Mapping[str, Decimal]) -> Decimal | None:
        total = ZERO
        for asset, amount in owned.items():
            if not self.can_price(asset):
                continue
            value = self._valued(asset, amount)
            if value is None:
                return None
            total = add(total, value)
        return total

    def _valued(self, asset: str, amount: Decimal) -> Decimal | None:
        """Value an amount in the home market's quote asset, by way of another one if need be."""
        quote = next(iter(self.markets.values())).quote
        if asset == quote or not amount:
            return amount
        direct = self._priced(asset, quote)
        if direct is not None:
            return multiply(amount, direct)
        for market in self.markets.values():
            if asset in (market.base, market.quote):
                other = market.quote if asset == market.base else market.base
                first, second = self._priced(asset, other), self._priced(other, quote)
                if first is not None and second is not None:
                    return multiply(multiply(amount, first), second)
        return None

    def _priced(self, asset: str, quote: str) -> Decimal | None:
        assert self._venue is not None
        if f"{asset}/{quote}" in self.markets:
            return self._venue.book(f"{asset}/{quote}").mid
        if f"{quote}/{asset}" in self.markets:
            mid = self._venue.book(f"{quote}/{asset}").mid
            return None if not mid else share(ONE, ONE, mid)
        return None


def _maybe(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _plain_of(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {asset: plain(amount) for asset, amount in amounts.items()}


def _sample_json(one: Sample) -> dict[str, Any]:
    return {
        "time_ms": one.time_ms,
        "price": _maybe(one.price),
        "owned": _plain_of(one.owned),
        "equity": _maybe(one.equity),
        "held": _maybe(one.held),
        "fees": plain(one.fees),
    }


def _fill_json(fill: Execution) -> dict[str, Any]:
    return {
        "time_ms": fill.time_ms,
        "symbol": fill.symbol,
        "side": fill.side,
        "price": plain(fill.price),
        "quantity": plain(fill.quantity),
        "fee": _maybe(fill.fee),
        "fee_asset": fill.fee_asset,
        "is_maker": fill.is_maker,
        "client_id": fill.client_id,
    }
