"""TLS with an authority of the test's own, and proxies, against the simulated exchange."""

import asyncio
import datetime
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme
from client.scripted_http import tunnel

from nkfast import errors
from nkfast.client.websocket import WebSocketClient
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.wire.models import ApiCredentials

KEY = ApiCredentials("demo-key", "demo-secret")


@asynccontextmanager
async def exchange(certificate=None):
    context = None
    if certificate is not None:
        context = serving(certificate)
    async with serve(ExchangeSettings(speed=0.0, tls=context)) as there:
        yield there


def serving(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


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


@pytest.mark.parametrize("kind", ["http", "https", "socks4", "socks5"])
@pytest.mark.parametrize("user", ["", "me:p%40ss@"])
@pytest.mark.parametrize("is_secure", [False, True])
async def test_everything_goes_through_the_proxy(authority, kind, user, is_secure):
    certificate = authority.issue_cert("127.0.0.1") if is_secure else None
    context = trusting(authority) if is_secure or kind == "https" else None
    proxy_tls = serving(authority.issue_cert("127.0.0.1")) if kind == "https" else None
    async with exchange(certificate) as there, tunnel(kind, proxy_tls) as between:
        address = between.url.replace("//", f"//{user}")
        client = WebSocketClient(there.ws_url, KEY, proxy=address, ssl_context=context)
        async with client:
            assert await client.get_trading_balance()
        assert between.asked == [there.ws_url.rstrip("/").partition("://")[2]]
        assert between.users == ([] if not user else ["me"] if kind == "socks4" else ["me:p@ss"])


@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
async def test_a_proxy_that_refuses_is_told_of(kind):
    async with exchange() as there, tunnel(kind) as between:
        between.refuses = True
        client = WebSocketClient(there.ws_url, proxy=between.url)
        with pytest.raises(errors.UnreachableError, match="cannot connect: ProxyError") as caught:
            await client.connect(0.4)
        assert caught.value.sent == "no" and between.asked and not there.connections


@pytest.mark.parametrize("speaks_tls", [False, True])
async def test_tls_on_one_side_alone_is_told_at_once(authority, speaks_tls):
    right, wrong = ("wss", "ws") if speaks_tls else ("ws", "wss")
    async with exchange(authority.issue_cert("127.0.0.1") if speaks_tls else None) as there:
        url = there.ws_url.replace(f"{right}:", f"{wrong}:")
        client = WebSocketClient(url, KEY, ssl_context=trusting(authority))
        with pytest.raises(errors.UnreachableError, match=f"url begins with {right}://") as caught:
            await client.connect(0.4)
        assert caught.value.sent == "no" and not client.counters["connections"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_that_is_none_is_refused(seconds):
    with pytest.raises(errors.ConfigError, match="request_timeout_seconds must be positive"):
        WebSocketClient(request_timeout_seconds=seconds)


async def test_the_environment_is_not_asked_for_a_proxy(monkeypatch):
    async with exchange() as there, tunnel() as between:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY"):
            monkeypatch.setenv(name, between.url)
            monkeypatch.setenv(name.lower(), between.url)
        async with WebSocketClient(there.ws_url):
            pass
        assert between.asked == []


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
