"""What a guard reads of an account: all of it, or an error."""

from types import SimpleNamespace

import pytest

from nkfast.errors import UnreachableError
from nkfast.venue.cancel_desk import RestCancelDesk
from nkfast.venue.port import OpenOrder
from nkfast.wire.models import OrderState


class Rest:
    """Lists orders as the REST client does, a page at a time."""

    def __init__(self, count: int) -> None:
        self.rows = [
            SimpleNamespace(
                user_provided_id=f"c{number}",
                order_id=f"v{number}",
                symbol="BTC/USDT",
                status=OrderState.ACTIVE,
            )
            for number in range(count)
        ]
        self.cancelled: list[str] = []

    async def get_orders(self, *, status: str, limit: int, skip: int) -> list[SimpleNamespace]:
        assert status == "active"
        assert limit <= 500
        return self.rows[skip : skip + limit]

    async def cancel_order(self, order_id: str) -> None:
        self.cancelled.append(order_id)


@pytest.mark.parametrize("count", [0, 3, 499, 500, 501, 1234])
async def test_every_page_is_read(count: int) -> None:
    found = await RestCancelDesk(Rest(count)).open_orders()
    assert found == [OpenOrder(f"c{n}", f"v{n}", "BTC/USDT") for n in range(count)]


async def test_what_has_ended_is_not_open() -> None:
    rest = Rest(2)
    rest.rows[0].status = OrderState.CANCELLED
    assert [order.order_id for order in await RestCancelDesk(rest).open_orders()] == ["v1"]


async def test_a_list_without_end_is_not_believed() -> None:
    with pytest.raises(UnreachableError):
        await RestCancelDesk(Rest(20_001)).open_orders()


async def test_one_order_is_cancelled_by_the_venues_id() -> None:
    rest = Rest(1)
    await RestCancelDesk(rest).cancel(OpenOrder("c0", "v0", "BTC/USDT"))
    assert rest.cancelled == ["v0"]
