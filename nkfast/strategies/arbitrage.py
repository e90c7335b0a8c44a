"""Arbitrage: cycles of trades through three or four markets that end with more than they began.

The core's scanner watches every cycle through the start assets, in both directions. A decision asks
it about the markets that have changed since the last one and no others; what it finds is sized by
depth, lots, minimums and budget and pays after every fee. The best one becomes a `Plan`, which the
engine prices again, there and back, before the first leg, and sizes leg by leg by what was really
received.

A book that is older than ``max_book_age_ms`` when an opportunity needs it is set aside until it
changes: every cycle through it is looked at again then, and hides no other one meanwhile. No more
does a cycle into which less than ``min_notional`` would go, nor, for a second, one that the engine
would not begin.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from nkfast.core.cycles import CycleScanner
from nkfast.errors import ConfigError
from nkfast.strategies.profit_store import ProfitStoreSettings
from nkfast.strategies.round_trip import FeeWatch
from nkfast.strategies.settings import Settings, Symbol, key
from nkfast.strategies.storing import Earning, with_profit_store
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract
from nkfast.trading.plan import PLAN_SLOT, Leg, Plan, Unwind
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.strategy import Desired, Fill, MarketView, Skip, Strategy

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.cycles import Opportunity
    from nkfast.core.market import Market

__all__ = ["Arbitrage", "ArbitrageSettings", "cycle_markets"]

_NS_PER_MS = 1_000_000
#: A cycle that the engine would not begin (there is no way back, a limit of ours) waits so long.
_REFUSED_MS = 1_000
#: Plans that have ended, of which a fee may still be told.
_ENDED_KEPT = 64
#: The amount of the one start asset, where no asset is named.
_ONLY = ""


def _split(given: Any) -> Any:
    """Read ``"USDT, BTC"`` as a list."""
    if isinstance(given, str):
        return tuple(word for part in given.split(",") if (word := part.strip()))
    return given


def _amounts(given: Any) -> Any:
    """Read ``100`` as the amount of the one start asset, ``"USDT=100, BTC=0.001"`` as a table."""
    if isinstance(given, str) and "=" in given:
        pairs = (part.partition("=") for part in given.split(","))
        return {asset.strip(): amount.strip() for asset, _, amount in pairs}
    return given if isinstance(given, Mapping) else {_ONLY: given}


_Asset = Annotated[str, AfterValidator(str.upper)]  # as in symbols
_Names = Annotated[tuple[_Asset, ...], BeforeValidator(_split)]
_Symbols = Annotated[tuple[Symbol, ...], BeforeValidator(_split)]
_Amounts = Annotated[
    Mapping[_Asset, Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]],
    BeforeValidator(_amounts),
]


#: A cycle, whatever its size: the index of each market, and the side.
_Way = tuple[tuple[int, str], ...]


def _way(found: "Opportunity") -> _Way:
    return tuple((leg.market_index, leg.side) for leg in found.legs)


class ArbitrageSettings(Settings):
    """What an arbitrage is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "asset_a": ("start_assets",),
        "trade_amount_a": ("trade_amount",),
        "min_notional_usd": ("min_notional",),
        "legs": ("max_length",),
        "symbols": ("pairs",),
    }

    start_assets: _Names = key(
        ("USDT",), meaning="Where a cycle begins and ends, separated by commas."
    )
    trade_amount: _Amounts = key(
        meaning="The most that goes into one cycle, in units of its start asset: a number, or with"
        " several start assets 'USDT=100, BTC=0.001'.",
    )
    min_profitability: Decimal = key(
        Decimal("0.002"),
        unit="fraction",
        ge=0,
        le=1000,
        meaning="The least profit after all fees, of the whole and of its last part: a size is"
        " chosen at which more would bring less than this.",
    )
    min_notional: _Amounts = key(
        {},
        meaning="The least that goes into one cycle, written as trade_amount is; the markets' own"
        " minimums hold as well, and no size is ever raised to one.",
    )
    max_length: Literal[3, 4] = key(3, meaning="Trades in a cycle, at most.")
    pairs: _Symbols = key(
        (),
        meaning="The only markets to be traded, separated by commas; empty: all that are listed.",
    )
    excluded_assets: _Names = key(
        (), meaning="Assets that no cycle passes, separated by commas: those that cannot be moved."
    )
    max_book_age_ms: int = key(
        500, unit="ms", gt=0, meaning="A book that has not changed for longer counts for nothing."
    )
    slippage_pct: Decimal = key(
        ZERO,
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far beyond the worst price that a leg needs its limit lies.",
    )
    leg_timeout_ms: int = key(
        5_000, unit="ms", gt=0, meaning="What of a leg is not filled after this is cancelled."
    )
    min_fill_ratio: Decimal = key(
        Decimal("0.95"),
        unit="fraction",
        gt=0,
        le=1,
        meaning="The part of a leg that must be filled for the next one to be taken.",
    )
    unwind: Literal["reverse", "complete", "hold"] = key(
        "reverse",
        meaning="What becomes of what a broken cycle holds: reverse: back the way it came;"
        " complete: on by the legs that are left; hold: nothing.",
    )
    max_unwind_cost_pct: Decimal = key(
        Decimal("0.02"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="What going back may cost after whichever leg, on the books before the first one;"
        " a cycle that could cost more is not begun.",
    )
    unwind_slippage_pct: Decimal = key(
        Decimal("0.01"), unit="fraction", ge=0, lt=1, meaning="The slippage of the way back."
    )
    max_consecutive_failures: int = key(
        3, gt=0, meaning="So many cycles in a row that were broken off halt trading."
    )
    profit_store: ProfitStoreSettings | None = key(
        None, meaning="What becomes of realized profit; none: it stays where it is."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.start_assets:
            raise ConfigError("names no asset; give at least one", "start_assets")
        for name in ("trade_amount", "min_notional"):
            amounts: Mapping[str, Decimal] = getattr(self, name)
            if _ONLY in amounts and len(self.start_assets) > 1:
                starts = ", ".join(f"{asset}=..." for asset in self.start_assets)
                raise ConfigError(f"is one number for several start assets; give {starts!r}", name)
            others = set(amounts) - {_ONLY, *self.start_assets}
            if others:
                raise ConfigError(f"names {', '.join(sorted(others))}: no start assets", name)
        missing = [asset for asset in self.start_assets if self.most_of(asset) is None]
        if missing:
            raise ConfigError(f"has no amount of {', '.join(missing)}", "trade_amount")
        return self

    def most_of(self, asset: str) -> Decimal | None:
        """Return the most that goes into a cycle from a start asset."""
        return self.trade_amount.get(asset, self.trade_amount.get(_ONLY))

    def least_of(self, asset: str) -> Decimal:
        """Return the least that goes into a cycle from a start asset."""
        return self.min_notional.get(asset, self.min_notional.get(_ONLY, ZERO))

    def symbols(self, listed: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the markets that lie on a cycle, the one on most first, and the profit store's."""
        found = self.cycle_symbols(listed)
        store = self.profit_store
        if store is None or not store.enabled or store.target_symbol in found:
            return found
        return (*found, store.target_symbol)

    def cycle_symbols(self, listed: Iterable[str]) -> tuple[str, ...]:
        """Return the markets that a cycle may pass, the one on most cycles first."""
        chosen = self.pairs or tuple(listed)
        excluded = set(self.excluded_assets)
        return cycle_markets(
            [symbol for symbol in chosen if excluded.isdisjoint(symbol.split("/"))],
            self.start_assets,
            self.max_length,
        )


def cycle_markets(
    symbols: Iterable[str], start_assets: Iterable[str], max_length: int
) -> tuple[str, ...]:
    """Return the markets that lie on a cycle through a start asset, the one on most first.

    Parameters
    ----------
    symbols : iterable of str
        ``BASE/QUOTE``.
    start_assets : iterable of str
        Where cycles begin and end.
    max_length : int
        Markets on a cycle, at most; at least 3.
    """
    neighbours: dict[str, dict[str, list[str]]] = {}
    counts: dict[str, int] = {}
    for symbol in sorted(symbols):
        base, _, quote = symbol.partition("/")
        counts[symbol] = 0
        for asset, other in ((base, quote), (quote, base)):
            neighbours.setdefault(asset, {}).setdefault(other, []).append(symbol)

    def walk(start: str, path: list[str], taken: list[str]) -> None:
        ways = neighbours.get(path[-1], {})
        if len(path) > 2:
            for last in ways.get(start, ()):
                for symbol in (*taken, last):
                    counts[symbol] += 1
        if len(path) == max_length:
            return
        for asset, markets in ways.items():
            if asset not in path:
                for symbol in markets:
                    walk(start, [*path, asset], [*taken, symbol])

    for start in start_assets:
        walk(start, [start], [])
    found = [symbol for symbol, count in counts.items() if count]
    return tuple(sorted(found, key=lambda symbol: (-counts[symbol], symbol)))


class Arbitrage(Earning):
    """Arbitrage over the markets of one exchange.

    What it has earned is told in its first start asset.

    Parameters
    ----------
    settings : ArbitrageSettings
    markets : mapping of str to Market
        All that cycles may pass.

    Raises
    ------
    nkfast.errors.ConfigError
        The markets make no cycle through a start asset.
    """

    name = "arbitrage"
    settings_type = ArbitrageSettings

    def __init__(self, settings: ArbitrageSettings, markets: Mapping[str, "Market"]) -> None:
        self.settings = settings
        passed = set(settings.cycle_symbols(markets))  # the profit store's need not be among them
        self._symbols = tuple(symbol for symbol in markets if symbol in passed)
        self._indexes = {symbol: index for index, symbol in enumerate(self._symbols)}
        self._scanner = self._scanner_of([markets[symbol] for symbol in self._symbols], None)
        if not self._scanner.cycle_count:
            raise ConfigError(
                f"no cycle of {settings.max_length} trades through"
                f" {', '.join(settings.start_assets)} on {len(markets)} markets",
                "start_assets",
            )
        self._least_return = add(ONE, settings.min_profitability)
        self._max_age_ns = settings.max_book_age_ms * _NS_PER_MS
        self._markets: dict[str, Market] = {}  # by the rules of the last view
        self._books: Mapping[str, OrderBook] = {}
        self._funds: Mapping[str, Decimal] | None = None
        self._newest_ns = 0
        self._asleep: set[int] = set()  # books that were too old when they were needed
        # The cycle of the last plan, until it has ended, and until when it waits if not begun.
        self._offered: tuple[_Way, int] | None = None
        self._refused: dict[_Way, int] = {}  # until when a cycle waits
        self._idle = Desired()
        self._results: dict[str, int] = {}
        self._profits: dict[str, Decimal] = {}
        self._ended: dict[str, str] = {}  # the start asset by the plan's number, oldest first
        self._fee_rates = {symbol: max(one.taker_fee, ZERO) for symbol, one in markets.items()}
        self._fees = {
            symbol: FeeWatch(self._fee_rates[symbol], one.min_notional)
            for symbol, one in markets.items()
        }
        self._said: list[Skip] = []  # of fees, with the next decision that is no plan
        self._reinvested = ZERO
        self.earned, self.earned_in = ZERO, settings.start_assets[0]
        self._state: dict[str, Any] | None = None

    @classmethod
    def build(cls, settings: ArbitrageSettings, markets: Mapping[str, "Market"]) -> Strategy:
        """Make an arbitrage over all of the markets, with a profit store if one is asked for."""
        return with_profit_store(cls(settings, markets), settings.profit_store, markets)

    @property
    def cycle_count(self) -> int:
        """Directed cycles that are watched."""
        return self._scanner.cycle_count

    def decide(self, view: MarketView) -> Desired | Plan:
        """Return a plan for the best cycle that pays, or that nothing should rest."""
        if view.books is not self._books:
            self._watch(view)
        if view.available is not self._funds:
            self._set_budgets(view.available)
        if self._offered is not None:  # else it would have been told of the end
            way, until_ms = self._offered
            self._refused[way] = until_ms
            self._offered = None
        skips: list[Skip] = []
        best = self._best_of(view, skips)
        if best is not None:
            self._offered = _way(best), view.now_ms + _REFUSED_MS
            return self._plan(best)
        if self._said:
            skips += self._said
            self._said.clear()
        return Desired(skips=tuple(dict.fromkeys(skips))) if skips else self._idle

    def on_fill(self, fill: Fill) -> None:
        """Look at its fee only: the engine sizes each leg by the fills of the one before."""
        self._look_at_fee(fill)

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Count what a fee that is told after its plan's end is beyond what was taken for it."""
        self._look_at_fee(fill)
        start = self._ended.get(fill.slot.removeprefix(PLAN_SLOT).partition(":")[0])
        rate = self._fee_rates.get(fill.symbol)
        if start is None or rate is None:
            return  # under way: its end counts it; or of a market that is not watched any more
        assert fill.fee is not None
        taken_in, taken = fill.fee_asset, before
        if taken is None:
            taken_in = fill.symbol.partition("/")[2]
            taken = multiply(multiply(fill.price, fill.quantity), rate)
        change = subtract(
            taken if taken_in == start else ZERO, fill.fee if fill.fee_asset == start else ZERO
        )
        self._profits[start] = add(self._profits.get(start, ZERO), change)
        self.earned = self._profits.get(self.earned_in, ZERO)
        self._state = None

    def on_plan(self, outcome: PlanOutcome) -> None:
        """Count how a cycle ended and what it really brought."""
        self._offered = None
        result, start = outcome.result, outcome.start
        self._results[result] = self._results.get(result, 0) + 1
        self._profits[start] = add(self._profits.get(start, ZERO), outcome.moved[start])
        self.earned = self._profits.get(self.earned_in, ZERO)
        self._ended[str(outcome.number)] = start
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        self._state = None

    def reinvest(self, amount: Decimal) -> None:
        """Let so much more of the first start asset go into a cycle."""
        self._reinvested = add(self._reinvested, amount)
        self._funds = self._state = None

    def state(self) -> dict[str, Any]:
        """Return how often cycles ended how, and what they really brought of each start asset."""
        if self._state is None:
            self._state = {
                "results": dict(self._results),
                "profits": {asset: plain(amount) for asset, amount in self._profits.items()},
                "reinvested": plain(self._reinvested),
                "ended": dict(self._ended),
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self._results = dict(state["results"])
        self._profits = {asset: Decimal(amount) for asset, amount in state["profits"].items()}
        self._reinvested = Decimal(state["reinvested"])
        self._ended = dict(state.get("ended", {}))  # there was none before fees were told late
        self.earned = self._profits.get(self.earned_in, ZERO)
        self._funds = self._state = None

    def _look_at_fee(self, fill: Fill) -> None:
        watch = self._fees.get(fill.symbol)
        if watch is not None:
            watch.look(fill, self._said)

    # What is known -------------------------------------------------------------------------------

    def _watch(self, view: MarketView) -> None:
        books = view.books
        # The venue has read the markets anew: its books go by those rules.
        watched = [books[symbol] for symbol in self._symbols]
        self._scanner = self._scanner_of([book.market for book in watched], watched)
        self._books = books
        self._funds = None
        self._asleep.clear()
        for symbol, index in self._indexes.items():
            self._take_rules(index, view.markets.get(symbol))

    def _scanner_of(
        self, markets: "Sequence[Market]", books: "Sequence[OrderBook] | None"
    ) -> CycleScanner:
        settings = self.settings
        return CycleScanner(
            markets,
            settings.start_assets,
            settings.max_length,
            books=books,
            threshold=settings.min_profitability,
        )

    def _set_budgets(self, funds: Mapping[str, Decimal]) -> None:
        for asset in self.settings.start_assets:
            most = self.settings.most_of(asset)
            assert most is not None
            if asset == self.earned_in:
                most = add(most, self._reinvested)
            self._scanner.set_budget(asset, min(most, funds.get(asset, most)))
        self._funds = funds

    def _take_rules(self, index: int, market: "Market | None") -> None:
        """Wake a market; let no cycle pass a side of it that the venue closes, until it opens."""
        symbol = self._symbols[index]
        if market is None:
            self._markets.pop(symbol, None)
        else:
            self._markets[symbol] = market
        self._scanner.resume(index)
        is_open = market is not None and market.is_active and not market.is_paused
        buys = is_open and market is not None and not market.pause_buys
        sells = is_open and market is not None and not market.pause_sells
        if not (buys and sells):
            self._scanner.pause(index, buys=not buys, sells=not sells)

    # What pays -----------------------------------------------------------------------------------

    def _best_of(self, view: MarketView, skips: list[Skip]) -> "Opportunity | None":
        """Return the best cycle through the markets that have changed, on books that are fresh."""
        update, asleep = self._scanner.update, self._asleep
        markets, known = view.markets, self._markets
        best: Opportunity | None = None
        for symbol in view.changed:
            index = self._indexes.get(symbol)
            if index is None:
                continue
            if markets.get(symbol) is not known.get(symbol) or (asleep and index in asleep):
                asleep.discard(index)
                self._take_rules(index, markets.get(symbol))
            found = update(index)
            if found is None:
                continue  # nearly always
            self._newest_ns = max(self._newest_ns, self._books[symbol].received_ns)
            while found is not None and self._set_aside(found, skips):
                found = update(index)
            if found is not None and (
                self._is_small(found, skips) or self._waits(found, view.now_ms)
            ):
                found = self._other(view.now_ms, skips)
            if found is not None and (best is None or found.ratio > best.ratio):
                best = found
        return best

    def _is_small(self, found: "Opportunity", skips: list[Skip]) -> bool:
        least = self.settings.least_of(found.asset)
        if found.input_amount >= least:
            return False
        amount = f"{plain(found.input_amount)} {found.asset}"
        skips.append(
            Skip("BELOW_MINIMUM", f"{self._path(found)}: {amount}, the least is {plain(least)}")
        )
        return True

    def _waits(self, found: "Opportunity", now_ms: int) -> bool:
        until_ms = self._refused.get(_way(found), 0)
        # A clock that was set back must not make a second longer.
        if now_ms < until_ms <= now_ms + _REFUSED_MS:
            return True
        self._refused.pop(_way(found), None)
        return False

    def _other(self, now_ms: int, skips: list[Skip]) -> "Opportunity | None":
        """Return the best of all cycles that is neither refused nor small nor on old books."""
        for found in self._scanner.scan(refresh=False):
            if self._waits(found, now_ms) or self._is_small(found, skips):
                continue
            if not self._set_aside(found, skips):
                return found
        return None

    def _set_aside(self, found: "Opportunity", skips: list[Skip]) -> bool:
        """Set the books of a cycle aside that are too old for it; return whether there are any."""
        is_old = False
        for leg in found.legs:
            symbol = self._symbols[leg.market_index]
            age_ns = self._newest_ns - self._books[symbol].received_ns
            if age_ns > self._max_age_ns:
                is_old = True
                self._asleep.add(leg.market_index)
                self._scanner.pause(leg.market_index)
                age_ms, most_ms = age_ns // _NS_PER_MS, self.settings.max_book_age_ms
                skips.append(
                    Skip("BOOK_TOO_OLD", f"{self._path(found)}: {symbol} {age_ms} ms of {most_ms}")
                )
        return is_old

    def _path(self, found: "Opportunity") -> str:
        return " > ".join([self._leg(leg).pays for leg in found.legs] + [found.asset])

    def _leg(self, leg: Any) -> Leg:
        return Leg(self._symbols[leg.market_index], leg.side)

    def _plan(self, found: "Opportunity") -> Plan:
        settings = self.settings
        unwind: Unwind = settings.unwind
        return Plan(
            tuple(self._leg(leg) for leg in found.legs),
            found.input_amount,
            min_return=self._least_return,
            max_unwind_cost=settings.max_unwind_cost_pct,
            slippage=settings.slippage_pct,
            unwind_slippage=settings.unwind_slippage_pct,
            leg_timeout_ms=settings.leg_timeout_ms,
            min_fill_ratio=settings.min_fill_ratio,
            unwind=unwind,
            max_book_age_ms=settings.max_book_age_ms,
            failures_max=settings.max_consecutive_failures,
        )
