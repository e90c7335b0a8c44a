"""Connections through proxies that connect on: SOCKS 4 and 5, and CONNECT of HTTP.

Imported when there is such a proxy: python-socks takes a while to load. What it raises becomes
an `OSError`, like anything else that stands in the way.
"""

import socket
from typing import Any, cast

from python_socks import ProxyError, ProxyType
from python_socks.sync.v2 import Proxy

from nkfast.client.roads import Road

__all__ = ["open_socket", "proxy_options"]

_TYPES = {"http": ProxyType.HTTP, "socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}


def open_socket(road: Road) -> socket.socket:
    """Return a socket to the server of a road, with TLS where the road has it.

    Raises
    ------
    OSError
    """
    try:
        stream = Proxy(**proxy_options(road)).connect(
            road.host, road.port, road.ssl_context if road.is_tls else None, road.timeout_seconds
        )
    except ProxyError as error:
        raise ConnectionError(f"the proxy refused: {error}") from error
    # TLS within TLS is no socket, but has what is used of one.
    return cast(socket.socket, stream.socket)


def proxy_options(road: Road) -> dict[str, Any]:
    """Return what python-socks, and what is built on it, has to know of a road's proxy."""
    tunnel = road.tunnel
    assert tunnel is not None
    return {
        "proxy_type": _TYPES[tunnel.kind],
        "host": tunnel.host,
        "port": tunnel.port,
        "username": tunnel.username,
        "password": tunnel.password,
        "proxy_ssl": road.ssl_context if tunnel.is_tls else None,
    }
