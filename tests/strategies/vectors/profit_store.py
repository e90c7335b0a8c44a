"""Where profit goes: the split, the store's orders, and its end."""

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

from strategies.pit import Pit
from strategies.vectors.registry import Given, adapts, places

from nkfast.core.market import Market
from nkfast.strategies.profit_store import ProfitStore, ProfitStoreSettings, allocate
from nkfast.strategies.storing import Earning, Storing
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Skip

#: What is counted follows from lots, which are cut after so many digits.
_DIGITS = Context(prec=15)


@adapts("git dcab359^ strategies.profit_reinvest.allocate_profit")
def split(given: Given) -> Any:
    reinvest = given.get("reinvest_ratio")
    parts = allocate(
        *given.numbers("balance", "principal", "reserve_ratio"),
        None if reinvest is None else Decimal(reinvest),
    )
    return {
        "reserve_amount": parts.reserve,
        "reinvest_amount": parts.reinvest,
        "remaining_profit": parts.remaining,
    }


def _market(symbol: str, top: list[str], amount: Decimal) -> Market:
    prices = [Decimal(price) for price in top]
    return Market(
        symbol.replace("_", "/"), places(*prices), places(amount), maker_fee=0, taker_fee=0
    )


def _order(quote: Quote) -> dict[str, Any]:
    return {
        "op": "limit",
        "symbol": quote.symbol.replace("/", "_"),
        "side": quote.side,
        "price": quote.price,
        "qty": quote.quantity,
    }


def _filled(slot: str, quote: Quote) -> Fill:
    assert quote.price is not None
    fee = Decimal(0)
    return Fill(slot, quote.symbol, quote.side, quote.price, quote.quantity, fee, "USDT", "t", 0)


class _Idle(Earning):
    """Wants nothing."""

    name = "idle"
    earned = Decimal(0)
    earned_in = "USDT"

    def decide(self, view: MarketView) -> Desired:
        return Desired()

    def on_fill(self, fill: Fill) -> None:
        raise AssertionError(fill)

    def reinvest(self, amount: Decimal) -> None:
        raise AssertionError(amount)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


@adapts("utils.profit_store.ProfitStore.record_profit/process")
def put_away(given: Given) -> Any:
    top = given["target_top"]
    market = _market("PAXG_USDT", top, Decimal(1))
    settings = {"enabled": True, "target_symbol": market.symbol, **given["config"]}
    store = ProfitStore(ProfitStoreSettings.read(settings), market)
    pit = Pit(lambda _: Storing(_Idle(), store), [market], {})
    pit.show(*top, lots=1)
    live: Quote | None = None
    told = []
    for step in given.outputs:
        words = step["event"].split()
        placed: list[Quote] = []
        if words[0] == "order":
            assert live is not None
            if words[1] == "filled;":
                store.on_fill(_filled("store-buy", live))
            live = None
            store.release()
        else:
            if words[0] == "record":
                store.record(Decimal(words[1]), words[2])
            if live is None:
                live = store.order(pit.books[market.symbol], [])
                placed = [live] if live is not None else []
        told.append(
            {
                "event": step["event"],
                "orders": [_order(quote) for quote in placed],
                "pending": _DIGITS.plus(store.pending),
                "reserved": _DIGITS.plus(store.reserved),
                "converted": _DIGITS.plus(store.converted),
                "exit": store.is_due_to_exit,
            }
        )
    return told


@adapts("utils.profit_store.execute_exit_liquidation")
def liquidate(given: Given) -> Any:
    amount = given.number("base_available")
    names = [given["symbol"], *(name for name in given["tops"] if name != given["symbol"])]
    markets = [_market(name, given["tops"][name], amount) for name in names]
    ratios = ("exit_dump_pct", "exit_convert_pct", "aggressive_limit_pct")
    settings = ProfitStoreSettings.read(
        {
            "enabled": True,
            "target_symbol": markets[1].symbol,
            **{name: given[name] for name in ratios},
        }
    )
    store = ProfitStore(settings, markets[1], markets[0])
    store.restore({**store.state(), "phase": "cancelling"})
    pit = Pit(lambda _: Storing(_Idle(), store), markets, {markets[0].base: amount})
    for market, name in zip(markets, names, strict=True):
        pit.show(*given["tops"][name], market.symbol, lots=1)
    orders = []
    # The reference takes every order for filled at its limit.
    while not store.has_exited:
        skips: list[Skip] = []
        for slot, quote in store.exit(pit.view(), skips).items():
            orders.append(_order(quote))
            store.on_fill(_filled(slot, quote))
    return {"handled": store.has_exited, "orders": orders}
