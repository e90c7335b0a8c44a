"""What one would match orders with instead: sorted prices, a queue of orders at each of them."""

from collections import OrderedDict

from sortedcontainers import SortedDict

__all__ = ["SortedQueues"]


class SortedQueues:
    """The usual Python book: `SortedDict` of price to an ordered dictionary of orders."""

    def __init__(self) -> None:
        self.sides = {"buy": SortedDict(lambda ticks: -ticks), "sell": SortedDict()}
        self.places: dict[int, tuple[str, int]] = {}

    def submit(self, order_id: int, side: str, lots: int, ticks: int | None = None) -> list[tuple]:
        matches = []
        opposite = self.sides["sell" if side == "buy" else "buy"]
        while lots and opposite:
            best, queue = opposite.peekitem(0)
            if ticks is not None and (best > ticks if side == "buy" else best < ticks):
                break
            while lots and queue:
                maker_id, resting = next(iter(queue.items()))
                traded = min(lots, resting)
                lots -= traded
                if traded == resting:
                    del queue[maker_id], self.places[maker_id]
                else:
                    queue[maker_id] = resting - traded
                matches.append((maker_id, order_id, best, traded, resting - traded, lots))
            if not queue:
                del opposite[best]
        if lots and ticks is not None:
            self.sides[side].setdefault(ticks, OrderedDict())[order_id] = lots
            self.places[order_id] = (side, ticks)
        return matches

    def cancel(self, order_id: int) -> int:
        side, ticks = self.places.pop(order_id)
        queue = self.sides[side][ticks]
        lots = queue.pop(order_id)
        if not queue:
            del self.sides[side][ticks]
        return lots
