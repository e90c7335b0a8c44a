"""Every exception that nkfast raises on purpose, grouped by who can fix it.

* NkfastError
  - ConfigError                    the caller: settings
    + ConfigErrors                 everything wrong with them at once
  - ModeError                      the caller: this mode does not allow the call
  - FixedPointError                the caller or the data: a number that does not fit
    + EmptyNumberError
    + NumberSyntaxError
    + SignError
    + ExponentError
    + NotANumberError
    + TooManyDigitsError
    + NumberOverflowError
  - BookError                      the data: this book cannot be trusted
    + BookGapError
    + BookFullError
    + BookStaleError
  - WireError                      the data: bytes that are not NonKYC's language
    + FrameError
  - VenueError                     the venue or the way to it
    + AuthenticationError
      . NonceError
      . ClockError
    + PermissionDeniedError
    + RejectedError                the venue says no, for certain
      . InsufficientFundsError
      . BelowMinimumError
      . InvalidOrderError
      . SymbolNotFoundError
      . OrderNotFoundError
      . MarketPausedError
    + DuplicateClientIdError       an order with our id exists, perhaps from this very request
    + RateLimitError
    + UnreachableError
    + OutcomeUnknownError          sent, unanswered: reconcile, never resend
  - OrderError                     our own books: a transition that cannot be
  - LifeError                      the caller: the engine is in another state
  - NotRunningError                the caller: the instance does not run, or does not answer
  - HaltedError                    a person: trading was halted, the cause has to be cleared
  - RiskError                      our own limits
  - JournalError                   our own store: trading stops
    + JournalLockedError
    + JournalCorruptError

A bug in nkfast is not an `NkfastError`: it is an `AssertionError` or whatever Python raises.
"""

from collections.abc import Sequence
from typing import Literal

__all__ = [
    "AuthenticationError",
    "BelowMinimumError",
    "BookError",
    "BookFullError",
    "BookGapError",
    "BookStaleError",
    "ClockError",
    "ConfigError",
    "ConfigErrors",
    "DuplicateClientIdError",
    "EmptyNumberError",
    "ExponentError",
    "FixedPointError",
    "FrameError",
    "HaltedError",
    "InsufficientFundsError",
    "InvalidOrderError",
    "JournalCorruptError",
    "JournalError",
    "JournalLockedError",
    "LifeError",
    "MarketPausedError",
    "ModeError",
    "NkfastError",
    "NonceError",
    "NotANumberError",
    "NotRunningError",
    "NumberOverflowError",
    "NumberSyntaxError",
    "OrderError",
    "OrderNotFoundError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "RateLimitError",
    "RejectedError",
    "RiskError",
    "Sent",
    "SignError",
    "SymbolNotFoundError",
    "TooManyDigitsError",
    "UnreachableError",
    "VenueError",
    "WireError",
]

Sent = Literal["no", "yes", "maybe"]


class NkfastError(Exception):
    """The root: catches everything that nkfast raises on purpose.

    Attributes
    ----------
    sent : {"no", "yes", "maybe"}
        Whether the call of a client that raised it had reached the venue.
    """

    sent: Sent = "no"


class ConfigError(NkfastError, ValueError):
    """A setting is missing, unknown or out of range.

    Parameters
    ----------
    message : str
        What is wrong and what would be right.
    place : str
        File, line and key, or the option; empty when there is none.
    """

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message, place)
        self.message = message
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class ConfigErrors(ConfigError):
    """Everything that is wrong with a set of settings, at once.

    Parameters
    ----------
    problems : sequence of ConfigError
        At least one, in the order of the settings.
    """

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        first = problems[0]
        super().__init__(first.message, first.place)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.problems,)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ModeError(NkfastError):
    """A call that changes something at the venue, in a mode that forbids it."""

    def __init__(self, call: str, mode: str) -> None:
        super().__init__(call, mode)
        self.call = call
        self.mode = mode

    def __str__(self) -> str:
        return (
            f"{self.call} is refused in mode {self.mode!r}: only mode 'live', or a client that was "
            "made with allow_changes=True, may change anything"
        )


class FixedPointError(NkfastError, ValueError):
    """A number that cannot be held exactly.

    Parameters
    ----------
    text : str
        The number as received, shortened to 64 characters.
    limit : str
        What it had to fit: the decimals, the range.
    """

    reason = "does not fit"

    def __init__(self, text: str, limit: str = "") -> None:
        super().__init__(text, limit)
        self.text = text
        self.limit = limit

    def __str__(self) -> str:
        detail = f" ({self.limit})" if self.limit else ""
        return f"number {self.text!r} {self.reason}{detail}"


class EmptyNumberError(FixedPointError):
    """The text holds no digit."""

    reason = "has no digits"


class NumberSyntaxError(FixedPointError):
    """The text holds a character that no number has, or two points."""

    reason = "is not a decimal number"


class SignError(FixedPointError):
    """A sign where none is allowed."""

    reason = "has a sign that is not allowed here"


class ExponentError(FixedPointError):
    """Exponent notation, which money never has."""

    reason = "has an exponent; write plain digits"


class NotANumberError(FixedPointError):
    """NaN or infinity."""

    reason = "is not a finite number"


class TooManyDigitsError(FixedPointError):
    """More decimal places than the market has."""

    reason = "has too many decimal places"


class NumberOverflowError(FixedPointError, OverflowError):
    """Outside the range of a signed 64-bit count."""

    reason = "is outside the 64-bit range"


class BookError(NkfastError):
    """An order book that cannot be trusted."""


class BookGapError(BookError):
    """A sequence number was skipped; the book needs a new snapshot."""

    def __init__(self, market: str, expected: int, received: int) -> None:
        super().__init__(market, expected, received)
        self.market = market
        self.expected = expected
        self.received = received

    def __str__(self) -> str:
        return f"{self.market}: expected sequence {self.expected}, received {self.received}"


class BookFullError(BookError):
    """More levels on one side than the book was made for; the change was refused whole."""

    def __init__(self, market: str, capacity: int) -> None:
        super().__init__(market, capacity)
        self.market = market
        self.capacity = capacity

    def __str__(self) -> str:
        return f"{self.market}: more than {self.capacity} levels on one side"


class BookStaleError(BookError):
    """The book is not live, so nothing may trade on it."""

    def __init__(self, market: str, state: str) -> None:
        super().__init__(market, state)
        self.market = market
        self.state = state

    def __str__(self) -> str:
        return f"{self.market}: the book is {self.state}; wait for a new snapshot"


class WireError(NkfastError):
    """Bytes that are not NonKYC's language.

    Parameters
    ----------
    message : str
        What was expected.
    excerpt : str
        At most 200 printable characters of what came; never a secret.
    """

    #: What cannot be read came from there.
    sent: Sent = "yes"

    def __init__(self, message: str, excerpt: str = "") -> None:
        super().__init__(message, excerpt)
        self.message = message
        self.excerpt = excerpt

    def __str__(self) -> str:
        return f"{self.message}: {self.excerpt!r}" if self.excerpt else self.message


class FrameError(WireError):
    """A market-data frame that was refused whole; the book is as it was."""


class VenueError(NkfastError):
    """The venue refused a call, or could not be asked.

    Parameters
    ----------
    message : str
        The venue's own words, or ours when it said nothing.
    code : int or None
        The venue's numeric code (protocol: error.code), None when it gave none.
    endpoint : str
        The REST path or WebSocket method.
    sent : {"no", "yes", "maybe"}
        Whether the request reached the venue. After "maybe" a change must be looked up,
        never repeated.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        endpoint: str = "",
        sent: Sent = "yes",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.endpoint = endpoint
        self.sent = sent

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_venue_error, (type(self), self.args, self.__dict__.copy()))

    def __str__(self) -> str:
        where = f"{self.endpoint}: " if self.endpoint else ""
        code = f" (code {self.code})" if self.code is not None else ""
        return f"{where}{self.message}{code}"


def _rebuild_venue_error(
    kind: type[VenueError], args: tuple[str], fields: dict[str, object]
) -> VenueError:
    error = kind(*args)
    error.__dict__.update(fields)
    return error


class AuthenticationError(VenueError):
    """Key or signature refused (HTTP 401, codes 1001, 1002, 1004)."""


class NonceError(AuthenticationError):
    """The nonce was used before or is too low ("Bad Nonce")."""


class ClockError(AuthenticationError):
    """Our clock and the venue's are too far apart."""


class PermissionDeniedError(VenueError):
    """The key lacks the permission (codes 403, 1003)."""


class RejectedError(VenueError):
    """The venue refused the request for certain: nothing was changed."""


class InsufficientFundsError(RejectedError):
    """Code 20001."""


class BelowMinimumError(RejectedError):
    """Quantity or notional below the market's minimum."""


class InvalidOrderError(RejectedError):
    """Code 10001: a field is missing or malformed."""


class SymbolNotFoundError(RejectedError):
    """Codes 2001 and 2002."""


class OrderNotFoundError(RejectedError):
    """Code 20002. Not a proof of absence: the venue says it of finished orders too."""


class MarketPausedError(RejectedError):
    """The market, or this side of it, is paused or closed."""


class DuplicateClientIdError(VenueError):
    """Code 20008: an order with this userProvidedId exists already: look it up.

    No `RejectedError`, because it does not say that what was asked for is not there: when
    something on the way sends a request twice, the second answer is this one, and the order of
    the first is alive.
    """


class RateLimitError(VenueError):
    """HTTP or code 429.

    Parameters
    ----------
    retry_after_seconds : float
        How long the venue asks to wait, clamped to 0..60; 0 when it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = 429,
        endpoint: str = "",
        sent: Sent = "yes",
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(message, code=code, endpoint=endpoint, sent=sent)
        self.retry_after_seconds = retry_after_seconds


class UnreachableError(VenueError):
    """No answer, and nothing was changed: the request was a read or was never sent."""


class OutcomeUnknownError(VenueError):
    """A change was sent and its answer was lost: look it up by client id, never resend."""


class OrderError(NkfastError):
    """A transition that the life of an order does not have."""

    def __init__(self, client_id: str, state: str, event: str) -> None:
        super().__init__(client_id, state, event)
        self.client_id = client_id
        self.state = state
        self.event = event

    def __str__(self) -> str:
        return f"order {self.client_id} is {self.state} and cannot take {self.event}"


class LifeError(NkfastError):
    """A transition that the life of an engine does not have."""

    def __init__(self, state: str, wanted: str, reason: str) -> None:
        super().__init__(state, wanted, reason)
        self.state = state
        self.wanted = wanted
        self.reason = reason

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"the engine is {self.state}{why} and cannot become {self.wanted}"


class NotRunningError(NkfastError):
    """An instance that was to be told something does not run, or does not answer."""


class HaltedError(NkfastError):
    """Trading is halted, and stays so over restarts until the cause is cleared by its name.

    Parameters
    ----------
    cause : str
        Stable code, upper case with underscores: ``KILL_SWITCH``.
    detail : str
        What happened.
    """

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause = cause
        self.detail = detail

    def __str__(self) -> str:
        return f"halted by {self.cause}: {self.detail}; it has to be cleared by that name"


class RiskError(NkfastError):
    """One of our own limits refused an order before anything was sent.

    Parameters
    ----------
    code : str
        Stable reason code, upper case with underscores.
    value, limit : str
        Both numbers, in plain digits.
    """

    def __init__(self, code: str, value: str, limit: str) -> None:
        super().__init__(code, value, limit)
        self.code = code
        self.value = value
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.code}: {self.value} against the limit {self.limit}"


class JournalError(NkfastError):
    """The journal cannot be written or read; trading stops."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"journal {self.path}: {self.message}"


class JournalLockedError(JournalError):
    """Another process holds the journal; the message names it."""


class JournalCorruptError(JournalError):
    """The journal's content contradicts itself."""
