"""A venue that several instances share, over real sockets: one login, everybody told their own."""

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal as D
from functools import partial

import pytest
from venue.test_live import MONEY, SYMBOL, US, Recorder, until

from nkfast import errors
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.venue.clock import RealClock
from nkfast.venue.live import LiveVenue
from nkfast.venue.port import NewOrder, VenueStatus
from nkfast.venue.shared import SharedVenue

OTHER = "LTC/USDT"


@asynccontextmanager
async def sharing(*symbols: str):
    settings = ExchangeSettings(
        seed=3, key=US.api_key, secret=US.api_secret, balances={**MONEY, "LTC": "100"}
    )
    async with (
        serve(settings) as server,
        AsyncRestClient(US, base_url=server.rest_url, allow_changes=True) as rest,
    ):
        make = partial(
            LiveVenue,
            rest=rest,
            websocket=partial(WebSocketClient, server.ws_url, US, allow_changes=True),
            clock=RealClock(),
        )
        yield SharedVenue(make, symbols or (SYMBOL, OTHER))


async def test_each_seat_hears_what_concerns_it() -> None:
    async with sharing() as shared:
        seats, ears = [shared.seat(), shared.seat()], [Recorder(), Recorder()]
        await asyncio.gather(seats[0].start([SYMBOL], ears[0]), seats[1].start([OTHER], ears[1]))
        assert [list(seat.markets) for seat in seats] == [[SYMBOL], [OTHER]]
        assert shared.venue.counters["connection_connections"] == 1
        first = NewOrder("nk-1", SYMBOL, "buy", D(1), D("150.00"))
        assert (await seats[0].submit(first)).status is VenueStatus.OPEN
        await until(lambda: ears[0].statuses("nk-1"))
        await until(lambda: all("USDT" in ear.holdings for ear in ears))
        assert ears[1].orders == []
        assert {symbol for symbol, _ in ears[0].books} <= {SYMBOL}
        assert {symbol for symbol, _ in ears[1].books} <= {OTHER}
        assert [ear.connections[-1] for ear in ears] == [True, True]
        assert (await seats[1].find_order(SYMBOL, "nk-1")).client_id == "nk-1"
        shared.venue.resync("for the test")
        await until(lambda: all(ear.connections[-2:] == [False, True] for ear in ears))
        await seats[0].close()
        told = len(ears[0].orders)
        assert (await seats[1].cancel(SYMBOL, "nk-1", "")).status is VenueStatus.CANCELLED
        assert len(ears[0].orders) == told
        await seats[1].close()
        await seats[1].close()
        with pytest.raises(errors.UnreachableError, match="not open"):
            await seats[1].submit(first)


async def test_a_late_seat_finds_the_connection_up() -> None:
    async with sharing() as shared:
        first, late = shared.seat(), shared.seat()
        await first.start([SYMBOL], Recorder())
        ear = Recorder()
        await late.start([SYMBOL, OTHER], ear)
        assert ear.connections == [True]
        assert late.book(OTHER).state == "live"
        await first.close()
        assert (await late.open_orders(OTHER)) == []
        await late.close()


async def test_a_seat_that_gives_up_does_not_end_the_start_of_the_others() -> None:
    async with sharing() as shared:
        hasty, patient, ear = shared.seat(), shared.seat(), Recorder()
        giving_up = asyncio.ensure_future(hasty.start([SYMBOL], Recorder()))
        waiting = asyncio.ensure_future(patient.start([OTHER], ear))
        await asyncio.sleep(0)
        giving_up.cancel()
        await asyncio.wait([giving_up])
        await hasty.close()
        await waiting
        assert ear.connections[-1]
        await patient.close()


async def test_a_market_that_was_not_announced_is_refused() -> None:
    async with sharing(SYMBOL) as shared:
        with pytest.raises(errors.ConfigError, match=OTHER):
            await shared.seat().start([OTHER], Recorder())


async def test_a_seat_after_the_last_has_left_gets_a_new_venue() -> None:
    async with sharing() as shared:
        first = shared.seat()
        await first.start([SYMBOL], Recorder())
        before = shared.venue
        await first.close()
        ear = Recorder()
        second = shared.seat()
        await second.start([SYMBOL], ear)
        assert shared.venue is not before
        assert ear.connections[-1]
        assert second.book(SYMBOL).state == "live"
        assert (await second.open_orders(SYMBOL)) == []
        await second.close()


async def test_a_start_that_failed_is_tried_anew_by_the_next_seat() -> None:
    async with sharing() as shared:
        unwell = shared.venue

        async def fail(*_: object) -> None:
            raise errors.UnreachableError("for the test", sent="no")

        unwell.start = fail
        seats = [shared.seat(), shared.seat()]
        starts = (seat.start([SYMBOL], Recorder()) for seat in seats)
        failed = await asyncio.gather(*starts, return_exceptions=True)
        assert [type(error) for error in failed] == [errors.UnreachableError] * 2
        ear = Recorder()
        late = shared.seat()
        await late.start([SYMBOL], ear)
        assert shared.venue is not unwell
        for seat in seats:  # those that failed leave, and close nothing that others use
            await seat.close()
        assert late.book(SYMBOL).state == "live"
        await late.close()
