"""An HTTP server on a loopback socket that answers with the bytes a test gives."""

import asyncio
import base64
import json
import struct
from contextlib import asynccontextmanager

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


class Tunnel:
    """A proxy that connects on, of a kind: http, https, socks4 or socks5.

    Attributes
    ----------
    asked : list of str
        Where it was asked to connect to, ``host:port``, and the user who asked, if one did.
    refuses : bool
    """

    def __init__(self, kind):
        self._hear = getattr(self, "_" + kind.replace("https", "http"))
        self.asked = []
        self.users = []
        self.refuses = False
        self._writers, self._tasks = [], []

    async def serve(self, reader, writer):
        self._writers.append(writer)
        host, port, yes, no = await self._hear(reader, writer)
        self.asked.append(f"{host}:{port}")
        writer.write(no if self.refuses else yes)
        if self.refuses:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection(host, port)
        self._writers.append(there_writer)
        for ends in ((reader, there_writer), (there_reader, writer)):
            self._tasks.append(asyncio.ensure_future(self._copy(*ends)))

    async def _copy(self, reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def _http(self, reader, writer):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, address, _ = first.split(maxsplit=2)
        assert method == "CONNECT"
        for line in lines:
            if line.lower().startswith("proxy-authorization: basic "):
                self.users.append(base64.b64decode(line.split()[2]).decode())
        host, _, port = address.partition(":")
        return host, int(port), b"HTTP/1.1 200 Connected\r\n\r\n", b"HTTP/1.1 407 No\r\n\r\n"

    async def _socks4(self, reader, writer):
        port, *host = struct.unpack(">xxHBBBB", await reader.readexactly(8))
        if user := (await reader.readuntil(b"\0"))[:-1]:
            self.users.append(user.decode())
        rest = bytes(6)
        return ".".join(map(str, host)), port, b"\0\x5a" + rest, b"\0\x5b" + rest

    async def _socks5(self, reader, writer):
        _, count = await reader.readexactly(2)
        method = max(await reader.readexactly(count))
        writer.write(bytes([5, method]))
        if method == 2:
            words = []
            await reader.readexactly(1)
            for _ in range(2):
                words.append(await reader.readexactly((await reader.readexactly(1))[0]))
            self.users.append(b":".join(words).decode())
            writer.write(b"\1\0")
        *_, kind = await reader.readexactly(4)
        if kind == 1:
            host = ".".join(map(str, await reader.readexactly(4)))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        rest = bytes([0, 1]) + bytes(6)
        return host, port, b"\5\0" + rest, b"\5\5" + rest

    async def close(self):
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def tunnel(kind="http", tls=None):
    proxy = Tunnel(kind)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.url = f"{kind}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
