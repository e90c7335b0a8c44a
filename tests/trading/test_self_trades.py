"""Trades of the account with itself, by another process or a person: noticed and bounded."""

import asyncio
from dataclasses import replace

from nkfast.trading.life import LifeState
from nkfast.trading.self_trades import SelfTrades
from nkfast.venue.port import OrderUpdate, VenueStatus

BUY = ("buy", "99.00", "1")


def test_both_sides_make_one_whatever_comes_first_and_how_often() -> None:
    trades = SelfTrades()
    assert not trades.note("t1", is_ours=True)
    assert not trades.note("t1", is_ours=True)
    assert trades.note("t1", is_ours=False)
    assert not trades.note("t1", is_ours=False)
    assert not trades.note("t1", is_ours=True)
    assert not trades.note("t2", is_ours=False)
    assert trades.note("t2", is_ours=True)
    assert trades.count == 2


def test_only_so_many_are_remembered() -> None:
    trades = SelfTrades()
    trades.note("first", is_ours=True)
    for number in range(1_000):
        trades.note(str(number), is_ours=True)
    assert not trades.note("first", is_ours=False)
    assert trades.note("999", is_ours=False)


def test_three_within_a_minute_are_too_many() -> None:
    trades = SelfTrades()
    second_ns = 10**9
    assert [trades.are_too_many(now * second_ns) for now in (0, 30, 61, 62)] == [False] * 3 + [True]


def test_a_loop_with_another_process_of_the_account_halts(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            for number in range(3):
                await desk.until(desk.venue.open_own)
                assert engine.life is LifeState.RUNNING
                fill = desk.venue.fill(desk.venue.at_price("buy", "99"))
                theirs = replace(fill, side="sell", client_id="theirs", order_id=f"o{number}")
                update = OrderUpdate(
                    "theirs",
                    f"o{number}",
                    fill.symbol,
                    "sell",
                    fill.price,
                    fill.quantity,
                    fill.quantity,
                    VenueStatus.FILLED,
                    theirs,
                )
                desk.venue.listener.on_order(update)
                desk.venue.listener.on_order(update)  # on another socket, too
                assert engine.reasons["SELF_TRADE"] == number + 1
                await asyncio.sleep(1)
            assert engine.life_reason.startswith("SELF_TRADES: again and again")

    on_virtual_desk(scenario)


def test_a_persons_trades_with_others_are_nothing(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        async with desk.trading() as engine:
            await desk.until(desk.venue.open_own)
            fill = desk.venue.fill(desk.venue.at_price("buy", "99"))
            for number in range(5):
                other = replace(fill, trade_id=f"x{number}", client_id="", order_id=f"o{number}")
                desk.venue.listener.on_order(
                    OrderUpdate(
                        "",
                        f"o{number}",
                        fill.symbol,
                        "buy",
                        fill.price,
                        fill.quantity,
                        fill.quantity,
                        VenueStatus.FILLED,
                        other,
                    )
                )
            assert engine.reasons["SELF_TRADE"] == 0
            assert engine.life is LifeState.RUNNING

    on_virtual_desk(scenario)
