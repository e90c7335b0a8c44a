"""One strategy on several markets of an exchange: orders, fills, balances and profits of each."""

import asyncio
from decimal import Decimal
from pathlib import Path

from trading.conftest import START_NS, Wanting

from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.money import text
from nkfast.exchange.rules import OrderForm
from nkfast.trading.engine import Engine
from nkfast.trading.journal import Journal, verify
from nkfast.trading.orders import OrderState
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Quote
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.simulated import SimulatedVenue

SYMBOLS = ("BTC/USDT", "ETH/USDT", "ETH/BTC")
#: Wide: this is not about limits.
LIMITS = RiskLimits(
    max_order_notional=Decimal(10**9), max_position=Decimal(10**9), max_daily_loss=Decimal(10**9)
)
ROWS = [row for row in DEFAULT_MARKETS if row["symbol"] in SYMBOLS]
#: A bid and an ask of somebody else on each market.
PRICES = {
    "BTC/USDT": ("64000", "64100"),
    "ETH/USDT": ("3380", "3430"),
    "ETH/BTC": ("0.053", "0.0552"),
}


class Floor:
    """An exchange with three markets, us, and somebody who trades with us."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.exchange = Exchange(ROWS, now_ms=clock.time_ns() // 1_000_000)
        self.us = self.exchange.open_account("us", {"BTC": "1", "ETH": "10", "USDT": "100000"})
        self.other = self.exchange.open_account(
            "other", {"BTC": "9", "ETH": "90", "USDT": "500000"}
        )
        for symbol, (bid, ask) in PRICES.items():
            self.trade(symbol, "buy", "1", bid)
            self.trade(symbol, "sell", "1", ask)

    def trade(self, symbol: str, side: str, quantity: str, price: str) -> None:
        form = {"symbol": symbol, "side": side, "quantity": quantity, "price": price}
        now_ms = self.clock.time_ns() // 1_000_000
        self.exchange.submit(self.other, OrderForm.from_wire(form), now_ms)

    def engine(self, journal: Journal, strategy: Wanting) -> Engine:
        return Engine(
            venue=SimulatedVenue(self.exchange, self.us, clock=self.clock),
            clock=self.clock,
            journal=journal,
            strategy=strategy,
            symbol=SYMBOLS[0],
            more_symbols=SYMBOLS[1:],
            limits=LIMITS,
            mode="live",
        )


def quote(symbol: str, side: str, price: str, quantity: str) -> Quote:
    return Quote(side, Decimal(price), Decimal(quantity), symbol)


def test_a_wish_may_name_its_market(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        floor, strategy = Floor(clock), Wanting()
        strategy.desired = Desired(
            {
                "btc": quote("", "buy", "63000", "0.1"),
                "eth": quote("ETH/USDT", "buy", "3390", "1"),
                "cross": quote("ETH/BTC", "sell", "0.054", "2"),
            }
        )
        with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
            engine = floor.engine(journal, strategy)
            await engine.start()
            await asyncio.sleep(1)
            assert {o.symbol: o.state for o in engine.orders} == dict.fromkeys(
                SYMBOLS, OrderState.LIVE
            )
            view = strategy.views[-1]
            assert set(view.books) == set(view.markets) == set(SYMBOLS)
            assert view.available["ETH"] == 8
            assert view.available["USDT"] < Decimal(100_000) - 6300 - 3390
            floor.trade("ETH/USDT", "sell", "0.4", "3390")
            floor.trade("ETH/BTC", "buy", "2", "0.054")
            await asyncio.sleep(1)
            profits = engine.ledger.profits
            assert profits["ETH/USDT"].position == Decimal("0.4")
            assert profits["ETH/BTC"].position == -2
            assert profits["ETH/BTC"].quote_asset == "BTC"
            assert profits["BTC/USDT"].fills == 0
            assert {fill.symbol for fill in strategy.told} == {"ETH/USDT", "ETH/BTC"}
            stop = await engine.stop("keep")
            assert {row.slot for row in stop.kept} >= {"btc", "eth"}
        with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
            strategy.desired = Desired()
            again = floor.engine(journal, strategy)
            await again.start()
            assert again.ledger.profits == profits
            await asyncio.sleep(1)
            assert again.orders.open_count == 0  # cancelled on each of them
            for asset in ("BTC", "ETH", "USDT"):
                held_there = Decimal(text(floor.us.holding(asset).total))
                assert again.ledger.total(asset) == held_there
            await again.stop()
        report = verify(tmp_path / "j.db")
        assert report.ok, report.differences

    run_virtual(main, START_NS)


def test_draining_counts_each_market_for_itself(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        floor, strategy = Floor(clock), Wanting()
        strategy.desired = Desired({"eth": quote("ETH/USDT", "buy", "3390", "1")})
        with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
            engine = floor.engine(journal, strategy)
            await engine.start()
            await asyncio.sleep(1)
            floor.trade("ETH/USDT", "sell", "1", "3390")
            await asyncio.sleep(1)
            strategy.desired = Desired(
                {
                    "other": quote("ETH/BTC", "sell", "0.054", "1"),
                    "same": quote("ETH/USDT", "sell", "3420", "1"),
                }
            )
            engine.drain("enough")
            await asyncio.sleep(1)
            assert [order.slot for order in engine.orders.open_orders] == ["same"]
            await engine.stop()

    run_virtual(main, START_NS)


def test_a_view_names_the_markets_that_changed_since_the_last_one(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        floor, strategy = Floor(clock), Wanting()
        with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
            engine = floor.engine(journal, strategy)
            await engine.start()
            await asyncio.sleep(1)
            assert set(strategy.views[0].changed) == set(SYMBOLS)
            seen = len(strategy.views)
            floor.trade("ETH/BTC", "buy", "1", "0.0531")
            await asyncio.sleep(0.1)
            named = [symbol for view in strategy.views[seen:] for symbol in view.changed]
            assert named == ["ETH/BTC"]
            # What changes while nothing may be decided is named afterwards, once.
            engine.pause("a test")
            for price in ("0.0532", "0.0533"):
                floor.trade("ETH/BTC", "buy", "1", price)
                await asyncio.sleep(0.1)
            floor.trade("ETH/USDT", "buy", "1", "3381")
            await asyncio.sleep(0.1)
            seen = len(strategy.views)
            engine.resume()
            await asyncio.sleep(0.1)
            named = [symbol for view in strategy.views[seen:] for symbol in view.changed]
            assert sorted(named) == ["ETH/BTC", "ETH/USDT"]
            await engine.stop()

    run_virtual(main, START_NS)


def test_new_rules_of_a_market_are_shown(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        floor, strategy = Floor(clock), Wanting()
        with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
            engine = floor.engine(journal, strategy)
            await engine.start()
            await asyncio.sleep(1)
            before = strategy.views[-1].markets["ETH/BTC"]
            assert not before.is_paused
            seen = len(strategy.views)
            floor.exchange.listing("ETH/BTC").is_paused = True
            await asyncio.sleep(120)
            assert strategy.views[-1].markets["ETH/BTC"].is_paused
            assert any("ETH/BTC" in view.changed for view in strategy.views[seen:])
            assert strategy.views[-1].markets["BTC/USDT"] is strategy.views[0].markets["BTC/USDT"]
            await engine.stop()

    run_virtual(main, START_NS)
