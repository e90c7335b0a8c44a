"""The engine: what is desired becomes so, whatever the venue does in between."""

import asyncio
import itertools
from dataclasses import replace
from decimal import Decimal

import pytest
from trading.conftest import LIMITS, Wanting

from nkfast.errors import (
    AuthenticationError,
    ConfigError,
    DuplicateClientIdError,
    JournalError,
    OrderError,
    RateLimitError,
)
from nkfast.trading.orders import IdSource, OrderState
from nkfast.trading.reasons import newest_reasons, reason_totals
from nkfast.trading.strategy import Desired, Skip
from nkfast.venue.port import VenueStatus

BUY = ("buy", "99.00", "1")
SELL = ("sell", "101.00", "1")


# On the real loop: the ordinary life ---------------------------------------------------------


async def test_desired_orders_rest_and_are_cancelled_at_the_end(desk) -> None:
    desk.strategy.want(low=BUY, high=SELL)
    async with desk.trading() as engine:
        await desk.until(lambda: len(desk.venue.open_own()) == 2)
        await desk.until(lambda: all(o.state is OrderState.LIVE for o in engine.orders))
        assert {o.slot for o in engine.orders.open_orders} == {"low", "high"}
        summary = engine.summary()
        assert summary.orders == summary.open_orders == 2
        # The first orders of a start answer nothing that the market said.
        assert summary.tick_to_order_us == {"p50": None, "p99": None}
        desk.strategy.want(low=BUY, high=SELL, higher=("sell", "102.00", "1"))
        desk.venue.tell_book()
        measured = engine.summary().tick_to_order_us
        assert 0 < measured["p50"] <= measured["p99"] < 1e6
    assert desk.venue.open_own() == []
    assert len(desk.venue.wire) == 3
    assert engine.summary().open_orders == 0


async def test_orders_are_kept_when_asked(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading(on_exit="keep"):
        await desk.until(desk.venue.open_own)
    assert len(desk.venue.open_own()) == 1
    assert desk.venue.cancelled_on_wire == []


async def test_a_changed_wish_is_cancel_then_place(desk) -> None:
    desk.strategy.want(low=BUY, high=SELL)
    async with desk.trading() as engine:
        await desk.until(lambda: len(desk.venue.open_own()) == 2)
        desk.strategy.want(low=("buy", "98.00", "1"), high=SELL)
        desk.venue.set_book("100.01", "100.10")
        await desk.until(lambda: len(desk.venue.wire) == 3)
        await desk.until(lambda: engine.orders.at_slot("low").state is OrderState.LIVE)
        assert len(desk.venue.cancelled_on_wire) == 1
        assert {t.order.price for t in desk.venue.open_own()} == {Decimal(98), Decimal(101)}


async def test_nothing_is_done_when_nothing_changed(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading() as engine:
        await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
        decisions = desk.strategy.decisions
        for _ in range(100):
            desk.venue.tell_book()
        assert desk.strategy.decisions == decisions + 100
        assert len(desk.venue.wire) == 1


async def test_a_fill_is_told_once_and_counted(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading() as engine:
        await desk.until(desk.venue.open_own)
        desk.strategy.want()
        execution = desk.venue.fill(desk.venue.at_price("buy", "99"))
        desk.venue.listener.on_order(
            next(iter(desk.venue.truth.values())).told(execution)
        )  # told twice, as on two sockets
        assert [fill.trade_id for fill in desk.strategy.told] == ["t1"]
        summary = engine.summary()
        assert summary.fills == 1
        assert summary.fees == {"USDT": Decimal("0.198")}
        assert summary.position == 1
        assert summary.equity_change == Decimal("100.05") - Decimal("99.198")
        assert engine.recent_fills[-1].slot == "low"
        assert engine.ledger.total("BTC") == 101


async def test_a_partial_fill_that_is_wanted_for_its_rest_needs_no_change(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading() as engine:
        await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
        desk.strategy.want(low=("buy", "99.00", "0.6"))
        desk.venue.fill(desk.venue.at_price("buy", "99"), "0.4")
        for _ in range(5):
            await asyncio.sleep(0)
            desk.venue.tell_book()
        assert len(desk.venue.wire) == 1
        assert desk.venue.cancelled_on_wire == []
        live = desk.strategy.views[-1].orders["low"]
        assert (live.remaining, live.is_uncertain) == (Decimal("0.6"), False)


async def test_a_burst_of_news_is_one_decision(desk) -> None:
    desk.strategy.want(low=BUY, high=SELL)
    async with desk.trading() as engine:
        await desk.until(lambda: len(desk.venue.open_own()) == 2)
        await desk.until(lambda: all(o.state is OrderState.LIVE for o in engine.orders))
        await asyncio.sleep(0)
        decisions = desk.strategy.decisions
        desk.venue.fill(desk.venue.at_price("buy", "99"), "0.1")
        desk.venue.fill(desk.venue.at_price("buy", "99"), "0.2")
        desk.venue.fill(desk.venue.at_price("sell", "101"), "0.3")
        assert desk.strategy.decisions == decisions
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.strategy.decisions == decisions + 1


async def test_view_shows_what_is_free(desk) -> None:
    desk.strategy.want(low=BUY, high=SELL)
    async with desk.trading() as engine:
        await desk.until(
            lambda: (
                all(o.state is OrderState.LIVE for o in engine.orders)
                and engine.orders.open_count == 2
            )
        )
        desk.venue.tell_book()
        view = desk.strategy.views[-1]
        assert view.available == {"BTC": Decimal(99), "USDT": Decimal(100000) - Decimal("99.198")}
        assert view.total == {"BTC": Decimal(100), "USDT": Decimal(100000)}
        assert view.mid == Decimal("100.05")


async def test_run_ends_with_stop(desk) -> None:
    async with desk.trading() as engine:
        stop = asyncio.Event()
        running = asyncio.create_task(engine.run(stop))
        await asyncio.sleep(0.01)
        assert not running.done()
        stop.set()
        await asyncio.wait_for(running, 5)
    assert len(asyncio.all_tasks()) == 1


async def test_skips_are_counted_once_a_decision_object(desk) -> None:
    desk.strategy.desired = Desired({}, [Skip("BELOW_MINIMUM", "level 3: 0.5 < 1")])
    async with desk.trading() as engine:
        for _ in range(10):
            desk.venue.tell_book()
        assert engine.reasons["BELOW_MINIMUM"] == 1
    assert reason_totals(desk.path) == [("BELOW_MINIMUM", 1, "level 3: 0.5 < 1")]


def test_reasons_are_stored_while_it_trades(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.desired = Desired({}, [Skip("BELOW_MINIMUM", "level 3: 0.5 < 1")])
        async with desk.trading(mode="monitor") as engine:
            desk.venue.tell_book()
            assert reason_totals(desk.path) == []
            await asyncio.sleep(5)
            now_ms = desk.clock.time_ns() // 1_000_000
            desk.venue.tell_book()
            (reason,) = newest_reasons(desk.path, 5)
            assert (reason.code, reason.detail) == ("BELOW_MINIMUM", "level 3: 0.5 < 1")
            assert now_ms - 5000 <= reason.time_ms <= now_ms
            assert engine.reasons["BELOW_MINIMUM"] == 1

    on_virtual_desk(scenario)


# Modes, gates, halts -------------------------------------------------------------------------


async def test_monitor_sends_nothing_and_says_what_it_would(desk) -> None:
    desk.strategy.want(low=BUY, high=SELL)
    async with desk.trading(mode="monitor") as engine:
        desk.venue.tell_book()
        desk.venue.tell_book()
        assert engine.reasons["MONITOR"] == 2
        assert engine.summary().orders == 0
    assert desk.venue.wire == []


async def test_an_unknown_mode_is_an_error(desk) -> None:
    with pytest.raises(ConfigError, match="mode 'lvie'"):
        async with desk.trading(mode="lvie"):
            pass  # pragma: no cover


async def test_nothing_is_decided_on_a_stale_book(desk) -> None:
    async with desk.trading() as engine:
        await asyncio.sleep(0)
        desk.venue.book("BTC/USDT").mark_stale()
        decisions = desk.strategy.decisions
        desk.strategy.want(low=BUY)
        desk.venue.tell_book()
        desk.venue.tell_book()
        assert desk.strategy.decisions == decisions
        assert not engine.may_decide
        assert engine.reasons["BOOK_NOT_LIVE"] == 1  # for both frames: it is one reason
        desk.venue.set_book("100.00", "100.10")
        assert len(desk.venue.wire) == 1
        desk.venue.book("BTC/USDT").mark_stale()
        desk.venue.tell_book()
        assert engine.reasons["BOOK_NOT_LIVE"] == 2
        desk.venue.listener.on_connection(True, "a test")
        desk.venue.set_book("100.00", "100.10")
        assert engine.reasons["RECONCILING"] == 1


async def test_orders_that_answer_a_price_are_cancelled_when_nobody_sees_it(desk) -> None:
    desk.strategy.want(low=BUY)
    desk.strategy.cancels_when_blind = True
    async with desk.trading():
        await desk.until(desk.venue.open_own)
        desk.venue.book("BTC/USDT").mark_stale()
        desk.venue.tell_book()
        await desk.until(lambda: not desk.venue.open_own())
        desk.venue.set_book("100.00", "100.10")
        await desk.until(desk.venue.open_own)


async def test_orders_of_a_book_that_is_not_live_rest_on_unless_asked(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading() as engine:
        await desk.until(desk.venue.open_own)
        desk.venue.book("BTC/USDT").mark_stale()
        desk.venue.tell_book()
        await asyncio.sleep(0)
        assert not engine.may_decide
        assert desk.venue.open_own()


async def test_a_strategy_that_raises_halts_with_its_error(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading() as engine:
        await desk.until(desk.venue.open_own)
        desk.strategy.raises = ZeroDivisionError("no mid")
        desk.venue.tell_book()
        assert engine.halted == "ZeroDivisionError: no mid"
        with pytest.raises(ZeroDivisionError):
            await engine.run(asyncio.Event())
        desk.strategy.raises = None
        desk.strategy.want(high=SELL)
        desk.venue.tell_book()
        assert len(desk.venue.wire) == 1
    assert desk.venue.open_own() == []


async def test_a_fill_that_the_strategy_could_not_take_is_told_after_the_restart(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading() as engine:
        await desk.until(desk.venue.open_own)
        desk.strategy.raises_on_fill = KeyError("level")
        desk.venue.fill(desk.venue.at_price("buy", "99"), "0.4")
        assert engine.halted == "KeyError: 'level'"
        desk.venue.fill(desk.venue.at_price("buy", "99"), "0.1")
        assert desk.strategy.offered == 1  # its state is in doubt: it is told no more
        assert engine.summary().fills == 0
    assert desk.venue.open_own() == []
    desk.strategy.raises_on_fill = None
    desk.strategy.want()
    desk.clear_halt("STRATEGY_ERROR")
    async with desk.trading() as engine:
        await desk.until(lambda: desk.strategy.told)
        assert [fill.quantity for fill in desk.strategy.told] == [Decimal("0.4"), Decimal("0.1")]
        assert engine.orders.open_count == 0


async def test_a_store_error_halts_and_orders_are_still_cancelled(desk) -> None:
    desk.strategy.want(low=BUY)
    with pytest.raises(JournalError):
        async with desk.trading(verifies=False, exit_timeout_s=0.2) as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            engine._journal._failed_by = "disk full"
            desk.strategy.want(low=BUY, high=SELL)
            desk.venue.tell_book()
            assert "failed before (disk full)" in engine.halted
            assert len(desk.venue.wire) == 1
            await engine.run(asyncio.Event())
    assert desk.venue.open_own() == []


async def test_a_limit_refuses_before_anything_is_written(desk) -> None:
    desk.strategy.want(low=BUY, high=SELL)
    limits = replace(LIMITS, max_open_orders=1)
    async with desk.trading(limits=limits) as engine:
        await desk.until(desk.venue.open_own)
        for _ in range(20):
            desk.venue.tell_book()
        assert len(desk.venue.wire) == 1
        assert engine.summary().orders == 1
        # Once at the start, once when the first order's acceptance changed something.
        assert 1 <= engine.reasons["MAX_OPEN_ORDERS"] <= 3


async def test_the_journal_of_another_strategy_is_refused(desk) -> None:
    desk.strategy.want(low=BUY)
    async with desk.trading():
        await desk.until(desk.venue.open_own)
    desk.strategy.name = "other"
    with pytest.raises(ConfigError, match="belongs to strategy 'wanting'"):
        async with desk.trading():
            pass  # pragma: no cover


# Rejections ----------------------------------------------------------------------------------


def test_a_rejected_order_is_tried_again_after_a_pause_that_doubles(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.extend(["reject"] * 3)
        async with desk.trading() as engine:
            sent_at = []
            loop = asyncio.get_running_loop()
            for count in range(1, 5):
                await desk.until(lambda count=count: len(desk.venue.wire) >= count, 60)
                sent_at.append(loop.time())
                for _ in range(3):
                    desk.venue.tell_book()
            pauses = [b - a for a, b in itertools.pairwise(sent_at)]
            assert pauses == pytest.approx([1, 2, 4], abs=0.05)
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            assert engine.summary().rejects == 3
            assert engine.reasons["REJECTED_20001"] == 3
            # An accepted order ends the doubling.
            desk.venue.submits.append("reject")
            desk.strategy.want(low=("buy", "98.00", "1"))
            desk.venue.tell_book()
            await desk.until(lambda: engine.summary().rejects == 4)
            rejected_at = loop.time()
            await desk.until(lambda: len(desk.venue.wire) == 6)
            assert loop.time() - rejected_at == pytest.approx(1, abs=0.05)

    on_virtual_desk(scenario)


def test_an_order_that_was_not_sent_is_tried_again_with_a_new_id(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("unreachable")
        async with desk.trading() as engine:
            await desk.until(desk.venue.open_own)
            assert len(set(desk.venue.wire)) == 2
            assert engine.summary().unknown_orders == 0

    on_virtual_desk(scenario)


def test_throttling_is_a_rejection_and_makes_everything_wait(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("error:limit")
        desk.venue.errors["limit"] = RateLimitError("slow down", retry_after_seconds=7.0)
        async with desk.trading() as engine:
            await desk.until(lambda: engine.reasons["REJECTED_429"] == 1)
            desk.strategy.want(low=BUY, high=SELL)
            for _ in range(13):
                await asyncio.sleep(0.5)
                desk.venue.tell_book()
                assert len(desk.venue.wire) == 1
            await desk.until(lambda: len(desk.venue.open_own()) == 2)

    on_virtual_desk(scenario)


def test_two_refusals_of_the_key_halt(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.extend(["error:key"] * 3)
        desk.venue.errors["key"] = AuthenticationError("bad key", code=1001)
        async with desk.trading() as engine:
            with pytest.raises(AuthenticationError):
                await asyncio.wait_for(engine.run(asyncio.Event()), 60)
            assert len(desk.venue.wire) == 2

    on_virtual_desk(scenario)


# Lost answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["lose", "silent"])
def test_d02_a_lost_answer_is_looked_up_and_the_order_adopted(on_virtual_desk, fate) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append(fate)
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1, 15)
            await desk.until(lambda: engine.orders.at_slot("low").state is OrderState.LIVE, 15)
            assert len(desk.venue.wire) == 1
            assert engine.reasons["OUTCOME_UNKNOWN"] == 1

    on_virtual_desk(scenario)


def test_a_create_that_never_arrived_is_abandoned_only_after_the_horizon(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("drop")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            first = engine.orders.at_slot("low")
            assert engine.ledger.reserved("USDT") == Decimal("99.198")
            await asyncio.sleep(119)
            assert first.state is OrderState.UNKNOWN
            assert len(desk.venue.wire) == 1
            await desk.until(lambda: first.state is OrderState.ABANDONED, 15)
            # Two rounds, both begun after 120 s, at least 5 s apart.
            assert desk.clock.boot_ns() - first.sent_ns >= 125e9
            await desk.until(desk.venue.open_own)
            assert len(set(desk.venue.wire)) == 2
            assert engine.reasons["ABANDONED"] == 1

    on_virtual_desk(scenario)


@pytest.mark.parametrize("late_s", [3.0, 60.0, 119.0])
def test_a_late_acceptance_within_the_horizon_is_the_same_order(on_virtual_desk, late_s) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("late")
        desk.venue.late_s = late_s
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().open_orders == 1)
            order = engine.orders.at_slot("low")
            await desk.until(lambda: order.state is OrderState.LIVE, late_s + 10)
            assert len(desk.venue.wire) == 1

    on_virtual_desk(scenario)


def test_a_zombie_is_cancelled_at_once_and_its_fill_is_counted(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("late")
        desk.venue.late_s = 200.0  # beyond the horizon
        async with desk.trading() as engine:
            await desk.until(lambda: len(desk.venue.wire) == 2, 150)
            zombie_id = desk.venue.wire[0]
            await desk.until(lambda: zombie_id in desk.venue.truth, 100)
            zombie = desk.venue.truth[zombie_id]
            desk.venue.fill(zombie, "0.3", told=False)
            await desk.until(lambda: zombie.status is VenueStatus.CANCELLED, 60)
            await desk.until(lambda: desk.strategy.told, 60)
            assert engine.reasons["ZOMBIE"] == 1
            assert engine.orders.at_slot("low").client_id == desk.venue.wire[1]
            assert engine.ledger.profit.position == Decimal("0.3")
            assert engine.halted is None

    on_virtual_desk(scenario)


def test_a_zombie_that_filled_at_once_is_found_by_its_trade(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("late")
        desk.venue.late_s = 200.0
        async with desk.trading() as engine:
            await desk.until(lambda: len(desk.venue.truth) == 2, 250)
            desk.venue.fill(desk.venue.truth[desk.venue.wire[0]], told=False)
            await desk.until(lambda: desk.strategy.told, 40)
            assert engine.ledger.profit.position == 1
            assert engine.ledger.total("BTC") == 101
            assert engine.halted is None

    on_virtual_desk(scenario)


def test_balances_read_before_a_fill_do_not_undo_it(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.strategy.want()
            read, reads = desk.venue.holdings, []

            async def slow_read():
                reads.append(1)
                before = await read()
                if len(reads) == 1:
                    desk.venue.fill(desk.venue.at_price("buy", "99"))
                return before

            desk.venue.holdings = slow_read
            await desk.until(lambda: len(reads) == 2, 40)
            await asyncio.sleep(0.01)
            assert engine.ledger.total("BTC") == 101

    on_virtual_desk(scenario)


def test_a_known_id_is_looked_up_not_used_again(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("error:duplicate")
        desk.venue.errors["duplicate"] = DuplicateClientIdError("duplicate", code=20008)
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            assert len(desk.venue.wire) == 1

    on_virtual_desk(scenario)


def test_the_answer_of_another_request_is_no_answer(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            true_accept = desk.venue._accept

            def swapped(order):
                true_accept(order)
                other = order._replace(client_id="web-1", quantity=Decimal(7))
                return type(desk.venue.truth[order.client_id])(other, "v99")

            desk.venue._accept = swapped
            await desk.until(lambda: engine.reasons["ANSWER_MISMATCH"] == 1)
            await desk.until(lambda: engine.orders.at_slot("low").state is OrderState.LIVE)
            assert engine.orders.at_slot("low").order_id == "v1"
            assert len(desk.venue.wire) == 1

    on_virtual_desk(scenario)


def test_reads_that_fail_prove_nothing(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("drop")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            desk.venue.reads.extend(["fail"] * 500)
            await asyncio.sleep(200)
            assert engine.summary().unknown_orders == 1
            assert engine.reasons["LOOKUP_FAILED"] > 10
            assert len(desk.venue.wire) == 1
            desk.venue.reads.clear()
            await desk.until(lambda: len(desk.venue.wire) == 2, 30)

    on_virtual_desk(scenario)


# Cancels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["lose", "silent", "drop", "unreachable", "late"])
def test_a_cancel_without_an_answer_is_looked_up(on_virtual_desk, fate) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.cancels.append(fate)
            desk.venue.late_s = 0.5
            desk.venue.tells_reports = False
            desk.strategy.want(low=("buy", "98.00", "1"))
            desk.venue.tell_book()
            await desk.until(lambda: len(desk.venue.wire) == 2, 30)
            assert [t.order.price for t in desk.venue.open_own()] == [Decimal(98)]
            desk.venue.tells_reports = True

    on_virtual_desk(scenario)


def test_d22_a_fill_during_the_cancel_is_counted_and_nothing_hangs(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.strategy.want()
            desk.venue.tell_book()  # the cancel is on its way ...
            desk.venue.fill(desk.venue.at_price("buy", "99"))  # ... and comes too late
            await desk.until(lambda: engine.orders.open_count == 0)
            assert len(desk.strategy.told) == 1
            assert engine.halted is None
            await asyncio.sleep(20)
            assert len(desk.venue.cancelled_on_wire) == 1

    on_virtual_desk(scenario)


def test_a_partly_filled_order_that_is_cancelled_waits_for_its_fills(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            order = engine.orders.at_slot("low")
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.4", told=False)
            desk.strategy.want(low=("buy", "98.00", "1"))
            desk.venue.tell_book()
            await desk.until(lambda: order.state is OrderState.CLOSING)
            assert len(desk.venue.wire) == 1
            await desk.until(lambda: order.state is OrderState.DONE)
            assert [fill.quantity for fill in desk.strategy.told] == [Decimal("0.4")]
            await desk.until(lambda: len(desk.venue.wire) == 2)

    on_virtual_desk(scenario)


# Comparing -----------------------------------------------------------------------------------


def test_T14_an_order_cancelled_by_hand_is_placed_again(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading():
            await desk.until(desk.venue.open_own)
            desk.venue.end(desk.venue.at_price("buy", "99"), told=False)
            await desk.until(lambda: len(desk.venue.wire) == 2, 40)

    on_virtual_desk(scenario)


def test_an_untold_fill_is_found_by_the_comparison(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.strategy.want()
            desk.venue.fill(desk.venue.at_price("buy", "99"), told=False)
            await desk.until(lambda: desk.strategy.told, 40)
            assert engine.ledger.total("BTC") == 101

    on_virtual_desk(scenario)


def test_d03_an_order_that_nobody_finds_any_more_is_over_after_two_rounds(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            true = desk.venue.at_price("buy", "99")
            desk.venue.finds_nothing.add(true.order.client_id)
            desk.venue.end(true, told=False)
            await desk.until(lambda: engine.reasons["VANISHED"] == 1, 60)
            await desk.until(lambda: len(desk.venue.wire) == 2)
            assert desk.strategy.told == []  # gone is not filled
            assert engine.ledger.profit.fills == 0

    on_virtual_desk(scenario)


class FeeWanting(Wanting):
    """Wants to hear of fees that are told late."""

    def __init__(self) -> None:
        super().__init__()
        self.fees: list[tuple[str, Decimal | None, Decimal | None]] = []

    def on_fee(self, fill, before) -> None:
        self.fees.append((fill.slot, before, fill.fee))

    def state(self) -> dict[str, object]:
        return {**super().state(), "fees": len(self.fees)}


def test_a_fee_that_is_known_late_is_told_once_and_durable(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy = FeeWanting()
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            order = desk.venue.at_price("buy", "99")
            desk.venue.fill(order, "1", fee=False)
            await desk.until(lambda: desk.strategy.told)
            assert desk.strategy.told[0].fee is None
            assert desk.strategy.fees == []
            await desk.until(lambda: desk.strategy.fees, 40)  # a comparison reads it
            await asyncio.sleep(60)
            assert desk.strategy.fees == [("low", None, Decimal("0.198"))]
            assert engine.ledger.profit.fees == {"USDT": Decimal("0.198")}
        desk.strategy = again = FeeWanting()
        async with desk.trading():
            await asyncio.sleep(60)
            assert again.restored == {"trades": ["t1"], "fees": 1}
            assert again.fees == []

    on_virtual_desk(scenario)


def test_T14_d46_foreign_orders_are_reported_and_left_alone(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        foreign = desk.venue.place_foreign("web-1", "sell", "120.00", "3")
        other = IdSource("nk02", 9).next()
        second = desk.venue.place_foreign(other, "sell", "121.00", "2")
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.fill(foreign, "1", told=False)
            await asyncio.sleep(60)
            assert engine.reasons["FOREIGN_ORDER"] >= 2
            assert desk.strategy.told == []
            assert engine.ledger.profit.fills == 0
            # 100 - 1 sold by hand, 2 + 2 still held by the foreign orders.
            assert engine.ledger.available("BTC") == 95
        assert foreign.is_open
        assert second.is_open

    on_virtual_desk(scenario)


def test_an_own_order_without_an_intent_halts_and_is_cancelled(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        orphan = desk.venue.place_foreign(desk.id_without_intent(), "buy", "90.00", "1")
        with pytest.raises(OrderError, match="no intent"):
            async with desk.trading():
                pass  # pragma: no cover
        await desk.until(lambda: not orphan.is_open)

    on_virtual_desk(scenario)


@pytest.mark.parametrize("boot", [0, 1, 77])
def test_T11_T12_an_order_of_a_start_that_was_not_counted_halts_and_is_left_alone(
    on_virtual_desk, boot
) -> None:
    async def scenario(desk) -> None:
        orphan = desk.venue.place_foreign(IdSource("nk01", boot).next(), "buy", "90.00", "1")
        with pytest.raises(OrderError, match="Another copy trades, or the journal was lost"):
            async with desk.trading():
                pass  # pragma: no cover
        assert orphan.is_open
        assert desk.venue.cancelled_on_wire == []

    on_virtual_desk(scenario)


def test_what_ended_before_the_journal_was_lost_is_counted(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        orphan = desk.venue.place_foreign(IdSource("nk01", 1).next(), "buy", "90.00", "1")
        desk.venue.fill(orphan, told=False)
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            assert engine.reasons["ORPHAN_ENDED"] == 1
            assert engine.reasons["TRADE_OF_UNKNOWN_ORDER"] == 0
            assert desk.strategy.told == []

    on_virtual_desk(scenario)


def test_a_fill_of_another_copy_halts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            taken = desk.venue.place_foreign(IdSource("nk01", 1).next(), "buy", "90.00", "1")
            desk.venue.fill(taken)
            await desk.until(lambda: engine.halted)
        assert desk.venue.cancelled_on_wire == []

    on_virtual_desk(scenario)


def test_after_a_reconnect_nothing_is_sent_before_the_comparison(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.disconnect()
            assert not engine.may_decide
            desk.venue.fill(desk.venue.at_price("buy", "99"), told=False)
            await asyncio.sleep(5)
            desk.venue.reads.append("fail")
            desk.venue.reconnect("100.00", "100.10")
            decisions = desk.strategy.decisions
            desk.venue.tell_book()
            assert desk.strategy.decisions == decisions
            await desk.until(lambda: engine.may_decide)
            assert len(desk.strategy.told) == 1
            assert engine.reasons["DISCONNECTED"] == 1
            await desk.until(lambda: len(desk.venue.wire) == 2)

    on_virtual_desk(scenario)


def test_a_comparison_across_a_reconnect_opens_no_gate(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            desk.venue.disconnect()
            desk.venue.reconnect("100.00", "100.10")
            await asyncio.sleep(0.0015)  # the comparison reads ...
            desk.venue.disconnect()
            desk.venue.reconnect("100.00", "100.10")
            await asyncio.sleep(0.0025)  # ... and ends, and the second one reads
            assert not engine.may_decide
            await desk.until(lambda: engine.may_decide)

    on_virtual_desk(scenario)


@pytest.mark.parametrize("knows_its_boot", [True, False])
def test_P15_processes_that_live_shortly_still_end_a_doubt(on_virtual_desk, knows_its_boot) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("drop")
        loop = asyncio.get_running_loop()
        if not knows_its_boot:
            desk.clock = BootlessClock(desk.clock)
        began_s, states = loop.time(), []
        for _ in range(6):
            async with desk.trading(on_exit="keep", exit_timeout_s=0.1) as engine:
                await asyncio.sleep(30)
                states.append(min(engine.orders, key=lambda order: order.client_id).state)
        assert loop.time() - began_s >= 180
        # The horizon of 120 s, and the 10 s for which the request may have waited to be sent.
        expected = OrderState.ABANDONED if knows_its_boot else OrderState.UNKNOWN
        assert states[:4] == [OrderState.UNKNOWN] * 4
        assert states[5] is expected

    on_virtual_desk(scenario)


class BootlessClock:
    """A clock of a platform that gives its boots no name."""

    boot_id = ""

    def __init__(self, clock) -> None:
        self.time_ns, self.monotonic_ns, self.boot_ns = (
            clock.time_ns,
            clock.monotonic_ns,
            clock.boot_ns,
        )


def test_proof_of_absence_takes_a_third_round_when_the_connection_broke(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("drop")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            first = engine.orders.at_slot("low")
            await asyncio.sleep(124)  # one round is complete
            desk.venue.disconnect()
            desk.venue.reconnect("100.00", "100.10")
            await desk.until(lambda: first.state is OrderState.ABANDONED, 15)
            assert desk.clock.boot_ns() - first.sent_ns >= 130e9

    on_virtual_desk(scenario)


def test_a_trade_that_may_be_its_own_forbids_to_give_an_order_up(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("lose")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            true = desk.venue.at_price("buy", "99")
            desk.venue.fill(true, "0.3", told=False)
            desk.venue.end(true, told=False)
            desk.venue.finds_nothing.add(true.order.client_id)
            await asyncio.sleep(300)
            assert engine.orders.at_slot("low").state is OrderState.UNKNOWN
            assert engine.reasons["TRADE_OF_UNKNOWN_ORDER"] > 0
            assert len(desk.venue.wire) == 1
            desk.venue.finds_nothing.clear()
            await desk.until(lambda: desk.strategy.told)

    on_virtual_desk(scenario)


# Restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["live", "monitor"])
def test_d44_what_a_strategy_decided_without_an_order_is_kept(on_virtual_desk, mode: str) -> None:
    async def scenario(desk) -> None:
        remembered = {"first_mid": ""}
        desk.strategy.state = lambda: remembered
        async with desk.trading(mode):
            remembered = {"first_mid": "100.05"}
            desk.venue.tell_book()
        second = desk.strategy = type(desk.strategy)()
        async with desk.trading(mode):
            assert second.restored == ({"first_mid": "100.05"} if mode == "live" else None)

    on_virtual_desk(scenario)


def test_T13_a_restart_adopts_its_orders_and_tells_missed_fills_once(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY, high=SELL)
        async with desk.trading(on_exit="keep") as engine:
            await desk.until(lambda: engine.summary().open_orders == 2)
            await desk.until(lambda: all(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.25")
        desk.venue.fill(desk.venue.at_price("buy", "99"), "0.50", told=False)
        desk.venue.end(desk.venue.at_price("sell", "101"), told=False)
        await asyncio.sleep(3600)
        second = type(desk.strategy)()
        second.want(low=("buy", "99.00", "0.25"))
        desk.strategy = second
        async with desk.trading() as engine:
            assert second.restored == {"trades": ["t1"]}
            assert [fill.trade_id for fill in second.told] == ["t2"]
            assert engine.orders.open_count == 1
            assert engine.ledger.profit.position == Decimal("0.75")
            await asyncio.sleep(60)
            assert len(desk.venue.wire) == 2

    on_virtual_desk(scenario)
