"""The market maker: where it quotes, how much, and what a decision makes of it."""

from decimal import Decimal
from typing import Any

from strategies.pit import Pit
from strategies.vectors.registry import Given, adapts

from nkfast.core.market import Market
from nkfast.strategies.market_maker import (
    MarketMaker,
    MarketMakerSettings,
    quote_prices,
    quote_sizes,
)
from nkfast.strategies.sizing import Steps
from nkfast.trading.strategy import Skip

MAKER = "strategies.market_maker.MarketMakerStrategy."
#: What is the engine's business in nkfast.
_NOT_OURS = {"poll_interval_sec", "balance_refresh_sec", "mode", "state_path"}


def _settings(given: Given) -> MarketMakerSettings:
    chosen = {key: value for key, value in given["config"].items() if key not in _NOT_OURS}
    chosen["max_order_age_sec"] = int(Decimal(chosen.get("max_order_age_sec", 30)))
    # The reference knows no dead books, and keeps a quote before the touch whatever it owns.
    return MarketMakerSettings.read({**chosen, "max_spread_pct": 2, "may_retreat": given.is_defect})


def _market(settings: MarketMakerSettings) -> Market:
    decimals = [
        -min(int(step.as_tuple().exponent), 0) if step else 12
        for step in (settings.tick_size, settings.step_size)
    ]
    return Market(settings.symbol, *decimals, maker_fee=0, taker_fee=0)


@adapts(MAKER + "_derive_quotes")
def prices(given: Given) -> Any:
    settings = _settings(given)
    names = ("best_bid", "best_ask", "base_available", "quote_available")
    found = quote_prices(*given.numbers(*names), settings, Steps(_market(settings)))
    if isinstance(found, Skip):
        return None
    skew = Decimal(found.skew.numerator) / Decimal(found.skew.denominator)
    return {"buy": found.buy, "sell": found.sell, "skew": skew}


@adapts(MAKER + "_resolve_order_sizes")
def sizes(given: Given) -> Any:
    settings = _settings(given)
    names = ("buy_price", "sell_price", "base_available", "quote_available")
    buy, sell = quote_sizes(*given.numbers(*names), settings, Steps(_market(settings)))
    return {"buy_qty": buy, "sell_qty": sell}


@adapts(MAKER + "poll_once")
def poll(given: Given) -> Any:
    settings = _settings(given)
    market = _market(settings)
    funds = {asset: free for asset, (free, _) in given["balances"].items()}
    pit = Pit(lambda markets: MarketMaker.build(settings, markets), [market], funds)
    pit.show(*given["top"], lots=1)
    return [
        {
            "op": "limit",
            "symbol": settings.symbol.replace("/", "_"),
            "side": quote.side,
            "price": quote.price,
            "qty": quote.quantity,
        }
        for quote in pit.decide().quotes.values()
    ]
