"""The trade before the first order: base is brought to its share of what is owned."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nkfast.strategies.rebalance import find_pair_correction
from nkfast.strategies.sizing import Steps, largest_quantity
from nkfast.trading.exact import ONE, ZERO, add, multiply
from nkfast.trading.strategy import Desired, EndedOrder, MarketView, Quote, StrategyContext

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["OpeningTrade"]

_HALF = Decimal("0.5")


class OpeningTrade:
    """Brings base to its share with a few limit orders that take, and then never trades again.

    It has come to its end once what is missing is too small for an order.

    Parameters
    ----------
    market : Market
    target : Decimal
        Part of the value of base and quote that base should have, between 0 and 1.
    slippage : Decimal
        How far beyond the best price opposite a limit may lie, as a fraction of it.
    attempts_max : int
        Orders, after which a person is asked.
    timeout_ms : int
        What is not filled after this is priced anew.
    min_notional, fee_rate : Decimal
        Least value of an order in quote units, and what a buy must leave for its fee.

    Attributes
    ----------
    is_done : bool
    """

    SLOT = "rebalance"

    def __init__(
        self,
        market: "Market",
        *,
        target: Decimal,
        slippage: Decimal,
        attempts_max: int,
        timeout_ms: int,
        min_notional: Decimal,
        fee_rate: Decimal,
    ) -> None:
        self.is_done = False
        self._attempts = 0
        self._steps = Steps(market)
        self._target = target
        self._slippage = slippage
        self._attempts_max = attempts_max
        self._timeout_ms = timeout_ms
        self._min_notional = min_notional
        self._fee_rate = fee_rate

    @property
    def _is_stuck(self) -> bool:
        return self._attempts >= self._attempts_max

    def desired(self, view: MarketView, ctx: StrategyContext) -> Desired | None:
        """Return what should rest instead of the strategy's orders, None when it may begin.

        When all attempts were made the strategy pauses; a person who resumes it allows as many
        again.
        """
        if self.is_done or view.orders.keys() - {self.SLOT}:
            return None
        quote = self._quote(view)
        if self.is_done:
            return None
        if quote is None and self._is_stuck:
            ctx.pause(f"{self._attempts_max} orders to rebalance were made, and it is not done")
            self._attempts = 0
        return Desired({} if quote is None else {self.SLOT: quote})

    def _quote(self, view: MarketView) -> Quote | None:
        live = view.orders.get(self.SLOT)
        if live is not None:
            return Quote(live.side, live.price, live.remaining, good_for_ms=self._timeout_ms)
        market, bid, ask = view.market, view.book.best_bid, view.book.best_ask
        base, quote = view.available.get(market.base), view.available.get(market.quote)
        if self.is_done or bid is None or ask is None or base is None or quote is None:
            return None
        mid = multiply(market.ticks_to_price(bid[0] + ask[0]), _HALF)
        missing = find_pair_correction(base, quote, mid, self._target, ZERO)
        if missing is not None and not self._is_stuck:
            side = missing.side
            touch = market.ticks_to_price(ask[0] if side == "buy" else bid[0])
            beyond = self._slippage if side == "buy" else self._slippage.copy_negate()
            limit = self._steps.price(multiply(touch, add(ONE, beyond)), side)
            price = max(limit, touch) if side == "buy" else min(limit, touch)
            funds = quote if side == "buy" else base
            fee_rate = self._fee_rate if side == "buy" else ZERO
            most = largest_quantity(side, price, funds, fee_rate)
            quantity = self._steps.down(min(missing.amount, Fraction(most)))
            if price > 0 and quantity >= self._steps.least(price, self._min_notional):
                return Quote(side, price, quantity, good_for_ms=self._timeout_ms)
        if not self._is_stuck:
            self.is_done = True
        return None

    def on_end(self, order: EndedOrder) -> None:
        """Count an attempt."""
        del order
        self._attempts += 1

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart."""
        return {"is_done": self.is_done, "attempts": self._attempts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.is_done, self._attempts = state["is_done"], state["attempts"]
