"""The infinity grid of constant value: what is held stays worth the same, whatever the price.

When the price has moved by a step since the last trade, base is sold down or bought up to the value
that it had at first. Nothing rests meanwhile. Below the lower limit, where the quote balance would
be used up, nothing is traded.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from nkfast.errors import ConfigError
from nkfast.strategies.profit_store import ProfitStoreSettings
from nkfast.strategies.round_trip import FeeWatch, fee_in_quote, late_fee
from nkfast.strategies.settings import (
    OneMarketSettings,
    coarser_prices,
    coarser_quantities,
    fee_of_one_side,
    key,
    least_value,
)
from nkfast.strategies.sizing import Steps
from nkfast.strategies.storing import Earning, watched, with_profit_store
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, share, subtract
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    LiveOrder,
    MarketView,
    Quote,
    Skip,
    Strategy,
)
from nkfast.venue.port import PublicTrade, Side

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = [
    "ConstantValue",
    "InfinityGridValue",
    "InfinityGridValueSettings",
    "find_trade",
    "hold_constant",
]

_SLOT = "trade"
_HALF = Fraction(1, 2)
_KEPT = Context(prec=28, rounding=ROUND_HALF_EVEN)


class ConstantValue(NamedTuple):
    """What is to be held: a value in quote units, between steps of price.

    ``levels`` is how many steps down the quote balance pays for; the price there is
    ``lower_limit``.
    """

    value: Decimal
    last_price: Decimal
    step_pct: Decimal
    lower_limit: Decimal
    levels: int


class Trade(NamedTuple):
    """What brings the value back: base units, exactly."""

    side: Side
    amount: Fraction


def hold_constant(
    base: Decimal, quote: Decimal, price: Decimal, step_pct: Decimal
) -> ConstantValue:
    """Return what holding what base is worth now comes to.

    A step down costs ``value * step_pct`` wherever it begins, so that the number of steps is a
    quotient; no more are counted than halve the price.

    Raises
    ------
    nkfast.errors.ConfigError
        A number is not above 0 (quote: is below 0), or the step is not below 1.
    """
    for name, number in (("base", base), ("price", price), ("step_pct", step_pct)):
        if number <= 0:
            raise ConfigError(f"is {plain(number)}; it must be above 0", name)
    if step_pct >= 1:
        raise ConfigError(f"is {plain(step_pct)}; it must be below 1", "step_pct")
    if quote < 0:
        raise ConfigError(f"is {plain(quote)}; it must be at least 0", "quote")
    value = multiply(base, price)
    paid_for = Fraction(quote) // (Fraction(value) * Fraction(step_pct))
    left, levels = Fraction(1), 0
    while levels < paid_for and left >= _HALF:
        left *= 1 - Fraction(step_pct)
        levels += 1
    limit = left * Fraction(price)
    lower = _KEPT.divide(Decimal(limit.numerator), Decimal(limit.denominator))
    return ConstantValue(value, price, step_pct, lower, levels)


def find_trade(held: ConstantValue, base: Decimal, quote: Decimal, price: Decimal) -> Trade | None:
    """Return what brings base back to its value, None where the price has moved too little.

    Nor is anything traded below the lower limit. A buy is cut to what quote pays for. What is held
    decides the side, not where the price went.
    """
    moved = subtract(price, held.last_price).copy_abs()
    if price < held.lower_limit or moved < multiply(held.step_pct, held.last_price):
        return None
    surplus = Fraction(base) - Fraction(held.value) / Fraction(price)
    if surplus > 0:
        return Trade("sell", surplus)
    amount = min(-surplus, Fraction(quote) / Fraction(price))
    return Trade("buy", amount) if amount > 0 else None


class InfinityGridValueSettings(OneMarketSettings):
    """What a grid of constant value is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **OneMarketSettings.aliases,
        "min_notional_usd": ("min_notional_quote",),
        "total_fee_rate": ("fee_rate",),
    }

    step_pct: Decimal = key(
        unit="fraction", gt=0, lt=1, meaning="By how much the price must move for a trade."
    )
    base_allocation: Decimal | None = key(
        None, unit="base", gt=0, meaning="Base to hold the value of; none: all there is at first."
    )
    quote_allocation: Decimal | None = key(
        None, unit="quote", ge=0, meaning="Quote to buy with; none: all there is at first."
    )
    lower_limit: Decimal | None = key(
        None,
        unit="quote",
        gt=0,
        meaning="Below this price nothing is traded; none: where the quote would be used up.",
    )
    price_source: Literal["mid", "last", "bid", "ask"] = key(
        "mid",
        meaning="Which price counts; the last trade where a side is empty, the mid where there was "
        "no trade.",
    )
    order_type: Literal["limit", "market"] = key("limit", meaning="How it trades.")
    order_spread: Decimal = key(
        Decimal("0.001"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far below the price a buy's limit lies, and above it a sell's.",
    )
    order_timeout_sec: int = key(
        60, unit="s", gt=0, meaning="An order that is not filled after this is decided anew."
    )
    min_notional_quote: Decimal = least_value()
    fee_rate: Decimal = fee_of_one_side(
        meaning="Of one side; what a buy must leave for it, and what a fill cost until it is told."
    )
    tick_size: Decimal = coarser_prices()
    step_size: Decimal = coarser_quantities()
    profit_store: ProfitStoreSettings | None = key(
        None, meaning="What becomes of realized profit; none: it stays where it is."
    )

    def symbols(self, listed: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the market, and the one that profit is put away on."""
        del listed
        return watched(self.symbol, self.profit_store)


class InfinityGridValue(Earning):
    """A grid of constant value on one market.

    It counts what it holds by its own fills: what else happens on the account is not its.

    Parameters
    ----------
    settings : InfinityGridValueSettings
    market : Market
        Its tick and lot sizes and minimums bound every order.

    Attributes
    ----------
    held : ConstantValue or None
        None before the first decision.
    base, quote : Decimal
        What it holds.

    Raises
    ------
    nkfast.errors.ConfigError
        The settings name another market, or a coarser grid that does not fit the market's.
    """

    name = "infinity_grid_value"
    settings_type = InfinityGridValueSettings

    def __init__(self, settings: InfinityGridValueSettings, market: "Market") -> None:
        settings.check_market(market)
        self.settings = settings
        self.market = market
        self.earned = ZERO
        self.earned_in = market.quote
        self.held: ConstantValue | None = None
        self.base = self.quote = ZERO
        self._cost = ZERO  # of all base that is held
        self._decided_at: Decimal | None = None  # the price that the newest order was decided at
        self._steps = Steps(market, settings.tick_size, settings.step_size)
        self._fees = FeeWatch(settings.fee_rate, settings.min_notional_quote)
        self._said: list[Skip] = []  # when told of fills
        self._last: Decimal | None = None
        self._state: dict[str, Any] | None = None
        self._desired = Desired()

    @classmethod
    def build(
        cls, settings: InfinityGridValueSettings, markets: Mapping[str, "Market"]
    ) -> Strategy:
        """Make one on the first of the markets."""
        grid = cls(settings, next(iter(markets.values())))
        return with_profit_store(grid, settings.profit_store, markets)

    # Strategy ----------------------------------------------------------------------------------

    def decide(self, view: MarketView) -> Desired:
        """Return the order that brings the value back, if the price has moved by a step."""
        live = view.orders.get(_SLOT)
        if live is not None:
            desired = Desired({_SLOT: self._as_it_is(live)})
        else:
            price = self._price(view)
            if self.held is None and price is not None:
                self._begin(view, price)
            desired = Desired() if price is None else self._trade(price)
        if self._said:
            desired = replace(desired, skips=(*desired.skips, *self._said))
            self._said = []
        if desired != self._desired:
            self._desired = desired
        return self._desired

    def on_trade(self, trade: PublicTrade) -> None:
        """Take note of the last price."""
        if trade.symbol == self.market.symbol:
            self._last = trade.price

    def on_fill(self, fill: Fill) -> None:
        """Move what is held, and book what a sell brought beyond what it had cost."""
        self._fees.look(fill, self._said)
        value = multiply(fill.price, fill.quantity)
        fee = fee_in_quote(fill, self.settings.fee_rate)
        in_base = fill.fee if fill.fee_asset == self.market.base else None
        if fill.side == "buy":
            self.base = add(self.base, subtract(fill.quantity, in_base or ZERO))
            paid = value if in_base is not None else add(value, fee)
            self.quote = subtract(self.quote, paid)
            self._cost = add(self._cost, paid)
        else:
            sold = min(fill.quantity, self.base)
            cost = share(self._cost, sold, self.base) if self.base else ZERO
            brought = subtract(value, fee)
            self.earned = add(self.earned, subtract(brought, cost))
            self._cost = subtract(self._cost, cost)
            self.base = subtract(self.base, sold)
            self.quote = add(self.quote, brought)
        self._state = None

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Book by how much a fee that is told late is more than it was taken to be."""
        self._fees.look(fill, self._said)
        late = late_fee(fill, before, self.settings.fee_rate)
        self.quote = subtract(self.quote, late)
        if fill.side == "buy":
            self._cost = add(self._cost, late)
        else:
            self.earned = subtract(self.earned, late)
        self._state = None

    def on_end(self, order: EndedOrder) -> None:
        """Begin the next step where an order that has filled was decided."""
        if order.slot == _SLOT and self.held is not None and self._decided_at is not None:
            if order.executed >= order.quantity:
                self.held = self.held._replace(last_price=self._decided_at)
            self._decided_at = None
            self._state = None

    def reinvest(self, amount: Decimal) -> None:
        """Hold a larger value: by an amount of quote, which is bought at the next step."""
        if self.held is not None:
            self.held = self.held._replace(value=add(self.held.value, amount))
            self._state = None

    def state(self) -> dict[str, Any]:
        """Return the value, what is held and what it cost, in plain digits."""
        if self._state is None:
            held = self.held
            self._state = {
                "held": None if held is None else [*map(plain, held[:4]), held.levels],
                "base": plain(self.base),
                "quote": plain(self.quote),
                "cost": plain(self._cost),
                "earned": plain(self.earned),
                "decided_at": None if self._decided_at is None else plain(self._decided_at),
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        if state["held"] is not None:
            value, last, step, lower, levels = state["held"]
            self.held = ConstantValue(
                Decimal(value), Decimal(last), Decimal(step), Decimal(lower), levels
            )
        self.base, self.quote = Decimal(state["base"]), Decimal(state["quote"])
        self._cost, self.earned = Decimal(state["cost"]), Decimal(state["earned"])
        at = state["decided_at"]
        self._decided_at = None if at is None else Decimal(at)
        self._state = None

    # Decisions ---------------------------------------------------------------------------------

    def _price(self, view: MarketView) -> Decimal | None:
        source, book = self.settings.price_source, view.book
        if source == "mid":
            price = view.mid
        elif source == "last":
            price = self._last
        else:
            best = book.best_bid if source == "bid" else book.best_ask
            price = None if best is None else self.market.ticks_to_price(best[0])
        if price is not None:
            return price
        return self._last if self._last is not None else view.mid

    def _begin(self, view: MarketView, price: Decimal) -> None:
        """Hold what there is, or as much of it as was allowed."""
        settings, market = self.settings, self.market
        base, quote = view.total.get(market.base), view.total.get(market.quote)
        if base is None or quote is None:
            return  # nobody knows yet what there is
        if settings.base_allocation is not None:
            base = min(base, settings.base_allocation)
        if settings.quote_allocation is not None:
            quote = min(quote, settings.quote_allocation)
        self.held = hold_constant(base, quote, price, settings.step_pct)
        if settings.lower_limit is not None:
            self.held = self.held._replace(lower_limit=settings.lower_limit)
        self.base, self.quote = base, quote
        self._cost = self.held.value
        self._state = None

    def _trade(self, price: Decimal) -> Desired:
        held, settings, steps = self.held, self.settings, self._steps
        if held is None:
            return Desired()
        if price < held.lower_limit:
            return Desired(skips=(Skip("BELOW_FLOOR", f"the floor is {plain(held.lower_limit)}"),))
        # What a buy costs more than its value stays for the fee.
        spendable = share(self.quote, ONE, add(ONE, settings.fee_rate))
        trade = find_trade(held, self.base, spendable, price)
        if trade is None:
            return Desired()
        if trade.side == "sell":
            away, amount = settings.order_spread, min(trade.amount, Fraction(self.base))
        else:
            away, amount = settings.order_spread.copy_negate(), trade.amount
        limit = steps.price(multiply(price, add(ONE, away)), trade.side)
        quantity = steps.down(amount)
        if limit <= 0 or quantity < steps.least(limit, settings.min_notional_quote):
            detail = f"{trade.side} {plain(quantity)} at {plain(limit)} would be too small"
            return Desired(skips=(Skip("BELOW_MINIMUM", detail),))
        if self._decided_at != price:
            self._decided_at, self._state = price, None
        is_market = settings.order_type == "market" and self.market.allow_market_orders
        return Desired(
            {
                _SLOT: Quote(
                    trade.side,
                    None if is_market else limit,
                    quantity,
                    good_for_ms=settings.order_timeout_sec * 1000,
                )
            }
        )

    def _as_it_is(self, live: LiveOrder) -> Quote:
        """Keep an order that is under way: where it was decided, not where the price is now."""
        return Quote(
            live.side,
            live.price or None,
            live.remaining,
            good_for_ms=self.settings.order_timeout_sec * 1000,
        )
