"""The rules of the conversation, from the server's side, without sockets."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.errors import SymbolNotFoundError
from nkfast.wire.error_codes import ERROR_CODES
from nkfast.wire.server_session import Channel, ChannelKind, ServerSession


class Desk:
    """One market, BTC/USDT, and one account, "me"."""

    def login(self, params: Mapping[str, Any]) -> str:
        if params.get("pKey") != "me":
            raise ERROR_CODES[1002].error("Authorization failed", code=1002)
        return "me"

    def public(self, method: str, params: Mapping[str, Any]) -> Any:
        return [method, dict(params)]

    def private(self, account: str, method: str, params: Mapping[str, Any]) -> Any:
        return [account, method, dict(params)]

    def channel(self, kind: ChannelKind, params: Mapping[str, Any]) -> Channel:
        if params.get("symbol") != "BTC/USDT":
            raise SymbolNotFoundError("Symbol not found", code=2001)
        return Channel(kind, "BTC/USDT", params.get("period", 0))

    def snapshot(self, channel: Channel, params: Mapping[str, Any]) -> tuple[str, Any]:
        return f"snapshot{channel.kind}", {"symbol": channel.symbol}

    def state(self, account: str, kind: ChannelKind) -> dict[str, Any]:
        return {"method": f"current {kind}", "result": [account]}


def say(session: ServerSession, **request: Any) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in session.receive(json.dumps(request))]


@pytest.fixture
def session() -> ServerSession:
    return ServerSession(Desk())


@pytest.fixture
def known(session: ServerSession) -> ServerSession:
    assert say(session, method="login", params={"pKey": "me"}, id=0)
    return session


@pytest.mark.parametrize("request_id", [1, "one", -5, 2.5, 0, ""])
def test_every_id_is_echoed_as_it_came(session: ServerSession, request_id: Any) -> None:
    (reply,) = say(session, method="getMarkets", params={}, id=request_id)
    assert reply == {"jsonrpc": "2.0", "result": ["getMarkets", {}], "id": request_id}
    assert type(reply["id"]) is type(request_id)


@pytest.mark.parametrize("request_id", [None, True, [], {}])
def test_what_is_no_id_is_not_echoed(session: ServerSession, request_id: Any) -> None:
    (reply,) = say(session, method="getMarkets", id=request_id)
    assert "id" not in reply


@pytest.mark.parametrize("kind", ["Orderbook", "Trades", "Ticker"])
def test_subscribe_with_id_is_acknowledged_before_its_snapshot(
    session: ServerSession, kind: str
) -> None:
    ack, snapshot = say(session, method=f"subscribe{kind}", params={"symbol": "BTC/USDT"}, id=7)
    assert ack == {"jsonrpc": "2.0", "result": True, "id": 7}
    assert snapshot["method"] == f"snapshot{kind.lower()}" and "id" not in snapshot
    assert session.channels == {Channel(kind.lower(), "BTC/USDT")}  # type: ignore[arg-type]


def test_subscribe_without_id_gets_the_snapshot_alone(session: ServerSession) -> None:
    (snapshot,) = say(session, method="subscribeTrades", params={"symbol": "BTC/USDT"})
    assert snapshot["method"] == "snapshottrades"
    assert "result" not in snapshot and "id" not in snapshot


def test_failing_subscribe_without_id_still_gets_an_error(session: ServerSession) -> None:
    (reply,) = say(session, method="subscribeTrades", params={"symbol": "NO/SUCH"})
    assert reply == {
        "jsonrpc": "2.0",
        "error": {"code": 2001, "message": "Symbol not found", "description": "Symbol not found"},
    }
    assert session.channels == set()


def test_unsubscribe_answers_true_with_or_without_id(session: ServerSession) -> None:
    say(session, method="subscribeTicker", params={"symbol": "BTC/USDT"})
    assert say(session, method="unsubscribeTicker", params={"symbol": "BTC/USDT"}) == [
        {"jsonrpc": "2.0", "result": True}
    ]
    assert session.channels == set()
    (reply,) = say(session, method="unsubscribeTicker", params={"symbol": "BTC/USDT"}, id=3)
    assert reply == {"jsonrpc": "2.0", "result": True, "id": 3}


def test_candles_of_different_periods_are_different_channels(session: ServerSession) -> None:
    for period in (5, 15):
        say(session, method="subscribeCandles", params={"symbol": "BTC/USDT", "period": period})
    say(session, method="unsubscribeCandles", params={"symbol": "BTC/USDT", "period": 5})
    assert session.channels == {Channel("candles", "BTC/USDT", 15)}


def test_private_calls_need_a_login(session: ServerSession) -> None:
    for method in ("newOrder", "getOrders", "subscribeReports", "unsubscribeReports"):
        (reply,) = say(session, method=method, params={}, id=1)
        assert reply["error"]["code"] == 1001
    assert session.channels == set()


def test_login_opens_private_calls_and_a_failed_one_does_not(session: ServerSession) -> None:
    (refused,) = say(session, method="login", params={"pKey": "you"}, id=1)
    assert refused["error"]["code"] == 1002 and session.account is None
    assert say(session, method="login", params={"pKey": "me"}, id=2) == [
        {"jsonrpc": "2.0", "result": True, "id": 2}
    ]
    (reply,) = say(session, method="getOrders", id=3)
    assert reply["result"] == ["me", "getOrders", {}]


def test_login_without_id_is_answered_too(session: ServerSession) -> None:
    assert say(session, method="login", params={"pKey": "me"}) == [
        {"jsonrpc": "2.0", "result": True}
    ]


@pytest.mark.parametrize("kind", ["reports", "balances"])
def test_private_subscription_is_answered_in_one_frame(known: ServerSession, kind: str) -> None:
    method = f"subscribe{kind.capitalize()}"
    assert say(known, method=method, params={}, id=9) == [
        {"jsonrpc": "2.0", "method": f"current {kind}", "result": ["me"], "id": 9}
    ]
    (reply,) = say(known, method=method)
    assert "id" not in reply and reply["result"] == ["me"]
    assert known.channels == {Channel(kind)}  # type: ignore[arg-type]


def test_documented_shape_is_a_result_and_a_notification() -> None:
    session = ServerSession(Desk(), private_shape="docs")
    say(session, method="login", params={"pKey": "me"})
    assert say(session, method="subscribeReports", id=1) == [
        {"jsonrpc": "2.0", "result": True, "id": 1},
        {"jsonrpc": "2.0", "method": "current reports", "params": ["me"]},
    ]


def test_reports_can_be_given_up_and_balances_cannot(known: ServerSession) -> None:
    say(known, method="subscribeReports")
    assert say(known, method="unsubscribeReports", id=1)[0]["result"] is True
    assert known.channels == set()
    (reply,) = say(known, method="unsubscribeBalances", id=2)
    assert reply["error"]["code"] == 402


def test_unknown_method_has_the_code_that_was_asked_for() -> None:
    for code in (402, 404):
        session = ServerSession(Desk(), unknown_method_code=code)
        for method in ("nothing", "subscribe", "unsubscribeNothing", "", None, 5):
            (reply,) = say(session, method=method, id=1)
            assert reply["error"] == {"code": code, "message": "Requested method not found"}


@pytest.mark.parametrize("frame", ["", "{", "[]", "7", "null", b"\xff", '{"id": 1e', "[" * 5000])
def test_invalid_json_is_said_and_forgiven(session: ServerSession, frame: Any) -> None:
    (reply,) = [json.loads(one) for one in session.receive(frame)]
    assert reply["error"] == {"code": 10001, "message": "Invalid JSON Request"}
    assert "id" not in reply
    assert say(session, method="getMarkets", id=1)[0]["id"] == 1


def test_explicit_nulls_count_as_absent(session: ServerSession) -> None:
    (reply,) = say(session, method="getTrades", params={"symbol": "X", "limit": None}, id=1)
    assert reply["result"] == ["getTrades", {"symbol": "X"}]
    (reply,) = say(session, method="getTrades", params=None, id=1)
    assert reply["result"] == ["getTrades", {}]


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
METHODS = ["login", "getTrades", "newOrder", "subscribeTicker", "unsubscribeTicker", "odd"]


@given(JSON | st.integers(), JSON, st.one_of(st.sampled_from(METHODS), JSON))
def test_any_request_gets_an_answer_and_never_two_with_its_id(
    request_id: Any, params: Any, method: Any
) -> None:
    session = ServerSession(Desk())
    frames = say(session, method=method, params=params, id=request_id)
    is_id = isinstance(request_id, int | float | str) and not isinstance(request_id, bool)
    assert len(frames) in (1, 2)
    if is_id and not (isinstance(request_id, int) and abs(request_id) >= 2**63):
        assert [frame["id"] for frame in frames if "id" in frame] == [request_id]
