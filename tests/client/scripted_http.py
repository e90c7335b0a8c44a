"""An HTTP server on a loopback socket that answers with the bytes a test gives."""

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

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


class Slowly(bytes):
    """Bytes that go out one by one."""


class ScriptedVenue:
    """An HTTP server that answers each request with the next line of its script, bytes as given.

    A script may also be a function, which is called with the path and query of each request.
    """

    def __init__(self, script):
        self.script = list(script)
        self.requests = []
        self.connections = 0
        self.writers = []

    def next_step(self, path):
        return self.script(path) if callable(self.script) else self.script.pop(0)

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
                step = (
                    self.script(first.split()[1]) if callable(self.script) else self.script.pop(0)
                )
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
                if isinstance(step, Slowly):
                    for place in range(len(step)):
                        writer.write(step[place : place + 1])
                        await writer.drain()
                        await asyncio.sleep(0.01)
                    continue
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


@asynccontextmanager
async def tunnel():
    """Serve as an HTTP proxy that connects through (CONNECT), and note where to."""
    noted = SimpleNamespace(asked=[])
    writers, tasks = [], []

    async def copy(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, address, _ = head.split(maxsplit=2)
        assert method == "CONNECT"
        noted.asked.append(address)
        host, _, port = address.partition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        writers.extend((writer, there_writer))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        tasks.append(asyncio.ensure_future(copy(reader, there_writer)))
        tasks.append(asyncio.ensure_future(copy(there_reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    noted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield noted
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
