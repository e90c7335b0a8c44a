import json

import pytest

from nkfast.errors import (
    AuthenticationError,
    InsufficientFundsError,
    OutcomeUnknownError,
    WireError,
)
from nkfast.wire.client_session import (
    FORGOTTEN_MAX,
    Answer,
    ClientSession,
    Complaint,
    LateAnswer,
    LoginDone,
    LoginRefused,
    News,
    Refusal,
    Subscription,
    SubscriptionDone,
    SubscriptionRefused,
)

BOOK = Subscription("order_book", "AAA/USDT", 20)
TRADES = Subscription("trades", "AAA/USDT")
REPORTS = Subscription("reports")
BALANCES = Subscription("balances")


class Nonces:
    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return {"algo": "HS256", "nonce": f"n{self.count}"}


@pytest.fixture
def session():
    return ClientSession(Nonces())


def sent(session):
    return [json.loads(frame) for frame in session.take_outgoing()]


def methods(session):
    return [request["method"] for request in sent(session)]


def tell(session, **frame):
    return session.receive(json.dumps({"jsonrpc": "2.0", **frame}).encode())


def ready(session, *subscriptions):
    """Open the session and let everything be acknowledged."""
    for subscription in subscriptions:
        session.subscribe(subscription)
    session.opened()
    while requests := sent(session):
        for request in requests:
            tell(session, result=True, id=request["id"])
    assert session.is_ready


def asked(session, method):
    """Let the session expect the answer to a request, and return its id."""
    number = next(session.ids)
    session.expect(number, method)
    return number


def test_login_goes_first_and_private_subscriptions_wait_for_it(session):
    for subscription in (REPORTS, BOOK, TRADES, BALANCES):
        session.subscribe(subscription)
    assert sent(session) == []
    session.opened()
    requests = sent(session)
    assert [request["method"] for request in requests] == [
        "login",
        "subscribeOrderbook",
        "subscribeTrades",
    ]
    assert requests[1]["params"] == {"symbol": "AAA/USDT", "limit": 20}
    for request in requests[1:]:
        [event] = tell(session, result=True, id=request["id"])
        assert isinstance(event, SubscriptionDone)
    assert not session.is_ready
    assert tell(session, result=True, id=requests[0]["id"]) == [LoginDone()]
    requests = sent(session)
    assert [request["method"] for request in requests] == ["subscribeReports", "subscribeBalances"]
    assert not session.takes_orders
    tell(session, result=True, id=requests[0]["id"])
    assert session.takes_orders and not session.is_ready
    tell(session, result=True, id=requests[1]["id"])
    assert session.is_ready


def test_without_an_account_there_is_no_login():
    session = ClientSession()
    session.subscribe(TRADES)
    session.opened()
    [request] = sent(session)
    tell(session, result=True, id=request["id"])
    assert session.is_ready and not session.takes_orders


@pytest.mark.parametrize("result", [False, None, [], "true", 1])
def test_a_login_that_is_not_acknowledged_with_true_is_refused(session, result):
    session.opened()
    [request] = sent(session)
    [event] = tell(session, result=result, id=request["id"])
    assert isinstance(event, LoginRefused) and isinstance(event.error, AuthenticationError)
    assert not session.is_logged_in and sent(session) == []


def test_a_refused_login(session):
    session.opened()
    [request] = sent(session)
    [event] = tell(session, error={"code": 1002, "message": "no"}, id=request["id"])
    assert isinstance(event.error, AuthenticationError) and event.error.code == 1002


def test_everything_is_restored_after_a_reconnect_with_a_new_login(session):
    ready(session, BOOK, REPORTS)
    session.lost()
    assert not session.is_ready and not session.is_logged_in and not session.is_active(BOOK)
    session.opened()
    login, book = sent(session)
    assert (login["params"]["nonce"], book["method"]) == ("n2", "subscribeOrderbook")
    tell(session, result=True, id=login["id"])
    assert methods(session) == ["subscribeReports"]


def test_what_is_unsubscribed_is_not_restored(session):
    ready(session, BOOK, TRADES)
    session.unsubscribe(TRADES)
    [request] = sent(session)
    assert request["method"] == "unsubscribeTrades"
    assert request["params"] == {"symbol": "AAA/USDT"}
    session.unsubscribe(TRADES)
    assert sent(session) == []
    session.lost()
    session.opened()
    assert methods(session) == ["login", "subscribeOrderbook"]


def test_the_venue_has_no_unsubscribe_of_balances(session):
    ready(session, BALANCES)
    session.unsubscribe(BALANCES)
    assert sent(session) == [] and session.subscriptions == ()


def test_subscribing_twice_asks_once(session):
    ready(session, BOOK)
    session.subscribe(BOOK)
    assert sent(session) == []


def test_candles_name_their_period(session):
    ready(session)
    candles = Subscription("candles", "AAA/USDT", 5, 15)
    session.subscribe(candles)
    session.unsubscribe(candles)
    first, second = sent(session)
    assert first["params"] == {"symbol": "AAA/USDT", "period": 15, "limit": 5}
    assert second["params"] == {"symbol": "AAA/USDT", "period": 15}


@pytest.mark.parametrize(
    ("code", "is_final"), [(500, False), (429, False), (2001, True), (1003, True)]
)
def test_a_refused_subscription_stays_wanted_unless_it_always_would_be(session, code, is_final):
    session.subscribe(BOOK)
    session.opened()
    book = sent(session)[1]
    [event] = tell(session, error={"code": code, "message": "no"}, id=book["id"])
    assert isinstance(event, SubscriptionRefused) and event.subscription == BOOK
    assert event.is_final == is_final
    assert session.subscriptions == (() if is_final else (BOOK,))
    assert not session.is_active(BOOK) and session.overdue(session.last_id) == ["login"]


def test_subscriptions_are_asked_for_in_bursts_the_most_wanted_first(session):
    books = [Subscription("order_book", f"A{number}/USDT") for number in range(5)]
    for subscription in [REPORTS, *books]:
        session.subscribe(subscription)
    session.opened(2, lambda subscription: subscription.symbol not in ("A3/USDT", "A4/USDT"))
    login, *first = sent(session)
    assert [row["params"]["symbol"] for row in first] == ["A3/USDT", "A4/USDT"]
    tell(session, result=True, id=login["id"])
    assert methods(session) == ["subscribeReports"]  # few, and never late
    session.unsubscribe(books[1])
    assert methods(session) == []  # it has not been asked for
    assert session.ask_more(1)
    assert [row["params"]["symbol"] for row in sent(session)] == ["A0/USDT"]
    assert not session.ask_more(5)
    assert [row["params"]["symbol"] for row in sent(session)] == ["A2/USDT"]
    session.lost()
    session.opened(1)
    session.lost()
    assert not session.ask_more()


def test_a_silent_stream_is_asked_for_again(session):
    ready(session, TRADES, REPORTS)
    assert session.restart(TRADES) and not session.is_ready
    assert methods(session) == ["unsubscribeTrades", "subscribeTrades"]
    assert not session.restart(TRADES)  # the answer is awaited
    assert not session.restart(REPORTS)


@pytest.mark.parametrize("form", ["live", "live without id", "documented", "reply"])
@pytest.mark.parametrize(
    ("subscription", "news"), [(REPORTS, "activeOrders"), (BALANCES, "currentBalances")]
)
def test_every_form_of_the_first_private_news(session, form, subscription, news):
    session.subscribe(subscription)
    session.opened()
    tell(session, result=True, id=sent(session)[0]["id"])
    [request] = sent(session)
    rows = [{"id": "o1"}]
    frame = {
        "live": {"method": news, "result": rows, "id": request["id"]},
        "live without id": {"method": news, "result": rows},
        "documented": {"method": news, "params": rows},
        "reply": {"result": rows, "id": request["id"]},
    }[form]
    assert tell(session, **frame) == [SubscriptionDone(subscription), News(news, rows)]
    assert session.is_ready


def test_first_news_named_after_the_request(session):
    session.subscribe(REPORTS)
    session.opened()
    tell(session, result=True, id=sent(session)[0]["id"])
    [request] = sent(session)
    events = tell(session, method="subscribeReports", result=[], id=request["id"])
    assert events == [SubscriptionDone(REPORTS), News("activeOrders", [])]


def test_notifications_are_handed_on_and_empty_ones_dropped(session):
    ready(session, BALANCES)
    assert tell(session, method="report", params={"id": "o1"}) == [News("report", {"id": "o1"})]
    assert tell(session, method="balanceUpdate", params={}) == []
    assert tell(session, method="balanceUpdate") == []
    assert tell(session, method="somethingNew", params=[1]) == [News("somethingNew", [1])]


def test_requests_are_matched_by_id(session):
    ready(session)
    first = asked(session, "getOrders")
    second = asked(session, "newOrder")
    assert first < second
    [refusal] = tell(session, error={"code": 20001, "message": "no"}, id=second)
    assert isinstance(refusal, Refusal) and refusal.request_id == second
    assert isinstance(refusal.error, InsufficientFundsError)
    assert tell(session, result=[1], id=first) == [Answer(first, [1])]


def test_an_uncertain_code_leaves_an_order_unknown(session):
    ready(session)
    number = asked(session, "newOrder")
    [refusal] = tell(session, error={"code": 503, "message": "later"}, id=number)
    assert isinstance(refusal.error, OutcomeUnknownError)


def test_a_late_answer_is_information(session):
    ready(session)
    number = asked(session, "newOrder")
    session.forget(number)
    assert tell(session, result={"id": "o"}, id=number) == [
        LateAnswer("newOrder", {"id": "o"}, None)
    ]
    assert tell(session, result={"id": "o"}, id=number) == []  # and the second time nothing
    assert session.counters == {"late_answers": 1, "unknown_answers": 1, "stray_frames": 0}


def test_an_answer_is_used_once(session):
    ready(session)
    number = asked(session, "getOrders")
    assert len(tell(session, result=[], id=number)) == 1
    assert tell(session, result=[], id=number) == []
    assert tell(session, result=True, id="a word") == []
    assert tell(session, result=True) == []
    assert session.counters["unknown_answers"] == 2
    assert session.counters["stray_frames"] == 1


def test_what_was_given_up_is_forgotten_in_the_end(session):
    ready(session)
    numbers = [asked(session, "getOrders") for _ in range(FORGOTTEN_MAX + 1)]
    for number in numbers:
        session.forget(number)
    assert tell(session, result=[], id=numbers[0]) == []
    assert tell(session, result=[], id=numbers[1]) == [LateAnswer("getOrders", [], None)]


def test_content_of_a_wrong_shape_is_not_an_empty_account(session):
    ready(session, REPORTS)
    assert tell(session, method="activeOrders", params=None) == []
    assert tell(session, method="activeOrders", params={"id": "o1"}) == []
    assert tell(session, method="activeOrders", params=[]) == [News("activeOrders", [])]


def test_losing_the_connection_names_the_unanswered_requests_only(session):
    session.subscribe(BOOK)
    session.opened()
    sent(session)
    number = asked(session, "getOrders")
    assert session.lost() == [number]
    assert sent(session) == []
    assert session.lost() == []


def test_an_error_without_id_is_a_complaint(session):
    ready(session)
    [event] = tell(session, error={"code": 10001, "message": "Invalid JSON Request"})
    assert isinstance(event, Complaint) and event.error.code == 10001


def test_a_refused_unsubscribe_is_a_complaint(session):
    ready(session, TRADES)
    session.unsubscribe(TRADES)
    [request] = sent(session)
    [event] = tell(session, error={"code": 402, "message": "no"}, id=request["id"])
    assert isinstance(event, Complaint)


def test_a_gap_unsubscribes_and_subscribes_the_book_once(session):
    ready(session, BOOK, TRADES)
    session.book_arrived("AAA/USDT")
    assert session.book_lost("AAA/USDT")
    assert not session.book_lost("AAA/USDT")
    [request] = sent(session)
    assert (request["method"], request["params"]) == (
        "unsubscribeOrderbook",
        {"symbol": "AAA/USDT"},
    )
    session.ask_book_again("AAA/USDT")
    session.ask_book_again("AAA/USDT")
    assert methods(session) == ["subscribeOrderbook"]
    assert not session.book_lost("AAA/USDT")  # a snapshot is on its way
    tell(session, method="snapshotOrderbook", params={"symbol": "AAA/USDT"})
    assert session.book_lost("AAA/USDT")


def test_a_gap_of_a_book_that_nobody_wants_is_nothing(session):
    ready(session, BOOK)
    session.book_arrived("AAA/USDT")
    assert not session.book_lost("BBB/USDT")
    session.unsubscribe(BOOK)
    assert not session.book_lost("AAA/USDT")


def test_a_resync_ends_with_the_connection(session):
    ready(session, BOOK)
    session.book_arrived("AAA/USDT")
    session.book_lost("AAA/USDT")
    session.lost()
    session.ask_book_again("AAA/USDT")
    assert sent(session) == []
    session.opened()
    sent(session)
    session.ask_book_again("AAA/USDT")  # the old timer, on the new connection
    assert sent(session) == []


def test_what_is_overdue(session):
    session.subscribe(BOOK)
    session.opened()
    login, book = sent(session)
    asked(session, "getOrders")
    assert session.overdue(0) == []
    assert session.overdue(session.last_id) == [
        "login",
        "subscribeOrderbook",
        "snapshot of AAA/USDT",
    ]
    tell(session, result=True, id=login["id"])
    tell(session, result=True, id=book["id"])
    assert session.overdue(session.last_id) == ["snapshot of AAA/USDT"]
    session.book_arrived("AAA/USDT")
    assert session.overdue(session.last_id) == []


@pytest.mark.parametrize("junk", [b"", b"[]", b"{", b"\xff", b"null"])
def test_junk_leaves_the_session_as_it_was(session, junk):
    ready(session, BOOK)
    with pytest.raises(WireError):
        session.receive(junk)
    assert session.is_ready


@pytest.mark.parametrize(
    "frame",
    [
        {"id": 1, "method": []},
        {"id": True, "result": 1},
        {"id": 1.5, "result": 1},
        {"method": "snapshotOrderbook", "params": [1]},
        {"method": "snapshotOrderbook", "params": {"symbol": 7}},
        {"method": "activeOrders", "params": None},
        {"method": "activeOrders", "params": {"a": 1}},
        {"error": [], "id": 99},
        {"error": {"code": "x"}},
        {"id": None, "result": None},
    ],
)
def test_odd_frames_do_no_harm(session, frame):
    ready(session, BOOK, REPORTS)
    tell(session, **frame)
    assert session.is_ready
