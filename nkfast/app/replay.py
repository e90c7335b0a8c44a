"""Replays a recording: the engine that trades live, over recorded frames and under virtual time.

The engine, the strategy, the orders, the risk guard and a journal in a real file are those of a
live run. Only the venue is pretended (`nkfast.venue.paper`) and the time (`VirtualLoop`), so that
the same file, seed and settings give the same orders and fills, always; `ReplaySummary.hash` says
so in one line.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

from nkfast.app.recorded import FirstBook, RecordedRun, Recordings
from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.trading.journal import JournalReport
from nkfast.venue.clock import RealClock

__all__ = ["ReplaySummary", "replay"]

#: The account starts with so many orders of the typical size on each side.
FUNDED_ORDERS = 100
#: The spacing of a default grid is rounded up to this.
_STEP_QUANTUM = Decimal("0.0000001")


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
    recordings = Recordings([path])
    known = recordings.markets(None if markets is None else list(markets))
    chosen = symbol if symbol is not None else next(iter(known), None)
    if chosen is None or chosen not in known:
        raise ConfigError(
            f"no market {chosen!r} to trade in {path}; there are {', '.join(known) or 'none'}"
        )
    market = known[chosen]
    first = FirstBook.of(recordings, market)
    given = dict(settings or {})
    if strategy == "grid":
        given = {**_grid_settings(first), **given}
    run = RecordedRun(
        recordings,
        {market.symbol: market},
        kind.build(kind.settings_type.read(given), {market.symbol: market}),
        funds if funds is not None else _typical_funds(first),
        seed,
    )
    result = run.run()
    if result.error is not None:
        raise result.error
    engine = result.engine
    wall_s = (RealClock().monotonic_ns() - started_ns) / 1e9
    return ReplaySummary(
        symbol=market.symbol,
        strategy=strategy,
        settings={key: str(value) for key, value in sorted(given.items())},
        seed=seed,
        frames=result.frames,
        rejected=result.rejected,
        orders=engine.orders,
        fills=engine.fills,
        fees=dict(engine.fees),
        realized=engine.realized,
        open_orders=engine.open_orders,
        unknown_orders=engine.unknown_orders,
        rejects=engine.rejects,
        virtual_s=recordings.survey.duration_s,
        wall_s=wall_s,
        frames_per_s=sum(result.frames.values()) / wall_s,
        reasons=dict(engine.reasons),
        journal=result.journal,
        hash=result.hash,
    )


def _grid_settings(first: FirstBook) -> dict[str, Any]:
    """Return settings that trade within the little that a short recording moves."""
    half_spread = max(first.spread / 2, first.market.tick_size)
    return {
        "step_pct": (half_spread / first.mid).quantize(_STEP_QUANTUM, ROUND_CEILING),
        "base_order_size": first.typical_quantity,
        "fee_rate": Decimal(0),
        "fee_buffer_pct": Decimal(0),
        "min_notional_quote": Decimal(0),
    }


def _typical_funds(first: FirstBook) -> dict[str, Decimal]:
    quantity = first.typical_quantity * FUNDED_ORDERS
    return {first.market.base: quantity, first.market.quote: quantity * first.mid}
