"""Print a market's rules, ticker, book and latest trades over REST. Needs no account.

python -m nkfast.examples.market_data BTC/USDT
"""

import argparse
import asyncio
import sys

from nkfast import AsyncRestClient


async def main(symbol: str, base_url: str) -> None:
    async with AsyncRestClient(base_url=base_url) as client:
        # Four requests at once, over one pool of connections.
        market, ticker, book, trades = await asyncio.gather(
            client.get_market(symbol),
            client.get_ticker(symbol),
            client.get_order_book(symbol, limit=5),
            client.get_trades(symbol, limit=5),
        )
    print(
        f"{market.symbol}: {market.price_decimals} price decimals, "
        f"{market.quantity_decimals} quantity decimals"
    )
    print(f"last {ticker.last_price}, bid {ticker.bid}, ask {ticker.ask}, volume {ticker.volume}")
    for name, levels in (("ask", reversed(book.asks)), ("bid", book.bids)):
        for price, quantity in levels:
            print(f"{name} {price} x {quantity}")
    for trade in trades:
        print(f"trade {trade.side} {trade.quantity} at {trade.price}")


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("symbol", nargs="?", default="BTC/USDT")
    parser.add_argument("--base-url", default="https://api.nonkyc.io/api/v2")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = read_arguments(sys.argv[1:])
    asyncio.run(main(chosen.symbol, chosen.base_url))
