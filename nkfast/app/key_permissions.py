"""What an API key may do, asked with requests that change nothing."""

from nkfast.app.connection import open_rest
from nkfast.app.exits import describe
from nkfast.app.findings import Finding
from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import (
    AuthenticationError,
    NkfastError,
    OrderNotFoundError,
    PermissionDeniedError,
)
from nkfast.wire.models import ApiCredentials

__all__ = ["examine_key"]

#: No order has this id.
_NOTHING = "nkfast-permission-probe"
#: Only a withdrawal would tell, and nkfast sends none, not even one that must fail.
_WITHDRAWS = Finding(
    "warn",
    "key withdraws",
    "not asked",
    "see at the exchange that it may not: whoever steals such a key can empty the account",
)


async def examine_key(rest_url: str, credentials: ApiCredentials) -> list[Finding]:
    """Say whether the key may read and trade: it cancels an order that does not exist."""
    async with open_rest(rest_url, credentials, allow_changes="cancels") as rest:
        return [await _reads(rest), await _trades(rest), _WITHDRAWS]


async def _reads(rest: AsyncRestClient) -> Finding:
    try:
        await rest.get_balances()
    except NkfastError as error:
        return _refused("key reads", error)
    return Finding("ok", "key reads", "yes")


async def _trades(rest: AsyncRestClient) -> Finding:
    try:
        await rest.cancel_order(_NOTHING)
    except OrderNotFoundError:
        return Finding("ok", "key trades", "yes")
    except PermissionDeniedError as error:
        fix = "make a key that may trade; monitor and paper need none"
        return Finding("warn", "key trades", f"no: {error}", fix)
    except NkfastError as error:
        return _refused("key trades", error)
    return Finding("warn", "key trades", "the exchange says it cancelled an order of that name")


def _refused(subject: str, error: NkfastError) -> Finding:
    failure = describe(error)
    is_key = isinstance(error, AuthenticationError | PermissionDeniedError)
    fix = "copy key and secret again: nkfast keys set" if is_key else ""
    return Finding("fail", subject, failure.message, fix, failure.code)
