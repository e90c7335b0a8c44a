import asyncio

import pytest
from client.rest_clients import make_async, make_sync

from nkfast.client import rest_session


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


@pytest.fixture(params=[make_async, make_sync], ids=["async", "sync"])
def client(request, monkeypatch):
    """Make one of the REST clients, which does not wait long before it tries again."""
    monkeypatch.setattr(rest_session, "BACKOFF_SECONDS_FIRST", 0.001)
    return request.param
