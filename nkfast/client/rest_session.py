"""How a call of the REST interface is carried out: everything about it but the socket.

Modes, signatures, nonces, the throttle, repeats, and what an answer means. `RestSession.steps` is a
generator that says what to do next, and is told what came of it; both REST clients only do as it
says. It neither waits nor sends.
"""

import base64
import random
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from nkfast.client import calls
from nkfast.client.calls import Call
from nkfast.client.nonces import KeyNonces
from nkfast.client.roads import Request
from nkfast.client.throttle import Throttle
from nkfast.client.time_sync import TimeSync
from nkfast.core.signing import Signer
from nkfast.errors import (
    ConfigError,
    ModeError,
    NonceError,
    OutcomeUnknownError,
    RateLimitError,
    UnreachableError,
    VenueError,
    WireError,
)
from nkfast.wire import codec
from nkfast.wire.models import ApiCredentials
from nkfast.wire.response import ResponseReader

__all__ = ["AllowChanges", "Answer", "Lost", "RestSession", "Retire", "Steps", "Wait"]

#: A reply that is longer is refused; the longest seen is the market list with more than 1 MB.
BODY_BYTES_MAX = 16 * 1024 * 1024
#: Waits before the attempts of a read are random up to these bounds, doubling from one to the next.
BACKOFF_SECONDS_FIRST = 0.25
BACKOFF_SECONDS_MAX = 5.0
#: After "Bad Nonce" nothing but cancels is signed for so long (protocol: question 1).
NONCE_PAUSE_SECONDS = 2.0

#: Of our own: whoever seeds Python's for a simulation does not seed when clients try again.
_random = random.Random()

T = TypeVar("T")


class Wait(NamedTuple):
    """Do: let so much time pass."""

    seconds: float


class Retire(NamedTuple):
    """Do: use no connection again that is open now; what is under way on them may end first.

    What comes next on connections that gave an answer not the venue's own, or one to another
    request, cannot be trusted either.
    """


class Answer(NamedTuple):
    """A whole HTTP response, and the monotonic times around it."""

    status: int
    body: bytes
    retry_after: str
    date: str
    sent_ns: int
    received_ns: int

    @classmethod
    def of(cls, reader: ResponseReader, sent_ns: int, received_ns: int) -> Self:
        """Return what a reader has read to its end."""
        find = reader.headers.get
        return cls(
            reader.status,
            bytes(reader.body),
            find("retry-after", ""),
            find("date", ""),
            sent_ns,
            received_ns,
        )


class Lost(NamedTuple):
    """No whole response came; ``is_sent`` says that the request may have reached the venue."""

    reason: str
    is_sent: bool


#: A `Request` is to be sent, once, exactly so; give back an `Answer` or what was `Lost`.
#: What may be changed at the venue: nothing, orders may be cancelled, anything.
AllowChanges = bool | Literal["cancels"]
Step = Request | Wait | Retire
Steps = Generator[Step, Answer | Lost | None, T]


class RestSession:
    """What both REST clients know, apart from their sockets; see `RestClient` for the options."""

    def __init__(
        self,
        credentials: ApiCredentials | None,
        *,
        base_url: str,
        allow_changes: AllowChanges,
        allow_withdrawals: bool,
        basic_auth: bool,
        attempts: int,
        throttle: Throttle | None,
        nonces: KeyNonces | None,
        time_sync: TimeSync | None,
    ) -> None:
        if attempts < 1:
            raise ConfigError(f"attempts must be at least 1, was {attempts}")
        self._base_url = base_url
        self._base_path = urlsplit(base_url).path
        self._allow_changes = allow_changes
        self._allow_withdrawals = allow_withdrawals
        self._attempts = attempts
        self._throttle = throttle if throttle is not None else Throttle()
        self.time_sync = time_sync
        self._sign: Callable[[str, bytes], dict[str, str]] | None = None
        if credentials is not None:
            self._sign = _basic(credentials) if basic_auth else _signing(credentials, nonces)

    def steps(self, call: Call[T], now: Callable[[], float]) -> Steps[T]:
        """Say step by step how to carry out a call; ends with its result.

        Parameters
        ----------
        call : Call
        now : callable
            Monotonic seconds.

        Raises
        ------
        VenueError, WireError, ModeError, ConfigError
        """
        reply, _ = yield from self._ask(call, now)
        try:
            return call.read(reply)
        except WireError as error:
            if not call.changes:
                raise
            yield Retire()
            raise OutcomeUnknownError(str(error), endpoint=call.endpoint, sent="maybe") from error

    def measure(self, time_sync: TimeSync, now: Callable[[], float]) -> Steps[None]:
        """Say step by step how to compare the venue's clock with ours, once."""
        call = calls.get_time()
        reply, answer = yield from self._ask(call, now)
        time_sync.add(answer.sent_ns, answer.received_ns, call.read(reply).time_ms)

    def _ask(self, call: Call[Any], now: Callable[[], float]) -> Steps[tuple[Any, Answer]]:
        self._refuse(call)
        attempts = 1 if call.changes else self._attempts
        for attempt in range(attempts):
            at = now()
            ready_at = self._throttle.reserve(call.rate_class, at)
            # A pause may begin, or grow, while it is waited for.
            while True:
                seconds = max(ready_at, self._throttle.paused_until(call.rate_class, at)) - at
                if seconds <= 0:
                    break
                yield Wait(seconds)
                at = now()
            answer = yield self._request(call)
            assert answer is not None
            try:
                if isinstance(answer, Lost):
                    raise _lost(call, answer)
                return _decode(call, answer), answer
            except VenueError as error:
                wait = _random.uniform(
                    0.0, min(BACKOFF_SECONDS_FIRST * 2**attempt, BACKOFF_SECONDS_MAX)
                )
                if isinstance(answer, Answer):
                    wait = max(wait, self._hold_back(call, answer, error, now()))
                    if isinstance(error, OutcomeUnknownError):
                        yield Retire()
                if attempt + 1 == attempts or not isinstance(
                    error, RateLimitError | UnreachableError
                ):
                    raise
                yield Wait(wait)
        raise AssertionError("the last attempt returns or raises")

    def _hold_back(self, call: Call[Any], answer: Answer, error: VenueError, now: float) -> float:
        if isinstance(error, NonceError):
            for rate_class in ("private", "orders"):
                self._throttle.pause(rate_class, now + NONCE_PAUSE_SECONDS, now)
        # Whoever says it, and whatever it means for this call: there were too many.
        if answer.status != 429 and not isinstance(error, RateLimitError):
            return 0.0
        seconds = codec.parse_retry_after(answer.retry_after, answer.date)
        seconds = max(seconds, _random.uniform(0.0, BACKOFF_SECONDS_FIRST))
        self._throttle.pause(call.rate_class, now + seconds, now)
        return seconds

    def _refuse(self, call: Call[Any]) -> None:
        if call.changes and self._allow_changes is not True:
            if self._allow_changes != "cancels" or call.rate_class != "cancels":
                raise ModeError(call.endpoint, str(self._allow_changes or "monitor"))
        if not self._allow_withdrawals and call.withdraws:
            raise ConfigError(
                f"{call.endpoint} moves assets out of the account, which this client was not made "
                "for: see allow_withdrawals"
            )
        if call.is_private and self._sign is None:
            raise ConfigError(f"{call.endpoint} is private: give the client credentials")

    def _request(self, call: Call[Any]) -> Request:
        # The very bytes that are signed go to the socket: "/" and "%2F" sign differently.
        url = self._base_url + call.target
        make_headers = partial(self._headers, call, url)
        return Request(call.method, url, self._base_path + call.target, make_headers, call.body)

    def _headers(self, call: Call[Any], url: str) -> dict[str, str]:
        headers = self._sign(url, call.body) if call.is_private and self._sign else {}
        if call.changes:
            headers["Content-Type"] = "application/json"
        return headers


def _signing(
    credentials: ApiCredentials, nonces: KeyNonces | None
) -> Callable[[str, bytes], dict[str, str]]:
    signer = Signer(credentials.api_key, credentials.api_secret)
    take = (nonces if nonces is not None else KeyNonces(credentials.api_key)).next

    def sign(url: str, body: bytes) -> dict[str, str]:
        return signer.headers(url, body, take())

    return sign


def _basic(credentials: ApiCredentials) -> Callable[[str, bytes], dict[str, str]]:
    pair = f"{credentials.api_key}:{credentials.api_secret}".encode()
    header = "Basic " + base64.b64encode(pair).decode()
    return lambda _url, _body: {"Authorization": header}


def _decode(call: Call[Any], answer: Answer) -> Any:
    return codec.decode_reply(
        answer.status,
        answer.body,
        endpoint=call.endpoint,
        changes=call.changes,
        rate_class=call.rate_class,
        retry_after=answer.retry_after,
        date=answer.date,
    )


def _lost(call: Call[Any], lost: Lost) -> VenueError:
    if not lost.is_sent:
        return UnreachableError(lost.reason, endpoint=call.endpoint, sent="no")
    kind = OutcomeUnknownError if call.changes else UnreachableError
    return kind(lost.reason, endpoint=call.endpoint, sent="maybe")
