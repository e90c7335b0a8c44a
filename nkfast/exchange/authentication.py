"""Who is asking: signed requests, Basic credentials and WebSocket logins."""

import base64
import binascii
import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from nkfast.core.signing import Signer
from nkfast.errors import AuthenticationError, NonceError
from nkfast.exchange.accounts import Account
from nkfast.exchange.rules import refusal

__all__ = ["Authenticator", "NoncePolicy"]

#: "unique" refuses a nonce that was used before, "increasing" one that is not above the last.
NoncePolicy = Literal["off", "unique", "increasing"]

#: Nonces remembered for each key under "unique".
_NONCE_COUNT_MAX: Final = 200_000
_NONCE_LENGTH_MAX: Final = 32
#: Digits of a nonce that is a time, from seconds to nanoseconds: clients with milliseconds, tenths
#: of them, milliseconds before four digits by chance, and microseconds share keys.
_TIME_DIGITS: Final = range(10, 20)
#: In JSON: a string, whose spaces count, or spaces between tokens.
_STRING_OR_SPACE: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


class _Key:
    """One API key: its signer, its account and the nonces it has used."""

    def __init__(self, account: Account, key: str, secret: str) -> None:
        self.account = account
        self.secret = secret
        self.signer = Signer(key, secret)
        self.last_ns = -1
        self.used: OrderedDict[str, None] = OrderedDict()


class Authenticator:
    """Checks signatures over the URL as it was received, and nonces by a policy.

    Parameters
    ----------
    nonce_policy : {"off", "unique", "increasing"}
    nonce_window_ms : int or None
        How far a nonce, read as a time, may be from the exchange's clock; None: as far as it
        likes, which is what the real exchange does.
    unauthorized_code : int
        The code inside the 401 of a private call without a valid signature.
    """

    def __init__(
        self,
        *,
        nonce_policy: NoncePolicy = "unique",
        nonce_window_ms: int | None = None,
        unauthorized_code: int = 401,
    ) -> None:
        self._nonce_policy = nonce_policy
        self._nonce_window_ms = nonce_window_ms
        self._unauthorized_code = unauthorized_code
        self._keys: dict[str, _Key] = {}

    def add_key(self, account: Account, key: str, secret: str) -> None:
        """Let a key act for an account."""
        self._keys[key] = _Key(account, key, secret)

    def request(
        self,
        headers: Mapping[str, str],
        urls: Sequence[str],
        body: bytes,
        now_ms: int,
    ) -> Account:
        """Return the account that a REST request is from.

        Parameters
        ----------
        headers : Mapping
            Of the request, by lower-case name.
        urls : Sequence of str
            The URL exactly as received, once for each base that it may have been signed with.
        body : bytes
            Exactly as received.

        Raises
        ------
        AuthenticationError
            "Not Authorized", or "Bad Nonce".

        Notes
        -----
        A body may be signed as it was sent, or as the same JSON without spaces: the exchange's
        own Hummingbot connector signs the latter and sends the former.
        """
        authorization = headers.get("authorization", "")
        if authorization.startswith("Basic "):
            return self._basic(authorization.removeprefix("Basic "))
        key = self._keys.get(headers.get("x-api-key", ""))
        nonce = headers.get("x-api-nonce", "")
        if key is None or not (nonce.isascii() and nonce.isdigit()):
            raise self._unauthorized()
        signature = _received(headers.get("x-api-sign", ""))
        suffix = nonce.encode()
        if not _is_signed(key, urls, body + suffix, signature) and not _is_signed(
            key, urls, _without_spaces(body) + suffix, signature
        ):
            raise self._unauthorized()
        self._use_nonce(key, nonce, now_ms)
        return key.account

    def login(self, params: Mapping[str, Any]) -> Account:
        """Return the account that a WebSocket login is for.

        Raises
        ------
        AuthenticationError
            Code 1002 for wrong credentials, 1004 for an unknown algorithm.
        """
        algorithm = params.get("algo")
        if algorithm not in ("HS256", "BASIC"):
            raise refusal(1004, "algo must be HS256 or BASIC")
        key = self._keys.get(str(params.get("pKey")))
        if key is None:
            raise refusal(1002, "Authorization failed")
        if algorithm == "BASIC":
            expected, given = key.secret, params.get("sKey")
        else:
            nonce = params.get("nonce")
            if not isinstance(nonce, str) or not nonce:
                raise refusal(1002, "Authorization failed")
            expected, given = key.signer.sign(nonce.encode()), params.get("signature")
        if not hmac.compare_digest(expected.encode(), str(given).encode()):
            raise refusal(1002, "Authorization failed")
        return key.account

    def _unauthorized(self) -> Exception:
        return AuthenticationError("Not Authorized", code=self._unauthorized_code)

    def _basic(self, credentials: str) -> Account:
        try:
            name, _, secret = base64.b64decode(credentials, validate=True).partition(b":")
        except binascii.Error:
            raise self._unauthorized() from None
        key = self._keys.get(name.decode("utf-8", "replace"))
        if key is None or not hmac.compare_digest(key.secret.encode(), secret):
            raise self._unauthorized()
        return key.account

    def _use_nonce(self, key: _Key, nonce: str, now_ms: int) -> None:
        if len(nonce) > _NONCE_LENGTH_MAX:
            raise NonceError("Bad Nonce", code=self._unauthorized_code)
        if self._nonce_window_ms is not None or self._nonce_policy == "increasing":
            self._check_time(key, nonce, now_ms)
        if self._nonce_policy == "unique":
            if nonce in key.used:
                raise NonceError("Bad Nonce", code=self._unauthorized_code)
            key.used[nonce] = None
            if len(key.used) > _NONCE_COUNT_MAX:
                key.used.popitem(last=False)

    def _check_time(self, key: _Key, nonce: str, now_ms: int) -> None:
        time_ns = int(nonce)
        if len(nonce) in _TIME_DIGITS:
            time_ns *= 10 ** (_TIME_DIGITS[-1] - len(nonce))
        window_ms = self._nonce_window_ms
        if window_ms is not None and abs(time_ns - now_ms * 1_000_000) > window_ms * 1_000_000:
            raise NonceError("Bad Nonce", code=self._unauthorized_code)
        if self._nonce_policy == "increasing":
            if time_ns <= key.last_ns:
                raise NonceError("Bad Nonce", code=self._unauthorized_code)
            key.last_ns = time_ns


def _received(text: str) -> bytes:
    # Bytes that are no UTF-8 reach us as surrogates; they are hashed as they came.
    return text.encode("utf-8", "surrogateescape")


def _is_signed(key: _Key, urls: Sequence[str], rest: bytes, signature: bytes) -> bool:
    # Every base is tried, so that the time taken says nothing about which one fits.
    signer = key.signer
    fits = [
        hmac.compare_digest(signer.sign(_received(signer.api_key + url) + rest).encode(), signature)
        for url in urls
    ]
    return any(fits)


def _without_spaces(body: bytes) -> bytes:
    return _STRING_OR_SPACE.sub(rb"\1", body)
