"""Place one order far from the market, look at it, cancel it; over REST, without asyncio.

It shows what to do when the answer to an order is lost: the order is looked up by the id that we
gave it, and never sent again. The key is read from the terminal, without echo, or from the standard
input: one line for the key, one for the secret. Try it on a simulated exchange first
(nkfast exchange serve):

    python -m nkfast.examples.one_order http://127.0.0.1:8000/api/v2 BTC/USDT
"""

import argparse
import getpass
import sys
import uuid
from decimal import Decimal

from nkfast import (
    ApiCredentials,
    OrderNotFoundError,
    OrderRequest,
    OrderStatus,
    OutcomeUnknownError,
    RestClient,
)


def main(credentials: ApiCredentials, base_url: str, symbol: str) -> None:
    with RestClient(credentials, base_url=base_url, allow_changes=True) as client:
        market = client.get_market(symbol)
        best_bid = client.get_order_book(symbol, limit=1).bids[0].price
        request = OrderRequest(
            symbol=symbol,
            side="buy",
            price=(best_bid / 2).quantize(Decimal(1).scaleb(-market.price_decimals)),
            quantity=Decimal(1).scaleb(-min(market.quantity_decimals, 3)),
            user_provided_id=f"example-{uuid.uuid4().hex[:12]}",
        )
        order = place(client, request)
        if order is None:
            print("there is no such order")
            return
        print(f"{order.status}: {order.side} {order.quantity} {symbol} at {order.price}")
        client.cancel_order(order.order_id)
        print(f"after the cancel: {client.get_order(order.order_id).status}")


def place(client: RestClient, request: OrderRequest) -> OrderStatus | None:
    """Return the order, or None when it is certain that there is none."""
    try:
        return client.create_order(request)
    except OutcomeUnknownError as error:
        print(f"unknown, so it is looked up: {error}")
    assert request.user_provided_id is not None
    try:
        return client.get_order(request.user_provided_id)
    except OrderNotFoundError:
        # Once is enough for an example. An engine asks again: it may only not be there yet.
        return None


def read_credentials() -> ApiCredentials:
    if sys.stdin.isatty():
        return ApiCredentials(getpass.getpass("API key: "), getpass.getpass("API secret: "))
    key, secret = (sys.stdin.readline().strip() for _ in range(2))
    return ApiCredentials(key, secret)


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url", help="the real one is https://api.nonkyc.io/api/v2")
    parser.add_argument("symbol", nargs="?", default="BTC/USDT")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = read_arguments(sys.argv[1:])
    main(read_credentials(), chosen.base_url, chosen.symbol)
