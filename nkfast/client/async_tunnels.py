"""Connections of aiohttp through proxies that connect on: SOCKS 4 and 5, and CONNECT of HTTP.

Imported when there is such a proxy: it takes a while to load.
"""

from typing import Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp_socks import ProxyConnector, ProxyError, ProxyTimeoutError

from nkfast.client.async_connections import SigningConnector

__all__ = ["TunnelConnector"]


class TunnelConnector(SigningConnector, ProxyConnector):
    """Signs like `SigningConnector`; takes what `proxy_options` returns, too."""

    async def connect(
        self, req: aiohttp.ClientRequest, *arguments: Any, **options: Any
    ) -> Connection:
        """Return a connection through the proxy for a request that is complete now."""
        try:
            return await super().connect(req, *arguments, **options)
        except (ProxyError, ProxyTimeoutError) as error:
            raise aiohttp.ClientConnectionError(f"the proxy refused: {error}") from error
