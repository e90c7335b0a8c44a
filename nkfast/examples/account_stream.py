"""Print the open orders, the balances, and what happens to them. Reads only.

The key is read from the terminal, without echo, or from the standard input: one line for the key,
one for the secret. Never put a secret on the command line, where every user of the machine sees it.

    python -m nkfast.examples.account_stream --for 60
"""

import argparse
import asyncio
import getpass
import sys

from nkfast import ApiCredentials, Balance, OrderStatus, WebSocketClient


async def main(credentials: ApiCredentials, url: str, seconds: float) -> None:
    # Made without allow_changes: this client refuses to send an order.
    async with WebSocketClient(url, credentials) as client:
        news = client.account_updates()
        try:
            async with asyncio.timeout(seconds):
                async for item in news:
                    describe(item)
        except TimeoutError:
            print(f"{seconds:g} s are over")


def describe(item: OrderStatus | Balance) -> None:
    if isinstance(item, Balance):
        print(f"balance {item.asset}: {item.available} available, {item.held} held", flush=True)
    else:
        print(
            f"order {item.user_provided_id or item.order_id}: {item.side} {item.quantity} "
            f"{item.symbol} at {item.price}, {item.status}, {item.filled_quantity} filled",
            flush=True,
        )


def read_credentials() -> ApiCredentials:
    if sys.stdin.isatty():
        return ApiCredentials(getpass.getpass("API key: "), getpass.getpass("API secret: "))
    key, secret = (sys.stdin.readline().strip() for _ in range(2))
    return ApiCredentials(key, secret)


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="wss://ws.nonkyc.io")
    parser.add_argument("--for", dest="seconds", type=float, default=60.0, help="seconds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = read_arguments(sys.argv[1:])
    asyncio.run(main(read_credentials(), chosen.url, chosen.seconds))
