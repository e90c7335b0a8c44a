"""Put a strategy of your own through storms, crashes and restarts, in pretended time.

python -m nkfast.examples.faults
"""

from collections.abc import Mapping
from typing import Any

from nkfast import Desired, Fill, MarketView, Quote, Strategy
from nkfast.testing import Stage, shrink, simulate

SEEDS = range(10)


class BuyLow(Strategy):
    """Rests one bid below the market, and remembers how often it was filled."""

    name = "buy-low"

    def __init__(self, market: object) -> None:
        self._fills = 0
        self._middle_ticks = 0
        self._desired = Desired()

    def decide(self, view: MarketView) -> Desired:
        bid, ask = view.book.best_bid, view.book.best_ask
        if bid is None or ask is None or abs(bid[0] + ask[0] - self._middle_ticks) < 2_000:
            return self._desired
        self._middle_ticks = bid[0] + ask[0]
        price = view.market.ticks_to_price(bid[0] - 500)
        quantity = view.market.lots_to_quantity(10_000)
        self._desired = Desired({"bid": Quote("buy", price, quantity)})
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        self._fills += 1

    def state(self) -> dict[str, Any]:
        return {"fills": self._fills}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._fills = state["fills"]


def main() -> None:
    stage = Stage(strategy=BuyLow)
    for seed in SEEDS:
        outcome = simulate(seed, stage)
        faults = sum(outcome.faults.values())
        print(f"seed {seed}: {faults} faults, {outcome.kills} kills, {outcome.fills} fills")
        if not outcome.ok:
            print(shrink(outcome, stage).violation)


if __name__ == "__main__":
    main()
