"""``nkfast check --matrix``: which of several readings of its protocol the exchange takes.

Everything asked is a read. The sources contradict each other on these questions; what the exchange
says today decides. Nonces go from narrow to wide, and wider ones than our own are tried only where
a smaller one was taken after a larger: an exchange that compares them as plain numbers would
refuse every later nonce of the key.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nkfast.app.config.sections import ExchangeSettings
from nkfast.client.async_connections import AsyncConnections
from nkfast.client.nonces import KeyNonces
from nkfast.client.rest_session import Lost
from nkfast.client.roads import USER_AGENT, Request, Road
from nkfast.client.websocket import WebSocketClient
from nkfast.core.signing import Signer
from nkfast.directories import nonce_directory
from nkfast.errors import NkfastError
from nkfast.wire.models import ApiCredentials

__all__ = ["Answered", "probe_protocol"]

_TIMEOUT_S = 10.0
_OLD_TENTHS = 36_000_000  # an hour, in units of our nonces: a ten-thousandth of a second
_TAKEN = "taken"
_PRIVATE = "/account/orders?symbol=BTC{}USDT&status=active&limit=1"
_BALANCES = "/balances"


class Answered(NamedTuple):
    """One thing that was tried, and what the exchange said.

    ``question`` is its number in the list of open questions of the protocol's notes.
    """

    question: str
    tried: str
    answer: str


async def probe_protocol(exchange: ExchangeSettings, key: ApiCredentials) -> list[Answered]:
    """Try the variants one after the other. An exchange that cannot be reached says so in each."""
    probe = _Probe(exchange.rest_url, key)
    try:
        found = [
            *await _nonces(probe),
            *await _encodings(probe),
            *await _shapes(probe),
        ]
    finally:
        await probe.close()
    return [*found, *await _sockets(exchange, key)]


class _Probe:
    """Sends one request as it is told to, and gives the answer as it is."""

    def __init__(self, base_url: str, key: ApiCredentials) -> None:
        self.base_url = base_url
        self.key = key
        self._path = urlsplit(base_url).path
        self._signer = Signer(key.api_key, key.api_secret)
        self.nonces = KeyNonces(key.api_key, directory=nonce_directory())
        self._connections = AsyncConnections(
            Road(
                base_url,
                ssl_context=None,
                proxy=None,
                trust_environment=False,
                user_agent=USER_AGENT,
                timeout_seconds=_TIMEOUT_S,
                connections=1,
            )
        )

    async def close(self) -> None:
        await self._connections.close()

    async def read(
        self, target: str, headers: Callable[[], dict[str, str]] = dict
    ) -> tuple[int, Any]:
        """Return status and JSON; status 0 and the reason where there is no answer."""
        request = Request("GET", self.base_url + target, self._path + target, headers, b"")
        answer = await self._connections.send(request)
        if isinstance(answer, Lost):
            return 0, answer.reason
        try:
            return answer.status, json.loads(answer.body)
        except ValueError:
            return answer.status, "no JSON"

    async def signed(
        self, target: str, nonce: int | None = None, *, path_only: bool = False
    ) -> str:
        """Return what becomes of a request: `_TAKEN`, or what was said against it."""
        url = (self._path if path_only else self.base_url) + target
        return _verdict(
            *await self.read(
                target,
                lambda: self._signer.headers(
                    url, b"", self.nonces.next() if nonce is None else nonce
                ),
            )
        )


def _verdict(status: int, said: Any) -> str:
    error = said.get("error") if isinstance(said, dict) else None
    if status == 0 or (error is None and status >= 400):
        return f"refused: {status} {said}"
    if error is None:
        return _TAKEN
    if not isinstance(error, dict):
        return f"refused: {status} {error}"
    said = error.get("description") or error.get("message")
    return f"refused: {status}, code {error.get('code')}, {said}"


async def _nonces(probe: _Probe) -> list[Answered]:
    ours = probe.nonces.next()
    found = [Answered("Q1", f"nonce of {len(str(ours))} digits, ours", "")]
    found[0] = found[0]._replace(answer=await probe.signed(_BALANCES, ours))
    again = await probe.signed(_BALANCES, ours)
    found.append(Answered("Q1", "the same nonce again", again))
    old = await probe.signed(_BALANCES, ours - _OLD_TENTHS)
    found.append(Answered("Q1", "an unused nonce of an hour ago", old))
    narrow = await probe.signed(_BALANCES, probe.nonces.next() // 10)
    found.append(Answered("Q1", "13 digits, milliseconds, after 14", narrow))
    for digits, factor, name in ((16, 100, "microseconds"), (19, 100_000, "nanoseconds")):
        tried = f"{digits} digits, {name}"
        if narrow != _TAKEN:
            found.append(Answered("Q1", tried, "not tried: it could shut the key out"))
            continue
        wide = await probe.signed(_BALANCES, probe.nonces.next() * factor)
        found.append(Answered("Q1", tried, wide))
    after = await probe.signed(_BALANCES)
    found.append(Answered("Q1", "ours, after all of these", after))
    return found


async def _encodings(probe: _Probe) -> list[Answered]:
    found = []
    for sign, name in (("/", "BTC/USDT as it is"), ("%2F", "BTC%2FUSDT"), ("_", "BTC_USDT")):
        answer = await probe.signed(_PRIVATE.format(sign))
        found.append(Answered("", f"query with {name}, signed as sent", answer))
    answer = await probe.signed(_BALANCES, path_only=True)
    found.append(Answered("", "signed over the path, not the whole URL", answer))
    pair = f"{probe.key.api_key}:{probe.key.api_secret}".encode()
    basic = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    answer = _verdict(*await probe.read(_BALANCES, lambda: dict(basic)))
    found.append(Answered("", "HTTP Basic in place of a signature", answer))
    answer = _verdict(*await probe.read(_BALANCES))
    found.append(Answered("Q27", "a private call without a key", answer))
    return found


async def _shapes(probe: _Probe) -> list[Answered]:
    _, book = await probe.read("/market/orderbook?symbol=BTC_USDT&limit=10")
    _, markets = await probe.read("/market/getlist")
    _, candles = await probe.read("/market/candles?symbol=BTC_USDT&resolution=60&countBack=2")
    market = markets[0] if isinstance(markets, list) and markets else {}
    return [
        Answered("Q5", "the time of a book", _kind(book, "timestamp")),
        Answered("Q10", "the time of a candle", _kind(_first(candles), "time")),
        Answered("Q12", "the sequence of a book", _kind(book, "sequence")),
        Answered("Q14", "primaryAsset of a market", _kind(market, "primaryAsset")),
        Answered("Q16", "levels of a book asked for 10", _depth(book)),
    ]


def _first(candles: Any) -> Any:
    bars = candles.get("bars") if isinstance(candles, dict) else None
    return bars[0] if isinstance(bars, list) and bars else {}


def _kind(row: Any, name: str) -> str:
    if not isinstance(row, Mapping) or name not in row:
        return "not there"
    value = row[name]
    if isinstance(value, Mapping):
        return "an object"
    return f"{'a text' if isinstance(value, str) else 'a number'}, {str(value)[:24]!r}"


def _depth(book: Any) -> str:
    if not isinstance(book, Mapping):
        return "no book"
    sides = [len(book.get(name) or ()) for name in ("bids", "asks")]
    return f"{sides[0]} bids, {sides[1]} asks"


async def _sockets(exchange: ExchangeSettings, key: ApiCredentials) -> list[Answered]:
    server = urlsplit(exchange.rest_url)
    scheme = "wss" if server.scheme == "https" else "ws"
    urls = [exchange.ws_url, f"{scheme}://{server.netloc}", f"{scheme}://{server.netloc}/ws"]
    found = []
    for url in dict.fromkeys(urls):
        client = WebSocketClient(url, key)
        try:
            await client.connect(_TIMEOUT_S)
            answer = _TAKEN
        except NkfastError as error:
            answer = f"refused: {error}"
        finally:
            await client.close()
        found.append(Answered("Q2", f"WebSocket and login at {url}", answer))
    return found
