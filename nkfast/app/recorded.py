"""One run of the live engine over recordings, on virtual time: what replay and backtest share."""

import asyncio
import hashlib
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median_low
from typing import Any, Protocol

from nkfast.core.book import OrderBook
from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market
from nkfast.errors import ConfigError, HaltedError, RiskError, UnreachableError, WireError
from nkfast.trading.engine import Engine, EngineSummary
from nkfast.trading.journal import Journal, JournalReport, verify
from nkfast.trading.legs import newest_plans
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.reasons import newest_reasons
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Strategy
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.paper import PaperVenue
from nkfast.venue.port import Holding, NewOrder, OrderUpdate, PublicTrade, VenueListener
from nkfast.venue.tape import SymbolSurvey, TapePlayer, TapeReader, TapeSurvey, survey

__all__ = [
    "LATENCY_NS",
    "FirstBook",
    "Observer",
    "RecordedRun",
    "Recordings",
    "RunResult",
    "read_rules",
]

#: From a request to its effect, drawn evenly between these: what placing an order has been seen to
#: take live (protocol.md 1.1).
LATENCY_NS = (800_000_000, 1_300_000_000)
#: Levels of each side that the typical order size is taken from.
_TYPICAL_LEVELS = 10
_INSTANCE = "rply"
_PLANS_KEPT = 1_000_000


class Recordings:
    """Several recordings as one, in the order of their first frames.

    Parameters
    ----------
    paths : sequence of path-like
        See `nkfast.venue.tape`.

    Attributes
    ----------
    survey : TapeSurvey
        What all of them hold together.

    Raises
    ------
    OSError
        A file cannot be opened.
    nkfast.errors.WireError
        A file holds no frames.
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        if not paths:
            raise ConfigError("no recording is given; name at least one file", "data")
        found = sorted(
            ((survey(path), TapeReader(path)) for path in paths),
            key=lambda pair: pair[0].first_unix_ns,
        )
        self.survey = _merged([seen for seen, _ in found])
        self._readers = [reader for _, reader in found]

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for reader in self._readers:
            yield from reader

    def __str__(self) -> str:
        return ", ".join(str(reader.path) for reader in self._readers)

    @property
    def rejected(self) -> dict[str, int]:
        """Lines that are no recorded frames, and late ones, by kind, as of the last iteration."""
        counts: Counter[str] = Counter()
        for reader in self._readers:
            counts.update(reader.rejected)
            counts["late"] += reader.late
        return {kind: count for kind, count in counts.items() if count}

    def markets(self, rules: Sequence[Market] | None = None) -> dict[str, Market]:
        """Return the markets of the recordings, the busiest first, by the given rules if there are.

        Parameters
        ----------
        rules : sequence of Market or None
            None makes them from the recording; else only those are traded that it names.
        """
        seen = self.survey.symbols
        if rules is None:
            return {symbol: found.market for symbol, found in seen.items()}
        known = {market.symbol: market for market in rules}
        return {symbol: known[symbol] for symbol in seen if symbol in known}


def read_rules(path: Path) -> list[Market]:
    """Read the trading rules of markets from a reply of ``market/getlist``.

    Raises
    ------
    nkfast.errors.ConfigError
        The file holds no such list.
    """
    try:
        return [Market.from_wire(row) for row in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, WireError) as error:
        raise ConfigError(f"holds no list of markets: {error}", str(path)) from error


def _merged(surveys: Sequence[TapeSurvey]) -> TapeSurvey:
    symbols: dict[str, SymbolSurvey] = {}
    methods: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for one in surveys:
        methods.update(one.methods)
        rejected.update(one.rejected)
        for symbol, seen in one.symbols.items():
            before = symbols.get(symbol)
            symbols[symbol] = seen if before is None else _both(before, seen)
    ranked = sorted(symbols.items(), key=lambda item: (-item[1].frame_count, item[0]))
    return TapeSurvey(
        symbols=dict(ranked),
        methods=dict(methods),
        rejected=dict(rejected),
        first_unix_ns=surveys[0].first_unix_ns,
        last_unix_ns=max(one.last_unix_ns for one in surveys),
    )


def _both(before: SymbolSurvey, now: SymbolSurvey) -> SymbolSurvey:
    return SymbolSurvey(
        Market(
            now.market.symbol,
            max(before.market.price_decimals, now.market.price_decimals),
            max(before.market.quantity_decimals, now.market.quantity_decimals),
        ),
        before.frame_count + now.frame_count,
        before.book_count + now.book_count,
        before.trade_count + now.trade_count,
    )


@dataclass(frozen=True, slots=True)
class FirstBook:
    """The first book of a recording that has both sides: what defaults are made from."""

    market: Market
    mid: Decimal
    spread: Decimal
    typical_quantity: Decimal

    @classmethod
    def of(cls, recordings: Recordings, market: Market) -> "FirstBook":
        """Find it.

        Raises
        ------
        nkfast.errors.UnreachableError
            There is no snapshot of the market with both sides.
        """
        decoder = FrameDecoder([market])
        book = decoder.book(market.symbol)
        for unix_ns, frame in recordings:
            if decoder.feed(frame, unix_ns).kind is FrameKind.SNAPSHOT and book.mid is not None:
                return cls._measure(market, book)
        raise UnreachableError(
            f"{recordings} holds no snapshot of {market.symbol} with both sides",
            endpoint="replay",
            sent="no",
        )

    @classmethod
    def _measure(cls, market: Market, book: OrderBook) -> "FirstBook":
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


class Observer(Protocol):
    """Who looks on while a run goes on; told before the engine is."""

    def begin(self, venue: PaperVenue, clock: VirtualClock) -> None:
        """Take note of what is looked at; its books are empty yet."""

    def on_book(self, symbol: str) -> None:
        """Take note that a book has changed."""

    def on_order(self, update: OrderUpdate) -> None:
        """Take note of a report."""

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        """Take note of the balances that changed."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did.

    Attributes
    ----------
    engine : EngineSummary
    plans : list of PlanOutcome
        Oldest first.
    reasons : dict of str to str
        The newest numbers of each reason why something was not done, by its code.
    frames : dict of str to int
        Frames by kind; those of markets that are not followed count as ``unknown_market``.
    rejected : dict of str to int
        Lines and frames that could not be read, by reason. None of them changed anything.
    journal : JournalReport
        The journal of the run, computed again from its events.
    hash : str
        SHA-256 of every order, cancel and fill with its virtual time, one line each.
    error : BaseException or None
        What halted trading before the end.
    """

    engine: EngineSummary
    plans: list[PlanOutcome]
    reasons: dict[str, str]
    frames: dict[str, int]
    rejected: dict[str, int]
    journal: JournalReport
    hash: str
    error: BaseException | None


@dataclass(slots=True)
class RecordedRun:
    """A strategy over recordings.

    Attributes
    ----------
    recordings : Recordings
    markets : mapping of str to Market
        Those that are followed and traded, the home first.
    strategy : Strategy
    funds : mapping of str to Decimal
        What the account starts with.
    seed : int
        Draws the latency of every request.
    latency_ns : (int, int)
        The shortest and the longest.
    limits : RiskLimits
    observer : Observer or None
    """

    recordings: Recordings
    markets: Mapping[str, Market]
    strategy: Strategy
    funds: Mapping[str, Decimal]
    seed: int = 0
    latency_ns: tuple[int, int] = LATENCY_NS
    limits: RiskLimits = field(default_factory=RiskLimits)
    observer: Observer | None = None

    def run(self) -> RunResult:
        """Run it to the end of the recordings, and cancel what rests then.

        Raises
        ------
        nkfast.errors.UnreachableError
            There is no snapshot of a market.
        """
        with tempfile.TemporaryDirectory(prefix="nkfast-replay-") as directory:
            path = Path(directory) / "journal.db"
            trading = _Trading(self, path)
            first_ns = self.recordings.survey.first_unix_ns
            summary = run_virtual(trading.trade, first_ns)
            report = verify(path)
            plans = list(reversed(newest_plans(path, _PLANS_KEPT)))
            newest = {
                code: told.detail
                for code in summary.reasons
                for told in newest_reasons(path, 1, code)
            }
        frames, rejected = _split_counters(trading.frame_counters)
        rejected.update({f"line_{kind}": count for kind, count in self.recordings.rejected.items()})
        return RunResult(
            summary, plans, newest, frames, rejected, report, trading.hash, trading.error
        )


def _split_counters(counters: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Separate kinds of frames from reasons why some were refused; leave out what never came."""
    kinds = {kind.name.lower() for kind in FrameKind}
    frames = {name: count for name, count in counters.items() if count and name in kinds}
    reasons = {name: count for name, count in counters.items() if count and name not in kinds}
    return frames, reasons


class _Trading:
    """The inside of one run; `trade` is what `run_virtual` runs."""

    def __init__(self, plan: RecordedRun, journal_path: Path) -> None:
        self._plan = plan
        self._journal_path = journal_path
        self.frame_counters: Mapping[str, int] = {}
        self.hash = ""
        self.error: BaseException | None = None

    async def trade(self, clock: VirtualClock) -> EngineSummary:
        plan = self._plan
        loop = asyncio.get_running_loop()
        failures: list[BaseException] = []
        loop.set_exception_handler(
            # An error in a callback is a bug; going on would make the summary a lie.
            lambda _, context: failures.append(
                context.get("exception") or RuntimeError(context["message"])
            )
        )
        witness = _Witness(clock, plan.observer)
        draw = random.Random(plan.seed)
        venue = _WitnessedVenue(
            witness,
            feed=TapePlayer(plan.recordings, clock),
            markets=plan.markets.values(),
            funds=plan.funds,
            clock=clock,
            latency_ns=lambda: draw.randint(*plan.latency_ns),
        )
        if plan.observer is not None:
            plan.observer.begin(venue, clock)
        home, *others = plan.markets
        with Journal.open(self._journal_path, instance=_INSTANCE, mark=0) as journal:
            engine = Engine(
                venue=venue,
                clock=clock,
                journal=journal,
                strategy=plan.strategy,
                symbol=home,
                more_symbols=others,
                limits=plan.limits,
                mode="paper",
            )
            try:
                await engine.start()
                stop = asyncio.Event()
                venue.ended.add_done_callback(lambda _: stop.set())
                await engine.run(stop)
                await venue.ended
            except (HaltedError, RiskError) as error:
                self.error = error
            finally:
                await engine.stop("cancel")
        if failures:
            raise failures[0]
        self.frame_counters = venue.counters
        self.hash = witness.digest()
        return engine.summary()


class _Witness:
    """A listener between venue and engine that writes down what is told, with its virtual time."""

    def __init__(self, clock: VirtualClock, observer: Observer | None) -> None:
        self._clock = clock
        self._hash = hashlib.sha256()
        self._observer = observer
        self.listener: VenueListener

    def attach(self, listener: VenueListener) -> None:
        """Pass everything on; what nobody looks at goes straight through."""
        self.listener = listener
        if self._observer is None:
            self.on_book = listener.on_book  # type: ignore[method-assign]

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
        if self._observer is not None:
            self._observer.on_order(update)
        self.listener.on_order(update)

    def on_book(self, symbol: str, received_ns: int) -> None:
        assert self._observer is not None
        self._observer.on_book(symbol)
        self.listener.on_book(symbol, received_ns)

    def on_holdings(self, holdings: Sequence[Holding]) -> None:
        if self._observer is not None:
            self._observer.on_holdings(holdings)
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
        self._witness.attach(listener)
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
