"""Gives a profit store to any strategy that says what it earned, and knows nothing of it itself."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nkfast.errors import ConfigError
from nkfast.strategies.profit_store import ProfitStore, ProfitStoreSettings
from nkfast.trading.exact import ZERO, plain, subtract
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    LiveOrder,
    MarketView,
    Skip,
    Strategy,
    StrategyContext,
)
from nkfast.venue.port import PublicTrade

if TYPE_CHECKING:
    from nkfast.core.market import Market
    from nkfast.trading.plan import Plan
    from nkfast.trading.plan_outcome import PlanOutcome

__all__ = ["Earning", "Storing", "watched", "with_profit_store"]


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
        self.on_exit, self.refuses_live = strategy.on_exit, strategy.refuses_live
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
