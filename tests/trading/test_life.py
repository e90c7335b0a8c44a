"""The life of an engine: pause, drain, halt, stop; what is left is said."""

import asyncio
from itertools import product

import pytest

from nkfast.errors import (
    AuthenticationError,
    HaltedError,
    JournalError,
    LifeError,
    OrderError,
    RejectedError,
    RiskError,
)
from nkfast.trading.journal import Journal
from nkfast.trading.life import ErrorBudget, Lifecycle, LifeState, clear_halt, halt_cause
from nkfast.trading.orders import IdSource, OrderState
from nkfast.trading.reasons import reason_totals
from nkfast.trading.risk import RiskLimits

BUY = ("buy", "99.00", "1")
SELL = ("sell", "101.00", "1")
S = LifeState

#: From each state, where it may go: the picture in the module, written down once more.
ARROWS = {
    S.STARTING: "running paused draining halted stopping",
    S.RUNNING: "paused draining halted stopping",
    S.PAUSED: "running draining halted stopping",
    S.DRAINING: "running paused halted stopping",
    S.HALTED: "stopping",
    S.STOPPING: "stopped",
    S.STOPPED: "",
}


@pytest.mark.parametrize(("state", "wanted"), list(product(S, S)))
def test_only_the_arrows_are_taken(state: LifeState, wanted: LifeState) -> None:
    noted = []
    life = Lifecycle(lambda *note: noted.append(note))
    life.state = state
    if wanted in ARROWS[state].split():
        life.become(wanted, "why")
        assert (life.state, life.reason, noted) == (wanted, "why", [(wanted, "why")])
    else:
        with pytest.raises(LifeError, match=f"is {state} and cannot become {wanted}"):
            life.become(wanted, "why")
        assert (life.state, noted) == (state, [])


def test_a_state_that_could_not_be_noted_is_not_entered() -> None:
    def note(*_: object) -> None:
        raise JournalError("j.db", "full")

    life = Lifecycle(note)
    with pytest.raises(JournalError):
        life.become(S.RUNNING, "")
    assert life.state is S.STARTING


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (HaltedError("KILL_SWITCH", "by hand"), "KILL_SWITCH"),
        (RiskError("MAX_DAILY_LOSS", "12", "10"), "MAX_DAILY_LOSS"),
        (JournalError("j.db", "full"), "JOURNAL"),
        (OrderError("nk", "live", "this"), "UNRECONCILED"),
        (AuthenticationError("bad key"), "KEY_REFUSED"),
        (ZeroDivisionError(), "ENGINE_ERROR"),
    ],
)
def test_every_halt_has_a_code(error: Exception, cause: str) -> None:
    assert halt_cause(error) == cause


def test_a_budget_is_spent_by_errors_within_its_window() -> None:
    budget = ErrorBudget(2, 100)
    assert [budget.spend(now) for now in (0, 50, 99)] == [True, True, False]
    assert [budget.spend(now) for now in (200, 300, 350, 399)] == [True, True, True, False]


# Pause ---------------------------------------------------------------------------------------


def test_a_pause_leaves_everything_as_it_is(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            engine.pause("lunch")
            assert (engine.life, engine.life_reason) == (S.PAUSED, "lunch")
            decisions = desk.strategy.decisions
            desk.strategy.want(low=("buy", "98.00", "1"), high=SELL)
            desk.venue.set_book("100.01", "100.11")
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.4")
            await asyncio.sleep(60)
            assert desk.strategy.decisions == decisions
            assert len(desk.strategy.told) == 1  # fills are taken
            assert len(desk.venue.wire) == 1
            assert desk.venue.cancelled_on_wire == []
            engine.resume()
            await desk.until(lambda: len(desk.venue.wire) == 3)
            with pytest.raises(LifeError, match="running"):
                engine.resume()

    on_virtual_desk(scenario)


def test_an_order_that_nobody_wants_is_cancelled_in_a_pause_too(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("late")
        desk.venue.late_s = 200.0
        desk.venue.tells_reports = False
        async with desk.trading() as engine:
            await asyncio.sleep(190)  # given up, and its slot taken by another one
            assert engine.reasons["ABANDONED"] == 1
            engine.pause("lunch")
            await asyncio.sleep(90)
            assert engine.reasons["ZOMBIE"] == 1
            assert engine.life is S.PAUSED
            assert [true.order.client_id for true in desk.venue.open_own()] == [desk.venue.wire[1]]

    on_virtual_desk(scenario)


def test_what_was_paused_when_its_process_died_is_still_paused(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        with Journal.open(desk.path, instance="nk01") as journal:
            journal.note_life(S.PAUSED, "lunch", 1)
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            assert (engine.life, engine.life_reason) == (S.PAUSED, "lunch")
            await asyncio.sleep(60)
            assert desk.venue.wire == []
        async with desk.trading() as engine:  # a stop ends it: who starts again wants it to run
            assert engine.life is S.RUNNING

    on_virtual_desk(scenario)


async def test_what_has_not_come_up_cannot_be_paused(desk) -> None:
    async with desk.trading(starts=False) as engine:
        for steer in (engine.resume, lambda: engine.pause("lunch"), lambda: engine.drain("home")):
            with pytest.raises(LifeError, match="it has not come up yet"):
                steer()


# Drain ---------------------------------------------------------------------------------------


def test_draining_only_reduces_and_ends(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY, high=SELL)
        async with desk.trading() as engine:
            await desk.until(lambda: len(desk.venue.open_own()) == 2)
            await desk.until(lambda: all(o.state is OrderState.LIVE for o in engine.orders))
            running = asyncio.create_task(engine.run(asyncio.Event()))
            desk.strategy.want(low=BUY, high=SELL, higher=("sell", "102.00", "0.5"))
            desk.venue.fill(desk.venue.at_price("buy", "99"))  # one bought: one may be sold
            engine.drain("enough")
            await asyncio.sleep(5)
            # The sell of one stays; the other one would go beyond zero; nothing is bought.
            (left,) = desk.venue.open_own()
            assert (left.order.side, left.order.price) == ("sell", 101)
            assert engine.reasons["DRAINING"] == 2  # what is not done has its reason, once
            assert not running.done()
            desk.venue.fill(left, "0.7")
            desk.strategy.want(low=BUY, high=("sell", "101.00", "0.3"))
            await asyncio.sleep(5)
            assert not running.done()
            desk.venue.fill(desk.venue.at_price("sell", "101"))
            await asyncio.wait_for(running, 10)
            assert engine.ledger.profit.position == 0
            assert engine.life is S.DRAINING
        assert desk.stopped.is_complete
        assert len(desk.venue.wire) == 2

    on_virtual_desk(scenario)


def test_M11_dust_does_not_keep_a_drain_from_ending(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.strategy.want(high=("sell", "101.00", "0.005"))  # worth less than the minimum
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.005")
            engine.drain("enough")
            await asyncio.wait_for(engine.run(asyncio.Event()), 10)
            assert engine.reasons["BELOW_MINIMUM"] >= 1

    on_virtual_desk(scenario)


# Halt ----------------------------------------------------------------------------------------


def test_a_halt_cancels_everything_and_survives_until_it_is_cleared(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY, high=SELL)
        with pytest.raises(HaltedError, match="KILL_SWITCH: by hand"):
            async with desk.trading() as engine:
                await desk.until(lambda: len(desk.venue.open_own()) == 2)
                engine.halt("KILL_SWITCH", "by hand")
                await desk.until(lambda: not desk.venue.open_own())
                assert engine.life is S.HALTED
                with pytest.raises(LifeError, match="halted"):
                    engine.resume()
                desk.venue.set_book("100.01", "100.11")
                await asyncio.sleep(60)
                assert len(desk.venue.wire) == 2
                await engine.run(asyncio.Event())
        for _ in range(2):
            with pytest.raises(HaltedError, match="KILL_SWITCH: by hand"):
                async with desk.trading():
                    pass  # pragma: no cover
        with pytest.raises(HaltedError, match="KILL_SWITCH"):
            desk.clear_halt("STRATEGY_ERROR")
        desk.clear_halt("KILL_SWITCH")
        with pytest.raises(LifeError, match="is stopped"):
            desk.clear_halt("KILL_SWITCH")
        async with desk.trading() as engine:
            await desk.until(lambda: len(desk.venue.open_own()) == 2)

    on_virtual_desk(scenario)


def test_a_cancel_that_is_lost_after_a_halt_is_asked_again(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.cancels.extend(["drop", "drop"])
            engine.halt("KILL_SWITCH", "by hand")
            await desk.until(lambda: not desk.venue.open_own(), 30)
            assert len(desk.venue.cancelled_on_wire) == 3

    on_virtual_desk(scenario)


def test_orders_rest_on_after_a_halt_when_so_wanted(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading(on_halt="keep", on_exit="keep") as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            engine.halt("KILL_SWITCH", "by hand")
            await asyncio.sleep(60)
        assert len(desk.venue.open_own()) == 1

    on_virtual_desk(scenario)


def test_nothing_is_touched_where_another_copy_trades(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.place_foreign(IdSource("nk01", 77).next(), "buy", "90.00", "1")
            await desk.until(lambda: engine.halted, 40)
            await asyncio.sleep(20)
        assert len(desk.venue.open_own()) == 2
        assert desk.venue.cancelled_on_wire == []
        assert [row.slot for row in desk.stopped.left] == ["low"]

    on_virtual_desk(scenario)


# What a strategy asks for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "state"), [("pause", S.PAUSED), ("drain", S.DRAINING), ("halt", S.HALTED)]
)
def test_a_strategy_may_ask_while_it_decides(on_virtual_desk, wish, state) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            await asyncio.sleep(1)
            decide = desk.strategy.decide

            def asking(view):
                getattr(desk.strategy.ctx, wish)("the spread is odd")
                return decide(view)

            desk.strategy.decide = asking
            desk.strategy.want(low=BUY)
            desk.venue.tell_book()
            assert engine.life is state
            assert "the spread is odd" in engine.life_reason
            assert desk.venue.wire == []  # what it wanted in the same breath is not done

    on_virtual_desk(scenario)


def test_P14_a_strategy_may_ask_while_it_is_told_of_a_fill(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY, high=SELL)
        async with desk.trading() as engine:
            await desk.until(lambda: engine.orders.open_count == 2)
            await desk.until(lambda: all(o.state is OrderState.LIVE for o in engine.orders))
            on_fill = desk.strategy.on_fill

            def asking(fill):
                on_fill(fill)
                desk.strategy.ctx.halt("once is enough")
                desk.strategy.ctx.pause("never mind")

            desk.strategy.on_fill = asking
            desk.venue.fill(desk.venue.at_price("buy", "99"))
            assert engine.life is S.HALTED
            assert engine.life_reason == "STRATEGY: once is enough"
            await desk.until(lambda: not desk.venue.open_own())
            assert engine.summary().fills == 1  # the fill itself is counted and stored

    on_virtual_desk(scenario)


def test_P01_a_slow_call_is_counted_and_named(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(slow_callback_ms=20) as engine:
            await asyncio.sleep(1)
            decide, now_ns, late_ns = desk.strategy.decide, desk.clock.monotonic_ns, [0]

            def slow(view):
                late_ns[0] += 30_000_000
                return decide(view)

            desk.clock.monotonic_ns = lambda: now_ns() + late_ns[0]
            desk.venue.tell_book()
            assert engine.reasons["SLOW_CALLBACK"] == 0
            desk.strategy.decide = slow
            desk.venue.tell_book()
            assert engine.reasons["SLOW_CALLBACK"] == 1
        totals = {total.code: total for total in reason_totals(desk.path)}
        assert totals["SLOW_CALLBACK"].detail == "wanting.decide took 30.0 ms, limit 20"

    on_virtual_desk(scenario)


# Budget --------------------------------------------------------------------------------------


def test_too_many_rejections_within_a_minute_halt(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.venue.submits.extend(["reject"] * 50)
        with pytest.raises(HaltedError, match="ERROR_BUDGET: more than 4 in 60 s"):
            async with desk.trading(error_budget=4) as engine:
                desk.strategy.want(**{f"s{n}": ("buy", f"{90 + n}.00", "1") for n in range(4)})
                desk.venue.tell_book()
                await asyncio.sleep(0.1)
                assert engine.halted is None
                await asyncio.wait_for(engine.run(asyncio.Event()), 60)
        assert len(desk.venue.wire) <= 8

    on_virtual_desk(scenario)


def test_rejections_far_apart_do_not_halt(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.venue.submits.extend(["reject"] * 8)
        desk.strategy.want(low=BUY)
        async with desk.trading(error_budget=2, error_window_s=3) as engine:
            await desk.until(desk.venue.open_own, 600)
            assert engine.summary().rejects == 8

    on_virtual_desk(scenario)


# Stop ----------------------------------------------------------------------------------------


def test_a_stop_says_what_it_kept(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading(on_exit="keep") as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
        (kept,) = desk.stopped.kept
        assert (kept.slot, kept.price, kept.remaining, kept.state) == ("low", "99", "1", "live")
        assert desk.stopped.is_complete
        assert engine.life is S.STOPPED

    on_virtual_desk(scenario)


def test_a_stop_has_a_deadline_and_says_what_may_be_left(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading(exit_timeout_s=3) as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.cancels.extend(["drop"] * 50)
            desk.venue.reads.extend(["fail"] * 1000)
            stopping_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - stopping_s == pytest.approx(3, abs=0.1)
        (left,) = desk.stopped.left
        assert (left.slot, left.state) == ("low", "live")
        assert not desk.stopped.is_complete

    on_virtual_desk(scenario)


def test_what_an_earlier_run_left_is_said_when_the_venue_cannot_be_reached(
    on_virtual_desk,
) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading(on_exit="keep") as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))

        async def refuse(*_: object) -> None:
            raise RejectedError("no such market")

        desk.venue.start = refuse
        with pytest.raises(RejectedError):
            async with desk.trading():
                pass  # pragma: no cover
        assert [row.slot for row in desk.stopped.kept] == ["low"]

    on_virtual_desk(scenario)


def test_no_order_leaves_after_the_gate_is_closed(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY, high=SELL)
        async with desk.trading() as engine:
            await desk.until(lambda: len(desk.venue.open_own()) == 2)
            await desk.until(lambda: all(o.state is OrderState.LIVE for o in engine.orders))
            sent = len(desk.venue.wire)
            desk.venue.cancels.extend(["drop"] * 3)
            stopping = asyncio.create_task(engine.stop("cancel"))
            await asyncio.sleep(0)
            for n in range(200):  # the market goes on, fills come in, the strategy wants more
                desk.strategy.want(**{f"s{n}": ("buy", "98.00", "1")})
                desk.venue.set_book("100.01", f"100.{11 + n % 50}")
                if n == 5:
                    desk.venue.fill(desk.venue.open_own()[0], "0.1")
                await asyncio.sleep(0.02)
            await stopping
            assert len(desk.venue.wire) == sent
            assert desk.venue.open_own() == []

    on_virtual_desk(scenario)


def test_monitor_mode_may_look_at_a_halted_instance(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        with Journal.open(desk.path, instance="nk01") as journal:
            journal.note_life(S.HALTED, "KILL_SWITCH: by hand", 1)
        async with desk.trading(mode="monitor", limits=RiskLimits()):
            pass
        with Journal.open(desk.path, instance="nk01") as journal:
            clear_halt(journal, "KILL_SWITCH", 2)

    on_virtual_desk(scenario)


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_venue_that_does_not_close_does_not_keep_the_engine_from_its_end(
    on_virtual_desk, how
) -> None:
    async def scenario(desk) -> None:
        close = desk.venue.close

        async def badly() -> None:
            await close()
            if how == "fails":
                raise OSError("bad descriptor")
            await asyncio.Event().wait()

        desk.venue.close = badly
        desk.strategy.want(low=BUY)
        async with desk.trading(exit_timeout_s=3) as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
        assert desk.stopped.is_complete
        assert engine.life is S.STOPPED
        code = "EXIT_TIMEOUT" if how == "hangs" else "CLOSE_FAILED"
        assert engine.reasons[code] == 1

    on_virtual_desk(scenario)


def test_a_stop_where_nothing_answers_ends_within_ten_seconds(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async def never() -> None:
            await asyncio.Event().wait()

        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            desk.venue.close = never
            desk.venue.cancels.extend(["silent"] * 50)
            desk.venue.tells_reports = False
            desk.venue.reads.extend(["fail"] * 1000)
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            report = await engine.stop()
            assert 9 < loop.time() - began_s < 10.1
            assert [order.slot for order in report.left] == ["low"]
            del desk.venue.close

    on_virtual_desk(scenario)


@pytest.mark.parametrize(("mode", "level"), [("live", 2), ("paper", 1), ("monitor", 1)])
def test_live_mode_asks_for_durability_that_survives_the_loss_of_power(
    on_virtual_desk, mode, level
) -> None:
    async def scenario(desk) -> None:
        async with desk.trading(mode=mode, durability=None) as engine:
            assert engine._journal._execute("PRAGMA synchronous").fetchone() == (level,)

    on_virtual_desk(scenario)
