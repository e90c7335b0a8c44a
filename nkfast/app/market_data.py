"""What the exchange says of its markets and of the account, printed."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import click

from nkfast.app.cli.program import print_table
from nkfast.app.config.layers import nearest
from nkfast.app.connection import open_rest, read_markets
from nkfast.app.credentials import require_credentials
from nkfast.app.exits import NotFoundError
from nkfast.app.loop import run, stop_on_signals
from nkfast.client.async_rest import AsyncRestClient
from nkfast.client.websocket import WebSocketClient
from nkfast.core.frame import FrameDecoder
from nkfast.core.market import Market
from nkfast.errors import SymbolNotFoundError
from nkfast.trading.exact import plain
from nkfast.wire.addresses import BASE_URL, WEBSOCKET_URL
from nkfast.wire.models import ApiCredentials
from nkfast.wire.symbols import canonical

__all__ = [
    "print_balances",
    "print_book",
    "print_candles",
    "print_markets",
    "print_ticker",
    "watch_book",
]

T = TypeVar("T")


def print_markets(search: str, rest_url: str | None, *, as_json: bool) -> None:
    """List the markets whose symbol contains a text."""
    found = _ask(read_markets, rest_url)
    wanted = search.upper().replace("_", "/").replace("-", "/")
    rows = [
        {
            "symbol": symbol,
            "last": _text(info.last_price),
            "bid": _text(info.bid),
            "ask": _text(info.ask),
            "tick": plain(market.tick_size),
            "lot": plain(market.lot_size),
            "min_quantity": plain(market.min_quantity),
            "min_notional": plain(market.min_notional),
            "is_active": market.is_active and not market.is_paused,
        }
        for symbol, (market, info) in sorted(found.items())
        if wanted in symbol
    ]
    _print_rows(rows, as_json)


def print_ticker(symbol: str, rest_url: str | None, *, as_json: bool) -> None:
    """Show a market's last trade, best prices and day."""
    name = canonical(symbol)
    found = _ask(_named(name, lambda rest: rest.get_ticker(symbol=name)), rest_url)
    record = {
        "symbol": found.symbol,
        "last": _text(found.last_price),
        "bid": _text(found.bid),
        "ask": _text(found.ask),
        "high": _text(found.high),
        "low": _text(found.low),
        "volume": _text(found.volume),
        "quote_volume": _text(found.quote_volume),
    }
    if as_json:
        click.echo(json.dumps(record))
        return
    for key, value in record.items():
        click.echo(f"{key:<12}  {'-' if value is None else value}")


def print_book(
    symbol: str,
    *,
    depth: int,
    rest_url: str | None,
    ws_url: str | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Show a market's book, best prices in the middle."""
    del ws_url, seconds
    name = canonical(symbol)
    found = _ask(_named(name, lambda rest: rest.get_order_book(symbol=name, limit=depth)), rest_url)
    sides = {
        side: [[plain(level.price), plain(level.quantity)] for level in levels[:depth]]
        for side, levels in (("bids", found.bids), ("asks", found.asks))
    }
    if as_json:
        click.echo(json.dumps({"symbol": name, **sides}))
        return
    width = max((len(price) for side in sides.values() for price, _ in side), default=1)
    for price, quantity in reversed(sides["asks"]):
        click.echo(f"ask  {price:>{width}}  {quantity}")
    for price, quantity in sides["bids"]:
        click.echo(f"bid  {price:>{width}}  {quantity}")


def watch_book(
    symbol: str,
    *,
    depth: int,
    rest_url: str | None,
    ws_url: str | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Print a line whenever the best prices of a market change."""
    del depth
    run(_watch_book(canonical(symbol), rest_url, ws_url, seconds, as_json=as_json))


async def _watch_book(
    symbol: str, rest_url: str | None, ws_url: str | None, seconds: float | None, *, as_json: bool
) -> None:
    async with open_rest(rest_url or BASE_URL, None) as rest:
        info = await _named(symbol, lambda rest: rest.get_market(symbol=symbol))(rest)
        market = Market.from_wire(info.raw)
    client = WebSocketClient(ws_url or WEBSOCKET_URL, decoder=FrameDecoder([market]))
    stream = client.books(symbol)
    stop = asyncio.Event()
    with stop_on_signals(stop):
        await client.connect()
        reading = asyncio.ensure_future(_print_tops(stream, market, as_json=as_json))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait(
                {reading, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if reading.done():
                await reading
        finally:
            for task in (reading, stopping):
                task.cancel()
            await asyncio.wait({reading, stopping})
            await client.close()


async def _print_tops(stream: Any, market: Market, *, as_json: bool) -> None:
    shown = None
    async for book in stream:
        sides: list[list[str] | None] = []
        for top in (book.best_bid, book.best_ask):
            if top is None:
                sides.append(None)
            else:
                ticks, lots = top
                price, quantity = market.ticks_to_price(ticks), market.lots_to_quantity(lots)
                sides.append([plain(price), plain(quantity)])
        now = (book.state, *sides)
        if now == shown:
            continue
        shown = now
        if as_json:
            record = {"symbol": market.symbol, "state": now[0], "bid": sides[0], "ask": sides[1]}
            click.echo(json.dumps(record))
        else:
            bid, ask = ("none" if side is None else f"{side[0]} x {side[1]}" for side in sides)
            click.echo(f"{market.symbol}  bid {bid}  ask {ask}  {book.state}")


def print_candles(
    symbol: str, minutes: int, last: int, rest_url: str | None, *, as_json: bool
) -> None:
    """List the newest bars of a market, oldest first."""
    name = canonical(symbol)
    found = _ask(_named(name, lambda rest: rest.get_candles(name, minutes, count=last)), rest_url)
    rows = [
        {
            "time": datetime.fromtimestamp(bar.time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "open": plain(bar.open),
            "high": plain(bar.high),
            "low": plain(bar.low),
            "close": plain(bar.close),
            "volume": plain(bar.volume),
        }
        for bar in found[-last:]
    ]
    _print_rows(rows, as_json)


def print_balances(rest_url: str | None, *, with_zeros: bool, as_json: bool) -> None:
    """Show what the account owns: free, and held by open orders."""
    found = _ask(lambda rest: rest.get_balances(), rest_url, require_credentials())
    rows = [
        {"asset": row.asset, "available": plain(row.available), "held": plain(row.held)}
        for row in sorted(found, key=lambda row: row.asset)
        if with_zeros or row.available or row.held
    ]
    _print_rows(rows, as_json)


def _ask(
    question: Callable[[AsyncRestClient], Awaitable[T]],
    rest_url: str | None,
    credentials: ApiCredentials | None = None,
) -> T:
    async def ask() -> T:
        async with open_rest(rest_url or BASE_URL, credentials) as rest:
            return await question(rest)

    return run(ask())


def _named(
    symbol: str, question: Callable[[AsyncRestClient], Awaitable[T]]
) -> Callable[[AsyncRestClient], Awaitable[T]]:
    """Return a question about a market that says the nearest one where there is none such."""

    async def ask(rest: AsyncRestClient) -> T:
        try:
            return await question(rest)
        except SymbolNotFoundError:
            known = list(await read_markets(rest))
            raise NotFoundError(f"no such market; {nearest(symbol, known)}", symbol) from None

    return ask


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo("none")
        return
    print_table(rows, tuple(rows[0]))
