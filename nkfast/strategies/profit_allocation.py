"""Profit allocation: puts away what an account has earned, whoever earned it.

What the account owns of a quote asset beyond the principal is profit. At every check it is split:
one part buys the target, one part and the rest stay and belong to the principal from then on. To
give a profit store to one strategy, and to end it, see `nkfast.strategies.storing`.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nkfast.strategies.profit_store import (
    ProfitStore,
    ProfitStoreSettings,
    beyond_the_touch,
    least_profit,
    patience,
)
from nkfast.strategies.settings import Settings, Symbol, key
from nkfast.trading.exact import ZERO, add, plain, subtract
from nkfast.trading.strategy import Desired, EndedOrder, Fill, MarketView, Skip, Strategy

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["ProfitAllocation", "ProfitAllocationSettings"]

_MS = 1_000
#: Balances have been seen to be told this long after the fills that moved them.
_BALANCE_LAG_MS = 10 * _MS


class ProfitAllocationSettings(Settings):
    """What is put away, and where. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "target_symbol": ("symbol",),
        "skim_percent": ("reserve_ratio",),
        "target_quote_reserve": ("principal",),
        "poll_interval_seconds": ("poll_interval_s",),
    }

    symbol: Symbol = key(
        "PAXG/USDT", meaning="The market that the reserve is bought on, with what was earned."
    )
    principal: Decimal = key(
        unit="quote", ge=0, meaning="What stays invested; the account's profit is what is beyond."
    )
    reserve_ratio: Decimal = key(
        Decimal("0.5"), unit="fraction", gt=0, le=1, meaning="Part of a profit that is put away."
    )
    min_profit_quote: Decimal = least_profit()
    aggressive_limit_pct: Decimal = beyond_the_touch()
    order_timeout_s: int = patience()
    poll_interval_s: int = key(60, unit="s", gt=0, meaning="From check to check.")


class ProfitAllocation(Strategy):
    """Puts away what an account owns of an asset beyond a principal.

    Parameters
    ----------
    settings : ProfitAllocationSettings
    market : Market
        Where the reserve is bought; its quote is what profit is made in.

    Attributes
    ----------
    principal : Decimal
        What is not profit: that of the settings, and of each profit what was not put away.
    """

    name = "profit_allocation"
    settings_type = ProfitAllocationSettings

    def __init__(self, settings: ProfitAllocationSettings, market: "Market") -> None:
        self.settings = settings
        self.principal = settings.principal
        self.store = ProfitStore(
            ProfitStoreSettings(
                enabled=True,
                target_symbol=market.symbol,
                reserve_ratio=settings.reserve_ratio,
                min_profit_quote=settings.min_profit_quote,
                aggressive_limit_pct=settings.aggressive_limit_pct,
                order_timeout_s=settings.order_timeout_s,
            ),
            market,
        )
        self._quote_asset = market.quote
        self._next_ms = 0  # when the next check is due
        self._has_traded = False  # since the last decision
        self._desired = Desired()
        self._state: dict[str, Any] | None = None
        self._state_version = 0  # of the store

    @classmethod
    def build(cls, settings: ProfitAllocationSettings, markets: "Mapping[str, Market]") -> Self:
        """Make one on the first of the markets."""
        return cls(settings, next(iter(markets.values())))

    def decide(self, view: MarketView) -> Desired:
        """Return the order that puts profit away."""
        if view.orders:
            quotes = self.store.quotes(view, [])
            if quotes != self._desired.quotes:
                self._desired = Desired(quotes)
            return self._desired
        now_ms = view.now_ms
        interval_ms = self.settings.poll_interval_s * _MS
        if self._has_traded:  # let the balances be told before they are believed
            self._has_traded, self._state = False, None
            self._next_ms = now_ms + _BALANCE_LAG_MS
            self._desired = Desired(again_at_ms=self._next_ms)
        elif not now_ms < self._next_ms <= now_ms + max(interval_ms, _BALANCE_LAG_MS):
            self._next_ms, self._state = now_ms + interval_ms, None
            skips: list[Skip] = []
            if view.total:
                self._split(view.total.get(self._quote_asset, ZERO), skips)
            else:
                skips.append(Skip("NO_BALANCES", "the venue tells none to one who only looks"))
            self._desired = Desired(self.store.quotes(view, skips), tuple(skips), self._next_ms)
        return self._desired

    def _split(self, balance: Decimal, skips: list[Skip]) -> None:
        """Take what is new beyond the principal, and beyond what waits to be put away."""
        store = self.store
        profit = subtract(balance, add(self.principal, add(store.pending, store.reserved)))
        skips.append(
            Skip(
                "PROFIT",
                f"{plain(profit)} beyond {plain(self.principal)} {self._quote_asset},"
                f" {plain(store.pending)} wait, {plain(store.converted)} were put away",
            )
        )
        if profit >= self.settings.min_profit_quote:
            parts = store.record(profit, self._quote_asset)
            self.principal = add(self.principal, add(parts.reinvest, parts.remaining))

    def on_fill(self, fill: Fill) -> None:
        """Count what was paid."""
        self._has_traded, self._state = True, None
        self.store.on_fill(fill)

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Count what was paid late."""
        self._state = None
        self.store.on_fee(fill, before)

    def on_end(self, order: EndedOrder) -> None:
        """Take note that the order has ended: the wish for it has, too."""
        del order
        self._has_traded, self._state = True, None

    def state(self) -> dict[str, Any]:
        """Return the principal, the store's counts, and what the next check waits for."""
        if self._state is None or self._state_version != self.store.version:
            self._state_version = self.store.version
            self._state = {
                "principal": plain(self.principal),
                "profit_store": self.store.state(),
                "next_ms": self._next_ms,
                "has_traded": self._has_traded,
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned; what the principal has grown to stands."""
        self.principal = Decimal(state["principal"])
        self.store.restore(state["profit_store"])
        self._next_ms, self._has_traded = state["next_ms"], state["has_traded"]
        self._desired = Desired(again_at_ms=self._next_ms)
        self._state = None
