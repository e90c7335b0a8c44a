"""What was lost is found by reading: histories, horizons, plans; nothing is ever sent again."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from nkfast.errors import DuplicateClientIdError, HaltedError
from nkfast.trading.life import LifeState
from nkfast.trading.orders import IdSource, OrderState
from nkfast.venue.port import Holding, VenueStatus

BUY = ("buy", "99.00", "1")
SELL = ("sell", "101.00", "1")


def live(engine) -> bool:
    return all(o.state is OrderState.LIVE for o in engine.orders.open_orders)


# Absence -------------------------------------------------------------------------------------


def test_what_the_lookup_does_not_know_is_found_in_the_history(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("lose")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            true = desk.venue.at_price("buy", "99")
            desk.venue.lookup_finds_nothing = True
            desk.venue.fill(true, told=False)  # filled at once: no list of open orders shows it
            await desk.until(lambda: desk.strategy.told, 30)
            assert engine.orders.find(true.order.client_id, "").state is OrderState.DONE
            assert len([x for x in desk.venue.wire if x == true.order.client_id]) == 1

    on_virtual_desk(scenario)


def test_the_horizon_counts_while_the_machine_sleeps(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("drop")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            first = engine.orders.at_slot("low")
            desk.clock.sleep_machine(119)
            await asyncio.sleep(0.5)
            assert first.state is OrderState.UNKNOWN
            await desk.until(lambda: first.state is OrderState.ABANDONED, 20)

    on_virtual_desk(scenario)


def test_rounds_of_reading_without_a_connection_prove_less(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("drop")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            first = engine.orders.at_slot("low")
            desk.venue.disconnect()
            desk.venue.is_up = True  # reading goes on, the account's news do not
            await asyncio.sleep(129)  # two rounds have been read by now
            assert first.state is OrderState.UNKNOWN
            await desk.until(lambda: first.state is OrderState.ABANDONED, 15)

    on_virtual_desk(scenario)


def test_d45_many_in_doubt_are_looked_up_together(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(a=BUY, b=("buy", "98.00", "1"), c=("buy", "97.00", "1"))
        desk.venue.submits.extend(["drop"] * 3)
        find_order, asking, most = desk.venue.find_order, 0, 0

        async def slow(symbol, client_id):
            nonlocal asking, most
            asking += 1
            most = max(most, asking)
            await asyncio.sleep(1)
            asking -= 1
            return await find_order(symbol, client_id)

        desk.venue.find_order = slow
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 3)
            await desk.until(lambda: most == 3, 30)

    on_virtual_desk(scenario)


def test_an_order_that_stays_unknown_halts_and_is_settled_all_the_same(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("lose")
        async with desk.trading() as engine:
            await desk.until(lambda: engine.summary().unknown_orders == 1)
            desk.venue.reads.extend(["fail"] * 100_000)
            await asyncio.sleep(299)
            assert engine.halted is None
            await asyncio.sleep(8)
            assert engine.life_reason.startswith("UNKNOWN_ORDERS: ")
            with pytest.raises(HaltedError, match="UNKNOWN_ORDERS"):
                await engine.run(asyncio.Event())
            desk.venue.reads.clear()
            await desk.until(lambda: not desk.venue.open_own(), 30)  # found, and cancelled
            assert engine.orders.open_count == 0

    on_virtual_desk(scenario)


# The last one is found by the sweep of all, every ten minutes; the others are young.
@pytest.mark.parametrize(("late_s", "within_s"), [(200.0, 70), (1900.0, 70), (9000.0, 610)])
def test_an_order_that_appears_after_it_was_given_up_is_cancelled(
    on_virtual_desk, late_s, within_s
) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("late")
        desk.venue.late_s = late_s
        desk.venue.tells_reports = False
        async with desk.trading(reconcile_interval_s=100_000) as engine:
            # Only the sweep of what was given up reads now.
            await asyncio.sleep(min(late_s, 150))
            assert engine.reasons["ABANDONED"] == 1
            await asyncio.sleep(late_s - 150)
            assert engine.reasons["ZOMBIE"] == 0
            await asyncio.sleep(within_s)
            assert engine.reasons["ZOMBIE"] == 1
            await desk.until(lambda: len(desk.venue.open_own()) == 1, 30)
            assert engine.orders.zombies == []

    on_virtual_desk(scenario)


def test_one_that_was_given_up_is_looked_for_when_the_store_has_forgotten_it(
    on_virtual_desk,
) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("late")
        desk.venue.late_s = 500.0
        desk.venue.tells_reports = False
        async with desk.trading(reconcile_interval_s=100_000) as engine:
            engine.orders._finished_limit = 0
            await desk.until(lambda: engine.reasons["ABANDONED"] == 1, 200)
            given_up = desk.venue.wire[0]
            assert engine.orders.get(given_up) is None
            engine.orders._finished_limit = 512
            await asyncio.sleep(450)
            assert engine.reasons["ZOMBIE"] == 1
            await desk.until(lambda: len(desk.venue.open_own()) == 1, 30)
            await asyncio.sleep(70)
            assert engine.reasons["ZOMBIE"] == 1

    on_virtual_desk(scenario)


def test_a_zombie_that_was_filled_at_once_is_counted(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("late")
        desk.venue.late_s = 500.0
        desk.venue.tells_reports = False
        async with desk.trading(reconcile_interval_s=100_000) as engine:
            await asyncio.sleep(500.5)
            zombie = next(iter(desk.venue.truth.values()))
            desk.venue.fill(zombie, told=False)
            await desk.until(lambda: desk.strategy.told, 70)
            assert engine.reasons["ZOMBIE"] == 1
            assert [fill.quantity for fill in desk.strategy.told] == [Decimal(1)]

    on_virtual_desk(scenario)


def test_what_was_given_up_is_looked_for_after_a_restart(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("drop")
        async with desk.trading(on_exit="keep") as engine:
            await desk.until(lambda: engine.reasons["ABANDONED"] == 1, 200)
            given_up = desk.venue.wire[0]
            desk.strategy.want()
        desk.venue.place_foreign(given_up, "buy", "99.00", "1")  # decided after all
        async with desk.trading() as engine:
            await desk.until(lambda: engine.reasons["ZOMBIE"] == 1, 5)
            await desk.until(lambda: not desk.venue.open_own(), 30)

    on_virtual_desk(scenario)


def test_fills_that_are_long_in_coming_are_named(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            hidden, desk.venue.trades = desk.venue.trades, []
            true = desk.venue.at_price("buy", "99")
            desk.venue.fill(true, "0.4", told=False)
            desk.venue.trades.clear()
            desk.venue.end(true)
            await asyncio.sleep(55)
            assert engine.reasons["FILLS_LATE"] == 0
            await asyncio.sleep(15)
            assert engine.reasons["FILLS_LATE"] == 1
            desk.venue.trades = hidden + true.executions
            await desk.until(lambda: desk.strategy.told, 10)

    on_virtual_desk(scenario)


def test_M14_a_trade_that_the_venue_takes_back_halts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            await asyncio.sleep(15)
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.4")
            await asyncio.sleep(31)
            assert engine.halted is None
            desk.venue.trades.clear()
            await asyncio.sleep(65)
            assert "trade t1" in engine.halted
            assert engine.life_reason.startswith("UNRECONCILED")

    on_virtual_desk(scenario)


def test_a_history_that_lags_once_does_not_halt(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            await asyncio.sleep(15)
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.4")
            kept, desk.venue.trades = desk.venue.trades, []
            await asyncio.sleep(30)  # one comparison did not see it
            desk.venue.trades = kept
            await asyncio.sleep(120)
            assert engine.life is LifeState.RUNNING

    on_virtual_desk(scenario)


# The plan ------------------------------------------------------------------------------------


def steps(plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for step in plan.steps:
        found.setdefault(step.kind, []).append(step.detail)
    return found


def test_a_plan_shows_what_the_start_will_do_and_does_nothing(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        venue = desk.venue
        desk.strategy.want(
            low=BUY, high=SELL, gone=("buy", "98.00", "1"), part=("buy", "97.00", "1")
        )
        venue.place_foreign("web-1", "sell", "120.00", "3")
        async with desk.trading(on_exit="keep") as engine:
            await desk.until(lambda: engine.orders.open_count == 4 and live(engine))
            desk.strategy.want(
                low=BUY,
                high=SELL,
                gone=("buy", "98.00", "1"),
                part=("buy", "97.00", "1"),
                lost=("buy", "96.00", "1"),
            )
            venue.submits.append("lose")
            venue.reads.extend(["fail"] * 100)
            venue.tell_book()
            await desk.until(lambda: engine.summary().unknown_orders == 1)
        venue.reads.clear()
        venue.fill(venue.at_price("buy", "97"), "0.3", told=False)
        venue.fill(venue.at_price("sell", "101"), told=False)
        venue.end(venue.at_price("buy", "98"), told=False)
        sent = len(venue.wire)
        async with desk.trading(starts=False, on_exit="keep") as engine:
            plan = await engine.plan()
            assert steps(plan) == {
                "leave": ["sell 3 of somebody else"],
                "adopt": ["buy 1 rests, unknown here"],
                "update": ["executed 0 -> 0.3"],
                "close": [
                    "filled with 1 executed; slot high is free",
                    "cancelled with 0 executed; slot gone is free",
                ],
                "fill": ["buy 0.3 at 97, trade t1", "sell 1 at 101, trade t2"],
            }
            assert len(venue.wire) == sent
            assert venue.cancelled_on_wire == []
            assert desk.strategy.told == []
            assert plan.as_json()[0]["kind"] == "leave"
            await engine.start()  # and then it is done
            assert len(desk.strategy.told) == 2
            await desk.until(lambda: engine.orders.open_count == 5)
            await asyncio.sleep(2)
            assert steps(await engine.plan()) == {"leave": ["sell 3 of somebody else"]}

    on_virtual_desk(scenario)


def test_a_plan_names_what_would_halt(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.venue.place_foreign(desk.id_without_intent(), "buy", "90.00", "1")
        desk.venue.place_foreign(IdSource("nk01", 77).next(), "buy", "91.00", "2")
        async with desk.trading(starts=False) as engine:
            plan = await engine.plan()
            assert steps(plan) == {
                "halt": [
                    "buy 1 with an id of ours that the journal does not have",
                    "buy 2 of start 77 of this instance, which the journal did not count",
                ]
            }
            assert not plan.is_empty
            assert str(plan.steps[0]).startswith("halt     BTC/USDT nknk01")
        assert len(desk.venue.open_own()) == 2

    on_virtual_desk(scenario)


def test_a_plan_while_trading_compares_balances_too(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            assert (await engine.plan()).is_empty
            desk.venue.balances["USDT"] += 7
            desk.venue.finds_nothing.add(desk.venue.at_price("buy", "99").order.client_id)
            desk.venue.at_price("buy", "99").status = VenueStatus.CANCELLED
            assert steps(await engine.plan()) == {
                "look up": ["live here, not listed there"],
                "balance": ["100007 there, 100000 here"],
            }

    on_virtual_desk(scenario)


# What others did with our ids ----------------------------------------------------------------


def test_an_id_that_the_venue_knows_and_has_no_order_of_halts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.submits.append("error:duplicate")
        desk.venue.errors["duplicate"] = DuplicateClientIdError("duplicate", code=20008)
        async with desk.trading() as engine:
            await asyncio.sleep(119)
            assert engine.halted is None
            await desk.until(lambda: engine.halted, 30)
            assert engine.life_reason.startswith("UNRECONCILED")
            assert len(desk.venue.wire) == 1

    on_virtual_desk(scenario)


def test_an_order_that_somebody_repeated_is_cancelled_and_halts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            true = desk.venue.at_price("buy", "99")
            cancelled = []
            cancel = desk.venue.cancel

            def cancel_noting(symbol, client_id, order_id):
                cancelled.append(order_id)
                return cancel(symbol, client_id, order_id)

            desk.venue.cancel = cancel_noting
            desk.venue.listener.on_order(replace(true.told(), order_id="v99"))
            assert cancelled == ["v99"]
            assert "order id v99, it has v1" in engine.halted

    on_virtual_desk(scenario)


def test_a_status_that_nobody_knows_is_taken_for_open(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            true = desk.venue.at_price("buy", "99")
            desk.venue.listener.on_order(replace(true.told(), status=VenueStatus.UNKNOWN))
            assert engine.reasons["UNKNOWN_STATUS"] == 1
            assert engine.orders.at_slot("low").state is OrderState.LIVE

    on_virtual_desk(scenario)


# Balances ------------------------------------------------------------------------------------


def test_a_balance_that_came_before_its_fill_is_right_soon(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            desk.strategy.want()
            true = desk.venue.at_price("buy", "99")
            execution = desk.venue.fill(true, told=False)
            desk.venue.listener.on_holdings(desk.venue.current_holdings())
            desk.venue.listener.on_order(true.told(execution))  # counted once more
            assert engine.ledger.total("BTC") == 102
            await asyncio.sleep(2.5)
            assert engine.ledger.total("BTC") == 101

    on_virtual_desk(scenario)


def test_d21_balances_that_cannot_be_read_after_a_fill_are_asked_for_again(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading(reconcile_interval_s=100_000) as engine:
            await desk.until(lambda: live(engine) and engine.orders.open_count)
            desk.venue.balances["USDT"] -= 5  # a withdrawal that nobody told of
            desk.venue.fill(desk.venue.at_price("buy", "99"), "0.1")
            desk.venue.balances["USDT"] -= 5
            desk.venue.reads.append("fail")
            await asyncio.sleep(2.5)
            assert engine.reasons["BALANCES_FAILED"] == 1
            await asyncio.sleep(2.5)
            assert engine.ledger.total("USDT") == desk.venue.balances["USDT"]

    on_virtual_desk(scenario)


def test_an_odd_balance_is_counted_and_put_up_with(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async with desk.trading() as engine:
            desk.venue.listener.on_holdings([Holding("BTC", Decimal(-1), Decimal(3))])
            assert engine.reasons["ODD_BALANCE"] == 1
            assert engine.halted is None

    on_virtual_desk(scenario)
