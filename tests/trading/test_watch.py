"""Time that passed without us, and books that drifted: both are noticed before anything is done."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.core.market import Market
from nkfast.trading.orders import OrderState
from nkfast.trading.watch import TimeWatch
from nkfast.venue.clock import run_virtual
from nkfast.venue.port import BookLevels

BUY = ("buy", "99.00", "1")


def levels(bid: str, ask: str, quantity: str = "100") -> BookLevels:
    lots = Decimal(quantity)
    return BookLevels([(Decimal(bid), lots)], [(Decimal(ask), lots)])


# Time ----------------------------------------------------------------------------------------


def test_a_watch_tells_of_gaps_and_steps_once() -> None:
    async def main(clock) -> None:
        gaps: list[float] = []
        steps: list[float] = []
        loop = asyncio.get_running_loop()
        watch = TimeWatch(clock, loop, stall_max_s=5, on_gap=gaps.append, on_step=steps.append)
        watch.start()
        await asyncio.sleep(10)
        assert not watch.look()
        clock.sleep_machine(4.9)
        assert not watch.look()
        await asyncio.sleep(2)
        assert gaps == []
        clock.sleep_machine(3600)
        assert watch.look()
        assert not watch.look()
        await asyncio.sleep(10)
        assert gaps == [pytest.approx(3600, abs=1.1)]
        assert steps == []  # a sleep moves both clocks
        unix_ns = clock.time_ns
        clock.time_ns = lambda: unix_ns() + 7 * 10**9
        await asyncio.sleep(5)
        assert steps == [pytest.approx(7)]
        watch.stop()
        clock.sleep_machine(3600)
        await asyncio.sleep(10)
        assert len(gaps) == 1

    run_virtual(main, 10**18)


def test_after_a_sleep_nothing_is_sent_before_the_comparison(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.fill(desk.venue.at_price("buy", "99"), told=False)
            desk.clock.sleep_machine(3600)
            decisions = desk.strategy.decisions
            desk.strategy.want(low=BUY, next=("buy", "98.00", "1"))
            desk.venue.set_book("100.01", "100.10")  # the first frame after it, an old one
            assert desk.strategy.decisions == decisions
            assert not engine.may_decide
            assert len(desk.venue.wire) == 1
            assert desk.venue.resyncs == ["nothing ran for 3600.0 s"]
            assert engine.reasons["TIME_LOST"] == 1
            await desk.until(lambda: engine.may_decide)
            assert len(desk.strategy.told) == 1  # found by the comparison
            await desk.until(lambda: len(desk.venue.wire) == 3)

    on_virtual_desk(scenario)


def test_a_sleep_is_noticed_without_any_frame(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            desk.clock.sleep_machine(60)
            await asyncio.sleep(1.5)
            assert [text[:17] for text in desk.venue.resyncs] == ["nothing ran for 6"]
            assert engine.reasons["TIME_LOST"] == 1

    on_virtual_desk(scenario)


STOPPED = """
import asyncio, sys
from nkfast.trading.watch import TimeWatch
from nkfast.venue.clock import RealClock

async def main():
    ended = asyncio.Event()
    def on_gap(seconds):
        print("gap", flush=True)
        ended.set()
    watch = TimeWatch(
        RealClock(), asyncio.get_running_loop(), stall_max_s=0.2, on_gap=on_gap, on_step=print
    )
    watch.start()
    print("started", flush=True)
    await asyncio.wait_for(ended.wait(), 30)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
def test_a_process_that_was_stopped_notices(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", STOPPED],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        os.kill(process.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        os.waitpid(process.pid, os.WUNTRACED)
        while time.monotonic() - stopped < 1.5:  # it has to be longer than the watch puts up with
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "gap\n"
    finally:
        process.kill()
        process.communicate()


# Audit ---------------------------------------------------------------------------------------


def test_a_book_that_is_as_shown_is_well(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(audit_interval_s=60) as engine:
            assert engine.summary().book_mismatch is None
            desk.venue.shown_beside = levels("100.00", "100.10")
            await asyncio.sleep(61)
            assert engine.summary().book_mismatch == 0
            assert engine.may_decide

    on_virtual_desk(scenario)


def test_a_book_that_drifted_stops_trading_until_it_is_well_again(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(audit_interval_s=60) as engine:
            desk.venue.shown_beside = levels("98.00", "98.10")
            await asyncio.sleep(61)
            assert engine.may_decide  # once is not enough
            assert engine.summary().book_mismatch == 1
            await asyncio.sleep(5)
            assert engine.reasons["BOOK_DRIFT"] == 1
            assert not engine.may_decide
            assert desk.venue.resyncs == ["the book of BTC/USDT has drifted"]
            desk.strategy.want(low=("buy", "97.00", "1"))
            await asyncio.sleep(20)
            assert desk.venue.wire == []
            desk.venue.set_book("98.00", "98.10")
            await desk.until(lambda: engine.may_decide, 30)
            await desk.until(lambda: len(desk.venue.wire) == 1)

    on_virtual_desk(scenario)


def test_a_book_that_moves_while_it_is_read_has_not_drifted(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(audit_interval_s=60) as engine:
            read, reads = desk.venue.read_book, []

            async def read_while_it_moves(symbol: str, depth: int) -> BookLevels:
                await read(symbol, depth)
                reads.append(symbol)
                desk.venue.set_book("99.00", "99.10")
                return levels("99.00", "99.10")

            desk.venue.read_book = read_while_it_moves
            await asyncio.sleep(70)
            # Shown as it was afterwards; what was there before has gone for good reason.
            assert engine.summary().book_mismatch == 0
            assert len(reads) == 1  # at the first look

    on_virtual_desk(scenario)


def test_a_level_that_the_venue_does_not_have_counts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(audit_interval_s=60) as engine:
            shown = levels("99.00", "100.10")
            desk.venue.shown_beside = shown
            await asyncio.sleep(61)
            # The bid at 99 is not in our book, the bid at 100 not in theirs, the ask is alike.
            assert engine.summary().book_mismatch == pytest.approx(2 / 3)

    on_virtual_desk(scenario)


def test_an_audit_that_cannot_read_changes_nothing(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        seldom = {"reconcile_interval_s": 100_000, "rules_interval_s": 100_000}
        async with desk.trading(audit_interval_s=60, **seldom) as engine:
            desk.venue.reads.append("fail")
            await asyncio.sleep(61)
            assert engine.reasons["AUDIT_FAILED"] == 1
            assert engine.may_decide

    on_virtual_desk(scenario)


def test_M01_a_crossed_book_is_not_traded_on_and_asked_for_anew(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.show = ("100.20", "100.10")
        async with desk.trading() as engine:
            await asyncio.sleep(0.5)
            assert engine.reasons["BOOK_CROSSED"] >= 1
            assert desk.venue.resyncs == []
            await asyncio.sleep(2)
            assert desk.venue.resyncs == ["the book of BTC/USDT has drifted"]
            assert desk.venue.wire == []
            desk.venue.set_book("100.00", "100.10")
            desk.venue.shown_beside = levels("100.00", "100.10")
            await desk.until(lambda: len(desk.venue.wire) == 1, 40)

    on_virtual_desk(scenario)


def test_a_book_that_the_venue_shows_crossed_stops_nothing_but_orders_there(
    on_virtual_desk,
) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.show = ("100.20", "100.10")
        desk.venue.shown_beside = levels("100.20", "100.10")
        async with desk.trading() as engine:
            await asyncio.sleep(4)
            assert not engine.may_decide  # until the venue was asked
            await desk.until(lambda: engine.may_decide, 40)
            refused = engine.reasons["BOOK_CROSSED"]
            await asyncio.sleep(120)
            assert engine.may_decide
            assert engine.reasons["BOOK_CROSSED"] > refused
            assert desk.venue.wire == []
            assert len(desk.venue.resyncs) == 1
            # Another time is another question.
            desk.venue.set_book("100.00", "100.10")
            await asyncio.sleep(3)
            desk.venue.set_book("100.20", "100.10")
            desk.venue.shown_beside = levels("90.20", "90.30")
            await asyncio.sleep(4)
            assert not engine.may_decide

    on_virtual_desk(scenario)


def test_a_book_crossed_for_a_moment_is_waited_for(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading():
            for _ in range(10):
                await asyncio.sleep(0.9)
                desk.venue.set_book("100.20", "100.10")
                await asyncio.sleep(0.2)
                desk.venue.set_book("100.00", "100.10")
            assert desk.venue.resyncs == []

    on_virtual_desk(scenario)


# Rules ---------------------------------------------------------------------------------------


def rules(**changes: object) -> Market:
    given = {"min_notional": "1", "maker_fee": "0.002", "taker_fee": "0.002", **changes}
    return Market("BTC/USDT", 2, 4, **given)


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (rules(is_paused=True), "MARKET_PAUSED"),
        (rules(pause_buys=True), "MARKET_PAUSED"),
        (rules(min_notional="1000"), "BELOW_MINIMUM"),
        (None, "MARKET_PAUSED"),
    ],
    ids=["paused", "buys paused", "larger minimum", "delisted"],
)
def test_M05_M06_M08_a_change_of_the_rules_is_obeyed_and_taken_back(
    on_virtual_desk, now, code
) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            await asyncio.sleep(61)
            assert engine.reasons["RULES_CHANGED"] == 0
            desk.venue.rules = now
            await asyncio.sleep(61)
            assert engine.reasons["RULES_CHANGED"] == 1
            desk.strategy.want(low=BUY, next=("buy", "98.00", "1"))
            desk.venue.tell_book()
            await asyncio.sleep(30)
            assert engine.reasons[code] >= 1
            assert len(desk.venue.wire) == 1
            desk.strategy.want()
            desk.venue.tell_book()
            await desk.until(lambda: not desk.venue.open_own())  # cancels go on
            desk.strategy.want(next=("buy", "98.00", "1"))
            desk.venue.rules = rules()
            await desk.until(lambda: len(desk.venue.wire) == 2, 70)

    on_virtual_desk(scenario)


def test_M08_a_refusal_makes_it_look_at_the_rules(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(reconcile_interval_s=100_000, rules_interval_s=1_000) as engine:
            await asyncio.sleep(5)
            desk.venue.rules = rules(is_paused=True)
            desk.venue.submits.append("reject")
            desk.strategy.want(low=BUY)
            desk.venue.tell_book()
            await asyncio.sleep(2)
            assert engine.reasons["RULES_CHANGED"] == 1
            await asyncio.sleep(30)
            assert len(desk.venue.wire) == 1  # nothing is sent only to be refused

    on_virtual_desk(scenario)


def test_while_a_market_is_paused_it_looks_more_often(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(reconcile_interval_s=100_000, rules_interval_s=100) as engine:
            desk.venue.rules = rules(pause_sells=True)
            await asyncio.sleep(105)
            assert engine.reasons["RULES_CHANGED"] == 1
            desk.venue.rules = rules()
            await asyncio.sleep(12)
            assert engine.reasons["RULES_CHANGED"] == 2
            desk.venue.rules = rules(is_paused=True)
            await asyncio.sleep(80)
            assert engine.reasons["RULES_CHANGED"] == 2

    on_virtual_desk(scenario)


def test_another_size_of_ticks_halts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            desk.venue.rules = Market("BTC/USDT", 3, 4)
            await asyncio.sleep(61)
            assert engine.life_reason.startswith("MARKET_CHANGED: ")

    on_virtual_desk(scenario)


def test_rules_that_cannot_be_read_stay_as_they_are(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(reconcile_interval_s=100_000) as engine:
            desk.venue.reads.append("fail")
            await asyncio.sleep(61)
            assert engine.reasons["RULES_FAILED"] == 1
            assert engine.may_decide

    on_virtual_desk(scenario)
