"""Where realized profit goes: a reserve in another asset, larger orders, or nowhere.

`allocate` splits a profit. A `ProfitStore` keeps the parts: what is to be put away waits until it
makes an order, buys the target, and counts as converted by what was really paid. Once as much as
the principal was put away, it sells what is traded and turns part of the proceeds into the target,
and there it ends.

`Storing` gives a store to any strategy that says what it has earned (`Earning`): the strategy
itself knows nothing of it.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
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
    Desired,
    EndedOrder,
    Fill,
    LiveOrder,
    MarketView,
    Quote,
    Skip,
    Strategy,
    StrategyContext,
)
from nkfast.venue.port import PublicTrade

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market
    from nkfast.trading.plan import Plan
    from nkfast.trading.plan_outcome import PlanOutcome

__all__ = [
    "Allocation",
    "Earning",
    "ProfitStore",
    "ProfitStoreSettings",
    "Storing",
    "allocate",
    "watched",
    "with_profit_store",
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
    min_profit_quote: Decimal = key(
        ONE,
        unit="quote",
        ge=0,
        meaning="Least that is put away at once; the market's own minimum holds as well.",
    )
    aggressive_limit_pct: Decimal = key(
        Decimal("0.003"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far beyond the best price opposite the limits of its orders lie.",
    )
    order_timeout_s: int = key(
        60, unit="s", gt=0, meaning="An order that is not filled after this is priced anew."
    )
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
            part = multiply(view.available.get(traded.base, ZERO), self.settings.exit_dump_pct)
            self._to_sell = Steps(traded).down(part)
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


class Earning(Strategy):
    """A strategy that says what it has earned: what a profit store can be given to.

    Attributes
    ----------
    earned : Decimal
        All that it has realized, net of fees, over all runs; its own `state` keeps it.
    earned_in : str
        The asset of that.
    """

    earned: Decimal
    earned_in: str

    @abstractmethod
    def reinvest(self, amount: Decimal) -> None:
        """Make orders larger by what an amount of `earned_in` buys; its own `state` keeps it."""


class Storing(Strategy):
    """A strategy whose profit is put away.

    What it wants to rest is what the strategy wants and the store's own order beside it, until the
    store has come to its end: then the strategy is not asked any more.

    Parameters
    ----------
    strategy : Earning
        Told of its own fills and plans, and shown its own orders only.
    store : ProfitStore
    """

    def __init__(self, strategy: Earning, store: ProfitStore) -> None:
        self.strategy = strategy
        self.store = store
        self.name = strategy.name
        self.cancels_when_blind = strategy.cancels_when_blind
        self._counted = ZERO  # of what the strategy earned
        self._state: tuple[dict[str, Any], int, dict[str, Any]] | None = None
        self._orders: tuple[Mapping[str, LiveOrder], Mapping[str, LiveOrder]] = ({}, {})
        self._desired: tuple[Desired, Desired] = (Desired(), Desired())
        self._exit = Desired()

    @property
    def ctx(self) -> StrategyContext:
        """What may be asked of the engine."""
        return self.strategy.ctx

    @ctx.setter
    def ctx(self, ctx: StrategyContext) -> None:
        self.strategy.ctx = ctx

    def decide(self, view: MarketView) -> "Desired | Plan":
        """Return what the strategy wants, and what the store does."""
        store = self.store
        if store.is_exiting:
            return self._leave(view)
        if store.is_idle and not any(map(store.owns, view.orders)):
            return self.strategy.decide(view)
        skips: list[Skip] = []
        quotes = store.quotes(view, skips)
        wanted = self.strategy.decide(replace(view, orders=self._own_orders(view.orders)))
        if not isinstance(wanted, Desired):
            return wanted
        merged = Desired({**wanted.quotes, **quotes}, (*wanted.skips, *skips), wanted.again_at_ms)
        before, told = self._desired
        if wanted is not before or merged != told:
            self._desired = (wanted, merged)
        return self._desired[1]

    def on_fill(self, fill: Fill) -> None:
        """Tell whose order it was, and put away what was earned."""
        if self.store.owns(fill.slot):
            self.store.on_fill(fill)
            return
        self.strategy.on_fill(fill)
        self._collect()

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Tell whose fee it was, and put away what is earned now."""
        if self.store.owns(fill.slot):
            self.store.on_fee(fill, before)
            return
        self.strategy.on_fee(fill, before)
        self._collect()

    def on_end(self, order: EndedOrder) -> None:
        """Tell of the end of an order of the strategy's own."""
        if not self.store.owns(order.slot):
            self.strategy.on_end(order)

    def on_trade(self, trade: PublicTrade) -> None:
        """Tell of a trade of anybody."""
        self.strategy.on_trade(trade)

    def on_plan(self, outcome: "PlanOutcome") -> None:
        """Tell what became of a plan, and put away what it earned."""
        self.strategy.on_plan(outcome)
        self._collect()

    def state(self) -> dict[str, Any]:
        """Return what the strategy returns, and the store's counts beside it."""
        inner, version = self.strategy.state(), self.store.version
        if self._state is None or self._state[0] is not inner or self._state[1] != version:
            kept = {**self.store.state(), "counted": plain(self._counted)}
            self._state = (inner, version, {**inner, "profit_store": kept})
        return self._state[2]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned, or what the strategy did before it had a store."""
        self.strategy.restore(state)
        kept = state.get("profit_store")
        if kept is None:
            self._counted = self.strategy.earned  # what was earned before stays where it is
            return
        self.store.restore(kept)
        self._counted = Decimal(kept["counted"])

    def _collect(self) -> None:
        """Put away what was earned beyond the most that was: losses are made up for first."""
        earned = subtract(self.strategy.earned, self._counted)
        if earned <= 0:
            return
        self._counted = self.strategy.earned
        parts = self.store.record(earned, self.strategy.earned_in)
        if parts.reinvest:
            self.strategy.reinvest(parts.reinvest)

    def _own_orders(self, orders: Mapping[str, LiveOrder]) -> Mapping[str, LiveOrder]:
        """Leave the store's orders out; the same object for the same one."""
        if self._orders[0] is not orders:
            own = {slot: order for slot, order in orders.items() if not self.store.owns(slot)}
            self._orders = (orders, own)
        return self._orders[1]

    def _leave(self, view: MarketView) -> Desired:
        skips: list[Skip] = []
        desired = Desired(self.store.exit(view, skips), tuple(skips))
        if desired != self._exit:
            self._exit = desired
            if self.store.has_exited:
                self.ctx.drain("the principal was put away and what was traded is sold")
        return self._exit


def watched(symbol: str, store: ProfitStoreSettings | None) -> tuple[str, ...]:
    """Return the markets of a strategy with one of its own, and of its store if it has one."""
    symbols = (symbol,) if symbol else ()
    if store is None or not store.enabled:
        return symbols
    if not symbol:
        raise ConfigError("is required with a profit_store", "symbol")
    return (*symbols, store.target_symbol)


def with_profit_store(
    strategy: Earning, settings: ProfitStoreSettings | None, markets: "Mapping[str, Market]"
) -> Strategy:
    """Give a strategy the store that its settings ask for, if they do.

    Parameters
    ----------
    strategy : Earning
    settings : ProfitStoreSettings or None
        The section ``profit_store`` of the strategy's settings.
    markets : mapping of str to Market
        The home market first; the store's target among them.

    Raises
    ------
    nkfast.errors.ConfigError
        The target's market is not among them, or does not fit.
    """
    if settings is None or not settings.enabled:
        return strategy
    target = markets.get(settings.target_symbol)
    if target is None:
        raise ConfigError(
            f"is {settings.target_symbol}, which is not watched; name the strategy's symbol, too",
            "profit_store.target_symbol",
        )
    store = ProfitStore(settings, target, next(iter(markets.values())))
    return Storing(strategy, store)
