"""Plans: legs to take now, one after the other, and what they would fetch on the books as they are.

The arithmetic is pure and exact. A leg takes what rests opposite; its limit is the price of the
last level that it needs, its quantity is cut to whole lots, and it is never raised to a minimum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from nkfast.errors import ConfigError, RiskError
from nkfast.trading.exact import ONE, ZERO, add, divide_floor, multiply, plain, subtract
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook

__all__ = ["PLAN_SLOT", "Leg", "Plan", "Unwind", "WalkedLeg", "price_plan", "walk"]

#: Slots of a plan's orders: ``plan-7:1`` is the first order of the seventh plan.
PLAN_SLOT = "plan-"

_LOTS_MAX = 2**63 - 2

#: What becomes of assets that a broken plan is left with: back the way it came, on to the start
#: asset by the legs that are left, or nothing.
Unwind = Literal["reverse", "complete", "hold"]


_NUMBERS = (
    *("amount", "min_return", "max_unwind_cost", "slippage", "unwind_slippage"),
    "min_fill_ratio",
)
_POSITIVE = frozenset({"amount", "min_fill_ratio", "leg_timeout_ms"})
_MOST = {"min_fill_ratio": ONE, "slippage": Decimal("0.9999"), "unwind_slippage": Decimal("0.9999")}


class Leg(NamedTuple):
    """One step: a buy pays the market's quote asset for its base asset, a sell the other way."""

    symbol: str
    side: Side

    @property
    def pays(self) -> str:
        """The asset that is given."""
        base, _, quote = self.symbol.partition("/")
        return quote if self.side == "buy" else base

    @property
    def gets(self) -> str:
        """The asset that is received."""
        base, _, quote = self.symbol.partition("/")
        return base if self.side == "buy" else quote

    @property
    def back(self) -> "Leg":
        """The step that undoes this one."""
        return Leg(self.symbol, "sell" if self.side == "buy" else "buy")


@dataclass(frozen=True, slots=True)
class Plan:
    """Legs to take now, from one asset through others back to it.

    Attributes
    ----------
    legs : tuple of Leg
        Each pays what the one before received; the last receives what the first pays.
    amount : Decimal
        The most of the start asset that is paid. Each later leg is sized by what the one before
        really received, less its fee.
    min_return : Decimal
        The start asset that the whole way must fetch for each unit paid, on the books when it
        begins, fees included. Below it the plan is not begun.
    max_unwind_cost : Decimal
        The fraction of what was paid that going back may cost, after whichever leg, on the books
        when it begins. Above it the plan is not begun.
    slippage : Decimal
        How far beyond the last price that is needed a leg's limit may lie, as a fraction of it.
    unwind_slippage : Decimal
        The same for the way back.
    leg_timeout_ms : int
        What of a leg is not filled after this is cancelled.
    min_fill_ratio : Decimal
        The part of a leg that must be filled for the next one to be taken.
    unwind : {"reverse", "complete", "hold"}
        What becomes of assets that a broken plan is left with.
    max_book_age_ms : int or None
        A book whose newest frame is older counts for nothing when the plan begins.
    failures_max : int or None
        So many plans in a row that were broken off halt trading; None: as the engine was told.
    """

    legs: tuple[Leg, ...]
    amount: Decimal
    min_return: Decimal = ONE
    max_unwind_cost: Decimal = Decimal("0.02")
    slippage: Decimal = ZERO
    unwind_slippage: Decimal = Decimal("0.01")
    leg_timeout_ms: int = 2_000
    min_fill_ratio: Decimal = Decimal("0.95")
    unwind: Unwind = "reverse"
    max_book_age_ms: int | None = 500
    failures_max: int | None = None

    def __post_init__(self) -> None:
        legs = self.legs
        if len(legs) < 2:
            raise ConfigError(f"a plan needs at least 2 legs, this one has {len(legs)}", "legs")
        for before, after in zip(legs, (*legs[1:], legs[0]), strict=True):
            if before.gets != after.pays:
                raise ConfigError(
                    f"{before.side} {before.symbol} gets {before.gets},"
                    f" {after.side} {after.symbol} pays {after.pays}",
                    "legs",
                )
        if len({leg.pays for leg in legs}) < len(legs):
            raise ConfigError("a plan passes each asset once", "legs")
        for name in (*_NUMBERS, "leg_timeout_ms"):
            value, most = getattr(self, name), _MOST.get(name)
            is_number = Decimal(value).is_finite() and value >= 0
            if not is_number or (not value and name in _POSITIVE):
                raise ConfigError(f"{name} is {value}; give a number above 0", name)
            if most is not None and value > most:
                raise ConfigError(f"{name} is {value}; give at most {most}", name)
        if self.failures_max is not None and self.failures_max < 1:
            raise ConfigError(
                f"failures_max is {self.failures_max}; give 1 or more", "failures_max"
            )
        if self.unwind not in ("reverse", "complete", "hold"):
            raise ConfigError(f"unwind {self.unwind!r}: 'reverse', 'complete' or 'hold'", "unwind")

    @property
    def start(self) -> str:
        """The asset that the plan begins and ends with."""
        return self.legs[0].pays

    @property
    def assets(self) -> tuple[str, ...]:
        """The assets in between, in the order in which they are held."""
        return tuple(leg.gets for leg in self.legs[:-1])

    def as_json(self) -> dict[str, Any]:
        """Return everything with money in plain digits."""
        data = {
            name: plain(value) if isinstance(value, Decimal) else value
            for name, value in asdict(self).items()
        }
        return {**data, "legs": [[leg.symbol, leg.side] for leg in self.legs]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Take back what `as_json` returned."""
        numbers = {name: Decimal(data[name]) for name in _NUMBERS}
        return cls(**{**data, **numbers, "legs": tuple(Leg(*leg) for leg in data["legs"])})


class WalkedLeg(NamedTuple):
    """A leg with numbers: the order, and what it would pay and receive on the book as it is."""

    leg: Leg
    quantity: Decimal
    price: Decimal
    paid: Decimal
    received: Decimal


def walk(leg: Leg, book: "OrderBook", amount: Decimal, slippage: Decimal) -> WalkedLeg:
    """Size and price a leg that may pay an amount.

    A buy is sized so that its limit and the taker's fee never need more than the amount. Where the
    book is too thin the leg takes what is there.

    Raises
    ------
    nkfast.errors.RiskError
        BOOK_NOT_LIVE, PLAN_DEPTH (what rests opposite is less than the market's minimum) or
        BELOW_MINIMUM (what may be paid is): there is no such order.
    """
    market, side = book.market, leg.side
    if book.state != "live":
        raise RiskError("BOOK_NOT_LIVE", f"{leg.symbol} {book.state}", "live")
    fee = max(market.taker_fee, ZERO)
    if side == "sell":
        wanted = min(divide_floor(amount, market.lot_size), _LOTS_MAX)
    else:
        wanted = book.quantity_for_notional("buy", amount)
    lots, cost, worst_ticks = book.cost_to_fill(side, wanted)
    best = book.best_bid if side == "sell" else book.best_ask
    # Whether what is there, not what may be paid, is the bound.
    is_thin = best is None or book.cost_to_fill(side, wanted + 1)[0] <= wanted
    worst = market.ticks_to_price(worst_ticks)
    if side == "sell":
        price = market.round_price(multiply(worst, subtract(ONE, slippage)), "floor")
        price = max(price, market.tick_size)
    else:
        price = market.round_price(multiply(worst, add(ONE, slippage)), "ceil")
        price = max(price, market.tick_size)
        each = multiply(multiply(price, add(ONE, fee)), market.lot_size)
        lots = min(lots, divide_floor(amount, each))
        lots, cost, _ = book.cost_to_fill("buy", lots)
    quantity = market.lots_to_quantity(lots)
    notional = Decimal(cost).scaleb(-(market.price_decimals + market.quantity_decimals))
    code = "PLAN_DEPTH" if is_thin else "BELOW_MINIMUM"
    if quantity < market.min_quantity or not quantity:
        raise RiskError(code, f"{side} {plain(quantity)}", plain(market.min_quantity))
    limit_notional = multiply(price, quantity)
    if limit_notional < market.min_notional:
        raise RiskError(
            code, f"{side} {plain(quantity)}: {plain(limit_notional)}", plain(market.min_notional)
        )
    if side == "sell":
        return WalkedLeg(leg, quantity, price, quantity, multiply(notional, subtract(ONE, fee)))
    return WalkedLeg(leg, quantity, price, multiply(notional, add(ONE, fee)), quantity)


def price_plan(plan: Plan, books: Mapping[str, "OrderBook"]) -> Sequence[WalkedLeg]:
    """Walk a whole plan, and the way back after each leg, on the books as they are.

    Raises
    ------
    nkfast.errors.RiskError
        PLAN_RETURN or PLAN_WAY_BACK: it fetches too little, or going back costs too much; or what
        `walk` refuses, there or back. The plan is not to be begun.
    """
    amount, legs = plan.amount, []
    for leg in plan.legs:
        walked = walk(leg, books[leg.symbol], amount, plan.slippage)
        legs.append(walked)
        amount = walked.received
    paid = legs[0].paid
    if amount < multiply(paid, plan.min_return):
        raise RiskError(
            "PLAN_RETURN",
            f"{plain(amount)} {plan.start} for {plain(paid)}",
            f"{plain(plan.min_return)} for each",
        )
    least = multiply(paid, subtract(ONE, plan.max_unwind_cost))
    for count in range(1, len(legs)):
        back = legs[count - 1].received
        for leg in reversed(plan.legs[:count]):
            back = walk(leg.back, books[leg.symbol], back, plan.unwind_slippage).received
        if back < least:
            raise RiskError(
                "PLAN_WAY_BACK",
                f"{plain(back)} {plan.start} back after leg {count}",
                f"{plain(least)} of {plain(paid)}",
            )
    return legs
