import asyncio

import pytest

from nkfast.client.throttle import DEFAULT_RATES, Rate, Throttle
from nkfast.errors import ConfigError


class PretendedLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer instead of passing."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0]._when)
        super()._run_once()


def run(coroutine_function):
    with asyncio.Runner(loop_factory=PretendedLoop) as runner:
        return runner.run(coroutine_function())


def test_a_burst_goes_at_once_and_the_rest_at_the_rate():
    async def times():
        throttle = Throttle({"orders": Rate(2.0, 3)})
        start = asyncio.get_running_loop().time()
        found = []
        for _ in range(6):
            await throttle.acquire("orders")
            found.append(asyncio.get_running_loop().time() - start)
        return found

    assert run(times) == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])


def test_an_idle_bucket_fills_to_the_burst_and_no_further():
    async def times():
        loop = asyncio.get_running_loop()
        throttle = Throttle({"orders": Rate(2.0, 3)})
        for _ in range(3):
            await throttle.acquire("orders")
        await asyncio.sleep(100)
        start = loop.time()
        for _ in range(4):
            await throttle.acquire("orders")
        return loop.time() - start

    assert run(times) == pytest.approx(0.5)


def test_waiters_go_in_order():
    async def order():
        throttle = Throttle({"orders": Rate(10.0, 1)})
        found = []

        async def go(name):
            await throttle.acquire("orders")
            found.append(name)

        await asyncio.gather(*(go(name) for name in range(5)))
        return found

    assert run(order) == [0, 1, 2, 3, 4]


def test_cancels_do_not_wait_behind_orders():
    async def waited():
        loop = asyncio.get_running_loop()
        throttle = Throttle({"orders": Rate(1.0, 1), "cancels": Rate(1.0, 1)})
        waiting = [asyncio.ensure_future(throttle.acquire("orders")) for _ in range(100)]
        throttle.pause("orders", 60)
        await asyncio.sleep(0)
        start = loop.time()
        await throttle.acquire("cancels")
        for task in waiting:
            task.cancel()
        return loop.time() - start

    assert run(waited) == 0


def test_a_pause_holds_those_who_already_wait():
    async def times():
        loop = asyncio.get_running_loop()
        throttle = Throttle({"public": Rate(1.0, 1)})
        start = loop.time()
        await throttle.acquire("public")
        second = asyncio.ensure_future(throttle.acquire("public"))
        await asyncio.sleep(0)
        throttle.pause("public", 5)
        throttle.pause("public", 2)  # a shorter one takes nothing back
        await second
        return loop.time() - start

    assert run(times) == pytest.approx(5)


def test_a_pause_can_grow_while_it_is_waited_for():
    async def times():
        loop = asyncio.get_running_loop()
        throttle = Throttle({})
        start = loop.time()
        throttle.pause("public", 2)
        waiting = asyncio.ensure_future(throttle.acquire("public"))
        await asyncio.sleep(1)
        throttle.pause("public", 5)
        await waiting
        return loop.time() - start

    assert run(times) == pytest.approx(6)


def test_a_class_without_a_rate_is_not_limited():
    async def waited():
        loop = asyncio.get_running_loop()
        start = loop.time()
        throttle = Throttle({})
        for _ in range(1000):
            await throttle.acquire("public")
        return loop.time() - start

    assert run(waited) == 0


def test_every_class_has_a_default():
    assert set(DEFAULT_RATES) == {"public", "private", "orders", "cancels"}


@pytest.mark.parametrize("rate", [Rate(0.0, 1), Rate(-1.0, 1), Rate(1.0, 0), Rate(float("nan"), 1)])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ConfigError):
        Throttle({"orders": rate})
