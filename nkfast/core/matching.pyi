from typing import Literal, NamedTuple, final

import numpy as np
import numpy.typing as npt

from nkfast.core.market import Market, Side

class Match(NamedTuple):
    maker_id: int
    taker_id: int
    ticks: int  # the maker's
    lots: int
    maker_remaining: int
    taker_remaining: int

class RestingOrder(NamedTuple):
    order_id: int
    side: Side
    ticks: int
    lots: int  # remaining
    owner: int  # 0 is nobody

@final
class MatchingEngine:
    def __new__(
        cls, market: Market, *, self_trade: Literal["allow", "cancel_newest"] = "allow"
    ) -> MatchingEngine: ...
    @property
    def market(self) -> Market: ...
    @property
    def best_bid(self) -> tuple[int, int] | None: ...  # (ticks, total lots)
    @property
    def best_ask(self) -> tuple[int, int] | None: ...
    @property
    def order_count(self) -> int: ...
    def __contains__(self, order_id: int, /) -> bool: ...
    # ticks None is a market order; what does not fill of a limit order rests, of a market order
    # is gone; ValueError for the id of an order that rests
    def submit(
        self, order_id: int, side: Side, lots: int, ticks: int | None = None, owner: int = 0
    ) -> list[Match]: ...
    def cancel(self, order_id: int) -> int: ...  # remaining lots; KeyError when it does not rest
    # take lots off a resting order, keeping its place; what remains
    def reduce(self, order_id: int, lots: int) -> int: ...
    def clear(self) -> None: ...
    def remaining(self, order_id: int) -> int: ...  # 0 when it does not rest
    def lots_ahead(self, order_id: int) -> int: ...  # at its price; KeyError when it does not rest
    def order(self, order_id: int) -> RestingOrder: ...  # KeyError when it does not rest
    def orders(self, side: Side) -> list[RestingOrder]: ...  # next to trade first
    def lots_at(self, side: Side, ticks: int) -> int: ...
    def depth(self, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
    # cost of a market order now: (filled lots, cost in ticks*lots, worst ticks)
    def cost_to_fill(self, side: Side, lots: int) -> tuple[int, int, int]: ...
