"""A small exchange, and the market rows that it lists."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest

from nkfast.exchange.accounts import Account
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.invariants import BookWitness, FillWitness, violations
from nkfast.exchange.orders import Order
from nkfast.exchange.rules import OrderForm

NOW_MS = 1_790_000_000_000


def market_row(symbol: str = "ETH/USDT", **changes: Any) -> dict[str, Any]:
    row = {
        "symbol": symbol,
        "priceDecimals": 2,
        "quantityDecimals": 4,
        "minimumQuantity": "0.001",
        "minQuote": "1",
        "isMinQuoteActive": True,
        "isActive": True,
        "isPaused": False,
        "allowMarketOrders": True,
    }
    return row | changes


class Bench:
    """An exchange with two rich accounts; every order is checked against the invariants."""

    def __init__(self, *rows: Mapping[str, Any], **options: Any) -> None:
        self.exchange = Exchange(rows or [market_row()], now_ms=NOW_MS, **options)
        self.witness = BookWitness(self.exchange)
        self.fills = FillWitness(self.exchange)
        wealth = dict.fromkeys(self.exchange.assets, "1000000")
        self.alice = self.exchange.open_account("alice", wealth)
        self.bob = self.exchange.open_account("bob", wealth)

    def order(self, account: Account, side: str, quantity: str, price: Any = None, **more: Any):
        fields = {"symbol": "ETH/USDT", "side": side, "quantity": quantity, **more}
        if price is None:
            fields["type"] = "market"
        else:
            fields["price"] = price
        order = self.exchange.submit(account, OrderForm.from_wire(fields), NOW_MS)
        self.check()
        return order

    def cancel(self, account: Account, identifier: str) -> Order:
        order = self.exchange.cancel(account, identifier, NOW_MS)
        self.check()
        return order

    def check(self) -> None:
        assert violations(self.exchange) == []
        assert self.witness.differences() == []
        assert self.fills.differences() == []


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*rows: Mapping[str, Any], **options: Any) -> Bench:
        made.append(Bench(*rows, **options))
        return made[-1]

    yield make
    for one in made:
        one.check()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Poll until something is true, for ten seconds at most."""

    async def wait(is_true: Callable[[], Awaitable[bool]]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 10.0
        while not await is_true():
            assert loop.time() < deadline, "it did not come true within ten seconds"
            await asyncio.sleep(0.01)

    return wait
