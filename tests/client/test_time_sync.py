import asyncio
import threading
import time

import pytest
from client.rest_clients import InThread
from client.scripted_http import CLOSE, STALL, answer, venue

from nkfast.client import rest_session
from nkfast.client import time_sync as module
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.nonces import KeyNonces
from nkfast.client.rest import RestClient
from nkfast.client.throttle import Throttle
from nkfast.client.time_sync import TimeSync
from nkfast.errors import ConfigError

START_MS = 1_790_000_000_000
MS = 1_000_000
SECOND = 1_000 * MS


class Clocks:
    """Our monotonic clock and our wall clock, some milliseconds ahead of the venue's."""

    def __init__(self, ahead_ms):
        self.now_ns = 5 * SECOND
        self.ahead_ms = ahead_ms

    def monotonic_ns(self):
        return self.now_ns

    def venue_ns(self):
        return START_MS * MS + self.now_ns

    def time_ns(self):
        return self.venue_ns() + self.ahead_ms * MS

    def measure(self, sync, there_ms, back_ms, off_ms=0):
        sent_ns = self.now_ns
        self.now_ns += there_ms * MS
        venue_ms = self.venue_ns() // MS + off_ms
        self.now_ns += back_ms * MS
        sync.add(sent_ns, self.now_ns, venue_ms)


def make(ahead_ms=0):
    clocks = Clocks(ahead_ms)
    return clocks, TimeSync(time_ns=clocks.time_ns, monotonic_ns=clocks.monotonic_ns)


def error_ms(clocks, sync):
    return (sync.time_ns() - clocks.venue_ns()) / MS


def test_before_a_measurement_our_own_clock_is_told():
    clocks, sync = make(70)
    assert sync.skew_ms is None and sync.uncertainty_ms is None and sync.count == 0
    clocks.now_ns += SECOND
    assert error_ms(clocks, sync) == 70


def test_half_the_round_trip_is_taken_out():
    clocks, sync = make(1234)
    clocks.measure(sync, 200, 200)
    assert sync.skew_ms == pytest.approx(1234, abs=0.51)
    assert error_ms(clocks, sync) == pytest.approx(0, abs=0.51)
    assert sync.uncertainty_ms == 200.5


def test_the_shortest_round_trip_of_the_last_five_counts():
    clocks, sync = make()
    for there, back in ((400, 0), (3, 3), (0, 300), (250, 0), (100, 0)):
        clocks.measure(sync, there, back)
    assert sync.uncertainty_ms == 3.5
    assert sync.skew_ms == pytest.approx(0, abs=0.51)
    clocks.measure(sync, 50, 0)
    clocks.measure(sync, 50, 50)  # now the short one is forgotten
    assert sync.uncertainty_ms == 25.5
    assert sync.skew_ms == pytest.approx(-25, abs=0.51)


def test_a_correction_is_spread_and_time_never_goes_back():
    clocks, sync = make()
    clocks.measure(sync, 100, 0)  # 50 ms wrong
    told = error_ms(clocks, sync)
    assert told == pytest.approx(50, abs=0.51)
    clocks.measure(sync, 1, 1)
    assert error_ms(clocks, sync) == pytest.approx(told, abs=0.2)  # no step
    before = sync.time_ns()
    for _ in range(500):
        clocks.now_ns += MS
        assert sync.time_ns() > before
        before = sync.time_ns()
    assert 20 < error_ms(clocks, sync) < 30  # 5 % of half a second made up
    clocks.now_ns += 2 * SECOND
    assert error_ms(clocks, sync) == pytest.approx(0, abs=0.51)


def test_a_step_of_our_wall_clock_does_not_reach_the_time_told():
    clocks, sync = make()
    clocks.measure(sync, 1, 1)
    clocks.ahead_ms = 3_600_000
    assert error_ms(clocks, sync) == pytest.approx(0, abs=0.51)
    assert sync.skew_ms == pytest.approx(3_600_000, abs=0.51)


def test_after_a_sleep_the_time_told_jumps_forward():
    clocks, sync = make()
    clocks.measure(sync, 1, 1)
    for _ in range(5):
        clocks.measure(sync, 1, 1, off_ms=3_600_000)
    assert error_ms(clocks, sync) == pytest.approx(3_600_000, abs=0.51)


def test_the_first_measurements_come_quickly():
    clocks, sync = make()
    pauses = []
    for _ in range(7):
        pauses.append(sync.pause_seconds)
        clocks.measure(sync, 1, 1)
    assert pauses == [0.2] * 5 + [12.0] * 2


def test_nonces_can_be_told_by_the_venues_clock():
    clocks, sync = make(3_600_000)
    clocks.measure(sync, 0, 0)
    nonce = KeyNonces("told-by-the-venue", now_ns=sync.time_ns).next()
    assert nonce == pytest.approx(clocks.venue_ns() / 1e5, abs=10)


def test_an_impossible_interval_is_refused():
    with pytest.raises(ConfigError):
        TimeSync(0.0)


def times(count, ahead_ms):
    now_ms = time.time_ns() // MS
    return [answer({"serverTime": now_ms - ahead_ms})] * count


async def test_the_async_client_measures_beside_its_calls(until, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    sync = TimeSync()
    async with venue(*times(7, 60_000)) as there:
        async with AsyncRestClient(
            base_url=there.url, time_sync=sync, throttle=Throttle({})
        ) as rest:
            assert rest.skew_ms is None
            await rest.get_time()
            await until(lambda: sync.count >= 5)
            assert rest.skew_ms == pytest.approx(60_000, abs=2_000)
    assert {target for _, target, _, _ in there.requests} == {"/api/v2/time"}


async def test_the_sync_client_measures_beside_its_calls(until, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    sync = TimeSync()
    async with venue(*times(7, -60_000)) as there:
        with RestClient(base_url=there.url, time_sync=sync, throttle=Throttle({})) as rest:
            assert rest.skew_ms is None
            await asyncio.to_thread(rest.get_time)
            await until(lambda: sync.count >= 5)
            assert rest.skew_ms == pytest.approx(-60_000, abs=2_000)


async def test_a_client_without_a_time_sync_measures_once_it_is_asked(client, until, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    times_of_venue, [empty] = times(1, 60_000), [answer([])]
    async with venue() as there, client(there, throttle=Throttle({})) as rest:
        there.script = lambda path: times_of_venue[0] if path.endswith("/time") else empty
        await rest.get_tickers()
        assert len(there.requests) == 1  # nobody asked
        assert rest.skew_ms is None
        await until(lambda: rest.skew_ms is not None)
        assert rest.skew_ms == pytest.approx(60_000, abs=2_000)
        await until(lambda: len(there.requests) >= 6)
    asked = len(there.requests)
    assert rest.skew_ms == pytest.approx(60_000, abs=2_000)  # it stays known
    assert len(there.requests) == asked


async def test_a_closed_client_does_not_begin_to_measure(client):
    async with venue() as there:
        async with client(there) as rest:
            pass
        assert rest.skew_ms is None and not there.connections
        assert (rest.rest if isinstance(rest, InThread) else rest)._session.time_sync is None


def test_outside_a_loop_the_skew_is_measured_with_the_first_call():
    rest = AsyncRestClient(base_url="http://127.0.0.1:1")
    assert rest.skew_ms is None and rest._time_task is None
    assert rest._session.time_sync is not None


@pytest.mark.parametrize("kind", [AsyncRestClient, RestClient])
async def test_a_venue_that_does_not_tell_its_time_holds_nothing_up(kind, until):
    sync = TimeSync()

    async with venue() as there:
        there.script = lambda path: STALL if path.endswith("/time") else answer([])
        rest = kind(base_url=there.url, time_sync=sync, throttle=Throttle({}), timeout_seconds=1.0)
        for _ in range(3):
            call = rest.get_tickers if kind is AsyncRestClient else None
            rows = await call() if call else await asyncio.to_thread(rest.get_tickers)
            assert rows == []
        await until(lambda: any(row[1].endswith("/time") for row in there.requests))
        assert sync.count == 0 and rest.skew_ms is None
        closing = rest.close()
        if closing is not None:
            await closing


@pytest.mark.parametrize("tells", [True, False])
async def test_a_closed_client_asks_for_the_time_no_more(until, monkeypatch, tells):
    def measuring():
        return [thread for thread in threading.enumerate() if thread.name == "nkfast time"]

    # Whatever the thread waits for, it waits for long.
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(rest_session, "BACKOFF_SECONDS_FIRST", 600.0)
    monkeypatch.setattr(rest_session, "BACKOFF_SECONDS_MAX", 600.0)
    await until(lambda: not measuring())  # those of other tests
    async with venue() as there:
        times = answer({"serverTime": 1}) if tells else CLOSE
        there.script = lambda path: times if path.endswith("/time") else answer([])
        with RestClient(base_url=there.url, time_sync=TimeSync()) as rest:
            await asyncio.to_thread(rest.get_tickers)
            await until(lambda: len(there.requests) == 2)
            assert measuring()
        await until(lambda: not measuring(), 2.0)
    assert len(there.requests) == 2
