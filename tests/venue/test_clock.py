"""Virtual time jumps, is exact, and is the same in every run."""

import asyncio
import socket
import time

import pytest

from nkfast.venue.clock import RealClock, VirtualClock, VirtualLoop, run_virtual

START_NS = 1_618_677_817_077_736_001
DAY_S = 86_400


def test_a_year_of_waiting_takes_no_time() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        await asyncio.sleep(365 * DAY_S)
        return clock.time_ns(), clock.monotonic_ns()

    started = time.perf_counter()
    unix_ns, monotonic_ns = run_virtual(main, START_NS)
    assert time.perf_counter() - started < 5
    assert monotonic_ns == 365 * DAY_S * 10**9
    assert unix_ns == START_NS + monotonic_ns


def test_time_is_exact_to_the_nanosecond() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        seen = []
        for delay_ns in (1, 2, 3, 999_999_999, 1_000_000_001, 30_768_733_900, 1):
            await asyncio.sleep(delay_ns / 10**9)
            seen.append(clock.time_ns() - START_NS)
        return seen

    expected, total = [], 0
    for delay_ns in (1, 2, 3, 999_999_999, 1_000_000_001, 30_768_733_900, 1):
        total += delay_ns
        expected.append(total)
    assert run_virtual(main, START_NS) == expected


def test_timers_run_in_the_order_of_their_times() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        for name, delay in (("c", 0.3), ("a", 0.1), ("b", 0.2)):
            loop.call_later(delay, lambda name=name: seen.append((name, clock.monotonic_ns())))
        loop.call_later(0.4, done.set)
        await done.wait()
        return seen

    assert run_virtual(main, 0) == [
        ("a", 100_000_000),
        ("b", 200_000_000),
        ("c", 300_000_000),
    ]


def test_timers_far_beyond_float_nanoseconds_still_come_due() -> None:
    async def main(clock: VirtualClock) -> int:
        for _ in range(40):
            await asyncio.sleep(100 * DAY_S)
            await asyncio.sleep(1e-9)
            await asyncio.sleep(0.1)
        return clock.monotonic_ns()

    elapsed_ns = run_virtual(main, 0)
    assert abs(elapsed_ns - 40 * (100 * DAY_S * 10**9 + 100_000_001)) < 40_000


def test_a_timeout_fires_at_its_virtual_time() -> None:
    async def main(clock: VirtualClock) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.get_running_loop().create_future()
        return clock.monotonic_ns()

    assert run_virtual(main, 0) == 10 * 10**9


def test_waiting_for_nothing_is_a_deadlock() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.sleep(1.5)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="deadlock at virtual time 1500000000 ns"):
        run_virtual(main, 0)


def test_real_sockets_are_refused() -> None:
    async def main(clock: VirtualClock) -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_recv(left, 1)
        finally:
            left.close()
            right.close()

    with pytest.raises(RuntimeError, match="no sockets"):
        run_virtual(main, 0)


def test_executor_jobs_run_inline_and_raise_their_own_errors() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        value = await asyncio.to_thread(lambda: 7)
        with pytest.raises(KeyError):
            await asyncio.to_thread({}.__getitem__, "absent")
        return value, clock.monotonic_ns()

    assert run_virtual(main, 0) == (7, 0)


def test_two_runs_take_the_same_steps() -> None:
    async def main(clock: VirtualClock) -> list[tuple[int, int]]:
        seen: list[tuple[int, int]] = []

        async def walker(number: int) -> None:
            for step in range(20):
                await asyncio.sleep(((number * 7 + step * 3) % 11) / 1000)
                seen.append((number, clock.monotonic_ns()))

        await asyncio.gather(*(walker(number) for number in range(10)))
        return seen

    assert run_virtual(main, 0) == run_virtual(main, 0)


def test_errors_of_the_program_come_out_unchanged() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.sleep(1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_virtual(main, 0)


def test_a_clock_refuses_a_start_before_1970() -> None:
    loop = VirtualLoop()
    try:
        with pytest.raises(ValueError, match="-1"):
            VirtualClock(loop, -1)
    finally:
        loop.close()


def test_a_machine_that_slept_has_lost_the_time_on_one_clock() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.sleep(1)
        clock.sleep_machine(3600)
        assert clock.monotonic_ns() == 10**9
        assert clock.boot_ns() == 3601 * 10**9
        assert clock.time_ns() == 3601 * 10**9 + 5

    run_virtual(main, 5)


def test_the_real_clock_moves() -> None:
    clock = RealClock()
    before = clock.monotonic_ns()
    assert abs(clock.time_ns() - time.time_ns()) < 60 * 10**9
    assert clock.monotonic_ns() >= before
    boot_ns = clock.boot_ns()
    assert 0 < boot_ns <= clock.boot_ns()


def test_a_skip_is_taken_only_where_nothing_would_have_happened() -> None:
    async def main(clock: VirtualClock) -> None:
        start_ns = clock.time_ns()
        loop = asyncio.get_running_loop()
        assert clock.skip_to(start_ns + 5)
        assert clock.time_ns() == start_ns + 5
        assert clock.skip_to(start_ns)  # never back
        assert clock.time_ns() == start_ns + 5
        happened = []
        loop.call_soon(happened.append, "soon")
        assert not clock.skip_to(start_ns + 10)
        await asyncio.sleep(0)
        loop.call_later(1, happened.append, "later")
        second = start_ns + 5 + 10**9
        assert clock.skip_to(second - 10)
        for when in (second, second + 1, second + 10**9):
            assert not clock.skip_to(when)
        assert clock.time_ns() == second - 10
        await asyncio.sleep(2)
        assert happened == ["soon", "later"]

    run_virtual(main, 10**18)
