import asyncio
import base64
import gzip
import hashlib
import hmac
import inspect
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from client.rest_clients import KEY, ORDER, REQUEST, make_async
from client.scripted_http import (
    CLOSE,
    RESET,
    STALL,
    STALL_UNTIL_TOLD,
    Cut,
    Slowly,
    answer,
    venue,
)

from nkfast import errors
from nkfast.client import rest_session
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.nonces import KeyNonces
from nkfast.client.rest import RestClient
from nkfast.client.throttle import Rate, Throttle
from nkfast.wire.endpoints import ENDPOINTS
from nkfast.wire.models import OrderState
from nkfast.wire.response import ResponseReader


async def test_public_read(client):
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
async def test_the_bytes_that_are_sent_are_the_bytes_that_are_signed(client, path):
    async with venue(answer({})) as there, client(there, KEY) as rest:
        await rest.raw("GET", path, private=True)
    [request] = there.requests
    assert request[1] == "/api/v2" + path
    assert signature_is_right(there, request)


async def test_nonces_grow_and_every_private_call_is_signed(client):
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
async def test_nothing_is_changed_unless_allowed(client, name):
    async with venue() as there, client(there, KEY, allow_changes=False) as rest:
        with pytest.raises(errors.ModeError) as caught:
            await CHANGES[name](rest)
        assert (caught.value.sent, there.connections) == ("no", 0)


@pytest.mark.parametrize("name", CHANGES)
async def test_a_client_for_cancels_changes_nothing_else(client, name):
    async with venue(answer({})) as there, client(there, KEY, allow_changes="cancels") as rest:
        kind = errors.OutcomeUnknownError if name.startswith("cancel") else errors.ModeError
        with pytest.raises(kind):
            await CHANGES[name](rest)
        assert there.connections == name.startswith("cancel")


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
async def test_a_lost_answer_leaves_a_change_unknown_and_is_never_repeated(client, name, step):
    async with venue(step, answer({}), answer({})) as there, client(there, KEY) as rest:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await CHANGES[name](rest)
    assert caught.value.sent == "maybe"
    assert len(there.requests) == 1


async def test_a_timeout_leaves_a_change_unknown(client):
    async with venue(STALL) as there, client(there, KEY, timeout_seconds=0.05) as rest:
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
    assert len(there.requests) == 1


async def test_a_change_that_never_left_is_not_unknown(client):
    async with venue() as there:
        pass
    async with client(there, KEY) as rest:
        with pytest.raises(errors.UnreachableError) as caught:
            await rest.create_order(REQUEST)
    assert caught.value.sent == "no"


async def test_a_dead_kept_connection_does_not_repeat_a_change(client):
    async with venue(answer([]), answer(ORDER)) as there, client(there, KEY) as rest:
        await rest.get_balances()
        there.script = [CLOSE, answer(ORDER)]
        with pytest.raises(errors.OutcomeUnknownError):
            await rest.create_order(REQUEST)
        assert len(there.requests) == 2


async def test_a_read_on_a_dead_kept_connection_has_a_new_nonce_if_it_is_sent_again(client):
    async with venue(answer([])) as there, client(there, KEY, attempts=1) as rest:
        await rest.get_balances()
        there.script = [CLOSE, answer([])]
        if isinstance(rest, AsyncRestClient):
            await rest.get_balances()  # aiohttp has it sent on another one
        else:
            with pytest.raises(errors.UnreachableError) as caught:
                await rest.get_balances()
            assert caught.value.sent == "maybe"
    nonces = [int(headers["x-api-nonce"]) for _, _, headers, _ in there.requests]
    assert nonces == sorted(set(nonces))
    assert len(nonces) == (3 if isinstance(rest, AsyncRestClient) else 2)
    assert all(signature_is_right(there, request) for request in there.requests)


async def test_a_read_is_sent_again_by_the_library_once(client):
    async with venue(answer([])) as there, client(there, KEY, attempts=1) as rest:
        await rest.get_balances()
        there.script = [CLOSE, CLOSE, answer([])]
        with pytest.raises(errors.UnreachableError):
            await rest.get_balances()
        assert len(there.requests) <= 3


async def test_a_length_that_is_not_told_is_limited_too(client, monkeypatch):
    monkeypatch.setattr(rest_session, "BODY_BYTES_MAX", 1000)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1f4\r\n[" + b" " * 498 + b"]\r\n"
    async with venue(chunked + chunk * 3) as there, client(there, attempts=1) as rest:
        with pytest.raises(errors.UnreachableError, match="longer than 1000"):
            await rest.get_tickers()
    until_the_end = b"HTTP/1.1 200 OK\r\n\r\n"
    async with venue(Cut(until_the_end + b" " * 1001)) as there, client(there, attempts=1) as rest:
        with pytest.raises(errors.UnreachableError, match="longer than 1000"):
            await rest.get_tickers()
    async with venue(Cut(until_the_end + b"[]")) as there, client(there, attempts=1) as rest:
        assert await rest.get_tickers() == []


@pytest.mark.parametrize(
    "field", [{"userProvidedId": "nk-2"}, {"symbol": "BBB/USDT"}, {"quantity": "39"}, {"id": None}]
)
async def test_an_answer_to_another_order_is_not_taken(client, field):
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
async def test_a_refusal_is_certain(client, code, status, kind):
    body = {"error": {"code": code, "message": "words"}}
    async with venue(answer(body, status)) as there, client(there, KEY) as rest:
        with pytest.raises(kind) as caught:
            await rest.create_order(REQUEST)
    assert (caught.value.sent, caught.value.code) == ("yes", code)
    assert len(there.requests) == 1


async def test_reads_are_repeated_until_they_succeed(client):
    script = [RESET, answer(b"<html>", 502), answer(b"", 429, Retry_After="0.01"), answer([])]
    async with venue(*script) as there, client(there, KEY) as rest:
        assert await rest.get_balances() == []
    nonces = [headers["x-api-nonce"] for _, _, headers, _ in there.requests]
    assert len(set(nonces)) == 4


async def test_what_retry_after_asks_for_is_waited(client):
    script = [answer(b"", 429, Retry_After="0.05"), answer([])]
    async with venue(*script) as there, client(there, KEY) as rest:
        start = asyncio.get_running_loop().time()
        await rest.get_balances()
        assert asyncio.get_running_loop().time() - start >= 0.05


async def test_after_a_bad_nonce_private_calls_pause(client, monkeypatch):
    monkeypatch.setattr(rest_session, "NONCE_PAUSE_SECONDS", 0.05)
    script = [answer({"error": {"code": 1002, "message": "Bad Nonce"}}, 401), answer([])]
    async with venue(*script) as there, client(there, KEY) as rest:
        with pytest.raises(errors.NonceError):
            await rest.get_balances()
        start = asyncio.get_running_loop().time()
        await rest.get_balances()
        assert asyncio.get_running_loop().time() - start >= 0.045


async def test_reads_are_given_up(client):
    async with venue(*[answer(b"<html>", 502)] * 4) as there, client(there) as rest:
        with pytest.raises(errors.UnreachableError):
            await rest.get_time()
    assert len(there.requests) == 4


async def test_a_refused_read_is_not_repeated(client):
    body = {"error": {"code": 20002, "message": "Order not found"}}
    async with venue(answer(body, 400)) as there, client(there, KEY) as rest:
        with pytest.raises(errors.OrderNotFoundError):
            await rest.get_order("nk-1")
    assert len(there.requests) == 1


async def test_a_huge_reply_is_refused(client, monkeypatch):
    monkeypatch.setattr(rest_session, "BODY_BYTES_MAX", 1000)
    async with venue(answer(b"x" * 1001)) as there, client(there, attempts=1) as rest:
        with pytest.raises(errors.UnreachableError, match="longer than 1000"):
            await rest.get_time()


async def test_a_compressed_reply_is_not_unfolded(client):
    bomb = answer(gzip.compress(b'{"serverTime":1}'), 200, Content_Encoding="gzip")
    async with venue(bomb) as there, client(there, attempts=1) as rest:
        with pytest.raises(errors.UnreachableError):
            await rest.get_time()


async def test_lists_are_filtered_here_because_the_venue_does_not(client):
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


async def test_a_call_without_a_nonce_is_not_sent_and_leaves_nothing_open(client, tmp_path, until):
    nonces = KeyNonces(KEY.api_key, directory=tmp_path)
    [file] = tmp_path.iterdir()
    good = file.read_bytes()
    async with venue(*[answer([])] * 2) as there, client(there, KEY, nonces=nonces) as rest:
        await rest.get_balances()
        file.write_bytes(b"something else")
        with pytest.raises(errors.ConfigError, match="nonce file"):
            await rest.create_order(REQUEST)
        await until(there.writers[0].is_closing, 2.0)
        file.write_bytes(good)
        await rest.get_balances()
    assert len(there.requests) == 2


async def test_private_calls_need_credentials(client):
    async with venue() as there, client(there) as rest:
        with pytest.raises(errors.ConfigError, match="credentials"):
            await rest.get_balances()


async def test_waiting_reads_can_be_cancelled(until):
    async with venue(STALL_UNTIL_TOLD, answer([])) as there, make_async(there) as rest:
        task = asyncio.ensure_future(rest.get_tickers())
        await until(lambda: there.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # What still comes on that connection is nobody's answer.
        await until(there.writers[0].is_closing, 2.0)
        assert await rest.get_tickers() == []
        assert there.connections == 2


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_whose_caller_is_cancelled_is_unknown_and_goes_on(until, caplog, name):
    async with venue(STALL_UNTIL_TOLD, answer([])) as there, make_async(there, KEY) as rest:
        task = asyncio.ensure_future(CHANGES[name](rest))
        await until(lambda: there.requests)
        task.cancel()
        with pytest.raises(errors.OutcomeUnknownError, match="cancelled") as caught:
            await task
        assert (caught.value.sent, len(there.requests)) == ("maybe", 1)
        there.writers[0].write(answer({}))
        await until(lambda: "cancelled and ended with: HTTP 200" in caplog.text)
        # Its connection is as good as any.
        await rest.get_balances()
        assert there.connections == 1


async def test_an_interrupted_change_says_that_it_was_sent(monkeypatch):
    def interrupt(reader, data):
        raise KeyboardInterrupt

    def create(url):
        with RestClient(KEY, base_url=url, allow_changes=True) as rest:
            with pytest.raises(KeyboardInterrupt) as caught:
                rest.create_order(REQUEST)
        return caught.value.__notes__

    async with venue(answer(ORDER)) as there:
        monkeypatch.setattr(ResponseReader, "feed", interrupt)
        [note] = await asyncio.to_thread(create, there.url)
    assert note == "POST /api/v2/createorder was sent, and its outcome is unknown"


async def test_a_time_limit_around_a_change_does_not_hide_that_it_was_sent():
    async with venue(STALL) as there, make_async(there, KEY) as rest:
        with pytest.raises(errors.OutcomeUnknownError):
            async with asyncio.timeout(0.1):
                await rest.create_order(REQUEST)
        with pytest.raises(errors.OutcomeUnknownError):
            there.script = [STALL]
            await asyncio.wait_for(rest.create_order(REQUEST), 0.1)
    assert len(there.requests) == 2


async def test_a_change_that_is_cancelled_before_it_is_sent_is_not_sent():
    held = Throttle({"orders": Rate(0.001, 1)})
    async with venue(answer(ORDER)) as there, make_async(there, KEY, throttle=held) as rest:
        await rest.create_order(REQUEST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await rest.create_order(REQUEST)
    assert len(there.requests) == 1


@pytest.mark.parametrize("name", [*ENDPOINTS, "raw"])
def test_both_clients_have_the_same_methods(name):
    asynchronous, synchronous = getattr(AsyncRestClient, name), getattr(RestClient, name)
    assert inspect.iscoroutinefunction(asynchronous) and synchronous.__doc__
    assert not inspect.iscoroutinefunction(synchronous)
    assert asynchronous.__doc__ == synchronous.__doc__
    assert inspect.signature(asynchronous) == inspect.signature(synchronous)
    assert "Call[" not in str(inspect.signature(synchronous))
    assert synchronous.__qualname__ == f"RestClient.{name}"


def test_both_clients_take_the_same_options_and_have_nothing_beside():
    def options(kind):
        return inspect.signature(kind)

    def public(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert options(AsyncRestClient) == options(RestClient)
    assert public(AsyncRestClient) == public(RestClient) == {*ENDPOINTS, "raw", "close", "skew_ms"}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_row_of_the_table_has_its_method(name):
    parameters = dict(list(inspect.signature(getattr(RestClient, name)).parameters.items())[1:])
    if name == "create_order":
        assert list(parameters) == ["request"]
        return
    row = ENDPOINTS[name]
    assert set(parameters) == {parameter.name for parameter in row.parameters}
    for parameter in row.parameters:
        has_default = parameters[parameter.name].default is not inspect.Parameter.empty
        # Defaults may stand for what the venue requires, never the other way round.
        assert has_default or parameter.required, parameter.name


async def test_every_read_asks_its_path_and_takes_the_model(client):
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


@pytest.mark.parametrize("kind", [AsyncRestClient, RestClient])
def test_basic_settings_are_checked(kind):
    for options in (
        {"attempts": 0},
        {"base_url": "ftp://x"},
        {"base_url": "https://x/"},
        {"base_url": "https://"},
        {"base_url": "https://user@x"},
        {"base_url": "https://x?a=1"},
        {"base_url": "https://x:port"},
        {"proxy": "ftp://127.0.0.1:1"},
        {"proxy": "socks5://"},
        {"proxy": "127.0.0.1:1"},
    ):
        with pytest.raises(errors.ConfigError):
            kind(**options)


@pytest.mark.parametrize("kind", [AsyncRestClient, RestClient])
def test_the_client_shows_no_secret(kind):
    rest = kind(KEY)
    seen = repr(vars(rest)) + repr(vars(rest._session))
    assert KEY.api_secret not in seen
    assert base64.b64encode(KEY.api_secret.encode()).decode() not in seen


async def test_a_reply_cut_at_any_byte_is_no_acceptance(client):
    whole = answer(ORDER)
    for length in range(len(whole)):
        async with venue(Cut(whole[:length])) as there, client(there, KEY) as rest:
            with pytest.raises(errors.OutcomeUnknownError):
                await rest.create_order(REQUEST)
        assert len(there.requests) == 1, length
    async with venue(Cut(whole)) as there, client(there, KEY) as rest:
        assert (await rest.create_order(REQUEST)).order_id == "o1"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (answer(b"<html>Error 1018</html>", 409), errors.UnreachableError),
        (answer(b"<html>Error 1010</html>", 403), errors.UnreachableError),
        (answer(b"<html>cloudflare 522</html>", 522), errors.UnreachableError),
        (answer(b"<html>fine</html>", 200), errors.UnreachableError),
        (answer(b"", 200), errors.UnreachableError),
        (answer(b'"text"', 200), errors.UnreachableError),
        (answer(b'[{"id":', 200), errors.UnreachableError),
        (answer(b"[]", 301, Location="/elsewhere"), errors.UnreachableError),
        (answer(b"[]", 308, Location="http://127.0.0.1:1/"), errors.UnreachableError),
        (answer(b"<html>", 401), errors.AuthenticationError),
        (answer(b"<html>", 404), errors.RejectedError),
        (answer({"error": {"code": 400, "message": "words"}}), errors.RejectedError),
        (answer({"error": {"code": 1003, "message": "words"}}, 403), errors.PermissionDeniedError),
        (answer({"error": {"code": 1002, "message": "Bad Nonce"}}, 401), errors.NonceError),
        (answer({"error": {"code": 1002, "message": "Timestamp"}}, 401), errors.ClockError),
    ],
)
async def test_every_other_answer_to_a_read_has_its_error(client, step, kind):
    async with venue(step) as there, client(there, KEY, attempts=1) as rest:
        with pytest.raises(errors.VenueError) as caught:
            await rest.get_balances()
    assert type(caught.value) is kind
    assert (caught.value.endpoint, caught.value.sent) == ("/balances", "yes")
    assert len(there.requests) == 1


async def test_a_body_that_trickles_in_is_not_waited_for(client):
    # Each byte comes well before a time limit for silence; only one for the whole helps.
    whole = answer(b"[" + b" " * 1000 + b"]")
    async with venue(Slowly(whole)) as there:
        async with client(there, KEY, attempts=1, timeout_seconds=0.1) as rest:
            start = asyncio.get_running_loop().time()
            with pytest.raises(errors.UnreachableError):
                await rest.get_balances()
            assert asyncio.get_running_loop().time() - start < 2.0


@pytest.mark.parametrize("path", ["/createwithdrawal", "/x/../Create%77ithdrawal?a=1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_withdrawals_are_refused_unless_asked_for(client, method, path):
    async with venue() as there, client(there, KEY, allow_withdrawals=False) as rest:
        with pytest.raises(errors.ConfigError, match="allow_withdrawals"):
            await rest.create_withdrawal("AAA", Decimal(1), "address")
        with pytest.raises(errors.ConfigError, match="allow_withdrawals"):
            await rest.raw(method, path, private=True)
        assert there.connections == 0


async def test_a_withdrawal_that_was_asked_for_is_sent(client):
    row = {"id": "w1", "ticker": "AAA", "quantity": "1"}
    async with venue(answer(row)) as there, client(there, KEY) as rest:
        row = await rest.create_withdrawal("AAA", Decimal(1), "address", payment_id="p")
    assert row.raw["id"] == "w1"
    assert there.requests[0][3] == (
        b'{"ticker":"AAA","quantity":"1","address":"address","paymentid":"p"}'
    )


def test_nothing_here_makes_a_client_that_can_withdraw():
    sources = [*(Path(__file__).parents[2] / "nkfast").rglob("*.py")]
    assert len(sources) > 50
    for path in sources:
        # The default, and handing on what was handed in.
        allowed = r"allow_withdrawals\s*[=:]\s*(?!bool|False\b|allow_withdrawals\b)\S"
        assert not re.search(allowed, path.read_text("utf-8")), path


async def test_basic_authentication_is_an_option(client):
    async with venue(answer([])) as there, client(there, KEY, basic_auth=True) as rest:
        assert await rest.get_balances() == []
    [(_, _, headers, _)] = there.requests
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == (
        b"the-key:the-secret"
    )
    assert not [name for name in headers if name.startswith("x-api")]


async def test_a_cancel_does_not_wait_behind_reads(client, until):
    cancelled = answer({"success": True, "id": "o1"})
    async with venue() as there, client(there, KEY, connections=1, attempts=1) as rest:
        there.script = lambda path: STALL_UNTIL_TOLD if path.endswith("balances") else cancelled
        slow = [asyncio.ensure_future(rest.get_balances()) for _ in range(2)]
        await until(lambda: there.requests)
        await asyncio.wait_for(rest.cancel_order("o1"), 5)
        there.script = lambda path: answer([])
        for writer in there.writers:
            writer.write(answer([]))
        assert await asyncio.gather(*slow) == [[], []]


@pytest.mark.parametrize("path", ["nothing", "/a b", "/a#b", "/a\r\nHost: x", "/ä"])
async def test_a_path_that_could_not_be_sent_as_it_is_is_refused(client, path):
    async with venue() as there, client(there, KEY) as rest:
        with pytest.raises(errors.ConfigError, match="path must"):
            await rest.raw("GET", path)
        with pytest.raises(errors.ConfigError, match="method"):
            await rest.raw("DELETE", "/a")
