"""What the free balances pay for: nothing is asked for that would only be refused."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from nkfast.strategies.sizing import needed
from nkfast.trading.exact import ZERO, plain, subtract
from nkfast.trading.strategy import LiveOrder, Quote, Skip
from nkfast.wire.symbols import TradingPair

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["within_funds"]


def within_funds(
    quotes: Iterable[tuple[str, Quote]],
    orders: Mapping[str, LiveOrder],
    available: Mapping[str, Decimal],
    market: "Market",
    skips: list[Skip],
) -> dict[str, Quote]:
    """Return the orders that the free balances pay for, those first that come first.

    The first of a side that they do not pay for ends that side, and is said with what it needs and
    what is free. What rests already is kept.

    Parameters
    ----------
    quotes : iterable of (str, Quote)
        Limit orders on the market by slot, the most wanted first.
    orders : mapping
        What rests, whose balance is not free.
    available : mapping
        Free balances by asset; an asset that is not there is not known, and bounds nothing.
    """
    pair = TradingPair.parse(market.symbol)
    rate = max(market.maker_fee, market.taker_fee)
    free = dict(available)
    short: set[str] = set()
    kept: dict[str, Quote] = {}
    for slot, quote in quotes:
        if slot in orders:
            kept[slot] = quote
            continue
        assert quote.price is not None
        fee_rate = rate if quote.side == "buy" else ZERO
        asset, amount = needed(pair, quote.side, quote.price, quote.quantity, fee_rate)
        have = free.get(asset)
        if asset in short:
            continue
        if have is not None and amount > have:
            short.add(asset)
            detail = f"{slot}: {quote.side} {plain(quote.quantity)} at {plain(quote.price)} needs"
            skips.append(
                Skip("SHORT_OF_FUNDS", f"{detail} {plain(amount)} {asset}, {plain(have)} are free")
            )
            continue
        if have is not None:
            free[asset] = subtract(have, amount)
        kept[slot] = quote
    return kept
