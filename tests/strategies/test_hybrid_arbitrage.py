"""Hybrid arbitrage: what it reports is exact, and it sends nothing, ever."""

import asyncio
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.book import OrderBook
from nkfast.core.market import Market
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.rules import OrderForm
from nkfast.strategies.hybrid_arbitrage import HybridArbitrage, HybridArbitrageSettings, around
from nkfast.trading.engine import Engine
from nkfast.trading.journal import Journal, verify
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, MarketView
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.simulated import SimulatedVenue

D = Decimal
RESERVES = {"pool_base_reserve": "10000", "pool_quote_reserve": "950000"}
LIMITS = RiskLimits(max_order_notional=D(10**6), max_position=D(10**6), max_daily_loss=D(10**6))


class Floor:
    """Two books and the strategy."""

    def __init__(self, *, rules: dict[str, Any] | None = None, **words: Any) -> None:
        read = HybridArbitrageSettings.read({"pool_pair": "COSA_PIRATE", **words})
        self.markets = {
            symbol: Market(
                symbol,
                6,
                4,
                **{"taker_fee": "0.002", **(rules or {})},  # type: ignore[arg-type]
            )
            for symbol in read.symbols({})
        }
        self.books = {symbol: OrderBook(market) for symbol, market in self.markets.items()}
        self.hybrid = HybridArbitrage.build(read, self.markets)
        self.available: dict[str, Decimal] = {}
        self.show("COSA/USDT", "2.12", "2.13")
        self.show("PIRATE/USDT", "0.0235", "0.0236")

    def show(self, symbol: str, bid: str, ask: str, quantity: str = "1000000") -> None:
        book, market = self.books[symbol], self.markets[symbol]
        lots = market.quantity_to_lots(D(quantity))
        sides = [[(market.price_to_ticks(D(price)), lots)] for price in (bid, ask)]
        book.apply_snapshot(*sides, book.sequence + 1)

    def decide(self) -> Desired:
        home = next(iter(self.markets))
        view = MarketView(
            self.markets[home],
            self.books[home],
            {},
            self.available,
            {},
            0,
            self.markets,
            self.books,
            (),
        )
        return self.hybrid.decide(view)

    def told(self) -> list[str]:
        decision = self.decide()
        assert not decision.quotes
        return [skip.detail for skip in decision.skips]


def amounts(told: str) -> list[Decimal]:
    path = told.partition(": ")[2].partition(",")[0]
    return [D(number) for number in path.split(" > ")]


def test_d16_fee_and_curve_count_once_on_what_was_really_bought() -> None:
    floor = Floor(**RESERVES, trade_amount=10)
    (told,) = floor.told()
    assert told.startswith("USDT > COSA > pool > PIRATE > USDT: ")
    paid, bought, swapped, back = amounts(told)
    assert paid == 10
    exact = Fraction(10) / Fraction("2.13") / Fraction("1.002")
    kept = exact * Fraction("0.997")
    through = kept * 950_000 / (10_000 + kept)
    for said, true in (
        (bought, exact),
        (swapped, through),
        (back, through * Fraction("0.0235") * Fraction("0.998")),
    ):
        assert abs(Fraction(said) - true) <= true / 10**10
        assert Fraction(said) <= true  # what is shown is rounded down


def test_d16_without_reserves_nothing_is_priced() -> None:
    floor = Floor()
    decision = floor.decide()
    assert [skip.code for skip in decision.skips] == ["NO_RESERVES"]
    assert floor.decide() is decision
    with pytest.raises(ConfigErrors, match="both reserves are needed"):
        Floor(pool_base_reserve=1)


def test_the_mirrored_way_is_watched_as_well() -> None:
    floor = Floor(**RESERVES)
    floor.show("COSA/USDT", "2.40", "2.41")
    (told,) = floor.told()
    assert told.startswith("USDT > PIRATE > pool > COSA > USDT: ")
    floor.show("COSA/USDT", "2.24", "2.25")
    assert floor.told() == []


def test_the_size_that_earns_most_is_taken_where_it_may_be() -> None:
    floor = Floor(**RESERVES, trade_amount=10**6)
    best, earned = amounts(floor.told()[0])[0], {}
    for factor in ("0.5", "0.9", "1"):
        (told,) = Floor(**RESERVES, trade_amount=best * D(factor)).told()
        earned[factor] = amounts(told)[-1] - amounts(told)[0]
    assert earned["0.5"] < earned["0.9"] < earned["1"]


def test_no_more_is_taken_than_stands_at_the_best_prices() -> None:
    floor = Floor(**RESERVES, trade_amount=10**6)
    floor.show("COSA/USDT", "2.12", "2.13", "7")
    assert amounts(floor.told()[0])[1] == 7
    floor.show("COSA/USDT", "2.12", "2.13")
    floor.show("PIRATE/USDT", "0.0235", "0.0236", "900")
    assert abs(amounts(floor.told()[0])[2] - 900) < D("1e-8")


def test_no_more_is_taken_than_is_owned() -> None:
    floor = Floor(**RESERVES, trade_amount=10)
    assert amounts(floor.told()[0])[0] == 10  # the venue tells no balances
    floor.available = {"USDT": D(7)}
    assert amounts(floor.told()[0])[0] == 7  # the same prices, and yet looked at anew
    floor.available = {"USDT": D(0)}
    assert floor.told() == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"min_notional": "11"}, {}),
        ({"min_notional": "10.1"}, {}),  # what is sold is worth it, what is bought is not
        ({"min_quantity": "6"}, {}),
        ({}, {"min_notional": "11"}),
        ({}, {"min_profit_pct": "5"}),
    ],
)
def test_what_is_too_little_is_left(rules: dict[str, Any], words: dict[str, Any]) -> None:
    assert Floor(**RESERVES, trade_amount=10).told()
    assert not Floor(**RESERVES, trade_amount=10, rules=rules, **words).told()


def test_a_profit_of_exactly_the_least_is_reported() -> None:
    found = around(
        HybridArbitrageSettings.read({"pool_pair": "COSA_PIRATE", **RESERVES}).pool,  # type: ignore[arg-type]
        "USDT",
        D(10),
        "COSA",
        D("2.13"),
        D("0.0235"),
        (Fraction(2, 1002), Fraction(2, 1000)),
    )
    percent = found.result.ratio * 100
    below = D(int(percent * 10**9)).scaleb(-9)
    assert Floor(**RESERVES, trade_amount=10, min_profit_pct=below).told()
    assert not Floor(**RESERVES, trade_amount=10, min_profit_pct=below + D("1e-9")).told()


def test_a_book_that_is_not_live_changes_nothing() -> None:
    floor = Floor(**RESERVES)
    before = floor.decide()
    floor.books["COSA/USDT"].mark_stale()
    assert floor.decide() is before
    floor.show("COSA/USDT", "2.12", "2.13")
    assert floor.decide() is before  # the same prices: said once


@given(
    st.integers(1, 4_000_000), st.integers(1, 50_000), st.integers(1, 60_000), st.integers(1, 900)
)
def test_whatever_is_reported_earns_what_it_says(ask: int, gap: int, bid: int, lots: int) -> None:
    floor = Floor(**RESERVES, trade_amount=1000, min_profit_percent="0.1")
    books = {"COSA/USDT": (ask, ask + gap), "PIRATE/USDT": (bid, bid + gap)}
    for symbol, (low, high) in books.items():
        floor.books[symbol].apply_snapshot([(low, lots * 10_000)], [(high, lots * 10_000)], 9)
    for told in floor.told():
        paid, _, _, back = amounts(told)
        share = D(re.search(r", ([\d.]+) %", told)[1]) / 100  # type: ignore[index]
        assert paid <= 1000
        assert back >= paid * D("1.00099")
        assert abs(back / paid - 1 - share) < D("1e-9")


# It only looks -----------------------------------------------------------------------------------

ROWS = [
    {**row, "symbol": symbol, "lastPrice": price, "id": "", "priceDecimals": 6}
    for row, symbol, price in zip(
        DEFAULT_MARKETS, ("COSA/USDT", "PIRATE/USDT"), ("2.12", "0.0235"), strict=False
    )
]


def test_d11_d12_nothing_is_sent_and_live_mode_is_refused(tmp_path: Path) -> None:
    """No leg can be left alone, and no swap repeated, where none is ever taken."""

    async def main(clock: VirtualClock) -> None:
        exchange = Exchange(ROWS, now_ms=clock.time_ns() // 1_000_000)
        us = exchange.open_account("us", {"USDT": "100000"})
        other = exchange.open_account(
            "other", {"COSA": "100000", "PIRATE": "9000000", "USDT": "9000000"}
        )
        read = HybridArbitrageSettings.read({"pool_pair": "COSA/PIRATE", **RESERVES})
        markets = {row["symbol"]: Market.from_wire(row) for row in ROWS}

        def quote(symbol: str, side: str, price: str, quantity: str) -> None:
            form = {"symbol": symbol, "side": side, "quantity": quantity, "price": price}
            exchange.submit(other, OrderForm.from_wire(form), clock.time_ns() // 1_000_000)

        quote("COSA/USDT", "buy", "2.12", "1000")
        quote("COSA/USDT", "sell", "2.13", "1000")
        quote("PIRATE/USDT", "buy", "0.02", "100000")
        quote("PIRATE/USDT", "sell", "0.03", "100000")

        def engine(journal: Journal, mode: str) -> Engine:
            home, away = markets
            return Engine(
                venue=SimulatedVenue(exchange, us, clock=clock),
                clock=clock,
                journal=journal,
                strategy=HybridArbitrage.build(read, markets),
                symbol=home,
                more_symbols=[away],
                limits=LIMITS,
                mode=mode,  # type: ignore[arg-type]
            )

        with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
            with pytest.raises(ConfigError, match="no endpoint to swap in a pool"):
                engine(journal, "live")
            looking = engine(journal, "monitor")
            await looking.start()
            await asyncio.sleep(2)
            assert looking.reasons["POOL_OPPORTUNITY"] == 0
            quote("PIRATE/USDT", "buy", "0.03", "100000")  # takes, and the next bid stands higher
            quote("PIRATE/USDT", "buy", "0.0235", "100000")
            await asyncio.sleep(20)
            assert looking.reasons["POOL_OPPORTUNITY"] >= 1
            await looking.stop()
        assert list(us.orders()) == []
        assert verify(tmp_path / "j.db").ok

    run_virtual(main, 1_790_000_000 * 10**9)


def test_settings_that_make_no_sense_are_refused() -> None:
    for words, said in (
        ({}, "pool_pair: is required"),
        ({"pool_pair": "COSA/USDT"}, "start_asset: is USDT, which is in the pool"),
        ({"pool_pair": "COSA"}, "pool_pair"),
        ({"pool_pair": "COSA/PIRATE", "pool_fee": 1}, "pool_fee: is 1; give at least 0"),
    ):
        with pytest.raises(ConfigErrors) as caught:
            HybridArbitrageSettings.read(words)
        assert said in str(caught.value)
    read = HybridArbitrageSettings.read({"pool_pair": "COSA_PIRATE", "base_currency": "BTC"})
    assert read.symbols({}) == ("COSA/BTC", "PIRATE/BTC")
    with pytest.raises(ConfigError, match="needs the market COSA/BTC, PIRATE/BTC"):
        HybridArbitrage.build(read, {})
