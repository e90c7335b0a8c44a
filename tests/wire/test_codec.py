import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast import errors
from nkfast.errors import ConfigError, WireError
from nkfast.wire import codec
from nkfast.wire.endpoints import ENDPOINTS
from nkfast.wire.error_codes import ERROR_CODES
from nkfast.wire.models import OrderRequest, OrderResponse


def test_target_is_built_once_with_underscores():
    row = ENDPOINTS["get_order_book"]
    target = codec.build_target(row, {"symbol": "btc/usdt", "limit": 5, "market_id": None})
    assert target == "/market/orderbook?symbol=BTC_USDT&limit=5"
    assert codec.build_body(row, {"symbol": "btc/usdt"}) == b""


def test_path_parameters_are_quoted():
    row = ENDPOINTS["get_order"]
    assert codec.build_target(row, {"order_id": "a/b c?d"}) == "/getorder/a%2Fb%20c%3Fd"
    assert codec.build_target(ENDPOINTS["get_ticker"], {"symbol": "a-b"}) == "/ticker/A_B"


def test_body_is_minified_json_with_slashes():
    arguments = {"symbol": "btc_usdt", "side": "all"}
    row = ENDPOINTS["cancel_all_orders"]
    assert codec.build_body(row, arguments) == b'{"symbol":"BTC/USDT","side":"all"}'
    assert codec.build_target(row, arguments) == "/cancelallorders"


def test_path_parameters_are_not_repeated_in_the_query():
    row = ENDPOINTS["get_account_trades_since"]
    target = codec.build_target(row, {"since_ms": 1, "limit": 500, "skip": 0, "symbol": "A/B"})
    assert target == "/gettradessince?since=1&symbol=A_B&limit=500&skip=0"


@pytest.mark.parametrize("arguments", [{}, {"order_id": None}, {"order_id": ""}, {"oder_id": "x"}])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ConfigError, match=r"order_id|oder_id"):
        codec.build_target(ENDPOINTS["get_order"], arguments)


def test_decimals_go_out_in_plain_digits():
    assert codec.encode_json({"price": Decimal("2.327E-7")}) == b'{"price":"0.0000002327"}'
    with pytest.raises(TypeError):
        codec.encode_json({"price": Decimal("NaN")})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":NaN}',
        b"<html>520</html>",
        b'{"a":"\x00"}',
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_what_is_no_json_is_a_wire_error(text):
    with pytest.raises(WireError) as caught:
        codec.decode_json(text)
    assert len(caught.value.excerpt) <= 200 and caught.value.excerpt.isprintable()


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
        ),
    )
)
def test_json_survives_the_round_trip(value):
    assert codec.decode_json(codec.encode_json(value)) == value


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_are_refused(buffer):
    for decode in (codec.decode_json, codec.decode_frame):
        try:
            decode(memoryview(buffer))
        except WireError:
            pass


def envelope(code, message="words", description=None):
    return json.dumps({"error": {"code": code, "message": message, "description": description}})


def outcome(status, body, **options):
    options = {"endpoint": "/x", "changes": True, "rate_class": "orders"} | options
    try:
        return codec.decode_reply(
            status, body.encode() if isinstance(body, str) else body, **options
        )
    except errors.VenueError as error:
        return error


#: Codes after which a new order certainly does not exist (and the class that says so).
CERTAIN = {
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    429: errors.RateLimitError,
    1001: errors.AuthenticationError,
    1002: errors.AuthenticationError,
    1003: errors.PermissionDeniedError,
    1004: errors.AuthenticationError,
    2001: errors.SymbolNotFoundError,
    2002: errors.SymbolNotFoundError,
    10001: errors.InvalidOrderError,
    20001: errors.InsufficientFundsError,
    20008: errors.DuplicateClientIdError,
}
TRADING_CODES = [400, 402, 500, 503, 504, 20002, 20006, 99999, None, "words", *CERTAIN]


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 409, 429, 500, 503, 520])
@pytest.mark.parametrize("code", TRADING_CODES)
def test_the_code_decides_over_the_status_for_a_new_order(code, status):
    error = outcome(status, envelope(code))
    assert type(error) is CERTAIN.get(code, errors.OutcomeUnknownError)
    assert error.sent == ("yes" if code in CERTAIN else "maybe")
    assert error.code == (code if isinstance(code, int) else None)
    assert error.endpoint == "/x"


def test_order_not_found_is_certain_for_a_cancel_only():
    error = outcome(400, envelope(20002), rate_class="cancels")
    assert type(error) is errors.OrderNotFoundError


def test_bad_nonce_is_found_in_the_words():
    for words in ({"message": "Bad Nonce"}, {"message": "x", "description": "bad nonce"}):
        error = outcome(401, json.dumps({"error": {"code": 400, **words}}))
        assert type(error) is errors.NonceError
    assert type(outcome(401, '{"error":"Bad Nonce"}')) is errors.NonceError


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Quantity below minimum", errors.BelowMinimumError),
        ("Market is paused", errors.MarketPausedError),
        ("Side is missing", errors.InvalidOrderError),
    ],
)
def test_validation_errors_are_told_apart_by_their_words(words, kind):
    error = outcome(400, envelope(10001, "Validation error", words))
    assert type(error) is kind
    assert error.message == f"Validation error: {words}"


NOT_JSON = ["", "<html>Error 1018</html>", '{"id":"x"', '{"id":"x"}trailing', "null", '"x"', "1"]


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 409, 429, 500, 502, 503, 520, 526])
@pytest.mark.parametrize("body", NOT_JSON)
def test_no_answer_of_the_venue_leaves_a_change_unknown(status, body):
    error = outcome(status, body)
    assert type(error) is errors.OutcomeUnknownError
    assert error.sent == "maybe"


@pytest.mark.parametrize("status", [300, 307, 404, 500])
def test_json_without_success_leaves_a_change_unknown(status):
    assert type(outcome(status, '{"id":"x"}')) is errors.OutcomeUnknownError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, errors.UnreachableError),
        (302, errors.UnreachableError),
        (401, errors.AuthenticationError),
        (403, errors.UnreachableError),
        (404, errors.RejectedError),
        (409, errors.UnreachableError),
        (429, errors.RateLimitError),
        (500, errors.UnreachableError),
        (524, errors.UnreachableError),
    ],
)
def test_no_answer_to_a_read(status, kind):
    assert type(outcome(status, "<html>", changes=False)) is kind


@pytest.mark.parametrize("code", ERROR_CODES)
def test_every_listed_code_has_its_class_for_a_read(code):
    row = ERROR_CODES[code]
    assert type(outcome(row.http_status, envelope(code), changes=False)) is row.error


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 0.5 ", 0.5),
        ("1000000000", 0.0),
        ("999999999", 60.0),
        ("-1", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_read_strictly_and_clamped(header, seconds):
    error = outcome(429, envelope(429), retry_after=header)
    assert error.retry_after_seconds == seconds


NOW = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        ("Wed, 21 Oct 2026 07:28:07 GMT", NOW, 7.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", NOW, 0.0),
        ("Thu, 22 Oct 2026 07:28:00 GMT", NOW, 60.0),
        ("Wednesday, 21-Oct-26 07:28:07 GMT", NOW, 7.0),
        ("Wed, 21 Oct 2026 07:28:07 GMT", "", 0.0),
        ("Wed, 21 Oct 2026 07:28:07 GMT", "today", 0.0),
        ("Wed, 99 Oct 2026 07:28:07 GMT", NOW, 0.0),
        ("Wed, 21 Oct 2026 07:28:07", NOW, 0.0),
        ("soon", NOW, 0.0),
    ],
)
def test_retry_after_may_be_a_date_counted_from_that_of_the_response(header, date, seconds):
    error = outcome(429, envelope(429), retry_after=header, date=date)
    assert error.retry_after_seconds == seconds


def test_a_word_about_the_clock_is_a_clock_error():
    assert (
        type(outcome(401, envelope(1002, "Timestamp too far off"), changes=True))
        is errors.ClockError
    )
    assert type(outcome(401, envelope(999, "check your clock"), changes=False)) is errors.ClockError


def test_success_is_the_absence_of_an_error():
    assert outcome(200, '{"id":"x","error":null}') == {"id": "x", "error": None}
    assert outcome(200, "[]") == []


def test_models_are_read_as_the_table_says():
    row = ENDPOINTS["get_candles"]
    bar = {"time": 1, "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
    assert len(codec.read_models(row, {"bars": [bar, bar], "meta": {}})) == 2
    info = codec.read_models(ENDPOINTS["get_info"], [{"name": "x"}])
    assert info.raw == {"name": "x"}
    for name, reply in (
        ("get_candles", {}),
        ("get_balances", {}),
        ("get_order", []),
        ("get_order", [1]),
    ):
        with pytest.raises(WireError):
            codec.read_models(ENDPOINTS[name], reply)


REQUEST = OrderRequest(
    symbol="AAA/USDT",
    side="buy",
    quantity=Decimal("40"),
    price=Decimal("1.25"),
    user_provided_id="nk-1",
)
ECHO = {"id": "o", "userProvidedId": "nk-1", "symbol": "AAA/USDT", "side": "buy"} | {
    "price": "1.250",
    "quantity": "40.0",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("userProvidedId", "nk-2"),
        ("userProvidedId", None),
        ("symbol", "BBB/USDT"),
        ("side", "sell"),
        ("quantity", "39"),
        ("price", "1.26"),
    ],
)
def test_an_answer_to_another_order_is_noticed(field, value):
    assert codec.echo_mismatch(REQUEST, OrderResponse.from_wire(ECHO)) == ""
    reply = OrderResponse.from_wire({**ECHO, field: value})
    assert codec.echo_mismatch(REQUEST, reply) == field


def test_a_request_frame():
    frame = codec.encode_request("subscribeTrades", {"symbol": "A/B"}, 7)
    assert frame == b'{"method":"subscribeTrades","params":{"symbol":"A/B"},"id":7}'
    assert b"id" not in codec.encode_request("x", {})


@pytest.mark.parametrize(
    ("text", "kind", "method", "content"),
    [
        (b'{"jsonrpc":"2.0","result":true,"id":1}', "reply", "", True),
        (b'{"jsonrpc":"2.0","error":{"code":1002},"id":1}', "reply", "", None),
        (b'{"jsonrpc":"2.0","error":{"code":10001}}', "reply", "", None),
        (b'{"jsonrpc":"2.0","result":true}', "stray", "", True),
        (b'{"method":"report","params":{"id":"x"}}', "notification", "report", None),
        (b'{"method":"activeOrders","result":[],"id":3}', "both", "activeOrders", []),
        (
            b'{"method":"currentBalances","timestamp":1,"result":[],"id":3}',
            "both",
            "currentBalances",
            [],
        ),
        (b'{"method":"activeOrders","params":[]}', "notification", "activeOrders", None),
        (b"{}", "stray", "", None),
    ],
)
def test_frames_are_told_apart(text, kind, method, content):
    frame = codec.decode_frame(text)
    assert (frame.kind, frame.method, frame.result) == (kind, method, content)


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"x"'])
def test_a_frame_is_an_object(text):
    with pytest.raises(WireError):
        codec.decode_frame(text)


def test_the_target_of_every_listed_market_needs_no_encoding(shared_data):
    for market in json.loads((shared_data / "markets.json").read_text()):
        target = codec.build_target(ENDPOINTS["get_market"], {"symbol": market["symbol"]})
        assert target.isascii() and "/" not in target.partition("?")[2] and "%" not in target


ODD_REPLIES = [
    *(b"", b"null", b"0", b'"', b"[", b"{}", b"[]", b'{"error":', b"\xff", b"<html>", b"NaN"),
    *(b'{"error":0}', b'{"error":[]}', b'{"error":{}}', b'{"error":{"code":{}}}', b'{"error":""}'),
    *(b'{"error":{"code":1e400}}', b'{"error":{"code":"20001"}}', b'{"error":{"code":true}}'),
    *(b'{"error":{"code":20001,"message":["x"]}}', b"[" * 100_000, b'{"error":{"code":-1}}'),
]


@pytest.mark.parametrize("body", ODD_REPLIES, ids=lambda body: body[:30].decode("latin-1"))
def test_whatever_the_answer_it_is_an_object_or_an_error_that_says_what_was_sent(body):
    for status in (200, 204, 304, 400, 401, 403, 404, 409, 429, 500, 503, 526, 599):
        for changes in (True, False):
            try:
                codec.decode_reply(status, body, endpoint="/x", changes=changes)
            except errors.VenueError as error:
                is_unknown = isinstance(error, errors.OutcomeUnknownError)
                assert error.sent == ("maybe" if is_unknown else "yes")
                assert changes or not is_unknown
                assert error.endpoint == "/x" and str(error)
            else:
                assert 200 <= status < 300 and body in (b"{}", b"[]")
