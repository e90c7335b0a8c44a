import asyncio
import functools
import json
import logging
import socket
import struct
from contextlib import asynccontextmanager

import picows
import pytest
from client.scripted_venue import (
    BINARY,
    CONTINUATION,
    KEY,
    ORDER,
    PING,
    PONG,
    REQUEST,
    SNAPSHOT,
    TEXT,
    Connection,
    book,
    frame_bytes,
    update,
    venue,
)

from nkfast import errors
from nkfast.client import conversation, freshness, kept_socket, listener
from nkfast.client.websocket import Subscription, WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.wire import client_session
from nkfast.wire.models import OrderReport, OrderResponse, OrderState, Trade

LISTENERS = [listener.PythonListener]
if listener.Listener is not listener.PythonListener:
    LISTENERS.append(listener.Listener)


@pytest.fixture(params=LISTENERS, ids=lambda kind: kind.__module__.rpartition(".")[2])
def quick(request, monkeypatch):
    """Run with each listener; reconnect at once."""
    monkeypatch.setattr(conversation, "Listener", request.param)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_FIRST", 0.001)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_MAX", 0.01)
    monkeypatch.setattr(client_session, "RESYNC_PAUSE_SECONDS", 0.01)
    return request.param


pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
async def reported():
    """Whatever reaches the loop's exception handler fails the test, unless it takes it out."""
    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    assert contexts == []


def markets():
    return [Market("AAA/USDT", 2, 0), Market("BBB/USDT", 2, 0)]


class Owner:
    """A client together with what it told."""

    def __init__(self, there, credentials=None, **options):
        self.books = []
        self.states = []
        self.news = []
        self.decoder = FrameDecoder(markets())
        options = {"allow_changes": True, "request_timeout_seconds": 5.0} | options
        self.client = WebSocketClient(
            there.url,
            credentials,
            decoder=options.pop("decoder", self.decoder),
            on_book=lambda index, received_ns: self.books.append((index, received_ns)),
            on_connection=lambda is_up, reason: self.states.append((is_up, reason)),
            **options,
        )

    def hear(self, method):
        self.client.register_handler(method, self.news.append)


@asynccontextmanager
async def connected(there, credentials=None, *subscriptions, **options):
    owner = Owner(there, credentials, **options)
    for subscription in subscriptions:
        owner.client.subscribe(subscription)
    await owner.client.connect(10.0)
    try:
        yield owner
    finally:
        await owner.client.close()


BOOK = Subscription("order_book", "AAA/USDT", 20)
TRADES = Subscription("trades", "AAA/USDT")
REPORTS = Subscription("reports")


async def test_a_book_is_followed(until):
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = owner.decoder.book("AAA/USDT")
        await until(lambda: live.state == "live")
        assert (live.best_bid, live.best_ask) == ((125, 40), (130, 7))
        owner.books.clear()
        there.last.send(**book("updateOrderbook", 101, bids=[("1.26", "5")]))
        await until(lambda: owner.books)
        assert live.best_bid == (126, 5)
        assert [index for index, _ in owner.books] == [0]
        assert owner.books[0][1] > 0
        assert there.last.requests[0] == {
            "method": "subscribeOrderbook",
            "params": {"symbol": "AAA/USDT", "limit": 20},
            "id": 1,
        }


async def live_book(owner, until):
    live = owner.decoder.book("AAA/USDT")
    await until(lambda: live.state == "live")
    owner.books.clear()
    return live


async def test_a_burst_is_told_once_per_market(until):
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        there.last.send(**book("snapshotOrderbook", 7, symbol="BBB/USDT"))
        await until(lambda: owner.books)
        owner.books.clear()
        burst = [update(101 + n) for n in range(50)] + [update(8, symbol="BBB/USDT")]
        there.last.send_bytes(*burst)
        await until(lambda: live.sequence == 150 and len(owner.books) >= 2)
        # The kernel may have cut the bytes in two, hardly more.
        assert {index for index, _ in owner.books} == {0, 1}
        assert len(owner.books) <= 4


@pytest.mark.parametrize("opcode", [PING, PONG, BINARY])
async def test_a_burst_that_ends_with_another_frame_is_told_all_the_same(until, opcode):
    async with venue() as there, connected(there, None, BOOK) as owner:
        await live_book(owner, until)
        there.last.send_bytes(update(101), frame_bytes(opcode, b"x"))
        await until(lambda: owner.books)


async def test_pings_are_answered_with_the_newest(until):
    async with venue() as there, connected(there) as owner:
        pongs = []
        answer = Connection.on_ws_frame

        def on_ws_frame(self, transport, frame):
            if frame.msg_type == picows.WSMsgType.PONG:
                pongs.append(frame.get_payload_as_bytes())
            answer(self, transport, frame)

        there.last.__class__.on_ws_frame = on_ws_frame
        try:
            there.last.send_bytes(*[frame_bytes(PING, str(n)) for n in range(100)])
            await until(lambda: pongs and pongs[-1] == b"99")
        finally:
            Connection.on_ws_frame = answer
        assert len(pongs) < 10
        assert owner.client.is_ready


async def test_a_gap_is_healed_by_subscribing_again(until):
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        there.snapshot = book("snapshotOrderbook", 200, [("2.00", "1")])
        # More updates ahead of their turn than the decoder keeps.
        there.last.send_bytes(*[update(n) for n in range(102, 155)])
        await until(lambda: live.state == "live" and live.sequence == 200)
        assert there.last.methods() == [
            "subscribeOrderbook",
            "unsubscribeOrderbook",
            "subscribeOrderbook",
        ]
        assert owner.client.counters["resyncs"] == 1
        assert len(there.connections) == 1


async def test_an_update_that_never_comes_is_noticed_without_more_frames(until, monkeypatch):
    monkeypatch.setattr(freshness, "HELD_CHECK_SECONDS", 0.01)
    decoder = FrameDecoder(markets(), reorder_window_ns=1_000_000)
    async with venue() as there, connected(there, None, BOOK, decoder=decoder) as owner:
        live = decoder.book("AAA/USDT")
        await until(lambda: live.state == "live")
        there.snapshot = book("snapshotOrderbook", 200, [("2.00", "1")])
        there.last.send_bytes(update(102))
        await until(lambda: live.sequence == 200)
        assert owner.client.counters["resyncs"] == 1


async def test_fragments_are_put_together(until):
    text = json.dumps(book("updateOrderbook", 101, bids=[("1.26", "5")])).encode()
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        pieces = [frame_bytes(TEXT, text[:1], fin=False)]
        for position in range(1, len(text) - 1):
            pieces.append(frame_bytes(CONTINUATION, text[position : position + 1], fin=False))
            if position == 5:
                pieces.append(frame_bytes(PING, b"in between"))
        pieces.append(frame_bytes(CONTINUATION, text[-1:]))
        there.last.send_bytes(*pieces)
        await until(lambda: live.best_bid == (126, 5))


@pytest.mark.parametrize(
    "pieces",
    [
        [frame_bytes(CONTINUATION, b"x")],
        [frame_bytes(TEXT, b"{", fin=False), frame_bytes(TEXT, b"}")],
        [frame_bytes(TEXT, b"{}", rsv=4)],
        [frame_bytes(TEXT, b"{", fin=False)] + [frame_bytes(CONTINUATION, b" ", fin=False)] * 20,
        [frame_bytes(TEXT, b" " * 90, fin=False), frame_bytes(CONTINUATION, b" " * 20)],
        [frame_bytes(BINARY, b"x", fin=False)],
        [frame_bytes(3, b"x")],
    ],
    ids=["no first", "two firsts", "reserved bit", "too many", "too long", "binary", "opcode"],
)
async def test_a_broken_protocol_ends_the_connection_and_a_new_one_is_made(
    until, monkeypatch, quick, pieces
):
    small = functools.partial(quick, message_bytes_max=100, fragments_max=10)
    monkeypatch.setattr(conversation, "Listener", small)
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        there.last.send_bytes(*pieces)
        await until(lambda: len(there.connections) == 2 and live.state == "live")
        assert [is_up for is_up, _ in owner.states] == [True, False, True]


async def test_a_binary_message_is_counted_and_ignored(until):
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        there.last.send_bytes(frame_bytes(BINARY, b"{}"), update(101))
        await until(lambda: live.sequence == 101)
        there.last.transport.disconnect()
        await until(lambda: owner.client.counters["binary_frames"] == 1)


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"a":' * 2000, '{"id":1,"x":"\\ud800"}', "\0"])
async def test_junk_is_dropped_and_the_connection_stays(until, junk):
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        there.last.send_text(junk)
        there.last.send_bytes(frame_bytes(TEXT, b'{"x":"\xff"}'), update(101))
        await until(lambda: live.sequence == 101)
        assert len(there.connections) == 1
        # Whichever of the two readers came upon it.
        counters = owner.client.counters | owner.decoder.counters
        assert counters["rejected_messages"] + counters["rejected"] == 2, counters


async def test_a_huge_message_is_taken_and_a_larger_one_ends_the_connection(until, monkeypatch):
    async with venue() as there, connected(there, None, BOOK, decoder=None) as owner:
        owner.hear("updateTrades")
        padding = "x" * (15 * 1024 * 1024)
        there.last.send(method="updateTrades", params={"data": [], "padding": padding})
        await until(lambda: owner.news)
        there.last.send_text("x" * (16 * 1024 * 1024 + 1))
        await until(lambda: len(there.connections) == 2)


async def test_the_login_is_signed_and_goes_first(until):
    async with venue() as there, connected(there, KEY, BOOK, REPORTS):
        login, *rest = there.last.requests
        assert login["method"] == "login" and login["params"]["algo"] == "HS256"
        assert login["params"]["pKey"] == KEY.api_key
        assert len(login["params"]["signature"]) == 64
        assert KEY.api_secret not in json.dumps(there.last.requests)
        assert [request["method"] for request in rest] == ["subscribeOrderbook", "subscribeReports"]


async def test_a_refused_login_is_final(until):
    async with venue() as there:
        there.errors["login"] = {"code": 1002, "message": "Authorization failed"}
        owner = Owner(there, KEY)
        with pytest.raises(errors.AuthenticationError):
            await owner.client.connect(10.0)
        assert len(there.connections) == 1
        with pytest.raises(errors.AuthenticationError):
            await owner.client.run_forever()
        assert len(there.connections) == 2


async def test_a_ban_is_final(until):
    async with venue() as there, connected(there, KEY) as owner:
        running = asyncio.ensure_future(owner.client.run_forever())
        await asyncio.sleep(0)
        there.last.send_bytes(b"\x88\x0e\x0f\xa1bad api key!")
        with pytest.raises(errors.AuthenticationError, match="4001 bad api key!"):
            await asyncio.wait_for(running, 10)
        assert len(there.connections) == 1


async def test_a_login_that_is_ignored_ends_the_connection(until):
    async with venue() as there:
        there.silent.add("login")
        owner = Owner(there, KEY, request_timeout_seconds=0.05)
        runner = asyncio.ensure_future(owner.client.run_forever())
        await until(lambda: len(there.connections) >= 2)
        there.silent.clear()
        await until(lambda: owner.client.is_ready)
        await owner.client.close()
        await runner


async def test_a_refused_subscription_fails_the_connecting():
    async with venue() as there:
        there.errors["subscribeOrderbook"] = {"code": 2001, "message": "Symbol not found"}
        owner = Owner(there)
        owner.client.subscribe_order_book("AAA/USDT")
        with pytest.raises(errors.SymbolNotFoundError):
            await owner.client.connect(10.0)


async def test_a_subscription_refused_after_a_reconnect_is_asked_for_again(until):
    async with venue() as there, connected(there, KEY, BOOK, REPORTS) as owner:
        there.errors["subscribeReports"] = {"code": 500, "message": "Internal Server Error"}
        there.last.transport.disconnect()
        await until(lambda: len(there.connections) >= 4)
        assert not owner.client.is_ready
        there.errors.clear()
        await until(lambda: owner.client.is_ready)
        assert [is_up for is_up, _ in owner.states] == [True, False, True]


async def test_connecting_to_nobody_gives_up_in_time():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = WebSocketClient(f"ws://127.0.0.1:{unused.getsockname()[1]}/")
        with pytest.raises(errors.UnreachableError, match="cannot connect") as caught:
            await client.connect(0.1)
    assert caught.value.sent == "no"


def close_frame(code, reason=""):
    payload = (struct.pack(">H", code) if code else b"") + reason.encode()
    return b"\x88" + bytes([len(payload)]) + payload


@pytest.mark.parametrize("code", [0, 1000, 1001, 1008, 1011, 1012, 1013, 3000, 4001, 4999, "abort"])
async def test_every_end_is_followed_by_a_new_connection_with_everything_restored(until, code):
    async with venue() as there, connected(there, KEY, BOOK, TRADES, REPORTS) as owner:
        live = await live_book(owner, until)
        before = sorted(there.last.methods())
        if code == "abort":
            there.last.transport.disconnect(graceful=False)
        else:
            there.last.send_bytes(close_frame(code, "words" if code else ""))
        await until(lambda: len(owner.states) >= 3)
        assert [is_up for is_up, _ in owner.states] == [True, False, True]
        await until(lambda: live.state == "live")
        assert len(there.connections) == 2
        assert sorted(there.last.methods()) == before


async def test_books_are_stale_while_the_connection_is_away(until):
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        there.snapshot = None
        there.last.transport.disconnect()
        # A reconnect may follow at once: the back-off is random from zero.
        await until(lambda: any(not is_up for is_up, _ in owner.states))
        assert live.state == "stale"
        assert 0 in {index for index, _ in owner.books}  # the owner hears of it


async def test_a_venue_without_pongs_is_left(until):
    async with venue() as there:
        options = {"ping_interval_seconds": 0.02, "pong_timeout_seconds": 0.02}
        async with connected(there, None, **options) as owner:
            await until(lambda: there.last.pings >= 3)
            assert len(there.connections) == 1
            there.answers_pings = False
            await until(lambda: len(there.connections) >= 2)
            assert any("no pong" in reason for is_up, reason in owner.states if not is_up)
            there.answers_pings = True


async def test_an_order_is_on_the_socket_before_the_call_returns(until):
    async with venue() as there, connected(there, KEY, REPORTS) as owner:
        future = owner.client.send_new_order(REQUEST)
        # Nothing of the client runs between here and the blocking look at the server's socket.
        server_side = there.last.transport.underlying_transport.get_extra_info("socket")
        fd = socket.socket(fileno=socket.dup(server_side.fileno()))
        fd.setblocking(True)
        fd.settimeout(5)
        assert len(fd.recv(4096, socket.MSG_PEEK)) > 100
        fd.close()
        response = await future
        assert (response.order_id, response.status) == ("o1", OrderState.NEW)
        assert there.last.requests[-1]["params"] == REQUEST.to_payload()


async def test_orders_and_reads(until):
    async with venue() as there, connected(there, KEY, REPORTS) as owner:
        there.results["getOrders"] = [ORDER, {**ORDER, "symbol": "BBB/USDT"}]
        there.results["getTradingBalance"] = [{"asset": "AAA", "available": "1", "held": "2"}]
        assert (await owner.client.new_order(REQUEST)).order_id == "o1"
        cancelled = await owner.client.cancel_order(user_provided_id="nk-1")
        assert cancelled.order.status is OrderState.CANCELLED
        assert [row.symbol for row in await owner.client.get_orders("AAA_USDT")] == ["AAA/USDT"]
        [balance] = await owner.client.get_trading_balance()
        assert (balance.asset, balance.available, balance.held) == ("AAA", 1, 2)
        assert there.last.requests[-4]["params"] == REQUEST.to_payload()
        assert there.last.requests[-3]["params"] == {"userProvidedId": "nk-1"}


async def test_nothing_is_changed_unless_allowed():
    async with venue() as there, connected(there, KEY, allow_changes=False) as owner:
        for call in (
            lambda: owner.client.send_new_order(REQUEST),
            lambda: owner.client.send_cancel_order(order_id="o1"),
        ):
            with pytest.raises(errors.ModeError):
                call()
        with pytest.raises(errors.ModeError):
            await owner.client.request("newOrder", {})
        assert there.last.methods() == ["login"]
    with pytest.raises(errors.ModeError):  # unless said otherwise
        WebSocketClient().send_new_order(REQUEST)


async def test_an_order_without_a_connection_was_not_sent(until):
    async with venue() as there, connected(there, KEY) as owner:
        await owner.client.close()
        with pytest.raises(errors.UnreachableError) as caught:
            await owner.client.new_order(REQUEST)
        assert caught.value.sent == "no"


async def test_an_order_waits_for_no_reports_to_be_acknowledged(until):
    async with venue() as there:
        there.silent.add("subscribeReports")
        owner = Owner(there, KEY)
        owner.client.subscribe(REPORTS)
        runner = asyncio.ensure_future(owner.client.run_forever())
        await until(lambda: there.connections and "subscribeReports" in there.last.methods())
        with pytest.raises(errors.UnreachableError, match="not acknowledged yet") as caught:
            await owner.client.new_order(REQUEST)
        assert caught.value.sent == "no"
        await owner.client.close()
        await runner


async def test_a_lost_connection_leaves_orders_unknown_and_reads_unreachable(until):
    async with venue() as there, connected(there, KEY) as owner:
        there.silent |= {"newOrder", "getOrders"}
        order = owner.client.send_new_order(REQUEST)
        read = asyncio.ensure_future(owner.client.get_orders())
        await until(lambda: "getOrders" in there.last.methods())
        there.last.transport.disconnect(graceful=False)
        with pytest.raises(errors.OutcomeUnknownError):
            await order
        with pytest.raises(errors.UnreachableError):
            await read
        await until(lambda: len(there.connections) == 2)
        assert "newOrder" not in there.last.methods()


async def test_an_order_without_an_answer_is_unknown_and_its_socket_is_left(until):
    async with venue() as there, connected(there, KEY, request_timeout_seconds=0.1) as owner:
        there.silent.add("newOrder")
        with pytest.raises(errors.OutcomeUnknownError, match=r"within 0.1 s"):
            await owner.client.new_order(REQUEST)
        await until(lambda: len(there.connections) == 2 and owner.client.is_ready)
        requests = owner.client._requests
        assert len(requests) == requests.unanswered_changes == 0


async def test_a_read_without_an_answer_leaves_the_socket(until):
    async with venue() as there, connected(there, KEY, request_timeout_seconds=0.1) as owner:
        there.silent.add("getOrders")
        with pytest.raises(errors.UnreachableError):
            await owner.client.get_orders()
        number = there.last.requests[-1]["id"]
        there.last.send(result=[], id=number)
        there.last.send(result=[], id=number)
        await until(lambda: owner.client.counters["unknown_answers"] == 1)
        assert owner.client.counters["late_answers"] == 1
        assert len(there.connections) == 1


@pytest.mark.parametrize("field", [{"userProvidedId": "nk-2"}, {"price": "1.26"}, {"id": ""}])
async def test_an_answer_to_another_order_is_not_taken(field):
    async with venue() as there, connected(there, KEY) as owner:
        there.results["newOrder"] = {**ORDER, **field}
        with pytest.raises(errors.OutcomeUnknownError):
            await owner.client.new_order(REQUEST)


async def test_a_refusal_is_certain():
    async with venue() as there, connected(there, KEY) as owner:
        there.errors["newOrder"] = {"code": 20001, "message": "Insufficient funds"}
        with pytest.raises(errors.InsufficientFundsError) as caught:
            await owner.client.new_order(REQUEST)
        assert (caught.value.endpoint, caught.value.sent) == ("newOrder", "yes")


async def test_orders_in_flight_are_bounded():
    async with venue() as there, connected(there, KEY) as owner:
        there.silent.add("newOrder")
        futures = [owner.client.send_new_order(REQUEST) for _ in range(17)]
        with pytest.raises(errors.UnreachableError, match="unanswered") as caught:
            await futures[-1]
        assert caught.value.sent == "no"
        assert not any(future.done() for future in futures[:-1])
        await owner.client.close()
        for future in futures[:-1]:
            assert isinstance(future.exception(), errors.OutcomeUnknownError)


async def test_an_order_behind_our_close_frame_was_not_sent():
    async with venue() as there, connected(there, KEY) as owner:
        owner.client._talk.transport.send_close()
        with pytest.raises(errors.UnreachableError, match="not connected") as caught:
            await owner.client.new_order(REQUEST)
        assert caught.value.sent == "no"


async def test_an_order_to_a_venue_that_does_not_read_is_not_sent(until):
    async with venue() as there, connected(there, KEY) as owner:
        there.last.transport.underlying_transport.pause_reading()
        while owner.client._talk.listener.is_writable:
            owner.client._talk.transport.send(picows.WSMsgType.BINARY, bytes(1 << 16))
        with pytest.raises(errors.UnreachableError, match="too slowly") as caught:
            await owner.client.new_order(REQUEST)
        assert caught.value.sent == "no"
        there.last.transport.underlying_transport.resume_reading()
        await until(lambda: owner.client._talk.listener.is_writable)
        assert (await owner.client.new_order(REQUEST)).order_id == "o1"


async def cancelled_order(there, owner, until):
    """Send an order and cancel the task that waits for it, when the venue has the order."""
    there.silent.add("newOrder")
    waiting = asyncio.ensure_future(owner.client.new_order(REQUEST))
    await until(lambda: "newOrder" in there.last.methods())
    waiting.cancel()
    with pytest.raises(errors.OutcomeUnknownError, match="cancelled") as caught:
        await waiting
    assert (caught.value.endpoint, caught.value.sent) == ("newOrder", "maybe")
    assert len(owner.client._requests) == 1
    return there.last.requests[-1]["id"]


@pytest.mark.parametrize("end", ["accepted", "refused", "another's", "lost", "closed", "timeout"])
async def test_what_becomes_of_an_order_is_told_though_its_task_was_cancelled(until, caplog, end):
    """Reliability R30: the request stays in flight, and its outcome is not lost."""
    outcomes = []
    options = {"on_late_outcome": lambda *told: outcomes.append(told)}
    if end == "timeout":
        options["request_timeout_seconds"] = 0.1
    async with venue() as there, connected(there, KEY, REPORTS, **options) as owner:
        number = await cancelled_order(there, owner, until)
        if end == "accepted":
            there.last.send(result=ORDER, id=number)
        elif end == "refused":
            there.last.send(error={"code": 20001, "message": "Insufficient funds"}, id=number)
        elif end == "another's":
            there.last.send(result={**ORDER, "userProvidedId": "nk-2"}, id=number)
        elif end == "lost":
            there.last.transport.disconnect(graceful=False)
        elif end == "closed":
            await owner.client.close()
        await until(lambda: outcomes)
        [(method, about, outcome)] = outcomes
        assert (method, about) == ("newOrder", "nk-1")
        expected = {"accepted": OrderResponse, "refused": errors.InsufficientFundsError}
        assert isinstance(outcome, expected.get(end, errors.OutcomeUnknownError))
        requests = owner.client._requests
        assert len(requests) == requests.unanswered_changes == 0
        assert owner.client.counters["late_outcomes"] == 1
        assert "newOrder nk-1, no longer waited for" in caplog.text


async def test_an_order_that_ran_out_of_the_callers_time_is_unknown(until):
    async with venue() as there, connected(there, KEY) as owner:
        there.silent.add("newOrder")
        with pytest.raises(errors.OutcomeUnknownError):
            async with asyncio.timeout(0.01):
                await owner.client.new_order(REQUEST)


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_an_outcome_that_comes_with_the_cancelling_is_told(is_accepted):
    outcomes = []
    options = {"on_late_outcome": lambda *told: outcomes.append(told)}
    async with venue() as there, connected(there, KEY, **options) as owner:
        there.silent.add("newOrder")
        requests = owner.client._requests
        waiting = asyncio.ensure_future(owner.client.new_order(REQUEST))
        while not len(requests):
            await asyncio.sleep(0)
        number = next(iter(owner.client._session._pending))
        requests.end(number, ORDER, None if is_accepted else errors.RejectedError("no"))
        waiting.cancel()  # in the same turn of the loop
        with pytest.raises(errors.OutcomeUnknownError, match="cancelled as its answer came"):
            await waiting
        [(method, about, outcome)] = outcomes
        assert (method, about) == ("newOrder", "nk-1")
        assert isinstance(outcome, OrderResponse if is_accepted else errors.RejectedError)


async def test_a_cancel_and_a_raw_change_are_told_as_well_and_reads_are_not(until):
    outcomes = []
    options = {"on_late_outcome": lambda *told: outcomes.append(told[:2])}
    async with venue() as there, connected(there, KEY, **options) as owner:
        there.silent |= {"cancelOrder", "getAssets"}
        client = owner.client
        waiting = [
            client.send_cancel_order(order_id="o1"),
            client.send_cancel_order(user_provided_id="nk-1"),
            asyncio.ensure_future(client.request("cancelOrder", {"orderId": "o2"})),
            asyncio.ensure_future(client.get_assets()),
        ]
        await until(lambda: len(there.last.requests) == 5)
        for future in waiting:
            future.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        cancelled = asyncio.CancelledError
        assert [type(end) for end in ends] == [
            *(cancelled, cancelled, errors.OutcomeUnknownError, cancelled)
        ]
        there.last.transport.disconnect()
        await until(lambda: len(outcomes) == 3)
        assert outcomes == [
            ("cancelOrder", "o1"),
            ("cancelOrder", "nk-1"),
            ("cancelOrder", {"orderId": "o2"}),
        ]


async def test_timers_end_with_their_connection(until):
    async with venue() as there, connected(there, KEY, BOOK) as owner:
        timers = set(owner.client._talk._timers)
        assert len(timers) == 4  # beat, acknowledgements, held updates, staleness
        there.last.transport.disconnect()
        await until(lambda: any(not is_up for is_up, _ in owner.states))
        assert all(timer.cancelled() for timer in timers)


async def test_closing_ends_what_handlers_still_do(until):
    ended = []

    async def wait_for_ever(params):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(params)

    async with venue() as there, connected(there, KEY, TRADES) as owner:
        owner.client.register_handler("ticker", wait_for_ever)
        there.last.send(method="ticker", params={"symbol": "AAA/USDT"})
        lanes = owner.client._talk.handlers._lanes
        await until(lambda: any(lane.is_busy for lane in lanes.values()))
        await asyncio.sleep(0)
        await owner.client.close()
        await until(lambda: ended)


async def test_reports_trades_and_balances_reach_their_handlers(until):
    async with venue() as there, connected(there, KEY, REPORTS, TRADES) as owner:
        for method in ("reports", "trades", "balances", "ticker"):
            owner.hear(method)
        there.last.send(
            method="report",
            params={**ORDER, "reportType": "trade", "tradeId": 7, "tradePrice": 1.250},
        )
        row = {"id": "t", "price": "1.25", "quantity": "4", "side": "sell", "timestampms": 9}
        there.last.send(
            method="updateTrades", params={"symbol": "AAA/USDT", "sequence": "5", "data": [row]}
        )
        there.last.send(method="balanceUpdate", params={})
        there.last.send(method="ticker", params={"symbol": "AAA/USDT", "lastPrice": "1"})
        await until(lambda: len(owner.news) == 3)
        report = OrderReport.from_wire(owner.news[0])
        assert (report.trade_id, str(report.trade_price)) == ("7", "1.25")
        [trade] = Trade.from_stream(owner.news[1])
        assert (trade.symbol, trade.side, trade.quantity) == ("AAA/USDT", "sell", 4)


async def test_books_reach_handlers_as_objects_if_asked_for(until):
    async with venue() as there:
        owner = Owner(there)
        owner.client.subscribe(BOOK)
        owner.hear("orderbook")
        await owner.client.connect(10.0)
        await until(lambda: owner.news)
        assert owner.news[0]["bids"] == [{"price": "1.25", "quantity": "40"}]
        assert owner.decoder.book("AAA/USDT").state == "live"
        await owner.client.close()


async def test_a_failing_handler_disturbs_nobody(until, reported):
    async with venue() as there, connected(there, KEY, TRADES) as owner:

        def fail(params):
            raise RuntimeError("the handler's own fault")

        async def fail_later(params):
            raise RuntimeError("later")

        owner.client.register_handler("updateTrades", fail)
        owner.client.register_handler("updateTrades", fail_later)
        owner.hear("updateTrades")
        params = {"symbol": "AAA/USDT", "data": []}
        there.last.send(method="updateTrades", params=params)
        there.last.send(method="updateTrades", params=params)
        await until(lambda: len(owner.news) == 2 and len(reported) == 4)
        reported.clear()
        assert owner.client.counters["handler_errors"] == 4
        assert len(there.connections) == 1


async def test_a_failing_book_callback_disturbs_nobody(until, reported):
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = await live_book(owner, until)
        owner.client._talk.owner.on_book = lambda *_: 1 / 0
        owner.client._talk.tune()
        there.last.send_bytes(update(101))
        await until(lambda: reported)
        there.last.send_bytes(update(102))
        await until(lambda: live.sequence == 102 and len(reported) == 2)
        reported.clear()
        owner.client._talk.owner.on_book = None
        owner.client._talk.tune()
        assert len(there.connections) == 1


async def test_every_message_is_tapped_as_received(until):
    tapped = []
    async with venue() as there:
        async with connected(there, None, BOOK, tap=lambda ns, data: tapped.append((ns, data))):
            await until(lambda: len(tapped) == 2)
    texts = [data for _, data in tapped]
    assert json.loads(texts[1]) == {"jsonrpc": "2.0", **SNAPSHOT}
    assert all(isinstance(data, bytes) and ns > 0 for ns, data in tapped)


async def test_unsubscribing_is_told_to_the_venue(until):
    async with venue() as there, connected(there, None, BOOK) as owner:
        owner.client.unsubscribe(BOOK)
        await until(lambda: there.last.methods()[-1] == "unsubscribeOrderbook")


async def test_a_snapshot_that_never_comes_ends_the_connection(until):
    async with venue() as there:
        there.snapshot = None
        async with connected(there, None, BOOK, request_timeout_seconds=0.05) as owner:
            await until(lambda: len(there.connections) >= 2)
            assert any("snapshot of AAA/USDT" in reason for _, reason in owner.states)


async def test_a_close_loop_opens_the_breaker(until, caplog):
    caplog.set_level(logging.CRITICAL)
    async with venue() as there:
        there.answer = lambda connection, request: connection.transport.disconnect()
        owner = Owner(there)
        owner.client.subscribe(BOOK)
        runner = asyncio.ensure_future(owner.client.run_forever())
        await until(lambda: owner.client.counters["breaker_openings"] == 1)
        assert len(there.connections) >= kept_socket.BREAKER_FAILURES
        await owner.client.close()
        await runner


def test_pauses_grow_to_the_bound(monkeypatch):
    monkeypatch.undo()
    client = WebSocketClient()
    monkeypatch.setattr(kept_socket.random, "uniform", lambda low, high: (low, high))
    pauses = []
    for client._talk._failures in range(1, 12):
        pauses.append(client._talk._pause_seconds())
    assert pauses[:7] == [(0.0, 0.5 * 2**n) for n in range(7)]
    assert pauses[7:] == [(30.0, 60.0)] * 4


async def test_closing_while_waiting_to_connect_again(until):
    async with venue() as there:
        owner = Owner(there)
        runner = asyncio.ensure_future(owner.client.run_forever())
        await until(lambda: owner.client.is_ready)
        there.server.close()
        there.last.transport.disconnect()
        await until(lambda: owner.states[-1][0] is False)
        await owner.client.close()
        await runner


async def test_frames_cut_at_any_byte_end_the_connection_only(until):
    script = update(101) + frame_bytes(PING, b"x") + update(102)
    async with venue() as there, connected(there, None, BOOK) as owner:
        live = owner.decoder.book("AAA/USDT")
        for length in range(len(script)):
            await until(lambda: live.state == "live")
            before = len(there.connections)
            there.last.send_bytes(script[:length])
            there.last.transport.disconnect()
            await until(lambda count=before: len(there.connections) > count)
            assert live.sequence in (100, 101)
        assert len(there.connections) == len(script) + 1


async def test_closing_tells_the_venue(until):
    async with venue() as there:
        async with connected(there):
            pass
        await until(lambda: there.last.closed_with is not None)


def test_wrong_settings_are_refused():
    for options in ({"url": "http://x"}, {"pong_timeout_seconds": 0}, {"ping_interval_seconds": 1}):
        with pytest.raises(errors.ConfigError):
            WebSocketClient(**options)
    client = WebSocketClient()
    with pytest.raises(errors.ConfigError, match="credentials"):
        client.subscribe_account_updates()
    with pytest.raises(errors.ConfigError, match="no notification"):
        client.register_handler("updateOrderBook", print)
    for options in ({}, {"order_id": "a", "user_provided_id": "b"}):
        with pytest.raises(errors.ConfigError):
            client.send_cancel_order(**options)


def test_the_client_shows_no_secret():
    assert KEY.api_secret not in repr(vars(WebSocketClient(credentials=KEY)))
