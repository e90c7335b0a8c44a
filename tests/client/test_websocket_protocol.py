"""Frames that break RFC 6455, from a venue that sends bytes as they are.

Each ends the connection with the close code that the RFC has for it, the owner hears why, and a new
connection is made.
"""

import asyncio
import json
import random
import struct

import pytest
from client.scripted_venue import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    frame_bytes,
    update,
    venue,
)

from nkfast.client import conversation, kept_socket, listener
from nkfast.client.websocket import Subscription, WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market

CLOSE = 8
BOOK = Subscription("order_book", "AAA/USDT", 20)


@pytest.fixture(autouse=True, params=["compiled", "python"])
def quick(request, monkeypatch):
    """Run with each listener; reconnect at once."""
    if request.param == "python":
        monkeypatch.setattr(conversation, "Listener", listener.PythonListener)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_FIRST", 0.001)
    monkeypatch.setattr(kept_socket, "BACKOFF_SECONDS_MAX", 0.01)


@pytest.fixture(autouse=True)
async def reported():
    """Whatever reaches the loop's exception handler fails the test."""
    contexts = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    assert contexts == []


def masked(opcode, payload):
    mask = b"\x01\x02\x03\x04"
    hidden = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + hidden


def close_frame(payload):
    return frame_bytes(CLOSE, payload)


def long_head(opcode, length):
    return bytes([0x80 | opcode, 127]) + struct.pack(">Q", length)


PROTOCOL_ERROR, INVALID_TEXT, TOO_BIG, UNSUPPORTED = 1002, 1007, 1009, 1003

BROKEN = {
    "a masked text": (masked(TEXT, b"{}"), PROTOCOL_ERROR),
    "a masked ping": (masked(PING, b"x"), PROTOCOL_ERROR),
    **{
        f"reserved opcode {opcode}": (frame_bytes(opcode, b"x"), PROTOCOL_ERROR)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    **{
        f"reserved bits {bits} of a text": (frame_bytes(TEXT, b"{}", rsv=bits), PROTOCOL_ERROR)
        for bits in (1, 2, 4, 7)
    },
    "a reserved bit of a ping": (frame_bytes(PING, b"x", rsv=1), PROTOCOL_ERROR),
    "a reserved bit of a fragment": (
        frame_bytes(TEXT, b"{", fin=False) + frame_bytes(CONTINUATION, b"}", rsv=4),
        PROTOCOL_ERROR,
    ),
    "16 bits for a length that fits 7": (b"\x81\x7e" + struct.pack(">H", 5), PROTOCOL_ERROR),
    "64 bits for a length that fits 16": (long_head(TEXT, 65535), PROTOCOL_ERROR),
    "a length with its highest bit set": (long_head(TEXT, 1 << 63), PROTOCOL_ERROR),
    "a length beyond the limit": (long_head(TEXT, 16 * 1024 * 1024 + 1), TOO_BIG),
    "a length beyond all memory": (long_head(TEXT, (1 << 63) - 1), TOO_BIG),
    "fragments beyond the limit": (
        (frame_bytes(TEXT, b" " * 60_000, fin=False))
        + frame_bytes(CONTINUATION, b" " * 60_000, fin=False) * 300,
        TOO_BIG,
    ),
    "a ping of 126 bytes": (frame_bytes(PING, b"x" * 126), PROTOCOL_ERROR),
    "a pong of 126 bytes": (frame_bytes(PONG, b"x" * 126), PROTOCOL_ERROR),
    "a close of 126 bytes": (close_frame(b"\x03\xe8" + b"x" * 124), PROTOCOL_ERROR),
    "a ping in fragments": (frame_bytes(PING, b"x", fin=False), PROTOCOL_ERROR),
    "a pong in fragments": (frame_bytes(PONG, b"x", fin=False), PROTOCOL_ERROR),
    "a close in fragments": (frame_bytes(CLOSE, b"\x03\xe8", fin=False), PROTOCOL_ERROR),
    "a fragment without a first": (frame_bytes(CONTINUATION, b"x"), PROTOCOL_ERROR),
    "two first fragments": (
        frame_bytes(TEXT, b"{", fin=False) + frame_bytes(TEXT, b"}"),
        PROTOCOL_ERROR,
    ),
    "a binary inside a text": (
        frame_bytes(TEXT, b"{", fin=False) + frame_bytes(BINARY, b"}"),
        PROTOCOL_ERROR,
    ),
    "a binary in fragments": (frame_bytes(BINARY, b"x", fin=False), UNSUPPORTED),
    "a close of one byte": (close_frame(b"\x03"), PROTOCOL_ERROR),
    **{
        f"close code {code}": (close_frame(struct.pack(">H", code)), PROTOCOL_ERROR)
        for code in (999, 1004, 1005, 1006, 1015, 2999)
    },
    "a close whose reason is not UTF-8": (close_frame(b"\x03\xe8\xff\xfe"), INVALID_TEXT),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_breaks_the_protocol_is_refused_with_its_code(until, name):
    broken, code = BROKEN[name]
    states = []
    decoder = FrameDecoder([Market("AAA/USDT", 2, 0)])
    book = decoder.book("AAA/USDT")
    async with venue() as there:
        client = WebSocketClient(
            there.url,
            decoder=decoder,
            on_connection=lambda is_up, reason: states.append((is_up, reason)),
        )
        client.subscribe(BOOK)
        await client.connect(10.0)
        await until(lambda: book.state == "live")
        # What came before the fault counts, what comes after it does not.
        there.last.send_bytes(update(101), frame_bytes(PING, b""), broken, update(102))
        await until(lambda: len(there.connections) == 2 and client.is_ready)
        first = there.connections[0]
        assert first.closed_with == code
        (_, (is_up, reason), *_) = states
        assert not is_up and reason.startswith("protocol error: ")
        assert book.sequence in (100, 101)
        await client.close()


@pytest.mark.parametrize("junk", [b'{"x":"\xff"}', b"\xef\xbb\xbf{}", b'{"x":"\xed\xa0\x80"}'])
async def test_a_text_that_is_not_utf_8_is_dropped_and_in_numbers_ends_the_connection(until, junk):
    async with venue() as there:
        client = WebSocketClient(there.url, malformed_max=3)
        await client.connect(10.0)
        there.last.send_bytes(frame_bytes(TEXT, junk), frame_bytes(TEXT, junk))
        await until(lambda: client.counters["rejected_messages"] == 2)
        assert len(there.connections) == 1
        there.last.send_bytes(frame_bytes(TEXT, junk))
        await until(lambda: len(there.connections) == 2)
        await client.close()


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1012, 4000])
async def test_a_close_loop_stays_within_twelve_connections_a_minute(until, monkeypatch, code):
    """Reliability N20, measured with the pauses that the client takes, not slept."""
    monkeypatch.undo()
    connections, sleep = 100, asyncio.sleep
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)
        await sleep(0)

    async with venue() as there:

        def hang_up(connection, request):
            if code == 1006:  # no close frame at all
                connection.transport.disconnect(graceful=False)
            else:
                connection.transport.send_close(code)
                connection.transport.disconnect()

        there.answer = hang_up
        random.seed(code)
        client = WebSocketClient(there.url)
        client.subscribe(BOOK)
        monkeypatch.setattr(kept_socket.asyncio, "sleep", pause)
        running = asyncio.ensure_future(client.run_forever())
        await asyncio.wait_for(wait_for_connections(there, connections, sleep), 30)
        await client.close()
        await running
    times = [sum(pauses[:count]) for count in range(connections)]
    busiest = max(sum(start <= time < start + 60 for time in times) for start in times)
    assert busiest <= 12, busiest


async def wait_for_connections(there, count, sleep):
    while len(there.connections) < count:
        await sleep(0.001)


def test_an_update_is_a_frame_of_the_script():
    # The scripts above lean on it: a wrong one would be refused for another reason.
    assert json.loads(update(101)[4:])["params"]["sequence"] == 101
