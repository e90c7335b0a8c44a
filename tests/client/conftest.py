import asyncio

import pytest


@pytest.fixture
def until():
    """Wait for an effect, with a deadline."""

    async def wait(condition, seconds=10.0):
        deadline = asyncio.get_running_loop().time() + seconds
        while not (result := condition()):
            assert asyncio.get_running_loop().time() < deadline, "waited in vain"
            await asyncio.sleep(0.001)
        return result

    return wait
