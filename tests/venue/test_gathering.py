"""Who asks together shares a reading; nobody gets an answer older than his question."""

import asyncio
from collections.abc import Sequence

import pytest

from nkfast.errors import UnreachableError
from nkfast.venue.clock import run_virtual
from nkfast.venue.gathering import Gathering


class Slow:
    """Reads for a second; notes who asked, and when it began."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.fails = False

    async def read(self, questions: Sequence[int]) -> int:
        self.asked.append(list(questions))
        number = len(self.asked)
        await asyncio.sleep(1)
        if self.fails:
            raise UnreachableError("no answer")
        return number


def run(scenario) -> None:
    run_virtual(lambda _: scenario(Slow()), 0)


def test_who_asks_together_shares_a_reading() -> None:
    async def scenario(slow: Slow) -> None:
        gathering = Gathering(slow.read)
        answers = await asyncio.gather(*(gathering.ask(n) for n in range(50)))
        assert answers == [1] * 50
        assert slow.asked == [list(range(50))]
        assert await gathering.ask(50) == 2

    run(scenario)


def test_a_reading_on_its_way_is_no_answer_to_a_later_question() -> None:
    async def scenario(slow: Slow) -> None:
        gathering = Gathering(slow.read)
        first = asyncio.create_task(gathering.ask(1))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(gathering.ask(2))
        assert (await first, await second) == (1, 2)
        assert slow.asked == [[1], [2]]

    run(scenario)


def test_an_error_is_for_all_and_ends_with_them() -> None:
    async def scenario(slow: Slow) -> None:
        gathering = Gathering(slow.read)
        slow.fails = True
        answers = await asyncio.gather(
            *(gathering.ask(n) for n in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [UnreachableError] * 3
        slow.fails = False
        assert await gathering.ask(9) == 2

    run(scenario)


def test_who_gives_up_does_not_take_the_answer_from_others() -> None:
    async def scenario(slow: Slow) -> None:
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        gathering = Gathering(slow.read)
        first, second = (asyncio.create_task(gathering.ask(n)) for n in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == 1
        slow.fails = True
        alone = asyncio.create_task(gathering.ask(3))
        await asyncio.sleep(0.5)
        alone.cancel()
        await asyncio.sleep(5)
        assert failures == []

    run(scenario)


def test_closing_gives_up_what_is_read() -> None:
    async def scenario(slow: Slow) -> None:
        gathering = Gathering(slow.read)
        waiting = asyncio.create_task(gathering.ask(1))
        await asyncio.sleep(0.5)
        await gathering.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(asyncio.all_tasks()) == 1
        assert await gathering.ask(2) == 2

    run(scenario)
