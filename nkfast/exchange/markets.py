"""The markets of the simulated exchange: their rules, their state, their recent past."""

import json
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nkfast.core import fixed
from nkfast.core.market import Market
from nkfast.core.matching import MatchingEngine
from nkfast.errors import ConfigError, WireError
from nkfast.exchange.candles import CandleHistory
from nkfast.exchange.money import (
    ATOM_DECIMALS,
    RATE_DECIMALS,
    RATE_UNIT,
    atoms,
    parse_amount,
    rate_units,
)
from nkfast.exchange.orders import Order, Side, Trade

__all__ = ["DEFAULT_MARKETS", "DEFAULT_POOLS", "Listing", "ObjectIds", "load_markets"]

#: Public trades remembered for each market: what getTrades can ask for at most.
TRADE_COUNT_MAX: Final = 1_000
_ID_COUNT_BITS: Final = 24
_ID_COUNT_MASK: Final = (1 << _ID_COUNT_BITS) - 1


class ObjectIds:
    """Ids as the exchange makes them: 24 hexadecimal digits, growing with time.

    Parameters
    ----------
    generator : random.Random
        Seeded; the same seed and times give the same ids.
    """

    def __init__(self, generator: random.Random) -> None:
        self._middle = f"{generator.getrandbits(40):010x}"
        self._count = generator.getrandbits(20)
        self._second = -1
        self._beginning = ""

    def next(self, now_ms: int) -> str:
        """Return an id that was never returned before."""
        self._count += 1
        second = now_ms // 1000
        if second != self._second or not self._count & _ID_COUNT_MASK:
            self._second = second
            # What overflows the last part of an object id goes on in the middle one.
            middle = int(self._middle, 16) ^ self._count >> _ID_COUNT_BITS
            self._beginning = f"{second & 0xFFFFFFFF:08x}{middle:010x}"
        return f"{self._beginning}{self._count & _ID_COUNT_MASK:06x}"


def _row(
    symbol: str,
    price: str,
    decimals: tuple[int, int],
    minimum_quantity: str,
    min_quote: str,
) -> Mapping[str, Any]:
    return {
        "symbol": symbol,
        "primaryTicker": symbol.split("/")[0],
        "lastPrice": price,
        "priceDecimals": decimals[0],
        "quantityDecimals": decimals[1],
        "minimumQuantity": minimum_quantity,
        "minQuote": min_quote,
        "isMinQuoteActive": True,
        "isActive": True,
        "isPaused": False,
        "allowMarketOrders": True,
    }


#: Fourteen markets with six triangles among them; prices and names of the made-up coins invented.
DEFAULT_MARKETS: Sequence[Mapping[str, Any]] = (
    _row("BTC/USDT", "64000.00", (2, 6), "0.00001", "1"),
    _row("ETH/USDT", "3200.00", (2, 5), "0.0001", "1"),
    _row("ETH/BTC", "0.050000", (6, 5), "0.0001", "0.00001"),
    _row("XMR/USDT", "160.00", (2, 3), "0.001", "1"),
    _row("XMR/BTC", "0.0025000", (7, 3), "0.001", "0.00001"),
    _row("LTC/USDT", "80.00", (2, 4), "0.001", "1"),
    _row("LTC/BTC", "0.0012500", (7, 4), "0.001", "0.00001"),
    _row("DOGE/USDT", "0.12800000", (8, 2), "1", "1"),
    _row("DOGE/BTC", "0.0000020000", (10, 2), "1", "0.00001"),
    _row("SAL/USDT", "0.240000", (6, 4), "0.01", "1"),
    _row("SAL/BTC", "0.000003750", (9, 2), "0.01", "0.00001"),
    _row("ADM/USDT", "0.01280000", (8, 4), "1", "1"),
    _row("GRAIN/USDT", "0.000064000", (9, 0), "100", "1"),
    _row("GRAIN/BTC", "0.000000001000", (12, 0), "100", "0.00001"),
)

#: Pairs that only a pool trades.
DEFAULT_POOLS: Sequence[str] = ("GRAIN/SAL", "ADM/SAL")


def load_markets(path: str | Path) -> list[Mapping[str, Any]]:
    """Read markets from a file in the shape of the reply of ``market/getlist``.

    Raises
    ------
    ConfigError
        The file cannot be read or is not a JSON array of objects.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read markets: {error}", str(path)) from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError("expected a JSON array of market objects", str(path))
    return rows


@dataclass(slots=True)
class Sequences:
    """The three number spaces of a market; REST shows the one of the trades."""

    book: int = 0
    trades: int = 0
    ticker: int = 0


class Listing:
    """One market: its rules, its book, its sequences and its recent trades.

    Parameters
    ----------
    row : Mapping
        An item of ``market/getlist``; kept for the fields that only the wire knows.
    ids : ObjectIds
        Gives the market an id where the row has none.
    now_ms : int
        Time of listing.
    self_trade : {"allow", "cancel_newest"}
        What happens when an account meets itself.
    """

    def __init__(
        self, row: Mapping[str, Any], ids: ObjectIds, now_ms: int, self_trade: str
    ) -> None:
        symbol = str(row.get("symbol", ""))
        base, slash, quote = symbol.partition("/")
        if not (base and slash and quote):
            raise ConfigError(f"market symbol {symbol[:64]!r} is not BASE/QUOTE")
        self.row = row
        self.created_ms = now_ms
        self.id = str(row.get("id") or row.get("_id") or ids.next(now_ms))
        try:
            market = Market.from_wire({**row, "id": self.id})
        except WireError as error:
            raise ConfigError(f"market {symbol}: {error}") from error
        self.market = market
        self.symbol = market.symbol  # BASE/QUOTE
        self.base, self.quote = market.base, market.quote
        self.maker_rate = rate_units(market.maker_fee)
        self.taker_rate = rate_units(market.taker_fee)
        #: An order may rest or take, so the larger rate is bound.
        self.hold_rate = max(self.maker_rate, self.taker_rate)
        self.price_decimals = market.price_decimals
        #: Of new orders; fewer than `price_decimals` after the tick size grew.
        self.accepted_price_decimals = market.price_decimals
        self.quantity_decimals = market.quantity_decimals
        places = market.price_decimals + market.quantity_decimals
        #: Atoms of one tick times one lot, in units of a fee rate.
        self.notional_unit: int = 10 ** (ATOM_DECIMALS - places - RATE_DECIMALS)
        #: Atoms that one tick times one lot bind in a buy, its fee included.
        self.buy_unit: int = self.notional_unit * (RATE_UNIT + self.hold_rate)
        #: Decimal places of ticks times lots.
        self.notional_decimals: int = places
        #: Atoms of one lot.
        self.lot_atoms: int = 10 ** (ATOM_DECIMALS - market.quantity_decimals)
        #: Atoms of one tick.
        self.tick_atoms: int = 10 ** (ATOM_DECIMALS - market.price_decimals)
        self.min_quantity = atoms(market.min_quantity)
        self.max_quantity = _limit(row.get("maximumQuantity"))
        self.min_notional = atoms(market.min_notional)
        self.min_price = 0 if market.min_price is None else atoms(market.min_price)
        self.max_price = None if market.max_price is None else atoms(market.max_price)
        self.is_active = market.is_active
        self.is_paused = market.is_paused
        self.pause_buys = market.pause_buys
        self.pause_sells = market.pause_sells
        self.engine = MatchingEngine(market, self_trade=self_trade)  # type: ignore[arg-type]
        self.sequences = Sequences()
        #: Resting lots by price, for each side.
        self.levels: dict[Side, dict[int, int]] = {"buy": {}, "sell": {}}
        self.orders: dict[int, Order] = {}  # resting, by number
        self.trades: deque[Trade] = deque(maxlen=TRADE_COUNT_MAX)
        self.candles = CandleHistory()
        self.last_ticks = 0  # of the last trade; 0 before the first
        self.last_trade_ms = 0
        self.last_move: str = "up"

    @property
    def accepted_ticks(self) -> int:
        """The ticks that the price of a new order must be a multiple of."""
        return int(10 ** (self.price_decimals - self.accepted_price_decimals))

    def shrink_price_decimals(self, by: int) -> None:
        """Take prices of new orders with so many decimals fewer than at first; 0 ends it.

        Orders that rest stay where they are.
        """
        self.accepted_price_decimals = max(0, self.price_decimals - by)

    def notional(self, ticks: int, lots: int) -> int:
        """Return price times quantity in atoms of the quote asset."""
        return ticks * lots * self.notional_unit * RATE_UNIT

    def fee(self, ticks: int, lots: int, rate: int) -> int:
        """Return the unrounded fee in atoms of the quote asset; the rate is in 10^-6."""
        return ticks * lots * self.notional_unit * rate

    def price_text(self, ticks: int) -> str:
        """Return a price as plain digits, with all decimals of the market."""
        return fixed.format(ticks, self.price_decimals)

    def quantity_text(self, lots: int) -> str:
        """Return a quantity as plain digits, with all decimals of the market."""
        return fixed.format(lots, self.quantity_decimals)

    def depth(self, count: int | None = None) -> tuple[list[list[int]], list[list[int]]]:
        """Return (ticks, lots) of the bids and of the asks, best first, so many of each."""
        most = max(len(self.levels["buy"]), len(self.levels["sell"]), 1)
        bids, asks = self.engine.depth(most if count is None else min(count, most))
        return bids.tolist(), asks.tolist()

    def change_level(self, side: Side, ticks: int, lots: int) -> None:
        """Add to what rests at a price, or take from it."""
        levels = self.levels[side]
        left = levels.get(ticks, 0) + lots
        assert left >= 0, f"{self.symbol}: {left} lots at {ticks}"
        if left:
            levels[ticks] = left
        else:
            del levels[ticks]

    def record(self, trade: Trade) -> None:
        """Enter a trade into the history."""
        self.trades.append(trade)
        self.candles.add(trade.ticks, trade.lots, trade.time_ms)
        if trade.ticks != self.last_ticks:
            self.last_move = "up" if trade.ticks > self.last_ticks else "down"
        self.last_ticks = trade.ticks
        self.last_trade_ms = trade.time_ms


def _limit(value: Any) -> int | None:
    """Read a limit in atoms; absent, empty and zero mean that there is none."""
    if value is None or value == "":
        return None
    return atoms(parse_amount(value)) or None
