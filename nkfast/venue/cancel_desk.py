"""What a guard is given of an account at the exchange: its open orders, and a way to cancel one."""

from collections.abc import Sequence

from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import UnreachableError
from nkfast.venue.port import OpenOrder

__all__ = ["RestCancelDesk"]

_PAGE_ROWS = 500
#: A list of open orders that does not end before this is not believed.
_PAGES_MAX = 40


class RestCancelDesk:
    """An account over REST. See `CancelDesk` for what its methods promise.

    Parameters
    ----------
    rest : AsyncRestClient
        Made with ``allow_changes="cancels"``: it refuses everything else that changes something.
    """

    def __init__(self, rest: AsyncRestClient) -> None:
        self._rest = rest

    async def open_orders(self) -> Sequence[OpenOrder]:
        """Return every open order of the account, on every market.

        Where there are several pages, an order that ends meanwhile may hide another one: who needs
        to know that none is left reads again.
        """
        found: dict[str, OpenOrder] = {}
        for page in range(_PAGES_MAX):
            rows = await self._rest.get_orders(
                status="active", limit=_PAGE_ROWS, skip=page * _PAGE_ROWS
            )
            for row in rows:
                if not row.status.is_final:
                    found[row.order_id] = OpenOrder(row.user_provided_id, row.order_id, row.symbol)
            if len(rows) < _PAGE_ROWS:
                return list(found.values())
        raise UnreachableError(
            f"the list of orders has more than {_PAGES_MAX * _PAGE_ROWS} rows",
            endpoint="/account/orders",
            sent="yes",
        )

    async def cancel(self, order: OpenOrder) -> None:
        """Ask to cancel one order."""
        await self._rest.cancel_order(order.order_id)
