import asyncio
import gc
import sys

import pytest

from nkfast import errors
from nkfast.client.busy_poll import BusyPoll
from nkfast.client.staleness import CHECKS_PER_LIMIT, StalenessClock
from nkfast.client.streams import Lane, Stream


async def read(stream, count):
    return [await anext(stream) for _ in range(count)]


async def test_items_come_in_order_and_the_oldest_are_dropped_and_counted():
    stream = Stream(3)
    lost = [stream.put(number) for number in range(5)]
    assert lost == [None, None, None, 0, 1]
    assert await read(stream, 3) == [2, 3, 4]
    assert (stream.dropped, stream.conflated, len(stream)) == (2, 0, 0)


async def test_items_of_one_key_conflate_in_place():
    stream = Stream(3)
    for item, key in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")):
        stream.put(item, key)
    assert await read(stream, 2) == ["a3", "b1"]
    assert (stream.dropped, stream.conflated) == (0, 2)


async def test_a_reader_that_waits_is_woken():
    stream = Stream()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert not reader.done()
    stream.put("x")
    assert await asyncio.wait_for(reader, 5) == "x"


async def test_a_reader_that_gave_up_waiting_can_come_back():
    stream = Stream()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.001)
    stream.put("x")
    assert await anext(stream) == "x"


async def test_the_end_comes_after_what_waits():
    stream = Stream()
    stream.put(1)
    stream.finish()
    assert stream.put(2) == 2
    assert [item async for item in stream] == [1]


async def test_an_end_for_a_reason_is_raised():
    stream = Stream()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.finish(errors.AuthenticationError("no"))
    with pytest.raises(errors.AuthenticationError):
        await reader


async def test_closing_tells_the_owner_once():
    closed = []
    stream = Stream(5, closed.append)
    async with stream:
        stream.put(1)
    await stream.aclose()
    assert closed == [stream]
    assert [item async for item in stream] == []


def test_a_queue_without_room_is_refused():
    with pytest.raises(errors.ConfigError, match="at least 1, was 0"):
        Stream(0)


async def test_a_lane_runs_one_call_at_a_time_in_order(until):
    seen, running = [], []

    async def work(number):
        assert not running
        running.append(number)
        await asyncio.sleep(0)
        seen.append(running.pop())

    lane = Lane(pytest.fail)
    for number in range(5):
        assert lane.run(work(number))
    await until(lambda: not lane.is_busy)
    assert seen == [0, 1, 2, 3, 4]


async def test_a_slow_lane_stays_small_and_leaves_no_warning(until):
    gate, seen = asyncio.Event(), []

    async def work(number):
        await gate.wait()
        seen.append(number)

    lane = Lane(pytest.fail, queue_max=2)
    fits = [lane.run(work(number)) for number in range(6)]
    assert fits == [True, True, False, False, False, False]
    gate.set()
    await until(lambda: not lane.is_busy)
    assert seen == [4, 5] and lane.dropped == 4
    gc.collect()  # a coroutine that was never awaited would warn now, and warnings are errors


async def test_a_lane_reports_and_goes_on(until):
    reported, seen = [], []

    async def work(number):
        if number == 1:
            raise RuntimeError("the handler's own fault")
        seen.append(number)

    lane = Lane(reported.append)
    for number in range(3):
        lane.run(work(number))
    await until(lambda: not lane.is_busy)
    assert seen == [0, 2]
    assert [str(error) for error in reported] == ["the handler's own fault"]


async def test_a_cancelled_lane_ends_what_runs(until):
    ended = []

    async def work():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    lane = Lane(pytest.fail)
    lane.run(work())
    await asyncio.sleep(0)
    lane.run(work())
    lane.cancel()
    await until(lambda: not lane.is_busy)
    assert ended == [True]


def test_silence_is_found_within_the_limit_and_not_long_before():
    clock = StalenessClock(lambda key: {"fast": 1.0, "slow": 5.0}.get(key))
    step = 1.0 / CHECKS_PER_LIMIT
    found = {}
    for number in range(100):
        now = number * step
        for key in clock.check({"fast": 7, "slow": 7, "unwatched": 7}, now):
            found.setdefault(key, []).append(now)
    assert 0.9 <= found["fast"][0] <= 1.0 + 1e-9
    assert 4.5 <= found["slow"][0] <= 5.0
    assert "unwatched" not in found
    assert 9 <= len(found["fast"]) <= 11  # found once for every limit, not at every check


def test_news_begin_the_time_anew():
    clock = StalenessClock(lambda key: 1.0)
    for number in range(100):
        assert clock.check({"a": number // 5}, number * 0.1) == []


def test_a_stream_that_was_away_begins_anew():
    clock = StalenessClock(lambda key: 1.0)
    assert clock.check({"a": 1}, 0.0) == []
    assert clock.check({}, 10.0) == []
    assert clock.check({"a": 1}, 20.0) == []
    assert clock.check({"a": 1}, 21.0) == ["a"]


async def test_busy_polling_keeps_the_loop_from_sleeping(until):
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_selector"):
        pytest.skip("asyncio's own loop is looked into; the next test is for uvloop")
    timeouts = []
    select = loop._selector.select
    loop._selector.select = lambda timeout=None: (timeouts.append(timeout), select(timeout))[1]
    try:
        busy = BusyPoll()
        busy.start()
        busy.start()
        assert busy.is_running
        await asyncio.sleep(0.01)
        assert len(timeouts) > 20 and set(timeouts[1:]) == {0}
        busy.stop()
        assert not busy.is_running
        await asyncio.sleep(0)
        timeouts.clear()
        await asyncio.sleep(0.01)
        assert len(timeouts) < 10
    finally:
        loop._selector.select = select


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run on Windows")
def test_busy_polling_keeps_uvloop_from_sleeping():
    uvloop = pytest.importorskip("uvloop")
    turns = []

    class Counting(BusyPoll):
        def _turn(self):
            turns.append(asyncio.get_running_loop().time())
            super()._turn()

    async def main():
        busy = Counting()
        busy.start()
        await asyncio.sleep(0.01)
        busy.stop()
        assert len(turns) > 20
        turns.clear()
        await asyncio.sleep(0.01)
        assert turns == []

    uvloop.run(main())
