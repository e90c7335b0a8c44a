"""The way of both REST clients to the venue: TLS, proxies, connections that are kept."""

import asyncio
import base64
import datetime
import socket
import ssl
import sys
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import aiohttp
import pytest
import trustme
from client.rest_clients import KEY, ORDER, REQUEST, make_async
from client.scripted_http import STALL, STALL_UNTIL_TOLD, Cut, answer, tunnel, venue

from nkfast import errors
from nkfast.app.loop import run
from nkfast.client import async_connections, idle
from nkfast.client.rest import RestClient
from nkfast.client.throttle import Throttle
from nkfast.exchange.server import ExchangeSettings, serve


async def test_proxies_of_the_environment_are_ignored(client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with venue(answer({"serverTime": 1790000000123})) as there:
        async with client(there) as rest:
            assert (await rest.get_time()).time_ms == 1790000000123
        async with client(there, trust_environment=True, attempts=1) as rest:
            with pytest.raises(errors.UnreachableError):
                await rest.get_time()


def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serving(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


async def test_a_certificate_of_a_known_authority_is_taken(client, authority):
    tls = serving(authority.issue_cert("127.0.0.1"))
    async with venue(*[answer({"serverTime": 1790000000123})] * 2, tls=tls) as there:
        async with client(there, ssl_context=trusting(authority)) as rest:
            assert (await rest.get_time()).time_ms == 1790000000123
            assert (await rest.get_time()).time_ms == 1790000000123
        assert there.connections == 1


@pytest.mark.parametrize("kind", ["wrong host", "unknown authority", "expired"])
async def test_a_bad_certificate_is_refused_before_anything_is_said(client, authority, kind):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = {
        "wrong host": lambda: authority.issue_cert("127.0.0.2"),
        "unknown authority": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_after=yesterday),
    }[kind]()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with venue(answer({}), tls=serving(certificate)) as there:
        async with client(there, KEY, ssl_context=trusting(authority)) as rest:
            with pytest.raises(
                errors.UnreachableError, match=r"(?i)certificate.verify.failed"
            ) as caught:
                await rest.create_order(REQUEST)
        assert caught.value.sent == "no" and not there.requests


def test_verification_cannot_be_switched_off(client):
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    with pytest.raises(errors.ConfigError, match="must verify"):
        client(SimpleNamespace(url="https://x"), ssl_context=unverified)


async def test_a_plain_proxy_gets_the_whole_url(client):
    async with venue(*[answer([])] * 2) as proxy:
        there = SimpleNamespace(url="http://venue.invalid/api/v2")
        address = proxy.url.removesuffix("/api/v2").replace("//", "//me:p%40ss@")
        async with client(there, KEY, proxy=address) as rest:
            await rest.get_balances()
            await rest.get_balances()
    for request in proxy.requests:
        assert request[1] == "http://venue.invalid/api/v2/balances"
        assert request[2]["host"] == "venue.invalid"
        assert base64.b64decode(request[2]["proxy-authorization"].split()[1]) == b"me:p@ss"
    assert proxy.connections == 1


@pytest.mark.parametrize("kind", ["http", "https", "socks4", "socks5"])
@pytest.mark.parametrize("user", ["", "me:p%40ss@"])
async def test_through_a_proxy_tls_goes_to_the_venue(client, authority, kind, user):
    tls = serving(authority.issue_cert("127.0.0.1"))
    proxy_tls = serving(authority.issue_cert("127.0.0.1")) if kind == "https" else None
    async with venue(*[answer([])] * 2, tls=tls) as there, tunnel(kind, proxy_tls) as proxy:
        options = {
            "ssl_context": trusting(authority),
            "proxy": proxy.url.replace("//", f"//{user}"),
        }
        async with client(there, KEY, **options) as rest:
            await rest.get_balances()
            await rest.get_balances()
    assert proxy.asked == [there.url.removeprefix("https://").removesuffix("/api/v2")]
    assert proxy.users == ([] if not user else ["me"] if kind == "socks4" else ["me:p@ss"])
    assert [request[1] for request in there.requests] == ["/api/v2/balances"] * 2


@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
def test_the_same_on_the_loop_that_nkfast_runs_on(authority, kind):
    run(test_through_a_proxy_tls_goes_to_the_venue(make_async, authority, kind, "me:p%40ss@"))


def test_a_kept_connection_on_the_loop_that_nkfast_runs_on():
    run(test_a_connection_after_which_nothing_may_come_is_not_used(make_async, answer([]) * 2))
    run(test_time_that_runs_out_before_anything_is_sent_leaves_nothing_unknown(make_async))


@pytest.mark.parametrize("kind", ["socks4", "socks5"])
async def test_what_is_not_encrypted_goes_through_socks_too(client, kind):
    async with venue(answer([])) as there, tunnel(kind) as proxy:
        async with client(there, KEY, proxy=proxy.url) as rest:
            await rest.get_balances()
    assert len(proxy.asked) == 1 and there.requests[0][1] == "/api/v2/balances"


async def test_a_plain_request_goes_to_a_proxy_over_tls(client, authority):
    async with venue(answer([]), tls=serving(authority.issue_cert("127.0.0.1"))) as proxy:
        there = SimpleNamespace(url="http://venue.invalid/api/v2")
        address = proxy.url.removesuffix("/api/v2")
        async with client(there, proxy=address, ssl_context=trusting(authority)) as rest:
            await rest.get_tickers()
    assert proxy.requests[0][1] == "http://venue.invalid/api/v2/tickers"


@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
async def test_a_proxy_that_refuses_means_that_nothing_was_sent(client, authority, kind):
    async with (
        venue(tls=serving(authority.issue_cert("127.0.0.1"))) as there,
        tunnel(kind) as proxy,
    ):
        proxy.refuses = True
        async with client(there, KEY, proxy=proxy.url) as rest:
            with pytest.raises(errors.UnreachableError, match="proxy refused") as caught:
                await rest.create_order(REQUEST)
    assert caught.value.sent == "no" and len(proxy.asked) == 1 and not there.requests


@pytest.mark.parametrize(
    "proxy", ["http://me:secret@:1", "socks5://me:secret@x:port", "me:secret@x"]
)
def test_the_error_of_a_bad_proxy_does_not_tell_its_password(client, proxy):
    with pytest.raises(errors.ConfigError, match="proxy must be") as caught:
        client(SimpleNamespace(url="https://x"), proxy=proxy)
    assert "secret" not in str(caught.value)


def test_a_user_agent_cannot_smuggle_a_header(client):
    there = SimpleNamespace(url="http://127.0.0.1:1")
    with pytest.raises(errors.ConfigError, match="user_agent"):
        client(there, user_agent="a\r\nX: y")


async def test_the_user_agent_is_an_option(client):
    async with venue(answer([])) as there, client(there, user_agent="mine/1") as rest:
        await rest.get_tickers()
    assert there.requests[0][2]["user-agent"] == "mine/1"


async def test_a_connection_that_was_closed_while_idle_is_not_used(client):
    async with venue(Cut(answer([])), answer(ORDER)) as there, client(there, KEY) as rest:
        await rest.get_balances()
        await there.writers[0].wait_closed()
        await asyncio.sleep(0)  # the loop, which the async client shares, has seen the end
        assert (await rest.create_order(REQUEST)).order_id == "o1"
    assert there.connections == 2


@pytest.mark.parametrize("last", [answer([], Connection="close"), answer([]) + answer([])])
async def test_a_connection_after_which_nothing_may_come_is_not_used(client, last):
    async with venue(last, answer(ORDER)) as there, client(there, KEY) as rest:
        await rest.get_balances()
        assert (await rest.create_order(REQUEST)).order_id == "o1"
    assert there.connections == 2


async def test_a_connection_in_use_while_another_answered_uncertainly_is_used_no_more(
    client, until
):
    async with venue() as there, client(there, KEY) as rest:
        there.script = [STALL_UNTIL_TOLD, answer(b"<html>", 502), answer([])]
        slow = asyncio.ensure_future(rest.get_balances())
        await until(lambda: there.requests)
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        there.writers[0].write(answer([]))
        assert await slow == []
        await rest.get_balances()
    assert there.connections == 3


async def test_calls_in_flight_survive_an_uncertain_answer_to_another(until):
    async with venue() as there, make_async(there, KEY) as rest:
        there.script = [STALL_UNTIL_TOLD, answer(b"<html>", 502)]
        slow = asyncio.ensure_future(rest.get_balances())
        await until(lambda: there.requests)
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        there.writers[0].write(answer([]))
        assert await slow == []


async def test_an_uncertain_answer_ends_its_connection(client):
    script = [answer(b"<html>", 502), answer(ORDER)]
    async with venue(*script) as there, client(there, KEY) as rest:
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        await rest.create_order(REQUEST)
    assert there.connections == 2


async def test_threads_share_one_client(until):
    async with venue(*[answer([])] * 40) as there:
        with RestClient(base_url=there.url, throttle=Throttle({}), connections=2) as rest:
            await asyncio.gather(*(asyncio.to_thread(rest.get_tickers) for _ in range(40)))
            assert len(rest._connections._idle) <= 2
    assert len(there.requests) == 40


async def test_a_burst_goes_out_at_once_and_leaves_few_connections_open(client, until):
    def open_count():
        return sum(not writer.is_closing() for writer in there.writers)

    async with venue() as there, client(there, KEY, connections=2, throttle=Throttle({})) as rest:
        there.script = lambda _: STALL_UNTIL_TOLD
        burst = [asyncio.ensure_future(rest.cancel_order("o1")) for _ in range(5)]
        await until(lambda: len(there.requests) == 5)
        for writer in there.writers:
            writer.write(answer({"success": True, "id": "o1"}))
        await asyncio.gather(*burst)
        await until(lambda: open_count() == 2)
        there.script = lambda _: answer([])
        await asyncio.gather(*(rest.get_balances() for _ in range(2)))
        assert (there.connections, open_count()) == (5, 2)


async def test_a_client_without_connections_is_refused(client):
    # Its reads would wait for ever.
    async with venue() as there:
        with pytest.raises(errors.ConfigError, match="connections must be at least 1, was 0"):
            client(there, connections=0)


async def test_a_closed_client_can_be_used_again(client):
    async with venue(*[answer([])] * 2) as there, client(there) as rest:
        await rest.get_tickers()
        await rest.close()
        await rest.get_tickers()
    assert there.connections == 2


async def test_a_connection_that_was_idle_for_long_is_not_used(client, monkeypatch):
    for module in (idle, async_connections):
        monkeypatch.setattr(module, "IDLE_SECONDS_MAX", 0.0)
    async with venue(*[answer([])] * 2) as there, client(there, KEY) as rest:
        await rest.get_balances()
        await rest.get_balances()
    assert there.connections == 2


async def test_a_connection_on_which_something_comes_unasked_is_not_used(client):
    async with venue(answer([]), answer(ORDER)) as there, client(there, KEY) as rest:
        await rest.get_balances()
        there.writers[0].write(answer(ORDER))
        await there.writers[0].drain()
        for _ in range(3):  # the loop, which the async client shares, has seen it
            await asyncio.sleep(0)
        assert (await rest.create_order(REQUEST)).order_id == "o1"
    assert there.connections == 2


async def test_a_server_that_speaks_before_it_is_asked_is_sent_nothing(monkeypatch):
    connect = aiohttp.TCPConnector.connect

    async def connect_and_hear(self, *arguments, **options):
        connection = await connect(self, *arguments, **options)
        connection.protocol.data_received(answer(ORDER))
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_and_hear)
    async with venue() as there, make_async(there, KEY) as rest:
        with pytest.raises(errors.UnreachableError, match="nobody asked for") as caught:
            await rest.create_order(REQUEST)
        assert caught.value.sent == "no" and not there.requests


@pytest.mark.parametrize("does_answer", [True, False])
async def test_an_address_that_leads_nowhere_is_passed_over(client, monkeypatch, does_answer):
    # Where IPv6 is configured and goes nowhere, the first addresses of a name are of no use.
    if not does_answer and sys.platform != "linux":
        pytest.skip(
            "only Linux has 127.0.0.2, and leaves whom it has no room for without an answer"
        )
    if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        pytest.skip("uvloop does not ask Python for the addresses of a name")
    async with venue(answer([])) as there:
        port = int(there.url.split(":")[2].partition("/")[0])
        tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        addresses = [(*tcp, (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
        with ExitStack() as stack:
            if not does_answer:
                stack.enter_context(full(addresses[0][4]))
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
            there.url = there.url.replace("127.0.0.1", "venue.invalid")
            async with client(there, timeout_seconds=1.0, attempts=1) as rest:
                assert await rest.get_tickers() == []


@contextmanager
def full(address):
    """Listen, and take so many connections that whoever comes next hears nothing."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(address)
        server.listen(0)
        for _ in range(3):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(address)
        yield


async def test_the_environment_may_name_servers_without_a_proxy(client, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with venue(answer([])) as there, client(there, trust_environment=True) as rest:
        assert await rest.get_tickers() == []


async def test_time_that_runs_out_before_anything_is_sent_leaves_nothing_unknown(client):
    # A server that takes the connection and says nothing: TLS never begins.
    async def silent(reader, writer):
        writers.append(writer)

    writers = []
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    there = SimpleNamespace(url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        async with client(there, KEY, timeout_seconds=0.1) as rest:
            with pytest.raises(errors.UnreachableError) as caught:
                await rest.create_order(REQUEST)
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
    assert caught.value.sent == "no"


@pytest.mark.parametrize("speaks_tls", [False, True])
async def test_tls_on_one_side_alone_is_told_at_once(client, authority, speaks_tls):
    tls = serving(authority.issue_cert("127.0.0.1")) if speaks_tls else None
    right, wrong = ("https", "http") if speaks_tls else ("http", "https")
    async with serve(ExchangeSettings(speed=0.0, tls=tls)) as exchange:
        there = SimpleNamespace(url=exchange.rest_url.replace(f"{right}:", f"{wrong}:"))
        async with client(there, ssl_context=trusting(authority), attempts=1) as rest:
            start = asyncio.get_running_loop().time()
            with pytest.raises(errors.UnreachableError, match=f"URL begins with {right}://"):
                await rest.get_tickers()
            assert asyncio.get_running_loop().time() - start < 2.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_that_is_none_is_refused(client, seconds):
    with pytest.raises(
        errors.ConfigError, match=f"timeout_seconds must be positive, was {seconds}"
    ):
        client(SimpleNamespace(url="https://x"), timeout_seconds=seconds)


async def test_a_connection_that_ends_before_it_is_used_carries_nothing(monkeypatch):
    connect = aiohttp.TCPConnector.connect

    async def connect_and_lose(self, *arguments, **options):
        connection = await connect(self, *arguments, **options)
        connection.protocol.transport.abort()
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_and_lose)
    async with venue() as there, make_async(there, KEY) as rest:
        with pytest.raises(errors.UnreachableError, match="at once") as caught:
            await rest.create_order(REQUEST)
        assert caught.value.sent == "no" and not there.requests


async def test_closing_the_client_ends_what_is_under_way(until):
    async with venue(STALL) as there, make_async(there, KEY) as rest:
        task = asyncio.ensure_future(rest.create_order(REQUEST))
        await until(lambda: there.requests)
        await rest.close()
        await asyncio.wait({task}, timeout=2)
        assert isinstance(task.exception(), errors.OutcomeUnknownError)
