import json
from decimal import Decimal

import pytest

from nkfast import errors
from nkfast.client import calls
from nkfast.client.rest_session import (
    BACKOFF_SECONDS_FIRST,
    NONCE_PAUSE_SECONDS,
    Answer,
    Lost,
    RestSession,
    Retire,
    Wait,
)
from nkfast.client.roads import Request
from nkfast.client.throttle import Rate, Throttle
from nkfast.wire.codec import RETRY_AFTER_SECONDS_MAX
from nkfast.wire.models import ApiCredentials, OrderRequest

KEY = ApiCredentials("the-key", "the-secret")
ORDER = OrderRequest(symbol="AAA/USDT", side="buy", quantity=Decimal(1), price=Decimal(2))
FINE = (200, b"[]", "")
CANCELLED = (200, b'{"success":true,"id":"o1"}', "")
TOO_MANY = (429, b'{"error":{"code":429,"message":"Too many requests"}}', "7")
BAD_NONCE = (401, b'{"error":{"code":1002,"message":"Bad Nonce"}}', "")


class Pretended:
    """Carries calls out at once, with a clock that jumps to the end of each wait."""

    def __init__(self, *answers, rates=None, **options):
        settings = {"allow_changes": True, "attempts": 4, "basic_auth": False}
        settings |= {"allow_withdrawals": False, "nonces": None, "time_sync": None}
        settings |= {"base_url": "https://venue/api", "throttle": Throttle(rates or {})}
        self.session = RestSession(KEY, **(settings | options))
        self.answers = list(answers)
        self.now = 100.0
        self.did = []

    def run(self, call):
        steps = self.session.steps(call, lambda: self.now)
        result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return end.value
            self.did.append(step)
            result = None
            if isinstance(step, Wait):
                self.now += step.seconds
            elif isinstance(step, Request):
                answer = self.answers.pop(0)
                if isinstance(answer, Lost):
                    result = answer
                else:
                    result = Answer(*answer, date="", sent_ns=0, received_ns=0)

    def kinds(self):
        return [type(step) for step in self.did]


def test_what_is_sent():
    there = Pretended(CANCELLED)
    assert there.run(calls.cancel_order("o1")).order_id == "o1"
    [request] = there.did
    assert (request.method, request.target) == ("POST", "/api/cancelorder")
    assert request.url == "https://venue/api/cancelorder"
    assert json.loads(request.body) == {"id": "o1"}
    assert request.make_headers()["X-API-KEY"] == "the-key"


def test_cancels_go_though_every_other_class_is_exhausted():
    rates = dict.fromkeys(("public", "private", "orders", "cancels"), Rate(0.1, 1))
    there = Pretended(*[FINE] * 3, CANCELLED, CANCELLED, rates=rates)
    for call in (calls.get_tickers, calls.get_balances, calls.get_balances):
        there.run(call())
    start = there.now
    there.run(calls.cancel_order("o1"))
    assert there.now == start
    there.run(calls.cancel_order("o1"))
    assert there.now == start + 10


def test_too_many_requests_hold_their_own_class_back():
    there = Pretended(TOO_MANY, CANCELLED, FINE, FINE)
    with pytest.raises(errors.RateLimitError) as caught:
        Pretended(TOO_MANY, attempts=1).run(calls.get_balances())
    assert caught.value.retry_after_seconds == 7
    steps = there.session.steps(calls.get_balances(), lambda: there.now)
    assert isinstance(steps.send(None), Request)
    wait = steps.send(Answer(*there.answers.pop(0), date="", sent_ns=0, received_ns=0))
    assert wait == Wait(7.0)
    start = there.now
    there.run(calls.cancel_order("o1"))
    assert there.now == start
    there.run(calls.get_balances())  # another read of the class waits, too
    assert there.now == start + 7


@pytest.mark.parametrize("body", [b"<html>", b"", TOO_MANY[1]])
@pytest.mark.parametrize("header", ["7", "inf", "NaN", "-7", "1e9", "999999999", ""])
def test_too_many_requests_in_any_words_hold_orders_back(body, header):
    there = Pretended((429, body, header), CANCELLED, FINE, (429, body, header))
    start = there.now
    with pytest.raises(errors.VenueError):
        there.run(calls.create_order(ORDER))
    there.run(calls.cancel_order("o1"))
    there.run(calls.get_balances())
    assert there.now == start
    with pytest.raises(errors.VenueError):
        there.run(calls.create_order(ORDER))
    asked = {"7": 7, "999999999": RETRY_AFTER_SECONDS_MAX}.get(header, 0)
    assert start + asked <= there.now <= start + max(asked, BACKOFF_SECONDS_FIRST)


def test_lost_reads_are_repeated_with_growing_pauses_and_new_nonces():
    lost = Lost("ConnectionResetError", True)
    for _ in range(50):
        there = Pretended(lost, Lost("refused", False), lost, FINE)
        assert there.run(calls.get_balances()) == []
        waits = [step.seconds for step in there.did if isinstance(step, Wait)]
        bounds = [BACKOFF_SECONDS_FIRST * 2**n for n in range(3)]
        assert len(waits) == 3
        assert all(0 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))
    nonces = [
        int(step.make_headers()["X-API-NONCE"]) for step in there.did if isinstance(step, Request)
    ]
    assert nonces == sorted(set(nonces)) and len(nonces) == 4


@pytest.mark.parametrize(
    ("answer", "kind", "sent", "retires"),
    [
        (Lost("reset", True), errors.OutcomeUnknownError, "maybe", False),
        (Lost("refused", False), errors.UnreachableError, "no", False),
        ((200, b"<html>", ""), errors.OutcomeUnknownError, "maybe", True),
        ((200, b"[]", ""), errors.OutcomeUnknownError, "maybe", True),
        (TOO_MANY, errors.RateLimitError, "yes", False),
    ],
)
def test_a_change_is_sent_once(answer, kind, sent, retires):
    there = Pretended(answer)
    with pytest.raises(kind) as caught:
        there.run(calls.cancel_order("o1"))
    assert (caught.value.sent, caught.value.endpoint) == (sent, "/cancelorder")
    assert there.kinds() == [Request, Retire] if retires else [Request]


def test_after_a_bad_nonce_nothing_is_signed_for_a_while_but_cancels():
    for call in (calls.get_orders(), calls.create_order(ORDER)):
        there = Pretended(BAD_NONCE, CANCELLED, TOO_MANY, attempts=1)
        start = there.now
        with pytest.raises(errors.NonceError):
            there.run(calls.get_balances())
        there.run(calls.cancel_order("o1"))
        assert there.now == start
        with pytest.raises(errors.RateLimitError):  # an answer that both take alike
            there.run(call)
        assert there.now == start + NONCE_PAUSE_SECONDS


def test_every_meaning_has_its_error():
    meanings = {
        (1002, "Authorization failed"): errors.AuthenticationError,
        (1003, "forbidden"): errors.PermissionDeniedError,
        (1002, "timestamp too far ahead"): errors.ClockError,
        (1002, "Bad Nonce"): errors.NonceError,
        (20001, "Insufficient funds for order creation"): errors.InsufficientFundsError,
        (10001, "quantity below minimum"): errors.BelowMinimumError,
        (20013, "too small"): errors.BelowMinimumError,
        (20002, "Active order not found"): errors.OrderNotFoundError,
        (20008, "Duplicate clientOrderId"): errors.DuplicateClientIdError,
        (10001, "market is paused"): errors.MarketPausedError,
        (429, "Too many requests"): errors.RateLimitError,
    }
    for (code, text), kind in meanings.items():
        body = json.dumps({"error": {"code": code, "message": text}}).encode()
        for status in (200, 400):
            there = Pretended((status, body, ""))
            with pytest.raises(errors.VenueError) as caught:
                there.run(calls.cancel_order("o1"))
            error = caught.value
            assert type(error) is kind
            assert (error.code, error.message, error.endpoint, error.sent) == (
                code,
                text,
                "/cancelorder",
                "yes",
            )


def test_a_taken_client_id_is_no_rejection():
    # The first answer was lost on the way, where something sent the request again.
    body = b'{"error":{"code":20008,"message":"Duplicate clientOrderId"}}'
    with pytest.raises(errors.DuplicateClientIdError) as caught:
        Pretended((400, body, "")).run(calls.create_order(ORDER))
    assert not isinstance(caught.value, errors.RejectedError)


def test_nonces_are_taken_when_a_request_is_written_not_when_it_is_made():
    there = Pretended()
    steps = [there.session.steps(calls.get_balances(), lambda: 0.0) for _ in range(2)]
    first, second = (step.send(None) for step in steps)
    late, early = second.make_headers(), first.make_headers()
    assert int(early["X-API-NONCE"]) > int(late["X-API-NONCE"])
