"""The slow obvious twin of `nkfast.core.matching`: one list of orders, sorted again each time."""

from dataclasses import dataclass


@dataclass
class Order:
    order_id: int
    side: str
    ticks: int
    lots: int
    owner: int


class ReferenceEngine:
    """Keeps resting orders in order of arrival and looks at all of them for every question."""

    def __init__(self, self_trade: str = "allow") -> None:
        self.self_trade = self_trade
        self.resting: list[Order] = []

    def orders(self, side: str) -> list[Order]:
        """Resting orders of a side, next to trade first; the sort is stable, so time decides."""
        sign = -1 if side == "buy" else 1
        return sorted(
            (order for order in self.resting if order.side == side),
            key=lambda order: sign * order.ticks,
        )

    def find(self, order_id: int) -> Order:
        for order in self.resting:
            if order.order_id == order_id:
                return order
        raise KeyError(order_id)

    def submit(
        self, order_id: int, side: str, lots: int, ticks: int | None = None, owner: int = 0
    ) -> list[tuple[int, int, int, int, int, int]]:
        if any(order.order_id == order_id for order in self.resting):
            raise ValueError(order_id)
        matches = []
        for maker in self.orders("sell" if side == "buy" else "buy"):
            if lots == 0:
                break
            if ticks is not None and (
                maker.ticks > ticks if side == "buy" else maker.ticks < ticks
            ):
                break
            if self.self_trade == "cancel_newest" and owner != 0 and maker.owner == owner:
                return matches
            traded = min(lots, maker.lots)
            lots -= traded
            maker.lots -= traded
            matches.append((maker.order_id, order_id, maker.ticks, traded, maker.lots, lots))
            if maker.lots == 0:
                self.resting.remove(maker)
        if lots > 0 and ticks is not None:
            self.resting.append(Order(order_id, side, ticks, lots, owner))
        return matches

    def cancel(self, order_id: int) -> int:
        order = self.find(order_id)
        self.resting.remove(order)
        return order.lots

    def reduce(self, order_id: int, lots: int) -> int:
        order = self.find(order_id)
        if not 0 < lots <= order.lots:
            raise ValueError(lots)
        order.lots -= lots
        if order.lots == 0:
            self.resting.remove(order)
        return order.lots

    def lots_ahead(self, order_id: int) -> int:
        order = self.find(order_id)
        queue = [other for other in self.orders(order.side) if other.ticks == order.ticks]
        return sum(other.lots for other in queue[: queue.index(order)])

    def depth(self, side: str, n: int) -> list[list[int]]:
        levels: dict[int, int] = {}
        for order in self.orders(side):
            levels[order.ticks] = levels.get(order.ticks, 0) + order.lots
        return [[ticks, lots] for ticks, lots in levels.items()][:n]

    def cost_to_fill(self, side: str, lots: int) -> tuple[int, int, int]:
        filled = cost = worst = 0
        for order in self.orders("sell" if side == "buy" else "buy"):
            if filled == lots:
                break
            taken = min(order.lots, lots - filled)
            filled += taken
            cost += taken * order.ticks
            worst = order.ticks
        return filled, cost, worst
