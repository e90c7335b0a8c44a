"""What an API key may do, asked with requests that change nothing."""

from decimal import Decimal

from nkfast.app.connection import open_rest
from nkfast.app.exits import describe
from nkfast.app.findings import Finding
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.nonces import KeyNonces
from nkfast.directories import nonce_directory
from nkfast.errors import (
    AuthenticationError,
    NkfastError,
    OrderNotFoundError,
    PermissionDeniedError,
    VenueError,
)
from nkfast.wire.models import ApiCredentials

__all__ = ["examine_key", "examine_withdrawal"]

#: No order has this id, and no asset this name.
_NOTHING = "nkfast-permission-probe"


async def examine_key(rest_url: str, credentials: ApiCredentials) -> list[Finding]:
    """Say whether the key may read and trade: it cancels an order that does not exist."""
    async with open_rest(rest_url, credentials, allow_changes="cancels") as rest:
        return [await _reads(rest), await _trades(rest)]


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


async def examine_withdrawal(rest_url: str, credentials: ApiCredentials) -> Finding:
    """Say whether the key may withdraw: it asks for nothing of an asset that does not exist."""
    client = AsyncRestClient(
        credentials,
        base_url=rest_url,
        allow_changes=True,
        allow_withdrawals=True,
        nonces=KeyNonces(credentials.api_key, directory=nonce_directory()),
    )
    fix = "make a key that may not: whoever steals this one can empty the account"
    async with client as rest:
        try:
            await rest.create_withdrawal(_NOTHING, Decimal(0), _NOTHING)
        except PermissionDeniedError as error:
            return Finding("ok", "key withdraws", f"no: {error}")
        except VenueError as error:
            text = f"cannot be ruled out: refused for another reason ({error})"
            return Finding("warn", "key withdraws", text, fix)
    return Finding("warn", "key withdraws", "yes", fix)
