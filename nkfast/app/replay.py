"""Replays a recording: the engine that trades live, over recorded frames and under virtual time.

The engine, the strategy, the orders, the risk guard and a journal in a real file are those of a
live run. Only the venue is pretended (`nkfast.venue.paper`) and the time (`VirtualLoop`), so that
the same file, seed and settings give the same orders and fills, always; `ReplaySummary.hash` says
so in one line.
"""

import asyncio
import hashlib
import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from statistics import median_low
from typing import Any

from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market
from nkfast.errors import ConfigError, UnreachableError
from nkfast.strategies import load
from nkfast.trading.engine import Engine, EngineSummary
from nkfast.trading.journal import Journal, JournalReport, verify
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Strategy
from nkfast.venue.clock import RealClock, VirtualClock, run_virtual
from nkfast.venue.paper import PaperVenue
from nkfast.venue.port import Holding, NewOrder, OrderUpdate, PublicTrade, VenueListener
from nkfast.venue.tape import TapePlayer, TapeReader, survey

__all__ = ["ReplaySummary", "replay"]

#: From a request to its effect, drawn evenly between these: what placing an order has been seen to
#: take live (protocol.md 1.1).
LATENCY_NS = (800_000_000, 1_300_000_000)
#: The account starts with so many orders of the typical size on each side.
FUNDED_ORDERS = 100
#: Levels of each side that the typical order size is taken from.
_TYPICAL_LEVELS = 10
#: The spacing of a default grid is rounded up to this.
_STEP_QUANTUM = Decimal("0.0000001")
_INSTANCE = "rply"


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a replay did.

    Attributes
    ----------
    symbol, strategy, settings, seed : what was run; ``settings`` as text, defaults of the replay
        included.
    frames : dict of str to int
        Frames by kind. Only the traded symbol is followed, so those of the others count as
        ``unknown_market``.
    rejected : dict of str to int
        Lines and frames that could not be read, by reason. None of them changed anything.
    orders, fills : int
        Orders sent and fills received.
    fees : dict of str to Decimal
        By asset.
    realized : Decimal
        Profit of matched buys and sells in quote units, fees included.
    open_orders, unknown_orders, rejects : int
        After the end, when everything has been cancelled.
    virtual_s, wall_s : float
        Seconds that passed in the recording, and in reality.
    frames_per_s : float
        Frames of the file per second of reality.
    reasons : dict of str to int
        Actions considered and not taken, by code.
    journal : JournalReport
        The journal of the run, computed again from its events.
    hash : str
        SHA-256 of every order, cancel and fill with its virtual time, one line each.
    """

    symbol: str
    strategy: str
    settings: dict[str, str]
    seed: int
    frames: dict[str, int]
    rejected: dict[str, int]
    orders: int
    fills: int
    fees: dict[str, Decimal]
    realized: Decimal
    open_orders: int
    unknown_orders: int
    rejects: int
    virtual_s: float
    wall_s: float
    frames_per_s: float
    reasons: dict[str, int]
    journal: JournalReport
    hash: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values: decimals as plain text, the journal as its verdict."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        record["fees"] = {asset: format(fee, "f") for asset, fee in self.fees.items()}
        record["realized"] = format(self.realized, "f")
        record["journal"] = {
            "ok": self.journal.ok,
            "orders": self.journal.orders,
            "fills": self.journal.fills,
            "differences": list(self.journal.differences),
        }
        return record


def replay(
    path: str | Path,
    *,
    strategy: str = "grid",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    symbol: str | None = None,
    markets: Iterable[Market] | None = None,
    funds: Mapping[str, Decimal] | None = None,
) -> ReplaySummary:
    """Run a strategy over a recording and say what came of it.

    Parameters
    ----------
    path : path-like
        A recording, see `nkfast.venue.tape`.
    strategy : str
        A name in `nkfast.strategies.names()`.
    settings : mapping
        The strategy's own settings, text or values. What a grid is not given comes from the
        recording's first book: ``step_pct`` is half its spread, ``base_order_size`` the median of
        its best levels, and ``fee_rate``, ``fee_buffer_pct`` and ``min_notional_quote`` are 0,
        because a short recording does not move by a step that earns its fees. The market's fees
        are charged all the same.
    seed : int
        Draws the latency of every request, 0.8 to 1.3 s.
    symbol : str or None
        The market to trade; None takes the one with the most frames.
    markets : iterable of Market or None
        Their trading rules; None makes them from the recording, see `nkfast.venue.tape.survey`.
    funds : mapping of asset to Decimal or None
        None gives 100 orders of the grid's default size of both assets of the market.

    Raises
    ------
    ConfigError
        No such strategy, setting or symbol.
    WireError
        The file holds no frames.
    UnreachableError
        It holds no snapshot of the symbol.
    """
    started_ns = RealClock().monotonic_ns()
    kind = load(strategy)
    found = survey(path)
    known = {symbol: seen.market for symbol, seen in found.symbols.items()}
    if markets is not None:
        known = {market.symbol: market for market in markets if market.symbol in known}
    chosen = symbol if symbol is not None else next(iter(known), None)
    if chosen is None or chosen not in known:
        raise ConfigError(
            f"no market {chosen!r} to trade in {path}; there are {', '.join(known) or 'none'}"
        )
    market = known[chosen]
    first = _FirstBook.of(path, market)
    given = dict(settings or {})
    if strategy == "grid":
        given = {**first.grid_settings(), **given}
    with tempfile.TemporaryDirectory(prefix="nkfast-replay-") as directory:
        run = _Run(
            path=path,
            market=market,
            strategy=kind.build(kind.settings_type.read(given), {market.symbol: market}),
            funds=funds if funds is not None else first.funds(),
            seed=seed,
            journal_path=Path(directory) / "journal.db",
        )
        result = run_virtual(run.trade, found.first_unix_ns)
        report = verify(run.journal_path)
    wall_s = (RealClock().monotonic_ns() - started_ns) / 1e9
    frames, rejected = _split_counters(run.frame_counters)
    rejected.update({f"line_{kind}": count for kind, count in run.line_counters.items()})
    return ReplaySummary(
        symbol=market.symbol,
        strategy=strategy,
        settings={key: str(value) for key, value in sorted(given.items())},
        seed=seed,
        frames=frames,
        rejected=rejected,
        orders=result.orders,
        fills=result.fills,
        fees=dict(result.fees),
        realized=result.realized,
        open_orders=result.open_orders,
        unknown_orders=result.unknown_orders,
        rejects=result.rejects,
        virtual_s=found.duration_s,
        wall_s=wall_s,
        frames_per_s=sum(frames.values()) / wall_s,
        reasons=dict(result.reasons),
        journal=report,
        hash=run.hash,
    )


def _split_counters(counters: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Separate kinds of frames from reasons why some were refused; leave out what never came."""
    kinds = {kind.name.lower() for kind in FrameKind}
    frames = {name: count for name, count in counters.items() if count and name in kinds}
    reasons = {name: count for name, count in counters.items() if count and name not in kinds}
    return frames, reasons


@dataclass(frozen=True, slots=True)
class _FirstBook:
    """The first book of a recording that has both sides: what defaults are made from."""

    market: Market
    mid: Decimal
    spread: Decimal
    typical_quantity: Decimal

    @classmethod
    def of(cls, path: str | Path, market: Market) -> "_FirstBook":
        decoder = FrameDecoder([market])
        book = decoder.book(market.symbol)
        for unix_ns, frame in TapeReader(path):
            if decoder.feed(frame, unix_ns).kind is FrameKind.SNAPSHOT and book.mid is not None:
                return cls._measure(market, book)
        raise UnreachableError(
            f"{path} holds no snapshot of {market.symbol} with both sides",
            endpoint="replay",
            sent="no",
        )

    @classmethod
    def _measure(cls, market: Market, book: OrderBook) -> "_FirstBook":
        assert book.mid is not None and book.best_bid is not None and book.best_ask is not None
        bids, asks = book.depth(_TYPICAL_LEVELS)
        typical_lots = median_low([*bids[:, 1].tolist(), *asks[:, 1].tolist()])
        return cls(
            market=market,
            mid=book.mid,
            spread=market.ticks_to_price(max(book.best_ask[0] - book.best_bid[0], 1)),
            typical_quantity=max(
                market.lots_to_quantity(typical_lots),
                market.min_order_quantity(market.ticks_to_price(book.best_bid[0])),
            ),
        )

    def grid_settings(self) -> dict[str, Any]:
        """Settings that trade within the little that a short recording moves."""
        half_spread = max(self.spread / 2, self.market.tick_size)
        return {
            "step_pct": (half_spread / self.mid).quantize(_STEP_QUANTUM, ROUND_CEILING),
            "base_order_size": self.typical_quantity,
            "fee_rate": Decimal(0),
            "fee_buffer_pct": Decimal(0),
            "min_notional_quote": Decimal(0),
        }

    def funds(self) -> dict[str, Decimal]:
        quantity = self.typical_quantity * FUNDED_ORDERS
        return {self.market.base: quantity, self.market.quote: quantity * self.mid}


class _Witness:
    """A listener between venue and engine that writes down what is told, with its virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._hash = hashlib.sha256()
        self.listener: VenueListener

    def write(self, *words: object) -> None:
        """Add one line: the time and the words, separated by tabs."""
        line = "\t".join(_canonical(word) for word in (self._clock.time_ns(), *words))
        self._hash.update(line.encode() + b"\n")

    def digest(self) -> str:
        return self._hash.hexdigest()

    def on_order(self, update: OrderUpdate) -> None:
        self.write("order", update.client_id, update.status, update.executed)
        fill = update.execution
        if fill is not None:
            self.write(
                "fill",
                fill.client_id,
                fill.trade_id,
                fill.side,
                fill.price,
                fill.quantity,
                fill.fee,
                fill.fee_asset,
                "maker" if fill.is_maker else "taker",
            )
        self.listener.on_order(update)

    def on_book(self, symbol: str, received_ns: int) -> None:
        self.listener.on_book(symbol, received_ns)

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        self.listener.on_holdings(holdings)

    def on_trade(self, trade: PublicTrade) -> None:
        self.listener.on_trade(trade)

    def on_connection(self, is_up: bool, reason: str) -> None:
        self.listener.on_connection(is_up, reason)


class _WitnessedVenue(PaperVenue):
    """A paper venue of which every request and every report is written down."""

    def __init__(self, witness: _Witness, **options: Any) -> None:
        super().__init__(**options)
        self._witness = witness

    async def start(self, symbols: Sequence[str], listener: VenueListener) -> None:
        self._witness.listener = listener
        await super().start(symbols, self._witness)

    def submit(self, order: NewOrder) -> asyncio.Future[OrderUpdate]:
        self._witness.write(
            "submit",
            order.client_id,
            order.symbol,
            order.side,
            order.type,
            order.price,
            order.quantity,
        )
        return super().submit(order)

    def cancel(self, symbol: str, client_id: str, order_id: str) -> asyncio.Future[OrderUpdate]:
        self._witness.write("cancel", client_id)
        return super().cancel(symbol, client_id, order_id)


def _canonical(word: object) -> str:
    # Numerically equal decimals may be written with different zeros at the end.
    if isinstance(word, Decimal):
        text = format(word, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return "-" if word is None else str(word)


@dataclass(slots=True)
class _Run:
    """One run over a recording; `trade` is what `run_virtual` runs."""

    path: str | Path
    market: Market
    strategy: Strategy
    funds: Mapping[str, Decimal]
    seed: int
    journal_path: Path
    frame_counters: Mapping[str, int] = field(default_factory=dict)
    line_counters: Mapping[str, int] = field(default_factory=dict)
    hash: str = ""

    async def trade(self, clock: VirtualClock) -> EngineSummary:
        loop = asyncio.get_running_loop()
        failures: list[BaseException] = []
        loop.set_exception_handler(
            # An error in a callback is a bug; going on would make the summary a lie.
            lambda _, context: failures.append(
                context.get("exception") or RuntimeError(context["message"])
            )
        )
        reader = TapeReader(self.path)
        witness = _Witness(clock)
        draw = random.Random(self.seed)
        venue = _WitnessedVenue(
            witness,
            feed=TapePlayer(reader, clock),
            markets=[self.market],
            funds=self.funds,
            clock=clock,
            latency_ns=lambda: draw.randint(*LATENCY_NS),
        )
        with Journal.open(self.journal_path, instance=_INSTANCE) as journal:
            engine = Engine(
                venue=venue,
                clock=clock,
                journal=journal,
                strategy=self.strategy,
                symbol=self.market.symbol,
                limits=RiskLimits(),
                mode="paper",
            )
            try:
                await engine.start()
                stop = asyncio.Event()
                venue.ended.add_done_callback(lambda _: stop.set())
                await engine.run(stop)
                await venue.ended
            finally:
                await engine.stop("cancel")
        if failures:
            raise failures[0]
        self.frame_counters = venue.counters
        self.line_counters = {**reader.rejected, **({"late": reader.late} if reader.late else {})}
        self.hash = witness.digest()
        return engine.summary()
