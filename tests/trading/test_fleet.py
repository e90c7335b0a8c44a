"""Engines side by side: what ends one ends no other, and they never trade with each other."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trading.conftest import START_NS, Wanting

from nkfast.errors import HaltedError, JournalError
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.rules import OrderForm
from nkfast.trading.account import AccountOrders
from nkfast.trading.engine import Engine
from nkfast.trading.fleet import Fleet
from nkfast.trading.journal import Journal, verify
from nkfast.trading.life import LifeState
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Quote
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.shared import SharedVenue
from nkfast.venue.simulated import SimulatedVenue

SYMBOLS = ("BTC/USDT", "ETH/USDT")
ROWS = [row for row in DEFAULT_MARKETS if row["symbol"] in SYMBOLS]


class Yard:
    """An exchange with two markets, one account there, and engines that share a venue."""

    def __init__(self, clock: VirtualClock, path: Path, journals: ExitStack) -> None:
        self.clock, self.path, self.journals = clock, path, journals
        self.exchange = Exchange(ROWS, now_ms=clock.time_ns() // 1_000_000)
        self.us = self.exchange.open_account("us", {"BTC": "5", "ETH": "50", "USDT": "500000"})
        other = self.exchange.open_account("other", {"BTC": "9", "ETH": "90", "USDT": "900000"})
        for symbol, bid, ask in (
            ("BTC/USDT", "63990", "64010"),
            ("ETH/USDT", "3190", "3210"),
        ):
            for side, price in (("buy", bid), ("sell", ask)):
                form = {"symbol": symbol, "side": side, "quantity": "1", "price": price}
                now_ms = clock.time_ns() // 1_000_000
                self.exchange.submit(other, OrderForm.from_wire(form), now_ms)
        self.shared = SharedVenue(SimulatedVenue(self.exchange, self.us, clock=clock), SYMBOLS)
        self.account = AccountOrders()
        self.strategies: dict[str, Wanting] = {}

    def engine(self, name: str, symbol: str, side: str, price: str) -> Engine:
        strategy = self.strategies[name] = Wanting()
        strategy.desired = Desired({"only": Quote(side, Decimal(price), Decimal("0.1"))})
        journal = Journal.open(self.path / f"{name}.db", instance=name)
        self.journals.enter_context(journal)
        return Engine(
            venue=self.shared.seat(),
            clock=self.clock,
            journal=journal,
            strategy=strategy,
            symbol=symbol,
            limits=RiskLimits(),
            mode="paper",
            account=self.account,
        )

    def resting(self) -> list[tuple[str, str]]:
        return sorted((order.listing.symbol, order.side) for order in self.us.open_orders.values())


@pytest.fixture
def in_yard(tmp_path: Path) -> Callable[[Callable[[Yard], Any]], None]:
    def run(scenario: Callable[[Yard], Any]) -> None:
        async def main(clock: VirtualClock) -> None:
            with ExitStack() as journals:
                await scenario(Yard(clock, tmp_path, journals))
            assert len(asyncio.all_tasks()) == 1
            for path in tmp_path.glob("*.db"):
                assert verify(path).ok

        run_virtual(main, START_NS)

    return run


def test_a_strategy_that_raises_ends_alone(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        fleet = Fleet(
            {
                "aaaa": yard.engine("aaaa", "BTC/USDT", "buy", "63000"),
                "bbbb": yard.engine("bbbb", "ETH/USDT", "buy", "3100"),
                "cccc": yard.engine("cccc", "BTC/USDT", "buy", "62000"),
            }
        )
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(5)
        assert yard.resting() == [("BTC/USDT", "buy")] * 2 + [("ETH/USDT", "buy")]
        yard.strategies["aaaa"].raises = ZeroDivisionError("no mid")
        await asyncio.sleep(20)
        assert list(fleet.ended) == ["aaaa"]
        assert isinstance(fleet.ended["aaaa"].error, ZeroDivisionError)
        assert fleet.ended["aaaa"].report.is_complete
        assert yard.resting() == [("BTC/USDT", "buy"), ("ETH/USDT", "buy")]
        assert fleet.engines["cccc"].life is LifeState.RUNNING
        stop.set()
        ended = await running
        assert ended["bbbb"].error is None
        assert yard.resting() == []

    in_yard(scenario)


def test_an_engine_that_cannot_start_keeps_no_other_from_trading(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        good = yard.engine("aaaa", "BTC/USDT", "buy", "63000")
        halted = yard.engine("bbbb", "ETH/USDT", "buy", "3100")
        with Journal.open(yard.path / "cccc.db", instance="cccc") as journal:
            journal.note_life("halted", "KILL_SWITCH: by hand", 1)
        still = yard.engine("cccc", "BTC/USDT", "buy", "62000")
        fleet = Fleet({"aaaa": good, "bbbb": halted, "cccc": still})
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop, "keep"))
        await asyncio.sleep(5)
        assert list(fleet.ended) == ["cccc"]
        assert isinstance(fleet.ended["cccc"].error, HaltedError)
        assert yard.resting() == [("BTC/USDT", "buy"), ("ETH/USDT", "buy")]
        halted.halt("KILL_SWITCH", "by hand")
        await asyncio.sleep(20)
        assert yard.resting() == [("BTC/USDT", "buy")]
        stop.set()
        assert len((await running)["aaaa"].report.kept) == 1
        assert yard.resting() == [("BTC/USDT", "buy")]

    in_yard(scenario)


def test_engines_of_one_account_never_trade_with_each_other(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        fleet = Fleet(
            {
                "aaaa": yard.engine("aaaa", "BTC/USDT", "buy", "64005"),
                "bbbb": yard.engine("bbbb", "BTC/USDT", "sell", "64000"),
            }
        )
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(30)
        assert len(yard.resting()) == 1
        codes = fleet.engines["aaaa"].reasons + fleet.engines["bbbb"].reasons
        assert codes["SELF_CROSS"] >= 1
        assert list(yard.us.trades) == []
        stop.set()
        await running

    in_yard(scenario)


def test_a_store_that_fails_at_the_stop_ends_one_alone(in_yard, tmp_path: Path) -> None:
    async def scenario(yard: Yard) -> None:
        fleet = Fleet(
            {
                "aaaa": yard.engine("aaaa", "BTC/USDT", "buy", "63000"),
                "bbbb": yard.engine("bbbb", "ETH/USDT", "buy", "3100"),
            }
        )
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(5)
        broken = fleet.engines["aaaa"]

        def fail(*_: object) -> None:
            raise JournalError("aaaa.db", "disk full")

        broken._journal.note_life = fail
        stop.set()
        ended = await running
        assert isinstance(broken.error, JournalError)
        assert yard.resting() == []  # the way out depends on no store
        assert ended["bbbb"].error is None
        assert fleet.engines["bbbb"].life is LifeState.STOPPED

    in_yard(scenario)
