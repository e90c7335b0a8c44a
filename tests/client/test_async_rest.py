import asyncio
import base64
import gzip
import hashlib
import hmac
import inspect
import json
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from nkfast import errors
from nkfast.client import rest_session
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.throttle import Throttle
from nkfast.wire.endpoints import ENDPOINTS
from nkfast.wire.models import ApiCredentials, OrderRequest, OrderState

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
STALL, STALL_UNTIL_TOLD, RESET, CLOSE = "stall", "stall until told", "reset", "close"


def answer(body, status=200, **headers):
    """Bytes of a complete HTTP response."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Cut(bytes):
    """Bytes after which the connection is closed."""


class ScriptedVenue:
    """An HTTP server that answers each request with the next line of its script, bytes as given."""

    def __init__(self, script):
        self.script = list(script)
        self.requests = []
        self.connections = 0
        self.writers = []

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.rstrip().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((*first.split()[:2], headers, body))
                step = self.script.pop(0)
                if step == STALL:
                    await reader.read()
                    return
                if step == STALL_UNTIL_TOLD:
                    continue
                if step == RESET:
                    writer.transport.abort()
                    return
                if step == CLOSE:
                    return
                writer.write(step)
                await writer.drain()
                if isinstance(step, Cut):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def venue(*script, tls=None):
    scripted = ScriptedVenue(script)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    scripted.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/api/v2"
    try:
        yield scripted
    finally:
        server.close()
        for writer in scripted.writers:
            writer.transport.abort()
        await server.wait_closed()


def client(scripted, credentials=None, **options):
    options = {"allow_changes": True, "allow_withdrawals": True, "timeout_seconds": 5.0} | options
    return AsyncRestClient(credentials, base_url=scripted.url, **options)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(rest_session, "BACKOFF_SECONDS_FIRST", 0.001)


async def test_public_read():
    async with venue(answer({"serverTime": 1790000000123})) as there, client(there) as rest:
        assert (await rest.get_time()).time_ms == 1790000000123
    [(method, target, headers, body)] = there.requests
    assert (method, target, body) == ("GET", "/api/v2/time", b"")
    assert "python" not in headers["user-agent"].lower()
    assert headers["accept-encoding"] == "identity"
    assert not [name for name in headers if name.startswith("x-api")]


def signature_is_right(scripted, request):
    _method, target, headers, body = request
    url = scripted.url.removesuffix("/api/v2") + target
    text = (KEY.api_key + url).encode() + body + headers["x-api-nonce"].encode()
    right = hmac.new(KEY.api_secret.encode(), text, hashlib.sha256).hexdigest()
    return headers["x-api-key"] == KEY.api_key and headers["x-api-sign"] == right


@pytest.mark.parametrize(
    "path",
    [
        "/getorder/nk-1?symbol=AAA%2FUSDT",
        "/getorder/nk-1?symbol=AAA/USDT",
        "/ticker/AAA%2FUSDT",
        "/x?a=%20+%2B,;:@&b=%c3%a9",
    ],
)
async def test_the_bytes_that_are_sent_are_the_bytes_that_are_signed(path):
    async with venue(answer({})) as there, client(there, KEY) as rest:
        await rest.raw("GET", path, private=True)
    [request] = there.requests
    assert request[1] == "/api/v2" + path
    assert signature_is_right(there, request)


async def test_nonces_grow_and_every_private_call_is_signed():
    script = [answer([]), answer(ORDER), answer({"success": True, "id": "o1"})]
    async with venue(*script) as there, client(there, KEY) as rest:
        assert await rest.get_balances() == []
        response = await rest.create_order(REQUEST)
        await rest.cancel_order("nk-1")
    assert (response.order_id, response.status) == ("o1", OrderState.NEW)
    assert all(signature_is_right(there, request) for request in there.requests)
    nonces = [int(headers["x-api-nonce"]) for _, _, headers, _ in there.requests]
    assert nonces == sorted(set(nonces))
    assert there.requests[1][3] == (
        b'{"symbol":"AAA/USDT","side":"buy","quantity":"40","type":"limit","price":"1.25",'
        b'"userProvidedId":"nk-1","strictValidate":true}'
    )
    assert there.requests[2][3] == b'{"id":"nk-1"}'
    assert there.connections == 1  # kept alive


CHANGES = {
    "create_order": lambda rest: rest.create_order(REQUEST),
    "cancel_order": lambda rest: rest.cancel_order("o1"),
    "cancel_all_orders": lambda rest: rest.cancel_all_orders("AAA/USDT"),
    "create_withdrawal": lambda rest: rest.create_withdrawal("AAA", Decimal(1), "address"),
    "raw": lambda rest: rest.raw("POST", "/anything", private=True),
}


def test_the_list_of_changes_is_complete():
    assert set(CHANGES) - {"raw"} == {row.name for row in ENDPOINTS.values() if row.changes}


@pytest.mark.parametrize("name", CHANGES)
async def test_nothing_is_changed_unless_allowed(name):
    async with venue() as there, client(there, KEY, allow_changes=False) as rest:
        with pytest.raises(errors.ModeError):
            await CHANGES[name](rest)
        assert there.connections == 0


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    "step",
    [
        RESET,
        CLOSE,
        answer(b"<html>Error 1018</html>", 409),
        answer(b"", 200),
        answer(b"{}", 503),
        answer(b"{}", 302, Location="/elsewhere"),
        answer({"error": {"code": 503, "message": "Service Unavailable"}}, 503),
        Cut(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":'),
        Cut(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"'),
        b"not http at all\r\n\r\n",
    ],
    ids=[
        "reset",
        "close",
        "html",
        "empty",
        "503",
        "redirect",
        "error 503",
        "short",
        "chunk",
        "junk",
    ],
)
async def test_a_lost_answer_leaves_a_change_unknown_and_is_never_repeated(name, step):
    async with venue(step, answer({}), answer({})) as there, client(there, KEY) as rest:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await CHANGES[name](rest)
    assert caught.value.sent == "maybe"
    assert len(there.requests) == 1


async def test_a_timeout_leaves_a_change_unknown():
    async with venue(STALL) as there, client(there, KEY, timeout_seconds=0.05) as rest:
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
    assert len(there.requests) == 1


async def test_a_change_that_never_left_is_not_unknown():
    async with venue() as there:
        pass
    async with client(there, KEY) as rest:
        with pytest.raises(errors.UnreachableError) as caught:
            await rest.create_order(REQUEST)
    assert caught.value.sent == "no"


async def test_a_dead_kept_connection_does_not_repeat_a_change():
    async with venue(answer([]), answer(ORDER)) as there, client(there, KEY) as rest:
        await rest.get_balances()
        there.script = [CLOSE, answer(ORDER)]
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        assert len(there.requests) == 2


async def test_the_library_repeats_no_read_behind_our_back():
    async with venue(answer([]), CLOSE) as there, client(there, KEY, attempts=1) as rest:
        await rest.get_balances()
        with pytest.raises(errors.UnreachableError):
            await rest.get_balances()
        assert len(there.requests) == 2


@pytest.mark.parametrize(
    "field", [{"userProvidedId": "nk-2"}, {"symbol": "BBB/USDT"}, {"quantity": "39"}, {"id": None}]
)
async def test_an_answer_to_another_order_is_not_taken(field):
    script = [answer({**ORDER, **field}), answer([])]
    async with venue(*script) as there, client(there, KEY) as rest:
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        await rest.get_balances()
    # What mixes up answers once may do so again on the same connection.
    assert there.connections == 2


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (20001, 400, errors.InsufficientFundsError),
        (20001, 200, errors.InsufficientFundsError),
        (1002, 401, errors.AuthenticationError),
        (10001, 400, errors.InvalidOrderError),
        (429, 429, errors.RateLimitError),
        (20008, 400, errors.DuplicateClientIdError),
    ],
)
async def test_a_refusal_is_certain(code, status, kind):
    body = {"error": {"code": code, "message": "words"}}
    async with venue(answer(body, status)) as there, client(there, KEY) as rest:
        with pytest.raises(kind) as caught:
            await rest.create_order(REQUEST)
    assert (caught.value.sent, caught.value.code) == ("yes", code)
    assert len(there.requests) == 1


async def test_reads_are_repeated_until_they_succeed():
    script = [RESET, answer(b"<html>", 502), answer(b"", 429, Retry_After="0.01"), answer([])]
    async with venue(*script) as there, client(there, KEY) as rest:
        assert await rest.get_balances() == []
    nonces = [headers["x-api-nonce"] for _, _, headers, _ in there.requests]
    assert len(set(nonces)) == 4


async def test_an_uncertain_answer_ends_its_connection():
    script = [answer(b"<html>", 502), answer(ORDER)]
    async with venue(*script) as there, client(there, KEY) as rest:
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        await rest.create_order(REQUEST)
    assert there.connections == 2


async def test_calls_in_flight_survive_an_uncertain_answer_to_another(until):
    async with venue() as there, client(there, KEY) as rest:
        there.script = [STALL_UNTIL_TOLD, answer(b"<html>", 502)]
        slow = asyncio.ensure_future(rest.get_balances())
        await until(lambda: there.requests)
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        there.writers[0].write(answer([]))
        assert await slow == []
        assert rest._retired == set()


async def test_what_retry_after_asks_for_is_waited():
    script = [answer(b"", 429, Retry_After="0.05"), answer([])]
    async with venue(*script) as there, client(there, KEY) as rest:
        start = asyncio.get_running_loop().time()
        await rest.get_balances()
        assert asyncio.get_running_loop().time() - start >= 0.05


async def test_after_a_bad_nonce_private_calls_pause(monkeypatch):
    monkeypatch.setattr(rest_session, "NONCE_PAUSE_SECONDS", 0.05)
    script = [answer({"error": {"code": 1002, "message": "Bad Nonce"}}, 401), answer([])]
    async with venue(*script) as there, client(there, KEY) as rest:
        with pytest.raises(errors.NonceError):
            await rest.get_balances()
        start = asyncio.get_running_loop().time()
        await rest.get_balances()
        assert asyncio.get_running_loop().time() - start >= 0.045


async def test_reads_are_given_up():
    async with venue(*[answer(b"<html>", 502)] * 4) as there, client(there) as rest:
        with pytest.raises(errors.UnreachableError):
            await rest.get_time()
    assert len(there.requests) == 4


async def test_a_refused_read_is_not_repeated():
    body = {"error": {"code": 20002, "message": "Order not found"}}
    async with venue(answer(body, 400)) as there, client(there, KEY) as rest:
        with pytest.raises(errors.OrderNotFoundError):
            await rest.get_order("nk-1")
    assert len(there.requests) == 1


async def test_a_huge_reply_is_refused(monkeypatch):
    monkeypatch.setattr(rest_session, "BODY_BYTES_MAX", 1000)
    async with venue(answer(b"x" * 1001)) as there, client(there, attempts=1) as rest:
        with pytest.raises(errors.UnreachableError, match="longer than 1000"):
            await rest.get_time()


async def test_a_compressed_reply_is_not_unfolded():
    bomb = answer(gzip.compress(b'{"serverTime":1}'), 200, Content_Encoding="gzip")
    async with venue(bomb) as there, client(there, attempts=1) as rest:
        with pytest.raises(errors.UnreachableError):
            await rest.get_time()


async def test_lists_are_filtered_here_because_the_venue_does_not():
    trades = [
        {"id": "t1", "market": {"symbol": symbol}, "side": "Buy", "price": "1", "quantity": "1"}
        for symbol in ("AAA/USDT", "BBB/USDT")
    ]
    orders = [ORDER, {**ORDER, "symbol": "BBB/USDT"}]
    async with venue(answer(trades), answer(orders)) as there, client(there, KEY) as rest:
        assert [row.symbol for row in await rest.get_account_trades("aaa_usdt")] == ["AAA/USDT"]
        rows = await rest.get_orders("aaa_usdt", status="active")
        assert [row.symbol for row in rows] == ["AAA/USDT"]
    assert there.requests[1][1] == "/api/v2/account/orders?symbol=AAA_USDT&status=active"


async def test_private_calls_need_credentials():
    async with venue() as there, client(there) as rest:
        with pytest.raises(errors.ConfigError, match="credentials"):
            await rest.get_balances()


async def test_proxies_of_the_environment_are_ignored(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with venue(answer({"serverTime": 1})) as there:
        async with client(there) as rest:
            assert (await rest.get_time()).time_ms == 1
        async with client(there, trust_environment=True, attempts=1) as rest:
            with pytest.raises(errors.UnreachableError):
                await rest.get_time()


async def test_an_unknown_certificate_is_refused(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout {key}"
        f" -out {certificate} -days 1 -nodes -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    async with venue(answer({"serverTime": 1}), tls=serving) as there:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with client(there, attempts=1) as rest:
            with pytest.raises(
                errors.UnreachableError, match="CERTIFICATE_VERIFY_FAILED"
            ) as caught:
                await rest.get_time()
        assert caught.value.sent == "no"
        trusting = ssl.create_default_context(cafile=certificate)
        async with client(there, ssl_context=trusting) as rest:
            assert (await rest.get_time()).time_ms == 1


async def test_waiting_reads_can_be_cancelled(until):
    async with venue(STALL) as there, client(there) as rest:
        task = asyncio.ensure_future(rest.get_time())
        await until(lambda: there.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_row_of_the_table_has_its_method(name):
    method = getattr(AsyncRestClient, name)
    assert inspect.iscoroutinefunction(method) and method.__doc__
    parameters = dict(list(inspect.signature(method).parameters.items())[1:])
    if name == "create_order":
        assert list(parameters) == ["request"]
        return
    row = ENDPOINTS[name]
    assert set(parameters) == {parameter.name for parameter in row.parameters}
    for parameter in row.parameters:
        has_default = parameters[parameter.name].default is not inspect.Parameter.empty
        # Defaults may stand for what the venue requires, never the other way round.
        assert has_default or parameter.required, parameter.name


async def test_every_read_asks_its_path_and_takes_the_model():
    samples = {"str": "AAA_USDT", "int": 5, "bool": True}
    for name, row in ENDPOINTS.items():
        if row.changes:
            continue
        arguments = {
            parameter.name: samples[{"integer": "int", "flag": "bool"}.get(parameter.kind, "str")]
            for parameter in row.parameters
            if parameter.required
        }
        reply = b"[]" if row.is_list else b"{}"
        if row.reply_key:
            reply = json.dumps({row.reply_key: []}).encode()
        async with venue(answer(reply)) as there:
            async with client(there, KEY, throttle=Throttle({})) as rest:
                try:
                    await getattr(rest, name)(**arguments)
                except errors.WireError:
                    assert not row.is_list  # {} lacks what the model needs
        [(method, target, headers, _)] = there.requests
        assert method == "GET"
        assert ("x-api-sign" in headers) == row.is_private
        assert target.startswith("/api/v2" + row.path.partition("{")[0]), name


def test_basic_settings_are_checked():
    for options in ({"attempts": 0}, {"base_url": "ftp://x"}, {"base_url": "https://x/"}):
        with pytest.raises(errors.ConfigError):
            AsyncRestClient(**options)


def test_the_client_shows_no_secret():
    rest = AsyncRestClient(KEY)
    seen = repr(vars(rest))
    assert KEY.api_secret not in seen
    assert base64.b64encode(KEY.api_secret.encode()).decode() not in seen


async def test_a_reply_cut_at_any_byte_is_no_acceptance():
    whole = answer(ORDER)
    for length in range(len(whole)):
        async with venue(Cut(whole[:length])) as there, client(there, KEY) as rest:
            with pytest.raises(errors.OutcomeUnknownError):
                await rest.create_order(REQUEST)
        assert len(there.requests) == 1, length
    async with venue(Cut(whole)) as there, client(there, KEY) as rest:
        assert (await rest.create_order(REQUEST)).order_id == "o1"
