"""The crowd: seeded traders who keep every book two-sided and trading.

Each asset has a value that walks, trends now and then and never strays for good; a market's fair
price is the quotient of two values, so triangles stay close to closed, until a market of two coins
goes astray for a while. Makers quote around it, others take what lags behind it, and noise does the
rest. The crowd's opinions are floats; what it trades is whole ticks and lots.

The same seed and the same times of `Crowd.step` give the same orders.
"""

import math
import random
from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import accumulate
from typing import Final

from nkfast.exchange.accounts import Account
from nkfast.exchange.exchange import USD_ASSETS, Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.money import atoms
from nkfast.exchange.orders import Order, Side

__all__ = ["Crowd"]

#: Values in US dollars that hold whatever the market list says.
_ANCHORS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("USD", "USDT", "USDC", "TUSD", "DAI", "BUSD", "USDD"), 1.0),
    **{"EUR": 1.08, "EURS": 1.08, "GBP": 1.27},
}
#: Values where the list names no price.
_FALLBACKS: Final[Mapping[str, float]] = {"BTC": 64_000.0, "ETH": 3_200.0}
#: Standard deviation of the logarithm of a value after one second.
_VOLATILITY: Final = {"BTC": 0.0009, "ETH": 0.0009}
_VOLATILITY_RANGE: Final = (0.0009, 0.0012)
#: How far a value strays from where it began, as a standard deviation of its logarithm.
_STRAY: Final = 0.08
_TREND_SECONDS: Final = 300.0
#: How the quotient of trend and volatility is spread; most of the time there is no trend.
_TRENDS: Final = (0.0, 0.0, 0.0, -0.02, 0.02)

#: Between the times at which a market of two coins goes astray, how long it does, and how far: more
#: than the fees and spreads of a triangle.
_STRAIGHT_SECONDS: Final = 1_200.0
_ASTRAY_SECONDS: Final = 60.0
_ASTRAY_RANGE: Final = (0.02, 0.03)

_ACCOUNT_COUNT: Final = 8
_WEALTH_USD: Final = 10**12  # of each trader in each asset: never the limit
_STAKE_USD: Final = 10_000  # of a user's account in each asset
_ACTIONS_PER_STEP_MAX: Final = 100
_TAKES_PER_ACTION_MAX: Final = 4
#: Between two trades of the past.
_PAST_INTERVAL_S: Final = 300
_LIQUID_BASES: Final = frozenset({"BTC", "ETH", "XMR", "LTC", "DOGE"})
#: Markets beyond this count get thinner books, so that a long list starts quickly.
_FULL_BOOK_COUNT_MAX: Final = 100


class _Value:
    """What one asset is worth: a random walk with trends, drawn back to where it began."""

    def __init__(self, usd: float, volatility: float) -> None:
        self.start_usd = usd
        self._log = 0.0
        self._volatility = volatility
        self._pull = volatility**2 / (2 * _STRAY**2)
        self._trend = 0.0
        self._trend_until_s = 0.0
        self._time_s = 0.0

    def at(self, time_s: float, generator: random.Random) -> float:
        """Walk to a time and return the value in US dollars."""
        passed_s = time_s - self._time_s
        if passed_s > 0 and self._volatility:
            self._time_s = time_s
            if time_s >= self._trend_until_s:
                self._trend = generator.choice(_TRENDS) * self._volatility
                self._trend_until_s = time_s + generator.expovariate(1 / _TREND_SECONDS)
            drift = self._trend - self._pull * self._log
            noise = generator.gauss(0.0, self._volatility * math.sqrt(passed_s))
            self._log += drift * min(passed_s, _TREND_SECONDS) + noise
        return self.start_usd * math.exp(self._log)

    def path(self, times_s: Iterable[int], generator: random.Random) -> list[float]:
        """Return the values of another life at growing times, from the same beginning."""
        other = _Value(self.start_usd, self._volatility)
        return [other.at(time_s, generator) for time_s in times_s]


class _Pit:
    """The crowd's side of one market."""

    def __init__(self, listing: Listing, is_liquid: bool, level_count: int) -> None:
        self.listing = listing
        self.actions_per_s = 0.5 if is_liquid else 0.15
        self.half_spread = 0.0008 if is_liquid else 0.003
        self.depth_scale = 0.005 if is_liquid else 0.015
        self.median_usd = 150.0 if is_liquid else 40.0
        self.level_count = level_count
        #: The quotient of what its makers think fair and what is, and until when.
        self.bias = 1.0
        self.bias_until_s = 0.0
        #: Resting orders of the crowd, oldest first.
        self.quotes: dict[Side, deque[Order]] = {"buy": deque(), "sell": deque()}


class Crowd:
    """Many traders on all markets of an exchange.

    Parameters
    ----------
    exchange : Exchange
    seed : int
    speed : float
        Seconds of the crowd's life in one second of the exchange's time; 0: no crowd at all, the
        books stay empty.
    now_ms : int
        Unix milliseconds at the start.
    """

    def __init__(self, exchange: Exchange, *, seed: int, speed: float, now_ms: int) -> None:
        self._exchange = exchange
        self._generator = random.Random(seed)
        self._strays = random.Random(f"{seed}/strays")
        self._speed = speed
        self._last_ms = now_ms
        self._time_s = 0.0
        self._owed_actions = 0.0
        self._values = self._appraise()
        self._accounts: list[Account] = []
        self._pits: list[_Pit] = []
        if speed:
            self._open_accounts()
            self._open_pits(now_ms)
        self._weights = list(accumulate(pit.actions_per_s for pit in self._pits))

    def recall(self, seconds: int) -> None:
        """Give every market of the crowd a past, up to where its values begin.

        Call it once, before the first step.
        """
        # A walk that is drawn back to its start looks the same in both directions of time.
        interval_s = _PAST_INTERVAL_S if len(self._pits) <= _FULL_BOOK_COUNT_MAX else 3_600
        paths = {
            asset: value.path(range(0, seconds, interval_s), self._generator)
            for asset, value in self._values.items()
        }
        for number in reversed(range(len(range(0, seconds, interval_s)))):
            time_ms = self._last_ms - number * interval_s * 1000 - 1
            for pit in self._pits:
                listing = pit.listing
                price = paths[listing.market.base][number] / paths[listing.market.quote][number]
                ticks = max(1, round(price * 10.0**listing.price_decimals))
                side: Side = "buy" if self._generator.random() < 0.5 else "sell"
                lots = self._lots(pit, ticks)
                self._exchange.remember_trade(listing, side, ticks, lots, time_ms)
                listing.sequences.trades += 1

    def stake(self) -> dict[str, str]:
        """Return balances for a user's account: the same worth of every asset, rounded."""
        return {
            asset: format(_round_digits(_STAKE_USD / value.start_usd), "f")
            for asset, value in self._values.items()
        }

    def step(self, now_ms: int) -> None:
        """Live until a time: act as often as the time that passed demands."""
        passed_s = max(0, now_ms - self._last_ms) / 1000 * self._speed
        self._last_ms = max(self._last_ms, now_ms)
        if not self._pits:
            return
        self._time_s += passed_s
        self._owed_actions += passed_s * self._weights[-1]
        count = int(self._owed_actions)
        self._owed_actions -= count
        count = min(count, _ACTIONS_PER_STEP_MAX)
        for pit in self._generator.choices(self._pits, cum_weights=self._weights, k=count):
            self._act(pit, now_ms)

    # Where everything begins.

    def _appraise(self) -> dict[str, _Value]:
        by_base: dict[str, list[Listing]] = {}
        for listing in self._exchange.listings.values():
            by_base.setdefault(listing.market.base, []).append(listing)
        usd: dict[str, float] = dict(_ANCHORS)

        def appraise(asset: str, asked: frozenset[str]) -> float:
            if asset not in usd:
                quoted = [
                    (listing, appraise(listing.market.quote, asked | {asset}))
                    for listing in by_base.get(asset, ())
                    if listing.market.quote not in asked | {asset}
                ]
                usd[asset] = self._guess(asset, quoted)
            return usd[asset]

        values = {}
        for asset in self._exchange.assets:
            worth = appraise(asset, frozenset())
            volatility = _VOLATILITY.get(asset, self._generator.uniform(*_VOLATILITY_RANGE))
            values[asset] = _Value(worth, 0.0 if asset in _ANCHORS else volatility)
        return values

    def _guess(self, asset: str, quoted: list[tuple[Listing, float]]) -> float:
        for listing, quote_usd in quoted:
            price = float(listing.row.get("lastPrice") or 0)
            if price > 0:
                return price * quote_usd
        if asset in _FALLBACKS or not quoted:
            return _FALLBACKS.get(asset, 1.0)
        # Some thousands of ticks on each of its markets.
        coarsest = max(quote_usd / 10.0**listing.price_decimals for listing, quote_usd in quoted)
        return float(coarsest * 10.0 ** self._generator.uniform(3.3, 4.5))

    def _open_accounts(self) -> None:
        for number in range(_ACCOUNT_COUNT):
            wealth = {
                asset: math.ceil(_WEALTH_USD / value.start_usd)
                for asset, value in self._values.items()
            }
            account = self._exchange.open_account(f"crowd-{number + 1}", {}, keeps_history=False)
            for asset, amount in wealth.items():
                self._exchange.deposit(account, asset, atoms(amount))
            self._accounts.append(account)

    def _open_pits(self, now_ms: int) -> None:
        listings = self._exchange.listings.values()
        is_long = len(listings) > _FULL_BOOK_COUNT_MAX
        for listing in listings:
            market = listing.market
            is_liquid = market.quote in USD_ASSETS and market.base in _LIQUID_BASES
            level_count = 8 if is_long else 24 if is_liquid else 14
            pit = _Pit(listing, is_liquid, level_count)
            if not listing.is_active or listing.is_paused or self._fair(pit) < 100:
                continue
            self._pits.append(pit)
            pit.bias_until_s = self._strays.expovariate(1 / _STRAIGHT_SECONDS)
            for _ in range(level_count):
                self._quote(pit, "buy", now_ms)
                self._quote(pit, "sell", now_ms)

    # What the crowd does.

    def _fair(self, pit: _Pit) -> float:
        market = pit.listing.market
        base_usd = self._values[market.base].at(self._time_s, self._generator)
        quote_usd = self._values[market.quote].at(self._time_s, self._generator)
        return base_usd / quote_usd * pit.bias * 10.0**pit.listing.price_decimals

    def _go_astray_or_back(self, pit: _Pit) -> None:
        if self._time_s < pit.bias_until_s or pit.listing.market.quote in _ANCHORS:
            return
        if pit.bias == 1.0:
            away = self._strays.uniform(*_ASTRAY_RANGE)
            pit.bias = 1 + away if self._strays.random() < 0.5 else 1 - away
            mean_s = _ASTRAY_SECONDS
        else:
            pit.bias = 1.0
            mean_s = _STRAIGHT_SECONDS
        pit.bias_until_s = self._time_s + self._strays.expovariate(1 / mean_s)

    def _act(self, pit: _Pit, now_ms: int) -> None:
        listing = pit.listing
        if listing.is_paused or not listing.is_active:
            return
        self._go_astray_or_back(pit)
        self._take_what_lags(pit, now_ms)
        for quotes in pit.quotes.values():
            _forget_filled(quotes)
        thin: Side = "buy" if len(pit.quotes["buy"]) < len(pit.quotes["sell"]) else "sell"
        if len(pit.quotes[thin]) < pit.level_count // 2:
            self._quote(pit, thin, now_ms)
            return
        mood = self._generator.random()
        side: Side = "buy" if self._generator.random() < 0.5 else "sell"
        if mood < 0.5:
            self._quote(pit, side, now_ms)
        elif mood < 0.8:
            self._take_the_best(pit, side, now_ms)
        elif mood < 0.9:
            self._narrow(pit, side, now_ms)
        elif len(pit.quotes[side]) > pit.level_count // 2:
            self._withdraw_one(pit, side, now_ms)

    def _take_what_lags(self, pit: _Pit, now_ms: int) -> None:
        engine = pit.listing.engine
        fair = self._fair(pit)
        for _ in range(_TAKES_PER_ACTION_MAX):
            bid, ask = engine.best_bid, engine.best_ask
            if bid is not None and bid[0] > fair * (1 + pit.half_spread / 4):
                self._take(pit, "sell", bid, self._lots(pit, bid[0]), now_ms)
            elif ask is not None and ask[0] < fair * (1 - pit.half_spread / 4):
                self._take(pit, "buy", ask, self._lots(pit, ask[0]), now_ms)
            else:
                return

    def _take_the_best(self, pit: _Pit, side: Side, now_ms: int) -> None:
        engine = pit.listing.engine
        best = engine.best_ask if side == "buy" else engine.best_bid
        if best is not None:
            lots = int(best[1] * self._generator.uniform(0.1, 1.1))
            self._take(pit, side, best, min(lots, 4 * self._lots(pit, best[0])), now_ms)

    def _take(self, pit: _Pit, side: Side, best: tuple[int, int], lots: int, now_ms: int) -> None:
        # Never more than rests there, so that nothing of it stays behind; dust is taken whole.
        ticks, resting_lots = best
        lots = min(max(lots, self._least_lots(pit, ticks)), resting_lots)
        self._place(pit, side, ticks, lots, now_ms)

    def _quote(self, pit: _Pit, side: Side, now_ms: int) -> None:
        away = pit.half_spread + self._generator.expovariate(1 / pit.depth_scale)
        self._rest(pit, side, self._fair(pit) * (1 - away if side == "buy" else 1 + away), now_ms)

    def _narrow(self, pit: _Pit, side: Side, now_ms: int) -> None:
        # A little better than the best, where that is still worth it.
        engine = pit.listing.engine
        best = engine.best_bid if side == "buy" else engine.best_ask
        if best is None:
            return
        inside = self._fair(pit) * (1 + pit.half_spread * (-0.5 if side == "buy" else 0.5))
        step = max(1, int(best[0] * pit.half_spread * 0.1))
        if side == "buy":
            self._rest(pit, side, min(best[0] + step, inside), now_ms)
        else:
            self._rest(pit, side, max(best[0] - step, inside), now_ms)

    def _rest(self, pit: _Pit, side: Side, price: float, now_ms: int) -> None:
        engine = pit.listing.engine
        ticks = max(1, math.floor(price) if side == "buy" else math.ceil(price))
        # Makers do not cross: they stop one tick short.
        if side == "buy" and engine.best_ask is not None:
            ticks = min(ticks, engine.best_ask[0] - 1)
        if side == "sell" and engine.best_bid is not None:
            ticks = max(ticks, engine.best_bid[0] + 1)
        if ticks < 1:
            return
        if len(pit.quotes[side]) >= pit.level_count:
            self._withdraw_one(pit, side, now_ms)
        order = self._place(pit, side, ticks, self._lots(pit, ticks), now_ms)
        if order is not None and order.is_open:
            pit.quotes[side].append(order)

    def _withdraw_one(self, pit: _Pit, side: Side, now_ms: int) -> None:
        quotes = pit.quotes[side]
        while quotes:
            order = quotes.popleft()
            if order.is_open:
                self._exchange.withdraw(order, now_ms)
                return

    def _place(self, pit: _Pit, side: Side, ticks: int, lots: int, now_ms: int) -> Order | None:
        listing = pit.listing
        if listing.pause_buys if side == "buy" else listing.pause_sells:
            return None
        ticks -= ticks % listing.accepted_ticks
        if not ticks:
            return None
        account = self._generator.choice(self._accounts)
        return self._exchange.place(account, listing, side, ticks, lots, now_ms)

    def _lots(self, pit: _Pit, ticks: int) -> int:
        listing = pit.listing
        usd = pit.median_usd * math.exp(self._generator.gauss(0.0, 0.9))
        quote_usd = self._values[listing.market.quote].start_usd
        lot_usd = ticks * quote_usd / 10 ** (listing.price_decimals + listing.quantity_decimals)
        return max(self._least_lots(pit, ticks), int(usd / lot_usd))

    @staticmethod
    def _least_lots(pit: _Pit, ticks: int) -> int:
        listing = pit.listing
        by_quantity = -(-listing.min_quantity // listing.lot_atoms)
        by_notional = -(-listing.min_notional // listing.notional(ticks, 1))
        return max(1, by_quantity, by_notional)


def _forget_filled(quotes: deque[Order]) -> None:
    for _ in range(len(quotes)):
        order = quotes.popleft()
        if order.is_open:
            quotes.append(order)


def _round_digits(amount: float) -> Decimal:
    return Decimal(f"{amount:.3g}")
