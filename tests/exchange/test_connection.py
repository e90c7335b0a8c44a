"""What a client may do on a TCP connection, byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from nkfast.exchange.connection import _WAITING_BYTES_MAX
from nkfast.exchange.server import ExchangeServer, ExchangeSettings, serve
from nkfast.exchange.weather import Rule

TIME = b"GET /api/v2/time HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
LIMIT_S = 5.0


class Wire:
    def __init__(
        self,
        server: ExchangeServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, *, has_body: bool = True) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(LIMIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().rstrip().split("\r\n")
            assert first.startswith("HTTP/1.1 "), first
            headers = dict(line.split(": ", 1) for line in lines)
            size = int(headers.get("Content-Length", 0)) if has_body else 0
            body = await self.reader.readexactly(size)
        return int(first.split()[1]), headers, json.loads(body) if body else None

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(LIMIT_S):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2))
            return first & 15, await self.reader.readexactly(size)

    async def ends(self) -> bool:
        async with asyncio.timeout(LIMIT_S):
            with suppress(ConnectionError):
                return await self.reader.read() == b""
        return True


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[Wire]:
    async with serve(ExchangeSettings(speed=0, **options)) as server:
        host, port = server.ws_url.removeprefix("ws://").rstrip("/").split(":")
        wire = Wire(server, *await asyncio.open_connection(host, int(port)))
        try:
            yield wire
        finally:
            wire.writer.close()


def masked(opcode: int, payload: bytes) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


async def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    slow = Rule("delay_in", on="info", seconds=0.05)
    async with connected(weather=(slow,)) as wire:
        wire.send(TIME.replace(b"time", b"info") + TIME * 3)
        names = [next(iter((await wire.response())[2])) for _ in range(4)]
        assert names == ["name", "serverTime", "serverTime", "serverTime"]


async def test_answers_are_dated_and_of_a_type() -> None:
    async with connected(clock_ms=lambda: 1_790_000_000_999) as wire:
        wire.send(TIME)
        status, headers, body = await wire.response()
        assert (status, body) == (200, {"serverTime": 1_790_000_000_999})
        assert headers["Content-Type"] == "application/json"
        assert headers["Date"] == "Mon, 21 Sep 2026 14:13:20 GMT"


async def test_head_is_answered_without_a_body() -> None:
    async with connected() as wire:
        wire.send(TIME.replace(b"GET", b"HEAD") + TIME)
        status, headers, _ = await wire.response(has_body=False)
        assert status == 200 and int(headers["Content-Length"]) > 0
        assert (await wire.response())[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HELLO\r\n\r\n", 400),
        (b"POST /api/v2/createorder HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413),
        (TIME.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 200),
        (TIME.replace(b"1.1", b"1.0"), 200),
    ],
)
async def test_last_answer_of_a_connection_arrives_and_says_so(
    request_: bytes, status: int
) -> None:
    async with connected() as wire:
        # More than is read at once: what nobody reads any more must not make a reset of the end.
        wire.send(request_ + b"x" * 4_000_000)
        found, headers, _ = await wire.response()
        assert (found, headers["Connection"]) == (status, "close")
        async with asyncio.timeout(LIMIT_S):
            assert await wire.reader.read() == b""


async def test_client_that_waits_is_told_to_go_on() -> None:
    async with connected() as wire:
        head = b"POST /api/v2/createorder HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
        wire.send(head + b"\r\n")
        assert (await wire.response())[0] == 100
        wire.send(b"{}")
        assert (await wire.response())[0] == 401


async def test_many_requests_of_somebody_who_does_not_read_wait_outside(
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    count = 1_000
    padded = b"market/getlist HTTP/1.1\r\nX-Pad: " + b"x" * 4_000
    async with connected() as wire:
        (connection,) = wire.server._everybody
        wire.send(TIME.replace(b"time HTTP/1.1", padded) * count)

        async def is_full() -> bool:
            return connection._is_full and connection._requests.size > _WAITING_BYTES_MAX

        await eventually(is_full)
        for _ in range(1_000):
            await asyncio.sleep(0)
            assert connection.waiting_bytes < 500_000
            assert connection._requests.size < 4 * _WAITING_BYTES_MAX
        for _ in range(count):
            assert (await wire.response())[0] == 200


@pytest.mark.parametrize(
    "change", [(b": 13", b": 8"), (b"Sec-WebSocket-Key", b"Sec-WebSocket-Lock")]
)
async def test_handshake_that_is_none_is_refused(change: tuple[bytes, bytes]) -> None:
    async with connected() as wire:
        wire.send(UPGRADE.replace(*change) + TIME)
        status, headers, _ = await wire.response()
        assert (status, headers["Sec-WebSocket-Version"]) == (400, "13")
        assert (await wire.response())[0] == 200


async def test_frames_may_come_with_the_handshake() -> None:
    async with connected() as wire:
        wire.send(UPGRADE + masked(9, b"hi") + masked(1, b'{"method":"getMarket","id":7}'))
        status, headers, _ = await wire.response()
        assert status == 101
        assert headers["Sec-WebSocket-Accept"] == "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
        assert await wire.frame() == (10, b"hi")
        opcode, payload = await wire.frame()
        assert (opcode, json.loads(payload)["id"]) == (1, 7)


async def test_close_is_answered_with_its_code() -> None:
    async with connected() as wire:
        wire.send(UPGRADE + masked(8, b"\x03\xe8bye"))
        await wire.response()
        assert await wire.frame() == (8, b"\x03\xe8")
        assert await wire.ends()


async def test_breach_of_the_protocol_is_named_before_the_end() -> None:
    async with connected() as wire:
        wire.send(UPGRADE + b"\x81\x02{}")
        await wire.response()
        assert await wire.frame() == (8, (1002).to_bytes(2))
        assert await wire.ends()
