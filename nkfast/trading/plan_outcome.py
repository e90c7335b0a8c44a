"""What became of plans: what each leg was to fetch beside what it did fetch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Self

from nkfast.trading.exact import ZERO, add, plain, subtract
from nkfast.trading.plan import Leg

if TYPE_CHECKING:
    from nkfast.venue.port import Execution

__all__ = ["LegOutcome", "PlanOutcome", "PlanResult"]

#: done: every leg was taken. missed: nothing was traded. unwound: broken off, and nothing is left
#: that could be traded. held: broken off, and left so on purpose.
PlanResult = Literal["done", "missed", "unwound", "held"]


@dataclass(frozen=True, slots=True)
class LegOutcome:
    """One leg of a plan, or one order of its way back: predicted and realized.

    Attributes
    ----------
    leg : Leg
        The market and the side.
    is_way_back : bool
        Whether it is no leg of the plan, but an order that brought back what a leg was left with.
    predicted_paid, predicted_received : Decimal
        Of the assets that the leg pays and gets, the fee included, on the books when the plan
        began; of a way back on the book when its order was sent.
    paid, received : Decimal
        What its fills did pay and get, fees in either asset included; 0 for a leg that was not
        taken.
    is_fee_known : bool
        False while the fee of a fill is not: the taker's is assumed then.
    """

    leg: Leg
    is_way_back: bool
    predicted_paid: Decimal
    predicted_received: Decimal
    paid: Decimal
    received: Decimal
    is_fee_known: bool = True

    @property
    def shortfall(self) -> float | None:
        """The fraction by which a unit paid fetched less than predicted; below 0 it fetched more.

        None where nothing was traded.
        """
        if not self.paid or not self.predicted_received:
            return None
        predicted = self.predicted_received / self.predicted_paid
        return float(1 - self.received / self.paid / predicted)

    def __str__(self) -> str:
        leg = self.leg
        predicted = f"{plain(self.predicted_paid)} -> {plain(self.predicted_received)}"
        realized = f"{plain(self.paid)} -> {plain(self.received)}"
        shortfall = self.shortfall
        less = "" if shortfall is None else f", {shortfall:.4%} less a unit"
        way = "back: " if self.is_way_back else ""
        return (
            f"{way}{leg.side} {leg.symbol}, {leg.pays} -> {leg.gets}:"
            f" predicted {predicted}, realized {realized}{less}"
        )


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """What became of a plan.

    Attributes
    ----------
    number : int
        Counts the plans of an instance.
    result : {"done", "missed", "unwound", "held"}
        How it ended.
    moved : mapping of str to Decimal
        By how much its fills and their fees changed what is owned of each asset. What was too
        little to be traded is among it.
    profit : Decimal or None
        The change of the start asset; None while a fee is not known.
    order_count : int
        Orders that were sent for it, the way back included.
    start : str
        The asset that it began with.
    predicted_profit : Decimal
        What it was to bring of the start asset, fees included, on the books when it began.
    legs : tuple of LegOutcome
        Every leg, also those that were not taken, and then every order of the way back.
    started_ms, ended_ms : int
        Unix milliseconds.
    """

    number: int
    result: PlanResult
    moved: Mapping[str, Decimal]
    profit: Decimal | None
    order_count: int
    start: str
    predicted_profit: Decimal
    legs: tuple[LegOutcome, ...]
    started_ms: int
    ended_ms: int

    def leg_of(self, place: int) -> LegOutcome:
        """Return what became of the plan's n-th order, counted from 1."""
        return self.legs[self._index_of(place)]

    def with_late_fee(
        self, place: int, realized: LegOutcome, fill: "Execution", before: Decimal | None
    ) -> Self:
        """Return the outcome with a fee that was told after it.

        Parameters
        ----------
        place : int
            Which of the plan's orders it is of, counted from 1.
        realized : LegOutcome
            What that order did fetch with the fee.
        fill : Execution
            The fill with its fee.
        before : Decimal or None
            What was known of the fee when the outcome was made.
        """
        assert fill.fee is not None
        index = self._index_of(place)
        known, leg = self.legs[index], realized.leg
        changed = {
            leg.pays: subtract(known.paid, realized.paid),
            leg.gets: subtract(realized.received, known.received),
        }
        if fill.fee_asset not in changed:
            changed[fill.fee_asset] = subtract(before or ZERO, fill.fee)
        moved = dict(self.moved)
        for asset, change in changed.items():
            moved[asset] = add(moved.get(asset, ZERO), change)
        legs = (*self.legs[:index], realized, *self.legs[index + 1 :])
        is_known = all(one.is_fee_known for one in legs)
        return replace(self, moved=moved, legs=legs, profit=moved[self.start] if is_known else None)

    def _index_of(self, place: int) -> int:
        planned = sum(not leg.is_way_back for leg in self.legs)
        taken = self.order_count - (len(self.legs) - planned)
        return place - 1 if place <= taken else planned + place - taken - 1

    def as_json(self) -> dict[str, Any]:
        """Return everything with money in plain digits."""
        profit = None if self.profit is None else plain(self.profit)
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "moved": {asset: plain(amount) for asset, amount in self.moved.items()},
            "profit": profit,
            "predicted_profit": plain(self.predicted_profit),
            "legs": [_leg_as_json(leg) for leg in self.legs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Take back what `as_json` returned."""
        profit = data["profit"]
        return cls(
            **{name: data[name] for name in _PLAIN},
            moved={asset: Decimal(amount) for asset, amount in data["moved"].items()},
            profit=None if profit is None else Decimal(profit),
            predicted_profit=Decimal(data["predicted_profit"]),
            legs=tuple(_leg_from_json(leg) for leg in data["legs"]),
        )


_PLAIN = ("number", "result", "order_count", "start", "started_ms", "ended_ms")
_AMOUNTS = ("predicted_paid", "predicted_received", "paid", "received")


def _leg_as_json(outcome: LegOutcome) -> dict[str, Any]:
    data = {
        name: plain(value) if isinstance(value, Decimal) else value
        for name, value in asdict(outcome).items()
    }
    return {**data, "leg": [outcome.leg.symbol, outcome.leg.side]}


def _leg_from_json(data: Mapping[str, Any]) -> LegOutcome:
    amounts = {name: Decimal(data[name]) for name in _AMOUNTS}
    return LegOutcome(**{**data, **amounts, "leg": Leg(*data["leg"])})
