"""A TCP proxy between a client and the simulated exchange that does what networks do.

It knows where the frames of the server begin and end, so that it can cut in the middle of one, and
repeat, swap and delay whole ones. What the client sends passes as it is, unless stalled.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager

PIECE_BYTES = 1 << 16


class Cut(Exception):
    """Raised by a rule: forward these bytes and end the connection, in order or with a reset."""

    def __init__(self, rest: bytes = b"", *, reset: bool = False) -> None:
        super().__init__(rest, reset)
        self.rest = rest
        self.reset = reset


#: Gets each frame of the server with its head, returns what to forward instead.
Rule = Callable[[bytes], Iterable[bytes]]


def as_it_is(frame: bytes) -> Iterable[bytes]:
    return [frame]


def twice(frame: bytes) -> Iterable[bytes]:
    return [frame, frame]


def half_then_end(frame: bytes) -> Iterable[bytes]:
    raise Cut(frame[: len(frame) // 2])


def half_then_reset(frame: bytes) -> Iterable[bytes]:
    raise Cut(frame[: len(frame) // 2], reset=True)


class Swap:
    """Forwards frames in groups, each group in reverse; `rest` gives what waits for its group.

    Only order-book updates are swapped: replies and snapshots keep their places.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._held: list[bytes] = []

    def __call__(self, frame: bytes) -> Iterable[bytes]:
        if b"updateOrderbook" not in frame:
            return [frame]
        self._held.append(frame)
        return self.rest() if len(self._held) == self._group else []

    def rest(self) -> list[bytes]:
        frames, self._held = self._held[::-1], []
        return frames


class CutAfter:
    """Lets so many bytes after the handshake through, then ends the connection."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, frame: bytes) -> Iterable[bytes]:
        if len(frame) > self._left:
            raise Cut(frame[: self._left])
        self._left -= len(frame)
        return [frame]


class CuttingProxy:
    """Made by `cutting_proxy`.

    Attributes
    ----------
    url : str
        Where the client connects.
    rule : callable
        What happens to the server's frames, of connections that are open and of new ones.
    delay_seconds : float
        How long each piece of the server's bytes is held.
    connections : int
        How many have been accepted.
    frames : int
        Whole frames that the server sent.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.url = ""
        self.rule: Rule = as_it_is
        self.delay_seconds = 0.0
        self.connections = 0
        self.frames = 0

    def stall(self) -> None:
        """Forward nothing in either direction, with every socket open."""
        self._flows.clear()

    def resume(self) -> None:
        """Forward again."""
        self._flows.set()

    def reset(self) -> None:
        """End every connection with a reset."""
        for writer in tuple(self._writers):
            reset(writer)

    async def accept(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:  # the exchange is gone
            reset(client_writer)
            return
        ends = {client_writer, writer}
        self._writers |= ends
        up = asyncio.ensure_future(self._forward(client_reader, writer))
        down = asyncio.ensure_future(self._forward_frames(reader, client_writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= ends
            for end in ends:
                end.close()
            for task in (up, down):
                task.cancel()
            outcomes = await asyncio.gather(up, down, return_exceptions=True)
        for outcome in outcomes:
            # The ends of a cut connection break; anything else is a fault of this proxy.
            if isinstance(outcome, Exception) and not isinstance(
                outcome, ConnectionError | asyncio.IncompleteReadError
            ):
                raise outcome

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._flows.wait()
            writer.write(piece)
            await writer.drain()

    async def _forward_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(await reader.readuntil(b"\r\n\r\n"))
        while True:
            frame = await read_frame(reader)
            self.frames += 1
            await self._flows.wait()
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            try:
                for piece in self.rule(frame):
                    writer.write(piece)
                await writer.drain()
            except Cut as cut:
                writer.write(cut.rest)
                await writer.drain()
                if cut.reset:
                    reset(writer)
                return


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    length = head[1] & 127
    more = b""
    if length >= 126:
        more = await reader.readexactly(2 if length == 126 else 8)
        length = int.from_bytes(more)
    return head + more + await reader.readexactly(length)


def reset(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    if end is not None and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def cutting_proxy(url: str):
    """Run a proxy in front of a ``ws://`` URL for the time of the context."""
    proxy = CuttingProxy(int(url.rstrip("/").rpartition(":")[2]))
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield proxy
    finally:
        server.close()
        proxy.resume()
        proxy.reset()
