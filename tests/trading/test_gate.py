"""The order gate: what is sent together is durable together, and nothing leaves before it is."""

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.errors import JournalError, OrderError, RiskError
from nkfast.trading.gate import Intent
from nkfast.trading.journal import verify
from nkfast.trading.orders import OrderState

INTENT = Intent("direct", "BTC/USDT", "buy", Decimal(1), Decimal("99.00"))


def ladder(count: int) -> dict[str, tuple[str, str, str]]:
    return {f"level_{n}": ("buy", f"{99 - n}.00", "1") for n in range(count)}


def left_by_a_crash(journal: Path) -> int:
    """How many intents the next process would find if this one died now."""
    copy = shutil.copytree(journal.parent, journal.parent / "copy")
    try:
        return verify(copy / journal.name).orders
    finally:
        shutil.rmtree(copy)


def commits_of(engine) -> list[str]:
    found: list[str] = []
    engine._journal._store.set_trace_callback(
        lambda statement: found.append(statement) if statement == "COMMIT" else None
    )
    return found


async def test_a_ladder_is_durable_before_its_first_order_leaves(desk) -> None:
    async with desk.trading() as engine:
        await desk.until(lambda: engine.may_decide)
        submit, durable = desk.venue.submit, []

        def watching_submit(order):
            durable.append((left_by_a_crash(desk.path), len(commits)))
            return submit(order)

        desk.venue.submit = watching_submit
        commits = commits_of(engine)
        desk.strategy.want(**ladder(5))
        desk.venue.tell_book()
        assert durable == [(5, 0)] * 5
        assert len(commits) == 1
        assert verify(desk.path).orders == 5
        engine._journal._store.set_trace_callback(None)


async def test_a_fill_and_the_order_that_answers_it_are_one_transaction(desk) -> None:
    desk.strategy.want(low=("buy", "99.00", "1"))
    async with desk.trading() as engine:
        await desk.until(lambda: engine.orders.open_count and engine.orders.open_orders)
        (order,) = engine.orders.open_orders
        await desk.until(lambda: order.state is OrderState.LIVE)
        commits = commits_of(engine)
        on_fill = desk.strategy.on_fill

        def wanting_more(fill) -> None:
            on_fill(fill)
            desk.strategy.want(next=("sell", "101.00", "1"))

        desk.strategy.on_fill = wanting_more
        submit, before_it_left = desk.venue.submit, []

        def watching_submit(order):
            before_it_left.extend(commits)
            return submit(order)

        desk.venue.submit = watching_submit
        desk.venue.fill(desk.venue.at_price("buy", "99"), "1")
        await desk.until(lambda: len(desk.venue.wire) == 2)
        assert before_it_left == ["COMMIT"]
        engine._journal._store.set_trace_callback(None)


async def test_an_intent_that_is_not_durable_lets_no_order_of_the_batch_out(
    desk, monkeypatch
) -> None:
    with pytest.raises(JournalError, match="full"):
        async with desk.trading() as engine:
            await desk.until(lambda: engine.may_decide)
            journal = engine._journal
            # A batch too large for its file goes the long way, where there is no room either.
            monkeypatch.setattr(journal._intents, "write", lambda *_: False)
            pages = journal._execute("PRAGMA page_count").fetchone()[0]
            journal._execute(f"PRAGMA max_page_count = {pages}")
            desk.strategy.want(**ladder(40))
            desk.venue.tell_book()
            assert desk.venue.wire == []
            assert engine.orders.open_count == 0
            assert engine.halted is not None and "full" in engine.halted
            assert all(order.state is OrderState.REJECTED for order in engine.orders)
            raise engine._error
    assert verify(desk.path).orders == 0


async def test_a_store_that_fills_up_ends_trading_and_forgets_no_order(desk) -> None:
    with pytest.raises(JournalError, match="full"):
        async with desk.trading() as engine:
            await desk.until(lambda: engine.may_decide)
            pages = engine._journal._execute("PRAGMA page_count").fetchone()[0]
            engine._journal._execute(f"PRAGMA max_page_count = {pages + 1}")
            desk.strategy.want(**ladder(15))
            desk.venue.tell_book()
            assert len(desk.venue.wire) == 15
            assert engine.halted is not None and "full" in engine.halted
            await desk.until(lambda: not desk.venue.open_own())
            desk.venue.tell_book()
            assert len(desk.venue.wire) == 15
            raise engine._error
    # Whoever reads it next finds what left on the short way.
    assert verify(desk.path).orders == 15


def test_what_is_sent_was_checked_and_written_first_and_counts_from_then_on(
    on_virtual_desk,
) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            journal, venue, steps = engine._journal, desk.venue, []
            commit, submit = journal.commit, venue.submit

            def noting_commit() -> None:
                steps.append("durable" if journal._is_held else "nothing")
                commit()

            def noting_submit(order):
                steps.append("sent")
                assert journal.find_order(order.client_id) is not None
                return submit(order)

            journal.commit, venue.submit = noting_commit, noting_submit
            order = engine._gate.send(INTENT)
            assert steps == ["durable", "sent"]
            assert order.state is OrderState.SENDING
            assert engine.orders.at_slot(order.slot) is order
            assert engine.ledger.reserved("USDT") > 99
            journal.commit, venue.submit = commit, submit
            await desk.until(lambda: order.state is not OrderState.SENDING)

    on_virtual_desk(scenario)


@pytest.mark.parametrize("gathers", [False, True])
def test_an_order_that_the_venue_fails_to_take_counts_all_the_same(on_virtual_desk, gathers):
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            gate, submit = engine._gate, desk.venue.submit

            def failing_submit(order):
                raise RuntimeError("a bug")

            desk.venue.submit = failing_submit
            with pytest.raises(RuntimeError, match="a bug"):
                if gathers:
                    gate.gather()
                gate.send(INTENT)
                gate.release()
            desk.venue.submit = submit
            order = engine.orders.at_slot(INTENT.slot)
            assert order.state is OrderState.SENDING
            assert engine.ledger.reserved("USDT") > 99
            with pytest.raises(OrderError, match=f"in its slot {INTENT.slot}"):
                gate.send(INTENT)

    on_virtual_desk(scenario)


def test_each_order_of_a_batch_is_checked_after_the_one_before_counts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            gate = engine._gate
            counts = []
            check = engine._guard.check

            def noting_check(intent) -> None:
                counts.append((engine.orders.open_count, len(engine._guard._sent)))
                check(intent)

            engine._guard.check = noting_check
            gate.gather()
            for n in range(3):
                gate.send(INTENT._replace(slot=f"batch-{n}"))
            assert len(desk.venue.wire) == 0
            gate.release()
            assert counts == [(0, 0), (1, 1), (2, 2)]
            assert (engine.orders.open_count, len(engine._guard._sent)) == (3, 3)

    on_virtual_desk(scenario)


def test_a_closed_gate_lets_nothing_out_but_cancels(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            gate = engine._gate
            desk.strategy.want(low=("buy", "98.00", "1"))
            desk.venue.tell_book()
            await desk.until(lambda: any(o.state is OrderState.LIVE for o in engine.orders))
            gate.close("a test")
            gate.close("another reason")
            for attempt in (gate.send, gate.check):
                with pytest.raises(RiskError, match="GATE_CLOSED: a test"):
                    attempt(INTENT)
            assert len(desk.venue.wire) == 1
            assert engine.ledger.reserved("USDT") < 99
            (resting,) = engine.orders.open_orders
            gate.cancel(resting)
            await desk.until(lambda: not desk.venue.open_own())

    on_virtual_desk(scenario)


def test_a_refusal_leaves_no_trace(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            far = INTENT._replace(price=Decimal("10.00"))
            with pytest.raises(RiskError, match="PRICE_COLLAR"):
                engine._gate.send(far)
            assert (len(engine.orders), desk.venue.wire) == (0, [])
            assert engine.ledger.reserved("USDT") == 0

    on_virtual_desk(scenario)
