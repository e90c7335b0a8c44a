"""Questions about several markets are put at once, and heard to the last."""

import asyncio

import pytest

from nkfast.core.market import Market
from nkfast.errors import SymbolNotFoundError, UnreachableError
from nkfast.venue.port import ask_each
from nkfast.venue.rest_account import RestAccount
from nkfast.wire.models import MarketInfo

SYMBOLS = [f"C{number}/USDT" for number in range(300)]


async def test_answers_come_in_the_order_of_the_questions() -> None:
    open_gates = [asyncio.Event() for _ in range(3)]

    async def ask(number: int) -> int:
        if number < 2:
            await open_gates[number + 1].wait()  # the later one is put before this is answered
        open_gates[number].set()
        return number * 10

    async with asyncio.timeout(5):
        assert await ask_each(ask, range(3)) == [0, 10, 20]


async def test_an_error_is_told_when_all_have_been_heard() -> None:
    heard = []

    async def ask(name: str) -> None:
        if name == "bad":
            raise UnreachableError("no way", sent="no")
        await asyncio.sleep(0)
        heard.append(name)

    with pytest.raises(UnreachableError):
        await ask_each(ask, ["a", "bad", "b"])
    assert heard == ["a", "b"]


class CountingRest:
    """Answers what is asked of markets, and counts the requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def row(self, symbol: str) -> MarketInfo:
        row = {"symbol": symbol, "priceDecimals": 4, "quantityDecimals": 2, "isActive": True}
        return MarketInfo.from_wire(row)

    async def get_markets(self) -> list[MarketInfo]:
        self.requests.append("all")
        return [self.row(symbol) for symbol in [*SYMBOLS, "OTHER/USDT"]]

    async def get_market(self, symbol: str) -> MarketInfo:
        self.requests.append(symbol)
        return self.row(symbol)


async def test_the_rules_of_hundreds_of_markets_are_one_request() -> None:
    rest = CountingRest()
    account = RestAccount(rest)  # type: ignore[arg-type]
    markets = await ask_each(account.read_market, SYMBOLS)
    assert [market.symbol for market in markets] == SYMBOLS
    assert rest.requests == ["all"]
    assert isinstance(await account.read_market("C7/USDT"), Market)
    assert rest.requests == ["all", "C7/USDT"]
    with pytest.raises(SymbolNotFoundError, match="GONE/USDT"):
        await ask_each(account.read_market, ["C1/USDT", "GONE/USDT"])
