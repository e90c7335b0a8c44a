"""Bytes of the venue's language to objects and back, without sockets.

REST: the target (path and query) and the body are each built once, and the same bytes are signed
and sent. Replies are judged by their body first, because an error may come with HTTP 200.
WebSocket: one JSON object per text frame.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
import orjson

from nkfast.errors import (
    AuthenticationError,
    BelowMinimumError,
    ClockError,
    ConfigError,
    InvalidOrderError,
    MarketPausedError,
    NonceError,
    OrderNotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RejectedError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.wire.endpoints import Endpoint, Kind, RateClass
from nkfast.wire.error_codes import ERROR_CODES
from nkfast.wire.known_fields import note_unreadable
from nkfast.wire.models import (
    Asset,
    LiquidityPool,
    MarketInfo,
    MarketTicker,
    Message,
    OrderRequest,
    OrderResponse,
    OrderStatus,
)
from nkfast.wire.symbols import canonical

__all__ = [
    "Frame",
    "build_body",
    "build_target",
    "decode_frame",
    "decode_json",
    "decode_reply",
    "echo_mismatch",
    "encode_json",
    "encode_request",
    "parse_retry_after",
    "read_acceptance",
    "read_list",
    "read_model",
    "read_models",
    "venue_error",
]

#: Longest wait that a server may impose on us (reliability: Retry-After is clamped).
RETRY_AFTER_SECONDS_MAX = 60.0

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_RequestId = int | str
_DIRECTORIES = {Asset, LiquidityPool, MarketInfo, MarketTicker}
M = TypeVar("M", bound=Message)


def encode_json(value: object) -> bytes:
    """Return minified JSON; a `Decimal` becomes a string of plain digits."""
    return orjson.dumps(value, default=_plain_digits)


def _plain_digits(value: object) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} {value!r} cannot be sent")


def decode_json(buffer: bytes | bytearray | memoryview) -> Any:
    """Return the decoded JSON text; numbers with a point or an exponent become exact `Decimal`.

    Raises
    ------
    WireError
        The bytes are not JSON, not UTF-8, truncated, or nested too deeply.
    """
    try:
        return _decoder.decode(buffer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not JSON ({error})", _excerpt(buffer)) from None


def _excerpt(buffer: bytes | bytearray | memoryview) -> str:
    text = bytes(buffer[:200]).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text)


# REST, outwards


def build_target(endpoint: Endpoint, arguments: Mapping[str, object]) -> str:
    """Return path and query exactly as they must be signed and sent, relative to the base URL.

    Parameters
    ----------
    endpoint : Endpoint
    arguments : mapping
        Values by parameter name; None counts as absent.

    Raises
    ------
    ConfigError
        A required argument is missing, or one is given that the endpoint does not have.
    """
    _check(endpoint, arguments)
    path = endpoint.path
    query = []
    for name, wire_name, kind, _ in endpoint.parameters:
        value = arguments.get(name)
        if value is None:
            continue
        text = _url_text(kind, value)
        place = "{" + name + "}"
        if place in path:
            path = path.replace(place, text)
        elif endpoint.method == "GET":
            query.append(f"{wire_name}={text}")
    return f"{path}?{'&'.join(query)}" if query else path


def build_body(endpoint: Endpoint, arguments: Mapping[str, object]) -> bytes:
    """Return the body exactly as it must be signed and sent: minified JSON, empty for a GET."""
    _check(endpoint, arguments)
    if endpoint.method == "GET":
        return b""
    return encode_json(
        {
            wire_name: canonical(str(value)) if kind == "symbol" else value
            for name, wire_name, kind, _ in endpoint.parameters
            if (value := arguments.get(name)) is not None
        }
    )


def _check(endpoint: Endpoint, arguments: Mapping[str, object]) -> None:
    unknown = {name for name, value in arguments.items() if value is not None}
    for name, _, _, is_required in endpoint.parameters:
        unknown.discard(name)
        if is_required and arguments.get(name) in (None, ""):
            raise ConfigError(f"{endpoint.name} needs {name}")
    for name in unknown:
        raise ConfigError(f"{endpoint.name} has no parameter {name!r}")


def _url_text(kind: Kind, value: object) -> str:
    if kind == "symbol":
        return canonical(str(value)).replace("/", "_")  # letters and digits besides
    if kind == "flag":
        return "1" if value else "0"
    if kind == "integer" and type(value) is int:
        return str(value)
    return quote(format(value, "f") if isinstance(value, Decimal) else str(value), safe="")


# REST, inwards


def decode_reply(
    status: int,
    body: bytes,
    *,
    endpoint: str,
    changes: bool,
    rate_class: RateClass = "private",
    retry_after: str = "",
    date: str = "",
) -> Any:
    """Return the decoded body of one reply, or raise what it means.

    Parameters
    ----------
    status : int
        HTTP status.
    body : bytes
        The whole body, decompressed.
    endpoint : str
        Path for the error's sake.
    changes : bool
        Whether the request may have changed something: then every answer that is not certain
        becomes `OutcomeUnknownError`.
    rate_class : {"public", "private", "orders", "cancels"}
    retry_after, date : str
        The values of these headers, empty when there were none.

    Raises
    ------
    VenueError
        One of its family; see `venue_error` for the venue's own errors.
    """
    seconds = parse_retry_after(retry_after, date) if retry_after else 0.0
    try:
        reply = decode_json(body)
    except WireError as error:
        raise _transport_error(status, str(error), endpoint, changes, seconds) from None
    if type(reply) is dict and reply.get("error") is not None:
        raise venue_error(
            reply["error"],
            endpoint=endpoint,
            changes=changes,
            rate_class=rate_class,
            status=status,
            retry_after_seconds=seconds,
        )
    if not 200 <= status < 300 or not isinstance(reply, (dict, list)):
        raise _transport_error(status, _excerpt(body), endpoint, changes, seconds)
    return reply


def _transport_error(
    status: int, detail: str, endpoint: str, changes: bool, retry_after_seconds: float
) -> VenueError:
    message = f"HTTP {status} without an answer of the venue: {detail}"
    if changes:
        return OutcomeUnknownError(message, endpoint=endpoint, sent="maybe")
    if status == 429:
        return RateLimitError(
            message, code=None, endpoint=endpoint, retry_after_seconds=retry_after_seconds
        )
    if status == 401:
        return AuthenticationError(message, endpoint=endpoint)
    if status in (404, 405):
        return RejectedError(message, endpoint=endpoint)
    return UnreachableError(message, endpoint=endpoint)


_PAUSED = re.compile(r"paused|not active|disabled|closed", re.IGNORECASE)
_MINIMUM = re.compile(r"minimum|too small|below", re.IGNORECASE)
_NONCE = re.compile(r"bad nonce", re.IGNORECASE)
_CLOCK = re.compile(r"timestamp|clock|too far|time window|expired", re.IGNORECASE)


def venue_error(
    error: object,
    *,
    endpoint: str,
    changes: bool,
    rate_class: RateClass = "private",
    status: int = 200,
    retry_after_seconds: float = 0.0,
) -> VenueError:
    """Return the exception that an ``error`` object of the venue means.

    The numeric code decides. After a change, a code which does not prove that nothing happened
    becomes `OutcomeUnknownError` with the code kept; so does "order not found" in answer to a new
    order, which can only be the answer to another request.
    """
    code, text = _code_and_text(error)
    row = ERROR_CODES.get(code) if code is not None else None
    is_nonce = _NONCE.search(text) is not None
    is_certain = is_nonce or (row is not None and row.is_certain)
    if row is not None and row.error is OrderNotFoundError and rate_class == "orders":
        is_certain = False
    if changes and not is_certain:
        return OutcomeUnknownError(text, code=code, endpoint=endpoint, sent="maybe")
    if is_nonce:
        return NonceError(text, code=code, endpoint=endpoint)
    if row is None:
        return _unlisted_error(status, text, code, endpoint)
    if row.error is RateLimitError:
        return RateLimitError(
            text, code=code, endpoint=endpoint, retry_after_seconds=retry_after_seconds
        )
    return _refined(row.error, text)(text, code=code, endpoint=endpoint)


def _code_and_text(error: object) -> tuple[int | None, str]:
    if not isinstance(error, Mapping):
        return None, str(error)[:200]
    code = error.get("code")
    if isinstance(code, str) and code.isdecimal() and len(code) < 10:
        code = int(code)
    words = [str(error[name]) for name in ("message", "description") if error.get(name)]
    text = ": ".join(dict.fromkeys(words)) or "the venue gave no reason"
    return (code if type(code) is int else None), text[:500]


def _unlisted_error(status: int, text: str, code: int | None, endpoint: str) -> VenueError:
    kind: type[VenueError] = RejectedError
    if status >= 500:
        kind = UnreachableError
    elif status == 401:
        kind = AuthenticationError
    elif status == 403:
        kind = PermissionDeniedError
    return _refined(kind, text)(text, code=code, endpoint=endpoint)


def _refined(kind: type[VenueError], text: str) -> type[VenueError]:
    # The venue has no codes of its own for these: only its words tell them apart.
    if kind is AuthenticationError and _CLOCK.search(text):
        return ClockError
    if kind is InvalidOrderError:
        if _MINIMUM.search(text):
            return BelowMinimumError
        if _PAUSED.search(text):
            return MarketPausedError
    return kind


def parse_retry_after(header: str, date: str = "") -> float:
    """Return the seconds that a Retry-After header asks for, 0..60; 0 when it makes no sense.

    Parameters
    ----------
    header : str
        Seconds, or the HTTP date until which to wait.
    date : str
        The Date header of the same response, from which a date is counted. The server's own clock
        is the only one that fits.
    """
    text = header.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        seconds = float(text)
    else:
        try:
            seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def read_models(endpoint: Endpoint, reply: Any) -> Any:
    """Return the reply as the endpoint's model, or a list of them.

    Raises
    ------
    WireError
        The reply does not have the shape that the table says.
    """
    if endpoint.reply_key and isinstance(reply, Mapping):
        reply = reply.get(endpoint.reply_key)
    if not endpoint.is_list:
        # The venue documents a list for some endpoints and sends the object, or the reverse.
        if type(reply) is list and len(reply) == 1:
            reply = reply[0]
        if type(reply) is dict:
            return endpoint.reply.from_wire(reply)
        return read_model(endpoint.reply, reply)
    return read_list(endpoint.reply, reply)


def read_model(model: type[M], data: object) -> M:
    """Return decoded JSON as a model.

    Raises
    ------
    WireError
        It is not an object, or not one of this kind.
    """
    if type(data) is not dict and not isinstance(data, Mapping):
        raise WireError(f"{model.__name__} should be an object", repr(data)[:200])
    return model.from_wire(data)


def read_list(model: type[M], rows: object) -> list[M]:
    """Return a list of decoded JSON objects as models.

    Where each row is about a thing of its own, assets, markets, pools, a row that cannot be read
    is left out, so that one odd market does not take all others away; see `unreadable_rows`. Where
    one that is missing would not be seen, and mean something else, it is an error: orders,
    balances, trades, candles.

    Raises
    ------
    WireError
        It is no list, a row cannot be read, or none can.
    """
    if not isinstance(rows, list):
        raise WireError(f"a list of {model.__name__} expected", repr(rows)[:200])
    if model not in _DIRECTORIES:
        return [read_model(model, row) for row in rows]
    models, refusals = [], []
    for row in rows:
        try:
            models.append(read_model(model, row))
        except WireError as error:
            refusals.append(error)
    if refusals and not models:
        raise refusals[0]
    for refusal in refusals:
        note_unreadable(model.__name__, refusal)
    return models


def read_acceptance(request: OrderRequest, reply: object) -> OrderResponse:
    """Return what an order was answered with.

    Raises
    ------
    WireError
        It is no acceptance, or that of another order (`echo_mismatch`).
    """
    response = read_model(OrderResponse, reply)
    field = echo_mismatch(request, response)
    if field:
        raise WireError(f"the answer describes another order: {field} differs")
    return response


def echo_mismatch(request: OrderRequest, reply: OrderStatus) -> str:
    """Return the name of the first field in which a reply contradicts its request, or ``""``.

    A reply that belongs to another request (seen behind proxies that mix up connections) must
    not be taken for the acceptance of this one. Price and quantity are compared only under
    ``strict_validate``, since otherwise the venue may cut digits off.
    """
    if request.user_provided_id and reply.user_provided_id != request.user_provided_id:
        return "userProvidedId"
    if reply.symbol and reply.symbol != canonical(request.symbol):
        return "symbol"
    if reply.side != request.side:
        return "side"
    if request.strict_validate and reply.quantity != request.quantity:
        return "quantity"
    if request.strict_validate and request.price is not None and reply.price != request.price:
        return "price"
    return ""


# WebSocket


class Frame(NamedTuple):
    """One frame from the venue.

    A reply has an ``id``, and ``result`` or ``error``; a notification has ``method`` and
    ``params``. The first answer to subscribeReports and subscribeBalances has ``method``,
    ``result`` and ``id`` at once: it is both (``activeOrders``, ``currentBalances``), and
    ``params`` is then its result.
    """

    id: _RequestId | None
    method: str
    params: Any
    result: Any
    error: Any
    kind: Literal["reply", "notification", "both", "stray"]


def encode_request(
    method: str, params: Mapping[str, object], request_id: _RequestId | None = None
) -> bytes:
    """Return one request as a text frame."""
    request: dict[str, object] = {"method": method, "params": params}
    if request_id is not None:
        request["id"] = request_id
    return orjson.dumps(request, default=_plain_digits)


def decode_frame(buffer: bytes | bytearray | memoryview) -> Frame:
    """Return what one text frame of the venue says.

    Raises
    ------
    WireError
        The frame is not a JSON object.
    """
    data = decode_json(buffer)
    if not isinstance(data, Mapping):
        raise WireError("a frame should be an object", _excerpt(buffer))
    request_id = data.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str):
        request_id = None
    method = data.get("method")
    method = method if isinstance(method, str) else ""
    result, error = data.get("result"), data.get("error")
    params = data.get("params")
    is_reply = request_id is not None or error is not None
    if method and params is None and result is not None:
        return Frame(request_id, method, result, result, error, "both")
    if is_reply:
        return Frame(request_id, method, params, result, error, "reply")
    return Frame(None, method, params, result, error, "notification" if method else "stray")
