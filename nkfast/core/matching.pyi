from typing import Literal, NamedTuple, final

import numpy as np
import numpy.typing as npt

from nkfast.core.market import Market

class Match(NamedTuple):
    maker_id: int
    taker_id: int
    ticks: int
    lots: int
    maker_remaining: int
    taker_remaining: int

@final
class MatchingEngine:
    def __init__(
        self, market: Market, *, self_trade: Literal["allow", "cancel_newest"] = "allow"
    ) -> None: ...
    @property
    def market(self) -> Market: ...
    @property
    def best_bid(self) -> tuple[int, int] | None: ...  # (ticks, total lots)
    @property
    def best_ask(self) -> tuple[int, int] | None: ...
    @property
    def order_count(self) -> int: ...
    # ticks None is a market order; what does not fill of a limit order rests, of a market order is gone
    def submit(
        self,
        order_id: int,
        side: Literal["buy", "sell"],
        lots: int,
        ticks: int | None = None,
        owner: int = 0,
    ) -> list[Match]: ...
    def cancel(self, order_id: int) -> int: ...  # remaining lots; KeyError when it does not rest
    def reduce(
        self, order_id: int, lots: int
    ) -> int: ...  # take lots off a resting order, keeping its place
    def remaining(self, order_id: int) -> int: ...  # 0 when it does not rest
    def depth(self, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
    # cost of a market order now: (filled lots, cost in ticks*lots, worst ticks)
    def cost_to_fill(self, side: Literal["buy", "sell"], lots: int) -> tuple[int, int, int]: ...
