"""The way to a server: who we say we are, TLS that is verified, and the proxy between, if any."""

import base64
import re
import ssl
from collections.abc import Callable
from functools import cached_property
from math import inf
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from nkfast.errors import ConfigError

__all__ = [
    "IS_NOT_TLS",
    "PROXY_SCHEMES",
    "USER_AGENT",
    "Request",
    "Road",
    "Tunnel",
    "refuse_unverified",
]

#: The venue's front refuses the stock agents of HTTP libraries.
USER_AGENT = "nkfast (trading client)"
PROXY_SCHEMES = ("http", "https", "socks4", "socks5")
#: What OpenSSL says of an answer that is no TLS.
IS_NOT_TLS = re.compile("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG")
#: What is said of no answer at all, and of one that is no HTTP.
_IS_NOT_HTTP = re.compile("Disconnected|cut off|(?i:status line)")
_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks5": 1080}


def refuse_unverified(context: ssl.SSLContext) -> None:
    """Raise `ConfigError` for a context that does not verify certificate and host name."""
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError(
            "ssl_context must verify certificate and host name: for an authority of your own use "
            "ssl.create_default_context(cafile=...)"
        )


class Request(NamedTuple):
    """One HTTP request; ``target`` and ``body`` go over the wire exactly so.

    ``make_headers`` is called when the connection is there and it is written at once: a nonce
    taken before would be old by then, and others sent with newer ones.
    """

    method: str
    url: str
    target: str
    make_headers: Callable[[], dict[str, str]]
    body: bytes


class Tunnel(NamedTuple):
    """A proxy that connects on to the server; ``kind`` is http, socks4 or socks5."""

    kind: str
    host: str
    port: int
    is_tls: bool
    username: str | None
    password: str | None


class Road:
    """How the server of a base URL is reached, and what a request to it looks like on the wire.

    Parameters
    ----------
    base_url : str
        ``http(s)://host[:port]/path`` without a slash at the end.
    ssl_context : ssl.SSLContext or None
        For the server and for a proxy that speaks TLS; None takes the system's authorities.
    proxy : str or None
        ``http://``, ``https://``, ``socks4://`` or ``socks5://``, perhaps with user and password.
    trust_environment : bool
        Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY are obeyed where ``proxy`` is None.
    user_agent : str
    timeout_seconds : float
        From connecting to the last byte of a response.
    connections : int
        So many are kept for later.

    Attributes
    ----------
    headers : dict of str to str
        Of every request.
    host, port : str, int
        What to connect to; with a ``tunnel``, what to ask it to connect to.
    is_tls : bool
        Whether TLS is spoken with ``host``.
    tunnel : Tunnel or None
        None where there is no proxy, and for one that is sent the request itself because it is
        not encrypted: that one is the ``host``.
    forward_proxy : str or None
        The URL of that one, without user and password.

    Raises
    ------
    ConfigError
    """

    def __init__(
        self,
        base_url: str,
        *,
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
        trust_environment: bool,
        user_agent: str,
        timeout_seconds: float,
        connections: int,
    ) -> None:
        if not 0.0 < timeout_seconds < inf:
            raise ConfigError(f"timeout_seconds must be positive, was {timeout_seconds}")
        if connections < 1:
            raise ConfigError(f"connections must be at least 1, was {connections}")
        if ssl_context is not None:
            refuse_unverified(ssl_context)
        if not user_agent.isascii() or not user_agent.isprintable():
            raise ConfigError(f"user_agent must be one line of ASCII, was {user_agent!r}")
        server = _split(base_url, ("http", "https"), "base_url")
        if base_url.endswith("/") or server.username or server.query or server.fragment:
            raise ConfigError(
                f"base_url must be http(s)://host/path without '/' at its end, was {base_url!r}"
            )
        if proxy is None and trust_environment and not proxy_bypass(server.netloc):
            proxy = getproxies().get(server.scheme)
        between = None if proxy is None else _split(proxy, PROXY_SCHEMES, "proxy")
        self.host, self.port, self.is_tls = _address(server)
        self.tunnel: Tunnel | None = None
        self.forward_proxy: str | None = None
        self.timeout_seconds = timeout_seconds
        self.connections = connections
        self._given_context = ssl_context
        self.headers = {
            "Host": server.netloc,
            "User-Agent": user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if between is None:
            return
        if between.scheme.startswith("socks") or self.is_tls:
            self.tunnel = _tunnel(between)
            return
        self.host, self.port, self.is_tls = _address(between)
        self.forward_proxy = f"{between.scheme}://{between.netloc.rpartition('@')[2]}"
        if between.username is not None:
            self.headers["Proxy-Authorization"] = _basic(between)

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """What verifies certificates; made when first needed, which takes milliseconds."""
        return self._given_context or ssl.create_default_context()

    @cached_property
    def _head(self) -> str:
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
        return " HTTP/1.1\r\n" + "".join(lines)

    def explain(self, error: BaseException, *, is_sent: bool) -> str:
        """Say what stood in the way, and what to try where it looks like the wrong address."""
        text = f"{type(error).__name__}: {error}"
        is_late = isinstance(error, TimeoutError)
        if is_late:
            what = "no whole answer" if is_sent else "no connection"
            text = f"{type(error).__name__}: {what} within {self.timeout_seconds} s"
        if self.is_tls:
            if not is_sent and (is_late or IS_NOT_TLS.search(text)):
                text += "; if the server does not speak TLS there, its URL begins with http://"
        elif is_sent and not is_late and _IS_NOT_HTTP.search(text):
            text += "; if the server speaks TLS there, its URL begins with https://"
        return text

    def packet(self, request: Request) -> bytes:
        """Return a request as it must be written now, head and body in one piece.

        Raises
        ------
        UnreachableError, ConfigError
            There is no nonce for it.
        """
        place = request.target if self.forward_proxy is None else request.url
        lines = [request.method, " ", place, self._head]
        for name, value in request.make_headers().items():
            lines += (name, ": ", value, "\r\n")
        if request.method == "POST":
            lines.append(f"Content-Length: {len(request.body)}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("ascii") + request.body


def _split(url: str, schemes: tuple[str, ...], name: str) -> SplitResult:
    # The text may hold a password: the error does not repeat it.
    try:
        parts = urlsplit(url)
        if parts.scheme in schemes and parts.hostname and (parts.port or 1):
            return parts
    except ValueError:
        pass
    raise ConfigError(f"{name} must be one of {', '.join(schemes)}, then ://host or ://host:port")


def _address(parts: SplitResult) -> tuple[str, int, bool]:
    assert parts.hostname is not None
    return parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "https"


def _tunnel(parts: SplitResult) -> Tunnel:
    username = None if parts.username is None else unquote(parts.username)
    password = None if username is None else unquote(parts.password or "")
    return Tunnel(parts.scheme.replace("https", "http"), *_address(parts), username, password)


def _basic(parts: SplitResult) -> str:
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    return "Basic " + base64.b64encode(pair).decode()
