"""TLS with an authority of the test's own, and proxies, against the simulated exchange."""

import asyncio
import datetime
import ssl
import struct
from contextlib import asynccontextmanager

import pytest
import trustme

from nkfast import errors
from nkfast.client.websocket import WebSocketClient
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.wire.models import ApiCredentials

KEY = ApiCredentials("demo-key", "demo-secret")


@asynccontextmanager
async def exchange(certificate=None):
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
    async with serve(ExchangeSettings(speed=0.0, tls=context)) as there:
        yield there


def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


async def test_a_certificate_of_a_known_authority_is_taken(authority):
    async with exchange(authority.issue_cert("127.0.0.1")) as there:
        assert there.ws_url.startswith("wss://")
        async with WebSocketClient(there.ws_url, KEY, ssl_context=trusting(authority)) as client:
            balances = await client.get_trading_balance()
        assert "BTC" in {balance.asset for balance in balances}


def wrong_host(authority):
    return authority.issue_cert("127.0.0.2"), trusting(authority)


def self_signed(authority):
    return trustme.CA().issue_cert("127.0.0.1"), trusting(authority)


def system_authorities(authority):
    return authority.issue_cert("127.0.0.1"), None


def expired(authority):
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = authority.issue_cert("127.0.0.1", not_after=past)
    return certificate, trusting(authority)


@pytest.mark.parametrize("kind", [wrong_host, self_signed, system_authorities, expired])
async def test_a_bad_certificate_is_refused_before_anything_is_said(authority, kind):
    certificate, context = kind(authority)
    asyncio.get_running_loop().set_exception_handler(lambda loop, details: None)
    async with exchange(certificate) as there:
        client = WebSocketClient(there.ws_url, KEY, ssl_context=context)
        with pytest.raises(
            errors.UnreachableError, match=r"(?i)certificate.verify.failed"
        ) as caught:
            await client.connect(0.4)
        assert caught.value.sent == "no"
        assert not there.connections and client.counters["connections"] == 0


def test_verification_cannot_be_switched_off(authority):
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(errors.ConfigError, match="must verify"):
        WebSocketClient(ssl_context=careless)
    careless.verify_mode = ssl.CERT_NONE
    with pytest.raises(errors.ConfigError, match="must verify"):
        WebSocketClient(ssl_context=careless)


class Proxy:
    """An HTTP or a SOCKS 5 proxy for one test.

    Attributes
    ----------
    url : str
    tunnels : list of str
        Where it was asked to connect, ``host:port``.
    """

    def __init__(self, kind):
        self._kind = kind
        self.tunnels = []
        self.url = ""
        self.refuses = False

    async def accept(self, reader, writer):
        try:
            target = await getattr(self, f"_{self._kind}")(reader, writer)
            if target is None:
                return
            their_reader, their_writer = await asyncio.open_connection(*target)
            ways = [self._pump(reader, their_writer), self._pump(their_reader, writer)]
            await asyncio.gather(*ways)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that leaves
        finally:
            writer.close()

    async def _pump(self, reader, writer):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def _http(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        assert method == "CONNECT"
        self.tunnels.append(target)
        if self.refuses:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        host, _, port = target.rpartition(":")
        return host, int(port)

    async def _socks5(self, reader, writer):
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        if kind == 1:
            host = ".".join(map(str, await reader.readexactly(4)))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        self.tunnels.append(f"{host}:{port}")
        writer.write(bytes([5, 5 if self.refuses else 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        return None if self.refuses else (host, port)


@asynccontextmanager
async def proxy(kind):
    made = Proxy(kind)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.url = f"{kind}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("is_secure", [False, True])
async def test_everything_goes_through_the_proxy(authority, kind, is_secure):
    certificate = authority.issue_cert("127.0.0.1") if is_secure else None
    context = trusting(authority) if is_secure else None
    async with exchange(certificate) as there, proxy(kind) as between:
        client = WebSocketClient(there.ws_url, KEY, proxy=between.url, ssl_context=context)
        async with client:
            assert await client.get_trading_balance()
        assert between.tunnels == [there.ws_url.rstrip("/").partition("://")[2]]


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_that_refuses_is_told_of(kind):
    async with exchange() as there, proxy(kind) as between:
        between.refuses = True
        client = WebSocketClient(there.ws_url, proxy=between.url)
        with pytest.raises(errors.UnreachableError, match="cannot connect: ProxyError"):
            await client.connect(0.4)
        assert between.tunnels and not there.connections


async def test_the_environment_is_not_asked_for_a_proxy(monkeypatch):
    async with exchange() as there, proxy("http") as between:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY"):
            monkeypatch.setenv(name, between.url)
            monkeypatch.setenv(name.lower(), between.url)
        async with WebSocketClient(there.ws_url):
            pass
        assert between.tunnels == []


async def test_the_client_says_who_it_is():
    heads = []

    async def accept(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for options in ({}, {"user_agent": "my bot"}):
        with pytest.raises(errors.UnreachableError):
            await WebSocketClient(url, **options).connect(0.2)
    server.close()
    assert b"User-Agent: nkfast (trading client)" in heads[0]
    assert b"User-Agent: my bot" in heads[-1]
    assert not any(b"Sec-WebSocket-Extensions" in head for head in heads)
