"""A capped martingale: buys a first portion, adds larger ones as the price falls, sells above cost.

A cycle begins with a base order. Each fill of a buy moves the trigger of the next add one step
below it; adds grow by a factor, up to a cap and a number. Half is sold at the first profit target
over the average cost, the rest at the second. After its time a cycle adds nothing more and leaves
at break-even, or at a loss that was allowed. One order works at a time.

Only what was executed counts. The budget is gross: what a cycle has bought in all, with fees, and
what its order may still buy; selling part of it does not give budget back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from nkfast.errors import ConfigError
from nkfast.strategies.round_trip import FeeWatch, fee_in_quote, late_fee
from nkfast.strategies.settings import (
    OneMarketSettings,
    coarser_quantities,
    fee_of_one_side,
    key,
    least_value,
)
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
)
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = [
    "CappedMartingale",
    "MartingaleSettings",
    "Position",
    "next_action",
    "next_add_notional",
]

_MS = 1_000
#: An order that takes at once has this long; what is left of it is cancelled.
_TAKE_MS = 5 * _MS
#: How long to wait after an order that the venue refused, or a base order that bought nothing.
_RETRY_MS = 10 * _MS

Action = Literal["add", "tp1", "tp2", "stop"]


class MartingaleSettings(OneMarketSettings):
    """What a capped martingale is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **OneMarketSettings.aliases,
        "time_stop_seconds": ("time_stop_s",),
        "cooldown_after_cycle_sec": ("cooldown_after_cycle_s",),
        "min_notional_quote": ("min_order_notional",),
        "step_size": ("quantity_step",),
    }

    cycle_budget: Decimal = key(
        unit="quote", gt=0, meaning="The most that one cycle buys for in all, fees included."
    )
    base_order_pct: Decimal = key(
        Decimal("0.015"), unit="fraction", gt=0, le=1, meaning="Of the budget, for the first order."
    )
    multiplier: Decimal = key(
        Decimal("1.45"), ge=1, meaning="From one add to the next; the first is as the base order."
    )
    max_adds: int = key(8, ge=0, meaning="Adds of a cycle.")
    per_order_cap_pct: Decimal = key(
        Decimal("0.10"), unit="fraction", gt=0, le=1, meaning="Of the budget, for the largest add."
    )
    step_pct: Decimal = key(
        Decimal("0.012"),
        unit="fraction",
        gt=0,
        lt=1,
        meaning="How far below the last buy the next add lies.",
    )
    slippage_buffer_pct: Decimal = key(
        Decimal("0.001"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far an order that takes may go beyond the touch; break-even adds it too.",
    )
    tp1_pct: Decimal = key(
        Decimal("0.008"), unit="fraction", gt=0, meaning="Over the average cost: half is sold."
    )
    tp2_pct: Decimal = key(
        Decimal("0.014"), unit="fraction", gt=0, meaning="Over the average cost: all is sold."
    )
    fee_rate: Decimal = fee_of_one_side(
        meaning="Of one side, for what is planned; booked are the fees that were charged."
    )
    min_order_notional: Decimal = least_value("2")
    min_order_qty: Decimal | None = key(
        None, unit="base", ge=0, meaning="Least quantity; none takes the market's."
    )
    quantity_step: Decimal = coarser_quantities()
    time_stop_s: int = key(
        259_200, unit="s", gt=0, meaning="After this a cycle adds nothing and leaves at break-even."
    )
    time_stop_exit_buffer_pct: Decimal = key(
        Decimal("0.001"), unit="fraction", ge=0, meaning="Over break-even, when time is up."
    )
    max_loss_pct: Decimal | None = key(
        None,
        unit="fraction",
        gt=0,
        lt=1,
        meaning="When time is up: all is sold this far below the average cost; none waits.",
    )
    cooldown_after_cycle_s: int = key(
        0, unit="s", ge=0, meaning="From the end of a cycle to the next base order."
    )
    exit_timeout_s: int = key(
        60, unit="s", gt=0, meaning="A sale that is not filled after this is priced anew."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tp2_pct < self.tp1_pct:
            raise ConfigError(f"is below tp1_pct, {plain(self.tp1_pct)}", "tp2_pct")
        if multiply(self.base_order_pct, add(ONE, self.fee_rate)) > 1:
            raise ConfigError("the base order and its fee are more than the budget", "fee_rate")
        return self


@dataclass(frozen=True, slots=True)
class Position:
    """What a cycle holds, and what it paid for that: exact.

    ``quote`` and ``fees`` are the cost of what is still held; ``gross`` is what the cycle has
    bought for in all, fees included, and only grows.
    """

    base: Decimal = ZERO
    quote: Decimal = ZERO
    fees: Decimal = ZERO
    gross: Decimal = ZERO
    last_price: Decimal = ZERO
    proceeds: Decimal = ZERO  # of what was sold, less fees

    @property
    def average(self) -> Fraction:
        """Cost of a unit, the fees of the buys included."""
        return Fraction(add(self.quote, self.fees)) / Fraction(self.base)

    def bought(self, price: Decimal, quantity: Decimal, fee: Decimal, fee_base: Decimal) -> Self:
        """Return the position after a buy; a fee is in quote or in base units."""
        cost = multiply(price, quantity)
        return replace(
            self,
            base=subtract(add(self.base, quantity), fee_base),
            quote=add(self.quote, cost),
            fees=add(self.fees, fee),
            gross=add(self.gross, add(cost, fee)),
            last_price=price,
        )

    def sold(self, price: Decimal, quantity: Decimal, fee: Decimal, fee_base: Decimal) -> Self:
        """Return the position after a sale: its cost shrinks in proportion, rounded up."""
        gone = add(quantity, fee_base)
        proceeds = add(self.proceeds, subtract(multiply(price, quantity), fee))
        if gone >= self.base:
            return replace(self, base=ZERO, quote=ZERO, fees=ZERO, proceeds=proceeds)
        base = subtract(self.base, gone)
        part = Fraction(base) / Fraction(self.base)
        return replace(
            self,
            base=base,
            quote=_round_up(Fraction(self.quote) * part),
            fees=_round_up(Fraction(self.fees) * part),
            proceeds=proceeds,
        )


def _least_notional(settings: MartingaleSettings, price: Decimal) -> Decimal:
    return max(settings.min_order_notional, multiply(settings.min_order_qty or ZERO, price))


def _base_notional(settings: MartingaleSettings, price: Decimal) -> Decimal:
    wanted = multiply(settings.cycle_budget, settings.base_order_pct)
    return max(wanted, _least_notional(settings, price))


def next_add_notional(settings: MartingaleSettings, price: Decimal, add_count: int) -> Decimal:
    """Return what the next add is worth, quote units, exactly; ``add_count`` adds were made."""
    grown, least = _base_notional(settings, price), _least_notional(settings, price)
    for _ in range(add_count):
        grown = multiply(grown, settings.multiplier)
    cap = multiply(settings.cycle_budget, settings.per_order_cap_pct)
    return max(min(grown, cap), least)


def next_action(
    settings: MartingaleSettings,
    position: Position,
    mid: Decimal,
    *,
    add_count: int,
    is_partial_done: bool,
    is_time_up: bool,
    has_order: bool,
) -> Action | None:
    """Return what a cycle that holds something does next; None: nothing, or what it does already.

    Parameters
    ----------
    add_count : int
        Adds that were made.
    is_partial_done : bool
        Whether the first profit was taken.
    is_time_up : bool
        Whether the cycle is older than it may become.
    has_order : bool
        Whether one of its orders works.
    """
    average, price = position.average, Fraction(mid)
    if is_time_up:
        slippage = 1 + Fraction(settings.slippage_buffer_pct)
        break_even = average / (1 - Fraction(settings.fee_rate)) * slippage
        if price >= break_even * (1 + Fraction(settings.time_stop_exit_buffer_pct)):
            return "tp2"
        if settings.max_loss_pct is not None:
            return "stop" if price <= average * (1 - Fraction(settings.max_loss_pct)) else None
        return None
    if price >= average * (1 + Fraction(settings.tp2_pct)):
        return "tp2"
    if price >= average * (1 + Fraction(settings.tp1_pct)) and not is_partial_done:
        return "tp1"
    trigger = multiply(position.last_price, subtract(ONE, settings.step_pct))
    if (mid <= trigger or not has_order) and add_count < settings.max_adds:
        return "add"
    return None


class CappedMartingale(Strategy):
    """A capped martingale on one market.

    Parameters
    ----------
    settings : MartingaleSettings
    market : Market

    Raises
    ------
    nkfast.errors.ConfigError
        The settings name another market, or a grid of quantities that does not fit the market's.
    """

    name = "capped_martingale"
    settings_type = MartingaleSettings

    def __init__(self, settings: MartingaleSettings, market: "Market") -> None:
        settings.check_market(market)
        if settings.min_order_qty is None:
            settings = settings.model_copy(update={"min_order_qty": market.min_quantity})
        self.settings = settings
        self.market = market
        self.position = Position()
        self._steps = Steps(market, lot_size=settings.quantity_step)
        self._fee_rate = max(settings.fee_rate, market.taker_fee, market.maker_fee)
        self._fees = FeeWatch(settings.fee_rate, settings.min_order_notional)
        self._said: list[Skip] = []  # when told of fills
        self._cycle = 1
        self._started_ms: int | None = None
        self._add_count = 0
        self._is_partial_done = False
        self._sold_at_tp1 = ZERO
        self._rest_until_ms = 0  # after a cycle, or an order that came to nothing
        self._must_rest = False  # from the next decision on, which knows the time
        self._state: dict[str, Any] | None = None
        self._desired = Desired()

    @classmethod
    def build(cls, settings: MartingaleSettings, markets: "Mapping[str, Market]") -> Self:
        """Make one on the first of the markets."""
        return cls(settings, next(iter(markets.values())))

    # Strategy ----------------------------------------------------------------------------------

    def decide(self, view: MarketView) -> Desired:
        """Return the one order that should work now."""
        if self._must_rest:
            self._must_rest = False
            self._rest_until_ms = max(self._rest_until_ms, view.now_ms + _RETRY_MS)
            self._state = None
        if self._is_sold and not view.orders:
            self._end_cycle(view.now_ms)
        bid, ask = view.book.best_bid, view.book.best_ask
        if view.book.state != "live" or bid is None or ask is None or bid >= ask:
            return self._tell(self._as_it_is(view.orders))
        best_bid, best_ask = (
            self.market.ticks_to_price(bid[0]),
            self.market.ticks_to_price(ask[0]),
        )
        if not self._is_under_way:
            return self._tell(self._begin(view, best_bid, best_ask))
        return self._tell(self._go_on(view, best_bid, best_ask))

    def on_fill(self, fill: Fill) -> None:
        """Book an execution."""
        self._fees.look(fill, self._said)
        # A fee that is not known yet, or was paid in a third asset, is taken to be what was planned
        # with: budgets stay safe.
        is_base = fill.fee is not None and fill.fee_asset == self.market.base
        fee = ZERO if is_base else fee_in_quote(fill, self._fee_rate)
        fee_base = fill.fee if is_base and fill.fee is not None else ZERO
        told = (fill.price, fill.quantity, fee, fee_base)
        if fill.side == "buy":
            if self._started_ms is None:
                self._started_ms = fill.time_ms
            self.position = self.position.bought(*told)
        else:
            self.position = self.position.sold(*told)
            if fill.slot == "tp1":
                self._sold_at_tp1 = add(self._sold_at_tp1, fill.quantity)
        self._state = None

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Book by how much a fee that is told late is more than it was taken to be."""
        if not self._is_under_way:
            return  # its cycle is over
        late, position = late_fee(fill, before, self._fee_rate), self.position
        if fill.side == "buy":
            fees, gross = add(position.fees, late), add(position.gross, late)
            self.position = replace(position, fees=fees, gross=gross)
        else:
            self.position = replace(position, proceeds=subtract(position.proceeds, late))
        self._state = None

    def on_end(self, order: EndedOrder) -> None:
        """Count an add, note the first profit, or rest after an order that came to nothing."""
        if order.slot == "add" and order.executed:
            self._add_count += 1
        if order.slot == "tp1" and order.executed:
            assert order.price is not None
            rest = subtract(order.quantity, order.executed)
            least = self._steps.least(order.price, self.settings.min_order_notional)
            self._is_partial_done = rest < least
        # The market, or the venue, would not: not again at once.
        is_refused = order.end in ("rejected", "abandoned")
        if not order.executed and (is_refused or order.slot == "base"):
            self._must_rest = True
        self._state = None

    def state(self) -> dict[str, Any]:
        """Return the cycle and its position, in plain digits."""
        if self._state is None:
            position = self.position
            self._state = {
                "cycle": self._cycle,
                "started_ms": self._started_ms,
                "add_count": self._add_count,
                "is_partial_done": self._is_partial_done,
                "sold_at_tp1": plain(self._sold_at_tp1),
                "must_rest": self._must_rest,
                "rest_until_ms": self._rest_until_ms,
                "position": {
                    name: plain(getattr(position, name)) for name in Position.__dataclass_fields__
                },
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self._cycle, self._started_ms = state["cycle"], state["started_ms"]
        self._add_count = state["add_count"]
        self._is_partial_done = state["is_partial_done"]
        self._sold_at_tp1 = Decimal(state["sold_at_tp1"])
        self._must_rest = state["must_rest"]
        self._rest_until_ms = state["rest_until_ms"]
        self.position = Position(
            **{name: Decimal(value) for name, value in state["position"].items()}
        )
        self._state = None

    # The cycle ---------------------------------------------------------------------------------

    @property
    def _is_under_way(self) -> bool:
        return self._started_ms is not None

    def _end_cycle(self, now_ms: int) -> None:
        self._cycle += 1
        self._started_ms, self._add_count, self._is_partial_done = None, 0, False
        self._sold_at_tp1, self.position = ZERO, Position()
        rest_ms = self.settings.cooldown_after_cycle_s * _MS
        self._rest_until_ms = max(self._rest_until_ms, now_ms + rest_ms)
        self._state = None

    @property
    def _is_sold(self) -> bool:
        """Whether what is left of what was sold is less than the least order: it stays."""
        return bool(self.position.proceeds) and self.position.base < max(
            self._steps.lot, self.market.min_quantity
        )

    def _begin(self, view: MarketView, bid: Decimal, ask: Decimal) -> Desired:
        if view.orders:
            return self._as_it_is(view.orders)
        if view.now_ms < self._rest_until_ms:
            return Desired(again_at_ms=self._rest_until_ms)
        settings = self.settings
        notional = _base_notional(settings, ask)
        limit = multiply(ask, add(ONE, settings.slippage_buffer_pct))
        price = max(self._steps.price(limit, "buy"), ask)
        quantity = self._steps.up(Fraction(notional) / Fraction(bid))
        return self._buy("base", view, price, quantity, _TAKE_MS)

    def _go_on(self, view: MarketView, bid: Decimal, ask: Decimal) -> Desired:
        mid = multiply(add(bid, ask), Decimal("0.5"))
        assert self._started_ms is not None
        end_ms = self._started_ms + self.settings.time_stop_s * _MS
        is_time_up = view.now_ms >= end_ms
        again_ms = None if is_time_up else end_ms
        live = next(iter(view.orders.values()), None)
        if self._is_sold or not self.position.base:
            # The end of the order that sold all is still to be told.
            return self._as_it_is(view.orders)
        action = next_action(
            self.settings,
            self.position,
            mid,
            add_count=self._add_count,
            is_partial_done=self._is_partial_done,
            is_time_up=is_time_up,
            has_order=live is not None,
        )
        if live is not None:
            is_late_add = is_time_up and live.slot == "add"
            if live.slot == "base" or live.slot == action or (action is None and not is_late_add):
                return replace(self._as_it_is(view.orders), again_at_ms=again_ms)
            return Desired(again_at_ms=again_ms)  # the other one first, when this one has ended
        if action is None:
            return Desired(again_at_ms=again_ms)
        if view.now_ms < self._rest_until_ms:
            return Desired(again_at_ms=self._rest_until_ms)
        if action == "add":
            trigger = multiply(self.position.last_price, subtract(ONE, self.settings.step_pct))
            price = self._steps.price(min(bid, mid, trigger), "buy")
            if price <= 0:
                return Desired(skips=(Skip("NO_PRICE", "no tick is left below the trigger"),))
            notional = next_add_notional(self.settings, price, self._add_count)
            quantity = self._steps.up(Fraction(notional) / Fraction(price))
            desired = self._buy("add", view, price, quantity, None)
        else:
            desired = self._sell(action, view, mid, bid, ask)
        return (
            desired if desired.again_at_ms is not None else replace(desired, again_at_ms=again_ms)
        )

    # Orders ------------------------------------------------------------------------------------

    def _buy(
        self,
        role: str,
        view: MarketView,
        price: Decimal,
        quantity: Decimal,
        good_for_ms: int | None,
    ) -> Desired:
        quantity = max(quantity, self._steps.least(price, self.settings.min_order_notional))
        cost = multiply(multiply(price, quantity), add(ONE, self._fee_rate))
        spent, budget = self.position.gross, self.settings.cycle_budget
        if add(spent, cost) > budget:
            detail = (
                f"{role}: {plain(cost)} more than {plain(spent)}, the budget is {plain(budget)}"
            )
            return Desired(skips=(Skip("CYCLE_BUDGET", detail),))
        free = view.available.get(self.market.quote, ZERO)
        if view.available and free < cost:
            detail = f"{role}: {plain(cost)} {self.market.quote} are needed, {plain(free)} are free"
            return Desired(skips=(Skip("SHORTAGE", detail),))
        return Desired({role: Quote("buy", price, quantity, good_for_ms=good_for_ms)})

    def _sell(
        self, role: Action, view: MarketView, mid: Decimal, bid: Decimal, ask: Decimal
    ) -> Desired:
        if role == "stop":
            limit = multiply(bid, subtract(ONE, self.settings.slippage_buffer_pct))
            price = max(self._steps.price(limit, "buy"), self.market.tick_size)
            good_for_ms = _TAKE_MS
        else:
            price = self._steps.price(max(mid, ask), "sell")
            good_for_ms = self.settings.exit_timeout_s * _MS
        least = self._steps.least(price, self.settings.min_order_notional)
        owned = self.position.base
        if role != "tp1" and owned < least:
            # No order could sell it: it stays with the account, and the cycle is over.
            self._end_cycle(view.now_ms)
            detail = f"{plain(owned)} at {plain(price)} stay, the least is {plain(least)}"
            return Desired(skips=(Skip("LEFT_OVER", detail),), again_at_ms=self._rest_until_ms)
        held = owned
        if view.total:
            held = min(held, view.available.get(self.market.base, ZERO))
        quantity = whole = self._steps.down(held)
        if role == "tp1":
            sold = self._sold_at_tp1
            half = self._steps.down(Fraction(add(held, sold)) / 2 - Fraction(sold))
            quantity = half if half >= least or sold else whole
        if quantity < least:
            detail = f"{role}: {plain(quantity)} at {plain(price)}, the least is {plain(least)}"
            return Desired(skips=(Skip("BELOW_MINIMUM", detail),))
        return Desired({role: Quote("sell", price, quantity, good_for_ms=good_for_ms)})

    def _as_it_is(self, orders: Mapping[str, LiveOrder]) -> Desired:
        return Desired(
            {
                slot: Quote(
                    order.side,
                    order.price,
                    order.remaining,
                    good_for_ms=self._age_of(slot, order.side),
                )
                for slot, order in orders.items()
            }
        )

    def _age_of(self, slot: str, side: Side) -> int | None:
        if slot in ("base", "stop"):
            return _TAKE_MS
        return None if side == "buy" else self.settings.exit_timeout_s * _MS

    def _tell(self, desired: Desired) -> Desired:
        if self._said:
            desired = replace(desired, skips=(*desired.skips, *self._said))
            self._said = []
        if desired != self._desired:
            self._desired = desired
        return self._desired


def _round_up(value: Fraction) -> Decimal:
    # Cost that is a little too high sells a little too late: 18 places are a price's finest.
    return Decimal(-(-value.numerator * 10**18 // value.denominator)).scaleb(-18)
