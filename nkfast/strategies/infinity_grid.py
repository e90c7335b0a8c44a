"""The infinity grid: buys down to a floor, sells without a ceiling.

Each order is a rung. A filled buy is answered by a sell one step above it; a filled sell by a buy
one step below it, unless that is under the floor, and by a new sell one step above the highest. The
answer to a part is the same part of the answer to the whole, so that a partial fill, a cancelled
rest and a restart lose nothing. A rung stays until it has filled: what was cancelled is placed
again.
"""

from collections.abc import Mapping
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache
from operator import is_
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from nkfast.errors import ConfigError
from nkfast.strategies.funds import within_funds
from nkfast.strategies.infinity_rung import Rung
from nkfast.strategies.opening import OpeningTrade
from nkfast.strategies.profit_store import ProfitStoreSettings
from nkfast.strategies.round_trip import FeeWatch, fee_in_quote, late_fee, why_not
from nkfast.strategies.settings import key
from nkfast.strategies.sizing import Steps, needed
from nkfast.strategies.spacing import SpacedSettings
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
from nkfast.venue.port import Side
from nkfast.wire.symbols import TradingPair

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["InfinityGrid", "InfinityGridSettings"]

Sizing = Literal["fixed", "dynamic", "hybrid"]
_HALF = Decimal("0.5")
#: The highest sell is a product of many steps: so many of its digits are kept.
_KEPT = Context(prec=28)
#: A fee is told late of the newest rungs only: so many are remembered after they have filled.
_REMEMBERED = 256


class InfinityGridSettings(SpacedSettings):
    """What an infinity grid is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SpacedSettings.aliases,
        "grid_levels": ("n_buy_levels", "initial_sell_levels"),
    }

    base_order_size: Decimal = key(
        Decimal("0.001"), unit="base", gt=0, meaning="Of an order of fixed size."
    )
    min_notional_quote: Decimal = key(
        ONE,
        unit="quote",
        ge=0,
        meaning="Least value of an order; what is smaller is not placed. The market's own minimum "
        "holds as well.",
    )
    fee_buffer_pct: Decimal = key(
        Decimal("0.0001"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="Taken off sells when a spacing is judged.",
    )
    n_buy_levels: int = key(
        10, ge=1, meaning="Orders below the first mid; the lowest is the floor."
    )
    initial_sell_levels: int = key(10, ge=1, meaning="Orders above the first mid.")
    buy_sizing_mode: Sizing = key(
        "fixed",
        meaning="fixed: as many base units each. dynamic: worth as much each. hybrid: dynamic, but "
        "at least min_base_order_qty.",
    )
    sell_sizing_mode: Sizing = key("dynamic", meaning="The same of sells.")
    fixed_base_order_qty: Decimal | None = key(
        None, unit="base", gt=0, meaning="Of an order of fixed size; none: base_order_size."
    )
    target_quote_per_order: Decimal | None = key(
        None,
        unit="quote",
        gt=0,
        meaning="What a dynamic order is worth; none: what a fixed one was at the first mid.",
    )
    min_base_order_qty: Decimal | None = key(
        None, unit="base", gt=0, meaning="Least size of a hybrid order, which requires it."
    )
    min_order_qty: Decimal = key(ZERO, unit="base", ge=0, meaning="What is smaller is not placed.")
    sell_extra_inventory: bool = key(
        False,
        meaning="Whether the answer to a buy may sell more than was bought: below the first mid "
        "dynamic sells are larger than fixed buys.",
    )
    extend_buy_levels_on_restart: bool = key(
        False, meaning="Whether a restart adds buys below the floor, down to n_buy_levels steps."
    )
    profit_store: ProfitStoreSettings | None = key(
        None, meaning="What becomes of realized profit; none: it stays where it is."
    )

    def symbols(self, listed: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the market, and the one that profit is put away on."""
        del listed
        return watched(self.symbol, self.profit_store)

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if "hybrid" in (self.buy_sizing_mode, self.sell_sizing_mode) and (
            self.min_base_order_qty is None
        ):
            raise ConfigError("is required with a sizing mode of 'hybrid'", "min_base_order_qty")
        if self.step_mode == "pct":
            self.check_spacing(ONE)
        return self

    def check_spacing(self, mid: Decimal) -> None:
        """Check the levels around the first mid, quote units.

        Raises
        ------
        nkfast.errors.ConfigError
            A round trip would lose money, or the floor is not above zero.
        """
        if self.spacing.away(mid, -self.n_buy_levels) <= 0:
            raise ConfigError(
                f"{self.n_buy_levels} levels of {plain(self.spacing.at(mid))} reach zero from"
                f" {plain(mid)}; use fewer levels or a smaller step",
                self.step_key,
            )
        self.check_earns(mid)


class InfinityGrid(Earning):
    """An infinity grid on one market.

    Parameters
    ----------
    settings : InfinityGridSettings
    market : Market
        Its tick and lot sizes and minimums bound every order.

    Attributes
    ----------
    entry, lowest, highest : Decimal or None
        The first mid, the floor, and where the highest sell is; None before the first decision.

    Raises
    ------
    nkfast.errors.ConfigError
        The settings name another market, or a coarser grid that does not fit the market's.
    """

    name = "infinity_grid"
    settings_type = InfinityGridSettings
    on_exit = "keep"  # levels wait for the next start

    def __init__(self, settings: InfinityGridSettings, market: "Market") -> None:
        settings.check_market(market)
        self.settings = settings
        self.market = market
        self.earned = ZERO
        self.earned_in = market.quote
        self.entry: Decimal | None = None
        self.lowest = self.highest = ZERO
        self._steps = Steps(market, settings.tick_size, settings.step_size, settings.price_rounding)
        self._opening = settings.opening_trade(market)
        self._reinvested = ZERO
        self._rungs: dict[int, Rung] = {}
        self._next = 1
        # The sell that has, or had, the cost of a buy; of a sell with a cost it is itself.
        self._bearers: dict[int, int] = {}
        self._must_extend = False
        self._fees = FeeWatch(settings.fee_rate, settings.min_notional_quote)
        self._skips: list[Skip] = []  # of what was not done when told of fills
        self._state: dict[str, Any] | None = None  # None when something has changed
        self._desired = Desired()
        self._is_stale = True
        self._seen: tuple[Mapping[str, LiveOrder], Mapping[str, Decimal]] = ({}, {})

    @classmethod
    def build(cls, settings: InfinityGridSettings, markets: Mapping[str, "Market"]) -> Strategy:
        """Make an infinity grid on the first of the markets."""
        grid = cls(settings, next(iter(markets.values())))
        return with_profit_store(grid, settings.profit_store, markets)

    # Strategy ----------------------------------------------------------------------------------

    def decide(self, view: MarketView) -> Desired:
        """Return the orders that should rest; the same object while nothing has changed."""
        seen = (view.orders, view.available)
        if not self._is_stale and all(map(is_, seen, self._seen)):
            return self._desired
        mid = view.mid
        if self.entry is None or self._must_extend:
            if mid is None:
                return Desired(_as_they_are(view.orders))
            if self.entry is None and self._opening is not None:
                opening = self._opening.desired(view, self.ctx)
                if opening is not None:
                    return opening
            if self.entry is None:
                self._begin(mid, view.orders)
            else:
                self._extend(mid, view)
            self._must_extend = False
        self._adopt(view.orders)
        skips, self._skips = self._skips, []
        wanted = []
        # The nearest first: the lowest sell, the highest buy.
        for number, rung in sorted(self._rungs.items(), key=lambda item: item[1].distance):
            slot = _slot(rung.side, number)
            quote = self._quote(slot, rung, view.orders, skips)
            if quote is not None:
                wanted.append((slot, quote))
        quotes = within_funds(wanted, view.orders, view.available, self.market, skips)
        desired = Desired(quotes, tuple(skips))
        if desired != self._desired:
            self._desired = desired
        self._seen, self._is_stale = seen, False
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        """Count what was filled, and answer it once it is enough for an order."""
        if fill.slot == OpeningTrade.SLOT:
            return
        number = _number_of(fill.slot)
        rung = self._rungs.get(number)
        if rung is None:  # of an order that was not known when it filled
            rung = self._rungs[number] = Rung(fill.side, fill.price, fill.quantity)
            self._next = max(self._next, number + 1)
        self._count(number, fill)
        self._fees.look(fill, self._skips)
        unanswered = multiply(subtract(rung.executed, rung.answered), rung.price)
        is_enough = unanswered >= self.settings.min_notional_quote
        if self.settings.counter_on_partial and is_enough:
            self._answer(number)
        self._finish(number)
        self._note_change()

    def on_fee(self, fill: Fill, before: Decimal | None) -> None:
        """Earn less by what a fee that is told late is more than it was taken to be."""
        if fill.slot == OpeningTrade.SLOT:
            return
        self._fees.look(fill, self._skips)
        late, number = late_fee(fill, before, self.settings.fee_rate), _number_of(fill.slot)
        bearer = self._bearers.get(number)
        waiting = [
            rung
            for rung in (self._rungs.get(number), self._rungs.get(bearer or 0))
            if fill.side == "buy" and rung is not None and rung.bought
        ]
        if waiting:
            waiting[0].cost = add(waiting[0].cost, late)  # it earns when that is sold
        elif bearer is not None:
            self.earned = subtract(self.earned, late)
        self._note_change()

    def on_end(self, order: EndedOrder) -> None:
        """Answer what an order filled before it ended; count the attempts to rebalance."""
        if order.slot == OpeningTrade.SLOT:
            if self._opening is not None:
                self._opening.on_end(order)
        else:
            number = _number_of(order.slot)
            if number in self._rungs:
                self._answer(number)
        self._note_change()

    def reinvest(self, amount: Decimal) -> None:
        """Make fresh orders larger: an amount of quote over as many as there were at first."""
        self._reinvested = add(self._reinvested, amount)
        self._note_change()

    def state(self) -> dict[str, Any]:
        """Return the first mid, the floor, the highest sell and every rung, in plain digits."""
        if self._state is None:
            self._state = {
                "entry": None if self.entry is None else plain(self.entry),
                "lowest": plain(self.lowest),
                "highest": plain(self.highest),
                "earned": plain(self.earned),
                "reinvested": plain(self._reinvested),
                "opening": None if self._opening is None else self._opening.state(),
                "next": self._next,
                "bearers": {str(number): bearer for number, bearer in self._bearers.items()},
                "rungs": {str(number): rung.as_json() for number, rung in self._rungs.items()},
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.entry = None if state["entry"] is None else Decimal(state["entry"])
        self.lowest, self.highest = Decimal(state["lowest"]), Decimal(state["highest"])
        self.earned = Decimal(state["earned"])
        self._reinvested = Decimal(state["reinvested"])
        if self._opening is not None and state["opening"] is not None:
            self._opening.restore(state["opening"])
        self._next = state["next"]
        kept = state.get("bearers", {})  # not there where older versions wrote it
        self._bearers = {int(number): bearer for number, bearer in kept.items()}
        self._rungs = {int(number): Rung.from_json(row) for number, row in state["rungs"].items()}
        self._must_extend = self.entry is not None and self.settings.extend_buy_levels_on_restart
        self._note_change()

    def _note_change(self) -> None:
        self._state, self._is_stale = None, True

    # Sizes -------------------------------------------------------------------------------------

    def size_of(self, side: Side, price: Decimal) -> Decimal | None:
        """Return the size of a whole order at a price, None where it would be too small."""
        settings, steps = self.settings, self._steps
        entry = price if self.entry is None else self.entry
        fixed = Fraction(settings.fixed_base_order_qty or settings.base_order_size)
        count = settings.n_buy_levels + settings.initial_sell_levels
        fixed += Fraction(self._reinvested) / (Fraction(entry) * count)
        mode = settings.buy_sizing_mode if side == "buy" else settings.sell_sizing_mode
        worth = fixed * Fraction(entry)
        if settings.target_quote_per_order is not None:
            worth = Fraction(settings.target_quote_per_order)
        quantity = steps.down(fixed if mode == "fixed" else worth / Fraction(price))
        if mode == "hybrid":
            assert settings.min_base_order_qty is not None
            quantity = max(quantity, steps.up(settings.min_base_order_qty))
        least = max(settings.min_order_qty, steps.least(price, settings.min_notional_quote))
        return quantity if quantity >= least else None

    # Rungs -------------------------------------------------------------------------------------

    def _begin(self, mid: Decimal, orders: Mapping[str, LiveOrder]) -> None:
        settings, spacing = self.settings, self.settings.spacing
        settings.check_spacing(mid)
        self.entry, self._state = mid, None
        if orders:  # its own, of a state that was lost: they are the ladder
            prices = [order.price for order in orders.values()]
            self.lowest, self.highest = min(prices), max(prices)
            return
        self.lowest = spacing.away(mid, -settings.n_buy_levels)
        self.highest = spacing.away(mid, settings.initial_sell_levels)
        for count in range(1, settings.n_buy_levels + 1):
            self._add_whole("buy", spacing.away(mid, -count))
        for count in range(1, settings.initial_sell_levels + 1):
            self._add_whole("sell", spacing.away(mid, count))

    def _extend(self, mid: Decimal, view: MarketView) -> None:
        """Add buys below the floor while the free quote balance pays for them."""
        free = view.available.get(self.market.quote)
        pair = TradingPair.parse(self.market.symbol)
        prices = {rung.price for rung in self._rungs.values() if rung.side == "buy"}
        floor = self.lowest
        for count in range(1, self.settings.n_buy_levels + 1):
            level = self.settings.spacing.away(mid, -count)
            price = self._steps.price(level, "buy")
            size = self.size_of("buy", price) if price > 0 else None
            if level >= floor or price in prices or size is None:
                continue
            _, cost = needed(pair, "buy", price, size, self.settings.fee_rate)
            if free is not None and cost > free:
                detail = f"buy {plain(size)} at {plain(price)} needs {plain(cost)}"
                self._skips.append(Skip("SHORT_OF_FUNDS", f"{detail}, {plain(free)} are free"))
                break
            free = None if free is None else subtract(free, cost)
            if self._add_whole("buy", level) is not None:
                self.lowest = level
        self._state = None

    def _add_whole(self, side: Side, level: Decimal) -> int | None:
        """Add a rung of a whole order near a price, None where it is not worth it."""
        price = self._steps.price(level, side)
        size = self.size_of(side, price) if price > 0 else None
        if size is None:
            self._skips.append(
                Skip("BELOW_MINIMUM", f"{side} at {plain(price)} would be too small")
            )
            return None
        number = self._add(side, price, size)
        if number is not None:
            self._rungs[number].quantity = size
        return number

    def _add(self, side: Side, price: Decimal, whole: Decimal) -> int | None:
        """Add an empty rung, None where a whole order there is not worth it."""
        settings = self.settings
        skip = why_not(
            side,
            price,
            whole,
            settings.spacing.away(price, 1 if side == "buy" else -1),
            fee_rate=settings.fee_rate,
            fee_buffer=settings.fee_buffer_pct,
            min_notional=settings.min_notional_quote,
        )
        if skip is not None:
            self._skips.append(skip)
            return None
        number, self._next = self._next, self._next + 1
        self._rungs[number] = Rung(side, price, ZERO)
        return number

    def _adopt(self, orders: Mapping[str, LiveOrder]) -> None:
        """Make a rung of a live order that has none, and never want less than what rests."""
        for slot, order in orders.items():
            if slot == OpeningTrade.SLOT or order.remaining <= 0:
                continue
            number = _number_of(slot)
            rung = self._rungs.get(number)
            if rung is None:
                self._rungs[number] = Rung(order.side, order.price, order.remaining)
                self._next = max(self._next, number + 1)
                self._state = None
            elif order.remaining > rung.rest:
                rung.quantity = add(rung.executed, order.remaining)
                self._state = None

    # Answers -----------------------------------------------------------------------------------

    def _count(self, number: int, fill: Fill) -> None:
        """Count a fill of a rung, and what it earned."""
        rung = self._rungs[number]
        value, fee = multiply(fill.price, fill.quantity), ZERO
        rung.executed = add(rung.executed, fill.quantity)
        rung.quantity = max(rung.quantity, rung.executed)
        received = fill.quantity
        if fill.side == "buy" and fill.fee is not None and fill.fee_asset == self.market.base:
            received = subtract(received, fill.fee)
        else:
            fee = fee_in_quote(fill, self.settings.fee_rate)
        if fill.side == "buy":
            rung.cost = add(rung.cost, add(value, fee))
            rung.bought = add(rung.bought, received)
            rung.received = add(rung.received, received)
        elif rung.bought:
            self._remember(number, number)
            # What a sell sells beyond that was bought as dearly as the rest.
            cost = share(rung.cost, fill.quantity, rung.bought)
            self.earned = add(self.earned, subtract(subtract(value, fee), cost))
            rung.cost = max(subtract(rung.cost, cost), ZERO)
            rung.bought = max(subtract(rung.bought, fill.quantity), ZERO)

    def _remember(self, number: int, bearer: int) -> None:
        self._bearers[number] = bearer
        if len(self._bearers) > _REMEMBERED:
            del self._bearers[next(iter(self._bearers))]

    def _answer(self, number: int) -> None:
        """Let the answers to a rung grow by what has filled since the last time."""
        rung = self._rungs[number]
        if rung.executed <= rung.answered:
            return
        spacing = self.settings.spacing
        if rung.side == "buy":
            price = self._steps.price(spacing.away(rung.price, 1), "sell")
            most = None if self.settings.sell_extra_inventory else rung.received
            rung.back = self._grow(rung, rung.back, "sell", price, most)
            if rung.back is not None:
                back = self._rungs[rung.back]
                self._remember(number, rung.back)
                back.cost, back.bought = add(back.cost, rung.cost), add(back.bought, rung.bought)
            rung.cost = rung.bought = ZERO
        else:
            top = _KEPT.plus(spacing.away(self.highest, 1))
            has_top = rung.top is not None
            rung.top = self._grow(rung, rung.top, "sell", self._steps.price(top, "sell"), None)
            if rung.top is not None and not has_top:
                self.highest = top
            level = spacing.away(rung.price, -1)
            price = self._steps.price(level, "buy")
            if level >= self.lowest:
                rung.back = self._grow(rung, rung.back, "buy", price, None)
            elif not rung.answered:
                detail = f"no buy at {plain(price)}: the floor is {plain(self.lowest)}"
                self._skips.append(Skip("BELOW_FLOOR", detail))
        rung.answered = rung.executed

    def _grow(
        self, rung: Rung, number: int | None, side: Side, price: Decimal, most: Decimal | None
    ) -> int | None:
        """Make an answer as large as its part of a whole order; return its number.

        Whether there is one is decided with the first part.
        """
        if number is not None:
            price = self._rungs[number].price
        elif rung.answered:
            return None
        size = self.size_of(side, price) if price > 0 else None
        if size is None:
            if number is None:
                detail = f"{side} at {plain(price)} would be too small"
                self._skips.append(Skip("BELOW_MINIMUM", detail))
            return number
        quantity = Fraction(size) * Fraction(rung.executed) / Fraction(rung.quantity)
        if most is not None:
            quantity = min(quantity, Fraction(most))
        number = self._add(side, price, size) if number is None else number
        if number is not None:
            answer = self._rungs[number]
            answer.quantity = max(answer.quantity, self._steps.down(quantity))
            answer.is_growing = True
        return number

    def _finish(self, number: int) -> None:
        """Forget a rung that has filled, and those that answer it and have filled as well."""
        rung = self._rungs[number]
        if not rung.is_full:
            return
        self._answer(number)
        del self._rungs[number]
        for answer in (rung.back, rung.top):
            if answer is not None:
                self._rungs[answer].is_growing = False
                self._finish(answer)

    # From rungs to quotes ----------------------------------------------------------------------

    def _quote(
        self, slot: str, rung: Rung, orders: Mapping[str, LiveOrder], skips: list[Skip]
    ) -> Quote | None:
        """Return the order that a rung wants, if it may have one."""
        rest = rung.rest
        if rest <= 0:
            return None
        wanted = self._steps.down(rest)
        live = orders.get(slot)
        is_own = live is not None and (live.side, live.price) == (rung.side, rung.price)
        if live is not None and is_own and (live.remaining == wanted or rung.is_growing):
            # More may come from what it answers: it keeps its place in the queue until then.
            return Quote(rung.side, rung.price, min(live.remaining, wanted))
        minimum = self.settings.min_notional_quote if rung.is_growing else ZERO
        least = self._steps.least(rung.price, minimum)
        if wanted < least:
            have, at = plain(rest), plain(rung.price)
            detail = f"{slot}: {have} at {at}, the least is {plain(least)}"
            skips.append(Skip("BELOW_MINIMUM", detail))
            return None
        return Quote(rung.side, rung.price, wanted)


def _as_they_are(orders: Mapping[str, LiveOrder]) -> dict[str, Quote]:
    return {slot: Quote(order.side, order.price, order.remaining) for slot, order in orders.items()}


@cache
def _slot(side: Side, number: int) -> str:
    return f"{side}{number}"


@cache
def _number_of(slot: str) -> int:
    digits = slot.removeprefix("buy").removeprefix("sell")
    if digits == slot or not digits.isdecimal():
        raise ValueError(f"slot {slot!r} is not an infinity grid's")
    return int(digits)
