"""Rebalance: holds assets at fixed shares of their common value, one order at a time.

At every check the share of each asset is compared with its target. The one that is farthest off,
and by more than the threshold, is bought or sold for the quote asset, so that it is right
afterwards. While that order rests nothing else is done; what it does not fill in its time is
cancelled and the next check prices anew.

Everything owned counts, also what is held for open orders. After a fill the balances are given
time to be told before they are believed.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from nkfast.errors import ConfigError
from nkfast.strategies.settings import Asset, Settings, Symbol, key, least_value
from nkfast.strategies.sizing import Steps
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    MarketView,
    OrderEnd,
    Quote,
    Skip,
    Strategy,
)
from nkfast.venue.port import PublicTrade, Side

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = [
    "Correction",
    "Rebalance",
    "RebalanceAsset",
    "RebalanceSettings",
    "find_correction",
    "find_pair_correction",
]

_MS = 1_000
#: Balances have been seen to be told this long after the fills that moved them.
_BALANCE_LAG_MS = 10 * _MS
#: By how much the targets may miss 1 together.
_SUM_SLACK = Decimal("0.0001")
_SHOWN = Context(prec=6, rounding=ROUND_HALF_EVEN)


class Correction(NamedTuple):
    """What brings an asset to its target: buy or sell an amount of it, in base units."""

    asset: str
    side: Side
    amount: Fraction
    price: Decimal
    target: Decimal
    ratio: Fraction  # its share now


def find_correction(
    balances: Mapping[str, Decimal],
    prices: Mapping[str, Decimal],
    targets: Mapping[str, Decimal],
    quote_asset: str,
    threshold: Decimal,
) -> Correction | None:
    """Return what brings the asset that is farthest off to its target, exactly.

    None where none but the quote asset is off by more than the threshold, or nothing is owned. Of
    two that are off by as much the first one is taken.

    Parameters
    ----------
    balances : mapping of str to Decimal
        What is owned, by asset.
    prices : mapping of str to Decimal
        In units of the quote asset, for each target.
    targets : mapping of str to Decimal
        The share of each asset, the quote asset among them.
    quote_asset : str
        What all are bought and sold for.
    threshold : Decimal
        The least difference of a share that matters, exclusive.

    Raises
    ------
    ValueError
        The quote asset has no target, a price is missing or not above 0, or the threshold is
        negative.
    """
    if quote_asset not in targets:
        raise ConfigError(f"{quote_asset} has no target among {', '.join(targets)}", "quote_asset")
    if threshold < 0:
        raise ConfigError(f"is {threshold}; give at least 0", "threshold_pct")
    for asset in targets:
        price = prices.get(asset)
        if price is None or price <= 0:
            raise ConfigError(f"the price of {asset} is {price}; it must be above 0", "prices")
    values = {
        asset: Fraction(multiply(balances.get(asset, ZERO), prices[asset])) for asset in targets
    }
    whole = sum(values.values(), Fraction(0))
    if whole <= 0:
        return None
    farthest: Correction | None = None
    most = Fraction(threshold)
    for asset, target in targets.items():
        if asset == quote_asset:
            continue
        drift = values[asset] / whole - Fraction(target)
        if abs(drift) > most:
            most = abs(drift)
            side: Side = "sell" if drift > 0 else "buy"
            amount = abs(drift) * whole / Fraction(prices[asset])
            ratio = values[asset] / whole
            farthest = Correction(asset, side, amount, prices[asset], target, ratio)
    return farthest


def find_pair_correction(
    base: Decimal, quote: Decimal, price: Decimal, target: Decimal, threshold: Decimal
) -> Correction | None:
    """Return what brings the base asset of one market to its target; see `find_correction`.

    Raises
    ------
    ValueError
        As `find_correction`, or the target is not between 0 and 1.
    """
    if not 0 < target < 1:
        raise ConfigError(f"is {target}; give more than 0 and less than 1", "target_base_pct")
    return find_correction(
        {"base": base, "quote": quote},
        {"base": price, "quote": ONE},
        {"base": target, "quote": subtract(ONE, target)},
        "quote",
        threshold,
    )


class RebalanceAsset(Settings):
    """One asset of several."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "target_percent": ("target_pct",),
        "trading_pair": ("symbol",),
    }

    asset: Asset = key(meaning="Its name, as the venue has it.")
    target_pct: Decimal = key(
        unit="fraction", ge=0, le=1, meaning="Its share of the value of all of them."
    )
    symbol: Symbol = key(
        "", meaning="Where it is bought and sold; empty takes its market with the quote asset."
    )


class RebalanceSettings(Settings):
    """What a rebalancer is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "trading_pair": ("symbol",),
        "target_base_percent": ("target_base_pct",),
        "rebalance_threshold_percent": ("threshold_pct",),
        "drift_threshold": ("threshold_pct",),
        "rebalance_order_type": ("order_type",),
        "rebalance_order_spread": ("spread_pct",),
        "poll_interval_seconds": ("poll_interval_s",),
        "refresh_time": ("poll_interval_s",),
        "order_timeout_sec": ("order_timeout_s",),
        "rebalance_assets": ("assets",),
    }

    symbol: Symbol = key(
        "", meaning="BASE/QUOTE; empty means the market that it is given, or those of the assets."
    )
    target_base_pct: Decimal = key(
        Decimal("0.5"),
        unit="fraction",
        gt=0,
        lt=1,
        meaning="Share of the base asset, where there are no assets.",
    )
    threshold_pct: Decimal = key(
        Decimal("0.02"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="A share that is off by more than this is corrected.",
    )
    order_type: Literal["limit", "market"] = key(
        "limit", meaning="limit: waits as a maker. market: takes at whatever price."
    )
    spread_pct: Decimal = key(
        Decimal("0.002"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far from the price a limit lies, on the maker's side.",
    )
    order_timeout_s: int = key(
        300, unit="s", gt=0, meaning="An order that is not filled after this is priced anew."
    )
    min_notional_quote: Decimal = least_value()
    poll_interval_s: int = key(60, unit="s", gt=0, meaning="From check to check.")
    price_source: Literal["mid", "last", "bid", "ask"] = key(
        "mid", meaning="What an asset is valued by: the book, or the last trade."
    )
    quote_asset: Asset = key(
        "", meaning="What all are bought and sold for; empty takes it from the first market named."
    )
    assets: tuple[RebalanceAsset, ...] = key(
        (),
        meaning="Several assets, a section each; without a target the quote asset has what is "
        "left.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.targets_of("BASE", "QUOTE")
        return self

    def symbols(self, listed: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the markets of the assets, or the one market."""
        del listed
        if not self.assets:
            return (self.symbol,) if self.symbol else ()
        return tuple(self._markets().values())

    def targets_of(self, base: str, quote: str) -> dict[str, Decimal]:
        """Return the share of each asset; `base` and `quote` are those of the one market.

        Raises
        ------
        nkfast.errors.ConfigError
            The assets do not fit together.
        """
        if not self.assets:
            return {
                base: self.target_base_pct,
                quote: subtract(ONE, self.target_base_pct),
            }
        quote = self._quote()
        self._markets()
        targets = {item.asset: item.target_pct for item in self.assets}
        if len(targets) < len(self.assets):
            raise ConfigError("an asset is named twice", "assets")
        total = ZERO
        for target in targets.values():
            total = add(total, target)
        if quote not in targets:
            if total > 1:
                raise ConfigError(f"the targets add up to {plain(total)}; 1 is all", "assets")
            targets[quote] = subtract(ONE, total)
        elif abs(subtract(total, ONE)) > _SUM_SLACK:
            raise ConfigError(f"the targets add up to {plain(total)}, not to 1", "assets")
        return targets

    def _quote(self) -> str:
        if self.quote_asset:
            return self.quote_asset
        for symbol in (self.symbol, *(item.symbol for item in self.assets)):
            if symbol:
                return symbol.partition("/")[2]
        raise ConfigError("is required where no asset names a market", "quote_asset")

    def _markets(self) -> dict[str, str]:
        """Return the market of each asset but the quote's."""
        quote = self._quote()
        markets = {}
        for item in self.assets:
            if item.asset == quote:
                continue
            symbol = item.symbol or f"{item.asset}/{quote}"
            if symbol.partition("/")[::2] != (item.asset, quote):
                raise ConfigError(f"{symbol} does not trade {item.asset} for {quote}", "assets")
            markets[item.asset] = symbol
        if not markets:
            raise ConfigError(f"name an asset beside {quote}", "assets")
        return markets


class Rebalance(Strategy):
    """Holds the assets of one or several markets at their shares.

    Parameters
    ----------
    settings : RebalanceSettings
    markets : mapping of str to Market
        By symbol; those of the settings, or one.

    Raises
    ------
    nkfast.errors.ConfigError
        A market is missing, or takes no market orders.
    """

    name = "rebalance"
    settings_type = RebalanceSettings

    def __init__(self, settings: RebalanceSettings, markets: "Mapping[str, Market]") -> None:
        wanted = settings.symbols({}) or (next(iter(markets)),)
        missing = [symbol for symbol in wanted if symbol not in markets]
        if missing:
            raise ConfigError(f"{', '.join(missing)} is not among {', '.join(markets)}", "assets")
        self.settings = settings
        self._steps = {markets[symbol].base: Steps(markets[symbol]) for symbol in wanted}
        home = markets[wanted[0]]
        self._quote_asset = home.quote
        self._targets = settings.targets_of(home.base, home.quote)
        if settings.order_type == "market":
            for symbol in wanted:
                if not markets[symbol].allow_market_orders:
                    raise ConfigError(f"{symbol} takes no market orders; use 'limit'", "order_type")
        self._last: dict[str, Decimal] = {}  # price of the newest trade, by symbol
        self._next_ms = 0  # when the next check is due
        self._has_filled = False  # since the last check
        self._ended: OrderEnd | None = None  # how the order did, since the last decision
        self._desired = Desired()
        self._kept: tuple[Mapping[str, Any], Desired] = ({}, Desired())
        self._checks = self._corrections = self._fills = 0
        self._moved: dict[str, Decimal] = {}
        self._state: dict[str, Any] | None = None

    @classmethod
    def build(cls, settings: RebalanceSettings, markets: "Mapping[str, Market]") -> Self:
        """Make a rebalancer on the markets of the settings."""
        return cls(settings, markets)

    def decide(self, view: MarketView) -> Desired:
        """Return the order that rests, or check whether one is needed."""
        if view.orders:
            if view.orders is not self._kept[0]:
                self._kept = (view.orders, self._as_it_is(view))
            return self._kept[1]
        if self._ended is not None:
            self._after_order(view.now_ms, self._ended)
        longest_ms = self.settings.poll_interval_s * _MS + _BALANCE_LAG_MS
        if view.now_ms >= self._next_ms or self._next_ms > view.now_ms + longest_ms:
            self._check(view)
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        """Count what was traded."""
        self._has_filled = True
        self._fills += 1
        base, _, quote = fill.symbol.partition("/")
        notional = multiply(fill.price, fill.quantity)
        sign = 1 if fill.side == "buy" else -1
        self._move(base, multiply(fill.quantity, Decimal(sign)))
        self._move(quote, multiply(notional, Decimal(-sign)))
        if fill.fee is not None:
            self._move(fill.fee_asset, fill.fee.copy_negate())
        self._state = None

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Count a fee that is told late."""
        assert fill.fee is not None
        self._move(fill.fee_asset, subtract(before or ZERO, fill.fee))
        self._state = None

    def on_end(self, order: EndedOrder) -> None:
        """Take note that the order has ended: what is wanted next has to be found out anew."""
        self._ended = order.end
        self._state = None

    def on_trade(self, trade: PublicTrade) -> None:
        """Take note of the last price."""
        self._last[trade.symbol] = trade.price

    def state(self) -> dict[str, Any]:
        """Return what was done so far, and what must be waited for before the next check."""
        if self._state is None:
            self._state = {
                "checks": self._checks,
                "corrections": self._corrections,
                "fills": self._fills,
                "moved": {asset: plain(amount) for asset, amount in sorted(self._moved.items())},
                "next_ms": self._next_ms,
                "has_filled": self._has_filled,
                "ended": self._ended,
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it back. What is owned is the venue's word, and what rests is shown."""
        self._checks, self._corrections = state["checks"], state["corrections"]
        self._fills = state["fills"]
        self._moved = {asset: Decimal(amount) for asset, amount in state["moved"].items()}
        self._next_ms, self._has_filled = state["next_ms"], state["has_filled"]
        self._ended = state["ended"]
        self._desired = Desired(again_at_ms=self._next_ms)
        self._state = None

    def _move(self, asset: str, amount: Decimal) -> None:
        self._moved[asset] = add(self._moved.get(asset, ZERO), amount)

    # One order at a time -----------------------------------------------------------------------

    def _as_it_is(self, view: MarketView) -> Desired:
        timeout_ms = self.settings.order_timeout_s * _MS
        quotes = {}
        for slot, order in view.orders.items():
            is_market = not order.price
            quotes[slot] = Quote(
                order.side,
                None if is_market else order.price,
                order.remaining,
                order.symbol,
                post_only=not is_market,
                good_for_ms=timeout_ms,
            )
        return Desired(quotes)

    def _after_order(self, now_ms: int, end: OrderEnd) -> None:
        """Wait until the balances know of what was filled; at once where nothing was.

        What the venue refused waits for the next check.
        """
        self._ended = None
        if self._has_filled:
            self._next_ms = now_ms + _BALANCE_LAG_MS
        elif end not in ("rejected", "abandoned"):
            self._next_ms = now_ms
        self._has_filled = False
        self._state = None
        self._desired = Desired(again_at_ms=self._next_ms)

    # The check ---------------------------------------------------------------------------------

    def _check(self, view: MarketView) -> None:
        self._checks += 1
        self._state = None
        self._next_ms = view.now_ms + self.settings.poll_interval_s * _MS
        skips: list[Skip] = []
        quotes = {}
        if not view.total:
            skips.append(Skip("NO_BALANCES", "the venue tells none to one who only looks"))
            prices = None
        else:
            prices = self._prices(view, skips)
        if prices is not None:
            correction = find_correction(
                view.total, prices, self._targets, self._quote_asset, self.settings.threshold_pct
            )
            skips.append(self._summary(view.total, prices, correction))
            if correction is not None:
                quote = self._quote(correction, view, skips)
                if quote is not None:
                    quotes[f"rebalance-{correction.asset}"] = quote
                    self._corrections += 1
        self._desired = Desired(quotes, tuple(skips), again_at_ms=self._next_ms)

    def _prices(self, view: MarketView, skips: list[Skip]) -> dict[str, Decimal] | None:
        prices = {self._quote_asset: ONE}
        for asset, steps in self._steps.items():
            symbol = steps.market.symbol
            book = view.books[symbol]
            bid, ask = book.best_bid, book.best_ask
            if book.state != "live" or bid is None or ask is None or bid >= ask:
                skips.append(Skip("NO_PRICE", f"{symbol}: the book is {book.state} or has a gap"))
                return None
            price: Decimal | None
            match self.settings.price_source:
                case "mid":
                    price = book.mid
                case "bid":
                    price = steps.market.ticks_to_price(bid[0])
                case "ask":
                    price = steps.market.ticks_to_price(ask[0])
                case "last":
                    price = self._last.get(symbol)
            if price is None:
                skips.append(Skip("NO_PRICE", f"{symbol}: no trade was seen yet"))
                return None
            prices[asset] = price
        return prices

    def _quote(self, correction: Correction, view: MarketView, skips: list[Skip]) -> Quote | None:
        """Return the order that makes a correction, as far as what is free goes."""
        steps, side = self._steps[correction.asset], correction.side
        market, book = steps.market, view.books[steps.market.symbol]
        assert book.best_bid is not None
        assert book.best_ask is not None
        is_limit = self.settings.order_type == "limit"
        if is_limit:
            sign = 1 if side == "sell" else -1
            factor = add(ONE, multiply(self.settings.spread_pct, Decimal(sign)))
            price = steps.price(multiply(correction.price, factor), side)
            if side == "buy":  # a maker's
                price = min(price, market.ticks_to_price(book.best_ask[0] - 1))
            else:
                price = max(price, market.ticks_to_price(book.best_bid[0] + 1))
        else:
            best = book.best_ask if side == "buy" else book.best_bid
            price = market.ticks_to_price(best[0])
        if price <= 0:
            skips.append(Skip("NO_PRICE", f"{market.symbol}: no tick is left to {side} at"))
            return None
        amount = correction.amount
        if side == "buy":
            fee = max(market.maker_fee, market.taker_fee, ZERO)
            each = Fraction(multiply(price, add(ONE, fee)))
            affordable = Fraction(view.available.get(market.quote, ZERO)) / each
        else:
            affordable = Fraction(view.available.get(market.base, ZERO))
        quantity = steps.down(min(amount, affordable))
        if affordable < amount:
            wanted, had = plain(steps.down(amount)), plain(steps.down(affordable))
            detail = f"{side} {had} of {wanted} {market.base}: no more is free"
            skips.append(Skip("SHORTAGE", detail))
        least = steps.least(price, self.settings.min_notional_quote)
        if quantity < least:
            detail = f"{side} {plain(quantity)} at {plain(price)}, the least is {plain(least)}"
            skips.append(Skip("BELOW_MINIMUM", detail))
            return None
        return Quote(
            side,
            price if is_limit else None,
            quantity,
            market.symbol,
            post_only=is_limit,
            good_for_ms=self.settings.order_timeout_s * _MS,
        )

    def _summary(
        self,
        balances: Mapping[str, Decimal],
        prices: Mapping[str, Decimal],
        correction: Correction | None,
    ) -> Skip:
        whole = ZERO
        for asset in self._targets:
            whole = add(whole, multiply(balances.get(asset, ZERO), prices[asset]))
        shares = []
        for asset, target in self._targets.items():
            value = multiply(balances.get(asset, ZERO), prices[asset])
            share = _SHOWN.divide(value, whole) if whole else ZERO
            shares.append(f"{asset} {plain(share)} of {plain(target)}")
        held = f"{', '.join(shares)}; worth {plain(whole)} {self._quote_asset}"
        if correction is None:
            return Skip("BALANCED", held)
        return Skip("DRIFT", f"{correction.side} {correction.asset}: {held}")
