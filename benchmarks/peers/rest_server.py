"""A loopback HTTP server that answers every request with the same ticker, as fast as it can.

    python -P rest_server.py DELAY_SECONDS [CERTIFICATE KEY]

Answers after the delay, as one that is far away. Prints its port; ends when its standard input
does.
"""

import asyncio
import ssl
import sys

import uvloop

BODY = (
    b'{"ticker_id":"BTC_USDT","type":"spot","base_currency":"BTC","target_currency":"USDT",'
    b'"last_price":"64000.12","base_volume":"12.345678","target_volume":"790000.1234",'
    b'"bid":"64000.00","ask":"64000.50","high":"65000.00","low":"63000.00"}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nDate: Wed, 25 Nov 2026 04:00:00 GMT\r\n"
    b"Content-Type: application/json; charset=utf-8\r\nConnection: keep-alive\r\n"
    b"Cache-Control: no-store\r\nServer: cloudflare\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)


DELAY_SECONDS = float(sys.argv[1])


class Answering(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport):
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.received = b""

    def data_received(self, data):
        self.received += data
        # Every request of this benchmark is a GET: it ends with its head.
        count = self.received.count(b"\r\n\r\n")
        if count:
            self.received = self.received.rpartition(b"\r\n\r\n")[2]
            if DELAY_SECONDS:
                self.loop.call_later(DELAY_SECONDS, self.transport.write, ANSWER * count)
            else:
                self.transport.write(ANSWER * count)


async def main(*certificate):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


uvloop.run(main(*sys.argv[2:]))
