"""The server's role of the WebSocket conversation, as a state machine without I/O.

A `ServerSession` takes the text frames of one connection and gives the frames to answer with. It
decides what every request gets: ids, login, subscriptions, what is acknowledged and what is not.
What a request means is asked from the `Desk` behind it; the session knows no market and no money.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, Protocol

from nkfast.errors import VenueError, WireError
from nkfast.wire.codec import decode_json, encode_json
from nkfast.wire.error_codes import ERROR_CODES

__all__ = [
    "Channel",
    "ChannelKind",
    "Desk",
    "ServerSession",
    "encode_notification",
    "error_object",
    "notified_method",
    "requested_method",
]

ChannelKind = Literal["orderbook", "trades", "ticker", "candles", "reports", "balances"]


class Channel(NamedTuple):
    """What can be subscribed to; private kinds have no symbol, only candles have a period."""

    kind: ChannelKind
    symbol: str = ""
    period: int = 0


class Desk(Protocol):
    """What the session asks the exchange. Every refusal is a `VenueError` with a code."""

    def login(self, params: Mapping[str, Any]) -> str:
        """Check a login and return the name of the account."""

    def public(self, method: str, params: Mapping[str, Any]) -> Any:
        """Answer one of `PUBLIC_METHODS`."""

    def private(self, account: str, method: str, params: Mapping[str, Any]) -> Any:
        """Answer one of `PRIVATE_METHODS` for an account."""

    def channel(self, kind: ChannelKind, params: Mapping[str, Any]) -> Channel:
        """Return the channel that the params of a public subscription name."""

    def snapshot(self, channel: Channel, params: Mapping[str, Any]) -> tuple[str, Any]:
        """Return method and params of the notification that a public subscription begins with."""

    def state(self, account: str, kind: ChannelKind) -> dict[str, Any]:
        """Return what a private subscription is answered with: ``method``, ``result``, ..."""


PUBLIC_METHODS: Final = frozenset({"getAsset", "getAssets", "getMarket", "getMarkets", "getTrades"})
PRIVATE_METHODS: Final = frozenset({"newOrder", "cancelOrder", "getOrders", "getTradingBalance"})

_PUBLIC_CHANNELS: Final[Mapping[str, ChannelKind]] = {
    "Orderbook": "orderbook",
    "Trades": "trades",
    "Ticker": "ticker",
    "Candles": "candles",
}
_PRIVATE_CHANNELS: Final[Mapping[str, ChannelKind]] = {
    "subscribeReports": "reports",
    "subscribeBalances": "balances",
}

_ID_MAX: Final = 2**63 - 1


def error_object(error: VenueError) -> dict[str, Any]:
    """Return the ``error`` object of a refusal: the code's meaning, and what was wrong."""
    code = error.code if error.code in ERROR_CODES else 500
    return {
        "code": code,
        "message": ERROR_CODES[code].message,
        "description": error.message,
    }


def encode_notification(method: str, params: Any) -> bytes:
    """Return a notification as a text frame; it never carries an id."""
    return encode_json({"jsonrpc": "2.0", "method": method, "params": params})


_NOTIFICATION_HEAD: Final = b'{"jsonrpc":"2.0","method":"'


def notified_method(frame: bytes) -> str | None:
    """Return the method of a frame of ours that is a notification, None of a reply."""
    if not frame.startswith(_NOTIFICATION_HEAD):
        return None
    method, _, rest = frame[len(_NOTIFICATION_HEAD) :].partition(b'"')
    # A private subscription is answered with a method and a result.
    return method.decode() if rest.startswith(b',"params":') else None


def requested_method(frame: bytes | str) -> str:
    """Return the method of a client's frame; empty when it has none or is no JSON."""
    try:
        return _read_request(frame).method
    except WireError:
        return ""


class _Request(NamedTuple):
    method: str
    params: Mapping[str, Any]
    id: int | float | str | None

    def frame(self, content: Mapping[str, Any]) -> bytes:
        reply = {"jsonrpc": "2.0", **content}
        if self.id is not None:
            reply["id"] = self.id
        return encode_json(reply)


class ServerSession:
    """One conversation, from the server's side.

    Parameters
    ----------
    desk : Desk
        Answers what the session cannot know.
    unknown_method_code : int
        402 by the exchange's table; 404 was seen once.
    private_shape : {"live", "docs"}
        Whether subscribeReports is answered as seen live, by one frame with method, result and
        id, or as documented, by a result and a notification.
    subscriptions_max : int or None
        Of one connection; None: as many as it likes.

    Notes
    -----
    The rules are those of protocol.md 2.2: one frame for every id; none for a subscribe without
    id that succeeds; errors always answered; explicit nulls count as absent.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        unknown_method_code: int = 402,
        private_shape: Literal["live", "docs"] = "live",
        subscriptions_max: int | None = None,
    ) -> None:
        self._desk = desk
        self._unknown_method_code = unknown_method_code
        self._private_shape = private_shape
        self._subscriptions_max = subscriptions_max
        #: Name of the account, once logged in.
        self.account: str | None = None
        #: What this connection is to be told.
        self.channels: set[Channel] = set()

    def receive(self, frame: bytes | str, refused: VenueError | None = None) -> list[bytes]:
        """Take one text frame and return the frames to send, in their order.

        Parameters
        ----------
        refused : VenueError or None
            What the request is answered with whatever it is: it came too soon after others.
        """
        try:
            request = _read_request(frame)
        except WireError:
            invalid = {"code": 10001, "message": "Invalid JSON Request"}
            return [encode_json({"jsonrpc": "2.0", "error": invalid})]
        try:
            if refused is not None:
                raise refused
            handle = _HANDLERS.get(request.method, ServerSession._unknown)
            return handle(self, request)
        except VenueError as error:
            return [request.frame({"error": error_object(error)})]

    def _unknown(self, request: _Request) -> list[bytes]:
        error = {"code": self._unknown_method_code, "message": "Requested method not found"}
        return [request.frame({"error": error})]

    def _login(self, request: _Request) -> list[bytes]:
        account = self._desk.login(request.params)
        if account != self.account:
            self.channels = {channel for channel in self.channels if channel.symbol}
        self.account = account
        return [request.frame({"result": True})]

    def _public(self, request: _Request) -> list[bytes]:
        return [request.frame({"result": self._desk.public(request.method, request.params)})]

    def _require_account(self) -> str:
        if self.account is None:
            raise ERROR_CODES[1001].error("Login first", code=1001)
        return self.account

    def _private(self, request: _Request) -> list[bytes]:
        account = self._require_account()
        result = self._desk.private(account, request.method, request.params)
        return [request.frame({"result": result})]

    def _subscribe(self, request: _Request) -> list[bytes]:
        channel = self._channel(request, "subscribe")
        method, params = self._desk.snapshot(channel, request.params)
        self._enter(channel)
        frames = [encode_notification(method, params)]
        if request.id is not None:
            frames.insert(0, request.frame({"result": True}))
        return frames

    def _enter(self, channel: Channel) -> None:
        most = self._subscriptions_max
        if most is not None and channel not in self.channels and len(self.channels) >= most:
            raise ERROR_CODES[429].error(f"At most {most} subscriptions", code=429)
        self.channels.add(channel)

    def _unsubscribe(self, request: _Request) -> list[bytes]:
        self.channels.discard(self._channel(request, "unsubscribe"))
        return [request.frame({"result": True})]

    def _channel(self, request: _Request, verb: str) -> Channel:
        kind = _PUBLIC_CHANNELS[request.method.removeprefix(verb)]
        return self._desk.channel(kind, request.params)

    def _subscribe_private(self, request: _Request) -> list[bytes]:
        account = self._require_account()
        kind = _PRIVATE_CHANNELS[request.method]
        state = self._desk.state(account, kind)
        self._enter(Channel(kind))
        if self._private_shape == "live":
            return [request.frame(state)]
        frames = [encode_notification(state["method"], state["result"])]
        if request.id is not None:
            frames.insert(0, request.frame({"result": True}))
        return frames

    def _unsubscribe_reports(self, request: _Request) -> list[bytes]:
        self._require_account()
        self.channels.discard(Channel("reports"))
        return [request.frame({"result": True})]


_HANDLERS: Final[Mapping[str, Callable[[ServerSession, _Request], list[bytes]]]] = {
    "login": ServerSession._login,
    **dict.fromkeys(PUBLIC_METHODS, ServerSession._public),
    **dict.fromkeys(PRIVATE_METHODS, ServerSession._private),
    **dict.fromkeys(_PRIVATE_CHANNELS, ServerSession._subscribe_private),
    "unsubscribeReports": ServerSession._unsubscribe_reports,
    **{f"subscribe{name}": ServerSession._subscribe for name in _PUBLIC_CHANNELS},
    **{f"unsubscribe{name}": ServerSession._unsubscribe for name in _PUBLIC_CHANNELS},
}


def _read_request(frame: bytes | str) -> _Request:
    data = decode_json(frame.encode() if isinstance(frame, str) else frame)
    if not isinstance(data, dict):
        raise WireError("a request should be an object")
    method = data.get("method")
    request_id = data.get("id")
    if type(request_id) is str:
        pass
    elif isinstance(request_id, Decimal):
        request_id = float(request_id)
    elif isinstance(request_id, int) and abs(request_id) > _ID_MAX:
        raise WireError("a request id should have at most 63 bits")
    if isinstance(request_id, bool) or not isinstance(request_id, int | float | str):
        request_id = None
    params = data.get("params")
    if not isinstance(params, dict):
        params = {}
    elif None in params.values():
        params = {name: value for name, value in params.items() if value is not None}
    return _Request(method if isinstance(method, str) else "", params, request_id)
