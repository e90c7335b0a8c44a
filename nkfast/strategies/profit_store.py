"""Where realized profit goes: a reserve in another asset, larger orders, or nowhere.

`allocate` splits a profit. A `ProfitStore` keeps the parts: what is to be put away waits until it
makes an order, buys the target, and counts as converted by what was really paid. Once as much as
the principal was put away, it sells what is traded and turns part of the proceeds into the target,
and there it ends.

A strategy is given a store by `nkfast.strategies.storing`.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from nkfast.errors import ConfigError
from nkfast.strategies.round_trip import late_fee
from nkfast.strategies.settings import Settings, Symbol, key
from nkfast.strategies.sizing import Steps
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract
from nkfast.trading.strategy import (
    Fill,
    LiveOrder,
    MarketView,
    Quote,
    Skip,
)

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market

__all__ = [
    "Allocation",
    "ProfitStore",
    "ProfitStoreSettings",
    "allocate",
    "beyond_the_touch",
    "least_profit",
    "patience",
]

#: Slots of a store's orders: what buys the target, and what sells the traded asset at the exit.
_BUY_SLOT = "store-buy"
_SELL_SLOT = "store-sell"
_SLOTS = frozenset({_BUY_SLOT, _SELL_SLOT})
_MS = 1_000


class Allocation(NamedTuple):
    """A profit, split: put away, put into larger orders, left where it is. Quote units."""

    reserve: Decimal
    reinvest: Decimal
    remaining: Decimal


def allocate(
    balance: Decimal,
    principal: Decimal,
    reserve_ratio: Decimal,
    reinvest_ratio: Decimal | None = None,
) -> Allocation:
    """Split what a balance has beyond its principal, exactly. All zero where it has less.

    Parameters
    ----------
    balance, principal : Decimal
        In one asset.
    reserve_ratio : Decimal
        Part of the profit that is put away, 0 to 1.
    reinvest_ratio : Decimal, optional
        Part of the rest that is put into larger orders, 0 to 1; none: nothing of it.

    Raises
    ------
    ValueError
        A ratio is out of range.
    """
    ratio = ZERO if reinvest_ratio is None else reinvest_ratio
    for name, value in (("reserve_ratio", reserve_ratio), ("reinvest_ratio", ratio)):
        if not 0 <= value <= 1:
            raise ConfigError(f"is {value}; give 0 to 1", name)
    profit = max(subtract(balance, principal), ZERO)
    reserve = multiply(profit, reserve_ratio)
    rest = subtract(profit, reserve)
    reinvest = multiply(rest, ratio)
    return Allocation(reserve, reinvest, subtract(rest, reinvest))


def least_profit() -> Any:
    """Declare from what profit on it is put away."""
    return key(
        ONE,
        unit="quote",
        ge=0,
        meaning="Least that is put away at once; the market's own minimum holds as well.",
    )


def beyond_the_touch() -> Any:
    """Declare how far the limit of an order that takes lies beyond what it takes."""
    return key(
        Decimal("0.003"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far beyond the best price opposite the limits of its orders lie.",
    )


def patience() -> Any:
    """Declare how long an order is waited for."""
    return key(60, unit="s", gt=0, meaning="An order that is not filled after this is priced anew.")


class ProfitStoreSettings(Settings):
    """What becomes of realized profit. Fractions are fractions: 0.01 is one per cent."""

    enabled: bool = key(False, meaning="Whether profit is put away at all.")
    target_symbol: Symbol = key(
        "PAXG/USDT",
        meaning="The market that the reserve is bought on; its quote is what profit is made in.",
    )
    reserve_ratio: Decimal = key(
        ONE, unit="fraction", ge=0, le=1, meaning="Part of a profit that is put away."
    )
    reinvest_ratio: Decimal = key(
        ZERO,
        unit="fraction",
        ge=0,
        le=1,
        meaning="Part of what is not put away that makes orders larger; the rest stays as it is.",
    )
    min_profit_quote: Decimal = least_profit()
    aggressive_limit_pct: Decimal = beyond_the_touch()
    order_timeout_s: int = patience()
    principal_investment_quote: Decimal | None = key(
        None,
        unit="quote",
        gt=0,
        meaning="Once this much was put away the strategy ends: it sells what it trades and rests "
        "until this is raised; none: it never ends so.",
    )
    exit_profit_pct: Decimal = key(
        ONE,
        unit="fraction",
        gt=0,
        meaning="How often the principal must have been put away for the end.",
    )
    exit_dump_pct: Decimal = key(
        Decimal("0.75"),
        unit="fraction",
        ge=0,
        le=1,
        meaning="Part of the traded asset that is sold at the end.",
    )
    exit_convert_pct: Decimal = key(
        Decimal("0.5"),
        unit="fraction",
        ge=0,
        le=1,
        meaning="Part of what that brings that is turned into the target.",
    )


class _Phase(StrEnum):
    STORING = "storing"
    CANCELLING = "cancelling"  # until nothing rests any more
    SELLING = "selling"
    BUYING = "buying"
    EXITED = "exited"


class ProfitStore:
    """Counts profit and says which orders put it away.

    Every quote unit that was recorded is at any moment in one of ``pending`` (waits for an order),
    ``reserved`` (an order is out for it), ``converted`` (was paid for the target), ``reinvested``
    and ``retained``. What an order pays beyond its reservation, a fee that was higher than
    the market says, makes ``pending`` negative: the next profit makes up for it.

    Parameters
    ----------
    settings : ProfitStoreSettings
    target : Market
        Where the reserve is bought.
    traded : Market, optional
        What is sold at the end.

    Raises
    ------
    nkfast.errors.ConfigError
        The markets have different quote assets, or are one.
    """

    def __init__(
        self, settings: ProfitStoreSettings, target: "Market", traded: "Market | None" = None
    ) -> None:
        if settings.target_symbol != target.symbol:
            raise ConfigError(
                f"is {settings.target_symbol}, the market is {target.symbol}", "target_symbol"
            )
        if traded is not None and traded.quote != target.quote:
            raise ConfigError(
                f"is {target.symbol}, but profit is made in {traded.quote}; take a market of"
                f" {traded.quote}",
                "target_symbol",
            )
        if traded is not None and traded.symbol == target.symbol:
            raise ConfigError(f"{target.symbol} is what is traded; take another", "target_symbol")
        self.settings = settings
        self.pending = self.reserved = self.converted = ZERO
        self.reinvested = self.retained = ZERO
        self.bought = ZERO  # of the target, its fees in base included
        self.version = 0  # grows with every change
        self._target = target
        self._traded = traded
        self._to_sell = self._to_buy = self._proceeds = ZERO  # at the end
        self._phase = _Phase.STORING

    # What it is told ---------------------------------------------------------------------------

    def record(self, amount: Decimal, asset: str) -> Allocation:
        """Take a realized profit; a loss, nothing, or another asset than the quote's is ignored."""
        if asset != self._target.quote:
            amount = ZERO
        settings = self.settings
        parts = allocate(amount, ZERO, settings.reserve_ratio, settings.reinvest_ratio)
        if amount > 0:
            self.pending = add(self.pending, parts.reserve)
            self.reinvested = add(self.reinvested, parts.reinvest)
            self.retained = add(self.retained, parts.remaining)
            self.version += 1
        return parts

    @staticmethod
    def owns(slot: str) -> bool:
        """Whether an order of this slot is a store's."""
        return slot in _SLOTS

    def on_fill(self, fill: Fill) -> None:
        """Count what was paid and received, fees included."""
        self.version += 1
        market = self._target if fill.slot == _BUY_SLOT else self._traded
        assert market is not None
        notional = multiply(fill.price, fill.quantity)
        fee, fee_asset = fill.fee, fill.fee_asset
        if fee is None:  # not known is not zero
            fee, fee_asset = multiply(notional, max(market.taker_fee, ZERO)), market.quote
        in_quote = fee if fee_asset == market.quote else ZERO
        in_base = fee if fee_asset == market.base else ZERO
        if fill.slot == _SELL_SLOT:
            self._to_sell = subtract(self._to_sell, fill.quantity)
            self._proceeds = add(self._proceeds, subtract(notional, in_quote))
            return
        paid = add(notional, in_quote)
        self.bought = add(self.bought, subtract(fill.quantity, in_base))
        if self._phase is _Phase.BUYING:
            self._to_buy = subtract(self._to_buy, paid)
            return
        self.converted = add(self.converted, paid)
        self.reserved = subtract(self.reserved, paid)

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Count by how much a fee that is told late is more than it was taken to be."""
        market = self._target if fill.slot == _BUY_SLOT else self._traded
        assert market is not None
        late = late_fee(fill, before, max(market.taker_fee, ZERO))
        self.version += 1
        if fill.slot == _SELL_SLOT:
            self._proceeds = subtract(self._proceeds, late)
        elif self._phase is _Phase.BUYING:
            self._to_buy = subtract(self._to_buy, late)
        else:
            self.converted = add(self.converted, late)
            # Where its order has ended there is nothing reserved any more.
            if self.reserved:
                self.reserved = subtract(self.reserved, late)
            else:
                self.pending = subtract(self.pending, late)

    # Putting away ------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to put away now, nor anything out."""
        return (
            self._phase is _Phase.STORING
            and not self.reserved
            and self.pending < max(self.settings.min_profit_quote, self._target.min_notional)
            and not self.is_due_to_exit
        )

    def quotes(self, view: MarketView, skips: list[Skip]) -> dict[str, Quote]:
        """Return the order that puts profit away, if there is one to make or to keep."""
        live = view.orders.get(_BUY_SLOT)
        if live is not None:
            return self._kept(live)
        self.release()
        if self.is_due_to_exit:
            return {}
        quote = self.order(view.books[self._target.symbol], skips)
        return {} if quote is None else {_BUY_SLOT: quote}

    def release(self) -> None:
        """Take back what no order is out for any more."""
        if self.reserved:
            self.pending, self.reserved = add(self.pending, self.reserved), ZERO
            self.version += 1

    def order(self, book: "OrderBook", skips: list[Skip]) -> Quote | None:
        """Return an order for all that is pending, and reserve it; None where there is none."""
        if self.pending <= 0 or self.pending < self.settings.min_profit_quote:
            return None
        quote = self._buy(book, self.pending, skips)
        if quote is not None:
            self.reserved, self.pending = self.pending, ZERO
            self.version += 1
        return quote

    def _buy(self, book: "OrderBook", amount: Decimal, skips: list[Skip]) -> Quote | None:
        """Return an order for the target that needs no more than an amount, its fee included."""
        market, best = self._target, book.best_ask
        if best is None or book.state != "live":
            skips.append(Skip("NO_PRICE", f"{market.symbol}: {book.state}, nobody sells"))
            return None
        ask = market.ticks_to_price(best[0])
        steps = Steps(market)
        price = steps.price(multiply(ask, add(ONE, self.settings.aggressive_limit_pct)), "buy")
        each = multiply(price, add(ONE, max(market.taker_fee, ZERO)))
        quantity = steps.down(Fraction(amount) / Fraction(each))
        least = steps.least(price)
        if quantity < least:
            detail = f"{plain(quantity)} {market.base} for {plain(amount)} {market.quote}"
            skips.append(Skip("BELOW_MINIMUM", f"{_BUY_SLOT}: {detail}, least {plain(least)}"))
            return None
        return Quote(
            "buy",
            price,
            quantity,
            market.symbol,
            good_for_ms=self.settings.order_timeout_s * _MS,
        )

    def _kept(self, live: LiveOrder) -> dict[str, Quote]:
        good_for_ms = self.settings.order_timeout_s * _MS
        return {
            live.slot: Quote(
                live.side, live.price, live.remaining, live.symbol, good_for_ms=good_for_ms
            )
        }

    # The end -----------------------------------------------------------------------------------

    @property
    def is_due_to_exit(self) -> bool:
        """Whether as much was put away as the end asks for."""
        principal = self.settings.principal_investment_quote
        return principal is not None and self.converted >= multiply(
            principal, self.settings.exit_profit_pct
        )

    @property
    def is_exiting(self) -> bool:
        """Whether it is at the end, or beyond: nothing but its own orders is to rest."""
        return self._phase is not _Phase.STORING or self.is_due_to_exit

    @property
    def has_exited(self) -> bool:
        """Whether it has come to the end."""
        return self._phase is _Phase.EXITED

    def exit(self, view: MarketView, skips: list[Skip]) -> dict[str, Quote]:
        """Return the order of the end that is to rest now: first none, then a sale, then a buy."""
        if self._phase is _Phase.STORING:
            self._enter(_Phase.CANCELLING)
        if self._phase is _Phase.CANCELLING and not view.orders:
            self.release()
            traded = self._traded
            assert traded is not None
            free = view.available.get(traded.base)
            if free is None:  # not known is not zero
                skips.append(Skip("NO_BALANCES", f"how much {traded.base} is free is not known"))
                return {}
            self._to_sell = Steps(traded).down(multiply(free, self.settings.exit_dump_pct))
            self._enter(_Phase.SELLING)
        if self._phase is _Phase.SELLING:
            live = view.orders.get(_SELL_SLOT)
            if live is not None:
                return self._kept(live)
            quote = self._sell(view, skips)
            if quote is not None:
                return {_SELL_SLOT: quote}
        if self._phase is _Phase.BUYING:
            live = view.orders.get(_BUY_SLOT)
            if live is not None:
                return self._kept(live)
            quote = self._last_buy(view, skips)
            if quote is not None:
                return {_BUY_SLOT: quote}
        if self._phase is _Phase.EXITED:
            skips.append(Skip("EXITED", self._account_of()))
        return {}

    def _sell(self, view: MarketView, skips: list[Skip]) -> Quote | None:
        """Return the sale of what is left to be sold; go on where no order can be made of it."""
        market = self._traded
        assert market is not None
        book = view.books[market.symbol]
        if book.best_bid is None or book.state != "live":
            skips.append(Skip("NO_PRICE", f"{market.symbol}: {book.state}, nobody buys"))
            return None
        steps = Steps(market)
        bid = market.ticks_to_price(book.best_bid[0])
        limit = multiply(bid, subtract(ONE, self.settings.aggressive_limit_pct))
        price = max(steps.price(limit, "sell"), market.tick_size)
        quantity = steps.down(max(self._to_sell, ZERO))
        if quantity < steps.least(price):
            self._to_buy = multiply(self._proceeds, self.settings.exit_convert_pct)
            self._enter(_Phase.BUYING)
            return None
        good_for_ms = self.settings.order_timeout_s * _MS
        return Quote("sell", price, quantity, market.symbol, good_for_ms=good_for_ms)

    def _last_buy(self, view: MarketView, skips: list[Skip]) -> Quote | None:
        book = view.books[self._target.symbol]
        told = len(skips)
        quote = self._buy(book, self._to_buy, skips) if self._to_buy > 0 else None
        if quote is None and not any(skip.code == "NO_PRICE" for skip in skips[told:]):
            self._enter(_Phase.EXITED)
        return quote

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self.version += 1

    def _account_of(self) -> str:
        quote, target = self._target.quote, self._target.base
        return (
            f"{plain(self.converted)} {quote} put away, sold for {plain(self._proceeds)} {quote},"
            f" {plain(self.bought)} {target} bought; raise principal_investment_quote to go on"
        )

    # What must survive -------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return every count and how far the end has come, in plain digits."""
        return {
            "pending": plain(self.pending),
            "reserved": plain(self.reserved),
            "converted": plain(self.converted),
            "reinvested": plain(self.reinvested),
            "retained": plain(self.retained),
            "bought": plain(self.bought),
            "phase": str(self._phase),
            "to_sell": plain(self._to_sell),
            "proceeds": plain(self._proceeds),
            "to_buy": plain(self._to_buy),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned. A larger principal than was put away ends an end."""
        self.pending = Decimal(state["pending"])
        self.reserved = Decimal(state["reserved"])
        self.converted = Decimal(state["converted"])
        self.reinvested = Decimal(state["reinvested"])
        self.retained = Decimal(state["retained"])
        self.bought = Decimal(state["bought"])
        self._to_sell = Decimal(state["to_sell"])
        self._proceeds = Decimal(state["proceeds"])
        self._to_buy = Decimal(state["to_buy"])
        self._phase = _Phase(state["phase"])
        if self._phase is _Phase.EXITED and not self.is_due_to_exit:
            self._to_sell = self._proceeds = self._to_buy = ZERO
            self._phase = _Phase.STORING
        self.version += 1
