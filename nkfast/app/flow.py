"""``nkfast exchange statistics``: how a market flows, recorded and simulated, in numbers."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from nkfast.core.frame import FrameDecoder, FrameKind
from nkfast.core.market import Market
from nkfast.errors import SymbolNotFoundError
from nkfast.exchange.authentication import Authenticator
from nkfast.exchange.conversation import Broadcast
from nkfast.exchange.desk import ExchangeDesk
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.traders import Crowd
from nkfast.exchange.weather import Weather
from nkfast.venue.tape import TapeReader, survey
from nkfast.wire.server_session import Channel, encode_notification

__all__ = ["Flow", "flow_of_crowd", "flow_of_tape", "side_by_side"]

_STEP_MS = 50
_START_MS = 1_790_000_000_000
_NEAR = 0.01
#: Levels of a side that are looked at for its depth.
_LEVELS_SEEN = 200
Frames = Iterable[tuple[int, bytes]]  # Unix nanoseconds and a frame


@dataclass(frozen=True, slots=True)
class Flow:
    """Statistics of one market. Medians, where nothing else is said; None: nothing was seen.

    Attributes
    ----------
    spread_bps, spread_bps_p90 : float or None
        Best ask less best bid, in 1/100 % of the mid, after each change of the book.
    depth_quote : float or None
        Quote units resting within 1 % of the mid, both sides.
    level_count : float or None
        Levels of both sides.
    trade_quote, trade_quote_p90 : float or None
        Size of a trade in quote units.
    trade_gap_s, trade_gap_s_mean : float or None
        Seconds between trades.
    updates_per_s, trades_per_s : float
        Over the time of the frames, and from the first trade told to the last.
    buy_share : float or None
        Of the trades whose aggressor bought.
    """

    source: str
    symbol: str
    seconds: float
    updates: int
    trades: int
    spread_bps: float | None
    spread_bps_p90: float | None
    depth_quote: float | None
    level_count: float | None
    trade_quote: float | None
    trade_quote_p90: float | None
    trade_gap_s: float | None
    trade_gap_s_mean: float | None
    updates_per_s: float
    trades_per_s: float
    buy_share: float | None

    def as_json(self) -> dict[str, Any]:
        """Return everything, rounded to what it is worth."""
        return {
            name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(slots=True)
class _Seen:
    first_ns: int = 0
    last_ns: int = 0
    updates: int = 0
    spreads: list[float] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    trade_times: list[float] = field(default_factory=list)
    sides: Counter[str] = field(default_factory=Counter)


def flow_of_tape(path: Path, symbol: str | None = None) -> Flow:
    """Return the statistics of a recording, of its busiest market or of a named one.

    Raises
    ------
    SymbolNotFoundError
        The recording has no such market.
    WireError
        It holds no frame at all.
    OSError
        The file cannot be opened.
    """
    known = survey(path).symbols
    symbol = next(iter(known), "") if symbol is None else symbol
    if symbol not in known:
        raise SymbolNotFoundError(f"{path} has {', '.join(known) or 'no market'}, not {symbol}")
    return _measure(path.name, known[symbol].market, iter(TapeReader(path)))


def flow_of_crowd(seed: int, seconds: float, symbol: str = "BTC/USDT") -> Flow:
    """Return the statistics of the simulated traders after so much of their life.

    Raises
    ------
    SymbolNotFoundError
        The simulated exchange has no such market.
    """
    frames = _frames_of_crowd(seed, seconds, symbol)
    market = next((row for row in DEFAULT_MARKETS if row["symbol"] == symbol), None)
    if market is None:
        raise SymbolNotFoundError(f"the simulated exchange has no market {symbol}")
    return _measure(f"crowd of seed {seed}", Market.from_wire(market), frames)


def _frames_of_crowd(seed: int, seconds: float, symbol: str) -> Iterator[tuple[int, bytes]]:
    exchange = Exchange(DEFAULT_MARKETS, seed=seed, now_ms=_START_MS)
    crowd = Crowd(exchange, seed=seed, speed=1.0, now_ms=_START_MS)
    desk = ExchangeDesk(exchange, Authenticator())
    told: list[bytes] = []
    kinds = ("orderbook", "trades")
    exchange.listeners.append(
        Broadcast(exchange, desk, Weather(), recorded=kinds, on_frame=told.append)
    )
    snapshot = desk.snapshot(Channel("orderbook", symbol), {"limit": 1_000_000})
    yield _START_MS * 1_000_000, encode_notification(*snapshot)
    for now_ms in range(_START_MS, _START_MS + round(seconds * 1000), _STEP_MS):
        crowd.step(now_ms)
        for frame in told:
            yield now_ms * 1_000_000, frame
        told.clear()


def _measure(source: str, market: Market, frames: Frames) -> Flow:
    decoder = FrameDecoder([market])
    book = decoder.book(market.symbol)
    unit = 10.0 ** -(market.price_decimals + market.quantity_decimals)
    seen = _Seen()
    for unix_ns, frame in frames:
        kind = decoder.feed(frame, unix_ns).kind
        seen.first_ns = seen.first_ns or unix_ns
        seen.last_ns = unix_ns
        if kind in (FrameKind.SNAPSHOT, FrameKind.UPDATE):
            seen.updates += 1
            bid, ask = book.best_bid, book.best_ask
            seen.levels.append(book.bid_count + book.ask_count)
            if bid is None or ask is None:
                continue
            mid = (bid[0] + ask[0]) / 2
            seen.spreads.append((ask[0] - bid[0]) / mid * 10_000)
            near = 0
            for side in book.depth(_LEVELS_SEEN):
                within = abs(side[:, 0] - mid) <= mid * _NEAR
                near += int((side[within, 0].astype(float) * side[within, 1]).sum())
            seen.depths.append(near * unit)
        elif kind is FrameKind.TRADES:
            for trade in decoder.last_trades:
                seen.sizes.append(float(Decimal(trade.ticks) * trade.lots) * unit)
                # A snapshot tells trades of the past, which have times of their own.
                time_ms = trade.time_ms if trade.time_ms is not None else unix_ns / 1e6
                seen.trade_times.append(time_ms / 1e3)
                seen.sides[trade.side] += 1
    return _summary(source, market.symbol, seen)


def _summary(source: str, symbol: str, seen: _Seen) -> Flow:
    seconds = (seen.last_ns - seen.first_ns) / 1e9
    times = sorted(seen.trade_times)
    trading_s = times[-1] - times[0] if times else 0.0
    gaps = [late - early for early, late in pairwise(times)]
    trades = len(seen.sizes)
    return Flow(
        source=source,
        symbol=symbol,
        seconds=seconds,
        updates=seen.updates,
        trades=trades,
        spread_bps=_quantile(seen.spreads, 0.5),
        spread_bps_p90=_quantile(seen.spreads, 0.9),
        depth_quote=_quantile(seen.depths, 0.5),
        level_count=_quantile(seen.levels, 0.5),
        trade_quote=_quantile(seen.sizes, 0.5),
        trade_quote_p90=_quantile(seen.sizes, 0.9),
        trade_gap_s=_quantile(gaps, 0.5),
        trade_gap_s_mean=statistics.fmean(gaps) if gaps else None,
        updates_per_s=seen.updates / seconds if seconds else 0.0,
        trades_per_s=trades / trading_s if trading_s else 0.0,
        buy_share=seen.sides["buy"] / trades if trades else None,
    )


def _quantile(values: list[float], fraction: float) -> float | None:
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(len(values) * fraction))]


def side_by_side(flows: Sequence[Mapping[str, Any]]) -> str:
    """Return records with the same keys as a table, one column for each."""
    columns = [list(record.values()) for record in flows]
    names = list(flows[0])
    rows = [[name, *(str(c[index]) for c in columns)] for index, name in enumerate(names)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
