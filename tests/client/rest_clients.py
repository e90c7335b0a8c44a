"""Both REST clients, driven alike, and an order for them."""

import asyncio
from decimal import Decimal

from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.rest import RestClient
from nkfast.wire.models import ApiCredentials, OrderRequest

KEY = ApiCredentials("the-key", "the-secret")
ORDER = {
    "id": "o1",
    "userProvidedId": "nk-1",
    "symbol": "AAA/USDT",
    "side": "buy",
    "type": "limit",
    "price": "1.25",
    "quantity": "40",
    "executedQuantity": "0",
    "status": "New",
}
REQUEST = OrderRequest(
    symbol="AAA/USDT",
    side="buy",
    quantity=Decimal(40),
    price=Decimal("1.25"),
    user_provided_id="nk-1",
)


class InThread:
    """A sync client whose methods are awaited, so that one test drives both clients."""

    def __init__(self, rest):
        self.rest = rest

    def __getattr__(self, name):
        value = getattr(self.rest, name)
        if not callable(value):
            return value

        async def method(*args, **kwargs):
            return await asyncio.to_thread(value, *args, **kwargs)

        return method

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.rest.close()


def make_async(scripted, credentials=None, **options):
    options = {"allow_changes": True, "allow_withdrawals": True, "timeout_seconds": 5.0} | options
    return AsyncRestClient(credentials, base_url=scripted.url, **options)


def make_sync(scripted, credentials=None, **options):
    options = {"allow_changes": True, "allow_withdrawals": True, "timeout_seconds": 5.0} | options
    return InThread(RestClient(credentials, base_url=scripted.url, **options))
