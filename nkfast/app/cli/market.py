"""What the exchange says: ``markets``, ``ticker``, ``book``, ``candles``, ``balances``."""

from typing import Any

import click

from nkfast.app.cli.program import FOR, JSON, verb

__all__ = ["COMMANDS"]

REST_URL = click.option(
    "--rest-url", envvar="NKFAST_EXCHANGE__REST_URL", help="Of the exchange; NonKYC's own without."
)
WS_URL = click.option(
    "--ws-url", envvar="NKFAST_EXCHANGE__WS_URL", help="Its WebSocket; NonKYC's own without."
)
SYMBOL = click.argument("symbol")


@verb()
@click.argument("search", required=False, default="")
@REST_URL
@JSON
def markets(search: str, rest_url: str | None, as_json: bool) -> None:
    """List the markets, or those whose symbol contains SEARCH, with their steps and minimums."""
    from nkfast.app.market_data import print_markets

    print_markets(search, rest_url, as_json=as_json)


@verb()
@SYMBOL
@REST_URL
@JSON
def ticker(symbol: str, rest_url: str | None, as_json: bool) -> None:
    """Show the last trade, the best prices and the day of a market."""
    from nkfast.app.market_data import print_ticker

    print_ticker(symbol, rest_url, as_json=as_json)


@verb()
@SYMBOL
@click.option("--depth", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--watch", is_flag=True, help="A line whenever the best prices change.")
@REST_URL
@WS_URL
@FOR
@JSON
def book(symbol: str, watch: bool, **settings: Any) -> None:
    """Show the order book of a market."""
    from nkfast.app.market_data import print_book, watch_book

    (watch_book if watch else print_book)(symbol, **settings)


@verb()
@SYMBOL
@click.option(
    "--minutes",
    type=click.Choice(["5", "15", "30", "60", "180", "240", "480", "720", "1440"]),
    default="60",
    show_default=True,
    help="Of one bar.",
)
@click.option("--last", type=click.IntRange(1, 500), default=20, show_default=True)
@REST_URL
@JSON
def candles(symbol: str, minutes: str, last: int, rest_url: str | None, as_json: bool) -> None:
    """List the newest bars of a market."""
    from nkfast.app.market_data import print_candles

    print_candles(symbol, int(minutes), last, rest_url, as_json=as_json)


@verb()
@click.option("--zeros", is_flag=True, help="Assets of which there is nothing as well.")
@REST_URL
@JSON
def balances(zeros: bool, rest_url: str | None, as_json: bool) -> None:
    """Show what the account of the API key owns."""
    from nkfast.app.market_data import print_balances

    print_balances(rest_url, with_zeros=zeros, as_json=as_json)


COMMANDS = (markets, ticker, book, candles, balances)
