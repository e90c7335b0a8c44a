"""Engines side by side, kept up: what ends one ends no other, and what heals is started again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trading.conftest import START_NS, Wanting

from nkfast.errors import (
    AuthenticationError,
    ConfigError,
    HaltedError,
    JournalError,
    RateLimitError,
    UnreachableError,
)
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.money import text
from nkfast.exchange.rules import OrderForm
from nkfast.trading.account import AccountOrders
from nkfast.trading.control import Command, send
from nkfast.trading.engine import Engine
from nkfast.trading.fleet import Ended, Fleet, Restarts
from nkfast.trading.journal import Journal, verify
from nkfast.trading.life import LifeState
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Quote
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.shared import SharedVenue
from nkfast.venue.simulated import SimulatedVenue

D = Decimal
SYMBOLS = ("BTC/USDT", "ETH/USDT")
ROWS = [row for row in DEFAULT_MARKETS if row["symbol"] in SYMBOLS]


class Yard:
    """An exchange with two markets, one account there, and instances that share a venue."""

    def __init__(self, clock: VirtualClock, path: Path) -> None:
        self.clock, self.path = clock, path
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
        self.venues = 0
        self.failures: list[Exception] = []  # of the next starts of the venue
        self.shared = SharedVenue(self.venue, SYMBOLS)
        self.account = AccountOrders()
        self.strategies: dict[str, Wanting] = {}
        self.journals: dict[str, Journal] = {}
        self.faults: list[tuple[str, str, float | None]] = []

    def venue(self) -> SimulatedVenue:
        venue = SimulatedVenue(self.exchange, self.us, clock=self.clock)
        self.venues += 1
        start = venue.start

        async def failing_start(*told: Any) -> None:
            await asyncio.sleep(0.5)
            if self.failures:
                raise self.failures.pop(0)
            await start(*told)

        venue.start = failing_start
        return venue

    def launch(
        self, name: str, symbol: str, side: str, price: str
    ) -> Callable[[], AbstractContextManager[Engine]]:
        """Return what makes an engine that wants one order."""

        @contextmanager
        def make() -> Iterator[Engine]:
            strategy = self.strategies[name] = Wanting()
            strategy.desired = Desired({"only": Quote(side, Decimal(price), Decimal("0.1"))})
            with Journal.open(self.path / f"{name}.db", instance=name) as journal:
                self.journals[name] = journal
                yield Engine(
                    venue=self.shared.seat(),
                    clock=self.clock,
                    journal=journal,
                    strategy=strategy,
                    symbol=symbol,
                    limits=RiskLimits(),
                    mode="paper",
                    account=self.account,
                )

        return make

    def fleet(self, *launches: tuple[str, str, str, str], **more: Any) -> Fleet:
        return Fleet(
            {launch[0]: self.launch(*launch) for launch in launches},
            clock=self.clock,
            tell=lambda name, fault: self.faults.append(
                (name, type(fault.error).__name__, fault.wait_s)
            ),
            **more,
        )

    def sell(self, account: Any, price: str, quantity: str) -> None:
        self._order(account, "sell", price, quantity)

    def bid(self, account: Any, price: str, quantity: str) -> None:
        self._order(account, "buy", price, quantity)

    def _order(self, account: Any, side: str, price: str, quantity: str) -> None:
        form = {"symbol": "BTC/USDT", "side": side, "quantity": quantity, "price": price}
        self.exchange.submit(account, OrderForm.from_wire(form), self.clock.time_ns() // 1_000_000)

    def resting(self) -> list[tuple[str, str]]:
        return sorted((order.listing.symbol, order.side) for order in self.us.open_orders.values())


@pytest.fixture
def in_yard(tmp_path: Path) -> Callable[[Callable[[Yard], Any]], None]:
    def run(scenario: Callable[[Yard], Any]) -> None:
        async def main(clock: VirtualClock) -> None:
            yard = Yard(clock, tmp_path)
            await scenario(yard)
            assert len(asyncio.all_tasks()) == 1
            for path in tmp_path.glob("*.db"):
                assert verify(path).ok
            ids = [order.client_id for order in yard.us.orders()]
            assert len(set(ids)) == len(ids)

        run_virtual(main, START_NS)

    return run


def test_a_strategy_that_raises_ends_alone(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        fleet = yard.fleet(
            ("aaaa", "BTC/USDT", "buy", "63000"),
            ("bbbb", "ETH/USDT", "buy", "3100"),
            ("cccc", "BTC/USDT", "buy", "62000"),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(5)
        assert yard.resting() == [("BTC/USDT", "buy")] * 2 + [("ETH/USDT", "buy")]
        yard.strategies["aaaa"].raises = ZeroDivisionError("no mid")
        await asyncio.sleep(20)
        assert list(fleet.ended) == ["aaaa"]
        # It is halted, also over a restart: not started again.
        assert yard.faults == [("aaaa", "ZeroDivisionError", None)]
        assert isinstance(fleet.ended["aaaa"].error, ZeroDivisionError)
        assert fleet.ended["aaaa"].why == "ZeroDivisionError: no mid"
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
        with Journal.open(yard.path / "cccc.db", instance="cccc") as journal:
            journal.note_life("halted", "KILL_SWITCH: by hand", 1)
        fleet = yard.fleet(
            ("aaaa", "BTC/USDT", "buy", "63000"),
            ("bbbb", "ETH/USDT", "buy", "3100"),
            ("cccc", "BTC/USDT", "buy", "62000"),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop, "keep"))
        await asyncio.sleep(5)
        assert list(fleet.ended) == ["cccc"]
        assert isinstance(fleet.ended["cccc"].error, HaltedError)
        assert yard.resting() == [("BTC/USDT", "buy"), ("ETH/USDT", "buy")]
        fleet.engines["bbbb"].halt("KILL_SWITCH", "by hand")
        await asyncio.sleep(20)
        assert yard.resting() == [("BTC/USDT", "buy")]
        stop.set()
        assert len((await running)["aaaa"].report.kept) == 1
        assert yard.resting() == [("BTC/USDT", "buy")]

    in_yard(scenario)


def test_engines_of_one_account_never_trade_with_each_other(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        fleet = yard.fleet(
            ("aaaa", "BTC/USDT", "buy", "64005"), ("bbbb", "BTC/USDT", "sell", "64000")
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
        fleet = yard.fleet(
            ("aaaa", "BTC/USDT", "buy", "63000"), ("bbbb", "ETH/USDT", "buy", "3100")
        )
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(5)
        broken, other = fleet.engines["aaaa"], fleet.engines["bbbb"]

        def fail(*_: object) -> None:
            raise JournalError("aaaa.db", "disk full")

        broken._journal.note_life = fail
        stop.set()
        ended = await running
        assert isinstance(ended["aaaa"].error, JournalError)
        assert yard.resting() == []  # the way out depends on no store
        assert ended["bbbb"].error is None
        assert other.life is LifeState.STOPPED

    in_yard(scenario)


# Kept up ---------------------------------------------------------------------------------------

TWO = (("aaaa", "BTC/USDT", "buy", "63000"), ("bbbb", "ETH/USDT", "buy", "3100"))


def away() -> UnreachableError:
    return UnreachableError("nobody is there", sent="no")


def unreadable_for(seconds: float) -> Callable[[SimulatedVenue], Any]:
    """Return what tells no balances for so long: two starts give up, the third does not."""
    holdings = SimulatedVenue.holdings
    until_s = asyncio.get_running_loop().time() + seconds

    async def failing(venue: SimulatedVenue) -> Any:
        if asyncio.get_running_loop().time() < until_s:
            raise away()
        return await holdings(venue)

    return failing


def test_d21_a_venue_that_is_away_is_tried_again_later_each_time(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [away() for _ in range(8)]
        fleet = yard.fleet(*TWO, restarts=Restarts(first_wait_s=1, longest_wait_s=5))
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(120)
        waits = [wait_s for name, _, wait_s in yard.faults if name == "aaaa"]
        assert waits == [1, 2, 4, 5, 5, 5, 5, 5][: len(waits)]
        assert len(waits) >= 4
        assert yard.resting() == [("BTC/USDT", "buy"), ("ETH/USDT", "buy")]
        stop.set()
        ended = await running
        assert [end.error for end in ended.values()] == [None, None]
        assert ended["aaaa"].why == "it was stopped"
        assert len(ended["aaaa"].faults) == len(waits)
        assert yard.resting() == []

    in_yard(scenario)


def test_more_failures_than_the_budget_has_keep_it_down_with_the_reason(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [away() for _ in range(100)]
        restarts = Restarts(most=3, window_s=600)
        fleet = yard.fleet(TWO[0], restarts=restarts)
        ended = (await fleet.run(asyncio.Event()))["aaaa"]
        assert yard.faults == [("aaaa", "UnreachableError", wait_s) for wait_s in (1, 2, 4, None)]
        assert isinstance(ended.error, UnreachableError)
        assert ended.why == (
            "more failures than 3 starts in 600 s can heal, the last one"
            " UnreachableError: nobody is there"
        )
        assert str(ended.faults[0]) == "UnreachableError: nobody is there; starts again in 1 s"
        assert str(ended.faults[-1]).endswith("; stays down")

    in_yard(scenario)


def test_a_venue_that_asks_for_peace_is_given_it(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [RateLimitError("slow down", retry_after_seconds=30, sent="yes")]
        fleet = yard.fleet(TWO[0])
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(29)
        assert yard.resting() == []
        await asyncio.sleep(5)
        assert yard.faults == [("aaaa", "RateLimitError", 30)]
        assert yard.resting() == [("BTC/USDT", "buy")]
        stop.set()
        await running

    in_yard(scenario)


def test_what_a_start_cannot_heal_is_not_tried_again(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [AuthenticationError("no such key")]
        fleet = yard.fleet(TWO[0])
        ended = (await fleet.run(asyncio.Event()))["aaaa"]
        assert yard.faults == [("aaaa", "AuthenticationError", None)]
        assert ended.why.startswith("AuthenticationError: no such key")

    in_yard(scenario)


def test_an_instance_that_cannot_be_made_ends_alone(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        with Journal.open(yard.path / "aaaa.db", instance="aaaa"):  # somebody else has it
            fleet = yard.fleet(*TWO)
            stop = asyncio.Event()
            running = asyncio.create_task(fleet.run(stop))
            await asyncio.sleep(5)
            assert yard.faults == [("aaaa", "JournalLockedError", None)]
            assert yard.resting() == [("ETH/USDT", "buy")]
            stop.set()
            await running

    in_yard(scenario)


def test_a_full_disk_stops_one_and_a_new_start_finds_everything_again(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        fleet = yard.fleet(*TWO)
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(5)
        broken, other = fleet.engines["aaaa"], fleet.engines["bbbb"]
        told_before = yard.strategies["aaaa"].told
        execute = yard.journals["aaaa"]._execute
        pages = execute("PRAGMA page_count").fetchone()[0]
        execute(f"PRAGMA max_page_count = {pages + 2}")
        # Somebody sells through the best bid into our order, in more parts than there is room for.
        seller = yard.exchange.open_account("seller", {"BTC": "2", "USDT": "0"})
        for quantity in ("1", *["0.001"] * 80):
            yard.sell(seller, "63000", quantity)
            await asyncio.sleep(0.001)
        yard.bid(seller, "62990", "1")
        await asyncio.sleep(20)
        assert [fault[:2] for fault in yard.faults] == [("aaaa", "JournalError")]
        healed = fleet.engines["aaaa"]
        assert healed is not broken
        assert healed.life is LifeState.RUNNING
        assert fleet.engines["bbbb"] is other
        assert yard.resting() == [("BTC/USDT", "buy"), ("ETH/USDT", "buy")]
        # What the full journal took was told before, the rest after the start; all of it once.
        told_after = yard.strategies["aaaa"].told
        assert told_before
        assert told_after
        bought = D(text(yard.us.holding("BTC").total)) - 5
        assert healed.ledger.profits["BTC/USDT"].position == bought > 0
        assert len({fill.trade_id for fill in told_after}) == len(told_after)
        stop.set()
        ended = await running
        assert [end.error for end in ended.values()] == [None, None]

    in_yard(scenario)


@pytest.mark.parametrize("seconds", [0.25, 1.2])
def test_a_stop_is_obeyed_while_it_starts_and_while_it_waits(in_yard, seconds: float) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [away(), away()]
        fleet = yard.fleet(TWO[0], restarts=Restarts(first_wait_s=1000, longest_wait_s=1000))
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(seconds)
        stop.set()
        async with asyncio.timeout(1):
            ended = (await running)["aaaa"]
        assert ended.report.is_complete
        assert (ended.error is None) is (seconds < 0.5)

    in_yard(scenario)


def test_what_rests_is_kept_and_guarded_between_two_starts(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        fleet = yard.fleet(TWO[0])
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop, "keep"))
        await asyncio.sleep(5)
        stop.set()
        await running
        before = list(yard.us.open_orders)
        assert len(before) == 1
        ends: list[tuple[str, bool]] = []
        stop_engine = Engine.stop

        async def told(engine: Engine, on_exit: str, *, comes_back: bool) -> Any:
            ends.append((on_exit, comes_back))
            return await stop_engine(engine, on_exit, comes_back=comes_back)

        stop = asyncio.Event()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SimulatedVenue, "holdings", unreadable_for(130))
            patch.setattr(Engine, "stop", told)
            running = asyncio.create_task(yard.fleet(TWO[0]).run(stop, "cancel"))
            await asyncio.sleep(150)
            assert list(yard.us.open_orders) == before
            stop.set()
            await running
        assert ends == [("keep", True), ("keep", True), ("cancel", False)]
        assert yard.resting() == []

    in_yard(scenario)


def test_one_that_lived_long_begins_to_wait_from_the_start(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [away(), away()]
        fleet = yard.fleet(TWO[0], restarts=Restarts(most=2, window_s=60))
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(300)
        execute = yard.journals["aaaa"]._execute
        execute("PRAGMA max_page_count = 1")  # no more than there is
        seller = yard.exchange.open_account("seller", {"BTC": "2", "USDT": "0"})
        for quantity in ("1", *["0.001"] * 80):
            yard.sell(seller, "63000", quantity)
            await asyncio.sleep(0.001)
        yard.bid(seller, "62990", "1")
        await asyncio.sleep(30)
        assert yard.faults == [
            ("aaaa", "UnreachableError", 1),
            ("aaaa", "UnreachableError", 2),
            ("aaaa", "JournalError", 1),
        ]
        stop.set()
        await running

    in_yard(scenario)


def test_a_pause_outlasts_starts_that_fail(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        with Journal.open(yard.path / "aaaa.db", instance="aaaa") as journal:
            journal.note_life("paused", "lunch", 1)
        fleet = yard.fleet(TWO[0])
        stop = asyncio.Event()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SimulatedVenue, "holdings", unreadable_for(130))
            running = asyncio.create_task(fleet.run(stop))
            await asyncio.sleep(150)
            assert len(yard.faults) == 2
            engine = fleet.engines["aaaa"]
            assert (engine.life, engine.life_reason) == (LifeState.PAUSED, "lunch")
            assert yard.resting() == []
            stop.set()
            await running

    in_yard(scenario)


def test_each_takes_its_own_commands_over_all_its_lives(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [away()]
        folders = {name: yard.path / name / "control" for name in ("aaaa", "bbbb")}
        fleet = yard.fleet(*TWO, control=folders, restarts=Restarts(first_wait_s=10))
        running = asyncio.create_task(fleet.run(asyncio.Event(), "cancel"))

        async def tell(name: str, verb: str, on_exit: str | None = None) -> Any:
            command = Command(verb, "a test", on_exit)
            return await send(folders[name], command, is_running=lambda: True)

        await asyncio.sleep(5)
        assert (await tell("aaaa", "pause")).refused == "it is not up now; it can only be stopped"
        await asyncio.sleep(10)
        assert (await tell("aaaa", "pause")).life == "paused"
        assert fleet.engines["bbbb"].life is LifeState.RUNNING
        answer = await tell("bbbb", "stop", "keep")
        assert (answer.life, answer.left, len(answer.kept)) == ("stopped", (), 1)
        assert list(fleet.ended) == ["bbbb"]
        assert (await tell("aaaa", "resume")).life == "running"
        await tell("aaaa", "drain")
        ended: dict[str, Ended] = await running
        assert ended["aaaa"].why == "it has drained"
        assert yard.resting() == [("ETH/USDT", "buy")]

    in_yard(scenario)


def test_a_report_that_fails_and_a_folder_that_cannot_be_made_harm_no_other(in_yard) -> None:
    async def scenario(yard: Yard) -> None:
        yard.failures = [away()]
        (yard.path / "file").touch()
        folders = {"aaaa": yard.path / "file" / "control", "bbbb": yard.path / "bbbb"}
        launches = {launch[0]: yard.launch(*launch) for launch in TWO}

        def tell(*_: object) -> None:
            raise RuntimeError("the pipe is closed")

        fleet = Fleet(launches, clock=yard.clock, control=folders, tell=tell)
        stop = asyncio.Event()
        running = asyncio.create_task(fleet.run(stop))
        await asyncio.sleep(10)
        assert isinstance(fleet.ended["aaaa"].error, NotADirectoryError)
        assert yard.resting() == [("ETH/USDT", "buy")]
        assert len(fleet.faults["bbbb"]) == 1
        stop.set()
        await running

    in_yard(scenario)


@pytest.mark.parametrize("wrong", [{"most": -1}, {"window_s": 0}, {"first_wait_s": -1}])
def test_impossible_budgets_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Restarts(**wrong)
