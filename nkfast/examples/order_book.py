"""Print the best prices and the trades of a market as they change. Needs no account.

python -m nkfast.examples.order_book BTC/USDT --for 10
"""

import argparse
import asyncio
import sys
from typing import Any

from nkfast import WebSocketClient


async def main(symbol: str, url: str, seconds: float) -> None:
    client = WebSocketClient(url)
    client.subscribe_order_book(symbol, depth=20)
    client.subscribe_trades(symbol)

    async def handle_order_book(message: dict[str, Any]) -> None:
        for side in ("asks", "bids"):
            for level in message[side][:3]:
                print(f"{symbol} {side} {level['price']} x {level['quantity']}", flush=True)

    async def handle_trades(message: dict[str, Any]) -> None:
        for trade in message["data"]:
            print(f"{symbol} {trade['side']} {trade['quantity']} at {trade['price']}", flush=True)

    client.register_handler("orderbook", handle_order_book)
    client.register_handler("trades", handle_trades)
    try:
        async with asyncio.timeout(seconds):
            await client.run_forever()  # connects, and connects again whenever the line breaks
    except TimeoutError:
        print(f"{client.counters['frames']} frames in {seconds:g} s")


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("symbol", nargs="?", default="BTC/USDT")
    parser.add_argument("--url", default="wss://ws.nonkyc.io")
    parser.add_argument("--for", dest="seconds", type=float, default=30.0, help="seconds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = read_arguments(sys.argv[1:])
    asyncio.run(main(chosen.symbol, chosen.url, chosen.seconds))
