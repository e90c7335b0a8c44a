"""Hybrid arbitrage: an asset is bought on the order book, swapped in a pool, and sold again.

Both ways around are priced whenever a book changes: on what stands at the best prices, with the
pool's own curve, its fee once, on what was really bought. The size is the one that earns most, cut
to what may be spent and to what is there.

The exchange's API has no way to swap in a pool. So this strategy only looks: it reports every
opportunity with its numbers, sends nothing, and refuses live mode. Pools do not tell their
reserves either; without reserves that somebody states nothing is priced at all.
"""

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pydantic import model_validator

from nkfast.errors import ConfigError
from nkfast.strategies.amm import Pool
from nkfast.strategies.cycle import CycleResult, Step, convert, evaluate, rate_of
from nkfast.strategies.settings import Asset, Settings, Symbol, key
from nkfast.trading.exact import plain
from nkfast.trading.strategy import Desired, Fill, MarketView, Skip, Strategy

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market

__all__ = ["Found", "HybridArbitrage", "HybridArbitrageSettings", "around"]

_PERCENT = 100
_SHOWN = Context(prec=12, rounding=ROUND_FLOOR)


class HybridArbitrageSettings(Settings):
    """What a hybrid arbitrage is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "base_currency": ("start_asset",),
        "min_profit_pct": ("min_profit_percent",),
        "min_notional_usd": ("min_notional",),
        "min_notional_quote": ("min_notional",),
    }

    pool_pair: Symbol = key(meaning="The pool's assets, BASE/QUOTE.")
    start_asset: Asset = key(
        "USDT", meaning="Where a cycle begins and ends; both assets trade for it."
    )
    trade_amount: Decimal = key(
        Decimal(100), unit="of the start asset", gt=0, meaning="The most that goes into one cycle."
    )
    min_profit_percent: Decimal = key(
        Decimal("0.5"),
        unit="per cent",
        ge=0,
        meaning="The least profit after all fees that is reported; 0.5 is half a per cent.",
    )
    min_notional: Decimal = key(
        Decimal(1),
        unit="of the start asset",
        ge=0,
        meaning="The least that goes into one cycle; the markets' own minimums hold as well.",
    )
    pool_fee: Decimal = key(
        Decimal("0.003"), unit="fraction", ge=0, lt=1, meaning="Of what is put into the pool."
    )
    pool_base_reserve: Decimal | None = key(
        None, unit="base", gt=0, meaning="What the pool holds of its base; the venue does not say."
    )
    pool_quote_reserve: Decimal | None = key(
        None, unit="quote", gt=0, meaning="What the pool holds of its quote asset."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.start_asset in self.pool_pair.split("/"):
            raise ConfigError(f"is {self.start_asset}, which is in the pool", "start_asset")
        if (self.pool_base_reserve is None) != (self.pool_quote_reserve is None):
            raise ConfigError("both reserves are needed, or neither", "pool_base_reserve")
        return self

    @property
    def pool(self) -> Pool | None:
        """The pool as it was told; None without its reserves."""
        if self.pool_base_reserve is None or self.pool_quote_reserve is None:
            return None
        base, quote = self.pool_pair.split("/")
        return Pool(base, quote, self.pool_base_reserve, self.pool_quote_reserve, self.pool_fee)

    def symbols(self, listed: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the markets of both assets of the pool with the start asset."""
        del listed
        return tuple(f"{asset}/{self.start_asset}" for asset in self.pool_pair.split("/"))


class Found(NamedTuple):
    """One way around at one size: bought on ``buys``, swapped, sold on ``sells``."""

    buys: str
    sells: str
    result: CycleResult


def around(
    pool: Pool,
    start: str,
    amount: Decimal | Fraction,
    pays: str,
    ask: Decimal,
    bid: Decimal,
    fee_rates: tuple[Decimal | Fraction, Decimal | Fraction],
) -> Found:
    """Price one way around: buy an asset of the pool, swap it, sell the other one.

    Parameters
    ----------
    pool : Pool
    start : str
        Where it begins and ends.
    amount : Decimal or Fraction
        What goes in, above 0.
    pays : str
        The asset that is bought and swapped.
    ask, bid : Decimal
        What it is bought at, and what the other one is sold at, in the start asset.
    fee_rates : (number, number)
        Of the buy and of the sell, each taken from what is received.
    """
    gets = pool.quote if pays == pool.base else pool.base
    buy = Step(start, pays, rate_of("buy", ask), fee_rates[0])
    # The pool's curve and its fee are in the price of what was really bought.
    swap = Step(pays, gets, pool.swap(pays, convert(buy, amount)).price)
    sell = Step(gets, start, rate_of("sell", bid), fee_rates[1])
    return Found(f"{pays}/{start}", f"{gets}/{start}", evaluate(amount, [buy, swap, sell]))


class HybridArbitrage(Strategy):
    """Looks for cycles through two markets and a pool.

    Parameters
    ----------
    settings : HybridArbitrageSettings
    markets : mapping of str to Market
        Those of both assets of the pool with the start asset.

    Raises
    ------
    nkfast.errors.ConfigError
        One of the markets is missing.
    """

    name = "hybrid_arbitrage"
    settings_type = HybridArbitrageSettings
    refuses_live = (
        "the exchange's API has no endpoint to swap in a pool, so that the second of three legs"
        " could not be taken; use mode monitor"
    )

    def __init__(self, settings: HybridArbitrageSettings, markets: Mapping[str, "Market"]) -> None:
        missing = [symbol for symbol in settings.symbols({}) if symbol not in markets]
        if missing:
            raise ConfigError(f"needs the market {', '.join(missing)}", "pool_pair")
        self.settings = settings
        self._pool = settings.pool
        self._assets = settings.pool_pair.split("/")
        self._threshold = Fraction(settings.min_profit_percent) / _PERCENT
        self._seen: tuple[object, ...] = ()
        self._desired = Desired()
        if self._pool is None:
            skip = Skip("NO_RESERVES", f"{settings.pool_pair}: set both reserves of the pool")
            self._desired = Desired(skips=(skip,))
        self._state: dict[str, Any] = {}

    @classmethod
    def build(cls, settings: HybridArbitrageSettings, markets: Mapping[str, "Market"]) -> Self:
        """Make one over the markets of the pool's assets."""
        return cls(settings, markets)

    def decide(self, view: MarketView) -> Desired:
        """Return that nothing should rest, and what could be earned; the same while it is."""
        pool = self._pool
        if pool is None:
            return self._desired
        books = {
            asset: view.books[f"{asset}/{self.settings.start_asset}"] for asset in self._assets
        }
        if any(book.state != "live" for book in books.values()):
            return self._desired
        # A venue that tells no balances bounds nothing.
        most = self.settings.trade_amount
        most = min(most, view.available.get(self.settings.start_asset, most))
        seen = (most, *((book.best_bid, book.best_ask) for book in books.values()))
        if seen != self._seen:
            self._seen = seen
            found = [one for pays in self._assets if (one := self._best(pool, pays, books, most))]
            self._desired = Desired(skips=tuple(self._report(one) for one in found))
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        """Take no note: nothing is sent, so nothing fills."""

    def state(self) -> dict[str, Any]:
        """Return nothing: nothing is held."""
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take nothing back."""

    def _best(
        self, pool: Pool, pays: str, books: Mapping[str, "OrderBook"], most: Decimal
    ) -> Found | None:
        """Return a way around at the size that earns most, if it is worth it."""
        gets = pool.quote if pays == pool.base else pool.base
        ask, bid = books[pays].best_ask, books[gets].best_bid
        if ask is None or bid is None:
            return None
        buys, sells = books[pays].market, books[gets].market
        ask_price = buys.ticks_to_price(ask[0])
        bid_price = sells.ticks_to_price(bid[0])
        # A buyer pays the fee in quote, on top: 1 / (1 + fee) of what goes in is traded.
        taken = Fraction(buys.taker_fee)
        fee_rates = taken / (1 + taken), Fraction(sells.taker_fee)
        bought = (1 - fee_rates[0]) / Fraction(ask_price)
        sold = (1 - fee_rates[1]) * Fraction(bid_price)
        amount = min(
            pool.best_size(pays, bought, sold),
            Fraction(most),
            Fraction(buys.lots_to_quantity(ask[1])) / bought,
        )
        wanted = Fraction(sells.lots_to_quantity(bid[1]))
        if wanted < pool.reserves(pays)[1]:
            amount = min(amount, pool.needed(pays, wanted) / bought)
        if amount <= 0 or amount < self.settings.min_notional:
            return None
        start = self.settings.start_asset
        found = around(pool, start, amount, pays, ask_price, bid_price, fee_rates)
        swapped, received, _ = found.result.amounts
        if swapped < buys.min_quantity or received < sells.min_quantity:
            return None
        if amount < buys.min_notional or found.result.final < sells.min_notional:
            return None
        return found if found.result.is_worth(self._threshold) else None

    def _report(self, found: Found) -> Skip:
        settings, result = self.settings, found.result
        first, second = found.buys.partition("/")[0], found.sells.partition("/")[0]
        path = f"{settings.start_asset} > {first} > pool > {second} > {settings.start_asset}"
        amounts = " > ".join(_shown(amount) for amount in (result.start, *result.amounts))
        return Skip(
            "POOL_OPPORTUNITY",
            f"{path}: {amounts}, {_shown(result.ratio * _PERCENT)} %; no endpoint swaps in a pool",
        )


def _shown(value: Fraction) -> str:
    return plain(_SHOWN.divide(Decimal(value.numerator), Decimal(value.denominator)))
